//! The way back, durable before anything is touched.
//!
//! One JSON object a line: first what drill it is, then for each act what undoes it, then what has been
//! undone, then the end. A line is on the disk (`fsync`) before its act begins. A last line that was cut
//! short is as if it had not been written: its act never began.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{COMMAND_TIMEOUT, DrillError};
use crate::document::EngineKind;
use crate::engine::EngineError;
use crate::engine::daemon::Daemon;

/// Bytes of a journal.
const BYTES_MAX: u64 = 64 << 20;
/// Between two attempts to reach a route server that does not answer.
const RETRY_EVERY: Duration = Duration::from_millis(500);

/// What takes one act back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Undo {
    /// Enables a session.
    Enable {
        /// The site, for people.
        site: String,
        /// The daemon.
        #[serde(default = "bird")]
        engine: EngineKind,
        /// Its control socket.
        socket: PathBuf,
        /// The session.
        session: String,
    },
    /// Runs a command.
    Command {
        /// Its words.
        words: Vec<String>,
    },
}

/// Journals that do not say it are of BIRD.
const fn bird() -> EngineKind {
    EngineKind::Bird
}

impl std::fmt::Display for Undo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Enable { site, session, .. } => write!(f, "{site}: enable {session}"),
            Self::Command { words } => f.write_str(&words.join(" ")),
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Line {
    Drill { id: String, title: String },
    Act { number: u64, undo: Undo },
    Undone { number: u64 },
    End,
}

/// A journal that is being written.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    next: u64,
    pending: Vec<(u64, Undo)>,
}

/// What a journal holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Held {
    /// The drill.
    pub title: String,
    /// What is not undone, the newest first.
    pub pending: Vec<(u64, Undo)>,
    /// Whether the drill ended by itself.
    pub ended: bool,
}

impl Journal {
    /// Begins the journal of a drill at `path`; one that is there must be of a drill that was undone.
    ///
    /// # Errors
    /// When an earlier drill was not undone, or the file cannot be used.
    pub fn begin(path: &Path, id: &str, title: &str) -> Result<Self, DrillError> {
        if path.exists() && !read(path)?.pending.is_empty() {
            return Err(DrillError::Unfinished {
                path: path.display().to_string(),
            });
        }
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory).map_err(DrillError::file(directory))?;
        }
        let file = File::create(path).map_err(DrillError::file(path))?;
        let mut journal = Self {
            path: path.to_owned(),
            file,
            next: 0,
            pending: Vec::new(),
        };
        journal.write(&Line::Drill {
            id: id.to_owned(),
            title: title.to_owned(),
        })?;
        // The name is durable too.
        if let Some(directory) = path.parent().filter(|path| !path.as_os_str().is_empty()) {
            let opened = File::open(directory).map_err(DrillError::file(directory))?;
            opened.sync_all().map_err(DrillError::file(directory))?;
        }
        Ok(journal)
    }

    /// Opens the journal at `path` to undo what is pending.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn open(path: &Path) -> Result<Self, DrillError> {
        let held = read(path)?;
        let mut file = OpenOptions::new()
            .append(true)
            .open(path)
            .map_err(DrillError::file(path))?;
        // A line that was cut short ends here, and the blank one behind it says so.
        file.write_all(b"\n\n").map_err(DrillError::file(path))?;
        let mut pending = held.pending;
        pending.reverse();
        Ok(Self {
            path: path.to_owned(),
            file,
            next: u64::MAX / 2,
            pending,
        })
    }

    /// Promises that `undo` will be done; only then may the act begin.
    ///
    /// # Errors
    /// When it is not on the disk.
    pub fn promise(&mut self, undo: Undo) -> Result<(), DrillError> {
        let number = self.next;
        self.next += 1;
        self.write(&Line::Act {
            number,
            undo: undo.clone(),
        })?;
        self.pending.push((number, undo));
        Ok(())
    }

    /// Undoes everything that is pending, the newest first, trying again for `patience`. Gives what
    /// could not be undone, with the reason; that stays pending.
    ///
    /// # Errors
    /// When the journal cannot be written; everything was tried nevertheless.
    pub fn restore(&mut self, patience: Duration) -> Result<Vec<(Undo, String)>, DrillError> {
        let end = Instant::now() + patience;
        let mut left = Vec::new();
        let mut unwritten = None;
        while let Some((number, undo)) = self.pending.pop() {
            match undone(&undo, end) {
                Ok(()) => {
                    if let Err(error) = self.write(&Line::Undone { number }) {
                        unwritten = Some(error);
                    }
                }
                Err(error) => {
                    let why = runtime::error_chain(&error);
                    left.push((number, undo, why));
                }
            }
        }
        left.reverse();
        self.pending = left
            .iter()
            .map(|(number, undo, _)| (*number, undo.clone()))
            .collect();
        match unwritten {
            Some(error) => Err(error),
            None => Ok(left.into_iter().map(|(_, undo, why)| (undo, why)).collect()),
        }
    }

    /// The drill is over and undone.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn end(mut self) -> Result<(), DrillError> {
        if self.pending.is_empty() {
            self.write(&Line::End)?;
        }
        Ok(())
    }

    fn write(&mut self, line: &Line) -> Result<(), DrillError> {
        let failed = DrillError::file(&self.path);
        let mut text = match serde_json::to_string(line) {
            Ok(text) => text,
            Err(error) => return Err(failed(std::io::Error::other(error))),
        };
        text.push('\n');
        let written = self
            .file
            .write_all(text.as_bytes())
            .and_then(|()| self.file.sync_data());
        written.map_err(failed)
    }
}

