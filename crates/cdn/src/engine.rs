//! The engine: sites and everything about them in the database. Reading takes an
//! [`OrgScope`] that goes into the query; writing is one transaction with its audit
//! entry, and wakes the publisher after it.

use std::sync::Arc;

use base::{CaseId, OrgId, SiteId, Timestamp, UserId};
use casework::OrgScope;
use serde::Serialize;
use serde_json::json;
use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Row as _};
use store::{Actor, AuditEntry, Db, Page, PageRequest, Tx, Vault};
use tokio::sync::Notify;
use utoipa::ToSchema;

use casework::guard::Fetcher;

use crate::config::CdnConfig;
use crate::error::CdnError;
use crate::seams::{Lookup, Nodes, Orders, Publisher, Statistics};
use crate::settings::{self, SiteConfig};

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

    /// One site.
    ///
    /// # Errors
    /// [`CdnError::NotFound`] when it is not there or outside of `scope`.
    pub async fn site(&self, scope: &OrgScope, site: SiteId) -> Result<Site, CdnError> {
        let (inside, orgs) = scope.sql("org", 2);
        let text = format!("SELECT {SITE_COLUMNS} FROM cdn_site WHERE id = $1 AND {inside}");
        let mut query = sqlx::query(AssertSqlSafe(text)).bind(site.to_string());
        for org in orgs {
            query = query.bind(org);
        }
        let row = query.fetch_optional(self.inner.db.pool()).await?;
        let mut found = match row {
            Some(row) => site_of(&row)?,
            None => return Err(CdnError::not_found("site", site)),
        };
        let hosts: Vec<(String,)> =
            sqlx::query_as("SELECT host FROM cdn_host WHERE site = $1 ORDER BY host")
                .bind(site.to_string())
                .fetch_all(self.inner.db.pool())
                .await?;
        found.hosts = hosts.into_iter().map(|(host,)| host).collect();
        Ok(found)
    }

    /// A page of sites, newest first; `text` filters by name, label or host.
    ///
    /// # Errors
    /// [`CdnError::Store`], also for a wrong cursor.
    pub async fn sites(
        &self,
        scope: &OrgScope,
        text: Option<&str>,
        request: &PageRequest,
    ) -> Result<Page<Site>, CdnError> {
        const LIST: &str = "sites";
        let before: String = request.after(LIST)?.unwrap_or_else(|| "~".to_owned());
        let pattern = text.map(|text| format!("%{}%", text.to_lowercase().replace(['%', '_'], "")));
        let (inside, orgs) = scope.sql("org", 4);
        let sql = format!(
            "SELECT {SITE_COLUMNS} FROM cdn_site WHERE id < $1 AND ($2 = '' OR lower(name_zh) LIKE $2 OR lower(name_en) LIKE $2 OR slug LIKE $2
             OR id IN (SELECT site FROM cdn_host WHERE host LIKE $2)) AND {inside} ORDER BY id DESC LIMIT $3"
        );
        let mut query = sqlx::query(AssertSqlSafe(sql))
            .bind(before)
            .bind(pattern.unwrap_or_default())
            .bind(request.fetch());
        for org in orgs {
            query = query.bind(org);
        }
        let rows = query.fetch_all(self.inner.db.pool()).await?;
        let mut sites: Vec<Site> = rows.iter().map(site_of).collect::<Result<_, _>>()?;
        for site in &mut sites {
            let hosts: Vec<(String,)> =
                sqlx::query_as("SELECT host FROM cdn_host WHERE site = $1 ORDER BY host")
                    .bind(site.id.to_string())
                    .fetch_all(self.inner.db.pool())
                    .await?;
            site.hosts = hosts.into_iter().map(|(host,)| host).collect();
        }
        Ok(request.page(LIST, sites, |site| site.id.to_string())?)
    }

    /// Makes a site, in the caller's transaction. Every host must be proven by the
    /// tenant and belong to no other site.
    ///
    /// # Errors
    /// [`CdnError::Invalid`] or [`CdnError::Conflict`].
    pub async fn create(&self, tx: &mut Tx, by: &By, new: &NewSite) -> Result<Site, CdnError> {
        let found = settings::problems(&new.config);
        if !found.is_empty() {
            return Err(CdnError::Invalid(found));
        }
        if new.hosts.is_empty() || new.hosts.len() > base::delivery::limits::HOSTS_PER_SITE_MAX {
            return Err(CdnError::Limit {
                what: "host names of a site (and at least one)",
                most: base::delivery::limits::HOSTS_PER_SITE_MAX as u64,
            });
        }
        let now = self.now();
        let id = SiteId::generate();
        let slug = self.free_slug(tx, &new.hosts[0]).await?;
        sqlx::query(
            "INSERT INTO cdn_site (id, org, slug, name_zh, name_en, state, active, purged_before, case_id, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, 'active', 1, 0, $6, $7, $7)",
        )
        .bind(id.to_string())
        .bind(new.org.to_string())
        .bind(&slug)
        .bind(cut(&new.name_zh))
        .bind(cut(&new.name_en))
        .bind(new.case.map(|case| case.to_string()))
        .bind(now.micros())
        .execute(&mut **tx)
        .await?;
        for host in &new.hosts {
            self.attach_host(tx, new.org, id, host, now).await?;
        }
        insert_version(tx, id, 1, &new.config, "", by, now).await?;
        tx.audit(by.entry(
            Some(new.org),
            "site.create",
            format!("site:{id}"),
            json!({"slug": slug, "hosts": new.hosts}),
        ))
        .await?;
        self.load(tx, id).await
    }

    async fn attach_host(
        &self,
        tx: &mut Tx,
        org: OrgId,
        site: SiteId,
        host: &str,
        now: Timestamp,
    ) -> Result<(), CdnError> {
        if !self.proven(tx, org, host).await? {
            return Err(CdnError::field(
                "host",
                host,
                "proof",
                "尚未證明您管理這個名稱",
                "control of this name is not proven yet",
            ));
        }
        let added = sqlx::query("INSERT INTO cdn_host (host, site, added_at) VALUES ($1, $2, $3) ON CONFLICT (host) DO NOTHING")
            .bind(host)
            .bind(site.to_string())
            .bind(now.micros())
            .execute(&mut **tx)
            .await?;
        if added.rows_affected() == 0 {
            return Err(CdnError::Conflict(format!(
                "host {host:?} belongs to a site already"
            )));
        }
        Ok(())
    }

    /// Adds a proven host name to a site.
    ///
    /// # Errors
    /// [`CdnError`]: not seen, not proven, taken, too many.
    pub async fn add_host(
        &self,
        scope: &OrgScope,
        by: &By,
        site: SiteId,
        host: &str,
    ) -> Result<(), CdnError> {
        let host = casework::validate::hostname(host).ok_or_else(|| {
            CdnError::field(
                "host",
                host,
                "format",
                "必須是完整的主機名稱",
                "must be a full host name",
            )
        })?;
        let found = self.site(scope, site).await?;
        let mut tx = self.inner.db.begin().await?;
        let (count,): (i64,) = sqlx::query_as("SELECT count(*) FROM cdn_host WHERE site = $1")
            .bind(site.to_string())
            .fetch_one(&mut *tx)
            .await?;
        if count >= base::delivery::limits::HOSTS_PER_SITE_MAX as i64 {
            return Err(CdnError::Limit {
                what: "host names of a site",
                most: base::delivery::limits::HOSTS_PER_SITE_MAX as u64,
            });
        }
        self.attach_host(&mut tx, found.org, site, &host, self.now())
            .await?;
        tx.audit(by.entry(
            Some(found.org),
            "site.add-host",
            format!("site:{site}"),
            json!({"host": host}),
        ))
        .await?;
        tx.commit().await?;
        self.wake();
        Ok(())
    }

    /// Takes a host name from a site; the last one stays.
    ///
    /// # Errors
    /// [`CdnError`]: not seen, not its host, the last one.
    pub async fn remove_host(
        &self,
        scope: &OrgScope,
        by: &By,
        site: SiteId,
        host: &str,
    ) -> Result<(), CdnError> {
        let found = self.site(scope, site).await?;
        let mut tx = self.inner.db.begin().await?;
        let gone = sqlx::query("DELETE FROM cdn_host WHERE site = $1 AND host = $2")
            .bind(site.to_string())
            .bind(host)
            .execute(&mut *tx)
            .await?;
        if gone.rows_affected() == 0 {
            return Err(CdnError::not_found("host", host));
        }
        let (left,): (i64,) = sqlx::query_as("SELECT count(*) FROM cdn_host WHERE site = $1")
            .bind(site.to_string())
            .fetch_one(&mut *tx)
            .await?;
        if left == 0 {
            return Err(CdnError::Conflict(
                "a site needs at least one host name: delete the site if it is to go".into(),
            ));
        }
        tx.audit(by.entry(
            Some(found.org),
            "site.remove-host",
            format!("site:{site}"),
            json!({"host": host}),
        ))
        .await?;
        tx.commit().await?;
        self.wake();
        Ok(())
    }

    /// Moves a site to another state. A deleted one can come back for
    /// `cdn.undo_days`; after that it is gone for good.
    ///
    /// # Errors
    /// [`CdnError`]: not seen, or no way from its state to that one.
    pub async fn set_state(
        &self,
        scope: &OrgScope,
        by: &By,
        site: SiteId,
        to: SiteState,
        reason: &str,
    ) -> Result<Site, CdnError> {
        let found = self.site(scope, site).await?;
        let possible = match (found.state, to) {
            (from, to) if from == to => return Ok(found),
            (SiteState::Deleted, SiteState::Suspended) => false,
            (SiteState::Deleted, SiteState::Active) => !self.undo_over(&found),
            _ => true,
        };
        if !possible {
            return Err(CdnError::Conflict(format!(
                "a site that is {} cannot become {}",
                found.state.name(),
                to.name()
            )));
        }
        let now = self.now();
        let mut tx = self.inner.db.begin().await?;
        sqlx::query("UPDATE cdn_site SET state = $2, updated_at = $3, deleted_at = $4 WHERE id = $1 AND state = $5")
            .bind(site.to_string())
            .bind(to.name())
            .bind(now.micros())
            .bind((to == SiteState::Deleted).then_some(now.micros()))
            .bind(found.state.name())
            .execute(&mut *tx)
            .await?;
        tx.audit(by.entry(
            Some(found.org),
            "site.state",
            format!("site:{site}"),
            json!({"from": found.state.name(), "to": to.name(), "reason": cut(reason)}),
        ))
        .await?;
        tx.commit().await?;
        self.wake();
        self.site(scope, site).await
    }

    /// Whether a deleted site can no longer be brought back.
    pub fn undo_over(&self, site: &Site) -> bool {
        let days = u64::from(self.inner.config.undo_days);
        site.deleted_at
            .is_some_and(|at| self.now() > at.plus(std::time::Duration::from_secs(days * 86_400)))
    }

    /// Removes deleted sites whose time for undoing is over, so that their names are
    /// free again; returns how many.
    ///
    /// # Errors
    /// [`CdnError::Store`].
    pub async fn sweep_deleted(&self) -> Result<usize, CdnError> {
        let before = self.now().minus(std::time::Duration::from_secs(
            u64::from(self.inner.config.undo_days) * 86_400,
        ));
        let rows: Vec<(String,)> = sqlx::query_as("SELECT s.id FROM cdn_site s WHERE s.state = 'deleted' AND s.deleted_at < $1 AND EXISTS (SELECT 1 FROM cdn_host h WHERE h.site = s.id) LIMIT 100")
            .bind(before.micros())
            .fetch_all(self.inner.db.pool())
            .await?;
        for (site,) in &rows {
            let mut tx = self.inner.db.begin().await?;
            sqlx::query("DELETE FROM cdn_host WHERE site = $1")
                .bind(site)
                .execute(&mut *tx)
                .await?;
            sqlx::query("DELETE FROM cdn_certificate WHERE site = $1")
                .bind(site)
                .execute(&mut *tx)
                .await?;
            tx.audit(AuditEntry::new(
                Actor::System("cdn.sweep"),
                "site.sweep",
                format!("site:{site}"),
            ))
            .await?;
            tx.commit().await?;
        }
        Ok(rows.len())
    }

    // ------------------------------------------------------------- settings

    /// One version of a site's settings; none: the active one.
    ///
    /// # Errors
    /// [`CdnError::NotFound`].
    pub async fn version(
        &self,
        scope: &OrgScope,
        site: SiteId,
        version: Option<i64>,
    ) -> Result<Version, CdnError> {
        let found = self.site(scope, site).await?;
        let version = version.unwrap_or(found.active);
        let row = sqlx::query("SELECT version, document, note, made_by, made_at FROM cdn_version WHERE site = $1 AND version = $2")
            .bind(site.to_string())
            .bind(version)
            .fetch_optional(self.inner.db.pool())
            .await?;
        match row {
            Some(row) => version_of(&row),
            None => Err(CdnError::not_found("version", version)),
        }
    }

    /// A page of versions, newest first.
    ///
    /// # Errors
    /// [`CdnError::NotFound`] for the site, [`CdnError::Store`].
    pub async fn versions(
        &self,
        scope: &OrgScope,
        site: SiteId,
        request: &PageRequest,
    ) -> Result<Page<Version>, CdnError> {
        const LIST: &str = "versions";
        self.site(scope, site).await?;
        let before: i64 = request.after(LIST)?.unwrap_or(i64::MAX);
        let rows = sqlx::query("SELECT version, document, note, made_by, made_at FROM cdn_version WHERE site = $1 AND version < $2 ORDER BY version DESC LIMIT $3")
            .bind(site.to_string())
            .bind(before)
            .bind(request.fetch())
            .fetch_all(self.inner.db.pool())
            .await?;
        let versions: Vec<Version> = rows.iter().map(version_of).collect::<Result<_, _>>()?;
        Ok(request.page(LIST, versions, |version| version.version)?)
    }

    /// Makes a new version of a site's settings and, if asked, activates it.
    /// `base` is the active version that the change was made from.
    ///
    /// # Errors
    /// [`CdnError`]: not seen, wrong values, changed meanwhile, too many versions.
    pub async fn save(
        &self,
        scope: &OrgScope,
        by: &By,
        site: SiteId,
        base: i64,
        config: &SiteConfig,
        note: &str,
        activate: bool,
    ) -> Result<i64, CdnError> {
        let problems = settings::problems(config);
        if !problems.is_empty() {
            return Err(CdnError::Invalid(problems));
        }
        let found = self.site(scope, site).await?;
        let mut tx = self.inner.db.begin().await?;
        let current = self.load(&mut tx, site).await?;
        if current.active != base {
            return Err(CdnError::Conflict(format!(
                "the settings have changed meanwhile: version {} is active, not {base}",
                current.active
            )));
        }
        let (newest,): (i64,) =
            sqlx::query_as("SELECT max(version) FROM cdn_version WHERE site = $1")
                .bind(site.to_string())
                .fetch_one(&mut *tx)
                .await?;
        if newest >= VERSIONS_MAX {
            return Err(CdnError::Limit {
                what: "versions of a site's settings",
                most: VERSIONS_MAX as u64,
            });
        }
        let version = newest + 1;
        let now = self.now();
        insert_version(&mut tx, site, version, config, note, by, now).await?;
        if activate {
            set_active(&mut tx, site, version, now).await?;
        }
        tx.audit(by.entry(
            Some(found.org),
            "site.settings",
            format!("site:{site}"),
            json!({"version": version, "active": activate, "note": cut(note)}),
        ))
        .await?;
        tx.commit().await?;
        self.wake();
        Ok(version)
    }

    /// Makes an existing version the active one: forward, or back.
    ///
    /// # Errors
    /// [`CdnError`]: not seen, no such version, changed meanwhile.
    pub async fn activate(
        &self,
        scope: &OrgScope,
        by: &By,
        site: SiteId,
        base: i64,
        version: i64,
    ) -> Result<(), CdnError> {
        let found = self.site(scope, site).await?;
        // A version that was right once may break a rule that came later.
        let kept = self.version(scope, site, Some(version)).await?;
        let problems = settings::problems(&kept.config);
        if !problems.is_empty() {
            return Err(CdnError::Invalid(problems));
        }
        let mut tx = self.inner.db.begin().await?;
        let current = self.load(&mut tx, site).await?;
        if current.active != base {
            return Err(CdnError::Conflict(format!(
                "the settings have changed meanwhile: version {} is active, not {base}",
                current.active
            )));
        }
        set_active(&mut tx, site, version, self.now()).await?;
        tx.audit(by.entry(
            Some(found.org),
            "site.activate",
            format!("site:{site}"),
            json!({"from": base, "to": version}),
        ))
        .await?;
        tx.commit().await?;
        self.wake();
        Ok(())
    }

    // ------------------------------------------------------------- parts

    /// Tells the publishing task that something changed.
    pub fn wake(&self) {
        self.inner.changed.notify_one();
    }

    pub(crate) async fn load(&self, tx: &mut Tx, site: SiteId) -> Result<Site, CdnError> {
        let row = sqlx::query(AssertSqlSafe(format!(
            "SELECT {SITE_COLUMNS} FROM cdn_site WHERE id = $1"
        )))
        .bind(site.to_string())
        .fetch_optional(&mut **tx)
        .await?;
        match row {
            Some(row) => site_of(&row),
            None => Err(CdnError::not_found("site", site)),
        }
    }

    async fn free_slug(&self, tx: &mut Tx, host: &str) -> Result<String, CdnError> {
        let wanted = slug_of(host);
        let taken: Vec<(String,)> =
            sqlx::query_as("SELECT slug FROM cdn_site WHERE slug = $1 OR slug LIKE $2")
                .bind(&wanted)
                .bind(format!("{wanted}-%"))
                .fetch_all(&mut **tx)
                .await?;
        let mut slug = wanted.clone();
        let mut n = 1;
        while taken.iter().any(|(other,)| *other == slug) {
            n += 1;
            slug = format!("{wanted}-{n}");
        }
        Ok(slug)
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

async fn set_active(
    tx: &mut Tx,
    site: SiteId,
    version: i64,
    now: Timestamp,
) -> Result<(), CdnError> {
    sqlx::query("UPDATE cdn_site SET active = $2, updated_at = $3 WHERE id = $1")
        .bind(site.to_string())
        .bind(version)
        .bind(now.micros())
        .execute(&mut **tx)
        .await?;
    Ok(())
}

async fn insert_version(
    tx: &mut Tx,
    site: SiteId,
    version: i64,
    config: &SiteConfig,
    note: &str,
    by: &By,
    now: Timestamp,
) -> Result<(), CdnError> {
    let document = write_json(config)?;
    if document.len() > settings::DOCUMENT_BYTES_MAX {
        return Err(CdnError::Limit {
            what: "bytes of a settings document",
            most: settings::DOCUMENT_BYTES_MAX as u64,
        });
    }
    sqlx::query("INSERT INTO cdn_version (site, version, document, note, made_by, made_at) VALUES ($1, $2, $3, $4, $5, $6)")
        .bind(site.to_string())
        .bind(version)
        .bind(document)
        .bind(cut(note))
        .bind(by.user.to_string())
        .bind(now.micros())
        .execute(&mut **tx)
        .await?;
    Ok(())
}

fn site_of(row: &AnyRow) -> Result<Site, CdnError> {
    let state: String = row.try_get("state")?;
    Ok(Site {
        id: parse(&row.try_get::<String, _>("id")?)?,
        org: parse(&row.try_get::<String, _>("org")?)?,
        slug: row.try_get("slug")?,
        name_zh: row.try_get("name_zh")?,
        name_en: row.try_get("name_en")?,
        state: SiteState::from_name(&state).ok_or_else(|| broken(&state))?,
        active: row.try_get("active")?,
        case: row
            .try_get::<Option<String>, _>("case_id")?
            .map(|text| parse(&text))
            .transpose()?,
        created_at: Timestamp(row.try_get("created_at")?),
        updated_at: Timestamp(row.try_get("updated_at")?),
        deleted_at: row.try_get::<Option<i64>, _>("deleted_at")?.map(Timestamp),
        hosts: Vec::new(),
    })
}

fn version_of(row: &AnyRow) -> Result<Version, CdnError> {
    Ok(Version {
        version: row.try_get("version")?,
        config: read_json(&row.try_get::<String, _>("document")?)?,
        note: row.try_get("note")?,
        by: parse(&row.try_get::<String, _>("made_by")?)?,
        at: Timestamp(row.try_get("made_at")?),
    })
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
