//! What one serving thread has: its view of the sites, its connections to origins,
//! its deadlines, and the events and counts it has not handed on yet.
//!
//! Everything here belongs to one thread. What threads share is in [`Shared`], and a
//! request that hits the cache writes to none of it.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use base::delivery::EdgeSnapshot;
use base::enforcement::Action;
use base::event::{
    AccessEvent, CacheResult, EventBatch, EventSink, NoticeEvent, Protocol, Severity,
};
use base::{Clock, SystemClock, Timestamp};
use enforce::{Blocklist, Found};
use http::{HeaderValue, StatusCode};

use crate::guard::{Connections, Rates};
use crate::options::EdgeLimits;
use crate::origin::client;
use crate::origin::pool::Endpoint;
use crate::random::Random;
use crate::sites::{self, Site, Sites, SnapshotError};
use crate::stats::{Count, Counters, SharedCounters};
use crate::tls::Resolver;
use crate::watch::{TICK, Watch};

/// Ticks between two flushes of events and counts: 200 ms.
const FLUSH_TICKS: u64 = 2;
/// Ticks between two looks at idle connections to origins: 5 s.
const EXPIRE_TICKS: u64 = 50;

/// What the threads of an edge share.
pub(crate) struct Shared {
    pub(crate) node: Box<str>,
    /// The node's name as `Cache-Status` begins with it.
    pub(crate) cache_name: Box<str>,
    /// `Via` for what came over HTTP/1.0, HTTP/1.1 and HTTP/2.
    via: [HeaderValue; 3],
    pub(crate) limits: EdgeLimits,
    pub(crate) capacity_rps: u32,
    pub(crate) store: Arc<cache::store::Store>,
    pub(crate) resolver: Arc<Resolver>,
    pub(crate) sink: Arc<dyn EventSink>,
    pub(crate) blocklist: Arc<Blocklist>,
    pub(crate) connections: Arc<Connections>,
    pub(crate) rates: Rates,
    pub(crate) total: Counters,
    /// Recent requests per second of the whole node.
    pub(crate) rps: AtomicU32,
    /// The snapshot says that this node is being drained.
    pub(crate) drained: AtomicBool,
    /// The process is stopping.
    pub(crate) stopping: AtomicBool,
    /// When it stops: milliseconds that idle connections get for a last request, and
    /// that open requests get to end.
    pub(crate) parting_ms: (AtomicU64, AtomicU64),
    sites: RwLock<Arc<Sites>>,
    generation: AtomicU64,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("node", &self.node)
            .finish_non_exhaustive()
    }
}

/// The parts of [`Shared`] that somebody else makes.
pub(crate) struct Parts {
    pub(crate) node: Box<str>,
    pub(crate) limits: EdgeLimits,
    pub(crate) capacity_rps: u32,
    pub(crate) store: Arc<cache::store::Store>,
    pub(crate) sink: Arc<dyn EventSink>,
    pub(crate) blocklist: Arc<Blocklist>,
}

impl Shared {
    /// The `Via` member of this node for a request that came over `protocol` (RFC 9110
    /// section 7.6.3).
    pub(crate) fn via(&self, protocol: Protocol) -> &HeaderValue {
        let [old, usual, two] = &self.via;
        match protocol {
            Protocol::Http10 => old,
            Protocol::Http11 => usual,
            Protocol::Http2 | Protocol::Http3 => two,
        }
    }

