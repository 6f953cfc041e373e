//! The table of `spec.txt`, read once.

use std::collections::HashMap;
use std::sync::LazyLock;

/// What a property holds.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    Text,
    Integer(Option<i64>, Option<i64>),
    Float(Option<f64>, Option<f64>),
    Bool,
    Time,
    Id,
    /// A reference to an object of one of these types; of any, when empty.
    Ref(&'static [&'static str]),
    List(Box<Kind>),
    Enum(&'static [&'static str]),
    Hashes,
    Dict,
    Extensions,
    Hex,
    Binary,
    /// A nested object of this name.
    Nested(&'static str),
}

/// A rule over several properties.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Rule {
    Any(&'static [&'static str]),
    With(&'static str, &'static str),
    /// The first is not after the second; strictly before it when `true`.
    Order(&'static str, &'static str, bool),
}

/// The properties and rules of one type.
#[derive(Debug, Default)]
pub(super) struct Shape {
    pub(super) kinds: HashMap<&'static str, Kind>,
    pub(super) required: Vec<&'static str>,
    pub(super) rules: Vec<Rule>,
}

/// The whole table.
#[derive(Debug, Default)]
pub(super) struct Spec {
    pub(super) types: HashMap<&'static str, Shape>,
    pub(super) nested: HashMap<&'static str, Shape>,
}

pub(super) static SPEC: LazyLock<Spec> = LazyLock::new(|| {
    let mut spec = Spec::default();
    for line in include_str!("spec.txt").lines() {
        let mut words = line.split_whitespace();
        let Some(name) = words.next().filter(|name| !name.starts_with('#')) else {
            continue;
        };
        let mut shape = Shape::default();
        for word in words {
            shape.add(word);
        }
        match name.strip_prefix('@') {
            Some(name) => spec.nested.insert(name, shape),
            None => spec.types.insert(name, shape),
        };
    }
    spec
});

/// Lists of the table live as long as the program.
fn names(list: &'static str, by: char) -> &'static [&'static str] {
    Vec::leak(list.split(by).filter(|name| !name.is_empty()).collect())
}

impl Shape {
    fn add(&mut self, word: &'static str) {
        if let Some((name, kind)) = word.split_once(':') {
            let name = match name.strip_suffix('!') {
                Some(name) => {
                    self.required.push(name);
                    name
                }
                None => name,
            };
            self.kinds.insert(name, kind_of(kind));
            return;
        }
        let Some((rule, list)) = word.split_once('(') else {
            return;
        };
        let list = names(list.trim_end_matches(')'), ',');
        match (rule, list) {
            ("any", _) => self.rules.push(Rule::Any(list)),
            ("with", [a, b]) => self.rules.push(Rule::With(a, b)),
            ("order", [a, b]) => self.rules.push(Rule::Order(a, b, false)),
            ("before", [a, b]) => self.rules.push(Rule::Order(a, b, true)),
            _ => {}
        }
    }
}

fn kind_of(text: &'static str) -> Kind {
    if let Some(inner) = text.strip_prefix('[') {
        return Kind::List(Box::new(kind_of(inner.trim_end_matches(']'))));
    }
    if let Some(name) = text.strip_prefix('@') {
        return Kind::Nested(name);
    }
    let (name, inside) = match text.split_once('(') {
        Some((name, inside)) => (name, inside.trim_end_matches(')')),
        None => (text, ""),
    };
    let (low, high) = inside.split_once("..").unwrap_or_default();
    match name {
        "int" => Kind::Integer(low.parse().ok(), high.parse().ok()),
        "float" => Kind::Float(low.parse().ok(), high.parse().ok()),
        "bool" => Kind::Bool,
        "time" => Kind::Time,
        "id" => Kind::Id,
        "ref" => Kind::Ref(names(inside, '|')),
        "enum" => Kind::Enum(names(inside, '|')),
        "hashes" => Kind::Hashes,
        "dict" => Kind::Dict,
        "extensions" => Kind::Extensions,
        "hex" => Kind::Hex,
        "bin" => Kind::Binary,
        _ => Kind::Text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_of_the_table_is_understood() {
        const KINDS: [&str; 13] = [
            "str",
            "int",
            "float",
            "bool",
            "time",
            "id",
            "ref",
            "enum",
            "hashes",
            "dict",
            "extensions",
            "hex",
            "bin",
        ];
        assert_eq!(SPEC.types.len(), 19 + 2 + 18 + 3);
        for line in include_str!("spec.txt")
            .lines()
            .filter(|line| !line.starts_with('#'))
        {
            for word in line.split_whitespace().skip(1) {
                match word.split_once(':') {
                    Some((_, kind)) => {
                        let kind = kind.trim_matches(['[', ']']);
                        match kind.strip_prefix('@') {
                            Some(name) => assert!(SPEC.nested.contains_key(name), "{word}"),
                            None => {
                                let name = kind.split('(').next().unwrap_or_default();
                                assert!(KINDS.contains(&name), "{word}");
                            }
                        }
                    }
                    None => {
                        let rule = word.split('(').next().unwrap_or_default();
                        assert!(["any", "with", "order", "before"].contains(&rule), "{word}");
                    }
                }
            }
        }
    }
}
