//! The snapshot envelope: what is signed, how it is laid out, how it is checked.
//!
//! ```text
//! "CNSNAP1\n" · header length (u32, big-endian) · header (JSON) · signature (64) · payload (JSON)
//! ```
//!
//! The Ed25519 signature (RFC 8032) covers a domain label and the header's exact
//! bytes; the header carries the payload's size and SHA-256. A reader therefore
//! knows who made a snapshot before it spends anything on the payload.
//!
//! The key that signs is replaced by a [`Handover`]: the old key signs the new one.
//! A node follows the chain from the key it was given at enrolment.

mod keys;

use base::{Role, Timestamp};
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

pub use keys::{Handover, PublicKey, SigningKey, follow};

/// First bytes of an envelope.
pub const MAGIC: &[u8; 8] = b"CNSNAP1\n";
/// Bytes of a header at most.
pub const HEADER_BYTES_MAX: usize = 4_096;
/// Bytes of a payload at most: 100,000 sites with certificates fit three times.
pub const PAYLOAD_BYTES_MAX: usize = 512 * 1024 * 1024;
/// Bytes of a whole envelope at most.
pub const ENVELOPE_BYTES_MAX: usize =
    MAGIC.len() + 4 + HEADER_BYTES_MAX + SIGNATURE_BYTES + PAYLOAD_BYTES_MAX;
/// The payload's shape; a node refuses shapes it does not know.
pub const SCHEMA: u32 = 1;

const SIGNATURE_BYTES: usize = 64;
const SNAPSHOT_LABEL: &[u8] = b"civicnet snapshot 1\0";

/// What is signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// Which nodes it is for.
    pub role: Role,
    /// Grows by at least one with every snapshot of the role.
    pub version: u64,
    /// When it was published.
    pub created_at: Timestamp,
    /// The payload's shape, [`SCHEMA`].
    pub schema: u32,
    /// The payload's length in bytes.
    pub size: u64,
    /// Hex SHA-256 of the payload.
    pub sha256: String,
    /// Which key signed: see [`PublicKey::id`].
    pub key: String,
}

/// Why an envelope is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum EnvelopeError {
    /// Not an envelope.
    #[error("snapshot is malformed: {0}")]
    Malformed(&'static str),
    /// Cut short or with something behind it.
    #[error("snapshot is cut short or padded: payload has {got} bytes, header says {want}")]
    Size {
        /// Bytes there are.
        got: u64,
        /// Bytes the header promises.
        want: u64,
    },
    /// Beyond the limit.
    #[error("snapshot is too large: {got} bytes, limit {PAYLOAD_BYTES_MAX}")]
    TooLarge {
        /// Bytes announced.
        got: u64,
    },
    /// Signed by a key that this node does not know.
    #[error("snapshot is signed by unknown key {0:?}")]
    UnknownKey(String),
    /// The signature does not fit.
    #[error("snapshot signature of key {0:?} does not verify")]
    Signature(String),
    /// The payload is not the one that was signed.
    #[error("snapshot payload does not have the signed SHA-256")]
    Hash,
    /// For somebody else.
    #[error("snapshot is for role {got}, not {want}")]
    Role {
        /// Role in the header.
        got: Role,
        /// Role asked for.
        want: Role,
    },
    /// Old: replayed, or rolled back without a new version.
    #[error("snapshot version {got} is not newer than {have}")]
    NotNewer {
        /// Version in the header.
        got: u64,
        /// Version in force.
        have: u64,
    },
    /// Made by a later program.
    #[error("snapshot schema {0} is not known to this program")]
    Schema(u32),
    /// A hand-over that does not fit.
    #[error("snapshot key hand-over does not verify")]
    Handover,
    /// A key that is no key.
    #[error("not an Ed25519 key: {0}")]
    Key(&'static str),
}

impl SigningKey {
    /// Builds the envelope of `payload`.
    ///
    /// # Errors
    /// When the payload is too large.
    pub fn seal(
        &self,
        role: Role,
        version: u64,
        created_at: Timestamp,
        payload: &[u8],
    ) -> Result<Vec<u8>, EnvelopeError> {
        if payload.len() > PAYLOAD_BYTES_MAX {
            return Err(EnvelopeError::TooLarge {
                got: payload.len() as u64,
            });
        }
        let header = Header {
            role,
            version,
            created_at,
            schema: SCHEMA,
            size: payload.len() as u64,
            sha256: sha256_hex(payload),
            key: self.public().id(),
        };
        let header = serde_json::to_vec(&header)
            .map_err(|_| EnvelopeError::Malformed("header cannot be written"))?;
        let signature = self.sign(SNAPSHOT_LABEL, &header);
        let length = u32::try_from(header.len())
            .map_err(|_| EnvelopeError::Malformed("header is too long"))?;
        let mut out =
            Vec::with_capacity(MAGIC.len() + 4 + header.len() + SIGNATURE_BYTES + payload.len());
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(&header);
        out.extend_from_slice(&signature);
        out.extend_from_slice(payload);
        Ok(out)
    }
}

/// A parsed envelope; nothing is verified yet.
#[derive(Debug, Clone, Copy)]
pub struct Envelope<'a> {
    header: &'a [u8],
    signature: &'a [u8],
    payload: &'a [u8],
}

