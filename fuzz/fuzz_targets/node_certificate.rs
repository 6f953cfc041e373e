//! Certificates that strangers show: read as a node's, or refused.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|der: &[u8]| {
    if let Ok(identity) = fabric::pki::identity_of(der) {
        assert!(identity.node.as_str().len() <= 63);
    }
    drop(fabric::pki::pin_of(der));
});
