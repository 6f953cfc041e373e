//! What every running process has, whatever its roles: logs, metrics, readiness,
//! supervised tasks, the admin listener, and an orderly end or a successor.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, ensure};
use runtime::admin::Admin;
use runtime::handover::Sockets;
use runtime::metrics::Metrics;
use runtime::ready::Readiness;
use runtime::signals::{Signal, Signals};
use runtime::tasks::Supervisor;
use runtime::telemetry::{self, TelemetryConfig};

use super::handover::{Handover, Replaced, write_pid};
use crate::config::Config;

/// How long tasks may finish what they hold after a signal to end.
const SOFT_DEADLINE: Duration = Duration::from_secs(8);
/// How long they may, when a successor serves already.
const HANDOVER_DEADLINE: Duration = Duration::from_secs(65);
/// Pause before another successor is started in the place of one that failed.
const AGAIN_PAUSE: Duration = Duration::from_secs(10);
/// How long a predecessor may take from its last word to its end.
const END_TIME_MAX: Duration = Duration::from_secs(10);
/// Names the process that keeps this one, and whose end is to be the end of this one.
pub(crate) const KEEPER_ENV: &str = "CIVICNET_KEEPER";

/// A process that plays roles.
pub(crate) struct Process {
    pub(crate) metrics: Metrics,
    pub(crate) readiness: Readiness,
    pub(crate) supervisor: Supervisor,
    pub(crate) sockets: Sockets,
    pub(crate) handover: Handover,
    /// Where the configuration came from, and what it said.
    pub(crate) source: Option<(PathBuf, Config)>,
    /// File with the number of the process.
    pub(crate) pid_file: Option<PathBuf>,
    /// Whether it may run beside its successor for a while.
    pub(crate) overlaps: bool,
    telemetry: telemetry::Guard,
}

impl Process {
    /// Logs, metrics and the crypto provider; once in a process.
    pub(crate) fn begin(name: Option<&str>, config: &TelemetryConfig) -> anyhow::Result<Self> {
        let (handover, sockets) = Handover::begin()?;
        let telemetry =
            telemetry::init(config, "civicnet", name).context("could not begin logging")?;
        let metrics = Metrics::with_process();
        let supervisor = Supervisor::new().counted_by(&metrics);
        Ok(Self {
            metrics,
            readiness: Readiness::new(),
            supervisor,
            sockets,
            handover,
            source: None,
            pid_file: None,
            overlaps: true,
            telemetry,
        })
    }

    /// What the admin interface shows of this process.
    pub(crate) fn admin(&self) -> Admin {
        Admin {
            metrics: self.metrics.clone(),
            readiness: self.readiness.clone(),
            supervisor: self.supervisor.clone(),
        }
    }

    /// Serves the admin interface, with `more` routes, at `address`.
    pub(crate) fn serve_admin(
        &self,
        address: SocketAddr,
        more: axum::Router,
    ) -> anyhow::Result<()> {
        let listener = self.listen(address)?;
        let router = runtime::admin::router(self.admin()).merge(more);
        let stop = self.supervisor.soft();
        self.supervisor.spawn("admin", async move {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            axum::serve(listener, router)
                .with_graceful_shutdown(stop.cancelled_owned())
                .await
        });
        Ok(())
    }

    /// A listening TCP socket for a small interface.
    pub(crate) fn listen(&self, address: SocketAddr) -> anyhow::Result<std::net::TcpListener> {
        self.sockets
            .listen(address)
            .with_context(|| format!("could not listen on {address}"))
    }

    /// Serves: says so, and waits until a predecessor accepts no more.
    pub(crate) async fn announce(&self) -> anyhow::Result<()> {
        if self.handover.has_predecessor() {
            let unused = self.sockets.close_unused();
            if unused > 0 {
                tracing::info!(
                    unused,
                    "Closed inherited sockets whose addresses are no longer served"
                );
            }
            self.handover.announce().await?;
        } else if let Some(file) = &self.pid_file {
            write_pid(file, std::process::id())?;
        }
        Ok(())
    }

    /// Waits for a signal to end, for the death of an essential task or for a successor,
    /// then stops everything in order. An error means that a task failed or had to be
    /// aborted.
    pub(crate) async fn until_end(self) -> anyhow::Result<()> {
        runtime::systemd::notify_from(&runtime::config::SystemEnv, "READY=1");
        let mut signals = runtime::signals::signals().context("could not listen for signals")?;
        let soft = self.supervisor.soft();
        let adopted = self.be_adopted();
        tokio::pin!(adopted);
        let mut adopting = true;
        let mut again = false;
        let mut replaced = None;
        loop {
            let signal = tokio::select! {
                signal = signals.next() => signal,
                () = soft.cancelled() => break,
                () = &mut adopted, if adopting => {
                    adopting = false;
                    continue;
                }
                () = tokio::time::sleep(AGAIN_PAUSE), if again => Signal::Replace,
            };
            match signal {
                Signal::Stop => break,
                Signal::Reload => self.read_again(),
                Signal::Replace => match self.replace(&mut signals).await {
                    Ok(Some(done)) => {
                        replaced = Some(done);
                        break;
                    }
                    Ok(None) => break,
                    Err(error) => {
                        // Without its directories it is only half a node.
                        again = self.overlaps && self.handover.has_released();
                        tracing::error!(again, "Serving on: {error:#}");
                    }
                },
            }
        }
        if replaced.is_none() {
            runtime::systemd::notify_from(&runtime::config::SystemEnv, "STOPPING=1");
        }
        self.end(replaced).await
    }

