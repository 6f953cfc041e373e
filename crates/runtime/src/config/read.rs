//! From the tree to the typed configuration, gathering every problem on the way.
//!
//! serde stops at the first error. To find the others, the offending value is
//! taken out of the tree, so that its default stands in, and reading starts again.

use serde::de::DeserializeOwned;
use serde_json::Value as Json;
use serde_path_to_error::Segment;

use super::check::{Check, check};
use super::env::Env;
use super::error::{ConfigError, Problem};
use super::key::{KeyPath, Step};
use super::source::{self, Flaw, Node, Origin, Value};
use super::{PROBLEMS_MAX, source::position};

pub(super) fn read<T: DeserializeOwned + Check>(
    name: &str,
    text: &str,
    env: &dyn Env,
) -> Result<T, ConfigError> {
    let (mut root, mut flaws) = source::parse(text);
    source::overlay(&mut root, env, &mut flaws);
    let whole = root.clone();
    // What follows a syntax error is guesswork; guesses would only confuse.
    let unreadable = flaws.iter().any(|flaw| flaw.key.0.is_empty());
    let mut problems: Vec<Located> = flaws
        .into_iter()
        .take(PROBLEMS_MAX)
        .map(|flaw| Located::from_flaw(name, text, flaw))
        .collect();
    if unreadable {
        return Err(invalid(problems));
    }
    let mut suspects: Vec<KeyPath> = Vec::new();
    let value = loop {
        match serde_path_to_error::deserialize::<_, T>(root.json()) {
            Ok(value) => break Some(value),
            Err(error) => {
                let (path, message) = explain(&root, &error);
                if try_as_text(&mut root, &path) {
                    continue;
                }
                problems.push(Located::of_key(name, text, &whole, &path, message));
                suspects.push(path.clone());
                if problems.len() >= PROBLEMS_MAX || !root.remove(&path) {
                    break None;
                }
            }
        }
    };
    if let Some(value) = &value {
        for finding in check(value) {
            let known = suspects.iter().any(|path| path.related(&finding.key));
            if !known && problems.len() < PROBLEMS_MAX {
                let message = finding.message;
                problems.push(Located::of_key(name, text, &whole, &finding.key, message));
            }
        }
    }
    match value {
        Some(value) if problems.is_empty() => Ok(value),
        _ => Err(invalid(problems)),
    }
}

fn invalid(mut problems: Vec<Located>) -> ConfigError {
    problems.sort_by_key(|located| located.offset);
    let problems = problems.into_iter().map(|located| located.problem);
    ConfigError::Invalid(problems.collect())
}

/// A problem with its place in the file, to sort by.
struct Located {
    offset: usize,
    problem: Problem,
}

impl Located {
    fn from_flaw(name: &str, text: &str, flaw: Flaw) -> Self {
        let offset = flaw.at.map(|range| range.start);
        let place = offset.map(|offset| position(text, offset));
        Self {
            offset: offset.unwrap_or(usize::MAX),
            problem: Problem {
                file: flaw.file.unwrap_or_else(|| name.to_owned()),
                line: place.map(|(line, _)| line),
                column: place.map(|(_, column)| column),
                key: flaw.key.to_string(),
                message: flaw.message,
            },
        }
    }

    fn of_key(name: &str, text: &str, root: &Node, path: &KeyPath, message: String) -> Self {
        let (node, exact) = root.nearest(path);
        let is_root = std::ptr::eq(node, root);
        let (file, offset) = match &node.origin {
            Origin::Variable { name, .. } => (format!("environment variable {name}"), None),
            Origin::File { .. } if is_root => (name.to_owned(), None),
            Origin::File { key, value } => {
                // A wrong value is shown at the value, a wrong or missing key at the key.
                let at_key = !exact || message.starts_with("is no key");
                let range = if at_key { key.as_ref() } else { None };
                (name.to_owned(), Some(range.unwrap_or(value).start))
            }
        };
        let place = offset.map(|offset| position(text, offset));
        Self {
            offset: offset.unwrap_or(usize::MAX),
            problem: Problem {
                file,
                line: place.map(|(line, _)| line),
                column: place.map(|(_, column)| column),
                key: path.to_string(),
                message,
            },
        }
    }
}

