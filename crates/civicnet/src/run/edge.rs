//! Role `edge`: the HTTP cache, managed or alone.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use anyhow::{Context, bail};
use async_trait::async_trait;
use base::delivery::{DispatchSnapshot, EdgeCertificate, EdgeSnapshot};
use base::event::{EventSink, NoEvents};
use base::quick::{Order, QuickEntry};
use base::{NodeName, Role};
use dispatch::health::Observer;
use edge::{Edge, EdgeHandle, EdgeOptions};
use enforce::Keeper;
use fabric::OrderReport;
use fabric::node::{Progress, QuickHandler};
use lake::journal::{Journal, JournalConfig};

use super::enforcement;
use super::handover::Handover;
use super::node::{ManagedNode, follow};
use super::process::Process;
use crate::cli::Run;
use crate::config::Config;

/// Bytes of events that an edge without a control plane keeps before it forgets the oldest.
const ALONE_JOURNAL_BYTES: u64 = 256 << 20;

/// When a successor serves: how long a connection without a request is kept for a last one.
const LAST_REQUEST_TIME: std::time::Duration = std::time::Duration::from_secs(5);
/// When a successor serves: how long answers may take to end.
const LAST_ANSWER_TIME: std::time::Duration = std::time::Duration::from_secs(60);

/// The running edge, once there is one: for health reports that begin before it.
#[derive(Debug, Clone, Default)]
pub(super) struct LoadGauge(Arc<OnceLock<EdgeHandle>>);

impl LoadGauge {
    /// What the inventory shows of this edge.
    pub(super) fn health(&self) -> serde_json::Value {
        let Some(edge) = self.0.get() else {
            return serde_json::Value::Null;
        };
        let stats = edge.stats();
        let share = |part: u64, whole: u64| {
            if whole == 0 {
                0.0
            } else {
                part as f64 / whole as f64
            }
        };
        serde_json::json!({
            "load": edge.load(),
            "requests_per_second": stats.requests_per_second,
            "connections": stats.connections,
            "requests": stats.total.requests,
            "hit_ratio": share(stats.total.hits, stats.total.requests),
            "errors": stats.total.errors,
            "memory_bytes": stats.cache.memory_bytes,
            "memory_objects": stats.cache.memory_objects,
            "disk_bytes": stats.cache.disk_bytes,
            "disk_objects": stats.cache.disk_objects,
            "disk_healthy": stats.cache.disk_healthy,
        })
    }
}

/// Joins the role to a managed node.
pub(super) fn join(
    config: &Config,
    process: &Process,
    node: &mut ManagedNode,
    load: &LoadGauge,
) -> anyhow::Result<()> {
    let section = &config.edge;
    let snapshot = follow::<EdgeSnapshot>(&mut node.link, Role::Edge, "", process, |snapshot| {
        edge::check(snapshot).map_err(|error| runtime::error_chain(&error))
    })?;
    let mut options = EdgeOptions::new(config.node.name.clone());
    options.listen_http.clone_from(&section.listen_http);
    options.listen_https.clone_from(&section.listen_https);
    options.cache_dir.clone_from(&section.cache_dir);
    options.memory_bytes = section.memory_mib << 20;
    options.disk_bytes = section.disk_mib << 20;
    if section.workers > 0 {
        options.workers = section.workers;
    }
    options.capacity_rps = section.capacity_rps;
    options.origin_ca.clone_from(&section.origin_ca);
    options.origin_deny.clone_from(&section.origin_deny);
    options.inherited = inherited(process, &options);
    let keeper = enforcement::keeper(config, process, node, Role::Edge)?;
    enforcement::adopt(process, Arc::clone(&keeper), snapshot.clone(), |snapshot| {
        &snapshot.enforced
    })?;
    options.blocklist = Arc::clone(keeper.list());
    let handle = Edge::start(
        options,
        snapshot.clone(),
        Arc::clone(&node.sink),
        &process.metrics,
        process.supervisor.soft(),
    )
    .context("could not start the edge")?;
    if load.0.set(handle.clone()).is_err() {
        bail!("a process runs one edge");
    }
    node.link.quick(
        Role::Edge,
        Arc::new(Orders {
            edge: handle.clone(),
            keeper,
            progress: node.link.progress(),
            handover: process.handover.clone(),
        }),
    )?;
    let ready = process.readiness.flag("edge snapshot");
    let stop = process.supervisor.soft();
    process
        .supervisor
        .spawn("edge ready", super::ready_when_some(snapshot, ready, stop));
    stop_with(process, handle);
    observe(config.node.name.clone(), process, node);
    Ok(())
}

