//! Quick entries: in order, once, through every break.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use base::quick::{Order, Preload, Purge, PurgeWhat, QuickEntry};
use base::{Role, SiteId};
use fabric::node::{Node, Progress, QuickHandler};
use fabric::{Control, OrderReport};
use store::Backend;

use crate::world::{DAY, Running, State, World, eventually};

/// Remembers what it was given; fails every `fail_every`-th time.
#[derive(Default)]
pub(crate) struct Log {
    pub(crate) seen: Mutex<Vec<QuickEntry>>,
    pub(crate) gaps: Mutex<Vec<(u64, u64)>>,
    durable: AtomicU64,
    calls: AtomicU64,
    fail_every: u64,
    progress: Mutex<Option<Progress>>,
}

#[async_trait]
impl QuickHandler for Log {
    fn durable_seq(&self) -> u64 {
        self.durable.load(Ordering::SeqCst)
    }

    async fn apply(&self, entry: &QuickEntry) -> Result<OrderReport, String> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        if self.fail_every > 0 && call.is_multiple_of(self.fail_every) {
            return Err("the disk is full".to_owned());
        }
        self.seen.lock().unwrap().push(entry.clone());
        self.durable.store(entry.seq, Ordering::SeqCst);
        let Order::Preload(preload) = &entry.order else {
            return Ok(OrderReport::complete());
        };
        let total = preload.urls.len() as u64;
        let at = move |done| OrderReport {
            total,
            done,
            failed: done / 5,
            message: None,
        };
        if let Some(progress) = self.progress.lock().unwrap().clone() {
            let seq = entry.seq;
            tokio::spawn(async move {
                for done in 1..=total {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    progress.report(seq, at(done));
                }
            });
        }
        Ok(at(0))
    }

    async fn gap(&self, from: u64, to: u64) -> Result<(), String> {
        self.gaps.lock().unwrap().push((from, to));
        self.durable.store(to, Ordering::SeqCst);
        Ok(())
    }
}

impl Log {
    fn seqs(&self) -> Vec<u64> {
        self.seen.lock().unwrap().iter().map(|e| e.seq).collect()
    }
}

pub(crate) fn purge(text: &str) -> Order {
    Order::Purge(Purge {
        site: SiteId::generate(),
        what: PurgeWhat::Url(text.to_owned()),
        soft: false,
    })
}

fn start(node: Node, log: &Arc<Log>) -> Running {
    let log = log.clone();
    Running::start_with(node, Role::Edge, move |link| {
        *log.progress.lock().unwrap() = Some(link.progress());
        link.quick(Role::Edge, log).unwrap();
    })
}

async fn order(control: &Control, text: &str) -> u64 {
    control.order_now(Role::Edge, purge(text)).await.unwrap()
}

#[tokio::test]
async fn orders_arrive_once_and_in_order_through_breaks_on_both_databases() {
    for backend in [Backend::Sqlite, Backend::Postgres] {
        let mut world = World::on(backend, Arc::new(fabric::control::NoIngest)).await;
        let log = Arc::new(Log {
            fail_every: 13,
            ..Log::default()
        });
        let node = world.enrol("edge-a", &[Role::Edge]).await;
        let mut running = Some(start(node, &log));
        let mut wanted = Vec::new();
        for turn in 0..6 {
            for step in 0..20 {
                let text = format!("/{turn}/{step}");
                wanted.push(order(&world.control, &text).await);
                // Not for this node; takes a number all the same.
                let other = world.control.order_now(Role::Dispatch, purge(&text));
                other.await.unwrap();
            }
            if turn % 2 == 0 {
                world.restart().await;
            } else if let Some(stopping) = running.take() {
                stopping.stop().await;
                let node = Node::open(&world.dir("edge-a")).unwrap().unwrap();
                running = Some(start(node, &log));
            }
        }
        eventually("all are there", async || {
            (log.seqs().len() >= wanted.len()).then_some(())
        })
        .await;
        assert_eq!(log.seqs(), wanted);
        assert!(log.gaps.lock().unwrap().is_empty());
        let last = *wanted.last().unwrap();
        let status = eventually("acknowledged", async || {
            let status = world.control.order_status(last).await.unwrap();
            status.acked_by_all().then_some(status)
        })
        .await;
        assert!(status.is_done());
        assert_eq!(status.nodes.len(), 1);
        assert!(running.unwrap().notices.count("quick.failed") < wanted.len());
    }
}

#[tokio::test]
async fn an_order_that_is_rolled_back_never_goes_out() {
    let world = World::new().await;
    let log = Arc::new(Log::default());
    let node = world.enrol("edge-a", &[Role::Edge]).await;
    let _running = start(node, &log);
    let mut tx = world.db.begin().await.unwrap();
    let lost = world
        .control
        .order(&mut tx, Role::Edge, purge("/lost"))
        .await
        .unwrap();
    tx.rollback().await.unwrap();
    assert_eq!(order(&world.control, "/kept").await, lost);
    eventually("the order", async || (!log.seqs().is_empty()).then_some(())).await;
    let seen = log.seen.lock().unwrap().clone();
    assert_eq!(seen.len(), 1);
    let Order::Purge(purge) = &seen[0].order else {
        panic!("{seen:?}")
    };
    assert_eq!(purge.what, PurgeWhat::Url("/kept".to_owned()));
}

