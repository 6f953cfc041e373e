//! Events up: all of them, in order, through every break.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use base::{NodeName, Role};
use bytes::Bytes;
use fabric::node::{EventSource, Node};
use fabric::{EventIngest, IngestError};
use store::Backend;

use crate::world::{Running, World, eventually};

/// Keeps what it takes; is busy every `busy_every`-th time; refuses number 77.
#[derive(Default)]
struct Lake {
    taken: Mutex<BTreeMap<(NodeName, u64), Bytes>>,
    repeated: AtomicU64,
    calls: AtomicU64,
    busy_every: u64,
}

#[async_trait]
impl EventIngest for Lake {
    async fn ingest(&self, node: &NodeName, seq: u64, batch: Bytes) -> Result<(), IngestError> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        if self.busy_every > 0 && call.is_multiple_of(self.busy_every) {
            return Err(IngestError::Busy("the disk is full".to_owned()));
        }
        if seq == 77 {
            return Err(IngestError::Refused("not a batch".to_owned()));
        }
        let known = self
            .taken
            .lock()
            .unwrap()
            .insert((node.clone(), seq), batch)
            .is_some();
        self.repeated.fetch_add(u64::from(known), Ordering::SeqCst);
        Ok(())
    }
}

/// A journal in memory: batches `1..=last`, from the first unacknowledged one.
#[derive(Clone)]
struct Journal {
    next: u64,
    last: u64,
    acked: Arc<AtomicU64>,
}

impl Journal {
    fn reopen(acked: &Arc<AtomicU64>, last: u64) -> Self {
        Self {
            next: acked.load(Ordering::SeqCst) + 1,
            last,
            acked: acked.clone(),
        }
    }
}

fn batch(seq: u64) -> Bytes {
    Bytes::from(vec![(seq % 251) as u8; 1 + (seq as usize * 997) % 60_000])
}

#[async_trait]
impl EventSource for Journal {
    async fn next(&mut self) -> Option<(u64, Bytes)> {
        if self.next > self.last {
            // Like a journal to which nothing is appended any more.
            std::future::pending::<()>().await;
        }
        let seq = self.next;
        self.next += 1;
        Some((seq, batch(seq)))
    }

    async fn ack(&mut self, seq: u64) {
        let before = self.acked.fetch_max(seq, Ordering::SeqCst);
        assert!(seq >= before, "acknowledged backwards");
    }
}

#[tokio::test]
async fn every_batch_arrives_through_busy_lakes_and_restarts() {
    const LAST: u64 = 600;
    let lake = Arc::new(Lake {
        busy_every: 31,
        ..Lake::default()
    });
    let mut world = World::on(Backend::Sqlite, lake.clone()).await;
    let acked = Arc::new(AtomicU64::new(0));
    let node = world.enrol("edge-a", &[Role::Edge]).await;
    let start = |node: Node| {
        let journal = Journal::reopen(&acked, LAST);
        Running::start_with(node, Role::Edge, move |link| link.events(journal))
    };
    let mut running = start(node);
    for share in 1..=3 {
        eventually("some are shipped", async || {
            (acked.load(Ordering::SeqCst) >= LAST / 4 * share).then_some(())
        })
        .await;
        if share % 2 == 0 {
            world.restart().await;
        } else {
            running.stop().await;
            let node = Node::open(&world.dir("edge-a")).unwrap().unwrap();
            running = start(node);
        }
    }
    eventually("all are acknowledged", async || {
        (acked.load(Ordering::SeqCst) == LAST).then_some(())
    })
    .await;
    let taken = lake.taken.lock().unwrap();
    let node: NodeName = "edge-a".parse().unwrap();
    for seq in (1..=LAST).filter(|seq| *seq != 77) {
        assert_eq!(taken.get(&(node.clone(), seq)), Some(&batch(seq)), "{seq}");
    }
    assert_eq!(taken.len() as u64, LAST - 1);
}

#[tokio::test]
async fn a_refused_and_an_oversized_batch_do_not_stop_the_rest() {
    struct Odd(u64, Arc<AtomicU64>);
    #[async_trait]
    impl EventSource for Odd {
        async fn next(&mut self) -> Option<(u64, Bytes)> {
            self.0 += 1;
            match self.0 {
                76 => Some((76, Bytes::from(vec![0; 16 * 1024 * 1024]))),
                77 | 78 => Some((self.0, batch(self.0))),
                _ => None,
            }
        }
        async fn ack(&mut self, seq: u64) {
            self.1.fetch_max(seq, Ordering::SeqCst);
        }
    }
    let lake = Arc::new(Lake::default());
    let world = World::on(Backend::Sqlite, lake.clone()).await;
    let node = world.enrol("edge-a", &[Role::Edge]).await;
    let acked = Arc::new(AtomicU64::new(0));
    let source = Odd(75, acked.clone());
    let running = Running::start_with(node, Role::Edge, move |link| link.events(source));
    eventually("the last is acknowledged", async || {
        (acked.load(Ordering::SeqCst) == 78).then_some(())
    })
    .await;
    assert_eq!(running.notices.count("events.refused"), 2);
    let taken: Vec<_> = lake.taken.lock().unwrap().keys().map(|key| key.1).collect();
    assert_eq!(taken, [78]);
}

#[tokio::test]
async fn a_slow_lake_holds_back_events_and_nothing_else() {
    struct Stuck;
    #[async_trait]
    impl EventIngest for Stuck {
        async fn ingest(&self, _: &NodeName, _: u64, _: Bytes) -> Result<(), IngestError> {
            tokio::time::sleep(Duration::from_secs(3_600)).await;
            Ok(())
        }
    }
    let world = World::on(Backend::Sqlite, Arc::new(Stuck)).await;
    let node = world.enrol("edge-a", &[Role::Edge]).await;
    let acked = Arc::new(AtomicU64::new(0));
    let journal = Journal::reopen(&acked, 100);
    let mut running = Running::start_with(node, Role::Edge, move |link| link.events(journal));
    for text in ["one", "two"] {
        world
            .control
            .publish(Role::Edge, &crate::world::State::new(text))
            .await
            .unwrap();
        running.has(text).await;
    }
    eventually("heartbeats go on", async || {
        running.status.borrow().last_contact
    })
    .await;
    assert_eq!(acked.load(Ordering::SeqCst), 0);
}
