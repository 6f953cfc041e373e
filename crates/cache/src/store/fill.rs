//! Writing a response into the cache while its readers already read it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::{Bytes, BytesMut};

use super::Store;
use super::arena::Extent;
use super::disk::Spill;
use super::filling::{Aborted, Filling};
use super::object::{Body, FileBody, Object};

/// Octets up to which a body without a known length is held in memory while it
/// arrives; a larger one is written to disk beside.
pub(super) const SPILL_BYTES: u64 = 8 << 20;

/// Why a fill could not begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The body is larger than what either tier takes.
    #[error("too large to be kept")]
    TooLarge,
    /// A part whose length is not what its `Content-Range` says.
    #[error("a part of another length than it says")]
    Partial,
    /// As much as allowed is being filled already.
    #[error("too many responses are arriving at once")]
    Busy,
}

/// The writing end of an object: made by [`Store::begin_fill`]. Dropping it before
/// [`Fill::finish`] aborts.
#[derive(Debug)]
pub struct Fill {
    store: Store,
    object: Arc<Object>,
    filling: Arc<Filling>,
    place: Place,
    received: u64,
    bytes_max: u64,
    charged: u64,
    kept: bool,
    ended: bool,
    /// Whether memory holds no more than the newest part.
    large: bool,
}

/// Where the octets go beside memory.
#[derive(Debug)]
enum Place {
    Memory,
    Arena(Arc<Extent>),
    Disk(Spill),
}

impl Fill {
    pub(super) fn new(
        store: Store,
        object: Arc<Object>,
        filling: Arc<Filling>,
        bytes_max: u64,
    ) -> Self {
        Self {
            store,
            object,
            filling,
            place: Place::Memory,
            received: 0,
            bytes_max,
            charged: 0,
            kept: true,
            ended: false,
            large: false,
        }
    }

    /// The object being filled: answer from it, publish it to followers.
    pub fn object(&self) -> &Arc<Object> {
        &self.object
    }

    /// Readers now reading; with none, and nothing to be kept, there is no reason to
    /// go on.
    pub fn readers(&self) -> usize {
        self.filling.readers()
    }

    /// Whether the body will be kept when it is complete.
    pub fn is_kept(&self) -> bool {
        self.kept && !self.object.gone.load(Ordering::Relaxed)
    }

    /// Adds octets; waits while the disk, or the slowest reader of a body that is not
    /// kept, is behind.
    pub async fn push(&mut self, chunk: Bytes) {
        if chunk.is_empty() {
            return;
        }
        self.received += chunk.len() as u64;
        if self.kept {
            self.place_for(&chunk);
        }
        self.filling.push(chunk.clone());
        if self.kept {
            self.write_beside(&chunk);
        }
        self.filling.wait_for_room().await;
    }

    /// Decides where the body goes, before `chunk` is added.
    fn place_for(&mut self, chunk: &Bytes) {
        if self.received > self.bytes_max {
            self.give_up_keeping();
            return;
        }
        if !self.store.charge_filling(chunk.len() as u64) {
            self.give_up_keeping();
            return;
        }
        self.charged += chunk.len() as u64;
        let final_len = self.filling.expected().unwrap_or(self.received);
        let inner = &self.store.inner;
        let moves = match &self.place {
            Place::Memory => {
                final_len > inner.options.memory_body_bytes_max || final_len > SPILL_BYTES
            }
            Place::Arena(_) => final_len > SPILL_BYTES && !self.large,
            Place::Disk(_) => false,
        };
        if moves {
            self.move_beside(final_len);
        }
    }

    /// Gives the body a file; what has arrived so far is written to it.
    fn move_beside(&mut self, final_len: u64) {
        let inner = &self.store.inner;
        let so_far = self.filling.all_chunks().unwrap_or_default();
        if final_len > SPILL_BYTES
            && let Some(disk) = &inner.disk
            && let Some(spill) = disk.spill(&self.object, &self.filling)
        {
            for chunk in so_far {
                spill.write(chunk);
            }
            self.place = Place::Disk(spill);
            return;
        }
        self.large = final_len > SPILL_BYTES;
        if let Place::Arena(extent) = &self.place {
            self.filling.set_file(file_of(extent, 0), self.large);
            return;
        }
        // Addresses cost nothing: room for the largest body that may come.
        let room = self.filling.expected().unwrap_or(self.bytes_max);
        let extent = inner.arena.reserve(room);
        let mut at = 0;
        for chunk in &so_far {
            if extent.write(at, chunk).is_err() {
                self.give_up_keeping();
                return;
            }
            at += chunk.len() as u64;
        }
        self.filling.set_file(file_of(&extent, 0), self.large);
        self.filling.set_written(at);
        self.place = Place::Arena(extent);
    }

