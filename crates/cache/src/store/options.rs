//! How a store is set up, and what it says when something goes wrong.

use std::path::PathBuf;
use std::sync::Arc;

/// How a store is set up.
#[derive(Clone)]
pub struct StoreOptions {
    /// Octets of memory for objects.
    pub memory_bytes: u64,
    /// Octets of the largest body kept in one piece of memory; larger ones are kept
    /// in files that `sendfile` can send from.
    pub memory_body_bytes_max: u64,
    /// The disk tier; none: memory only.
    pub disk: Option<DiskOptions>,
    /// Told what an operator should know: the disk is full, broken, or well again.
    pub on_notice: Arc<dyn Fn(Notice) + Send + Sync>,
}

/// How the disk tier is set up.
#[derive(Debug, Clone)]
pub struct DiskOptions {
    /// The directory, which belongs to this store alone; created when absent.
    pub dir: PathBuf,
    /// Octets of disk for objects.
    pub bytes: u64,
    /// Octets of the file system that are always left free.
    pub reserve_bytes: u64,
}

/// Something an operator should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// The disk cannot be written; serving goes on from memory.
    DiskFailed {
        /// What went wrong.
        error: String,
    },
    /// The disk can be written again.
    DiskRecovered,
    /// A stored response was damaged; it was thrown away and will be fetched again.
    Corrupt {
        /// The file.
        file: String,
    },
}

impl StoreOptions {
    /// Memory only.
    pub fn in_memory(memory_bytes: u64) -> Self {
        Self {
            memory_bytes,
            memory_body_bytes_max: MEMORY_BODY_BYTES_MAX,
            disk: None,
            on_notice: Arc::new(|_| {}),
        }
    }

    /// Memory and disk.
    pub fn on_disk(memory_bytes: u64, disk: DiskOptions) -> Self {
        Self {
            disk: Some(disk),
            ..Self::in_memory(memory_bytes)
        }
    }
}

impl std::fmt::Debug for StoreOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoreOptions")
            .field("memory_bytes", &self.memory_bytes)
            .field("disk", &self.disk)
            .finish_non_exhaustive()
    }
}

/// Default of [`StoreOptions::memory_body_bytes_max`].
pub const MEMORY_BODY_BYTES_MAX: u64 = 64 << 10;

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The kernel gives no anonymous file.
    #[error("could not create an anonymous file for cached bodies")]
    Arena(#[source] std::io::Error),
    /// The cache directory cannot be used.
    #[error("could not open the cache directory {}", path.display())]
    Dir {
        /// The directory or a file in it.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Random numbers are not to be had.
    #[error("could not get random numbers for the hash key")]
    Random,
}

/// Why a purge is not in force durably. It is in force in memory all the same.
#[derive(Debug, thiserror::Error)]
pub enum PurgeError {
    /// The purge log cannot be written.
    #[error("could not write the purge log {}", path.display())]
    Log {
        /// The log.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}
