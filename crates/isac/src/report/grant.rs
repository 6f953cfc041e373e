//! What happens to an incident when its case moves: one transaction holds the case's
//! new state, the level, the clocks and the evidence log.

use async_trait::async_trait;
use base::{Timestamp, UserId};
use casework::form::{Text, Values};
use casework::{Case, CaseError, Grant, Granted, Moved, refuse};
use serde_json::Value;
use store::Tx;

use super::level::{Impact, Level};
use super::rules::{Clock, Rules, remind_at};
use crate::cert::{Cert, CertError, Sector, members::Member};

/// The form of real reports.
pub const FORM: &str = "incident-report";
/// The form of drills.
pub const DRILL: &str = "incident-drill";
/// Characters of a report on investigation and improvement, at least.
pub const IMPROVEMENT_CHARS_LEAST: usize = 20;
/// 2000-01-01T00:00:00Z; whoever writes an earlier moment mistyped the year.
const KNOWN_AT_LEAST: Timestamp = Timestamp(946_684_800_000_000);
/// The document of both.
const DOCUMENT: &str = include_str!("../../forms/incident-report.v1.json");

/// The forms, all versions, for casework to register: the report, and the same as a
/// drill, whose notifications stay in the console.
///
/// # Errors
/// [`CertError::Data`] when the built-in document is wrong.
pub fn forms() -> Result<Vec<String>, CertError> {
    let broken = |e: serde_json::Error| CertError::Data(format!("the report's form: {e}"));
    let mut drill: Value = serde_json::from_str(DOCUMENT).map_err(broken)?;
    let title: Text = serde_json::from_value(drill["title"].clone()).map_err(broken)?;
    drill["id"] = DRILL.into();
    drill["inside"] = true.into();
    drill["title"] = serde_json::json!({
        "zh-TW": format!("【演練】{}", title.zh),
        "en": format!("[Drill] {}", title.en),
    });
    Ok(vec![DOCUMENT.to_owned(), drill.to_string()])
}

/// Makes and moves incidents with their cases.
#[derive(Clone)]
pub struct ReportGrant(pub Cert);

fn moment_of(values: &Values, name: &str) -> Option<Timestamp> {
    casework::validate::moment_of(values.get(name)?.as_str()?)
}

fn text_of(values: &Values, name: &str) -> String {
    values
        .get(name)
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}

fn level_of(values: &Values) -> Result<Level, CaseError> {
    Impact::of(values).and_then(Impact::level).ok_or_else(|| {
        refuse(
            "機密性、完整性、可用性三項中至少一項須為 1 級以上",
            "at least one of confidentiality, integrity and availability must be level 1 or more",
        )
    })
}

