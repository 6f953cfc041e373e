//! The lake's doors: take batches, answer questions, keep house.

use std::fs::{self, File, TryLockError};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use base::event::EventBatch;
use base::{Clock, NodeName, SystemClock};
use bytes::Bytes;
use serde::Serialize;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use crate::config::LakeConfig;
use crate::files::Files;
use crate::ingest::{self, Counters, Ingest, Ingested, key_of};
use crate::maintain::{self, Maintenance, Tidied, journal_dir};
use crate::manifest::{self, Manifest};
use crate::query::{Engine, QueryOptions, QueryResult, Source, mentioned};
use crate::state::{Shared, State};
use crate::{LakeError, adopt, envelope};

/// Requests waiting for the housekeeping thread.
const MAINTENANCE_QUEUE_MAX: usize = 16;

/// Events of all nodes, as tables. Clones share one lake.
///
/// Two threads of its own take batches and keep house; queries run on threads of
/// its own too, so that they never hold up the caller's.
#[derive(Debug, Clone)]
pub struct Lake {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    engine: Arc<Engine>,
    counters: Arc<Counters>,
    runtime: Option<Runtime>,
    doors: Option<Doors>,
    /// Held while the lake is open for writing.
    _lock: Option<File>,
}

#[derive(Debug)]
struct Doors {
    ingest: SyncSender<ingest::Message>,
    maintain: SyncSender<maintain::Message>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// The state of a lake at a moment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct LakeStats {
    /// Events taken since it was opened.
    pub events: u64,
    /// Batches taken since it was opened.
    pub batches: u64,
    /// Batches that it had already.
    pub duplicates: u64,
    /// Batches that were malformed.
    pub refused: u64,
    /// Times that rows could not be written to files.
    pub flush_failures: u64,
    /// Rows in memory and not yet in files.
    pub waiting_rows: usize,
    /// Files of all tables.
    pub files: usize,
    /// Their bytes.
    pub file_bytes: u64,
    /// Their rows.
    pub file_rows: u64,
}

type Running = tokio::task::JoinHandle<Result<QueryResult, LakeError>>;
type Opening<'a> = std::pin::Pin<Box<dyn Future<Output = Result<Lake, LakeError>> + Send + 'a>>;

impl Lake {
    /// Opens or creates a lake with the machine's clock.
    ///
    /// # Errors
    /// When the configuration is wrong, the directory or the store cannot be
    /// used, the commit record is damaged, or another process has the lake open.
    pub async fn open(config: &LakeConfig) -> Result<Self, LakeError> {
        Self::open_with(config, Arc::new(SystemClock)).await
    }

