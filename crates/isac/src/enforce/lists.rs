//! Warning lists: what is no sensible thing to block, as data. Built-in ones lie in
//! `rules/lists`; operators make their own and bring those of MISP
//! (<https://github.com/MISP/misp-warninglists>), whose format and kinds these are.
//!
//! A list either forbids ([`Effect::Never`]) or asks ([`Effect::Ask`]): then what hits it is
//! proposed, and a person decides. This module is pure: texts in, an answer out.
//!
//! Networks and names are found by look-ups, however many there are. Substrings and
//! regular expressions are tried one by one, so that few of them are taken.

use std::collections::{BTreeMap, HashMap};

use base::Prefix;
use base::enforcement::Target;
use regex::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};

use super::policy::network_of;
use crate::stix::pattern::prefix_of;

/// Entries of one list.
pub const ENTRIES_MAX: usize = 100_000;
/// Entries of all lists.
pub const ALL_ENTRIES_MAX: usize = 500_000;
/// Lists that the house makes or brings.
pub const LISTS_MAX: usize = 200;
/// Bytes of one entry.
pub const ENTRY_BYTES_MAX: usize = 1_000;
/// Substrings and regular expressions, each, of all lists.
pub const SLOW_ENTRIES_MAX: usize = 1_000;
/// Characters of a substring at least: shorter ones would hit half the world.
pub const SUBSTRING_CHARS_MIN: usize = 3;
/// Bytes that one regular expression may take compiled.
const REGEX_BYTES_MAX: usize = 64 << 10;
/// Characters of a list's title.
pub const TITLE_CHARS_MAX: usize = 200;
/// Characters of what is said about a list.
pub const ABOUT_CHARS_MAX: usize = 2_000;

/// How entries are compared (the types of MISP).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ListKind {
    /// The whole value is the same.
    String,
    /// The value holds it.
    Substring,
    /// A name, and every name under it; a URL by its host.
    Hostname,
    /// A network: what lies in it, and what covers it.
    Cidr,
    /// A regular expression finds something in the value.
    Regex,
}

impl ListKind {
    /// All, in the order in which they are shown.
    pub const ALL: [Self; 5] = [
        Self::String,
        Self::Substring,
        Self::Hostname,
        Self::Cidr,
        Self::Regex,
    ];

    /// As in documents and tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Substring => "substring",
            Self::Hostname => "hostname",
            Self::Cidr => "cidr",
            Self::Regex => "regex",
        }
    }

    /// The one of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// What a hit means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// It is never blocked.
    Never,
    /// A person decides before it is blocked.
    Ask,
    /// Nothing: the list is kept, and not obeyed.
    Off,
}

impl Effect {
    /// All, in the order in which they are shown.
    pub const ALL: [Self; 3] = [Self::Never, Self::Ask, Self::Off];

    /// As in documents and tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::Ask => "ask",
            Self::Off => "off",
        }
    }

    /// The one of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|effect| effect.name() == name)
    }
}

/// A list as MISP writes it. What else a document says (`matching_attributes`) is read over:
/// here values are told apart by what they are.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Document {
    /// Its title.
    pub name: String,
    /// What it is for.
    #[serde(default)]
    pub description: String,
    /// Its version.
    #[serde(default)]
    pub version: i64,
    /// How entries are compared; MISP's default is `string`.
    #[serde(rename = "type", default = "Document::kind")]
    pub kind: ListKind,
    /// The entries.
    pub list: Vec<String>,
}

impl Document {
    const fn kind() -> ListKind {
        ListKind::String
    }

    /// Reads a warning list of MISP.
    ///
    /// # Errors
    /// Which rule it breaks.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut document: Self = serde_json::from_str(text)
            .map_err(|error| format!("is no MISP warning list: {error}"))?;
        document.description = document.description.chars().take(ABOUT_CHARS_MAX).collect();
        if document.name.trim().is_empty() || document.name.chars().count() > TITLE_CHARS_MAX {
            return Err(format!("name must have 1 to {TITLE_CHARS_MAX} characters"));
        }
        if document.list.len() > ENTRIES_MAX {
            return Err(format!(
                "list has {} entries: must have at most {ENTRIES_MAX}",
                document.list.len()
            ));
        }
        Ok(document)
    }
}

