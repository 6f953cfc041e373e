//! What is fetched from another house counts as far as that house is believed, on both
//! databases: not as this house's own word, and of several that say the same, the most
//! trusted is heard.

use std::sync::Arc;
use std::time::Duration;

use base::{ManualClock, OrgId, Timestamp, UserId};
use isac::cert::By;
use isac::enforce::{Decided, Enforcements, State, Wanted};
use isac::objects::{Collection, Filter, Objects, Source, Via, prepare};
use isac::share::credit::PEER_TRUST_DEFAULT;
use isac::share::{NoMembers, ShareError, Sharing};
use isac::stix::Tlp;
use serde_json::{Value, json};
use store::testing::{TestDb, fresh_with_clock};
use store::{Backend, PageRequest};

use crate::enforcements::Nodes;

const DOMAINS: [store::Migrations; 4] = [
    web::MIGRATIONS,
    isac::MIGRATIONS,
    isac::share::MIGRATIONS,
    isac::enforce::MIGRATIONS,
];
const NATION: &str = "https://taxii.nation.example/civic/collections/1/";
/// An address whose number has its highest bit set is as good as another.
const OTHERS: [&str; 4] = [
    "https://a.example/civic/collections/1/",
    "https://b.example/civic/collections/1/",
    "https://c.example/civic/collections/1/",
    "https://d.example/civic/collections/1/",
];

struct House {
    db: TestDb,
    clock: Arc<ManualClock>,
    objects: Objects,
    sharing: Sharing,
    enforcements: Enforcements,
    here: Collection,
}

async fn house(backend: Backend) -> House {
    let clock = Arc::new(ManualClock::at(Timestamp::from_seconds(1_795_222_800)));
    let db = fresh_with_clock(backend, clock.clone(), &DOMAINS).await;
    let objects = Objects::open((*db).clone()).await.expect("a store");
    let here = objects
        .create_collection("here", "", Some("here"), &[], &Source::house("test"))
        .await
        .expect("a collection");
    let nodes = Arc::new(Nodes::default());
    let sharing = Sharing::new((*db).clone(), db.vault(), Arc::new(NoMembers));
    let enforcements = Enforcements::new((*db).clone(), nodes.clone(), nodes);
    enforcements.believe(Arc::new(sharing.clone()));
    House {
        clock,
        objects,
        sharing,
        enforcements,
        here,
        db,
    }
}

fn by() -> By {
    By {
        user: UserId::generate(),
        request: None,
    }
}

fn fetched(url: &str) -> Source {
    Source::fetched("taxii.poll", Via::of(url))
}

fn sent(org: OrgId) -> Source {
    Source::person(UserId::generate(), Some(org))
}

fn address(number: u32) -> String {
    format!("198.51.100.{number}")
}

impl House {
    /// Number, author and address of an indicator of confidence 100.
    fn indicator(&self, number: u32, author: u32, of: u32) -> Value {
        use base::Clock as _;
        let at = isac::stix::time::format(self.clock.now().micros());
        json!({
            "type": "indicator", "spec_version": "2.1", "id": format!("indicator--00000000-0000-4000-8000-{number:012}"),
            "created_by_ref": format!("identity--00000000-0000-4000-8000-{author:012}"),
            "created": at, "modified": at, "valid_from": at, "pattern": format!("[ipv4-addr:value = '{}']", address(of)),
            "pattern_type": "stix", "confidence": 100, "object_marking_refs": [Tlp::Green.marking()],
        })
    }

    async fn put(&self, source: Source, object: &Value) {
        let prepared = prepare::object(&object.to_string()).expect("good");
        self.objects
            .put(&self.here, source, vec![prepared], None)
            .await
            .expect("stored");
        // Both tasks look, until neither has more to do.
        for _ in 0..2 {
            self.clock.advance(Duration::from_millis(10));
            self.follow().await;
            self.sharing.believe(&self.objects).await.expect("weighed");
        }
        self.follow().await;
        self.clock.advance(Duration::from_millis(10));
    }

    async fn follow(&self) {
        self.enforcements
            .follow(&self.objects)
            .await
            .expect("followed");
    }

    /// What was decided on an address: state, confidence, source.
    async fn on(&self, of: u32) -> Vec<(State, u8, String)> {
        let page = self
            .enforcements
            .search(&Wanted::default(), &PageRequest::first(100))
            .await
            .expect("a page");
        let mut found: Vec<Decided> = page.items.into_iter().map(|(one, _)| one).collect();
        found.retain(|one| one.rule.target.to_string() == address(of));
        found.sort_by_key(|one| one.rule.id);
        found
            .into_iter()
            .map(|one| (one.state, one.confidence, one.source))
            .collect()
    }
}

async fn both(test: impl AsyncFn(House)) {
    for backend in [Backend::Sqlite, Backend::Postgres] {
        test(house(backend).await).await;
    }
}