/// The sockets that a predecessor left for these addresses.
fn inherited(process: &Process, options: &EdgeOptions) -> Vec<std::net::TcpListener> {
    let addresses = [
        options.listen_http.as_slice(),
        options.listen_https.as_slice(),
    ];
    process.sockets.take_tcp(&addresses.concat())
}

/// Waits for the end and lets open requests finish; tells how the edge is handed over.
fn stop_with(process: &Process, handle: EdgeHandle) {
    process.sockets.keep_all(handle.take_sockets());
    let released = handle.clone();
    process.handover.on_release(move || async move {
        let releasing = tokio::task::spawn_blocking(move || released.release_cache());
        if releasing.await.is_err() {
            tracing::error!("Letting go of the cache panicked");
        }
    });
    let (parting, obeying) = (handle.clone(), handle.clone());
    process
        .handover
        .on_part(move || parting.part_gently(LAST_REQUEST_TIME, LAST_ANSWER_TIME));
    process.handover.obey_with(move |entry| {
        if let Err(error) = obeying.apply(entry, |_| {}) {
            tracing::error!("{}", runtime::error_chain(&error));
        }
    });
    let stop = process.supervisor.soft();
    process.supervisor.spawn("edge", async move {
        stop.cancelled().await;
        tokio::task::spawn_blocking(move || handle.stop()).await
    });
}

/// An edge that is enrolled for dispatch too is one of the observers of all edges.
fn observe(me: NodeName, process: &Process, node: &mut ManagedNode) {
    let Ok(mut snapshot) =
        follow::<DispatchSnapshot>(&mut node.link, Role::Dispatch, "", process, |_| Ok(()))
    else {
        tracing::info!("This edge is not enrolled for dispatch, so it observes no others");
        return;
    };
    let stop = process.supervisor.soft();
    process.supervisor.spawn("observer", async move {
        loop {
            let latest = snapshot.borrow_and_update().clone();
            let round = stop.child_token();
            let observing = latest.map(|latest| {
                let observer = Observer::of(&latest, me.clone());
                tokio::spawn(observer.run(None, round.clone()))
            });
            tokio::select! {
                () = stop.cancelled() => return,
                changed = snapshot.changed() => if changed.is_err() { return },
            }
            round.cancel();
            if let Some(Ok(Err(error))) = match observing {
                Some(task) => Some(task.await),
                None => None,
            } {
                tracing::warn!(%error, "Observing ended");
            }
        }
    });
}

/// Quick entries, as an edge carries them out.
struct Orders {
    edge: EdgeHandle,
    keeper: Arc<Keeper>,
    progress: Progress,
    handover: Handover,
}

#[async_trait]
impl QuickHandler for Orders {
    fn durable_seq(&self) -> u64 {
        // Orders lost to a damaged log are asked for again; the cache passes over its own.
        let cache = self.edge.last_seq();
        match self.keeper.is_damaged() {
            true => cache.min(self.keeper.last_seq()),
            false => cache,
        }
    }

