//! The observer: asks every edge how it is, over kept connections, and tells every
//! dispatch server.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base::delivery::{DispatchSnapshot, HealthPolicy};
use base::{Clock, NodeName, SystemClock};
use ring::rand::{SecureRandom, SystemRandom};
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::{Opinion, Outbox, Watch};

/// Bytes of the longest health response, headers and body.
const RESPONSE_BYTES_MAX: usize = 8_192;

/// Why a probe failed.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The connection failed.
    #[error("could not ask")]
    Io(#[from] std::io::Error),
    /// No answer in time.
    #[error("no answer in time")]
    TimedOut,
    /// The answer is not that of a healthy edge.
    #[error("{0}")]
    Answer(&'static str),
}

/// Probes edges and reports what it finds.
#[derive(Debug)]
pub struct Observer {
    me: NodeName,
    policy: HealthPolicy,
    edges: Vec<(NodeName, SocketAddr)>,
}

impl Observer {
    /// An observer named `me` of these edges.
    pub fn new(me: NodeName, policy: HealthPolicy, edges: Vec<(NodeName, SocketAddr)>) -> Self {
        Self { me, policy, edges }
    }

    /// An observer of all edges of a snapshot.
    pub fn of(snapshot: &DispatchSnapshot, me: NodeName) -> Self {
        let edges = snapshot.edges.iter();
        let edges = edges
            .map(|edge| (edge.node.clone(), edge.health_address))
            .collect();
        Self::new(me, snapshot.health.clone(), edges)
    }

    /// Observes until told to stop. Opinions go to `report_to`, and to `local` if
    /// there is one; a full `local` misses a round.
    ///
    /// # Errors
    /// When no UDP socket or random number is to be had.
    pub async fn run(
        self,
        local: Option<mpsc::Sender<Vec<Opinion>>>,
        shutdown: CancellationToken,
    ) -> std::io::Result<()> {
        let sockets = Sockets::bind(&self.policy.report_to).await?;
        let mut boot = [0; 8];
        SystemRandom::new()
            .fill(&mut boot)
            .map_err(|_| std::io::Error::other("no random number for the observer"))?;
        let mut outbox = Outbox::new(self.me.clone(), u64::from_be_bytes(boot));
        let watches: Arc<Vec<Mutex<Watch>>> =
            Arc::new(self.edges.iter().map(|_| Mutex::default()).collect());
        let changed = Arc::new(Notify::new());
        let mut probes = JoinSet::new();
        for (number, (edge, address)) in self.edges.iter().enumerate() {
            probes.spawn(watch(
                number,
                edge.clone(),
                *address,
                self.policy.clone(),
                Arc::clone(&watches),
                Arc::clone(&changed),
            ));
        }
        let mut tick = ticker(&self.policy);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = changed.notified() => {}
                _ = tick.tick() => {}
            }
            let opinions = self.opinions(&watches);
            if opinions.is_empty() {
                continue;
            }
            let now = SystemClock.now();
            for datagram in outbox.write(&self.policy.report_key, &opinions, now) {
                sockets.send(&datagram, &self.policy.report_to).await;
            }
            if let Some(local) = &local
                && local.try_send(opinions).is_err()
            {
                tracing::debug!("the local agreement is behind; a round of opinions was left out");
            }
        }
        probes.shutdown().await;
        Ok(())
    }

    fn opinions(&self, watches: &[Mutex<Watch>]) -> Vec<Opinion> {
        self.edges
            .iter()
            .zip(watches)
            .filter_map(|((edge, _), watch)| {
                let watch = watch.lock().unwrap_or_else(PoisonError::into_inner);
                let (alive, load) = watch.opinion()?;
                Some(Opinion {
                    edge: edge.clone(),
                    alive,
                    load,
                })
            })
            .collect()
    }
}

fn ticker(policy: &HealthPolicy) -> tokio::time::Interval {
    let period = Duration::from_millis(u64::from(policy.interval_ms.max(10)));
    let mut tick = tokio::time::interval(period);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tick
}

/// One socket for each family that is reported to.
struct Sockets {
    v4: Option<UdpSocket>,
    v6: Option<UdpSocket>,
}

impl Sockets {
    async fn bind(report_to: &[SocketAddr]) -> std::io::Result<Self> {
        let mut sockets = Self { v4: None, v6: None };
        if report_to.iter().any(SocketAddr::is_ipv4) {
            sockets.v4 = Some(UdpSocket::bind("0.0.0.0:0").await?);
        }
        if report_to.iter().any(SocketAddr::is_ipv6) {
            sockets.v6 = Some(UdpSocket::bind("[::]:0").await?);
        }
        Ok(sockets)
    }

    async fn send(&self, datagram: &[u8], report_to: &[SocketAddr]) {
        for server in report_to {
            let socket = if server.is_ipv4() { &self.v4 } else { &self.v6 };
            if let Some(socket) = socket
                && let Err(error) = socket.send_to(datagram, server).await
            {
                tracing::debug!(%server, %error, "could not send a health report");
            }
        }
    }
}

