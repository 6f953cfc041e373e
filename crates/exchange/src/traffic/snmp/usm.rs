//! The user-based security model (RFC 3414): keys from passwords, authentication by
//! HMAC-SHA-96 or HMAC-SHA-256-192 (RFC 7860), privacy by AES-128 in CFB mode (RFC 3826).
//!
//! MD5 and DES, which the standard still names, are left out: whoever guards
//! counters with them guards nothing.

use aes::Aes128;
use aes::cipher::{BlockCipherEncrypt, KeyInit};
use ring::{digest, hmac};
use serde::{Deserialize, Serialize};

/// Octets to which a password is repeated before it is hashed (RFC 3414 section A.2).
const PASSWORD_OCTETS: usize = 1_048_576;
/// Least characters of a password (RFC 3414 section 11.2).
pub const PASSWORD_CHARS_MIN: usize = 8;
/// Octets of an AES block and key.
const BLOCK: usize = 16;
/// Octets of a salt.
pub const SALT_BYTES: usize = 8;

/// How messages are authenticated.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
    utoipa::ToSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum AuthProtocol {
    /// HMAC-SHA-96: `usmHMACSHAAuthProtocol`.
    Sha1,
    /// HMAC-SHA-256-192: `usmHMAC192SHA256AuthProtocol`.
    Sha256,
}

impl AuthProtocol {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Sha1, Self::Sha256];

    /// The name in tables and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
        }
    }

    /// The protocol of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|protocol| protocol.name() == name)
    }

    fn digest(self) -> &'static digest::Algorithm {
        match self {
            Self::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => &digest::SHA256,
        }
    }

    fn hmac(self) -> hmac::Algorithm {
        match self {
            Self::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => hmac::HMAC_SHA256,
        }
    }

    /// Octets of the code in a message.
    pub const fn code_bytes(self) -> usize {
        match self {
            Self::Sha1 => 12,
            Self::Sha256 => 24,
        }
    }
}

/// A password's digest, which one engine's identifier makes a key
/// (RFC 3414 section 2.6). Made once: it takes a megabyte of hashing.
#[derive(Clone)]
pub struct Master {
    protocol: AuthProtocol,
    digest: Vec<u8>,
}

impl std::fmt::Debug for Master {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Master")
            .field("protocol", &self.protocol)
            .finish_non_exhaustive()
    }
}

impl Master {
    /// The digest of a password; an empty one is taken for one zero octet.
    pub fn new(protocol: AuthProtocol, password: &[u8]) -> Self {
        let password = if password.is_empty() { &[0] } else { password };
        let mut context = digest::Context::new(protocol.digest());
        // Whole passwords in pieces of some kilobytes.
        let piece = password.repeat(4_096usize.div_ceil(password.len()));
        let mut left = PASSWORD_OCTETS;
        while left > 0 {
            let take = left.min(piece.len());
            context.update(&piece[..take]);
            left -= take;
        }
        Self {
            protocol,
            digest: context.finish().as_ref().to_vec(),
        }
    }

    /// The key for one engine.
    pub fn localized(&self, engine: &[u8]) -> Vec<u8> {
        let mut context = digest::Context::new(self.protocol.digest());
        context.update(&self.digest);
        context.update(engine);
        context.update(&self.digest);
        context.finish().as_ref().to_vec()
    }
}

/// Codes of messages, under one key.
#[derive(Clone)]
pub struct Authenticator {
    protocol: AuthProtocol,
    key: hmac::Key,
}

impl std::fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authenticator")
            .field("protocol", &self.protocol)
            .finish_non_exhaustive()
    }
}

impl Authenticator {
    /// With the key that `master` gives for `engine`.
    pub fn new(master: &Master, engine: &[u8]) -> Self {
        Self {
            protocol: master.protocol,
            key: hmac::Key::new(master.protocol.hmac(), &master.localized(engine)),
        }
    }

    /// Octets of a code.
    pub const fn code_bytes(&self) -> usize {
        self.protocol.code_bytes()
    }

    /// The code of a message whose own code is zeros.
    pub fn code(&self, message: &[u8]) -> Vec<u8> {
        let tag = hmac::sign(&self.key, message);
        tag.as_ref()[..self.protocol.code_bytes()].to_vec()
    }

    /// Whether the code in a message is right; `place` is where it lies.
    pub fn is_right(&self, message: &[u8], place: std::ops::Range<usize>) -> bool {
        let Some(code) = message.get(place.clone()) else {
            return false;
        };
        if code.len() != self.protocol.code_bytes() {
            return false;
        }
        let mut zeroed = message.to_vec();
        zeroed[place].fill(0);
        let wanted = self.code(&zeroed);
        // As long for a code that is wrong early as for one that is wrong late.
        wanted
            .iter()
            .zip(code)
            .fold(0, |wrong, (a, b)| wrong | (a ^ b))
            == 0
    }
}