    /// Opens or creates a lake.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn open_with(config: &LakeConfig, clock: Arc<dyn Clock>) -> Result<Self, LakeError> {
        Self::opening(config, clock).await
    }

    fn opening(config: &LakeConfig, clock: Arc<dyn Clock>) -> Opening<'_> {
        Box::pin(Self::open_writing(config, clock))
    }

    async fn open_writing(config: &LakeConfig, clock: Arc<dyn Clock>) -> Result<Self, LakeError> {
        config.check()?;
        fs::create_dir_all(&config.dir).map_err(|source| LakeError::Open {
            dir: config.dir.clone(),
            source,
        })?;
        let lock = lock(&config.dir)?;
        let files = Files::open(config)?;
        let committed = load(config, &files).await?;
        // From here on, files without a record mean that it was lost, not that the
        // first flush was cut short: half of that would be taken for the whole.
        if !manifest::path(&config.dir).exists() {
            committed.save(&config.dir)?;
        }
        let strangers = maintain::delete_strangers(&files, &committed).await?;
        if strangers > 0 {
            tracing::info!(strangers, "Deleted files that a crash left behind");
        }
        let mut state = state_of(&committed);
        let log = ingest::open_journal(&journal_dir(config), &mut state)?;
        let shared = Arc::new(Shared::new(state));
        let engine = Arc::new(Engine::new(config, &files)?);
        let counters = Arc::new(Counters::default());
        let runtime = runtime(config)?;
        let (ingest_door, ingest_queue) = sync_channel(ingest::QUEUE_MAX);
        let (maintain_door, maintain_queue) = sync_channel(MAINTENANCE_QUEUE_MAX);
        let ingest = Ingest {
            log,
            shared: Arc::clone(&shared),
            counters: Arc::clone(&counters),
            rows_max: config.memory_rows_max,
            flush_rows: config.flush_rows,
            flush: maintain_door.clone(),
        };
        let maintenance = Maintenance {
            config: config.clone(),
            shared: Arc::clone(&shared),
            files,
            engine: Arc::clone(&engine),
            clock,
            counters: Arc::clone(&counters),
            runtime: runtime.handle().clone(),
            ingest: ingest_door.clone(),
            committed,
            garbage: Vec::new(),
        };
        let threads = vec![
            spawn("lake-ingest", move || ingest.run(&ingest_queue))?,
            spawn("lake-files", move || maintenance.run(&maintain_queue))?,
        ];
        Ok(Self {
            inner: Arc::new(Inner {
                shared,
                engine,
                counters,
                runtime: Some(runtime),
                doors: Some(Doors {
                    ingest: ingest_door,
                    maintain: maintain_door,
                    threads: Mutex::new(threads),
                }),
                _lock: Some(lock),
            }),
        })
    }

    /// Opens a lake for questions only, as it is at this moment; another process
    /// may have it open for writing.
    ///
    /// # Errors
    /// When there is no lake, or it cannot be read.
    pub async fn open_read_only(config: &LakeConfig) -> Result<Self, LakeError> {
        Self::opening_read_only(config).await
    }

    fn opening_read_only(config: &LakeConfig) -> Opening<'_> {
        Box::pin(Self::open_reading(config))
    }

    async fn open_reading(config: &LakeConfig) -> Result<Self, LakeError> {
        config.check()?;
        let files = Files::open(config)?;
        let committed = load(config, &files).await?;
        let mut state = state_of(&committed);
        let journal = journal_dir(config);
        if journal.is_dir() {
            ingest::replay(&journal, u64::MAX, &mut state)?;
        }
        Ok(Self {
            inner: Arc::new(Inner {
                shared: Arc::new(Shared::new(state)),
                engine: Arc::new(Engine::new(config, &files)?),
                counters: Arc::new(Counters::default()),
                runtime: Some(runtime(config)?),
                doors: None,
                _lock: None,
            }),
        })
    }

    /// Takes a batch that a node shipped: `bytes` is its
    /// [envelope](crate::envelope), `seq` its number in the node's journal. What it
    /// says is durable on return.
    ///
    /// # Errors
    /// When the batch was not kept: the node keeps it and ships it again later.
    pub async fn ingest(
        &self,
        node: &NodeName,
        seq: u64,
        bytes: Bytes,
    ) -> Result<Ingested, LakeError> {
        self.send(node, Some(seq), bytes).await
    }

    /// Takes a batch of this process's own events, under the next free number of
    /// `node`.
    ///
    /// # Errors
    /// When the batch was not kept.
    pub async fn record(&self, node: &NodeName, batch: &EventBatch) -> Result<(), LakeError> {
        let mut bytes = Vec::new();
        envelope::encode(batch, &mut bytes).map_err(|error| LakeError::Sql(error.to_string()))?;
        self.send(node, None, bytes.into()).await.map(|_| ())
    }

    async fn send(
        &self,
        node: &NodeName,
        seq: Option<u64>,
        bytes: Bytes,
    ) -> Result<Ingested, LakeError> {
        let doors = self.inner.doors.as_ref().ok_or(LakeError::ReadOnly)?;
        let (reply, answer) = oneshot::channel();
        let message = ingest::Message::Ingest {
            node: key_of(node),
            seq,
            bytes,
            reply,
        };
        doors
            .ingest
            .try_send(message)
            .map_err(|error| match error {
                TrySendError::Full(_) => LakeError::Behind {
                    rows: ingest::QUEUE_MAX,
                    rows_max: ingest::QUEUE_MAX,
                },
                TrySendError::Disconnected(_) => LakeError::Closed,
            })?;
        answer.await.map_err(|_| LakeError::Closed)?
    }

    /// Asks a question in SQL; see [`crate::query`]. Dropping the future cancels it.
    ///
    /// # Errors
    /// When the SQL is wrong or asks for more than reading, when a limit is
    /// reached, or when files cannot be read.
    pub async fn query(&self, sql: &str, options: QueryOptions) -> Result<QueryResult, LakeError> {
        let mut running = AbortOnDrop(self.start(sql, options)?);
        (&mut running.0).await.map_err(|_| LakeError::Closed)?
    }

    // Not `async`: what an async function holds is compiled again in each crate
    // that awaits it, and here that would be the SQL engine.
    fn start(&self, sql: &str, options: QueryOptions) -> Result<Running, LakeError> {
        let sources: Vec<Source> = self
            .inner
            .shared
            .with(|state| {
                mentioned(sql)
                    .map(|table| state.source(table))
                    .collect::<Result<_, _>>()
            })
            .map_err(LakeError::engine("read rows in memory"))?;
        let runtime = self.inner.runtime.as_ref().ok_or(LakeError::Closed)?;
        let engine = Arc::clone(&self.inner.engine);
        let sql = sql.to_owned();
        Ok(runtime.spawn(async move { engine.run(sources, &sql, &options).await }))
    }

    /// Writes what is in memory to files now.
    ///
    /// # Errors
    /// When files or the commit record cannot be written; nothing is lost.
    pub async fn flush(&self) -> Result<(), LakeError> {
        self.ask(maintain::Message::Flush).await
    }

    /// Merges small files and ages old ones now, which otherwise happens every
    /// minute.
    ///
    /// # Errors
    /// When files or the commit record cannot be written; nothing is lost.
    pub async fn tidy(&self) -> Result<Tidied, LakeError> {
        self.ask(maintain::Message::Tidy).await
    }

    async fn ask<T>(
        &self,
        message: impl FnOnce(oneshot::Sender<Result<T, LakeError>>) -> maintain::Message,
    ) -> Result<T, LakeError> {
        let doors = self.inner.doors.as_ref().ok_or(LakeError::ReadOnly)?;
        let (reply, answer) = oneshot::channel();
        doors
            .maintain
            .try_send(message(reply))
            .map_err(|error| match error {
                TrySendError::Full(_) => LakeError::Behind {
                    rows: MAINTENANCE_QUEUE_MAX,
                    rows_max: MAINTENANCE_QUEUE_MAX,
                },
                TrySendError::Disconnected(_) => LakeError::Closed,
            })?;
        answer.await.map_err(|_| LakeError::Closed)?
    }

    /// The state at this moment.
    pub fn lake_stats(&self) -> LakeStats {
        let counters = &self.inner.counters;
        let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        self.inner.shared.with(|state| LakeStats {
            events: count(&counters.events),
            batches: count(&counters.batches),
            duplicates: count(&counters.duplicates),
            refused: count(&counters.refused),
            flush_failures: count(&counters.flush_failures),
            waiting_rows: state.waiting_rows(),
            files: state.parts.len(),
            file_bytes: state.parts.iter().map(|part| part.bytes).sum(),
            file_rows: state.parts.iter().map(|part| part.rows).sum(),
        })
    }

    /// Ends the lake's threads. What is in memory stays in the journal. Dropping
    /// the last clone does the same.
    pub fn close(&self) {
        self.inner.close();
    }
}

