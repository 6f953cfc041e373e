//! The origins of a site: order of trial by tier, weight and health.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::time::Duration;

use base::Timestamp;
use base::delivery::{Origin, OriginPool, limits};
use url::Url;

use crate::random::Random;

/// Failures in a row after which an origin is passed over.
const FALL: u32 = 3;
/// How long it is passed over before it is tried with a user's request again.
const PASS_OVER: Duration = Duration::from_secs(5);

/// Why a pool cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum OriginError {
    /// There are none, or too many.
    #[error("{0} origins: must be 1 to {max}", max = limits::ORIGINS_PER_SITE_MAX)]
    Count(usize),
    /// An origin's URL is not one.
    #[error("{0:?} is not an origin: must be http://host[:port] or https://host[:port]")]
    Url(String),
    /// The `Host` to send is not one.
    #[error("{0:?} is not a host to send to origins")]
    Host(String),
    /// The probe's path is not one.
    #[error("{0:?} is not a path to probe: must begin with /")]
    Path(String),
}

/// Where an origin is, and how it has behaved.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) tls: bool,
    pub(crate) host: String,
    pub(crate) port: u16,
    /// `host[:port]` without a default port, for `Host`.
    pub(crate) authority: String,
    pub(crate) url: String,
    failures: AtomicU32,
    /// Microseconds: passed over until then.
    down_until: AtomicI64,
}

impl Endpoint {
    fn parse(text: &str) -> Option<Self> {
        let url = Url::parse(text).ok()?;
        let tls = match url.scheme() {
            "http" => false,
            "https" => true,
            _ => return None,
        };
        let bare = matches!(url.path(), "" | "/")
            && url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none();
        if !bare {
            return None;
        }
        let host = url.host_str()?;
        let authority = match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        Some(Self {
            tls,
            host: host.trim_matches(['[', ']']).to_owned(),
            port: url.port_or_known_default()?,
            authority,
            url: text.to_owned(),
            failures: AtomicU32::new(0),
            down_until: AtomicI64::new(i64::MIN),
        })
    }

    /// Whether users' requests are sent to it.
    pub(crate) fn is_up(&self, now: Timestamp) -> bool {
        let until = self.down_until.load(Ordering::Relaxed);
        // A clock that went back far must not keep an origin out for long.
        until <= now.0 || until > now.plus(PASS_OVER).0
    }

    /// It answered.
    pub(crate) fn succeeded(&self) {
        self.failures.store(0, Ordering::Relaxed);
        self.down_until.store(i64::MIN, Ordering::Relaxed);
    }

    /// It did not; `true` when it was up until now.
    pub(crate) fn failed(&self, now: Timestamp) -> bool {
        let failures = self
            .failures
            .fetch_add(1, Ordering::Relaxed)
            .saturating_add(1);
        if failures < FALL {
            return false;
        }
        let was_up = self.is_up(now);
        self.down_until
            .store(now.plus(PASS_OVER).0, Ordering::Relaxed);
        was_up
    }
}

#[derive(Debug)]
struct Member {
    endpoint: Arc<Endpoint>,
    weight: u64,
    tier: u8,
}

/// A site's origins, ready to be tried.
#[derive(Debug)]
pub(crate) struct Pool {
    /// Ordered by tier.
    members: Vec<Member>,
    pub(crate) host_header: Option<String>,
    pub(crate) health_path: Option<String>,
    pub(crate) connect_timeout: Duration,
    pub(crate) first_byte_timeout: Duration,
    pub(crate) idle_timeout: Duration,
}

impl Pool {
    /// Checks a pool; origins that were in `before` keep what is known of them.
    pub(crate) fn compile(wanted: &OriginPool, before: Option<&Self>) -> Result<Self, OriginError> {
        let count = wanted.origins.len();
        if count == 0 || count > limits::ORIGINS_PER_SITE_MAX {
            return Err(OriginError::Count(count));
        }
        if let Some(host) = &wanted.host_header
            && !crate::h1::head::is_authority(host)
        {
            return Err(OriginError::Host(host.clone()));
        }
        if let Some(path) = &wanted.health_path
            && !crate::h1::head::is_path_and_query(path)
        {
            return Err(OriginError::Path(path.clone()));
        }
        let known = |url: &str| {
            before?
                .members
                .iter()
                .find(|member| member.endpoint.url == url)
                .map(|member| Arc::clone(&member.endpoint))
        };
        let member = |origin: &Origin| {
            let endpoint = match known(&origin.url) {
                Some(endpoint) => endpoint,
                None => Arc::new(
                    Endpoint::parse(&origin.url)
                        .ok_or_else(|| OriginError::Url(origin.url.clone()))?,
                ),
            };
            Ok(Member {
                endpoint,
                weight: u64::from(origin.weight.max(1)),
                tier: origin.tier,
            })
        };
        let mut members = wanted
            .origins
            .iter()
            .map(member)
            .collect::<Result<Vec<_>, OriginError>>()?;
        members.sort_by_key(|member| member.tier);
        let millis = |ms: u32| Duration::from_millis(u64::from(ms.max(1)));
        Ok(Self {
            members,
            host_header: wanted.host_header.clone(),
            health_path: wanted.health_path.clone(),
            connect_timeout: millis(wanted.connect_timeout_ms),
            first_byte_timeout: millis(wanted.first_byte_timeout_ms),
            idle_timeout: millis(wanted.idle_timeout_ms),
        })
    }

