//! What the house itself stands on: its nodes, the origins of the sites that it carries, the
//! networks of the exchange and of its members. An enforcement that hits it would cut off the
//! house, not whoever is bad, so that no policy and no person can make one. What
//! others than officers name ([`Guard::Ask`]) waits for a person: else whoever owns a site could
//! put any address out of reach by calling it an origin. The warning lists are asked here, too.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use base::enforcement::Target;
use base::{Prefix, Timestamp};

use super::engine::{EnforceError, Enforcements};
use super::lists::Lists;
use super::policy::network_of;
use super::seams::{Guard, OwnAddress, OwnAddresses};

/// For how long what was read is good.
const OWN_PERIOD: Duration = Duration::from_secs(30);

/// Networks of the house with whose they are, ready to be asked.
#[derive(Debug, Default)]
pub(super) struct Own {
    /// What is never enforced, and whether that is so of the whole alone.
    refused: Networks,
    /// What a person is asked about.
    asked: Networks,
    /// The warning lists that are obeyed,
    lists: Arc<Lists>,
    /// and after which change of them they were read.
    changes: u64,
}

/// Whose a network is, and whether parts of it may be enforced.
type Networks = BTreeMap<Prefix, (String, bool)>;

impl Own {
    pub(super) fn of(all: Vec<OwnAddress>) -> Self {
        let mut own = Self::default();
        for one in all {
            let (networks, in_parts) = match one.guard {
                Guard::Never => (&mut own.refused, false),
                Guard::Whole => (&mut own.refused, true),
                Guard::Ask => (&mut own.asked, false),
            };
            // The same network may be known by several: the strictest counts.
            let known = networks.get(&one.prefix).is_some_and(|(_, parts)| !parts);
            if !known {
                networks.insert(one.prefix, (one.what, in_parts));
            }
        }
        own
    }

    /// Whether enforcing `target` leaves the house alone.
    ///
    /// # Errors
    /// The reason why not.
    pub(super) fn permits(&self, target: &Target) -> Result<(), String> {
        self.lists.permits(target)?;
        let Some(network) = network_of(target) else {
            return Ok(());
        };
        match hit(&self.refused, network) {
            None => Ok(()),
            Some((prefix, what)) => Err(format!(
                "{prefix} belongs to this house ({what}): it is never blocked"
            )),
        }
    }

    /// Why a person decides on `target` before it is enforced; none: nobody needs to.
    pub(super) fn asks(&self, target: &Target) -> Option<String> {
        let hit = network_of(target).and_then(|network| hit(&self.asked, network));
        match hit {
            Some((prefix, what)) => Some(format!("{prefix} is {what}: a person decides")),
            None => self.lists.asks(target),
        }
    }
}

/// Which of `networks` enforcing `target` would hit: a look-up for each length that is
/// shorter, and one for what follows it.
fn hit(networks: &Networks, target: Prefix) -> Option<(Prefix, &str)> {
    // Networks in which the target lies.
    for length in 0..target.length() {
        if let Ok(wider) = Prefix::new(target.address(), length)
            && let Some((what, false)) = networks.get(&wider)
        {
            return Some((wider, what));
        }
    }
    // Networks within the target follow it in order, without a gap.
    networks
        .range(target..)
        .next()
        .filter(|(within, _)| target.covers(within))
        .map(|(within, (what, _))| (*within, what.as_str()))
}

/// What was read last.
#[derive(Default)]
pub(super) struct Owned {
    from: OnceLock<Arc<dyn OwnAddresses>>,
    kept: Mutex<Option<(Timestamp, Arc<Own>)>>,
}

impl Owned {
    pub(super) fn join(&self, from: Arc<dyn OwnAddresses>) -> bool {
        self.from.set(from).is_ok()
    }
}

