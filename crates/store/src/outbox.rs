//! The outbox: messages promised in a transaction and delivered after it.
//!
//! A row is written with the change it announces, so that neither exists without
//! the other. The [`Relay`] hands rows to an [`OutboxTarget`] in order within each
//! topic, at least once: a crash between delivery and its record delivers again. A
//! message that its target refuses holds back its own topic only.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base::Timestamp;
use runtime::{BoxError, CancellationToken, error_chain};
use serde::Serialize;
use sqlx::{AnyConnection, Row as _};
use tracing::Instrument as _;

use crate::db::Db;
use crate::error::StoreError;

/// Bytes of a payload as JSON text.
pub const PAYLOAD_BYTES_MAX: usize = 1 << 20;
/// Bytes of a topic.
pub const TOPIC_BYTES_MAX: usize = 100;
/// Messages of one topic delivered before the next topic has its turn.
pub const BATCH_MAX: i64 = 100;
/// How long one delivery may take.
pub const DELIVERY_MAX: Duration = Duration::from_secs(30);
/// The longest wait between two attempts.
pub const BACKOFF_MAX: Duration = Duration::from_secs(300);
/// The first wait; doubles each time.
pub const BACKOFF_FIRST: Duration = Duration::from_millis(500);
/// How long delivered messages stay for inspection.
pub const DELIVERED_KEPT: Duration = Duration::from_secs(24 * 3_600);
/// How often the relay looks without being called.
const POLL: Duration = Duration::from_secs(2);

pub(crate) const TABLES: &str = "
CREATE TABLE outbox_message (
    seq BIGINT PRIMARY KEY,
    at BIGINT NOT NULL,
    topic TEXT NOT NULL,
    payload TEXT NOT NULL,
    attempts BIGINT NOT NULL,
    due BIGINT NOT NULL,
    last_error TEXT,
    delivered_at BIGINT
);
CREATE INDEX outbox_message_waiting ON outbox_message (topic, seq) WHERE delivered_at IS NULL;
CREATE INDEX outbox_message_delivered ON outbox_message (delivered_at)
    WHERE delivered_at IS NOT NULL;
CREATE TABLE outbox_head (one BIGINT PRIMARY KEY, seq BIGINT NOT NULL);
INSERT INTO outbox_head VALUES (1, 0);
";

/// A message on its way.
#[derive(Debug, Clone, PartialEq)]
pub struct OutboxMessage {
    /// Ascending in the order of the transactions; the same at each attempt, so
    /// that a target can tell a repetition.
    pub seq: u64,
    /// When it was promised.
    pub at: Timestamp,
    /// Whom it is for.
    pub topic: String,
    /// What it says.
    pub payload: serde_json::Value,
}

/// Receives messages.
#[async_trait]
pub trait OutboxTarget: Send + Sync {
    /// Takes one message, durably: `Ok` is never followed by a repetition, except
    /// after a crash.
    async fn deliver(&self, message: &OutboxMessage) -> Result<(), BoxError>;
}

/// How full the outbox is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct OutboxState {
    /// Messages not delivered yet.
    pub waiting: u64,
    /// When the oldest of them was promised.
    pub oldest: Option<Timestamp>,
    /// Most attempts that one of them has had.
    pub attempts_max: u64,
}

