//! Validated ROA payloads and the validity of a route (RFC 6811).

use std::cmp::Ordering;
use std::fmt;

use base::Prefix;

use crate::prefix_table::PrefixTable;

/// One validated ROA payload: `asn` may announce `prefix` and what is inside it, down to `max_length`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Vrp {
    /// The prefix of the authorisation.
    pub prefix: Prefix,
    /// The longest prefix that may be announced, in bits.
    pub max_length: u8,
    /// The autonomous system; 0 authorises nobody (RFC 6483 section 4).
    pub asn: u32,
}

/// A payload that contradicts itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{prefix} with maximum length {max_length} for AS{asn}: the maximum length must be from {} to {}", prefix.length(), width(prefix))]
pub struct InvalidVrp {
    prefix: Prefix,
    max_length: u8,
    asn: u32,
}

impl Vrp {
    /// A payload.
    ///
    /// # Errors
    /// When `max_length` is shorter than the prefix or longer than an address.
    pub fn new(prefix: Prefix, max_length: u8, asn: u32) -> Result<Self, InvalidVrp> {
        if max_length < prefix.length() || max_length > width(&prefix) {
            return Err(InvalidVrp {
                prefix,
                max_length,
                asn,
            });
        }
        Ok(Self {
            prefix,
            max_length,
            asn,
        })
    }

    /// Whether it authorises `origin` to announce `route`; 0 is nobody.
    pub fn matches(&self, route: &Prefix, origin: u32) -> bool {
        self.asn == origin && origin != 0 && route.length() <= self.max_length
    }
}

impl fmt::Display for Vrp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{} AS{}", self.prefix, self.max_length, self.asn)
    }
}

/// Bits of an address of the prefix's family.
pub(crate) fn width(prefix: &Prefix) -> u8 {
    if prefix.address().is_ipv4() { 32 } else { 128 }
}

/// What origin validation says of a route.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Validity {
    /// A payload authorises it.
    Valid,
    /// Payloads cover it and none authorises it.
    Invalid,
    /// No payload covers it.
    NotFound,
}

impl Validity {
    /// The name used on the wire and in texts.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Invalid => "invalid",
            Self::NotFound => "not-found",
        }
    }
}

/// Why a route is invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InvalidReason {
    /// The origin is authorised, but not for a prefix so long.
    Length,
    /// No covering payload names the origin.
    Origin,
}

/// The validity of a route with every payload that had a say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The verdict.
    pub validity: Validity,
    /// Payloads that authorise it.
    pub matched: Vec<Vrp>,
    /// Payloads that cover it and name another origin.
    pub other_origin: Vec<Vrp>,
    /// Payloads that cover it, name its origin and allow only shorter prefixes.
    pub too_long: Vec<Vrp>,
}

impl Decision {
    /// Why it is invalid, if it is.
    pub fn reason(&self) -> Option<InvalidReason> {
        (self.validity == Validity::Invalid).then_some(if self.too_long.is_empty() {
            InvalidReason::Origin
        } else {
            InvalidReason::Length
        })
    }

    /// The payload to show as the one that decided: the longest that speaks for the verdict.
    pub fn deciding(&self) -> Option<Vrp> {
        let of = |list: &[Vrp]| list.first().copied();
        of(&self.matched)
            .or_else(|| of(&self.too_long))
            .or_else(|| of(&self.other_origin))
    }
}

/// Which payloads a list shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// All.
    All,
    /// Those of an autonomous system.
    Origin(u32),
    /// Those that cover a prefix or are inside it.
    Prefix(Prefix),
}

/// A set of payloads, immutable, ready to be asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VrpSet {
    table: PrefixTable,
    /// Where the payloads of the prefix at a place of the table begin; one more at the end.
    starts: Vec<u32>,
    /// Maximum length and origin.
    grants: Vec<(u8, u32)>,
}

impl FromIterator<Vrp> for VrpSet {
    fn from_iter<I: IntoIterator<Item = Vrp>>(all: I) -> Self {
        let mut all: Vec<Vrp> = all.into_iter().collect();
        all.sort_unstable();
        all.dedup();
        let mut prefixes: Vec<Prefix> = Vec::new();
        let mut starts = Vec::new();
        let mut grants = Vec::with_capacity(all.len());
        for vrp in all {
            if prefixes.last() != Some(&vrp.prefix) {
                prefixes.push(vrp.prefix);
                starts.push(grants.len() as u32);
            }
            grants.push((vrp.max_length, vrp.asn));
        }
        starts.push(grants.len() as u32);
        Self {
            table: PrefixTable::of_sorted(prefixes),
            starts,
            grants,
        }
    }
}

impl VrpSet {
    /// How many payloads.
    pub fn len(&self) -> usize {
        self.grants.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.grants.is_empty()
    }

