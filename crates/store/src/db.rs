//! Opening the database, reading from it and beginning to write.
//!
//! Readers and writers have pools of their own. A reading connection refuses to
//! write, so that no change escapes the one-writer rule. Writers take turns: on
//! SQLite there is one writing connection, on PostgreSQL every writing transaction
//! takes one advisory lock first. The control plane writes little; that a
//! transaction may read, decide and write as if alone is worth more than parallel
//! writers.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base::{Clock, SystemClock};
use runtime::metrics::Metrics;
use runtime::metrics::prometheus_client::collector::Collector;
use runtime::metrics::prometheus_client::encoding::DescriptorEncoder;
use runtime::metrics::prometheus_client::metrics::MetricType;
use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::{AnyPool, AssertSqlSafe, ConnectOptions as _, Connection as _};
use tokio::sync::Notify;

use crate::config::StoreConfig;
use crate::error::StoreError;
use crate::migrate::{self, Applied, MigrateError, Migrations};
use crate::tx::Tx;

/// Key of the advisory lock that PostgreSQL writers take: "civicnet" in ASCII.
const WRITER_LOCK: i64 = 0x6369_7669_636e_6574;

/// How long one reading statement may take on PostgreSQL.
const READ_MAX: Duration = Duration::from_secs(60);

/// Which engine holds the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// SQLite, write-ahead log.
    Sqlite,
    /// PostgreSQL 15 or newer.
    Postgres,
}

/// The control database. Cheap to clone; clones share the connections.
#[derive(Clone)]
pub struct Db {
    inner: Arc<Inner>,
}

struct Inner {
    backend: Backend,
    readers: AnyPool,
    writers: AnyPool,
    clock: Arc<dyn Clock>,
    outbox_filled: Arc<Notify>,
}

impl std::fmt::Debug for Db {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Db").field(&self.inner.backend).finish()
    }
}

pub(crate) fn backend_of(url: &str) -> Option<Backend> {
    if url
        .strip_prefix("sqlite:")
        .is_some_and(|path| !path.is_empty() && !path.contains([':', '\0']) && path != "//")
    {
        Some(Backend::Sqlite)
    } else if url.starts_with("postgres://") || url.starts_with("postgresql://") {
        Some(Backend::Postgres)
    } else {
        None
    }
}

impl Db {
    /// Opens the database that `config` names; a SQLite file and its directory are
    /// created if absent.
    ///
    /// # Errors
    /// When the address is no good, the database cannot be reached, or the file is
    /// no database.
    pub async fn open(config: &StoreConfig) -> Result<Self, StoreError> {
        Self::open_with_clock(config, Arc::new(SystemClock)).await
    }

    /// As [`Db::open`], by another clock.
    ///
    /// # Errors
    /// As [`Db::open`].
    pub async fn open_with_clock(
        config: &StoreConfig,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StoreError> {
        sqlx::any::install_default_drivers();
        let wait = Duration::from_millis(config.wait_ms);
        let (backend, readers, writers) = match backend_of(&config.url) {
            Some(Backend::Sqlite) => {
                let (readers, writers) = open_sqlite(config, wait).await?;
                (Backend::Sqlite, readers, writers)
            }
            Some(Backend::Postgres) => {
                let (readers, writers) = open_postgres(config, wait).await?;
                (Backend::Postgres, readers, writers)
            }
            None => {
                // The address may hold a password: name its scheme only.
                let scheme = config.url.split(':').next().unwrap_or_default();
                return Err(StoreError::Invalid(format!(
                    "store.url begins with {scheme:?}: must begin with sqlite: and a path, or with postgres://"
                )));
            }
        };
        Ok(Self {
            inner: Arc::new(Inner {
                backend,
                readers,
                writers,
                clock,
                outbox_filled: Arc::new(Notify::new()),
            }),
        })
    }

    /// Connections for reading; they refuse to write. Each statement sees what was
    /// committed before it.
    pub fn pool(&self) -> &AnyPool {
        &self.inner.readers
    }

    /// Begins to write, when it is this writer's turn. Dropping the transaction
    /// undoes it. Do not begin a second one while holding one: it would wait for
    /// the first until it gives up.
    ///
    /// # Errors
    /// [`StoreError::Busy`] after the configured wait, or when the database cannot
    /// be reached.
    pub async fn begin(&self) -> Result<Tx, StoreError> {
        let mut transaction = match self.inner.backend {
            Backend::Sqlite => self.inner.writers.begin_with("BEGIN IMMEDIATE").await?,
            Backend::Postgres => self.inner.writers.begin().await?,
        };
        if self.inner.backend == Backend::Postgres {
            sqlx::query("SELECT pg_advisory_xact_lock($1)")
                .bind(WRITER_LOCK)
                .execute(&mut *transaction)
                .await?;
        }
        Ok(Tx::new(transaction, self.clone()))
    }

    /// Brings the tables of the store itself and of `domains` up to date. Safe when
    /// several processes start at once.
    ///
    /// # Errors
    /// When a past step was changed or removed, when the database is newer than
    /// this program, or when a step fails; nothing of that step remains.
    pub async fn migrate(&self, domains: &[Migrations]) -> Result<Applied, MigrateError> {
        migrate::migrate(self, domains).await
    }

    /// Which engine this is.
    pub fn backend(&self) -> Backend {
        self.inner.backend
    }

    /// The clock that stamps rows.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.inner.clock
    }

