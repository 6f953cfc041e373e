//! Routinator's engine, run in this process: repositories by RRDP and rsync, validated from trust anchors
//! down to payloads.
//!
//! [`Validator`] holds the engine and does one run at a time; everything in it blocks, so it lives on a
//! thread of its own ([`worker`]). A run fetches, validates and gives an [`Outcome`]: the set, where each
//! payload comes from ([`Sources`]), and a [`RunReport`] that names every refused object with the reason.
//! [`watch`] listens while the engine works, [`refusal`] asks the library once more about the objects that
//! did not come through, because the engine itself only counts them.
//!
//! A run without any valid trust anchor is a failed one: what it found is nothing, not "no payloads".

mod books;
mod refusal;
mod report;
mod sources;
pub mod tals;
mod watch;
pub(crate) mod worker;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use base::Prefix;
use routinator::config::Config;
use routinator::engine::Engine;
use routinator::metrics::Metrics;
use routinator::payload::ValidationReport;
use routinator::slurm::LocalExceptions;

pub use report::{Fetch, REFUSALS_MAX, Refusal, RunReport, Tally};
pub use sources::{Source, Sources};

use super::{Vrp, VrpSet};

/// Longest time between two runs.
const INTERVAL_MAX: Duration = Duration::from_secs(86_400);
/// Shortest time between two runs that nobody asked for.
pub const INTERVAL_MIN: Duration = Duration::from_secs(10);
/// Bytes of one published object; larger ones are refused.
pub const OBJECT_BYTES_MAX: u64 = 20_000_000;
/// Certificates between a trust anchor and an object.
pub const CA_DEPTH_MAX: usize = 32;
/// Deltas of one repository that are fetched one by one; behind more, its snapshot is fetched.
const DELTAS_MAX: usize = 100;
/// Name of the copies of the trust anchor locators within the cache.
const TAL_DIR: &str = "tals";

/// What a validator is made from.
#[derive(Debug, Clone)]
pub struct ValidatorOptions {
    /// Files of trust anchor locators (RFC 8630), or directories of such files (`*.tal`).
    pub tals: Vec<PathBuf>,
    /// Whether the locators of the five registries are used as well.
    pub registries: bool,
    /// Directory of the local copy of all repositories.
    pub cache_dir: PathBuf,
    /// Time between two runs, from 10 s to a day. A run comes earlier when data expire.
    pub every: Duration,
    /// Further authorities for RRDP servers' certificates: PEM files, the first certificate of each.
    pub rrdp_root_certificates: Vec<PathBuf>,
    /// Time for one HTTP request as a whole.
    pub rrdp_timeout: Duration,
    /// Command that speaks rsync; `None` does without rsync.
    pub rsync_command: Option<String>,
    /// Time for one rsync run.
    pub rsync_timeout: Duration,
    /// Repositories with port numbers, addresses or "localhost" in their names, as test beds have them.
    pub dubious_hosts: bool,
    /// Refuse what many real objects do against the letter of the standards.
    pub strict: bool,
    /// Threads that validate.
    pub threads: usize,
}

impl ValidatorOptions {
    /// The usual options, for a cache and trust anchor locators.
    pub fn new(cache_dir: PathBuf, tals: Vec<PathBuf>) -> Self {
        Self {
            tals,
            registries: false,
            cache_dir,
            every: Duration::from_secs(600),
            rrdp_root_certificates: Vec::new(),
            rrdp_timeout: Duration::from_secs(600),
            rsync_command: Some("rsync".into()),
            rsync_timeout: Duration::from_secs(300),
            dubious_hosts: false,
            strict: false,
            threads: std::thread::available_parallelism().map_or(1, |count| count.get().min(8)),
        }
    }

    /// What can be known to be wrong before the engine is asked, with words the engine keeps to itself.
    ///
    /// # Errors
    /// [`ValidatorError`]
    pub fn check(&self) -> Result<(), ValidatorError> {
        let seconds = self.every.as_secs();
        let (least, most) = (INTERVAL_MIN.as_secs(), INTERVAL_MAX.as_secs());
        if !(least..=most).contains(&seconds) {
            return Err(ValidatorError::Range {
                key: "seconds between two runs",
                value: seconds,
                least,
                most,
            });
        }
        if !(1..=64).contains(&self.threads) {
            return Err(ValidatorError::Range {
                key: "threads",
                value: self.threads as u64,
                least: 1,
                most: 64,
            });
        }
        tals::check_all(&self.tals, self.registries)?;
        for path in &self.rrdp_root_certificates {
            root_certificate(path)?;
        }
        if let Some(command) = &self.rsync_command {
            std::process::Command::new(command)
                .arg("--version")
                .output()
                .map_err(|source| ValidatorError::Rsync {
                    command: command.clone(),
                    source,
                })?;
        }
        std::fs::create_dir_all(&self.cache_dir).map_err(|source| ValidatorError::Cache {
            path: self.cache_dir.clone(),
            source,
        })?;
        writable(&self.cache_dir)
    }
}