    /// All payloads in order.
    pub fn iter(&self) -> impl Iterator<Item = Vrp> + '_ {
        (0..self.table.len()).flat_map(|at| self.at(at))
    }

    fn at(&self, at: usize) -> impl Iterator<Item = Vrp> + '_ {
        let prefix = self.table.get(at);
        let range = match (self.starts.get(at), self.starts.get(at + 1)) {
            (Some(from), Some(to)) => *from as usize..*to as usize,
            _ => 0..0,
        };
        self.grants[range]
            .iter()
            .filter_map(move |(max_length, asn)| {
                Some(Vrp {
                    prefix: prefix?,
                    max_length: *max_length,
                    asn: *asn,
                })
            })
    }

    /// Payloads whose prefix covers `route`, longest first.
    pub fn covering(&self, route: Prefix) -> impl Iterator<Item = Vrp> + '_ {
        self.table.covering(route).flat_map(|at| self.at(at))
    }

    /// At most `count` payloads that `asked` takes, in order, from behind `after` on.
    pub fn page(&self, asked: &Asked, after: Option<&Vrp>, count: usize) -> Vec<Vrp> {
        let places = match asked {
            Asked::Prefix(prefix) => self.table.inside(prefix),
            Asked::All | Asked::Origin(_) => 0..self.table.len(),
        };
        // Those that cover the prefix come before those inside it, in order as well.
        let mut above: Vec<Vrp> = match asked {
            Asked::Prefix(prefix) => self
                .covering(*prefix)
                .filter(|vrp| vrp.prefix != *prefix)
                .collect(),
            _ => Vec::new(),
        };
        above.sort_unstable();
        let start = match after {
            // Nothing before the place of `after` can come behind it.
            Some(after) => self.table.first_from(&after.prefix),
            None => 0,
        };
        let first = places.start.max(start).min(places.end);
        above
            .into_iter()
            .chain((first..places.end).flat_map(|at| self.at(at)))
            .filter(|vrp| match asked {
                Asked::Origin(asn) => vrp.asn == *asn,
                _ => true,
            })
            .filter(|vrp| after.is_none_or(|after| vrp > after))
            .take(count)
            .collect()
    }

    /// Whether exactly this payload is in the set.
    pub fn contains(&self, vrp: &Vrp) -> bool {
        self.table
            .exact(&vrp.prefix)
            .is_some_and(|at| self.at(at).any(|one| one == *vrp))
    }

    /// The verdict alone, without collecting who decided. `origin` is `None` when the path ends in a set.
    pub fn validity(&self, route: Prefix, origin: Option<u32>) -> Validity {
        let mut validity = Validity::NotFound;
        for vrp in self.covering(route) {
            if origin.is_some_and(|origin| vrp.matches(&route, origin)) {
                return Validity::Valid;
            }
            validity = Validity::Invalid;
        }
        validity
    }

    /// The verdict with the payloads that had a say. `origin` is `None` when the path ends in a set.
    pub fn decide(&self, route: Prefix, origin: Option<u32>) -> Decision {
        let mut decision = Decision {
            validity: Validity::NotFound,
            matched: Vec::new(),
            other_origin: Vec::new(),
            too_long: Vec::new(),
        };
        for vrp in self.covering(route) {
            match origin {
                Some(origin) if vrp.matches(&route, origin) => decision.matched.push(vrp),
                Some(origin) if vrp.asn == origin && origin != 0 => decision.too_long.push(vrp),
                _ => decision.other_origin.push(vrp),
            }
        }
        decision.validity = match decision.deciding() {
            None => Validity::NotFound,
            Some(_) if decision.matched.is_empty() => Validity::Invalid,
            Some(_) => Validity::Valid,
        };
        decision
    }

    /// What must be announced and what withdrawn to come from `self` to `next`, both in order.
    pub fn changes_to(&self, next: &Self) -> Changes {
        let mut changes = Changes::default();
        let (mut old, mut new) = (self.iter().peekable(), next.iter().peekable());
        loop {
            let order = match (old.peek(), new.peek()) {
                (None, None) => return changes,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(a), Some(b)) => a.cmp(b),
            };
            if order != Ordering::Greater {
                let gone = old.next();
                if order == Ordering::Less {
                    changes.withdrawn.extend(gone);
                }
            }
            if order != Ordering::Less {
                let come = new.next();
                if order == Ordering::Greater {
                    changes.announced.extend(come);
                }
            }
        }
    }
}

/// The difference of two sets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// In the later set only.
    pub announced: Vec<Vrp>,
    /// In the earlier set only.
    pub withdrawn: Vec<Vrp>,
}

impl Changes {
    /// Whether the sets are the same.
    pub fn is_empty(&self) -> bool {
        self.announced.is_empty() && self.withdrawn.is_empty()
    }

