//! The disk tier: an index in memory, segments and large files on disk, one thread
//! that writes.
//!
//! * [`record`] is the format, pure. [`index`] says what is where. [`files`] owns the
//!   directory. [`writer`] is the thread.
//! * Nothing here is needed for serving: a disk that fails is left alone and tried
//!   again, while memory serves on.
//! * After a crash, sealed segments are known by their lists; the one that was being
//!   written is read up to where it was torn. Bodies are checked when first used.

mod files;
mod index;
mod open;
mod queue;
pub(super) mod record;
mod segment;
mod spill;
mod writer;

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use bytes::Bytes;

pub(super) use spill::Spill;

use self::files::Files;
use self::index::{Index, OnDisk};
use self::queue::{Job, Queue};
use self::record::{HEAD_BYTES, Head, Place};
use super::filling::Filling;
use super::memory::Memory;
use super::object::{Body, FileBody, Object};
use super::purge::{Fate, Purges};
use super::stats::Counters;
use super::{DiskOptions, Notice};
use crate::key::{CacheKey, Hasher, KeyHash};
use crate::rules::{Fields, ResponseMeta};

/// Share of the disk that one body may take: half.
const DISK_PART_MAX: u64 = 2;

/// What the disk tier's threads share.
pub(super) struct Shared {
    options: DiskOptions,
    hasher: Hasher,
    files: Files,
    index: Index,
    queue: Queue,
    memory: Arc<Memory>,
    purges: Arc<Purges>,
    counters: Arc<Counters>,
    on_notice: Arc<dyn Fn(Notice) + Send + Sync>,
    healthy: AtomicBool,
    /// The directory belongs to another process: nothing more is written or deleted.
    released: AtomicBool,
}

/// The disk tier.
pub(super) struct Disk {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    /// Held as long as the directory is in use.
    lock: Mutex<Option<File>>,
}

/// A response read from disk.
pub(super) struct Loaded {
    pub(super) meta: ResponseMeta,
    pub(super) body: Body,
    pub(super) born: u64,
    pub(super) write: u64,
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Disk")
            .field("options", &self.shared.options)
            .finish_non_exhaustive()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.shared.queue.close();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the cache's disk thread panicked");
        }
    }
}

impl Disk {
    pub(super) fn hasher(&self) -> Hasher {
        self.shared.hasher
    }

    /// Whether something is on disk under this key.
    pub(super) fn has(&self, hash: KeyHash) -> bool {
        self.shared.index.contains(hash)
    }

    /// Octets of the largest body that is taken.
    pub(super) fn largest_body(&self) -> u64 {
        self.shared.options.bytes / DISK_PART_MAX
    }

    /// Whether it can be used just now.
    pub(super) fn is_healthy(&self) -> bool {
        self.shared.healthy.load(Ordering::Acquire)
    }

    pub(super) fn octets(&self) -> u64 {
        self.shared.files.octets()
    }

    pub(super) fn objects(&self) -> usize {
        self.shared.index.len()
    }

    pub(super) fn queued(&self) -> usize {
        self.shared.queue.len()
    }

    /// Writes an object, later; an object that cannot wait in the queue is not on
    /// disk, and neither is what it replaces.
    pub(super) fn write(&self, object: &Arc<Object>) {
        if !self.shared.queue.push_write(object) {
            self.shared.counters.disk_dropped.add(1);
            self.forget(object);
        }
    }

    /// What is on disk of this variant is older than what memory has: it must not be
    /// found should that leave memory before it is written.
    pub(super) fn supersede(&self, object: &Object) {
        self.shared.forget_now(object);
    }

    /// Forgets one variant.
    pub(super) fn forget(&self, object: &Object) {
        self.shared.queue.give_up(object.hash(), |other| {
            other.meta().vary == object.meta().vary
        });
        self.shared.forget_now(object);
        self.shared
            .queue
            .push_forget(object.hash(), Some(self.shared.variant_of(object)));
    }

    /// Forgets a key.
    pub(super) fn forget_key(&self, hash: KeyHash) {
        let waiting = self.shared.queue.give_up(hash, |_| true);
        if self.shared.index.remove(hash, |_| true) > 0 || waiting {
            self.shared.queue.push_forget(hash, None);
        }
    }

