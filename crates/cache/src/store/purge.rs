//! Purges: what was ordered, and which objects it concerns.
//!
//! No index of objects by tag or prefix exists. Orders are kept instead, each with
//! the epoch that it opened; an object is concerned when it was born in an earlier
//! epoch, that is, when its request was sent before the order arrived. That needs no
//! clock, so a clock that jumps brings nothing back. An object remembers up to which
//! generation of orders it was found good: a lookup costs one comparison until the
//! next order comes.
//!
//! Orders are forgotten when no object is old enough to be concerned, and folded into
//! a purge of the whole site when a site has too many.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use base::quick::{Purge, PurgeWhat};
use base::{SiteId, Timestamp};
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::object::Object;
use crate::key::{CacheKey, normalised_target};
use crate::rules::ResponseMeta;

/// Prefix purges of one site that are kept apart: a lookup after a purge walks them.
pub(super) const PREFIXES_MAX: usize = 256;
/// URL and tag purges of one site that are kept apart.
pub(super) const NAMES_MAX: usize = 65_536;

/// A moment among purges, taken when a request to an origin begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp(pub(super) u64);

/// An order to purge, as [`super::Store::purge`] takes it.
#[derive(Debug, Clone)]
pub struct PurgeOrder<'a> {
    /// Its number in the quick log.
    pub seq: u64,
    /// What to purge.
    pub purge: &'a Purge,
    /// The site's ignored query parameters, for purges by URL.
    pub ignore_query: &'a [String],
}

/// An order as it is logged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) epoch: u64,
    pub(super) at: Timestamp,
    pub(super) soft: bool,
    pub(super) what: What,
}

/// What an order concerns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum What {
    Everything,
    Site([u8; 16]),
    /// A target, or a host and a target.
    Url([u8; 16], Vec<u8>),
    Prefix([u8; 16], Vec<u8>),
    Tag([u8; 16], Box<str>),
}

impl What {
    pub(super) fn of(purge: &Purge, ignore_query: &[String]) -> Self {
        let site = *purge.site.0.as_bytes();
        match &purge.what {
            PurgeWhat::Site => Self::Site(site),
            PurgeWhat::Tag(tag) => Self::Tag(site, tag.as_str().into()),
            PurgeWhat::Url(url) => Self::Url(site, host_and_target(url, ignore_query)),
            PurgeWhat::Prefix(prefix) => {
                let (host, target) = split_host(prefix);
                let mut octets = host.to_ascii_lowercase().into_bytes();
                octets.extend_from_slice(target.as_bytes());
                Self::Prefix(site, octets)
            }
        }
    }
}

/// `/target`, or `host/target` with the host as keys hold it.
fn host_and_target(url: &str, ignore_query: &[String]) -> Vec<u8> {
    let (host, target) = split_host(url);
    let mut octets = host.to_ascii_lowercase().into_bytes();
    octets.extend_from_slice(&normalised_target(target, ignore_query));
    octets
}

fn split_host(text: &str) -> (&str, &str) {
    let rest = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"))
        .unwrap_or(text);
    rest.split_at(rest.find('/').unwrap_or(rest.len()))
}

/// The newest order of each kind about one thing.
#[derive(Debug, Clone, Copy, Default)]
struct Mark {
    hard: u64,
    soft: u64,
    soft_at: Timestamp,
}

impl Mark {
    fn add(&mut self, entry: &Entry) {
        if entry.soft {
            if entry.epoch > self.soft {
                (self.soft, self.soft_at) = (entry.epoch, entry.at);
            }
        } else {
            self.hard = self.hard.max(entry.epoch);
        }
    }

    fn newest(&self) -> u64 {
        self.hard.max(self.soft)
    }
}

#[derive(Debug, Default)]
struct SiteOrders {
    whole: Mark,
    urls: HashMap<Vec<u8>, Mark>,
    tags: HashMap<Box<str>, Mark>,
    prefixes: Vec<(Vec<u8>, Mark)>,
    before: Timestamp,
}

#[derive(Debug, Default)]
struct Orders {
    everything: Mark,
    sites: HashMap<SiteId, SiteOrders>,
}

