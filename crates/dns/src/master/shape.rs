//! The types whose RDATA is one field after another: a line for each type, from which
//! it is read, and checked when it comes in the form of RFC 3597.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::Wrong;
use super::rdata::Fields;
use super::text::{self, algorithm, certificate_type, signature_time};
use crate::kind::Kind;
use crate::name::wire_length;

/// Bytes of the shortest digest of a ZONEMD record (RFC 8976 section 2.2.4).
const ZONE_DIGEST_BYTES_MIN: usize = 12;

/// One field; a text names it in messages.
#[derive(Debug, Clone, Copy)]
pub(super) enum Field {
    /// A domain name.
    Name,
    /// A number of 8 bits.
    U8(&'static str),
    /// A number of 16 bits.
    U16(&'static str),
    /// A number of 32 bits.
    U32(&'static str),
    /// Seconds, or a time like `1h30m`, in 32 bits.
    Seconds(&'static str),
    /// An IPv4 address.
    Ipv4,
    /// An IPv6 address.
    Ipv6,
    /// A character string.
    Text,
    /// A character string that may be missing.
    MaybeText,
    /// Character strings, at least one.
    Texts,
    /// Text without a length that fills the rest.
    Rest(&'static str),
    /// Hexadecimal data that fills the rest, so many bytes at least.
    Hex(usize),
    /// Base64 data that fills the rest.
    Base64,
    /// Base64 data that fills the rest, or nothing.
    MaybeBase64,
    /// Hexadecimal data after its length, `-` for none (RFC 5155 section 3.3).
    Salt,
    /// Data in base 32 after its length (RFC 5155 section 3.3).
    Base32,
    /// A record type.
    Type,
    /// Record types as a bitmap, to the end (RFC 4034 section 4.1.2).
    Types,
    /// A DNSSEC algorithm, as a number or by name.
    Algorithm,
    /// A certificate type, as a number or by name (RFC 4398 section 2.1).
    CertificateType,
    /// A date as `YYYYMMDDHHmmSS`, or seconds since 1970 (RFC 4034 section 3.2).
    Time,
    /// Bytes in hexadecimal with `-` between them, so many (RFC 7043).
    Eui(usize),
    /// 64 bits as four groups of hexadecimal digits (RFC 6742 section 2.1.2).
    Groups,
}

use Field::{
    Algorithm, Base32, Base64, CertificateType, Eui, Groups, Hex, Ipv4, Ipv6, MaybeBase64,
    MaybeText, Rest, Salt, Seconds, Text, Texts, Time, Type, Types, U8, U16, U32,
};

const PREFERENCE: Field = U16("a preference of 0 to 65535");
const DIGEST: &[Field] = &[U16("a key tag"), Algorithm, U8("a digest type"), Hex(1)];
const PUBLIC_KEY: &[Field] = &[U16("flags"), U8("a protocol"), Algorithm, Base64];
const SIGNATURE: &[Field] = &[
    Type,
    Algorithm,
    U8("a number of labels"),
    Seconds("the original TTL"),
    Time,
    Time,
    U16("a key tag"),
    Field::Name,
    Base64,
];
const CERTIFICATE_USE: &[Field] = &[
    U8("a certificate usage"),
    U8("a selector"),
    U8("a matching type"),
    Hex(1),
];

/// The fields of a type; none for those that are not fields in a row.
pub(super) const fn of(kind: Kind) -> Option<&'static [Field]> {
    use Field::Name;
    Some(match kind {
        Kind::A => &[Ipv4],
        Kind::AAAA => &[Ipv6],
        Kind::NS | Kind::CNAME | Kind::PTR | Kind::DNAME => &[Name],
        Kind::MB | Kind::MD | Kind::MF | Kind::MG | Kind::MR => &[Name],
        Kind::MINFO | Kind::RP | Kind::TALINK => &[Name, Name],
        Kind::SOA => &[
            Name,
            Name,
            U32("a serial number"),
            Seconds("REFRESH"),
            Seconds("RETRY"),
            Seconds("EXPIRE"),
            Seconds("MINIMUM"),
        ],
        Kind::MX | Kind::KX | Kind::RT | Kind::LP => &[PREFERENCE, Name],
        Kind::AFSDB => &[U16("a subtype"), Name],
        Kind::PX => &[PREFERENCE, Name, Name],
        Kind::HINFO => &[Text, Text],
        Kind::TXT | Kind::SPF | Kind::NINFO | Kind::AVC | Kind::RESINFO => &[Texts],
        Kind::X25 => &[Text],
        Kind::ISDN => &[Text, MaybeText],
        Kind::GPOS => &[Text, Text, Text],
        Kind::SRV => &[U16("a priority"), U16("a weight"), U16("a port"), Name],
        Kind::NAPTR => &[U16("an order"), PREFERENCE, Text, Text, Text, Name],
        Kind::URI => &[U16("a priority"), U16("a weight"), Rest("a target")],
        Kind::NID | Kind::L64 => &[PREFERENCE, Groups],
        Kind::L32 => &[PREFERENCE, Ipv4],
        Kind::EUI48 => &[Eui(6)],
        Kind::EUI64 => &[Eui(8)],
        Kind::TLSA | Kind::SMIMEA => CERTIFICATE_USE,
        Kind::SSHFP => &[U8("an algorithm"), U8("a fingerprint type"), Hex(1)],
        Kind::CERT => &[CertificateType, U16("a key tag"), Algorithm, Base64],
        Kind::OPENPGPKEY | Kind::DHCID => &[Base64],
        Kind::DS | Kind::CDS | Kind::DLV | Kind::TA => DIGEST,
        Kind::DNSKEY | Kind::CDNSKEY | Kind::RKEY => PUBLIC_KEY,
        Kind::KEY => &[U16("flags"), U8("a protocol"), Algorithm, MaybeBase64],
        Kind::RRSIG | Kind::SIG => SIGNATURE,
        Kind::NSEC => &[Name, Types],
        Kind::NSEC3 => &[
            U8("a hash algorithm"),
            U8("flags"),
            U16("a number of iterations"),
            Salt,
            Base32,
            Types,
        ],
        Kind::NSEC3PARAM => &[
            U8("a hash algorithm"),
            U8("flags"),
            U16("a number of iterations"),
            Salt,
        ],
        Kind::CSYNC => &[U32("a serial number"), U16("flags"), Types],
        Kind::ZONEMD => &[
            U32("a serial number"),
            U8("a scheme"),
            U8("a hash algorithm"),
            Hex(ZONE_DIGEST_BYTES_MIN),
        ],
        Kind::DSYNC => &[Type, U8("a scheme"), U16("a port"), Name],
        _ => return None,
    })
}

impl Field {
    /// Reads the text form of the field and appends its wire form.
    pub(super) fn parse(self, f: &mut Fields<'_, '_>, out: &mut Vec<u8>) -> Result<(), Wrong> {
        match self {
            Self::Name => f.name(out)?,
            U8(what) => out.push(f.parse(what)?),
            U16(what) => out.extend(f.parse::<u16>(what)?.to_be_bytes()),
            U32(what) => out.extend(f.parse::<u32>(what)?.to_be_bytes()),
            Seconds(what) => out.extend(f.seconds(what)?.to_be_bytes()),
            Ipv4 => out.extend(f.parse::<Ipv4Addr>("an IPv4 address")?.octets()),
            Ipv6 => out.extend(f.parse::<Ipv6Addr>("an IPv6 address")?.octets()),
            Text => f.string(out)?,
            MaybeText if !f.more() => {}
            MaybeText => f.string(out)?,
            Texts => {
                f.string(out)?;
                while f.more() {
                    f.string(out)?;
                }
            }
            Rest(what) => {
                let value = f.text(what)?;
                if value.is_empty() {
                    return Err(f.wrong(format!("{what} must not be empty")));
                }
                out.extend(value);
            }
            Hex(least) => {
                let start = out.len();
                f.hex_to_end(out)?;
                if out.len() - start < least {
                    return Err(f.wrong(format!(
                        "the data has {} bytes: must be at least {least}",
                        out.len() - start
                    )));
                }
            }
            MaybeBase64 if !f.more() => {}
            Base64 | MaybeBase64 => f.base64_to_end(out)?,
            Salt => f.word("a salt of hexadecimal digits, or \"-\"", out, text::salt)?,
            Base32 => f.word("a hash in base 32", out, text::base32)?,
            Type => f.word("a record type", out, |text| {
                Some(Kind::parse(text)?.0.to_be_bytes().to_vec())
            })?,
            Types => type_bitmap(f, out)?,
            Algorithm => f.word("an algorithm", out, |text| Some(vec![algorithm(text)?]))?,
            CertificateType => f.word("a certificate type", out, |text| {
                Some(certificate_type(text)?.to_be_bytes().to_vec())
            })?,
            Time => f.word("a date as YYYYMMDDHHmmSS of 1970 to 2106", out, |text| {
                Some(signature_time(text)?.to_be_bytes().to_vec())
            })?,
            Eui(length) => f.word("bytes like 00-00-5e-00-53-2a", out, |text| {
                text::eui(text).filter(|bytes| bytes.len() == length)
            })?,
            Groups => f.word("four groups like 14:4fff:ff20:ee64", out, text::groups)?,
        }
        Ok(())
    }

    /// How many bytes of `rest` the field takes in wire form, if it can stand there.
    fn wire_bytes(self, rest: &[u8]) -> Option<usize> {
        let length = match self {
            Self::Name => wire_length(rest)?,
            U8(_) | Algorithm => 1,
            U16(_) | Type | CertificateType => 2,
            U32(_) | Seconds(_) | Time | Ipv4 => 4,
            Ipv6 => 16,
            Eui(length) => length,
            Groups => 8,
            Text | Salt | Base32 => 1 + usize::from(*rest.first()?),
            MaybeText => rest.first().map_or(0, |length| 1 + usize::from(*length)),
            Texts => {
                let mut at = 1 + usize::from(*rest.first()?);
                while let Some(length) = rest.get(at) {
                    at += 1 + usize::from(*length);
                }
                at
            }
            Rest(_) | Base64 => rest.len().max(1),
            Hex(least) => rest.len().max(least),
            MaybeBase64 => rest.len(),
            Types => bitmap_bytes(rest)?,
        };
        (length <= rest.len()).then_some(length)
    }
}

/// Whether wire RDATA is these fields and nothing else.
pub(super) fn fits(fields: &[Field], rdata: &[u8]) -> bool {
    let mut rest = rdata;
    for field in fields {
        let Some(length) = field.wire_bytes(rest) else {
            return false;
        };
        rest = &rest[length..];
    }
    rest.is_empty()
}

/// RFC 4034 section 4.1.2: for each block of 256 types its number, the length of its
/// bits, and the bits.
fn type_bitmap(f: &mut Fields<'_, '_>, out: &mut Vec<u8>) -> Result<(), Wrong> {
    let mut types = std::collections::BTreeSet::new();
    while f.more() {
        let token = f.next("a record type")?;
        let kind = token.as_str().and_then(Kind::parse);
        let kind =
            kind.ok_or_else(|| f.wrong(format!("{:?} is not a record type", token.lossy())))?;
        types.insert(kind.0);
    }
    let mut types = types.into_iter().peekable();
    while let Some(first) = types.peek() {
        let block = first >> 8;
        let mut bits = [0_u8; 32];
        let mut length = 0;
        while let Some(kind) = types.next_if(|kind| kind >> 8 == block) {
            let at = usize::from(kind & 0xff) / 8;
            bits[at] |= 0x80 >> (kind % 8);
            length = at + 1;
        }
        out.extend([block as u8, length as u8]);
        out.extend(&bits[..length]);
    }
    Ok(())
}

/// The whole of `rest`, if it is blocks in rising order.
fn bitmap_bytes(rest: &[u8]) -> Option<usize> {
    let (mut at, mut last) = (0, None);
    while let Some(&block) = rest.get(at) {
        let length = usize::from(*rest.get(at + 1)?);
        if last.is_some_and(|last| last >= block) || !(1..=32).contains(&length) {
            return None;
        }
        last = Some(block);
        at += 2 + length;
    }
    Some(at)
}
