//! A hundred thousand broken packets and master files: nothing panics, what comes
//! out is bounded, and every response can be read.

use std::net::IpAddr;
use std::sync::Arc;

use dns::cookie::CookieSecret;
use dns::kind::flag;
use dns::respond::{RESPONSE_BYTES_MAX, Short, UDP_BYTES_MAX, shorten};
use dns::{Asked, DispatchTable, Name, Served, Zone, master, read, respond};

const ZONE: &str = "$ORIGIN example.\n$TTL 60\n@ SOA ns h 1 1 1 1 1\n@ NS ns\nns A 192.0.2.1\n\
    *.w A 192.0.2.2\nc CNAME d\nd CNAME x.w\ndn DNAME w\ndel NS ns.del\nns.del AAAA 2001:db8::1\n\
    big TXT \"0123456789012345678901234567890123456789\"\n";

/// Deterministic numbers (xorshift64*).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() >> 33) as usize % bound.max(1)
    }

    /// Flips, cuts, repeats and inserts a few bytes.
    fn mutate(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len());
            match self.below(6) {
                0 if !bytes.is_empty() => bytes[at] = self.next() as u8,
                1 if !bytes.is_empty() => bytes[at] ^= 1 << self.below(8),
                2 => bytes.truncate(at),
                3 => bytes.insert(at, self.next() as u8),
                4 => {
                    let piece = bytes[at..(at + self.below(16)).min(bytes.len())].to_vec();
                    bytes.extend(piece);
                }
                _ if !bytes.is_empty() => bytes[at] = [0, 0xff, 0xc0, 0x0c, 41, 8][self.below(6)],
                _ => {}
            }
        }
    }
}

fn served() -> Served {
    let zone = Zone::load_alone(ZONE.as_bytes()).expect("a zone");
    Served::new(
        Arc::new(DispatchTable::of_zones(vec![zone]).expect("zones")),
        Vec::new(),
    )
}

fn seeds() -> Vec<Vec<u8>> {
    let plain = |name: &[u8], kind: u16| {
        let mut packet = vec![1, 2, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        packet.extend(name);
        packet.extend(kind.to_be_bytes());
        packet.extend([0, 1]);
        packet
    };
    let mut with_options = plain(b"\x01x\x02dn\x07example\0", 1);
    with_options[11] = 1;
    with_options.extend(b"\0\0\x29\x10\0\0\0\x80\0\0\x1f\0\x08\0\x07\0\x01\x18\0\xc0\0\x02\0\x0a\0\x10ABCDEFGHABCDEFGH");
    vec![
        plain(b"\x03www\x07example\0", 1),
        plain(b"\x01c\x07example\0", 28),
        plain(b"\x04host\x03del\x07example\0", 255),
        plain(b"\0", 2),
        with_options,
    ]
}

#[test]
fn broken_packets_get_short_readable_answers_or_none() {
    let served = served();
    let secret = CookieSecret::new([1; 16]);
    let seeds = seeds();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut out = vec![0; RESPONSE_BYTES_MAX];
    let (mut answered, mut ignored) = (0, 0);
    for round in 0..200_000_u32 {
        let mut packet = seeds[round as usize % seeds.len()].clone();
        random.mutate(&mut packet);
        let asked = Asked {
            packet: &packet,
            source: IpAddr::from([192, 0, 2, 1]),
            tcp: round % 7 == 0,
            now_s: round,
        };
        let Some(mut reply) = respond(&served, &secret, asked, &mut out) else {
            ignored += 1;
            continue;
        };
        answered += 1;
        check(&packet, &out[..reply.length], asked.tcp);
        let how = if round % 2 == 0 {
            Short::Truncate
        } else {
            Short::BadCookie
        };
        shorten(&mut out, &mut reply, how);
        check(&packet, &out[..reply.length], asked.tcp);
    }
    assert!(answered > 50_000 && ignored > 1_000, "{answered} {ignored}");
}

fn check(packet: &[u8], message: &[u8], tcp: bool) {
    assert!(tcp || message.len() <= UDP_BYTES_MAX, "{packet:?}");
    let word = |at: usize| u16::from_be_bytes([message[at], message[at + 1]]);
    assert_eq!(message[..2], packet[..2]);
    assert_ne!(word(2) & flag::QR, 0);
    let mut at = 12;
    for _ in 0..word(4) {
        at = read::name(message, at).expect("a question").1 + 4;
    }
    let records = word(6) + word(8) + word(10);
    let records = read::records(message, at, usize::from(records)).expect("records");
    let end = records.last().map_or(at, |record| record.end);
    assert_eq!(end, message.len(), "{packet:?}");
}

#[test]
fn broken_responses_are_read_without_panic() {
    let served = served();
    let mut random = Random(7);
    let mut out = vec![0; RESPONSE_BYTES_MAX];
    let mut whole = 0;
    for seed in seeds() {
        let asked = Asked {
            packet: &seed,
            source: IpAddr::from([192, 0, 2, 1]),
            tcp: true,
            now_s: 0,
        };
        let reply =
            respond(&served, &CookieSecret::new([1; 16]), asked, &mut out).expect("an answer");
        for _ in 0..30_000 {
            let mut message = out[..reply.length].to_vec();
            random.mutate(&mut message);
            if let Some(records) = read::records(&message, reply.question_end, 3) {
                whole += 1;
                for record in &records {
                    read::rdata_plain(&message, record);
                    assert!(read::rdata_text(&message, record).len() < 200_000);
                }
            }
        }
    }
    assert!(whole > 0);
}

#[test]
fn broken_master_files_are_refused_with_a_place_or_served() {
    let origin: Name = "example.".parse().expect("a name");
    let seeds = [
        ZONE,
        "a 60 HTTPS 1 . alpn=h2,h3 ipv4hint=192.0.2.1 port=\"443\"\nb 1h IN CAA 0 issue \"x;y\"\n",
        "a 60 ( TXT \"q\\\"x\" \\065 )\n\tMX 1 @ ; comment\n$ORIGIN sub\nb TYPE700 \\# 2 0102\n",
    ];
    let mut random = Random(99);
    let (mut good, mut bad) = (0, 0);
    for round in 0..100_000 {
        let mut text = seeds[round % seeds.len()].as_bytes().to_vec();
        random.mutate(&mut text);
        match master::parse(&origin, &text) {
            Ok(_) => good += 1,
            Err(problems) => {
                bad += 1;
                assert!(!problems.is_empty() && problems.len() <= master::PROBLEMS_MAX);
                assert!(
                    problems
                        .iter()
                        .all(|p| p.line > 0 && p.column > 0 && p.message.len() < 1_000)
                );
            }
        }
        if round % 10 == 0
            && let Ok(zone) = Zone::load_alone(&text)
        {
            assert!(zone.names() > 0);
        }
    }
    assert!(good > 1_000 && bad > 1_000, "{good} {bad}");
}
