//! One fetch for many: requests for a key that is being fetched wait for the leader
//! (RFC 9111 section 4, "collapsed requests").
//!
//! Followers wait for the leader's response head only, then read the body while it
//! arrives. A leader that fails, is cancelled or panics frees its followers when its
//! token is dropped. Keys whose responses turned out not to be kept are remembered
//! for a short time, so that their requests do not queue behind each other.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base::Timestamp;
use tokio::sync::Notify;

use super::object::Object;
use super::purge::Stamp;
use crate::key::KeyHash;

const SHARDS: usize = 64;
/// Keys remembered as not kept, in one shard.
const ALONE_MAX: usize = 1_024;
/// How long a key is remembered as not kept.
pub const ALONE_TIME: Duration = Duration::from_secs(10);

/// The fetches under way.
#[derive(Debug)]
pub(super) struct Collapse {
    shards: Box<[Mutex<Shard>]>,
}

#[derive(Debug, Default)]
struct Shard {
    pending: HashMap<KeyHash, Arc<Pending>>,
    alone: HashMap<KeyHash, Timestamp>,
}

/// A fetch under way.
#[derive(Debug)]
struct Pending {
    outcome: Mutex<Option<Outcome>>,
    settled: Notify,
}

/// What a leader's fetch came to.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// A response to answer from; check that its `Vary` matches, or fetch again.
    Object(Arc<Object>),
    /// A response for the leader alone: fetch for yourself.
    Uncacheable,
    /// The origin could not answer, or the leader went away.
    Failed,
}

/// The right, and duty, to fetch for everybody who waits.
#[derive(Debug)]
pub struct Leader {
    collapse: Arc<Collapse>,
    hash: KeyHash,
    pending: Arc<Pending>,
    stamp: Stamp,
    settled: bool,
}

/// A place behind a leader.
#[derive(Debug)]
pub struct Follower {
    pending: Arc<Pending>,
}

/// Who fetches.
pub(super) enum Turn {
    Leader(Leader),
    Follower(Follower),
    Alone,
}

impl Collapse {
    pub(super) fn new() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
        }
    }

    fn shard(&self, hash: KeyHash) -> MutexGuard<'_, Shard> {
        self.shards[hash as usize % SHARDS]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place. `recheck` runs while nobody can become or cease to be leader of
    /// this key; what it returns is answered instead of leadership.
    pub(super) fn turn<T>(
        self: &Arc<Self>,
        hash: KeyHash,
        stamp: Stamp,
        now: Timestamp,
        recheck: impl FnOnce() -> Option<T>,
    ) -> Result<Turn, T> {
        let mut shard = self.shard(hash);
        if let Some(until) = shard.alone.get(&hash) {
            // A time far ahead is from before the clock was set back.
            if now < *until && until.since(now) <= ALONE_TIME {
                return Ok(Turn::Alone);
            }
            shard.alone.remove(&hash);
        }
        if let Some(pending) = shard.pending.get(&hash) {
            return Ok(Turn::Follower(Follower {
                pending: pending.clone(),
            }));
        }
        if let Some(found) = recheck() {
            return Err(found);
        }
        let pending = Arc::new(Pending {
            outcome: Mutex::new(None),
            settled: Notify::new(),
        });
        shard.pending.insert(hash, pending.clone());
        Ok(Turn::Leader(Leader {
            collapse: self.clone(),
            hash,
            pending,
            stamp,
            settled: false,
        }))
    }

    fn remember_alone(&self, hash: KeyHash, now: Timestamp) {
        let mut shard = self.shard(hash);
        if shard.alone.len() >= ALONE_MAX {
            shard.alone.retain(|_, until| now < *until);
        }
        // With this many it costs more to remember than to collapse in vain.
        if shard.alone.len() < ALONE_MAX {
            shard.alone.insert(hash, now.plus(ALONE_TIME));
        }
    }
}

impl Leader {
    /// The purge stamp of the moment at which the fetch began, for
    /// [`super::Store::begin_fill`].
    pub fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// Everybody may answer from `object`, filling or complete.
    pub fn publish(mut self, object: Arc<Object>) {
        self.settle(Outcome::Object(object));
    }

    /// The response is not kept: everybody fetches alone, and so do those who come
    /// within [`ALONE_TIME`] after `now`.
    pub fn uncacheable(mut self, now: Timestamp) {
        self.collapse.remember_alone(self.hash, now);
        self.settle(Outcome::Uncacheable);
    }

    /// The origin could not answer.
    pub fn fail(mut self) {
        self.settle(Outcome::Failed);
    }

    fn settle(&mut self, outcome: Outcome) {
        if std::mem::replace(&mut self.settled, true) {
            return;
        }
        self.collapse.shard(self.hash).pending.remove(&self.hash);
        *self
            .pending
            .outcome
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(outcome);
        self.pending.settled.notify_waiters();
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        self.settle(Outcome::Failed);
    }
}

impl Follower {
    /// Waits for the leader's response head.
    pub async fn wait(self) -> Outcome {
        loop {
            let settled = self.pending.settled.notified();
            tokio::pin!(settled);
            settled.as_mut().enable();
            let outcome = self
                .pending
                .outcome
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone();
            if let Some(outcome) = outcome {
                return outcome;
            }
            settled.await;
        }
    }
}
