//! A small DNS client, and servers started for one test.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base::delivery::DispatchSnapshot;
use dispatch::{Dispatch, DispatchOptions, RateLimit};
use dns::kind::flag;
use dns::message::HEADER_BYTES;
use dns::read;
use dns::{Kind, Name};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How long a condition is waited for before the test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A response taken apart; sections are sets, since their order means nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) rcode: u16,
    pub(crate) authoritative: bool,
    pub(crate) truncated: bool,
    pub(crate) answer: BTreeSet<Record>,
    pub(crate) authority: BTreeSet<Record>,
    pub(crate) additional: BTreeSet<Record>,
    pub(crate) bytes: Vec<u8>,
}

/// Owner in lower case, type, TTL, RDATA with names in lower case and whole.
pub(crate) type Record = (String, Kind, u32, Vec<u8>);

/// Builds a query; `options` are the EDNS options, none for no EDNS.
pub(crate) fn query(name: &Name, kind: Kind, options: Option<&[u8]>) -> Vec<u8> {
    let mut packet = vec![
        0x2b,
        0x2a,
        0,
        0,
        0,
        1,
        0,
        0,
        0,
        0,
        0,
        u8::from(options.is_some()),
    ];
    packet.extend(name.as_wire());
    packet.extend(kind.0.to_be_bytes());
    packet.extend([0, 1]);
    if let Some(options) = options {
        packet.extend([0, 0, 41, 0x10, 0, 0, 0, 0, 0]);
        packet.extend((options.len() as u16).to_be_bytes());
        packet.extend(options);
    }
    packet
}

/// A Client Subnet option.
pub(crate) fn subnet(address: IpAddr, length: u8) -> Vec<u8> {
    let (family, octets) = match address {
        IpAddr::V4(v4) => (1, v4.octets().to_vec()),
        IpAddr::V6(v6) => (2, v6.octets().to_vec()),
    };
    let bytes = usize::from(length).div_ceil(8);
    let mut option = vec![0, 8, 0, 4 + bytes as u8, 0, family, length, 0];
    option.extend(&octets[..bytes]);
    option
}

pub(crate) fn parse(bytes: Vec<u8>) -> Response {
    let word = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    let flags = word(2);
    assert_ne!(flags & flag::QR, 0, "not a response");
    let mut at = HEADER_BYTES;
    for _ in 0..word(4) {
        at = read::name(&bytes, at).expect("a question").1 + 4;
    }
    let mut extended = 0;
    let mut section = |count: u16| {
        let records = read::records(&bytes, at, usize::from(count)).expect("records");
        at = records.last().map_or(at, |record| record.end);
        let mut set = BTreeSet::new();
        for record in records {
            if record.kind == Kind::OPT {
                extended = (record.ttl >> 24) as u16;
                continue;
            }
            let rdata = read::rdata_plain(&bytes, &record).expect("RDATA");
            let owner = record.owner.lowercase().to_string();
            let fresh = set.insert((owner, record.kind, record.ttl, rdata));
            assert!(fresh, "a record is there twice: {record:?}");
        }
        set
    };
    let (answer, authority, additional) = (section(word(6)), section(word(8)), section(word(10)));
    assert_eq!(at, bytes.len(), "bytes after the last record");
    Response {
        rcode: flags & 0xf | extended << 4,
        authoritative: flags & flag::AA != 0,
        truncated: flags & flag::TC != 0,
        answer,
        authority,
        additional,
        bytes,
    }
}

/// Asks by UDP, twice if the first packet is lost.
pub(crate) fn ask_udp(server: SocketAddr, packet: &[u8]) -> Response {
    try_udp(server, packet).expect("an answer")
}

