//! The engine: reading cases and taking steps in them. Every change is one
//! transaction that holds the case's new row, its time-line, its notifications and
//! its audit entry; a crash in the middle leaves the case as it was.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::OrgScope;
use async_trait::async_trait;
use base::{CaseId, OrgId, Timestamp, UserId};
use serde_json::json;
use sqlx::AssertSqlSafe;
use store::{Actor, AuditEntry, Blobs, Db, Page, PageRequest, Tx, Vault};

use crate::case::{
    COLUMNS, COMMENT_CHARS_MAX, Case, CaseError, Event, EventKind, Granted, case_of, event_of, id,
    read_json, write_json,
};
use crate::config::CaseworkConfig;
use crate::form::{Form, Forms, Text, Values};
use crate::guard::Fetcher;
use crate::notify;
use crate::validate::{Completeness, problems};
use crate::workflow::{Asking, Side, Taken, Transition};

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
        let _ = (tx, case, values, action);
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

    /// Called after the grant's transaction is committed.
    async fn granted(&self) {}

    /// What the applicant must prove outside of the form, shown beside the case;
    /// nothing by default. `editable` says whether the reader may check it now.
    async fn panel(&self, case: &Case, values: &Values, editable: bool) -> Vec<Proof> {
        let _ = (case, values, editable);
        Vec::new()
    }
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

