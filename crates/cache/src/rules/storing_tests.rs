//! RFC 9111 section 3 and what the public conformance suite asks about it.

use super::*;
use base::delivery::{PathAction, SiteSettings};

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

fn at(seconds: i64) -> String {
    String::from_utf8(date::format(Timestamp::from_seconds(NOW.seconds() + seconds)).to_vec())
        .expect("ASCII")
}

fn exchange() -> Exchange<'static> {
    Exchange {
        target: Target {
            https: false,
            host: "a.tw",
            target: "/p",
        },
        request_time: NOW,
        response_time: NOW,
    }
}

fn store_for(
    request: &[(&str, &str)],
    action: PathAction,
    settings: &SiteSettings,
    status: u16,
    list: &[(&str, &str)],
) -> Result<ResponseMeta, Uncacheable> {
    let request = headers(request);
    let view = RequestView::new("GET", &request);
    may_store(
        &view,
        SitePolicy { settings, action },
        status,
        &headers(list),
        exchange(),
    )
}

fn store(status: u16, list: &[(&str, &str)]) -> Result<ResponseMeta, Uncacheable> {
    store_for(
        &[],
        PathAction::Follow,
        &SiteSettings::default(),
        status,
        list,
    )
}

/// Seconds of freshness left on arrival, 0 for none or not kept.
fn left(list: &[(&str, &str)]) -> i64 {
    store(200, list).map_or(0, |meta| meta.ttl_s(NOW).max(0))
}

#[test]
fn lifetimes_section_4_2_1() {
    let date = at(0);
    for (list, expected) in [
        (vec![("cache-control", "max-age=3600")], 3600),
        (vec![("cache-control", "max-age=0")], 0),
        (vec![("cache-control", "max-age=3600, s-maxage=1")], 1),
        (
            vec![
                ("cache-control", "s-maxage=1"),
                ("cache-control", "max-age=3600"),
            ],
            1,
        ),
        (vec![("cache-control", "max-age=1, s-maxage=3600")], 3600),
        (
            vec![("cache-control", "max-age=-3600"), ("expires", &at(600))],
            0,
        ),
        (
            vec![("cache-control", "max-age=3600"), ("expires", "0")],
            3600,
        ),
        (
            vec![("cache-control", "max-age=0"), ("expires", &at(3600))],
            0,
        ),
        (vec![("expires", &at(600)), ("date", &date)], 600),
        (
            vec![
                ("expires", &at(600)),
                ("expires", &at(900)),
                ("date", &date),
            ],
            600,
        ),
        (vec![("expires", &date), ("date", &date)], 0),
        (vec![("expires", &at(300)), ("date", &at(400))], 0),
        (vec![("expires", "0"), ("date", &date)], 0),
        (vec![("expires", &at(10)), ("date", "foo")], 10),
        (
            vec![("expires", &at(10)), ("date", &at(-10)), ("age", "25")],
            0,
        ),
        (
            vec![("expires", &at(20)), ("date", &at(10)), ("age", "15")],
            0,
        ),
        (
            vec![("cache-control", "max-age=3600"), ("date", &at(-7200))],
            0,
        ),
        (vec![("cache-control", "max-age=3600"), ("age", "7200")], 0),
        (
            vec![("cache-control", "max-age=3600"), ("age", "600")],
            3000,
        ),
        (vec![("cache-control", "max-age=3600"), ("age", "abc")], 0),
        (vec![("last-modified", &at(-1000)), ("date", &date)], 100),
        (vec![("last-modified", &at(-10_000_000))], 86_400),
        (vec![("last-modified", &at(1000))], 0),
    ] {
        assert_eq!(left(&list), expected, "{list:?}");
    }
}

#[test]
fn targeted_fields_replace_cache_control_rfc_9213() {
    for (list, expected) in [
        (vec![("cdn-cache-control", "max-age=3600")], 3600),
        (
            vec![
                ("cdn-cache-control", "max-age=3600"),
                ("cache-control", "max-age=1"),
            ],
            3600,
        ),
        (
            vec![
                ("cdn-cache-control", "max-age=1"),
                ("cache-control", "max-age=3600"),
            ],
            1,
        ),
        (
            vec![("cdn-cache-control", "max-age=0"), ("expires", &at(600))],
            0,
        ),
        (
            vec![
                ("cdn-cache-control", "max-age=60"),
                ("cache-control", "no-store"),
            ],
            60,
        ),
        (
            vec![("cdn-cache-control", "max-age=60"), ("expires", "0")],
            60,
        ),
        (
            vec![
                ("cdn-cache-control", "no-store"),
                ("cache-control", "max-age=60"),
            ],
            0,
        ),
        (
            vec![
                ("cdn-cache-control", "private"),
                ("cache-control", "max-age=60"),
            ],
            0,
        ),
        (
            vec![
                ("cdn-cache-control", "max-age =1"),
                ("cache-control", "max-age=60"),
            ],
            60,
        ),
        (
            vec![("cdn-cache-control", ""), ("cache-control", "max-age=60")],
            60,
        ),
        (
            vec![
                ("surrogate-control", "max-age=60;civicnet"),
                ("cache-control", "no-store"),
            ],
            60,
        ),
        (
            vec![
                ("surrogate-control", "max-age=60;x"),
                ("cache-control", "max-age=5"),
            ],
            5,
        ),
    ] {
        assert_eq!(left(&list), expected, "{list:?}");
    }
}

