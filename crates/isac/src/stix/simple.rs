//! What of a pattern can be enforced as it stands: an address, a prefix, a domain, a
//! URL or a hash, each by itself a reason to act.
//!
//! Only alternatives give simple indicators. Of `a AND b` neither part alone is what
//! the indicator says, so that acting on one would block too much. Of `a OR (b AND c)`, `a`
//! alone is: a simple alternative counts whatever stands beside it.

use base::enforcement::{InvalidTarget, Target};

use super::pattern::{Comparison, Constant, Observation, Operator, PathStep, Test, prefix_of};

/// Something that can be enforced.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Simple {
    /// An address or a prefix.
    Prefix(base::Prefix),
    /// A domain name in ASCII and lower case, without the last dot.
    Domain(String),
    /// A URL as it is written; one that is not in ASCII, as browsers send it.
    Url(String),
    /// A file's hash: algorithm (`SHA-256`) and hexadecimal digits in lower case.
    Hash(String, String),
}

/// The simple alternatives of `pattern`, each of which alone fulfils it.
pub fn extract(pattern: &Observation) -> Vec<Simple> {
    look(pattern).good
}

/// The alternatives of a pattern that could be simple.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Looked {
    /// Those that are.
    pub good: Vec<Simple>,
    /// Texts that are no address, prefix, domain or hash, though they are compared with one.
    pub bad: Vec<String>,
}

/// As [`extract`], with what looks simple and is not.
pub fn look(pattern: &Observation) -> Looked {
    let mut out = Looked::default();
    observations(pattern, &mut out);
    out
}

/// Whether every alternative is simple and in ASCII: all that the first version of the
/// extraction found anything of.
pub fn is_plain(pattern: &Observation) -> bool {
    match pattern {
        Observation::One(comparison) => plain(comparison),
        Observation::Or(one, other) => is_plain(one) && is_plain(other),
        _ => false,
    }
}

fn plain(tree: &Comparison) -> bool {
    let test = match tree {
        Comparison::Or(one, other) => return plain(one) && plain(other),
        Comparison::And(..) => return false,
        Comparison::Test(test) => test,
    };
    let (kind, steps) = (test.path.kind.as_str(), &test.path.steps);
    let is_good = |constant: &Constant| matches!(constant, Constant::Text(text) if text.is_ascii() && one(kind, steps, text).is_some());
    !test.negated
        && match &test.operator {
            Operator::Equal(constant) => is_good(constant),
            Operator::In(set) => set.iter().all(is_good),
            Operator::IsSubset(_) => matches!(kind, "ipv4-addr" | "ipv6-addr") && is_value(steps),
            _ => false,
        }
}

fn observations(tree: &Observation, out: &mut Looked) {
    match tree {
        Observation::One(comparison) => comparisons(comparison, out),
        Observation::Or(one, other) => {
            observations(one, out);
            observations(other, out);
        }
        _ => {}
    }
}

fn comparisons(tree: &Comparison, out: &mut Looked) {
    match tree {
        Comparison::Or(one, other) => {
            comparisons(one, out);
            comparisons(other, out);
        }
        Comparison::And(..) => {}
        Comparison::Test(test) => simple(test, out),
    }
}

fn simple(test: &Test, out: &mut Looked) {
    if test.negated {
        return;
    }
    let (kind, steps) = (test.path.kind.as_str(), &test.path.steps);
    let mut add = |constant: &Constant| {
        let Constant::Text(text) = constant else {
            return;
        };
        match one(kind, steps, text) {
            Some(found) => out.good.push(found),
            None if is_kind(kind, steps) => out.bad.push(text.clone()),
            None => {}
        }
    };
    match &test.operator {
        Operator::Equal(constant) => add(constant),
        Operator::In(set) => set.iter().for_each(add),
        Operator::IsSubset(prefix)
            if matches!(kind, "ipv4-addr" | "ipv6-addr") && is_value(steps) =>
        {
            out.good.push(Simple::Prefix(*prefix));
        }
        _ => {}
    }
}

/// Whether what is compared is of a kind of simple indicators.
fn is_kind(kind: &str, steps: &[PathStep]) -> bool {
    match kind {
        "ipv4-addr" | "ipv6-addr" | "domain-name" | "url" => is_value(steps),
        "file" => {
            matches!(steps, [PathStep::Key(hashes), PathStep::Key(_)] if hashes == "hashes")
        }
        _ => false,
    }
}

fn is_value(steps: &[PathStep]) -> bool {
    matches!(steps, [PathStep::Key(key)] if key == "value")
}

