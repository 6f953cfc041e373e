//! Whether the audit trail's chain holds: checked in the background, at most once a
//! minute, however many people look.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use base::Timestamp;
use store::Db;
use store::audit::{AnchorError, Anchors, VerifyError};
use tokio::sync::watch;

/// Time that an answer is shown before the chain is walked again.
const FRESH: Duration = Duration::from_secs(60);
/// Time that a page waits for an answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is known about the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It has not been walked yet, and takes its time.
    Checking,
    /// It holds.
    Verified {
        /// Up to this entry.
        entries: u64,
        /// Anchors outside of the database that agree.
        anchors: u64,
        /// When it was walked.
        at: Timestamp,
    },
    /// It was tampered with.
    Broken {
        /// The first entry that is wrong.
        seq: u64,
        /// What is wrong with it.
        what: String,
        /// When it was walked.
        at: Timestamp,
    },
    /// It could not be read.
    Unreadable {
        /// When that was tried.
        at: Timestamp,
    },
}

/// The last answer and the walk under way.
#[derive(Clone)]
pub(crate) struct Chain {
    last: Arc<watch::Sender<Standing>>,
    walking: Arc<AtomicBool>,
    anchors: Arc<OnceLock<Anchors>>,
}

impl Default for Chain {
    fn default() -> Self {
        Self {
            last: Arc::new(watch::Sender::new(Standing::Checking)),
            walking: Arc::default(),
            anchors: Arc::default(),
        }
    }
}

impl Chain {
    /// Checks against these anchors too; the first call counts.
    pub(crate) fn against(&self, anchors: Anchors) {
        self.anchors.get_or_init(|| anchors);
    }

    /// What is known now; begins a walk when that is old.
    pub(crate) async fn standing(&self, db: &Db, now: Timestamp) -> Standing {
        let mut seen = self.last.subscribe();
        let fresh = match &*seen.borrow_and_update() {
            Standing::Checking => false,
            Standing::Verified { at, .. }
            | Standing::Broken { at, .. }
            | Standing::Unreadable { at } => now.since(*at) < FRESH,
        };
        if fresh {
            return self.last.borrow().clone();
        }
        if !self.walking.swap(true, Ordering::AcqRel) {
            let (chain, db) = (self.clone(), db.clone());
            tokio::spawn(async move {
                let standing = walk(&db, chain.anchors.get(), now).await;
                chain.walking.store(false, Ordering::Release);
                chain.last.send_replace(standing);
            });
        }
        // An old answer is better than none when the walk takes longer.
        match tokio::time::timeout(PATIENCE, seen.changed()).await {
            Ok(_) | Err(_) => self.last.borrow().clone(),
        }
    }
}

async fn walk(db: &Db, anchors: Option<&Anchors>, at: Timestamp) -> Standing {
    match store::audit::verify(db, anchors).await {
        Ok(verified) => Standing::Verified {
            entries: verified.entries,
            anchors: verified.anchors,
            at,
        },
        Err(VerifyError::Anchors(forged @ AnchorError::Forged { .. })) => {
            tracing::error!(%forged, "the audit trail's anchors do not verify");
            Standing::Broken {
                seq: 0,
                what: forged.to_string(),
                at,
            }
        }
        Err(VerifyError::Broken(broken)) => {
            tracing::error!(%broken, "the audit trail does not verify");
            Standing::Broken {
                seq: broken.seq,
                what: broken.what,
                at,
            }
        }
        Err(error) => {
            tracing::warn!(error = %runtime::error_chain(&error), "the audit trail could not be checked");
            Standing::Unreadable { at }
        }
    }
}
