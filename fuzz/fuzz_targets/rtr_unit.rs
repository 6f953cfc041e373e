//! RTR: any octets are a unit or none, and a unit that is written is read back.
#![no_main]

use exchange::rtr::pdu::{HEADER_BYTES, Header, Pdu};
use libfuzzer_sys::fuzz_target;

fn read(octets: &[u8]) -> Option<(u8, Pdu)> {
    let header = Header::parse(*octets.first_chunk()?).ok()?;
    let body = octets.get(HEADER_BYTES..header.length)?;
    Some((header.version, Pdu::parse(&header, body).ok()?))
}

fuzz_target!(|octets: &[u8]| {
    let Some((version, pdu)) = read(octets) else {
        return;
    };
    // Keys are not kept, and long texts are cut.
    if matches!(pdu, Pdu::RouterKey | Pdu::ErrorReport { .. }) {
        return;
    }
    let mut written = Vec::new();
    pdu.write(version, &mut written);
    assert_eq!(read(&written), Some((version, pdu)));
});
