//! Everything that crosses the fabric, over real TLS on loopback.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on must stop")]

mod bus;
mod enrolment;
mod events;
mod fake;
mod hostile;
mod kill;
mod quick;
mod snapshots;
mod world;
