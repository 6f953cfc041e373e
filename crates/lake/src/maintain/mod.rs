//! The lake's housekeeping: rows become files, small files become large ones, old
//! ones lose addresses, then go.
//!
//! One thread does it all, one step at a time. Every step writes new files first,
//! commits them in one commit record, and deletes old files last and only when no
//! query reads them. A crash leaves files that no record names; opening the lake
//! deletes them.

mod merge;
mod retain;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender};
use std::time::{Duration, Instant};

use base::Clock;
use datafusion::arrow::array::RecordBatch;
use datafusion::error::DataFusionError;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::LakeError;
use crate::config::LakeConfig;
use crate::files::Files;
use crate::ingest::{self, Counters, receive};
use crate::manifest::Manifest;
use crate::part::{self, Grain, Part, PartWriter};
use crate::query::Engine;
use crate::recent::{Frozen, Recent};
use crate::state::Shared;
use crate::table::Table;

/// Time between two looks at files that may be merged or are old.
const TIDY_INTERVAL: Duration = Duration::from_secs(60);
/// Longest pause after a failure.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);

pub(crate) enum Message {
    /// Enough rows wait.
    Wake,
    /// Write what is in memory.
    Flush(oneshot::Sender<Result<(), LakeError>>),
    /// Merge and delete what is due.
    Tidy(oneshot::Sender<Result<Tidied, LakeError>>),
    Stop,
}

/// What one round of housekeeping did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tidied {
    /// Files merged into larger ones.
    pub merged: usize,
    /// Files rewritten without addresses.
    pub anonymised: usize,
    /// Files deleted because of their age.
    pub expired: usize,
    /// Whether nothing was aged because the clock cannot be right.
    pub clock_doubted: bool,
}

pub(crate) struct Maintenance {
    pub(crate) config: LakeConfig,
    pub(crate) shared: Arc<Shared>,
    pub(crate) files: Files,
    pub(crate) engine: Arc<Engine>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) runtime: Handle,
    pub(crate) ingest: SyncSender<ingest::Message>,
    /// What the commit record says.
    pub(crate) committed: Manifest,
    /// Files that no record names and that a query may still read.
    pub(crate) garbage: Vec<Arc<Part>>,
}

impl Maintenance {
    pub(crate) fn run(mut self, receiver: &Receiver<Message>) {
        let interval = Duration::from_secs(self.config.flush_interval_s);
        let mut flush_at = Instant::now() + interval;
        let mut tidy_at = Instant::now() + TIDY_INTERVAL;
        loop {
            let wait = flush_at
                .min(tidy_at)
                .saturating_duration_since(Instant::now());
            let Ok(message) = receive(receiver, wait) else {
                break;
            };
            match message {
                Some(Message::Stop) => break,
                Some(Message::Flush(reply)) => {
                    reply.send(self.flush()).ok();
                    flush_at = Instant::now() + interval;
                }
                Some(Message::Tidy(reply)) => {
                    reply.send(self.tidy()).ok();
                }
                Some(Message::Wake) | None => {
                    let now = Instant::now();
                    let enough = self
                        .shared
                        .with(|state| state.waiting_rows() >= self.config.flush_rows);
                    if now >= flush_at || enough {
                        let failed = self.flush_and_log();
                        flush_at = Instant::now()
                            + if failed {
                                interval.min(RETRY_INTERVAL)
                            } else {
                                interval
                            };
                    }
                    if now >= tidy_at {
                        self.tidy_and_log();
                        tidy_at = Instant::now() + TIDY_INTERVAL;
                    }
                }
            }
        }
    }

    fn flush_and_log(&mut self) -> bool {
        let result = self.flush();
        if let Err(error) = &result {
            self.counters.flush_failures.fetch_add(1, Ordering::Relaxed);
            let cause = std::error::Error::source(error).map(ToString::to_string);
            tracing::error!(%error, cause, "Could not write events to files; they stay in the journal");
        }
        result.is_err()
    }

