//! Rules of STIX 2.1 that tie a value to its type, and that no table says: addresses that
//! are addresses, markings that mark something, the markings of TLP that nobody may rewrite.

use super::check::{At, Wrong, is_observable};
use super::json::{Node, Value};
use super::pattern::prefix_of;
use super::time;
use super::tlp::Tlp;

/// The extension by which TLP 2.0 is expressed (OASIS, common object repository).
const TLP_2: &str = "extension-definition--60a3c5c5-0d10-413e-aab3-9e08dde9e88d";
/// When the markings of TLP 1 and TLP 2.0 were created.
const TLP_CREATED: [&str; 2] = ["2017-01-20T00:00:00.000Z", "2022-10-01T00:00:00.000Z"];
/// Hives of the Windows registry as they are abbreviated.
const HIVES: [(&str, &str); 5] = [
    ("HKLM", "HKEY_LOCAL_MACHINE"),
    ("HKCU", "HKEY_CURRENT_USER"),
    ("HKCR", "HKEY_CLASSES_ROOT"),
    ("HKCC", "HKEY_CURRENT_CONFIG"),
    ("HKU", "HKEY_USERS"),
];

/// Checks what of `node`, an object of type `kind`, its table cannot say.
pub(super) fn check(top: &At<'_>, node: &Node<'_>, kind: &str) -> Result<(), Wrong> {
    let text = |name: &str| node.text_of(name).unwrap_or_default();
    let has = |name: &str| node.get(name).is_some();
    let is = |name: &str, wanted: bool| matches!(node.get(name).map(|node| &node.value), Some(Value::Bool(value)) if *value == wanted);
    let wrong = |name: &str, rule: &str| Err(top.name(name).wrong(rule));
    match kind {
        "ipv4-addr" if !is_network(text("value"), true) => {
            return wrong("value", "must be an IPv4 address or prefix (CIDR)");
        }
        "ipv6-addr" if !is_network(text("value"), false) => {
            return wrong("value", "must be an IPv6 address or prefix (CIDR)");
        }
        "mac-addr" if !is_mac(text("value")) => {
            return wrong(
                "value",
                "must be six pairs of hexadecimal digits in lower case, with colons between them",
            );
        }
        "domain-name" if !is_domain(text("value")) => {
            return wrong(
                "value",
                "must be a domain name (RFC 1034, RFC 5890): labels of 1 to 63 letters, digits, hyphens within, at most 253 characters",
            );
        }
        "relationship" => {
            for name in ["source_ref", "target_ref"] {
                if is_no_thing(text(name)) {
                    return wrong(
                        name,
                        "must refer to a domain object or a cyber-observable (STIX 2.1 part 5.1)",
                    );
                }
            }
        }
        "sighting"
            if is_no_thing(text("sighting_of_ref"))
                || is_observable(of_id(text("sighting_of_ref"))) =>
        {
            return wrong(
                "sighting_of_ref",
                "must refer to a domain object (STIX 2.1 part 5.2)",
            );
        }
        "observed-data" if has("objects") && has("object_refs") => {
            return wrong(
                "objects",
                "must not be there beside object_refs (STIX 2.1 part 4.14)",
            );
        }
        "extension-definition" if !has("created_by_ref") => {
            return wrong(
                "created_by_ref",
                "is required of an extension-definition (STIX 2.1 part 7.3)",
            );
        }
        "extension-definition" if text("version").trim().is_empty() => {
            return wrong("version", "must name a version like 1.0.0");
        }
        "extension-definition" if has("extension_properties") && !adds_properties(node) => {
            return wrong(
                "extension_properties",
                "must not be there unless extension_types has toplevel-property-extension",
            );
        }
        "artifact" if has("payload_bin") && has("url") => {
            return wrong("url", "must not be there beside payload_bin");
        }
        "email-message" if is("is_multipart", true) && has("body") => {
            return wrong("body", "must not be there when is_multipart is true");
        }
        "email-message" if is("is_multipart", false) && has("body_multipart") => {
            return wrong(
                "body_multipart",
                "must not be there when is_multipart is false",
            );
        }
        "malware" if is("is_family", true) && !has("name") => {
            return wrong("name", "is required of a family");
        }
        "language-content"
            if node
                .get("contents")
                .and_then(Node::map)
                .is_some_and(<[_]>::is_empty) =>
        {
            return wrong("contents", "must not be empty");
        }
        "language-content" => {
            let contents = node.get("contents").and_then(Node::map);
            for (tag, _) in contents.unwrap_or_default() {
                if !is_language(tag) {
                    return Err(top.name("contents").name(tag).wrong(LANGUAGE_RULE));
                }
            }
        }
        "windows-registry-key" => {
            let hive = text("key").split('\\').next().unwrap_or_default();
            let short = HIVES
                .iter()
                .find(|(short, _)| hive.eq_ignore_ascii_case(short));
            if let Some((_, whole)) = short {
                return wrong("key", &format!("must name its hive in full: {whole}"));
            }
        }
        "marking-definition" => {
            if has("modified") {
                return wrong(
                    "modified",
                    "must not be there: a marking-definition has no versions (STIX 2.1 part 7.2.1)",
                );
            }
            marking(top, node)?;
        }
        _ => {}
    }
    if has("lang") && !is_language(text("lang")) {
        return wrong("lang", LANGUAGE_RULE);
    }
    selectors(top, node)
}

