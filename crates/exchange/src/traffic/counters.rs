//! What happened between two readings of one interface: pure, and suspicious.
//!
//! A counter that went down either started over at 2^32 or was set back. It started
//! over only if it has 32 bits, the agent did not start again, it says of no
//! discontinuity, and the line could not have carried more than one round in the
//! time. Whatever else happened, the interval has no figure rather than a wrong one.

use std::time::Duration;

use super::snmp::interfaces::{Counter, Interface};

/// Intervals longer than this have no figure: too much may have happened.
pub const INTERVAL_MAX: Duration = Duration::from_secs(3_600);
/// Intervals shorter than this are not measured: clocks are not that good.
pub const INTERVAL_MIN: Duration = Duration::from_millis(200);
/// How much more than its speed a line may seem to carry: agents read their
/// counters some time before they answer.
const SPEED_SLACK: f64 = 1.5;
/// `sysUpTime` this close to its end (a day, in hundredths of a second) is expected to
/// start over.
const UPTIME_END: u32 = u32::MAX - 8_640_000;

/// Why an interval has no figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Gap {
    /// The interface was not there before.
    New,
    /// The agent has started again.
    Restarted,
    /// The agent says that the counters are no longer comparable.
    Discontinuity,
    /// Too short, too long, or backwards.
    Interval,
    /// A counter of 32 bits may have gone round more than once.
    Ambiguous,
    /// More than the line can carry, or a counter that went down.
    Impossible,
}

impl Gap {
    /// The name in logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Restarted => "restarted",
            Self::Discontinuity => "discontinuity",
            Self::Interval => "interval",
            Self::Ambiguous => "ambiguous",
            Self::Impossible => "impossible",
        }
    }
}

/// What was counted in an interval; directions are in, out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Difference {
    /// Its length.
    pub interval: Duration,
    /// Octets.
    pub octets: [u64; 2],
    /// Packets.
    pub packets: [u64; 2],
    /// Packets with errors.
    pub errors: [u64; 2],
    /// Packets dropped.
    pub discards: [u64; 2],
}

/// Whether an agent has started again between two values of its `sysUpTime`.
pub const fn has_restarted(before: u32, after: u32) -> bool {
    after < before && before < UPTIME_END
}

/// What was counted between two readings of one interface.
///
/// # Errors
/// Why it cannot be known.
pub fn difference(before: &Interface, after: &Interface) -> Result<Difference, Gap> {
    if before.discontinuity != after.discontinuity {
        return Err(Gap::Discontinuity);
    }
    let interval = after
        .at
        .checked_duration_since(before.at)
        .ok_or(Gap::Interval)?;
    if !(INTERVAL_MIN..=INTERVAL_MAX).contains(&interval) {
        return Err(Gap::Interval);
    }
    let speed = before.speed_bps.max(after.speed_bps);
    let octets_max = (speed > 0).then(|| speed as f64 / 8.0 * interval.as_secs_f64() * SPEED_SLACK);
    let mut octets = [0; 2];
    for (gained, (before, after)) in octets
        .iter_mut()
        .zip(before.octets.into_iter().zip(after.octets))
    {
        *gained = since(before, after, octets_max)?;
    }
    // The rest rides along: a wrong one does not make the octets wrong.
    let rest = |before: [Option<Counter>; 2], after: [Option<Counter>; 2]| {
        [0, 1].map(|i| since(before[i], after[i], octets_max).unwrap_or(0))
    };
    Ok(Difference {
        interval,
        octets,
        packets: rest(before.packets, after.packets),
        errors: rest(before.errors, after.errors),
        discards: rest(before.discards, after.discards),
    })
}

/// How far a counter went; `most` is what the line can carry in the time.
fn since(before: Option<Counter>, after: Option<Counter>, most: Option<f64>) -> Result<u64, Gap> {
    let (before, after) = match (before, after) {
        (Some(before), Some(after)) if before.wide == after.wide => (before, after),
        // An agent that has no such counter counts nothing.
        (None, None) => return Ok(0),
        _ => return Err(Gap::New),
    };
    let counted = if after.value >= before.value {
        after.value - before.value
    } else if after.wide {
        return Err(Gap::Impossible);
    } else {
        (1u64 << 32)
            .saturating_sub(before.value)
            .saturating_add(after.value)
    };
    let round = (1u64 << 32) as f64;
    match most {
        // One round or less fits into the time, so the figure is the only one possible.
        _ if after.wide && most.is_none() => Ok(counted),
        Some(most) if counted as f64 > most => Err(Gap::Impossible),
        Some(most) if !after.wide && most >= round => Err(Gap::Ambiguous),
        None if after.value < before.value => Err(Gap::Ambiguous),
        _ => Ok(counted),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::Instant;

    fn interface(seconds: u64, octets: u64, wide: bool, speed_bps: u64) -> Interface {
        let counter = Some(Counter {
            value: octets,
            wide,
        });
        Interface {
            index: 1,
            name: "Ethernet1".into(),
            alias: String::new(),
            up: true,
            speed_bps,
            discontinuity: 0,
            octets: [counter, counter],
            packets: [counter, counter],
            errors: [None, None],
            discards: [None, None],
            at: start() + Duration::from_secs(seconds),
        }
    }

    fn start() -> Instant {
        static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
        *START.get_or_init(Instant::now)
    }

    #[test]
    fn a_counter_of_32_bits_starts_over() {
        let near = (1 << 32) - 1_000;
        let before = interface(0, near, false, 100_000_000);
        let after = interface(30, 500, false, 100_000_000);
        let counted = difference(&before, &after).expect("one round at most");
        assert_eq!(counted.octets, [1_500; 2]);
        assert_eq!(counted.interval, Duration::from_secs(30));
    }

    #[test]
    fn what_cannot_be_known_has_no_figure() {
        let wide = |seconds, octets| interface(seconds, octets, true, 10_000_000_000);
        let cases = [
            // 10G can go round 32 bits in 3.4 s.
            (
                interface(0, 5, false, 10_000_000_000),
                interface(30, 4, false, 10_000_000_000),
                Gap::Ambiguous,
            ),
            (
                interface(0, 5, false, 0),
                interface(30, 4, false, 0),
                Gap::Ambiguous,
            ),
            (wide(0, 5), wide(30, 4), Gap::Impossible),
            (wide(0, 0), wide(1, 10_000_000_000), Gap::Impossible),
            (wide(0, 0), wide(0, 1), Gap::Interval),
            (wide(30, 0), wide(0, 1), Gap::Interval),
            (wide(0, 0), wide(7_200, 1), Gap::Interval),
            (
                wide(0, 0),
                interface(30, 1, false, 10_000_000_000),
                Gap::New,
            ),
            (
                wide(0, 0),
                Interface {
                    discontinuity: 77,
                    ..wide(30, 1)
                },
                Gap::Discontinuity,
            ),
        ];
        for (before, after, gap) in cases {
            assert_eq!(difference(&before, &after), Err(gap), "{after:?}");
        }
    }

    #[test]
    fn uptime_starts_over_after_497_days_and_not_before() {
        assert!(has_restarted(1_000_000, 500));
        assert!(!has_restarted(1_000_000, 1_000_001));
        assert!(!has_restarted(u32::MAX - 100, 5));
    }
}
