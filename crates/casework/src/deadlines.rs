//! Deadlines: an idempotent look at the open cases that reminds those concerned
//! once before a deadline, and once marks a case overdue and says so to officers.

use base::Timestamp;
use serde_json::json;
use sqlx::AssertSqlSafe;
use store::{Actor, AuditEntry};

use crate::case::{COLUMNS, Case, CaseError, EventKind, case_of};
use crate::engine::Casework;
use crate::notify::Notice;
use crate::workflow::Side;

/// Cases handled in one look; the next look takes the rest.
pub const CASES_PER_LOOK: i64 = 200;

impl Casework {
    /// Reminds and marks what is due at `now`; returns how many cases it touched.
    ///
    /// # Errors
    /// [`CaseError::Store`]; cases already handled stay handled.
    pub async fn look_at_deadlines(&self, now: Timestamp) -> Result<usize, CaseError> {
        let overdue = self.due("due_at <= $1 AND overdue = 0", now).await?;
        for case in &overdue {
            self.mark_overdue(case, now).await?;
        }
        let remind = self.due("remind_at <= $1 AND due_at > $1", now).await?;
        for case in &remind {
            self.remind(case).await?;
        }
        Ok(overdue.len() + remind.len())
    }

    async fn due(&self, condition: &str, now: Timestamp) -> Result<Vec<Case>, CaseError> {
        let text = format!(
            "SELECT {COLUMNS} FROM casework_case WHERE ended = 0 AND {condition} ORDER BY due_at LIMIT $2"
        );
        let rows = sqlx::query(AssertSqlSafe(text))
            .bind(now.micros())
            .bind(CASES_PER_LOOK)
            .fetch_all(self.inner.db.pool())
            .await?;
        rows.iter().map(case_of).collect()
    }

    async fn mark_overdue(&self, case: &Case, now: Timestamp) -> Result<(), CaseError> {
        let officers = self.inner.people.officers().await;
        let mut tx = self.inner.db.begin().await?;
        // The case may have moved between the look and this turn.
        let marked = sqlx::query("UPDATE casework_case SET overdue = 1, remind_at = NULL, version = version + 1 WHERE id = $1 AND ended = 0 AND overdue = 0 AND due_at <= $2")
            .bind(case.id.to_string())
            .bind(now.micros())
            .execute(&mut *tx)
            .await?;
        if marked.rows_affected() == 0 {
            return Ok(());
        }
        self.record(
            &mut tx,
            case,
            None,
            EventKind::Overdue,
            "",
            &case.state,
            &case.state,
            false,
            "",
        )
        .await?;
        let mut readers = officers;
        if self.waits_for(case) == Side::Applicant {
            readers = vec![case.applicant];
        }
        self.notify(&mut tx, case, Notice::Overdue, &readers, None)
            .await?;
        let entry = AuditEntry::new(
            Actor::System("casework.deadlines"),
            "case.overdue",
            format!("case:{}", case.id),
        )
        .detail(json!({"state": case.state}));
        tx.audit(entry).await?;
        tx.commit().await?;
        Ok(())
    }

    async fn remind(&self, case: &Case) -> Result<(), CaseError> {
        let readers = match self.waits_for(case) {
            Side::Applicant => vec![case.applicant],
            Side::Officer => self.reviewers(case).await,
        };
        let mut tx = self.inner.db.begin().await?;
        let taken = sqlx::query("UPDATE casework_case SET remind_at = NULL WHERE id = $1 AND remind_at IS NOT NULL AND version = $2")
            .bind(case.id.to_string())
            .bind(case.version)
            .execute(&mut *tx)
            .await?;
        if taken.rows_affected() == 0 {
            return Ok(());
        }
        self.record(
            &mut tx,
            case,
            None,
            EventKind::Reminder,
            "",
            &case.state,
            &case.state,
            true,
            "",
        )
        .await?;
        self.notify(&mut tx, case, Notice::Reminder, &readers, None)
            .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Which side must move a case: the applicant where they can submit it.
    fn waits_for(&self, case: &Case) -> Side {
        let submits = self.form_of(case).is_ok_and(|form| {
            form.workflow
                .transitions
                .iter()
                .any(|t| t.by == Side::Applicant && t.needs_valid && t.from.contains(&case.state))
        });
        if submits {
            Side::Applicant
        } else {
            Side::Officer
        }
    }
}
