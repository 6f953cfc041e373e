//! Cursors of the list of payloads, reports, locators of trust anchors: any octets are one or are refused, and a
//! cursor that is written is read back.
#![no_main]

use exchange::rpki::remote;
use exchange::rpki::room::parse_cursor;
use exchange::rpki::validator::tals;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    tals::check(octets).ok();
    remote::parse(octets).ok();
    if let Ok(text) = std::str::from_utf8(octets)
        && let Ok(vrp) = parse_cursor(text)
    {
        let written = format!("{}-{}-{}", vrp.prefix, vrp.max_length, vrp.asn);
        assert_eq!(parse_cursor(&written).expect("own text"), vrp);
    }
});
