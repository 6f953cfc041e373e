//! What changes between two versions of the settings.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::SiteConfig;

/// One setting that differs between two versions.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// Its path: `delivery.stale_if_error_s`.
    pub path: String,
    /// The value before; none when it was not there.
    pub before: Option<Value>,
    /// The value after; none when it is gone.
    pub after: Option<Value>,
}

/// What differs between two documents, by path, in order.
pub fn difference(before: &SiteConfig, after: &SiteConfig) -> Vec<Change> {
    let (before, after) = (leaves(before), leaves(after));
    let mut paths: Vec<&String> = before.keys().chain(after.keys()).collect();
    paths.sort();
    paths.dedup();
    paths
        .into_iter()
        .filter(|path| before.get(*path) != after.get(*path))
        .map(|path| Change {
            path: path.clone(),
            before: before.get(path).cloned(),
            after: after.get(path).cloned(),
        })
        .collect()
}

fn leaves(config: &SiteConfig) -> BTreeMap<String, Value> {
    fn walk(at: String, value: Value, into: &mut BTreeMap<String, Value>) {
        match value {
            Value::Object(map) => {
                for (name, value) in map {
                    walk(
                        if at.is_empty() {
                            name
                        } else {
                            format!("{at}.{name}")
                        },
                        value,
                        into,
                    );
                }
            }
            Value::Array(items) if !items.is_empty() => {
                for (index, value) in items.into_iter().enumerate() {
                    walk(format!("{at}[{index}]"), value, into);
                }
            }
            Value::Array(_) | Value::Null => {}
            leaf => {
                into.insert(at, leaf);
            }
        }
    }
    let mut into = BTreeMap::new();
    walk(
        String::new(),
        serde_json::to_value(config).unwrap_or(Value::Null),
        &mut into,
    );
    into
}
