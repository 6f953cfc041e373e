//! Fills, readers, variants, collapsed fetches.

use std::time::Duration;

use bytes::Bytes;
use cache::rules::range::ByteRange;
use cache::store::{Body, Fetch, Lookup, Outcome, Refused, Store, StoreOptions};

use super::support::*;

fn memory_store() -> Store {
    Store::open(StoreOptions::in_memory(64 << 20)).expect("opens")
}

#[tokio::test]
async fn what_was_put_is_found_with_a_ready_head() {
    let store = memory_store();
    assert!(matches!(store.lookup(&key("/a"), &NO_FIELDS), Lookup::Miss));
    put(&store, &key("/a"), Bytes::from_static(b"hello")).await;
    let object = in_memory(&store, &key("/a")).expect("found");
    assert_eq!(
        object.as_memory().map(|body| &body[..]),
        Some(&b"hello"[..])
    );
    let head = String::from_utf8(object.head().to_vec()).expect("ASCII");
    assert!(
        head.starts_with("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n"),
        "{head}"
    );
    assert!(head.ends_with("content-length: 5\r\n"), "{head}");
    assert!(object.head_fields().starts_with(b"content-type"));
    assert!(in_memory(&store, &key("/b")).is_none());
}

#[tokio::test]
async fn bodies_of_every_size_read_back_whole_and_in_ranges() {
    let dir = tempfile::tempdir().expect("a directory");
    let on_disk = open(dir.path(), 256 << 20, 512 << 20);
    for store in [memory_store(), on_disk] {
        for (at, length) in [0, 1, 100, 65_536, 65_537, 1 << 20, 9 << 20]
            .into_iter()
            .enumerate()
        {
            let expected = body_of(at as u64, length);
            let target = format!("/{length}");
            let mut fill = store
                .begin_fill(
                    &key(&target),
                    meta(),
                    Some(length as u64),
                    u64::MAX,
                    store.stamp(),
                )
                .expect("room");
            for chunk in expected.chunks(30_000) {
                fill.push(Bytes::copy_from_slice(chunk)).await;
            }
            let early = fill.finish().expect("complete");
            assert_eq!(body(&early).await, expected, "{length} at once");
            store.flush();
            let object = in_memory(&store, &key(&target)).expect("found");
            assert!(object.is_complete());
            assert_eq!(object.len(), Some(length as u64));
            assert_eq!(matches!(object.body(), Body::Memory(_)), length <= 65_536);
            assert_eq!(body(&object).await, expected, "{length}");
            if length > 10 {
                let range = ByteRange {
                    first: 3,
                    last: length as u64 - 2,
                };
                let part = read(&object, Some(range)).await.expect("readable");
                assert_eq!(part, expected.slice(3..length - 1), "{length}");
            }
        }
    }
}

#[tokio::test]
async fn a_body_without_a_length_is_kept_whatever_its_size() {
    let dir = tempfile::tempdir().expect("a directory");
    let on_disk = open(dir.path(), 256 << 20, 512 << 20);
    for store in [memory_store(), on_disk] {
        for length in [10, 100_000, 12 << 20] {
            let expected = body_of(7, length);
            let target = format!("/{length}");
            let mut fill = store
                .begin_fill(&key(&target), meta(), None, u64::MAX, store.stamp())
                .expect("room");
            assert!(!fill.object().head().ends_with(b"content-length: 10\r\n"));
            for chunk in expected.chunks(60_000) {
                fill.push(Bytes::copy_from_slice(chunk)).await;
            }
            fill.finish().expect("complete");
            store.flush();
            let object = in_memory(&store, &key(&target)).expect("found");
            assert_eq!(object.len(), Some(length as u64));
            assert_eq!(body(&object).await, expected);
            assert!(
                object
                    .head()
                    .ends_with(format!("content-length: {length}\r\n").as_bytes())
            );
        }
    }
}

