//! Reading a body, wherever it is.

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::filling::{Aborted, Filling, Found};
use super::object::{Body, FileBody};
use crate::rules::range::ByteRange;

/// Octets read from a file at once.
const READ_BYTES: usize = 64 << 10;

/// Why a body could not be read to its end.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The origin's response broke off.
    #[error(transparent)]
    Aborted(#[from] Aborted),
    /// The cache's file could not be read.
    #[error("could not read a cached body")]
    File(#[source] io::Error),
}

/// A reader of one body or a range of it.
#[derive(Debug)]
pub struct BodyReader {
    source: Source,
    at: u64,
    end: u64,
}

#[derive(Debug)]
enum Source {
    Memory(Bytes),
    File(FileBody),
    Filling(Attached),
}

/// A place among the readers of a filling body.
#[derive(Debug)]
struct Attached {
    filling: Arc<Filling>,
    id: u64,
}

impl Drop for Attached {
    fn drop(&mut self) {
        self.filling.detach(self.id);
    }
}

impl BodyReader {
    pub(super) fn new(body: &Body, range: Option<ByteRange>) -> Self {
        let (at, end) = range.map_or((0, u64::MAX), |range| {
            (range.first, range.last.saturating_add(1))
        });
        let (source, end) = match body {
            Body::Memory(bytes) => (Source::Memory(bytes.clone()), end.min(bytes.len() as u64)),
            Body::File(file) => (Source::File(file.clone()), end.min(file.len)),
            Body::Filling(filling) => {
                let attached = Attached {
                    id: filling.attach(at),
                    filling: filling.clone(),
                };
                (Source::Filling(attached), end)
            }
        };
        Self { source, at, end }
    }

    /// The next octets; `None` at the end.
    ///
    /// # Errors
    /// When the origin's response broke off, or a file cannot be read.
    pub async fn next(&mut self) -> Option<Result<Bytes, ReadError>> {
        loop {
            if let Some(ready) = self.try_next() {
                return match ready {
                    Ready::Octets(octets) => Some(Ok(octets)),
                    Ready::End => None,
                    Ready::Failed(error) => Some(Err(error)),
                    Ready::InFile(file, end) => Some(self.read_file(&file, end).await),
                };
            }
            if let Source::Filling(Attached { filling, .. }) = &self.source {
                filling.clone().arrival(self.at).await;
            }
        }
    }

    /// The next octets when they are at hand without waiting for the origin or the
    /// disk; `None` when [`BodyReader::next`] has to wait.
    pub fn now(&mut self) -> Option<Option<Result<Bytes, ReadError>>> {
        match self.try_next()? {
            Ready::Octets(octets) => Some(Some(Ok(octets))),
            Ready::End => Some(None),
            Ready::Failed(error) => Some(Some(Err(error))),
            Ready::InFile(file, end) => {
                let octets = read_cached(&file, self.at, self.len_within(end))
                    .ok()
                    .flatten()?;
                self.advance(octets.len());
                Some(Some(Ok(octets)))
            }
        }
    }

    fn try_next(&mut self) -> Option<Ready> {
        if self.at >= self.end {
            return Some(Ready::End);
        }
        let found = match &self.source {
            Source::Memory(bytes) => {
                let octets = bytes.slice(self.at as usize..self.end as usize);
                self.at = self.end;
                return Some(Ready::Octets(octets));
            }
            Source::File(file) => return Some(Ready::InFile(file.clone(), file.len)),
            Source::Filling(attached) => attached.filling.find(self.at),
        };
        match found {
            Found::Octets(mut octets) => {
                octets.truncate(self.len_within(self.at + octets.len() as u64));
                self.advance(octets.len());
                Some(Ready::Octets(octets))
            }
            Found::InFile(file, end) => Some(Ready::InFile(file, end)),
            Found::Pending => None,
            Found::End => Some(Ready::End),
            Found::Aborted => Some(Ready::Failed(ReadError::Aborted(Aborted))),
        }
    }

    fn len_within(&self, end: u64) -> usize {
        usize::try_from(end.min(self.end) - self.at).unwrap_or(usize::MAX)
    }

    fn advance(&mut self, octets: usize) {
        self.at += octets as u64;
        if let Source::Filling(attached) = &self.source {
            attached.filling.moved(attached.id, self.at);
        }
    }

    /// Reads from the page cache at once, and from the disk on another thread.
    async fn read_file(&mut self, file: &FileBody, end: u64) -> Result<Bytes, ReadError> {
        let length = self.len_within(end).min(READ_BYTES);
        let octets = match read_cached(file, self.at, length) {
            Ok(Some(octets)) => octets,
            Ok(None) if tokio::runtime::Handle::try_current().is_ok() => {
                let (file, at) = (file.clone(), self.at);
                tokio::task::spawn_blocking(move || read_blocking(&file, at, length))
                    .await
                    .map_err(|error| ReadError::File(io::Error::other(error)))?
                    .map_err(ReadError::File)?
            }
            Ok(None) => read_blocking(file, self.at, length).map_err(ReadError::File)?,
            Err(error) => return Err(ReadError::File(error)),
        };
        if octets.is_empty() {
            let short = io::Error::from(io::ErrorKind::UnexpectedEof);
            return Err(ReadError::File(short));
        }
        self.advance(octets.len());
        Ok(octets)
    }
}

enum Ready {
    Octets(Bytes),
    InFile(FileBody, u64),
    End,
    Failed(ReadError),
}

/// Reads what the page cache has; `None` when it would have to wait for the disk.
fn read_cached(file: &FileBody, at: u64, length: usize) -> io::Result<Option<Bytes>> {
    let mut octets = BytesMut::with_capacity(length.min(READ_BYTES));
    let offset = libc::off_t::try_from(file.offset + at)
        .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let spare = octets.spare_capacity_mut();
    let vector = libc::iovec {
        iov_base: spare.as_mut_ptr().cast(),
        iov_len: length.min(spare.len()),
    };
    // SAFETY: the vector covers writable, owned memory for the time of the call.
    let read =
        unsafe { libc::preadv2(file.file.as_raw_fd(), &vector, 1, offset, libc::RWF_NOWAIT) };
    if read < 0 {
        let error = io::Error::last_os_error();
        return match error.raw_os_error() {
            // Some file systems do not know the flag.
            Some(libc::EAGAIN | libc::EOPNOTSUPP | libc::EINVAL | libc::EINTR) => Ok(None),
            _ => Err(error),
        };
    }
    // SAFETY: the kernel initialised this many octets.
    unsafe { octets.set_len(read as usize) };
    Ok(Some(octets.freeze()))
}

fn read_blocking(file: &FileBody, at: u64, length: usize) -> io::Result<Bytes> {
    let mut octets = BytesMut::zeroed(length.min(READ_BYTES));
    let read = file.file.read_at(&mut octets, file.offset + at)?;
    octets.truncate(read);
    Ok(octets.freeze())
}
