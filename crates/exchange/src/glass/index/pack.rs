//! Attributes packed into one run of bytes: numbers as variable-length integers (LEB128), lists behind
//! their lengths. A table of the Internet's routes has many attributes and asks for few of them at a
//! time, so they are unpacked when they are shown.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::community::LargeCommunity;
use crate::mrt::{AsPath, Attributes, Segment};

const HAS_V4_HOP: u8 = 1 << 2;
const HAS_V6_HOP: u8 = 1 << 3;
const HAS_MED: u8 = 1 << 4;
const HAS_LOCAL_PREF: u8 = 1 << 5;
/// The two lowest bits: origin plus one.
const ORIGIN_BITS: u8 = 0b11;

/// Appends `attributes` to `out`.
pub(super) fn write(attributes: &Attributes, out: &mut Vec<u8>) {
    let mut flags = attributes.origin.map_or(0, |origin| origin.min(2) + 1);
    match attributes.next_hop {
        Some(IpAddr::V4(_)) => flags |= HAS_V4_HOP,
        Some(IpAddr::V6(_)) => flags |= HAS_V6_HOP,
        None => {}
    }
    if attributes.med.is_some() {
        flags |= HAS_MED;
    }
    if attributes.local_pref.is_some() {
        flags |= HAS_LOCAL_PREF;
    }
    out.push(flags);
    number(out, attributes.path.0.len() as u64);
    for segment in &attributes.path.0 {
        let is_set = matches!(segment, Segment::Set(_));
        number(out, (segment.asns().len() as u64) << 1 | u64::from(is_set));
        for asn in segment.asns() {
            number(out, u64::from(*asn));
        }
    }
    match attributes.next_hop {
        Some(IpAddr::V4(hop)) => out.extend_from_slice(&hop.octets()),
        Some(IpAddr::V6(hop)) => out.extend_from_slice(&hop.octets()),
        None => {}
    }
    for value in [attributes.med, attributes.local_pref]
        .into_iter()
        .flatten()
    {
        number(out, u64::from(value));
    }
    number(out, attributes.communities.len() as u64);
    for value in &attributes.communities {
        number(out, u64::from(*value));
    }
    number(out, attributes.large.len() as u64);
    for LargeCommunity(a, b, c) in &attributes.large {
        for part in [a, b, c] {
            number(out, u64::from(*part));
        }
    }
    number(out, attributes.extended.len() as u64);
    for value in &attributes.extended {
        out.extend_from_slice(&value.to_be_bytes());
    }
}

/// Unpacks what [`write`] packed; bytes from elsewhere give some attributes or other, never a panic.
pub(super) fn read(bytes: &[u8]) -> Attributes {
    let mut from = Reader(bytes);
    let flags = from.byte();
    let mut attributes = Attributes {
        origin: (flags & ORIGIN_BITS).checked_sub(1),
        ..Attributes::default()
    };
    let segments = from.count();
    let mut path = Vec::with_capacity(segments);
    for _ in 0..segments {
        let head = from.number();
        let count = usize::try_from(head >> 1).unwrap_or(0).min(from.0.len());
        let asns: Vec<u32> = (0..count).map(|_| from.number32()).collect();
        path.push(match head & 1 {
            0 => Segment::Sequence(asns),
            _ => Segment::Set(asns),
        });
    }
    attributes.path = AsPath(path);
    if flags & HAS_V4_HOP != 0 {
        attributes.next_hop = from.take().map(|bytes| Ipv4Addr::from(bytes).into());
    } else if flags & HAS_V6_HOP != 0 {
        attributes.next_hop = from.take().map(|bytes| Ipv6Addr::from(bytes).into());
    }
    if flags & HAS_MED != 0 {
        attributes.med = Some(from.number32());
    }
    if flags & HAS_LOCAL_PREF != 0 {
        attributes.local_pref = Some(from.number32());
    }
    let count = from.count();
    attributes.communities = (0..count).map(|_| from.number32()).collect();
    let count = from.count();
    attributes.large = (0..count)
        .map(|_| LargeCommunity(from.number32(), from.number32(), from.number32()))
        .collect();
    let count = from.count();
    attributes.extended = (0..count)
        .map_while(|_| from.take().map(u64::from_be_bytes))
        .collect();
    attributes
}

fn number(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((byte, rest)) => {
                self.0 = rest;
                *byte
            }
            None => 0,
        }
    }

    fn number(&mut self) -> u64 {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte();
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
        value
    }

    fn number32(&mut self) -> u32 {
        self.number() as u32
    }

    /// A length: never more than there are bytes left.
    fn count(&mut self) -> usize {
        usize::try_from(self.number())
            .unwrap_or(0)
            .min(self.0.len())
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(n: u32) -> Attributes {
        Attributes {
            origin: [None, Some(0), Some(1), Some(2)][n as usize % 4],
            path: AsPath(vec![
                Segment::Sequence(vec![n, 4_200_000_000, 0]),
                Segment::Set(vec![7, n]),
            ]),
            next_hop: match n % 3 {
                0 => None,
                1 => Some(Ipv4Addr::from(n).into()),
                _ => Some(Ipv6Addr::from(u128::from(n)).into()),
            },
            med: n.is_multiple_of(2).then_some(n),
            local_pref: n.is_multiple_of(5).then_some(u32::MAX),
            communities: (0..n % 7).map(|i| i << 16 | n).collect(),
            large: (0..n % 3).map(|i| LargeCommunity(i, n, u32::MAX)).collect(),
            extended: (0..n % 4).map(|i| u64::from(i) << 40).collect(),
        }
    }

    #[test]
    fn what_is_packed_is_unpacked() {
        for n in 0..1_000 {
            let one = sample(n * 77);
            let mut bytes = Vec::new();
            write(&one, &mut bytes);
            assert_eq!(read(&bytes), one);
        }
    }

    #[test]
    fn a_hundred_thousand_mutations_do_not_panic() {
        let mut seed = crate::testing::Lcg(7);
        let mut bytes = Vec::new();
        write(&sample(1_234), &mut bytes);
        for _ in 0..100_000 {
            let broken = crate::testing::mutate(&mut seed, &bytes);
            let read = read(&broken);
            assert!(read.communities.len() <= broken.len());
        }
    }
}
