//! Notifications: a letter in the console's inbox, and the same by mail and web
//! hook. They are promised in the step's own transaction and carry no personal
//! data: a delivery names its reader, and the address is looked up when it leaves.

use base::{CaseId, Timestamp, UserId};
use sqlx::Row as _;
use store::{Page, PageRequest, Tx};

use crate::case::{Case, CaseError, id};
use crate::engine::Casework;
use crate::form::Text;
use crate::number::CaseNumber;
use crate::workflow::Transition;

/// Readers of one notification.
pub const READERS_MAX: usize = 50;

/// What a notification says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// A case waits for review.
    Submitted,
    /// Review has begun.
    InReview,
    /// The first reviewer approves.
    Approved,
    /// Something must be corrected.
    Returned,
    /// Refused.
    Rejected,
    /// Granted.
    Granted,
    /// The applicant withdrew.
    Withdrawn,
    /// Another step.
    Moved,
    /// A comment.
    Comment,
    /// Given to this officer.
    Assigned,
    /// The deadline comes near.
    Reminder,
    /// The deadline has passed.
    Overdue,
}

impl Notice {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Submitted,
        Self::InReview,
        Self::Approved,
        Self::Returned,
        Self::Rejected,
        Self::Granted,
        Self::Withdrawn,
        Self::Moved,
        Self::Comment,
        Self::Assigned,
        Self::Reminder,
        Self::Overdue,
    ];

    pub(crate) fn step(step: &Transition, action: &str) -> Self {
        match (action, step.to.as_str()) {
            ("submit", _) => Self::Submitted,
            ("withdraw", _) => Self::Withdrawn,
            (_, "in-review") => Self::InReview,
            (_, "approved") => Self::Approved,
            (_, "returned") => Self::Returned,
            (_, "rejected") => Self::Rejected,
            (_, "granted") => Self::Granted,
            _ => Self::Moved,
        }
    }

    /// The name in tables and in web hooks.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Submitted => "submitted",
            Self::InReview => "in-review",
            Self::Approved => "approved",
            Self::Returned => "returned",
            Self::Rejected => "rejected",
            Self::Granted => "granted",
            Self::Withdrawn => "withdrawn",
            Self::Moved => "moved",
            Self::Comment => "comment",
            Self::Assigned => "assigned",
            Self::Reminder => "reminder",
            Self::Overdue => "overdue",
        }
    }

    /// The notice of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|notice| notice.name() == name)
    }

    /// One sentence about a case; without its name where `subject` is empty.
    pub fn sentence(self, number: CaseNumber, subject: &str) -> Text {
        let (zh, en) = match self {
            Self::Submitted => ("已送出,等待審查", "has been submitted and waits for review"),
            Self::InReview => ("已開始審查", "is under review"),
            Self::Approved => (
                "初審通過,等待複核",
                "is approved by the first reviewer and waits for the second",
            ),
            Self::Returned => (
                "已退回,請依說明補正",
                "has been returned: please correct it as explained",
            ),
            Self::Rejected => ("未獲核准", "has been refused"),
            Self::Granted => ("已核准並辦理完成", "has been granted"),
            Self::Withdrawn => ("已由申請人撤回", "has been withdrawn by the applicant"),
            Self::Moved => ("進度已更新", "has moved on"),
            Self::Comment => ("有新的留言", "has a new comment"),
            Self::Assigned => ("已指派給您", "has been given to you"),
            Self::Reminder => ("即將到期", "will be due soon"),
            Self::Overdue => ("已逾期", "is overdue"),
        };
        sentence(number, subject, &Text::new(zh, en))
    }
}

fn sentence(number: CaseNumber, subject: &str, told: &Text) -> Text {
    let (zh, en) = (&told.zh, &told.en);
    if subject.is_empty() {
        return Text::new(
            format!("案件 #{number} {zh}"),
            format!("Case #{number} {en}"),
        );
    }
    Text::new(
        format!("案件 #{number}「{subject}」{zh}"),
        format!("Case #{number} \"{subject}\" {en}"),
    )
}

/// What leaves the house for one reader or web hook.
struct Promise<'a> {
    channel: &'static str,
    target: &'a str,
    notice: Notice,
    /// What the step says itself, in place of the notice's sentence.
    text: Option<&'a str>,
    /// Whether the case's name stays inside.
    unnamed: bool,
}

/// A letter in somebody's inbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// Names it.
    pub id: String,
    /// When it came.
    pub at: Timestamp,
    /// The case it is about.
    pub case: CaseId,
    /// The page it leads to.
    pub path: String,
    /// What it says.
    pub text: Text,
    /// Whether it has been read.
    pub read: bool,
}

impl Casework {
    /// Promises a notification to `readers`, except to the one who caused it, and to
    /// the web hooks of the case's organisation.
    pub(crate) async fn notify(
        &self,
        tx: &mut Tx,
        case: &Case,
        notice: Notice,
        readers: &[UserId],
        except: Option<UserId>,
    ) -> Result<(), CaseError> {
        self.notify_told(tx, case, notice, None, readers, except)
            .await
    }

