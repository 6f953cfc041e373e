//! News, awareness articles and events: drafts until they are published.

use base::Timestamp;
use casework::form::Text;
use serde_json::json;
use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Row as _};
use store::{Page, PageRequest};

use super::markdown;
use crate::cert::{By, Cert, CertError, error::problem};
use crate::report::incidents::checked;

/// Characters of a title.
pub const TITLE_CHARS_MAX: usize = 200;
/// Characters of a summary.
pub const SUMMARY_CHARS_MAX: usize = 1_000;
/// Characters of the name in the address.
pub const SLUG_CHARS_MAX: usize = 80;

/// What an article is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArticleKind {
    /// Something happened.
    News,
    /// How to stay safe.
    Awareness,
    /// Something will take place.
    Event,
}

impl ArticleKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::News, Self::Awareness, Self::Event];

    /// The name in tables, addresses and keys of texts.
    pub const fn tag(self) -> &'static str {
        match self {
            Self::News => "news",
            Self::Awareness => "awareness",
            Self::Event => "event",
        }
    }

    /// The kind of that name.
    pub fn from_tag(tag: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.tag() == tag)
    }
}

/// An article.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Article {
    /// Names it.
    pub id: String,
    /// What it is.
    pub kind: ArticleKind,
    /// Its name in the address: `phishing-2026`.
    pub slug: String,
    /// Its title.
    pub title: Text,
    /// A sentence or two.
    pub summary: Text,
    /// Its text, in [`markdown`].
    pub body: Text,
    /// When it was published; none: a draft.
    pub published_at: Option<Timestamp>,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// What an article is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewArticle {
    /// What it is.
    pub kind: ArticleKind,
    /// Its name in the address.
    pub slug: String,
    /// Its title.
    pub title: Text,
    /// A sentence or two.
    pub summary: Text,
    /// Its text.
    pub body: Text,
}

const COLUMNS: &str = "id, kind, slug, title_zh, title_en, summary_zh, summary_en, body_zh, body_en, published_at, updated_at";

fn article_of(row: &AnyRow) -> Result<Article, CertError> {
    let text = |name: &str| -> Result<Text, CertError> {
        Ok(Text::new(
            row.try_get::<String, _>(format!("{name}_zh").as_str())?,
            row.try_get::<String, _>(format!("{name}_en").as_str())?,
        ))
    };
    let kind: String = row.try_get("kind")?;
    Ok(Article {
        id: row.try_get("id")?,
        kind: ArticleKind::from_tag(&kind)
            .ok_or_else(|| CertError::Data(format!("an article is {kind:?}")))?,
        slug: row.try_get("slug")?,
        title: text("title")?,
        summary: text("summary")?,
        body: text("body")?,
        published_at: row
            .try_get::<Option<i64>, _>("published_at")?
            .map(Timestamp),
        updated_at: Timestamp(row.try_get("updated_at")?),
    })
}

fn clean(new: &NewArticle) -> Result<NewArticle, CertError> {
    let mut wrong = Vec::new();
    let mut read = |field: &str, text: &str, most: usize| match checked(field, text, most) {
        Ok(text) => text,
        Err(CertError::Invalid(problems)) => {
            wrong.extend(problems);
            String::new()
        }
        Err(_) => String::new(),
    };
    let mut both = |field: &str, text: &Text, most: usize| {
        Text::new(
            read(&format!("{field}_zh"), &text.zh, most),
            read(&format!("{field}_en"), &text.en, most),
        )
    };
    let title = both("title", &new.title, TITLE_CHARS_MAX);
    let summary = both("summary", &new.summary, SUMMARY_CHARS_MAX);
    let body = both("body", &new.body, markdown::CHARS_MAX);
    let slug = new.slug.trim().to_ascii_lowercase();
    let plain = slug
        .bytes()
        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if slug.is_empty() || slug.len() > SLUG_CHARS_MAX || !plain || slug.starts_with('-') {
        wrong.push(problem(
            "slug",
            &slug,
            "pattern",
            format!("只能用小寫英文字母、數字與連字號,最多 {SLUG_CHARS_MAX} 個字"),
            format!("must be lower-case letters, digits and hyphens, at most {SLUG_CHARS_MAX}"),
        ));
    }
    if !wrong.is_empty() {
        return Err(CertError::Invalid(wrong));
    }
    Ok(NewArticle {
        kind: new.kind,
        slug,
        title,
        summary,
        body,
    })
}

