//! From a packet to a packet. Questions that a zone expects are answered by copying
//! ([`crate::ready`]), all others by the engine ([`crate::answer`]).

use std::net::IpAddr;

use crate::answer::{Chooser, Chosen, answer};
use crate::cookie::{CookieSecret, CookieState, SERVER_COOKIE_BYTES};
use crate::kind::{CLASS_ANY, CLASS_IN, Kind, flag, rcode};
use crate::message::{
    Edns, HEADER_BYTES, LowerName, OPTION_COOKIE, OPTION_SUBNET, Query, Subnet, Unreadable,
    read_query, sent_opt,
};
use crate::policy::NO_EDGE;
use crate::ready::ReadyAnswer;
use crate::table::Served;
use crate::writer::Writer;

/// Bytes that a buffer for responses must have.
pub const RESPONSE_BYTES_MAX: usize = 65_535;
/// Bytes of the largest UDP response to a query without EDNS (RFC 1035 section 4.2.1).
pub const PLAIN_UDP_BYTES: usize = 512;
/// Bytes of the largest UDP response that is sent: no fragment on any usual path
/// (RFC 9715).
pub const UDP_BYTES_MAX: usize = 1_232;
/// Bytes of an OPT record without options.
const OPT_BYTES: usize = 11;

/// A packet that came in.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The message.
    pub packet: &'a [u8],
    /// Who sent it.
    pub source: IpAddr,
    /// It came by TCP.
    pub tcp: bool,
    /// Seconds since 1970, modulo 2³².
    pub now_s: u32,
}

/// What kind of answer it is, for rate limiting and statistics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// Records.
    Positive,
    /// No such name, or no such records.
    Negative,
    /// Go there.
    Referral,
    /// An error.
    Error,
}

/// A response that was written.
#[derive(Debug, Clone, Copy)]
pub struct Reply {
    /// Bytes.
    pub length: usize,
    /// Response code, extended.
    pub rcode: u16,
    /// QTYPE; 0 when the question could not be read.
    pub kind: Kind,
    /// Where the question ends, or the header if there is none.
    pub question_end: usize,
    /// Where the OPT record begins; `length` when there is none.
    pub opt_start: usize,
    /// What kind of answer it is.
    pub class: Class,
    /// What the cookie proved.
    pub cookie: CookieState,
    /// Client Subnet of the query, if it told one.
    pub client: Option<(IpAddr, u8)>,
    /// The edge put first, or [`NO_EDGE`].
    pub edge: u16,
    /// TC is set.
    pub truncated: bool,
}

/// A policy's choices for one client, with what has to be remembered of them.
struct ForClient<'s> {
    served: &'s Served,
    client: IpAddr,
    edge: u16,
    scope: u8,
}

impl Chooser for ForClient<'_> {
    fn choose(&mut self, policy: u32, kind: Kind) -> Chosen<'_> {
        let policies = &self.served.table.policies;
        let choice = self
            .served
            .choices
            .choose(policies, policy, self.client, kind);
        self.edge = choice.edge;
        self.scope = choice.scope;
        choice.chosen()
    }
}

