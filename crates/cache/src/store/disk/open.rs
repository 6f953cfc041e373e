//! Opening the cache directory, after a clean end or a crash.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use super::files::Files;
use super::index::Index;
use super::queue::Queue;
use super::record::{FILE_HEAD_BYTES, Kind, Listed, file_head};
use super::segment::{read_big, read_segment, write_list};
use super::writer::Writer;
use super::{Disk, Shared};
use crate::key::Hasher;
use crate::store::memory::Memory;
use crate::store::purge::Purges;
use crate::store::purge_log::{Opened, PurgeLog};
use crate::store::stats::Counters;
use crate::store::{DiskOptions, Notice, OpenError};

const IDENTITY_MAGIC: &[u8; 8] = b"CNCACHE1";

impl Disk {
    /// Opens the directory; also returns the purge log that is in it.
    pub(in crate::store) fn open(
        options: DiskOptions,
        memory: Arc<Memory>,
        purges: Arc<Purges>,
        counters: Arc<Counters>,
        on_notice: Arc<dyn Fn(Notice) + Send + Sync>,
    ) -> Result<(Self, PurgeLog), OpenError> {
        let dir = options.dir.clone();
        let failed = |source| OpenError::Dir {
            path: dir.clone(),
            source,
        };
        std::fs::create_dir_all(&dir).map_err(failed)?;
        let lock = lock(&dir).map_err(failed)?;
        let key = identity(&dir).map_err(failed)?;
        let (log, opened) = PurgeLog::open(&dir, &purges).map_err(failed)?;
        let (key, trusted) = match key {
            Some(key) => (key, opened == Opened::Whole),
            None => (new_identity(&dir).map_err(failed)?, false),
        };
        if !trusted {
            if opened == Opened::Damaged {
                tracing::error!("the purge log is damaged; the disk cache begins anew");
            }
            wipe(&dir).map_err(failed)?;
        }
        let shared = Arc::new(Shared {
            files: Files::new(dir.clone()),
            options,
            hasher: Hasher::new(key),
            index: Index::new(),
            queue: Queue::default(),
            memory,
            purges,
            counters,
            on_notice,
            healthy: AtomicBool::new(true),
            released: AtomicBool::new(false),
        });
        let last_write = read_all(&shared).map_err(failed)?;
        forget_old_orders(&shared, &log);
        let writer = Writer::new(shared.clone(), last_write);
        let thread = std::thread::Builder::new()
            .name("cache-disk".into())
            .spawn(move || writer.run())
            .map_err(failed)?;
        let disk = Self {
            shared,
            thread: Some(thread),
            lock: Mutex::new(Some(lock)),
        };
        Ok((disk, log))
    }
}

