//! Deliveries leave the house: mail by SMTP (RFC 5321), web hooks by HTTPS with an
//! HMAC-SHA-256 signature. Each is tried until it succeeds, with growing pauses;
//! after [`ATTEMPTS_MAX`] it is dead, and operators see it and can try again.
//!
//! They have a queue of their own beside the store's outbox, because that delivers
//! in order, and one dead mail server must not hold up everything behind it.

use std::time::Duration;

use base::{OrgId, Timestamp, UserId};
use lettre::message::Mailbox;
use lettre::message::header::{HeaderName, HeaderValue, MIME_VERSION_1_0};
use lettre::transport::smtp::authentication::Credentials;
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use ring::{hmac, rand};
use serde_json::json;
use sqlx::Row as _;
use sqlx::any::AnyRow;
use store::{Actor, AuditEntry, Page, PageRequest};

use crate::case::{CaseError, id};
use crate::config::{SmtpConfig, SmtpEncryption};
use crate::engine::{Casework, Who};
use crate::form::Text;
use crate::notify::Notice;
use crate::number::CaseNumber;
use crate::validate::Problem;

/// Tries before a delivery is dead.
pub const ATTEMPTS_MAX: i64 = 10;
/// Pause after the first failure; doubles each time.
pub const PAUSE_FIRST: Duration = Duration::from_secs(30);
/// Longest pause.
pub const PAUSE_MAX: Duration = Duration::from_secs(6 * 3_600);
/// Deliveries tried in one look.
pub const DELIVERIES_PER_LOOK: i64 = 50;
/// Web hooks of one organisation.
pub const WEBHOOKS_MAX: i64 = 10;
/// Days that delivered rows are kept.
pub const KEPT_DAYS: u64 = 30;
/// Time for one hand-over of mail.
const SMTP_TIMEOUT: Duration = Duration::from_secs(20);
/// Bytes of a web hook's answer that are read.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// A delivery as operators see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Names it.
    pub id: String,
    /// `email` or `webhook`.
    pub channel: String,
    /// The reader or the web hook, by id.
    pub target: String,
    /// What it says.
    pub notice: String,
    /// When it was promised.
    pub created_at: Timestamp,
    /// Tries so far.
    pub attempts: i64,
    /// When it is tried next.
    pub next_at: Timestamp,
    /// `queued`, `sent` or `dead`.
    pub state: String,
    /// Why the last try failed.
    pub error: String,
}

/// An organisation's web hook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Names it.
    pub id: String,
    /// Where notifications go.
    pub url: String,
    /// When it was made.
    pub created_at: Timestamp,
}

/// Why a mail was not handed over.
#[derive(Debug)]
struct Undelivered {
    why: String,
    /// Nobody answers at the mail server.
    unreachable: bool,
}

impl From<String> for Undelivered {
    fn from(why: String) -> Self {
        Self {
            why,
            unreachable: false,
        }
    }
}

struct Due {
    id: String,
    channel: String,
    target: String,
    notice: String,
    attempts: i64,
    case: String,
    number: CaseNumber,
    subject: String,
    state: String,
    form: String,
    text: Option<Text>,
    /// Facts below the sentence of a mail.
    detail: Option<Text>,
    path: String,
    /// Whether it leads to a page of its own, not to the case.
    elsewhere: bool,
}

impl Casework {
    /// Tries what is due at `now`; returns how many were tried.
    ///
    /// # Errors
    /// [`CaseError::Store`]; a delivery that fails is no error here.
    pub async fn deliver(&self, now: Timestamp) -> Result<usize, CaseError> {
        let rows = sqlx::query(
            "SELECT d.id, d.channel, d.target, d.notice, d.attempts, d.case_id, d.text, d.path, d.detail, d.unnamed, c.number, c.subject, c.state, c.form
             FROM casework_delivery d JOIN casework_case c ON c.id = d.case_id
             WHERE d.state = 'queued' AND d.next_at <= $1 ORDER BY d.next_at, d.id LIMIT $2",
        )
        .bind(now.micros())
        .bind(DELIVERIES_PER_LOOK)
        .fetch_all(self.inner.db.pool())
        .await?;
        let mut mail_waits = false;
        for row in &rows {
            let due = due_of(row)?;
            let outcome = match due.channel.as_str() {
                // Each would wait as long for nobody, and what comes behind it too.
                "email" if mail_waits => continue,
                "email" => self.mail(&due).await.map_err(|undelivered| {
                    mail_waits = undelivered.unreachable;
                    undelivered.why
                }),
                _ => self.call(&due, now).await,
            };
            self.settle(&due, outcome, now).await?;
        }
        if mail_waits {
            self.postpone_mail(now).await?;
        }
        if rows.is_empty() {
            self.prune(now).await?;
        }
        Ok(rows.len())
    }

