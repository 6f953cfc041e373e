//! The server: routers ask, it answers from the newest [`Cache`], and tells them when there is news.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::cache::{Cache, Since};
use super::pdu::{HEADER_BYTES, Header, Pdu, PduError, Timing, VERSION_MAX, code};
use crate::rpki::Vrp;

/// Routers connected at a time; more are turned away at once.
pub const CLIENTS_MAX: usize = 512;
/// Routers connected at a time from one address.
pub const CLIENTS_PER_ADDRESS_MAX: usize = 16;
/// How long a router may take to accept 64 KiB.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the first question waits for the first data.
const FIRST_DATA_TIME_MAX: Duration = Duration::from_secs(5);
/// How long a router may take for its TLS handshake, and from the beginning of a unit to its end.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a router may be silent; they ask at least every refresh interval.
const IDLE_TIMEOUT: Duration = Duration::from_secs(2 * 86_400);
/// Answers are written in pieces of about this size.
const CHUNK_BYTES: usize = 64 << 10;

/// How a server behaves.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// What routers are told about asking.
    pub timing: Timing,
    /// Least time between two notifications to one router; RFC 8210 section 8.2 asks for a minute.
    pub notify_interval: Duration,
    /// Routers at a time, and of those from one address.
    pub clients_max: (usize, usize),
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            timing: Timing::default(),
            notify_interval: Duration::from_secs(60),
            clients_max: (CLIENTS_MAX, CLIENTS_PER_ADDRESS_MAX),
        }
    }
}

/// What a server counts.
#[derive(Debug, Default)]
pub struct Figures {
    /// Routers connected now.
    pub clients: AtomicU64,
    /// Connections since the start.
    pub connections: AtomicU64,
    /// Connections turned away for the limits.
    pub refused: AtomicU64,
    /// Answers with everything.
    pub full: AtomicU64,
    /// Answers with changes.
    pub incremental: AtomicU64,
    /// Notifications sent.
    pub notified: AtomicU64,
    /// Connections ended by an error of the router.
    pub errors: AtomicU64,
}

