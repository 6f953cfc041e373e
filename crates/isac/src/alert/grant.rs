//! Publication of an alert: in one transaction the case is published, recipients are
//! found, and each gets a letter.

use std::time::Duration;

use async_trait::async_trait;
use base::{Timestamp, UserId};
use casework::form::{Text, Values};
use casework::{Case, CaseError, Grant, Granted, Moved, refuse};
use serde_json::Value;
use store::{PageRequest, Tx};

use super::audience::Audience;
use super::letter;
use crate::cert::error::problem;
use crate::cert::{Cert, CertError, write_json};

/// The form's name.
pub const FORM: &str = "alert";
/// Hours to reply when the form does not say.
const REPLY_HOURS: u64 = 72;
/// Recipients of one alert.
pub const RECIPIENTS_MAX: usize = 20_000;

/// The forms of alerts, all versions.
pub fn forms() -> Vec<String> {
    vec![
        include_str!("../../forms/alert.v1.json").to_owned(),
        include_str!("../../forms/alert.v2.json").to_owned(),
    ]
}

/// Publishes and retracts alerts with their cases.
#[derive(Clone)]
pub struct AlertGrant(pub Cert);

pub(crate) fn text<'a>(values: &'a Values, name: &str) -> &'a str {
    values.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn moment(values: &Values, name: &str) -> Option<Timestamp> {
    casework::validate::moment_of(text(values, name))
}

fn result_of(case: &Case) -> Granted {
    Granted {
        subject: format!("警訊 Alert #{}", case.number),
        path: format!("/alerts/{}", case.id),
    }
}

#[async_trait]
impl Grant for AlertGrant {
    async fn check(
        &self,
        _: &mut Tx,
        case: &Case,
        values: &Values,
        action: &str,
    ) -> Result<(), CaseError> {
        if !matches!(action, "submit" | "publish") {
            return Ok(());
        }
        if Audience::of(values).is_none() {
            return Err(refuse(
                "請選擇至少一個領域或填寫資產",
                "choose at least one sector or name an asset",
            ));
        }
        if text(values, "kind") == "ewa" && text(values, "reply") != "verdict" {
            return Err(refuse(
                "預警情資(EWA)必須要求回覆查證結果",
                "an early warning (EWA) must ask for a finding",
            ));
        }
        // Drafts on the first version of the form were not asked for it.
        if text(values, "kind") == "ewa"
            && case.form_version > 1
            && values.get("reply_hours").is_none()
        {
            return Err(CaseError::Invalid(vec![problem(
                "reply_hours",
                "",
                "required",
                "預警情資(EWA)須說明幾小時內回覆",
                "an early warning (EWA) must say within how many hours a reply is due",
            )]));
        }
        if let (Some(first), Some(last)) =
            (moment(values, "first_seen"), moment(values, "last_seen"))
            && last < first
        {
            return Err(CaseError::Invalid(vec![problem(
                "last_seen",
                text(values, "last_seen"),
                "order",
                "不得早於首次發現時間",
                "must not be earlier than it was first seen",
            )]));
        }
        let public = values.get("public").and_then(Value::as_bool) == Some(true);
        if public && text(values, "tlp") != "clear" {
            return Err(refuse(
                "只有 TLP:CLEAR 的警訊可以刊登於公開網站",
                "only TLP:CLEAR alerts may stand on the public site",
            ));
        }
        Ok(())
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
        match step.action {
            "publish" => {
                self.0.publish_alert(tx, case, values, step.by).await?;
                Ok(Some(result_of(case)))
            }
            "retract" => {
                self.0.retract_alert(tx, case, values, step.comment).await?;
                Ok(Some(result_of(case)))
            }
            _ => Ok(None),
        }
    }
}

