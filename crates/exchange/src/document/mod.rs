//! The plain document: everything that the route servers of an exchange need to know, in one TOML or
//! JSON file with a published schema (`civicnet exchange schema`).
//!
//! The document is enough by itself: no control plane is asked. What the registries say about members'
//! prefixes is kept beside it ([`crate::irr`]). A document that breaks a rule is refused whole, with
//! every problem found and its place: file, line, column and key.

mod check;
mod member;
mod policy;
mod prefer;
mod protection;

use std::fmt;
use std::path::Path;

use base::Prefix;
use runtime::config::{self, ConfigError, NoEnv, Problem};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(crate) use check::is_set_name;
pub use member::{BilateralSession, MaxPrefix, Member, Router, Secret, SessionTerms};
pub use policy::{Bfd, IrrPolicy, Policy, PrefixLengths, Roa, RpkiPolicy, RtrServer, Transport};
pub use prefer::{PreferError, prefer};
pub use protection::{
    BLACKHOLE_V4_MIN, BLACKHOLE_V6_MIN, Flow, Fragments, ID_CHARS_MAX, LIST_MAX, NumberRange,
    PROTECTIONS_MAX, Protection, RATE_MAX, TcpFlags,
};

/// Sites of one exchange.
pub const SITES_MAX: usize = 64;
/// Members of one exchange.
pub const MEMBERS_MAX: usize = 10_000;
/// Border routers of one member.
pub const ROUTERS_PER_MEMBER_MAX: usize = 64;
/// Characters of a name.
pub const NAME_CHARS_MAX: usize = 40;

/// An exchange as its operator describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Exchange members' document")]
pub struct Document {
    /// Version of this document's format.
    #[serde(default = "one")]
    pub version: u32,
    /// Name of the exchange, for people.
    pub name: String,
    /// What holds for every member and every route server.
    pub policy: Policy,
    /// Places with a route server.
    pub sites: Vec<Site>,
    /// Networks that peer with the route servers.
    #[serde(default)]
    pub members: Vec<Member>,
    /// What members asked to be discarded or limited, and what the exchange does by itself.
    #[serde(default)]
    pub protection: Vec<Protection>,
    /// Members whose traffic was switched to one site by hand (`civicnet exchange switch`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub preferred_sites: Vec<PreferredSite>,
}

/// A member's routers at one site come before its others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PreferredSite {
    /// The member's AS number.
    pub asn: u32,
    /// Site of the routers that come first; what its others announce and hear has a longer path.
    pub site: String,
}

/// A place with a peering LAN and a route server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Site {
    /// Name: lower-case letters, digits and hyphens.
    pub name: String,
    /// BGP identifier of the route server, written as an IPv4 address.
    pub router_id: std::net::Ipv4Addr,
    /// The peering LAN's IPv4 prefix.
    #[serde(default)]
    pub lan_v4: Option<Prefix>,
    /// The peering LAN's IPv6 prefix.
    #[serde(default)]
    pub lan_v6: Option<Prefix>,
    /// The route server's IPv4 address on the peering LAN.
    #[serde(default)]
    pub address_v4: Option<std::net::Ipv4Addr>,
    /// The route server's IPv6 address on the peering LAN.
    #[serde(default)]
    pub address_v6: Option<std::net::Ipv6Addr>,
    /// Blackhole next hop on the IPv4 LAN (RFC 7999); without it blackholes keep their next hop.
    #[serde(default)]
    pub blackhole_v4: Option<std::net::Ipv4Addr>,
    /// Blackhole next hop on the IPv6 LAN.
    #[serde(default)]
    pub blackhole_v6: Option<std::net::Ipv6Addr>,
    /// Ask members to prefer other ways (RFC 8326), before work on this site.
    #[serde(default)]
    pub draining: bool,
    /// The daemon of the route server; configurations for another one are refused. Without it either may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<EngineKind>,
}

/// A daemon that route servers can run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum EngineKind {
    /// BIRD 2.
    Bird,
    /// OpenBGPD 7.7 and later: no BFD, no flow rules, no blackholes announced for members.
    Openbgpd,
}

impl fmt::Display for EngineKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bird => "bird",
            Self::Openbgpd => "openbgpd",
        })
    }
}

fn one() -> u32 {
    1
}

