//! Request heads: whatever comes in, a head ends where it says and holds nothing that
//! another reader could take for a second one.
#![no_main]

use edge::h1::head::{Target, header_room, read};
use libfuzzer_sys::fuzz_target;

const HEAD_BYTES_MAX: usize = 32 << 10;
const TARGET_BYTES_MAX: usize = 8 << 10;

fuzz_target!(|input: &[u8]| {
    let mut room = header_room();
    let Ok(Some(head)) = read(input, &mut room, HEAD_BYTES_MAX, TARGET_BYTES_MAX) else {
        return;
    };
    assert!(head.length <= input.len() && head.length <= HEAD_BYTES_MAX);
    assert!(input[..head.length].ends_with(b"\r\n\r\n"));
    let (Target::Origin(target) | Target::Absolute(target) | Target::Authority(target)) =
        head.target
    else {
        return;
    };
    assert!(target.len() <= TARGET_BYTES_MAX);
    for text in [head.method, target, head.host] {
        assert!(text.bytes().all(|byte| byte > b' ' && byte != 0x7f));
    }
    for field in head.headers {
        assert!(!field.name.is_empty() && !field.name.contains([' ', ':', '\r', '\n']));
        assert!(
            !field
                .value
                .iter()
                .any(|byte| matches!(byte, b'\r' | b'\n' | 0))
        );
    }
    // Nothing after the head, nor one byte less of it, makes another head.
    let whole = (head.framing, head.keep_alive, head.length);
    let mut room = header_room();
    match read(
        &input[..head.length],
        &mut room,
        HEAD_BYTES_MAX,
        TARGET_BYTES_MAX,
    ) {
        Ok(Some(again)) => assert_eq!((again.framing, again.keep_alive, again.length), whole),
        other => panic!("the head alone is read as {other:?}"),
    }
    let mut room = header_room();
    let short = read(
        &input[..head.length - 1],
        &mut room,
        HEAD_BYTES_MAX,
        TARGET_BYTES_MAX,
    );
    assert!(matches!(short, Ok(None)), "{short:?}");
});
