//! The link: which tasks a node runs towards the control plane, and what they share.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use base::event::{EventBatch, EventSink, NoEvents, NoticeEvent, Severity};
use base::{Clock, NodeName, Role, SystemClock, Timestamp};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::client::{Dialer, LinkError};
use super::disk::{Disk, IdentityFile};
use super::events::{self, EventSource, Shipper};
use super::heartbeat;
use super::quick::{self, Progress, QuickHandler};
use super::snapshots::{self, Snapshot};
use super::{Node, NodeError, reports};
use crate::envelope::{ENVELOPE_BYTES_MAX, PublicKey};
use crate::tls;

/// Pause before a task that panicked is started again.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// What the link needs from its surroundings.
#[derive(Clone)]
pub struct LinkOptions {
    /// Program and version, shown in the inventory.
    pub software: String,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Where notices go: `snapshot.refused`, `snapshot.damaged`, `link.refused`.
    pub notices: Arc<dyn EventSink>,
    /// Gives the health report: load, cache, queues; at most 64 KiB of JSON.
    pub health: Arc<dyn Fn() -> serde_json::Value + Send + Sync>,
    /// Bytes of a snapshot at most; larger ones are refused unread.
    pub snapshot_bytes_max: usize,
    /// The longest pause before a snapshot that could not be taken is asked for again.
    pub refused_pause_max: Duration,
}

impl LinkOptions {
    /// The machine's clock, no notices, an empty health report, the usual limits.
    pub fn new(software: &str) -> Self {
        Self {
            software: software.to_owned(),
            clock: Arc::new(SystemClock),
            notices: Arc::new(NoEvents),
            health: Arc::new(|| serde_json::Value::Null),
            snapshot_bytes_max: ENVELOPE_BYTES_MAX,
            refused_pause_max: Duration::from_secs(60),
        }
    }
}

/// How the link is, for readiness and metrics.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LinkStatus {
    /// When the control plane last answered a heartbeat.
    pub last_contact: Option<Timestamp>,
    /// Why the last heartbeat failed, if it did.
    pub failure: Option<String>,
    /// Whether an operator is draining this node, as last heard.
    pub draining: bool,
    /// End of the present certificate.
    pub certificate_until: Option<Timestamp>,
}

pub(crate) type Task =
    Arc<dyn Fn(Arc<Shared>) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// What the tasks share.
pub(crate) struct Shared {
    pub(crate) node: NodeName,
    pub(crate) disk: Arc<Disk>,
    pub(crate) identity: Mutex<IdentityFile>,
    pub(crate) snapshot_key: RwLock<PublicKey>,
    pub(crate) dialer: Arc<Dialer>,
    pub(crate) options: LinkOptions,
    pub(crate) progress: Progress,
    pub(crate) status: watch::Sender<LinkStatus>,
    /// Version in force by role, for heartbeats.
    pub(crate) versions: Mutex<BTreeMap<Role, u64>>,
    pub(crate) handlers: Mutex<BTreeMap<Role, Arc<dyn QuickHandler>>>,
}

impl Shared {
    pub(crate) fn now(&self) -> Timestamp {
        self.options.clock.now()
    }

    /// Tells operators, by log and by event.
    pub(crate) fn notice(&self, severity: Severity, kind: &str, message: String) {
        match severity {
            Severity::Info => tracing::info!(node = %self.node, kind, "{message}"),
            Severity::Warning => tracing::warn!(node = %self.node, kind, "{message}"),
            Severity::Error | Severity::Critical => {
                tracing::error!(node = %self.node, kind, "{message}");
            }
        }
        self.options
            .notices
            .offer(EventBatch::Notice(vec![NoticeEvent {
                at: self.now(),
                severity,
                kind: kind.into(),
                subject: self.node.as_str().into(),
                message: message.into(),
            }]));
    }

    pub(crate) fn identity(&self) -> IdentityFile {
        lock(&self.identity).clone()
    }

