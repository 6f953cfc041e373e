//! The time by which rules end: the wall clock, held steady over jumps.
//!
//! A node's clock may be set wrong for a while (a bad time server, a restored machine).
//! A jump is believed at once when it is small, and only once it has lasted when it is
//! large: until then time goes on from before at its own pace, so that a jump forward does
//! not end every block of the country, and one backward does not prolong them.

use std::time::Duration;

use base::Timestamp;

/// A difference up to this is believed at once: clocks are disciplined all the time.
pub const JUMP_MAX: Duration = Duration::from_secs(60);
/// A larger one is believed once it has lasted this long.
pub const JUMP_LASTS: Duration = Duration::from_secs(15 * 60);

/// A clock that takes both times as arguments.
#[derive(Debug, Clone, Copy)]
pub struct SteadyClock {
    wall: Timestamp,
    elapsed: Duration,
    /// When, by `elapsed`, the wall clock was first seen to differ.
    doubtful_since: Option<Duration>,
}

impl SteadyClock {
    /// Begins with the wall clock, whatever it shows; `elapsed` never jumps.
    pub fn new(wall: Timestamp, elapsed: Duration) -> Self {
        Self {
            wall,
            elapsed,
            doubtful_since: None,
        }
    }

    /// The time to go by.
    pub fn now(&mut self, wall: Timestamp, elapsed: Duration) -> Timestamp {
        let expected = self.wall.plus(elapsed.saturating_sub(self.elapsed));
        let difference = wall.since(expected).max(expected.since(wall));
        if difference <= JUMP_MAX {
            *self = Self::new(wall, elapsed);
            return wall;
        }
        let since = *self.doubtful_since.get_or_insert(elapsed);
        if elapsed.saturating_sub(since) >= JUMP_LASTS {
            tracing::warn!(from = %expected, to = %wall, "The clock has jumped for good; rules end by it");
            *self = Self::new(wall, elapsed);
            return wall;
        }
        expected
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    #[test]
    fn small_steps_are_followed_and_jumps_only_when_they_last() {
        let s = Duration::from_secs;
        let mut clock = SteadyClock::new(at(1_000), s(0));
        assert_eq!(clock.now(at(1_030), s(10)), at(1_030), "disciplined");
        assert_eq!(clock.now(at(90_000), s(20)), at(1_040), "a day ahead");
        assert_eq!(clock.now(at(90_100), s(120)), at(1_140));
        assert_eq!(clock.now(at(1_150), s(130)), at(1_150), "set right again");
        assert_eq!(clock.now(at(0), s(140)), at(1_160), "set back");
        assert_eq!(clock.now(at(901), s(1_041)), at(901), "for good");
    }
}
