//! Which objects stay in memory: S3-FIFO (Yang et al., "FIFO queues are all you need
//! for cache eviction", SOSP 2023), weighed in octets.
//!
//! New objects wait in a small queue. Those asked for again before they reach its end
//! move to the main queue; the others leave, and a ghost of their key is remembered,
//! so that they enter the main queue directly if they come back soon. A scan of
//! objects that are asked for once thus passes through the small queue and leaves the
//! main one alone. A hit only counts; no queue moves, no lock is taken.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use super::object::Object;

/// Share of memory for objects not yet asked for twice: one in ten.
const SMALL_PART: u64 = 10;
/// Dead entries that a queue may hold beside its live ones before it is swept.
const DEAD_MAX: usize = 1_024;

const PLACE_NONE: u8 = 0;
const PLACE_SMALL: u8 = 1;
const PLACE_MAIN: u8 = 2;

/// The queues.
#[derive(Debug)]
pub(super) struct S3Fifo {
    capacity: u64,
    small: Queue,
    main: Queue,
    ghosts: Ghosts,
}

#[derive(Debug, Default)]
struct Queue {
    entries: VecDeque<Entry>,
    octets: u64,
    live: usize,
}

#[derive(Debug)]
struct Entry {
    object: Weak<Object>,
    cost: u64,
    ghost: u64,
}

impl S3Fifo {
    pub(super) fn new(capacity: u64) -> Self {
        Self {
            capacity,
            small: Queue::default(),
            main: Queue::default(),
            ghosts: Ghosts::default(),
        }
    }

    /// Octets of all objects in the queues.
    pub(super) fn octets(&self) -> u64 {
        self.small.octets + self.main.octets
    }

    /// Objects in the queues.
    pub(super) fn len(&self) -> usize {
        self.small.live + self.main.live
    }

    /// Takes an object in and returns those that have to leave for it.
    pub(super) fn admit(&mut self, object: &Arc<Object>) -> Vec<Arc<Object>> {
        if object.gone.load(Ordering::Relaxed) {
            // Removed between entering the map and entering here.
            return Vec::new();
        }
        let cost = object.cost();
        let ghost = ghost_of(object);
        let entry = Entry {
            object: Arc::downgrade(object),
            cost,
            ghost,
        };
        if self.ghosts.take(ghost) {
            self.push_main(object, entry);
        } else {
            object.place.store(PLACE_SMALL, Ordering::Relaxed);
            self.small.push(entry);
        }
        self.evict()
    }

    /// Takes `new`, the same response, in the place of `old`, and returns those that
    /// have to leave for it.
    pub(super) fn swap(&mut self, old: &Object, new: &Arc<Object>) -> Vec<Arc<Object>> {
        let main = old.place.load(Ordering::Relaxed) == PLACE_MAIN;
        self.remove(old);
        if main && !new.gone.load(Ordering::Relaxed) {
            let entry = Entry {
                object: Arc::downgrade(new),
                cost: new.cost(),
                ghost: ghost_of(new),
            };
            self.push_main(new, entry);
            return self.evict();
        }
        self.admit(new)
    }

    /// Forgets an object that was removed for another reason.
    pub(super) fn remove(&mut self, object: &Object) {
        let queue = match object.place.swap(PLACE_NONE, Ordering::Relaxed) {
            PLACE_SMALL => &mut self.small,
            PLACE_MAIN => &mut self.main,
            _ => return,
        };
        queue.octets = queue.octets.saturating_sub(object.cost());
        queue.live = queue.live.saturating_sub(1);
        queue.sweep();
    }

    fn push_main(&mut self, object: &Object, entry: Entry) {
        object.place.store(PLACE_MAIN, Ordering::Relaxed);
        self.main.push(entry);
    }

    fn evict(&mut self) -> Vec<Arc<Object>> {
        let mut leaving = Vec::new();
        while self.octets() > self.capacity {
            let from_small = self.small.octets > self.capacity / SMALL_PART || self.main.live == 0;
            let found = if from_small {
                self.evict_small()
            } else {
                self.evict_main()
            };
            match found {
                Step::Evicted(object) => leaving.push(object),
                Step::Moved => {}
                Step::Empty => break,
            }
        }
        self.ghosts.bound(self.main.live.max(1_024));
        leaving
    }

    fn evict_small(&mut self) -> Step {
        let Some((object, entry)) = self.small.pop(PLACE_SMALL) else {
            return Step::Empty;
        };
        // One hit is what a page and its reload make; the paper, too, asks for more
        // than one. Objects that fill the cache alone must not bounce, so hits are
        // reset on the move.
        if object.hits.load(Ordering::Relaxed) > 1 {
            object.hits.store(0, Ordering::Relaxed);
            self.push_main(&object, entry);
            return Step::Moved;
        }
        object.place.store(PLACE_NONE, Ordering::Relaxed);
        self.ghosts.insert(entry.ghost);
        Step::Evicted(object)
    }

    fn evict_main(&mut self) -> Step {
        let Some((object, entry)) = self.main.pop(PLACE_MAIN) else {
            return Step::Empty;
        };
        let hits = object.hits.load(Ordering::Relaxed);
        if hits > 0 {
            object.hits.store(hits - 1, Ordering::Relaxed);
            self.push_main(&object, entry);
            return Step::Moved;
        }
        object.place.store(PLACE_NONE, Ordering::Relaxed);
        Step::Evicted(object)
    }
}

enum Step {
    Evicted(Arc<Object>),
    Moved,
    Empty,
}

impl Queue {
    fn push(&mut self, entry: Entry) {
        self.octets += entry.cost;
        self.live += 1;
        self.entries.push_back(entry);
    }

    /// The oldest object that is still in this queue.
    fn pop(&mut self, place: u8) -> Option<(Arc<Object>, Entry)> {
        while let Some(entry) = self.entries.pop_front() {
            if let Some(object) = entry.object.upgrade()
                && object.place.load(Ordering::Relaxed) == place
            {
                self.octets = self.octets.saturating_sub(entry.cost);
                self.live = self.live.saturating_sub(1);
                return Some((object, entry));
            }
        }
        // Nothing alive: whatever was counted is gone.
        self.octets = 0;
        self.live = 0;
        None
    }

    /// Drops dead entries when they outnumber the live ones, so that a queue that
    /// never fills up does not grow without end.
    fn sweep(&mut self) {
        if self.entries.len() > 2 * self.live + DEAD_MAX {
            self.entries.retain(|entry| {
                entry
                    .object
                    .upgrade()
                    .is_some_and(|object| object.place.load(Ordering::Relaxed) != PLACE_NONE)
            });
        }
    }
}

fn ghost_of(object: &Object) -> u64 {
    (object.hash() >> 64) as u64 ^ object.hash() as u64
}

/// Keys that left the small queue not long ago.
#[derive(Debug, Default)]
struct Ghosts {
    known: HashSet<u64>,
    order: VecDeque<u64>,
}

impl Ghosts {
    fn insert(&mut self, ghost: u64) {
        if self.known.insert(ghost) {
            self.order.push_back(ghost);
        }
    }

    fn take(&mut self, ghost: u64) -> bool {
        self.known.remove(&ghost)
    }

    /// Keeps the newest `most`.
    fn bound(&mut self, most: usize) {
        while self.order.len() > most {
            if let Some(oldest) = self.order.pop_front() {
                self.known.remove(&oldest);
            }
        }
    }
}
