//! The fabric between the control plane and its nodes.
//!
//! Three things cross it. **Snapshots** go down: whole, versioned, signed, kept on the
//! node's disk, acknowledged ([`Control::publish`], [`node::Link::snapshots`]). **Quick
//! entries** go down at once, in order, without gaps ([`Control::order`],
//! [`node::QuickHandler`]). **Events** go up at least once ([`node::EventSource`],
//! [`EventIngest`]). A node gets its identity by a one-time token ([`token`]) and is
//! known afterwards by its certificate ([`pki`]); the inventory ([`NodeStatus`]) says
//! which node runs what and how far it lags. [`api`] is what they say to each other.
//!
//! Inside the control plane, and between its processes, the [`bus`] offers facts to
//! whoever wants them.
//!
//! **Architecture invariant**: nothing here knows what is in a snapshot or an event.
//! **Architecture invariant**: a node never waits for the control plane in order to
//! serve.

pub mod api;
pub mod bus;
mod config;
pub mod control;
pub mod envelope;
pub mod node;
pub mod pki;
mod tls;
pub mod token;

pub use api::OrderReport;
pub use config::FabricConfig;
pub use control::{
    Change, Control, ControlError, EventIngest, IngestError, MIGRATIONS, NodeState, NodeStatus,
};
