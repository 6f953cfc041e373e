//! Response-rate limiting: what is sent to one network by UDP for one question, or in
//! errors, is bounded, so that forged queries do not make the server a cannon.
//!
//! Each thread has its own table of fixed size. A client that proves its address by
//! a cookie (RFC 7873) or TCP is never limited; an honest one behind a forged flood
//! gets every second answer cut short (TC) and comes back by TCP.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;

use dns::respond::Class;

/// Buckets of one table; a power of two. 16 bytes each.
const BUCKETS: usize = 1 << 16;
/// Seconds' worth of answers that may be sent at once.
const BURST_S: u32 = 2;

/// The limits, in answers a second to one IPv4 /24 or IPv6 /56.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// Answers to one question; 0: no limit at all, for any class.
    pub answers_per_s: u32,
    /// Negative answers and referrals, together.
    pub negatives_per_s: u32,
    /// Errors, together.
    pub errors_per_s: u32,
    /// Every how manieth limited answer is sent short with TC; the others are not
    /// sent. 0: none is sent.
    pub slip: u8,
}

impl RateLimit {
    /// No limit.
    pub const OFF: Self = Self {
        answers_per_s: 0,
        negatives_per_s: 0,
        errors_per_s: 0,
        slip: 0,
    };
}

impl Default for RateLimit {
    fn default() -> Self {
        Self {
            answers_per_s: 100,
            negatives_per_s: 200,
            errors_per_s: 50,
            slip: 2,
        }
    }
}

/// What to do with an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Send it.
    Send,
    /// Send it short.
    Slip,
    /// Send nothing.
    Drop,
}

#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    tag: u32,
    /// Thousandths of an answer.
    credit: u32,
    at_ms: u32,
    limited: u32,
}

/// The table of one thread.
#[derive(Debug)]
pub struct Limiter {
    limit: RateLimit,
    buckets: Vec<Bucket>,
    seed: RandomState,
}

impl Limiter {
    /// A table for one of `threads` threads: the kernel spreads clients over them, so
    /// that each gets its share of the limit.
    pub fn new(limit: RateLimit, threads: usize) -> Self {
        let share = |per_s: u32| match per_s {
            0 => 0,
            n => (n / threads.max(1) as u32).max(1),
        };
        Self {
            limit: RateLimit {
                answers_per_s: share(limit.answers_per_s),
                negatives_per_s: share(limit.negatives_per_s),
                errors_per_s: share(limit.errors_per_s),
                slip: limit.slip,
            },
            buckets: if limit.answers_per_s == 0 {
                Vec::new()
            } else {
                vec![Bucket::default(); BUCKETS]
            },
            seed: RandomState::new(),
        }
    }

    /// Whether there is a limit at all.
    #[inline]
    pub fn is_on(&self) -> bool {
        !self.buckets.is_empty()
    }

    /// Judges one answer. `question` is the question section, `subnet` the Client
    /// Subnet if one was told: a resolver that serves many networks asks the same
    /// question for each.
    pub fn judge(
        &mut self,
        source: IpAddr,
        class: Class,
        question: &[u8],
        subnet: Option<(IpAddr, u8)>,
        now_ms: u32,
    ) -> Verdict {
        if self.buckets.is_empty() {
            return Verdict::Send;
        }
        let network = match source.to_canonical() {
            IpAddr::V4(v4) => u128::from(v4.to_bits() >> 8),
            IpAddr::V6(v6) => v6.to_bits() >> 72 | 1 << 127,
        };
        let (per_s, hash) = match class {
            Class::Positive => (
                self.limit.answers_per_s,
                self.seed
                    .hash_one((network, question.to_ascii_lowercase(), subnet)),
            ),
            Class::Negative | Class::Referral => {
                (self.limit.negatives_per_s, self.seed.hash_one((network, 1)))
            }
            Class::Error => (self.limit.errors_per_s, self.seed.hash_one((network, 2))),
        };
        if per_s == 0 {
            return Verdict::Send;
        }
        let bucket = find(&mut self.buckets, hash, now_ms, per_s);
        if bucket.credit >= 1_000 {
            bucket.credit -= 1_000;
            return Verdict::Send;
        }
        bucket.limited = bucket.limited.wrapping_add(1);
        match self.limit.slip {
            0 => Verdict::Drop,
            slip if bucket.limited.is_multiple_of(u32::from(slip)) => Verdict::Slip,
            _ => Verdict::Drop,
        }
    }
}

