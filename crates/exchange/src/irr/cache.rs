//! The last good answers of the registries, on disk.

use std::io::Write as _;
use std::path::PathBuf;

use super::{Allowed, IrrError};

/// Bytes of one kept answer.
const FILE_BYTES_MAX: u64 = 256 << 20;

/// A directory of answers, one file each, replaced atomically.
#[derive(Debug, Clone)]
pub struct Cache {
    directory: PathBuf,
}

impl Cache {
    /// Uses `directory`, which is made when it is not there.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(directory: PathBuf) -> Result<Self, IrrError> {
        std::fs::create_dir_all(&directory).map_err(|source| IrrError::File {
            path: directory.display().to_string(),
            source,
        })?;
        Ok(Self { directory })
    }

    /// Keeps an answer.
    ///
    /// # Errors
    /// When it cannot be written; an earlier answer then stands.
    pub fn keep(
        &self,
        set: &str,
        sources: &[String],
        v6: bool,
        allowed: &Allowed,
    ) -> Result<(), IrrError> {
        let path = self.path(set, sources, v6);
        let failed = |source| IrrError::File {
            path: path.display().to_string(),
            source,
        };
        let text = serde_json::to_vec(allowed).map_err(|error| failed(error.into()))?;
        if std::fs::read(&path).is_ok_and(|kept| kept == text) {
            return Ok(());
        }
        let partial = path.with_extension("partial");
        let mut file = std::fs::File::create(&partial).map_err(failed)?;
        file.write_all(&text).map_err(failed)?;
        file.sync_all().map_err(failed)?;
        std::fs::rename(&partial, &path).map_err(failed)
    }

    /// The answer kept last; nothing when there is none that can be read.
    pub fn last_good(&self, set: &str, sources: &[String], v6: bool) -> Option<Allowed> {
        let path = self.path(set, sources, v6);
        if std::fs::metadata(&path).ok()?.len() > FILE_BYTES_MAX {
            return None;
        }
        serde_json::from_slice(&std::fs::read(path).ok()?).ok()
    }

    /// Names hold `:` and any case: a digest tells them apart on every file system.
    fn path(&self, set: &str, sources: &[String], v6: bool) -> PathBuf {
        let family = if v6 { "v6" } else { "v4" };
        let key = format!(
            "{}\n{}",
            set.to_ascii_uppercase(),
            sources.join(",").to_ascii_uppercase()
        );
        let digest = ring::digest::digest(&ring::digest::SHA256, key.as_bytes());
        let readable: String = set
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() || c == '-' {
                    c
                } else {
                    '_'
                }
            })
            .take(60)
            .collect();
        self.directory.join(format!(
            "{readable}-{}.{family}.json",
            hex::encode(&digest.as_ref()[..8])
        ))
    }
}
