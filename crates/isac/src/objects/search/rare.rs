//! Lists of terms that few rows have: values, ids, rare words. Most terms are of this kind,
//! and a row of a table for each would be written at a place of its own: a million objects
//! would touch millions of pages.
//!
//! So they lie together in runs: a run is a block of (key, number) pairs in order. A batch adds
//! one run to the root; a node that is full is merged and its pairs dealt out to its
//! children by the next bits of the key, so that each pair is written once a level and always
//! among many others. A question reads the nodes on the way to its key.
//!
//! A key that turns out to have many numbers leaves for the blocks of [`super::postings`].
//! These never lie between the first and the last number of a block that is there already,
//! because whoever fills that block gets all numbers that come meanwhile.

use std::collections::{BTreeSet, VecDeque};

use futures::TryStreamExt as _;
use sqlx::AssertSqlSafe;
use store::{Db, Tx};

use super::postings::{self, BLOCK_NUMBERS_MAX};
use crate::objects::ObjectsError;

/// A key and the number of a row that has its term.
pub(super) type Pair = (i64, i64);

/// Bits of the key by which a node's children are told apart: 64 children.
const FAN_BITS: u32 = 6;
/// Levels below the root.
const LEVELS: u32 = 5;
/// Runs of a node before they are merged.
const RUNS_MAX: i64 = 16;
/// Pairs of a node before they are dealt out.
const PAIRS_MAX: usize = 8_192;
/// A node with fewer stays one, as a single run.
const PAIRS_FEW: usize = 2_048;
/// Numbers of a key with which it leaves.
pub(super) const MANY: usize = 128;
/// Nodes merged in one transaction; what is left over is met again by the next that comes.
const MERGES_MAX: usize = 6;
/// Bytes of a pair: key and number, big end first, the key as it is sorted.
const PAIR_BYTES: usize = 16;

/// The node of a level in which a key lies.
fn node(level: u32, key: i64) -> i64 {
    let prefix = key
        .cast_unsigned()
        .checked_shr(64 - FAN_BITS * level)
        .unwrap_or_default();
    (i64::from(level) << 32) | prefix.cast_signed()
}

fn level(node: i64) -> u32 {
    u32::try_from(node >> 32).unwrap_or(LEVELS)
}

fn encode(pairs: &[Pair]) -> Vec<u8> {
    let mut run = Vec::with_capacity(pairs.len() * PAIR_BYTES);
    for (key, number) in pairs {
        run.extend(key.to_be_bytes());
        run.extend(number.to_be_bytes());
    }
    run
}

fn pairs(run: &[u8]) -> &[[u8; PAIR_BYTES]] {
    run.as_chunks().0
}

fn pair(bytes: &[u8; PAIR_BYTES]) -> Pair {
    let both = u128::from_be_bytes(*bytes);
    ((both >> 64) as u64 as i64, both as u64 as i64)
}

/// In the order of a run: nodes hold neighbours, so the key's bits count without a sign.
fn sort(pairs: &mut Vec<Pair>) {
    pairs.sort_unstable_by_key(|(key, number)| (key.cast_unsigned(), *number));
    pairs.dedup();
}

/// The numbers of a key in a run.
fn numbers(run: &[u8], key: i64) -> impl Iterator<Item = i64> {
    let all = pairs(run);
    let begin = all.partition_point(|bytes| pair(bytes).0.cast_unsigned() < key.cast_unsigned());
    all[begin..]
        .iter()
        .map(pair)
        .take_while(move |(one, _)| *one == key)
        .map(|(_, number)| number)
}

/// Adds pairs of rows up to number `last`, which none added before has reached.
///
/// # Errors
/// When the database fails.
pub(super) async fn add(tx: &mut Tx, mut new: Vec<Pair>, last: i64) -> Result<(), ObjectsError> {
    if new.is_empty() {
        return Ok(());
    }
    sort(&mut new);
    insert(tx, node(0, 0), last, &new).await?;
    let mut look = VecDeque::from([node(0, 0)]);
    let mut merges = 0;
    while let Some(node) = look.pop_front() {
        let (runs, bytes): (i64, i64) = sqlx::query_as(
            "SELECT COUNT(*), COALESCE(SUM(LENGTH(block)), 0) FROM isac_rare WHERE node = $1",
        )
        .bind(node)
        .fetch_one(&mut **tx)
        .await?;
        if runs < RUNS_MAX && (runs < 2 || (bytes as usize) < PAIRS_MAX * PAIR_BYTES) {
            continue;
        }
        merge(tx, node, last, &mut look).await?;
        merges += 1;
        if merges == MERGES_MAX {
            break;
        }
    }
    Ok(())
}

