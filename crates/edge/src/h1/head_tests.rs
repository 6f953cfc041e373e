//! The smuggling corpus and the reader's other rules.

use super::*;

fn status(input: &[u8]) -> Result<Option<usize>, u16> {
    let mut room = header_room();
    match read(input, &mut room, 32 << 10, 8 << 10) {
        Ok(head) => Ok(head.map(|head| head.length)),
        Err(refused) => Err(refused.status.as_u16()),
    }
}

#[test]
fn a_plain_request_is_read_whole_and_flagged_plain() {
    let input = b"GET /a?b=c HTTP/1.1\r\nHost: Example.tw:8080\r\nAccept: */*\r\n\r\nGET /next";
    let mut room = header_room();
    let head = read(input, &mut room, 1 << 15, 1 << 13)
        .expect("a good head")
        .expect("a whole head");
    assert_eq!(head.method, "GET");
    assert_eq!(head.target, Target::Origin("/a?b=c"));
    assert_eq!(head.host, "Example.tw:8080");
    assert!(head.plain && head.keep_alive);
    assert_eq!(head.framing, Framing::None);
    assert_eq!(&input[head.length..], b"GET /next");
}

#[test]
fn every_prefix_of_a_good_head_asks_for_more() {
    let input = b"\r\nPOST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n";
    for cut in 0..input.len() {
        assert_eq!(status(&input[..cut]), Ok(None), "cut at {cut}");
    }
    assert_eq!(status(input), Ok(Some(input.len())));
}

#[test]
fn what_two_readers_could_read_differently_is_refused() {
    let lines = |lines: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n\r\n");
    for (fields, expected) in [
        ("Content-Length: 4\r\nTransfer-Encoding: chunked", 400),
        ("Transfer-Encoding: chunked\r\nContent-Length: 4", 400),
        ("Content-Length: 4\r\nContent-Length: 4", 400),
        ("Content-Length: 4\r\nContent-Length: 5", 400),
        ("Content-Length: 4, 4", 400),
        ("Content-Length: +4", 400),
        ("Content-Length: -4", 400),
        ("Content-Length: 0x4", 400),
        ("Content-Length: 4 4", 400),
        ("Content-Length:", 400),
        ("Content-Length: 99999999999999999999", 400),
        ("Content-Length : 4", 400),
        ("Transfer-Encoding : chunked", 400),
        ("Transfer-Encoding: xchunked", 501),
        ("Transfer-Encoding: chunked, identity", 501),
        ("Transfer-Encoding: gzip, chunked", 501),
        ("Transfer-Encoding: \"chunked\"", 501),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            400,
        ),
        ("Transfer-Encoding:\u{b}chunked", 400),
        ("X: y\r\n Transfer-Encoding: chunked", 400),
        ("X: y\r\n\tfolded", 400),
        ("X: a\rb", 400),
        ("X: a\nTransfer-Encoding: chunked", 400),
        ("X: a\0b", 400),
        ("X\0: a", 400),
        ("X Y: a", 400),
        (": a", 400),
        ("no colon", 400),
        ("Host: a", 400),
        ("Host: b", 400),
        ("Expect: the unexpected", 417),
    ] {
        assert_eq!(
            status(lines(fields).as_bytes()),
            Err(expected),
            "{fields:?}"
        );
    }
}

#[test]
fn request_lines_are_checked() {
    for (line, expected) in [
        ("GET  / HTTP/1.1", 400),
        ("GET / HTTP/1.1 ", 400),
        ("GET /\tx HTTP/1.1", 400),
        ("GET / HTTP/1.2", 505),
        ("GET / HTTP/2.0", 505),
        ("GET / http/1.1", 400),
        ("GET x HTTP/1.1", 400),
        ("GET * HTTP/1.1", 400),
        ("GET /a#b HTTP/1.1", 400),
        ("GET ftp://a/ HTTP/1.1", 400),
        ("GET http://user@a/ HTTP/1.1", 400),
        ("GET http://b?a#b HTTP/1.1", 400),
        ("GET http:/// HTTP/1.1", 400),
        ("GE T / HTTP/1.1", 400),
        ("G(T / HTTP/1.1", 400),
    ] {
        let input = format!("{line}\r\nHost: a\r\n\r\n");
        let got = status(input.as_bytes());
        assert!(
            got == Err(expected) || (expected == 505 && got == Err(400)),
            "{line:?}: {got:?}"
        );
    }
    let long = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(9_000));
    assert_eq!(status(long.as_bytes()), Err(414));
    assert_eq!(
        status(format!("GET /{}", "x".repeat(33_000)).as_bytes()),
        Err(414)
    );
    let wide = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "x".repeat(33_000));
    assert_eq!(status(wide.as_bytes()), Err(431));
    let many = format!(
        "GET / HTTP/1.1\r\nHost: a\r\n{}\r\n",
        "x: y\r\n".repeat(101)
    );
    assert_eq!(status(many.as_bytes()), Err(431));
}

