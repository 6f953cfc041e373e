//! The sites of a snapshot, checked and made ready for requests.

use std::collections::HashMap;
use std::sync::Arc;

use base::delivery::{EdgeSite, EdgeSnapshot, OriginPool, SiteSettings, limits};
use base::{OrgId, SiteId, Timestamp};
use http::{HeaderName, HeaderValue};

use crate::origin::pool::{OriginError, Pool};
use crate::stats::SharedCounters;
use crate::tls::{Certificates, TlsError};

/// Why a snapshot is refused whole.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// There are more of something than the limits allow.
    #[error("{count} {what}: at most {max} are allowed")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// How many there are.
        count: usize,
        /// How many there may be.
        max: usize,
    },
    /// Two sites claim one host name.
    #[error("host {host:?} belongs to two sites")]
    HostTwice {
        /// The name.
        host: String,
    },
    /// A host name is not in the form that requests are compared with.
    #[error("host {host:?} is not a host name in lower case without port and final dot")]
    Host {
        /// The name.
        host: String,
    },
    /// A site's origins cannot be used.
    #[error("site {site}: its origins cannot be used")]
    Origin {
        /// The site.
        site: SiteId,
        /// Why.
        #[source]
        cause: OriginError,
    },
    /// A header that the site sets is not one.
    #[error("site {site}: {name:?} is not a header field that can be set")]
    Header {
        /// The site.
        site: SiteId,
        /// The field's name.
        name: String,
    },
    /// A certificate cannot be used.
    #[error("certificate {index} cannot be used")]
    Certificate {
        /// Its place in the snapshot.
        index: usize,
        /// Why.
        #[source]
        cause: TlsError,
    },
}

/// One site as requests meet it.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) id: SiteId,
    pub(crate) org: Option<OrgId>,
    pub(crate) settings: SiteSettings,
    pub(crate) pool: Pool,
    pub(crate) counters: SharedCounters,
    /// The headers that the site sets, for responses built from maps.
    pub(crate) set_headers: Vec<(HeaderName, HeaderValue)>,
    /// The same as bytes, for ready-made heads.
    pub(crate) set_block: Box<[u8]>,
    /// Forwards every method and answers every host.
    pub(crate) open: bool,
}

/// All sites by host name.
#[derive(Debug, Default)]
pub(crate) struct Sites {
    by_host: HashMap<Box<str>, Arc<Site>>,
    any: Option<Arc<Site>>,
    pub(crate) all: Vec<Arc<Site>>,
}

impl Sites {
    /// Checks a snapshot's sites and makes them ready. Counters and origin health
    /// go on from `before`.
    pub(crate) fn compile(snapshot: &EdgeSnapshot, before: &Self) -> Result<Self, SnapshotError> {
        bounded("sites", snapshot.sites.len(), limits::SITES_MAX)?;
        let known: HashMap<SiteId, &Arc<Site>> =
            before.all.iter().map(|site| (site.id, site)).collect();
        let mut sites = Self {
            by_host: HashMap::with_capacity(snapshot.sites.len() * 2),
            any: None,
            all: Vec::with_capacity(snapshot.sites.len()),
        };
        for wanted in &snapshot.sites {
            let site = Arc::new(compile(wanted, known.get(&wanted.id).copied())?);
            bounded(
                "host names of a site",
                wanted.hosts.len(),
                limits::HOSTS_PER_SITE_MAX,
            )?;
            for host in &wanted.hosts {
                let plain = !host.is_empty()
                    && host.len() <= 253
                    && !host.ends_with('.')
                    && host.bytes().all(|b| {
                        b.is_ascii_lowercase()
                            || b.is_ascii_digit()
                            || matches!(b, b'-' | b'.' | b'_')
                    });
                if !plain {
                    return Err(SnapshotError::Host { host: host.clone() });
                }
                if sites
                    .by_host
                    .insert(host.as_str().into(), Arc::clone(&site))
                    .is_some()
                {
                    return Err(SnapshotError::HostTwice { host: host.clone() });
                }
            }
            sites.all.push(site);
        }
        Ok(sites)
    }

    /// One origin for every host, following HTTP only.
    pub(crate) fn single(origin: &str) -> Result<Self, SnapshotError> {
        let wanted = EdgeSite {
            id: SiteId(uuid::Uuid::nil()),
            org: OrgId(uuid::Uuid::nil()),
            hosts: Vec::new(),
            origins: OriginPool::single(origin),
            settings: SiteSettings::default(),
            purged_before: Timestamp(i64::MIN),
        };
        let mut site = compile(&wanted, None)?;
        site.open = true;
        site.org = None;
        let site = Arc::new(site);
        Ok(Self {
            by_host: HashMap::new(),
            any: Some(Arc::clone(&site)),
            all: vec![site],
        })
    }

    /// The site that a host name, without its port, belongs to.
    pub(crate) fn find(&self, host: &str) -> Option<&Arc<Site>> {
        if let Some(any) = &self.any {
            return Some(any);
        }
        if let Some(site) = self.by_host.get(host) {
            return Some(site);
        }
        let plain = host.trim_end_matches('.');
        if plain.len() == host.len() && !host.bytes().any(|b| b.is_ascii_uppercase()) {
            return None;
        }
        self.by_host.get(plain.to_ascii_lowercase().as_str())
    }
}

