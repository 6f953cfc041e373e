//! Query events: one for each answer while there are few, a regular sample when there
//! are many, in batches to the sink.

use std::net::IpAddr;
use std::sync::Arc;

use base::Timestamp;
use base::event::{EventBatch, EventSink, QueryEvent};
use dns::Served;
use dns::policy::NO_EDGE;
use dns::respond::Reply;

/// Events gathered before they are offered.
const BATCH: usize = 1_024;
/// Milliseconds after which fewer are offered, too.
const BATCH_AGE_MS: u32 = 1_000;

/// The events of one thread.
pub(crate) struct Journal {
    sink: Arc<dyn EventSink>,
    /// Events a second beyond which a sample is taken; 0: none are made.
    per_s_max: u32,
    batch: Vec<QueryEvent>,
    flushed_ms: u32,
    second_began_ms: u32,
    seen_this_second: u32,
    /// Every how manieth answer makes an event.
    step: u32,
    until_next: u32,
}

impl Journal {
    /// Events for one of `threads` threads, which share `per_s_max`.
    pub(crate) fn new(sink: Arc<dyn EventSink>, per_s_max: u32, threads: usize) -> Self {
        let per_s_max = match per_s_max {
            0 => 0,
            n => (n / threads.max(1) as u32).max(1),
        };
        Self {
            sink,
            per_s_max,
            batch: Vec::new(),
            flushed_ms: 0,
            second_began_ms: 0,
            seen_this_second: 0,
            step: 1,
            until_next: 1,
        }
    }

    /// Whether events are made at all, so that nobody reads the clock in vain.
    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        self.per_s_max > 0
    }

    /// An answer was sent.
    #[inline]
    pub(crate) fn note(&mut self, now_ms: u32, make: impl FnOnce() -> QueryEvent) {
        if self.per_s_max == 0 {
            return;
        }
        if now_ms.wrapping_sub(self.second_began_ms) >= 1_000 {
            self.begin_second(now_ms);
        }
        self.seen_this_second = self.seen_this_second.saturating_add(1);
        self.until_next -= 1;
        if self.until_next > 0 {
            return;
        }
        // A burst within the second is thinned as it grows.
        self.step = self.step.max(self.seen_this_second / self.per_s_max + 1);
        self.until_next = self.step;
        self.batch.push(make());
        if self.batch.len() >= BATCH {
            self.flush(now_ms);
        }
    }

    fn begin_second(&mut self, now_ms: u32) {
        self.step = self.seen_this_second / self.per_s_max + 1;
        self.until_next = self.until_next.min(self.step);
        self.seen_this_second = 0;
        self.second_began_ms = now_ms;
        self.tick(now_ms);
    }

    /// Offers what has waited long enough.
    pub(crate) fn tick(&mut self, now_ms: u32) {
        if now_ms.wrapping_sub(self.flushed_ms) >= BATCH_AGE_MS {
            self.flush(now_ms);
        }
    }

    /// Offers what there is.
    pub(crate) fn flush(&mut self, now_ms: u32) {
        self.flushed_ms = now_ms;
        if !self.batch.is_empty() {
            let batch = std::mem::take(&mut self.batch);
            self.sink.offer(EventBatch::Query(batch));
        }
    }
}

/// Describes an answer; `message` begins with the response's header and question.
pub(crate) fn event(
    at: Timestamp,
    served: &Served,
    message: &[u8],
    reply: &Reply,
    source: IpAddr,
    tcp: bool,
) -> QueryEvent {
    let mut name = String::new();
    if let Some(question) = message.get(dns::message::HEADER_BYTES..reply.question_end) {
        // Writing to a String cannot fail.
        let lower = question.to_ascii_lowercase();
        if dns::name::write_text(&lower, &mut name).is_err() {
            name.clear();
        }
    }
    let edges = served.table().policies().edges();
    QueryEvent {
        at,
        name: name.into(),
        kind: reply.kind.0,
        rcode: reply.rcode,
        resolver: source,
        client: reply.client,
        edge: (reply.edge != NO_EDGE)
            .then(|| {
                edges
                    .get(usize::from(reply.edge))
                    .map(|edge| edge.node.clone())
            })
            .flatten(),
        tcp,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Default)]
    struct Kept(Mutex<Vec<usize>>);

    impl EventSink for Kept {
        fn offer(&self, batch: EventBatch) {
            self.0
                .lock()
                .expect("no panic while held")
                .push(batch.len());
        }
    }

    fn query() -> QueryEvent {
        QueryEvent {
            at: Timestamp(0),
            name: "a.".into(),
            kind: 1,
            rcode: 0,
            resolver: IpAddr::from([192, 0, 2, 1]),
            client: None,
            edge: None,
            tcp: false,
        }
    }

    #[test]
    fn few_are_all_kept_and_many_are_sampled() {
        let kept = Arc::new(Kept::default());
        let sink: Arc<dyn EventSink> = Arc::clone(&kept) as _;
        let mut journal = Journal::new(sink, 1_000, 1);
        for number in 0..500_u32 {
            journal.note(number, query);
        }
        journal.flush(500);
        let total = |kept: &Kept| kept.0.lock().expect("not poisoned").iter().sum::<usize>();
        assert_eq!(total(&kept), 500);
        for second in 1..5_u32 {
            for _ in 0..100_000 {
                journal.note(second * 1_000, query);
            }
        }
        journal.flush(5_000);
        let sampled = total(&kept) - 500;
        assert!((2_000..20_000).contains(&sampled), "{sampled}");
        let biggest = kept.0.lock().expect("not poisoned").iter().copied().max();
        assert!(biggest <= Some(BATCH));
    }
}
