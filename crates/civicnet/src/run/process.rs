//! What every running process has, whatever its roles: logs, metrics, readiness,
//! supervised tasks, the admin listener, and an orderly end.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, ensure};
use runtime::admin::Admin;
use runtime::metrics::Metrics;
use runtime::ready::Readiness;
use runtime::signals::Signal;
use runtime::tasks::Supervisor;
use runtime::telemetry::{self, TelemetryConfig};

/// How long tasks may finish what they hold after a signal to end.
const SOFT_DEADLINE: Duration = Duration::from_secs(8);

/// A process that plays roles.
pub(crate) struct Process {
    pub(crate) metrics: Metrics,
    pub(crate) readiness: Readiness,
    pub(crate) supervisor: Supervisor,
    telemetry: telemetry::Guard,
}

impl Process {
    /// Logs, metrics and the crypto provider; once in a process.
    pub(crate) fn begin(name: Option<&str>, config: &TelemetryConfig) -> anyhow::Result<Self> {
        let telemetry =
            telemetry::init(config, "civicnet", name).context("could not begin logging")?;
        let metrics = Metrics::with_process();
        let supervisor = Supervisor::new().counted_by(&metrics);
        Ok(Self {
            metrics,
            readiness: Readiness::new(),
            supervisor,
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
        let listener = listen(address)?;
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

    /// Waits for a signal to end or for the death of an essential task, then stops
    /// everything in order. An error means that a task failed or had to be aborted.
    pub(crate) async fn until_end(self) -> anyhow::Result<()> {
        runtime::systemd::notify_from(&runtime::config::SystemEnv, "READY=1");
        let mut signals = runtime::signals::signals().context("could not listen for signals")?;
        let soft = self.supervisor.soft();
        loop {
            tokio::select! {
                signal = signals.next() => match signal {
                    Signal::Reload => tracing::info!("Reload asked for: nodes take new state by snapshot, so there is nothing to read again"),
                    Signal::Stop => break,
                },
                () = soft.cancelled() => break,
            }
        }
        runtime::systemd::notify_from(&runtime::config::SystemEnv, "STOPPING=1");
        let stopped = self.supervisor.shutdown(SOFT_DEADLINE).await;
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
}

/// A listening TCP socket for a small interface.
pub(crate) fn listen(address: SocketAddr) -> anyhow::Result<std::net::TcpListener> {
    runtime::listen::tcp(address, &runtime::listen::Options::default())
        .with_context(|| format!("could not listen on {address}"))
}
