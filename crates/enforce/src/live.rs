//! What is in force now, and how the threads of a role ask for it.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use base::enforcement::{Rule, host_of, normal_path};
use base::event::EnforcedEvent;
use base::{Clock, EnforcementId, Role, SystemClock, Timestamp};

use crate::hits::Hits;
use crate::set::{Found, Set, SetError, is_on};

/// A large set, what has come since, and what has gone since.
#[derive(Debug, Default)]
pub struct Live {
    base: Arc<Set>,
    added: Set,
    /// Rules of `base` that are lifted or replaced.
    gone: HashSet<EnforcementId>,
}

impl Live {
    /// `base` with the changes made to it since.
    ///
    /// # Errors
    /// When there are more than a set holds.
    pub fn new(
        base: Arc<Set>,
        added: &BTreeMap<EnforcementId, Rule>,
        gone: HashSet<EnforcementId>,
    ) -> Result<Self, SetError> {
        Ok(Self {
            base,
            added: Set::build(added.values())?,
            gone,
        })
    }

    /// Whether nothing at all is in it.
    pub fn is_empty(&self) -> bool {
        self.base.is_empty() && self.added.is_empty()
    }

    /// Rules in it; those that have ended included.
    pub fn len(&self) -> usize {
        (self.base.len() + self.added.len()).saturating_sub(self.gone.len())
    }

    #[inline]
    fn ask(
        &self,
        now_s: u32,
        question: impl Fn(&Set, &dyn Fn(&Found, u32) -> bool) -> Option<Found>,
    ) -> Option<Found> {
        if !self.added.is_empty()
            && let Some(found) = question(&self.added, &|_, until| is_on(until, now_s))
        {
            return Some(found);
        }
        question(&self.base, &|found, until| {
            is_on(until, now_s) && (self.gone.is_empty() || !self.gone.contains(&found.id))
        })
    }

    /// What a client meets.
    #[inline]
    pub fn client(&self, address: IpAddr, now_s: u32) -> Option<Found> {
        if self.is_empty() {
            return None;
        }
        self.ask(now_s, |set, on| set.client(address, on))
    }

    /// What a name in lower case, without its final dot, meets.
    #[inline]
    pub fn name(&self, name: &[u8], now_s: u32) -> Option<Found> {
        if !self.base.has_names() && !self.added.has_names() {
            return None;
        }
        self.ask(now_s, |set, on| set.name(name, on))
    }

    /// What a request meets by its host (`host[:port]` as sent) or its URL.
    #[inline]
    pub fn request(&self, host: &str, target: &str, now_s: u32) -> Option<Found> {
        let (names, urls) = (
            self.base.has_names() || self.added.has_names(),
            self.base.has_urls() || self.added.has_urls(),
        );
        if !names && !urls {
            return None;
        }
        let host = host_of(host);
        let host = host.strip_suffix('.').unwrap_or(host);
        let mut url = String::with_capacity(host.len() + target.len());
        url.push_str(host);
        url.make_ascii_lowercase();
        if names && let Some(found) = self.name(url.as_bytes(), now_s) {
            return Some(found);
        }
        if !urls {
            return None;
        }
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        };
        normal_path(path, &mut url);
        if let Some(query) = query {
            url.push('?');
            url.push_str(query);
        }
        self.ask(now_s, |set, on| set.url(url.as_bytes(), on))
    }
}

/// What a role refuses, as its threads share it.
#[derive(Debug)]
pub struct Blocklist {
    role: Role,
    live: RwLock<Arc<Live>>,
    version: AtomicU64,
    now_s: AtomicU32,
    hits: Mutex<Hits>,
    /// Hits since the process began.
    total: AtomicU64,
}

impl Blocklist {
    /// An empty one for a role; a role alone never fills it.
    pub fn new(role: Role) -> Arc<Self> {
        let blocklist = Self {
            role,
            live: RwLock::default(),
            version: AtomicU64::new(1),
            now_s: AtomicU32::new(0),
            hits: Mutex::default(),
            total: AtomicU64::new(0),
        };
        blocklist.set_now(SystemClock.now());
        Arc::new(blocklist)
    }

    pub(crate) fn replace(&self, live: Live) {
        *self.live.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(live);
        self.version.fetch_add(1, Ordering::Release);
    }

    pub(crate) fn set_now(&self, now: Timestamp) {
        let seconds = u32::try_from(now.seconds().max(0)).unwrap_or(u32::MAX);
        self.now_s.store(seconds, Ordering::Relaxed);
    }

    /// What is in force.
    pub fn live(&self) -> Arc<Live> {
        Arc::clone(&self.live.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The seconds by which rules end.
    #[inline]
    pub fn now_s(&self) -> u32 {
        self.now_s.load(Ordering::Relaxed)
    }

    /// A view for one thread.
    pub fn reader(self: &Arc<Self>) -> Reader {
        Reader {
            version: self.version.load(Ordering::Acquire),
            live: self.live(),
            list: Arc::clone(self),
        }
    }

    /// Counts a hit.
    pub fn hit(&self, found: &Found, client: IpAddr, subject: &str) {
        self.total.fetch_add(1, Ordering::Relaxed);
        let at = SystemClock.now();
        self.hits().add(found.id, self.role, at, client, subject);
    }

    /// Hits since the process began.
    pub fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    /// Takes the counts gathered, and how many hits had no place among them.
    pub(crate) fn take_hits(&self) -> (Vec<EnforcedEvent>, u64) {
        let mut hits = self.hits();
        (hits.take(), std::mem::take(&mut hits.uncounted))
    }

    fn hits(&self) -> std::sync::MutexGuard<'_, Hits> {
        self.hits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One thread's view of a [`Blocklist`].
#[derive(Debug)]
pub struct Reader {
    list: Arc<Blocklist>,
    version: u64,
    live: Arc<Live>,
}

impl Reader {
    /// The list, what is in force now, and the second by which it is asked.
    #[inline]
    pub fn get(&mut self) -> (&Blocklist, &Live, u32) {
        let version = self.list.version.load(Ordering::Acquire);
        if version != self.version {
            self.version = version;
            self.live = self.list.live();
        }
        (&self.list, &self.live, self.list.now_s())
    }
}
