//! A control plane and nodes, in one process, with clocks that tests move.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base::event::{EventBatch, EventSink, NoticeEvent};
use base::{Clock, NodeName, Role, SystemClock, Timestamp};
use fabric::control::{NoIngest, NodeStatus};
use fabric::node::{Link, LinkOptions, Node, Snapshot};
use fabric::{Control, EventIngest, FabricConfig, MIGRATIONS};
use serde::{Deserialize, Serialize};
use store::testing::{TestDb, fresh_with_clock};
use store::{Actor, Backend};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(crate) const DAY: Duration = Duration::from_secs(86_400);
pub(crate) const ME: Actor = Actor::System("test");

/// The machine's clock, moved.
#[derive(Debug, Default)]
pub(crate) struct MovedClock(AtomicI64);

impl MovedClock {
    pub(crate) fn forward(&self, by: Duration) {
        self.0.fetch_add(by.as_micros() as i64, Ordering::SeqCst);
    }

    pub(crate) fn back(&self, by: Duration) {
        self.0.fetch_sub(by.as_micros() as i64, Ordering::SeqCst);
    }
}

impl Clock for MovedClock {
    fn now(&self) -> Timestamp {
        Timestamp(SystemClock.now().0 + self.0.load(Ordering::SeqCst))
    }
}

/// What the snapshots of these tests hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct State {
    pub(crate) text: String,
}

impl State {
    pub(crate) fn new(text: &str) -> Self {
        Self {
            text: text.to_owned(),
        }
    }
}

pub(crate) fn name(text: &str) -> NodeName {
    text.parse().unwrap()
}

