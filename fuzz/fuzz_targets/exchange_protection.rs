//! What forms and programs ask to be discarded: a rule with its sentence and its one line for BIRD, or problems.
#![no_main]

use exchange::document::Protection;
use exchange::protect::asked::Asked;
use exchange::protect::dry::bird_form;
use exchange::protect::words::sentence;
use libfuzzer_sys::fuzz_target;

fn look(rule: &Protection) {
    rule.problems();
    sentence(rule);
    assert!(!bird_form(rule).contains('\n'));
}

fuzz_target!(|text: &str| {
    if let Ok(rule) = serde_json::from_str::<Protection>(text) {
        look(&rule);
    }
    if let Ok(asked) = serde_json::from_str::<Asked>(text)
        && let Ok(new) = asked.read("api")
    {
        look(&Protection {
            id: "r".into(),
            asn: Some(new.asn),
            destination: Some(new.destination),
            sites: new.sites,
            flow: new.flow,
        });
    }
});
