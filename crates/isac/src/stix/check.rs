//! Whether an object keeps the rules of STIX 2.1, and what the store needs to know of it.
//!
//! Known types are checked against the table in `spec.txt`; types and properties that
//! it does not know are extensions, which are checked for the grammar of their names
//! and for what every object has in common.

use std::fmt::Write as _;

use super::extra;
use super::json::{Node, Value};
use super::spec::{Kind, Rule, SPEC, Shape};
use super::time;
use super::tlp::Tlp;

/// Characters of an identifier.
pub const ID_CHARS_MAX: usize = 287;
/// Characters of a type's name at least (STIX 2.1 part 3.1).
pub const TYPE_CHARS_MIN: usize = 3;
/// Characters of a type's or property's name (STIX 2.1 part 3.1).
pub const NAME_CHARS_MAX: usize = 250;

/// Where an object breaks which rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {rule}")]
pub struct Wrong {
    /// The place in the object: `kill_chain_phases[0].phase_name`; empty: the object.
    pub path: String,
    /// What must hold there.
    pub rule: String,
}

/// What kind of object it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Domain and relationship objects, and types of extensions: they have versions.
    Versioned,
    /// Marking definitions: created, never modified.
    Created,
    /// Cyber-observables: what they say is what they are.
    Observable,
}

/// An object that keeps the rules.
#[derive(Debug)]
pub struct Object<'a, 'n> {
    /// `indicator--…`
    pub id: &'n str,
    /// `indicator`
    pub kind: &'n str,
    /// What of versions applies.
    pub family: Family,
    /// `modified`, else `created`, in microseconds; `None` for cyber-observables.
    pub version: Option<i64>,
    /// 0 to 100.
    pub confidence: Option<u8>,
    /// The most closed marking that it carries.
    pub tlp: Tlp,
    /// No longer held to be true by its maker.
    pub revoked: bool,
    /// All of it.
    pub node: &'n Node<'a>,
}

/// Checks `node` as an object of STIX 2.1.
///
/// # Errors
/// The first rule that it breaks, with the path.
pub fn check<'a, 'n>(node: &'n Node<'a>) -> Result<Object<'a, 'n>, Wrong> {
    let top = At(None, Step::Top);
    let Some(members) = node.map() else {
        return Err(top.wrong("must be an object"));
    };
    let kind = top.needed(node, "type")?;
    if kind.len() < TYPE_CHARS_MIN || !name_is_good(kind, b'-') {
        return Err(top
            .name("type")
            .wrong("must be 3 to 250 of a-z, 0-9 and hyphens"));
    }
    let id = top.needed(node, "id")?;
    if kind == "bundle" {
        return Err(top
            .name("type")
            .wrong("must not be a bundle within a collection"));
    }
    let id_at = top.name("id");
    check_id(&id_at, id, &[])?;
    if id.split_once("--").map(|(kind, _)| kind) != Some(kind) {
        return Err(id_at.wrong(format!("must begin with {kind}--")));
    }
    let shape = SPEC.types.get(kind);
    let family = family_of(kind, node);
    match node.get("spec_version").map(|node| (node, node.text())) {
        Some((_, Some("2.1"))) => {}
        Some(_) => return Err(top.name("spec_version").wrong("must be \"2.1\"")),
        // Without it, it is an object of STIX 2.0, but for observables.
        None if family == Family::Observable => {}
        None => return Err(top.name("spec_version").wrong("is required: \"2.1\"")),
    }
    let must_have: &[&str] = match family {
        Family::Versioned => &["created", "modified"],
        Family::Created => &["created"],
        Family::Observable => &[],
    };
    for name in must_have {
        if node.get(name).is_none() {
            return Err(top.name(name).wrong("is required"));
        }
    }
    let common = SPEC.nested.get("common");
    for (name, value) in members {
        let at = top.name(name);
        if !name_is_good(name, b'_') {
            return Err(at.wrong("must have a name of a-z, 0-9 and underscores, at most 250"));
        }
        let known = shape
            .and_then(|shape| shape.kinds.get(name.as_ref()))
            .or_else(|| common.and_then(|common| common.kinds.get(name.as_ref())));
        match known {
            Some(kind) => check_value(&at, value, kind)?,
            None => check_custom(&at, value)?,
        }
    }
    if let Some(common) = common {
        check_rules(&top, node, common)?;
    }
    if let Some(shape) = shape {
        check_shape(&top, node, shape)?;
    }
    extra::check(&top, node, kind)?;
    if kind == "indicator" && node.text_of("pattern_type") == Some("stix") {
        let pattern = node.text_of("pattern").unwrap_or_default();
        if let Err(error) = super::pattern::parse(pattern) {
            return Err(top.name("pattern").wrong(error.to_string()));
        }
    }
    let micros = |name| node.text_of(name).and_then(time::parse);
    Ok(Object {
        id,
        kind,
        family,
        version: match family {
            Family::Observable => None,
            _ => micros("modified").or_else(|| micros("created")),
        },
        confidence: node
            .get("confidence")
            .and_then(Node::integer)
            .and_then(|number| u8::try_from(number).ok()),
        tlp: Tlp::of_object(node),
        revoked: matches!(
            node.get("revoked").map(|node| &node.value),
            Some(Value::Bool(true))
        ),
        node,
    })
}