/// Waits for a condition, at most half a minute.
pub(crate) async fn eventually<T>(what: &str, mut found: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(found) = found().await {
            return found;
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "did not happen in 30 s: {what}"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The control plane.
pub(crate) struct World {
    pub(crate) db: TestDb,
    pub(crate) clock: Arc<MovedClock>,
    pub(crate) config: FabricConfig,
    pub(crate) control: Control,
    pub(crate) address: SocketAddr,
    pub(crate) ingest: Arc<dyn EventIngest>,
    serving: Option<(CancellationToken, JoinHandle<()>)>,
    nodes: tempfile::TempDir,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::on(Backend::Sqlite, Arc::new(NoIngest)).await
    }

    pub(crate) async fn on(backend: Backend, ingest: Arc<dyn EventIngest>) -> Self {
        let clock = Arc::new(MovedClock::default());
        let db = fresh_with_clock(backend, clock.clone(), &[MIGRATIONS]).await;
        let config = FabricConfig::default();
        let control = Control::open((*db).clone(), db.vault(), config.clone())
            .await
            .unwrap();
        let mut world = Self {
            db,
            clock,
            config,
            control,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            ingest,
            serving: None,
            nodes: tempfile::tempdir().unwrap(),
        };
        world.start();
        world
    }

    /// Serves, on the same port as before.
    pub(crate) fn start(&mut self) {
        let listener = TcpListener::bind(self.address).unwrap();
        self.address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let (control, ingest, token) = (self.control.clone(), self.ingest.clone(), stop.clone());
        let task = tokio::spawn(async move {
            control.serve(listener, ingest, token).await.unwrap();
        });
        self.serving = Some((stop, task));
    }

    pub(crate) async fn stop(&mut self) {
        if let Some((stop, task)) = self.serving.take() {
            stop.cancel();
            task.await.unwrap();
        }
    }

    /// As after the end of the process: everything comes from the database again.
    pub(crate) async fn restart(&mut self) {
        self.stop().await;
        self.control = Control::open((*self.db).clone(), self.db.vault(), self.config.clone())
            .await
            .unwrap();
        self.start();
    }

    pub(crate) fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    pub(crate) fn dir(&self, node: &str) -> PathBuf {
        self.nodes.path().join(node)
    }

    pub(crate) async fn enrol(&self, node: &str, roles: &[Role]) -> Node {
        let token = self
            .control
            .create_token(ME, &name(node), roles)
            .await
            .unwrap()
            .token;
        Node::enrol(&self.dir(node), &[self.url()], &token)
            .await
            .unwrap()
    }

    pub(crate) async fn status(&self, node: &str) -> NodeStatus {
        self.control.node(&name(node)).await.unwrap()
    }

    /// Waits until `node` says that it runs `version`.
    pub(crate) async fn running(&self, node: &str, version: u64) -> NodeStatus {
        eventually(&format!("{node} runs {version}"), async || {
            let status = self.status(node).await;
            (status.versions[0].version == version).then_some(status)
        })
        .await
    }
}

/// Notices that a node gave.
#[derive(Default)]
pub(crate) struct Notices(Mutex<Vec<NoticeEvent>>);

impl Notices {
    pub(crate) fn count(&self, kind: &str) -> usize {
        let notices = self.0.lock().unwrap();
        notices.iter().filter(|n| &*n.kind == kind).count()
    }

    pub(crate) fn last(&self, kind: &str) -> Option<String> {
        let notices = self.0.lock().unwrap();
        let last = notices.iter().rfind(|n| &*n.kind == kind);
        last.map(|n| n.message.to_string())
    }
}

impl EventSink for Notices {
    fn offer(&self, batch: EventBatch) {
        if let EventBatch::Notice(notices) = batch {
            self.0.lock().unwrap().extend(notices);
        }
    }
}

/// A node whose link runs until this value goes.
pub(crate) struct Running {
    pub(crate) snapshots: watch::Receiver<Option<Arc<Snapshot<State>>>>,
    pub(crate) notices: Arc<Notices>,
    pub(crate) status: watch::Receiver<fabric::node::LinkStatus>,
    pub(crate) clock: Arc<MovedClock>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    /// Follows the snapshots of `role`; refuses those whose text is `poison`.
    pub(crate) fn start(node: Node, role: Role) -> Self {
        Self::start_with(node, role, |_| {})
    }

    pub(crate) fn start_with(node: Node, role: Role, add: impl FnOnce(&mut Link)) -> Self {
        Self::start_at(node, role, Arc::default(), add)
    }

    /// Follows the part `part` of the snapshots of `role`.
    pub(crate) fn start_of(node: Node, role: Role, part: &str) -> Self {
        Self::start_part(node, role, part, Arc::default(), |_| {})
    }

    pub(crate) fn start_at(
        node: Node,
        role: Role,
        clock: Arc<MovedClock>,
        add: impl FnOnce(&mut Link),
    ) -> Self {
        Self::start_part(node, role, "", clock, add)
    }

    fn start_part(
        node: Node,
        role: Role,
        part: &str,
        clock: Arc<MovedClock>,
        add: impl FnOnce(&mut Link),
    ) -> Self {
        let notices = Arc::new(Notices::default());
        let mut options = LinkOptions::new("test 1");
        options.clock = clock.clone();
        options.notices = notices.clone();
        options.health = Arc::new(|| serde_json::json!({ "load": 0.5 }));
        options.snapshot_bytes_max = 1024 * 1024;
        options.refused_pause_max = Duration::from_millis(500);
        let mut link = node.link(options).unwrap();
        let snapshots = link
            .snapshots_of(role, part, |state: &State| {
                if state.text == "poison" {
                    Err("text must not be poison".to_owned())
                } else if state.text == "panic" {
                    panic!("the check fails")
                } else {
                    Ok(())
                }
            })
            .unwrap();
        let status = link.status();
        add(&mut link);
        let stop = CancellationToken::new();
        let task = tokio::spawn(link.run(stop.clone()));
        Self {
            snapshots,
            notices,
            status,
            clock,
            stop,
            task,
        }
    }

    pub(crate) fn version(&self) -> u64 {
        self.snapshots.borrow().as_ref().map_or(0, |s| s.version)
    }

    pub(crate) fn text(&self) -> Option<String> {
        let current = self.snapshots.borrow();
        current.as_ref().map(|s| s.value.text.clone())
    }

    pub(crate) async fn has(&mut self, text: &str) {
        let wanted =
            |s: &Option<Arc<Snapshot<State>>>| s.as_ref().is_some_and(|s| s.value.text == text);
        tokio::time::timeout(Duration::from_secs(30), self.snapshots.wait_for(wanted))
            .await
            .unwrap_or_else(|_| panic!("no snapshot {text:?} in 30 s"))
            .unwrap();
    }

    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

/// Copies a node's folder, as a thief would.
pub(crate) fn steal(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            steal(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
