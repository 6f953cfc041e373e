//! The types whose RDATA is not fields in a row: CAA, WKS, APL, IPSECKEY and HIP.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::Wrong;
use super::rdata::{Fields, base64};
use super::text::{hex, named};

/// Internet protocols that a WKS record may name (RFC 1010).
const PROTOCOLS: [(&str, u8); 2] = [("TCP", 6), ("UDP", 17)];

/// Services that a WKS record may name: those of its time that have the same name still.
const SERVICES: [(&str, u16); 17] = [
    ("echo", 7),
    ("discard", 9),
    ("daytime", 13),
    ("ftp", 21),
    ("ssh", 22),
    ("telnet", 23),
    ("smtp", 25),
    ("time", 37),
    ("domain", 53),
    ("tftp", 69),
    ("finger", 79),
    ("http", 80),
    ("pop3", 110),
    ("nntp", 119),
    ("ntp", 123),
    ("imap", 143),
    ("https", 443),
];

/// RFC 8659 section 4.1.1.
pub(super) fn caa(f: &mut Fields<'_, '_>, out: &mut Vec<u8>) -> Result<(), Wrong> {
    out.push(f.parse::<u8>("flags of 0 to 255")?);
    let tag = f.next("a property tag")?;
    if tag.text.is_empty()
        || tag.text.len() > 255
        || !tag.text.iter().all(u8::is_ascii_alphanumeric)
    {
        return Err(f.wrong(format!(
            "CAA tag {:?}: must be letters and digits",
            tag.lossy()
        )));
    }
    out.push(tag.text.len() as u8);
    out.extend(tag.text);
    out.extend(f.text("a value")?);
    Ok(())
}

/// RFC 1035 section 3.4.2: an address, a protocol, and its ports as a bitmap.
pub(super) fn wks(f: &mut Fields<'_, '_>, out: &mut Vec<u8>) -> Result<(), Wrong> {
    out.extend(f.parse::<Ipv4Addr>("an IPv4 address")?.octets());
    f.word("a protocol: TCP, UDP or a number up to 255", out, |text| {
        Some(vec![named(text, &PROTOCOLS)?])
    })?;
    let mut bits = Vec::new();
    while f.more() {
        let token = f.next("a port")?;
        let port: Option<u16> = token.as_str().and_then(|text| named(text, &SERVICES));
        let port = port.ok_or_else(|| {
            f.wrong(format!(
                "{:?} is not a port, or a service known here",
                token.lossy()
            ))
        })?;
        let at = usize::from(port) / 8;
        if bits.len() <= at {
            bits.resize(at + 1, 0_u8);
        }
        bits[at] |= 0x80 >> (port % 8);
    }
    out.extend(bits);
    Ok(())
}

/// RFC 3123 section 5: `[!]FAMILY:ADDRESS/LENGTH`, any number of them.
pub(super) fn apl(f: &mut Fields<'_, '_>, out: &mut Vec<u8>) -> Result<(), Wrong> {
    while f.more() {
        f.word(
            "an address prefix like 1:192.0.2.0/24 or !2:2001:db8::/32",
            out,
            |text| {
                let (not, rest) = match text.strip_prefix('!') {
                    Some(rest) => (0x80, rest),
                    None => (0, text),
                };
                let (family, rest) = rest.split_once(':')?;
                let (address, length) = rest.split_once('/')?;
                let (family, width, octets): (u16, u8, Vec<u8>) = match family {
                    "1" => (1, 32, address.parse::<Ipv4Addr>().ok()?.octets().to_vec()),
                    "2" => (2, 128, address.parse::<Ipv6Addr>().ok()?.octets().to_vec()),
                    _ => return None,
                };
                let length: u8 = length.parse().ok().filter(|length| *length <= width)?;
                // Section 4.1: zero bytes at the end are left out.
                let used = octets
                    .iter()
                    .rposition(|byte| *byte != 0)
                    .map_or(0, |last| last + 1);
                let mut wire = family.to_be_bytes().to_vec();
                wire.extend([length, not | used as u8]);
                wire.extend(&octets[..used]);
                Some(wire)
            },
        )?;
    }
    Ok(())
}

/// RFC 4025 section 3: precedence, gateway type, algorithm, gateway, and a key unless
/// the algorithm is 0.
pub(super) fn ipseckey(f: &mut Fields<'_, '_>, out: &mut Vec<u8>) -> Result<(), Wrong> {
    out.push(f.parse::<u8>("a precedence")?);
    let gateway: u8 = f.parse("a gateway type of 0 to 3")?;
    if gateway > 3 {
        return Err(f.wrong(format!("gateway type {gateway}: must be 0 to 3")));
    }
    let algorithm: u8 = f.parse("an algorithm")?;
    out.extend([gateway, algorithm]);
    match gateway {
        0 => {
            let token = f.next("a gateway")?;
            if token.text != b"." {
                return Err(f.wrong(format!(
                    "gateway {:?}: must be \".\" with gateway type 0",
                    token.lossy()
                )));
            }
        }
        1 => out.extend(f.parse::<Ipv4Addr>("an IPv4 address")?.octets()),
        2 => out.extend(f.parse::<Ipv6Addr>("an IPv6 address")?.octets()),
        _ => f.name(out)?,
    }
    if algorithm != 0 || f.more() {
        f.base64_to_end(out)?;
    }
    Ok(())
}

/// RFC 8005 section 6: algorithm, host identity tag, public key, rendezvous servers.
pub(super) fn hip(f: &mut Fields<'_, '_>, out: &mut Vec<u8>) -> Result<(), Wrong> {
    let algorithm: u8 = f.parse("a public key algorithm")?;
    let token = f.next("a host identity tag")?;
    let tag = token
        .as_str()
        .and_then(hex)
        .filter(|tag| tag.len() <= 255)
        .ok_or_else(|| {
            f.wrong(format!(
                "{:?} is not a host identity tag in hexadecimal",
                token.lossy()
            ))
        })?;
    let token = f.next("a public key")?;
    let key = base64(token.text)
        .filter(|key| !key.is_empty())
        .ok_or_else(|| f.wrong("the public key must be base64".to_owned()))?;
    let length = u16::try_from(key.len())
        .map_err(|_| f.wrong("the public key must be at most 65535 bytes".to_owned()))?;
    out.extend([tag.len() as u8, algorithm]);
    out.extend(length.to_be_bytes());
    out.extend(tag);
    out.extend(key);
    while f.more() {
        f.name(out)?;
    }
    Ok(())
}
