//! Responses that the edge makes itself.

use base::event::CacheResult;
use bytes::Bytes;
use enforce::Found;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::{Body, Response};
use crate::page;
use crate::worker::Worker;

/// The address at which observers ask how an edge is, on every host.
pub const HEALTH_PATH: &str = "/.well-known/civicnet/health";

/// `Cache-Status` (RFC 9211).
pub(crate) const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// A page for a status, in both languages, that nobody keeps.
pub(crate) fn error(worker: &Worker, status: StatusCode, detail: &str) -> Response {
    let mut headers = HeaderMap::new();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/html; charset=utf-8"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'"),
    );
    let told = format!("{}; detail={detail}", worker.shared.cache_name);
    if let Ok(value) = HeaderValue::from_str(&told) {
        headers.insert(CACHE_STATUS, value);
    }
    if status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(
            header::ALLOW,
            HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),
        );
    }
    let page = page::page(status, &worker.shared.node);
    Response {
        status,
        headers,
        body: Body::Bytes(page),
        cache: CacheResult::Local,
        origin_us: 0,
    }
}

/// What a refused user is told: that it is so on purpose, and the reference to ask about.
pub(crate) fn enforced(worker: &Worker, found: &Found) -> Response {
    let mut response = error(worker, StatusCode::FORBIDDEN, "enforced");
    let page = page::refused(&found.id.to_string(), &worker.shared.node);
    response.body = Body::Bytes(page);
    response
}

/// A redirect to the same address over HTTPS.
pub(crate) fn to_https(host: &str, target: &str) -> Response {
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_str(&format!("https://{host}{target}")) {
        headers.insert(header::LOCATION, value);
    }
    Response {
        status: StatusCode::PERMANENT_REDIRECT,
        headers,
        body: Body::Empty,
        cache: CacheResult::Local,
        origin_us: 0,
    }
}

/// How the edge is, for observers.
pub(crate) fn health(worker: &Worker) -> Response {
    let mut headers = HeaderMap::new();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let status = if worker.is_draining() {
        "draining"
    } else {
        "ok"
    };
    let text = format!(
        "{{\"status\":\"{status}\",\"load\":{:.4}}}",
        worker.shared.load()
    );
    Response {
        status: StatusCode::OK,
        headers,
        body: Body::Bytes(Bytes::from(text)),
        cache: CacheResult::Local,
        origin_us: 0,
    }
}

/// The answer to `OPTIONS *` (RFC 9110 section 9.3.7).
pub(crate) fn options() -> Response {
    let mut headers = HeaderMap::new();
    headers.insert(
        header::ALLOW,
        HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),
    );
    Response {
        status: StatusCode::NO_CONTENT,
        headers,
        body: Body::Empty,
        cache: CacheResult::Local,
        origin_us: 0,
    }
}
