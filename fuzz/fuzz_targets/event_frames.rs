//! Frames of shipped events: every byte of a body that is accepted is in a frame.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    if let Ok(frames) = fabric::api::split_frames(Bytes::copy_from_slice(body)) {
        let bytes: usize = frames.iter().map(|(_, batch)| batch.len() + 12).sum();
        assert_eq!(bytes, body.len());
    }
});
