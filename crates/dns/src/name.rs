//! Domain names in wire form (RFC 1035 section 3.1), and their text form (section 5.1).
//!
//! A [`Name`] is the uncompressed wire form with its final zero byte. Because a
//! length byte is at most 63, and so below `A`, lowering the whole wire form lowers
//! the letters only (RFC 4343).

use std::fmt;

/// Bytes of the longest name in wire form (RFC 1035 section 2.3.4).
pub const NAME_BYTES_MAX: usize = 255;
/// Bytes of the longest label (RFC 1035 section 2.3.4).
pub const LABEL_BYTES_MAX: usize = 63;

/// An absolute domain name, uncompressed, in the case it was written.
///
/// `==` compares bytes; use [`Name::lowercase`] first where DNS equality is meant.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(Box<[u8]>);

/// Why a text is not a domain name.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{text:?} is not a domain name: {rule}")]
pub struct InvalidName {
    text: String,
    rule: &'static str,
}

impl Name {
    /// The root, `.`.
    pub fn root() -> Self {
        Self(Box::new([0]))
    }

    /// Takes one uncompressed name that fills `wire` exactly.
    pub fn from_wire(wire: &[u8]) -> Option<Self> {
        (wire_length(wire)? == wire.len()).then(|| Self(wire.into()))
    }

    /// Reads the text form. A name without a final dot is completed with `origin`,
    /// or, when there is none, taken as absolute.
    ///
    /// # Errors
    /// An empty label, a label over 63 bytes, a name over 255, a bad escape.
    pub fn parse(text: &[u8], origin: Option<&Self>) -> Result<Self, InvalidName> {
        let invalid = |rule| InvalidName {
            text: String::from_utf8_lossy(text).chars().take(300).collect(),
            rule,
        };
        if text == b"." {
            return Ok(Self::root());
        }
        if text == b"@"
            && let Some(origin) = origin
        {
            return Ok(origin.clone());
        }
        if text.is_empty() {
            return Err(invalid("must not be empty"));
        }
        let mut wire = Vec::with_capacity(text.len() + 2);
        let mut label_at = 0;
        wire.push(0);
        let mut absolute = false;
        let mut at = 0;
        while at < text.len() {
            let byte = text[at];
            at += 1;
            if byte == b'.' {
                let length = wire.len() - label_at - 1;
                if length == 0 {
                    return Err(invalid("a label must not be empty"));
                }
                wire[label_at] = length as u8;
                label_at = wire.len();
                wire.push(0);
                absolute = at == text.len();
                continue;
            }
            let byte = if byte == b'\\' {
                let (byte, used) = unescape(&text[at..]).ok_or_else(|| {
                    invalid("after \\ must come three digits up to 255, or another character")
                })?;
                at += used;
                byte
            } else {
                byte
            };
            wire.push(byte);
            if wire.len() - label_at - 1 > LABEL_BYTES_MAX {
                return Err(invalid("a label must be at most 63 bytes"));
            }
        }
        if !absolute {
            wire[label_at] = (wire.len() - label_at - 1) as u8;
            match origin {
                Some(origin) => wire.extend_from_slice(&origin.0),
                None => wire.push(0),
            }
        }
        if wire.len() > NAME_BYTES_MAX {
            return Err(invalid("must be at most 255 bytes in wire form"));
        }
        Ok(Self(wire.into()))
    }

    /// The wire form, ending in a zero byte.
    pub fn as_wire(&self) -> &[u8] {
        &self.0
    }

    /// The same name in lower case, for comparing.
    #[must_use]
    pub fn lowercase(&self) -> Self {
        Self(self.0.to_ascii_lowercase().into())
    }

    /// Whether `self` is `other` or lies below it, whatever the case.
    pub fn is_within(&self, other: &Self) -> bool {
        let Some(skip) = self.0.len().checked_sub(other.0.len()) else {
            return false;
        };
        suffixes(&self.0).any(|at| at == skip) && self.0[skip..].eq_ignore_ascii_case(&other.0)
    }

    /// The name without its first label; none for the root.
    pub fn parent(&self) -> Option<Self> {
        (self.0[0] != 0).then(|| Self(self.0[usize::from(self.0[0]) + 1..].into()))
    }

    /// How many labels it has, the root's empty one not counted.
    pub fn labels(&self) -> usize {
        suffixes(&self.0).count() - 1
    }

    /// Whether the first label is `*` (RFC 4592 section 2.1.1).
    pub fn is_wildcard(&self) -> bool {
        self.0.starts_with(b"\x01*")
    }
}

