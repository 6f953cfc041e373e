//! The dead man's handle: a second process that undoes a drill when the first one cannot.
//!
//! It holds the reading end of a pipe whose writing end only the drill has. The drill writes one word
//! when it has restored everything itself; a pipe that closes without the word means that it died, by
//! whatever signal. A drill that lives and hangs is overtaken by the deadline.

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use super::DrillError;
use super::journal::{Journal, Undo};

/// What the guard says when it stands.
const READY: &str = "standing";
/// What the drill says when it has restored.
const DONE: &str = "done";
/// How long the guard may take to stand.
const START_MAX: Duration = Duration::from_secs(10);
/// How long the guard tries to undo before it gives up.
const PATIENCE: Duration = Duration::from_secs(600);
/// Seconds after the drill's own limit.
const MARGIN_S: u64 = 30;

/// The drill's end of the handle.
#[derive(Debug)]
pub struct Guard {
    child: Child,
    handle: Option<ChildStdin>,
}

/// Why the guard let go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// The drill restored by itself.
    ByDrill,
    /// The guard undid what was pending; what it could not undo is told.
    ByGuard {
        /// Whether the drill lived too long (else it had died).
        too_long: bool,
        /// What is still not undone, and why.
        left: Vec<(Undo, String)>,
    },
}

impl Guard {
    /// Starts a guard over `journal` and waits until it stands. `program` and `arguments` run
    /// [`stand`] with that journal.
    ///
    /// # Errors
    /// When it does not stand in time.
    pub fn start(program: &Path, arguments: &[String]) -> Result<Self, DrillError> {
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            // Not in our group: what the terminal sends us does not reach it.
            .process_group(0)
            .spawn()
            .map_err(DrillError::file(program))?;
        let (tell, told) = mpsc::channel();
        if let Some(pipe) = child.stdout.take() {
            std::thread::spawn(move || {
                let mut line = String::new();
                let read = BufReader::new(pipe.take(100)).read_line(&mut line);
                // Nobody may be waiting any more.
                tell.send(read.is_ok() && line.trim() == READY)
                    .unwrap_or_default();
            });
        }
        let handle = child.stdin.take();
        if told.recv_timeout(START_MAX) == Ok(true) {
            return Ok(Self { child, handle });
        }
        child.kill().unwrap_or_default();
        child.wait().map(|_| ()).unwrap_or_default();
        Err(DrillError::Guard)
    }

    /// Lets the guard go: everything is restored.
    pub fn release(mut self) {
        if let Some(mut handle) = self.handle.take() {
            // A guard that is gone has nothing to do either.
            writeln!(handle, "{DONE}").unwrap_or_default();
        }
        self.child.wait().map(|_| ()).unwrap_or_default();
    }
}

/// Stands guard over `journal` for a drill of at most `max_s` seconds, whose handle is `handle`.
///
/// # Errors
/// When the journal cannot be used.
pub fn stand(
    journal: &Path,
    max_s: u64,
    handle: impl Read + Send + 'static,
) -> Result<Ended, DrillError> {
    super::journal::read(journal)?;
    let mut out = std::io::stdout();
    writeln!(out, "{READY}")
        .and_then(|()| out.flush())
        .map_err(DrillError::file(Path::new("standard output")))?;
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let mut word = String::new();
        let read = BufReader::new(handle.take(100)).read_line(&mut word);
        tell.send(read.is_ok() && word.trim() == DONE)
            .unwrap_or_default();
    });
    let waited = told.recv_timeout(Duration::from_secs(max_s.saturating_add(MARGIN_S)));
    if waited == Ok(true) {
        return Ok(Ended::ByDrill);
    }
    let mut journal = Journal::open(journal)?;
    let left = journal.restore(PATIENCE)?;
    journal.end()?;
    Ok(Ended::ByGuard {
        too_long: waited.is_err(),
        left,
    })
}
