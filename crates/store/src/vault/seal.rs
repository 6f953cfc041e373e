//! The form of a sealed field:
//! version (1 byte) · key id (4) · salt (24) · ciphertext · tag (16).

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{self, HKDF_SHA256, KeyType};
use ring::rand::{SecureRandom as _, SystemRandom};

use super::error::VaultError;

const VERSION: u8 = 1;
/// Bytes of salt.
pub(crate) const SALT_BYTES: usize = 24;
/// Bytes before the ciphertext.
const HEADER_BYTES: usize = 1 + 4 + SALT_BYTES;
/// Bytes of the tag after the ciphertext.
pub(crate) const TAG_BYTES: usize = 16;
/// Bytes of a key.
pub(crate) const KEY_BYTES: usize = 32;

/// One key of the file.
#[derive(Clone)]
pub(crate) struct Key {
    pub(crate) id: u32,
    pub(crate) secret: [u8; KEY_BYTES],
}

/// Fills an array with random bytes.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], VaultError> {
    let mut bytes = [0; N];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| VaultError::Random)?;
    Ok(bytes)
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

/// The key and nonce that belong to one salt, for one purpose.
pub(crate) fn derive(
    key: &Key,
    salt: &[u8; SALT_BYTES],
    purpose: &str,
) -> Result<(LessSafeKey, [u8; NONCE_LEN]), VaultError> {
    let mut output = [0; KEY_BYTES + NONCE_LEN];
    hkdf::Salt::new(HKDF_SHA256, salt)
        .extract(&key.secret)
        .expand(&[purpose.as_bytes()], Length(output.len()))
        .and_then(|expanded| expanded.fill(&mut output))
        .map_err(|_| VaultError::Random)?;
    let (key, nonce) = output.split_at(KEY_BYTES);
    let key = UnboundKey::new(&CHACHA20_POLY1305, key).map_err(|_| VaultError::Random)?;
    let mut fixed = [0; NONCE_LEN];
    fixed.copy_from_slice(nonce);
    Ok((LessSafeKey::new(key), fixed))
}

const PURPOSE: &str = "civicnet vault field 1";

pub(super) fn seal(key: &Key, context: &str, plain: &[u8]) -> Result<Vec<u8>, VaultError> {
    let salt = random()?;
    let (cipher, nonce) = derive(key, &salt, PURPOSE)?;
    let mut sealed = Vec::with_capacity(HEADER_BYTES + plain.len() + TAG_BYTES);
    sealed.push(VERSION);
    sealed.extend_from_slice(&key.id.to_be_bytes());
    sealed.extend_from_slice(&salt);
    let mut body = plain.to_vec();
    let nonce = Nonce::assume_unique_for_key(nonce);
    cipher
        .seal_in_place_append_tag(nonce, Aad::from(context.as_bytes()), &mut body)
        .map_err(|_| VaultError::damaged(context))?;
    sealed.append(&mut body);
    Ok(sealed)
}

/// The id of the key that a field was sealed with, if it is a sealed field.
pub(super) fn key_id(sealed: &[u8]) -> Option<u32> {
    if sealed.len() < HEADER_BYTES + TAG_BYTES || sealed[0] != VERSION {
        return None;
    }
    let id = sealed.get(1..5)?.try_into().ok()?;
    Some(u32::from_be_bytes(id))
}

pub(super) fn open(key: &Key, context: &str, sealed: &[u8]) -> Result<Vec<u8>, VaultError> {
    let damaged = || VaultError::damaged(context);
    let salt = sealed.get(5..HEADER_BYTES).ok_or_else(damaged)?;
    let salt = salt.try_into().map_err(|_| damaged())?;
    let (cipher, nonce) = derive(key, &salt, PURPOSE)?;
    let mut body = sealed.get(HEADER_BYTES..).ok_or_else(damaged)?.to_vec();
    let nonce = Nonce::assume_unique_for_key(nonce);
    let length = cipher
        .open_in_place(nonce, Aad::from(context.as_bytes()), &mut body)
        .map_err(|_| damaged())?
        .len();
    body.truncate(length);
    Ok(body)
}