fn undone(undo: &Undo, end: Instant) -> Result<(), DrillError> {
    loop {
        let tried = match undo {
            Undo::Command { words } => super::command(words, COMMAND_TIMEOUT).map(|_| ()),
            Undo::Enable {
                site,
                engine,
                socket,
                session,
            } => Daemon {
                socket: socket.clone(),
                ..Daemon::debian(*engine)
            }
            .engine()
            .enable(session)
            .map_err(|source| DrillError::Engine {
                site: site.clone(),
                source,
            }),
        };
        // A session that the daemon does not know any more needs nothing. OpenBGPD refuses for other
        // reasons too, when it is busy for one.
        if let (
            Err(DrillError::Engine {
                source: EngineError::Refused { said, .. },
                ..
            }),
            Undo::Enable { engine, .. },
        ) = (&tried, undo)
            && (*engine == EngineKind::Bird || said.contains("no such neighbor"))
        {
            return Ok(());
        }
        match tried {
            Err(_) if Instant::now() + RETRY_EVERY < end => std::thread::sleep(RETRY_EVERY),
            last => return last,
        }
    }
}

/// Reads the journal at `path`.
///
/// # Errors
/// When it cannot be read, or a line before the last one makes no sense.
pub fn read(path: &Path) -> Result<Held, DrillError> {
    let length = std::fs::metadata(path)
        .map_err(DrillError::file(path))?
        .len();
    if length > BYTES_MAX {
        return Err(DrillError::file(path)(
            std::io::ErrorKind::FileTooLarge.into(),
        ));
    }
    let bytes = std::fs::read(path).map_err(DrillError::file(path))?;
    parse(&String::from_utf8_lossy(&bytes)).map_err(|line| DrillError::Journal {
        path: path.display().to_string(),
        line,
    })
}

/// Reads a journal's text; the error is the number of the line that makes no sense.
pub(super) fn parse(text: &str) -> Result<Held, usize> {
    let mut held = Held::default();
    let count = text.lines().count();
    for (index, line) in text.lines().enumerate() {
        if line.is_empty() {
            continue;
        }
        match serde_json::from_str(line) {
            Ok(Line::Drill { title, .. }) => held.title = title,
            Ok(Line::Act { number, undo }) => held.pending.push((number, undo)),
            Ok(Line::Undone { number }) => held.pending.retain(|(one, _)| *one != number),
            Ok(Line::End) => held.ended = true,
            // Cut short, then closed by whoever came to undo.
            Err(_) if index + 1 == count || text.lines().nth(index + 1) == Some("") => {}
            Err(_) => return Err(index + 1),
        }
    }
    held.pending.reverse();
    Ok(held)
}
