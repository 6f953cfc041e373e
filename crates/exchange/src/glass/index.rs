//! One moment of the tables: routes in order of prefix, attributes kept once, lists for AS numbers and
//! communities, so that no question walks over everything.

mod build;
mod diff;
mod pack;

use std::sync::Arc;

use base::Prefix;

use crate::community::{LargeCommunity, Reason};
use crate::mrt::{Attributes, Peer};
use crate::prefix_table::PrefixTable;

pub use build::{BuildError, Builder};
pub use diff::Changed;

/// Routes of one moment; more are refused by the builder.
pub const ROUTES_MAX: usize = 20_000_000;

/// What became of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fate {
    /// Taken and the best for its prefix.
    Best,
    /// Taken; another is better.
    Accepted,
    /// Refused by the filters.
    Filtered,
}

/// A session of the route server, as a place in [`Index::peers`].
pub type PeerId = u16;

/// A session with its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// The name that addresses it: BIRD's name of the protocol, or the peer's address.
    pub name: String,
    /// The other end.
    pub peer: Peer,
    /// Whether routes are exchanged now.
    pub up: bool,
    /// A word on its state, as the daemon tells it.
    pub state: String,
    /// More that the daemon tells of it; empty for archives.
    pub told: Told,
}

/// What a daemon tells of a session beside its name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    /// Description from the configuration.
    pub description: String,
    /// Since when it is in its state, in Unix seconds; 0: not known.
    pub since_s: u64,
    /// The last error, in the daemon's words.
    pub last_error: String,
    /// Routes announced to the other end.
    pub exported: u64,
}

/// One route, compact: 20 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Row {
    /// Place in the table of prefixes.
    prefix: u32,
    /// Place among the attributes.
    attributes: u32,
    since_s: u32,
    path_id: u32,
    peer: PeerId,
    fate: Fate,
}

/// One route as it is shown.
#[derive(Debug, Clone)]
pub struct Route<'a> {
    /// The prefix.
    pub prefix: Prefix,
    /// Its attributes.
    pub attributes: Attributes,
    /// Who told it.
    pub session: &'a Session,
    /// The path id; 0 when there is none.
    pub path_id: u32,
    /// Since when, in Unix seconds.
    pub since_s: u32,
    /// What became of it.
    pub fate: Fate,
}

impl Route<'_> {
    /// Why the route server of AS `asn` refused it.
    pub fn reasons(&self, asn: u32) -> Vec<Reason> {
        match self.fate {
            Fate::Filtered => Reason::among(asn, &self.attributes.large).collect(),
            _ => Vec::new(),
        }
    }
}

/// Lists of numbers, one behind the other: list `n` is `items[starts[n]..starts[n + 1]]`.
#[derive(Debug, Clone, Default)]
struct Lists {
    starts: Vec<u32>,
    items: Vec<u32>,
}

impl Lists {
    /// For `count` lists, from (list, item) pairs told twice by `pairs`.
    fn of(count: usize, pairs: impl Fn(&mut dyn FnMut(usize, u32))) -> Self {
        let mut starts = vec![0u32; count + 1];
        pairs(&mut |list, _| starts[list + 1] += 1);
        for at in 0..count {
            starts[at + 1] += starts[at];
        }
        let mut next = starts.clone();
        let mut items = vec![0; starts[count] as usize];
        pairs(&mut |list, item| {
            items[next[list] as usize] = item;
            next[list] += 1;
        });
        Self { starts, items }
    }

    fn get(&self, list: usize) -> &[u32] {
        match (self.starts.get(list), self.starts.get(list + 1)) {
            (Some(from), Some(to)) => &self.items[*from as usize..*to as usize],
            _ => &[],
        }
    }

    fn bytes(&self) -> usize {
        (self.starts.capacity() + self.items.capacity()) * size_of::<u32>()
    }
}

/// One moment of the tables. Moments between which no route changed share their tables.
#[derive(Debug, Clone, Default)]
pub struct Index {
    taken_at_s: u64,
    sessions: Arc<[Session]>,
    tables: Arc<Tables>,
}