impl Document {
    /// Reads and checks the document at `path`: JSON when its name ends in `.json`, else TOML.
    ///
    /// # Errors
    /// When the file cannot be read, or with every problem found in it.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        if !is_json(&path.to_string_lossy()) {
            return config::load(path, &NoEnv);
        }
        let unreadable = |source| ConfigError::Read {
            path: path.to_owned(),
            source,
        };
        let length = std::fs::metadata(path).map_err(unreadable)?.len();
        if length > config::FILE_BYTES_MAX {
            return Err(ConfigError::TooLong {
                path: path.to_owned(),
                length,
            });
        }
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
        Self::parse(&path.display().to_string(), &text)
    }

    /// As [`Self::load`], from `text`; `name` stands for the file in messages and decides the syntax.
    ///
    /// # Errors
    /// With every problem found.
    pub fn parse(name: &str, text: &str) -> Result<Self, ConfigError> {
        if is_json(name) {
            parse_json(name, text)
        } else {
            config::parse(name, text, &NoEnv)
        }
    }

    /// The site called `name`.
    pub fn site(&self, name: &str) -> Option<&Site> {
        self.sites.iter().find(|site| site.name == name)
    }

    /// The daemon of the route server at the site called `name`: BIRD where the document does not say.
    pub fn engine_at(&self, name: &str) -> EngineKind {
        let said = self.site(name).and_then(|site| site.engine);
        said.unwrap_or(EngineKind::Bird)
    }

    /// The routers of `member` that have a session with the route server of `site` in one family: those
    /// at the site and, when the policy says so, those at sites that share its peering LAN.
    pub fn routers_at<'a>(
        &'a self,
        site: &'a Site,
        member: &'a Member,
        v6: bool,
    ) -> impl Iterator<Item = &'a Router> {
        let served = if v6 {
            site.address_v6.is_some()
        } else {
            site.address_v4.is_some()
        };
        member.routers.iter().filter(move |router| {
            let has_address = if v6 {
                router.v6.is_some()
            } else {
                router.v4.is_some()
            };
            let is_near = || {
                router.site == site.name
                    || self.policy.peer_across_sites
                        && self
                            .site(&router.site)
                            .is_some_and(|other| other.shares_lan(site, v6))
            };
            served && has_address && is_near()
        })
    }

    /// The site whose routers come first for `asn`, when somebody said so.
    pub fn preferred_site(&self, asn: u32) -> Option<&str> {
        self.preferred_sites
            .iter()
            .find(|preferred| preferred.asn == asn)
            .map(|preferred| preferred.site.as_str())
    }

    /// The published schema.
    pub fn schema() -> serde_json::Value {
        schemars::schema_for!(Self).to_value()
    }
}

fn is_json(name: &str) -> bool {
    name.to_ascii_lowercase().ends_with(".json")
}

/// JSON gives the place of the first thing that cannot be read; broken rules have their keys.
fn parse_json(name: &str, text: &str) -> Result<Document, ConfigError> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let invalid =
        |line: Option<usize>, column: Option<usize>, key: String, message: String| Problem {
            file: name.to_owned(),
            line,
            column,
            key,
            message,
        };
    let document: Document = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let key = error.path().to_string();
        let key = if key == "." { String::new() } else { key };
        let inner = error.inner();
        let said = inner.to_string();
        // The place is told before the message already.
        let said = said
            .rsplit_once(" at line ")
            .map_or(said.as_str(), |(words, _)| words)
            .to_owned();
        ConfigError::Invalid(vec![invalid(
            Some(inner.line()),
            Some(inner.column()),
            key,
            said,
        )])
    })?;
    if let Err(error) = reader.end() {
        let problem = invalid(
            Some(error.line()),
            Some(error.column()),
            String::new(),
            "nothing may follow the document".to_owned(),
        );
        return Err(ConfigError::Invalid(vec![problem]));
    }
    let problems: Vec<Problem> = config::check(&document)
        .into_iter()
        .take(config::PROBLEMS_MAX)
        .map(|finding| invalid(None, None, finding.key.to_string(), finding.message))
        .collect();
    if problems.is_empty() {
        Ok(document)
    } else {
        Err(ConfigError::Invalid(problems))
    }
}

impl Site {
    /// The peering LAN's prefixes.
    pub fn lans(&self) -> impl Iterator<Item = Prefix> {
        self.lan_v4.into_iter().chain(self.lan_v6)
    }

    /// Whether both sites stand on one peering LAN of a family.
    pub fn shares_lan(&self, other: &Self, v6: bool) -> bool {
        let (own, others) = if v6 {
            (self.lan_v6, other.lan_v6)
        } else {
            (self.lan_v4, other.lan_v4)
        };
        own.is_some() && own == others
    }
}

#[cfg(test)]
pub(crate) mod tests;