async fn insert(tx: &mut Tx, node: i64, run: i64, all: &[Pair]) -> Result<(), ObjectsError> {
    sqlx::query("INSERT INTO isac_rare (node, run, block) VALUES ($1, $2, $3)")
        .bind(node)
        .bind(run)
        .bind(encode(all))
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Makes the runs of a node one, or deals them out to its children, which are then in `look`.
async fn merge(
    tx: &mut Tx,
    at: i64,
    last: i64,
    look: &mut VecDeque<i64>,
) -> Result<(), ObjectsError> {
    let runs: Vec<(Vec<u8>,)> = sqlx::query_as("SELECT block FROM isac_rare WHERE node = $1")
        .bind(at)
        .fetch_all(&mut **tx)
        .await?;
    sqlx::query("DELETE FROM isac_rare WHERE node = $1")
        .bind(at)
        .execute(&mut **tx)
        .await?;
    let mut all: Vec<Pair> = runs
        .iter()
        .flat_map(|(run,)| pairs(run))
        .map(pair)
        .collect();
    sort(&mut all);
    let mut few = Vec::with_capacity(all.len());
    for one in all.chunk_by(|a, b| a.0 == b.0) {
        if one.len() < MANY {
            few.extend_from_slice(one);
        } else {
            leave(tx, one).await?;
        }
    }
    let below = level(at) + 1;
    if few.len() <= PAIRS_FEW || below > LEVELS {
        return match few.is_empty() {
            true => Ok(()),
            false => insert(tx, at, last, &few).await,
        };
    }
    for child in few.chunk_by(|a, b| node(below, a.0) == node(below, b.0)) {
        let number = node(below, child[0].0);
        insert(tx, number, last, child).await?;
        look.push_back(number);
    }
    Ok(())
}

/// Moves the numbers of one key to blocks of its own, between those that it has.
async fn leave(tx: &mut Tx, all: &[Pair]) -> Result<(), ObjectsError> {
    let (Some((key, from)), Some((_, to))) = (all.first(), all.last()) else {
        return Ok(());
    };
    let there: Vec<i64> = sqlx::query_scalar(
        "SELECT first FROM isac_posting WHERE term = $1 AND first > $2 AND first <= $3 ORDER BY first",
    )
    .bind(key)
    .bind(from)
    .bind(to)
    .fetch_all(&mut **tx)
    .await?;
    let before = |number: i64| there.partition_point(|first| *first <= number);
    let groups = all.chunk_by(|a, b| before(a.1) == before(b.1));
    for block in groups.flat_map(|group| group.chunks(BLOCK_NUMBERS_MAX)) {
        let mut bytes = Vec::new();
        for two in block.windows(2) {
            postings::push(&mut bytes, two[0].1, two[1].1);
        }
        sqlx::query("INSERT INTO isac_posting (term, first, block) VALUES ($1, $2, $3)")
            .bind(key)
            .bind(block[0].1)
            .bind(bytes)
            .execute(&mut **tx)
            .await?;
    }
    Ok(())
}

/// The numbers of some keys, ascending, in the order of `keys`. Read them before the blocks: what
/// leaves in between is then seen twice, never not at all.
///
/// # Errors
/// When the database fails.
pub(super) async fn of(db: &Db, keys: &[i64]) -> Result<Vec<Vec<i64>>, ObjectsError> {
    let nodes: BTreeSet<i64> = keys
        .iter()
        .flat_map(|key| (0..=LEVELS).map(|level| node(level, *key)))
        .collect();
    let mut found = vec![Vec::new(); keys.len()];
    if nodes.is_empty() {
        return Ok(found);
    }
    // Numbers of our own making, and one statement: what is being dealt out is seen once.
    let list: Vec<String> = nodes.iter().map(i64::to_string).collect();
    let sql = format!(
        "SELECT node, block FROM isac_rare WHERE node IN ({})",
        list.join(",")
    );
    let mut runs = sqlx::query_as::<_, (i64, Vec<u8>)>(AssertSqlSafe(sql))
        .persistent(false)
        .fetch(db.pool());
    // One at a time: a question about many addresses passes by many runs.
    while let Some((at, run)) = runs.try_next().await? {
        for (key, found) in keys.iter().zip(&mut found) {
            if node(level(at), *key) == at {
                found.extend(numbers(&run, *key));
            }
        }
    }
    for numbers in &mut found {
        numbers.sort_unstable();
        numbers.dedup();
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_in_a_run_by_halving() {
        let mut all = vec![(-5, 3), (7, 1), (7, 9), (i64::MIN, 2), (7, 9), (0, 4)];
        sort(&mut all);
        let run = encode(&all);
        for (key, expected) in [
            (7, vec![1, 9]),
            (-5, vec![3]),
            (i64::MIN, vec![2]),
            (0, vec![4]),
            (8, vec![]),
            (-1, vec![]),
        ] {
            assert_eq!(numbers(&run, key).collect::<Vec<_>>(), expected, "{key}");
        }
        // Half a pair at the end is none.
        assert_eq!(pairs(&run[..run.len() - 1]).len(), all.len() - 1);
    }

    #[test]
    fn children_lie_below_their_node_in_order() {
        let keys = [0, 1, i64::MAX, i64::MIN, -1, 0x0123_4567_89ab_cdef];
        for key in keys {
            assert_eq!(node(0, key), 0);
            for below in 1..=LEVELS {
                let (child, above) = (node(below, key), node(below - 1, key));
                assert_eq!(level(child), below);
                let prefix = |node: i64| node & 0xffff_ffff;
                assert_eq!(prefix(child) >> FAN_BITS, prefix(above), "{key:x}");
            }
        }
        assert!(node(LEVELS, -1) & 0xffff_ffff < 1 << 30);
    }
}
