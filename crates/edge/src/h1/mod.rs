//! HTTP/1.1 (RFC 9112) as a server: strict reading, ready-made writing.
//!
//! [`head`] reads one request head out of a buffer and says how its body is framed;
//! [`chunked`] takes the chunked coding off a body; both are pure. `conn` is the
//! loop that owns a connection.

pub mod chunked;
pub mod head;

pub(crate) mod body;
pub(crate) mod conn;
pub(crate) mod write;
