//! The tests of this crate that need a database or a server.
