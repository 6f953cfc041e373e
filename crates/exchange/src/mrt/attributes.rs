//! BGP path attributes as MRT carries them (RFC 4271 section 4.3, RFC 6396 section 4.3.4).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use base::Prefix;

use super::record::Cursor;
use crate::community::LargeCommunity;

/// AS numbers of one path; longer ones are refused.
pub const PATH_ASNS_MAX: usize = 4_096;

/// A part of a path.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Segment {
    /// In order, nearest first.
    Sequence(Vec<u32>),
    /// Aggregated, in no order.
    Set(Vec<u32>),
}

impl Segment {
    /// Its AS numbers.
    pub fn asns(&self) -> &[u32] {
        match self {
            Self::Sequence(asns) | Self::Set(asns) => asns,
        }
    }
}

/// An AS path.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct AsPath(pub Vec<Segment>);

impl AsPath {
    /// A path without sets.
    pub fn sequence(asns: Vec<u32>) -> Self {
        match asns.is_empty() {
            true => Self::default(),
            false => Self(vec![Segment::Sequence(asns)]),
        }
    }

    /// All AS numbers, in the order in which they are written.
    pub fn asns(&self) -> impl Iterator<Item = u32> + '_ {
        self.0
            .iter()
            .flat_map(|segment| segment.asns().iter().copied())
    }

    /// The origin for origin validation (RFC 6811): `None` when the path is empty or ends in a set.
    pub fn origin(&self) -> Option<u32> {
        match self.0.last()? {
            Segment::Sequence(asns) => asns.last().copied(),
            Segment::Set(_) => None,
        }
    }

    /// Length as BGP counts it: a set is one.
    pub fn length(&self) -> usize {
        self.0
            .iter()
            .map(|segment| match segment {
                Segment::Sequence(asns) => asns.len(),
                Segment::Set(_) => 1,
            })
            .sum()
    }

    /// This path of two-octet numbers with what AS4_PATH says of its end (RFC 6793 section 4.2.3).
    fn merged(self, four: Self) -> Self {
        let (have, better) = (self.length(), four.length());
        if four.0.is_empty() || better > have {
            return self;
        }
        let mut lead = have - better;
        let mut merged = Vec::new();
        for segment in self.0 {
            if lead == 0 {
                break;
            }
            match segment {
                Segment::Sequence(mut asns) => {
                    asns.truncate(lead);
                    lead -= asns.len();
                    merged.push(Segment::Sequence(asns));
                }
                set => {
                    lead -= 1;
                    merged.push(set);
                }
            }
        }
        for segment in four.0 {
            match (merged.last_mut(), segment) {
                (Some(Segment::Sequence(before)), Segment::Sequence(asns)) => before.extend(asns),
                (_, segment) => merged.push(segment),
            }
        }
        Self(merged)
    }
}

impl fmt::Display for AsPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut first = true;
        for segment in &self.0 {
            if !std::mem::take(&mut first) {
                f.write_str(" ")?;
            }
            let text: Vec<String> = segment.asns().iter().map(u32::to_string).collect();
            match segment {
                Segment::Sequence(_) => f.write_str(&text.join(" "))?,
                Segment::Set(_) => write!(f, "{{{}}}", text.join(" "))?,
            }
        }
        Ok(())
    }
}

/// The attributes that are kept of a route.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Attributes {
    /// ORIGIN: 0 IGP, 1 EGP, 2 incomplete.
    pub origin: Option<u8>,
    /// AS_PATH, with AS4_PATH folded in.
    pub path: AsPath,
    /// NEXT_HOP, or that of MP_REACH_NLRI.
    pub next_hop: Option<IpAddr>,
    /// MULTI_EXIT_DISC.
    pub med: Option<u32>,
    /// LOCAL_PREF.
    pub local_pref: Option<u32>,
    /// COMMUNITIES (RFC 1997), both halves in one number.
    pub communities: Vec<u32>,
    /// LARGE_COMMUNITY (RFC 8092).
    pub large: Vec<LargeCommunity>,
    /// EXTENDED COMMUNITIES (RFC 4360), as eight bytes each.
    pub extended: Vec<u64>,
}

