//! What a node keeps in its folder, and how it survives being killed at any moment.
//!
//! ```text
//! identity.json        who it is, its key and certificate, whom it trusts   (0600)
//! identity.next.json   the next identity while it is being tried            (0600)
//! seal.key             32 random bytes that seal what follows               (0600)
//! snapshots/ROLE.current, ROLE.previous   sealed envelopes                  (0600)
//! ```
//!
//! Every file is written beside its place, flushed, renamed and its folder flushed,
//! so that a reader finds the old content or the new. Snapshots hold private keys of
//! sites; they are sealed with ChaCha20-Poly1305 (RFC 8439) bound to their role.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use base::{NodeName, Role};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom as _, SystemRandom};
use serde::{Deserialize, Serialize};

use crate::envelope::ENVELOPE_BYTES_MAX;

const IDENTITY: &str = "identity.json";
const IDENTITY_NEXT: &str = "identity.next.json";
const SEAL_KEY: &str = "seal.key";
const SNAPSHOTS: &str = "snapshots";
const SEAL_MAGIC: &[u8; 8] = b"CNSEAL1\n";
const IDENTITY_BYTES_MAX: u64 = 1024 * 1024;
const SEALED_BYTES_MAX: u64 = ENVELOPE_BYTES_MAX as u64 + 64;

/// Why the folder could not be used.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// The system's word.
    #[error("could not {what} {}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A file that is not what it should be.
    #[error("{} is damaged: {why}", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// How.
        why: String,
    },
    /// No randomness from the system.
    #[error("the system gave no random bytes")]
    Random,
}

/// Who a node is.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct IdentityFile {
    pub(crate) node: NodeName,
    pub(crate) roles: Vec<Role>,
    pub(crate) control_urls: Vec<String>,
    pub(crate) ca_pem: String,
    pub(crate) certificate_pem: String,
    pub(crate) key_pem: String,
    pub(crate) snapshot_key: String,
}

/// The folder.
pub(crate) struct Disk {
    dir: PathBuf,
    key: LessSafeKey,
}

/// A snapshot found on disk, or why one there cannot be used.
pub(crate) type Kept = Result<Vec<u8>, DiskError>;

impl Disk {
    /// Makes or opens the folder; makes the sealing key when there is none or when it
    /// is damaged (what was sealed with it is then fetched again).
    pub(crate) fn open(dir: &Path) -> Result<Self, DiskError> {
        private_dir(dir)?;
        private_dir(&dir.join(SNAPSHOTS))?;
        let path = dir.join(SEAL_KEY);
        let bytes = match read(&path, 64) {
            Ok(bytes) if bytes.len() == 32 => bytes,
            Ok(bytes) => {
                tracing::error!(path = %path.display(), bytes = bytes.len(),
                    "sealing key is damaged; a new one replaces it and kept snapshots are fetched again");
                new_seal_key(&path)?
            }
            Err(DiskError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                new_seal_key(&path)?
            }
            Err(error) => return Err(error),
        };
        let key = UnboundKey::new(&CHACHA20_POLY1305, &bytes).map_err(|_| DiskError::Damaged {
            path,
            why: "must hold 32 bytes".to_owned(),
        })?;
        Ok(Self {
            dir: dir.to_owned(),
            key: LessSafeKey::new(key),
        })
    }

    pub(crate) fn identity(&self) -> Result<Option<IdentityFile>, DiskError> {
        self.read_identity(IDENTITY)
    }

    pub(crate) fn identity_next(&self) -> Result<Option<IdentityFile>, DiskError> {
        self.read_identity(IDENTITY_NEXT)
    }

