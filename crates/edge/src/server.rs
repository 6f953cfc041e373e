//! Threads and sockets: one current-thread runtime per core, each with listening
//! sockets of its own (`SO_REUSEPORT`), so that no connection ever changes threads.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;

use base::quick::Preload;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::LocalSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::origin::{client, health};
use crate::plain::Plain;
use crate::preload;
use crate::worker::{self, Shared, Worker};
use crate::{h1, h2};

/// Pause after accepting failed: out of file descriptors, mostly.
const ACCEPT_PAUSE: std::time::Duration = std::time::Duration::from_millis(50);
/// Connections that wait to be accepted.
const BACKLOG: i32 = 8_192;

/// A listening socket and what is spoken on it.
pub(crate) struct Door {
    pub(crate) listener: TcpListener,
    pub(crate) tls: bool,
}

/// A preload on its way to the thread that carries it out.
pub(crate) struct PreloadJob {
    pub(crate) preload: Preload,
    pub(crate) progress: Box<dyn Fn(preload::Progress) + Send>,
}

/// What one thread is given.
pub(crate) struct Post {
    pub(crate) number: usize,
    pub(crate) shared: Arc<Shared>,
    pub(crate) doors: Vec<Door>,
    pub(crate) acceptor: TlsAcceptor,
    pub(crate) origin_tls: Arc<rustls::ClientConfig>,
    pub(crate) origin_deny: Vec<base::Prefix>,
    pub(crate) preloads: Option<mpsc::Receiver<PreloadJob>>,
    pub(crate) stop: CancellationToken,
}

/// Opens the sockets of one thread; those in `inherited` are taken as they are. A
/// duplicate of each goes into `kept`.
///
/// # Errors
/// An address that cannot be listened on.
pub(crate) fn open(
    addresses: &[SocketAddr],
    tls: bool,
    inherited: &mut Vec<TcpListener>,
    kept: &mut Vec<OwnedFd>,
) -> Result<Vec<Door>, runtime::listen::ListenError> {
    let options = runtime::listen::Options {
        backlog: BACKLOG,
        ..runtime::listen::Options::shared()
    };
    addresses
        .iter()
        .map(|address| {
            let there = inherited
                .iter()
                .position(|socket| socket.local_addr().is_ok_and(|local| local == *address));
            let listener = match there {
                Some(at) => inherited.swap_remove(at),
                None => runtime::listen::tcp(*address, &options)?,
            };
            door(listener, tls, kept)
        })
        .collect()
}

/// Inherited sockets beyond one for each thread: connections may wait in them, so the
/// threads share them.
///
/// # Errors
/// When the system has no descriptors left.
pub(crate) fn adopt(
    addresses: &[SocketAddr],
    tls: bool,
    inherited: &mut Vec<TcpListener>,
    kept: &mut Vec<OwnedFd>,
) -> Result<Vec<Door>, runtime::listen::ListenError> {
    let ours = |socket: &mut TcpListener| {
        socket
            .local_addr()
            .is_ok_and(|local| addresses.contains(&local))
    };
    let extra: Vec<TcpListener> = inherited.extract_if(.., ours).collect();
    extra
        .into_iter()
        .map(|listener| door(listener, tls, kept))
        .collect()
}

fn door(
    listener: TcpListener,
    tls: bool,
    kept: &mut Vec<OwnedFd>,
) -> Result<Door, runtime::listen::ListenError> {
    let duplicate = listener.as_fd().try_clone_to_owned();
    kept.push(duplicate.map_err(|source| {
        runtime::listen::ListenError {
            protocol: "TCP",
            address: listener
                .local_addr()
                .unwrap_or(SocketAddr::from(([0, 0, 0, 0], 0))),
            source,
        }
    })?);
    Ok(Door { listener, tls })
}

/// Starts a serving thread.
///
/// # Errors
/// When the system gives no thread or runtime.
pub(crate) fn start(post: Post) -> std::io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    std::thread::Builder::new()
        .name(format!("edge-{}", post.number))
        .spawn(move || {
            LocalSet::new().block_on(&runtime, run(post));
            // A lookup of an origin's name may still hold a blocking thread.
            runtime.shutdown_background();
        })
}

async fn run(post: Post) {
    let limits = post.shared.limits.clone();
    let origins = client::Connections::new(post.origin_tls, post.origin_deny, &limits);
    let seed = 0x5eed ^ post.number as u64;
    let worker = Worker::new(Arc::clone(&post.shared), origins, seed);
    let ticks = tokio::task::spawn_local(Rc::clone(&worker).tick_forever(post.number == 0));
    let probes = (post.number == 0)
        .then(|| tokio::task::spawn_local(health::probe_forever(Rc::clone(&worker))));
    let preloads = post
        .preloads
        .map(|jobs| tokio::task::spawn_local(preload::run(Rc::clone(&worker), jobs)));
    let accepting: Vec<_> = post
        .doors
        .into_iter()
        .map(|door| {
            tokio::task::spawn_local(accept(Rc::clone(&worker), door, post.acceptor.clone()))
        })
        .collect();
    post.stop.cancelled().await;
    for task in accepting.into_iter().chain(probes).chain(preloads) {
        task.abort();
    }
    worker::drain(&worker).await;
    ticks.abort();
    worker.flush();
}

async fn accept(worker: Rc<Worker>, door: Door, acceptor: TlsAcceptor) {
    let listener = match tokio::net::TcpListener::from_std(door.listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "A listening socket cannot be used");
            return;
        }
    };
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "Could not accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let client = peer.ip().to_canonical();
        if worker.drops(client) {
            continue;
        }
        let Some(admitted) = worker.shared.connections.admit(client) else {
            // Too many: closing is the cheapest answer, and the only one that a flood gets.
            continue;
        };
        if stream.set_nodelay(true).is_err() {
            continue;
        }
        worker.enter();
        let worker = Rc::clone(&worker);
        let acceptor = door.tls.then(|| acceptor.clone());
        tokio::task::spawn_local(async move {
            match acceptor {
                None => {
                    h1::conn::serve(Rc::clone(&worker), Plain(Rc::new(stream)), client, false)
                        .await;
                }
                Some(acceptor) => secure(Rc::clone(&worker), stream, acceptor, client).await,
            }
            worker.leave();
            drop(admitted);
        });
    }
}

/// The handshake, and then the protocol that it chose.
async fn secure(
    worker: Rc<Worker>,
    stream: TcpStream,
    acceptor: TlsAcceptor,
    client: std::net::IpAddr,
) {
    let limit = worker.shared.limits.handshake_timeout;
    match tokio::time::timeout(limit, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => {
            if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
                h2::serve(worker, stream, client).await;
            } else {
                h1::conn::serve(worker, stream, client, true).await;
            }
        }
        Ok(Err(error)) => tracing::debug!(%client, %error, "A TLS handshake failed"),
        Err(_) => tracing::debug!(%client, "A TLS handshake took too long"),
    }
}
