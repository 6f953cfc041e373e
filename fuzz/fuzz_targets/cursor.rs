//! Page cursors: any text is a key or an error, and a key encodes to a cursor.
#![no_main]

use libfuzzer_sys::fuzz_target;
use store::Cursor;

fuzz_target!(|text: &str| {
    if let Ok(key) = Cursor::decode::<(i64, String)>("list", text) {
        let again = Cursor::encode("list", &key).expect("what was decoded is short");
        assert_eq!(Cursor::decode::<(i64, String)>("list", &again).expect("ours"), key);
    }
});
