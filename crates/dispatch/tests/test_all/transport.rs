//! UDP and TCP as such: pipelining, limits, rate limits, wildcard addresses, rubbish.

use std::io::Read;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base::event::{EventBatch, EventSink};
use dispatch::{Dispatch, DispatchOptions, RateLimit};
use dns::Kind;
use dns::kind::rcode;

use crate::client::{
    self, Server, ask_tcp, ask_udp, name, parse, query, receive_tcp, send_tcp, try_udp, wait_for,
    zones,
};

const ZONE: &str = include_str!("../data/nasty.zone");

fn server(change: impl FnOnce(&mut DispatchOptions)) -> Server {
    Server::start(Some(zones(&[("example.", ZONE)])), change)
}

#[test]
fn tcp_answers_a_pipeline_in_order() {
    let server = server(|_| {});
    let mut stream = TcpStream::connect(server.address).expect("a connection");
    for number in 0..50_u16 {
        let mut packet = query(&name("www.example."), Kind::A, None);
        packet[..2].copy_from_slice(&number.to_be_bytes());
        send_tcp(&mut stream, &packet);
    }
    for number in 0..50_u16 {
        let message = receive_tcp(&mut stream);
        assert_eq!(message[..2], number.to_be_bytes());
        assert_eq!(parse(message).answer.len(), 2);
    }
}

#[test]
fn tcp_is_limited_in_number_time_and_size() {
    let server = server(|options| {
        options.tcp.connections_per_client_max = 2;
        options.tcp.idle = Duration::from_millis(300);
        options.tcp.message = Duration::from_millis(300);
    });
    let ended = |mut stream: TcpStream| {
        stream
            .set_read_timeout(Some(client::PATIENCE))
            .expect("a time limit");
        let mut rest = Vec::new();
        // A reset is as good an end as any.
        stream.read_to_end(&mut rest).unwrap_or(0);
        rest.is_empty()
    };
    let packet = query(&name("www.example."), Kind::A, None);
    let mut first = TcpStream::connect(server.address).expect("a connection");
    send_tcp(&mut first, &packet);
    receive_tcp(&mut first);
    let mut second = TcpStream::connect(server.address).expect("a connection");
    send_tcp(&mut second, &packet);
    receive_tcp(&mut second);
    let third = TcpStream::connect(server.address).expect("a connection");
    assert!(ended(third), "one connection too many is closed");
    assert!(ended(first) && ended(second), "idle connections are closed");
    wait_for("room for others", || {
        let mut stream = TcpStream::connect(server.address).expect("a connection");
        stream
            .set_read_timeout(Some(Duration::from_secs(2)))
            .expect("a time limit");
        send_tcp(&mut stream, &packet);
        stream.read(&mut [0; 2]).is_ok_and(|read| read > 0)
    });
    let slow = TcpStream::connect(server.address).expect("a connection");
    std::io::Write::write_all(&mut &slow, &[0]).expect("to send");
    assert!(ended(slow), "half a length is not waited for");
    let large = TcpStream::connect(server.address).expect("a connection");
    std::io::Write::write_all(&mut &large, &[0xff, 0xff]).expect("to send");
    assert!(ended(large), "no query is that long");
}

#[test]
fn a_flood_is_cut_short_and_a_cookie_or_tcp_frees_from_it() {
    let server = server(|options| {
        options.rate_limit = RateLimit {
            answers_per_s: 5,
            negatives_per_s: 5,
            errors_per_s: 5,
            slip: 1,
        };
    });
    let packet = query(&name("www.example."), Kind::A, None);
    wait_for("a short answer", || {
        ask_udp(server.address, &packet).truncated
    });
    assert_eq!(ask_tcp(server.address, &packet).answer.len(), 2);
    let option = [&[0, 10, 0, 8][..], b"8 bytes!"].concat();
    let bad = ask_udp(
        server.address,
        &query(&name("www.example."), Kind::A, Some(&option)),
    );
    assert_eq!((bad.rcode, bad.answer.len()), (rcode::BADCOOKIE, 0));
    let cookie = &bad.bytes[bad.bytes.len() - 24..];
    let option = [&[0, 10, 0, 24][..], cookie].concat();
    let packet = query(&name("www.example."), Kind::A, Some(&option));
    for _ in 0..50 {
        assert_eq!(ask_udp(server.address, &packet).answer.len(), 2);
    }
}

