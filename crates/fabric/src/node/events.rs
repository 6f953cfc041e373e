//! Shipping events: batches from the node's journal, in order, at least once.
//!
//! The journal keeps a batch until it is acknowledged, and the control plane drops
//! what it has by (node, number); so a break anywhere repeats batches and loses none.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base::event::Severity;
use bytes::{BufMut as _, Bytes, BytesMut};
use futures::FutureExt as _;
use hyper::Method;
use tokio::sync::Mutex;

use super::backoff::Backoff;
use super::client::{Channel, LinkError};
use super::link::Shared;
use crate::api::{EVENTS_BYTES_MAX, EventsReply};

/// A request is closed when it holds this many bytes.
const REQUEST_BYTES: usize = 1024 * 1024;
/// Batches in one request at most.
const REQUEST_BATCHES: usize = 64;
/// Bytes of one batch at most; beyond, it cannot be shipped.
const BATCH_BYTES_MAX: usize = EVENTS_BYTES_MAX - REQUEST_BYTES - 12 * REQUEST_BATCHES;
/// A source that was at its end is asked again after this.
const IDLE: Duration = Duration::from_secs(1);

/// Where batches come from: a node's journal.
#[async_trait]
pub trait EventSource: Send {
    /// The batch after the one given last, waiting until there is one. None: closed.
    /// Dropping the future must lose nothing (it is polled once and dropped when no
    /// batch is ready).
    async fn next(&mut self) -> Option<(u64, Bytes)>;

    /// Everything up to and including `seq` is safe and may be forgotten.
    async fn ack(&mut self, seq: u64);
}

/// What the shipping task holds on to, so that a batch taken from the source is
/// shipped even if the task fails and is started again.
pub(crate) struct Shipper {
    source: Box<dyn EventSource>,
    /// Taken from the source, not acknowledged yet.
    pending: Vec<(u64, Bytes)>,
}

impl Shipper {
    pub(crate) fn new(source: impl EventSource + 'static) -> Self {
        Self {
            source: Box::new(source),
            pending: Vec::new(),
        }
    }

    /// Takes the next batch and those ready behind it; waits for the first.
    async fn collect(&mut self, shared: &Shared) {
        let mut bytes = 0;
        let mut next = self.source.next().await;
        while let Some((seq, mut batch)) = next {
            if batch.len() > BATCH_BYTES_MAX {
                shared.notice(
                    Severity::Error,
                    "events.refused",
                    format!(
                        "event batch {seq} of {} bytes is too large to ship and is dropped",
                        batch.len()
                    ),
                );
                // An empty frame keeps the numbering whole on the other side.
                batch = Bytes::new();
            }
            bytes += batch.len();
            self.pending.push((seq, batch));
            if bytes >= REQUEST_BYTES || self.pending.len() >= REQUEST_BATCHES {
                break;
            }
            next = self.source.next().now_or_never().flatten();
        }
    }

    /// Forgets what the control plane has; whether that is anything.
    async fn settle(&mut self, acked: u64) -> bool {
        let safe = self.pending.iter().map(|batch| batch.0);
        let Some(safe) = safe.filter(|seq| *seq <= acked).max() else {
            return false;
        };
        self.source.ack(safe).await;
        self.pending.retain(|(seq, _)| *seq > safe);
        true
    }
}

/// Ships until aborted.
pub(crate) async fn ship(shared: Arc<Shared>, shipper: Arc<Mutex<Shipper>>) {
    let mut shipper = shipper.lock().await;
    let mut channel = Channel::new(shared.dialer.clone());
    let mut backoff = Backoff::new();
    loop {
        if shipper.pending.is_empty() {
            shipper.collect(&shared).await;
        }
        if shipper.pending.is_empty() {
            // The source is at its end; perhaps not for ever.
            tokio::time::sleep(IDLE).await;
            continue;
        }
        match send(&mut channel, frames(&shipper.pending)).await {
            Ok(reply) => {
                for (seq, why) in &reply.refused {
                    shared.notice(
                        Severity::Error,
                        "events.refused",
                        format!("event batch {seq} is refused and dropped: {why}"),
                    );
                }
                if shipper.settle(reply.acked).await {
                    backoff.reset();
                    continue;
                }
            }
            Err(error) => shared.attempt_failed("shipping events", &error),
        }
        backoff.wait().await;
    }
}

async fn send(channel: &mut Channel, body: Bytes) -> Result<EventsReply, LinkError> {
    let bytes = channel.call_bytes(Method::POST, "/v1/events", body).await?;
    serde_json::from_slice(&bytes).map_err(|error| LinkError::Malformed(error.to_string()))
}

fn frames(batches: &[(u64, Bytes)]) -> Bytes {
    let bytes: usize = batches.iter().map(|(_, batch)| batch.len() + 12).sum();
    let mut body = BytesMut::with_capacity(bytes);
    for (seq, batch) in batches {
        body.put_u64(*seq);
        // `collect` keeps batches far below 4 GiB.
        body.put_u32(batch.len() as u32);
        body.extend_from_slice(batch);
    }
    body.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::split_frames;

    #[test]
    fn frames_round_trip_and_every_cut_is_noticed_or_a_whole_frame() {
        let batches = vec![
            (7, Bytes::from_static(b"one")),
            (8, Bytes::new()),
            (9, Bytes::from_static(b"three")),
        ];
        let body = frames(&batches);
        assert_eq!(split_frames(body.clone()), Ok(batches));
        let whole = [0, 15, 27, 44];
        for cut in 0..=body.len() {
            let result = split_frames(body.slice(..cut));
            assert_eq!(result.is_ok(), whole.contains(&cut), "cut at {cut}");
        }
    }
}
