//! The suite of the runtime: what needs a process, a socket or a collector.

#[path = "runtime/admin.rs"]
mod admin;
#[path = "runtime/files.rs"]
mod files;
#[path = "runtime/signals.rs"]
mod signals;
#[path = "runtime/telemetry.rs"]
mod telemetry;
