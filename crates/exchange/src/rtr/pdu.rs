//! The protocol's data units, to and from bytes (RFC 8210 section 5, RFC 6810 section 5).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use base::Prefix;

use crate::rpki::Vrp;

/// The highest version spoken.
pub const VERSION_MAX: u8 = 1;
/// Bytes of every header.
pub const HEADER_BYTES: usize = 8;
/// Bytes of one data unit; error reports carry another unit and a text, router keys a key.
pub const PDU_BYTES_MAX: usize = 16 << 10;

/// Codes of error reports (RFC 8210 section 12).
pub mod code {
    /// The data is broken.
    pub const CORRUPT: u16 = 0;
    /// The server failed.
    pub const INTERNAL: u16 = 1;
    /// The server has nothing yet; not fatal.
    pub const NO_DATA: u16 = 2;
    /// The unit makes no sense here.
    pub const INVALID_REQUEST: u16 = 3;
    /// The version is not spoken.
    pub const UNSUPPORTED_VERSION: u16 = 4;
    /// The type is unknown.
    pub const UNSUPPORTED_TYPE: u16 = 5;
    /// A payload was withdrawn that was never announced.
    pub const UNKNOWN_WITHDRAWAL: u16 = 6;
    /// A payload was announced twice.
    pub const DUPLICATE: u16 = 7;
    /// The version changed within a connection.
    pub const UNEXPECTED_VERSION: u16 = 8;
}

/// How often a router asks, in seconds (RFC 8210 section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Between two questions, 1 to 86,400.
    pub refresh_s: u32,
    /// After a failed question, 1 to 7,200.
    pub retry_s: u32,
    /// How long data is used that cannot be renewed, 600 to 172,800.
    pub expire_s: u32,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            refresh_s: 3_600,
            retry_s: 600,
            expire_s: 7_200,
        }
    }
}

/// One data unit, without its version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pdu {
    /// Server: there is something new.
    SerialNotify {
        /// Session id.
        session: u16,
        /// The newest serial number.
        serial: u32,
    },
    /// Router: what changed since `serial`?
    SerialQuery {
        /// Session id.
        session: u16,
        /// What the router has.
        serial: u32,
    },
    /// Router: everything, please.
    ResetQuery,
    /// Server: payloads follow.
    CacheResponse {
        /// Session id.
        session: u16,
    },
    /// One payload.
    Payload {
        /// Announced or withdrawn.
        announced: bool,
        /// The payload.
        vrp: Vrp,
    },
    /// Server: that was all.
    EndOfData {
        /// Session id.
        session: u16,
        /// What the router has now.
        serial: u32,
        /// How often to ask; version 0 does not say.
        timing: Option<Timing>,
    },
    /// Server: ask for everything.
    CacheReset,
    /// A BGPsec router key, which is skipped.
    RouterKey,
    /// Something went wrong.
    ErrorReport {
        /// One of [`code`].
        code: u16,
        /// The text, as far as it is UTF-8.
        text: String,
    },
}

/// Bytes that are no data unit; `code` is what to report.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct PduError {
    /// One of [`code`].
    pub code: u16,
    /// What is wrong.
    pub problem: String,
}

/// The fixed beginning of a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Protocol version.
    pub version: u8,
    /// Type.
    pub kind: u8,
    /// Session id, flags or error code, by type.
    pub session: u16,
    /// Bytes of the whole unit.
    pub length: usize,
}

impl Header {
    /// Reads a header.
    ///
    /// # Errors
    /// When the length cannot be that of a unit.
    pub fn parse(bytes: [u8; HEADER_BYTES]) -> Result<Self, PduError> {
        let [version, kind, s0, s1, l0, l1, l2, l3] = bytes;
        let length = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
        if !(HEADER_BYTES..=PDU_BYTES_MAX).contains(&length) {
            return Err(PduError {
                code: code::CORRUPT,
                problem: format!(
                    "length {length} of a unit of type {kind}: must be from {HEADER_BYTES} to {PDU_BYTES_MAX}"
                ),
            });
        }
        Ok(Self {
            version,
            kind,
            session: u16::from_be_bytes([s0, s1]),
            length,
        })
    }
}

fn word(body: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(body.get(at..at + 4)?.try_into().ok()?))
}

