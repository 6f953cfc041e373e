//! The commit record: which files make up the tables, and which part of the
//! lake's journal they hold.
//!
//! It is one small file that is replaced whole, so a flush, a merge or a deletion
//! happens at one instant: before it the rows are in the journal or in the old
//! files, after it in the new ones. Files that it does not name do not exist.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::LakeError;
use crate::files::write_whole;
use crate::part::Part;
use crate::recent::Nodes;

const FILE: &str = "commit.json";
const VERSION: u32 = 1;

/// What is committed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// One past the last record of the lake's journal that is in files.
    pub(crate) journal_end: u64,
    /// The nodes as of that record.
    pub(crate) nodes: Nodes,
    pub(crate) parts: Vec<Part>,
}

#[derive(Serialize, Deserialize)]
struct Header {
    version: u32,
    /// CRC-32 of the second line.
    crc32: u32,
}

pub(crate) fn path(dir: &Path) -> PathBuf {
    dir.join(FILE)
}

impl Manifest {
    /// The commit record in `dir`; none when nothing was ever committed.
    pub(crate) fn load(dir: &Path) -> Result<Option<Self>, LakeError> {
        let path = path(dir);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(LakeError::io("read the commit record")(error)),
        };
        let damaged = |reason: String| LakeError::Manifest {
            path: path.clone(),
            reason,
        };
        let mut lines = text.splitn(2, |byte| *byte == b'\n');
        let (head, body) = (lines.next().unwrap_or(&[]), lines.next().unwrap_or(&[]));
        let header: Header =
            serde_json::from_slice(head).map_err(|error| damaged(error.to_string()))?;
        if header.version != VERSION {
            return Err(damaged(format!(
                "version {} is not {VERSION}",
                header.version
            )));
        }
        if header.crc32 != crc32fast::hash(body) {
            return Err(damaged("its checksum is wrong".to_owned()));
        }
        serde_json::from_slice(body)
            .map(Some)
            .map_err(|error| damaged(error.to_string()))
    }

    /// Replaces the commit record; durable on return.
    pub(crate) fn save(&self, dir: &Path) -> Result<(), LakeError> {
        let encode = |error: serde_json::Error| LakeError::Io {
            what: "encode the commit record",
            source: error.into(),
        };
        let body = serde_json::to_vec(self).map_err(encode)?;
        let header = Header {
            version: VERSION,
            crc32: crc32fast::hash(&body),
        };
        let mut text = serde_json::to_vec(&header).map_err(encode)?;
        text.push(b'\n');
        text.extend(body);
        write_whole(&path(dir), &text).map_err(LakeError::io("write the commit record"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_saved_is_loaded_and_damage_is_named() {
        let dir = tempfile::tempdir().expect("a directory");
        assert_eq!(Manifest::load(dir.path()).expect("loads"), None);
        let manifest = Manifest {
            journal_end: 7,
            ..Manifest::default()
        };
        manifest.save(dir.path()).expect("saves");
        assert_eq!(Manifest::load(dir.path()).expect("loads"), Some(manifest));
        let path = path(dir.path());
        let whole = std::fs::read(&path).expect("reads");
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            std::fs::write(&path, damaged).expect("writes");
            let error = Manifest::load(dir.path()).expect_err("noticed").to_string();
            assert!(error.contains("commit.json"), "{error}");
        }
    }
}