/// The name under which a list is kept: its title in a-z, 0-9 and hyphens.
pub fn slug(title: &str) -> String {
    let mut out = String::new();
    for c in title.chars().flat_map(char::to_lowercase) {
        match c {
            'a'..='z' | '0'..='9' => out.push(c),
            _ if !out.is_empty() && !out.ends_with('-') => out.push('-'),
            _ => {}
        }
    }
    out.truncate(60);
    out.trim_end_matches('-').to_owned()
}

/// An entry in the form in which it is kept.
///
/// # Errors
/// The rule that it breaks.
pub fn entry(kind: ListKind, text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() || text.len() > ENTRY_BYTES_MAX {
        return Err(format!("must have 1 to {ENTRY_BYTES_MAX} bytes"));
    }
    match kind {
        ListKind::String => Ok(text.to_owned()),
        ListKind::Substring => match text.chars().count() < SUBSTRING_CHARS_MIN {
            true => Err(format!(
                "must have at least {SUBSTRING_CHARS_MIN} characters"
            )),
            false => Ok(text.to_lowercase()),
        },
        ListKind::Cidr => prefix_of(text)
            .map(|prefix| prefix.to_string())
            .ok_or_else(|| "must be an address or a prefix".to_owned()),
        ListKind::Hostname => match prefix_of(text) {
            Some(prefix) => Ok(prefix.to_string()),
            None => name_of(text).ok_or_else(|| "must be a host name".to_owned()),
        },
        ListKind::Regex => compile(text).map(|_| text.to_owned()),
    }
}

/// A name in ASCII and lower case, without dots at its ends. One label is a name, too.
fn name_of(text: &str) -> Option<String> {
    let text = text.strip_prefix("*.").unwrap_or(text);
    let text = text.trim_matches('.');
    let name = match text.is_ascii() {
        true => text.to_ascii_lowercase(),
        false => match url::Host::parse(text) {
            Ok(url::Host::Domain(name)) => name,
            _ => return None,
        },
    };
    let is_good = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    (name.len() <= 253 && name.split('.').all(is_good)).then_some(name)
}

/// A regular expression, bare or as PHP writes it (`/…/i`).
fn compile(text: &str) -> Result<Regex, String> {
    let (body, flags) = match text
        .strip_prefix('/')
        .and_then(|rest| rest.rsplit_once('/'))
    {
        Some((body, flags)) if flags.bytes().all(|b| b.is_ascii_lowercase()) => (body, flags),
        _ => (text, ""),
    };
    let mut builder = RegexBuilder::new(body);
    builder.size_limit(REGEX_BYTES_MAX).unicode(true);
    for flag in flags.chars() {
        match flag {
            'i' => builder.case_insensitive(true),
            'm' => builder.multi_line(true),
            's' => builder.dot_matches_new_line(true),
            'x' => builder.ignore_whitespace(true),
            'u' => builder.unicode(true),
            other => return Err(format!("has the flag {other:?}: must be of i, m, s, x, u")),
        };
    }
    builder
        .build()
        .map_err(|error| format!("is no regular expression that can be used: {error}"))
}

/// A list that is obeyed, ready to be added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List {
    /// Its title.
    pub title: String,
    /// How entries are compared.
    pub kind: ListKind,
    /// What a hit means.
    pub effect: Effect,
    /// The entries.
    pub entries: Vec<String>,
}

/// A list that a target hits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    /// The entry.
    pub entry: String,
    /// The list's title.
    pub list: String,
}

/// All lists that are obeyed, ready to be asked.
#[derive(Debug, Default)]
pub struct Lists {
    never: Index,
    ask: Index,
}

#[derive(Debug, Default)]
struct Index {
    titles: Vec<String>,
    networks: BTreeMap<Prefix, usize>,
    /// Names with their labels from the end (`tw.gov.`), and whether names under it count.
    names: BTreeMap<String, (usize, bool)>,
    exact: HashMap<String, usize>,
    parts: Vec<(String, usize)>,
    patterns: Vec<(Regex, usize)>,
}

