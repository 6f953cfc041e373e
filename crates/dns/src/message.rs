//! Reading queries (RFC 1035 section 4, RFC 6891, RFC 7871, RFC 7873): strictly, in
//! one pass, without allocation.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::kind::{Kind, flag, rcode};
use crate::name::{LABEL_BYTES_MAX, NAME_BYTES_MAX};

/// Bytes of a message header.
pub const HEADER_BYTES: usize = 12;
/// Option code of EDNS Client Subnet.
pub const OPTION_SUBNET: u16 = 8;
/// Option code of DNS cookies.
pub const OPTION_COOKIE: u16 = 10;
/// Records allowed in a query's additional section; more is an attack or a mistake.
pub const QUERY_ADDITIONAL_MAX: u16 = 8;
/// Questions and records stepped over to find the OPT record of a message that is not a
/// query that can be looked up; behind more it is not looked for.
const RECORDS_BEFORE_OPT_MAX: u32 = 64;

/// A query with one question.
#[derive(Debug, Clone)]
pub struct Query<'n> {
    /// The second word of the header.
    pub flags: u16,
    /// The question's name, lowered, with its final zero byte; the name as sent
    /// stands in the packet from byte 12 on and is as long.
    pub name: &'n LowerName,
    /// QTYPE.
    pub kind: Kind,
    /// QCLASS.
    pub class: u16,
    /// Where the question section ends in the packet.
    pub question_end: usize,
    /// What the OPT record said.
    pub edns: Option<Edns>,
}

/// A lowered wire name on the stack. Room for a QTYPE follows, see [`Query::key`].
#[derive(Clone)]
pub struct LowerName {
    bytes: [u8; NAME_BYTES_MAX + 1 + 2],
    length: usize,
}

impl Default for LowerName {
    #[inline]
    fn default() -> Self {
        Self {
            bytes: [0; NAME_BYTES_MAX + 3],
            length: 0,
        }
    }
}

impl LowerName {
    /// The wire form.
    #[inline]
    pub fn as_wire(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl std::fmt::Debug for LowerName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        crate::name::write_text(self.as_wire(), f)
    }
}

impl Query<'_> {
    /// Name and type in one run of bytes: the key of the table of ready answers.
    #[inline]
    pub fn key(&self) -> &[u8] {
        &self.name.bytes[..self.name.length + 2]
    }
}

/// What an OPT record says (RFC 6891 section 6.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edns {
    /// Bytes of the largest UDP message that the sender can take.
    pub udp_size: u16,
    /// EDNS version.
    pub version: u8,
    /// DNSSEC OK.
    pub dnssec_ok: bool,
    /// Client Subnet (RFC 7871).
    pub subnet: Option<Subnet>,
    /// Cookie (RFC 7873).
    pub cookie: Option<Cookie>,
}

impl Edns {
    /// What stands before the options: type, class, TTL and length of the OPT record.
    #[inline]
    const fn of_fixed(fixed: &[u8; 10]) -> Self {
        Self {
            udp_size: u16::from_be_bytes([fixed[2], fixed[3]]),
            version: fixed[5],
            dnssec_ok: fixed[6] & 0x80 != 0,
            subnet: None,
            cookie: None,
        }
    }
}

/// A Client Subnet option (RFC 7871 section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subnet {
    /// 1: IPv4, 2: IPv6, 0: none (only with a source length of 0).
    pub family: u16,
    /// SOURCE PREFIX-LENGTH.
    pub source: u8,
    /// The address, zero beyond the prefix; IPv4 in the first four bytes.
    pub address: [u8; 16],
}

impl Subnet {
    /// The client's network, unless the client withholds it (source length 0).
    #[inline]
    pub fn client(&self) -> Option<IpAddr> {
        if self.source == 0 {
            return None;
        }
        Some(self.ip())
    }

    /// The address as such.
    #[inline]
    pub fn ip(&self) -> IpAddr {
        let [a, b, c, d, ..] = self.address;
        if self.family == 2 {
            IpAddr::V6(Ipv6Addr::from(self.address))
        } else {
            IpAddr::V4(Ipv4Addr::new(a, b, c, d))
        }
    }

