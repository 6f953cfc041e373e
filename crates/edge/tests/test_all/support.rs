//! A scripted origin, a raw client, and an edge between them.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base::delivery::{EdgeSite, EdgeSnapshot, Origin, OriginPool, SiteSettings};
use base::event::NoEvents;
use base::{OrgId, SiteId, Timestamp};
use edge::{Edge, EdgeHandle, EdgeOptions};
use runtime::metrics::Metrics;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How long anything may take before a test gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

type Script = dyn Fn(&str, &mut TcpStream) + Send + Sync;

/// An origin that answers each request head by a script.
pub(crate) struct ScriptedOrigin {
    pub(crate) address: SocketAddr,
    asked: Arc<AtomicUsize>,
    pub(crate) heads: Arc<Mutex<Vec<String>>>,
}

impl ScriptedOrigin {
    pub(crate) fn start(script: impl Fn(&str, &mut TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let asked = Arc::new(AtomicUsize::new(0));
        let heads = Arc::new(Mutex::new(Vec::new()));
        let script: Arc<Script> = Arc::new(script);
        let (count, kept) = (Arc::clone(&asked), Arc::clone(&heads));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (script, count, kept) =
                    (Arc::clone(&script), Arc::clone(&count), Arc::clone(&kept));
                std::thread::spawn(move || converse(stream, &*script, &count, &kept));
            }
        });
        Self {
            address,
            asked,
            heads,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn converse(
    mut stream: TcpStream,
    script: &Script,
    count: &AtomicUsize,
    kept: &Mutex<Vec<String>>,
) {
    loop {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read(&mut byte) {
                Ok(1) => head.push(byte[0]),
                _ => return,
            }
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        count.fetch_add(1, Ordering::SeqCst);
        kept.lock().expect("no panic").push(head.clone());
        script(&head, &mut stream);
        if stream.flush().is_err() {
            return;
        }
    }
}

/// A whole response with these fields and body.
pub(crate) fn say(stream: &mut TcpStream, status: &str, fields: &str, body: &str) {
    let text = format!(
        "HTTP/1.1 {status}\r\n{fields}Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(text.as_bytes()).ok();
}

/// An edge that ends with the test.
pub(crate) struct Running {
    pub(crate) handle: EdgeHandle,
    pub(crate) address: SocketAddr,
    _snapshot: Option<watch::Sender<Option<Arc<EdgeSnapshot>>>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.handle.stop();
    }
}

pub(crate) fn options() -> EdgeOptions {
    let mut options = EdgeOptions::new("edge-test".parse().expect("a name"));
    options.listen_http = vec!["127.0.0.1:0".parse().expect("an address")];
    options.workers = 2;
    options.limits.drain_timeout = Duration::from_millis(200);
    options
}

/// An edge for any host in front of one origin.
pub(crate) fn single(origin: &str, options: EdgeOptions) -> Running {
    let handle = Edge::start_single(
        options,
        origin,
        None,
        Arc::new(NoEvents),
        &Metrics::new(),
        CancellationToken::new(),
    )
    .expect("an edge");
    let address = handle.addresses()[0];
    Running {
        handle,
        address,
        _snapshot: None,
    }
}

pub(crate) fn site_id() -> SiteId {
    "00000000-0000-4000-8000-000000000001"
        .parse()
        .expect("an id")
}

/// An edge for the site `www.example.tw` with these origins (URL, tier).
pub(crate) fn managed(origins: &[(String, u8)], settings: SiteSettings) -> Running {
    let mut pool = OriginPool::single("http://127.0.0.1:1");
    pool.connect_timeout_ms = 500;
    pool.origins = origins
        .iter()
        .map(|(url, tier)| Origin {
            url: url.clone(),
            weight: 1,
            tier: *tier,
        })
        .collect();
    let site = EdgeSite {
        id: site_id(),
        org: "00000000-0000-4000-8000-000000000002"
            .parse::<OrgId>()
            .expect("an id"),
        hosts: vec!["www.example.tw".into()],
        origins: pool,
        settings,
        purged_before: Timestamp(0),
    };
    let snapshot = EdgeSnapshot {
        sites: vec![site],
        ..EdgeSnapshot::default()
    };
    let (sender, receiver) = watch::channel(Some(Arc::new(snapshot)));
    let handle = Edge::start(
        options(),
        receiver,
        Arc::new(NoEvents),
        &Metrics::new(),
        CancellationToken::new(),
    )
    .expect("an edge");
    let running = Running {
        address: handle.addresses()[0],
        handle,
        _snapshot: Some(sender),
    };
    until("the site is served", || {
        !running.handle.stats().sites.is_empty()
    });
    running
}

/// Waits for a condition.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "gave up waiting until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A response as it came.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (field, value) = line.split_once(':')?;
            field.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("a connection");
    stream
        .set_read_timeout(Some(PATIENCE))
        .expect("a time limit");
    stream
}

/// Sends these octets on a connection of their own and reads until it ends.
pub(crate) fn raw(address: SocketAddr, octets: &[u8]) -> Vec<u8> {
    let mut stream = connect(address);
    stream.write_all(octets).ok();
    stream.shutdown(std::net::Shutdown::Write).ok();
    let mut all = Vec::new();
    stream.read_to_end(&mut all).ok();
    all
}

/// One request on a connection of its own; `fields` are whole lines.
pub(crate) fn ask(edge: &Running, method: &str, target: &str, fields: &str) -> Reply {
    let request = format!(
        "{method} {target} HTTP/1.1\r\nHost: www.example.tw\r\n{fields}Connection: close\r\n\r\n"
    );
    let mut stream = connect(edge.address);
    stream.write_all(request.as_bytes()).expect("sent");
    let mut all = Vec::new();
    stream.read_to_end(&mut all).expect("a whole response");
    parse(&all)
}

pub(crate) fn get(edge: &Running, target: &str) -> Reply {
    ask(edge, "GET", target, "")
}

pub(crate) fn parse(all: &[u8]) -> Reply {
    let end = all
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .expect("a whole head");
    let head = String::from_utf8_lossy(&all[..end]).into_owned();
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .expect("a status");
    Reply {
        status,
        head,
        body: all[end + 4..].to_vec(),
    }
}

/// Whether the edge says that it answered from what it holds.
pub(crate) fn is_hit(reply: &Reply) -> bool {
    reply
        .field("cache-status")
        .is_some_and(|status| status.contains("; hit"))
}

pub(crate) fn uuid(number: u128) -> uuid::Uuid {
    uuid::Uuid::from_u128(number)
}