#[tokio::test]
async fn two_hundred_readers_read_along_while_it_arrives() {
    let store = memory_store();
    let length = 1 << 20;
    let expected = body_of(3, length);
    let Fetch::Leader(leader) = store.fetch(&key("/cold"), &NO_FIELDS, None, NOW) else {
        panic!("nobody else fetches");
    };
    let mut readers = tokio::task::JoinSet::new();
    let (first_sent, _) = tokio::sync::broadcast::channel::<()>(1);
    let (first_seen, mut seen) = tokio::sync::mpsc::unbounded_channel();
    for at in 0..200u64 {
        let Fetch::Follower(follower) = store.fetch(&key("/cold"), &NO_FIELDS, None, NOW) else {
            panic!("there is a leader");
        };
        let (expected, first_seen) = (expected.clone(), first_seen.clone());
        readers.spawn(async move {
            let Outcome::Object(object) = follower.wait().await else {
                panic!("the leader published");
            };
            assert!(!object.is_complete());
            let range = (at % 2 == 1).then_some(ByteRange {
                first: at,
                last: 500_000 + at,
            });
            let mut reader = object.reader(range);
            let first = reader.next().await.expect("octets").expect("no error");
            first_seen.send(()).expect("counted");
            let mut body = first.to_vec();
            while let Some(octets) = reader.next().await {
                body.extend_from_slice(&octets.expect("no error"));
            }
            let wanted = match range {
                None => expected,
                Some(range) => expected.slice(range.first as usize..=range.last as usize),
            };
            assert_eq!(body, wanted);
        });
    }
    let mut fill = store
        .begin_fill(
            &key("/cold"),
            meta(),
            Some(length as u64),
            u64::MAX,
            leader.stamp(),
        )
        .expect("room");
    leader.publish(fill.object().clone());
    drop(first_sent);
    fill.push(expected.slice(..1000)).await;
    // All have octets before the rest is even sent.
    for _ in 0..200 {
        seen.recv().await.expect("every reader begins");
    }
    assert_eq!(fill.readers(), 200);
    for chunk in expected[1000..].chunks(4096) {
        fill.push(Bytes::copy_from_slice(chunk)).await;
        tokio::task::yield_now().await;
    }
    fill.finish().expect("complete");
    while let Some(result) = readers.join_next().await {
        result.expect("reader");
    }
    assert_eq!(store.stats().collapsed, 200);
    assert_eq!(store.stats().filling_bytes, 0);
}

#[tokio::test]
async fn a_fill_that_breaks_off_reaches_its_readers_and_is_not_kept() {
    let store = memory_store();
    let old = put(&store, &key("/a"), Bytes::from_static(b"old")).await;
    let mut fill = store
        .begin_fill(&key("/a"), meta(), Some(10), u64::MAX, store.stamp())
        .expect("room");
    let mut reader = fill.object().reader(None);
    fill.push(Bytes::from_static(b"half")).await;
    assert_eq!(
        &reader.next().await.expect("octets").expect("octets")[..],
        b"half"
    );
    assert!(fill.finish().is_err(), "six octets are missing");
    assert!(reader.next().await.expect("an error").is_err());
    // What was there before is there again.
    let found = in_memory(&store, &key("/a")).expect("found");
    assert!(std::sync::Arc::ptr_eq(&found, &old));
    assert_eq!(store.stats().filling_bytes, 0);
}

#[tokio::test]
async fn too_large_and_too_many_are_refused() {
    let store = Store::open(StoreOptions::in_memory(4 << 20)).expect("opens");
    let refused = store.begin_fill(&key("/a"), meta(), Some(2 << 20), u64::MAX, store.stamp());
    assert_eq!(refused.err(), Some(Refused::TooLarge));
    let refused = store.begin_fill(&key("/a"), meta(), Some(11), 10, store.stamp());
    assert_eq!(refused.err(), Some(Refused::TooLarge));
}

#[tokio::test]
async fn a_body_that_grows_too_large_goes_on_for_its_readers() {
    let store = Store::open(StoreOptions::in_memory(4 << 20)).expect("opens");
    let expected = body_of(5, 20 << 20);
    let mut fill = store
        .begin_fill(&key("/a"), meta(), None, u64::MAX, store.stamp())
        .expect("room");
    let reader = tokio::spawn({
        let (object, expected) = (fill.object().clone(), expected.clone());
        async move { assert_eq!(body(&object).await, expected) }
    });
    while fill.readers() == 0 {
        tokio::task::yield_now().await;
    }
    for chunk in expected.chunks(100_000) {
        fill.push(Bytes::copy_from_slice(chunk)).await;
    }
    assert!(!fill.is_kept());
    fill.finish().expect("complete");
    reader.await.expect("all octets");
    assert!(in_memory(&store, &key("/a")).is_none());
    assert_eq!(store.stats().filling_bytes, 0);
}