/// Answers a packet into `out`, which must hold [`RESPONSE_BYTES_MAX`] bytes (for UDP,
/// [`UDP_BYTES_MAX`] are enough); none
/// when nothing may be sent. Allocates nothing.
#[inline]
pub fn respond(
    served: &Served,
    secret: &CookieSecret,
    asked: Asked<'_>,
    out: &mut [u8],
) -> Option<Reply> {
    let mut name = LowerName::default();
    let query = match read_query(asked.packet, &mut name) {
        Ok(query) => query,
        Err(Unreadable::Silent) => return None,
        Err(Unreadable::Answer {
            rcode,
            question_end,
        }) => return Some(refuse(secret, &asked, rcode, question_end, out)),
    };
    let question_end = query.question_end;
    out[..question_end].copy_from_slice(&asked.packet[..question_end]);
    let mut reply = Reply {
        length: question_end,
        rcode: rcode::NOERROR,
        kind: query.kind,
        question_end,
        opt_start: question_end,
        class: Class::Positive,
        cookie: CookieState::Absent,
        client: None,
        edge: NO_EDGE,
        truncated: false,
    };
    let mut opt = None;
    let limit = match &query.edns {
        None if asked.tcp => RESPONSE_BYTES_MAX,
        None => PLAIN_UDP_BYTES,
        Some(edns) => {
            let made = Opt::new(edns, secret, &asked, &mut reply);
            let size = if asked.tcp {
                RESPONSE_BYTES_MAX
            } else {
                usize::from(edns.udp_size).clamp(PLAIN_UDP_BYTES, UDP_BYTES_MAX)
            };
            let limit = size - made.bytes();
            opt = Some(made);
            limit
        }
    };
    let mut flags = flag::QR | (query.flags & flag::RD);
    let (counts, scope) = fill(served, &query, &asked, &mut flags, limit, out, &mut reply);
    if query.class != CLASS_IN {
        // Other classes are not ours to speak for (RFC 1035 section 6.2).
        flags &= !flag::AA;
    }
    out[2..4].copy_from_slice(&(flags | (reply.rcode & 0xf)).to_be_bytes());
    put_counts(out, counts);
    reply.opt_start = reply.length;
    if let Some(opt) = opt {
        reply.length = opt.put(out, reply.length, scope, reply.rcode);
        let additional = counts[2] + 1;
        out[10..12].copy_from_slice(&additional.to_be_bytes());
    }
    Some(reply)
}

/// Writes the sections; gives their counts and the ECS scope.
#[inline]
fn fill(
    served: &Served,
    query: &Query<'_>,
    asked: &Asked<'_>,
    flags: &mut u16,
    limit: usize,
    out: &mut [u8],
    reply: &mut Reply,
) -> ([u16; 3], u8) {
    if let Some(code) = not_answered(query) {
        reply.rcode = code;
        reply.class = Class::Error;
        return ([0; 3], 0);
    }
    let start = reply.question_end;
    let subnet = query.edns.as_ref().and_then(|edns| edns.subnet);
    let client = subnet.and_then(|subnet| subnet.client());
    match served.table.ready.get(query.key()) {
        Some(ReadyAnswer::Fixed {
            sections,
            counts,
            flags: ready_flags,
        }) if start + sections.len() <= limit => {
            out[start..start + sections.len()].copy_from_slice(sections);
            reply.length = start + sections.len();
            reply.rcode = ready_flags & 0xf;
            *flags |= ready_flags & !0xf;
            reply.class = classify(reply.rcode, counts, ready_flags & flag::AA != 0);
            return (counts, 0);
        }
        Some(ReadyAnswer::ByPolicy(policy)) => {
            let choice = served.choices.choose(
                &served.table.policies,
                policy,
                client.unwrap_or(asked.source),
                query.kind,
            );
            let end = start + choice.records.len();
            if choice.count > 0 && end <= limit {
                out[start..end].copy_from_slice(choice.records);
                reply.length = end;
                reply.edge = choice.edge;
                *flags |= flag::AA;
                // The resolver's own address says nothing about the client's network.
                let scope = if client.is_some() { choice.scope } else { 0 };
                return ([choice.count, 0, 0], scope);
            }
        }
        _ => {}
    }
    let mut chooser = ForClient {
        served,
        client: client.unwrap_or(asked.source),
        edge: NO_EDGE,
        scope: 0,
    };
    let mut writer = Writer::new(out, start, limit);
    let found = answer(
        &served.table.zones,
        query.name.as_wire(),
        query.kind,
        &mut chooser,
        &mut writer,
    );
    reply.length = writer.position();
    reply.rcode = found.rcode;
    reply.truncated = found.truncated;
    reply.edge = chooser.edge;
    let counts = writer.counts();
    reply.class = classify(found.rcode, counts, found.authoritative);
    if found.authoritative {
        *flags |= flag::AA;
    }
    if found.truncated {
        *flags |= flag::TC;
    }
    let scope = if client.is_some() { chooser.scope } else { 0 };
    (counts, scope)
}

