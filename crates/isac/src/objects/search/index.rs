//! Fills the lists from the change feed. The place in the feed is kept in the same
//! transaction, so that a process that dies begins again where it was.

use std::collections::HashMap;
use std::time::Duration;

use runtime::CancellationToken;
use sqlx::AssertSqlSafe;
use store::Tx;

use super::postings::{self, BLOCK_NUMBERS_MAX};
use super::reindex::{EXTRACTED, EXTRACTION};
use super::{rare, terms};
use crate::objects::{Objects, ObjectsError};

/// Rows that are indexed in one transaction.
const ROWS: i64 = 2_000;
/// Blocks written by one statement: some 200 parameters, as the writer has them.
const BLOCKS: [usize; 3] = [64, 8, 1];
/// Rows of one transaction that have a term which then gets blocks of its own.
const COMMON: usize = 8;
/// Lists whose last block is remembered, so that it is filled before a new one begins.
const TAILS_MAX: usize = 200_000;
/// Who pushes is left alone until nothing came for so long,
const QUIET: Duration = Duration::from_millis(400);
/// but not for longer than this.
const LAG_MAX: Duration = Duration::from_secs(5);
/// Time between two looks when nothing is heard.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Pause after a look that failed.
const FAILED_PAUSE: Duration = Duration::from_secs(2);
/// Between two pages of what is read again: others want the database, too.
const AGAIN_PAUSE: Duration = Duration::from_millis(50);
pub(super) const MARK: &str = "search";

/// The last block of a list.
struct Tail {
    first: i64,
    last: i64,
    count: usize,
    block: Vec<u8>,
    changed: bool,
}

/// Last blocks, and those that were filled in the present transaction.
#[derive(Default)]
pub(super) struct Tails {
    tails: HashMap<i64, Tail>,
    full: Vec<(i64, i64, Vec<u8>)>,
}

impl Tails {
    /// The list was changed by others: what comes begins a new block.
    pub(super) fn forget(&mut self, key: i64) {
        self.tails.remove(&key);
    }

    /// Takes what belongs to lists with blocks of their own; returns the rest.
    fn sort(&mut self, found: Vec<rare::Pair>) -> Vec<rare::Pair> {
        let mut counts: HashMap<i64, usize> = HashMap::with_capacity(found.len());
        for (key, _) in &found {
            *counts.entry(*key).or_default() += 1;
        }
        let mut few = Vec::new();
        for (key, number) in found {
            // Whose last block is at hand gets all that comes, so that it has no gaps.
            if counts[&key] >= COMMON || self.tails.contains_key(&key) {
                self.add(key, number);
            } else {
                few.push((key, number));
            }
        }
        few
    }

    fn add(&mut self, key: i64, number: i64) {
        if let Some(tail) = self.tails.get_mut(&key) {
            // The same term twice in one row.
            if number <= tail.last {
                return;
            }
            if tail.count < BLOCK_NUMBERS_MAX {
                postings::push(&mut tail.block, tail.last, number);
                (tail.last, tail.count, tail.changed) = (number, tail.count + 1, true);
                return;
            }
        }
        let fresh = Tail {
            first: number,
            last: number,
            count: 1,
            block: Vec::new(),
            changed: true,
        };
        if let Some(old) = self.tails.insert(key, fresh)
            && old.changed
        {
            self.full.push((key, old.first, old.block));
        }
    }

    /// The blocks to write, by key, as the table's index has them.
    fn changed(&mut self) -> Vec<(i64, i64, Vec<u8>)> {
        let mut all = std::mem::take(&mut self.full);
        for (key, tail) in self.tails.iter_mut().filter(|(_, tail)| tail.changed) {
            tail.changed = false;
            all.push((*key, tail.first, tail.block.clone()));
        }
        all.sort_unstable_by_key(|(key, first, _)| (*key, *first));
        if self.tails.len() > TAILS_MAX {
            // Those of rare terms first: they would hardly be met again.
            self.tails.retain(|_, tail| tail.count > 8);
            if self.tails.len() > TAILS_MAX {
                self.tails.clear();
            }
        }
        all
    }
}

type Row = (i64, i64, String, String);

impl Objects {
    /// Keeps the search index near the feed until `stop`.
    ///
    /// # Errors
    /// None; what fails is told in the log and tried again.
    pub async fn index_until(self, stop: CancellationToken) {
        let mut heard = self.subscribe();
        let mut tails = Tails::default();
        loop {
            heard.mark_unchanged();
            let done = match self.index_with(&mut tails).await {
                Ok(_) => self.index_again(&mut tails).await,
                Err(error) => Err(error),
            };
            let pause = match done {
                Ok(true) => AGAIN_PAUSE,
                Ok(false) => LOOK_EVERY,
                Err(error) => {
                    tracing::error!(error = %runtime::error_chain(&error), "Objects could not be indexed for search; trying again");
                    tails = Tails::default();
                    FAILED_PAUSE
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => continue,
                changed = heard.changed() => if changed.is_err() { return },
            }
            let begun = tokio::time::Instant::now();
            while begun.elapsed() < LAG_MAX {
                heard.mark_unchanged();
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(QUIET) => break,
                    changed = heard.changed() => if changed.is_err() { return },
                }
            }
        }
    }