/// Appends a message; the caller holds the writer's turn.
pub(crate) async fn append<T: Serialize + ?Sized>(
    connection: &mut AnyConnection,
    at: Timestamp,
    topic: &str,
    payload: &T,
) -> Result<u64, StoreError> {
    if topic.is_empty() || topic.len() > TOPIC_BYTES_MAX {
        return Err(StoreError::Invalid(format!(
            "outbox topic has {} bytes: must be 1 to {TOPIC_BYTES_MAX}",
            topic.len()
        )));
    }
    let payload = serde_json::to_string(payload).map_err(|error| {
        StoreError::Invalid(format!("payload for {topic:?} does not serialise: {error}"))
    })?;
    if payload.len() > PAYLOAD_BYTES_MAX {
        return Err(StoreError::Invalid(format!(
            "payload for {topic:?} has {} bytes: must be at most {PAYLOAD_BYTES_MAX}",
            payload.len()
        )));
    }
    let seq: i64 =
        sqlx::query_scalar("UPDATE outbox_head SET seq = seq + 1 WHERE one = 1 RETURNING seq")
            .fetch_one(&mut *connection)
            .await?;
    sqlx::query(
        "INSERT INTO outbox_message (seq, at, topic, payload, attempts, due)
         VALUES ($1, $2, $3, $4, 0, 0)",
    )
    .bind(seq)
    .bind(at.micros())
    .bind(topic)
    .bind(payload)
    .execute(&mut *connection)
    .await?;
    Ok(u64::try_from(seq).unwrap_or(0))
}

/// Delivers. Run one relay per database.
pub struct Relay {
    db: Db,
    target: Arc<dyn OutboxTarget>,
}

impl std::fmt::Debug for Relay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Relay")
    }
}

impl Relay {
    /// A relay from `db` to `target`.
    pub fn new(db: Db, target: Arc<dyn OutboxTarget>) -> Self {
        Self { db, target }
    }

