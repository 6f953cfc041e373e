//! Starting an edge, and what can be asked of one that runs.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use base::delivery::{EdgeCertificate, EdgeSnapshot};
use base::event::{EventSink, Severity};
use base::quick::{Order, QuickEntry};
use base::{Clock, SiteId, SystemClock};
use cache::store::{DiskOptions, Notice, OpenError, PurgeError, PurgeOrder, Store, StoreOptions};
use runtime::metrics::Metrics;
use tokio::sync::{mpsc, watch};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::metrics::EdgeCollector;
use crate::options::EdgeOptions;
use crate::preload::{self, Progress};
use crate::server::{self, Post, PreloadJob};
use crate::sites::{Sites, SnapshotError};
use crate::stats::EdgeStats;
use crate::tls::{self, TlsError};
use crate::worker::{Parts, Shared};

/// Preloads that wait for their turn.
const PRELOADS_MAX: usize = 64;
/// Bytes of the disk that the cache leaves free.
const DISK_RESERVE: u64 = 1 << 30;

/// Why an edge does not start, or does not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum EdgeError {
    /// An address cannot be listened on.
    #[error(transparent)]
    Listen(#[from] runtime::listen::ListenError),
    /// The cache cannot be opened.
    #[error("the cache cannot be opened")]
    Cache(#[from] OpenError),
    /// TLS cannot be set up.
    #[error("TLS cannot be set up")]
    Tls(#[from] TlsError),
    /// TLS is refused by its library.
    #[error("TLS cannot be set up")]
    Rustls(#[from] rustls::Error),
    /// The origin of a single edge is none.
    #[error(transparent)]
    Site(#[from] SnapshotError),
    /// The system gives no thread.
    #[error("a serving thread cannot be started")]
    Thread(#[source] std::io::Error),
    /// A purge cannot be made durable.
    #[error(transparent)]
    Purge(#[from] PurgeError),
    /// Too many preloads wait already.
    #[error("{PRELOADS_MAX} preloads wait already")]
    Preloads,
}

/// An edge about to start.
#[derive(Debug)]
pub struct Edge;

/// A running edge. Clones are the same edge.
#[derive(Clone)]
pub struct EdgeHandle {
    shared: Arc<Shared>,
    preloads: mpsc::Sender<PreloadJob>,
    addresses: Arc<Vec<SocketAddr>>,
    threads: Arc<Mutex<Vec<JoinHandle<()>>>>,
    sockets: Arc<Mutex<Vec<OwnedFd>>>,
    stop: CancellationToken,
}

impl std::fmt::Debug for EdgeHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EdgeHandle")
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}

impl Edge {
    /// Opens cache and sockets and serves the sites of `snapshot`, as it changes.
    ///
    /// # Errors
    /// When an address, the cache directory or a thread is not to be had.
    pub fn start(
        options: EdgeOptions,
        mut snapshot: watch::Receiver<Option<Arc<EdgeSnapshot>>>,
        sink: Arc<dyn EventSink>,
        metrics: &Metrics,
        stop: CancellationToken,
    ) -> Result<EdgeHandle, EdgeError> {
        let first = snapshot.borrow_and_update().clone();
        let handle = open(options, sink, metrics, stop, |shared| {
            // Before the first connection is accepted: none is to find no sites.
            if let Some(first) = &first {
                obey(shared, first);
            }
            Ok(())
        })?;
        let follower = handle.clone();
        // A thread of its own: a snapshot of many sites must not hold up a request.
        std::thread::Builder::new()
            .name("edge-snapshots".into())
            .spawn(move || follow(&follower, snapshot))
            .map_err(EdgeError::Thread)?;
        Ok(handle)
    }

    /// Serves one origin for every host, without a snapshot: for trying and measuring.
    /// HTTPS needs a `certificate`, which everybody gets, whatever host they ask for.
    ///
    /// # Errors
    /// As [`Edge::start`], and when `origin` is no `http://host[:port]` or `https://…`.
    pub fn start_single(
        options: EdgeOptions,
        origin: &str,
        certificate: Option<EdgeCertificate>,
        sink: Arc<dyn EventSink>,
        metrics: &Metrics,
        stop: CancellationToken,
    ) -> Result<EdgeHandle, EdgeError> {
        let sites = Sites::single(origin)?;
        open(options, sink, metrics, stop, |shared| {
            if let Some(certificate) = &certificate {
                let table = tls::Certificates::single(certificate)
                    .map_err(|cause| SnapshotError::Certificate { index: 0, cause })?;
                shared.resolver.set(table);
            }
            shared.set_sites(sites);
            Ok(())
        })
    }
}

fn open(
    mut options: EdgeOptions,
    sink: Arc<dyn EventSink>,
    metrics: &Metrics,
    stop: CancellationToken,
    prepare: impl FnOnce(&Shared) -> Result<(), EdgeError>,
) -> Result<EdgeHandle, EdgeError> {
    let store = open_store(&options, &sink)?;
    let shared = Shared::new(Parts {
        node: options.node.as_str().into(),
        limits: options.limits.clone(),
        capacity_rps: options.capacity_rps,
        store,
        sink,
        blocklist: Arc::clone(&options.blocklist),
    });
    prepare(&shared)?;
    let acceptor = TlsAcceptor::from(tls::server(Arc::clone(&shared.resolver))?);
    let origin_tls = tls::client(options.origin_ca.as_deref())?;
    let (preloads, jobs) = mpsc::channel(PRELOADS_MAX);
    let mut jobs = Some(jobs);
    let workers = options.workers.max(1);
    let mut addresses = Vec::new();
    let mut posts = Vec::with_capacity(workers);
    let mut kept = Vec::new();
    let (mut http, mut https) = (options.listen_http.clone(), options.listen_https.clone());
    for number in 0..workers {
        let mut doors = server::open(&http, false, &mut options.inherited, &mut kept)?;
        doors.extend(server::open(
            &https,
            true,
            &mut options.inherited,
            &mut kept,
        )?);
        if number == 0 {
            // Port 0 becomes a free port, which the other threads share.
            addresses = doors
                .iter()
                .filter_map(|door| door.listener.local_addr().ok())
                .collect();
            let count = http.len();
            http = addresses.iter().take(count).copied().collect();
            https = addresses.iter().skip(count).copied().collect();
        }
        posts.push(Post {
            number,
            shared: Arc::clone(&shared),
            doors,
            acceptor: acceptor.clone(),
            origin_tls: Arc::clone(&origin_tls),
            origin_deny: options.origin_deny.clone(),
            preloads: jobs.take(),
            stop: stop.clone(),
        });
    }
    let inherited = &mut options.inherited;
    let mut extra = server::adopt(&http, false, inherited, &mut kept)?;
    extra.extend(server::adopt(&https, true, inherited, &mut kept)?);
    for (number, door) in extra.into_iter().enumerate() {
        posts[number % workers].doors.push(door);
    }
    let threads = posts
        .into_iter()
        .map(server::start)
        .collect::<Result<Vec<_>, _>>()
        .map_err(EdgeError::Thread)?;
    metrics
        .with(|registry| registry.register_collector(Box::new(EdgeCollector(Arc::clone(&shared)))));
    Ok(EdgeHandle {
        shared,
        preloads,
        addresses: Arc::new(addresses),
        threads: Arc::new(Mutex::new(threads)),
        sockets: Arc::new(Mutex::new(kept)),
        stop,
    })
}

fn open_store(options: &EdgeOptions, sink: &Arc<dyn EventSink>) -> Result<Arc<Store>, OpenError> {
    let mut store = match &options.cache_dir {
        None => StoreOptions::in_memory(options.memory_bytes),
        Some(dir) => {
            let disk = DiskOptions {
                dir: dir.clone(),
                bytes: options.disk_bytes,
                reserve_bytes: DISK_RESERVE,
            };
            StoreOptions::on_disk(options.memory_bytes, disk)
        }
    };
    let (sink, node) = (Arc::clone(sink), options.node.clone());
    store.on_notice = Arc::new(move |notice| {
        let (severity, kind, message) = match &notice {
            Notice::DiskFailed { error } => (
                Severity::Error,
                "cache.disk-failed",
                format!("the cache's disk cannot be written: {error}"),
            ),
            Notice::DiskRecovered => (
                Severity::Info,
                "cache.disk-recovered",
                "the cache's disk can be written again".to_owned(),
            ),
            Notice::Corrupt { file } => (
                Severity::Warning,
                "cache.corrupt",
                format!("a damaged response was thrown away: {file}"),
            ),
        };
        tracing::warn!(kind, "{message}");
        sink.offer(base::event::EventBatch::Notice(vec![
            base::event::NoticeEvent {
                at: SystemClock.now(),
                severity,
                kind: kind.into(),
                subject: node.as_str().into(),
                message: message.into(),
            },
        ]));
    });
    Store::open(store).map(Arc::new)
}

/// Obeys snapshots until the edge stops.
fn follow(edge: &EdgeHandle, mut snapshot: watch::Receiver<Option<Arc<EdgeSnapshot>>>) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().build() else {
        tracing::error!("No runtime for following snapshots");
        return;
    };
    runtime.block_on(async {
        loop {
            tokio::select! {
                () = edge.stop.cancelled() => return,
                changed = snapshot.changed() => if changed.is_err() { return },
            }
            let latest = snapshot.borrow_and_update().clone();
            if let Some(latest) = latest {
                obey(&edge.shared, &latest);
            }
        }
    });
}

/// Obeys a snapshot, or says why not and keeps what is in force.
fn obey(shared: &Shared, snapshot: &EdgeSnapshot) {
    let began = std::time::Instant::now();
    for site in &snapshot.sites {
        shared.store.set_purged_before(site.id, site.purged_before);
    }
    match shared.obey(snapshot) {
        Ok(()) => tracing::info!(
            sites = snapshot.sites.len(),
            took_ms = began.elapsed().as_millis(),
            "Serving a new snapshot"
        ),
        Err(error) => {
            let message = crate::chain(&error);
            tracing::error!(%message, "Refused a snapshot; serving on from the one before");
            shared.notice(Severity::Error, "snapshot.refused", &shared.node, message);
        }
    }
}

impl EdgeHandle {
    /// Duplicates of the listening sockets, to be handed to a successor; once.
    pub fn take_sockets(&self) -> Vec<OwnedFd> {
        std::mem::take(&mut *self.sockets.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Writes what is to be written and lets go of the cache directory for good: a
    /// successor may open it, while this edge serves on. Purges hold here from then on,
    /// but no longer durably. Blocks.
    pub fn release_cache(&self) {
        self.shared.store.release_disk();
    }

    /// How a stop treats clients when a successor serves already: connections without a
    /// request get `idle` to send a last one, open requests get `limit` to end.
    pub fn part_gently(&self, idle: Duration, limit: Duration) {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let (linger_ms, limit_ms) = &self.shared.parting_ms;
        linger_ms.store(millis(idle), Ordering::Relaxed);
        limit_ms.store(millis(limit), Ordering::Relaxed);
    }

    /// Where it serves, HTTP first, free ports filled in.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Carries out a quick entry: a purge is in force, durably, on return; a preload is
    /// taken on, and tells `progress` how far it has got. Blocks for one write to disk.
    ///
    /// # Errors
    /// When it could not be made durable or taken on: it must not be acknowledged.
    pub fn apply(
        &self,
        entry: &QuickEntry,
        progress: impl Fn(Progress) + Send + 'static,
    ) -> Result<(), EdgeError> {
        match &entry.order {
            Order::Purge(purge) => {
                let ignore = self.ignore_query(purge.site);
                let order = PurgeOrder {
                    seq: entry.seq,
                    purge,
                    ignore_query: &ignore,
                };
                self.shared.store.purge(&order, SystemClock.now())?;
            }
            Order::Preload(preload) => {
                let job = preload::job(preload, Box::new(progress));
                self.preloads
                    .try_send(job)
                    .map_err(|_| EdgeError::Preloads)?;
                self.shared.store.note_seq(entry.seq)?;
            }
            // In force by way of the block list already: only the place in the log.
            Order::Enforce(_) | Order::Lift(_) => self.shared.store.note_seq(entry.seq)?,
        }
        Ok(())
    }

    fn ignore_query(&self, site: SiteId) -> Vec<String> {
        let sites = self.shared.sites();
        let found = sites.all.iter().find(|known| known.id == site);
        found
            .map(|site| site.settings.ignore_query.clone())
            .unwrap_or_default()
    }

    /// The number of the last quick entry that is durable here.
    pub fn last_seq(&self) -> u64 {
        self.shared.store.last_seq()
    }

    /// The log no longer reaches back: everything kept counts as purged.
    ///
    /// # Errors
    /// When that could not be made durable.
    pub fn forget_everything(&self, seq: u64) -> Result<(), EdgeError> {
        Ok(self
            .shared
            .store
            .forget_everything(seq, SystemClock.now())?)
    }

    /// What it is doing.
    pub fn stats(&self) -> EdgeStats {
        crate::metrics::read(&self.shared)
    }

    /// Recent requests per second as a share of its capacity.
    pub fn load(&self) -> f64 {
        self.shared.load()
    }

    /// Stops: accepts no more, lets open requests end, hands on the last events.
    /// Blocks until it is done.
    pub fn stop(&self) {
        drop(self.take_sockets());
        self.shared.stopping.store(true, Ordering::Relaxed);
        self.stop.cancel();
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("A serving thread ended by a panic");
            }
        }
    }
}
