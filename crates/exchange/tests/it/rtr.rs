//! The RTR server and client against each other, over TCP and TLS, and the server against BIRD.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use exchange::rpki::VrpSet;
use exchange::rpki::service::{Rpki, Service, ServiceOptions, Source};
use exchange::rtr::client::{Upstream, follow};
use exchange::rtr::pdu::{Pdu, code};
use exchange::rtr::server::{Figures, Server, ServerOptions};
use rpki::rtr::client::{Client, PayloadError, PayloadTarget};
use rpki::rtr::payload::{Action, Payload, Timing};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(20);

/// A service over a file in a directory, with its server.
struct Lab {
    dir: tempfile::TempDir,
    rpki: Rpki,
    address: SocketAddr,
    figures: Arc<Figures>,
    stop: CancellationToken,
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn roas(list: &[(&str, u8, u32)]) -> String {
    let entries: Vec<String> = list
        .iter()
        .map(|(prefix, max, asn)| {
            format!("{{\"asn\":\"AS{asn}\",\"prefix\":\"{prefix}\",\"maxLength\":{max}}}")
        })
        .collect();
    format!("{{\"roas\":[{}]}}", entries.join(","))
}

fn replace(lab: &Lab, text: &str) {
    let new = lab.dir.path().join("vrps.tmp");
    std::fs::write(&new, text).expect("written");
    std::fs::rename(&new, lab.dir.path().join("vrps.json")).expect("renamed");
}

async fn lab(text: &str, tls: Option<Arc<rustls::ServerConfig>>, options: ServerOptions) -> Lab {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("vrps.json"), text).expect("written");
    begin(dir, tls, options).await
}

