//! What the RFCs ask of a gateway between a client and an origin, and what they guard against.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::{
    PATIENCE, ScriptedOrigin, ask, connect, get, is_hit, options, raw, say, single, until,
};

/// Reads on until `end`, or until the connection is closed; into `seen` as it comes.
fn read_on(stream: &mut TcpStream, end: &str, seen: &Mutex<String>) {
    let mut byte = [0];
    loop {
        match stream.read(&mut byte) {
            Ok(1) => {
                let mut seen = seen.lock().expect("no panic");
                seen.push(char::from(byte[0]));
                if seen.ends_with(end) {
                    return;
                }
            }
            _ => return,
        }
    }
}

fn has(head: &str, name: &str) -> bool {
    head.lines()
        .any(|line| line.to_ascii_lowercase().starts_with(&format!("{name}:")))
}

/// RFC 9112 section 8: only the client's own last chunk ends its body.
#[test]
fn an_origin_that_answers_early_still_gets_the_whole_upload() {
    let seen = Arc::new(Mutex::new(String::new()));
    let kept = Arc::clone(&seen);
    let origin = ScriptedOrigin::start(move |_, stream| {
        say(stream, "200 OK", "", "ok");
        read_on(stream, "0\r\n\r\n", &kept);
    });
    let edge = single(&origin.url(), options());
    let mut client = connect(edge.address);
    client
        .write_all(
            b"POST /up HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n",
        )
        .expect("sent");
    let mut answer = String::new();
    let mut byte = [0];
    while !answer.ends_with("ok") {
        client.read_exact(&mut byte).expect("an answer");
        answer.push(char::from(byte[0]));
    }
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    client.write_all(b"3\r\ntwo\r\n0\r\n\r\n").expect("sent");
    until("the origin has it all", || {
        let seen = seen.lock().expect("no panic");
        seen.contains("one") && seen.contains("two") && seen.ends_with("0\r\n\r\n")
    });
}

