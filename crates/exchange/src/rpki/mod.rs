//! Route origin validation: which autonomous system may announce which prefix.
//!
//! [`vrp`] holds validated ROA payloads as a table that answers in the depth of the prefix, and the
//! validity of a route with the payloads that decided it (RFC 6811). [`file`] reads them from the JSON
//! that validators write, [`validator`] makes them from the repositories themselves, [`slurm`] applies an operator's exceptions (RFC 8416), and [`service`] keeps a
//! set fresh, hands it to [`crate::rtr`], and answers questions by HTTP ([`http`]) and in the console ([`room`]).

pub mod config;
pub mod file;
pub mod http;
mod pages;
mod picture;
pub mod remote;
pub mod room;
pub mod service;
pub mod slurm;
pub mod validator;
pub mod vrp;

pub use config::RpkiConfig;
pub use vrp::{Asked, Decision, InvalidReason, Validity, Vrp, VrpSet};
