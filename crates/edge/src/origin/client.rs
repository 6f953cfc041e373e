//! Requests to origins over kept HTTP/1.1 connections, with fail-over.
//!
//! A request is sent again only when that cannot do harm: when nothing of it had
//! been sent, or when its method is idempotent and it has no body (RFC 9110 section
//! 9.2.2). Each worker keeps connections of its own, so that no lock is taken.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base::Prefix;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;

use crate::options::EdgeLimits;
use crate::origin::body::{Download, Lease, Upload, UploadFault};
use crate::origin::pool::{Endpoint, Pool};
use crate::worker::Worker;

/// Header lines of an origin's response.
const ORIGIN_HEADERS_MAX: usize = 200;
/// An origin that takes nothing of what was sent for this long is let go of by the kernel
/// (`TCP_USER_TIMEOUT`), also when the client of the upload has left and nobody else looks.
const ORIGIN_STALLED: Duration = Duration::from_secs(60);

/// Why no origin gave an answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    #[error("no connection to {origin}")]
    Connect {
        origin: String,
        #[source]
        cause: std::io::Error,
    },
    #[error("no connection to {origin} within {limit:?}")]
    ConnectTime { origin: String, limit: Duration },
    #[error("no response from {origin} within {limit:?}")]
    FirstByteTime { origin: String, limit: Duration },
    #[error("{origin} gave no valid response")]
    Response {
        origin: String,
        #[source]
        cause: hyper::Error,
    },
    #[error("{origin} switched protocols unasked")]
    Switched { origin: String },
    #[error("the request cannot be sent")]
    Request(#[from] http::Error),
    #[error(transparent)]
    Upload(#[from] UploadFault),
}

impl FetchError {
    /// The status that tells the client so (RFC 9110 section 15.6).
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Connect { .. } | Self::Response { .. } | Self::Switched { .. } => {
                StatusCode::BAD_GATEWAY
            }
            Self::ConnectTime { .. } | Self::FirstByteTime { .. } => StatusCode::GATEWAY_TIMEOUT,
            Self::Request(_) | Self::Upload(UploadFault::Malformed | UploadFault::Gone) => {
                StatusCode::BAD_REQUEST
            }
            Self::Upload(UploadFault::TooLarge) => StatusCode::PAYLOAD_TOO_LARGE,
        }
    }
}

/// A request as it leaves for an origin.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) method: Method,
    pub(crate) path_and_query: String,
    /// Fields without `Host`.
    pub(crate) headers: HeaderMap,
    /// `Host`, unless the pool says otherwise.
    pub(crate) host: String,
    pub(crate) body: Upload,
}

/// An origin's answer.
#[derive(Debug)]
pub(crate) struct Fetched {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Download,
    /// Time to the first byte.
    pub(crate) waited: Duration,
}

struct Idle {
    sender: http1::SendRequest<Upload>,
    since: Instant,
    promised: Option<Duration>,
}

/// How much of a promised time is left unused: the origin's clock began earlier.
const PROMISE_MARGIN: Duration = Duration::from_secs(1);

/// One worker's connections to origins.
pub(crate) struct Connections {
    idle: RefCell<HashMap<Rc<str>, Vec<Idle>>>,
    tls: Arc<rustls::ClientConfig>,
    deny: Vec<Prefix>,
    idle_max: usize,
    idle_timeout: Duration,
    head_bytes_max: usize,
}

impl std::fmt::Debug for Connections {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connections").finish_non_exhaustive()
    }
}

impl Connections {
    pub(crate) fn new(
        tls: Arc<rustls::ClientConfig>,
        deny: Vec<Prefix>,
        limits: &EdgeLimits,
    ) -> Rc<Self> {
        Rc::new(Self {
            idle: RefCell::default(),
            tls,
            deny,
            idle_max: limits.origin_idle_max,
            idle_timeout: limits.origin_idle_timeout,
            head_bytes_max: limits.origin_head_bytes_max,
        })
    }

    /// Takes a connection back once its exchange has ended.
    pub(crate) fn give_back(self: Rc<Self>, lease: Lease) {
        tokio::task::spawn_local(async move {
            let Lease {
                mut sender,
                key,
                promised,
                ..
            } = lease;
            if sender.ready().await.is_err() {
                return;
            }
            let mut idle = self.idle.borrow_mut();
            let kept = idle.entry(key).or_default();
            if kept.len() < self.idle_max {
                kept.push(Idle {
                    sender,
                    since: Instant::now(),
                    promised,
                });
            }
        });
    }

    /// Lets go of connections that have been idle for long.
    pub(crate) fn expire(&self) {
        let mut idle = self.idle.borrow_mut();
        idle.retain(|_, kept| {
            kept.retain(|c| !c.sender.is_closed() && c.since.elapsed() < self.idle_timeout);
            !kept.is_empty()
        });
    }

