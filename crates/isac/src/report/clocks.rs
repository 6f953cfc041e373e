//! An idempotent look at the clocks that run: those who must act are reminded once,
//! and once a deadline has passed everybody concerned is told, once.

use base::{CaseId, OrgId, Timestamp, UserId};
use casework::CaseNumber;
use casework::form::Text;
use serde_json::json;
use store::{Actor, AuditEntry};

use super::rules::Clock;
use crate::cert::{Cert, CertError, parse};

/// Clocks handled in one look; the next look takes the rest.
const CLOCKS_PER_LOOK: i64 = 200;

struct Due {
    case: String,
    kind: Clock,
    number: CaseNumber,
    org: OrgId,
    reporter: UserId,
}

impl Clock {
    /// What must be done, for people.
    pub fn name(self) -> Text {
        let (zh, en) = match self {
            Self::Report => ("通報", "report"),
            Self::Review => ("等級審核", "review of the level"),
            Self::Forward => ("轉送審核結果", "forwarding of the result"),
            Self::Recovery => ("損害控制或復原", "damage control or recovery"),
            Self::Improvement => ("調查與改善報告", "report on investigation and improvement"),
        };
        Text::new(zh, en)
    }
}

impl Cert {
    /// Reminds and escalates what is due at `now`; returns how many clocks it touched.
    ///
    /// # Errors
    /// [`CertError`]; what is already handled stays handled.
    pub async fn look_at_clocks(&self, now: Timestamp) -> Result<usize, CertError> {
        let late = self
            .due("k.due_at <= $1 AND k.escalated_at IS NULL", now)
            .await?;
        for due in &late {
            self.escalate(due, now).await?;
        }
        let soon = self
            .due(
                "k.remind_at <= $1 AND k.due_at > $1 AND k.reminded_at IS NULL",
                now,
            )
            .await?;
        for due in &soon {
            self.remind(due, now).await?;
        }
        Ok(late.len() + soon.len())
    }

    async fn due(&self, condition: &'static str, now: Timestamp) -> Result<Vec<Due>, CertError> {
        let text = format!(
            "SELECT k.case_id, k.kind, i.number, i.org, i.reporter FROM isac_clock k JOIN isac_incident i ON i.case_id = k.case_id
             WHERE k.met_at IS NULL AND i.closed_at IS NULL AND {condition} ORDER BY k.due_at LIMIT $2"
        );
        let rows: Vec<(String, String, i64, String, String)> =
            sqlx::query_as(sqlx::AssertSqlSafe(text))
                .bind(now.micros())
                .bind(CLOCKS_PER_LOOK)
                .fetch_all(self.db().pool())
                .await?;
        rows.into_iter()
            .map(|(case, kind, number, org, reporter)| {
                Ok(Due {
                    case,
                    kind: Clock::from_tag(&kind)
                        .ok_or_else(|| CertError::Data(format!("a clock is called {kind:?}")))?,
                    number: CaseNumber::new(number),
                    org: parse(&org)?,
                    reporter: parse(&reporter)?,
                })
            })
            .collect()
    }

    async fn remind(&self, due: &Due, now: Timestamp) -> Result<(), CertError> {
        let readers = if due.kind.of_reporter() {
            vec![due.reporter]
        } else {
            self.inner.people.officers().await
        };
        let name = due.kind.name();
        let text = Text::new(
            format!("事件 #{} 的「{}」即將到期", due.number, name.zh),
            format!("Incident #{}: the {} is due soon", due.number, name.en),
        );
        let mut tx = self.db().begin().await?;
        let taken = sqlx::query("UPDATE isac_clock SET reminded_at = $3 WHERE case_id = $1 AND kind = $2 AND met_at IS NULL AND reminded_at IS NULL")
            .bind(&due.case)
            .bind(due.kind.tag())
            .bind(now.micros())
            .execute(&mut *tx)
            .await?;
        if taken.rows_affected() == 0 {
            return Ok(());
        }
        self.log(
            &mut tx,
            &due.case,
            now,
            now,
            None,
            "reminder",
            due.kind.tag(),
        )
        .await?;
        self.letter(&mut tx, parse::<CaseId>(&due.case)?, &text, &readers)
            .await?;
        tx.commit().await?;
        Ok(())
    }

    async fn escalate(&self, due: &Due, now: Timestamp) -> Result<(), CertError> {
        let mut readers = self.inner.people.officers().await;
        for member in self.inner.people.members(due.org).await {
            if !readers.contains(&member) {
                readers.push(member);
            }
        }
        if !readers.contains(&due.reporter) {
            readers.push(due.reporter);
        }
        let name = due.kind.name();
        let text = Text::new(
            format!("事件 #{} 的「{}」已逾法定期限", due.number, name.zh),
            format!(
                "Incident #{}: the {} is past its statutory deadline",
                due.number, name.en
            ),
        );
        let mut tx = self.db().begin().await?;
        let taken = sqlx::query("UPDATE isac_clock SET escalated_at = $3 WHERE case_id = $1 AND kind = $2 AND met_at IS NULL AND escalated_at IS NULL AND due_at <= $3")
            .bind(&due.case)
            .bind(due.kind.tag())
            .bind(now.micros())
            .execute(&mut *tx)
            .await?;
        if taken.rows_affected() == 0 {
            return Ok(());
        }
        self.log(
            &mut tx,
            &due.case,
            now,
            now,
            None,
            "escalation",
            due.kind.tag(),
        )
        .await?;
        let entry = AuditEntry::new(
            Actor::System("isac.clocks"),
            "incident.escalate",
            format!("case:{}", due.case),
        )
        .org(due.org)
        .detail(json!({"clock": due.kind.tag()}));
        tx.audit(entry).await?;
        self.letter(&mut tx, parse::<CaseId>(&due.case)?, &text, &readers)
            .await?;
        tx.commit().await?;
        Ok(())
    }
}
