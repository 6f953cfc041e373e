//! Search on both databases: words of both languages, values, markings, collections,
//! pages, relations.

use std::collections::HashSet;

use isac::objects::search::{Hit, Query, See};
use isac::objects::{Collection, Objects, Prepared, Source, prepare};
use isac::stix::Tlp;
use serde_json::{Value, json};
use store::testing::both;

const AT: &str = "2026-01-01T00:00:00.000Z";

fn id(kind: &str, number: u32) -> String {
    format!("{kind}--00000000-0000-4000-8000-{number:012}")
}

fn prepared(mut object: Value, kind: &str, number: u32, tlp: Tlp) -> Prepared {
    object["type"] = kind.into();
    object["id"] = id(kind, number).into();
    object["spec_version"] = "2.1".into();
    object["created"] = AT.into();
    if object["modified"].is_null() {
        object["modified"] = AT.into();
    }
    object["object_marking_refs"] = json!([tlp.marking()]);
    prepare::object(&object.to_string()).expect("a good object")
}

fn indicator(number: u32, name: &str, pattern: &str, tlp: Tlp) -> Prepared {
    let object = json!({
        "name": name, "pattern": pattern, "pattern_type": "stix", "valid_from": AT, "confidence": number % 101,
    });
    prepared(object, "indicator", number, tlp)
}

async fn collection(objects: &Objects, title: &str) -> Collection {
    objects
        .create_collection(title, "", None, &[], &Source::house("test"))
        .await
        .expect("a collection")
}

async fn put(objects: &Objects, collection: &Collection, what: Vec<Prepared>) {
    objects
        .put(collection, Source::house("test"), what, None)
        .await
        .expect("stored");
}

fn see(collection: &Collection, clearance: Tlp) -> See {
    See {
        collection: collection.clone(),
        clearance,
        glass: None,
    }
}

async fn all(objects: &Objects, see: &[See], query: &Query, limit: usize) -> Vec<Hit> {
    let (mut hits, mut before) = (Vec::new(), None);
    loop {
        let page = objects
            .find(see, query, before, limit)
            .await
            .expect("a page");
        assert!(page.hits.len() <= limit);
        hits.extend(page.hits);
        match page.next {
            Some(next) => before = Some(next),
            None => return hits,
        }
    }
}

