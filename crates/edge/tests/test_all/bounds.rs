//! Limits: rates, slow peers, bodies, and the end of an edge.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use base::delivery::{PathAction, PathRule, SiteSettings};

use crate::support::*;

#[test]
fn a_client_beyond_its_rate_is_told_when_to_come_back_hit_or_miss() {
    let origin = ScriptedOrigin::start(|head, stream| {
        let fields = if head.starts_with("GET /hit") {
            "Cache-Control: max-age=600\r\n"
        } else {
            "Cache-Control: no-store\r\n"
        };
        say(stream, "200 OK", fields, "answer");
    });
    for path in ["/hit", "/miss"] {
        let settings = SiteSettings {
            client_rps_max: 1,
            ..SiteSettings::default()
        };
        let edge = managed(&[(origin.url(), 0)], settings);
        // Quicker than one in a second, whatever the machine does.
        let replies: Vec<Reply> = (0..40).map(|_| get(&edge, path)).collect();
        assert_eq!(replies[0].status, 200);
        let refused = replies
            .iter()
            .find(|reply| reply.status == 429)
            .expect("a refusal");
        assert!(refused.field("retry-after").is_some(), "{}", refused.head);
        until("the client may ask again", || {
            get(&edge, path).status == 200
        });
    }
}

#[test]
fn path_rules_hold_for_hits_too() {
    let origin = ScriptedOrigin::start(|_, stream| say(stream, "200 OK", "", "answer"));
    let rule = |prefix: &str, action| PathRule {
        prefix: prefix.into(),
        action,
    };
    let settings = SiteSettings {
        path_rules: vec![
            rule("/kept/", PathAction::ForceTtl { seconds: 600 }),
            rule("/kept/live/", PathAction::Bypass),
        ],
        ..SiteSettings::default()
    };
    let edge = managed(&[(origin.url(), 0)], settings);
    get(&edge, "/kept/a");
    until("it is stored", || is_hit(&get(&edge, "/kept/a")));
    for _ in 0..2 {
        let live = get(&edge, "/kept/live/a");
        assert!(
            live.field("cache-status")
                .is_some_and(|told| told.contains("fwd=bypass")),
            "{}",
            live.head
        );
    }
}

#[test]
fn a_client_that_reads_nothing_is_ended_in_time() {
    let origin = ScriptedOrigin::start(|_, stream| {
        let body = "x".repeat(16 << 20);
        say(stream, "200 OK", "Cache-Control: max-age=600\r\n", &body);
    });
    let mut slow = options();
    slow.limits.write_timeout = Duration::from_millis(300);
    let edge = single(&origin.url(), slow);
    // Cold and warm: from the origin, and from where it is stored.
    for turn in ["cold", "warm"] {
        let mut stream = connect(edge.address);
        stream
            .write_all(b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n")
            .expect("sent");
        until("the edge has begun", || edge.handle.stats().connections > 0);
        until("the edge gave up", || edge.handle.stats().connections == 0);
        let mut all = Vec::new();
        let read = stream.read_to_end(&mut all);
        assert!(
            read.is_err() || all.len() < 16 << 20,
            "{turn}: the client cannot take it for all"
        );
        assert_eq!(get(&edge, "/big").body.len(), 16 << 20);
    }
}

#[test]
fn an_upload_that_stalls_or_grows_too_long_is_ended() {
    let origin = ScriptedOrigin::start(|_, stream| {
        // Reads whatever comes until the edge breaks off.
        let mut waste = [0; 1_024];
        while matches!(stream.read(&mut waste), Ok(1..)) {}
    });
    let mut slow = options();
    slow.limits.body_timeout = Duration::from_millis(300);
    let edge = single(&origin.url(), slow);
    let mut stream = connect(edge.address);
    stream
        .write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nonly this")
        .expect("sent");
    let began = Instant::now();
    let mut all = Vec::new();
    stream.read_to_end(&mut all).ok();
    assert!(
        began.elapsed() < PATIENCE,
        "the edge ended it, not the test's own limit"
    );

    let settings = SiteSettings {
        request_bytes_max: 1_000,
        ..SiteSettings::default()
    };
    let edge = managed(&[(origin.url(), 0)], settings);
    let mut stream = connect(edge.address);
    stream
        .write_all(b"POST / HTTP/1.1\r\nHost: www.example.tw\r\nTransfer-Encoding: chunked\r\n\r\n")
        .expect("sent");
    for _ in 0..4 {
        let chunk = format!("200\r\n{}\r\n", "y".repeat(512));
        if stream.write_all(chunk.as_bytes()).is_err() {
            break;
        }
    }
    let mut all = Vec::new();
    stream.read_to_end(&mut all).ok();
    assert_eq!(parse(&all).status, 413);
}

#[test]
fn a_draining_edge_ends_connections_and_no_request() {
    let origin = ScriptedOrigin::start(|head, stream| {
        if head.starts_with("GET /slow") {
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nContent-Length: 10\r\n\r\nfirst")
                .ok();
            std::thread::sleep(Duration::from_millis(300));
            stream.write_all(b"-last").ok();
        } else {
            say(stream, "200 OK", "Cache-Control: max-age=600\r\n", "quick");
        }
    });
    let mut patient = options();
    patient.limits.drain_timeout = PATIENCE;
    let edge = single(&origin.url(), patient);
    let mut idle = connect(edge.address);
    idle.write_all(b"GET /q HTTP/1.1\r\nHost: a\r\n\r\n")
        .expect("sent");
    let mut some = [0; 512];
    assert!(idle.read(&mut some).expect("a response") > 0);
    let mut busy = connect(edge.address);
    busy.write_all(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
        .expect("sent");
    let mut received = vec![0; 512];
    let first = busy.read(&mut received).expect("the beginning");
    received.truncate(first);
    edge.handle.stop();
    // Everything that was under way is there, and both connections have ended.
    busy.read_to_end(&mut received).expect("the rest");
    assert_eq!(parse(&received).text(), "first-last");
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).expect("an end");
    assert!(
        std::net::TcpStream::connect(edge.address).is_err(),
        "no new ones"
    );
}
