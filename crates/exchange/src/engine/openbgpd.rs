//! OpenBGPD as an engine, by its programs `bgpd` and `bgpctl`.
//!
//! `bgpctl reload` has the daemon read the file again that it was started with, and knows no way back. The
//! way back is ours: before a new text takes the place of the running one, the old one is kept beside it as
//! `.before`, and `.trial` names the try. Whoever removes `.trial` first has decided: [`Engine::confirm`]
//! lets the new text stay, [`Engine::undo`] puts the old one back. When nobody does in time, a shell that
//! outlives us goes back; when that one died as well (a power cut), [`Engine::prepare`] does, before the next change.
//!
//! A reload neither takes down a session that is configured `down` from then on, nor uses a new secret
//! (`bgpctl(8)`): what [`parse::terms`] finds different is told to the sessions one by one.

mod parse;
pub mod rib;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use super::program::{Said, run};
use super::{Engine, EngineError, Operate, SessionState, is_session_name};
use crate::render;

pub use parse::{SetState, Terms, aged_sessions, sessions, sets, terms};

/// Debian's control socket.
pub const SOCKET: &str = "/run/openbgpd/bgpd.sock.0";
/// Debian's configuration file.
pub const CONFIG: &str = "/etc/bgpd.conf";
/// How long `bgpd -n` may read a configuration.
const CHECK_TIMEOUT: Duration = Duration::from_secs(120);
/// How long an answer of `bgpctl` may take; a reload is answered when the filters are in force.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes kept of a complaint.
const SAID_BYTES_MAX: u64 = 4096;
/// Bytes of the list of sessions: 3 kB each, for more than any exchange has.
const SESSIONS_BYTES_MAX: u64 = 64 << 20;
/// How long the reading of a whole table may take.
const TABLE_TIMEOUT: Duration = Duration::from_secs(300);
/// Bytes of the list of sets, and of the daemon's version.
const SETS_BYTES_MAX: u64 = 4 << 20;
/// Bytes of a configuration.
const CONFIG_BYTES_MAX: u64 = 1 << 30;
/// What `bgpctl` says when something was done: it exits with 0 in any case.
const DONE: &str = "request processed";
/// Goes back when nobody decides: file, bgpctl, socket, seconds, name of the try; then address and word of
/// each session that must be told.
const GUARD: &str = r#"
i=0
while [ "$i" -lt "$4" ]; do
  sleep 1
  i=$((i + 1))
  [ "$(cat "$1.trial" 2>/dev/null)" = "$5" ] || exit 0