impl Lists {
    /// Puts lists together. What of them cannot be used is left out and counted.
    pub fn of(lists: impl IntoIterator<Item = List>) -> (Self, usize) {
        let mut all = Self::default();
        let (mut room, mut left) = (ALL_ENTRIES_MAX, 0);
        for list in lists {
            let index = match list.effect {
                Effect::Never => &mut all.never,
                Effect::Ask => &mut all.ask,
                Effect::Off => continue,
            };
            index.titles.push(list.title);
            for text in &list.entries {
                match room > 0 && index.add(list.kind, text) {
                    true => room -= 1,
                    false => left += 1,
                }
            }
        }
        (all, left)
    }

    /// Whether the lists let `target` be enforced.
    ///
    /// # Errors
    /// The reason why not.
    pub fn permits(&self, target: &Target) -> Result<(), String> {
        match self.never.hit(target) {
            None => Ok(()),
            Some(hit) => Err(format!(
                "{} is on the warning list {:?}: it is never blocked",
                hit.entry, hit.list
            )),
        }
    }

    /// Why a person decides on `target` before it is enforced; none: nobody needs to.
    pub fn asks(&self, target: &Target) -> Option<String> {
        let hit = self.ask.hit(target)?;
        Some(format!(
            "{} is on the warning list {:?}: a person decides",
            hit.entry, hit.list
        ))
    }

    /// What `target` hits, and what that means; the strictest first.
    pub fn hits(&self, target: &Target) -> Vec<(Effect, Hit)> {
        let never = self.never.hit(target).map(|hit| (Effect::Never, hit));
        let ask = self.ask.hit(target).map(|hit| (Effect::Ask, hit));
        never.into_iter().chain(ask).collect()
    }
}

impl Index {
    /// Adds an entry to the last list; whether it can be used.
    fn add(&mut self, kind: ListKind, text: &str) -> bool {
        let at = self.titles.len() - 1;
        let text = text.trim();
        match kind {
            ListKind::Cidr => match prefix_of(text) {
                Some(prefix) => self.network(prefix, at),
                None => return false,
            },
            ListKind::Hostname => match (prefix_of(text), name_of(text)) {
                (Some(prefix), _) => self.network(prefix, at),
                (None, Some(name)) => self.name(&name, true, at),
                (None, None) => return false,
            },
            ListKind::String => self.string(text, at),
            ListKind::Substring => {
                let usable = self.parts.len() < SLOW_ENTRIES_MAX
                    && text.chars().count() >= SUBSTRING_CHARS_MIN;
                if usable {
                    self.parts.push((text.to_lowercase(), at));
                }
                return usable;
            }
            ListKind::Regex => match compile(text) {
                Ok(regex) if self.patterns.len() < SLOW_ENTRIES_MAX => {
                    self.patterns.push((regex, at));
                }
                _ => return false,
            },
        }
        true
    }

    /// A whole value: an address, a name, a URL, a digest, or whatever it is.
    fn string(&mut self, text: &str, at: usize) {
        if let Some(prefix) = prefix_of(text) {
            return self.network(prefix, at);
        }
        if text.contains("://") {
            if let Ok(url) = Target::url(text) {
                self.exact.entry(url.to_string()).or_insert(at);
            }
            return;
        }
        if let Some(name) = name_of(text).filter(|name| name.contains('.') || name.len() < 32) {
            return self.name(&name, false, at);
        }
        self.exact.entry(text.to_ascii_lowercase()).or_insert(at);
    }

    fn network(&mut self, prefix: Prefix, at: usize) {
        if let Target::Network(prefix) = Target::network(prefix) {
            self.networks.entry(prefix).or_insert(at);
        }
    }

    fn name(&mut self, name: &str, below: bool, at: usize) {
        let known = self.names.entry(reversed(name)).or_insert((at, below));
        if below && !known.1 {
            *known = (at, true);
        }
    }

    fn hit(&self, target: &Target) -> Option<Hit> {
        let (entry, at) = self.found(target)?;
        Some(Hit {
            entry,
            list: self.titles.get(at).cloned().unwrap_or_default(),
        })
    }

