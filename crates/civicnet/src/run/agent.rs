//! Role `exchange`: the agent beside the route server of one site.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use base::Role;
use exchange::agent::{self, Applied, Applier, ApplierOptions, Checker, SiteSnapshot};
use exchange::document::EngineKind;
use exchange::engine::daemon::Daemons;
use exchange::glass::api::{self, Guard};
use exchange::glass::live::{Feed, Glass, GlassOptions, Labels};
use exchange::glass::probe::Prober;
use exchange::glass::sign::Key;
use exchange::traffic::collect::{self, Progress, TrafficConfig};
use exchange::traffic::plan::Plan;
use exchange::traffic::sflow::collector::Collector;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::node::{ManagedNode, follow};
use super::process::Process;
use crate::config::{AgentSection, Config};

/// What heartbeats tell of the agent, filled in once it runs.
#[derive(Clone, Default)]
pub(super) struct AgentHealth(Arc<Mutex<Value>>);

impl AgentHealth {
    /// For a heartbeat: where the looking glass is and what became of the newest configuration.
    pub(super) fn told(&self) -> Value {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn tell(&self, value: Value) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = value;
    }
}

/// Joins the role to a managed node.
pub(super) fn join(
    config: &Config,
    process: &Process,
    node: &mut ManagedNode,
    health: &AgentHealth,
) -> anyhow::Result<()> {
    let section = &config.agent;
    ensure!(!section.site.is_empty(), "agent.site: must name the site");
    runtime::crypto::install_provider();
    let site = section.site.clone();
    let accept = move |snapshot: &SiteSnapshot| snapshot.check(&site);
    let snapshot = follow::<SiteSnapshot>(
        &mut node.link,
        Role::Exchange,
        &section.site,
        process,
        accept,
    )?;
    let tasks = &process.supervisor;

    let daemons = Daemons {
        bird: (section.bird_socket.clone(), section.bird_config.clone()),
        openbgpd: (
            section.openbgpd_socket.clone(),
            section.openbgpd_config.clone(),
        ),
    };
    let (applier, applied) = Applier::new(ApplierOptions {
        site: section.site.clone(),
        daemons: daemons.clone(),
        watch: Duration::from_secs(section.watch_s),
        settle: Duration::from_secs(section.settle_s),
    });
    let (wanted, stop) = (snapshot.clone(), tasks.soft());
    tasks.spawn("route server", async move {
        applier.run(wanted, stop).await;
    });

    let (send_labels, labels) = watch::channel(None);
    let (wanted, stop) = (snapshot.clone(), tasks.soft());
    tasks.spawn("labels", async move {
        agent::labels::follow(wanted, send_labels, stop).await;
    });

    let first = snapshot.borrow().clone();
    let (send_asn, asn) = watch::channel(asn_of(first.as_deref()));
    let (send_key, key) = watch::channel(key_of(first.as_deref()));
    let checker = Checker::new(&section.site, daemons.clone(), snapshot.clone());
    let feed = |snapshot: Option<&SiteSnapshot>, daemons: &Daemons, site: &str| {
        Feed::of(&match snapshot {
            Some(snapshot) => daemons.at(&snapshot.document, site),
            None => daemons.of(EngineKind::Bird),
        })
    };
    let glass = Glass::new(GlassOptions {
        feed: feed(first.as_deref(), &daemons, &section.site),
        every: Duration::from_millis(section.look_ms),
        asn,
        rpki: Some(Labels::Sent(labels)),
    });
    let (mut news, stop) = (snapshot.clone(), tasks.soft());
    let (followed, site) = (glass.clone(), section.site.clone());
    tasks.spawn("looking glass's key", async move {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                changed = news.changed() => if changed.is_err() { return },
            }
            let now = news.borrow_and_update().clone();
            send_asn.send_replace(asn_of(now.as_deref()));
            send_key.send_replace(key_of(now.as_deref()));
            followed.turn_to(feed(now.as_deref(), &daemons, &site));
        }
    });
    let (reports, values) = watch::channel(None);
    node.link.reports(Role::Exchange, values)?;
    let (site, seen, stop) = (section.site.clone(), glass.seen(), tasks.soft());
    tasks.spawn("reports", async move {
        agent::report::tell(site, seen, reports, stop).await;
    });
    let (runner, stop) = (glass.clone(), tasks.soft());
    tasks.spawn("looking glass", async move {
        runner.run(stop).await;
    });

    if let Some(address) = section.listen {
        let guard = Guard {
            open: section.open,
            allow: section.allow.clone(),
            key: Some(key),
        };
        let prober = Prober::new(section.probe_allow.clone());
        let router = api::router_of(glass, Some(prober), Some(checker), guard);
        let (listener, stop) = (process.listen(address)?, tasks.soft());
        tasks.spawn_essential("looking glass's listener", async move {
            web::serve_router(router, listener, stop).await
        });
    }
    collect(config, process, node, &snapshot)?;
    tell_health(section, health.clone(), applied, process);
    let ready = process.readiness.flag("exchange snapshot");
    let stop = tasks.soft();
    tasks.spawn(
        "exchange ready",
        super::ready_when_some(snapshot, ready, stop),
    );
    Ok(())
}

