//! Rows that are in the lake's journal and not yet in files: kept in memory, and
//! visible to every query.

use std::collections::BTreeMap;
use std::sync::Arc;

use base::event::EventBatch;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::compute::concat_batches;
use datafusion::arrow::error::ArrowError;
use serde::{Deserialize, Serialize};

use crate::ports::PortRollup;
use crate::rollup::Rollup;
use crate::rows;
use crate::table::Table;

/// Rows of a batch in memory; smaller ones are joined up to this.
const BATCH_ROWS: usize = 8_192;
/// Small batches kept apart before they are joined.
const TAIL_BATCHES_MAX: usize = 64;
/// Ranges of numbers remembered of a node; beyond, the lowest gap is closed.
const RANGES_MAX: usize = 1_000;

/// What the lake knows of a node that ships to it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NodeState {
    /// The numbers that are in the lake.
    pub(crate) seen: SeqSet,
    /// The latest event time in its last batch, in microseconds: what its clock said.
    pub(crate) clock_us: i64,
}

/// All nodes by name.
pub(crate) type Nodes = BTreeMap<Arc<str>, NodeState>;

/// A set of numbers as ranges, both ends included.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct SeqSet(Vec<(u64, u64)>);

impl SeqSet {
    pub(crate) fn contains(&self, seq: u64) -> bool {
        let after = self.0.partition_point(|(first, _)| *first <= seq);
        after > 0 && self.0[after - 1].1 >= seq
    }

    pub(crate) fn insert(&mut self, seq: u64) {
        let after = self.0.partition_point(|(first, _)| *first <= seq);
        if after > 0 && self.0[after - 1].1 >= seq {
            return;
        }
        let joins_before = after > 0 && self.0[after - 1].1.checked_add(1) == Some(seq);
        let joins_after = seq
            .checked_add(1)
            .is_some_and(|next| self.0.get(after).is_some_and(|range| range.0 == next));
        match (joins_before, joins_after) {
            (true, true) => {
                self.0[after - 1].1 = self.0[after].1;
                self.0.remove(after);
            }
            (true, false) => self.0[after - 1].1 = seq,
            (false, true) => self.0[after].0 = seq,
            (false, false) => self.0.insert(after, (seq, seq)),
        }
        if self.0.len() > RANGES_MAX {
            self.0[0].1 = self.0[1].1;
            self.0.remove(1);
        }
    }

    /// One past the highest number.
    pub(crate) fn end(&self) -> u64 {
        self.0.last().map_or(1, |(_, last)| last.saturating_add(1))
    }
}

#[derive(Debug, Default)]
struct MemoryRows {
    full: Vec<RecordBatch>,
    tail: Vec<RecordBatch>,
    tail_rows: usize,
}

impl MemoryRows {
    fn push(&mut self, batch: RecordBatch) -> Result<(), ArrowError> {
        if batch.num_rows() >= BATCH_ROWS {
            self.full.push(batch);
            return Ok(());
        }
        self.tail_rows += batch.num_rows();
        self.tail.push(batch);
        if self.tail_rows >= BATCH_ROWS || self.tail.len() >= TAIL_BATCHES_MAX {
            let joined = concat_batches(&self.tail[0].schema(), &self.tail)?;
            self.tail.clear();
            self.tail_rows = 0;
            if joined.num_rows() >= BATCH_ROWS {
                self.full.push(joined);
            } else {
                self.tail_rows = joined.num_rows();
                self.tail.push(joined);
            }
        }
        Ok(())
    }

    fn batches(&self) -> Vec<RecordBatch> {
        self.full.iter().chain(&self.tail).cloned().collect()
    }
}

/// A decoded batch on its way into memory.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) node: Arc<str>,
    pub(crate) seq: u64,
    pub(crate) batch: EventBatch,
    pub(crate) table: Table,
    pub(crate) rows: RecordBatch,
}

impl Incoming {
    pub(crate) fn new(node: Arc<str>, seq: u64, batch: EventBatch) -> Result<Self, ArrowError> {
        let (table, rows) = rows::rows(&node, &batch)?;
        Ok(Self {
            node,
            seq,
            batch,
            table,
            rows,
        })
    }

