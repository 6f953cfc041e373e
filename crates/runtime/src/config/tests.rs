//! Tests of loading, problems and the generated reference.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::*;

/// Everything.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Root {
    store: Store,
    edge: Option<Edge>,
    node: BTreeMap<String, Node>,
}

/// Where things are kept.
#[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Store {
    /// Where the database is.
    url: String,
    /// Connections kept open,
    /// at most.
    connections: u16,
    /// How hard it tries.
    effort: Effort,
}

/// How hard.
#[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Effort {
    /// Not at all.
    Lazy,
    /// Very.
    Eager,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Edge {
    /// Addresses served.
    listen: Vec<std::net::SocketAddr>,
    ratio: f64,
    on: bool,
}

#[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Node {
    /// Its address.
    address: String,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            url: "sqlite:var/control.db".to_owned(),
            connections: 8,
            effort: Effort::Lazy,
        }
    }
}

impl Check for Root {
    fn check(&self, at: &mut Checker) {
        at.section("store", &self.store);
    }
}

impl Check for Store {
    fn check(&self, at: &mut Checker) {
        at.require(self.connections > 0, "connections", "must be at least 1");
        at.require(self.url.contains(':'), "url", "must be a URL");
    }
}

fn vars(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn problems(text: &str, env: &dyn Env) -> Vec<String> {
    match parse::<Root>("f.toml", text, env) {
        Err(ConfigError::Invalid(problems)) => problems.iter().map(ToString::to_string).collect(),
        other => panic!("expected problems, got {other:?}"),
    }
}

#[test]
fn an_empty_file_gives_the_defaults() {
    assert_eq!(
        parse::<Root>("f", "", &NoEnv).expect("valid"),
        Root::default()
    );
}

#[test]
fn every_problem_is_reported_with_its_place() {
    let text = "\
[store]
url = \"nowhere\"
conections = 3
connections = 0
effort = \"keen\"

[edge]
listen = [\"127.0.0.1:80\", \"localhost\"]
on = 1
ratio = \"half\"
[egde]
";
    assert_eq!(
        problems(text, &NoEnv),
        [
            "f.toml:2:7: store.url: must be a URL",
            "f.toml:3:1: store.conections: is no key here: did you mean \"connections\"?",
            "f.toml:4:15: store.connections: must be at least 1",
            "f.toml:5:10: store.effort: \"keen\" is not known: must be one of lazy, eager",
            "f.toml:8:27: edge.listen[1]: invalid socket address syntax",
            "f.toml:9:6: edge.on: 1 does not fit: must be true or false",
            "f.toml:10:9: edge.ratio: \"half\" does not fit: must be a number",
            "f.toml:11:2: egde: is no key here: did you mean \"edge\"?",
        ]
    );
}

#[test]
fn syntax_errors_have_places_too() {
    let found = problems("[store]\nurl = \"a:b\nconnections == 3\n", &NoEnv);
    assert!(found[0].starts_with("f.toml:2:"), "{found:?}");
    assert!(
        found.iter().any(|line| line.starts_with("f.toml:3:")),
        "{found:?}"
    );
    let found = problems("[store]\nurl = \"a:b\"\nurl = \"c:d\"\n", &NoEnv);
    assert!(found[0].starts_with("f.toml:3:1: "), "{found:?}");
}

#[test]
fn columns_count_characters_and_numbers_keep_their_range() {
    assert_eq!(
        problems("store = { url = \"台:灣\", connections = 70000 }\n", &NoEnv),
        [
            "f.toml:1:38: store.connections: 70000 does not fit: must be a whole number from 0 to 65535"
        ]
    );
    let found = problems(
        "[edge]\nratio = inf\n[store]\nconnections = 99999999999999999999\n",
        &NoEnv,
    );
    assert_eq!(found.len(), 2, "{found:?}");
}

#[test]
fn a_missing_key_names_the_table_that_lacks_it() {
    let found = problems("[node.a]\n", &NoEnv);
    assert_eq!(
        found,
        ["f.toml:1:1: node.a: lacks \"address\", which has no default"]
    );
}

#[test]
fn the_environment_overrides_and_is_named_when_wrong() {
    let env = vars(&[
        ("CIVICNET__STORE__CONNECTIONS", "3"),
        ("CIVICNET__STORE__URL", "postgres://db/civicnet"),
        ("CIVICNET__EDGE__LISTEN", "[\"127.0.0.1:81\"]"),
        ("CIVICNET__NODE__B__ADDRESS", "12"),
        ("HOME", "/"),
    ]);
    let config: Root = parse("f", "[store]\nurl = \"a:b\"\n", &env).expect("valid");
    assert_eq!(config.store.connections, 3);
    assert_eq!(config.store.url, "postgres://db/civicnet");
    assert_eq!(config.edge.expect("set").listen.len(), 1);
    assert_eq!(config.node["b"].address, "12", "a number meant as text");
    let env = vars(&[
        ("CIVICNET__STORE__CONNECTIONS", "many"),
        ("CIVICNET__STORE__", "x"),
    ]);
    let found = problems("", &env);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].contains("environment variable CIVICNET__STORE__: must be"),
        "{found:?}"
    );
    let env = vars(&[("CIVICNET__STORE__CONNECTIONS", "many")]);
    let text = problems("", &env).join("\n");
    assert!(
        text.contains(
            "environment variable CIVICNET__STORE__CONNECTIONS: store.connections: \"many\" does not fit"
        ),
        "{text}"
    );
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = load::<Root>(Path::new("/nowhere/f.toml"), &NoEnv).expect_err("absent");
    assert!(error.to_string().contains("/nowhere/f.toml"), "{error}");
}

