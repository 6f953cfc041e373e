//! Supervised tasks: each has a name, an owner and an end.
//!
//! A [`Supervisor`] owns every long-lived task of the process. Stopping has two
//! steps: the *soft* token asks tasks to finish what they hold, the *hard* token
//! asks them to drop it; whatever still runs [`HARD_GRACE`] later is aborted.
//! Panics are caught, logged and counted. Periodic work is an idempotent function
//! under [`Supervisor::every`], which records its runs for the console.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base::{Clock, SystemClock, Timestamp};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use serde::Serialize;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use crate::error::{BoxError, error_chain};
use crate::metrics::Metrics;

/// How long a task may take to obey the hard token.
pub const HARD_GRACE: Duration = Duration::from_secs(2);
/// Ended tasks that stay in the list because they failed.
pub const FAILED_KEPT_MAX: usize = 100;

/// What a task may return: nothing, or a `Result` whose error is logged.
pub trait TaskOutput: Send + 'static {
    /// The error's text, causes included.
    ///
    /// # Errors
    /// When the task failed.
    fn into_result(self) -> Result<(), String>;
}

impl TaskOutput for () {
    fn into_result(self) -> Result<(), String> {
        Ok(())
    }
}

impl<E: Into<BoxError> + Send + 'static> TaskOutput for Result<(), E> {
    fn into_result(self) -> Result<(), String> {
        self.map_err(|error| error_chain(&*error.into()))
    }
}

/// When a task that ended with an error or a panic is started again.
#[derive(Debug, Clone, Copy)]
pub struct Restart {
    /// Wait before the first restart; doubles each time.
    pub wait: Duration,
    /// The longest wait.
    pub wait_max: Duration,
    /// Restarts before the task is given up; a run longer than `wait_max` starts
    /// the count again. `None` never gives up.
    pub limit: Option<u32>,
}

impl Default for Restart {
    fn default() -> Self {
        Self {
            wait: Duration::from_millis(200),
            wait_max: Duration::from_secs(30),
            limit: None,
        }
    }
}

/// What a task is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum TaskState {
    /// At work.
    Running,
    /// Between two runs or two attempts.
    Waiting,
    /// Ended by an error or a panic, and not started again.
    Failed,
}

/// One task, for the console.
#[derive(Debug, Clone, Serialize)]
pub struct TaskInfo {
    /// Number in this process.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// What it is doing.
    #[serde(flatten)]
    pub state: TaskState,
    /// When it was first started.
    pub started_at: Timestamp,
    /// Times it was started again after a failure.
    pub restarts: u64,
    /// The latest error or panic.
    pub last_error: Option<String>,
    /// The runs of a periodic task.
    pub periodic: Option<PeriodicInfo>,
}

/// The runs of a periodic task.
#[derive(Debug, Clone, Default, Serialize)]
pub struct PeriodicInfo {
    /// Microseconds between the ends of runs.
    pub period_us: u64,
    /// Runs that ended.
    pub runs: u64,
    /// Runs that failed.
    pub failures: u64,
    /// When the latest run began.
    pub last_start: Option<Timestamp>,
    /// Microseconds that the latest run took.
    pub last_duration_us: Option<u64>,
    /// Whether the latest run succeeded.
    pub last_ok: Option<bool>,
    /// When the next run is due.
    pub next_wake: Option<Timestamp>,
}

/// What [`Supervisor::shutdown`] achieved.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stopped {
    /// Tasks that outlived the soft deadline.
    pub late: Vec<String>,
    /// Tasks that outlived the hard token too and were aborted.
    pub aborted: Vec<String>,
}

/// What a task does, of one type for all, so that everything around it is compiled
/// once and not once for each task of the program.
type Work = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

fn boxed<F>(future: F) -> Work
where
    F: Future + Send + 'static,
    F::Output: TaskOutput,
{
    Box::pin(async move { future.await.into_result() })
}

/// Owns tasks. Cheap to clone; clones own the same tasks.
#[derive(Clone)]
pub struct Supervisor {
    inner: Arc<Inner>,
}

