//! The part of BER (X.690) that SNMP uses (RFC 3417 section 8): definite lengths,
//! single-byte tags.

/// Why bytes are not what they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BerError {
    /// They end too early.
    #[error("ends early: {0}")]
    Short(&'static str),
    /// Another tag.
    #[error("tag 0x{found:02x} where 0x{wanted:02x} must be")]
    Tag {
        /// What was found.
        found: u8,
        /// What must be there.
        wanted: u8,
    },
    /// A value outside its bounds.
    #[error("{what} of {value}: must be at most {max}")]
    Bound {
        /// What it is.
        what: &'static str,
        /// Its value.
        value: u64,
        /// The most.
        max: u64,
    },
    /// A form that SNMP does not allow.
    #[error("{0}")]
    Form(&'static str),
}

/// INTEGER.
pub const INTEGER: u8 = 0x02;
/// OCTET STRING.
pub const OCTETS: u8 = 0x04;
/// NULL.
pub const NULL: u8 = 0x05;
/// OBJECT IDENTIFIER.
pub const OID: u8 = 0x06;
/// SEQUENCE.
pub const SEQUENCE: u8 = 0x30;

/// Reads one element after another.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Reader<'a> {
    /// A reader of `bytes`.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, offset: 0 }
    }

    /// Where the next byte lies in the whole message.
    pub const fn offset(&self) -> usize {
        self.offset
    }

    /// Whether nothing is left.
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The tag of the next element.
    pub fn peek(&self) -> Option<u8> {
        self.bytes.first().copied()
    }

    fn take(&mut self, count: usize, what: &'static str) -> Result<&'a [u8], BerError> {
        let (head, rest) = self
            .bytes
            .split_at_checked(count)
            .ok_or(BerError::Short(what))?;
        self.bytes = rest;
        self.offset += count;
        Ok(head)
    }

    /// The next element: its tag and its content.
    ///
    /// # Errors
    /// When it is cut short or its length has a form that SNMP does not use.
    pub fn any(&mut self) -> Result<(u8, Reader<'a>), BerError> {
        let tag = self.take(1, "a tag")?[0];
        if tag & 0x1f == 0x1f {
            return Err(BerError::Form("a tag of several bytes"));
        }
        let first = self.take(1, "a length")?[0];
        let length = match first {
            0..=0x7f => usize::from(first),
            0x81..=0x84 => self
                .take(usize::from(first & 0x7f), "a length")?
                .iter()
                .fold(0usize, |sum, byte| sum << 8 | usize::from(*byte)),
            _ => return Err(BerError::Form("a length without end or of over four bytes")),
        };
        let offset = self.offset;
        let bytes = self.take(length, "an element")?;
        Ok((tag, Reader { bytes, offset }))
    }

    /// The content of the next element, which must have this tag.
    ///
    /// # Errors
    /// As [`Self::any`], or when the tag is another.
    pub fn tagged(&mut self, wanted: u8) -> Result<Reader<'a>, BerError> {
        let (found, content) = self.any()?;
        if found != wanted {
            return Err(BerError::Tag { found, wanted });
        }
        Ok(content)
    }

    /// The bytes that are left.
    pub const fn rest(&self) -> &'a [u8] {
        self.bytes
    }

    /// An INTEGER of at most 64 bits.
    ///
    /// # Errors
    /// When it is none.
    pub fn integer(&mut self) -> Result<i64, BerError> {
        signed(self.tagged(INTEGER)?.rest())
    }

    /// An OCTET STRING.
    ///
    /// # Errors
    /// When it is none.
    pub fn octets(&mut self) -> Result<&'a [u8], BerError> {
        Ok(self.tagged(OCTETS)?.rest())
    }

    /// Nothing may be left.
    ///
    /// # Errors
    /// When something is.
    pub const fn end(&self) -> Result<(), BerError> {
        if self.bytes.is_empty() {
            Ok(())
        } else {
            Err(BerError::Form("bytes after the end"))
        }
    }
}

