//! The store against a model of it: whatever is done in whatever order, it never
//! answers with anything but the last thing that was put, and never with what was
//! purged, invalidated or overwritten; it may always forget.

use std::collections::HashMap;

use base::quick::{Purge, PurgeWhat};
use cache::store::{PurgeOrder, Store};
use proptest::prelude::*;

use super::support::*;

#[derive(Debug, Clone)]
enum Step {
    Put(u8, usize),
    Get(u8),
    Refresh(u8),
    Invalidate(u8),
    PurgeUrl(u8),
    PurgePrefix(u8),
    PurgeTag(u8),
    PurgeSite,
    Flush,
    Reopen,
}

const KEYS: u8 = 12;

fn step() -> impl Strategy<Value = Step> {
    let key = 0..KEYS;
    prop_oneof![
        6 => (key.clone(), prop_oneof![Just(0usize), 1..3_000usize, Just(70_000), Just(300_000)])
            .prop_map(|(key, size)| Step::Put(key, size)),
        6 => key.clone().prop_map(Step::Get),
        2 => key.clone().prop_map(Step::Refresh),
        1 => key.clone().prop_map(Step::Invalidate),
        1 => key.clone().prop_map(Step::PurgeUrl),
        1 => (0..3u8).prop_map(Step::PurgePrefix),
        1 => (0..4u8).prop_map(Step::PurgeTag),
        1 => Just(Step::PurgeSite),
        1 => Just(Step::Flush),
        1 => Just(Step::Reopen),
    ]
}

fn target(key: u8) -> String {
    format!("/{}/{key}", key % 3)
}

/// What may be answered for each key: the seed and size of its last body.
type Model = HashMap<u8, (u64, usize)>;

async fn run(steps: Vec<Step>) {
    let dir = tempfile::tempdir().expect("a directory");
    let reopen = || open(dir.path(), 300_000, 4 << 20);
    let mut store = reopen();
    let mut model = Model::new();
    let mut seq = 0;
    let mut seed = 0;
    let mut purge = |store: &Store, what| {
        seq += 1;
        let purge = Purge {
            site: site(1),
            what,
            soft: false,
        };
        let order = PurgeOrder {
            seq,
            purge: &purge,
            ignore_query: &[],
        };
        store.purge(&order, NOW).expect("durable");
    };
    for step in steps {
        match step {
            Step::Put(at, size) => {
                seed += 1;
                let tag = format!("t{}", at % 4);
                let meta = meta_for(&[], &[("cache-tag", &tag)]);
                store
                    .put(&key(&target(at)), meta, body_of(seed, size), store.stamp())
                    .await
                    .expect("room");
                model.insert(at, (seed, size));
            }
            Step::Get(at) => check(&store, &model, at).await,
            Step::Refresh(at) => {
                if let Some(object) = get(&store, &key(&target(at))).await {
                    let tag = format!("t{}", at % 4);
                    let meta = meta_for(&[], &[("cache-tag", &tag), ("x", "y")]);
                    store.refresh(&object, meta, store.stamp());
                    check(&store, &model, at).await;
                }
            }
            Step::Invalidate(at) => {
                store.invalidate(&key(&target(at)));
                model.remove(&at);
            }
            Step::PurgeUrl(at) => {
                purge(&store, PurgeWhat::Url(target(at)));
                model.remove(&at);
            }
            Step::PurgePrefix(part) => {
                purge(&store, PurgeWhat::Prefix(format!("/{part}/")));
                model.retain(|at, _| at % 3 != part);
            }
            Step::PurgeTag(tag) => {
                purge(&store, PurgeWhat::Tag(format!("t{tag}")));
                model.retain(|at, _| at % 4 != tag);
            }
            Step::PurgeSite => {
                purge(&store, PurgeWhat::Site);
                model.clear();
            }
            Step::Flush => store.flush(),
            Step::Reopen => {
                drop(store);
                store = reopen();
            }
        }
    }
    for at in 0..KEYS {
        check(&store, &model, at).await;
    }
    assert_eq!(store.stats().corrupt, 0);
}

async fn check(store: &Store, model: &Model, at: u8) {
    let Some(object) = get(store, &key(&target(at))).await else {
        return;
    };
    let (seed, size) = model
        .get(&at)
        .unwrap_or_else(|| panic!("{} came back", target(at)));
    let whole = body(&object).await == body_of(*seed, *size);
    assert!(whole, "{} is not what was last put", target(at));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn never_anything_but_the_last_thing_put(steps in prop::collection::vec(step(), 1..120)) {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime")
            .block_on(run(steps));
    }
}
