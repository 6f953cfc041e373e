//! The journal's one writer thread.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use base::event::{EventBatch, NoticeEvent, Severity};
use base::{Clock, SystemClock};

use super::{JournalError, Message, SegmentLog, Shared};
use crate::envelope;

/// Shortest time between two notices about dropped events.
const NOTICE_INTERVAL: Duration = Duration::from_secs(10);
/// After a failed write, how long batches are dropped without trying again.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);
/// Requests for durability answered by one sync.
const GROUP_MAX: usize = 256;

type Reply = SyncSender<Result<u64, JournalError>>;

pub(super) struct Writer {
    log: SegmentLog,
    sync_interval: Duration,
    bytes_max: u64,
    shared: Arc<Shared>,
    /// When the oldest record that is not durable must become so.
    sync_by: Option<Instant>,
    retry_at: Option<Instant>,
    reported_dropped: u64,
    reported_at: Option<Instant>,
    waiting: Vec<(u64, Reply)>,
}

impl Writer {
    pub(super) fn new(
        log: SegmentLog,
        sync_interval: Duration,
        bytes_max: u64,
        shared: Arc<Shared>,
    ) -> Self {
        Self {
            log,
            sync_interval,
            bytes_max,
            shared,
            sync_by: None,
            retry_at: None,
            reported_dropped: 0,
            reported_at: None,
            waiting: Vec::new(),
        }
    }

    pub(super) fn run(mut self, receiver: &Receiver<Message>) {
        loop {
            let message = match self.wait() {
                Some(Duration::ZERO) => Err(RecvTimeoutError::Timeout),
                Some(wait) => receiver.recv_timeout(wait),
                None => receiver.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match message {
                Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => break,
                Ok(message) => self.take(message),
                Err(RecvTimeoutError::Timeout) => {}
            }
            // Group commit: whoever asked meanwhile shares the sync.
            let mut stop = false;
            while !self.waiting.is_empty() && self.waiting.len() < GROUP_MAX {
                match receiver.try_recv() {
                    Ok(Message::Stop) => {
                        stop = true;
                        break;
                    }
                    Ok(message) => self.take(message),
                    Err(_) => break,
                }
            }
            let due = self.sync_by.is_some_and(|by| by <= Instant::now());
            if due || !self.waiting.is_empty() {
                self.sync();
                self.report_dropped();
            }
            if stop {
                break;
            }
        }
        while let Ok(message) = receiver.try_recv() {
            self.take(message);
        }
        self.sync();
    }

    fn wait(&self) -> Option<Duration> {
        self.sync_by
            .map(|by| by.saturating_duration_since(Instant::now()))
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Offer(batch) => {
                self.unqueue(&batch);
                let backing_off = self.retry_at.is_some_and(|at| Instant::now() < at);
                if backing_off || self.append(&batch).is_err() {
                    self.shared
                        .events_dropped
                        .fetch_add(batch.len() as u64, Ordering::Relaxed);
                    // Wakes the thread to say so when writing works again.
                    self.sync_by.get_or_insert(Instant::now() + RETRY_INTERVAL);
                }
            }
            Message::Durable(batch, reply) => {
                self.unqueue(&batch);
                match self.append(&batch) {
                    Ok(seq) => self.waiting.push((seq, reply)),
                    Err(error) => answer(&reply, Err(error)),
                }
            }
            Message::Release => self.release(),
            Message::Stop => {}
        }
    }

    fn unqueue(&self, batch: &EventBatch) {
        self.shared
            .queued_events
            .fetch_sub(batch.len(), Ordering::Relaxed);
    }

    fn append(&mut self, batch: &EventBatch) -> Result<u64, JournalError> {
        let bytes = self.log.bytes();
        if bytes >= self.bytes_max {
            self.release();
            if self.log.bytes() >= self.bytes_max {
                return Err(JournalError::Full {
                    bytes,
                    bytes_max: self.bytes_max,
                });
            }
        }
        let result = self
            .log
            .append(|buffer| envelope::encode(batch, buffer).map_err(JournalError::Batch));
        match &result {
            Ok(_) => {
                self.shared
                    .events_written
                    .fetch_add(batch.len() as u64, Ordering::Relaxed);
                self.sync_by
                    .get_or_insert_with(|| Instant::now() + self.sync_interval);
                self.works();
            }
            Err(JournalError::Io { source, .. }) => self.fails("write to", source),
            Err(_) => {}
        }
        self.publish();
        result
    }

    fn sync(&mut self) {
        self.sync_by = None;
        let result = self.log.sync();
        match &result {
            Ok(durable_end) => {
                self.shared
                    .durable_end
                    .store(*durable_end, Ordering::Release);
                self.shared.durable.notify_waiters();
            }
            Err(error) => self.fails("sync", error),
        }
        self.publish();
        for (seq, reply) in self.waiting.drain(..) {
            answer(
                &reply,
                match &result {
                    Ok(_) => Ok(seq),
                    Err(error) => Err(JournalError::Io {
                        what: "sync",
                        source: std::io::Error::new(error.kind(), error.to_string()),
                    }),
                },
            );
        }
    }

    fn release(&mut self) {
        let acked_end = self.shared.acked_end.load(Ordering::Acquire);
        if let Err(error) = self.log.release(acked_end) {
            tracing::warn!(%error, "Could not delete a shipped journal segment");
        }
        self.publish();
    }

    fn publish(&self) {
        self.shared.bytes.store(self.log.bytes(), Ordering::Relaxed);
    }

    fn works(&mut self) {
        self.retry_at = None;
        if self.shared.failing.swap(0, Ordering::Relaxed) != 0 {
            tracing::info!("The journal can be written again");
        }
    }

    fn fails(&mut self, what: &str, error: &std::io::Error) {
        self.retry_at = Some(Instant::now() + RETRY_INTERVAL);
        self.shared.failures.fetch_add(1, Ordering::Relaxed);
        if self.shared.failing.swap(1, Ordering::Relaxed) == 0 {
            tracing::error!(%error, "Could not {what} the journal: new events are dropped and counted");
        }
    }

    /// Leaves a notice when events were dropped and writing works again.
    fn report_dropped(&mut self) {
        let dropped = self.shared.events_dropped.load(Ordering::Relaxed);
        let news = dropped - self.reported_dropped;
        if news == 0 {
            return;
        }
        if self
            .reported_at
            .is_some_and(|at| at.elapsed() < NOTICE_INTERVAL)
        {
            self.sync_by
                .get_or_insert_with(|| Instant::now() + NOTICE_INTERVAL);
            return;
        }
        let notice = EventBatch::Notice(vec![NoticeEvent {
            at: SystemClock.now(),
            severity: Severity::Warning,
            kind: "journal.dropped".into(),
            subject: "journal".into(),
            message: format!(
                "{news} events were dropped because the queue, the journal or the disk was full"
            )
            .into(),
        }]);
        if self.append(&notice).is_ok() {
            self.reported_dropped = dropped;
            self.reported_at = Some(Instant::now());
        } else {
            self.sync_by
                .get_or_insert_with(|| Instant::now() + NOTICE_INTERVAL);
        }
    }
}

fn answer(reply: &Reply, result: Result<u64, JournalError>) {
    // Nobody listens when the asking thread is gone.
    reply.send(result).ok();
}
