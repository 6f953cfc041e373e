//! The looking glass over a running BIRD: a route server, a member, a route refused with its reason.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use exchange::community::Reason;
use exchange::engine::birdc::Client;
use exchange::glass::api::{Guard, router};
use exchange::glass::feed;
use exchange::glass::follow::{Effort, Follower, Look};
use exchange::glass::index::{Fate, Matching, Question};
use exchange::glass::live::{Feed, Glass, GlassOptions, Labels};
use exchange::glass::probe::Prober;
use exchange::glass::sign::Key;
use exchange::rpki::{Vrp, VrpSet};

const PATIENCE: Duration = Duration::from_secs(30);

pub(super) struct Bird {
    child: Child,
    pub(super) socket: PathBuf,
}

impl Drop for Bird {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn bird(dir: &Path, name: &str, config: &str) -> Bird {
    let (file, socket) = (
        dir.join(format!("{name}.conf")),
        dir.join(format!("{name}.ctl")),
    );
    std::fs::write(&file, config).expect("written");
    let child = Command::new("/usr/sbin/bird")
        .args(["-f", "-c"])
        .arg(&file)
        .arg("-s")
        .arg(&socket)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("BIRD must be installed (Debian package bird2)");
    Bird { child, socket }
}

/// Two free TCP ports on loopback addresses of the test's own.
fn port(address: &str) -> u16 {
    let listener = std::net::TcpListener::bind((address, 0)).expect("a free port");
    listener.local_addr().expect("bound").port()
}

pub(super) struct Pair {
    _dir: tempfile::TempDir,
    pub(super) server: Bird,
    member: Bird,
    member_file: PathBuf,
    member_text: String,
}

const ROUTES: &str = "route 192.0.2.0/24 blackhole; route 198.51.100.0/24 blackhole; route 203.0.113.0/24 blackhole;";

/// A route server that refuses one prefix, and a member; `number` keeps the tests' addresses apart.
pub(super) fn pair(number: u8) -> Pair {
    let dir = tempfile::tempdir().expect("a directory");
    let (server, member) = (format!("127.77.{number}.1"), format!("127.77.{number}.2"));
    let (server_port, member_port) = (port(&server), port(&member));
    let route_server = format!(
        "router id 192.0.2.1;\ntimeformat route iso long;\nprotocol device {{}}\nfilter incoming {{\n  if net ~ [ 198.51.100.0/24, 10.0.0.0/8+ ] then {{ bgp_large_community.add((64500, 1101, 13)); reject; }}\n  accept;\n}}\nprotocol bgp member_one {{\n  local {server} port {server_port} as 64500;\n  neighbor {member} port {member_port} as 64496;\n  multihop; strict bind on; rs client; connect delay time 1; connect retry time 1;\n  ipv4 {{ import keep filtered on; import filter incoming; export all; }};\n}}\n"
    );
    let member_text = format!(
        "router id 192.0.2.2;\nprotocol device {{}}\nprotocol static {{ ipv4; ROUTES }}\nprotocol bgp upstream {{\n  local {member} port {member_port} as 64496;\n  neighbor {server} port {server_port} as 64500;\n  multihop; strict bind on; connect delay time 1; connect retry time 1;\n  ipv4 {{ import all; export filter {{ bgp_community.add((64496, 7)); accept; }}; }};\n}}\n"
    );
    let server = bird(dir.path(), "rs", &route_server);
    let member = bird(dir.path(), "member", &member_text.replace("ROUTES", ROUTES));
    Pair {
        member_file: dir.path().join("member.conf"),
        _dir: dir,
        server,
        member,
        member_text,
    }
}

impl Pair {
    /// The member announces these from now on.
    fn announce(&self, routes: &str) {
        std::fs::write(
            &self.member_file,
            self.member_text.replace("ROUTES", routes),
        )
        .expect("written");
        Client::connect(&self.member.socket, PATIENCE)
            .and_then(|mut client| client.ask("configure", &mut |_, _| {}))
            .expect("configured");
    }
}

/// Looks until `good`.
fn until(follower: &mut Follower, mut good: impl FnMut(&Look) -> bool) -> Look {
    let end = Instant::now() + PATIENCE;
    let now_s = || {
        std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .expect("after 1970")
            .as_secs()
    };
    loop {
        match follower.look(now_s()) {
            Ok(look) if good(&look) => return look,
            other => assert!(
                Instant::now() < end,
                "{:?}",
                other.map(|look| (look.index.len(), look.sessions))
            ),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn taken_and_refused_routes_of_a_running_bird() {
    let pair = pair(1);
    let mut follower = Follower::new(&pair.server.socket);
    let look = until(&mut follower, |look| look.index.len() == 3);
    let index = look.index;
    let session = index.session("member_one").expect("the session");
    assert!(index.sessions()[usize::from(session)].up);
    assert!(index.sessions()[usize::from(session)].told.since_s > 1_600_000_000);
    assert_eq!(index.counts(session), (2, 0, 1));
    let refused = index.find(
        &Question {
            fate: Some(Fate::Filtered),
            ..Question::default()
        },
        0,
        10,
    );
    assert_eq!(refused.total, 1);
    assert_eq!(refused.routes[0].prefix.to_string(), "198.51.100.0/24");
    assert_eq!(refused.routes[0].reasons(64500), [Reason::RpkiInvalid]);
    let taken = index.find(
        &Question {
            prefix: Some("192.0.2.55".parse().expect("a prefix")),
            matching: Matching::Longest,
            ..Question::default()
        },
        0,
        10,
    );
    assert_eq!(taken.routes[0].attributes.path.to_string(), "64496");
    assert_eq!(taken.routes[0].attributes.communities, [64_496 << 16 | 7]);
    assert_eq!(taken.routes[0].fate, Fate::Best);
    let age_s = index.taken_at_s().abs_diff(taken.routes[0].since_s.into());
    assert!(age_s < 60, "{age_s} s old");
}

#[test]
fn what_changes_is_read_and_nothing_else() {
    let pair = pair(2);
    let mut follower = Follower::new(&pair.server.socket);
    until(&mut follower, |look| look.index.len() == 3);
    // Ages have whole seconds: what changed within the last one is read once more.
    let calm = until(&mut follower, |look| look.effort == Effort::Counters);
    pair.announce("route 192.0.2.0/24 blackhole; route 198.51.100.0/24 blackhole; route 10.9.0.0/16 blackhole; route 8.8.8.0/24 blackhole;");
    let look = until(&mut follower, |look| {
        look.index.len() == 4 && look.index.prefixes() == 4
    });
    assert!(
        matches!(look.effort, Effort::Prefixes(_)),
        "{:?}",
        look.effort
    );
    let changed = calm.index.changes_to(&look.index, 10);
    let names = |routes: &[exchange::glass::index::Route<'_>]| {
        routes
            .iter()
            .map(|route| route.prefix.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&changed.gone), ["203.0.113.0/24"]);
    assert_eq!(names(&changed.come), ["8.8.8.0/24", "10.9.0.0/16"]);
    assert_eq!(changed.come[1].reasons(64500), [Reason::RpkiInvalid]);
    let settled = until(&mut follower, |look| look.effort == Effort::Counters);
    assert!(settled.index.has_tables_of(&settled.index.clone()));
    drop(pair.member);
    let gone = until(&mut follower, |look| look.index.is_empty());
    assert!(!gone.index.sessions()[0].up, "{:?}", gone.sessions);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_route_and_a_new_payload_show_within_two_seconds() {
    let pair = pair(3);
    let (send, sent) = tokio::sync::watch::channel(None);
    let glass = Glass::new(GlassOptions {
        feed: Feed::Bird(pair.server.socket.clone()),
        every: Duration::from_millis(500),
        asn: tokio::sync::watch::channel(64500).1,
        rpki: Some(Labels::Sent(sent)),
    });
    let guard = Guard {
        open: true,
        ..Guard::default()
    };
    let router = router(glass.clone(), None, guard);
    let stop = tokio_util::sync::CancellationToken::new();
    let _stop = stop.clone().drop_guard();
    tokio::spawn(glass.clone().run(stop));
    let ask = async |path: &str| -> serde_json::Value {
        use tower::ServiceExt as _;
        let request = axum::http::Request::get(path)
            .body(axum::body::Body::empty())
            .expect("a request");
        let response = router.clone().oneshot(request).await.expect("an answer");
        let bytes = axum::body::to_bytes(response.into_body(), 1 << 20)
            .await
            .expect("a body");
        serde_json::from_slice(&bytes).expect("JSON")
    };
    let wait = async |path: &str, good: &dyn Fn(&serde_json::Value) -> bool| {
        let begun = Instant::now();
        loop {
            let told = ask(path).await;
            if good(&told) {
                return (begun.elapsed(), told);
            }
            assert!(begun.elapsed() < PATIENCE, "{path}: {told}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    wait("/glass/search", &|told| told["total"] == 3).await;
    pair.announce(&format!("{ROUTES} route 10.7.0.0/16 blackhole;"));
    let (took, told) = wait("/glass/search?prefix=10.7.0.0/16", &|told| {
        told["total"] == 1
    })
    .await;
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert_eq!(told["routes"][0]["state"], "filtered");
    assert_eq!(told["routes"][0]["reasons"][0]["key"], "rpki-invalid");
    let set: VrpSet =
        [Vrp::new("192.0.2.0/24".parse().expect("a prefix"), 24, 64496).expect("good")]
            .into_iter()
            .collect();
    send.send_replace(Some(std::sync::Arc::new(set)));
    let (took, told) = wait("/glass/search?prefix=192.0.2.0/24", &|told| {
        told["routes"][0]["rpki"]["state"] == "valid"
    })
    .await;
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert_eq!(told["routes"][0]["rpki"]["vrp"]["asn"], 64496);

    // As birdwatcher's clients ask.
    let told = ask("/protocols/bgp").await;
    let member = &told["protocols"]["member_one"];
    assert_eq!(
        (&member["state"], &member["neighbor_as"]),
        (&"up".into(), &64496.into())
    );
    assert_eq!(member["routes"]["filtered"], 2);
    let told = ask("/api/routes/filtered/member_one").await;
    assert_eq!(told["routes"].as_array().map(Vec::len), Some(2));
    let told = ask("/routes/noexport/member_one").await;
    assert!(told["routes"].is_array(), "{told}");
    let told = ask("/route/net/192.0.2.7").await;
    assert_eq!(told["routes"][0]["network"], "192.0.2.0/24");
    let told = ask("/status").await;
    assert!(
        told["status"]["version"]
            .as_str()
            .is_some_and(|text| text.starts_with("BIRD 2")),
        "{told}"
    );
    for wrong in [
        "/glass/search?prefix=x",
        "/glass/search?limit=0",
        "/glass/search?community=1",
        "/glass/search?nonsense=1",
        "/routes/protocol/nobody",
        "/glass/exported/nobody",
        "/glass/changes?since=7",
    ] {
        assert!(
            ask_status(&router, wrong).await.is_client_error(),
            "{wrong}"
        );
    }
}

async fn ask_status(router: &axum::Router, path: &str) -> axum::http::StatusCode {
    use tower::ServiceExt as _;
    let request = axum::http::Request::get(path)
        .body(axum::body::Body::empty())
        .expect("a request");
    router
        .clone()
        .oneshot(request)
        .await
        .expect("an answer")
        .status()
}

#[tokio::test]
async fn a_stranger_is_let_in_only_where_the_guard_says_so() {
    use tower::ServiceExt as _;
    let dir = tempfile::tempdir().expect("a directory");
    let glass = Glass::new(GlassOptions {
        feed: Feed::Bird(dir.path().join("none.ctl")),
        every: Duration::from_secs(1),
        asn: tokio::sync::watch::channel(64500).1,
        rpki: None,
    });
    let key = Key::from_hex(&"5a".repeat(32)).expect("a key");
    let guard = Guard {
        open: false,
        allow: vec!["192.0.2.0/24".parse().expect("a prefix")],
        key: Some(tokio::sync::watch::channel(Some(key.clone())).1),
    };
    let router = router(glass, Some(Prober::new(Vec::new())), guard);
    let ask = async |method: &str, peer: [u8; 4], signed: bool| {
        let path = if method == "POST" {
            "/glass/probes"
        } else {
            "/glass/status"
        };
        let now_s = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .expect("after 1970")
            .as_secs();
        let (time, mac) = key.sign(method, path, now_s);
        let mut request = axum::http::Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", "application/json");
        if signed {
            request = request
                .header("civicnet-time", time)
                .header("civicnet-mac", mac);
        }
        let peer = std::net::SocketAddr::from((peer, 1));
        let request = request
            .extension(axum::extract::ConnectInfo(peer))
            .body(axum::body::Body::from(
                r#"{"kind":"ping","target":"10.0.0.1"}"#,
            ))
            .expect("a request");
        router
            .clone()
            .oneshot(request)
            .await
            .expect("an answer")
            .status()
            .as_u16()
    };
    // 503: let in, and there are no tables; 422: let in, and the target is private.
    assert_eq!(ask("GET", [198, 51, 100, 1], false).await, 403);
    assert_eq!(ask("GET", [192, 0, 2, 1], false).await, 503);
    assert_eq!(ask("GET", [198, 51, 100, 1], true).await, 503);
    assert_eq!(ask("POST", [192, 0, 2, 1], false).await, 403);
    assert_eq!(ask("POST", [198, 51, 100, 1], true).await, 422);
}

#[test]
fn a_bird_that_is_not_there_or_hangs_up_is_said() {
    let dir = tempfile::tempdir().expect("a directory");
    let socket = dir.path().join("none.ctl");
    let error = feed::bird(&socket, 1).expect_err("nobody");
    let told = runtime::error_chain(&error);
    assert!(told.contains("none.ctl"), "{told}");
    let listener = std::os::unix::net::UnixListener::bind(&socket).expect("bound");
    let hang_up = std::thread::spawn(move || drop(listener.accept()));
    assert!(feed::bird(&socket, 1).is_err());
    hang_up.join().expect("ended");
}
