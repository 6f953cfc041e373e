//! Writing down what nodes say, many words in one transaction.
//!
//! Every heartbeat and every acknowledgement is a few rows. One writer gathers those
//! that are waiting and commits them together, so that a hundred nodes that
//! acknowledge a purge in the same moment cost one flush of the disk.

use base::{NodeName, Role, Timestamp};
use store::Tx;
use tokio::sync::{Mutex, mpsc, oneshot};

use super::{Change, Control, ControlError, signed};
use crate::api::{Heartbeat, QuickReport, SnapshotReport};

/// Facts that may wait; beyond, nodes are told to come later.
const WAITING_MAX: usize = 4_096;
/// Facts in one transaction.
const BATCH_MAX: usize = 512;

/// Something a node said.
pub(super) enum Fact {
    Heartbeat {
        node: NodeName,
        address: String,
        beat: Heartbeat,
    },
    Snapshot {
        node: NodeName,
        role: Role,
        report: SnapshotReport,
        /// When the reported version was published, if this process knows.
        published_at: Option<Timestamp>,
    },
    Quick {
        node: NodeName,
        reports: Vec<QuickReport>,
    },
}

struct Waiting {
    fact: Fact,
    at: Timestamp,
    done: oneshot::Sender<()>,
}

/// The queue of facts.
pub(crate) struct Recorder {
    sender: mpsc::Sender<Waiting>,
    receiver: Mutex<mpsc::Receiver<Waiting>>,
}

impl Default for Recorder {
    fn default() -> Self {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        Self {
            sender,
            receiver: Mutex::new(receiver),
        }
    }
}

/// The queue is full or the writer is gone.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NotRecorded;

impl Control {
    /// Returns when `fact` is durable.
    pub(super) async fn record(&self, fact: Fact) -> Result<(), NotRecorded> {
        let (done, committed) = oneshot::channel();
        self.0
            .recorder
            .sender
            .try_send(Waiting {
                fact,
                at: self.now(),
                done,
            })
            .map_err(|_| NotRecorded)?;
        committed.await.map_err(|_| NotRecorded)
    }

    /// The writer; runs as long as the listener.
    pub(super) async fn run_recorder(&self) {
        let mut receiver = self.0.recorder.receiver.lock().await;
        let mut batch = Vec::new();
        loop {
            if receiver.recv_many(&mut batch, BATCH_MAX).await == 0 {
                return;
            }
            match self.write(&batch).await {
                Ok(()) => {
                    for waiting in batch.drain(..) {
                        self.written(waiting);
                    }
                }
                Err(error) => {
                    tracing::warn!(error = %runtime::error_chain(&error), facts = batch.len(),
                        "What nodes said could not be written down together; trying one by one");
                    self.write_singly(&mut batch).await;
                }
            }
        }
    }

    /// One fact that the database refuses must not take others with it.
    async fn write_singly(&self, batch: &mut Vec<Waiting>) {
        for waiting in batch.drain(..) {
            match self.write(std::slice::from_ref(&waiting)).await {
                Ok(()) => self.written(waiting),
                Err(error) => tracing::error!(error = %runtime::error_chain(&error),
                    "What a node said could not be written down; it will say it again"),
            }
        }
    }

    fn written(&self, waiting: Waiting) {
        self.announce(&waiting.fact);
        // The caller may be gone; the fact is written all the same.
        let _gone = waiting.done.send(());
    }

    async fn write(&self, batch: &[Waiting]) -> Result<(), ControlError> {
        let mut tx = self.0.db.begin().await?;
        for waiting in batch {
            match &waiting.fact {
                Fact::Heartbeat {
                    node,
                    address,
                    beat,
                } => heartbeat(&mut tx, node, address, beat, waiting.at).await?,
                Fact::Snapshot {
                    node,
                    role,
                    report,
                    published_at,
                } => snapshot(&mut tx, node, *role, report, *published_at, waiting.at).await?,
                Fact::Quick { node, reports } => {
                    for report in reports {
                        quick(&mut tx, node, report, waiting.at).await?;
                    }
                }
            }
        }
        tx.commit().await?;
        Ok(())
    }

    fn announce(&self, fact: &Fact) {
        match fact {
            Fact::Heartbeat { node, .. } => self.changed(Change::Seen { node: node.clone() }),
            Fact::Snapshot {
                node, role, report, ..
            } => self.changed(match report {
                SnapshotReport::Accepted { version, .. } => Change::Running {
                    node: node.clone(),
                    role: *role,
                    version: *version,
                },
                SnapshotReport::Refused { reason, .. } => Change::RefusedSnapshot {
                    node: node.clone(),
                    role: *role,
                    reason: reason.clone(),
                },
            }),
            Fact::Quick { node, reports } => {
                for report in reports {
                    self.changed(Change::Progress {
                        node: node.clone(),
                        seq: report.seq,
                    });
                }
            }
        }
    }
}