/// Checks a snapshot without obeying it, as a node does before it switches.
///
/// # Errors
/// Names the first thing that an edge could not serve.
pub fn check(snapshot: &EdgeSnapshot) -> Result<(), SnapshotError> {
    Sites::compile(snapshot, &Sites::default())?;
    certificates(snapshot)?;
    Ok(())
}

pub(crate) fn certificates(snapshot: &EdgeSnapshot) -> Result<Certificates, SnapshotError> {
    Certificates::compile(&snapshot.certificates)
        .map_err(|(index, cause)| SnapshotError::Certificate { index, cause })
}

fn bounded(what: &'static str, count: usize, max: usize) -> Result<(), SnapshotError> {
    if count > max {
        return Err(SnapshotError::TooMany { what, count, max });
    }
    Ok(())
}

fn compile(wanted: &EdgeSite, before: Option<&Arc<Site>>) -> Result<Site, SnapshotError> {
    let settings = &wanted.settings;
    bounded(
        "path rules of a site",
        settings.path_rules.len(),
        limits::PATH_RULES_MAX,
    )?;
    bounded(
        "headers set by a site",
        settings.set_headers.len(),
        limits::HEADERS_MAX,
    )?;
    let pool = Pool::compile(&wanted.origins, before.map(|site| &site.pool)).map_err(|cause| {
        SnapshotError::Origin {
            site: wanted.id,
            cause,
        }
    })?;
    let mut set_headers = Vec::new();
    for (name, value) in &settings.set_headers {
        let refused = || SnapshotError::Header {
            site: wanted.id,
            name: name.clone(),
        };
        let parsed = HeaderName::from_bytes(name.as_bytes()).map_err(|_| refused())?;
        if crate::proxy::headers::is_framing(&parsed) {
            return Err(refused());
        }
        let value = HeaderValue::from_str(value).map_err(|_| refused())?;
        set_headers.push((parsed, value));
    }
    if settings.hsts_s > 0 {
        let value = HeaderValue::from_str(&format!("max-age={}", settings.hsts_s));
        if let Ok(value) = value {
            set_headers.push((http::header::STRICT_TRANSPORT_SECURITY, value));
        }
    }
    let mut set_block = Vec::new();
    for (name, value) in &set_headers {
        set_block.extend_from_slice(name.as_str().as_bytes());
        set_block.extend_from_slice(b": ");
        set_block.extend_from_slice(value.as_bytes());
        set_block.extend_from_slice(b"\r\n");
    }
    Ok(Site {
        id: wanted.id,
        org: Some(wanted.org),
        settings: settings.clone(),
        pool,
        counters: before.map_or_else(SharedCounters::default, |site| Arc::clone(&site.counters)),
        set_headers,
        set_block: set_block.into_boxed_slice(),
        open: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(number: u128, hosts: &[&str]) -> EdgeSite {
        EdgeSite {
            id: SiteId(uuid::Uuid::from_u128(number)),
            org: OrgId(uuid::Uuid::nil()),
            hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
            origins: OriginPool::single("http://192.0.2.1"),
            settings: SiteSettings::default(),
            purged_before: Timestamp(0),
        }
    }

    fn snapshot(sites: Vec<EdgeSite>) -> EdgeSnapshot {
        EdgeSnapshot {
            sites,
            ..EdgeSnapshot::default()
        }
    }

    #[test]
    fn hosts_are_found_whatever_their_case_or_final_dot() {
        let sites = Sites::compile(
            &snapshot(vec![
                site(1, &["www.example.tw"]),
                site(2, &["a.tw", "b.tw"]),
            ]),
            &Sites::default(),
        )
        .expect("a good snapshot");
        for (host, number) in [("www.example.tw", 1), ("WWW.Example.tw", 1), ("b.tw.", 2)] {
            let found = sites.find(host).expect(host);
            assert_eq!(found.id.0.as_u128(), number, "{host}");
        }
        for host in ["example.tw", "", "xwww.example.tw"] {
            assert!(sites.find(host).is_none(), "{host}");
        }
    }

    #[test]
    fn a_snapshot_that_cannot_be_served_is_refused_with_its_reason() {
        let mut bad_origin = site(3, &["c.tw"]);
        bad_origin.origins = OriginPool::single("ftp://192.0.2.1");
        let mut bad_header = site(4, &["d.tw"]);
        bad_header.settings.set_headers = vec![("Content-Length".into(), "0".into())];
        let mut split = site(5, &["e.tw"]);
        split.settings.set_headers = vec![("X".into(), "a\r\nSet-Cookie: b".into())];
        for (sites, word) in [
            (vec![site(1, &["a.tw"]), site(2, &["a.tw"])], "two sites"),
            (vec![site(1, &["A.tw"])], "lower case"),
            (vec![site(1, &["a.tw:80"])], "lower case"),
            (vec![bad_origin], "origins"),
            (vec![bad_header], "Content-Length"),
            (vec![split], "header field"),
        ] {
            let error = check(&snapshot(sites)).expect_err(word).to_string();
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn counters_outlive_a_snapshot() {
        let first = Sites::compile(&snapshot(vec![site(1, &["a.tw"])]), &Sites::default())
            .expect("a good snapshot");
        first.all[0].counters.add(&crate::stats::Count {
            bytes_sent: 10,
            ..Default::default()
        });
        let second =
            Sites::compile(&snapshot(vec![site(1, &["b.tw"])]), &first).expect("a good snapshot");
        assert_eq!(second.all[0].counters.read().bytes_sent, 10);
    }
}
