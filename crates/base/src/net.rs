//! Address prefixes (CIDR, RFC 4632 and RFC 4291).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An IPv4 or IPv6 prefix. The host bits are zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    address: IpAddr,
    length: u8,
}

/// Why a text or a pair is not a prefix.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{text:?} is not a prefix: {rule}")]
pub struct InvalidPrefix {
    text: String,
    rule: &'static str,
}

impl Prefix {
    /// The prefix of `length` bits that holds `address`; host bits are cleared.
    ///
    /// # Errors
    /// When `length` is over 32 (IPv4) or 128 (IPv6).
    pub fn new(address: IpAddr, length: u8) -> Result<Self, InvalidPrefix> {
        if length > width(address) {
            return Err(InvalidPrefix {
                text: format!("{address}/{length}"),
                rule: "the length must be at most 32 for IPv4 and 128 for IPv6",
            });
        }
        Ok(Self {
            address: mask(address, length),
            length,
        })
    }

    /// The prefix that holds just `address`.
    pub fn host(address: IpAddr) -> Self {
        Self {
            address,
            length: width(address),
        }
    }

    /// The first address of the prefix.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// The number of leading bits that are fixed.
    pub fn length(&self) -> u8 {
        self.length
    }

    /// Whether `address` lies in the prefix. Families never match each other;
    /// map IPv4-in-IPv6 with [`IpAddr::to_canonical`] before asking.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.address.is_ipv4() == address.is_ipv4() && mask(address, self.length) == self.address
    }

    /// Whether `other` lies wholly in this prefix.
    pub fn covers(&self, other: &Self) -> bool {
        self.length <= other.length && self.contains(other.address)
    }
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn mask(address: IpAddr, length: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let keep = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & keep))
        }
        IpAddr::V6(v6) => {
            let keep = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & keep))
        }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

/// Reads `address/length`; a bare address is a host prefix. Set host bits are an
/// error, because they are more often a slip than an intention.
impl FromStr for Prefix {
    type Err = InvalidPrefix;
    fn from_str(text: &str) -> Result<Self, InvalidPrefix> {
        let invalid = |rule| InvalidPrefix {
            text: text.chars().take(80).collect(),
            rule,
        };
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let address: IpAddr = address
            .parse()
            .map_err(|_| invalid("must be an IPv4 or IPv6 address and /length"))?;
        let Some(length) = length else {
            return Ok(Self::host(address));
        };
        let length: u8 = length
            .parse()
            .map_err(|_| invalid("the length must be a number of bits"))?;
        let prefix = Self::new(address, length)
            .map_err(|_| invalid("the length must be at most 32 for IPv4 and 128 for IPv6"))?;
        if prefix.address != address {
            return Err(invalid("bits beyond the length must be zero"));
        }
        Ok(prefix)
    }
}

impl Serialize for Prefix {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Prefix {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl schemars::JsonSchema for Prefix {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Prefix".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "description": "address/length, host bits zero", "examples": ["192.0.2.0/24", "2001:db8::/32"] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn host_bits_and_long_lengths_are_refused() {
        for bad in [
            "192.0.2.1/24",
            "192.0.2.0/33",
            "2001:db8::/129",
            "x/8",
            "192.0.2.0/",
            "/8",
            "",
        ] {
            assert!(bad.parse::<Prefix>().is_err(), "{bad}");
        }
    }

    #[test]
    fn families_do_not_match_each_other() {
        let all: Prefix = "0.0.0.0/0".parse().expect("a prefix");
        assert!(all.contains("203.0.113.9".parse().expect("an address")));
        assert!(!all.contains("::ffff:203.0.113.9".parse().expect("an address")));
    }

    proptest! {
        #[test]
        fn text_round_trips_and_contains_its_own_address(bits: u128, length in 0u8..=128) {
            let prefix = Prefix::new(IpAddr::V6(Ipv6Addr::from_bits(bits)), length).expect("in range");
            prop_assert!(prefix.contains(IpAddr::V6(Ipv6Addr::from_bits(bits))));
            prop_assert_eq!(prefix.to_string().parse::<Prefix>().expect("own text"), prefix);
        }
    }
}
