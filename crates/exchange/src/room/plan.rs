//! The address plan of a LAN: which addresses there are, which are kept back, which is
//! the next free one. Pure.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use base::Prefix;

/// Addresses looked at before giving up.
const LOOK_MAX: u32 = 1_000_000;

/// The addresses of one family of a LAN.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The LAN's prefix.
    pub prefix: Prefix,
    /// Ranges that are kept back: first and last.
    pub reserved: Vec<(IpAddr, IpAddr)>,
    /// Addresses in use.
    pub used: BTreeSet<IpAddr>,
}

/// Why an address cannot be given to a router.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfit {
    /// It is not on the LAN.
    Outside,
    /// It is the network's or the broadcast address, or the subnet-router anycast.
    Special,
    /// It lies in a range that is kept back.
    Reserved,
}

/// An address as a number, IPv4 in its 32 bits.
pub fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(u32::from(v4)),
        IpAddr::V6(v6) => u128::from(v6),
    }
}

fn address(number: u128, v4: bool) -> Option<IpAddr> {
    match v4 {
        true => u32::try_from(number).ok().map(|n| Ipv4Addr::from(n).into()),
        false => Some(Ipv6Addr::from(number).into()),
    }
}

/// The first and the last address of a prefix.
pub fn bounds(prefix: Prefix) -> (u128, u128) {
    let width: u32 = if prefix.address().is_ipv4() { 32 } else { 128 };
    let host = width - u32::from(prefix.length());
    let size = 1_u128.checked_shl(host).map_or(u128::MAX, |size| size - 1);
    let first = number(prefix.address());
    (first, first | size)
}

impl Plan {
    /// Why `address` cannot be given to a router; none: it can, if it is free.
    pub fn unfit(&self, address: IpAddr) -> Option<Unfit> {
        if address.is_ipv4() != self.prefix.address().is_ipv4() || !self.prefix.contains(address) {
            return Some(Unfit::Outside);
        }
        if self.is_special(number(address)) {
            return Some(Unfit::Special);
        }
        let here = number(address);
        let kept = self.reserved.iter().any(|(first, last)| {
            first.is_ipv4() == address.is_ipv4() && number(*first) <= here && here <= number(*last)
        });
        kept.then_some(Unfit::Reserved)
    }

    /// Whether an address names no host (RFC 3021 leaves /31 and /32 without such).
    pub fn is_special(&self, address: u128) -> bool {
        let (first, last) = bounds(self.prefix);
        match self.prefix.address().is_ipv4() {
            true => self.prefix.length() < 31 && (address == first || address == last),
            false => self.prefix.length() < 127 && address == first,
        }
    }

    /// The next free address, by number; none when the plan is full.
    pub fn next(&self) -> Option<IpAddr> {
        let v4 = self.prefix.address().is_ipv4();
        let (first, last) = bounds(self.prefix);
        let mut here = first;
        for _ in 0..LOOK_MAX {
            if here > last {
                return None;
            }
            let candidate = address(here, v4)?;
            // Over a range that is kept back at one step: it may be as large as a LAN.
            let kept = self.reserved.iter().find(|(from, to)| {
                from.is_ipv4() == v4 && number(*from) <= here && here <= number(*to)
            });
            if let Some((_, to)) = kept {
                here = number(*to).checked_add(1)?;
                continue;
            }
            if !self.is_special(here) && !self.used.contains(&candidate) {
                return Some(candidate);
            }
            here = here.checked_add(1)?;
        }
        None
    }

    /// Hosts that the plan has room for, without those kept back.
    pub fn capacity(&self) -> u128 {
        let (first, last) = bounds(self.prefix);
        let specials = [first, last]
            .into_iter()
            .collect::<BTreeSet<u128>>()
            .into_iter()
            .filter(|n| self.is_special(*n))
            .count();
        let kept: u128 = self
            .reserved
            .iter()
            .filter(|(from, _)| from.is_ipv4() == self.prefix.address().is_ipv4())
            .map(|(from, to)| (number(*to) - number(*from)).saturating_add(1))
            .fold(0, u128::saturating_add);
        (last - first)
            .saturating_add(1)
            .saturating_sub(specials as u128)
            .saturating_sub(kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(prefix: &str, reserved: &[(&str, &str)], used: &[&str]) -> Plan {
        let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
        Plan {
            prefix: prefix.parse().expect("a prefix"),
            reserved: reserved.iter().map(|(a, b)| (ip(a), ip(b))).collect(),
            used: used.iter().map(|a| ip(a)).collect(),
        }
    }

    #[test]
    fn the_next_free_address_is_neither_used_nor_kept_back() {
        let next = |prefix: &str, reserved: &[(&str, &str)], used: &[&str]| {
            plan(prefix, reserved, used).next().map(|a| a.to_string())
        };
        assert_eq!(next("10.0.0.0/29", &[], &[]).as_deref(), Some("10.0.0.1"));
        assert_eq!(
            next("10.0.0.0/29", &[("10.0.0.0", "10.0.0.3")], &["10.0.0.4"]).as_deref(),
            Some("10.0.0.5")
        );
        assert_eq!(next("10.0.0.0/30", &[], &["10.0.0.1", "10.0.0.2"]), None);
        assert_eq!(next("10.0.0.0/31", &[], &[]).as_deref(), Some("10.0.0.0"));
        assert_eq!(
            next(
                "2001:db8::/64",
                &[("2001:db8::", "2001:db8::ffff:ffff")],
                &[]
            )
            .as_deref(),
            Some("2001:db8::1:0:0")
        );
        assert_eq!(
            next(
                "255.255.255.254/31",
                &[],
                &["255.255.255.254", "255.255.255.255"]
            ),
            None
        );
    }

    #[test]
    fn an_address_is_refused_for_its_reason() {
        let plan = plan("10.0.0.0/24", &[("10.0.0.1", "10.0.0.9")], &[]);
        let why = |text: &str| plan.unfit(text.parse().expect("an address"));
        assert_eq!(why("10.0.1.1"), Some(Unfit::Outside));
        assert_eq!(why("10.0.0.255"), Some(Unfit::Special));
        assert_eq!(why("10.0.0.9"), Some(Unfit::Reserved));
        assert_eq!(why("10.0.0.10"), None);
        assert_eq!(plan.capacity(), 245);
    }
}
