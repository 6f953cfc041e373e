//! The store on both databases: versions, filters, cursors, the change feed.

use std::collections::HashSet;

use isac::objects::{
    Collection, Filter, Objects, Outcome, Prepared, Row, Source, VersionMatch, What, prepare,
};
use isac::stix::{Tlp, time};
use store::testing::both;

fn indicator(number: u32, modified: &str, tlp: Tlp) -> Prepared {
    let text = format!(
        r#"{{"type":"indicator","spec_version":"2.1","id":"indicator--00000000-0000-4000-8000-{number:012}",
        "created":"2026-01-01T00:00:00.000Z","modified":"{modified}","pattern":"[ipv4-addr:value = '198.51.100.7']",
        "pattern_type":"stix","valid_from":"2026-01-01T00:00:00Z","object_marking_refs":["{}"]}}"#,
        tlp.marking()
    );
    prepare::object(&text).expect("a good indicator")
}

fn address(number: u32, more: &str) -> Prepared {
    let text = format!(
        r#"{{"type":"ipv4-addr","id":"ipv4-addr--00000000-0000-5000-8000-{number:012}","value":"198.51.100.7"{more}}}"#
    );
    prepare::object(&text).expect("a good address")
}

const FIRST: &str = "2026-01-01T00:00:00.000Z";
const SECOND: &str = "2026-02-01T00:00:00.000Z";
const THIRD: &str = "2026-03-01T00:00:00.000Z";

async fn collection(objects: &Objects, title: &str) -> Collection {
    objects
        .create_collection(title, "", None, &[], &Source::house("test"))
        .await
        .expect("a collection")
}

async fn put(objects: &Objects, collection: &Collection, what: Vec<Prepared>) -> Vec<Outcome> {
    objects
        .put(collection, Source::house("test"), what, None)
        .await
        .expect("stored")
}

/// All pages of `limit` rows.
async fn pages(
    objects: &Objects,
    collection: &Collection,
    clearance: Tlp,
    filter: &Filter,
    limit: u32,
) -> Vec<Row> {
    let (mut rows, mut after) = (Vec::new(), i64::MIN);
    loop {
        let page = objects
            .page(collection, clearance, filter, after, limit, true)
            .await
            .expect("a page");
        assert!(page.rows.len() <= limit as usize);
        rows.extend(page.rows);
        match page.next {
            Some(next) => after = next,
            None => return rows,
        }
    }
}

