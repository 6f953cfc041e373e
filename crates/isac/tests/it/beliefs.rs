//! What the house believes of patterns that several sources name, on both databases.

use base::UserId;
use isac::objects::collections::ROOT;
use isac::objects::{Collection, Filter, Objects, Source, prepare};
use isac::share::claims::ALIAS;
use isac::share::{NoMembers, Sharing};
use isac::stix::Tlp;
use serde_json::{Value, json};
use store::PageRequest;
use store::testing::{TestDb, both};

const DOMAINS: [store::Migrations; 2] = [isac::MIGRATIONS, isac::share::MIGRATIONS];

struct House {
    objects: Objects,
    sharing: Sharing,
    open: Collection,
}

async fn house(db: &TestDb) -> House {
    let objects = Objects::open((**db).clone()).await.expect("a store");
    let open = objects
        .create_collection("open", "", Some("open"), &[], &Source::house("test"))
        .await
        .expect("a collection");
    House {
        sharing: Sharing::new((**db).clone(), db.vault(), std::sync::Arc::new(NoMembers)),
        objects,
        open,
    }
}

fn now(db: &TestDb) -> String {
    let at = db.clock().now().micros();
    isac::stix::time::format(at - at.rem_euclid(1_000))
}

fn indicator(db: &TestDb, number: u32, author: u32, confidence: u8) -> Value {
    let at = now(db);
    json!({
        "type": "indicator", "spec_version": "2.1", "id": format!("indicator--00000000-0000-4000-8000-{number:012}"),
        "created_by_ref": format!("identity--00000000-0000-4000-8000-{author:012}"),
        "created": at, "modified": at, "valid_from": at, "pattern": "[ipv4-addr:value = '198.51.100.7']",
        "pattern_type": "stix", "confidence": confidence, "object_marking_refs": [Tlp::Green.marking()],
    })
}

fn opinion(db: &TestDb, number: u32, of: u32, what: &str) -> Value {
    let at = now(db);
    json!({
        "type": "opinion", "spec_version": "2.1", "id": format!("opinion--00000000-0000-4000-8000-{number:012}"),
        "created_by_ref": format!("identity--00000000-0000-4000-8000-{number:012}"), "created": at, "modified": at,
        "opinion": what, "object_refs": [format!("indicator--00000000-0000-4000-8000-{of:012}")],
    })
}

impl House {
    async fn put(&self, objects: &[Value]) {
        let made = objects
            .iter()
            .map(|object| prepare::object(&object.to_string()).expect("good"))
            .collect();
        let source = Source::person(UserId::generate(), None);
        self.objects
            .put(&self.open, source, made, None)
            .await
            .expect("stored");
        self.sharing.believe(&self.objects).await.expect("weighed");
    }