/// Why nothing could be validated. The last good set stays in use.
#[derive(Debug, thiserror::Error)]
pub enum ValidatorError {
    /// A trust anchor locator is of no use.
    #[error("{path}: {problem}")]
    Tal {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// There is no trust anchor at all.
    #[error("no trust anchor locator: nothing can be validated")]
    NoTal,
    /// The cache cannot be used.
    #[error("could not use the repository cache {path}")]
    Cache {
        /// The directory or file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A further authority is of no use.
    #[error("{path}: {problem}")]
    RootCertificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The rsync command does not run.
    #[error(
        "could not run {command:?} (Debian package rsync), which repositories without RRDP need"
    )]
    Rsync {
        /// The command.
        command: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A number is out of its range.
    #[error("{key} {value}: must be from {least} to {most}")]
    Range {
        /// Which number.
        key: &'static str,
        /// Its value.
        value: u64,
        /// The least.
        least: u64,
        /// The most.
        most: u64,
    },
    /// The engine gave up; what it met is in the log.
    #[error("{0}")]
    Engine(&'static str),
    /// No trust anchor gave anything.
    #[error("no trust anchor could be validated: {0}")]
    NoTrustAnchor(String),
    /// The end came in between.
    #[error("the run was stopped")]
    Stopped,
}

/// How far a run is, followed from outside.
#[derive(Debug, Default)]
pub struct Progress {
    /// When the run began, in Unix seconds; 0 between runs.
    began_at: AtomicU64,
    points: AtomicU64,
    objects: AtomicU64,
    stop: AtomicBool,
}

/// A moment of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct Running {
    /// When it began, in Unix seconds.
    pub began_at: u64,
    /// Publication points done.
    pub points: u64,
    /// Objects looked at.
    pub objects: u64,
}

impl Progress {
    /// The run that goes on, if one does.
    pub fn running(&self) -> Option<Running> {
        let began_at = self.began_at.load(Ordering::Acquire);
        (began_at != 0).then(|| Running {
            began_at,
            points: self.points.load(Ordering::Relaxed),
            objects: self.objects.load(Ordering::Relaxed),
        })
    }

    /// Ends the run as soon as it looks at another object.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    fn begin(&self) {
        self.points.store(0, Ordering::Relaxed);
        self.objects.store(0, Ordering::Relaxed);
        self.began_at.store(now_s().max(1), Ordering::Release);
    }
}

/// What a run gives.
#[derive(Debug)]
pub struct Outcome {
    /// The payloads, before exceptions.
    pub set: Arc<VrpSet>,
    /// Where each comes from.
    pub sources: Arc<Sources>,
    /// How the run went.
    pub report: Arc<RunReport>,
    /// When the first of the data expires.
    pub refresh_at: Option<SystemTime>,
}

/// The engine with its options. Everything here blocks.
#[derive(Debug)]
pub struct Validator {
    options: ValidatorOptions,
    config: Config,
    engine: Engine,
    progress: Arc<Progress>,
}

impl Validator {
    /// Prepares cache and engine. Must not be called, used or dropped on an async thread.
    ///
    /// # Errors
    /// [`ValidatorError`], for options that cannot work.
    pub fn open(
        options: ValidatorOptions,
        progress: Arc<Progress>,
    ) -> Result<Self, ValidatorError> {
        options.check()?;
        books::keep();
        let tal_dir = options.cache_dir.join(TAL_DIR);
        std::fs::create_dir_all(&tal_dir).map_err(|source| ValidatorError::Cache {
            path: tal_dir.clone(),
            source,
        })?;
        tals::bring(&options.tals, options.registries, &tal_dir)?;
        let config = config(&options, tal_dir);
        let mut engine = Engine::new(&config, true).map_err(|_| {
            ValidatorError::Engine("the engine could not be set up; the log says why")
        })?;
        engine.ignite().map_err(|_| {
            ValidatorError::Engine("the HTTP client could not be set up; the log says why")
        })?;
        Ok(Self {
            options,
            config,
            engine,
            progress,
        })
    }

    /// Fetches and validates everything once; locators that changed are taken first.
    ///
    /// # Errors
    /// [`ValidatorError`]: there is nothing to use from this run.
    pub fn run(&mut self) -> Result<Outcome, ValidatorError> {
        self.progress.begin();
        let outcome = self.work();
        self.progress.began_at.store(0, Ordering::Release);
        outcome
    }

