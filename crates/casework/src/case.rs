//! A case and its time-line as they are kept, and what can go wrong with them.

use base::{CaseId, OrgId, Timestamp, UserId};
use serde::{Deserialize, Serialize};
use sqlx::Row as _;
use sqlx::any::AnyRow;
use store::StoreError;

use crate::form::Text;
use crate::number::CaseNumber;
use crate::validate::Problem;
use crate::workflow::Refusal;

/// Characters of a comment.
pub const COMMENT_CHARS_MAX: usize = 4_000;

/// A submission and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    /// Names it everywhere.
    pub id: CaseId,
    /// Names it to people.
    pub number: CaseNumber,
    /// The form's name.
    pub form: String,
    /// The version of the form that it is written on.
    pub form_version: u32,
    /// The organisation that applies.
    pub org: Option<OrgId>,
    /// Who began it.
    pub applicant: UserId,
    /// Its state in the form's workflow.
    pub state: String,
    /// Whether nothing leads out of its state.
    pub ended: bool,
    /// Counts changes; a change must name the version that it saw.
    pub version: i64,
    /// The officer who looks after it.
    pub assignee: Option<UserId>,
    /// Its name in lists.
    pub subject: String,
    /// When it was begun.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// When it was last submitted.
    pub submitted_at: Option<Timestamp>,
    /// When the present state must be left.
    pub due_at: Option<Timestamp>,
    /// Whether that moment has passed.
    pub overdue: bool,
    /// What the grant made.
    pub result: Option<Granted>,
}

/// What a grant made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Granted {
    /// What it is: `site agency-example`.
    pub subject: String,
    /// Its page in the console.
    pub path: String,
}

/// One thing that happened in a case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// When.
    pub at: Timestamp,
    /// Who; none: the house itself.
    pub actor: Option<UserId>,
    /// What kind of thing.
    pub kind: EventKind,
    /// The workflow's action, for steps.
    pub action: String,
    /// The state before.
    pub from: String,
    /// The state after.
    pub to: String,
    /// Not shown to the applicant.
    pub internal: bool,
    /// What was written, or the name of what was added.
    pub text: String,
}

/// Kinds of [`Event`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    /// Begun.
    Created,
    /// A step of the workflow.
    Step,
    /// A comment.
    Comment,
    /// Given to an officer.
    Assigned,
    /// A file added.
    Attached,
    /// A file removed.
    Removed,
    /// A reminder of the deadline.
    Reminder,
    /// The deadline has passed.
    Overdue,
}

impl EventKind {
    /// All kinds.
    pub const ALL: [Self; 8] = [
        Self::Created,
        Self::Step,
        Self::Comment,
        Self::Assigned,
        Self::Attached,
        Self::Removed,
        Self::Reminder,
        Self::Overdue,
    ];

    /// The name in tables and keys of texts.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Step => "step",
            Self::Comment => "comment",
            Self::Assigned => "assigned",
            Self::Attached => "attached",
            Self::Removed => "removed",
            Self::Reminder => "reminder",
            Self::Overdue => "overdue",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// A file of a case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// Names it within the case.
    pub id: uuid::Uuid,
    /// The form's field that it answers; empty: a free one.
    pub field: String,
    /// Its name as given.
    pub name: String,
    /// Media type, one of those allowed.
    pub media: String,
    /// Bytes.
    pub size: i64,
    /// SHA-256 in hexadecimal.
    pub sha256: String,
    /// Who added it.
    pub added_by: UserId,
    /// When.
    pub added_at: Timestamp,
}

