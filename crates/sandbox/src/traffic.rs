//! The users: bounded traffic that asks dispatch for an edge and fetches pages from
//! it, bound to an address of the user's network. The rate can be changed, and set
//! to zero, while it runs.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpSocket, UdpSocket};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::country::{POPULATIONS, PUBLIC_SITES, Population};

/// Requests per second that the generator will not exceed, whatever is asked.
pub const RPS_MAX: u32 = 500;
/// Requests under way at once; beyond it users wait.
const IN_FLIGHT_MAX: usize = 64;
/// A user gives up after this.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where the public doors are.
#[derive(Debug, Clone, Copy)]
pub struct Doors {
    /// Dispatch DNS over UDP.
    pub dispatch: SocketAddr,
    /// Port on which edges serve plain HTTP.
    pub edge_http_port: u16,
}

/// Handle on running traffic.
#[derive(Debug, Default)]
pub struct Traffic {
    rps: AtomicU32,
    served: AtomicU64,
    failed: AtomicU64,
}

impl Traffic {
    /// Traffic at `rps` requests per second, at most [`RPS_MAX`]; 0: none.
    pub fn new(rps: u32) -> Arc<Self> {
        let traffic = Arc::new(Self::default());
        traffic.set_rate(rps);
        traffic
    }

    /// Changes the rate, at most [`RPS_MAX`].
    pub fn set_rate(&self, rps: u32) {
        self.rps.store(rps.min(RPS_MAX), Ordering::Relaxed);
    }

    /// The rate in requests per second.
    pub fn rate(&self) -> u32 {
        self.rps.load(Ordering::Relaxed)
    }

    /// Requests answered with a status under 500, and all others, since the start.
    pub fn counts(&self) -> (u64, u64) {
        (
            self.served.load(Ordering::Relaxed),
            self.failed.load(Ordering::Relaxed),
        )
    }

    /// Runs until `shutdown`.
    pub async fn run(self: Arc<Self>, doors: Doors, shutdown: CancellationToken) {
        let slots = Arc::new(Semaphore::new(IN_FLIGHT_MAX));
        let mut dice = Dice(0x5eed_c0de);
        loop {
            let rps = self.rate();
            let pause = if rps == 0 {
                Duration::from_millis(200)
            } else {
                Duration::from_secs(1) / rps
            };
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
            if rps == 0 {
                continue;
            }
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
                return;
            };
            let visit = Visit::choose(&mut dice);
            let traffic = Arc::clone(&self);
            tokio::spawn(async move {
                let outcome = tokio::time::timeout(PATIENCE, visit.make(doors)).await;
                match outcome {
                    Ok(Ok(())) => traffic.served.fetch_add(1, Ordering::Relaxed),
                    Ok(Err(error)) => {
                        tracing::debug!(host = visit.host, path = %visit.path, "a sandbox user got no page: {error:#}");
                        traffic.failed.fetch_add(1, Ordering::Relaxed)
                    }
                    Err(_) => traffic.failed.fetch_add(1, Ordering::Relaxed),
                };
                drop(slot);
            });
        }
    }
}

/// One user's visit to one URL.
#[derive(Debug)]
struct Visit {
    user: Ipv4Addr,
    host: &'static str,
    path: String,
}

impl Visit {
    fn choose(dice: &mut Dice) -> Self {
        let population = choose_population(dice);
        let site = &PUBLIC_SITES[if dice.below(100) < 60 { 0 } else { 1 }];
        let path = match dice.below(100) {
            0..25 => "/".to_owned(),
            25..45 => "/static/site.css".to_owned(),
            45..60 => "/static/logo.svg".to_owned(),
            // The square favours low numbers, as readers favour fresh news.
            60..85 => format!("/news/{}.html", dice.below(40) * dice.below(40) / 40 + 1),
            85..92 => format!("/books/{}.bin", dice.below(12) + 1),
            92..95 => "/data/summary.json".to_owned(),
            95..97 => "/media/photo.bin".to_owned(),
            97..99 => "/api/time".to_owned(),
            _ => "/no/such/page".to_owned(),
        };
        Self {
            user: population.user(dice.below(250)),
            host: site.host,
            path,
        }
    }

