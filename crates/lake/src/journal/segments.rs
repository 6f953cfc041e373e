//! Records in segment files: append, make durable, recover, release.
//!
//! A segment is a file named by its first sequence number; its records follow
//! each other in order. The last segment is the one written to. Nothing is ever
//! overwritten: recovery cuts what was torn, release deletes whole files.
//!
//! After a failed write or sync nothing is known about the bytes behind the last
//! successful sync (a kernel may drop dirty pages and report it once), so the
//! segment is cut back to what is known, and the writer goes on in a new file.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::record::{self, HEADER_BYTES, Parsed};

const SUFFIX: &str = ".journal";

/// What opening a journal found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Whole records found.
    pub records: u64,
    /// Bytes cut from the end of the last segment: a write that a crash tore.
    pub torn_bytes: u64,
    /// Stretches of damage with whole records behind them; what they held is lost.
    pub damaged_stretches: u64,
}

#[derive(Debug)]
struct Segment {
    path: PathBuf,
    /// The first number that the file may hold.
    first: u64,
    /// One past the last number that the file holds.
    end: u64,
    bytes: u64,
}

#[derive(Debug)]
struct Active {
    file: File,
    segment: Segment,
    /// Bytes and numbers that a sync has covered.
    synced_bytes: u64,
}

/// The segment files of one directory, open for writing by one owner.
#[derive(Debug)]
pub(crate) struct SegmentLog {
    directory: PathBuf,
    segment_bytes: u64,
    closed: VecDeque<Segment>,
    active: Option<Active>,
    next: u64,
    durable_end: u64,
    buffer: Vec<u8>,
}

impl SegmentLog {
    /// Opens or creates the journal in `directory`. The next number is one past
    /// the highest of those found, and at least `next_at_least`.
    pub(crate) fn open(
        directory: &Path,
        segment_bytes: u64,
        next_at_least: u64,
    ) -> io::Result<(Self, Recovery)> {
        fs::create_dir_all(directory)?;
        let mut recovery = Recovery::default();
        let mut closed = VecDeque::new();
        let names = list(directory)?;
        let last = names.len().saturating_sub(1);
        for (index, first) in names.into_iter().enumerate() {
            let segment = recover(directory, first, index == last, &mut recovery)?;
            closed.push_back(segment);
        }
        let next = closed
            .back()
            .map_or(0, |segment| segment.end)
            .max(next_at_least);
        let mut log = Self {
            directory: directory.to_owned(),
            segment_bytes,
            closed,
            active: None,
            next,
            durable_end: next,
            buffer: Vec::new(),
        };
        log.reopen_last()?;
        Ok((log, recovery))
    }

    /// Goes on in the last segment while it has room and ends where we begin.
    fn reopen_last(&mut self) -> io::Result<()> {
        let Some(segment) = self
            .closed
            .pop_back_if(|last| last.bytes < self.segment_bytes && last.end == self.next)
        else {
            return Ok(());
        };
        let file = OpenOptions::new().write(true).open(&segment.path)?;
        // What a killed process wrote is in the kernel's hands only; a reader may
        // see it as durable from here on.
        file.sync_data()?;
        self.active = Some(Active {
            file,
            synced_bytes: segment.bytes,
            segment,
        });
        Ok(())
    }

    /// The number that the next record gets.
    #[cfg(any(feature = "sql", test))]
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// One past the last durable number.
    pub(crate) fn durable_end(&self) -> u64 {
        self.durable_end
    }

    /// Bytes of all segments.
    pub(crate) fn bytes(&self) -> u64 {
        self.closed.iter().map(|segment| segment.bytes).sum::<u64>()
            + self
                .active
                .as_ref()
                .map_or(0, |active| active.segment.bytes)
    }

