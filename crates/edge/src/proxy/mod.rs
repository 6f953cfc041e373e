//! What is done with a request, whatever protocol brought it.
//!
//! [`serve()`] turns a [`Request`] into a [`Response`]: it asks the rules of crate
//! `cache` what may be done with what the store holds, and the origin for the rest.
//! A connection of either protocol then writes the response as it can.

pub(crate) mod answer;
pub(crate) mod fetch;
pub(crate) mod headers;
pub(crate) mod local;
mod parts;
mod serve;

use std::fs::File;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use base::enforcement::Action;
use base::event::{CacheResult, Protocol};
use bytes::Bytes;
use cache::store::{BodyReader, FileBody, ReadError};
use http::{HeaderMap, StatusCode};
use tracing::Instrument as _;

use self::parts::Parts;
use crate::origin::body::{Download, DownloadFault, Upload};
use crate::sites::Site;
use crate::worker::Worker;

pub use local::HEALTH_PATH;
pub(crate) use serve::{is_fresh, serve};

/// A request as every protocol gives it.
#[derive(Debug)]
pub(crate) struct Request {
    /// The method token, case-sensitive.
    pub(crate) method: http::Method,
    /// Whether it came over TLS.
    pub(crate) https: bool,
    /// The authority asked for, as sent: `host[:port]`; may be empty for HTTP/1.0.
    pub(crate) host: String,
    /// `/path?query`, or `*`.
    pub(crate) target: String,
    /// The fields as sent.
    pub(crate) headers: HeaderMap,
    /// Who asks.
    pub(crate) client: IpAddr,
    /// What it came over.
    pub(crate) protocol: Protocol,
    /// Made by the edge itself, as a preload: it does not count as a client's.
    pub(crate) ours: bool,
    /// The request's body.
    pub(crate) body: Upload,
}

impl Request {
    /// The host without its port.
    pub(crate) fn host_name(&self) -> &str {
        host_name(&self.host)
    }
}

/// Answers a request, whichever site it is for; says which one that was.
pub(crate) async fn respond(
    worker: &Rc<Worker>,
    mut request: Request,
) -> (Response, Option<Arc<Site>>) {
    if !runtime::telemetry::exports() {
        return respond_untraced(worker, request).await;
    }
    let span = tracing::info_span!(
        "edge request",
        otel.kind = "server",
        http.request.method = %request.method,
        server.address = request.host_name(),
        url.path = request.target.split('?').next().unwrap_or_default(),
        http.response.status_code = tracing::field::Empty,
        civicnet.cache = tracing::field::Empty,
    );
    // The origin sees this span as its parent, whoever began the trace.
    runtime::telemetry::carry(&span, &mut request.headers);
    let answered = respond_untraced(worker, request)
        .instrument(span.clone())
        .await;
    span.record("http.response.status_code", answered.0.status.as_u16());
    span.record("civicnet.cache", tracing::field::debug(answered.0.cache));
    answered
}

async fn respond_untraced(worker: &Rc<Worker>, request: Request) -> (Response, Option<Arc<Site>>) {
    if request.target == local::HEALTH_PATH && request.method == http::Method::GET {
        return (local::health(worker), None);
    }
    if !request.ours
        && let Some(found) = worker.met(request.client, &request.host, &request.target)
    {
        let path = request.target.split('?').next().unwrap_or_default();
        let subject = format!("{}{path}", request.host_name());
        worker
            .shared
            .blocklist
            .hit(&found, request.client, &subject);
        if found.action != Action::Observe {
            let site = worker.with_site(request.host_name(), Arc::clone);
            return (local::enforced(worker, &found), site);
        }
    }
    let Some(site) = worker.with_site(request.host_name(), Arc::clone) else {
        return (
            local::error(worker, StatusCode::MISDIRECTED_REQUEST, "unknown-host"),
            None,
        );
    };
    (serve(worker, &site, request).await, Some(site))
}

/// The host of an authority, without its port.
pub(crate) fn host_name(authority: &str) -> &str {
    match authority.rfind(':') {
        Some(at) if !authority.ends_with(']') => &authority[..at],
        _ => authority,
    }
}

/// What is sent back.
#[derive(Debug)]
pub(crate) struct Response {
    /// The status.
    pub(crate) status: StatusCode,
    /// The fields, without what frames the message.
    pub(crate) headers: HeaderMap,
    /// The body.
    pub(crate) body: Body,
    /// For the access event.
    pub(crate) cache: CacheResult,
    /// Microseconds that the origin took to its first byte; 0: not asked.
    pub(crate) origin_us: u32,
}

/// A response body, wherever it is.
#[derive(Debug)]
pub(crate) enum Body {
    /// None.
    Empty,
    /// In memory.
    Bytes(Bytes),
    /// In a file that the kernel can send from.
    File {
        /// The file.
        file: Arc<File>,
        /// Where it begins.
        offset: u64,
        /// Its bytes.
        length: u64,
        /// Keeps the bytes in their place.
        _hold: FileBody,
    },
    /// From the store, as it arrives there.
    Stored {
        /// Where it is read.
        reader: BodyReader,
        /// Its bytes, when known.
        length: Option<u64>,
    },
    /// Several ranges of something stored.
    Parts(Box<Parts>),
    /// From the origin, past the store.
    Origin(Download),
}

/// Why a body ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyFault {
    #[error(transparent)]
    Store(#[from] ReadError),
    #[error(transparent)]
    Origin(#[from] DownloadFault),
    #[error("could not read a cached body")]
    File(#[source] std::io::Error),
}

/// Bytes read at once from a file for a connection that the kernel cannot send to.
const FILE_PIECE: u64 = 128 << 10;

impl Body {
    /// Its bytes, when known.
    pub(crate) fn length(&self) -> Option<u64> {
        match self {
            Self::Empty => Some(0),
            Self::Bytes(bytes) => Some(bytes.len() as u64),
            Self::File { length, .. } => Some(*length),
            Self::Stored { length, .. } => *length,
            Self::Parts(parts) => Some(parts.length()),
            Self::Origin(download) => download.length,
        }
    }

    /// The next piece; `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<Result<Bytes, BodyFault>> {
        match self {
            Self::Empty => None,
            Self::Bytes(bytes) => {
                let bytes = std::mem::take(bytes);
                (!bytes.is_empty()).then_some(Ok(bytes))
            }
            Self::File {
                file,
                offset,
                length,
                ..
            } => {
                if *length == 0 {
                    return None;
                }
                let size = (*length).min(FILE_PIECE);
                let piece = crate::h1::write::read_at(file, *offset, size as usize).await;
                *offset += size;
                *length -= size;
                Some(piece.map_err(BodyFault::File))
            }
            Self::Stored { reader, .. } => reader
                .next()
                .await
                .map(|piece| piece.map_err(BodyFault::from)),
            Self::Parts(parts) => parts.next().await,
            Self::Origin(download) => download
                .next()
                .await
                .map(|piece| piece.map_err(BodyFault::from)),
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_port_is_taken_off_and_an_address_is_left_whole() {
        for (authority, name) in [
            ("a.tw", "a.tw"),
            ("a.tw:80", "a.tw"),
            ("[2001:db8::1]", "[2001:db8::1]"),
            ("[::1]:8080", "[::1]"),
            ("", ""),
        ] {
            assert_eq!(super::host_name(authority), name);
        }
    }
}
