//! Counters: one set for each thread, added up when somebody looks.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use dns::kind::rcode;
use dns::policy::NO_EDGE;
use dns::respond::Reply;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;

/// Response codes counted one by one; others are counted as "other".
const RCODES: [u16; 8] = [
    rcode::NOERROR,
    rcode::FORMERR,
    rcode::SERVFAIL,
    rcode::NXDOMAIN,
    rcode::NOTIMP,
    rcode::REFUSED,
    rcode::BADVERS,
    rcode::BADCOOKIE,
];

/// What one thread has counted. Only its thread writes it.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Counters {
    by_rcode: [AtomicU64; RCODES.len() + 1],
    by_policy: AtomicU64,
    truncated: AtomicU64,
    slipped: AtomicU64,
    dropped: AtomicU64,
    ignored: AtomicU64,
    tcp: AtomicU64,
}

/// One more, without a locked instruction: there is one writer.
fn bump(counter: &AtomicU64) {
    counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
}

impl Counters {
    /// A response went out.
    #[inline]
    pub fn sent(&self, reply: &Reply) {
        let at = match reply.rcode {
            rcode::NOERROR => 0,
            code => RCODES
                .iter()
                .position(|known| *known == code)
                .unwrap_or(RCODES.len()),
        };
        bump(&self.by_rcode[at]);
        if reply.edge != NO_EDGE {
            bump(&self.by_policy);
        }
        if reply.truncated {
            bump(&self.truncated);
        }
    }

    /// A response was cut short by the rate limit.
    pub fn slipped(&self) {
        bump(&self.slipped);
    }

    /// A response was withheld by the rate limit.
    pub fn dropped(&self) {
        bump(&self.dropped);
    }

    /// Something came that gets no response.
    pub fn ignored(&self) {
        bump(&self.ignored);
    }

    /// A response went out by TCP. Tasks share this set, so the instruction is locked.
    pub fn sent_by_tcp(&self, reply: &Reply) {
        self.tcp.fetch_add(1, Ordering::Relaxed);
        let at = RCODES
            .iter()
            .position(|known| *known == reply.rcode)
            .unwrap_or(RCODES.len());
        self.by_rcode[at].fetch_add(1, Ordering::Relaxed);
        if reply.edge != NO_EDGE {
            self.by_policy.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// All threads' counters, and figures about health and snapshots.
#[derive(Debug, Clone, Default)]
pub struct Stats(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    threads: Mutex<Vec<Arc<Counters>>>,
    reports: AtomicU64,
    reports_refused: AtomicU64,
    health_changes: AtomicU64,
    snapshots_refused: AtomicU64,
    tcp_refused: AtomicU64,
}

impl Stats {
    /// A fresh set for a thread.
    pub fn thread(&self) -> Arc<Counters> {
        let counters = Arc::new(Counters::default());
        self.0
            .threads
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Arc::clone(&counters));
        counters
    }

    /// Responses sent so far.
    pub fn answered(&self) -> u64 {
        (0..=RCODES.len())
            .map(|at| self.sum(|counters| &counters.by_rcode[at]))
            .sum()
    }

    pub(crate) fn report(&self, accepted: bool) {
        let counter = if accepted {
            &self.0.reports
        } else {
            &self.0.reports_refused
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn health_change(&self) {
        self.0.health_changes.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn snapshot_refused(&self) {
        self.0.snapshots_refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn tcp_refused(&self) {
        self.0.tcp_refused.fetch_add(1, Ordering::Relaxed);
    }

    fn sum(&self, of: impl Fn(&Counters) -> &AtomicU64) -> u64 {
        self.0
            .threads
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .map(|counters| of(counters).load(Ordering::Relaxed))
            .sum()
    }
}

impl Collector for Stats {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let mut responses = encoder.encode_descriptor(
            "dispatch_responses",
            "DNS responses sent, by response code",
            None,
            MetricType::Counter,
        )?;
        for (at, name) in RCODES
            .iter()
            .map(|code| rcode::name(*code))
            .chain(["other"])
            .enumerate()
        {
            let count = self.sum(|counters| &counters.by_rcode[at]);
            ConstCounter::new(count).encode(responses.encode_family(&[("rcode", name)])?)?;
        }
        let shared = &self.0;
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        for (name, help, count) in [
            (
                "dispatch_policy_responses",
                "responses in which a policy chose an edge",
                self.sum(|counters| &counters.by_policy),
            ),
            (
                "dispatch_truncated_responses",
                "UDP responses sent with TC",
                self.sum(|counters| &counters.truncated),
            ),
            (
                "dispatch_rate_limited_short",
                "UDP responses cut short by the rate limit",
                self.sum(|counters| &counters.slipped),
            ),
            (
                "dispatch_rate_limited_dropped",
                "UDP responses withheld by the rate limit",
                self.sum(|counters| &counters.dropped),
            ),
            (
                "dispatch_ignored_packets",
                "packets that get no response",
                self.sum(|counters| &counters.ignored),
            ),
            (
                "dispatch_tcp_responses",
                "responses sent by TCP",
                self.sum(|counters| &counters.tcp),
            ),
            (
                "dispatch_tcp_refused",
                "TCP connections closed at once for their number",
                load(&shared.tcp_refused),
            ),
            (
                "dispatch_health_reports",
                "health reports accepted",
                load(&shared.reports),
            ),
            (
                "dispatch_health_reports_refused",
                "health reports refused",
                load(&shared.reports_refused),
            ),
            (
                "dispatch_health_changes",
                "changes of an edge's agreed state",
                load(&shared.health_changes),
            ),
            (
                "dispatch_snapshots_refused",
                "snapshots refused whole",
                load(&shared.snapshots_refused),
            ),
        ] {
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            ConstCounter::new(count).encode(metric)?;
        }
        Ok(())
    }
}