    /// Writes one record whose payload `fill` appends to the buffer. It is not
    /// durable before [`Self::sync`]. On error nothing was added.
    pub(crate) fn append<E: From<io::Error>>(
        &mut self,
        fill: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<u64, E> {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        buffer.resize(HEADER_BYTES, 0);
        let result = fill(&mut buffer).and_then(|()| self.write(&mut buffer).map_err(E::from));
        self.buffer = buffer;
        result
    }

    fn write(&mut self, buffer: &mut [u8]) -> io::Result<u64> {
        if self
            .active
            .as_ref()
            .is_some_and(|active| active.segment.bytes >= self.segment_bytes)
        {
            self.sync()?;
            self.close_active();
        }
        let seq = self.next;
        record::finish(buffer, seq);
        let active = match &mut self.active {
            Some(active) => active,
            None => self.active.insert(create(&self.directory, seq)?),
        };
        if let Err(error) = active.file.write_all_at(buffer, active.segment.bytes) {
            // A part may have been written. What cannot be cut is overwritten by
            // the next append, or cut as torn by the next recovery.
            if active.file.set_len(active.segment.bytes).is_err() {
                tracing::debug!(path = %active.segment.path.display(), "could not cut a partial write");
            }
            return Err(error);
        }
        active.segment.bytes += buffer.len() as u64;
        active.segment.end = seq + 1;
        self.next = seq + 1;
        Ok(seq)
    }

    /// Makes every record durable; gives one past the last durable number. On
    /// error the records since the last sync are gone, and their numbers are
    /// given again.
    pub(crate) fn sync(&mut self) -> io::Result<u64> {
        let Some(active) = &mut self.active else {
            return Ok(self.durable_end);
        };
        if active.synced_bytes == active.segment.bytes {
            self.durable_end = self.next;
            return Ok(self.durable_end);
        }
        if let Err(error) = active.file.sync_data() {
            self.abandon_unsynced();
            return Err(error);
        }
        active.synced_bytes = active.segment.bytes;
        self.durable_end = self.next;
        Ok(self.durable_end)
    }

    fn abandon_unsynced(&mut self) {
        let Some(mut active) = self.active.take() else {
            return;
        };
        if let Err(error) = active.file.set_len(active.synced_bytes) {
            tracing::warn!(path = %active.segment.path.display(), %error, "could not cut a journal segment after a failed sync");
        }
        active.segment.bytes = active.synced_bytes;
        active.segment.end = self.durable_end.max(active.segment.first);
        self.next = self.durable_end;
        if active.segment.bytes > 0 {
            self.closed.push_back(active.segment);
        } else if let Err(error) = fs::remove_file(&active.segment.path) {
            tracing::warn!(path = %active.segment.path.display(), %error, "could not remove an empty journal segment");
        }
    }

    fn close_active(&mut self) {
        if let Some(active) = self.active.take() {
            self.closed.push_back(active.segment);
        }
    }

    /// Deletes the segments whose records are all below `end`. The last segment
    /// stays, because its name carries the numbering.
    pub(crate) fn release(&mut self, end: u64) -> io::Result<()> {
        let keep = usize::from(self.active.is_none());
        while self.closed.len() > keep {
            match self.closed.front() {
                Some(front) if front.end <= end => {
                    match fs::remove_file(&front.path) {
                        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                        _ => {}
                    }
                    self.closed.pop_front();
                }
                _ => break,
            }
        }
        Ok(())
    }
}

fn create(directory: &Path, first: u64) -> io::Result<Active> {
    let path = path_of(directory, first);
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .open(&path)?;
    File::open(directory)?.sync_all()?;
    Ok(Active {
        file,
        segment: Segment {
            path,
            first,
            end: first,
            bytes: 0,
        },
        synced_bytes: 0,
    })
}

pub(super) fn path_of(directory: &Path, first: u64) -> PathBuf {
    directory.join(format!("{first:020}{SUFFIX}"))
}

/// The first numbers of the segments in `directory`, in order.
pub(super) fn list(directory: &Path) -> io::Result<Vec<u64>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        let first = name
            .to_str()
            .and_then(|name| name.strip_suffix(SUFFIX))
            .and_then(|digits| digits.parse::<u64>().ok());
        found.extend(first);
    }
    found.sort_unstable();
    Ok(found)
}