impl Enforcements {
    /// What the house stands on, at most [`OWN_PERIOD`] old; what was read before, while it
    /// cannot be read.
    pub(super) async fn own(&self) -> Result<Arc<Own>, EnforceError> {
        let owned = &self.inner.own;
        let (changes, lists) = self.obeyed().await?;
        let with_lists = |own: Own| {
            Arc::new(Own {
                lists: lists.clone(),
                changes,
                ..own
            })
        };
        let place = || owned.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.now();
        let kept = place().clone();
        if let Some((at, own)) = &kept
            && now < at.plus(OWN_PERIOD)
            && own.changes == changes
        {
            return Ok(own.clone());
        }
        let Some(from) = owned.from.get() else {
            return Ok(with_lists(Own::default()));
        };
        match (from.own().await, kept) {
            (Ok(all), _) => {
                let own = with_lists(Own::of(all));
                *place() = Some((now, own.clone()));
                Ok(own)
            }
            (Err(error), Some((_, own))) => {
                tracing::warn!(%error, "What the house stands on could not be read; it stays as it was read before");
                Ok(own)
            }
            // Without it nothing says what must not be blocked.
            (Err(error), None) => Err(EnforceError::Seam(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(prefix: &str, guard: Guard) -> OwnAddress {
        OwnAddress {
            prefix: prefix.parse().expect("a prefix"),
            what: format!("of {prefix}"),
            guard,
        }
    }

    fn target(text: &str) -> Target {
        text.parse().expect("a target")
    }

    #[test]
    fn what_covers_the_house_or_lies_in_it_is_not_enforced() {
        let own = Own::of(vec![
            one("192.0.2.7/32", Guard::Never),
            one("198.51.100.0/25", Guard::Never),
            one("203.0.113.0/24", Guard::Whole),
            one("2001:db8:1::/64", Guard::Never),
        ]);
        for text in [
            "192.0.2.7",
            "192.0.2.0/24",
            "198.51.100.1",
            "198.51.100.0/25",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "203.0.112.0/23",
            "2001:db8:1::5",
            "2001:db8::/32",
            "http://192.0.2.7:8080/x",
            "http://[2001:db8:1::1]/x",
        ] {
            let why = own.permits(&target(text));
            assert!(
                why.is_err_and(|why| why.contains("belongs to this house")),
                "{text}"
            );
        }
        for text in [
            "192.0.2.8",
            "192.0.2.0/30",
            "198.51.100.128",
            "198.51.100.128/25",
            "203.0.113.9",
            "203.0.113.0/25",
            "2001:db8:2::1",
            "evil.example",
            "http://198.51.100.200/x",
        ] {
            assert_eq!(own.permits(&target(text)), Ok(()), "{text}");
            assert_eq!(own.asks(&target(text)), None, "{text}");
        }
    }

    #[test]
    fn what_others_name_is_asked_about_and_lifts_no_ban() {
        let own = Own::of(vec![
            one("192.0.2.7/32", Guard::Ask),
            one("198.51.100.7/32", Guard::Ask),
            one("198.51.100.7/32", Guard::Never),
            one("203.0.113.9/32", Guard::Ask),
            one("203.0.113.0/24", Guard::Whole),
        ]);
        for text in [
            "192.0.2.7",
            "192.0.2.0/24",
            "http://192.0.2.7:8080/x",
            "203.0.113.9",
        ] {
            assert_eq!(own.permits(&target(text)), Ok(()), "{text}");
            let why = own.asks(&target(text)).expect(text);
            assert!(why.contains("a person decides"), "{why}");
        }
        for text in ["198.51.100.7", "203.0.113.0/24"] {
            assert!(own.permits(&target(text)).is_err(), "{text}");
        }
        for text in ["192.0.2.8", "evil.example"] {
            assert_eq!(own.asks(&target(text)), None, "{text}");
        }
    }

    #[test]
    fn a_hundred_thousand_networks_are_asked_by_look_ups() {
        let networks = (0..100_000_u32).map(|n| OwnAddress {
            prefix: Prefix::new((0x0b00_0000 + (n << 8)).to_be_bytes().into(), 24)
                .expect("a prefix"),
            what: String::new(),
            guard: Guard::Whole,
        });
        let own = Own::of(networks.collect());
        let begun = std::time::Instant::now();
        for n in 0..100_000_u32 {
            let address = std::net::IpAddr::from((0x0b00_0001 + (n << 8)).to_be_bytes());
            assert_eq!(own.permits(&Target::network(Prefix::host(address))), Ok(()));
        }
        assert!(own.permits(&target("11.0.0.0/8")).is_err());
        // A walk over all for each would take minutes.
        assert!(
            begun.elapsed() < Duration::from_secs(10),
            "{:?}",
            begun.elapsed()
        );
    }
}
