//! A network that peers with the route servers, and its border routers.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// AS number.
    pub asn: u32,
    /// Name for people.
    pub name: String,
    /// AS set (or `AS` number) that lists the networks it announces; without it only itself.
    #[serde(default)]
    pub as_set: Option<String>,
    /// AS set for IPv6, when it is another one.
    #[serde(default)]
    pub as_set_v6: Option<String>,
    /// Registries to ask, first one first; without them the policy's.
    #[serde(default)]
    pub irr_sources: Vec<String>,
    /// Limits of received prefixes; what is absent is the policy's.
    #[serde(default)]
    pub max_prefix: MaxPrefix,
    /// Secret of TCP MD5 (RFC 2385) for all its sessions.
    #[serde(default)]
    pub password: Option<Secret>,
    /// Watch its sessions by BFD, when the policy has BFD.
    #[serde(default = "yes")]
    pub bfd: bool,
    /// Refuse the session unless the member says that it is a route server's client (RFC 9234).
    #[serde(default)]
    pub require_role: bool,
    /// Announce flow rules (RFC 8955, RFC 8956) to it.
    #[serde(default)]
    pub flowspec: bool,
    /// Announce to it also the flow rules that the exchange makes from intelligence.
    #[serde(default)]
    pub intelligence: bool,
    /// Its border routers.
    #[serde(default)]
    pub routers: Vec<Router>,
    /// Sessions with other members, kept for the record: no route server takes part in them.
    #[serde(default)]
    pub bilateral: Vec<BilateralSession>,
}

/// A border router at one site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Router {
    /// Name, unique among the member's routers of the site: lower-case letters, digits and hyphens.
    pub name: String,
    /// Site whose peering LAN it stands on.
    pub site: String,
    /// Its IPv4 address on the LAN.
    #[serde(default)]
    pub v4: Option<std::net::Ipv4Addr>,
    /// Its IPv6 address on the LAN.
    #[serde(default)]
    pub v6: Option<std::net::Ipv6Addr>,
    /// Secret of TCP MD5 for this router, before the member's.
    #[serde(default)]
    pub password: Option<Secret>,
    /// Keep the sessions configured and down.
    #[serde(default)]
    pub disabled: bool,
    /// What differs for its IPv4 session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_v4: Option<SessionTerms>,
    /// What differs for its IPv6 session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_v6: Option<SessionTerms>,
}

/// What differs for one session from what holds for its router and member.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SessionTerms {
    /// Keep the session configured and down.
    #[serde(default)]
    pub disabled: bool,
    /// Do not watch it by BFD.
    #[serde(default)]
    pub no_bfd: bool,
    /// Announce no BGP role (RFC 9234) in it, whatever the policy says: for a router that ends sessions
    /// over the capability. A member that requires roles cannot do without.
    #[serde(default)]
    pub no_role: bool,
    /// Limit of received prefixes, before the member's.
    #[serde(default)]
    pub max_prefix: Option<u32>,
    /// Secret of TCP MD5, before the router's.
    #[serde(default)]
    pub password: Option<Secret>,
}

impl Router {
    /// What differs for its session of one family.
    pub fn terms(&self, is_v6: bool) -> Option<&SessionTerms> {
        match is_v6 {
            true => self.session_v6.as_ref(),
            false => self.session_v4.as_ref(),
        }
    }
}

/// Limits of prefixes received in one session, before filters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MaxPrefix {
    /// IPv4 prefixes.
    #[serde(default)]
    pub v4: Option<u32>,
    /// IPv6 prefixes.
    #[serde(default)]
    pub v6: Option<u32>,
}

/// A session between two members.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BilateralSession {
    /// The other member's AS number.
    pub asn: u32,
    /// Site whose LAN the session crosses.
    pub site: String,
}

/// A text that no log and no debug output shows.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The text itself, for the one place that needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl Member {
    /// The name of the AS set (or the AS) that lists its IPv4 or IPv6 announcements.
    pub fn set_name(&self, is_v6: bool) -> String {
        let own = if is_v6 {
            self.as_set_v6.as_ref().or(self.as_set.as_ref())
        } else {
            self.as_set.as_ref()
        };
        own.map_or_else(|| format!("AS{}", self.asn), |set| set.to_ascii_uppercase())
    }
}

fn yes() -> bool {
    true
}
