//! The immutable match set.

use std::net::IpAddr;

use base::enforcement::{Action, Rule, Target};
use base::{EnforcementId, Timestamp};

use crate::names::Names;
use crate::ranges::{Item, NONE, Ranges};

/// Rules in one set: entries are numbered with 32 bits, names lie in 4 GiB.
const ENTRIES_MAX: usize = 100_000_000;
/// Different actions (sinkholes have addresses) in one set.
const ACTIONS_MAX: usize = u16::MAX as usize;
/// Never ends.
const FOREVER: u32 = u32::MAX;

/// Why rules do not make a set.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{count} {what}: at most {max} are held")]
pub struct SetError {
    /// What there is too much of.
    what: &'static str,
    count: usize,
    max: usize,
}

/// What was met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// The enforcement.
    pub id: EnforcementId,
    /// What is done.
    pub action: Action,
}

/// One rule as it is held: 28 bytes.
#[derive(Debug, Clone, Copy)]
struct Entry {
    id: [u8; 16],
    /// Seconds since 1970, rounded up.
    until_s: u32,
    /// The next rule that meets the same thing: of the same target, or of a wider prefix.
    next: u32,
    action: u16,
}

/// Rules over addresses, names and URLs. Rules on files are not held: no role here
/// computes digests.
#[derive(Debug, Default)]
pub struct Set {
    entries: Vec<Entry>,
    actions: Vec<Action>,
    v4: Ranges<u32>,
    v6: Ranges<u128>,
    names: Names,
    trees: Names,
    urls: Names,
}

/// Bytes that a set takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// Ids, ends and actions.
    pub entries: usize,
    /// Prefixes of both families.
    pub prefixes: usize,
    /// Names and URLs.
    pub names: usize,
}

impl Memory {
    /// All of it.
    pub fn total(&self) -> usize {
        self.entries + self.prefixes + self.names
    }
}

