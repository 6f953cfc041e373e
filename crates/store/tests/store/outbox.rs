//! Promised messages arrive: in order, at least once, whatever happens between.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use base::{Clock as _, ManualClock, Timestamp};
use runtime::{BoxError, CancellationToken};
use store::outbox::{BACKOFF_MAX, DELIVERED_KEPT, OutboxMessage, OutboxTarget, Relay};
use store::testing::{TestDb, both, fresh_with_clock};
use store::{Backend, Db, StoreError};

#[derive(Default)]
struct Target {
    got: Mutex<Vec<(String, u64)>>,
    /// Topics that are refused.
    refused: Mutex<BTreeSet<String>>,
}

#[async_trait]
impl OutboxTarget for Target {
    async fn deliver(&self, message: &OutboxMessage) -> Result<(), BoxError> {
        if self
            .refused
            .lock()
            .expect("unpoisoned")
            .contains(&message.topic)
        {
            return Err("not today".into());
        }
        let number = message.payload["number"].as_u64().expect("a number");
        self.got
            .lock()
            .expect("unpoisoned")
            .push((message.topic.clone(), number));
        Ok(())
    }
}

impl Target {
    fn of(&self, topic: &str) -> Vec<u64> {
        let got = self.got.lock().expect("unpoisoned");
        got.iter()
            .filter(|(of, _)| of == topic)
            .map(|(_, number)| *number)
            .collect()
    }

    fn refuse(&self, topics: &[&str]) {
        *self.refused.lock().expect("unpoisoned") =
            topics.iter().map(|topic| (*topic).to_owned()).collect();
    }
}

async fn promise(db: &Db, topic: &str, numbers: std::ops::Range<u64>) {
    let mut tx = db.begin().await.expect("a turn");
    for number in numbers {
        tx.outbox(topic, &serde_json::json!({ "number": number }))
            .await
            .expect("promised");
    }
    tx.commit().await.expect("committed");
}

#[tokio::test]
async fn what_is_committed_arrives_in_order_and_nothing_else() {
    both(&[], async |db: TestDb| {
        let target = Arc::new(Target::default());
        let relay = Relay::new(db.clone(), target.clone());
        promise(&db, "a", 0..250).await;
        let mut tx = db.begin().await.expect("a turn");
        tx.outbox("a", &serde_json::json!({ "number": 999 }))
            .await
            .expect("promised");
        drop(tx);
        promise(&db, "b", 0..3).await;
        while relay.deliver_due().await.expect("delivered") > 0 {}
        assert_eq!(target.of("a"), (0..250).collect::<Vec<_>>());
        assert_eq!(target.of("b"), [0, 1, 2]);
        assert!(relay.state().await.expect("read").is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_refused_message_waits_and_holds_back_its_own_topic_only() {
    for backend in [Backend::Sqlite, Backend::Postgres] {
        let clock = Arc::new(ManualClock::at(Timestamp::from_seconds(1_000_000)));
        let db = fresh_with_clock(backend, clock.clone(), &[]).await;
        let target = Arc::new(Target::default());
        let relay = Relay::new(db.clone(), target.clone());
        target.refuse(&["a"]);
        promise(&db, "a", 0..3).await;
        promise(&db, "b", 0..3).await;
        assert_eq!(relay.deliver_due().await.expect("delivered"), 3);
        assert_eq!(target.of("b"), [0, 1, 2]);
        let state = relay.state().await.expect("read")["a"];
        assert_eq!((state.waiting, state.attempts_max), (3, 1));
        target.refuse(&[]);
        assert_eq!(relay.deliver_due().await.expect("too early"), 0);
        clock.advance(Duration::from_secs(1));
        assert_eq!(relay.deliver_due().await.expect("delivered"), 3);
        assert_eq!(target.of("a"), [0, 1, 2]);
        // Waits grow, but not without bound, and a clock that goes back does not
        // stop delivery for ever.
        target.refuse(&["a"]);
        promise(&db, "a", 3..4).await;
        for _ in 0..20 {
            relay.deliver_due().await.expect("refused");
            clock.advance(BACKOFF_MAX);
        }
        assert!(relay.state().await.expect("read")["a"].attempts_max >= 20);
        relay.deliver_due().await.expect("refused");
        target.refuse(&[]);
        clock.set(clock.now().minus(Duration::from_secs(30 * 86_400)));
        assert_eq!(relay.deliver_due().await.expect("delivered"), 1);
        clock.advance(DELIVERED_KEPT + Duration::from_secs(1));
        assert_eq!(
            relay.prune().await.expect("pruned"),
            1,
            "the latest; others bear later times"
        );
    }
}

#[tokio::test]
async fn a_crash_between_delivery_and_record_delivers_again() {
    both(&[], async |db: TestDb| {
        struct Stuck(Target, tokio::sync::Notify);
        #[async_trait]
        impl OutboxTarget for Stuck {
            async fn deliver(&self, message: &OutboxMessage) -> Result<(), BoxError> {
                self.0.deliver(message).await?;
                self.1.notify_one();
                std::future::pending().await
            }
        }
        promise(&db, "a", 0..2).await;
        let stuck = Arc::new(Stuck(Target::default(), tokio::sync::Notify::new()));
        let relay = Relay::new(db.clone(), stuck.clone());
        let crashed = tokio::spawn(async move { relay.deliver_due().await });
        stuck.1.notified().await;
        crashed.abort();
        assert!(crashed.await.expect_err("aborted").is_cancelled());
        assert_eq!(stuck.0.of("a"), [0]);
        let target = Arc::new(Target::default());
        let relay = Relay::new(db.clone(), target.clone());
        assert_eq!(relay.deliver_due().await.expect("delivered"), 2);
        assert_eq!(target.of("a"), [0, 1]);
    })
    .await;
}

#[tokio::test]
async fn the_relay_hears_of_new_messages_and_stops_when_told() {
    both(&[], async |db: TestDb| {
        let target = Arc::new(Target::default());
        let relay = Relay::new(db.clone(), target.clone());
        let stop = CancellationToken::new();
        let running = tokio::spawn({
            let stop = stop.clone();
            async move { relay.run(stop).await }
        });
        for number in 0..5 {
            promise(&db, "a", number..number + 1).await;
        }
        let arrived = async {
            while target.of("a").len() < 5 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), arrived)
            .await
            .expect("arrived");
        stop.cancel();
        tokio::time::timeout(Duration::from_secs(30), running)
            .await
            .expect("stopped")
            .expect("without panic");
        assert_eq!(target.of("a"), [0, 1, 2, 3, 4]);
    })
    .await;
}

#[tokio::test]
async fn messages_beyond_their_limits_are_refused_by_name() {
    both(&[], async |db: TestDb| {
        let mut tx = db.begin().await.expect("a turn");
        for (topic, payload) in [("", "x".to_owned()), ("t", "x".repeat(1 << 20))] {
            let error = tx.outbox(topic, &payload).await.expect_err("beyond");
            assert!(matches!(error, StoreError::Invalid(_)), "{error:?}");
        }
        tx.outbox("t", "fine").await.expect("promised");
    })
    .await;
}
