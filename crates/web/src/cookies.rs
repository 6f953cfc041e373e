//! Cookies: reading them, and writing ours with the right attributes.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, header};
use ring::hmac;

use crate::room::Level;
use crate::visit::Flash;

/// Cookies of a request that are looked at.
const COOKIES_MAX: usize = 64;
/// Characters of a flash message.
const FLASH_CHARS_MAX: usize = 400;

/// Names and attributes of our cookies, and the key that signs what they say.
#[derive(Debug, Clone)]
pub struct Cookies {
    secure: bool,
    key: hmac::Key,
}

/// A request's cookies.
#[derive(Debug, Clone, Default)]
pub struct Jar(Vec<(String, String)>);

impl Jar {
    /// Reads the `Cookie` fields (RFC 6265 section 4.2); the first of a name counts.
    pub fn read(headers: &HeaderMap) -> Self {
        let mut pairs = Vec::new();
        for field in headers.get_all(header::COOKIE) {
            let Ok(text) = field.to_str() else { continue };
            for pair in text.split(';').take(COOKIES_MAX) {
                if let Some((name, value)) = pair.trim().split_once('=') {
                    pairs.push((name.to_owned(), value.trim_matches('"').to_owned()));
                }
            }
        }
        pairs.truncate(COOKIES_MAX);
        Self(pairs)
    }

    /// The value of a cookie.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.as_str())
    }
}

impl Cookies {
    /// Ours, for a console that is (not) reached by HTTPS; `key` signs.
    pub fn new(secure: bool, key: &[u8; 32]) -> Self {
        Self {
            secure,
            key: hmac::Key::new(hmac::HMAC_SHA256, key),
        }
    }

    /// The session's cookie. `__Host-` binds it to this very host (RFC 6265bis).
    pub fn session_name(&self) -> &'static str {
        if self.secure {
            "__Host-cn_session"
        } else {
            "cn_session"
        }
    }

    /// The cookie that binds a visitor's forms.
    pub fn visitor_name(&self) -> &'static str {
        if self.secure {
            "__Host-cn_visitor"
        } else {
            "cn_visitor"
        }
    }

    /// `Set-Cookie` for the browser session, unreadable to scripts.
    pub fn set(&self, name: &str, value: &str, lifetime: Option<Duration>) -> String {
        let mut text = format!("{name}={value}; Path=/; HttpOnly; SameSite=Lax");
        if self.secure {
            text.push_str("; Secure");
        }
        if let Some(lifetime) = lifetime {
            text.push_str(&format!("; Max-Age={}", lifetime.as_secs()));
        }
        text
    }

    /// `Set-Cookie` that removes a cookie.
    pub fn remove(&self, name: &str) -> String {
        self.set(name, "", Some(Duration::ZERO))
    }

    /// `Set-Cookie` of a message for the next page.
    pub fn flash(&self, flash: &Flash) -> String {
        let text: String = flash.text.chars().take(FLASH_CHARS_MAX).collect();
        let value = self.sign(
            "flash",
            format!("{}:{text}", flash.level.class()).as_bytes(),
        );
        self.set("cn_flash", &value, Some(Duration::from_secs(60)))
    }

    /// The message left by the page before.
    pub fn read_flash(&self, jar: &Jar) -> Option<Flash> {
        let bytes = self.verify("flash", jar.get("cn_flash")?)?;
        let text = String::from_utf8(bytes).ok()?;
        let (level, text) = text.split_once(':')?;
        let level = [
            Level::Neutral,
            Level::Info,
            Level::Good,
            Level::Warn,
            Level::Bad,
        ]
        .into_iter()
        .find(|known| known.class() == level)?;
        Some(Flash {
            level,
            text: text.to_owned(),
        })
    }

    /// `payload` with a signature over it and its purpose.
    pub fn sign(&self, purpose: &str, payload: &[u8]) -> String {
        let tag = hmac::sign(&self.key, &message(purpose, payload));
        format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(payload),
            URL_SAFE_NO_PAD.encode(tag)
        )
    }

    /// The payload, if the signature is ours.
    pub fn verify(&self, purpose: &str, value: &str) -> Option<Vec<u8>> {
        let (payload, tag) = value.split_once('.')?;
        let payload = URL_SAFE_NO_PAD.decode(payload).ok()?;
        let tag = URL_SAFE_NO_PAD.decode(tag).ok()?;
        hmac::verify(&self.key, &message(purpose, &payload), &tag).ok()?;
        Some(payload)
    }

    /// The token that proves that a form comes from a page of ours, bound to the
    /// session or visitor cookie.
    pub fn csrf(&self, bound_to: &str) -> String {
        URL_SAFE_NO_PAD.encode(hmac::sign(&self.key, &message("csrf", bound_to.as_bytes())))
    }

    /// Whether `token` is [`Cookies::csrf`] of `bound_to`; in constant time.
    pub fn csrf_matches(&self, bound_to: &str, token: &str) -> bool {
        URL_SAFE_NO_PAD.decode(token).is_ok_and(|tag| {
            hmac::verify(&self.key, &message("csrf", bound_to.as_bytes()), &tag).is_ok()
        })
    }
}

fn message(purpose: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(purpose.len() + 1 + payload.len());
    bytes.extend_from_slice(purpose.as_bytes());
    bytes.push(0);
    bytes.extend_from_slice(payload);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn cookies() -> Cookies {
        Cookies::new(true, &[7; 32])
    }

    #[test]
    fn a_signature_is_good_for_its_purpose_only() {
        let signed = cookies().sign("flash", b"hello");
        assert_eq!(
            cookies().verify("flash", &signed).as_deref(),
            Some(&b"hello"[..])
        );
        assert_eq!(cookies().verify("oidc", &signed), None);
        assert_eq!(Cookies::new(true, &[8; 32]).verify("flash", &signed), None);
        assert!(!cookies().csrf_matches("a", &cookies().csrf("b")));
        assert!(cookies().csrf_matches("a", &cookies().csrf("a")));
    }

    #[test]
    fn hostile_cookie_headers_do_no_harm() {
        let mut state = 1_u64;
        let seed = b"cn_session=abc; cn_flash=Z29vZDpoaQ.AAAA; x=\"y\"; =; ;;".to_vec();
        for _ in 0..100_000 {
            let mut bytes = seed.clone();
            for _ in 0..3 {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                let at = (state >> 33) as usize % bytes.len();
                bytes[at] = (state >> 24) as u8;
            }
            let mut headers = HeaderMap::new();
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                headers.insert(header::COOKIE, value);
            }
            let jar = Jar::read(&headers);
            assert!(jar.0.len() <= COOKIES_MAX);
            assert_eq!(cookies().read_flash(&jar), None, "none of these is signed");
        }
    }
}
