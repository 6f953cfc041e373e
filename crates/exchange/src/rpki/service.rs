//! Keeps a set of payloads fresh: from a file or another cache, with the operator's exceptions, into a
//! [`Cache`] that survives a restart. What cannot be read changes nothing; the problem is shown.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::slurm::Slurm;
use super::{VrpSet, file};
use crate::rtr::cache::Cache;
use crate::rtr::client::{self, Upstream};

/// How often files are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Name of the state within its directory.
const STATE_FILE: &str = "rtr.state";

/// Where payloads come from.
pub enum Source {
    /// A JSON file that a validator writes; read again whenever it changes.
    File(PathBuf),
    /// Another RTR server.
    Rtr(Upstream),
}

/// What a service is made from.
pub struct ServiceOptions {
    /// Where payloads come from.
    pub source: Source,
    /// Files of exceptions (RFC 8416); read again whenever one changes.
    pub slurm: Vec<PathBuf>,
    /// Directory that keeps the last set over a restart; without it memory only.
    pub dir: Option<PathBuf>,
}

/// How the service is.
#[derive(Debug, Clone, Default, serde::Serialize)]
pub struct Health {
    /// When the source was last taken, in Unix seconds.
    pub renewed_at: Option<u64>,
    /// When the set last changed, in Unix seconds.
    pub changed_at: Option<u64>,
    /// Payloads from the source, before exceptions.
    pub source_vrps: usize,
    /// What is wrong with the source.
    pub source_problem: Option<String>,
    /// What is wrong with the exceptions; the last good ones are used.
    pub slurm_problem: Option<String>,
    /// What is wrong with the directory.
    pub state_problem: Option<String>,
}

/// A running service, seen from outside. Cheap to clone.
#[derive(Clone)]
pub struct Rpki {
    cache: watch::Receiver<Arc<Cache>>,
    health: Arc<Mutex<Health>>,
}

impl Rpki {
    /// The newest state, followed.
    pub fn cache(&self) -> watch::Receiver<Arc<Cache>> {
        self.cache.clone()
    }

    /// The newest set; `None` until there was one.
    pub fn set(&self) -> Option<Arc<VrpSet>> {
        self.cache.borrow().set().cloned()
    }

