//! Messages: version 2c (RFC 1901, RFC 3416) and version 3 (RFC 3412, RFC 3414).

use std::ops::Range;

use super::ber::{self, BerError, Reader};
use super::oid::Oid;

/// Octets of one message: the most that UDP carries.
pub const MESSAGE_BYTES_MAX: usize = 65_507;
/// Variables of one message that are read.
pub const VARIABLES_MAX: usize = 5_000;
/// Octets of an engine's identifier (RFC 3411).
pub const ENGINE_BYTES_MAX: usize = 32;

/// `version` of 2c.
const V2C: i64 = 1;
/// `version` of 3.
const V3: i64 = 3;
/// The user-based security model.
const USM: i64 = 3;

/// A value (RFC 2578).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// INTEGER.
    Integer(i64),
    /// OCTET STRING.
    Octets(Vec<u8>),
    /// NULL: what requests hold.
    Null,
    /// OBJECT IDENTIFIER.
    Oid(Oid),
    /// IpAddress.
    Address([u8; 4]),
    /// Counter32.
    Counter32(u32),
    /// Gauge32, Unsigned32.
    Gauge32(u32),
    /// TimeTicks: hundredths of a second.
    Ticks(u32),
    /// Opaque.
    Opaque(Vec<u8>),
    /// Counter64.
    Counter64(u64),
    /// The agent knows no such object.
    NoSuchObject,
    /// The object has no such instance.
    NoSuchInstance,
    /// Nothing comes after this.
    EndOfView,
}

impl Value {
    /// A number that cannot be negative, and whether it has 64 bits.
    pub fn count(&self) -> Option<(u64, bool)> {
        match self {
            Self::Counter32(n) | Self::Gauge32(n) | Self::Ticks(n) => Some((u64::from(*n), false)),
            Self::Counter64(n) => Some((*n, true)),
            Self::Integer(n) => u64::try_from(*n).ok().map(|n| (n, false)),
            _ => None,
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, BerError> {
        let (tag, content) = reader.any()?;
        let bytes = content.rest();
        let narrow = || ber::unsigned(bytes, 32).map(|n| n as u32);
        Ok(match tag {
            ber::INTEGER => Self::Integer(ber::signed(bytes)?),
            ber::OCTETS => Self::Octets(bytes.to_vec()),
            ber::NULL => Self::Null,
            ber::OID => Self::Oid(Oid::decode(bytes)?),
            0x40 => Self::Address(
                bytes
                    .try_into()
                    .map_err(|_| BerError::Form("an IpAddress is not of four octets"))?,
            ),
            0x41 => Self::Counter32(narrow()?),
            0x42 => Self::Gauge32(narrow()?),
            0x43 => Self::Ticks(narrow()?),
            0x44 => Self::Opaque(bytes.to_vec()),
            0x46 => Self::Counter64(ber::unsigned(bytes, 64)?),
            0x80 => Self::NoSuchObject,
            0x81 => Self::NoSuchInstance,
            0x82 => Self::EndOfView,
            _ => return Err(BerError::Form("a value of a type that SNMP does not have")),
        })
    }

    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Integer(n) => ber::put_integer(out, *n),
            Self::Octets(bytes) => ber::put(out, ber::OCTETS, bytes),
            Self::Null => ber::put(out, ber::NULL, &[]),
            Self::Oid(oid) => put_oid(out, oid),
            Self::Address(bytes) => ber::put(out, 0x40, bytes),
            Self::Counter32(n) => ber::put_unsigned(out, 0x41, (*n).into()),
            Self::Gauge32(n) => ber::put_unsigned(out, 0x42, (*n).into()),
            Self::Ticks(n) => ber::put_unsigned(out, 0x43, (*n).into()),
            Self::Opaque(bytes) => ber::put(out, 0x44, bytes),
            Self::Counter64(n) => ber::put_unsigned(out, 0x46, *n),
            Self::NoSuchObject => ber::put(out, 0x80, &[]),
            Self::NoSuchInstance => ber::put(out, 0x81, &[]),
            Self::EndOfView => ber::put(out, 0x82, &[]),
        }
    }
}

fn put_oid(out: &mut Vec<u8>, oid: &Oid) {
    let mut content = Vec::new();
    oid.encode(&mut content);
    ber::put(out, ber::OID, &content);
}

/// What a message asks or says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// GetRequest.
    Get,
    /// GetNextRequest.
    GetNext,
    /// Response.
    Response,
    /// GetBulkRequest.
    GetBulk,
    /// Report: the engine could not do what was asked, and says why.
    Report,
}

impl Kind {
    const fn tag(self) -> u8 {
        match self {
            Self::Get => 0xa0,
            Self::GetNext => 0xa1,
            Self::Response => 0xa2,
            Self::GetBulk => 0xa5,
            Self::Report => 0xa8,
        }
    }

