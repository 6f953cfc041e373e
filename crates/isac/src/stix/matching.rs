//! Patterns against observed data (STIX 2.1 part 9): which observations together are
//! what a pattern describes.
//!
//! A comparison in brackets holds of one observation when one object in it satisfies
//! all that `AND` joins. Observation operators join *different* observations. The
//! search is bounded ([`BINDINGS_MAX`]): beyond it the first found are kept.

use std::collections::{BTreeSet, HashMap};

use super::json::{Node, Value};
use super::pattern::{Comparison, Constant, Observation, Operator, PathStep, Test, prefix_of};
use super::time;

/// Combinations of observations kept while a pattern is matched.
pub const BINDINGS_MAX: usize = 4_096;
/// References followed within one path.
const REFERENCES_MAX: u32 = 8;

/// Objects seen together.
#[derive(Debug)]
pub struct Observed<'a> {
    /// When first, in microseconds.
    pub first: i64,
    /// When last, in microseconds.
    pub last: i64,
    /// How many times.
    pub count: u32,
    /// The objects by id (or, in STIX 2.0, by number).
    pub objects: HashMap<&'a str, &'a Node<'a>>,
}

impl<'a> Observed<'a> {
    /// An `observed-data` with the objects that it refers to, found among `others`.
    /// `None` when it lacks its times.
    pub fn of(data: &'a Node<'a>, others: &HashMap<&'a str, &'a Node<'a>>) -> Option<Self> {
        let micros = |name| data.text_of(name).and_then(time::parse);
        let mut objects = HashMap::new();
        for (name, object) in data.get("objects").and_then(Node::map).unwrap_or_default() {
            objects.insert(name.as_ref(), object);
        }
        for id in data
            .get("object_refs")
            .and_then(Node::list)
            .unwrap_or_default()
        {
            if let Some((id, object)) = id.text().and_then(|id| others.get_key_value(id)) {
                objects.insert(*id, *object);
            }
        }
        Some(Self {
            first: micros("first_observed")?,
            last: micros("last_observed")?,
            count: data
                .get("number_observed")
                .and_then(Node::integer)
                .and_then(|count| u32::try_from(count).ok())
                .unwrap_or(1),
            objects,
        })
    }
}

/// Observations that together satisfy a pattern.
type Binding = BTreeSet<usize>;