/// Whether `kind` is a type of cyber-observable that the standard defines.
pub fn is_observable(kind: &str) -> bool {
    matches!(
        kind,
        "artifact"
            | "autonomous-system"
            | "directory"
            | "domain-name"
            | "email-addr"
            | "email-message"
            | "file"
            | "ipv4-addr"
            | "ipv6-addr"
            | "mac-addr"
            | "mutex"
            | "network-traffic"
            | "process"
            | "software"
            | "url"
            | "user-account"
            | "windows-registry-key"
            | "x509-certificate"
    )
}

fn family_of(kind: &str, node: &Node<'_>) -> Family {
    if kind == "marking-definition" {
        return Family::Created;
    }
    // An extension may define cyber-observables of its own, and so may a custom type (STIX 2.1
    // part 11.2): without any time it can be nothing else.
    let new_sco = || {
        let timeless = node.get("created").is_none() && node.text_of("spec_version") == Some("2.1");
        timeless
            || node
                .get("extensions")
                .and_then(Node::map)
                .unwrap_or_default()
                .iter()
                .any(|(_, extension)| extension.text_of("extension_type") == Some("new-sco"))
    };
    if is_observable(kind)
        || (!SPEC.types.contains_key(kind) && node.get("modified").is_none() && new_sco())
    {
        return Family::Observable;
    }
    Family::Versioned
}

/// A place in an object; printed only when something is wrong there.
pub(super) struct At<'p>(Option<&'p At<'p>>, Step<'p>);

pub(super) enum Step<'p> {
    Top,
    Name(&'p str),
    Item(usize),
}

impl<'p> At<'p> {
    pub(super) fn name<'q>(&'q self, name: &'q str) -> At<'q> {
        At(Some(self), Step::Name(name))
    }

    pub(super) fn item(&self, index: usize) -> At<'_> {
        At(Some(self), Step::Item(index))
    }

    fn write(&self, out: &mut String) {
        if let Some(parent) = self.0 {
            parent.write(out);
        }
        match self.1 {
            Step::Top => {}
            Step::Name(name) => {
                if !out.is_empty() {
                    out.push('.');
                }
                out.extend(name.chars().take(NAME_CHARS_MAX));
            }
            // Writing to a string does not fail.
            Step::Item(index) => drop(write!(out, "[{index}]")),
        }
    }

    pub(super) fn wrong(&self, rule: impl Into<String>) -> Wrong {
        let mut path = String::new();
        self.write(&mut path);
        Wrong {
            path,
            rule: rule.into(),
        }
    }

    fn needed<'n>(&self, node: &'n Node<'_>, name: &str) -> Result<&'n str, Wrong> {
        match node.get(name) {
            None => Err(self.name(name).wrong("is required")),
            Some(found) => found
                .text()
                .ok_or_else(|| self.name(name).wrong("must be a string")),
        }
    }
}

/// Names of types (with hyphens) and properties (with underscores).
fn name_is_good(name: &str, joiner: u8) -> bool {
    (1..=NAME_CHARS_MAX).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == joiner)
}

fn check_id(at: &At<'_>, id: &str, types: &[&str]) -> Result<(), Wrong> {
    let wrong = || at.wrong("must be a type, two hyphens and a UUID in lower case");
    if id.len() > ID_CHARS_MAX {
        return Err(at.wrong(format!("must have at most {ID_CHARS_MAX} characters")));
    }
    let (kind, uuid) = id.split_once("--").ok_or_else(wrong)?;
    let shaped = uuid.len() == 36
        && uuid.bytes().enumerate().all(|(place, byte)| match place {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_digit() || matches!(byte, b'a'..=b'f'),
        });
    if !shaped || !name_is_good(kind, b'-') {
        return Err(wrong());
    }
    if !types.is_empty() && !types.contains(&kind) {
        return Err(at.wrong(format!("must refer to {}", types.join(" or "))));
    }
    if kind == "bundle" {
        return Err(at.wrong("must not be or refer to a bundle: it is no object"));
    }
    Ok(())
}

