//! Journal segments and event batches: any bytes are whole records or damage, a
//! batch or an error, and a batch encodes to one that reads the same.
#![no_main]

use lake::{envelope, journal};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut batches = vec![bytes];
    batches.extend(journal::scan(bytes).into_iter().map(|(_, payload)| payload));
    for bytes in batches {
        if let Ok(batch) = envelope::decode(bytes) {
            let mut again = Vec::new();
            envelope::encode(&batch, &mut again).expect("what was decoded fits");
            assert_eq!(envelope::decode(&again).expect("ours"), batch);
        }
    }
});
