//! HTTP dates: any octets are a date or none, and a date that is written is read back.
#![no_main]

use base::Timestamp;
use cache::rules::date;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    let now = Timestamp::from_seconds(1_795_000_000);
    if let Some(seconds) = date::parse(octets, now)
        && (0..=253_402_300_799).contains(&seconds)
    {
        let written = date::format(Timestamp::from_seconds(seconds));
        assert_eq!(date::parse(&written, now), Some(seconds));
    }
});