impl Inner {
    fn close(&self) {
        let Some(doors) = &self.doors else { return };
        let threads =
            std::mem::take(&mut *doors.threads.lock().unwrap_or_else(PoisonError::into_inner));
        if threads.is_empty() {
            return;
        }
        // An error means that the thread has ended already.
        doors.maintain.send(maintain::Message::Stop).ok();
        doors.ingest.send(ingest::Message::Stop).ok();
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("A thread of the lake ended by a panic");
            }
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

struct AbortOnDrop<T>(tokio::task::JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn lock(dir: &Path) -> Result<File, LakeError> {
    let open = |source| LakeError::Open {
        dir: dir.to_owned(),
        source,
    };
    let file = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(dir.join("lock"))
        .map_err(open)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(LakeError::Locked(dir.to_owned())),
        Err(TryLockError::Error(error)) => Err(open(error)),
    }
}

async fn load(config: &LakeConfig, files: &Files) -> Result<Manifest, LakeError> {
    if let Some(committed) = Manifest::load(&config.dir)? {
        return Ok(committed);
    }
    let adopted = adopt::adopt(files).await?;
    if !adopted.parts.is_empty() {
        tracing::error!(
            files = adopted.parts.len(),
            "The commit record was missing and is made anew from the files"
        );
    }
    Ok(adopted)
}

fn state_of(committed: &Manifest) -> State {
    State {
        parts: committed.parts.iter().cloned().map(Arc::new).collect(),
        nodes: committed.nodes.clone(),
        applied_end: committed.journal_end,
        ..State::default()
    }
}

fn runtime(config: &LakeConfig) -> Result<Runtime, LakeError> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(config.query_threads())
        .thread_name("lake-query")
        .enable_all()
        .build()
        .map_err(LakeError::io("start the query threads"))
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, LakeError> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(run)
        .map_err(LakeError::io("start a thread"))
}
