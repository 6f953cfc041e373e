//! The half of the house that people work in: incident reports, alerts, threat
//! lights and the public site stand on one handle, [`Cert`].
//!
//! Reports and alerts are cases of casework: their drafts, attachments, review by a
//! second person and letters are there. What is kept here is what the law and the
//! members ask beyond that: levels, clocks, recipients, replies.

pub mod error;
mod home;
pub mod members;
mod pages;
pub mod room;
pub mod schema;
pub(crate) mod shell;

use std::collections::BTreeMap;
use std::sync::Arc;

use base::{OrgId, Timestamp, UserId};
use casework::{Casework, Grant, People, WeakCasework, Who};
use serde_json::Value;
use store::{Actor, AuditEntry, Blobs, Db, Vault};
use tokio::sync::watch;
use web::OrgScope;

pub use error::CertError;
pub use members::{Member, SECTORS, Sector};
pub use shell::Desk;

use crate::alert;
use crate::light::LightRules;
use crate::report;
use crate::report::rules::Book;

/// What a centre calls itself that says nothing else.
pub const PUBLISHER: &str = "civicnet";

pub use schema::{MIGRATIONS, SEALED};

/// The forms of this domain, all versions, for casework to register.
///
/// # Errors
/// [`CertError::Data`] when a built-in document is wrong.
pub fn forms() -> Result<Vec<String>, CertError> {
    let mut forms = report::forms()?;
    forms.extend(alert::forms());
    Ok(forms)
}

/// What grants of these forms do.
pub fn grants(cert: &Cert) -> BTreeMap<String, Arc<dyn Grant>> {
    let report = Arc::new(report::ReportGrant(cert.clone()));
    let alert = Arc::new(alert::AlertGrant(cert.clone()));
    BTreeMap::from([
        (alert::FORM.to_owned(), alert as Arc<dyn Grant>),
        (report::FORM.to_owned(), report.clone() as Arc<dyn Grant>),
        (report::DRILL.to_owned(), report as Arc<dyn Grant>),
    ])
}

/// What [`Cert`] stands on.
pub struct Parts {
    /// The database.
    pub db: Db,
    /// Seals what citizens tell about themselves.
    pub vault: Vault,
    /// Keeps what citizens attach.
    pub blobs: Blobs,
    /// Who the people are.
    pub people: Arc<dyn People>,
}

/// Reports, alerts, lights, public site. Cheap to clone.
#[derive(Clone)]
pub struct Cert {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) db: Db,
    pub(crate) vault: Vault,
    pub(crate) blobs: Blobs,
    pub(crate) people: Arc<dyn People>,
    pub(crate) deadlines: Book,
    pub(crate) light: LightRules,
    /// Counts the times at which lights moved.
    pub(crate) lights_moved: watch::Sender<u64>,
    /// What this centre calls itself.
    name: std::sync::OnceLock<String>,
    /// Joined after casework is made, which needs the grants of this domain first.
    casework: std::sync::OnceLock<WeakCasework>,
}

/// Who changes something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct By {
    /// The person.
    pub user: UserId,
    /// Names the request in the audit trail.
    pub request: Option<String>,
}

impl By {
    pub(crate) fn entry(
        &self,
        org: Option<OrgId>,
        action: &str,
        subject: String,
        detail: Value,
    ) -> AuditEntry {
        let mut entry = AuditEntry::new(Actor::User(self.user), action, subject).detail(detail);
        entry.org = org;
        entry.request_id.clone_from(&self.request);
        entry
    }
}

impl Cert {
    /// A handle from its parts.
    ///
    /// # Errors
    /// [`CertError::Data`] when a document of rules that is built in is wrong.
    pub fn new(parts: Parts) -> Result<Self, CertError> {
        let Parts {
            db,
            vault,
            blobs,
            people,
        } = parts;
        Ok(Self {
            inner: Arc::new(Inner {
                db,
                vault,
                blobs,
                people,
                deadlines: Book::built_in().map_err(|e| CertError::Data(e.to_string()))?,
                light: LightRules::built_in().map_err(|e| CertError::Data(e.to_string()))?,
                lights_moved: watch::Sender::new(0),
                name: std::sync::OnceLock::new(),
                casework: std::sync::OnceLock::new(),
            }),
        })
    }

    /// Sets what this centre calls itself; the first time counts.
    pub fn call(&self, name: &str) {
        self.inner.name.get_or_init(|| name.to_owned());
    }

    /// What this centre calls itself.
    pub fn name(&self) -> &str {
        self.inner.name.get().map_or(PUBLISHER, String::as_str)
    }

    /// Joins casework; the first time counts.
    pub fn join(&self, casework: Casework) {
        self.inner.casework.get_or_init(|| casework.downgrade());
    }

    pub(crate) fn casework(&self) -> Result<Casework, CertError> {
        self.inner
            .casework
            .get()
            .and_then(WeakCasework::upgrade)
            .ok_or_else(|| CertError::Data("casework is not joined".into()))
    }

    /// Tells when lights moved.
    pub(crate) fn lights_moved(&self) -> watch::Receiver<u64> {
        self.inner.lights_moved.subscribe()
    }

    /// The database.
    pub fn db(&self) -> &Db {
        &self.inner.db
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.inner.db.clock().now()
    }

    /// Looks at everything that is due at `now`: clocks of incidents, replies to alerts.
    /// Idempotent; the binary calls it every few seconds.
    ///
    /// # Errors
    /// What the database says; the next look tries again.
    pub async fn look(&self, now: Timestamp) -> Result<(), CertError> {
        self.look_at_clocks(now).await?;
        self.chase(now).await?;
        self.look_at_lights(now).await?;
        Ok(())
    }
}

/// The house itself as a reader of cases that were submitted.
pub(crate) fn house() -> Who {
    Who {
        user: UserId(uuid::Uuid::nil()),
        sees: OrgScope::All,
        applies: OrgScope::Only(Vec::new()),
        officer: false,
        only: None,
        request: None,
    }
}

/// Reads an identifier that we wrote ourselves.
pub(crate) fn parse<T: std::str::FromStr>(text: &str) -> Result<T, CertError> {
    text.parse()
        .map_err(|_| CertError::Data(format!("a row holds {text:?}")))
}

pub(crate) fn read_json<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, CertError> {
    serde_json::from_str(text).map_err(|e| CertError::Data(format!("a row cannot be read: {e}")))
}

pub(crate) fn write_json<T: serde::Serialize>(value: &T) -> Result<String, CertError> {
    serde_json::to_string(value)
        .map_err(|e| CertError::Data(format!("a document cannot be kept: {e}")))
}
