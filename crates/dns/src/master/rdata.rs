//! RDATA from its text form, type by type.

use std::fmt::Display;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use super::lexer::Token;
use super::{Wrong, loc, parse_ttl, svcb};
use crate::kind::Kind;
use crate::name::{Name, unescape, wire_length};

/// Bytes of the longest RDATA.
const RDATA_BYTES_MAX: usize = 65_535;

/// The tokens of one RDATA, taken from left to right.
pub(super) struct Fields<'a, 't> {
    tokens: &'a [Token<'t>],
    at: usize,
    origin: &'a Name,
}

/// Reads the RDATA of a record of type `kind`.
pub(super) fn parse(kind: Kind, tokens: &[Token<'_>], origin: &Name) -> Result<Vec<u8>, Wrong> {
    let mut fields = Fields {
        tokens,
        at: 0,
        origin,
    };
    let mut out = Vec::new();
    if tokens
        .first()
        .is_some_and(|token| token.text == b"\\#" && !token.quoted)
    {
        fields.at = 1;
        generic(&mut fields, &mut out)?;
        if !is_well_formed(kind, &out) {
            return Err((
                0,
                format!("the RDATA in \\# form is not that of type {kind}"),
            ));
        }
    } else {
        known(kind, &mut fields, &mut out)?;
    }
    if let Some(extra) = tokens.get(fields.at) {
        return Err((
            fields.at,
            format!(
                "{:?} after the last field of type {kind}: must end the record",
                extra.lossy()
            ),
        ));
    }
    if out.len() > RDATA_BYTES_MAX {
        return Err((
            0,
            format!("the RDATA has {} bytes: must be at most 65535", out.len()),
        ));
    }
    Ok(out)
}

fn known(kind: Kind, f: &mut Fields<'_, '_>, out: &mut Vec<u8>) -> Result<(), Wrong> {
    match kind {
        Kind::A => out.extend(f.parse::<Ipv4Addr>("an IPv4 address")?.octets()),
        Kind::AAAA => out.extend(f.parse::<Ipv6Addr>("an IPv6 address")?.octets()),
        Kind::NS | Kind::CNAME | Kind::PTR | Kind::DNAME => f.name(out)?,
        Kind::SOA => {
            f.name(out)?;
            f.name(out)?;
            out.extend(f.parse::<u32>("a serial number")?.to_be_bytes());
            for field in ["REFRESH", "RETRY", "EXPIRE", "MINIMUM"] {
                out.extend(f.seconds(field)?.to_be_bytes());
            }
        }
        Kind::MX => {
            out.extend(f.parse::<u16>("a preference of 0 to 65535")?.to_be_bytes());
            f.name(out)?;
        }
        Kind::TXT => {
            f.string(out)?;
            while f.more() {
                f.string(out)?;
            }
        }
        Kind::HINFO => {
            f.string(out)?;
            f.string(out)?;
        }
        Kind::SRV => {
            for field in ["a priority", "a weight", "a port"] {
                out.extend(f.parse::<u16>(field)?.to_be_bytes());
            }
            f.name(out)?;
        }
        Kind::LOC => loc::parse(f, out)?,
        Kind::CAA => caa(f, out)?,
        Kind::SVCB | Kind::HTTPS => svcb::parse(f, out)?,
        Kind::TLSA => {
            for field in ["a certificate usage", "a selector", "a matching type"] {
                out.push(f.parse::<u8>(field)?);
            }
            f.hex_to_end(out)?;
        }
        Kind::SSHFP => {
            out.push(f.parse::<u8>("an algorithm")?);
            out.push(f.parse::<u8>("a fingerprint type")?);
            f.hex_to_end(out)?;
        }
        Kind::DS => {
            out.extend(f.parse::<u16>("a key tag")?.to_be_bytes());
            out.push(f.parse::<u8>("an algorithm")?);
            out.push(f.parse::<u8>("a digest type")?);
            f.hex_to_end(out)?;
        }
        Kind::DNSKEY => {
            out.extend(f.parse::<u16>("flags")?.to_be_bytes());
            out.push(f.parse::<u8>("a protocol")?);
            out.push(f.parse::<u8>("an algorithm")?);
            f.base64_to_end(out)?;
        }
        Kind::NAPTR => {
            out.extend(f.parse::<u16>("an order")?.to_be_bytes());
            out.extend(f.parse::<u16>("a preference")?.to_be_bytes());
            for _ in 0..3 {
                f.string(out)?;
            }
            f.name(out)?;
        }
        _ => {
            return Err((
                0,
                format!("type {kind}: its RDATA must be given as \\# LENGTH HEX (RFC 3597)"),
            ));
        }
    }
    Ok(())
}

/// RFC 8659 section 4.1.1.
fn caa(f: &mut Fields<'_, '_>, out: &mut Vec<u8>) -> Result<(), Wrong> {
    out.push(f.parse::<u8>("flags of 0 to 255")?);
    let tag = f.next("a property tag")?;
    if tag.text.is_empty()
        || tag.text.len() > 255
        || !tag.text.iter().all(u8::is_ascii_alphanumeric)
    {
        return Err((
            f.at - 1,
            format!("CAA tag {:?}: must be letters and digits", tag.lossy()),
        ));
    }
    out.push(tag.text.len() as u8);
    out.extend(tag.text);
    let value = f.next("a value")?;
    out.extend(unescape_all(value.text).ok_or_else(|| f.bad_escape(value))?);
    Ok(())
}

/// RFC 3597 section 5: `\# LENGTH HEX…`.
fn generic(f: &mut Fields<'_, '_>, out: &mut Vec<u8>) -> Result<(), Wrong> {
    let length = usize::from(f.parse::<u16>("a number of bytes")?);
    if length > 0 || f.more() {
        f.hex_to_end(out)?;
    }
    if out.len() != length {
        return Err((1, format!("\\# {length}: {} bytes follow", out.len())));
    }
    Ok(())
}

/// Whether RDATA in wire form has the fields that the rest of the house relies on.
pub(crate) fn is_well_formed(kind: Kind, rdata: &[u8]) -> bool {
    let name_fills = |from: usize| {
        rdata
            .get(from..)
            .is_some_and(|rest| wire_length(rest) == Some(rest.len()))
    };
    match kind {
        Kind::A => rdata.len() == 4,
        Kind::AAAA => rdata.len() == 16,
        Kind::NS | Kind::CNAME | Kind::PTR | Kind::DNAME => name_fills(0),
        Kind::MX => name_fills(2),
        Kind::SRV => name_fills(6),
        Kind::SOA => wire_length(rdata)
            .and_then(|first| Some(first + wire_length(&rdata[first..])?))
            .is_some_and(|names| rdata.len() == names + 20),
        Kind::SVCB | Kind::HTTPS => svcb::is_well_formed(rdata),
        Kind::TXT => {
            let mut at = 0;
            while let Some(length) = rdata.get(at) {
                at += 1 + usize::from(*length);
            }
            at == rdata.len() && at > 0
        }
        _ => true,
    }
}

impl<'t> Fields<'_, 't> {
    pub(super) fn more(&self) -> bool {
        self.at < self.tokens.len()
    }

    pub(super) fn next(&mut self, what: &str) -> Result<Token<'t>, Wrong> {
        let token = self.tokens.get(self.at).copied();
        self.at += 1;
        token.ok_or_else(|| {
            (
                self.at,
                format!("{what} is missing at the end of the record"),
            )
        })
    }

    pub(super) fn wrong(&self, message: String) -> Wrong {
        (self.at - 1, message)
    }

    pub(super) fn bad_escape(&self, token: Token<'_>) -> Wrong {
        self.wrong(format!(
            "{:?}: after \\ must come three digits up to 255, or another character",
            token.lossy()
        ))
    }

    pub(super) fn parse<T: FromStr<Err: Display>>(&mut self, what: &str) -> Result<T, Wrong> {
        let token = self.next(what)?;
        token
            .as_str()
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| self.wrong(format!("{:?} is not {what}", token.lossy())))
    }

    fn seconds(&mut self, what: &str) -> Result<u32, Wrong> {
        let token = self.next(what)?;
        let text = token.as_str().unwrap_or("");
        // SOA numbers are 32 bits wide, whatever RFC 2181 says of TTLs.
        parse_ttl(text)
            .or_else(|| text.parse().ok())
            .ok_or_else(|| {
                self.wrong(format!(
                    "{what} {text:?}: must be seconds, or a time like 1h30m"
                ))
            })
    }

    pub(super) fn name(&mut self, out: &mut Vec<u8>) -> Result<(), Wrong> {
        let token = self.next("a domain name")?;
        let name = Name::parse(token.text, Some(self.origin))
            .map_err(|error| self.wrong(error.to_string()))?;
        out.extend(name.as_wire());
        Ok(())
    }

    /// A character-string (RFC 1035 section 3.3).
    fn string(&mut self, out: &mut Vec<u8>) -> Result<(), Wrong> {
        let token = self.next("a character string")?;
        let bytes = unescape_all(token.text).ok_or_else(|| self.bad_escape(token))?;
        let length = u8::try_from(bytes.len()).map_err(|_| {
            self.wrong(format!(
                "a character string has {} bytes: must be at most 255",
                bytes.len()
            ))
        })?;
        out.push(length);
        out.extend(bytes);
        Ok(())
    }

    fn hex_to_end(&mut self, out: &mut Vec<u8>) -> Result<(), Wrong> {
        let mut high: Option<u8> = None;
        let first = self.next("hexadecimal data")?;
        let mut token = first;
        loop {
            for byte in token.text {
                let digit = char::from(*byte).to_digit(16).ok_or_else(|| {
                    self.wrong(format!("{:?}: must be hexadecimal", token.lossy()))
                })? as u8;
                match high.take() {
                    None => high = Some(digit << 4),
                    Some(high) => out.push(high | digit),
                }
            }
            if !self.more() {
                break;
            }
            token = self.next("hexadecimal data")?;
        }
        if high.is_some() {
            return Err(
                self.wrong("hexadecimal data must have an even number of digits".to_owned())
            );
        }
        Ok(())
    }

    fn base64_to_end(&mut self, out: &mut Vec<u8>) -> Result<(), Wrong> {
        let mut text = self.next("base64 data")?.text.to_vec();
        while self.more() {
            text.extend(self.next("base64 data")?.text);
        }
        let bytes =
            base64(&text).ok_or_else(|| self.wrong("the data must be base64".to_owned()))?;
        out.extend(bytes);
        Ok(())
    }
}

