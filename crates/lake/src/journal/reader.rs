//! Reads records from segment files while another thread appends to them.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::record::{self, HEADER_BYTES, Parsed};
use super::segments::{list, path_of};

#[derive(Debug)]
struct Open {
    file: File,
    first: u64,
    offset: u64,
}

/// A place in a journal.
#[derive(Debug)]
pub(crate) struct SegmentReader {
    directory: PathBuf,
    /// The lowest number not yet given out.
    next: u64,
    open: Option<Open>,
}

impl SegmentReader {
    /// Stands before the first record numbered `next` or higher.
    pub(crate) fn new(directory: &Path, next: u64) -> Self {
        Self {
            directory: directory.to_owned(),
            next,
            open: None,
        }
    }

    /// The lowest number not yet given out.
    pub(crate) fn position(&self) -> u64 {
        self.next
    }

    /// Gives out nothing below `next` any more.
    pub(crate) fn skip_to(&mut self, next: u64) {
        self.next = self.next.max(next);
    }

    /// Goes to `next`, back or forth.
    pub(crate) fn seek(&mut self, next: u64) {
        self.next = next;
        self.open = None;
    }

    /// The next whole record below `end`, if there is one. Damaged stretches are
    /// stepped over.
    pub(crate) fn next(&mut self, end: u64) -> io::Result<Option<(u64, Bytes)>> {
        while self.next < end {
            if self.open.is_none() && !self.open_segment(None)? {
                return Ok(None);
            }
            let Some(open) = &mut self.open else {
                return Ok(None);
            };
            match read_record(open)? {
                Some((seq, _)) if seq < self.next => {}
                Some((seq, _)) if seq >= end => {
                    // Written after `end` was read; given out another time.
                    self.open = None;
                    return Ok(None);
                }
                Some((seq, payload)) => {
                    self.next = seq + 1;
                    return Ok(Some((seq, payload)));
                }
                None => {
                    let after = open.first;
                    if !self.open_segment(Some(after))? {
                        // The writer may still append to this segment.
                        return Ok(None);
                    }
                }
            }
        }
        Ok(None)
    }

    /// Opens the segment that follows `after`, or the one that holds `next`.
    fn open_segment(&mut self, after: Option<u64>) -> io::Result<bool> {
        loop {
            let names = list(&self.directory)?;
            let index = match after {
                Some(after) => names.partition_point(|first| *first <= after),
                None => names
                    .partition_point(|first| *first <= self.next)
                    .saturating_sub(1),
            };
            let Some(first) = names.get(index) else {
                return Ok(false);
            };
            match File::open(path_of(&self.directory, *first)) {
                Ok(file) => {
                    self.open = Some(Open {
                        file,
                        first: *first,
                        offset: 0,
                    });
                    return Ok(true);
                }
                // Released between listing and opening.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// The record at the offset, or behind damage; none at the end of the file.
fn read_record(open: &mut Open) -> io::Result<Option<(u64, Bytes)>> {
    let mut bytes = vec![0; HEADER_BYTES];
    loop {
        let got = read_up_to(&open.file, &mut bytes, open.offset)?;
        match record::parse(&bytes[..got]) {
            Parsed::Whole { seq, length, .. } => {
                open.offset += length as u64;
                let mut bytes = Bytes::from(bytes);
                return Ok(Some((
                    seq,
                    bytes.split_off(HEADER_BYTES).slice(..length - HEADER_BYTES),
                )));
            }
            Parsed::Short { needs } if got == bytes.len() => bytes.resize(needs, 0),
            Parsed::Short { .. } | Parsed::Damaged => {
                if got == 0 {
                    return Ok(None);
                }
                let mut rest =
                    vec![
                        0;
                        usize::try_from(open.file.metadata()?.len().saturating_sub(open.offset))
                            .unwrap_or(0)
                    ];
                let got = read_up_to(&open.file, &mut rest, open.offset)?;
                match record::resync(&rest[..got], 1) {
                    Some(step) => {
                        open.offset += step as u64;
                        bytes.truncate(HEADER_BYTES);
                    }
                    None => return Ok(None),
                }
            }
        }
    }
}

fn read_up_to(file: &File, into: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut got = 0;
    while got < into.len() {
        match file.read_at(&mut into[got..], offset + got as u64) {
            Ok(0) => break,
            Ok(n) => got += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(got)
}