    pub(crate) fn snapshot_key(&self) -> PublicKey {
        self.snapshot_key
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Keeps `key` as the one that signs snapshots, on disk first.
    pub(crate) fn adopt_snapshot_key(&self, key: PublicKey) -> Result<(), super::DiskError> {
        let mut identity = lock(&self.identity);
        let mut next = identity.clone();
        next.snapshot_key = key.to_text();
        self.disk.write_identity(&next)?;
        *identity = next;
        drop(identity);
        *self
            .snapshot_key
            .write()
            .unwrap_or_else(PoisonError::into_inner) = key;
        Ok(())
    }

    /// Logs a failed attempt; a refusal by the control plane is also a notice.
    pub(crate) fn attempt_failed(&self, what: &str, error: &LinkError) {
        tracing::debug!(node = %self.node, %error, "{what} failed; will try again");
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A node's link to the control plane: register what the roles need, then [`run`](Link::run).
pub struct Link {
    shared: Arc<Shared>,
    roles: Vec<Role>,
    tasks: Vec<(String, Task)>,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link")
            .field("node", &self.shared.node)
            .field(
                "tasks",
                &self.tasks.iter().map(|t| &t.0).collect::<Vec<_>>(),
            )
            .finish_non_exhaustive()
    }
}

impl Link {
    pub(crate) fn new(node: Node, options: LinkOptions) -> Result<Self, NodeError> {
        let Node { disk, identity } = node;
        let tls = tls::node_client(
            &identity.ca_pem,
            &identity.certificate_pem,
            &identity.key_pem,
        )?;
        let dialer = Arc::new(Dialer::new(&identity.control_urls, tls)?);
        let key = PublicKey::from_text(&identity.snapshot_key)?;
        let roles = identity.roles.clone();
        let shared = Arc::new(Shared {
            node: identity.node.clone(),
            disk,
            snapshot_key: RwLock::new(key),
            identity: Mutex::new(identity),
            dialer,
            options,
            progress: Progress::default(),
            status: watch::channel(LinkStatus::default()).0,
            versions: Mutex::default(),
            handlers: Mutex::default(),
        });
        let tasks: Vec<(String, Task)> = vec![
            (
                "fabric heartbeat".to_owned(),
                Arc::new(|shared| Box::pin(heartbeat::run(shared))),
            ),
            (
                "fabric certificate".to_owned(),
                Arc::new(|shared| Box::pin(heartbeat::renew(shared))),
            ),
            (
                "fabric reports".to_owned(),
                Arc::new(|shared| Box::pin(quick::report(shared))),
            ),
        ];
        Ok(Self {
            shared,
            roles,
            tasks,
        })
    }

    /// Follows the snapshots of `role`. The receiver shows the last good one from
    /// disk at once, if there is one. `accept` is the role's own check: an `Err`
    /// refuses the snapshot whole, and is shown to operators.
    ///
    /// # Errors
    /// When the node is not enrolled for `role`.
    pub fn snapshots<T>(
        &mut self,
        role: Role,
        accept: impl Fn(&T) -> Result<(), String> + Send + Sync + 'static,
    ) -> Result<watch::Receiver<Option<Arc<Snapshot<T>>>>, NodeError>
    where
        T: DeserializeOwned + Send + Sync + 'static,
    {
        self.snapshots_of(role, "", accept)
    }

    /// As [`Self::snapshots`], of what is for `part` alone: where the node stands. It is bound to the first
    /// one that it names until it is enrolled anew.
    ///
    /// # Errors
    /// When the node is not enrolled for `role`.
    pub fn snapshots_of<T>(
        &mut self,
        role: Role,
        part: &str,
        accept: impl Fn(&T) -> Result<(), String> + Send + Sync + 'static,
    ) -> Result<watch::Receiver<Option<Arc<Snapshot<T>>>>, NodeError>
    where
        T: DeserializeOwned + Send + Sync + 'static,
    {
        self.check_role(role)?;
        let follower = Arc::new(snapshots::Follower::open(
            &self.shared,
            role,
            part,
            Box::new(accept),
        ));
        let receiver = follower.subscribe();
        self.tasks.push((
            format!("fabric snapshots {role}"),
            Arc::new(move |shared| {
                let follower = follower.clone();
                Box::pin(async move { follower.run(shared).await })
            }),
        ));
        Ok(receiver)
    }

    /// Gives the quick entries of `role` to `handler`, one after another, in order.
    ///
    /// # Errors
    /// When the node is not enrolled for `role`.
    pub fn quick(&mut self, role: Role, handler: Arc<dyn QuickHandler>) -> Result<(), NodeError> {
        self.check_role(role)?;
        lock(&self.shared.handlers).insert(role, handler.clone());
        self.tasks.push((
            format!("fabric quick {role}"),
            Arc::new(move |shared| Box::pin(quick::run(shared, role, handler.clone()))),
        ));
        Ok(())
    }

    /// Ships what `source` yields.
    pub fn events(&mut self, source: impl EventSource + 'static) {
        let shipper = Arc::new(tokio::sync::Mutex::new(Shipper::new(source)));
        self.tasks.push((
            "fabric events".to_owned(),
            Arc::new(move |shared| Box::pin(events::ship(shared, shipper.clone()))),
        ));
    }

    /// Reports what `values` holds for `role`, as soon as it changes.
    ///
    /// # Errors
    /// When the node is not enrolled for `role`.
    pub fn reports(
        &mut self,
        role: Role,
        values: watch::Receiver<Option<serde_json::Value>>,
    ) -> Result<(), NodeError> {
        self.check_role(role)?;
        self.tasks.push((
            format!("fabric reports {role}"),
            Arc::new(move |shared| Box::pin(reports::run(shared, role, values.clone()))),
        ));
        Ok(())
    }

    /// Where long orders (preloads) report how far they have got.
    pub fn progress(&self) -> Progress {
        self.shared.progress.clone()
    }

    /// How the link is.
    pub fn status(&self) -> watch::Receiver<LinkStatus> {
        self.shared.status.subscribe()
    }

    /// Runs every task until `stop`. A task that panics is logged and started again.
    pub async fn run(self, stop: CancellationToken) {
        let tracker = TaskTracker::new();
        for (name, task) in self.tasks {
            let (shared, stop) = (self.shared.clone(), stop.clone());
            tracker.spawn(keep_running(name, task, shared, stop));
        }
        tracker.close();
        tracker.wait().await;
    }

    fn check_role(&self, role: Role) -> Result<(), NodeError> {
        if self.roles.contains(&role) {
            Ok(())
        } else {
            Err(NodeError::NotItsRole {
                node: self.shared.node.clone(),
                role,
            })
        }
    }
}

async fn keep_running(name: String, task: Task, shared: Arc<Shared>, stop: CancellationToken) {
    loop {
        let mut running = tokio::spawn(task(shared.clone()));
        tokio::select! {
            () = stop.cancelled() => {
                running.abort();
                return;
            }
            ended = &mut running => match ended {
                Ok(()) => return,
                Err(error) => {
                    shared.notice(
                        Severity::Error,
                        "link.task-failed",
                        format!("task {name:?} failed and is started again: {error}"),
                    );
                }
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(RESTART_PAUSE) => {}
        }
    }
}