    /// How it is.
    pub fn health(&self) -> Health {
        lock(&self.health).clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// The service's work, to be run by [`Service::run`].
pub struct Service {
    options: ServiceOptions,
    cache: Cache,
    publish: watch::Sender<Arc<Cache>>,
    health: Arc<Mutex<Health>>,
    slurm: Slurm,
    raw: Option<Arc<VrpSet>>,
}

impl Service {
    /// Opens the state that the directory keeps, ready to serve it at once.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn open(options: ServiceOptions) -> Result<(Self, Rpki), file::FileError> {
        let (cache, problem) = match &options.dir {
            None => (Cache::new(), None),
            Some(dir) => {
                std::fs::create_dir_all(dir).map_err(|source| file::FileError::Write {
                    path: dir.clone(),
                    source,
                })?;
                Cache::open(&dir.join(STATE_FILE))
            }
        };
        if let Some(problem) = &problem {
            tracing::warn!(
                problem,
                "The kept RPKI data is of no use: routers will load everything"
            );
        }
        let health = Arc::new(Mutex::new(Health {
            state_problem: problem,
            ..Health::default()
        }));
        let (publish, receiver) = watch::channel(Arc::new(cache.clone()));
        let rpki = Rpki {
            cache: receiver,
            health: Arc::clone(&health),
        };
        let service = Self {
            options,
            cache,
            publish,
            health,
            slurm: Slurm::default(),
            raw: None,
        };
        Ok((service, rpki))
    }

    /// Works until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut upstream = match &self.options.source {
            Source::File(_) => None,
            Source::Rtr(upstream) => {
                let (news, received) = watch::channel(None);
                tokio::spawn(client::follow(upstream.clone(), news, stop.clone()));
                Some(received)
            }
        };
        let mut seen_source = None;
        let mut seen_slurm: Option<Vec<Stamp>> = None;
        loop {
            let slurm_now: Vec<Stamp> = self.options.slurm.iter().map(|path| stamp(path)).collect();
            let slurm_changed = seen_slurm.as_ref() != Some(&slurm_now);
            if slurm_changed {
                seen_slurm = Some(slurm_now);
                self.read_slurm();
            }
            let news = match (&self.options.source, &mut upstream) {
                (Source::File(path), _) => {
                    let now = stamp(path);
                    if seen_source.as_ref() == Some(&now) {
                        None
                    } else {
                        let path = path.clone();
                        seen_source = Some(now);
                        Some(read_file(path).await)
                    }
                }
                (_, Some(received)) if received.has_changed().unwrap_or(false) => {
                    let set = received.borrow_and_update().clone();
                    Some(set.ok_or_else(|| "the data of the RTR server has expired".to_owned()))
                }
                _ => None,
            };
            match news {
                Some(Ok(set)) => {
                    {
                        let mut health = lock(&self.health);
                        health.renewed_at = Some(now_s());
                        health.source_vrps = set.len();
                        health.source_problem = None;
                    }
                    self.raw = Some(set);
                    self.take().await;
                }
                Some(Err(problem)) => {
                    tracing::error!(
                        problem,
                        "RPKI data could not be renewed: the last good data is served"
                    );
                    lock(&self.health).source_problem = Some(problem);
                }
                None if slurm_changed => self.take().await,
                None => {}
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
                _ = next(&mut upstream) => {}
            }
        }
    }

    fn read_slurm(&mut self) {
        match Slurm::read(&self.options.slurm) {
            Ok(slurm) => {
                self.slurm = slurm;
                lock(&self.health).slurm_problem = None;
            }
            Err(error) => {
                let problem = runtime::error_chain(&error);
                tracing::error!(
                    problem,
                    "Exceptions could not be read: the last good ones are used"
                );
                lock(&self.health).slurm_problem = Some(problem);
            }
        }
    }

    /// Applies the exceptions and publishes what came out, if it is new.
    async fn take(&mut self) {
        let Some(raw) = self.raw.clone() else {
            return;
        };
        // Sorting and writing half a million payloads is no work for an async thread.
        let (slurm, mut cache) = (self.slurm.clone(), self.cache.clone());
        let worked = tokio::task::spawn_blocking(move || {
            let set = if slurm.is_empty() {
                raw
            } else {
                Arc::new(slurm.apply(&raw))
            };
            let (changed, problem) = cache.update(set);
            (cache, changed, problem)
        })
        .await;
        let Ok((cache, changed, problem)) = worked else {
            return;
        };
        let Some(changed) = changed else {
            return;
        };
        self.cache = cache;
        {
            let mut health = lock(&self.health);
            health.changed_at = Some(now_s());
            health.state_problem = problem.as_ref().map(|error| runtime::error_chain(error));
        }
        if let Some(error) = problem {
            tracing::error!(error = %runtime::error_chain(&error), "RPKI data could not be kept on disk: routers load everything in a new session");
        }
        let vrps = self.cache.set().map_or(0, |set| set.len());
        tracing::info!(
            vrps,
            changed,
            serial = self.cache.serial(),
            session = self.cache.session(),
            "New RPKI data"
        );
        self.publish.send_replace(Arc::new(self.cache.clone()));
    }
}

async fn next(upstream: &mut Option<watch::Receiver<Option<Arc<VrpSet>>>>) {
    match upstream {
        // The loop looks again without marking the value as seen.
        Some(received) => match received.changed().await {
            Ok(()) => received.mark_changed(),
            Err(_) => std::future::pending().await,
        },
        None => std::future::pending().await,
    }
}

async fn read_file(path: PathBuf) -> Result<Arc<VrpSet>, String> {
    let read = tokio::task::spawn_blocking(move || file::read(&path)).await;
    match read {
        Ok(Ok(set)) => Ok(Arc::new(set)),
        Ok(Err(error)) => Err(runtime::error_chain(&error)),
        Err(error) => Err(error.to_string()),
    }
}

/// What tells that a file changed: `None` when it is not there.
type Stamp = Option<(u64, SystemTime, u64)>;

fn stamp(path: &Path) -> Stamp {
    use std::os::unix::fs::MetadataExt as _;
    let meta = std::fs::metadata(path).ok()?;
    Some((meta.len(), meta.modified().ok()?, meta.ino()))
}

fn now_s() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
