//! The two secrets of the fabric, sealed in the database: the certificate authority
//! and the snapshot key, with the latter's chain of hand-overs.

use std::sync::{Arc, PoisonError};

use base::Timestamp;
use sqlx::Row as _;
use store::{Actor, AuditEntry, Db, Tx, Vault};

use super::{Control, ControlError};
use crate::envelope::{Handover, PublicKey, SigningKey};
use crate::pki::Authority;

const AUTHORITY: &str = "authority";
const SNAPSHOT: &str = "snapshot";
/// Hand-overs that nodes can follow; a node that slept through more enrols again.
const HANDOVERS_MAX: usize = 1_000;

/// The snapshot key and how it came to be.
pub(crate) struct Signing {
    pub(crate) key: SigningKey,
    pub(crate) chain: Vec<Handover>,
}

pub(super) async fn open_authority(db: &Db, vault: &Vault) -> Result<Authority, ControlError> {
    let mut tx = db.begin().await?;
    let authority = match load(&mut tx, vault, AUTHORITY).await? {
        Some((pem, secret)) => Authority::load(&pem, &secret)?,
        None => {
            let (authority, secret) = Authority::generate()?;
            let now = db.clock().now();
            keep(&mut tx, vault, AUTHORITY, authority.pem(), &secret, now).await?;
            tracing::info!("Made the certificate authority of nodes");
            authority
        }
    };
    tx.commit().await?;
    Ok(authority)
}

pub(super) async fn open_signing(db: &Db, vault: &Vault) -> Result<Signing, ControlError> {
    let mut tx = db.begin().await?;
    let key = match load(&mut tx, vault, SNAPSHOT).await? {
        Some((_, secret)) => SigningKey::from_pkcs8(&secret)?,
        None => {
            let (key, secret) = SigningKey::generate()?;
            let (public, now) = (key.public().to_text(), db.clock().now());
            keep(&mut tx, vault, SNAPSHOT, &public, &secret, now).await?;
            tracing::info!(key = key.public().id(), "Made the snapshot key");
            key
        }
    };
    let chain = load_chain(&mut tx).await?;
    tx.commit().await?;
    Ok(Signing { key, chain })
}

async fn load_chain(tx: &mut Tx) -> Result<Vec<Handover>, ControlError> {
    let rows = sqlx::query("SELECT body FROM fabric_handover ORDER BY position")
        .fetch_all(&mut **tx)
        .await?;
    rows.into_iter()
        .map(|row| {
            let body: String = row.try_get(0)?;
            serde_json::from_str(&body).map_err(|error| ControlError::Row(error.to_string()))
        })
        .collect()
}

impl Control {
    /// The key that signs, as of `tx`: another control process may have replaced it.
    pub(super) async fn signing_in(&self, tx: &mut Tx) -> Result<Arc<Signing>, ControlError> {
        let links: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM fabric_handover")
            .fetch_one(&mut **tx)
            .await?;
        let known = self.signing();
        if usize::try_from(links).ok() == Some(known.chain.len()) {
            return Ok(known);
        }
        let Some((_, secret)) = load(tx, &self.0.vault, SNAPSHOT).await? else {
            return Err(ControlError::Row("the snapshot key is missing".to_owned()));
        };
        let signing = Arc::new(Signing {
            key: SigningKey::from_pkcs8(&secret)?,
            chain: load_chain(tx).await?,
        });
        self.set_signing(signing.clone());
        Ok(signing)
    }

    /// Learns of a key that another control process made.
    pub(super) async fn refresh_signing(&self) -> Result<(), ControlError> {
        let links: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM fabric_handover")
            .fetch_one(self.0.db.pool())
            .await?;
        if usize::try_from(links).ok() != Some(self.signing().chain.len()) {
            let mut tx = self.0.db.begin().await?;
            self.signing_in(&mut tx).await?;
        }
        Ok(())
    }

    fn set_signing(&self, signing: Arc<Signing>) {
        *self
            .0
            .signing
            .write()
            .unwrap_or_else(PoisonError::into_inner) = signing;
    }

    /// Replaces the snapshot key. The old key signs the new one; nodes follow when
    /// they see the next snapshot. The newest snapshots are signed anew at once.
    ///
    /// # Errors
    /// When the database fails, or the chain is full.
    pub async fn rotate_snapshot_key(&self, actor: Actor) -> Result<PublicKey, ControlError> {
        let inner = &self.0;
        let now = self.now();
        let (key, secret) = SigningKey::generate()?;
        let public = key.public();
        let mut tx = inner.db.begin().await?;
        let present = self.signing_in(&mut tx).await?;
        let mut chain = present.chain.clone();
        if chain.len() >= HANDOVERS_MAX {
            return Err(ControlError::Invalid(format!(
                "the snapshot key was replaced {HANDOVERS_MAX} times: enrol the nodes anew"
            )));
        }
        let handover = present.key.hand_over(&public, now);
        let body = serde_json::to_string(&handover).map_err(|source| ControlError::Json {
            what: "the hand-over",
            source,
        })?;
        sqlx::query(
            "INSERT INTO fabric_handover (position, body)
             SELECT COALESCE(MAX(position), 0) + 1, $1 FROM fabric_handover",
        )
        .bind(body)
        .execute(&mut *tx)
        .await?;
        sqlx::query("DELETE FROM fabric_key WHERE name = $1")
            .bind(SNAPSHOT)
            .execute(&mut *tx)
            .await?;
        let text = public.to_text();
        keep(&mut tx, &inner.vault, SNAPSHOT, &text, &secret, now).await?;
        tx.audit(AuditEntry {
            detail: serde_json::json!({ "from": handover.from, "to": public.id() }),
            ..AuditEntry::new(actor, "fabric.snapshot-key.rotate", public.id())
        })
        .await?;
        tx.commit().await?;
        chain.push(handover);
        self.set_signing(Arc::new(Signing { key, chain }));
        self.sign_anew().await?;
        Ok(public)
    }
}

async fn load(
    tx: &mut Tx,
    vault: &Vault,
    name: &str,
) -> Result<Option<(String, Vec<u8>)>, ControlError> {
    let row = sqlx::query("SELECT public, sealed FROM fabric_key WHERE name = $1")
        .bind(name)
        .fetch_optional(&mut **tx)
        .await?;
    let Some(row) = row else {
        return Ok(None);
    };
    let sealed: Vec<u8> = row.try_get(1)?;
    let secret = vault
        .open(&context(name), &sealed)
        .map_err(|error| ControlError::Vault {
            name: name.to_owned(),
            why: error.to_string(),
        })?;
    Ok(Some((row.try_get(0)?, secret)))
}

async fn keep(
    tx: &mut Tx,
    vault: &Vault,
    name: &str,
    public: &str,
    secret: &[u8],
    now: Timestamp,
) -> Result<(), ControlError> {
    let sealed = vault
        .seal(&context(name), secret)
        .map_err(|error| ControlError::Vault {
            name: name.to_owned(),
            why: error.to_string(),
        })?;
    sqlx::query(
        "INSERT INTO fabric_key (name, public, sealed, created_at) VALUES ($1, $2, $3, $4)",
    )
    .bind(name)
    .bind(public)
    .bind(sealed)
    .bind(now.micros())
    .execute(&mut **tx)
    .await?;
    Ok(())
}

fn context(name: &str) -> String {
    format!("fabric_key/sealed/{name}")
}
