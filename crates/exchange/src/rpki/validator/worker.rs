//! The thread that validates: a run at the start, then one each interval, when data expire, or when asked.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc::Sender;

use super::{INTERVAL_MIN, Outcome, Progress, Validator, ValidatorOptions};

/// Longest time until a run that gave nothing is tried again.
const RETRY_MAX: Duration = Duration::from_secs(60);

/// What the thread tells.
pub(crate) enum News {
    /// A run ended well.
    Outcome(Arc<Outcome>),
    /// A run gave nothing, or the validator cannot be set up.
    Problem(String),
}

/// Asks the thread.
#[derive(Debug, Clone)]
pub(crate) struct Worker {
    orders: SyncSender<()>,
    progress: Arc<Progress>,
}

impl Worker {
    /// Asks for a run at once. Asked during a run, one more follows it. `false` when the thread has ended.
    pub(crate) fn run_now(&self) -> bool {
        !matches!(
            self.orders.try_send(()),
            Err(TrySendError::Disconnected(()))
        )
    }

    /// How far the run is.
    pub(crate) fn progress(&self) -> &Progress {
        &self.progress
    }
}

/// What the thread of a [`Worker`] needs.
#[derive(Debug)]
pub(crate) struct Job {
    options: ValidatorOptions,
    orders: Receiver<()>,
    progress: Arc<Progress>,
}

/// A thread that is yet to start, and how to ask it.
pub(crate) fn prepare(options: ValidatorOptions) -> (Worker, Job) {
    // One place: a run that is asked for twice while another goes on is one run.
    let (orders, received) = sync_channel(1);
    let progress = Arc::new(Progress::default());
    let worker = Worker {
        orders,
        progress: Arc::clone(&progress),
    };
    let job = Job {
        options,
        orders: received,
        progress,
    };
    (worker, job)
}

impl Job {
    /// Starts the thread. It ends after [`Progress::stop`] or when nobody listens to `news`.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(crate) fn start(self, news: Sender<News>) -> std::io::Result<()> {
        std::thread::Builder::new()
            .name("rpki-validator".into())
            .spawn(move || self.work(&news))
            .map(|_| ())
    }

    fn work(self, news: &Sender<News>) {
        let mut validator = None;
        while !self.progress.stopped() {
            let (said, wait) = self.once(&mut validator);
            if self.progress.stopped() || news.blocking_send(said).is_err() {
                return;
            }
            match self.orders.recv_timeout(wait) {
                Ok(()) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// One run; a validator that could not be set up is tried again.
    fn once(&self, validator: &mut Option<Validator>) -> (News, Duration) {
        let every = self.options.every.max(INTERVAL_MIN);
        let again = every.min(RETRY_MAX);
        if validator.is_none() {
            match Validator::open(self.options.clone(), Arc::clone(&self.progress)) {
                Ok(opened) => *validator = Some(opened),
                Err(error) => return (News::Problem(runtime::error_chain(&error)), again),
            }
        }
        let Some(ready) = validator else {
            return (News::Problem("no validator".into()), again);
        };
        match ready.run() {
            Ok(outcome) => {
                let wait = wait(every, outcome.refresh_at);
                (News::Outcome(Arc::new(outcome)), wait)
            }
            Err(error) => (News::Problem(runtime::error_chain(&error)), again),
        }
    }
}

/// Until the next interval, or until the first of the data expires, but never at once.
fn wait(every: Duration, refresh_at: Option<SystemTime>) -> Duration {
    let left = refresh_at.map_or(every, |at| {
        at.duration_since(SystemTime::now()).unwrap_or_default()
    });
    left.min(every).max(INTERVAL_MIN)
}