fn check_shape(at: &At<'_>, node: &Node<'_>, shape: &Shape) -> Result<(), Wrong> {
    for name in &shape.required {
        if node.get(name).is_none() {
            return Err(at.name(name).wrong("is required"));
        }
    }
    check_rules(at, node, shape)
}

fn check_rules(at: &At<'_>, node: &Node<'_>, shape: &Shape) -> Result<(), Wrong> {
    for rule in &shape.rules {
        match rule {
            Rule::Any(names) => {
                if !names.iter().any(|name| node.get(name).is_some()) {
                    return Err(at.wrong(format!("must have at least one of {}", names.join(", "))));
                }
            }
            Rule::With(one, other) => {
                if node.get(one).is_some() && node.get(other).is_none() {
                    return Err(at.name(other).wrong(format!("is required beside {one}")));
                }
            }
            Rule::Order(first, second, strict) => {
                let micros = |name| node.text_of(name).and_then(time::parse);
                if let (Some(one), Some(other)) = (micros(first), micros(second))
                    && (one > other || (*strict && one == other))
                {
                    let word = if *strict { "be after" } else { "not be before" };
                    return Err(at.name(second).wrong(format!("must {word} {first}")));
                }
            }
        }
    }
    Ok(())
}

fn check_value(at: &At<'_>, node: &Node<'_>, kind: &Kind) -> Result<(), Wrong> {
    let text = || node.text().ok_or_else(|| at.wrong("must be a string"));
    match kind {
        Kind::Text => drop(text()?),
        Kind::Bool => {
            if !matches!(node.value, Value::Bool(_)) {
                return Err(at.wrong("must be true or false"));
            }
        }
        Kind::Integer(low, high) => {
            let Some(number) = node.integer() else {
                return Err(at.wrong("must be a whole number"));
            };
            if low.is_some_and(|low| number < low) || high.is_some_and(|high| number > high) {
                return Err(at.wrong(between(low, high)));
            }
        }
        Kind::Float(low, high) => {
            let Some(number) = node.float() else {
                return Err(at.wrong("must be a number"));
            };
            if low.is_some_and(|low| number < low) || high.is_some_and(|high| number > high) {
                return Err(at.wrong(between(low, high)));
            }
        }
        Kind::Time => {
            if time::parse(text()?).is_none() {
                return Err(at.wrong("must be a time like 2026-01-05T08:00:00.000Z"));
            }
        }
        Kind::Id => check_id(at, text()?, &[])?,
        Kind::Ref(types) => check_id(at, text()?, types)?,
        Kind::Enum(values) => {
            if !values.contains(&text()?) {
                return Err(at.wrong(format!("must be one of {}", values.join(", "))));
            }
        }
        Kind::Hex => {
            let text = text()?;
            if text.len() % 2 != 0 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Err(at.wrong("must be an even number of hexadecimal digits"));
            }
        }
        Kind::Binary => {
            use base64::Engine as _;
            let engine = base64::engine::general_purpose::STANDARD;
            if engine.decode(text()?).is_err() {
                return Err(at.wrong("must be base64"));
            }
        }
        Kind::List(inner) => {
            let items = node.list().ok_or_else(|| at.wrong("must be a list"))?;
            if items.is_empty() {
                return Err(at.wrong("must not be empty: leave it out"));
            }
            for (index, item) in items.iter().enumerate() {
                check_value(&at.item(index), item, inner)?;
            }
        }
        Kind::Dict => {
            let members = node.map().ok_or_else(|| at.wrong("must be an object"))?;
            for (name, value) in members {
                let at = at.name(name);
                if name.is_empty() || name.chars().count() > NAME_CHARS_MAX {
                    return Err(at.wrong("must have a name of 1 to 250 characters"));
                }
                check_custom(&at, value)?;
            }
        }
        Kind::Hashes => check_hashes(at, node)?,
        Kind::Extensions => check_extensions(at, node)?,
        Kind::Nested(name) => {
            let members = node.map().ok_or_else(|| at.wrong("must be an object"))?;
            if let Some(shape) = SPEC.nested.get(name) {
                for (name, value) in members {
                    let at = at.name(name);
                    match shape.kinds.get(name.as_ref()) {
                        Some(kind) => check_value(&at, value, kind)?,
                        None => check_custom(&at, value)?,
                    }
                }
                check_shape(at, node, shape)?;
            }
        }
    }
    Ok(())
}

