//! Alerts as they are read: by officers all, by a member those that were sent to it.

use std::sync::Arc;

use base::{CaseId, OrgId, Timestamp, UserId};
use casework::CaseNumber;
use casework::form::{Form, Question, Values};
use serde_json::Value;
use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Row as _};
use store::{Page, PageRequest};
use web::OrgScope;

use super::replies::Reply;
use crate::cert::{Cert, CertError, parse, read_json};

/// A published alert.
#[derive(Debug, Clone, PartialEq)]
pub struct Alert {
    /// Its case.
    pub case: CaseId,
    /// Names it to people.
    pub number: CaseNumber,
    /// `ana`, `ewa`, `def` or `int`.
    pub kind: String,
    /// `clear`, `green`, `amber`, `amber-strict` or `red`.
    pub tlp: String,
    /// `low`, `medium`, `high` or `critical`.
    pub severity: String,
    /// Its title.
    pub subject: String,
    /// The form's values.
    pub document: Values,
    /// `none`, `acknowledge` or `verdict`.
    pub reply: String,
    /// Whether it stands on the public site.
    pub public: bool,
    /// When it was published.
    pub published_at: Timestamp,
    /// When replies are due.
    pub reply_due: Option<Timestamp>,
    /// When it was retracted.
    pub retracted_at: Option<Timestamp>,
    /// Why.
    pub retract_reason: String,
    /// Members that it was sent to, within the reader's scope.
    pub recipients: i64,
    /// How many of them replied.
    pub replied: i64,
}

/// A member that an alert was sent to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    /// The member.
    pub org: OrgId,
    /// When it was sent.
    pub sent_at: Timestamp,
    /// When somebody there opened it first.
    pub read_at: Option<Timestamp>,
    /// What was replied.
    pub reply: Option<Reply>,
    /// What was written with it.
    pub remark: String,
    /// What was found.
    pub found: String,
    /// What was done.
    pub done: String,
    /// Who replied.
    pub replied_by: Option<UserId>,
    /// When.
    pub replied_at: Option<Timestamp>,
    /// How often the reply was asked for again.
    pub chased: i64,
}

fn alert_of(row: &AnyRow) -> Result<Alert, CertError> {
    let optional = |name: &str| -> Result<Option<Timestamp>, CertError> {
        Ok(row.try_get::<Option<i64>, _>(name)?.map(Timestamp))
    };
    Ok(Alert {
        case: parse(&row.try_get::<String, _>("case_id")?)?,
        number: CaseNumber::new(row.try_get("number")?),
        kind: row.try_get("kind")?,
        tlp: row.try_get("tlp")?,
        severity: row.try_get("severity")?,
        subject: row.try_get("subject")?,
        document: read_json(&row.try_get::<String, _>("document")?)?,
        reply: row.try_get("reply")?,
        public: row.try_get::<i64, _>("public")? != 0,
        published_at: Timestamp(row.try_get("published_at")?),
        reply_due: optional("reply_due")?,
        retracted_at: optional("retracted_at")?,
        retract_reason: row
            .try_get::<Option<String>, _>("retract_reason")?
            .unwrap_or_default(),
        recipients: row.try_get("recipients")?,
        replied: row.try_get("replied")?,
    })
}

/// The columns of an alert, with counts of recipients under a condition on `r.org`.
fn columns(tenants: &str) -> String {
    format!(
        "a.case_id, a.number, a.kind, a.tlp, a.severity, a.subject, a.document, a.reply, a.public, a.published_at, a.reply_due, a.retracted_at, a.retract_reason,
         (SELECT count(*) FROM isac_recipient r WHERE r.alert = a.case_id AND {tenants}) AS recipients,
         (SELECT count(*) FROM isac_recipient r WHERE r.alert = a.case_id AND r.replied_at IS NOT NULL AND {tenants}) AS replied"
    )
}

/// A member's list holds what was sent to it; officers' lists hold everything.
fn sent_to(scope: &OrgScope, tenants: &str) -> String {
    match scope {
        OrgScope::All => "1=1".to_owned(),
        OrgScope::Only(_) => format!(
            "EXISTS (SELECT 1 FROM isac_recipient r WHERE r.alert = a.case_id AND {tenants})"
        ),
    }
}