    pub(crate) fn outbox_filled(&self) -> &Notify {
        &self.inner.outbox_filled
    }

    /// Shows how many connections are open and idle.
    pub fn register_metrics(&self, metrics: &Metrics) {
        let pools = Pools(self.clone());
        metrics.with(|registry| registry.register_collector(Box::new(pools)));
    }

    /// Asks the database for a sign of life.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn ping(&self) -> Result<(), StoreError> {
        let (_one,): (i64,) = sqlx::query_as("SELECT CAST(1 AS BIGINT)")
            .fetch_one(self.pool())
            .await?;
        Ok(())
    }

    /// Closes all connections, after the statements under way.
    pub async fn close(&self) {
        self.inner.readers.close().await;
        self.inner.writers.close().await;
    }

    /// Writes a consistent copy of a SQLite database to `path`, while others read
    /// and write. The copy is complete on disk when this returns.
    ///
    /// # Errors
    /// On PostgreSQL (use `pg_dump`), when `path` exists, or when it cannot be written.
    pub async fn backup_to(&self, path: &Path) -> Result<(), StoreError> {
        if self.inner.backend != Backend::Sqlite {
            return Err(StoreError::Invalid(
                "this backup is for SQLite: use pg_dump for PostgreSQL".to_owned(),
            ));
        }
        if path.exists() {
            return Err(StoreError::conflict(format!(
                "{} exists already",
                path.display()
            )));
        }
        let Some(text) = path.to_str() else {
            return Err(StoreError::Invalid(format!(
                "the backup's path {} must be Unicode",
                path.display()
            )));
        };
        // VACUUM INTO writes a file, which a reading connection refuses.
        let mut connection = self.inner.writers.acquire().await?;
        sqlx::query("VACUUM INTO $1")
            .bind(text)
            .execute(&mut *connection)
            .await?;
        let synced = std::fs::File::open(path).and_then(|file| file.sync_all());
        synced.map_err(|source| StoreError::Io {
            what: format!("cannot make the backup {} durable", path.display()),
            source,
        })
    }
}

/// Reads the pools at each scrape.
#[derive(Debug)]
struct Pools(Db);

impl Collector for Pools {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let mut gauges = encoder.encode_descriptor(
            "civicnet_store_connections",
            "Connections to the control database",
            None,
            MetricType::Gauge,
        )?;
        let pools = [
            ("read", &self.0.inner.readers),
            ("write", &self.0.inner.writers),
        ];
        for (purpose, pool) in pools {
            let idle = u32::try_from(pool.num_idle()).unwrap_or(u32::MAX);
            let busy = pool.size().saturating_sub(idle);
            for (state, count) in [("idle", idle), ("busy", busy)] {
                let labels = [("pool", purpose), ("state", state)];
                gauges
                    .encode_family(&labels)?
                    .encode_gauge(&i64::from(count))?;
            }
        }
        Ok(())
    }
}

