//! Threat intelligence shared among organisations, and what follows from it.
//!
//! - [`stix`]: STIX 2.1 read, checked and matched: pure, no I/O.
//! - [`objects`]: the store of STIX objects, by collection, with a change feed.
//! - [`taxii`]: TAXII 2.1, server and client.
//! - [`mod@enforce`]: from indicators to what edges and name servers refuse.
//!
//! **Architecture invariant**: this crate imports no other domain but casework; what
//! it asks of edges and name servers leaves as an enforcement declared in `base`.

pub mod config;
pub mod enforce;
pub mod objects;
pub mod room;
pub mod stix;
pub mod taxii;

pub use config::IsacConfig;

/// The tables of this crate.
pub const MIGRATIONS: store::Migrations = store::Migrations {
    domain: "isac",
    steps: &[objects::schema::OBJECTS],
};
