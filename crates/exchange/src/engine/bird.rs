//! BIRD 2 as an engine.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::birdc::{Client, TIMEOUT};
use super::{Engine, EngineError, Operate, SessionState, is_session_name};

/// How long `bird -p` may read a configuration.
const CHECK_TIMEOUT: Duration = Duration::from_secs(120);
/// Bytes kept of what the checking program says.
const SAID_BYTES_MAX: u64 = 4096;

/// A BIRD whose control socket is here.
#[derive(Debug)]
pub struct Bird {
    socket: PathBuf,
    program: PathBuf,
    timeout: Duration,
}

impl Bird {
    /// The BIRD that listens on `socket`; `bird -p` is Debian's or the one on the path.
    pub fn new(socket: &Path) -> Self {
        let debian = Path::new("/usr/sbin/bird");
        let program = if debian.exists() {
            debian
        } else {
            Path::new("bird")
        };
        Self {
            socket: socket.to_owned(),
            program: program.to_owned(),
            timeout: TIMEOUT,
        }
    }

    /// Waits for answers no longer than `timeout`.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// A new conversation: one that broke tells nothing about the next.
    ///
    /// # Errors
    /// When nobody answers.
    pub fn client(&self) -> Result<Client, EngineError> {
        Client::connect(&self.socket, self.timeout)
    }

    fn tell(&self, command: &str) -> Result<(), EngineError> {
        self.client()?.ask(command, &mut |_, _| {})
    }
}

impl Bird {
    fn tell_session(&self, what: &str, session: &str) -> Result<(), EngineError> {
        let command = format!("{what} {session}");
        if !is_session_name(session) {
            return Err(EngineError::Refused {
                command,
                said: "no name of a session".to_owned(),
            });
        }
        self.tell(&command)
    }
}

impl Operate for Bird {
    fn disable(&mut self, session: &str) -> Result<(), EngineError> {
        self.tell_session("disable", session)
    }

    fn enable(&mut self, session: &str) -> Result<(), EngineError> {
        self.tell_session("enable", session)
    }
}

impl Engine for Bird {
    fn check(&mut self, file: &Path) -> Result<(), EngineError> {
        let system = |source| EngineError::System {
            what: self.program.display().to_string(),
            source,
        };
        let mut child = Command::new(&self.program)
            .arg("-p")
            .arg("-c")
            .arg(file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(system)?;
        let mut pipe = child.stderr.take();
        let reader = std::thread::spawn(move || {
            let mut said = Vec::new();
            if let Some(pipe) = &mut pipe {
                // What could be read is what can be told.
                pipe.take(SAID_BYTES_MAX)
                    .read_to_end(&mut said)
                    .unwrap_or_default();
            }
            String::from_utf8_lossy(&said).trim().replace('\n', " · ")
        });
        let end = Instant::now() + CHECK_TIMEOUT;
        let status = loop {
            if let Some(status) = child.try_wait().map_err(system)? {
                break status;
            }
            if Instant::now() > end {
                child.kill().map_err(system)?;
                child.wait().map_err(system)?;
                return Err(system(std::io::ErrorKind::TimedOut.into()));
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        if status.success() {
            return Ok(());
        }
        Err(EngineError::Configuration(
            reader.join().unwrap_or_default(),
        ))
    }

    fn sessions(&mut self) -> Result<Vec<SessionState>, EngineError> {
        self.client()?.sessions()
    }

    fn configure(&mut self, file: &Path, undo_after_s: u32) -> Result<(), EngineError> {
        self.tell(&format!(
            "configure \"{}\" timeout {undo_after_s}",
            file.display()
        ))
    }

    fn confirm(&mut self) -> Result<(), EngineError> {
        self.tell("configure confirm")
    }

    fn undo(&mut self) -> Result<(), EngineError> {
        self.tell("configure undo")
    }
}
