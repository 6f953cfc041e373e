//! The way of a new configuration to a running route server.
//!
//! The new text lies beside the running file until its sessions have proved it. Whoever dies on the
//! way (we, the daemon, the machine) leaves the running file as it was, and the daemon goes back by
//! itself when nobody confirms.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::daemon::beside;
use super::diff::{Diff, diff};
use super::{Engine, EngineError};
use crate::render;

/// Between two looks at the sessions.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Seconds beyond our own watch after which the daemon goes back by itself.
const UNDO_MARGIN_S: u32 = 15;
/// Answers that may fail in a row while the daemon is busy with the change.
const SILENT_LOOKS_MAX: u32 = 3;

/// How to apply.
#[derive(Debug, Clone)]
pub struct Options {
    /// The daemon's configuration file.
    pub running: PathBuf,
    /// Compare and check only.
    pub dry_run: bool,
    /// How long sessions may take to come back.
    pub watch: Duration,
    /// How long they must have stayed before the change is final.
    pub settle: Duration,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The running configuration is the wanted one already.
    Unchanged,
    /// Checked, and not applied, as wished.
    WouldChange(Diff),
    /// The daemon runs the new configuration and every session that was up is up.
    Applied(Diff),
    /// Sessions were lost: the daemon runs the old configuration.
    RolledBack {
        /// Names of the sessions that did not come back.
        lost: Vec<String>,
        /// What was tried.
        diff: Diff,
    },
}

/// Brings `text` to the daemon.
///
/// # Errors
/// When the configuration is refused or the daemon does not answer; the last good file is untouched.
pub fn apply(
    engine: &mut dyn Engine,
    text: &str,
    options: &Options,
) -> Result<Outcome, EngineError> {
    let system = |path: &Path| {
        let what = path.display().to_string();
        move |source| EngineError::System { what, source }
    };
    if !options.dry_run {
        engine.prepare()?;
    }
    let next = beside(&options.running, "next");
    let old = match std::fs::read_to_string(&options.running) {
        Ok(old) => old,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(system(&options.running)(error)),
    };
    let difference = diff(&old, text);
    if old == text {
        return Ok(Outcome::Unchanged);
    }
    write(&next, text)?;
    let checked = engine.check(&next);
    if options.dry_run || checked.is_err() {
        std::fs::remove_file(&next).map_err(system(&next))?;
        return checked.map(|()| Outcome::WouldChange(difference));
    }
    let wanted = engine.wanted(text);
    let before: BTreeSet<String> = engine
        .sessions()?
        .into_iter()
        .filter(|session| session.is_established() && wanted.contains(&session.name))
        .map(|session| session.name)
        .collect();
    let watch_s = u32::try_from(options.watch.as_secs()).unwrap_or(u32::MAX / 2);
    engine.configure(&next, watch_s.saturating_add(UNDO_MARGIN_S))?;
    let lost = match watch(engine, &before, options) {
        Ok(lost) => lost,
        Err(error) => {
            engine.abandon()?;
            return Err(error);
        }
    };
    if !lost.is_empty() {
        engine.undo()?;
        std::fs::remove_file(&next).map_err(system(&next))?;
        return Ok(Outcome::RolledBack {
            lost,
            diff: difference,
        });
    }
    engine.confirm()?;
    if !old.is_empty() {
        // Not a copy of the file: an engine that reads only that one has the new text there already.
        write(&beside(&options.running, "last-good"), &old)?;
    }
    std::fs::rename(&next, &options.running).map_err(system(&options.running))?;
    Ok(Outcome::Applied(difference))
}

/// Looks until every session of `before` has been up for `settle`, or `watch` is over; gives those
/// that are not up then.
fn watch(
    engine: &mut dyn Engine,
    before: &BTreeSet<String>,
    options: &Options,
) -> Result<Vec<String>, EngineError> {
    let end = Instant::now() + options.watch;
    let mut whole_since: Option<Instant> = None;
    let mut silent = 0;
    loop {
        std::thread::sleep(LOOK_EVERY);
        let now = Instant::now();
        let lost: Vec<String> = match engine.sessions() {
            Ok(sessions) => {
                silent = 0;
                let up: BTreeSet<&str> = sessions
                    .iter()
                    .filter(|session| session.is_established())
                    .map(|session| session.name.as_str())
                    .collect();
                before
                    .iter()
                    .filter(|name| !up.contains(name.as_str()))
                    .cloned()
                    .collect()
            }
            Err(error) => {
                silent += 1;
                if silent >= SILENT_LOOKS_MAX {
                    return Err(error);
                }
                continue;
            }
        };
        if lost.is_empty() {
            let since = *whole_since.get_or_insert(now);
            if now.duration_since(since) >= options.settle {
                return Ok(lost);
            }
        } else {
            whole_since = None;
        }
        if now >= end {
            return Ok(lost);
        }
    }
}

fn write(file: &Path, text: &str) -> Result<(), EngineError> {
    match render::write(file, text) {
        Ok(_) => Ok(()),
        Err(render::RenderError::Write { path, source }) => Err(EngineError::System {
            what: path.display().to_string(),
            source,
        }),
        Err(other) => Err(EngineError::Configuration(other.to_string())),
    }
}