struct Inner {
    clock: Arc<dyn Clock>,
    soft: CancellationToken,
    hard: CancellationToken,
    abort: CancellationToken,
    tracker: TaskTracker,
    next_id: AtomicU64,
    tasks: Mutex<BTreeMap<u64, TaskInfo>>,
    failed: AtomicBool,
    failures: Family<Vec<(&'static str, String)>, Counter>,
    restarts: Family<Vec<(&'static str, String)>, Counter>,
}

impl std::fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Supervisor").field(&self.names()).finish()
    }
}

impl Default for Supervisor {
    fn default() -> Self {
        Self::new()
    }
}

/// Wakes a periodic task before its time.
#[derive(Debug, Clone)]
pub struct Periodic {
    wake: Arc<Notify>,
}

impl Periodic {
    /// Runs the task as soon as its present run, if any, has ended. Several calls
    /// before that are one run.
    pub fn wake(&self) {
        self.wake.notify_one();
    }
}

impl Supervisor {
    /// A supervisor by the machine's clock, without metrics.
    pub fn new() -> Self {
        Self::with_clock(Arc::new(SystemClock))
    }

    /// As [`Supervisor::new`], by another clock (for the times it records).
    pub fn with_clock(clock: Arc<dyn Clock>) -> Self {
        Self {
            inner: Arc::new(Inner {
                clock,
                soft: CancellationToken::new(),
                hard: CancellationToken::new(),
                abort: CancellationToken::new(),
                tracker: TaskTracker::new(),
                next_id: AtomicU64::new(1),
                tasks: Mutex::default(),
                failed: AtomicBool::new(false),
                failures: Family::default(),
                restarts: Family::default(),
            }),
        }
    }

    /// Counts failures and restarts of tasks by name in `metrics`.
    #[must_use]
    pub fn counted_by(self, metrics: &Metrics) -> Self {
        metrics.register(
            "task_failures",
            "Errors and panics of supervised tasks",
            self.inner.failures.clone(),
        );
        metrics.register(
            "task_restarts",
            "Restarts of supervised tasks after a failure",
            self.inner.restarts.clone(),
        );
        self
    }

    /// Cancelled when tasks should finish what they hold and end.
    pub fn soft(&self) -> CancellationToken {
        self.inner.soft.clone()
    }

    /// Cancelled when tasks should drop what they hold and end.
    pub fn hard(&self) -> CancellationToken {
        self.inner.hard.clone()
    }

    /// Whether an essential task has failed, so that the process should end with
    /// an error.
    pub fn has_failed(&self) -> bool {
        self.inner.failed.load(Ordering::SeqCst)
    }

    /// Every task that runs, waits or has failed for good, in order of their start.
    pub fn list(&self) -> Vec<TaskInfo> {
        self.tasks().values().cloned().collect()
    }

    /// Runs `future` once. A failure is logged and stays in the list.
    pub fn spawn<F>(&self, name: impl Into<String>, future: F)
    where
        F: Future + Send + 'static,
        F::Output: TaskOutput,
    {
        self.spawn_boxed(name.into(), boxed(future));
    }

    fn spawn_boxed(&self, name: String, future: Work) {
        let id = self.enter(name, None);
        let this = self.clone();
        self.inner.tracker.spawn(async move {
            let ending = this.attempt(future).await;
            this.leave(id, ending);
        });
    }

    /// Runs `future` once; without it the process is useless: its end, good or
    /// bad, before anyone asked for it begins the shutdown of everything.
    pub fn spawn_essential<F>(&self, name: impl Into<String>, future: F)
    where
        F: Future + Send + 'static,
        F::Output: TaskOutput,
    {
        self.spawn_essential_boxed(name.into(), boxed(future));
    }

    fn spawn_essential_boxed(&self, name: String, future: Work) {
        let id = self.enter(name.clone(), None);
        let this = self.clone();
        self.inner.tracker.spawn(async move {
            let ending = this.attempt(future).await;
            if !this.inner.soft.is_cancelled() {
                tracing::error!(
                    task = name,
                    "Essential task \"{name}\" ended; stopping the process"
                );
                this.inner.failed.store(true, Ordering::SeqCst);
                this.inner.soft.cancel();
            }
            this.leave(id, ending);
        });
    }

