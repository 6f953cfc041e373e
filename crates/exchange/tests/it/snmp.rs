//! The SNMP manager and the poller against Debian's `snmpd`, in every version and at
//! every level of security, and against agents that answer nonsense.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base::event::{EventBatch, EventSink};
use base::{MemberId, OrgId, PortId, SystemClock};
use exchange::traffic::plan::{Access, Device, Directory, Plan, PlanPort};
use exchange::traffic::poller::{Poller, States};
use exchange::traffic::snmp::client::User;
use exchange::traffic::snmp::message::{Community, Kind, Pdu, Value};
use exchange::traffic::snmp::usm::AuthProtocol;
use exchange::traffic::snmp::{Client, Credentials, Oid, SnmpError, Timing, interfaces};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(20);
const QUICK: Timing = Timing {
    timeout: Duration::from_millis(700),
    attempts: 2,
};

struct Agent {
    child: Child,
    address: SocketAddr,
    dir: tempfile::TempDir,
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn free_port() -> u16 {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    socket.local_addr().expect("bound").port()
}

impl Agent {
    fn begin(child: impl Fn(&Path, u16) -> Child) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let conf = "rocommunity civicnet 127.0.0.1\n\
             createUser plain\nrouser plain noauth\n\
             createUser sha1 SHA authentication1\nrouser sha1 auth\n\
             createUser sha256 SHA-256 authentication256 AES privacy256\nrouser sha256 priv\n\
             createUser sha1aes SHA authentication1 AES privacy-one\nrouser sha1aes priv\n";
        std::fs::write(dir.path().join("agent.conf"), conf).expect("written");
        // Not beside the configuration: the agent keeps a file of the name snmpd.conf there.
        std::fs::create_dir(dir.path().join("kept")).expect("made");
        let port = free_port();
        let child = child(dir.path(), port);
        Self {
            child,
            address: (Ipv4Addr::LOCALHOST, port).into(),
            dir,
        }
    }

    fn start() -> Self {
        Self::begin(snmpd)
    }

    /// Ends it and starts it again, as the same engine.
    fn restart(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        self.child = snmpd(self.dir.path(), self.address.port());
    }

    async fn client(&self, credentials: Credentials) -> Client {
        Client::new(self.address, credentials, QUICK)
            .await
            .expect("a socket")
    }

    /// Asks until it answers: it takes a moment to start.
    async fn read(&self, credentials: Credentials) -> interfaces::Reading {
        let end = Instant::now() + PATIENCE;
        let mut client = self.client(credentials).await;
        loop {
            match interfaces::read(&mut client).await {
                Ok(reading) => return reading,
                Err(error) => assert!(Instant::now() < end, "{error}"),
            }
        }
    }
}

fn snmpd(dir: &Path, port: u16) -> Child {
    Command::new("/usr/sbin/snmpd")
        .args(["-f", "-Le", "-C", "-c"])
        .arg(dir.join("agent.conf"))
        .arg("-p")
        .arg(dir.join("pid"))
        .arg(format!("udp:127.0.0.1:{port}"))
        .env("SNMP_PERSISTENT_DIR", dir.join("kept"))
        .env("MIBS", "")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the Debian package snmpd is installed")
}

fn community() -> Credentials {
    Credentials::Community(b"civicnet".to_vec())
}

fn is_lo(reading: &interfaces::Reading) -> bool {
    let lo = reading
        .interfaces
        .values()
        .find(|interface| interface.name == "lo");
    lo.is_some_and(|lo| lo.up && lo.octets.iter().flatten().all(|octets| octets.wide))
}

#[tokio::test]
async fn interfaces_are_read_in_both_versions_and_at_every_level() {
    let agent = Agent::start();
    let ways = [
        community(),
        Credentials::User(User::open("plain")),
        Credentials::User(User::new(
            "sha1",
            AuthProtocol::Sha1,
            "authentication1",
            None,
        )),
        Credentials::User(User::new(
            "sha1aes",
            AuthProtocol::Sha1,
            "authentication1",
            Some("privacy-one"),
        )),
        Credentials::User(User::new(
            "sha256",
            AuthProtocol::Sha256,
            "authentication256",
            Some("privacy256"),
        )),
    ];
    for way in ways {
        let said = format!("{way:?}");
        let reading = agent.read(way).await;
        assert!(is_lo(&reading), "{said}: {reading:?}");
        assert!(reading.uptime > 0);
    }
}

