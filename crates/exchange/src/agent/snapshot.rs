//! What a site is told: the members' document and what the registries say of its members.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use base::Timestamp;
use serde::{Deserialize, Serialize};

use crate::document::Document;
use crate::engine::daemon::Daemon;
use crate::glass::sign::Key;
use crate::irr::{Allowed, AllowedByMember};
use crate::traffic::plan::{DEVICES_MAX, Plan};

/// The desired state of every site of an exchange.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SiteSnapshot {
    /// The document.
    pub document: Document,
    /// What members may announce, ordered by AS number and family.
    pub registered: Vec<Registered>,
    /// Key of the control plane's questions to looking glasses, in hexadecimal digits.
    pub glass_key: String,
    /// The switches and whose each port is: those of all sites where it is made, those of one site where
    /// its agent is given it ([`Self::for_site`]). A collector knows every member by address.
    #[serde(default, skip_serializing_if = "Plan::is_empty")]
    pub traffic: Plan,
    /// When rules of protection end that end by themselves, in Unix seconds by their ids: a site
    /// ends them also when nobody tells it to.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ends: BTreeMap<String, i64>,
}

impl fmt::Debug for SiteSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SiteSnapshot")
            .field("document", &self.document)
            .field("registered", &self.registered.len())
            .field("traffic", &self.traffic)
            .finish_non_exhaustive()
    }
}

/// What the registries say that a member may announce in one family.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registered {
    /// AS number of the member.
    pub asn: u32,
    /// Whether this is IPv6.
    pub v6: bool,
    /// What it may announce.
    pub allowed: Allowed,
}

impl SiteSnapshot {
    /// A snapshot.
    pub fn new(document: Document, allowed: &AllowedByMember, glass_key: String) -> Self {
        let registered = allowed.iter().map(|((asn, v6), allowed)| Registered {
            asn: *asn,
            v6: *v6,
            allowed: allowed.clone(),
        });
        Self {
            registered: registered.collect(),
            document,
            glass_key,
            traffic: Plan::default(),
            ends: BTreeMap::new(),
        }
    }

    /// The same, with what the sites' collectors are to read.
    #[must_use]
    pub fn with_traffic(self, traffic: Plan) -> Self {
        Self { traffic, ..self }
    }

    /// The same, with the moments when rules of protection end by themselves.
    #[must_use]
    pub fn with_ends(self, ends: &BTreeMap<String, Timestamp>) -> Self {
        // Not before its time, and at most a second after it.
        let seconds = |end: &Timestamp| (end.micros() + 999_999).div_euclid(1_000_000);
        let ends = ends.iter().map(|(id, end)| (id.clone(), seconds(end)));
        Self {
            ends: ends.collect(),
            ..self
        }
    }

    /// Whether a route server is configured with the same.
    pub fn configures_as(&self, other: &Self) -> bool {
        self.document == other.document
            && self.registered == other.registered
            && self.ends == other.ends
    }

    /// The document as it stands at `now_s` (Unix seconds), without rules whose time is over; and
    /// when the next rule ends.
    pub fn document_at(&self, now_s: i64) -> (Cow<'_, Document>, Option<i64>) {
        let is_over = |id: &str| self.ends.get(id).is_some_and(|end| *end <= now_s);
        let next = self.ends.values().filter(|end| **end > now_s).min();
        let mut document = Cow::Borrowed(&self.document);
        if self
            .document
            .protection
            .iter()
            .any(|rule| is_over(&rule.id))
        {
            document
                .to_mut()
                .protection
                .retain(|rule| !is_over(&rule.id));
        }
        (document, next.copied())
    }

    /// The same as the agent at `site` is given it: of the switches only the site's own, and of the
    /// members' secrets only those of routers that have a session there. Who says no site, an agent of an
    /// earlier version, is given no switch; its sessions stay.
    #[must_use]
    pub fn for_site(mut self, site: Option<&str>) -> Self {
        self.traffic = self.traffic.at(site.unwrap_or_default());
        let Some(site) = site.and_then(|name| self.document.site(name)).cloned() else {
            return self;
        };
        let document = self.document.clone();
        for (member, whole) in self.document.members.iter_mut().zip(&document.members) {
            let mut served = false;
            for (router, one) in member.routers.iter_mut().zip(&whole.routers) {
                let is_here = [false, true].into_iter().any(|v6| {
                    document
                        .routers_at(&site, whole, v6)
                        .any(|other| other == one)
                });
                served |= is_here;
                if is_here {
                    continue;
                }
                router.password = None;
                for terms in [&mut router.session_v4, &mut router.session_v6]
                    .into_iter()
                    .flatten()
                {
                    terms.password = None;
                }
            }
            if !served {
                member.password = None;
            }
        }
        self
    }

    /// Cuts out of a snapshot's JSON what the agent at `site` is given.
    ///
    /// # Errors
    /// When it is no snapshot.
    pub fn cut(payload: &[u8], site: Option<&str>) -> Result<Vec<u8>, String> {
        let whole: Self = serde_json::from_slice(payload).map_err(|error| error.to_string())?;
        serde_json::to_vec(&whole.for_site(site)).map_err(|error| error.to_string())
    }

    /// What members may announce.
    pub fn allowed(&self) -> AllowedByMember {
        self.registered
            .iter()
            .map(|one| ((one.asn, one.v6), one.allowed.clone()))
            .collect()
    }