    /// Runs what `make` makes, and again after an error or a panic as `restart`
    /// says. A good end is an end.
    pub fn spawn_restarting<M, F>(&self, name: impl Into<String>, restart: Restart, mut make: M)
    where
        M: FnMut() -> F + Send + 'static,
        F: Future + Send + 'static,
        F::Output: TaskOutput,
    {
        let make = Box::new(move || boxed(make()));
        self.spawn_restarting_boxed(name.into(), restart, make);
    }

    fn spawn_restarting_boxed(
        &self,
        name: String,
        restart: Restart,
        mut make: Box<dyn FnMut() -> Work + Send>,
    ) {
        let id = self.enter(name.clone(), None);
        let this = self.clone();
        self.inner.tracker.spawn(async move {
            let mut wait = restart.wait;
            let mut restarts = 0;
            loop {
                let began = Instant::now();
                let ending = this.attempt(make()).await;
                let Ending::Failed(error) = ending else {
                    return this.leave(id, ending);
                };
                if began.elapsed() > restart.wait_max {
                    (wait, restarts) = (restart.wait, 0);
                }
                if restart.limit.is_some_and(|limit| restarts >= limit) {
                    return this.leave(id, Ending::Failed(error));
                }
                this.note_failure(id, &name, &error, TaskState::Waiting);
                tokio::select! {
                    () = this.inner.soft.cancelled() => return this.leave(id, Ending::Aborted),
                    () = tokio::time::sleep(wait) => {}
                }
                restarts += 1;
                wait = (wait * 2).min(restart.wait_max);
                this.inner
                    .restarts
                    .get_or_create(&vec![("task", name.clone())])
                    .inc();
                this.update(id, |task| {
                    task.restarts += 1;
                    task.state = TaskState::Running;
                });
            }
        });
    }

    /// Runs `run` at once and then `period` after the end of each run, until the
    /// soft token; a run under way is not interrupted by it. Errors and panics are
    /// recorded, and the next run comes in its time.
    pub fn every<M, F>(&self, name: impl Into<String>, period: Duration, mut run: M) -> Periodic
    where
        M: FnMut() -> F + Send + 'static,
        F: Future + Send + 'static,
        F::Output: TaskOutput,
    {
        self.every_boxed(name.into(), period, Box::new(move || boxed(run())))
    }

    fn every_boxed(
        &self,
        name: String,
        period: Duration,
        mut run: Box<dyn FnMut() -> Work + Send>,
    ) -> Periodic {
        let id = self.enter(
            name.clone(),
            Some(PeriodicInfo {
                period_us: micros(period),
                ..PeriodicInfo::default()
            }),
        );
        let wake = Arc::new(Notify::new());
        let periodic = Periodic { wake: wake.clone() };
        let this = self.clone();
        self.inner.tracker.spawn(async move {
            while !this.inner.soft.is_cancelled() {
                let began = Instant::now();
                let started = this.inner.clock.now();
                this.update_periodic(id, TaskState::Running, |info| {
                    info.last_start = Some(started);
                    info.next_wake = None;
                });
                let ending = if crate::telemetry::exports() {
                    let span = tracing::info_span!("task", otel.name = name, task = name);
                    this.attempt(Box::pin(run().instrument(span))).await
                } else {
                    this.attempt(run()).await
                };
                let ok = !matches!(ending, Ending::Failed(_));
                if let Ending::Failed(error) = &ending {
                    this.note_failure(id, &name, error, TaskState::Waiting);
                }
                let due = this.inner.clock.now().plus(period);
                this.update_periodic(id, TaskState::Waiting, |info| {
                    info.runs += 1;
                    info.failures += u64::from(!ok);
                    info.last_ok = Some(ok);
                    info.last_duration_us = Some(micros(began.elapsed()));
                    info.next_wake = Some(due);
                });
                tokio::select! {
                    () = this.inner.soft.cancelled() => {}
                    () = wake.notified() => {}
                    () = tokio::time::sleep(period) => {}
                }
            }
            this.leave(id, Ending::Finished);
        });
        periodic
    }

