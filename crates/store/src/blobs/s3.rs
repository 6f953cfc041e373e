//! Blobs in a bucket of an S3-compatible service, by `object_store`.

use std::fmt;
use std::ops::Range;

use bytes::{Bytes, BytesMut};
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path;
use object_store::{GetOptions, MultipartUpload, ObjectStore as _, ObjectStoreExt as _};

use super::{BlobError, BlobInfo, BlobKey, BlobStream, LIST_MAX};
use crate::config::BlobsConfig;

/// Bytes of one part of a long blob; S3 wants at least 5 MiB.
const PART_BYTES: usize = 8 << 20;

pub(super) struct S3 {
    bucket: AmazonS3,
    prefix: String,
}

impl fmt::Debug for S3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The client's own text shows its credentials.
        f.debug_tuple("S3").field(&self.prefix).finish()
    }
}

pub(super) struct Writer {
    bucket: AmazonS3,
    key: BlobKey,
    path: Path,
    buffer: BytesMut,
    upload: Option<Box<dyn MultipartUpload>>,
}

impl S3 {
    pub(super) fn open(config: &BlobsConfig) -> Result<Self, BlobError> {
        runtime::crypto::install_provider();
        let name = config.s3_bucket.clone().unwrap_or_default();
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(&name)
            .with_region(&config.s3_region);
        if let Some(endpoint) = &config.s3_endpoint {
            builder = builder
                .with_endpoint(endpoint)
                .with_allow_http(endpoint.starts_with("http://"));
        }
        if let (Some(id), Some(secret)) = (&config.s3_access_key, &config.s3_secret_key) {
            builder = builder
                .with_access_key_id(id)
                .with_secret_access_key(secret);
        }
        let bucket = builder.build().map_err(|source| BlobError::Storage {
            action: "open the bucket of",
            key: name,
            source: source.into(),
        })?;
        let prefix = config.s3_prefix.trim_matches('/');
        Ok(Self {
            bucket,
            prefix: if prefix.is_empty() {
                String::new()
            } else {
                format!("{prefix}/")
            },
        })
    }

    fn path(&self, key: &BlobKey) -> Path {
        Path::from(format!("{}{key}", self.prefix))
    }

    #[expect(clippy::unused_async, reason = "the same door as that of local blobs")]
    pub(super) async fn writer(&self, key: &BlobKey) -> Result<Writer, BlobError> {
        Ok(Writer {
            bucket: self.bucket.clone(),
            key: key.clone(),
            path: self.path(key),
            buffer: BytesMut::new(),
            upload: None,
        })
    }

    pub(super) async fn get(
        &self,
        key: &BlobKey,
        range: Option<Range<u64>>,
    ) -> Result<BlobStream, BlobError> {
        let options = GetOptions {
            range: range.map(Into::into),
            ..GetOptions::default()
        };
        let result = self
            .bucket
            .get_opts(&self.path(key), options)
            .await
            .map_err(|source| failure("read", key, source))?;
        let key = key.clone();
        Ok(result
            .into_stream()
            .map_err(move |source| failure("read", &key, source))
            .boxed())
    }

    pub(super) async fn size(&self, key: &BlobKey) -> Result<u64, BlobError> {
        let meta = self.bucket.head(&self.path(key)).await;
        Ok(meta.map_err(|source| failure("read", key, source))?.size)
    }

    pub(super) async fn delete(&self, key: &BlobKey) -> Result<(), BlobError> {
        match self.bucket.delete(&self.path(key)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(source) => Err(failure("delete", key, source)),
        }
    }

    pub(super) async fn list(
        &self,
        prefix: Option<&BlobKey>,
        after: Option<&BlobKey>,
    ) -> Result<Vec<BlobInfo>, BlobError> {
        let below = Path::from(format!(
            "{}{}",
            self.prefix,
            prefix.map_or("", BlobKey::as_str)
        ));
        let below = Some(&below).filter(|path| !path.as_ref().is_empty());
        let mut listing = match after {
            Some(after) => self.bucket.list_with_offset(below, &self.path(after)),
            None => self.bucket.list(below),
        };
        let mut found = Vec::new();
        while found.len() < LIST_MAX {
            let next = listing.try_next().await;
            let next = next.map_err(|source| BlobError::Storage {
                action: "list",
                key: prefix.map_or("", BlobKey::as_str).to_owned(),
                source: source.into(),
            })?;
            let Some(meta) = next else { break };
            let key = meta.location.as_ref().strip_prefix(&self.prefix);
            if let Some(Ok(key)) = key.map(str::parse::<BlobKey>) {
                found.push(BlobInfo {
                    key,
                    size_bytes: meta.size,
                });
            }
        }
        Ok(found)
    }
}

impl Writer {
    pub(super) async fn write(&mut self, piece: Bytes) -> Result<(), BlobError> {
        self.buffer.extend_from_slice(&piece);
        while self.buffer.len() >= PART_BYTES {
            let part = self.buffer.split_to(PART_BYTES).freeze();
            self.part(part)
                .await
                .map_err(|source| failure("write", &self.key, source))?;
        }
        Ok(())
    }

    async fn part(&mut self, part: Bytes) -> object_store::Result<()> {
        let upload = match &mut self.upload {
            Some(upload) => upload,
            None => self
                .upload
                .insert(self.bucket.put_multipart(&self.path).await?),
        };
        upload.put_part(part.into()).await
    }

    pub(super) async fn finish(mut self) -> Result<(), BlobError> {
        let rest = self.buffer.split().freeze();
        let finished = match self.upload.take() {
            None => self
                .bucket
                .put(&self.path, rest.into())
                .await
                .map(|_stored| ()),
            Some(mut upload) => {
                let finish = async {
                    if !rest.is_empty() {
                        upload.put_part(rest.into()).await?;
                    }
                    upload.complete().await
                };
                let finished = finish.await.map(|_stored| ());
                if finished.is_err() {
                    give_up(&self.key, upload).await;
                }
                finished
            }
        };
        finished.map_err(|source| failure("write", &self.key, source))
    }

    pub(super) async fn abort(mut self) {
        if let Some(upload) = self.upload.take() {
            give_up(&self.key, upload).await;
        }
    }
}

/// The service keeps, and bills, parts that are neither completed nor aborted.
async fn give_up(key: &BlobKey, mut upload: Box<dyn MultipartUpload>) {
    if let Err(error) = upload.abort().await {
        tracing::warn!(%error, %key, "Parts of blob {key} stay in the bucket");
    }
}

fn failure(action: &'static str, key: &BlobKey, source: object_store::Error) -> BlobError {
    match source {
        object_store::Error::NotFound { .. } => BlobError::NotFound(key.clone()),
        source => BlobError::Storage {
            action,
            key: key.to_string(),
            source: source.into(),
        },
    }
}
