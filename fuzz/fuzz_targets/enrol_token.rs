//! Enrolment tokens: any text is a token or an error, and a token writes itself as it
//! was read.
#![no_main]

use fabric::token::{EnrolToken, hash_of_secret_text};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(token) = text.parse::<EnrolToken>() {
        assert_eq!(token.to_string(), text.trim());
        assert_eq!(hash_of_secret_text(&token.secret_text()), Some(token.secret_hash()));
    }
});
