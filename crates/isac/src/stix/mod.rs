//! STIX 2.1 (OASIS Standard, 10 June 2021): objects read, checked, compared, their
//! patterns parsed and matched. Pure: bytes in, decisions out.
//!
//! - [`json`]: a reader that keeps where each value stood, so that an object is kept
//!   byte for byte as it was received, because signatures and digests of others stand
//!   over those bytes.
//! - [`check`]: the rules, from the table in `spec.txt`; errors name path and rule.
//! - [`pattern`]: the pattern language; [`matching`]: patterns against observed data;
//!   [`simple`]: what of a pattern can be enforced as it stands.
//! - [`explain`]: patterns in words.
//! - [`time`], [`tlp`]: times and the Traffic Light Protocol 2.0.

pub mod check;
pub mod explain;
mod extra;
pub mod json;
pub mod matching;
pub mod pattern;
pub mod simple;
mod spec;
pub mod time;
pub mod tlp;

pub use check::{Object, Wrong, check};
pub(crate) use extra::{is_domain, is_mac, with_whole_hive};
pub use json::{Node, Value};
pub use tlp::Tlp;
