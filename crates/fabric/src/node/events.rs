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

/// Ships until aborted.
pub(crate) async fn ship(shared: Arc<Shared>, source: Arc<Mutex<dyn EventSource>>) {
    let mut source = source.lock().await;
    let mut channel = Channel::new(shared.dialer.clone());
    let mut backoff = Backoff::new();
    loop {
        let Some(batches) = collect(&shared, &mut *source).await else {
            tokio::time::sleep(IDLE).await;
            continue;
        };
        deliver(&shared, &mut *source, &mut channel, &mut backoff, batches).await;
    }
}

/// Sends `batches` until all are acknowledged.
async fn deliver(
    shared: &Shared,
    source: &mut dyn EventSource,
    channel: &mut Channel,
    backoff: &mut Backoff,
    mut batches: Vec<(u64, Bytes)>,
) {
    while !batches.is_empty() {
        match send(channel, frames(&batches)).await {
            Ok(reply) => {
                for (seq, why) in &reply.refused {
                    shared.notice(
                        Severity::Error,
                        "events.refused",
                        format!("event batch {seq} is refused and dropped: {why}"),
                    );
                }
                let before = batches.len();
                let safe = batches
                    .iter()
                    .map(|batch| batch.0)
                    .filter(|seq| *seq <= reply.acked)
                    .max();
                batches.retain(|(seq, _)| *seq > reply.acked);
                if let Some(safe) = safe {
                    source.ack(safe).await;
                }
                if batches.len() < before {
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

/// The next batch and those ready behind it.
async fn collect(shared: &Shared, source: &mut dyn EventSource) -> Option<Vec<(u64, Bytes)>> {
    let mut batches: Vec<(u64, Bytes)> = Vec::new();
    let mut bytes = 0;
    let mut next = source.next().await;
    while let Some((seq, batch)) = next {
        if batch.len() + 12 > EVENTS_BYTES_MAX / 2 {
            shared.notice(
                Severity::Error,
                "events.refused",
                format!(
                    "event batch {seq} of {} bytes is too large to ship and is dropped",
                    batch.len()
                ),
            );
            // An empty frame keeps the numbering whole on the other side.
            batches.push((seq, Bytes::new()));
        } else {
            bytes += batch.len();
            batches.push((seq, batch));
        }
        if bytes >= REQUEST_BYTES || batches.len() >= REQUEST_BATCHES {
            break;
        }
        next = source.next().now_or_never().flatten();
    }
    (!batches.is_empty()).then_some(batches)
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

/// Splits a request's body into frames: the reader of what [`frames`] writes.
///
/// # Errors
/// When a frame is cut short.
pub(crate) fn split_frames(mut body: Bytes) -> Result<Vec<(u64, Bytes)>, &'static str> {
    let mut batches = Vec::new();
    while !body.is_empty() {
        let (seq, rest) = body
            .split_first_chunk::<8>()
            .ok_or("event frame ends in its number")?;
        let (length, rest) = rest
            .split_first_chunk::<4>()
            .ok_or("event frame ends in its length")?;
        let (seq, length) = (
            u64::from_be_bytes(*seq),
            u32::from_be_bytes(*length) as usize,
        );
        if rest.len() < length {
            return Err("event frame is cut short");
        }
        batches.push((seq, body.slice(12..12 + length)));
        body = body.slice(12 + length..);
    }
    Ok(batches)
}

#[cfg(test)]
mod tests {
    use super::*;

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
