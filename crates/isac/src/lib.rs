//! Threat intelligence shared among organisations, and what follows from it.
//!
//! - [`stix`]: STIX 2.1 read, checked and matched: pure, no I/O.
//! - [`objects`]: the store of STIX objects, by collection, with a change feed.
//! - [`taxii`]: TAXII 2.1, server and client.
//! - [`mod@enforce`]: from indicators to what edges and name servers refuse.
//! - [`cert`]: the handle on which reports, alerts, lights and the public site stand.
//! - [`report`]: incident reports with statutory clocks.
//! - [`alert`]: alerts, reviewed, sent by sector and asset, answered and chased.
//! - [`handover`]: an incident handed to another CERT, signed, and taken over.
//! - [`kinds`]: ANA, EWA, DEF, INT and FBI to and from STIX 2.1.
//! - [`share`]: what may go up and down, by whose consent, under whose name.
//! - [`light`]: threat lights that explain themselves.
//! - [`site`]: the public site and citizens' reports.
//!
//! **Architecture invariant**: this crate imports no other domain but casework; what
//! it asks of edges and name servers leaves as an enforcement declared in `base`.

pub mod alert;
pub mod cert;
pub mod config;
pub mod enforce;
pub mod handover;
pub mod kinds;
pub mod light;
pub mod objects;
pub mod report;
pub mod room;
pub mod share;
pub mod site;
pub mod stix;
pub mod taxii;

pub use cert::{Cert, CertError};
pub use config::IsacConfig;

/// The tables of this crate.
pub const MIGRATIONS: store::Migrations = store::Migrations {
    domain: "isac",
    steps: &[
        objects::schema::OBJECTS,
        objects::schema::SEARCH,
        objects::schema::HELD,
        objects::schema::RARE,
        objects::schema::OWN,
    ],
};
