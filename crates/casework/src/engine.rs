//! The engine: reading cases and taking steps in them. Every change is one
//! transaction that holds the case's new row, its time-line, its notifications and
//! its audit entry; a crash in the middle leaves the case as it was.

mod reading;
mod steps;

pub use steps::Amended;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock, Weak};

use async_trait::async_trait;
use base::{CaseId, OrgId, Timestamp, UserId};
use sqlx::AssertSqlSafe;
use store::{Actor, AuditEntry, Blobs, Db, Tx, Vault};

use crate::OrgScope;
use crate::case::{
    COLUMNS, Case, CaseError, Event, EventKind, Granted, case_of, read_json, write_json,
};
use crate::config::CaseworkConfig;
use crate::form::{Form, Forms, Text, Values};
use crate::guard::Fetcher;
use crate::number::CaseNumber;
use crate::validate::{Completeness, problems};
use crate::workflow::{Asking, Side, Transition};

/// Open drafts of one person.
pub const DRAFTS_MAX: i64 = 50;
/// Bytes of one submission.
pub const VALUES_BYTES_MAX: usize = 256 * 1024;
/// Entries of one time-line.
pub const EVENTS_MAX: i64 = 1_000;

/// What a domain does when a case of its form moves.
#[async_trait]
pub trait Grant: Send + Sync {
    /// Looks at a step before it is taken; nothing is refused by default. Called in
    /// the step's transaction.
    ///
    /// # Errors
    /// [`CaseError::GrantRefused`] with the reason in both languages.
    async fn check(
        &self,
        tx: &mut Tx,
        case: &Case,
        values: &Values,
        action: &str,
    ) -> Result<(), CaseError> {
        // By default nothing is refused, whatever is asked.
        let (_, _, _, _) = (tx, case, values, action);
        Ok(())
    }

    /// Makes what the case asks for, in the step's transaction.
    ///
    /// # Errors
    /// [`CaseError::GrantRefused`] with the reason in both languages, or what the
    /// database says; the case then stays as it was.
    async fn grant(
        &self,
        tx: &mut Tx,
        case: &Case,
        values: &Values,
        by: UserId,
    ) -> Result<Granted, CaseError>;

    /// Called after every step, in its transaction, with the case as it has become.
    /// What is returned is shown as the case's result from then on.
    ///
    /// # Errors
    /// [`CaseError`]; the case then stays as it was.
    async fn moved(
        &self,
        _tx: &mut Tx,
        _case: &Case,
        _values: &Values,
        _step: &Moved<'_>,
    ) -> Result<Option<Granted>, CaseError> {
        Ok(None)
    }

    /// Called after the grant's transaction is committed.
    async fn granted(&self) {}

    /// What the applicant must prove outside of the form, shown beside the case;
    /// nothing by default. `editable` says whether the reader may check it now.
    async fn panel(&self, case: &Case, values: &Values, editable: bool) -> Vec<Proof> {
        let _ = (case, values, editable);
        Vec::new()
    }
}

/// A step that was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moved<'a> {
    /// The workflow's action.
    pub action: &'a str,
    /// The state before.
    pub from: &'a str,
    /// Who took it.
    pub by: UserId,
    /// What was written with it.
    pub comment: &'a str,
}

/// Something that an applicant must prove, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// What it is about: a host name.
    pub subject: String,
    /// Whether it is proven.
    pub done: bool,
    /// Why the last check failed.
    pub detail: String,
    /// The ways to prove it: what to do, and the text to copy.
    pub ways: Vec<(Text, String)>,
    /// Where the check is asked for: the path of a form, and its `host` field.
    pub check: Option<(String, String)>,
}

/// A person as far as notifications are concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contact {
    /// Shown to others.
    pub name: String,
    /// Where mail goes; none: nowhere.
    pub email: Option<String>,
    /// Language tag: `zh-TW` or `en`.
    pub language: String,
}

/// Who the people are; the binary joins it to the house's accounts.
#[async_trait]
pub trait People: Send + Sync {
    /// One person; none when unknown or deactivated.
    async fn contact(&self, user: UserId) -> Option<Contact>;
    /// Those who review.
    async fn officers(&self) -> Vec<UserId>;
    /// Those who belong to an organisation.
    async fn members(&self, org: OrgId) -> Vec<UserId> {
        let _ = org;
        Vec::new()
    }
    /// An organisation's name; none when unknown.
    async fn org_name(&self, org: OrgId) -> Option<Text> {
        let _ = org;
        None
    }
}

/// Who asks, as the permission table sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Who {
    /// The person.
    pub user: UserId,
    /// Organisations whose cases may be seen.
    pub sees: OrgScope,
    /// Organisations for which the person may write and act as applicant.
    pub applies: OrgScope,
    /// Whether the person may review.
    pub officer: bool,
    /// The only organisation that the request is good for: that of a bound token.
    pub only: Option<OrgId>,
    /// Names the request in the audit trail.
    pub request: Option<String>,
}