fn states(found: &[(State, u8, String)]) -> Vec<(State, u8)> {
    found
        .iter()
        .map(|(state, confidence, _)| (*state, *confidence))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_fetched_is_believed_as_far_as_the_peer() {
    both(async |house| {
        // By half, until somebody says otherwise: a person decides.
        for (number, url) in (1..).zip(OTHERS) {
            house
                .put(fetched(url), &house.indicator(number, 1, number))
                .await;
            let half = (State::Proposed, PEER_TRUST_DEFAULT);
            assert_eq!(states(&house.on(number).await), [half], "{url}");
        }
        let credit = house.sharing.trust_in_peer(NATION).await.expect("read");
        assert_eq!((credit.trust, credit.made_at), (PEER_TRUST_DEFAULT, None));
        let told = house
            .sharing
            .set_trust_in_peer(&by(), "nation", NATION, 101)
            .await;
        assert!(matches!(told, Err(ShareError::Policy(_))), "{told:?}");
        for (number, trust, expected) in [
            (11, 90, vec![(State::Active, 90)]),
            (12, 20, Vec::new()),
            (13, 40, vec![(State::Proposed, 40)]),
        ] {
            house
                .sharing
                .set_trust_in_peer(&by(), "nation", NATION, trust)
                .await
                .expect("in force");
            house
                .put(fetched(NATION), &house.indicator(number, 1, number))
                .await;
            assert_eq!(states(&house.on(number).await), expected, "{trust}");
        }
        let credit = house.sharing.trust_in_peer(NATION).await.expect("read");
        assert_eq!(credit.trust, 40);
        assert!(credit.made_by.starts_with("user:"), "{credit:?}");
        // A slash at the end makes no other house of it.
        let same = NATION.trim_end_matches('/');
        let credit = house.sharing.trust_in_peer(same).await.expect("read");
        assert_eq!(credit.trust, 40);
        // The house's own word stands as it is.
        house
            .put(Source::house("test"), &house.indicator(20, 1, 20))
            .await;
        assert_eq!(states(&house.on(20).await), [(State::Active, 100)]);
        let audited: i64 =
            sqlx::query_scalar("SELECT count(*) FROM audit_entry WHERE action = 'share.trust'")
                .fetch_one(house.db.pool())
                .await
                .expect("the trail");
        assert_eq!(audited, 3);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_that_hold_an_object_the_most_trusted_is_heard() {
    both(async |house| {
        let member = OrgId::generate();
        // Fetched first, then sent: the same object, in the same collection.
        let first = house.indicator(1, 1, 1);
        house.put(fetched(NATION), &first).await;
        house.put(sent(member), &first).await;
        let found = house.on(1).await;
        assert_eq!(
            states(&found),
            [(State::Proposed, 50), (State::Active, 100)]
        );
        assert!(found[0].2.contains("@peer:"), "{found:?}");
        assert!(found[1].2.ends_with(&member.to_string()), "{found:?}");
        // Again, from either: nothing new.
        house.put(fetched(NATION), &first).await;
        house.put(sent(member), &first).await;
        assert_eq!(house.on(1).await, found);
        // The other way round.
        let second = house.indicator(2, 1, 2);
        house.put(sent(member), &second).await;
        house.put(fetched(NATION), &second).await;
        let found = house.on(2).await;
        assert_eq!(
            states(&found),
            [(State::Active, 100), (State::Proposed, 50)]
        );
        // What the house says itself needs nobody else's word.
        let third = house.indicator(3, 1, 3);
        house.put(Source::house("test"), &third).await;
        house.put(fetched(NATION), &third).await;
        assert_eq!(states(&house.on(3).await), [(State::Active, 100)]);
        // Whoever may delete it ends it for all, and nothing of it is left.
        let id = first["id"].as_str().expect("an id");
        house
            .objects
            .delete(
                &house.here,
                Tlp::Red,
                id,
                &Filter::default(),
                &Source::house("test"),
            )
            .await
            .expect("deleted");
        house.follow().await;
        assert!(house.on(1).await.iter().all(|one| one.0 != State::Active));
        let origins = house.objects.origins(&[id.to_owned()]).await;
        assert!(origins.expect("read").is_empty());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_under_two_names_does_not_become_the_houses_own_word() {
    both(async |house| {
        for number in 1..3 {
            let one = house.indicator(number, number, 1);
            house.put(fetched(NATION), &one).await;
        }
        let found = house.on(1).await;
        assert!(
            found.iter().any(|one| one.2.ends_with("@house")),
            "the house has a word on it: {found:?}"
        );
        assert!(
            found
                .iter()
                .all(|one| one.0 == State::Proposed && one.1 <= PEER_TRUST_DEFAULT),
            "{found:?}"
        );
        // Nor by an id that the house uses for something else.
        house
            .put(Source::house("test"), &house.indicator(7, 7, 9))
            .await;
        let elsewhere = house
            .objects
            .create_collection("elsewhere", "", None, &[], &Source::house("test"))
            .await
            .expect("a collection");
        let borrowed = prepare::object(&house.indicator(7, 8, 1).to_string()).expect("good");
        house
            .objects
            .put(&elsewhere, fetched(NATION), vec![borrowed], None)
            .await
            .expect("stored");
        house
            .sharing
            .believe(&house.objects)
            .await
            .expect("weighed");
        house.follow().await;
        let found = house.on(1).await;
        assert!(found.iter().all(|one| one.0 != State::Active), "{found:?}");
        // A member that is trusted says so, too.
        house
            .put(sent(OrgId::generate()), &house.indicator(3, 3, 1))
            .await;
        let found = house.on(1).await;
        assert!(found.iter().any(|one| one.0 == State::Active), "{found:?}");
    })
    .await;
}

/// What was enforced as the house's own word before peers had a trust of their own.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_enforced_in_the_houses_name_is_put_right_by_the_next_word() {
    both(async |house| {
        let word = house.indicator(1, 1, 1);
        house.put(fetched(NATION), &word).await;
        let id = word["id"].as_str().expect("an id");
        let mut tx = house.db.begin().await.expect("begun");
        sqlx::query("UPDATE enforce_rule SET source = $1, state = 'active'")
            .bind(format!("stix:{id}@house"))
            .execute(&mut *tx)
            .await
            .expect("as it was");
        tx.commit().await.expect("kept");
        house.clock.advance(Duration::from_secs(1));
        house.put(fetched(NATION), &house.indicator(1, 1, 1)).await;
        let found = house.on(1).await;
        assert_eq!(
            states(&found),
            [(State::Lifted, 50), (State::Proposed, 50)],
            "{found:?}"
        );
    })
    .await;
}
