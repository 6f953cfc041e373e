//! The disk tier: reopened, torn, flipped, full, broken.

use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use cache::store::{Lookup, Notice, Store, StoreOptions};

use super::support::*;

fn files(dir: &std::path::Path, extension: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(dir)
        .expect("the directory")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect();
    files.sort();
    files
}

#[tokio::test]
async fn warm_again_after_a_restart() {
    let dir = tempfile::tempdir().expect("a directory");
    let sizes = [0, 10, 65_536, 100_000, 3 << 20, 10 << 20];
    {
        let store = open(dir.path(), 64 << 20, 256 << 20);
        for (at, size) in sizes.into_iter().enumerate() {
            put(&store, &key(&format!("/{at}")), body_of(at as u64, size)).await;
        }
        for value in ["1", "2"] {
            let meta = meta_for(&[("foo", value)], &[("vary", "foo")]);
            let body = Bytes::copy_from_slice(value.as_bytes());
            store
                .put(&key("/v"), meta, body, store.stamp())
                .await
                .expect("room");
        }
    }
    for _ in 0..2 {
        let store = open(dir.path(), 64 << 20, 256 << 20);
        assert_eq!(store.stats().memory_objects, 0);
        for (at, size) in sizes.into_iter().enumerate() {
            let key = key(&format!("/{at}"));
            assert!(matches!(store.lookup(&key, &NO_FIELDS), Lookup::OnDisk));
            let object = get(&store, &key).await.expect("kept");
            assert_eq!(body(&object).await, body_of(at as u64, size), "{size}");
            assert_eq!(object.as_file().is_some(), size > 65_536);
            assert!(in_memory(&store, &key).is_some());
        }
        for value in ["1", "2"] {
            let object = store
                .get(&key("/v"), &[("foo", value)])
                .await
                .expect("kept");
            assert_eq!(&body(&object).await[..], value.as_bytes());
        }
        assert!(store.get(&key("/v"), &[("foo", "3")]).await.is_none());
    }
}

#[tokio::test]
async fn the_newest_wins_and_the_forgotten_stay_forgotten() {
    let dir = tempfile::tempdir().expect("a directory");
    {
        let store = open(dir.path(), 64 << 20, 256 << 20);
        put(&store, &key("/a"), body_of(1, 100)).await;
        store.flush();
        put(&store, &key("/a"), body_of(2, 100)).await;
        put(&store, &key("/gone"), body_of(3, 100)).await;
        let large = put(&store, &key("/large"), body_of(4, 9 << 20)).await;
        assert!(!large.is_empty());
        store.flush();
        store.invalidate(&key("/gone"));
        // A refresh of a body on disk writes what is new alone.
        let large = in_memory(&store, &key("/large")).expect("found");
        store.refresh(&large, meta_for(&[], &[("x", "new")]), store.stamp());
    }
    let store = open(dir.path(), 64 << 20, 256 << 20);
    assert_eq!(
        body(&get(&store, &key("/a")).await.expect("kept")).await,
        body_of(2, 100)
    );
    assert!(get(&store, &key("/gone")).await.is_none());
    let large = get(&store, &key("/large")).await.expect("kept");
    assert_eq!(large.meta().field("x"), Some(&b"new"[..]));
    assert_eq!(body(&large).await, body_of(4, 9 << 20));
}

#[tokio::test]
async fn a_second_store_is_kept_out() {
    let dir = tempfile::tempdir().expect("a directory");
    let _first = open(dir.path(), 1 << 20, 64 << 20);
    let second = Store::open(StoreOptions::on_disk(
        1 << 20,
        disk_options(dir.path(), 64 << 20),
    ));
    assert!(second.is_err());
}

#[tokio::test]
async fn flipped_bits_are_found_and_thrown_away() {
    let dir = tempfile::tempdir().expect("a directory");
    let sizes = [1_000, 200_000, 9 << 20];
    {
        let store = open(dir.path(), 64 << 20, 256 << 20);
        for (at, size) in sizes.into_iter().enumerate() {
            put(&store, &key(&format!("/{at}")), body_of(at as u64, size)).await;
        }
    }
    // The last octet of each file is a body's.
    for path in files(dir.path(), "seg")
        .into_iter()
        .chain(files(dir.path(), "big"))
    {
        let file = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .expect("opens");
        let len = file.metadata().expect("metadata").len();
        let mut octet = [0];
        file.read_exact_at(&mut octet, len - 1).expect("read");
        file.write_all_at(&[octet[0] ^ 4], len - 1)
            .expect("written");
    }
    let notices = Arc::new(Mutex::new(Vec::new()));
    let heard = notices.clone();
    let mut options = StoreOptions::on_disk(64 << 20, disk_options(dir.path(), 256 << 20));
    options.on_notice = Arc::new(move |notice| heard.lock().expect("a list").push(notice));
    let store = Store::open(options).expect("opens");
    let mut found = 0;
    for (at, size) in sizes.into_iter().enumerate() {
        if let Some(object) = get(&store, &key(&format!("/{at}"))).await {
            assert_eq!(body(&object).await, body_of(at as u64, size));
            found += 1;
        }
    }
    // Of the two in the segment the later one is damaged, and the large one.
    assert_eq!((found, store.stats().corrupt), (1, 2));
    assert_eq!(notices.lock().expect("a list").len(), 2);
    assert!(get(&store, &key("/2")).await.is_none());
}