/// An origin that has answered and takes no more of the body does not hold its client for ever.
#[test]
fn an_origin_that_answers_and_stops_reading_ends_the_upload() {
    let origin = ScriptedOrigin::start(|_, stream| {
        say(stream, "200 OK", "", "ok");
        stream.flush().expect("sent");
        // Keeps the connection, and reads nothing.
        loop {
            std::thread::park();
        }
    });
    let mut options = options();
    options.limits.body_timeout = Duration::from_millis(300);
    let edge = single(&origin.url(), options);
    let mut client = connect(edge.address);
    client.set_write_timeout(Some(PATIENCE)).expect("a limit");
    client
        .write_all(b"POST /up HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        .expect("sent");
    let piece = [b"10000\r\n".as_slice(), &[b'x'; 0x10000], b"\r\n"].concat();
    let ended = loop {
        if let Err(error) = client.write_all(&piece) {
            break error.kind();
        }
    };
    assert!(
        matches!(ended, ErrorKind::BrokenPipe | ErrorKind::ConnectionReset),
        "{ended:?}"
    );
    until("the edge has let go of it", || {
        edge.handle.stats().connections == 0
    });
}

#[test]
fn an_upload_that_is_cut_off_is_never_sealed_as_whole() {
    let seen = Arc::new(Mutex::new(String::new()));
    let ended = Arc::new(AtomicBool::new(false));
    let (kept, told) = (Arc::clone(&seen), Arc::clone(&ended));
    let origin = ScriptedOrigin::start(move |_, stream| {
        read_on(stream, "0\r\n\r\n", &kept);
        told.store(true, Ordering::SeqCst);
    });
    let edge = single(&origin.url(), options());
    let mut client = connect(edge.address);
    client
        .write_all(
            b"POST /up HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n",
        )
        .expect("sent");
    until("the origin has the first piece", || {
        seen.lock().expect("no panic").contains("one")
    });
    client.shutdown(Shutdown::Both).expect("closed");
    until("the origin's side has ended", || {
        ended.load(Ordering::SeqCst)
    });
    let seen = seen.lock().expect("no panic");
    assert!(!seen.contains("0\r\n\r\n"), "{seen:?}");
}

/// The body of a GET is no part of the key, so what it brings is for nobody else.
#[test]
fn a_get_with_a_body_poisons_nothing() {
    let origin = ScriptedOrigin::start(|head, stream| {
        let mut body = String::from("clean");
        if has(head, "content-length") {
            let mut four = [0; 4];
            stream.read_exact(&mut four).expect("a body");
            body = String::from_utf8_lossy(&four).into_owned();
        }
        say(stream, "200 OK", "Cache-Control: max-age=100\r\n", &body);
    });
    let edge = single(&origin.url(), options());
    let request = b"GET /fat HTTP/1.1\r\nHost: www.example.tw\r\nContent-Length: 4\r\nConnection: close\r\n\r\nevil";
    let mut client = connect(edge.address);
    client.write_all(request).expect("sent");
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("an answer");
    assert!(answer.ends_with("evil"), "{answer}");
    assert_eq!(get(&edge, "/fat").text(), "clean");
}

/// RFC 9110 section 7.6.1: what `Connection` names ends here, before `Vary` is looked at.
#[test]
fn a_field_that_a_connection_names_does_not_choose_the_variant() {
    let origin = ScriptedOrigin::start(|head, stream| {
        let language = if has(head, "accept-language") {
            "zh"
        } else {
            "none"
        };
        let fields = "Cache-Control: max-age=100\r\nVary: Accept-Language\r\n";
        say(stream, "200 OK", fields, language);
    });
    let edge = single(&origin.url(), options());
    let hidden = "Accept-Language: zh-TW\r\nConnection: Accept-Language\r\n";
    assert_eq!(ask(&edge, "GET", "/v", hidden).text(), "none");
    let open = ask(&edge, "GET", "/v", "Accept-Language: zh-TW\r\n");
    assert_eq!(open.text(), "zh");
}

/// RFC 9110 section 13.1.2: whoever has it already is told so, kept or not.
#[test]
fn conditions_are_met_for_what_is_not_kept() {
    let origin = ScriptedOrigin::start(|head, stream| {
        let control = if head.contains("/stale") {
            "max-age=0"
        } else {
            "no-store"
        };
        let fields = format!(
            "Cache-Control: {control}\r\nETag: \"z\"\r\nLast-Modified: Mon, 01 Jan 2024 00:00:00 GMT\r\nContent-Language: zh\r\n"
        );
        if has(head, "if-none-match") {
            stream
                .write_all(format!("HTTP/1.1 304 Not Modified\r\n{fields}\r\n").as_bytes())
                .expect("sent");
        } else if head.starts_with("HEAD") {
            let whole = format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 4\r\n\r\n");
            stream.write_all(whole.as_bytes()).expect("sent");
        } else {
            say(stream, "200 OK", &fields, "body");
        }
    });
    let edge = single(&origin.url(), options());
    for condition in [
        "If-None-Match: \"z\"\r\n",
        "If-None-Match: \"a\", W/\"z\"\r\n",
        "If-Modified-Since: Tue, 02 Jan 2024 00:00:00 GMT\r\n",
    ] {
        let reply = ask(&edge, "GET", "/private", condition);
        assert_eq!((reply.status, reply.body.len()), (304, 0), "{condition}");
        assert_eq!(reply.field("etag"), Some("\"z\""));
        assert_eq!(reply.field("content-language"), None, "{}", reply.head);
    }
    let other = ask(&edge, "GET", "/private", "If-None-Match: \"a\"\r\n");
    assert_eq!((other.status, other.text().as_str()), (200, "body"));
    // And HEAD, of something stale.
    assert_eq!(get(&edge, "/stale").status, 200);
    let head = ask(&edge, "HEAD", "/stale", "If-None-Match: \"z\"\r\n");
    assert_eq!(head.status, 304);
}

/// RFC 9111 section 5.2.2.4: a named field is not for subsequent responses; for this one it is.
#[test]
fn a_named_field_reaches_who_caused_it_and_nobody_else() {
    let origin = ScriptedOrigin::start(|_, stream| {
        let fields = "Cache-Control: max-age=60, no-cache=\"set-cookie\"\r\nSet-Cookie: sid=1\r\n";
        say(stream, "200 OK", fields, "page");
    });
    let edge = single(&origin.url(), options());
    assert_eq!(get(&edge, "/c").field("set-cookie"), Some("sid=1"));
    let next = get(&edge, "/c");
    assert!(is_hit(&next), "{}", next.head);
    assert_eq!(next.field("set-cookie"), None);
}

/// RFC 9111 section 4.4: a response that was under way when an unsafe request succeeded is
/// out of date when it arrives.
#[test]
fn what_an_unsafe_request_overtook_is_not_kept() {
    let changed = Arc::new(AtomicBool::new(false));
    let asked = Arc::new(AtomicBool::new(false));
    let (told, begun) = (Arc::clone(&changed), Arc::clone(&asked));
    let origin = ScriptedOrigin::start(move |head, stream| {
        if head.starts_with("POST") {
            return say(stream, "200 OK", "", "done");
        }
        let body = if told.load(Ordering::SeqCst) {
            "new"
        } else {
            "old"
        };
        begun.store(true, Ordering::SeqCst);
        until("somebody has posted", || told.load(Ordering::SeqCst));
        say(stream, "200 OK", "Cache-Control: max-age=100\r\n", body);
    });
    let edge = single(&origin.url(), options());
    std::thread::scope(|scope| {
        let first = scope.spawn(|| get(&edge, "/thing").text());
        until("the first is under way", || asked.load(Ordering::SeqCst));
        let posted = ask(&edge, "POST", "/thing", "Content-Length: 0\r\n");
        assert_eq!(posted.text(), "done");
        changed.store(true, Ordering::SeqCst);
        assert_eq!(first.join().expect("no panic"), "old");
    });
    assert_eq!(get(&edge, "/thing").text(), "new");
}

/// RFC 9112 sections 3.2.2 and 3.2.4, RFC 9110 sections 4.2.3, 7.6.3 and 8.6.
#[test]
fn the_target_counts_and_what_is_passed_on_says_what_came() {
    let origin = ScriptedOrigin::start(|_, stream| say(stream, "200 OK", "", "ok"));
    let edge = single(&origin.url(), options());
    let sent =
        |text: &str| String::from_utf8_lossy(&raw(edge.address, text.as_bytes())).into_owned();
    let last = || {
        origin
            .heads
            .lock()
            .expect("no panic")
            .last()
            .cloned()
            .unwrap_or_default()
    };
    let told = sent("GET http://a.example?q=1 HTTP/1.1\r\nHost: b.example\r\n\r\n");
    assert!(told.starts_with("HTTP/1.1 200"), "{told}");
    assert!(last().starts_with("GET /?q=1 HTTP/1.1\r\n"), "{}", last());
    assert!(
        last()
            .to_ascii_lowercase()
            .contains("\r\nhost: a.example\r\n"),
        "{}",
        last()
    );
    assert!(last().contains("1.1 edge-test"), "{}", last());
    let asked = origin.asked();
    let told = sent("OPTIONS http://a.example HTTP/1.1\r\nHost: a.example\r\n\r\n");
    assert!(told.starts_with("HTTP/1.1 204"), "{told}");
    assert_eq!(
        origin.asked(),
        asked,
        "OPTIONS * is the edge's own to answer"
    );
    sent("POST / HTTP/1.0\r\nHost: a.example\r\nContent-Length: 0\r\n\r\n");
    assert!(has(&last(), "content-length"), "{}", last());
    assert!(last().contains("1.0 edge-test"), "{}", last());
}

/// What a 416 says is of the range, not of what is stored.
#[test]
fn a_416_does_not_say_that_it_may_be_kept() {
    let origin = ScriptedOrigin::start(|_, stream| {
        let fields = "Cache-Control: max-age=100\r\nContent-Type: text/plain\r\n";
        say(stream, "200 OK", fields, "0123456789");
    });
    let edge = single(&origin.url(), options());
    assert_eq!(get(&edge, "/r").status, 200);
    let beyond = ask(&edge, "GET", "/r", "Range: bytes=50-\r\n");
    assert_eq!(beyond.status, 416);
    assert_eq!(beyond.field("content-range"), Some("bytes */10"));
    assert_eq!(beyond.field("cache-control"), None, "{}", beyond.head);
    assert_eq!(beyond.field("content-type"), None, "{}", beyond.head);
}

#[test]
fn only_if_cached_never_goes_to_the_origin() {
    let origin = ScriptedOrigin::start(|_, stream| {
        say(
            stream,
            "200 OK",
            "Cache-Control: max-age=100\r\nETag: \"a\"\r\n",
            "x",
        );
    });
    let edge = single(&origin.url(), options());
    assert_eq!(get(&edge, "/o").status, 200);
    let asked = origin.asked();
    let fields = "Cache-Control: only-if-cached\r\nIf-Match: \"b\"\r\n";
    assert_eq!(ask(&edge, "GET", "/o", fields).status, 504);
    assert_eq!(origin.asked(), asked);
}

/// RFC 9112 section 5.1: a proxy takes the white space before the colon out.
#[test]
fn an_origins_white_space_before_a_colon_is_taken_out() {
    let origin = ScriptedOrigin::start(|_, stream| say(stream, "200 OK", "X-Foo : 1\r\n", "x"));
    let edge = single(&origin.url(), options());
    let reply = get(&edge, "/w");
    assert_eq!((reply.status, reply.field("x-foo")), (200, Some("1")));
}