    const fn from_tag(tag: u8) -> Option<Self> {
        match tag {
            0xa0 => Some(Self::Get),
            0xa1 => Some(Self::GetNext),
            0xa2 => Some(Self::Response),
            0xa5 => Some(Self::GetBulk),
            0xa8 => Some(Self::Report),
            _ => None,
        }
    }
}

/// A protocol data unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pdu {
    /// What it asks or says.
    pub kind: Kind,
    /// By which an answer is known.
    pub request_id: i32,
    /// `error-status`; of GetBulk, `non-repeaters`.
    pub error_status: i32,
    /// `error-index`; of GetBulk, `max-repetitions`.
    pub error_index: i32,
    /// The variables.
    pub variables: Vec<(Oid, Value)>,
}

impl Pdu {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, BerError> {
        let (tag, mut content) = reader.any()?;
        let kind = Kind::from_tag(tag).ok_or(BerError::Form("a PDU of another kind"))?;
        let request_id = narrow(content.integer()?)?;
        let error_status = narrow(content.integer()?)?;
        let error_index = narrow(content.integer()?)?;
        let mut list = content.tagged(ber::SEQUENCE)?;
        content.end()?;
        let mut variables = Vec::new();
        while !list.is_empty() {
            if variables.len() == VARIABLES_MAX {
                return Err(BerError::Bound {
                    what: "a number of variables",
                    value: VARIABLES_MAX as u64 + 1,
                    max: VARIABLES_MAX as u64,
                });
            }
            let mut pair = list.tagged(ber::SEQUENCE)?;
            let oid = Oid::decode(pair.tagged(ber::OID)?.rest())?;
            let value = Value::decode(&mut pair)?;
            pair.end()?;
            variables.push((oid, value));
        }
        Ok(Self {
            kind,
            request_id,
            error_status,
            error_index,
            variables,
        })
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let mut list = Vec::new();
        for (oid, value) in &self.variables {
            let mut pair = Vec::new();
            put_oid(&mut pair, oid);
            value.encode(&mut pair);
            ber::put(&mut list, ber::SEQUENCE, &pair);
        }
        let mut content = Vec::new();
        ber::put_integer(&mut content, self.request_id.into());
        ber::put_integer(&mut content, self.error_status.into());
        ber::put_integer(&mut content, self.error_index.into());
        ber::put(&mut content, ber::SEQUENCE, &list);
        ber::put(out, self.kind.tag(), &content);
    }
}

fn narrow(value: i64) -> Result<i32, BerError> {
    i32::try_from(value).map_err(|_| BerError::Form("an integer of over 32 bits"))
}

/// A message of version 2c.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Community {
    /// The community: a password in the clear.
    pub community: Vec<u8>,
    /// What it asks or says.
    pub pdu: Pdu,
}

impl Community {
    /// Reads a message.
    ///
    /// # Errors
    /// When it is none, or of another version.
    pub fn decode(bytes: &[u8]) -> Result<Self, BerError> {
        let mut outer = Reader::new(bytes);
        let mut message = outer.tagged(ber::SEQUENCE)?;
        outer.end()?;
        if message.integer()? != V2C {
            return Err(BerError::Form("a message of another version than 2c"));
        }
        let community = message.octets()?.to_vec();
        let pdu = Pdu::decode(&mut message)?;
        message.end()?;
        Ok(Self { community, pdu })
    }

    /// The message's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut content = Vec::new();
        ber::put_integer(&mut content, V2C);
        ber::put(&mut content, ber::OCTETS, &self.community);
        self.pdu.encode(&mut content);
        let mut out = Vec::new();
        ber::put(&mut out, ber::SEQUENCE, &content);
        out
    }
}

/// `msgFlags`: authenticated.
pub const AUTH: u8 = 0x01;
/// `msgFlags`: encrypted.
pub const PRIV: u8 = 0x02;
/// `msgFlags`: a Report may be sent back.
pub const REPORTABLE: u8 = 0x04;

/// A message of version 3 around its data.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Secured {
    /// By which an answer is known.
    pub id: i32,
    /// [`AUTH`], [`PRIV`], [`REPORTABLE`].
    pub flags: u8,
    /// The authoritative engine.
    pub engine: Vec<u8>,
    /// How often it has started.
    pub boots: u32,
    /// Seconds since it started.
    pub time: u32,
    /// The user.
    pub user: Vec<u8>,
    /// The authentication code.
    pub code: Vec<u8>,
    /// Salt of the encryption.
    pub salt: Vec<u8>,
    /// The scoped PDU: plain, or encrypted when the flags say so.
    pub data: Vec<u8>,
}