fn one(kind: &str, steps: &[PathStep], text: &str) -> Option<Simple> {
    match (kind, steps) {
        ("ipv4-addr" | "ipv6-addr", steps) if is_value(steps) => {
            prefix_of(text).map(Simple::Prefix)
        }
        ("domain-name", steps) if is_value(steps) => {
            let name = ascii_name(text.trim_end_matches('.'))?;
            (!name.is_empty() && name.len() <= 253).then_some(Simple::Domain(name))
        }
        ("url", steps) if is_value(steps) => Some(Simple::Url(ascii_url(text))),
        ("file", [PathStep::Key(hashes), PathStep::Key(algorithm)]) if hashes == "hashes" => {
            let digits = text.to_ascii_lowercase();
            let good = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
            good.then(|| Simple::Hash(algorithm.to_ascii_uppercase(), digits))
        }
        _ => None,
    }
}

/// A name as resolvers ask for it: in ASCII (A-labels, RFC 5891) and lower case.
pub(crate) fn ascii_name(text: &str) -> Option<String> {
    if text.is_ascii() {
        return Some(text.to_ascii_lowercase());
    }
    match url::Host::parse(text) {
        Ok(url::Host::Domain(name)) => Some(name),
        _ => None,
    }
}

/// A name in ASCII as people read it (U-labels, RFC 5891); none: it is the same, or no such
/// name stands behind it.
pub(crate) fn unicode_name(ascii: &str) -> Option<String> {
    if !ascii.contains("xn--") {
        return None;
    }
    let (name, good) = idna::domain_to_unicode(ascii);
    (good.is_ok() && name != ascii).then_some(name)
}

/// A target as somebody types it: names in other scripts are translated, as those in
/// indicators are.
///
/// # Errors
/// What it is not, as [`Target`] says of what is in ASCII.
pub(crate) fn typed(text: &str) -> Result<Target, InvalidTarget> {
    let text = text.trim();
    if text.is_ascii() {
        return text.parse();
    }
    let (before, rest) = match text.strip_prefix("url:") {
        Some(rest) => ("url:", rest),
        None => ("", text),
    };
    let has_scheme = |text: &str| {
        let scheme = text.split_once("://").map(|(scheme, _)| scheme);
        scheme.is_some_and(|scheme| !scheme.contains(['/', '?']))
    };
    if before.is_empty() && !has_scheme(rest) {
        let (star, name) = match rest.strip_prefix("*.") {
            Some(name) => ("*.", name),
            None => ("", rest),
        };
        // Whatever no name stands for is told as it was typed.
        let name = name.trim_end_matches(['.', '。']);
        return match ascii_name(name) {
            Some(name) => format!("{star}{name}").parse(),
            None => text.parse(),
        };
    }
    match has_scheme(rest) {
        true => ascii_url(rest).parse(),
        false => ascii_url(&format!("http://{rest}")).parse(),
    }
}

/// How people read a target, where that differs from how it is written: its name in its own
/// script.
pub(crate) fn read_as(target: &Target) -> Option<String> {
    match target {
        Target::Domain { name, below } => {
            let star = if *below { "*." } else { "" };
            unicode_name(name).map(|name| format!("{star}{name}"))
        }
        Target::Url(url) => {
            let at = url.find(['/', '?']).unwrap_or(url.len());
            let (host, rest) = url.split_at(at);
            unicode_name(host).map(|host| format!("url:{host}{rest}"))
        }
        Target::Network(_) | Target::File { .. } => None,
    }
}