/// What the orders say about an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// Nothing.
    Good,
    /// Stale since then, but usable.
    Soft(Timestamp),
    /// Not to be served again.
    Purged,
}

/// All orders in force.
#[derive(Debug, Default)]
pub(super) struct Purges {
    orders: RwLock<Orders>,
    /// The number of the newest order.
    epoch: AtomicU64,
    /// Counts changes of `orders`; beyond purges, of `before` too.
    generation: AtomicU64,
}

impl Purges {
    pub(super) fn new() -> Self {
        let purges = Self::default();
        // Objects start at zero, so that each is looked at once.
        purges.generation.store(1, Ordering::Release);
        purges
    }

    /// The stamp of a request that begins at this moment.
    pub(super) fn stamp(&self) -> Stamp {
        Stamp(self.epoch.load(Ordering::Acquire))
    }

    pub(super) fn set_epoch(&self, epoch: u64) {
        self.epoch.fetch_max(epoch, Ordering::AcqRel);
    }

    /// Puts an order into force.
    pub(super) fn add(&self, entry: &Entry) {
        let mut orders = self.orders.write().unwrap_or_else(PoisonError::into_inner);
        orders.add(entry);
        drop(orders);
        self.epoch.fetch_max(entry.epoch, Ordering::AcqRel);
        self.generation.fetch_add(1, Ordering::AcqRel);
    }

    /// Everything of `site` requested before `before` is purged (from a snapshot).
    pub(super) fn set_before(&self, site: SiteId, before: Timestamp) {
        let mut orders = self.orders.write().unwrap_or_else(PoisonError::into_inner);
        let known = &mut orders.sites.entry(site).or_default().before;
        if *known >= before {
            return;
        }
        *known = before;
        drop(orders);
        self.generation.fetch_add(1, Ordering::AcqRel);
    }

    /// Looks at an object unless it was looked at since the last order.
    pub(super) fn judge(&self, object: &Object) -> Fate {
        let generation = self.generation.load(Ordering::Acquire);
        if object.checked.load(Ordering::Relaxed) == generation {
            return Fate::Good;
        }
        let fate = self.fate(object.key(), object.meta(), object.born);
        match fate {
            Fate::Good => object.checked.store(generation, Ordering::Relaxed),
            Fate::Soft(at) => {
                object.mark_soft_purged(at);
                object.checked.store(generation, Ordering::Relaxed);
            }
            Fate::Purged => {}
        }
        fate
    }