    /// Whether `site` can be run from it: the document holds every rule and the configuration renders.
    ///
    /// # Errors
    /// What stands in the way, in one sentence.
    pub fn check(&self, site: &str) -> Result<(), String> {
        let problems: Vec<String> = runtime::config::check(&self.document)
            .into_iter()
            .take(5)
            .map(|finding| format!("{}: {}", finding.key, finding.message))
            .collect();
        if !problems.is_empty() {
            return Err(problems.join("; "));
        }
        if Key::from_hex(&self.glass_key).is_none() {
            return Err("glass_key is no key of 32 bytes in hexadecimal digits".to_owned());
        }
        if self.traffic.devices.len() > DEVICES_MAX {
            return Err(format!(
                "traffic: {} switches: must be at most {DEVICES_MAX}",
                self.traffic.devices.len()
            ));
        }
        Daemon::debian(self.document.engine_at(site))
            .render(&self.document, site, &self.allowed())
            .map(drop)
            .map_err(|error| runtime::error_chain(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::tests::SMALL;
    use crate::traffic::plan::{Access, Device};

    #[test]
    fn a_rule_ends_without_being_told() {
        let mut document = Document::parse("lab.toml", SMALL).expect("valid");
        document.protection = ["a", "b", "c"]
            .map(|id| crate::document::Protection {
                id: id.to_owned(),
                asn: None,
                destination: None,
                sites: Vec::new(),
                flow: None,
            })
            .to_vec();
        let ends = [("a", 100_000_001), ("b", 200_000_000)]
            .map(|(id, at)| (id.to_owned(), Timestamp(at)))
            .into();
        let snapshot =
            SiteSnapshot::new(document, &AllowedByMember::new(), "5a".repeat(32)).with_ends(&ends);
        let at = |now_s| {
            let (document, next) = snapshot.document_at(now_s);
            let ids: Vec<String> = document.protection.iter().map(|r| r.id.clone()).collect();
            (ids.concat(), next)
        };
        assert_eq!(at(100), ("abc".to_owned(), Some(101)));
        assert_eq!(at(101), ("bc".to_owned(), Some(200)));
        assert_eq!(at(200), ("c".to_owned(), None));
    }

    #[test]
    fn a_site_is_given_its_own_secrets() {
        let text = include_str!("../../tests/golden/lab.toml");
        let document = Document::parse("lab.toml", text).expect("valid");
        let device = |site: &str| Device {
            name: format!("{site}-sw1"),
            site: site.to_owned(),
            address: [192, 0, 2, 1].into(),
            port: 161,
            access: Some(Access::V2c {
                community: format!("secret-of-{site}"),
            }),
            interval_s: 30,
            agents: Vec::new(),
            ports: Vec::new(),
        };
        let traffic = Plan {
            devices: document.sites.iter().map(|one| device(&one.name)).collect(),
            routers: Vec::new(),
        };
        let whole = SiteSnapshot::new(document.clone(), &AllowedByMember::new(), "5a".repeat(32))
            .with_traffic(traffic);
        let payload = serde_json::to_vec(&whole).expect("written");
        let told = |site: Option<&str>| {
            String::from_utf8(SiteSnapshot::cut(&payload, site).expect("cut")).expect("text")
        };
        let names: Vec<&str> = document.sites.iter().map(|one| one.name.as_str()).collect();
        for site in &names {
            let text = told(Some(site));
            for other in &names {
                let secret = format!("secret-of-{other}");
                assert_eq!(text.contains(&secret), other == site, "{other} at {site}");
            }
            // The configuration is the same as from the whole.
            let cut: SiteSnapshot = serde_json::from_str(&text).expect("read");
            let mut allowed = AllowedByMember::new();
            for member in &document.members {
                for v6 in [false, true] {
                    allowed.insert((member.asn, v6), Allowed::default());
                }
            }
            assert_eq!(
                crate::render::bird(&cut.document, site, &allowed).expect("rendered"),
                crate::render::bird(&document, site, &allowed).expect("rendered")
            );
        }
        let nowhere = told(None);
        assert!(!nowhere.contains("secret-of-"));
        assert_eq!(nowhere.contains("lab-secret"), text.contains("lab-secret"));
        assert!(SiteSnapshot::cut(b"{}", None).is_err());
    }

    #[test]
    fn a_snapshot_survives_its_way_and_is_checked_whole() {
        let mut document = Document::parse("lab.toml", SMALL).expect("valid");
        let mut allowed = AllowedByMember::new();
        for member in &document.members {
            for v6 in [false, true] {
                allowed.insert((member.asn, v6), Allowed::default());
            }
        }
        let key = "5a".repeat(32);
        let snapshot = SiteSnapshot::new(document.clone(), &allowed, key.clone());
        let text = serde_json::to_string(&snapshot).expect("written");
        let back: SiteSnapshot = serde_json::from_str(&text).expect("read");
        assert_eq!(back, snapshot);
        assert_eq!(back.check("hsinchu"), Ok(()));
        assert!(
            back.check("nowhere")
                .is_err_and(|why| why.contains("hsinchu"))
        );
        assert!(!format!("{back:?}").contains("opensesame"));
        let without = SiteSnapshot::new(document.clone(), &AllowedByMember::new(), key.clone());
        assert!(without.check("hsinchu").is_err());
        document.policy.as_path_max = 0;
        assert!(
            SiteSnapshot::new(document, &allowed, key)
                .check("hsinchu")
                .is_err()
        );
    }
}
