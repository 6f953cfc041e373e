//! Files by key: attachments, exports, reports. In a local directory or a bucket of
//! an S3-compatible service, behind the same doors; encrypted on request
//! ([`Blobs::sealed`]), which is the rule for personal data.
//!
//! A blob is written whole or not at all, and is durable when `put` returns. Keys
//! are checked texts ([`BlobKey`]), so that no key leads out of the directory.

mod key;
mod local;
mod s3;
mod sealed;

use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::stream::BoxStream;
use futures::{Stream, StreamExt as _, TryStreamExt as _};
use ring::digest::{Context, SHA256};

pub use key::{BlobKey, InvalidKey};
pub use sealed::SealedBlobs;

use crate::config::BlobsConfig;
use crate::vault::Vault;
use local::Local;
use s3::S3;

/// Keys of one listing.
pub const LIST_MAX: usize = 1_000;

/// The content of a blob, piece by piece.
pub type BlobStream = BoxStream<'static, Result<Bytes, BlobError>>;

/// What is known about a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobInfo {
    /// Its key.
    pub key: BlobKey,
    /// Its length in bytes, as stored.
    pub size_bytes: u64,
}

/// What was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Length in bytes of the content given.
    pub size_bytes: u64,
    /// SHA-256 of the content given, in hexadecimal.
    pub sha256: String,
}

/// Why a blob cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// There is no blob under this key.
    #[error("blob {0} does not exist")]
    NotFound(BlobKey),
    /// The content is longer than the caller allows.
    #[error("blob {key} has more than {max_bytes} bytes")]
    TooLong {
        /// The key.
        key: BlobKey,
        /// The limit in bytes.
        max_bytes: u64,
    },
    /// The range does not lie in the blob.
    #[error("bytes {start} to {end} do not lie in blob {key} of {size_bytes} bytes")]
    Range {
        /// The key.
        key: BlobKey,
        /// First byte.
        start: u64,
        /// Byte after the last.
        end: u64,
        /// Its length.
        size_bytes: u64,
    },
    /// An encrypted blob does not open.
    #[error("blob {0} is damaged or was stored under another key")]
    Damaged(BlobKey),
    /// The keys of the vault do not serve.
    #[error("blob {key} cannot be decrypted")]
    Vault {
        /// The key of the blob.
        key: BlobKey,
        /// What is wrong.
        #[source]
        source: crate::vault::VaultError,
    },
    /// The content given by the caller broke off.
    #[error("the content for blob {key} broke off")]
    Content {
        /// The key.
        key: BlobKey,
        /// What the caller's stream said.
        #[source]
        source: std::io::Error,
    },
    /// No space is left; nothing was stored.
    #[error("no space left for blob {key}")]
    Full {
        /// The key.
        key: BlobKey,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The directory or service failed.
    #[error("cannot {action} blob {key}")]
    Storage {
        /// read, write, delete or list.
        action: &'static str,
        /// The key or prefix.
        key: String,
        /// What it said.
        #[source]
        source: runtime::BoxError,
    },
}

/// A place for blobs. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Blobs {
    backend: Arc<Backend>,
}

#[derive(Debug)]
enum Backend {
    Local(Local),
    S3(S3),
}

impl Blobs {
    /// The place that `config` names; a directory is created if absent.
    ///
    /// # Errors
    /// When the directory cannot be created or the bucket's settings do not fit.
    pub fn open(config: &BlobsConfig) -> Result<Self, BlobError> {
        let backend = if config.s3_bucket.is_some() {
            Backend::S3(S3::open(config)?)
        } else {
            Backend::Local(Local::open(&config.dir)?)
        };
        Ok(Self {
            backend: Arc::new(backend),
        })
    }

    /// The same place, encrypting with the keys of `vault`.
    pub fn sealed(&self, vault: Vault) -> SealedBlobs {
        SealedBlobs::new(self.clone(), vault)
    }

    /// Stores `content` under `key`, in place of what is there.
    ///
    /// # Errors
    /// When it cannot be made durable.
    pub async fn put(&self, key: &BlobKey, content: impl Into<Bytes>) -> Result<Stored, BlobError> {
        let content = content.into();
        let one = futures::stream::once(async move { Ok(content) });
        self.put_stream(key, one, u64::MAX).await
    }

