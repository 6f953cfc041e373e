//! Batches come in: checked, made durable in the lake's journal, then in memory.
//!
//! One thread takes what nodes ship. It groups what waits, appends every batch to
//! the journal, syncs once, and only then changes the state and answers. What was
//! answered survives; what was not is shipped again by the node and recognised by
//! its number.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::Duration;

use base::NodeName;
use base::event::EventBatch;
use bytes::Bytes;
use tokio::sync::oneshot;

use crate::LakeError;
use crate::envelope::{self, EnvelopeError};
use crate::journal::{SegmentLog, SegmentReader};
use crate::recent::Incoming;
use crate::state::{Shared, State};

/// Batches waiting for the thread.
pub(crate) const QUEUE_MAX: usize = 1_024;
/// Batches that share one sync.
const GROUP_MAX: usize = 128;
/// Bytes of the batches that share one sync.
const GROUP_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Size at which the lake's journal begins a new segment.
const SEGMENT_BYTES: u64 = 32 * 1024 * 1024;

/// What became of a shipped batch. The node may forget it in each case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ingested {
    /// It is in the lake, durably.
    Stored,
    /// It was there already.
    Duplicate,
    /// It is no batch, and sending it again would not make it one. Counted.
    Refused,
}

pub(crate) enum Message {
    Ingest {
        node: Arc<str>,
        /// None: the next free number of the node.
        seq: Option<u64>,
        bytes: Bytes,
        reply: oneshot::Sender<Result<Ingested, LakeError>>,
    },
    /// Records below this number are in files.
    Release(u64),
    Stop,
}

/// Opens the lake's journal and brings what no file holds into memory.
pub(crate) fn open_journal(dir: &Path, state: &mut State) -> Result<SegmentLog, LakeError> {
    let open = |source| LakeError::Open {
        dir: dir.to_owned(),
        source,
    };
    let (log, recovery) =
        SegmentLog::open(dir, SEGMENT_BYTES, state.applied_end.max(1)).map_err(open)?;
    if recovery.damaged_stretches > 0 {
        tracing::error!(
            dir = %dir.display(),
            damaged_stretches = recovery.damaged_stretches,
            "The lake's journal is damaged: the events in the damaged stretches are lost"
        );
    }
    replay(dir, log.next(), state)?;
    Ok(log)
}

/// Applies the records that lie between the committed files and `end`.
pub(crate) fn replay(dir: &Path, end: u64, state: &mut State) -> Result<(), LakeError> {
    let read = |source| LakeError::Io {
        what: "read the lake's journal",
        source,
    };
    let mut reader = SegmentReader::new(dir, state.applied_end);
    while let Some((number, payload)) = reader.next(end).map_err(read)? {
        match decode_record(&payload) {
            Ok((node, seq, batch)) => {
                if state
                    .nodes
                    .get(node)
                    .is_some_and(|known| known.seen.contains(seq))
                {
                    continue;
                }
                apply(state, Arc::from(node), seq, batch)?;
            }
            // Its checksum is right, so another release wrote it.
            Err(error) => tracing::error!(number, %error, "Skipped a record of the lake's journal"),
        }
        state.applied_end = number + 1;
    }
    if end != u64::MAX {
        state.applied_end = state.applied_end.max(end);
    }
    Ok(())
}

fn apply(state: &mut State, node: Arc<str>, seq: u64, batch: EventBatch) -> Result<(), LakeError> {
    let build = LakeError::engine("build rows of a batch");
    let incoming = match Incoming::new(node, seq, batch) {
        Ok(incoming) => incoming,
        Err(error) => return Err(build(error)),
    };
    state.recent.add(&mut state.nodes, incoming).map_err(build)
}

/// A record: the length of the node's name, the name, the node's number (little
/// endian), the envelope.
fn encode_record(node: &str, seq: u64, envelope: &[u8], into: &mut Vec<u8>) {
    // Node names are DNS labels: at most 63 bytes.
    into.push(u8::try_from(node.len()).unwrap_or(u8::MAX));
    into.extend_from_slice(node.as_bytes());
    into.extend_from_slice(&seq.to_le_bytes());
    into.extend_from_slice(envelope);
}

fn decode_record(payload: &[u8]) -> Result<(&str, u64, EventBatch), EnvelopeError> {
    let short = || EnvelopeError::Empty;
    let (length, rest) = payload.split_first().ok_or_else(short)?;
    let (name, rest) = rest
        .split_at_checked(usize::from(*length))
        .ok_or_else(short)?;
    let (seq, envelope) = rest.split_first_chunk::<8>().ok_or_else(short)?;
    let name = std::str::from_utf8(name).map_err(|_| short())?;
    Ok((name, u64::from_le_bytes(*seq), envelope::decode(envelope)?))
}

/// Counts of a running lake.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) events: AtomicU64,
    pub(crate) batches: AtomicU64,
    pub(crate) duplicates: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) flush_failures: AtomicU64,
}

/// The thread that takes batches.
pub(crate) struct Ingest {
    pub(crate) log: SegmentLog,
    pub(crate) shared: Arc<Shared>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) rows_max: usize,
    pub(crate) flush_rows: usize,
    pub(crate) flush: SyncSender<crate::maintain::Message>,
}

struct Accepted {
    incoming: Incoming,
    number: u64,
    reply: oneshot::Sender<Result<Ingested, LakeError>>,
}

impl Ingest {
    pub(crate) fn run(mut self, receiver: &Receiver<Message>) {
        while let Ok(message) = receiver.recv() {
            let mut group = vec![message];
            let mut bytes = 0;
            while group.len() < GROUP_MAX && bytes < GROUP_BYTES_MAX {
                match receiver.try_recv() {
                    Ok(message) => {
                        if let Message::Ingest { bytes: more, .. } = &message {
                            bytes += more.len();
                        }
                        group.push(message);
                    }
                    Err(_) => break,
                }
            }
            if !self.take(group) {
                break;
            }
        }
    }

