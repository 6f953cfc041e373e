//! Where responses are kept: memory and disk, shared by all worker threads.
//!
//! ```text
//!            lookup ───────────► memory (sharded map, S3-FIFO) ◄── promote ── disk index
//!  miss: fetch ─► Leader ─► begin_fill ─► Fill.push … finish ─┐                  ▲
//!             └─► Follower ─► wait ─► Object ─► reader ◄──────┴─ write behind ───┘
//! ```
//!
//! * A lookup of a hit takes one read lock of one shard for a moment and clones an
//!   `Arc`. It never waits for the disk: what is on disk only is said to be so, and
//!   [`Store::load`] brings it up.
//! * Bodies up to [`StoreOptions::memory_body_bytes_max`] are in one piece of memory;
//!   larger ones are in files that the kernel can send from: on disk, or in an
//!   anonymous file while there is no disk.
//! * What is written to disk is written behind; what does not get there in time is
//!   just not on disk.
//! * [`Store::purge`] returns when the purge can no longer be forgotten.
//!
//! Whoever uses an [`Object`] holds an `Arc` of it; eviction, purges and refreshes
//! never pull a body from under a reader.

mod arena;
mod collapse;
mod disk;
mod eviction;
mod fill;
mod filling;
mod memory;
mod object;
mod options;
#[doc(hidden)]
pub mod parsers;
mod purge;
mod purge_log;
mod reader;
mod stats;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use base::{SiteId, Timestamp};

pub use collapse::{ALONE_TIME, Follower, Leader, Outcome};
pub use fill::{Fill, Refused};
pub use filling::{Aborted, Filling};
pub use memory::VARIANTS_MAX;
pub use object::{Body, FileBody, Object};
pub use options::{
    DiskOptions, MEMORY_BODY_BYTES_MAX, Notice, OpenError, PurgeError, StoreOptions,
};
pub use purge::{PurgeOrder, Stamp};
pub use reader::{BodyReader, ReadError};
pub use stats::Stats;

use crate::key::{CacheKey, Hasher, KeyHash};
use crate::rules::{Fields, ResponseMeta};
use arena::Arena;
use collapse::{Collapse, Turn};
use disk::Disk;
use memory::{Found, Memory};
use purge::{Fate, Purges, What};
use purge_log::PurgeLog;
use stats::Counters;

/// Without a disk, no body may take more than this share of memory: one in four.
const MEMORY_PART_MAX: u64 = 4;
/// Keys that may be brought up from disk at the same time.
const LOADING_SHARDS: usize = 256;

/// The store. Clones are the same store.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

/// Counts of invalidations that keys share.
const INVALIDATIONS: usize = 4_096;

struct Inner {
    options: StoreOptions,
    hasher: Hasher,
    memory: Arc<Memory>,
    arena: Arena,
    purges: Arc<Purges>,
    collapse: Arc<Collapse>,
    disk: Option<Disk>,
    counters: Arc<Counters>,
    filling_bytes: AtomicU64,
    /// How often something under a key was invalidated, by the key's hash.
    invalidations: Box<[AtomicU32]>,
    loading: Box<[tokio::sync::Mutex<()>]>,
    log: PurgeLog,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("options", &self.inner.options)
            .finish_non_exhaustive()
    }
}

/// What a lookup found.
#[derive(Debug)]
pub enum Lookup {
    /// An object that answers such requests.
    Hit(Arc<Object>),
    /// Something on disk under this key: [`Store::load`] it.
    OnDisk,
    /// Objects under this key, but none for such requests.
    OtherVariants,
    /// Nothing.
    Miss,
}

/// Who fetches what a lookup did not find, or found stale.
#[derive(Debug)]
pub enum Fetch {
    /// You do, for all who wait; settle the leader in every case.
    Leader(Leader),
    /// Somebody else does.
    Follower(Follower),
    /// You do, for yourself: responses to this key are not kept just now.
    Alone(Stamp),
    /// Nobody: it has come since you looked.
    Object(Arc<Object>),
}