    /// Bytes of the address on the wire.
    #[inline]
    pub fn address_bytes(&self) -> usize {
        usize::from(self.source).div_ceil(8)
    }
}

/// A Cookie option (RFC 7873 section 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cookie {
    /// The client's part.
    pub client: [u8; 8],
    /// The server's part, as the client returns it.
    pub server: [u8; 32],
    /// How many bytes of `server` are there: 0, or 8 to 32.
    pub server_length: u8,
}

/// Why a packet is not a query that can be looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unreadable {
    /// Too short, or itself a response: nothing is sent, so that two servers never
    /// answer each other.
    Silent,
    /// Answered with this code, and with the question if that much could be read
    /// (where it ends), else with the header alone.
    Answer {
        /// The response code.
        rcode: u16,
        /// Where the question section ends, if it was read.
        question_end: Option<usize>,
    },
}

/// Reads a query; `name` gives room for its name.
///
/// # Errors
/// [`Unreadable`] says what to do with everything else. Nothing panics, and no
/// compression pointer is followed, since a question has nothing to point at.
#[inline]
pub fn read_query<'n>(packet: &[u8], name: &'n mut LowerName) -> Result<Query<'n>, Unreadable> {
    let Some(header) = packet.first_chunk::<HEADER_BYTES>() else {
        return Err(Unreadable::Silent);
    };
    let flags = u16::from_be_bytes([header[2], header[3]]);
    if flags & flag::QR != 0 {
        return Err(Unreadable::Silent);
    }
    let answer = |rcode, question_end| Unreadable::Answer {
        rcode,
        question_end,
    };
    if flags & flag::OPCODE != 0 {
        return Err(answer(rcode::NOTIMP, None));
    }
    // QDCOUNT 1, ANCOUNT 0.
    if header[4..8] != [0, 1, 0, 0] {
        return Err(answer(rcode::FORMERR, None));
    }
    let name_end = read_question_name(packet, name).ok_or_else(|| answer(rcode::FORMERR, None))?;
    let Some(&[k0, k1, c0, c1]) = packet[name_end..].first_chunk::<4>() else {
        return Err(answer(rcode::FORMERR, None));
    };
    name.bytes[name.length] = k0;
    name.bytes[name.length + 1] = k1;
    let question_end = name_end + 4;
    let mut query = Query {
        flags,
        name,
        kind: Kind(u16::from_be_bytes([k0, k1])),
        class: u16::from_be_bytes([c0, c1]),
        question_end,
        edns: None,
    };
    let authority = u16::from_be_bytes([header[8], header[9]]);
    let additional = u16::from_be_bytes([header[10], header[11]]);
    if authority != 0 {
        // The one query with an authority section is IXFR (RFC 1995 section 3).
        let code = if query.kind == Kind::IXFR {
            rcode::REFUSED
        } else {
            rcode::FORMERR
        };
        return Err(answer(code, Some(question_end)));
    }
    if additional == 0 {
        if packet.len() != question_end {
            return Err(answer(rcode::FORMERR, Some(question_end)));
        }
        return Ok(query);
    }
    read_additional(packet, additional, &mut query)
        .map_err(|rcode| answer(rcode, Some(question_end)))?;
    Ok(query)
}

/// Copies the question's name, lowered; returns where it ends in the packet.
#[inline]
fn read_question_name(packet: &[u8], name: &mut LowerName) -> Option<usize> {
    let rest = &packet[HEADER_BYTES..];
    let mut at = 0;
    loop {
        let length = usize::from(*rest.get(at)?);
        let next = at + 1 + length;
        if length > LABEL_BYTES_MAX || next > NAME_BYTES_MAX {
            return None;
        }
        let label = rest.get(at..next)?;
        for (to, from) in name.bytes[at..next].iter_mut().zip(label) {
            *to = from.to_ascii_lowercase();
        }
        at = next;
        if length == 0 {
            name.length = at;
            return Some(HEADER_BYTES + at);
        }
    }
}

