//! The store of STIX objects: versions by collection, pages by an opaque cursor, a
//! change feed in the order of commit.
//!
//! Every version of an object in a collection is a row. Its number (`seq`) is the time
//! when it was added, in microseconds, raised where needed so that no two rows share
//! one and later commits have greater ones. So the number is at once TAXII's date
//! added, the cursor of pages and the position in the change feed, and nobody who
//! reads on from a number can miss a row or see one twice.
//!
//! `place` says in one small number who may see a row and which version it is
//! (`place`): marking × 4 + first version × 2 + last version. A page is a merge of a few index
//! ranges, one a place, so that its cost does not depend on how much is filtered out.
//!
//! One task writes ([`writer`]): pushes that arrive together share a transaction.

pub(crate) mod api;
pub mod collections;
pub mod graph;
pub mod import;
pub mod pages;
pub(crate) mod place;
pub mod prepare;
pub mod read;
pub mod schema;
pub mod search;
pub mod senders;
pub mod timeline;
mod whose;
mod writer;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use base::{OrgId, UserId};
use store::{Db, StoreError};
use tokio::sync::{mpsc, oneshot, watch};
use uuid::Uuid;

pub use collections::{Access, Collection, Right};
pub use prepare::{Batch, Prepared, Refused};
pub use read::{Change, Filter, Page, Reader, Row, VersionMatch, What};
pub use senders::Senders;

/// Pushes that wait for the writer; more wait at the door.
const QUEUE_MAX: usize = 256;

/// The store. Cheap to clone.
#[derive(Clone)]
pub struct Objects {
    inner: Arc<Inner>,
}

struct Inner {
    db: Db,
    jobs: mpsc::Sender<writer::Job>,
    /// The greatest number that was committed by this process.
    last: watch::Sender<i64>,
    kinds: RwLock<Kinds>,
    collections: Mutex<HashMap<String, (std::time::Instant, Vec<Collection>)>>,
}

/// Names of types and their numbers.
#[derive(Debug, Default)]
struct Kinds {
    numbers: HashMap<String, i64>,
    names: HashMap<i64, String>,
}

impl std::fmt::Debug for Objects {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Objects")
    }
}

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
pub enum ObjectsError {
    /// The database.
    #[error("the store of STIX objects")]
    Store(#[from] StoreError),
    /// What was asked for is not there.
    #[error("no {kind} {name:?}")]
    NotFound {
        /// What it is.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// A value breaks a rule.
    #[error("{field} {value:?}: {rule}")]
    Invalid {
        /// Which.
        field: &'static str,
        /// The value, shortened.
        value: String,
        /// What must hold.
        rule: String,
    },
    /// Others sent it: not for an organisation to delete.
    #[error("{name:?} was sent by others: only whoever sent an object, or this house, deletes it")]
    Foreign {
        /// Which.
        name: String,
    },
    /// The service ends.
    #[error("the store of STIX objects is closing")]
    Closing,
    /// What may be shown cannot be told: then nothing is.
    #[error("what may be shown of objects")]
    Glass(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl From<sqlx::Error> for ObjectsError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

/// What became of an object that was put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is there, with this number.
    Added(i64),
    /// The same was there already.
    Known,
    /// Another content was there under the same id and version, and stays.
    Kept,
    /// It is another's, who alone may add versions: nothing was changed.
    Refused,
}

/// Another house, told by the address of the collection that objects are exchanged with:
/// what came from there is not sent back there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Via(i64);

/// Where an object came from: who answers for it here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// This house itself.
    House,
    /// An organisation that sent it.
    Organisation(OrgId),
    /// Another house, from which it was fetched.
    Peer(Via),
}

impl Origin {
    /// As in the source column.
    pub(crate) fn from_column(text: &str) -> Self {
        match (text, text.parse()) {
            ("", _) => Self::House,
            (_, Ok(org)) => Self::Organisation(org),
            // What cannot be read is nobody's whom anybody would trust.
            _ => Self::Peer(Via::from_column(text).unwrap_or(Via(0))),
        }
    }
}

impl Origin {
    /// From [`Self::to_string`]; what cannot be read is nobody's whom anybody would trust.
    pub(crate) fn from_text(text: &str) -> Self {
        match (text, text.parse(), text.strip_prefix("peer:")) {
            ("house", ..) => Self::House,
            (_, Ok(org), _) => Self::Organisation(org),
            (_, _, Some(digits)) => Self::Peer(Via::from_digits(digits).unwrap_or(Via(0))),
            _ => Self::Peer(Via(0)),
        }
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::House => f.write_str("house"),
            Self::Organisation(org) => org.fmt(f),
            Self::Peer(Via(number)) => write!(f, "peer:{number:x}"),
        }
    }
}

/// How the source column begins for objects that were fetched from another house.
const VIA_PREFIX: &str = "via:";

impl Via {
    /// The house whose collection stands at `url`.
    pub fn of(url: &str) -> Self {
        Self(hash64(url.trim_end_matches('/').as_bytes()))
    }

