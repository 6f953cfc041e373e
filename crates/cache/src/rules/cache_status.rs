//! The `Cache-Status` response field (RFC 9211).

use super::fields::push_number;

/// Why a request went on to the origin (RFC 9211 section 2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forward {
    /// The cache was told to stay out.
    Bypass,
    /// The method is not answered from a cache.
    Method,
    /// Nothing was stored for the URL.
    UriMiss,
    /// Something was, but for other requests.
    VaryMiss,
    /// The request's own directives asked for it.
    Request,
    /// What was stored is stale.
    Stale,
    /// What was stored holds only some of what was asked for.
    Partial,
}

impl Forward {
    fn token(self) -> &'static str {
        match self {
            Self::Bypass => "bypass",
            Self::Method => "method",
            Self::UriMiss => "uri-miss",
            Self::VaryMiss => "vary-miss",
            Self::Request => "request",
            Self::Stale => "stale",
            Self::Partial => "partial",
        }
    }
}

/// What one cache did with one request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CacheStatus<'a> {
    /// Answered without going forward; excludes `forward`.
    pub hit: bool,
    /// Why it went forward.
    pub forward: Option<Forward>,
    /// The status that the origin answered.
    pub forward_status: Option<u16>,
    /// Whether the response was kept.
    pub stored: bool,
    /// Whether it waited for somebody else's request.
    pub collapsed: bool,
    /// Seconds until stale; negative since.
    pub ttl_s: Option<i64>,
    /// A short token that says more.
    pub detail: Option<&'a str>,
}

impl CacheStatus<'_> {
    /// Appends the field's value for a cache called `name`, as [`cache_name`] writes it.
    pub fn write(&self, name: &str, to: &mut Vec<u8>) {
        to.extend_from_slice(name.as_bytes());
        if self.hit {
            to.extend_from_slice(b"; hit");
        }
        if let Some(forward) = self.forward.filter(|_| !self.hit) {
            to.extend_from_slice(b"; fwd=");
            to.extend_from_slice(forward.token().as_bytes());
            if let Some(status) = self.forward_status {
                number(to, b"; fwd-status=", i64::from(status));
            }
            if self.stored {
                to.extend_from_slice(b"; stored");
            }
            if self.collapsed {
                to.extend_from_slice(b"; collapsed");
            }
        }
        if let Some(ttl) = self.ttl_s {
            number(to, b"; ttl=", ttl);
        }
        if let Some(detail) = self.detail {
            to.extend_from_slice(b"; detail=");
            to.extend_from_slice(detail.as_bytes());
        }
    }
}

/// A node's name as the field begins with it: a token where it can be one, else a string
/// (RFC 8941 section 3.3).
pub fn cache_name(node: &str) -> String {
    let token = node.starts_with(|first: char| first.is_ascii_alphabetic() || first == '*')
        && node
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:/".contains(&b));
    if token {
        return node.to_owned();
    }
    let printed: String = node
        .chars()
        .filter(|c| matches!(c, ' '..='~') && !matches!(c, '"' | '\\'))
        .collect();
    format!("\"{printed}\"")
}

fn number(to: &mut Vec<u8>, name: &[u8], value: i64) {
    to.extend_from_slice(name);
    if value < 0 {
        to.push(b'-');
    }
    push_number(to, value.unsigned_abs());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(status: CacheStatus<'_>) -> String {
        let mut octets = Vec::new();
        status.write("edge-hsinchu", &mut octets);
        String::from_utf8(octets).expect("ASCII")
    }

    #[test]
    fn a_name_that_is_no_token_is_quoted() {
        for (node, said) in [
            ("edge-hsinchu", "edge-hsinchu"),
            ("3f2a91c0d1e2", "\"3f2a91c0d1e2\""),
            ("a b\"c", "\"a bc\""),
            ("", "\"\""),
        ] {
            assert_eq!(cache_name(node), said);
        }
    }

    #[test]
    fn hits_and_misses_read_as_the_rfc_shows() {
        let hit = CacheStatus {
            hit: true,
            ttl_s: Some(376),
            ..CacheStatus::default()
        };
        assert_eq!(text(hit), "edge-hsinchu; hit; ttl=376");
        let miss = CacheStatus {
            forward: Some(Forward::UriMiss),
            forward_status: Some(200),
            stored: true,
            collapsed: true,
            ..CacheStatus::default()
        };
        assert_eq!(
            text(miss),
            "edge-hsinchu; fwd=uri-miss; fwd-status=200; stored; collapsed"
        );
        let stale = CacheStatus {
            hit: true,
            ttl_s: Some(-412),
            detail: Some("stale-if-error"),
            ..CacheStatus::default()
        };
        assert_eq!(
            text(stale),
            "edge-hsinchu; hit; ttl=-412; detail=stale-if-error"
        );
    }
}
