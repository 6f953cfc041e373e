//! Purges of every kind, before, during and after.

use base::quick::{Purge, PurgeWhat};
use bytes::Bytes;
use cache::store::{PurgeOrder, Store, StoreOptions};

use super::support::*;

fn order(store: &Store, seq: u64, site_number: u128, what: PurgeWhat, soft: bool) {
    let purge = Purge {
        site: site(site_number),
        what,
        soft,
    };
    let ignore = ["utm".to_owned()];
    let order = PurgeOrder {
        seq,
        purge: &purge,
        ignore_query: &ignore,
    };
    store.purge(&order, NOW).expect("durable");
}

async fn filled(store: &Store) {
    for (site_number, host, target, tag) in [
        (1, "a.tw", "/news/1", "t1"),
        (1, "b.tw", "/news/1", "t2"),
        (1, "a.tw", "/news/2?id=1", "t1"),
        (1, "a.tw", "/other", "t3"),
        (2, "c.tw", "/news/1", "t1"),
    ] {
        let meta = meta_for(&[], &[("cache-tag", tag)]);
        let key = key_of(site_number, host, target);
        let body = Bytes::from_static(b"x");
        store
            .put(&key, meta, body, store.stamp())
            .await
            .expect("room");
    }
}

/// Which of the five are still served.
async fn alive(store: &Store) -> [bool; 5] {
    let mut alive = [false; 5];
    for (at, (site_number, host, target)) in [
        (1, "a.tw", "/news/1"),
        (1, "b.tw", "/news/1"),
        (1, "a.tw", "/news/2?id=1"),
        (1, "a.tw", "/other"),
        (2, "c.tw", "/news/1"),
    ]
    .into_iter()
    .enumerate()
    {
        alive[at] = get(store, &key_of(site_number, host, target))
            .await
            .is_some();
    }
    alive
}

fn cases() -> Vec<(PurgeWhat, [bool; 5])> {
    let (y, n) = (true, false);
    vec![
        (PurgeWhat::Url("/news/1".into()), [n, n, y, y, y]),
        (PurgeWhat::Url("A.tw/news/1".into()), [n, y, y, y, y]),
        (
            PurgeWhat::Url("https://a.tw/news/1".into()),
            [n, y, y, y, y],
        ),
        (PurgeWhat::Url("/news/2?utm=x&id=1".into()), [y, y, n, y, y]),
        (PurgeWhat::Url("/news".into()), [y, y, y, y, y]),
        (PurgeWhat::Prefix("/news/".into()), [n, n, n, y, y]),
        (PurgeWhat::Prefix("b.tw/news".into()), [y, n, y, y, y]),
        (PurgeWhat::Tag("t1".into()), [n, y, n, y, y]),
        (PurgeWhat::Tag("t".into()), [y, y, y, y, y]),
        (PurgeWhat::Site, [n, n, n, n, y]),
    ]
}

#[tokio::test]
async fn each_kind_purges_what_it_names_and_nothing_else() {
    for (what, expected) in cases() {
        let store = Store::open(StoreOptions::in_memory(8 << 20)).expect("opens");
        filled(&store).await;
        order(&store, 1, 1, what.clone(), false);
        assert_eq!(alive(&store).await, expected, "{what:?}");
        // What comes afterwards stays.
        filled(&store).await;
        assert_eq!(alive(&store).await, [true; 5], "{what:?}");
        assert_eq!(store.last_seq(), 1);
    }
}

#[tokio::test]
async fn purged_objects_do_not_come_back_from_disk() {
    for (what, expected) in cases() {
        let dir = tempfile::tempdir().expect("a directory");
        {
            let store = open(dir.path(), 8 << 20, 64 << 20);
            filled(&store).await;
            store.flush();
            order(&store, 7, 1, what.clone(), false);
        }
        {
            let store = open(dir.path(), 8 << 20, 64 << 20);
            assert_eq!(store.last_seq(), 7);
            assert_eq!(alive(&store).await, expected, "{what:?}");
            filled(&store).await;
            store.flush();
        }
        let store = open(dir.path(), 8 << 20, 64 << 20);
        assert_eq!(store.last_seq(), 7);
        assert_eq!(alive(&store).await, [true; 5], "{what:?}");
    }
}