    fn found(&self, target: &Target) -> Option<(String, usize)> {
        if let Some(network) = network_of(target)
            && let Some(found) = self.network_hit(network)
        {
            return Some(found);
        }
        match target {
            Target::Network(_) => self.text_hit(&[&target.to_string()]),
            Target::Domain { name, below } => {
                let found = self.name_hit(name, *below);
                found.or_else(|| self.text_hit(&[name]))
            }
            Target::Url(url) => {
                let exact = target.to_string();
                let found = self.exact.get(&exact).map(|at| (exact, *at));
                let found = found.or_else(|| self.name_hit(url_host(url), false));
                found.or_else(|| self.text_hit(&[url, &format!("http://{url}")]))
            }
            Target::File { hex, .. } => {
                let found = self.exact.get(&**hex).map(|at| (hex.to_string(), *at));
                found.or_else(|| self.text_hit(&[hex]))
            }
        }
    }

    fn network_hit(&self, target: Prefix) -> Option<(String, usize)> {
        for length in 0..target.length() {
            if let Ok(wider) = Prefix::new(target.address(), length)
                && let Some(at) = self.networks.get(&wider)
            {
                return Some((wider.to_string(), *at));
            }
        }
        // Networks within the target follow it in order, without a gap.
        let (within, at) = self.networks.range(target..).next()?;
        target.covers(within).then(|| (within.to_string(), *at))
    }

    fn name_hit(&self, name: &str, below: bool) -> Option<(String, usize)> {
        let key = reversed(name);
        if let Some((at, _)) = self.names.get(&key) {
            return Some((name.to_owned(), *at));
        }
        let mut above = name;
        while let Some((_, rest)) = above.split_once('.') {
            above = rest;
            if let Some((at, true)) = self.names.get(&reversed(above)) {
                return Some((above.to_owned(), *at));
            }
        }
        if !below {
            return None;
        }
        // Names under it follow it in order, without a gap.
        let (within, (at, _)) = self.names.range(key.clone()..).next()?;
        let labels: Vec<&str> = within.trim_end_matches('.').rsplit('.').collect();
        within.starts_with(&key).then(|| (labels.join("."), *at))
    }

    fn text_hit(&self, texts: &[&str]) -> Option<(String, usize)> {
        let part = self
            .parts
            .iter()
            .find(|(part, _)| texts.iter().any(|text| text.contains(part.as_str())));
        if let Some((part, at)) = part {
            return Some((part.clone(), *at));
        }
        let (regex, at) = self
            .patterns
            .iter()
            .find(|(regex, _)| texts.iter().any(|text| regex.is_match(text)))?;
        Some((regex.as_str().to_owned(), *at))
    }
}

/// The host of a URL in normal form, without a port.
fn url_host(url: &str) -> &str {
    base::enforcement::host_of(url.split(['/', '?']).next().unwrap_or_default())
}

/// A name with its labels from the end, each with a dot after it, so that names under one
/// another stand together.
fn reversed(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 1);
    for label in name.rsplit('.') {
        out.push_str(label);
        out.push('.');
    }
    out
}

/// A list that comes with the program.
#[derive(Debug)]
pub struct BuiltIn {
    /// Under which name it is kept.
    pub name: &'static str,
    /// What a hit means unless an operator says otherwise.
    pub effect: Effect,
    text: &'static str,
}

impl BuiltIn {
    /// Its document.
    ///
    /// # Errors
    /// The rule that it breaks; a test reads all.
    pub fn document(&self) -> Result<Document, String> {
        Document::parse(self.text)
    }
}

