//! Many prefixes as few patterns that match exactly the same routes.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use base::Prefix;

/// Every prefix inside `prefix` whose length is `low` to `high`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pattern {
    /// What covers the matches.
    pub prefix: Prefix,
    /// Shortest length that matches.
    pub low: u8,
    /// Longest length that matches.
    pub high: u8,
}

impl Pattern {
    /// Whether `prefix` matches.
    pub fn matches(&self, prefix: &Prefix) -> bool {
        self.prefix.covers(prefix) && (self.low..=self.high).contains(&prefix.length())
    }
}

/// Ranges of lengths at each network, by length and bits (left-aligned).
type Levels = Vec<BTreeMap<u128, Vec<(u8, u8)>>>;

/// The patterns for `prefixes` of one family, each with what is more specific up to `longest` when
/// given. Nothing else matches them. Ascending.
pub fn aggregate(prefixes: &[Prefix], longest: Option<u8>) -> Vec<Pattern> {
    let Some(first) = prefixes.first() else {
        return Vec::new();
    };
    let v4 = first.address().is_ipv4();
    let width: u8 = if v4 { 32 } else { 128 };
    let mut levels: Levels = vec![BTreeMap::new(); usize::from(width) + 1];
    for prefix in prefixes
        .iter()
        .filter(|prefix| prefix.address().is_ipv4() == v4)
    {
        let high = longest.map_or(prefix.length(), |longest| longest.max(prefix.length()));
        levels[usize::from(prefix.length())]
            .entry(bits(prefix))
            .or_default()
            .push((prefix.length(), high));
    }
    for ranges in levels.iter_mut().flat_map(BTreeMap::values_mut) {
        coalesce(ranges);
    }
    // From the longest up: a range that two halves share belongs to the whole.
    for length in (1..=usize::from(width)).rev() {
        let half = 1u128 << (128 - length);
        let (above, below) = levels.split_at_mut(length);
        let (level, parents) = (&mut below[0], &mut above[length - 1]);
        let lower: Vec<u128> = level
            .keys()
            .copied()
            .filter(|bits| bits & half == 0)
            .collect();
        for low_bits in lower {
            let Some(right) = level.get(&(low_bits | half)) else {
                continue;
            };
            let shared: Vec<(u8, u8)> = level[&low_bits]
                .iter()
                .copied()
                .filter(|range| right.contains(range))
                .collect();
            if shared.is_empty() {
                continue;
            }
            for side in [low_bits, low_bits | half] {
                if let Some(ranges) = level.get_mut(&side) {
                    ranges.retain(|range| !shared.contains(range));
                    if ranges.is_empty() {
                        level.remove(&side);
                    }
                }
            }
            let ranges = parents.entry(low_bits).or_default();
            ranges.extend(shared);
            coalesce(ranges);
        }
    }
    let mut patterns: Vec<Pattern> = Vec::new();
    for (length, level) in levels.iter().enumerate() {
        for (bits, ranges) in level {
            let prefix = prefix_of(*bits, u8::try_from(length).unwrap_or(width), v4);
            patterns.extend(ranges.iter().map(|(low, high)| Pattern {
                prefix,
                low: *low,
                high: *high,
            }));
        }
    }
    patterns.sort_unstable();
    patterns
}

/// The shortest of `prefixes` that cover all others. Ascending.
pub fn covering(prefixes: &[Prefix]) -> Vec<Prefix> {
    let mut sorted = prefixes.to_vec();
    sorted.sort_unstable();
    let mut kept: Vec<Prefix> = Vec::new();
    for prefix in sorted {
        if !kept.last().is_some_and(|last| last.covers(&prefix)) {
            kept.push(prefix);
        }
    }
    kept
}

fn coalesce(ranges: &mut Vec<(u8, u8)>) {
    ranges.sort_unstable();
    let mut merged: Vec<(u8, u8)> = Vec::with_capacity(ranges.len());
    for (low, high) in ranges.drain(..) {
        match merged.last_mut() {
            Some(last) if low <= last.1.saturating_add(1) => last.1 = last.1.max(high),
            _ => merged.push((low, high)),
        }
    }
    *ranges = merged;
}

fn bits(prefix: &Prefix) -> u128 {
    match prefix.address() {
        IpAddr::V4(v4) => u128::from(v4.to_bits()) << 96,
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

fn prefix_of(bits: u128, length: u8, v4: bool) -> Prefix {
    let address = if v4 {
        IpAddr::V4(Ipv4Addr::from_bits(u32::try_from(bits >> 96).unwrap_or(0)))
    } else {
        IpAddr::V6(Ipv6Addr::from_bits(bits))
    };
    Prefix::new(address, length).unwrap_or_else(|_| Prefix::host(address))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn halves_become_wholes_and_lengths_become_ranges() {
        let list: Vec<Prefix> = [
            "10.0.0.0/24",
            "10.0.1.0/24",
            "10.0.0.0/23",
            "10.0.4.0/24",
            "10.0.0.0/22",
        ]
        .iter()
        .map(|text| text.parse().expect("a prefix"))
        .collect();
        let told: Vec<String> = aggregate(&list, None)
            .iter()
            .map(|p| format!("{}{{{},{}}}", p.prefix, p.low, p.high))
            .collect();
        assert_eq!(
            told,
            [
                "10.0.0.0/22{22,22}",
                "10.0.0.0/23{23,24}",
                "10.0.4.0/24{24,24}"
            ]
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        #[test]
        fn nothing_is_lost_and_nothing_is_gained(seeds in prop::collection::vec((0u32..64, 26u8..=32), 0..40), more in any::<bool>()) {
            let make = |value: u32, length: u8| Prefix::new(IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 | value)), length).expect("in range");
            let list: Vec<Prefix> = seeds.iter().map(|(value, length)| make(*value, *length)).collect();
            let longest = more.then_some(30);
            let patterns = aggregate(&list, longest);
            for value in 0..64 {
                for length in 25..=32 {
                    let probe = make(value, length);
                    let want = list.iter().any(|p| p.covers(&probe) && probe.length() <= longest.map_or(p.length(), |l| l.max(p.length())));
                    prop_assert_eq!(patterns.iter().any(|p| p.matches(&probe)), want, "{}", probe);
                }
            }
        }
    }
}
