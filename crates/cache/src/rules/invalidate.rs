//! What an unsafe request puts out of date (RFC 9111 section 4.4).

use http::HeaderMap;
use http::header::{CONTENT_LOCATION, LOCATION};

use super::request::RequestMethod;

/// A request target with its origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target<'a> {
    /// Whether the client used TLS.
    pub https: bool,
    /// The host, with its port if it sent one.
    pub host: &'a str,
    /// `/path?query`.
    pub target: &'a str,
}

impl Target<'_> {
    /// Resolves a reference (RFC 3986 section 5) to a target of the same origin;
    /// `None` when it leads elsewhere or is malformed.
    pub fn resolve(&self, reference: &[u8]) -> Option<String> {
        let reference = std::str::from_utf8(reference).ok()?.trim();
        if reference
            .bytes()
            .any(|octet| octet <= b' ' || octet == 0x7f)
        {
            return None;
        }
        let reference = reference.split('#').next().unwrap_or_default();
        let scheme = if self.https { "https" } else { "http" };
        let rest = match reference.split_once("://") {
            Some((given, rest)) if !given.contains(['/', '?']) => {
                if !given.eq_ignore_ascii_case(scheme) {
                    return None;
                }
                Some(rest)
            }
            _ => reference.strip_prefix("//"),
        };
        if let Some(rest) = rest {
            let end = rest.find(['/', '?']).unwrap_or(rest.len());
            let (authority, target) = rest.split_at(end);
            if !self.same_authority(authority) {
                return None;
            }
            return Some(match target {
                "" => "/".to_owned(),
                query if query.starts_with('?') => format!("/{query}"),
                path => without_dots(path),
            });
        }
        let base_path = self.target.split('?').next().unwrap_or_default();
        Some(match reference {
            "" => self.target.to_owned(),
            path if path.starts_with('/') => without_dots(path),
            query if query.starts_with('?') => format!("{base_path}{query}"),
            relative => {
                let colon = relative.find(':');
                let end = relative.find(['/', '?']).unwrap_or(relative.len());
                if colon.is_some_and(|colon| colon < end) {
                    // Another scheme: `mailto:`.
                    return None;
                }
                let directory = &base_path[..base_path.rfind('/').map_or(0, |at| at + 1)];
                without_dots(&format!("{directory}{relative}"))
            }
        })
    }

    fn same_authority(&self, authority: &str) -> bool {
        let default = if self.https { ":443" } else { ":80" };
        let bare = |host: &str| {
            host.strip_suffix(default)
                .unwrap_or(host)
                .to_ascii_lowercase()
        };
        bare(authority) == bare(self.host)
    }
}

/// Removes `.` and `..` segments (RFC 3986 section 5.2.4); a query is left alone.
fn without_dots(target: &str) -> String {
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    kept.pop();
                }
                if last {
                    kept.push("");
                }
            }
            other => kept.push(other),
        }
    }
    let mut result = format!("/{}", kept.join("/"));
    if let Some(query) = query {
        result.push('?');
        result.push_str(query);
    }
    result
}

/// The targets whose stored responses are out of date after a response to `method`:
/// the request's own, and those of `Location` and `Content-Location` on the same
/// origin, so that nobody can put another host's content out of date.
pub fn invalidated_targets(
    method: RequestMethod,
    target: Target<'_>,
    status: u16,
    headers: &HeaderMap,
) -> Vec<String> {
    if method.is_safe() || !(200..400).contains(&status) {
        return Vec::new();
    }
    let mut targets = vec![target.target.to_owned()];
    for name in [LOCATION, CONTENT_LOCATION] {
        let other = headers
            .get(name)
            .and_then(|value| target.resolve(value.as_bytes()));
        targets.extend(other.filter(|other| other != target.target));
    }
    targets.dedup();
    targets
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: Target<'static> = Target {
        https: false,
        host: "www.example.tw",
        target: "/a/b?c",
    };

    #[test]
    fn references_resolve_within_the_origin() {
        for (reference, expected) in [
            ("", Some("/a/b?c")),
            ("d", Some("/a/d")),
            ("./d?e", Some("/a/d?e")),
            ("../d", Some("/d")),
            ("../../../d", Some("/d")),
            ("..", Some("/")),
            ("/x/./y/../z", Some("/x/z")),
            ("?q", Some("/a/b?q")),
            ("//WWW.example.tw:80/x", Some("/x")),
            ("http://www.example.tw", Some("/")),
            ("http://www.example.tw?q", Some("/?q")),
            ("/x#fragment", Some("/x")),
            ("/x?u=http://other/", Some("/x?u=http://other/")),
            ("https://www.example.tw/x", None),
            ("http://other.tw/x", None),
            ("//other.tw/x", None),
            ("http://www.example.tw:8080/x", None),
            ("mailto:a@b", None),
            ("/a b", None),
        ] {
            assert_eq!(
                BASE.resolve(reference.as_bytes()).as_deref(),
                expected,
                "{reference:?}"
            );
        }
    }

    #[test]
    fn only_success_of_an_unsafe_method_invalidates() {
        let mut headers = HeaderMap::new();
        headers.insert("location", "new".parse().expect("a value"));
        headers.insert(
            "content-location",
            "http://other.tw/".parse().expect("a value"),
        );
        let of = |method: &str, status| {
            invalidated_targets(RequestMethod::of(method), BASE, status, &headers)
        };
        for method in ["POST", "PUT", "DELETE", "M-SEARCH"] {
            assert_eq!(of(method, 201), ["/a/b?c", "/a/new"], "{method}");
        }
        assert!(of("POST", 500).is_empty());
        assert!(of("GET", 200).is_empty());
        assert!(of("OPTIONS", 200).is_empty());
    }
}
