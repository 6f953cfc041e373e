//! The client: keeps a copy of another cache's set, and says when it changed.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::pdu::{HEADER_BYTES, Header, Pdu, PduError, Timing, VERSION_MAX, code};
use crate::rpki::file::VRPS_MAX;
use crate::rpki::{Vrp, VrpSet};

/// How long connecting and each unit of an answer may take.
const STEP_TIMEOUT: Duration = Duration::from_secs(30);
/// Shortest pause after a failure.
const RETRY_MIN: Duration = Duration::from_millis(500);
/// Longest pause after a failure, whatever the server says.
const RETRY_MAX: Duration = Duration::from_secs(600);

/// Where the other cache is.
#[derive(Clone)]
pub struct Upstream {
    /// Its address.
    pub address: SocketAddr,
    /// Inside TLS: whom to trust, and the server's name.
    pub tls: Option<(Arc<rustls::ClientConfig>, ServerName<'static>)>,
}

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The connection failed.
    #[error("the connection failed")]
    Io(#[from] std::io::Error),
    /// The server took too long.
    #[error("no answer within {} s", STEP_TIMEOUT.as_secs())]
    Slow,
    /// The server broke the protocol.
    #[error("the server broke the protocol")]
    Wrong(#[source] PduError),
    /// The server reported an error.
    #[error("the server reported error {code}: {text}")]
    Reported {
        /// One of [`code`].
        code: u16,
        /// Its words.
        text: String,
    },
}

/// What a client holds.
#[derive(Debug, Clone, Default)]
struct State {
    version: u8,
    /// Session and serial of `set`.
    have: Option<(u16, u32)>,
    set: BTreeSet<Vrp>,
    timing: Timing,
}

/// Follows `upstream` until `stop`. `news` gets every complete set, and `None` when what was had has
/// expired (RFC 8210 section 6) without being renewed.
pub async fn follow(
    upstream: Upstream,
    news: watch::Sender<Option<Arc<VrpSet>>>,
    stop: CancellationToken,
) {
    let mut state = State {
        version: VERSION_MAX,
        ..State::default()
    };
    let mut renewed: Option<Instant> = None;
    let mut failures: u32 = 0;
    loop {
        let before = state.have;
        let result = tokio::select! {
            () = stop.cancelled() => return,
            result = session(&upstream, &mut state, &news, &mut renewed) => result,
        };
        let Err(error) = result;
        match &error {
            ClientError::Reported {
                code: code::UNSUPPORTED_VERSION,
                ..
            } if state.version > 0 => {
                tracing::info!(server = %upstream.address, "The RTR server speaks an older version");
                state.version -= 1;
                continue;
            }
            ClientError::Wrong(_) => {
                // Whatever was misunderstood must not stay: begin again from nothing.
                state.have = None;
            }
            _ => {}
        }
        failures = if state.have != before {
            0
        } else {
            failures.saturating_add(1)
        };
        tracing::warn!(server = %upstream.address, error = %runtime::error_chain(&error), "The RTR session ended");
        let expiry = Duration::from_secs(u64::from(state.timing.expire_s));
        if renewed.is_some_and(|at| at.elapsed() > expiry) {
            tracing::error!(server = %upstream.address, "The data from the RTR server has expired");
            renewed = None;
            state.have = None;
            news.send_replace(None);
        }
        let most = Duration::from_secs(u64::from(state.timing.retry_s)).clamp(RETRY_MIN, RETRY_MAX);
        let pause = RETRY_MIN.saturating_mul(1 << failures.min(10)).min(most);
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

async fn session(
    upstream: &Upstream,
    state: &mut State,
    news: &watch::Sender<Option<Arc<VrpSet>>>,
    renewed: &mut Option<Instant>,
) -> Result<std::convert::Infallible, ClientError> {
    let connect = async {
        let stream = TcpStream::connect(upstream.address).await?;
        stream.set_nodelay(true)?;
        Ok::<_, std::io::Error>(stream)
    };
    let stream = tokio::time::timeout(STEP_TIMEOUT, connect)
        .await
        .map_err(|_| ClientError::Slow)??;
    match &upstream.tls {
        None => talk(stream, state, news, renewed).await,
        Some((config, name)) => {
            let connector = tokio_rustls::TlsConnector::from(Arc::clone(config));
            let stream =
                tokio::time::timeout(STEP_TIMEOUT, connector.connect(name.clone(), stream))
                    .await
                    .map_err(|_| ClientError::Slow)??;
            talk(stream, state, news, renewed).await
        }
    }
}

async fn talk<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    state: &mut State,
    news: &watch::Sender<Option<Arc<VrpSet>>>,
    renewed: &mut Option<Instant>,
) -> Result<std::convert::Infallible, ClientError> {
    let (read, mut write) = tokio::io::split(stream);
    let mut read = BufReader::with_capacity(64 << 10, read);
    loop {
        let question = match state.have {
            Some((session, serial)) => Pdu::SerialQuery { session, serial },
            None => Pdu::ResetQuery,
        };
        ask(&mut write, state.version, &question).await?;
        let (changed, no_data) = answer(&mut read, state).await?;
        if changed {
            *renewed = Some(Instant::now());
            let set: VrpSet = state.set.iter().copied().collect();
            news.send_if_modified(|had| {
                let same = had.as_deref() == Some(&set);
                if !same {
                    *had = Some(Arc::new(set));
                }
                !same
            });
        }
        if state.have.is_none() && !no_data {
            continue;
        }
        let seconds = if no_data {
            state.timing.retry_s.min(5)
        } else {
            state.timing.refresh_s
        };
        let wait = Duration::from_secs(u64::from(seconds.clamp(1, 86_400)));
        let deadline = Instant::now() + wait;
        loop {
            let mut head = [0; HEADER_BYTES];
            let next = tokio::time::timeout_at(deadline, read.read_exact(&mut head)).await;
            match next {
                Err(_) => break,
                Ok(result) => {
                    result?;
                }
            }
            match unit(&mut read, head, state.version).await? {
                Pdu::SerialNotify { session, serial } if state.have == Some((session, serial)) => {}
                Pdu::SerialNotify { .. } => break,
                Pdu::ErrorReport { code, text } => {
                    return Err(ClientError::Reported { code, text });
                }
                other => return Err(unexpected(&other)),
            }
        }
    }
}

async fn ask<W: AsyncWrite + Unpin>(
    write: &mut W,
    version: u8,
    pdu: &Pdu,
) -> Result<(), ClientError> {
    let mut bytes = Vec::new();
    pdu.write(version, &mut bytes);
    let send = async {
        write.write_all(&bytes).await?;
        write.flush().await
    };
    tokio::time::timeout(STEP_TIMEOUT, send)
        .await
        .map_err(|_| ClientError::Slow)??;
    Ok(())
}

/// Reads one answer into `state`; whether there is a complete set, and whether the server has none yet.
/// A state that is half changed is never kept.
async fn answer<R: AsyncRead + Unpin>(
    read: &mut R,
    state: &mut State,
) -> Result<(bool, bool), ClientError> {
    let had = state.have.take();
    let mut responding: Option<u16> = None;
    let mut set = match had {
        Some(_) => std::mem::take(&mut state.set),
        None => BTreeSet::new(),
    };
    loop {
        let mut head = [0; HEADER_BYTES];
        tokio::time::timeout(STEP_TIMEOUT, read.read_exact(&mut head))
            .await
            .map_err(|_| ClientError::Slow)??;
        let pdu = unit(read, head, state.version).await?;
        match (pdu, responding) {
            // It may have crossed the question; the answer says the same.
            (Pdu::SerialNotify { .. }, None) => {}
            (Pdu::CacheResponse { session }, None) => {
                if had.is_some_and(|(mine, _)| mine != session) {
                    return Err(wrong(
                        code::CORRUPT,
                        "the session id changed within an answer to a serial query",
                    ));
                }
                responding = Some(session);
            }
            (Pdu::CacheReset, None) => return Ok((false, false)),
            (
                Pdu::Payload {
                    announced: true,
                    vrp,
                },
                Some(_),
            ) => {
                if !set.insert(vrp) {
                    return Err(wrong(
                        code::DUPLICATE,
                        &format!("{vrp} was announced twice"),
                    ));
                }
                if set.len() > VRPS_MAX {
                    return Err(wrong(
                        code::INTERNAL,
                        &format!("more than {VRPS_MAX} payloads"),
                    ));
                }
            }
            (
                Pdu::Payload {
                    announced: false,
                    vrp,
                },
                Some(_),
            ) => {
                if !set.remove(&vrp) {
                    return Err(wrong(
                        code::UNKNOWN_WITHDRAWAL,
                        &format!("{vrp} was withdrawn and never announced"),
                    ));
                }
            }
            (Pdu::RouterKey, Some(_)) => {}
            (
                Pdu::EndOfData {
                    session,
                    serial,
                    timing,
                },
                Some(mine),
            ) => {
                if session != mine {
                    return Err(wrong(
                        code::CORRUPT,
                        "the session id changed within an answer",
                    ));
                }
                state.set = set;
                state.have = Some((session, serial));
                state.timing = timing.unwrap_or(state.timing);
                return Ok((true, false));
            }
            (
                Pdu::ErrorReport {
                    code: code::NO_DATA,
                    ..
                },
                None,
            ) => {
                return Ok((false, true));
            }
            (Pdu::ErrorReport { code, text }, _) => {
                return Err(ClientError::Reported { code, text });
            }
            (other, _) => return Err(unexpected(&other)),
        }
    }
}

async fn unit<R: AsyncRead + Unpin>(
    read: &mut R,
    head: [u8; HEADER_BYTES],
    version: u8,
) -> Result<Pdu, ClientError> {
    let header = Header::parse(head).map_err(ClientError::Wrong)?;
    let mut body = vec![0; header.length - HEADER_BYTES];
    tokio::time::timeout(STEP_TIMEOUT, read.read_exact(&mut body))
        .await
        .map_err(|_| ClientError::Slow)??;
    let pdu = Pdu::parse(&header, &body).map_err(ClientError::Wrong)?;
    // A server of an older version answers in its own, with an error or by going down.
    if header.version != version {
        let text = format!("it speaks version {}", header.version);
        return Err(match header.version < version {
            true => ClientError::Reported {
                code: code::UNSUPPORTED_VERSION,
                text,
            },
            false => wrong(code::UNEXPECTED_VERSION, &text),
        });
    }
    Ok(pdu)
}

fn wrong(code: u16, problem: &str) -> ClientError {
    ClientError::Wrong(PduError {
        code,
        problem: problem.to_owned(),
    })
}

fn unexpected(pdu: &Pdu) -> ClientError {
    let shown: String = format!("{pdu:?}").chars().take(60).collect();
    wrong(
        code::INVALID_REQUEST,
        &format!("{shown} was not expected here"),
    )
}
