//! The looking glass over a running BIRD: a route server, a member, a route refused with its reason.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use exchange::community::Reason;
use exchange::glass::feed;
use exchange::glass::index::{Fate, Matching, Question};

const PATIENCE: Duration = Duration::from_secs(30);

struct Bird {
    child: Child,
    socket: PathBuf,
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

#[test]
fn taken_and_refused_routes_of_a_running_bird() {
    let dir = tempfile::tempdir().expect("a directory");
    let (server, member) = ("127.77.1.1", "127.77.1.2");
    let (server_port, member_port) = (port(server), port(member));
    let route_server = format!(
        "router id 192.0.2.1;\nprotocol device {{}}\nfilter incoming {{\n  if net = 198.51.100.0/24 then {{ bgp_large_community.add((64500, 1101, 13)); reject; }}\n  accept;\n}}\nprotocol bgp member_one {{\n  local {server} port {server_port} as 64500;\n  neighbor {member} port {member_port} as 64496;\n  multihop; strict bind on; rs client; connect delay time 1; connect retry time 1;\n  ipv4 {{ import keep filtered on; import filter incoming; export all; }};\n}}\n"
    );
    let other = format!(
        "router id 192.0.2.2;\nprotocol device {{}}\nprotocol static {{ ipv4; route 192.0.2.0/24 blackhole; route 198.51.100.0/24 blackhole; route 203.0.113.0/24 blackhole; }}\nprotocol bgp upstream {{\n  local {member} port {member_port} as 64496;\n  neighbor {server} port {server_port} as 64500;\n  multihop; strict bind on; connect delay time 1; connect retry time 1;\n  ipv4 {{ import all; export filter {{ bgp_community.add((64496, 7)); accept; }}; }};\n}}\n"
    );
    let first = bird(dir.path(), "rs", &route_server);
    let _second = bird(dir.path(), "member", &other);
    let end = Instant::now() + PATIENCE;
    let index = loop {
        match feed::bird(&first.socket, 1) {
            Ok(index) if index.len() == 3 => break index,
            other => assert!(
                Instant::now() < end,
                "{:?}",
                other.map(|index| (index.len(), index.sessions().to_vec()))
            ),
        }
        std::thread::sleep(Duration::from_millis(100));
    };
    let session = index.session("member_one").expect("the session");
    assert!(index.sessions()[usize::from(session)].up);
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
}

#[test]
fn a_bird_that_is_not_there_or_hangs_up_is_said() {
    let dir = tempfile::tempdir().expect("a directory");
    let socket = dir.path().join("none.ctl");
    let error = feed::bird(&socket, 1).expect_err("nobody");
    assert!(error.to_string().contains("none.ctl"), "{error}");
    let listener = std::os::unix::net::UnixListener::bind(&socket).expect("bound");
    let hang_up = std::thread::spawn(move || drop(listener.accept()));
    assert!(feed::bird(&socket, 1).is_err());
    hang_up.join().expect("ended");
}