/// Reads the additional section, which must end where the packet does.
#[inline]
fn read_additional(packet: &[u8], count: u16, query: &mut Query<'_>) -> Result<(), u16> {
    if count > QUERY_ADDITIONAL_MAX {
        return Err(rcode::FORMERR);
    }
    let mut at = query.question_end;
    let mut signed = false;
    for _ in 0..count {
        let (root, fields) = skip_name(packet, at).ok_or(rcode::FORMERR)?;
        let fixed = packet
            .get(fields..)
            .and_then(|rest| rest.first_chunk::<10>())
            .ok_or(rcode::FORMERR)?;
        let kind = Kind(u16::from_be_bytes([fixed[0], fixed[1]]));
        let data = fields + 10;
        let end = data + usize::from(u16::from_be_bytes([fixed[8], fixed[9]]));
        let rdata = packet.get(data..end).ok_or(rcode::FORMERR)?;
        match kind {
            Kind::OPT => {
                if !root || query.edns.is_some() {
                    return Err(rcode::FORMERR);
                }
                let mut edns = Edns::of_fixed(fixed);
                // Options of a version that we do not know may mean anything.
                if edns.version == 0 {
                    read_options(rdata, &mut edns)?;
                }
                query.edns = Some(edns);
            }
            Kind::TSIG => signed = true,
            _ => {}
        }
        at = end;
    }
    if at != packet.len() {
        return Err(rcode::FORMERR);
    }
    // No key is shared with anybody (RFC 8945 section 5.2.1).
    if signed {
        return Err(rcode::NOTAUTH);
    }
    Ok(())
}

/// The OPT record of a message that [`read_query`] could not make a query of, so that an
/// error carries one too (RFC 6891 section 6.1.1), and where its record ends; without
/// options if those are malformed. Nothing else of the message need be right.
#[cold]
pub fn sent_opt(packet: &[u8]) -> Option<(Edns, usize)> {
    let count = |at: usize| {
        let bytes = packet.get(at..at + 2)?;
        Some(u32::from(u16::from_be_bytes([bytes[0], bytes[1]])))
    };
    let (questions, before) = (count(4)?, count(6)? + count(8)?);
    let additional = count(10)?.min(u32::from(QUERY_ADDITIONAL_MAX));
    if questions + before > RECORDS_BEFORE_OPT_MAX {
        return None;
    }
    let mut at = HEADER_BYTES;
    for _ in 0..questions {
        at = skip_name(packet, at)?.1 + 4;
    }
    for index in 0..before + additional {
        let (root, fields) = skip_name(packet, at)?;
        let fixed = packet.get(fields..)?.first_chunk::<10>()?;
        let data = fields + 10;
        let end = data + usize::from(u16::from_be_bytes([fixed[8], fixed[9]]));
        let rdata = packet.get(data..end)?;
        if index >= before && root && fixed[..2] == Kind::OPT.0.to_be_bytes() {
            let bare = Edns::of_fixed(fixed);
            let mut edns = bare;
            if edns.version != 0 || read_options(rdata, &mut edns).is_err() {
                edns = bare;
            }
            return Some((edns, end));
        }
        at = end;
    }
    None
}

/// Steps over a name of a query's later sections: whether it is the root, and where
/// it ends. A pointer ends it and must point backwards.
#[inline]
fn skip_name(packet: &[u8], start: usize) -> Option<(bool, usize)> {
    let mut at = start;
    loop {
        let length = *packet.get(at)?;
        match length {
            0 => return Some((at == start, at + 1)),
            1..=63 => at += 1 + usize::from(length),
            0xc0.. => {
                let low = *packet.get(at + 1)?;
                let target = usize::from(u16::from_be_bytes([length & 0x3f, low]));
                return (target >= HEADER_BYTES && target < start).then_some((false, at + 2));
            }
            _ => return None,
        }
        if at - start > NAME_BYTES_MAX {
            return None;
        }
    }
}

