//! Hits, misses, sharing, staleness, ranges, purges, failing origins.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use base::delivery::SiteSettings;
use base::quick::{Order, Purge, PurgeWhat, QuickEntry};
use base::{Role, Timestamp};

use crate::support::*;

#[test]
fn a_second_request_is_a_hit_and_says_so() {
    let origin = ScriptedOrigin::start(|_, stream| {
        say(stream, "200 OK", "Cache-Control: max-age=60\r\n", "hello")
    });
    let edge = single(&origin.url(), options());
    let first = get(&edge, "/a");
    assert!(
        first
            .field("cache-status")
            .expect("told")
            .contains("fwd=uri-miss"),
        "{first:?}"
    );
    until("the object is kept", || {
        get(&edge, "/a")
            .field("cache-status")
            .is_some_and(|status| status.contains("hit"))
    });
    let hit = get(&edge, "/a");
    assert_eq!((hit.status, hit.text().as_str()), (200, "hello"));
    assert!(hit.field("age").is_some());
    assert_eq!(origin.asked(), 1);
    let head = ask(&edge, "HEAD", "/a", "");
    assert_eq!(
        (head.status, head.field("content-length"), head.body.len()),
        (200, Some("5"), 0)
    );
    assert_eq!(origin.asked(), 1);
}

