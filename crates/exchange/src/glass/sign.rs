//! How the control plane shows a site's looking glass who asks: a keyed hash (HMAC-SHA-256, RFC 2104) over
//! the request and the moment, under a key that only nodes of the exchange and the control plane have.

use std::fmt;

use ring::hmac;

/// Header with the moment of signing, in Unix seconds.
pub const TIME_HEADER: &str = "civicnet-time";
/// Header with the hash, in hexadecimal digits.
pub const MAC_HEADER: &str = "civicnet-mac";
/// Seconds that a signed question is good for; clocks may differ by as much.
const LIFE_S: u64 = 60;
/// Bytes of a key.
pub const KEY_BYTES: usize = 32;

/// A key.
#[derive(Clone)]
pub struct Key(hmac::Key);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

impl Key {
    /// The key that `text` has in hexadecimal digits.
    pub fn from_hex(text: &str) -> Option<Self> {
        let bytes = hex::decode(text).ok()?;
        (bytes.len() == KEY_BYTES).then(|| Self(hmac::Key::new(hmac::HMAC_SHA256, &bytes)))
    }

    /// The headers' values for a question at `now_s`.
    pub fn sign(&self, method: &str, target: &str, now_s: u64) -> (String, String) {
        let time = now_s.to_string();
        let tag = hmac::sign(&self.0, message(method, target, &time).as_bytes());
        (time, hex::encode(tag))
    }

    /// Whether the headers' values are this key's for the question, and fresh.
    pub fn verifies(&self, method: &str, target: &str, time: &str, mac: &str, now_s: u64) -> bool {
        let fresh = time
            .parse::<u64>()
            .is_ok_and(|at| at.abs_diff(now_s) <= LIFE_S);
        let Ok(mac) = hex::decode(mac) else {
            return false;
        };
        fresh && hmac::verify(&self.0, message(method, target, time).as_bytes(), &mac).is_ok()
    }
}

fn message(method: &str, target: &str, time: &str) -> String {
    format!("civicnet-glass\n{method}\n{target}\n{time}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_question_at_the_same_time_verifies() {
        let key = Key::from_hex(&"5a".repeat(KEY_BYTES)).expect("a key");
        let (time, mac) = key.sign("GET", "/glass/status", 1_000);
        assert!(key.verifies("GET", "/glass/status", &time, &mac, 1_030));
        assert!(!key.verifies("GET", "/glass/status", &time, &mac, 1_061));
        assert!(!key.verifies("POST", "/glass/status", &time, &mac, 1_000));
        assert!(!key.verifies("GET", "/glass/probes", &time, &mac, 1_000));
        assert!(!key.verifies("GET", "/glass/status", "1001", &mac, 1_000));
        assert!(!key.verifies("GET", "/glass/status", &time, "zz", 1_000));
        let other = Key::from_hex(&"5b".repeat(KEY_BYTES)).expect("a key");
        assert!(!other.verifies("GET", "/glass/status", &time, &mac, 1_000));
        assert!(Key::from_hex("5a").is_none());
    }
}
