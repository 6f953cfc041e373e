//! The exchange's rules and documents: versions in both languages, written by officers, published for
//! everybody, accepted by those who join.

use base::{OrgId, Timestamp};
use casework::Case;
use casework::form::Text;
use serde_json::json;
use sqlx::Row as _;
use sqlx::any::AnyRow;
use store::Tx;

use super::Portal;
use crate::protect::entry;
use crate::room::error::problem;
use crate::room::{By, RoomError};

/// The document that applicants accept.
pub const RULES: &str = "rules";
/// Documents of one exchange.
pub const DOCUMENTS_MAX: usize = 100;
/// Versions of one document that are listed.
pub const VERSIONS_MAX: i64 = 200;
/// Characters of a title.
const TITLE_CHARS_MAX: usize = 100;
/// Characters of a text.
const BODY_CHARS_MAX: usize = 100_000;

/// One version of one document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// Its name in addresses: `rules`.
    pub slug: String,
    /// 1, 2, 3 …
    pub version: i64,
    /// Its title.
    pub title: Text,
    /// Its text: paragraphs, `#` headings, `-` lists.
    pub body: Text,
    /// Who wrote it.
    pub made_by: String,
    /// When.
    pub made_at: Timestamp,
    /// Since when everybody sees it; none: a draft.
    pub published_at: Option<Timestamp>,
}

const COLUMNS: &str =
    "slug, version, title_zh, title_en, body_zh, body_en, made_by, made_at, published_at";

fn rules_of(row: &AnyRow) -> Result<Rules, RoomError> {
    let text = |zh: &str, en: &str| -> Result<Text, RoomError> {
        Ok(Text::new(
            row.try_get::<String, _>(zh)?,
            row.try_get::<String, _>(en)?,
        ))
    };
    Ok(Rules {
        slug: row.try_get("slug")?,
        version: row.try_get("version")?,
        title: text("title_zh", "title_en")?,
        body: text("body_zh", "body_en")?,
        made_by: row.try_get("made_by")?,
        made_at: Timestamp(row.try_get("made_at")?),
        published_at: row
            .try_get::<Option<i64>, _>("published_at")?
            .map(Timestamp),
    })
}

/// Documents to begin with: name, titles, texts.
const BEGINNING: [(&str, &str, &str, &str, &str); 2] = [
    (
        RULES,
        "交換中心規則",
        "Rules of the exchange",
        include_str!("../../documents/rules.zh-TW.md"),
        include_str!("../../documents/rules.en.md"),
    ),
    (
        "manrs",
        "MANRS 與路由安全",
        "MANRS and routing security",
        include_str!("../../documents/manrs.zh-TW.md"),
        include_str!("../../documents/manrs.en.md"),
    ),
];

impl Portal {
    /// Publishes documents to begin with, those that are not there in any version.
    ///
    /// # Errors
    /// [`RoomError::Store`].
    pub async fn begin_documents(&self, by: &By) -> Result<usize, RoomError> {
        let mut made = 0;
        for (slug, title_zh, title_en, body_zh, body_en) in BEGINNING {
            if !self.versions(slug, true).await?.is_empty() {
                continue;
            }
            let (title, body) = (Text::new(title_zh, title_en), Text::new(body_zh, body_en));
            self.write_document(by, slug, &title, &body, true).await?;
            made += 1;
        }
        Ok(made)
    }