async fn open_sqlite(
    config: &StoreConfig,
    wait: Duration,
) -> Result<(AnyPool, AnyPool), StoreError> {
    let path = config.url.trim_start_matches("sqlite:");
    let path = PathBuf::from(path.strip_prefix("//").unwrap_or(path));
    let path = std::path::absolute(&path).map_err(|source| StoreError::Io {
        what: format!("cannot resolve the database path {}", path.display()),
        source,
    })?;
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory).map_err(|source| StoreError::Io {
            what: format!(
                "cannot create the database directory {}",
                directory.display()
            ),
            source,
        })?;
    }
    let options = connect_options(&sqlite_url(&path)?)?;
    let pragmas = |read_only: bool| {
        format!(
            "PRAGMA busy_timeout = {}; PRAGMA foreign_keys = ON; PRAGMA synchronous = FULL; \
             PRAGMA query_only = {};",
            wait.as_millis(),
            if read_only { "ON" } else { "OFF" }
        )
    };
    // The journal mode is a property of the file; one connection sets it before
    // others come.
    let mut first = options.connect().await?;
    sqlx::raw_sql(AssertSqlSafe(pragmas(false)))
        .execute(&mut first)
        .await?;
    let mode: String = sqlx::query_scalar("PRAGMA journal_mode = WAL")
        .fetch_one(&mut first)
        .await?;
    if mode != "wal" {
        return Err(StoreError::Invalid(format!(
            "{} keeps journal mode {mode:?}: its file system must support WAL",
            path.display()
        )));
    }
    first.close().await?;
    restrict(&path)?;
    let pool = |read_only: bool, connections: u32| {
        let pragmas: Arc<str> = pragmas(read_only).into();
        AnyPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(wait)
            .idle_timeout(None)
            .max_lifetime(None)
            .test_before_acquire(false)
            .after_connect(move |connection, _| {
                let pragmas = pragmas.clone();
                Box::pin(async move {
                    sqlx::raw_sql(AssertSqlSafe(pragmas))
                        .execute(connection)
                        .await
                        .map(|_| ())
                })
            })
            // On a full disk SQLite ends a transaction by itself, which the driver
            // does not notice: such a connection could never begin another one.
            .after_release(|connection, _| {
                Box::pin(async move {
                    connection.ping().await?;
                    Ok(!connection.is_in_transaction())
                })
            })
            .connect_lazy_with(options.clone())
    };
    Ok((pool(true, config.connections), pool(false, 1)))
}

/// The database holds what tenants may not see of each other: owner only.
fn restrict(path: &Path) -> Result<(), StoreError> {
    use std::os::unix::fs::PermissionsExt as _;
    let owner_only = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(path, owner_only).map_err(|source| StoreError::Io {
        what: format!("cannot restrict {} to its owner", path.display()),
        source,
    })
}

fn sqlite_url(path: &Path) -> Result<String, StoreError> {
    let Some(text) = path.to_str() else {
        return Err(StoreError::Invalid(format!(
            "the database path {} must be Unicode",
            path.display()
        )));
    };
    let mut url = "sqlite://".to_owned();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"/._-".contains(&byte) {
            url.push(char::from(byte));
        } else {
            url.push_str(&format!("%{byte:02X}"));
        }
    }
    url.push_str("?mode=rwc");
    Ok(url)
}

async fn open_postgres(
    config: &StoreConfig,
    wait: Duration,
) -> Result<(AnyPool, AnyPool), StoreError> {
    runtime::crypto::install_provider();
    let options = connect_options(&config.url)?;
    let pool = |read_only: bool| {
        let setup: Arc<str> = format!(
            "SET lock_timeout = {}; SET idle_in_transaction_session_timeout = '300s'; \
             SET default_transaction_read_only = {}; SET statement_timeout = {};",
            wait.as_millis(),
            if read_only { "on" } else { "off" },
            // Migrations take the time they take.
            if read_only { READ_MAX.as_millis() } else { 0 }
        )
        .into();
        AnyPoolOptions::new()
            .max_connections(config.connections)
            .acquire_timeout(wait)
            .after_connect(move |connection, _| {
                let setup = setup.clone();
                Box::pin(async move {
                    sqlx::raw_sql(AssertSqlSafe(setup))
                        .execute(connection)
                        .await
                        .map(|_| ())
                })
            })
            .connect_lazy_with(options.clone())
    };
    let (readers, writers) = (pool(true), pool(false));
    // Fail at once if nobody is there.
    drop(readers.acquire().await?);
    Ok((readers, writers))
}

fn connect_options(url: &str) -> Result<AnyConnectOptions, StoreError> {
    let options: AnyConnectOptions = url.parse()?;
    Ok(options.disable_statement_logging())
}
