//! Following the snapshots of one role: fetch, verify, keep, switch, acknowledge.
//!
//! A snapshot that fails any check is refused whole: the one in force stays in force
//! and on disk, operators get a notice, the control plane gets the reason.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use base::event::Severity;
use base::{Role, Timestamp};
use bytes::Bytes;
use hyper::Method;
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use super::backoff::Backoff;
use super::client::{Channel, LinkError};
use super::disk::DiskError;
use super::link::{Shared, lock};
use crate::api::{POLL_WAIT, SnapshotReport};
use crate::envelope::{Envelope, EnvelopeError, Handover, PublicKey, follow};

/// Beyond the control plane's own wait, time for its head to arrive.
const POLL_GRACE: Duration = Duration::from_secs(10);
/// Pause after a refusal that may pass (a full disk, a broken transfer); doubles.
const REFUSED_PAUSE: Duration = Duration::from_millis(500);
/// The control plane's reasons to people are cut to this many characters.
const REASON_CHARS_MAX: usize = 500;

/// A snapshot in force.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot<T> {
    /// Its version; grows.
    pub version: u64,
    /// When it was published.
    pub created_at: Timestamp,
    /// The desired state.
    pub value: T,
}

type Accept<T> = Box<dyn Fn(&T) -> Result<(), String> + Send + Sync>;

pub(crate) struct Follower<T> {
    role: Role,
    /// Which part of the role's snapshots; empty: what is for everybody.
    part: String,
    accept: Accept<T>,
    current: watch::Sender<Option<Arc<Snapshot<T>>>>,
    /// Version of a genuine snapshot whose content this program will never take: only
    /// what is newer is asked for.
    unacceptable: AtomicU64,
}

