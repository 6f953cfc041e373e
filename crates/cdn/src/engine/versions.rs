//! Versions of a site's settings: read, saved, activated.

use base::{SiteId, Timestamp};
use casework::OrgScope;
use serde_json::json;
use sqlx::Row as _;
use sqlx::any::AnyRow;
use store::{Page, PageRequest, Tx};

use super::{By, Cdn, VERSIONS_MAX, Version, cut, parse, read_json, write_json};
use crate::error::CdnError;
use crate::settings;
use crate::settings::SiteConfig;

impl Cdn {
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
    #[expect(
        clippy::too_many_arguments,
        reason = "each says one thing of the version"
    )]
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
}

pub(super) async fn set_active(
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

pub(super) async fn insert_version(
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

pub(super) fn version_of(row: &AnyRow) -> Result<Version, CdnError> {
    Ok(Version {
        version: row.try_get("version")?,
        config: read_json(&row.try_get::<String, _>("document")?)?,
        note: row.try_get("note")?,
        by: parse(&row.try_get::<String, _>("made_by")?)?,
        at: Timestamp(row.try_get("made_at")?),
    })
}
