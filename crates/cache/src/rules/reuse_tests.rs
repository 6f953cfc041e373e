//! RFC 9111 section 4.2.4 and 5.2.1, RFC 5861, and freshening.

use super::*;
use crate::rules::conditional::{is_not_modified, revalidation, weak_match};
use crate::rules::invalidate::Target;
use crate::rules::storing::{Exchange, may_store};
use crate::rules::{Freshened, HeadEffect, SitePolicy, freshen, head_update};
use base::delivery::PathAction;
use http::HeaderMap;

const NOW: Timestamp = Timestamp::from_seconds(1_795_000_000);

fn headers(list: &[(&str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in list {
        map.append(
            http::HeaderName::from_bytes(name.as_bytes()).expect("a name"),
            http::HeaderValue::from_bytes(value.as_bytes()).expect("a value"),
        );
    }
    map
}

fn exchange(at: Timestamp) -> Exchange<'static> {
    Exchange {
        target: Target {
            https: false,
            host: "a.tw",
            target: "/p",
        },
        request_time: at,
        response_time: at,
    }
}

fn stored(list: &[(&str, &str)]) -> ResponseMeta {
    let none = HeaderMap::new();
    let request = RequestView::new("GET", &none);
    let settings = SiteSettings::default();
    let policy = SitePolicy {
        settings: &settings,
        action: PathAction::Follow,
    };
    may_store(&request, policy, 200, &headers(list), exchange(NOW)).expect("kept")
}

fn after(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(NOW.seconds() + seconds)
}

fn judge(control: &str, request: &[(&str, &str)], seconds: i64) -> Verdict {
    let meta = stored(&[("cache-control", control), ("etag", "\"x\"")]);
    let request = headers(request);
    let view = RequestView::new("GET", &request);
    reuse(&view, &meta, None, &SiteSettings::default(), after(seconds))
}

const ASK: Verdict = Verdict::Revalidate {
    stale_if_error: false,
    request: false,
};
const ASKED: Verdict = Verdict::Revalidate {
    stale_if_error: false,
    request: true,
};

#[test]
fn freshness_ends_when_it_is_said_to() {
    assert_eq!(judge("max-age=10", &[], 9), Verdict::Fresh);
    assert_eq!(judge("max-age=10", &[], 10), ASK);
    assert_eq!(judge("max-age=10, no-cache", &[], 0), ASK);
}

#[test]
fn request_directives() {
    for (control, request, seconds, expected) in [
        ("max-age=3600", "max-age=0", 3, ASKED),
        ("max-age=3600", "max-age=1", 3, ASKED),
        ("max-age=3600", "max-age=5", 3, Verdict::Fresh),
        ("max-age=1500", "min-fresh=2000", 0, ASKED),
        ("max-age=1500", "min-fresh=1000", 0, Verdict::Fresh),
        ("max-age=3600", "no-cache", 0, ASKED),
        ("max-age=3600", "no-store", 0, ASKED),
        ("max-age=1", "max-stale=1000", 3, Verdict::StaleAllowed),
        ("max-age=1", "max-stale", 90_000, Verdict::StaleAllowed),
        ("max-age=1", "max-stale=1", 3, ASK),
        ("max-age=1, must-revalidate", "max-stale", 3, ASK),
        ("max-age=1, proxy-revalidate", "max-stale", 3, ASK),
        ("s-maxage=1", "max-stale", 3, ASK),
        ("max-age=1", "only-if-cached", 3, Verdict::OnlyIfCached),
        ("max-age=9", "only-if-cached", 3, Verdict::Fresh),
    ] {
        let verdict = judge(control, &[("cache-control", request)], seconds);
        assert_eq!(verdict, expected, "{control} / {request} after {seconds} s");
    }
    assert_eq!(judge("max-age=9", &[("pragma", "no-cache")], 1), ASKED);
    assert_eq!(
        judge("max-age=9", &[("if-match", "\"x\"")], 1),
        Verdict::Bypass
    );
    assert_eq!(
        judge("max-age=9", &[("if-none-match", "\"x\"")], 1),
        Verdict::Fresh
    );
}

#[test]
fn stale_use_rfc_5861() {
    let with_error = Verdict::Revalidate {
        stale_if_error: true,
        request: false,
    };
    let swr = Verdict::StaleWhileRevalidate;
    for (control, seconds, expected) in [
        ("max-age=5, stale-while-revalidate=10", 14, swr),
        ("max-age=5, stale-while-revalidate=10", 15, ASK),
        ("max-age=5, stale-if-error=10", 14, with_error),
        ("max-age=5, stale-if-error=10", 15, ASK),
        ("max-age=5, stale-if-error=10, must-revalidate", 6, ASK),
        (
            "max-age=5, stale-while-revalidate=10, proxy-revalidate",
            6,
            ASK,
        ),
        ("s-maxage=5, stale-if-error=10", 6, with_error),
    ] {
        assert_eq!(
            judge(control, &[], seconds),
            expected,
            "{control} after {seconds} s"
        );
    }
}

#[test]
fn the_sites_own_grace_yields_to_the_origins_word() {
    let settings = SiteSettings {
        stale_while_revalidate_s: 10,
        stale_if_error_s: 100,
        ..SiteSettings::default()
    };
    let none = HeaderMap::new();
    let view = RequestView::new("GET", &none);
    let judge = |control, seconds| {
        reuse(
            &view,
            &stored(&[("cache-control", control)]),
            None,
            &settings,
            after(seconds),
        )
    };
    assert_eq!(judge("max-age=5", 6), Verdict::StaleWhileRevalidate);
    let error = Verdict::Revalidate {
        stale_if_error: true,
        request: false,
    };
    assert_eq!(judge("max-age=5", 16), error);
    assert_eq!(judge("max-age=5, stale-while-revalidate=0", 6), error);
    assert_eq!(judge("s-maxage=5", 6), ASK);
    assert_eq!(judge("max-age=5, must-revalidate", 6), ASK);
}

#[test]
fn softly_purged_means_stale_but_usable() {
    let none = HeaderMap::new();
    let view = RequestView::new("GET", &none);
    let judge = |control, purged| {
        let meta = stored(&[("cache-control", control)]);
        reuse(
            &view,
            &meta,
            Some(purged),
            &SiteSettings::default(),
            after(60),
        )
    };
    assert_eq!(
        judge("max-age=3600", after(30)),
        Verdict::StaleWhileRevalidate
    );
    assert_eq!(judge("max-age=3600, must-revalidate", after(30)), ASK);
    assert_eq!(judge("max-age=3600", after(60 - 86_401)), ASK);
}

#[test]
fn conditional_answers() {
    let old = "Wed, 01 Jan 2020 00:00:00 GMT";
    let meta = stored(&[
        ("cache-control", "max-age=9"),
        ("etag", "\"a\""),
        ("last-modified", old),
    ]);
    let asks = |list: &[(&str, &str)]| {
        let request = headers(list);
        is_not_modified(&RequestView::new("GET", &request), &meta, NOW)
    };
    assert!(asks(&[("if-none-match", "\"a\"")]));
    assert!(asks(&[("if-none-match", "\"1\", W/\"a\", \"2\"")]));
    assert!(asks(&[("if-none-match", "*")]));
    assert!(!asks(&[
        ("if-none-match", "\"b\""),
        ("if-modified-since", old)
    ]));
    assert!(asks(&[
        ("if-none-match", "\"a\""),
        ("if-modified-since", "Wed, 01 Jan 2010 00:00:00 GMT")
    ]));
    assert!(asks(&[("if-modified-since", old)]));
    assert!(asks(&[(
        "if-modified-since",
        "Wednesday, 01-Jan-20 00:00:01 GMT"
    )]));
    assert!(!asks(&[(
        "if-modified-since",
        "Tue, 31 Dec 2019 23:59:59 GMT"
    )]));
    assert!(!asks(&[("if-modified-since", "yesterday")]));
    assert!(!asks(&[]));
    assert!(weak_match(b"abc", b"\"abc\"") && weak_match(b"W/\"x\"", b"w/\"x\""));
    assert!(!weak_match(b"\"a\"", b"\"A\""));
}

#[test]
fn a_revalidation_asks_with_our_validators_only() {
    let old = "Wed, 01 Jan 2020 00:00:00 GMT";
    let meta = stored(&[
        ("cache-control", "max-age=9"),
        ("etag", "W/\"a\""),
        ("last-modified", old),
    ]);
    let mut request = headers(&[
        ("if-none-match", "\"theirs\""),
        ("range", "bytes=0-1"),
        ("if-range", "\"theirs\""),
        ("accept", "*/*"),
    ]);
    revalidation(&meta, &mut request);
    let expected = headers(&[
        ("accept", "*/*"),
        ("if-none-match", "W/\"a\""),
        ("if-modified-since", old),
    ]);
    assert_eq!(request, expected);
}

fn freshened(first: &[(&str, &str)], update: &[(&str, &str)]) -> Freshened {
    let none = HeaderMap::new();
    let settings = SiteSettings::default();
    freshen(
        &RequestView::new("GET", &none),
        SitePolicy {
            settings: &settings,
            action: PathAction::Follow,
        },
        &stored(first),
        &headers(update),
        exchange(after(5)),
    )
}

#[test]
fn a_304_updates_all_but_what_describes_the_body() {
    let first = [
        ("cache-control", "max-age=2"),
        ("etag", "\"abcdef\""),
        ("content-encoding", "A"),
        ("content-md5", "A"),
        ("content-range", "A"),
        ("test", "A"),
        ("set-cookie", "a=b"),
        ("kept", "A"),
        ("cache-tag", "t"),
    ];
    let Freshened::Keep(meta) = freshened(
        &first,
        &[
            ("cache-control", "max-age=3600"),
            ("etag", "\"ghijkl\""),
            ("content-encoding", "B"),
            ("content-md5", "B"),
            ("content-range", "B"),
            ("content-length", "10"),
            ("test", "B"),
            ("set-cookie", "a=c"),
            ("connection", "secret"),
            ("secret", "B"),
        ],
    ) else {
        panic!("the update allows keeping");
    };
    for (name, value) in [
        ("etag", "\"abcdef\""),
        ("content-encoding", "A"),
        ("content-md5", "A"),
        ("content-range", "A"),
        ("test", "B"),
        ("set-cookie", "a=c"),
        ("kept", "A"),
    ] {
        assert_eq!(meta.field(name), Some(value.as_bytes()), "{name}");
    }
    assert_eq!(meta.field("secret"), None);
    assert_eq!(meta.field("content-length"), None);
    assert_eq!(meta.ttl_s(after(5)), 3600);
    assert_eq!(&*meta.tags, ["t".into()]);
}

#[test]
fn a_304_that_forbids_keeping_is_used_once() {
    let first = [("cache-control", "max-age=2"), ("etag", "\"a\"")];
    let update = [("cache-control", "no-store"), ("x", "1")];
    let Freshened::UseOnce(fields, reason) = freshened(&first, &update) else {
        panic!("no-store was not seen");
    };
    assert_eq!(reason, crate::rules::Uncacheable::NoStore);
    assert_eq!(
        fields.get("etag").map(|tag| tag.as_bytes()),
        Some(&b"\"a\""[..])
    );
}

#[test]
fn a_head_updates_or_invalidates() {
    let first = [
        ("cache-control", "max-age=2"),
        ("template-a", "1"),
        ("etag", "\"a\""),
    ];
    let effect = |status, update: &[(&str, &str)]| {
        let none = HeaderMap::new();
        let settings = SiteSettings::default();
        head_update(
            &RequestView::new("HEAD", &none),
            SitePolicy {
                settings: &settings,
                action: PathAction::Follow,
            },
            &stored(&first),
            10,
            status,
            &headers(update),
            exchange(after(5)),
        )
    };
    let tag = ("etag", "\"a\"");
    let HeadEffect::Update(meta) = effect(
        200,
        &[tag, ("cache-control", "max-age=1000"), ("template-a", "2")],
    ) else {
        panic!("same representation");
    };
    assert_eq!(
        (meta.field("template-a"), meta.ttl_s(after(5))),
        (Some(&b"2"[..]), 1000)
    );
    assert!(matches!(
        effect(200, &[("etag", "\"b\"")]),
        HeadEffect::Invalidate
    ));
    assert!(matches!(
        effect(200, &[tag, ("content-length", "11")]),
        HeadEffect::Invalidate
    ));
    assert!(matches!(effect(410, &[tag]), HeadEffect::None));
}