#[test]
fn two_hundred_users_of_a_cold_object_share_one_fetch_as_it_arrives() {
    const PIECES: usize = 16;
    const PIECE: usize = 65_536;
    let ended = Arc::new(AtomicBool::new(false));
    let end = Arc::clone(&ended);
    let started = Arc::new(AtomicUsize::new(0));
    let early = Arc::clone(&started);
    let origin = ScriptedOrigin::start(move |_, stream| {
        let head = format!(
            "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: {}\r\n\r\n",
            PIECES * PIECE
        );
        stream.write_all(head.as_bytes()).ok();
        for piece in 0..PIECES {
            if piece == PIECES - 1 {
                // The last piece leaves only when every user has begun to read.
                until("all users have first bytes", || {
                    early.load(Ordering::SeqCst) == 200
                });
                end.store(true, Ordering::SeqCst);
            }
            stream.write_all(&[b'x'; PIECE]).ok();
        }
    });
    let edge = single(&origin.url(), options());
    let users: Vec<_> = (0..200)
        .map(|_| {
            let (address, started, ended) =
                (edge.address, Arc::clone(&started), Arc::clone(&ended));
            std::thread::spawn(move || {
                let mut stream = connect(address);
                stream
                    .write_all(b"GET /big HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                    .expect("sent");
                let mut received = vec![0; 1_024];
                let first = stream.read(&mut received).expect("first bytes");
                received.truncate(first);
                let before_the_end = !ended.load(Ordering::SeqCst);
                started.fetch_add(1, Ordering::SeqCst);
                stream.read_to_end(&mut received).expect("the rest");
                (before_the_end, parse(&received).body.len())
            })
        })
        .collect();
    for user in users {
        assert_eq!(user.join().expect("no panic"), (true, PIECES * PIECE));
    }
    assert_eq!(origin.asked(), 1);
}

#[test]
fn a_range_and_a_condition_are_answered_from_the_whole() {
    let origin = ScriptedOrigin::start(|_, stream| {
        say(
            stream,
            "200 OK",
            "Cache-Control: max-age=60\r\nETag: \"v1\"\r\n",
            "0123456789",
        );
    });
    let edge = single(&origin.url(), options());
    get(&edge, "/r");
    until("the object is kept", || {
        get(&edge, "/r")
            .field("cache-status")
            .is_some_and(|status| status.contains("hit"))
    });
    let part = ask(&edge, "GET", "/r", "Range: bytes=2-4\r\n");
    assert_eq!(
        (
            part.status,
            part.text().as_str(),
            part.field("content-range")
        ),
        (206, "234", Some("bytes 2-4/10"))
    );
    let parts = ask(
        &edge,
        "GET",
        "/r",
        "Range: bytes=0-1, 4-5, 5-6, -1, 40-\r\n",
    );
    assert_eq!((parts.status, parts.field("content-range")), (206, None));
    let kind = parts.field("content-type").expect("a type").to_owned();
    let boundary = kind
        .strip_prefix("multipart/byteranges; boundary=")
        .expect("parts");
    let expected: String = [("0-1", "01"), ("4-6", "456"), ("9-9", "9")]
        .iter()
        .map(|(range, text)| {
            format!("\r\n--{boundary}\r\nContent-Range: bytes {range}/10\r\n\r\n{text}")
        })
        .chain([format!("\r\n--{boundary}--\r\n")])
        .collect();
    assert_eq!(parts.text(), expected);
    let touching = ask(&edge, "GET", "/r", "Range: bytes=2-3,4-5\r\n");
    assert_eq!(
        (touching.text().as_str(), touching.field("content-range")),
        ("2345", Some("bytes 2-5/10"))
    );
    let beyond = ask(&edge, "GET", "/r", "Range: bytes=10-\r\n");
    assert_eq!(
        (beyond.status, beyond.field("content-range")),
        (416, Some("bytes */10"))
    );
    let same = ask(&edge, "GET", "/r", "If-None-Match: W/\"v1\"\r\n");
    assert_eq!((same.status, same.body.len()), (304, 0));
    let other = ask(&edge, "GET", "/r", "If-None-Match: \"v2\"\r\n");
    assert_eq!(other.status, 200);
    assert_eq!(origin.asked(), 1);
}

#[test]
fn a_dead_origin_leaves_the_stale_copy_and_then_a_page_in_two_languages() {
    let alive = Arc::new(AtomicBool::new(true));
    let well = Arc::clone(&alive);
    let origin = ScriptedOrigin::start(move |_, stream| {
        if well.load(Ordering::SeqCst) {
            say(
                stream,
                "200 OK",
                "Cache-Control: max-age=0, stale-if-error=600\r\n",
                "kept",
            );
        } else {
            stream.shutdown(Shutdown::Both).ok();
        }
    });
    let edge = managed(&[(origin.url(), 0)], SiteSettings::default());
    assert_eq!(get(&edge, "/s").text(), "kept");
    alive.store(false, Ordering::SeqCst);
    let stale = get(&edge, "/s");
    assert_eq!((stale.status, stale.text().as_str()), (200, "kept"));
    let nothing = get(&edge, "/never-seen");
    assert_eq!(nothing.status, 502);
    assert!(
        nothing.text().contains("網站") && nothing.text().contains("please try again"),
        "{}",
        nothing.text()
    );
    assert!(
        nothing
            .field("cache-control")
            .is_some_and(|value| value.contains("no-store")),
        "{}",
        nothing.head
    );
}

#[test]
fn the_next_tier_serves_while_the_first_is_down() {
    let spare = ScriptedOrigin::start(|_, stream| {
        say(stream, "200 OK", "Cache-Control: no-store\r\n", "spare")
    });
    let edge = managed(
        &[("http://127.0.0.1:1".into(), 0), (spare.url(), 1)],
        SiteSettings::default(),
    );
    for _ in 0..5 {
        assert_eq!(get(&edge, "/").text(), "spare");
    }
}

#[test]
fn a_body_that_breaks_off_is_noticed_by_the_client_and_not_kept() {
    let origin = ScriptedOrigin::start(|_, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 100\r\n\r\nonly this").ok();
        stream.shutdown(Shutdown::Both).ok();
    });
    let edge = single(&origin.url(), options());
    for turn in 1..=2 {
        let mut stream = connect(edge.address);
        stream
            .write_all(b"GET /cut HTTP/1.1\r\nHost: a\r\n\r\n")
            .expect("sent");
        let mut all = Vec::new();
        let read = stream.read_to_end(&mut all);
        assert!(read.is_err() || parse(&all).body.len() < 100, "turn {turn}");
    }
    assert!(origin.asked() >= 2, "nothing was kept");
}

#[test]
fn a_purge_by_tag_is_in_force_when_it_returns() {
    let version = Arc::new(AtomicUsize::new(1));
    let newest = Arc::clone(&version);
    let origin = ScriptedOrigin::start(move |_, stream| {
        let body = format!("version {}", newest.load(Ordering::SeqCst));
        say(
            stream,
            "200 OK",
            "Cache-Control: max-age=600\r\nCache-Tag: news\r\n",
            &body,
        );
    });
    let edge = managed(&[(origin.url(), 0)], SiteSettings::default());
    assert_eq!(get(&edge, "/n").text(), "version 1");
    version.store(2, Ordering::SeqCst);
    assert_eq!(get(&edge, "/n").text(), "version 1");
    let order = Order::Purge(Purge {
        site: site_id(),
        what: PurgeWhat::Tag("news".into()),
        soft: false,
    });
    let entry = QuickEntry {
        seq: 1,
        at: Timestamp(0),
        role: Role::Edge,
        order,
    };
    edge.handle.apply(&entry, |_| {}).expect("purged");
    assert_eq!(get(&edge, "/n").text(), "version 2");
    assert_eq!(edge.handle.last_seq(), 1);
}