    /// As rows of other tables hold it.
    pub(crate) const fn number(self) -> i64 {
        self.0
    }

    /// From such a row.
    pub(crate) const fn from_number(number: i64) -> Self {
        Self(number)
    }

    /// As in the source column.
    fn from_column(text: &str) -> Option<Self> {
        Self::from_digits(text.strip_prefix(VIA_PREFIX)?)
    }

    fn from_digits(digits: &str) -> Option<Self> {
        // Written as the number's bits: half of all have the highest set.
        let bits = u64::from_str_radix(digits, 16).ok()?;
        Some(Self(bits as i64))
    }
}

/// Who puts objects, for provenance and the audit trail.
#[derive(Debug, Clone)]
pub struct Source {
    /// The organisation that they come from; `None`: the house itself.
    pub org: Option<OrgId>,
    /// The house that they were fetched from.
    pub via: Option<Via>,
    /// Who did it.
    pub actor: store::Actor,
    /// The request.
    pub request: Option<String>,
    /// Numbers of rows under ids that it uses and that it is not shown: to them it says nothing.
    pub unseen: Arc<HashSet<i64>>,
    /// Whether versions of what others sent are refused; otherwise they are kept beside it.
    pub strict: bool,
}

impl Source {
    /// The program itself.
    pub fn house(name: &'static str) -> Self {
        Self {
            org: None,
            via: None,
            actor: store::Actor::System(name),
            request: None,
            unseen: Arc::default(),
            strict: false,
        }
    }

    /// The program itself, with what it fetched from another house.
    pub fn fetched(name: &'static str, via: Via) -> Self {
        Self {
            via: Some(via),
            ..Self::house(name)
        }
    }

    /// As in the source column: an organisation, another house, or nothing for this one.
    fn column(&self) -> String {
        match (self.org, self.via) {
            (Some(org), _) => org.to_string(),
            (None, Some(Via(number))) => format!("{VIA_PREFIX}{number:x}"),
            (None, None) => String::new(),
        }
    }

    /// A person, for an organisation.
    pub fn person(user: UserId, org: Option<OrgId>) -> Self {
        Self {
            org,
            via: None,
            actor: store::Actor::User(user),
            request: None,
            unseen: Arc::default(),
            strict: false,
        }
    }
}

/// Writes a status resource once it is known what became of the objects.
pub type StatusBody = dyn Fn(&[Outcome]) -> String + Send + Sync;

/// A status as TAXII keeps it (section 4.3).
pub struct Status {
    /// Its id.
    pub id: Uuid,
    /// The API root through which objects were put.
    pub root: String,
    /// Whose it is.
    pub owner: String,
    /// The resource, as JSON, by what became of the objects.
    pub body: Box<StatusBody>,
}

impl std::fmt::Debug for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Status").field("id", &self.id).finish()
    }
}

