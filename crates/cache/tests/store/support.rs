//! What the tests share.

use std::path::Path;
use std::sync::Arc;

use base::delivery::SiteSettings;
use base::{SiteId, Timestamp};
use bytes::{Bytes, BytesMut};
use cache::rules::{
    Exchange, RequestView, ResponseMeta, SitePolicy, Target, may_store, range::ByteRange,
};
use cache::store::{DiskOptions, Lookup, Object, ReadError, Store, StoreOptions};
use cache::{CacheKey, KeyParts};
use http::HeaderMap;

pub(crate) const NOW: Timestamp = Timestamp::from_seconds(1_795_000_000);
pub(crate) const NO_FIELDS: [(&str, &str); 0] = [];

pub(crate) fn site(number: u128) -> SiteId {
    SiteId(uuid::Uuid::from_u128(number))
}

pub(crate) fn key_of(site_number: u128, host: &str, target: &str) -> CacheKey {
    CacheKey::new(KeyParts {
        site: site(site_number),
        https: false,
        host,
        target,
        ignore_query: &[],
    })
}

pub(crate) fn key(target: &str) -> CacheKey {
    key_of(1, "a.tw", target)
}

pub(crate) fn headers(list: &[(&str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in list {
        map.append(
            http::HeaderName::from_bytes(name.as_bytes()).expect("a name"),
            http::HeaderValue::from_bytes(value.as_bytes()).expect("a value"),
        );
    }
    map
}

/// What the rules make of a 200 with these fields to a request with those.
pub(crate) fn meta_for(request: &[(&str, &str)], response: &[(&str, &str)]) -> ResponseMeta {
    let settings = SiteSettings::default();
    let request = headers(request);
    let mut response = headers(response);
    response.insert("cache-control", "max-age=3600".parse().expect("a value"));
    may_store(
        &RequestView::new("GET", &request),
        SitePolicy::new(&settings, "/"),
        200,
        &response,
        Exchange {
            target: Target {
                https: false,
                host: "a.tw",
                target: "/",
            },
            request_time: NOW,
            response_time: NOW,
        },
    )
    .expect("may be kept")
}

pub(crate) fn meta() -> ResponseMeta {
    meta_for(&[], &[("content-type", "text/plain")])
}

pub(crate) fn disk_options(dir: &Path, bytes: u64) -> DiskOptions {
    DiskOptions {
        dir: dir.to_owned(),
        bytes,
        reserve_bytes: 0,
    }
}

pub(crate) fn open(dir: &Path, memory: u64, disk: u64) -> Store {
    Store::open(StoreOptions::on_disk(memory, disk_options(dir, disk))).expect("opens")
}

/// Octets that tell which key and version they are of, wherever one looks.
pub(crate) fn body_of(seed: u64, length: usize) -> Bytes {
    let mut body = BytesMut::with_capacity(length + 32);
    let mut word = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    while body.len() < length {
        word ^= word << 13;
        word ^= word >> 7;
        word ^= word << 17;
        body.extend_from_slice(&word.to_le_bytes());
    }
    body.truncate(length);
    body.freeze()
}

pub(crate) async fn put(store: &Store, key: &CacheKey, body: Bytes) -> Arc<Object> {
    store
        .put(key, meta(), body, store.stamp())
        .await
        .expect("room")
}

pub(crate) async fn get(store: &Store, key: &CacheKey) -> Option<Arc<Object>> {
    store.get(key, &NO_FIELDS).await
}

pub(crate) fn in_memory(store: &Store, key: &CacheKey) -> Option<Arc<Object>> {
    match store.lookup(key, &NO_FIELDS) {
        Lookup::Hit(object) => Some(object),
        _ => None,
    }
}

pub(crate) async fn read(object: &Object, range: Option<ByteRange>) -> Result<Bytes, ReadError> {
    let mut reader = object.reader(range);
    let mut body = BytesMut::new();
    while let Some(octets) = reader.next().await {
        body.extend_from_slice(&octets?);
    }
    Ok(body.freeze())
}

pub(crate) async fn body(object: &Object) -> Bytes {
    read(object, None).await.expect("readable")
}