    /// Mail that is due waits for a server that does not answer; this is no try.
    async fn postpone_mail(&self, now: Timestamp) -> Result<(), CaseError> {
        let mut tx = self.inner.db.begin().await?;
        sqlx::query("UPDATE casework_delivery SET next_at = $2 WHERE channel = 'email' AND state = 'queued' AND next_at <= $1")
            .bind(now.micros())
            .bind(now.plus(PAUSE_FIRST).micros())
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(())
    }

    async fn settle(
        &self,
        due: &Due,
        outcome: Result<(), String>,
        now: Timestamp,
    ) -> Result<(), CaseError> {
        let attempts = due.attempts + 1;
        let (state, error) = match outcome {
            Ok(()) => ("sent", String::new()),
            Err(error) if attempts >= ATTEMPTS_MAX => ("dead", error),
            Err(error) => ("queued", error),
        };
        if state == "dead" {
            tracing::warn!(delivery = %due.id, channel = %due.channel, error = %error, "A notification could not be delivered");
        }
        let mut tx = self.inner.db.begin().await?;
        sqlx::query("UPDATE casework_delivery SET attempts = $2, next_at = $3, state = $4, error = $5 WHERE id = $1")
            .bind(&due.id)
            .bind(attempts)
            .bind(now.plus(pause(attempts)).micros())
            .bind(state)
            .bind(error.chars().take(500).collect::<String>())
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(())
    }

    async fn prune(&self, now: Timestamp) -> Result<(), CaseError> {
        let before = now.minus(Duration::from_secs(KEPT_DAYS * 86_400)).micros();
        let (old,): (i64,) = sqlx::query_as(
            "SELECT count(*) FROM casework_delivery WHERE state = 'sent' AND created_at < $1",
        )
        .bind(before)
        .fetch_one(self.inner.db.pool())
        .await?;
        if old == 0 {
            return Ok(());
        }
        let mut tx = self.inner.db.begin().await?;
        sqlx::query("DELETE FROM casework_delivery WHERE state = 'sent' AND created_at < $1")
            .bind(before)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(())
    }

    async fn mail(&self, due: &Due) -> Result<(), Undelivered> {
        let smtp = &self.inner.config.smtp;
        let reader: UserId = due
            .target
            .parse()
            .map_err(|_| "the reader is unknown".to_owned())?;
        // Nobody to write to any more is as good as delivered.
        let Some(contact) = self.inner.people.contact(reader).await else {
            return Ok(());
        };
        let Some(address) = contact.email else {
            return Ok(());
        };
        let notice = Notice::from_name(&due.notice).unwrap_or(Notice::Moved);
        let sentence = match &due.text {
            Some(text) => text.clone(),
            None => notice.sentence(due.number, &due.subject),
        };
        let subject = sentence.of(&contact.language).to_owned();
        let link = format!(
            "{}{}",
            self.inner.config.console_url.trim_end_matches('/'),
            due.path
        );
        // A letter with a text of its own leads to the thing, not to the case.
        let (see_zh, see) = match due.elsewhere {
            true => ("查看", "Open"),
            false => ("查看案件", "Open the case"),
        };
        let detail = due.detail.as_ref().map_or_else(String::new, |detail| {
            format!("{}\n\n", detail.of(&contact.language))
        });
        let body = if contact.language.starts_with("en") {
            format!(
                "{subject}.\n\n{detail}{see}: {link}\n\nThis mail was sent by civicnet. Please do not answer it.\n"
            )
        } else {
            format!(
                "{subject}。\n\n{detail}{see_zh}:{link}\n\n本信由 civicnet 自動寄出,請勿直接回覆。\n"
            )
        };
        let to = Mailbox::new(
            Some(contact.name),
            address
                .parse()
                .map_err(|_| "the reader's address cannot be read".to_owned())?,
        );
        let from: Mailbox = smtp
            .from
            .parse()
            .map_err(|_| format!("casework.smtp.from {:?} is no mailbox", smtp.from))?;
        let message = Message::builder()
            .from(from)
            .to(to)
            .subject(subject)
            .message_id(Some(format!("<{}@civicnet>", due.id)))
            // Without it the content type means nothing (RFC 2045 section 4).
            .header(MIME_VERSION_1_0)
            .header(lettre::message::header::ContentType::TEXT_PLAIN)
            // Keeps holiday notices from answering (RFC 3834 section 5).
            .raw_header(HeaderValue::new(
                HeaderName::new_from_ascii_str("Auto-Submitted"),
                "auto-generated".to_owned(),
            ))
            .body(body)
            .map_err(|error| format!("the mail could not be written: {error}"))?;
        transport(smtp)?
            .send(message)
            .await
            .map(|_| ())
            .map_err(|error| Undelivered {
                // Whoever answers, or is never asked, is no reason to wait.
                unreachable: error.status().is_none() && !error.is_client() && !error.is_response(),
                why: format!(
                    "mail server {}: {}",
                    smtp.host,
                    runtime::error_chain(&error)
                ),
            })
    }

