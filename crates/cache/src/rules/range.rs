//! Byte ranges (RFC 9110 section 14) and parts that are kept (RFC 9111 sections 3.3
//! and 3.4).

use base::Timestamp;
use serde::{Deserialize, Serialize};

use super::conditional::same_representation;
use super::date;
use super::fields::trim;
use super::meta::ResponseMeta;
use super::request::RequestView;

/// Most ranges one request may ask for; with more it is answered in full
/// (RFC 9110 section 14.2 allows it, to defend against abuse).
pub const RANGES_MAX: usize = 16;

/// A range of octets, `first` to `last` inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteRange {
    /// The first octet.
    pub first: u64,
    /// The last octet.
    pub last: u64,
}

impl ByteRange {
    /// Number of octets.
    #[expect(
        clippy::len_without_is_empty,
        reason = "a range holds an octet at least"
    )]
    pub fn len(&self) -> u64 {
        self.last - self.first + 1
    }
}

/// The `Content-Range` of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContentRange {
    /// The first octet.
    pub first: u64,
    /// The last octet.
    pub last: u64,
    /// Octets of the whole representation, when known.
    pub complete: Option<u64>,
}

impl ContentRange {
    /// Reads `bytes first-last/complete`; `None` when it is no such thing.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(trim(text)).ok()?;
        let (unit, rest) = text.split_once(' ')?;
        if !unit.eq_ignore_ascii_case("bytes") {
            return None;
        }
        let (range, complete) = rest.split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let (first, last) = (position(first)?, position(last)?);
        let complete = match complete {
            "*" => None,
            number => Some(position(number)?),
        };
        let sound = first <= last && complete.is_none_or(|complete| last < complete);
        sound.then_some(Self {
            first,
            last,
            complete,
        })
    }

    /// Number of octets of the part.
    #[expect(
        clippy::len_without_is_empty,
        reason = "a part holds an octet at least"
    )]
    pub fn len(&self) -> u64 {
        self.last - self.first + 1
    }
}

fn position(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|octet| octet.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

/// How a request for ranges is to be answered from a representation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RangeAnswer {
    /// All of it (200): no range asked for, or one that is not to be honoured.
    Full,
    /// These ranges (206), in the order asked for, overlapping ones already joined.
    Partial(Vec<ByteRange>),
    /// 416 with `Content-Range: bytes */complete`.
    Unsatisfiable,
}

/// Answers `request` from `stored`, a complete representation of `complete` octets.
pub fn answer(
    request: &RequestView<'_>,
    stored: &ResponseMeta,
    complete: u64,
    now: Timestamp,
) -> RangeAnswer {
    let Some(range) = request.range else {
        return RangeAnswer::Full;
    };
    // Ranges are defined for GET alone (section 14.2).
    if request.method != super::RequestMethod::Get || stored.status != 200 {
        return RangeAnswer::Full;
    }
    if !if_range_holds(request, stored, now) {
        return RangeAnswer::Full;
    }
    select(range, complete)
}

/// Whether `If-Range`, if there, names the stored representation: strong comparison
/// of entity tags, or the very date (section 13.1.5).
pub fn if_range_holds(request: &RequestView<'_>, stored: &ResponseMeta, now: Timestamp) -> bool {
    let Some(validator) = request.if_range else {
        return true;
    };
    if validator.starts_with(b"\"") || validator.starts_with(b"W/") {
        return stored.strong_etag() == Some(validator);
    }
    // A date is a strong validator only when a second at least lies between it and
    // the response's date (section 8.8.2.2).
    match (date::parse(validator, now), stored.last_modified_s) {
        (Some(asked), Some(modified)) => asked == modified && modified < stored.date_s,
        _ => false,
    }
}