fn between<T: std::fmt::Display>(low: &Option<T>, high: &Option<T>) -> String {
    match (low, high) {
        (Some(low), Some(high)) => format!("must be {low} to {high}"),
        (Some(low), None) => format!("must be at least {low}"),
        (None, Some(high)) => format!("must be at most {high}"),
        (None, None) => "must be a number".to_owned(),
    }
}

/// Hexadecimal digits of the hashes of STIX 2.1 (part 10.6) that have a fixed length.
fn hash_digits(algorithm: &str) -> Option<usize> {
    Some(match algorithm {
        "MD5" => 32,
        "SHA-1" => 40,
        "SHA-256" | "SHA3-256" => 64,
        "SHA-512" | "SHA3-512" => 128,
        _ => return None,
    })
}

fn check_hashes(at: &At<'_>, node: &Node<'_>) -> Result<(), Wrong> {
    let members = node.map().ok_or_else(|| at.wrong("must be an object"))?;
    if members.is_empty() {
        return Err(at.wrong("must not be empty: leave it out"));
    }
    for (name, value) in members {
        let at = at.name(name);
        let text = value.text().ok_or_else(|| at.wrong("must be a string"))?;
        if let Some(digits) = hash_digits(name)
            && (text.len() != digits || !text.bytes().all(|byte| byte.is_ascii_hexdigit()))
        {
            return Err(at.wrong(format!("must be {digits} hexadecimal digits")));
        }
    }
    Ok(())
}

fn check_extensions(at: &At<'_>, node: &Node<'_>) -> Result<(), Wrong> {
    let members = node.map().ok_or_else(|| at.wrong("must be an object"))?;
    if members.is_empty() {
        return Err(at.wrong("must not be empty: leave it out"));
    }
    for (name, value) in members {
        let at = at.name(name);
        if value.map().is_none() {
            return Err(at.wrong("must be an object"));
        }
        if name.starts_with("extension-definition--") {
            check_id(&at, name, &["extension-definition"])?;
        } else if let Some((known, _)) = SPEC.nested.get_key_value(name.as_ref())
            && known.ends_with("-ext")
        {
            check_value(&at, value, &Kind::Nested(known))?;
            continue;
        } else if !name.ends_with("-ext") {
            return Err(at.wrong("must be named by an extension-definition, or end with -ext"));
        }
        check_custom(&at, value)?;
    }
    Ok(())
}

