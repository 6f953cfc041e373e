//! The node's HTTP/1.1 client: one [`Channel`] per kind of talk, each with its own
//! connection, so that a slow upload never holds back a purge.
//!
//! Everything read from the control side is bounded in time and size, because a
//! hostile or broken peer must not take the node with it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Method, Request, Response, StatusCode, Uri, header};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::api::{ErrorBody, SERVER_NAME, SMALL_BYTES_MAX};

/// Time for a TCP connection and again for the TLS handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for a small request, sent and answered.
const CALL_TIMEOUT: Duration = Duration::from_secs(15);
/// Silence inside a body after which it is given up.
const STALL_TIMEOUT: Duration = Duration::from_secs(15);
/// Time for a whole body, however steadily it drips.
const BODY_TIMEOUT: Duration = Duration::from_secs(600);

/// Why a request to the control plane failed.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// A control URL that cannot be used.
    #[error("{0:?} is not a control URL: must be https://host:port")]
    Url(String),
    /// Nobody answered at any URL; the last reason.
    #[error("control plane is not reachable at {url}: {why}")]
    Unreachable {
        /// The last URL tried.
        url: String,
        /// Why.
        why: String,
    },
    /// The connection broke.
    #[error("connection to the control plane broke: {0}")]
    Broken(String),
    /// It took too long.
    #[error("control plane took too long to {0}")]
    Timeout(&'static str),
    /// It said no.
    #[error("control plane answered {status}: {message}")]
    Status {
        /// HTTP status code.
        status: u16,
        /// Its words.
        message: String,
    },
    /// It said something else than agreed.
    #[error("control plane answered something malformed: {0}")]
    Malformed(String),
    /// It said too much.
    #[error("control plane sent more than {0} bytes")]
    TooLarge(usize),
}

impl LinkError {
    /// Whether the control plane itself refused this node's certificate.
    pub(crate) fn is_refusal(&self) -> bool {
        matches!(self, Self::Status { status, .. } if *status == 401 || *status == 403)
    }
}

/// Where the control plane is, and as whom to call it.
pub(crate) struct Dialer {
    targets: Vec<Target>,
    tls: RwLock<(u64, Arc<ClientConfig>)>,
    /// Index of the URL that last worked; tried first.
    last_good: AtomicUsize,
}

struct Target {
    url: String,
    host: String,
    port: u16,
}

impl Dialer {
    pub(crate) fn new(urls: &[String], tls: Arc<ClientConfig>) -> Result<Self, LinkError> {
        let targets = urls
            .iter()
            .map(|url| target(url))
            .collect::<Result<Vec<_>, _>>()?;
        if targets.is_empty() {
            return Err(LinkError::Url(String::new()));
        }
        Ok(Self {
            targets,
            tls: RwLock::new((0, tls)),
            last_good: AtomicUsize::new(0),
        })
    }

    /// Calls as somebody else from now on; channels dial again at their next request.
    pub(crate) fn set_identity(&self, tls: Arc<ClientConfig>) {
        let mut current = self.tls.write().unwrap_or_else(PoisonError::into_inner);
        *current = (current.0 + 1, tls);
    }