/// How attributes are written in a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Style {
    /// AS numbers have four bytes.
    pub(crate) four_octets: bool,
    /// Prefixes carry a path id (RFC 7911).
    pub(crate) add_path: bool,
    /// MP_REACH_NLRI may hold the next hop alone (RFC 6396 section 4.3.4).
    pub(crate) short_reach: bool,
}

/// A prefix with its path id, if it has one.
pub type Nlri = (Option<u32>, Prefix);

/// Attributes and the prefixes that the multiprotocol ones bring.
#[derive(Debug, Default)]
pub(crate) struct Parsed {
    pub(crate) attributes: Attributes,
    pub(crate) reached: Vec<Nlri>,
    pub(crate) unreached: Vec<Nlri>,
}

/// Reads attributes to the end of `cursor`.
pub(crate) fn parse(mut cursor: Cursor<'_>, style: Style) -> Result<Parsed, String> {
    let mut parsed = Parsed::default();
    let mut four: Option<AsPath> = None;
    while !cursor.is_empty() {
        let flags = cursor.u8("attribute flags")?;
        let kind = cursor.u8("attribute type")?;
        let length = match flags & 0x10 {
            0 => usize::from(cursor.u8("attribute length")?),
            _ => usize::from(cursor.u16("attribute length")?),
        };
        let mut body = cursor.part(length, "attribute")?;
        let kept = &mut parsed.attributes;
        match kind {
            1 => kept.origin = Some(body.u8("ORIGIN")?),
            2 => kept.path = path(body, style.four_octets)?,
            3 => kept.next_hop = Some(IpAddr::V4(Ipv4Addr::from(body.u32("NEXT_HOP")?))),
            4 => kept.med = Some(body.u32("MULTI_EXIT_DISC")?),
            5 => kept.local_pref = Some(body.u32("LOCAL_PREF")?),
            8 => {
                while !body.is_empty() {
                    kept.communities.push(body.u32("COMMUNITIES")?);
                }
            }
            14 => reach(body, style, &mut parsed)?,
            15 => {
                let afi = body.u16("MP_UNREACH_NLRI")?;
                if unicast(afi, body.u8("MP_UNREACH_NLRI")?) {
                    parsed.unreached = prefixes(body, afi, style.add_path)?;
                }
            }
            16 => {
                while !body.is_empty() {
                    let high = u64::from(body.u32("EXTENDED COMMUNITIES")?);
                    let low = u64::from(body.u32("EXTENDED COMMUNITIES")?);
                    kept.extended.push(high << 32 | low);
                }
            }
            17 => four = Some(path(body, true)?),
            32 => {
                while !body.is_empty() {
                    let mut part = || body.u32("LARGE_COMMUNITY");
                    kept.large.push(LargeCommunity(part()?, part()?, part()?));
                }
            }
            _ => {}
        }
    }
    if let (Some(four), false) = (four, style.four_octets) {
        let two = std::mem::take(&mut parsed.attributes.path);
        parsed.attributes.path = two.merged(four);
    }
    Ok(parsed)
}

fn unicast(afi: u16, safi: u8) -> bool {
    matches!(afi, 1 | 2) && matches!(safi, 1 | 2)
}

fn path(mut body: Cursor<'_>, four_octets: bool) -> Result<AsPath, String> {
    let mut segments = Vec::new();
    let mut all = 0;
    while !body.is_empty() {
        let kind = body.u8("AS_PATH")?;
        let count = usize::from(body.u8("AS_PATH")?);
        all += count;
        if all > PATH_ASNS_MAX {
            return Err(format!("an AS path of more than {PATH_ASNS_MAX} numbers"));
        }
        let mut asns = Vec::with_capacity(count);
        for _ in 0..count {
            asns.push(match four_octets {
                true => body.u32("AS_PATH")?,
                false => u32::from(body.u16("AS_PATH")?),
            });
        }
        match kind {
            1 => segments.push(Segment::Set(asns)),
            2 => match segments.last_mut() {
                // Paths of over 255 numbers are written in several segments.
                Some(Segment::Sequence(before)) => before.extend(asns),
                _ => segments.push(Segment::Sequence(asns)),
            },
            // Within a confederation (RFC 5065): not part of the path outside.
            3 | 4 => {}
            _ => return Err(format!("an AS path segment of type {kind}: must be 1 to 4")),
        }
    }
    Ok(AsPath(segments))
}

