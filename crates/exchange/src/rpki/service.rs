//! Keeps a set of payloads fresh: from a file, another cache or the validator in this process, with the
//! operator's exceptions, into a [`Cache`] that survives a restart. What cannot be read changes nothing;
//! the problem is shown.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::slurm::Slurm;
use super::validator::worker::{self, Job, News, Worker};
use super::validator::{self, Outcome, RunReport, Running, Sources, ValidatorOptions, now_s};
use super::{Vrp, VrpSet, file};
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
    /// The repositories themselves, validated in this process.
    Validator(Box<ValidatorOptions>),
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
    /// What is wrong with the report of the service that is followed.
    pub report_problem: Option<String>,
    /// The validator's last run that ended well.
    #[serde(skip)]
    pub report: Option<Arc<RunReport>>,
}

impl Health {
    /// Problems in words, the gravest first.
    pub fn problems(&self) -> impl Iterator<Item = &str> {
        [
            &self.source_problem,
            &self.slurm_problem,
            &self.state_problem,
            &self.report_problem,
        ]
        .into_iter()
        .filter_map(|one| one.as_deref())
    }
}

/// A running service, seen from outside. Cheap to clone.
#[derive(Clone)]
pub struct Rpki {
    cache: watch::Receiver<Arc<Cache>>,
    health: Arc<Mutex<Health>>,
    sources: Arc<Mutex<Arc<Sources>>>,
    slurm: Arc<Mutex<Arc<Slurm>>>,
    worker: Option<Worker>,
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

    /// The exceptions in force.
    pub fn slurm(&self) -> Arc<Slurm> {
        Arc::clone(&lock(&self.slurm))
    }

    /// Where a payload comes from, as far as the validator's last run tells.
    pub fn source_of(&self, vrp: &Vrp) -> Option<validator::Source> {
        let sources = Arc::clone(&lock(&self.sources));
        sources.get(vrp).cloned()
    }

    /// The validator's run that goes on, if one does.
    pub fn running(&self) -> Option<Running> {
        self.worker.as_ref()?.progress().running()
    }

    /// What the service that is followed tells of its last run; `Err` says why it could not be asked.
    pub(crate) fn told(&self, report: Result<Option<RunReport>, String>) {
        let mut health = lock(&self.health);
        match report {
            Ok(report) => {
                health.report = report.map(Arc::new);
                health.report_problem = None;
            }
            Err(problem) => health.report_problem = Some(problem),
        }
    }

    /// Whether the payloads are validated here.
    pub fn validates(&self) -> bool {
        self.worker.is_some()
    }

    /// Has the validator run at once, or once more after the run that goes on. `false` when there is none.
    pub fn validate_now(&self) -> bool {
        self.worker.as_ref().is_some_and(Worker::run_now)
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
    slurm: Arc<Mutex<Arc<Slurm>>>,
    sources: Arc<Mutex<Arc<Sources>>>,
    job: Option<Job>,
    worker: Option<Worker>,
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
        let (worker, job) = match &options.source {
            Source::Validator(options) => {
                let (worker, job) = worker::prepare(options.as_ref().clone());
                (Some(worker), Some(job))
            }
            _ => (None, None),
        };
        let rpki = Rpki {
            cache: receiver,
            health: Arc::clone(&health),
            sources: Arc::default(),
            slurm: Arc::default(),
            worker: worker.clone(),
        };
        let service = Self {
            options,
            cache,
            publish,
            health,
            slurm: Arc::clone(&rpki.slurm),
            sources: Arc::clone(&rpki.sources),
            job,
            worker,
            raw: None,
        };
        Ok((service, rpki))
    }

