//! Limits on how often something may be tried: token buckets by key, in bounded memory.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base::Timestamp;

/// How often something may be tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Tries at once.
    pub burst: u32,
    /// Time until one more try is allowed.
    pub refill: Duration,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    /// Micro-tries left.
    left: u64,
    at: Timestamp,
}

/// Token buckets by key. When it holds as many keys as it may, the fullest (those
/// that were not tried for long) are forgotten first.
#[derive(Debug)]
pub struct Limiter<K> {
    rate: Rate,
    keys_max: usize,
    buckets: Mutex<HashMap<K, Bucket>>,
}

const TRY: u64 = 1_000_000;

impl<K: Hash + Eq + Clone> Limiter<K> {
    /// A limiter of `rate` for at most `keys_max` keys.
    pub fn new(rate: Rate, keys_max: usize) -> Self {
        Self {
            rate,
            keys_max: keys_max.max(1),
            buckets: Mutex::default(),
        }
    }

    /// Counts a try.
    ///
    /// # Errors
    /// The time to wait, when there were too many; the try is not counted then.
    pub fn attempt(&self, key: &K, now: Timestamp) -> Result<(), Duration> {
        let full = u64::from(self.rate.burst) * TRY;
        let refill = self.rate.refill.as_micros().max(1) as u64;
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= self.keys_max && !buckets.contains_key(key) {
            Self::forget(&mut buckets, self.keys_max);
        }
        let bucket = buckets.entry(key.clone()).or_insert(Bucket {
            left: full,
            at: now,
        });
        let gained = (now.since(bucket.at).as_micros() as u64).saturating_mul(TRY) / refill;
        bucket.left = bucket.left.saturating_add(gained).min(full);
        bucket.at = now;
        if bucket.left >= TRY {
            bucket.left -= TRY;
            return Ok(());
        }
        let missing = TRY - bucket.left;
        Err(Duration::from_micros(
            (missing.saturating_mul(refill) / TRY).max(1),
        ))
    }

    /// Forgets the tries of `key`: after it succeeded.
    pub fn clear(&self, key: &K) {
        self.buckets
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(key);
    }

    fn forget(buckets: &mut HashMap<K, Bucket>, keys_max: usize) {
        let mut ages: Vec<Timestamp> = buckets.values().map(|bucket| bucket.at).collect();
        ages.sort_unstable();
        // A tenth at a time, so that the work is spread.
        let cut = ages[(keys_max / 10).min(ages.len() - 1)];
        buckets.retain(|_, bucket| bucket.at > cut);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    #[test]
    fn tries_come_back_with_time() {
        let limiter = Limiter::new(
            Rate {
                burst: 2,
                refill: Duration::from_secs(10),
            },
            10,
        );
        assert!(limiter.attempt(&1, at(0)).is_ok());
        assert!(limiter.attempt(&1, at(0)).is_ok());
        assert_eq!(limiter.attempt(&1, at(4)), Err(Duration::from_secs(6)));
        assert!(limiter.attempt(&2, at(4)).is_ok(), "another key");
        assert!(limiter.attempt(&1, at(10)).is_ok());
        limiter.clear(&1);
        assert!(limiter.attempt(&1, at(10)).is_ok());
    }

    #[test]
    fn a_clock_that_goes_back_opens_nothing() {
        let limiter = Limiter::new(
            Rate {
                burst: 1,
                refill: Duration::from_secs(10),
            },
            10,
        );
        assert!(limiter.attempt(&1, at(100)).is_ok());
        assert!(limiter.attempt(&1, at(0)).is_err());
        assert!(limiter.attempt(&1, at(10)).is_ok());
    }

    #[test]
    fn memory_is_bounded() {
        let limiter = Limiter::new(
            Rate {
                burst: 1,
                refill: Duration::from_secs(10),
            },
            100,
        );
        for i in 0..10_000 {
            assert!(limiter.attempt(&i, at(i)).is_ok());
        }
        assert!(limiter.buckets.lock().expect("unpoisoned").len() <= 100);
    }
}
