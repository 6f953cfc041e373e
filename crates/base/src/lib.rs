//! The vocabulary that every room of the house shares.
//!
//! `base` holds typed ids, the clock, address prefixes, the roles, and the three
//! things that cross from one domain to another: **snapshots** (desired state,
//! going down), **quick entries** (purge, preload, enforce, lift; going down at once) and
//! **events** (facts, going up). It does no I/O and knows no domain's tables.
//!
//! **Architecture invariant**: `base` depends on no other crate of the workspace.

pub mod clock;
pub mod delivery;
pub mod enforcement;
pub mod event;
pub mod id;
pub mod net;
pub mod quick;
pub mod role;

pub use clock::{Clock, ManualClock, SystemClock, Timestamp};
pub use id::{CaseId, EnforcementId, MemberId, NodeName, OrgId, PortId, SiteId, UserId};
pub use net::Prefix;
pub use role::Role;
