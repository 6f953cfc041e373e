//! Keys of blobs: paths without any way out.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Bytes of a key.
pub(super) const KEY_BYTES_MAX: usize = 512;
/// Segments of a key.
pub(super) const SEGMENTS_MAX: usize = 16;
/// Bytes of a segment: what file systems take.
pub(super) const SEGMENT_BYTES_MAX: usize = 200;

/// A key such as `cases/0192…/attachment.pdf`: segments of `A-Z a-z 0-9 . _ -`
/// joined by `/`, none of which begins with a dot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct BlobKey(String);

/// A text that is no key.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{text:?} is no blob key: {rule}")]
pub struct InvalidKey {
    text: String,
    rule: &'static str,
}

impl BlobKey {
    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Joins parts into a key.
    ///
    /// # Errors
    /// When the result is no key.
    pub fn join<P: AsRef<str>>(parts: &[P]) -> Result<Self, InvalidKey> {
        let parts: Vec<&str> = parts.iter().map(AsRef::as_ref).collect();
        parts.join("/").parse()
    }
}

impl FromStr for BlobKey {
    type Err = InvalidKey;
    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        let invalid = |rule| InvalidKey {
            text: text.chars().take(80).collect(),
            rule,
        };
        if text.len() > KEY_BYTES_MAX || text.split('/').count() > SEGMENTS_MAX {
            return Err(invalid(
                "must have at most 512 characters in at most 16 segments",
            ));
        }
        for segment in text.split('/') {
            if segment.is_empty() || segment.len() > SEGMENT_BYTES_MAX {
                return Err(invalid("each segment must have 1 to 200 characters"));
            }
            if segment.starts_with('.') {
                return Err(invalid("no segment may begin with a dot"));
            }
            let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
            if !segment.bytes().all(plain) {
                return Err(invalid("must be of A-Z, a-z, 0-9, '.', '_', '-' and '/'"));
            }
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for BlobKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for BlobKey {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_leads_out_of_the_directory() {
        let long = "x".repeat(201);
        for bad in [
            "",
            "/",
            "/etc/passwd",
            "a//b",
            "a/",
            "../a",
            "a/../b",
            "a/./b",
            ".tmp/x",
            "a\\b",
            "a\0b",
            "a b",
            "ａ",
            "a%2e",
            &long,
        ] {
            assert!(bad.parse::<BlobKey>().is_err(), "{bad:?}");
        }
        for good in ["a", "a/b.c/d-e_f", "0..9"] {
            assert_eq!(good.parse::<BlobKey>().expect("valid").as_str(), good);
        }
        assert!(BlobKey::join(&["a", "../b"]).is_err());
    }
}
