//! The lake: what happened, kept and asked.
//!
//! Events are appended to a [`journal`] on the node where they happen, shipped from
//! there in their [`envelope`], and taken by the [`Lake`]: made durable in a
//! journal of its own, visible to queries at once, written as Parquet files by
//! table and hour, merged, aged, deleted. [`query`] answers SQL over all of it,
//! [`stats`] answers what dashboards ask, over roll-ups that are kept as events
//! come in.
//!
//! ```text
//!  node:  offer ─► journal ─► reader ─► (fabric) ─► Lake::ingest
//!  lake:  ingest ─► journal, sync ─► memory + roll-ups ─► Parquet ─► merged ─► gone
//!                                        └────── query, stats ──────┘
//! ```
//!
//! The files are plain Parquet under `tables/<table>/date=…/hour=…/`, which other
//! engines read as they are. Partitions are in UTC.
//!
//! **Architecture invariant**: the lake knows no domain's tables and no network.
//! Who may ask what is decided by the caller, who says so by [`query::Scope`].

#[cfg(feature = "sql")]
mod adopt;
#[cfg(feature = "sql")]
mod config;
pub mod envelope;
#[cfg(feature = "sql")]
mod error;
#[cfg(feature = "sql")]
mod files;
#[cfg(feature = "sql")]
mod ingest;
pub mod journal;
#[cfg(feature = "sql")]
mod lake;
#[cfg(feature = "sql")]
mod maintain;
#[cfg(feature = "sql")]
mod manifest;
#[cfg(feature = "sql")]
mod part;
#[cfg(feature = "sql")]
mod ports;
#[cfg(feature = "sql")]
pub mod query;
#[cfg(feature = "sql")]
mod recent;
#[cfg(feature = "sql")]
pub mod rollup;
#[cfg(feature = "sql")]
mod rows;
#[cfg(feature = "sql")]
mod state;
#[cfg(feature = "sql")]
pub mod stats;
#[cfg(feature = "sql")]
mod table;
pub mod testing;

#[cfg(feature = "sql")]
pub use config::{LakeConfig, QueryConfig, RetentionConfig, S3Config};
#[cfg(feature = "sql")]
pub use error::LakeError;
#[cfg(feature = "sql")]
pub use ingest::Ingested;
#[cfg(feature = "sql")]
pub use lake::{Lake, LakeStats};
#[cfg(feature = "sql")]
pub use maintain::Tidied;
#[cfg(feature = "sql")]
pub use query::{QueryOptions, QueryResult, Scope};
#[cfg(feature = "sql")]
pub use table::Table;