impl Set {
    /// Builds a set of all rules that a node can obey.
    ///
    /// # Errors
    /// When there are more than can be numbered.
    pub fn build<'r>(rules: impl Iterator<Item = &'r Rule> + Clone) -> Result<Self, SetError> {
        let (mut count, mut v4, mut v6) = (0_usize, 0, 0);
        // Keys and bytes of names, trees and URLs.
        let mut texts = [(0_usize, 0_usize); 3];
        for rule in rules.clone() {
            count += 1;
            match &rule.target {
                Target::Network(prefix) if prefix.address().is_ipv4() => v4 += 1,
                Target::Network(_) => v6 += 1,
                Target::File { .. } => count -= 1,
                text => {
                    let (which, text) = text_of(text);
                    texts[which].0 += 1;
                    texts[which].1 += text.len();
                }
            }
        }
        bound("rules", count, ENTRIES_MAX)?;
        for (_, bytes) in texts {
            bound("bytes of names", bytes, u32::MAX as usize)?;
        }
        let mut set = Self {
            entries: Vec::with_capacity(count),
            names: Names::with_room(texts[0].0, texts[0].1),
            trees: Names::with_room(texts[1].0, texts[1].1),
            urls: Names::with_room(texts[2].0, texts[2].1),
            ..Self::default()
        };
        let (mut v4, mut v6) = (Vec::with_capacity(v4), Vec::with_capacity(v6));
        for rule in rules {
            let entry = set.entries.len() as u32;
            let mut next = NONE;
            match &rule.target {
                Target::File { .. } => continue,
                Target::Network(prefix) => match prefix.address() {
                    IpAddr::V4(start) => v4.push(Item {
                        start: start.to_bits(),
                        length: prefix.length(),
                        entry,
                    }),
                    IpAddr::V6(start) => v6.push(Item {
                        start: start.to_bits(),
                        length: prefix.length(),
                        entry,
                    }),
                },
                text => {
                    let (which, text) = text_of(text);
                    let table = match which {
                        0 => &mut set.names,
                        1 => &mut set.trees,
                        _ => &mut set.urls,
                    };
                    next = table.insert(text, entry);
                }
            }
            let action = set.action(rule.action)?;
            set.entries.push(Entry {
                id: *rule.id.0.as_bytes(),
                until_s: until_s(rule.until),
                next,
                action,
            });
        }
        let entries = &mut set.entries;
        let mut wider = |entry: u32, next: u32| entries[entry as usize].next = next;
        set.v4 = Ranges::build(v4, &mut wider);
        set.v6 = Ranges::build(v6, &mut wider);
        Ok(set)
    }

    fn action(&mut self, action: Action) -> Result<u16, SetError> {
        let at = match self.actions.iter().position(|known| *known == action) {
            Some(at) => at,
            None => {
                bound("different actions", self.actions.len() + 1, ACTIONS_MAX)?;
                self.actions.push(action);
                self.actions.len() - 1
            }
        };
        Ok(at as u16)
    }

    /// Rules that it holds, ended or not.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether it has rules on names.
    pub(crate) fn has_names(&self) -> bool {
        !(self.names.is_empty() && self.trees.is_empty())
    }

    /// Whether it has rules on URLs.
    pub(crate) fn has_urls(&self) -> bool {
        !self.urls.is_empty()
    }

    /// The most specific prefix over a client that `in_force` accepts.
    #[inline]
    pub fn client(&self, address: IpAddr, in_force: impl Fn(&Found, u32) -> bool) -> Option<Found> {
        let entry = match address {
            IpAddr::V4(v4) => self.v4.find(v4.to_bits()),
            IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
                Some(v4) => self.v4.find(v4.to_bits()),
                None => self.v6.find(v6.to_bits()),
            },
        };
        self.first(entry, &in_force)
    }

    /// A rule on a name in lower case without its final dot, or on one above it; the
    /// most specific that `in_force` accepts.
    #[inline]
    pub fn name(&self, name: &[u8], in_force: impl Fn(&Found, u32) -> bool) -> Option<Found> {
        if let Some(found) = self.first(self.names.find(name), &in_force) {
            return Some(found);
        }
        let mut longest = None;
        self.trees.find_above(name, |entry| {
            longest = self.first(entry, &in_force).or(longest);
        });
        longest
    }

    /// A rule on a URL in normal form: with its query, or on all queries of its path.
    #[inline]
    pub fn url(&self, url: &[u8], in_force: impl Fn(&Found, u32) -> bool) -> Option<Found> {
        if let Some(found) = self.first(self.urls.find(url), &in_force) {
            return Some(found);
        }
        let path = url.iter().position(|b| *b == b'?')?;
        self.first(self.urls.find(&url[..path]), &in_force)
    }

    fn first(&self, mut at: u32, in_force: &impl Fn(&Found, u32) -> bool) -> Option<Found> {
        while let Some(entry) = self.entries.get(at as usize) {
            let found = Found {
                id: EnforcementId(uuid::Uuid::from_bytes(entry.id)),
                action: self.actions[usize::from(entry.action)],
            };
            if in_force(&found, entry.until_s) {
                return Some(found);
            }
            at = entry.next;
        }
        None
    }

    /// Bytes that it takes.
    pub fn memory(&self) -> Memory {
        Memory {
            entries: self.entries.capacity() * size_of::<Entry>(),
            prefixes: self.v4.bytes() + self.v6.bytes(),
            names: self.names.bytes() + self.trees.bytes() + self.urls.bytes(),
        }
    }
}

fn text_of(target: &Target) -> (usize, &[u8]) {
    match target {
        Target::Domain { name, below: false } => (0, name.as_bytes()),
        Target::Domain { name, below: true } => (1, name.as_bytes()),
        Target::Url(url) => (2, url.as_bytes()),
        // Not texts: counted elsewhere.
        Target::Network(_) | Target::File { .. } => (2, &[]),
    }
}

