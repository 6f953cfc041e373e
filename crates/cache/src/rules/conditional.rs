//! Conditional requests: asking the origin whether a stored response is still good,
//! and answering clients who ask (RFC 9110 section 13, RFC 9111 section 4.3).

use base::Timestamp;
use http::header::{ETAG, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, LAST_MODIFIED};
use http::header::{IF_UNMODIFIED_SINCE, RANGE};
use http::{HeaderMap, HeaderValue};

use super::date;
use super::fields::{lines, members};
use super::meta::ResponseMeta;
use super::request::RequestView;

/// Fields of a stored response that a 304 must repeat (RFC 9110 section 15.4.5),
/// lower case.
pub const NOT_MODIFIED_FIELDS: [&str; 6] = [
    "cache-control",
    "content-location",
    "date",
    "etag",
    "expires",
    "vary",
];

/// Makes `request` ask whether `stored` is still good: removes the client's own
/// preconditions and ranges and adds the stored validators (RFC 9111 section 4.3.1).
pub fn revalidation(stored: &ResponseMeta, request: &mut HeaderMap) {
    strip(request);
    for (name, value) in stored.fields() {
        let field = match name {
            "etag" => IF_NONE_MATCH,
            "last-modified" => IF_MODIFIED_SINCE,
            _ => continue,
        };
        if let Ok(value) = HeaderValue::from_bytes(value) {
            request.insert(field, value);
        }
    }
}

/// Removes a client's preconditions and ranges, so that the origin answers with a
/// whole representation that can be kept.
pub fn strip(request: &mut HeaderMap) {
    for name in [
        IF_MATCH,
        IF_NONE_MATCH,
        IF_MODIFIED_SINCE,
        IF_UNMODIFIED_SINCE,
        IF_RANGE,
        RANGE,
    ] {
        request.remove(name);
    }
}

/// Whether a client that sent `request` already has the stored response, so that a
/// 304 answers it (RFC 9110 section 13.2.2; only for responses of status 200).
pub fn is_not_modified(request: &RequestView<'_>, stored: &ResponseMeta, now: Timestamp) -> bool {
    stored.status == 200
        && has_it_already(
            request,
            stored.etag.as_deref(),
            // Without `Last-Modified`, the response's own date stands in (RFC 9111
            // section 4.3.2).
            Some(stored.last_modified_s.unwrap_or(stored.date_s)),
            now,
        )
}

/// As [`is_not_modified`], for a response of status 200 that is passed on and not kept.
pub fn is_not_modified_in(request: &RequestView<'_>, fields: &HeaderMap, now: Timestamp) -> bool {
    let time = |name| {
        fields
            .get(name)
            .and_then(|value| date::parse(value.as_bytes(), now))
    };
    let etag = fields.get(ETAG).map(HeaderValue::as_bytes);
    has_it_already(request, etag, time(LAST_MODIFIED), now)
}

/// Whether the request's conditions say that the client has the representation with this
/// tag and time of change.
fn has_it_already(
    request: &RequestView<'_>,
    etag: Option<&[u8]>,
    modified_s: Option<i64>,
    now: Timestamp,
) -> bool {
    if request.plain || !request.method.is_cacheable() {
        return false;
    }
    if request.if_none_match {
        // It is the better test: with it, `If-Modified-Since` is not looked at.
        return lines(request.fields, "if-none-match")
            .iter()
            .flat_map(|line| members(line))
            .any(|tag| tag == b"*" || etag.is_some_and(|etag| weak_match(tag, etag)));
    }
    let Some(since) = request
        .if_modified_since
        .and_then(|value| date::parse(value, now))
    else {
        return false;
    };
    modified_s.is_some_and(|modified| modified <= since)
}

/// Weak comparison: only the opaque parts count (RFC 9110 section 8.8.3.2). Tags
/// whose quotes somebody lost are compared without them.
pub fn weak_match(left: &[u8], right: &[u8]) -> bool {
    fn opaque(tag: &[u8]) -> &[u8] {
        let tag = match tag {
            [b'W' | b'w', b'/', rest @ ..] => rest,
            tag => tag,
        };
        match tag {
            [b'"', inner @ .., b'"'] => inner,
            tag => tag,
        }
    }
    opaque(left) == opaque(right)
}

/// Whether a response with these fields is still the one that `stored` came from, by
/// its validators: used for `HEAD` updates and for joining parts. `None`: it cannot
/// be told.
pub fn same_representation(stored: &ResponseMeta, fields: &HeaderMap) -> Option<bool> {
    let tag = fields.get(ETAG).map(HeaderValue::as_bytes);
    if let (Some(stored), Some(tag)) = (stored.etag.as_deref(), tag) {
        return Some(stored == tag);
    }
    let modified = fields.get(LAST_MODIFIED).map(HeaderValue::as_bytes);
    match (stored.field("last-modified"), modified) {
        (Some(stored), Some(modified)) => Some(stored == modified),
        _ => None,
    }
}
