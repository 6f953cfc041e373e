//! Snapshot envelopes: nothing verifies that was not signed, and nothing that does not
//! fit its header is taken for whole.
#![no_main]

use base::Role;
use fabric::envelope::{Envelope, PublicKey, sha256_hex};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(envelope) = Envelope::parse(bytes) else {
        return;
    };
    // RFC 8032 section 7.1, test 1. Not all zeros: that is a point of small order, for
    // which a signature of zeros holds.
    let key = PublicKey::from_text("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo").expect("32 bytes");
    assert!(envelope.verify(&key, Role::Edge, 0).is_err());
    if let Ok((header, payload)) = envelope.checked_content(Role::Edge) {
        assert_eq!(header.sha256, sha256_hex(payload));
        assert_eq!(header.size, payload.len() as u64);
    }
});