    fn identity(&self) -> (u64, Arc<ClientConfig>) {
        self.tls
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    async fn dial(&self) -> Result<Connection, LinkError> {
        let (generation, tls) = self.identity();
        let first = self.last_good.load(Ordering::Relaxed);
        let mut failure = LinkError::Url(String::new());
        for step in 0..self.targets.len() {
            let index = (first + step) % self.targets.len();
            match self.targets[index].dial(tls.clone()).await {
                Ok((sender, driver)) => {
                    self.last_good.store(index, Ordering::Relaxed);
                    return Ok(Connection {
                        generation,
                        sender,
                        driver,
                        authority: self.targets[index].authority(),
                    });
                }
                Err(why) => {
                    failure = LinkError::Unreachable {
                        url: self.targets[index].url.clone(),
                        why,
                    }
                }
            }
        }
        Err(failure)
    }
}

fn target(url: &str) -> Result<Target, LinkError> {
    let bad = || LinkError::Url(url.chars().take(200).collect());
    let uri: Uri = url.parse().map_err(|_| bad())?;
    let plain_path = matches!(uri.path(), "" | "/") && uri.query().is_none();
    if uri.scheme_str() != Some("https") || !plain_path {
        return Err(bad());
    }
    let host = uri.host().ok_or_else(bad)?;
    Ok(Target {
        url: url.to_owned(),
        host: host.trim_matches(['[', ']']).to_owned(),
        port: uri.port_u16().unwrap_or(443),
    })
}

impl Target {
    fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    async fn dial(
        &self,
        tls: Arc<ClientConfig>,
    ) -> Result<(SendRequest<Full<Bytes>>, AbortHandle), String> {
        let tcp = timeout(
            CONNECT_TIMEOUT,
            TcpStream::connect((self.host.as_str(), self.port)),
        )
        .await
        .map_err(|_| "no TCP connection in time".to_owned())?
        .map_err(|error| error.to_string())?;
        // Small messages must not wait for each other.
        if let Err(error) = tcp.set_nodelay(true) {
            tracing::debug!(%error, "could not set TCP_NODELAY");
        }
        let name = ServerName::try_from(SERVER_NAME).map_err(|error| error.to_string())?;
        let stream = timeout(CONNECT_TIMEOUT, TlsConnector::from(tls).connect(name, tcp))
            .await
            .map_err(|_| "no TLS handshake in time".to_owned())?
            .map_err(|error| error.to_string())?;
        let (sender, connection) = handshake(TokioIo::new(stream))
            .await
            .map_err(|error| error.to_string())?;
        let driver = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "control connection ended");
            }
        });
        Ok((sender, driver.abort_handle()))
    }
}

struct Connection {
    generation: u64,
    sender: SendRequest<Full<Bytes>>,
    driver: AbortHandle,
    authority: String,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// One connection, dialled when needed.
pub(crate) struct Channel {
    dialer: Arc<Dialer>,
    connection: Option<Connection>,
}

impl Channel {
    pub(crate) fn new(dialer: Arc<Dialer>) -> Self {
        Self {
            dialer,
            connection: None,
        }
    }

