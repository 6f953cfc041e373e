//! Memory that the kernel can send from: one anonymous file for all larger bodies.
//!
//! `sendfile` needs a file. Bodies that are in memory only live in one `memfd`, each
//! at an address of its own that is never used again; when the last user lets go, a
//! hole is punched and the pages go back to the system. Addresses are plentiful (8
//! EiB), so there is nothing to fragment.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Octets in a page: bodies begin at page boundaries, so that holes free all of them.
const PAGE_BYTES: u64 = 4_096;

/// The anonymous file.
#[derive(Debug)]
pub(super) struct Arena {
    file: Arc<File>,
    next: AtomicU64,
}

/// A body's place in the arena; its pages are freed when this is dropped.
#[derive(Debug)]
pub(super) struct Extent {
    file: Arc<File>,
    offset: u64,
    reserved: u64,
}

impl Arena {
    pub(super) fn new() -> io::Result<Self> {
        // SAFETY: the name is a NUL-terminated string; the flags are valid.
        let fd = unsafe { libc::memfd_create(c"civicnet-cache".as_ptr(), libc::MFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just created and belongs to nobody else.
        let file = Arc::new(unsafe { File::from_raw_fd(fd) });
        Ok(Self {
            file,
            next: AtomicU64::new(0),
        })
    }

    /// A place for up to `reserved` octets; they cost nothing until they are written.
    pub(super) fn reserve(&self, reserved: u64) -> Arc<Extent> {
        let reserved = reserved.max(1).next_multiple_of(PAGE_BYTES);
        let offset = self.next.fetch_add(reserved, Ordering::Relaxed);
        Arc::new(Extent {
            file: self.file.clone(),
            offset,
            reserved,
        })
    }
}

impl Extent {
    pub(super) fn file(&self) -> &Arc<File> {
        &self.file
    }

    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Writes `octets` at `at` within the extent.
    pub(super) fn write(&self, at: u64, octets: &[u8]) -> io::Result<()> {
        if at + octets.len() as u64 > self.reserved {
            return Err(io::Error::from(io::ErrorKind::FileTooLarge));
        }
        self.file.write_all_at(octets, self.offset + at)
    }
}

impl Drop for Extent {
    fn drop(&mut self) {
        let (Ok(offset), Ok(length)) = (
            libc::off_t::try_from(self.offset),
            libc::off_t::try_from(self.reserved),
        ) else {
            return;
        };
        let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
        // SAFETY: the descriptor is open as long as `file` lives.
        let result = unsafe { libc::fallocate(self.file.as_raw_fd(), mode, offset, length) };
        if result != 0 {
            tracing::warn!(
                error = %io::Error::last_os_error(),
                "could not free the pages of a cached body"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn dropped_bodies_give_their_pages_back() {
        let arena = Arena::new().expect("memfd");
        let kept = arena.reserve(10_000);
        let dropped = arena.reserve(1 << 20);
        kept.write(0, &[1; 10_000]).expect("room");
        dropped.write(0, &vec![2; 1 << 20]).expect("room");
        assert!(kept.write(12_000, &[0; 1_000]).is_err());
        let pages = || arena.file.metadata().expect("a file").blocks() * 512;
        assert!(pages() >= (1 << 20) + 10_000);
        drop(dropped);
        assert!(pages() <= 3 * PAGE_BYTES);
        let mut octets = [0; 10_000];
        kept.file()
            .read_exact_at(&mut octets, kept.offset())
            .expect("still there");
        assert_eq!(octets, [1; 10_000]);
    }
}
