//! What members answer to an alert, and the chase: those who have not answered are
//! asked again at half the time and when it is over.

use base::{CaseId, OrgId, Timestamp, UserId};
use casework::CaseNumber;
use casework::form::Text;
use serde::{Deserialize, Serialize};
use serde_json::json;
use store::{Actor, AuditEntry};

use super::list::Alert;
use crate::cert::{By, Cert, CertError, parse};
use crate::kinds::Said;
use crate::report::incidents::checked;

/// Characters of the remark that goes with a reply.
pub const REMARK_CHARS_MAX: usize = 2_000;
/// Recipients chased in one look; the next look takes the rest.
const CHASED_PER_LOOK: i64 = 200;

/// What a member answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// Seen to.
    Acknowledged,
    /// 誤判.
    FalseAlarm,
    /// 確實事件.
    Incident,
    /// 無法判斷.
    Unknown,
}

impl Reply {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Acknowledged,
        Self::FalseAlarm,
        Self::Incident,
        Self::Unknown,
    ];

    /// The name in tables, keys of texts and the API.
    pub const fn tag(self) -> &'static str {
        match self {
            Self::Acknowledged => "acknowledged",
            Self::FalseAlarm => "false-alarm",
            Self::Incident => "incident",
            Self::Unknown => "unknown",
        }
    }

    /// The reply of that name.
    pub fn from_tag(tag: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reply| reply.tag() == tag)
    }

    /// The replies that answer what an alert asks for.
    pub const fn answers(asked: &str) -> &'static [Self] {
        match asked.as_bytes() {
            b"acknowledge" => &[Self::Acknowledged],
            b"verdict" => &[Self::FalseAlarm, Self::Incident, Self::Unknown],
            _ => &[],
        }
    }

    /// For people.
    pub fn name(self) -> Text {
        let (zh, en) = match self {
            Self::Acknowledged => ("已知悉並處理", "Seen to"),
            Self::FalseAlarm => ("誤判", "False alarm"),
            Self::Incident => ("確實事件", "Real incident"),
            Self::Unknown => ("無法判斷", "Cannot tell"),
        };
        Text::new(zh, en)
    }
}

impl Cert {
    /// Records the reply of a member; a later one takes the place of the one before.
    ///
    /// # Errors
    /// [`CertError`]: not sent to this member, retracted, not an answer to what was asked.
    pub async fn reply(
        &self,
        by: &By,
        alert: &Alert,
        org: OrgId,
        reply: Reply,
        remark: &str,
    ) -> Result<(), CertError> {
        let said = Said {
            reply,
            remark,
            found: "",
            done: "",
        };
        self.reply_with(by, alert, org, said).await
    }

