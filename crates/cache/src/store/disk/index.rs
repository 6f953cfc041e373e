//! What is on disk, by key, in memory.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use smallvec::SmallVec;

use super::record::{Kind, Listed, Place};
use crate::key::KeyHash;
use crate::store::memory::ByHash;

const SHARDS: usize = 64;

/// A response on disk.
#[derive(Debug)]
pub(super) struct OnDisk {
    pub(super) variant: u64,
    pub(super) write: u64,
    pub(super) born: u64,
    pub(super) head: Place,
    pub(super) body: Place,
    pub(super) body_len: u64,
    pub(super) body_crc: u32,
    pub(super) about_len: u32,
    /// Loads since it was written, up to three.
    pub(super) hits: AtomicU8,
    /// Whether its body was checked, or written, by this process.
    pub(super) checked: AtomicU8,
}

impl Clone for OnDisk {
    fn clone(&self) -> Self {
        Self {
            hits: AtomicU8::new(self.hits.load(Ordering::Relaxed)),
            checked: AtomicU8::new(self.checked.load(Ordering::Relaxed)),
            ..*self
        }
    }
}

impl OnDisk {
    pub(super) fn new(file: u32, listed: &Listed, checked: bool) -> Self {
        Self {
            variant: listed.head.variant,
            write: listed.head.write,
            born: listed.head.born,
            head: Place {
                file,
                at: listed.at,
            },
            body: listed.body,
            body_len: listed.head.body_len,
            body_crc: listed.head.body_crc,
            about_len: listed.head.about_len,
            hits: AtomicU8::new(0),
            checked: AtomicU8::new(u8::from(checked)),
        }
    }
}

type Variants = SmallVec<[OnDisk; 1]>;

/// The index.
#[derive(Debug)]
pub(super) struct Index {
    shards: Box<[RwLock<ByHash<Variants>>]>,
}

impl Index {
    pub(super) fn new() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
        }
    }

    fn read(&self, hash: KeyHash) -> RwLockReadGuard<'_, ByHash<Variants>> {
        self.shards[(hash >> 96) as usize % SHARDS]
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, hash: KeyHash) -> RwLockWriteGuard<'_, ByHash<Variants>> {
        self.shards[(hash >> 96) as usize % SHARDS]
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn contains(&self, hash: KeyHash) -> bool {
        self.read(hash).contains_key(&hash)
    }

    /// All variants, newest first.
    pub(super) fn variants(&self, hash: KeyHash) -> Vec<OnDisk> {
        let mut found = self
            .read(hash)
            .get(&hash)
            .map(|variants| variants.to_vec())
            .unwrap_or_default();
        found.sort_by_key(|entry| std::cmp::Reverse(entry.write));
        found
    }

    /// Whether the record written as `write` is the one in force.
    pub(super) fn holds(&self, hash: KeyHash, write: u64) -> bool {
        self.read(hash)
            .get(&hash)
            .is_some_and(|variants| variants.iter().any(|entry| entry.write == write))
    }

    /// Changes the marks of an entry.
    pub(super) fn mark(&self, hash: KeyHash, write: u64, mark: impl Fn(&OnDisk)) {
        if let Some(variants) = self.read(hash).get(&hash) {
            variants
                .iter()
                .filter(|entry| entry.write == write)
                .for_each(mark);
        }
    }

    /// Puts an entry in the place of an older one of its variant.
    pub(super) fn insert(&self, hash: KeyHash, entry: OnDisk) {
        let mut shard = self.write(hash);
        let variants = shard.entry(hash).or_default();
        if let Some(known) = variants
            .iter_mut()
            .find(|known| known.variant == entry.variant)
        {
            if known.write < entry.write {
                *known = entry;
            }
        } else {
            variants.push(entry);
        }
    }

    /// Removes the entries that `which` names, of one key; returns how many.
    pub(super) fn remove(&self, hash: KeyHash, which: impl Fn(&OnDisk) -> bool) -> usize {
        let mut shard = self.write(hash);
        let Some(variants) = shard.get_mut(&hash) else {
            return 0;
        };
        let before = variants.len();
        variants.retain(|entry| !which(entry));
        let removed = before - variants.len();
        if variants.is_empty() {
            shard.remove(&hash);
        }
        removed
    }

    /// Obeys a record of a file: an entry, or the end of older ones.
    pub(super) fn obey(&self, file: u32, listed: &Listed, checked: bool) {
        let head = &listed.head;
        match head.kind {
            Kind::Object | Kind::Reference => {
                self.insert(head.hash, OnDisk::new(file, listed, checked));
            }
            Kind::ForgetKey => {
                self.remove(head.hash, |entry| entry.write < head.write);
            }
            Kind::ForgetVariant => {
                self.remove(head.hash, |entry| {
                    entry.write < head.write && entry.variant == head.variant
                });
            }
        }
    }

    /// Number of entries.
    pub(super) fn len(&self) -> usize {
        self.shards
            .iter()
            .map(|shard| shard.read().unwrap_or_else(PoisonError::into_inner).len())
            .sum()
    }

    /// Walks all entries and removes those that `keep` does not want.
    pub(super) fn retain(&self, mut keep: impl FnMut(&OnDisk) -> bool) {
        for shard in &self.shards {
            let mut shard = shard.write().unwrap_or_else(PoisonError::into_inner);
            shard.retain(|_, variants| {
                variants.retain(|entry| keep(entry));
                !variants.is_empty()
            });
        }
    }
}
