//! Limits by client: open connections and requests per second.
//!
//! Both tables are bounded. When one is full, connections are still counted for the
//! node as a whole, and rates are forgotten oldest first.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use base::{SiteId, Timestamp};

/// Locks in each table; a client always meets the same one.
const SHARDS: usize = 64;
/// Clients whose rate one shard remembers.
const RATES_PER_SHARD_MAX: usize = 4_096;

/// An address as limits see it: an IPv6 client owns at least a /64 (RFC 6177).
fn client_key(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
    }
}

/// Open connections, in all and by client.
#[derive(Debug)]
pub(crate) struct Connections {
    total: AtomicUsize,
    total_max: usize,
    per_client_max: usize,
    hasher: RandomState,
    shards: Vec<Mutex<HashMap<IpAddr, usize>>>,
}

/// One open connection; leaves when dropped.
#[derive(Debug)]
pub(crate) struct Admitted {
    table: Arc<Connections>,
    client: IpAddr,
}

impl Connections {
    pub(crate) fn new(total_max: usize, per_client_max: usize) -> Arc<Self> {
        Arc::new(Self {
            total: AtomicUsize::new(0),
            total_max,
            per_client_max,
            hasher: RandomState::new(),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
        })
    }

    /// Open connections of the node.
    pub(crate) fn open(&self) -> usize {
        self.total.load(Ordering::Relaxed)
    }

    /// Counts a connection in, or says that there is one too many.
    pub(crate) fn admit(self: &Arc<Self>, client: IpAddr) -> Option<Admitted> {
        let client = client_key(client);
        if self.total.fetch_add(1, Ordering::Relaxed) >= self.total_max {
            self.total.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        let mut shard = self.shard(client);
        let count = shard.entry(client).or_insert(0);
        if *count >= self.per_client_max {
            drop(shard);
            self.total.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        *count += 1;
        drop(shard);
        Some(Admitted {
            table: Arc::clone(self),
            client,
        })
    }

    fn shard(&self, client: IpAddr) -> std::sync::MutexGuard<'_, HashMap<IpAddr, usize>> {
        let index = self.hasher.hash_one(client) as usize % SHARDS;
        self.shards[index]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.table.total.fetch_sub(1, Ordering::Relaxed);
        let mut shard = self.table.shard(self.client);
        if let Some(count) = shard.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                shard.remove(&self.client);
            }
        }
    }
}

/// Requests per second by site and client, as token buckets that hold one second.
#[derive(Debug)]
pub(crate) struct Rates {
    hasher: RandomState,
    shards: Vec<Mutex<HashMap<(SiteId, IpAddr), Bucket>>>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    /// Millionths of a request that are left.
    left: i64,
    at: Timestamp,
}

impl Rates {
    pub(crate) fn new() -> Self {
        Self {
            hasher: RandomState::new(),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
        }
    }

    /// Takes one request out of the client's bucket; `false`: it is empty.
    pub(crate) fn allow(&self, site: SiteId, client: IpAddr, rps: u32, now: Timestamp) -> bool {
        let key = (site, client_key(client));
        let full = i64::from(rps) * 1_000_000;
        let index = self.hasher.hash_one(key) as usize % SHARDS;
        let mut shard = self.shards[index]
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if shard.len() >= RATES_PER_SHARD_MAX && !shard.contains_key(&key) {
            let second_ago = now.minus(std::time::Duration::from_secs(1));
            shard.retain(|_, bucket| bucket.at > second_ago);
            if shard.len() >= RATES_PER_SHARD_MAX {
                shard.clear();
            }
        }
        let bucket = shard.entry(key).or_insert(Bucket {
            left: full,
            at: now,
        });
        let passed = i64::try_from(now.since(bucket.at).as_micros()).unwrap_or(i64::MAX);
        bucket.left = full.min(
            bucket
                .left
                .saturating_add(passed.saturating_mul(i64::from(rps))),
        );
        bucket.at = now;
        if bucket.left < 1_000_000 {
            return false;
        }
        bucket.left -= 1_000_000;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_has_its_share_of_connections_and_gives_it_back() {
        let table = Connections::new(3, 2);
        let one: IpAddr = "192.0.2.1".parse().expect("an address");
        let two: IpAddr = "2001:db8::1".parse().expect("an address");
        let neighbour: IpAddr = "2001:db8::ffff".parse().expect("an address");
        let first = table.admit(one).expect("first");
        let _second = table.admit(one).expect("second");
        assert!(table.admit(one).is_none(), "a third of one client");
        drop(first);
        let _third = table.admit(two).expect("another client");
        let _fourth = table.admit(neighbour).expect("the same /64, second");
        assert!(table.admit(one).is_none(), "a fourth in all");
        assert_eq!(table.open(), 3);
    }

    #[test]
    fn a_rate_is_held_over_time_even_when_the_clock_goes_back() {
        let rates = Rates::new();
        let site = SiteId(uuid::Uuid::nil());
        let client: IpAddr = "192.0.2.1".parse().expect("an address");
        let allowed = |at_ms: i64| rates.allow(site, client, 10, Timestamp(at_ms * 1_000));
        assert_eq!((0..20).filter(|_| allowed(1_000)).count(), 10);
        assert_eq!((0..20).filter(|_| allowed(1_500)).count(), 5);
        assert!(!allowed(500), "an earlier time fills nothing");
        assert_eq!((0..20).filter(|_| allowed(60_000)).count(), 10);
    }
}