    /// As [`Self::notify`]; `told` is what the step itself says of the case.
    pub(crate) async fn notify_told(
        &self,
        tx: &mut Tx,
        case: &Case,
        notice: Notice,
        told: Option<&Text>,
        readers: &[UserId],
        except: Option<UserId>,
    ) -> Result<(), CaseError> {
        let now = self.now();
        let form = self.form_of(case).ok();
        let inside = form.as_ref().is_some_and(|form| form.inside);
        let mail = !inside && !self.inner.config.smtp.host.is_empty();
        let unnamed = match &form {
            Some(form) if !form.unnamed.is_empty() => {
                form.unnamed.holds(&self.read_values(tx, case.id).await?)
            }
            _ => false,
        };
        let text = |subject: &str| -> Result<Option<String>, CaseError> {
            told.map(|told| crate::case::write_json(&sentence(case.number, subject, told)))
                .transpose()
        };
        let letter = text(&case.subject)?;
        let outside = text(if unnamed { "" } else { &case.subject })?;
        for reader in readers
            .iter()
            .filter(|reader| Some(**reader) != except)
            .take(READERS_MAX)
        {
            sqlx::query("INSERT INTO casework_letter (id, reader, case_id, at, notice, text) VALUES ($1, $2, $3, $4, $5, $6)")
                .bind(uuid::Uuid::now_v7().to_string())
                .bind(reader.to_string())
                .bind(case.id.to_string())
                .bind(now.micros())
                .bind(notice.name())
                .bind(&letter)
                .execute(&mut **tx)
                .await?;
            if mail {
                let promise = Promise {
                    channel: "email",
                    target: &reader.to_string(),
                    notice,
                    text: outside.as_deref(),
                    unnamed,
                };
                self.promise(tx, case, &promise, now).await?;
            }
        }
        if let Some(org) = case.org.filter(|_| !inside) {
            let hooks: Vec<(String,)> =
                sqlx::query_as("SELECT id FROM casework_webhook WHERE org = $1 ORDER BY id")
                    .bind(org.to_string())
                    .fetch_all(&mut **tx)
                    .await?;
            for (hook,) in hooks {
                let promise = Promise {
                    channel: "webhook",
                    target: &hook,
                    notice,
                    text: outside.as_deref(),
                    unnamed,
                };
                self.promise(tx, case, &promise, now).await?;
            }
        }
        Ok(())
    }

    /// Promises a letter with a text of its own about a thing that `case` made, and
    /// the same by mail; it leads to `path`.
    ///
    /// # Errors
    /// [`CaseError::Store`].
    pub async fn send(
        &self,
        tx: &mut Tx,
        case: &Case,
        text: &Text,
        path: &str,
        readers: &[UserId],
    ) -> Result<(), CaseError> {
        self.send_with(tx, case, text, None, path, readers).await
    }

    /// As [`Self::send`]; `detail` stands in the mail below the sentence, a line for each fact.
    ///
    /// # Errors
    /// [`CaseError::Store`].
    pub async fn send_with(
        &self,
        tx: &mut Tx,
        case: &Case,
        text: &Text,
        detail: Option<&Text>,
        path: &str,
        readers: &[UserId],
    ) -> Result<(), CaseError> {
        let now = self.now();
        let inside = self.form_of(case).is_ok_and(|form| form.inside);
        let mail = !inside && !self.inner.config.smtp.host.is_empty();
        let text = crate::case::write_json(text)?;
        let detail = detail.map(crate::case::write_json).transpose()?;
        for reader in readers {
            sqlx::query("INSERT INTO casework_letter (id, reader, case_id, at, notice, text, path) VALUES ($1, $2, $3, $4, 'moved', $5, $6)")
                .bind(uuid::Uuid::now_v7().to_string())
                .bind(reader.to_string())
                .bind(case.id.to_string())
                .bind(now.micros())
                .bind(&text)
                .bind(path)
                .execute(&mut **tx)
                .await?;
            if mail {
                sqlx::query("INSERT INTO casework_delivery (id, channel, target, case_id, notice, created_at, attempts, next_at, state, error, text, path, detail) VALUES ($1, 'email', $2, $3, 'moved', $4, 0, $4, 'queued', '', $5, $6, $7)")
                    .bind(uuid::Uuid::now_v7().to_string())
                    .bind(reader.to_string())
                    .bind(case.id.to_string())
                    .bind(now.micros())
                    .bind(&text)
                    .bind(path)
                    .bind(&detail)
                    .execute(&mut **tx)
                    .await?;
            }
        }
        Ok(())
    }