impl Secured {
    /// Reads a message; also where the authentication code lies in it.
    ///
    /// # Errors
    /// When it is none, or of another version or security model.
    pub fn decode(bytes: &[u8]) -> Result<(Self, Range<usize>), BerError> {
        let mut outer = Reader::new(bytes);
        let mut message = outer.tagged(ber::SEQUENCE)?;
        outer.end()?;
        if message.integer()? != V3 {
            return Err(BerError::Form("a message of another version than 3"));
        }
        let mut header = message.tagged(ber::SEQUENCE)?;
        let id = narrow(header.integer()?)?;
        let size = header.integer()?;
        if size < 484 {
            return Err(BerError::Form("msgMaxSize is less than 484"));
        }
        let &[flags] = header.octets()? else {
            return Err(BerError::Form("msgFlags is not of one octet"));
        };
        if header.integer()? != USM {
            return Err(BerError::Form("a security model other than the user-based"));
        }
        header.end()?;
        if flags & (AUTH | PRIV) == PRIV {
            return Err(BerError::Form("privacy without authentication"));
        }
        let mut parameters = message.tagged(ber::OCTETS)?;
        let mut fields = parameters.tagged(ber::SEQUENCE)?;
        parameters.end()?;
        let engine = fields.octets()?;
        if engine.len() > ENGINE_BYTES_MAX {
            return Err(BerError::Bound {
                what: "an engine identifier's length",
                value: engine.len() as u64,
                max: ENGINE_BYTES_MAX as u64,
            });
        }
        let time = |value: i64| {
            i32::try_from(value)
                .ok()
                .and_then(|value| u32::try_from(value).ok())
                .ok_or(BerError::Form("boots and time must be 0 to 2147483647"))
        };
        let (boots, at) = (time(fields.integer()?)?, time(fields.integer()?)?);
        let user = fields.octets()?;
        let code = fields.tagged(ber::OCTETS)?;
        let place = code.offset()..code.offset() + code.rest().len();
        let salt = fields.octets()?;
        fields.end()?;
        let data = if flags & PRIV == 0 {
            // Kept with its tag and length, as it would be when decrypted.
            let start = message.offset();
            message.tagged(ber::SEQUENCE)?;
            bytes
                .get(start..message.offset())
                .ok_or(BerError::Short("a scoped PDU"))?
        } else {
            message.octets()?
        };
        message.end()?;
        let decoded = Self {
            id,
            flags,
            engine: engine.to_vec(),
            boots,
            time: at,
            user: user.to_vec(),
            code: code.rest().to_vec(),
            salt: salt.to_vec(),
            data: data.to_vec(),
        };
        Ok((decoded, place))
    }

    /// The message's bytes, and where the authentication code lies in them.
    pub fn encode(&self) -> (Vec<u8>, Range<usize>) {
        let mut header = Vec::new();
        ber::put_integer(&mut header, self.id.into());
        ber::put_integer(&mut header, MESSAGE_BYTES_MAX as i64);
        ber::put(&mut header, ber::OCTETS, &[self.flags]);
        ber::put_integer(&mut header, USM);
        let mut fields = Vec::new();
        ber::put(&mut fields, ber::OCTETS, &self.engine);
        ber::put_integer(&mut fields, self.boots.into());
        ber::put_integer(&mut fields, self.time.into());
        ber::put(&mut fields, ber::OCTETS, &self.user);
        ber::put(&mut fields, ber::OCTETS, &self.code);
        // What comes after the code, counted from the message's end.
        let mut tail = Vec::new();
        ber::put(&mut tail, ber::OCTETS, &self.salt);
        fields.extend_from_slice(&tail);
        let mut parameters = Vec::new();
        ber::put(&mut parameters, ber::SEQUENCE, &fields);
        let mut data = Vec::new();
        if self.flags & PRIV == 0 {
            data.extend_from_slice(&self.data);
        } else {
            ber::put(&mut data, ber::OCTETS, &self.data);
        }
        let mut content = Vec::new();
        ber::put_integer(&mut content, V3);
        ber::put(&mut content, ber::SEQUENCE, &header);
        ber::put(&mut content, ber::OCTETS, &parameters);
        content.extend_from_slice(&data);
        let mut out = Vec::new();
        ber::put(&mut out, ber::SEQUENCE, &content);
        let end = out.len() - data.len() - tail.len();
        (out, end - self.code.len()..end)
    }
}

/// A PDU in its context (RFC 3412 section 6.8).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scoped {
    /// The engine that it concerns.
    pub engine: Vec<u8>,
    /// The context's name; usually empty.
    pub context: Vec<u8>,
    /// What it asks or says.
    pub pdu: Pdu,
}

impl Scoped {
    /// Reads a scoped PDU. What follows it is the padding of the encryption.
    ///
    /// # Errors
    /// When it is none.
    pub fn decode(bytes: &[u8]) -> Result<Self, BerError> {
        let mut content = Reader::new(bytes).tagged(ber::SEQUENCE)?;
        let engine = content.octets()?.to_vec();
        let context = content.octets()?.to_vec();
        let pdu = Pdu::decode(&mut content)?;
        content.end()?;
        Ok(Self {
            engine,
            context,
            pdu,
        })
    }

    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut content = Vec::new();
        ber::put(&mut content, ber::OCTETS, &self.engine);
        ber::put(&mut content, ber::OCTETS, &self.context);
        self.pdu.encode(&mut content);
        let mut out = Vec::new();
        ber::put(&mut out, ber::SEQUENCE, &content);
        out
    }
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
