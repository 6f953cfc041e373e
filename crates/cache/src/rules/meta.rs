//! What is kept of a response beside its body.

use base::Timestamp;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};

use super::fields::{Fields, lines, members};
use super::range::ContentRange;
use super::vary::Vary;

/// Bytes of the header block of a response that is kept.
pub const HEAD_BYTES_MAX: usize = 64 << 10;
/// Tags of one response; with more, a purge by tag could miss it, so it is not kept.
pub const TAGS_MAX: usize = 256;

/// A stored response without its body: made by [`super::may_store`], read by
/// [`super::reuse()`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ResponseMeta {
    /// The status code.
    pub status: u16,
    /// When the request was sent to the origin.
    pub request_time: Timestamp,
    /// When the response's head arrived.
    pub response_time: Timestamp,
    /// `Date`, or the time of arrival, in seconds since the epoch.
    pub date_s: i64,
    /// Freshness lifetime in seconds, counted from the response's birth.
    pub lifetime_s: u32,
    /// Age on arrival, in seconds.
    pub initial_age_s: u32,
    /// The first moment at which it is stale.
    pub fresh_until: Timestamp,
    /// `no-cache`: to be validated before every use.
    pub no_cache: bool,
    /// `must-revalidate` or `proxy-revalidate`: never to be used stale.
    pub must_revalidate: bool,
    /// `s-maxage`: to be used stale only if the origin itself said how long.
    pub s_maxage: bool,
    /// Whether the lifetime is a guess (RFC 9111 section 4.2.2).
    pub heuristic: bool,
    /// Seconds, when the origin says (RFC 5861 section 3).
    pub stale_while_revalidate_s: Option<u32>,
    /// Seconds, when the origin says (RFC 5861 section 4).
    pub stale_if_error_s: Option<u32>,
    /// Which requests it answers.
    pub vary: Vary,
    /// `Cache-Tag` and `Surrogate-Key`, for purges.
    pub tags: Vec<Box<str>>,
    /// `ETag` as sent.
    pub etag: Option<Box<[u8]>>,
    /// `Last-Modified` in seconds since the epoch.
    pub last_modified_s: Option<i64>,
    /// Which part of the representation the body is (206 responses).
    pub content_range: Option<ContentRange>,
    /// Status line and fields, ready to be sent over HTTP/1.1, each line ended by
    /// CRLF; without `Content-Length` (the store adds it once it is known), `Age`,
    /// what concerns one connection, and the empty line.
    #[serde(with = "octets")]
    pub head: Bytes,
    /// Where the fields begin in `head`, after the status line.
    pub fields_at: u16,
}

impl ResponseMeta {
    /// The age to send in `Age`, in seconds (RFC 9111 section 4.2.3).
    pub fn age_s(&self, now: Timestamp) -> u64 {
        u64::from(self.initial_age_s) + now.since(self.response_time).as_secs()
    }

    /// Seconds until it is stale; negative since it is.
    pub fn ttl_s(&self, now: Timestamp) -> i64 {
        (self.fresh_until.micros().saturating_sub(now.micros())).div_euclid(1_000_000)
    }

    /// Whether the origin can be asked if it is still good.
    pub fn has_validator(&self) -> bool {
        self.etag.is_some() || self.last_modified_s.is_some()
    }

    /// The entity tag when it is a strong one (RFC 9110 section 8.8.3).
    pub fn strong_etag(&self) -> Option<&[u8]> {
        self.etag
            .as_deref()
            .filter(|tag| tag.len() >= 2 && tag.starts_with(b"\"") && tag.ends_with(b"\""))
    }

    /// The fields as kept, names in lower case, in order.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let mut rest = &self.head[usize::from(self.fields_at).min(self.head.len())..];
        std::iter::from_fn(move || {
            let end = memchr::memmem::find(rest, b"\r\n")?;
            let line = &rest[..end];
            rest = &rest[end + 2..];
            let colon = memchr::memchr(b':', line)?;
            let name = std::str::from_utf8(&line[..colon]).ok()?;
            Some((name, line.get(colon + 2..).unwrap_or_default()))
        })
    }

    /// The first value of a field; `name` in lower case.
    pub fn field(&self, name: &str) -> Option<&[u8]> {
        self.fields()
            .find_map(|(field, value)| (field == name).then_some(value))
    }

    /// The fields as a map, for HTTP/2 and for rules that change them.
    pub fn header_map(&self) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in self.fields() {
            if let (Ok(name), Ok(value)) = (
                HeaderName::from_bytes(name.as_bytes()),
                HeaderValue::from_bytes(value),
            ) {
                map.append(name, value);
            }
        }
        map
    }
}

impl Fields for ResponseMeta {
    fn visit<'a>(&'a self, f: &mut dyn FnMut(&'a str, &'a [u8])) {
        for (name, value) in self.fields() {
            f(name, value);
        }
    }
}

/// The tags of a response; `None` when there are too many to purge by.
pub(super) fn tags(fields: &dyn Fields) -> Option<Vec<Box<str>>> {
    let mut tags: Vec<Box<str>> = Vec::new();
    let mut add = |tag: &[u8]| {
        let tag = String::from_utf8_lossy(tag).into_owned().into_boxed_str();
        // One too many is enough to know.
        if tags.len() <= TAGS_MAX && !tag.is_empty() && !tags.contains(&tag) {
            tags.push(tag);
        }
    };
    for line in lines(fields, "cache-tag") {
        members(line).take(TAGS_MAX + 1).for_each(&mut add);
    }
    for line in lines(fields, "surrogate-key") {
        line.split(|octet| b" \t,".contains(octet))
            .take(TAGS_MAX + 1)
            .for_each(&mut add);
    }
    (tags.len() <= TAGS_MAX).then_some(tags)
}

/// Writes status line and fields; `None` when they are too long. Names listed in
/// `leave_out` (lower case) are not written.
pub(super) fn head(
    status: u16,
    headers: &HeaderMap,
    leave_out: impl Fn(&str) -> bool,
) -> Option<(Bytes, u16)> {
    let mut head = Vec::with_capacity(512);
    let reason = http::StatusCode::from_u16(status)
        .ok()
        .and_then(|status| status.canonical_reason())
        .unwrap_or_default();
    head.extend_from_slice(format!("HTTP/1.1 {status} {reason}\r\n").as_bytes());
    let fields_at = u16::try_from(head.len()).ok()?;
    for (name, value) in headers {
        if leave_out(name.as_str()) {
            continue;
        }
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
        if head.len() > HEAD_BYTES_MAX {
            return None;
        }
    }
    Some((Bytes::from(head), fields_at))
}

/// `Bytes` as a plain octet string.
mod octets {
    use bytes::Bytes;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(octets: &Bytes, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(octets)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Bytes, D::Error> {
        <&[u8]>::deserialize(from).map(Bytes::copy_from_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_of_both_kinds() {
        let tags = tags(&[("Cache-Tag", "news, home"), ("surrogate-key", "home  a b")]);
        let tags = tags.expect("few tags");
        assert_eq!(
            tags.iter().map(AsRef::as_ref).collect::<Vec<_>>(),
            ["news", "home", "a", "b"]
        );
    }

    #[test]
    fn too_many_tags_are_refused() {
        let many = (0..=TAGS_MAX)
            .map(|at| format!("t{at}"))
            .collect::<Vec<_>>();
        assert_eq!(tags(&[("surrogate-key", many.join(" ").as_str())]), None);
        assert_eq!(tags(&[("cache-tag", many.join(",").as_str())]), None);
    }
}
