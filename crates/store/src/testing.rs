//! For test suites, of this crate and of others: databases of both kinds.
//!
//! [`both`] runs a test on SQLite and then on PostgreSQL, each with a fresh
//! database. PostgreSQL is Debian's, started once per test binary in a directory
//! of its own on a Unix socket, and ended by a watchdog when the binary ends,
//! however it ends.

mod server;

use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use base::Clock;
use sqlx::{AssertSqlSafe, Connection as _};
use tempfile::TempDir;

pub use server::PostgresServer;

use crate::config::{BlobsConfig, StoreConfig};
use crate::db::{Backend, Db};
use crate::migrate::Migrations;
use crate::vault::Vault;

/// A fresh database, gone with this value.
#[derive(Debug)]
pub struct TestDb {
    db: Db,
    /// How it was opened, to open it again.
    pub config: StoreConfig,
    directory: TempDir,
}

impl Deref for TestDb {
    type Target = Db;
    fn deref(&self) -> &Db {
        &self.db
    }
}

impl TestDb {
    /// A directory that is gone with this value.
    pub fn dir(&self) -> &std::path::Path {
        self.directory.path()
    }

    /// A vault whose keys are gone with this value.
    pub fn vault(&self) -> Vault {
        Vault::open_file(&self.config.key_file).expect("a fresh key file")
    }

    /// Opens the same database once more, as another process would.
    pub async fn again(&self) -> Db {
        Db::open(&self.config).await.expect("the same database")
    }
}

/// Runs `test` on SQLite and on PostgreSQL, with the tables of `migrations`.
pub async fn both(migrations: &[Migrations], test: impl AsyncFn(TestDb)) {
    for backend in [Backend::Sqlite, Backend::Postgres] {
        eprint_backend(backend);
        test(fresh(backend, migrations).await).await;
    }
}

/// A fresh SQLite database with the tables of `migrations`.
pub async fn sqlite(migrations: &[Migrations]) -> TestDb {
    fresh(Backend::Sqlite, migrations).await
}

/// A fresh PostgreSQL database with the tables of `migrations`.
pub async fn postgres(migrations: &[Migrations]) -> TestDb {
    fresh(Backend::Postgres, migrations).await
}

/// A fresh database of this kind with the tables of `migrations`.
pub async fn fresh(backend: Backend, migrations: &[Migrations]) -> TestDb {
    open(backend, None, migrations).await
}

/// As [`fresh`], by the clock given.
pub async fn fresh_with_clock(
    backend: Backend,
    clock: Arc<dyn Clock>,
    migrations: &[Migrations],
) -> TestDb {
    open(backend, Some(clock), migrations).await
}

async fn open(
    backend: Backend,
    clock: Option<Arc<dyn Clock>>,
    migrations: &[Migrations],
) -> TestDb {
    let directory = tempfile::tempdir().expect("a directory");
    let url = match backend {
        Backend::Sqlite => format!("sqlite:{}", directory.path().join("test.db").display()),
        Backend::Postgres => create_database(PostgresServer::shared()).await,
    };
    let config = config(&url, directory.path());
    let db = match clock {
        Some(clock) => Db::open_with_clock(&config, clock).await,
        None => Db::open(&config).await,
    };
    let db = db.expect("a fresh database");
    db.migrate(migrations).await.expect("its tables");
    TestDb {
        db,
        config,
        directory,
    }
}

/// A configuration with everything but the database in `directory`.
pub fn config(url: &str, directory: &std::path::Path) -> StoreConfig {
    StoreConfig {
        url: url.to_owned(),
        connections: 4,
        wait_ms: 30_000,
        key_file: directory.join("keys.toml"),
        audit_anchor_file: directory.join("anchors.jsonl"),
        blobs: BlobsConfig {
            dir: directory.join("blobs"),
            ..BlobsConfig::default()
        },
    }
}

/// Creates a database on `server`; returns its address.
pub async fn create_database(server: &PostgresServer) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let name = format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed));
    sqlx::any::install_default_drivers();
    let mut connection = sqlx::AnyConnection::connect(&server.url("postgres"))
        .await
        .expect("the test server answers");
    sqlx::raw_sql(AssertSqlSafe(format!("CREATE DATABASE {name}")))
        .execute(&mut connection)
        .await
        .expect("a new database");
    connection.close().await.expect("closed");
    server.url(&name)
}

/// The path of `program` among the test peers from PyPI.
///
/// # Panics
/// When it is not installed.
pub fn peer(program: &str) -> PathBuf {
    let cache = std::env::var_os("CIVICNET_CACHE").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache/civicnet"),
        PathBuf::from,
    );
    let path = cache.join("venv/bin").join(program);
    assert!(
        path.exists(),
        "this test needs {program} at {}: install the test peers (scripts/install test)",
        path.display()
    );
    path
}

#[expect(clippy::print_stderr, reason = "shown with a failing test")]
fn eprint_backend(backend: Backend) {
    eprintln!("--- on {backend:?}");
}
