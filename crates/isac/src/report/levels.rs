//! Changes of level: somebody proposes one, an officer who is somebody else decides.

use base::{CaseId, UserId};
use casework::form::Text;
use serde_json::json;

use super::incidents::{Incident, checked};
use super::level::Level;
use super::rules::Clock;
use crate::cert::{By, Cert, CertError, parse};

/// Characters of a reason or a remark.
const REASON_CHARS_MAX: usize = 1_000;

impl Cert {
    /// Proposes another level; returns the change's id.
    ///
    /// # Errors
    /// [`CertError`]: closed, the same level, one waits already, no reason given.
    pub async fn propose_level(
        &self,
        by: &By,
        incident: &Incident,
        to: Level,
        reason: &str,
    ) -> Result<String, CertError> {
        let reason = checked("reason", reason, REASON_CHARS_MAX)?;
        if incident.closed_at.is_some() {
            return Err(CertError::refused("事件已結案", "the incident is closed"));
        }
        let case = incident.case.to_string();
        let mut tx = self.db().begin().await?;
        let (from, waiting): (i64, i64) = sqlx::query_as("SELECT level, (SELECT count(*) FROM isac_level_change c WHERE c.case_id = i.case_id AND c.decided_at IS NULL) FROM isac_incident i WHERE case_id = $1")
            .bind(&case)
            .fetch_one(&mut *tx)
            .await?;
        if waiting > 0 {
            return Err(CertError::refused(
                "已有一項等級變更等待決定",
                "a change of level waits for a decision already",
            ));
        }
        if from == i64::from(to.number()) {
            return Err(CertError::invalid(
                "level",
                &to.number().to_string(),
                "same",
                "與目前等級相同",
                "is the level in force already",
            ));
        }
        let id = uuid::Uuid::now_v7().to_string();
        let now = self.now();
        sqlx::query("INSERT INTO isac_level_change (id, case_id, from_level, to_level, reason, proposed_by, proposed_at, remark) VALUES ($1, $2, $3, $4, $5, $6, $7, '')")
            .bind(&id)
            .bind(&case)
            .bind(from)
            .bind(i64::from(to.number()))
            .bind(&reason)
            .bind(by.user.to_string())
            .bind(now.micros())
            .execute(&mut *tx)
            .await?;
        let text = format!("{from} → {}: {reason}", to.number());
        self.log(
            &mut tx,
            &case,
            now,
            now,
            Some(by.user),
            "level-proposed",
            &text,
        )
        .await?;
        tx.audit(by.entry(
            Some(incident.org),
            "incident.level-propose",
            format!("case:{case}"),
            json!({"from": from, "to": to.number()}),
        ))
        .await?;
        let officers: Vec<UserId> = self.inner.people.officers().await;
        let text = Text::new(
            format!(
                "事件 #{} 有一項等級變更({from} → {})等待決定",
                incident.number,
                to.number()
            ),
            format!(
                "A change of level ({from} → {}) of incident #{} waits for a decision",
                to.number(),
                incident.number
            ),
        );
        let readers: Vec<UserId> = officers.into_iter().filter(|u| *u != by.user).collect();
        self.letter(&mut tx, incident.case, &text, &readers).await?;
        tx.commit().await?;
        Ok(id)
    }

