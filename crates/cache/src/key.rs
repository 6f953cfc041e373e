//! Cache keys: what makes two requests ask for the same thing (RFC 9111 section 2).
//!
//! The primary key is site, scheme, host and request target. The method is not part
//! of it, because only `GET` responses are kept (a `HEAD` is answered from them).
//! Nothing else that a client sends selects a response unless the response says so
//! with `Vary`, so a header that is no part of the key cannot poison the cache.
//!
//! Normalising is limited to what no origin can tell apart: case of the host, the
//! default port, an empty path, and the query parameters the site's owner named.

use base::SiteId;
use smallvec::SmallVec;

/// A 128-bit keyed hash of a primary key.
pub type KeyHash = u128;

/// The parts of a request target that select a stored response.
#[derive(Debug, Clone, Copy)]
pub struct KeyParts<'a> {
    /// The site that the host belongs to.
    pub site: SiteId,
    /// Whether the client used TLS.
    pub https: bool,
    /// The host, with or without a port, in any case.
    pub host: &'a str,
    /// `/path?query`; an empty one means `/`.
    pub target: &'a str,
    /// Query parameters to leave out.
    pub ignore_query: &'a [String],
}

/// A primary cache key.
///
/// The bytes are `site (16) | scheme (1) | host | 0 | target`; neither a host nor a
/// target can hold a zero octet, so that two different requests never meet.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CacheKey {
    bytes: SmallVec<[u8; 192]>,
    host_end: u32,
}

/// Octets before the host.
const HOST_AT: usize = 17;

impl CacheKey {
    /// Builds the key of a request.
    pub fn new(parts: KeyParts<'_>) -> Self {
        let mut bytes = SmallVec::new();
        bytes.extend_from_slice(parts.site.0.as_bytes());
        bytes.push(u8::from(parts.https));
        let host = without_default_port(parts.host, parts.https);
        bytes.extend(
            host.bytes()
                .filter(|octet| *octet != 0)
                .map(|octet| octet.to_ascii_lowercase()),
        );
        let host_end = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        bytes.push(0);
        push_target(&mut bytes, parts.target, parts.ignore_query);
        Self { bytes, host_end }
    }

    /// Rebuilds a key from [`CacheKey::as_bytes`]; `None` when they are no key.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let host_len = memchr::memchr(0, bytes.get(HOST_AT..)?)?;
        Some(Self {
            bytes: SmallVec::from_slice(bytes),
            host_end: u32::try_from(HOST_AT + host_len).ok()?,
        })
    }

    /// The key as stored.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The site.
    pub fn site(&self) -> SiteId {
        let mut id = [0; 16];
        id.copy_from_slice(&self.bytes[..16]);
        SiteId(uuid::Uuid::from_bytes(id))
    }

    /// Whether the client used TLS.
    pub fn https(&self) -> bool {
        self.bytes[16] == 1
    }

    /// The host in lower case, with its port unless it is the scheme's own.
    pub fn host(&self) -> &[u8] {
        &self.bytes[HOST_AT..self.host_end as usize]
    }

    /// `/path?query`.
    pub fn target(&self) -> &[u8] {
        &self.bytes[self.host_end as usize + 1..]
    }

    /// `/path` without the query.
    pub fn path(&self) -> &[u8] {
        let target = self.target();
        &target[..memchr::memchr(b'?', target).unwrap_or(target.len())]
    }

    /// The keyed hash under which the store files this key.
    pub fn hash(&self, hasher: &Hasher) -> KeyHash {
        hasher.hash(&self.bytes)
    }
}

/// The target in the form in which keys hold it, for purges by URL.
pub fn normalised_target(target: &str, ignore_query: &[String]) -> Vec<u8> {
    let mut bytes = SmallVec::<[u8; 192]>::new();
    push_target(&mut bytes, target, ignore_query);
    bytes.into_vec()
}