fn text(text: &str) -> Query {
    Query {
        text: text.to_owned(),
        ..Query::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn words_values_markings_and_collections() {
    both(&[web::MIGRATIONS, isac::MIGRATIONS], async |db| {
        let objects = Objects::open(db.clone()).await.expect("a store");
        let here = collection(&objects, "here").await;
        let there = collection(&objects, "there").await;
        put(
            &objects,
            &here,
            vec![
                indicator(1, "釣魚網站中繼站", "[domain-name:value = 'www.evil.example']", Tlp::Clear),
                indicator(2, "魚釣站網 other", "[ipv4-addr:value = '198.51.100.7']", Tlp::Green),
                indicator(90, "APT29 beacon", "[ipv4-addr:value = '198.51.100.0/24']", Tlp::Red),
                prepared(json!({"name": "Cobalt", "is_family": false, "description": "釣魚 payload"}), "malware", 5, Tlp::Clear),
            ],
        )
        .await;
        put(&objects, &there, vec![indicator(7, "釣魚網站二", "[url:value = 'http://a.example/x']", Tlp::Clear)]).await;
        assert_eq!(objects.index().await.expect("indexed"), 5);
        assert_eq!(objects.index().await.expect("indexed"), 0);
        let red = [see(&here, Tlp::Red)];
        let ids = async |see: &[See], query: &Query| {
            let found: Vec<String> = all(&objects, see, query, 2)
                .await
                .into_iter()
                .map(|hit| hit.id.trim_start_matches("indicator--").trim_start_matches("malware--")[34..].to_owned())
                .collect();
            found
        };
        assert_eq!(ids(&red, &text("釣魚")).await, ["05", "01"]);
        assert_eq!(ids(&red, &text("釣魚網站")).await, ["01"], "neighbours, in this order");
        assert_eq!(ids(&red, &text("釣")).await, ["02", "01"], "one Han: in names");
        assert_eq!(ids(&red, &text("ａｐｔ29")).await, ["90"]);
        assert_eq!(ids(&red, &text("釣魚 PAYLOAD")).await, ["05"]);
        assert_eq!(ids(&red, &text("198.51.100.7")).await, ["90", "02"], "and what covers it");
        assert_eq!(ids(&red, &text("evil.example")).await, ["01"], "names below");
        assert_eq!(ids(&red, &text(&id("malware", 5))).await, ["05"]);
        assert!(ids(&red, &text("nowhere")).await.is_empty());
        // Marking and collection.
        let green = [see(&here, Tlp::Green)];
        assert_eq!(ids(&green, &text("198.51.100.7")).await, ["02"]);
        assert!(ids(&green, &text("apt29")).await.is_empty());
        assert!(ids(&[see(&there, Tlp::Red)], &text("中繼站")).await.is_empty());
        assert!(ids(&[], &text("釣魚")).await.is_empty());
        let both_of_them = [see(&here, Tlp::Red), see(&there, Tlp::Red)];
        assert_eq!(ids(&both_of_them, &text("釣魚網站")).await, ["07", "01"]);
        // Facets.
        let some = |query: Query| query;
        let by = some(Query { kinds: vec!["malware".into()], ..Query::default() });
        assert_eq!(ids(&red, &by).await, ["05"]);
        let by = some(Query { confidence: Some(80), ..Query::default() });
        assert_eq!(ids(&red, &by).await, ["90"]);
        let by = some(Query { value: Some("domain".into()), ..Query::default() });
        assert_eq!(ids(&red, &by).await, ["01"]);
        let by = some(Query { tlp: Some(Tlp::Green), ..Query::default() });
        assert_eq!(ids(&red, &by).await, ["02"]);
        let by = some(Query { source: Some(Some(base::OrgId::generate())), ..Query::default() });
        assert!(ids(&red, &by).await.is_empty());
        let by = some(Query { source: Some(None), text: "魚釣".into(), ..Query::default() });
        assert_eq!(ids(&red, &by).await, ["02"]);
        assert_eq!(ids(&red, &Query::default()).await.len(), 4);
        // A newer version replaces what is found; what is deleted is not found.
        let newer = json!({
            "name": "改名", "pattern": "[url:value = 'http://b.example/']", "pattern_type": "stix", "valid_from": AT,
            "modified": "2026-02-01T00:00:00.000Z",
        });
        put(&objects, &here, vec![prepared(newer, "indicator", 1, Tlp::Clear)]).await;
        objects.index().await.expect("indexed");
        assert_eq!(ids(&red, &text("釣魚")).await, ["05"]);
        assert_eq!(ids(&red, &text("改名")).await, ["01"]);
        let versions = objects.versions_of(&red, &id("indicator", 1)).await.expect("versions");
        assert_eq!(versions.iter().map(|hit| hit.latest).collect::<Vec<_>>(), [true, false]);
        assert!(objects.versions_of(&[see(&there, Tlp::Red)], &id("indicator", 1)).await.expect("versions").is_empty());
        assert!(objects.versions_of(&green, &id("indicator", 90)).await.expect("versions").is_empty());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_lose_and_repeat_nothing() {
    const COUNT: u32 = 1_200;
    both(&[web::MIGRATIONS, isac::MIGRATIONS], async |db| {
        let objects = Objects::open(db.clone()).await.expect("a store");
        let here = collection(&objects, "here").await;
        for base in (0..COUNT).step_by(100) {
            let some = (base..base + 100).map(|number| {
                let kind = if number % 3 == 0 {
                    "odd 垃圾郵件"
                } else {
                    "even"
                };
                indicator(
                    number,
                    kind,
                    "[ipv4-addr:value = '198.51.100.7']",
                    Tlp::ALL[number as usize % 5],
                )
            });
            put(&objects, &here, some.collect()).await;
            if base % 300 == 0 {
                // Lists filled in several goes, by several processes.
                objects.index().await.expect("indexed");
            }
        }
        objects.index().await.expect("indexed");
        for (query, clearance, expected) in [
            (text("垃圾郵件"), Tlp::Red, 400),
            (text("垃圾郵件"), Tlp::Clear, 80),
            (text("even 198.51.100.7"), Tlp::Red, 800),
            (Query::default(), Tlp::Green, 480),
        ] {
            for limit in [7, 50, 1_000] {
                let hits = all(&objects, &[see(&here, clearance)], &query, limit).await;
                let distinct: HashSet<&String> = hits.iter().map(|hit| &hit.id).collect();
                assert_eq!(
                    (hits.len(), distinct.len()),
                    (expected, expected),
                    "{query:?} {limit}"
                );
                assert!(
                    hits.windows(2).all(|pair| pair[0].seq > pair[1].seq),
                    "newest first"
                );
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn relations_go_both_ways_and_no_further_than_one_may_see() {
    both(&[web::MIGRATIONS, isac::MIGRATIONS], async |db| {
        let objects = Objects::open(db.clone()).await.expect("a store");
        let here = collection(&objects, "here").await;
        let secret = collection(&objects, "secret").await;
        let relation = |number, from: &str, to: &str, kind: &str| {
            prepared(
                json!({"relationship_type": kind, "source_ref": from, "target_ref": to}),
                "relationship",
                number,
                Tlp::Clear,
            )
        };
        let (bad, actor, hidden) = (id("malware", 2), id("threat-actor", 3), id("campaign", 4));
        put(
            &objects,
            &here,
            vec![
                indicator(1, "C2", "[ipv4-addr:value = '198.51.100.7']", Tlp::Clear),
                prepared(
                    json!({"name": "Cobalt", "is_family": true}),
                    "malware",
                    2,
                    Tlp::Clear,
                ),
                prepared(json!({"name": "某組織"}), "threat-actor", 3, Tlp::Clear),
                relation(10, &id("indicator", 1), &bad, "indicates"),
                relation(11, &actor, &bad, "uses"),
                prepared(
                    json!({"sighting_of_ref": id("indicator", 1), "count": 3}),
                    "sighting",
                    20,
                    Tlp::Clear,
                ),
            ],
        )
        .await;
        put(
            &objects,
            &secret,
            vec![
                prepared(json!({"name": "hidden"}), "campaign", 4, Tlp::Clear),
                relation(12, &hidden, &bad, "uses"),
            ],
        )
        .await;
        objects.index().await.expect("indexed");
        let mine = [see(&here, Tlp::Red)];
        let hit = objects
            .versions_of(&mine, &bad)
            .await
            .expect("there")
            .remove(0);
        let (edges, more) = objects.relations(&mine, &hit).await.expect("relations");
        assert!(!more);
        let mut labels: Vec<&str> = edges.iter().map(|edge| edge.label.as_str()).collect();
        labels.sort_unstable();
        assert_eq!(labels, ["indicates", "uses"], "the secret one is not there");
        let root = objects
            .versions_of(&mine, &id("indicator", 1))
            .await
            .expect("there")
            .remove(0);
        let graph = objects.graph(&mine, &root).await.expect("a graph");
        assert_eq!(
            graph.nodes.len(),
            4,
            "itself, the sighting, the malware, and the actor one step on"
        );
        assert!(!graph.nodes.contains_key(&hidden));
        let svg = graph.svg("x", str::to_owned, |id| format!("/intelligence/{id}"));
        assert!(svg.as_str().contains("某組織") && svg.as_str().contains(&bad));
        let whole = [see(&here, Tlp::Red), see(&secret, Tlp::Red)];
        let (edges, _) = objects.relations(&whole, &hit).await.expect("relations");
        assert_eq!(edges.len(), 3);
    })
    .await;
}

/// Words of which some are in every row and some in few, in pushes of all sizes, each indexed
/// by a process that remembers nothing: what is merged, dealt out and moved is still found.
#[tokio::test]
async fn lists_stay_whole_however_they_grow() {
    const ROWS: u32 = 4_000;
    both(&[isac::MIGRATIONS], async |db| {
        let objects = Objects::open(db.clone()).await.expect("opened");
        let here = collection(&objects, "grown").await;
        let words = |number: u32| {
            let every = [1, 2, 7, 30, 90, 700];
            let there = every.into_iter().filter(|every| number.is_multiple_of(*every));
            there.map(|every| format!("every{every}x")).collect::<Vec<_>>()
        };
        let mut next = 0;
        for turn in 0_u32.. {
            let size = [1, 3, 60, 7, 25][turn as usize % 5].min(ROWS - next);
            let some = (next..next + size).map(|number| {
                let name = format!("{} only{number}y", words(number).join(" "));
                indicator(number, &name, "[file:size = 1]", Tlp::Clear)
            });
            put(&objects, &here, some.collect()).await;
            objects.index().await.expect("indexed");
            next += size;
            if next == ROWS {
                break;
            }
        }
        let (in_runs, in_blocks): (i64, i64) = sqlx::query_as(
            "SELECT (SELECT COUNT(DISTINCT node) FROM isac_rare), (SELECT COUNT(DISTINCT term) FROM isac_posting)",
        )
        .fetch_one(db.pool())
        .await
        .expect("counted");
        assert!(in_runs > 30, "dealt out to children: {in_runs}");
        assert!(in_blocks > 5, "moved to blocks of their own: {in_blocks}");
        let mine = [see(&here, Tlp::Red)];
        for every in [1, 2, 7, 30, 90, 700] {
            let hits = all(&objects, &mine, &text(&format!("every{every}x")), 500).await;
            let numbers: Vec<String> = hits.into_iter().map(|hit| hit.id).collect();
            let expected: Vec<String> = (0..ROWS)
                .rev()
                .filter(|number| number % every == 0)
                .map(|number| id("indicator", number))
                .collect();
            assert_eq!(numbers, expected, "every {every}");
        }
        for number in (0..ROWS).step_by(97) {
            let hits = all(&objects, &mine, &text(&format!("only{number}y every1x")), 10).await;
            assert_eq!(hits.len(), 1, "only {number}");
            assert_eq!(hits[0].id, id("indicator", number));
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_earlier_release_indexed_is_read_again_from_where_it_stopped() {
    both(&[web::MIGRATIONS, isac::MIGRATIONS], async |db| {
        let objects = Objects::open(db.clone()).await.expect("a store");
        let here = collection(&objects, "here").await;
        let see = [see(&here, Tlp::Red)];
        // A thousand and a half of them, so that it takes pages; some say what the first release
        // did not read.
        let pattern = |n: u32| match n % 100 {
            0 => format!(
                "[ipv4-addr:value = '198.51.100.{}' OR file:name = 'x']",
                n / 100
            ),
            1 => format!("[domain-name:value = '惡意{n}.example']"),
            _ => format!("[domain-name:value = 'a{n}.example']"),
        };
        let some = (0..1_500).map(|n| indicator(n, "x", &pattern(n), Tlp::Clear));
        put(&objects, &here, some.collect()).await;
        assert_eq!(objects.index().await.expect("indexed"), 1_500);
        assert_eq!(
            objects.indexed_again().await.expect("asked"),
            None,
            "a new store"
        );
        let count = async |q: &str| all(&objects, &see, &text(q), 50).await.len();
        let run = async |sql: &str| {
            let mut tx = db.begin().await.expect("begun");
            sqlx::query(sqlx::AssertSqlSafe(sql.to_owned()))
                .execute(&mut *tx)
                .await
                .expect("done");
            tx.commit().await.expect("committed");
        };
        let blocks = async || -> i64 {
            sqlx::query_scalar("SELECT COUNT(*) FROM isac_posting")
                .fetch_one(db.pool())
                .await
                .expect("counted")
        };
        assert_eq!(count("198.51.100.7").await, 1);
        // As the first release left it: without a version, and without what it did not read.
        run("DELETE FROM isac_posting").await;
        run("DELETE FROM isac_rare").await;
        run("DELETE FROM isac_mark WHERE name = 'extraction'").await;
        assert_eq!(count("198.51.100.7").await, 0);
        let again = objects.indexed_again().await.expect("asked").expect("due");
        assert_eq!((again.walked, again.of), (0, 1_500));
        assert!(
            objects.index_older(1).await.expect("a page"),
            "there is more"
        );
        let again = objects.indexed_again().await.expect("asked").expect("due");
        assert_eq!((again.walked, again.of), (1_000, 1_500));
        assert_eq!(
            (count("198.51.100.7").await, count("198.51.100.12").await),
            (1, 0)
        );
        // Another process goes on, and what comes in between is found, too.
        let other = Objects::open(db.clone()).await.expect("a store");
        put(
            &other,
            &here,
            vec![indicator(
                9_000,
                "x",
                "[ipv4-addr:value = '198.51.100.12']",
                Tlp::Clear,
            )],
        )
        .await;
        assert_eq!(other.index().await.expect("indexed"), 1);
        assert_eq!(other.indexed_again().await.expect("asked"), None);
        assert_eq!(count("198.51.100.12").await, 2);
        for n in [0, 3, 7, 14] {
            assert_eq!(count(&format!("198.51.100.{n}")).await, 1, "{n}");
        }
        for (kind, wanted) in [("address", 16), ("domain", 15)] {
            let facet = Query {
                value: Some(kind.to_owned()),
                ..Query::default()
            };
            assert_eq!(all(&objects, &see, &facet, 7).await.len(), wanted, "{kind}");
        }
        // Once more changes nothing.
        let before = blocks().await;
        run("DELETE FROM isac_mark WHERE name LIKE 'again%' OR name = 'extraction'").await;
        assert_eq!(objects.index().await.expect("indexed"), 0);
        assert_eq!(blocks().await, before);
    })
    .await;
}