#[inline]
fn read_options(mut rdata: &[u8], edns: &mut Edns) -> Result<(), u16> {
    while !rdata.is_empty() {
        let (head, rest) = rdata.split_first_chunk::<4>().ok_or(rcode::FORMERR)?;
        let code = u16::from_be_bytes([head[0], head[1]]);
        let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
        let (data, rest) = rest.split_at_checked(length).ok_or(rcode::FORMERR)?;
        match code {
            OPTION_SUBNET if edns.subnet.is_none() => {
                edns.subnet = Some(read_subnet(data).ok_or(rcode::FORMERR)?);
            }
            OPTION_SUBNET => return Err(rcode::FORMERR),
            OPTION_COOKIE if edns.cookie.is_none() => {
                edns.cookie = Some(read_cookie(data).ok_or(rcode::FORMERR)?);
            }
            _ => {}
        }
        rdata = rest;
    }
    Ok(())
}

#[inline]
fn read_subnet(data: &[u8]) -> Option<Subnet> {
    let (&[f0, f1, source, scope], bytes) = data.split_first_chunk::<4>()?;
    let family = u16::from_be_bytes([f0, f1]);
    let width = match family {
        0 => 0,
        1 => 32,
        2 => 128,
        _ => return None,
    };
    // RFC 7871 section 7.1.2: SCOPE is 0 in queries, the address is cut to SOURCE bits.
    if source > width || scope != 0 || bytes.len() != usize::from(source).div_ceil(8) {
        return None;
    }
    if source % 8 != 0 && bytes.last().is_some_and(|last| last << (source % 8) != 0) {
        return None;
    }
    let mut address = [0; 16];
    address[..bytes.len()].copy_from_slice(bytes);
    Some(Subnet {
        family,
        source,
        address,
    })
}

