//! What people should know of a port: down, errors, drops, full; told once when it
//! begins and once when it ends. Pure.

use std::collections::HashMap;

use base::Timestamp;
use base::event::{NoticeEvent, Severity};

use super::counters::Difference;

/// Share of packets with errors from which on people are told.
const ERROR_SHARE: f64 = 1e-5;
/// Share of packets dropped from which on people are told.
const DISCARD_SHARE: f64 = 1e-3;
/// Packets that must be concerned: one bad packet on a quiet line is no trouble.
const PACKETS_MIN: u64 = 10;
/// Share of its speed from which on a port is nearly full.
const FULL_SHARE: f64 = 0.9;
/// Intervals in a row that a trouble must last to begin, and be away to end.
const INTERVALS: u8 = 2;

/// What can be wrong with a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Trouble {
    /// It ought to be up and is not.
    Down,
    /// Packets with errors.
    Errors,
    /// Packets dropped.
    Discards,
    /// Nearly full.
    Full,
}

impl Trouble {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Down, Self::Errors, Self::Discards, Self::Full];

    /// `kind` of the notice.
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Down => "exchange.port-down",
            Self::Errors => "exchange.port-errors",
            Self::Discards => "exchange.port-discards",
            Self::Full => "exchange.port-full",
        }
    }

    const fn severity(self) -> Severity {
        match self {
            Self::Down => Severity::Error,
            Self::Errors | Self::Discards | Self::Full => Severity::Warning,
        }
    }

    /// Down is told at once; the others when they last.
    const fn intervals(self) -> u8 {
        match self {
            Self::Down => 1,
            _ => INTERVALS,
        }
    }
}

#[derive(Debug, Default, Clone, Copy)]
struct Course {
    /// Intervals in a row that speak against what is told.
    against: u8,
    told: bool,
}

/// Watches the ports of one switch.
#[derive(Debug, Default)]
pub struct Watchman {
    courses: HashMap<(String, Trouble), Course>,
}

/// What was seen of a port.
#[derive(Debug, Clone, Copy)]
pub struct Sight<'a> {
    /// Its name.
    pub port: &'a str,
    /// Whether it ought to be up.
    pub wanted_up: bool,
    /// Whether it is.
    pub up: bool,
    /// Its speed in bits per second; 0: not known.
    pub speed_bps: u64,
    /// What it carried, if that is known.
    pub carried: Option<&'a Difference>,
}

impl Watchman {
    /// Looks at a port; gives what people should be told.
    pub fn look(&mut self, switch: &str, sight: &Sight<'_>, at: Timestamp) -> Vec<NoticeEvent> {
        let mut notices = Vec::new();
        for trouble in Trouble::ALL {
            let Some((bad, figure)) = judge(trouble, sight) else {
                continue;
            };
            let course = self
                .courses
                .entry((sight.port.to_owned(), trouble))
                .or_default();
            if bad == course.told {
                course.against = 0;
                continue;
            }
            course.against += 1;
            if course.against < trouble.intervals() {
                continue;
            }
            *course = Course {
                against: 0,
                told: bad,
            };
            let subject = format!("{switch} {}", sight.port);
            let message = match (trouble, bad) {
                (Trouble::Down, true) => format!("port {subject} is down and ought to be up"),
                (Trouble::Down, false) => format!("port {subject} is up again"),
                (Trouble::Errors, true) => format!("port {subject} has errors: {figure}"),
                (Trouble::Errors, false) => format!("port {subject} has no more errors"),
                (Trouble::Discards, true) => format!("port {subject} drops packets: {figure}"),
                (Trouble::Discards, false) => format!("port {subject} drops no more packets"),
                (Trouble::Full, true) => format!("port {subject} is nearly full: {figure}"),
                (Trouble::Full, false) => format!("port {subject} has room again: {figure}"),
            };
            notices.push(NoticeEvent {
                at,
                severity: if bad {
                    trouble.severity()
                } else {
                    Severity::Info
                },
                kind: trouble.kind().into(),
                subject: subject.into(),
                message: message.into(),
            });
        }
        notices
    }
}

/// Whether it is so, and the figure; nothing when it cannot be said.
fn judge(trouble: Trouble, sight: &Sight<'_>) -> Option<(bool, String)> {
    let share = |part: [u64; 2], packets: [u64; 2], limit: f64| {
        let part = part[0].saturating_add(part[1]);
        let whole = packets[0].saturating_add(packets[1]).saturating_add(part);
        let share = part as f64 / whole.max(1) as f64;
        let figure = format!("{part} of {whole} packets, {:.3} %", share * 100.0);
        (part >= PACKETS_MIN && share >= limit, figure)
    };
    match trouble {
        Trouble::Down => Some((sight.wanted_up && !sight.up, String::new())),
        Trouble::Errors => sight
            .carried
            .map(|carried| share(carried.errors, carried.packets, ERROR_SHARE)),
        Trouble::Discards => sight
            .carried
            .map(|carried| share(carried.discards, carried.packets, DISCARD_SHARE)),
        Trouble::Full => {
            let carried = sight.carried.filter(|_| sight.speed_bps > 0)?;
            let most = carried.octets[0].max(carried.octets[1]) as f64 * 8.0;
            let used = most / carried.interval.as_secs_f64() / sight.speed_bps as f64;
            Some((used >= FULL_SHARE, format!("{:.0} %", used * 100.0)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn carried(octets: u64, errors: u64) -> Difference {
        Difference {
            interval: Duration::from_secs(30),
            octets: [octets, 0],
            packets: [1_000, 0],
            errors: [errors, 0],
            discards: [0, 0],
        }
    }

    fn kinds(watchman: &mut Watchman, up: bool, carried: Option<&Difference>) -> Vec<String> {
        let sight = Sight {
            port: "Ethernet1",
            wanted_up: true,
            up,
            speed_bps: 1_000_000_000,
            carried,
        };
        let notices = watchman.look("sw1", &sight, Timestamp(0));
        notices
            .iter()
            .map(|notice| format!("{} {:?}", notice.kind, notice.severity))
            .collect()
    }

    #[test]
    fn a_port_that_falls_is_told_once_and_so_is_its_return() {
        let mut watchman = Watchman::default();
        assert!(kinds(&mut watchman, true, None).is_empty());
        assert_eq!(
            kinds(&mut watchman, false, None),
            ["exchange.port-down Error"]
        );
        assert!(kinds(&mut watchman, false, None).is_empty());
        assert_eq!(
            kinds(&mut watchman, true, None),
            ["exchange.port-down Info"]
        );
    }

    #[test]
    fn errors_and_fullness_must_last() {
        let mut watchman = Watchman::default();
        // 95 % of 1 Gb/s for 30 s.
        let bad = carried(3_562_500_000, 50);
        let good = carried(1_000, 0);
        assert!(kinds(&mut watchman, true, Some(&bad)).is_empty());
        assert!(kinds(&mut watchman, true, Some(&good)).is_empty());
        assert!(kinds(&mut watchman, true, Some(&bad)).is_empty());
        let told = kinds(&mut watchman, true, Some(&bad));
        assert_eq!(
            told,
            ["exchange.port-errors Warning", "exchange.port-full Warning"]
        );
        assert!(kinds(&mut watchman, true, Some(&good)).is_empty());
        assert_eq!(kinds(&mut watchman, true, Some(&good)).len(), 2);
        // A few errors are no trouble.
        for _ in 0..3 {
            assert!(kinds(&mut watchman, true, Some(&carried(1_000, 9))).is_empty());
        }
    }
}