#[test]
fn statuses_with_a_guess_and_with_explicit_freshness() {
    let modified = at(-86_400);
    for status in 200..=599 {
        let guess = store(status, &[("last-modified", &modified)]).is_ok();
        let expected = is_heuristically_cacheable(status) && status != 206;
        assert_eq!(guess, expected, "{status}");
    }
    for status in [
        200, 203, 204, 299, 301, 302, 303, 307, 308, 400, 404, 410, 499, 500, 503, 599,
    ] {
        let kept = store(status, &[("cache-control", "max-age=5")]);
        assert!(kept.is_ok(), "{status}");
    }
    for status in [206, 304, 412, 416, 421, 428, 429, 431, 511] {
        let kept = store(status, &[("cache-control", "max-age=5")]);
        assert!(kept.is_err(), "{status}");
    }
    let public = [
        ("cache-control", "public"),
        ("last-modified", modified.as_str()),
    ];
    assert!(store(599, &public).is_ok());
    let understand = [("cache-control", "max-age=3600, must-understand")];
    assert_eq!(store(599, &understand), Err(Uncacheable::Status));
    let understand = [("cache-control", "max-age=3600, must-understand, no-store")];
    assert!(store(200, &understand).is_ok());
    assert_eq!(store(599, &understand), Err(Uncacheable::Status));
}

#[test]
fn restrictions_section_3() {
    for (list, reason) in [
        (
            vec![("cache-control", "private, max-age=5")],
            Uncacheable::Private,
        ),
        (
            vec![("cache-control", "max-age=5, No-StOrE")],
            Uncacheable::NoStore,
        ),
        (
            vec![("cache-control", "max-age=5"), ("vary", "*")],
            Uncacheable::Vary,
        ),
        (
            vec![("content-type", "text/plain")],
            Uncacheable::NoFreshness,
        ),
        (
            vec![("last-modified", &at(-1000)), ("set-cookie", "a=b")],
            Uncacheable::SetCookie,
        ),
    ] {
        assert_eq!(store(200, &list), Err(reason), "{list:?}");
    }
    let explicit = [("cache-control", "max-age=5"), ("set-cookie", "a=b")];
    assert_eq!(
        store(200, &explicit).expect("kept").field("set-cookie"),
        Some(&b"a=b"[..])
    );
}

#[test]
fn authorization_section_3_5() {
    let with = |control: &str| {
        store_for(
            &[("authorization", "FOO")],
            PathAction::Follow,
            &SiteSettings::default(),
            200,
            &[("cache-control", control)],
        )
    };
    assert_eq!(with("max-age=3600"), Err(Uncacheable::Authorization));
    for control in [
        "max-age=5, public",
        "max-age=5, must-revalidate",
        "s-maxage=5",
    ] {
        assert!(with(control).is_ok(), "{control}");
    }
}

#[test]
fn fields_that_are_not_kept_section_3_1() {
    let kept = store(
        200,
        &[
            ("connection", "a, b"),
            ("a", "1"),
            ("b", "2"),
            ("c", "3"),
            ("keep-alive", "x"),
            ("te", "x"),
            ("transfer-encoding", "x"),
            ("upgrade", "x"),
            ("proxy-authenticate", "x"),
            ("proxy-connection", "x"),
            ("proxy-authentication-info", "x"),
            ("content-length", "5"),
            ("age", "1"),
            ("cache-control", "max-age=60, no-cache=\"d\", private=\"e\""),
            ("d", "4"),
            ("e", "5"),
            ("content-range", "kept"),
            ("set-cookie", "k=1"),
            ("set-cookie", "k=2"),
        ],
    )
    .expect("kept");
    let names: Vec<&str> = kept.fields().map(|(name, _)| name).collect();
    assert_eq!(
        names,
        [
            "c",
            "cache-control",
            "content-range",
            "set-cookie",
            "set-cookie",
            "date"
        ]
    );
    assert!(kept.head.starts_with(b"HTTP/1.1 200 OK\r\nc: 3\r\n"));
    assert!(kept.head.ends_with(b"\r\n"));
    assert!(!kept.no_cache);
    let restored: ResponseMeta =
        postcard::from_bytes(&postcard::to_stdvec(&kept).expect("written")).expect("read");
    assert_eq!(restored, kept);
}