impl<'a> Envelope<'a> {
    /// Splits `bytes`.
    ///
    /// # Errors
    /// When they are no envelope.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, EnvelopeError> {
        let rest = bytes
            .strip_prefix(MAGIC)
            .ok_or(EnvelopeError::Malformed("does not begin with CNSNAP1"))?;
        let (length, rest) = rest
            .split_first_chunk::<4>()
            .ok_or(EnvelopeError::Malformed("ends in the header's length"))?;
        let length = u32::from_be_bytes(*length) as usize;
        if length > HEADER_BYTES_MAX {
            return Err(EnvelopeError::Malformed(
                "header is longer than 4,096 bytes",
            ));
        }
        let (header, rest) = rest
            .split_at_checked(length)
            .ok_or(EnvelopeError::Malformed("ends in the header"))?;
        let (signature, payload) = rest
            .split_at_checked(SIGNATURE_BYTES)
            .ok_or(EnvelopeError::Malformed("ends in the signature"))?;
        Ok(Self {
            header,
            signature,
            payload,
        })
    }

    /// Checks everything: signature by `key`, size, hash, role, schema, and that the
    /// version is above `newer_than`. Gives the header and the payload.
    ///
    /// # Errors
    /// The first check that fails; the caller keeps what it has.
    pub fn verify(
        &self,
        key: &PublicKey,
        role: Role,
        newer_than: u64,
    ) -> Result<(Header, &'a [u8]), EnvelopeError> {
        let header = self.header()?;
        if header.key != key.id() {
            return Err(EnvelopeError::UnknownKey(
                header.key.chars().take(64).collect(),
            ));
        }
        if !key.verifies(SNAPSHOT_LABEL, self.header, self.signature) {
            return Err(EnvelopeError::Signature(header.key));
        }
        let (header, payload) = self.checked_content(role)?;
        if header.version <= newer_than {
            return Err(EnvelopeError::NotNewer {
                got: header.version,
                have: newer_than,
            });
        }
        Ok((header, payload))
    }

    /// Checks all but signature and version, for an envelope whose maker is vouched
    /// for by other means: the seal of the node that kept it.
    ///
    /// # Errors
    /// The first check that fails.
    pub fn checked_content(&self, role: Role) -> Result<(Header, &'a [u8]), EnvelopeError> {
        let header = self.header()?;
        if header.size > PAYLOAD_BYTES_MAX as u64 {
            return Err(EnvelopeError::TooLarge { got: header.size });
        }
        if header.size != self.payload.len() as u64 {
            return Err(EnvelopeError::Size {
                got: self.payload.len() as u64,
                want: header.size,
            });
        }
        if header.role != role {
            return Err(EnvelopeError::Role {
                got: header.role,
                want: role,
            });
        }
        if header.schema != SCHEMA {
            return Err(EnvelopeError::Schema(header.schema));
        }
        if sha256_hex(self.payload) != header.sha256 {
            return Err(EnvelopeError::Hash);
        }
        Ok((header, self.payload))
    }

    fn header(&self) -> Result<Header, EnvelopeError> {
        serde_json::from_slice(self.header)
            .map_err(|_| EnvelopeError::Malformed("header is not the JSON expected"))
    }

    /// The header, unverified: for choosing what to do with a refused envelope.
    pub fn claimed_header(&self) -> Option<Header> {
        serde_json::from_slice(self.header).ok()
    }
}