    /// How many payloads differ.
    pub fn len(&self) -> usize {
        self.announced.len() + self.withdrawn.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn vrp(prefix: &str, max_length: u8, asn: u32) -> Vrp {
        Vrp::new(prefix.parse().expect("a prefix"), max_length, asn).expect("a payload")
    }

    fn set() -> VrpSet {
        [
            vrp("140.109.0.0/16", 20, 9264),
            vrp("140.109.0.0/16", 16, 1659),
            vrp("140.0.0.0/8", 8, 64500),
            vrp("2001:288::/32", 48, 1659),
            vrp("192.0.2.0/24", 24, 0),
        ]
        .into_iter()
        .collect()
    }

    #[test]
    fn rfc_6811_and_who_decided() {
        let set = set();
        let p = |text: &str| text.parse::<Prefix>().expect("a prefix");
        let valid = set.decide(p("140.109.16.0/20"), Some(9264));
        assert_eq!(valid.validity, Validity::Valid);
        assert_eq!(valid.deciding(), Some(vrp("140.109.0.0/16", 20, 9264)));
        let long = set.decide(p("140.109.16.0/24"), Some(9264));
        assert_eq!(
            (long.validity, long.reason()),
            (Validity::Invalid, Some(InvalidReason::Length))
        );
        assert_eq!(long.too_long, [vrp("140.109.0.0/16", 20, 9264)]);
        let other = set.decide(p("140.109.0.0/16"), Some(4782));
        assert_eq!(
            (other.validity, other.reason()),
            (Validity::Invalid, Some(InvalidReason::Origin))
        );
        assert_eq!(other.other_origin.len(), 3);
        assert_eq!(
            set.decide(p("140.109.0.0/16"), None).validity,
            Validity::Invalid,
            "a path that ends in a set"
        );
        assert_eq!(
            set.decide(p("192.0.2.0/24"), Some(0)).validity,
            Validity::Invalid,
            "AS0 is nobody"
        );
        assert_eq!(
            set.decide(p("141.0.0.0/8"), Some(1)).validity,
            Validity::NotFound
        );
        assert_eq!(
            set.decide(p("2001:288:1::/48"), Some(1659)).validity,
            Validity::Valid
        );
        assert_eq!(
            set.decide(p("128.0.0.0/1"), Some(64500)).validity,
            Validity::NotFound,
            "shorter than every payload"
        );
    }

    #[test]
    fn a_payload_cannot_contradict_itself() {
        let error =
            Vrp::new("10.0.0.0/16".parse().expect("a prefix"), 8, 1).expect_err("too short");
        assert_eq!(
            error.to_string(),
            "10.0.0.0/16 with maximum length 8 for AS1: the maximum length must be from 16 to 32"
        );
        assert!(Vrp::new("10.0.0.0/16".parse().expect("a prefix"), 33, 1).is_err());
    }

    fn any_vrp() -> impl Strategy<Value = Vrp> {
        (0u32..32, 0u8..=24, 0u8..8, 0u32..4).prop_map(|(bits, length, more, asn)| {
            let prefix = Prefix::new((bits << 27).to_be_bytes().into(), length).expect("in range");
            Vrp::new(prefix, length + more, asn).expect("in range")
        })
    }

    proptest! {
        #[test]
        fn the_short_way_says_the_same(all in proptest::collection::vec(any_vrp(), 0..40), route in any_vrp()) {
            let set: VrpSet = all.iter().copied().collect();
            let covered = all.iter().filter(|one| one.prefix.covers(&route.prefix));
            let matched = covered.clone().any(|one| one.matches(&route.prefix, route.asn));
            let expected = match (covered.count(), matched) {
                (0, _) => Validity::NotFound,
                (_, true) => Validity::Valid,
                (_, false) => Validity::Invalid,
            };
            prop_assert_eq!(set.validity(route.prefix, Some(route.asn)), expected);
            prop_assert_eq!(set.decide(route.prefix, Some(route.asn)).validity, expected);
        }

        #[test]
        fn pages_are_the_whole_in_pieces(all in proptest::collection::vec(any_vrp(), 0..40), asked in any_vrp(), count in 1usize..5) {
            let set: VrpSet = all.into_iter().collect();
            let whole: Vec<Vrp> = set.iter().collect();
            let related = |vrp: &&Vrp| vrp.prefix.covers(&asked.prefix) || asked.prefix.covers(&vrp.prefix);
            let expected: [(Asked, Vec<Vrp>); 3] = [
                (Asked::All, whole.clone()),
                (Asked::Origin(asked.asn), whole.iter().filter(|vrp| vrp.asn == asked.asn).copied().collect()),
                (Asked::Prefix(asked.prefix), whole.iter().filter(related).copied().collect()),
            ];
            for (which, expected) in expected {
                let mut got: Vec<Vrp> = Vec::new();
                loop {
                    let page = set.page(&which, got.last(), count);
                    if page.is_empty() {
                        break;
                    }
                    got.extend(page);
                }
                prop_assert_eq!(got, expected);
            }
        }

        #[test]
        fn changes_lead_from_one_set_to_the_other(
            a in proptest::collection::vec(any_vrp(), 0..40),
            b in proptest::collection::vec(any_vrp(), 0..40),
        ) {
            let (a, b): (VrpSet, VrpSet) = (a.into_iter().collect(), b.into_iter().collect());
            let changes = a.changes_to(&b);
            let moved: VrpSet = a.iter().filter(|one| !changes.withdrawn.contains(one)).chain(changes.announced.iter().copied()).collect();
            prop_assert_eq!(moved, b);
        }
    }
}
