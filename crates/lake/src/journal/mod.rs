//! The journal of a node: events wait here, on the node's own disk, until the
//! lake has them.
//!
//! [`Journal::offer`](EventSink::offer) hands a batch to one writer thread through
//! a bounded queue and returns. The thread appends it as one record to a segment
//! file and syncs at an interval. A [`JournalReader`] gives out records that are
//! durable, in order; what it acknowledges is deleted by whole segments.
//!
//! What is promised:
//! - a record that a reader has given out is durable, so its number is never
//!   given to other events, whatever happens to the node;
//! - a batch for which [`Journal::append_durable`] returned is never lost;
//! - `offer` promises to try: a crash costs at most the last sync interval, and
//!   overload, a full disk or a full journal cost **the newest** batches, which
//!   are counted and, when writing works again, reported by a notice in the
//!   journal itself. The newest, because everything already in the journal may
//!   have been promised to somebody.
//!
//! Numbers begin at the creation time in microseconds and go up by one. A node
//! whose disk was replaced therefore does not repeat numbers that the lake knows.
//!
//! **Architecture invariant**: nothing in here, nor in [`crate::envelope`],
//! touches Arrow, Parquet or DataFusion. An edge pays for none of them; without the
//! feature `sql` this crate does not even contain them.

mod reader;
mod record;
mod segments;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use base::event::{EventBatch, EventSink};
use base::{Clock, SystemClock};
use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

pub(crate) use reader::SegmentReader;
pub use segments::Recovery;
pub(crate) use segments::SegmentLog;

use crate::envelope::EnvelopeError;

/// Batches waiting for the writer thread.
const QUEUE_BATCHES_MAX: usize = 4_096;
/// Events waiting for the writer thread; about 60 MB when all are full requests.
const QUEUE_EVENTS_MAX: usize = 262_144;

/// Where and how a node keeps its events until the lake has them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct JournalConfig {
    /// Directory of the segment files; created when missing.
    pub dir: PathBuf,
    /// Size at which a new segment file is begun, in bytes. Disk space is given
    /// back by whole segments.
    pub segment_bytes: u64,
    /// Longest time between a batch's arrival and its being durable, in
    /// milliseconds.
    pub fsync_interval_ms: u64,
    /// Bytes that the journal may take. When the lake cannot be reached for so
    /// long that it is full, new events are dropped and counted.
    pub bytes_max: u64,
}

impl Default for JournalConfig {
    fn default() -> Self {
        Self {
            dir: PathBuf::from("var/journal"),
            segment_bytes: 8 * 1024 * 1024,
            fsync_interval_ms: 500,
            bytes_max: 2 * 1024 * 1024 * 1024,
        }
    }
}

