//! What a site is told: the members' document and what the registries say of its members.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::document::Document;
use crate::glass::sign::Key;
use crate::irr::{Allowed, AllowedByMember};

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
}

impl fmt::Debug for SiteSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SiteSnapshot")
            .field("document", &self.document)
            .field("registered", &self.registered.len())
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
        }
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
        crate::render::bird(&self.document, site, &self.allowed())
            .map(drop)
            .map_err(|error| runtime::error_chain(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::tests::SMALL;

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
