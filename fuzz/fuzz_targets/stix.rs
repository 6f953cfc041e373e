//! STIX: any bytes are an envelope or an error; a pattern or an error; and what an import
//! makes of any text is read back.
#![no_main]

use isac::objects::import::{self, About};
use isac::objects::prepare;
use isac::stix::{Tlp, pattern, simple};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(batch) = prepare::envelope(bytes) {
        for object in &batch.objects {
            assert!(prepare::object(&object.json).is_ok(), "what was good stays good");
        }
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(tree) = pattern::parse(text) {
        drop(simple::extract(&tree));
    }
    let about = About { now: 0, tlp: Tlp::Green, confidence: 50, days: Some(1) };
    if let Ok(list) = import::csv(text, &about) {
        for object in &list.objects {
            assert!(prepare::object(&object.to_string()).is_ok(), "{object}");
        }
    }
    for made in [import::stix1(text, &about), import::openioc(text, &about)].into_iter().flatten() {
        for object in &made.objects {
            assert!(prepare::object(&object.to_string()).is_ok(), "{object}");
        }
    }
    drop(import::misp(text, &about));
    drop(import::stix20(text));
});
