//! Members' documents: any text is a document that renders, or is refused with problems.
#![no_main]

use exchange::document::Document;
use exchange::irr::AllowedByMember;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    for name in ["fuzz.toml", "fuzz.json"] {
        if let Ok(mut document) = Document::parse(name, text) {
            document.policy.irr.enabled = false;
            for site in &document.sites {
                assert!(exchange::render::bird(&document, &site.name, &AllowedByMember::new()).is_ok());
            }
        }
    }
});
