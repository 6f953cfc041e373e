//! Server cookies (RFC 7873, in the interoperable form of RFC 9018): version 1,
//! a time, and SipHash-2-4 over the client's cookie, the time and its address.

use std::net::IpAddr;

use crate::message::Cookie;

/// Bytes of a server cookie of version 1.
pub const SERVER_COOKIE_BYTES: usize = 16;
/// Seconds that a server cookie is honoured (RFC 9018 section 4.3).
const AGE_S_MAX: u32 = 3_600;
/// Seconds that a server cookie may lie in the future (RFC 9018 section 4.3).
const FUTURE_S_MAX: u32 = 300;
/// Seconds after which a fresh one is handed out (RFC 9018 section 4.3).
const RENEW_S: u32 = 1_800;

/// The secret of the server cookies: shared by the servers behind one address.
#[derive(Clone)]
pub struct CookieSecret([u8; 16]);

impl std::fmt::Debug for CookieSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CookieSecret(…)")
    }
}

/// What a query's cookie proves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CookieState {
    /// None was sent.
    Absent,
    /// A client cookie alone, or a server cookie that is not, or no longer, ours.
    Unproven,
    /// The client has shown that it receives what is sent to its address.
    Valid,
}

impl CookieSecret {
    /// A secret from 16 random bytes.
    pub fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Judges a cookie, and gives the server cookie to return: the same one while
    /// it is young, else a fresh one.
    pub fn judge(
        &self,
        cookie: &Cookie,
        client: IpAddr,
        now_s: u32,
    ) -> (CookieState, [u8; SERVER_COOKIE_BYTES]) {
        if usize::from(cookie.server_length) == SERVER_COOKIE_BYTES {
            let mut sent = [0; SERVER_COOKIE_BYTES];
            sent.copy_from_slice(&cookie.server[..SERVER_COOKIE_BYTES]);
            let made_s = u32::from_be_bytes([sent[4], sent[5], sent[6], sent[7]]);
            // Serial arithmetic (RFC 1982), as the time wraps in 2106.
            let age_s = now_s.wrapping_sub(made_s) as i32;
            let current = age_s <= AGE_S_MAX as i32 && age_s >= -(FUTURE_S_MAX as i32);
            if sent[0] == 1 && current && same(&self.make(&cookie.client, client, made_s), &sent) {
                let given = if age_s > RENEW_S as i32 {
                    self.make(&cookie.client, client, now_s)
                } else {
                    sent
                };
                return (CookieState::Valid, given);
            }
        }
        let fresh = self.make(&cookie.client, client, now_s);
        (CookieState::Unproven, fresh)
    }

    fn make(&self, client_cookie: &[u8; 8], client: IpAddr, at_s: u32) -> [u8; 16] {
        let mut input = [0; 32];
        input[..8].copy_from_slice(client_cookie);
        input[8] = 1;
        input[12..16].copy_from_slice(&at_s.to_be_bytes());
        let length = match client {
            IpAddr::V4(v4) => {
                input[16..20].copy_from_slice(&v4.octets());
                20
            }
            IpAddr::V6(v6) => {
                input[16..32].copy_from_slice(&v6.octets());
                32
            }
        };
        let mut cookie = [0; 16];
        cookie[0] = 1;
        cookie[4..8].copy_from_slice(&at_s.to_be_bytes());
        cookie[8..].copy_from_slice(&siphash24(&self.0, &input[..length]).to_le_bytes());
        cookie
    }
}

/// Compares without telling by time where the difference is.
fn same(a: &[u8; 16], b: &[u8; 16]) -> bool {
    a.iter().zip(b).fold(0, |all, (a, b)| all | (a ^ b)) == 0
}

/// SipHash-2-4 (Aumasson and Bernstein, 2012).
fn siphash24(key: &[u8; 16], data: &[u8]) -> u64 {
    let word = |bytes: &[u8]| {
        let mut eight = [0; 8];
        eight[..bytes.len()].copy_from_slice(bytes);
        u64::from_le_bytes(eight)
    };
    let (k0, k1) = (word(&key[..8]), word(&key[8..]));
    let mut v = [
        k0 ^ 0x736f_6d65_7073_6575,
        k1 ^ 0x646f_7261_6e64_6f6d,
        k0 ^ 0x6c79_6765_6e65_7261,
        k1 ^ 0x7465_6462_7974_6573,
    ];
    let chunks = data.chunks_exact(8);
    let last = word(chunks.remainder()) | (data.len() as u64) << 56;
    for block in chunks.map(word).chain([last]) {
        v[3] ^= block;
        sip_round(&mut v);
        sip_round(&mut v);
        v[0] ^= block;
    }
    v[2] ^= 0xff;
    for _ in 0..4 {
        sip_round(&mut v);
    }
    v[0] ^ v[1] ^ v[2] ^ v[3]
}

fn sip_round(v: &mut [u64; 4]) {
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn siphash_gives_the_paper_s_vector() {
        let key = std::array::from_fn(|i| i as u8);
        let data: Vec<u8> = (0..15).collect();
        assert_eq!(siphash24(&key, &data), 0xa129_ca61_49be_45e5);
    }

    /// RFC 9018 appendix A.1, "Learning a New Server Cookie".
    #[test]
    fn a_learned_cookie_is_that_of_rfc_9018() {
        let secret = CookieSecret::new([
            0xe5, 0xe9, 0x73, 0xe5, 0xa6, 0xb2, 0xa4, 0x3f, 0x48, 0xe7, 0xdc, 0x84, 0x9e, 0x37,
            0xbf, 0xcf,
        ]);
        let client = [0x24, 0x64, 0xc4, 0xab, 0xcf, 0x10, 0xc9, 0x57];
        let address = "198.51.100.100".parse().expect("an address");
        let cookie = Cookie {
            client,
            server: [0; 32],
            server_length: 0,
        };
        let (state, made) = secret.judge(&cookie, address, 1_559_731_985);
        assert_eq!(state, CookieState::Unproven);
        let expected = [
            0x01, 0x00, 0x00, 0x00, 0x5c, 0xf7, 0x9f, 0x11, 0x1f, 0x81, 0x30, 0xc3, 0xee, 0xe2,
            0x94, 0x80,
        ];
        assert_eq!(made, expected);
        let mut returned = cookie;
        returned.server[..16].copy_from_slice(&made);
        returned.server_length = 16;
        let judge = |at| secret.judge(&returned, address, at).0;
        assert_eq!(judge(1_559_731_985 + 3_600), CookieState::Valid);
        assert_eq!(judge(1_559_731_985 + 3_601), CookieState::Unproven);
        assert_eq!(judge(1_559_731_985 - 300), CookieState::Valid);
        assert_eq!(judge(1_559_731_985 - 301), CookieState::Unproven);
        let other = "198.51.100.101".parse().expect("an address");
        assert_eq!(
            secret.judge(&returned, other, 1_559_731_985).0,
            CookieState::Unproven
        );
    }
}
