//! A program that is run to its end, within a time, and what it says, within a length.

use std::io::Read;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::EngineError;

/// Between two looks whether it ended.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// How long the rest of what it said may take to arrive once it ended.
const REST: Duration = Duration::from_secs(2);

/// What a program said.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) status: ExitStatus,
    pub(super) out: String,
    pub(super) err: String,
}

impl Said {
    /// Everything, on one line.
    pub(super) fn line(&self) -> String {
        let all = [self.err.trim(), self.out.trim()];
        let all: Vec<&str> = all.into_iter().filter(|text| !text.is_empty()).collect();
        all.join("\n").replace('\n', " · ")
    }
}

/// Runs `command` for at most `timeout`, and keeps `bytes_max` of each of its outputs.
///
/// # Errors
/// When it cannot be started, or is killed because it takes too long.
pub(super) fn run(
    command: &mut Command,
    timeout: Duration,
    bytes_max: u64,
) -> Result<Said, EngineError> {
    let what = command.get_program().to_string_lossy().into_owned();
    let system = |source| EngineError::System {
        what: what.clone(),
        source,
    };
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(system)?;
    let out = listen(child.stdout.take(), bytes_max);
    let err = listen(child.stderr.take(), bytes_max);
    let end = Instant::now() + timeout;
    let status = loop {
        if let Some(status) = child.try_wait().map_err(system)? {
            break status;
        }
        if Instant::now() > end {
            child.kill().map_err(system)?;
            child.wait().map_err(system)?;
            return Err(system(std::io::ErrorKind::TimedOut.into()));
        }
        std::thread::sleep(LOOK_EVERY);
    };
    // A child of its own may hold the pipes longer than it lives.
    Ok(Said {
        status,
        out: out.recv_timeout(REST).unwrap_or_default(),
        err: err.recv_timeout(REST).unwrap_or_default(),
    })
}

fn listen(pipe: Option<impl Read + Send + 'static>, bytes_max: u64) -> mpsc::Receiver<String> {
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let mut said = Vec::new();
        if let Some(mut pipe) = pipe {
            // What could be read is what can be told; the rest is drained, so that nobody blocks on it.
            (&mut pipe)
                .take(bytes_max)
                .read_to_end(&mut said)
                .unwrap_or_default();
            std::io::copy(&mut pipe, &mut std::io::sink()).unwrap_or_default();
        }
        tell.send(String::from_utf8_lossy(&said).into_owned())
            .unwrap_or_default();
    });
    told
}