#[test]
fn hosts_are_checked() {
    for good in [
        "a",
        "a:80",
        "a:",
        "192.0.2.1:8080",
        "[2001:db8::1]",
        "[::1]:80",
        "a_b.tw",
    ] {
        let input = format!("GET / HTTP/1.1\r\nHost: {good}\r\n\r\n");
        assert!(matches!(status(input.as_bytes()), Ok(Some(_))), "{good}");
    }
    for wrong in [
        "", "a b", "a/b", "a@b", "a:x", "a:123456", "[::1", "[zz]", "[::1]x", "a,b", "a?b",
    ] {
        let input = format!("GET / HTTP/1.1\r\nHost: {wrong}\r\n\r\n");
        assert_eq!(status(input.as_bytes()), Err(400), "{wrong}");
    }
    assert_eq!(status(b"GET / HTTP/1.1\r\n\r\n"), Err(400));
    assert!(matches!(status(b"GET / HTTP/1.0\r\n\r\n"), Ok(Some(_))));
}

#[test]
fn absolute_form_counts_and_not_host() {
    for (line, target, host) in [
        ("GET HTTP://A:80/x?y", Target::Absolute("/x?y"), "A:80"),
        ("GET http://b.tw/", Target::Absolute("/"), "b.tw"),
        ("GET http://b.tw", Target::Absolute("/"), "b.tw"),
        ("GET http://b.tw?q=1", Target::Query("?q=1"), "b.tw"),
        ("OPTIONS http://b.tw", Target::Asterisk, "b.tw"),
        ("OPTIONS http://b.tw/", Target::Absolute("/"), "b.tw"),
    ] {
        let input = format!("{line} HTTP/1.1\r\nHost: a:80\r\n\r\n");
        let mut room = header_room();
        let head = read(input.as_bytes(), &mut room, 1 << 15, 1 << 13)
            .expect("good")
            .expect("whole");
        assert_eq!((head.target, head.host), (target, host), "{line}");
    }
}

#[test]
fn a_hundred_thousand_mutations_neither_panic_nor_pass_a_bare_line_end() {
    let seeds: [&[u8]; 3] = [
        b"GET /a?b HTTP/1.1\r\nHost: example.tw\r\nRange: bytes=0-1\r\nConnection: close, x\r\n\r\n",
        b"POST http://a/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n",
        b"OPTIONS * HTTP/1.0\r\nContent-Length: 10\r\nHost: [::1]:80\r\n\r\n",
    ];
    let mut random = crate::random::Random::seeded(7);
    let mut accepted = 0_u32;
    for round in 0..120_000_usize {
        let mut input = seeds[round % seeds.len()].to_vec();
        for _ in 0..=random.below(4) {
            let at = random.below(input.len() as u64) as usize;
            match random.below(4) {
                0 => input[at] = random.below(256) as u8,
                1 => input.insert(at, b"\r\n\0 :\t,"[random.below(7) as usize]),
                2 if input.len() > 1 => drop(input.remove(at)),
                _ => input.truncate(at.max(1)),
            }
        }
        let mut room = header_room();
        if let Ok(Some(head)) = read(&input, &mut room, 1 << 15, 1 << 13) {
            accepted += 1;
            for header in head.headers {
                assert!(!header.value.contains(&b'\n') && !header.value.contains(&0));
                assert!(!header.name.is_empty());
            }
        }
    }
    assert!(
        accepted > 1_000,
        "the mutations reach past the first check: {accepted}"
    );
}