#[derive(Debug, Default)]
struct Tables {
    table: PrefixTable,
    rows: Vec<Row>,
    /// Where the routes of a prefix begin; one more at the end.
    starts: Vec<u32>,
    /// Attributes, packed, one behind the other.
    attributes: Vec<u8>,
    /// Where those at a place begin; one more at the end.
    attribute_starts: Vec<u32>,
    /// Routes with the attributes at a place.
    by_attributes: Lists,
    /// Routes of a session.
    by_session: Lists,
    /// Attributes whose path holds an AS, in order.
    by_asn: Vec<(u32, u32)>,
    /// Attributes with a standard community, in order.
    by_community: Vec<(u32, u32)>,
    /// Attributes with a large community, in order.
    by_large: Vec<(LargeCommunity, u32)>,
}

impl Tables {
    fn attribute_count(&self) -> usize {
        self.attribute_starts.len().saturating_sub(1)
    }

    /// The packed attributes at a place.
    fn packed(&self, at: u32) -> &[u8] {
        match (
            self.attribute_starts.get(at as usize),
            self.attribute_starts.get(at as usize + 1),
        ) {
            (Some(from), Some(to)) => &self.attributes[*from as usize..*to as usize],
            _ => &[],
        }
    }

    fn bytes(&self) -> usize {
        self.table.bytes()
            + self.rows.capacity() * size_of::<Row>()
            + (self.starts.capacity() + self.attribute_starts.capacity()) * 4
            + self.attributes.capacity()
            + self.by_attributes.bytes()
            + self.by_session.bytes()
            + (self.by_asn.capacity() + self.by_community.capacity()) * 8
            + self.by_large.capacity() * size_of::<(LargeCommunity, u32)>()
    }
}

/// The places under `key` in a sorted list of pairs.
fn under<K: Ord + Copy>(pairs: &[(K, u32)], key: K) -> impl Iterator<Item = u32> + '_ {
    let first = pairs.partition_point(|(one, _)| *one < key);
    pairs[first..]
        .iter()
        .take_while(move |(one, _)| *one == key)
        .map(|(_, at)| *at)
}

/// A community to search for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Community {
    /// RFC 1997, both halves in one number.
    Standard(u32),
    /// RFC 8092.
    Large(LargeCommunity),
}

impl std::str::FromStr for Community {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Option<Vec<u32>> = text
            .split([':', ','])
            .map(|part| part.trim().parse().ok())
            .collect();
        match parts.as_deref() {
            Some([a, b]) if *a <= 0xffff && *b <= 0xffff => Ok(Self::Standard(a << 16 | b)),
            Some([a, b, c]) => Ok(Self::Large(LargeCommunity(*a, *b, *c))),
            _ => {
                let shown: String = text.chars().take(60).collect();
                Err(format!(
                    "{shown:?} is no community: must be A:B up to 65535 or A:B:C"
                ))
            }
        }
    }
}

/// Which routes are asked for; all conditions hold.
#[derive(Debug, Clone, Default)]
pub struct Question {
    /// Of this prefix.
    pub prefix: Option<Prefix>,
    /// How the prefix is meant.
    pub matching: Matching,
    /// From this AS.
    pub origin: Option<u32>,
    /// With this AS in the path.
    pub through: Option<u32>,
    /// With this community.
    pub community: Option<Community>,
    /// Told by this session.
    pub session: Option<PeerId>,
    /// With this fate; taken ones are best ones too.
    pub fate: Option<Fate>,
}

/// How a prefix is meant in a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Matching {
    /// Just that prefix.
    #[default]
    Exact,
    /// The longest one that covers it.
    Longest,
    /// It and what is inside it.
    Inside,
    /// It and what covers it, longest first.
    Covering,
}

/// A part of an answer.
#[derive(Debug)]
pub struct Page<'a> {
    /// The routes.
    pub routes: Vec<Route<'a>>,
    /// How many there are in all.
    pub total: usize,
}

