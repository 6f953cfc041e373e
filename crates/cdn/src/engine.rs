//! The engine: sites and everything about them in the database. Reading takes an
//! [`OrgScope`] that goes into the query; writing is one transaction with its audit
//! entry, and wakes the publisher after it.

mod sites;
mod versions;

use std::sync::Arc;

use base::{CaseId, OrgId, SiteId, Timestamp, UserId};
use casework::guard::Fetcher;
use serde::Serialize;
use store::{Actor, AuditEntry, Db, Vault};
use tokio::sync::Notify;
use utoipa::ToSchema;

use crate::config::CdnConfig;
use crate::error::CdnError;
use crate::seams::{Lookup, Nodes, Orders, Publisher, Statistics};
use crate::settings::SiteConfig;

/// Versions of one site's settings that are kept.
pub const VERSIONS_MAX: i64 = 1_000;
/// Characters of a name or note.
pub const NAME_CHARS_MAX: usize = 100;

/// What the engine stands on.
pub struct Parts {
    /// The database.
    pub db: Db,
    /// Seals keys.
    pub vault: Vault,
    /// Hands snapshots to nodes.
    pub publisher: Arc<dyn Publisher>,
    /// Hands orders to nodes.
    pub orders: Arc<dyn Orders>,
    /// Knows the nodes.
    pub nodes: Arc<dyn Nodes>,
    /// Knows the figures.
    pub statistics: Arc<dyn Statistics>,
    /// Looks names up.
    pub lookup: Arc<dyn Lookup>,
    /// The section of the configuration.
    pub config: CdnConfig,
}

/// The engine. Cheap to clone.
#[derive(Clone)]
pub struct Cdn {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) db: Db,
    pub(crate) vault: Vault,
    pub(crate) publisher: Arc<dyn Publisher>,
    pub(crate) orders: Arc<dyn Orders>,
    pub(crate) nodes: Arc<dyn Nodes>,
    pub(crate) statistics: Arc<dyn Statistics>,
    pub(crate) lookup: Arc<dyn Lookup>,
    pub(crate) fetcher: Fetcher,
    pub(crate) config: CdnConfig,
    pub(crate) changed: Notify,
}

/// Who changes something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct By {
    /// The person.
    pub user: UserId,
    /// Names the request in the audit trail.
    pub request: Option<String>,
}

impl By {
    pub(crate) fn entry(
        &self,
        org: Option<OrgId>,
        action: &str,
        subject: String,
        detail: serde_json::Value,
    ) -> AuditEntry {
        let mut entry = AuditEntry::new(Actor::User(self.user), action, subject).detail(detail);
        entry.org = org;
        entry.request_id.clone_from(&self.request);
        entry
    }
}

/// Whether a site is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, serde::Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SiteState {
    /// Served.
    Active,
    /// Not served until an operator resumes it.
    Suspended,
    /// Not served; can be brought back for some days.
    Deleted,
}

impl SiteState {
    /// The name in tables and keys of texts.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Deleted => "deleted",
        }
    }

    /// The state of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Active, Self::Suspended, Self::Deleted]
            .into_iter()
            .find(|state| state.name() == name)
    }
}

/// A public web site behind the CDN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// Names it everywhere.
    pub id: SiteId,
    /// Its tenant.
    pub org: OrgId,
    /// Its label below the delivery zone.
    pub slug: String,
    /// Its name in Chinese.
    pub name_zh: String,
    /// Its name in English.
    pub name_en: String,
    /// Whether it is served.
    pub state: SiteState,
    /// The version of its settings that is active.
    pub active: i64,
    /// The case that granted it.
    pub case: Option<CaseId>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// When it was deleted.
    pub deleted_at: Option<Timestamp>,
    /// Its host names, sorted.
    pub hosts: Vec<String>,
}

impl Site {
    /// Its name in a language.
    pub fn name(&self, chinese: bool) -> &str {
        if chinese {
            &self.name_zh
        } else {
            &self.name_en
        }
    }
}

/// One version of a site's settings.
#[derive(Debug, Clone, PartialEq)]
pub struct Version {
    /// 1, 2, 3 …
    pub version: i64,
    /// The settings.
    pub config: SiteConfig,
    /// Why it was made.
    pub note: String,
    /// Who made it.
    pub by: UserId,
    /// When.
    pub at: Timestamp,
}

