//! What the house itself stands on: its nodes, the origins of the sites that it carries, the
//! networks of the exchange. An enforcement that hits it would cut off the house, not
//! whoever is bad, so that no policy and no person can make one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use base::enforcement::Target;
use base::{Prefix, Timestamp};

use super::engine::{EnforceError, Enforcements};
use super::policy::network_of;
use super::seams::{OwnAddress, OwnAddresses};

/// For how long what was read is good.
const OWN_PERIOD: Duration = Duration::from_secs(30);

/// Networks of the house with whose they are, ready to be asked.
#[derive(Debug, Default)]
pub(super) struct Own {
    networks: BTreeMap<Prefix, (String, bool)>,
}

impl Own {
    pub(super) fn of(all: Vec<OwnAddress>) -> Self {
        let mut networks: BTreeMap<Prefix, (String, bool)> = BTreeMap::new();
        for one in all {
            // The same network may be known by several: the strictest counts.
            let known = networks.get(&one.prefix).is_some_and(|(_, parts)| !parts);
            if !known {
                networks.insert(one.prefix, (one.what, one.in_parts));
            }
        }
        Self { networks }
    }

    /// Whether enforcing `target` leaves the house alone.
    ///
    /// # Errors
    /// The reason why not.
    pub(super) fn permits(&self, target: &Target) -> Result<(), String> {
        let Some(network) = network_of(target) else {
            return Ok(());
        };
        match self.hit(network) {
            None => Ok(()),
            Some((prefix, what)) => Err(format!(
                "{prefix} belongs to this house ({what}): it is never blocked"
            )),
        }
    }

    fn hit(&self, target: Prefix) -> Option<(Prefix, &str)> {
        // Networks in which the target lies.
        for length in 0..target.length() {
            if let Ok(wider) = Prefix::new(target.address(), length)
                && let Some((what, false)) = self.networks.get(&wider)
            {
                return Some((wider, what));
            }
        }
        // Networks within the target follow it in order, without a gap.
        self.networks
            .range(target..)
            .next()
            .filter(|(within, _)| target.covers(within))
            .map(|(within, (what, _))| (*within, what.as_str()))
    }
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
        let Some(from) = owned.from.get() else {
            return Ok(Arc::default());
        };
        let place = || owned.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.now();
        let kept = place().clone();
        if let Some((at, own)) = &kept
            && now < at.plus(OWN_PERIOD)
        {
            return Ok(own.clone());
        }
        match (from.own().await, kept) {
            (Ok(all), _) => {
                let own = Arc::new(Own::of(all));
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

    #[test]
    fn what_covers_the_house_or_lies_in_it_is_not_enforced() {
        let one = |prefix: &str, in_parts| OwnAddress {
            prefix: prefix.parse().expect("a prefix"),
            what: format!("of {prefix}"),
            in_parts,
        };
        let own = Own::of(vec![
            one("192.0.2.7/32", false),
            one("198.51.100.0/25", false),
            one("203.0.113.0/24", true),
            one("2001:db8:1::/64", false),
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
            let why = own.permits(&text.parse().expect("a target"));
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
            assert_eq!(
                own.permits(&text.parse().expect("a target")),
                Ok(()),
                "{text}"
            );
        }
    }
}