pub(crate) struct Inner {
    pub(crate) db: Db,
    pub(crate) vault: Vault,
    pub(crate) blobs: Blobs,
    pub(crate) forms: Forms,
    pub(crate) grants: BTreeMap<String, Arc<dyn Grant>>,
    pub(crate) people: Arc<dyn People>,
    pub(crate) fetcher: Fetcher,
    pub(crate) config: CaseworkConfig,
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
            }),
        }
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

    /// Begins a draft. The same `idempotency` from the same person gives the same case.
    ///
    /// # Errors
    /// [`CaseError`]: unknown form, no organisation where one is needed, wrong values, too many drafts.
    pub async fn start(
        &self,
        who: &Who,
        form: &str,
        org: Option<OrgId>,
        values: Values,
        idempotency: Option<&str>,
    ) -> Result<Case, CaseError> {
        let form = self
            .inner
            .forms
            .newest(form)
            .ok_or_else(|| CaseError::NoForm(form.chars().take(60).collect()))?;
        match org {
            Some(org) if !who.applies_for(org) => return Err(CaseError::NeedsOrg),
            None if form.needs_org => return Err(CaseError::NeedsOrg),
            _ => {}
        }
        if idempotency.is_some_and(|key| key.is_empty() || key.len() > 100) {
            return Err(CaseError::Limit {
                what: "characters of the idempotency key",
                most: 100,
            });
        }
        self.check_values(&form, &values, Completeness::Draft)?;
        let mut tx = self.inner.db.begin().await?;
        let user = who.user.to_string();
        if let Some(key) = idempotency {
            let found = sqlx::query(AssertSqlSafe(format!(
                "SELECT {COLUMNS} FROM casework_case WHERE applicant = $1 AND idempotency = $2"
            )))
            .bind(&user)
            .bind(key)
            .fetch_optional(&mut *tx)
            .await?;
            if let Some(row) = found {
                return case_of(&row);
            }
        }
        let drafts: i64 = sqlx::query_scalar("SELECT count(*) FROM casework_case WHERE applicant = $1 AND submitted_at IS NULL AND ended = 0")
            .bind(&user)
            .fetch_one(&mut *tx)
            .await?;
        if drafts >= DRAFTS_MAX {
            return Err(CaseError::Limit {
                what: "open drafts",
                most: DRAFTS_MAX as u64,
            });
        }
        let now = self.now();
        let case_id = CaseId::generate();
        let (clear, personal) = form.split(&values);
        sqlx::query(
            "INSERT INTO casework_case (id, number, form, form_version, org, applicant, state, ended, version, subject, created_at, updated_at, overdue, clear, personal, idempotency)
             VALUES ($1, (SELECT coalesce(max(number), 0) + 1 FROM casework_case), $2, $3, $4, $5, $6, 0, 1, $7, $8, $8, 0, $9, $10, $11)",
        )
        .bind(case_id.to_string())
        .bind(&form.id)
        .bind(i64::from(form.version))
        .bind(org.map(|org| org.to_string()))
        .bind(&user)
        .bind(&form.workflow.initial)
        .bind(subject_of(&form, &values))
        .bind(now.micros())
        .bind(write_json(&clear)?)
        .bind(self.seal(case_id, &personal)?)
        .bind(idempotency)
        .execute(&mut *tx)
        .await?;
        let case = load(&mut tx, case_id).await?;
        self.record(
            &mut tx,
            &case,
            Some(who.user),
            EventKind::Created,
            "",
            "",
            &case.state,
            false,
            "",
        )
        .await?;
        self.audit(
            &mut tx,
            who,
            &case,
            "case.create",
            json!({"form": form.id, "version": form.version}),
        )
        .await?;
        tx.commit().await?;
        Ok(case)
    }

    /// Changes values of a draft or returned case; a value of `null` takes it out.
    ///
    /// # Errors
    /// [`CaseError`]: not seen, changed meanwhile, not editable, wrong values.
    pub async fn save(
        &self,
        who: &Who,
        case: CaseId,
        version: i64,
        changes: Values,
    ) -> Result<Case, CaseError> {
        let mut tx = self.inner.db.begin().await?;
        let before = self.seen(&mut tx, who, case).await?;
        expect_version(&before, version)?;
        let form = self.form_of(&before)?;
        if !editable(&form, &before, &who.asking(&before)) {
            return Err(crate::workflow::Refusal::NotNow {
                state: before.state,
                action: "edit".into(),
            }
            .into());
        }
        let mut values = self.read_values(&mut tx, case).await?;
        for (name, value) in changes {
            if value.is_null() {
                values.remove(&name);
            } else {
                values.insert(name, value);
            }
        }
        self.check_values(&form, &values, Completeness::Draft)?;
        let (clear, personal) = form.split(&values);
        sqlx::query("UPDATE casework_case SET clear = $2, personal = $3, subject = $4, version = version + 1, updated_at = $5 WHERE id = $1")
            .bind(case.to_string())
            .bind(write_json(&clear)?)
            .bind(self.seal(case, &personal)?)
            .bind(subject_of(&form, &values))
            .bind(self.now().micros())
            .execute(&mut *tx)
            .await?;
        let after = load(&mut tx, case).await?;
        self.audit(
            &mut tx,
            who,
            &after,
            "case.edit",
            json!({"version": after.version}),
        )
        .await?;
        tx.commit().await?;
        Ok(after)
    }

    /// Takes a step of the workflow. Entering the granting state calls the domain's
    /// [`Grant`] in the same transaction.
    ///
    /// # Errors
    /// [`CaseError`]: not seen, changed meanwhile, refused by the workflow, the form or the domain.
    pub async fn act(
        &self,
        who: &Who,
        case: CaseId,
        version: i64,
        action: &str,
        comment: &str,
    ) -> Result<Case, CaseError> {
        check_comment(comment)?;
        let mut tx = self.inner.db.begin().await?;
        let before = self.seen(&mut tx, who, case).await?;
        expect_version(&before, version)?;
        let form = self.form_of(&before)?;
        let history = history(&mut tx, case).await?;
        let step = form
            .workflow
            .decide(
                &before.state,
                before.applicant,
                &history,
                &who.asking(&before),
                action,
                comment,
            )?
            .clone();
        let values = self.read_values(&mut tx, case).await?;
        if step.needs_valid {
            self.check_values(&form, &values, Completeness::Whole)?;
        }
        let grant = self.inner.grants.get(&form.id);
        if let Some(grant) = grant {
            grant.check(&mut tx, &before, &values, action).await?;
        }
        let now = self.now();
        let due = form.workflow.due(&step.to, now);
        let submitted = if action == crate::workflow::SUBMIT {
            Some(now)
        } else {
            before.submitted_at
        };
        sqlx::query(
            "UPDATE casework_case SET state = $2, ended = $3, version = version + 1, updated_at = $4, submitted_at = $5, due_at = $6, remind_at = $7, overdue = 0 WHERE id = $1",
        )
        .bind(case.to_string())
        .bind(&step.to)
        .bind(i64::from(form.workflow.ends(&step.to)))
        .bind(now.micros())
        .bind(submitted.map(Timestamp::micros))
        .bind(due.map(|(due, _)| due.micros()))
        .bind(due.map(|(_, remind)| remind.micros()))
        .execute(&mut *tx)
        .await?;
        if step.to == form.workflow.grants
            && let Some(grant) = grant
        {
            let granted = grant.grant(&mut tx, &before, &values, who.user).await?;
            sqlx::query("UPDATE casework_case SET result = $2 WHERE id = $1")
                .bind(case.to_string())
                .bind(write_json(&granted)?)
                .execute(&mut *tx)
                .await?;
        }
        let after = load(&mut tx, case).await?;
        self.record(
            &mut tx,
            &after,
            Some(who.user),
            EventKind::Step,
            action,
            &before.state,
            &after.state,
            false,
            comment,
        )
        .await?;
        self.audit(
            &mut tx,
            who,
            &after,
            &format!("case.{action}"),
            json!({"from": before.state, "to": after.state}),
        )
        .await?;
        let notice = notify::Notice::step(&step, action);
        let readers = match step.by {
            Side::Applicant => self.reviewers(&after).await,
            Side::Officer => vec![after.applicant],
        };
        self.notify(&mut tx, &after, notice, &readers, Some(who.user))
            .await?;
        tx.commit().await?;
        if let Some(grant) = grant.filter(|_| step.to == form.workflow.grants) {
            grant.granted().await;
        }
        Ok(after)
    }

    /// What the applicant must prove outside of the form.
    pub async fn panel(&self, opened: &Opened, values: &Values) -> Vec<Proof> {
        match self.inner.grants.get(&opened.form.id) {
            Some(grant) => grant.panel(&opened.case, values, opened.editable).await,
            None => Vec::new(),
        }
    }

    /// Writes a comment; an internal one is for officers only.
    ///
    /// # Errors
    /// [`CaseError`]: not seen, empty or too long.
    pub async fn comment(
        &self,
        who: &Who,
        case: CaseId,
        text: &str,
        internal: bool,
    ) -> Result<Case, CaseError> {
        check_comment(text)?;
        if text.trim().is_empty() {
            return Err(crate::workflow::Refusal::CommentMissing {
                action: "comment".into(),
            }
            .into());
        }
        let mut tx = self.inner.db.begin().await?;
        let found = self.seen(&mut tx, who, case).await?;
        let asking = who.asking(&found);
        if !asking.applicant && !asking.officer || internal && !asking.officer {
            return Err(crate::workflow::Refusal::NotYours {
                action: "comment".into(),
            }
            .into());
        }
        let (count,): (i64,) =
            sqlx::query_as("SELECT count(*) FROM casework_event WHERE case_id = $1")
                .bind(case.to_string())
                .fetch_one(&mut *tx)
                .await?;
        if count >= EVENTS_MAX {
            return Err(CaseError::Limit {
                what: "entries of the time-line",
                most: EVENTS_MAX as u64,
            });
        }
        self.record(
            &mut tx,
            &found,
            Some(who.user),
            EventKind::Comment,
            "",
            "",
            "",
            internal,
            text.trim(),
        )
        .await?;
        self.audit(
            &mut tx,
            who,
            &found,
            "case.comment",
            json!({"internal": internal}),
        )
        .await?;
        if !internal {
            let readers = if asking.officer && !asking.applicant {
                vec![found.applicant]
            } else {
                self.reviewers(&found).await
            };
            self.notify(
                &mut tx,
                &found,
                notify::Notice::Comment,
                &readers,
                Some(who.user),
            )
            .await?;
        }
        tx.commit().await?;
        Ok(found)
    }

    /// Gives a case to an officer, or to nobody.
    ///
    /// # Errors
    /// [`CaseError`]: not seen, not an officer's to give, changed meanwhile.
    pub async fn assign(
        &self,
        who: &Who,
        case: CaseId,
        version: i64,
        officer: Option<UserId>,
    ) -> Result<Case, CaseError> {
        let known = match officer {
            Some(officer) => self.inner.people.officers().await.contains(&officer),
            None => true,
        };
        let mut tx = self.inner.db.begin().await?;
        let before = self.seen(&mut tx, who, case).await?;
        if !who.officer || !known {
            return Err(crate::workflow::Refusal::NotYours {
                action: "assign".into(),
            }
            .into());
        }
        expect_version(&before, version)?;
        sqlx::query("UPDATE casework_case SET assignee = $2, version = version + 1, updated_at = $3 WHERE id = $1")
            .bind(case.to_string())
            .bind(officer.map(|officer| officer.to_string()))
            .bind(self.now().micros())
            .execute(&mut *tx)
            .await?;
        let after = load(&mut tx, case).await?;
        let text = officer
            .map(|officer| officer.to_string())
            .unwrap_or_default();
        self.record(
            &mut tx,
            &after,
            Some(who.user),
            EventKind::Assigned,
            "",
            "",
            "",
            true,
            &text,
        )
        .await?;
        self.audit(
            &mut tx,
            who,
            &after,
            "case.assign",
            json!({"officer": officer}),
        )
        .await?;
        let readers: Vec<UserId> = officer.into_iter().collect();
        self.notify(
            &mut tx,
            &after,
            notify::Notice::Assigned,
            &readers,
            Some(who.user),
        )
        .await?;
        tx.commit().await?;
        Ok(after)
    }

    /// One case with its time-line.
    ///
    /// # Errors
    /// [`CaseError::NotFound`] when it is not there or not to be seen.
    pub async fn open(&self, who: &Who, case: CaseId) -> Result<Opened, CaseError> {
        let row = sqlx::query(AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM casework_case WHERE id = $1"
        )))
        .bind(case.to_string())
        .fetch_optional(self.inner.db.pool())
        .await?;
        let found = row
            .map(|row| case_of(&row))
            .transpose()?
            .filter(|case| who.sees_case(case));
        let found = found.ok_or_else(|| CaseError::NotFound(case.to_string()))?;
        let rows = sqlx::query("SELECT at, actor, kind, action, from_state, to_state, internal, text FROM casework_event WHERE case_id = $1 ORDER BY id LIMIT $2")
            .bind(case.to_string())
            .bind(EVENTS_MAX * 2)
            .fetch_all(self.inner.db.pool())
            .await?;
        let all: Vec<Event> = rows.iter().map(event_of).collect::<Result<_, _>>()?;
        let asking = who.asking(&found);
        let form = self.form_of(&found)?;
        let taken: Vec<Taken> = all.iter().filter_map(taken_of).collect();
        let offered = form
            .workflow
            .offered(&found.state, found.applicant, &taken, &asking)
            .into_iter()
            .cloned()
            .collect();
        // Those on the applicant's side never see internal notes, whatever else they are.
        let internal = who.sees == OrgScope::All && !asking.applicant;
        let events = all
            .into_iter()
            .filter(|event| internal || !event.internal)
            .collect();
        let editable = editable(&form, &found, &asking);
        Ok(Opened {
            case: found,
            form,
            events,
            offered,
            editable,
            asking,
        })
    }

    /// The values of a case, personal data included; the reading is audited when it
    /// is not the applicant's own.
    ///
    /// # Errors
    /// [`CaseError::NotFound`] when it is not there or not to be seen.
    pub async fn values(&self, who: &Who, case: CaseId) -> Result<Values, CaseError> {
        let mut tx = self.inner.db.begin().await?;
        let found = self.seen(&mut tx, who, case).await?;
        let values = self.read_values(&mut tx, case).await?;
        let form = self.form_of(&found)?;
        let personal: Vec<&String> = values.keys().filter(|name| form.personal(name)).collect();
        if !personal.is_empty() && found.applicant != who.user {
            self.audit(
                &mut tx,
                who,
                &found,
                "case.read-personal",
                json!({"fields": personal}),
            )
            .await?;
            tx.commit().await?;
        } else {
            tx.rollback().await?;
        }
        Ok(values)
    }

    /// A page of cases that may be seen: overdue first, then by number, newest first.
    ///
    /// # Errors
    /// [`CaseError::Store`], also for a wrong cursor.
    pub async fn list(
        &self,
        who: &Who,
        filter: &Filter,
        request: &PageRequest,
    ) -> Result<Page<Case>, CaseError> {
        const LIST: &str = "cases";
        let mut binds: Vec<String> = vec![who.user.to_string()];
        let member = if let OrgScope::Only(orgs) = &who.sees {
            let (text, values) = OrgScope::Only(orgs.clone()).sql("org", 2);
            binds.extend(values);
            format!("(applicant = $1 OR {text})")
        } else if filter.mine {
            "(applicant = $1)".to_owned()
        } else {
            // Drafts of others are nobody's business.
            "(applicant = $1 OR submitted_at IS NOT NULL)".to_owned()
        };
        let mut conditions = vec![member];
        if let Some(only) = who.only {
            binds.push(only.to_string());
            conditions.push(format!("org = ${}", binds.len()));
        }
        let mut equal = |column: &str, value: Option<String>| {
            if let Some(value) = value {
                binds.push(value);
                conditions.push(format!("{column} = ${}", binds.len()));
            }
        };
        equal("state", filter.state.clone());
        equal("form", filter.form.clone());
        equal("assignee", filter.assignee.map(|user| user.to_string()));
        if filter.open {
            conditions.push("ended = 0".into());
        }
        let after: Option<(i64, i64)> = request.after(LIST)?;
        let at = binds.len();
        if after.is_some() {
            conditions.push(format!(
                "(overdue < ${} OR (overdue = ${} AND number < ${}))",
                at + 1,
                at + 1,
                at + 2
            ));
        }
        let limit_at = at + if after.is_some() { 3 } else { 1 };
        let text = format!(
            "SELECT {COLUMNS} FROM casework_case WHERE {} ORDER BY overdue DESC, number DESC LIMIT ${limit_at}",
            conditions.join(" AND ")
        );
        let mut query = sqlx::query(AssertSqlSafe(text));
        for bind in binds {
            query = query.bind(bind);
        }
        if let Some((overdue, number)) = after {
            query = query.bind(overdue).bind(number);
        }
        let rows = query
            .bind(request.fetch())
            .fetch_all(self.inner.db.pool())
            .await?;
        let cases: Vec<Case> = rows.iter().map(case_of).collect::<Result<_, _>>()?;
        Ok(request.page(LIST, cases, |case| (i64::from(case.overdue), case.number))?)
    }

    /// How many cases wait for officers, and how many of them are overdue.
    ///
    /// # Errors
    /// [`CaseError::Store`].
    pub async fn waiting(&self) -> Result<(i64, i64), CaseError> {
        let row: (i64, i64) = sqlx::query_as(
            "SELECT count(*), CAST(coalesce(sum(overdue), 0) AS BIGINT) FROM casework_case WHERE ended = 0 AND state IN ('submitted', 'in-review', 'approved')",
        )
        .fetch_one(self.inner.db.pool())
        .await?;
        Ok(row)
    }

    // ------------------------------------------------------------- parts

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

