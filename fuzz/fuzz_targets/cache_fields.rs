//! The caching rules: any header fields are judged, none panics.
#![no_main]

use base::Timestamp;
use base::delivery::SiteSettings;
use cache::rules::{
    Exchange, RequestView, SitePolicy, Target, conditional, freshen, invalidated_targets,
    may_store, range, reuse,
};
use libfuzzer_sys::fuzz_target;

const NAMES: [&str; 20] = [
    "cache-control", "cdn-cache-control", "surrogate-control", "expires", "date", "age",
    "last-modified", "etag", "vary", "pragma", "range", "content-range", "if-range",
    "if-none-match", "if-modified-since", "location", "content-location", "cache-tag",
    "surrogate-key", "connection",
];

// Each line: an octet that chooses the name, then the value.
fuzz_target!(|octets: &[u8]| {
    let mut fields = http::HeaderMap::new();
    for line in octets.split(|octet| *octet == b'\n').take(64) {
        let Some((name, value)) = line.split_first() else { continue };
        if let Ok(value) = http::HeaderValue::from_bytes(value) {
            fields.append(NAMES[usize::from(*name) % NAMES.len()], value);
        }
    }
    let now = Timestamp::from_seconds(1_795_000_000);
    let target = Target { https: true, host: "a.tw", target: "/p?q" };
    let exchange = Exchange { target, request_time: now, response_time: now };
    let settings = SiteSettings::default();
    let policy = SitePolicy::new(&settings, "/p?q");
    let view = RequestView::new("GET", &fields);
    if let Ok(meta) = may_store(&view, policy, 200, &fields, exchange) {
        assert_eq!(meta.header_map().len(), meta.fields().count());
        reuse(&view, &meta, None, &settings, now);
        conditional::is_not_modified(&view, &meta, now);
        range::answer(&view, &meta, 10, now);
        freshen(&view, policy, &meta, &fields, exchange);
    }
    for target in invalidated_targets(cache::rules::RequestMethod::Post, target, 200, &fields) {
        assert!(target.starts_with('/'));
    }
});
