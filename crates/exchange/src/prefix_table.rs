//! A sorted table of prefixes that knows, for each, the next shorter one that covers it: a trie laid flat.
//!
//! Sorted by first address and then by length, everything inside a prefix follows it directly, so the more
//! specific prefixes are one run of the table; and the prefixes that cover another are its parents, at most
//! one for each length. A question costs one binary search and a climb of at most the prefix's length.

use base::Prefix;

/// No parent.
const NONE: u32 = u32::MAX;

/// Distinct prefixes in order, at most 2³² − 1 of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PrefixTable {
    prefixes: Vec<Prefix>,
    parents: Vec<u32>,
}

impl PrefixTable {
    /// The table of `sorted`, which must be in order and without repetition.
    pub fn of_sorted(sorted: Vec<Prefix>) -> Self {
        debug_assert!(sorted.is_sorted_by(|a, b| a < b), "sorted and distinct");
        let mut parents = Vec::with_capacity(sorted.len());
        let mut open: Vec<u32> = Vec::new();
        for (at, prefix) in sorted.iter().enumerate() {
            while let Some(top) = open.last() {
                if sorted[*top as usize].covers(prefix) {
                    break;
                }
                open.pop();
            }
            parents.push(open.last().copied().unwrap_or(NONE));
            open.push(at as u32);
        }
        Self {
            prefixes: sorted,
            parents,
        }
    }

    /// How many prefixes.
    pub fn len(&self) -> usize {
        self.prefixes.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.prefixes.is_empty()
    }

    /// The prefix at a place of the table.
    pub fn get(&self, at: usize) -> Option<Prefix> {
        self.prefixes.get(at).copied()
    }

    /// Where exactly `prefix` stands.
    pub fn exact(&self, prefix: &Prefix) -> Option<usize> {
        self.prefixes.binary_search(prefix).ok()
    }

    /// The place of `prefix`, or of the first one behind it.
    pub fn first_from(&self, prefix: &Prefix) -> usize {
        self.prefixes.partition_point(|one| one < prefix)
    }

    /// The places of the prefixes that cover `prefix` (itself too), longest first.
    pub fn covering(&self, prefix: Prefix) -> impl Iterator<Item = usize> + '_ {
        let mut next = match self.prefixes.binary_search(&prefix) {
            Ok(at) => at as u32,
            Err(0) => NONE,
            Err(at) => at as u32 - 1,
        };
        while next != NONE && !self.prefixes[next as usize].covers(&prefix) {
            next = self.parents[next as usize];
        }
        std::iter::from_fn(move || {
            let at = (next != NONE).then_some(next as usize)?;
            next = self.parents[at];
            Some(at)
        })
    }

    /// The places of the prefixes inside `prefix` (itself too).
    pub fn inside(&self, prefix: &Prefix) -> std::ops::Range<usize> {
        let first = self.prefixes.partition_point(|one| one < prefix);
        let count = self.prefixes[first..].partition_point(|one| prefix.covers(one));
        first..first + count
    }

    /// Bytes of memory.
    pub fn bytes(&self) -> usize {
        self.prefixes.capacity() * size_of::<Prefix>() + self.parents.capacity() * size_of::<u32>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_prefix() -> impl Strategy<Value = Prefix> {
        prop_oneof![
            (0u32..64, 0u8..=32).prop_map(|(bits, length)| Prefix::new(
                (bits << 26).to_be_bytes().into(),
                length
            )
            .expect("in range")),
            (0u128..64, 0u8..=128).prop_map(|(bits, length)| Prefix::new(
                (bits << 122).to_be_bytes().into(),
                length
            )
            .expect("in range")),
        ]
    }

    proptest! {
        #[test]
        fn as_a_walk_over_all_of_them(
            set in proptest::collection::btree_set(any_prefix(), 0..60),
            asked in any_prefix(),
        ) {
            let all: Vec<Prefix> = set.into_iter().collect();
            let table = PrefixTable::of_sorted(all.clone());
            let mut covering: Vec<usize> = (0..all.len()).filter(|at| all[*at].covers(&asked)).collect();
            covering.sort_by_key(|at| std::cmp::Reverse(all[*at].length()));
            prop_assert_eq!(table.covering(asked).collect::<Vec<_>>(), covering);
            let inside: Vec<usize> = (0..all.len()).filter(|at| asked.covers(&all[*at])).collect();
            prop_assert_eq!(table.inside(&asked).collect::<Vec<_>>(), inside);
        }
    }
}