/// Hex SHA-256.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(digest(&SHA256, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> SigningKey {
        SigningKey::generate().expect("random bytes").0
    }

    fn sealed(key: &SigningKey) -> Vec<u8> {
        key.seal(Role::Edge, 5, Timestamp(1), b"{\"sites\":[]}")
            .expect("small")
    }

    #[test]
    fn a_good_envelope_gives_its_payload() {
        let key = key();
        let bytes = sealed(&key);
        let (header, payload) = Envelope::parse(&bytes)
            .and_then(|envelope| envelope.verify(&key.public(), Role::Edge, 4))
            .expect("good");
        assert_eq!(header.version, 5);
        assert_eq!(payload, b"{\"sites\":[]}");
    }

    #[test]
    fn replays_strangers_and_other_roles_are_refused() {
        let (key, stranger) = (key(), key());
        let bytes = sealed(&key);
        let envelope = Envelope::parse(&bytes).expect("an envelope");
        assert_eq!(
            envelope.verify(&key.public(), Role::Edge, 5).err(),
            Some(EnvelopeError::NotNewer { got: 5, have: 5 })
        );
        assert_eq!(
            envelope.verify(&key.public(), Role::Dispatch, 0).err(),
            Some(EnvelopeError::Role {
                got: Role::Edge,
                want: Role::Dispatch
            })
        );
        assert_eq!(
            envelope.verify(&stranger.public(), Role::Edge, 0).err(),
            Some(EnvelopeError::UnknownKey(key.public().id()))
        );
        // A stranger who claims the right key's name.
        let forged = sealed(&stranger);
        let text = stranger.public().id();
        let at = forged
            .windows(text.len())
            .position(|window| window == text.as_bytes())
            .expect("key id");
        let mut forged = forged;
        forged[at..at + text.len()].copy_from_slice(key.public().id().as_bytes());
        assert_eq!(
            Envelope::parse(&forged)
                .and_then(|envelope| envelope.verify(&key.public(), Role::Edge, 0))
                .err(),
            Some(EnvelopeError::Signature(key.public().id()))
        );
    }

    #[test]
    fn every_cut_and_every_flipped_bit_is_refused() {
        let key = key();
        let bytes = sealed(&key);
        for cut in 0..bytes.len() {
            let result = Envelope::parse(&bytes[..cut])
                .and_then(|envelope| envelope.verify(&key.public(), Role::Edge, 0));
            assert!(result.is_err(), "cut at {cut}");
        }
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let result = Envelope::parse(&flipped)
                .and_then(|envelope| envelope.verify(&key.public(), Role::Edge, 0));
            assert!(result.is_err(), "bit {bit}");
        }
        let mut padded = bytes.clone();
        padded.push(b' ');
        assert!(matches!(
            Envelope::parse(&padded).and_then(|envelope| envelope.verify(
                &key.public(),
                Role::Edge,
                0
            )),
            Err(EnvelopeError::Size { .. })
        ));
    }

    #[test]
    fn a_hundred_thousand_mangled_envelopes_never_panic() {
        let key = key();
        let good = sealed(&key);
        let public = key.public();
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut next = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        for _ in 0..100_000 {
            let mut bytes = good.clone();
            for _ in 0..=(next() % 6) {
                let at = (next() as usize) % bytes.len();
                match next() % 3 {
                    0 => bytes[at] = next() as u8,
                    1 => bytes.truncate(at.max(1)),
                    _ => bytes.insert(at, next() as u8),
                }
            }
            if bytes == good {
                continue;
            }
            let result = Envelope::parse(&bytes)
                .and_then(|envelope| envelope.verify(&public, Role::Edge, 0));
            assert!(result.is_err());
        }
    }
}
