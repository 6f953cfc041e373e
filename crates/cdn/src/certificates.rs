//! The certificates of sites in the database: their keys are sealed there, and
//! leave it only inside a snapshot for edges.

use base::delivery::EdgeCertificate;
use base::{SiteId, Timestamp, UserId};
use casework::OrgScope;
use serde_json::json;
use sqlx::Row as _;
use sqlx::any::AnyRow;
use uuid::Uuid;

use crate::ca::Authority;
use crate::certificate::{self, Described};
use crate::engine::{By, Cdn, parse, read_json, write_json};
use crate::error::CdnError;

/// Certificates of one site.
pub const CERTIFICATES_MAX: i64 = 20;
/// Days that a certificate of the sandbox's authority is valid.
pub const SANDBOX_DAYS: u64 = 90;
/// The secret that holds the sandbox authority's key.
const AUTHORITY: &str = "sandbox-ca";

/// A certificate of a site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Names it.
    pub id: Uuid,
    /// `upload` or `sandbox`.
    pub source: String,
    /// What it says.
    pub described: Described,
    /// Who brought it.
    pub by: UserId,
    /// When.
    pub at: Timestamp,
}

impl Cdn {
    /// The certificates of a site, newest first.
    ///
    /// # Errors
    /// [`CdnError::NotFound`] for the site.
    pub async fn certificates(
        &self,
        scope: &OrgScope,
        site: SiteId,
    ) -> Result<Vec<Certificate>, CdnError> {
        self.site(scope, site).await?;
        let rows = sqlx::query("SELECT id, source, described, made_by, made_at FROM cdn_certificate WHERE site = $1 ORDER BY id DESC LIMIT $2")
            .bind(site.to_string())
            .bind(CERTIFICATES_MAX)
            .fetch_all(self.inner.db.pool())
            .await?;
        rows.iter().map(certificate_of).collect()
    }

    /// Takes an uploaded chain and key for a site.
    ///
    /// # Errors
    /// [`CdnError`]: not seen, wrong upload, too many.
    pub async fn upload_certificate(
        &self,
        scope: &OrgScope,
        by: &By,
        site: SiteId,
        chain_pem: &str,
        key_pem: &str,
    ) -> Result<Certificate, CdnError> {
        let found = self.site(scope, site).await?;
        let (described, checked) =
            certificate::check(chain_pem, key_pem, &found.hosts, self.now())?;
        self.keep_certificate(by, &found, "upload", described, checked)
            .await
    }

    /// Has the sandbox's authority issue a certificate for all of a site's hosts.
    ///
    /// # Errors
    /// [`CdnError`]: not seen, no sandbox, too many.
    pub async fn issue_certificate(
        &self,
        scope: &OrgScope,
        by: &By,
        site: SiteId,
    ) -> Result<Certificate, CdnError> {
        if !self.inner.config.sandbox_ca {
            return Err(CdnError::Conflict(
                "this house has no sandbox authority: upload a certificate".into(),
            ));
        }
        let found = self.site(scope, site).await?;
        let authority = self.authority().await?;
        let issued = authority
            .issue(&found.hosts, self.now(), SANDBOX_DAYS)
            .map_err(|source| CdnError::Sealed {
                what: "the certificate could not be made",
                source: source.into(),
            })?;
        let (described, checked) =
            certificate::check(&issued.chain_pem, &issued.key_pem, &found.hosts, self.now())?;
        self.keep_certificate(by, &found, "sandbox", described, checked)
            .await
    }

    async fn keep_certificate(
        &self,
        by: &By,
        site: &crate::engine::Site,
        source: &str,
        described: Described,
        pair: EdgeCertificate,
    ) -> Result<Certificate, CdnError> {
        let id = Uuid::now_v7();
        let sealed = self
            .inner
            .vault
            .seal(&context(id), pair.key_pem.as_bytes())
            .map_err(|source| CdnError::Sealed {
                what: "the key could not be sealed",
                source: source.into(),
            })?;
        let now = self.now();
        let mut tx = self.inner.db.begin().await?;
        let (count,): (i64,) =
            sqlx::query_as("SELECT count(*) FROM cdn_certificate WHERE site = $1")
                .bind(site.id.to_string())
                .fetch_one(&mut *tx)
                .await?;
        if count >= CERTIFICATES_MAX {
            return Err(CdnError::Limit {
                what: "certificates of a site",
                most: CERTIFICATES_MAX as u64,
            });
        }
        sqlx::query("INSERT INTO cdn_certificate (id, site, source, described, not_after, chain, sealed_key, made_by, made_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)")
            .bind(id.to_string())
            .bind(site.id.to_string())
            .bind(source)
            .bind(write_json(&described)?)
            .bind(described.not_after.micros())
            .bind(pair.chain_pem)
            .bind(sealed)
            .bind(by.user.to_string())
            .bind(now.micros())
            .execute(&mut *tx)
            .await?;
        let detail = json!({"source": source, "names": described.names, "not_after": described.not_after, "sha256": described.sha256});
        tx.audit(by.entry(
            Some(site.org),
            "certificate.add",
            format!("site:{}", site.id),
            detail,
        ))
        .await?;
        tx.commit().await?;
        self.wake();
        Ok(Certificate {
            id,
            source: source.to_owned(),
            described,
            by: by.user,
            at: now,
        })
    }