/// Reads the site's switches and takes their samples, as `[traffic]` says.
fn collect(
    config: &Config,
    process: &Process,
    node: &ManagedNode,
    snapshot: &watch::Receiver<Option<Arc<SiteSnapshot>>>,
) -> anyhow::Result<()> {
    let wanted = config.traffic;
    if !wanted.collect && wanted.listen_sflow.is_none() {
        return Ok(());
    }
    let socket = wanted
        .listen_sflow
        .map(|address| samples_socket(process, address))
        .transpose()?;
    let tasks = &process.supervisor;
    let site = config.agent.site.clone();
    let first = plan_of(snapshot.borrow().as_deref(), &site, &wanted);
    let (send_plan, plan) = watch::channel(Arc::new(first));
    let (mut news, stop) = (snapshot.clone(), tasks.soft());
    tasks.spawn("plan of readings", async move {
        loop {
            let next = plan_of(news.borrow_and_update().as_deref(), &site, &wanted);
            send_plan.send_if_modified(|known| {
                let is_new = **known != next;
                if is_new {
                    *known = Arc::new(next);
                }
                is_new
            });
            tokio::select! {
                () = stop.cancelled() => return,
                changed = news.changed() => if changed.is_err() { return },
            }
        }
    });
    let clock: Arc<dyn base::Clock> = Arc::new(base::SystemClock);
    let progress = Progress::default();
    super::figures::collecting(&process.metrics, progress.clone(), Arc::clone(&clock));
    let stop: CancellationToken = tasks.soft().child_token();
    let (ended, wait) = tokio::sync::oneshot::channel::<()>();
    let (sink, stopped) = (Arc::clone(&node.sink), stop.clone());
    tasks.spawn("reading of switches", async move {
        collect::run(plan, socket, sink, clock, progress, stopped).await;
        drop(ended);
    });
    // Two processes that read the same switch would count what it carried twice; what is
    // counted so far must be told before the journal is let go of.
    process.handover.on_release(move || async move {
        stop.cancel();
        // The end is an error here: nothing is ever sent.
        wait.await.ok();
    });
    Ok(())
}

fn plan_of(snapshot: Option<&SiteSnapshot>, site: &str, wanted: &TrafficConfig) -> Plan {
    let plan = snapshot.map(|snapshot| snapshot.traffic.at(site));
    let plan = plan.unwrap_or_default();
    if wanted.collect {
        plan
    } else {
        plan.samples_only()
    }
}

/// The socket of samples, which a successor inherits: what comes meanwhile waits in it.
fn samples_socket(process: &Process, address: SocketAddr) -> anyhow::Result<tokio::net::UdpSocket> {
    let taken = || -> std::io::Result<tokio::net::UdpSocket> {
        let socket = match process.sockets.take_udp(&[address]).pop() {
            Some(inherited) => {
                inherited.set_nonblocking(true)?;
                tokio::net::UdpSocket::from_std(inherited)?
            }
            None => Collector::bind(address)?,
        };
        process.sockets.keep(&socket)?;
        Ok(socket)
    };
    taken().with_context(|| format!("could not take samples on {address} (traffic.listen_sflow)"))
}

fn asn_of(snapshot: Option<&SiteSnapshot>) -> u32 {
    snapshot.map_or(0, |snapshot| snapshot.document.policy.asn)
}

fn key_of(snapshot: Option<&SiteSnapshot>) -> Option<Key> {
    snapshot.and_then(|snapshot| Key::from_hex(&snapshot.glass_key))
}

fn tell_health(
    section: &AgentSection,
    health: AgentHealth,
    mut applied: watch::Receiver<Applied>,
    process: &Process,
) {
    let url = section
        .url
        .clone()
        .or_else(|| section.listen.map(|address| format!("http://{address}")));
    let site = section.site.clone();
    let stop = process.supervisor.soft();
    process.supervisor.spawn("agent's health", async move {
        loop {
            let now = applied.borrow_and_update().clone();
            health.tell(json!({ "site": site, "glass": url, "applied": now }));
            tokio::select! {
                () = stop.cancelled() => return,
                changed = applied.changed() => if changed.is_err() { return },
            }
        }
    });
}
