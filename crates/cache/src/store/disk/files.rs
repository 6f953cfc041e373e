//! The files of the cache directory.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// A file that holds records.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) len: u64,
    pub(super) big: bool,
    open: Weak<File>,
    /// Segments stay open: there are few, and small objects are read from them.
    kept_open: Option<Arc<File>>,
}

/// All files, by number; smaller numbers are older.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) dir: PathBuf,
    known: Mutex<BTreeMap<u32, Known>>,
    octets: AtomicU64,
    next: AtomicU32,
    /// The error that writes fail with, for tests; 0 for none.
    fault: AtomicI32,
}

impl Files {
    pub(super) fn new(dir: PathBuf) -> Self {
        Self {
            dir,
            known: Mutex::default(),
            octets: AtomicU64::new(0),
            next: AtomicU32::new(1),
            fault: AtomicI32::new(0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u32, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Octets of all files.
    pub(super) fn octets(&self) -> u64 {
        self.octets.load(Ordering::Relaxed)
    }

    pub(super) fn charge(&self, octets: u64) {
        self.octets.fetch_add(octets, Ordering::Relaxed);
    }

    pub(super) fn release(&self, octets: u64) {
        self.octets.fetch_sub(octets, Ordering::Relaxed);
    }

    /// A number that no file has.
    pub(super) fn next_number(&self) -> u32 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn number_used(&self, number: u32) {
        self.next
            .fetch_max(number.saturating_add(1), Ordering::Relaxed);
    }

    pub(super) fn path(&self, number: u32, extension: &str) -> PathBuf {
        self.dir.join(format!("{number:08}.{extension}"))
    }

    /// Creates a file.
    pub(super) fn create(&self, path: &Path) -> io::Result<File> {
        self.faulty()?;
        OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(path)
    }

    /// Writes all octets at a place.
    pub(super) fn write_at(&self, file: &File, octets: &[u8], at: u64) -> io::Result<()> {
        self.faulty()?;
        file.write_all_at(octets, at)
    }

    pub(super) fn set_fault(&self, errno: i32) {
        self.fault.store(errno, Ordering::SeqCst);
    }

    fn faulty(&self) -> io::Result<()> {
        match self.fault.load(Ordering::SeqCst) {
            0 => Ok(()),
            errno => Err(io::Error::from_raw_os_error(errno)),
        }
    }

    /// Makes a file known; its octets were charged already.
    pub(super) fn add(&self, number: u32, len: u64, big: bool, file: &Arc<File>) {
        let known = Known {
            len,
            big,
            open: Arc::downgrade(file),
            kept_open: (!big).then(|| file.clone()),
        };
        self.lock().insert(number, known);
        self.number_used(number);
    }

    /// Notes that a segment has grown.
    pub(super) fn grown(&self, number: u32, len: u64) {
        if let Some(known) = self.lock().get_mut(&number) {
            known.len = len;
        }
    }

    /// The file with this number, opened if need be.
    pub(super) fn get(&self, number: u32) -> io::Result<Arc<File>> {
        let mut known = self.lock();
        let entry = known
            .get_mut(&number)
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        if let Some(file) = entry.kept_open.clone().or_else(|| entry.open.upgrade()) {
            return Ok(file);
        }
        let file = Arc::new(File::open(self.path(number, "big"))?);
        entry.open = Arc::downgrade(&file);
        Ok(file)
    }

    /// The length of a file.
    pub(super) fn len(&self, number: u32) -> Option<u64> {
        self.lock().get(&number).map(|known| known.len)
    }

    /// The oldest `most` files but `not`: number, length, and whether it holds one
    /// large object.
    pub(super) fn oldest(&self, not: u32, most: usize) -> Vec<(u32, u64, bool)> {
        self.lock()
            .iter()
            .filter(|(number, _)| **number != not)
            .take(most)
            .map(|(number, known)| (*number, known.len, known.big))
            .collect()
    }

    /// Deletes a file. Readers that have it open go on.
    pub(super) fn delete(&self, number: u32) -> Option<Arc<File>> {
        let known = self.lock().remove(&number)?;
        self.release(known.len);
        let extensions: &[&str] = if known.big { &["big"] } else { &["seg", "idx"] };
        for extension in extensions {
            let path = self.path(number, extension);
            if let Err(error) = std::fs::remove_file(&path)
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::warn!(%error, path = %path.display(), "could not delete a cache file");
            }
        }
        known.kept_open.or_else(|| known.open.upgrade())
    }

    /// Octets free for us on the file system.
    pub(super) fn free_bytes(&self) -> io::Result<u64> {
        let path = std::ffi::CString::new(self.dir.as_os_str().as_encoded_bytes())?;
        let mut stat = std::mem::MaybeUninit::<libc::statvfs>::uninit();
        // SAFETY: the path is NUL-terminated and `stat` has room for the answer.
        if unsafe { libc::statvfs(path.as_ptr(), stat.as_mut_ptr()) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call succeeded, so the kernel filled it in.
        let stat = unsafe { stat.assume_init() };
        Ok(stat.f_bavail * stat.f_frsize)
    }
}

/// Reads exactly `length` octets from the page cache; `None` when the disk would have
/// to be waited for, or they are not there.
pub(super) fn read_cached(file: &File, at: u64, length: usize) -> Option<Vec<u8>> {
    let mut octets = vec![0; length];
    let vector = libc::iovec {
        iov_base: octets.as_mut_ptr().cast(),
        iov_len: length,
    };
    let at = libc::off_t::try_from(at).ok()?;
    // SAFETY: the vector covers owned, writable memory for the time of the call.
    let read = unsafe { libc::preadv2(file.as_raw_fd(), &vector, 1, at, libc::RWF_NOWAIT) };
    (usize::try_from(read) == Ok(length)).then_some(octets)
}

/// Reads exactly `length` octets.
pub(super) fn read(file: &File, at: u64, length: usize) -> io::Result<Vec<u8>> {
    let mut octets = vec![0; length];
    file.read_exact_at(&mut octets, at)?;
    Ok(octets)
}

/// The CRC-32 of `length` octets from `at`.
pub(super) fn crc_of(file: &File, mut at: u64, length: u64) -> io::Result<u32> {
    let mut crc = crc32fast::Hasher::new();
    let mut buffer = vec![0; usize::try_from(length.min(1 << 20)).unwrap_or(1 << 20)];
    let end = at + length;
    while at < end {
        let take = usize::try_from((end - at).min(buffer.len() as u64)).unwrap_or(buffer.len());
        file.read_exact_at(&mut buffer[..take], at)?;
        crc.update(&buffer[..take]);
        at += take as u64;
    }
    Ok(crc.finalize())
}
