//! Master files: any text is a zone, or is refused with places.
#![no_main]

use dns::{Name, Zone, master};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    if let Err(problems) = master::parse(&Name::root(), text) {
        assert!(!problems.is_empty() && problems.len() <= master::PROBLEMS_MAX);
        assert!(problems.iter().all(|problem| problem.line > 0 && problem.column > 0));
    }
    if let Ok(zone) = Zone::load_alone(text) {
        assert!(zone.names() > 0);
    }
});
