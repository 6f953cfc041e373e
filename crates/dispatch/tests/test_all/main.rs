//! Integration tests of the dispatch server, in one binary.

mod client;
mod differential;
mod health;
mod peers;
mod policy;
mod tools;
mod transport;