impl Cert {
    /// Writes an article: a new draft, or a change of the one named. Returns its id.
    ///
    /// # Errors
    /// [`CertError`]: values that break a rule, a slug that is taken, no such article.
    pub async fn write_article(
        &self,
        by: &By,
        id: Option<&str>,
        new: &NewArticle,
    ) -> Result<String, CertError> {
        let new = clean(new)?;
        let now = self.now();
        let mut tx = self.db().begin().await?;
        let taken: Option<(String,)> =
            sqlx::query_as("SELECT id FROM isac_article WHERE slug = $1")
                .bind(&new.slug)
                .fetch_optional(&mut *tx)
                .await?;
        if taken.is_some_and(|(other,)| Some(other.as_str()) != id) {
            return Err(CertError::invalid(
                "slug",
                &new.slug,
                "unique",
                "已有同名的文章",
                "is the name of another article",
            ));
        }
        let (sql, key) = match id {
            Some(id) => (
                "UPDATE isac_article SET kind = $2, slug = $3, title_zh = $4, title_en = $5, summary_zh = $6, summary_en = $7, body_zh = $8, body_en = $9, updated_by = $10, updated_at = $11 WHERE id = $1",
                id.to_owned(),
            ),
            None => (
                "INSERT INTO isac_article (id, kind, slug, title_zh, title_en, summary_zh, summary_en, body_zh, body_en, updated_by, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
                uuid::Uuid::now_v7().to_string(),
            ),
        };
        let done = sqlx::query(sql)
            .bind(&key)
            .bind(new.kind.tag())
            .bind(&new.slug)
            .bind(&new.title.zh)
            .bind(&new.title.en)
            .bind(&new.summary.zh)
            .bind(&new.summary.en)
            .bind(&new.body.zh)
            .bind(&new.body.en)
            .bind(by.user.to_string())
            .bind(now.micros())
            .execute(&mut *tx)
            .await?;
        if done.rows_affected() == 0 {
            return Err(CertError::not_found("article", &key));
        }
        tx.audit(by.entry(
            None,
            "article.write",
            format!("article:{key}"),
            json!({"slug": new.slug}),
        ))
        .await?;
        tx.commit().await?;
        Ok(key)
    }

    /// Publishes an article, or takes it back.
    ///
    /// # Errors
    /// [`CertError::NotFound`].
    pub async fn publish_article(&self, by: &By, id: &str, on: bool) -> Result<(), CertError> {
        let mut tx = self.db().begin().await?;
        let at = on.then(|| self.now().micros());
        let done = sqlx::query("UPDATE isac_article SET published_at = $2 WHERE id = $1")
            .bind(id)
            .bind(at)
            .execute(&mut *tx)
            .await?;
        if done.rows_affected() == 0 {
            return Err(CertError::not_found("article", id));
        }
        let action = if on {
            "article.publish"
        } else {
            "article.withdraw"
        };
        tx.audit(by.entry(None, action, format!("article:{id}"), json!({})))
            .await?;
        tx.commit().await?;
        Ok(())
    }

    /// A page of articles, newest first: published ones, or all for those who write.
    ///
    /// # Errors
    /// [`CertError::Store`], also for a wrong cursor.
    pub async fn articles(
        &self,
        kind: Option<ArticleKind>,
        drafts: bool,
        request: &PageRequest,
    ) -> Result<Page<Article>, CertError> {
        const LIST: &str = "articles";
        // Drafts stand first; identifiers are UUIDv7 text, in order of time.
        let column = if drafts { "updated_at" } else { "published_at" };
        let (at, after): (i64, String) = request.after(LIST)?.unwrap_or((i64::MAX, "~".into()));
        let which = if drafts {
            "1=1"
        } else {
            "published_at IS NOT NULL"
        };
        let text = format!(
            "SELECT {COLUMNS} FROM isac_article WHERE {which} AND ($1 = '' OR kind = $1) AND ({column} < $2 OR ({column} = $2 AND id < $3)) ORDER BY {column} DESC, id DESC LIMIT $4"
        );
        let rows = sqlx::query(AssertSqlSafe(text))
            .bind(kind.map_or("", ArticleKind::tag))
            .bind(at)
            .bind(after)
            .bind(request.fetch())
            .fetch_all(self.db().pool())
            .await?;
        let articles: Vec<Article> = rows.iter().map(article_of).collect::<Result<_, _>>()?;
        Ok(request.page(LIST, articles, |article| {
            let at = if drafts {
                article.updated_at
            } else {
                article.published_at.unwrap_or(article.updated_at)
            };
            (at.micros(), article.id.clone())
        })?)
    }

    /// One article by its id, draft or not.
    ///
    /// # Errors
    /// [`CertError::NotFound`].
    pub async fn article(&self, id: &str) -> Result<Article, CertError> {
        self.one_article("id = $1", id).await
    }

    /// One published article by its name in the address.
    ///
    /// # Errors
    /// [`CertError::NotFound`].
    pub async fn published_article(&self, slug: &str) -> Result<Article, CertError> {
        self.one_article("slug = $1 AND published_at IS NOT NULL", slug)
            .await
    }

    async fn one_article(&self, which: &'static str, key: &str) -> Result<Article, CertError> {
        let text = format!("SELECT {COLUMNS} FROM isac_article WHERE {which}");
        let row = sqlx::query(AssertSqlSafe(text))
            .bind(key)
            .fetch_optional(self.db().pool())
            .await?;
        match row {
            Some(row) => article_of(&row),
            None => Err(CertError::not_found("article", key)),
        }
    }
}