impl Alert {
    /// The sub-kind; empty for alerts from before there were any.
    pub fn subkind(&self) -> &str {
        crate::kinds::subkind_of(&self.kind, &self.document)
    }

    /// What the form asks of this kind only, in its order: the questions that have an answer.
    pub fn details<'a>(&'a self, form: &'a Form) -> Vec<(&'a Question, &'a Value)> {
        form.questions()
            .filter(|one| !one.when.is_empty() && one.when.holds(&self.document))
            .filter(|one| one.name != crate::kinds::subkind_field(&self.kind))
            .filter_map(|one| Some((one, self.document.get(&one.name)?)))
            .collect()
    }
}

impl Cert {
    /// The form of alerts, as new ones are written; none while casework is not joined.
    pub fn alert_form(&self) -> Option<Arc<Form>> {
        self.casework().ok()?.forms().newest(super::FORM)
    }

    /// A page of alerts within a scope, newest first.
    ///
    /// # Errors
    /// [`CertError::Store`], also for a wrong cursor.
    pub async fn alerts(
        &self,
        scope: &OrgScope,
        request: &PageRequest,
    ) -> Result<Page<Alert>, CertError> {
        const LIST: &str = "alerts";
        // Identifiers are UUIDv7 text: in order of time, and below this end.
        let after: String = request.after(LIST)?.unwrap_or_else(|| "~".to_owned());
        let (tenants, orgs) = scope.sql("r.org", 3);
        let text = format!(
            "SELECT {} FROM isac_alert a WHERE a.case_id < $1 AND {} ORDER BY a.case_id DESC LIMIT $2",
            columns(&tenants),
            sent_to(scope, &tenants)
        );
        let mut query = sqlx::query(AssertSqlSafe(text))
            .bind(after)
            .bind(request.fetch());
        for org in orgs {
            query = query.bind(org);
        }
        let rows = query.fetch_all(self.db().pool()).await?;
        let alerts: Vec<Alert> = rows.iter().map(alert_of).collect::<Result<_, _>>()?;
        Ok(request.page(LIST, alerts, |alert| alert.case.to_string())?)
    }

    /// One alert within a scope.
    ///
    /// # Errors
    /// [`CertError::NotFound`] when it is not there or not to be seen.
    pub async fn alert(&self, scope: &OrgScope, case: CaseId) -> Result<Alert, CertError> {
        let (tenants, orgs) = scope.sql("r.org", 2);
        let text = format!(
            "SELECT {} FROM isac_alert a WHERE a.case_id = $1 AND {}",
            columns(&tenants),
            sent_to(scope, &tenants)
        );
        let mut query = sqlx::query(AssertSqlSafe(text)).bind(case.to_string());
        for org in orgs {
            query = query.bind(org);
        }
        let row = query.fetch_optional(self.db().pool()).await?;
        match row {
            Some(row) => alert_of(&row),
            None => Err(CertError::not_found("alert", case)),
        }
    }

    /// Alerts that stand on the public site, newest first.
    ///
    /// # Errors
    /// [`CertError::Store`], also for a wrong cursor.
    pub async fn public_alerts(&self, request: &PageRequest) -> Result<Page<Alert>, CertError> {
        const LIST: &str = "public-alerts";
        // Identifiers are UUIDv7 text: in order of time, and below this end.
        let after: String = request.after(LIST)?.unwrap_or_else(|| "~".to_owned());
        // How many were sent and answered is nobody's business outside.
        let text = format!(
            "SELECT {} FROM isac_alert a WHERE a.public = 1 AND a.tlp = 'clear' AND a.retracted_at IS NULL AND a.case_id < $1 ORDER BY a.case_id DESC LIMIT $2",
            columns("1=0")
        );
        let rows = sqlx::query(AssertSqlSafe(text))
            .bind(after)
            .bind(request.fetch())
            .fetch_all(self.db().pool())
            .await?;
        let alerts: Vec<Alert> = rows.iter().map(alert_of).collect::<Result<_, _>>()?;
        Ok(request.page(LIST, alerts, |alert| alert.case.to_string())?)
    }