/// Why the journal did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The directory cannot be used.
    #[error("could not open the journal in {}", dir.display())]
    Open {
        /// The directory.
        dir: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Writing or reading failed.
    #[error("could not {what} the journal")]
    Io {
        /// What was tried.
        what: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The journal has reached its size.
    #[error("the journal is full: it has {bytes} bytes and may have {bytes_max}")]
    Full {
        /// Bytes it has.
        bytes: u64,
        /// Bytes it may have.
        bytes_max: u64,
    },
    /// The batch breaks a bound.
    #[error("the batch cannot be kept")]
    Batch(#[source] EnvelopeError),
    /// The journal is closed.
    #[error("the journal is closed")]
    Closed,
}

impl From<std::io::Error> for JournalError {
    fn from(source: std::io::Error) -> Self {
        Self::Io {
            what: "write to",
            source,
        }
    }
}

/// The state of a journal at a moment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct JournalStats {
    /// Events written since the journal was opened.
    pub events_written: u64,
    /// Events dropped since it was opened: the queue, the journal or the disk was full.
    pub events_dropped: u64,
    /// Bytes on disk.
    pub bytes: u64,
    /// One past the last number that is durable.
    pub durable_end: u64,
    /// One past the last number acknowledged.
    pub acked_end: u64,
    /// Failed writes and syncs.
    pub failures: u64,
    /// Whether the last write or sync failed.
    pub failing: bool,
}

#[derive(Debug, Default)]
struct Shared {
    queued_events: AtomicUsize,
    events_written: AtomicU64,
    events_dropped: AtomicU64,
    bytes: AtomicU64,
    durable_end: AtomicU64,
    acked_end: AtomicU64,
    failures: AtomicU64,
    failing: AtomicU64,
    durable: Notify,
}

enum Message {
    Offer(EventBatch),
    Durable(EventBatch, SyncSender<Result<u64, JournalError>>),
    /// Look at `acked_end` and release segments.
    Release,
    Stop,
}

/// Events on the node's own disk. Share it in an [`Arc`]; dropping it writes and
/// syncs what is queued.
#[derive(Debug)]
pub struct Journal {
    dir: PathBuf,
    shared: Arc<Shared>,
    queue: SyncSender<Message>,
    thread: Mutex<Option<JoinHandle<()>>>,
    recovery: Recovery,
}

impl Journal {
    /// Opens or creates the journal, cuts what a crash tore, starts the writer.
    ///
    /// # Errors
    /// When the directory cannot be made or read.
    pub fn open(config: &JournalConfig) -> Result<Self, JournalError> {
        let open = |source| JournalError::Open {
            dir: config.dir.clone(),
            source,
        };
        std::fs::create_dir_all(&config.dir).map_err(open)?;
        let first = segments::list(&config.dir).map_err(open)?.first().copied();
        let acked_end = match (AckFile::read(&config.dir), first) {
            (Some(acked_end), _) => acked_end,
            (None, Some(first)) => first,
            (None, None) => u64::try_from(SystemClock.now().micros()).unwrap_or(1),
        };
        let (log, recovery) =
            SegmentLog::open(&config.dir, config.segment_bytes.max(1), acked_end).map_err(open)?;
        if recovery.torn_bytes > 0 || recovery.damaged_stretches > 0 {
            tracing::warn!(
                dir = %config.dir.display(),
                torn_bytes = recovery.torn_bytes,
                damaged_stretches = recovery.damaged_stretches,
                "Recovered the journal with losses"
            );
        }
        let shared = Arc::new(Shared::default());
        shared
            .durable_end
            .store(log.durable_end(), Ordering::Release);
        shared.acked_end.store(acked_end, Ordering::Release);
        shared.bytes.store(log.bytes(), Ordering::Relaxed);
        let (queue, receiver) = sync_channel(QUEUE_BATCHES_MAX);
        let thread = spawn(log, config, Arc::clone(&shared), receiver).map_err(open)?;
        Ok(Self {
            dir: config.dir.clone(),
            shared,
            queue,
            thread: Mutex::new(Some(thread)),
            recovery,
        })
    }

    /// What opening found.
    pub fn recovery(&self) -> Recovery {
        self.recovery
    }

    /// Writes a batch and returns its number when it is durable. Blocks for a
    /// disk sync: not for asynchronous threads.
    ///
    /// # Errors
    /// When the batch was not kept; nothing was written then.
    pub fn append_durable(&self, batch: EventBatch) -> Result<u64, JournalError> {
        let (reply, answer) = sync_channel(1);
        self.shared
            .queued_events
            .fetch_add(batch.len(), Ordering::Relaxed);
        self.queue
            .send(Message::Durable(batch, reply))
            .map_err(|_| JournalError::Closed)?;
        answer.recv().map_err(|_| JournalError::Closed)?
    }

    /// A reader that begins at the first record not acknowledged. A journal is
    /// meant to have one.
    pub fn reader(&self) -> JournalReader {
        let acked_end = self.shared.acked_end.load(Ordering::Acquire);
        JournalReader {
            segments: SegmentReader::new(&self.dir, acked_end),
            ack_file: AckFile::new(&self.dir),
            shared: Arc::clone(&self.shared),
            queue: self.queue.clone(),
        }
    }

    /// The state at this moment.
    pub fn stats(&self) -> JournalStats {
        let shared = &self.shared;
        JournalStats {
            events_written: shared.events_written.load(Ordering::Relaxed),
            events_dropped: shared.events_dropped.load(Ordering::Relaxed),
            bytes: shared.bytes.load(Ordering::Relaxed),
            durable_end: shared.durable_end.load(Ordering::Acquire),
            acked_end: shared.acked_end.load(Ordering::Acquire),
            failures: shared.failures.load(Ordering::Relaxed),
            failing: shared.failing.load(Ordering::Relaxed) != 0,
        }
    }

    /// Writes and syncs what is queued and ends the writer. Later batches are
    /// dropped. Dropping the journal does the same.
    pub fn close(&self) {
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread {
            // An error means that the writer has ended already.
            self.queue.send(Message::Stop).ok();
            if thread.join().is_err() {
                tracing::error!("The journal's writer ended by a panic");
            }
        }
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.close();
    }
}

impl EventSink for Journal {
    fn offer(&self, batch: EventBatch) {
        let events = batch.len();
        if events == 0 {
            return;
        }
        let queued = self
            .shared
            .queued_events
            .fetch_add(events, Ordering::Relaxed);
        if queued + events <= QUEUE_EVENTS_MAX {
            match self.queue.try_send(Message::Offer(batch)) {
                Ok(()) => return,
                Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {}
            }
        }
        self.shared
            .queued_events
            .fetch_sub(events, Ordering::Relaxed);
        self.shared
            .events_dropped
            .fetch_add(events as u64, Ordering::Relaxed);
    }
}

fn spawn(
    log: SegmentLog,
    config: &JournalConfig,
    shared: Arc<Shared>,
    receiver: Receiver<Message>,
) -> std::io::Result<JoinHandle<()>> {
    let writer = writer::Writer::new(
        log,
        Duration::from_millis(config.fsync_interval_ms),
        config.bytes_max,
        shared,
    );
    std::thread::Builder::new()
        .name("journal".to_owned())
        .spawn(move || writer.run(&receiver))
}

/// Gives out durable records for shipping.
#[derive(Debug)]
pub struct JournalReader {
    segments: SegmentReader,
    ack_file: AckFile,
    shared: Arc<Shared>,
    queue: SyncSender<Message>,
}

impl JournalReader {
    /// The next durable record: its number, and the batch in its
    /// [envelope](crate::envelope). None when there is nothing to ship now.
    ///
    /// # Errors
    /// When the disk does not read.
    #[expect(
        clippy::should_implement_trait,
        reason = "it can fail, and can have more later"
    )]
    pub fn next(&mut self) -> Result<Option<(u64, Bytes)>, JournalError> {
        let durable_end = self.shared.durable_end.load(Ordering::Acquire);
        let found = self
            .segments
            .next(durable_end)
            .map_err(|source| JournalError::Io {
                what: "read",
                source,
            })?;
        if found.is_none() {
            // Nothing whole is left below: a damaged end is not waited for.
            self.segments.skip_to(durable_end);
        }
        Ok(found)
    }

    /// Waits until [`Self::next`] may have something to give.
    pub async fn ready(&self) {
        loop {
            let notified = self.shared.durable.notified();
            if self.segments.position() < self.shared.durable_end.load(Ordering::Acquire) {
                return;
            }
            notified.await;
        }
    }

    /// The next durable record, waiting until there is one. Dropping the future
    /// loses nothing.
    ///
    /// # Errors
    /// When the disk does not read.
    pub async fn receive(&mut self) -> Result<(u64, Bytes), JournalError> {
        loop {
            if let Some(found) = self.next()? {
                return Ok(found);
            }
            self.ready().await;
        }
    }

    /// Says that everything up to and including `seq` is safe elsewhere. After a
    /// crash of the machine a few acknowledged records may be given out again.
    ///
    /// # Errors
    /// When the place cannot be written down; the records may be given out again.
    pub fn ack(&mut self, seq: u64) -> Result<(), JournalError> {
        let end = seq.saturating_add(1);
        let before = self.shared.acked_end.fetch_max(end, Ordering::AcqRel);
        if end <= before {
            return Ok(());
        }
        // A full queue means that the writer is awake and will look by itself.
        self.queue.try_send(Message::Release).ok();
        self.ack_file.write(end).map_err(|source| JournalError::Io {
            what: "acknowledge a record of",
            source,
        })
    }

    /// Goes back to the first record not acknowledged, as after a lost connection.
    pub fn rewind(&mut self) {
        self.segments
            .seek(self.shared.acked_end.load(Ordering::Acquire));
    }
}

