//! The whole console, with every room that the binary joins.

#[path = "all/walk.rs"]
mod walk;
