//! An object's properties in words, and the difference of two versions.

use std::collections::{BTreeMap, HashSet};

use base::Timestamp;
use casework::body::Body;
use serde_json::Value;
use web::Visit;
use web::ui::{self, Column, Markup, Table};

use super::{kind_name, path_of};
use crate::objects::search::Hit;
use crate::stix::{explain, pattern, time};

/// Characters of a value that are shown.
const VALUE_CHARS_MAX: usize = 4_000;
/// Items of a list that are shown.
const ITEMS_MAX: usize = 40;
/// Values that are compared between two versions.
const PATHS_MAX: usize = 2_000;
/// Nesting that is looked into.
const DEPTH_MAX: usize = 12;

/// Properties that have a name in both languages, in the order in which they are shown.
const NAMED: [&str; 34] = [
    "name",
    "value",
    "description",
    "aliases",
    "labels",
    "indicator_types",
    "malware_types",
    "threat_actor_types",
    "tool_types",
    "report_types",
    "infrastructure_types",
    "identity_class",
    "sectors",
    "is_family",
    "valid_from",
    "valid_until",
    "first_seen",
    "last_seen",
    "first_observed",
    "last_observed",
    "number_observed",
    "count",
    "published",
    "confidence",
    "kill_chain_phases",
    "hashes",
    "opinion",
    "explanation",
    "abstract",
    "content",
    "external_references",
    "lang",
    "created",
    "modified",
];

/// Shown elsewhere on the page.
const ELSEWHERE: [&str; 7] = [
    "type",
    "id",
    "spec_version",
    "pattern",
    "pattern_type",
    "pattern_version",
    "object_marking_refs",
];

/// The ids that [`facts`] shows as references.
pub(super) fn references(object: &Value) -> Vec<String> {
    let Some(map) = object.as_object() else {
        return Vec::new();
    };
    let mut ids = Vec::new();
    for (name, value) in map {
        match value {
            Value::String(id) if name.ends_with("_ref") => ids.push(id.clone()),
            Value::Array(items) if name.ends_with("_refs") => {
                let items = items.iter().take(ITEMS_MAX).filter_map(Value::as_str);
                ids.extend(items.map(str::to_owned));
            }
            _ => {}
        }
    }
    ids
}

/// The properties as facts; a reference is a link where its object is among `held`.
pub(super) fn facts(visit: &Visit, object: &Value, held: &HashSet<String>) -> Markup {
    let mut entries = Vec::new();
    for name in NAMED {
        if let Some(value) = object.get(name) {
            let label = visit.t(&format!("stix-{}", name.replace('_', "-")));
            entries.push((label, value_of(visit, name, value, held)));
        }
    }
    if let Some(map) = object.as_object() {
        for (name, value) in map {
            let shown = NAMED.contains(&name.as_str()) || ELSEWHERE.contains(&name.as_str());
            if !shown {
                entries.push((name.clone(), value_of(visit, name, value, held)));
            }
        }
    }
    ui::definition_list(entries)
}

fn value_of(visit: &Visit, name: &str, value: &Value, held: &HashSet<String>) -> Markup {
    let reference = |id: &str| match held.contains(id) {
        true => Markup::link(path_of(id), id),
        false => Markup::text(id.chars().take(VALUE_CHARS_MAX).collect::<String>()),
    };
    match value {
        Value::String(text) => match time::parse(text) {
            Some(at) if !name.starts_with("x_") => ui::time(Timestamp(at)),
            _ if name.ends_with("_ref") => reference(text),
            _ => Markup::text(text.chars().take(VALUE_CHARS_MAX).collect::<String>()),
        },
        Value::Bool(yes) => Markup::text(visit.t(if *yes { "intel-yes" } else { "intel-no" })),
        Value::Array(items) => {
            let mut out = String::from("<ul>");
            for item in items.iter().take(ITEMS_MAX) {
                let inner = match item {
                    Value::String(id) if name.ends_with("_refs") => reference(id),
                    Value::String(text) => {
                        Markup::text(text.chars().take(VALUE_CHARS_MAX).collect::<String>())
                    }
                    other => Markup::text(short(other)),
                };
                out.push_str(&format!("<li>{inner}</li>"));
            }
            if items.len() > ITEMS_MAX {
                let more = visit.ta(
                    "intel-more",
                    &[("count", &(items.len() - ITEMS_MAX).to_string())],
                );
                out.push_str(&format!("<li>{}</li>", ui::escape(&more)));
            }
            out.push_str("</ul>");
            Markup::new(out)
        }
        other => Markup::text(short(other)),
    }
}

