//! Publishing: an idempotent look that compiles what is wanted, compares it with
//! what was published last, and publishes what differs. A snapshot that cannot be
//! compiled or published leaves the last good one in force and raises an alert.

use base::delivery::{DispatchSnapshot, EdgeSnapshot};
use base::{NodeName, OrgId, Role, Timestamp};
use std::time::Duration;

use crate::compile::{self, SiteModel};
use crate::engine::{Cdn, parse, read_json};
use crate::error::CdnError;

/// Time after which a look happens even if nothing woke it.
pub const LOOK_EVERY: Duration = Duration::from_secs(10);
/// The secret that holds the key of health reports.
const REPORT_KEY: &str = "health-report-key";

/// What was published last for a role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The role.
    pub role: Role,
    /// The version that nodes should run.
    pub version: u64,
    /// When.
    pub at: Timestamp,
    /// SHA-256 of the snapshot.
    pub digest: String,
    /// Why the last attempt failed; empty: it did not.
    pub error: String,
}

/// A name under which a site in service is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServedHost {
    /// Whose the site is.
    pub org: OrgId,
    /// The site's label.
    pub site: String,
    /// The name.
    pub host: String,
    /// The name to which its CNAME points, without a final dot.
    pub target: String,
}

impl Cdn {
    /// What edges should obey.
    ///
    /// # Errors
    /// [`CdnError`] when the model cannot be read or compiled.
    pub async fn compile_edge(&self) -> Result<EdgeSnapshot, CdnError> {
        let draining = self.draining().await?;
        Ok(compile::edge(
            self.models().await?,
            self.served_certificates().await?,
            draining,
        )?)
    }

    /// What dispatch servers should obey.
    ///
    /// # Errors
    /// [`CdnError`] when the model cannot be read or compiled.
    pub async fn compile_dispatch(&self) -> Result<DispatchSnapshot, CdnError> {
        let map = self.dispatch_map(None).await?.map;
        let key = self.report_key().await?;
        Ok(compile::dispatch(
            &self.models().await?,
            &map,
            &self.inner.config.zone(),
            &self.draining().await?,
            key,
        )?)
    }

    /// Where the content of each site in service comes from: its label, and the URLs of its
    /// origins.
    ///
    /// # Errors
    /// [`CdnError`] when the model cannot be read.
    pub async fn origins(&self) -> Result<Vec<(String, Vec<String>)>, CdnError> {
        let sites = self.models().await?.into_iter();
        Ok(sites
            .map(|site| {
                let origins = site.config.origins.origins.into_iter();
                (site.slug, origins.map(|origin| origin.url).collect())
            })
            .collect())
    }

    /// The names under which sites in service are reached.
    ///
    /// # Errors
    /// [`CdnError`] when the model cannot be read.
    pub async fn hosts(&self) -> Result<Vec<ServedHost>, CdnError> {
        let rows: Vec<(String, String, String)> = sqlx::query_as(
            "SELECT s.org, s.slug, h.host FROM cdn_site s JOIN cdn_host h ON h.site = s.id WHERE s.state = 'active' ORDER BY s.slug, h.host",
        )
        .fetch_all(self.inner.db.pool())
        .await?;
        rows.into_iter()
            .map(|(org, site, host)| {
                Ok(ServedHost {
                    org: parse(&org)?,
                    target: format!("{site}.{}", self.inner.config.zone().apex),
                    site,
                    host,
                })
            })
            .collect()
    }

    async fn draining(&self) -> Result<Vec<NodeName>, CdnError> {
        Ok(self
            .drains()
            .await?
            .into_iter()
            .map(|drain| drain.node)
            .collect())
    }

    /// Sites in service with their hosts and active settings.
    async fn models(&self) -> Result<Vec<SiteModel>, CdnError> {
        let rows: Vec<(String, String, String, i64, String)> = sqlx::query_as(
            "SELECT s.id, s.org, s.slug, s.purged_before, v.document FROM cdn_site s JOIN cdn_version v ON v.site = s.id AND v.version = s.active WHERE s.state = 'active' ORDER BY s.id",
        )
        .fetch_all(self.inner.db.pool())
        .await?;
        let hosts: Vec<(String, String)> =
            sqlx::query_as("SELECT site, host FROM cdn_host ORDER BY site, host")
                .fetch_all(self.inner.db.pool())
                .await?;
        let mut models = Vec::with_capacity(rows.len());
        for (id, org, slug, purged_before, document) in rows {
            let from = hosts.partition_point(|(site, _)| *site < id);
            let own = hosts[from..]
                .iter()
                .take_while(|(site, _)| *site == id)
                .map(|(_, host)| host.clone())
                .collect();
            models.push(SiteModel {
                id: parse(&id)?,
                org: parse(&org)?,
                slug,
                hosts: own,
                config: read_json(&document)?,
                purged_before: Timestamp(purged_before),
            });
        }
        Ok(models)
    }

