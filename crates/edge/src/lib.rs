//! The edge: an HTTP cache near the users.
//!
//! [`Edge::start`] opens the sockets and the cache and serves until it is stopped.
//! Requests come in over HTTP/1.1 (`h1`) or HTTP/2 (`h2`), are answered by one core
//! (`proxy`) with the rules and the store of crate `cache`, and go to origins
//! (`origin`) when they must. What the control plane wants arrives as snapshots in a
//! `watch` and as quick entries through [`EdgeHandle`]; what happened leaves as events
//! through an [`EventSink`].
//!
//! **Architecture invariant**: nothing here knows a database, a console or a control
//! plane. With `watch` and sink silent, the edge serves on.
//! **Architecture invariant**: a serving thread shares nothing that a hit writes to.

mod date;
mod event;
mod guard;
pub mod h1;
mod h2;
mod handle;
mod metrics;
mod options;
pub mod origin;
mod page;
mod plain;
mod preload;
mod proxy;
mod random;
mod server;
mod sites;
mod stats;
mod tls;
mod watch;
mod worker;

pub use handle::{Edge, EdgeError, EdgeHandle};
pub use options::{EdgeLimits, EdgeOptions};
pub use preload::Progress;
pub use proxy::HEALTH_PATH;
pub use sites::{SnapshotError, check};
pub use stats::{Count, EdgeStats};
pub use tls::TlsError;

/// An error with its causes, in one line.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    runtime::error_chain(error)
}