    /// An idle connection, and whether the origin has promised that it is still open.
    fn take(&self, key: &str) -> Option<(http1::SendRequest<Upload>, bool)> {
        let mut idle = self.idle.borrow_mut();
        let kept = idle.get_mut(key)?;
        while let Some(connection) = kept.pop() {
            let idle = connection.since.elapsed();
            let promised = connection
                .promised
                .map(|promised| idle + PROMISE_MARGIN < promised);
            if connection.sender.is_ready() && idle < self.idle_timeout && promised != Some(false) {
                return Some((connection.sender, promised == Some(true)));
            }
        }
        None
    }

    async fn connect(
        &self,
        endpoint: &Endpoint,
        limit: Duration,
    ) -> Result<http1::SendRequest<Upload>, FetchError> {
        let failed = |cause| FetchError::Connect {
            origin: endpoint.url.clone(),
            cause,
        };
        let dial = async {
            let tcp = self.dial(endpoint).await?;
            tcp.set_nodelay(true)?;
            socket2::SockRef::from(&tcp).set_tcp_user_timeout(Some(ORIGIN_STALLED))?;
            if !endpoint.tls {
                return self.handshake(TokioIo::new(tcp)).await;
            }
            let name =
                ServerName::try_from(endpoint.host.clone()).map_err(std::io::Error::other)?;
            let connector = tokio_rustls::TlsConnector::from(Arc::clone(&self.tls));
            self.handshake(TokioIo::new(connector.connect(name, tcp).await?))
                .await
        };
        match tokio::time::timeout(limit, dial).await {
            Ok(Ok(sender)) => Ok(sender),
            Ok(Err(cause)) => Err(failed(cause)),
            Err(_) => Err(FetchError::ConnectTime {
                origin: endpoint.url.clone(),
                limit,
            }),
        }
    }

    /// The first address of the origin that takes a connection and is not denied.
    async fn dial(&self, endpoint: &Endpoint) -> std::io::Result<TcpStream> {
        let addresses: Vec<SocketAddr> = match endpoint.host.parse() {
            Ok(address) => vec![SocketAddr::new(address, endpoint.port)],
            Err(_) => tokio::net::lookup_host((endpoint.host.as_str(), endpoint.port))
                .await?
                .collect(),
        };
        let mut last = std::io::Error::new(std::io::ErrorKind::NotFound, "the name has no address");
        for address in addresses {
            let canonical = address.ip().to_canonical();
            if self.deny.iter().any(|prefix| prefix.contains(canonical)) {
                last = std::io::Error::new(
                    std::io::ErrorKind::PermissionDenied,
                    format!("{canonical} is not allowed as an origin"),
                );
                continue;
            }
            match TcpStream::connect(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn handshake<T>(&self, io: TokioIo<T>) -> std::io::Result<http1::SendRequest<Upload>>
    where
        T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + 'static,
    {
        let (sender, connection) = http1::Builder::new()
            .max_headers(ORIGIN_HEADERS_MAX)
            // A proxy takes the white space out and unfolds lines (RFC 9112 sections 5.1, 5.2).
            .allow_spaces_after_header_name_in_responses(true)
            .allow_obsolete_multiline_headers_in_responses(true)
            .max_buf_size(self.head_bytes_max.max(8 << 10))
            .handshake::<_, Upload>(io)
            .await
            .map_err(std::io::Error::other)?;
        tokio::task::spawn_local(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "A connection to an origin ended");
            }
        });
        Ok(sender)
    }
}

/// Whether sending it twice does no more than sending it once.
fn is_idempotent(method: &Method) -> bool {
    method.is_idempotent()
}

/// Whether another origin may do better than one that answered so.
fn is_worth_another(status: StatusCode) -> bool {
    matches!(status.as_u16(), 502..=504)
}