    async fn apply(&self, entry: &QuickEntry) -> Result<OrderReport, String> {
        let is_purge = matches!(entry.order, Order::Purge(_));
        let passed_on = entry.clone();
        let (edge, entry, progress) = (self.edge.clone(), entry.clone(), self.progress.clone());
        let keeper = Arc::clone(&self.keeper);
        let report = match &entry.order {
            Order::Purge(_) | Order::Enforce(_) | Order::Lift(_) => OrderReport::complete(),
            Order::Preload(preload) => OrderReport {
                total: preload.urls.len() as u64,
                done: 0,
                failed: 0,
                message: None,
            },
        };
        let applied = tokio::task::spawn_blocking(move || {
            let seq = entry.seq;
            if matches!(entry.order, Order::Enforce(_) | Order::Lift(_)) {
                keeper
                    .apply(&entry)
                    .map_err(|error| runtime::error_chain(&error))?;
            }
            if seq <= edge.last_seq() {
                return Ok(());
            }
            edge.apply(&entry, move |so_far| {
                progress.report(
                    seq,
                    OrderReport {
                        total: so_far.total,
                        done: so_far.done,
                        failed: so_far.failed,
                        message: None,
                    },
                );
            })
            .map_err(|error| runtime::error_chain(&error))
        });
        match applied.await {
            Ok(Ok(())) => {
                if is_purge {
                    self.handover.pass_on(&passed_on).await;
                }
                Ok(report)
            }
            Ok(Err(error)) => Err(error),
            Err(error) => Err(error.to_string()),
        }
    }

    async fn gap(&self, _: u64, to: u64) -> Result<(), String> {
        let (edge, keeper) = (self.edge.clone(), Arc::clone(&self.keeper));
        let forgetting = tokio::task::spawn_blocking(move || {
            // Else a log that was damaged would have the same gap told again and again.
            keeper
                .gap(to)
                .map_err(|error| runtime::error_chain(&error))?;
            edge.forget_everything(to)
                .map_err(|error| runtime::error_chain(&error))
        });
        match forgetting.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(error),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// One origin, no control plane.
pub(super) fn alone(run: &Run, origin: &str, process: &Process) -> anyhow::Result<()> {
    let mut options = EdgeOptions::new(super::default_node_name());
    options.listen_http.clone_from(&run.listen);
    options.listen_https.clone_from(&run.listen_https);
    options.memory_bytes = run.memory << 20;
    options.disk_bytes = run.disk << 20;
    options.cache_dir = run.cache_dir.as_ref().map(|dir| dir.join("objects"));
    if let Some(workers) = run.workers {
        options.workers = workers;
    }
    let certificate = match (&run.certificate, &run.key) {
        (Some(chain), Some(key)) => Some(EdgeCertificate {
            chain_pem: read(chain)?,
            key_pem: read(key)?,
        }),
        _ => None,
    };
    let sink = sink_alone(run, process)?;
    options.inherited = inherited(process, &options);
    let handle = Edge::start_single(
        options,
        origin,
        certificate,
        sink,
        &process.metrics,
        process.supervisor.soft(),
    )
    .context("could not start the edge")?;
    for address in handle.addresses() {
        tracing::info!(%address, origin, "Serving");
    }
    stop_with(process, handle);
    Ok(())
}

/// The journal of an edge alone: nobody ships from it, so the oldest is forgotten.
fn sink_alone(run: &Run, process: &Process) -> anyhow::Result<Arc<dyn EventSink>> {
    let Some(dir) = run.cache_dir.as_ref().filter(|_| !run.no_events) else {
        return Ok(Arc::new(NoEvents));
    };
    let config = JournalConfig {
        dir: dir.join("events"),
        bytes_max: ALONE_JOURNAL_BYTES * 2,
        ..JournalConfig::default()
    };
    let journal = Arc::new(Journal::open(&config).context("could not open the event journal")?);
    let (keeper, mut reader, stop) = (
        Arc::clone(&journal),
        journal.reader(),
        process.supervisor.soft(),
    );
    super::figures::journal(&process.metrics, Arc::clone(&journal));
    let sink = process.handover.events(Arc::clone(&journal));
    process.supervisor.spawn("journal", async move {
        let mut look = tokio::time::interval(std::time::Duration::from_secs(1));
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok::<(), lake::journal::JournalError>(()),
                _ = look.tick() => {}
            }
            while keeper.stats().bytes > ALONE_JOURNAL_BYTES {
                match reader.next()? {
                    Some((seq, _)) => reader.ack(seq)?,
                    None => break,
                }
            }
        }
    });
    Ok(sink)
}

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("could not read {}", path.display()))
}
