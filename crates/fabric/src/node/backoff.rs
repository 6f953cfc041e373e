//! Waiting between attempts: doubling, with jitter, so that a thousand nodes do not
//! fall on a control plane that has just come back.

use std::time::Duration;

use ring::rand::{SecureRandom as _, SystemRandom};

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);

/// The wait before the next attempt.
#[derive(Debug)]
pub(crate) struct Backoff {
    ceiling: Duration,
}

impl Backoff {
    pub(crate) fn new() -> Self {
        Self { ceiling: FIRST }
    }

    /// After a success.
    pub(crate) fn reset(&mut self) {
        self.ceiling = FIRST;
    }

    /// Half the ceiling and up to another half, by chance; the ceiling then doubles.
    pub(crate) fn next(&mut self) -> Duration {
        let mut random = [0; 2];
        // Without randomness the wait is merely not spread.
        let share = match SystemRandom::new().fill(&mut random) {
            Ok(()) => f64::from(u16::from_be_bytes(random)) / f64::from(u16::MAX),
            Err(_) => 1.0,
        };
        let wait = self.ceiling.mul_f64(0.5 + share / 2.0);
        self.ceiling = (self.ceiling * 2).min(LONGEST);
        wait
    }

    pub(crate) async fn wait(&mut self) {
        tokio::time::sleep(self.next()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_limit_and_start_again() {
        let mut backoff = Backoff::new();
        let waits: Vec<_> = (0..12).map(|_| backoff.next()).collect();
        assert!(waits[0] <= FIRST);
        assert!(waits[11] >= LONGEST / 2 && waits[11] <= LONGEST);
        backoff.reset();
        assert!(backoff.next() <= FIRST);
    }
}
