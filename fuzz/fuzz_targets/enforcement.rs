//! Enforcement: any text is a target with one canonical form or an error; any bytes are a log
//! whose good beginning is read; a set of targets answers whatever it is asked.
#![no_main]

use base::enforcement::{Action, Rule, Target};
use base::EnforcementId;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let (records, end) = enforce::log::read(bytes);
    assert!(end <= bytes.len() && records.len() <= bytes.len());
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let mut rules = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let Ok(target) = line.parse::<Target>() else { continue };
        assert_eq!(target.to_string().parse::<Target>().as_ref(), Ok(&target), "one canonical form");
        let id = EnforcementId(uuid::Uuid::from_u128(number as u128));
        rules.push(Rule { id, target, action: Action::Refuse, until: None });
    }
    let Ok(set) = enforce::Set::build(rules.iter()) else { return };
    for rule in &rules {
        let met = match &rule.target {
            Target::Network(prefix) => set.client(prefix.address(), |_, _| true).is_some(),
            Target::Domain { name, .. } => set.name(name.as_bytes(), |_, _| true).is_some(),
            Target::Url(url) => set.url(url.as_bytes(), |_, _| true).is_some(),
            Target::File { .. } => true,
        };
        assert!(met, "{}", rule.target);
    }
});