/// A nested value on one line: `source_name: mitre-attack, external_id: T1059`.
fn short(value: &Value) -> String {
    let text = match value {
        Value::Object(map) => map
            .iter()
            .map(|(name, value)| match value {
                Value::String(text) => format!("{name}: {text}"),
                other => format!("{name}: {other}"),
            })
            .collect::<Vec<_>>()
            .join(", "),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    text.chars().take(VALUE_CHARS_MAX).collect()
}

/// The pattern as it is written, and in words.
pub(super) fn pattern(visit: &Visit, object: &Value) -> Option<Body> {
    let text = object["pattern"].as_str()?;
    let shown: String = text.chars().take(VALUE_CHARS_MAX).collect();
    let language = object["pattern_type"].as_str().unwrap_or("stix");
    let mut body = Body::new().add(ui::copyable(visit.t("intel-pattern"), shown));
    if language != "stix" {
        return Some(body.text(visit.ta("intel-pattern-other", &[("language", language)])));
    }
    match pattern::parse(text) {
        Ok(tree) => {
            let zh = visit.lang == web::Lang::ZhTw;
            let mut out = String::from("<ul>");
            let mut depth = 0;
            for line in explain::explain(&tree, zh) {
                while depth < line.depth {
                    out.push_str("<li><ul>");
                    depth += 1;
                }
                while depth > line.depth {
                    out.push_str("</ul></li>");
                    depth -= 1;
                }
                out.push_str(&format!("<li>{}</li>", ui::escape(&line.text)));
            }
            out.push_str(&"</ul></li>".repeat(depth));
            out.push_str("</ul>");
            body = body.add(Markup::new(out));
        }
        Err(error) => body = body.text(error.to_string()),
    }
    Some(body)
}

/// What differs between two versions, as a table.
pub(super) fn difference(visit: &Visit, older: &Hit, newer: &Hit) -> Table {
    let (old, new) = (flat(&older.object()), flat(&newer.object()));
    let mut table = Table::new(visit.ta(
        "intel-diff",
        &[
            ("from", &time::format(older.version)),
            ("to", &time::format(newer.version)),
        ],
    ))
    .column(Column::text(visit.t("intel-diff-path")))
    .column(Column::text(visit.t("intel-diff-old")))
    .column(Column::text(visit.t("intel-diff-new")))
    .empty(Markup::text(visit.t("intel-diff-none")));
    let paths: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    for path in paths {
        let (before, after) = (old.get(path), new.get(path));
        if before != after {
            let cell = |value: Option<&String>| match value {
                Some(text) => Markup::text(text.chars().take(400).collect::<String>()),
                None => Markup::text("–"),
            };
            table.push(vec![Markup::code(path), cell(before), cell(after)]);
        }
    }
    table
}

fn flat(value: &Value) -> BTreeMap<String, String> {
    fn go(value: &Value, path: String, depth: usize, out: &mut BTreeMap<String, String>) {
        if out.len() >= PATHS_MAX {
            return;
        }
        match value {
            Value::Object(map) if depth < DEPTH_MAX => {
                for (name, value) in map {
                    let path = match path.is_empty() {
                        true => name.clone(),
                        false => format!("{path}.{name}"),
                    };
                    go(value, path, depth + 1, out);
                }
            }
            Value::Array(items) if depth < DEPTH_MAX => {
                for (index, value) in items.iter().enumerate() {
                    go(value, format!("{path}[{index}]"), depth + 1, out);
                }
            }
            Value::String(text) => drop(out.insert(path, text.clone())),
            other => drop(out.insert(path, other.to_string())),
        }
    }
    let mut out = BTreeMap::new();
    go(value, String::new(), 0, &mut out);
    out
}

/// Type and name of an object that is referred to, with a link if it may be seen.
pub(super) fn reference(visit: &Visit, id: &str, hit: Option<&Hit>) -> Markup {
    match hit {
        Some(hit) => Markup::text(format!("{} ", kind_name(visit, &hit.kind))).and(&Markup::link(
            path_of(id),
            crate::objects::graph::title(hit),
        )),
        None => Markup::text(format!(
            "{} ({})",
            kind_name(visit, id.split("--").next().unwrap_or_default()),
            visit.t("intel-not-here")
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_referred_to_is_listed() {
        let object = json!({
            "created_by_ref": "identity--1", "object_refs": ["a--1", 7, "b--2"], "name": "x_ref", "sighting_of_ref": 3,
        });
        assert_eq!(references(&object), ["identity--1", "a--1", "b--2"]);
    }

    #[test]
    fn values_lie_flat() {
        let flat = flat(&json!({"a": {"b": ["x", 7]}, "c": true}));
        let pairs: Vec<(&str, &str)> = flat
            .iter()
            .map(|(path, value)| (path.as_str(), value.as_str()))
            .collect();
        assert_eq!(pairs, [("a.b[0]", "x"), ("a.b[1]", "7"), ("c", "true")]);
    }
}