    pub(crate) fn new(parts: Parts) -> Arc<Self> {
        let limits = &parts.limits;
        let connections =
            Connections::new(limits.connections_max, limits.connections_per_address_max);
        Arc::new(Self {
            cache_name: cache::rules::cache_name(&parts.node).into(),
            via: ["1.0", "1.1", "2"].map(|version| {
                HeaderValue::from_str(&format!("{version} {}", parts.node))
                    .unwrap_or(HeaderValue::from_static("1.1 edge"))
            }),
            node: parts.node,
            parting_ms: (
                AtomicU64::new(0),
                AtomicU64::new(
                    u64::try_from(parts.limits.drain_timeout.as_millis()).unwrap_or(u64::MAX),
                ),
            ),
            limits: parts.limits,
            capacity_rps: parts.capacity_rps.max(1),
            store: parts.store,
            resolver: Arc::default(),
            sink: parts.sink,
            blocklist: parts.blocklist,
            connections,
            rates: Rates::new(),
            total: Counters::default(),
            rps: AtomicU32::new(0),
            drained: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            sites: RwLock::default(),
            generation: AtomicU64::new(0),
        })
    }

    /// Obeys a snapshot, or refuses it whole and keeps what is in force.
    pub(crate) fn obey(&self, snapshot: &EdgeSnapshot) -> Result<(), SnapshotError> {
        let sites = Sites::compile(snapshot, &self.sites())?;
        let certificates = sites::certificates(snapshot)?;
        let drained = snapshot
            .draining
            .iter()
            .any(|node| node.as_str() == &*self.node);
        self.resolver.set(certificates);
        self.drained.store(drained, Ordering::Relaxed);
        self.set_sites(sites);
        Ok(())
    }

    pub(crate) fn set_sites(&self, sites: Sites) {
        *self.sites.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(sites);
        self.generation.fetch_add(1, Ordering::Release);
    }

    pub(crate) fn sites(&self) -> Arc<Sites> {
        Arc::clone(&self.sites.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Recent requests per second as a share of what the node can carry.
    pub(crate) fn load(&self) -> f64 {
        f64::from(self.rps.load(Ordering::Relaxed)) / f64::from(self.capacity_rps)
    }

    /// Tells an operator.
    pub(crate) fn notice(&self, severity: Severity, kind: &str, subject: &str, message: String) {
        self.sink.offer(EventBatch::Notice(vec![NoticeEvent {
            at: SystemClock.now(),
            severity,
            kind: kind.into(),
            subject: subject.into(),
            message: message.into_boxed_str(),
        }]));
    }
}

/// One serving thread.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) shared: Arc<Shared>,
    pub(crate) watch: Rc<Watch>,
    pub(crate) origins: Rc<client::Connections>,
    pub(crate) random: RefCell<Random>,
    blocked: RefCell<enforce::Reader>,
    sites: RefCell<Arc<Sites>>,
    seen: Cell<u64>,
    events: RefCell<Vec<AccessEvent>>,
    pending: RefCell<Pending>,
    date: Cell<(i64, [u8; 29])>,
    ticks: Cell<u64>,
    open: Cell<usize>,
    linger_over: Cell<bool>,
}

/// Counts of the requests to one site since it was last changed or flushed.
#[derive(Debug, Default)]
struct Pending {
    site: Option<SharedCounters>,
    count: Count,
}

impl Worker {
    pub(crate) fn new(
        shared: Arc<Shared>,
        origins: Rc<client::Connections>,
        seed: u64,
    ) -> Rc<Self> {
        let sites = shared.sites();
        Rc::new(Self {
            watch: Watch::new(),
            origins,
            random: RefCell::new(Random::seeded(seed)),
            blocked: RefCell::new(shared.blocklist.reader()),
            sites: RefCell::new(sites),
            seen: Cell::new(u64::MAX),
            events: RefCell::default(),
            pending: RefCell::default(),
            date: Cell::new((i64::MIN, [b' '; 29])),
            ticks: Cell::new(0),
            open: Cell::new(0),
            linger_over: Cell::new(false),
            shared,
        })
    }

    /// The present moment.
    pub(crate) fn now(&self) -> Timestamp {
        SystemClock.now()
    }

    fn refresh(&self) {
        let generation = self.shared.generation.load(Ordering::Acquire);
        if self.seen.get() != generation {
            *self.sites.borrow_mut() = self.shared.sites();
            self.seen.set(generation);
        }
    }