    /// Agrees to a proposed level or refuses it.
    ///
    /// # Errors
    /// [`CertError`]: no such change waits, the same person proposed it, or a refusal
    /// without a word.
    pub async fn decide_level(
        &self,
        by: &By,
        incident: &Incident,
        change: &str,
        agreed: bool,
        remark: &str,
    ) -> Result<(), CertError> {
        let remark = match (agreed, remark.trim()) {
            (true, "") => String::new(),
            (_, remark) => checked("remark", remark, REASON_CHARS_MAX)?,
        };
        let case = incident.case.to_string();
        let mut tx = self.db().begin().await?;
        let found: Option<(String, i64)> = sqlx::query_as("SELECT proposed_by, to_level FROM isac_level_change WHERE id = $1 AND case_id = $2 AND decided_at IS NULL")
            .bind(change)
            .bind(&case)
            .fetch_optional(&mut *tx)
            .await?;
        let Some((proposer, to)) = found else {
            return Err(CertError::refused(
                "這項等級變更已經決定或不存在",
                "this change of level is decided already, or does not exist",
            ));
        };
        let proposer: UserId = parse(&proposer)?;
        if proposer == by.user || incident.reporter == by.user {
            return Err(CertError::refused(
                "四眼原則:須由提出者與通報者以外的人員決定",
                "four eyes: somebody other than the proposer and the reporter must decide",
            ));
        }
        let now = self.now();
        sqlx::query("UPDATE isac_level_change SET decided_by = $2, decided_at = $3, agreed = $4, remark = $5 WHERE id = $1")
            .bind(change)
            .bind(by.user.to_string())
            .bind(now.micros())
            .bind(i64::from(agreed))
            .bind(&remark)
            .execute(&mut *tx)
            .await?;
        if agreed {
            let level = Level::new(to)
                .ok_or_else(|| CertError::Data(format!("a change names level {to}")))?;
            sqlx::query("UPDATE isac_incident SET level = $2, updated_at = $3 WHERE case_id = $1")
                .bind(&case)
                .bind(to)
                .bind(now.micros())
                .execute(&mut *tx)
                .await?;
            self.level_is(&mut tx, &case, level).await?;
            // The new level is handed on like the first one.
            if incident.reviewed_at.is_some() {
                self.forward_again(&mut tx, &case, incident.rules, level)
                    .await?;
            }
        }
        let kind = if agreed {
            "level-agreed"
        } else {
            "level-refused"
        };
        self.log(&mut tx, &case, now, now, Some(by.user), kind, &remark)
            .await?;
        tx.audit(by.entry(
            Some(incident.org),
            "incident.level-decide",
            format!("case:{case}"),
            json!({"to": to, "agreed": agreed}),
        ))
        .await?;
        let (zh, en) = if agreed {
            ("通過", "agreed to")
        } else {
            ("未通過", "refused")
        };
        let text = Text::new(
            format!("事件 #{} 變更為第 {to} 級:{zh}", incident.number),
            format!(
                "The change of incident #{} to level {to} was {en}",
                incident.number
            ),
        );
        let mut readers = vec![incident.reporter];
        if proposer != incident.reporter {
            readers.push(proposer);
        }
        self.letter(&mut tx, incident.case, &text, &readers).await?;
        tx.commit().await?;
        Ok(())
    }

    async fn forward_again(
        &self,
        tx: &mut store::Tx,
        case: &str,
        rules: i64,
        level: Level,
    ) -> Result<(), CertError> {
        let now = self.now();
        let Some(due) = self.rules_version(rules)?.due(Clock::Forward, level, now) else {
            return Ok(());
        };
        sqlx::query("UPDATE isac_clock SET starts_at = $3, due_at = $4, remind_at = $5, met_at = NULL, reminded_at = NULL, escalated_at = NULL WHERE case_id = $1 AND kind = $2")
            .bind(case)
            .bind(Clock::Forward.tag())
            .bind(now.micros())
            .bind(due.micros())
            .bind(super::rules::remind_at(now, due).micros())
            .execute(&mut **tx)
            .await?;
        Ok(())
    }

    /// A letter about an incident.
    pub(crate) async fn letter(
        &self,
        tx: &mut store::Tx,
        case: CaseId,
        text: &Text,
        readers: &[UserId],
    ) -> Result<(), CertError> {
        let casework = self.casework()?;
        let opened = casework.open(&crate::cert::house(), case).await?;
        casework
            .send(
                tx,
                &opened.case,
                text,
                &format!("/incidents/{case}"),
                readers,
            )
            .await?;
        Ok(())
    }
}