#[test]
fn rubbish_is_survived_and_responses_are_never_answered() {
    let server = server(|_| {});
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let good = query(&name("www.example."), Kind::A, Some(&[]));
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    for _ in 0..20_000 {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        let mut packet = good.clone();
        for shift in [0, 16, 32] {
            let at = (seed >> shift) as usize % packet.len();
            packet[at] = (seed >> (shift + 8)) as u8;
        }
        packet.truncate((seed >> 48) as usize % (packet.len() + 1));
        socket.send_to(&packet, server.address).expect("to send");
    }
    assert_eq!(ask_udp(server.address, &good).answer.len(), 2);
    let mut response = good;
    response[2] |= 0x80;
    let silent = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    silent
        .set_read_timeout(Some(Duration::from_millis(200)))
        .expect("a time limit");
    silent.send_to(&response, server.address).expect("to send");
    assert!(
        silent.recv(&mut [0; 512]).is_err(),
        "a response was answered"
    );
}

#[test]
fn a_wildcard_socket_answers_from_the_address_asked() {
    let server = server(|options| {
        options.listen = vec!["0.0.0.0:0".parse().expect("an address")];
    });
    for host in [[127, 0, 0, 1], [127, 0, 0, 9], [127, 7, 7, 7]] {
        let address = SocketAddr::from((host, server.address.port()));
        let packet = query(&name("www.example."), Kind::A, None);
        // The client fails when the answer comes from elsewhere.
        assert_eq!(ask_udp(address, &packet).answer.len(), 2);
    }
}

#[test]
fn ipv6_is_served_like_ipv4() {
    let server = server(|options| {
        options.listen = vec!["[::1]:0".parse().expect("an address")];
        options.threads = 2;
    });
    let packet = query(&name("www.example."), Kind::AAAA, None);
    assert_eq!(ask_udp(server.address, &packet).answer.len(), 1);
    assert_eq!(ask_tcp(server.address, &packet).answer.len(), 1);
}

#[test]
fn a_taken_port_is_an_error_that_names_it() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address");
    let error = Dispatch::bind(DispatchOptions::new(vec![address]))
        .err()
        .expect("the port is taken");
    assert!(error.to_string().contains(&address.to_string()), "{error}");
}

#[derive(Default)]
struct Kept(Mutex<Vec<EventBatch>>);

impl EventSink for Kept {
    fn offer(&self, batch: EventBatch) {
        self.0.lock().expect("no panic while held").push(batch);
    }
}

#[test]
fn every_answer_becomes_an_event_while_there_are_few() {
    let kept = Arc::new(Kept::default());
    let sink = Arc::clone(&kept);
    let server = server(|options| options.sink = sink);
    let packet = query(&name("WWW.Example."), Kind::A, Some(&[]));
    for _ in 0..10 {
        assert!(try_udp(server.address, &packet).is_some());
    }
    ask_tcp(server.address, &packet);
    assert_eq!(server.stats.answered(), 11);
    drop(server);
    let batches = kept.0.lock().expect("not poisoned");
    let events: Vec<_> = batches
        .iter()
        .flat_map(|batch| match batch {
            EventBatch::Query(events) => events.clone(),
            _ => Vec::new(),
        })
        .collect();
    assert_eq!(events.len(), 11);
    assert!(
        events
            .iter()
            .all(|event| &*event.name == "www.example." && event.kind == 1)
    );
    assert_eq!(events.iter().filter(|event| event.tcp).count(), 1);
}