    fn tidy_and_log(&mut self) {
        match self.tidy() {
            Ok(tidied) if tidied != Tidied::default() => {
                tracing::info!(?tidied, "Tidied the lake's files");
            }
            Ok(_) => {}
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::error!(%error, cause, "Could not tidy the lake's files");
            }
        }
    }

    /// Writes the rows in memory to files and commits them.
    pub(crate) fn flush(&mut self) -> Result<(), LakeError> {
        let frozen = self.shared.with(|state| {
            if state.frozen.is_none() && state.recent.rows() > 0 {
                let frozen = Frozen::new(&state.recent, &state.nodes, state.applied_end)
                    .map_err(LakeError::engine("freeze rows"))?;
                state.frozen = Some(Arc::new(frozen));
                state.recent = Recent::default();
            }
            Ok::<_, LakeError>(state.frozen.clone())
        })?;
        let Some(frozen) = frozen else {
            return Ok(());
        };
        let mut written = Vec::new();
        if let Err(error) = self.write_and_commit(&frozen, &mut written) {
            // The rows stay frozen and are written again; these files are not
            // part of anything.
            self.garbage.extend(written.into_iter().map(Arc::new));
            return Err(error);
        }
        // A full queue only delays the deletion until the next flush.
        self.ingest
            .try_send(ingest::Message::Release(frozen.end))
            .ok();
        Ok(())
    }

    fn write_and_commit(
        &mut self,
        frozen: &Frozen,
        written: &mut Vec<Part>,
    ) -> Result<(), LakeError> {
        for table in Table::ALL {
            let batches = &frozen.batches[table as usize];
            if batches.is_empty() {
                continue;
            }
            let split = part::split(table, batches).map_err(LakeError::engine("sort rows"))?;
            for (partition_us, rows) in split {
                let file = encode(table, partition_us, &rows, frozen.end)
                    .map_err(LakeError::engine("encode rows"))?;
                if let Some((part, bytes)) = file {
                    self.put(&part, bytes)?;
                    written.push(part);
                }
            }
        }
        let mut next = self.committed.clone();
        next.journal_end = frozen.end;
        next.nodes = frozen.nodes.clone();
        next.parts.extend(written.iter().cloned());
        self.commit(next, &[], written.clone(), true)
    }

    /// Merges what is small, rewrites and deletes what is old.
    pub(crate) fn tidy(&mut self) -> Result<Tidied, LakeError> {
        let now = self.clock.now();
        let mut tidied = Tidied::default();
        if self.clock_is_plausible(now) {
            tidied.expired = self.expire(now)?;
            tidied.anonymised = self.anonymise(now)?;
        } else if !self.committed.parts.is_empty() {
            tidied.clock_doubted = true;
            tracing::warn!(%now, "Nothing is aged: no node's clock agrees with this one");
        }
        tidied.merged = self.merge(now)?;
        self.collect_garbage()?;
        Ok(tidied)
    }

    fn put(&self, part: &Part, bytes: Vec<u8>) -> Result<(), LakeError> {
        self.runtime.block_on(self.files.put(&part.path, bytes))
    }

    /// Makes `next` the truth: on disk, then in memory.
    fn commit(
        &mut self,
        next: Manifest,
        removed: &[Arc<Part>],
        added: Vec<Part>,
        thaw: bool,
    ) -> Result<(), LakeError> {
        next.save(&self.config.dir)?;
        self.committed = next;
        self.shared.with(|state| {
            state
                .parts
                .retain(|part| !removed.iter().any(|gone| gone.path == part.path));
            state.parts.extend(added.into_iter().map(Arc::new));
            if thaw {
                state.frozen = None;
            }
        });
        self.garbage.extend(removed.iter().cloned());
        Ok(())
    }

    /// Replaces files by others.
    fn replace(&mut self, removed: &[Arc<Part>], added: Vec<Part>) -> Result<(), LakeError> {
        let mut next = self.committed.clone();
        next.parts
            .retain(|part| !removed.iter().any(|gone| gone.path == part.path));
        next.parts.extend(added.iter().cloned());
        self.commit(next, removed, added, false)
    }

    fn collect_garbage(&mut self) -> Result<(), LakeError> {
        let (unused, used): (Vec<_>, Vec<_>) = std::mem::take(&mut self.garbage)
            .into_iter()
            .partition(|part| Arc::strong_count(part) == 1);
        self.garbage = used;
        for part in unused {
            let deleted = self.runtime.block_on(self.files.delete(&part.path));
            if let Err(error) = deleted {
                self.garbage.push(part);
                return Err(error);
            }
        }
        Ok(())
    }

    fn parts(&self) -> Vec<Arc<Part>> {
        self.shared.with(|state| state.parts.clone())
    }
}

fn encode(
    table: Table,
    partition_us: i64,
    rows: &RecordBatch,
    journal_end: u64,
) -> Result<Option<(Part, Vec<u8>)>, DataFusionError> {
    let mut writer = PartWriter::new(table, Some(journal_end))?;
    writer.write(rows)?;
    writer.finish(partition_us, Grain::Exact, true)
}

/// Deletes files that the commit record does not name: what a crash left.
pub(crate) async fn delete_strangers(
    files: &Files,
    committed: &Manifest,
) -> Result<usize, LakeError> {
    let known: std::collections::BTreeSet<&str> = committed
        .parts
        .iter()
        .map(|part| part.path.as_str())
        .collect();
    let mut deleted = 0;
    for (path, _) in files.list().await? {
        let ours = Table::ALL.iter().any(|table| {
            path.strip_prefix(table.name())
                .is_some_and(|rest| rest.starts_with("/date="))
        });
        if ours && !known.contains(path.as_str()) {
            files.delete(&path).await?;
            deleted += 1;
        }
    }
    Ok(deleted)
}

/// The directory of the lake's own journal.
pub(crate) fn journal_dir(config: &LakeConfig) -> PathBuf {
    config.dir.join("journal")
}
