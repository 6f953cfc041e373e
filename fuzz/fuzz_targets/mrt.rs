//! MRT: any octets are records, wrong records, or an end; never a panic, and never more than they hold.
#![no_main]

use exchange::mrt::{Reader, read_all};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    let mut events = 0usize;
    let mut reader = Reader::new(octets);
    read_all(&mut reader, &mut |_| events += 1).ok();
    assert!(events <= octets.len());
    assert!(reader.bytes() <= octets.len() as u64);
});