/// A site to be made.
#[derive(Debug, Clone, PartialEq)]
pub struct NewSite {
    /// Its tenant.
    pub org: OrgId,
    /// Its name in Chinese.
    pub name_zh: String,
    /// Its name in English.
    pub name_en: String,
    /// Host names; each proven by the tenant.
    pub hosts: Vec<String>,
    /// Its first settings.
    pub config: SiteConfig,
    /// The case that grants it.
    pub case: Option<CaseId>,
}

pub(crate) const SITE_COLUMNS: &str =
    "id, org, slug, name_zh, name_en, state, active, case_id, created_at, updated_at, deleted_at";

impl Cdn {
    /// An engine from its parts.
    pub fn new(parts: Parts) -> Self {
        let Parts {
            db,
            vault,
            publisher,
            orders,
            nodes,
            statistics,
            lookup,
            config,
        } = parts;
        let resolve: Arc<dyn casework::guard::Resolve> = Arc::new(ByLookup(Arc::clone(&lookup)));
        let fetcher = Fetcher::new(resolve, &config.allow_private);
        Self {
            inner: Arc::new(Inner {
                db,
                vault,
                publisher,
                orders,
                nodes,
                statistics,
                lookup,
                fetcher,
                config,
                changed: Notify::new(),
            }),
        }
    }

    /// The section of the configuration.
    pub fn config(&self) -> &CdnConfig {
        &self.inner.config
    }

    /// The database.
    pub fn db(&self) -> &Db {
        &self.inner.db
    }

    /// Knows the nodes.
    pub fn nodes(&self) -> &Arc<dyn Nodes> {
        &self.inner.nodes
    }

    /// Knows the figures.
    pub fn statistics(&self) -> &Arc<dyn Statistics> {
        &self.inner.statistics
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.inner.db.clock().now()
    }

    /// The name to which a site's CNAMEs point, without a final dot.
    pub fn target(&self, site: &Site) -> String {
        format!("{}.{}", site.slug, self.inner.config.zone().apex)
    }

    /// Tells the publishing task that something changed.
    pub fn wake(&self) {
        self.inner.changed.notify_one();
    }
}

/// Lets the guarded fetcher resolve by the same look-ups as the proofs.
struct ByLookup(Arc<dyn Lookup>);

#[async_trait::async_trait]
impl casework::guard::Resolve for ByLookup {
    async fn addresses(&self, host: &str) -> Result<Vec<std::net::IpAddr>, String> {
        self.0.addresses(host).await
    }
}

/// A label from a host name: `www.agency.example` → `www-agency-example`.
pub fn slug_of(host: &str) -> String {
    let label: String = host
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_lowercase()
            } else {
                '-'
            }
        })
        .take(50)
        .collect();
    let label = label.trim_matches('-');
    if label.is_empty() {
        "site".to_owned()
    } else {
        label.to_owned()
    }
}

pub(crate) fn parse<T: std::str::FromStr>(text: &str) -> Result<T, CdnError> {
    text.parse().map_err(|_| broken(text))
}

pub(crate) fn broken(value: &str) -> CdnError {
    CdnError::Store(store::StoreError::Invalid(format!(
        "a row of the CDN holds {value:?}"
    )))
}

pub(crate) fn read_json<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, CdnError> {
    serde_json::from_str(text).map_err(|source| CdnError::Sealed {
        what: "a kept document cannot be read",
        source: source.into(),
    })
}

pub(crate) fn write_json<T: Serialize>(value: &T) -> Result<String, CdnError> {
    serde_json::to_string(value).map_err(|source| CdnError::Sealed {
        what: "a document cannot be kept",
        source: source.into(),
    })
}

pub(crate) fn cut(text: &str) -> String {
    text.trim()
        .chars()
        .filter(|c| !c.is_control())
        .take(NAME_CHARS_MAX)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_come_from_host_names() {
        assert_eq!(slug_of("www.agency.example"), "www-agency-example");
        assert_eq!(slug_of("..."), "site");
        assert!(slug_of(&"a.".repeat(100)).len() <= 50);
    }
}
