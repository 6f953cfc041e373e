//! Configuration files: any text gives a configuration or a list of problems.
#![no_main]

use libfuzzer_sys::fuzz_target;
use runtime::config::{ConfigError, NoEnv, parse};
use store::StoreConfig;

fuzz_target!(|text: &str| {
    match parse::<StoreConfig>("fuzz.toml", text, &NoEnv) {
        Err(ConfigError::Invalid(problems)) => assert!(!problems.is_empty()),
        Err(other) => panic!("{other}"),
        Ok(_) => {}
    }
});
