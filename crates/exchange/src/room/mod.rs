//! The exchange's room in the console: the model of sites, switches, ports, VLANs,
//! peering LANs, members, contacts, border routers, route servers, sessions and
//! maintenance windows, and what is made of it.
//!
//! One table says which fields each kind has ([`kind`], [`mod@fields`]); reading,
//! writing, forms, lists, the API, CSV and history follow it. [`rules`] says what must
//! hold among things, [`plan`] gives out addresses, [`history`] remembers every change
//! and takes the last one back, [`states`] keeps what agents see of sessions, and
//! [`compile`] makes the members' document from it all.
//!
//! **Architecture invariant**: nothing here reaches a route server or a switch; the
//! document is what leaves.

pub(crate) mod api;
pub mod compile;
pub mod config;
pub mod csv;
pub mod demo;
mod door;
pub mod error;
pub mod fields;
pub mod history;
pub mod ixf;
pub mod keep;
pub mod kind;
pub(crate) mod label;
pub(crate) mod pages;
pub mod peeringdb;
pub mod plan;
pub mod rules;
pub mod schema;
pub(crate) mod shell;
pub mod states;
pub mod switch_text;
pub mod things;
pub mod value;
mod write;

use std::sync::{Arc, Mutex, PoisonError};

use base::Timestamp;
use casework::People;
use store::{Db, Tx, Vault};

pub use config::RoomConfig;
pub use door::{LOCALES, POLICY};
pub use error::{RoomError, tell};
pub use keep::{By, Wanted};
pub use kind::{Field, Kind, Ty};
pub use schema::{MIGRATIONS, SEALED};
pub use things::{
    Contact, Id, Lag, Lan, Maintenance, Member, Port, Profile, Range, Record, RouteServer, Router,
    Sealed, Session, Site, Stored, Switch, Thing, Values, Vlan,
};

/// What [`Exchange`] stands on.
pub struct Parts {
    /// The database.
    pub db: Db,
    /// Seals secrets and personal data.
    pub vault: Vault,
    /// Who the people and organisations are.
    pub people: Arc<dyn People>,
}

/// The exchange's model. Cheap to clone.
#[derive(Clone)]
pub struct Exchange {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) db: Db,
    pub(crate) vault: Vault,
    pub(crate) people: Arc<dyn People>,
    pub(crate) notes: Mutex<Arc<[String]>>,
}

impl Exchange {
    /// A handle from its parts.
    pub fn new(parts: Parts) -> Self {
        let Parts { db, vault, people } = parts;
        Self {
            inner: Arc::new(Inner {
                db,
                vault,
                people,
                notes: Mutex::default(),
            }),
        }
    }

    /// What whoever publishes the members' document has to say about it: why it is not published, or
    /// who is refused everything. Kept in memory, until it is told again.
    pub fn note(&self, notes: Vec<String>) {
        let mut kept = self
            .inner
            .notes
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *kept = notes.into();
    }

    /// What was last told by [`Self::note`].
    pub fn notes(&self) -> Arc<[String]> {
        let kept = self.inner.notes.lock();
        kept.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The database.
    pub fn db(&self) -> &Db {
        &self.inner.db
    }

    /// Who the people and organisations are.
    pub fn people(&self) -> &Arc<dyn People> {
        &self.inner.people
    }

    /// Begins to write.
    ///
    /// # Errors
    /// [`RoomError::Store`] when others hold the database for too long.
    pub async fn begin(&self) -> Result<Tx, RoomError> {
        Ok(self.inner.db.begin().await?)
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.inner.db.clock().now()
    }
}
