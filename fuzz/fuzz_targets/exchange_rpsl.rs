//! Registries' dumps: any bytes are objects, or are passed over.
#![no_main]

use exchange::irr::{self, ASNS_MAX, rpsl::Files};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut files = Files::default();
    if files.read_bytes("FUZZ", bytes).is_ok()
        && let Ok(allowed) = irr::allowed(&mut files, "AS-A", false, &[])
    {
        assert!(allowed.asns.len() <= ASNS_MAX);
    }
});
