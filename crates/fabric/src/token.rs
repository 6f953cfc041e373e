//! Enrolment tokens: what an operator carries to a new node, once.
//!
//! The text is `cn1.` and 86 characters of base64url (RFC 4648 section 5, no
//! padding): 32 bytes of pin, then 32 bytes of secret. The **pin** is the SHA-256 of
//! the node CA's SubjectPublicKeyInfo (as in RFC 7469 section 2.4): with it the node
//! recognises the control server before it has any other trust. The **secret** is
//! kept by the control plane only as its SHA-256.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom as _, SystemRandom};

/// What every token begins with; the number is the format's version.
pub const PREFIX: &str = "cn1.";
/// Characters of a whole token.
pub const LENGTH: usize = PREFIX.len() + 86;

/// The SHA-256 of the node CA's SubjectPublicKeyInfo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pin(pub [u8; 32]);

/// A one-time token. `Debug` hides it; `Display` is the token itself.
#[derive(Clone, PartialEq, Eq)]
pub struct EnrolToken {
    pin: Pin,
    secret: [u8; 32],
}

/// Why a text is no token. Never repeats the text, because it may be a secret.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TokenError {
    /// Wrong beginning.
    #[error("not an enrolment token: must begin with \"cn1.\"")]
    Prefix,
    /// Wrong length.
    #[error("not an enrolment token: has {0} characters, must have 90 (was it cut when copied?)")]
    Length(usize),
    /// Not base64url.
    #[error("not an enrolment token: after \"cn1.\" only A-Z, a-z, 0-9, - and _ may follow")]
    Alphabet,
    /// No randomness from the system.
    #[error("could not make a token: the system gave no random bytes")]
    Random,
}

impl EnrolToken {
    /// A new token with a random secret.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn generate(pin: Pin) -> Result<Self, TokenError> {
        let mut secret = [0; 32];
        SystemRandom::new()
            .fill(&mut secret)
            .map_err(|_| TokenError::Random)?;
        Ok(Self { pin, secret })
    }

    /// The pin of the CA that the control server must show.
    pub fn pin(&self) -> Pin {
        self.pin
    }

    /// The secret as it is sent to the control server: base64url.
    pub fn secret_text(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.secret)
    }

    /// What the control plane keeps: hex of the secret's SHA-256.
    pub fn secret_hash(&self) -> String {
        hex::encode(digest(&SHA256, &self.secret))
    }
}

/// The kept form of a secret that a node sent; none when it is no secret at all.
pub fn hash_of_secret_text(text: &str) -> Option<String> {
    let mut secret = [0; 32];
    match URL_SAFE_NO_PAD.decode_slice(text, &mut secret) {
        Ok(32) => Some(hex::encode(digest(&SHA256, &secret))),
        _ => None,
    }
}

impl fmt::Debug for EnrolToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EnrolToken").finish_non_exhaustive()
    }
}

impl fmt::Display for EnrolToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = [0; 64];
        bytes[..32].copy_from_slice(&self.pin.0);
        bytes[32..].copy_from_slice(&self.secret);
        write!(f, "{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl FromStr for EnrolToken {
    type Err = TokenError;
    fn from_str(text: &str) -> Result<Self, TokenError> {
        let text = text.trim();
        let Some(encoded) = text.strip_prefix(PREFIX) else {
            return Err(TokenError::Prefix);
        };
        if text.len() != LENGTH {
            return Err(TokenError::Length(text.chars().count()));
        }
        let mut bytes = [0; 64];
        match URL_SAFE_NO_PAD.decode_slice(encoded, &mut bytes) {
            Ok(64) => {}
            _ => return Err(TokenError::Alphabet),
        }
        let (mut pin, mut secret) = ([0; 32], [0; 32]);
        pin.copy_from_slice(&bytes[..32]);
        secret.copy_from_slice(&bytes[32..]);
        Ok(Self {
            pin: Pin(pin),
            secret,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_round_trips_and_its_hash_is_that_of_its_secret() {
        let token = EnrolToken::generate(Pin([7; 32])).expect("random bytes");
        let text = token.to_string();
        assert_eq!(text.len(), LENGTH);
        assert_eq!(text.parse(), Ok(token.clone()));
        assert_eq!(
            hash_of_secret_text(&token.secret_text()),
            Some(token.secret_hash())
        );
        assert!(!format!("{token:?}").contains(&token.secret_text()));
    }

    #[test]
    fn a_bad_token_is_explained_without_being_repeated() {
        let good = EnrolToken::generate(Pin([7; 32]))
            .expect("random bytes")
            .to_string();
        assert_eq!("".parse::<EnrolToken>(), Err(TokenError::Prefix));
        assert_eq!(
            good[..80].parse::<EnrolToken>(),
            Err(TokenError::Length(80))
        );
        let odd = good.replace("cn1.", "cn1.!");
        assert_eq!(
            odd[..LENGTH].parse::<EnrolToken>(),
            Err(TokenError::Alphabet)
        );
        assert_eq!(hash_of_secret_text("short"), None);
    }

    #[test]
    fn a_hundred_thousand_mangled_tokens_never_panic() {
        let good = EnrolToken::generate(Pin([9; 32]))
            .expect("random bytes")
            .to_string();
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut refused = 0;
        for _ in 0..100_000 {
            let mut bytes = good.clone().into_bytes();
            for _ in 0..=(next(&mut state) % 4) {
                let at = (next(&mut state) as usize) % bytes.len();
                match next(&mut state) % 3 {
                    0 => bytes[at] = next(&mut state) as u8,
                    1 => bytes.truncate(at.max(1)),
                    _ => bytes.insert(at, next(&mut state) as u8),
                }
            }
            let text = String::from_utf8_lossy(&bytes);
            refused += usize::from(text.parse::<EnrolToken>().is_err());
        }
        assert!(refused > 80_000, "{refused}");
    }

    fn next(state: &mut u64) -> u64 {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        *state
    }
}