impl Who {
    /// From which sides of the counter the person may act on `case`.
    pub fn asking(&self, case: &Case) -> Asking {
        Asking {
            actor: self.user,
            applicant: case.applicant == self.user
                || case.org.is_some_and(|org| self.applies_for(org)),
            officer: self.officer,
        }
    }

    fn applies_for(&self, org: OrgId) -> bool {
        // "Everywhere" is a role in the house, not membership of the applicant.
        matches!(&self.applies, OrgScope::Only(orgs) if orgs.contains(&org))
    }

    fn sees_case(&self, case: &Case) -> bool {
        if self.only.is_some() && case.org != self.only {
            return false;
        }
        let side = self.asking(case);
        let member = side.applicant
            || matches!(&self.sees, OrgScope::Only(orgs) if case.org.is_some_and(|org| orgs.contains(&org)));
        member || (self.sees == OrgScope::All && case.submitted_at.is_some())
    }
}

/// The engine. Cheap to clone.
#[derive(Clone)]
pub struct Casework {
    pub(crate) inner: Arc<Inner>,
}

/// The engine as something sees it that the engine itself holds, such as a grant: two
/// that held each other would never be dropped.
#[derive(Clone)]
pub struct WeakCasework(Weak<Inner>);

impl WeakCasework {
    /// The engine, unless it is gone.
    pub fn upgrade(&self) -> Option<Casework> {
        self.0.upgrade().map(|inner| Casework { inner })
    }
}

pub(crate) struct Inner {
    pub(crate) db: Db,
    pub(crate) vault: Vault,
    pub(crate) blobs: Blobs,
    pub(crate) forms: Forms,
    pub(crate) grants: BTreeMap<String, Arc<dyn Grant>>,
    pub(crate) people: Arc<dyn People>,
    pub(crate) fetcher: Fetcher,
    pub(crate) config: CaseworkConfig,
    pub(crate) links: OnceLock<Vec<CaseLink>>,
}

/// A page of another room that shows a case in its own way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CaseLink {
    /// Key of the link's text.
    pub label: &'static str,
    /// The page's path before the case's identifier.
    pub path: &'static str,
    /// Who may see the page.
    pub action: &'static str,
}

/// What the engine stands on.
pub struct Parts {
    /// The database.
    pub db: Db,
    /// Seals personal data.
    pub vault: Vault,
    /// Keeps attachments.
    pub blobs: Blobs,
    /// The forms of all domains.
    pub forms: Forms,
    /// What a grant does, by form.
    pub grants: BTreeMap<String, Arc<dyn Grant>>,
    /// Who the people are.
    pub people: Arc<dyn People>,
    /// Makes guarded requests.
    pub fetcher: Fetcher,
    /// The section of the configuration.
    pub config: CaseworkConfig,
}

/// Which cases a list shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only those that the person began or whose organisation they belong to.
    pub mine: bool,
    /// Only those in this state.
    pub state: Option<String>,
    /// Only those that have not ended.
    pub open: bool,
    /// Only those given to this officer.
    pub assignee: Option<UserId>,
    /// Only those of this form.
    pub form: Option<String>,
    /// Only the one of this number.
    pub number: Option<CaseNumber>,
}

/// A case with its form and what the reader may do.
#[derive(Debug, Clone)]
pub struct Opened {
    /// The case.
    pub case: Case,
    /// The version of the form that it is written on.
    pub form: Arc<Form>,
    /// The time-line, oldest first, as far as the reader may see it.
    pub events: Vec<Event>,
    /// The steps that the reader may take.
    pub offered: Vec<Transition>,
    /// Whether the reader may change the values.
    pub editable: bool,
    /// The sides on which the reader stands.
    pub asking: Asking,
}

impl Casework {
    /// An engine from its parts.
    pub fn new(parts: Parts) -> Self {
        let Parts {
            db,
            vault,
            blobs,
            forms,
            grants,
            people,
            fetcher,
            config,
        } = parts;
        Self {
            inner: Arc::new(Inner {
                db,
                vault,
                blobs,
                forms,
                grants,
                people,
                fetcher,
                config,
                links: OnceLock::new(),
            }),
        }
    }

    /// Puts links to other rooms' pages on the page of a case; only the first call counts.
    pub fn link(&self, links: Vec<CaseLink>) {
        // Whoever comes later finds the links of the first.
        self.inner.links.set(links).unwrap_or_default();
    }

    pub(crate) fn links(&self) -> &[CaseLink] {
        self.inner.links.get().map_or(&[], Vec::as_slice)
    }

    /// For those whom the engine holds.
    pub fn downgrade(&self) -> WeakCasework {
        WeakCasework(Arc::downgrade(&self.inner))
    }

    /// The forms.
    pub fn forms(&self) -> &Forms {
        &self.inner.forms
    }

    /// The section of the configuration.
    pub fn config(&self) -> &CaseworkConfig {
        &self.inner.config
    }

    /// Who the people are.
    pub fn people(&self) -> &Arc<dyn People> {
        &self.inner.people
    }

    /// The database.
    pub fn db(&self) -> &Db {
        &self.inner.db
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.inner.db.clock().now()
    }