fn without_default_port(host: &str, https: bool) -> &str {
    let default = if https { ":443" } else { ":80" };
    // A port follows the last colon outside an IPv6 literal's brackets.
    host.strip_suffix(default)
        .filter(|rest| !rest.contains(':') || rest.ends_with(']'))
        .unwrap_or(host)
}

fn push_target<A: smallvec::Array<Item = u8>>(
    bytes: &mut SmallVec<A>,
    target: &str,
    ignore_query: &[String],
) {
    let target = target.split('#').next().unwrap_or_default();
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    bytes.extend_from_slice(if path.is_empty() {
        b"/"
    } else {
        path.as_bytes()
    });
    let Some(query) = query else { return };
    if ignore_query.is_empty() {
        bytes.push(b'?');
        bytes.extend_from_slice(query.as_bytes());
        return;
    }
    let mut separator = b'?';
    for parameter in query.split('&') {
        let name = parameter.split('=').next().unwrap_or_default();
        if ignore_query.iter().any(|ignored| ignored == name) {
            continue;
        }
        bytes.push(separator);
        bytes.extend_from_slice(parameter.as_bytes());
        separator = b'&';
    }
}

/// SipHash-1-3 with 128 bits of output, keyed per store, so that nobody outside can
/// aim requests at one shard or one bucket.
#[derive(Clone, Copy)]
pub struct Hasher {
    k0: u64,
    k1: u64,
}

impl std::fmt::Debug for Hasher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hasher")
    }
}

impl Hasher {
    /// A hasher with this secret key.
    pub fn new(key: [u8; 16]) -> Self {
        let half = |at: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&key[at..at + 8]);
            u64::from_le_bytes(word)
        };
        Self {
            k0: half(0),
            k1: half(8),
        }
    }

    /// The hash of `data`.
    pub fn hash(&self, data: &[u8]) -> u128 {
        sip128::<1, 3>(self.k0, self.k1, data)
    }
}