#[test]
fn the_reference_shows_key_type_default_and_meaning() {
    let text = reference::<Root>();
    for line in [
        "## `[store]`",
        "Where things are kept.",
        "| `connections` | integer | `8` | Connections kept open, at most. |",
        "| `effort` | one of \"lazy\", \"eager\" | `\"lazy\"` | How hard it tries. |",
        "## `[node.<name>]`",
        "| `address` | string | – | Its address. |",
    ] {
        assert!(text.contains(line), "{line}\n---\n{text}");
    }
    assert_eq!(text, reference::<Root>());
    let schema = schema::<Root>();
    assert_eq!(
        schema["$schema"],
        "https://json-schema.org/draft/2020-12/schema"
    );
}

#[test]
fn the_sample_is_valid_and_changes_nothing() {
    let text = sample::<Root>();
    assert!(text.contains("# connections = 8"), "{text}");
    let config: Root = parse("sample", &text, &NoEnv).expect("valid");
    assert_eq!(config.store, Store::default());
    let live: String = text
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(rest) if rest.contains(" = ") && !rest.contains('<') => format!("{rest}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let config: Root = parse("sample", &live, &NoEnv).expect("its values are valid too");
    assert_eq!(config.store, Store::default());
}

/// Mutates a valid file in every way that one byte or one splice can: no panic,
/// and every refusal has a place or a key.
#[test]
fn a_hundred_thousand_mutated_files_never_panic() {
    let seed = "[store]\nurl = \"a:b\"\nconnections = 3\n[edge]\nlisten = [\"127.0.0.1:80\"]\nratio = 0.5\n[node.x]\naddress = '''y'''\n";
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % u64::try_from(below.max(1)).expect("fits")).expect("fits")
    };
    let alphabet: Vec<char> = "[]{}=\"'.,#\n\\u0aé台-_:+ \0".chars().collect();
    let mut refused = 0;
    for _ in 0..100_000 {
        let mut text: Vec<char> = seed.chars().collect();
        for _ in 0..=next(4) {
            let at = next(text.len());
            match next(3) {
                0 => text[at] = alphabet[next(alphabet.len())],
                1 => text.insert(at, alphabet[next(alphabet.len())]),
                _ => {
                    let end = (at + 1 + next(8)).min(text.len());
                    text.drain(at..end);
                }
            }
            if text.is_empty() {
                break;
            }
        }
        let text: String = text.into_iter().collect();
        match parse::<Root>("f", &text, &NoEnv) {
            Ok(_) => {}
            Err(ConfigError::Invalid(problems)) => {
                assert!(!problems.is_empty() && problems.len() <= PROBLEMS_MAX + 20);
                refused += 1;
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert!(refused > 10_000, "only {refused} refused");
}