#[tokio::test]
async fn a_node_that_slept_too_long_hears_of_a_gap() {
    let mut world = World::new().await;
    let log = Arc::new(Log::default());
    world.enrol("edge-a", &[Role::Edge]).await;
    for step in 0..5 {
        order(&world.control, &format!("/{step}")).await;
    }
    world.stop().await;
    world.clock.forward(DAY * 6);
    let kept = order(&world.control, "/kept").await;
    world.clock.forward(DAY + DAY / 2);
    world.start();
    // Pruning is the first thing a control plane does.
    eventually("pruned", async || {
        world.control.order_status(5).await.is_err().then_some(())
    })
    .await;
    let clock = Arc::new(crate::world::MovedClock::default());
    clock.forward(DAY * 7);
    let node = Node::open(&world.dir("edge-a")).unwrap().unwrap();
    let handler = log.clone();
    let running = Running::start_at(node, Role::Edge, clock, move |link| {
        link.quick(Role::Edge, handler).unwrap();
    });
    eventually("the kept order", async || {
        (log.seqs() == [kept]).then_some(())
    })
    .await;
    assert_eq!(*log.gaps.lock().unwrap(), [(1, 5)]);
    assert_eq!(running.notices.count("quick.gap"), 1);
}

#[tokio::test]
async fn progress_of_a_preload_is_shown_until_it_is_done() {
    let world = World::new().await;
    let log = Arc::new(Log::default());
    let node = world.enrol("edge-a", &[Role::Edge]).await;
    let _running = start(node, &log);
    let preload = |count| {
        Order::Preload(Preload {
            site: SiteId::generate(),
            job: uuid::Uuid::now_v7(),
            urls: vec!["https://a.example/x".to_owned(); count],
        })
    };
    let seq = world
        .control
        .order_now(Role::Edge, preload(50))
        .await
        .unwrap();
    let mut seen = Vec::new();
    let done = eventually("done", async || {
        let status = world.control.order_status(seq).await.unwrap();
        seen.push(status.nodes[0].report.done);
        (status.nodes[0].report.total == 50 && status.is_done()).then_some(status)
    })
    .await;
    assert_eq!(done.nodes[0].report.failed, 10);
    assert!(seen.is_sorted(), "{seen:?}");
    assert!(seen.iter().any(|done| (1..50).contains(done)), "{seen:?}");
    let error = world
        .control
        .order_now(Role::Edge, preload(1_001))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("1001"), "{error}");
    assert!(world.control.order_status(seq + 1).await.is_err());
}

#[tokio::test]
async fn a_database_from_a_back_up_tells_nodes_of_a_gap() {
    let mut world = World::new().await;
    let log = Arc::new(Log::default());
    let node = world.enrol("edge-a", &[Role::Edge]).await;
    let _running = start(node, &log);
    order(&world.control, "/1").await;
    let copy = world.db.dir().join("copy.db");
    world.db.backup_to(&copy).await.unwrap();
    for step in 2..=4 {
        order(&world.control, &format!("/{step}")).await;
    }
    eventually("four", async || (log.seqs().len() == 4).then_some(())).await;
    world.stop().await;
    let config = store::testing::config(&format!("sqlite:{}", copy.display()), world.db.dir());
    let db = store::Db::open(&config).await.unwrap();
    let vault = store::Vault::open_file(&config.key_file).unwrap();
    world.control = Control::open(db, vault, world.config.clone())
        .await
        .unwrap();
    world.start();
    eventually("a gap", async || {
        (!log.gaps.lock().unwrap().is_empty()).then_some(())
    })
    .await;
    let next = order(&world.control, "/next").await;
    assert!(next > 4);
    eventually("the next", async || {
        (log.seqs().last() == Some(&next)).then_some(())
    })
    .await;
}

/// Prints how long it takes; asserts only that everything arrives.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn how_long_orders_and_snapshots_take_to_three_nodes() {
    let world = World::new().await;
    let mut running = Vec::new();
    for node in ["edge-a", "edge-b", "edge-c"] {
        let node = world.enrol(node, &[Role::Edge]).await;
        running.push(start(node, &Arc::new(Log::default())));
    }
    eventually("all present", async || {
        let nodes = world.control.nodes().await.unwrap();
        nodes.iter().all(|node| node.online).then_some(())
    })
    .await;
    let (mut orders, mut snapshots) = (Vec::new(), Vec::new());
    for turn in 0..60 {
        let seq = order(&world.control, &format!("/{turn}")).await;
        let status = eventually("acknowledged", async || {
            let status = world.control.order_status(seq).await.unwrap();
            status.acked_by_all().then_some(status)
        })
        .await;
        orders.extend(status.nodes.iter().filter_map(|node| node.lag_ms));
        let state = State::new(&turn.to_string());
        let version = world.control.publish(Role::Edge, &state).await.unwrap();
        for node in ["edge-a", "edge-b", "edge-c"] {
            let status = world.running(node, version).await;
            snapshots.extend(status.versions[0].lag_ms);
        }
    }
    for (what, lags) in [("order", &mut orders), ("snapshot", &mut snapshots)] {
        lags.sort_unstable();
        assert!(lags.len() > 150, "{what}: {}", lags.len());
        let at = |share: f64| lags[((lags.len() - 1) as f64 * share) as usize];
        eprintln!(
            "{what} to acknowledgement, ms: median {}, 99 % {}, worst {}",
            at(0.5),
            at(0.99),
            at(1.0)
        );
    }
}
