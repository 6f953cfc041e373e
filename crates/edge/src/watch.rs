//! Deadlines of connections without a timer each.
//!
//! A connection writes the moment by which it must have moved into a cell; once a
//! [`TICK`] a worker looks at all cells and shuts down the sockets that are late.
//! The blocked read or write then ends, and the connection asks [`Entry::expired`]
//! why. Setting a deadline is one store, so every read and every write can have one.

use std::cell::{Cell, RefCell};
use std::os::fd::RawFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use slab::Slab;

/// How often deadlines are looked at; they hold to within this.
pub(crate) const TICK: Duration = Duration::from_millis(100);

const NEVER: u64 = u64::MAX;

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Nothing of a next request has come.
    Idle,
    /// Part of a request head has come.
    Head,
    /// A request is being answered, or its body read.
    Busy,
}

/// One connection's deadline.
#[derive(Debug)]
pub(crate) struct Entry {
    key: Cell<usize>,
    fd: RawFd,
    deadline_ms: Cell<u64>,
    phase: Cell<Phase>,
    expired: Cell<bool>,
}

/// The deadlines of one worker's connections.
#[derive(Debug)]
pub(crate) struct Watch {
    started: Instant,
    now_ms: Cell<u64>,
    entries: RefCell<Slab<Rc<Entry>>>,
}

/// A registered connection; leaves when dropped.
#[derive(Debug)]
pub(crate) struct Watched {
    watch: Rc<Watch>,
    entry: Rc<Entry>,
}

impl Watch {
    pub(crate) fn new() -> Rc<Self> {
        Rc::new(Self {
            started: Instant::now(),
            now_ms: Cell::new(0),
            entries: RefCell::new(Slab::new()),
        })
    }

    /// Registers the connection on `fd`, which must stay open while the result lives.
    pub(crate) fn register(self: &Rc<Self>, fd: RawFd) -> Watched {
        let entry = Rc::new(Entry {
            key: Cell::new(0),
            fd,
            deadline_ms: Cell::new(NEVER),
            phase: Cell::new(Phase::Idle),
            expired: Cell::new(false),
        });
        entry
            .key
            .set(self.entries.borrow_mut().insert(Rc::clone(&entry)));
        Watched {
            watch: Rc::clone(self),
            entry,
        }
    }

    /// Moves the clock and shuts down what is late.
    pub(crate) fn tick(&self) {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(NEVER - 1);
        self.now_ms.set(now);
        for (_, entry) in self.entries.borrow().iter() {
            if entry.deadline_ms.get() <= now {
                entry.expire();
            }
        }
    }

    /// Shuts down the connections that wait for a next request.
    pub(crate) fn close_idle(&self) {
        for (_, entry) in self.entries.borrow().iter() {
            if entry.phase.get() == Phase::Idle {
                entry.expire();
            }
        }
    }

    /// Shuts down every connection.
    pub(crate) fn close_all(&self) {
        for (_, entry) in self.entries.borrow().iter() {
            entry.expire();
        }
    }
}

impl Entry {
    fn expire(&self) {
        self.expired.set(true);
        self.deadline_ms.set(NEVER);
        // A client that is slow to send can still be told so; one that is slow to
        // receive cannot.
        let how = if self.phase.get() == Phase::Head {
            libc::SHUT_RD
        } else {
            libc::SHUT_RDWR
        };
        // SAFETY: the descriptor belongs to a live connection of this thread, see
        // `Watch::register`; shutdown has no memory effects.
        let _gone = unsafe { libc::shutdown(self.fd, how) };
    }
}

impl Watched {
    /// The connection must move within `limit`.
    pub(crate) fn within(&self, phase: Phase, limit: Duration) {
        self.entry.phase.set(phase);
        self.extend(limit);
    }

    /// It moved: another `limit`.
    pub(crate) fn extend(&self, limit: Duration) {
        let limit = u64::try_from(limit.as_millis()).unwrap_or(NEVER);
        self.entry
            .deadline_ms
            .set(self.watch.now_ms.get().saturating_add(limit));
    }

    /// It waits for somebody else, who has limits of their own.
    pub(crate) fn unlimited(&self, phase: Phase) {
        self.entry.phase.set(phase);
        self.entry.deadline_ms.set(NEVER);
    }

    /// Whether a deadline passed.
    pub(crate) fn expired(&self) -> bool {
        self.entry.expired.get()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let _entry = self
            .watch
            .entries
            .borrow_mut()
            .try_remove(self.entry.key.get());
    }
}
