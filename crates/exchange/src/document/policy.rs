//! What holds for every member and every route server.

use base::Prefix;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::MaxPrefix;

/// General policy of the exchange.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// The route servers' AS number.
    pub asn: u32,
    /// Lengths of IPv4 prefixes that are accepted.
    #[serde(default = "lengths_v4")]
    pub lengths_v4: PrefixLengths,
    /// Lengths of IPv6 prefixes that are accepted.
    #[serde(default = "lengths_v6")]
    pub lengths_v6: PrefixLengths,
    /// AS numbers in a path, at most.
    #[serde(default = "path_max")]
    pub as_path_max: u32,
    /// Communities of each kind on a route, at most.
    #[serde(default = "communities_max")]
    pub communities_max: u32,
    /// Networks that are never reached through a route server (transit-free networks).
    #[serde(default)]
    pub never_via_route_server: Vec<u32>,
    /// Prefixes refused besides the well-known special-purpose ones, with everything inside them.
    #[serde(default)]
    pub bogons: Vec<Prefix>,
    /// Let a next hop be any router of the same member on the LAN, not only the one that announces.
    #[serde(default = "yes")]
    pub next_hop_same_as: bool,
    /// Obey action communities: announce or not to a peer, prepend.
    #[serde(default = "yes")]
    pub action_communities: bool,
    /// Accept blackholes (RFC 7999) for members' own address space.
    #[serde(default = "yes")]
    pub blackhole: bool,
    /// Obey the graceful shutdown community (RFC 8326).
    #[serde(default = "yes")]
    pub graceful_shutdown: bool,
    /// Announce the role of a route server in sessions (RFC 9234).
    #[serde(default = "yes")]
    pub roles: bool,
    /// Sites that state the same peering LAN are joined at layer 2, and every router on it has a session
    /// with the route server of each of them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub peer_across_sites: bool,
    /// Watch sessions by BFD.
    #[serde(default)]
    pub bfd: Option<Bfd>,
    /// How sessions are carried.
    #[serde(default, skip_serializing_if = "Transport::is_usual")]
    pub transport: Transport,
    /// Hold time of sessions in seconds.
    #[serde(default = "hold_time")]
    pub hold_time_s: u16,
    /// Prefixes taken from a member that names no limit of its own, received and before filters.
    #[serde(default)]
    pub max_prefix: MaxPrefix,
    /// Registries' data.
    #[serde(default)]
    pub irr: IrrPolicy,
    /// Origin validation.
    #[serde(default)]
    pub rpki: RpkiPolicy,
}

/// The shortest and longest prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PrefixLengths {
    /// The shortest, in bits.
    pub min: u8,
    /// The longest, in bits.
    pub max: u8,
}

/// How sessions are carried: on a peering LAN by port 179, or otherwise, in laboratories.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Transport {
    /// TCP port of both ends.
    #[serde(default = "bgp_port")]
    pub port: u16,
    /// Whether neighbours are reached by routing, not on a LAN of their own. BIRD then gives a
    /// member no next best route when the best one is withheld from it.
    #[serde(default)]
    pub multihop: bool,
}

impl Transport {
    /// Whether this is what every exchange has.
    pub fn is_usual(&self) -> bool {
        *self == Self::default()
    }
}

impl Default for Transport {
    fn default() -> Self {
        Self {
            port: bgp_port(),
            multihop: false,
        }
    }
}

fn bgp_port() -> u16 {
    179
}

/// Bidirectional forwarding detection (RFC 5880).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Bfd {
    /// Time between two packets in milliseconds.
    #[serde(default = "bfd_interval")]
    pub interval_ms: u32,
    /// Packets lost before a session is down.
    #[serde(default = "bfd_multiplier")]
    pub multiplier: u8,
}

/// How the registries' data (RPSL) is used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IrrPolicy {
    /// Test origins and prefixes against the registries. A member with an empty set is refused everything.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Registries asked for a member that names none, first one first.
    #[serde(default)]
    pub sources: Vec<String>,
    /// Accept what is more specific than a registered prefix, down to the longest accepted length.
    #[serde(default)]
    pub more_specific: bool,
}

/// How RPKI is used.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RpkiPolicy {
    /// Servers of validated payloads (RFC 8210); the route servers follow them by themselves.
    #[serde(default)]
    pub servers: Vec<RtrServer>,
    /// Payloads written into the configuration.
    #[serde(default)]
    pub roas: Vec<Roa>,
}

/// A server of validated ROA payloads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RtrServer {
    /// Its address.
    pub address: std::net::IpAddr,
    /// Its TCP port.
    #[serde(default = "rtr_port")]
    pub port: u16,
}

/// One validated ROA payload.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(deny_unknown_fields)]
pub struct Roa {
    /// The prefix.
    pub prefix: Prefix,
    /// The longest length that may be announced; without it the prefix's own.
    #[serde(default)]
    pub max_length: Option<u8>,
    /// The AS that may originate it; 0 means nobody.
    pub asn: u32,
}

impl RpkiPolicy {
    /// Whether routes are validated at all.
    pub fn is_used(&self) -> bool {
        !self.servers.is_empty() || !self.roas.is_empty()
    }
}

impl Default for IrrPolicy {
    fn default() -> Self {
        Self {
            enabled: true,
            sources: Vec::new(),
            more_specific: false,
        }
    }
}

fn yes() -> bool {
    true
}
fn lengths_v4() -> PrefixLengths {
    PrefixLengths { min: 8, max: 24 }
}
fn lengths_v6() -> PrefixLengths {
    PrefixLengths { min: 19, max: 48 }
}
fn path_max() -> u32 {
    64
}
fn communities_max() -> u32 {
    100
}
fn hold_time() -> u16 {
    90
}
fn bfd_interval() -> u32 {
    100
}
fn bfd_multiplier() -> u8 {
    3
}
fn rtr_port() -> u16 {
    323
}
