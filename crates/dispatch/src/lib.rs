//! Dispatch: the authoritative DNS server that sends users to the nearest good edge.
//!
//! A thin shell round [`dns`]: sockets ([`DispatchOptions::listen`]; one UDP socket
//! and thread per core, TCP on the runtime), rate limits, query events, counters, and
//! health by agreement ([`health`]). Each snapshot is compiled and switched to whole; a
//! bad one is refused whole. Answers never wait for the control plane, the disk or each
//! other.
//!
//! **Architecture invariant**: nothing on the answering path takes a lock that another
//! part holds for longer than copying a pointer.

mod admin;
mod current;
mod enforced;
pub mod health;
mod journal;
mod keeper;
pub mod limit;
mod single;
mod stats;
mod tcp;
mod udp;

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use base::delivery::DispatchSnapshot;
use base::event::{EventSink, NoEvents};
use base::{NodeName, Role};
use dns::master::ZoneProblem;
use dns::{CookieSecret, DispatchTable, Served};
use enforce::Blocklist;
use prometheus_client::registry::Registry;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use current::Current;
use health::Agreement;
use journal::Journal;
use keeper::{Keeper, Views};
use limit::Limiter;
use udp::UdpWorker;

pub use dns::table::Problem;
pub use limit::RateLimit;
pub use single::{ZoneFileOptions, run_zone_file};
pub use stats::Stats;
pub use tcp::TcpLimits;

/// Connections that may wait to be accepted.
const TCP_BACKLOG: i32 = 1_024;

/// How a dispatch server runs.
pub struct DispatchOptions {
    /// This node as an observer of edges; none: it does not observe, and hears others
    /// only.
    pub observe_as: Option<NodeName>,
    /// Where to answer, by UDP and TCP.
    pub listen: Vec<SocketAddr>,
    /// Where observers' reports arrive (UDP).
    pub report_listen: Option<SocketAddr>,
    /// UDP threads for each address; 0: one for each core.
    pub threads: usize,
    /// Response-rate limits for UDP.
    pub rate_limit: RateLimit,
    /// Limits for TCP.
    pub tcp: TcpLimits,
    /// Secret of server cookies, shared by all servers behind one address; none: drawn
    /// at random, so that cookies end with the process.
    pub cookie_secret: Option<[u8; 16]>,
    /// What to serve; nothing is served while it holds nothing.
    pub snapshot: watch::Receiver<Option<Arc<DispatchSnapshot>>>,
    /// Where query events and notices go.
    pub sink: Arc<dyn EventSink>,
    /// Sockets of an earlier process that are taken over: those bound to an address that
    /// is listened on are used as they are, so that nothing waiting in them is lost.
    pub inherited: Inherited,
    /// What is answered by enforcement rather than by zone and policy.
    pub blocklist: Arc<Blocklist>,
    /// Query events a second beyond which a sample is taken; 0: none are made.
    pub events_per_s_max: u32,
}

impl DispatchOptions {
    /// Listens there, serves nothing yet, offers no events.
    pub fn new(listen: Vec<SocketAddr>) -> Self {
        Self {
            observe_as: None,
            listen,
            report_listen: None,
            threads: 0,
            rate_limit: RateLimit::default(),
            tcp: TcpLimits::default(),
            cookie_secret: None,
            snapshot: watch::channel(None).1,
            sink: Arc::new(NoEvents),
            inherited: Inherited::default(),
            blocklist: Blocklist::new(Role::Dispatch),
            events_per_s_max: 2_000,
        }
    }
}

/// Open sockets that a server is given.
#[derive(Debug, Default)]
pub struct Inherited {
    /// Listening TCP sockets.
    pub tcp: Vec<TcpListener>,
    /// Bound UDP sockets.
    pub udp: Vec<UdpSocket>,
}

impl Inherited {
    fn take_udp(&mut self, address: SocketAddr) -> Vec<UdpSocket> {
        let ours = |socket: &mut UdpSocket| socket.local_addr().is_ok_and(|at| at == address);
        self.udp.extract_if(.., ours).collect()
    }

    fn take_tcp(&mut self, address: SocketAddr) -> Option<TcpListener> {
        let ours = |socket: &TcpListener| socket.local_addr().is_ok_and(|at| at == address);
        let at = self.tcp.iter().position(ours)?;
        Some(self.tcp.swap_remove(at))
    }
}

