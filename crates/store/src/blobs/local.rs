//! Blobs in a directory. A blob is written beside, synced, renamed into place, and
//! the directories are synced, so that it is there whole after a crash or not at all.

use std::collections::BTreeMap;
use std::io::{self, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use tokio::fs::{self, File, OpenOptions};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _};
use tokio_util::io::ReaderStream;

use super::{BlobError, BlobInfo, BlobKey, BlobStream, LIST_MAX};

/// Where blobs are written before they have their name; no key begins with a dot.
const UNFINISHED: &str = ".unfinished";
/// Bytes read at a time.
const READ_BYTES: usize = 64 * 1024;

#[derive(Debug)]
pub(super) struct Local {
    root: PathBuf,
}

pub(super) struct Writer {
    root: PathBuf,
    key: BlobKey,
    unfinished: PathBuf,
    file: Option<File>,
}

impl Local {
    pub(super) fn open(root: &Path) -> Result<Self, BlobError> {
        let open = || {
            let unfinished = root.join(UNFINISHED);
            std::fs::create_dir_all(&unfinished)?;
            // What a crash left behind was never acknowledged.
            for entry in std::fs::read_dir(&unfinished)? {
                std::fs::remove_file(entry?.path())?;
            }
            std::path::absolute(root)
        };
        let root = open().map_err(|source| BlobError::Storage {
            action: "open the directory of",
            key: root.display().to_string(),
            source: source.into(),
        })?;
        Ok(Self { root })
    }

    fn path(&self, key: &BlobKey) -> PathBuf {
        self.root.join(key.as_str())
    }

    pub(super) async fn writer(&self, key: &BlobKey) -> Result<Writer, BlobError> {
        let name = uuid::Uuid::new_v4().to_string();
        let unfinished = self.root.join(UNFINISHED).join(name);
        let file = OpenOptions::new()
            .create_new(true)
            .write(true)
            .mode(0o600)
            .open(&unfinished)
            .await
            .map_err(|source| failure("write", key, source))?;
        Ok(Writer {
            root: self.root.clone(),
            key: key.clone(),
            unfinished,
            file: Some(file),
        })
    }

    pub(super) async fn get(
        &self,
        key: &BlobKey,
        range: Option<Range<u64>>,
    ) -> Result<BlobStream, BlobError> {
        let open = async {
            let mut file = File::open(self.path(key)).await?;
            if file.metadata().await?.is_dir() {
                return Err(io::ErrorKind::NotFound.into());
            }
            let length = match range {
                Some(range) => {
                    file.seek(SeekFrom::Start(range.start)).await?;
                    range.end - range.start
                }
                None => u64::MAX,
            };
            Ok(file.take(length))
        };
        let reader = open.await.map_err(|source| failure("read", key, source))?;
        let key = key.clone();
        Ok(ReaderStream::with_capacity(reader, READ_BYTES)
            .map_err(move |source| failure("read", &key, source))
            .boxed())
    }

    pub(super) async fn size(&self, key: &BlobKey) -> Result<u64, BlobError> {
        let metadata = fs::metadata(self.path(key))
            .await
            .map_err(|source| failure("read", key, source))?;
        if metadata.is_dir() {
            return Err(BlobError::NotFound(key.clone()));
        }
        Ok(metadata.len())
    }

    pub(super) async fn delete(&self, key: &BlobKey) -> Result<(), BlobError> {
        let path = self.path(key);
        match fs::remove_file(&path).await {
            Ok(()) => {}
            Err(error) if is_absent(&error) => return Ok(()),
            Err(error) => return Err(failure("delete", key, error)),
        }
        let parent = path.parent().unwrap_or(&self.root);
        sync_directory(parent)
            .await
            .map_err(|source| failure("delete", key, source))
    }

