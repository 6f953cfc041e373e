//! Targeted cache control: `CDN-Cache-Control` (RFC 9213), and the older
//! `Surrogate-Control` (W3C Note "Edge Architecture") that origins still send.
//!
//! A targeted field that is valid and not empty replaces `Cache-Control` and
//! `Expires` for this cache. `CDN-Cache-Control` is a Structured Fields dictionary
//! (RFC 8941); one that does not parse is as good as absent. Keys are read in any
//! case, because cache directives are.

use super::directives::{Qualified, ResponseDirectives, Seconds};
use super::fields::{self, DELTA_MAX, Fields, members, trim};

/// The name by which `Surrogate-Control` parameters address this cache; sent as
/// `Surrogate-Capability: civicnet="Surrogate/1.0"`.
pub const SURROGATE_TOKEN: &str = "civicnet";

/// The directives of the first targeted field that applies.
pub(super) fn directives(fields: &dyn Fields) -> Option<ResponseDirectives> {
    cdn_cache_control(&fields::lines(fields, "cdn-cache-control"))
        .or_else(|| surrogate_control(&fields::lines(fields, "surrogate-control")))
}

fn cdn_cache_control(lines: &[&[u8]]) -> Option<ResponseDirectives> {
    let joined = lines.join(&b", "[..]);
    let mut dictionary = Dictionary {
        rest: trim(&joined),
    };
    let mut directives = ResponseDirectives::default();
    let mut any = false;
    while !dictionary.rest.is_empty() {
        let (key, value) = dictionary.member()?;
        any = true;
        apply(&mut directives, &key, &value);
    }
    any.then_some(directives)
}

/// In a dictionary the last member of a name wins (RFC 8941 section 4.2.2).
fn apply(directives: &mut ResponseDirectives, key: &str, value: &Value) {
    let seconds = match value {
        Value::Integer(number) => {
            u32::try_from((*number).min(i64::from(DELTA_MAX))).map_or(Seconds::Invalid, Seconds::Of)
        }
        _ => Seconds::Invalid,
    };
    let flag = matches!(value, Value::Boolean(true));
    match key {
        "max-age" => directives.max_age = seconds,
        "s-maxage" => directives.s_maxage = seconds,
        "stale-while-revalidate" => directives.stale_while_revalidate = seconds.value(),
        "stale-if-error" => directives.stale_if_error = seconds.value(),
        "no-cache" | "private" => {
            let qualified = match value {
                Value::Boolean(true) => Qualified::Whole,
                Value::Text(list) => Qualified::Fields(
                    members(list.as_bytes())
                        .map(|name| String::from_utf8_lossy(name).to_ascii_lowercase())
                        .collect(),
                ),
                _ => Qualified::Absent,
            };
            if key == "private" {
                directives.private = qualified;
            } else {
                directives.no_cache = qualified;
            }
        }
        "no-store" => directives.no_store = flag,
        "public" => directives.public = flag,
        "must-revalidate" => directives.must_revalidate = flag,
        "proxy-revalidate" => directives.proxy_revalidate = flag,
        "must-understand" => directives.must_understand = flag,
        "no-transform" => directives.no_transform = flag,
        "immutable" => directives.immutable = flag,
        _ => {}
    }
}

#[derive(Debug, PartialEq)]
enum Value {
    Integer(i64),
    Boolean(bool),
    Text(String),
    /// A decimal, a token, a byte sequence or an inner list: no directive has one.
    Other,
}

/// A reader of RFC 8941 dictionaries.
struct Dictionary<'a> {
    rest: &'a [u8],
}

