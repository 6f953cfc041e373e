//! Where Parquet files are: a directory, or an S3-compatible store.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{ObjectStore, ObjectStoreExt};

use crate::LakeError;
use crate::config::{LakeConfig, S3Config};

/// The place of the Parquet files.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    store: Arc<dyn ObjectStore>,
    /// The directory, when it is one: written to directly, because a file must be
    /// synced before its name appears.
    local: Option<PathBuf>,
}

impl Files {
    pub(crate) fn open(config: &LakeConfig) -> Result<Self, LakeError> {
        if let Some(s3) = &config.s3 {
            return Ok(Self {
                store: open_s3(s3)?,
                local: None,
            });
        }
        let root = config.dir.join("tables");
        fs::create_dir_all(&root).map_err(|source| LakeError::Open {
            dir: root.clone(),
            source,
        })?;
        let store = LocalFileSystem::new_with_prefix(&root)
            .map_err(LakeError::store("open", root.display().to_string()))?;
        Ok(Self {
            store: Arc::new(store),
            local: Some(root),
        })
    }

    /// Files in a store that a test brings.
    #[cfg(test)]
    pub(crate) fn in_store(store: Arc<dyn ObjectStore>) -> Self {
        Self { store, local: None }
    }

    /// The store, for reading.
    pub(crate) fn store(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.store)
    }

    /// Writes a file; durable and whole on return.
    pub(crate) async fn put(&self, path: &str, bytes: Vec<u8>) -> Result<(), LakeError> {
        match &self.local {
            Some(root) => {
                write_whole(&root.join(path), &bytes).map_err(LakeError::io("write a Parquet file"))
            }
            None => self
                .store
                .put(&Path::from(path), Bytes::from(bytes).into())
                .await
                .map(|_| ())
                .map_err(LakeError::store("write", path)),
        }
    }

    /// Deletes a file; one that is gone already is no error.
    pub(crate) async fn delete(&self, path: &str) -> Result<(), LakeError> {
        match self.store.delete(&Path::from(path)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(LakeError::store("delete", path)(error)),
        }
    }

    /// All files with their sizes.
    pub(crate) async fn list(&self) -> Result<Vec<(String, u64)>, LakeError> {
        self.store
            .list(None)
            .map_ok(|meta| (meta.location.to_string(), meta.size))
            .try_collect()
            .await
            .map_err(LakeError::store("list", "the files"))
    }

    /// The whole content of a file.
    pub(crate) async fn get(&self, path: &str) -> Result<Bytes, LakeError> {
        let read = LakeError::store("read", path);
        match self.store.get(&Path::from(path)).await {
            Ok(found) => found.bytes().await.map_err(read),
            Err(error) => Err(read(error)),
        }
    }
}

fn open_s3(config: &S3Config) -> Result<Arc<dyn ObjectStore>, LakeError> {
    let invalid = |rule| LakeError::Config {
        key: "s3.url",
        value: config.url.clone(),
        rule,
    };
    let rest = config
        .url
        .strip_prefix("s3://")
        .ok_or_else(|| invalid("must be s3://bucket/prefix"))?;
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    if bucket.is_empty() {
        return Err(invalid("must name a bucket"));
    }
    let mut builder = AmazonS3Builder::from_env()
        .with_bucket_name(bucket)
        .with_region(&config.region)
        .with_allow_http(config.allow_http);
    if let Some(endpoint) = &config.endpoint {
        builder = builder.with_endpoint(endpoint);
    }
    let store = builder
        .build()
        .map_err(LakeError::store("open", &config.url))?;
    Ok(if prefix.is_empty() {
        Arc::new(store)
    } else {
        Arc::new(PrefixStore::new(store, prefix))
    })
}

/// Writes a file so that its name never stands for half of it.
pub(crate) fn write_whole(path: &FilePath, bytes: &[u8]) -> io::Result<()> {
    let parent = path.parent().unwrap_or(FilePath::new("."));
    let created = !parent.is_dir();
    fs::create_dir_all(parent)?;
    let temporary = path.with_extension("tmp");
    let mut file = File::create(&temporary)?;
    let written = file
        .write_all(bytes)
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&temporary, path));
    if let Err(error) = written {
        // Frees the space that a full disk needs; the name is ours alone.
        fs::remove_file(&temporary).ok();
        return Err(error);
    }
    File::open(parent)?.sync_all()?;
    if created {
        for above in parent
            .ancestors()
            .skip(1)
            .take(3)
            .filter(|above| above.is_dir())
        {
            File::open(above)?.sync_all()?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_directory_and_a_store_keep_files_alike() {
        let dir = tempfile::tempdir().expect("a directory");
        let config = LakeConfig {
            dir: dir.path().to_owned(),
            ..LakeConfig::default()
        };
        let memory = Arc::new(object_store::memory::InMemory::new());
        let prefixed = Arc::new(PrefixStore::new(memory, "a/prefix"));
        let path = "access/date=2026-11-21/hour=09/part-1.parquet";
        for files in [
            Files::open(&config).expect("opens"),
            Files::in_store(prefixed),
        ] {
            files.put(path, b"content".to_vec()).await.expect("puts");
            assert_eq!(files.list().await.expect("lists"), [(path.to_owned(), 7)]);
            assert_eq!(&files.get(path).await.expect("gets")[..], b"content");
            files.delete(path).await.expect("deletes");
            files.delete(path).await.expect("deletes what is gone");
            assert!(files.list().await.expect("lists").is_empty());
        }
    }

    #[test]
    fn a_wrong_address_of_a_store_is_named() {
        for (url, rule) in [
            ("http://x", "must be s3://bucket/prefix"),
            ("s3:///x", "must name a bucket"),
        ] {
            let config = LakeConfig {
                s3: Some(S3Config {
                    url: url.to_owned(),
                    endpoint: None,
                    region: "us-east-1".to_owned(),
                    allow_http: false,
                }),
                ..LakeConfig::default()
            };
            let error = Files::open(&config).expect_err("refused").to_string();
            assert!(error.contains(rule) && error.contains(url), "{error}");
        }
    }
}