    fn write_beside(&mut self, chunk: &Bytes) {
        match &self.place {
            Place::Memory => {}
            Place::Arena(extent) => {
                let at = self.received - chunk.len() as u64;
                match extent.write(at, chunk) {
                    Ok(()) => self.filling.set_written(self.received),
                    Err(_) => self.give_up_keeping(),
                }
            }
            Place::Disk(spill) => {
                if spill.failed() {
                    self.give_up_keeping();
                } else {
                    spill.write(chunk.clone());
                    // What is on its way to disk is bounded by the wait for room.
                    self.store.release_filling(chunk.len() as u64);
                    self.charged = self.charged.saturating_sub(chunk.len() as u64);
                }
            }
        }
    }

    /// Nobody new may read it; those who do, go on.
    fn give_up_keeping(&mut self) {
        self.kept = false;
        self.store.inner.memory.take_out(&self.object);
        self.filling.become_window();
    }

    /// The body is complete: keeps it and returns the object to answer from now on.
    ///
    /// # Errors
    /// When fewer or more octets came than were announced; readers are cut off then,
    /// and nothing is kept.
    pub fn finish(mut self) -> Result<Arc<Object>, Aborted> {
        if self
            .filling
            .expected()
            .is_some_and(|expected| expected != self.received)
        {
            return Err(Aborted);
        }
        self.ended = true;
        let spill = match std::mem::replace(&mut self.place, Place::Memory) {
            Place::Disk(spill) => Some(spill),
            other => {
                self.place = other;
                None
            }
        };
        let body = match &spill {
            None if self.is_kept() => self.whole_body(),
            _ => None,
        };
        self.filling.end(Ok(()));
        self.store
            .release_filling(std::mem::take(&mut self.charged));
        if let Some(spill) = spill.filter(|_| self.is_kept()) {
            // Read as it came, until the disk has the rest.
            spill.seal(&self.object);
            return Ok(self.object.clone());
        }
        let Some(body) = body else {
            self.store.inner.memory.take_out(&self.object);
            return Ok(self.object.clone());
        };
        let old = &self.object;
        let object = Arc::new(Object::new(
            old.key().clone(),
            old.hash(),
            old.meta().clone(),
            body,
            old.born,
        ));
        Ok(self.store.keep(old, object))
    }

    fn whole_body(&self) -> Option<Body> {
        match &self.place {
            Place::Memory => {
                let mut chunks = self.filling.all_chunks()?;
                if chunks.len() == 1 {
                    return chunks.pop().map(|chunk| {
                        // A slice of a large read buffer would keep all of it.
                        Body::Memory(Bytes::copy_from_slice(&chunk))
                    });
                }
                let mut whole = BytesMut::with_capacity(self.received as usize);
                for chunk in chunks {
                    whole.extend_from_slice(&chunk);
                }
                Some(Body::Memory(whole.freeze()))
            }
            Place::Arena(extent) => Some(Body::File(file_of(extent, self.received))),
            Place::Disk(_) => None,
        }
    }

    /// The response broke off: readers are cut off, nothing is kept.
    pub fn abort(self) {
        drop(self);
    }
}

impl Drop for Fill {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        self.store.inner.memory.take_out(&self.object);
        self.object.gone.store(true, Ordering::Relaxed);
        self.filling.end(Err(Aborted));
        self.store
            .release_filling(std::mem::take(&mut self.charged));
    }
}

fn file_of(extent: &Arc<Extent>, len: u64) -> FileBody {
    FileBody {
        file: extent.file().clone(),
        offset: extent.offset(),
        len,
        extent: Some(extent.clone()),
    }
}