impl Store {
    /// Opens a store; with a disk tier, what it kept is there again.
    ///
    /// # Errors
    /// When the cache directory cannot be used.
    pub fn open(options: StoreOptions) -> Result<Self, OpenError> {
        let purges = Arc::new(Purges::new());
        let counters = Arc::new(Counters::default());
        let memory = Arc::new(Memory::new(options.memory_bytes));
        let (disk, log) = match &options.disk {
            None => (None, PurgeLog::in_memory()),
            Some(disk) => {
                let (disk, log) = Disk::open(
                    disk.clone(),
                    memory.clone(),
                    purges.clone(),
                    counters.clone(),
                    options.on_notice.clone(),
                )?;
                (Some(disk), log)
            }
        };
        let hasher = match &disk {
            Some(disk) => disk.hasher(),
            None => {
                let mut key = [0; 16];
                ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut key)
                    .map_err(|_| OpenError::Random)?;
                Hasher::new(key)
            }
        };
        let inner = Inner {
            hasher,
            memory,
            arena: Arena::new().map_err(OpenError::Arena)?,
            purges,
            collapse: Arc::new(Collapse::new()),
            log,
            disk,
            counters,
            filling_bytes: AtomicU64::new(0),
            invalidations: (0..INVALIDATIONS).map(|_| AtomicU32::new(0)).collect(),
            loading: (0..LOADING_SHARDS)
                .map(|_| tokio::sync::Mutex::default())
                .collect(),
            options,
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    // ---- looking up

    /// Looks for an object that answers a request for `key` with these fields.
    pub fn lookup(&self, key: &CacheKey, request: &dyn Fields) -> Lookup {
        let hash = key.hash(&self.inner.hasher);
        let known = match self.find(hash, key, request) {
            Found::Object(object) => {
                object.hit();
                return Lookup::Hit(object);
            }
            Found::OtherVariants => Lookup::OtherVariants,
            Found::Nothing => Lookup::Miss,
        };
        match &self.inner.disk {
            Some(disk) if disk.has(hash) => Lookup::OnDisk,
            _ => known,
        }
    }

    fn find(&self, hash: KeyHash, key: &CacheKey, request: &dyn Fields) -> Found {
        let inner = &*self.inner;
        loop {
            let found = inner.memory.find(hash, key, request);
            let Found::Object(object) = &found else {
                return found;
            };
            if inner.purges.judge(object) != Fate::Purged {
                return found;
            }
            self.drop_object(object);
            inner.counters.purged.add(1);
        }
    }

    /// Brings up from disk what [`Store::lookup`] said is there, into memory.
    pub async fn load(&self, key: &CacheKey, request: &dyn Fields) -> Option<Arc<Object>> {
        let inner = &self.inner;
        let disk = inner.disk.as_ref()?;
        let hash = key.hash(&inner.hasher);
        // One at a time for a key, so that a crowd makes one read.
        let _turn = inner.loading[hash as usize % LOADING_SHARDS].lock().await;
        if let Found::Object(object) = self.find(hash, key, request) {
            return Some(object);
        }
        let bytes_max = inner.options.memory_body_bytes_max;
        let loaded = disk.load(hash, key, request, bytes_max).await?;
        let object = Arc::new(Object::new(
            key.clone(),
            hash,
            loaded.meta,
            loaded.body,
            loaded.born,
        ));
        object.on_disk.store(true, Ordering::Relaxed);
        for displaced in inner.memory.insert(&object) {
            inner.memory.dismiss(&displaced);
        }
        self.admit(&object);
        // Forgotten while it was read, or purged: whoever did it may have looked at
        // memory before it was here.
        if !disk.holds(hash, loaded.write) || inner.purges.judge(&object) == Fate::Purged {
            self.drop_object(&object);
            return None;
        }
        Some(object)
    }

    /// Looks up, and loads what is on disk.
    pub async fn get(&self, key: &CacheKey, request: &dyn Fields) -> Option<Arc<Object>> {
        match self.lookup(key, request) {
            Lookup::Hit(object) => Some(object),
            Lookup::OnDisk => self.load(key, request).await,
            Lookup::OtherVariants | Lookup::Miss => None,
        }
    }

    // ---- fetching

    /// Takes a place in fetching `key`. `seen` is the object that the caller found
    /// and did not like (stale), so that it is not offered again.
    pub fn fetch(
        &self,
        key: &CacheKey,
        request: &dyn Fields,
        seen: Option<&Arc<Object>>,
        now: Timestamp,
    ) -> Fetch {
        let hash = key.hash(&self.inner.hasher);
        let stamp = self.stamp();
        let turn =
            self.inner
                .collapse
                .turn(hash, stamp, now, || match self.find(hash, key, request) {
                    Found::Object(object)
                        if seen.is_none_or(|seen| !Arc::ptr_eq(seen, &object)) =>
                    {
                        Some(object)
                    }
                    _ => None,
                });
        match turn {
            Err(object) => Fetch::Object(object),
            Ok(Turn::Leader(leader)) => Fetch::Leader(leader),
            Ok(Turn::Follower(follower)) => {
                self.inner.counters.collapsed.add(1);
                Fetch::Follower(follower)
            }
            Ok(Turn::Alone) => Fetch::Alone(stamp),
        }
    }

    /// The purge stamp of this moment: to be taken when a request is sent to the
    /// origin without a [`Leader`], which carries one.
    pub fn stamp(&self) -> Stamp {
        self.inner.purges.stamp()
    }

    /// Begins to keep a response. `expected` is its `Content-Length`; `bytes_max` the
    /// site's limit.
    ///
    /// # Errors
    /// When it cannot be kept; pass it through then.
    pub fn begin_fill(
        &self,
        key: &CacheKey,
        meta: ResponseMeta,
        expected: Option<u64>,
        bytes_max: u64,
        stamp: Stamp,
    ) -> Result<Fill, Refused> {
        let inner = &self.inner;
        let bytes_max = bytes_max.min(self.largest_body());
        // A part must have the octets that it says, no more and no fewer.
        let expected = match (meta.content_range, expected) {
            (Some(part), None) => Some(part.len()),
            (Some(part), Some(expected)) if part.len() != expected => {
                return Err(Refused::Partial);
            }
            (_, expected) => expected,
        };
        if expected.is_some_and(|expected| expected > bytes_max) {
            return Err(Refused::TooLarge);
        }
        if inner.filling_bytes.load(Ordering::Relaxed) >= self.filling_bytes_max() {
            return Err(Refused::Busy);
        }
        let filling = Arc::new(Filling::new(expected));
        let object = Arc::new(Object::new(
            key.clone(),
            key.hash(&inner.hasher),
            meta,
            Body::Filling(filling.clone()),
            stamp.0,
        ));
        for displaced in inner.memory.insert(&object) {
            inner.memory.dismiss(&displaced);
        }
        inner.counters.fills.add(1);
        Ok(Fill::new(self.clone(), object, filling, bytes_max))
    }

    /// Keeps a small response that is here already, as a fill in one step.
    ///
    /// # Errors
    /// When it cannot be kept.
    pub async fn put(
        &self,
        key: &CacheKey,
        meta: ResponseMeta,
        body: bytes::Bytes,
        stamp: Stamp,
    ) -> Result<Arc<Object>, Refused> {
        let length = body.len() as u64;
        let mut fill = self.begin_fill(key, meta, Some(length), u64::MAX, stamp)?;
        fill.push(body).await;
        // The length was announced from the body itself.
        fill.finish().map_err(|Aborted| Refused::TooLarge)
    }

    /// Puts a refreshed response with the same body in the place of `old`; answer
    /// from what is returned. `stamp` is of the moment at which the validating
    /// request was sent.
    pub fn refresh(&self, old: &Arc<Object>, meta: ResponseMeta, stamp: Stamp) -> Arc<Object> {
        let object = Arc::new(Object::new(
            old.key().clone(),
            old.hash(),
            meta,
            old.body().clone(),
            // A purge that came meanwhile concerns the old body, unless the origin
            // confirmed it after the purge.
            stamp.0,
        ));
        if matches!(old.body(), Body::Filling(_)) {
            return object;
        }
        object
            .hits
            .store(old.hits.load(Ordering::Relaxed), Ordering::Relaxed);
        if self.inner.memory.replace(old, &object) {
            self.inner.memory.dismiss(old);
        } else if self
            .inner
            .disk
            .as_ref()
            .is_some_and(|disk| disk.has_variant(old))
        {
            // It left memory meanwhile, but was not forgotten.
            for displaced in self.inner.memory.insert(&object) {
                self.inner.memory.dismiss(&displaced);
            }
        } else {
            return object;
        }
        if let Some(disk) = &self.inner.disk {
            disk.write(&object);
        }
        self.admit(&object);
        object
    }

    /// Forgets one object.
    pub fn remove(&self, object: &Arc<Object>) {
        self.drop_object(object);
        if let Some(disk) = &self.inner.disk {
            disk.forget(object);
        }
    }

    /// Forgets all variants of a key, filling ones too (RFC 9111 section 4.4).
    pub fn invalidate(&self, key: &CacheKey) {
        let hash = key.hash(&self.inner.hasher);
        self.inner.invalidations[hash as usize % INVALIDATIONS].fetch_add(1, Ordering::AcqRel);
        let take = || {
            for object in self.inner.memory.take_key(hash) {
                self.inner.memory.dismiss(&object);
            }
        };
        take();
        if let Some(disk) = &self.inner.disk {
            disk.forget_key(hash);
            // A load may have brought it up in between.
            take();
        }
    }

    /// A number that changes when a response for `key` is invalidated. Taken when a request
    /// is sent and compared when its response is kept: what an unsafe request overtook is
    /// out of date already. (Keys share numbers; a change for another one costs a fetch.)
    pub fn invalidations(&self, key: &CacheKey) -> u32 {
        let hash = key.hash(&self.inner.hasher);
        self.inner.invalidations[hash as usize % INVALIDATIONS].load(Ordering::Acquire)
    }

    // ---- purging

    /// Purges; returns when it is in force for everything requested from the origin
    /// before, in memory, on disk and on its way, and will be after a crash.
    /// Blocks for the time of one write to disk. An order whose number is not beyond
    /// [`Store::last_seq`] was obeyed before and changes nothing.
    ///
    /// # Errors
    /// When it cannot be made durable; do not acknowledge it then.
    pub fn purge(&self, order: &PurgeOrder<'_>, now: Timestamp) -> Result<(), PurgeError> {
        let what = What::of(order.purge, order.ignore_query);
        self.inner.log.order(
            &self.inner.purges,
            order.seq,
            Some((what, order.purge.soft, now)),
        )
    }

    /// Notes a quick entry that is no purge, so that [`Store::last_seq`] moves on.
    ///
    /// # Errors
    /// When it cannot be made durable.
    pub fn note_seq(&self, seq: u64) -> Result<(), PurgeError> {
        self.inner.log.order(&self.inner.purges, seq, None)
    }

    /// The number of the last quick entry that was obeyed; 0 for none.
    pub fn last_seq(&self) -> u64 {
        self.inner.log.last_seq()
    }

    /// Purges everything, when the quick log no longer reaches back to
    /// [`Store::last_seq`]; the log goes on after `seq`.
    ///
    /// # Errors
    /// When it cannot be made durable.
    pub fn forget_everything(&self, seq: u64, now: Timestamp) -> Result<(), PurgeError> {
        self.inner
            .log
            .forget_everything(&self.inner.purges, seq, now)
    }

    /// Everything of `site` requested before `before` is purged: the folded form of
    /// purges, from a snapshot.
    pub fn set_purged_before(&self, site: SiteId, before: Timestamp) {
        self.inner.purges.set_before(site, before);
    }

    // ---- watching

    /// Figures for metrics.
    pub fn stats(&self) -> Stats {
        let (memory_bytes, memory_objects) = self.inner.memory.size();
        Stats {
            memory_bytes,
            memory_objects: memory_objects as u64,
            filling_bytes: self.inner.filling_bytes.load(Ordering::Relaxed),
            disk_bytes: self.inner.disk.as_ref().map_or(0, Disk::octets),
            disk_objects: self.inner.disk.as_ref().map_or(0, Disk::objects) as u64,
            disk_queue: self.inner.disk.as_ref().map_or(0, Disk::queued) as u64,
            disk_healthy: self.inner.disk.as_ref().is_none_or(Disk::is_healthy),
            ..self.inner.counters.snapshot()
        }
    }

    /// Waits until what is queued for the disk is written. Blocks; for an orderly end
    /// and for tests.
    pub fn flush(&self) {
        if let Some(disk) = &self.inner.disk {
            disk.flush();
        }
    }

    /// Writes what is queued and lets go of the cache directory for good, so that
    /// another process can open it while this one serves on: from memory, and from what
    /// is on disk as long as the other leaves it there. Purges hold here, but no longer
    /// durably. Blocks.
    pub fn release_disk(&self) {
        self.inner.log.release();
        if let Some(disk) = &self.inner.disk {
            disk.release();
        }
    }

    /// Lets every write to disk fail with this error number, until it is told 0: for
    /// tests of what happens then.
    #[doc(hidden)]
    pub fn set_disk_fault(&self, errno: i32) {
        if let Some(disk) = &self.inner.disk {
            disk.set_fault(errno);
        }
    }

    // ---- inside

    fn largest_body(&self) -> u64 {
        let memory = self.inner.options.memory_bytes / MEMORY_PART_MAX;
        self.inner
            .disk
            .as_ref()
            .map_or(memory, |disk| disk.largest_body().max(memory))
    }

    fn filling_bytes_max(&self) -> u64 {
        (self.inner.options.memory_bytes / 2).max(16 << 20)
    }

    fn charge_filling(&self, octets: u64) -> bool {
        let before = self
            .inner
            .filling_bytes
            .fetch_add(octets, Ordering::Relaxed);
        let fits = before + octets <= self.filling_bytes_max();
        if !fits {
            self.release_filling(octets);
        }
        fits
    }

    fn release_filling(&self, octets: u64) {
        self.inner
            .filling_bytes
            .fetch_sub(octets, Ordering::Relaxed);
    }

    /// Puts a complete object in the place of its filling self.
    fn keep(&self, filling: &Arc<Object>, object: Arc<Object>) -> Arc<Object> {
        let inner = &self.inner;
        let Some(displaced) = inner.memory.complete(filling, &object) else {
            // Removed, invalidated or pushed out while it came.
            return object;
        };
        for displaced in displaced {
            inner.memory.dismiss(&displaced);
        }
        if let Some(disk) = &inner.disk {
            disk.supersede(&object);
            disk.write(&object);
        }
        self.admit(&object);
        object
    }

    fn admit(&self, object: &Arc<Object>) {
        let evicted = self.inner.memory.admit(object);
        self.inner.counters.evicted.add(evicted.len() as u64);
    }

    fn drop_object(&self, object: &Arc<Object>) {
        self.inner.memory.take_out(object);
        self.inner.memory.dismiss(object);
    }
}
