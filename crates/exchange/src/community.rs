//! BGP communities with a meaning at the exchange: reasons of refusal, labels, and actions.
//!
//! Reasons and labels are large communities (RFC 8092) `RS-ASN:function:value`. The functions and the
//! values below 16 are those that IXP Manager uses, so that looking glasses made for it understand
//! them; what it has no number for begins at 16.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Second part of the large community that says why a route was refused.
pub const REASON_FUNCTION: u32 = 1101;
/// Second part of the large community that says what RPKI origin validation found.
pub const RPKI_FUNCTION: u32 = 1000;
/// Second part of the large community that says what the registries' data said.
pub const IRR_FUNCTION: u32 = 1001;
/// `RS-ASN:0:peer`: do not announce to this peer; peer 0 is everybody.
pub const NOT_TO_FUNCTION: u32 = 0;
/// `RS-ASN:1:peer`: announce to this peer, whatever else is said.
pub const TO_FUNCTION: u32 = 1;
/// `RS-ASN:101:peer` … `RS-ASN:103:peer`: prepend once, twice, three times towards this peer; 0 is everybody.
pub const PREPEND_FUNCTIONS: [u32; 3] = [101, 102, 103];
/// `RS-ASN:1200:0`: a flow rule that the exchange made from intelligence; taken away before it leaves.
pub const PROTECTION_FUNCTION: u32 = 1200;
/// BLACKHOLE (RFC 7999).
pub const BLACKHOLE: (u32, u32) = (65535, 666);
/// GRACEFUL_SHUTDOWN (RFC 8326).
pub const GRACEFUL_SHUTDOWN: (u32, u32) = (65535, 0);
/// NO_EXPORT (RFC 1997).
pub const NO_EXPORT: (u32, u32) = (65535, 65281);

/// The eight bytes of an extended community whose administrator `first` is an AS number or an IPv4
/// address (RFC 4360 section 3, RFC 5668); `None` when the numbers do not fit.
pub fn extended(subtype: u8, first: &str, second: &str) -> Option<u64> {
    let second: u32 = second.parse().ok()?;
    let subtype = u64::from(subtype) << 48;
    if let Ok(address) = first.parse::<std::net::Ipv4Addr>() {
        let second = u16::try_from(second).ok()?;
        return Some(
            0x01 << 56 | subtype | u64::from(u32::from(address)) << 16 | u64::from(second),
        );
    }
    let first: u32 = first.parse().ok()?;
    match (u16::try_from(first), u16::try_from(second)) {
        (Ok(first), _) => Some(subtype | u64::from(first) << 32 | u64::from(second)),
        (Err(_), Ok(second)) => {
            Some(0x02 << 56 | subtype | u64::from(first) << 16 | u64::from(second))
        }
        _ => None,
    }
}

/// A large community (RFC 8092).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LargeCommunity(pub u32, pub u32, pub u32);

impl fmt::Display for LargeCommunity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.0, self.1, self.2)
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $key:literal, $words:literal;)*) => {
        /// Why a route server refused a route: the third part of `RS-ASN:1101:N`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum Reason { $($(#[$doc])* $name = $number,)* }

        impl Reason {
            /// Every reason, in the order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// A name for texts' keys and for programs.
            pub fn key(self) -> &'static str {
                match self { $(Self::$name => $key,)* }
            }

            /// In English, for configurations, logs and the command line.
            pub fn words(self) -> &'static str {
                match self { $(Self::$name => $words,)* }
            }
        }
    };
}

reasons! {
    /// More specific than the exchange takes.
    PrefixTooLong = 1, "prefix-too-long", "the prefix is longer than the exchange accepts";
    /// Less specific than the exchange takes.
    PrefixTooShort = 2, "prefix-too-short", "the prefix is shorter than the exchange accepts";
    /// Special-purpose or unallocated address space (RFC 6890).
    BogonPrefix = 3, "bogon-prefix", "the prefix is private, reserved or unallocated address space";
    /// A reserved or private AS number in the path (RFC 7607, 6996, 5398).
    BogonAsn = 4, "bogon-asn", "the AS path holds a private or reserved AS number";
    /// The path has too many AS numbers.
    PathTooLong = 5, "path-too-long", "the AS path is longer than the exchange accepts";
    /// The path is empty.
    PathEmpty = 6, "path-empty", "the AS path is empty";
    /// The path does not begin with the peer's AS number (RFC 4271, 6.3).
    FirstAsNotPeer = 7, "first-as-not-peer", "the AS path does not begin with the member's AS number";
    /// The next hop is not one of the member's own routers.
    NextHopNotPeer = 8, "next-hop-not-peer", "the next hop is not a router of the member on this peering LAN";
    /// No route object covers the prefix.
    IrrPrefix = 9, "irr-prefix", "the prefix is not registered in the IRR for the member's AS set";
    /// The origin is not in the member's AS set.
    IrrOrigin = 10, "irr-origin", "the origin AS is not in the member's AS set in the IRR";
    /// A ROA covers the prefix and none fits (RFC 6811).
    RpkiInvalid = 13, "rpki-invalid", "RPKI origin validation says invalid";
    /// A network that is never reached through a route server is in the path.
    NeverViaRouteServer = 14, "never-via-route-server", "the AS path holds a network that never peers by route server";
    /// More communities than the exchange takes.
    TooManyCommunities = 15, "too-many-communities", "the route carries too many communities";
    /// The prefix of a peering LAN of the exchange.
    OwnLan = 16, "own-lan", "the prefix belongs to a peering LAN of the exchange";
    /// A blackhole (RFC 7999) for addresses that are not the member's, or not one host.
    BlackholeNotOwn = 17, "blackhole-not-own", "a blackhole must be a host route inside the member's registered address space";
}

impl Reason {
    /// The third part of the community.
    pub fn number(self) -> u32 {
        self as u32
    }

    /// The reason with this number.
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|reason| reason.number() == number)
    }

    /// The community that a route server of AS `asn` puts on a route refused for this reason.
    pub fn community(self, asn: u32) -> LargeCommunity {
        LargeCommunity(asn, REASON_FUNCTION, self.number())
    }

    /// The reasons among `communities` that a route server of AS `asn` gave, in their order.
    pub fn among(asn: u32, communities: &[LargeCommunity]) -> impl Iterator<Item = Self> + '_ {
        communities
            .iter()
            .filter(move |community| community.0 == asn && community.1 == REASON_FUNCTION)
            .filter_map(|community| Self::from_number(community.2))
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_and_communities_are_one_to_one() {
        for reason in Reason::ALL {
            let community = reason.community(64_999);
            let back: Vec<Reason> = Reason::among(64_999, &[community]).collect();
            assert_eq!(back, [*reason], "{community}");
            assert_eq!(
                Reason::among(64_998, &[community]).count(),
                0,
                "{community}"
            );
        }
        assert_eq!(Reason::from_number(12), None);
    }
}