impl Pdu {
    /// Reads the unit of `header` whose bytes after the header are `body`.
    ///
    /// # Errors
    /// [`PduError`], with the code that belongs into the error report.
    pub fn parse(header: &Header, body: &[u8]) -> Result<Self, PduError> {
        let corrupt = |problem: String| PduError {
            code: code::CORRUPT,
            problem,
        };
        let expect = |bytes: usize| {
            if header.length == bytes && body.len() + HEADER_BYTES == bytes {
                Ok(())
            } else {
                Err(corrupt(format!(
                    "length {} of a unit of type {}: must be {bytes}",
                    header.length, header.kind
                )))
            }
        };
        let short = || corrupt(format!("a unit of type {} is cut short", header.kind));
        let session = header.session;
        match (header.kind, header.version) {
            (0, _) => {
                expect(12)?;
                let serial = word(body, 0).ok_or_else(short)?;
                Ok(Self::SerialNotify { session, serial })
            }
            (1, _) => {
                expect(12)?;
                let serial = word(body, 0).ok_or_else(short)?;
                Ok(Self::SerialQuery { session, serial })
            }
            (2, _) => expect(8).map(|()| Self::ResetQuery),
            (3, _) => expect(8).map(|()| Self::CacheResponse { session }),
            (4, _) => {
                expect(20)?;
                payload::<4>(body, |bytes| IpAddr::V4(Ipv4Addr::from(bytes)))
            }
            (6, _) => {
                expect(32)?;
                payload::<16>(body, |bytes| IpAddr::V6(Ipv6Addr::from(bytes)))
            }
            (7, 0) => {
                expect(12)?;
                let serial = word(body, 0).ok_or_else(short)?;
                Ok(Self::EndOfData {
                    session,
                    serial,
                    timing: None,
                })
            }
            (7, _) => {
                expect(24)?;
                let field = |n: usize| word(body, n * 4).ok_or_else(short);
                Ok(Self::EndOfData {
                    session,
                    serial: field(0)?,
                    timing: Some(Timing {
                        refresh_s: field(1)?,
                        retry_s: field(2)?,
                        expire_s: field(3)?,
                    }),
                })
            }
            (8, _) => expect(8).map(|()| Self::CacheReset),
            (9, 1..) => Ok(Self::RouterKey),
            (10, _) => {
                let enclosed = word(body, 0).ok_or_else(short)? as usize;
                let at = enclosed.checked_add(4).ok_or_else(short)?;
                let length = word(body.get(at..).ok_or_else(short)?, 0).ok_or_else(short)? as usize;
                let text = body
                    .get(at + 4..)
                    .filter(|rest| rest.len() == length)
                    .ok_or_else(short)?;
                Ok(Self::ErrorReport {
                    code: session,
                    text: String::from_utf8_lossy(text).into_owned(),
                })
            }
            (kind, version) => Err(PduError {
                code: code::UNSUPPORTED_TYPE,
                problem: format!("type {kind} is not one of version {version}"),
            }),
        }
    }

    /// Appends the unit's bytes for `version`. A text over 1 KiB is cut.
    pub fn write(&self, version: u8, out: &mut Vec<u8>) {
        let mut header = |kind: u8, session: u16, length: u32| {
            out.extend([version, kind]);
            out.extend(session.to_be_bytes());
            out.extend(length.to_be_bytes());
        };
        match self {
            Self::SerialNotify { session, serial } => {
                header(0, *session, 12);
                out.extend(serial.to_be_bytes());
            }
            Self::SerialQuery { session, serial } => {
                header(1, *session, 12);
                out.extend(serial.to_be_bytes());
            }
            Self::ResetQuery => header(2, 0, 8),
            Self::CacheResponse { session } => header(3, *session, 8),
            Self::Payload { announced, vrp } => {
                let address = vrp.prefix.address();
                match address {
                    IpAddr::V4(_) => header(4, 0, 20),
                    IpAddr::V6(_) => header(6, 0, 32),
                }
                out.extend([u8::from(*announced), vrp.prefix.length(), vrp.max_length, 0]);
                match address {
                    IpAddr::V4(v4) => out.extend(v4.octets()),
                    IpAddr::V6(v6) => out.extend(v6.octets()),
                }
                out.extend(vrp.asn.to_be_bytes());
            }
            Self::EndOfData {
                session,
                serial,
                timing,
            } => {
                header(7, *session, if version == 0 { 12 } else { 24 });
                out.extend(serial.to_be_bytes());
                if version > 0 {
                    let timing = timing.unwrap_or_default();
                    out.extend(timing.refresh_s.to_be_bytes());
                    out.extend(timing.retry_s.to_be_bytes());
                    out.extend(timing.expire_s.to_be_bytes());
                }
            }
            Self::CacheReset => header(8, 0, 8),
            Self::RouterKey => {}
            Self::ErrorReport { code, text } => {
                let cut = (0..=text.len().min(1_024))
                    .rev()
                    .find(|at| text.is_char_boundary(*at));
                let text = &text[..cut.unwrap_or(0)];
                header(10, *code, 16 + text.len() as u32);
                out.extend(0u32.to_be_bytes());
                out.extend((text.len() as u32).to_be_bytes());
                out.extend(text.as_bytes());
            }
        }
    }
}

