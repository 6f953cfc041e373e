//! A small country on one machine, without root.
//!
//! [`country`] says what exists: three exchange sites, the networks and their
//! users' prefixes inside 127/8 (one prefix a network, so that a program bound to
//! one of its addresses is that network's user). [`origin`] makes and serves the
//! public sites' content; [`traffic`] is their users, bounded and switchable.
//!
//! **Architecture invariant**: the sandbox uses the house's public doors only (DNS,
//! HTTP): nothing in the house knows that it is being played with.

pub mod content;
pub mod country;
pub mod origin;
pub mod traffic;