    /// A file for a large body that begins to arrive; `None` when the disk fails.
    pub(super) fn spill(&self, object: &Arc<Object>, filling: &Arc<Filling>) -> Option<Spill> {
        if !self.is_healthy() {
            return None;
        }
        Spill::create(&self.shared, object, filling)
    }

    /// Whether a response of this variant is on disk.
    pub(super) fn has_variant(&self, object: &Object) -> bool {
        let variant = self.shared.variant_of(object);
        let known = self.shared.index.variants(object.hash());
        known.iter().any(|entry| entry.variant == variant)
    }

    /// Whether the record written as `write` is in force.
    pub(super) fn holds(&self, hash: KeyHash, write: u64) -> bool {
        self.shared.index.holds(hash, write)
    }

    /// Writes what is queued and lets go of the directory for good: what is there can
    /// still be read, nothing more is written or deleted, and another process may open
    /// it. Blocks.
    pub(super) fn release(&self) {
        self.shared.queue.push(Job::Release);
        self.shared.queue.wait_until_done();
        let mut lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        drop(lock.take());
    }

    /// Waits until everything queued so far is written. Blocks.
    pub(super) fn flush(&self) {
        self.shared.queue.wait_until_done();
    }

    /// Lets every write fail with this error until it is told 0, for tests.
    pub(super) fn set_fault(&self, errno: i32) {
        self.shared.files.set_fault(errno);
    }

    /// Reads the newest response of `key` that `request` selects.
    pub(super) async fn load(
        &self,
        hash: KeyHash,
        key: &CacheKey,
        request: &dyn Fields,
        memory_body_bytes_max: u64,
    ) -> Option<Loaded> {
        for entry in self.shared.index.variants(hash) {
            let Some((found, meta)) = self.about(hash, &entry).await else {
                self.shared.throw_away(hash, &entry, entry.head.file);
                continue;
            };
            if found != *key || !(meta.vary.is_empty() || meta.vary.matches(request)) {
                continue;
            }
            if self.shared.purges.fate(key, &meta, entry.born) == Fate::Purged {
                self.shared
                    .index
                    .remove(hash, |other| other.write == entry.write);
                self.shared.counters.purged.add(1);
                continue;
            }
            let Some(body) = self.body(&entry, memory_body_bytes_max).await else {
                self.shared.throw_away(hash, &entry, entry.body.file);
                continue;
            };
            self.shared.index.mark(hash, entry.write, |entry| {
                entry.checked.store(1, Ordering::Relaxed);
                let hits = entry.hits.load(Ordering::Relaxed);
                entry.hits.store((hits + 1).min(3), Ordering::Relaxed);
            });
            self.shared.counters.disk_loads.add(1);
            return Some(Loaded {
                meta,
                body,
                born: entry.born,
                write: entry.write,
            });
        }
        None
    }

    async fn about(&self, hash: KeyHash, entry: &OnDisk) -> Option<(CacheKey, ResponseMeta)> {
        let file = self.shared.files.get(entry.head.file).ok()?;
        let length = HEAD_BYTES + entry.about_len as usize;
        let octets = match files::read_cached(&file, entry.head.at, length) {
            Some(octets) => octets,
            None => {
                let at = entry.head.at;
                blocking(move || files::read(&file, at, length)).await?
            }
        };
        let (head, about) = octets.split_first_chunk::<HEAD_BYTES>()?;
        let decoded = Head::decode(head)?;
        if decoded.hash != hash || !Head::checks(head, about) {
            return None;
        }
        let (key, meta, _) = record::read_about(about)?;
        Some((key, meta))
    }

