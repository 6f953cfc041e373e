//! Sites: found, listed, made, named, moved between states, and swept when their time to
//! come back is over.

use base::{OrgId, SiteId, Timestamp};
use casework::OrgScope;
use serde_json::json;
use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Row as _};
use store::{Actor, AuditEntry, Page, PageRequest, Tx};

use super::versions::insert_version;
use super::{By, Cdn, NewSite, SITE_COLUMNS, Site, SiteState, broken, cut, parse, slug_of};
use crate::error::CdnError;
use crate::settings;

impl Cdn {
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

    pub(super) async fn attach_host(
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
}

impl Cdn {
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

    pub(super) async fn free_slug(&self, tx: &mut Tx, host: &str) -> Result<String, CdnError> {
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

pub(super) fn site_of(row: &AnyRow) -> Result<Site, CdnError> {
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