/// Codes for what is not looked up at all.
#[inline]
fn not_answered(query: &Query<'_>) -> Option<u16> {
    if query.edns.as_ref().is_some_and(|edns| edns.version > 0) {
        return Some(rcode::BADVERS);
    }
    if query.class != CLASS_IN && query.class != CLASS_ANY {
        return Some(rcode::REFUSED);
    }
    match query.kind {
        Kind::AXFR | Kind::IXFR => Some(rcode::REFUSED),
        Kind::OPT | Kind::TSIG | Kind(0) => Some(rcode::FORMERR),
        Kind::ANY => None,
        kind if kind.is_meta() => Some(rcode::NOTIMP),
        _ => None,
    }
}

#[inline]
fn classify(code: u16, counts: [u16; 3], authoritative: bool) -> Class {
    match code {
        rcode::NOERROR if counts[0] > 0 => Class::Positive,
        rcode::NOERROR if authoritative => Class::Negative,
        rcode::NOERROR => Class::Referral,
        rcode::NXDOMAIN => Class::Negative,
        _ => Class::Error,
    }
}

#[inline]
fn put_counts(out: &mut [u8], counts: [u16; 3]) {
    out[4..6].copy_from_slice(&1_u16.to_be_bytes());
    out[6..8].copy_from_slice(&counts[0].to_be_bytes());
    out[8..10].copy_from_slice(&counts[1].to_be_bytes());
    out[10..12].copy_from_slice(&counts[2].to_be_bytes());
}

/// An error to something that is not a query; or, to a question for a cookie alone, that
/// cookie (RFC 7873 section 5.4).
#[cold]
fn refuse(
    secret: &CookieSecret,
    asked: &Asked<'_>,
    code: u16,
    question_end: Option<usize>,
    out: &mut [u8],
) -> Reply {
    let packet = asked.packet;
    let end = question_end.unwrap_or(HEADER_BYTES);
    out[..end].copy_from_slice(&packet[..end]);
    let mut reply = Reply {
        length: end,
        rcode: code,
        kind: Kind(0),
        question_end: end,
        opt_start: end,
        class: Class::Error,
        cookie: CookieState::Absent,
        client: None,
        edge: NO_EDGE,
        truncated: false,
    };
    put_counts(out, [0; 3]);
    if question_end.is_none() {
        out[4..6].copy_from_slice(&[0, 0]);
    }
    if let Some((edns, opt_end)) = sent_opt(packet) {
        let opt = Opt::new(&edns, secret, asked, &mut reply);
        let query = packet[2] & (flag::OPCODE >> 8) as u8 == 0;
        let nothing_else = packet[4..10] == [0; 6] && opt_end == packet.len();
        if let Some(cookie) = &edns.cookie
            && query
            && nothing_else
        {
            let wrong = cookie.server_length > 0 && reply.cookie != CookieState::Valid;
            reply.rcode = if wrong {
                rcode::BADCOOKIE
            } else {
                rcode::NOERROR
            };
            reply.class = Class::Negative;
        }
        reply.length = opt.put(out, end, 0, reply.rcode);
        out[10..12].copy_from_slice(&1_u16.to_be_bytes());
    }
    let flags = u16::from_be_bytes([packet[2], packet[3]]) & (flag::OPCODE | flag::RD);
    out[2..4].copy_from_slice(&(flag::QR | flags | (reply.rcode & 0xf)).to_be_bytes());
    reply
}

/// How a response is made short, for a client that asks too much by UDP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Short {
    /// TC: come again by TCP.
    Truncate,
    /// BADCOOKIE: come again with the server cookie that goes with this
    /// (RFC 7873 section 5.2.3).
    BadCookie,
    /// REFUSED: not for you.
    Refuse,
    /// NXDOMAIN, authoritative: a name that policy takes away.
    NoSuchName,
}

