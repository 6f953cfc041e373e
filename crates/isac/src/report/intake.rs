//! What members say by TAXII becomes casework: an `incident` that carries the extension
//! [`EXTENSION`] is a report (通報), and a `note` of kind FBI is the reply to an alert.
//!
//! A newer version of an incident that was reported changes the report where it stands: the
//! log says what changed, officers get a letter, and another level waits for a decision.
//!
//! It happens before the object is stored and the push is answered: what cannot be a
//! report is refused in the push's status with path and rule, and a push that is
//! repeated finds the case that is there.

use async_trait::async_trait;
use base::{CaseId, OrgId, Timestamp, UserId};
use casework::engine::Amended;
use casework::form::{Form, Question, Text, Values};
use casework::{CaseError, Who};
use serde_json::Value;
use store::Tx;
use web::OrgScope;

use super::grant::FORM;
use super::incidents::{LOG_CHARS_MAX, LOG_ENTRIES_MAX};
use super::level::Impact;
use crate::alert::Reply;
use crate::alert::grant::text;
use crate::alert::replies::REMARK_CHARS_MAX;
use crate::cert::{By, Cert, CertError, parse};
use crate::kinds::{self, Said};
use crate::taxii::intake::{Intake, Sender};

/// Characters of a value that the log repeats.
const CHANGE_CHARS_MAX: usize = 300;
/// The extension of `incident` that holds the answers to the form of reports.
pub const EXTENSION: &str = "extension-definition--5b6c3b7e-2a39-4a5f-9c1d-6d1f0c7e4a11";

#[async_trait]
impl Intake for Cert {
    async fn take(&self, sender: &Sender, object: &Value) -> Result<(), String> {
        match object["type"].as_str() {
            Some("incident") => self.reported(sender, object).await,
            Some("note") => self.replied(sender, object).await,
            _ => Ok(()),
        }
    }
}

impl Cert {
    async fn reported(&self, sender: &Sender, object: &Value) -> Result<(), String> {
        let Some(answers) = object["extensions"][EXTENSION].as_object() else {
            // An incident that somebody tells about, not one that they report.
            return Ok(());
        };
        let org = sender
            .org
            .ok_or("extensions: a report needs a token that is bound to an organisation")?;
        if !sender.write.contains(org) {
            return Err("extensions: this token may not report for the organisation".to_owned());
        }
        let id = object["id"].as_str().unwrap_or_default();
        if object["revoked"] == Value::Bool(true) {
            return Err("revoked: a report is withdrawn in the console".to_owned());
        }
        let mut values: Values = answers.clone();
        values.remove("extension_type");
        for (name, from) in [
            ("subject", "name"),
            ("description", "description"),
            ("known_at", "created"),
        ] {
            if !values.contains_key(name)
                && let Some(text) = object[from].as_str()
            {
                values.insert(name.to_owned(), text.into());
            }
        }
        let who = Who {
            user: sender.user,
            sees: OrgScope::Only(vec![org]),
            applies: OrgScope::Only(vec![org]),
            officer: false,
            only: Some(org),
            request: None,
        };
        let modified = object["modified"].as_str().unwrap_or_default();
        self.report_is(&who, org, id, modified, values)
            .await
            .map_err(|error| match error {
                CertError::Case(error) => told(&error),
                other => format!("extensions.{EXTENSION}: {other}"),
            })
    }

