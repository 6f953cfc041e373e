//! What is stale: served meanwhile, served on failure, and never lost for nothing.

use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base::delivery::SiteSettings;
use base::quick::{Order, Preload, Purge, PurgeWhat, QuickEntry};
use base::{Role, Timestamp};

use crate::support::*;

/// An origin whose answer depends on a number that the test sets.
fn staged(script: impl Fn(usize, &mut std::net::TcpStream) + Send + Sync + 'static) -> Staged {
    let stage = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&stage);
    let origin =
        ScriptedOrigin::start(move |_, stream| script(seen.load(Ordering::SeqCst), stream));
    Staged { origin, stage }
}

struct Staged {
    origin: ScriptedOrigin,
    stage: Arc<AtomicUsize>,
}

impl Staged {
    fn set(&self, stage: usize) {
        self.stage.store(stage, Ordering::SeqCst);
    }
}

#[test]
fn a_client_that_wants_nothing_stored_leaves_what_is_stored() {
    for fields in [
        "Cache-Control: max-age=600\r\n",
        "Cache-Control: max-age=600\r\nETag: \"1\"\r\n",
    ] {
        let origin = ScriptedOrigin::start(move |_, stream| say(stream, "200 OK", fields, "kept"));
        let edge = single(&origin.url(), options());
        get(&edge, "/k");
        until("it is stored", || is_hit(&get(&edge, "/k")));
        let asked = origin.asked();
        for wish in ["no-store", "no-cache, no-store", "no-store, max-age=0"] {
            let reply = ask(&edge, "GET", "/k", &format!("Cache-Control: {wish}\r\n"));
            assert_eq!(
                (reply.status, reply.text().as_str()),
                (200, "kept"),
                "{wish}"
            );
        }
        assert_eq!(origin.asked(), asked + 3);
        assert!(is_hit(&get(&edge, "/k")), "{fields:?}");
        assert_eq!(origin.asked(), asked + 3);
    }
}

#[test]
fn an_error_that_a_request_provoked_does_not_remove_what_is_stored() {
    let origin = ScriptedOrigin::start(|head, stream| {
        if head.contains("x-bad") {
            say(stream, "400 Bad Request", "", "you");
        } else {
            say(
                stream,
                "200 OK",
                "Cache-Control: max-age=600\r\nETag: \"1\"\r\n",
                "kept",
            );
        }
    });
    let edge = single(&origin.url(), options());
    get(&edge, "/k");
    until("it is stored", || is_hit(&get(&edge, "/k")));
    let bad = ask(
        &edge,
        "GET",
        "/k",
        "Cache-Control: no-cache\r\nx-bad: 1\r\n",
    );
    assert_eq!(bad.status, 400);
    assert!(is_hit(&get(&edge, "/k")));
}

#[test]
fn a_failure_with_freshness_does_not_displace_a_stale_object() {
    for validator in ["", "ETag: \"1\"\r\n"] {
        let fields = format!("Cache-Control: max-age=0, stale-if-error=600\r\n{validator}");
        let origin = staged(move |stage, stream| match stage {
            0 => say(stream, "200 OK", &fields, "kept"),
            1 => say(
                stream,
                "503 Service Unavailable",
                "Cache-Control: max-age=600\r\n",
                "sorry",
            ),
            2 => say(stream, "500 Internal Server Error", "", "sorry"),
            _ => drop(stream.shutdown(Shutdown::Both)),
        });
        let edge = managed(&[(origin.origin.url(), 0)], SiteSettings::default());
        assert_eq!(get(&edge, "/s").text(), "kept");
        for stage in [1, 1, 2, 3, 1] {
            origin.set(stage);
            let reply = get(&edge, "/s");
            assert_eq!(
                (reply.status, reply.text().as_str()),
                (200, "kept"),
                "{stage} {validator}"
            );
        }
        origin.set(0);
        assert_eq!(get(&edge, "/s").status, 200);
    }
}