    /// The newest published version of every document; with `drafts` the newest of all.
    ///
    /// # Errors
    /// [`RoomError::Store`].
    pub async fn documents(&self, drafts: bool) -> Result<Vec<Rules>, RoomError> {
        let inner = match drafts {
            true => "SELECT max(version) FROM exchange_rules o WHERE o.slug = r.slug",
            false => {
                "SELECT max(version) FROM exchange_rules o WHERE o.slug = r.slug AND o.published_at IS NOT NULL"
            }
        };
        let sql = format!(
            "SELECT {COLUMNS} FROM exchange_rules r WHERE r.version = ({inner}) ORDER BY slug LIMIT $1"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(DOCUMENTS_MAX as i64)
            .fetch_all(self.exchange.db().pool())
            .await?;
        rows.iter().map(rules_of).collect()
    }

    /// A version of a document, or its newest published one.
    ///
    /// # Errors
    /// [`RoomError::NotFound`]; drafts are found only with `drafts`.
    pub async fn document(
        &self,
        slug: &str,
        version: Option<i64>,
        drafts: bool,
    ) -> Result<Rules, RoomError> {
        let published = if drafts {
            ""
        } else {
            "AND published_at IS NOT NULL"
        };
        let sql = format!(
            "SELECT {COLUMNS} FROM exchange_rules WHERE slug = $1 AND ($2 = 0 OR version = $2) {published} ORDER BY version DESC LIMIT 1"
        );
        let row = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(slug)
            .bind(version.unwrap_or(0))
            .fetch_optional(self.exchange.db().pool())
            .await?;
        rules_of(&row.ok_or_else(|| RoomError::not_found("document", slug))?)
    }

    /// All versions of a document, newest first.
    ///
    /// # Errors
    /// [`RoomError::Store`].
    pub async fn versions(&self, slug: &str, drafts: bool) -> Result<Vec<Rules>, RoomError> {
        let published = if drafts {
            ""
        } else {
            "AND published_at IS NOT NULL"
        };
        let sql = format!(
            "SELECT {COLUMNS} FROM exchange_rules WHERE slug = $1 {published} ORDER BY version DESC LIMIT $2"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(slug)
            .bind(VERSIONS_MAX)
            .fetch_all(self.exchange.db().pool())
            .await?;
        rows.iter().map(rules_of).collect()
    }

    /// Writes a new version; `publish` shows it to everybody at once.
    ///
    /// # Errors
    /// [`RoomError::Invalid`] by field.
    pub async fn write_document(
        &self,
        by: &By,
        slug: &str,
        title: &Text,
        body: &Text,
        publish: bool,
    ) -> Result<i64, RoomError> {
        let mut wrong = Vec::new();
        let good_slug = (1..=40).contains(&slug.len())
            && slug
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if !good_slug {
            wrong.push(problem(
                "slug",
                slug,
                "format",
                "只能用 1 到 40 個小寫英文字母、數字與連字號",
                "must be 1 to 40 lower-case letters, digits and hyphens",
            ));
        }
        for (field, text, most, lines) in [
            ("title_zh", &title.zh, TITLE_CHARS_MAX, false),
            ("title_en", &title.en, TITLE_CHARS_MAX, false),
            ("body_zh", &body.zh, BODY_CHARS_MAX, true),
            ("body_en", &body.en, BODY_CHARS_MAX, true),
        ] {
            let bad = |c: char| c.is_control() && !(lines && matches!(c, '\n' | '\r' | '\t'));
            let count = text.trim().chars().count();
            if count == 0 || count > most || text.chars().any(bad) {
                wrong.push(problem(
                    field,
                    "",
                    "length",
                    format!("必須是 1 到 {most} 個字"),
                    format!("must have 1 to {most} characters"),
                ));
            }
        }
        if !wrong.is_empty() {
            return Err(RoomError::Invalid(wrong));
        }
        let now = self.protect.now();
        let mut tx = self.exchange.begin().await?;
        let version: i64 = sqlx::query_scalar(
            "SELECT coalesce(max(version), 0) + 1 FROM exchange_rules WHERE slug = $1",
        )
        .bind(slug)
        .fetch_one(&mut *tx)
        .await?;
        sqlx::query("INSERT INTO exchange_rules (slug, version, title_zh, title_en, body_zh, body_en, made_by, made_at, published_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)")
            .bind(slug)
            .bind(version)
            .bind(title.zh.trim())
            .bind(title.en.trim())
            .bind(body.zh.trim().replace("\r\n", "\n"))
            .bind(body.en.trim().replace("\r\n", "\n"))
            .bind(by.actor.to_string())
            .bind(now.micros())
            .bind(publish.then_some(now.micros()))
            .execute(&mut *tx)
            .await?;
        tx.audit(entry(
            by,
            None,
            "exchange.rules.write",
            format!("exchange-rules:{slug}"),
            json!({ "version": version, "published": publish }),
        ))
        .await?;
        tx.commit().await?;
        Ok(version)
    }

    /// Publishes a draft, or takes a version back: what was published before is then in force again.
    ///
    /// # Errors
    /// [`RoomError::NotFound`]; [`RoomError::Refused`] for a version that somebody accepted.
    pub async fn publish_document(
        &self,
        by: &By,
        slug: &str,
        version: i64,
        publish: bool,
    ) -> Result<(), RoomError> {
        let mut tx = self.exchange.begin().await?;
        if !publish {
            let (accepted,): (i64,) = sqlx::query_as(
                "SELECT count(*) FROM exchange_rules_accepted WHERE slug = $1 AND version = $2",
            )
            .bind(slug)
            .bind(version)
            .fetch_one(&mut *tx)
            .await?;
            if accepted > 0 {
                return Err(RoomError::refused(
                    "已有成員接受這個版本,不能收回:請發布新版本",
                    "members have accepted this version: publish a new one instead",
                ));
            }
        }
        let done = sqlx::query(
            "UPDATE exchange_rules SET published_at = $3 WHERE slug = $1 AND version = $2",
        )
        .bind(slug)
        .bind(version)
        .bind(publish.then_some(self.protect.now().micros()))
        .execute(&mut *tx)
        .await?;
        if done.rows_affected() == 0 {
            return Err(RoomError::not_found("document", slug));
        }
        let action = match publish {
            true => "exchange.rules.publish",
            false => "exchange.rules.withdraw",
        };
        tx.audit(entry(
            by,
            None,
            action,
            format!("exchange-rules:{slug}"),
            json!({ "version": version }),
        ))
        .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Keeps that the applicant of a case accepted the rules in force when it was submitted.
    pub(super) async fn accept_rules(
        &self,
        tx: &mut Tx,
        by: &By,
        org: OrgId,
        case: &Case,
    ) -> Result<(), RoomError> {
        let at = case.submitted_at.unwrap_or(case.updated_at);
        let version: Option<i64> = sqlx::query_scalar(
            "SELECT max(version) FROM exchange_rules WHERE slug = $1 AND published_at IS NOT NULL AND published_at <= $2",
        )
        .bind(RULES)
        .bind(at.micros())
        .fetch_one(&mut **tx)
        .await?;
        let Some(version) = version else {
            return Ok(()); // Nothing was published that could have been accepted.
        };
        sqlx::query("INSERT INTO exchange_rules_accepted (id, org, slug, version, case_id, accepted_by, accepted_at) VALUES ($1, $2, $3, $4, $5, $6, $7)")
            .bind(uuid::Uuid::now_v7().to_string())
            .bind(org.to_string())
            .bind(RULES)
            .bind(version)
            .bind(case.id.to_string())
            .bind(case.applicant.to_string())
            .bind(at.micros())
            .execute(&mut **tx)
            .await?;
        tx.audit(entry(
            by,
            Some(org),
            "exchange.rules.accept",
            format!("exchange-rules:{RULES}"),
            json!({ "version": version, "applicant": case.applicant.to_string() }),
        ))
        .await?;
        Ok(())
    }

    /// The version of the rules that an organisation last accepted, and when.
    ///
    /// # Errors
    /// [`RoomError::Store`].
    pub async fn accepted(&self, org: OrgId) -> Result<Option<(i64, Timestamp)>, RoomError> {
        let row: Option<(i64, i64)> = sqlx::query_as("SELECT version, accepted_at FROM exchange_rules_accepted WHERE org = $1 AND slug = $2 ORDER BY version DESC LIMIT 1")
            .bind(org.to_string())
            .bind(RULES)
            .fetch_optional(self.exchange.db().pool())
            .await?;
        Ok(row.map(|(version, at)| (version, Timestamp(at))))
    }
}
