//! `Cache-Control` in requests and responses (RFC 9111 section 5.2, RFC 5861,
//! RFC 8246).

use super::fields::{self, Fields, delta_seconds, members, trim};

/// A directive that carries seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Seconds {
    /// Not there.
    #[default]
    Absent,
    /// There, with a value.
    Of(u32),
    /// There, but its value is no number of seconds: freshness is to be doubted
    /// (RFC 9111 section 4.2.1).
    Invalid,
}

impl Seconds {
    /// The value, where there is a valid one.
    pub fn value(self) -> Option<u32> {
        match self {
            Self::Of(seconds) => Some(seconds),
            Self::Absent | Self::Invalid => None,
        }
    }

    /// Keeps the first of several values (RFC 9111 section 4.2.1).
    fn first(&mut self, argument: Option<&[u8]>) {
        if *self == Self::Absent {
            *self = argument
                .and_then(delta_seconds)
                .map_or(Self::Invalid, Self::Of);
        }
    }
}

/// A directive that concerns the whole response or just the fields it lists.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Qualified {
    /// Not there.
    #[default]
    Absent,
    /// The whole response.
    Whole,
    /// These fields, in lower case.
    Fields(Vec<String>),
}

impl Qualified {
    fn add(&mut self, argument: Option<&[u8]>) {
        let named: Vec<String> = argument
            .map(|list| {
                members(list)
                    .map(|name| String::from_utf8_lossy(name).to_ascii_lowercase())
                    .collect()
            })
            .unwrap_or_default();
        match self {
            _ if named.is_empty() => *self = Self::Whole,
            Self::Absent => *self = Self::Fields(named),
            Self::Fields(fields) => fields.extend(named),
            Self::Whole => {}
        }
    }
}

/// The response directives that a shared cache obeys.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "the names are the directives'")]
pub struct ResponseDirectives {
    pub max_age: Seconds,
    pub s_maxage: Seconds,
    pub no_store: bool,
    pub no_cache: Qualified,
    pub private: Qualified,
    pub public: bool,
    pub must_revalidate: bool,
    pub proxy_revalidate: bool,
    pub must_understand: bool,
    pub no_transform: bool,
    pub immutable: bool,
    pub stale_while_revalidate: Option<u32>,
    pub stale_if_error: Option<u32>,
}

impl ResponseDirectives {
    /// Reads all `Cache-Control` lines.
    pub fn parse(fields: &dyn Fields) -> Self {
        let mut directives = Self::default();
        for line in fields::lines(fields, "cache-control") {
            each_directive(line, |name, argument| directives.add(name, argument));
        }
        directives
    }

    /// Adds one directive; unknown ones are ignored (RFC 9111 section 5.2.3).
    pub(super) fn add(&mut self, name: &str, argument: Option<&[u8]>) {
        match name {
            "max-age" => self.max_age.first(argument),
            "s-maxage" => self.s_maxage.first(argument),
            "no-store" => self.no_store = true,
            "no-cache" => self.no_cache.add(argument),
            "private" => self.private.add(argument),
            "public" => self.public = true,
            "must-revalidate" => self.must_revalidate = true,
            "proxy-revalidate" => self.proxy_revalidate = true,
            "must-understand" => self.must_understand = true,
            "no-transform" => self.no_transform = true,
            "immutable" => self.immutable = true,
            "stale-while-revalidate" => {
                let value = argument.and_then(delta_seconds);
                self.stale_while_revalidate = self.stale_while_revalidate.or(value);
            }
            "stale-if-error" => {
                let value = argument.and_then(delta_seconds);
                self.stale_if_error = self.stale_if_error.or(value);
            }
            _ => {}
        }
    }
}

/// The request directives (RFC 9111 section 5.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "the names are the directives'")]
pub struct RequestDirectives {
    pub max_age: Seconds,
    pub min_fresh: Seconds,
    /// `Some(None)`: any staleness will do.
    pub max_stale: Option<Option<u32>>,
    pub no_cache: bool,
    pub no_store: bool,
    pub no_transform: bool,
    pub only_if_cached: bool,
    pub stale_if_error: Option<u32>,
}

impl RequestDirectives {
    /// Adds the directives of one `Cache-Control` line.
    pub fn add_line(&mut self, line: &[u8]) {
        each_directive(line, |name, argument| match name {
            "max-age" => self.max_age.first(argument),
            "min-fresh" => self.min_fresh.first(argument),
            // A value that is no number grants nothing.
            "max-stale" => match argument {
                None => self.max_stale = Some(None),
                Some(text) => self.max_stale = delta_seconds(text).map(Some),
            },
            "no-cache" => self.no_cache = true,
            "no-store" => self.no_store = true,
            "no-transform" => self.no_transform = true,
            "only-if-cached" => self.only_if_cached = true,
            "stale-if-error" => self.stale_if_error = argument.and_then(delta_seconds),
            _ => {}
        });
    }
}

