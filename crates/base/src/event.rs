//! Events: facts that go up, from a node's journal to the lake.
//!
//! Field names in the lake follow OpenTelemetry's semantic conventions where they
//! have one. A batch is one journal record: it is kept or lost whole, and carries
//! its node and number so that the lake can drop what it already has.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::{EnforcementId, MemberId, NodeName, OrgId, PortId, Role, SiteId, Timestamp};

/// Events of one kind from one node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum EventBatch {
    /// Requests served by an edge.
    Access(Vec<AccessEvent>),
    /// Questions answered by dispatch.
    Query(Vec<QueryEvent>),
    /// Things that happened to nodes and people should know.
    Notice(Vec<NoticeEvent>),
    /// Requests and questions met by an enforcement, counted.
    Enforced(Vec<EnforcedEvent>),
    /// What ports of the exchange's switches carried.
    Ports(Vec<PortEvent>),
    /// What members of the exchange sent each other.
    Flows(Vec<FlowEvent>),
}

impl EventBatch {
    /// Events in one batch; writers flush at this many.
    pub const EVENTS_MAX: usize = 8_192;

    /// How many events it holds.
    pub fn len(&self) -> usize {
        match self {
            Self::Access(events) => events.len(),
            Self::Query(events) => events.len(),
            Self::Notice(events) => events.len(),
            Self::Enforced(events) => events.len(),
            Self::Ports(events) => events.len(),
            Self::Flows(events) => events.len(),
        }
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The lake's table for this kind.
    pub const fn table(&self) -> &'static str {
        match self {
            Self::Access(_) => "access",
            Self::Query(_) => "query",
            Self::Notice(_) => "notice",
            Self::Enforced(_) => "enforced",
            Self::Ports(_) => "port_counters",
            Self::Flows(_) => "flow_matrix",
        }
    }
}

/// One request served by an edge.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AccessEvent {
    /// When the response ended.
    pub at: Timestamp,
    /// The site, if the host name belongs to one.
    pub site: Option<SiteId>,
    /// Its owner.
    pub org: Option<OrgId>,
    /// `client.address`: personal data; the lake keeps it for a short time only.
    pub client: IpAddr,
    /// `http.request.method`.
    pub method: Method,
    /// `server.address`: the host asked for, at most 255 bytes.
    pub host: Box<str>,
    /// `url.path`, at most 1,024 bytes, without the query.
    pub path: Box<str>,
    /// `http.response.status_code`; 0 when the client left before one was sent.
    pub status: u16,
    /// How the cache answered.
    pub cache: CacheResult,
    /// `http.response.size`: bytes sent, headers and body.
    pub bytes_sent: u64,
    /// `http.request.size`: bytes received, headers and body.
    pub bytes_received: u64,
    /// Microseconds from the request's last header byte to the response's last byte.
    pub duration_us: u32,
    /// Microseconds the origin took to its first byte; 0 when it was not asked.
    pub origin_us: u32,
    /// `network.protocol.version`.
    pub protocol: Protocol,
    /// Whether it came over TLS.
    pub tls: bool,
}

/// `http.request.method`, with the long tail folded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Method {
    /// GET
    Get,
    /// HEAD
    Head,
    /// POST
    Post,
    /// PUT
    Put,
    /// DELETE
    Delete,
    /// PATCH
    Patch,
    /// OPTIONS
    Options,
    /// Any other.
    Other,
}

/// `network.protocol.version`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Protocol {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    Http11,
    /// HTTP/2
    Http2,
    /// HTTP/3
    Http3,
}

/// How the cache answered; the words of RFC 9211 where it has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CacheResult {
    /// Served from memory or disk.
    Hit,
    /// Served stale, while revalidating or because the origin failed.
    Stale,
    /// Revalidated with the origin, which said 304.
    Revalidated,
    /// Waited for, and shared, another request's fetch.
    Collapsed,
    /// Fetched from the origin, and kept if it could be.
    Miss,
    /// Not a matter for the cache (method, rule, request directive).
    Bypass,
    /// Made by the edge itself (redirect, error, limit).
    Local,
}

