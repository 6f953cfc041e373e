//! `civicnet run`: one node, with the roles that its command line names.

mod agent;
mod control;
mod dispatch;
mod edge;
mod enforcement;
mod figures;
pub(crate) mod handover;
mod node;
pub(crate) mod process;
mod rpki;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

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

/// How long a successor waits for its last good snapshot.
const READY_TIME_MAX: Duration = Duration::from_secs(15);

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
            managed(&run.roles, file, config).await
        }
        (None, Some(origin), None) => {
            ensure!(
                run.roles == [Role::Edge],
                "--origin is for the role edge alone: civicnet run edge --origin URL --listen ADDRESS"
            );
            let process = alone(&run)?;
            process.handover.take().await?;
            edge::alone(&run, origin, &process)?;
            process.announce().await?;
            process.until_end().await
        }
        (None, None, Some(zone)) => {
            ensure!(
                run.roles == [Role::Dispatch],
                "--zone is for the role dispatch alone: civicnet run dispatch --zone FILE --listen ADDRESS"
            );
            let process = alone(&run)?;
            process.handover.take().await?;
            let open = dispatch::alone(&run, zone, &process);
            // An end without it is an error of the task, which ends the process.
            open.await.ok();
            process.announce().await?;
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
    let mut process = Process::begin(None, &telemetry_from(&runtime::config::SystemEnv)?)?;
    process.pid_file.clone_from(&run.pid_file);
    Ok(process)
}

/// Traces of a role alone, by the variables that OpenTelemetry defines for every program.
fn telemetry_from(env: &dyn runtime::config::Env) -> anyhow::Result<TelemetryConfig> {
    let mut config = TelemetryConfig {
        otlp_endpoint: env.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"),
        ..TelemetryConfig::default()
    };
    if let Some(ratio) = env.get("OTEL_TRACES_SAMPLER_ARG") {
        config.trace_sample_ratio = ratio
            .parse()
            .ok()
            .filter(|ratio| (0.0..=1.0).contains(ratio))
            .with_context(|| {
                format!("OTEL_TRACES_SAMPLER_ARG={ratio:?} must be a number from 0 to 1")
            })?;
    }
    Ok(config)
}

/// A node with a configuration file.
async fn managed(roles: &[Role], file: &Path, config: Config) -> anyhow::Result<()> {
    let mut process = Process::begin(Some(config.node.name.as_str()), &config.telemetry)?;
    process.source = Some((file.to_owned(), config.clone()));
    process.pid_file.clone_from(&config.admin.pid_file);
    process.overlaps = !roles.contains(&Role::Control);
    process.handover.take().await?;
    let mut link = None;
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
        let agent_health = agent::AgentHealth::default();
        let told = agent_health.clone();
        let is_agent = roles.contains(&Role::Exchange);
        let health = move || {
            let mut health = shown.health();
            if is_agent {
                // A node without an edge has no health of its own.
                if !health.is_object() {
                    health = serde_json::json!({});
                }
                health["exchange"] = told.told();
            }
            health
        };
        let mut node = node::open(&config, &process, health).await?;
        if roles.contains(&Role::Dispatch) {
            routes = routes.merge(dispatch::join(&config, &process, &mut node)?);
        }
        if roles.contains(&Role::Edge) {
            edge::join(&config, &process, &mut node, &load)?;
        }
        if is_agent {
            agent::join(&config, &process, &mut node, &agent_health)?;
        }
        link = Some(node.link);
    }
    if let Some(address) = config.admin.listen {
        process
            .serve_admin(address, routes)
            .context("could not serve the admin interface")?;
    }
    if process.handover.has_predecessor() {
        // A predecessor without a snapshot leaves a successor without one.
        let ready = process.readiness.wait();
        if tokio::time::timeout(READY_TIME_MAX, ready).await.is_err() {
            tracing::warn!("Taking over without being ready");
        }
    }
    process.announce().await?;
    if let Some(link) = link {
        join_link(link, &process);
    }
    process.until_end().await
}

/// Runs the link until the end, or until a successor is to have it: a node has one.
fn join_link(link: fabric::node::Link, process: &Process) {
    let stop = process.supervisor.soft().child_token();
    let (ended, wait) = tokio::sync::oneshot::channel::<()>();
    let stopped = stop.clone();
    process
        .supervisor
        .spawn("link to the control plane", async move {
            link.run(stopped).await;
            drop(ended);
        });
    process.handover.on_release(move || async move {
        stop.cancel();
        // The end is an error here: nothing is ever sent.
        wait.await.ok();
    });
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
