//! How long a store with many objects takes to open, and a lookup of a hit.
//!
//! `open DIR COUNT` fills DIR with COUNT objects of 1 KiB unless it has them, opens it
//! again and prints the times. The directory may be deleted afterwards.

#![allow(clippy::print_stdout, reason = "printing is what it is for")]

use std::time::Instant;

use base::delivery::SiteSettings;
use base::{SiteId, Timestamp};
use bytes::Bytes;
use cache::rules::{Exchange, RequestView, ResponseMeta, SitePolicy, Target, may_store};
use cache::store::{DiskOptions, Lookup, Store, StoreOptions};
use cache::{CacheKey, KeyParts};

type Failure = Box<dyn std::error::Error>;

fn key(number: usize) -> CacheKey {
    CacheKey::new(KeyParts {
        site: SiteId(uuid::Uuid::from_u128((number % 10_000) as u128)),
        https: true,
        host: &format!("site-{}.example.tw", number % 10_000),
        target: &format!("/some/path/of/ordinary/length/{number}.html"),
        ignore_query: &[],
    })
}

fn meta() -> Result<ResponseMeta, Failure> {
    let none: [(&str, &str); 0] = [];
    let settings = SiteSettings::default();
    let mut headers = http::HeaderMap::new();
    headers.insert("cache-control", "max-age=360000".parse()?);
    headers.insert("content-type", "text/html; charset=utf-8".parse()?);
    headers.insert("etag", "\"0123456789abcdef\"".parse()?);
    let at = Timestamp::from_seconds(1_795_000_000);
    let target = Target {
        https: true,
        host: "",
        target: "/",
    };
    let exchange = Exchange {
        target,
        request_time: at,
        response_time: at,
    };
    let policy = SitePolicy::new(&settings, "/");
    Ok(may_store(
        &RequestView::new("GET", &none),
        policy,
        200,
        &headers,
        exchange,
    )?)
}

fn open(dir: &str) -> Result<Store, Failure> {
    let disk = DiskOptions {
        dir: dir.into(),
        bytes: 64 << 30,
        reserve_bytes: 1 << 30,
    };
    Ok(Store::open(StoreOptions::on_disk(256 << 20, disk))?)
}

fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS"));
    line.and_then(|line| line.split_whitespace().nth(1))
        .and_then(|kib| kib.parse::<u64>().ok())
        .map_or(0, |kib| kib / 1024)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let (Some(dir), Some(count)) = (arguments.next(), arguments.next()) else {
        return Err("usage: open DIR COUNT".into());
    };
    let count: usize = count.parse()?;
    let store = open(&dir)?;
    if (store.stats().disk_objects as usize) < count {
        let (meta, begun) = (meta()?, Instant::now());
        for number in 0..count {
            let body = Bytes::from(vec![(number % 251) as u8; 1024]);
            store
                .put(&key(number), meta.clone(), body, store.stamp())
                .await?;
            if number % 10_000 == 0 {
                store.flush();
            }
        }
        store.flush();
        println!("filled in {:?}: {:?}", begun.elapsed(), store.stats());
    }
    drop(store);

    let before = resident_mib();
    let begun = Instant::now();
    let store = open(&dir)?;
    let took = begun.elapsed();
    println!(
        "opened {} objects in {took:?}; {} MiB resident, {before} before",
        store.stats().disk_objects,
        resident_mib()
    );

    let none: [(&str, &str); 0] = [];
    let begun = Instant::now();
    let mut found = 0;
    for number in (0..count).step_by((count / 10_000).max(1)) {
        found += usize::from(store.get(&key(number), &none).await.is_some());
    }
    println!("loaded {found} from disk in {:?}", begun.elapsed());

    let key = key(0);
    store.get(&key, &none).await;
    let begun = Instant::now();
    let rounds = 1_000_000u32;
    let mut hits = 0;
    for _ in 0..rounds {
        hits += u32::from(matches!(store.lookup(&key, &none), Lookup::Hit(_)));
    }
    println!("{hits} hits, {:?} each", begun.elapsed() / rounds);
    Ok(())
}
