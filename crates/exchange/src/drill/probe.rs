//! Signs of life, taken all the time: each probe is a command whose lines are counted and timed.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::DrillError;
use super::plan::Probe;

/// Signs of one probe that are kept: fifty a second for a day.
const SIGNS_MAX: usize = 5_000_000;
/// Bytes of one line of a probe.
const LINE_BYTES_MAX: u64 = 4096;

/// A silence of a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Silence {
    /// When it began, in milliseconds since the drill began.
    pub from_ms: u64,
    /// How long it was, in milliseconds.
    pub ms: u64,
}

/// A probe that runs.
#[derive(Debug)]
pub struct Running {
    child: Child,
    signs: Arc<Mutex<Vec<u64>>>,
}

impl Running {
    /// Starts `probe`; times are counted from `began`.
    ///
    /// # Errors
    /// When the command cannot start.
    pub fn start(probe: &Probe, began: Instant) -> Result<Self, DrillError> {
        let failed = |said: String| DrillError::Command {
            command: probe.command.join(" "),
            said,
        };
        let Some((program, arguments)) = probe.command.split_first() else {
            return Err(failed("has no words".to_owned()));
        };
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| failed(error.to_string()))?;
        let signs = Arc::new(Mutex::new(Vec::new()));
        if let Some(pipe) = child.stdout.take() {
            let (signs, sign) = (Arc::clone(&signs), probe.sign.clone());
            std::thread::spawn(move || listen(BufReader::new(pipe), &sign, began, &signs));
        }
        Ok(Self { child, signs })
    }

    /// The times of the signs so far, in milliseconds.
    pub fn signs(&self) -> Vec<u64> {
        let signs = self.signs.lock().unwrap_or_else(PoisonError::into_inner);
        signs.clone()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended by itself is as good.
        self.child.kill().unwrap_or_default();
        self.child.wait().map(|_| ()).unwrap_or_default();
    }
}

fn listen(
    mut pipe: BufReader<std::process::ChildStdout>,
    sign: &str,
    began: Instant,
    signs: &Mutex<Vec<u64>>,
) {
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut pipe)
            .take(LINE_BYTES_MAX)
            .read_until(b'\n', &mut line)
        {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        if memchr::memmem::find(&line, sign.as_bytes()).is_none() {
            continue;
        }
        let now = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mut signs = signs.lock().unwrap_or_else(PoisonError::into_inner);
        if signs.len() < SIGNS_MAX {
            signs.push(now);
        }
    }
}

/// The longest silence that touches the time from `from_ms` to `to_ms`. Without any sign in that time
/// and before it, nothing is known of it.
pub fn longest(signs: &[u64], from_ms: u64, to_ms: u64) -> Option<Silence> {
    let first = *signs.first()?;
    let mut longest: Option<Silence> = None;
    let mut note = |from: u64, to: u64| {
        let ms = to.saturating_sub(from);
        if to > from_ms && from < to_ms && longest.is_none_or(|known| ms > known.ms) {
            longest = Some(Silence { from_ms: from, ms });
        }
    };
    let mut last = first;
    for sign in &signs[1..] {
        note(last, *sign);
        last = *sign;
    }
    // Silent to the end.
    note(last, to_ms);
    longest
}