    /// Sends a JSON request and reads a small JSON answer.
    pub(crate) async fn call<A: DeserializeOwned>(
        &mut self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<A, LinkError> {
        let bytes = self.call_bytes(method, path, json(body)?).await?;
        serde_json::from_slice(&bytes).map_err(|error| LinkError::Malformed(error.to_string()))
    }

    /// Sends a JSON request whose answer is empty.
    pub(crate) async fn tell(
        &mut self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<(), LinkError> {
        self.call_bytes(Method::POST, path, json(body)?)
            .await
            .map(drop)
    }

    pub(crate) async fn call_bytes(
        &mut self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Bytes, LinkError> {
        let exchange = async {
            let response = self.send(method, path, body).await?;
            read_body(response.into_body(), SMALL_BYTES_MAX).await
        };
        let result = timeout(CALL_TIMEOUT, exchange)
            .await
            .unwrap_or(Err(LinkError::Timeout("answer")));
        self.settle(result)
    }

    /// Asks, waits up to `wait` for the head, and reads a body of up to `bytes_max`;
    /// none: 204.
    pub(crate) async fn poll(
        &mut self,
        path: &str,
        wait: Duration,
        bytes_max: usize,
    ) -> Result<Option<Bytes>, LinkError> {
        let exchange = async {
            let response = timeout(wait, self.send(Method::GET, path, Bytes::new()))
                .await
                .map_err(|_| LinkError::Timeout("answer"))??;
            if response.status() == StatusCode::NO_CONTENT {
                return Ok(None);
            }
            read_body(response.into_body(), bytes_max).await.map(Some)
        };
        let result = timeout(wait + BODY_TIMEOUT, exchange)
            .await
            .unwrap_or(Err(LinkError::Timeout("send a body")));
        self.settle(result)
    }

    /// Opens an endless answer.
    pub(crate) async fn open(&mut self, path: &str) -> Result<Lines, LinkError> {
        self.connection = None;
        let result = timeout(CALL_TIMEOUT, self.send(Method::GET, path, Bytes::new()))
            .await
            .unwrap_or(Err(LinkError::Timeout("answer")));
        let response = self.settle(result)?;
        Ok(Lines {
            body: response.into_body(),
            buffer: BytesMut::new(),
            searched: 0,
        })
    }

    /// Forgets the connection after anything but a plain answer: its state is unknown.
    fn settle<T>(&mut self, result: Result<T, LinkError>) -> Result<T, LinkError> {
        if result.is_err() {
            self.connection = None;
        }
        result
    }

    async fn send(
        &mut self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Response<Incoming>, LinkError> {
        let generation = self.dialer.identity().0;
        let usable = match &mut self.connection {
            Some(connection) if connection.generation == generation => {
                connection.sender.ready().await.is_ok()
            }
            _ => false,
        };
        if !usable {
            self.connection = None;
            self.connection = Some(self.dialer.dial().await?);
        }
        let Some(connection) = &mut self.connection else {
            return Err(LinkError::Broken("no connection".to_owned()));
        };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, &connection.authority)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|error| LinkError::Malformed(error.to_string()))?;
        let response = connection
            .sender
            .send_request(request)
            .await
            .map_err(|error| LinkError::Broken(error.to_string()))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body = read_body(response.into_body(), SMALL_BYTES_MAX)
            .await
            .unwrap_or_default();
        let message = match serde_json::from_slice::<ErrorBody>(&body) {
            Ok(error) => error.error.chars().take(500).collect(),
            Err(_) => "no reason given".to_owned(),
        };
        Err(LinkError::Status {
            status: status.as_u16(),
            message,
        })
    }
}

fn json(body: &impl Serialize) -> Result<Bytes, LinkError> {
    serde_json::to_vec(body)
        .map(Bytes::from)
        .map_err(|error| LinkError::Malformed(error.to_string()))
}

async fn read_body(mut body: Incoming, bytes_max: usize) -> Result<Bytes, LinkError> {
    if body.size_hint().lower() > bytes_max as u64 {
        return Err(LinkError::TooLarge(bytes_max));
    }
    let mut bytes = BytesMut::new();
    loop {
        let frame = timeout(STALL_TIMEOUT, body.frame())
            .await
            .map_err(|_| LinkError::Timeout("continue a body"))?;
        match frame {
            None => return Ok(bytes.freeze()),
            Some(Err(error)) => return Err(LinkError::Broken(error.to_string())),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    if bytes.len() + data.len() > bytes_max {
                        return Err(LinkError::TooLarge(bytes_max));
                    }
                    bytes.extend_from_slice(&data);
                }
            }
        }
    }
}

/// An endless answer, line by line.
pub(crate) struct Lines {
    body: Incoming,
    buffer: BytesMut,
    /// Bytes of the buffer known to hold no line end.
    searched: usize,
}

impl Lines {
    /// The next line; none: the peer ended the answer.
    pub(crate) async fn next(
        &mut self,
        silence_max: Duration,
        bytes_max: usize,
    ) -> Result<Option<Bytes>, LinkError> {
        let whole_line = async {
            loop {
                if let Some(at) = self.buffer[self.searched..]
                    .iter()
                    .position(|b| *b == b'\n')
                {
                    let line = self.buffer.split_to(self.searched + at + 1);
                    self.searched = 0;
                    return Ok(Some(line.freeze()));
                }
                self.searched = self.buffer.len();
                if self.buffer.len() > bytes_max {
                    return Err(LinkError::TooLarge(bytes_max));
                }
                match self.body.frame().await {
                    None => return Ok(None),
                    Some(Err(error)) => return Err(LinkError::Broken(error.to_string())),
                    Some(Ok(frame)) => {
                        if let Ok(data) = frame.into_data() {
                            self.buffer.extend_from_slice(&data);
                        }
                    }
                }
            }
        };
        timeout(silence_max, whole_line)
            .await
            .unwrap_or(Err(LinkError::Timeout("say that it lives")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_urls_are_checked() {
        for good in [
            "https://127.0.0.1:7443",
            "https://[::1]:7443/",
            "https://c.example",
        ] {
            assert!(target(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "http://a:1",
            "127.0.0.1:1",
            "https://a/x",
            "https://a?b",
            "https://",
        ] {
            assert!(matches!(target(bad), Err(LinkError::Url(_))), "{bad}");
        }
        assert_eq!(
            target("https://[::1]:7443").expect("good").authority(),
            "[::1]:7443"
        );
    }
}
