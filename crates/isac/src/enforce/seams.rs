//! What enforcement asks of other rooms, joined in the binary.

use async_trait::async_trait;
use base::quick::Order;
use base::{EnforcementId, Role, Timestamp};
use store::Tx;

/// Another room could not do its part.
pub type SeamError = Box<dyn std::error::Error + Send + Sync>;

/// Hands quick entries to nodes.
#[async_trait]
pub trait Orders: Send + Sync {
    /// Puts an order into the log, in the caller's transaction; returns its number.
    async fn order(&self, tx: &mut Tx, role: Role, order: Order) -> Result<u64, SeamError>;
}

/// How often an enforcement was met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Hits {
    /// Requests and questions.
    pub count: u64,
    /// The last one.
    pub last: Option<Timestamp>,
}

/// How often an enforcement was met at one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeHits {
    /// The node.
    pub node: String,
    /// The role in which it was met: `edge`, `dispatch`.
    pub role: String,
    /// How often, and when last.
    pub hits: Hits,
}

/// What clients asked for, summed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// An address, a host, or `host/path`.
    pub what: String,
    /// Requests.
    pub requests: u64,
}

/// By what past requests are summed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grouping {
    /// Client address.
    Client,
    /// Host name.
    Host,
    /// Host name and path.
    Url,
}

/// Knows what happened.
#[async_trait]
pub trait Past: Send + Sync {
    /// Hits of each of these enforcements, in their order.
    async fn hits(&self, ids: &[EnforcementId]) -> Result<Vec<Hits>, SeamError>;
    /// Hits of one enforcement by node and role, the most frequent first.
    async fn hits_by_node(&self, id: EnforcementId) -> Result<Vec<NodeHits>, SeamError>;
    /// Requests since `from` and before `to`, the most frequent first, at most `rows` groups; and
    /// whether there were more groups.
    async fn requests(
        &self,
        by: Grouping,
        from: Timestamp,
        to: Timestamp,
        rows: usize,
    ) -> Result<(Vec<Seen>, bool), SeamError>;
}
