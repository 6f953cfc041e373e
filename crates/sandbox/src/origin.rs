//! The agencies' own web servers: what the CDN stands in front of.
//!
//! An origin chooses the site by `Host`. It says how long things may be kept the way
//! real sites do: long for static files, a minute for pages, nothing for `/api/`.

use std::path::PathBuf;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use tower_http::services::ServeDir;

/// One site of an origin: the hosts it answers to and its files.
#[derive(Debug, Clone)]
pub struct Vhost {
    /// Host name, without a port.
    pub host: String,
    /// Directory of its content.
    pub dir: PathBuf,
}

/// Serves `sites` on `listener` until `shutdown`. The first site also answers to
/// host names that nobody has.
///
/// # Errors
/// When accepting connections fails for good.
pub async fn serve(
    listener: TcpListener,
    sites: Vec<Vhost>,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    let app = Router::new()
        .route("/api/time", get(time))
        .route("/slow/{kib}", get(slow))
        .fallback(files)
        .with_state(sites.into())
        .layer(middleware::from_fn(freshness));
    axum::serve(listener, app)
        .with_graceful_shutdown(shutdown.cancelled_owned())
        .await
}

async fn files(State(sites): State<std::sync::Arc<[Vhost]>>, request: Request) -> Response {
    let host = request
        .headers()
        .get(header::HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or_default();
    let host = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let Some(site) = sites
        .iter()
        .find(|site| site.host == host)
        .or(sites.first())
    else {
        return StatusCode::NOT_FOUND.into_response();
    };
    match ServeDir::new(&site.dir).oneshot(request).await {
        Ok(response) => response.into_response(),
        Err(never) => match never {},
    }
}

/// Dynamic content: never kept.
async fn time() -> impl IntoResponse {
    let now = base::Clock::now(&base::SystemClock);
    (
        [(header::CACHE_CONTROL, "no-store")],
        axum::Json(serde_json::json!({ "now": now.to_string() })),
    )
}

/// A body of so many KiB, at most 4 MiB, sent in twenty parts over one second.
async fn slow(axum::extract::Path(kib): axum::extract::Path<usize>) -> Response {
    let part = Bytes::from(vec![b'x'; kib.clamp(1, 4 << 10) * 1024 / 20]);
    let parts = futures::stream::unfold(0u8, move |n| {
        let part = part.clone();
        async move {
            if n == 20 {
                return None;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
            Some((Ok::<_, std::convert::Infallible>(part), n + 1))
        }
    });
    (
        [(header::CACHE_CONTROL, "max-age=60")],
        axum::body::Body::from_stream(parts),
    )
        .into_response()
}

async fn freshness(request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let mut response = next.run(request).await;
    let (keep, tag) = match path.split('/').nth(1).unwrap_or_default() {
        "static" => (
            "public, max-age=86400, stale-while-revalidate=600",
            "static",
        ),
        "media" | "books" => ("public, max-age=3600, stale-if-error=86400", "media"),
        "data" => ("public, max-age=300, stale-if-error=3600", "data"),
        "news" => (
            "public, max-age=60, stale-while-revalidate=30, stale-if-error=3600",
            "news",
        ),
        ".well-known" => ("no-store", "proof"),
        _ => ("public, max-age=60, stale-if-error=3600", "page"),
    };
    let headers = response.headers_mut();
    if response_may_be_kept(headers) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(keep));
    }
    headers.insert("cache-tag", HeaderValue::from_static(tag));
    response
}

fn response_may_be_kept(headers: &axum::http::HeaderMap) -> bool {
    !headers.contains_key(header::CACHE_CONTROL)
}