    /// One alert that stands on the public site.
    ///
    /// # Errors
    /// [`CertError::NotFound`].
    pub async fn public_alert(&self, number: i64) -> Result<Alert, CertError> {
        let text = format!(
            "SELECT {} FROM isac_alert a WHERE a.number = $1 AND a.public = 1 AND a.tlp = 'clear' AND a.retracted_at IS NULL",
            columns("1=0")
        );
        let row = sqlx::query(AssertSqlSafe(text))
            .bind(number)
            .fetch_optional(self.db().pool())
            .await?;
        match row {
            Some(row) => alert_of(&row),
            None => Err(CertError::not_found("advisory", number)),
        }
    }

    /// One alert that stood on the public site and was taken back.
    ///
    /// # Errors
    /// [`CertError::NotFound`].
    pub async fn withdrawn_alert(&self, number: i64) -> Result<Alert, CertError> {
        let text = format!(
            "SELECT {} FROM isac_alert a WHERE a.number = $1 AND a.public = 1 AND a.tlp = 'clear' AND a.retracted_at IS NOT NULL",
            columns("1=0")
        );
        let row = sqlx::query(AssertSqlSafe(text))
            .bind(number)
            .fetch_optional(self.db().pool())
            .await?;
        match row {
            Some(row) => alert_of(&row),
            None => Err(CertError::not_found("advisory", number)),
        }
    }

    /// The recipients of an alert within a scope: a member sees only itself.
    ///
    /// # Errors
    /// [`CertError::Store`], also for a wrong cursor.
    pub async fn recipients(
        &self,
        scope: &OrgScope,
        alert: CaseId,
        request: &PageRequest,
    ) -> Result<Page<Recipient>, CertError> {
        const LIST: &str = "recipients";
        let after: String = request.after(LIST)?.unwrap_or_default();
        let (tenants, orgs) = scope.sql("org", 4);
        let text = format!(
            "SELECT org, sent_at, read_at, reply, remark, found, done, replied_by, replied_at, chased FROM isac_recipient WHERE alert = $1 AND org > $2 AND {tenants} ORDER BY org LIMIT $3"
        );
        let mut query = sqlx::query(AssertSqlSafe(text))
            .bind(alert.to_string())
            .bind(after)
            .bind(request.fetch());
        for org in orgs {
            query = query.bind(org);
        }
        let rows = query.fetch_all(self.db().pool()).await?;
        let recipients: Vec<Recipient> = rows
            .iter()
            .map(|row| {
                let optional = |name: &str| -> Result<Option<Timestamp>, CertError> {
                    Ok(row.try_get::<Option<i64>, _>(name)?.map(Timestamp))
                };
                let written = |name: &str| -> Result<String, CertError> {
                    Ok(row.try_get::<Option<String>, _>(name)?.unwrap_or_default())
                };
                Ok(Recipient {
                    org: parse(&row.try_get::<String, _>("org")?)?,
                    sent_at: Timestamp(row.try_get("sent_at")?),
                    read_at: optional("read_at")?,
                    reply: row
                        .try_get::<Option<String>, _>("reply")?
                        .and_then(|reply| Reply::from_tag(&reply)),
                    remark: written("remark")?,
                    found: written("found")?,
                    done: written("done")?,
                    replied_by: row
                        .try_get::<Option<String>, _>("replied_by")?
                        .map(|user| parse(&user))
                        .transpose()?,
                    replied_at: optional("replied_at")?,
                    chased: row.try_get("chased")?,
                })
            })
            .collect::<Result<_, CertError>>()?;
        Ok(request.page(LIST, recipients, |recipient| recipient.org.to_string())?)
    }

    /// How many alerts wait for a reply of these members.
    ///
    /// # Errors
    /// [`CertError::Store`].
    pub async fn replies_waiting(&self, scope: &OrgScope) -> Result<i64, CertError> {
        let (tenants, orgs) = scope.sql("r.org", 1);
        let text = format!(
            "SELECT count(*) FROM isac_recipient r JOIN isac_alert a ON a.case_id = r.alert WHERE r.replied_at IS NULL AND a.reply <> 'none' AND a.retracted_at IS NULL AND {tenants}"
        );
        let mut query = sqlx::query_as(AssertSqlSafe(text));
        for org in orgs {
            query = query.bind(org);
        }
        let (count,): (i64,) = query.fetch_one(self.db().pool()).await?;
        Ok(count)
    }
}
