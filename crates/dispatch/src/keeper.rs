//! Keeps what is served in step with snapshots and health: the one task that writes
//! [`Current`] and the [`Agreement`].

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base::delivery::DispatchSnapshot;
use base::event::{EventBatch, EventSink, NoticeEvent, Severity};
use base::{Clock, NodeName, SystemClock};
use dns::{DispatchTable, Served};
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::current::Current;
use crate::health::{Agreement, Change, Inbox, Observer, Opinion, Report};
use crate::stats::Stats;

/// How often conclusions are drawn from opinions that have grown old.
const DECIDE_EVERY: Duration = Duration::from_millis(100);
/// Rounds of local opinions that may wait.
const LOCAL_QUEUE: usize = 16;
/// Bytes read of a report; a longer datagram is none.
const DATAGRAM_BYTES: usize = 2_048;

/// Opinions and the clock they are dated by, shared with explanations.
#[derive(Debug, Clone)]
pub(crate) struct Views {
    pub(crate) current: Arc<Current>,
    pub(crate) agreement: Arc<Mutex<Agreement>>,
    pub(crate) started: Instant,
}

impl Views {
    pub(crate) fn agreement(&self) -> std::sync::MutexGuard<'_, Agreement> {
        self.agreement
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// The task's belongings.
pub(crate) struct Keeper {
    pub(crate) views: Views,
    pub(crate) snapshot: watch::Receiver<Option<Arc<DispatchSnapshot>>>,
    pub(crate) reports: Option<UdpSocket>,
    pub(crate) observe_as: Option<NodeName>,
    pub(crate) sink: Arc<dyn EventSink>,
    pub(crate) stats: Stats,
}

/// The observer of the present snapshot, stopped when another one comes.
struct Observing {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Keeper {
    /// Obeys the snapshot that is there already, if one is. To be called before the
    /// first packet is answered.
    pub(crate) async fn begin(&mut self) {
        let first = self.snapshot.borrow_and_update().clone();
        if let Some(snapshot) = first {
            self.obey(snapshot).await;
        }
    }