#[tokio::test]
async fn what_is_wrong_is_said() {
    let agent = Agent::start();
    agent.read(community()).await;
    let wrong = [
        ("nobody", "authentication256", "privacy256", "the user"),
        (
            "sha256",
            "wrong-password",
            "privacy256",
            "authentication password",
        ),
    ];
    for (user, auth, privacy, word) in wrong {
        let user = User::new(user, AuthProtocol::Sha256, auth, Some(privacy));
        let mut client = agent.client(Credentials::User(user)).await;
        let error = interfaces::read(&mut client).await.expect_err("refused");
        assert!(error.to_string().contains(word), "{error}");
    }
    // What cannot be decrypted gets no answer or a Report, and never a reading.
    let user = User::new(
        "sha256",
        AuthProtocol::Sha256,
        "authentication256",
        Some("another-one"),
    );
    let mut client = agent.client(Credentials::User(user)).await;
    assert!(interfaces::read(&mut client).await.is_err());
    let mut client = agent
        .client(Credentials::Community(b"not-it".to_vec()))
        .await;
    let error = interfaces::read(&mut client).await.expect_err("silence");
    assert!(matches!(error, SnmpError::Silent { .. }), "{error}");
}

#[tokio::test]
async fn an_engine_that_starts_again_is_followed() {
    let mut agent = Agent::start();
    let user = || {
        Credentials::User(User::new(
            "sha256",
            AuthProtocol::Sha256,
            "authentication256",
            Some("privacy256"),
        ))
    };
    agent.read(user()).await;
    let mut client = agent.client(user()).await;
    let before = interfaces::read(&mut client).await.expect("reads");
    agent.restart();
    agent.read(community()).await;
    // The client still believes in the old clock.
    let after = interfaces::read(&mut client).await.expect("reads again");
    assert!(after.uptime < before.uptime.max(500), "{}", after.uptime);
}

#[derive(Default)]
struct Kept(Mutex<Vec<EventBatch>>);

impl EventSink for Kept {
    fn offer(&self, batch: EventBatch) {
        self.0.lock().expect("a lock").push(batch);
    }
}

fn plan_port(name: &str) -> PlanPort {
    PlanPort {
        name: name.into(),
        port: Some(PortId::generate()),
        member: Some(MemberId::generate()),
        org: Some(OrgId::generate()),
        core: false,
        wanted_up: true,
        speed_bps: 10_000_000_000,
    }
}

