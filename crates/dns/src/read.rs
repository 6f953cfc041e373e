//! Reading responses: for explanations, tests and load clients. Servers never need it.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::kind::Kind;
use crate::name::{NAME_BYTES_MAX, Name};

/// Pointers followed in one name.
const POINTERS_MAX: usize = 126;

/// A record as it stands in a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Owner.
    pub owner: Name,
    /// Type.
    pub kind: Kind,
    /// Class, or the UDP size of an OPT record.
    pub class: u16,
    /// Seconds.
    pub ttl: u32,
    /// Where the RDATA begins.
    pub data: usize,
    /// Where it ends.
    pub end: usize,
}

/// Reads a name that may be compressed; gives it, and where it ends in place.
pub fn name(message: &[u8], start: usize) -> Option<(Name, usize)> {
    let mut wire = Vec::new();
    let mut at = start;
    let mut end = None;
    let mut pointers = 0;
    loop {
        let length = *message.get(at)?;
        match length {
            0 => {
                wire.push(0);
                return Some((Name::from_wire(&wire)?, end.unwrap_or(at + 1)));
            }
            1..=63 => {
                let next = at + 1 + usize::from(length);
                wire.extend_from_slice(message.get(at..next)?);
                if wire.len() >= NAME_BYTES_MAX {
                    return None;
                }
                at = next;
            }
            0xc0.. => {
                let low = *message.get(at + 1)?;
                let target = usize::from(u16::from_be_bytes([length & 0x3f, low]));
                pointers += 1;
                // A pointer goes back, so that a loop is impossible; the bound is
                // for chains of pointers to pointers.
                if target >= at || pointers > POINTERS_MAX {
                    return None;
                }
                end.get_or_insert(at + 2);
                at = target;
            }
            _ => return None,
        }
    }
}

/// Reads `count` records from `at` on.
pub fn records(message: &[u8], mut at: usize, count: usize) -> Option<Vec<Seen>> {
    let mut seen = Vec::new();
    for _ in 0..count {
        let (owner, fields) = name(message, at)?;
        let fixed = message.get(fields..)?.first_chunk::<10>()?;
        let data = fields + 10;
        let end = data + usize::from(u16::from_be_bytes([fixed[8], fixed[9]]));
        message.get(data..end)?;
        seen.push(Seen {
            owner,
            kind: Kind(u16::from_be_bytes([fixed[0], fixed[1]])),
            class: u16::from_be_bytes([fixed[2], fixed[3]]),
            ttl: u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]),
            data,
            end,
        });
        at = end;
    }
    Some(seen)
}

/// RDATA with its names written out in lower case, for comparing.
pub fn rdata_plain(message: &[u8], record: &Seen) -> Option<Vec<u8>> {
    let raw = message.get(record.data..record.end)?;
    let lower = |at: usize| {
        let (name, end) = name(message, at)?;
        Some((name.lowercase().as_wire().to_vec(), end))
    };
    match record.kind {
        Kind::NS | Kind::CNAME | Kind::PTR | Kind::DNAME => Some(lower(record.data)?.0),
        // Others compress them, as RFC 1035 allows.
        Kind::MB | Kind::MD | Kind::MF | Kind::MG | Kind::MR => Some(lower(record.data)?.0),
        Kind::MINFO => {
            let (mailbox, second) = lower(record.data)?;
            Some([mailbox, lower(second)?.0].concat())
        }
        Kind::MX => Some([&raw[..2.min(raw.len())], &lower(record.data + 2)?.0].concat()),
        Kind::SRV => Some([raw.get(..6)?, &lower(record.data + 6)?.0].concat()),
        Kind::SOA => {
            let (mname, second) = lower(record.data)?;
            let (rname, numbers) = lower(second)?;
            Some([&mname[..], &rname, message.get(numbers..record.end)?].concat())
        }
        _ => Some(raw.to_vec()),
    }
}

/// RDATA as a person would read it.
pub fn rdata_text(message: &[u8], record: &Seen) -> String {
    let raw = &message[record.data..record.end];
    let text = match record.kind {
        Kind::A => <[u8; 4]>::try_from(raw)
            .ok()
            .map(|octets| Ipv4Addr::from(octets).to_string()),
        Kind::AAAA => <[u8; 16]>::try_from(raw)
            .ok()
            .map(|octets| Ipv6Addr::from(octets).to_string()),
        Kind::NS | Kind::CNAME | Kind::PTR | Kind::DNAME => {
            name(message, record.data).map(|(name, _)| name.to_string())
        }
        Kind::HTTPS | Kind::SVCB => service_text(raw),
        _ => None,
    };
    text.unwrap_or_else(|| {
        let hex: String = raw.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("\\# {} {hex}", raw.len())
    })
}

fn service_text(raw: &[u8]) -> Option<String> {
    let priority = u16::from_be_bytes(*raw.first_chunk::<2>()?);
    let (target, mut at) = name(raw, 2)?;
    let mut text = format!("{priority} {target}");
    while at < raw.len() {
        let head = raw.get(at..)?.first_chunk::<4>()?;
        let key = u16::from_be_bytes([head[0], head[1]]);
        let end = at + 4 + usize::from(u16::from_be_bytes([head[2], head[3]]));
        let value = raw.get(at + 4..end)?;
        let listed = match key {
            1 => {
                let mut ids = Vec::new();
                let mut rest = value;
                while let Some((length, tail)) = rest.split_first() {
                    let (id, tail) = tail.split_at_checked(usize::from(*length))?;
                    ids.push(String::from_utf8_lossy(id).into_owned());
                    rest = tail;
                }
                format!(" alpn={}", ids.join(","))
            }
            4 => {
                let list = value.as_chunks::<4>().0.iter();
                let list: Vec<_> = list.map(|o| Ipv4Addr::from(*o).to_string()).collect();
                format!(" ipv4hint={}", list.join(","))
            }
            6 => {
                let list = value.as_chunks::<16>().0.iter();
                let list: Vec<_> = list.map(|o| Ipv6Addr::from(*o).to_string()).collect();
                format!(" ipv6hint={}", list.join(","))
            }
            _ => {
                let hex: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
                format!(" key{key}=0x{hex}")
            }
        };
        text.push_str(&listed);
        at = end;
    }
    Some(text)
}