async fn begin(
    dir: tempfile::TempDir,
    tls: Option<Arc<rustls::ServerConfig>>,
    options: ServerOptions,
) -> Lab {
    let service = ServiceOptions {
        source: Source::File(dir.path().join("vrps.json")),
        slurm: Vec::new(),
        dir: Some(dir.path().join("state")),
    };
    let (service, rpki) = Service::open(service).expect("opened");
    let stop = CancellationToken::new();
    tokio::spawn(service.run(stop.clone()));
    let server = Server::new(rpki.cache(), options);
    let figures = server.figures().clone();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("a port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(server.serve(listener, tls, stop.clone()));
    Lab {
        dir,
        rpki,
        address,
        figures,
        stop,
    }
}

fn quick() -> ServerOptions {
    ServerOptions {
        notify_interval: Duration::from_millis(50),
        ..ServerOptions::default()
    }
}

async fn until(what: &str, mut there: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !there() {
        assert!(Instant::now() < end, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn count(news: &watch::Receiver<Option<Arc<VrpSet>>>) -> usize {
    news.borrow().as_ref().map_or(0, |set| set.len())
}

#[tokio::test]
async fn a_client_follows_by_changes_and_a_broken_file_changes_nothing() {
    let lab = lab(
        &roas(&[("192.0.2.0/24", 24, 1), ("2001:db8::/32", 48, 2)]),
        None,
        quick(),
    )
    .await;
    let (sender, news) = watch::channel(None);
    let upstream = Upstream {
        address: lab.address,
        tls: None,
    };
    tokio::spawn(follow(upstream, sender, lab.stop.clone()));
    until("the first set", || count(&news) == 2).await;
    let next = [
        ("192.0.2.0/24", 24, 1),
        ("198.51.100.0/24", 25, 3),
        ("203.0.113.0/24", 24, 4),
    ];
    replace(&lab, &roas(&next));
    until("the change", || count(&news) == 3).await;
    assert_eq!(news.borrow().clone(), lab.rpki.set());
    let answers = (
        lab.figures.full.load(Relaxed),
        lab.figures.incremental.load(Relaxed),
    );
    assert_eq!(answers, (1, 1), "the second answer was the difference");
    assert!(lab.figures.notified.load(Relaxed) >= 1);
    replace(&lab, "{\"roas\":[{\"asn\":1,");
    until("the problem is shown", || {
        lab.rpki.health().source_problem.is_some()
    })
    .await;
    assert_eq!(count(&news), 3, "a file cut short changes nothing");
}

#[tokio::test]
async fn what_was_served_last_is_served_at_once_after_a_restart() {
    let mut first = lab(&roas(&[("192.0.2.0/24", 24, 1)]), None, quick()).await;
    until("data", || first.rpki.set().is_some()).await;
    let before = first.rpki.cache().borrow().clone();
    first.stop.cancel();
    let dir = std::mem::replace(&mut first.dir, tempfile::tempdir().expect("a directory"));
    std::fs::remove_file(dir.path().join("vrps.json")).expect("removed");
    let second = begin(dir, None, quick()).await;
    let after = second.rpki.cache().borrow().clone();
    assert_eq!(
        (after.session(), after.serial()),
        (before.session(), before.serial())
    );
    assert_eq!(after.set(), before.set(), "from disk, without a source");
}

/// A server's TLS for `rtr.test`, and the file of the authority to trust.
fn tls(dir: &Path) -> (Arc<rustls::ServerConfig>, std::path::PathBuf) {
    runtime::crypto::install_provider();
    let made = rcgen::generate_simple_self_signed(["rtr.test".to_owned()]).expect("a certificate");
    let (certificate, key) = (dir.join("c.pem"), dir.join("k.pem"));
    std::fs::write(&certificate, made.cert.pem()).expect("written");
    std::fs::write(&key, made.signing_key.serialize_pem()).expect("written");
    let server = exchange::rtr::tls::server(&certificate, &key).expect("a server");
    (server, certificate)
}

#[tokio::test]
async fn over_tls() {
    let dir = tempfile::tempdir().expect("a directory");
    let (server, certificate) = tls(dir.path());
    let lab = lab(&roas(&[("192.0.2.0/24", 24, 1)]), Some(server), quick()).await;
    let (sender, news) = watch::channel(None);
    let name = "rtr.test".try_into().expect("a name");
    let tls = exchange::rtr::tls::client(&certificate).expect("a client");
    let upstream = Upstream {
        address: lab.address,
        tls: Some((tls, name)),
    };
    tokio::spawn(follow(upstream, sender, lab.stop.clone()));
    until("the set by TLS", || count(&news) == 1).await;
}

/// What NLnet Labs' client was told.
#[derive(Default)]
struct Told(Vec<(Action, Payload)>);

impl PayloadTarget for Told {
    type Update = Vec<(Action, Payload)>;

    fn start(&mut self, _reset: bool) -> Self::Update {
        Vec::new()
    }

    fn apply(&mut self, update: Self::Update, _: Timing) -> Result<(), PayloadError> {
        self.0 = update;
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_client_of_nlnet_labs_follows_over_tls_in_both_versions() {
    let dir = tempfile::tempdir().expect("a directory");
    let (server, certificate) = tls(dir.path());
    let first = [("192.0.2.0/24", 26, 64496), ("2001:db8::/32", 48, 64497)];
    let lab = lab(&roas(&first), Some(server), quick()).await;
    let trust = exchange::rtr::tls::client(&certificate).expect("a client");
    let mut second = Vec::new();
    for version in [1, 0] {
        let stream = TcpStream::connect(lab.address).await.expect("connected");
        let name = "rtr.test".try_into().expect("a name");
        let stream = tokio_rustls::TlsConnector::from(trust.clone())
            .connect(name, stream)
            .await
            .expect("TLS");
        let mut client = Client::with_initial_version(version, stream, Told::default(), None);
        client.step().await.expect("the first set");
        let told = &client.target().0;
        assert_eq!(told.len(), 2, "version {version}: {told:?}");
        assert!(told.iter().all(|(action, _)| *action == Action::Announce));
        let cache = lab.rpki.cache().borrow().clone();
        let state = client.state().expect("a state");
        assert_eq!(state.session(), cache.session());
        assert_eq!(u32::from(state.serial()), cache.serial());
        second.push(client);
    }
    replace(&lab, &roas(&[("192.0.2.0/24", 26, 64496)]));
    for mut client in second {
        tokio::time::timeout(PATIENCE, client.step())
            .await
            .expect("notified in time")
            .expect("the change");
        let told = &client.target().0;
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!(told[0].0, Action::Withdraw);
    }
}

async fn say(address: SocketAddr, question: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.expect("connected");
    stream.write_all(question).await.expect("asked");
    let mut answer = vec![0; 4_096];
    let read = tokio::time::timeout(PATIENCE, stream.read(&mut answer))
        .await
        .expect("in time")
        .expect("read");
    answer.truncate(read);
    answer
}

fn bytes(version: u8, pdu: &Pdu) -> Vec<u8> {
    let mut bytes = Vec::new();
    pdu.write(version, &mut bytes);
    bytes
}

#[tokio::test]
async fn versions_limits_and_nonsense() {
    let options = ServerOptions {
        clients_max: (64, 3),
        ..quick()
    };
    let lab = lab(&roas(&[("192.0.2.0/24", 24, 1)]), None, options).await;
    until("data", || lab.rpki.set().is_some()).await;
    let old = say(lab.address, &bytes(0, &Pdu::ResetQuery)).await;
    assert_eq!(
        (old[0], old[1], old.len()),
        (0, 3, 8 + 20 + 12),
        "version 0"
    );
    let new = say(lab.address, &bytes(1, &Pdu::ResetQuery)).await;
    assert_eq!(
        (new[0], new[1], new.len()),
        (1, 3, 8 + 20 + 24),
        "version 1"
    );
    let future = say(lab.address, &bytes(2, &Pdu::ResetQuery)).await;
    let reported = u16::from_be_bytes([future[2], future[3]]);
    assert_eq!(
        (future[0], future[1], reported),
        (1, 10, code::UNSUPPORTED_VERSION)
    );
    let session = lab.rpki.cache().borrow().session() ^ 1;
    let question = Pdu::SerialQuery { session, serial: 1 };
    let stranger = say(lab.address, &bytes(1, &question)).await;
    assert_eq!(stranger[1], 8, "another session must load everything");
    for hostile in [
        &[1, 99, 0, 0, 0, 0, 0, 8][..],
        &[1, 2, 0, 0, 255, 255, 255, 255],
        &[1, 8, 0, 0, 0, 0, 0, 8],
        b"GET / HTTP/1.1\r\n\r\n",
    ] {
        assert_eq!(say(lab.address, hostile).await[1], 10, "an error report");
    }
    until("the others have left", || {
        lab.figures.clients.load(Relaxed) == 0
    })
    .await;
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut stream = TcpStream::connect(lab.address).await.expect("connected");
        stream
            .write_all(&bytes(1, &Pdu::ResetQuery))
            .await
            .expect("asked");
        stream.read_exact(&mut [0; 8]).await.expect("answered");
        held.push(stream);
    }
    let mut fourth = TcpStream::connect(lab.address).await.expect("connected");
    let mut buffer = [0; 8];
    let read = tokio::time::timeout(PATIENCE, fourth.read(&mut buffer))
        .await
        .expect("in time");
    assert!(matches!(read, Ok(0) | Err(_)), "turned away");
}

/// A BIRD of the test's own.
struct Bird {
    child: Child,
    socket: std::path::PathBuf,
}

impl Drop for Bird {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Bird {
    fn start(dir: &Path, config: &str) -> Self {
        let (file, socket) = (dir.join("bird.conf"), dir.join("bird.ctl"));
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
        Self { child, socket }
    }

    fn ask(&self, question: &str) -> String {
        let said = Command::new("/usr/sbin/birdc")
            .arg("-s")
            .arg(&self.socket)
            .args(question.split(' '))
            .output()
            .expect("birdc must be installed (Debian package bird2)");
        String::from_utf8_lossy(&said.stdout).into_owned()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bird_loads_the_payloads_and_their_changes() {
    let first = [("192.0.2.0/24", 26, 64496), ("2001:db8::/32", 48, 64497)];
    let lab = lab(&roas(&first), None, quick()).await;
    // It may ask before the data are read: told "no data", it would ask again in ten minutes.
    let dir = tempfile::tempdir().expect("a directory");
    let config = format!(
        "router id 192.0.2.1;\nroa4 table r4;\nroa6 table r6;\nprotocol device {{}}\nprotocol rpki cache {{\n  roa4 {{ table r4; }};\n  roa6 {{ table r6; }};\n  remote 127.0.0.1 port {};\n}}\n",
        lab.address.port()
    );
    let bird = Bird::start(dir.path(), &config);
    until("BIRD has the payloads", || {
        let four = bird.ask("show route table r4");
        let six = bird.ask("show route table r6");
        four.contains("192.0.2.0/24-26 AS64496") && six.contains("2001:db8::/32-48 AS64497")
    })
    .await;
    let begun = Instant::now();
    replace(
        &lab,
        &roas(&[("192.0.2.0/24", 24, 64500), ("2001:db8::/32", 48, 64497)]),
    );
    until("BIRD follows the change", || {
        let said = bird.ask("show route table r4");
        said.contains("192.0.2.0/24-24 AS64500") && !said.contains("AS64496")
    })
    .await;
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(
        lab.figures.full.load(Relaxed),
        1,
        "by difference, without a new session"
    );
}
