//! Objects that were indexed by an earlier release are read again for what they are about.
//!
//! What a simple pattern names is extracted when a row is indexed. When a release extracts
//! more than the one before ([`EXTRACTION`] grows), older rows would not be found by
//! it. So they are walked once more, in pages, in the indexer's own task, beside what comes
//! anew; the place is kept with each page, so that a restart goes on where it was.
//!
//! Rows of which nothing more is found are passed over ([`terms::more_since`]). What is added
//! goes into blocks: into the one whose range it lies in, else into one of its own, so that
//! blocks of a list never lie over one another nor over numbers among the rare ones.

use std::collections::BTreeMap;

use store::Tx;

use super::index::{MARK, Tails, write};
use super::postings::{self, BLOCK_NUMBERS_MAX};
use super::{rare, terms};
use crate::objects::{Objects, ObjectsError};

/// The version of what is extracted: raised when [`terms::targets`] finds more than before.
pub(super) const EXTRACTION: i64 = 2;
/// The version by which all rows are indexed.
pub(super) const EXTRACTED: &str = "extraction";
/// Of stores that know of no version.
const FIRST: i64 = 1;
/// Rows read in one step.
const ROWS: i64 = 1_000;
/// The version for which rows are walked, how far that is (a number of the feed), where it
/// ends, how many rows were walked, and how many there were when it began.
const FOR: &str = "again-for";
const PLACE: &str = "again-place";
const END: &str = "again-end";
const WALKED: &str = "again-walked";
const OF: &str = "again-of";

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Again {
    /// Rows that were read again.
    pub walked: u64,
    /// Rows that there were when it began.
    pub of: u64,
}

/// Marks by their names.
struct Marks(BTreeMap<String, i64>);

impl Marks {
    fn of(&self, name: &str) -> Option<i64> {
        self.0.get(name).copied()
    }

    fn or_none(&self, name: &str) -> i64 {
        self.of(name).unwrap_or(0)
    }

    /// The version by which all rows are indexed; none: nothing was indexed yet.
    fn version(&self) -> Option<i64> {
        let before = || self.of(MARK).map(|_| FIRST);
        self.of(EXTRACTED).or_else(before)
    }
}

impl Objects {
    /// Reads one page of older rows again, if there are any that an earlier release indexed;
    /// whether there is more to do.
    ///
    /// # Errors
    /// When the database fails; what was committed stays.
    pub(super) async fn index_again(&self, tails: &mut Tails) -> Result<bool, ObjectsError> {
        let marks = self.marks().await?;
        let Some(since) = marks.version().filter(|done| *done < EXTRACTION) else {
            return Ok(false);
        };
        let (place, end, walked, total) = match marks.of(FOR) {
            Some(EXTRACTION) => (
                marks.or_none(PLACE),
                marks.or_none(END),
                marks.or_none(WALKED),
                marks.or_none(OF),
            ),
            // What was walked for another version does not count.
            _ => {
                let end = marks.or_none(MARK);
                (0, end, 0, self.rows_to(end).await?)
            }
        };
        let rows: Vec<(i64, i64, String)> = sqlx::query_as(
            "SELECT seq, collection, json FROM isac_object WHERE seq > $1 AND seq <= $2 ORDER BY seq LIMIT $3",
        )
        .bind(place)
        .bind(end)
        .bind(ROWS)
        .fetch_all(self.db().pool())
        .await?;
        let Some(last) = rows.last().map(|row| row.0) else {
            let mut tx = self.db().begin().await?;
            mark(&mut tx, &[(EXTRACTED, EXTRACTION)]).await?;
            tx.commit().await?;
            tracing::info!(objects = walked, "All objects were read again");
            return Ok(false);
        };
        let count = rows.len() as i64;
        let found = tokio::task::spawn_blocking(move || keys(&rows, since))
            .await
            .map_err(|_| ObjectsError::Closing)?;
        let wanted: Vec<i64> = found.keys().copied().collect();
        let rare = rare::of(self.db(), &wanted).await?;
        let mut tx = self.db().begin().await?;
        for ((key, numbers), rare) in found.iter().zip(rare) {
            for number in numbers {
                if rare.binary_search(number).is_err() && insert(&mut tx, *key, *number).await? {
                    // What comes begins a new block: the last one may be another.
                    tails.forget(*key);
                }
            }
        }
        let marks = [
            (FOR, EXTRACTION),
            (PLACE, last),
            (END, end),
            (WALKED, walked + count),
            (OF, total),
        ];
        mark(&mut tx, &marks).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// How far older rows are read again; none: all were.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn indexed_again(&self) -> Result<Option<Again>, ObjectsError> {
        let marks = self.marks().await?;
        if marks.version().is_none_or(|done| done >= EXTRACTION) {
            return Ok(None);
        }
        if marks.of(FOR) != Some(EXTRACTION) {
            let of = self.rows_to(marks.or_none(MARK)).await?;
            return Ok(Some(Again {
                walked: 0,
                of: u64::try_from(of).unwrap_or(0),
            }));
        }
        let count = |name: &str| u64::try_from(marks.or_none(name)).unwrap_or(0);
        Ok(Some(Again {
            walked: count(WALKED),
            of: count(OF),
        }))
    }