    /// Indexes all that has come, and reads older rows again where that is due; returns how
    /// many rows have come.
    ///
    /// # Errors
    /// When the database fails; what was committed stays.
    pub async fn index(&self) -> Result<u64, ObjectsError> {
        let mut tails = Tails::default();
        let done = self.index_with(&mut tails).await?;
        while self.index_again(&mut tails).await? {}
        Ok(done)
    }

    /// Reads at most `pages` pages of older rows again; whether there is more to do.
    ///
    /// # Errors
    /// When the database fails; what was committed stays.
    pub async fn index_older(&self, pages: u32) -> Result<bool, ObjectsError> {
        let mut tails = Tails::default();
        for _ in 0..pages {
            if !self.index_again(&mut tails).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn index_with(&self, tails: &mut Tails) -> Result<u64, ObjectsError> {
        let mut done = 0;
        loop {
            let after: Option<i64> =
                sqlx::query_scalar("SELECT value FROM isac_mark WHERE name = $1")
                    .bind(MARK)
                    .fetch_optional(self.db().pool())
                    .await?;
            let rows: Vec<Row> = sqlx::query_as(
                "SELECT seq, collection, source, json FROM isac_object WHERE seq > $1 ORDER BY seq LIMIT $2",
            )
            .bind(after.unwrap_or(0))
            .bind(ROWS)
            .fetch_all(self.db().pool())
            .await?;
            let Some(last) = rows.last().map(|row| row.0) else {
                return Ok(done);
            };
            let count = rows.len();
            let found = tokio::task::spawn_blocking(move || keys(&rows))
                .await
                .map_err(|_| ObjectsError::Closing)?;
            let few = tails.sort(found);
            let mut tx = self.db().begin().await?;
            write(&mut tx, tails.changed()).await?;
            rare::add(&mut tx, few, last).await?;
            sqlx::query("INSERT INTO isac_mark (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value")
                .bind(MARK)
                .bind(last)
                .execute(&mut *tx)
                .await?;
            if after.is_none() {
                // A new store: there is nothing that an earlier release indexed.
                sqlx::query("INSERT INTO isac_mark (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING")
                    .bind(EXTRACTED)
                    .bind(EXTRACTION)
                    .execute(&mut *tx)
                    .await?;
            }
            tx.commit().await?;
            done += count as u64;
            if count < ROWS as usize {
                return Ok(done);
            }
        }
    }

    /// Rows that are not indexed yet lie after this number.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn indexed(&self) -> Result<i64, ObjectsError> {
        let mark: Option<i64> = sqlx::query_scalar("SELECT value FROM isac_mark WHERE name = $1")
            .bind(MARK)
            .fetch_optional(self.db().pool())
            .await?;
        Ok(mark.unwrap_or(0))
    }
}

/// Keys and numbers of rows, in the order of numbers.
fn keys(rows: &[Row]) -> Vec<(i64, i64)> {
    let mut out = Vec::with_capacity(rows.len() * 16);
    for (seq, collection, source, json) in rows {
        // The store has checked it; what is damaged is not found by search.
        let Ok(object) = serde_json::from_str(json) else {
            continue;
        };
        for term in terms::of(&object, source) {
            out.push((terms::key(*collection, &term), *seq));
        }
    }
    out
}

pub(super) async fn write(
    tx: &mut Tx,
    blocks: Vec<(i64, i64, Vec<u8>)>,
) -> Result<(), ObjectsError> {
    let statement = |count: usize| {
        let rows: Vec<String> = (0..count)
            .map(|row| format!("(${},${},${})", row * 3 + 1, row * 3 + 2, row * 3 + 3))
            .collect();
        format!(
            "INSERT INTO isac_posting (term, first, block) VALUES {} ON CONFLICT (term, first) DO UPDATE SET block = excluded.block",
            rows.join(",")
        )
    };
    let statements = BLOCKS.map(statement);
    let mut rest = blocks.into_iter();
    while rest.len() > 0 {
        let size = BLOCKS
            .iter()
            .position(|&size| size <= rest.len())
            .unwrap_or(BLOCKS.len() - 1);
        let mut query = sqlx::query(AssertSqlSafe(statements[size].as_str()));
        for (key, first, block) in rest.by_ref().take(BLOCKS[size]) {
            query = query.bind(key).bind(first).bind(block);
        }
        query.execute(&mut **tx).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_blocks_are_written_once_and_begin_anew() {
        let mut tails = Tails::default();
        for number in 0..BLOCK_NUMBERS_MAX as i64 + 3 {
            tails.add(7, number);
            tails.add(7, number);
        }
        let blocks = tails.changed();
        let numbers: Vec<i64> = blocks
            .iter()
            .flat_map(|(_, first, block)| postings::numbers(*first, block))
            .collect();
        assert_eq!(blocks.len(), 2);
        assert_eq!(
            numbers,
            (0..BLOCK_NUMBERS_MAX as i64 + 3).collect::<Vec<_>>()
        );
        assert!(tails.changed().is_empty());
        tails.add(7, 9_999);
        assert_eq!(tails.changed().len(), 1);
    }
}
