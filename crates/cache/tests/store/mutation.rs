//! A hundred thousand damaged inputs and more for each parser: no panic, no endless
//! loop, and nothing invented. The same every time; `make fuzz` looks further.

use base::delivery::SiteSettings;
use cache::rules::range::{ContentRange, RangeAnswer, select};
use cache::rules::{
    Exchange, RequestView, SitePolicy, Target, date, invalidated_targets, may_store,
};
use cache::store::parsers;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::support::*;

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        self.next() as usize % end.max(1)
    }

    /// Flips, inserts, deletes, repeats or cuts, once to four times.
    fn damage(&mut self, octets: &mut Vec<u8>) {
        for _ in 0..=self.below(4) {
            let at = self.below(octets.len());
            match self.below(6) {
                0 | 1 if !octets.is_empty() => octets[at] ^= 1 << self.below(8),
                2 => octets.insert(at, self.next() as u8),
                3 if !octets.is_empty() => drop(octets.remove(at)),
                4 => {
                    let end = (at + self.below(16)).min(octets.len());
                    let part = octets[at..end].to_vec();
                    octets.splice(at..at, part);
                }
                _ => octets.truncate(octets.len() - self.below(octets.len() / 4 + 1)),
            }
        }
    }
}

const VALUES: [(&str, &str); 17] = [
    (
        "cache-control",
        "max-age=3600, s-maxage=\"10\", no-cache=\"a, b\", private=\"c\\\"d\"",
    ),
    (
        "cache-control",
        "public, must-revalidate, stale-while-revalidate=60, stale-if-error=60",
    ),
    (
        "cdn-cache-control",
        "max-age=60;a=\"x\", no-store=?0, y=(1 2.5 tok);z, b=:aGk=:",
    ),
    (
        "surrogate-control",
        "max-age=3600+60;civicnet, no-store;other",
    ),
    ("expires", "Sun, 06 Nov 2094 08:49:37 GMT"),
    ("date", "Sunday, 06-Nov-94 08:49:37 GMT"),
    ("last-modified", "Sun Nov  6 08:49:37 1994"),
    ("age", "0,7200"),
    ("vary", "Accept-Language, foo, *"),
    ("accept-language", "zh-TW, en;q=0.5"),
    ("etag", "W/\"abc\""),
    ("if-none-match", "\"a\", W/\"b\", *"),
    ("range", "bytes=0-1,5-,-7"),
    ("content-range", "bytes 4-9/10"),
    ("location", "http://a.tw:80/x/../y?z#f"),
    ("content-location", "../../x;y=1?z"),
    ("cache-tag", "a, b c"),
];

#[test]
fn header_fields() {
    let mut random = Random(1);
    let settings = SiteSettings::default();
    for _ in 0..100_000 {
        let mut fields = HeaderMap::new();
        for _ in 0..=random.below(5) {
            let (name, value) = VALUES[random.below(VALUES.len())];
            let mut value = value.as_bytes().to_vec();
            random.damage(&mut value);
            date::parse(&value, NOW);
            ContentRange::parse(&value);
            let complete = random.next() % 20;
            if let RangeAnswer::Partial(ranges) = select(&value, complete) {
                assert!(
                    ranges
                        .iter()
                        .all(|range| range.first <= range.last && range.last < complete)
                );
            }
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                fields.append(HeaderName::from_static(name), value);
            }
        }
        let target = Target {
            https: false,
            host: "a.tw",
            target: "/p?q",
        };
        let view = RequestView::new("GET", &fields);
        let exchange = Exchange {
            target,
            request_time: NOW,
            response_time: NOW,
        };
        let policy = SitePolicy::new(&settings, "/p?q");
        if let Ok(meta) = may_store(&view, policy, 200, &fields, exchange) {
            assert_eq!(meta.header_map().len(), meta.fields().count());
            assert!(meta.age_s(NOW) <= 1 << 31);
            cache::rules::reuse(&view, &meta, None, &settings, NOW);
            cache::rules::conditional::is_not_modified(&view, &meta, NOW);
            cache::rules::range::answer(&view, &meta, 10, NOW);
            cache::rules::freshen(&view, policy, &meta, &fields, exchange);
        }
        for target in invalidated_targets(cache::rules::RequestMethod::Post, target, 200, &fields) {
            assert!(target.starts_with('/'), "{target}");
        }
    }
}

#[tokio::test]
async fn files_of_the_cache_directory() {
    let dir = tempfile::tempdir().expect("a directory");
    {
        let store = open(dir.path(), 1 << 20, 64 << 20);
        for at in 0..20u64 {
            let meta = meta_for(&[("foo", "1")], &[("vary", "foo"), ("cache-tag", "a,b")]);
            let body = body_of(at, 20);
            store
                .put(&key(&format!("/{at}")), meta, body, store.stamp())
                .await
                .expect("room");
        }
        store.flush();
        store.invalidate(&key("/1"));
        for seq in 1..20 {
            let purge = base::quick::Purge {
                site: site(1),
                what: base::quick::PurgeWhat::Tag(format!("t{seq}")),
                soft: seq % 2 == 0,
            };
            let order = cache::store::PurgeOrder {
                seq,
                purge: &purge,
                ignore_query: &[],
            };
            store.purge(&order, NOW).expect("durable");
        }
    }
    let mut random = Random(2);
    for (extension, whole) in [("seg", 21), ("idx", 21), ("purges", 20)] {
        let path = std::fs::read_dir(dir.path())
            .expect("the directory")
            .map(|entry| entry.expect("an entry").path())
            .find(|path| path.to_string_lossy().ends_with(extension))
            .expect("the file");
        let original = std::fs::read(path).expect("read");
        let parse = |octets: &[u8]| match extension {
            "seg" => Some(parsers::segment(octets)),
            "idx" => parsers::list(octets),
            _ => parsers::purge_log(octets),
        };
        assert_eq!(parse(&original), Some(whole), "{extension}");
        for _ in 0..100_000 {
            let mut octets = original.clone();
            random.damage(&mut octets);
            let found = parse(&octets).unwrap_or(0);
            assert!(found <= whole + 1, "{extension}: {found} records");
            let cut = random.below(octets.len());
            parsers::about(&octets[cut..]);
        }
    }
}
