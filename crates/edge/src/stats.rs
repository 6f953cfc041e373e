//! Counters of a node and of each site, cheap enough to add to on every request.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use base::SiteId;

/// What one site, or the whole node, has served since the process started.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    requests: AtomicU64,
    hits: AtomicU64,
    errors: AtomicU64,
    bytes_sent: AtomicU64,
    origin_bytes: AtomicU64,
}

/// A reading of [`Counters`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Count {
    /// Requests answered.
    pub requests: u64,
    /// Answered from the cache: fresh, stale or shared with another's fetch.
    pub hits: u64,
    /// Answered with 5xx.
    pub errors: u64,
    /// Bytes sent to clients.
    pub bytes_sent: u64,
    /// Bytes of bodies received from origins.
    pub origin_bytes: u64,
}

impl Counters {
    pub(crate) fn add(&self, count: &Count) {
        self.requests.fetch_add(count.requests, Ordering::Relaxed);
        self.hits.fetch_add(count.hits, Ordering::Relaxed);
        self.errors.fetch_add(count.errors, Ordering::Relaxed);
        self.bytes_sent
            .fetch_add(count.bytes_sent, Ordering::Relaxed);
    }

    pub(crate) fn count_origin(&self, bytes: u64) {
        self.origin_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The present values.
    pub(crate) fn read(&self) -> Count {
        Count {
            requests: self.requests.load(Ordering::Relaxed),
            hits: self.hits.load(Ordering::Relaxed),
            errors: self.errors.load(Ordering::Relaxed),
            bytes_sent: self.bytes_sent.load(Ordering::Relaxed),
            origin_bytes: self.origin_bytes.load(Ordering::Relaxed),
        }
    }
}

/// What an edge is doing.
#[derive(Debug, Clone)]
pub struct EdgeStats {
    /// The node as a whole.
    pub total: Count,
    /// By site, in the snapshot's order.
    pub sites: Vec<(SiteId, Count)>,
    /// Open client connections.
    pub connections: usize,
    /// Recent requests per second.
    pub requests_per_second: f64,
    /// The cache's own figures.
    pub cache: cache::store::Stats,
}

/// Shared counters of a site: they outlive snapshots.
pub(crate) type SharedCounters = Arc<Counters>;
