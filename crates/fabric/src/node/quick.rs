//! Quick entries on the node: taken in order, applied durably, acknowledged at once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use base::Role;
use base::event::Severity;
use base::quick::QuickEntry;
use tokio::sync::Notify;
use tracing::Instrument as _;

use super::backoff::Backoff;
use super::client::{Channel, LinkError};
use super::link::{Shared, lock};
use crate::api::{
    OrderReport, QUICK_LINE_BYTES_MAX, QUICK_REPORTS_MAX, QUICK_SILENCE_MAX, QuickLine, QuickReport,
};

/// Reports that may wait; beyond, the oldest go (heartbeats repeat the last durable
/// number, so no acknowledgement is lost with them).
const REPORTS_WAITING_MAX: usize = 10_000;
/// Least time between two sendings of mere progress.
const PROGRESS_PERIOD: Duration = Duration::from_millis(200);
/// Characters of a report's message at most.
const MESSAGE_CHARS_MAX: usize = 500;

/// Carries out quick entries of one role.
#[async_trait]
pub trait QuickHandler: Send + Sync {
    /// Number of the last entry that is durable here; 0 at first.
    fn durable_seq(&self) -> u64;

    /// Makes `entry` durable and carries it out, or begins to: a preload returns when
    /// it is queued and goes on reporting through [`Progress`]. After `Ok`,
    /// [`durable_seq`](Self::durable_seq) is `entry.seq`.
    ///
    /// # Errors
    /// When it could not be made durable; it is given again later.
    async fn apply(&self, entry: &QuickEntry) -> Result<OrderReport, String>;

    /// Entries `from..=to` are lost to this node: whatever they might have purged
    /// counts as purged. After `Ok`, [`durable_seq`](Self::durable_seq) is `to`.
    ///
    /// # Errors
    /// When that could not be made durable; it is given again later.
    async fn gap(&self, from: u64, to: u64) -> Result<(), String>;
}

/// Where orders report how far they have got; cheap to clone.
#[derive(Clone, Default)]
pub struct Progress(Arc<Waiting>);

#[derive(Default)]
struct Waiting {
    reports: Mutex<BTreeMap<u64, QuickReport>>,
    /// Woken by acknowledgements, which go at once.
    acked: Notify,
    /// Woken by progress, which may wait a little.
    progressed: Notify,
}

impl std::fmt::Debug for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Progress")
            .field("waiting", &lock(&self.0.reports).len())
            .finish()
    }
}

impl Progress {
    /// Reports on order `seq`; a later report replaces an earlier one not yet sent.
    pub fn report(&self, seq: u64, report: OrderReport) {
        self.put(seq, true, report);
        self.0.progressed.notify_one();
    }

    fn acknowledge(&self, seq: u64, durable: bool, report: OrderReport) {
        self.put(seq, durable, report);
        self.0.acked.notify_one();
    }

    fn put(&self, seq: u64, durable: bool, mut report: OrderReport) {
        if let Some(message) = &mut report.message
            && message.chars().count() > MESSAGE_CHARS_MAX
        {
            *message = message.chars().take(MESSAGE_CHARS_MAX).collect();
        }
        let mut reports = lock(&self.0.reports);
        // A handler that is quick may have reported the end before `apply` returned.
        if let Some(waiting) = reports.get(&seq)
            && waiting.durable
            && waiting.report.done > report.done
        {
            return;
        }
        reports.insert(
            seq,
            QuickReport {
                seq,
                durable,
                report,
            },
        );
        while reports.len() > REPORTS_WAITING_MAX {
            reports.pop_first();
        }
    }

    fn take(&self) -> Vec<QuickReport> {
        let mut reports = lock(&self.0.reports);
        let mut taken = Vec::new();
        while taken.len() < QUICK_REPORTS_MAX {
            match reports.pop_first() {
                Some((_, report)) => taken.push(report),
                None => break,
            }
        }
        taken
    }

    /// Puts back what could not be sent, unless something newer waits.
    fn put_back(&self, untold: Vec<QuickReport>) {
        let mut reports = lock(&self.0.reports);
        for report in untold {
            reports.entry(report.seq).or_insert(report);
        }
    }

    fn is_empty(&self) -> bool {
        lock(&self.0.reports).is_empty()
    }

    async fn something(&self) {
        if !self.is_empty() {
            return;
        }
        tokio::select! {
            () = self.0.acked.notified() => {}
            () = self.0.progressed.notified() => {
                tokio::select! {
                    () = self.0.acked.notified() => {}
                    () = tokio::time::sleep(PROGRESS_PERIOD) => {}
                }
            }
        }
    }
}