#[tokio::test]
async fn what_was_asked_for_before_and_arrives_after_is_purged() {
    let store = Store::open(StoreOptions::in_memory(8 << 20)).expect("opens");
    let early = store.stamp();
    order(&store, 1, 1, PurgeWhat::Site, false);
    let object = store
        .put(&key("/a"), meta(), Bytes::new(), early)
        .await
        .expect("room");
    assert!(object.is_complete());
    assert!(get(&store, &key("/a")).await.is_none());
    // A validation that was sent before the purge does not save it either.
    let object = put(&store, &key("/b"), Bytes::new()).await;
    let stamp = store.stamp();
    order(&store, 2, 1, PurgeWhat::Url("/b".into()), false);
    store.refresh(&object, meta(), stamp);
    assert!(get(&store, &key("/b")).await.is_none());
    // While it arrives.
    let fill = store
        .begin_fill(&key("/c"), meta(), Some(0), 10, store.stamp())
        .expect("room");
    order(&store, 3, 1, PurgeWhat::Prefix("/".into()), false);
    assert!(in_memory(&store, &key("/c")).is_none());
    fill.finish().expect("complete");
    assert!(in_memory(&store, &key("/c")).is_none());
}

#[tokio::test]
async fn a_soft_purge_marks_and_a_refresh_clears() {
    let dir = tempfile::tempdir().expect("a directory");
    {
        let store = open(dir.path(), 8 << 20, 64 << 20);
        filled(&store).await;
        order(&store, 1, 1, PurgeWhat::Tag("t1".into()), true);
        let object = get(&store, &key("/news/1")).await.expect("usable");
        assert_eq!(object.soft_purged(), Some(NOW));
        let object = store.refresh(&object, meta(), store.stamp());
        assert_eq!(object.soft_purged(), None);
        assert_eq!(
            get(&store, &key("/news/1"))
                .await
                .expect("there")
                .soft_purged(),
            None
        );
    }
    let store = open(dir.path(), 8 << 20, 64 << 20);
    assert_eq!(
        get(&store, &key("/news/1"))
            .await
            .expect("there")
            .soft_purged(),
        None
    );
    assert_eq!(
        get(&store, &key("/news/2?id=1"))
            .await
            .expect("usable")
            .soft_purged(),
        Some(NOW)
    );
}

#[tokio::test]
async fn orders_are_obeyed_once_and_everything_can_be_forgotten() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path(), 8 << 20, 64 << 20);
    order(&store, 5, 1, PurgeWhat::Site, false);
    filled(&store).await;
    order(&store, 5, 1, PurgeWhat::Site, false);
    order(&store, 4, 1, PurgeWhat::Site, false);
    assert_eq!(alive(&store).await, [true; 5]);
    store.note_seq(9).expect("durable");
    assert_eq!(store.last_seq(), 9);
    store.flush();
    store.forget_everything(3, NOW).expect("durable");
    assert_eq!(alive(&store).await, [false; 5]);
    drop(store);
    let store = open(dir.path(), 8 << 20, 64 << 20);
    assert_eq!((store.last_seq(), alive(&store).await), (3, [false; 5]));
}

#[tokio::test]
async fn a_snapshots_purged_before_goes_by_the_time_of_the_request() {
    let store = Store::open(StoreOptions::in_memory(8 << 20)).expect("opens");
    filled(&store).await;
    store.set_purged_before(site(1), NOW);
    assert_eq!(alive(&store).await, [true; 5]);
    store.set_purged_before(site(1), base::Timestamp(NOW.0 + 1));
    assert_eq!(alive(&store).await, [false, false, false, false, true]);
}

#[tokio::test]
async fn very_many_orders_stay_bounded_and_purge_no_less() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path(), 8 << 20, 64 << 20);
    filled(&store).await;
    order(&store, 1, 1, PurgeWhat::Prefix("/news/1".into()), false);
    for seq in 2..=400 {
        order(
            &store,
            seq,
            1,
            PurgeWhat::Prefix(format!("/unused/{seq}/")),
            false,
        );
    }
    // Folded into a purge of the site: more than asked, never less, and of it alone.
    let found = alive(&store).await;
    assert!(!found[0] && !found[1] && found[4], "{found:?}");
    filled(&store).await;
    assert_eq!(alive(&store).await, [true; 5]);
}

#[tokio::test]
async fn a_damaged_purge_log_makes_everything_purged() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = dir.path().join("purges");
    {
        let store = open(dir.path(), 8 << 20, 64 << 20);
        filled(&store).await;
        order(&store, 1, 1, PurgeWhat::Url("/other".into()), false);
        order(&store, 2, 1, PurgeWhat::Url("/none".into()), false);
    }
    let mut content = std::fs::read(&log).expect("the log");
    // A record that was being written when the machine stopped is cut off.
    content.extend_from_slice(&[40, 0, 0, 0, 1, 2, 3]);
    std::fs::write(&log, &content).expect("written");
    {
        let store = open(dir.path(), 8 << 20, 64 << 20);
        assert_eq!(alive(&store).await, [true, true, true, false, true]);
        assert_eq!(store.last_seq(), 2);
    }
    let mut content = std::fs::read(&log).expect("the log");
    content[20] ^= 1;
    std::fs::write(&log, &content).expect("written");
    let store = open(dir.path(), 8 << 20, 64 << 20);
    assert_eq!((alive(&store).await, store.last_seq()), ([false; 5], 0));
}
