//! SNMP as a manager speaks it: versions 2c (RFC 3416) and 3 (RFC 3412) with the
//! user-based security model (RFC 3414; AES by RFC 3826, SHA-2 by RFC 7860), and the
//! tables of interfaces that it is here for (IF-MIB, RFC 2863).
//!
//! [`ber`], [`message`] and [`usm`] are pure and take hostile bytes; [`client`] owns
//! the socket and the time; [`interfaces`] knows the columns. Only reading: nothing
//! here can encode a `SetRequest`.

pub mod ber;
pub mod client;
pub mod interfaces;
pub mod message;
pub mod oid;
pub mod usm;

pub use client::{Client, Credentials, SnmpError, Timing};
pub use interfaces::{Interface, Reading};
pub use oid::Oid;
