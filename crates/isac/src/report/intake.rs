//! What members say by TAXII becomes casework: an `incident` that carries the extension
//! [`EXTENSION`] is a report (通報), and a `note` of kind FBI is the reply to an alert.
//!
//! It happens before the object is stored and the push is answered: what cannot be a
//! report is refused in the push's status with path and rule, and a push that is
//! repeated finds the case that is there.

use async_trait::async_trait;
use base::CaseId;
use casework::form::Values;
use casework::{CaseError, Who};
use serde_json::Value;
use web::OrgScope;

use super::grant::FORM;
use crate::alert::Reply;
use crate::cert::{By, Cert, CertError, parse};
use crate::kinds;
use crate::taxii::intake::{Intake, Sender};

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
        let casework = self.casework().map_err(|error| error.to_string())?;
        let key = format!("stix-{id}");
        let case = casework
            .start(&who, FORM, Some(org), values, Some(&key))
            .await
            .map_err(|error| told(&error))?;
        if case.submitted_at.is_some() {
            return Ok(());
        }
        casework
            .act(&who, case.id, case.version, "submit", "")
            .await
            .map_err(|error| told(&error))?;
        Ok(())
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
        let remark: String = object["content"]
            .as_str()
            .unwrap_or_default()
            .chars()
            .take(500)
            .collect();
        let by = By {
            user: sender.user,
            request: None,
        };
        match self.reply(&by, &alert, org, reply, &remark).await {
            Ok(()) => Ok(()),
            Err(CertError::Invalid(problems)) => Err(problems.first().map_or_else(
                || "labels: not an answer".to_owned(),
                |problem| format!("labels: {}", problem.message.en),
            )),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// An error of casework as a status of TAXII says it: path and rule.
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
            .join("; "),
        other => format!("extensions.{EXTENSION}: {other}"),
    }
}