done
mv -f "$1.before" "$1" && rm -f "$1.trial" || exit 1
bgpctl=$2
socket=$3
shift 5
timeout 60 "$bgpctl" -s "$socket" reload
while [ $# -ge 2 ]; do
  timeout 60 "$bgpctl" -s "$socket" neighbor "$1" "$2"
  shift 2
done
"#;

/// An OpenBGPD whose control socket is here.
#[derive(Debug)]
pub struct OpenBgpd {
    socket: PathBuf,
    running: PathBuf,
    bgpd: PathBuf,
    bgpctl: PathBuf,
    timeout: Duration,
    /// Held while a change is under way, so that no other one is.
    lock: Option<File>,
    guard: Option<Child>,
}

impl OpenBgpd {
    /// The OpenBGPD that listens on `socket` and was started with the file `running`; its programs are
    /// Debian's or those on the path.
    pub fn new(socket: &Path, running: &Path) -> Self {
        let program = |name: &str| {
            let debian = Path::new("/usr/sbin").join(name);
            match debian.exists() {
                true => debian,
                false => name.into(),
            }
        };
        Self {
            socket: socket.to_owned(),
            running: running.to_owned(),
            bgpd: program("bgpd"),
            bgpctl: program("bgpctl"),
            timeout: TIMEOUT,
            lock: None,
            guard: None,
        }
    }

    /// Other programs than Debian's.
    #[must_use]
    pub fn with_programs(mut self, bgpd: &Path, bgpctl: &Path) -> Self {
        self.bgpd = bgpd.to_owned();
        self.bgpctl = bgpctl.to_owned();
        self
    }

    /// Waits for answers no longer than `timeout`.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    fn ask(&self, words: &[&str], bytes_max: u64) -> Result<Said, EngineError> {
        let mut command = Command::new(&self.bgpctl);
        command.arg("-s").arg(&self.socket).args(words);
        let silent = |source| EngineError::Silent {
            socket: self.socket.display().to_string(),
            source,
        };
        let said = match run(&mut command, self.timeout, bytes_max) {
            Err(EngineError::System { source, .. }) if source.kind() == ErrorKind::TimedOut => {
                return Err(silent(source));
            }
            other => other?,
        };
        if said.status.success() {
            return Ok(said);
        }
        if said.err.starts_with("bgpctl: connect") {
            return Err(silent(std::io::Error::other(said.line())));
        }
        Err(refused(words, &said))
    }

    /// The routes that `show rib detail` and `more` name, one after the other, until `each` has enough.
    ///
    /// # Errors
    /// When the daemon does not answer, refuses, or says what cannot be read.
    pub fn routes(
        &self,
        more: &[&str],
        each: &mut dyn FnMut(rib::Route) -> ControlFlow<()>,
    ) -> Result<(), EngineError> {
        let words = [&["-j", "show", "rib", "detail"][..], more].concat();
        let refused = |said: String| EngineError::Refused {
            command: words.join(" "),
            said,
        };
        let mut child = Command::new(&self.bgpctl)
            .arg("-s")
            .arg(&self.socket)
            .args(&words)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(system(&self.bgpctl))?;
        let (Some(out), err) = (child.stdout.take(), child.stderr.take()) else {
            return Err(system(&self.bgpctl)(ErrorKind::BrokenPipe.into()));
        };
        let (done, is_done) = mpsc::channel::<()>();
        // One that hangs is ended, which ends what is read of it.
        let watchman = std::thread::spawn(move || {
            let is_late =
                is_done.recv_timeout(TABLE_TIMEOUT) == Err(mpsc::RecvTimeoutError::Timeout);
            // It may have ended by itself.
            child.kill().unwrap_or_default();
            (is_late, child.wait())
        });
        let mut reader = std::io::BufReader::with_capacity(64 << 10, out);
        let read = rib::read(&mut reader, each);
        drop(reader);
        let said = err.map(|pipe| {
            let mut text = String::new();
            // What is no text is no reason either.
            std::io::Read::read_to_string(
                &mut std::io::Read::take(pipe, SAID_BYTES_MAX),
                &mut text,
            )
            .unwrap_or_default();
            text.trim().to_owned()
        });
        drop(done);
        let silent = |what: std::io::Error| EngineError::Silent {
            socket: self.socket.display().to_string(),
            source: what,
        };
        let is_late = watchman.join().is_ok_and(|(is_late, _)| is_late);
        match (read, said.unwrap_or_default()) {
            (Ok(rib::End::Whole | rib::End::Enough), _) => Ok(()),
            (Ok(rib::End::Refused(said)), _) => Err(refused(said)),
            (Err(_), _) if is_late => Err(silent(ErrorKind::TimedOut.into())),
            (Err(_), said) if said.starts_with("bgpctl: connect") => {
                Err(silent(std::io::Error::other(said)))
            }
            (Err(error), said) if said.is_empty() => Err(refused(error)),
            (Err(error), said) => Err(refused(format!("{error} · {said}"))),
        }
    }

    /// What decides on routes besides what neighbours send: each set with the second of its last change,
    /// told as seconds ago. Origin validation's payloads are one of them.
    ///
    /// # Errors
    /// When the daemon does not answer.
    pub fn sets(&self) -> Result<Vec<SetState>, EngineError> {
        let words = ["-j", "show", "sets"];
        let said = self.ask(&words, SETS_BYTES_MAX)?;
        parse::sets(&said.out).map_err(|error| EngineError::Refused {
            command: words.join(" "),
            said: error,
        })
    }

    /// The sessions, each with the seconds since it came into its state, where the daemon knows.
    ///
    /// # Errors
    /// When the daemon does not answer.
    pub fn aged_sessions(&self) -> Result<Vec<(SessionState, Option<u64>)>, EngineError> {
        let words = ["-j", "show", "neighbor"];
        let said = self.ask(&words, SESSIONS_BYTES_MAX)?;
        parse::aged_sessions(&said.out).map_err(|error| EngineError::Refused {
            command: words.join(" "),
            said: error,
        })
    }

    /// The daemon's name and version: `OpenBGPD 7.7`.
    ///
    /// # Errors
    /// When its program cannot be run.
    pub fn version(&self) -> Result<String, EngineError> {
        let mut command = Command::new(&self.bgpd);
        let said = run(command.arg("-V"), self.timeout, SAID_BYTES_MAX)?;
        Ok(said.line())
    }

    fn tell(&self, words: &[&str]) -> Result<(), EngineError> {
        let said = self.ask(words, SAID_BYTES_MAX)?;
        if said.out.contains(DONE) {
            Ok(())
        } else {
            Err(refused(words, &said))
        }
    }

    fn reload(&self) -> Result<(), EngineError> {
        match self.tell(&["reload"]) {
            Err(EngineError::Refused { said, .. }) if said.contains("config file has errors") => {
                Err(EngineError::Configuration(said))
            }
            other => other,
        }
    }

    /// Has the daemon read its file, and tells the sessions what a reload does not.
    fn take(&self, old: &str, new: &str) -> Result<(), EngineError> {
        self.reload()?;
        for (address, word) in words(old, new) {
            self.tell(&["neighbor", &address, word])?;
        }
        Ok(())
    }

    fn beside(&self, what: &str) -> PathBuf {
        let mut name = self.running.clone().into_os_string();
        name.push(".");
        name.push(what);
        name.into()
    }

    /// Puts the old text back, when a try is under way. Gives the old text and the new one.
    fn put_back(&mut self) -> Result<Option<(String, String)>, EngineError> {
        let (before, trial) = (self.beside("before"), self.beside("trial"));
        if !trial.exists() {
            return Ok(None);
        }
        let new = read(&self.running)?;
        let old = match read(&before) {
            Ok(old) => old,
            // The guard was between its two steps.
            Err(EngineError::System { source, .. }) if source.kind() == ErrorKind::NotFound => {
                new.clone()
            }
            Err(error) => return Err(error),
        };
        write(&self.running, &old)?;
        remove(&trial)?;
        remove(&before)?;
        self.dismiss();
        Ok(Some((old, new)))
    }

    /// Ends the guard: there is nothing to go back from.
    fn dismiss(&mut self) {
        if let Some(mut guard) = self.guard.take() {
            // It may have ended by itself.
            guard.kill().unwrap_or_default();
            guard.wait().map(|_| ()).unwrap_or_default();
        }
    }

    fn tell_session(&self, word: &str, session: &str) -> Result<(), EngineError> {
        if is_session_name(session) || session.parse::<IpAddr>().is_ok() {
            return self.tell(&["neighbor", session, word]);
        }
        Err(EngineError::Refused {
            command: format!("neighbor {session} {word}"),
            said: "no name of a session".to_owned(),
        })
    }
}