    /// As [`Self::reply`], with what was found and what was done.
    ///
    /// # Errors
    /// As [`Self::reply`].
    pub async fn reply_with(
        &self,
        by: &By,
        alert: &Alert,
        org: OrgId,
        said: Said<'_>,
    ) -> Result<(), CertError> {
        let word = |field: &str, text: &str| match text.trim() {
            "" => Ok(String::new()),
            text => checked(field, text, REMARK_CHARS_MAX),
        };
        let reply = said.reply;
        let remark = word("remark", said.remark)?;
        let (found, done) = (word("found", said.found)?, word("done", said.done)?);
        let allowed = Reply::answers(&alert.reply);
        if !allowed.contains(&reply) {
            let (zh, en): (Vec<String>, Vec<String>) = allowed
                .iter()
                .map(|reply| (reply.name().zh, reply.name().en))
                .unzip();
            return Err(CertError::invalid(
                "reply",
                reply.tag(),
                "enum",
                format!("必須是其中之一:{}", zh.join("、")),
                format!("must be one of {}", en.join(", ")),
            ));
        }
        if alert.retracted_at.is_some() {
            return Err(CertError::refused("警訊已撤回", "the alert is retracted"));
        }
        let now = self.now();
        let mut tx = self.db().begin().await?;
        let kept = sqlx::query("UPDATE isac_recipient SET reply = $3, remark = $4, replied_by = $5, replied_at = $6, read_at = coalesce(read_at, $6), found = $7, done = $8 WHERE alert = $1 AND org = $2")
            .bind(alert.case.to_string())
            .bind(org.to_string())
            .bind(reply.tag())
            .bind(&remark)
            .bind(by.user.to_string())
            .bind(now.micros())
            .bind(&found)
            .bind(&done)
            .execute(&mut *tx)
            .await?;
        if kept.rows_affected() == 0 {
            return Err(CertError::not_found("alert", alert.case));
        }
        tx.audit(by.entry(
            Some(org),
            "alert.reply",
            format!("alert:{}", alert.case),
            json!({"reply": reply.tag()}),
        ))
        .await?;
        if reply == Reply::Incident {
            let name = self.org_names(org).await;
            let notice = Text::new(
                format!("{} 回覆警訊 #{}:確實事件", name.zh, alert.number),
                format!("{} answers alert #{}: real incident", name.en, alert.number),
            );
            let mut readers = self.inner.people.officers().await;
            let case = self.case(alert.case).await?;
            self.tell_members(&mut tx, &case, &notice, &mut readers)
                .await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// Records that somebody of a member opened an alert.
    ///
    /// # Errors
    /// [`CertError::Store`].
    pub async fn alert_read(&self, alert: CaseId, org: OrgId) -> Result<(), CertError> {
        let (unread,): (i64,) = sqlx::query_as(
            "SELECT count(*) FROM isac_recipient WHERE alert = $1 AND org = $2 AND read_at IS NULL",
        )
        .bind(alert.to_string())
        .bind(org.to_string())
        .fetch_one(self.db().pool())
        .await?;
        if unread == 0 {
            return Ok(());
        }
        let mut tx = self.db().begin().await?;
        sqlx::query("UPDATE isac_recipient SET read_at = coalesce(read_at, $3) WHERE alert = $1 AND org = $2")
            .bind(alert.to_string())
            .bind(org.to_string())
            .bind(self.now().micros())
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Asks again for replies that are due at `now`; returns how many members were asked.
    ///
    /// # Errors
    /// [`CertError`]; what is already asked stays asked.
    pub async fn chase(&self, now: Timestamp) -> Result<usize, CertError> {
        // The first time at half the time, the second when it is over.
        let rows: Vec<(String, String, i64, i64)> = sqlx::query_as(
            "SELECT r.alert, r.org, r.chased, a.number FROM isac_recipient r JOIN isac_alert a ON a.case_id = r.alert
             WHERE r.replied_at IS NULL AND a.retracted_at IS NULL AND a.reply_due IS NOT NULL AND
                   ((r.chased = 0 AND (a.published_at + a.reply_due) / 2 <= $1) OR (r.chased = 1 AND a.reply_due <= $1))
             ORDER BY r.alert, r.org LIMIT $2",
        )
        .bind(now.micros())
        .bind(CHASED_PER_LOOK)
        .fetch_all(self.db().pool())
        .await?;
        for (alert, org, chased, number) in &rows {
            let (org, number): (OrgId, _) = (parse(org)?, CaseNumber::new(*number));
            let mut readers: Vec<UserId> = self.inner.people.members(org).await;
            let case = self.case(parse(alert)?).await?;
            let notice = if *chased == 0 {
                Text::new(
                    format!("警訊 #{number} 尚未回覆,請於期限前回覆"),
                    format!("Alert #{number} is not answered yet: please reply in time"),
                )
            } else {
                Text::new(
                    format!("警訊 #{number} 已逾回覆期限"),
                    format!("The reply to alert #{number} is overdue"),
                )
            };
            let mut tx = self.db().begin().await?;
            let taken = sqlx::query("UPDATE isac_recipient SET chased = chased + 1 WHERE alert = $1 AND org = $2 AND chased = $3 AND replied_at IS NULL")
                .bind(alert)
                .bind(org.to_string())
                .bind(chased)
                .execute(&mut *tx)
                .await?;
            if taken.rows_affected() == 0 {
                continue;
            }
            let entry = AuditEntry::new(
                Actor::System("isac.chase"),
                "alert.chase",
                format!("alert:{alert}"),
            )
            .org(org)
            .detail(json!({"time": chased + 1}));
            tx.audit(entry).await?;
            self.tell_members(&mut tx, &case, &notice, &mut readers)
                .await?;
            tx.commit().await?;
        }
        Ok(rows.len())
    }

    pub(crate) async fn org_names(&self, org: OrgId) -> Text {
        let found = self.inner.people.org_name(org).await;
        found.unwrap_or_else(|| Text::new(org.to_string(), org.to_string()))
    }

    /// A case that was submitted, as the house sees it.
    pub(crate) async fn case(&self, case: CaseId) -> Result<casework::Case, CertError> {
        Ok(self
            .casework()?
            .open(&crate::cert::house(), case)
            .await?
            .case)
    }
}
