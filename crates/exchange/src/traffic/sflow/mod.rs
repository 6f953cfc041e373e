//! sFlow version 5 (sFlow.org, July 2004): samples of packets and of counters that
//! switches send by UDP.
//!
//! [`datagram`] reads what arrives, [`packet`] the first octets of a sampled frame;
//! both are pure and take hostile bytes. [`matrix`] counts who sends to whom,
//! [`collector`] owns the socket.

pub mod collector;
pub mod datagram;
pub mod matrix;
pub mod packet;
