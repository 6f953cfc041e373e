//! The key file: TOML, owner only, replaced as a whole, written under a lock.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use base::{Clock as _, SystemClock, Timestamp};
use serde::{Deserialize, Serialize};

use super::error::VaultError;
use super::seal::{KEY_BYTES, Key, random};

/// Bytes of a key file.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The file in memory.
pub(super) struct KeyFile {
    pub(super) active: u32,
    pub(super) index: [u8; KEY_BYTES],
    pub(super) stamp: Stamp,
    active_key: Key,
    others: Vec<Key>,
    text: Text,
}

/// Tells one version of the file from another: every change is a new file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Stamp {
    inode: u64,
    modified_ns: i64,
    modified_s: i64,
}

impl Stamp {
    fn of(metadata: &fs::Metadata) -> Self {
        Self {
            inode: metadata.ino(),
            modified_ns: metadata.mtime_nsec(),
            modified_s: metadata.mtime(),
        }
    }
}

/// The stamp of the file as it is, unless it cannot be asked.
pub(super) fn stamp(path: &Path) -> Option<Stamp> {
    fs::metadata(path).ok().as_ref().map(Stamp::of)
}

/// The file as text.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    /// Id of the key that seals.
    active: String,
    /// Key of blind indexes; never changes.
    index: String,
    key: Vec<KeyText>,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyText {
    id: String,
    created_at: String,
    secret: String,
}

const HEADING: &str = "# Keys of encrypted fields. Whoever reads this file reads the secrets in the database;\n\
# whoever loses it loses them. Keep a backup apart from the database.\n";

impl KeyFile {
    pub(super) fn find(&self, id: u32) -> Option<&Key> {
        if self.active_key.id == id {
            return Some(&self.active_key);
        }
        self.others.iter().find(|key| key.id == id)
    }

    pub(super) fn active_key(&self) -> &Key {
        &self.active_key
    }

    pub(super) fn ids(&self) -> Vec<u32> {
        let mut ids: Vec<u32> = self.others.iter().map(|key| key.id).collect();
        ids.push(self.active);
        ids
    }

    fn parse(path: &Path, text: &str, stamp: Stamp) -> Result<Self, VaultError> {
        let wrong = |what: &str| VaultError::KeyFile {
            path: path.to_owned(),
            what: what.to_owned(),
        };
        // The parser's own message would quote a line, which may hold a key.
        let text: Text = toml::from_str(text).map_err(|_| wrong("it does not parse"))?;
        let secret = |hex: &str| {
            let mut bytes = [0; KEY_BYTES];
            hex::decode_to_slice(hex, &mut bytes)
                .map(|()| bytes)
                .map_err(|_| wrong("a key must be 64 hexadecimal digits"))
        };
        let id = |hex: &str| {
            u32::from_str_radix(hex, 16).map_err(|_| wrong("a key id must be hexadecimal"))
        };
        let active = id(&text.active)?;
        let mut active_key = None;
        let mut others = Vec::new();
        for entry in &text.key {
            let key = Key {
                id: id(&entry.id)?,
                secret: secret(&entry.secret)?,
            };
            if key.id == active {
                if active_key.replace(key).is_some() {
                    return Err(wrong("a key id occurs twice"));
                }
            } else if others.iter().any(|other: &Key| other.id == key.id) {
                return Err(wrong("a key id occurs twice"));
            } else {
                others.push(key);
            }
        }
        Ok(Self {
            active,
            index: secret(&text.index)?,
            stamp,
            active_key: active_key.ok_or_else(|| wrong("the active key is missing"))?,
            others,
            text,
        })
    }
}

pub(super) fn load(path: &Path) -> Result<KeyFile, VaultError> {
    let io = |source| VaultError::Io {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(io)?;
    let metadata = file.metadata().map_err(io)?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(VaultError::Exposed {
            path: path.to_owned(),
            mode,
        });
    }
    if metadata.len() > FILE_BYTES_MAX {
        return Err(VaultError::KeyFile {
            path: path.to_owned(),
            what: format!("it has more than {FILE_BYTES_MAX} bytes"),
        });
    }
    let text = io::read_to_string(file).map_err(io)?;
    KeyFile::parse(path, &text, Stamp::of(&metadata))
}

pub(super) fn load_or_create(path: &Path) -> Result<KeyFile, VaultError> {
    match load(path) {
        Err(VaultError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
        other => return other,
    }
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(|source| VaultError::Io {
            path: path.to_owned(),
            source,
        })?;
    }
    let _lock = lock(path)?;
    if path.exists() {
        return load(path);
    }
    let key = fresh(SystemClock.now())?;
    let text = Text {
        active: key.id.clone(),
        index: hex::encode(random::<KEY_BYTES>()?),
        key: vec![key],
    };
    tracing::info!(path = %path.display(), "Created key file {}", path.display());
    write(path, text)
}

pub(super) fn add_key(path: &Path, now: Timestamp) -> Result<KeyFile, VaultError> {
    let _lock = lock(path)?;
    let mut text = load(path)?.text;
    let key = fresh(now)?;
    text.active.clone_from(&key.id);
    text.key.push(key);
    write(path, text)
}

pub(super) fn remove_key(path: &Path, id: u32) -> Result<KeyFile, VaultError> {
    let _lock = lock(path)?;
    let keys = load(path)?;
    if keys.active == id {
        return Err(VaultError::Active { id });
    }
    if keys.find(id).is_none() {
        return Err(VaultError::UnknownKey {
            path: path.to_owned(),
            id,
        });
    }
    let mut text = keys.text;
    let name = format!("{id:08x}");
    text.key.retain(|key| key.id != name);
    write(path, text)
}

fn fresh(now: Timestamp) -> Result<KeyText, VaultError> {
    Ok(KeyText {
        id: hex::encode(random::<4>()?),
        created_at: now.to_string(),
        secret: hex::encode(random::<KEY_BYTES>()?),
    })
}

/// Holds off other processes that change the file.
fn lock(path: &Path) -> Result<File, VaultError> {
    let take = || {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(beside(path, "lock"))?;
        file.lock()?;
        Ok(file)
    };
    take().map_err(|source| VaultError::Io {
        path: path.to_owned(),
        source,
    })
}

/// Replaces the file, durably: the old one or the new one is there at any moment.
fn write(path: &Path, text: Text) -> Result<KeyFile, VaultError> {
    let body = toml::to_string(&text).map_err(|error| VaultError::KeyFile {
        path: path.to_owned(),
        what: error.to_string(),
    })?;
    let body = format!("{HEADING}{body}");
    let mut keys = KeyFile::parse(path, &body, Stamp::default())?;
    let replace = || {
        let new = beside(path, "new");
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new()
            .create_new(true)
            .write(true)
            .mode(0o600)
            .open(&new)?;
        file.write_all(body.as_bytes())?;
        file.sync_all()?;
        let stamp = Stamp::of(&file.metadata()?);
        fs::rename(&new, path)?;
        match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all()?,
            _ => File::open(".")?.sync_all()?,
        }
        Ok(stamp)
    };
    keys.stamp = replace().map_err(|source| VaultError::Io {
        path: path.to_owned(),
        source,
    })?;
    Ok(keys)
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    name.into()
}
