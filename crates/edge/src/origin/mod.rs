//! Origins: which one a request goes to, and how it gets there.
//!
//! [`pool`] holds a site's origins and what is known of their health; `client` keeps
//! connections to them, one set for each worker; `health` probes them.

pub mod pool;

pub(crate) mod body;
pub(crate) mod client;
pub(crate) mod health;
