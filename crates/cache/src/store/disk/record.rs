//! How records look on disk. Pure: octets in, octets out.
//!
//! A segment (`N.seg`) is a header and records one after another; a large object has
//! a file of its own (`N.big`): a header and one record. A record is
//!
//! ```text
//!  0  magic          4   "CREC"
//!  4  kind           1   object, reference, forgotten key, forgotten variant
//!  5  zero           3
//!  8  write number   8   later records win
//! 16  born           8   purge epoch of the request
//! 24  hash          16   of the primary key
//! 40  variant        8   of the selecting fields
//! 48  body length    8
//! 56  body CRC-32    4
//! 60  about length   4
//! 64  head CRC-32    4   of the 64 octets before and of "about"
//! 68  about              key, response meta, and for a reference where the body is
//!     body               of an object
//! ```
//!
//! The CRC of the head tells a torn write when a segment is read after a crash; the
//! body's is checked before the body is served for the first time after that.

use serde::{Deserialize, Serialize};

use crate::key::{CacheKey, KeyHash};
use crate::rules::{HEAD_BYTES_MAX, ResponseMeta};

/// Octets before "about".
pub(crate) const HEAD_BYTES: usize = 68;
/// Octets at the beginning of each file.
pub(crate) const FILE_HEAD_BYTES: u64 = 16;
/// Octets of "about": the header block, tags and `Vary` values, with room.
pub(crate) const ABOUT_BYTES_MAX: usize = 4 * HEAD_BYTES_MAX;

const RECORD_MAGIC: &[u8; 4] = b"CREC";
const FILE_MAGIC: &[u8; 8] = b"CNSEG001";
const INDEX_MAGIC: &[u8; 8] = b"CNIDX001";

/// What a record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// A response with its body.
    Object = 1,
    /// A response whose body is in another record.
    Reference = 2,
    /// All variants of a key are forgotten.
    ForgetKey = 3,
    /// One variant is forgotten.
    ForgetVariant = 4,
}

impl Kind {
    fn of(octet: u8) -> Option<Self> {
        Some(match octet {
            1 => Self::Object,
            2 => Self::Reference,
            3 => Self::ForgetKey,
            4 => Self::ForgetVariant,
            _ => return None,
        })
    }
}

/// The fixed part of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) kind: Kind,
    pub(crate) write: u64,
    pub(crate) born: u64,
    pub(crate) hash: KeyHash,
    pub(crate) variant: u64,
    pub(crate) body_len: u64,
    pub(crate) body_crc: u32,
    pub(crate) about_len: u32,
}

/// A place in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    /// The file's number.
    pub(crate) file: u32,
    /// Where in it.
    pub(crate) at: u64,
}

/// The variable part of a record.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct About<'a> {
    #[serde(borrow)]
    key: &'a [u8],
    body: Option<Place>,
    meta: ResponseMeta,
}

/// Encodes "about".
pub(crate) fn about(key: &CacheKey, meta: &ResponseMeta, body: Option<Place>) -> Option<Vec<u8>> {
    let about = About {
        key: key.as_bytes(),
        body,
        meta: meta.clone(),
    };
    postcard::to_stdvec(&about)
        .ok()
        .filter(|octets| octets.len() <= ABOUT_BYTES_MAX)
}

/// Decodes "about".
pub(crate) fn read_about(octets: &[u8]) -> Option<(CacheKey, ResponseMeta, Option<Place>)> {
    let about: About<'_> = postcard::from_bytes(octets).ok()?;
    Some((CacheKey::from_bytes(about.key)?, about.meta, about.body))
}

impl Head {
    /// Encodes the head for this "about".
    pub(crate) fn encode(&self, about: &[u8]) -> [u8; HEAD_BYTES] {
        let mut octets = [0; HEAD_BYTES];
        octets[..4].copy_from_slice(RECORD_MAGIC);
        octets[4] = self.kind as u8;
        octets[8..16].copy_from_slice(&self.write.to_le_bytes());
        octets[16..24].copy_from_slice(&self.born.to_le_bytes());
        octets[24..40].copy_from_slice(&self.hash.to_le_bytes());
        octets[40..48].copy_from_slice(&self.variant.to_le_bytes());
        octets[48..56].copy_from_slice(&self.body_len.to_le_bytes());
        octets[56..60].copy_from_slice(&self.body_crc.to_le_bytes());
        octets[60..64].copy_from_slice(&self.about_len.to_le_bytes());
        let crc = crc_of(&octets[..64], about);
        octets[64..].copy_from_slice(&crc.to_le_bytes());
        octets
    }

    /// Decodes a head, whose CRC [`Head::checks`] compares once "about" is read too.
    pub(crate) fn decode(octets: &[u8; HEAD_BYTES]) -> Option<Self> {
        if &octets[..4] != RECORD_MAGIC || octets[5..8] != [0; 3] {
            return None;
        }
        let head = Self {
            kind: Kind::of(octets[4])?,
            write: u64_at(octets, 8),
            born: u64_at(octets, 16),
            hash: u128::from(u64_at(octets, 32)) << 64 | u128::from(u64_at(octets, 24)),
            variant: u64_at(octets, 40),
            body_len: u64_at(octets, 48),
            body_crc: u32_at(octets, 56),
            about_len: u32_at(octets, 60),
        };
        (head.about_len as usize <= ABOUT_BYTES_MAX).then_some(head)
    }