/// A server; one serves any number of listeners.
#[derive(Debug, Clone)]
pub struct Server {
    cache: watch::Receiver<Arc<Cache>>,
    options: ServerOptions,
    figures: Arc<Figures>,
    here: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// A place among the clients; leaving gives it back.
struct Seat {
    peer: IpAddr,
    server: Server,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.server.figures.clients.fetch_sub(1, Ordering::Relaxed);
        let mut here = lock(&self.server.here);
        if let Some(count) = here.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                here.remove(&self.peer);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("the connection broke")]
    Io(#[from] std::io::Error),
    #[error("the router was too slow")]
    Slow,
    #[error("the router sent nonsense")]
    Wrong(#[source] PduError),
    #[error("the router reported error {code}: {text}")]
    Reported { code: u16, text: String },
}

impl Server {
    /// A server of what `cache` holds.
    pub fn new(cache: watch::Receiver<Arc<Cache>>, options: ServerOptions) -> Self {
        Self {
            cache,
            options,
            figures: Arc::default(),
            here: Arc::default(),
        }
    }

    /// What it counts.
    pub fn figures(&self) -> &Arc<Figures> {
        &self.figures
    }

    /// Serves until `stop`; with `tls` inside TLS.
    ///
    /// # Errors
    /// When the listener cannot be used.
    pub async fn serve(
        self,
        listener: TcpListener,
        tls: Option<Arc<rustls::ServerConfig>>,
        stop: CancellationToken,
    ) -> std::io::Result<()> {
        let acceptor = tls.map(tokio_rustls::TlsAcceptor::from);
        let tasks = tokio_util::task::TaskTracker::new();
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = listener.accept() => accepted,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of descriptors, mostly: wait for some to come back.
                    tracing::warn!(%error, "A router's connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let Some(seat) = self.seat(peer) else {
                tracing::warn!(%peer, "A router is turned away: too many connections");
                continue;
            };
            stream.set_nodelay(true).ok();
            let keepalive = socket2::TcpKeepalive::new().with_time(Duration::from_secs(60));
            socket2::SockRef::from(&stream)
                .set_tcp_keepalive(&keepalive)
                .ok();
            let (server, acceptor, stop) = (self.clone(), acceptor.clone(), stop.clone());
            tasks.spawn(async move {
                let _seat = seat;
                let work = async {
                    match acceptor {
                        None => server.talk(stream).await,
                        Some(acceptor) => {
                            let stream = tokio::time::timeout(READ_TIMEOUT, acceptor.accept(stream))
                                .await
                                .map_err(|_| Ended::Slow)??;
                            server.talk(stream).await
                        }
                    }
                };
                let ended = tokio::select! {
                    () = stop.cancelled() => return,
                    ended = work => ended,
                };
                if let Err(error) = ended {
                    if !matches!(error, Ended::Io(_)) {
                        server.figures.errors.fetch_add(1, Ordering::Relaxed);
                    }
                    tracing::info!(%peer, error = %runtime::error_chain(&error), "A router's session ended");
                }
            });
        }
        tasks.close();
        tasks.wait().await;
        Ok(())
    }

    fn seat(&self, peer: SocketAddr) -> Option<Seat> {
        let peer = peer.ip().to_canonical();
        let (all_max, one_max) = self.options.clients_max;
        let mut here = lock(&self.here);
        let all: usize = here.values().sum();
        let count = here.get(&peer).copied().unwrap_or(0);
        if all >= all_max || count >= one_max {
            self.figures.refused.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        here.insert(peer, count + 1);
        drop(here);
        self.figures.clients.fetch_add(1, Ordering::Relaxed);
        self.figures.connections.fetch_add(1, Ordering::Relaxed);
        Some(Seat {
            peer,
            server: self.clone(),
        })
    }

    async fn talk<S: AsyncRead + AsyncWrite + Unpin>(&self, mut stream: S) -> Result<(), Ended> {
        let mut news = self.cache.clone();
        let mut version: Option<u8> = None;
        let mut told = Told::default();
        let mut head = [0; HEADER_BYTES];
        let mut filled = 0;
        let mut deadline = Instant::now() + IDLE_TIMEOUT;
        loop {
            let due = told.due(&news.borrow(), version, self.options.notify_interval);
            tokio::select! {
                read = stream.read(&mut head[filled..]) => {
                    let read = read?;
                    if read == 0 {
                        return Ok(());
                    }
                    if filled == 0 {
                        deadline = Instant::now() + READ_TIMEOUT;
                    }
                    filled += read;
                }
                changed = news.changed() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                    continue;
                }
                () = tokio::time::sleep_until(due.unwrap_or(deadline)) => {
                    let Some(version) = version.filter(|_| due.is_some()) else {
                        return Err(Ended::Slow);
                    };
                    let (session, serial) = {
                        let cache = news.borrow();
                        (cache.session(), cache.serial())
                    };
                    self.send(&mut stream, version, &[Pdu::SerialNotify { session, serial }]).await?;
                    self.figures.notified.fetch_add(1, Ordering::Relaxed);
                    told.said(session, serial);
                    continue;
                }
            }
            if filled < HEADER_BYTES {
                continue;
            }
            filled = 0;
            let asked = match Header::parse(head) {
                Ok(header) => self.read(&mut stream, header, &mut version).await,
                Err(error) => Err(Ended::Wrong(error)),
            };
            let pdu = match asked {
                Ok(pdu) => pdu,
                Err(Ended::Wrong(error)) => {
                    let report = Pdu::ErrorReport {
                        code: error.code,
                        text: error.problem.clone(),
                    };
                    self.send(&mut stream, version.unwrap_or(VERSION_MAX), &[report])
                        .await?;
                    return Err(Ended::Wrong(error));
                }
                Err(other) => return Err(other),
            };
            // A router that is told "no data" asks again only after minutes (RFC 8210 section 8.4):
            // data that is still being read is worth a moment.
            let there = news.wait_for(|cache| cache.set().is_some());
            tokio::time::timeout(FIRST_DATA_TIME_MAX, there).await.ok();
            let cache = news.borrow_and_update().clone();
            self.answer(&mut stream, version.unwrap_or(VERSION_MAX), &cache, pdu)
                .await?;
            told.said(cache.session(), cache.serial());
            deadline = Instant::now() + IDLE_TIMEOUT;
        }
    }

    async fn read<S: AsyncRead + Unpin>(
        &self,
        stream: &mut S,
        header: Header,
        version: &mut Option<u8>,
    ) -> Result<Pdu, Ended> {
        let wrong = |code, problem| Err(Ended::Wrong(PduError { code, problem }));
        if header.version > VERSION_MAX {
            return wrong(
                code::UNSUPPORTED_VERSION,
                format!(
                    "version {}: at most {VERSION_MAX} is spoken",
                    header.version
                ),
            );
        }
        match version {
            Some(agreed) if *agreed != header.version => {
                return wrong(
                    code::UNEXPECTED_VERSION,
                    format!(
                        "version {}: this connection speaks {agreed}",
                        header.version
                    ),
                );
            }
            _ => *version = Some(header.version),
        }
        let mut body = vec![0; header.length - HEADER_BYTES];
        tokio::time::timeout(READ_TIMEOUT, stream.read_exact(&mut body))
            .await
            .map_err(|_| Ended::Slow)??;
        match Pdu::parse(&header, &body) {
            Ok(pdu @ (Pdu::SerialQuery { .. } | Pdu::ResetQuery)) => Ok(pdu),
            Ok(Pdu::ErrorReport { code, text }) => Err(Ended::Reported { code, text }),
            Ok(_) => wrong(
                code::INVALID_REQUEST,
                format!("a router does not send units of type {}", header.kind),
            ),
            Err(error) => Err(Ended::Wrong(error)),
        }
    }

    async fn answer<S: AsyncWrite + Unpin>(
        &self,
        stream: &mut S,
        version: u8,
        cache: &Cache,
        asked: Pdu,
    ) -> Result<(), Ended> {
        let Some(set) = cache.set() else {
            let report = Pdu::ErrorReport {
                code: code::NO_DATA,
                text: "no data yet".into(),
            };
            return self.send(stream, version, &[report]).await;
        };
        match asked {
            Pdu::SerialQuery { session, serial } => match cache.since(session, serial) {
                Since::Reset => self.send(stream, version, &[Pdu::CacheReset]).await,
                Since::Changes(changes) => {
                    self.figures.incremental.fetch_add(1, Ordering::Relaxed);
                    let gone = changes.withdrawn.into_iter().map(|vrp| (false, vrp));
                    let come = changes.announced.into_iter().map(|vrp| (true, vrp));
                    self.payloads(stream, version, cache, gone.chain(come))
                        .await
                }
            },
            _ => {
                self.figures.full.fetch_add(1, Ordering::Relaxed);
                self.payloads(stream, version, cache, set.iter().map(|vrp| (true, vrp)))
                    .await
            }
        }
    }

    async fn payloads<S: AsyncWrite + Unpin>(
        &self,
        stream: &mut S,
        version: u8,
        cache: &Cache,
        all: impl Iterator<Item = (bool, Vrp)>,
    ) -> Result<(), Ended> {
        let session = cache.session();
        let mut bytes = Vec::with_capacity(CHUNK_BYTES + 64);
        Pdu::CacheResponse { session }.write(version, &mut bytes);
        for (announced, vrp) in all {
            Pdu::Payload { announced, vrp }.write(version, &mut bytes);
            if bytes.len() >= CHUNK_BYTES {
                flush(stream, &bytes).await?;
                bytes.clear();
            }
        }
        let end = Pdu::EndOfData {
            session,
            serial: cache.serial(),
            timing: Some(self.options.timing),
        };
        end.write(version, &mut bytes);
        flush(stream, &bytes).await
    }

    async fn send<S: AsyncWrite + Unpin>(
        &self,
        stream: &mut S,
        version: u8,
        pdus: &[Pdu],
    ) -> Result<(), Ended> {
        let mut bytes = Vec::new();
        for pdu in pdus {
            pdu.write(version, &mut bytes);
        }
        flush(stream, &bytes).await
    }
}

async fn flush<S: AsyncWrite + Unpin>(stream: &mut S, bytes: &[u8]) -> Result<(), Ended> {
    let write = async {
        stream.write_all(bytes).await?;
        stream.flush().await
    };
    Ok(tokio::time::timeout(WRITE_TIMEOUT, write)
        .await
        .map_err(|_| Ended::Slow)??)
}

/// What a router was last told, and when it was last notified.
#[derive(Default)]
struct Told {
    what: Option<(u16, u32)>,
    at: Option<Instant>,
}

impl Told {
    fn said(&mut self, session: u16, serial: u32) {
        self.what = Some((session, serial));
        self.at = Some(Instant::now());
    }

    /// When the router is to be notified of `cache`; never before it has asked, because the version
    /// is not agreed until then.
    fn due(&self, cache: &Cache, version: Option<u8>, interval: Duration) -> Option<Instant> {
        version?;
        cache.set()?;
        if self.what == Some((cache.session(), cache.serial())) {
            return None;
        }
        Some(self.at.map_or_else(Instant::now, |at| at + interval))
    }
}