    /// What the orders say about a response.
    pub(super) fn fate(&self, key: &CacheKey, meta: &ResponseMeta, born: u64) -> Fate {
        let orders = self.read();
        let mut soft = None;
        let mut purged = orders.everything.hard > born;
        let mut see = |mark: &Mark| {
            purged |= mark.hard > born;
            if mark.soft > born {
                soft = soft.max(Some(mark.soft_at));
            }
        };
        if let Some(site) = orders.sites.get(&key.site()) {
            see(&site.whole);
            site.see_named(key, meta, &mut see);
            purged |= meta.request_time < site.before;
        }
        match (purged, soft) {
            (true, _) => Fate::Purged,
            (false, Some(at)) => Fate::Soft(at),
            (false, None) => Fate::Good,
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Orders> {
        self.orders.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Drops orders that concern nothing: every object is born in `oldest` or later.
    pub(super) fn forget_before(&self, oldest: u64) {
        let mut orders = self.orders.write().unwrap_or_else(PoisonError::into_inner);
        for site in orders.sites.values_mut() {
            site.urls.retain(|_, mark| mark.newest() > oldest);
            site.tags.retain(|_, mark| mark.newest() > oldest);
            site.prefixes.retain(|(_, mark)| mark.newest() > oldest);
        }
        orders.sites.retain(|_, site| {
            !site.urls.is_empty()
                || !site.tags.is_empty()
                || !site.prefixes.is_empty()
                || site.whole.newest() > oldest
                || site.before > Timestamp::default()
        });
    }

    /// The orders in force, for a log without the forgotten ones.
    pub(super) fn entries(&self) -> Vec<Entry> {
        let orders = self.read();
        let mut entries = Vec::new();
        let mut push = |mark: &Mark, what: What| {
            for (epoch, soft) in [(mark.hard, false), (mark.soft, true)] {
                if epoch > 0 {
                    entries.push(Entry {
                        epoch,
                        at: if soft { mark.soft_at } else { Timestamp(0) },
                        soft,
                        what: what.clone(),
                    });
                }
            }
        };
        push(&orders.everything, What::Everything);
        for (id, site) in &orders.sites {
            let id = *id.0.as_bytes();
            push(&site.whole, What::Site(id));
            for (url, mark) in &site.urls {
                push(mark, What::Url(id, url.clone()));
            }
            for (prefix, mark) in &site.prefixes {
                push(mark, What::Prefix(id, prefix.clone()));
            }
            for (tag, mark) in &site.tags {
                push(mark, What::Tag(id, tag.clone()));
            }
        }
        entries.sort_by_key(|entry| entry.epoch);
        entries
    }
}

impl Orders {
    fn add(&mut self, entry: &Entry) {
        let id = match &entry.what {
            What::Everything => {
                self.everything.add(entry);
                if !entry.soft {
                    self.sites
                        .retain(|_, site| site.before > Timestamp::default());
                }
                return;
            }
            What::Site(id) | What::Url(id, _) | What::Prefix(id, _) | What::Tag(id, _) => id,
        };
        let site = self
            .sites
            .entry(SiteId(uuid::Uuid::from_bytes(*id)))
            .or_default();
        match &entry.what {
            What::Everything | What::Site(_) => {
                site.whole.add(entry);
                if !entry.soft {
                    // Older orders about parts say nothing more.
                    site.forget_parts(entry.epoch);
                }
            }
            What::Url(_, url) => site.urls.entry(url.clone()).or_default().add(entry),
            What::Tag(_, tag) => site.tags.entry(tag.clone()).or_default().add(entry),
            What::Prefix(_, prefix) => {
                match site.prefixes.iter_mut().find(|(known, _)| known == prefix) {
                    Some((_, mark)) => mark.add(entry),
                    None => {
                        let mut mark = Mark::default();
                        mark.add(entry);
                        site.prefixes.push((prefix.clone(), mark));
                    }
                }
            }
        }
        if site.prefixes.len() > PREFIXES_MAX || site.urls.len() + site.tags.len() > NAMES_MAX {
            site.fold();
        }
    }
}

impl SiteOrders {
    fn see_named(&self, key: &CacheKey, meta: &ResponseMeta, see: &mut impl FnMut(&Mark)) {
        if !self.urls.is_empty() || !self.prefixes.is_empty() {
            let mut full: SmallVec<[u8; 256]> = SmallVec::from_slice(key.host());
            full.extend_from_slice(key.target());
            for url in [key.target(), &full] {
                if let Some(mark) = self.urls.get(url) {
                    see(mark);
                }
            }
            for (prefix, mark) in &self.prefixes {
                if key.target().starts_with(prefix) || full.starts_with(prefix) {
                    see(mark);
                }
            }
        }
        if !self.tags.is_empty() {
            for tag in &meta.tags {
                if let Some(mark) = self.tags.get(tag) {
                    see(mark);
                }
            }
        }
    }

    fn forget_parts(&mut self, epoch: u64) {
        self.urls.retain(|_, mark| mark.newest() > epoch);
        self.tags.retain(|_, mark| mark.newest() > epoch);
        self.prefixes.retain(|(_, mark)| mark.newest() > epoch);
    }

    /// Too many parts: the whole site, as hard as the hardest of them. Purging more
    /// than was asked costs some fetches; purging less would serve what must not be
    /// served.
    fn fold(&mut self) {
        let marks = self.urls.values().chain(self.tags.values());
        for mark in marks.chain(self.prefixes.iter().map(|(_, mark)| mark)) {
            self.whole.hard = self.whole.hard.max(mark.hard);
            if mark.soft > self.whole.soft {
                (self.whole.soft, self.whole.soft_at) = (mark.soft, mark.soft_at);
            }
        }
        self.urls.clear();
        self.tags.clear();
        self.prefixes.clear();
    }
}
