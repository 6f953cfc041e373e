//! Serving: an accept loop with limits on time and number, and a graceful end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{ConnectInfo, MatchedPath, Request};
use axum::middleware::Next;
use axum::response::Response;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use runtime::CancellationToken;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;
use tracing::Instrument as _;

use crate::app::Web;

/// Connections at once; more wait to be accepted.
const CONNECTIONS_MAX: usize = 4_096;
/// Time for a request's head to arrive.
const HEAD_TIME_MAX: Duration = Duration::from_secs(15);
/// Time for open requests to end when the service stops.
const STOP_TIME_MAX: Duration = Duration::from_secs(10);
/// Bytes of a request's head.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// One span for each request, when spans are sent anywhere; it names the route, not the
/// path, which may hold what is nobody's business.
pub(crate) async fn traced(request: Request, next: Next) -> Response {
    if !runtime::telemetry::exports() {
        return next.run(request).await;
    }
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or("", MatchedPath::as_str);
    let span = tracing::info_span!(
        "web request",
        otel.kind = "server",
        http.request.method = %request.method(),
        http.route = route,
        http.response.status_code = tracing::field::Empty,
    );
    runtime::telemetry::join(&span, request.headers());
    let response = next.run(request).instrument(span.clone()).await;
    span.record("http.response.status_code", response.status().as_u16());
    response
}

impl Web {
    /// Serves on `listener` until `stop`; requests under way are then finished, live
    /// streams ended.
    ///
    /// # Errors
    /// When the listener is not usable by the runtime.
    pub async fn serve(
        &self,
        listener: std::net::TcpListener,
        stop: CancellationToken,
    ) -> std::io::Result<()> {
        serve_router(self.router(), listener, stop).await
    }
}

/// Serves `router`, whose requests carry the peer's address, on `listener` until
/// `stop`; requests under way are then finished.
///
/// # Errors
/// When the listener is not usable by the runtime.
pub async fn serve_router(
    router: axum::Router,
    listener: std::net::TcpListener,
    stop: CancellationToken,
) -> std::io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let open = TaskTracker::new();
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
            break;
        };
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, or a connection gone already.
                tracing::warn!(%error, "could not accept a connection");
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            }
        };
        let (router, stop) = (router.clone(), stop.clone());
        open.spawn(async move {
            let _held = slot;
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "could not set TCP_NODELAY");
            }
            connection(router, stream, peer, stop).await;
        });
    }
    drop(listener);
    open.close();
    if tokio::time::timeout(STOP_TIME_MAX, open.wait())
        .await
        .is_err()
    {
        tracing::warn!("connections were cut because they did not end in time");
    }
    Ok(())
}

async fn connection(
    router: axum::Router,
    stream: tokio::net::TcpStream,
    peer: SocketAddr,
    stop: CancellationToken,
) {
    let service = router.map_request(move |mut request: http::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        request.map(axum::body::Body::new)
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME_MAX)
        .max_buf_size(HEAD_BYTES_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Some(Duration::from_secs(30)));
    let connection =
        builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            match tokio::time::timeout(STOP_TIME_MAX, connection.as_mut()).await {
                Ok(ended) => ended,
                Err(_) => return,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, %peer, "connection ended early");
    }
}
