//! The reference manual of the configuration, generated from doc comments: JSON
//! schema, Markdown and a commented sample. The outputs are the same on every run.

use std::fmt::Write as _;

use schemars::JsonSchema;
use serde_json::{Map, Value as Json};

/// JSON schema (2020-12) of the configuration, with sorted keys.
pub fn schema<T: JsonSchema>() -> Json {
    sorted(schemars::schema_for!(T).to_value())
}

/// Markdown reference: one heading per section, one row per key.
pub fn reference<T: JsonSchema>() -> String {
    let root = schema::<T>();
    let mut text = String::new();
    walk(&root, &root, "", &mut |section| {
        let Section {
            name, doc, keys, ..
        } = section;
        if !name.is_empty() {
            let _written = write!(text, "## `[{name}]`\n\n");
        }
        if !doc.is_empty() {
            let _written = write!(text, "{doc}\n\n");
        }
        if keys.is_empty() {
            return;
        }
        text.push_str("| key | type | default | meaning |\n| --- | --- | --- | --- |\n");
        for key in keys {
            let default = match &key.default {
                Some(value) => format!("`{}`", cell(&toml_text(value))),
                None => "–".to_owned(),
            };
            let _written = writeln!(
                text,
                "| `{}` | {} | {default} | {} |",
                cell(&key.name),
                cell(&key.kind),
                cell(&key.doc)
            );
        }
        text.push('\n');
    });
    text
}

/// A sample file in which every key is commented out with its default.
pub fn sample<T: JsonSchema>() -> String {
    let root = schema::<T>();
    let mut text = String::new();
    walk(&root, &root, "", &mut |section| {
        let Section {
            name,
            doc,
            keys,
            required,
        } = section;
        if !text.is_empty() {
            text.push('\n');
        }
        if !name.is_empty() && !keys.is_empty() {
            comment(&mut text, &doc);
            // A table with keys that have no default cannot stand empty.
            let commented = if required || name.contains("[]") || name.contains('<') {
                "# "
            } else {
                ""
            };
            let header = match name.strip_suffix("[]") {
                Some(array) => format!("[[{array}]]"),
                None => format!("[{name}]"),
            };
            let _written = writeln!(text, "{commented}{header}");
        }
        for key in keys {
            comment(&mut text, &key.doc);
            let value = match &key.default {
                Some(value) if !value.is_null() => toml_text(value),
                _ => format!("<{}>", key.kind),
            };
            let _written = writeln!(text, "# {} = {value}", key.name);
        }
    });
    text
}

struct Section {
    name: String,
    doc: String,
    keys: Vec<Key>,
    /// Whether some key has no default.
    required: bool,
}

struct Key {
    name: String,
    kind: String,
    default: Option<Json>,
    doc: String,
}

/// Sections nested deeper than this are not described.
const DEPTH_MAX: usize = 8;

fn walk(root: &Json, schema: &Json, name: &str, visit: &mut impl FnMut(Section)) {
    if name.split('.').count() > DEPTH_MAX {
        return;
    }
    let schema = resolve(root, schema);
    let mut keys = Vec::new();
    let mut inner: Vec<(String, Json)> = Vec::new();
    for (key, property) in object(&schema, "properties") {
        let target = resolve(root, property);
        let path = if name.is_empty() {
            key.clone()
        } else {
            format!("{name}.{key}")
        };
        if target.get("properties").is_some() {
            inner.push((path, target));
            continue;
        }
        let element = target.get("items").map(|items| resolve(root, items));
        if let Some(element) = &element
            && element.get("properties").is_some()
        {
            inner.push((format!("{path}[]"), element.clone()));
        }
        let values = target
            .get("additionalProperties")
            .map(|values| resolve(root, values));
        if let Some(values) = &values
            && values.get("properties").is_some()
        {
            inner.push((format!("{path}.<name>"), values.clone()));
        }
        keys.push(Key {
            name: key.clone(),
            kind: kind(root, property),
            default: property.get("default").cloned(),
            doc: doc(property, &target),
        });
    }
    visit(Section {
        name: name.to_owned(),
        doc: text_of(&schema, "description"),
        keys,
        required: schema
            .get("required")
            .and_then(Json::as_array)
            .is_some_and(|required| !required.is_empty()),
    });
    for (path, schema) in inner {
        walk(root, &schema, &path, visit);
    }
}