const LANGUAGE_RULE: &str = "must be a language tag (RFC 5646) like zh-TW";

/// The type in an id.
fn of_id(id: &str) -> &str {
    id.split_once("--").map_or("", |(kind, _)| kind)
}

/// Whether `id` is of a relationship object or a meta object: nothing that relationships join.
fn is_no_thing(id: &str) -> bool {
    matches!(
        of_id(id),
        "relationship"
            | "sighting"
            | "marking-definition"
            | "language-content"
            | "extension-definition"
    )
}

fn adds_properties(node: &Node<'_>) -> bool {
    let types = node.get("extension_types").and_then(Node::list);
    types
        .unwrap_or_default()
        .iter()
        .any(|one| one.text() == Some("toplevel-property-extension"))
}

/// Whether `text` can be a domain name. Underscores are let through, because names of hosts and
/// services in the wild have them (RFC 2181 part 11); so are letters of every script (U-labels).
pub(crate) fn is_domain(text: &str) -> bool {
    let name = text.strip_suffix('.').unwrap_or(text);
    let is_label = |label: &str| {
        (1..=63).contains(&label.chars().count())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|c| match c.is_ascii() {
                true => c.is_ascii_alphanumeric() || c == '-' || c == '_',
                false => !c.is_whitespace() && !c.is_control(),
            })
    };
    name.chars().count() <= 253 && name.split('.').all(is_label)
}

/// A registry key whose hive is named in full, as STIX wants it.
pub(crate) fn with_whole_hive(key: &str) -> String {
    let (hive, rest) = match key.find('\\') {
        Some(at) => key.split_at(at),
        None => (key, ""),
    };
    match HIVES
        .iter()
        .find(|(short, _)| hive.eq_ignore_ascii_case(short))
    {
        Some((_, whole)) => format!("{whole}{rest}"),
        None => key.to_owned(),
    }
}

/// Tags that were registered before RFC 5646 and have none of its shapes.
const IRREGULAR: [&str; 17] = [
    "en-gb-oed",
    "i-ami",
    "i-bnn",
    "i-default",
    "i-enochian",
    "i-hak",
    "i-klingon",
    "i-lux",
    "i-mingo",
    "i-navajo",
    "i-pwn",
    "i-tao",
    "i-tay",
    "i-tsu",
    "sgn-be-fr",
    "sgn-be-nl",
    "sgn-ch-de",
];