    fn clock_us(&self) -> Option<i64> {
        match &self.batch {
            EventBatch::Access(events) => events.iter().map(|event| event.at.micros()).max(),
            EventBatch::Query(events) => events.iter().map(|event| event.at.micros()).max(),
            EventBatch::Notice(events) => events.iter().map(|event| event.at.micros()).max(),
            EventBatch::Enforced(events) => events.iter().map(|event| event.at.micros()).max(),
            EventBatch::Ports(events) => events.iter().map(|event| event.at.micros()).max(),
            EventBatch::Flows(events) => events.iter().map(|event| event.at.micros()).max(),
        }
    }
}

/// Rows in memory, with their roll-ups.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    tables: [MemoryRows; Table::RAW],
    rollup: Rollup,
    ports: PortRollup,
    rows: usize,
}

impl Recent {
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Adds a batch and notes its number.
    pub(crate) fn add(&mut self, nodes: &mut Nodes, incoming: Incoming) -> Result<(), ArrowError> {
        let clock_us = incoming.clock_us();
        let Incoming {
            node,
            seq,
            batch,
            table,
            rows,
        } = incoming;
        self.rows += rows.num_rows();
        self.tables[table as usize].push(rows)?;
        match &batch {
            EventBatch::Access(events) => self.rollup.add(&node, events),
            EventBatch::Ports(events) => self.ports.add_ports(&node, events),
            EventBatch::Flows(events) => self.ports.add_flows(&node, events),
            EventBatch::Query(_) | EventBatch::Notice(_) | EventBatch::Enforced(_) => {}
        }
        let state = nodes.entry(node).or_default();
        state.seen.insert(seq);
        state.clock_us = clock_us.unwrap_or(state.clock_us);
        Ok(())
    }

    /// The rows of a table, as they are now.
    pub(crate) fn batches(&self, table: Table) -> Result<Vec<RecordBatch>, ArrowError> {
        match self.tables.get(table as usize) {
            Some(rows) => Ok(rows.batches()),
            None => {
                let batch = match self.rollup.batch(table)? {
                    None => self.ports.batch(table)?,
                    some => some,
                };
                Ok(batch.into_iter().collect())
            }
        }
    }
}

/// Rows that are being written to files.
#[derive(Debug)]
pub(crate) struct Frozen {
    /// By table.
    pub(crate) batches: [Vec<RecordBatch>; Table::ALL.len()],
    /// One past the last record of the lake's journal that they hold.
    pub(crate) end: u64,
    /// The nodes as of that record.
    pub(crate) nodes: Nodes,
}

impl Frozen {
    pub(crate) fn new(recent: &Recent, nodes: &Nodes, end: u64) -> Result<Self, ArrowError> {
        let mut batches: [Vec<RecordBatch>; Table::ALL.len()] = Default::default();
        for table in Table::ALL {
            batches[table as usize] = recent.batches(table)?;
        }
        Ok(Self {
            batches,
            end,
            nodes: nodes.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seq_set_knows_exactly_what_was_put_in_whatever_the_order() {
        let mut set = SeqSet::default();
        let mut numbers: Vec<u64> = (0..200).map(|i| (i * 37) % 200 * 2 / 3).collect();
        for n in &numbers {
            set.insert(*n);
            assert!(set.contains(*n));
        }
        numbers.sort_unstable();
        for n in 0..300 {
            assert_eq!(set.contains(n), numbers.binary_search(&n).is_ok(), "{n}");
        }
        assert_eq!(set.end(), numbers[199] + 1);
        set.insert(u64::MAX);
        assert!(set.contains(u64::MAX));
    }

    #[test]
    fn a_seq_set_is_bounded_and_forgets_no_number() {
        let mut set = SeqSet::default();
        for n in 0..5_000 {
            set.insert(n * 2);
        }
        assert!(set.0.len() <= RANGES_MAX);
        assert!((0..5_000).all(|n| set.contains(n * 2)));
    }
}
