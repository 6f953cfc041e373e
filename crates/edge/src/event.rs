//! Access events: what a request was, and what became of it.

use std::net::IpAddr;

use base::Timestamp;
use base::event::{AccessEvent, CacheResult, Method, Protocol};

use crate::sites::Site;

/// Bytes of a host name in an event.
const HOST_MAX: usize = 255;
/// Bytes of a path in an event.
const PATH_MAX: usize = 1_024;

/// What is known of a request when it has been read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen<'a> {
    pub(crate) client: IpAddr,
    pub(crate) method: &'a str,
    pub(crate) host: &'a str,
    pub(crate) target: &'a str,
    pub(crate) protocol: Protocol,
    pub(crate) tls: bool,
    pub(crate) bytes_received: u64,
}

/// An event whose end is still to be filled in.
pub(crate) fn begin(seen: Seen<'_>, site: Option<&Site>) -> AccessEvent {
    let path = seen.target.split('?').next().unwrap_or_default();
    AccessEvent {
        at: Timestamp(0),
        site: site.map(|site| site.id),
        org: site.and_then(|site| site.org),
        client: seen.client,
        method: method(seen.method),
        host: cut(seen.host, HOST_MAX).into(),
        path: cut(path, PATH_MAX).into(),
        status: 0,
        cache: CacheResult::Local,
        bytes_sent: 0,
        bytes_received: seen.bytes_received,
        duration_us: 0,
        origin_us: 0,
        protocol: seen.protocol,
        tls: seen.tls,
    }
}

fn method(token: &str) -> Method {
    match token {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        "DELETE" => Method::Delete,
        "PATCH" => Method::Patch,
        "OPTIONS" => Method::Options,
        _ => Method::Other,
    }
}

/// At most `max` bytes, cut between characters.
fn cut(text: &str, max: usize) -> &str {
    if text.len() <= max {
        return text;
    }
    let end = (0..=max)
        .rev()
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(0);
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_paths_are_cut_between_characters_and_queries_left_out() {
        let target = format!("/{}?secret", "字".repeat(400));
        let seen = Seen {
            client: IpAddr::from([192, 0, 2, 1]),
            method: "BREW",
            host: "a.tw",
            target: &target,
            protocol: Protocol::Http11,
            tls: false,
            bytes_received: 1,
        };
        let event = begin(seen, None);
        assert_eq!(event.path.len(), 1_024);
        assert!(!event.path.contains('?'));
        assert_eq!(event.method, Method::Other);
    }
}