    /// Takes a version of a report: the first begins the case, a newer one changes it, one
    /// that was seen changes nothing.
    async fn report_is(
        &self,
        who: &Who,
        org: OrgId,
        object: &str,
        modified: &str,
        values: Values,
    ) -> Result<(), CertError> {
        let casework = self.casework()?;
        let key = format!("stix-{object}");
        let row: Option<(String, String)> = sqlx::query_as(
            "SELECT case_id, modified FROM isac_reported WHERE org = $1 AND object = $2",
        )
        .bind(org.to_string())
        .bind(object)
        .fetch_optional(self.db().pool())
        .await?;
        let case = match row {
            Some((_, seen)) if moment(&seen) >= moment(modified) => return Ok(()),
            Some((case, _)) => parse(&case)?,
            None => match casework.keyed(who.user, &key).await? {
                // Left behind by a crash, from when a report was begun and submitted in two steps.
                Some(draft) if draft.submitted_at.is_none() => {
                    let old = casework.values(who, draft.id).await?;
                    let mut all: Values = old
                        .into_iter()
                        .map(|(name, _)| (name, Value::Null))
                        .collect();
                    all.extend(values);
                    let draft = casework.save(who, draft.id, draft.version, all).await?;
                    casework
                        .act(who, draft.id, draft.version, "submit", "")
                        .await?;
                    return Ok(());
                }
                Some(case) => case.id,
                None => {
                    let case = casework
                        .start_submitted(who, FORM, Some(org), values, Some(&key))
                        .await?;
                    let mut tx = self.db().begin().await?;
                    remember(&mut tx, org, object, case.id, modified).await?;
                    tx.commit().await?;
                    return Ok(());
                }
            },
        };
        let mut tx = self.db().begin().await?;
        let amended = casework.amend(&mut tx, who, case, values).await?;
        remember(&mut tx, org, object, case, modified).await?;
        if !amended.changed.is_empty() {
            self.report_changed(&mut tx, who.user, &amended).await?;
        }
        tx.commit().await?;
        self.level_follows(who, org, &amended).await
    }

    /// The incident, its log and the officers learn what a newer version changed.
    async fn report_changed(
        &self,
        tx: &mut Tx,
        by: UserId,
        amended: &Amended,
    ) -> Result<(), CertError> {
        let (case, now) = (&amended.case, self.now());
        let id = case.id.to_string();
        let (entries,): (i64,) = sqlx::query_as("SELECT count(*) FROM isac_log WHERE case_id = $1")
            .bind(&id)
            .fetch_one(&mut **tx)
            .await?;
        if entries >= LOG_ENTRIES_MAX {
            return Err(CertError::refused(
                format!("紀錄已達 {LOG_ENTRIES_MAX} 筆上限"),
                format!("the log holds {LOG_ENTRIES_MAX} entries, which is the limit"),
            ));
        }
        let known = amended.new.get("known_at").and_then(Value::as_str);
        let known = known.and_then(casework::validate::moment_of);
        sqlx::query("UPDATE isac_incident SET subject = $2, category = $3, known_at = coalesce($4, known_at), updated_at = $5 WHERE case_id = $1")
            .bind(&id)
            .bind(&case.subject)
            .bind(text(&amended.new, "category"))
            .bind(known.map(Timestamp::micros))
            .bind(now.micros())
            .execute(&mut **tx)
            .await?;
        let lines = changes(amended);
        self.log(tx, &id, now, now, Some(by), "update", &lines)
            .await?;
        let labels = |english: bool| -> String {
            let names = amended.changed.iter().filter_map(|name| {
                let label = &amended.form.question(name)?.label;
                Some(if english {
                    label.en.as_str()
                } else {
                    label.zh.as_str()
                })
            });
            names
                .collect::<Vec<_>>()
                .join(if english { ", " } else { "、" })
        };
        let notice = Text::new(
            format!("事件 #{} 的通報已更新:{}", case.number, labels(false)),
            format!(
                "The report of incident #{} has changed: {}",
                case.number,
                labels(true)
            ),
        );
        let officers = self.inner.people.officers().await;
        self.casework()?
            .send(tx, case, &notice, &format!("/incidents/{id}"), &officers)
            .await?;
        Ok(())
    }

