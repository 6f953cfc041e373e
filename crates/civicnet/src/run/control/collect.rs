//! Traffic's tasks in the control plane: what is wrong with ports now, and, where the
//! configuration says so, reading the switches from here.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use base::NodeName;
use base::event::{EventBatch, EventSink};
use exchange::traffic::collect::{Progress, run};
use exchange::traffic::desk::Traffic;
use exchange::traffic::plan::Plan;
use exchange::traffic::sflow::collector::Collector;
use lake::Lake;
use tokio::sync::{mpsc, watch};

use crate::config::Config;
use crate::run::process::Process;

/// How often faults are looked for.
const FAULTS_PERIOD: Duration = Duration::from_secs(10);
/// How often the plan is made anew.
const PLAN_PERIOD: Duration = Duration::from_secs(5);
/// Batches that wait for the lake; more are dropped, because a switch is read again.
const BATCHES_MAX: usize = 1_000;
/// Pause after a batch that the lake did not take.
const LAKE_PAUSE: Duration = Duration::from_secs(1);

/// Events of this process on their way to the lake.
struct ToLake(mpsc::Sender<EventBatch>);

impl EventSink for ToLake {
    fn offer(&self, batch: EventBatch) {
        if self.0.try_send(batch).is_err() {
            tracing::warn!("Readings of switches are dropped: the lake does not keep up");
        }
    }
}

pub(super) fn start(
    config: &Config,
    process: &Process,
    traffic: &Traffic,
    lake: Lake,
) -> anyhow::Result<()> {
    let tasks = &process.supervisor;
    let looking = traffic.clone();
    tasks.every("faults of ports", FAULTS_PERIOD, move || {
        let traffic = looking.clone();
        async move {
            let now = traffic.now();
            traffic.look(now).await.map_err(anyhow::Error::from_boxed)
        }
    });
    let here = config.traffic.collect || config.traffic.listen_sflow.is_some();
    if !here {
        return Ok(());
    }
    let socket = config
        .traffic
        .listen_sflow
        .map(|address| {
            Collector::bind(address).with_context(|| {
                format!("could not take samples on {address} (traffic.listen_sflow)")
            })
        })
        .transpose()?;
    let (sender, receiver) = watch::channel(Arc::new(Plan::default()));
    let (planning, polls) = (traffic.clone(), config.traffic.collect);
    tasks.every("plan of readings", PLAN_PERIOD, move || {
        let (traffic, sender) = (planning.clone(), sender.clone());
        async move {
            let mut plan = traffic.plan(None).await?;
            if !polls {
                plan = plan.samples_only();
            }
            sender.send_if_modified(|known| {
                let is_new = **known != plan;
                if is_new {
                    *known = Arc::new(plan);
                }
                is_new
            });
            Ok::<(), exchange::room::RoomError>(())
        }
    });
    let (events, mut taken) = mpsc::channel(BATCHES_MAX);
    let node: NodeName = config.node.name.clone();
    tasks.spawn("readings to the lake", async move {
        while let Some(batch) = taken.recv().await {
            while let Err(error) = lake.record(&node, &batch).await {
                tracing::warn!(
                    "The lake does not take readings: {:#}",
                    anyhow::Error::new(error)
                );
                tokio::time::sleep(LAKE_PAUSE).await;
            }
        }
    });
    let stop = tasks.soft();
    let clock = traffic.clock();
    tasks.spawn("reading of switches", async move {
        run(
            receiver,
            socket,
            Arc::new(ToLake(events)),
            clock,
            Progress::default(),
            stop,
        )
        .await;
    });
    Ok(())
}
