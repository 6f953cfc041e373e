//! What is being served: replaced whole, read without a lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use dns::Served;

/// The present table and choices. Readers keep their own [`Reader`], which looks at
/// one number for each packet and takes the lock only when it has changed.
#[derive(Debug)]
pub(crate) struct Current {
    version: AtomicU64,
    served: RwLock<Arc<Served>>,
}

impl Current {
    /// Begins with `served`.
    pub(crate) fn new(served: Served) -> Arc<Self> {
        Arc::new(Self {
            version: AtomicU64::new(1),
            served: RwLock::new(Arc::new(served)),
        })
    }

    /// Replaces it for all readers.
    pub(crate) fn replace(&self, served: Served) {
        let mut place = self.served.write().unwrap_or_else(PoisonError::into_inner);
        *place = Arc::new(served);
        self.version.fetch_add(1, Ordering::Release);
    }

    /// What is served now.
    pub(crate) fn get(&self) -> Arc<Served> {
        Arc::clone(&self.served.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// A reader for one thread.
    pub(crate) fn reader(self: &Arc<Self>) -> Reader {
        Reader {
            version: self.version.load(Ordering::Acquire),
            served: self.get(),
            current: Arc::clone(self),
        }
    }
}

/// One thread's view.
#[derive(Debug)]
pub(crate) struct Reader {
    current: Arc<Current>,
    version: u64,
    served: Arc<Served>,
}

impl Reader {
    /// What is served now.
    #[inline]
    pub(crate) fn get(&mut self) -> &Served {
        let version = self.current.version.load(Ordering::Acquire);
        if version != self.version {
            self.version = version;
            self.served = self.current.get();
        }
        &self.served
    }
}
