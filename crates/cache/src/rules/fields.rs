//! Header fields as the rules read them, wherever they come from.

use http::HeaderMap;

/// A list of header fields in order. Names may be in any case.
///
/// The hot path hands over what its parser left in place; everything else uses
/// [`HeaderMap`].
pub trait Fields: Sync {
    /// Calls `f` with each field line's name and value.
    fn visit<'a>(&'a self, f: &mut dyn FnMut(&'a str, &'a [u8]));
}

impl Fields for HeaderMap {
    fn visit<'a>(&'a self, f: &mut dyn FnMut(&'a str, &'a [u8])) {
        for (name, value) in self {
            f(name.as_str(), value.as_bytes());
        }
    }
}

impl Fields for [httparse::Header<'_>] {
    fn visit<'a>(&'a self, f: &mut dyn FnMut(&'a str, &'a [u8])) {
        for header in self {
            f(header.name, header.value);
        }
    }
}

impl<const N: usize> Fields for [(&str, &str); N] {
    fn visit<'a>(&'a self, f: &mut dyn FnMut(&'a str, &'a [u8])) {
        for (name, value) in self {
            f(name, value.as_bytes());
        }
    }
}

impl<T: Fields + ?Sized> Fields for &T {
    fn visit<'a>(&'a self, f: &mut dyn FnMut(&'a str, &'a [u8])) {
        (**self).visit(f);
    }
}

/// Optional whitespace stripped from both ends (RFC 9110 section 5.6.3).
pub(crate) fn trim(mut octets: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = octets {
        octets = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = octets {
        octets = rest;
    }
    octets
}

/// The members of a comma-separated list, commas in quoted strings left alone,
/// trimmed; empty members are left out (RFC 9110 section 5.6.1).
pub(crate) fn members(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(line);
    std::iter::from_fn(move || {
        loop {
            let line = rest?;
            let end = comma(line);
            rest = line.get(end + 1..);
            let member = trim(&line[..end]);
            if !member.is_empty() {
                return Some(member);
            }
        }
    })
}

/// Where the first comma outside a quoted string is, or the end.
fn comma(line: &[u8]) -> usize {
    let mut quoted = false;
    let mut escaped = false;
    for (at, octet) in line.iter().enumerate() {
        match octet {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b',' if !quoted => return at,
            _ => {}
        }
    }
    line.len()
}

/// A non-negative number of seconds: digits only. Values that do not fit become
/// 2^31, as RFC 9111 section 1.2.2 says.
pub(crate) fn delta_seconds(text: &[u8]) -> Option<u32> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value = text.iter().fold(0u64, |value, digit| {
        (value * 10 + u64::from(digit - b'0')).min(u64::from(DELTA_MAX))
    });
    Some(value as u32)
}

/// The largest number of seconds a cache needs to tell apart.
pub(crate) const DELTA_MAX: u32 = 1 << 31;

/// Appends a number in decimal.
pub fn push_number(to: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    to.extend_from_slice(&digits[at..]);
}

/// All lines of one field.
pub(crate) fn lines<'a>(fields: &'a dyn Fields, name: &str) -> smallvec::SmallVec<[&'a [u8]; 4]> {
    let mut found = smallvec::SmallVec::new();
    fields.visit(&mut |field, value| {
        if field.eq_ignore_ascii_case(name) {
            found.push(value);
        }
    });
    found
}

/// Fields that concern one connection only (RFC 9110 section 7.6.1) or that a cache
/// must not keep (RFC 9111 section 3.1): never stored, never forwarded as they are.
pub fn is_connection_field(name: &str) -> bool {
    const NAMES: [&str; 10] = [
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authentication-info",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    NAMES.iter().any(|known| name.eq_ignore_ascii_case(known))
}

/// The field names listed in `Connection`, in lower case: they concern one
/// connection only, too.
pub fn connection_options(fields: &dyn Fields) -> Vec<String> {
    let mut names = Vec::new();
    for line in lines(fields, "connection") {
        for member in members(line) {
            names.push(String::from_utf8_lossy(member).to_ascii_lowercase());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_split_outside_quotes_only() {
        let list: Vec<&[u8]> = members(br#" a ,, b="c, d" , e="\",f", "#).collect();
        assert_eq!(list, [&b"a"[..], br#"b="c, d""#, br#"e="\",f""#]);
        assert_eq!(members(b"").count(), 0);
        assert_eq!(
            members(br#"a="open, b"#).collect::<Vec<_>>(),
            [br#"a="open, b"#]
        );
    }

    #[test]
    fn seconds_are_digits_and_saturate() {
        assert_eq!(delta_seconds(b"003600"), Some(3600));
        assert_eq!(delta_seconds(b"2147483648"), Some(DELTA_MAX));
        assert_eq!(
            delta_seconds(b"99999999999999999999999999"),
            Some(DELTA_MAX)
        );
        for bad in ["", "-1", "+1", "1.0", " 1", "1a", "0x1", "'1'"] {
            assert_eq!(delta_seconds(bad.as_bytes()), None, "{bad:?}");
        }
    }
}
