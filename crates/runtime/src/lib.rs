//! What every role stands on: configuration, supervised tasks, signals,
//! listeners, readiness, metrics, traces and logs.
//!
//! - [`config`] loads a TOML file into typed sections and says file, line, column
//!   and key of everything wrong in it; it also writes the reference manual.
//! - [`tasks`] owns every background task: each has a name, an owner and an end.
//! - [`ready`], [`metrics`] and [`admin`] tell the outside how the process is.
//! - [`telemetry`] sends logs to stderr and spans to an OpenTelemetry collector.
//! - [`listen`] opens sockets the way servers here want them; [`handover`] gives them
//!   to a successor.
//!
//! **Architecture invariant**: nothing here knows a domain, a table or a role's
//! work; roles hand their tasks and sections in.

pub mod admin;
pub mod config;
pub mod crypto;
pub mod error;
pub mod handover;
pub mod listen;
pub mod metrics;
pub mod ready;
pub mod signals;
pub mod systemd;
pub mod tasks;
pub mod telemetry;

pub use error::{BoxError, error_chain};
pub use tokio_util::sync::CancellationToken;
