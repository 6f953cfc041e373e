//! The lake: what happened, kept and asked.
//!
//! Events are written to a [`journal`] on the node where they happen and shipped
//! from there to the lake.
pub mod envelope;
pub mod journal;
