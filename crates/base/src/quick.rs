//! Quick entries: small orders that go down at once, ahead of the next snapshot.
//!
//! The control plane numbers them without gaps. A node makes an entry durable
//! before it acknowledges it, asks after a restart for what followed its last
//! number, and treats everything as purged when the log no longer reaches back
//! that far. Enforcements are also folded into snapshots, so that none is lost with
//! the log.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::enforcement::Rule;
use crate::{EnforcementId, Role, SiteId, Timestamp};

/// An order with its place in the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuickEntry {
    /// 1, 2, 3 … without gaps.
    pub seq: u64,
    /// When it was accepted.
    pub at: Timestamp,
    /// Which nodes it concerns.
    pub role: Role,
    /// The order.
    pub order: Order,
}

/// What is ordered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// Forget, or mark stale, what is cached.
    Purge(Purge),
    /// Fetch ahead of users.
    Preload(Preload),
    /// Enforce these from now on, at most [`Rule::ORDER_MAX`] in one entry. A rule
    /// whose id is in force already replaces it.
    Enforce(Vec<Rule>),
    /// Enforce these no longer; an id that is not in force is passed over.
    Lift(Vec<EnforcementId>),
}

/// A purge: concerns whatever was requested from the origin before the entry's `at`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Purge {
    /// The site; nothing of another site is touched.
    pub site: SiteId,
    /// Which objects.
    pub what: PurgeWhat,
    /// Soft: mark stale, so that it may still be served while revalidated or when
    /// the origin fails. Hard: never served again.
    pub soft: bool,
}

/// Which objects a purge concerns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PurgeWhat {
    /// One URL with all its variants: `/path?query`, on every host of the site,
    /// or `host/path?query`, on one.
    Url(String),
    /// All paths that begin so: `/news/`.
    Prefix(String),
    /// All objects whose response carried this tag (`Cache-Tag`, `Surrogate-Key`).
    Tag(String),
    /// The whole site.
    Site,
}

/// A preload: every edge fetches these through its own cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Preload {
    /// The site.
    pub site: SiteId,
    /// Names the job in progress reports.
    pub job: uuid::Uuid,
    /// `https://host/path?query`; at most [`Preload::URLS_MAX`] in one entry.
    pub urls: Vec<String>,
}

impl Preload {
    /// URLs in one entry; longer lists become several entries.
    pub const URLS_MAX: usize = 1_000;
}