    /// Ends everything: cancels the soft token, waits up to `soft_deadline`,
    /// cancels the hard token, waits up to [`HARD_GRACE`], aborts the rest.
    pub async fn shutdown(&self, soft_deadline: Duration) -> Stopped {
        self.inner.soft.cancel();
        self.inner.tracker.close();
        if self.wait(soft_deadline).await {
            return Stopped::default();
        }
        let late = self.names();
        tracing::warn!(tasks = ?late, "Tasks outlived the soft deadline");
        self.inner.hard.cancel();
        if self.wait(HARD_GRACE).await {
            return Stopped {
                late,
                aborted: Vec::new(),
            };
        }
        let aborted = self.names();
        tracing::error!(tasks = ?aborted, "Tasks outlived the hard deadline and are aborted");
        self.inner.abort.cancel();
        // Aborting ends a task at its next await; one that never awaits is left
        // to the end of the process.
        if !self.wait(HARD_GRACE).await {
            tracing::error!(tasks = ?self.names(), "Tasks do not even obey an abort");
        }
        Stopped { late, aborted }
    }

    async fn wait(&self, at_most: Duration) -> bool {
        tokio::time::timeout(at_most, self.inner.tracker.wait())
            .await
            .is_ok()
    }

    /// Runs `future` as a task of its own, so that a panic ends only that.
    async fn attempt(&self, future: Work) -> Ending {
        let mut handle = tokio::spawn(future);
        let joined = tokio::select! {
            joined = &mut handle => joined,
            () = self.inner.abort.cancelled() => {
                handle.abort();
                handle.await
            }
        };
        match joined {
            Ok(Ok(())) => Ending::Finished,
            Ok(Err(error)) => Ending::Failed(error),
            Err(error) if error.is_cancelled() => Ending::Aborted,
            Err(error) => Ending::Failed(panic_text(error)),
        }
    }

    fn enter(&self, name: String, periodic: Option<PeriodicInfo>) -> u64 {
        let id = self.inner.next_id.fetch_add(1, Ordering::Relaxed);
        let info = TaskInfo {
            id,
            name,
            state: TaskState::Running,
            started_at: self.inner.clock.now(),
            restarts: 0,
            last_error: None,
            periodic,
        };
        self.tasks().insert(id, info);
        id
    }

    fn leave(&self, id: u64, ending: Ending) {
        let name = self.tasks().get(&id).map(|task| task.name.clone());
        let name = name.unwrap_or_default();
        match ending {
            Ending::Failed(error) => {
                self.note_failure(id, &name, &error, TaskState::Failed);
                self.forget_old_failures();
            }
            Ending::Finished | Ending::Aborted => {
                tracing::debug!(task = name, "Task \"{name}\" ended");
                self.tasks().remove(&id);
            }
        }
    }

    fn note_failure(&self, id: u64, name: &str, error: &str, then: TaskState) {
        tracing::error!(task = name, error, "Task \"{name}\" failed: {error}");
        let label = vec![("task", name.to_owned())];
        self.inner.failures.get_or_create(&label).inc();
        self.update(id, |task| {
            task.last_error = Some(error.to_owned());
            task.state = then;
        });
    }

    fn forget_old_failures(&self) {
        let mut tasks = self.tasks();
        let failed: Vec<u64> = tasks
            .values()
            .filter(|task| task.state == TaskState::Failed)
            .map(|task| task.id)
            .collect();
        let excess = failed.len().saturating_sub(FAILED_KEPT_MAX);
        for id in &failed[..excess] {
            tasks.remove(id);
        }
    }

    fn update(&self, id: u64, change: impl FnOnce(&mut TaskInfo)) {
        if let Some(task) = self.tasks().get_mut(&id) {
            change(task);
        }
    }

    fn update_periodic(&self, id: u64, state: TaskState, change: impl FnOnce(&mut PeriodicInfo)) {
        self.update(id, |task| {
            task.state = state;
            if let Some(info) = &mut task.periodic {
                change(info);
            }
        });
    }

    /// The names of tasks that have not ended.
    fn names(&self) -> Vec<String> {
        self.tasks()
            .values()
            .filter(|task| task.state != TaskState::Failed)
            .map(|task| task.name.clone())
            .collect()
    }

    fn tasks(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, TaskInfo>> {
        self.inner
            .tasks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

enum Ending {
    Finished,
    Failed(String),
    Aborted,
}

fn panic_text(error: tokio::task::JoinError) -> String {
    let text = match error.try_into_panic() {
        Ok(payload) => payload
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| payload.downcast_ref::<String>().cloned()),
        Err(_) => None,
    };
    format!("panicked: {}", text.as_deref().unwrap_or("no message"))
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