/// Probes one edge for ever.
async fn watch(
    number: usize,
    edge: NodeName,
    address: SocketAddr,
    policy: HealthPolicy,
    watches: Arc<Vec<Mutex<Watch>>>,
    changed: Arc<Notify>,
) {
    let timeout = Duration::from_millis(u64::from(policy.timeout_ms));
    let mut probe = Probe {
        address,
        stream: None,
    };
    let mut tick = ticker(&policy);
    loop {
        tick.tick().await;
        let result = match tokio::time::timeout(timeout, probe.ask()).await {
            Ok(result) => result,
            Err(_) => {
                probe.stream = None;
                Err(ProbeError::TimedOut)
            }
        };
        let news = watches[number]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .probed(result.as_ref().ok().copied(), &policy);
        if news {
            match result {
                Ok(_) => tracing::info!(%edge, "edge answers"),
                Err(error) => tracing::warn!(%edge, %error, "edge does not answer"),
            }
            changed.notify_one();
        }
    }
}

/// A kept connection to one edge.
struct Probe {
    address: SocketAddr,
    stream: Option<TcpStream>,
}

impl Probe {
    /// Asks once. A kept connection that turns out closed is replaced, since the edge
    /// may close an idle one at any time.
    async fn ask(&mut self) -> Result<f32, ProbeError> {
        if let Some(stream) = self.stream.take()
            && let Ok(load) = self.ask_on(stream).await
        {
            return Ok(load);
        }
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        self.ask_on(stream).await
    }

    async fn ask_on(&mut self, mut stream: TcpStream) -> Result<f32, ProbeError> {
        let request = format!(
            "GET /.well-known/civicnet/health HTTP/1.1\r\nHost: {}\r\nUser-Agent: civicnet-observer\r\nAccept: application/json\r\n\r\n",
            self.address
        );
        stream.write_all(request.as_bytes()).await?;
        let mut response = Vec::with_capacity(512);
        loop {
            if stream.read_buf(&mut response).await? == 0 {
                return Err(ProbeError::Answer("the edge closed the connection"));
            }
            if let Some(health) = read_health(&response).map_err(ProbeError::Answer)? {
                if health.keep {
                    self.stream = Some(stream);
                }
                return Ok(health.load);
            }
            if response.len() > RESPONSE_BYTES_MAX {
                return Err(ProbeError::Answer("the health response is over 8192 bytes"));
            }
        }
    }
}

/// What an edge said.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Health {
    /// Share of its capacity in use.
    pub load: f32,
    /// The connection may be used again.
    pub keep: bool,
}

#[derive(Deserialize)]
struct Body {
    status: String,
    #[serde(default)]
    load: f32,
}

/// Reads an HTTP/1.1 health response; none while it is not whole.
///
/// # Errors
/// What about it is not that of a healthy edge.
pub fn read_health(response: &[u8]) -> Result<Option<Health>, &'static str> {
    let Some(head) = response.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let text = std::str::from_utf8(&response[..head]).map_err(|_| "the head is not text")?;
    let mut lines = text.split("\r\n");
    let status = lines.next().unwrap_or_default();
    if !status.starts_with("HTTP/1.1 200") {
        return Err("the status is not 200");
    }
    let (mut length, mut keep) = (None, true);
    for line in lines {
        let Some((name, value)) = line.split_once(':') else {
            continue;
        };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse::<usize>().ok();
        } else if name.eq_ignore_ascii_case("connection") {
            keep = !value.trim().eq_ignore_ascii_case("close");
        }
    }
    let length = length
        .filter(|length| *length <= RESPONSE_BYTES_MAX)
        .ok_or("it has no Content-Length up to 8192")?;
    let body = &response[head + 4..];
    if body.len() < length {
        return Ok(None);
    }
    let body: Body =
        serde_json::from_slice(&body[..length]).map_err(|_| "the body is not health JSON")?;
    if body.status != "ok" {
        return Err("the status told is not \"ok\"");
    }
    if !body.load.is_finite() || body.load < 0.0 {
        return Err("the load told is not a number from 0 on");
    }
    Ok(Some(Health {
        load: body.load,
        keep,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_health_response_is_read_piece_by_piece() {
        let body = r#"{"status":"ok","load":0.42}"#;
        let whole = format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        for at in 0..whole.len() {
            assert_eq!(read_health(&whole.as_bytes()[..at]), Ok(None), "{at}");
        }
        let health = Health {
            load: 0.42,
            keep: false,
        };
        assert_eq!(read_health(whole.as_bytes()), Ok(Some(health)));
    }

    #[test]
    fn sick_answers_are_failures() {
        for bad in [
            "HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
            "HTTP/1.1 200 OK\r\nContent-Length: 18\r\n\r\n{\"status\":\"drain\"}",
            "HTTP/1.1 200 OK\r\nContent-Length: 26\r\n\r\n{\"status\":\"ok\",\"load\":-1.0}",
        ] {
            assert!(read_health(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
