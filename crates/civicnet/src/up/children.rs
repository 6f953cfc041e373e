//! The sandbox's nodes: each is a process of its own, so that it can be killed, and
//! is started again a while after it died.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

/// How long a node may take to end when asked.
const PATIENCE: Duration = Duration::from_secs(15);

/// How often a node's successor is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// One node of the sandbox.
#[derive(Debug, Clone)]
pub(super) struct NodeProcess {
    /// Name of the node, and of its folder.
    pub(super) name: String,
    /// Its folder: `pid`, `log`, and `hold` (while that file exists a dead node stays dead).
    pub(super) dir: PathBuf,
    /// Arguments after the program's name.
    pub(super) arguments: Vec<String>,
}

impl NodeProcess {
    /// Runs the node until `stop`, starting it again `restart_after` its death.
    pub(super) async fn keep(
        self,
        restart_after: Duration,
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        loop {
            if !self.dir.join("hold").exists() {
                let child = self.start().await?;
                if self.attend(child, &stop).await? {
                    return Ok(());
                }
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(restart_after) => {}
            }
        }
    }

    async fn start(&self) -> anyhow::Result<Child> {
        let program = std::env::current_exe().context("could not find the program's own file")?;
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.dir.join("log"))
            .with_context(|| format!("could not open the log of {}", self.name))?;
        let mut command = Command::new(program);
        command
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .env(
                crate::run::process::KEEPER_ENV,
                std::process::id().to_string(),
            )
            // Its own group: Ctrl-C at the terminal reaches the sandbox, which stops
            // its nodes in order.
            .process_group(0);
        die_with_parent(&mut command);
        let child = command
            .spawn()
            .with_context(|| format!("could not start node {}", self.name))?;
        let pid = child.id().unwrap_or_default();
        write_file(&self.dir.join("pid"), format!("{pid}\n").as_bytes())?;
        Ok(child)
    }

    /// The process that took over from the one that ended, if one did.
    fn successor(&self) -> Option<i32> {
        let text = std::fs::read_to_string(self.dir.join("pid")).ok()?;
        let pid: i32 = text.trim().parse().ok()?;
        (!has_ended(pid)).then_some(pid)
    }

    /// As [`Self::attend`], of a process that became a child when its parent ended.
    async fn attend_successor(&self, first: i32, stop: &CancellationToken) -> anyhow::Result<bool> {
        let mut pid = first;
        tracing::info!(node = %self.name, pid, "Node {} has a successor", self.name);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(LOOK) => {}
            }
            if has_ended(pid) {
                match self.successor() {
                    Some(next) => pid = next,
                    None => {
                        tracing::warn!(node = %self.name, "Node {} ended by itself; see {}", self.name, self.dir.join("log").display());
                        return Ok(false);
                    }
                }
            }
        }
        // SAFETY: plain system call; the child has not been waited for.
        unsafe { libc::kill(pid, libc::SIGTERM) };
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while !has_ended(pid) {
            if tokio::time::Instant::now() > deadline {
                tracing::warn!(node = %self.name, "Node {} did not end in {} s and is killed", self.name, PATIENCE.as_secs());
                // SAFETY: as above.
                unsafe { libc::kill(pid, libc::SIGKILL) };
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(true)
    }

    /// Waits for the node's end; true when it ended because it was asked to.
    async fn attend(&self, mut child: Child, stop: &CancellationToken) -> anyhow::Result<bool> {
        tokio::select! {
            status = child.wait() => {
                let status = status?;
                if let Some(successor) = self.successor() {
                    return self.attend_successor(successor, stop).await;
                }
                tracing::warn!(node = %self.name, %status, "Node {} ended by itself; see {}", self.name, self.dir.join("log").display());
                return Ok(false);
            }
            () = stop.cancelled() => {}
        }
        if let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()) {
            // SAFETY: plain system call; the child has not been waited for, so the
            // number is still its own.
            unsafe { libc::kill(pid, libc::SIGTERM) };
        }
        if tokio::time::timeout(PATIENCE, child.wait()).await.is_err() {
            tracing::warn!(node = %self.name, "Node {} did not end in {} s and is killed", self.name, PATIENCE.as_secs());
            child.kill().await?;
        }
        Ok(true)
    }
}

/// Processes whose parent ends become children of this one: a node's successor, once the
/// node that started it has ended.
pub(super) fn adopt_orphans() -> anyhow::Result<()> {
    // SAFETY: plain system call with constant arguments.
    if unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) } == -1 {
        return Err(std::io::Error::last_os_error())
            .context("could not become the keeper of nodes' successors");
    }
    Ok(())
}

/// Whether a child of this process has ended; one that is no child has.
fn has_ended(pid: i32) -> bool {
    let mut status = 0;
    // SAFETY: plain system call; `status` is ours.
    unsafe { libc::waitpid(pid, &mut status, libc::WNOHANG) != 0 }
}

/// No node outlives the sandbox, even one that was killed.
pub(super) fn die_with_parent(command: &mut Command) {
    // SAFETY: `prctl` is async-signal-safe and touches nothing of the parent's memory.
    unsafe {
        command.pre_exec(|| {
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) == -1 {
                return Err(std::io::Error::last_os_error());
            }
            Ok(())
        });
    }
}

/// Writes a small file so that a reader sees all of it or what was there before.
pub(super) fn write_file(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let temporary = path.with_extension("new");
    std::fs::write(&temporary, bytes)
        .with_context(|| format!("could not write {}", temporary.display()))?;
    std::fs::rename(&temporary, path).with_context(|| format!("could not write {}", path.display()))
}
