//! Signed envelopes: DSSE 1.0 (Dead Simple Signing Envelope) with Ed25519 (RFC 8032).
//! The signature covers type and payload, byte for byte, so that nothing depends on how
//! JSON is written. Pure.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use serde::{Deserialize, Serialize};

/// The type of a handed-over incident.
pub const PAYLOAD_TYPE: &str = "application/vnd.civicnet.handover+json";
/// Bytes of an envelope.
pub const ENVELOPE_BYTES_MAX: usize = 8 << 20;
/// Signatures of one envelope.
const SIGNATURES_MAX: usize = 8;

/// A signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    /// The public key, in hexadecimal.
    pub keyid: String,
    /// The signature, in base64.
    pub sig: String,
}

/// An envelope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Envelope {
    /// What the payload is.
    pub payload_type: String,
    /// The payload, in base64.
    pub payload: String,
    /// Who signed it.
    pub signatures: Vec<Signature>,
}

/// Why an envelope is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {rule}")]
pub struct EnvelopeError {
    /// Where.
    pub path: &'static str,
    /// What must hold.
    pub rule: String,
}

fn wrong(path: &'static str, rule: impl Into<String>) -> EnvelopeError {
    EnvelopeError {
        path,
        rule: rule.into(),
    }
}

/// Pre-authentication encoding: what is signed.
fn encoded(kind: &str, payload: &[u8]) -> Vec<u8> {
    let mut out = format!("DSSEv1 {} {kind} {} ", kind.len(), payload.len()).into_bytes();
    out.extend_from_slice(payload);
    out
}

/// A key that signs.
pub struct Signer(Ed25519KeyPair);

impl Signer {
    /// The key of these 32 bytes.
    ///
    /// # Errors
    /// When there are not 32.
    pub fn from_seed(seed: &[u8]) -> Result<Self, EnvelopeError> {
        Ed25519KeyPair::from_seed_unchecked(seed)
            .map(Self)
            .map_err(|error| wrong("key", error.to_string()))
    }

    /// The public key, in hexadecimal: the key's name.
    pub fn public(&self) -> String {
        hex::encode(self.0.public_key().as_ref())
    }

    /// Signs `payload`.
    pub fn sign(&self, payload: &[u8]) -> Envelope {
        let signature = self.0.sign(&encoded(PAYLOAD_TYPE, payload));
        Envelope {
            payload_type: PAYLOAD_TYPE.to_owned(),
            payload: STANDARD.encode(payload),
            signatures: vec![Signature {
                keyid: self.public(),
                sig: STANDARD.encode(signature.as_ref()),
            }],
        }
    }
}

/// Reads an envelope and checks its signatures against `trusted` public keys; returns
/// the payload and the key that vouches for it.
///
/// # Errors
/// When it is none, or no trusted key has signed it.
pub fn open(text: &str, trusted: &[String]) -> Result<(Vec<u8>, String), EnvelopeError> {
    if text.len() > ENVELOPE_BYTES_MAX {
        let rule = format!("must have at most {ENVELOPE_BYTES_MAX} bytes");
        return Err(wrong("envelope", rule));
    }
    let envelope: Envelope =
        serde_json::from_str(text).map_err(|error| wrong("envelope", error.to_string()))?;
    if envelope.payload_type != PAYLOAD_TYPE {
        return Err(wrong("payloadType", format!("must be {PAYLOAD_TYPE}")));
    }
    if envelope.signatures.len() > SIGNATURES_MAX {
        let rule = format!("must be at most {SIGNATURES_MAX}");
        return Err(wrong("signatures", rule));
    }
    let payload = STANDARD
        .decode(&envelope.payload)
        .map_err(|error| wrong("payload", error.to_string()))?;
    let message = encoded(PAYLOAD_TYPE, &payload);
    for signature in &envelope.signatures {
        let Some(known) = trusted
            .iter()
            .find(|key| key.eq_ignore_ascii_case(&signature.keyid))
        else {
            continue;
        };
        let key = hex::decode(known).map_err(|_| wrong("key", "must be hexadecimal"))?;
        let bytes = STANDARD
            .decode(&signature.sig)
            .map_err(|error| wrong("signatures.sig", error.to_string()))?;
        if UnparsedPublicKey::new(&ED25519, key)
            .verify(&message, &bytes)
            .is_ok()
        {
            return Ok((payload, known.to_ascii_lowercase()));
        }
        return Err(wrong("signatures.sig", "does not fit payload and key"));
    }
    Err(wrong("signatures", "must hold one by a trusted key"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signer(byte: u8) -> Signer {
        Signer::from_seed(&[byte; 32]).expect("32 bytes")
    }

    #[test]
    fn what_was_signed_opens_and_nothing_else() {
        let (one, other) = (signer(1), signer(2));
        let text = serde_json::to_string(&one.sign("內容".as_bytes())).expect("JSON");
        let (payload, key) = open(&text, &[other.public(), one.public()]).expect("good");
        assert_eq!((payload.as_slice(), key), ("內容".as_bytes(), one.public()));
        let of = |text: &str, keys: &[String]| open(text, keys).map_err(|e| e.path);
        assert_eq!(of(&text, &[other.public()]), Err("signatures"));
        let mut forged: Envelope = serde_json::from_str(&text).expect("JSON");
        forged.payload = STANDARD.encode("別的");
        let forged = serde_json::to_string(&forged).expect("JSON");
        assert_eq!(of(&forged, &[one.public()]), Err("signatures.sig"));
        let kind = text.replace("handover", "order");
        assert_eq!(of(&kind, &[one.public()]), Err("payloadType"));
        assert_eq!(of("{}", &[]), Err("envelope"));
        assert!(Signer::from_seed(&[1; 31]).is_err());
    }

    #[test]
    fn any_change_of_a_byte_is_noticed() {
        let one = signer(3);
        let text = serde_json::to_string(&one.sign(b"{\"a\":1}")).expect("JSON");
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            let Ok(changed) = String::from_utf8(bytes) else {
                continue;
            };
            match open(&changed, &[one.public()]) {
                // The name of the key may be written in either case.
                Ok((payload, _)) => assert_eq!(payload, b"{\"a\":1}", "{changed}"),
                Err(error) => assert!(!error.rule.is_empty()),
            }
        }
    }
}
