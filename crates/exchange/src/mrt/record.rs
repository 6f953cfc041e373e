//! What is in a record: TABLE_DUMP, TABLE_DUMP_V2 and BGP4MP (RFC 6396), with add-path (RFC 8050).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use base::Prefix;

use super::Head;
use super::attributes::{self, Attributes, Nlri, Style};

const TABLE_DUMP: u16 = 12;
const TABLE_DUMP_V2: u16 = 13;
const BGP4MP: u16 = 16;
const BGP4MP_ET: u16 = 17;

/// A BGP session's other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Peer {
    /// Its address.
    pub address: IpAddr,
    /// Its AS number.
    pub asn: u32,
}

/// One route of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The prefix.
    pub prefix: Prefix,
    /// The path id, when several routes of one peer are told (RFC 7911).
    pub path_id: Option<u32>,
    /// Who told it.
    pub peer: Peer,
    /// Since when, in Unix seconds.
    pub since_s: u32,
    /// Its attributes.
    pub attributes: Attributes,
}

/// What an UPDATE message says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update {
    /// Who sent it.
    pub peer: Peer,
    /// When, in Unix seconds.
    pub time_s: u32,
    /// Prefixes taken back.
    pub withdrawn: Vec<Nlri>,
    /// Prefixes announced.
    pub announced: Vec<Nlri>,
    /// The attributes of those announced.
    pub attributes: Attributes,
}

/// What a record tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A route of a table.
    Route(Entry),
    /// A message of a session.
    Update(Update),
    /// A session changed its state (RFC 4271 section 8.2.2): from, to.
    State(Peer, u16, u16),
}

/// Bytes that are taken from the front; asking for more than there is is an error that says what for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    pub(crate) fn part(&mut self, length: usize, what: &str) -> Result<Self, String> {
        match self.0.split_at_checked(length) {
            Some((part, rest)) => {
                self.0 = rest;
                Ok(Self(part))
            }
            None => Err(format!(
                "{what} is cut short: {length} bytes wanted, {} left",
                self.0.len()
            )),
        }
    }

    fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], String> {
        let part = self.part(N, what)?.0;
        part.try_into().map_err(|_| format!("{what} is cut short"))
    }

    pub(crate) fn u8(&mut self, what: &str) -> Result<u8, String> {
        self.array::<1>(what).map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self, what: &str) -> Result<u16, String> {
        self.array(what).map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self, what: &str) -> Result<u32, String> {
        self.array(what).map(u32::from_be_bytes)
    }

    pub(crate) fn u128(&mut self, what: &str) -> Result<u128, String> {
        self.array(what).map(u128::from_be_bytes)
    }

    fn address(&mut self, v6: bool, what: &str) -> Result<IpAddr, String> {
        Ok(match v6 {
            true => IpAddr::V6(Ipv6Addr::from(self.u128(what)?)),
            false => IpAddr::V4(Ipv4Addr::from(self.u32(what)?)),
        })
    }
}

/// Bytes that the last entry of a TABLE_DUMP record lacks, when they are the four that the writers of old
/// tables forgot to count; otherwise 0.
pub(super) fn missing(head: Head, body: &[u8]) -> usize {
    if head.kind != TABLE_DUMP || !matches!(head.subtype, 1 | 2) {
        return 0;
    }
    let fixed = if head.subtype == 2 { 40 } else { 16 };
    let mut at = 4;
    let mut entries = 0;
    while at < body.len() {
        let length_at = at + fixed;
        let Some([high, low]) = body.get(length_at..length_at + 2) else {
            return 0;
        };
        at = length_at + 2 + usize::from(u16::from_be_bytes([*high, *low]));
        entries += 1;
    }
    // Just four more complete the last entry, and there are several: never so in a table of today.
    if entries > 1 && at == body.len() + 4 {
        4
    } else {
        0
    }
}