#[tokio::test]
async fn a_torn_segment_is_read_up_to_the_tear() {
    let dir = tempfile::tempdir().expect("a directory");
    {
        let store = open(dir.path(), 64 << 20, 256 << 20);
        for at in 0..50u64 {
            put(&store, &key(&format!("/{at}")), body_of(at, 1_000)).await;
            store.flush();
        }
    }
    for path in files(dir.path(), "idx") {
        std::fs::remove_file(path).expect("removed");
    }
    let segment = files(dir.path(), "seg").pop().expect("a segment");
    let len = std::fs::metadata(&segment).expect("metadata").len();
    let file = std::fs::OpenOptions::new()
        .write(true)
        .open(&segment)
        .expect("opens");
    for cut in [len - 1, len - 1_500, len / 2, 20, 3, 0] {
        file.set_len(cut).expect("cut");
        let store = open(dir.path(), 64 << 20, 256 << 20);
        let mut found = 0;
        for at in 0..50u64 {
            if let Some(object) = get(&store, &key(&format!("/{at}"))).await {
                assert_eq!(body(&object).await, body_of(at, 1_000));
                found += 1;
            }
        }
        assert_eq!(store.stats().corrupt, 0);
        assert!(
            found < 50 && (found > 0 || cut < 2_000),
            "{found} found of 50 at {cut}"
        );
        drop(store);
        for path in files(dir.path(), "idx") {
            std::fs::remove_file(path).expect("removed");
        }
    }
}

#[tokio::test]
async fn the_disk_stays_within_its_share_and_keeps_what_is_asked_for() {
    let dir = tempfile::tempdir().expect("a directory");
    let limit = 32 << 20;
    let store = open(dir.path(), 1 << 20, limit);
    let hot = key("/hot");
    put(&store, &hot, body_of(9_999, 20_000)).await;
    store.flush();
    for at in 0..3_000u64 {
        put(&store, &key(&format!("/{at}")), body_of(at, 30_000)).await;
        if at % 100 == 0 {
            store.flush();
            assert!(
                get(&store, &hot).await.is_some(),
                "asked for often, gone at {at}"
            );
            // Out of memory, so that the disk is asked.
            for filler in 0..60u64 {
                put(
                    &store,
                    &key(&format!("/filler/{filler}")),
                    body_of(filler, 30_000),
                )
                .await;
            }
        }
    }
    store.flush();
    let stats = store.stats();
    assert!(stats.disk_bytes <= limit, "{stats:?}");
    assert!(
        stats.disk_evicted > 0 && stats.disk_objects > 100,
        "{stats:?}"
    );
    let on_disk: u64 = std::fs::read_dir(dir.path())
        .expect("the directory")
        .map(|entry| entry.expect("an entry").metadata().expect("metadata").len())
        .sum();
    assert!(
        on_disk <= limit + (2 << 20),
        "{on_disk} octets in the directory"
    );
}