    async fn call(&self, due: &Due, now: Timestamp) -> Result<(), String> {
        let row: Option<(String, Vec<u8>)> =
            sqlx::query_as("SELECT url, secret FROM casework_webhook WHERE id = $1")
                .bind(&due.target)
                .fetch_optional(self.inner.db.pool())
                .await
                .map_err(|error| error.to_string())?;
        // A web hook that was removed meanwhile wants nothing any more.
        let Some((url, sealed)) = row else {
            return Ok(());
        };
        let secret = self
            .inner
            .vault
            .open(&context(&due.target), &sealed)
            .map_err(|error| format!("the secret cannot be opened: {error}"))?;
        let body = json!({
            "delivery": due.id,
            "notice": due.notice,
            "case": {"id": due.case, "number": due.number.get(), "form": due.form, "state": due.state, "subject": due.subject},
            "url": format!("{}/cases/{}", self.inner.config.console_url.trim_end_matches('/'), due.case),
        })
        .to_string();
        let signature = sign(&secret, now.seconds(), body.as_bytes());
        let headers = [
            ("x-civicnet-signature", signature),
            ("x-civicnet-delivery", due.id.clone()),
        ];
        match self
            .inner
            .fetcher
            .post(&url, &headers, body.into_bytes(), ANSWER_BYTES_MAX)
            .await
        {
            Ok(answer) if (200..300).contains(&answer.status) => Ok(()),
            Ok(answer) => Err(format!("the web hook answers {}", answer.status)),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Makes a web hook for an organisation; returns it with its secret, which is
    /// shown this once.
    ///
    /// # Errors
    /// [`CaseError`]: too many, or a URL that is not fetched.
    pub async fn add_webhook(
        &self,
        who: &Who,
        org: OrgId,
        url: &str,
    ) -> Result<(Webhook, String), CaseError> {
        let parsed = url::Url::parse(url).ok().filter(|parsed| {
            matches!(parsed.scheme(), "http" | "https") && parsed.has_host() && url.len() <= 500
        });
        if parsed.is_none() {
            return Err(CaseError::Invalid(vec![Problem {
                field: "url".into(),
                value: url.chars().take(100).collect(),
                rule: "format",
                message: Text::new(
                    "須為 http:// 或 https:// 開頭的網址,最長 500 位元組",
                    "must be an http:// or https:// URL of at most 500 bytes",
                ),
            }]));
        }
        let mut secret = [0_u8; 32];
        rand::SecureRandom::fill(&rand::SystemRandom::new(), &mut secret).map_err(|_| {
            CaseError::Sealed {
                what: "no randomness for a secret",
                source: "the system's generator fails".into(),
            }
        })?;
        let secret = hex::encode(secret);
        let hook = Webhook {
            id: uuid::Uuid::now_v7().to_string(),
            url: url.to_owned(),
            created_at: self.now(),
        };
        let sealed = self
            .inner
            .vault
            .seal(&context(&hook.id), secret.as_bytes())
            .map_err(|source| CaseError::Sealed {
                what: "the secret could not be sealed",
                source: source.into(),
            })?;
        let mut tx = self.inner.db.begin().await?;
        let (count,): (i64,) =
            sqlx::query_as("SELECT count(*) FROM casework_webhook WHERE org = $1")
                .bind(org.to_string())
                .fetch_one(&mut *tx)
                .await?;
        if count >= WEBHOOKS_MAX {
            return Err(CaseError::Limit {
                what: "web hooks",
                most: WEBHOOKS_MAX as u64,
            });
        }
        sqlx::query("INSERT INTO casework_webhook (id, org, url, secret, created_by, created_at) VALUES ($1, $2, $3, $4, $5, $6)")
            .bind(&hook.id)
            .bind(org.to_string())
            .bind(&hook.url)
            .bind(sealed)
            .bind(who.user.to_string())
            .bind(hook.created_at.micros())
            .execute(&mut *tx)
            .await?;
        tx.audit(
            AuditEntry::new(
                Actor::User(who.user),
                "webhook.create",
                format!("webhook:{}", hook.id),
            )
            .org(org)
            .detail(json!({"url": url})),
        )
        .await?;
        tx.commit().await?;
        Ok((hook, secret))
    }

    /// The web hooks of an organisation.
    ///
    /// # Errors
    /// [`CaseError::Store`].
    pub async fn webhooks(&self, org: OrgId) -> Result<Vec<Webhook>, CaseError> {
        let rows: Vec<(String, String, i64)> = sqlx::query_as(
            "SELECT id, url, created_at FROM casework_webhook WHERE org = $1 ORDER BY id LIMIT $2",
        )
        .bind(org.to_string())
        .bind(WEBHOOKS_MAX)
        .fetch_all(self.inner.db.pool())
        .await?;
        Ok(rows
            .into_iter()
            .map(|(id, url, at)| Webhook {
                id,
                url,
                created_at: Timestamp(at),
            })
            .collect())
    }

    /// Removes a web hook of an organisation.
    ///
    /// # Errors
    /// [`CaseError::NotFound`] when the organisation has no such hook.
    pub async fn remove_webhook(&self, who: &Who, org: OrgId, hook: &str) -> Result<(), CaseError> {
        let mut tx = self.inner.db.begin().await?;
        let gone = sqlx::query("DELETE FROM casework_webhook WHERE org = $1 AND id = $2")
            .bind(org.to_string())
            .bind(hook)
            .execute(&mut *tx)
            .await?;
        if gone.rows_affected() == 0 {
            return Err(CaseError::NotFound(hook.chars().take(60).collect()));
        }
        tx.audit(
            AuditEntry::new(
                Actor::User(who.user),
                "webhook.delete",
                format!("webhook:{hook}"),
            )
            .org(org),
        )
        .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Deliveries that are waiting or dead, newest first, for operators.
    ///
    /// # Errors
    /// [`CaseError::Store`], also for a wrong cursor.
    pub async fn deliveries(&self, request: &PageRequest) -> Result<Page<Delivery>, CaseError> {
        const LIST: &str = "deliveries";
        let before: String = request.after(LIST)?.unwrap_or_else(|| "~".to_owned());
        let rows = sqlx::query("SELECT id, channel, target, notice, created_at, attempts, next_at, state, error FROM casework_delivery WHERE state <> 'sent' AND id < $1 ORDER BY id DESC LIMIT $2")
            .bind(before)
            .bind(request.fetch())
            .fetch_all(self.inner.db.pool())
            .await?;
        let deliveries: Vec<Delivery> = rows.iter().map(delivery_of).collect::<Result<_, _>>()?;
        Ok(request.page(LIST, deliveries, |delivery| delivery.id.clone())?)
    }

    /// How many deliveries are dead.
    ///
    /// # Errors
    /// [`CaseError::Store`].
    pub async fn dead_deliveries(&self) -> Result<i64, CaseError> {
        let (count,): (i64,) =
            sqlx::query_as("SELECT count(*) FROM casework_delivery WHERE state = 'dead'")
                .fetch_one(self.inner.db.pool())
                .await?;
        Ok(count)
    }

    /// Tries a dead delivery again.
    ///
    /// # Errors
    /// [`CaseError::NotFound`] when no dead delivery has this id.
    pub async fn retry_delivery(&self, who: &Who, delivery: &str) -> Result<(), CaseError> {
        let mut tx = self.inner.db.begin().await?;
        let revived = sqlx::query("UPDATE casework_delivery SET state = 'queued', attempts = 0, next_at = $2 WHERE id = $1 AND state = 'dead'")
            .bind(delivery)
            .bind(self.now().micros())
            .execute(&mut *tx)
            .await?;
        if revived.rows_affected() == 0 {
            return Err(CaseError::NotFound(delivery.chars().take(60).collect()));
        }
        tx.audit(AuditEntry::new(
            Actor::User(who.user),
            "delivery.retry",
            format!("delivery:{delivery}"),
        ))
        .await?;
        tx.commit().await?;
        Ok(())
    }
}

/// `t=<seconds>,v1=<hexadecimal HMAC-SHA-256 of "<seconds>.<body>">`.
pub fn sign(secret: &[u8], seconds: i64, body: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let mut context = hmac::Context::with_key(&key);
    context.update(seconds.to_string().as_bytes());
    context.update(b".");
    context.update(body);
    format!("t={seconds},v1={}", hex::encode(context.sign()))
}

/// The pause after the `attempts`-th failure.
fn pause(attempts: i64) -> Duration {
    let doublings = u32::try_from(attempts - 1).unwrap_or(0).min(20);
    PAUSE_FIRST.saturating_mul(1 << doublings).min(PAUSE_MAX)
}

fn context(hook: &str) -> String {
    format!("casework_webhook.secret/{hook}")
}

fn transport(smtp: &SmtpConfig) -> Result<AsyncSmtpTransport<Tokio1Executor>, String> {
    let wrong =
        |error: lettre::transport::smtp::Error| format!("mail server {}: {error}", smtp.host);
    let builder = match smtp.encryption {
        SmtpEncryption::None => AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&smtp.host),
        SmtpEncryption::Starttls => {
            AsyncSmtpTransport::<Tokio1Executor>::starttls_relay(&smtp.host).map_err(wrong)?
        }
        SmtpEncryption::Tls => {
            AsyncSmtpTransport::<Tokio1Executor>::relay(&smtp.host).map_err(wrong)?
        }
    };
    let builder = builder.port(smtp.port).timeout(Some(SMTP_TIMEOUT));
    if smtp.user.is_empty() {
        return Ok(builder.build());
    }
    let password = std::fs::read_to_string(&smtp.password_file).map_err(|error| {
        format!(
            "casework.smtp.password_file {:?}: {error}",
            smtp.password_file
        )
    })?;
    Ok(builder
        .credentials(Credentials::new(
            smtp.user.clone(),
            password.trim_end().to_owned(),
        ))
        .build())
}

fn due_of(row: &AnyRow) -> Result<Due, CaseError> {
    let case: String = row.try_get("case_id")?;
    id::<base::CaseId>(&case)?;
    let text: Option<String> = row.try_get("text")?;
    let path: Option<String> = row.try_get("path")?;
    let detail: Option<String> = row.try_get("detail")?;
    let unnamed = row.try_get::<Option<i64>, _>("unnamed")? == Some(1);
    Ok(Due {
        elsewhere: path.is_some(),
        detail: detail
            .map(|text| crate::case::read_json(&text))
            .transpose()?,
        path: path.unwrap_or_else(|| format!("/cases/{case}")),
        text: text.map(|text| crate::case::read_json(&text)).transpose()?,
        id: row.try_get("id")?,
        channel: row.try_get("channel")?,
        target: row.try_get("target")?,
        notice: row.try_get("notice")?,
        attempts: row.try_get("attempts")?,
        case,
        number: CaseNumber::new(row.try_get("number")?),
        subject: if unnamed {
            String::new()
        } else {
            row.try_get("subject")?
        },
        state: row.try_get("state")?,
        form: row.try_get("form")?,
    })
}

fn delivery_of(row: &AnyRow) -> Result<Delivery, CaseError> {
    Ok(Delivery {
        id: row.try_get("id")?,
        channel: row.try_get("channel")?,
        target: row.try_get("target")?,
        notice: row.try_get("notice")?,
        created_at: Timestamp(row.try_get("created_at")?),
        attempts: row.try_get("attempts")?,
        next_at: Timestamp(row.try_get("next_at")?),
        state: row.try_get("state")?,
        error: row.try_get("error")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_and_are_bounded() {
        assert_eq!(pause(1), Duration::from_secs(30));
        assert_eq!(pause(2), Duration::from_secs(60));
        assert_eq!(pause(100), PAUSE_MAX);
    }

    /// The value was computed by `printf '7.{}' | openssl dgst -sha256 -hmac key`.
    #[test]
    fn the_signature_is_what_a_receiver_computes() {
        assert_eq!(sign(b"key", 7, b"{}"), SIGNED);
    }

    const SIGNED: &str = "t=7,v1=77bc83bd1f40422311e47918b203449aecf84b02c1568bb1b570ac2a474cc2d8";
}