#[test]
fn only_get_and_a_post_that_names_itself() {
    let judge = |method: &str, list: &[(&str, &str)]| {
        let none = HeaderMap::new();
        let view = RequestView::new(method, &none);
        let settings = SiteSettings::default();
        let policy = SitePolicy {
            settings: &settings,
            action: PathAction::Follow,
        };
        may_store(&view, policy, 200, &headers(list), exchange()).map(|_| ())
    };
    let fresh = ("cache-control", "max-age=60");
    assert_eq!(judge("GET", &[fresh]), Ok(()));
    for method in ["HEAD", "PUT", "DELETE", "OPTIONS", "POST"] {
        assert_eq!(
            judge(method, &[fresh]),
            Err(Uncacheable::Method),
            "{method}"
        );
    }
    assert_eq!(judge("POST", &[fresh, ("content-location", "/p")]), Ok(()));
    assert_eq!(
        judge("POST", &[fresh, ("content-location", "http://a.tw/p")]),
        Ok(())
    );
    for (control, location) in [
        ("max-age=60", "/q"),
        ("max-age=60", "http://b.tw/p"),
        ("public", "/p"),
    ] {
        let list = [("cache-control", control), ("content-location", location)];
        assert_eq!(judge("POST", &list), Err(Uncacheable::Method));
    }
}

#[test]
fn the_owners_rules() {
    let settings = SiteSettings {
        negative_ttl_s: 7,
        ..SiteSettings::default()
    };
    let with = |action, status, list: &[(&str, &str)]| {
        store_for(&[], action, &settings, status, list).map(|meta| meta.ttl_s(NOW))
    };
    let (default, force) = (
        PathAction::DefaultTtl { seconds: 30 },
        PathAction::ForceTtl { seconds: 40 },
    );
    assert_eq!(with(PathAction::Follow, 503, &[]), Ok(7));
    assert_eq!(
        with(PathAction::Follow, 404, &[("cache-control", "max-age=99")]),
        Ok(99)
    );
    assert_eq!(
        with(PathAction::Follow, 403, &[]),
        Err(Uncacheable::NoFreshness)
    );
    assert_eq!(with(PathAction::Bypass, 200, &[]), Err(Uncacheable::Bypass));
    assert_eq!(with(default, 200, &[]), Ok(30));
    assert_eq!(with(default, 200, &[("cache-control", "max-age=1")]), Ok(1));
    for error in [404, 405, 410, 414, 501] {
        assert_eq!(with(default, error, &[]), Ok(7), "{error}");
    }
    assert_eq!(with(default, 302, &[]), Err(Uncacheable::NoFreshness));
    assert_eq!(
        with(force, 200, &[("cache-control", "max-age=1"), ("age", "30")]),
        Ok(40)
    );
    assert_eq!(
        with(force, 200, &[("cache-control", "no-store")]),
        Err(Uncacheable::NoStore)
    );
    assert_eq!(
        with(force, 200, &[("cache-control", "private")]),
        Err(Uncacheable::Private)
    );
    assert_eq!(
        with(force, 200, &[("set-cookie", "a=b")]),
        Err(Uncacheable::SetCookie)
    );
    let no_cache = store_for(&[], force, &settings, 200, &[("cache-control", "no-cache")]);
    assert!(!no_cache.expect("kept").no_cache);
}

#[test]
fn no_cache_is_kept_for_validation() {
    let meta = store(200, &[("cache-control", "no-cache"), ("etag", "\"abcd\"")]).expect("kept");
    assert!(meta.no_cache && meta.has_validator());
    assert_eq!(meta.strong_etag(), Some(&b"\"abcd\""[..]));
}

#[test]
fn parts_are_kept_when_they_are_as_long_as_they_say() {
    let with = |range: &str, length: &str| {
        let list = [
            ("cache-control", "max-age=60"),
            ("content-range", range),
            ("content-length", length),
        ];
        store(206, &list).map(|meta| meta.content_range.map(|part| part.len()))
    };
    assert_eq!(with("bytes 5-9/10", "5"), Ok(Some(5)));
    assert_eq!(with("bytes 5-9/*", "5"), Ok(Some(5)));
    for (range, length) in [
        ("bytes 4-9/10", "5"),
        ("bytes */10", "5"),
        ("lines 1-2/3", "5"),
    ] {
        assert_eq!(
            with(range, length),
            Err(Uncacheable::ContentRange),
            "{range}"
        );
    }
}
