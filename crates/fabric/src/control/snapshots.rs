//! Publishing snapshots, and keeping the newest of each role at hand.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base::{NodeName, Role, Timestamp};
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::Row as _;
use store::{Actor, AuditEntry, Tx};
use tokio::time::{Instant, timeout_at};

use super::{Change, Control, ControlError, lock, parse_role, signed, unsigned};
use crate::envelope::{Envelope, sha256_hex};

/// A node may be ahead of the database by this much (the database was restored from
/// a back-up); a claim beyond is taken for an error of the node.
const AHEAD_MAX: u64 = 1_000_000;
/// A node is believed to be ahead once in this time.
const AHEAD_PERIOD: Duration = Duration::from_secs(3_600);

/// The newest snapshot of a role.
pub(super) struct Latest {
    pub(super) version: u64,
    pub(super) created_at: Timestamp,
    pub(super) envelope: Bytes,
}

/// A version in the history of a role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Published {
    /// Its version.
    pub version: u64,
    /// When it was published.
    pub created_at: Timestamp,
    /// Hex SHA-256 of its content.
    pub sha256: String,
    /// Bytes of its content.
    pub size: u64,
}

impl Control {
    /// Publishes `content` as the desired state of `role`. Content that is the same
    /// as the newest makes no new version. Returns the version that holds it.
    ///
    /// # Errors
    /// When it cannot be written as JSON, is too large, or the database fails.
    pub async fn publish<T: Serialize + ?Sized>(
        &self,
        role: Role,
        content: &T,
    ) -> Result<u64, ControlError> {
        let payload = serde_json::to_vec(content).map_err(|source| ControlError::Json {
            what: "the snapshot",
            source,
        })?;
        let mut tx = self.0.db.begin().await?;
        let newest = newest_in(&mut tx, role).await?;
        if let Some((version, sha256)) = &newest
            && *sha256 == sha256_hex(&payload)
        {
            return Ok(*version);
        }
        self.insert(tx, role, newest.map_or(0, |n| n.0), &payload)
            .await
    }

    /// What `role` was told in `version`, if it is still kept: for comparing, and for
    /// publishing it again as a new version (a roll-back).
    ///
    /// # Errors
    /// When it is not kept or not of this shape.
    pub async fn published<T: DeserializeOwned>(
        &self,
        role: Role,
        version: u64,
    ) -> Result<T, ControlError> {
        let envelope = self.load(role, version).await?;
        let (_, payload) = Envelope::parse(&envelope)?.checked_content(role)?;
        serde_json::from_slice(payload).map_err(|source| ControlError::Json {
            what: "the snapshot",
            source,
        })
    }

