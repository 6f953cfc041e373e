//! The parsed file as a tree whose every value knows where it came from.

use std::collections::BTreeMap;
use std::ops::Range;

use serde_json::Value as Json;
use toml::de::{DeTable, DeValue};

use super::env::Env;
use super::key::{KeyPath, Step};
use super::{DEPTH_MAX, DOTS_PER_LINE_MAX, ENV_PREFIX};

/// Where a value came from.
#[derive(Debug, Clone)]
pub(super) enum Origin {
    /// Byte ranges of the key (if it has one) and of the value.
    File {
        key: Option<Range<usize>>,
        value: Range<usize>,
    },
    /// An environment variable; `as_text` once its text was tried as a TOML value
    /// in vain.
    Variable {
        name: String,
        raw: String,
        as_text: bool,
    },
}

#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) origin: Origin,
    pub(super) value: Value,
}

#[derive(Debug, Clone)]
pub(super) enum Value {
    Scalar(Json),
    Array(Vec<Node>),
    Table(BTreeMap<String, Node>),
}

/// A problem found while reading, before any type is known.
pub(super) struct Flaw {
    pub(super) key: KeyPath,
    pub(super) at: Option<Range<usize>>,
    pub(super) file: Option<String>,
    pub(super) message: String,
}

/// Parses `text`. What cannot be understood is a flaw and absent from the tree.
pub(super) fn parse(text: &str) -> (Node, Vec<Flaw>) {
    if let Some(flaw) = endless_key(text) {
        return (Node::empty(), vec![flaw]);
    }
    let (document, errors) = DeTable::parse_recoverable(text);
    let mut flaws: Vec<Flaw> = errors
        .into_iter()
        .map(|error| Flaw {
            key: KeyPath::default(),
            at: error.span(),
            file: None,
            message: error.message().replace('\n', " "),
        })
        .collect();
    let value = table(document.get_ref(), &KeyPath::default(), &mut flaws);
    (
        Node {
            value,
            ..Node::empty()
        },
        flaws,
    )
}

/// A dotted key of thousands of parts would become tables nested so deep that
/// walking them, which is recursive in the parser too, exhausts the stack.
fn endless_key(text: &str) -> Option<Flaw> {
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let mut quote = None;
        let mut dots = 0;
        for character in line.chars() {
            match (quote, character) {
                (None, '"' | '\'') => quote = Some(character),
                (Some(open), _) if open == character => quote = None,
                (None, '.') => dots += 1,
                _ => {}
            }
        }
        if dots > DOTS_PER_LINE_MAX {
            return Some(Flaw {
                key: KeyPath::default(),
                at: Some(start..start),
                file: None,
                message: format!("the line has {dots} dots: must have at most {DOTS_PER_LINE_MAX}"),
            });
        }
        start += line.len();
    }
    None
}

fn table(table: &DeTable<'_>, path: &KeyPath, flaws: &mut Vec<Flaw>) -> Value {
    let mut nodes = BTreeMap::new();
    if path.0.len() >= DEPTH_MAX {
        flaws.push(Flaw {
            key: KeyPath(path.0[..1].to_vec()),
            at: table.iter().next().map(|(key, _)| key.span()),
            file: None,
            message: format!("must not be nested deeper than {DEPTH_MAX} levels"),
        });
        return Value::Table(nodes);
    }
    for (key, value) in table.iter() {
        let name = key.get_ref().to_string();
        let path = path.child(Step::Key(name.clone()));
        let origin = Origin::File {
            key: Some(key.span()),
            value: value.span(),
        };
        if let Some(value) = convert(value.get_ref(), value.span(), &path, flaws) {
            nodes.insert(name, Node { origin, value });
        }
    }
    Value::Table(nodes)
}

fn convert(
    value: &DeValue<'_>,
    span: Range<usize>,
    path: &KeyPath,
    flaws: &mut Vec<Flaw>,
) -> Option<Value> {
    let mut flaw = |message: &str| {
        flaws.push(Flaw {
            key: path.clone(),
            at: Some(span.clone()),
            file: None,
            message: message.to_owned(),
        });
        None
    };
    let scalar = match value {
        DeValue::String(text) => Json::from(text.to_string()),
        DeValue::Boolean(value) => Json::from(*value),
        DeValue::Datetime(value) => Json::from(value.to_string()),
        DeValue::Integer(value) => {
            let (digits, radix) = (value.as_str(), value.radix());
            match (
                i64::from_str_radix(digits, radix),
                u64::from_str_radix(digits, radix),
            ) {
                (Ok(number), _) => Json::from(number),
                (_, Ok(number)) => Json::from(number),
                _ => return flaw("must be an integer of at most 64 bits"),
            }
        }
        DeValue::Float(value) => match value.as_str().parse::<f64>() {
            Ok(number) if number.is_finite() => Json::from(number),
            _ => return flaw("must be a finite number"),
        },
        DeValue::Array(elements) => {
            let mut nodes = Vec::with_capacity(elements.len());
            for (index, element) in elements.iter().enumerate() {
                let path = path.child(Step::Index(index));
                let origin = Origin::File {
                    key: None,
                    value: element.span(),
                };
                let value = convert(element.get_ref(), element.span(), &path, flaws)?;
                nodes.push(Node { origin, value });
            }
            return Some(Value::Array(nodes));
        }
        DeValue::Table(entries) => return Some(table(entries, path, flaws)),
    };
    Some(Value::Scalar(scalar))
}