/// The length of the uncompressed name at the start of `wire`, if there is one.
pub fn wire_length(wire: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let length = usize::from(*wire.get(at)?);
        at += 1 + length;
        if length > LABEL_BYTES_MAX || at > NAME_BYTES_MAX {
            return None;
        }
        if length == 0 {
            return Some(at);
        }
    }
}

/// Where each suffix of an uncompressed name begins: the name itself, its parent …
/// the root.
pub fn suffixes(wire: &[u8]) -> impl Iterator<Item = usize> + '_ {
    let mut next = Some(0);
    std::iter::from_fn(move || {
        let at = next?;
        next = match wire.get(at) {
            Some(0) | None => None,
            Some(length) => Some(at + 1 + usize::from(*length)),
        };
        Some(at)
    })
}

/// Reads what follows a backslash: the byte meant, and how many bytes of text it took.
pub(crate) fn unescape(text: &[u8]) -> Option<(u8, usize)> {
    let first = *text.first()?;
    if !first.is_ascii_digit() {
        return Some((first, 1));
    }
    let digits = text.get(..3)?;
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value = digits
        .iter()
        .fold(0_u32, |sum, digit| sum * 10 + u32::from(digit - b'0'));
    Some((u8::try_from(value).ok()?, 3))
}

/// Writes an uncompressed wire name as text, escaping as RFC 1035 section 5.1 does.
pub fn write_text(wire: &[u8], f: &mut impl fmt::Write) -> fmt::Result {
    if wire.first().is_none_or(|length| *length == 0) {
        return f.write_char('.');
    }
    let mut rest = wire;
    while let Some((&length, tail)) = rest.split_first() {
        if length == 0 {
            break;
        }
        let length = usize::from(length).min(tail.len());
        for &byte in &tail[..length] {
            match byte {
                b'.' | b'\\' | b'"' | b'(' | b')' | b';' | b'@' | b'$' => {
                    write!(f, "\\{}", char::from(byte))?;
                }
                0x21..=0x7e => f.write_char(char::from(byte))?,
                _ => write!(f, "\\{byte:03}")?,
            }
        }
        f.write_char('.')?;
        rest = &tail[length..];
    }
    Ok(())
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_text(&self.0, f)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_text(&self.0, f)
    }
}

impl std::str::FromStr for Name {
    type Err = InvalidName;
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        Self::parse(text.as_bytes(), None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        text.parse().expect("a name")
    }

    #[test]
    fn text_goes_to_wire_and_back() {
        for (text, wire) in [
            (".", &b"\0"[..]),
            ("a.b.", b"\x01a\x01b\0"),
            ("a\\.b.c.", b"\x03a.b\x01c\0"),
            ("\\000\\255.c.", b"\x02\x00\xff\x01c\0"),
            ("*.Example.", b"\x01*\x07Example\0"),
        ] {
            assert_eq!(name(text).as_wire(), wire, "{text}");
            assert_eq!(name(text).to_string(), text);
        }
    }

    #[test]
    fn relative_names_take_the_origin() {
        let origin = name("example.");
        let parse = |text: &str| Name::parse(text.as_bytes(), Some(&origin)).expect("a name");
        assert_eq!(parse("www").to_string(), "www.example.");
        assert_eq!(parse("www.").to_string(), "www.");
        assert_eq!(parse("@").to_string(), "example.");
        assert_eq!(parse("\\@").to_string(), "\\@.example.");
    }

    #[test]
    fn bad_names_are_refused_with_the_rule() {
        let long_label = "a".repeat(64);
        let long_name = "aaaaaaa.".repeat(32);
        for bad in [
            "",
            "..",
            "a..b",
            ".a",
            "\\",
            "\\25",
            "\\256",
            &long_label,
            &long_name,
        ] {
            let error = Name::parse(bad.as_bytes(), None).expect_err("not a name");
            assert!(
                error.to_string().contains("is not a domain name: "),
                "{error}"
            );
        }
        assert!("aaaaaaa.".repeat(31).parse::<Name>().is_ok());
    }

    #[test]
    fn within_looks_at_labels_not_at_bytes() {
        assert!(name("a.EXAMPLE.").is_within(&name("example.")));
        assert!(name("example.").is_within(&name("example.")));
        assert!(name("example.").is_within(&Name::root()));
        assert!(!name("badexample.").is_within(&name("example.")));
        assert!(!name("example.").is_within(&name("a.example.")));
        // The bytes of "\007example" inside a label are not a suffix.
        assert!(!name("x\\007example.").is_within(&name("example.")));
    }
}
