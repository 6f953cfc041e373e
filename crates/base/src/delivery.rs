//! Desired state of the delivery data plane: what the `cdn` domain compiles into
//! snapshots, and what edges and dispatch servers obey.
//!
//! A snapshot is whole: a node needs nothing else to serve. Every list that comes
//! from people is bounded, so that a node can check a snapshot before it obeys it.

use std::net::{IpAddr, SocketAddr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::enforcement::Enforced;
use crate::{NodeName, OrgId, Prefix, SiteId, Timestamp};

/// Bounds that both sides check; a snapshot beyond them is refused whole.
pub mod limits {
    /// Sites in one snapshot.
    pub const SITES_MAX: usize = 100_000;
    /// Host names of one site.
    pub const HOSTS_PER_SITE_MAX: usize = 100;
    /// Origins of one site.
    pub const ORIGINS_PER_SITE_MAX: usize = 16;
    /// Path rules of one site.
    pub const PATH_RULES_MAX: usize = 200;
    /// Extra response headers of one site.
    pub const HEADERS_MAX: usize = 50;
    /// Names answered by dispatch.
    pub const NAMES_MAX: usize = 1_000_000;
    /// Edges known to dispatch.
    pub const EDGES_MAX: usize = 1_000;
    /// Client prefixes of all regions together.
    pub const REGION_PREFIXES_MAX: usize = 4_000_000;
}

// ---------------------------------------------------------------- edge

/// Everything an edge needs to serve every site.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
pub struct EdgeSnapshot {
    /// The sites, in no particular order; host names are unique across them.
    pub sites: Vec<EdgeSite>,
    /// Certificates, chosen by SNI among the names they carry (RFC 6125, one
    /// left-most wildcard label).
    pub certificates: Vec<EdgeCertificate>,
    /// Edges that an operator is draining: they answer, and say `Connection: close`
    /// (HTTP/1.1) or `GOAWAY` (HTTP/2) when a connection falls idle.
    pub draining: Vec<NodeName>,
    /// What is refused, as far as it was decided when the snapshot was made; quick
    /// entries carry on from there.
    #[serde(default, skip_serializing_if = "Enforced::is_unused")]
    pub enforced: Enforced,
}

/// One public web site as an edge serves it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EdgeSite {
    /// The site.
    pub id: SiteId,
    /// The tenant that owns it.
    pub org: OrgId,
    /// Host names in lower case, without a final dot and without a port.
    pub hosts: Vec<String>,
    /// Where misses go.
    pub origins: OriginPool,
    /// How it is cached and delivered.
    pub settings: SiteSettings,
    /// Everything fetched before this moment is purged (the folded form of purges
    /// that an edge may have missed).
    pub purged_before: Timestamp,
}

/// A certificate chain with its key.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct EdgeCertificate {
    /// PEM, leaf first.
    pub chain_pem: String,
    /// PEM, PKCS #8, SEC1 or PKCS #1. Secret: nodes keep snapshots sealed on disk.
    pub key_pem: String,
}

impl std::fmt::Debug for EdgeCertificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EdgeCertificate")
            .field("chain_bytes", &self.chain_pem.len())
            .finish_non_exhaustive()
    }
}

/// The origins of a site, tried in order of `tier`, by weight within one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OriginPool {
    /// At least one origin.
    pub origins: Vec<Origin>,
    /// `Host` sent to the origin; none: the host that the client asked for.
    #[serde(default)]
    pub host_header: Option<String>,
    /// Path of the active health check; none: judged by ordinary requests only.
    #[serde(default)]
    pub health_path: Option<String>,
    /// Milliseconds to wait for a connection.
    pub connect_timeout_ms: u32,
    /// Milliseconds to wait for the response's first byte.
    pub first_byte_timeout_ms: u32,
    /// Milliseconds of silence allowed in the middle of a body.
    pub idle_timeout_ms: u32,
}

impl OriginPool {
    /// A pool of one plain origin with the house's time limits.
    pub fn single(url: impl Into<String>) -> Self {
        Self {
            origins: vec![Origin {
                url: url.into(),
                weight: 1,
                tier: 0,
            }],
            host_header: None,
            health_path: None,
            connect_timeout_ms: 3_000,
            first_byte_timeout_ms: 30_000,
            idle_timeout_ms: 30_000,
        }
    }
}

/// One origin server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// `http://host[:port]` or `https://host[:port]`, without a path.
    pub url: String,
    /// Share of requests among origins of the same tier, 1 to 1000.
    pub weight: u16,
    /// 0 is tried first; a higher tier serves while no lower one is healthy.
    pub tier: u8,
}

/// How a site is cached and delivered. [`SiteSettings::default`] only follows HTTP.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SiteSettings {
    /// Rules by path; the longest matching prefix wins; no match: follow HTTP.
    pub path_rules: Vec<PathRule>,
    /// Query parameters left out of the cache key (`utm_source`, `fbclid`, …).
    pub ignore_query: Vec<String>,
    /// Seconds a stale response may be served while it is refreshed, when the
    /// origin does not say (RFC 5861 section 3).
    pub stale_while_revalidate_s: u32,
    /// Seconds a stale response may be served when the origin fails, when the
    /// origin does not say (RFC 5861 section 4).
    pub stale_if_error_s: u32,
    /// Seconds an error of the origin (404, 410, 5xx) is kept when it carries no
    /// freshness of its own; 0 keeps none.
    pub negative_ttl_s: u32,
    /// Bytes of the largest body that is kept.
    pub object_bytes_max: u64,
    /// Answer plain HTTP with a 308 to HTTPS.
    pub redirect_to_https: bool,
    /// Seconds of `Strict-Transport-Security`; 0 sends none (RFC 6797).
    pub hsts_s: u32,
    /// Response headers set by the edge, after those of the origin.
    pub set_headers: Vec<(String, String)>,
    /// Requests per second allowed from one client address; 0: no limit.
    pub client_rps_max: u32,
    /// Bytes of the largest request body that is forwarded.
    pub request_bytes_max: u64,
}