/// Lays the variables of `env` that begin with [`ENV_PREFIX`] over `root`.
pub(super) fn overlay(root: &mut Node, env: &dyn Env, flaws: &mut Vec<Flaw>) {
    for (name, raw) in env.all() {
        let Some(rest) = name.strip_prefix(ENV_PREFIX) else {
            continue;
        };
        let keys: Vec<String> = rest.split("__").map(str::to_ascii_lowercase).collect();
        let path = KeyPath(keys.iter().cloned().map(Step::Key).collect());
        if keys.iter().any(String::is_empty) || keys.len() > DEPTH_MAX {
            flaws.push(Flaw {
                key: KeyPath::default(),
                at: None,
                file: Some(format!(
                    "environment variable {}",
                    name.chars().take(80).collect::<String>()
                )),
                message: format!(
                    "must be {ENV_PREFIX}SECTION__KEY with no empty part and at most {DEPTH_MAX} parts"
                ),
            });
            continue;
        }
        let leaf = variable(name, raw, &path);
        put(root, &keys, leaf);
    }
}

/// Reads a variable's text as a TOML value if it is one, else as plain text.
fn variable(name: String, raw: String, path: &KeyPath) -> Node {
    let parsed = DeValue::parse(&raw).ok().and_then(|value| {
        let mut flaws = Vec::new();
        convert(value.get_ref(), value.span(), path, &mut flaws)
    });
    let as_text = parsed.is_none();
    let value = parsed.unwrap_or_else(|| Value::Scalar(Json::from(raw.clone())));
    let mut node = Node {
        origin: Origin::Variable {
            name: name.clone(),
            raw,
            as_text,
        },
        value,
    };
    own(&mut node, &name);
    node
}

/// Marks everything below `node` as coming from the variable `name`.
fn own(node: &mut Node, name: &str) {
    let children: Vec<&mut Node> = match &mut node.value {
        Value::Scalar(_) => Vec::new(),
        Value::Array(nodes) => nodes.iter_mut().collect(),
        Value::Table(nodes) => nodes.values_mut().collect(),
    };
    for child in children {
        child.origin = Origin::Variable {
            name: name.to_owned(),
            raw: String::new(),
            as_text: true,
        };
        own(child, name);
    }
}

fn put(node: &mut Node, keys: &[String], leaf: Node) {
    let Some((first, rest)) = keys.split_first() else {
        *node = leaf;
        return;
    };
    if !matches!(node.value, Value::Table(_)) {
        node.value = Value::Table(BTreeMap::new());
        node.origin = leaf.origin.clone();
    }
    if let Value::Table(nodes) = &mut node.value {
        let child = nodes.entry(first.clone()).or_insert_with(|| Node {
            origin: leaf.origin.clone(),
            value: Value::Table(BTreeMap::new()),
        });
        put(child, rest, leaf);
    }
}

impl Node {
    /// The root of an empty file.
    fn empty() -> Self {
        let origin = Origin::File {
            key: None,
            value: 0..0,
        };
        Self {
            origin,
            value: Value::Table(BTreeMap::new()),
        }
    }

    /// As JSON, which any section can be read from.
    pub(super) fn json(&self) -> Json {
        match &self.value {
            Value::Scalar(value) => value.clone(),
            Value::Array(nodes) => nodes.iter().map(Node::json).collect(),
            Value::Table(nodes) => nodes
                .iter()
                .map(|(key, node)| (key.clone(), node.json()))
                .collect::<serde_json::Map<_, _>>()
                .into(),
        }
    }

    pub(super) fn child(&self, step: &Step) -> Option<&Self> {
        match (&self.value, step) {
            (Value::Table(nodes), Step::Key(key)) => nodes.get(key),
            (Value::Array(nodes), Step::Index(index)) => nodes.get(*index),
            _ => None,
        }
    }

    pub(super) fn child_mut(&mut self, step: &Step) -> Option<&mut Self> {
        match (&mut self.value, step) {
            (Value::Table(nodes), Step::Key(key)) => nodes.get_mut(key),
            (Value::Array(nodes), Step::Index(index)) => nodes.get_mut(*index),
            _ => None,
        }
    }

    pub(super) fn find_mut(&mut self, path: &KeyPath) -> Option<&mut Self> {
        path.0
            .iter()
            .try_fold(self, |node, step| node.child_mut(step))
    }

    /// The deepest existing value on the way to `path`, and whether that is `path`.
    pub(super) fn nearest(&self, path: &KeyPath) -> (&Self, bool) {
        let mut node = self;
        for step in &path.0 {
            match node.child(step) {
                Some(child) => node = child,
                None => return (node, false),
            }
        }
        (node, true)
    }

    /// Takes the value at `path` out of the tree; whether there was one. An
    /// element of an array cannot go without moving its neighbours' indices, so
    /// the array goes.
    pub(super) fn remove(&mut self, path: &KeyPath) -> bool {
        let Some((last, parents)) = path.0.split_last() else {
            return false;
        };
        let parent = KeyPath(parents.to_vec());
        match last {
            Step::Index(_) => self.remove(&parent),
            Step::Key(key) => match self.find_mut(&parent).map(|node| &mut node.value) {
                Some(Value::Table(nodes)) => nodes.remove(key).is_some(),
                _ => false,
            },
        }
    }
}

/// 1-based line and column (in characters) of byte `offset` of `text`.
pub(super) fn position(text: &str, offset: usize) -> (usize, usize) {
    let mut offset = offset.min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    let before = &text[..offset];
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    let line = before.matches('\n').count() + 1;
    (line, before[line_start..].chars().count() + 1)
}
