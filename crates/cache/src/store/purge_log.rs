//! The purge log: what makes a purge outlive a crash.
//!
//! One file, `purges`, in the cache directory: a header, then one record for each
//! order, each `length (4) | CRC-32 (4) | content`, written and synced before the
//! order is acknowledged. It is read before anything is served. Once it is much
//! longer than the orders in force, it is written anew beside and renamed into place.
//!
//! A record that is cut short at the end was never acknowledged, and is cut off.
//! Anything else that does not check is damage: since a purge may be lost with it,
//! everything that was cached counts as purged.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use base::Timestamp;
use serde::{Deserialize, Serialize};

use super::PurgeError;
use super::purge::{Entry, Purges, What};

const MAGIC: &[u8; 8] = b"CNPURGE1";
/// Octets of one record's content; a purge is a name and a few numbers.
const RECORD_BYTES_MAX: usize = 1 << 20;
/// Records beyond the orders in force before the log is written anew.
const STALE_RECORDS_MAX: u64 = 4_096;

/// The log with the numbers that it hands out.
#[derive(Debug)]
pub(super) struct PurgeLog {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    last_seq: u64,
    epoch: u64,
    disk: Option<OnDisk>,
}

#[derive(Debug)]
struct OnDisk {
    path: PathBuf,
    file: File,
    length: u64,
    records: u64,
    /// A write failed: the file is to be written anew before it is trusted.
    broken: bool,
}

/// The content of a record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    /// Absent in what is written anew, but for the last record.
    seq: Option<u64>,
    epoch: u64,
    entry: Option<Entry>,
}

/// What a log said when it was opened.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Opened {
    /// There was none.
    New,
    /// It was whole.
    Whole,
    /// It was damaged: what was cached before must not be served.
    Damaged,
}

impl PurgeLog {
    pub(super) fn in_memory() -> Self {
        Self {
            state: Mutex::new(State {
                last_seq: 0,
                epoch: 0,
                disk: None,
            }),
        }
    }

    /// Opens the log in `dir` and puts its orders into force.
    pub(super) fn open(dir: &Path, purges: &Purges) -> io::Result<(Self, Opened)> {
        let path = dir.join("purges");
        let content = match std::fs::read(&path) {
            Ok(content) => Some(content),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let (records, opened, length) = match &content {
            None => (Vec::new(), Opened::New, 0),
            Some(content) => match parse(content) {
                Some((records, length)) => (records, Opened::Whole, length),
                None => (Vec::new(), Opened::Damaged, 0),
            },
        };
        let mut state = State {
            last_seq: 0,
            epoch: 0,
            disk: None,
        };
        for record in &records {
            state.last_seq = record.seq.unwrap_or(state.last_seq);
            state.epoch = state.epoch.max(record.epoch);
            if let Some(entry) = &record.entry {
                purges.add(entry);
            }
        }
        purges.set_epoch(state.epoch);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)?;
        let mut disk = OnDisk {
            path,
            file,
            length: length as u64,
            records: records.len() as u64,
            broken: false,
        };
        if opened == Opened::Whole {
            disk.file.set_len(disk.length)?;
        } else {
            disk.rewrite(&state_records(&state, purges))?;
        }
        state.disk = Some(disk);
        Ok((
            Self {
                state: Mutex::new(state),
            },
            opened,
        ))
    }

