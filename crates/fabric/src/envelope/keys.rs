//! The keys that sign snapshots, and how one follows another.

use base::Timestamp;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use ring::rand::SystemRandom;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use serde::{Deserialize, Serialize};

use super::EnvelopeError;

const HANDOVER_LABEL: &[u8] = b"civicnet snapshot key hand-over 1\0";

/// An Ed25519 public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// Short name: the first 16 hex digits of the key's SHA-256.
    pub fn id(&self) -> String {
        hex::encode(&digest(&SHA256, &self.0).as_ref()[..8])
    }

    /// Whether `signature` is this key's over `label` and `body`.
    pub(super) fn verifies(&self, label: &[u8], body: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, self.0)
            .verify(&[label, body].concat(), signature)
            .is_ok()
    }

    /// base64url without padding.
    pub fn to_text(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    /// Reads [`PublicKey::to_text`].
    ///
    /// # Errors
    /// When the text is not 32 bytes of base64url.
    pub fn from_text(text: &str) -> Result<Self, EnvelopeError> {
        let mut key = [0; 32];
        match URL_SAFE_NO_PAD.decode_slice(text, &mut key) {
            Ok(32) => Ok(Self(key)),
            _ => Err(EnvelopeError::Key("must be 32 bytes in base64url")),
        }
    }
}

/// The private half, which only the control plane holds.
pub struct SigningKey(Ed25519KeyPair);

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("SigningKey")
            .field(&self.public().id())
            .finish()
    }
}

impl SigningKey {
    /// A new key and its PKCS #8 form, which is secret.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn generate() -> Result<(Self, Vec<u8>), EnvelopeError> {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new())
            .map_err(|_| EnvelopeError::Key("the system gave no random bytes"))?;
        Ok((
            Self::from_pkcs8(document.as_ref())?,
            document.as_ref().to_vec(),
        ))
    }

    /// Reads the PKCS #8 form.
    ///
    /// # Errors
    /// When it is not an Ed25519 key.
    pub fn from_pkcs8(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        Ed25519KeyPair::from_pkcs8(bytes)
            .map(Self)
            .map_err(|_| EnvelopeError::Key("must be PKCS #8 version 2"))
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        let mut key = [0; 32];
        key.copy_from_slice(self.0.public_key().as_ref());
        PublicKey(key)
    }

    /// The signature over `label` and `body`.
    pub(super) fn sign(&self, label: &[u8], body: &[u8]) -> [u8; 64] {
        let mut signature = [0; 64];
        signature.copy_from_slice(self.0.sign(&[label, body].concat()).as_ref());
        signature
    }

    /// Signs `successor` as the key that follows this one.
    pub fn hand_over(&self, successor: &PublicKey, at: Timestamp) -> Handover {
        let signature = self.sign(HANDOVER_LABEL, &handover_body(successor, at));
        Handover {
            from: self.public().id(),
            to: successor.to_text(),
            at,
            signature: URL_SAFE_NO_PAD.encode(signature),
        }
    }
}

/// A signed change of the snapshot key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Handover {
    /// [`PublicKey::id`] of the key that signs.
    pub from: String,
    /// The new key, base64url.
    pub to: String,
    /// When.
    pub at: Timestamp,
    /// base64url signature of the old key.
    pub signature: String,
}

impl Handover {
    /// The new key, if `current` did sign it.
    ///
    /// # Errors
    /// When it was signed by another key or changed since.
    pub fn accept(&self, current: &PublicKey) -> Result<PublicKey, EnvelopeError> {
        if self.from != current.id() {
            return Err(EnvelopeError::UnknownKey(
                self.from.chars().take(64).collect(),
            ));
        }
        let successor = PublicKey::from_text(&self.to)?;
        let signature = URL_SAFE_NO_PAD
            .decode(&self.signature)
            .map_err(|_| EnvelopeError::Handover)?;
        let body = handover_body(&successor, self.at);
        if !current.verifies(HANDOVER_LABEL, &body, &signature) {
            return Err(EnvelopeError::Handover);
        }
        Ok(successor)
    }
}

/// The key at the end of the chain that starts at `pinned`. Links that do not
/// continue the chain are passed over (they precede the pin).
///
/// # Errors
/// When a link of the chain does not verify.
pub fn follow(pinned: &PublicKey, chain: &[Handover]) -> Result<PublicKey, EnvelopeError> {
    let mut current = pinned.clone();
    for link in chain {
        if link.from == current.id() {
            current = link.accept(&current)?;
        }
    }
    Ok(current)
}

fn handover_body(successor: &PublicKey, at: Timestamp) -> Vec<u8> {
    [successor.0.as_slice(), &at.0.to_be_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> SigningKey {
        SigningKey::generate().expect("random bytes").0
    }

    #[test]
    fn a_chain_of_hand_overs_leads_from_any_pin_to_the_last_key() {
        let keys = [key(), key(), key()];
        let chain = [
            keys[0].hand_over(&keys[1].public(), Timestamp(1)),
            keys[1].hand_over(&keys[2].public(), Timestamp(2)),
        ];
        for pinned in &keys {
            assert_eq!(follow(&pinned.public(), &chain), Ok(keys[2].public()));
        }
        let mut forged = chain.clone();
        forged[1] = key().hand_over(&key().public(), Timestamp(3));
        forged[1].from = keys[1].public().id();
        assert_eq!(
            follow(&keys[0].public(), &forged),
            Err(EnvelopeError::Handover)
        );
    }
}
