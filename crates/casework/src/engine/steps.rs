//! What people do with a case: begin, fill in, act, write, give to an officer. Each is one
//! transaction with its time-line, notifications and audit entry.

use base::{CaseId, OrgId, Timestamp, UserId};
use serde_json::json;
use sqlx::AssertSqlSafe;
use store::Tx;

use super::{Casework, DRAFTS_MAX, EVENTS_MAX, Moved, Opened, Proof, Who, editable, load};
use crate::case::{
    COLUMNS, COMMENT_CHARS_MAX, Case, CaseError, EventKind, case_of, id, write_json,
};
use crate::form::{Form, Values};
use crate::notify;
use crate::number::CaseNumber;
use crate::validate::Completeness;
use crate::workflow::{Side, Taken};

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
             VALUES ($1, $12, $2, $3, $4, $5, $6, 0, 1, $7, $8, $8, 0, $9, $10, $11)",
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
        .bind(CaseNumber::draw(&mut tx).await?.get())
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
        let mut after = load(&mut tx, case).await?;
        if let Some(grant) = grant {
            let step = Moved {
                action,
                from: &before.state,
                by: who.user,
                comment,
            };
            if let Some(result) = grant.moved(&mut tx, &after, &values, &step).await? {
                sqlx::query("UPDATE casework_case SET result = $2 WHERE id = $1")
                    .bind(case.to_string())
                    .bind(write_json(&result)?)
                    .execute(&mut *tx)
                    .await?;
                after.result = Some(result);
            }
        }
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