#[test]
fn a_stale_object_is_served_while_one_request_refreshes_it() {
    let origin = staged(|stage, stream| {
        let fields = match stage {
            0 => "Cache-Control: max-age=0, stale-while-revalidate=600\r\n",
            _ => "Cache-Control: max-age=600\r\n",
        };
        say(stream, "200 OK", fields, &format!("version {stage}"));
    });
    let edge = managed(&[(origin.origin.url(), 0)], SiteSettings::default());
    assert_eq!(get(&edge, "/w").text(), "version 0");
    origin.set(1);
    assert_eq!(
        get(&edge, "/w").text(),
        "version 0",
        "the stale one, at once"
    );
    until("it is refreshed", || get(&edge, "/w").text() == "version 1");
    let asked = origin.origin.asked();
    assert_eq!(get(&edge, "/w").text(), "version 1");
    assert_eq!(origin.origin.asked(), asked);
}

#[test]
fn a_soft_purge_leaves_something_for_when_the_origin_fails() {
    let origin = staged(|stage, stream| match stage {
        0 => say(stream, "200 OK", "Cache-Control: max-age=600\r\n", "old"),
        1 => say(stream, "503 Service Unavailable", "", "sorry"),
        _ => say(stream, "200 OK", "Cache-Control: max-age=600\r\n", "new"),
    });
    let edge = managed(&[(origin.origin.url(), 0)], SiteSettings::default());
    get(&edge, "/p/1");
    until("it is stored", || is_hit(&get(&edge, "/p/1")));
    origin.set(1);
    let entry = |seq, soft| QuickEntry {
        seq,
        at: Timestamp(0),
        role: Role::Edge,
        order: Order::Purge(Purge {
            site: site_id(),
            what: PurgeWhat::Prefix("/p/".into()),
            soft,
        }),
    };
    edge.handle.apply(&entry(1, true), |_| {}).expect("purged");
    assert_eq!(get(&edge, "/p/1").text(), "old");
    origin.set(2);
    until("it is refreshed", || get(&edge, "/p/1").text() == "new");
    origin.set(1);
    edge.handle.apply(&entry(2, false), |_| {}).expect("purged");
    assert_eq!(
        get(&edge, "/p/1").status,
        503,
        "a hard purge leaves nothing"
    );
}

#[test]
fn a_preload_tells_how_far_it_is_and_makes_hits() {
    let origin = ScriptedOrigin::start(|head, stream| {
        if head.starts_with("GET /bad") {
            say(stream, "500 Internal Server Error", "", "no");
        } else {
            say(stream, "200 OK", "Cache-Control: max-age=600\r\n", "ready");
        }
    });
    // What the edge asks for itself is not held to a client's rate.
    let settings = SiteSettings {
        client_rps_max: 100,
        ..SiteSettings::default()
    };
    let edge = managed(&[(origin.url(), 0)], settings);
    let mut urls: Vec<String> = (0..20)
        .map(|n| format!("http://www.example.tw/pre/{n}"))
        .collect();
    urls.push("http://www.example.tw/bad".into());
    urls.push("http://other.example/".into());
    let entry = QuickEntry {
        seq: 1,
        at: Timestamp(0),
        role: Role::Edge,
        order: Order::Preload(Preload {
            site: site_id(),
            job: uuid(7),
            urls,
        }),
    };
    let (told, heard) = std::sync::mpsc::channel();
    edge.handle
        .apply(&entry, move |progress| {
            told.send(progress).unwrap_or_default()
        })
        .expect("taken on");
    let mut last = edge::Progress::default();
    while last.total == 0 || last.done < last.total {
        let next = heard.recv_timeout(PATIENCE).expect("progress");
        assert!(next.done >= last.done && next.total == 22, "{next:?}");
        last = next;
    }
    assert_eq!((last.done, last.failed), (22, 2));
    let asked = origin.asked();
    for n in 0..20 {
        assert!(is_hit(&get(&edge, &format!("/pre/{n}"))), "{n}");
    }
    assert_eq!(origin.asked(), asked);
}
