//! By what an object is found: pure, no I/O.
//!
//! A term is text with a prefix that says its kind:
//! `w:` a word (Latin words whole, Han and kana as pairs of neighbours),
//! `v:` a value that can be looked up, as [`Target`] writes it, `d:` a name above a domain,
//! `r:` an object that this one refers to, `f:` a facet (type, source, confidence, kind).

use base::enforcement::{Digest, Target};
use serde_json::Value;

use crate::stix::pattern::{self, Comparison, Constant, Observation, Operator};
use crate::stix::simple::{self, Simple};

/// Terms of one object at most; further words are not indexed.
pub const TERMS_MAX: usize = 400;
/// Characters of one property that are indexed.
const TEXT_CHARS_MAX: usize = 4_000;
/// Characters of one word.
const WORD_CHARS_MAX: usize = 64;
/// Nesting of an object that is looked into.
const DEPTH_MAX: usize = 12;
/// Stated confidences that can be asked for as a least one.
pub const CONFIDENCES: [u8; 3] = [30, 50, 80];

/// The key of a term in a collection's lists.
pub fn key(collection: i64, term: &str) -> i64 {
    // FNV-1a with a last mixing; two terms that share a key are told apart when the
    // object itself is looked at.
    let mut hash = 0xcbf2_9ce4_8422_2325_u64 ^ collection.unsigned_abs().rotate_left(32);
    for byte in term.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (hash ^ (hash >> 29)).cast_signed()
}

/// Text as it is compared: lower case, full-width letters and digits as ASCII.
pub fn fold(text: &str) -> String {
    text.chars().flat_map(fold_char).collect()
}

/// As [`fold`], one character.
pub(crate) fn fold_char(c: char) -> std::char::ToLowercase {
    let narrow = match c {
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(c as u32 - 0xfee0).unwrap_or(c),
        '\u{3000}' => ' ',
        c => c,
    };
    narrow.to_lowercase()
}

/// Scripts that are written without spaces.
fn is_han(c: char) -> bool {
    matches!(c as u32,
        0x2e80..=0x2fff | 0x3040..=0x30ff | 0x3100..=0x312f | 0x31a0..=0x31ff | 0x3400..=0x4dbf
        | 0x4e00..=0x9fff | 0xac00..=0xd7af | 0xf900..=0xfaff | 0x20000..=0x3ffff)
}

/// The words of folded text, in order: Latin words, pairs of Han.
pub fn words(folded: &str) -> Vec<String> {
    let mut out = Vec::new();
    let mut word = String::new();
    let mut han: Vec<char> = Vec::new();
    for c in folded.chars().chain(std::iter::once(' ')) {
        let (is_word, is_han) = (c.is_alphanumeric() && !is_han(c), is_han(c));
        if !is_word && !word.is_empty() {
            out.push(std::mem::take(&mut word));
        }
        if !is_han && !han.is_empty() {
            match han.as_slice() {
                [one] => out.push(one.to_string()),
                many => out.extend(many.windows(2).map(|pair| pair.iter().collect())),
            }
            han.clear();
        }
        if is_word && word.chars().count() < WORD_CHARS_MAX {
            word.push(c);
        } else if is_han {
            han.push(c);
        }
    }
    out
}

/// What gathers terms, each once, up to a bound.
#[derive(Default)]
struct Terms {
    all: Vec<String>,
    known: std::collections::HashSet<String>,
}

impl Terms {
    fn add(&mut self, term: String) {
        if self.all.len() < TERMS_MAX && self.known.insert(term.clone()) {
            self.all.push(term);
        }
    }

    fn text(&mut self, text: &str) {
        let cut: String = text.chars().take(TEXT_CHARS_MAX).collect();
        for word in words(&fold(&cut)) {
            self.add(format!("w:{word}"));
        }
    }

    fn target(&mut self, target: &Target) {
        self.add(format!("v:{target}"));
        self.add(format!("f:value={}", target.kind().name()));
        if let Target::Domain { name, .. } = target {
            let mut rest = &**name;
            while let Some((_, above)) = rest.split_once('.') {
                if above.contains('.') {
                    self.add(format!("d:{above}"));
                }
                rest = above;
            }
        }
    }
}