/// Why a dispatch server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum DispatchError {
    /// An address cannot be listened on.
    #[error("could not listen on {address} ({what})")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// UDP, TCP or health reports.
        what: &'static str,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// A zone file cannot be read.
    #[error("could not read zone {path}", path = path.display())]
    ReadZone {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// A zone file breaks a rule.
    #[error("zone {path} is refused: {list}", path = path.display(), list = list(problems))]
    Zone {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        problems: Vec<ZoneProblem>,
    },
    /// The machine gives no random numbers or no thread.
    #[error("could not start")]
    Start(#[source] std::io::Error),
}

fn list(problems: &[ZoneProblem]) -> String {
    let list: Vec<String> = problems.iter().map(ToString::to_string).collect();
    list.join("; ")
}

/// A dispatch server whose sockets are open.
pub struct Dispatch {
    options: DispatchOptions,
    udp: Vec<UdpSocket>,
    tcp: Vec<TcpListener>,
    reports: Option<UdpSocket>,
    secret: CookieSecret,
    views: Views,
    stats: Stats,
}

impl Dispatch {
    /// Opens the sockets. Port 0 becomes a free port, the same for UDP and TCP.
    ///
    /// # Errors
    /// An address that cannot be listened on.
    pub fn bind(mut options: DispatchOptions) -> Result<Self, DispatchError> {
        let threads = match options.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        };
        let (mut udp, mut tcp) = (Vec::new(), Vec::new());
        let mut inherited = std::mem::take(&mut options.inherited);
        for address in &options.listen {
            let there = inherited.take_udp(*address);
            if there.is_empty() {
                let (sockets, listener) = bind_both(*address, threads)?;
                udp.extend(sockets);
                tcp.push(listener);
                continue;
            }
            // One thread for each, however many there were: packets wait in all of them.
            udp.extend(there);
            let listener = match inherited.take_tcp(*address) {
                Some(listener) => listener,
                None => bind_tcp(*address).map_err(|source| DispatchError::Listen {
                    address: *address,
                    what: "TCP",
                    source,
                })?,
            };
            tcp.push(listener);
        }
        let reports = match options.report_listen {
            None => None,
            Some(address) => {
                let there = inherited.take_udp(address).pop();
                let socket =
                    there
                        .map_or_else(|| UdpSocket::bind(address), Ok)
                        .map_err(|source| DispatchError::Listen {
                            address,
                            what: "health reports",
                            source,
                        })?;
                Some(socket)
            }
        };
        let mut secret = options.cookie_secret.unwrap_or_default();
        if options.cookie_secret.is_none() {
            SystemRandom::new()
                .fill(&mut secret)
                .map_err(|_| DispatchError::Start(std::io::Error::other("no random numbers")))?;
        }
        let nothing = DispatchTable::of_zones(Vec::new())
            .map_err(|problem| DispatchError::Start(std::io::Error::other(problem)))?;
        let health = nothing.health().clone();
        let views = Views {
            current: Current::new(Served::new(Arc::new(nothing), Vec::new())),
            agreement: Arc::new(Mutex::new(Agreement::new(&health, []))),
            started: Instant::now(),
        };
        Ok(Self {
            options,
            udp,
            tcp,
            reports,
            secret: CookieSecret::new(secret),
            views,
            stats: Stats::default(),
        })
    }

    /// Where it answers, free ports filled in.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.tcp
            .iter()
            .filter_map(|listener| listener.local_addr().ok())
            .collect()
    }

    /// Duplicates of all sockets, to be handed to a successor.
    ///
    /// # Errors
    /// When the system has no descriptors left.
    pub fn sockets(&self) -> std::io::Result<Vec<OwnedFd>> {
        let udp = self.udp.iter().chain(&self.reports).map(AsFd::as_fd);
        let tcp = self.tcp.iter().map(AsFd::as_fd);
        udp.chain(tcp)
            .map(|socket| socket.try_clone_to_owned())
            .collect()
    }

    /// Where health reports arrive, a free port filled in.
    pub fn report_address(&self) -> Option<SocketAddr> {
        self.reports
            .as_ref()
            .and_then(|socket| socket.local_addr().ok())
    }

    /// `GET /why?name=&client=` and `GET /health`, for an administrative listener.
    pub fn router(&self) -> axum::Router {
        admin::router(self.views.clone())
    }

    /// Adds this server's counters to a registry.
    pub fn register(&self, registry: &mut Registry) {
        registry.register_collector(Box::new(self.stats.clone()));
    }

    /// The counters.
    pub fn stats(&self) -> Stats {
        self.stats.clone()
    }

    pub(crate) fn current(&self) -> Arc<Current> {
        Arc::clone(&self.views.current)
    }

    /// Answers until told to stop; returns when the last answer is sent and the last
    /// event offered.
    ///
    /// # Errors
    /// A thread or socket that cannot be set up.
    pub async fn serve(self, shutdown: CancellationToken) -> Result<(), DispatchError> {
        let reports = match self.reports {
            None => None,
            Some(socket) => {
                socket.set_nonblocking(true).map_err(DispatchError::Start)?;
                Some(tokio::net::UdpSocket::from_std(socket).map_err(DispatchError::Start)?)
            }
        };
        let mut keeper = Keeper {
            views: self.views.clone(),
            snapshot: self.options.snapshot.clone(),
            reports,
            observe_as: self.options.observe_as.clone(),
            sink: Arc::clone(&self.options.sink),
            stats: self.stats.clone(),
        };
        keeper.begin().await;
        let stop = Arc::new(AtomicBool::new(false));
        let threads = self.udp.len() + self.tcp.len();
        let journal = || {
            Journal::new(
                Arc::clone(&self.options.sink),
                self.options.events_per_s_max,
                threads,
            )
        };
        let mut workers = Vec::new();
        for (number, socket) in self.udp.into_iter().enumerate() {
            let worker = UdpWorker {
                current: Arc::clone(&self.views.current),
                secret: self.secret.clone(),
                limiter: Limiter::new(self.options.rate_limit, threads - self.tcp.len()),
                blocked: self.options.blocklist.reader(),
                counters: self.stats.thread(),
                journal: journal(),
                stop: Arc::clone(&stop),
            };
            let thread = std::thread::Builder::new()
                .name(format!("dns-udp-{number}"))
                .spawn(move || worker.run(socket))
                .map_err(DispatchError::Start)?;
            workers.push(thread);
        }
        let tasks = TaskTracker::new();
        for listener in self.tcp {
            listener
                .set_nonblocking(true)
                .map_err(DispatchError::Start)?;
            let listener =
                tokio::net::TcpListener::from_std(listener).map_err(DispatchError::Start)?;
            let server = Arc::new(tcp::TcpServer {
                current: Arc::clone(&self.views.current),
                secret: self.secret.clone(),
                limits: self.options.tcp,
                blocklist: Arc::clone(&self.options.blocklist),
                stats: self.stats.clone(),
                counters: self.stats.thread(),
                journal: Mutex::new(journal()),
                open: Mutex::default(),
            });
            tasks.spawn(server.run(listener, shutdown.clone()));
        }
        tasks.spawn(keeper.run(shutdown.clone()));
        tasks.close();
        tasks.wait().await;
        stop.store(true, Ordering::Relaxed);
        let joined = tokio::task::spawn_blocking(move || {
            let ended = workers.into_iter().map(std::thread::JoinHandle::join);
            ended.filter(Result::is_err).count() == 0
        });
        if !joined.await.unwrap_or(false) {
            tracing::error!("a UDP thread ended by a panic");
        }
        Ok(())
    }
}

