//! A body on its way from the origin: written once, read by any number of readers
//! from its first octet on, at their own pace.
//!
//! Octets are held in memory as they came. A body too large for that also goes to a
//! file; what the file has is dropped from memory but for the newest part, and late
//! readers read the file. A body that turns out not to be kept (too large, disk
//! full) goes on as a window that moves with its slowest reader, so that nobody's
//! download breaks.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

use super::object::FileBody;

/// Octets of a large body that stay in memory behind its newest one.
const TAIL_BYTES: u64 = 1 << 20;
/// Octets that may wait to be written to disk, or for the slowest reader of a
/// window, before the origin is held back.
const WAITING_BYTES_MAX: u64 = 4 << 20;

/// How a fill ended without a whole body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the response ended before its body was complete")]
pub struct Aborted;

/// A body on its way.
pub struct Filling {
    expected: Option<u64>,
    progress: Mutex<Progress>,
    /// Wakes readers.
    arrived: Notify,
    /// Wakes the writer.
    room: Notify,
}

struct Progress {
    /// Octets in memory, each with its position.
    chunks: VecDeque<(u64, Bytes)>,
    /// Octets so far.
    len: u64,
    end: Option<Result<(), Aborted>>,
    retain: Retain,
    /// The file that has the first `written` octets.
    file: Option<FileBody>,
    written: u64,
    readers: HashMap<u64, u64>,
    next_reader: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Retain {
    /// All octets stay in memory.
    All,
    /// Octets that the file has may go.
    Tail,
    /// Octets that all readers have may go; there is no file.
    Window,
}

impl std::fmt::Debug for Filling {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let progress = self.lock();
        f.debug_struct("Filling")
            .field("expected", &self.expected)
            .field("len", &progress.len)
            .field("end", &progress.end)
            .finish_non_exhaustive()
    }
}

/// What a reader finds at a position.
pub(super) enum Found {
    /// Octets.
    Octets(Bytes),
    /// Octets in the file, up to this position.
    InFile(FileBody, u64),
    /// Nothing yet.
    Pending,
    /// The end.
    End,
    /// Nothing ever.
    Aborted,
}

