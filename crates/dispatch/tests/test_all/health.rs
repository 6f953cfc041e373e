//! Health by agreement, with edges that die.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use base::delivery::AllDown;
use base::{Clock, SystemClock};
use dispatch::health::{Opinion, Outbox};
use dns::Kind;
use dns::kind::rcode;

use crate::client::{Server, ask_udp, name, query, subnet, wait_for};
use crate::policy::{node, taiwan};

/// An edge that only tells its health, over kept connections.
struct FakeEdge {
    address: SocketAddr,
    alive: Arc<AtomicBool>,
    /// Thousandths.
    load: Arc<AtomicU32>,
}

impl FakeEdge {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let edge = Self {
            address: listener.local_addr().expect("an address"),
            alive: Arc::new(AtomicBool::new(true)),
            load: Arc::new(AtomicU32::new(100)),
        };
        let (alive, load) = (Arc::clone(&edge.alive), Arc::clone(&edge.load));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (alive, load) = (Arc::clone(&alive), Arc::clone(&load));
                std::thread::spawn(move || serve(stream, &alive, &load));
            }
        });
        edge
    }
}

fn serve(mut stream: std::net::TcpStream, alive: &AtomicBool, load: &AtomicU32) -> Option<()> {
    let mut seen = Vec::new();
    let mut buffer = [0; 1_024];
    loop {
        let read = stream.read(&mut buffer).ok().filter(|read| *read > 0)?;
        seen.extend_from_slice(&buffer[..read]);
        if !seen.ends_with(b"\r\n\r\n") {
            continue;
        }
        assert!(seen.starts_with(b"GET /.well-known/civicnet/health HTTP/1.1\r\n"));
        seen.clear();
        if !alive.load(Ordering::SeqCst) {
            // Dead edges are silent, not rude.
            std::thread::sleep(Duration::from_secs(5));
            return None;
        }
        let load = f64::from(load.load(Ordering::SeqCst)) / 1_000.0;
        let body = format!("{{\"status\":\"ok\",\"load\":{load}}}");
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(head.as_bytes()).ok()?;
    }
}

fn answer(server: &Server, client: &str) -> (u16, Option<IpAddr>) {
    let option = subnet(client.parse().expect("an address"), 24);
    let response = ask_udp(
        server.address,
        &query(&name("www.cdn.example."), Kind::A, Some(&option)),
    );
    let address = response
        .answer
        .first()
        .map(|record| IpAddr::from(<[u8; 4]>::try_from(&record.3[..]).expect("4 bytes")));
    (response.rcode, address)
}

fn is(server: &Server, client: &str, expected: &str) -> bool {
    answer(server, client).1 == Some(expected.parse().expect("an address"))
}

#[test]
fn a_dead_or_full_edge_leaves_the_answers_and_comes_back() {
    let edges: Vec<FakeEdge> = (0..3).map(|_| FakeEdge::start()).collect();
    let mut snapshot = taiwan();
    for (edge, fake) in snapshot.edges.iter_mut().zip(&edges) {
        edge.health_address = fake.address;
    }
    snapshot.names[0].all_down = AllDown::ServFail;
    let server = Server::start(Some(snapshot.clone()), |options| {
        options.observe_as = Some(node("dispatch-1"));
    });
    assert!(
        is(&server, "10.2.0.0", "198.51.100.2"),
        "unknown counts as alive"
    );
    edges[1].alive.store(false, Ordering::SeqCst);
    wait_for("the dead edge to leave", || {
        is(&server, "10.2.0.0", "198.51.100.1")
    });
    edges[0].load.store(1_000, Ordering::SeqCst);
    wait_for("the full edge to leave", || {
        is(&server, "10.2.0.0", "198.51.100.3")
    });
    edges[2].alive.store(false, Ordering::SeqCst);
    wait_for("the full edge to be better than none", || {
        is(&server, "10.2.0.0", "198.51.100.1")
    });
    edges[0].alive.store(false, Ordering::SeqCst);
    wait_for("the policy for all down", || {
        answer(&server, "10.2.0.0").0 == rcode::SERVFAIL
    });
    snapshot.names[0].all_down =
        AllDown::Fallback(vec!["203.0.113.7".parse().expect("an address")]);
    server.publish(snapshot.clone());
    wait_for("the fallback", || is(&server, "10.2.0.0", "203.0.113.7"));
    snapshot.names[0].all_down = AllDown::AsIfHealthy;
    server.publish(snapshot);
    wait_for("the nearest as if it were healthy", || {
        is(&server, "10.2.0.0", "198.51.100.2")
    });
    for edge in &edges {
        edge.alive.store(true, Ordering::SeqCst);
        edge.load.store(0, Ordering::SeqCst);
    }
    wait_for("the recovered edge", || {
        is(&server, "10.3.0.0", "198.51.100.3")
    });
}

#[test]
fn reports_are_believed_by_majority_once_and_only_when_signed() {
    const KEY: [u8; 32] = [3; 32];
    let mut snapshot = taiwan();
    snapshot.health.report_key = KEY;
    let server = Server::start(Some(snapshot), |options| {
        options.report_listen = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    });
    let to = server.reports.expect("a report address");
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let send = |datagrams: &[Vec<u8>]| {
        for datagram in datagrams {
            socket.send_to(datagram, to).expect("to send");
        }
    };
    let say = |alive| {
        [Opinion {
            edge: node("edge-taichung"),
            alive,
            load: 0.1,
        }]
    };
    let mut boxes: Vec<Outbox> = (0..3)
        .map(|number| Outbox::new(node(&format!("observer-{number}")), number))
        .collect();
    let now = || SystemClock.now();
    // A forger, and a lone voice against two, change nothing.
    let mut forger = Outbox::new(node("observer-9"), 9);
    let old = boxes[0].write(&KEY, &say(false), now());
    for round in 0..10 {
        send(&forger.write(&[4; 32], &say(false), now()));
        send(&boxes[0].write(&KEY, &say(false), now()));
        send(&boxes[1].write(&KEY, &say(true), now()));
        send(&boxes[2].write(&KEY, &say(true), now()));
        if round > 2 {
            assert!(is(&server, "10.2.0.0", "198.51.100.2"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    wait_for("two against one", || {
        send(&boxes[0].write(&KEY, &say(false), now()));
        send(&boxes[1].write(&KEY, &say(false), now()));
        send(&boxes[2].write(&KEY, &say(true), now()));
        is(&server, "10.2.0.0", "198.51.100.1")
    });
    wait_for("all to call it alive", || {
        for outbox in &mut boxes {
            send(&outbox.write(&KEY, &say(true), now()));
        }
        is(&server, "10.2.0.0", "198.51.100.2")
    });
    // Yesterday's word, and rubbish, are refused.
    for _ in 0..10 {
        send(&old);
        send(&[b"CVH1rubbish".to_vec(), Vec::new(), vec![0; 2_000]]);
    }
    for outbox in &mut boxes {
        send(&outbox.write(&KEY, &say(true), now()));
    }
    assert!(is(&server, "10.2.0.0", "198.51.100.2"));
}
