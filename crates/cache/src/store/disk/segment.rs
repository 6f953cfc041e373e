//! Segments: the one that is being written, and reading the others' lists.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::Shared;
use super::files;
use super::record::{self, FILE_HEAD_BYTES, HEAD_BYTES, Head, Kind, Listed, Place};
use crate::store::object::FileBody;

/// Octets after which a segment is full.
const SEGMENT_BYTES: u64 = 64 << 20;
/// Octets copied at once.
pub(super) const COPY_BYTES: usize = 256 << 10;

/// Where records are appended.
pub(super) struct Segments {
    shared: Arc<Shared>,
    active: Option<Active>,
    last_write: u64,
    segment_bytes: u64,
}

/// The segment being written.
struct Active {
    number: u32,
    file: Arc<File>,
    at: u64,
    list: Vec<Listed>,
}

impl Segments {
    /// Appends after the record numbered `last_write`.
    pub(super) fn new(shared: Arc<Shared>, last_write: u64) -> Self {
        Self {
            // At least eight, so that eviction does not take half of the cache at once.
            segment_bytes: (shared.options.bytes / 8).clamp(1 << 20, SEGMENT_BYTES),
            shared,
            active: None,
            last_write,
        }
    }

    /// Leaves the segment as it is: after a failure it may end in half a record, and
    /// the next record begins a new one.
    pub(super) fn abandon(&mut self) {
        self.active = None;
    }

    /// The number of the next record.
    pub(super) fn next_write(&mut self) -> u64 {
        self.last_write += 1;
        self.last_write
    }

    /// The number of the segment being written; 0 for none.
    pub(super) fn active_number(&self) -> u32 {
        self.active.as_ref().map_or(0, |active| active.number)
    }

    /// Makes the active segment have room for a record of `octets`.
    fn room(&mut self, octets: u64) -> io::Result<()> {
        let full = self
            .active
            .as_ref()
            .is_some_and(|active| active.at + octets > self.segment_bytes);
        if full {
            self.seal()?;
        }
        if self.active.is_none() {
            let files = &self.shared.files;
            let number = files.next_number();
            let path = files.path(number, "seg");
            let file = Arc::new(files.create(&path)?);
            let begun = files.write_at(&file, &record::file_head(number), 0);
            if let Err(error) = begun {
                // Nothing is in it; what remains is swept at the next start.
                drop(std::fs::remove_file(&path));
                return Err(error);
            }
            files.charge(FILE_HEAD_BYTES);
            files.add(number, FILE_HEAD_BYTES, false, &file);
            self.active = Some(Active {
                number,
                file,
                at: FILE_HEAD_BYTES,
                list: Vec::new(),
            });
        }
        Ok(())
    }

    /// Ends the active segment and writes its list.
    pub(super) fn seal(&mut self) -> io::Result<()> {
        let Some(active) = self.active.take() else {
            return Ok(());
        };
        write_list(&self.shared, active.number, active.at, &active.list)
    }

    /// Writes a record whose body is in memory, or elsewhere.
    pub(super) fn append(
        &mut self,
        head: &Head,
        about: &[u8],
        body: &[u8],
        elsewhere: Option<Place>,
    ) -> io::Result<Listed> {
        let mut octets = Vec::with_capacity(HEAD_BYTES + about.len() + body.len());
        octets.extend_from_slice(&head.encode(about));
        octets.extend_from_slice(about);
        octets.extend_from_slice(body);
        self.room(octets.len() as u64)?;
        let shared = self.shared.clone();
        let Some(active) = &mut self.active else {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        };
        shared.files.write_at(&active.file, &octets, active.at)?;
        let here = Place {
            file: active.number,
            at: active.at + (HEAD_BYTES + about.len()) as u64,
        };
        Ok(active.wrote(
            &shared,
            *head,
            octets.len() as u64,
            elsewhere.unwrap_or(here),
        ))
    }

    /// Writes a record whose body is in a file, by copying it.
    pub(super) fn append_copy(
        &mut self,
        head: &mut Head,
        about: &[u8],
        body: &FileBody,
    ) -> io::Result<Listed> {
        let total = (HEAD_BYTES + about.len()) as u64 + body.len;
        self.room(total)?;
        let shared = self.shared.clone();
        let Some(active) = &mut self.active else {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        };
        let body_at = active.at + (HEAD_BYTES + about.len()) as u64;
        let mut crc = crc32fast::Hasher::new();
        let mut buffer = vec![0; COPY_BYTES];
        let mut done = 0;
        while done < body.len {
            let take =
                usize::try_from((body.len - done).min(COPY_BYTES as u64)).unwrap_or(COPY_BYTES);
            body.file
                .read_exact_at(&mut buffer[..take], body.offset + done)?;
            crc.update(&buffer[..take]);
            shared
                .files
                .write_at(&active.file, &buffer[..take], body_at + done)?;
            done += take as u64;
        }
        head.body_crc = crc.finalize();
        // The head last: a torn copy has none.
        let mut octets = head.encode(about).to_vec();
        octets.extend_from_slice(about);
        shared.files.write_at(&active.file, &octets, active.at)?;
        let place = Place {
            file: active.number,
            at: body_at,
        };
        Ok(active.wrote(&shared, *head, total, place))
    }
}

impl Active {
    fn wrote(&mut self, shared: &Shared, head: Head, octets: u64, body: Place) -> Listed {
        let listed = Listed {
            head,
            at: self.at,
            body,
        };
        self.list.push(listed);
        self.at += octets;
        shared.files.charge(octets);
        shared.files.grown(self.number, self.at);
        listed
    }
}

/// The records of a sealed segment: from its list, or by reading its heads.
pub(super) fn read_segment(shared: &Shared, number: u32, len: u64) -> Vec<Listed> {
    if let Ok(octets) = std::fs::read(shared.files.path(number, "idx"))
        && let Some((of, list)) = record::decode_list(&octets)
        && of <= len
    {
        return list;
    }
    let Ok(file) = shared.files.get(number) else {
        return Vec::new();
    };
    record::scan(number, len, |at, length| {
        files::read(&file, at, length).ok()
    })
    .1
}

/// The record of a large object's file.
pub(super) fn read_big(file: &File, number: u32, len: u64) -> Option<Listed> {
    let (end, list) = record::scan(number, len, |at, length| files::read(file, at, length).ok());
    list.first()
        .copied()
        .filter(|listed| end == len && list.len() == 1 && listed.head.kind == Kind::Object)
}

/// Writes a segment's list, beside first.
pub(super) fn write_list(
    shared: &Shared,
    number: u32,
    len: u64,
    list: &[Listed],
) -> io::Result<()> {
    let path = shared.files.path(number, "idx");
    let beside = path.with_extension("idx-new");
    let file = shared.files.create(&beside)?;
    shared
        .files
        .write_at(&file, &record::encode_list(len, list), 0)?;
    std::fs::rename(&beside, &path)
}
