//! The memory tier: a sharded map from keys to their variants.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use smallvec::SmallVec;

use super::eviction::S3Fifo;
use super::object::{Body, Object};
use crate::key::{CacheKey, KeyHash};
use crate::rules::Fields;

const SHARDS: usize = 128;
/// Variants of one key; with more the oldest goes. Bounds what a client can make us
/// walk by sending ever new values of a field named in `Vary`.
pub const VARIANTS_MAX: usize = 64;

/// Keys are hashes already.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, octets: &[u8]) {
        for octet in octets {
            self.0 = self.0.rotate_left(8) ^ u64::from(*octet);
        }
    }
    fn write_u128(&mut self, hash: u128) {
        self.0 = hash as u64;
    }
}

pub(super) type ByHash<T> = HashMap<KeyHash, T, BuildHasherDefault<AsIs>>;

/// Newest first.
type Variants = SmallVec<[Arc<Object>; 1]>;

/// The map and its eviction queues.
#[derive(Debug)]
pub(super) struct Memory {
    shards: Box<[RwLock<ByHash<Variants>>]>,
    queues: Mutex<S3Fifo>,
}

/// What a lookup found.
pub(super) enum Found {
    Object(Arc<Object>),
    /// The key is known, but not for such requests.
    OtherVariants,
    Nothing,
}

impl Memory {
    pub(super) fn new(capacity: u64) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
            queues: Mutex::new(S3Fifo::new(capacity)),
        }
    }

    fn read(&self, hash: KeyHash) -> RwLockReadGuard<'_, ByHash<Variants>> {
        self.shards[(hash >> 64) as usize % SHARDS]
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, hash: KeyHash) -> RwLockWriteGuard<'_, ByHash<Variants>> {
        self.shards[(hash >> 64) as usize % SHARDS]
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest object of `key` that `request` selects.
    pub(super) fn find(&self, hash: KeyHash, key: &CacheKey, request: &dyn Fields) -> Found {
        let shard = self.read(hash);
        let Some(variants) = shard.get(&hash) else {
            return Found::Nothing;
        };
        let mut known = false;
        for object in variants {
            if object.key() != key {
                continue;
            }
            known = true;
            if object.meta().vary.is_empty() || object.meta().vary.matches(request) {
                return Found::Object(object.clone());
            }
        }
        if known {
            Found::OtherVariants
        } else {
            Found::Nothing
        }
    }

    /// Puts an object in front of its variants and returns those that it displaces:
    /// the same selection (a filling object displaces nothing until it is complete),
    /// and the oldest beyond the limit.
    pub(super) fn insert(&self, object: &Arc<Object>) -> Vec<Arc<Object>> {
        let filling = matches!(object.body(), Body::Filling(_));
        let mut displaced = Vec::new();
        let mut shard = self.write(object.hash());
        let variants = shard.entry(object.hash()).or_default();
        if !filling {
            variants.retain(|other| {
                let same = other.key() == object.key() && other.meta().vary == object.meta().vary;
                if same {
                    displaced.push(other.clone());
                }
                !same
            });
        }
        variants.insert(0, object.clone());
        while variants.len() > VARIANTS_MAX {
            displaced.extend(variants.pop());
        }
        displaced
    }

    /// Puts a complete object in the place of its filling self, and returns the older
    /// ones of the same selection, which it displaces; `None` when the filling one is
    /// no longer there. In one step, so that no lookup finds neither.
    pub(super) fn complete(&self, filling: &Object, new: &Arc<Object>) -> Option<Vec<Arc<Object>>> {
        let mut shard = self.write(filling.hash());
        let variants = shard.get_mut(&filling.hash())?;
        let place = variants
            .iter_mut()
            .find(|object| std::ptr::eq(Arc::as_ptr(object), filling))?;
        *place = new.clone();
        let mut displaced = Vec::new();
        variants.retain(|other| {
            let stays = Arc::ptr_eq(other, new)
                || matches!(other.body(), Body::Filling(_))
                || other.key() != new.key()
                || other.meta().vary != new.meta().vary;
            if !stays {
                displaced.push(other.clone());
            }
            stays
        });
        Some(displaced)
    }

    /// Puts `new` in the place of `old`; false when `old` is no longer there.
    pub(super) fn replace(&self, old: &Object, new: &Arc<Object>) -> bool {
        let mut shard = self.write(old.hash());
        let Some(variants) = shard.get_mut(&old.hash()) else {
            return false;
        };
        let found = variants
            .iter_mut()
            .find(|object| std::ptr::eq(Arc::as_ptr(object), old));
        match found {
            Some(place) => {
                *place = new.clone();
                true
            }
            None => false,
        }
    }

    /// Puts `new`, the same response, in the place of `old` in map and queues.
    pub(super) fn swap(&self, old: &Arc<Object>, new: &Arc<Object>) {
        if !self.replace(old, new) {
            return;
        }
        let leaving = {
            let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
            queues.swap(old, new)
        };
        for object in &leaving {
            self.take_out(object);
        }
    }

    /// Drops the variants of a key that `which` names.
    pub(super) fn drop_where(&self, hash: KeyHash, which: impl Fn(&Object) -> bool) {
        let named: Vec<Arc<Object>> = self
            .read(hash)
            .get(&hash)
            .into_iter()
            .flatten()
            .filter(|object| which(object))
            .cloned()
            .collect();
        for object in &named {
            self.take_out(object);
            self.queues
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .remove(object);
        }
    }

    /// Takes an object out of the map; false when it was not there.
    pub(super) fn take_out(&self, object: &Object) -> bool {
        let mut shard = self.write(object.hash());
        let Some(variants) = shard.get_mut(&object.hash()) else {
            return false;
        };
        let before = variants.len();
        variants.retain(|other| !std::ptr::eq(Arc::as_ptr(other), object));
        let taken = variants.len() < before;
        if variants.is_empty() {
            shard.remove(&object.hash());
        }
        taken
    }

    /// Takes out all variants of a key.
    pub(super) fn take_key(&self, hash: KeyHash) -> Vec<Arc<Object>> {
        self.write(hash)
            .remove(&hash)
            .map(SmallVec::into_vec)
            .unwrap_or_default()
    }

    /// Lets an object into the eviction queues and takes out those it pushes out.
    pub(super) fn admit(&self, object: &Arc<Object>) -> Vec<Arc<Object>> {
        let leaving = {
            let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
            queues.admit(object)
        };
        for object in &leaving {
            self.take_out(object);
        }
        leaving
    }

    /// Takes an object out of the eviction queues.
    pub(super) fn dismiss(&self, object: &Object) {
        object.gone.store(true, Ordering::Relaxed);
        self.queues
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(object);
    }

    /// Octets and objects in memory.
    pub(super) fn size(&self) -> (u64, usize) {
        let queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        (queues.octets(), queues.len())
    }
}