    /// Another level than the one in force is proposed, for an officer to decide.
    async fn level_follows(
        &self,
        who: &Who,
        org: OrgId,
        amended: &Amended,
    ) -> Result<(), CertError> {
        let level = |values: &Values| Impact::of(values).and_then(Impact::level);
        let (old, new) = (level(&amended.old), level(&amended.new));
        let Some(to) = new.filter(|_| new != old) else {
            return Ok(());
        };
        let scope = OrgScope::Only(vec![org]);
        let incident = self.incident(&scope, amended.case.id).await?;
        if incident.level == to {
            return Ok(());
        }
        let by = By {
            user: who.user,
            request: None,
        };
        let reason = "新版通報的影響程度不同 The newer report tells another impact";
        match self.propose_level(&by, &incident, to, reason).await {
            // One waits already: the log says what this one would have been.
            Ok(_) | Err(CertError::Refused(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn replied(&self, sender: &Sender, object: &Value) -> Result<(), String> {
        let Some((reply, report)) = kinds::reply_of(object) else {
            return Ok(());
        };
        let row: Option<(String,)> =
            sqlx::query_as("SELECT case_id FROM share_report WHERE object = $1")
                .bind(report)
                .fetch_optional(self.db().pool())
                .await
                .map_err(|error| error.to_string())?;
        // A reply to somebody else's alert passes through.
        let Some((case,)) = row else { return Ok(()) };
        let org = sender
            .org
            .ok_or("labels: a reply needs a token that is bound to an organisation")?;
        let reply = Reply::from_tag(reply)
            .ok_or("labels: civicnet-reply must be one of the answers to an alert")?;
        let case: CaseId = parse(&case).map_err(|error| error.to_string())?;
        let scope = OrgScope::Only(vec![org]);
        let alert = match self.alert(&scope, case).await {
            Ok(alert) => alert,
            // It was not sent to this member: nothing to reply to.
            Err(CertError::NotFound { .. }) => return Ok(()),
            Err(error) => return Err(error.to_string()),
        };
        let [remark, found, done] = kinds::words_of(object)
            .map(|text| text.chars().take(REMARK_CHARS_MAX).collect::<String>());
        let said = Said {
            reply,
            remark: &remark,
            found: &found,
            done: &done,
        };
        let by = By {
            user: sender.user,
            request: None,
        };
        match self.reply_with(&by, &alert, org, said).await {
            Ok(()) => Ok(()),
            Err(CertError::Invalid(problems)) => Err(problems.first().map_or_else(
                || "labels: not an answer".to_owned(),
                |problem| format!("labels: {}", problem.message.en),
            )),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// A version's moment; what is none is older than any.
fn moment(modified: &str) -> Option<Timestamp> {
    casework::validate::moment_of(modified)
}

async fn remember(
    tx: &mut Tx,
    org: OrgId,
    object: &str,
    case: CaseId,
    modified: &str,
) -> Result<(), CertError> {
    sqlx::query(
        "INSERT INTO isac_reported (org, object, case_id, modified) VALUES ($1, $2, $3, $4)
         ON CONFLICT (org, object) DO UPDATE SET modified = excluded.modified",
    )
    .bind(org.to_string())
    .bind(object)
    .bind(case.to_string())
    .bind(modified)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// What changed, a line for each field; personal data is named, not repeated.
fn changes(amended: &Amended) -> String {
    let shown = |question: &Question, values: &Values| -> String {
        let text = Form::show(values.get(&question.name)).replace('\n', " ");
        let text = question
            .options
            .get(&text)
            .map_or(text, |option| option.zh.clone());
        let mut short: String = text.chars().take(CHANGE_CHARS_MAX).collect();
        if short.len() < text.len() {
            short.push('…');
        }
        if short.is_empty() {
            "–".to_owned()
        } else {
            short
        }
    };
    let lines = amended.changed.iter().filter_map(|name| {
        let question = amended.form.question(name)?;
        let label = format!("{} {}", question.label.zh, question.label.en);
        Some(match amended.form.personal(name) {
            true => label,
            false => format!(
                "{label}: {} → {}",
                shown(question, &amended.old),
                shown(question, &amended.new)
            ),
        })
    });
    let text = lines.collect::<Vec<_>>().join("\n");
    text.chars().take(LOG_CHARS_MAX).collect()
}

/// An error of casework as a status of TAXII says it: path and rule, a line each.
fn told(error: &CaseError) -> String {
    match error {
        CaseError::Invalid(problems) => problems
            .iter()
            .map(|problem| {
                format!(
                    "extensions.{EXTENSION}.{}: {}",
                    problem.field, problem.message.en
                )
            })
            .collect::<Vec<_>>()
            .join("\n"),
        other => format!("extensions.{EXTENSION}: {other}"),
    }
}
