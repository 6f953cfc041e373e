//! Signals as values: stop (SIGTERM, SIGINT), reload (SIGHUP) and replace (SIGUSR2).

use std::io;

use tokio::signal::unix::{self, SignalKind};

/// What the outside asks of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM or SIGINT: stop gracefully; a second one means at once.
    Stop,
    /// SIGHUP: read the configuration file again, and obey what can change in place.
    Reload,
    /// SIGUSR2: start a successor and hand over to it; drop no connection.
    Replace,
}

/// A stream of signals.
#[derive(Debug)]
pub struct Signals {
    terminate: unix::Signal,
    interrupt: unix::Signal,
    hang_up: unix::Signal,
    user_two: unix::Signal,
}

/// Takes over SIGTERM, SIGINT, SIGHUP and SIGUSR2 of this process.
///
/// # Errors
/// When the handlers cannot be installed.
pub fn signals() -> io::Result<Signals> {
    Ok(Signals {
        terminate: unix::signal(SignalKind::terminate())?,
        interrupt: unix::signal(SignalKind::interrupt())?,
        hang_up: unix::signal(SignalKind::hangup())?,
        user_two: unix::signal(SignalKind::user_defined2())?,
    })
}

impl Signals {
    /// Waits for the next signal. Cancel-safe.
    pub async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.terminate.recv() => Signal::Stop,
            _ = self.interrupt.recv() => Signal::Stop,
            _ = self.hang_up.recv() => Signal::Reload,
            _ = self.user_two.recv() => Signal::Replace,
        }
    }
}
