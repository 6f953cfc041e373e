//! The administrative HTTP interface of a node: `/metrics`, `/healthz` (the
//! process answers), `/readyz` (it can take work; JSON says what it waits for)
//! and `/tasks` (what runs here).

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::metrics::{self, Metrics};
use crate::ready::Readiness;
use crate::tasks::Supervisor;

/// What the interface shows.
#[derive(Debug, Clone)]
pub struct Admin {
    /// `/metrics`.
    pub metrics: Metrics,
    /// `/readyz`.
    pub readiness: Readiness,
    /// `/tasks`.
    pub supervisor: Supervisor,
}

/// The routes, to serve alone or to merge into another router.
pub fn router(admin: Admin) -> Router {
    Router::new()
        .route("/metrics", get(metrics_text))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readiness))
        .route("/tasks", get(tasks))
        .with_state(admin)
}

/// Serves the routes on `listener` until `stop`.
///
/// # Errors
/// When the listener cannot be adopted or fails for good.
pub async fn serve(
    listener: std::net::TcpListener,
    admin: Admin,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    axum::serve(listener, router(admin))
        .with_graceful_shutdown(async move { stop.cancelled().await })
        .await
}

async fn metrics_text(State(admin): State<Admin>) -> Response {
    (
        [(header::CONTENT_TYPE, metrics::CONTENT_TYPE)],
        admin.metrics.encode(),
    )
        .into_response()
}

async fn readiness(State(admin): State<Admin>) -> Response {
    let ready = admin.readiness.is_ready();
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let body = serde_json::json!({ "ready": ready, "conditions": admin.readiness.states() });
    (status, Json(body)).into_response()
}

async fn tasks(State(admin): State<Admin>) -> Response {
    Json(admin.supervisor.list()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    use tower::ServiceExt as _;

    async fn ask(router: &Router, path: &str) -> (StatusCode, String) {
        let request = Request::get(path).body(Body::empty()).expect("a request");
        let response = router.clone().oneshot(request).await.expect("infallible");
        let status = response.status();
        let body = to_bytes(response.into_body(), 1 << 20)
            .await
            .expect("a body");
        (status, String::from_utf8(body.to_vec()).expect("text"))
    }

    #[tokio::test]
    async fn readiness_says_what_it_waits_for() {
        let admin = Admin {
            metrics: Metrics::with_process(),
            readiness: Readiness::new(),
            supervisor: Supervisor::new(),
        };
        let flag = admin.readiness.flag("snapshot");
        flag.not_ready("no snapshot yet");
        let router = router(admin);
        let (status, body) = ask(&router, "/readyz").await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(body.contains("no snapshot yet"), "{body}");
        flag.ready();
        assert_eq!(ask(&router, "/readyz").await.0, StatusCode::OK);
        assert_eq!(ask(&router, "/healthz").await.0, StatusCode::OK);
        let (_, metrics) = ask(&router, "/metrics").await;
        assert!(metrics.contains("process_cpu_seconds_total"), "{metrics}");
        assert_eq!(
            ask(&router, "/tasks").await,
            (StatusCode::OK, "[]".to_owned())
        );
    }
}
