//! Which fields pass through the edge, and which end or begin here
//! (RFC 9110 section 7.6).

use std::net::IpAddr;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

/// Fields that concern one connection only, in either direction.
const HOP_BY_HOP: [HeaderName; 6] = [
    header::CONNECTION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
];

const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// Fields by which clients claim who they are; the edge says so itself.
const FORWARDING: [HeaderName; 6] = [
    header::FORWARDED,
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-port"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-real-ip"),
];

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Tells origins that `Surrogate-Control` is understood (W3C Note "Edge Architecture").
const SURROGATE_CAPABILITY: HeaderName = HeaderName::from_static("surrogate-capability");

/// Whether a field frames messages or belongs to the connection, so that no site may
/// set it.
pub(crate) fn is_framing(name: &HeaderName) -> bool {
    HOP_BY_HOP.contains(name)
        || *name == PROXY_CONNECTION
        || *name == header::CONTENT_LENGTH
        || *name == header::HOST
}

/// Takes out what ends at this hop: the known fields, and those that `Connection` names.
pub(crate) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(header::CONNECTION) {
        let named: Vec<HeaderName> = headers
            .get_all(header::CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(|option| HeaderName::from_bytes(option.trim().as_bytes()).ok())
            .collect();
        for name in named {
            // `Connection: host` and the like must not take away what the message needs.
            if name != header::HOST
                && name != header::CONTENT_LENGTH
                && name != header::CACHE_CONTROL
            {
                headers.remove(name);
            }
        }
    }
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
    headers.remove(PROXY_CONNECTION);
    headers.remove(HTTP2_SETTINGS);
}

/// Makes a client's fields ready for an origin.
pub(crate) fn to_origin(headers: &mut HeaderMap, client: IpAddr, https: bool, via: &HeaderValue) {
    strip_hop_by_hop(headers);
    headers.remove(header::HOST);
    headers.remove(header::EXPECT);
    // The connection frames what has a body; a body of nothing is said by this field alone
    // (RFC 9110 section 8.6).
    if headers
        .remove(header::CONTENT_LENGTH)
        .is_some_and(|length| length == "0")
    {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
    for name in &FORWARDING {
        headers.remove(name);
    }
    if let Ok(value) = HeaderValue::from_str(&client.to_canonical().to_string()) {
        headers.insert(X_FORWARDED_FOR, value);
    }
    let scheme = if https { "https" } else { "http" };
    headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(scheme));
    headers.append(header::VIA, via.clone());
    headers.append(
        SURROGATE_CAPABILITY,
        HeaderValue::from_static("civicnet=\"Surrogate/1.0\""),
    );
}

/// Makes an origin's fields ready to be kept and passed on.
pub(crate) fn from_origin(headers: &mut HeaderMap) {
    strip_hop_by_hop(headers);
}

/// How many hops a request has made through nodes of this name: more than a few is a
/// loop.
pub(crate) fn passes_through(headers: &HeaderMap, node: &str) -> usize {
    headers
        .get_all(header::VIA)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter(|hop| hop.split_whitespace().nth(1) == Some(node))
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(fields: &[(&str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(
                HeaderName::from_bytes(name.as_bytes()).expect("a name"),
                HeaderValue::from_str(value).expect("a value"),
            );
        }
        map
    }

    #[test]
    fn what_a_connection_names_ends_with_it() {
        let mut headers = map(&[
            ("Connection", "close, X-Secret"),
            ("Connection", "cache-control"),
            ("X-Secret", "1"),
            ("Cache-Control", "no-store"),
            ("Keep-Alive", "5"),
            ("TE", "trailers"),
            ("Upgrade", "websocket"),
            ("Accept", "*/*"),
        ]);
        strip_hop_by_hop(&mut headers);
        let mut left: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["accept", "cache-control"]);
    }

    #[test]
    fn a_client_cannot_say_where_it_comes_from() {
        let mut headers = map(&[
            ("X-Forwarded-For", "10.0.0.1"),
            ("X-Forwarded-Host", "evil.example"),
            ("Forwarded", "for=10.0.0.1"),
            ("Host", "a"),
            ("Via", "1.0 before"),
        ]);
        let via = HeaderValue::from_static("1.1 edge");
        to_origin(
            &mut headers,
            "192.0.2.7".parse().expect("an address"),
            true,
            &via,
        );
        assert_eq!(headers["x-forwarded-for"], "192.0.2.7");
        assert_eq!(headers["x-forwarded-proto"], "https");
        assert!(!headers.contains_key("x-forwarded-host") && !headers.contains_key("forwarded"));
        assert_eq!(headers.get_all("via").iter().count(), 2);
        assert_eq!(passes_through(&headers, "edge"), 1);
        assert_eq!(passes_through(&headers, "dge"), 0);
    }
}