/// Follows `$ref`, and takes the other half of "this or null".
fn resolve(root: &Json, schema: &Json) -> Json {
    if let Some(reference) = schema.get("$ref").and_then(Json::as_str)
        && let Some(target) = reference
            .strip_prefix('#')
            .and_then(|pointer| root.pointer(pointer))
    {
        return resolve(root, target);
    }
    if let Some(options) = schema.get("anyOf").and_then(Json::as_array) {
        let solid: Vec<&Json> = options.iter().filter(|option| !is_null(option)).collect();
        if let [only] = solid[..] {
            return resolve(root, only);
        }
    }
    schema.clone()
}

fn is_null(schema: &Json) -> bool {
    schema.get("type").and_then(Json::as_str) == Some("null")
}

fn kind(root: &Json, schema: &Json) -> String {
    let target = resolve(root, schema);
    if let Some(values) = target.get("enum").and_then(Json::as_array) {
        return one_of(values.iter());
    }
    if let Some(options) = target.get("oneOf").and_then(Json::as_array) {
        let named: Vec<&Json> = options
            .iter()
            .flat_map(|option| match option.get("const") {
                Some(value) => vec![value],
                None => option
                    .get("enum")
                    .and_then(Json::as_array)
                    .map(|values| values.iter().collect())
                    .unwrap_or_default(),
            })
            .collect();
        if !named.is_empty() {
            return one_of(named.into_iter());
        }
    }
    let name = match target.get("type") {
        Some(Json::String(name)) => name.as_str(),
        Some(Json::Array(names)) => names
            .iter()
            .filter_map(Json::as_str)
            .find(|name| *name != "null")
            .unwrap_or("value"),
        _ => "value",
    };
    match name {
        "array" => match target.get("items") {
            Some(items) => format!("array of {}", kind(root, items)),
            None => "array".to_owned(),
        },
        "object" => "table".to_owned(),
        other => other.to_owned(),
    }
}

fn one_of<'a>(values: impl Iterator<Item = &'a Json>) -> String {
    let names: Vec<String> = values.map(toml_text).collect();
    format!("one of {}", names.join(", "))
}

fn doc(property: &Json, target: &Json) -> String {
    let own = text_of(property, "description");
    if own.is_empty() {
        text_of(target, "description")
    } else {
        own
    }
}

fn text_of(schema: &Json, key: &str) -> String {
    let text = schema.get(key).and_then(Json::as_str).unwrap_or_default();
    let paragraphs: Vec<String> = text
        .split("\n\n")
        .map(|paragraph| paragraph.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    paragraphs.join("\n\n")
}

fn object<'a>(schema: &'a Json, key: &str) -> impl Iterator<Item = (&'a String, &'a Json)> {
    schema
        .get(key)
        .and_then(Json::as_object)
        .into_iter()
        .flat_map(Map::iter)
}

/// Fit for one cell of a Markdown table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace("\n\n", "<br>")
}

fn comment(text: &mut String, doc: &str) {
    for paragraph in doc.split("\n\n").filter(|part| !part.is_empty()) {
        let _written = writeln!(text, "# {paragraph}");
    }
}

/// A JSON value as TOML writes it inline.
fn toml_text(value: &Json) -> String {
    match value {
        Json::Null => "unset".to_owned(),
        Json::Array(values) => {
            let values: Vec<String> = values.iter().map(toml_text).collect();
            format!("[{}]", values.join(", "))
        }
        Json::Object(entries) => {
            let entries: Vec<String> = entries
                .iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(key, value)| format!("{key} = {}", toml_text(value)))
                .collect();
            if entries.is_empty() {
                return "{}".to_owned();
            }
            format!("{{ {} }}", entries.join(", "))
        }
        other => other.to_string(),
    }
}

/// Sorted at every level, whichever features other crates ask of `serde_json`.
fn sorted(value: Json) -> Json {
    match value {
        Json::Object(entries) => {
            let mut entries: Vec<(String, Json)> = entries
                .into_iter()
                .map(|(key, value)| (key, sorted(value)))
                .collect();
            entries.sort_by(|(a, _), (b, _)| a.cmp(b));
            Json::Object(entries.into_iter().collect())
        }
        Json::Array(values) => Json::Array(values.into_iter().map(sorted).collect()),
        other => other,
    }
}