/// Sends reports as they come.
pub(crate) async fn report(shared: Arc<Shared>) {
    let mut channel = Channel::new(shared.dialer.clone());
    let mut backoff = Backoff::new();
    loop {
        shared.progress.something().await;
        let reports = shared.progress.take();
        if reports.is_empty() {
            continue;
        }
        match channel.tell("/v1/quick", &reports).await {
            Ok(()) => backoff.reset(),
            // The control plane understood and refused: sending them again is no use.
            Err(LinkError::Status { status, message }) if status == 400 || status == 422 => {
                tracing::error!(node = %shared.node, reports = reports.len(), message,
                    "Reports on orders are refused and dropped");
            }
            Err(error) => {
                shared.attempt_failed("reporting on orders", &error);
                shared.progress.put_back(reports);
                backoff.wait().await;
            }
        }
    }
}

/// Follows the quick entries of one role.
pub(crate) async fn run(shared: Arc<Shared>, role: Role, handler: Arc<dyn QuickHandler>) {
    let mut channel = Channel::new(shared.dialer.clone());
    let mut backoff = Backoff::new();
    loop {
        if let Err(error) = follow(&shared, role, &*handler, &mut channel, &mut backoff).await {
            tracing::debug!(node = %shared.node, %role, error, "quick entries interrupted");
        }
        backoff.wait().await;
    }
}

async fn follow(
    shared: &Shared,
    role: Role,
    handler: &dyn QuickHandler,
    channel: &mut Channel,
    backoff: &mut Backoff,
) -> Result<(), String> {
    let mut last = handler.durable_seq();
    let mut lines = channel
        .open(&format!("/v1/quick/{role}?after={last}"))
        .await
        .map_err(|error| error.to_string())?;
    loop {
        let line = lines
            .next(QUICK_SILENCE_MAX, QUICK_LINE_BYTES_MAX)
            .await
            .map_err(|error| error.to_string())?;
        let Some(line) = line else {
            return Err("the control plane ended the stream".to_owned());
        };
        let line: QuickLine = serde_json::from_slice(&line)
            .map_err(|error| format!("malformed line of quick entries: {error}"))?;
        match line {
            QuickLine::Beat { .. } => {}
            QuickLine::Gap { from, to } => {
                close_gap(shared, handler, from.min(last + 1), to).await?;
                last = last.max(to);
            }
            QuickLine::Entry { after, entry } => {
                if entry.seq <= last {
                    continue;
                }
                if entry.role != role || after >= entry.seq {
                    return Err(format!("entry {} is not in place", entry.seq));
                }
                if after > last {
                    close_gap(shared, handler, last + 1, after).await?;
                }
                apply(shared, handler, &entry).await?;
                last = entry.seq;
            }
        }
        backoff.reset();
    }
}

async fn apply(
    shared: &Shared,
    handler: &dyn QuickHandler,
    entry: &QuickEntry,
) -> Result<(), String> {
    let span = if runtime::telemetry::exports() {
        tracing::info_span!("order", seq = entry.seq, role = %entry.role)
    } else {
        tracing::Span::none()
    };
    match handler.apply(entry).instrument(span).await {
        Ok(report) => {
            shared.progress.acknowledge(entry.seq, true, report);
            Ok(())
        }
        Err(why) => {
            shared.notice(
                Severity::Error,
                "quick.failed",
                format!("order {} could not be applied: {why}", entry.seq),
            );
            let report = OrderReport {
                total: 1,
                message: Some(why.clone()),
                ..OrderReport::default()
            };
            shared.progress.acknowledge(entry.seq, false, report);
            Err(why)
        }
    }
}

async fn close_gap(
    shared: &Shared,
    handler: &dyn QuickHandler,
    from: u64,
    to: u64,
) -> Result<(), String> {
    shared.notice(
        Severity::Warning,
        "quick.gap",
        format!("orders {from} to {to} are no longer in the log: all that they may have purged counts as purged"),
    );
    handler.gap(from, to).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(done: u64) -> OrderReport {
        OrderReport {
            total: 10,
            done,
            ..OrderReport::default()
        }
    }

    #[test]
    fn the_latest_report_wins_and_the_end_is_never_undone() {
        let progress = Progress::default();
        progress.report(1, done(3));
        progress.report(1, done(10));
        progress.acknowledge(1, true, done(0));
        let taken = progress.take();
        assert_eq!(taken.len(), 1);
        assert_eq!(taken[0].report.done, 10);
        progress.report(1, done(4));
        progress.put_back(taken);
        assert_eq!(progress.take()[0].report.done, 4);
    }

    #[test]
    fn waiting_reports_are_bounded() {
        let progress = Progress::default();
        for seq in 0..(REPORTS_WAITING_MAX as u64 + 50) {
            progress.report(seq, done(1));
        }
        assert_eq!(lock(&progress.0.reports).len(), REPORTS_WAITING_MAX);
        assert_eq!(progress.take()[0].seq, 50);
    }
}