/// The whole records in the bytes of a segment file, with their numbers: for
/// tools, and for throwing damaged bytes at. Damaged stretches are stepped over.
pub fn scan(bytes: &[u8]) -> Vec<(u64, &[u8])> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(start) = record::resync(bytes, at) {
        let record::Parsed::Whole {
            seq,
            payload,
            length,
        } = record::parse(&bytes[start..])
        else {
            break;
        };
        found.push((seq, payload));
        at = start + length;
    }
    found
}

/// How far records are acknowledged, in a file of twelve bytes that is written in
/// place: the number and its CRC-32. Damage means shipping again what remains.
#[derive(Debug)]
struct AckFile {
    path: PathBuf,
    file: Option<std::fs::File>,
}

impl AckFile {
    fn new(dir: &Path) -> Self {
        Self {
            path: dir.join("acked"),
            file: None,
        }
    }

    fn read(dir: &Path) -> Option<u64> {
        let bytes = std::fs::read(dir.join("acked")).ok()?;
        let (number, crc) = bytes.split_first_chunk::<8>()?;
        (crc == crc32fast::hash(number).to_le_bytes()).then(|| u64::from_le_bytes(*number))
    }

    fn write(&mut self, end: u64) -> std::io::Result<()> {
        use std::os::unix::fs::FileExt;
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(
                std::fs::OpenOptions::new()
                    .write(true)
                    .create(true)
                    .truncate(false)
                    .open(&self.path)?,
            ),
        };
        let number = end.to_le_bytes();
        let mut bytes = [0; 12];
        bytes[..8].copy_from_slice(&number);
        bytes[8..].copy_from_slice(&crc32fast::hash(&number).to_le_bytes());
        file.write_all_at(&bytes, 0)
    }
}