fn payload<const N: usize>(body: &[u8], address: fn([u8; N]) -> IpAddr) -> Result<Pdu, PduError> {
    let corrupt = |problem: String| PduError {
        code: code::CORRUPT,
        problem,
    };
    let (Some([flags, length, max_length, _]), Some(bytes), Some(asn)) = (
        body.first_chunk::<4>(),
        body.get(4..4 + N).and_then(|bytes| bytes.try_into().ok()),
        word(body, 4 + N),
    ) else {
        return Err(corrupt("a payload is cut short".into()));
    };
    let address: IpAddr = address(bytes);
    let prefix = Prefix::new(address, *length).map_err(|error| corrupt(error.to_string()))?;
    if prefix.address() != address {
        return Err(corrupt(format!(
            "{address}/{length}: bits beyond the length must be zero"
        )));
    }
    let vrp = Vrp::new(prefix, *max_length, asn).map_err(|error| corrupt(error.to_string()))?;
    Ok(Pdu::Payload {
        announced: flags & 1 == 1,
        vrp,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Pdu> {
        let vrp = |prefix: &str, max, asn| {
            Vrp::new(prefix.parse().expect("a prefix"), max, asn).expect("a payload")
        };
        vec![
            Pdu::SerialNotify {
                session: 7,
                serial: 9,
            },
            Pdu::SerialQuery {
                session: 7,
                serial: 9,
            },
            Pdu::ResetQuery,
            Pdu::CacheResponse { session: 7 },
            Pdu::Payload {
                announced: true,
                vrp: vrp("192.0.2.0/24", 26, 64496),
            },
            Pdu::Payload {
                announced: false,
                vrp: vrp("2001:db8::/32", 48, u32::MAX),
            },
            Pdu::EndOfData {
                session: 7,
                serial: 9,
                timing: Some(Timing::default()),
            },
            Pdu::CacheReset,
            Pdu::ErrorReport {
                code: code::NO_DATA,
                text: "尚無資料".into(),
            },
        ]
    }

    fn read(bytes: &[u8]) -> Result<(Pdu, usize), PduError> {
        let head = bytes.first_chunk().ok_or(PduError {
            code: 0,
            problem: "short".into(),
        })?;
        let header = Header::parse(*head)?;
        let body = bytes.get(HEADER_BYTES..header.length).ok_or(PduError {
            code: 0,
            problem: "short".into(),
        })?;
        Ok((Pdu::parse(&header, body)?, header.length))
    }

    #[test]
    fn there_and_back() {
        for version in 0..=1 {
            for pdu in all() {
                let mut bytes = Vec::new();
                pdu.write(version, &mut bytes);
                let (mut read, length) = read(&bytes).expect("own bytes");
                assert_eq!(length, bytes.len());
                if let (0, Pdu::EndOfData { timing, .. }) = (version, &mut read) {
                    assert_eq!(timing.take(), None);
                    *timing = Some(Timing::default());
                }
                assert_eq!(read, pdu);
            }
        }
    }

    #[test]
    fn the_bytes_of_the_rfc() {
        let mut bytes = Vec::new();
        all()[4].write(1, &mut bytes);
        assert_eq!(
            hex::encode(bytes),
            "01040000000000140118 1a00c0000200 0000fbf0".replace(' ', "")
        );
    }

    #[test]
    fn contradictions_are_named() {
        let tell = |text: &str| {
            read(&hex::decode(text).expect("hex"))
                .expect_err("wrong")
                .problem
        };
        assert!(
            tell("0104000000000014010818000a0000010000fbf0").contains("10.0.0.1/8"),
            "host bits"
        );
        assert!(
            tell("0104000000000014011808000a0000000000fbf0").contains("from 24 to 32"),
            "maximum length"
        );
        assert!(
            tell("0104000000000014012121000a0000000000fbf0").contains("at most 32"),
            "length"
        );
        assert!(tell("010200000000000c00000000").contains("must be 8"));
        assert!(tell("01630000ffffffff").contains("must be from 8 to"));
        assert_eq!(
            read(&hex::decode("0163000000000008").expect("hex"))
                .expect_err("unknown")
                .code,
            code::UNSUPPORTED_TYPE
        );
    }

    #[test]
    fn three_hundred_thousand_mutations_do_not_panic() {
        let mut seed = crate::testing::Lcg(3);
        let good = all();
        for round in 0..300_000 {
            let mut bytes = Vec::new();
            good[round % good.len()].write((round % 2) as u8, &mut bytes);
            read(&crate::testing::mutate(&mut seed, &bytes)).ok();
        }
    }
}
