//! sFlow: any octets are a datagram or an error, and never more samples than octets;
//! any octets are the head of a frame or too few.
#![no_main]

use exchange::traffic::sflow::datagram::Datagram;
use exchange::traffic::sflow::packet::Packet;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    assert_eq!(Packet::decode(octets).is_some(), octets.len() >= 14);
    if let Ok(datagram) = Datagram::decode(octets) {
        assert!((datagram.flows.len() + datagram.counters.len()) * 8 <= octets.len());
        for header in datagram.flows.iter().filter_map(|flow| flow.header.as_ref()) {
            Packet::decode(&header.bytes);
        }
    }
});
