//! DNS over UDP: one socket and one plain thread per core, a blocking receive, and
//! nothing allocated between a packet and its answer.

mod port;

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base::{Clock, SystemClock};
use dns::Served;
use dns::cookie::{CookieSecret, CookieState};
use dns::message::HEADER_BYTES;
use dns::respond::{Asked, Reply, Short, respond, shorten};

use crate::current::Current;
use crate::enforced::{self, Fate};
use crate::journal::{Journal, event};
use crate::limit::{Limiter, Verdict};
use crate::stats::Counters;
use port::Port;

/// How long a receive waits before the thread looks whether to stop.
const WAKE: Duration = Duration::from_millis(200);
/// Bytes of the kernel's receive buffer that are asked for.
pub(crate) const RECEIVE_BUFFER_BYTES: usize = 4 << 20;

/// One UDP thread.
pub(crate) struct UdpWorker {
    pub(crate) current: Arc<Current>,
    pub(crate) secret: CookieSecret,
    pub(crate) limiter: Limiter,
    pub(crate) counters: Arc<Counters>,
    pub(crate) journal: Journal,
    pub(crate) blocked: enforce::Reader,
    pub(crate) stop: Arc<AtomicBool>,
}

impl UdpWorker {
    /// Answers until told to stop.
    pub(crate) fn run(mut self, socket: UdpSocket) {
        let mut port = match Port::new(socket, WAKE) {
            Ok(port) => port,
            Err(error) => {
                tracing::error!(%error, "could not prepare a UDP socket");
                return;
            }
        };
        let mut reader = self.current.reader();
        let mut failed = Failures::default();
        while !self.stop.load(Ordering::Relaxed) {
            let received = match port.receive() {
                Ok(received) => received,
                Err(error) => {
                    failed.note("receive", &error);
                    continue;
                }
            };
            if received == 0 {
                self.journal.tick(monotonic_ms());
                continue;
            }
            let served = reader.get();
            let now_s = wall_seconds();
            for at in 0..received {
                let length = match port.packet(at) {
                    Some((packet, peer, out)) => self.answer(served, packet, peer, out, now_s),
                    None => None,
                };
                if let Some(length) = length {
                    port.queue(at, length);
                }
            }
            if let Err(error) = port.flush() {
                failed.note("send", &error);
            }
        }
        self.journal.flush(monotonic_ms());
    }

    /// Answers one packet into `out`; none when nothing is to be sent.
    #[inline]
    fn answer(
        &mut self,
        served: &Served,
        packet: &[u8],
        peer: SocketAddr,
        out: &mut [u8],
        now_s: u32,
    ) -> Option<usize> {
        let source = peer.ip().to_canonical();
        let asked = Asked {
            packet,
            source,
            tcp: false,
            now_s,
        };
        // Nobody listens on port 0: an answer would only travel.
        let reply = match peer.port() {
            0 => None,
            _ => respond(served, &self.secret, asked, out),
        };
        let Some(mut reply) = reply else {
            self.counters.ignored();
            return None;
        };
        let (list, live, rule_s) = self.blocked.get();
        if !live.is_empty()
            && enforced::enforce(list, live, rule_s, source, out, &mut reply) == Fate::Nothing
        {
            self.counters.ignored();
            return None;
        }
        if self.limiter.is_on() && reply.cookie != CookieState::Valid {
            self.limit(&mut reply, source, out)?;
        }
        self.counters.sent(&reply);
        if self.journal.is_on() {
            self.journal.note(monotonic_ms(), || {
                event(SystemClock.now(), served, out, &reply, source, false)
            });
        }
        Some(reply.length)
    }

    /// Applies the rate limit: the answer stays, is made short, or is not sent (none).
    fn limit(&mut self, reply: &mut Reply, source: IpAddr, out: &mut [u8]) -> Option<()> {
        let question = &out[HEADER_BYTES.min(reply.question_end)..reply.question_end];
        let verdict =
            self.limiter
                .judge(source, reply.class, question, reply.client, monotonic_ms());
        match verdict {
            Verdict::Send => return Some(()),
            // A client that knows cookies gets one, in hardly more bytes than it sent, and
            // is free of the limit from then on.
            Verdict::Slip | Verdict::Drop if reply.cookie == CookieState::Unproven => {
                shorten(out, reply, Short::BadCookie);
            }
            Verdict::Slip => shorten(out, reply, Short::Truncate),
            Verdict::Drop => {
                self.counters.dropped();
                return None;
            }
        }
        self.counters.slipped();
        Some(())
    }
}

/// Errors of the socket, told to the log once in a thousand.
#[derive(Default)]
struct Failures(u64);

impl Failures {
    fn note(&mut self, what: &str, error: &std::io::Error) {
        if self.0.is_multiple_of(1_000) {
            tracing::warn!(%error, count = self.0 + 1, "could not {what} by UDP");
        }
        self.0 += 1;
    }
}

/// Seconds since 1970, modulo 2³², by the clock that is cheapest to read.
fn wall_seconds() -> u32 {
    port::coarse(libc::CLOCK_REALTIME_COARSE).0 as u32
}

/// Milliseconds of a clock that never jumps, modulo 2³².
pub(crate) fn monotonic_ms() -> u32 {
    let (seconds, nanoseconds) = port::coarse(libc::CLOCK_MONOTONIC_COARSE);
    (seconds as u32)
        .wrapping_mul(1_000)
        .wrapping_add((nanoseconds / 1_000_000) as u32)
}

/// Opens `count` sockets on one address, which share its load (SO_REUSEPORT). Port 0
/// becomes the same free port for all.
pub(crate) fn bind(address: SocketAddr, count: usize) -> std::io::Result<Vec<UdpSocket>> {
    let mut sockets: Vec<UdpSocket> = Vec::with_capacity(count);
    let mut address = address;
    for _ in 0..count.max(1) {
        let domain = socket2::Domain::for_address(address);
        let socket = socket2::Socket::new(domain, socket2::Type::DGRAM, None)?;
        socket.set_reuse_port(true)?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES)?;
        socket.bind(&address.into())?;
        let socket = UdpSocket::from(socket);
        address = socket.local_addr()?;
        sockets.push(socket);
    }
    Ok(sockets)
}