    /// The enforcement that a request meets, by its client, its host or its URL.
    #[inline]
    pub(crate) fn met(&self, client: IpAddr, host: &str, target: &str) -> Option<Found> {
        let mut blocked = self.blocked.borrow_mut();
        let (_, live, now_s) = blocked.get();
        if live.is_empty() {
            return None;
        }
        live.client(client, now_s)
            .or_else(|| live.request(host, target, now_s))
    }

    /// Whether a client's connections are closed without a word; counts it.
    pub(crate) fn drops(&self, client: IpAddr) -> bool {
        let mut blocked = self.blocked.borrow_mut();
        let (list, live, now_s) = blocked.get();
        let found = live.client(client, now_s);
        match found.filter(|found| found.action == Action::Drop) {
            Some(found) => {
                list.hit(&found, client, "");
                true
            }
            None => false,
        }
    }

    /// The sites in force.
    pub(crate) fn sites(&self) -> Arc<Sites> {
        self.refresh();
        Arc::clone(&self.sites.borrow())
    }

    /// Does something with the site that a host, without its port, belongs to.
    pub(crate) fn with_site<T>(&self, host: &str, f: impl FnOnce(&Arc<Site>) -> T) -> Option<T> {
        self.refresh();
        self.sites.borrow().find(host).map(f)
    }

    /// Whether connections should end when they fall idle.
    pub(crate) fn is_draining(&self) -> bool {
        self.shared.drained.load(Ordering::Relaxed) || self.shared.stopping.load(Ordering::Relaxed)
    }

    /// Whether a connection that has had an answer is closed without waiting for more.
    pub(crate) fn closes_idle(&self) -> bool {
        let lingers = self.shared.parting_ms.0.load(Ordering::Relaxed) > 0;
        self.is_draining() && (!lingers || self.linger_over.get())
    }

    /// A connection was accepted.
    pub(crate) fn enter(&self) {
        self.open.set(self.open.get() + 1);
    }

    /// A connection has ended.
    pub(crate) fn leave(&self) {
        self.open.set(self.open.get().saturating_sub(1));
    }

    /// The date of `now` as `Date` carries it (RFC 9110 section 5.6.7).
    pub(crate) fn http_date(&self, now: Timestamp) -> [u8; 29] {
        let (second, text) = self.date.get();
        if second == now.seconds() {
            return text;
        }
        let text = crate::date::format(now);
        self.date.set((now.seconds(), text));
        text
    }

    /// Records a request that has ended.
    /// Observers' questions are not users' requests and are left out.
    pub(crate) fn record(&self, event: AccessEvent, site: Option<&SharedCounters>) {
        if event.site.is_none() && *event.path == *crate::HEALTH_PATH {
            return;
        }
        {
            let mut pending = self.pending.borrow_mut();
            let same = match (&pending.site, site) {
                (Some(a), Some(b)) => Arc::ptr_eq(a, b),
                (None, None) => true,
                _ => false,
            };
            if !same {
                pending.flush(&self.shared.total);
                pending.site = site.cloned();
            }
            let count = &mut pending.count;
            count.requests += 1;
            count.bytes_sent += event.bytes_sent;
            count.hits += u64::from(is_hit(event.cache));
            count.errors += u64::from(event.status >= 500);
        }
        let mut events = self.events.borrow_mut();
        if events.capacity() == 0 {
            events.reserve_exact(EVENTS_ROOM);
        }
        events.push(event);
        if events.len() >= EVENTS_ROOM {
            self.shared
                .sink
                .offer(EventBatch::Access(std::mem::take(&mut *events)));
        }
    }

    /// Hands on what has gathered.
    pub(crate) fn flush(&self) {
        self.pending.borrow_mut().flush(&self.shared.total);
        let mut events = self.events.borrow_mut();
        if !events.is_empty() {
            self.shared
                .sink
                .offer(EventBatch::Access(std::mem::take(&mut *events)));
        }
    }

