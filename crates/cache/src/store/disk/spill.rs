//! Large bodies: written to a file of their own while they arrive.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use super::Shared;
use super::files::Files;
use super::queue::Job;
use super::record::{self, FILE_HEAD_BYTES, HEAD_BYTES, Head};
use crate::store::filling::Filling;
use crate::store::object::{FileBody, Object};

/// A file that a body is being written to; shared with the disk thread.
pub(super) struct SpillFile {
    pub(super) number: u32,
    pub(super) path: PathBuf,
    pub(super) file: Arc<File>,
    pub(super) about: Vec<u8>,
    pub(super) body_at: u64,
    pub(super) filling: Arc<Filling>,
    pub(super) failed: AtomicBool,
    written: AtomicU64,
    charged: AtomicU64,
    crc: Mutex<crc32fast::Hasher>,
}

/// The fill's end of it; dropped before [`Spill::seal`], the file is deleted.
pub(in crate::store) struct Spill {
    shared: Arc<Shared>,
    file: Option<Arc<SpillFile>>,
}

impl std::fmt::Debug for Spill {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Spill")
    }
}

impl Spill {
    pub(super) fn create(
        shared: &Arc<Shared>,
        object: &Arc<Object>,
        filling: &Arc<Filling>,
    ) -> Option<Self> {
        let about = record::about(object.key(), object.meta(), None)?;
        let number = shared.files.next_number();
        let path = shared.files.path(number, "arriving");
        let file = match shared.files.create(&path) {
            Ok(file) => Arc::new(file),
            Err(error) => {
                tracing::warn!(%error, "could not create a file for a large response");
                return None;
            }
        };
        let body_at = FILE_HEAD_BYTES + (HEAD_BYTES + about.len()) as u64;
        filling.set_file(
            FileBody {
                file: file.clone(),
                offset: body_at,
                len: 0,
                extent: None,
            },
            true,
        );
        shared.files.charge(body_at);
        let file = SpillFile {
            number,
            path,
            file,
            about,
            body_at,
            filling: filling.clone(),
            failed: AtomicBool::new(false),
            written: AtomicU64::new(0),
            charged: AtomicU64::new(body_at),
            crc: Mutex::default(),
        };
        Some(Self {
            shared: shared.clone(),
            file: Some(Arc::new(file)),
        })
    }

    /// Queues octets; the filling says when too many wait.
    pub(in crate::store) fn write(&self, chunk: Bytes) {
        if let Some(file) = &self.file {
            self.shared.queue.push(Job::Spill(file.clone(), chunk));
        }
    }

    /// Whether the disk gave up on it.
    pub(in crate::store) fn failed(&self) -> bool {
        self.file
            .as_ref()
            .is_none_or(|file| file.failed.load(Ordering::Acquire))
    }

    /// The body is complete; `object` gets the file when the rest is written.
    pub(in crate::store) fn seal(mut self, object: &Arc<Object>) {
        if let Some(file) = self.file.take() {
            self.shared.queue.push(Job::Seal(file, object.clone()));
        }
    }
}

impl Drop for Spill {
    fn drop(&mut self) {
        if let Some(file) = self.file.take() {
            self.shared.queue.push(Job::Discard(file));
        }
    }
}

impl SpillFile {
    /// Writes the next octets.
    pub(super) fn append(&self, files: &Files, chunk: &[u8]) -> io::Result<()> {
        let written = self.written();
        files.write_at(&self.file, chunk, self.body_at + written)?;
        self.crc
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .update(chunk);
        files.charge(chunk.len() as u64);
        self.charged
            .fetch_add(chunk.len() as u64, Ordering::Relaxed);
        let written = written + chunk.len() as u64;
        self.written.store(written, Ordering::Release);
        self.filling.set_written(written);
        Ok(())
    }

    pub(super) fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    /// Octets that the file takes of the disk's share.
    pub(super) fn charged(&self) -> u64 {
        self.charged.load(Ordering::Relaxed)
    }

    pub(super) fn crc(&self) -> u32 {
        self.crc
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
            .finalize()
    }

    /// Writes the head and gives the file its name.
    pub(super) fn seal(&self, files: &Files, head: &Head) -> io::Result<()> {
        let mut octets = record::file_head(self.number).to_vec();
        octets.extend_from_slice(&head.encode(&self.about));
        octets.extend_from_slice(&self.about);
        files.write_at(&self.file, &octets, 0)?;
        std::fs::rename(&self.path, files.path(self.number, "big"))
    }
}
