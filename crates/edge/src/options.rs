//! What an edge is told when it starts, and the bounds it keeps.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base::{NodeName, Prefix, Role};
use enforce::Blocklist;

/// How an edge runs. Everything that concerns sites is in the snapshot.
#[derive(Debug)]
pub struct EdgeOptions {
    /// The node's name: shown in `Via` and `Cache-Status`.
    pub node: NodeName,
    /// Where plain HTTP/1.1 is served.
    pub listen_http: Vec<SocketAddr>,
    /// Where TLS is served, with HTTP/2 or HTTP/1.1 by ALPN.
    pub listen_https: Vec<SocketAddr>,
    /// Listening sockets of an earlier process or an earlier instance that are
    /// taken over: a socket whose address is in `listen_http` or `listen_https` is
    /// used as it is, so that connections waiting in its queue are not lost.
    pub inherited: Vec<TcpListener>,
    /// Where objects are kept; none: in memory only.
    pub cache_dir: Option<PathBuf>,
    /// Bytes of memory for objects, with their overhead.
    pub memory_bytes: u64,
    /// Bytes of disk for objects.
    pub disk_bytes: u64,
    /// Threads that serve, each with a runtime and listening sockets of its own.
    pub workers: usize,
    /// Requests per second at which the edge calls itself fully loaded.
    pub capacity_rps: u32,
    /// PEM bundle of the authorities trusted for HTTPS origins; none: the system's.
    pub origin_ca: Option<PathBuf>,
    /// Addresses never connected to as an origin, so that a tenant cannot reach the
    /// node's own network through a host name of theirs.
    pub origin_deny: Vec<Prefix>,
    /// What is refused before cache and origin are asked.
    pub blocklist: Arc<Blocklist>,
    /// Bounds on connections and requests.
    pub limits: EdgeLimits,
}

impl EdgeOptions {
    /// An edge of this name with the house's sizes, listening nowhere yet.
    pub fn new(node: NodeName) -> Self {
        Self {
            node,
            listen_http: Vec::new(),
            listen_https: Vec::new(),
            inherited: Vec::new(),
            cache_dir: None,
            memory_bytes: 256 << 20,
            disk_bytes: 8 << 30,
            workers: std::thread::available_parallelism().map_or(1, usize::from),
            capacity_rps: 50_000,
            origin_ca: None,
            origin_deny: Vec::new(),
            blocklist: Blocklist::new(Role::Edge),
            limits: EdgeLimits::default(),
        }
    }
}

/// Bounds on what clients and origins can make an edge hold or wait for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EdgeLimits {
    /// Open client connections of the whole node; beyond them the newest is closed.
    pub connections_max: usize,
    /// Open connections from one client address (IPv4) or /64 network (IPv6).
    pub connections_per_address_max: usize,
    /// Requests on one connection before it is closed.
    pub requests_per_connection_max: u32,
    /// Concurrent streams of one HTTP/2 connection.
    pub streams_max: u32,
    /// Bytes of a request's line and header section; beyond: 431.
    pub head_bytes_max: usize,
    /// Bytes of a request target; beyond: 414.
    pub target_bytes_max: usize,
    /// Time for the first byte of the next request on an open connection.
    pub idle_timeout: Duration,
    /// Time for a request's whole header section, from its first byte.
    pub head_timeout: Duration,
    /// Time without one byte of an announced request body.
    pub body_timeout: Duration,
    /// Time without the client taking one byte of a response.
    pub write_timeout: Duration,
    /// Time for a TLS handshake.
    pub handshake_timeout: Duration,
    /// Time that open requests have to end when the edge stops.
    pub drain_timeout: Duration,
    /// Idle connections kept to one origin by one worker.
    pub origin_idle_max: usize,
    /// How long an idle connection to an origin is kept.
    pub origin_idle_timeout: Duration,
    /// Bytes of an origin's header section.
    pub origin_head_bytes_max: usize,
}

impl Default for EdgeLimits {
    fn default() -> Self {
        Self {
            connections_max: 60_000,
            connections_per_address_max: 4_096,
            requests_per_connection_max: 1_000_000,
            streams_max: 128,
            head_bytes_max: 32 << 10,
            target_bytes_max: 8 << 10,
            idle_timeout: Duration::from_secs(60),
            head_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(30),
            handshake_timeout: Duration::from_secs(10),
            drain_timeout: Duration::from_secs(10),
            origin_idle_max: 64,
            origin_idle_timeout: Duration::from_secs(30),
            origin_head_bytes_max: 64 << 10,
        }
    }
}
