//! Peers that lie, drip, flood or fall silent, on both sides.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base::{Role, Timestamp};
use fabric::envelope::SigningKey;
use fabric::node::Node;

use crate::fake::{Fake, Reply, dial, exchange};
use crate::world::{Running, State, World, eventually};

fn payload(text: &str) -> Vec<u8> {
    serde_json::to_vec(&State::new(text)).unwrap()
}

#[tokio::test]
async fn every_kind_of_bad_snapshot_is_refused_and_the_old_one_stays() {
    let (key, pkcs8) = SigningKey::generate().unwrap();
    let (stranger, _) = SigningKey::generate().unwrap();
    let own = SigningKey::from_pkcs8(&pkcs8).unwrap();
    let seal = |key: &SigningKey, role, version, text: &str| {
        key.seal(role, version, Timestamp(1), &payload(text))
            .unwrap()
    };
    let good = seal(&own, Role::Edge, 5, "good");
    let newer = seal(&own, Role::Edge, 9, "newer");
    let mut flipped = newer.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let bad: Vec<(&str, Reply)> = vec![
        ("replayed", Reply::Body(good.clone())),
        ("older", Reply::Body(seal(&own, Role::Edge, 4, "old"))),
        (
            "for another role",
            Reply::Body(seal(&own, Role::Dispatch, 9, "x")),
        ),
        (
            "by a stranger",
            Reply::Body(seal(&stranger, Role::Edge, 9, "x")),
        ),
        ("cut short", Reply::Body(newer[..newer.len() - 1].to_vec())),
        ("cut by the connection", Reply::Cut(newer[..40].to_vec())),
        ("flipped", Reply::Body(flipped)),
        ("empty", Reply::Body(Vec::new())),
        (
            "too large",
            Reply::Body(seal(&own, Role::Edge, 9, &"x".repeat(2_000_000))),
        ),
        ("promised too large", Reply::Promise(10_000_000_000)),
        ("endless", Reply::Endless),
        ("rubbish", Reply::Rubbish),
        (
            "refused by the role",
            Reply::Body(seal(&own, Role::Edge, 9, "poison")),
        ),
    ];
    let count = bad.len();
    let turn = Arc::new(AtomicUsize::new(0));
    let replies: Vec<Reply> = std::iter::once(Reply::Body(good))
        .chain(bad.into_iter().map(|(_, reply)| reply))
        .chain([Reply::Body(newer)])
        .collect();
    let counter = turn.clone();
    let fake = Fake::start(key, move |method, path, _| {
        if method == "GET" && path.starts_with("/v1/snapshots/") {
            let turn = counter.fetch_add(1, Ordering::SeqCst);
            return replies.get(turn).cloned().unwrap_or(Reply::Nothing);
        }
        if path == "/v1/keys" {
            return Reply::Body(b"[]".to_vec());
        }
        Reply::Nothing
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let node = fake.enrol(dir.path()).await;
    let mut running = Running::start(node, Role::Edge);
    let mut versions = vec![];
    eventually_versions(&mut running, &mut versions).await;
    // Only the good ones were ever in force.
    assert_eq!(versions, [5, 9]);
    assert_eq!(running.text().as_deref(), Some("newer"));
    assert!(turn.load(Ordering::SeqCst) >= count + 2);
    // What came through whole enough to be judged gave a notice and a report.
    let refused = running.notices.count("snapshot.refused");
    assert!(refused >= count - 2, "{refused} of {count}");
    let reports = fake.posted("/v1/snapshots/edge").join("\n");
    for reason in [
        "is not newer than 5",
        "is for role dispatch",
        "unknown key",
        "cut short or padded",
        "SHA-256",
        "malformed",
        "larger than 1048576",
        "must not be poison",
    ] {
        assert!(reports.contains(reason), "{reason} is not in {reports}");
    }
    running.stop().await;
    let node = Node::open(dir.path()).unwrap().unwrap();
    assert_eq!(Running::start(node, Role::Edge).version(), 9);
}

/// Collects the versions in force until the last good one.
async fn eventually_versions(running: &mut Running, versions: &mut Vec<u64>) {
    let all = async {
        while versions.last() != Some(&9) {
            running.snapshots.changed().await.unwrap();
            versions.push(running.version());
        }
    };
    tokio::time::timeout(Duration::from_secs(90), all)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_node_survives_a_control_plane_that_floods_or_falls_silent() {
    let hostile = Arc::new(Mutex::new(true));
    let state = hostile.clone();
    let (key, pkcs8) = SigningKey::generate().unwrap();
    let own = SigningKey::from_pkcs8(&pkcs8).unwrap();
    let good = own
        .seal(Role::Edge, 1, Timestamp(1), &payload("good"))
        .unwrap();
    let fake = Fake::start(key, move |method, path, _| {
        if *state.lock().unwrap() {
            return match path {
                "/v1/heartbeat" => Reply::Endless,
                _ if path.starts_with("/v1/quick") => Reply::Endless,
                _ => Reply::Rubbish,
            };
        }
        match (method, path) {
            ("POST", "/v1/heartbeat") => Reply::Body(br#"{"draining":false,"now":1}"#.to_vec()),
            ("GET", "/v1/snapshots/edge?after=0") => Reply::Body(good.clone()),
            ("GET", path) if path.starts_with("/v1/snapshots") => Reply::Silence,
            _ => Reply::Nothing,
        }
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let node = fake.enrol(dir.path()).await;
    let log = Arc::new(crate::quick::Log::default());
    let handler = log.clone();
    let mut running = Running::start_with(node, Role::Edge, move |link| {
        link.quick(Role::Edge, handler).unwrap();
    });
    eventually("the flood is noticed", async || {
        let failure = running.status.borrow().failure.clone();
        failure.filter(|failure| failure.contains("more than"))
    })
    .await;
    assert!(log.seen.lock().unwrap().is_empty());
    *hostile.lock().unwrap() = false;
    running.has("good").await;
    eventually("contact", async || running.status.borrow().last_contact).await;
}

#[tokio::test]
async fn without_a_certificate_every_route_but_enrolment_is_closed() {
    let world = World::new().await;
    world.enrol("edge-a", &[Role::Edge]).await;
    let routes = [
        ("POST", "/v1/renew"),
        ("GET", "/v1/keys"),
        ("GET", "/v1/snapshots/edge"),
        ("POST", "/v1/snapshots/edge"),
        ("GET", "/v1/quick/edge"),
        ("POST", "/v1/quick"),
        ("POST", "/v1/heartbeat"),
        ("POST", "/v1/events"),
    ];
    for (method, path) in routes {
        let mut stream = dial(world.address, &world.dir("edge-a"), true).await;
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 2\r\n\r\n[]"
        );
        let answer = exchange(&mut stream, request.as_bytes()).await;
        assert!(
            answer.starts_with("HTTP/1.1 401 "),
            "{method} {path}: {answer}"
        );
        assert!(answer.contains("civicnet-version"), "{answer}");
    }
    for (path, status) in [("/v1/enrol", "400"), ("/v1/nothing", "404"), ("/", "404")] {
        let mut stream = dial(world.address, &world.dir("edge-a"), true).await;
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{{}}"
        );
        let answer = exchange(&mut stream, request.as_bytes()).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{path}: {answer}"
        );
    }
}

#[tokio::test]
async fn a_node_reads_and_reports_for_its_own_roles_only() {
    let world = World::new().await;
    world.enrol("edge-a", &[Role::Edge]).await;
    world
        .control
        .publish(Role::Dispatch, &State::new("secret of others"))
        .await
        .unwrap();
    for (method, path, status) in [
        ("GET", "/v1/snapshots/dispatch", "403"),
        ("POST", "/v1/snapshots/dispatch", "403"),
        ("GET", "/v1/quick/dispatch", "403"),
        ("GET", "/v1/snapshots/control", "403"),
        ("GET", "/v1/snapshots/nonsense", "404"),
        (
            "GET",
            "/v1/snapshots/edge?after=99999999999999999999",
            "400",
        ),
        ("GET", "/v1/quick/edge?after=18446744073709551615", "422"),
        ("POST", "/v1/heartbeat", "400"),
        ("POST", "/v1/quick", "400"),
        ("POST", "/v1/events", "400"),
        ("GET", "/v1/events", "405"),
    ] {
        let mut stream = dial(world.address, &world.dir("edge-a"), false).await;
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 3\r\n\r\n[1]"
        );
        let answer = exchange(&mut stream, request.as_bytes()).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{method} {path}: {answer}"
        );
        assert!(!answer.contains("secret"), "{answer}");
    }
}

#[tokio::test]
async fn floods_and_drips_of_a_node_are_cut_and_others_are_served() {
    let world = World::new().await;
    let node = world.enrol("edge-a", &[Role::Edge]).await;
    world.enrol("edge-b", &[Role::Edge]).await;
    let dir = world.dir("edge-b");
    // A body beyond the limit, announced or not, is refused.
    let announced = b"POST /v1/heartbeat HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999\r\n\r\n";
    let mut stream = dial(world.address, &dir, false).await;
    let answer = exchange(&mut stream, announced).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    let mut chunked =
        b"POST /v1/heartbeat HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    for _ in 0..64 {
        chunked.extend_from_slice(b"4000\r\n");
        chunked.extend_from_slice(&[b' '; 0x4000]);
        chunked.extend_from_slice(b"\r\n");
    }
    let mut stream = dial(world.address, &dir, false).await;
    let answer = exchange(&mut stream, &chunked).await;
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 413 "),
        "{answer}"
    );
    // A head that never ends, in size or in time.
    let mut head = b"GET /v1/keys HTTP/1.1\r\n".to_vec();
    head.extend(std::iter::repeat_n(b'a', 200_000));
    let mut stream = dial(world.address, &dir, false).await;
    let answer = exchange(&mut stream, &head).await;
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 4"),
        "{answer}"
    );
    let mut drip = dial(world.address, &dir, false).await;
    let mut running = Running::start(node, Role::Edge);
    world
        .control
        .publish(Role::Edge, &State::new("one"))
        .await
        .unwrap();
    running.has("one").await;
    let answer = exchange(&mut drip, b"GET /v1/keys HT").await;
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 4"),
        "{answer}"
    );
}

