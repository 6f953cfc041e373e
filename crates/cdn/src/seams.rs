//! What the CDN needs of other rooms, as small traits that the binary joins: nodes
//! and their orders (fabric), figures (lake), names (dns).

use async_trait::async_trait;
use base::delivery::{DispatchSnapshot, EdgeSnapshot};
use base::quick::Order;
use base::{NodeName, OrgId, Role, SiteId, Timestamp};
use casework::guard::Resolve;
use serde::Serialize;
use store::Tx;
use utoipa::ToSchema;

/// Another room could not do its part.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct SeamError {
    /// What was asked of it.
    pub what: String,
    /// Why it failed.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl SeamError {
    /// An error with its cause.
    pub fn new(
        what: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self {
            what: what.into(),
            source: Some(source.into()),
        }
    }
}

/// Hands snapshots to nodes. Identical content makes no new version.
#[async_trait]
pub trait Publisher: Send + Sync {
    /// Publishes for edges; returns the version that holds it.
    async fn edge(&self, snapshot: &EdgeSnapshot) -> Result<u64, SeamError>;
    /// Publishes for dispatch servers; returns the version that holds it.
    async fn dispatch(&self, snapshot: &DispatchSnapshot) -> Result<u64, SeamError>;
}

/// Hands quick entries to nodes.
#[async_trait]
pub trait Orders: Send + Sync {
    /// Puts an order into the log, in the caller's transaction; returns its number.
    async fn order(&self, tx: &mut Tx, role: Role, order: Order) -> Result<u64, SeamError>;
    /// How far each node is with each of these orders.
    async fn progress(&self, seqs: &[u64]) -> Result<Vec<OrderProgress>, SeamError>;
}

/// How far one node is with one order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct OrderProgress {
    /// The order's number.
    pub seq: u64,
    /// The node.
    #[schema(value_type = String)]
    pub node: NodeName,
    /// When it said that it had done it; none: not yet.
    #[schema(value_type = Option<i64>)]
    pub acked_at: Option<Timestamp>,
    /// Preload: URLs fetched.
    pub done: u64,
    /// Preload: URLs in the order.
    pub total: u64,
    /// Preload: URLs that could not be fetched.
    pub failed: u64,
}

/// Knows the nodes.
#[async_trait]
pub trait Nodes: Send + Sync {
    /// Every enrolled node.
    async fn nodes(&self) -> Result<Vec<NodeView>, SeamError>;
}

/// A node as operators see it.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct NodeView {
    /// Its name.
    #[schema(value_type = String)]
    pub name: NodeName,
    /// Its roles.
    #[schema(value_type = Vec<String>)]
    pub roles: Vec<Role>,
    /// Whether its identity is revoked.
    pub revoked: bool,
    /// Whether it is heard of; none: never.
    #[schema(value_type = Option<i64>)]
    pub last_seen: Option<Timestamp>,
    /// Program version that it runs.
    pub software: String,
    /// Snapshots that it runs.
    pub versions: Vec<NodeVersion>,
    /// When its certificate ends.
    #[schema(value_type = Option<i64>)]
    pub certificate_until: Option<Timestamp>,
    /// Load and cache figures as it reports them.
    pub health: serde_json::Value,
}

/// A snapshot that a node runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct NodeVersion {
    /// For which role.
    #[schema(value_type = String)]
    pub role: Role,
    /// The version.
    pub version: u64,
    /// Milliseconds from its publication to this node's acknowledgement.
    pub lag_ms: Option<u64>,
}

/// Knows the figures.
#[async_trait]
pub trait Statistics: Send + Sync {
    /// Requests, bytes, hits and errors over time, one point a step.
    async fn series(&self, query: &StatsQuery) -> Result<Vec<StatsPoint>, SeamError>;
    /// The URLs asked for most.
    async fn top_urls(&self, query: &StatsQuery, limit: usize) -> Result<Vec<StatsRow>, SeamError>;
    /// By the edge that answered.
    async fn by_edge(&self, query: &StatsQuery) -> Result<Vec<StatsRow>, SeamError>;
    /// As [`Statistics::series`], for each edge by name.
    async fn series_by_edge(
        &self,
        query: &StatsQuery,
    ) -> Result<Vec<(String, Vec<StatsPoint>)>, SeamError>;
    /// By the edge that answered, over a few seconds that have just passed.
    async fn live_by_edge(&self, query: &StatsQuery) -> Result<Vec<StatsRow>, SeamError>;
    /// By site, busiest first; the name is the site's id.
    async fn by_site(&self, query: &StatsQuery, limit: usize) -> Result<Vec<StatsRow>, SeamError>;
    /// By the network of the client.
    async fn by_network(
        &self,
        query: &StatsQuery,
        limit: usize,
    ) -> Result<Vec<StatsRow>, SeamError>;
    /// By status code of 400 and above, with the path most concerned.
    async fn errors(&self, query: &StatsQuery, limit: usize) -> Result<Vec<StatsRow>, SeamError>;
}

/// Which figures are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatsQuery {
    /// One site; none: all of them.
    pub site: Option<SiteId>,
    /// The sites of one organisation, when no site is named; none: all of them.
    pub org: Option<OrgId>,
    /// From this moment on.
    pub from: Timestamp,
    /// Until before this one.
    pub to: Timestamp,
    /// Seconds of one step.
    pub step_s: u32,
}

/// Figures of one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, ToSchema)]
pub struct StatsPoint {
    /// When the step begins, in microseconds since 1970.
    #[schema(value_type = i64)]
    pub at: Timestamp,
    /// Requests answered.
    pub requests: u64,
    /// Bytes sent.
    pub bytes: u64,
    /// Requests that the cache answered.
    pub hits: u64,
    /// Requests answered with a status of 500 and above.
    pub errors: u64,
}

/// Figures of one thing.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, ToSchema)]
pub struct StatsRow {
    /// The URL, edge, network or status.
    pub name: String,
    /// Requests answered.
    pub requests: u64,
    /// Bytes sent.
    pub bytes: u64,
    /// Requests that the cache answered.
    pub hits: u64,
    /// Requests answered with a status of 500 and above.
    pub errors: u64,
}

/// Looks names up in the DNS.
#[async_trait]
pub trait Lookup: Resolve {
    /// The texts of a name's TXT records; a name without any gives none.
    async fn txt(&self, name: &str) -> Result<Vec<String>, String>;
    /// The name that a CNAME record points to, if there is one.
    async fn cname(&self, name: &str) -> Result<Option<String>, String>;
}
