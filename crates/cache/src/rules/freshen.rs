//! Bringing a stored response up to date from a `304` (RFC 9111 section 4.3.4) or
//! from the response to a `HEAD` (section 4.3.5).

use http::HeaderMap;
use http::header::{CONTENT_LENGTH, ETAG};

use super::conditional::same_representation;
use super::fields::{connection_options, is_connection_field};
use super::meta::ResponseMeta;
use super::policy::SitePolicy;
use super::request::RequestView;
use super::storing::{self, Exchange, Uncacheable};

/// A stored response after a `304`.
#[derive(Debug, Clone)]
pub enum Freshened {
    /// Keep it with this, and answer from it.
    Keep(Box<ResponseMeta>),
    /// Answer from it with this once more, but keep it no longer: the update forbids.
    UseOnce(HeaderMap, Uncacheable),
}

/// Fields that describe the stored body and are left as they are (section 3.2).
fn describes_body(name: &str) -> bool {
    matches!(
        name,
        "content-encoding"
            | "content-length"
            | "content-md5"
            | "content-range"
            | "content-digest"
            | "repr-digest"
            | "etag"
    )
}

/// Updates `stored` with the fields of a `304` that answered our own validators.
pub fn freshen(
    request: &RequestView<'_>,
    policy: SitePolicy<'_>,
    stored: &ResponseMeta,
    update: &HeaderMap,
    exchange: Exchange<'_>,
) -> Freshened {
    let headers = updated(stored, update);
    match storing::describe(request, policy, stored.status, &headers, exchange) {
        Ok(mut meta) => {
            meta.content_range = stored.content_range;
            if update.get("cache-tag").is_none() && update.get("surrogate-key").is_none() {
                meta.tags.clone_from(&stored.tags);
            }
            Freshened::Keep(Box::new(meta))
        }
        Err(reason) => Freshened::UseOnce(headers, reason),
    }
}

/// The stored fields with those of the update in their place (section 3.2).
fn updated(stored: &ResponseMeta, update: &HeaderMap) -> HeaderMap {
    let mut headers = stored.header_map();
    let options = connection_options(update);
    let replaces = |name: &str| {
        !describes_body(name)
            && !is_connection_field(name)
            && !options.iter().any(|option| option == name)
    };
    for name in update.keys().filter(|name| replaces(name.as_str())) {
        headers.remove(name);
    }
    // An update without a date was made when it arrived (RFC 9110 section 6.6.1); the
    // stored date would age it by the time that the response was kept.
    headers.remove(http::header::DATE);
    // A cookie of the answer that was stored was for whoever caused it; the origin has just
    // been asked for somebody else.
    if !update.contains_key(http::header::SET_COOKIE) {
        headers.remove(http::header::SET_COOKIE);
    }
    for (name, value) in update {
        if replaces(name.as_str()) {
            headers.append(name.clone(), value.clone());
        }
    }
    headers
}

/// What the response to a `HEAD` does to a stored `GET` response.
#[derive(Debug, Clone)]
pub enum HeadEffect {
    /// It is up to date: keep it with this.
    Update(Box<ResponseMeta>),
    /// It is out of date: forget it.
    Invalidate,
    /// Nothing can be said.
    None,
}

/// Judges what a `HEAD` response says about a stored response of `body_bytes`.
pub fn head_update(
    request: &RequestView<'_>,
    policy: SitePolicy<'_>,
    stored: &ResponseMeta,
    body_bytes: u64,
    status: u16,
    headers: &HeaderMap,
    exchange: Exchange<'_>,
) -> HeadEffect {
    if status != stored.status || status != 200 {
        return HeadEffect::None;
    }
    let length = headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.parse::<u64>().ok());
    let length_differs = length.is_some_and(|length| length != body_bytes);
    let validator_differs = same_representation(stored, headers) == Some(false)
        || (stored.etag.is_some() != headers.contains_key(ETAG) && stored.etag.is_some());
    if length_differs || validator_differs {
        return HeadEffect::Invalidate;
    }
    match freshen(request, policy, stored, headers, exchange) {
        Freshened::Keep(meta) => HeadEffect::Update(meta),
        Freshened::UseOnce(..) => HeadEffect::Invalidate,
    }
}