impl Dictionary<'_> {
    fn member(&mut self) -> Option<(String, Value)> {
        let key = self.key()?;
        let value = if self.take(b'=') {
            self.value()?
        } else {
            Value::Boolean(true)
        };
        self.parameters()?;
        self.rest = trim(self.rest);
        if !self.rest.is_empty() {
            if !self.take(b',') {
                return None;
            }
            self.rest = trim(self.rest);
            if self.rest.is_empty() {
                // A trailing comma is an error (section 4.2.2).
                return None;
            }
        }
        Some((key, value))
    }

    fn take(&mut self, octet: u8) -> bool {
        match self.rest {
            [first, rest @ ..] if *first == octet => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    fn take_while(&mut self, accept: impl Fn(&u8) -> bool) -> String {
        let end = self
            .rest
            .iter()
            .position(|octet| !accept(octet))
            .unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        String::from_utf8_lossy(taken).into_owned()
    }

    fn key(&mut self) -> Option<String> {
        let starts = |octet: &u8| octet.is_ascii_alphabetic() || *octet == b'*';
        self.rest.first().filter(|octet| starts(octet))?;
        Some(
            self.take_while(|octet| octet.is_ascii_alphanumeric() || b"_-.*".contains(octet))
                .to_ascii_lowercase(),
        )
    }

    fn value(&mut self) -> Option<Value> {
        match self.rest.first()? {
            b'(' => self.inner_list(),
            _ => self.item(),
        }
    }

    fn item(&mut self) -> Option<Value> {
        match *self.rest.first()? {
            b'"' => self.string(),
            b'?' => {
                self.take(b'?');
                match (self.take(b'1'), self.take(b'0')) {
                    (true, false) => Some(Value::Boolean(true)),
                    (false, true) => Some(Value::Boolean(false)),
                    _ => None,
                }
            }
            b':' => {
                self.take(b':');
                self.take_while(|octet| octet.is_ascii_alphanumeric() || b"+/=".contains(octet));
                self.take(b':').then_some(Value::Other)
            }
            b'-' | b'0'..=b'9' => {
                let negative = self.take(b'-');
                let digits = self.take_while(u8::is_ascii_digit);
                if digits.is_empty() || digits.len() > 15 {
                    return None;
                }
                if self.take(b'.') {
                    let fraction = self.take_while(u8::is_ascii_digit);
                    return (1..=3).contains(&fraction.len()).then_some(Value::Other);
                }
                let number: i64 = digits.parse().ok()?;
                Some(Value::Integer(if negative { -number } else { number }))
            }
            octet if octet.is_ascii_alphabetic() || octet == b'*' => {
                self.take_while(|octet| {
                    octet.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:/".contains(octet)
                });
                Some(Value::Other)
            }
            _ => None,
        }
    }

    fn string(&mut self) -> Option<Value> {
        self.take(b'"');
        let mut text = String::new();
        loop {
            let (octet, rest) = self.rest.split_first()?;
            self.rest = rest;
            match octet {
                b'"' => return Some(Value::Text(text)),
                b'\\' => {
                    let (escaped, rest) = self.rest.split_first()?;
                    self.rest = rest;
                    if !b"\"\\".contains(escaped) {
                        return None;
                    }
                    text.push(char::from(*escaped));
                }
                0x20..=0x7e => text.push(char::from(*octet)),
                _ => return None,
            }
        }
    }

    fn inner_list(&mut self) -> Option<Value> {
        self.take(b'(');
        loop {
            self.rest = trim(self.rest);
            if self.take(b')') {
                return Some(Value::Other);
            }
            self.item()?;
            self.parameters()?;
        }
    }

    fn parameters(&mut self) -> Option<()> {
        while self.take(b';') {
            self.rest = trim(self.rest);
            self.key()?;
            if self.take(b'=') {
                self.item()?;
            }
        }
        Some(())
    }
}

/// `max-age=3600;civicnet, no-store;somebody-else`: a directive with a parameter is
/// for the surrogate it names only.
fn surrogate_control(lines: &[&[u8]]) -> Option<ResponseDirectives> {
    let mut directives = ResponseDirectives::default();
    let mut any = false;
    for member in lines.iter().flat_map(|line| members(line)) {
        let mut parts = member.split(|octet| *octet == b';');
        let directive = parts.next().unwrap_or_default();
        let mut targets = parts.map(trim).peekable();
        if targets.peek().is_some()
            && !targets.any(|name| name.eq_ignore_ascii_case(SURROGATE_TOKEN.as_bytes()))
        {
            continue;
        }
        let (name, argument) = match memchr::memchr(b'=', directive) {
            Some(at) => (&directive[..at], Some(&directive[at + 1..])),
            None => (directive, None),
        };
        let name = String::from_utf8_lossy(name).to_ascii_lowercase();
        if matches!(name.as_str(), "max-age" | "no-store" | "no-store-remote") {
            any = true;
            // `max-age=3600+600`: the second number is time to serve stale.
            let mut numbers = argument
                .unwrap_or_default()
                .splitn(2, |octet| *octet == b'+');
            let first = numbers.next();
            directives.add(
                name.trim_end_matches("-remote"),
                first.filter(|_| argument.is_some()),
            );
        }
    }
    any.then_some(directives)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn max_age(line: &str) -> Option<Seconds> {
        directives(&[("CDN-Cache-Control", line)]).map(|directives| directives.max_age)
    }

    #[test]
    fn a_dictionary_that_does_not_parse_is_absent() {
        for line in [
            "max-age =100",
            "max-age= 100",
            "max-age=100,",
            "max-age=1 no-store",
            "\"x\"",
            "max-age=1234567890123456",
            "a=\"open",
            "",
        ] {
            assert_eq!(max_age(line), None, "{line}");
        }
    }

    #[test]
    fn values_are_typed_and_the_last_member_wins() {
        assert_eq!(max_age("max-age=3600"), Some(Seconds::Of(3600)));
        assert_eq!(max_age("MaX-aGe=3600;x=1"), Some(Seconds::Of(3600)));
        assert_eq!(max_age("max-age=99999999999"), Some(Seconds::Of(1 << 31)));
        assert_eq!(max_age("max-age=-1"), Some(Seconds::Invalid));
        assert_eq!(max_age("max-age=\"5\""), Some(Seconds::Invalid));
        assert_eq!(max_age("max-age=1.5"), Some(Seconds::Invalid));
        assert_eq!(max_age("max-age"), Some(Seconds::Invalid));
        assert_eq!(max_age("max-age=1, max-age=2"), Some(Seconds::Of(2)));
        assert_eq!(
            max_age("x=(a \"b\";c), y=:aGk=:, z=tok, max-age=7"),
            Some(Seconds::Of(7))
        );
        let two = directives(&[
            ("cdn-cache-control", "no-store"),
            ("cdn-cache-control", "max-age=1"),
        ])
        .expect("valid");
        assert!(two.no_store && two.max_age == Seconds::Of(1));
        assert!(
            !directives(&[("cdn-cache-control", "no-store=?0")])
                .expect("valid")
                .no_store
        );
    }

    #[test]
    fn surrogate_directives_for_others_are_not_ours() {
        let ours = |line| directives(&[("Surrogate-Control", line)]).map(|found| found.max_age);
        assert_eq!(ours("max-age=3600;not-for-you"), None);
        assert_eq!(ours("max-age=3600;civicnet"), Some(Seconds::Of(3600)));
        assert_eq!(ours("MaX-aGe=3600+60"), Some(Seconds::Of(3600)));
        assert_eq!(ours("foo"), None);
        assert!(
            directives(&[("Surrogate-Control", "no-store")])
                .expect("ours")
                .no_store
        );
    }
}