async fn heartbeat(
    tx: &mut Tx,
    node: &NodeName,
    address: &str,
    beat: &Heartbeat,
    at: Timestamp,
) -> Result<(), ControlError> {
    sqlx::query(
        "UPDATE fabric_node SET last_seen_at = $2, address = $3, software = $4, health = $5
         WHERE name = $1",
    )
    .bind(node.as_str())
    .bind(at.micros())
    .bind(address)
    .bind(clean(&beat.software, 100))
    .bind(beat.health.to_string())
    .execute(&mut **tx)
    .await?;
    for (role, version) in &beat.snapshots {
        // Only when the acknowledgement itself was lost; it knows the lag, this does not.
        sqlx::query(
            "INSERT INTO fabric_node_version (node, role, version, acked_at)
             VALUES ($1, $2, $3, $4)
             ON CONFLICT (node, role) DO UPDATE
             SET version = $3, acked_at = $4, lag_us = NULL, took_us = NULL
             WHERE fabric_node_version.version <> $3",
        )
        .bind(node.as_str())
        .bind(role.name())
        .bind(signed(*version))
        .bind(at.micros())
        .execute(&mut **tx)
        .await?;
    }
    for (role, seq) in &beat.quick {
        sqlx::query(
            "INSERT INTO fabric_node_quick (node, role, seq) VALUES ($1, $2, $3)
             ON CONFLICT (node, role) DO UPDATE SET seq = $3
             WHERE fabric_node_quick.seq <> $3",
        )
        .bind(node.as_str())
        .bind(role.name())
        .bind(signed(*seq))
        .execute(&mut **tx)
        .await?;
    }
    Ok(())
}

async fn snapshot(
    tx: &mut Tx,
    node: &NodeName,
    role: Role,
    report: &SnapshotReport,
    published_at: Option<Timestamp>,
    at: Timestamp,
) -> Result<(), ControlError> {
    match report {
        SnapshotReport::Accepted { version, took_us } => {
            let lag = published_at.map(|published| {
                i64::try_from(at.since(published).as_micros()).unwrap_or(i64::MAX)
            });
            sqlx::query(
                "INSERT INTO fabric_node_version (node, role, version, acked_at, lag_us, took_us)
                 VALUES ($1, $2, $3, $4, $5, $6)
                 ON CONFLICT (node, role) DO UPDATE
                 SET version = $3, acked_at = $4, lag_us = $5, took_us = $6,
                     refused_version = NULL, refused_reason = NULL, refused_at = NULL",
            )
            .bind(node.as_str())
            .bind(role.name())
            .bind(signed(*version))
            .bind(at.micros())
            .bind(lag)
            .bind(signed(*took_us))
            .execute(&mut **tx)
            .await?;
        }
        SnapshotReport::Refused {
            version,
            refused,
            reason,
        } => {
            sqlx::query(
                "INSERT INTO fabric_node_version
                    (node, role, version, acked_at, refused_version, refused_reason, refused_at)
                 VALUES ($1, $2, $3, $4, $5, $6, $4)
                 ON CONFLICT (node, role) DO UPDATE
                 SET refused_version = $5, refused_reason = $6, refused_at = $4",
            )
            .bind(node.as_str())
            .bind(role.name())
            .bind(signed(*version))
            .bind(at.micros())
            .bind(refused.map(signed))
            .bind(clean(reason, 500))
            .execute(&mut **tx)
            .await?;
        }
    }
    Ok(())
}

async fn quick(
    tx: &mut Tx,
    node: &NodeName,
    report: &QuickReport,
    at: Timestamp,
) -> Result<(), ControlError> {
    let acked_at = report.durable.then_some(at.micros());
    // A number that is not in the log (pruned, or never given) is passed over.
    sqlx::query(
        "INSERT INTO fabric_order_report
            (seq, node, durable, acked_at, updated_at, total, done, failed, message)
         SELECT seq, $2, $3, $4, $5, $6, $7, $8, $9 FROM fabric_order WHERE seq = $1
         ON CONFLICT (seq, node) DO UPDATE
         SET durable = CASE WHEN fabric_order_report.durable = 1 THEN 1 ELSE $3 END,
             acked_at = COALESCE(fabric_order_report.acked_at, $4),
             updated_at = $5, total = $6, done = $7, failed = $8, message = $9",
    )
    .bind(signed(report.seq))
    .bind(node.as_str())
    .bind(i64::from(report.durable))
    .bind(acked_at)
    .bind(at.micros())
    .bind(signed(report.report.total))
    .bind(signed(report.report.done))
    .bind(signed(report.report.failed))
    .bind(report.report.message.as_ref().map(|text| clean(text, 500)))
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Text of a peer, bounded; PostgreSQL's TEXT cannot hold U+0000.
fn clean(text: &str, chars_max: usize) -> String {
    text.chars()
        .take(chars_max)
        .map(|c| if c == '\0' { '\u{fffd}' } else { c })
        .collect()
}