impl Index {
    /// When it was taken, in Unix seconds.
    pub fn taken_at_s(&self) -> u64 {
        self.taken_at_s
    }

    /// The same routes at a later moment, with what the sessions say then; `None` when the sessions are
    /// not the same ones by name.
    pub fn at_later(&self, taken_at_s: u64, sessions: Vec<Session>) -> Option<Self> {
        let names = |all: &[Session]| all.iter().map(|one| one.name.clone()).collect::<Vec<_>>();
        (names(&self.sessions) == names(&sessions)).then(|| Self {
            taken_at_s,
            sessions: sessions.into(),
            tables: Arc::clone(&self.tables),
        })
    }

    /// Whether no route changed between this moment and `other`.
    pub fn has_tables_of(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.tables, &other.tables)
    }

    /// How many routes.
    pub fn len(&self) -> usize {
        self.tables.rows.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.tables.rows.is_empty()
    }

    /// How many prefixes.
    pub fn prefixes(&self) -> usize {
        self.tables.table.len()
    }

    /// How many different attributes.
    pub fn attributes(&self) -> usize {
        self.tables.attribute_count()
    }

    /// The sessions.
    pub fn sessions(&self) -> &[Session] {
        &self.sessions
    }

    /// The session of that name.
    pub fn session(&self, name: &str) -> Option<PeerId> {
        let at = self
            .sessions
            .iter()
            .position(|session| session.name == name)?;
        PeerId::try_from(at).ok()
    }

    /// How many routes of a session have each fate: best, otherwise taken, refused.
    pub fn counts(&self, session: PeerId) -> (usize, usize, usize) {
        let mut counts = (0, 0, 0);
        for row in self.tables.by_session.get(usize::from(session)) {
            match self.tables.rows[*row as usize].fate {
                Fate::Best => counts.0 += 1,
                Fate::Accepted => counts.1 += 1,
                Fate::Filtered => counts.2 += 1,
            }
        }
        counts
    }

    /// Prefix, age and fate of every route of a session, in order of prefix: what tells whether a daemon's
    /// list is still the same.
    pub fn outline(&self, session: PeerId) -> impl Iterator<Item = (Prefix, u32, Fate)> + '_ {
        let rows = self.tables.by_session.get(usize::from(session)).iter();
        rows.filter_map(|at| {
            let row = self.tables.rows.get(*at as usize)?;
            let prefix = self.tables.table.get(row.prefix as usize)?;
            Some((prefix, row.since_s, row.fate))
        })
    }

    /// Bytes of memory, without the allocator's own.
    pub fn bytes(&self) -> usize {
        self.tables.bytes()
    }

    fn route(&self, row: &Row) -> Option<Route<'_>> {
        Some(Route {
            prefix: self.tables.table.get(row.prefix as usize)?,
            attributes: pack::read(self.tables.packed(row.attributes)),
            session: self.sessions.get(usize::from(row.peer))?,
            path_id: row.path_id,
            since_s: row.since_s,
            fate: row.fate,
        })
    }

    fn rows_of(&self, prefixes: std::ops::Range<usize>) -> std::ops::Range<usize> {
        match (
            self.tables.starts.get(prefixes.start),
            self.tables.starts.get(prefixes.end),
        ) {
            (Some(from), Some(to)) => *from as usize..*to as usize,
            _ => 0..0,
        }
    }

    fn fits(&self, row: &Row, asked: &Question) -> bool {
        let fate = match asked.fate {
            None => true,
            Some(Fate::Accepted) => row.fate != Fate::Filtered,
            Some(fate) => row.fate == fate,
        };
        if !fate || asked.session.is_some_and(|session| session != row.peer) {
            return false;
        }
        if asked.origin.is_none() && asked.through.is_none() && asked.community.is_none() {
            return true;
        }
        let attributes = pack::read(self.tables.packed(row.attributes));
        asked
            .origin
            .is_none_or(|asn| attributes.path.origin() == Some(asn))
            && asked
                .through
                .is_none_or(|asn| attributes.path.asns().any(|one| one == asn))
            && asked.community.is_none_or(|community| match community {
                Community::Standard(value) => attributes.communities.contains(&value),
                Community::Large(value) => attributes.large.contains(&value),
            })
    }

    /// The attributes that a list knows for the question; `None` when no list helps.
    fn listed(&self, asked: &Question) -> Option<Vec<u32>> {
        let tables = &self.tables;
        if let Some(asn) = asked.origin.or(asked.through) {
            return Some(under(&tables.by_asn, asn).collect());
        }
        Some(match asked.community? {
            Community::Standard(value) => under(&tables.by_community, value).collect(),
            Community::Large(value) => under(&tables.by_large, value).collect(),
        })
    }

    /// The routes that `asked` describes, `limit` of them from number `from` on.
    pub fn find(&self, asked: &Question, from: usize, limit: usize) -> Page<'_> {
        let tables = &self.tables;
        let mut page = Page {
            routes: Vec::new(),
            total: 0,
        };
        let mut take = |row: &Row| {
            if self.fits(row, asked) {
                if page.total >= from && page.routes.len() < limit {
                    page.routes.extend(self.route(row));
                }
                page.total += 1;
            }
        };
        if let Some(prefix) = asked.prefix {
            let table = &tables.table;
            match asked.matching {
                Matching::Exact => {
                    let places = table.exact(&prefix).map_or(0..0, |at| at..at + 1);
                    tables.rows[self.rows_of(places)].iter().for_each(take);
                }
                Matching::Inside => {
                    let rows = self.rows_of(table.inside(&prefix));
                    tables.rows[rows].iter().for_each(take);
                }
                Matching::Longest => {
                    // The longest prefix with a route that fits, not just the longest prefix.
                    let mut places = table.covering(prefix);
                    let fitting = places.find(|at| {
                        let mut rows = tables.rows[self.rows_of(*at..*at + 1)].iter();
                        rows.any(|row| self.fits(row, asked))
                    });
                    if let Some(at) = fitting {
                        tables.rows[self.rows_of(at..at + 1)].iter().for_each(take);
                    }
                }
                Matching::Covering => {
                    for at in table.covering(prefix) {
                        let rows = self.rows_of(at..at + 1);
                        tables.rows[rows].iter().for_each(&mut take);
                    }
                }
            }
            return page;
        }
        if let Some(list) = self.listed(asked) {
            let mut rows: Vec<u32> = list
                .into_iter()
                .flat_map(|at| tables.by_attributes.get(at as usize).iter().copied())
                .collect();
            rows.sort_unstable();
            rows.iter()
                .for_each(|row| take(&tables.rows[*row as usize]));
        } else if let Some(session) = asked.session {
            let rows = tables.by_session.get(usize::from(session)).iter();
            rows.for_each(|row| take(&tables.rows[*row as usize]));
        } else if asked.fate.is_none() {
            // Everything: the page is cut out without walking over the rest.
            let rows = tables.rows.iter().skip(from).take(limit);
            page.routes.extend(rows.filter_map(|row| self.route(row)));
            page.total = tables.rows.len();
        } else {
            tables.rows.iter().for_each(take);
        }
        page
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mrt::AsPath;

    fn attributes(path: &[u32], community: u32) -> Attributes {
        Attributes {
            path: AsPath::sequence(path.to_vec()),
            communities: vec![community],
            ..Attributes::default()
        }
    }

    fn index(more: bool) -> Index {
        let mut builder = Builder::default();
        let session = |name: &str, asn| Session {
            name: name.into(),
            peer: Peer {
                address: [192, 0, 2, 1].into(),
                asn,
            },
            up: true,
            state: "Established".into(),
            told: Told::default(),
        };
        let a = builder.session(session("a", 1)).expect("few");
        let b = builder.session(session("b", 2)).expect("few");
        let mut put = |peer, prefix: &str, fate, one| {
            builder
                .route(peer, prefix.parse().expect("a prefix"), 0, 7, fate, one)
                .expect("few");
        };
        put(a, "10.0.0.0/8", Fate::Best, attributes(&[1, 9], 5));
        put(b, "10.0.0.0/8", Fate::Accepted, attributes(&[2, 9], 5));
        put(
            a,
            "10.1.0.0/16",
            Fate::Filtered,
            Attributes {
                large: vec![Reason::RpkiInvalid.community(64500)],
                ..attributes(&[1, 1, 8], 6)
            },
        );
        if more {
            put(b, "10.1.0.0/16", Fate::Best, attributes(&[2], 6));
        }
        builder.build(100)
    }

    #[test]
    fn questions_and_pages() {
        let index = index(true);
        let ask = |question: Question| {
            let page = index.find(&question, 0, 10);
            assert_eq!(page.total, page.routes.len());
            page.routes
                .iter()
                .map(|route| format!("{} {}", route.prefix, route.session.name))
                .collect::<Vec<_>>()
        };
        let prefix = |text: &str| Some(text.parse::<Prefix>().expect("a prefix"));
        assert_eq!(
            ask(Question {
                prefix: prefix("10.0.0.0/8"),
                ..Default::default()
            }),
            ["10.0.0.0/8 a", "10.0.0.0/8 b"]
        );
        assert_eq!(
            ask(Question {
                prefix: prefix("10.1.2.3"),
                matching: Matching::Longest,
                ..Default::default()
            }),
            ["10.1.0.0/16 b", "10.1.0.0/16 a"]
        );
        assert_eq!(
            ask(Question {
                prefix: prefix("10.0.0.0/7"),
                matching: Matching::Inside,
                ..Default::default()
            })
            .len(),
            4
        );
        assert_eq!(
            ask(Question {
                origin: Some(9),
                ..Default::default()
            })
            .len(),
            2
        );
        assert_eq!(
            ask(Question {
                through: Some(1),
                ..Default::default()
            }),
            ["10.0.0.0/8 a", "10.1.0.0/16 a"]
        );
        assert_eq!(
            ask(Question {
                community: Some(Community::Standard(6)),
                ..Default::default()
            })
            .len(),
            2
        );
        assert_eq!(
            ask(Question {
                session: index.session("a"),
                fate: Some(Fate::Filtered),
                ..Default::default()
            }),
            ["10.1.0.0/16 a"]
        );
        assert_eq!(
            ask(Question {
                origin: Some(77),
                ..Default::default()
            }),
            Vec::<String>::new()
        );
        let second = index.find(&Question::default(), 3, 2);
        assert_eq!((second.routes.len(), second.total), (1, 4));
        assert_eq!(index.counts(0), (1, 0, 1));
        let refused = index.find(
            &Question {
                fate: Some(Fate::Filtered),
                ..Default::default()
            },
            0,
            1,
        );
        assert_eq!(refused.routes[0].reasons(64500), [Reason::RpkiInvalid]);
        assert!(refused.routes[0].reasons(64501).is_empty());
    }

    #[test]
    fn the_difference_of_two_moments() {
        let (old, new) = (index(false), index(true));
        let changed = old.changes_to(&new, 10);
        assert_eq!(
            (
                changed.come_total,
                changed.gone_total,
                changed.changed_total
            ),
            (1, 0, 0)
        );
        assert_eq!(changed.come[0].session.name, "b");
        let back = new.changes_to(&old, 0);
        assert_eq!((back.gone.len(), back.gone_total), (0, 1));
    }

    #[test]
    fn communities_are_read_or_refused_by_name() {
        assert_eq!("65535:666".parse(), Ok(Community::Standard(0xffff_029a)));
        assert_eq!(
            "1:2:3".parse(),
            Ok(Community::Large(LargeCommunity(1, 2, 3)))
        );
        for wrong in ["", "1", "65536:1", "a:b", "1:2:3:4", "1::2"] {
            assert!(wrong.parse::<Community>().is_err(), "{wrong}");
        }
    }
}