    /// Works until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut feed = match self.feed(&stop) {
            Ok(feed) => feed,
            Err(error) => {
                self.problem(format!(
                    "could not start a thread for the validator: {error}"
                ));
                return stop.cancelled().await;
            }
        };
        let mut seen_slurm: Option<Vec<Stamp>> = None;
        loop {
            let slurm_now: Vec<Stamp> = self.options.slurm.iter().map(|path| stamp(path)).collect();
            let slurm_changed = seen_slurm.as_ref() != Some(&slurm_now);
            if slurm_changed {
                seen_slurm = Some(slurm_now);
                self.read_slurm();
            }
            match feed.look().await {
                Some(Ok(set)) => {
                    self.renewed(&set, None);
                    self.take().await;
                }
                Some(Err(problem)) => {
                    self.problem(problem);
                    if self.expire() {
                        self.take().await;
                    }
                }
                None => match feed.outcome() {
                    Some(outcome) => {
                        self.renewed(&outcome.set, Some(&outcome));
                        self.take().await;
                    }
                    None if slurm_changed => self.take().await,
                    None => {}
                },
            }
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = feed.wait() => {}
            }
        }
        if let Some(worker) = &self.worker {
            worker.progress().stop();
            worker.run_now();
        }
    }

    fn feed(&mut self, stop: &CancellationToken) -> std::io::Result<Feed> {
        Ok(match (&self.options.source, self.job.take()) {
            (_, Some(job)) => {
                let (sender, news) = mpsc::channel(1);
                job.start(sender)?;
                Feed::Validator { news, next: None }
            }
            (Source::Rtr(upstream), None) => {
                let (news, received) = watch::channel(None);
                tokio::spawn(client::follow(upstream.clone(), news, stop.clone()));
                Feed::Rtr(received)
            }
            (Source::File(path), None) => Feed::File {
                path: path.clone(),
                seen: None,
            },
            // `open` makes the job, and `run` takes the service.
            (Source::Validator(_), None) => return Err(std::io::ErrorKind::NotFound.into()),
        })
    }

    fn problem(&self, problem: String) {
        tracing::error!(
            problem,
            "RPKI data could not be renewed: the last good data is served"
        );
        lock(&self.health).source_problem = Some(problem);
    }

    /// Leaves out what has ended while no run renews it. Whether anything had.
    fn expire(&mut self) -> bool {
        let Some(raw) = &self.raw else {
            return false;
        };
        let sources = Arc::clone(&lock(&self.sources));
        let now = i64::try_from(now_s()).unwrap_or(i64::MAX);
        match sources.left(raw, now) {
            Some(left) => {
                tracing::warn!(vrps = left.len(), "Payloads have expired without renewal");
                self.raw = Some(Arc::new(left));
                true
            }
            None => false,
        }
    }

    /// Remembers what the source gave.
    fn renewed(&mut self, set: &Arc<VrpSet>, outcome: Option<&Outcome>) {
        if let Some(outcome) = outcome {
            *lock(&self.sources) = Arc::clone(&outcome.sources);
            let report = &outcome.report;
            tracing::info!(
                vrps = report.vrps,
                refused = report.refused_count,
                took_ms = report.took_ms,
                "The repositories were validated"
            );
        }
        let mut health = lock(&self.health);
        health.renewed_at = Some(now_s());
        health.source_vrps = set.len();
        health.source_problem = outcome.and_then(|outcome| silent(&outcome.report));
        if let Some(outcome) = outcome {
            health.report = Some(Arc::clone(&outcome.report));
        }
        drop(health);
        self.raw = Some(Arc::clone(set));
    }

    fn read_slurm(&mut self) {
        match Slurm::read(&self.options.slurm) {
            Ok(slurm) => {
                *lock(&self.slurm) = Arc::new(slurm);
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
        let (slurm, mut cache) = (Arc::clone(&lock(&self.slurm)), self.cache.clone());
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

/// A trust anchor that gave nothing while others did: its payloads are missing from the set.
fn silent(report: &RunReport) -> Option<String> {
    let names: Vec<&str> = report
        .tals
        .iter()
        .filter(|tal| !tal.is_up())
        .map(|tal| tal.name.as_str())
        .collect();
    (!names.is_empty()).then(|| {
        format!(
            "no valid data below the trust anchor {}: its payloads are missing",
            names.join(", ")
        )
    })
}

/// The source at work.
enum Feed {
    File {
        path: PathBuf,
        seen: Option<Stamp>,
    },
    Rtr(watch::Receiver<Option<Arc<VrpSet>>>),
    Validator {
        news: mpsc::Receiver<News>,
        next: Option<News>,
    },
}

impl Feed {
    /// A new set, or why there is none; the validator's sets come by [`Self::outcome`].
    async fn look(&mut self) -> Option<Result<Arc<VrpSet>, String>> {
        match self {
            Self::File { path, seen } => {
                let now = stamp(path);
                if *seen == Some(now) {
                    return None;
                }
                *seen = Some(now);
                Some(read_file(path.clone()).await)
            }
            Self::Rtr(received) => received.has_changed().unwrap_or(false).then(|| {
                let set = received.borrow_and_update().clone();
                set.ok_or_else(|| "the data of the RTR server has expired".to_owned())
            }),
            Self::Validator { next, .. } => match next.take() {
                Some(News::Problem(problem)) => Some(Err(problem)),
                other => {
                    *next = other;
                    None
                }
            },
        }
    }

    fn outcome(&mut self) -> Option<Arc<Outcome>> {
        match self {
            Self::Validator { next, .. } => match next.take()? {
                News::Outcome(outcome) => Some(outcome),
                News::Problem(_) => None,
            },
            _ => None,
        }
    }

    /// Until there may be news. What is dropped halfway loses nothing.
    async fn wait(&mut self) {
        match self {
            Self::File { .. } => std::future::pending().await,
            // The loop looks again without marking the value as seen.
            Self::Rtr(received) => match received.changed().await {
                Ok(()) => received.mark_changed(),
                Err(_) => std::future::pending().await,
            },
            Self::Validator { news, next } => match news.recv().await {
                Some(one) => *next = Some(one),
                None => std::future::pending().await,
            },
        }
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
