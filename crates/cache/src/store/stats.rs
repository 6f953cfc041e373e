//! What a store counts.

use std::sync::atomic::{AtomicU64, Ordering};

/// Figures of a store since it was opened, and as it stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Octets of memory taken by objects.
    pub memory_bytes: u64,
    /// Objects in memory.
    pub memory_objects: u64,
    /// Octets of bodies on their way.
    pub filling_bytes: u64,
    /// Octets of disk taken.
    pub disk_bytes: u64,
    /// Objects on disk.
    pub disk_objects: u64,
    /// Objects waiting to be written to disk.
    pub disk_queue: u64,
    /// Objects that were not written because the queue was full.
    pub disk_dropped: u64,
    /// Objects evicted from disk.
    pub disk_evicted: u64,
    /// Objects loaded from disk.
    pub disk_loads: u64,
    /// Whether the disk can be used; true without one.
    pub disk_healthy: bool,
    /// Fills begun.
    pub fills: u64,
    /// Requests that waited for another's fetch.
    pub collapsed: u64,
    /// Objects evicted from memory.
    pub evicted: u64,
    /// Objects found purged.
    pub purged: u64,
    /// Objects found damaged.
    pub corrupt: u64,
}

/// A count.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self, by: u64) {
        if by > 0 {
            self.0.fetch_add(by, Ordering::Relaxed);
        }
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) fills: Counter,
    pub(super) collapsed: Counter,
    pub(super) evicted: Counter,
    pub(super) purged: Counter,
    pub(super) corrupt: Counter,
    pub(super) disk_dropped: Counter,
    pub(super) disk_evicted: Counter,
    pub(super) disk_loads: Counter,
}

impl Counters {
    pub(super) fn snapshot(&self) -> Stats {
        Stats {
            fills: self.fills.get(),
            collapsed: self.collapsed.get(),
            evicted: self.evicted.get(),
            purged: self.purged.get(),
            corrupt: self.corrupt.get(),
            disk_dropped: self.disk_dropped.get(),
            disk_evicted: self.disk_evicted.get(),
            disk_loads: self.disk_loads.get(),
            disk_healthy: true,
            ..Stats::default()
        }
    }
}