#[tokio::test]
async fn a_leader_that_goes_away_frees_its_followers() {
    let store = memory_store();
    let fetch = || store.fetch(&key("/a"), &NO_FIELDS, None, NOW);
    let Fetch::Leader(leader) = fetch() else {
        panic!("first")
    };
    let Fetch::Follower(follower) = fetch() else {
        panic!("second")
    };
    drop(leader);
    assert!(matches!(follower.wait().await, Outcome::Failed));
    let Fetch::Leader(leader) = fetch() else {
        panic!("free again")
    };
    let Fetch::Follower(follower) = fetch() else {
        panic!("second")
    };
    leader.uncacheable(NOW);
    assert!(matches!(follower.wait().await, Outcome::Uncacheable));
    assert!(matches!(fetch(), Fetch::Alone(_)));
    let later = NOW.plus(cache::store::ALONE_TIME + Duration::from_secs(1));
    assert!(matches!(
        store.fetch(&key("/a"), &NO_FIELDS, None, later),
        Fetch::Leader(_)
    ));
}

#[tokio::test]
async fn what_came_since_the_lookup_is_offered_instead_of_a_fetch() {
    let store = memory_store();
    let old = put(&store, &key("/a"), Bytes::from_static(b"old")).await;
    let stale = store.fetch(&key("/a"), &NO_FIELDS, Some(&old), NOW);
    assert!(matches!(stale, Fetch::Leader(_)));
    drop(stale);
    let new = put(&store, &key("/a"), Bytes::from_static(b"new")).await;
    let Fetch::Object(found) = store.fetch(&key("/a"), &NO_FIELDS, Some(&old), NOW) else {
        panic!("it was replaced");
    };
    assert!(std::sync::Arc::ptr_eq(&found, &new));
}

#[tokio::test]
async fn variants_live_beside_each_other() {
    let store = memory_store();
    let vary = [("vary", "foo")];
    for value in ["1", "2"] {
        let meta = meta_for(&[("foo", value)], &vary);
        let body = Bytes::copy_from_slice(value.as_bytes());
        store
            .put(&key("/v"), meta, body, store.stamp())
            .await
            .expect("room");
    }
    for value in ["1", "2"] {
        let Lookup::Hit(object) = store.lookup(&key("/v"), &[("Foo", value)]) else {
            panic!("variant {value}");
        };
        assert_eq!(object.as_memory().expect("small")[..], *value.as_bytes());
    }
    assert!(matches!(
        store.lookup(&key("/v"), &[("foo", "3")]),
        Lookup::OtherVariants
    ));
    for value in 0..2 * cache::store::VARIANTS_MAX {
        let meta = meta_for(&[("foo", &value.to_string())], &vary);
        store
            .put(&key("/v"), meta, Bytes::new(), store.stamp())
            .await
            .expect("room");
    }
    assert_eq!(
        store.stats().memory_objects as usize,
        cache::store::VARIANTS_MAX
    );
    store.invalidate(&key("/v"));
    assert!(matches!(
        store.lookup(&key("/v"), &[("foo", "2")]),
        Lookup::Miss
    ));
    assert_eq!(
        (store.stats().memory_objects, store.stats().memory_bytes),
        (0, 0)
    );
}

#[tokio::test]
async fn a_refresh_keeps_the_body_and_changes_the_rest() {
    let store = memory_store();
    let old = put(&store, &key("/a"), Bytes::from_static(b"body")).await;
    let fresh = meta_for(&[], &[("x", "new")]);
    let new = store.refresh(&old, fresh, store.stamp());
    let found = in_memory(&store, &key("/a")).expect("found");
    assert!(std::sync::Arc::ptr_eq(&found, &new));
    assert_eq!(found.meta().field("x"), Some(&b"new"[..]));
    assert_eq!(&body(&found).await[..], b"body");
    assert_eq!(store.stats().memory_objects, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_threads_at_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path(), 2 << 20, 64 << 20);
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..8u64 {
        let store = store.clone();
        tasks.spawn(async move {
            let mut word = task + 1;
            for _ in 0..1_500 {
                word = word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let number = (word >> 40) % 200;
                let key = key(&format!("/{number}"));
                match (word >> 33) % 16 {
                    0 => store.invalidate(&key),
                    1..=5 => {
                        let length = 100 + (number as usize) * 1_000;
                        put(&store, &key, body_of(number, length)).await;
                    }
                    _ => {
                        if let Some(object) = get(&store, &key).await {
                            let length = 100 + (number as usize) * 1_000;
                            assert_eq!(body(&object).await, body_of(number, length));
                        }
                    }
                }
            }
        });
    }
    while let Some(result) = tasks.join_next().await {
        result.expect("no panic");
    }
    store.flush();
    let stats = store.stats();
    assert!(stats.memory_bytes <= 2 << 20, "{stats:?}");
    assert_eq!((stats.filling_bytes, stats.corrupt), (0, 0), "{stats:?}");
}
