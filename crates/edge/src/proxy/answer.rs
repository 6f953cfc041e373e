//! Answering from a stored object: age, status, conditions and ranges.

use std::hash::BuildHasher as _;

use base::Timestamp;
use base::event::CacheResult;
use cache::rules::range::{self, ByteRange, RangeAnswer};
use cache::rules::{CacheStatus, RequestView, conditional};
use cache::store::{Body as Stored, Object};
use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::local::CACHE_STATUS;
use super::parts::{self, Parts};
use super::{Body, Response};
use crate::sites::Site;
use crate::worker::Worker;

/// How an object came to answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct How<'a> {
    pub(crate) status: CacheStatus<'a>,
    pub(crate) cache: CacheResult,
    pub(crate) origin_us: u32,
    /// The answer to the very request that brought the object: as it came.
    pub(crate) verbatim: bool,
}

/// Whether a stored object holds what is asked for: a part may not.
pub(crate) fn holds(view: &RequestView<'_>, object: &Object, now: Timestamp) -> bool {
    match object.meta().content_range {
        None => true,
        Some(part) => {
            object.is_complete() && range::from_part(view, object.meta(), part, now).is_some()
        }
    }
}

/// The response that an object gives to a request that it may answer.
pub(crate) fn from_object(
    worker: &Worker,
    site: &Site,
    view: &RequestView<'_>,
    object: &Object,
    now: Timestamp,
    how: How<'_>,
) -> Response {
    let meta = object.meta();
    let mut headers = meta.header_map();
    let age = meta.age_s(now);
    if how.status.hit || age > 0 {
        headers.insert(header::AGE, HeaderValue::from(age));
    }
    finish(worker, site, &mut headers, how.status);
    let respond = |status, headers, body| Response {
        status,
        headers,
        body,
        cache: how.cache,
        origin_us: how.origin_us,
    };

    let head_only = view.method == cache::rules::RequestMethod::Head;
    if how.verbatim {
        let status = StatusCode::from_u16(meta.status).unwrap_or(StatusCode::OK);
        if let Some(length) = object.len().filter(|_| head_only) {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        return respond(
            status,
            headers,
            if head_only {
                Body::Empty
            } else {
                body_of(object, None)
            },
        );
    }
    if conditional::is_not_modified(view, meta, now) {
        not_modified(site, &mut headers);
        return respond(StatusCode::NOT_MODIFIED, headers, Body::Empty);
    }
    if let Some(part) = meta.content_range {
        let inside = range::from_part(view, meta, part, now).map(|wanted| {
            set_content_range(&mut headers, wanted, part.complete);
            ByteRange {
                first: wanted.first - part.first,
                last: wanted.last - part.first,
            }
        });
        return respond(
            StatusCode::PARTIAL_CONTENT,
            headers,
            body_of(object, inside),
        );
    }
    if let Some(complete) = object.len() {
        match range::answer(view, meta, complete, now) {
            RangeAnswer::Partial(ranges) => {
                if let [one] = ranges.as_slice() {
                    set_content_range(&mut headers, *one, Some(complete));
                    return respond(
                        StatusCode::PARTIAL_CONTENT,
                        headers,
                        body_of(object, Some(*one)),
                    );
                }
                let content_type = headers.get(header::CONTENT_TYPE).cloned();
                // Not predictable: the hasher's keys are the process's own.
                let boundary = std::hash::RandomState::new().hash_one(complete);
                let parts = Parts::new(
                    boundary,
                    content_type.as_ref().map(HeaderValue::as_bytes),
                    complete,
                    ranges
                        .iter()
                        .map(|range| (*range, body_of(object, Some(*range)))),
                );
                if let Ok(value) = HeaderValue::from_str(&parts::content_type(boundary)) {
                    headers.insert(header::CONTENT_TYPE, value);
                }
                return respond(
                    StatusCode::PARTIAL_CONTENT,
                    headers,
                    Body::Parts(Box::new(parts)),
                );
            }
            RangeAnswer::Unsatisfiable => {
                // What is stored may be kept and is of a kind; this answer is neither.
                keep_only(&mut headers, |name| {
                    matches!(name, "date" | "age" | "cache-status")
                        || site.set_headers.iter().any(|(set, _)| set == name)
                });
                if let Ok(value) = HeaderValue::from_str(&format!("bytes */{complete}")) {
                    headers.insert(header::CONTENT_RANGE, value);
                }
                return respond(StatusCode::RANGE_NOT_SATISFIABLE, headers, Body::Empty);
            }
            RangeAnswer::Full => {}
        }
        if head_only {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(complete));
        }
    }
    let status = StatusCode::from_u16(meta.status).unwrap_or(StatusCode::OK);
    let body = if head_only {
        Body::Empty
    } else {
        body_of(object, None)
    };
    respond(status, headers, body)
}

/// Adds what the edge says of itself, and what the site sets.
pub(crate) fn finish(
    worker: &Worker,
    site: &Site,
    headers: &mut HeaderMap,
    status: CacheStatus<'_>,
) {
    let mut text = Vec::with_capacity(64);
    status.write(&worker.shared.cache_name, &mut text);
    if let Ok(value) = HeaderValue::from_bytes(&text) {
        headers.append(CACHE_STATUS, value);
    }
    for (name, value) in &site.set_headers {
        headers.insert(name, value.clone());
    }
}

/// Leaves what a 304 says.
pub(crate) fn not_modified(site: &Site, headers: &mut HeaderMap) {
    keep_only(headers, |name| {
        conditional::NOT_MODIFIED_FIELDS.contains(&name)
            || matches!(name, "age" | "cache-status")
            || site.set_headers.iter().any(|(set, _)| set == name)
    });
}

fn keep_only(headers: &mut HeaderMap, keep: impl Fn(&str) -> bool) {
    let drop: Vec<_> = headers
        .keys()
        .filter(|name| !keep(name.as_str()))
        .cloned()
        .collect();
    for name in drop {
        headers.remove(name);
    }
}

fn set_content_range(headers: &mut HeaderMap, range: ByteRange, complete: Option<u64>) {
    let complete = complete.map_or_else(|| "*".to_owned(), |complete| complete.to_string());
    if let Ok(value) =
        HeaderValue::from_str(&format!("bytes {}-{}/{complete}", range.first, range.last))
    {
        headers.insert(header::CONTENT_RANGE, value);
    }
}

fn body_of(object: &Object, range: Option<ByteRange>) -> Body {
    match object.body() {
        Stored::Memory(bytes) => match range {
            None => Body::Bytes(bytes.clone()),
            Some(range) => {
                let end = usize::try_from(range.last.saturating_add(1))
                    .unwrap_or(usize::MAX)
                    .min(bytes.len());
                let start = usize::try_from(range.first).unwrap_or(usize::MAX).min(end);
                Body::Bytes(bytes.slice(start..end))
            }
        },
        Stored::File(file) => {
            let (first, length) = range.map_or((0, file.len), |range| (range.first, range.len()));
            Body::File {
                file: file.file.clone(),
                offset: file.offset + first,
                length,
                _hold: file.clone(),
            }
        }
        Stored::Filling(_) => Body::Stored {
            reader: object.reader(range),
            length: range.map(|range| range.len()).or_else(|| object.len()),
        },
    }
}