    /// Stores what `content` yields under `key`, if it is at most `max_bytes`.
    ///
    /// # Errors
    /// When the stream fails or is too long, or it cannot be made durable; what
    /// was under the key stays.
    pub async fn put_stream<S>(
        &self,
        key: &BlobKey,
        content: S,
        max_bytes: u64,
    ) -> Result<Stored, BlobError>
    where
        S: Stream<Item = std::io::Result<Bytes>> + Send + 'static,
    {
        let mut hash = Context::new(&SHA256);
        let mut size_bytes = 0_u64;
        let mut writer = match &*self.backend {
            Backend::Local(local) => Writer::Local(local.writer(key).await?),
            Backend::S3(s3) => Writer::S3(s3.writer(key).await?),
        };
        let mut content = std::pin::pin!(content);
        loop {
            let piece = match content.try_next().await {
                Ok(Some(piece)) => piece,
                Ok(None) => break,
                Err(source) => {
                    let key = key.clone();
                    writer.abort().await;
                    return Err(BlobError::Content { key, source });
                }
            };
            size_bytes += piece.len() as u64;
            if size_bytes > max_bytes {
                let key = key.clone();
                writer.abort().await;
                return Err(BlobError::TooLong { key, max_bytes });
            }
            hash.update(&piece);
            if let Err(error) = writer.write(piece).await {
                writer.abort().await;
                return Err(error);
            }
        }
        writer.finish().await?;
        Ok(Stored {
            size_bytes,
            sha256: hex::encode(hash.finish()),
        })
    }

    /// The content under `key`.
    ///
    /// # Errors
    /// [`BlobError::NotFound`], or when it cannot be read.
    pub async fn get(&self, key: &BlobKey) -> Result<BlobStream, BlobError> {
        match &*self.backend {
            Backend::Local(local) => local.get(key, None).await,
            Backend::S3(s3) => s3.get(key, None).await,
        }
    }

    /// The bytes in `range` of the content under `key`.
    ///
    /// # Errors
    /// As [`Blobs::get`], and when the range does not lie in the blob.
    pub async fn get_range(
        &self,
        key: &BlobKey,
        range: Range<u64>,
    ) -> Result<BlobStream, BlobError> {
        let size_bytes = self.info(key).await?.size_bytes;
        if range.start > range.end || range.end > size_bytes {
            return Err(BlobError::Range {
                key: key.clone(),
                start: range.start,
                end: range.end,
                size_bytes,
            });
        }
        if range.is_empty() {
            return Ok(futures::stream::empty().boxed());
        }
        match &*self.backend {
            Backend::Local(local) => local.get(key, Some(range)).await,
            Backend::S3(s3) => s3.get(key, Some(range)).await,
        }
    }

    /// The whole content under `key`, if it is at most `max_bytes`.
    ///
    /// # Errors
    /// As [`Blobs::get`], and when it is too long.
    pub async fn read(&self, key: &BlobKey, max_bytes: u64) -> Result<Bytes, BlobError> {
        collect(key, self.get(key).await?, max_bytes).await
    }

    /// What is known about `key`.
    ///
    /// # Errors
    /// [`BlobError::NotFound`], or when the place cannot be asked.
    pub async fn info(&self, key: &BlobKey) -> Result<BlobInfo, BlobError> {
        let size_bytes = match &*self.backend {
            Backend::Local(local) => local.size(key).await?,
            Backend::S3(s3) => s3.size(key).await?,
        };
        Ok(BlobInfo {
            key: key.clone(),
            size_bytes,
        })
    }

    /// Removes what is under `key`, durably; nothing there is as good.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub async fn delete(&self, key: &BlobKey) -> Result<(), BlobError> {
        match &*self.backend {
            Backend::Local(local) => local.delete(key).await,
            Backend::S3(s3) => s3.delete(key).await,
        }
    }

    /// Up to [`LIST_MAX`] blobs under the key or directory `prefix` (all, if `None`)
    /// that follow `after`, in the order of their keys.
    ///
    /// # Errors
    /// When the place cannot be listed.
    pub async fn list(
        &self,
        prefix: Option<&BlobKey>,
        after: Option<&BlobKey>,
    ) -> Result<Vec<BlobInfo>, BlobError> {
        match &*self.backend {
            Backend::Local(local) => local.list(prefix, after).await,
            Backend::S3(s3) => s3.list(prefix, after).await,
        }
    }
}

enum Writer {
    Local(local::Writer),
    S3(s3::Writer),
}

impl Writer {
    async fn write(&mut self, piece: Bytes) -> Result<(), BlobError> {
        match self {
            Self::Local(writer) => writer.write(piece).await,
            Self::S3(writer) => writer.write(piece).await,
        }
    }

    async fn finish(self) -> Result<(), BlobError> {
        match self {
            Self::Local(writer) => writer.finish().await,
            Self::S3(writer) => writer.finish().await,
        }
    }

    async fn abort(self) {
        match self {
            // Dropping it removes its file.
            Self::Local(writer) => drop(writer),
            Self::S3(writer) => writer.abort().await,
        }
    }
}

async fn collect(
    key: &BlobKey,
    mut stream: BlobStream,
    max_bytes: u64,
) -> Result<Bytes, BlobError> {
    let mut content = BytesMut::new();
    while let Some(piece) = stream.try_next().await? {
        if (content.len() + piece.len()) as u64 > max_bytes {
            return Err(BlobError::TooLong {
                key: key.clone(),
                max_bytes,
            });
        }
        content.extend_from_slice(&piece);
    }
    Ok(content.freeze())
}