/// A variable whose text looks like a number or a boolean may be meant as text.
fn try_as_text(root: &mut Node, path: &KeyPath) -> bool {
    if let Some(node) = root.find_mut(path)
        && let Origin::Variable { raw, as_text, .. } = &mut node.origin
        && !*as_text
    {
        *as_text = true;
        node.value = Value::Scalar(Json::from(raw.clone()));
        return true;
    }
    false
}

/// Where the error is, and what it says in our words.
fn explain(
    root: &Node,
    error: &serde_path_to_error::Error<serde_json::Error>,
) -> (KeyPath, String) {
    let mut path = KeyPath::default();
    for segment in error.path().iter() {
        match segment {
            Segment::Seq { index } => path.push(Step::Index(*index)),
            Segment::Map { key } => path.push(Step::Key(key.clone())),
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    // A key read while telling enum variants apart can lead beyond the tree.
    while !root.nearest(&path).1 && !path.0.is_empty() {
        path.pop();
    }
    let said = error.inner().to_string();
    let quoted: Vec<&str> = said.split('`').skip(1).step_by(2).collect();
    if said.starts_with("unknown field") {
        let Some((unknown, known)) = quoted.split_first() else {
            return (path, said);
        };
        if path.last_key() != Some(unknown) {
            path.push(Step::Key((*unknown).to_owned()));
        }
        let hint = match nearest_name(unknown, known) {
            Some(name) => format!("is no key here: did you mean {name:?}?"),
            None if known.is_empty() => "is no key here: the table has none".to_owned(),
            None => format!("is no key here: must be one of {}", known.join(", ")),
        };
        return (path, hint);
    }
    if said.starts_with("unknown variant") {
        let known = quoted.get(1..).unwrap_or_default().join(", ");
        let value = quoted.first().copied().unwrap_or_default();
        return (
            path,
            format!("{value:?} is not known: must be one of {known}"),
        );
    }
    if said.starts_with("missing field") {
        let key = quoted.first().copied().unwrap_or_default();
        return (path, format!("lacks {key:?}, which has no default"));
    }
    (path, wrong_type(&said))
}

/// serde's "invalid type: string \"x\", expected u16" for people.
fn wrong_type(said: &str) -> String {
    let Some((found, expected)) = said
        .strip_prefix("invalid type: ")
        .or_else(|| said.strip_prefix("invalid value: "))
        .and_then(|rest| rest.rsplit_once(", expected "))
    else {
        return said.to_owned();
    };
    let rule = match expected {
        "u8" => "a whole number from 0 to 255",
        "u16" => "a whole number from 0 to 65535",
        "u32" => "a whole number from 0 to 4294967295",
        "u64" | "usize" => "a whole number that is not negative",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "a boolean" | "a bool" => "true or false",
        "a sequence" => "an array",
        "a map" => "a table",
        other if other.starts_with("struct ") => "a table",
        other => other,
    };
    let found = match found.split_once(' ') {
        Some(("integer" | "floating" | "string" | "boolean", _)) => found
            .trim_start_matches("floating point ")
            .trim_start_matches("integer ")
            .trim_start_matches("string ")
            .trim_start_matches("boolean ")
            .trim_matches('`'),
        _ => match found {
            "map" => "a table",
            "sequence" => "an array",
            other => other,
        },
    };
    format!("{found} does not fit: must be {rule}")
}

/// The known name that `typed` most likely means.
fn nearest_name<'a>(typed: &str, known: &[&'a str]) -> Option<&'a str> {
    let (distance, name) = known.iter().map(|name| (edits(typed, name), *name)).min()?;
    (distance <= 1 + typed.chars().count() / 4).then_some(name)
}

/// Insertions, deletions, substitutions and swaps of neighbours between two names
/// (optimal string alignment).
fn edits(from: &str, to: &str) -> usize {
    let from: Vec<char> = from.chars().take(64).collect();
    let to: Vec<char> = to.chars().take(64).collect();
    let mut rows = vec![(0..=to.len()).collect::<Vec<usize>>()];
    for i in 1..=from.len() {
        let mut row = vec![i; to.len() + 1];
        for j in 1..=to.len() {
            let same = usize::from(from[i - 1] != to[j - 1]);
            let mut best = (rows[i - 1][j] + 1)
                .min(row[j - 1] + 1)
                .min(rows[i - 1][j - 1] + same);
            if i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row[j] = best;
        }
        rows.push(row);
    }
    rows[from.len()][to.len()]
}
