//! Everything that crosses the fabric, over real TLS on loopback.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on must stop")]
#![expect(clippy::print_stdout, reason = "a parent process waits for a line")]
#![expect(clippy::print_stderr, reason = "measurements are for people")]

mod bus;
mod enrolment;
mod events;
mod fake;
mod hostile;
mod kill;
mod quick;
mod snapshots;
mod world;
