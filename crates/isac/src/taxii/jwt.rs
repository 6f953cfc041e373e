//! Bearer tokens of an OpenID provider: JSON Web Tokens (RFC 7519) signed by RS256,
//! ES256 or EdDSA (RFC 7518, RFC 8037), checked against a key set (RFC 7517). Pure.
//!
//! What a token says counts only when it is signed by a key of the provider, issued by
//! it, meant for this server, begun and not over.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
    UnparsedPublicKey,
};
use serde_json::Value;

/// Bytes of a token.
pub const TOKEN_BYTES_MAX: usize = 16 << 10;
/// Seconds by which clocks may differ.
const LEEWAY_S: i64 = 60;
/// Longest life of a token that is taken, in seconds.
const LIFE_S_MAX: i64 = 86_400;
/// Keys of one set.
const KEYS_MAX: usize = 100;

/// Whom a token speaks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// Who issued it.
    pub issuer: String,
    /// For whom it speaks.
    pub subject: String,
    /// When it ends, in seconds since 1970.
    pub expires_s: i64,
}

/// Why a token is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JwtError {
    /// It is no token, or of a kind that is not taken.
    #[error("{0}")]
    Shape(&'static str),
    /// Its key is not in the set: the set may be old.
    #[error("the key is not known")]
    Key,
    /// Its signature does not fit.
    #[error("the signature does not fit")]
    Signature,
    /// What it says does not hold here and now.
    #[error("{0}")]
    Claim(&'static str),
}

/// What is expected of a token.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// The issuer.
    pub issuer: &'a str,
    /// This server's name at the issuer.
    pub audience: &'a str,
    /// Now, in seconds since 1970.
    pub now_s: i64,
}

/// Whether this may be such a token: three parts, of which the first begins as JSON does.
pub fn looks_like(text: &str) -> bool {
    text.starts_with("eyJ") && text.split('.').count() == 3
}

fn bytes(part: &str) -> Result<Vec<u8>, JwtError> {
    URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_| JwtError::Shape("a part is not base64url"))
}

fn object(part: &str) -> Result<Value, JwtError> {
    let value: Value =
        serde_json::from_slice(&bytes(part)?).map_err(|_| JwtError::Shape("a part is not JSON"))?;
    match value.is_object() {
        true => Ok(value),
        false => Err(JwtError::Shape("a part is no object")),
    }
}

/// Checks `token` against the key set `keys`.
///
/// # Errors
/// [`JwtError`]
pub fn verify(token: &str, keys: &Value, expected: &Expected<'_>) -> Result<Claims, JwtError> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err(JwtError::Shape("it is too long"));
    }
    let parts: Vec<&str> = token.split('.').collect();
    let [head, body, signature] = parts.as_slice() else {
        return Err(JwtError::Shape("it has not three parts"));
    };
    let header = object(head)?;
    if header.get("crit").is_some() {
        return Err(JwtError::Shape("it has critical extensions"));
    }
    let algorithm = header["alg"].as_str().unwrap_or_default();
    let kind = match algorithm {
        "RS256" => "RSA",
        "ES256" => "EC",
        "EdDSA" => "OKP",
        _ => return Err(JwtError::Shape("its algorithm is not taken")),
    };
    let name = header["kid"].as_str();
    let list = keys["keys"].as_array();
    let fitting: Vec<&Value> = list
        .into_iter()
        .flatten()
        .take(KEYS_MAX)
        .filter(|key| {
            key["kty"] == kind
                && key["use"].as_str().is_none_or(|purpose| purpose == "sig")
                && key["alg"].as_str().is_none_or(|named| named == algorithm)
                && name.is_none_or(|name| key["kid"] == name)
        })
        .collect();
    if fitting.is_empty() {
        return Err(JwtError::Key);
    }
    let signed = &token.as_bytes()[..head.len() + 1 + body.len()];
    let signature = bytes(signature)?;
    let good = fitting
        .iter()
        .any(|key| signed_by(key, kind, signed, &signature).is_some());
    if !good {
        return Err(JwtError::Signature);
    }
    claims(&object(body)?, expected)
}

/// `Some` when the key has signed it.
fn signed_by(key: &Value, kind: &str, signed: &[u8], signature: &[u8]) -> Option<()> {
    let part = |name: &str| bytes(key[name].as_str()?).ok();
    match kind {
        "RSA" => {
            let key = RsaPublicKeyComponents {
                n: part("n")?,
                e: part("e")?,
            };
            key.verify(&RSA_PKCS1_2048_8192_SHA256, signed, signature)
                .ok()
        }
        "EC" if key["crv"] == "P-256" => {
            let mut point = vec![4];
            let (x, y) = (part("x")?, part("y")?);
            if x.len() != 32 || y.len() != 32 {
                return None;
            }
            point.extend(x);
            point.extend(y);
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
                .verify(signed, signature)
                .ok()
        }
        "OKP" if key["crv"] == "Ed25519" => UnparsedPublicKey::new(&ED25519, part("x")?)
            .verify(signed, signature)
            .ok(),
        _ => None,
    }
}

