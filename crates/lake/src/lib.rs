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

mod adopt;
mod config;
pub mod envelope;
mod error;
mod files;
mod ingest;
pub mod journal;
mod lake;
mod maintain;
mod manifest;
mod part;
pub mod query;
mod recent;
pub mod rollup;
mod rows;
mod state;
pub mod stats;
mod table;
pub mod testing;

pub use config::{LakeConfig, QueryConfig, RetentionConfig, S3Config};
pub use error::LakeError;
pub use ingest::Ingested;
pub use lake::{Lake, LakeStats};
pub use maintain::Tidied;
pub use query::{QueryOptions, QueryResult, Scope};
pub use table::Table;
