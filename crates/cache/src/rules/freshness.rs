//! How long a response is fresh and how old it was on arrival (RFC 9111 section 4.2).

use base::Timestamp;
use base::delivery::PathAction;

use super::date;
use super::directives::{ResponseDirectives, Seconds};
use super::fields::{DELTA_MAX, Fields, delta_seconds, lines, trim};
use super::policy::SitePolicy;
use super::storing::is_heuristically_cacheable;

/// Share of the time since `Last-Modified` for which a response without freshness of
/// its own is fresh (RFC 9111 section 4.2.2 names 10 %).
const HEURISTIC_PART: i64 = 10;
/// Longest heuristic freshness, in seconds: a day.
const HEURISTIC_MAX_S: i64 = 86_400;

/// A freshness lifetime and where it came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lifetime {
    /// Said by the origin, in seconds.
    Explicit(u32),
    /// From the age of the content, in seconds.
    Heuristic(u32),
    /// Set by the site's owner where the origin says nothing, in seconds.
    Configured(u32),
    /// Set by the site's owner over whatever the origin says, in seconds from now.
    Forced(u32),
    /// Nobody says: stale at once.
    Unknown,
}

impl Lifetime {
    pub(super) fn seconds(self) -> u32 {
        match self {
            Self::Explicit(seconds)
            | Self::Heuristic(seconds)
            | Self::Configured(seconds)
            | Self::Forced(seconds) => seconds,
            Self::Unknown => 0,
        }
    }
}

/// What the freshness calculation reads.
pub(super) struct Inputs<'a> {
    pub(super) status: u16,
    pub(super) fields: &'a dyn Fields,
    pub(super) directives: &'a ResponseDirectives,
    /// Whether `directives` came from a targeted field, which silences `Expires`
    /// (RFC 9213 section 2.2).
    pub(super) targeted: bool,
    /// The `Date` field, or the time of arrival without a valid one.
    pub(super) date: i64,
    pub(super) policy: SitePolicy<'a>,
    pub(super) now: Timestamp,
}

pub(super) fn lifetime(inputs: &Inputs<'_>) -> Lifetime {
    if let PathAction::ForceTtl { seconds } = inputs.policy.action
        && is_heuristically_cacheable(inputs.status)
    {
        return Lifetime::Forced(seconds);
    }
    if let Some(seconds) = explicit(inputs) {
        return Lifetime::Explicit(seconds);
    }
    if let Some(seconds) = heuristic(inputs) {
        return Lifetime::Heuristic(seconds);
    }
    // 405, 414 and 501 are heuristically cacheable (RFC 9110 section 15.1), but they are
    // errors: a default for good answers is not for them.
    let error = matches!(inputs.status, 404 | 405 | 410 | 414 | 500..=599);
    let negative = inputs.policy.settings.negative_ttl_s;
    if error && negative > 0 {
        return Lifetime::Configured(negative);
    }
    if let PathAction::DefaultTtl { seconds } = inputs.policy.action
        && !error
        && is_heuristically_cacheable(inputs.status)
    {
        return Lifetime::Configured(seconds);
    }
    Lifetime::Unknown
}

/// `s-maxage`, then `max-age`, then `Expires`; an invalid one means stale
/// (section 4.2.1).
fn explicit(inputs: &Inputs<'_>) -> Option<u32> {
    for directive in [inputs.directives.s_maxage, inputs.directives.max_age] {
        match directive {
            Seconds::Of(seconds) => return Some(seconds),
            Seconds::Invalid => return Some(0),
            Seconds::Absent => {}
        }
    }
    if inputs.targeted {
        return None;
    }
    let expires = lines(inputs.fields, "expires");
    // Of several, the first counts; one that is no date is in the past (section 5.3).
    let first = expires.first()?;
    let at = date::parse(first, inputs.now).unwrap_or(i64::MIN);
    let seconds = at
        .saturating_sub(inputs.date)
        .clamp(0, i64::from(DELTA_MAX));
    u32::try_from(seconds).ok()
}

fn heuristic(inputs: &Inputs<'_>) -> Option<u32> {
    if !is_heuristically_cacheable(inputs.status) && !inputs.directives.public {
        return None;
    }
    let modified = lines(inputs.fields, "last-modified");
    let modified = date::parse(modified.first()?, inputs.now)?;
    let since = inputs.date.saturating_sub(modified);
    u32::try_from((since / HEURISTIC_PART).min(HEURISTIC_MAX_S))
        .ok()
        .filter(|seconds| *seconds > 0)
}

/// The age a response had on arrival, in seconds (section 4.2.3); `None` when its
/// `Age` cannot be trusted, so that it counts as stale.
pub(super) fn initial_age(
    fields: &dyn Fields,
    date: i64,
    request_time: Timestamp,
    response_time: Timestamp,
) -> Option<u32> {
    let age = age_field(fields)?;
    let apparent = response_time.seconds().saturating_sub(date).max(0);
    let delay = i64::try_from(response_time.since(request_time).as_secs()).unwrap_or(i64::MAX);
    let corrected = i64::from(age).saturating_add(delay);
    let initial = apparent.max(corrected).min(i64::from(DELTA_MAX));
    u32::try_from(initial).ok()
}

/// The `Age` field: 0 when absent, `None` when it is not to be trusted.
///
/// Section 5.1 lets a cache use the first of several values. Several lines, or a
/// list with anything but digits between its commas, come from a confused peer; that
/// doubt is settled for staleness, as the public conformance tests ask.
fn age_field(fields: &dyn Fields) -> Option<u32> {
    let found = lines(fields, "age");
    let value = match found.as_slice() {
        [] => return Some(0),
        [one] => trim(one),
        _ => return None,
    };
    let mut ages = value.split(|octet| *octet == b',').map(delta_seconds);
    let first = ages.next()??;
    ages.all(|age| age.is_some()).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_that_cannot_be_trusted() {
        for (lines, expected) in [
            (&["5"][..], Some(5)),
            (&[" 7200 "], Some(7200)),
            (&["0,7200"], Some(0)),
            (&["7200,0"], Some(7200)),
            (&["99999999999"], Some(1 << 31)),
            (&["abc"], None),
            (&["-7200"], None),
            (&["7200.0"], None),
            (&["0, 0"], None),
            (&["7200;foo=bar"], None),
            (&[""], None),
            (&["0", "0"], None),
        ] {
            let mut map = http::HeaderMap::new();
            for line in lines {
                map.append("age", line.parse().expect("a value"));
            }
            assert_eq!(age_field(&map), expected, "{lines:?}");
        }
    }

    #[test]
    fn initial_age_is_the_larger_of_what_the_clock_and_the_field_say() {
        let at = Timestamp::from_seconds;
        let none: [(&str, &str); 0] = [];
        // Section 4.2.3: apparent age, corrected age value.
        assert_eq!(initial_age(&none, 90, at(95), at(100)), Some(10));
        assert_eq!(initial_age(&none, 200, at(95), at(100)), Some(5));
        assert_eq!(initial_age(&[("age", "30")], 90, at(95), at(100)), Some(35));
        // A clock that jumps back while the response is on its way.
        assert_eq!(initial_age(&none, 90, at(100), at(95)), Some(5));
    }
}
