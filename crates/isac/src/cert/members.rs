//! Members: which sector an organisation belongs to and what it runs, so that alerts
//! find those they concern and lights add up by sector.

use base::{OrgId, Timestamp};
use casework::form::Text;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::Row as _;
use sqlx::any::AnyRow;
use store::{Page, PageRequest};

use super::error::problem;
use super::{By, Cert, CertError, parse, read_json, write_json};

/// Assets of one member.
pub const ASSETS_MAX: usize = 200;
/// Characters of one asset.
pub const ASSET_CHARS_MAX: usize = 100;

/// A sector of critical infrastructure, or of what stands beside it.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
)]
#[serde(rename_all = "kebab-case")]
#[expect(
    missing_docs,
    reason = "each name says what it is; texts are in `name`"
)]
pub enum Sector {
    Energy,
    Water,
    Telecom,
    Transport,
    Finance,
    Health,
    Government,
    Research,
    Industry,
    Other,
}

/// All sectors, in the order in which they are listed to people.
pub const SECTORS: [Sector; 10] = [
    Sector::Energy,
    Sector::Water,
    Sector::Telecom,
    Sector::Transport,
    Sector::Finance,
    Sector::Health,
    Sector::Government,
    Sector::Research,
    Sector::Industry,
    Sector::Other,
];

impl Sector {
    /// The name in tables, forms and the API.
    pub const fn tag(self) -> &'static str {
        match self {
            Self::Energy => "energy",
            Self::Water => "water",
            Self::Telecom => "telecom",
            Self::Transport => "transport",
            Self::Finance => "finance",
            Self::Health => "health",
            Self::Government => "government",
            Self::Research => "research",
            Self::Industry => "industry",
            Self::Other => "other",
        }
    }

    /// The sector of that name.
    pub fn from_tag(tag: &str) -> Option<Self> {
        SECTORS.into_iter().find(|sector| sector.tag() == tag)
    }

    /// The name for people.
    pub fn name(self) -> Text {
        let (zh, en) = match self {
            Self::Energy => ("能源(電力、石油、天然氣)", "Energy (power, oil, gas)"),
            Self::Water => ("水資源", "Water"),
            Self::Telecom => ("通訊傳播", "Communications"),
            Self::Transport => ("交通", "Transport"),
            Self::Finance => ("金融", "Finance"),
            Self::Health => ("緊急救援與醫院", "Emergency and health care"),
            Self::Government => ("政府機關", "Government"),
            Self::Research => ("學術研究", "Research and education"),
            Self::Industry => ("科學園區與工業", "Science parks and industry"),
            Self::Other => ("其他", "Other"),
        };
        Text::new(zh, en)
    }
}

/// A member: an organisation with its sector and assets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The organisation.
    pub org: OrgId,
    /// Its sector.
    pub sector: Sector,
    /// Products and systems that it runs, in lower case.
    pub assets: Vec<String>,
    /// When this was last changed.
    pub updated_at: Timestamp,
}

fn member_of(row: &AnyRow) -> Result<Member, CertError> {
    let sector: String = row.try_get("sector")?;
    Ok(Member {
        org: parse(&row.try_get::<String, _>("org")?)?,
        sector: Sector::from_tag(&sector).unwrap_or(Sector::Other),
        assets: read_json(&row.try_get::<String, _>("assets")?)?,
        updated_at: Timestamp(row.try_get("updated_at")?),
    })
}

/// Assets as they are compared: trimmed, in lower case, sorted, each once.
///
/// # Errors
/// [`CertError::Invalid`]: too many or too long.
pub fn clean_assets(assets: &[String]) -> Result<Vec<String>, CertError> {
    let mut clean: Vec<String> = assets
        .iter()
        .map(|asset| asset.trim().to_lowercase())
        .filter(|asset| !asset.is_empty())
        .collect();
    clean.sort();
    clean.dedup();
    let mut wrong = Vec::new();
    if clean.len() > ASSETS_MAX {
        wrong.push(problem(
            "assets",
            &clean.len().to_string(),
            "max-items",
            format!("最多 {ASSETS_MAX} 項"),
            format!("must have at most {ASSETS_MAX} entries"),
        ));
    }
    for asset in &clean {
        if asset.chars().count() > ASSET_CHARS_MAX || asset.chars().any(char::is_control) {
            wrong.push(problem(
                "assets",
                asset,
                "max-length",
                format!("每項最多 {ASSET_CHARS_MAX} 個字,不得含控制字元"),
                format!(
                    "each must have at most {ASSET_CHARS_MAX} characters and no control characters"
                ),
            ));
        }
    }
    if wrong.is_empty() {
        Ok(clean)
    } else {
        Err(CertError::Invalid(wrong))
    }
}

impl Cert {
    /// Makes an organisation a member, or changes what is known of it.
    ///
    /// # Errors
    /// [`CertError`]: assets that are too many or too long.
    pub async fn set_member(
        &self,
        by: &By,
        org: OrgId,
        sector: Sector,
        assets: &[String],
    ) -> Result<(), CertError> {
        let assets = clean_assets(assets)?;
        let mut tx = self.db().begin().await?;
        sqlx::query("INSERT INTO isac_member (org, sector, assets, updated_by, updated_at) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (org) DO UPDATE SET sector = excluded.sector, assets = excluded.assets, updated_by = excluded.updated_by, updated_at = excluded.updated_at")
            .bind(org.to_string())
            .bind(sector.tag())
            .bind(write_json(&assets)?)
            .bind(by.user.to_string())
            .bind(self.now().micros())
            .execute(&mut *tx)
            .await?;
        tx.audit(by.entry(
            Some(org),
            "member.set",
            format!("org:{org}"),
            json!({"sector": sector.tag(), "assets": assets.len()}),
        ))
        .await?;
        tx.commit().await?;
        Ok(())
    }

    /// What is known of an organisation; none: it is no member.
    ///
    /// # Errors
    /// [`CertError::Store`].
    pub async fn member(&self, org: OrgId) -> Result<Option<Member>, CertError> {
        let row =
            sqlx::query("SELECT org, sector, assets, updated_at FROM isac_member WHERE org = $1")
                .bind(org.to_string())
                .fetch_optional(self.db().pool())
                .await?;
        row.map(|row| member_of(&row)).transpose()
    }

    /// A page of members, by organisation.
    ///
    /// # Errors
    /// [`CertError::Store`], also for a wrong cursor.
    pub async fn members(&self, request: &PageRequest) -> Result<Page<Member>, CertError> {
        const LIST: &str = "isac-members";
        let after: String = request.after(LIST)?.unwrap_or_default();
        let rows = sqlx::query("SELECT org, sector, assets, updated_at FROM isac_member WHERE org > $1 ORDER BY org LIMIT $2")
            .bind(after)
            .bind(request.fetch())
            .fetch_all(self.db().pool())
            .await?;
        let members: Vec<Member> = rows.iter().map(member_of).collect::<Result<_, _>>()?;
        Ok(request.page(LIST, members, |member| member.org.to_string())?)
    }

    /// An organisation's name in the reader's language.
    pub(crate) async fn org_name(&self, language: &str, org: OrgId) -> String {
        match self.inner.people.org_name(org).await {
            Some(name) => name.of(language).to_owned(),
            None => org.to_string(),
        }
    }
}
