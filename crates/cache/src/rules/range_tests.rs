//! RFC 9110 section 14, RFC 9111 section 3.4.

use super::*;
use proptest::prelude::*;

fn partial(range: &str, complete: u64) -> Vec<(u64, u64)> {
    match select(range.as_bytes(), complete) {
        RangeAnswer::Partial(ranges) => ranges
            .iter()
            .map(|range| (range.first, range.last))
            .collect(),
        other => panic!("{range}: {other:?}"),
    }
}

#[test]
fn ranges_of_a_complete_representation() {
    assert_eq!(partial("bytes=0-1", 11), [(0, 1)]);
    assert_eq!(partial("bytes=1-", 11), [(1, 10)]);
    assert_eq!(partial("bytes=-1", 11), [(10, 10)]);
    assert_eq!(partial("bytes=-100", 11), [(0, 10)]);
    assert_eq!(partial("BYTES=5-100", 11), [(5, 10)]);
    assert_eq!(partial("bytes=0-0, ,-1", 11), [(0, 0), (10, 10)]);
    assert_eq!(partial("bytes=0-5,3-8", 11), [(0, 8)]);
    assert_eq!(partial("bytes=99-,0-1", 11), [(0, 1)]);
}

#[test]
fn what_cannot_be_satisfied_and_what_is_ignored() {
    for range in ["bytes=11-", "bytes=-0", "bytes=20-30"] {
        assert_eq!(
            select(range.as_bytes(), 11),
            RangeAnswer::Unsatisfiable,
            "{range}"
        );
    }
    assert_eq!(select(b"bytes=0-", 0), RangeAnswer::Unsatisfiable);
    for range in [
        "",
        "bytes",
        "bytes=",
        "bytes=a-b",
        "bytes=5-1",
        "bytes=--1",
        "bytes=1",
        "items=0-1",
        "bytes=+1-2",
        "bytes=99999999999999999999-",
        "bytes 0-1",
    ] {
        assert_eq!(select(range.as_bytes(), 11), RangeAnswer::Full, "{range}");
    }
    let many = format!(
        "bytes={}",
        (0..=RANGES_MAX)
            .map(|at| format!("{0}-{0}", at * 3))
            .collect::<Vec<_>>()
            .join(",")
    );
    assert_eq!(select(many.as_bytes(), 1000), RangeAnswer::Full);
}

#[test]
fn content_ranges() {
    let parse = |text: &str| ContentRange::parse(text.as_bytes());
    assert_eq!(
        parse("bytes 4-9/10"),
        Some(ContentRange {
            first: 4,
            last: 9,
            complete: Some(10)
        })
    );
    assert_eq!(
        parse("bytes 4-9/*"),
        Some(ContentRange {
            first: 4,
            last: 9,
            complete: None
        })
    );
    for bad in [
        "bytes 9-4/10",
        "bytes 4-10/10",
        "bytes */10",
        "bytes=4-9/10",
        "x 4-9/10",
        "bytes 4-9",
    ] {
        assert_eq!(parse(bad), None, "{bad}");
    }
}

proptest! {
    #[test]
    fn every_answer_lies_within_and_in_no_octet_twice(
        range in "bytes=[0-9,-]{1,40}", complete in 0u64..200,
    ) {
        if let RangeAnswer::Partial(ranges) = select(range.as_bytes(), complete) {
            prop_assert!(!ranges.is_empty());
            for range in &ranges {
                prop_assert!(range.first <= range.last && range.last < complete);
            }
        }
    }

    #[test]
    fn any_octets_are_a_range_or_none(octets: Vec<u8>, complete: u64) {
        select(&octets, complete);
        ContentRange::parse(&octets);
    }
}
