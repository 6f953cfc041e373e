//! Drills: "cut Hsinchu for ten minutes", on the live exchange, timed, recorded, and always undone.
//!
//! A drill is a document ([`plan`]): probes that run all the time, and steps that take sessions down,
//! run commands, wait, restore. [`run`] walks through it and measures; before anything is touched, the
//! way back is durable in a [`journal`], and a second process stands [`guard`] over it: when the first
//! one ends without having restored, be it killed, or lasts too long, the guard does it. What happened
//! becomes a [`record`] for programs and a [`report`] for people.
//!
//! Sessions are disabled in the daemon's memory only: its configuration stays, so that even a route
//! server that starts anew meanwhile starts whole.

pub mod guard;
pub mod journal;
pub mod plan;
pub mod probe;
pub mod record;
pub mod report;
pub mod run;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::engine::EngineError;

/// How long a driver's command may take.
pub const COMMAND_TIMEOUT: Duration = Duration::from_secs(60);
/// Characters of a command's words that are kept.
const SAID_CHARS_MAX: usize = 300;

/// Why a drill cannot begin or go on.
#[derive(Debug, thiserror::Error)]
pub enum DrillError {
    /// The plan names a site that cannot be reached from here.
    #[error("no place is known for site {site:?}: must be one of {known}")]
    Site {
        /// The site.
        site: String,
        /// What is known.
        known: String,
    },
    /// An earlier drill was not undone.
    #[error("{path}: an earlier drill was not restored: run `civicnet exchange drill restore`")]
    Unfinished {
        /// Its journal.
        path: String,
    },
    /// A route server does not answer or refuses.
    #[error("the route server of {site} cannot be used")]
    Engine {
        /// The site.
        site: String,
        /// Why.
        #[source]
        source: EngineError,
    },
    /// A session that should be taken down is not there.
    #[error("{site}: no session that is up matches {patterns}")]
    NoSession {
        /// The site.
        site: String,
        /// What was asked for.
        patterns: String,
    },
    /// A driver's command failed.
    #[error("command {command:?} failed: {said}")]
    Command {
        /// Its words.
        command: String,
        /// What it said, or the system.
        said: String,
    },
    /// A file cannot be used.
    #[error("cannot use {path}")]
    File {
        /// The file.
        path: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The journal's words make no sense.
    #[error("{path}, line {line}: is no line of a drill's journal")]
    Journal {
        /// The journal.
        path: String,
        /// The line, from 1.
        line: usize,
    },
    /// The guard did not start.
    #[error("the guard does not answer: nothing was touched")]
    Guard,
}

impl DrillError {
    fn file(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.display().to_string();
        move |source| Self::File { path, source }
    }
}

/// Runs a command to its end, without a shell and without input; its last words are told when it fails.
///
/// # Errors
/// When it cannot start, does not end in time, or ends with a failure.
pub(crate) fn command(words: &[String], timeout: Duration) -> Result<String, DrillError> {
    let failed = |said: String| DrillError::Command {
        command: words.join(" "),
        said,
    };
    let Some((program, arguments)) = words.split_first() else {
        return Err(failed("has no words".to_owned()));
    };
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    let readers = [
        child.stdout.take().map(|pipe| read(Box::new(pipe))),
        child.stderr.take().map(|pipe| read(Box::new(pipe))),
    ];
    let end = Instant::now() + timeout;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() < end => std::thread::sleep(Duration::from_millis(10)),
            Ok(None) => {
                // A child that is gone already is what was wanted.
                child.kill().unwrap_or_default();
                child.wait().map_err(|error| failed(error.to_string()))?;
                return Err(failed(format!(
                    "did not end within {} s",
                    timeout.as_secs()
                )));
            }
            Err(error) => return Err(failed(error.to_string())),
        }
    };
    let said: Vec<String> = readers
        .into_iter()
        .flatten()
        .map(|reader| reader.join().unwrap_or_default())
        .filter(|text| !text.is_empty())
        .collect();
    let said = said.join(" · ");
    if status.success() {
        Ok(said)
    } else {
        Err(failed(format!("{status}: {said}")))
    }
}

/// Reads a pipe to its end, so that nobody blocks on it, and keeps the last words.
fn read(mut pipe: Box<dyn std::io::Read + Send>) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut last = Vec::new();
        let mut buffer = [0u8; 4096];
        while let Ok(count @ 1..) = pipe.read(&mut buffer) {
            last.extend_from_slice(&buffer[..count]);
            let surplus = last.len().saturating_sub(SAID_CHARS_MAX);
            last.drain(..surplus);
        }
        String::from_utf8_lossy(&last).trim().replace('\n', " · ")
    })
}