/// Content of an INTEGER.
///
/// # Errors
/// When it has no byte or more than eight.
pub fn signed(bytes: &[u8]) -> Result<i64, BerError> {
    let first = *bytes.first().ok_or(BerError::Short("an integer"))?;
    if bytes.len() > 8 {
        return Err(BerError::Form("an integer of over 64 bits"));
    }
    let start = if first & 0x80 == 0 { 0 } else { -1 };
    Ok(bytes
        .iter()
        .fold(start, |sum, byte| sum << 8 | i64::from(*byte)))
}

/// Content of an unsigned number of at most `bits` bits. Agents exist that leave the
/// leading zero out, so a number with its first bit set is read as it was meant.
///
/// # Errors
/// When it is empty or too large.
pub fn unsigned(bytes: &[u8], bits: u32) -> Result<u64, BerError> {
    if bytes.is_empty() {
        return Err(BerError::Short("a counter"));
    }
    let bytes = match bytes.split_first() {
        Some((0, rest)) if !rest.is_empty() => rest,
        _ => bytes,
    };
    if bytes.len() > bits as usize / 8 {
        return Err(BerError::Bound {
            what: "a counter's length",
            value: bytes.len() as u64,
            max: u64::from(bits / 8),
        });
    }
    Ok(bytes
        .iter()
        .fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
}

/// Appends an element.
pub fn put(out: &mut Vec<u8>, tag: u8, content: &[u8]) {
    out.push(tag);
    put_length(out, content.len());
    out.extend_from_slice(content);
}

fn put_length(out: &mut Vec<u8>, length: usize) {
    if length < 0x80 {
        out.push(length as u8);
        return;
    }
    let bytes = length.to_be_bytes();
    let skip = bytes.iter().take_while(|byte| **byte == 0).count();
    out.push(0x80 | (bytes.len() - skip) as u8);
    out.extend_from_slice(&bytes[skip..]);
}

/// Appends an INTEGER in the fewest bytes.
pub fn put_integer(out: &mut Vec<u8>, value: i64) {
    put(out, INTEGER, shortest(&value.to_be_bytes(), true));
}

/// Appends an unsigned number under `tag` in the fewest bytes.
pub fn put_unsigned(out: &mut Vec<u8>, tag: u8, value: u64) {
    let mut bytes = [0; 9];
    bytes[1..].copy_from_slice(&value.to_be_bytes());
    put(out, tag, shortest(&bytes, true));
}

fn shortest(bytes: &[u8], signed: bool) -> &[u8] {
    let mut bytes = bytes;
    while let [first, second, ..] = bytes {
        let spare = match first {
            0 => !signed || second & 0x80 == 0,
            0xff => signed && second & 0x80 != 0,
            _ => false,
        };
        if !spare {
            break;
        }
        bytes = &bytes[1..];
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back() {
        for value in [0, 1, 127, 128, 255, 256, -1, -128, -129, i64::MAX, i64::MIN] {
            let mut out = Vec::new();
            put_integer(&mut out, value);
            assert_eq!(Reader::new(&out).integer(), Ok(value), "{out:02x?}");
        }
        for value in [0, 0x7f, 0x80, 0xffff_ffff, u64::MAX] {
            let mut out = Vec::new();
            put_unsigned(&mut out, 0x46, value);
            let content = Reader::new(&out).tagged(0x46).expect("the tag").rest();
            assert_eq!(unsigned(content, 64), Ok(value));
        }
        assert_eq!(unsigned(&[0xff, 0xff, 0xff, 0xff], 32), Ok(0xffff_ffff));
        assert!(unsigned(&[1, 0, 0, 0, 0], 32).is_err());
    }

    #[test]
    fn lengths_have_every_definite_form() {
        for length in [0usize, 1, 127, 128, 255, 256, 65_536] {
            let mut out = Vec::new();
            put(&mut out, OCTETS, &vec![7; length]);
            assert_eq!(Reader::new(&out).octets().map(<[u8]>::len), Ok(length));
        }
        for wrong in [
            &[0x30, 0x80, 0, 0][..],
            &[0x30, 0x85, 0, 0, 0, 0, 0],
            &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff],
            &[0x1f, 0x81, 0x01],
            &[0x30],
            &[0x30, 0x03, 1],
        ] {
            assert!(Reader::new(wrong).any().is_err(), "{wrong:02x?}");
        }
    }
}