/// The lists that come with the program.
pub const BUILT_IN: [BuiltIn; 6] = [
    BuiltIn {
        name: "public-resolvers",
        effect: Effect::Never,
        text: include_str!("../../rules/lists/public-resolvers.json"),
    },
    BuiltIn {
        name: "special-purpose",
        effect: Effect::Never,
        text: include_str!("../../rules/lists/special-purpose.json"),
    },
    BuiltIn {
        name: "public-suffixes",
        effect: Effect::Never,
        text: include_str!("../../rules/lists/public-suffixes.json"),
    },
    BuiltIn {
        name: "government-names",
        effect: Effect::Ask,
        text: include_str!("../../rules/lists/government-names.json"),
    },
    BuiltIn {
        name: "widely-used-sites",
        effect: Effect::Ask,
        text: include_str!("../../rules/lists/widely-used-sites.json"),
    },
    // Nobody's traffic comes from there, and rehearsals and the sandbox live there.
    BuiltIn {
        name: "documentation-and-loopback",
        effect: Effect::Off,
        text: include_str!("../../rules/lists/documentation-and-loopback.json"),
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    fn target(text: &str) -> Target {
        text.parse().expect("a target")
    }

    fn with(kind: ListKind, entries: &[&str]) -> Lists {
        let entries = entries.iter().map(|text| entry(kind, text).expect("good"));
        let list = List {
            title: "liste".to_owned(),
            kind,
            effect: Effect::Never,
            entries: entries.collect(),
        };
        let (lists, left) = Lists::of([list]);
        assert_eq!(left, 0);
        lists
    }

    fn check(lists: &Lists, hit: &[&str], missed: &[&str]) {
        for text in hit {
            let why = lists.permits(&target(text)).expect_err(text);
            assert!(why.contains("warning list \"liste\""), "{why}");
        }
        for text in missed {
            assert_eq!(lists.permits(&target(text)), Ok(()), "{text}");
        }
    }

    #[test]
    fn networks_are_hit_from_inside_and_from_outside() {
        check(
            &with(
                ListKind::Cidr,
                &["203.0.113.0/24", "2001:db8:1::/48", "192.0.2.7"],
            ),
            &[
                "203.0.113.9",
                "203.0.112.0/23",
                "2001:db8::/32",
                "192.0.2.7",
                "192.0.2.0/24",
                "http://203.0.113.1/x",
            ],
            &["203.0.114.1", "192.0.2.8", "2001:db8:2::1", "evil.example"],
        );
    }

    #[test]
    fn host_names_count_with_names_under_them_and_a_wildcard_above_hits() {
        check(
            &with(
                ListKind::Hostname,
                &[".Google.COM", "www.museum.example", "192.0.2.53"],
            ),
            &[
                "google.com",
                "x.y.google.com",
                "*.google.com",
                "http://drive.google.com/a",
                "*.museum.example",
                "192.0.2.53",
            ],
            &["notgoogle.com", "google.com.example.org", "museum.example"],
        );
    }

    #[test]
    fn strings_are_whole_values_of_every_kind() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        check(
            &with(
                ListKind::String,
                &[
                    "gov.tw",
                    "192.0.2.7",
                    "https://a.example/x",
                    &empty.to_uppercase(),
                ],
            ),
            &[
                "gov.tw",
                "*.gov.tw",
                "192.0.2.7",
                "http://a.example/x",
                &format!("sha256:{empty}"),
            ],
            &["moi.gov.tw", "a.example", "http://a.example/y", "192.0.2.8"],
        );
    }

    #[test]
    fn substrings_and_expressions_are_looked_for_in_values() {
        check(
            &with(ListKind::Substring, &["Windowsupdate"]),
            &[
                "download.windowsupdate.com",
                "http://a.example/windowsupdate",
            ],
            &["windows.example"],
        );
        check(
            &with(
                ListKind::Regex,
                &["/^ns[0-9]+\\.TWNIC\\./i", "^198\\.51\\.100\\.1$"],
            ),
            &["ns1.twnic.example", "198.51.100.1"],
            &["xns1.twnic.example", "198.51.100.11"],
        );
    }

    #[test]
    fn a_list_may_ask_or_be_off() {
        let list = |effect, entry: &str| List {
            title: effect_title(effect),
            kind: ListKind::Hostname,
            effect,
            entries: vec![entry.to_owned()],
        };
        fn effect_title(effect: Effect) -> String {
            effect.name().to_owned()
        }
        let (lists, _) = Lists::of([
            list(Effect::Ask, "a.example"),
            list(Effect::Off, "b.example"),
            list(Effect::Never, "x.a.example"),
        ]);
        assert_eq!(lists.permits(&target("a.example")), Ok(()));
        assert!(
            lists
                .asks(&target("y.a.example"))
                .is_some_and(|why| why.contains("a person decides"))
        );
        assert!(lists.permits(&target("x.a.example")).is_err());
        assert_eq!(lists.asks(&target("b.example")), None);
        assert_eq!(lists.permits(&target("b.example")), Ok(()));
        assert_eq!(lists.hits(&target("x.a.example")).len(), 2);
    }

    #[test]
    fn entries_and_documents_name_the_rule_that_they_break() {
        for (kind, text) in [
            (ListKind::Cidr, "192.0.2.1/33"),
            (ListKind::Cidr, "evil.example"),
            (ListKind::Hostname, "a b"),
            (ListKind::Regex, "("),
            (ListKind::Regex, "/a/e"),
            (ListKind::Regex, "(a{1000}){1000}"),
            (ListKind::Substring, "a"),
            (ListKind::String, "  "),
        ] {
            assert!(entry(kind, text).is_err(), "{text}");
        }
        let document = Document::parse(r#"{"name":"Empty hashes","description":"d","version":3,"type":"string","matching_attributes":["md5"],"list":["d41d8cd98f00b204e9800998ecf8427e"]}"#)
            .expect("a list of MISP");
        assert_eq!(
            (document.kind, document.version, document.list.len()),
            (ListKind::String, 3, 1)
        );
        assert_eq!(slug(&document.name), "empty-hashes");
        for bad in [
            "[]",
            "{}",
            r#"{"name":"x","type":"color","list":[]}"#,
            r#"{"name":"","list":[]}"#,
        ] {
            assert!(Document::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_built_in_lists_are_good_and_say_what_they_should() {
        let mut all = Vec::new();
        for one in &BUILT_IN {
            let document = one.document().expect(one.name);
            for text in &document.list {
                entry(document.kind, text).expect(text);
            }
            all.push(List {
                title: document.name,
                kind: document.kind,
                effect: one.effect,
                entries: document.list,
            });
        }
        let (lists, left) = Lists::of(all);
        assert_eq!(left, 0);
        for text in [
            "8.8.8.8",
            "1.1.1.1",
            "9.9.9.9",
            "168.95.1.1",
            "101.101.101.101",
            "2001:de4::101",
            "8.8.8.0/24",
            "dns.google",
            "gov.tw",
            "*.gov.tw",
            "*.edu.tw",
            "224.0.0.5",
            "169.254.1.1",
            "255.255.255.255",
            "0.1.2.3",
            "fe80::1",
            "ff02::1",
        ] {
            assert!(lists.permits(&target(text)).is_err(), "{text}");
        }
        for text in [
            "www.moi.gov.tw",
            "*.moi.gov.tw",
            "www.google.com",
            "10.1.2.3",
            "192.168.0.1",
        ] {
            assert_eq!(lists.permits(&target(text)), Ok(()), "{text}");
            assert!(lists.asks(&target(text)).is_some(), "{text}");
        }
        for text in [
            "192.0.2.1",
            "127.16.1.1",
            "198.51.100.7",
            "evil.example",
            "evil.com.tw",
        ] {
            assert_eq!(lists.permits(&target(text)), Ok(()), "{text}");
            assert_eq!(lists.asks(&target(text)), None, "{text}");
        }
    }

    #[test]
    fn a_hundred_thousand_names_are_asked_by_look_ups() {
        let entries = (0..ENTRIES_MAX)
            .map(|n| format!("site{n}.example"))
            .collect();
        let (lists, left) = Lists::of([List {
            title: "top".to_owned(),
            kind: ListKind::Hostname,
            effect: Effect::Never,
            entries,
        }]);
        assert_eq!(left, 0);
        let begun = std::time::Instant::now();
        for n in 0..20_000 {
            assert!(
                lists
                    .permits(&target(&format!("a.b.site{n}.example")))
                    .is_err()
            );
            assert!(lists.permits(&target(&format!("other{n}.example"))).is_ok());
        }
        // A walk over all for each would take minutes.
        assert!(begun.elapsed().as_secs() < 10, "{:?}", begun.elapsed());
    }
}