/// A URL as browsers send it: its host in ASCII, and the rest in percent.
fn ascii_url(text: &str) -> String {
    if text.is_ascii() {
        return text.to_owned();
    }
    match url::Url::parse(text) {
        Ok(url) => url.into(),
        Err(_) => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::pattern::parse;
    use super::*;

    fn of(pattern: &str) -> Vec<Simple> {
        extract(&parse(pattern).expect(pattern))
    }

    #[test]
    fn alternatives_are_simple_and_conjunctions_are_not() {
        let prefix = |text: &str| Simple::Prefix(text.parse().expect("a prefix"));
        assert_eq!(
            of("[ipv4-addr:value = '198.51.100.7']"),
            [prefix("198.51.100.7/32")]
        );
        assert_eq!(
            of(
                "[ipv4-addr:value IN ('198.51.100.7','203.0.113.0/24')] OR [domain-name:value = 'Evil.Example.']"
            ),
            [
                prefix("198.51.100.7/32"),
                prefix("203.0.113.0/24"),
                Simple::Domain("evil.example".into())
            ]
        );
        assert_eq!(
            of("[ipv6-addr:value ISSUBSET '2001:db8::/32']"),
            [prefix("2001:db8::/32")]
        );
        assert_eq!(
            of("[file:hashes.MD5 = 'D41D8CD98F00B204E9800998ECF8427E']"),
            [Simple::Hash(
                "MD5".into(),
                "d41d8cd98f00b204e9800998ecf8427e".into()
            )]
        );
        assert_eq!(
            of("[url:value = 'http://a/']"),
            [Simple::Url("http://a/".into())]
        );
        for pattern in [
            "[ipv4-addr:value = '198.51.100.7' OR file:name = 'x']",
            "[file:name = 'x' OR ipv4-addr:value = '198.51.100.7']",
            "[ipv4-addr:value = '198.51.100.7' OR (file:name = 'x' AND file:size = 5)]",
            "[ipv4-addr:value = '198.51.100.7'] OR [file:name = 'x' AND file:size = 5]",
            "[ipv4-addr:value = '198.51.100.7'] OR ([file:name = 'x'] FOLLOWEDBY [file:name = 'y'])",
            "[ipv4-addr:value IN ('198.51.100.7','junk')]",
        ] {
            assert_eq!(of(pattern), [prefix("198.51.100.7/32")], "{pattern}");
        }
        for (pattern, is) in [
            (
                "[ipv4-addr:value = '198.51.100.7'] OR [domain-name:value IN ('a.example','b.example')]",
                true,
            ),
            (
                "[ipv4-addr:value = '198.51.100.7' OR file:name = 'x']",
                false,
            ),
            (
                "[ipv4-addr:value = '198.51.100.7' OR (file:name = 'x' AND file:size = 5)]",
                false,
            ),
            ("[domain-name:value = '惡意.Example']", false),
        ] {
            assert_eq!(is_plain(&parse(pattern).expect(pattern)), is, "{pattern}");
        }
        let looked = look(
            &parse("[ipv4-addr:value IN ('junk','198.51.100.7')] OR [domain-name:value = '惡 意.example']")
                .expect("a pattern"),
        );
        assert_eq!(looked.good, [prefix("198.51.100.7/32")]);
        assert_eq!(looked.bad, ["junk", "惡 意.example"]);
        assert_eq!(
            of("[domain-name:value = '惡意.Example'] OR [url:value = 'http://惡意.example/路']"),
            [
                Simple::Domain("xn--7euxd.example".into()),
                Simple::Url("http://xn--7euxd.example/%E8%B7%AF".into())
            ]
        );
        for pattern in [
            "[ipv4-addr:value = '198.51.100.7' AND network-traffic:dst_port = 80]",
            "[ipv4-addr:value != '198.51.100.7']",
            "[domain-name:value LIKE '%.evil']",
            "[ipv4-addr:value = '198.51.100.7'] AND [domain-name:value = 'a.b']",
            "[ipv4-addr:value = '198.51.100.7'] REPEATS 5 TIMES",
        ] {
            assert!(of(pattern).is_empty(), "{pattern}");
        }
    }

    #[test]
    fn what_people_type_in_other_scripts_is_translated_and_read_back() {
        for (text, target, read) in [
            (
                "惡意.例子.台灣",
                "xn--7euxd.xn--fsqu00a.xn--kpry57d",
                Some("惡意.例子.台灣"),
            ),
            (
                " *.惡意.Example. ",
                "*.xn--7euxd.example",
                Some("*.惡意.example"),
            ),
            (
                "http://惡意.example/路?a=一",
                "url:xn--7euxd.example/%E8%B7%AF?a=%E4%B8%80",
                Some("url:惡意.example/%E8%B7%AF?a=%E4%B8%80"),
            ),
            (
                "url:惡意.example/x",
                "url:xn--7euxd.example/x",
                Some("url:惡意.example/x"),
            ),
            (
                "xn--7euxd.example",
                "xn--7euxd.example",
                Some("惡意.example"),
            ),
            ("a.example", "a.example", None),
            ("192.0.2.1", "192.0.2.1", None),
            ("xn--a.example", "xn--a.example", None),
        ] {
            let typed = typed(text).expect(text);
            assert_eq!(typed.to_string(), target, "{text}");
            assert_eq!(read_as(&typed).as_deref(), read, "{text}");
        }
        for text in [
            "惡 意.example",
            "惡意",
            "ftp://惡意.example/",
            "惡意.example/x",
            "",
        ] {
            assert!(typed(text).is_err(), "{text}");
        }
    }
}