    fn read_identity(&self, name: &str) -> Result<Option<IdentityFile>, DiskError> {
        let path = self.dir.join(name);
        match read(&path, IDENTITY_BYTES_MAX) {
            Ok(bytes) => match serde_json::from_slice(&bytes) {
                Ok(identity) => Ok(Some(identity)),
                // serde_json's message may quote the key's text; say where only.
                Err(error) => Err(DiskError::Damaged {
                    path,
                    why: format!("line {}, column {}", error.line(), error.column()),
                }),
            },
            Err(DiskError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    pub(crate) fn write_identity(&self, identity: &IdentityFile) -> Result<(), DiskError> {
        self.store_identity(IDENTITY, identity)
    }

    pub(crate) fn write_identity_next(&self, identity: &IdentityFile) -> Result<(), DiskError> {
        self.store_identity(IDENTITY_NEXT, identity)
    }

    fn store_identity(&self, name: &str, identity: &IdentityFile) -> Result<(), DiskError> {
        let path = self.dir.join(name);
        let bytes = serde_json::to_vec_pretty(identity).map_err(|_| DiskError::Damaged {
            path: path.clone(),
            why: "identity cannot be written as JSON".to_owned(),
        })?;
        replace(&path, &bytes)
    }

    /// Puts the next identity in place of the present one.
    pub(crate) fn promote_identity(&self) -> Result<(), DiskError> {
        let (from, to) = (self.dir.join(IDENTITY_NEXT), self.dir.join(IDENTITY));
        fs::rename(&from, &to).map_err(io_error("rename", &from))?;
        flush_dir(&self.dir)
    }

    pub(crate) fn discard_identity_next(&self) -> Result<(), DiskError> {
        let path = self.dir.join(IDENTITY_NEXT);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(io_error("remove", &path)(source))
            }
            _ => flush_dir(&self.dir),
        }
    }

    /// Keeps `envelope` as the current snapshot of `role`, and the one before it as
    /// the previous. Durable on return.
    pub(crate) fn keep_snapshot(&self, role: Role, envelope: &[u8]) -> Result<(), DiskError> {
        let (current, previous) = self.snapshot_paths(role);
        let temporary = write_beside(&current, &self.seal(role, envelope)?)?;
        match fs::rename(&current, &previous) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(io_error("rename", &current)(source));
            }
            _ => {}
        }
        fs::rename(&temporary, &current).map_err(io_error("rename", &temporary))?;
        flush_dir(&self.dir.join(SNAPSHOTS))
    }

    /// What is kept for `role`: the current one first. A missing file is left out.
    pub(crate) fn kept_snapshots(&self, role: Role) -> Vec<Kept> {
        let (current, previous) = self.snapshot_paths(role);
        [current, previous]
            .iter()
            .filter_map(|path| match read(path, SEALED_BYTES_MAX) {
                Ok(sealed) => Some(self.unseal(role, path, sealed)),
                Err(DiskError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                    None
                }
                Err(error) => Some(Err(error)),
            })
            .collect()
    }

    fn snapshot_paths(&self, role: Role) -> (PathBuf, PathBuf) {
        let dir = self.dir.join(SNAPSHOTS);
        (
            dir.join(format!("{role}.current")),
            dir.join(format!("{role}.previous")),
        )
    }

    fn seal(&self, role: Role, plain: &[u8]) -> Result<Vec<u8>, DiskError> {
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new()
            .fill(&mut nonce)
            .map_err(|_| DiskError::Random)?;
        let mut body = plain.to_vec();
        self.key
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(role.name().as_bytes()),
                &mut body,
            )
            .map_err(|_| DiskError::Random)?;
        Ok([SEAL_MAGIC.as_slice(), &nonce, &body].concat())
    }

    fn unseal(&self, role: Role, path: &Path, sealed: Vec<u8>) -> Kept {
        let damaged = |why: &str| DiskError::Damaged {
            path: path.to_owned(),
            why: why.to_owned(),
        };
        let rest = sealed
            .strip_prefix(SEAL_MAGIC)
            .ok_or_else(|| damaged("does not begin with CNSEAL1"))?;
        let (nonce, body) = rest
            .split_first_chunk::<NONCE_LEN>()
            .ok_or_else(|| damaged("is cut short"))?;
        let mut body = body.to_vec();
        let plain = self
            .key
            .open_in_place(
                Nonce::assume_unique_for_key(*nonce),
                Aad::from(role.name().as_bytes()),
                &mut body,
            )
            .map_err(|_| damaged("does not unseal with this node's key"))?;
        Ok(plain.to_vec())
    }
}

fn io_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DiskError {
    let path = path.to_owned();
    move |source| DiskError::Io { what, path, source }
}

fn new_seal_key(path: &Path) -> Result<Vec<u8>, DiskError> {
    let mut key = vec![0; 32];
    SystemRandom::new()
        .fill(&mut key)
        .map_err(|_| DiskError::Random)?;
    replace(path, &key)?;
    Ok(key)
}

/// Makes `dir` if needed and takes away what others may do there.
fn private_dir(dir: &Path) -> Result<(), DiskError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(io_error("create folder", dir))?;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700))
        .map_err(io_error("set permissions of", dir))
}