pub(crate) fn try_udp(server: SocketAddr, packet: &[u8]) -> Option<Response> {
    let local = if server.is_ipv4() {
        "127.0.0.1:0"
    } else {
        "[::1]:0"
    };
    let socket = UdpSocket::bind(local).expect("a socket");
    socket
        .set_read_timeout(Some(Duration::from_secs(2)))
        .expect("a time limit");
    let mut buffer = [0; 65_535];
    for _ in 0..3 {
        socket.send_to(packet, server).ok()?;
        if let Ok((length, from)) = socket.recv_from(&mut buffer) {
            assert_eq!(from, server, "answered from another address");
            assert_eq!(buffer[..2], packet[..2], "another id");
            return Some(parse(buffer[..length].to_vec()));
        }
    }
    None
}

pub(crate) fn ask_tcp(server: SocketAddr, packet: &[u8]) -> Response {
    let mut stream = TcpStream::connect(server).expect("a connection");
    stream
        .set_read_timeout(Some(PATIENCE))
        .expect("a time limit");
    send_tcp(&mut stream, packet);
    parse(receive_tcp(&mut stream))
}

pub(crate) fn send_tcp(stream: &mut TcpStream, packet: &[u8]) {
    let mut message = (packet.len() as u16).to_be_bytes().to_vec();
    message.extend(packet);
    stream.write_all(&message).expect("to send");
}

pub(crate) fn receive_tcp(stream: &mut TcpStream) -> Vec<u8> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).expect("a length");
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut message).expect("a message");
    message
}

/// Asks by UDP, and by TCP when the answer is cut.
pub(crate) fn ask(server: SocketAddr, packet: &[u8]) -> Response {
    let response = ask_udp(server, packet);
    if response.truncated {
        ask_tcp(server, packet)
    } else {
        response
    }
}

/// Waits until `done`, and fails with `what` when it does not come.
pub(crate) fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < PATIENCE, "{what}: did not come");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A dispatch server on threads of its own, stopped when dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) reports: Option<SocketAddr>,
    pub(crate) router: axum::Router,
    pub(crate) stats: dispatch::Stats,
    shutdown: CancellationToken,
    thread: Option<std::thread::JoinHandle<()>>,
    publish: watch::Sender<Option<Arc<DispatchSnapshot>>>,
}

impl Server {
    pub(crate) fn start(
        snapshot: Option<DispatchSnapshot>,
        change: impl FnOnce(&mut DispatchOptions),
    ) -> Self {
        let (publish, receiver) = watch::channel(snapshot.map(Arc::new));
        let loopback = "127.0.0.1:0".parse().expect("an address");
        let mut options = DispatchOptions::new(vec![loopback]);
        options.rate_limit = RateLimit::OFF;
        options.threads = 1;
        options.snapshot = receiver;
        change(&mut options);
        let dispatch = Dispatch::bind(options).expect("free ports");
        let shutdown = CancellationToken::new();
        let (address, reports) = (dispatch.addresses()[0], dispatch.report_address());
        let (router, stats) = (dispatch.router(), dispatch.stats());
        let token = shutdown.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(dispatch.serve(token)).expect("to serve");
        });
        Self {
            address,
            reports,
            router,
            stats,
            shutdown,
            thread: Some(thread),
            publish,
        }
    }

    pub(crate) fn publish(&self, snapshot: DispatchSnapshot) {
        self.publish.send_replace(Some(Arc::new(snapshot)));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shutdown.cancel();
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(
                std::thread::panicking() || ended.is_ok(),
                "the server panicked"
            );
        }
    }
}

/// A snapshot of plain zones.
pub(crate) fn zones(zones: &[(&str, &str)]) -> DispatchSnapshot {
    DispatchSnapshot {
        zones: zones
            .iter()
            .map(|(origin, text)| base::delivery::ZoneText {
                origin: (*origin).to_owned(),
                text: (*text).to_owned(),
            })
            .collect(),
        names: Vec::new(),
        edges: Vec::new(),
        regions: Vec::new(),
        health: base::delivery::HealthPolicy::default(),
        enforced: base::enforcement::Enforced::default(),
    }
}

pub(crate) fn name(text: &str) -> Name {
    text.parse().expect("a name")
}