    /// The regular work of a thread, until it is dropped.
    pub(crate) async fn tick_forever(self: Rc<Self>, first: bool) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut rate = Rate::default();
        loop {
            ticks.tick().await;
            let tick = self.ticks.get() + 1;
            self.ticks.set(tick);
            self.watch.tick();
            if tick.is_multiple_of(FLUSH_TICKS) {
                self.flush();
                if first {
                    rate.measure(&self.shared);
                }
            }
            if tick.is_multiple_of(EXPIRE_TICKS) {
                self.origins.expire();
                if self.shared.drained.load(Ordering::Relaxed) {
                    self.watch.close_idle();
                }
            }
        }
    }

    /// An origin did not answer.
    pub(crate) fn origin_failed(
        &self,
        endpoint: &Endpoint,
        error: &(dyn std::error::Error + 'static),
    ) {
        tracing::debug!(origin = %endpoint.url, error = %crate::chain(error), "An origin failed");
        self.count_failure(endpoint, &crate::chain(error));
    }

    /// An origin answered that it cannot.
    pub(crate) fn origin_failed_with(&self, endpoint: &Endpoint, status: StatusCode) {
        self.count_failure(endpoint, &format!("it answered {status}"));
    }

    fn count_failure(&self, endpoint: &Endpoint, reason: &str) {
        if endpoint.failed(self.now()) {
            tracing::warn!(origin = %endpoint.url, reason, "An origin is passed over");
            self.shared.notice(
                Severity::Warning,
                "origin.down",
                &endpoint.url,
                format!("the origin is passed over for a while: {reason}"),
            );
        }
    }
}

/// Events gathered before they are handed on.
const EVENTS_ROOM: usize = 2_048;
const _: () = assert!(EVENTS_ROOM <= EventBatch::EVENTS_MAX);

fn is_hit(cache: CacheResult) -> bool {
    matches!(
        cache,
        CacheResult::Hit | CacheResult::Stale | CacheResult::Collapsed | CacheResult::Revalidated
    )
}

impl Pending {
    fn flush(&mut self, total: &Counters) {
        let count = std::mem::take(&mut self.count);
        if count.requests == 0 {
            return;
        }
        total.add(&count);
        if let Some(site) = &self.site {
            site.add(&count);
        }
    }
}

/// Requests per second over the last few seconds.
#[derive(Debug, Default)]
struct Rate {
    requests: u64,
    smooth: f64,
}

impl Rate {
    /// Share of the newest 200 ms in the figure: it follows a change in about 2 s.
    const NEWEST: f64 = 0.2;

    fn measure(&mut self, shared: &Shared) {
        let requests = shared.total.read().requests;
        let seconds = TICK.saturating_mul(FLUSH_TICKS as u32).as_secs_f64();
        let present = requests.saturating_sub(self.requests) as f64 / seconds;
        self.requests = requests;
        self.smooth += (present - self.smooth) * Self::NEWEST;
        shared.rps.store(self.smooth as u32, Ordering::Relaxed);
    }
}

/// Lets connections end: idle ones get their time for a last request, which is told that
/// it is the last; open requests get theirs; what is open after that is closed.
pub(crate) async fn drain(worker: &Rc<Worker>) {
    let (linger, limit) = &worker.shared.parting_ms;
    let linger = Duration::from_millis(linger.load(Ordering::Relaxed));
    let limit = Duration::from_millis(limit.load(Ordering::Relaxed));
    let began = tokio::time::Instant::now();
    let ended = async {
        loop {
            if began.elapsed() >= linger {
                worker.linger_over.set(true);
                worker.watch.close_idle();
            }
            if worker.open.get() == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    if tokio::time::timeout(limit, ended).await.is_err() {
        tracing::warn!(
            open = worker.open.get(),
            "Closing connections that did not end in time"
        );
        worker.watch.close_all();
    }
}
