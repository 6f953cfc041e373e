//! Integration tests of the DNS core, in one binary.

mod conformance;
mod mutation;