impl Cert {
    async fn publish_alert(
        &self,
        tx: &mut Tx,
        case: &Case,
        values: &Values,
        by: UserId,
    ) -> Result<(), CertError> {
        let now = case.updated_at;
        let reply = text(values, "reply");
        let hours = values
            .get("reply_hours")
            .and_then(Value::as_u64)
            .unwrap_or(REPLY_HOURS);
        let due: Option<Timestamp> =
            (reply != "none").then(|| now.plus(Duration::from_secs(hours * 3_600)));
        let public = values.get("public").and_then(Value::as_bool) == Some(true);
        let id = case.id.to_string();
        sqlx::query("INSERT INTO isac_alert (case_id, number, kind, tlp, severity, subject, document, reply, public, published_at, published_by, reply_due) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)")
            .bind(&id)
            .bind(case.number.get())
            .bind(text(values, "kind"))
            .bind(text(values, "tlp"))
            .bind(text(values, "severity"))
            .bind(&case.subject)
            .bind(write_json(values)?)
            .bind(reply)
            .bind(i64::from(public))
            .bind(now.micros())
            .bind(by.to_string())
            .bind(due.map(Timestamp::micros))
            .execute(&mut **tx)
            .await?;
        let audience = Audience::of(values).unwrap_or_default();
        let mut request = PageRequest::first(500);
        let mut sent = 0;
        let mut readers = Vec::new();
        loop {
            let page = self.members(&request).await?;
            for member in page.items.iter().filter(|m| audience.includes(m)) {
                sent += 1;
                if sent > RECIPIENTS_MAX {
                    return Err(CertError::refused(
                        format!("收件會員超過 {RECIPIENTS_MAX} 個"),
                        format!("there are more than {RECIPIENTS_MAX} recipients"),
                    ));
                }
                sqlx::query("INSERT INTO isac_recipient (alert, org, sent_at, chased) VALUES ($1, $2, $3, 0)")
                    .bind(&id)
                    .bind(member.org.to_string())
                    .bind(now.micros())
                    .execute(&mut **tx)
                    .await?;
                readers.extend(self.inner.people.members(member.org).await);
            }
            if page.next.is_none() {
                break;
            }
            request.cursor = page.next;
        }
        if sent == 0 && !public {
            return Err(CertError::refused(
                "沒有符合的收件會員,請調整領域或資產",
                "no member matches: change the sectors or assets",
            ));
        }
        let form = self.casework()?.forms().get(&case.form, case.form_version);
        let detail = form.map(|form| letter::facts(&form, values, due));
        let notice = letter::names(case.number, &case.subject, values, &Text::default());
        letter::one_each(&mut readers);
        let path = format!("/alerts/{}", case.id);
        self.casework()?
            .send_with(tx, case, &notice, detail.as_ref(), &path, &readers)
            .await?;
        Ok(())
    }

    async fn retract_alert(
        &self,
        tx: &mut Tx,
        case: &Case,
        values: &Values,
        reason: &str,
    ) -> Result<(), CertError> {
        let id = case.id.to_string();
        sqlx::query(
            "UPDATE isac_alert SET retracted_at = $2, retract_reason = $3 WHERE case_id = $1",
        )
        .bind(&id)
        .bind(case.updated_at.micros())
        .bind(reason.trim())
        .execute(&mut **tx)
        .await?;
        let orgs: Vec<(String,)> =
            sqlx::query_as("SELECT org FROM isac_recipient WHERE alert = $1 ORDER BY org")
                .bind(&id)
                .fetch_all(&mut **tx)
                .await?;
        let mut readers = Vec::new();
        for (org,) in orgs {
            readers.extend(self.inner.people.members(crate::cert::parse(&org)?).await);
        }
        let retracted = Text::new("已撤回", " is retracted");
        let notice = letter::names(case.number, &case.subject, values, &retracted);
        self.tell_members(tx, case, &notice, &mut readers).await
    }

    /// One letter for each person, however many organisations they belong to.
    pub(crate) async fn tell_members(
        &self,
        tx: &mut Tx,
        case: &Case,
        notice: &Text,
        readers: &mut Vec<UserId>,
    ) -> Result<(), CertError> {
        letter::one_each(readers);
        self.casework()?
            .send(tx, case, notice, &format!("/alerts/{}", case.id), readers)
            .await?;
        Ok(())
    }
}
