//! Encryption of fields that hold secrets or personal data.
//!
//! A sealed field is authenticated ciphertext (ChaCha20-Poly1305, RFC 8439) bound
//! to its *context*, a text that names table, column and row: moved elsewhere, it
//! does not open. Each field is sealed under a key of its own, derived by HKDF
//! (RFC 5869) from a random salt and the active key of the key file, so that no
//! nonce is ever used twice and no limit on messages per key is near.
//!
//! Keys rotate: [`Vault::rotate`] adds a key and makes it active, [`reseal`]
//! brings stored fields over to it, [`Vault::retire`] removes an old one. Other
//! processes with the same file notice by themselves.

mod error;
mod keyfile;
mod reseal;
pub(crate) mod seal;

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use base::Timestamp;
use ring::hmac;
use sqlx::Row as _;

pub use error::VaultError;
pub use reseal::{SealedColumn, reseal};

use crate::blobs::SealedBlobs;
use crate::db::Db;
use crate::error::StoreError;
use keyfile::KeyFile;

/// The keys that data in this database were sealed with.
pub(crate) const TABLES: &str = "
CREATE TABLE store_key (
    key_id BIGINT PRIMARY KEY,
    first_used_at BIGINT NOT NULL
);
";

/// Seals and opens fields. Cheap to clone; clones share the keys.
#[derive(Clone)]
pub struct Vault {
    inner: Arc<Inner>,
}

struct Inner {
    path: PathBuf,
    keys: RwLock<Arc<KeyFile>>,
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Vault").field(&self.inner.path).finish()
    }
}

impl Vault {
    /// Reads the key file at `path`; creates it with one fresh key if it is absent.
    ///
    /// # Errors
    /// When the file cannot be read or created, is damaged, or others than its
    /// owner may read it.
    pub fn open_file(path: &Path) -> Result<Self, VaultError> {
        let keys = keyfile::load_or_create(path)?;
        Ok(Self {
            inner: Arc::new(Inner {
                path: path.to_owned(),
                keys: RwLock::new(Arc::new(keys)),
            }),
        })
    }

    /// Checks that every key that `db` was ever used with is in the file, and
    /// registers the active one. Call it at start: a fresh key file beside an old
    /// database is noticed here and not when a secret is needed.
    ///
    /// # Errors
    /// [`VaultError::UnknownKey`] when a key is missing.
    pub async fn bind(&self, db: &Db) -> Result<(), VaultError> {
        let keys = self.keys();
        let rows = sqlx::query("SELECT key_id FROM store_key")
            .fetch_all(db.pool())
            .await
            .map_err(StoreError::from)?;
        let mut known = Vec::new();
        for row in rows {
            let id: i64 = row.try_get(0).map_err(StoreError::from)?;
            let id = u32::try_from(id).unwrap_or(0);
            if keys.find(id).is_none() {
                return Err(self.unknown(id));
            }
            known.push(id);
        }
        if !known.contains(&keys.active) {
            let mut tx = db.begin().await?;
            sqlx::query("INSERT INTO store_key VALUES ($1, $2) ON CONFLICT (key_id) DO NOTHING")
                .bind(i64::from(keys.active))
                .bind(db.clock().now().micros())
                .execute(&mut *tx)
                .await
                .map_err(StoreError::from)?;
            tx.commit().await?;
        }
        Ok(())
    }

    /// Encrypts `plain` for `context`, such as `user.totp:<id>`. The result is 45
    /// bytes longer.
    ///
    /// # Errors
    /// Only when the system gives no random bytes.
    pub fn seal(&self, context: &str, plain: &[u8]) -> Result<Vec<u8>, VaultError> {
        let keys = self.keys();
        seal::seal(keys.active_key(), context, plain)
    }

    /// Decrypts what was sealed for `context`.
    ///
    /// # Errors
    /// When the field is damaged, was sealed for another context, or with a key
    /// that the file does not hold.
    pub fn open(&self, context: &str, sealed: &[u8]) -> Result<Vec<u8>, VaultError> {
        let keys = self.keys();
        let id = seal::key_id(sealed).ok_or_else(|| VaultError::damaged(context))?;
        let key = keys.find(id).ok_or_else(|| self.unknown(id))?;
        seal::open(key, context, sealed)
    }

    /// As [`Vault::seal`], for text.
    ///
    /// # Errors
    /// As [`Vault::seal`].
    pub fn seal_text(&self, context: &str, plain: &str) -> Result<Vec<u8>, VaultError> {
        self.seal(context, plain.as_bytes())
    }