    async fn end(&self, replaced: Option<Replaced>) -> anyhow::Result<()> {
        self.sockets.close();
        let soft = self.supervisor.soft();
        let deadline = match replaced {
            Some(Replaced::Drain) => {
                soft.cancel();
                self.handover.draining();
                HANDOVER_DEADLINE
            }
            Some(Replaced::End) | None => SOFT_DEADLINE,
        };
        let stopped = self.supervisor.shutdown(deadline).await;
        self.handover.finish();
        self.telemetry.flush();
        ensure!(
            stopped.aborted.is_empty(),
            "tasks had to be aborted: {}",
            stopped.aborted.join(", ")
        );
        ensure!(
            !self.supervisor.has_failed(),
            "an essential task failed; the log says why"
        );
        Ok(())
    }

    /// Hands over to a successor; none when the process was told to stop meanwhile.
    async fn replace(&self, signals: &mut Signals) -> anyhow::Result<Option<Replaced>> {
        if let Some((file, _)) = &self.source {
            crate::load(file).context("no successor is started")?;
        }
        let replacing =
            self.handover
                .replace(&self.sockets, self.overlaps, self.pid_file.as_deref());
        tokio::pin!(replacing);
        loop {
            tokio::select! {
                done = &mut replacing => return done.map(Some),
                signal = signals.next() => if signal == Signal::Stop {
                    return Ok(None);
                },
            }
        }
    }

    /// Reads the configuration file again, obeys what can change in place, and names
    /// what cannot.
    fn read_again(&self) {
        let Some((file, before)) = &self.source else {
            tracing::info!("There is no configuration file to read again");
            return;
        };
        let after = match crate::load(file) {
            Ok(after) => after,
            Err(error) => {
                tracing::error!("The configuration stays as it is: {error:#}");
                return;
            }
        };
        match self.telemetry.set_filter(&after.telemetry.log_filter) {
            Ok(()) => tracing::info!(
                log_filter = after.telemetry.log_filter,
                "Read the configuration again"
            ),
            Err(error) => tracing::error!("{}", runtime::error_chain(&error)),
        }
        let waiting = changed(before, &after);
        if !waiting.is_empty() {
            tracing::warn!(
                keys = waiting.join(", "),
                "These keys have changed and take effect with `civicnet reload`"
            );
        }
    }

    /// Once the predecessor has ended, whoever kept it keeps this process: their end is
    /// the end of this process too.
    async fn be_adopted(&self) {
        let keeper = std::env::var(KEEPER_ENV)
            .ok()
            .and_then(|text| text.parse().ok());
        let Some(keeper): Option<i32> = keeper.filter(|_| self.handover.has_predecessor()) else {
            return;
        };
        let parent = || std::os::unix::process::parent_id();
        let predecessor = parent();
        self.handover.predecessor_gone().await;
        let waiting = async {
            while parent() == predecessor && i64::from(predecessor) != i64::from(keeper) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        if tokio::time::timeout(END_TIME_MAX, waiting).await.is_err() {
            tracing::warn!(predecessor, "The predecessor does not end");
        }
        // SAFETY: plain system call with constant arguments.
        let set = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) };
        if set == -1 || i64::from(parent()) != i64::from(keeper) {
            tracing::warn!(keeper, "The process that kept this node is gone");
            self.supervisor.soft().cancel();
        }
    }
}

/// The keys that differ and cannot change in place.
fn changed(before: &Config, after: &Config) -> Vec<String> {
    fn leaves(value: &serde_json::Value, path: &str, into: &mut BTreeMap<String, String>) {
        match value {
            serde_json::Value::Object(fields) => {
                for (name, value) in fields {
                    let dot = if path.is_empty() { "" } else { "." };
                    leaves(value, &format!("{path}{dot}{name}"), into);
                }
            }
            leaf => {
                into.insert(path.to_owned(), leaf.to_string());
            }
        }
    }
    let of = |config: &Config| {
        let mut into = BTreeMap::new();
        leaves(
            &serde_json::to_value(config).unwrap_or_default(),
            "",
            &mut into,
        );
        into
    };
    let (before, after) = (of(before), of(after));
    let keys = before.keys().chain(after.keys());
    let mut differ: Vec<String> = keys
        .filter(|key| before.get(*key) != after.get(*key))
        .filter(|key| *key != "telemetry.log_filter")
        .cloned()
        .collect();
    differ.sort();
    differ.dedup();
    differ
}

/// A listening TCP socket for a small interface of a process without a successor.
pub(crate) fn listen(address: SocketAddr) -> anyhow::Result<std::net::TcpListener> {
    runtime::listen::tcp(address, &runtime::listen::Options::default())
        .with_context(|| format!("could not listen on {address}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_wait_for_a_successor_are_named() {
        let before = Config::default();
        let mut after = before.clone();
        after.telemetry.log_filter = "debug".to_owned();
        assert!(changed(&before, &after).is_empty());
        after.edge.memory_mib += 1;
        after.node.control.push("https://127.0.0.1:1".to_owned());
        assert_eq!(
            changed(&before, &after),
            ["edge.memory_mib", "node.control"]
        );
    }
}