/// The observations of the first match of `pattern` in `observed`, by their places;
/// `None` when it does not match.
pub fn find(pattern: &Observation, observed: &[Observed<'_>]) -> Option<Vec<usize>> {
    let mut bindings = bind(pattern, observed);
    bindings.sort_by_key(|binding| span(binding, observed).1);
    bindings
        .into_iter()
        .next()
        .map(|binding| binding.into_iter().collect())
}

fn span(binding: &Binding, observed: &[Observed<'_>]) -> (i64, i64) {
    let first = binding.iter().map(|&place| observed[place].first).min();
    let last = binding.iter().map(|&place| observed[place].last).max();
    (first.unwrap_or_default(), last.unwrap_or_default())
}

fn bind(tree: &Observation, observed: &[Observed<'_>]) -> Vec<Binding> {
    match tree {
        Observation::One(comparison) => (0..observed.len())
            .filter(|&place| !holds(comparison, &observed[place]).is_empty())
            .map(|place| Binding::from([place]))
            .take(BINDINGS_MAX)
            .collect(),
        Observation::Or(one, other) => {
            let mut all = bind(one, observed);
            all.extend(bind(other, observed));
            all.truncate(BINDINGS_MAX);
            all
        }
        Observation::And(one, other) => join(one, other, observed, |_, _| true),
        Observation::FollowedBy(one, other) => join(one, other, observed, |a, b| {
            span(a, observed).1 <= span(b, observed).0
        }),
        Observation::Within(inner, micros) => {
            let mut found = bind(inner, observed);
            found.retain(|binding| {
                let (first, last) = span(binding, observed);
                last - first <= *micros
            });
            found
        }
        Observation::During(inner, start, stop) => {
            let mut found = bind(inner, observed);
            found.retain(|binding| {
                let (first, last) = span(binding, observed);
                first >= *start && last < *stop
            });
            found
        }
        Observation::Repeats(inner, times) => repeats(bind(inner, observed), *times, observed),
    }
}

fn join(
    one: &Observation,
    other: &Observation,
    observed: &[Observed<'_>],
    fits: impl Fn(&Binding, &Binding) -> bool,
) -> Vec<Binding> {
    let (left, right) = (bind(one, observed), bind(other, observed));
    let mut out = Vec::new();
    for a in &left {
        for b in &right {
            if a.is_disjoint(b) && fits(a, b) {
                out.push(a | b);
                if out.len() >= BINDINGS_MAX {
                    return out;
                }
            }
        }
    }
    out
}

/// Runs of different matches, one after the other in time: the tightest ones, which
/// are what `WITHIN` asks about.
fn repeats(mut found: Vec<Binding>, times: u32, observed: &[Observed<'_>]) -> Vec<Binding> {
    found.sort_by_key(|binding| span(binding, observed));
    let seen = |binding: &Binding| {
        let counts = binding.iter().map(|&place| observed[place].count.max(1));
        counts.min().unwrap_or(1)
    };
    let mut out = Vec::new();
    for start in 0..found.len() {
        let mut all = Binding::new();
        let mut count = 0_u64;
        for binding in &found[start..] {
            if all.is_disjoint(binding) {
                all.extend(binding);
                count += u64::from(seen(binding));
            }
            if count >= u64::from(times) {
                out.push(all);
                break;
            }
        }
        if out.len() >= BINDINGS_MAX {
            break;
        }
    }
    out
}

/// The objects of which `tree` holds.
fn holds<'o>(tree: &Comparison, observed: &'o Observed<'_>) -> BTreeSet<&'o str> {
    match tree {
        Comparison::And(one, other) => &holds(one, observed) & &holds(other, observed),
        Comparison::Or(one, other) => &holds(one, observed) | &holds(other, observed),
        Comparison::Test(test) => observed
            .objects
            .iter()
            .filter(|(_, object)| object.text_of("type") == Some(test.path.kind.as_str()))
            .filter(|(_, object)| satisfies(test, object, observed))
            .map(|(id, _)| *id)
            .collect(),
    }
}

fn satisfies(test: &Test, object: &Node<'_>, observed: &Observed<'_>) -> bool {
    let mut found = false;
    let mut good = false;
    walk(
        object,
        &test.path.steps,
        observed,
        REFERENCES_MAX,
        &mut |value| {
            found = true;
            good |= compare(&test.operator, value) != test.negated;
        },
    );
    match test.operator {
        Operator::Exists => found != test.negated,
        _ => good,
    }
}

/// Calls `each` with every value at `steps`.
fn walk<'n>(
    node: &'n Node<'n>,
    steps: &[PathStep],
    observed: &'n Observed<'_>,
    references: u32,
    each: &mut impl FnMut(&Node<'_>),
) {
    let Some((step, rest)) = steps.split_first() else {
        each(node);
        return;
    };
    match step {
        PathStep::Key(key) => {
            // A reference is followed when the path goes on.
            let target = match (&node.value, references) {
                (Value::Text(id), 1..) => observed.objects.get(id.as_ref()).copied(),
                _ => Some(node),
            };
            let left = match &node.value {
                Value::Text(_) => references - references.min(1),
                _ => references,
            };
            if let Some(next) = target.and_then(|target| target.get(key)) {
                walk(next, rest, observed, left, each);
            }
        }
        PathStep::Index(index) => {
            if let Some(next) = node.list().and_then(|items| items.get(*index)) {
                walk(next, rest, observed, references, each);
            }
        }
        PathStep::Any => {
            for next in node.list().unwrap_or_default() {
                walk(next, rest, observed, references, each);
            }
        }
    }
}

fn compare(operator: &Operator, value: &Node<'_>) -> bool {
    use std::cmp::Ordering::{Equal, Greater, Less};
    let order = |constant: &Constant| order(value, constant);
    match operator {
        Operator::Exists => true,
        Operator::Equal(constant) => order(constant) == Some(Equal),
        Operator::NotEqual(constant) => order(constant).is_some_and(|found| found != Equal),
        Operator::Less(constant) => order(constant) == Some(Less),
        Operator::LessEqual(constant) => matches!(order(constant), Some(Less | Equal)),
        Operator::Greater(constant) => order(constant) == Some(Greater),
        Operator::GreaterEqual(constant) => matches!(order(constant), Some(Greater | Equal)),
        Operator::In(set) => set.iter().any(|constant| order(constant) == Some(Equal)),
        Operator::Like(_, regex) | Operator::Matches(regex) => {
            value.text().is_some_and(|text| regex.is_match(text))
        }
        Operator::IsSubset(prefix) => subset(value, prefix).is_some_and(|(in_it, _)| in_it),
        Operator::IsSuperset(prefix) => subset(value, prefix).is_some_and(|(_, around)| around),
    }
}

/// Whether the prefix in `value` lies within `prefix`, and around it.
fn subset(value: &Node<'_>, prefix: &base::Prefix) -> Option<(bool, bool)> {
    let found = prefix_of(value.text()?)?;
    Some((prefix.covers(&found), found.covers(prefix)))
}

/// How `value` stands to `constant`; `None` when they cannot be compared.
fn order(value: &Node<'_>, constant: &Constant) -> Option<std::cmp::Ordering> {
    match (&value.value, constant) {
        (Value::Text(text), Constant::Text(other)) => Some(text.as_ref().cmp(other)),
        (Value::Text(text), Constant::Time(other)) => Some(time::parse(text)?.cmp(other)),
        (Value::Text(text), Constant::Bytes(bytes)) => {
            use base64::Engine as _;
            let plain = base64::engine::general_purpose::STANDARD;
            // Hexadecimal where the property is, else base64.
            let found = hex::decode(text.as_ref())
                .ok()
                .filter(|found| found == bytes);
            let found = found.or_else(|| plain.decode(text.as_ref()).ok())?;
            Some(found.cmp(bytes))
        }
        (Value::Number(_), Constant::Integer(other)) => match value.integer() {
            Some(number) => Some(number.cmp(other)),
            None => value.float()?.partial_cmp(&(*other as f64)),
        },
        (Value::Number(_), Constant::Float(other)) => value.float()?.partial_cmp(other),
        (Value::Bool(found), Constant::Bool(other)) => Some(found.cmp(other)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{json, pattern};
    use super::*;

    const DATA: &str = r#"[
      {"first_observed":"2026-01-01T00:00:00Z","last_observed":"2026-01-01T00:00:00Z","number_observed":1,"objects":{
        "0":{"type":"ipv4-addr","value":"198.51.100.7"},
        "1":{"type":"network-traffic","src_ref":"0","dst_port":443,"protocols":["tcp","tls"]},
        "2":{"type":"file","name":"foo.exe","size":25,"hashes":{"SHA-256":"aa"}}}},
      {"first_observed":"2026-01-01T00:05:00Z","last_observed":"2026-01-01T00:05:00Z","number_observed":1,"objects":{
        "0":{"type":"domain-name","value":"evil.example"}}},
      {"first_observed":"2026-01-01T01:00:00Z","last_observed":"2026-01-01T01:00:00Z","number_observed":3,"objects":{
        "0":{"type":"domain-name","value":"evil.example"}}}]"#;

    fn places(text: &str) -> Option<Vec<usize>> {
        let data = json::parse(DATA.as_bytes()).expect("JSON");
        let none = HashMap::new();
        let observed: Vec<Observed<'_>> = data
            .list()
            .expect("a list")
            .iter()
            .map(|one| Observed::of(one, &none).expect("observed"))
            .collect();
        find(&pattern::parse(text).expect(text), &observed)
    }

    #[test]
    fn comparisons() {
        for (text, matches) in [
            ("[ipv4-addr:value = '198.51.100.7']", true),
            ("[ipv4-addr:value ISSUBSET '198.51.100.0/24']", true),
            ("[ipv4-addr:value ISSUBSET '198.51.101.0/24']", false),
            ("[ipv4-addr:value NOT ISSUBSET '198.51.101.0/24']", true),
            (
                "[network-traffic:src_ref.value = '198.51.100.7' AND network-traffic:dst_port > 442]",
                true,
            ),
            (
                "[network-traffic:src_ref.value = '198.51.100.7' AND file:size = 25]",
                false,
            ),
            ("[network-traffic:protocols[*] = 'tls']", true),
            ("[network-traffic:protocols[0] = 'tls']", false),
            ("[network-traffic:dst_port NOT IN (80, 443)]", false),
            (
                "[file:name LIKE 'foo.%' AND file:hashes.'SHA-256' = 'aa']",
                true,
            ),
            ("[file:name MATCHES '^f.o' AND file:size <= 25.0]", true),
            ("[EXISTS file:size]", true),
            ("[NOT EXISTS file:mime_type]", true),
        ] {
            assert_eq!(places(text).is_some(), matches, "{text}");
        }
    }

    #[test]
    fn observations() {
        let address = "[ipv4-addr:value = '198.51.100.7']";
        let domain = "[domain-name:value = 'evil.example']";
        for (text, expected) in [
            (format!("{address} AND {domain}"), Some(vec![0, 1])),
            (format!("{address} FOLLOWEDBY {domain}"), Some(vec![0, 1])),
            (format!("{domain} FOLLOWEDBY {address}"), None),
            (
                format!("({address} AND {domain}) WITHIN 300 SECONDS"),
                Some(vec![0, 1]),
            ),
            (format!("({address} AND {domain}) WITHIN 299 SECONDS"), None),
            (format!("{domain} REPEATS 4 TIMES"), Some(vec![1, 2])),
            (format!("{domain} REPEATS 5 TIMES"), None),
            (
                format!("{domain} START t'2026-01-01T00:30:00Z' STOP t'2026-01-02T00:00:00Z'"),
                Some(vec![2]),
            ),
            (format!("{domain} OR {address}"), Some(vec![0])),
            (format!("{address} AND {address}"), None),
        ] {
            assert_eq!(places(&text), expected, "{text}");
        }
    }
}