/// Whether `tag` is a language tag of RFC 5646. Languages of more than three letters are those
/// that it holds in reserve: none was ever registered.
fn is_language(tag: &str) -> bool {
    if IRREGULAR.iter().any(|one| one.eq_ignore_ascii_case(tag)) {
        return true;
    }
    let letters = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphabetic());
    let all: Vec<&str> = tag.split('-').collect();
    let good = |part: &&str| {
        (1..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    if !all.iter().all(good) {
        return false;
    }
    let mut rest = all.as_slice();
    // Each `take` reads the next subtag if it has the shape that may stand here.
    let take = |rest: &mut &[&str], fits: &dyn Fn(&str) -> bool| -> bool {
        match rest.split_first() {
            Some((first, others)) if fits(first) => {
                *rest = others;
                true
            }
            _ => false,
        }
    };
    if !all[0].eq_ignore_ascii_case("x") {
        if !take(&mut rest, &|part| {
            matches!(part.len(), 2 | 3) && letters(part)
        }) {
            return false;
        }
        let mut extended = 0;
        while extended < 3 && take(&mut rest, &|part| part.len() == 3 && letters(part)) {
            extended += 1;
        }
        take(&mut rest, &|part| part.len() == 4 && letters(part));
        take(&mut rest, &|part| {
            (part.len() == 2 && letters(part))
                || (part.len() == 3 && part.bytes().all(|byte| byte.is_ascii_digit()))
        });
        while take(&mut rest, &|part| {
            part.len() >= 5 || (part.len() == 4 && part.as_bytes()[0].is_ascii_digit())
        }) {}
        while take(&mut rest, &|part| {
            part.len() == 1 && !part.eq_ignore_ascii_case("x")
        }) {
            if !take(&mut rest, &|part| part.len() >= 2) {
                return false;
            }
            while take(&mut rest, &|part| part.len() >= 2) {}
        }
    }
    match rest.split_first() {
        None => true,
        Some((first, private)) => first.eq_ignore_ascii_case("x") && !private.is_empty(),
    }
}

fn is_network(text: &str, v4: bool) -> bool {
    prefix_of(text).is_some_and(|prefix| prefix.address().is_ipv4() == v4)
}

pub(crate) fn is_mac(text: &str) -> bool {
    text.len() == 17
        && text
            .bytes()
            .enumerate()
            .all(|(place, byte)| match place % 3 {
                2 => byte == b':',
                _ => byte.is_ascii_digit() || matches!(byte, b'a'..=b'f'),
            })
}

/// Granular markings must mark something that is there.
fn selectors(top: &At<'_>, node: &Node<'_>) -> Result<(), Wrong> {
    let markings = top.name("granular_markings");
    let all = node.get("granular_markings").and_then(Node::list);
    for (index, marking) in all.unwrap_or_default().iter().enumerate() {
        let one = markings.item(index);
        if marking.get("lang").is_some() && marking.get("marking_ref").is_some() {
            return Err(one
                .name("lang")
                .wrong("must not be there beside marking_ref (STIX 2.1 part 7.2.3.1)"));
        }
        if marking.text_of("lang").is_some_and(|tag| !is_language(tag)) {
            return Err(one.name("lang").wrong(LANGUAGE_RULE));
        }
        let selectors = one.name("selectors");
        let texts = marking.get("selectors").and_then(Node::list);
        for (index, text) in texts.unwrap_or_default().iter().enumerate() {
            if !text.text().is_some_and(|text| selects(node, text)) {
                return Err(selectors
                    .item(index)
                    .wrong("must name a property that the object has"));
            }
        }
    }
    Ok(())
}

/// Whether a selector (`labels.[0]`, `external_references.[1].url`) finds something.
fn selects(node: &Node<'_>, selector: &str) -> bool {
    if selector.is_empty() {
        return true;
    }
    let index =
        |step: &str| -> Option<usize> { step.strip_prefix('[')?.strip_suffix(']')?.parse().ok() };
    // Names of dictionaries may hold dots: every way to cut is tried.
    let ends = selector
        .match_indices('.')
        .map(|(at, _)| at)
        .chain([selector.len()]);
    for end in ends {
        let (step, rest) = (&selector[..end], selector.get(end + 1..));
        let found = match index(step) {
            Some(index) => node.list().and_then(|items| items.get(index)),
            None => node.get(step),
        };
        if let Some(found) = found
            && rest.is_none_or(|rest| !rest.is_empty() && selects(found, rest))
        {
            return true;
        }
    }
    false
}

/// The markings of TLP are the standard's (STIX 2.1 part 7.2.1.4): whoever could send
/// another under such an id could say to readers that what is red is free.
fn marking(top: &At<'_>, node: &Node<'_>) -> Result<(), Wrong> {
    let id = node.text_of("id").unwrap_or_default();
    let known = Tlp::of_marking(id);
    let Some(tlp) = known else {
        if node.text_of("definition_type") == Some("tlp") {
            return Err(top.name("id").wrong(
                "must be one of the four that STIX 2.1 defines when definition_type is tlp",
            ));
        }
        return Ok(());
    };
    let second = tlp.marking() == id;
    let name = match (second, tlp) {
        (false, Tlp::Clear) => "white",
        _ => tlp.name(),
    };
    let rule = || {
        format!(
            "must be as it is defined for TLP:{}",
            name.to_ascii_uppercase()
        )
    };
    for (property, value) in node.map().unwrap_or_default() {
        let good = match property.as_ref() {
            "type" | "spec_version" | "id" => true,
            "created" => {
                value.text().and_then(time::parse) == time::parse(TLP_CREATED[usize::from(second)])
            }
            "name" => value
                .text()
                .is_some_and(|text| text.eq_ignore_ascii_case(&format!("TLP:{name}"))),
            "definition_type" => !second && value.text() == Some("tlp"),
            "definition" => !second && only(value, "tlp", name),
            "extensions" => {
                second
                    && value.map().is_some_and(|all| {
                        matches!(all, [(id, extension)] if id == TLP_2
                            && extension.map().is_some_and(|all| all.len() == 2)
                            && extension.text_of("extension_type") == Some("property-extension")
                            && extension.text_of("tlp_2_0") == Some(name))
                    })
            }
            _ => false,
        };
        if !good {
            return Err(top.name(property).wrong(rule()));
        }
    }
    let needed = match second {
        true => "extensions",
        false => "definition",
    };
    if node.get(needed).is_none() {
        return Err(top.name(needed).wrong(rule()));
    }
    Ok(())
}

/// Whether an object holds just that.
fn only(node: &Node<'_>, name: &str, text: &str) -> bool {
    matches!(node.map(), Some([(one, value)]) if one == name && value.text() == Some(text))
}

#[cfg(test)]
mod tests {
    use super::super::check::check;
    use super::super::json::parse;

    fn said(text: &str) -> String {
        let node = parse(text.as_bytes()).expect("JSON");
        match check(&node) {
            Ok(_) => "good".to_owned(),
            Err(wrong) => wrong.to_string(),
        }
    }

    /// An object of this type with an id and these properties besides.
    fn of(kind: &str, more: &str) -> String {
        said(&format!(
            r#"{{"type":"{kind}","spec_version":"2.1","id":"{kind}--ff26c055-6336-4bc5-b98d-13d6226742dd",{more}}}"#
        ))
    }

    #[test]
    fn values_are_what_their_types_say() {
        let dated = r#""created":"2026-01-01T00:00:00Z","modified":"2026-01-01T00:00:00Z""#;
        let relation = format!(
            r#"{dated},"relationship_type":"uses","source_ref":"malware--ff26c055-6336-4bc5-b98d-13d6226742dd","target_ref":"bundle--ff26c055-6336-4bc5-b98d-13d6226742dd""#
        );
        for (kind, more, path) in [
            ("ipv4-addr", r#""value":"junk""#, "value: must be an IPv4"),
            (
                "ipv4-addr",
                r#""value":"2001:db8::1""#,
                "value: must be an IPv4",
            ),
            (
                "ipv6-addr",
                r#""value":"192.0.2.1""#,
                "value: must be an IPv6",
            ),
            (
                "mac-addr",
                r#""value":"00:1B:63:84:45:E6""#,
                "value: must be six",
            ),
            (
                "artifact",
                r#""payload_bin":"AAAA","url":"http://a.example/","hashes":{"MD5":"d41d8cd98f00b204e9800998ecf8427e"}"#,
                "url: must not",
            ),
            (
                "email-message",
                r#""is_multipart":true,"body":"x""#,
                "body: must not",
            ),
            (
                "email-message",
                r#""is_multipart":false,"body_multipart":[{"body":"x"}]"#,
                "body_multipart: must not",
            ),
            (
                "malware",
                &format!(r#"{dated},"is_family":true"#),
                "name: is required",
            ),
            ("relationship", &relation, "target_ref: must not"),
            (
                "language-content",
                &format!(
                    r#"{dated},"object_ref":"malware--ff26c055-6336-4bc5-b98d-13d6226742dd","contents":{{}}"#
                ),
                "contents: must not be empty",
            ),
            (
                "windows-registry-key",
                r#""key":"HKLM\\System""#,
                "key: must name its hive in full: HKEY_LOCAL_MACHINE",
            ),
            (
                "url",
                r#""value":"http://a.example/","granular_markings":[{"lang":"en","selectors":["value","description"]}]"#,
                "granular_markings[0].selectors[1]: must name a property",
            ),
            (
                "url",
                r#""value":"http://a.example/","extensions":{"anything":{"a":1}}"#,
                "extensions.anything: must be named",
            ),
        ] {
            let said = of(kind, more);
            assert!(said.starts_with(path), "{kind} {more}: {said}");
        }
        for (kind, more) in [
            ("ipv4-addr", r#""value":"192.0.2.0/24""#),
            ("ipv6-addr", r#""value":"2001:db8::/32""#),
            ("mac-addr", r#""value":"00:1b:63:84:45:e6""#),
            ("email-message", r#""is_multipart":false,"body":"x""#),
            ("malware", &format!(r#"{dated},"is_family":false"#)),
            (
                "windows-registry-key",
                r#""key":"HKEY_LOCAL_MACHINE\\System""#,
            ),
            (
                "url",
                r#""value":"http://a.example/","x_list":[{"a.b":1}],"granular_markings":[{"lang":"en","selectors":["value","x_list.[0].a.b"]}]"#,
            ),
            (
                "url",
                r#""value":"http://a.example/","extensions":{"x-own-ext":{"a":1}}"#,
            ),
        ] {
            assert_eq!(of(kind, more), "good", "{kind} {more}");
        }
    }

    #[test]
    fn what_the_standard_forbids_is_refused_by_path() {
        const ID: &str = "ff26c055-6336-4bc5-b98d-13d6226742dd";
        let dated = r#""created":"2026-01-01T00:00:00.000Z","modified":"2026-01-01T00:00:00.000Z""#;
        let relation = |from: &str, to: &str| {
            format!(
                r#"{dated},"relationship_type":"uses","source_ref":"{from}--{ID}","target_ref":"{to}--{ID}""#
            )
        };
        let extension = |more: &str| {
            format!(
                r#"{dated},"name":"x","schema":"x","extension_types":["property-extension"]{more}"#
            )
        };
        let author = format!(r#","created_by_ref":"identity--{ID}""#);
        let contents = |tag: &str| {
            format!(r#"{dated},"object_ref":"malware--{ID}","contents":{{"{tag}":{{"name":"x"}}}}"#)
        };
        let observed = format!(
            r#"{dated},"first_observed":"2026-01-01T00:00:00Z","last_observed":"2026-01-01T00:00:00Z","number_observed":1,"objects":{{"0":{{"type":"url","value":"http://a.example/"}}}}"#
        );
        let marked = r#""value":"http://a.example/","granular_markings":[{"lang":"en","marking_ref":"marking-definition--bab4a63c-aed9-4cf5-a766-dfca5abac2bb","selectors":["value"]}]"#;
        for (kind, more, path) in [
            (
                "relationship",
                relation("relationship", "malware"),
                "source_ref: must refer to a domain object",
            ),
            (
                "relationship",
                relation("malware", "sighting"),
                "target_ref: must refer to a domain object",
            ),
            (
                "relationship",
                relation("malware", "marking-definition"),
                "target_ref: must refer to a domain object",
            ),
            (
                "sighting",
                format!(r#"{dated},"sighting_of_ref":"relationship--{ID}""#),
                "sighting_of_ref: must refer",
            ),
            (
                "sighting",
                format!(r#"{dated},"sighting_of_ref":"url--{ID}""#),
                "sighting_of_ref: must refer",
            ),
            (
                "url",
                marked.to_owned(),
                "granular_markings[0].lang: must not be there beside marking_ref",
            ),
            (
                "extension-definition",
                extension(r#","version":"1.0.0""#),
                "created_by_ref: is required",
            ),
            (
                "extension-definition",
                extension(&format!(r#","version":""{author}"#)),
                "version: must name",
            ),
            (
                "extension-definition",
                extension(&format!(
                    r#","version":"1.0.0","extension_properties":["a"]{author}"#
                )),
                "extension_properties: must not",
            ),
            (
                "observed-data",
                format!(r#"{observed},"object_refs":["url--{ID}"]"#),
                "objects: must not be there beside object_refs",
            ),
            (
                "domain-name",
                r#""value":"bad domain""#.to_owned(),
                "value: must be a domain name",
            ),
            (
                "domain-name",
                r#""value":"-a.example""#.to_owned(),
                "value: must be a domain name",
            ),
            (
                "domain-name",
                r#""value":"a..example""#.to_owned(),
                "value: must be a domain name",
            ),
            (
                "marking-definition",
                format!(r#"{dated},"definition_type":"statement","definition":{{"statement":"x"}}"#),
                "modified: must not",
            ),
            (
                "malware",
                r#""created":"0000-01-01T00:00:00.000Z","modified":"2026-01-01T00:00:00.000Z","is_family":false"#.to_owned(),
                "created: must be a time",
            ),
            (
                "language-content",
                contents("nonsense-tag!"),
                "contents.nonsense-tag!: must be a language tag",
            ),
            (
                "url",
                r#""value":"http://a.example/","lang":"Chinese""#.to_owned(),
                "lang: must be a language tag",
            ),
        ] {
            let said = of(kind, &more);
            assert!(said.starts_with(path), "{kind} {more}: {said}");
        }
        for (kind, more) in [
            ("relationship", relation("malware", "url")),
            ("relationship", relation("x-own", "malware")),
            (
                "extension-definition",
                extension(&format!(r#","version":"1.0.0"{author}"#)),
            ),
            ("observed-data", observed),
            (
                "domain-name",
                r#""value":"_dmarc.xn--7euxd.example.""#.to_owned(),
            ),
            ("domain-name", r#""value":"惡意.臺灣""#.to_owned()),
        ] {
            assert_eq!(of(kind, &more), "good", "{kind} {more}");
        }
        for tag in [
            "zh",
            "zh-TW",
            "zh-Hant-TW",
            "nan-Hant",
            "zh-cmn-Hans-CN",
            "de-1996",
            "sl-rozaj-biske",
            "en-US-u-islamcal",
            "x-whatever",
            "i-klingon",
            "es-419",
            "en-a-bbb-x-a",
            "EN-gb",
        ] {
            assert_eq!(of("language-content", &contents(tag)), "good", "{tag}");
        }
        for tag in [
            "",
            "-",
            "z",
            "zh_TW",
            "zh-",
            "zh--TW",
            "english",
            "zh-TW-",
            "en-x",
            "en-u",
            "中文",
            "klingonish",
            "123",
            "abcdefghi",
            "zh-TW-HK",
        ] {
            assert_ne!(of("language-content", &contents(tag)), "good", "{tag}");
        }
    }

    #[test]
    fn nobody_rewrites_the_markings_of_tlp() {
        let first = r#"{"type":"marking-definition","spec_version":"2.1","id":"marking-definition--5e57c739-391a-4eb3-b6be-7d15ca92d5ed","created":"2017-01-20T00:00:00.000Z","definition_type":"tlp","name":"TLP:RED","definition":{"tlp":"red"}}"#;
        let second = r#"{"type":"marking-definition","spec_version":"2.1","id":"marking-definition--e828b379-4e03-4974-9ac4-e53a884c97c1","created":"2022-10-01T00:00:00.000Z","name":"TLP:RED","extensions":{"extension-definition--60a3c5c5-0d10-413e-aab3-9e08dde9e88d":{"extension_type":"property-extension","tlp_2_0":"red"}}}"#;
        assert_eq!((said(first), said(second)), ("good".into(), "good".into()));
        assert_eq!(said(&first.replace(r#","name":"TLP:RED""#, "")), "good");
        for (text, from, to, path) in [
            (
                first,
                r#"{"tlp":"red"}"#,
                r#"{"tlp":"white"}"#,
                "definition",
            ),
            (first, "TLP:RED", "TLP:WHITE", "name"),
            (first, "2017", "2018", "created"),
            (first, r#""name""#, r#""x_more":1,"name""#, "x_more"),
            (second, r#"_0":"red""#, r#"_0":"clear""#, "extensions"),
            (second, "TLP:RED", "free for all", "name"),
            (
                second,
                r#""name""#,
                r#""definition_type":"statement","definition":{"statement":"free"},"name""#,
                "definition_type",
            ),
            (
                first,
                "5e57c739-391a-4eb3-b6be-7d15ca92d5ed",
                "5e57c739-391a-4eb3-b6be-7d15ca92d5ee",
                "id",
            ),
        ] {
            let said = said(&text.replacen(from, to, 1));
            assert!(
                said.starts_with(&format!("{path}: must be")),
                "{to}: {said}"
            );
        }
    }
}