/// AES-128 in CFB mode under one key.
#[derive(Clone)]
pub struct Cipher(Aes128);

impl std::fmt::Debug for Cipher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cipher")
    }
}

impl Cipher {
    /// With the key that `master`, of the privacy password, gives for `engine`.
    pub fn new(master: &Master, engine: &[u8]) -> Self {
        let localized = master.localized(engine);
        let mut key = [0; BLOCK];
        // Both digests are longer than a key.
        key.copy_from_slice(&localized[..BLOCK]);
        Self(Aes128::new(&key.into()))
    }

    fn vector(boots: u32, time: u32, salt: [u8; SALT_BYTES]) -> [u8; BLOCK] {
        let mut vector = [0; BLOCK];
        vector[..4].copy_from_slice(&boots.to_be_bytes());
        vector[4..8].copy_from_slice(&time.to_be_bytes());
        vector[8..].copy_from_slice(&salt);
        vector
    }

    /// Encrypts in place.
    pub fn encrypt(&self, boots: u32, time: u32, salt: [u8; SALT_BYTES], data: &mut [u8]) {
        let mut register = Self::vector(boots, time, salt);
        for chunk in data.chunks_mut(BLOCK) {
            let mut block = register.into();
            self.0.encrypt_block(&mut block);
            for (byte, mask) in chunk.iter_mut().zip(&block) {
                *byte ^= mask;
            }
            register[..chunk.len()].copy_from_slice(chunk);
        }
    }

    /// Decrypts in place.
    pub fn decrypt(&self, boots: u32, time: u32, salt: [u8; SALT_BYTES], data: &mut [u8]) {
        let mut register = Self::vector(boots, time, salt);
        for chunk in data.chunks_mut(BLOCK) {
            let mut block = register.into();
            self.0.encrypt_block(&mut block);
            register[..chunk.len()].copy_from_slice(chunk);
            for (byte, mask) in chunk.iter_mut().zip(&block) {
                *byte ^= mask;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENGINE: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];

    /// RFC 3414 section A.3.2.
    #[test]
    fn keys_are_those_of_the_standard() {
        let master = Master::new(AuthProtocol::Sha1, b"maplesyrup");
        assert_eq!(
            hex::encode(&master.digest),
            "9fb5cc0381497b3793528939ff788d5d79145211"
        );
        assert_eq!(
            hex::encode(master.localized(&ENGINE)),
            "6695febc9288e36282235fc7151f128497b38f3f"
        );
    }

    #[test]
    fn a_code_is_known_and_a_changed_message_is_not() {
        for protocol in AuthProtocol::ALL {
            let keys = Authenticator::new(&Master::new(protocol, b"maplesyrup"), &ENGINE);
            let mut message = vec![0; 60];
            let place = 20..20 + protocol.code_bytes();
            let code = keys.code(&message);
            message[place.clone()].copy_from_slice(&code);
            assert!(keys.is_right(&message, place.clone()));
            for at in 0..message.len() {
                let mut wrong = message.clone();
                wrong[at] ^= 1;
                assert!(!keys.is_right(&wrong, place.clone()), "octet {at}");
            }
            assert!(!keys.is_right(&message, 20..30), "cut short");
            assert!(!keys.is_right(&message, 50..74), "outside");
        }
    }

    /// NIST SP 800-38A section F.3.13 (CFB128-AES128), whose vector is counted up.
    #[test]
    fn cfb_is_that_of_the_standard() {
        let key: [u8; 16] = hex::decode("2b7e151628aed2a6abf7158809cf4f3c")
            .expect("hex")
            .try_into()
            .expect("16 octets");
        let cipher = Cipher(Aes128::new(&key.into()));
        let plain = hex::decode("6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51")
            .expect("hex");
        let (boots, time, salt) = (0x0001_0203, 0x0405_0607, [8, 9, 10, 11, 12, 13, 14, 15]);
        let mut data = plain.clone();
        cipher.encrypt(boots, time, salt, &mut data);
        assert_eq!(
            hex::encode(&data),
            "3b3fd92eb72dad20333449f8e83cfb4ac8a64537a0b3a93fcde3cdad9f1ce58b"
        );
        cipher.decrypt(boots, time, salt, &mut data);
        assert_eq!(data, plain);
        // A last block that is not full.
        let mut odd = plain[..21].to_vec();
        cipher.encrypt(boots, time, salt, &mut odd);
        cipher.decrypt(boots, time, salt, &mut odd);
        assert_eq!(odd, plain[..21]);
    }
}