pub(super) fn unescape_all(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        at += 1;
        if byte == b'\\' {
            let (byte, used) = unescape(&text[at..])?;
            out.push(byte);
            at += used;
        } else {
            out.push(byte);
        }
    }
    Some(out)
}

/// RFC 4648 section 4, padding required, spare bits zero.
pub(super) fn base64(text: &[u8]) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let body = text
        .strip_suffix(b"==")
        .or_else(|| text.strip_suffix(b"="))
        .unwrap_or(text);
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut held) = (0_u32, 0);
    for byte in body {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push((bits >> held) as u8);
        }
    }
    (held < 6 && bits & ((1 << held) - 1) == 0).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rdata(text: &str) -> Result<Vec<u8>, String> {
        let zone = format!("a 60 {text}");
        let origin: Name = "example.".parse().expect("a name");
        crate::master::parse(&origin, zone.as_bytes())
            .map(|records| records[0].rdata.to_vec())
            .map_err(|problems| problems[0].to_string())
    }

    #[test]
    fn every_type_has_its_wire_form() {
        let cases: &[(&str, &[u8])] = &[
            ("A 192.0.2.1", &[192, 0, 2, 1]),
            ("MX 10 mail", b"\0\x0a\x04mail\x07example\0"),
            ("TXT \"a b\" c\\032d \"\\\"\"", b"\x03a b\x03c d\x01\""),
            ("TXT \"\"", b"\0"),
            ("SRV 1 2 443 .", b"\0\x01\0\x02\x01\xbb\0"),
            ("CAA 0 issue \"ca.example\"", b"\0\x05issueca.example"),
            ("TLSA 3 1 1 ab CD", b"\x03\x01\x01\xab\xcd"),
            ("SSHFP 4 2 0102", b"\x04\x02\x01\x02"),
            ("DS 60485 5 1 2BB1", b"\xec\x45\x05\x01\x2b\xb1"),
            ("DNSKEY 256 3 5 AQ ID", b"\x01\0\x03\x05\x01\x02\x03"),
            (
                "NAPTR 1 2 u E2U+sip \"\" .",
                b"\0\x01\0\x02\x01u\x07E2U+sip\0\0",
            ),
            ("HINFO PC \"A B\"", b"\x02PC\x03A B"),
            // The examples of RFC 1876 section 4 and the least that may be written.
            (
                "LOC 42 21 54 N 71 06 18 W -24m 30m",
                b"\0\x33\x16\x13\x89\x17\x2d\xd0\x70\xbe\x15\xf0\0\x98\x8d\x20",
            ),
            (
                "LOC 42 21 43.952 N 71 5 6.344 W -24m 1m 200m 10m",
                b"\0\x12\x24\x13\x89\x17\x06\x90\x70\xbf\x2d\xd8\0\x98\x8d\x20",
            ),
            (
                "LOC 0 S 180 E 0",
                b"\0\x12\x16\x13\x80\0\0\0\xa6\x9f\xb2\0\0\x98\x96\x80",
            ),
            ("DNAME other.example.", b"\x05other\x07example\0"),
            ("TYPE65280 \\# 3 01 0203", b"\x01\x02\x03"),
            ("TYPE65280 \\# 0", b""),
            ("A \\# 4 c0000201", &[192, 0, 2, 1]),
        ];
        for (text, wire) in cases {
            assert_eq!(rdata(text).as_deref(), Ok(*wire), "{text}");
        }
    }

    #[test]
    fn wrong_rdata_is_refused() {
        for (text, rule) in [
            ("MX x mail", "is not a preference"),
            ("MX 10", "is missing"),
            ("TLSA 3 1 1 abc", "even number"),
            ("TLSA 3 1 1 zz", "hexadecimal"),
            ("TYPE65280 1.2.3.4", "RFC 3597"),
            ("TYPE65280 \\# 2 01", "bytes follow"),
            ("A \\# 3 010203", "not that of type A"),
            ("NS \\# 2 c00c", "not that of type NS"),
            ("TXT \\300", "three digits"),
            ("DNSKEY 256 3 5 A", "base64"),
            ("CAA 0 iss-ue x", "letters and digits"),
            ("LOC 91 N 0 E 0", "0 to 90"),
            ("LOC 90 0 1 N 0 E 0", "at most 90"),
            ("LOC 0 N 180 1 E 0", "at most 180"),
            ("LOC 1 60 N 0 E 0", "0 to 59"),
            ("LOC 1 2 3.1234 N 0 E 0", "0 to 59"),
            ("LOC 1 2 3 4 N 0 E 0", "must end with N or S"),
            ("LOC 1 N 1 E 1.234", "not an altitude"),
            ("LOC 1 N 1 E -100001", "-100000.00"),
            ("LOC 1 N 1 E 0 -1", "size and precision"),
        ] {
            let error = rdata(text).expect_err(text);
            assert!(error.contains(rule), "{text}: {error}");
        }
        let long = format!("TXT {}", "a".repeat(256));
        assert!(rdata(&long).expect_err("too long").contains("at most 255"));
    }
}