/// The bucket for a hash, filled up for the time passed. Of two places the one used
/// longer ago gives way.
fn find(buckets: &mut [Bucket], hash: u64, now_ms: u32, per_s: u32) -> &mut Bucket {
    let tag = ((hash >> 32) as u32).max(1);
    let at = hash as usize & (BUCKETS - 1);
    let other = at ^ 1;
    let full = per_s.saturating_mul(1_000 * BURST_S);
    let chosen = if buckets[at].tag == tag {
        at
    } else if buckets[other].tag == tag {
        other
    } else {
        let idle = |bucket: &Bucket| match bucket.tag {
            0 => u32::MAX,
            _ => now_ms.wrapping_sub(bucket.at_ms),
        };
        let older = if idle(&buckets[at]) >= idle(&buckets[other]) {
            at
        } else {
            other
        };
        buckets[older] = Bucket {
            tag,
            credit: full,
            at_ms: now_ms,
            limited: 0,
        };
        older
    };
    let bucket = &mut buckets[chosen];
    // Milliseconds times answers a second are thousandths of an answer.
    let passed = u64::from(now_ms.wrapping_sub(bucket.at_ms)) * u64::from(per_s);
    bucket.credit = (u64::from(bucket.credit) + passed).min(u64::from(full)) as u32;
    bucket.at_ms = now_ms;
    bucket
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(limiter: &mut Limiter, source: &str, question: &[u8], now_ms: u32) -> Verdict {
        let source = source.parse().expect("an address");
        limiter.judge(source, Class::Positive, question, None, now_ms)
    }

    #[test]
    fn a_flood_is_cut_and_others_are_not() {
        let limit = RateLimit {
            answers_per_s: 10,
            ..RateLimit::default()
        };
        let mut limiter = Limiter::new(limit, 1);
        let mut verdicts = [0; 3];
        for _ in 0..100 {
            verdicts[judge(&mut limiter, "192.0.2.1", b"q", 5_000) as usize] += 1;
        }
        assert_eq!(verdicts, [20, 40, 40]);
        // The same network is one client; another question, network or later second is not.
        assert_ne!(
            judge(&mut limiter, "192.0.2.200", b"Q", 5_000),
            Verdict::Send
        );
        assert_eq!(
            judge(&mut limiter, "192.0.2.1", b"other", 5_000),
            Verdict::Send
        );
        assert_eq!(judge(&mut limiter, "192.0.3.1", b"q", 5_000), Verdict::Send);
        assert_eq!(judge(&mut limiter, "192.0.2.1", b"q", 5_100), Verdict::Send);
        assert_ne!(judge(&mut limiter, "192.0.2.1", b"q", 5_100), Verdict::Send);
    }

    #[test]
    fn memory_is_bounded_and_strangers_are_served() {
        let mut limiter = Limiter::new(RateLimit::default(), 1);
        let before = limiter.buckets.len();
        for number in 0..300_000_u32 {
            let source = IpAddr::V4(std::net::Ipv4Addr::from_bits(number << 8));
            let verdict = limiter.judge(source, Class::Error, b"", None, number / 100);
            assert_eq!(verdict, Verdict::Send);
        }
        assert_eq!(limiter.buckets.len(), before);
    }

    #[test]
    fn off_means_off() {
        let mut limiter = Limiter::new(RateLimit::OFF, 4);
        for _ in 0..10_000 {
            assert_eq!(judge(&mut limiter, "192.0.2.1", b"q", 0), Verdict::Send);
        }
    }
}
