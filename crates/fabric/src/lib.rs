//! The fabric between the control plane and its nodes.
pub mod api;
pub mod envelope;
pub mod node;
pub mod pki;
mod tls;
pub mod token;
