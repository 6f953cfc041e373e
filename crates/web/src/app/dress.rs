//! The outermost layer: request ids, the access log, panics, errors as pages or problem
//! documents, headers of safety.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use futures::FutureExt as _;
use http::{HeaderMap, HeaderValue, header};

use super::CONTENT_SECURITY_POLICY;
use crate::house::House;
use crate::lang::Lang;
use crate::problem::{Code, PROBLEM_JSON, WebError};
use crate::visit::Visit;

/// Left by [`enter`] for [`dress`], which outlives a panic.
pub(super) type Slot = Arc<OnceLock<Visit>>;

/// The outermost layer: request ids, the access log, panics, errors as pages or
/// problem documents, headers of safety.
pub(super) async fn dress(
    State(house): State<Arc<House>>,
    mut request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let request_id = uuid::Uuid::now_v7().simple().to_string();
    let slot: Slot = Arc::default();
    request.extensions_mut().insert(Arc::clone(&slot));
    request
        .extensions_mut()
        .insert(RequestId(request_id.clone()));
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let api = path.starts_with("/api/");
    let wants_json = request
        .headers()
        .get(header::ACCEPT)
        .is_some_and(|accept| accept.as_bytes() == b"application/json");
    let lang = request
        .headers()
        .get(header::ACCEPT_LANGUAGE)
        .and_then(|value| value.to_str().ok())
        .and_then(Lang::negotiate)
        .unwrap_or_default();
    let mut response = match AssertUnwindSafe(next.run(request)).catch_unwind().await {
        Ok(response) => response,
        Err(panic) => {
            let text = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied())
                .unwrap_or("without a message");
            WebError::internal(format!("panic: {text}")).into_response()
        }
    };
    let status = response.status();
    let failed = response.extensions_mut().remove::<Arc<WebError>>();
    // A form shown again with its errors is an answer, not a failure.
    let shown = failed.is_none()
        && response
            .headers()
            .get(header::CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"));
    if !shown && (status.is_client_error() || status.is_server_error()) {
        let error = match failed {
            Some(error) => error,
            None => Arc::new(foreign(&response)),
        };
        if status.is_server_error() {
            tracing::error!(%request_id, %method, path, %error, "request failed");
        }
        let kept = std::mem::take(response.headers_mut());
        response = if api || wants_json {
            problem(&error, &request_id)
        } else {
            crate::pages::error(&house, slot.get(), lang, &error, &request_id).await
        };
        for name in [
            header::ALLOW,
            header::SET_COOKIE,
            header::RETRY_AFTER,
            header::WWW_AUTHENTICATE,
        ] {
            for value in kept.get_all(&name) {
                response.headers_mut().append(name.clone(), value.clone());
            }
        }
    }
    let headers = response.headers_mut();
    safety(headers, house.config.secure());
    if let Ok(value) = HeaderValue::from_str(&request_id) {
        headers.insert("x-request-id", value);
    }
    let user = slot
        .get()
        .and_then(|visit| visit.principal.user())
        .map(|user| user.to_string());
    let status = response.status().as_u16();
    let milliseconds = started.elapsed().as_millis() as u64;
    tracing::info!(target: "web::access", %request_id, %method, path, status, user, milliseconds, "request");
    response
}

/// A request's name in logs.
#[derive(Clone)]
pub(super) struct RequestId(pub(super) String);

/// An error that a library made.
fn foreign(response: &Response) -> WebError {
    let status = response.status();
    let code = Code::of_status(status);
    let mut error = WebError::new(
        code,
        status.canonical_reason().unwrap_or("error").to_lowercase(),
    );
    error.allow = response
        .headers()
        .get(header::ALLOW)
        .and_then(|value| value.to_str().ok())
        .map(str::to_owned);
    error
}

fn problem(error: &WebError, request_id: &str) -> Response {
    let body = serde_json::to_vec(&error.problem(Some(request_id.to_owned()))).unwrap_or_default();
    let kind = [(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON))];
    (error.code.status(), kind, body).into_response()
}

fn safety(headers: &mut HeaderMap, secure: bool) {
    let mut set = |name: &'static str, value: &'static str| {
        headers
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    };
    set("content-security-policy", CONTENT_SECURITY_POLICY);
    set("x-content-type-options", "nosniff");
    set("referrer-policy", "same-origin");
    set("x-frame-options", "DENY");
    set("cross-origin-opener-policy", "same-origin");
    set("cross-origin-resource-policy", "same-origin");
    set(
        "permissions-policy",
        "camera=(), geolocation=(), microphone=(), payment=()",
    );
    set("cache-control", "no-store");
    if secure {
        set("strict-transport-security", "max-age=31536000");
    }
}