fn expect_version(case: &Case, expected: i64) -> Result<(), CaseError> {
    if case.version == expected {
        return Ok(());
    }
    Err(CaseError::Changed {
        number: case.number,
        expected,
        found: case.version,
    })
}

fn check_comment(text: &str) -> Result<(), CaseError> {
    if text.chars().count() > COMMENT_CHARS_MAX || text.contains('\0') {
        return Err(CaseError::Limit {
            what: "characters of a comment",
            most: COMMENT_CHARS_MAX as u64,
        });
    }
    Ok(())
}

fn subject_of(form: &Form, values: &Values) -> String {
    let text = Form::show(values.get(&form.subject));
    let line = text.lines().next().unwrap_or_default();
    line.chars().take(120).collect()
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

async fn history(tx: &mut Tx, case: CaseId) -> Result<Vec<Taken>, CaseError> {
    let rows: Vec<(String, String)> = sqlx::query_as("SELECT actor, action FROM casework_event WHERE case_id = $1 AND kind = 'step' AND actor IS NOT NULL ORDER BY id")
        .bind(case.to_string())
        .fetch_all(&mut **tx)
        .await?;
    rows.into_iter()
        .map(|(actor, action)| {
            Ok(Taken {
                actor: id(&actor)?,
                action,
            })
        })
        .collect()
}

fn taken_of(event: &Event) -> Option<Taken> {
    match (event.kind, event.actor) {
        (EventKind::Step, Some(actor)) => Some(Taken {
            actor,
            action: event.action.clone(),
        }),
        _ => None,
    }
}

/// A refusal of the domain, in both languages.
pub fn refuse(zh: impl Into<String>, en: impl Into<String>) -> CaseError {
    CaseError::GrantRefused(Text::new(zh, en))
}
