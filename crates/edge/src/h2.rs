//! HTTP/2 (RFC 9113) by hyper, on the same core as HTTP/1.1.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use base::Timestamp;
use base::event::{AccessEvent, Protocol};
use bytes::Bytes;
use futures::stream;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body::Frame;
use http_body_util::StreamBody;
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::event::{self, Seen};
use crate::h1::head::{is_authority, is_path_and_query};
use crate::origin::body::Upload;
use crate::proxy::{self, Body, BodyFault, Request, Response, host_name, local};
use crate::sites::Site;
use crate::worker::Worker;

/// Streams that a client may reset before it is called an attacker (CVE-2023-44487).
const RESETS_MAX: usize = 100;
/// How often a silent connection is asked whether it lives.
const PING_PERIOD: std::time::Duration = std::time::Duration::from_secs(20);

/// Runs hyper's parts on the worker's own thread.
#[derive(Debug, Clone, Copy)]
struct Here;

impl<F> Executor<F> for Here
where
    F: Future + 'static,
{
    fn execute(&self, future: F) {
        tokio::task::spawn_local(async move {
            future.await;
        });
    }
}

/// Serves a connection until it ends.
pub(crate) async fn serve(worker: Rc<Worker>, stream: TlsStream<TcpStream>, client: IpAddr) {
    let limits = &worker.shared.limits;
    let mut builder = hyper::server::conn::http2::Builder::new(Here);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams_max)
        .max_header_list_size(u32::try_from(limits.head_bytes_max).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(RESETS_MAX)
        .max_local_error_reset_streams(RESETS_MAX)
        .keep_alive_interval(PING_PERIOD)
        .keep_alive_timeout(limits.write_timeout);
    let service = service_fn(|request| {
        let worker = Rc::clone(&worker);
        async move { Ok::<_, std::convert::Infallible>(answer(worker, request, client).await) }
    });
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let mut look = tokio::time::interval(std::time::Duration::from_millis(250));
    let mut told = false;
    loop {
        tokio::select! {
            ended = &mut connection => {
                if let Err(error) = ended {
                    tracing::debug!(%client, %error, "An HTTP/2 connection ended");
                }
                return;
            }
            _ = look.tick() => {
                if !told && worker.is_draining() {
                    connection.as_mut().graceful_shutdown();
                    told = true;
                }
            }
        }
    }
}

type Sent =
    StreamBody<std::pin::Pin<Box<dyn futures::Stream<Item = Result<Frame<Bytes>, BodyFault>>>>>;

async fn answer(
    worker: Rc<Worker>,
    request: http::Request<Incoming>,
    client: IpAddr,
) -> http::Response<Sent> {
    let began = worker.now();
    let (mut parts, incoming) = request.into_parts();
    join_cookies(&mut parts.headers);
    let target = parts
        .uri
        .path_and_query()
        .map_or("/", |target| target.as_str())
        .to_owned();
    let host = authority(&parts.uri, &parts.headers);
    let seen = Seen {
        client,
        method: parts.method.as_str(),
        host: host_name(host.as_deref().unwrap_or_default()),
        target: &target,
        protocol: Protocol::Http2,
        tls: true,
        bytes_received: parts
            .headers
            .iter()
            .map(|(name, value)| name.as_str().len() + value.len() + 4)
            .sum::<usize>() as u64,
    };
    let event = event::begin(seen, None);
    let head_only = parts.method == http::Method::HEAD;
    let sound =
        is_path_and_query(&target) || (target == "*" && parts.method == http::Method::OPTIONS);
    let (response, site) = match host {
        Some(host) if sound => {
            let request = Request {
                method: parts.method,
                https: true,
                host,
                target,
                headers: parts.headers,
                client,
                protocol: Protocol::Http2,
                ours: false,
                body: Upload::stream(incoming),
            };
            proxy::respond(&worker, request).await
        }
        _ => (
            local::error(&worker, StatusCode::BAD_REQUEST, "malformed"),
            None,
        ),
    };
    send(worker, response, site, event, began, head_only)
}

/// Puts the crumbs of `Cookie` together: beyond HTTP/2 it is one field (RFC 9113 section
/// 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(header::COOKIE).iter().nth(1).is_none() {
        return;
    }
    let crumbs: Vec<&[u8]> = headers
        .get_all(header::COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    if let Ok(whole) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
        headers.insert(header::COOKIE, whole);
    }
}

/// `:authority`, or `Host` when there is none; both must agree (RFC 9113 section 8.3.1).
fn authority(uri: &http::Uri, headers: &HeaderMap) -> Option<String> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = hosts.next().map(|value| value.to_str().unwrap_or_default());
    if hosts.next().is_some() {
        return None;
    }
    let authority = match (uri.authority(), host) {
        (Some(authority), Some(host)) if !authority.as_str().eq_ignore_ascii_case(host) => {
            return None;
        }
        (Some(authority), _) => authority.as_str(),
        (None, Some(host)) => host,
        (None, None) => return None,
    };
    is_authority(authority).then(|| authority.to_owned())
}

/// Records the request when its body has gone, or has been given up.
struct Record {
    worker: Rc<Worker>,
    site: Option<Arc<Site>>,
    event: Option<AccessEvent>,
    began: Timestamp,
}

impl Drop for Record {
    fn drop(&mut self) {
        if let Some(mut event) = self.event.take() {
            let now = self.worker.now();
            event.at = now;
            event.duration_us =
                u32::try_from(now.since(self.began).as_micros()).unwrap_or(u32::MAX);
            self.worker
                .record(event, self.site.as_ref().map(|site| &site.counters));
        }
    }
}

fn send(
    worker: Rc<Worker>,
    response: Response,
    site: Option<Arc<Site>>,
    mut event: AccessEvent,
    began: Timestamp,
    head_only: bool,
) -> http::Response<Sent> {
    let Response {
        status,
        mut headers,
        body,
        cache,
        origin_us,
    } = response;
    event.status = status.as_u16();
    event.cache = cache;
    event.origin_us = origin_us;
    event.bytes_sent = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 4)
        .sum::<usize>() as u64;
    let bodiless =
        head_only || status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED;
    if !bodiless {
        headers.remove(header::CONTENT_LENGTH);
        if let Some(length) = body.length() {
            headers.insert(header::CONTENT_LENGTH, http::HeaderValue::from(length));
        }
    }
    let body = if bodiless { Body::Empty } else { body };
    let record = Record {
        worker,
        site,
        event: Some(event),
        began,
    };
    let pieces = stream::unfold((body, record), |(mut body, mut record)| async move {
        let piece = body.next().await?;
        if let (Ok(piece), Some(event)) = (&piece, &mut record.event) {
            event.bytes_sent += piece.len() as u64;
        }
        Some((piece.map(Frame::data), (body, record)))
    });
    let mut sent = http::Response::new(StreamBody::new(
        Box::pin(pieces) as std::pin::Pin<Box<dyn futures::Stream<Item = _>>>
    ));
    *sent.status_mut() = status;
    *sent.headers_mut() = headers;
    sent
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crumbs_of_a_cookie_become_one_field() {
        let mut headers = HeaderMap::new();
        join_cookies(&mut headers);
        assert!(headers.is_empty());
        for crumb in ["a=1", "b=2", "c=3"] {
            headers.append(header::COOKIE, HeaderValue::from_static(crumb));
        }
        join_cookies(&mut headers);
        let all: Vec<_> = headers.get_all(header::COOKIE).iter().collect();
        assert_eq!(all, ["a=1; b=2; c=3"]);
    }
}
