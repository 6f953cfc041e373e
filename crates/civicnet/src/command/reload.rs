//! `civicnet reload`: a running node is replaced by a new process, without a connection
//! being refused or cut.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use crate::Verdict;
use crate::cli::Reload;

/// How long a successor may take until it has taken over.
const PATIENCE: Duration = Duration::from_secs(130);
/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(50);

pub(crate) async fn run(reload: Reload) -> anyhow::Result<Verdict> {
    let file = match (&reload.pid_file, &reload.config) {
        (Some(file), _) => Some(file.clone()),
        (None, Some(config)) => {
            // A file with problems is refused here, where somebody looks.
            let config = crate::load(config)?;
            let file = config.admin.pid_file;
            Some(file.context("the configuration has no admin.pid_file; give --pid")?)
        }
        (None, None) => None,
    };
    let pid = match (reload.pid, &file) {
        (Some(pid), _) => pid,
        (None, Some(file)) => read(file)?,
        (None, None) => bail!("give --config, --pid-file or --pid"),
    };
    ensure!(pid > 1, "process {pid} is none of ours");
    // SAFETY: plain system call; the number is a process of ours, or it fails.
    if unsafe { libc::kill(pid, libc::SIGUSR2) } == -1 {
        return Err(std::io::Error::last_os_error())
            .with_context(|| format!("could not ask process {pid}"));
    }
    let Some(file) = file else {
        crate::out(&format!(
            "process {pid} was asked to hand over; its log says how it went"
        ))?;
        return Ok(Verdict::Good);
    };
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        let present = read(&file)?;
        if present != pid {
            crate::out(&format!("process {present} has taken over from {pid}"))?;
            return Ok(Verdict::Good);
        }
        // SAFETY: signal 0 only asks whether the process is there.
        ensure!(
            unsafe { libc::kill(pid, 0) } == 0,
            "process {pid} ended and nobody took over; see its log"
        );
        tokio::time::sleep(LOOK).await;
    }
    bail!(
        "nobody has taken over from process {pid} in {} s; it serves on, and its log says why",
        PATIENCE.as_secs()
    )
}

fn read(file: &Path) -> anyhow::Result<i32> {
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("could not read {}", file.display()))?;
    text.trim()
        .parse()
        .with_context(|| format!("{} holds no process number", file.display()))
}