/// Opens the UDP sockets and the TCP listener of one address.
fn bind_both(
    address: SocketAddr,
    threads: usize,
) -> Result<(Vec<UdpSocket>, TcpListener), DispatchError> {
    let failed = |what| {
        move |source| DispatchError::Listen {
            address,
            what,
            source,
        }
    };
    // A free port by UDP may be taken by TCP: a few tries find one that is not.
    let mut tries = if address.port() == 0 { 10 } else { 1 };
    loop {
        let udp = udp::bind(address, threads).map_err(failed("UDP"))?;
        let bound = udp[0].local_addr().map_err(failed("UDP"))?;
        tries -= 1;
        match bind_tcp(bound) {
            Ok(tcp) => return Ok((udp, tcp)),
            Err(_) if tries > 0 => {}
            Err(source) => return Err(failed("TCP")(source)),
        }
    }
}

fn bind_tcp(address: SocketAddr) -> std::io::Result<TcpListener> {
    let domain = socket2::Domain::for_address(address);
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(TCP_BACKLOG)?;
    Ok(socket.into())
}

/// Opens the sockets and answers until told to stop.
///
/// # Errors
/// See [`Dispatch::bind`] and [`Dispatch::serve`].
pub async fn run(
    options: DispatchOptions,
    shutdown: CancellationToken,
) -> Result<(), DispatchError> {
    Dispatch::bind(options)?.serve(shutdown).await
}