/// Strips a response to its question and OPT record, in place.
pub fn shorten(out: &mut [u8], reply: &mut Reply, how: Short) {
    let opt = reply.length - reply.opt_start;
    out.copy_within(reply.opt_start..reply.length, reply.question_end);
    reply.opt_start = reply.question_end;
    reply.length = reply.question_end + opt;
    let questions = [out[4], out[5]];
    put_counts(out, [0, 0, u16::from(opt > 0)]);
    out[4..6].copy_from_slice(&questions);
    let mut flags = u16::from_be_bytes([out[2], out[3]]) & !flag::AA & !0xf;
    match how {
        Short::Truncate => {
            flags |= flag::TC;
            reply.truncated = true;
            reply.rcode = rcode::NOERROR;
        }
        Short::BadCookie => reply.rcode = rcode::BADCOOKIE,
        Short::Refuse => {
            reply.rcode = rcode::REFUSED;
            reply.class = Class::Error;
        }
        Short::NoSuchName => {
            flags |= flag::AA;
            reply.rcode = rcode::NXDOMAIN;
            reply.class = Class::Negative;
        }
    }
    flags |= reply.rcode & 0xf;
    out[2..4].copy_from_slice(&flags.to_be_bytes());
    if opt >= OPT_BYTES {
        out[reply.opt_start + 5] = (reply.rcode >> 4) as u8;
    }
}

/// Seconds that a sinkhole's address may be kept: what is lifted works again soon.
const SINKHOLE_TTL_S: u32 = 5;

/// Makes a response, in place, say that the name asked for is at `address` alone: a
/// question for the other family, or for anything else, has no records. The room behind
/// the response must hold 28 bytes more than it has.
pub fn sinkhole(out: &mut [u8], reply: &mut Reply, address: IpAddr) {
    shorten(out, reply, Short::NoSuchName);
    let flags = u16::from_be_bytes([out[2], out[3]]) & !0xf;
    out[2..4].copy_from_slice(&flags.to_be_bytes());
    reply.rcode = rcode::NOERROR;
    let (v4, v6);
    let data: &[u8] = match (address, reply.kind) {
        (IpAddr::V4(address), Kind::A) => {
            v4 = address.octets();
            &v4
        }
        (IpAddr::V6(address), Kind::AAAA) => {
            v6 = address.octets();
            &v6
        }
        _ => return,
    };
    let bytes = 12 + data.len();
    out.copy_within(reply.opt_start..reply.length, reply.opt_start + bytes);
    let record = &mut out[reply.question_end..reply.question_end + bytes];
    // The name of the question, which follows the header.
    record[..2].copy_from_slice(&(0xc000 | HEADER_BYTES as u16).to_be_bytes());
    record[2..4].copy_from_slice(&reply.kind.0.to_be_bytes());
    record[4..6].copy_from_slice(&CLASS_IN.to_be_bytes());
    record[6..10].copy_from_slice(&SINKHOLE_TTL_S.to_be_bytes());
    record[10..12].copy_from_slice(&(data.len() as u16).to_be_bytes());
    record[12..].copy_from_slice(data);
    out[6..8].copy_from_slice(&1_u16.to_be_bytes());
    reply.opt_start += bytes;
    reply.length += bytes;
    reply.class = Class::Positive;
}

/// The OPT record of a response.
struct Opt {
    dnssec_ok: bool,
    subnet: Option<Subnet>,
    cookie: Option<([u8; 8], [u8; SERVER_COOKIE_BYTES])>,
}

impl Opt {
    #[inline]
    fn new(edns: &Edns, secret: &CookieSecret, asked: &Asked<'_>, reply: &mut Reply) -> Self {
        let mut cookie = None;
        if let Some(sent) = &edns.cookie {
            let (state, server) = secret.judge(sent, asked.source, asked.now_s);
            reply.cookie = state;
            cookie = Some((sent.client, server));
        }
        reply.client = edns
            .subnet
            .and_then(|subnet| Some((subnet.client()?, subnet.source)));
        Self {
            dnssec_ok: edns.dnssec_ok,
            subnet: edns.subnet,
            cookie,
        }
    }

