//! Authoritative DNS as a pure core: bytes and time in, bytes out.
//!
//! A [`DispatchTable`] is made from a snapshot (or from plain zones): [`master`]
//! reads zone files, [`zone`] checks them and makes trees of names, [`policy`] knows
//! edges and client networks ([`clients`]), [`ready`] renders what will be asked. With
//! the state of the edges it becomes a [`Served`], from which [`respond()`] answers
//! packets: [`message`] reads the query, [`answer`] finds what is not ready-made,
//! [`writer`] writes it. [`why()`] tells how an answer came about.
//!
//! **Architecture invariant**: no I/O, no clock, no task; nothing is allocated between
//! a packet and its answer.

pub mod answer;
pub mod bytemap;
pub mod clients;
pub mod cookie;
pub mod kind;
pub mod master;
pub mod message;
pub mod name;
pub mod policy;
pub mod read;
pub mod ready;
pub mod respond;
pub mod table;
pub mod why;
pub mod writer;
pub mod zone;

pub use cookie::{CookieSecret, CookieState};
pub use kind::Kind;
pub use name::Name;
pub use policy::EdgeState;
pub use respond::{Asked, Reply, respond};
pub use table::{DispatchTable, Problem, Served};
pub use why::{Why, why};
pub use zone::Zone;