    pub(super) async fn list(
        &self,
        prefix: Option<&BlobKey>,
        after: Option<&BlobKey>,
    ) -> Result<Vec<BlobInfo>, BlobError> {
        let root = self.root.clone();
        let prefix = prefix.cloned();
        let after = after.cloned();
        let shown = prefix.as_ref().map_or("", BlobKey::as_str).to_owned();
        let walked =
            tokio::task::spawn_blocking(move || walk(&root, prefix.as_ref(), after.as_ref())).await;
        let source = match walked {
            Ok(Ok(found)) => return Ok(found),
            Ok(Err(error)) => error.into(),
            Err(error) => error.into(),
        };
        Err(BlobError::Storage {
            action: "list",
            key: shown,
            source,
        })
    }
}

impl Writer {
    pub(super) async fn write(&mut self, piece: Bytes) -> Result<(), BlobError> {
        if let Some(file) = &mut self.file {
            file.write_all(&piece)
                .await
                .map_err(|source| failure("write", &self.key, source))?;
        }
        Ok(())
    }

    pub(super) async fn finish(mut self) -> Result<(), BlobError> {
        let Some(mut file) = self.file.take() else {
            return Ok(());
        };
        let finish = async {
            file.flush().await?;
            file.sync_all().await?;
            let path = self.root.join(self.key.as_str());
            let parent = path.parent().unwrap_or(&self.root);
            create_directories(&self.root, parent).await?;
            fs::rename(&self.unfinished, &path).await?;
            sync_directory(parent).await
        };
        finish
            .await
            .map_err(|source| failure("write", &self.key, source))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // After `finish` the file has its name, and nothing is here to remove.
        match std::fs::remove_file(&self.unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                let path = self.unfinished.display();
                tracing::warn!(%error, %path, "Cannot remove the unfinished blob {path}");
            }
            _ => {}
        }
    }
}

/// Creates `wanted` below `root`, syncing each directory that gains one.
async fn create_directories(root: &Path, wanted: &Path) -> io::Result<()> {
    let mut missing = Vec::new();
    let mut directory = wanted;
    while directory != root && !fs::try_exists(directory).await? {
        missing.push(directory);
        match directory.parent() {
            Some(parent) => directory = parent,
            None => break,
        }
    }
    for directory in missing.into_iter().rev() {
        match fs::create_dir(directory).await {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => other?,
        }
        if let Some(parent) = directory.parent() {
            sync_directory(parent).await?;
        }
    }
    Ok(())
}

async fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path).await?.sync_all().await
}

/// The first [`LIST_MAX`] blobs in key order. Directories are visited in an order
/// that is not quite that of keys, so all keys below `prefix` are looked at.
fn walk(
    root: &Path,
    prefix: Option<&BlobKey>,
    after: Option<&BlobKey>,
) -> io::Result<Vec<BlobInfo>> {
    let start = prefix.map_or(root.to_owned(), |prefix| root.join(prefix.as_str()));
    let mut found: BTreeMap<BlobKey, u64> = BTreeMap::new();
    let mut waiting = vec![start];
    while let Some(path) = waiting.pop() {
        let metadata = match std::fs::metadata(&path) {
            Ok(metadata) => metadata,
            Err(error) if is_absent(&error) => continue,
            Err(error) => return Err(error),
        };
        if metadata.is_dir() {
            for entry in std::fs::read_dir(&path)? {
                let entry = entry?;
                if entry.file_name() != UNFINISHED {
                    waiting.push(entry.path());
                }
            }
            continue;
        }
        let relative = path.strip_prefix(root).ok().and_then(Path::to_str);
        let Some(Ok(key)) = relative.map(str::parse::<BlobKey>) else {
            continue;
        };
        if after.is_none_or(|after| key > *after) {
            found.insert(key, metadata.len());
            if found.len() > LIST_MAX {
                found.pop_last();
            }
        }
    }
    Ok(found
        .into_iter()
        .map(|(key, size_bytes)| BlobInfo { key, size_bytes })
        .collect())
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

fn failure(action: &'static str, key: &BlobKey, source: io::Error) -> BlobError {
    match source.kind() {
        _ if action == "read" && is_absent(&source) => BlobError::NotFound(key.clone()),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => BlobError::Full {
            key: key.clone(),
            source,
        },
        _ => BlobError::Storage {
            action,
            key: key.to_string(),
            source: source.into(),
        },
    }
}