/// Tells `each` what is in the record.
pub(super) fn read(
    head: Head,
    body: &[u8],
    peers: &mut Vec<Peer>,
    each: &mut dyn FnMut(Event),
) -> Result<(), String> {
    let body = Cursor::new(body);
    match (head.kind, head.subtype) {
        (TABLE_DUMP, 1 | 2) => table_dump(body, head.subtype == 2, each),
        (TABLE_DUMP_V2, 1) => peer_table(body, peers),
        (TABLE_DUMP_V2, 2 | 3) => rib(body, 1, false, peers, each),
        (TABLE_DUMP_V2, 4 | 5) => rib(body, 2, false, peers, each),
        (TABLE_DUMP_V2, 8 | 9) => rib(body, 1, true, peers, each),
        (TABLE_DUMP_V2, 10 | 11) => rib(body, 2, true, peers, each),
        (BGP4MP, subtype) => message(head, body, subtype, each),
        (BGP4MP_ET, subtype) => {
            let mut body = body;
            body.u32("microseconds")?;
            message(head, body, subtype, each)
        }
        // Other protocols and generic tables: nothing that is shown here.
        _ => Ok(()),
    }
}

fn table_dump(mut body: Cursor<'_>, v6: bool, each: &mut dyn FnMut(Event)) -> Result<(), String> {
    body.u16("view")?;
    body.u16("sequence number")?;
    let style = Style {
        four_octets: false,
        add_path: false,
        short_reach: true,
    };
    while !body.is_empty() {
        let address = body.address(v6, "prefix")?;
        let length = body.u8("prefix length")?;
        body.u8("status")?;
        let since_s = body.u32("time")?;
        let peer = Peer {
            address: body.address(v6, "peer address")?,
            asn: u32::from(body.u16("peer AS")?),
        };
        let length_bytes = usize::from(body.u16("attribute length")?);
        let attributes = body.part(length_bytes, "attributes")?;
        let prefix = Prefix::new(address, length).map_err(|error| error.to_string())?;
        let parsed = attributes::parse(attributes, style)?;
        each(Event::Route(Entry {
            prefix,
            path_id: None,
            peer,
            since_s,
            attributes: parsed.attributes,
        }));
    }
    Ok(())
}

fn peer_table(mut body: Cursor<'_>, peers: &mut Vec<Peer>) -> Result<(), String> {
    body.u32("collector")?;
    let name = usize::from(body.u16("view name length")?);
    body.part(name, "view name")?;
    let count = usize::from(body.u16("peer count")?);
    let mut read = Vec::with_capacity(count);
    for _ in 0..count {
        let kind = body.u8("peer type")?;
        body.u32("peer id")?;
        let address = body.address(kind & 1 == 1, "peer address")?;
        let asn = match kind & 2 {
            0 => u32::from(body.u16("peer AS")?),
            _ => body.u32("peer AS")?,
        };
        read.push(Peer { address, asn });
    }
    *peers = read;
    Ok(())
}

fn rib(
    mut body: Cursor<'_>,
    afi: u16,
    add_path: bool,
    peers: &[Peer],
    each: &mut dyn FnMut(Event),
) -> Result<(), String> {
    body.u32("sequence number")?;
    let prefix = attributes::prefix(&mut body, afi)?;
    let count = body.u16("entry count")?;
    let style = Style {
        four_octets: true,
        add_path: false,
        short_reach: true,
    };
    for _ in 0..count {
        let index = body.u16("peer index")?;
        let since_s = body.u32("time")?;
        let path_id = match add_path {
            true => Some(body.u32("path id")?),
            false => None,
        };
        let length = usize::from(body.u16("attribute length")?);
        let attributes = body.part(length, "attributes")?;
        let peer = *peers.get(usize::from(index)).ok_or_else(|| {
            format!(
                "peer index {index}: the peer table has {} entries",
                peers.len()
            )
        })?;
        let parsed = attributes::parse(attributes, style)?;
        each(Event::Route(Entry {
            prefix,
            path_id,
            peer,
            since_s,
            attributes: parsed.attributes,
        }));
    }
    Ok(())
}

