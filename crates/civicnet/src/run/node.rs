//! A managed node: its identity, its journal, and its link to the control plane,
//! joined to the roles that it plays.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use async_trait::async_trait;
use base::event::EventSink;
use base::{NodeName, Role};
use bytes::Bytes;
use fabric::node::{EventSource, Link, LinkOptions, Node, Snapshot};
use lake::journal::{Journal, JournalReader};
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use super::process::Process;
use crate::config::{Config, NodeSection};

/// Longest pause between two attempts to enrol.
const ENROL_PAUSE_MAX: std::time::Duration = std::time::Duration::from_secs(10);
/// Pause before a journal that did not read is tried again.
const UNREADABLE_PAUSE: std::time::Duration = std::time::Duration::from_secs(5);

/// A node with its link, before its roles are joined to it.
pub(super) struct ManagedNode {
    pub(super) link: Link,
    pub(super) sink: Arc<dyn EventSink>,
}

/// Opens the node's folder, or enrols with the token of its configuration, and opens
/// its journal. Enrolling waits for the control plane; a node that is enrolled does not.
pub(super) async fn open(
    config: &Config,
    process: &Process,
    health: impl Fn() -> serde_json::Value + Send + Sync + 'static,
) -> anyhow::Result<ManagedNode> {
    let node = identity(&config.node, process).await?;
    let journal =
        Arc::new(Journal::open(&config.journal).context("could not open the event journal")?);
    let reader = journal.reader();
    super::figures::journal(&process.metrics, Arc::clone(&journal));
    let sink = process.handover.events(journal);
    let mut options = LinkOptions::new(concat!("civicnet ", env!("CARGO_PKG_VERSION")));
    options.notices = Arc::clone(&sink);
    options.health = Arc::new(health);
    let mut link = node
        .link(options)
        .context("could not use the node's identity")?;
    link.events(Ship(reader));
    Ok(ManagedNode { link, sink })
}

async fn identity(section: &NodeSection, process: &Process) -> anyhow::Result<Node> {
    if let Some(node) = Node::open(&section.dir).context("could not open the node's folder")? {
        return Ok(node);
    }
    let Some(token_file) = &section.token_file else {
        bail!(
            "node {} has no identity in {} and no node.token_file to enrol with",
            section.name,
            section.dir.display()
        );
    };
    let token = std::fs::read_to_string(token_file).with_context(|| {
        format!(
            "could not read the enrolment token {}",
            token_file.display()
        )
    })?;
    let token = token
        .trim()
        .parse()
        .context("the enrolment token is not one")?;
    let stop = process.supervisor.soft();
    let mut pause = std::time::Duration::from_millis(250);
    loop {
        match Node::enrol(&section.dir, &section.control, &token).await {
            Ok(node) => {
                remove(token_file)?;
                return Ok(node);
            }
            Err(error @ fabric::node::NodeError::Link(_)) => {
                tracing::warn!(node = %section.name, "Not enrolled yet: {:#}", anyhow::Error::new(error));
            }
            Err(error) => return Err(error).context("could not enrol"),
        }
        tokio::select! {
            () = stop.cancelled() => bail!("stopped before the node was enrolled"),
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(ENROL_PAUSE_MAX),
        }
    }
}

/// A used token is worth nothing; leaving it about would make people wonder.
fn remove(token_file: &Path) -> anyhow::Result<()> {
    std::fs::remove_file(token_file)
        .with_context(|| format!("could not remove the used token {}", token_file.display()))
}

/// Follows the snapshots of `role`, of the part that is for this node (empty: for all), without the envelope that roles need not know.
pub(super) fn follow<T>(
    link: &mut Link,
    role: Role,
    part: &str,
    process: &Process,
    accept: impl Fn(&T) -> Result<(), String> + Send + Sync + 'static,
) -> anyhow::Result<watch::Receiver<Option<Arc<T>>>>
where
    T: DeserializeOwned + Clone + Send + Sync + 'static,
{
    let mut envelopes = link.snapshots_of(role, part, accept)?;
    let first = envelopes.borrow_and_update().as_ref().map(value);
    let (sender, receiver) = watch::channel(first);
    let stop = process.supervisor.soft();
    process
        .supervisor
        .spawn(format!("snapshots {role}"), async move {
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    changed = envelopes.changed() => if changed.is_err() { return },
                }
                let latest = envelopes.borrow_and_update().as_ref().map(value);
                sender.send_replace(latest);
            }
        });
    Ok(receiver)
}

fn value<T: Clone>(envelope: &Arc<Snapshot<T>>) -> Arc<T> {
    Arc::new(envelope.value.clone())
}

/// The journal's reader, as the fabric ships from it.
struct Ship(JournalReader);

#[async_trait]
impl EventSource for Ship {
    async fn next(&mut self) -> Option<(u64, Bytes)> {
        loop {
            match self.0.next() {
                Ok(Some(record)) => return Some(record),
                Ok(None) => self.0.ready().await,
                Err(error) => {
                    tracing::error!(
                        "The event journal does not read: {:#}",
                        anyhow::Error::new(error)
                    );
                    tokio::time::sleep(UNREADABLE_PAUSE).await;
                    self.0.rewind();
                }
            }
        }
    }

    async fn ack(&mut self, seq: u64) {
        if let Err(error) = self.0.ack(seq) {
            // The records stay and are shipped again; the lake drops what it has.
            tracing::warn!(
                "Shipped events are not marked: {:#}",
                anyhow::Error::new(error)
            );
        }
    }
}

/// The machine's own name, as far as it is one for a node.
pub(crate) fn default_node_name() -> NodeName {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let label = host
        .trim()
        .split('.')
        .next()
        .unwrap_or_default()
        .to_ascii_lowercase();
    label.parse().unwrap_or_else(|_| fallback_name())
}

fn fallback_name() -> NodeName {
    #[expect(clippy::expect_used, reason = "the literal is a node name")]
    "node".parse().expect("a literal node name")
}

/// Whether `address` is only reachable from this machine.
pub(crate) fn is_local(address: std::net::IpAddr) -> bool {
    address.is_loopback() || address.to_canonical() == std::net::IpAddr::V4(Ipv4Addr::LOCALHOST)
}
