//! Origins' responses: whatever an origin sends, a client gets one well-framed response, and
//! nothing of the origin's octets makes a second one.
#![no_main]

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use base::event::NoEvents;
use edge::{Edge, EdgeHandle, EdgeOptions};
use libfuzzer_sys::fuzz_target;
use runtime::metrics::Metrics;
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(20);

struct Country {
    edge: SocketAddr,
    answer: Arc<Mutex<Vec<u8>>>,
    asked: AtomicU64,
    _handle: EdgeHandle,
}

/// One edge, and an origin that answers each connection with the octets in `answer`.
static COUNTRY: LazyLock<Country> = LazyLock::new(|| {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let origin = listener.local_addr().expect("an address");
    let answer = Arc::new(Mutex::new(Vec::new()));
    let said = Arc::clone(&answer);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut head = [0; 4096];
            if stream.read(&mut head).is_ok() {
                let octets = said.lock().expect("no panic").clone();
                stream.write_all(&octets).ok();
                stream.shutdown(Shutdown::Write).ok();
            }
        }
    });
    let mut options = EdgeOptions::new("edge-fuzz".parse().expect("a name"));
    options.listen_http = vec!["127.0.0.1:0".parse().expect("an address")];
    options.workers = 1;
    options.memory_bytes = 32 << 20;
    let handle = Edge::start_single(
        options,
        &format!("http://{origin}"),
        Vec::new(),
        Arc::new(NoEvents),
        &Metrics::new(),
        CancellationToken::new(),
    )
    .expect("an edge");
    Country {
        edge: handle.addresses()[0],
        answer,
        asked: AtomicU64::new(0),
        _handle: handle,
    }
});

/// What the client got, to the end of the connection.
fn ask(method: &str, target: &str) -> Vec<u8> {
    let mut stream = TcpStream::connect(COUNTRY.edge).expect("the edge lives");
    stream.set_read_timeout(Some(PATIENCE)).expect("a limit");
    write!(stream, "{method} {target} HTTP/1.1\r\nHost: a.tw\r\nConnection: close\r\n\r\n")
        .expect("sent");
    let mut all = Vec::new();
    match stream.read_to_end(&mut all) {
        // A body that cannot be completed ends in a reset or a close: both say so.
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
        Err(error) => panic!("the edge leaves a client waiting: {error}"),
    }
    all
}

/// Every value of a field.
fn values<'a>(head: &'a [&'a [u8]], name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    head.iter().filter_map(move |line| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        line[..colon]
            .eq_ignore_ascii_case(name.as_bytes())
            .then(|| line[colon + 1..].trim_ascii())
    })
}

fn check(all: &[u8], to_head: bool) {
    let Some(end) = all.windows(4).position(|four| four == b"\r\n\r\n") else {
        assert!(all.is_empty(), "half a head: {}", all.escape_ascii());
        return;
    };
    let body = &all[end + 4..];
    let lines: Vec<&[u8]> = all[..end]
        .split(|byte| *byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        .collect();
    let said = || all[..end].escape_ascii().to_string();
    assert!(lines[0].starts_with(b"HTTP/1.1 "), "{}", said());
    let status: u16 = std::str::from_utf8(&lines[0][9..12])
        .ok()
        .and_then(|code| code.parse().ok())
        .unwrap_or_else(|| panic!("no status: {}", said()));
    if (100..200).contains(&status) {
        // An interim response: the final one follows.
        return check(body, to_head);
    }
    for line in &lines[1..] {
        let colon = line.iter().position(|byte| *byte == b':');
        let colon = colon.unwrap_or_else(|| panic!("a line without a colon: {}", said()));
        assert!(colon > 0 && !line[..colon].contains(&b' '), "{}", said());
        assert!(!line.iter().any(|byte| matches!(byte, b'\r' | 0)), "{}", said());
    }
    let lengths: Vec<&[u8]> = values(&lines, "content-length").collect();
    let codings: Vec<&[u8]> = values(&lines, "transfer-encoding").collect();
    assert!(lengths.len() + codings.len() <= 1, "two framings: {}", said());
    if to_head || status == 204 || status == 304 {
        assert!(body.is_empty(), "content after {}", said());
        return;
    }
    if let [length] = lengths[..] {
        let length: usize = std::str::from_utf8(length)
            .ok()
            .and_then(|length| length.parse().ok())
            .unwrap_or_else(|| panic!("a length that is none: {}", said()));
        assert!(body.len() <= length, "more than announced: {}", said());
    }
}

fuzz_target!(|input: &[u8]| {
    let n = COUNTRY.asked.fetch_add(1, Ordering::Relaxed);
    *COUNTRY.answer.lock().expect("no panic") = input.to_vec();
    let target = format!("/{n}");
    check(&ask("GET", &target), false);
    if n % 4 == 0 {
        check(&ask("GET", &target), false);
        check(&ask("HEAD", &target), true);
    }
});
