//! The door for nodes: TLS, limits, routes. [`crate::api`] lists the routes.
//!
//! Who calls is known from the certificate; what it may do is asked of the inventory
//! at **each** request, so that revocation needs no connection to end. Streams ask
//! again at every beat and whenever rights change.

mod routes;
mod stream;

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use base::{NodeName, Role};
use bytes::Bytes;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Control, ControlError, lock};
use crate::pki::{Identity, SERVER_LIFE, identity_of};
use crate::tls;

/// Connections at one time.
const CONNECTIONS_MAX: usize = 8_192;
/// Connections of one node at one time; a node needs about six.
const CONNECTIONS_PER_NODE_MAX: usize = 32;
/// Connections at one time that have shown no certificate.
const STRANGERS_MAX: usize = 256;
/// Time for the TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Life of a connection that has shown no certificate.
const STRANGER_LIFE: Duration = Duration::from_secs(30);
/// Time for data that a peer does not acknowledge (TCP_USER_TIMEOUT).
const UNACKED_MAX: Duration = Duration::from_secs(30);
/// Bytes of a request's head and of the read buffer at most.
const BUFFER_BYTES_MAX: usize = 64 * 1024;
/// Time for requests under way when the listener stops.
const DRAIN: Duration = Duration::from_secs(5);
/// Pause after accepting failed: out of file descriptors, mostly.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How often the server certificate's age is looked at.
const CERTIFICATE_PERIOD: Duration = Duration::from_secs(3_600);

/// Why a batch of events is not taken.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// Not now: the lake is full or busy. The node sends it again.
    #[error("events cannot be taken now: {0}")]
    Busy(String),
    /// Never: it makes no sense. The node drops it and says so.
    #[error("event batch is refused: {0}")]
    Refused(String),
}

/// Takes events in: the lake.
#[async_trait]
pub trait EventIngest: Send + Sync {
    /// Takes one batch. `Ok` means that it is durable, or was taken before: the same
    /// (node, number) may come again.
    async fn ingest(&self, node: &NodeName, seq: u64, batch: Bytes) -> Result<(), IngestError>;

    /// Takes what a role of a node reports: the newest of its kind, JSON. Older ones
    /// may be lost.
    async fn report(&self, _: &NodeName, role: Role, _: Bytes) -> Result<(), IngestError> {
        Err(IngestError::Refused(format!(
            "nobody takes reports of role {role}"
        )))
    }
}

/// Takes no events; nodes keep them.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoIngest;

#[async_trait]
impl EventIngest for NoIngest {
    async fn ingest(&self, _: &NodeName, _: u64, _: Bytes) -> Result<(), IngestError> {
        Err(IngestError::Busy("there is no lake here".to_owned()))
    }
}

/// Who is at the other end of a connection.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    pub(super) identity: Option<Identity>,
    pub(super) address: SocketAddr,
}

/// What the routes share.
#[derive(Clone)]
pub(super) struct Door {
    pub(super) control: Control,
    pub(super) ingest: Arc<dyn EventIngest>,
    pub(super) stop: CancellationToken,
}

struct Limits {
    all: Arc<Semaphore>,
    strangers: Arc<Semaphore>,
    per_node: Mutex<HashMap<NodeName, Arc<Semaphore>>>,
}

impl Control {
    /// Serves nodes on `listener` until `stop`; also runs what keeps the control side
    /// going (recorder, watching the database, pruning). Call it once per process.
    ///
    /// # Errors
    /// When the listener or the server certificate cannot be used.
    pub async fn serve(
        &self,
        listener: TcpListener,
        ingest: Arc<dyn EventIngest>,
        stop: CancellationToken,
    ) -> Result<(), ControlError> {
        listener
            .set_nonblocking(true)
            .map_err(ControlError::Listen)?;
        let listener = tokio::net::TcpListener::from_std(listener).map_err(ControlError::Listen)?;
        let tls = RwLock::new(self.server_tls()?);
        let door = Door {
            control: self.clone(),
            ingest,
            stop: stop.clone(),
        };
        let connections = TaskTracker::new();
        // The recorder outlives the listener: requests under way still speak to it.
        let recorder_stop = CancellationToken::new();
        let guard = recorder_stop.clone().drop_guard();
        let control = self.clone();
        let recorder = tokio::spawn(async move {
            tokio::select! {
                () = recorder_stop.cancelled() => {}
                () = control.run_recorder() => {}
            }
        });
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.run_tail() => {}
            () = self.run_prune() => {}
            () = self.renew_server_tls(&tls) => {}
            () = accept(&listener, &tls, door, &connections) => {}
        }
        connections.close();
        if timeout(DRAIN * 2, connections.wait()).await.is_err() {
            tracing::warn!("Some node connections did not end in time");
        }
        drop(guard);
        if let Err(error) = recorder.await {
            tracing::error!(%error, "Writing down what nodes say failed");
        }
        Ok(())
    }

    fn server_tls(&self) -> Result<Arc<ServerConfig>, ControlError> {
        let (certificate, key) = self.0.authority.issue_server(self.now())?;
        Ok(tls::server_config(
            self.0.authority.certificate(),
            certificate,
            key,
        )?)
    }

    async fn renew_server_tls(&self, tls: &RwLock<Arc<ServerConfig>>) {
        let mut made_at = self.now();
        loop {
            tokio::time::sleep(CERTIFICATE_PERIOD).await;
            if self.now().since(made_at) < SERVER_LIFE / 3 * 2 {
                continue;
            }
            match self.server_tls() {
                Ok(next) => {
                    *tls.write()
                        .unwrap_or_else(std::sync::PoisonError::into_inner) = next;
                    made_at = self.now();
                    tracing::info!("Control certificate renewed");
                }
                Err(error) => tracing::error!(error = %runtime::error_chain(&error),
                    "Control certificate could not be renewed; will try again"),
            }
        }
    }
}