    /// Delivers until `stop`. Errors of the database are logged and waited out.
    pub async fn run(&self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            match self.deliver_due().await {
                Ok(0) => {}
                // There may be more.
                Ok(_) => continue,
                Err(error) => {
                    let error = error_chain(&error);
                    tracing::warn!(
                        error,
                        "The outbox cannot be read or written; will try again"
                    );
                }
            }
            if let Err(error) = self.prune().await {
                let error = error_chain(&error);
                tracing::warn!(error, "Delivered messages could not be removed");
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.db.outbox_filled().notified() => {}
                () = tokio::time::sleep(POLL) => {}
            }
        }
    }

    /// Attempts, topic by topic, what is due; returns how many were delivered.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn deliver_due(&self) -> Result<u64, StoreError> {
        let topics: Vec<String> = sqlx::query_scalar(
            "SELECT DISTINCT topic FROM outbox_message WHERE delivered_at IS NULL ORDER BY topic",
        )
        .fetch_all(self.db.pool())
        .await?;
        let mut delivered = 0;
        for topic in topics {
            delivered += self.deliver_topic(&topic).await?;
        }
        Ok(delivered)
    }

    async fn deliver_topic(&self, topic: &str) -> Result<u64, StoreError> {
        let rows = sqlx::query(
            "SELECT seq, at, payload, attempts, due FROM outbox_message
             WHERE delivered_at IS NULL AND topic = $1 ORDER BY seq LIMIT $2",
        )
        .bind(topic)
        .bind(BATCH_MAX)
        .fetch_all(self.db.pool())
        .await?;
        let mut done: Vec<i64> = Vec::new();
        let mut refused = None;
        for row in rows {
            let (seq, attempts, due): (i64, i64, i64) = (
                row.try_get("seq")?,
                row.try_get("attempts")?,
                row.try_get("due")?,
            );
            let now = self.db.clock().now();
            // Beyond any wait we ever set: the clock has gone back.
            let distant = due > now.plus(BACKOFF_MAX).micros();
            if due > now.micros() && !distant {
                break;
            }
            let text: String = row.try_get("payload")?;
            let outcome = match serde_json::from_str(&text) {
                Ok(payload) => {
                    let message = OutboxMessage {
                        seq: u64::try_from(seq).unwrap_or(0),
                        at: Timestamp(row.try_get("at")?),
                        topic: topic.to_owned(),
                        payload,
                    };
                    self.attempt(&message).await
                }
                Err(error) => Err(format!("the payload is damaged: {error}")),
            };
            match outcome {
                Ok(()) => done.push(seq),
                Err(error) => {
                    refused = Some((seq, attempts + 1, error));
                    break;
                }
            }
        }
        self.record(topic, &done, refused).await?;
        Ok(done.len() as u64)
    }

    async fn attempt(&self, message: &OutboxMessage) -> Result<(), String> {
        let span = if runtime::telemetry::exports() {
            tracing::info_span!("outbox delivery", topic = message.topic, seq = message.seq)
        } else {
            tracing::Span::none()
        };
        let delivery = self.target.deliver(message).instrument(span);
        match tokio::time::timeout(DELIVERY_MAX, delivery).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(error_chain(&*error)),
            Err(_) => Err(format!("no answer in {} s", DELIVERY_MAX.as_secs())),
        }
    }

    async fn record(
        &self,
        topic: &str,
        done: &[i64],
        refused: Option<(i64, i64, String)>,
    ) -> Result<(), StoreError> {
        if done.is_empty() && refused.is_none() {
            return Ok(());
        }
        let now = self.db.clock().now();
        let mut tx = self.db.begin().await?;
        for seq in done {
            sqlx::query(
                "UPDATE outbox_message SET delivered_at = $1, attempts = attempts + 1,
                 last_error = NULL WHERE seq = $2",
            )
            .bind(now.micros())
            .bind(*seq)
            .execute(&mut *tx)
            .await?;
        }
        if let Some((seq, attempts, error)) = refused {
            tracing::warn!(
                topic,
                seq,
                attempts,
                error,
                "Outbox message {seq} for {topic} was not delivered: {error}"
            );
            sqlx::query(
                "UPDATE outbox_message SET attempts = $1, due = $2, last_error = $3 WHERE seq = $4",
            )
            .bind(attempts)
            .bind(now.plus(backoff(attempts)).micros())
            .bind(error.replace('\0', "\u{fffd}"))
            .bind(seq)
            .execute(&mut *tx)
            .await?;
        }
        tx.commit().await
    }

    /// Removes messages delivered longer ago than [`DELIVERED_KEPT`].
    ///
    /// # Errors
    /// When the database fails.
    pub async fn prune(&self) -> Result<u64, StoreError> {
        let before = self.db.clock().now().minus(DELIVERED_KEPT).micros();
        let old: i64 =
            sqlx::query_scalar("SELECT count(*) FROM outbox_message WHERE delivered_at < $1")
                .bind(before)
                .fetch_one(self.db.pool())
                .await?;
        if old == 0 {
            return Ok(0);
        }
        let mut tx = self.db.begin().await?;
        let result = sqlx::query("DELETE FROM outbox_message WHERE delivered_at < $1")
            .bind(before)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(result.rows_affected())
    }

    /// How full the outbox is, by topic.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn state(&self) -> Result<BTreeMap<String, OutboxState>, StoreError> {
        let rows = sqlx::query(
            "SELECT topic, count(*) AS waiting, min(at) AS oldest, max(attempts) AS attempts
             FROM outbox_message WHERE delivered_at IS NULL GROUP BY topic",
        )
        .fetch_all(self.db.pool())
        .await?;
        let mut states = BTreeMap::new();
        for row in rows {
            let (waiting, attempts): (i64, i64) =
                (row.try_get("waiting")?, row.try_get("attempts")?);
            let state = OutboxState {
                waiting: u64::try_from(waiting).unwrap_or(0),
                oldest: row.try_get::<Option<i64>, _>("oldest")?.map(Timestamp),
                attempts_max: u64::try_from(attempts).unwrap_or(0),
            };
            states.insert(row.try_get("topic")?, state);
        }
        Ok(states)
    }
}

fn backoff(attempts: i64) -> Duration {
    let doublings = u32::try_from(attempts.saturating_sub(1))
        .unwrap_or(0)
        .min(20);
    BACKOFF_FIRST
        .saturating_mul(1_u32 << doublings)
        .min(BACKOFF_MAX)
}
