//! Statistics against plain counting.

use base::Timestamp;
use base::event::{AccessEvent, CacheResult};
use lake::Lake;
use lake::rollup::network_of;
use lake::stats::{Span, Subject};
use lake::testing::{DAY, access, org, site};

use crate::lake::{config, node, requests};

async fn filled(dir: &std::path::Path) -> (Lake, Vec<AccessEvent>) {
    let lake = Lake::open(&config(dir)).await.expect("opens");
    for i in 0..6 {
        let edge = node(["edge-a", "edge-b"][i as usize % 2]);
        lake.ingest(&edge, i, requests(i * 8_000, 8_000))
            .await
            .expect("stored");
        if i == 3 {
            lake.flush().await.expect("flushes");
        }
    }
    (lake, (0..48_000).map(access).collect())
}

fn span(from_s: i64, to_s: i64) -> Span {
    let at = |s| Timestamp(DAY.micros() + s * 1_000_000);
    Span {
        from: at(from_s),
        to: at(to_s),
    }
}

#[tokio::test]
async fn a_series_counts_every_request_in_its_step() {
    let dir = tempfile::tempdir().expect("a directory");
    let (lake, events) = filled(dir.path()).await;
    let span = span(-600, 7_200);
    for (subject, belongs) in [
        (
            Subject::All,
            Box::new(|_: &AccessEvent| true) as Box<dyn Fn(&AccessEvent) -> bool>,
        ),
        (
            Subject::Site(site(3)),
            Box::new(|e: &AccessEvent| e.site == Some(site(3))),
        ),
        (
            Subject::Org(org(2)),
            Box::new(|e: &AccessEvent| e.org == Some(org(2))),
        ),
    ] {
        let series = lake.series(subject, span, 300).await.expect("answers");
        assert_eq!(series.points.len(), 26);
        let own: Vec<&AccessEvent> = events.iter().filter(|e| belongs(e)).collect();
        assert_eq!(series.total.requests, own.len() as i64);
        for (i, point) in series.points.iter().enumerate() {
            let from = span.from.micros() + i as i64 * 300_000_000;
            let inside: Vec<_> = own
                .iter()
                .filter(|e| (from..from + 300_000_000).contains(&e.at.micros()))
                .collect();
            assert_eq!(point.requests, inside.len() as i64);
            let hits = inside
                .iter()
                .filter(|e| e.cache == CacheResult::Hit)
                .count();
            assert_eq!(point.hits, hits as i64);
            let errors = inside.iter().filter(|e| e.status == 502).count() as i64;
            assert_eq!((point.errors, point.by_status_class[5]), (errors, errors));
            let bytes: u64 = inside.iter().map(|e| e.bytes_sent).sum();
            assert_eq!(point.bytes_sent, bytes as i64);
            assert_eq!(point.by_duration.iter().sum::<i64>(), point.requests);
        }
        let half = series.total.duration_quantile_us(0.5).expect("a bound");
        assert_eq!(half, 30_000, "durations are spread evenly over 40 ms");
    }
    let error = lake
        .series(Subject::All, span, 1)
        .await
        .expect_err("too many");
    assert!(error.to_string().contains("2000 points"), "{error}");
}

#[tokio::test]
async fn live_counts_seconds_from_requests_themselves() {
    let dir = tempfile::tempdir().expect("a directory");
    let (lake, events) = filled(dir.path()).await;
    let now = Timestamp(DAY.micros() + 4_799_500_000);
    let live = lake.live(Subject::All, now, 60).await.expect("answers");
    assert_eq!(live.points.len(), 60);
    assert_eq!(live.total.requests, 600);
    let last = &events[47_400..];
    let classes = |low, high| {
        last.iter()
            .filter(|e| (low..high).contains(&e.status))
            .count() as i64
    };
    assert_eq!(live.total.by_status_class[2], classes(200, 300));
    assert_eq!(live.total.by_status_class[5], classes(500, 600));
    assert_eq!(live.total.by_duration.iter().sum::<i64>(), 600);
}

#[tokio::test]
async fn lists_are_sorted_and_complete() {
    let dir = tempfile::tempdir().expect("a directory");
    let (lake, events) = filled(dir.path()).await;
    let day = span(0, 86_400);
    let own = |e: &&AccessEvent| e.site == Some(site(4));
    let of_site = events.iter().filter(own).count() as i64;

    let urls = lake
        .top_urls(Subject::Site(site(4)), day, 1_000)
        .await
        .expect("answers");
    assert_eq!(urls.iter().map(|url| url.requests).sum::<i64>(), of_site);
    assert!(
        urls.windows(2)
            .all(|pair| pair[0].requests >= pair[1].requests)
    );
    let top = &urls[0];
    let counted = events
        .iter()
        .filter(own)
        .filter(|e| *e.path == *top.path)
        .count();
    assert_eq!(
        (top.host.as_str(), top.requests),
        ("www4.example.tw", counted as i64)
    );
    let few = lake
        .top_urls(Subject::Site(site(4)), day, 5)
        .await
        .expect("answers");
    assert_eq!(few, urls[..5]);

    let edges = lake
        .by_edge(Subject::Site(site(4)), day)
        .await
        .expect("answers");
    let names: Vec<&str> = edges.iter().map(|edge| edge.name.as_str()).collect();
    assert_eq!(names.len(), 2);
    assert!(names.contains(&"edge-a") && names.contains(&"edge-b"));
    assert_eq!(edges.iter().map(|edge| edge.requests).sum::<i64>(), of_site);

    let networks = lake
        .by_network(Subject::All, day, 1_000)
        .await
        .expect("answers");
    let busiest: base::Prefix = networks[0].name.parse().expect("a prefix");
    let counted = events
        .iter()
        .filter(|e| network_of(e.client) == busiest)
        .count();
    assert_eq!(networks[0].requests, counted as i64);

    let results = lake
        .by_cache_result(Subject::All, day)
        .await
        .expect("answers");
    assert_eq!(results[0].name, "hit");
    let sites = lake.by_site(Subject::All, day, 100).await.expect("answers");
    assert_eq!(sites.len(), 10);

    let errors = lake
        .errors(Subject::Site(site(4)), day, 1_000)
        .await
        .expect("answers");
    let failed = events
        .iter()
        .filter(own)
        .filter(|e| e.status >= 400)
        .count() as i64;
    assert_eq!(
        errors.iter().map(|error| error.requests).sum::<i64>(),
        failed
    );
    assert!(
        errors
            .iter()
            .all(|error| error.status == 502 && error.latest.starts_with("2026-11-21T"))
    );
}
