//! The agent of one site: the process beside the route server.
//!
//! It is given the desired state as a [`SiteSnapshot`] and does the rest by itself: [`applier`] renders
//! the configuration for the daemon that the document names and brings it there (which goes back by itself when sessions drop),
//! [`labels`] follows the payloads of the document's RTR server, and [`report`] tells what is seen. The
//! looking glass reads the same daemon ([`crate::glass`]).
//!
//! **Architecture invariant**: nothing here knows where snapshots come from or reports go. Without a
//! control plane the last good configuration runs on.

pub mod applier;
pub mod check;
pub mod labels;
pub mod report;
pub mod snapshot;

pub use applier::{Applied, Applier, ApplierOptions, ApplyState};
pub use check::Checker;
pub use report::{SessionReport, SiteReport};
pub use snapshot::{Registered, SiteSnapshot};
