//! What enforcement asks of other rooms, joined in the binary.

use std::collections::BTreeMap;

use async_trait::async_trait;
use base::quick::Order;
use base::{EnforcementId, Prefix, Role, Timestamp};
use store::Tx;

use crate::objects::{Origin, Via};

/// Another room could not do its part.
pub type SeamError = Box<dyn std::error::Error + Send + Sync>;

/// Hands quick entries to nodes.
#[async_trait]
pub trait Orders: Send + Sync {
    /// Puts an order into the log, in the caller's transaction; returns its number.
    async fn order(&self, tx: &mut Tx, role: Role, order: Order) -> Result<u64, SeamError>;
}

/// How a network of the house is guarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guard {
    /// Nothing of it is ever enforced: what the operator set up.
    Never,
    /// What covers all of it is never enforced, parts of it may be: a member's network, in
    /// which one address may be somebody's bad machine.
    Whole,
    /// A person decides before any of it is enforced: what others than officers say is
    /// needed, who could else put anybody's address out of reach.
    Ask,
}

/// A network that the house itself stands on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnAddress {
    /// The addresses.
    pub prefix: Prefix,
    /// Whose they are, for people: `edge edge-hsinchu`.
    pub what: String,
    /// How it is guarded.
    pub guard: Guard,
}

/// Knows what the house itself stands on.
#[async_trait]
pub trait OwnAddresses: Send + Sync {
    /// All of it.
    async fn own(&self) -> Result<Vec<OwnAddress>, SeamError>;
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

/// What an indicator says, for asking whether the house believes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// The indicator's id.
    pub object: String,
    /// Who it says wrote it.
    pub author: Option<String>,
    /// Organisation id of whoever sent it, or the peer that it was fetched from; none: the
    /// house.
    pub sender: Option<String>,
    /// Its pattern.
    pub pattern: String,
    /// Its confidence, if stated.
    pub confidence: Option<u8>,
    /// When it says so (`modified`), in microseconds.
    pub at: i64,
    /// When it ends, in microseconds.
    pub until: Option<i64>,
}

/// What the house makes of an indicator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Belief {
    /// It is believed.
    Stands,
    /// It is the house's own word on a pattern that fell before and rose again without
    /// anybody having said it anew: a person decides.
    Again(String),
    /// It is not believed, for this reason.
    Fell(String),
}

/// A pattern that is not believed, and the indicators that name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fallen {
    /// Names the pattern.
    pub id: i64,
    /// Names this fall.
    pub fall: i64,
    /// Why, for people.
    pub why: String,
    /// Organisations that call it a false positive.
    pub disputes: i64,
    /// The indicators that name it, by object.
    pub said: Vec<Uttered>,
}

/// What somebody said by an indicator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uttered {
    /// The indicator's id.
    pub object: String,
    /// Who sent it, as sources of decisions name it: [`crate::objects::Origin`]; none: it is
    /// not known yet.
    pub sender: Option<String>,
    /// When it says so (`modified`), in microseconds.
    pub at: i64,
}

/// Knows what the house believes.
#[async_trait]
pub trait Beliefs: Send + Sync {
    /// What the house makes of each, in their order.
    async fn weighed(&self, said: &[Said]) -> Result<Vec<Belief>, SeamError>;
    /// Whether this is the house's own word on a pattern, which follows what it believes.
    fn owns(&self, object: &str, pattern: &str) -> bool;
    /// Patterns that are not believed and were not acted on yet, at most `limit`.
    async fn fallen(&self, limit: u32) -> Result<Vec<Fallen>, SeamError>;
    /// Percent of their word that other houses are believed, those to whom somebody gave it.
    async fn peers(&self) -> Result<BTreeMap<Via, u8>, SeamError>;
    /// From whom the indicators are on which the house's own word on `pattern` stands.
    async fn voices(&self, pattern: &str) -> Result<Vec<Origin>, SeamError>;
    /// They have been acted on.
    async fn heeded(&self, fallen: &[Fallen]) -> Result<(), SeamError>;
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
