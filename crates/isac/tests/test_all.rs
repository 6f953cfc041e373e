//! The tests of this crate that need a database or a server.

#[path = "it/objects.rs"]
mod objects;
#[path = "it/peers.rs"]
mod peers;
#[path = "it/server.rs"]
mod server;