#[tokio::test]
async fn one_node_cannot_take_every_connection() {
    let world = World::new().await;
    world.enrol("edge-a", &[Role::Edge]).await;
    let dir = world.dir("edge-a");
    let mut held = Vec::new();
    for _ in 0..40 {
        held.push(dial(world.address, &dir, false).await);
    }
    let request = b"GET /v1/keys HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let mut served = 0;
    for stream in &mut held {
        let answer = exchange(stream, request).await;
        served += usize::from(answer.starts_with("HTTP/1.1 200 "));
    }
    assert_eq!(served, 32);
    let node = world.enrol("edge-b", &[Role::Edge]).await;
    let running = Running::start(node, Role::Edge);
    eventually("the other is served", async || {
        running.status.borrow().last_contact
    })
    .await;
}

#[tokio::test]
async fn odd_words_of_one_node_are_written_down_and_harm_no_other() {
    let world = World::on(
        store::Backend::Postgres,
        Arc::new(fabric::control::NoIngest),
    )
    .await;
    world.enrol("edge-a", &[Role::Edge]).await;
    let version = world
        .control
        .publish(Role::Edge, &State::new("one"))
        .await
        .unwrap();
    let dir = world.dir("edge-a");
    for (path, body) in [
        (
            "/v1/heartbeat",
            r#"{"software":"a\u0000b","snapshots":{"edge":18446744073709551615,"dispatch":7},
                "quick":{"edge":18446744073709551615},"health":{"x":"\u0000"}}"#,
        ),
        (
            "/v1/snapshots/edge",
            r#"{"result":"refused","version":0,"refused":18446744073709551615,"reason":"\u0000"}"#,
        ),
        (
            "/v1/quick",
            r#"[{"seq":18446744073709551615,"durable":true,
                "report":{"total":1,"done":18446744073709551615,"failed":0,"message":"\u0000"}}]"#,
        ),
    ] {
        let mut stream = dial(world.address, &dir, false).await;
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let answer = exchange(&mut stream, request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 20"), "{path}: {answer}");
    }
    let status = world.status("edge-a").await;
    assert_eq!(status.software.as_deref(), Some("a\u{fffd}b"));
    // A version that nobody published moves nothing.
    let next = world
        .control
        .publish(Role::Edge, &State::new("two"))
        .await
        .unwrap();
    assert_eq!(next, version + 1);
    let node = world.enrol("edge-b", &[Role::Edge]).await;
    Running::start(node, Role::Edge).has("two").await;
}

#[tokio::test]
async fn a_node_that_claims_to_be_ahead_is_believed_once_an_hour() {
    let world = World::new().await;
    world.enrol("edge-a", &[Role::Edge]).await;
    world
        .control
        .publish(Role::Edge, &State::new("one"))
        .await
        .unwrap();
    let dir = world.dir("edge-a");
    for (after, status) in [("50", "200"), ("900", "422"), ("99999999", "422")] {
        let mut stream = dial(world.address, &dir, false).await;
        let request = format!(
            "GET /v1/snapshots/edge?after={after} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
        );
        let answer = exchange(&mut stream, request.as_bytes()).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{after}: {answer}"
        );
    }
    assert_eq!(world.control.latest_versions()[&Role::Edge], 51);
}
