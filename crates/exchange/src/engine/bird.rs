//! BIRD 2 as an engine.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::birdc::{Client, TIMEOUT};
use super::program::run;
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
    fn bfd_up(&mut self) -> Result<Option<BTreeSet<IpAddr>>, EngineError> {
        let mut up = BTreeSet::new();
        let asked = self.client()?.ask("show bfd sessions", &mut |_, line| {
            let mut words = line.split_whitespace();
            let address = words.next().and_then(|word| word.parse().ok());
            if let (Some(address), Some("Up")) = (address, words.nth(1)) {
                up.insert(address);
            }
        });
        match asked {
            // A daemon whose configuration has no BFD refuses the question: nobody is watched.
            Ok(()) | Err(EngineError::Refused { .. }) => Ok(Some(up)),
            Err(error) => Err(error),
        }
    }

    fn wanted(&self, text: &str) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut open = None;
        for line in text.lines() {
            let opened = line
                .strip_prefix("protocol bgp ")
                .and_then(|rest| rest.strip_suffix(" {"));
            if let Some(name) = opened {
                open = Some(name);
                found.insert(name.to_owned());
            } else if line.trim() == "disabled on;" {
                open.take().map(|name| found.remove(name));
            } else if line == "}" {
                open = None;
            }
        }
        found
    }

    fn check(&mut self, file: &Path) -> Result<(), EngineError> {
        let mut command = Command::new(&self.program);
        command.arg("-p").arg("-c").arg(file);
        let said = run(&mut command, CHECK_TIMEOUT, SAID_BYTES_MAX)?;
        match said.status.success() {
            true => Ok(()),
            false => Err(EngineError::Configuration(said.line())),
        }
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
