//! From a snapshot to the running daemon.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;

use super::snapshot::SiteSnapshot;
use crate::engine::apply::{self, Options, Outcome};
use crate::engine::daemon::{Daemons, beside};
use crate::engine::{Engine, EngineError};
use crate::render;

/// After this long what could not be applied is tried again.
const RETRY: Duration = Duration::from_secs(5);
/// How often the clock is looked at while a rule's end is waited for: it may be set meanwhile.
const CLOCK_LOOK_S: u64 = 60;
/// A configuration that lost sessions is not tried again so soon: every try costs them.
const ROLLED_BACK_RETRY: Duration = Duration::from_secs(300);

/// How to bring configurations to the daemon.
#[derive(Debug, Clone)]
pub struct ApplierOptions {
    /// Name of the site.
    pub site: String,
    /// The machine's daemons; the document says which of them is the site's route server.
    pub daemons: Daemons,
    /// How long sessions may take to come back.
    pub watch: Duration,
    /// How long they must have stayed before a change is final.
    pub settle: Duration,
}

/// How the last try ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ApplyState {
    /// Nothing was tried yet.
    Waiting,
    /// The daemon runs what is wanted.
    Running,
    /// Written and checked; the daemon does not answer and reads it when it starts.
    Written,
    /// Sessions were lost: the daemon runs what it ran before.
    RolledBack,
    /// The configuration cannot be rendered or is refused: the daemon runs what it ran before.
    Refused,
    /// The daemon does not answer.
    Failed,
}

/// The last try.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Applied {
    /// How it ended.
    pub state: ApplyState,
    /// What went wrong, or what changed.
    pub detail: String,
    /// When, in Unix seconds.
    pub at_s: u64,
    /// Lines that came.
    pub added: usize,
    /// Lines that went.
    pub removed: usize,
}

impl Default for Applied {
    fn default() -> Self {
        Self {
            state: ApplyState::Waiting,
            detail: String::new(),
            at_s: 0,
            added: 0,
            removed: 0,
        }
    }
}

/// Brings snapshots to the daemon, one after the other.
#[derive(Debug)]
pub struct Applier {
    options: ApplierOptions,
    applied: watch::Sender<Applied>,
}

impl Applier {
    /// One that has done nothing yet, and what it does.
    pub fn new(options: ApplierOptions) -> (Self, watch::Receiver<Applied>) {
        let (applied, receiver) = watch::channel(Applied::default());
        (Self { options, applied }, receiver)
    }

    /// Applies what comes until `stop`.
    pub async fn run(
        self,
        mut snapshot: watch::Receiver<Option<Arc<SiteSnapshot>>>,
        stop: CancellationToken,
    ) {
        loop {
            let wanted = snapshot.borrow_and_update().clone();
            let tried = wanted.clone();
            let began_s = crate::glass::api::now_s();
            let mut pause = None;
            if let Some(wanted) = wanted {
                let options = self.options.clone();
                // The daemon is watched for seconds.
                let tried = tokio::task::spawn_blocking(move || attempt(&options, &wanted)).await;
                let applied = tried.unwrap_or_else(|error| Applied {
                    state: ApplyState::Failed,
                    detail: error.to_string(),
                    ..Applied::default()
                });
                pause = match applied.state {
                    ApplyState::Running | ApplyState::Refused | ApplyState::Waiting => None,
                    ApplyState::RolledBack => Some(ROLLED_BACK_RETRY),
                    ApplyState::Written | ApplyState::Failed => Some(RETRY),
                };
                self.tell(applied);
            }
            let waiting = async {
                match pause {
                    Some(pause) => tokio::time::sleep(pause).await,
                    None => std::future::pending().await,
                }
            };
            let ending = next_end(tried.as_deref(), began_s);
            tokio::pin!(waiting, ending);
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    changed = snapshot.changed() => if changed.is_err() { return },
                    () = &mut waiting => break,
                    () = &mut ending => break,
                }
                // A snapshot that says the same of the routes must not begin a try that costs sessions.
                let next = snapshot.borrow_and_update().clone();
                match (&tried, &next) {
                    (Some(tried), Some(next)) if tried.configures_as(next) => {}
                    _ => break,
                }
            }
        }
    }

    fn tell(&self, applied: Applied) {
        let before = self.applied.borrow().clone();
        let same = (before.state, &before.detail) == (applied.state, &applied.detail);
        if !same {
            let Applied { state, detail, .. } = &applied;
            match state {
                ApplyState::Running | ApplyState::Waiting => {
                    tracing::info!(detail, "The route server runs the configuration");
                }
                ApplyState::Written => tracing::warn!(
                    detail,
                    "The route server does not answer: the configuration waits for its start"
                ),
                ApplyState::RolledBack | ApplyState::Refused | ApplyState::Failed => {
                    tracing::error!(
                        ?state,
                        detail,
                        "The route server goes on with its last good configuration"
                    )
                }
            }
        }
        if !same || applied.state != ApplyState::Running {
            self.applied.send_replace(applied);
        }
    }
}

