//! Client networks: which region an address belongs to, and how far around it that
//! stays true.
//!
//! Nested prefixes are flattened into disjoint blocks in order of address, so that a
//! look-up is one step by the upper 16 bits and a short binary search. The block also
//! is what an answer may be cached for (RFC 7871 section 7.2.1: a scope must not
//! cover a more specific prefix with another answer).

use std::net::IpAddr;

use base::Prefix;

/// Number of the region of addresses that no prefix holds.
pub const NOWHERE: u32 = u32::MAX;

/// Where a client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Located {
    /// Number of the region, or [`NOWHERE`].
    pub region: u32,
    /// Length of the largest prefix around the address that is answered alike.
    pub block: u8,
    /// Length of the configured prefix that matched; 0 for none.
    pub matched: u8,
}

/// All prefixes of all regions.
#[derive(Debug, Clone, Default)]
pub struct Clients {
    v4: Table<u32>,
    v6: Table<u128>,
}

#[derive(Debug, Clone, Default)]
struct Table<T> {
    /// For each value of the upper 16 bits, how many blocks begin before it.
    index: Vec<u32>,
    starts: Vec<T>,
    located: Vec<Located>,
}

impl Clients {
    /// Builds the table; each prefix comes with the number of its region.
    ///
    /// # Errors
    /// The prefix that two regions claim.
    pub fn new(prefixes: &[(Prefix, u32)]) -> Result<Self, Prefix> {
        let mut v4 = Vec::new();
        let mut v6 = Vec::new();
        for (prefix, region) in prefixes {
            match prefix.address() {
                IpAddr::V4(a) => v4.push((u128::from(a.to_bits()) << 96, prefix.length(), *region)),
                IpAddr::V6(a) => v6.push((a.to_bits(), prefix.length(), *region)),
            }
        }
        for list in [&mut v4, &mut v6] {
            list.sort_unstable();
            if let Some(pair) = list.windows(2).find(|pair| {
                (pair[0].0, pair[0].1) == (pair[1].0, pair[1].1) && pair[0].2 != pair[1].2
            }) {
                let twice = prefixes.iter().map(|(prefix, _)| *prefix).find(|prefix| {
                    prefix.length() == pair[0].1 && bits(prefix.address()) == pair[0].0
                });
                return Err(twice.unwrap_or(prefixes[0].0));
            }
            list.dedup();
        }
        let v4 = flatten(&v4, 32);
        let v6 = flatten(&v6, 128);
        Ok(Self {
            v4: Table::new(
                v4.into_iter().map(|(start, l)| ((start >> 96) as u32, l)),
                16,
            ),
            v6: Table::new(v6.into_iter(), 112),
        })
    }

    /// Finds the region of an address; IPv4-mapped ones count as IPv4.
    #[inline]
    pub fn locate(&self, address: IpAddr) -> Located {
        match address.to_canonical() {
            IpAddr::V4(v4) => {
                let bits = v4.to_bits();
                self.v4.locate(bits, (bits >> 16) as usize)
            }
            IpAddr::V6(v6) => {
                let bits = v6.to_bits();
                self.v6.locate(bits, (bits >> 112) as usize)
            }
        }
    }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()) << 96,
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

impl<T: Copy + Ord> Table<T>
where
    u128: From<T>,
{
    fn new(blocks: impl Iterator<Item = (T, Located)>, shift: u32) -> Self {
        let (starts, located): (Vec<T>, Vec<Located>) = blocks.unzip();
        let mut index = vec![0; (1 << 16) + 1];
        for start in &starts {
            index[(u128::from(*start) >> shift) as usize + 1] += 1;
        }
        for at in 1..index.len() {
            index[at] += index[at - 1];
        }
        Self {
            index,
            starts,
            located,
        }
    }

    #[inline]
    fn locate(&self, bits: T, upper: usize) -> Located {
        const UNKNOWN: Located = Located {
            region: NOWHERE,
            block: 0,
            matched: 0,
        };
        let (Some(&from), Some(&to)) = (self.index.get(upper), self.index.get(upper + 1)) else {
            return UNKNOWN;
        };
        let within = &self.starts[from as usize..to as usize];
        let position = from as usize + within.partition_point(|start| *start <= bits);
        // The blocks cover all addresses, so that one always begins at or before.
        match position.checked_sub(1).and_then(|at| self.located.get(at)) {
            Some(located) => *located,
            None => UNKNOWN,
        }
    }
}

