//! The control plane's memory: one data layer on SQLite and PostgreSQL, with what
//! every domain needs around it.
//!
//! - [`Db`] opens the database, [`Db::pool`] reads, [`Db::begin`] writes: one
//!   writer at a time on both databases, so that a transaction may read, decide
//!   and write without thinking of others.
//! - [`Migrations`] are forward-only steps that each domain declares.
//! - [`Tx::audit`] records who did what, in the same transaction, in a hash chain
//!   that [`audit::verify`] checks.
//! - [`Tx::outbox`] promises a message in the same transaction; [`outbox::Relay`]
//!   keeps the promise.
//! - [`Vault`] encrypts fields; [`Blobs`] keep files, on disk or S3, encrypted on
//!   request.
//! - [`Page`] and [`Cursor`] page through lists by key.
//!
//! SQL is written once for both databases: columns are `BIGINT`, `TEXT` or
//! `{blob}`; booleans are `BIGINT` 0 and 1; times are `BIGINT` microseconds;
//! placeholders are `$1`, `$2` … . A sum must be `CAST(sum(x) AS BIGINT)`, because
//! PostgreSQL widens it to a type that the data layer does not carry; text that
//! must sort alike on both databases must be ASCII.
//!
//! **Architecture invariant**: no domain's table is known here.

pub mod audit;
pub mod blobs;
mod config;
mod db;
mod error;
pub mod migrate;
pub mod outbox;
pub mod page;
#[doc(hidden)]
pub mod testing;
mod tx;
pub mod vault;

pub use audit::{Actor, AuditEntry};
pub use blobs::{BlobKey, Blobs};
pub use config::{BlobsConfig, StoreConfig};
pub use db::{Backend, Db};
pub use error::StoreError;
pub use migrate::{MigrateError, Migrations, Step};
pub use page::{Cursor, Page, PageRequest};
pub use tx::Tx;
pub use vault::Vault;