    /// The origins in the order in which a request tries them: by tier, within one by
    /// weighted chance, those that are down last.
    pub(crate) fn order(&self, now: Timestamp, random: &mut Random) -> Vec<Arc<Endpoint>> {
        if let [only] = self.members.as_slice() {
            return vec![Arc::clone(&only.endpoint)];
        }
        let mut order = Vec::with_capacity(self.members.len());
        for up in [true, false] {
            for tier in self.members.chunk_by(|a, b| a.tier == b.tier) {
                let mut left: Vec<&Member> = tier
                    .iter()
                    .filter(|member| member.endpoint.is_up(now) == up)
                    .collect();
                while !left.is_empty() {
                    let total: u64 = left.iter().map(|member| member.weight).sum();
                    let mut ticket = random.below(total);
                    let chosen = left
                        .iter()
                        .position(|member| {
                            let won = ticket < member.weight;
                            ticket = ticket.saturating_sub(member.weight);
                            won
                        })
                        .unwrap_or(0);
                    order.push(Arc::clone(&left.swap_remove(chosen).endpoint));
                }
            }
        }
        order
    }

    /// A pool of each origin alone, sharing what is known of its health.
    pub(crate) fn each(&self) -> Vec<Self> {
        let alone = |member: &Member| Self {
            members: vec![Member {
                endpoint: Arc::clone(&member.endpoint),
                weight: 1,
                tier: 0,
            }],
            host_header: self.host_header.clone(),
            health_path: self.health_path.clone(),
            connect_timeout: self.connect_timeout,
            first_byte_timeout: self.first_byte_timeout,
            idle_timeout: self.idle_timeout,
        };
        self.members.iter().map(alone).collect()
    }

    /// All origins.
    pub(crate) fn endpoints(&self) -> impl Iterator<Item = &Arc<Endpoint>> {
        self.members.iter().map(|member| &member.endpoint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(origins: &[(&str, u16, u8)]) -> Result<Pool, OriginError> {
        let mut wanted = OriginPool::single("http://unused");
        wanted.origins = origins
            .iter()
            .map(|(url, weight, tier)| Origin {
                url: (*url).to_owned(),
                weight: *weight,
                tier: *tier,
            })
            .collect();
        Pool::compile(&wanted, None)
    }

    #[test]
    fn urls_are_an_origin_and_nothing_more() {
        for good in [
            "http://a",
            "https://a:8443",
            "http://[2001:db8::1]:80/",
            "http://192.0.2.1",
        ] {
            assert!(pool(&[(good, 1, 0)]).is_ok(), "{good}");
        }
        for wrong in [
            "",
            "a",
            "ftp://a",
            "http://a/x",
            "http://a?x",
            "http://u@a",
            "http://",
        ] {
            assert!(pool(&[(wrong, 1, 0)]).is_err(), "{wrong}");
        }
        assert_eq!(pool(&[]).err(), Some(OriginError::Count(0)));
    }

    #[test]
    fn lower_tiers_come_first_weights_share_and_the_dead_come_last() {
        let pool = pool(&[
            ("http://spare", 1, 1),
            ("http://big", 9, 0),
            ("http://small", 1, 0),
        ])
        .expect("a good pool");
        let now = Timestamp::from_seconds(1_000);
        let mut random = Random::seeded(3);
        let mut first = |now| pool.order(now, &mut random)[0].host.clone();
        let big = (0..10_000).filter(|_| first(now) == "big").count();
        assert!((8_700..9_300).contains(&big), "{big} of 10000");
        for endpoint in pool.endpoints().filter(|e| e.host != "spare") {
            for _ in 0..FALL {
                endpoint.failed(now);
            }
        }
        assert_eq!(first(now), "spare");
        let later = now.plus(PASS_OVER);
        assert_ne!(first(later), "spare", "tried again after a while");
        let long_ago = Timestamp::from_seconds(10);
        assert_ne!(
            first(long_ago),
            "spare",
            "a clock set back keeps nothing down"
        );
    }
}
