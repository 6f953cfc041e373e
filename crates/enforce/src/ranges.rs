//! Prefixes as sorted, disjoint ranges with an index above them: an implicit tree of
//! fan-out 64, so that a question touches one or two cache lines a level.
//!
//! Overlapping prefixes are flattened: each range carries the most specific prefix over
//! it, and each prefix knows the next less specific one (`wider`).

/// Keys in one node of the index.
const FAN_OUT: usize = 64;
/// No entry.
pub(crate) const NONE: u32 = u32::MAX;

/// An address as a number.
pub(crate) trait Key: Copy + Ord {
    const MIN: Self;
    /// The next address; none after the last.
    fn next(self) -> Option<Self>;
    /// The last address of the prefix of `length` bits that begins here.
    fn last(self, length: u8) -> Self;
}

impl Key for u32 {
    const MIN: Self = 0;
    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }
    fn last(self, length: u8) -> Self {
        self | Self::MAX.checked_shr(length.into()).unwrap_or(0)
    }
}

impl Key for u128 {
    const MIN: Self = 0;
    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }
    fn last(self, length: u8) -> Self {
        self | Self::MAX.checked_shr(length.into()).unwrap_or(0)
    }
}

/// A prefix with its entry.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Item<K> {
    pub(crate) start: K,
    pub(crate) length: u8,
    pub(crate) entry: u32,
}

/// Ranges over the whole space, each with the entry of its most specific prefix.
#[derive(Debug)]
pub(crate) struct Ranges<K> {
    starts: Vec<K>,
    values: Vec<u32>,
    /// Every 64th start, every 64th of those, and so on; the smallest last.
    index: Vec<Vec<K>>,
}

impl<K> Default for Ranges<K> {
    fn default() -> Self {
        Self {
            starts: Vec::new(),
            values: Vec::new(),
            index: Vec::new(),
        }
    }
}

impl<K: Key> Ranges<K> {
    /// Flattens `items`; `wider(entry, next)` is told what lies beneath each entry.
    pub(crate) fn build(mut items: Vec<Item<K>>, mut wider: impl FnMut(u32, u32)) -> Self {
        if items.is_empty() {
            return Self::default();
        }
        items.sort_unstable_by_key(|item| (item.start, item.length, item.entry));
        let mut ranges = Self {
            starts: Vec::with_capacity(items.len() + items.len() / 2),
            values: Vec::with_capacity(items.len() + items.len() / 2),
            index: Vec::new(),
        };
        ranges.emit(K::MIN, NONE);
        let mut open: Vec<(Item<K>, K)> = Vec::new();
        for item in items {
            while let Some((_, last)) = open.last().filter(|(_, last)| *last < item.start) {
                let last = *last;
                open.pop();
                ranges.close(last, open.last());
            }
            wider(item.entry, open.last().map_or(NONE, |(top, _)| top.entry));
            ranges.emit(item.start, item.entry);
            match open.last_mut() {
                // The same prefix again: one place on the stack for all of them.
                Some((top, _)) if top.start == item.start && top.length == item.length => {
                    top.entry = item.entry;
                }
                _ => open.push((item, item.start.last(item.length))),
            }
        }
        while let Some((_, last)) = open.pop() {
            ranges.close(last, open.last());
        }
        ranges.starts.shrink_to_fit();
        ranges.values.shrink_to_fit();
        let mut level: Vec<K> = ranges.starts.iter().step_by(FAN_OUT).copied().collect();
        while level.len() > 1 {
            let next = level.iter().step_by(FAN_OUT).copied().collect();
            ranges.index.push(level);
            level = next;
        }
        ranges
    }

    fn close(&mut self, last: K, beneath: Option<&(Item<K>, K)>) {
        if let Some(next) = last.next() {
            self.emit(next, beneath.map_or(NONE, |(item, _)| item.entry));
        }
    }

    fn emit(&mut self, start: K, value: u32) {
        if self.starts.last() == Some(&start) {
            if let Some(last) = self.values.last_mut() {
                *last = value;
            }
            return;
        }
        self.starts.push(start);
        self.values.push(value);
    }

    /// The entry of the most specific prefix over `key`, or [`NONE`].
    #[inline]
    pub(crate) fn find(&self, key: K) -> u32 {
        let mut node = 0;
        for level in self.index.iter().rev() {
            node = step(level, node, key);
        }
        if self.starts.is_empty() {
            return NONE;
        }
        let at = step(&self.starts, node, key);
        self.values.get(at).copied().unwrap_or(NONE)
    }

    pub(crate) fn bytes(&self) -> usize {
        let index: usize = self.index.iter().map(Vec::capacity).sum();
        (self.starts.capacity() + index) * size_of::<K>()
            + self.values.capacity() * size_of::<u32>()
    }
}

/// The last key of node `node` that is at most `key`: its place in the whole level.
#[inline]
fn step<K: Key>(level: &[K], node: usize, key: K) -> usize {
    let from = (node * FAN_OUT).min(level.len());
    let to = (from + FAN_OUT).min(level.len());
    let within = level[from..to].partition_point(|start| *start <= key);
    from + within.saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_most_specific_prefix_is_found_and_all_wider_ones_behind_it(
            raw in proptest::collection::vec((any::<u32>(), 0u8..=32), 0..400),
            asked in proptest::collection::vec(any::<u32>(), 50),
            narrow: bool,
        ) {
            let items: Vec<Item<u32>> = raw.iter().enumerate().map(|(n, (start, length))| {
                // A narrow space makes them overlap.
                let start = if narrow { start & 0xff } else { *start };
                let mask = u32::MAX.checked_shl(32 - u32::from(*length)).unwrap_or(0);
                Item { start: start & mask, length: *length, entry: n as u32 }
            }).collect();
            let mut wider = vec![NONE; items.len()];
            let ranges = Ranges::build(items.clone(), |entry, next| wider[entry as usize] = next);
            let edges = items.iter().flat_map(|item| [item.start, item.start.last(item.length), item.start.wrapping_sub(1)]);
            for key in asked.iter().copied().chain(edges) {
                let mut expected: Vec<(u8, u32)> = items.iter()
                    .filter(|item| item.start <= key && key <= item.start.last(item.length))
                    .map(|item| (item.length, item.entry)).collect();
                expected.sort_unstable();
                expected.reverse();
                let mut found = Vec::new();
                let mut entry = ranges.find(key);
                while entry != NONE {
                    found.push((items[entry as usize].length, entry));
                    entry = wider[entry as usize];
                }
                prop_assert_eq!(found, expected);
            }
        }
    }

    #[test]
    fn many_levels_are_climbed() {
        let items = (0..300_000_u128)
            .map(|n| Item {
                start: n << 70,
                length: 64,
                entry: n as u32,
            })
            .collect();
        let ranges = Ranges::build(items, |_, _| {});
        for n in (0..300_000_u128).step_by(997) {
            assert_eq!(ranges.find(n << 70 | 5), n as u32);
            assert_eq!(ranges.find(n << 70 | 1 << 66), NONE);
        }
    }
}