    #[inline]
    fn bytes(&self) -> usize {
        let subnet = self.subnet.map_or(0, |subnet| 8 + subnet.address_bytes());
        let cookie = self.cookie.map_or(0, |_| 4 + 8 + SERVER_COOKIE_BYTES);
        OPT_BYTES + subnet + cookie
    }

    /// Appends it, and gives where it ends.
    #[inline]
    fn put(&self, out: &mut [u8], at: usize, scope: u8, code: u16) -> usize {
        let length = self.bytes();
        let record = &mut out[at..at + length];
        record[..3].copy_from_slice(&[0, 0, 41]);
        record[3..5].copy_from_slice(&(UDP_BYTES_MAX as u16).to_be_bytes());
        let do_bit = if self.dnssec_ok { 0x80 } else { 0 };
        record[5..9].copy_from_slice(&[(code >> 4) as u8, 0, do_bit, 0]);
        record[9..11].copy_from_slice(&((length - OPT_BYTES) as u16).to_be_bytes());
        let mut to = OPT_BYTES;
        if let Some(subnet) = &self.subnet {
            let bytes = subnet.address_bytes();
            record[to..to + 2].copy_from_slice(&OPTION_SUBNET.to_be_bytes());
            record[to + 2..to + 4].copy_from_slice(&((4 + bytes) as u16).to_be_bytes());
            record[to + 4..to + 6].copy_from_slice(&subnet.family.to_be_bytes());
            record[to + 6] = subnet.source;
            record[to + 7] = scope;
            record[to + 8..to + 8 + bytes].copy_from_slice(&subnet.address[..bytes]);
            to += 8 + bytes;
        }
        if let Some((client, server)) = &self.cookie {
            record[to..to + 2].copy_from_slice(&OPTION_COOKIE.to_be_bytes());
            record[to + 2..to + 4].copy_from_slice(&24_u16.to_be_bytes());
            record[to + 4..to + 12].copy_from_slice(client);
            record[to + 12..to + 28].copy_from_slice(server);
        }
        at + length
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::table::DispatchTable;
    use crate::zone::Zone;

    const HEADER: [u8; 12] = [0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    const QUESTION: &[u8] = b"\x02ns\x07example\0\0\x01\0\x01";
    const COOKIE: &[u8] = b"\0\x0a\0\x08ABCDEFGH";

    fn opt(options: &[u8]) -> Vec<u8> {
        let mut record = vec![0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0];
        record.extend((options.len() as u16).to_be_bytes());
        record.extend(options);
        record
    }

    /// Sends a header, changed, with what follows; gives the response.
    fn ask(change: impl Fn(&mut [u8; 12]), rest: &[&[u8]]) -> (Reply, Vec<u8>) {
        let text = b"$ORIGIN example.\n$TTL 60\n@ SOA ns h 1 1 1 1 1\n@ NS ns\nns A 192.0.2.1\n";
        let table = DispatchTable::of_zones(vec![Zone::load_alone(text).expect("a zone")]);
        let served = Served::new(Arc::new(table.expect("zones")), Vec::new());
        let mut header = HEADER;
        change(&mut header);
        let packet = [&header[..], &rest.concat()].concat();
        let asked = Asked {
            packet: &packet,
            source: IpAddr::from([192, 0, 2, 200]),
            tcp: false,
            now_s: 1_795_000_000,
        };
        let mut out = vec![0; UDP_BYTES_MAX];
        let secret = CookieSecret::new([1; 16]);
        let reply = respond(&served, &secret, asked, &mut out).expect("an answer");
        out.truncate(reply.length);
        (reply, out)
    }

    #[test]
    fn errors_carry_an_opt_record_when_the_query_did() {
        let with_opt = |header: &mut [u8; 12]| header[11] = 1;
        let notify = |header: &mut [u8; 12]| {
            header[2] |= 4 << 3;
            header[11] = 1;
        };
        let bad_cookie = opt(b"\0\x0a\0\x04ABCD");
        let bad_subnet = opt(b"\0\x08\0\x04\0\x01\x30\0");
        for (what, (reply, out), code) in [
            (
                "NOTIFY",
                ask(notify, &[QUESTION, &opt(COOKIE)]),
                rcode::NOTIMP,
            ),
            (
                "TSIG",
                ask(
                    |header| header[11] = 2,
                    &[QUESTION, &opt(b""), b"\x01k\0\0\xfa\0\xff\0\0\0\0\0\0"],
                ),
                rcode::NOTAUTH,
            ),
            (
                "cookie",
                ask(with_opt, &[QUESTION, &bad_cookie]),
                rcode::FORMERR,
            ),
            (
                "subnet",
                ask(with_opt, &[QUESTION, &bad_subnet]),
                rcode::FORMERR,
            ),
            (
                "two",
                ask(|header| header[11] = 2, &[QUESTION, &opt(b""), &opt(b"")]),
                rcode::FORMERR,
            ),
        ] {
            assert_eq!(reply.rcode, code, "{what}");
            assert_eq!(u16::from(out[3] & 0xf), code, "{what}");
            assert_eq!(out[10..12], [0, 1], "{what}");
            assert_eq!(
                out[reply.opt_start..reply.opt_start + 3],
                [0, 0, 41],
                "{what}"
            );
        }
        let (reply, out) = ask(notify, &[QUESTION, &opt(COOKIE)]);
        assert_eq!(
            out.len() - reply.opt_start,
            OPT_BYTES + 28,
            "the cookie comes back"
        );
        let (_, bare) = ask(|header| header[2] |= 4 << 3, &[QUESTION]);
        assert_eq!(
            (bare.len(), bare[10..12].to_vec()),
            (12, vec![0, 0]),
            "no OPT, none back"
        );
    }

    /// RFC 7873 section 5.4.
    #[test]
    fn a_cookie_can_be_asked_for_without_a_question() {
        let no_question = |header: &mut [u8; 12]| {
            header[5] = 0;
            header[11] = 1;
        };
        let (reply, out) = ask(no_question, &[&opt(COOKIE)]);
        assert_eq!((reply.rcode, out[3] & 0xf, reply.opt_start), (0, 0, 12));
        assert_eq!(out[4..12], [0, 0, 0, 0, 0, 0, 0, 1]);
        // What was given is good, and anything else is not.
        let given = &out[12 + OPT_BYTES..];
        assert_eq!(given[..12], *b"\0\x0a\0\x18ABCDEFGH");
        let (again, _) = ask(no_question, &[&opt(given)]);
        assert_eq!((again.rcode, again.cookie), (0, CookieState::Valid));
        let wrong = [&given[..given.len() - 1], &[!given[given.len() - 1]]].concat();
        let (bad, out) = ask(no_question, &[&opt(&wrong)]);
        assert_eq!(bad.rcode, rcode::BADCOOKIE);
        assert_eq!((out[3] & 0xf, out[12 + 5]), (7, 1), "23, in two parts");
        // Without a cookie it is a query without a question.
        for rest in [&opt(b"")[..], &[&opt(COOKIE)[..], b"x"].concat()] {
            assert_eq!(ask(no_question, &[rest]).0.rcode, rcode::FORMERR);
        }
    }

    #[test]
    fn any_class_is_answered_without_authority() {
        let (reply, out) = ask(|_| {}, &[b"\x02ns\x07example\0\0\x01\0\xff"]);
        assert_eq!((reply.rcode, out[2] & 4, out[7]), (0, 0, 1));
        let (reply, out) = ask(|_| {}, &[QUESTION]);
        assert_eq!((reply.rcode, out[2] & 4, out[7]), (0, 4, 1));
        let (chaos, _) = ask(|_| {}, &[b"\x02ns\x07example\0\0\x01\0\x03"]);
        assert_eq!(chaos.rcode, rcode::REFUSED);
    }
}
