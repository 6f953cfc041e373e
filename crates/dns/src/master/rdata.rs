//! RDATA from its text form, type by type.

use std::fmt::Display;
use std::str::FromStr;

use super::lexer::Token;
use super::{Wrong, loc, parse_time, shape, special, svcb};
use crate::kind::Kind;
use crate::name::{Name, unescape};

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
    if let Some(fields) = shape::of(kind) {
        return fields.iter().try_for_each(|field| field.parse(f, out));
    }
    match kind {
        Kind::LOC => loc::parse(f, out),
        Kind::CAA => special::caa(f, out),
        Kind::SVCB | Kind::HTTPS => svcb::parse(f, out),
        Kind::WKS => special::wks(f, out),
        Kind::APL => special::apl(f, out),
        Kind::IPSECKEY => special::ipseckey(f, out),
        Kind::HIP => special::hip(f, out),
        _ => Err((
            0,
            format!("type {kind}: its RDATA must be given as \\# LENGTH HEX (RFC 3597)"),
        )),
    }
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

/// Whether RDATA in wire form has the fields of its type; the rest of the house relies
/// on the names in it.
pub(crate) fn is_well_formed(kind: Kind, rdata: &[u8]) -> bool {
    match (shape::of(kind), kind) {
        (Some(fields), _) => shape::fits(fields, rdata),
        (None, Kind::SVCB | Kind::HTTPS) => svcb::is_well_formed(rdata),
        (None, _) => true,
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

    /// SOA numbers are 32 bits wide, whatever RFC 2181 says of TTLs.
    pub(super) fn seconds(&mut self, what: &str) -> Result<u32, Wrong> {
        let token = self.next(what)?;
        let text = token.as_str().unwrap_or("");
        parse_time(text).ok_or_else(|| {
            self.wrong(format!(
                "{what} {text:?}: must be seconds, or a time like 1h30m"
            ))
        })
    }

    /// One word that stands for some bytes.
    pub(super) fn word(
        &mut self,
        what: &str,
        out: &mut Vec<u8>,
        read: impl Fn(&str) -> Option<Vec<u8>>,
    ) -> Result<(), Wrong> {
        let token = self.next(what)?;
        let bytes = token
            .as_str()
            .and_then(read)
            .ok_or_else(|| self.wrong(format!("{:?} is not {what}", token.lossy())))?;
        out.extend(bytes);
        Ok(())
    }

    /// The bytes of one token, as long as they are.
    pub(super) fn text(&mut self, what: &str) -> Result<Vec<u8>, Wrong> {
        let token = self.next(what)?;
        unescape_all(token.text).ok_or_else(|| self.bad_escape(token))
    }

    pub(super) fn name(&mut self, out: &mut Vec<u8>) -> Result<(), Wrong> {
        let token = self.next("a domain name")?;
        let name = Name::parse(token.text, Some(self.origin))
            .map_err(|error| self.wrong(error.to_string()))?;
        out.extend(name.as_wire());
        Ok(())
    }

    /// A character-string (RFC 1035 section 3.3).
    pub(super) fn string(&mut self, out: &mut Vec<u8>) -> Result<(), Wrong> {
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

    pub(super) fn hex_to_end(&mut self, out: &mut Vec<u8>) -> Result<(), Wrong> {
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

    pub(super) fn base64_to_end(&mut self, out: &mut Vec<u8>) -> Result<(), Wrong> {
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
            ("MB b", b"\x01b\x07example\0"),
            ("MINFO . b.", b"\0\x01b\0"),
            ("NULL \\# 1 00", b"\0"),
            ("WKS 192.0.2.1 TCP 7 smtp", &[192, 0, 2, 1, 6, 1, 0, 0, 0x40]),
            ("WKS 192.0.2.1 17", &[192, 0, 2, 1, 17]),
            ("RP host. .", b"\x04host\0\0"),
            ("AFSDB 1 x.", b"\0\x01\x01x\0"),
            ("X25 311061700956", b"\x0c311061700956"),
            ("ISDN 150862028003217", b"\x0f150862028003217"),
            ("ISDN 1 004", b"\x011\x03004"),
            ("RT 1 b.", b"\0\x01\x01b\0"),
            ("PX 1 b. .", b"\0\x01\x01b\0\0"),
            ("KX 1 b.", b"\0\x01\x01b\0"),
            ("KEY 256 3 RSASHA1 AQID", b"\x01\0\x03\x05\x01\x02\x03"),
            ("KEY 49152 3 0", b"\xc0\0\x03\0"),
            ("CERT PKIX 2 RSASHA1 AQID", b"\0\x01\0\x02\x05\x01\x02\x03"),
            ("CERT 65535 0 0 AQID", b"\xff\xff\0\0\0\x01\x02\x03"),
            ("CDS 0 0 0 00", &[0; 5]),
            ("CDNSKEY 0 3 0 AA==", &[0, 0, 3, 0, 0]),
            ("DS 1 ECDSAP256SHA256 2 ff", &[0, 1, 13, 2, 0xff]),
            ("SMIMEA 3 1 1 ab", b"\x03\x01\x01\xab"),
            ("OPENPGPKEY AQ ID", b"\x01\x02\x03"),
            ("DHCID AQID", b"\x01\x02\x03"),
            ("SPF \"v=spf1\"", b"\x06v=spf1"),
            ("URI 10 1 \"http://x/\"", b"\0\x0a\0\x01http://x/"),
            ("EUI48 00-00-5e-00-53-2a", &[0, 0, 0x5e, 0, 0x53, 0x2a]),
            ("EUI64 00-00-5e-ef-10-00-00-2a", &[0, 0, 0x5e, 0xef, 0x10, 0, 0, 0x2a]),
            ("NID 10 14:4fff:ff20:ee64", &[0, 10, 0, 0x14, 0x4f, 0xff, 0xff, 0x20, 0xee, 0x64]),
            ("L32 10 10.1.2.0", &[0, 10, 10, 1, 2, 0]),
            ("LP 10 l.", b"\0\x0a\x01l\0"),
            (
                "ZONEMD 1 1 1 000102030405060708090a0b",
                &[0, 0, 0, 1, 1, 1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11],
            ),
            // The example of RFC 4034 section 4.3.
            (
                "NSEC host.example.com. ( A MX RRSIG NSEC TYPE1234 )",
                b"\x04host\x07example\x03com\0\0\x06\x40\x01\0\0\0\x03\
                  \x04\x1b\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x20",
            ),
            (
                "RRSIG A 5 3 86400 20030322173103 1048354263 2642 example. AQID",
                b"\0\x01\x05\x03\0\x01\x51\x80\x3e\x7c\x9d\xd7\x3e\x7c\x9d\xd7\x0a\x52\x07example\0\x01\x02\x03",
            ),
            ("NSEC3PARAM 1 0 12 aabb", &[1, 0, 0, 12, 2, 0xaa, 0xbb]),
            ("NSEC3PARAM 1 0 0 -", &[1, 0, 0, 0, 0]),
            ("NSEC3 1 1 12 - CPNMU A", &[1, 1, 0, 12, 0, 3, 0x66, 0x6f, 0x6f, 0, 1, 0x40]),
            ("CSYNC 66 3 A NS AAAA", &[0, 0, 0, 66, 0, 3, 0, 4, 0x60, 0, 0, 8]),
            (
                "APL 1:192.168.32.0/21 !2:2001:db8::/32 1:0.0.0.0/0",
                &[0, 1, 21, 3, 192, 168, 32, 0, 2, 32, 0x84, 0x20, 1, 0x0d, 0xb8, 0, 1, 0, 0],
            ),
            ("APL", b""),
            ("IPSECKEY 10 1 2 192.0.2.38 AQID", &[10, 1, 2, 192, 0, 2, 38, 1, 2, 3]),
            ("IPSECKEY 10 0 0 .", &[10, 0, 0]),
            ("IPSECKEY 10 3 2 g. AQID", b"\x0a\x03\x02\x01g\0\x01\x02\x03"),
            ("HIP 2 2001 AQID r.", b"\x02\x02\0\x03\x20\x01\x01\x02\x03\x01r\0"),
            ("DSYNC CDS 1 5300 d.", b"\0\x3b\x01\x14\xb4\x01d\0"),
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
            ("DNSKEY 256 3 RSA", "\"RSA\" is not an algorithm"),
            ("MINFO a", "is missing"),
            ("NULL a", "RFC 3597"),
            ("WKS 192.0.2.1 SCTP 1", "\"SCTP\" is not a protocol"),
            ("WKS 192.0.2.1 6 65536", "\"65536\" is not a port"),
            ("CERT PKCS 1 1 AQID", "is not a certificate type"),
            ("URI 1 1 \"\"", "must not be empty"),
            ("EUI48 00-00-5e-00-53", "is not bytes like"),
            ("EUI64 00-00-5e-00-53-2a", "is not bytes like"),
            ("NID 10 1:2:3", "is not four groups"),
            ("ZONEMD 1 1 1 0001", "must be at least 12"),
            ("NSEC b A FOO", "\"FOO\" is not a record type"),
            ("NSEC \\# 3 00 00 00", "not that of type NSEC"),
            ("RRSIG A 5 3 1 20230229000000 1 1 . AQID", "is not a date"),
            ("NSEC3PARAM 1 0 0 abc", "is not a salt"),
            ("NSEC3 1 0 0 - =", "is not a hash"),
            ("APL 1:192.0.2.0/33", "is not an address prefix"),
            ("APL 3:192.0.2.0/24", "is not an address prefix"),
            ("IPSECKEY 1 4 1 . AQID", "must be 0 to 3"),
            ("IPSECKEY 1 0 1 a AQID", "must be \".\""),
            ("IPSECKEY 1 0 1 .", "is missing"),
            ("HIP 2 200 AQID", "host identity tag"),
            ("MB \\# 2 01 61", "not that of type MB"),
            ("SPF \\# 2 05 61", "not that of type SPF"),
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
