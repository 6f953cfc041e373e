//! A request as the cache sees it.

use super::directives::RequestDirectives;
use super::fields::{Fields, trim};

/// How a method matters to a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestMethod {
    /// `GET`.
    Get,
    /// `HEAD`: answered from a stored `GET` response.
    Head,
    /// `POST`: its response may be kept for `GET` under conditions.
    Post,
    /// Safe, but not kept: `OPTIONS`, `TRACE`, `PROPFIND`, `REPORT`, `SEARCH`, `QUERY`.
    OtherSafe,
    /// Everything else may change things and invalidates (RFC 9111 section 4.4).
    Unsafe,
}

impl RequestMethod {
    /// Classifies a method, whose names are case-sensitive.
    pub fn of(method: &str) -> Self {
        match method {
            "GET" => Self::Get,
            "HEAD" => Self::Head,
            "POST" => Self::Post,
            "OPTIONS" | "TRACE" | "PROPFIND" | "REPORT" | "SEARCH" | "QUERY" => Self::OtherSafe,
            _ => Self::Unsafe,
        }
    }

    /// Whether the method cannot change anything (RFC 9110 section 9.2.1).
    pub fn is_safe(self) -> bool {
        matches!(self, Self::Get | Self::Head | Self::OtherSafe)
    }

    /// Whether a stored response can answer it.
    pub fn is_cacheable(self) -> bool {
        matches!(self, Self::Get | Self::Head)
    }
}

/// A request, read once.
#[derive(Clone, Copy)]
pub struct RequestView<'a> {
    /// How its method matters.
    pub method: RequestMethod,
    /// All its fields, for `Vary`.
    pub fields: &'a dyn Fields,
    /// Its `Cache-Control`; `Pragma: no-cache` counts where there is none
    /// (RFC 9111 section 5.4).
    pub directives: RequestDirectives,
    /// Whether it carries `Authorization`.
    pub authorization: bool,
    /// `Range`, when there is just one line of it.
    pub range: Option<&'a [u8]>,
    /// `If-Range`.
    pub if_range: Option<&'a [u8]>,
    /// Whether it carries `If-None-Match`.
    pub if_none_match: bool,
    /// `If-Modified-Since`, when there is just one line of it.
    pub if_modified_since: Option<&'a [u8]>,
    /// Whether it carries preconditions that only an origin may judge:
    /// `If-Match`, `If-Unmodified-Since` (RFC 9111 section 4.3.2).
    pub origin_preconditions: bool,
    /// Whether any of the fields above is there at all; without, a fresh stored
    /// response answers at once.
    pub plain: bool,
}

impl std::fmt::Debug for RequestView<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RequestView")
            .field("method", &self.method)
            .field("directives", &self.directives)
            .finish_non_exhaustive()
    }
}

impl<'a> RequestView<'a> {
    /// Reads a request's method and fields.
    pub fn new(method: &str, fields: &'a dyn Fields) -> Self {
        let mut view = Self {
            method: RequestMethod::of(method),
            fields,
            directives: RequestDirectives::default(),
            authorization: false,
            range: None,
            if_range: None,
            if_none_match: false,
            if_modified_since: None,
            origin_preconditions: false,
            plain: true,
        };
        let (mut ranges, mut dates) = (0, 0);
        let (mut cache_control, mut pragma_no_cache) = (false, false);
        fields.visit(&mut |name, value| {
            // Told apart by length first: most fields of most requests are none of these.
            let is = |known: &str| name.eq_ignore_ascii_case(known);
            match name.len() {
                5 if is("range") => {
                    ranges += 1;
                    view.range = Some(trim(value));
                }
                6 if is("pragma") => {
                    pragma_no_cache |= trim(value).eq_ignore_ascii_case(b"no-cache");
                }
                8 if is("if-range") => view.if_range = Some(trim(value)),
                8 if is("if-match") => view.origin_preconditions = true,
                13 if is("cache-control") => {
                    cache_control = true;
                    view.directives.add_line(value);
                }
                13 if is("authorization") => view.authorization = true,
                13 if is("if-none-match") => view.if_none_match = true,
                17 if is("if-modified-since") => {
                    dates += 1;
                    view.if_modified_since = Some(trim(value));
                }
                19 if is("if-unmodified-since") => view.origin_preconditions = true,
                _ => return,
            }
            view.plain = false;
        });
        if ranges > 1 {
            view.range = None;
        }
        if dates > 1 {
            view.if_modified_since = None;
        }
        if pragma_no_cache && !cache_control {
            view.directives.no_cache = true;
        }
        view
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pragma_counts_without_cache_control_only() {
        let no_cache = |fields: &dyn Fields| RequestView::new("GET", fields).directives.no_cache;
        assert!(no_cache(&[("pragma", "No-Cache")]));
        assert!(!no_cache(&[
            ("Pragma", "no-cache"),
            ("Cache-Control", "max-stale")
        ]));
        assert!(!no_cache(&[("pragma", "unrecognised-extension")]));
    }

    #[test]
    fn a_field_that_may_come_once_counts_for_nothing_twice() {
        let fields = [
            ("Range", "bytes=0-1"),
            ("range", "bytes=2-3"),
            ("if-modified-since", "x"),
            ("if-modified-since", "y"),
        ];
        let view = RequestView::new("GET", &fields);
        assert_eq!((view.range, view.if_modified_since), (None, None));
        assert!(!view.plain);
        assert!(RequestView::new("GET", &[("Accept", "*/*")]).plain);
    }

    #[test]
    fn unknown_methods_are_unsafe() {
        assert_eq!(RequestMethod::of("M-SEARCH"), RequestMethod::Unsafe);
        assert_eq!(RequestMethod::of("get"), RequestMethod::Unsafe);
        assert!(!RequestMethod::Post.is_safe() && RequestMethod::OtherSafe.is_safe());
    }
}