impl Default for SiteSettings {
    fn default() -> Self {
        Self {
            path_rules: Vec::new(),
            ignore_query: Vec::new(),
            stale_while_revalidate_s: 0,
            stale_if_error_s: 0,
            negative_ttl_s: 0,
            object_bytes_max: 8 << 30,
            redirect_to_https: false,
            hsts_s: 0,
            set_headers: Vec::new(),
            client_rps_max: 0,
            request_bytes_max: 1 << 30,
        }
    }
}

/// What happens to paths that begin with a prefix.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PathRule {
    /// `/static/`; matched by bytes against the path without its query.
    pub prefix: String,
    /// What is done.
    pub action: PathAction,
}

/// The action of a [`PathRule`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum PathAction {
    /// Follow HTTP (RFC 9111).
    Follow,
    /// Never keep; pass every request to the origin.
    Bypass,
    /// Keep cacheable responses without freshness of their own for this long.
    DefaultTtl {
        /// Seconds.
        seconds: u32,
    },
    /// Keep cacheable responses for this long, whatever freshness they state;
    /// `no-store` and `private` are still obeyed.
    ForceTtl {
        /// Seconds.
        seconds: u32,
    },
}

// ---------------------------------------------------------------- dispatch

/// Everything a dispatch server needs to answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DispatchSnapshot {
    /// Ordinary zones as RFC 1035 master files, each with its own SOA and NS.
    pub zones: Vec<ZoneText>,
    /// Names, within one of the zones, whose A, AAAA and HTTPS answers are chosen by policy.
    pub names: Vec<DispatchName>,
    /// The edges that can be chosen.
    pub edges: Vec<EdgeEndpoint>,
    /// Client networks by region; the longest matching prefix decides.
    pub regions: Vec<Region>,
    /// How health is agreed.
    pub health: HealthPolicy,
    /// What is refused, as far as it was decided when the snapshot was made; quick
    /// entries carry on from there.
    #[serde(default, skip_serializing_if = "Enforced::is_unused")]
    pub enforced: Enforced,
}

/// A zone as text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZoneText {
    /// The apex, absolute: `cdn.example.`.
    pub origin: String,
    /// RFC 1035 section 5 master file.
    pub text: String,
}

/// A name that sends users to edges.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DispatchName {
    /// Absolute: `www.agency.cdn.example.`.
    pub name: String,
    /// Seconds that an answer may be kept.
    pub ttl_s: u32,
    /// Edges allowed to serve it; empty: all of them.
    pub edges: Vec<NodeName>,
    /// How many addresses an answer carries, 1 to 8.
    pub answers_max: u8,
    /// What to do while no allowed edge is healthy.
    pub all_down: AllDown,
}

/// The policy for "all down".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AllDown {
    /// Answer as if all were healthy: an unproven edge beats none.
    AsIfHealthy,
    /// Answer these addresses, usually the origin's own.
    Fallback(Vec<IpAddr>),
    /// SERVFAIL, so that resolvers keep what they have (RFC 8767).
    ServFail,
}

/// An edge as dispatch sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EdgeEndpoint {
    /// The node.
    pub node: NodeName,
    /// Addresses given to users, of both families.
    pub addresses: Vec<IpAddr>,
    /// Where it stands.
    pub at: Place,
    /// Share among equally near edges, 1 to 1000.
    pub weight: u16,
    /// Requests per second that it can carry; the load that it reports is
    /// compared with this.
    pub capacity_rps: u32,
    /// An operator is taking it out of service: chosen by no new answer.
    pub drained: bool,
    /// Where observers ask for its health: `GET /.well-known/civicnet/health`.
    pub health_address: SocketAddr,
}

/// A point on the Earth, WGS 84.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Place {
    /// Degrees north, −90 to 90.
    pub latitude: f64,
    /// Degrees east, −180 to 180.
    pub longitude: f64,
}

/// Networks whose users are near each other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Region {
    /// Shown to people: `TANet Taichung`.
    pub name: String,
    /// Client prefixes.
    pub prefixes: Vec<Prefix>,
    /// Where its users are.
    pub at: Place,
    /// Edges preferred over nearer ones, in order (a network's own edges first).
    pub prefer: Vec<NodeName>,
}

/// How observers agree on the health of an edge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthPolicy {
    /// Milliseconds between two probes of an edge by one observer.
    pub interval_ms: u32,
    /// Milliseconds after which a probe has failed.
    pub timeout_ms: u32,
    /// Failed probes in a row after which an observer calls an edge dead.
    pub fall: u8,
    /// Good probes in a row after which it calls it alive.
    pub rise: u8,
    /// Milliseconds after which a silent observer's opinion no longer counts.
    pub opinion_ttl_ms: u32,
    /// Dispatch servers' addresses for observers' reports (UDP).
    pub report_to: Vec<SocketAddr>,
    /// Key of the reports' HMAC-SHA-256. Secret.
    pub report_key: [u8; 32],
}

impl Default for HealthPolicy {
    fn default() -> Self {
        Self {
            interval_ms: 300,
            timeout_ms: 250,
            fall: 2,
            rise: 2,
            opinion_ttl_ms: 1_500,
            report_to: Vec::new(),
            report_key: [0; 32],
        }
    }
}
