//! The suite of the store: the same tests on SQLite and PostgreSQL, blobs on disk
//! and on a real S3-compatible server, crashes and damage.

#[path = "store/audit.rs"]
mod audit;
#[path = "store/blobs.rs"]
mod blobs;
#[path = "store/db.rs"]
mod db;
#[path = "store/kill.rs"]
mod kill;
#[path = "store/malformed.rs"]
mod malformed;
#[path = "store/migrate.rs"]
mod migrate;
#[path = "store/outbox.rs"]
mod outbox;
#[path = "store/vault.rs"]
mod vault;