    async fn body(&self, entry: &OnDisk, memory_body_bytes_max: u64) -> Option<Body> {
        let file = self.shared.files.get(entry.body.file).ok()?;
        let (at, len, crc) = (entry.body.at, entry.body_len, entry.body_crc);
        if len <= memory_body_bytes_max {
            let length = usize::try_from(len).ok()?;
            let octets = match files::read_cached(&file, at, length) {
                Some(octets) => octets,
                None => blocking(move || files::read(&file, at, length)).await?,
            };
            return (crc32fast::hash(&octets) == crc).then(|| Body::Memory(Bytes::from(octets)));
        }
        if entry.checked.load(Ordering::Relaxed) == 0 {
            let file = file.clone();
            let found = blocking(move || files::crc_of(&file, at, len)).await?;
            if found != crc {
                return None;
            }
        }
        Some(Body::File(FileBody {
            file,
            offset: at,
            len,
            extent: None,
        }))
    }
}

/// The object with its body in a file on disk.
fn moved_to(object: &Object, file: Arc<File>, offset: u64, len: u64) -> Arc<Object> {
    let new = object.with_body(Body::File(FileBody {
        file,
        offset,
        len,
        extent: None,
    }));
    new.on_disk.store(true, Ordering::Release);
    Arc::new(new)
}

/// Does what waits for the disk where it holds nobody up.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Option<T> {
    let result = if tokio::runtime::Handle::try_current().is_ok() {
        tokio::task::spawn_blocking(work).await.ok()?
    } else {
        work()
    };
    match result {
        Ok(value) => Some(value),
        Err(error) => {
            tracing::warn!(%error, "could not read the cache's disk");
            None
        }
    }
}

impl Shared {
    /// Octets that tell an object's variant from the others of its key.
    fn variant_of(&self, object: &Object) -> u64 {
        let vary = &object.meta().vary;
        if vary.is_empty() {
            return 0;
        }
        self.hasher.hash(&vary.identity()) as u64
    }

    /// Where an object's body is on disk, when it is.
    fn place_of(&self, object: &Object) -> Option<Place> {
        let Body::File(FileBody {
            file,
            offset,
            extent: None,
            ..
        }) = object.body()
        else {
            return None;
        };
        let known = self.index.variants(object.hash());
        known.iter().map(|entry| entry.body).find(|body| {
            body.at == *offset
                && self
                    .files
                    .get(body.file)
                    .is_ok_and(|known| Arc::ptr_eq(&known, file))
        })
    }

    /// Takes an object's variant out of the index.
    fn forget_now(&self, object: &Object) {
        let variant = self.variant_of(object);
        self.index
            .remove(object.hash(), |entry| entry.variant == variant);
    }

    /// Gives the object in memory a body on disk in place of the one it has.
    fn swap_body(&self, object: &Arc<Object>, file: Arc<File>, offset: u64, len: u64) {
        self.memory
            .swap(object, &moved_to(object, file, offset, len));
    }

    /// Puts an object that has arrived whole, on disk, in the place of its filling
    /// self and of what that replaces.
    fn settle(&self, object: &Arc<Object>, file: Arc<File>, offset: u64, len: u64) {
        let new = moved_to(object, file, offset, len);
        let Some(displaced) = self.memory.complete(object, &new) else {
            return;
        };
        for displaced in displaced {
            self.memory.dismiss(&displaced);
        }
        let evicted = self.memory.admit(&new);
        self.counters.evicted.add(evicted.len() as u64);
    }

    /// Takes out of memory the objects of a key whose bodies are in `file`.
    fn drop_bodies_in(&self, hash: KeyHash, file: &Arc<File>) {
        self.memory.drop_where(
            hash,
            |object| matches!(object.body(), Body::File(body) if Arc::ptr_eq(&body.file, file)),
        );
    }

    fn corrupt(&self, file: u32) {
        if self.released.load(Ordering::Acquire) {
            // The owner of the directory has deleted the file.
            return;
        }
        self.counters.corrupt.add(1);
        (self.on_notice)(Notice::Corrupt {
            file: format!("{file:08}"),
        });
    }

    /// Forgets an entry that does not check.
    fn throw_away(&self, hash: KeyHash, entry: &OnDisk, file: u32) {
        if self.index.remove(hash, |other| other.write == entry.write) == 0 {
            // It went away while it was read: evicted, or replaced.
            return;
        }
        tracing::warn!(
            file,
            at = entry.head.at,
            "a cached response is damaged; thrown away"
        );
        self.corrupt(file);
        self.queue.push_forget(hash, Some(entry.variant));
    }
}
