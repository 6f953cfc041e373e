//! Heads of the chain in a file beside the database: one JSON line each, signed
//! with the vault's key.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use base::Timestamp;
use serde::{Deserialize, Serialize};
use sqlx::Row as _;

use crate::db::Db;
use crate::error::StoreError;
use crate::vault::Vault;

/// Context of the signature.
const CONTEXT: &str = "audit.anchor";

/// The anchor file.
#[derive(Debug, Clone)]
pub struct Anchors {
    path: PathBuf,
    vault: Vault,
}

/// Why anchors cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AnchorError {
    /// The file cannot be read or written.
    #[error("cannot use anchor file {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A line is no anchor of ours.
    #[error("line {line} of anchor file {} is forged or damaged", path.display())]
    Forged {
        /// The file.
        path: PathBuf,
        /// 1-based line.
        line: usize,
    },
    /// The head cannot be read.
    #[error("cannot read the head of the audit trail")]
    Store(#[from] StoreError),
}

#[derive(Debug, Serialize, Deserialize)]
struct Anchor {
    at: Timestamp,
    seq: u64,
    hash: String,
    mac: String,
}

impl Anchors {
    /// The anchors in `path`, which need not exist.
    pub fn new(path: impl Into<PathBuf>, vault: Vault) -> Self {
        Self {
            path: path.into(),
            vault,
        }
    }

    /// Writes the present head, unless it is the one written last; whether it was
    /// written. Idempotent, made for a periodic task.
    ///
    /// # Errors
    /// When the head cannot be read or the file not written durably.
    pub async fn record(&self, db: &Db) -> Result<bool, AnchorError> {
        let row = sqlx::query("SELECT seq, hash FROM audit_head WHERE one = 1")
            .fetch_one(db.pool())
            .await
            .map_err(StoreError::from)?;
        let seq: i64 = row.try_get(0).map_err(StoreError::from)?;
        let hash: String = row.try_get(1).map_err(StoreError::from)?;
        let seq = u64::try_from(seq).unwrap_or(0);
        let known = self.read()?;
        if seq == 0 || known.last_key_value().is_some_and(|(last, _)| *last >= seq) {
            return Ok(false);
        }
        let at = db.clock().now();
        let anchor = Anchor {
            at,
            seq,
            mac: self.mac(at, seq, &hash),
            hash,
        };
        self.append(&anchor).map_err(|source| self.io(source))?;
        Ok(true)
    }

    /// Hashes by number of entry. A last line without an end is a write that was
    /// cut short and does not count.
    pub(super) fn read(&self) -> Result<BTreeMap<u64, String>, AnchorError> {
        let text = match std::fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
            Err(error) => return Err(self.io(error)),
        };
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let mut anchors = BTreeMap::new();
        for (index, line) in whole.lines().enumerate() {
            let anchor = serde_json::from_str::<Anchor>(line)
                .ok()
                .filter(|anchor| self.mac(anchor.at, anchor.seq, &anchor.hash) == anchor.mac);
            let Some(anchor) = anchor else {
                return Err(AnchorError::Forged {
                    path: self.path.clone(),
                    line: index + 1,
                });
            };
            anchors.insert(anchor.seq, anchor.hash);
        }
        Ok(anchors)
    }

    fn append(&self, anchor: &Anchor) -> io::Result<()> {
        let mut file = OpenOptions::new()
            .create(true)
            .read(true)
            .append(true)
            .mode(0o600)
            .open(&self.path)?;
        cut_torn_line(&self.path, &file)?;
        let mut line = serde_json::to_vec(anchor)?;
        line.push(b'\n');
        file.write_all(&line)?;
        file.sync_all()?;
        sync_parent(&self.path)
    }

    fn mac(&self, at: Timestamp, seq: u64, hash: &str) -> String {
        self.vault
            .blind_index(CONTEXT, format!("{}:{seq}:{hash}", at.micros()).as_bytes())
    }

    fn io(&self, source: io::Error) -> AnchorError {
        AnchorError::Io {
            path: self.path.clone(),
            source,
        }
    }
}

/// Removes a last line that has no end, so that the next one begins on its own.
fn cut_torn_line(path: &Path, file: &File) -> io::Result<()> {
    let bytes = std::fs::read(path)?;
    let whole = bytes
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |at| at + 1);
    if whole < bytes.len() {
        file.set_len(whole as u64)?;
    }
    Ok(())
}

fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
        _ => Ok(()),
    }
}