fn message(
    head: Head,
    mut body: Cursor<'_>,
    subtype: u16,
    each: &mut dyn FnMut(Event),
) -> Result<(), String> {
    let four_octets = matches!(subtype, 4 | 5 | 7 | 9 | 11);
    if subtype > 11 || matches!(subtype, 2 | 3) {
        return Ok(());
    }
    let mut asn = |what| match four_octets {
        true => body.u32(what),
        false => body.u16(what).map(u32::from),
    };
    let peer_asn = asn("peer AS")?;
    asn("local AS")?;
    body.u16("interface")?;
    let v6 = match body.u16("address family")? {
        1 => false,
        2 => true,
        other => return Err(format!("address family {other}: must be 1 or 2")),
    };
    let peer = Peer {
        address: body.address(v6, "peer address")?,
        asn: peer_asn,
    };
    body.address(v6, "local address")?;
    if matches!(subtype, 0 | 5) {
        each(Event::State(
            peer,
            body.u16("old state")?,
            body.u16("new state")?,
        ));
        return Ok(());
    }
    body.part(16, "marker")?;
    let length = usize::from(body.u16("message length")?);
    let kind = body.u8("message type")?;
    let rest = length
        .checked_sub(19)
        .ok_or_else(|| format!("message length {length}: at least 19"))?;
    let mut update = body.part(rest, "message")?;
    if kind != 2 {
        return Ok(());
    }
    let add_path = subtype >= 8;
    let withdrawn_bytes = usize::from(update.u16("withdrawn length")?);
    let mut withdrawn = attributes::prefixes(
        update.part(withdrawn_bytes, "withdrawn prefixes")?,
        1,
        add_path,
    )?;
    let attribute_bytes = usize::from(update.u16("attribute length")?);
    let style = Style {
        four_octets,
        add_path,
        short_reach: false,
    };
    let parsed = attributes::parse(update.part(attribute_bytes, "attributes")?, style)?;
    let mut announced = attributes::prefixes(update, 1, add_path)?;
    withdrawn.extend(parsed.unreached);
    announced.extend(parsed.reached);
    each(Event::Update(Update {
        peer,
        time_s: head.time_s,
        withdrawn,
        announced,
        attributes: parsed.attributes,
    }));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mrt::{Reader, read_all};

    fn record(kind: u16, subtype: u16, body: &str, short_by: usize) -> Vec<u8> {
        let body = hex::decode(body.replace(' ', "")).expect("hex");
        let mut bytes = 1_000_000_000u32.to_be_bytes().to_vec();
        bytes.extend(kind.to_be_bytes());
        bytes.extend(subtype.to_be_bytes());
        bytes.extend(((body.len() - short_by) as u32).to_be_bytes());
        bytes.extend(body);
        bytes
    }

    fn events(bytes: &[u8]) -> (Vec<Event>, u64) {
        let mut all = Vec::new();
        let wrong =
            read_all(&mut Reader::new(bytes), &mut |event| all.push(event)).expect("frames");
        (all, wrong.count)
    }

    const PEERS: &str = "c0000201 0000 0002 00 0a000001 0a000001 fbf0 03 0a000002 20010db8000000000000000000000001 00020000";

    fn samples() -> Vec<Vec<u8>> {
        vec![
            record(13, 1, PEERS, 0),
            // 192.0.2.0/24 by the first peer: ORIGIN, AS_PATH 64496, COMMUNITIES 64496:1.
            record(
                13,
                2,
                "00000000 18 c00002 0001 0000 3b9aca00 0014 40010100 40020602010000fbf0 c00804fbf00001",
                0,
            ),
            // The same with a path id, by the second.
            record(
                13,
                8,
                "00000000 18 c00002 0001 0001 3b9aca00 00000007 000d 40010100 40020602010000fbf0",
                0,
            ),
            // 2001:db8::/32, next hop alone in MP_REACH_NLRI.
            record(
                13,
                4,
                "00000000 20 20010db8 0001 0001 3b9aca00 0021 40010100 40020602 0100020000 800e11 10 20010db8000000000000000000000009",
                0,
            ),
            // UPDATE: 198.51.100.0/24 withdrawn, 203.0.113.0/24 announced.
            record(
                16,
                4,
                "0000fbf0 0000fbf1 0000 0001 0a000001 0a000002 ffffffffffffffffffffffffffffffff 002c 02 0004 18c63364 000d 40010100 40020602010000fbf0 18cb0071",
                0,
            ),
            record(
                16,
                5,
                "0000fbf0 0000fbf1 0000 0001 0a000001 0a000002 0006 0001",
                0,
            ),
            // Two entries, four bytes longer than the header says.
            record(
                12,
                1,
                "0000 0000 c0000200 18 01 3b9aca00 0a000001 fbf0 000b 40010100 4002040201fbf0 c6336400 18 01 3b9aca00 0a000001 fbf0 000b 40010100 4002040201fbf1",
                4,
            ),
        ]
    }

    #[test]
    fn each_kind_of_record() {
        let (all, wrong) = events(&samples().concat());
        assert_eq!(wrong, 0, "{all:?}");
        let shown: Vec<String> = all
            .iter()
            .map(|event| match event {
                Event::Route(entry) => format!(
                    "{} {:?} AS{} [{}] {:?}",
                    entry.prefix,
                    entry.path_id,
                    entry.peer.asn,
                    entry.attributes.path,
                    entry.attributes.next_hop
                ),
                Event::Update(update) => {
                    format!("-{:?} +{:?}", update.withdrawn.len(), update.announced)
                }
                Event::State(peer, from, to) => format!("AS{} {from}>{to}", peer.asn),
            })
            .collect();
        assert_eq!(
            shown,
            [
                "192.0.2.0/24 None AS64496 [64496] None",
                "192.0.2.0/24 Some(7) AS131072 [64496] None",
                "2001:db8::/32 None AS131072 [131072] Some(2001:db8::9)",
                "-1 +[(None, Prefix { address: 203.0.113.0, length: 24 })]",
                "AS64496 6>1",
                "192.0.2.0/24 None AS64496 [64496] None",
                "198.51.100.0/24 None AS64496 [64497] None",
            ]
        );
        let Event::Route(first) = &all[0] else {
            panic!("a route")
        };
        assert_eq!(first.attributes.communities, [0xfbf0_0001]);
    }

    #[test]
    fn a_wrong_record_is_skipped_and_a_cut_one_ends() {
        let mut bytes = record(13, 2, "00000000 18 c00002 0001 0009 3b9aca00 0000", 0);
        bytes.extend(samples().concat());
        let (all, wrong) = events(&bytes);
        assert_eq!((all.len(), wrong), (7, 1));
        let cut = &samples().concat()[..100];
        let error = read_all(&mut Reader::new(cut), &mut |_| {}).expect_err("cut");
        assert!(
            error
                .to_string()
                .starts_with("could not read the record at byte"),
            "{error}"
        );
        let long = [0, 0, 0, 0, 0, 13, 0, 2, 255, 255, 255, 255];
        assert!(read_all(&mut Reader::new(&long[..]), &mut |_| {}).is_err());
    }

    #[test]
    fn two_hundred_thousand_mutations_do_not_panic() {
        let mut seed = crate::testing::Lcg(5);
        let good = samples();
        let first = good[0].clone();
        for round in 0..200_000 {
            let mut bytes = first.clone();
            bytes.extend(crate::testing::mutate(&mut seed, &good[round % good.len()]));
            read_all(&mut Reader::new(&bytes[..]), &mut |_| {}).ok();
        }
    }
}