#[test]
fn an_upload_passes_through_and_puts_the_stored_copy_out_of_date() {
    let origin = ScriptedOrigin::start(|head, stream| {
        if head.starts_with("POST") {
            let mut body = [0; 5];
            stream.read_exact(&mut body).ok();
            say(
                stream,
                "200 OK",
                "",
                &format!("got {}", String::from_utf8_lossy(&body)),
            );
        } else {
            say(stream, "200 OK", "Cache-Control: max-age=600\r\n", "page");
        }
    });
    let edge = single(&origin.url(), options());
    get(&edge, "/p");
    let mut stream = connect(edge.address);
    stream
        .write_all(b"POST /p HTTP/1.1\r\nHost: www.example.tw\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")
        .expect("sent");
    let mut all = Vec::new();
    stream.read_to_end(&mut all).expect("a response");
    assert_eq!(parse(&all).text(), "got hello");
    get(&edge, "/p");
    assert_eq!(origin.asked(), 3);
    let heads = origin.heads.lock().expect("no panic").join("");
    assert!(
        heads.contains("x-forwarded-for: 127.0.0.1") && heads.contains("via: 1.1 edge-test"),
        "{heads}"
    );
}

#[test]
fn what_was_on_disk_is_served_after_a_restart_with_the_origin_dead() {
    let dir = std::env::temp_dir().join(format!("edge-restart-{}", std::process::id()));
    let with_dir = || {
        let mut options = options();
        options.cache_dir = Some(dir.clone());
        options
    };
    let origin = ScriptedOrigin::start(|head, stream| {
        if head.starts_with("GET /kept") {
            say(
                stream,
                "200 OK",
                "Cache-Control: max-age=600\r\n",
                "from disk",
            );
        } else {
            stream.shutdown(Shutdown::Both).ok();
        }
    });
    let edge = single(&origin.url(), with_dir());
    assert_eq!(get(&edge, "/kept").text(), "from disk");
    until("it is on disk", || {
        edge.handle.stats().cache.disk_objects == 1 && edge.handle.stats().cache.disk_queue == 0
    });
    drop(edge);
    let asked = origin.asked();
    let edge = single(&origin.url(), with_dir());
    let reply = get(&edge, "/kept");
    assert_eq!((reply.status, reply.text().as_str()), (200, "from disk"));
    assert_eq!(origin.asked(), asked);
    drop(edge);
    std::fs::remove_dir_all(&dir).ok();
}

#[test]
fn an_unknown_host_is_misdirected_and_the_health_path_answers_on_any() {
    let edge = managed(&[("http://127.0.0.1:1".into(), 0)], SiteSettings::default());
    let strange = parse(&raw(
        edge.address,
        b"GET / HTTP/1.1\r\nHost: other.example\r\nConnection: close\r\n\r\n",
    ));
    assert_eq!(strange.status, 421);
    let health = parse(&raw(
        edge.address,
        b"GET /.well-known/civicnet/health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    ));
    assert_eq!(health.status, 200);
    assert!(
        health.text().contains("\"status\":\"ok\""),
        "{}",
        health.text()
    );
}

#[test]
fn a_slow_head_is_ended_in_time() {
    let mut slow = options();
    slow.limits.head_timeout = Duration::from_millis(300);
    let edge = single("http://127.0.0.1:1", slow);
    let mut stream = connect(edge.address);
    let began = Instant::now();
    stream.write_all(b"GET / HTTP/1.1\r\nHo").expect("sent");
    let mut all = Vec::new();
    stream.read_to_end(&mut all).ok();
    assert!(
        began.elapsed() < PATIENCE,
        "the edge ended it, not the test's own limit"
    );
    assert!(
        all.is_empty() || parse(&all).status == 408,
        "{}",
        String::from_utf8_lossy(&all)
    );
}
