//! DNS over TCP (RFC 7766): two bytes of length, any number of queries on one
//! connection, answered in order; limits in time, size and number.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base::{Clock, SystemClock};
use dns::cookie::CookieSecret;
use dns::respond::{Asked, RESPONSE_BYTES_MAX, respond};
use enforce::Blocklist;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::current::Current;
use crate::enforced::{self, Fate};
use crate::journal::{Journal, event};
use crate::stats::{Counters, Stats};

/// Bytes of the largest query taken by TCP.
const QUERY_BYTES_MAX: usize = 4_096;
/// How long a connection may be silent once the server stops: a query on its way is
/// answered.
const PARTING_SILENCE: Duration = Duration::from_millis(500);
/// Queries answered on one connection before it is closed.
const QUERIES_PER_CONNECTION_MAX: u32 = 100_000;

/// Limits for TCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpLimits {
    /// Connections at a time.
    pub connections_max: usize,
    /// Connections at a time from one address (IPv6: one /64).
    pub connections_per_client_max: usize,
    /// Time that a connection may be silent between queries.
    pub idle: Duration,
    /// Time that one query may take to arrive, or one response to be taken.
    pub message: Duration,
}

impl Default for TcpLimits {
    fn default() -> Self {
        Self {
            connections_max: 1_000,
            connections_per_client_max: 50,
            idle: Duration::from_secs(10),
            message: Duration::from_secs(3),
        }
    }
}

/// What every connection needs.
pub(crate) struct TcpServer {
    pub(crate) current: Arc<Current>,
    pub(crate) secret: CookieSecret,
    pub(crate) limits: TcpLimits,
    pub(crate) blocklist: Arc<Blocklist>,
    pub(crate) stats: Stats,
    pub(crate) counters: Arc<Counters>,
    pub(crate) journal: Mutex<Journal>,
    pub(crate) open: Mutex<Open>,
}

/// Connections that are open.
#[derive(Debug, Default)]
pub(crate) struct Open {
    total: usize,
    by_client: HashMap<IpAddr, usize>,
}

/// A place among the open connections; given back when dropped.
struct Place {
    server: Arc<TcpServer>,
    client: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self
            .server
            .open
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        open.total -= 1;
        if let Some(count) = open.by_client.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                open.by_client.remove(&self.client);
            }
        }
    }
}

fn client_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() >> 64 << 64).into()),
        v4 => v4,
    }
}

impl TcpServer {
    fn enter(self: &Arc<Self>, peer: SocketAddr) -> Option<Place> {
        let client = client_of(peer.ip());
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let mine = open.by_client.get(&client).copied().unwrap_or(0);
        if open.total >= self.limits.connections_max
            || mine >= self.limits.connections_per_client_max
        {
            return None;
        }
        open.total += 1;
        open.by_client.insert(client, mine + 1);
        Some(Place {
            server: Arc::clone(self),
            client,
        })
    }

    /// Accepts until told to stop, then lets open connections finish their query.
    pub(crate) async fn run(self: Arc<Self>, listener: TcpListener, shutdown: CancellationToken) {
        let tracker = TaskTracker::new();
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        loop {
            let accepted = tokio::select! {
                () = shutdown.cancelled() => break,
                _ = tick.tick() => {
                    let mut journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
                    journal.tick(now_ms());
                    continue;
                }
                accepted = listener.accept() => accepted,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of descriptors, most likely: let some close.
                    tracing::warn!(%error, "could not accept a TCP connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let Some(place) = self.enter(peer) else {
                self.stats.tcp_refused();
                continue;
            };
            let server = Arc::clone(&self);
            let shutdown = shutdown.clone();
            tracker.spawn(async move {
                if let Err(error) = server.serve(stream, peer, shutdown).await {
                    tracing::debug!(%peer, %error, "TCP connection ended");
                }
                drop(place);
            });
        }
        tracker.close();
        tracker.wait().await;
        let mut journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        journal.flush(now_ms());
    }

    async fn serve(
        &self,
        mut stream: TcpStream,
        peer: SocketAddr,
        shutdown: CancellationToken,
    ) -> std::io::Result<()> {
        use std::io::ErrorKind;
        stream.set_nodelay(true)?;
        let mut query = vec![0; QUERY_BYTES_MAX];
        let mut out = vec![0; 2 + RESPONSE_BYTES_MAX];
        for _ in 0..QUERIES_PER_CONNECTION_MAX {
            let first = tokio::select! {
                biased;
                () = shutdown.cancelled() => {
                    tokio::time::timeout(PARTING_SILENCE, stream.read_u8()).await
                }
                first = tokio::time::timeout(self.limits.idle, stream.read_u8()) => first,
            };
            let high = match first {
                Err(_) => return Ok(()),
                Ok(Err(error)) if error.kind() == ErrorKind::UnexpectedEof => return Ok(()),
                Ok(read) => read?,
            };
            let length = tokio::time::timeout(self.limits.message, async {
                let low = stream.read_u8().await?;
                let length = usize::from(u16::from_be_bytes([high, low]));
                let place = query.get_mut(..length).ok_or(ErrorKind::InvalidData)?;
                stream.read_exact(place).await
            })
            .await??;
            let Some(sent) = self.answer(&query[..length], peer, &mut out) else {
                // Not a query: nothing good will follow.
                self.counters.ignored();
                return Ok(());
            };
            tokio::time::timeout(self.limits.message, stream.write_all(&out[..sent])).await??;
        }
        Ok(())
    }

    fn answer(&self, packet: &[u8], peer: SocketAddr, out: &mut [u8]) -> Option<usize> {
        let now = SystemClock.now();
        let served = self.current.get();
        let asked = Asked {
            packet,
            source: peer.ip().to_canonical(),
            tcp: true,
            now_s: now.seconds() as u32,
        };
        let mut reply = respond(&served, &self.secret, asked, &mut out[2..])?;
        let fate = enforced::enforce(
            &self.blocklist,
            &self.blocklist.live(),
            self.blocklist.now_s(),
            asked.source,
            &mut out[2..],
            &mut reply,
        );
        if fate == Fate::Nothing {
            return None;
        }
        out[..2].copy_from_slice(&(reply.length as u16).to_be_bytes());
        self.counters.sent_by_tcp(&reply);
        let mut journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        journal.note(now_ms(), || {
            event(now, &served, &out[2..], &reply, asked.source, true)
        });
        Some(2 + reply.length)
    }
}

/// Milliseconds of a clock that never jumps, modulo 2³².
pub(crate) fn now_ms() -> u32 {
    crate::udp::monotonic_ms()
}