/// Selects from `complete` octets what a `Range` value asks for.
pub fn select(range: &[u8], complete: u64) -> RangeAnswer {
    let Some(specs) = specs(range) else {
        return RangeAnswer::Full;
    };
    let mut ranges: Vec<ByteRange> = Vec::with_capacity(specs.len());
    for spec in specs {
        if let Some(found) = spec.within(complete) {
            // Ranges that touch are one, so that nobody gets an octet twice.
            match ranges
                .iter_mut()
                .find(|range| found.first <= range.last + 1 && range.first <= found.last + 1)
            {
                Some(range) => {
                    range.first = range.first.min(found.first);
                    range.last = range.last.max(found.last);
                }
                None => ranges.push(found),
            }
        }
    }
    if ranges.is_empty() {
        RangeAnswer::Unsatisfiable
    } else {
        RangeAnswer::Partial(ranges)
    }
}

/// One `range-spec`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spec {
    From(u64, Option<u64>),
    Last(u64),
}

impl Spec {
    fn within(self, complete: u64) -> Option<ByteRange> {
        let end = complete.checked_sub(1)?;
        match self {
            Self::From(first, last) => (first <= end).then(|| ByteRange {
                first,
                last: last.unwrap_or(end).min(end),
            }),
            Self::Last(0) => None,
            Self::Last(length) => Some(ByteRange {
                first: complete.saturating_sub(length),
                last: end,
            }),
        }
    }
}

/// The specs of a `Range` value; `None` when it is invalid or asks for too many, and
/// is therefore ignored.
fn specs(range: &[u8]) -> Option<Vec<Spec>> {
    let text = std::str::from_utf8(range).ok()?;
    let (unit, set) = text.split_once('=')?;
    if !unit.eq_ignore_ascii_case("bytes") {
        return None;
    }
    let mut specs = Vec::new();
    for spec in set.split(',').map(|spec| spec.trim_matches([' ', '\t'])) {
        if spec.is_empty() {
            continue;
        }
        if specs.len() == RANGES_MAX {
            return None;
        }
        let (first, last) = spec.split_once('-')?;
        specs.push(match (first, last) {
            ("", length) => Spec::Last(position(length)?),
            (first, "") => Spec::From(position(first)?, None),
            (first, last) => {
                let (first, last) = (position(first)?, position(last)?);
                if first > last {
                    return None;
                }
                Spec::From(first, Some(last))
            }
        });
    }
    (!specs.is_empty()).then_some(specs)
}

/// Which octets of a stored part answer `request`, in positions of the whole
/// representation; `None` when the part does not hold all that is asked for.
pub fn from_part(
    request: &RequestView<'_>,
    stored: &ResponseMeta,
    part: ContentRange,
    now: Timestamp,
) -> Option<ByteRange> {
    if request.method != super::RequestMethod::Get || !if_range_holds(request, stored, now) {
        return None;
    }
    let specs = specs(request.range?)?;
    let [spec] = specs.as_slice() else {
        return None;
    };
    let wanted = match (part.complete, *spec) {
        (Some(complete), spec) => spec.within(complete)?,
        // Without the whole length only a range with both ends can be answered.
        (None, Spec::From(first, Some(last))) => ByteRange { first, last },
        (None, _) => return None,
    };
    (part.first <= wanted.first && wanted.last <= part.last).then_some(wanted)
}

/// Whether a part just received may be joined with a stored one, and the range that
/// both cover together (RFC 9111 section 3.4): the same strong validator, and no gap.
pub fn joined(
    stored: &ResponseMeta,
    part: ContentRange,
    new_fields: &http::HeaderMap,
    new: ContentRange,
) -> Option<ContentRange> {
    if stored.strong_etag().is_none() || same_representation(stored, new_fields) != Some(true) {
        return None;
    }
    let lengths_agree = match (part.complete, new.complete) {
        (Some(left), Some(right)) => left == right,
        _ => true,
    };
    let touching =
        new.first <= part.last.saturating_add(1) && part.first <= new.last.saturating_add(1);
    (lengths_agree && touching).then(|| ContentRange {
        first: part.first.min(new.first),
        last: part.last.max(new.last),
        complete: part.complete.or(new.complete),
    })
}

#[cfg(test)]
#[path = "range_tests.rs"]
mod tests;