    /// Writes the log anew when it holds many orders that are no longer in force.
    pub(super) fn compact(&self, purges: &Purges) {
        let mut state = self.lock();
        let records = state_records(&state, purges);
        if let Some(disk) = &mut state.disk
            && disk.records > records.len() as u64
            && let Err(error) = disk.rewrite(&records)
        {
            tracing::warn!(%error, "could not write the purge log anew");
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes no more: the file belongs to another process. Orders are in force here
    /// all the same.
    pub(super) fn release(&self) {
        self.lock().disk = None;
    }

    pub(super) fn last_seq(&self) -> u64 {
        self.lock().last_seq
    }

    /// Obeys the order numbered `seq`, durably. It is in force in memory even when it
    /// could not be written.
    pub(super) fn order(
        &self,
        purges: &Purges,
        seq: u64,
        order: Option<(What, bool, Timestamp)>,
    ) -> Result<(), PurgeError> {
        let mut state = self.lock();
        if seq <= state.last_seq {
            return Ok(());
        }
        let entry = order.map(|(what, soft, at)| {
            state.epoch += 1;
            Entry {
                epoch: state.epoch,
                at,
                soft,
                what,
            }
        });
        if let Some(entry) = &entry {
            purges.add(entry);
        }
        let record = Record {
            seq: Some(seq),
            epoch: state.epoch,
            entry,
        };
        state.append(&record, purges)?;
        state.last_seq = seq;
        Ok(())
    }

    /// Purges everything; numbers go on after `seq`.
    pub(super) fn forget_everything(
        &self,
        purges: &Purges,
        seq: u64,
        at: Timestamp,
    ) -> Result<(), PurgeError> {
        let mut state = self.lock();
        state.epoch += 1;
        let entry = Entry {
            epoch: state.epoch,
            at,
            soft: false,
            what: What::Everything,
        };
        purges.add(&entry);
        let record = Record {
            seq: Some(seq),
            epoch: state.epoch,
            entry: Some(entry),
        };
        state.append(&record, purges)?;
        // Numbers may begin anew with a new control plane.
        state.last_seq = seq;
        Ok(())
    }
}

impl State {
    fn append(&mut self, record: &Record, purges: &Purges) -> Result<(), PurgeError> {
        let (last_seq, epoch) = (record.seq, self.epoch);
        let Some(disk) = &mut self.disk else {
            return Ok(());
        };
        let in_force = || {
            let mut records = records_of(purges);
            records.push(Record {
                seq: last_seq,
                epoch,
                entry: None,
            });
            records
        };
        let result = if disk.broken {
            disk.rewrite(&in_force())
        } else {
            disk.append(record)
        };
        if let Err(source) = result {
            disk.broken = true;
            return Err(PurgeError::Log {
                path: disk.path.clone(),
                source,
            });
        }
        if disk.records > STALE_RECORDS_MAX {
            let in_force = in_force();
            if disk.records > 2 * in_force.len() as u64 + STALE_RECORDS_MAX
                && let Err(error) = disk.rewrite(&in_force)
            {
                // The old log is whole, and stays.
                tracing::warn!(%error, "could not write the purge log anew");
            }
        }
        Ok(())
    }
}

fn records_of(purges: &Purges) -> Vec<Record> {
    let entries = purges.entries();
    entries
        .into_iter()
        .map(|entry| Record {
            seq: None,
            epoch: entry.epoch,
            entry: Some(entry),
        })
        .collect()
}

fn state_records(state: &State, purges: &Purges) -> Vec<Record> {
    let mut records = records_of(purges);
    records.push(Record {
        seq: Some(state.last_seq),
        epoch: state.epoch,
        entry: None,
    });
    records
}

impl OnDisk {
    fn append(&mut self, record: &Record) -> io::Result<()> {
        let mut octets = Vec::with_capacity(128);
        encode(record, &mut octets)?;
        self.file.write_all_at(&octets, self.length)?;
        self.file.sync_data()?;
        self.length += octets.len() as u64;
        self.records += 1;
        Ok(())
    }

    /// Writes the log anew beside and renames it into place.
    fn rewrite(&mut self, records: &[Record]) -> io::Result<()> {
        let mut octets = MAGIC.to_vec();
        for record in records {
            encode(record, &mut octets)?;
        }
        let beside = self.path.with_extension("new");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&beside)?;
        file.write_all(&octets)?;
        file.sync_all()?;
        std::fs::rename(&beside, &self.path)?;
        if let Some(dir) = self.path.parent() {
            File::open(dir)?.sync_all()?;
        }
        self.file = file;
        self.length = octets.len() as u64;
        self.records = records.len() as u64;
        self.broken = false;
        Ok(())
    }
}

fn encode(record: &Record, to: &mut Vec<u8>) -> io::Result<()> {
    let content = postcard::to_stdvec(record).map_err(io::Error::other)?;
    let length = u32::try_from(content.len()).map_err(io::Error::other)?;
    to.extend_from_slice(&length.to_le_bytes());
    to.extend_from_slice(&crc32fast::hash(&content).to_le_bytes());
    to.extend_from_slice(&content);
    Ok(())
}

/// The records and the length of the part that holds them; `None` for damage.
pub(super) fn parse(content: &[u8]) -> Option<(Vec<Record>, usize)> {
    let mut rest = content.strip_prefix(MAGIC)?;
    let mut records = Vec::new();
    while let Some((head, after)) = rest.split_at_checked(8) {
        let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let crc = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
        if length > RECORD_BYTES_MAX {
            return None;
        }
        let Some((body, after)) = after.split_at_checked(length) else {
            break;
        };
        if crc32fast::hash(body) != crc {
            return None;
        }
        records.push(postcard::from_bytes(body).ok()?);
        rest = after;
    }
    Some((records, content.len() - rest.len()))
}
