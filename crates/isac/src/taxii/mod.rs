//! TAXII 2.1 (OASIS Standard, 10 June 2021): the server that offers collections, the
//! client that fills them.
//!
//! The server has a listener of its own, apart from the console's: other machines
//! speak to it, errors are TAXII's own documents, and a flood there leaves people's
//! pages alone. Tokens and the permission table are the console's.
//!
//! - [`server`]: requests, in the order in which the standard lets them fail.
//! - [`routes`]: the table of resources and the action that guards each.
//! - [`auth`]: tokens, by `Bearer`, `Token` or as the password of `Basic`; tokens of an
//!   OpenID provider ([`jwt`], [`oidc`]) and client certificates ([`tls`]), which
//!   [`proofs`] tie to a person and an organisation.
//! - [`peer`]: the client: polls and pushes by schedule, under a policy.
//! - `shown`: pages as members see them, through the sharing policy.
//! - [`media`], [`query`], [`answer`]: media types, filters, resources.

pub mod answer;
pub mod auth;
pub mod config;
pub mod error;
pub mod intake;
pub mod jwt;
pub mod media;
pub mod oidc;
pub mod peer;
pub mod proofs;
pub mod query;
pub mod routes;
pub mod server;
mod shown;
pub mod tls;

pub use config::TaxiiConfig;
pub use error::TaxiiError;
pub use peer::{Direction, Peer, PeerConfig};
pub use server::Taxii;