#[inline]
fn read_cookie(data: &[u8]) -> Option<Cookie> {
    let (client, server) = data.split_first_chunk::<8>()?;
    if !server.is_empty() && !(8..=32).contains(&server.len()) {
        return None;
    }
    let mut bytes = [0; 32];
    bytes[..server.len()].copy_from_slice(server);
    Some(Cookie {
        client: *client,
        server: bytes,
        server_length: server.len() as u8,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(tail: &[u8], additional: u16) -> Vec<u8> {
        let mut packet = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0];
        packet.extend(additional.to_be_bytes());
        packet.extend(b"\x03WwW\x07example\0\0\x01\0\x01");
        packet.extend(tail);
        packet
    }

    fn opt(options: &[u8]) -> Vec<u8> {
        let mut record = vec![0, 0, 41, 0x04, 0xd0, 0, 0, 0x80, 0];
        record.extend((options.len() as u16).to_be_bytes());
        record.extend(options);
        record
    }

    fn code(packet: &[u8]) -> Option<u16> {
        match read_query(packet, &mut LowerName::default()) {
            Err(Unreadable::Answer { rcode, .. }) => Some(rcode),
            _ => None,
        }
    }

    #[test]
    fn a_plain_query_is_read_and_lowered() {
        let mut name = LowerName::default();
        let query = read_query(&query(&[], 0), &mut name).expect("a query");
        assert_eq!(query.name.as_wire(), b"\x03www\x07example\0");
        assert_eq!(query.key(), b"\x03www\x07example\0\0\x01");
        assert_eq!((query.kind, query.class), (Kind::A, 1));
    }

    #[test]
    fn subnet_and_cookie_are_read() {
        let options = b"\0\x08\0\x07\0\x01\x18\0\xc0\0\x02\0\x0a\0\x08ABCDEFGH";
        let edns = read_query(&query(&opt(options), 1), &mut LowerName::default())
            .expect("a query")
            .edns
            .expect("EDNS");
        assert_eq!(
            (edns.udp_size, edns.version, edns.dnssec_ok),
            (1232, 0, true)
        );
        let subnet = edns.subnet.expect("a subnet");
        assert_eq!(
            subnet.client(),
            Some("192.0.2.0".parse().expect("an address"))
        );
        assert_eq!(subnet.source, 24);
        assert_eq!(edns.cookie.map(|cookie| cookie.client), Some(*b"ABCDEFGH"));
    }

    #[test]
    fn malformed_options_are_form_errors() {
        for options in [
            &b"\0\x08\0\x07\0\x01\x18\x01\xc0\0\x02"[..], // scope set
            b"\0\x08\0\x08\0\x01\x18\0\xc0\0\x02\0",      // too many bytes
            b"\0\x08\0\x07\0\x01\x17\0\xc0\0\x03",        // bits beyond the length
            b"\0\x08\0\x04\0\x03\0\0",                    // unknown family
            b"\0\x08\0\x04\0\x01\x21\0",                  // 33 bits
            b"\0\x0a\0\x07ABCDEFG",                       // short cookie
            b"\0\x0a\0\x0fABCDEFGHABCDEFG",               // short server cookie
            b"\0\x0a\0",                                  // cut option
            b"\0\x0a\0\x09ABCDEFGH",                      // length beyond the end
        ] {
            assert_eq!(
                code(&query(&opt(options), 1)),
                Some(rcode::FORMERR),
                "{options:?}"
            );
        }
    }

    #[test]
    fn counts_and_trailing_bytes_must_be_right() {
        assert_eq!(code(&query(b"\0", 0)), Some(rcode::FORMERR));
        assert_eq!(code(&query(b"", 1)), Some(rcode::FORMERR));
        let two = [opt(b""), opt(b"")].concat();
        assert_eq!(code(&query(&two, 2)), Some(rcode::FORMERR));
        let mut none = query(b"", 0);
        none[5] = 0;
        assert_eq!(code(&none), Some(rcode::FORMERR));
        let mut update = query(b"", 0);
        update[2] |= 5 << 3;
        assert_eq!(code(&update), Some(rcode::NOTIMP));
        let mut response = query(b"", 0);
        response[2] |= 0x80;
        assert_eq!(
            read_query(&response, &mut LowerName::default()).err(),
            Some(Unreadable::Silent)
        );
    }

    #[test]
    fn the_opt_record_of_what_is_no_query_is_found() {
        let cookie = opt(b"\0\x0a\0\x08ABCDEFGH");
        let mut notify = query(&cookie, 1);
        notify[2] |= 4 << 3;
        let (edns, end) = sent_opt(&notify).expect("an OPT record");
        assert_eq!(end, notify.len());
        assert_eq!(edns.cookie.map(|cookie| cookie.client), Some(*b"ABCDEFGH"));
        // A zone and two records to change stand before it.
        let mut update = query(
            b"\xc0\x0c\0\x01\0\xff\0\0\0\0\0\0\x01a\0\0\x01\0\x01\0\0\0\0\0\x01x",
            1,
        );
        update.extend(&cookie);
        update[9] = 2;
        assert!(sent_opt(&update).is_some());
        // Malformed options are as good as none, a malformed record is none.
        let (edns, _) = sent_opt(&query(&opt(b"\0\x0a\0\x07ABCDEFG"), 1)).expect("an OPT record");
        assert_eq!((edns.udp_size, edns.cookie), (1232, None));
        assert_eq!(sent_opt(&query(&cookie[..cookie.len() - 1], 1)), None);
        assert_eq!(
            sent_opt(&query(&[&b"\x01a"[..], &cookie].concat(), 1)),
            None
        );
        assert_eq!(sent_opt(&query(&cookie, 0)), None);
        assert_eq!(sent_opt(&[0; 11]), None);
        let mut many = query(&cookie, 1);
        many[5] = 65;
        assert_eq!(sent_opt(&many), None);
    }

    #[test]
    fn a_pointer_in_the_question_is_refused() {
        let mut packet = query(b"", 0);
        packet[12] = 0xc0;
        packet[13] = 0x0c;
        assert_eq!(code(&packet), Some(rcode::FORMERR));
    }
}
