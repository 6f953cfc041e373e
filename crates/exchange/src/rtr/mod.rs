//! The RPKI to Router protocol, versions 1 (RFC 8210) and 0 (RFC 6810), over TCP and TLS.
//!
//! [`pdu`] is the wire format, pure. [`cache`] is what a server remembers: the set, its serial number and
//! the changes that led to it; it survives a restart, and takes a new session id whenever it cannot
//! vouch for what its serial numbers meant. [`server`] talks to routers, [`client`] to another cache.
//! Router keys (BGPsec) are neither served nor kept.

pub mod cache;
pub mod client;
pub mod pdu;
pub mod server;
pub mod tls;