/// Why a snapshot is refused.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("{0}")]
    Envelope(#[from] EnvelopeError),
    #[error("snapshot is not of the shape this role expects: {0}")]
    Shape(String),
    #[error("snapshot is not acceptable: {0}")]
    Role(String),
    #[error("snapshot is larger than {0} bytes")]
    TooLarge(usize),
    #[error("snapshot could not be kept: {0}")]
    Disk(#[from] DiskError),
    #[error("snapshot made its check fail: {0}")]
    Panic(String),
}

impl<T: DeserializeOwned + Send + Sync + 'static> Follower<T> {
    /// Begins with the newest good snapshot on disk.
    pub(crate) fn open(shared: &Shared, role: Role, part: &str, accept: Accept<T>) -> Self {
        let follower = Self {
            role,
            part: part.to_owned(),
            accept,
            current: watch::channel(None).0,
            unacceptable: AtomicU64::new(0),
        };
        for (age, kept) in shared.disk.kept_snapshots(role).into_iter().enumerate() {
            let loaded = match kept {
                Ok(bytes) => follower.reopen(&bytes).map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            };
            match loaded {
                Ok(snapshot) => {
                    tracing::info!(node = %shared.node, %role, version = snapshot.version,
                        "Snapshot loaded from disk");
                    follower.switch(shared, snapshot);
                    break;
                }
                Err(why) => {
                    let copy = if age == 0 { "newest" } else { "previous" };
                    shared.notice(
                        Severity::Error,
                        "snapshot.damaged",
                        format!("{copy} kept snapshot for {role} cannot be used: {why}"),
                    );
                }
            }
        }
        follower
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<Option<Arc<Snapshot<T>>>> {
        self.current.subscribe()
    }

    fn version(&self) -> u64 {
        self.current.borrow().as_ref().map_or(0, |s| s.version)
    }

    fn switch(&self, shared: &Shared, snapshot: Snapshot<T>) {
        lock(&shared.versions).insert(self.role, snapshot.version);
        self.current.send_replace(Some(Arc::new(snapshot)));
    }

    pub(crate) async fn run(self: Arc<Self>, shared: Arc<Shared>) {
        let mut channel = Channel::new(shared.dialer.clone());
        let mut backoff = Backoff::new();
        let mut pause = REFUSED_PAUSE;
        loop {
            let after = self
                .version()
                .max(self.unacceptable.load(Ordering::Relaxed));
            let mut path = format!("/v1/snapshots/{}?after={after}", self.role);
            if !self.part.is_empty() {
                path.push_str(&format!("&part={}", self.part));
            }
            let refused = match channel
                .poll(
                    &path,
                    POLL_WAIT + POLL_GRACE,
                    shared.options.snapshot_bytes_max,
                )
                .await
            {
                Ok(None) => {
                    backoff.reset();
                    false
                }
                Ok(Some(bytes)) => {
                    backoff.reset();
                    !self.receive(&shared, &mut channel, bytes).await
                }
                Err(LinkError::TooLarge(limit)) => {
                    self.refuse(&shared, &mut channel, None, &Refusal::TooLarge(limit))
                        .await;
                    true
                }
                Err(error) => {
                    shared.attempt_failed("asking for snapshots", &error);
                    backoff.wait().await;
                    continue;
                }
            };
            if refused {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(shared.options.refused_pause_max);
            } else {
                pause = REFUSED_PAUSE;
            }
        }
    }

    /// Whether the snapshot is in force.
    async fn receive(
        self: &Arc<Self>,
        shared: &Arc<Shared>,
        channel: &mut Channel,
        bytes: Bytes,
    ) -> bool {
        let arrived = Instant::now();
        let claimed = Envelope::parse(&bytes)
            .ok()
            .and_then(|envelope| envelope.claimed_header());
        if let Some(header) = &claimed
            && header.key != shared.snapshot_key().id()
        {
            follow_key(shared, channel).await;
        }
        // Hashing, parsing and writing may take a while: not on the async threads.
        let (follower, sharing) = (self.clone(), shared.clone());
        let outcome = tokio::task::spawn_blocking(move || follower.install(&sharing, &bytes))
            .await
            .unwrap_or_else(|panic| Err(Refusal::Panic(panic.to_string())));
        match outcome {
            Ok(version) => {
                let took = arrived.elapsed();
                tracing::info!(node = %shared.node, role = %self.role, version,
                    took_us = took.as_micros() as u64, "Snapshot in force");
                let report = SnapshotReport::Accepted {
                    version,
                    took_us: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
                };
                self.tell(shared, channel, &report).await;
                true
            }
            Err(refusal) => {
                let version = claimed.map(|header| header.version);
                self.refuse(shared, channel, version, &refusal).await;
                false
            }
        }
    }

    /// Verifies, keeps and switches; gives the version now in force.
    fn install(&self, shared: &Shared, bytes: &[u8]) -> Result<u64, Refusal> {
        let (header, payload) =
            Envelope::parse(bytes)?.verify(&shared.snapshot_key(), self.role, self.version())?;
        // Until it is parsed and accepted, which may even panic.
        let before = self.unacceptable.swap(header.version, Ordering::Relaxed);
        let snapshot = self.parse(header.version, header.created_at, payload)?;
        self.unacceptable.store(before, Ordering::Relaxed);
        shared.disk.keep_snapshot(self.role, bytes)?;
        let version = snapshot.version;
        self.switch(shared, snapshot);
        Ok(version)
    }

    /// A snapshot that this node kept: its seal vouches for it, whichever key signed it.
    fn reopen(&self, bytes: &[u8]) -> Result<Snapshot<T>, Refusal> {
        let (header, payload) = Envelope::parse(bytes)?.checked_content(self.role)?;
        self.parse(header.version, header.created_at, payload)
    }

    fn parse(
        &self,
        version: u64,
        created_at: Timestamp,
        payload: &[u8],
    ) -> Result<Snapshot<T>, Refusal> {
        let value: T =
            serde_json::from_slice(payload).map_err(|error| Refusal::Shape(error.to_string()))?;
        (self.accept)(&value).map_err(Refusal::Role)?;
        Ok(Snapshot {
            version,
            created_at,
            value,
        })
    }

    async fn refuse(
        &self,
        shared: &Shared,
        channel: &mut Channel,
        refused: Option<u64>,
        refusal: &Refusal,
    ) {
        let reason: String = refusal.to_string().chars().take(REASON_CHARS_MAX).collect();
        let version = self.version();
        shared.notice(
            Severity::Error,
            "snapshot.refused",
            format!(
                "snapshot for {} is refused, version {version} stays: {reason}",
                self.role
            ),
        );
        let report = SnapshotReport::Refused {
            version,
            refused,
            reason,
        };
        self.tell(shared, channel, &report).await;
    }

    /// Heartbeats repeat the version in force, so a lost report is no harm.
    async fn tell(&self, shared: &Shared, channel: &mut Channel, report: &SnapshotReport) {
        let path = format!("/v1/snapshots/{}", self.role);
        if let Err(error) = channel.tell(&path, report).await {
            shared.attempt_failed("reporting a snapshot", &error);
        }
    }
}

/// Follows the chain of hand-overs to the key that signs now.
async fn follow_key(shared: &Shared, channel: &mut Channel) {
    let chain: Vec<Handover> = match channel.call(Method::GET, "/v1/keys", &()).await {
        Ok(chain) => chain,
        Err(error) => return shared.attempt_failed("asking for key hand-overs", &error),
    };
    let pinned = shared.snapshot_key();
    let adopted: Result<Option<PublicKey>, String> = follow(&pinned, &chain)
        .map_err(|error| error.to_string())
        .and_then(|key| {
            if key == pinned {
                return Ok(None);
            }
            shared
                .adopt_snapshot_key(key.clone())
                .map_err(|error| error.to_string())?;
            Ok(Some(key))
        });
    match adopted {
        Ok(None) => {}
        Ok(Some(key)) => shared.notice(
            Severity::Info,
            "snapshot.key-changed",
            format!("snapshots are signed by key {} from now on", key.id()),
        ),
        Err(why) => shared.notice(
            Severity::Error,
            "snapshot.key-refused",
            format!("hand-over of the snapshot key is refused: {why}"),
        ),
    }
}