/// What sessions must be told after a reload from `old` to `new`: address and word.
fn words(old: &str, new: &str) -> Vec<(String, &'static str)> {
    let before = terms(old);
    let word = |(address, now): (IpAddr, Terms<'_>)| {
        let then = before.get(&address)?;
        let word = match (then.is_down, now.is_down) {
            (false, true) => "down",
            (true, false) => "up",
            (false, false) if then.secret != now.secret => "clear",
            _ => return None,
        };
        Some((address.to_string(), word))
    };
    terms(new).into_iter().filter_map(word).collect()
}

fn refused(words: &[&str], said: &Said) -> EngineError {
    EngineError::Refused {
        command: words.join(" "),
        said: said.line(),
    }
}

fn system(path: &Path) -> impl FnOnce(std::io::Error) -> EngineError {
    let what = path.display().to_string();
    move |source| EngineError::System { what, source }
}

fn read(path: &Path) -> Result<String, EngineError> {
    let length = std::fs::metadata(path).map_err(system(path))?.len();
    if length > CONFIG_BYTES_MAX {
        return Err(system(path)(ErrorKind::FileTooLarge.into()));
    }
    std::fs::read_to_string(path).map_err(system(path))
}

fn write(path: &Path, text: &str) -> Result<(), EngineError> {
    match render::write(path, text) {
        Ok(_) => Ok(()),
        Err(render::RenderError::Write { path, source }) => Err(system(&path)(source)),
        Err(error) => Err(EngineError::Configuration(error.to_string())),
    }
}