/// What no table describes may be anything but null and an empty list.
fn check_custom(at: &At<'_>, node: &Node<'_>) -> Result<(), Wrong> {
    match &node.value {
        Value::Null => Err(at.wrong("must not be null: leave it out")),
        // Empty lists are prohibited in STIX (2.1, part 2: list), wherever they stand.
        Value::List(items) if items.is_empty() => Err(at.wrong("must not be empty: leave it out")),
        Value::List(items) => {
            for (index, item) in items.iter().enumerate() {
                check_custom(&at.item(index), item)?;
            }
            Ok(())
        }
        Value::Map(members) => {
            for (name, value) in members {
                check_custom(&at.name(name), value)?;
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::json::parse;
    use super::*;

    const INDICATOR: &str = r#"{"type":"indicator","spec_version":"2.1","id":"indicator--8e2e2d2b-17d4-4cbf-938f-98ee46b3cd3f",
        "created":"2016-04-06T20:03:48.000Z","modified":"2016-04-06T20:03:48.000Z","indicator_types":["malicious-activity"],
        "name":"中繼站","pattern":"[ipv4-addr:value = '198.51.100.7']","pattern_type":"stix","valid_from":"2016-01-01T00:00:00Z",
        "confidence":85,"object_marking_refs":["marking-definition--55d920b0-5e8b-4f79-9ee9-91f868d9b421"],
        "kill_chain_phases":[{"kill_chain_name":"lmco","phase_name":"c2"}],"x_custom":{"a":[1]}}"#;

    fn said(text: &str) -> String {
        let node = parse(text.as_bytes()).expect("JSON");
        match check(&node) {
            Ok(_) => "good".to_owned(),
            Err(wrong) => wrong.to_string(),
        }
    }

    #[test]
    fn a_good_indicator_is_understood() {
        let node = parse(INDICATOR.as_bytes()).expect("JSON");
        let object = check(&node).expect("good");
        assert_eq!(
            (object.kind, object.family),
            ("indicator", Family::Versioned)
        );
        assert_eq!(object.version, time::parse("2016-04-06T20:03:48Z"));
        assert_eq!((object.confidence, object.tlp), (Some(85), Tlp::Amber));
    }

    #[test]
    fn errors_name_path_and_rule() {
        for (from, to, expected) in [
            (
                "\"c2\"",
                "7",
                "kill_chain_phases[0].phase_name: must be a string",
            ),
            (":85", ":101", "confidence: must be 0 to 100"),
            (
                "\"spec_version\":\"2.1\",",
                "",
                "spec_version: is required: \"2.1\"",
            ),
            (
                "\"valid_from\":\"2016-01-01T00:00:00Z\"",
                "\"x\":1",
                "valid_from: is required",
            ),
            (
                "[\"malicious-activity\"]",
                "[]",
                "indicator_types: must not be empty: leave it out",
            ),
            (
                "\"modified\":\"2016",
                "\"modified\":\"2015",
                "modified: must not be before created",
            ),
            (
                "\"indicator--8e",
                "\"malware--8e",
                "id: must begin with indicator--",
            ),
            (
                "[1]",
                "[null]",
                "x_custom.a[0]: must not be null: leave it out",
            ),
            ("[1]", "[]", "x_custom.a: must not be empty: leave it out"),
            (
                "\"x_custom\":{\"a\":[1]}",
                "\"x_list\":[]",
                "x_list: must not be empty: leave it out",
            ),
            ("{\"type\":\"indicator\",", "{", "type: is required"),
            (
                "\"marking-definition--55",
                "\"identity--55",
                "object_marking_refs[0]: must refer to marking-definition",
            ),
        ] {
            assert_eq!(said(&INDICATOR.replacen(from, to, 1)), expected);
        }
        let bad = said(&INDICATOR.replace("[ipv4-addr:value = ", "[ipv4-addr:value "));
        assert!(bad.starts_with("pattern: "), "{bad}");
    }

    #[test]
    fn observables_have_no_versions_and_rules_of_their_own() {
        assert_eq!(
            said(
                r#"{"type":"ipv4-addr","id":"ipv4-addr--ff26c055-6336-5bc5-b98d-13d6226742dd","value":"198.51.100.3"}"#
            ),
            "good"
        );
        assert_eq!(
            said(r#"{"type":"file","id":"file--ff26c055-6336-5bc5-b98d-13d6226742dd","size":3}"#),
            ": must have at least one of hashes, name"
        );
        assert_eq!(
            said(
                r#"{"type":"file","id":"file--ff26c055-6336-5bc5-b98d-13d6226742dd","hashes":{"MD5":"x"}}"#
            ),
            "hashes.MD5: must be 32 hexadecimal digits"
        );
        assert_eq!(
            said(
                r#"{"type":"x-own","id":"x-own--ff26c055-6336-5bc5-b98d-13d6226742dd","spec_version":"2.1"}"#
            ),
            "good"
        );
        assert_eq!(
            said(
                r#"{"type":"x-own","id":"x-own--ff26c055-6336-5bc5-b98d-13d6226742dd","spec_version":"2.1","modified":"2026-01-01T00:00:00Z"}"#
            ),
            "created: is required"
        );
        assert!(
            said(r#"{"type":"xx","id":"xx--ff26c055-6336-5bc5-b98d-13d6226742dd","spec_version":"2.1"}"#)
                .starts_with("type: must be 3 to 250")
        );
    }

    #[test]
    fn a_hundred_thousand_mutations_do_no_harm() {
        let mut state = 0x1234_5678_9ABC_DEF1_u64;
        let mut random = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        let mut read = 0_u32;
        for _ in 0..100_000 {
            let mut bytes = INDICATOR.as_bytes().to_vec();
            for _ in 0..=random() % 4 {
                let at = (random() % bytes.len() as u64) as usize;
                bytes[at] = b"{}[]\",:\\0e-tu 'a9="[(random() % 18) as usize];
            }
            if let Ok(node) = parse(&bytes) {
                read += 1;
                // Both outcomes are fine; panics are not.
                drop(check(&node).map(|object| object.tlp));
            }
        }
        assert!(read > 1_000, "only {read} mutations were JSON");
    }
}