    /// The versions of `role` that are kept, newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn history(&self, role: Role) -> Result<Vec<Published>, ControlError> {
        let rows = sqlx::query(
            "SELECT version, created_at, sha256, size FROM fabric_snapshot
             WHERE role = $1 ORDER BY version DESC",
        )
        .bind(role.name())
        .fetch_all(self.0.db.pool())
        .await?;
        rows.iter()
            .map(|row| {
                let (version, size): (i64, i64) = (row.try_get(0)?, row.try_get(3)?);
                Ok(Published {
                    version: unsigned(version),
                    created_at: Timestamp(row.try_get(1)?),
                    sha256: row.try_get(2)?,
                    size: unsigned(size),
                })
            })
            .collect()
    }

    /// The newest version of each role.
    pub fn latest_versions(&self) -> BTreeMap<Role, u64> {
        lock(&self.0.latest)
            .iter()
            .map(|(role, latest)| (*role, latest.version))
            .collect()
    }

    pub(super) fn latest(&self, role: Role) -> Option<Arc<Latest>> {
        lock(&self.0.latest).get(&role).cloned()
    }

    /// The newest envelope of `role` once it is newer than `after`; none when `wait`
    /// is over.
    pub(super) async fn newer_than(
        &self,
        role: Role,
        after: u64,
        wait: Duration,
    ) -> Option<Arc<Latest>> {
        let deadline = Instant::now() + wait;
        let mut published = self.0.published.subscribe();
        loop {
            published.mark_unchanged();
            if let Some(latest) = self.latest(role)
                && latest.version > after
            {
                return Some(latest);
            }
            match timeout_at(deadline, published.changed()).await {
                Ok(Ok(())) => {}
                _ => return None,
            }
        }
    }

    /// A node runs a version that this database does not have: the database was
    /// restored from a back-up. What is newest here becomes newer than what it runs.
    pub(super) async fn catch_up(
        &self,
        node: &NodeName,
        role: Role,
        ahead: u64,
    ) -> Result<(), ControlError> {
        let mut tx = self.0.db.begin().await?;
        let Some((version, _)) = newest_in(&mut tx, role).await? else {
            return Ok(());
        };
        if ahead <= version {
            return Ok(());
        }
        self.check_ahead(node, "snapshot", ahead, version)?;
        tracing::error!(%node, %role, version, ahead,
            "A node runs a later snapshot than the database has; the newest is published again");
        let entry = AuditEntry::new(
            Actor::Node(node.clone()),
            "fabric.snapshot.catch-up",
            format!("role:{role}"),
        )
        .detail(serde_json::json!({ "newest": version, "node_has": ahead }));
        tx.audit(entry).await?;
        tx.commit().await?;
        self.republish(role, ahead).await
    }

    /// Whether to believe a node that claims to be ahead: it must be by a plausible
    /// number, and no node may say so often, because all nodes feel it.
    pub(super) fn check_ahead(
        &self,
        node: &NodeName,
        what: &str,
        ahead: u64,
        last: u64,
    ) -> Result<(), ControlError> {
        if ahead - last > AHEAD_MAX {
            return Err(ControlError::Invalid(format!(
                "{what} {ahead} is not one that was given out: the last is {last}"
            )));
        }
        let now = Instant::now();
        let mut believed = lock(&self.0.believed);
        // As many entries as there are nodes and kinds.
        match believed.get(&(node.clone(), what.to_owned())) {
            Some(at) if now < *at + AHEAD_PERIOD => Err(ControlError::Invalid(format!(
                "{what} {ahead} is ahead of the last, {last}, and node {node} said so a short time ago already"
            ))),
            _ => {
                believed.insert((node.clone(), what.to_owned()), now);
                Ok(())
            }
        }
    }

    /// Signs the newest snapshot of each role with the present key, as a new version.
    pub(super) async fn sign_anew(&self) -> Result<(), ControlError> {
        for role in self.latest_versions().into_keys() {
            self.republish(role, 0).await?;
        }
        Ok(())
    }

    async fn republish(&self, role: Role, above: u64) -> Result<(), ControlError> {
        let mut tx = self.0.db.begin().await?;
        let Some((version, _)) = newest_in(&mut tx, role).await? else {
            return Ok(());
        };
        let envelope = self.load_in(&mut tx, role, version).await?;
        let (_, payload) = Envelope::parse(&envelope)?.checked_content(role)?;
        self.insert(tx, role, version.max(above), payload)
            .await
            .map(drop)
    }

    /// Inserts `payload` with the version after `newest`.
    async fn insert(
        &self,
        mut tx: Tx,
        role: Role,
        newest: u64,
        payload: &[u8],
    ) -> Result<u64, ControlError> {
        let version = newest + 1;
        let created_at = self.now();
        let signing = self.signing_in(&mut tx).await?;
        let envelope = signing.key.seal(role, version, created_at, payload)?;
        let sealed = self
            .0
            .vault
            .seal(&context(role, version), &envelope)
            .map_err(|error| vault_error(role, version, &error))?;
        sqlx::query(
            "INSERT INTO fabric_snapshot (role, version, created_at, sha256, size, sealed)
             VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(role.name())
        .bind(signed(version))
        .bind(created_at.micros())
        .bind(sha256_hex(payload))
        .bind(signed(payload.len() as u64))
        .bind(sealed)
        .execute(&mut *tx)
        .await?;
        sqlx::query(
            "DELETE FROM fabric_snapshot WHERE role = $1 AND version NOT IN
                (SELECT version FROM fabric_snapshot WHERE role = $1
                 ORDER BY version DESC LIMIT $2)",
        )
        .bind(role.name())
        .bind(i64::from(self.0.config.snapshots_kept.max(1)))
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        tracing::info!(%role, version, bytes = payload.len(), "Snapshot published");
        self.set_latest(
            role,
            Latest {
                version,
                created_at,
                envelope: envelope.into(),
            },
        );
        Ok(version)
    }

    fn set_latest(&self, role: Role, latest: Latest) {
        let version = latest.version;
        {
            let mut all = lock(&self.0.latest);
            if all.get(&role).is_some_and(|have| have.version >= version) {
                return;
            }
            all.insert(role, Arc::new(latest));
        }
        self.0.published.send_modify(|count| *count += 1);
        self.changed(Change::Published { role, version });
    }

    /// Takes in what another control process published.
    pub(super) async fn refresh_snapshots(&self) -> Result<(), ControlError> {
        let rows = sqlx::query("SELECT role, MAX(version) FROM fabric_snapshot GROUP BY role")
            .fetch_all(self.0.db.pool())
            .await?;
        for row in &rows {
            let role = parse_role(row.try_get(0)?)?;
            let version: i64 = row.try_get(1)?;
            let version = unsigned(version);
            if self.latest(role).is_none_or(|have| have.version < version) {
                let envelope = self.load(role, version).await?;
                let (header, _) = Envelope::parse(&envelope)?.checked_content(role)?;
                self.set_latest(
                    role,
                    Latest {
                        version,
                        created_at: header.created_at,
                        envelope: envelope.into(),
                    },
                );
            }
        }
        Ok(())
    }

    async fn load(&self, role: Role, version: u64) -> Result<Vec<u8>, ControlError> {
        let sealed: Option<Vec<u8>> = sqlx::query_scalar(LOAD)
            .bind(role.name())
            .bind(signed(version))
            .fetch_optional(self.0.db.pool())
            .await?;
        self.unseal(role, version, sealed)
    }

    async fn load_in(
        &self,
        tx: &mut Tx,
        role: Role,
        version: u64,
    ) -> Result<Vec<u8>, ControlError> {
        let sealed: Option<Vec<u8>> = sqlx::query_scalar(LOAD)
            .bind(role.name())
            .bind(signed(version))
            .fetch_optional(&mut **tx)
            .await?;
        self.unseal(role, version, sealed)
    }

    fn unseal(
        &self,
        role: Role,
        version: u64,
        sealed: Option<Vec<u8>>,
    ) -> Result<Vec<u8>, ControlError> {
        let sealed = sealed.ok_or_else(|| {
            ControlError::Invalid(format!("snapshot {version} of role {role} is not kept"))
        })?;
        self.0
            .vault
            .open(&context(role, version), &sealed)
            .map_err(|error| vault_error(role, version, &error))
    }
}

const LOAD: &str = "SELECT sealed FROM fabric_snapshot WHERE role = $1 AND version = $2";

async fn newest_in(tx: &mut Tx, role: Role) -> Result<Option<(u64, String)>, ControlError> {
    let row = sqlx::query(
        "SELECT version, sha256 FROM fabric_snapshot
         WHERE role = $1 ORDER BY version DESC LIMIT 1",
    )
    .bind(role.name())
    .fetch_optional(&mut **tx)
    .await?;
    match row {
        None => Ok(None),
        Some(row) => {
            let version: i64 = row.try_get(0)?;
            Ok(Some((unsigned(version), row.try_get(1)?)))
        }
    }
}

fn context(role: Role, version: u64) -> String {
    format!("fabric_snapshot/sealed/{role}/{version}")
}

fn vault_error(role: Role, version: u64, error: &dyn std::fmt::Display) -> ControlError {
    ControlError::Vault {
        name: format!("snapshot {version} of {role}"),
        why: error.to_string(),
    }
}