#[async_trait]
impl Grant for ReportGrant {
    async fn check(
        &self,
        tx: &mut Tx,
        case: &Case,
        values: &Values,
        action: &str,
    ) -> Result<(), CaseError> {
        match action {
            "submit" => {
                level_of(values)?;
                let known = moment_of(values, "known_at").ok_or_else(|| {
                    refuse("知悉時間無法讀取", "the moment of learning cannot be read")
                })?;
                if known > self.0.now() {
                    return Err(refuse(
                        "知悉時間不得晚於現在",
                        "the moment of learning must not lie in the future",
                    ));
                }
                if known < KNOWN_AT_LEAST {
                    return Err(refuse(
                        "知悉時間不得早於西元 2000 年",
                        "the moment of learning must not lie before the year 2000",
                    ));
                }
                if moment_of(values, "happened_at").is_some_and(|happened| happened > known) {
                    return Err(refuse(
                        "發生時間不得晚於知悉時間",
                        "the incident must not have happened after the moment of learning",
                    ));
                }
                Ok(())
            }
            "accept" => {
                let (open,): (i64,) = sqlx::query_as("SELECT count(*) FROM isac_level_change WHERE case_id = $1 AND decided_at IS NULL")
                    .bind(case.id.to_string())
                    .fetch_one(&mut **tx)
                    .await?;
                if open > 0 {
                    return Err(refuse(
                        "還有未決定的等級變更,請先決定再完成審核",
                        "a change of level waits for a decision: decide it before the review is completed",
                    ));
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    async fn grant(
        &self,
        _: &mut Tx,
        case: &Case,
        _: &Values,
        _: UserId,
    ) -> Result<Granted, CaseError> {
        Ok(result_of(case))
    }

    async fn moved(
        &self,
        tx: &mut Tx,
        case: &Case,
        values: &Values,
        step: &Moved<'_>,
    ) -> Result<Option<Granted>, CaseError> {
        let Some(reported) = case.submitted_at else {
            return Ok(None); // A draft that was withdrawn was never a report.
        };
        self.0
            .incident_moved(tx, case, values, step, reported)
            .await?;
        Ok(Some(result_of(case)))
    }
}

fn result_of(case: &Case) -> Granted {
    Granted {
        subject: format!("通報 Incident #{}", case.number),
        path: format!("/incidents/{}", case.id),
    }
}

impl Cert {
    async fn incident_moved(
        &self,
        tx: &mut Tx,
        case: &Case,
        values: &Values,
        step: &Moved<'_>,
        now: Timestamp,
    ) -> Result<(), CertError> {
        // The step's moment, the same in the case and in the incident.
        let now = if step.action == "submit" {
            now
        } else {
            case.updated_at
        };
        if step.action == "submit" {
            self.submitted(tx, case, values, now).await?;
        }
        let (rules, level) = self.rules_of(tx, case).await?;
        match step.action {
            "accept" => {
                self.set(tx, case, "reviewed_at", Some(now)).await?;
                self.meet(tx, case, Clock::Review, Some(now)).await?;
                self.start(tx, case, &rules, Clock::Forward, level, now)
                    .await?;
            }
            "dismiss" => {
                self.set(tx, case, "closed_at", Some(now)).await?;
                self.meet(tx, case, Clock::Review, Some(now)).await?;
            }
            "recover" => {
                self.set(tx, case, "recovered_at", Some(now)).await?;
                self.meet(tx, case, Clock::Recovery, Some(now)).await?;
                self.start(tx, case, &rules, Clock::Improvement, level, now)
                    .await?;
            }
            "reopen" => {
                self.set(tx, case, "recovered_at", None).await?;
                self.meet(tx, case, Clock::Recovery, None).await?;
                sqlx::query("DELETE FROM isac_clock WHERE case_id = $1 AND kind = $2")
                    .bind(case.id.to_string())
                    .bind(Clock::Improvement.tag())
                    .execute(&mut **tx)
                    .await?;
            }
            "improve" => {
                if step.comment.trim().chars().count() < IMPROVEMENT_CHARS_LEAST {
                    return Err(CertError::invalid(
                        "comment",
                        step.comment,
                        "min-length",
                        format!(
                            "調查與改善報告至少 {IMPROVEMENT_CHARS_LEAST} 個字:請說明原因、影響與改善措施"
                        ),
                        format!(
                            "the report on investigation and improvement must have at least {IMPROVEMENT_CHARS_LEAST} characters: cause, effect and what is done about it"
                        ),
                    ));
                }
                self.meet(tx, case, Clock::Improvement, Some(now)).await?;
            }
            "return-improvement" => self.meet(tx, case, Clock::Improvement, None).await?,
            "close" => self.set(tx, case, "closed_at", Some(now)).await?,
            _ => {}
        }
        sqlx::query("UPDATE isac_incident SET state = $2, updated_at = $3 WHERE case_id = $1")
            .bind(case.id.to_string())
            .bind(&case.state)
            .bind(now.micros())
            .execute(&mut **tx)
            .await?;
        self.log(
            tx,
            &case.id.to_string(),
            now,
            now,
            Some(step.by),
            step.action,
            step.comment,
        )
        .await
    }

    /// A report came in, for the first time or corrected.
    async fn submitted(
        &self,
        tx: &mut Tx,
        case: &Case,
        values: &Values,
        now: Timestamp,
    ) -> Result<(), CertError> {
        let id = case.id.to_string();
        let level = level_of(values)?;
        let known = moment_of(values, "known_at").unwrap_or(now);
        let again = sqlx::query("UPDATE isac_incident SET subject = $2, category = $3, level = $4, known_at = $5 WHERE case_id = $1")
            .bind(&id)
            .bind(&case.subject)
            .bind(text_of(values, "category"))
            .bind(i64::from(level.number()))
            .bind(known.micros())
            .execute(&mut **tx)
            .await?;
        if again.rows_affected() > 0 {
            return self.level_is(tx, &id, level).await;
        }
        let org = case.org.ok_or(CaseError::NeedsOrg)?;
        let member: Option<Member> = self.member(org).await?;
        let rules = self.inner.deadlines.at(now).clone();
        sqlx::query("INSERT INTO isac_incident (case_id, number, org, reporter, sector, drill, subject, category, state, level, reported_level, rules, known_at, reported_at, updated_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $10, $11, $12, $13, $13)")
            .bind(&id)
            .bind(case.number.get())
            .bind(org.to_string())
            .bind(case.applicant.to_string())
            .bind(member.map_or(Sector::Other, |member| member.sector).tag())
            .bind(i64::from(case.form == DRILL))
            .bind(&case.subject)
            .bind(text_of(values, "category"))
            .bind(&case.state)
            .bind(i64::from(level.number()))
            .bind(i64::from(rules.version))
            .bind(known.micros())
            .bind(now.micros())
            .execute(&mut **tx)
            .await?;
        self.start(tx, case, &rules, Clock::Report, level, known)
            .await?;
        self.meet(tx, case, Clock::Report, Some(now)).await?;
        self.start(tx, case, &rules, Clock::Review, level, now)
            .await?;
        self.start(tx, case, &rules, Clock::Recovery, level, known)
            .await
    }

    async fn rules_of(&self, tx: &mut Tx, case: &Case) -> Result<(Rules, Level), CertError> {
        let (version, level): (i64, i64) =
            sqlx::query_as("SELECT rules, level FROM isac_incident WHERE case_id = $1")
                .bind(case.id.to_string())
                .fetch_one(&mut **tx)
                .await?;
        Ok((
            self.rules_version(version)?.clone(),
            Level::new(level)
                .ok_or_else(|| CertError::Data(format!("an incident has level {level}")))?,
        ))
    }

    pub(crate) fn rules_version(&self, version: i64) -> Result<&Rules, CertError> {
        u32::try_from(version)
            .ok()
            .and_then(|version| self.inner.deadlines.version(version))
            .ok_or_else(|| CertError::Data(format!("no deadlines version {version}")))
    }

    /// Sets one of the incident's moments. `column` is one of ours.
    async fn set(
        &self,
        tx: &mut Tx,
        case: &Case,
        column: &'static str,
        at: Option<Timestamp>,
    ) -> Result<(), CertError> {
        let text = format!("UPDATE isac_incident SET {column} = $2 WHERE case_id = $1");
        sqlx::query(sqlx::AssertSqlSafe(text))
            .bind(case.id.to_string())
            .bind(at.map(Timestamp::micros))
            .execute(&mut **tx)
            .await?;
        Ok(())
    }

    /// Starts a clock, or starts it again, where these rules have one.
    async fn start(
        &self,
        tx: &mut Tx,
        case: &Case,
        rules: &Rules,
        kind: Clock,
        level: Level,
        start: Timestamp,
    ) -> Result<(), CertError> {
        let Some(due) = rules.due(kind, level, start) else {
            return Ok(());
        };
        sqlx::query("INSERT INTO isac_clock (case_id, kind, starts_at, due_at, remind_at) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (case_id, kind) DO UPDATE SET starts_at = excluded.starts_at, due_at = excluded.due_at, remind_at = excluded.remind_at, met_at = NULL, reminded_at = NULL, escalated_at = NULL")
            .bind(case.id.to_string())
            .bind(kind.tag())
            .bind(start.micros())
            .bind(due.micros())
            .bind(remind_at(start, due).micros())
            .execute(&mut **tx)
            .await?;
        Ok(())
    }

    /// Stops a clock, or lets it run again.
    async fn meet(
        &self,
        tx: &mut Tx,
        case: &Case,
        kind: Clock,
        at: Option<Timestamp>,
    ) -> Result<(), CertError> {
        self.meet_id(tx, &case.id.to_string(), kind, at).await
    }

    pub(crate) async fn meet_id(
        &self,
        tx: &mut Tx,
        case: &str,
        kind: Clock,
        at: Option<Timestamp>,
    ) -> Result<(), CertError> {
        let text = match at {
            // A clock that has stopped keeps its moment.
            Some(_) => {
                "UPDATE isac_clock SET met_at = coalesce(met_at, $3) WHERE case_id = $1 AND kind = $2"
            }
            None => {
                "UPDATE isac_clock SET met_at = $3, reminded_at = NULL, escalated_at = NULL WHERE case_id = $1 AND kind = $2"
            }
        };
        sqlx::query(text)
            .bind(case)
            .bind(kind.tag())
            .bind(at.map(Timestamp::micros))
            .execute(&mut **tx)
            .await?;
        Ok(())
    }

    /// Computes the clocks that still run again, for a new level.
    pub(crate) async fn level_is(
        &self,
        tx: &mut Tx,
        case: &str,
        level: Level,
    ) -> Result<(), CertError> {
        let (version,): (i64,) =
            sqlx::query_as("SELECT rules FROM isac_incident WHERE case_id = $1")
                .bind(case)
                .fetch_one(&mut **tx)
                .await?;
        let rules = self.rules_version(version)?.clone();
        let running: Vec<(String, i64)> = sqlx::query_as(
            "SELECT kind, starts_at FROM isac_clock WHERE case_id = $1 AND met_at IS NULL",
        )
        .bind(case)
        .fetch_all(&mut **tx)
        .await?;
        for (kind, starts_at) in running {
            let start = Timestamp(starts_at);
            let due = Clock::from_tag(&kind).and_then(|kind| rules.due(kind, level, start));
            let Some(due) = due else { continue };
            sqlx::query("UPDATE isac_clock SET due_at = $3, remind_at = $4, escalated_at = NULL WHERE case_id = $1 AND kind = $2")
                .bind(case)
                .bind(&kind)
                .bind(due.micros())
                .bind(remind_at(start, due).micros())
                .execute(&mut **tx)
                .await?;
        }
        Ok(())
    }
}