    /// Whether head and "about" are as they were written.
    pub(crate) fn checks(octets: &[u8; HEAD_BYTES], about: &[u8]) -> bool {
        u32_at(octets, 64) == crc_of(&octets[..64], about)
    }

    /// Octets of the body that follow in this record.
    pub(crate) fn body_here(&self) -> u64 {
        if self.kind == Kind::Object {
            self.body_len
        } else {
            0
        }
    }
}

fn crc_of(head: &[u8], about: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(head);
    crc.update(about);
    crc.finalize()
}

fn u64_at(octets: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&octets[at..at + 8]);
    u64::from_le_bytes(word)
}

fn u32_at(octets: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&octets[at..at + 4]);
    u32::from_le_bytes(word)
}

/// The beginning of file number `file`.
pub(crate) fn file_head(file: u32) -> [u8; FILE_HEAD_BYTES as usize] {
    let mut octets = [0; FILE_HEAD_BYTES as usize];
    octets[..8].copy_from_slice(FILE_MAGIC);
    octets[8..12].copy_from_slice(&file.to_le_bytes());
    octets
}

/// What the index keeps of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) head: Head,
    /// Where the record begins in its file.
    pub(crate) at: u64,
    /// Where the body is.
    pub(crate) body: Place,
}

const LISTED_BYTES: usize = 80;

/// Encodes a segment's list of records (`N.idx`), which saves reading the segment
/// when the store is opened.
pub(crate) fn encode_list(file_len: u64, list: &[Listed]) -> Vec<u8> {
    let mut octets = Vec::with_capacity(24 + list.len() * LISTED_BYTES + 4);
    octets.extend_from_slice(INDEX_MAGIC);
    octets.extend_from_slice(&file_len.to_le_bytes());
    octets.extend_from_slice(&(list.len() as u64).to_le_bytes());
    for listed in list {
        // The head as it stands in the segment, then where record and body are.
        octets.extend_from_slice(&listed.head.encode(&[])[4..64]);
        octets.extend_from_slice(&listed.at.to_le_bytes());
        octets.extend_from_slice(&listed.body.file.to_le_bytes());
        octets.extend_from_slice(&listed.body.at.to_le_bytes());
    }
    let crc = crc32fast::hash(&octets);
    octets.extend_from_slice(&crc.to_le_bytes());
    octets
}

/// Decodes a list; `None` when it is damaged. Also returns the length that the
/// segment had.
pub(crate) fn decode_list(octets: &[u8]) -> Option<(u64, Vec<Listed>)> {
    let (content, crc) = octets.split_last_chunk::<4>()?;
    if crc32fast::hash(content) != u32::from_le_bytes(*crc) {
        return None;
    }
    let rest = content.strip_prefix(INDEX_MAGIC)?;
    let (lengths, entries) = rest.split_at_checked(16)?;
    let count = usize::try_from(u64_at(lengths, 8)).ok()?;
    if entries.len() != count.checked_mul(LISTED_BYTES)? {
        return None;
    }
    let list = entries
        .chunks_exact(LISTED_BYTES)
        .map(|entry| {
            let mut head = [0; HEAD_BYTES];
            head[..4].copy_from_slice(RECORD_MAGIC);
            head[4..64].copy_from_slice(&entry[..60]);
            Some(Listed {
                head: Head::decode(&head)?,
                at: u64_at(entry, 60),
                body: Place {
                    file: u32_at(entry, 68),
                    at: u64_at(entry, 72),
                },
            })
        })
        .collect::<Option<Vec<_>>>()?;
    Some((u64_at(lengths, 0), list))
}

/// Reads the records of a segment from `read(at, length)` until one does not check:
/// the end, or where a crash tore it. Returns them with the length up to there.
pub(crate) fn scan(
    file: u32,
    file_len: u64,
    mut read: impl FnMut(u64, usize) -> Option<Vec<u8>>,
) -> (u64, Vec<Listed>) {
    let mut list = Vec::new();
    let mut at = FILE_HEAD_BYTES;
    let mut one = |at: u64| -> Option<(Listed, u64)> {
        let octets = read(at, HEAD_BYTES)?;
        let octets: &[u8; HEAD_BYTES] = octets.as_slice().try_into().ok()?;
        let head = Head::decode(octets)?;
        let about = read(at + HEAD_BYTES as u64, head.about_len as usize)?;
        if about.len() != head.about_len as usize || !Head::checks(octets, &about) {
            return None;
        }
        let body_at = at + HEAD_BYTES as u64 + u64::from(head.about_len);
        let end = body_at.checked_add(head.body_here())?;
        if end > file_len {
            return None;
        }
        let body = match head.kind {
            Kind::Reference => read_about(&about)?.2?,
            _ => Place { file, at: body_at },
        };
        Some((Listed { head, at, body }, end))
    };
    while let Some((listed, end)) = one(at) {
        list.push(listed);
        at = end;
    }
    (at, list)
}
