//! The keeper's file: quick entries on enforcements, framed and checksummed, appended and
//! made durable before they are acknowledged.
//!
//! | offset | bytes | meaning                            |
//! | ------ | ----- | ---------------------------------- |
//! | 0      | 4     | magic `CvE1`                       |
//! | 4      | 4     | payload length, little endian      |
//! | 8      | 4     | CRC-32 (IEEE) of the payload       |
//! | 12     | n     | a [`Record`] as JSON               |
//!
//! A torn or damaged tail is cut off: what it held is asked of the control plane again,
//! which keeps its log longer than that.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use base::quick::QuickEntry;
use serde::{Deserialize, Serialize};

const MAGIC: [u8; 4] = *b"CvE1";
const HEADER_BYTES: usize = 12;
/// Bytes of one record: an order of the largest size with its frame.
const RECORD_BYTES_MAX: usize = 4 << 20;
/// Bytes of the file beyond which nothing is appended until a snapshot folds it.
const FILE_BYTES_MAX: u64 = 1 << 30;
const FILE: &str = "enforced.log";

/// One line of the log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Record {
    /// Everything up to this number is known here, in a snapshot or because it is lost.
    Floor(u64),
    /// An order.
    Entry(QuickEntry),
}

impl Record {
    /// Its number.
    pub fn seq(&self) -> u64 {
        match self {
            Self::Floor(seq) => *seq,
            Self::Entry(entry) => entry.seq,
        }
    }
}

/// The file, open for appending.
#[derive(Debug)]
pub struct Log {
    path: PathBuf,
    file: File,
    bytes: u64,
}

/// What [`Log::open`] found.
#[derive(Debug)]
pub struct Opened {
    /// The file.
    pub log: Log,
    /// Its whole records, in order.
    pub records: Vec<Record>,
    /// Bytes cut off at its end.
    pub cut: u64,
}

impl Log {
    /// Opens the log in `dir`, which is made if need be, and cuts off a damaged tail.
    ///
    /// # Errors
    /// When the folder or file cannot be used.
    pub fn open(dir: &Path) -> std::io::Result<Opened> {
        std::fs::create_dir_all(dir)?;
        let path = dir.join(FILE);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)?;
        let mut bytes = Vec::new();
        Read::by_ref(&mut file)
            .take(FILE_BYTES_MAX * 2)
            .read_to_end(&mut bytes)?;
        let (records, good) = read(&bytes);
        let cut = bytes.len() as u64 - good as u64;
        if cut > 0 {
            file.set_len(good as u64)?;
            file.sync_all()?;
        }
        file.seek(SeekFrom::Start(good as u64))?;
        sync_dir(dir)?;
        let log = Self {
            path,
            file,
            bytes: good as u64,
        };
        Ok(Opened { log, records, cut })
    }

    /// Bytes of the file.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Appends a record; it is durable on return.
    ///
    /// # Errors
    /// When it could not be: nothing of it remains.
    pub fn append(&mut self, record: &Record) -> std::io::Result<()> {
        let mut bytes = Vec::new();
        frame(record, &mut bytes)?;
        if self.bytes + bytes.len() as u64 > FILE_BYTES_MAX {
            return Err(std::io::Error::other(format!(
                "the log of enforcements would have over {FILE_BYTES_MAX} bytes"
            )));
        }
        let written = self
            .file
            .write_all(&bytes)
            .and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            // What may have been written is no record: the next one takes its place.
            self.file.set_len(self.bytes)?;
            self.file.seek(SeekFrom::Start(self.bytes))?;
            return Err(error);
        }
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// Replaces the whole content, atomically.
    ///
    /// # Errors
    /// When it could not be: the old content stays.
    pub fn rewrite<'r>(
        &mut self,
        records: impl Iterator<Item = &'r Record>,
    ) -> std::io::Result<()> {
        let mut bytes = Vec::new();
        for record in records {
            frame(record, &mut bytes)?;
        }
        let fresh = self.path.with_extension("new");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&fresh)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        std::fs::rename(&fresh, &self.path)?;
        if let Some(dir) = self.path.parent() {
            sync_dir(dir)?;
        }
        self.file = file;
        self.bytes = bytes.len() as u64;
        Ok(())
    }
}

fn sync_dir(dir: &Path) -> std::io::Result<()> {
    File::open(dir)?.sync_all()
}

fn frame(record: &Record, into: &mut Vec<u8>) -> std::io::Result<()> {
    let payload = serde_json::to_vec(record)?;
    let length = u32::try_from(payload.len())
        .ok()
        .filter(|n| *n as usize <= RECORD_BYTES_MAX)
        .ok_or_else(|| std::io::Error::other("an order on enforcements is too large to keep"))?;
    into.extend_from_slice(&MAGIC);
    into.extend_from_slice(&length.to_le_bytes());
    into.extend_from_slice(&crc32fast::hash(&payload).to_le_bytes());
    into.extend_from_slice(&payload);
    Ok(())
}

/// The whole records at the beginning of `bytes`, and where they end.
pub fn read(bytes: &[u8]) -> (Vec<Record>, usize) {
    let mut records = Vec::new();
    let mut at = 0;
    while let Some((record, length)) = one(&bytes[at..]) {
        // Numbers only grow; anything else is not what this program wrote.
        if records
            .last()
            .is_some_and(|last: &Record| last.seq() >= record.seq())
        {
            break;
        }
        records.push(record);
        at += length;
    }
    (records, at)
}

fn one(bytes: &[u8]) -> Option<(Record, usize)> {
    let (header, rest) = bytes.split_first_chunk::<HEADER_BYTES>()?;
    if header[..4] != MAGIC {
        return None;
    }
    let word = |at: usize| {
        u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
    };
    let length = word(4) as usize;
    if length > RECORD_BYTES_MAX {
        return None;
    }
    let payload = rest.get(..length)?;
    if crc32fast::hash(payload) != word(8) {
        return None;
    }
    let record = serde_json::from_slice(payload).ok()?;
    Some((record, HEADER_BYTES + length))
}
