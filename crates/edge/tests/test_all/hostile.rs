//! Requests made to confuse, and many of them.

use std::io::{Read, Write};

use crate::support::*;

#[test]
fn a_smuggled_request_reaches_no_origin() {
    let origin = ScriptedOrigin::start(|_, stream| say(stream, "200 OK", "", "answer"));
    let edge = single(&origin.url(), options());
    for (request, expected) in [
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
            501,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
            400,
        ),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\nHost: a\n\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
        ("CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", 501),
    ] {
        let reply = parse(&raw(edge.address, request.as_bytes()));
        assert_eq!(reply.status, expected, "{request:?}");
    }
    assert_eq!(origin.asked(), 0);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let origin = ScriptedOrigin::start(|head, stream| {
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        say(stream, "200 OK", "Cache-Control: max-age=60\r\n", &path);
    });
    let edge = single(&origin.url(), options());
    let requests: String = (0..50)
        .map(|n| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", n % 7))
        .collect();
    let last = "GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let mut stream = connect(edge.address);
    stream
        .write_all(format!("{requests}{last}").as_bytes())
        .expect("sent");
    let mut all = String::new();
    stream.read_to_string(&mut all).expect("responses");
    let bodies: Vec<&str> = all
        .split("\r\n\r\n")
        .skip(1)
        .map(|part| part.split("HTTP/1.1").next().unwrap_or_default())
        .collect();
    let expected: Vec<String> = (0..50)
        .map(|n| format!("/{}", n % 7))
        .chain(["/last".to_owned()])
        .collect();
    assert_eq!(bodies, expected);
}

#[test]
fn a_body_beyond_the_limit_is_refused() {
    let origin = ScriptedOrigin::start(|_, stream| say(stream, "200 OK", "", "answer"));
    let settings = base::delivery::SiteSettings {
        request_bytes_max: 10,
        ..Default::default()
    };
    let edge = managed(&[(origin.url(), 0)], settings);
    let reply = ask(&edge, "POST", "/", "Content-Length: 11\r\n");
    assert_eq!(reply.status, 413);
    assert_eq!(origin.asked(), 0);
}

#[test]
fn an_edge_lives_through_thousands_of_broken_connections() {
    let origin = ScriptedOrigin::start(|_, stream| {
        say(stream, "200 OK", "Cache-Control: max-age=60\r\n", "alive")
    });
    let edge = single(&origin.url(), options());
    let seed = b"GET /a HTTP/1.1\r\nHost: a\r\nRange: bytes=0-1\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc";
    let mut state = 0x9e37_79b9_u64;
    let mut below = |bound: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % bound
    };
    for _ in 0..2_000 {
        let mut octets = seed.to_vec();
        for _ in 0..=below(3) {
            let at = below(octets.len());
            match below(3) {
                0 => octets[at] = below(256) as u8,
                1 => octets.insert(at, b"\r\n\0 :"[below(5)]),
                _ => octets.truncate(at.max(1)),
            }
        }
        raw(edge.address, &octets);
    }
    assert_eq!(get(&edge, "/fine").text(), "alive");
}
