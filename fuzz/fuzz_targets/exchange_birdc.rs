//! BIRD's answers: any lines are routes and sessions, or are passed over.
#![no_main]

use exchange::engine::birdc::{Routes, Sessions};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let mut routes = Routes::default();
    let mut sessions = Sessions::default();
    for (index, line) in text.lines().enumerate() {
        let code = [1007, 1012, 1002, 1006][index % 4];
        routes.line(code, line);
        sessions.line(code, line);
    }
    routes.finish();
    sessions.finish();
});
