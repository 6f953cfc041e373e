//! Health: reports with a right HMAC and any content, and any answer to a probe.
#![no_main]

use dispatch::health::{decode, read_health};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(Some(health)) = read_health(bytes) {
        assert!(health.load >= 0.0);
    }
    if let Ok(report) = decode(&[0; 32], bytes) {
        assert!(report.opinions.len() < 1_200);
    }
});
