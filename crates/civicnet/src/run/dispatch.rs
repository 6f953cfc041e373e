//! Role `dispatch`: the authoritative DNS server, managed or alone.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use async_trait::async_trait;
use base::Role;
use base::delivery::DispatchSnapshot;
use base::quick::QuickEntry;
use dispatch::{Dispatch, DispatchOptions, Inherited, RateLimit, ZoneFileOptions};
use tokio::sync::oneshot;

use enforce::Keeper;
use fabric::OrderReport;
use fabric::node::QuickHandler;

use super::enforcement;
use super::node::{ManagedNode, follow};
use super::process::Process;
use crate::cli::Run;
use crate::config::Config;

/// Joins the role to a managed node; gives the routes for its admin listener.
pub(super) fn join(
    config: &Config,
    process: &Process,
    node: &mut ManagedNode,
) -> anyhow::Result<axum::Router> {
    let section = &config.dispatch;
    let snapshot =
        follow::<DispatchSnapshot>(&mut node.link, Role::Dispatch, "", process, acceptable)?;
    let mut options = DispatchOptions::new(section.listen.clone());
    options.observe_as = Some(config.node.name.clone());
    options.report_listen = section.listen_reports;
    options.threads = section.workers;
    if section.rrl_rps == 0 {
        options.rate_limit = RateLimit::OFF;
    } else {
        options.rate_limit.answers_per_s = section.rrl_rps;
    }
    options.snapshot = snapshot.clone();
    options.sink = std::sync::Arc::clone(&node.sink);
    options.inherited = inherited(process, &section.listen, section.listen_reports);
    let keeper = enforcement::keeper(config, process, node, Role::Dispatch)?;
    enforcement::adopt(process, Arc::clone(&keeper), snapshot.clone(), |snapshot| {
        &snapshot.enforced
    })?;
    options.blocklist = Arc::clone(keeper.list());
    node.link.quick(Role::Dispatch, Arc::new(Orders(keeper)))?;
    let dispatch = Dispatch::bind(options).context("could not start dispatch")?;
    process.sockets.keep_all(dispatch.sockets()?);
    process.metrics.with(|registry| dispatch.register(registry));
    let routes = dispatch.router();
    let ready = process.readiness.flag("dispatch snapshot");
    let stop = process.supervisor.soft();
    process.supervisor.spawn(
        "dispatch ready",
        super::ready_when_some(snapshot, ready, stop.clone()),
    );
    process
        .supervisor
        .spawn_essential("dispatch", dispatch.serve(stop));
    Ok(routes)
}

/// Quick entries, as a dispatch server carries them out.
struct Orders(Arc<Keeper>);

#[async_trait]
impl QuickHandler for Orders {
    fn durable_seq(&self) -> u64 {
        self.0.last_seq()
    }

    async fn apply(&self, entry: &QuickEntry) -> Result<OrderReport, String> {
        let (keeper, entry) = (Arc::clone(&self.0), entry.clone());
        let applied = tokio::task::spawn_blocking(move || keeper.apply(&entry)).await;
        match applied {
            Ok(Ok(())) => Ok(OrderReport::complete()),
            Ok(Err(error)) => Err(runtime::error_chain(&error)),
            Err(error) => Err(error.to_string()),
        }
    }

    async fn gap(&self, _: u64, to: u64) -> Result<(), String> {
        let keeper = Arc::clone(&self.0);
        match tokio::task::spawn_blocking(move || keeper.gap(to)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(runtime::error_chain(&error)),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// The role's own check of a snapshot: it must compile whole.
fn acceptable(snapshot: &DispatchSnapshot) -> Result<(), String> {
    dns::DispatchTable::compile(snapshot)
        .map(drop)
        .map_err(|problems| {
            let list: Vec<String> = problems.iter().map(ToString::to_string).collect();
            list.join("; ")
        })
}

/// The sockets that a predecessor left for these addresses.
fn inherited(process: &Process, listen: &[SocketAddr], reports: Option<SocketAddr>) -> Inherited {
    let udp: Vec<SocketAddr> = listen.iter().copied().chain(reports).collect();
    Inherited {
        tcp: process.sockets.take_tcp(listen),
        udp: process.sockets.take_udp(&udp),
    }
}

/// One zone file, no control plane; gives word when it answers.
pub(super) fn alone(run: &Run, zone: &Path, process: &Process) -> oneshot::Receiver<()> {
    let mut options = ZoneFileOptions::new(run.listen.clone());
    options.threads = run.workers.unwrap_or(0);
    options.inherited = inherited(process, &run.listen, None);
    let (tell, open) = oneshot::channel();
    let sockets = process.sockets.clone();
    options.on_open = Some(Box::new(move |duplicates| {
        sockets.keep_all(duplicates);
        // Nobody waits when the process ends already.
        tell.send(()).ok();
    }));
    let (zone, stop) = (zone.to_owned(), process.supervisor.soft());
    process.supervisor.spawn_essential("dispatch", async move {
        dispatch::run_zone_file(&zone, options, stop).await
    });
    open
}
