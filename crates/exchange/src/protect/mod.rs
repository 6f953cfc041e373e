//! Protection on request and by intelligence: blackholes (RFC 7999) and flow rules (RFC 8955, RFC 8956).
//!
//! A member asks for a rule on its own address space ([`engine`]); the policy ([`policy`]) says whether it
//! is announced at once or waits for a second person; it ends by itself after at most seven days unless it
//! is extended, and can be undone and done again. What is in force is part of the members' document
//! ([`Protect::fill`]), from which route servers are rendered.
//!
//! Enforcements that intelligence brings for addresses and prefixes become flow rules of the exchange's own
//! ([`follow`]), for the members that want them.
//!
//! **Architecture invariant**: whose addresses are whose is asked of the registries' data that was kept
//! ([`space`]), never of whoever asks.

pub mod api;
pub mod asked;
pub mod dry;
pub mod engine;
pub mod follow;
pub mod pages;
pub mod policy;
pub mod registry;
pub(crate) mod rows;
pub(crate) mod schema;
pub mod space;
mod steps;
pub mod words;

use std::sync::Arc;

use async_trait::async_trait;
use base::Timestamp;
use store::{AuditEntry, Db};
use tokio::sync::watch;

pub use engine::{New, State, Wanted};
pub use policy::Policy;
pub use registry::ProtectionConfig;
pub use rows::Kept;

use crate::document::Protection;
use crate::room::By;

/// Characters of a reason.
pub const REASON_CHARS_MAX: usize = 500;

/// What was measured of traffic that a rule would have met. Samples are added up by member and version of
/// the protocol, and their addresses forgotten: what a narrower rule would have met lies below these figures.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Matched {
    /// Seconds looked at.
    pub seconds: u64,
    /// Bytes to the rule's member in its version of the protocol (of a rule without a member: to
    /// everybody), as sampled and scaled: so many would have been met at most.
    pub bytes_max: u64,
    /// Packets that were sampled between the same networks: how sure the figure is.
    pub samples: u64,
    /// The networks that sent most of them, with their bytes.
    pub sources: Vec<(String, u64)>,
}

/// Knows what passed through the exchange; joined in the binary where traffic is measured.
#[async_trait]
pub trait Evidence: Send + Sync {
    /// What the rule would have met lately; none when nothing is measured.
    async fn matched(&self, rule: &Protection) -> Option<Matched>;
}

pub(crate) fn entry(
    by: &By,
    org: Option<base::OrgId>,
    action: &str,
    subject: String,
    detail: serde_json::Value,
) -> AuditEntry {
    let mut entry = AuditEntry::new(by.actor.clone(), action, subject).detail(detail);
    entry.org = org;
    entry.request_id.clone_from(&by.request);
    entry
}

/// Protection at this exchange. Cheap to clone.
#[derive(Clone)]
pub struct Protect {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) db: Db,
    evidence: Option<Arc<dyn Evidence>>,
    changed: watch::Sender<u64>,
}

impl std::fmt::Debug for Protect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Protect")
    }
}

impl Protect {
    /// Stands on the control database; `evidence` knows the traffic, where it is measured.
    pub fn new(db: Db, evidence: Option<Arc<dyn Evidence>>) -> Self {
        Self {
            inner: Arc::new(Inner {
                db,
                evidence,
                changed: watch::Sender::new(0),
            }),
        }
    }

    /// The database.
    pub fn db(&self) -> &Db {
        &self.inner.db
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.inner.db.clock().now()
    }

    /// Counts changes of what is in force: whoever applies configurations waits for the next one.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.inner.changed.subscribe()
    }

    pub(crate) fn tell_changed(&self) {
        self.inner.changed.send_modify(|count| *count += 1);
    }
}