/// Longest directive name that is looked at; longer ones are unknown anyway.
const NAME_BYTES_MAX: usize = 32;

/// Calls `f` with each directive's name in lower case and its argument, quotes
/// removed. Space around `=` is not allowed by the grammar: before it, the name is
/// nobody's; after it, the argument keeps it and is no number.
fn each_directive(line: &[u8], mut f: impl FnMut(&str, Option<&[u8]>)) {
    for member in members(line) {
        let equals = memchr::memchr(b'=', member);
        let name = &member[..equals.unwrap_or(member.len())];
        let mut lower = [0; NAME_BYTES_MAX];
        let Some(lower) = lower.get_mut(..name.len()) else {
            continue;
        };
        lower.copy_from_slice(name);
        lower.make_ascii_lowercase();
        let Ok(lower) = std::str::from_utf8(lower) else {
            continue;
        };
        match equals {
            None => f(lower, None),
            Some(at) => with_unquoted(&member[at + 1..], |argument| f(lower, Some(argument))),
        }
    }
}

/// Hands `f` the content of a quoted string, or a token as it is.
fn with_unquoted(text: &[u8], f: impl FnOnce(&[u8])) {
    match text {
        [b'"', inner @ .., b'"'] if memchr::memchr(b'\\', inner).is_none() => f(trim(inner)),
        [b'"', inner @ .., b'"'] => {
            let mut plain = Vec::with_capacity(inner.len());
            let mut octets = inner.iter();
            while let Some(octet) = octets.next() {
                let octet = if *octet == b'\\' {
                    octets.next()
                } else {
                    Some(octet)
                };
                plain.extend(octet);
            }
            f(trim(&plain));
        }
        token => f(token),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(lines: &[&str]) -> ResponseDirectives {
        let mut directives = ResponseDirectives::default();
        for line in lines {
            each_directive(line.as_bytes(), |name, argument| {
                directives.add(name, argument);
            });
        }
        directives
    }

    #[test]
    fn max_age_in_every_shape() {
        for (line, expected) in [
            ("max-age=3600", Seconds::Of(3600)),
            ("MaX-aGe=3600", Seconds::Of(3600)),
            ("max-age=\"3600\"", Seconds::Of(3600)),
            ("max-age='3600'", Seconds::Invalid),
            ("max-age=003600", Seconds::Of(3600)),
            ("max-age=3600.0", Seconds::Invalid),
            ("max-age=-3600", Seconds::Invalid),
            ("max-age=a3600", Seconds::Invalid),
            ("max-age= 3600", Seconds::Invalid),
            ("max-age =3600", Seconds::Absent),
            ("max-age", Seconds::Invalid),
            ("max-age=", Seconds::Invalid),
            ("max-age=99999999999", Seconds::Of(1 << 31)),
            ("extension=\"max-age=3600\", max-age=1", Seconds::Of(1)),
            ("max-age=1, extension=\"max-age=3600\"", Seconds::Of(1)),
            ("max-age=1800, max-age=1", Seconds::Of(1800)),
            ("foobar, max-age=3600", Seconds::Of(3600)),
        ] {
            assert_eq!(response(&[line]).max_age, expected, "{line}");
        }
        assert_eq!(
            response(&["max-age=1", "max-age=1800"]).max_age,
            Seconds::Of(1)
        );
    }

    #[test]
    fn restrictions_are_seen_in_any_case_and_company() {
        let directives = response(&["max-age=10, No-StOrE", "PRIVATE", "no-cache=\"a, B\""]);
        assert!(directives.no_store);
        assert_eq!(directives.private, Qualified::Whole);
        assert_eq!(
            directives.no_cache,
            Qualified::Fields(vec!["a".into(), "b".into()])
        );
        assert_eq!(
            response(&["no-cache=\"a\", no-cache"]).no_cache,
            Qualified::Whole
        );
        assert_eq!(
            response(&["no-cache, no-cache=\"a\""]).no_cache,
            Qualified::Whole
        );
        assert_eq!(response(&["private=\"\""]).private, Qualified::Whole);
    }

    #[test]
    fn request_directives() {
        let mut request = RequestDirectives::default();
        request.add_line(b"max-stale, min-fresh=5, only-if-cached, no-cache");
        assert_eq!(request.max_stale, Some(None));
        assert_eq!(request.min_fresh, Seconds::Of(5));
        assert!(request.only_if_cached && request.no_cache && !request.no_store);
        let mut odd = RequestDirectives::default();
        odd.add_line(b"max-stale=soon");
        assert_eq!(odd.max_stale, None);
    }
}