fn remove(path: &Path) -> Result<(), EngineError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(system(path)(error)),
        _ => Ok(()),
    }
}

impl Operate for OpenBgpd {
    fn disable(&mut self, session: &str) -> Result<(), EngineError> {
        self.tell_session("down", session)
    }

    fn enable(&mut self, session: &str) -> Result<(), EngineError> {
        self.tell_session("up", session)
    }
}

impl Engine for OpenBgpd {
    fn prepare(&mut self) -> Result<(), EngineError> {
        let path = self.beside("lock");
        let lock = File::create(&path).map_err(system(&path))?;
        lock.try_lock().map_err(|_| EngineError::Refused {
            command: "apply".to_owned(),
            said: format!("another change is under way: it holds {}", path.display()),
        })?;
        self.lock = Some(lock);
        if let Some((old, new)) = self.put_back()? {
            self.take(&new, &old)?;
        }
        Ok(())
    }

    fn wanted(&self, text: &str) -> BTreeSet<String> {
        let sessions = terms(text).into_iter();
        sessions
            .filter(|(_, terms)| !terms.is_down)
            .map(|(address, terms)| {
                terms
                    .name
                    .map_or_else(|| address.to_string(), str::to_owned)
            })
            .collect()
    }

    fn check(&mut self, file: &Path) -> Result<(), EngineError> {
        let mut command = Command::new(&self.bgpd);
        command.arg("-n").arg("-f").arg(file);
        let said = run(&mut command, CHECK_TIMEOUT, SAID_BYTES_MAX)?;
        match said.status.success() {
            true => Ok(()),
            false => Err(EngineError::Configuration(said.line())),
        }
    }

    fn sessions(&mut self) -> Result<Vec<SessionState>, EngineError> {
        let aged = self.aged_sessions()?;
        Ok(aged.into_iter().map(|(session, _)| session).collect())
    }

    fn configure(&mut self, file: &Path, undo_after_s: u32) -> Result<(), EngineError> {
        let (old, new) = (read(&self.running)?, read(file)?);
        let trial = uuid::Uuid::now_v7().to_string();
        write(&self.beside("before"), &old)?;
        write(&self.beside("trial"), &trial)?;
        let guard = Command::new("/bin/sh")
            .arg("-c")
            .arg(GUARD)
            .arg("civicnet-guard")
            .arg(&self.running)
            .arg(&self.bgpctl)
            .arg(&self.socket)
            .arg(undo_after_s.to_string())
            .arg(&trial)
            .args(
                words(&new, &old)
                    .iter()
                    .flat_map(|(address, word)| [address.as_str(), word]),
            )
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Not in our group: what the terminal sends us does not reach it.
            .process_group(0)
            .spawn()
            .map_err(system(Path::new("/bin/sh")))?;
        self.guard = Some(guard);
        let taken = write(&self.running, &new).and_then(|()| self.take(&old, &new));
        if let Err(error) = taken {
            self.abandon()?;
            return Err(error);
        }
        Ok(())
    }

    fn confirm(&mut self) -> Result<(), EngineError> {
        let trial = self.beside("trial");
        if !trial.exists() {
            return Err(EngineError::Refused {
                command: "confirm".to_owned(),
                said: "nobody decided in time: the daemon went back".to_owned(),
            });
        }
        remove(&trial)?;
        remove(&self.beside("before"))?;
        self.dismiss();
        self.lock = None;
        Ok(())
    }

    fn undo(&mut self) -> Result<(), EngineError> {
        let back = self.put_back()?;
        let told = match back {
            Some((old, new)) => self.take(&new, &old),
            None => Ok(()),
        };
        self.lock = None;
        told
    }

    fn abandon(&mut self) -> Result<(), EngineError> {
        if let Some((old, new)) = self.put_back()? {
            // The daemon may be dead or hang: it is the file that counts, which it reads when it starts.
            if let Err(error) = self.take(&new, &old) {
                tracing::warn!(
                    error = runtime::error_chain(&error),
                    "The route server has its last good file again, and could not be told to read it"
                );
            }
        }
        self.lock = None;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
