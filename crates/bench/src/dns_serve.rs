//! A dispatch server of one snapshot, as the control plane would publish it: for
//! measuring answers by policy without a control plane.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use base::delivery::DispatchSnapshot;
use dispatch::{DispatchOptions, RateLimit, ZoneFileOptions};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// What to serve, and where.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Snapshot in JSON.
    #[arg(long, conflicts_with = "zone", required_unless_present = "zone")]
    snapshot: Option<PathBuf>,
    /// Master file.
    #[arg(long)]
    zone: Option<PathBuf>,
    /// Address and port.
    #[arg(long)]
    listen: SocketAddr,
    /// UDP threads.
    #[arg(long, default_value_t = 1)]
    threads: usize,
}

pub(crate) fn run(options: Options) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("could not start a runtime")?;
    runtime.block_on(async {
        let shutdown = CancellationToken::new();
        let token = shutdown.clone();
        tokio::spawn(async move {
            if tokio::signal::ctrl_c().await.is_ok() {
                token.cancel();
            }
        });
        if let Some(zone) = &options.zone {
            let mut serve = ZoneFileOptions::new(vec![options.listen]);
            serve.threads = options.threads;
            return dispatch::run_zone_file(zone, serve, shutdown)
                .await
                .context("could not serve the zone");
        }
        let path = options.snapshot.context("no snapshot given")?;
        let text =
            std::fs::read(&path).with_context(|| format!("could not read {}", path.display()))?;
        let snapshot: DispatchSnapshot = serde_json::from_slice(&text)
            .with_context(|| format!("could not understand {}", path.display()))?;
        let (keep, receiver) = watch::channel(Some(Arc::new(snapshot)));
        let mut serve = DispatchOptions::new(vec![options.listen]);
        serve.snapshot = receiver;
        serve.rate_limit = RateLimit::OFF;
        serve.threads = options.threads;
        serve.events_per_s_max = 0;
        let result = dispatch::run(serve, shutdown).await;
        drop(keep);
        result.context("could not serve the snapshot")
    })
}
