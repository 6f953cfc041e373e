//! `civicnet run`: one node, with the roles that its command line names.

mod control;
mod dispatch;
mod edge;
mod enforcement;
mod node;
pub(crate) mod process;
mod rpki;

use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use base::Role;
use runtime::ready::Flag;
use runtime::telemetry::TelemetryConfig;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::cli::{Alone, Run};
use crate::config::Config;
use process::Process;

pub(crate) use control::{Assembly, assemble, openapi};
pub(crate) use node::default_node_name;

/// Runs until a signal.
pub(crate) async fn run(run: Run) -> anyhow::Result<()> {
    match &run.alone {
        Some(Alone::Rpki(options)) => return rpki::alone(options).await,
        Some(Alone::Glass(options)) => return rpki::glass(options).await,
        None => {}
    }
    match (&run.config, &run.origin, &run.zone) {
        (Some(file), None, None) => {
            let config = crate::load(file)?;
            managed(&run.roles, config).await
        }
        (None, Some(origin), None) => {
            ensure!(
                run.roles == [Role::Edge],
                "--origin is for the role edge alone: civicnet run edge --origin URL --listen ADDRESS"
            );
            let process = alone(&run)?;
            edge::alone(&run, origin, &process)?;
            process.until_end().await
        }
        (None, None, Some(zone)) => {
            ensure!(
                run.roles == [Role::Dispatch],
                "--zone is for the role dispatch alone: civicnet run dispatch --zone FILE --listen ADDRESS"
            );
            let process = alone(&run)?;
            dispatch::alone(&run, zone, &process);
            process.until_end().await
        }
        _ => bail!(
            "give --config FILE, or for one role alone: edge with --origin and --listen, or dispatch with --zone and --listen"
        ),
    }
}

fn alone(run: &Run) -> anyhow::Result<Process> {
    for address in run.listen.iter().chain(&run.listen_https) {
        ensure!(
            run.public || node::is_local(address.ip()),
            "--listen {address}: is not a loopback address; add --public to serve other machines"
        );
    }
    Process::begin(None, &TelemetryConfig::default())
}

/// A node with a configuration file.
async fn managed(roles: &[Role], config: Config) -> anyhow::Result<()> {
    let process = Process::begin(Some(config.node.name.as_str()), &config.telemetry)?;
    let mut routes = axum::Router::new();
    if roles.contains(&Role::Control) {
        ensure!(
            roles == [Role::Control],
            "the control role runs in a process of its own: the data plane must not depend on it"
        );
        control::start(&config, &process).await?;
    } else {
        let load = edge::LoadGauge::default();
        let shown = load.clone();
        let mut node = node::open(&config, &process, move || shown.health()).await?;
        if roles.contains(&Role::Dispatch) {
            routes = routes.merge(dispatch::join(&config, &process, &mut node)?);
        }
        if roles.contains(&Role::Edge) {
            edge::join(&config, &process, &mut node, &load)?;
        }
        let stop = process.supervisor.soft();
        process
            .supervisor
            .spawn("link to the control plane", node.link.run(stop));
    }
    if let Some(address) = config.admin.listen {
        process
            .serve_admin(address, routes)
            .context("could not serve the admin interface")?;
    }
    process.until_end().await
}

/// Raises `ready` when there is something to serve.
async fn ready_when_some<T>(
    mut snapshot: watch::Receiver<Option<Arc<T>>>,
    ready: Flag,
    stop: CancellationToken,
) {
    tokio::select! {
        () = stop.cancelled() => {}
        there = snapshot.wait_for(Option::is_some) => if there.is_ok() {
            ready.ready();
        },
    }
}