fn read(path: &Path, bytes_max: u64) -> Result<Vec<u8>, DiskError> {
    let file = File::open(path).map_err(io_error("open", path))?;
    let mut bytes = Vec::new();
    file.take(bytes_max + 1)
        .read_to_end(&mut bytes)
        .map_err(io_error("read", path))?;
    if bytes.len() as u64 > bytes_max {
        return Err(DiskError::Damaged {
            path: path.to_owned(),
            why: format!("is longer than {bytes_max} bytes"),
        });
    }
    Ok(bytes)
}

/// Writes and flushes a file beside `path`; gives its name.
fn write_beside(path: &Path, bytes: &[u8]) -> Result<PathBuf, DiskError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    let temporary = PathBuf::from(name);
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)
        .map_err(io_error("create", &temporary))?;
    file.write_all(bytes)
        .and_then(|()| file.sync_all())
        .map_err(io_error("write", &temporary))?;
    Ok(temporary)
}

fn replace(path: &Path, bytes: &[u8]) -> Result<(), DiskError> {
    let temporary = write_beside(path, bytes)?;
    fs::rename(&temporary, path).map_err(io_error("rename", &temporary))?;
    match path.parent() {
        Some(parent) => flush_dir(parent),
        None => Ok(()),
    }
}

fn flush_dir(dir: &Path) -> Result<(), DiskError> {
    File::open(dir)
        .and_then(|file| file.sync_all())
        .map_err(io_error("flush", dir))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> (tempfile::TempDir, Disk) {
        let dir = tempfile::tempdir().expect("a folder");
        let disk = Disk::open(&dir.path().join("node")).expect("opens");
        (dir, disk)
    }

    fn good(kept: Vec<Kept>) -> Vec<Vec<u8>> {
        kept.into_iter().filter_map(Result::ok).collect()
    }

    #[test]
    fn two_snapshots_are_kept_sealed_and_private() {
        let (dir, disk) = folder();
        for text in ["one", "two", "three-with-a-secret"] {
            disk.keep_snapshot(Role::Edge, text.as_bytes())
                .expect("kept");
        }
        assert_eq!(
            good(disk.kept_snapshots(Role::Edge)),
            [b"three-with-a-secret".to_vec(), b"two".to_vec()]
        );
        assert!(disk.kept_snapshots(Role::Dispatch).is_empty());
        let path = dir.path().join("node/snapshots/edge.current");
        let raw = fs::read(&path).expect("a file");
        assert!(!raw.windows(6).any(|window| window == b"secret"));
        for (path, mode) in [
            (path, 0o600),
            (dir.path().join("node/seal.key"), 0o600),
            (dir.path().join("node"), 0o700),
            (dir.path().join("node/snapshots"), 0o700),
        ] {
            let found = fs::metadata(&path).expect("exists").permissions().mode() & 0o777;
            assert_eq!(found, mode, "{}", path.display());
        }
    }

    #[test]
    fn a_damaged_current_copy_leaves_the_previous_one() {
        let (dir, disk) = folder();
        disk.keep_snapshot(Role::Edge, b"one").expect("kept");
        disk.keep_snapshot(Role::Edge, b"two").expect("kept");
        let path = dir.path().join("node/snapshots/edge.current");
        let whole = fs::read(&path).expect("a file");
        for cut in 0..whole.len() {
            fs::write(&path, &whole[..cut]).expect("written");
            assert_eq!(good(disk.kept_snapshots(Role::Edge)), [b"one".to_vec()]);
        }
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 0x10;
            fs::write(&path, &flipped).expect("written");
            assert_eq!(good(disk.kept_snapshots(Role::Edge)), [b"one".to_vec()]);
        }
    }

    #[test]
    fn a_snapshot_of_one_role_is_not_taken_for_another() {
        let (dir, disk) = folder();
        disk.keep_snapshot(Role::Edge, b"one").expect("kept");
        let snapshots = dir.path().join("node/snapshots");
        fs::copy(
            snapshots.join("edge.current"),
            snapshots.join("dispatch.current"),
        )
        .expect("copied");
        assert!(good(disk.kept_snapshots(Role::Dispatch)).is_empty());
    }

    #[test]
    fn a_lost_sealing_key_is_replaced_and_nothing_panics() {
        let (dir, disk) = folder();
        disk.keep_snapshot(Role::Edge, b"one").expect("kept");
        fs::write(dir.path().join("node/seal.key"), b"short").expect("written");
        let disk = Disk::open(&dir.path().join("node")).expect("opens");
        assert!(good(disk.kept_snapshots(Role::Edge)).is_empty());
        disk.keep_snapshot(Role::Edge, b"two").expect("kept");
        assert_eq!(good(disk.kept_snapshots(Role::Edge))[0], b"two");
    }
}