    async fn report_key(&self) -> Result<[u8; 32], CdnError> {
        let text = match self.secret(REPORT_KEY).await? {
            Some((_, text)) => text,
            None => {
                let mut fresh = [0_u8; 32];
                ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut fresh)
                    .map_err(|_| CdnError::Sealed {
                        what: "no randomness for a key",
                        source: "the system's generator fails".into(),
                    })?;
                self.secret_once(REPORT_KEY, "", &hex::encode(fresh))
                    .await?
                    .1
            }
        };
        let mut key = [0_u8; 32];
        hex::decode_to_slice(text, &mut key).map_err(|source| CdnError::Sealed {
            what: "the key of health reports is damaged",
            source: source.into(),
        })?;
        Ok(key)
    }

    /// Compiles and publishes what differs from what was published last; returns
    /// the roles that got a new version.
    ///
    /// # Errors
    /// [`CdnError`] of the first role that failed; the other one is still tried.
    pub async fn publish(&self) -> Result<Vec<Role>, CdnError> {
        let last = self.published().await?;
        let last = |role| last.iter().find(|published| published.role == role);
        let mut fresh = Vec::new();
        let edge = self.publish_edge(last(Role::Edge)).await;
        let edge = self
            .note_published(Role::Edge, last(Role::Edge), edge, &mut fresh)
            .await;
        let dispatch = self.publish_dispatch(last(Role::Dispatch)).await;
        let dispatch = self
            .note_published(Role::Dispatch, last(Role::Dispatch), dispatch, &mut fresh)
            .await;
        edge?;
        dispatch?;
        Ok(fresh)
    }

    async fn publish_edge(&self, last: Option<&Published>) -> Result<(String, u64), CdnError> {
        let snapshot = self.compile_edge().await?;
        let digest = digest(&snapshot)?;
        match last.filter(|last| last.digest == digest) {
            Some(last) => Ok((digest, last.version)),
            None => Ok((digest, self.inner.publisher.edge(&snapshot).await?)),
        }
    }

    async fn publish_dispatch(&self, last: Option<&Published>) -> Result<(String, u64), CdnError> {
        let snapshot = self.compile_dispatch().await?;
        let digest = digest(&snapshot)?;
        match last.filter(|last| last.digest == digest) {
            Some(last) => Ok((digest, last.version)),
            None => Ok((digest, self.inner.publisher.dispatch(&snapshot).await?)),
        }
    }

    async fn note_published(
        &self,
        role: Role,
        last: Option<&Published>,
        outcome: Result<(String, u64), CdnError>,
        fresh: &mut Vec<Role>,
    ) -> Result<(), CdnError> {
        let (version, digest, error) = match &outcome {
            Ok((digest, version)) => (*version, digest.clone(), String::new()),
            Err(error) => (
                last.map_or(0, |last| last.version),
                String::new(),
                runtime::error_chain(error),
            ),
        };
        let same = last.is_some_and(|last| {
            last.version == version && last.error == error && last.digest == digest
        });
        if !same {
            let mut tx = self.inner.db.begin().await?;
            sqlx::query(
                "INSERT INTO cdn_published (role, version, digest, at, error) VALUES ($1, $2, $3, $4, $5)
                 ON CONFLICT (role) DO UPDATE SET version = excluded.version, digest = excluded.digest, at = excluded.at, error = excluded.error",
            )
            .bind(role.name())
            .bind(i64::try_from(version).unwrap_or(i64::MAX))
            .bind(digest)
            .bind(self.now().micros())
            .bind(&error)
            .execute(&mut *tx)
            .await?;
            tx.commit().await?;
            if outcome.is_ok() && last.is_none_or(|last| last.version != version) {
                fresh.push(role);
            }
        }
        outcome.map(|_| ())
    }

    /// What was published last.
    ///
    /// # Errors
    /// [`CdnError::Store`].
    pub async fn published(&self) -> Result<Vec<Published>, CdnError> {
        let rows: Vec<(String, i64, String, i64, String)> = sqlx::query_as(
            "SELECT role, version, digest, at, error FROM cdn_published ORDER BY role",
        )
        .fetch_all(self.inner.db.pool())
        .await?;
        rows.into_iter()
            .map(|(role, version, digest, at, error)| {
                Ok(Published {
                    role: parse(&role)?,
                    version: u64::try_from(version).unwrap_or(0),
                    digest,
                    at: Timestamp(at),
                    error,
                })
            })
            .collect()
    }

    /// The publishing task: looks at once when something changed, and every
    /// [`LOOK_EVERY`] besides, until `stop` is cancelled.
    pub async fn publish_until(&self, stop: runtime::CancellationToken) {
        loop {
            match self.publish().await {
                Ok(roles) if roles.is_empty() => {}
                Ok(roles) => tracing::info!(?roles, "Published new snapshots"),
                Err(error) => {
                    tracing::error!(error = %runtime::error_chain(&error), "Snapshots could not be published; the last good ones stay in force")
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.inner.changed.notified() => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }
}

fn digest<T: serde::Serialize>(snapshot: &T) -> Result<String, CdnError> {
    let bytes = serde_json::to_vec(snapshot).map_err(|source| CdnError::Sealed {
        what: "a snapshot cannot be written",
        source: source.into(),
    })?;
    Ok(hex::encode(ring::digest::digest(
        &ring::digest::SHA256,
        &bytes,
    )))
}
