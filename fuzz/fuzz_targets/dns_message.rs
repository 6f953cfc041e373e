//! DNS packets: whatever comes in, what goes out is bounded and can be read.
#![no_main]

use std::net::IpAddr;
use std::sync::{Arc, LazyLock};

use dns::respond::{RESPONSE_BYTES_MAX, UDP_BYTES_MAX};
use dns::{Asked, CookieSecret, DispatchTable, Served, Zone, read, respond};
use libfuzzer_sys::fuzz_target;

const ZONE: &[u8] = b"$ORIGIN example.\n$TTL 60\n@ SOA ns h 1 1 1 1 1\n@ NS ns\nns A 192.0.2.1\n\
    *.w A 192.0.2.2\nc CNAME d\nd CNAME x.w\ndn DNAME w\ndel NS ns.del\nns.del AAAA 2001:db8::1\n";

static SERVED: LazyLock<Served> = LazyLock::new(|| {
    let zone = Zone::load_alone(ZONE).expect("the zone is right");
    let table = DispatchTable::of_zones(vec![zone]).expect("there is one zone");
    Served::new(Arc::new(table), Vec::new())
});

fuzz_target!(|packet: &[u8]| {
    let mut out = vec![0; RESPONSE_BYTES_MAX];
    let asked = Asked {
        packet,
        source: IpAddr::from([192, 0, 2, 1]),
        tcp: false,
        now_s: 1_795_000_000,
    };
    if let Some(reply) = respond(&SERVED, &CookieSecret::new([7; 16]), asked, &mut out) {
        assert!(reply.length <= UDP_BYTES_MAX);
        let message = &out[..reply.length];
        let count = |at: usize| usize::from(u16::from_be_bytes([message[at], message[at + 1]]));
        let records = count(6) + count(8) + count(10);
        assert!(read::records(message, reply.question_end, records).is_some());
    }
});