    async fn rows_to(&self, end: i64) -> Result<i64, ObjectsError> {
        Ok(
            sqlx::query_scalar("SELECT COUNT(*) FROM isac_object WHERE seq <= $1")
                .bind(end)
                .fetch_one(self.db().pool())
                .await?,
        )
    }

    async fn marks(&self) -> Result<Marks, ObjectsError> {
        let rows: Vec<(String, i64)> = sqlx::query_as("SELECT name, value FROM isac_mark")
            .fetch_all(self.db().pool())
            .await?;
        Ok(Marks(rows.into_iter().collect()))
    }
}

async fn mark(tx: &mut Tx, marks: &[(&str, i64)]) -> Result<(), ObjectsError> {
    for (name, value) in marks {
        sqlx::query("INSERT INTO isac_mark (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value")
            .bind(*name)
            .bind(*value)
            .execute(&mut **tx)
            .await?;
    }
    Ok(())
}

/// Keys of what is found more of rows, each with the rows' numbers, ascending.
fn keys(rows: &[(i64, i64, String)], since: i64) -> BTreeMap<i64, Vec<i64>> {
    let mut out: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
    for (seq, collection, json) in rows {
        let Ok(object) = serde_json::from_str(json) else {
            continue;
        };
        for term in terms::more_since(&object, since) {
            out.entry(terms::key(*collection, &term))
                .or_default()
                .push(*seq);
        }
    }
    // Two terms of one row may share a key.
    out.values_mut().for_each(Vec::dedup);
    out
}

/// Puts a number into a list; whether it was not there.
async fn insert(tx: &mut Tx, key: i64, number: i64) -> Result<bool, ObjectsError> {
    let before: Option<(i64, Vec<u8>)> = sqlx::query_as(
        "SELECT first, block FROM isac_posting WHERE term = $1 AND first <= $2 ORDER BY first DESC LIMIT 1",
    )
    .bind(key)
    .bind(number)
    .fetch_optional(&mut **tx)
    .await?;
    let there = before.map(|(first, block)| postings::numbers(first, &block));
    match with(there.unwrap_or_default(), number) {
        Some(numbers) => write(tx, blocks(key, &numbers)).await.map(|()| true),
        None => Ok(false),
    }
}

/// The numbers to be written so that `number` is among them: those of the block before it,
/// if it lies in its range, else it alone; none when it is there.
fn with(mut block: Vec<i64>, number: i64) -> Option<Vec<i64>> {
    match block.binary_search(&number) {
        Ok(_) => None,
        Err(place) if place == block.len() => Some(vec![number]),
        Err(place) => {
            block.insert(place, number);
            Some(block)
        }
    }
}

/// Numbers as blocks; the first of them takes the place of the one that began there.
fn blocks(key: i64, numbers: &[i64]) -> Vec<(i64, i64, Vec<u8>)> {
    numbers
        .chunks(BLOCK_NUMBERS_MAX)
        .map(|some| {
            let mut block = Vec::new();
            for pair in some.windows(2) {
                postings::push(&mut block, pair[0], pair[1]);
            }
            (key, some[0], block)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_goes_into_the_block_in_which_it_lies_or_is_one() {
        assert_eq!(with(vec![2, 4, 6], 4), None);
        assert_eq!(with(vec![2, 4, 6], 5), Some(vec![2, 4, 5, 6]));
        assert_eq!(with(vec![2, 4, 6], 7), Some(vec![7]));
        assert_eq!(with(Vec::new(), 7), Some(vec![7]));
        let full: Vec<i64> = (0..BLOCK_NUMBERS_MAX as i64).map(|n| n * 2).collect();
        let all = with(full, 5).expect("more");
        let written = blocks(9, &all);
        assert_eq!(written.len(), 2);
        let back: Vec<i64> = written
            .iter()
            .flat_map(|(_, first, block)| postings::numbers(*first, block))
            .collect();
        assert_eq!(back, all);
    }
}