/// Waits until the first rule ends that was in force at `began_s`, when the last try began: one that ended
/// while the daemon was watched has ended already.
async fn next_end(snapshot: Option<&SiteSnapshot>, began_s: u64) {
    let began_s = i64::try_from(began_s).unwrap_or(i64::MAX);
    let next = snapshot.and_then(|snapshot| snapshot.document_at(began_s).1);
    let Some(next) = next.and_then(|next| u64::try_from(next).ok()) else {
        return std::future::pending().await;
    };
    loop {
        match next.saturating_sub(crate::glass::api::now_s()) {
            0 => return,
            left => tokio::time::sleep(Duration::from_secs(left.min(CLOCK_LOOK_S))).await,
        }
    }
}

fn attempt(options: &ApplierOptions, snapshot: &SiteSnapshot) -> Applied {
    let at_s = crate::glass::api::now_s();
    let (document, _) = snapshot.document_at(i64::try_from(at_s).unwrap_or(i64::MAX));
    let told = |state, detail: String| Applied {
        state,
        detail,
        at_s,
        added: 0,
        removed: 0,
    };
    let daemon = options.daemons.at(&document, &options.site);
    let text = match daemon.render(&document, &options.site, &snapshot.allowed()) {
        Ok(text) => text,
        Err(error) => return told(ApplyState::Refused, runtime::error_chain(&error)),
    };
    let mut engine = daemon.engine();
    if let Err(silent @ EngineError::Silent { .. }) = engine.sessions() {
        return match wait_for_start(engine.as_mut(), &daemon.config, &text) {
            Ok(()) => told(ApplyState::Written, runtime::error_chain(&silent)),
            Err(error) => told(ApplyState::Refused, runtime::error_chain(&error)),
        };
    }
    let how = Options {
        running: daemon.config.clone(),
        dry_run: false,
        watch: options.watch,
        settle: options.settle,
    };
    match apply::apply(engine.as_mut(), &text, &how) {
        Ok(Outcome::Unchanged) => told(ApplyState::Running, String::new()),
        Ok(Outcome::Applied(diff) | Outcome::WouldChange(diff)) => Applied {
            added: diff.added,
            removed: diff.removed,
            ..told(
                ApplyState::Running,
                format!("+{} -{} lines", diff.added, diff.removed),
            )
        },
        Ok(Outcome::RolledBack { lost, diff }) => Applied {
            added: diff.added,
            removed: diff.removed,
            ..told(
                ApplyState::RolledBack,
                format!("sessions lost: {}", lost.join(", ")),
            )
        },
        Err(error @ EngineError::Configuration(_)) => {
            told(ApplyState::Refused, runtime::error_chain(&error))
        }
        Err(error) => told(ApplyState::Failed, runtime::error_chain(&error)),
    }
}

/// A daemon that is not there reads the new file when it starts, if the file is good.
fn wait_for_start(engine: &mut dyn Engine, running: &Path, text: &str) -> Result<(), EngineError> {
    if std::fs::read(running).is_ok_and(|there| there == text.as_bytes()) {
        return Ok(());
    }
    let next = beside(running, "next");
    let failed = |error: render::RenderError| EngineError::Configuration(error.to_string());
    render::write(&next, text).map_err(failed)?;
    let system = |source| EngineError::System {
        what: next.display().to_string(),
        source,
    };
    match engine.check(&next) {
        Ok(()) => std::fs::rename(&next, running).map_err(system),
        Err(error) => {
            std::fs::remove_file(&next).map_err(system)?;
            Err(error)
        }
    }
}