/// Reads a segment to its end; in the last one cuts what no whole record follows.
fn recover(
    directory: &Path,
    first: u64,
    is_last: bool,
    recovery: &mut Recovery,
) -> io::Result<Segment> {
    let path = path_of(directory, first);
    let bytes = fs::read(&path)?;
    let mut segment = Segment {
        first,
        end: first,
        bytes: bytes.len() as u64,
        path,
    };
    let mut at = 0;
    while at < bytes.len() {
        if let Parsed::Whole { seq, length, .. } = record::parse(&bytes[at..]) {
            recovery.records += 1;
            segment.end = segment.end.max(seq.saturating_add(1));
            at += length;
            continue;
        }
        match record::resync(&bytes, at + 1) {
            Some(next) => {
                recovery.damaged_stretches += 1;
                at = next;
            }
            None => break,
        }
    }
    let tail = bytes.len() - at;
    if tail > 0 {
        if is_last {
            recovery.torn_bytes += tail as u64;
            let file = OpenOptions::new().write(true).open(&segment.path)?;
            file.set_len(at as u64)?;
            file.sync_data()?;
            segment.bytes = at as u64;
        } else {
            recovery.damaged_stretches += 1;
        }
    }
    Ok(segment)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::reader::SegmentReader;

    fn log(directory: &Path) -> (SegmentLog, Recovery) {
        SegmentLog::open(directory, 200, 10).expect("opens")
    }

    fn add(log: &mut SegmentLog, payload: &[u8]) -> u64 {
        log.append::<io::Error>(|buffer| {
            buffer.extend_from_slice(payload);
            Ok(())
        })
        .expect("appends")
    }

    fn all(directory: &Path) -> Vec<(u64, Vec<u8>)> {
        let mut reader = SegmentReader::new(directory, 0);
        let mut found = Vec::new();
        while let Some((seq, payload)) = reader.next(u64::MAX).expect("reads") {
            found.push((seq, payload.to_vec()));
        }
        found
    }

    #[test]
    fn numbers_go_on_after_reopening_and_segments_rotate() {
        let directory = tempfile::tempdir().expect("a directory");
        {
            let (mut log, recovery) = log(directory.path());
            assert_eq!(recovery, Recovery::default());
            for i in 0..20_u8 {
                assert_eq!(add(&mut log, &[i; 50]), 10 + u64::from(i));
            }
            log.sync().expect("syncs");
        }
        let (mut log, recovery) = log(directory.path());
        assert_eq!(recovery.records, 20);
        assert_eq!(add(&mut log, b"again"), 30);
        let found = all(directory.path());
        assert_eq!(
            found.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(),
            (10..31).collect::<Vec<_>>()
        );
        assert_eq!(found[20].1, b"again");
        assert!(list(directory.path()).expect("lists").len() > 5);
    }

    #[test]
    fn a_torn_tail_is_cut_at_every_length() {
        for cut in 1..70 {
            let directory = tempfile::tempdir().expect("a directory");
            {
                let (mut log, _) = SegmentLog::open(directory.path(), 1 << 20, 10).expect("opens");
                add(&mut log, &[1; 50]);
                add(&mut log, &[2; 50]);
            }
            let path = path_of(directory.path(), 10);
            let file = OpenOptions::new().write(true).open(&path).expect("opens");
            file.set_len(140 - cut).expect("cuts");
            let (mut log, recovery) =
                SegmentLog::open(directory.path(), 1 << 20, 0).expect("opens");
            assert_eq!(recovery.records, 1, "{cut}");
            assert_eq!(recovery.torn_bytes, 70 - cut);
            assert_eq!(add(&mut log, b"new"), 11);
            let found = all(directory.path());
            assert_eq!(found.len(), 2);
            assert_eq!(found[1], (11, b"new".to_vec()));
        }
    }

    #[test]
    fn a_flipped_bit_costs_one_record_and_not_those_behind_it() {
        let directory = tempfile::tempdir().expect("a directory");
        {
            let (mut log, _) = SegmentLog::open(directory.path(), 1 << 20, 0).expect("opens");
            for i in 0..3 {
                add(&mut log, &[i; 50]);
            }
        }
        let path = path_of(directory.path(), 0);
        let mut bytes = fs::read(&path).expect("reads");
        bytes[100] ^= 4;
        fs::write(&path, bytes).expect("writes");
        let (log, recovery) = SegmentLog::open(directory.path(), 1 << 20, 0).expect("opens");
        assert_eq!(
            (
                recovery.records,
                recovery.damaged_stretches,
                recovery.torn_bytes
            ),
            (2, 1, 0)
        );
        assert_eq!(log.next(), 3);
        let numbers: Vec<u64> = all(directory.path()).iter().map(|(seq, _)| *seq).collect();
        assert_eq!(numbers, [0, 2]);
    }

    #[test]
    fn release_deletes_whole_segments_and_keeps_the_numbering() {
        let directory = tempfile::tempdir().expect("a directory");
        {
            let (mut log, _) = log(directory.path());
            for i in 0..20 {
                add(&mut log, &[i; 50]);
            }
            log.sync().expect("syncs");
            let before = log.bytes();
            log.release(20).expect("releases");
            assert!(log.bytes() < before);
            assert!(all(directory.path())[0].0 <= 20);
            log.release(u64::MAX).expect("releases");
        }
        let (log, _) = log(directory.path());
        assert_eq!(log.next(), 30);
    }
}