    pub(crate) async fn seen(
        &self,
        tx: &mut Tx,
        who: &Who,
        case: CaseId,
    ) -> Result<Case, CaseError> {
        match load(tx, case).await {
            Ok(found) if who.sees_case(&found) => Ok(found),
            Ok(_) => Err(CaseError::NotFound(case.to_string())),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn form_of(&self, case: &Case) -> Result<Arc<Form>, CaseError> {
        self.inner
            .forms
            .get(&case.form, case.form_version)
            .ok_or_else(|| {
                CaseError::NoForm(format!("{} version {}", case.form, case.form_version))
            })
    }

    fn check_values(
        &self,
        form: &Form,
        values: &Values,
        completeness: Completeness,
    ) -> Result<(), CaseError> {
        let size = serde_json::to_string(values).map_or(usize::MAX, |text| text.len());
        if size > VALUES_BYTES_MAX {
            return Err(CaseError::Limit {
                what: "bytes of a submission",
                most: VALUES_BYTES_MAX as u64,
            });
        }
        let found = problems(form, values, completeness);
        if found.is_empty() {
            Ok(())
        } else {
            Err(CaseError::Invalid(found))
        }
    }

    fn seal(&self, case: CaseId, personal: &Values) -> Result<Option<Vec<u8>>, CaseError> {
        if personal.is_empty() {
            return Ok(None);
        }
        let text = write_json(personal)?;
        let sealed = self.inner.vault.seal(&context(case), text.as_bytes());
        sealed.map(Some).map_err(|source| CaseError::Sealed {
            what: "personal data could not be sealed",
            source: source.into(),
        })
    }

    pub(crate) async fn read_values(&self, tx: &mut Tx, case: CaseId) -> Result<Values, CaseError> {
        let (clear, personal): (String, Option<Vec<u8>>) =
            sqlx::query_as("SELECT clear, personal FROM casework_case WHERE id = $1")
                .bind(case.to_string())
                .fetch_one(&mut **tx)
                .await?;
        let mut values: Values = read_json(&clear)?;
        if let Some(sealed) = personal {
            let opened = self
                .inner
                .vault
                .open(&context(case), &sealed)
                .map_err(|source| CaseError::Sealed {
                    what: "personal data could not be opened",
                    source: source.into(),
                })?;
            let personal: Values =
                serde_json::from_slice(&opened).map_err(|source| CaseError::Sealed {
                    what: "personal data cannot be read",
                    source: source.into(),
                })?;
            values.extend(personal);
        }
        Ok(values)
    }

    #[expect(clippy::too_many_arguments, reason = "the columns of one row")]
    pub(crate) async fn record(
        &self,
        tx: &mut Tx,
        case: &Case,
        actor: Option<UserId>,
        kind: EventKind,
        action: &str,
        from: &str,
        to: &str,
        internal: bool,
        text: &str,
    ) -> Result<(), CaseError> {
        sqlx::query("INSERT INTO casework_event (id, case_id, at, actor, kind, action, from_state, to_state, internal, text) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)")
            .bind(uuid::Uuid::now_v7().to_string())
            .bind(case.id.to_string())
            .bind(self.now().micros())
            .bind(actor.map(|actor| actor.to_string()))
            .bind(kind.name())
            .bind(action)
            .bind(from)
            .bind(to)
            .bind(i64::from(internal))
            .bind(text)
            .execute(&mut **tx)
            .await?;
        Ok(())
    }

    pub(crate) async fn audit(
        &self,
        tx: &mut Tx,
        who: &Who,
        case: &Case,
        action: &str,
        detail: serde_json::Value,
    ) -> Result<(), CaseError> {
        let mut entry = AuditEntry::new(Actor::User(who.user), action, format!("case:{}", case.id))
            .detail(detail);
        entry.org = case.org;
        entry.request_id.clone_from(&who.request);
        tx.audit(entry).await?;
        Ok(())
    }

    /// Those who should look at a case: its officer, or all of them.
    pub(crate) async fn reviewers(&self, case: &Case) -> Vec<UserId> {
        match case.assignee {
            Some(officer) => vec![officer],
            None => self.inner.people.officers().await,
        }
    }
}

fn context(case: CaseId) -> String {
    format!("casework_case.personal/{case}")
}

fn editable(form: &Form, case: &Case, asking: &Asking) -> bool {
    let submits = form
        .workflow
        .transitions
        .iter()
        .any(|t| t.by == Side::Applicant && t.needs_valid && t.from.contains(&case.state));
    asking.applicant && submits
}

pub(crate) async fn load(tx: &mut Tx, case: CaseId) -> Result<Case, CaseError> {
    let row = sqlx::query(AssertSqlSafe(format!(
        "SELECT {COLUMNS} FROM casework_case WHERE id = $1"
    )))
    .bind(case.to_string())
    .fetch_optional(&mut **tx)
    .await?;
    match row {
        Some(row) => case_of(&row),
        None => Err(CaseError::NotFound(case.to_string())),
    }
}

/// A refusal of the domain, in both languages.
pub fn refuse(zh: impl Into<String>, en: impl Into<String>) -> CaseError {
    CaseError::GrantRefused(Text::new(zh, en))
}