    /// As [`Vault::open`], for text.
    ///
    /// # Errors
    /// As [`Vault::open`], and when it is no text.
    pub fn open_text(&self, context: &str, sealed: &[u8]) -> Result<String, VaultError> {
        String::from_utf8(self.open(context, sealed)?).map_err(|_| VaultError::damaged(context))
    }

    /// A keyed hash of `value`, in hexadecimal, to find a sealed field by equality
    /// or to sign. It does not change when keys rotate.
    pub fn blind_index(&self, context: &str, value: &[u8]) -> String {
        let keys = self.keys();
        let key = hmac::Key::new(hmac::HMAC_SHA256, &keys.index);
        let mut hash = hmac::Context::with_key(&key);
        hash.update(&(context.len() as u64).to_be_bytes());
        hash.update(context.as_bytes());
        hash.update(value);
        hex::encode(hash.sign())
    }

    /// Whether `sealed` was sealed with an older key than the active one.
    pub fn is_outdated(&self, sealed: &[u8]) -> bool {
        seal::key_id(sealed) != Some(self.keys().active)
    }

    /// Adds a fresh key to the file and makes it active; returns its id. Fields
    /// sealed before still open.
    ///
    /// # Errors
    /// When the file cannot be written; nothing has changed then.
    pub fn rotate(&self, now: Timestamp) -> Result<u32, VaultError> {
        let keys = keyfile::add_key(&self.inner.path, now)?;
        Ok(self.replace(keys).active)
    }

    /// Brings everything in `columns` and `blobs` over to the active key and then
    /// removes key `id` from `db`'s list and from the file; returns how many fields
    /// and blobs were sealed again. Anything sealed with the key that is not named
    /// here is lost, so wait after [`Vault::rotate`] until no request from before it
    /// is under way.
    ///
    /// # Errors
    /// When the key is active or unknown, something does not open, or the file
    /// cannot be written; the key stays then.
    pub async fn retire(
        &self,
        db: &Db,
        id: u32,
        columns: &[SealedColumn],
        blobs: &[SealedBlobs],
    ) -> Result<u64, VaultError> {
        let keys = self.keys();
        if keys.active == id {
            return Err(VaultError::Active { id });
        }
        if keys.find(id).is_none() {
            return Err(self.unknown(id));
        }
        let mut resealed = reseal(db, self, columns).await?;
        for place in blobs {
            resealed += place
                .reseal(None)
                .await
                .map_err(|source| VaultError::Blob(Box::new(source)))?;
        }
        // The list first: a key in the file that the list lacks does no harm.
        let mut tx = db.begin().await?;
        sqlx::query("DELETE FROM store_key WHERE key_id = $1")
            .bind(i64::from(id))
            .execute(&mut *tx)
            .await
            .map_err(StoreError::from)?;
        tx.commit().await?;
        drop(self.replace(keyfile::remove_key(&self.inner.path, id)?));
        Ok(resealed)
    }

    /// The ids of the keys in the file, oldest first, the active one last.
    pub fn key_ids(&self) -> Vec<u32> {
        self.keys().ids()
    }

    pub(crate) fn active(&self) -> seal::Key {
        self.keys().active_key().clone()
    }

    pub(crate) fn key(&self, id: u32) -> Result<seal::Key, VaultError> {
        let keys = self.keys();
        keys.find(id).cloned().ok_or_else(|| self.unknown(id))
    }

    /// The keys, read again when another process has replaced the file. A file that
    /// cannot be read leaves the keys as they were.
    fn keys(&self) -> Arc<KeyFile> {
        let keys = self
            .inner
            .keys
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if keyfile::stamp(&self.inner.path).is_none_or(|stamp| stamp == keys.stamp) {
            return keys;
        }
        match keyfile::load(&self.inner.path) {
            Ok(fresh) => {
                tracing::info!(path = %self.inner.path.display(), "Read the replaced key file");
                self.replace(fresh)
            }
            Err(error) => {
                let error = runtime::error_chain(&error);
                tracing::error!(error, "Cannot read the replaced key file; keeping the keys");
                keys
            }
        }
    }

    fn replace(&self, keys: KeyFile) -> Arc<KeyFile> {
        let keys = Arc::new(keys);
        *self
            .inner
            .keys
            .write()
            .unwrap_or_else(PoisonError::into_inner) = keys.clone();
        keys
    }

    fn unknown(&self, id: u32) -> VaultError {
        VaultError::UnknownKey {
            path: self.inner.path.clone(),
            id,
        }
    }
}
