//! The head of an Ethernet frame: addresses, VLAN, Internet protocol.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// VLAN tags of one frame that are read.
const TAGS_MAX: usize = 4;

/// An Ethernet address.
pub type Mac = [u8; 6];

/// What the head of a frame says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// To whom.
    pub to: Mac,
    /// From whom.
    pub from: Mac,
    /// The outer VLAN; 0: untagged.
    pub vlan: u16,
    /// EtherType of what it carries.
    pub ether_type: u16,
    /// Source and destination, if it carries the Internet protocol.
    pub addresses: Option<(IpAddr, IpAddr)>,
}

impl Packet {
    /// 4, 6, or 0 for something else.
    pub const fn ip_version(&self) -> u8 {
        match self.ether_type {
            0x0800 => 4,
            0x86dd => 6,
            _ => 0,
        }
    }

    /// Whether it goes to many.
    pub const fn is_multicast(&self) -> bool {
        self.to[0] & 1 == 1
    }

    /// Reads the first octets of a frame; none when they are too few for its
    /// addresses. What is cut off later is left out.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (to, rest) = bytes.split_first_chunk::<6>()?;
        let (from, rest) = rest.split_first_chunk::<6>()?;
        let (kind, mut rest) = rest.split_first_chunk::<2>()?;
        let mut packet = Self {
            to: *to,
            from: *from,
            vlan: 0,
            ether_type: u16::from_be_bytes(*kind),
            addresses: None,
        };
        for depth in 0..TAGS_MAX {
            // 802.1Q, 802.1ad and the older number for the outer tag.
            if !matches!(packet.ether_type, 0x8100 | 0x88a8 | 0x9100) {
                break;
            }
            let Some((tag, after)) = rest.split_first_chunk::<2>() else {
                return Some(packet);
            };
            let Some((kind, after)) = after.split_first_chunk::<2>() else {
                return Some(packet);
            };
            if depth == 0 {
                packet.vlan = u16::from_be_bytes(*tag) & 0x0fff;
            }
            packet.ether_type = u16::from_be_bytes(*kind);
            rest = after;
        }
        packet.addresses = match packet.ether_type {
            0x0800 => v4(rest),
            0x86dd => v6(rest),
            _ => None,
        };
        Some(packet)
    }
}

fn v4(bytes: &[u8]) -> Option<(IpAddr, IpAddr)> {
    let head = bytes.first_chunk::<20>()?;
    if head[0] >> 4 != 4 {
        return None;
    }
    let address = |at: usize| Ipv4Addr::new(head[at], head[at + 1], head[at + 2], head[at + 3]);
    Some((address(12).into(), address(16).into()))
}

fn v6(bytes: &[u8]) -> Option<(IpAddr, IpAddr)> {
    let head = bytes.first_chunk::<40>()?;
    if head[0] >> 4 != 6 {
        return None;
    }
    let address = |at: usize| {
        let bits = head[at..at + 16]
            .iter()
            .fold(0, |sum, byte| sum << 8 | u128::from(*byte));
        IpAddr::V6(Ipv6Addr::from_bits(bits))
    };
    Some((address(8), address(24)))
}

/// `02:00:00:00:00:01`, also with hyphens or in three groups with dots.
pub fn parse_mac(text: &str) -> Option<Mac> {
    let digits: String = text
        .chars()
        .filter(|c| !matches!(c, ':' | '-' | '.'))
        .collect();
    if !digits.is_ascii() {
        return None;
    }
    hex::decode(digits).ok()?.try_into().ok()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A frame with an IPv4 or IPv6 head in `tags` VLANs.
    pub(crate) fn frame(to: Mac, from: Mac, tags: &[u16], ip_version: u8) -> Vec<u8> {
        let mut bytes = [to, from].concat();
        for tag in tags {
            bytes.extend_from_slice(&[0x81, 0x00]);
            bytes.extend_from_slice(&tag.to_be_bytes());
        }
        match ip_version {
            4 => {
                bytes.extend_from_slice(&[0x08, 0x00, 0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0]);
                bytes.extend_from_slice(&[192, 0, 2, 1, 198, 51, 100, 2]);
            }
            6 => {
                bytes.extend_from_slice(&[0x86, 0xdd, 0x60, 0, 0, 0, 0, 0, 6, 64]);
                bytes.extend_from_slice(&[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
                bytes.extend_from_slice(&[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
            }
            _ => bytes.extend_from_slice(&[0x08, 0x06, 0, 1]),
        }
        bytes
    }

    #[test]
    fn frames_are_read_through_their_tags() {
        let (to, from) = ([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
        let plain = Packet::decode(&frame(to, from, &[], 4)).expect("reads");
        assert_eq!((plain.to, plain.from, plain.vlan), (to, from, 0));
        let [source, target] = ["192.0.2.1", "198.51.100.2"].map(|a| a.parse().expect("one"));
        assert_eq!(plain.addresses, Some((source, target)));
        let tagged = Packet::decode(&frame(to, from, &[0x200a, 20], 6)).expect("reads");
        assert_eq!((tagged.vlan, tagged.ip_version()), (10, 6));
        assert_eq!(
            tagged.addresses.map(|(_, to)| to.to_string()).as_deref(),
            Some("2001:db8::2")
        );
        let arp = Packet::decode(&frame([0xff; 6], from, &[], 0)).expect("reads");
        assert!(arp.is_multicast());
        assert_eq!((arp.ip_version(), arp.addresses), (0, None));
    }

    #[test]
    fn every_cut_of_a_frame_reads_or_does_not() {
        for (tags, version) in [(&[][..], 4), (&[1, 2][..], 6), (&[9; 6][..], 4)] {
            let whole = frame([1; 6], [2; 6], tags, version);
            for cut in 0..=whole.len() {
                assert_eq!(Packet::decode(&whole[..cut]).is_some(), cut >= 14);
            }
        }
    }

    #[test]
    fn macs_are_read_in_every_usual_spelling() {
        for text in ["02:00:5e:10:00:ff", "02-00-5E-10-00-FF", "0200.5e10.00ff"] {
            assert_eq!(parse_mac(text), Some([2, 0, 0x5e, 0x10, 0, 0xff]), "{text}");
        }
        for text in ["", "02:00", "02:00:5e:10:00:zz", "é2:00:5e:10:00:ff"] {
            assert_eq!(parse_mac(text), None, "{text}");
        }
    }
}