/// Why something cannot be done with a case.
#[derive(Debug, thiserror::Error)]
pub enum CaseError {
    /// No such case, or none that may be seen.
    #[error("no case {0}")]
    NotFound(String),
    /// No such form.
    #[error("no form {0:?}")]
    NoForm(String),
    /// The form is for organisations.
    #[error("this form needs an organisation: choose one to which you belong")]
    NeedsOrg,
    /// It changed since it was looked at.
    #[error("case {number} has changed meanwhile: it is at version {found}, not {expected}")]
    Changed {
        /// The case.
        number: CaseNumber,
        /// The version that the change was made for.
        expected: i64,
        /// The version it is at.
        found: i64,
    },
    /// An idempotency key that came with another request before
    /// (draft-ietf-httpapi-idempotency-key-header section 2.7).
    #[error("the idempotency key was used for another request")]
    KeyReused,
    /// The values break the form's rules.
    #[error("{} values break the rules of the form", .0.len())]
    Invalid(Vec<Problem>),
    /// The workflow says no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The owning domain says no.
    #[error("the grant is refused: {}", .0.en)]
    GrantRefused(Text),
    /// A limit.
    #[error("{what}: at most {most}")]
    Limit {
        /// Of what there is too much.
        what: &'static str,
        /// How much is allowed.
        most: u64,
    },
    /// A file of a kind that is not accepted.
    #[error("{name:?} is not an accepted file: {rule}")]
    File {
        /// Its name.
        name: String,
        /// The rule.
        rule: &'static str,
    },
    /// The database.
    #[error("the case could not be kept")]
    Store(#[from] StoreError),
    /// Sealed values or files cannot be opened or kept.
    #[error("{what}")]
    Sealed {
        /// What was attempted.
        what: &'static str,
        /// Why it failed.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl From<sqlx::Error> for CaseError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

/// The columns of a case, in one place.
pub(crate) const COLUMNS: &str = "id, number, form, form_version, org, applicant, state, ended, version, assignee, subject, created_at, updated_at, submitted_at, due_at, overdue, result";

pub(crate) fn case_of(row: &AnyRow) -> Result<Case, CaseError> {
    let optional_user = |text: Option<String>| text.map(|t| id(&t)).transpose();
    Ok(Case {
        id: id(&row.try_get::<String, _>("id")?)?,
        number: CaseNumber::new(row.try_get("number")?),
        form: row.try_get("form")?,
        form_version: u32::try_from(row.try_get::<i64, _>("form_version")?).unwrap_or(0),
        org: row
            .try_get::<Option<String>, _>("org")?
            .map(|t| id(&t))
            .transpose()?,
        applicant: id(&row.try_get::<String, _>("applicant")?)?,
        state: row.try_get("state")?,
        ended: row.try_get::<i64, _>("ended")? != 0,
        version: row.try_get("version")?,
        assignee: optional_user(row.try_get("assignee")?)?,
        subject: row.try_get("subject")?,
        created_at: Timestamp(row.try_get("created_at")?),
        updated_at: Timestamp(row.try_get("updated_at")?),
        submitted_at: row
            .try_get::<Option<i64>, _>("submitted_at")?
            .map(Timestamp),
        due_at: row.try_get::<Option<i64>, _>("due_at")?.map(Timestamp),
        overdue: row.try_get::<i64, _>("overdue")? != 0,
        result: match row.try_get::<Option<String>, _>("result")? {
            Some(text) => Some(read_json(&text)?),
            None => None,
        },
    })
}

pub(crate) fn event_of(row: &AnyRow) -> Result<Event, CaseError> {
    let kind: String = row.try_get("kind")?;
    Ok(Event {
        at: Timestamp(row.try_get("at")?),
        actor: row
            .try_get::<Option<String>, _>("actor")?
            .map(|t| id(&t))
            .transpose()?,
        kind: EventKind::from_name(&kind).ok_or_else(|| broken(&kind))?,
        action: row.try_get("action")?,
        from: row.try_get("from_state")?,
        to: row.try_get("to_state")?,
        internal: row.try_get::<i64, _>("internal")? != 0,
        text: row.try_get("text")?,
    })
}

/// Reads an identifier that we wrote ourselves.
pub(crate) fn id<T: std::str::FromStr>(text: &str) -> Result<T, CaseError> {
    text.parse().map_err(|_| broken(text))
}

pub(crate) fn read_json<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, CaseError> {
    serde_json::from_str(text).map_err(|source| CaseError::Sealed {
        what: "a kept document cannot be read",
        source: source.into(),
    })
}

pub(crate) fn write_json<T: Serialize>(value: &T) -> Result<String, CaseError> {
    serde_json::to_string(value).map_err(|source| CaseError::Sealed {
        what: "a document cannot be kept",
        source: source.into(),
    })
}

fn broken(value: &str) -> CaseError {
    CaseError::Store(StoreError::Invalid(format!("a case's row holds {value:?}")))
}
