//! The bus: one suite for the bus inside the process and for NATS JetStream.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use base::Role;
use bytes::Bytes;
use fabric::bus::{
    Bus, BusError, BusOutbox, LocalBus, LocalOptions, NatsBus, NatsOptions, PAYLOAD_BYTES_MAX,
    SubscribeOptions,
};
use fabric::control::NODE_TOPIC;
use store::Backend;
use store::outbox::Relay;

use crate::world::{ME, World, name};

/// Debian's nats-server, gone with this value.
struct Server {
    process: Child,
    port: u16,
    dir: tempfile::TempDir,
}

impl Server {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let process = spawn(port, dir.path());
        let server = Self { process, port, dir };
        server.wait().await;
        server
    }

    /// `kill -9`, and a new one on the same port and folder.
    async fn crash_and_restart(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        self.process = spawn(self.port, self.dir.path());
        self.wait().await;
    }

    async fn wait(&self) {
        crate::world::eventually("nats-server answers", async || {
            let address = ("127.0.0.1", self.port);
            tokio::net::TcpStream::connect(address).await.ok().map(drop)
        })
        .await;
    }

    fn options(&self) -> NatsOptions {
        NatsOptions::new(&format!("nats://127.0.0.1:{}", self.port))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

fn spawn(port: u16, dir: &Path) -> Child {
    Command::new("nats-server")
        .args(["-a", "127.0.0.1", "-p", &port.to_string(), "-js", "-sd"])
        .arg(dir)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("nats-server must be installed: apt install nats-server")
}

/// Runs `test` on both kinds of bus.
async fn both(test: impl AsyncFn(Arc<dyn Bus>)) {
    test(Arc::new(LocalBus::new())).await;
    let server = Server::start().await;
    let bus = NatsBus::connect(&server.options()).await.unwrap();
    test(Arc::new(bus)).await;
}

fn options(filter: &str, durable: &str) -> SubscribeOptions {
    SubscribeOptions {
        ack_wait: Duration::from_secs(1),
        ..SubscribeOptions::new(filter, durable)
    }
}

/// A bus inside the process that soon loses patience.
fn small() -> Arc<dyn Bus> {
    Arc::new(LocalBus::with_bounds(LocalOptions {
        capacity: 8,
        publish_wait: Duration::from_millis(300),
        safe_wait: Duration::from_millis(300),
    }))
}

fn text(payload: &Bytes) -> String {
    String::from_utf8_lossy(payload).into_owned()
}

async fn send(bus: &Arc<dyn Bus>, topic: &str, text: &str) {
    bus.publish(topic, Bytes::from(text.to_owned()))
        .await
        .unwrap();
}

/// The next delivery, at most half a minute away.
async fn next(subscription: &mut Box<dyn fabric::bus::Subscription>) -> fabric::bus::Delivery {
    tokio::time::timeout(Duration::from_secs(30), subscription.next())
        .await
        .expect("a delivery within 30 s")
}

#[tokio::test]
async fn messages_come_in_order_to_everybody_who_wants_them() {
    both(async |bus| {
        let mut all = bus.subscribe(options("a.>", "all")).await.unwrap();
        let mut some = bus.subscribe(options("a.*.x", "some")).await.unwrap();
        for number in 0..50 {
            send(&bus, "a.one.x", &format!("x{number}")).await;
            send(&bus, "a.two.y", &format!("y{number}")).await;
            send(&bus, "b.one.x", "not wanted").await;
        }
        let mut seen: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for _ in 0..100 {
            let delivery = next(&mut all).await;
            assert_eq!(delivery.attempt, 1);
            let of_topic = seen.entry(delivery.topic.clone()).or_default();
            of_topic.push(text(&delivery.payload));
            delivery.ack().await.unwrap();
        }
        for (topic, letter) in [("a.one.x", "x"), ("a.two.y", "y")] {
            let wanted: Vec<_> = (0..50).map(|number| format!("{letter}{number}")).collect();
            assert_eq!(seen[topic], wanted);
        }
        for number in 0..50 {
            let delivery = next(&mut some).await;
            assert_eq!(text(&delivery.payload), format!("x{number}"));
            delivery.ack().await.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn what_is_not_acknowledged_comes_again_before_anything_later() {
    both(async |bus| {
        let mut subscription = bus.subscribe(options("a", "worker")).await.unwrap();
        for number in 0..4 {
            send(&bus, "a", &number.to_string()).await;
        }
        // Dropped without a word: again after `ack_wait`.
        let first = next(&mut subscription).await;
        assert_eq!((text(&first.payload).as_str(), first.attempt), ("0", 1));
        drop(first);
        let again = next(&mut subscription).await;
        assert_eq!((text(&again.payload).as_str(), again.attempt), ("0", 2));
        // Handed back: again at once.
        again.hand_back().await.unwrap();
        let third = next(&mut subscription).await;
        assert_eq!((text(&third.payload).as_str(), third.attempt), ("0", 3));
        third.ack().await.unwrap();
        for number in 1..4 {
            let delivery = next(&mut subscription).await;
            assert_eq!(text(&delivery.payload), number.to_string());
            assert_eq!(delivery.attempt, 1);
            delivery.ack().await.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn subscribers_of_one_name_share_and_a_slow_one_holds_back_nobody_else() {
    both(async |bus| {
        let wide = |durable: &str| SubscribeOptions {
            in_flight: 4,
            ack_wait: Duration::from_secs(20),
            ..SubscribeOptions::new("a", durable)
        };
        let mut one = bus.subscribe(wide("team")).await.unwrap();
        let mut two = bus.subscribe(wide("team")).await.unwrap();
        // Takes one and never says a word.
        let mut slow = bus.subscribe(options("a", "slow")).await.unwrap();
        for number in 0..20 {
            send(&bus, "a", &number.to_string()).await;
        }
        let stuck = next(&mut slow).await;
        let mut seen = Vec::new();
        let mut shares = [0, 0];
        while seen.len() < 20 {
            let (who, delivery) = tokio::select! {
                delivery = one.next() => (0, delivery),
                delivery = two.next() => (1, delivery),
                () = tokio::time::sleep(Duration::from_secs(30)) => panic!("only {seen:?}"),
            };
            shares[who] += 1;
            seen.push(text(&delivery.payload).parse::<u32>().unwrap());
            delivery.ack().await.unwrap();
        }
        seen.sort_unstable();
        assert_eq!(seen, (0..20).collect::<Vec<_>>());
        assert_eq!(text(&stuck.payload), "0");
    })
    .await;
}

#[tokio::test]
async fn names_and_sizes_are_checked() {
    both(async |bus| {
        for bad in ["", "a b", "a..b", "a.*", "新竹"] {
            let error = bus.publish(bad, Bytes::new()).await.unwrap_err();
            assert!(matches!(error, BusError::Name { .. }), "{bad}: {error:?}");
        }
        let large = Bytes::from(vec![0; PAYLOAD_BYTES_MAX + 1]);
        let error = bus.publish("a", large).await.unwrap_err();
        assert!(matches!(error, BusError::TooLarge { .. }), "{error:?}");
        for (filter, durable) in [("a.>.b", "x"), ("a", "x.y"), ("a", "")] {
            assert!(bus.subscribe(options(filter, durable)).await.is_err());
        }
    })
    .await;
}

#[tokio::test]
async fn inside_the_process_publishing_waits_for_room_and_then_fails() {
    let bus = small();
    let mut subscription = bus.subscribe(options("a", "slow")).await.unwrap();
    let mut sent = 0;
    let full = loop {
        match bus.publish("a", Bytes::from_static(b"x")).await {
            Ok(()) => sent += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(full, BusError::Full(_)), "{full:?}");
    assert_eq!(sent, 8);
    // A publisher that waits goes on when there is room.
    let publisher = bus.clone();
    let waiting = tokio::spawn(async move { publisher.publish("a", Bytes::new()).await });
    tokio::task::yield_now().await;
    subscription.next().await.ack().await.unwrap();
    waiting.await.unwrap().unwrap();
    // Nobody subscribes: nobody to wait for.
    drop(subscription);
    bus.publish("a", Bytes::new()).await.unwrap();
}

#[tokio::test]
async fn inside_the_process_safe_means_acknowledged_by_all() {
    let bus = small();
    let mut one = bus.subscribe(options("a", "one")).await.unwrap();
    let mut two = bus.subscribe(options("a", "two")).await.unwrap();
    let publisher = bus.clone();
    let safe = tokio::spawn(async move {
        publisher
            .publish_safe("id-1", "a", Bytes::from_static(b"x"))
            .await
    });
    one.next().await.ack().await.unwrap();
    let unacknowledged = safe.await.unwrap().unwrap_err();
    assert!(matches!(unacknowledged, BusError::NotAcknowledged(_)));
    // The repetition finds it where it is: the one who has it is not bothered again.
    let publisher = bus.clone();
    let again = tokio::spawn(async move {
        publisher
            .publish_safe("id-1", "a", Bytes::from_static(b"x"))
            .await
    });
    two.next().await.ack().await.unwrap();
    again.await.unwrap().unwrap();
    let more = tokio::time::timeout(Duration::from_secs(2), one.next()).await;
    assert!(more.is_err(), "{more:?}");
}

#[tokio::test]
async fn jetstream_keeps_everything_through_a_crash_of_the_server() {
    let mut server = Server::start().await;
    let bus: Arc<dyn Bus> = Arc::new(NatsBus::connect(&server.options()).await.unwrap());
    let mut subscription = bus.subscribe(options("a", "worker")).await.unwrap();
    for number in 0..10 {
        send(&bus, "a", &number.to_string()).await;
    }
    for number in 0..5 {
        let delivery = next(&mut subscription).await;
        assert_eq!(text(&delivery.payload), number.to_string());
        delivery.ack().await.unwrap();
    }
    server.crash_and_restart().await;
    // Published while the client is still dialling.
    for number in 10..15 {
        send(&bus, "a", &number.to_string()).await;
    }
    // The server may have forgotten acknowledgements, and never a message.
    let mut wanted = 5;
    while wanted < 15 {
        let delivery = next(&mut subscription).await;
        let number: u32 = text(&delivery.payload).parse().unwrap();
        assert!(number <= wanted, "{number} came before {wanted}");
        wanted = wanted.max(number + 1);
        delivery.ack().await.unwrap();
    }
    // Another process takes up under the same name where this one stops.
    drop(subscription);
    send(&bus, "a", "later").await;
    let other = NatsBus::connect(&server.options()).await.unwrap();
    let mut subscription = other.subscribe(options("a", "worker")).await.unwrap();
    let delivery = next(&mut subscription).await;
    assert_eq!(text(&delivery.payload), "later");
    delivery.ack().await.unwrap();
}

#[tokio::test]
async fn jetstream_recognises_repetitions_and_refuses_when_full() {
    let server = Server::start().await;
    let small = NatsOptions {
        bytes_max: 64 * 1024,
        ..server.options()
    };
    let bus = NatsBus::connect(&small).await.unwrap();
    let mut subscription = bus.subscribe(options("a", "worker")).await.unwrap();
    for _ in 0..3 {
        bus.publish_safe("same", "a", Bytes::from_static(b"once"))
            .await
            .unwrap();
    }
    bus.publish("a", Bytes::from_static(b"last")).await.unwrap();
    for wanted in ["once", "last"] {
        let delivery = next(&mut subscription).await;
        assert_eq!(text(&delivery.payload), wanted);
        delivery.ack().await.unwrap();
    }
    let mut sent = 0;
    let full = loop {
        match bus.publish("a", Bytes::from(vec![0; 16 * 1024])).await {
            Ok(()) => sent += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(full, BusError::Full(_)), "{full:?}");
    assert!((1..=4).contains(&sent), "{sent}");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_an_error_that_says_so() {
    let error = NatsBus::connect(&NatsOptions::new("nats://127.0.0.1:1"))
        .await
        .unwrap_err();
    assert!(matches!(error, BusError::Unavailable(_)), "{error:?}");
}

#[tokio::test]
async fn the_outbox_publishes_what_became_of_nodes() {
    both(async |bus| {
        let world = World::on(Backend::Sqlite, Arc::new(fabric::control::NoIngest)).await;
        let mut subscription = bus.subscribe(options("fabric.>", "watcher")).await.unwrap();
        world.enrol("edge-a", &[Role::Edge]).await;
        world.control.revoke(ME, &name("edge-a")).await.unwrap();
        let relay = Relay::new((*world.db).clone(), Arc::new(BusOutbox(bus.clone())));
        let relaying = tokio::spawn(async move { relay.deliver_due().await });
        for wanted in ["enrolled", "revoked"] {
            let delivery = next(&mut subscription).await;
            assert_eq!(delivery.topic, NODE_TOPIC);
            let change: serde_json::Value = serde_json::from_slice(&delivery.payload).unwrap();
            assert_eq!(change["change"], wanted);
            assert_eq!(change["node"], "edge-a");
            delivery.ack().await.unwrap();
        }
        assert!(relaying.await.unwrap().is_ok());
    })
    .await;
}