/// One question answered by dispatch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QueryEvent {
    /// When it was answered.
    pub at: Timestamp,
    /// `dns.question.name`, absolute, lower case.
    pub name: Box<str>,
    /// TYPE number (RFC 1035 section 3.2.2).
    pub kind: u16,
    /// RCODE, extended.
    pub rcode: u16,
    /// Who asked.
    pub resolver: IpAddr,
    /// EDNS Client Subnet, if sent (RFC 7871).
    pub client: Option<(IpAddr, u8)>,
    /// The edge put first, if the answer was chosen by policy.
    pub edge: Option<NodeName>,
    /// Whether it came over TCP.
    pub tcp: bool,
}

/// How often one enforcement was met on one node within about a second: a flood of
/// refused requests makes no flood of events.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EnforcedEvent {
    /// When it was last met.
    pub at: Timestamp,
    /// Which one.
    pub enforcement: EnforcementId,
    /// By what it was met: the role of the node.
    pub role: Role,
    /// The last client: personal data, kept as long as access events are.
    pub client: IpAddr,
    /// The last thing asked for: `host/path` without the query, or a DNS name; at
    /// most 1,024 bytes.
    pub subject: Box<str>,
    /// How often.
    pub hits: u64,
}

/// Something an operator should know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NoticeEvent {
    /// When it happened.
    pub at: Timestamp,
    /// How bad it is.
    pub severity: Severity,
    /// A stable key: `cache.disk-full`, `edge.unhealthy`, `snapshot.refused`.
    pub kind: Box<str>,
    /// What it is about: a node, a site, an origin.
    pub subject: Box<str>,
    /// One sentence in English; pages translate by `kind`.
    pub message: Box<str>,
}

/// What one port of a switch carried between two readings of its counters (IF-MIB,
/// RFC 2863). Directions are the switch's: what a member sends comes in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PortEvent {
    /// When the interval ended.
    pub at: Timestamp,
    /// Name of the switch, at most 255 bytes.
    pub switch: Box<str>,
    /// `ifName`, at most 255 bytes.
    pub name: Box<str>,
    /// The port of the exchange's model, if it is one.
    pub port: Option<PortId>,
    /// The member to whom it belongs.
    pub member: Option<MemberId>,
    /// The member's organisation.
    pub org: Option<OrgId>,
    /// Length of the interval in milliseconds.
    pub interval_ms: u32,
    /// Whether it is up at its end (`ifOperStatus`).
    pub up: bool,
    /// `ifHighSpeed`, in bits per second; 0 when the switch does not say.
    pub speed_bps: u64,
    /// Octets in, frames' headers included.
    pub in_octets: u64,
    /// Octets out.
    pub out_octets: u64,
    /// Packets in: unicast, multicast and broadcast.
    pub in_packets: u64,
    /// Packets out.
    pub out_packets: u64,
    /// Packets in with errors.
    pub in_errors: u64,
    /// Packets that could not be sent because of errors.
    pub out_errors: u64,
    /// Good packets in that were dropped.
    pub in_discards: u64,
    /// Packets that were dropped instead of sent: a queue was full.
    pub out_discards: u64,
}

/// What one member sent another in a minute, estimated from samples (sFlow version 5).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FlowEvent {
    /// When the minute began.
    pub at: Timestamp,
    /// Who sent; none: no member known.
    pub from: Option<MemberId>,
    /// To whom; none: no member known, or many.
    pub to: Option<MemberId>,
    /// Version of the Internet protocol; 0: something else.
    pub ip_version: u8,
    /// The VLAN; 0: untagged.
    pub vlan: u16,
    /// Octets of frames: sampled ones times the sampling rate.
    pub octets: u64,
    /// Packets: sampled ones times the sampling rate.
    pub packets: u64,
    /// Packets that were sampled: how sure the estimate is.
    pub samples: u64,
}

/// OpenTelemetry log severity, folded to the four that people act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Severity {
    /// For the record.
    Info,
    /// Look at it today.
    Warning,
    /// Look at it now.
    Error,
    /// Users are affected.
    Critical,
}

/// Where a node puts its events. Never blocks and never waits.
pub trait EventSink: Send + Sync {
    /// Takes a batch. When the sink is full the batch is dropped and counted,
    /// because delivery to users never waits for bookkeeping.
    fn offer(&self, batch: EventBatch);
}

/// A sink that forgets; for trying one role alone with `--no-events`.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoEvents;

impl EventSink for NoEvents {
    fn offer(&self, _: EventBatch) {}
}
