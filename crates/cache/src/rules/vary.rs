//! `Vary`: which request fields selected a response (RFC 9111 section 4.1).

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::fields::{Fields, lines, members};

/// Most field names a `Vary` may list; a response that lists more is not kept.
pub const VARY_FIELDS_MAX: usize = 16;
/// Bytes of one normalised selecting value that are kept.
const VALUE_BYTES_MAX: usize = 4_096;

/// The selecting fields of a stored response, with the values that the request had
/// which brought it; empty when the response is for every request.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Vary {
    /// Names in lower case, sorted, with normalised values; `None`: absent.
    selecting: Vec<(String, Option<Vec<u8>>)>,
}

type Value = SmallVec<[u8; 128]>;

impl Vary {
    /// The selection that `response` asks for, filled in from `request`. `None` when
    /// nothing can match it later: `*`, too many names, or values out of bounds.
    pub fn select(response: &dyn Fields, request: &dyn Fields) -> Option<Self> {
        let mut names: Vec<String> = Vec::new();
        for line in lines(response, "vary") {
            for member in members(line) {
                if member == b"*" {
                    return None;
                }
                let name = String::from_utf8_lossy(member).to_ascii_lowercase();
                if !names.contains(&name) {
                    names.push(name);
                }
                if names.len() > VARY_FIELDS_MAX {
                    return None;
                }
            }
        }
        names.sort_unstable();
        let mut selecting = Vec::with_capacity(names.len());
        for name in names {
            let value = normalised(request, &name);
            if value
                .as_ref()
                .is_some_and(|value| value.len() > VALUE_BYTES_MAX)
            {
                return None;
            }
            selecting.push((name, value.map(SmallVec::into_vec)));
        }
        Some(Self { selecting })
    }

    /// Whether `request` selects the response.
    pub fn matches(&self, request: &dyn Fields) -> bool {
        self.selecting
            .iter()
            .all(|(name, stored)| normalised(request, name).as_deref() == stored.as_deref())
    }

    /// Whether every request selects the response.
    pub fn is_empty(&self) -> bool {
        self.selecting.is_empty()
    }

    /// Octets that differ for different selections; empty for none.
    pub fn identity(&self) -> Vec<u8> {
        let mut octets = Vec::new();
        for (name, value) in &self.selecting {
            octets.extend_from_slice(name.as_bytes());
            octets.push(0);
            if let Some(value) = value {
                octets.push(1);
                octets.extend_from_slice(value);
            }
            octets.push(0);
        }
        octets
    }
}

/// The lines of a field as one value in which only what means something differs:
/// lines joined, space around commas gone; for lists whose order and case mean
/// nothing, sorted and in lower case.
fn normalised(request: &dyn Fields, name: &str) -> Option<Value> {
    let found = lines(request, name);
    if found.is_empty() {
        return None;
    }
    let unordered = matches!(
        name,
        "accept-language" | "accept-encoding" | "accept-charset"
    );
    let mut parts: SmallVec<[Value; 4]> = SmallVec::new();
    for member in found.iter().flat_map(|line| members(line)) {
        let mut part = Value::new();
        if unordered {
            part.extend(
                member
                    .iter()
                    .filter(|octet| !b" \t".contains(octet))
                    .map(u8::to_ascii_lowercase),
            );
        } else {
            part.extend_from_slice(member);
        }
        parts.push(part);
    }
    if unordered {
        parts.sort_unstable();
    }
    let mut value = Value::new();
    for (at, part) in parts.iter().enumerate() {
        if at > 0 {
            value.push(b',');
        }
        value.extend_from_slice(part);
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(vary: &str, stored: &dyn Fields, request: &dyn Fields) -> bool {
        Vary::select(&[("Vary", vary)], stored).is_some_and(|vary| vary.matches(request))
    }

    #[test]
    fn a_star_matches_nothing() {
        for lines in [
            &[("Vary", "*")][..],
            &[("Vary", "*, *")],
            &[("Vary", ", *")],
            &[("Vary", "Foo, *")],
            &[("Vary", "*, Foo")],
        ] {
            assert_eq!(Vary::select(&[lines[0]], &[("foo", "1")]), None);
        }
        assert_eq!(
            Vary::select(&[("Vary", ""), ("vary", "*")], &[("a", "b")]),
            None
        );
    }

    #[test]
    fn all_selecting_fields_must_match_and_others_need_not() {
        let stored = [("Foo", "1"), ("Bar", "abc"), ("Other", "2")];
        assert!(same(
            "Foo, Bar",
            &stored,
            &[("bar", "abc"), ("foo", "1"), ("other", "3")]
        ));
        assert!(!same("Foo, Bar", &stored, &[("foo", "2"), ("bar", "abc")]));
        assert!(!same("Foo, Bar", &stored, &[("foo", "1")]));
        assert!(!same(
            "Foo, Bar",
            &[("foo", "1")],
            &[("foo", "1"), ("bar", "")]
        ));
        assert!(same("Foo, Bar", &[("foo", "1")], &[("foo", "1")]));
    }

    #[test]
    fn differences_without_meaning_do_not_count() {
        assert!(same(
            "Foo",
            &[("foo", "1, 2")],
            &[("Foo", "1"), ("foo", "2")]
        ));
        assert!(same("Foo", &[("foo", "1,2")], &[("foo", " 1, 2 ")]));
        assert!(!same("Foo", &[("foo", "1,2")], &[("foo", "2,1")]));
        assert!(!same("Foo", &[("foo", "a")], &[("foo", "A")]));
        let language = "Accept-Language";
        assert!(same(
            language,
            &[(language, "en, de")],
            &[(language, " De ,  eN")]
        ));
        assert!(!same(
            language,
            &[(language, "en;q=0.5")],
            &[(language, "en;q=0.6")]
        ));
    }

    #[test]
    fn identities_tell_selections_apart() {
        let of = |stored: &dyn Fields| {
            Vary::select(&[("Vary", "a, b")], stored)
                .expect("bounded")
                .identity()
        };
        assert_ne!(of(&[("a", "x")]), of(&[("b", "x")]));
        assert_ne!(of(&[("a", "")]), of(&[("c", "")]));
        assert_eq!(Vary::default().identity(), b"");
    }

    #[test]
    fn too_many_names_are_not_kept() {
        let many = (0..=VARY_FIELDS_MAX)
            .map(|at| format!("x{at}"))
            .collect::<Vec<_>>()
            .join(",");
        assert_eq!(
            Vary::select(&[("vary", many.as_str())], &[("a", "b")]),
            None
        );
    }
}