    fn work(&mut self) -> Result<Outcome, ValidatorError> {
        let (began, began_at) = (Instant::now(), now_s());
        let tal_dir = self.options.cache_dir.join(TAL_DIR);
        writable(&self.options.cache_dir)?;
        if tals::bring(&self.options.tals, self.options.registries, &tal_dir)? {
            self.engine.reload_tals().map_err(|_| {
                ValidatorError::Engine("the trust anchor locators could not be read again")
            })?;
        }
        let (report, mut metrics, watched) = self.process()?;
        let snapshot = report.into_snapshot(&LocalExceptions::empty(), &mut metrics);
        let failing: Vec<&str> = metrics
            .tals
            .iter()
            .filter(|tal| tal.publication.valid_points == 0)
            .map(|tal| tal.name())
            .collect();
        if failing.len() == metrics.tals.len() {
            return Err(ValidatorError::NoTrustAnchor(explain(&metrics, &failing)));
        }
        let payloads = snapshot.origin_refs().filter_map(|(origin, info)| {
            let prefix = origin.prefix;
            // The engine's own checks make these infallible.
            let net = Prefix::new(prefix.addr(), prefix.prefix_len()).ok()?;
            let vrp = Vrp::new(net, prefix.resolved_max_len(), origin.asn.into_u32()).ok()?;
            Some((vrp, info))
        });
        let sources = Sources::collect(payloads);
        let set: VrpSet = sources.payloads().collect();
        let refused = refusal::find(&self.config, watched, &metrics);
        let mut report = report::make(&metrics, refused);
        report.began_at = began_at;
        report.took_ms = began.elapsed().as_millis() as u64;
        report.vrps = set.len();
        report.aspas = snapshot.aspas().count();
        report.router_keys = snapshot.router_keys().count();
        Ok(Outcome {
            set: Arc::new(set),
            sources: Arc::new(sources),
            report: Arc::new(report),
            refresh_at: snapshot.refresh().map(|time| {
                let seconds = (*time).timestamp().max(0) as u64;
                SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
            }),
        })
    }

    fn process(&self) -> Result<(ValidationReport, Metrics, Vec<watch::Watched>), ValidatorError> {
        let mut retried = false;
        loop {
            let report = ValidationReport::new(&self.config);
            let watch = watch::Watch::new(&report, &self.progress);
            let stopped = || match self.progress.stopped() {
                true => ValidatorError::Stopped,
                false => ValidatorError::Engine(
                    "the engine gave up on the cache or its disk; the log says why",
                ),
            };
            let mut run = self.engine.start(&watch, false).map_err(|_| stopped())?;
            match run.process() {
                Ok(()) => {}
                // A damaged part of the cache was removed: the engine asks for another try.
                Err(error) if error.should_retry() && !retried => {
                    drop(run);
                    self.engine.sanitize().map_err(|_| stopped())?;
                    retried = true;
                    continue;
                }
                Err(_) => return Err(stopped()),
            }
            run.cleanup().map_err(|_| stopped())?;
            let metrics = run.done();
            let watched = watch.into_watched();
            return Ok((report, metrics, watched));
        }
    }
}

fn root_certificate(path: &Path) -> Result<(), ValidatorError> {
    use rustls_pki_types::pem::PemObject as _;
    let wrong = |problem: String| ValidatorError::RootCertificate {
        path: path.to_owned(),
        problem,
    };
    let certificate = rustls_pki_types::CertificateDer::from_pem_file(path)
        .map_err(|error| wrong(format!("no certificate in PEM: {error}")))?;
    rustls::RootCertStore::empty()
        .add(certificate)
        .map_err(|error| wrong(format!("no authority: {error}")))
}

/// The engine tells a full or read-only disk by giving up; this says it in words.
fn writable(dir: &Path) -> Result<(), ValidatorError> {
    let probe = dir.join(".probe");
    std::fs::write(&probe, b"civicnet")
        .and_then(|()| std::fs::remove_file(&probe))
        .map_err(|source| ValidatorError::Cache {
            path: dir.to_owned(),
            source,
        })
}

fn config(options: &ValidatorOptions, tal_dir: PathBuf) -> Config {
    let mut config = Config::default_with_paths(PathBuf::new(), options.cache_dir.clone());
    config.no_rir_tals = !options.registries;
    config.extra_tals_dir = Some(tal_dir);
    config.strict = options.strict;
    config.allow_dubious_hosts = options.dubious_hosts;
    config.disable_rsync = options.rsync_command.is_none();
    if let Some(command) = &options.rsync_command {
        config.rsync_command.clone_from(command);
    }
    config.rsync_timeout = Some(options.rsync_timeout);
    config.rrdp_timeout = Some(options.rrdp_timeout);
    config.rrdp_max_delta_count = DELTAS_MAX;
    config
        .rrdp_root_certs
        .clone_from(&options.rrdp_root_certificates);
    config.rrdp_user_agent = format!("civicnet/{}", env!("CARGO_PKG_VERSION"));
    config.max_object_size = Some(OBJECT_BYTES_MAX);
    config.max_ca_depth = CA_DEPTH_MAX;
    config.enable_aspa = true;
    config.enable_bgpsec = true;
    config.validation_threads = options.threads;
    config
}

/// Why no trust anchor gave anything, as far as the run tells.
fn explain(metrics: &Metrics, failing: &[&str]) -> String {
    let mut said = failing.join(", ");
    let first = metrics.pub_point_logs.iter().find_map(|(uri, book)| {
        let message = book.into_iter().next()?;
        Some(format!("{uri}: {}", message.content))
    });
    match first {
        Some(first) => {
            said.push_str("; ");
            said.extend(first.chars().take(300));
        }
        None if metrics.repositories.is_empty() => {
            said.push_str("; no certificate of a trust anchor could be fetched");
        }
        None => {}
    }
    said
}

fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Seconds since 1970.
pub(crate) fn now_s() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