fn claims(body: &Value, expected: &Expected<'_>) -> Result<Claims, JwtError> {
    let issuer = body["iss"].as_str().unwrap_or_default();
    if issuer.trim_end_matches('/') != expected.issuer.trim_end_matches('/') {
        return Err(JwtError::Claim("it has another issuer"));
    }
    let meant = match &body["aud"] {
        Value::String(one) => one == expected.audience,
        Value::Array(all) => all.iter().any(|one| one == expected.audience),
        _ => false,
    };
    if !meant {
        return Err(JwtError::Claim("it is meant for somebody else"));
    }
    let now = expected.now_s;
    let expires_s = seconds(&body["exp"]).ok_or(JwtError::Claim("it does not say when it ends"))?;
    if expires_s.saturating_add(LEEWAY_S) <= now {
        return Err(JwtError::Claim("it is over"));
    }
    if expires_s > now.saturating_add(LIFE_S_MAX) {
        return Err(JwtError::Claim("it lives longer than a day"));
    }
    for name in ["nbf", "iat"] {
        if seconds(&body[name]).is_some_and(|from| from > now.saturating_add(LEEWAY_S)) {
            return Err(JwtError::Claim("it has not begun"));
        }
    }
    match body["sub"].as_str() {
        Some(subject) if (1..=255).contains(&subject.len()) => Ok(Claims {
            issuer: expected.issuer.trim_end_matches('/').to_owned(),
            subject: subject.to_owned(),
            expires_s,
        }),
        _ => Err(JwtError::Claim("it does not say for whom it speaks")),
    }
}

fn seconds(value: &Value) -> Option<i64> {
    value
        .as_i64()
        .or_else(|| value.as_f64().map(|seconds| seconds as i64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::signature::{Ed25519KeyPair, KeyPair as _};
    use serde_json::json;

    const NOW: i64 = 1_795_222_800;

    fn pair() -> Ed25519KeyPair {
        Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("a key")
    }

    fn keys() -> Value {
        let x = URL_SAFE_NO_PAD.encode(pair().public_key().as_ref());
        json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "k1", "use": "sig", "x": x}]})
    }

    fn token(header: &Value, body: &Value) -> String {
        let text = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header.to_string()),
            URL_SAFE_NO_PAD.encode(body.to_string())
        );
        let signature = pair().sign(text.as_bytes());
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
    }

    fn body() -> Value {
        json!({"iss": "https://id.example", "aud": ["taxii"], "sub": "plant-7", "exp": NOW + 300, "iat": NOW})
    }

    fn check(token: &str) -> Result<Claims, JwtError> {
        let expected = Expected {
            issuer: "https://id.example/",
            audience: "taxii",
            now_s: NOW,
        };
        verify(token, &keys(), &expected)
    }

    #[test]
    fn only_what_the_provider_signed_for_us_and_now_is_believed() {
        let head = json!({"alg": "EdDSA", "kid": "k1", "typ": "JWT"});
        let good = token(&head, &body());
        assert!(looks_like(&good));
        assert_eq!(
            check(&good).map(|claims| claims.subject).as_deref(),
            Ok("plant-7")
        );
        for (name, value, error) in [
            (
                "iss",
                json!("https://evil.example"),
                "it has another issuer",
            ),
            ("aud", json!("other"), "it is meant for somebody else"),
            ("aud", Value::Null, "it is meant for somebody else"),
            ("exp", json!(NOW - 61), "it is over"),
            ("exp", json!("soon"), "it does not say when it ends"),
            ("exp", json!(NOW + 90_000), "it lives longer than a day"),
            ("nbf", json!(NOW + 61), "it has not begun"),
            ("sub", json!(""), "it does not say for whom it speaks"),
        ] {
            let mut changed = body();
            changed[name] = value;
            assert_eq!(check(&token(&head, &changed)), Err(JwtError::Claim(error)));
        }
        let other = json!({"alg": "EdDSA", "kid": "k2"});
        assert_eq!(check(&token(&other, &body())), Err(JwtError::Key));
        for algorithm in ["none", "HS256", "RS512", ""] {
            let head = json!({"alg": algorithm, "kid": "k1"});
            assert!(matches!(
                check(&token(&head, &body())),
                Err(JwtError::Shape(_))
            ));
        }
        let crit = json!({"alg": "EdDSA", "kid": "k1", "crit": ["b64"]});
        assert!(check(&token(&crit, &body())).is_err());
    }

    #[test]
    fn any_change_is_noticed_and_nothing_panics() {
        let good = token(&json!({"alg": "EdDSA", "kid": "k1"}), &body());
        for at in 0..good.len() {
            let mut bytes = good.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).expect("ASCII");
            if let Ok(claims) = check(&changed) {
                // The last digits of base64 may hold bits that say nothing.
                assert_eq!(claims.subject, "plant-7");
                assert_eq!(at, good.len() - 1);
            }
        }
        for text in ["", "..", "a.b.c", "eyJ.eyJ.", "eyJhIjoxfQ.e30.e30"] {
            assert!(check(text).is_err());
        }
    }
}