    /// Removes a certificate of a site.
    ///
    /// # Errors
    /// [`CdnError::NotFound`] for the site or the certificate.
    pub async fn remove_certificate(
        &self,
        scope: &OrgScope,
        by: &By,
        site: SiteId,
        certificate: Uuid,
    ) -> Result<(), CdnError> {
        let found = self.site(scope, site).await?;
        let mut tx = self.inner.db.begin().await?;
        let gone = sqlx::query("DELETE FROM cdn_certificate WHERE site = $1 AND id = $2")
            .bind(site.to_string())
            .bind(certificate.to_string())
            .execute(&mut *tx)
            .await?;
        if gone.rows_affected() == 0 {
            return Err(CdnError::not_found("certificate", certificate));
        }
        tx.audit(by.entry(
            Some(found.org),
            "certificate.remove",
            format!("site:{site}"),
            json!({"certificate": certificate}),
        ))
        .await?;
        tx.commit().await?;
        self.wake();
        Ok(())
    }

    /// Sites in `scope` whose newest certificate ends before `before`: id and label.
    ///
    /// # Errors
    /// [`CdnError::Store`].
    pub async fn certificates_ending(
        &self,
        scope: &OrgScope,
        before: Timestamp,
    ) -> Result<Vec<(String, String)>, CdnError> {
        let (inside, orgs) = scope.sql("s.org", 2);
        let text = format!(
            "SELECT s.id, s.slug FROM cdn_site s JOIN cdn_certificate c ON c.site = s.id WHERE s.state = 'active' AND {inside} GROUP BY s.id, s.slug HAVING max(c.not_after) < $1 ORDER BY s.slug LIMIT 10"
        );
        let mut query = sqlx::query_as(sqlx::AssertSqlSafe(text)).bind(before.micros());
        for org in orgs {
            query = query.bind(org);
        }
        Ok(query.fetch_all(self.inner.db.pool()).await?)
    }

    /// Chain and key of every certificate of a served site, newest first.
    pub(crate) async fn served_certificates(&self) -> Result<Vec<EdgeCertificate>, CdnError> {
        let rows: Vec<(String, String, Vec<u8>)> = sqlx::query_as(
            "SELECT c.id, c.chain, c.sealed_key FROM cdn_certificate c JOIN cdn_site s ON s.id = c.site WHERE s.state = 'active' AND c.not_after > $1 ORDER BY c.id DESC",
        )
        .bind(self.now().micros())
        .fetch_all(self.inner.db.pool())
        .await?;
        let mut pairs = Vec::with_capacity(rows.len());
        for (id, chain_pem, sealed) in rows {
            let key = self
                .inner
                .vault
                .open_text(&context(parse(&id)?), &sealed)
                .map_err(|source| CdnError::Sealed {
                    what: "a certificate's key could not be opened",
                    source: source.into(),
                })?;
            pairs.push(EdgeCertificate {
                chain_pem,
                key_pem: key,
            });
        }
        Ok(pairs)
    }

    /// The sandbox's authority; made on first use.
    ///
    /// # Errors
    /// [`CdnError::Sealed`], [`CdnError::Store`].
    pub async fn authority(&self) -> Result<Authority, CdnError> {
        let created = match self.secret(AUTHORITY).await? {
            Some((root_pem, key)) => return Ok(Authority::restore(root_pem, key)),
            None => {
                Authority::create("civicnet", self.now()).map_err(|source| CdnError::Sealed {
                    what: "the authority could not be made",
                    source: source.into(),
                })?
            }
        };
        let (root_pem, key) = self
            .secret_once(AUTHORITY, &created.root_pem, created.key_pem())
            .await?;
        Ok(Authority::restore(root_pem, key))
    }

    pub(crate) async fn secret(&self, name: &str) -> Result<Option<(String, String)>, CdnError> {
        let row: Option<(String, Vec<u8>)> =
            sqlx::query_as("SELECT clear, sealed FROM cdn_secret WHERE name = $1")
                .bind(name)
                .fetch_optional(self.inner.db.pool())
                .await?;
        match row {
            None => Ok(None),
            Some((clear, sealed)) => {
                let opened = self.inner.vault.open_text(&secret_context(name), &sealed);
                opened
                    .map(|secret| Some((clear, secret)))
                    .map_err(|source| CdnError::Sealed {
                        what: "a secret could not be opened",
                        source: source.into(),
                    })
            }
        }
    }

    /// Keeps a secret unless there is one of that name; returns the one that is kept.
    pub(crate) async fn secret_once(
        &self,
        name: &str,
        clear: &str,
        secret: &str,
    ) -> Result<(String, String), CdnError> {
        let sealed = self
            .inner
            .vault
            .seal_text(&secret_context(name), secret)
            .map_err(|source| CdnError::Sealed {
                what: "a secret could not be sealed",
                source: source.into(),
            })?;
        let mut tx = self.inner.db.begin().await?;
        sqlx::query("INSERT INTO cdn_secret (name, clear, sealed) VALUES ($1, $2, $3) ON CONFLICT (name) DO NOTHING").bind(name).bind(clear).bind(sealed).execute(&mut *tx).await?;
        tx.commit().await?;
        match self.secret(name).await? {
            Some(kept) => Ok(kept),
            None => Err(CdnError::not_found("secret", name)),
        }
    }
}

fn context(certificate: Uuid) -> String {
    format!("cdn_certificate.sealed_key/{certificate}")
}

fn secret_context(name: &str) -> String {
    format!("cdn_secret.sealed/{name}")
}

fn certificate_of(row: &AnyRow) -> Result<Certificate, CdnError> {
    Ok(Certificate {
        id: parse(&row.try_get::<String, _>("id")?)?,
        source: row.try_get("source")?,
        described: read_json(&row.try_get::<String, _>("described")?)?,
        by: parse(&row.try_get::<String, _>("made_by")?)?,
        at: Timestamp(row.try_get("made_at")?),
    })
}