/// SipHash with `C` compression and `D` finalisation rounds, 128-bit output
/// (Aumasson and Bernstein, "SipHash: a fast short-input PRF").
fn sip128<const C: usize, const D: usize>(k0: u64, k1: u64, data: &[u8]) -> u128 {
    let mut v = [
        k0 ^ 0x736f_6d65_7073_6575,
        k1 ^ 0x646f_7261_6e64_6f6d ^ 0xee,
        k0 ^ 0x6c79_6765_6e65_7261,
        k1 ^ 0x7465_6462_7974_6573,
    ];
    let round = |v: &mut [u64; 4]| {
        v[0] = v[0].wrapping_add(v[1]);
        v[1] = v[1].rotate_left(13) ^ v[0];
        v[0] = v[0].rotate_left(32);
        v[2] = v[2].wrapping_add(v[3]);
        v[3] = v[3].rotate_left(16) ^ v[2];
        v[0] = v[0].wrapping_add(v[3]);
        v[3] = v[3].rotate_left(21) ^ v[0];
        v[2] = v[2].wrapping_add(v[1]);
        v[1] = v[1].rotate_left(17) ^ v[2];
        v[2] = v[2].rotate_left(32);
    };
    let mut words = data.chunks_exact(8);
    for word in &mut words {
        let mut m = [0; 8];
        m.copy_from_slice(word);
        let m = u64::from_le_bytes(m);
        v[3] ^= m;
        for _ in 0..C {
            round(&mut v);
        }
        v[0] ^= m;
    }
    let mut last = (data.len() as u64 & 0xff) << 56;
    for (at, octet) in words.remainder().iter().enumerate() {
        last |= u64::from(*octet) << (8 * at);
    }
    v[3] ^= last;
    for _ in 0..C {
        round(&mut v);
    }
    v[0] ^= last;
    v[2] ^= 0xee;
    for _ in 0..D {
        round(&mut v);
    }
    let low = v[0] ^ v[1] ^ v[2] ^ v[3];
    v[1] ^= 0xdd;
    for _ in 0..D {
        round(&mut v);
    }
    let high = v[0] ^ v[1] ^ v[2] ^ v[3];
    u128::from(high) << 64 | u128::from(low)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(https: bool, host: &str, target: &str, ignore: &[&str]) -> CacheKey {
        let ignore: Vec<String> = ignore.iter().map(|name| (*name).to_owned()).collect();
        CacheKey::new(KeyParts {
            site: SiteId(uuid::Uuid::from_u128(7)),
            https,
            host,
            target,
            ignore_query: &ignore,
        })
    }

    #[test]
    fn siphash_gives_the_published_vectors() {
        let bytes: Vec<u8> = (0..16).collect();
        let k0 = u64::from_le_bytes(bytes[..8].try_into().expect("eight octets"));
        let k1 = u64::from_le_bytes(bytes[8..].try_into().expect("eight octets"));
        assert_eq!(
            sip128::<2, 4>(k0, k1, &[]).to_le_bytes(),
            [
                0xa3, 0x81, 0x7f, 0x04, 0xba, 0x25, 0xa8, 0xe6, 0x6d, 0xf6, 0x72, 0x14, 0xc7, 0x55,
                0x02, 0x93
            ]
        );
        assert_eq!(
            sip128::<2, 4>(k0, k1, &[0]).to_le_bytes(),
            [
                0xda, 0x87, 0xc1, 0xd8, 0x6b, 0x99, 0xaf, 0x44, 0x34, 0x76, 0x59, 0x11, 0x9b, 0x22,
                0xfc, 0x45
            ]
        );
    }

    #[test]
    fn what_no_origin_can_tell_apart_is_one_key() {
        for (left, right) in [
            (
                key(false, "WWW.Example.TW", "/", &[]),
                key(false, "www.example.tw:80", "", &[]),
            ),
            (
                key(true, "a.tw:443", "/x?b", &[]),
                key(true, "a.tw", "/x?b#f", &[]),
            ),
            (
                key(true, "[2001:db8::1]:443", "/", &[]),
                key(true, "[2001:DB8::1]", "/", &[]),
            ),
            (
                key(
                    false,
                    "a",
                    "/p?utm_source=x&id=1&fbclid=2",
                    &["utm_source", "fbclid"],
                ),
                key(false, "a", "/p?id=1", &[]),
            ),
            (
                key(false, "a", "/p?utm=1", &["utm"]),
                key(false, "a", "/p", &[]),
            ),
        ] {
            assert_eq!(left, right);
        }
    }

    #[test]
    fn what_an_origin_may_tell_apart_is_two_keys() {
        for (left, right) in [
            (key(false, "a", "/", &[]), key(true, "a", "/", &[])),
            (key(false, "a:8080", "/", &[]), key(false, "a", "/", &[])),
            (key(true, "a:80", "/", &[]), key(true, "a", "/", &[])),
            (key(false, "a", "/p?", &[]), key(false, "a", "/p", &[])),
            (key(false, "a", "/P", &[]), key(false, "a", "/p", &[])),
            (key(false, "a", "/%70", &[]), key(false, "a", "/p", &[])),
            (
                key(false, "a", "/p?b&a", &[]),
                key(false, "a", "/p?a&b", &[]),
            ),
            (key(false, "a", "//p", &[]), key(false, "a", "/p", &[])),
        ] {
            assert_ne!(left, right);
        }
    }

    #[test]
    fn a_key_gives_back_its_parts_and_survives_storage() {
        let key = key(true, "A.tw:8443", "/p/q?x=1", &[]);
        assert_eq!(
            (key.host(), key.target(), key.path()),
            (&b"a.tw:8443"[..], &b"/p/q?x=1"[..], &b"/p/q"[..])
        );
        assert!(key.https());
        assert_eq!(CacheKey::from_bytes(key.as_bytes()), Some(key));
        assert_eq!(CacheKey::from_bytes(&[0; 12]), None);
        assert_eq!(CacheKey::from_bytes(&[1; 40]), None);
    }
}