/// Sends a request to the best origin of a pool, and to the next ones when that fails.
pub(crate) async fn fetch(
    worker: &Rc<Worker>,
    pool: &Pool,
    outgoing: Outgoing,
) -> Result<Fetched, FetchError> {
    let started = Instant::now();
    let order = pool.order(worker.now(), &mut worker.random.borrow_mut());
    let repeatable = outgoing.body.is_empty() && is_idempotent(&outgoing.method);
    let Outgoing {
        method,
        path_and_query,
        headers,
        host,
        body,
    } = outgoing;
    let uri: Uri = path_and_query.parse().map_err(http::Error::from)?;
    let mut body = Some(body);
    let mut last = None;
    for (turn, endpoint) in order.iter().enumerate() {
        let last_turn = turn + 1 == order.len();
        let key: Rc<str> = endpoint.url.as_str().into();
        let mut reuse = true;
        loop {
            let kept = if reuse {
                worker.origins.take(&key)
            } else {
                None
            };
            // A connection that the origin promised to keep and closes all the same is
            // an answer, not an accident of timing.
            let accident = kept.as_ref().is_some_and(|(_, promised)| !promised);
            let connected = match kept {
                Some((sender, _)) => Ok(sender),
                None => worker.origins.connect(endpoint, pool.connect_timeout).await,
            };
            let sender = match connected {
                Ok(sender) => sender,
                Err(error) => {
                    worker.origin_failed(endpoint, &error);
                    last = Some(error);
                    break;
                }
            };
            let Some(upload) = (if repeatable {
                Some(Upload::EMPTY)
            } else {
                body.take()
            }) else {
                break;
            };
            let host = pool.host_header.as_deref().unwrap_or(&host);
            let host = if host.is_empty() {
                &endpoint.authority
            } else {
                host
            };
            let mut request = Request::new(upload);
            *request.method_mut() = method.clone();
            *request.uri_mut() = uri.clone();
            *request.headers_mut() = headers.clone();
            request.headers_mut().insert(
                header::HOST,
                HeaderValue::from_str(host).map_err(http::Error::from)?,
            );
            match exchange(worker, sender, request, endpoint, pool, key.clone()).await {
                Ok(mut fetched) => {
                    if is_worth_another(fetched.status) && repeatable && !last_turn {
                        worker.origin_failed_with(endpoint, fetched.status);
                        break;
                    }
                    endpoint.succeeded();
                    fetched.waited = started.elapsed();
                    return Ok(fetched);
                }
                Err(FetchError::Response { .. }) if accident && repeatable => {
                    // The origin closed the kept connection just as it was used.
                    reuse = false;
                }
                Err(error) => {
                    if !matches!(error, FetchError::Upload(_)) {
                        worker.origin_failed(endpoint, &error);
                    }
                    if !repeatable {
                        return Err(error);
                    }
                    last = Some(error);
                    break;
                }
            }
        }
    }
    Err(last.unwrap_or(FetchError::Upload(UploadFault::Gone)))
}

async fn exchange(
    worker: &Rc<Worker>,
    mut sender: http1::SendRequest<Upload>,
    request: Request<Upload>,
    endpoint: &Endpoint,
    pool: &Pool,
    key: Rc<str>,
) -> Result<Fetched, FetchError> {
    let uploading = !request.body().is_empty();
    let limit = pool.first_byte_timeout;
    let exchange = sender.send_request(request);
    // An upload is limited by the connection that reads it; the origin's time begins
    // anew only when there is none, so a long upload gets the longer of the two.
    let limit = if uploading {
        limit.saturating_mul(20)
    } else {
        limit
    };
    let response = match tokio::time::timeout(limit, exchange).await {
        Err(_) => {
            return Err(FetchError::FirstByteTime {
                origin: endpoint.url.clone(),
                limit,
            });
        }
        Ok(Err(error)) => {
            if let Some(fault) = upload_fault(&error) {
                return Err(FetchError::Upload(fault));
            }
            return Err(FetchError::Response {
                origin: endpoint.url.clone(),
                cause: error,
            });
        }
        Ok(Ok(response)) => response,
    };
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Err(FetchError::Switched {
            origin: endpoint.url.clone(),
        });
    }
    let (parts, incoming) = response.into_parts();
    let lease = Lease {
        sender,
        key,
        promised: keep_alive_timeout(&parts.headers),
        home: Rc::clone(&worker.origins),
    };
    Ok(Fetched {
        status: parts.status,
        headers: parts.headers,
        body: Download::new(incoming, pool.idle_timeout, lease),
        waited: Duration::ZERO,
    })
}

/// The `timeout` of `Keep-Alive` (RFC 2068 section 19.7.1.1, still widely sent).
fn keep_alive_timeout(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get("keep-alive")?.to_str().ok()?;
    let seconds = value
        .split(',')
        .find_map(|part| part.trim().strip_prefix("timeout="))?;
    seconds.parse().ok().map(Duration::from_secs)
}

fn upload_fault(error: &hyper::Error) -> Option<UploadFault> {
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        if let Some(fault) = inner.downcast_ref::<UploadFault>() {
            return Some(*fault);
        }
        cause = inner.source();
    }
    None
}

/// Reads a body to its end, up to `limit` bytes, and forgets it.
pub(crate) async fn discard(mut body: Download, limit: usize) {
    let mut read = 0;
    while let Some(Ok(bytes)) = body.next().await {
        let bytes: Bytes = bytes;
        read += bytes.len();
        if read > limit {
            return;
        }
    }
}