async fn accept(
    listener: &tokio::net::TcpListener,
    tls: &RwLock<Arc<ServerConfig>>,
    door: Door,
    connections: &TaskTracker,
) {
    let limits = Arc::new(Limits {
        all: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
        strangers: Arc::new(Semaphore::new(STRANGERS_MAX)),
        per_node: Mutex::default(),
    });
    let router = routes::router(door.clone());
    loop {
        // Semaphores of this module are never closed.
        let Ok(permit) = limits.all.clone().acquire_owned().await else {
            return;
        };
        let (stream, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "Accepting a node's connection failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let acceptor = TlsAcceptor::from(
            tls.read()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .clone(),
        );
        let (limits, router, stop) = (limits.clone(), router.clone(), door.stop.clone());
        connections.spawn(async move {
            if let Err(error) = serve_one(stream, address, acceptor, &limits, router, stop).await {
                tracing::debug!(%address, error, "node connection ended");
            }
            drop(permit);
        });
    }
}

async fn serve_one(
    stream: TcpStream,
    address: SocketAddr,
    acceptor: TlsAcceptor,
    limits: &Limits,
    router: axum::Router,
    stop: CancellationToken,
) -> Result<(), String> {
    prepare(&stream);
    let stream = timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream))
        .await
        .map_err(|_| "no TLS handshake in time".to_owned())?
        .map_err(|error| error.to_string())?;
    let identity = match stream.get_ref().1.peer_certificates() {
        Some([certificate, ..]) => {
            Some(identity_of(certificate).map_err(|error| error.to_string())?)
        }
        _ => None,
    };
    let _permit = limits.admit(identity.as_ref())?;
    let life = match identity {
        Some(_) => Duration::MAX,
        None => STRANGER_LIFE,
    };
    let service =
        TowerToHyperService::new(router.layer(axum::Extension(Peer { identity, address })));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(BUFFER_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let outcome = tokio::select! {
        outcome = connection.as_mut() => outcome,
        () = tokio::time::sleep(life) => return Err("stranger stayed too long".to_owned()),
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            timeout(DRAIN, connection).await.unwrap_or(Ok(()))
        }
    };
    outcome.map_err(|error| error.to_string())
}

impl Limits {
    fn admit(&self, identity: Option<&Identity>) -> Result<OwnedSemaphorePermit, String> {
        let semaphore = match identity {
            None => self.strangers.clone(),
            Some(identity) => {
                let mut per_node = lock(&self.per_node);
                // Only names that this CA has certified come here, so the map is as
                // long as the inventory at most.
                per_node
                    .entry(identity.node.clone())
                    .or_insert_with(|| Arc::new(Semaphore::new(CONNECTIONS_PER_NODE_MAX)))
                    .clone()
            }
        };
        semaphore
            .try_acquire_owned()
            .map_err(|_| "too many connections of this kind".to_owned())
    }
}

/// A peer that vanished must not hold its place for hours.
fn prepare(stream: &TcpStream) {
    let socket = socket2::SockRef::from(stream);
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(Duration::from_secs(15))
        .with_interval(Duration::from_secs(5));
    let result = stream
        .set_nodelay(true)
        .and_then(|()| socket.set_tcp_user_timeout(Some(UNACKED_MAX)))
        .and_then(|()| socket.set_tcp_keepalive(&keepalive));
    if let Err(error) = result {
        tracing::debug!(%error, "could not set options of a node connection");
    }
}
