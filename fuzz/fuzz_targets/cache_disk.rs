//! What is read from a cache directory: any octets are records or none.
#![no_main]

use cache::store::parsers;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    parsers::segment(octets);
    parsers::list(octets);
    parsers::about(octets);
    parsers::purge_log(octets);
});