    /// What is published, the latest versions: confidence, sources, revoked.
    async fn published(&self) -> Vec<(i64, String, bool)> {
        let own = self
            .objects
            .collection(ROOT, ALIAS)
            .await
            .expect("the collection of beliefs");
        let page = self
            .objects
            .page(&own, Tlp::Red, &Filter::default(), i64::MIN, 100, true)
            .await
            .expect("a page");
        page.rows
            .iter()
            .map(|row| {
                let object: Value = serde_json::from_str(&row.json).expect("JSON");
                (
                    object["confidence"].as_i64().unwrap_or(-1),
                    object["labels"][0].as_str().unwrap_or_default().to_owned(),
                    object["revoked"] == true,
                )
            })
            .collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn several_sources_make_one_indicator_and_false_positives_unmake_it() {
    both(&DOMAINS, async |db| {
        let house = house(&db).await;
        house.put(&[indicator(&db, 1, 1, 60)]).await;
        assert_eq!(house.published().await, [], "one source speaks for itself");
        house.put(&[indicator(&db, 2, 2, 50)]).await;
        let two = (80, "civicnet-sources:2".to_owned(), false);
        assert_eq!(house.published().await, std::slice::from_ref(&two));
        // The same again, and a process that begins anew, change nothing.
        house.put(&[indicator(&db, 2, 2, 50)]).await;
        let again = Sharing::new(db.again().await, db.vault(), std::sync::Arc::new(NoMembers));
        again.believe(&house.objects).await.expect("weighed");
        assert_eq!(house.published().await, std::slice::from_ref(&two));
        let page = house
            .sharing
            .beliefs(&PageRequest::first(10))
            .await
            .expect("a page");
        assert_eq!(page.items.len(), 1);
        let (belief, claims, disputes) = house
            .sharing
            .believed(page.items[0].id)
            .await
            .expect("read")
            .expect("there");
        assert_eq!(
            (belief.confidence, claims.len(), disputes.len()),
            (80, 2, 0)
        );
        house.put(&[opinion(&db, 3, 1, "strongly-disagree")]).await;
        assert_eq!(house.published().await[0].0, 40);
        let more: Vec<Value> = (4..7)
            .map(|number| opinion(&db, number, 2, "strongly-disagree"))
            .collect();
        house.put(&more).await;
        assert_eq!(house.published().await[0], (5, two.1.clone(), true));
        // Who was wrong says so.
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        let mended: Vec<Value> = (3..7)
            .map(|number| opinion(&db, number, if number == 3 { 1 } else { 2 }, "neutral"))
            .collect();
        house.put(&mended).await;
        assert_eq!(house.published().await, [two]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_deleted_counts_no_more() {
    both(&DOMAINS, async |db| {
        let house = house(&db).await;
        house
            .put(&[indicator(&db, 1, 1, 60), indicator(&db, 2, 2, 50)])
            .await;
        assert_eq!(house.published().await.len(), 1);
        for number in 1..3 {
            let id = format!("indicator--00000000-0000-4000-8000-{number:012}");
            let filter = Filter::default();
            let by = Source::house("test");
            house
                .objects
                .delete(&house.open, Tlp::Red, &id, &filter, &by)
                .await
                .expect("deleted");
        }
        house
            .sharing
            .believe(&house.objects)
            .await
            .expect("weighed");
        let page = house
            .sharing
            .beliefs(&PageRequest::first(10))
            .await
            .expect("a page");
        assert!(page.items.is_empty());
    })
    .await;
}

/// Rules as data: tried, put in force with their version, refused, and taken back.
#[tokio::test(flavor = "multi_thread")]
async fn rules_are_tried_put_in_force_and_taken_back() {
    both(&DOMAINS, async |db| {
        let house = house(&db).await;
        house
            .put(&[indicator(&db, 1, 1, 60), indicator(&db, 2, 2, 50)])
            .await;
        let two = (80, "civicnet-sources:2".to_owned(), false);
        assert_eq!(house.published().await, std::slice::from_ref(&two));
        let by = isac::cert::By {
            user: UserId::generate(),
            request: None,
        };
        let (version, built_in) = house.sharing.decay().await.expect("rules");
        assert_eq!(version, 0);
        let mut strict = built_in.clone();
        for ageing in strict.kinds.values_mut() {
            ageing.floor = 90;
        }
        let trial = house.sharing.try_decay(&strict).await.expect("tried");
        assert_eq!((trial.looked_at, trial.fall, trial.rise), (1, 1, 0));
        assert_eq!(trial.examples[0].now, (80, true));
        assert_eq!(trial.examples[0].then, (80, false));
        house
            .sharing
            .believe(&house.objects)
            .await
            .expect("weighed");
        assert_eq!(
            house.published().await,
            std::slice::from_ref(&two),
            "tried only"
        );
        // What breaks rules, or was made from what is no longer in force, changes nothing.
        let mut wrong = strict.clone();
        wrong.false_positive_percent = 101;
        wrong.kinds.insert("No Kind".to_owned(), wrong.otherwise);
        let told = house.sharing.set_decay(&by, &wrong, 0, None).await;
        let Err(isac::share::ShareError::Policy(problems)) = told else {
            panic!("{told:?}");
        };
        let paths: Vec<&str> = problems.iter().map(|(path, _)| path.as_str()).collect();
        assert_eq!(paths, ["kinds.No Kind", "false_positive_percent"]);
        assert!(
            house
                .sharing
                .set_decay(&by, &strict, 7, None)
                .await
                .is_err()
        );
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        let made = house.sharing.set_decay(&by, &strict, 0, None).await;
        assert_eq!(made.expect("in force"), 1);
        house
            .sharing
            .believe(&house.objects)
            .await
            .expect("weighed");
        assert!(house.published().await[0].2, "no longer believed");
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        let back = house
            .sharing
            .decay_version(0)
            .await
            .expect("read")
            .expect("there");
        let made = house.sharing.set_decay(&by, &back, 1, Some(0)).await;
        assert_eq!(made.expect("in force"), 2);
        house
            .sharing
            .believe(&house.objects)
            .await
            .expect("weighed");
        assert_eq!(house.published().await, [two]);
        let versions = house.sharing.decay_versions().await.expect("versions");
        assert_eq!(
            versions
                .iter()
                .map(|one| (one.version, one.rules.version, one.back_to))
                .collect::<Vec<_>>(),
            [(2, 2, Some(0)), (1, 1, None)]
        );
        let audited: i64 =
            sqlx::query_scalar("SELECT count(*) FROM audit_entry WHERE action = 'share.decay'")
                .fetch_one(db.pool())
                .await
                .expect("the trail");
        assert_eq!(audited, 2);
    })
    .await;
}

/// Somebody who sees the house's word calls it a false positive: that counts, too.
#[tokio::test(flavor = "multi_thread")]
async fn an_opinion_on_the_houses_own_word_is_heard() {
    both(&DOMAINS, async |db| {
        let house = house(&db).await;
        house
            .put(&[indicator(&db, 1, 1, 60), indicator(&db, 2, 2, 50)])
            .await;
        let own = house
            .objects
            .collection(ROOT, ALIAS)
            .await
            .expect("the collection of beliefs");
        let page = house
            .objects
            .page(&own, Tlp::Red, &Filter::default(), i64::MIN, 10, false)
            .await
            .expect("a page");
        let mut told = opinion(&db, 3, 1, "strongly-disagree");
        told["object_refs"] = json!([page.rows[0].id]);
        let prepared = prepare::object(&told.to_string()).expect("good");
        let by = Source::person(UserId::generate(), None);
        house
            .objects
            .put(&own, by, vec![prepared], None)
            .await
            .expect("stored");
        house
            .sharing
            .believe(&house.objects)
            .await
            .expect("weighed");
        let indicators: Vec<i64> = house
            .published()
            .await
            .iter()
            .map(|one| one.0)
            .filter(|confidence| *confidence >= 0)
            .collect();
        assert_eq!(indicators, [40]);
    })
    .await;
}
