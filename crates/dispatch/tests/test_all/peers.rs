//! Other people's servers, from Debian, started on a free port with a zone.

use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::client;

/// A foreign server; ended when dropped.
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    child: Child,
    _directory: TempDir,
}

impl Drop for Peer {
    fn drop(&mut self) {
        let stopped = self.child.kill().and_then(|()| self.child.wait());
        assert!(std::thread::panicking() || stopped.is_ok());
    }
}

fn free_port() -> u16 {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.local_addr().expect("an address").port()
}

fn program(candidates: &[&str], package: &str) -> String {
    candidates
        .iter()
        .find(|path| Path::new(path).exists())
        .unwrap_or_else(|| {
            panic!("install Debian's package {package}: none of {candidates:?} is there")
        })
        .to_string()
}

fn start(directory: TempDir, port: u16, mut command: Command) -> Peer {
    let log = std::fs::File::create(directory.path().join("log")).expect("a log");
    let errors = log.try_clone().expect("a log");
    let child = command
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors)
        .spawn()
        .expect("to start");
    let peer = Peer {
        address: SocketAddr::from(([127, 0, 0, 1], port)),
        child,
        _directory: directory,
    };
    let probe = client::query(&client::name("example."), dns::Kind::SOA, None);
    let log = peer._directory.path().join("log");
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket
        .set_read_timeout(Some(std::time::Duration::from_millis(100)))
        .expect("a time limit");
    let mut buffer = [0; 512];
    client::wait_for(
        &format!(
            "an answer of {command:?}: {}",
            std::fs::read_to_string(&log).unwrap_or_default()
        ),
        || {
            // Answered, and not while the zone is still being read.
            socket.send_to(&probe, peer.address).is_ok()
                && socket
                    .recv(&mut buffer)
                    .is_ok_and(|n| n > 3 && buffer[3] & 0xf == 0)
        },
    );
    peer
}

/// Knot DNS.
pub(crate) fn knot(zone: &str) -> Peer {
    let knotd = program(&["/usr/sbin/knotd"], "knot");
    let directory = TempDir::new().expect("a directory");
    let at = directory.path().display();
    let port = free_port();
    std::fs::write(directory.path().join("zone"), zone).expect("to write");
    let config = format!(
        "server:\n  rundir: \"{at}\"\n  listen: 127.0.0.1@{port}\n  udp-workers: 1\n  tcp-workers: 1\n  background-workers: 1\n\
         log:\n  - target: stderr\n    any: warning\n\
         database:\n  storage: \"{at}\"\n\
         zone:\n  - domain: example.\n    storage: \"{at}\"\n    file: zone\n    zonefile-sync: -1\n    journal-content: none\n"
    );
    let path = directory.path().join("knot.conf");
    std::fs::write(&path, config).expect("to write");
    let mut command = Command::new(knotd);
    command.arg("-c").arg(path);
    start(directory, port, command)
}

/// NSD.
pub(crate) fn nsd(zone: &str) -> Peer {
    let nsd = program(&["/usr/sbin/nsd"], "nsd");
    let directory = TempDir::new().expect("a directory");
    let at = directory.path().display();
    let port = free_port();
    std::fs::write(directory.path().join("zone"), zone).expect("to write");
    let config = format!(
        "server:\n  ip-address: 127.0.0.1@{port}\n  username: \"\"\n  chroot: \"\"\n  zonesdir: \"{at}\"\n  database: \"\"\n\
         \x20 pidfile: \"{at}/pid\"\n  xfrdfile: \"{at}/xfrd\"\n  xfrdir: \"{at}\"\n  zonelistfile: \"{at}/zones\"\n\
         \x20 server-count: 1\n  verbosity: 1\n  minimal-responses: yes\n\
         remote-control:\n  control-enable: no\n\
         zone:\n  name: example.\n  zonefile: zone\n"
    );
    let path = directory.path().join("nsd.conf");
    std::fs::write(&path, config).expect("to write");
    let mut command = Command::new(nsd);
    command.arg("-d").arg("-c").arg(path);
    start(directory, port, command)
}