/// Locks the directory, so that no second process uses it.
fn lock(dir: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(dir.join("lock"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(io::Error::new(
            io::ErrorKind::ResourceBusy,
            "another process uses it",
        )),
        Err(std::fs::TryLockError::Error(error)) => Err(error),
    }
}

/// The hash key under which the directory's records are filed; `None` without one.
fn identity(dir: &Path) -> io::Result<Option<[u8; 16]>> {
    let mut content = Vec::new();
    match File::open(dir.join("identity")) {
        Ok(file) => file.take(64).read_to_end(&mut content)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let key = content
        .strip_prefix(IDENTITY_MAGIC)
        .and_then(|rest| rest.split_first_chunk::<16>())
        .filter(|(key, crc)| **crc == crc32fast::hash(*key).to_le_bytes());
    Ok(key.map(|(key, _)| *key))
}

fn new_identity(dir: &Path) -> io::Result<[u8; 16]> {
    let mut key = [0; 16];
    ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut key)
        .map_err(|_| io::Error::other("no random numbers"))?;
    let mut content = IDENTITY_MAGIC.to_vec();
    content.extend_from_slice(&key);
    content.extend_from_slice(&crc32fast::hash(&key).to_le_bytes());
    let beside = dir.join("identity-new");
    std::fs::write(&beside, content)?;
    std::fs::rename(beside, dir.join("identity"))?;
    Ok(key)
}

/// Deletes all records.
fn wipe(dir: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if numbered(&path).is_some() {
            std::fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// The number and the extension of a file of ours.
fn numbered(path: &Path) -> Option<(u32, &str)> {
    let number = path.file_stem()?.to_str()?;
    if number.len() < 8 || !number.bytes().all(|octet| octet.is_ascii_digit()) {
        return None;
    }
    Some((number.parse().ok()?, path.extension()?.to_str()?))
}

/// Reads what all files list into the index; returns the last write number.
fn read_all(shared: &Shared) -> io::Result<u64> {
    let mut records: Vec<(u32, Vec<Listed>)> = Vec::new();
    for entry in std::fs::read_dir(&shared.files.dir)? {
        let path = entry?.path();
        let Some((number, extension)) = numbered(&path) else {
            continue;
        };
        shared.files.number_used(number);
        match extension {
            "seg" | "big" => {
                if let Some(list) = read_one(shared, &path, number, extension == "big")? {
                    records.push((number, list));
                } else {
                    std::fs::remove_file(&path)?;
                }
            }
            "idx" => {}
            // What was being written when the process ended.
            _ => std::fs::remove_file(&path)?,
        }
    }
    Ok(fill_index(shared, &records))
}

fn read_one(
    shared: &Shared,
    path: &Path,
    number: u32,
    big: bool,
) -> io::Result<Option<Vec<Listed>>> {
    let file = Arc::new(OpenOptions::new().read(true).write(true).open(path)?);
    let len = file.metadata()?.len();
    let mut head = [0; FILE_HEAD_BYTES as usize];
    let whole = std::os::unix::fs::FileExt::read_exact_at(&*file, &mut head, 0).is_ok();
    if !whole || head != file_head(number) {
        return Ok(None);
    }
    shared.files.charge(len);
    shared.files.add(number, len, big, &file);
    if big {
        let listed = read_big(&file, number, len);
        if listed.is_none() {
            shared.files.delete(number);
        }
        return Ok(Some(listed.into_iter().collect()));
    }
    let list = read_segment(shared, number, len);
    let has_list = shared.files.path(number, "idx").exists();
    if !has_list && let Err(error) = write_list(shared, number, len, &list) {
        tracing::warn!(%error, "could not write the list of a segment");
    }
    Ok(Some(list))
}

/// Newer records win over older ones, whichever file they are in; what was forgotten
/// stays forgotten.
fn fill_index(shared: &Shared, records: &[(u32, Vec<Listed>)]) -> u64 {
    let mut last = 0;
    let all = || {
        records
            .iter()
            .flat_map(|(number, list)| list.iter().map(move |listed| (*number, listed)))
    };
    for (number, listed) in all() {
        last = last.max(listed.head.write);
        let has_body = matches!(listed.head.kind, Kind::Object | Kind::Reference);
        let end = listed.body.at.checked_add(listed.head.body_len);
        let in_file = shared
            .files
            .len(listed.body.file)
            .is_some_and(|len| end.is_some_and(|end| end <= len));
        if has_body && in_file {
            shared.index.obey(number, listed, false);
        }
    }
    for (number, listed) in all() {
        if matches!(listed.head.kind, Kind::ForgetKey | Kind::ForgetVariant) {
            shared.index.obey(number, listed, false);
        }
    }
    last
}

/// Drops purge orders that concern nothing on disk; nothing is in memory yet.
fn forget_old_orders(shared: &Shared, log: &PurgeLog) {
    let mut oldest = u64::MAX;
    shared.index.retain(|entry| {
        oldest = oldest.min(entry.born);
        true
    });
    shared.purges.forget_before(oldest);
    log.compact(&shared.purges);
}