/// Turns nested prefixes, sorted by start and length, into blocks that cover all
/// addresses of `width` bits. Starts are aligned to the upper end of 128 bits.
fn flatten(prefixes: &[(u128, u8, u32)], width: u8) -> Vec<(u128, Located)> {
    let mut blocks = Vec::new();
    let mut open: Vec<(u128, Located)> = Vec::new();
    let mut next = Some(0_u128);
    // Emits what lies between `next` and `to`, inclusive, for whoever is innermost.
    let mut emit = |next: &mut Option<u128>, to: u128, inner: Option<&Located>| {
        let owner = inner.copied().unwrap_or(Located {
            region: NOWHERE,
            block: 0,
            matched: 0,
        });
        while let Some(start) = *next
            && start <= to
        {
            // The largest aligned block that begins here and ends by `to`.
            let mut length = 128 - start.trailing_zeros().min(128) as u8;
            while last(start, length) > to {
                length += 1;
            }
            blocks.push((
                start,
                Located {
                    block: length.min(width),
                    ..owner
                },
            ));
            *next = last(start, length).checked_add(1);
        }
    };
    for &(start, length, region) in prefixes {
        while let Some((end, located)) = open.last()
            && *end < start
        {
            emit(&mut next, *end, Some(located));
            open.pop();
        }
        if let Some(before) = start.checked_sub(1) {
            emit(&mut next, before, open.last().map(|(_, located)| located));
        }
        open.push((
            last(start, length),
            Located {
                region,
                block: length,
                matched: length,
            },
        ));
    }
    while let Some((end, located)) = open.pop() {
        emit(&mut next, end, Some(&located));
    }
    emit(&mut next, u128::MAX, None);
    blocks
}

/// The last address of a block of 128-bit addresses.
fn last(start: u128, length: u8) -> u128 {
    start | u128::MAX.checked_shr(u32::from(length)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Prefix {
        text.parse().expect("a prefix")
    }

    fn locate(clients: &Clients, text: &str) -> (u32, u8, u8) {
        let l = clients.locate(text.parse().expect("an address"));
        (l.region, l.block, l.matched)
    }

    #[test]
    fn the_longest_prefix_wins_and_the_block_excludes_more_specific_ones() {
        let clients = Clients::new(&[
            (prefix("10.0.0.0/8"), 0),
            (prefix("10.1.0.0/16"), 1),
            (prefix("192.0.2.0/24"), 2),
            (prefix("2001:db8::/32"), 3),
            (prefix("2001:db8:1::/48"), 4),
        ])
        .expect("a table");
        assert_eq!(locate(&clients, "192.0.2.77"), (2, 24, 24));
        assert_eq!(locate(&clients, "10.1.2.3"), (1, 16, 16));
        assert_eq!(locate(&clients, "10.0.2.3"), (0, 16, 8));
        assert_eq!(locate(&clients, "10.128.0.1"), (0, 9, 8));
        assert_eq!(locate(&clients, "11.0.0.1"), (NOWHERE, 8, 0));
        assert_eq!(locate(&clients, "255.255.255.255"), (NOWHERE, 3, 0));
        assert_eq!(locate(&clients, "2001:db8:1::9"), (4, 48, 48));
        assert_eq!(locate(&clients, "2001:db8:8000::"), (3, 33, 32));
        assert_eq!(locate(&clients, "::ffff:192.0.2.1"), (2, 24, 24));
    }

    #[test]
    fn empty_and_whole_tables_work() {
        let none = Clients::new(&[]).expect("a table");
        assert_eq!(locate(&none, "192.0.2.1"), (NOWHERE, 0, 0));
        assert_eq!(locate(&none, "2001:db8::1"), (NOWHERE, 0, 0));
        let all = Clients::new(&[(prefix("0.0.0.0/0"), 7), (prefix("::/0"), 8)]).expect("a table");
        assert_eq!(locate(&all, "255.255.255.255"), (7, 0, 0));
        assert_eq!(locate(&all, "ffff::1"), (8, 0, 0));
        assert_eq!(
            Clients::new(&[(prefix("10.0.0.0/8"), 0), (prefix("10.0.0.0/8"), 1)]).err(),
            Some(prefix("10.0.0.0/8"))
        );
    }

    /// Against the plain rule, on a few thousand random addresses and prefixes.
    #[test]
    fn agrees_with_a_linear_search() {
        let mut state = 0x1234_5678_9abc_def0_u64;
        let mut random = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        let mut prefixes: Vec<(Prefix, u32)> = Vec::new();
        for region in 0..400 {
            let length = 4 + (random() % 29) as u8;
            let address = std::net::Ipv4Addr::from_bits((random() as u32) & 0x0fff_ffff);
            let prefix = Prefix::new(IpAddr::V4(address), length).expect("in range");
            if prefixes.iter().all(|(other, _)| *other != prefix) {
                prefixes.push((prefix, region));
            }
        }
        let clients = Clients::new(&prefixes).expect("a table");
        let plain = |address: IpAddr| {
            prefixes
                .iter()
                .filter(|(prefix, _)| prefix.contains(address))
                .max_by_key(|(prefix, _)| prefix.length())
                .map_or((NOWHERE, 0), |(prefix, region)| (*region, prefix.length()))
        };
        for _ in 0..20_000 {
            let address = IpAddr::V4(std::net::Ipv4Addr::from_bits(
                (random() as u32) & 0x1fff_ffff,
            ));
            let located = clients.locate(address);
            assert_eq!(
                (located.region, located.matched),
                plain(address),
                "{address}"
            );
            let block = Prefix::new(address, located.block).expect("in range");
            for (prefix, region) in &prefixes {
                let splits = block.covers(prefix) && prefix != &block;
                assert!(
                    !splits || *region == located.region,
                    "{block} holds {prefix}"
                );
            }
        }
    }
}
