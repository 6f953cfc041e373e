//! The chunked coding: the content is the same however the bytes are cut.
#![no_main]

use edge::h1::chunked::{Decoder, Malformed, Step};
use libfuzzer_sys::fuzz_target;

/// The content, and where the body ended if it did.
fn decode(input: &[u8], cut: usize) -> Result<(Vec<u8>, Option<usize>), Malformed> {
    let mut decoder = Decoder::default();
    let mut content = Vec::new();
    let mut base = 0;
    for piece in input.chunks(cut) {
        let mut at = 0;
        while at < piece.len() {
            match decoder.step(&piece[at..])? {
                Step::Data { from, length } => {
                    content.extend_from_slice(&piece[at + from..at + from + length]);
                    at += from + length;
                }
                Step::More => at = piece.len(),
                Step::End { consumed } => {
                    assert!(decoder.is_done());
                    return Ok((content, Some(base + at + consumed)));
                }
            }
        }
        base += piece.len();
    }
    Ok((content, None))
}

fuzz_target!(|input: &[u8]| {
    let Some((&cut, body)) = input.split_first() else {
        return;
    };
    let whole = decode(body, body.len().max(1));
    assert_eq!(whole, decode(body, usize::from(cut).max(1)));
    assert_eq!(whole, decode(body, 1));
    if let Ok((content, Some(end))) = whole {
        assert!(content.len() < end && end <= body.len());
        assert_eq!(decode(&body[..end], 1), Ok((content, Some(end))));
        assert!(matches!(decode(&body[..end - 1], 1), Ok((_, None))));
    }
});