#[tokio::test]
async fn a_full_disk_is_reported_survived_and_recovered_from() {
    let dir = tempfile::tempdir().expect("a directory");
    let notices = Arc::new(Mutex::new(Vec::new()));
    let heard = notices.clone();
    let mut options = StoreOptions::on_disk(64 << 20, disk_options(dir.path(), 256 << 20));
    options.on_notice = Arc::new(move |notice| heard.lock().expect("a list").push(notice));
    let store = Store::open(options).expect("opens");
    put(&store, &key("/before"), body_of(1, 1_000)).await;
    put(&store, &key("/invalid"), body_of(1, 1_000)).await;
    store.flush();
    store.set_disk_fault(libc::ENOSPC);
    // A small one, one in a file of its own, and one that breaks in the middle.
    put(&store, &key("/small"), body_of(2, 1_000)).await;
    store.flush();
    assert!(!store.stats().disk_healthy);
    let large = put(&store, &key("/large"), body_of(3, 12 << 20)).await;
    assert_eq!(body(&large).await, body_of(3, 12 << 20));
    assert_eq!(
        body(&get(&store, &key("/small")).await.expect("in memory")).await,
        body_of(2, 1_000)
    );
    assert_eq!(
        body(&get(&store, &key("/before")).await.expect("there")).await,
        body_of(1, 1_000)
    );
    store.invalidate(&key("/invalid"));
    store.flush();
    store.set_disk_fault(0);
    let begun = std::time::Instant::now();
    while !store.stats().disk_healthy {
        assert!(
            begun.elapsed() < std::time::Duration::from_secs(30),
            "does not recover"
        );
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    put(&store, &key("/after"), body_of(4, 1_000)).await;
    store.flush();
    {
        let notices = notices.lock().expect("a list");
        assert!(
            matches!(notices[0], Notice::DiskFailed { .. }),
            "{notices:?}"
        );
        assert_eq!(notices[1..], [Notice::DiskRecovered]);
    }
    drop(store);
    let store = open(dir.path(), 64 << 20, 256 << 20);
    assert!(get(&store, &key("/before")).await.is_some());
    assert!(get(&store, &key("/after")).await.is_some());
    assert!(
        get(&store, &key("/invalid")).await.is_none(),
        "forgotten while the disk failed"
    );
}

#[tokio::test]
async fn a_large_body_whose_disk_fails_midway_reaches_its_readers() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path(), 64 << 20, 256 << 20);
    let expected = body_of(3, 30 << 20);
    let mut fill = store
        .begin_fill(
            &key("/large"),
            meta(),
            Some(30 << 20),
            u64::MAX,
            store.stamp(),
        )
        .expect("room");
    let reader = tokio::spawn({
        let (object, expected) = (fill.object().clone(), expected.clone());
        async move { assert_eq!(body(&object).await, expected) }
    });
    while fill.readers() == 0 {
        tokio::task::yield_now().await;
    }
    for (at, chunk) in expected.chunks(100_000).enumerate() {
        if at == 150 {
            store.set_disk_fault(libc::EIO);
        }
        fill.push(Bytes::copy_from_slice(chunk)).await;
    }
    fill.finish().expect("complete");
    reader.await.expect("all octets");
    store.flush();
    assert!(in_memory(&store, &key("/large")).is_none());
    assert!(files(dir.path(), "arriving").is_empty());
}

#[tokio::test]
async fn a_directory_that_was_let_go_of_is_opened_by_another_and_read_by_both() {
    let dir = tempfile::tempdir().expect("a directory");
    let old = open(dir.path(), 8 << 20, 256 << 20);
    put(&old, &key("/small"), body_of(1, 1_000)).await;
    put(&old, &key("/large"), body_of(2, 3 << 20)).await;
    // A large body that is arriving when the directory changes hands goes on arriving.
    let length = 5 << 20;
    let arriving = body_of(3, length);
    let mut fill = old
        .begin_fill(
            &key("/arriving"),
            meta(),
            Some(length as u64),
            u64::MAX,
            old.stamp(),
        )
        .expect("room");
    fill.push(arriving.slice(..1 << 20)).await;
    let reading = tokio::spawn({
        let object = fill.object().clone();
        async move { body(&object).await }
    });
    old.release_disk();
    let new = open(dir.path(), 8 << 20, 256 << 20);
    for store in [&old, &new] {
        let small = get(store, &key("/small")).await.expect("kept");
        assert_eq!(body(&small).await, body_of(1, 1_000));
        let large = get(store, &key("/large")).await.expect("kept");
        assert_eq!(body(&large).await, body_of(2, 3 << 20));
    }
    for at in 1..5 {
        fill.push(arriving.slice(at << 20..(at + 1) << 20)).await;
    }
    drop(fill.finish());
    assert_eq!(reading.await.expect("read"), arriving);
    assert!(get(&new, &key("/arriving")).await.is_none());

    // What the old one gets is in its memory alone; what it forgets is not touched.
    put(&old, &key("/late"), body_of(4, 1_000)).await;
    assert!(get(&old, &key("/late")).await.is_some());
    old.invalidate(&key("/small"));
    old.flush();
    drop(old);
    put(&new, &key("/new"), body_of(5, 1_000)).await;
    drop(new);
    let again = open(dir.path(), 8 << 20, 256 << 20);
    assert_eq!(again.stats().corrupt, 0);
    for (target, there) in [
        ("/small", true),
        ("/large", true),
        ("/new", true),
        ("/late", false),
        ("/arriving", false),
    ] {
        let found = get(&again, &key(target)).await.is_some();
        assert_eq!(found, there, "{target}");
    }
}
