//! The daemon that speaks BGP, behind a trait, and the way a new configuration reaches it.
//!
//! [`birdc`] speaks BIRD's control protocol and reads its answers into [`SessionState`] and
//! [`birdc::Route`]; [`bird`] and [`openbgpd`] are the engines, [`daemon`] says which of them runs where;
//! [`apply`] is the way: check, compare, configure with a timeout after which the daemon goes back, watch
//! the sessions, then confirm or undo.

pub mod apply;
pub mod bird;
pub mod birdc;
pub mod daemon;
pub mod diff;
pub mod moment;
pub mod openbgpd;
mod program;

use std::collections::BTreeSet;
use std::path::Path;

use serde::Serialize;

/// What is wrong between us and the daemon.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The control socket cannot be used: the daemon is dead, hangs, or is somebody else.
    #[error("route server at {socket} does not answer")]
    Silent {
        /// The control socket.
        socket: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The daemon answers what it should not.
    #[error("route server answers {said:?} to {command:?}")]
    Refused {
        /// What was asked.
        command: String,
        /// Its words.
        said: String,
    },
    /// The checking program finds the configuration wrong.
    #[error("configuration is refused: {0}")]
    Configuration(String),
    /// A program or a file cannot be used.
    #[error("cannot use {what}")]
    System {
        /// The program or the file.
        what: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

/// One BGP session as the daemon sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct SessionState {
    /// The session's name in the configuration.
    pub name: String,
    /// `up`, `start` or `down`.
    pub state: String,
    /// Since when, as the daemon writes it.
    pub since: String,
    /// `Established`, `Idle` …, with what the daemon adds.
    pub info: String,
    /// Description from the configuration.
    pub description: String,
    /// The neighbour's address.
    pub neighbor: Option<std::net::IpAddr>,
    /// The neighbour's AS number.
    pub neighbor_asn: Option<u32>,
    /// Routes taken.
    pub imported: u64,
    /// Routes refused and kept to be looked at.
    pub filtered: u64,
    /// Routes announced to the neighbour.
    pub exported: u64,
    /// Routes that are the best of their prefix.
    pub preferred: u64,
    /// The last error, in the daemon's words.
    pub last_error: String,
    /// Counts of what the neighbour sent: they stand still while nothing changes.
    pub changes: RouteChanges,
}

/// What a neighbour sent since the session exists, summed over its address families.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct RouteChanges {
    /// Routes announced.
    pub announced: u64,
    /// Of these, refused by the import filter.
    pub refused: u64,
    /// Of these, taken.
    pub accepted: u64,
    /// Routes withdrawn.
    pub withdrawn: u64,
}

impl SessionState {
    /// Whether routes flow.
    pub fn is_established(&self) -> bool {
        self.state == "up" && self.info.starts_with("Established")
    }
}

/// A route server's daemon.
pub trait Engine {
    /// Before a change: puts right what one left that died on its way.
    ///
    /// # Errors
    /// When it cannot, or when another change is under way.
    fn prepare(&mut self) -> Result<(), EngineError> {
        Ok(())
    }

    /// Names, as [`Self::sessions`] gives them, of the sessions that the configuration `text` has and lets be up.
    fn wanted(&self, text: &str) -> BTreeSet<String>;

    /// Whether the daemon would take the configuration in `file`.
    ///
    /// # Errors
    /// With the daemon's words when not.
    fn check(&mut self, file: &Path) -> Result<(), EngineError>;

    /// The BGP sessions.
    ///
    /// # Errors
    /// When the daemon does not answer.
    fn sessions(&mut self) -> Result<Vec<SessionState>, EngineError>;

    /// Switches to `file`; unless confirmed within `undo_after_s` seconds the daemon goes back by itself.
    ///
    /// # Errors
    /// When the daemon refuses or does not answer.
    fn configure(&mut self, file: &Path, undo_after_s: u32) -> Result<(), EngineError>;

    /// Makes the switch final.
    ///
    /// # Errors
    /// When the daemon does not answer.
    fn confirm(&mut self) -> Result<(), EngineError>;

    /// Goes back at once.
    ///
    /// # Errors
    /// When the daemon does not answer.
    fn undo(&mut self) -> Result<(), EngineError>;

    /// After a switch that nobody could watch to its end. A daemon that goes back by itself needs nothing.
    ///
    /// # Errors
    /// When the last good file could not be put back.
    fn abandon(&mut self) -> Result<(), EngineError> {
        Ok(())
    }

    /// The neighbours that BFD sees up; `None` of a daemon that has no BFD.
    ///
    /// # Errors
    /// When the daemon does not answer.
    fn bfd_up(&mut self) -> Result<Option<BTreeSet<std::net::IpAddr>>, EngineError> {
        Ok(None)
    }
}

/// A daemon whose sessions can be taken down and up again by name, as a drill does.
pub trait Operate: Engine + std::fmt::Debug {
    /// Takes a session down, until it is enabled again or the daemon starts anew.
    ///
    /// # Errors
    /// When the daemon does not know it or does not answer.
    fn disable(&mut self, session: &str) -> Result<(), EngineError>;

    /// Lets a session come up again. Nothing happens to one that was not disabled.
    ///
    /// # Errors
    /// As [`Self::disable`].
    fn enable(&mut self, session: &str) -> Result<(), EngineError>;
}

/// Whether `name` can be a session's name; nothing else reaches the daemon as one.
pub fn is_session_name(name: &str) -> bool {
    (1..=SESSION_NAME_CHARS_MAX).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Characters of a session's name.
const SESSION_NAME_CHARS_MAX: usize = 120;

#[cfg(test)]
mod tests;
