//! Whether a response may be kept (RFC 9111 section 3).

use base::Timestamp;
use base::delivery::PathAction;
use http::HeaderMap;

use super::date;
use super::directives::{Qualified, ResponseDirectives};
use super::fields::{DELTA_MAX, connection_options, is_connection_field, lines};
use super::freshness::{self, Inputs, Lifetime};
use super::invalidate::Target;
use super::meta::{self, ResponseMeta};
use super::policy::SitePolicy;
use super::range::ContentRange;
use super::request::{RequestMethod, RequestView};
use super::targeted;
use super::vary::Vary;

/// A request to an origin and when it went and came.
#[derive(Debug, Clone, Copy)]
pub struct Exchange<'a> {
    /// What was asked for, as the client asked.
    pub target: Target<'a>,
    /// When the request was sent.
    pub request_time: Timestamp,
    /// When the response's head arrived.
    pub response_time: Timestamp,
}

/// Why a response is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Uncacheable {
    /// The method's responses are not kept.
    #[error("method")]
    Method,
    /// The status is never kept, or not understood though it must be.
    #[error("status")]
    Status,
    /// The site's owner passes this path by.
    #[error("bypass")]
    Bypass,
    /// The request said `no-store`.
    #[error("request-no-store")]
    RequestNoStore,
    /// The response said `no-store`.
    #[error("no-store")]
    NoStore,
    /// The response is `private`.
    #[error("private")]
    Private,
    /// The request carried `Authorization`, and the response does not allow it.
    #[error("authorization")]
    Authorization,
    /// No later request could match (`Vary: *`, or too much of it).
    #[error("vary")]
    Vary,
    /// No freshness and nothing to validate it by.
    #[error("no-freshness")]
    NoFreshness,
    /// Sets a cookie, and only the site's settings or a guess give it freshness.
    #[error("set-cookie")]
    SetCookie,
    /// Header fields or tags out of bounds.
    #[error("too-large")]
    TooLarge,
    /// A partial response whose `Content-Range` cannot be used.
    #[error("content-range")]
    ContentRange,
}

impl Uncacheable {
    /// Whether the reason lies in the one request that was made: what is stored for
    /// others then stays as good as it was. (Were it removed, any client could empty
    /// the cache with `Cache-Control: no-store`.)
    pub fn is_of_request(self) -> bool {
        matches!(
            self,
            Self::Method | Self::Bypass | Self::RequestNoStore | Self::Authorization
        )
    }
}

/// Statuses that are cacheable by default (RFC 9110 section 15.1).
pub fn is_heuristically_cacheable(status: u16) -> bool {
    matches!(
        status,
        200 | 203 | 204 | 206 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501
    )
}

/// Statuses whose caching requirements this cache implements (for `must-understand`).
fn is_understood(status: u16) -> bool {
    matches!(
        status,
        200..=206 | 300..=303 | 305 | 307 | 308 | 400..=411 | 413..=415 | 422 | 451 | 500..=505
    )
}

/// Statuses that answer something about one request that is no part of the key, or
/// that RFC 6585 forbids to keep.
fn is_never_kept(status: u16) -> bool {
    matches!(
        status,
        0..=199 | 304 | 407 | 408 | 412 | 416 | 417 | 421 | 426 | 428 | 429 | 431 | 511
    )
}

/// Judges a response; `Ok` holds what to keep beside its body.
///
/// # Errors
/// Why it must not, or should not, be kept.
pub fn may_store(
    request: &RequestView<'_>,
    policy: SitePolicy<'_>,
    status: u16,
    headers: &HeaderMap,
    exchange: Exchange<'_>,
) -> Result<ResponseMeta, Uncacheable> {
    if policy.action == PathAction::Bypass {
        return Err(Uncacheable::Bypass);
    }
    if request.directives.no_store {
        return Err(Uncacheable::RequestNoStore);
    }
    method_allows(request, headers, exchange)?;
    if is_never_kept(status) {
        return Err(Uncacheable::Status);
    }
    let mut meta = describe(request, policy, status, headers, exchange)?;
    if status == 206 {
        let range = headers
            .get(http::header::CONTENT_RANGE)
            .and_then(|value| ContentRange::parse(value.as_bytes()));
        let range = range.ok_or(Uncacheable::ContentRange)?;
        // A part that is longer or shorter than it says cannot be cut from.
        let announced = headers
            .get(http::header::CONTENT_LENGTH)
            .and_then(|value| delta_octets(value.as_bytes()));
        if announced.is_some_and(|announced| announced != range.len()) {
            return Err(Uncacheable::ContentRange);
        }
        meta.content_range = Some(range);
    }
    Ok(meta)
}