fn reach(mut body: Cursor<'_>, style: Style, parsed: &mut Parsed) -> Result<(), String> {
    const WHAT: &str = "MP_REACH_NLRI";
    // A full attribute begins with the address family's high byte, which is 0.
    if style.short_reach && body.peek() != Some(0) {
        let length = usize::from(body.u8(WHAT)?);
        parsed.attributes.next_hop = next_hop(body.part(length, WHAT)?)?;
        return Ok(());
    }
    let afi = body.u16(WHAT)?;
    let safi = body.u8(WHAT)?;
    let length = usize::from(body.u8(WHAT)?);
    let hop = body.part(length, WHAT)?;
    if !unicast(afi, safi) {
        return Ok(());
    }
    parsed.attributes.next_hop = next_hop(hop)?;
    body.u8(WHAT)?;
    parsed.reached = prefixes(body, afi, style.add_path)?;
    Ok(())
}

fn next_hop(mut hop: Cursor<'_>) -> Result<Option<IpAddr>, String> {
    match hop.len() {
        0 => Ok(None),
        4 => Ok(Some(IpAddr::V4(Ipv4Addr::from(hop.u32("next hop")?)))),
        // With a link-local address behind the global one (RFC 2545).
        16 | 32 => Ok(Some(IpAddr::V6(Ipv6Addr::from(hop.u128("next hop")?)))),
        length => Err(format!("a next hop of {length} bytes: must be 4, 16 or 32")),
    }
}

/// Prefixes to the end of `body`.
pub(crate) fn prefixes(
    mut body: Cursor<'_>,
    afi: u16,
    add_path: bool,
) -> Result<Vec<Nlri>, String> {
    let mut all = Vec::new();
    while !body.is_empty() {
        let id = match add_path {
            true => Some(body.u32("path id")?),
            false => None,
        };
        all.push((id, prefix(&mut body, afi)?));
    }
    Ok(all)
}

/// One prefix: length in bits, then as many bytes as that needs.
pub(crate) fn prefix(body: &mut Cursor<'_>, afi: u16) -> Result<Prefix, String> {
    let length = body.u8("prefix length")?;
    let most = if afi == 1 { 32 } else { 128 };
    if length > most {
        return Err(format!("a prefix length of {length}: at most {most}"));
    }
    let mut part = body.part(usize::from(length).div_ceil(8), "prefix")?;
    let mut bytes = [0u8; 16];
    for byte in &mut bytes {
        if part.is_empty() {
            break;
        }
        *byte = part.u8("prefix")?;
    }
    let address = match afi {
        1 => IpAddr::V4(Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3])),
        _ => IpAddr::V6(Ipv6Addr::from(bytes)),
    };
    Prefix::new(address, length).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn style() -> Style {
        Style {
            four_octets: false,
            add_path: false,
            short_reach: false,
        }
    }

    #[test]
    fn four_octet_numbers_replace_the_end_of_the_path() {
        // AS_PATH 64496 23456 23456, AS4_PATH 131072 131073.
        let bytes =
            hex::decode("4002080203fbf05ba05ba0c0110a020200020000 00020001".replace(' ', ""))
                .expect("hex");
        let parsed = parse(Cursor::new(&bytes), style()).expect("read");
        assert_eq!(parsed.attributes.path.to_string(), "64496 131072 131073");
        assert_eq!(parsed.attributes.path.origin(), Some(131_073));
    }

    #[test]
    fn a_path_that_ends_in_a_set_has_no_origin() {
        let path = AsPath(vec![
            Segment::Sequence(vec![1, 2]),
            Segment::Set(vec![3, 4]),
        ]);
        assert_eq!(
            (path.origin(), path.length(), path.to_string()),
            (None, 3, "1 2 {3 4}".to_owned())
        );
        assert_eq!(AsPath::default().origin(), None);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let tell = |text: &str| {
            parse(Cursor::new(&hex::decode(text).expect("hex")), style()).expect_err("wrong")
        };
        assert_eq!(
            tell("400206020afbf0"),
            "attribute is cut short: 6 bytes wanted, 4 left"
        );
        assert_eq!(
            tell("400204090 1fbf0".replace(' ', "").as_str()),
            "an AS path segment of type 9: must be 1 to 4"
        );
    }
}