impl Objects {
    /// The store in `db`, whose tables exist; begins the writer's task.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn open(db: Db) -> Result<Self, ObjectsError> {
        let (jobs, receiver) = mpsc::channel(QUEUE_MAX);
        let rows: Vec<(i64, String)> = sqlx::query_as("SELECT number, name FROM isac_kind")
            .fetch_all(db.pool())
            .await?;
        let mut kinds = Kinds::default();
        for (number, name) in rows {
            kinds.numbers.insert(name.clone(), number);
            kinds.names.insert(number, name);
        }
        let objects = Self {
            inner: Arc::new(Inner {
                last: watch::Sender::new(0),
                kinds: RwLock::new(kinds),
                collections: Mutex::default(),
                jobs,
                db,
            }),
        };
        let last = objects.last_seq().await?;
        objects.inner.last.send_replace(last);
        // It ends when the last clone is gone, after what was queued.
        tokio::spawn(writer::run(
            Arc::downgrade(&objects.inner),
            objects.inner.db.clone(),
            receiver,
        ));
        Ok(objects)
    }

    /// The database.
    pub fn db(&self) -> &Db {
        &self.inner.db
    }

    /// Puts what was prepared into `collection`. When this returns, all of it is
    /// durable; outcomes are in the order of `objects`.
    ///
    /// # Errors
    /// When it could not be made durable: nothing of it is there then.
    pub async fn put(
        &self,
        collection: &Collection,
        source: Source,
        objects: Vec<Prepared>,
        status: Option<Status>,
    ) -> Result<Vec<Outcome>, ObjectsError> {
        let fresh: std::collections::HashSet<&str> = objects
            .iter()
            .map(|object| object.kind.as_str())
            .filter(|kind| self.inner.kind_number(kind).is_none())
            .collect();
        let known = self.inner.kinds_known();
        if known + fresh.len() > writer::KINDS_MAX {
            return Err(ObjectsError::Invalid {
                field: "type",
                value: fresh
                    .into_iter()
                    .next()
                    .unwrap_or_default()
                    .chars()
                    .take(80)
                    .collect(),
                rule: format!("the store knows {} types: no more", writer::KINDS_MAX),
            });
        }
        let (reply, outcome) = oneshot::channel();
        let job = writer::Job {
            collection: collection.number,
            collection_id: collection.id,
            source,
            objects,
            status,
            reply,
        };
        self.inner
            .jobs
            .send(job)
            .await
            .map_err(|_| ObjectsError::Closing)?;
        outcome.await.map_err(|_| ObjectsError::Closing)?
    }

    /// Tells the number of the latest row whenever it grows. A subscriber reads
    /// [`Objects::changes`] from where it stopped; where several processes write, it
    /// should also look every few seconds.
    pub fn subscribe(&self) -> watch::Receiver<i64> {
        self.inner.last.subscribe()
    }

    /// The status `id` of `owner`.
    ///
    /// # Errors
    /// When there is none, or the database fails.
    pub async fn status(&self, root: &str, id: &str, owner: &str) -> Result<String, ObjectsError> {
        let row: Option<(String,)> = sqlx::query_as(
            "SELECT body FROM isac_status WHERE id = $1 AND root = $2 AND owner = $3",
        )
        .bind(id)
        .bind(root)
        .bind(owner)
        .fetch_optional(self.inner.db.pool())
        .await?;
        row.map(|(body,)| body)
            .ok_or_else(|| ObjectsError::NotFound {
                kind: "status",
                name: id.chars().take(80).collect(),
            })
    }

    /// Forgets statuses older than [`STATUS_DAYS`].
    ///
    /// # Errors
    /// When the database fails.
    pub async fn tidy(&self) -> Result<u64, ObjectsError> {
        let before = self.inner.db.clock().now().micros() - STATUS_DAYS * 86_400_000_000;
        let mut tx = self.inner.db.begin().await?;
        let done = sqlx::query("DELETE FROM isac_status WHERE at < $1")
            .bind(before)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(done.rows_affected())
    }
}

/// Days that a status can be asked for.
pub const STATUS_DAYS: i64 = 7;

impl Inner {
    fn kind_name(&self, number: i64) -> Option<String> {
        let kinds = self.kinds.read().unwrap_or_else(PoisonError::into_inner);
        kinds.names.get(&number).cloned()
    }

    fn kinds_known(&self) -> usize {
        let kinds = self.kinds.read().unwrap_or_else(PoisonError::into_inner);
        kinds.numbers.len()
    }

    fn kind_number(&self, name: &str) -> Option<i64> {
        let kinds = self.kinds.read().unwrap_or_else(PoisonError::into_inner);
        kinds.numbers.get(name).copied()
    }

    fn learn_kind(&self, number: i64, name: &str) {
        let mut kinds = self.kinds.write().unwrap_or_else(PoisonError::into_inner);
        kinds.numbers.insert(name.to_owned(), number);
        kinds.names.insert(number, name.to_owned());
    }
}

/// The number under which an id is found: 64 bits of its SHA-256. Ids that share one
/// are told apart by the id itself.
pub(crate) fn hash64(bytes: &[u8]) -> i64 {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    let mut eight = [0; 8];
    eight.copy_from_slice(&digest.as_ref()[..8]);
    i64::from_be_bytes(eight)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_an_object_came_from_is_read_as_it_was_written() {
        let org = OrgId::generate();
        for origin in [
            Origin::House,
            Origin::Organisation(org),
            Origin::Peer(Via(0x7fff_ffff_ffff_ffff)),
            Origin::Peer(Via(-1)),
            Origin::Peer(Via(i64::MIN)),
        ] {
            let mut source = Source::house("test");
            match origin {
                Origin::House => {}
                Origin::Organisation(org) => source.org = Some(org),
                Origin::Peer(via) => source.via = Some(via),
            }
            assert_eq!(Origin::from_column(&source.column()), origin);
            assert_eq!(Origin::from_text(&origin.to_string()), origin);
        }
        assert_eq!(Origin::from_column("nonsense"), Origin::Peer(Via(0)));
        assert_eq!(Origin::Peer(Via(-1)).to_string(), "peer:ffffffffffffffff");
    }
}
