//! Everything that the program does and then ends.

pub(crate) mod audit;
pub(crate) mod config;
pub(crate) mod control;
pub(crate) mod drill;
pub(crate) mod enforce;
pub(crate) mod exchange;
pub(crate) mod exchange_export;
pub(crate) mod handover;
pub(crate) mod health;
pub(crate) mod keys;
pub(crate) mod node;
pub(crate) mod query;
pub(crate) mod reload;
pub(crate) mod route_server;
pub(crate) mod sandbox;
pub(crate) mod stix;
pub(crate) mod switch;
pub(crate) mod traffic;
pub(crate) mod user;