    /// Handles a group; false when it said to stop.
    fn take(&mut self, group: Vec<Message>) -> bool {
        let mut accepted = Vec::new();
        let mut duplicates = Vec::new();
        let mut numbers = BTreeSet::new();
        let mut go_on = true;
        for message in group {
            match message {
                Message::Stop => go_on = false,
                Message::Release(end) => {
                    if let Err(error) = self.log.release(end) {
                        tracing::warn!(%error, "Could not delete a segment of the lake's journal");
                    }
                }
                Message::Ingest {
                    node,
                    seq,
                    bytes,
                    reply,
                } => match self.append(&node, seq, &bytes, &mut numbers) {
                    Ok(Step::Appended(incoming, number)) => accepted.push(Accepted {
                        incoming: *incoming,
                        number,
                        reply,
                    }),
                    Ok(Step::Duplicate) => duplicates.push(reply),
                    Ok(Step::Refused) => answer(reply, Ok(Ingested::Refused)),
                    Err(error) => answer(reply, Err(error)),
                },
            }
        }
        match self.log.sync() {
            Ok(_) => {
                self.apply(accepted);
                for reply in duplicates {
                    answer(reply, Ok(Ingested::Duplicate));
                }
            }
            Err(error) => {
                tracing::error!(%error, "Could not sync the lake's journal");
                let replies = accepted.into_iter().map(|accepted| accepted.reply);
                for reply in replies.chain(duplicates) {
                    let source = std::io::Error::new(error.kind(), error.to_string());
                    answer(reply, Err(LakeError::io("sync the lake's journal")(source)));
                }
            }
        }
        go_on
    }

    fn append(
        &mut self,
        node: &Arc<str>,
        seq: Option<u64>,
        bytes: &Bytes,
        numbers: &mut BTreeSet<(Arc<str>, u64)>,
    ) -> Result<Step, LakeError> {
        let (known, free, rows) = self.shared.with(|state| {
            let node = state.nodes.get(node);
            (
                seq.is_some_and(|seq| node.is_some_and(|node| node.seen.contains(seq))),
                node.map_or(1, |node| node.seen.end()),
                state.waiting_rows(),
            )
        });
        let seq = seq.unwrap_or_else(|| {
            let of_group = numbers.iter().rev().find(|(name, _)| name == node);
            of_group.map_or(free, |(_, last)| free.max(last + 1))
        });
        if known || numbers.contains(&(Arc::clone(node), seq)) {
            self.counters.duplicates.fetch_add(1, Ordering::Relaxed);
            return Ok(Step::Duplicate);
        }
        let batch = match envelope::decode(bytes) {
            Ok(batch) => batch,
            Err(error) => {
                self.counters.refused.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(node = %node, seq, %error, "Refused a batch of events");
                return Ok(Step::Refused);
            }
        };
        if rows.saturating_add(batch.len()) > self.rows_max {
            self.ask_for_flush();
            return Err(LakeError::Behind {
                rows,
                rows_max: self.rows_max,
            });
        }
        let incoming = Incoming::new(Arc::clone(node), seq, batch)
            .map_err(LakeError::engine("build rows of a batch"))?;
        let number = self
            .log
            .append::<std::io::Error>(|buffer| {
                encode_record(node, seq, bytes, buffer);
                Ok(())
            })
            .map_err(LakeError::io("write to the lake's journal"))?;
        numbers.insert((Arc::clone(node), seq));
        Ok(Step::Appended(Box::new(incoming), number))
    }

    fn apply(&mut self, accepted: Vec<Accepted>) {
        let mut answers = Vec::with_capacity(accepted.len());
        let rows = self.shared.with(|state| {
            for Accepted {
                incoming,
                number,
                reply,
            } in accepted
            {
                let events = incoming.batch.len() as u64;
                // On error the rows are in the journal all the same, and come
                // back when the lake is opened next.
                if let Err(error) = state.recent.add(&mut state.nodes, incoming) {
                    tracing::error!(%error, "Could not add rows to memory");
                }
                state.applied_end = number + 1;
                self.counters.events.fetch_add(events, Ordering::Relaxed);
                self.counters.batches.fetch_add(1, Ordering::Relaxed);
                answers.push(reply);
            }
            state.recent.rows()
        });
        for reply in answers {
            answer(reply, Ok(Ingested::Stored));
        }
        if rows >= self.flush_rows {
            self.ask_for_flush();
        }
    }

    fn ask_for_flush(&self) {
        // A full queue holds a request already.
        self.flush.try_send(crate::maintain::Message::Wake).ok();
    }
}

enum Step {
    Appended(Box<Incoming>, u64),
    Duplicate,
    Refused,
}

fn answer(
    reply: oneshot::Sender<Result<Ingested, LakeError>>,
    result: Result<Ingested, LakeError>,
) {
    // Nobody listens when the asking task was cancelled.
    reply.send(result).ok();
}

/// The name under which a batch is kept.
pub(crate) fn key_of(node: &NodeName) -> Arc<str> {
    Arc::from(node.as_str())
}

/// Waits for a message until `wait` is over.
pub(crate) fn receive<T>(receiver: &Receiver<T>, wait: Duration) -> Result<Option<T>, ()> {
    match receiver.recv_timeout(wait) {
        Ok(message) => Ok(Some(message)),
        Err(RecvTimeoutError::Timeout) => Ok(None),
        Err(RecvTimeoutError::Disconnected) => Err(()),
    }
}