fn until_s(until: Option<Timestamp>) -> u32 {
    let Some(until) = until else {
        return FOREVER;
    };
    let seconds = until.micros().saturating_add(999_999).div_euclid(1_000_000);
    u32::try_from(seconds.max(0)).unwrap_or(FOREVER)
}

/// Whether something that ends at `until_s` is in force at `now_s`.
#[inline]
pub(crate) fn is_on(until_s: u32, now_s: u32) -> bool {
    until_s == FOREVER || now_s < until_s
}

fn bound(what: &'static str, count: usize, max: usize) -> Result<(), SetError> {
    if count > max {
        return Err(SetError { what, count, max });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rule(n: u128, target: &str) -> Rule {
        Rule {
            id: EnforcementId(uuid::Uuid::from_u128(n)),
            target: target.parse().expect("a target"),
            action: Action::Refuse,
            until: None,
        }
    }

    /// The plain truth: every rule, one by one.
    fn naive(rules: &[Rule], meets: impl Fn(&Target) -> Option<usize>) -> bool {
        rules.iter().any(|rule| meets(&rule.target).is_some())
    }

    proptest! {
        #[test]
        fn names_and_urls_as_a_plain_walk_finds_them(
            texts in proptest::collection::vec("(\\*\\.)?([ab]{1,2}\\.){1,3}tw", 1..80),
            urls in proptest::collection::vec("http://([ab]\\.){1,2}tw(/[ab%]{0,2}){0,2}(\\?[ab])?", 1..80),
            asked in proptest::collection::vec("([ab]{1,2}\\.){0,4}tw", 60),
            asked_urls in proptest::collection::vec("http://([ab]\\.){1,2}tw(/[ab%]{0,2}){0,2}(\\?[ab])?", 60),
        ) {
            let rules: Vec<Rule> = texts.iter().chain(&urls).enumerate()
                .filter_map(|(n, text)| Some(Rule { target: text.parse().ok()?, ..rule(n as u128, "a.tw") }))
                .collect();
            let set = Set::build(rules.iter()).expect("builds");
            prop_assert_eq!(set.len(), rules.len());
            for name in &asked {
                let expected = naive(&rules, |target| match target {
                    Target::Domain { name: wanted, below } => (**wanted == **name
                        || (*below && name.ends_with(&format!(".{wanted}")))).then_some(0),
                    _ => None,
                });
                prop_assert_eq!(set.name(name.as_bytes(), |_, _| true).is_some(), expected, "{}", name);
            }
            for url in &asked_urls {
                let Ok(Target::Url(url)) = url.parse() else { continue };
                let path = url.split('?').next().unwrap_or_default();
                let expected = naive(&rules, |target| match target {
                    Target::Url(wanted) => (**wanted == *url || **wanted == *path).then_some(0),
                    _ => None,
                });
                prop_assert_eq!(set.url(url.as_bytes(), |_, _| true).is_some(), expected, "{}", url);
            }
        }
    }

    #[test]
    fn what_has_ended_uncovers_what_lies_beneath() {
        let mut rules = [
            rule(1, "192.0.2.0/24"),
            rule(2, "192.0.2.7"),
            rule(3, "192.0.2.7"),
        ];
        rules[2].until = Some(Timestamp(1_500_000));
        let set = Set::build(rules.iter()).expect("builds");
        let at = |address: &str, now| {
            set.client(address.parse().expect("an address"), |_, until| {
                is_on(until, now)
            })
            .map(|found| found.id.0.as_u128())
        };
        assert_eq!(at("192.0.2.7", 1), Some(3));
        assert_eq!(at("192.0.2.7", 2), Some(2));
        assert_eq!(at("192.0.2.8", 2), Some(1));
        assert_eq!(at("::ffff:192.0.2.8", 2), Some(1));
        assert_eq!(at("192.0.3.8", 2), None);
        let without = set.client([192, 0, 2, 7].into(), |found, _| found.id.0.as_u128() == 1);
        assert!(without.is_some());
    }
}
