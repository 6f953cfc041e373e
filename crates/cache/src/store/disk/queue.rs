//! What waits for the disk thread.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use super::spill::SpillFile;
use crate::key::KeyHash;
use crate::store::object::Object;

/// Octets of objects that may wait; beyond, they are not written.
const QUEUE_BYTES_MAX: u64 = 64 << 20;
/// Objects that may wait.
const QUEUE_LEN_MAX: usize = 65_536;
/// How often the thread looks around when nothing happens.
const IDLE_TIME: Duration = Duration::from_millis(500);

/// Work for the disk thread.
pub(super) enum Job {
    Write(Arc<Object>),
    Spill(Arc<SpillFile>, Bytes),
    Seal(Arc<SpillFile>, Arc<Object>),
    Discard(Arc<SpillFile>),
    /// Let go of the directory.
    Release,
}

/// What the thread does next: forget first, then the job.
pub(super) struct Next {
    pub(super) forgets: Vec<(KeyHash, Option<u64>)>,
    pub(super) job: Option<Job>,
    pub(super) closed: bool,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    /// Octets of the objects that wait.
    octets: u64,
    forgets: Vec<(KeyHash, Option<u64>)>,
    /// Objects that wait or are being written, by key: they may have left memory, and
    /// must be found when their key is forgotten or something newer comes.
    pending: HashMap<KeyHash, Vec<Arc<Object>>>,
    working: bool,
    closed: bool,
}

impl State {
    /// Whether there were any.
    fn give_up(&mut self, hash: KeyHash, which: impl Fn(&Object) -> bool) -> bool {
        let mut any = false;
        for object in self.pending.get(&hash).into_iter().flatten() {
            if which(object) {
                object.gone.store(true, Ordering::Release);
                any = true;
            }
        }
        any
    }
}

/// The queue.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    work: Condvar,
    idle: Condvar,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues an object, in the place of an older one of its variant; false when the
    /// queue is full.
    pub(super) fn push_write(&self, object: &Arc<Object>) -> bool {
        let octets = object.len().unwrap_or(0);
        let mut state = self.lock();
        state.give_up(object.hash(), |other| {
            other.meta().vary == object.meta().vary
        });
        if state.octets + octets > QUEUE_BYTES_MAX || state.jobs.len() >= QUEUE_LEN_MAX {
            return false;
        }
        state.octets += octets;
        state.jobs.push_back(Job::Write(object.clone()));
        state
            .pending
            .entry(object.hash())
            .or_default()
            .push(object.clone());
        self.work.notify_one();
        true
    }

    /// Queues work on a large body, which bounds itself.
    pub(super) fn push(&self, job: Job) {
        self.lock().jobs.push_back(job);
        self.work.notify_one();
    }

    /// Queues a key to be forgotten. Never refused: it is a few octets, and what is
    /// queued once for a key need not be queued again.
    pub(super) fn push_forget(&self, hash: KeyHash, variant: Option<u64>) {
        let mut state = self.lock();
        if state.forgets.last() != Some(&(hash, variant)) {
            state.forgets.push((hash, variant));
        }
        self.work.notify_one();
    }

    /// Objects of a key that wait, and that `which` names, are not to be written, or
    /// not to be left where they were just written.
    pub(super) fn give_up(&self, hash: KeyHash, which: impl Fn(&Object) -> bool) -> bool {
        self.lock().give_up(hash, which)
    }

    /// An object was written, or was not.
    pub(super) fn written(&self, object: &Arc<Object>) {
        let mut state = self.lock();
        if let Some(pending) = state.pending.get_mut(&object.hash()) {
            pending.retain(|other| !Arc::ptr_eq(other, object));
            if pending.is_empty() {
                state.pending.remove(&object.hash());
            }
        }
    }

    /// Number of jobs waiting.
    pub(super) fn len(&self) -> usize {
        self.lock().jobs.len()
    }

    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.work.notify_all();
    }

    /// Waits for work, but not for long.
    pub(super) fn next(&self) -> Next {
        let mut state = self.lock();
        if state.jobs.is_empty() && state.forgets.is_empty() && !state.closed {
            state = self
                .work
                .wait_timeout(state, IDLE_TIME)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        let job = state.jobs.pop_front();
        if let Some(Job::Write(object)) = &job {
            state.octets = state.octets.saturating_sub(object.len().unwrap_or(0));
        }
        state.working = true;
        Next {
            forgets: std::mem::take(&mut state.forgets),
            job,
            closed: state.closed,
        }
    }

    /// The work that [`Queue::next`] gave out is done.
    pub(super) fn done(&self) {
        let mut state = self.lock();
        state.working = false;
        if state.jobs.is_empty() && state.forgets.is_empty() {
            self.idle.notify_all();
        }
    }

    /// Waits until nothing is waiting or being worked on.
    pub(super) fn wait_until_done(&self) {
        let mut state = self.lock();
        while state.working || !state.jobs.is_empty() || !state.forgets.is_empty() {
            state = self
                .idle
                .wait_timeout(state, IDLE_TIME)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}