impl Filling {
    pub(super) fn new(expected: Option<u64>) -> Self {
        Self {
            expected,
            progress: Mutex::new(Progress {
                chunks: VecDeque::new(),
                len: 0,
                end: None,
                retain: Retain::All,
                file: None,
                written: 0,
                readers: HashMap::new(),
                next_reader: 0,
            }),
            arrived: Notify::new(),
            room: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Progress> {
        // Nothing inside panics between two changes that belong together.
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Octets of the whole body, when known: announced, or all here.
    pub(super) fn known_len(&self) -> Option<u64> {
        self.expected.or_else(|| {
            let progress = self.lock();
            (progress.end == Some(Ok(()))).then_some(progress.len)
        })
    }

    pub(super) fn is_complete(&self) -> bool {
        self.lock().end == Some(Ok(()))
    }

    pub(super) fn expected(&self) -> Option<u64> {
        self.expected
    }

    /// Octets so far.
    pub fn received(&self) -> u64 {
        self.lock().len
    }

    /// Readers now reading.
    pub fn readers(&self) -> usize {
        self.lock().readers.len()
    }

    // ---- the writer's side

    pub(super) fn push(&self, chunk: Bytes) {
        if chunk.is_empty() {
            return;
        }
        {
            let mut progress = self.lock();
            let at = progress.len;
            progress.len += chunk.len() as u64;
            progress.chunks.push_back((at, chunk));
            progress.trim();
        }
        self.arrived.notify_waiters();
    }

    /// Waits until the disk, or the slowest reader of a window, has caught up.
    pub(super) async fn wait_for_room(&self) {
        loop {
            let notified = self.room.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            if self.lock().waiting() <= WAITING_BYTES_MAX {
                return;
            }
            notified.await;
        }
    }

    /// Says that `file` is being written beside; octets it has may leave memory when
    /// `tail_only`.
    pub(super) fn set_file(&self, file: FileBody, tail_only: bool) {
        let mut progress = self.lock();
        progress.file = Some(file);
        if tail_only {
            progress.retain = Retain::Tail;
        }
    }

    /// Says that the file has the first `written` octets.
    pub(super) fn set_written(&self, written: u64) {
        {
            let mut progress = self.lock();
            progress.written = progress.written.max(written);
            progress.trim();
        }
        self.room.notify_waiters();
    }

    /// The body will not be kept: go on for those who read it.
    pub(super) fn become_window(&self) {
        {
            let mut progress = self.lock();
            // What only the file has is still read from there.
            progress.retain = Retain::Window;
            progress.trim();
        }
        self.room.notify_waiters();
    }

    pub(super) fn end(&self, result: Result<(), Aborted>) {
        {
            let mut progress = self.lock();
            if progress.end.is_none() {
                progress.end = Some(result);
            }
        }
        self.arrived.notify_waiters();
        self.room.notify_waiters();
    }

    /// All chunks, when all are in memory.
    pub(super) fn all_chunks(&self) -> Option<Vec<Bytes>> {
        let progress = self.lock();
        let whole = progress.retain == Retain::All;
        whole.then(|| {
            progress
                .chunks
                .iter()
                .map(|(_, chunk)| chunk.clone())
                .collect()
        })
    }

    // ---- the readers' side

    pub(super) fn attach(&self, at: u64) -> u64 {
        let mut progress = self.lock();
        let id = progress.next_reader;
        progress.next_reader += 1;
        progress.readers.insert(id, at);
        id
    }

    pub(super) fn detach(&self, id: u64) {
        {
            let mut progress = self.lock();
            progress.readers.remove(&id);
            progress.trim();
        }
        self.room.notify_waiters();
    }

    pub(super) fn moved(&self, id: u64, at: u64) {
        let window = {
            let mut progress = self.lock();
            progress.readers.insert(id, at);
            progress.trim();
            progress.retain == Retain::Window
        };
        if window {
            self.room.notify_waiters();
        }
    }

    pub(super) fn find(&self, at: u64) -> Found {
        self.lock().find(at)
    }

    /// Waits until [`Filling::find`] may answer something else than `Pending`.
    pub(super) async fn arrival(&self, at: u64) {
        loop {
            let notified = self.arrived.notified();
            tokio::pin!(notified);
            // Registered before looking, so that no arrival falls between.
            notified.as_mut().enable();
            if !matches!(self.find(at), Found::Pending) {
                return;
            }
            notified.await;
        }
    }
}

impl Progress {
    fn find(&self, at: u64) -> Found {
        let first = self.chunks.front().map_or(self.len, |(start, _)| *start);
        if at >= self.len {
            return match self.end {
                None => Found::Pending,
                Some(Ok(())) => Found::End,
                Some(Err(Aborted)) => Found::Aborted,
            };
        }
        if at < first {
            return match &self.file {
                Some(file) if at < self.written => {
                    Found::InFile(file.clone(), self.written.min(first))
                }
                _ => Found::Aborted,
            };
        }
        let index = self.chunks.partition_point(|(start, _)| *start <= at) - 1;
        let (start, chunk) = &self.chunks[index];
        Found::Octets(chunk.slice((at - start) as usize..))
    }

    fn trim(&mut self) {
        let upto = match self.retain {
            Retain::All => return,
            Retain::Tail => self.written.min(self.len.saturating_sub(TAIL_BYTES)),
            Retain::Window => self.readers.values().copied().min().unwrap_or(self.len),
        };
        while let Some((start, chunk)) = self.chunks.front()
            && start + chunk.len() as u64 <= upto
        {
            self.chunks.pop_front();
        }
    }

    /// Octets that the writer should wait for.
    fn waiting(&self) -> u64 {
        if self.end.is_some() {
            return 0;
        }
        match self.retain {
            Retain::All => 0,
            Retain::Tail => self.len - self.written,
            Retain::Window => self.len - self.readers.values().copied().min().unwrap_or(self.len),
        }
    }
}
