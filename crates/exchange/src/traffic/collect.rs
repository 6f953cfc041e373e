//! One site's collecting, joined: a plan that may change, the poller and the collector
//! that follow it. A node runs it by itself; the control plane is not asked.

use std::net::SocketAddr;
use std::sync::Arc;

use base::Clock;
use base::event::EventSink;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::plan::{Directory, Plan};
use super::poller::{Poller, States};
use super::sflow::collector::Collector;
use super::snmp::Timing;

/// Reading the exchange's switches from this process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TrafficConfig {
    /// Read switches by SNMP: role `exchange` those of its site, role `control` those of every
    /// site (for exchanges without an agent at each; switch it on at one of both places).
    pub collect: bool,
    /// Where samples (sFlow version 5) are taken: `0.0.0.0:6343`; without it nowhere.
    pub listen_sflow: Option<SocketAddr>,
}

/// How collecting goes.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    /// Of reading.
    pub states: States,
    /// Of samples.
    pub collector: Collector,
}

/// Collects what the plan says until told to stop.
pub async fn run(
    mut plan: watch::Receiver<Arc<Plan>>,
    socket: Option<UdpSocket>,
    sink: Arc<dyn EventSink>,
    clock: Arc<dyn Clock>,
    progress: Progress,
    stop: CancellationToken,
) {
    let first = Arc::clone(&plan.borrow_and_update());
    let directory = Arc::new(Directory::new(&first));
    let (plans, followed) = watch::channel((first, Arc::clone(&directory)));
    let (directories, known) = watch::channel(directory);
    let poller = Poller {
        sink: Arc::clone(&sink),
        clock: Arc::clone(&clock),
        timing: Timing::default(),
        states: progress.states,
    };
    let reading = poller.run(followed, stop.clone());
    let sampling = async {
        if let Some(socket) = socket {
            progress
                .collector
                .run(socket, known, sink, clock, stop.clone())
                .await;
        }
    };
    let following = async {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                changed = plan.changed() => if changed.is_err() {
                    stop.cancelled().await;
                    return;
                },
            }
            let next = Arc::clone(&plan.borrow_and_update());
            let directory = Arc::new(Directory::new(&next));
            directories.send_replace(Arc::clone(&directory));
            plans.send_replace((next, directory));
        }
    };
    tokio::join!(reading, sampling, following);
}
