//! What of a pattern can be enforced as it stands: an address, a prefix, a domain, a
//! URL or a hash, each by itself a reason to act.
//!
//! Only alternatives give simple indicators. Of `a AND b` neither part alone is what
//! the indicator says, so that acting on one would block too much.

use super::pattern::{Comparison, Constant, Observation, Operator, PathStep, Test, prefix_of};

/// Something that can be enforced.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Simple {
    /// An address or a prefix.
    Prefix(base::Prefix),
    /// A domain name in lower case, without the last dot.
    Domain(String),
    /// A URL as it is written.
    Url(String),
    /// A file's hash: algorithm (`SHA-256`) and hexadecimal digits in lower case.
    Hash(String, String),
}

/// The simple indicators of `pattern`; empty when it is no list of alternatives.
pub fn extract(pattern: &Observation) -> Vec<Simple> {
    let mut out = Vec::new();
    if observations(pattern, &mut out) {
        out
    } else {
        Vec::new()
    }
}

fn observations(tree: &Observation, out: &mut Vec<Simple>) -> bool {
    match tree {
        Observation::One(comparison) => comparisons(comparison, out),
        Observation::Or(one, other) => observations(one, out) && observations(other, out),
        _ => false,
    }
}

fn comparisons(tree: &Comparison, out: &mut Vec<Simple>) -> bool {
    match tree {
        Comparison::Or(one, other) => comparisons(one, out) && comparisons(other, out),
        Comparison::And(..) => false,
        Comparison::Test(test) => simple(test, out),
    }
}

fn simple(test: &Test, out: &mut Vec<Simple>) -> bool {
    if test.negated {
        return false;
    }
    let texts: Vec<&str> = match &test.operator {
        Operator::Equal(Constant::Text(text)) => vec![text],
        Operator::In(set) => {
            let texts: Option<Vec<&str>> = set
                .iter()
                .map(|constant| match constant {
                    Constant::Text(text) => Some(text.as_str()),
                    _ => None,
                })
                .collect();
            match texts {
                Some(texts) => texts,
                None => return false,
            }
        }
        Operator::IsSubset(prefix) => {
            let address = matches!(test.path.kind.as_str(), "ipv4-addr" | "ipv6-addr");
            if address && is_value(&test.path.steps) {
                out.push(Simple::Prefix(*prefix));
            }
            return address && is_value(&test.path.steps);
        }
        _ => return false,
    };
    texts.into_iter().all(|text| {
        let found = one(&test.path.kind, &test.path.steps, text);
        let known = found.is_some();
        out.extend(found);
        known
    })
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
            let name = text.trim_end_matches('.').to_ascii_lowercase();
            (!name.is_empty() && name.len() <= 253).then_some(Simple::Domain(name))
        }
        ("url", steps) if is_value(steps) => Some(Simple::Url(text.to_owned())),
        ("file", [PathStep::Key(hashes), PathStep::Key(algorithm)]) if hashes == "hashes" => {
            let digits = text.to_ascii_lowercase();
            let good = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
            good.then(|| Simple::Hash(algorithm.to_ascii_uppercase(), digits))
        }
        _ => None,
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
            "[ipv4-addr:value = '198.51.100.7' AND network-traffic:dst_port = 80]",
            "[ipv4-addr:value != '198.51.100.7']",
            "[domain-name:value LIKE '%.evil']",
            "[ipv4-addr:value = '198.51.100.7'] AND [domain-name:value = 'a.b']",
            "[ipv4-addr:value = '198.51.100.7'] REPEATS 5 TIMES",
        ] {
            assert!(of(pattern).is_empty(), "{pattern}");
        }
    }
}