    async fn make(&self, doors: Doors) -> anyhow::Result<()> {
        let edge = resolve(self.user, doors.dispatch, self.host).await?;
        let socket = TcpSocket::new_v4()?;
        socket.bind((self.user, 0).into())?;
        let stream = socket
            .connect((edge, doors.edge_http_port).into())
            .await
            .context("could not connect to the edge")?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection);
        let request = hyper::Request::get(&self.path)
            .header("host", self.host)
            .header("user-agent", "civicnet-sandbox-user/1")
            .header("connection", "close")
            .body(Empty::<bytes::Bytes>::new())?;
        let response = sender.send_request(request).await?;
        let status = response.status();
        let mut body = response.into_body();
        while let Some(frame) = body.frame().await {
            frame?;
        }
        drop(sender);
        connection.abort();
        ensure!(status.as_u16() < 500, "status {status}");
        Ok(())
    }
}

fn choose_population(dice: &mut Dice) -> &'static Population {
    let total: u32 = POPULATIONS.iter().map(|p| p.weight).sum();
    let mut at = dice.below(total);
    for population in &POPULATIONS {
        if at < population.weight {
            return population;
        }
        at -= population.weight;
    }
    &POPULATIONS[0]
}

/// Asks dispatch, from `user`'s own address, for the IPv4 address of `host`.
async fn resolve(user: Ipv4Addr, dispatch: SocketAddr, host: &str) -> anyhow::Result<IpAddr> {
    let socket = UdpSocket::bind((user, 0)).await?;
    socket.connect(dispatch).await?;
    let mut question = vec![0x5a, 0x5a, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in host.split('.') {
        question.push(u8::try_from(label.len()).context("label too long")?);
        question.extend_from_slice(label.as_bytes());
    }
    question.extend_from_slice(&[0, 0, 1, 0, 1]);
    let mut answer = [0u8; 1232];
    for _ in 0..3 {
        socket.send(&question).await?;
        if let Ok(received) =
            tokio::time::timeout(Duration::from_secs(1), socket.recv(&mut answer)).await
        {
            return first_address(&answer[..received?], question.len())
                .context("dispatch gave no address");
        }
    }
    bail!("dispatch did not answer")
}

/// The first A record of an answer whose question ends at `at`.
fn first_address(message: &[u8], mut at: usize) -> Option<IpAddr> {
    let answers = u16::from_be_bytes([*message.get(6)?, *message.get(7)?]);
    for _ in 0..answers {
        loop {
            match *message.get(at)? {
                0 => break at += 1,
                pointer if pointer >= 0xc0 => break at += 2,
                length => at += 1 + usize::from(length),
            }
        }
        let fixed = message.get(at..at + 10)?;
        let length = usize::from(u16::from_be_bytes([fixed[8], fixed[9]]));
        let data = message.get(at + 10..at + 10 + length)?;
        if fixed[..2] == [0, 1]
            && let Ok(octets) = <[u8; 4]>::try_from(data)
        {
            return Some(IpAddr::V4(Ipv4Addr::from(octets)));
        }
        at += 10 + length;
    }
    None
}

/// A small generator (SplitMix64): the same users visit the same pages at every start.
#[derive(Debug)]
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u32) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        u32::try_from((z ^ (z >> 31)) % u64::from(n.max(1))).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_found_behind_a_cname() {
        let mut message = vec![
            0, 0, 0x84, 0, 0, 1, 0, 2, 0, 0, 0, 0, 1, b'a', 0, 0, 1, 0, 1,
        ];
        let question_end = message.len();
        message.extend_from_slice(&[0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 9, 0, 3, 1, b'b', 0]);
        message.extend_from_slice(&[1, b'b', 0, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 127, 30, 1, 1]);
        assert_eq!(
            first_address(&message, question_end),
            Some("127.30.1.1".parse().expect("an address"))
        );
        for cut in question_end..message.len() {
            assert_eq!(
                first_address(&message[..cut], question_end),
                None,
                "cut at {cut}"
            );
        }
    }

    #[test]
    fn the_rate_is_bounded() {
        let traffic = Traffic::new(1_000_000);
        assert_eq!(traffic.rate(), RPS_MAX);
    }

    #[test]
    fn every_population_visits() {
        let mut dice = Dice(1);
        let mut seen = std::collections::HashSet::new();
        for _ in 0..5_000 {
            let visit = Visit::choose(&mut dice);
            seen.insert([visit.user.octets()[1], visit.user.octets()[2]]);
        }
        assert_eq!(seen.len(), POPULATIONS.len());
    }
}