/// Terms of values that versions of the extraction after `since` may find and it did not
/// (`reindex::EXTRACTION`); without a rule for that version, all. A few too many only cost time.
pub fn more_since(object: &Value, since: i64) -> Vec<String> {
    let text = |name: &str| object[name].as_str().unwrap_or_default();
    let finds_more = match since {
        // Patterns with other than simple alternatives, and values in other scripts.
        1 => {
            text("type") == "indicator"
                && text("pattern_type") == "stix"
                && pattern::parse(text("pattern")).is_ok_and(|tree| !simple::is_plain(&tree))
        }
        _ => true,
    };
    if !finds_more {
        return Vec::new();
    }
    let mut terms = Terms::default();
    for target in targets(object) {
        terms.target(&target);
    }
    terms.all
}

/// The terms of an object from the organisation `source` (empty: the house).
pub fn of(object: &Value, source: &str) -> Vec<String> {
    let mut terms = Terms::default();
    let text = |name: &str| object[name].as_str();
    let kind = text("type").unwrap_or_default();
    terms.add(format!("f:type={kind}"));
    // What was fetched from another house is this house's, as to who may see it.
    let org = match source.starts_with(super::super::VIA_PREFIX) {
        true => "",
        false => source,
    };
    terms.add(format!("f:source={org}"));
    if let Some(confidence) = object["confidence"].as_u64() {
        for least in CONFIDENCES {
            if confidence >= u64::from(least) {
                terms.add(format!("f:confidence={least}"));
            }
        }
    }
    if let Some(id) = text("id") {
        terms.add(format!("i:{id}"));
    }
    for target in targets(object) {
        terms.target(&target);
    }
    // Names first, so that the bound cuts descriptions.
    for name in ["name", "aliases", "value"] {
        strings(&object[name], 0, &mut |text| terms.text(text));
    }
    // A single Han asked for is looked for in names only.
    for han in text("name")
        .unwrap_or_default()
        .chars()
        .filter(|c| is_han(*c))
    {
        terms.add(format!("w:{han}"));
    }
    if let Some(Ok(tree)) = text("pattern").map(pattern::parse) {
        constants(&tree, &mut |text| terms.text(text));
    }
    if let Value::Object(map) = object {
        for (name, value) in map {
            member(name, value, 0, &mut terms);
        }
    }
    terms.all
}

/// Members that say nothing to those who search.
const SILENT: [&str; 14] = [
    "id",
    "type",
    "spec_version",
    "created",
    "modified",
    "valid_from",
    "valid_until",
    "first_seen",
    "last_seen",
    "first_observed",
    "last_observed",
    "pattern",
    "pattern_type",
    "pattern_version",
];

fn member(name: &str, value: &Value, depth: usize, terms: &mut Terms) {
    if depth > DEPTH_MAX || SILENT.contains(&name) {
        return;
    }
    if name.ends_with("_ref") || name.ends_with("_refs") {
        // Markings are on everything, and looked at where rows are read.
        if name != "object_marking_refs" && name != "marking_ref" {
            strings(value, depth, &mut |id| terms.add(format!("r:{id}")));
        }
        return;
    }
    match value {
        Value::String(text) => terms.text(text),
        Value::Array(items) => items
            .iter()
            .for_each(|item| member("", item, depth + 1, terms)),
        Value::Object(map) => map
            .iter()
            .for_each(|(name, item)| member(name, item, depth + 1, terms)),
        _ => {}
    }
}

fn strings(value: &Value, depth: usize, found: &mut impl FnMut(&str)) {
    match value {
        Value::String(text) => found(text),
        Value::Array(items) if depth <= DEPTH_MAX => {
            for item in items {
                strings(item, depth + 1, found);
            }
        }
        _ => {}
    }
}

/// The texts that a pattern compares with.
fn constants(tree: &Observation, found: &mut impl FnMut(&str)) {
    match tree {
        Observation::One(comparison) => comparisons(comparison, found),
        Observation::And(one, other)
        | Observation::Or(one, other)
        | Observation::FollowedBy(one, other) => {
            constants(one, found);
            constants(other, found);
        }
        Observation::Within(one, _)
        | Observation::Repeats(one, _)
        | Observation::During(one, ..) => constants(one, found),
    }
}