fn filter(versions: &[VersionMatch]) -> Filter {
    Filter {
        versions: versions.to_vec(),
        ..Filter::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_markings_and_filters() {
    both(&[web::MIGRATIONS, isac::MIGRATIONS], async |db| {
        let objects = Objects::open(db.clone()).await.expect("a store");
        let here = collection(&objects, "here").await;
        let there = collection(&objects, "there").await;
        let outcomes = put(
            &objects,
            &here,
            vec![
                indicator(1, SECOND, Tlp::Clear),
                indicator(1, SECOND, Tlp::Clear),
                indicator(2, FIRST, Tlp::Red),
                address(3, ""),
            ],
        )
        .await;
        assert!(matches!(
            outcomes[..],
            [
                Outcome::Added(_),
                Outcome::Known,
                Outcome::Added(_),
                Outcome::Added(_)
            ]
        ));
        // An older and a newer version come later; the same version with other content stays out.
        put(&objects, &here, vec![indicator(1, FIRST, Tlp::Clear)]).await;
        put(&objects, &here, vec![indicator(1, THIRD, Tlp::Clear)]).await;
        assert_eq!(
            put(&objects, &here, vec![indicator(1, THIRD, Tlp::Green)]).await,
            [Outcome::Kept]
        );
        assert_eq!(
            put(&objects, &here, vec![address(3, "")]).await,
            [Outcome::Known]
        );
        assert!(matches!(
            put(&objects, &here, vec![address(3, r#","defanged":true"#)]).await[..],
            [Outcome::Added(_)]
        ));
        put(&objects, &there, vec![indicator(9, FIRST, Tlp::Clear)]).await;

        let of = async |filter: &Filter, clearance| {
            let rows = pages(&objects, &here, clearance, filter, 2).await;
            let names: Vec<String> = rows
                .iter()
                .map(|row| {
                    format!(
                        "{}@{}",
                        &row.id[row.id.len() - 1..],
                        &time::format(row.version)[..7]
                    )
                })
                .collect();
            names
        };
        let red = Tlp::Red;
        assert_eq!(of(&filter(&[]), red).await[..2], ["2@2026-01", "1@2026-03"]);
        assert_eq!(of(&filter(&[]), red).await.len(), 3);
        assert_eq!(of(&filter(&[]), Tlp::AmberStrict).await[0], "1@2026-03");
        assert_eq!(of(&filter(&[]), Tlp::AmberStrict).await.len(), 2);
        assert_eq!(of(&filter(&[VersionMatch::All]), red).await.len(), 6);
        let first = of(&filter(&[VersionMatch::First]), red).await;
        assert!(
            first.contains(&"1@2026-01".to_owned()) && !first.contains(&"1@2026-02".to_owned())
        );
        let at = VersionMatch::At(time::parse(SECOND).expect("a time"));
        assert_eq!(of(&filter(&[at]), red).await, ["1@2026-02"]);
        let two = of(&filter(&[at, VersionMatch::First]), Tlp::Clear).await;
        assert!(
            two[0] == "1@2026-02" && two.contains(&"1@2026-01".to_owned()),
            "{two:?}"
        );
        let only = |kinds: &[&str], ids: &[&str]| Filter {
            kinds: kinds.iter().map(|kind| (*kind).to_owned()).collect(),
            ids: ids.iter().map(|id| (*id).to_owned()).collect(),
            ..Filter::default()
        };
        assert_eq!(of(&only(&["ipv4-addr"], &[]), red).await.len(), 1);
        assert_eq!(
            of(&only(&["ipv4-addr", "indicator"], &[]), red).await.len(),
            3
        );
        assert!(of(&only(&["tool"], &[]), red).await.is_empty());
        let one = "indicator--00000000-0000-4000-8000-000000000001";
        assert_eq!(of(&only(&[], &[one]), red).await, ["1@2026-03"]);
        assert!(of(&only(&["ipv4-addr"], &[one]), red).await.is_empty());
        let last = objects.last_seq().await.expect("a number");
        let late = Filter {
            added_after: Some(last),
            ..Filter::default()
        };
        assert!(of(&late, red).await.is_empty());

        // Deletion: the version before is the latest again, and the feed tells.
        let gone = objects
            .delete(
                &here,
                red,
                one,
                &filter(&[VersionMatch::Last]),
                &Source::house("test"),
            )
            .await
            .expect("deleted");
        assert_eq!(gone, 1);
        assert_eq!(of(&only(&[], &[one]), red).await, ["1@2026-02"]);
        let gone = objects
            .delete(&here, red, one, &Filter::default(), &Source::house("test"))
            .await;
        assert_eq!(gone.expect("deleted"), 2);
        assert!(!objects.has(&here, red, one).await.expect("asked"));
        let changes = objects.changes(0, 100).await.expect("changes");
        let gone = changes
            .iter()
            .filter(|change| change.what == What::Gone)
            .count();
        // Of object 1, three versions were deleted: the feed tells it twice.
        assert_eq!((gone, changes.len()), (2, 4 + 2));
        assert!(changes.windows(2).all(|pair| pair[0].seq < pair[1].seq));
        let rest = objects.changes(changes[3].seq, 100).await.expect("changes");
        assert_eq!(rest, changes[4..]);
    })
    .await;
}

/// Ten readers page while four writers push: nobody misses an object or sees one twice.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_repeated_while_others_write() {
    const WRITERS: u32 = 4;
    const PUSHES: u32 = 25;
    const EACH: u32 = 40;
    both(&[web::MIGRATIONS, isac::MIGRATIONS], async |db| {
        let objects = Objects::open(db.clone()).await.expect("a store");
        let here = collection(&objects, "here").await;
        let mut tasks = Vec::new();
        for writer in 0..WRITERS {
            let (objects, here) = (objects.clone(), here.clone());
            tasks.push(tokio::spawn(async move {
                for push in 0..PUSHES {
                    let base = (writer * PUSHES + push) * EACH;
                    let all = (base..base + EACH)
                        .map(|number| indicator(number, FIRST, Tlp::Clear))
                        .collect();
                    put(&objects, &here, all).await;
                }
            }));
        }
        let total = (WRITERS * PUSHES * EACH) as usize;
        let mut readers = Vec::new();
        for reader in 0..10_u32 {
            let (objects, here) = (objects.clone(), here.clone());
            readers.push(tokio::spawn(async move {
                let mut grown = objects.subscribe();
                let (mut seen, mut after) = (HashSet::new(), i64::MIN);
                while seen.len() < total {
                    let page = objects
                        .page(
                            &here,
                            Tlp::Clear,
                            &Filter::default(),
                            after,
                            7 + reader * 13,
                            false,
                        )
                        .await
                        .expect("a page");
                    for row in &page.rows {
                        assert!(row.seq > after, "in order");
                        assert!(seen.insert(row.id.clone()), "{} came twice", row.id);
                    }
                    match page.rows.last() {
                        Some(row) => after = row.seq,
                        None => grown.changed().await.expect("the store lives"),
                    }
                }
            }));
        }
        let all = async {
            for task in tasks.into_iter().chain(readers) {
                task.await.expect("no panic");
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(120), all)
            .await
            .expect("in time");
        assert_eq!(
            pages(&objects, &here, Tlp::Clear, &Filter::default(), 1_000)
                .await
                .len(),
            total
        );
    })
    .await;
}