#[tokio::test]
async fn the_poller_tells_what_ports_carried_and_who_is_silent() {
    let mut agent = Agent::start();
    agent.read(community()).await;
    let plan = Plan {
        devices: vec![Device {
            name: "sw1".into(),
            site: "hsinchu".into(),
            address: agent.address.ip(),
            port: agent.address.port(),
            access: Some(Access::V2c {
                community: "civicnet".into(),
            }),
            interval_s: 5,
            agents: Vec::new(),
            ports: vec![plan_port("lo"), plan_port("Ethernet99")],
        }],
        routers: Vec::new(),
    };
    let directory = Arc::new(Directory::new(&plan));
    let (_sender, receiver) = watch::channel((Arc::new(plan), Arc::clone(&directory)));
    let kept = Arc::new(Kept::default());
    let states = States::default();
    let poller = Poller {
        sink: Arc::clone(&kept) as _,
        clock: Arc::new(SystemClock),
        timing: QUICK,
        states: states.clone(),
    };
    let stop = CancellationToken::new();
    let running = tokio::spawn(poller.run(receiver, stop.clone()));
    let end = Instant::now() + PATIENCE;
    let told = loop {
        let batches = kept.0.lock().expect("a lock").clone();
        let port = batches.iter().find_map(|batch| match batch {
            EventBatch::Ports(events) => events.first().cloned(),
            _ => None,
        });
        if let Some(port) = port {
            break port;
        }
        assert!(Instant::now() < end, "{:?}", states.all());
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!((&*told.switch, &*told.name, told.up), ("sw1", "lo", true));
    assert!((4_000..7_000).contains(&told.interval_ms), "{told:?}");
    // Its own questions went over it.
    assert!(
        told.in_octets > 0 && told.in_octets == told.out_octets,
        "{told:?}"
    );
    let state = states.all()["sw1"].clone();
    assert_eq!(state.missing, ["Ethernet99"]);
    assert!(state.answered_at.is_some() && state.error.is_empty());
    agent.child.kill().expect("killed");
    let end = Instant::now() + PATIENCE + PATIENCE;
    while states.all()["sw1"].failures == 0 {
        assert!(Instant::now() < end, "{:?}", states.all());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let error = states.all()["sw1"].error.clone();
    assert!(!error.is_empty());
    stop.cancel();
    running.await.expect("ended");
}

/// An agent that answers every question in its own way.
fn liar(answer: impl Fn(&Community) -> Vec<u8> + Send + 'static) -> SocketAddr {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = socket.local_addr().expect("bound");
    std::thread::spawn(move || {
        let mut buffer = [0; 65_536];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let asked = Community::decode(&buffer[..length]).expect("a question");
            socket.send_to(&answer(&asked), from).ok();
        }
    });
    address
}

fn response(asked: &Community, variables: Vec<(Oid, Value)>) -> Community {
    Community {
        community: asked.community.clone(),
        pdu: Pdu {
            kind: Kind::Response,
            error_status: 0,
            error_index: 0,
            variables,
            ..asked.pdu
        },
    }
}

#[tokio::test]
async fn agents_that_lie_are_left() {
    let read = |address| async move {
        let mut client = Client::new(address, community(), QUICK)
            .await
            .expect("a socket");
        tokio::time::timeout(PATIENCE, interfaces::read(&mut client))
            .await
            .expect("it ends")
    };
    let circular = read(liar(|asked| {
        let same = asked.pdu.variables.iter();
        let same = same.map(|(oid, _)| (oid.child(1), Value::Counter64(1)));
        let mut back: Vec<_> = same.collect();
        for (oid, _) in back.iter_mut().skip(1) {
            *oid = Oid::new(&oid.numbers()[..oid.numbers().len().min(11)]);
        }
        response(asked, back).encode()
    }))
    .await;
    assert!(circular.is_err() || circular.is_ok_and(|r| r.interfaces.is_empty()));
    let endless = read(liar(|asked| {
        let next = asked.pdu.variables.iter().map(|(oid, _)| {
            let mut numbers = oid.numbers().to_vec();
            let is_row = numbers.len() >= 11;
            match numbers.last_mut() {
                Some(last) if is_row => *last += 1,
                _ => numbers.push(1),
            }
            (Oid::new(&numbers), Value::Counter64(7))
        });
        let next = next.collect();
        response(asked, next).encode()
    }))
    .await;
    assert!(
        matches!(
            endless,
            Err(SnmpError::TooMany { .. } | SnmpError::Circular { .. })
        ),
        "{:?}",
        endless.map(|reading| reading.interfaces.len())
    );
    let nonsense = read(liar(|_| vec![0x30, 0x84, 0xff, 0xff, 0xff, 0xff])).await;
    assert!(matches!(nonsense, Err(SnmpError::Malformed { .. })));
    let empty = read(liar(|asked| response(asked, Vec::new()).encode())).await;
    assert!(empty.is_ok_and(|reading| reading.interfaces.is_empty()));
    let other = read(liar(|asked| {
        let mut answer = response(asked, Vec::new());
        answer.pdu.request_id ^= 1;
        answer.encode()
    }))
    .await;
    assert!(matches!(other, Err(SnmpError::Silent { .. })), "{other:?}");
}