    /// Runs until told to stop.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        let (local, mut heard) = mpsc::channel::<Vec<Opinion>>(LOCAL_QUEUE);
        let mut inbox = Inbox::default();
        let mut datagram = vec![0; DATAGRAM_BYTES];
        let mut tick = tokio::time::interval(DECIDE_EVERY);
        let mut observing = self.observe(&local, &shutdown);
        let mut snapshots_end = false;
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                changed = self.snapshot.changed(), if !snapshots_end => {
                    let next = self.snapshot.borrow_and_update().clone();
                    snapshots_end = changed.is_err();
                    if let Some(snapshot) = next
                        && !snapshots_end
                        && self.obey(snapshot).await
                    {
                        if let Some(old) = observing.take() {
                            old.stop.cancel();
                            end(old.task).await;
                        }
                        observing = self.observe(&local, &shutdown);
                    }
                }
                Some(opinions) = heard.recv() => {
                    if let Some(me) = self.observe_as.clone() {
                        self.hear(&me, &opinions);
                    }
                }
                (length, from) = receive(self.reports.as_ref(), &mut datagram) => {
                    self.report(&mut inbox, &datagram[..length], from);
                }
                _ = tick.tick() => {}
            }
            self.decide().await;
        }
        if let Some(last) = observing {
            end(last.task).await;
        }
    }

    fn now(&self) -> Duration {
        self.views.started.elapsed()
    }

    /// Compiles a snapshot and serves it; one with problems is refused whole.
    async fn obey(&mut self, snapshot: Arc<DispatchSnapshot>) -> bool {
        let compiling = Arc::clone(&snapshot);
        let compiled =
            tokio::task::spawn_blocking(move || DispatchTable::compile(&compiling)).await;
        let table = match compiled {
            Ok(Ok(table)) => table,
            Ok(Err(problems)) => {
                let list: Vec<String> = problems.iter().map(ToString::to_string).collect();
                self.refused(&list.join("; "));
                return false;
            }
            Err(error) => {
                self.refused(&error.to_string());
                return false;
            }
        };
        for zone in table.zones().iter() {
            for warning in zone.warnings() {
                tracing::warn!(zone = %zone.apex(), %warning, "doubtful zone data");
            }
        }
        let states = {
            let mut agreement = self.views.agreement();
            agreement.follow(
                &snapshot.health,
                snapshot.edges.iter().map(|edge| edge.node.clone()),
            );
            agreement.states()
        };
        self.serve(Arc::new(table), states).await;
        tracing::info!(
            zones = snapshot.zones.len(),
            names = snapshot.names.len(),
            edges = snapshot.edges.len(),
            "Serving a new snapshot"
        );
        true
    }

    fn refused(&self, problems: &str) {
        tracing::error!(problems, "snapshot refused, the last one stays");
        self.stats.snapshot_refused();
        self.notice(Severity::Error, "snapshot.refused", "dispatch", problems);
    }

    async fn serve(&self, table: Arc<DispatchTable>, states: Vec<dns::EdgeState>) {
        match tokio::task::spawn_blocking(move || Served::new(table, states)).await {
            Ok(served) => self.views.current.replace(served),
            Err(error) => tracing::error!(%error, "could not work out the choices"),
        }
    }

    fn observe(
        &self,
        local: &mpsc::Sender<Vec<Opinion>>,
        shutdown: &CancellationToken,
    ) -> Option<Observing> {
        let me = self.observe_as.clone()?;
        let served = self.views.current.get();
        let table = served.table();
        let edges = table.policies().edges().iter();
        let edges: Vec<_> = edges
            .map(|edge| (edge.node.clone(), edge.health_address))
            .collect();
        if edges.is_empty() {
            return None;
        }
        let observer = Observer::new(me, table.health().clone(), edges);
        let stop = shutdown.child_token();
        let (local, token) = (local.clone(), stop.clone());
        let task = tokio::spawn(async move {
            if let Err(error) = observer.run(Some(local), token).await {
                tracing::error!(%error, "the health observer ended");
            }
        });
        Some(Observing { stop, task })
    }

    fn report(&self, inbox: &mut Inbox, datagram: &[u8], from: SocketAddr) {
        let key = self.views.current.get().table().health().report_key;
        // An all-zero key is no secret: nothing signed with it is believed.
        if key == [0; 32] {
            self.stats.report(false);
            return;
        }
        match inbox.accept(&key, datagram, SystemClock.now()) {
            Ok(Report {
                observer, opinions, ..
            }) => {
                self.stats.report(true);
                self.hear(&observer, &opinions);
            }
            Err(refused) => {
                self.stats.report(false);
                tracing::debug!(%from, %refused, "health report refused");
            }
        }
    }

    fn hear(&self, observer: &NodeName, opinions: &[Opinion]) {
        let now = self.now();
        let mut agreement = self.views.agreement();
        for opinion in opinions {
            if !agreement.hear(observer, opinion, now) {
                tracing::debug!(%observer, edge = %opinion.edge, "one observer too many");
            }
        }
    }

    async fn decide(&self) {
        let (changes, states) = {
            let mut agreement = self.views.agreement();
            let changes = agreement.decide(self.now());
            if changes.is_empty() {
                return;
            }
            (changes, agreement.states())
        };
        let table = Arc::clone(self.views.current.get().table());
        self.serve(table, states).await;
        for change in &changes {
            self.announce(change);
        }
    }

    fn announce(&self, change: &Change) {
        self.stats.health_change();
        let edge = change.edge.as_str();
        let (severity, kind, message) = match (change.was_alive, change.alive, change.overloaded) {
            (true, false, _) => (
                Severity::Error,
                "edge.unhealthy",
                format!("observers agree that edge {edge} does not answer"),
            ),
            (false, true, _) => (
                Severity::Info,
                "edge.healthy",
                format!("observers agree that edge {edge} answers again"),
            ),
            (_, _, true) => (
                Severity::Warning,
                "edge.overloaded",
                format!("the load of edge {edge} has reached its capacity"),
            ),
            (_, _, false) => (
                Severity::Info,
                "edge.relieved",
                format!("edge {edge} has room again"),
            ),
        };
        tracing::warn!(edge, kind, "{message}");
        self.notice(severity, kind, edge, &message);
    }

    fn notice(&self, severity: Severity, kind: &str, subject: &str, message: &str) {
        self.sink.offer(EventBatch::Notice(vec![NoticeEvent {
            at: SystemClock.now(),
            severity,
            kind: kind.into(),
            subject: subject.into(),
            message: message.into(),
        }]));
    }
}

async fn end(task: JoinHandle<()>) {
    if let Err(error) = task.await {
        tracing::error!(%error, "the health observer failed");
    }
}

/// Waits for a report; for ever when there is no socket.
async fn receive(socket: Option<&UdpSocket>, datagram: &mut [u8]) -> (usize, SocketAddr) {
    let Some(socket) = socket else {
        return std::future::pending().await;
    };
    loop {
        match socket.recv_from(datagram).await {
            Ok(received) => return received,
            Err(error) => {
                tracing::debug!(%error, "could not receive a health report");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
}
