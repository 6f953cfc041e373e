//! What the lake holds at this moment: committed files, rows being written, rows
//! in memory. One lock guards the three, so a query sees each row exactly once.

use std::sync::{Arc, Mutex, PoisonError};

use datafusion::arrow::error::ArrowError;

use crate::part::Part;
use crate::query::Source;
use crate::recent::{Frozen, Nodes, Recent};
use crate::table::Table;

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) parts: Vec<Arc<Part>>,
    pub(crate) frozen: Option<Arc<Frozen>>,
    pub(crate) recent: Recent,
    pub(crate) nodes: Nodes,
    /// One past the last record of the lake's journal that is in memory or files.
    pub(crate) applied_end: u64,
}

impl State {
    /// Rows that wait to be written.
    pub(crate) fn waiting_rows(&self) -> usize {
        let frozen = self.frozen.as_ref().map_or(0, |frozen| {
            frozen
                .batches
                .iter()
                .take(3)
                .flatten()
                .map(|batch| batch.num_rows())
                .sum()
        });
        frozen + self.recent.rows()
    }

    /// A table as it is now.
    pub(crate) fn source(&self, table: Table) -> Result<Source, ArrowError> {
        let mut batches = self.recent.batches(table)?;
        if let Some(frozen) = &self.frozen {
            batches.extend(frozen.batches[table as usize].iter().cloned());
        }
        Ok(Source {
            table,
            parts: self
                .parts
                .iter()
                .filter(|part| part.table == table)
                .cloned()
                .collect(),
            batches,
        })
    }
}

/// The state behind its lock.
#[derive(Debug, Default)]
pub(crate) struct Shared(Mutex<State>);

impl Shared {
    pub(crate) fn new(state: State) -> Self {
        Self(Mutex::new(state))
    }

    /// Runs `f` on the state. A panic in an earlier holder leaves whole batches
    /// in or out, so the state is used on.
    pub(crate) fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