fn comparisons(tree: &Comparison, found: &mut impl FnMut(&str)) {
    match tree {
        Comparison::And(one, other) | Comparison::Or(one, other) => {
            comparisons(one, found);
            comparisons(other, found);
        }
        Comparison::Test(test) => match &test.operator {
            Operator::Equal(Constant::Text(text))
            | Operator::NotEqual(Constant::Text(text))
            | Operator::Like(text, _) => found(text),
            Operator::In(set) => set.iter().for_each(|constant| {
                if let Constant::Text(text) = constant {
                    found(text);
                }
            }),
            Operator::IsSubset(prefix) | Operator::IsSuperset(prefix) => {
                found(&prefix.to_string());
            }
            _ => {}
        },
    }
}

/// The values that an object is about, as far as they can be looked up.
pub fn targets(object: &Value) -> Vec<Target> {
    let text = |name: &str| object[name].as_str().unwrap_or_default();
    match text("type") {
        "indicator" if text("pattern_type") == "stix" => match pattern::parse(text("pattern")) {
            Ok(tree) => simple::extract(&tree)
                .into_iter()
                .filter_map(target_of)
                .collect(),
            Err(_) => Vec::new(),
        },
        "ipv4-addr" | "ipv6-addr" => pattern::prefix_of(text("value"))
            .map(Target::network)
            .into_iter()
            .collect(),
        "domain-name" => Target::domain(text("value")).into_iter().collect(),
        "url" => Target::url(text("value")).into_iter().collect(),
        "file" | "artifact" => {
            let Some(hashes) = object["hashes"].as_object() else {
                return Vec::new();
            };
            hashes
                .iter()
                .filter_map(|(name, hex)| {
                    target_of(Simple::Hash(
                        name.to_ascii_uppercase(),
                        hex.as_str()?.to_owned(),
                    ))
                })
                .collect()
        }
        _ => Vec::new(),
    }
}

/// What is enforced for a simple indicator; none for what nodes cannot see.
pub fn target_of(simple: Simple) -> Option<Target> {
    match simple {
        Simple::Prefix(prefix) => Some(Target::network(prefix)),
        Simple::Domain(name) => Target::domain(&name).ok(),
        Simple::Url(url) => Target::url(&url).ok(),
        Simple::Hash(algorithm, hex) => {
            let digest = match algorithm.as_str() {
                "MD5" => Digest::Md5,
                "SHA-1" => Digest::Sha1,
                "SHA-256" => Digest::Sha256,
                _ => return None,
            };
            Target::file(digest, &hex).ok()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn chinese_is_found_by_pairs_and_latin_by_words() {
        assert_eq!(
            words(&fold("釣魚網站 APT29's ＡＢ１ 毒")),
            ["釣魚", "魚網", "網站", "apt29", "s", "ab1", "毒"]
        );
        assert!(words("").is_empty());
    }

    #[test]
    fn an_indicator_is_found_by_value_name_reference_and_facet() {
        let object = json!({
            "type": "indicator", "id": "indicator--1", "name": "釣魚中繼站", "confidence": 60, "pattern_type": "stix",
            "pattern": "[domain-name:value = 'www.evil.example'] OR [ipv4-addr:value = '198.51.100.7']",
            "created_by_ref": "identity--2", "object_marking_refs": ["marking-definition--3"], "x": {"y_refs": ["a--4"]},
        });
        let terms = of(&object, "org");
        for wanted in [
            "f:type=indicator",
            "f:source=org",
            "f:confidence=30",
            "f:confidence=50",
            "f:value=domain",
            "f:value=address",
            "v:www.evil.example",
            "d:evil.example",
            "v:198.51.100.7",
            "w:釣魚",
            "w:繼站",
            "w:evil",
            "r:identity--2",
            "r:a--4",
            "i:indicator--1",
        ] {
            assert!(
                terms.iter().any(|term| term == wanted),
                "{wanted} in {terms:?}"
            );
        }
        assert!(
            !terms
                .iter()
                .any(|term| term.contains("marking") || term == "f:confidence=80")
        );
    }

    #[test]
    fn terms_are_bounded_and_keys_differ() {
        let long: String = (0..10_000).map(|n| format!("w{n} ")).collect();
        assert_eq!(
            of(&json!({"description": long, "x_more": [long]}), "").len(),
            TERMS_MAX
        );
        assert_ne!(key(1, "w:a"), key(2, "w:a"));
        assert_ne!(key(1, "w:a"), key(1, "w:b"));
    }
}
