//! SNMP: any octets are a message or an error; a message that was read comes back the
//! same when it is written and read again.
#![no_main]

use exchange::traffic::snmp::message::{Community, Scoped, Secured};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    if let Ok(message) = Community::decode(octets) {
        assert_eq!(Community::decode(&message.encode()), Ok(message));
    }
    if let Ok((message, place)) = Secured::decode(octets) {
        assert_eq!(octets[place], message.code);
        let again = Secured::decode(&message.encode().0);
        assert_eq!(again.map(|(message, _)| message), Ok(message));
    }
    if let Ok(scoped) = Scoped::decode(octets) {
        assert_eq!(Scoped::decode(&scoped.encode()), Ok(scoped));
    }
});