/// A `Content-Length`.
fn delta_octets(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// `GET`; and `POST`, when its response is what a `GET` would bring
/// (RFC 9110 section 9.3.3).
fn method_allows(
    request: &RequestView<'_>,
    headers: &HeaderMap,
    exchange: Exchange<'_>,
) -> Result<(), Uncacheable> {
    match request.method {
        RequestMethod::Get => Ok(()),
        RequestMethod::Post => {
            let same = headers
                .get(http::header::CONTENT_LOCATION)
                .and_then(|location| exchange.target.resolve(location.as_bytes()))
                .is_some_and(|location| location == exchange.target.target);
            let directives = ResponseDirectives::parse(headers);
            let explicit = directives.max_age.value().is_some()
                || directives.s_maxage.value().is_some()
                || headers.contains_key(http::header::EXPIRES);
            if same && explicit {
                Ok(())
            } else {
                Err(Uncacheable::Method)
            }
        }
        _ => Err(Uncacheable::Method),
    }
}

/// The part of the judgement that a `304` repeats on the updated fields.
pub(super) fn describe(
    request: &RequestView<'_>,
    policy: SitePolicy<'_>,
    status: u16,
    headers: &HeaderMap,
    exchange: Exchange<'_>,
) -> Result<ResponseMeta, Uncacheable> {
    let targeted = targeted::directives(headers);
    let is_targeted = targeted.is_some();
    let directives = targeted.unwrap_or_else(|| ResponseDirectives::parse(headers));
    restrictions(request, status, &directives)?;

    let now = exchange.response_time;
    let date_s = lines(headers, "date")
        .first()
        .and_then(|value| date::parse(value, now))
        .unwrap_or(now.seconds());
    let lifetime = freshness::lifetime(&Inputs {
        status,
        fields: headers,
        directives: &directives,
        targeted: is_targeted,
        date: date_s,
        policy,
        now,
    });
    let last_modified_s = lines(headers, "last-modified")
        .first()
        .and_then(|value| date::parse(value, now));
    let etag: Option<Box<[u8]>> = headers
        .get(http::header::ETAG)
        .map(http::HeaderValue::as_bytes)
        .filter(|tag| !tag.is_empty())
        .map(Into::into);
    worth_keeping(
        status,
        headers,
        &directives,
        lifetime,
        etag.is_some() || last_modified_s.is_some(),
    )?;

    let initial_age = freshness::initial_age(headers, date_s, exchange.request_time, now);
    let forced = matches!(lifetime, Lifetime::Forced(_));
    let mut lifetime_s = lifetime.seconds();
    // An age in doubt makes the response as old as its lifetime.
    let initial_age_s = initial_age.unwrap_or(lifetime_s);
    if forced {
        // The owner counts from arrival.
        lifetime_s = lifetime_s.saturating_add(initial_age_s).min(DELTA_MAX);
    }
    let left = i64::from(lifetime_s) - i64::from(initial_age_s);
    let no_cache = directives.no_cache == Qualified::Whole && !forced;

    let (head, fields_at) = kept_head(status, headers, &directives, date_s)?;
    Ok(ResponseMeta {
        status,
        request_time: exchange.request_time,
        response_time: now,
        date_s,
        lifetime_s,
        initial_age_s,
        fresh_until: Timestamp(now.micros().saturating_add(left.saturating_mul(1_000_000))),
        no_cache,
        must_revalidate: directives.must_revalidate || directives.proxy_revalidate,
        s_maxage: directives.s_maxage.value().is_some() && !forced,
        heuristic: matches!(lifetime, Lifetime::Heuristic(_)),
        stale_while_revalidate_s: directives.stale_while_revalidate,
        stale_if_error_s: directives.stale_if_error,
        vary: Vary::select(headers, request.fields).ok_or(Uncacheable::Vary)?,
        tags: meta::tags(headers).ok_or(Uncacheable::TooLarge)?,
        etag,
        last_modified_s,
        content_range: None,
        head,
        fields_at,
    })
}

/// `no-store`, `private`, `must-understand`, `Authorization` (sections 3, 3.5, 5.2.2).
fn restrictions(
    request: &RequestView<'_>,
    status: u16,
    directives: &ResponseDirectives,
) -> Result<(), Uncacheable> {
    if directives.must_understand && !is_understood(status) {
        return Err(Uncacheable::Status);
    }
    if directives.no_store && !directives.must_understand {
        return Err(Uncacheable::NoStore);
    }
    if directives.private == Qualified::Whole {
        return Err(Uncacheable::Private);
    }
    let shared =
        directives.must_revalidate || directives.public || directives.s_maxage.value().is_some();
    if request.authorization && !shared {
        return Err(Uncacheable::Authorization);
    }
    Ok(())
}

/// Whether keeping it can ever save anything, and may be risked.
fn worth_keeping(
    status: u16,
    headers: &HeaderMap,
    directives: &ResponseDirectives,
    lifetime: Lifetime,
    has_validator: bool,
) -> Result<(), Uncacheable> {
    let explicit = matches!(lifetime, Lifetime::Explicit(_));
    if !explicit
        && !directives.public
        && !is_heuristically_cacheable(status)
        && !matches!(lifetime, Lifetime::Configured(_))
    {
        return Err(Uncacheable::NoFreshness);
    }
    let stale_use = directives.stale_while_revalidate.unwrap_or(0) > 0
        || directives.stale_if_error.unwrap_or(0) > 0;
    if lifetime.seconds() == 0 && !has_validator && !stale_use {
        return Err(Uncacheable::NoFreshness);
    }
    // An origin that states freshness together with a cookie means it (section 7.3
    // leaves it the choice). A guess or a setting must not hand one user's session
    // to all others.
    if !explicit && headers.contains_key(http::header::SET_COOKIE) {
        return Err(Uncacheable::SetCookie);
    }
    Ok(())
}

/// The fields that `no-cache` or `private` name: not for any later request, but for the one
/// that is being answered (sections 5.2.2.4 and 5.2.2.7). In lower case.
pub fn named_for_one_answer(headers: &HeaderMap) -> Vec<String> {
    let directives =
        targeted::directives(headers).unwrap_or_else(|| ResponseDirectives::parse(headers));
    [directives.no_cache, directives.private]
        .into_iter()
        .flat_map(|qualified| match qualified {
            Qualified::Fields(fields) => fields,
            Qualified::Absent | Qualified::Whole => Vec::new(),
        })
        .collect()
}

/// Status line and fields without what must not be kept (section 3.1).
fn kept_head(
    status: u16,
    headers: &HeaderMap,
    directives: &ResponseDirectives,
    date_s: i64,
) -> Result<(bytes::Bytes, u16), Uncacheable> {
    let options = connection_options(headers);
    let listed = |qualified: &Qualified, name: &str| match qualified {
        Qualified::Fields(fields) => fields.iter().any(|field| field == name),
        _ => false,
    };
    let leave_out = |name: &str| {
        is_connection_field(name)
            || matches!(name, "content-length" | "age")
            || options.iter().any(|option| option == name)
            || listed(&directives.private, name)
            || listed(&directives.no_cache, name)
    };
    let dated;
    let headers = if headers.contains_key(http::header::DATE) {
        headers
    } else {
        // A response without a date gets the one of its arrival (RFC 9110 section 6.6.1).
        let mut with_date = headers.clone();
        let now = date::format(Timestamp::from_seconds(date_s));
        if let Ok(value) = http::HeaderValue::from_bytes(&now) {
            with_date.insert(http::header::DATE, value);
        }
        dated = with_date;
        &dated
    };
    meta::head(status, headers, leave_out).ok_or(Uncacheable::TooLarge)
}

#[cfg(test)]
#[path = "storing_tests.rs"]
mod tests;
