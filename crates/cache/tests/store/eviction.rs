//! What stays in memory.

use bytes::Bytes;
use cache::store::{Store, StoreOptions};

use super::support::*;

/// A trace of requests: a popular set by Zipf's law, and scans through objects that
/// are asked for once.
fn trace() -> Vec<u64> {
    let mut word = 42u64;
    let mut random = move || {
        word ^= word << 13;
        word ^= word >> 7;
        word ^= word << 17;
        word
    };
    let mut scan = 1_000_000;
    let mut trace = Vec::new();
    for round in 0..60 {
        for _ in 0..1_000 {
            // Rank 1/u: the harmonic law, cut at 5,000.
            let unit = (random() % 1_000_000 + 1) as f64 / 1_000_000.0;
            trace.push(((5_000f64.powf(unit)) as u64).min(5_000));
        }
        if round % 2 == 1 {
            for _ in 0..1_500 {
                scan += 1;
                trace.push(scan);
            }
        }
    }
    trace
}

/// Hits of a least-recently-used cache of `capacity` objects.
fn lru_hits(trace: &[u64], capacity: usize) -> usize {
    let mut last = std::collections::HashMap::new();
    let mut order = std::collections::BTreeMap::new();
    let mut hits = 0;
    for (now, number) in trace.iter().enumerate() {
        if let Some(before) = last.insert(*number, now) {
            hits += 1;
            order.remove(&before);
        } else if order.len() == capacity
            && let Some((_, oldest)) = order.pop_first()
        {
            last.remove(&oldest);
        }
        order.insert(now, *number);
    }
    hits
}

#[tokio::test]
async fn scans_do_not_push_out_what_is_popular() {
    let trace = trace();
    let store = Store::open(StoreOptions::in_memory(2 << 20)).expect("opens");
    let mut hits = 0;
    for number in &trace {
        let key = key(&format!("/{number}"));
        if in_memory(&store, &key).is_some() {
            hits += 1;
        } else {
            put(&store, &key, Bytes::from(vec![0; 3_000])).await;
        }
    }
    let stats = store.stats();
    assert!(stats.memory_bytes <= 2 << 20, "{stats:?}");
    let lru = lru_hits(&trace, stats.memory_objects as usize);
    let ratio = |hits: usize| 100.0 * hits as f64 / trace.len() as f64;
    assert!(
        ratio(hits) > ratio(lru) + 3.0,
        "{:.1} % of requests hit; least recently used: {:.1} %",
        ratio(hits),
        ratio(lru)
    );
}

#[tokio::test]
async fn replacing_one_object_for_ever_takes_no_memory() {
    let store = Store::open(StoreOptions::in_memory(1 << 20)).expect("opens");
    for at in 0..20_000u64 {
        put(&store, &key("/same"), body_of(at, 100)).await;
    }
    let stats = store.stats();
    assert_eq!(stats.memory_objects, 1);
    assert!(stats.memory_bytes < 2_000, "{stats:?}");
}

#[tokio::test]
async fn one_body_larger_than_all_others_leaves_room() {
    let store = Store::open(StoreOptions::in_memory(8 << 20)).expect("opens");
    for at in 0..20u64 {
        put(&store, &key(&format!("/{at}")), body_of(at, 1_900_000)).await;
        assert!(store.stats().memory_bytes <= 8 << 20);
    }
    assert!(in_memory(&store, &key("/19")).is_some());
}
