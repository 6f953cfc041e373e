//! Configuration section `cdn`.

use base::Prefix;
use runtime::config::{Check, Checker};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::compile::Zone;

/// Web sites behind the CDN.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CdnConfig {
    /// Zone below which every site has its label; owners' CNAMEs point there.
    pub zone: String,
    /// Names of the zone's servers, absolute or relative to the zone.
    pub name_servers: Vec<String>,
    /// Further records of the zone, as master-file lines (RFC 1035 section 5).
    pub zone_records: Vec<String>,
    /// Keeper of the zone in SOA form: `hostmaster.example.`.
    pub zone_keeper: String,
    /// Port at which the proof by file is fetched.
    pub proof_port: u16,
    /// Prefixes that proofs and site maps may be fetched from although they are not
    /// public, such as `127.0.0.0/8` in a sandbox.
    pub allow_private: Vec<Prefix>,
    /// Offer certificates of the house's own sandbox authority.
    pub sandbox_ca: bool,
    /// Days that a deleted site can be brought back.
    pub undo_days: u32,
}

impl Default for CdnConfig {
    fn default() -> Self {
        Self {
            zone: "cdn.civicnet.example".into(),
            name_servers: vec!["ns1".into()],
            zone_records: vec!["ns1 3600 IN A 127.0.0.1".into()],
            zone_keeper: "hostmaster.civicnet.example.".into(),
            proof_port: 80,
            allow_private: Vec::new(),
            sandbox_ca: false,
            undo_days: 7,
        }
    }
}

impl CdnConfig {
    /// The zone as the compiler wants it.
    pub fn zone(&self) -> Zone {
        Zone {
            apex: self.zone.trim_end_matches('.').to_ascii_lowercase(),
            servers: self.name_servers.clone(),
            records: self.zone_records.clone(),
            keeper: self.zone_keeper.clone(),
        }
    }
}

impl Check for CdnConfig {
    fn check(&self, at: &mut Checker) {
        at.require(
            casework::validate::hostname(&self.zone).is_some(),
            "zone",
            "must be a domain name of at least two labels",
        );
        at.require(
            !self.name_servers.is_empty(),
            "name_servers",
            "must name at least one server",
        );
        for (index, record) in self.zone_records.iter().enumerate() {
            at.key("zone_records", |at| {
                at.index(index, |at| {
                    if record.contains(['\n', '\r']) {
                        at.problem_here("must be one line of a master file");
                    }
                });
            });
        }
        at.require(
            self.zone_keeper.ends_with('.'),
            "zone_keeper",
            "must be an absolute name such as hostmaster.example.",
        );
        at.require(self.proof_port != 0, "proof_port", "must not be 0");
        at.require(
            (1..=365).contains(&self.undo_days),
            "undo_days",
            "must be 1 to 365",
        );
    }
}
