//! What people do with a case: begin, fill in, act, write, give to an officer. Each is one
//! transaction with its time-line, notifications and audit entry.

use std::collections::BTreeMap;
use std::sync::Arc;

use base::{CaseId, OrgId, Timestamp, UserId};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Row as _};
use store::Tx;

use super::{Casework, DRAFTS_MAX, EVENTS_MAX, Moved, Opened, Proof, Who, editable, load};
use crate::case::{
    COLUMNS, COMMENT_CHARS_MAX, Case, CaseError, EventKind, case_of, id, write_json,
};
use crate::form::{Form, Values};
use crate::notify;
use crate::number::CaseNumber;
use crate::validate::Completeness;
use crate::workflow::{SUBMIT, Side, Taken};

/// A submission after a newer version of it came.
#[derive(Debug, Clone)]
pub struct Amended {
    /// The case as it has become.
    pub case: Case,
    /// The form that it is written on.
    pub form: Arc<Form>,
    /// The fields that changed, in the order of the form.
    pub changed: Vec<String>,
    /// The values before.
    pub old: Values,
    /// The values after.
    pub new: Values,
}

impl Casework {
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
        let mut tx = self.inner.db.begin().await?;
        let case = self
            .start_in(&mut tx, who, form, org, values, idempotency)
            .await?;
        tx.commit().await?;
        Ok(case)
    }

    /// Begins a case and submits it, both or neither: what is refused leaves no draft, and
    /// nobody hears of it. The same `idempotency` from the same person gives the same case.
    ///
    /// # Errors
    /// As [`Self::start`] and [`Self::act`].
    pub async fn start_submitted(
        &self,
        who: &Who,
        form: &str,
        org: Option<OrgId>,
        values: Values,
        idempotency: Option<&str>,
    ) -> Result<Case, CaseError> {
        let mut tx = self.inner.db.begin().await?;
        let case = self
            .start_in(&mut tx, who, form, org, values, idempotency)
            .await?;
        // A repeated request finds the case submitted.
        if case.submitted_at.is_some() {
            return Ok(case);
        }
        let (case, granted) = self
            .act_in(&mut tx, who, case.id, case.version, SUBMIT, "")
            .await?;
        tx.commit().await?;
        self.after_grant(&case, granted).await;
        Ok(case)
    }

    /// What a request with an idempotency key asked for; keyed, because it covers personal data.
    fn request_digest(
        &self,
        form: &str,
        org: Option<OrgId>,
        values: &Values,
    ) -> Result<String, CaseError> {
        let sorted: BTreeMap<&String, &Value> = values.iter().collect();
        let asked = write_json(&(form, org.map(|org| org.to_string()), sorted))?;
        let vault = &self.inner.vault;
        Ok(vault.blind_index("casework_case.idempotency_digest", asked.as_bytes()))
    }

    async fn start_in(
        &self,
        tx: &mut Tx,
        who: &Who,
        form: &str,
        org: Option<OrgId>,
        mut values: Values,
        idempotency: Option<&str>,
    ) -> Result<Case, CaseError> {
        let form = self
            .inner
            .forms
            .newest(form)
            .filter(|found| found.begun_by == Side::Applicant || who.officer)
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
        let user = who.user.to_string();
        let digest = self.request_digest(&form.id, org, &values)?;
        if let Some(key) = idempotency {
            let found = sqlx::query(AssertSqlSafe(format!(
                "SELECT {COLUMNS}, idempotency_digest FROM casework_case WHERE applicant = $1 AND idempotency = $2"
            )))
            .bind(&user)
            .bind(key)
            .fetch_optional(&mut **tx)
            .await?;
            if let Some(row) = found {
                // Cases from before the digest was kept have none.
                let first: Option<String> = row.try_get("idempotency_digest")?;
                if first.is_some_and(|first| first != digest) {
                    return Err(CaseError::KeyReused);
                }
                return case_of(&row);
            }
        }
        let kept: Vec<String> = values.keys().cloned().collect();
        form.settle(&mut values, &kept);
        let drafts: i64 = sqlx::query_scalar("SELECT count(*) FROM casework_case WHERE applicant = $1 AND submitted_at IS NULL AND ended = 0")
            .bind(&user)
            .fetch_one(&mut **tx)
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
            "INSERT INTO casework_case (id, number, form, form_version, org, applicant, state, ended, version, subject, created_at, updated_at, overdue, clear, personal, idempotency, idempotency_digest)
             VALUES ($1, $13, $2, $3, $4, $5, $6, 0, 1, $7, $8, $8, 0, $9, $10, $11, $12)",
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
        .bind(idempotency.map(|_| digest))
        .bind(CaseNumber::draw(tx).await?.get())
        .execute(&mut **tx)
        .await?;
        let case = load(tx, case_id).await?;
        self.record(
            tx,
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
            tx,
            who,
            &case,
            "case.create",
            json!({"form": form.id, "version": form.version}),
        )
        .await?;
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
        let mut said = Vec::new();
        for (name, value) in changes {
            if value.is_null() {
                values.remove(&name);
            } else {
                said.push(name.clone());
                values.insert(name, value);
            }
        }
        // What was answered before another choice was made goes with the choice.
        form.settle(&mut values, &said);
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
        let mut tx = self.inner.db.begin().await?;
        let (after, granted) = self
            .act_in(&mut tx, who, case, version, action, comment)
            .await?;
        tx.commit().await?;
        self.after_grant(&after, granted).await;
        Ok(after)
    }

    /// The case after the step, and whether it was granted by it.
    async fn act_in(
        &self,
        tx: &mut Tx,
        who: &Who,
        case: CaseId,
        version: i64,
        action: &str,
        comment: &str,
    ) -> Result<(Case, bool), CaseError> {
        check_comment(comment)?;
        let before = self.seen(tx, who, case).await?;
        expect_version(&before, version)?;
        let form = self.form_of(&before)?;
        let history = history(tx, case).await?;
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
        let values = self.read_values(tx, case).await?;
        if step.needs_valid {
            self.check_values(&form, &values, Completeness::Whole)?;
        }
        let grant = self.inner.grants.get(&form.id);
        if let Some(grant) = grant {
            grant.check(tx, &before, &values, action).await?;
        }
        let now = self.now();
        let due = form.workflow.due(&step.to, now);
        let submitted = if action == SUBMIT {
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
        .execute(&mut **tx)
        .await?;
        if step.to == form.workflow.grants
            && let Some(grant) = grant
        {
            let granted = grant.grant(tx, &before, &values, who.user).await?;
            sqlx::query("UPDATE casework_case SET result = $2 WHERE id = $1")
                .bind(case.to_string())
                .bind(write_json(&granted)?)
                .execute(&mut **tx)
                .await?;
        }
        let mut after = load(tx, case).await?;
        if let Some(grant) = grant {
            let step = Moved {
                action,
                from: &before.state,
                by: who.user,
                comment,
            };
            if let Some(result) = grant.moved(tx, &after, &values, &step).await? {
                sqlx::query("UPDATE casework_case SET result = $2 WHERE id = $1")
                    .bind(case.to_string())
                    .bind(write_json(&result)?)
                    .execute(&mut **tx)
                    .await?;
                after.result = Some(result);
            }
        }
        self.record(
            tx,
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
            tx,
            who,
            &after,
            &format!("case.{action}"),
            json!({"from": before.state, "to": after.state}),
        )
        .await?;
        let notice = notify::Notice::step(&step, action);
        let readers = match step.by {
            // A draft that is withdrawn was never seen by those who review.
            Side::Applicant if after.submitted_at.is_none() => Vec::new(),
            Side::Applicant => self.reviewers(&after).await,
            Side::Officer => vec![after.applicant],
        };
        let told = step.told.as_ref();
        self.notify_told(tx, &after, notice, told, &readers, Some(who.user))
            .await?;
        Ok((after, step.to == form.workflow.grants))
    }

    /// Tells the domain that a grant is kept.
    async fn after_grant(&self, case: &Case, granted: bool) {
        if let Some(grant) = self.inner.grants.get(&case.form).filter(|_| granted) {
            grant.granted().await;
        }
    }

    /// Takes a newer version of what was submitted from the applicant's side, while the case
    /// goes on where it stands: nothing is answered again, and those who review are told by
    /// the domain. Returns the names of what changed, the values before and after.
    ///
    /// # Errors
    /// [`CaseError`]: not seen, a draft or ended, or the values break the form's or the
    /// domain's rules.
    pub async fn amend(
        &self,
        tx: &mut Tx,
        who: &Who,
        case: CaseId,
        values: Values,
    ) -> Result<Amended, CaseError> {
        let before = self.seen(tx, who, case).await?;
        let asking = who.asking(&before);
        if !asking.applicant || before.submitted_at.is_none() || before.ended {
            return Err(crate::workflow::Refusal::NotNow {
                state: before.state,
                action: "amend".into(),
            }
            .into());
        }
        let form = self.form_of(&before)?;
        let mut values = values;
        self.check_values(&form, &values, Completeness::Whole)?;
        let said: Vec<String> = values.keys().cloned().collect();
        form.settle(&mut values, &said);
        if let Some(grant) = self.inner.grants.get(&form.id) {
            grant.check(tx, &before, &values, SUBMIT).await?;
        }
        let old = self.read_values(tx, case).await?;
        let changed: Vec<String> = form
            .questions()
            .map(|question| question.name.clone())
            .filter(|name| old.get(name) != values.get(name))
            .collect();
        if changed.is_empty() {
            return Ok(Amended {
                case: before,
                form,
                changed,
                old,
                new: values,
            });
        }
        let (clear, personal) = form.split(&values);
        sqlx::query("UPDATE casework_case SET clear = $2, personal = $3, subject = $4, version = version + 1, updated_at = $5 WHERE id = $1")
            .bind(case.to_string())
            .bind(write_json(&clear)?)
            .bind(self.seal(case, &personal)?)
            .bind(subject_of(&form, &values))
            .bind(self.now().micros())
            .execute(&mut **tx)
            .await?;
        let after = load(tx, case).await?;
        self.audit(tx, who, &after, "case.amend", json!({"fields": changed}))
            .await?;
        Ok(Amended {
            case: after,
            form,
            changed,
            old,
            new: values,
        })
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
        if !(asking.officer || asking.applicant && !internal) {
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
}

pub(super) fn expect_version(case: &Case, expected: i64) -> Result<(), CaseError> {
    if case.version == expected {
        return Ok(());
    }
    Err(CaseError::Changed {
        number: case.number,
        expected,
        found: case.version,
    })
}

pub(super) fn check_comment(text: &str) -> Result<(), CaseError> {
    if text.chars().count() > COMMENT_CHARS_MAX || text.contains('\0') {
        return Err(CaseError::Limit {
            what: "characters of a comment",
            most: COMMENT_CHARS_MAX as u64,
        });
    }
    Ok(())
}

pub(super) fn subject_of(form: &Form, values: &Values) -> String {
    let text = Form::show(values.get(&form.subject));
    let line = text.lines().next().unwrap_or_default();
    line.chars().take(120).collect()
}

pub(super) async fn history(tx: &mut Tx, case: CaseId) -> Result<Vec<Taken>, CaseError> {
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
