//! Events for tests and examples: made from a number, so that a test can say what
//! must come out.

use std::net::{IpAddr, Ipv4Addr};

use base::event::{AccessEvent, CacheResult, Method, Protocol};
use base::{OrgId, SiteId, Timestamp};

/// 2026-11-21T00:00:00Z.
pub const DAY: Timestamp = Timestamp::from_seconds(1_795_219_200);

/// The site numbered `n`.
pub fn site(n: u64) -> SiteId {
    SiteId(uuid::Uuid::from_u128(
        0x0191_0000_0000_7000_8000_0000_0000_0000 | u128::from(n),
    ))
}

/// The organisation numbered `n`.
pub fn org(n: u64) -> OrgId {
    OrgId(uuid::Uuid::from_u128(
        0x0192_0000_0000_7000_8000_0000_0000_0000 | u128::from(n),
    ))
}

/// A request: the `i`th of [`DAY`], ten a second, over ten sites of five owners.
pub fn access(i: u64) -> AccessEvent {
    const CACHE: [CacheResult; 4] = [
        CacheResult::Hit,
        CacheResult::Hit,
        CacheResult::Hit,
        CacheResult::Miss,
    ];
    // Spreads neighbours apart (Fibonacci hashing).
    let h = i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20;
    let client = Ipv4Addr::new(10, (h >> 3) as u8 & 3, (h >> 7) as u8, (h >> 15) as u8);
    let cache = CACHE[(h % 4) as usize];
    AccessEvent {
        at: Timestamp(DAY.0 + (i as i64) * 100_000),
        site: Some(site(h % 10)),
        org: Some(org(h % 5)),
        client: IpAddr::V4(client),
        method: if h.is_multiple_of(97) {
            Method::Post
        } else {
            Method::Get
        },
        host: format!("www{}.example.tw", h % 10).into(),
        path: format!("/page/{}", (h >> 8) % 50).into(),
        status: if h.is_multiple_of(101) { 502 } else { 200 },
        cache,
        bytes_sent: 500 + (h >> 9) % 20_000,
        bytes_received: 300 + (h >> 5) % 200,
        duration_us: (200 + (h >> 11) % 40_000) as u32,
        origin_us: if cache == CacheResult::Miss { 5_000 } else { 0 },
        protocol: Protocol::Http2,
        tls: true,
    }
}