    async fn promise(
        &self,
        tx: &mut Tx,
        case: &Case,
        promise: &Promise<'_>,
        now: Timestamp,
    ) -> Result<(), CaseError> {
        sqlx::query("INSERT INTO casework_delivery (id, channel, target, case_id, notice, created_at, attempts, next_at, state, error, text, unnamed) VALUES ($1, $2, $3, $4, $5, $6, 0, $6, 'queued', '', $7, $8)")
            .bind(uuid::Uuid::now_v7().to_string())
            .bind(promise.channel)
            .bind(promise.target)
            .bind(case.id.to_string())
            .bind(promise.notice.name())
            .bind(now.micros())
            .bind(promise.text)
            .bind(i64::from(promise.unnamed))
            .execute(&mut **tx)
            .await?;
        Ok(())
    }

    /// A page of somebody's inbox, newest first.
    ///
    /// # Errors
    /// [`CaseError::Store`], also for a wrong cursor.
    pub async fn inbox(
        &self,
        reader: UserId,
        request: &PageRequest,
    ) -> Result<Page<Letter>, CaseError> {
        const LIST: &str = "inbox";
        // Identifiers are UUIDv7 text: in order of time, and below this end.
        let before: String = request.after(LIST)?.unwrap_or_else(|| "~".to_owned());
        let rows = sqlx::query(
            "SELECT l.id, l.at, l.case_id, l.notice, l.read_at, l.text, l.path, c.number, c.subject FROM casework_letter l JOIN casework_case c ON c.id = l.case_id
             WHERE l.reader = $1 AND l.id < $2 ORDER BY l.id DESC LIMIT $3",
        )
        .bind(reader.to_string())
        .bind(before)
        .bind(request.fetch())
        .fetch_all(self.inner.db.pool())
        .await?;
        let mut letters = Vec::with_capacity(rows.len());
        for row in &rows {
            let notice: String = row.try_get("notice")?;
            let notice = Notice::from_name(&notice).unwrap_or(Notice::Moved);
            let subject: String = row.try_get("subject")?;
            let case: CaseId = id(&row.try_get::<String, _>("case_id")?)?;
            letters.push(Letter {
                id: row.try_get("id")?,
                at: Timestamp(row.try_get("at")?),
                case,
                path: row
                    .try_get::<Option<String>, _>("path")?
                    .unwrap_or_else(|| format!("/cases/{case}")),
                text: match row.try_get::<Option<String>, _>("text")? {
                    Some(text) => crate::case::read_json(&text)?,
                    None => notice.sentence(CaseNumber::new(row.try_get("number")?), &subject),
                },
                read: row.try_get::<Option<i64>, _>("read_at")?.is_some(),
            });
        }
        Ok(request.page(LIST, letters, |letter| letter.id.clone())?)
    }

    /// How many letters somebody has not read.
    ///
    /// # Errors
    /// [`CaseError::Store`].
    pub async fn unread(&self, reader: UserId) -> Result<u64, CaseError> {
        let (count,): (i64,) = sqlx::query_as(
            "SELECT count(*) FROM casework_letter WHERE reader = $1 AND read_at IS NULL",
        )
        .bind(reader.to_string())
        .fetch_one(self.inner.db.pool())
        .await?;
        Ok(u64::try_from(count).unwrap_or(0))
    }

    /// Marks one letter, or all of somebody's, as read.
    ///
    /// # Errors
    /// [`CaseError::Store`].
    pub async fn mark_read(&self, reader: UserId, letter: Option<&str>) -> Result<(), CaseError> {
        let mut tx = self.inner.db.begin().await?;
        let now = self.now().micros();
        let query = match letter {
            Some(letter) => sqlx::query("UPDATE casework_letter SET read_at = $1 WHERE reader = $2 AND read_at IS NULL AND id = $3").bind(now).bind(reader.to_string()).bind(letter),
            None => sqlx::query("UPDATE casework_letter SET read_at = $1 WHERE reader = $2 AND read_at IS NULL").bind(now).bind(reader.to_string()),
        };
        query.execute(&mut *tx).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Marks the letters about one case as read: their reader has seen the case.
    ///
    /// # Errors
    /// [`CaseError::Store`].
    pub async fn mark_case_read(&self, reader: UserId, case: CaseId) -> Result<(), CaseError> {
        let (waiting,): (i64,) = sqlx::query_as("SELECT count(*) FROM casework_letter WHERE reader = $1 AND case_id = $2 AND read_at IS NULL")
            .bind(reader.to_string())
            .bind(case.to_string())
            .fetch_one(self.inner.db.pool())
            .await?;
        if waiting == 0 {
            return Ok(());
        }
        let mut tx = self.inner.db.begin().await?;
        sqlx::query("UPDATE casework_letter SET read_at = $1 WHERE reader = $2 AND case_id = $3 AND read_at IS NULL")
            .bind(self.now().micros())
            .bind(reader.to_string())
            .bind(case.to_string())
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(())
    }
}
