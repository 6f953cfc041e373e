//! Whether a stored response answers a request (RFC 9111 section 4).

use std::time::Duration;

use base::Timestamp;
use base::delivery::SiteSettings;

use super::directives::Seconds;
use super::meta::ResponseMeta;
use super::request::RequestView;

/// How long a softly purged response may still be used while it is refreshed or
/// while the origin fails, when nobody says otherwise.
pub const SOFT_PURGE_GRACE: Duration = Duration::from_secs(86_400);

/// What to do with a stored response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Use it.
    Fresh,
    /// Use it although it is stale, because the request allows it (`max-stale`).
    StaleAllowed,
    /// Use it, and refresh it behind the client's back (RFC 5861 section 3).
    StaleWhileRevalidate,
    /// Ask the origin first.
    Revalidate {
        /// Whether it may be used when the origin fails (RFC 5861 section 4).
        stale_if_error: bool,
        /// Whether it was the request that insisted, on a response still fresh.
        request: bool,
    },
    /// It cannot be used, and the request wants nothing else: 504.
    OnlyIfCached,
    /// This request is for the origin alone; leave the stored response as it is.
    Bypass,
}

/// Judges a stored response whose `Vary` matches.
///
/// `soft_purged` is when a soft purge marked it stale, if one did.
pub fn reuse(
    request: &RequestView<'_>,
    meta: &ResponseMeta,
    soft_purged: Option<Timestamp>,
    settings: &SiteSettings,
    now: Timestamp,
) -> Verdict {
    // Nearly every request ends here.
    if request.plain && soft_purged.is_none() && !meta.no_cache && now < meta.fresh_until {
        return Verdict::Fresh;
    }
    if request.origin_preconditions {
        return if request.directives.only_if_cached {
            Verdict::OnlyIfCached
        } else {
            Verdict::Bypass
        };
    }
    let stale_since = soft_purged.map_or(meta.fresh_until, |purged| purged.min(meta.fresh_until));
    let fresh = now < stale_since && !meta.no_cache;
    let refused = refused_by_request(request, meta, stale_since, now);
    if fresh && !refused {
        return Verdict::Fresh;
    }
    let staleness = now.since(stale_since);
    let grace = |origin: Option<u32>, site: u32| {
        if meta.no_cache || meta.must_revalidate {
            return Duration::ZERO;
        }
        let site = if meta.s_maxage { 0 } else { site };
        let stated = Duration::from_secs(u64::from(origin.unwrap_or(site)));
        if soft_purged.is_some() {
            stated.max(SOFT_PURGE_GRACE)
        } else {
            stated
        }
    };
    if !refused
        && let Some(limit) = request.directives.max_stale
        && !meta.no_cache
        && !meta.must_revalidate
        && !meta.s_maxage
        && soft_purged.is_none()
        && limit.is_none_or(|limit| staleness <= Duration::from_secs(u64::from(limit)))
    {
        return Verdict::StaleAllowed;
    }
    let while_revalidate = grace(
        meta.stale_while_revalidate_s,
        settings.stale_while_revalidate_s,
    );
    // A client that states an age, and no `max-stale`, does not wish for a stale response
    // (section 5.2.1.1).
    let wants_none_stale =
        request.directives.max_age != Seconds::Absent && request.directives.max_stale.is_none();
    if !refused && !wants_none_stale && staleness < while_revalidate {
        return Verdict::StaleWhileRevalidate;
    }
    if request.directives.only_if_cached {
        return Verdict::OnlyIfCached;
    }
    let if_error = grace(
        meta.stale_if_error_s.or(request.directives.stale_if_error),
        settings.stale_if_error_s,
    );
    Verdict::Revalidate {
        stale_if_error: staleness < if_error,
        request: fresh,
    }
}

/// Whether the request's directives refuse the stored response (section 5.2.1).
fn refused_by_request(
    request: &RequestView<'_>,
    meta: &ResponseMeta,
    stale_since: Timestamp,
    now: Timestamp,
) -> bool {
    let wants = &request.directives;
    if wants.no_cache || wants.no_store {
        return true;
    }
    let age = u64::from(meta.initial_age_s) + now.since(meta.response_time).as_secs();
    let too_old = match wants.max_age {
        Seconds::Absent => false,
        Seconds::Of(0) => true,
        Seconds::Of(seconds) => age > u64::from(seconds),
        Seconds::Invalid => true,
    };
    // With `max-stale` too, the client says how far beyond it will go.
    let too_old = too_old && !(wants.max_stale.is_some() && age > u64::from(meta.lifetime_s));
    let left = stale_since.since(now);
    let too_short = match wants.min_fresh {
        Seconds::Of(seconds) => left < Duration::from_secs(u64::from(seconds)),
        Seconds::Absent | Seconds::Invalid => false,
    };
    too_old || too_short
}

#[cfg(test)]
#[path = "reuse_tests.rs"]
mod tests;
