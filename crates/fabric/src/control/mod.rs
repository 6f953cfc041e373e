//! The control side: [`Control`] holds the certificate authority, the snapshots, the
//! log of quick entries and the inventory of nodes, all in the control database.
//!
//! [`Control::serve`] is the door for nodes (see [`crate::api`]); everything else is
//! for the domains and the console. Several control processes may share one
//! PostgreSQL: the database is the truth, memory only wakes those who wait.

mod error;
mod keys;
mod nodes;
mod orders;
mod parts;
mod recorder;
mod schema;
mod server;
mod snapshots;
mod status;
mod tail;
mod tokens;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use base::{Clock, NodeName, Role, Timestamp};
use serde::{Deserialize, Serialize};
use store::{Db, Vault};
use tokio::sync::{broadcast, watch};
use tokio::time::Instant;

pub use error::{ControlError, EnrolRefusal, NodeRefusal};
pub use orders::{NodeProgress, OrderStatus};
pub use parts::Tailor;
pub use schema::MIGRATIONS;
pub use server::{EventIngest, IngestError, NoIngest};
pub use snapshots::Published;
pub use status::{NodeState, NodeStatus, RoleVersion};
pub use tokens::{NewToken, PendingToken};

use crate::config::FabricConfig;
use crate::envelope::PublicKey;
use crate::pki::Authority;
use crate::token::Pin;
use keys::Signing;
use recorder::Recorder;
use snapshots::Latest;

/// Changes that a slow listener may lag behind before it misses some.
const CHANGES_KEPT: usize = 1_024;

/// The topic on the bus of changes that outlive the process: enrolment, revocation,
/// draining.
pub const NODE_TOPIC: &str = "fabric.node";

/// Something changed about nodes: for live pages and for those who react.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "change")]
pub enum Change {
    /// A node enrolled, or enrolled again.
    Enrolled {
        /// Which.
        node: NodeName,
    },
    /// An operator revoked it.
    Revoked {
        /// Which.
        node: NodeName,
    },
    /// An operator began or ended draining it.
    Draining {
        /// Which.
        node: NodeName,
        /// Begun or ended.
        on: bool,
    },
    /// It told how it is.
    Seen {
        /// Which.
        node: NodeName,
    },
    /// It runs a snapshot.
    Running {
        /// Which.
        node: NodeName,
        /// For which role.
        role: Role,
        /// Which version.
        version: u64,
    },
    /// It refused a snapshot.
    RefusedSnapshot {
        /// Which.
        node: NodeName,
        /// For which role.
        role: Role,
        /// Why.
        reason: String,
    },
    /// A snapshot was published.
    Published {
        /// For which role.
        role: Role,
        /// Its version.
        version: u64,
    },
    /// A node reported on an order.
    Progress {
        /// Which node.
        node: NodeName,
        /// Which order.
        seq: u64,
    },
}

/// The control side of the fabric; cheap to clone.
#[derive(Clone)]
pub struct Control(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) db: Db,
    pub(crate) vault: Vault,
    pub(crate) config: FabricConfig,
    pub(crate) authority: Authority,
    pub(crate) signing: RwLock<Arc<Signing>>,
    /// The newest envelope of each role, so that a thousand nodes cost one unsealing.
    latest: Mutex<BTreeMap<Role, Arc<Latest>>>,
    /// Counts up when `latest` changes.
    published: watch::Sender<u64>,
    /// Highest committed order.
    orders: watch::Sender<u64>,
    /// Highest order handed out in a transaction that may still commit.
    expected: watch::Sender<u64>,
    /// Counts up when a node's right to be served may have changed.
    rights: watch::Sender<u64>,
    changes: broadcast::Sender<Change>,
    /// When a node was last believed to be ahead of the database, by kind.
    believed: Mutex<BTreeMap<(NodeName, String), Instant>>,
    pub(crate) recorder: Recorder,
    /// Who cuts parts out of the snapshots of a role.
    tailors: Mutex<BTreeMap<Role, Tailor>>,
    ready: Mutex<parts::Ready>,
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Control")
            .field("authority", &self.0.authority)
            .finish_non_exhaustive()
    }
}

impl Control {
    /// Opens the fabric in a migrated database; makes the certificate authority and
    /// the snapshot key at the first start.
    ///
    /// # Errors
    /// When the database fails or the keys cannot be unsealed.
    pub async fn open(db: Db, vault: Vault, config: FabricConfig) -> Result<Self, ControlError> {
        let authority = keys::open_authority(&db, &vault).await?;
        let signing = keys::open_signing(&db, &vault).await?;
        let control = Self(Arc::new(Inner {
            db,
            vault,
            config,
            authority,
            signing: RwLock::new(Arc::new(signing)),
            latest: Mutex::default(),
            published: watch::channel(0).0,
            orders: watch::channel(0).0,
            expected: watch::channel(0).0,
            rights: watch::channel(0).0,
            changes: broadcast::channel(CHANGES_KEPT).0,
            believed: Mutex::default(),
            recorder: Recorder::default(),
            tailors: Mutex::default(),
            ready: Mutex::default(),
        }));
        control.refresh().await?;
        Ok(control)
    }

    /// What happens to nodes, live. A listener that lags loses the oldest.
    pub fn changes(&self) -> broadcast::Receiver<Change> {
        self.0.changes.subscribe()
    }

    /// The pin that tokens carry.
    pub fn pin(&self) -> Pin {
        self.0.authority.pin()
    }

    /// The key that signs snapshots now.
    pub fn snapshot_key(&self) -> PublicKey {
        self.signing().key.public()
    }

    fn signing(&self) -> Arc<Signing> {
        self.0
            .signing
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn now(&self) -> Timestamp {
        self.clock().now()
    }

    fn clock(&self) -> &Arc<dyn Clock> {
        self.0.db.clock()
    }

    /// Nobody listening is fine.
    fn changed(&self, change: Change) {
        if let Change::Revoked { .. } | Change::Enrolled { .. } = &change {
            self.0.rights.send_modify(|count| *count += 1);
        }
        drop(self.0.changes.send(change));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A `BIGINT` that is never negative.
fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

/// A count as `BIGINT`; what does not fit is as good as the largest.
fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// `edge,dispatch`.
fn roles_text(roles: &[Role]) -> String {
    let names: Vec<_> = roles.iter().map(|role| role.name()).collect();
    names.join(",")
}

fn parse_roles(text: &str) -> Result<Vec<Role>, ControlError> {
    text.split(',')
        .map(|name| {
            name.parse()
                .map_err(|error: base::role::UnknownRole| ControlError::Row(error.to_string()))
        })
        .collect()
}

fn parse_role(text: &str) -> Result<Role, ControlError> {
    text.parse()
        .map_err(|error: base::role::UnknownRole| ControlError::Row(error.to_string()))
}

fn parse_node(text: &str) -> Result<NodeName, ControlError> {
    text.parse()
        .map_err(|error: base::id::InvalidId| ControlError::Row(error.to_string()))
}
