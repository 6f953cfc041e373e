//! Address space and AS numbers that no member may announce (RFC 6890 and its registries).

/// IPv4, as BIRD's prefix patterns: the default route, and everything inside special-purpose space.
pub(super) const V4: &[&str] = &[
    "0.0.0.0/0",
    "0.0.0.0/8+",
    "10.0.0.0/8+",
    "100.64.0.0/10+",
    "127.0.0.0/8+",
    "169.254.0.0/16+",
    "172.16.0.0/12+",
    "192.0.0.0/24+",
    "192.0.2.0/24+",
    "192.88.99.0/24+",
    "192.168.0.0/16+",
    "198.18.0.0/15+",
    "198.51.100.0/24+",
    "203.0.113.0/24+",
    "224.0.0.0/4+",
    "240.0.0.0/4+",
];

/// IPv6: all outside the global unicast space 2000::/3, and the special parts inside it.
pub(super) const V6: &[&str] = &[
    "::/0",
    "::/3+",
    "2001::/32+",
    "2001:2::/48+",
    "2001:10::/28+",
    "2001:db8::/32+",
    "2002::/16+",
    "3ffe::/16+",
    "3fff::/20+",
    "4000::/2+",
    "8000::/1+",
];

/// AS 0 (RFC 7607), AS_TRANS (RFC 6793), documentation (RFC 5398), private (RFC 6996), last ones
/// (RFC 7300), and the numbers IANA holds back in between.
pub(super) const ASNS: &str = "0, 23456, 64496..131071, 4200000000..4294967295";
