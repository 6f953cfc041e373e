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

use crate::enforcements::{Nodes, trusting};

const DOMAINS: [store::Migrations; 4] = [
    web::MIGRATIONS,
    isac::MIGRATIONS,
    isac::share::MIGRATIONS,
    isac::enforce::MIGRATIONS,
];
pub(crate) const NATION: &str = "https://taxii.nation.example/civic/collections/1/";
/// An address whose number has its highest bit set is as good as another.
const OTHERS: [&str; 4] = [
    "https://a.example/civic/collections/1/",
    "https://b.example/civic/collections/1/",
    "https://c.example/civic/collections/1/",
    "https://d.example/civic/collections/1/",
];

pub(crate) struct House {
    pub(crate) db: TestDb,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) objects: Objects,
    pub(crate) sharing: Sharing,
    pub(crate) enforcements: Enforcements,
    pub(crate) here: Collection,
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
    trusting(&enforcements).await;
    House {
        clock,
        objects,
        sharing,
        enforcements,
        here,
        db,
    }
}

pub(crate) fn by() -> By {
    By {
        user: UserId::generate(),
        request: None,
    }
}

pub(crate) fn fetched(url: &str) -> Source {
    Source::fetched("taxii.poll", Via::of(url))
}

pub(crate) fn sent(org: OrgId) -> Source {
    Source::person(UserId::generate(), Some(org))
}

fn address(number: u32) -> String {
    format!("198.51.100.{number}")
}

impl House {
    /// Number, author and address of an indicator of confidence 100.
    pub(crate) fn indicator(&self, number: u32, author: u32, of: u32) -> Value {
        use base::Clock as _;
        let at = isac::stix::time::format(self.clock.now().micros());
        json!({
            "type": "indicator", "spec_version": "2.1", "id": format!("indicator--00000000-0000-4000-8000-{number:012}"),
            "created_by_ref": format!("identity--00000000-0000-4000-8000-{author:012}"),
            "created": at, "modified": at, "valid_from": at, "pattern": format!("[ipv4-addr:value = '{}']", address(of)),
            "pattern_type": "stix", "confidence": 100, "object_marking_refs": [Tlp::Green.marking()],
        })
    }

    pub(crate) async fn put(&self, source: Source, object: &Value) {
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

    pub(crate) async fn follow(&self) {
        self.enforcements
            .follow(&self.objects)
            .await
            .expect("followed");
    }

    /// What is said of that object since, by a newer version.
    pub(crate) fn newer(&self, of: &Value, more: Value) -> Value {
        use base::Clock as _;
        let mut object = of.clone();
        object["modified"] = isac::stix::time::format(self.clock.now().micros()).into();
        for (name, value) in more.as_object().into_iter().flatten() {
            object[name] = value.clone();
        }
        object
    }

    /// What is believed of the only pattern: confidence, whether it stands, and its claims by
    /// sender, as revoked or not.
    async fn believed(&self) -> (u8, bool, Vec<(String, bool)>) {
        let (id,): (i64,) = sqlx::query_as("SELECT id FROM share_belief")
            .fetch_one(self.db.pool())
            .await
            .expect("one belief");
        let found = self.sharing.believed(id).await.expect("read");
        let (belief, claims, _) = found.expect("there");
        let claims = claims.into_iter().map(|one| (one.sender, one.revoked));
        (belief.confidence, belief.stands, claims.collect())
    }

    /// What was decided on an address: state, confidence, source.
    pub(crate) async fn on(&self, of: u32) -> Vec<(State, u8, String)> {
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

pub(crate) async fn both(test: impl AsyncFn(House)) {
    for backend in [Backend::Sqlite, Backend::Postgres] {
        test(house(backend).await).await;
    }
}

pub(crate) fn states(found: &[(State, u8, String)]) -> Vec<(State, u8)> {
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
        // Each takes back its own, and nobody another's.
        let third = house.indicator(4, 1, 4);
        house.put(fetched(NATION), &third).await;
        house.put(sent(member), &third).await;
        let revoked = house.newer(&third, json!({"revoked": true}));
        house.put(fetched(NATION), &revoked).await;
        let found = house.on(4).await;
        assert_eq!(
            states(&found),
            [(State::Rejected, 50), (State::Active, 100)],
            "{found:?}"
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
        let senders = house.objects.senders(&[id.to_owned()]).await;
        assert!(senders.expect("read").of(id).is_empty());
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

/// Whose word an object is: a member's, another member's, a peer's, the house's.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_takes_back_what_another_said() {
    both(async |house| {
        let (one, other) = (OrgId::generate(), OrgId::generate());
        let word = house.indicator(1, 1, 1);
        house.put(sent(one), &word).await;
        let active = [(State::Active, 100)];
        assert_eq!(states(&house.on(1).await), active);
        // Under its id and author, newer: taken back, doubted, called good, about another
        // thing, later; by a member, and by a peer that is believed as much as can be.
        let by_all = By {
            user: UserId::generate(),
            request: None,
        };
        house
            .sharing
            .set_trust_in_peer(&by_all, "nation", NATION, 100)
            .await
            .expect("in force");
        for more in [
            json!({"confidence": 1}),
            json!({"indicator_types": ["benign"]}),
            json!({"pattern": "[ipv4-addr:value = '198.51.100.250']", "confidence": 1}),
            json!({"valid_from": "2030-01-01T00:00:00.000Z"}),
            json!({"revoked": true}),
        ] {
            for source in [sent(other), fetched(NATION)] {
                let newer = house.newer(&word, more.clone());
                house.put(source, &newer).await;
                let found = house.on(1).await;
                let of_one = found.iter().filter(|row| row.2.ends_with(&one.to_string()));
                let of_one: Vec<_> = of_one.cloned().collect();
                assert_eq!(states(&of_one), active, "{more}: {found:?}");
            }
        }
        let id = word["id"].as_str().expect("an id");
        let claims: Vec<(String, i64)> = sqlx::query_as(
            "SELECT sender, revoked FROM share_claim WHERE object = $1 ORDER BY revoked",
        )
        .bind(id)
        .fetch_all(house.db.pool())
        .await
        .expect("claims");
        assert_eq!(claims.len(), 3, "{claims:?}");
        assert_eq!(claims[0], (one.to_string(), 0));
        assert!(claims[1..].iter().all(|claim| claim.1 == 1), "{claims:?}");
        // Its own does.
        let newer = house.newer(&word, json!({"revoked": true}));
        house.put(sent(one), &newer).await;
        let found = house.on(1).await;
        assert!(found.iter().all(|row| row.0 != State::Active), "{found:?}");
    })
    .await;
}

/// The same word of one author that comes by several ways is one, for as long as anybody
/// brings it.
#[tokio::test(flavor = "multi_thread")]
async fn relays_are_no_witnesses_and_each_stands_for_itself() {
    both(async |house| {
        let word = house.newer(&house.indicator(1, 1, 1), json!({"confidence": 60}));
        for url in OTHERS {
            house.put(fetched(url), &word).await;
        }
        let (confidence, stands, claims) = house.believed().await;
        assert_eq!((confidence, stands, claims.len()), (60, true, 4));
        let revoked = house.newer(&word, json!({"revoked": true}));
        for (count, url) in (1..).zip(OTHERS) {
            house.put(fetched(url), &revoked).await;
            let (_, stands, claims) = house.believed().await;
            let gone = claims.iter().filter(|claim| claim.1).count();
            assert_eq!((gone, stands), (count, count < 4), "{claims:?}");
        }
    })
    .await;
}

/// An operator's version replaces what others said before it.
#[tokio::test(flavor = "multi_thread")]
async fn the_houses_own_version_replaces_what_others_said_until_they_say_so_anew() {
    both(async |house| {
        let member = OrgId::generate();
        let word = house.indicator(1, 1, 1);
        house.put(sent(member), &word).await;
        house.put(fetched(NATION), &word).await;
        assert_eq!(
            states(&house.on(1).await),
            [(State::Active, 100), (State::Proposed, 50)]
        );
        let revoked = house.newer(&word, json!({"revoked": true}));
        house
            .put(Source::person(UserId::generate(), None), &revoked)
            .await;
        let ended = [(State::Lifted, 100), (State::Rejected, 50)];
        assert_eq!(states(&house.on(1).await), ended);
        let (_, stands, claims) = house.believed().await;
        assert!(!stands && claims.iter().all(|claim| claim.1), "{claims:?}");
        // The same again, from elsewhere: nothing.
        let elsewhere = house
            .objects
            .create_collection("elsewhere", "", None, &[], &Source::house("test"))
            .await
            .expect("a collection");
        let again = prepare::object(&word.to_string()).expect("good");
        house
            .objects
            .put(&elsewhere, sent(OrgId::generate()), vec![again], None)
            .await
            .expect("stored");
        house
            .sharing
            .believe(&house.objects)
            .await
            .expect("weighed");
        house.follow().await;
        assert_eq!(states(&house.on(1).await), ended);
        // Anew it counts.
        let anew = house.newer(&word, json!({}));
        house.put(sent(member), &anew).await;
        let found = house.on(1).await;
        assert!(found.iter().any(|row| row.0 == State::Active), "{found:?}");
        let (confidence, stands, _) = house.believed().await;
        assert!(stands && confidence == 100);
    })
    .await;
}

/// What one sender's versions are deleted of is still said by another.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_deleted_in_one_place_is_still_said_in_another() {
    both(async |house| {
        let (one, other) = (OrgId::generate(), OrgId::generate());
        let word = house.indicator(1, 1, 1);
        house.put(sent(one), &word).await;
        let theirs = house
            .objects
            .create_collection("theirs", "", None, &[], &Source::house("test"))
            .await
            .expect("a collection");
        let newer = house.newer(&word, json!({}));
        let prepared = prepare::object(&newer.to_string()).expect("good");
        house
            .objects
            .put(&theirs, sent(other), vec![prepared], None)
            .await
            .expect("stored");
        house.follow().await;
        house
            .sharing
            .believe(&house.objects)
            .await
            .expect("weighed");
        assert_eq!(house.on(1).await.len(), 2);
        let id = word["id"].as_str().expect("an id");
        let (by, all) = (Source::house("test"), Filter::default());
        house
            .objects
            .delete(&theirs, Tlp::Red, id, &all, &by)
            .await
            .expect("deleted");
        house.follow().await;
        house
            .sharing
            .believe(&house.objects)
            .await
            .expect("weighed");
        assert_eq!(
            states(&house.on(1).await),
            [(State::Active, 100), (State::Lifted, 100)]
        );
        let (_, stands, claims) = house.believed().await;
        assert!(stands);
        assert_eq!(claims, [(one.to_string(), false)]);
    })
    .await;
}

/// Who may write where another's objects are may delete its own there, not the other's.
#[tokio::test(flavor = "multi_thread")]
async fn an_organisation_deletes_what_it_sent_itself() {
    both(async |house| {
        let (one, other) = (OrgId::generate(), OrgId::generate());
        let word = house.indicator(1, 1, 1);
        house.put(sent(one), &word).await;
        let id = word["id"].as_str().expect("an id");
        let delete = async |by: &Source| {
            let all = Filter::default();
            let gone = house
                .objects
                .delete(&house.here, Tlp::Red, id, &all, by)
                .await;
            house.follow().await;
            house
                .sharing
                .believe(&house.objects)
                .await
                .expect("weighed");
            gone
        };
        let told = delete(&sent(other)).await;
        assert!(
            matches!(&told, Err(isac::objects::ObjectsError::Foreign { name }) if name == id),
            "{told:?}"
        );
        // A newer version of its own, and the same that the first sent.
        let newer = house.newer(&word, json!({"confidence": 90}));
        house.put(sent(other), &newer).await;
        house.put(sent(other), &word).await;
        assert_eq!(delete(&sent(other)).await.expect("its own"), 2);
        let active = |found: &[(State, u8, String)]| {
            let active = found.iter().filter(|row| row.0 == State::Active);
            active.map(|row| row.2.clone()).collect::<Vec<_>>()
        };
        let left = [format!("stix:{id}@{one}")];
        assert_eq!(active(&house.on(1).await), left);
        let (_, stands, claims) = house.believed().await;
        assert_eq!((stands, claims), (true, vec![(one.to_string(), false)]));
        // The first gives up what another sent as well: it stays the other's.
        house.put(sent(other), &word).await;
        assert_eq!(delete(&sent(one)).await.expect("its own"), 1);
        assert_eq!(active(&house.on(1).await), [format!("stix:{id}@{other}")]);
        assert_eq!(delete(&Source::house("test")).await.expect("all"), 1);
        assert!(active(&house.on(1).await).is_empty());
    })
    .await;
}

fn opinion(house: &House, number: u32, of: u32, what: &str) -> Value {
    use base::Clock as _;
    let at = isac::stix::time::format(house.clock.now().micros());
    json!({
        "type": "opinion", "spec_version": "2.1", "id": format!("opinion--00000000-0000-4000-8000-{number:012}"),
        "created_by_ref": format!("identity--00000000-0000-4000-8000-{number:012}"), "created": at, "modified": at,
        "opinion": what, "object_refs": [format!("indicator--00000000-0000-4000-8000-{of:012}")],
    })
}

/// Authors can be invented, houses not.
#[tokio::test(flavor = "multi_thread")]
async fn a_house_has_one_voice_whatever_authors_it_names() {
    both(async |house| {
        let word = house.newer(&house.indicator(1, 1, 1), json!({"confidence": 80}));
        house.put(sent(OrgId::generate()), &word).await;
        for number in 1..9 {
            let said = opinion(&house, number, 1, "strongly-disagree");
            house.put(fetched(OTHERS[0]), &said).await;
        }
        let (confidence, stands, _) = house.believed().await;
        assert_eq!((confidence, stands), (40, true), "one voice");
        assert_eq!(states(&house.on(1).await)[0], (State::Active, 80));
        let said = opinion(&house, 20, 1, "disagree");
        house.put(fetched(OTHERS[1]), &said).await;
        assert_eq!(house.believed().await.0, 20, "two");
        // Whom nobody believes is not heard against others either.
        let trust = async |url: &str, trust: u8| {
            let done = house
                .sharing
                .set_trust_in_peer(&by(), "other", url, trust)
                .await;
            done.expect("in force");
            house.clock.advance(Duration::from_millis(10));
            house
                .sharing
                .believe(&house.objects)
                .await
                .expect("weighed");
        };
        trust(OTHERS[0], 0).await;
        assert_eq!(house.believed().await.0, 40);
        trust(OTHERS[0], 10).await;
        assert_eq!(house.believed().await.0, 20);
        // One of its authors mends it; the others' word is still the house's.
        let said = opinion(&house, 3, 1, "neutral");
        house.put(fetched(OTHERS[0]), &said).await;
        assert_eq!(house.believed().await.0, 20);
        for number in [1, 2, 4, 5, 6, 7, 8] {
            let said = opinion(&house, number, 1, "neutral");
            house.put(fetched(OTHERS[0]), &said).await;
        }
        assert_eq!(house.believed().await.0, 40);
    })
    .await;
}

/// An indicator that calls a thing good claims nothing bad of it.
#[tokio::test(flavor = "multi_thread")]
async fn who_calls_it_benign_is_a_voice_against_it() {
    both(async |house| {
        let kind = |types: &[&str]| json!({"confidence": 80, "indicator_types": types});
        let member = OrgId::generate();
        let good = house.newer(&house.indicator(1, 1, 1), kind(&["benign"]));
        house.put(sent(member), &good).await;
        let beliefs: i64 = sqlx::query_scalar("SELECT count(*) FROM share_belief")
            .fetch_one(house.db.pool())
            .await
            .expect("counted");
        assert_eq!(beliefs, 0, "nobody says anything bad");
        let bad = house.newer(&house.indicator(2, 2, 1), kind(&["malicious-activity"]));
        house.put(sent(OrgId::generate()), &bad).await;
        let (confidence, stands, claims) = house.believed().await;
        assert_eq!((confidence, stands, claims.len()), (40, true, 1));
        // By an opinion, too, and under another number: the same voice.
        house
            .put(sent(member), &opinion(&house, 9, 2, "disagree"))
            .await;
        let again = house.newer(&house.indicator(3, 3, 1), kind(&["benign"]));
        house.put(sent(member), &again).await;
        assert_eq!(house.believed().await.0, 40);
        let (id,): (i64,) = sqlx::query_as("SELECT id FROM share_belief")
            .fetch_one(house.db.pool())
            .await
            .expect("one belief");
        let (_, _, disputes) = house
            .sharing
            .believed(id)
            .await
            .expect("read")
            .expect("there");
        assert_eq!(disputes.len(), 3, "{disputes:?}");
        // Both kinds at once say that it is bad.
        let both_kinds = house.newer(&good, kind(&["benign", "malicious-activity"]));
        house.put(sent(member), &both_kinds).await;
        let taken = house.newer(&again, json!({"revoked": true}));
        house.put(sent(member), &taken).await;
        house
            .put(sent(member), &opinion(&house, 9, 2, "neutral"))
            .await;
        assert_eq!(house.believed().await.0, 96);
    })
    .await;
}

/// Claims that were kept by author alone are given to those who sent them.
#[tokio::test(flavor = "multi_thread")]
async fn claims_of_before_get_their_senders() {
    for backend in [Backend::Sqlite, Backend::Postgres] {
        let clock = Arc::new(ManualClock::at(Timestamp::from_seconds(1_795_222_800)));
        let before = store::Migrations {
            domain: isac::share::MIGRATIONS.domain,
            steps: &isac::share::MIGRATIONS.steps[..4],
        };
        let old = [
            web::MIGRATIONS,
            isac::MIGRATIONS,
            before,
            isac::enforce::MIGRATIONS,
        ];
        let db = fresh_with_clock(backend, clock.clone(), &old).await;
        let objects = Objects::open((*db).clone()).await.expect("a store");
        let here = objects
            .create_collection("here", "", Some("here"), &[], &Source::house("test"))
            .await
            .expect("a collection");
        let nodes = Arc::new(Nodes::default());
        let sharing = Sharing::new((*db).clone(), db.vault(), Arc::new(NoMembers));
        let enforcements = Enforcements::new((*db).clone(), nodes.clone(), nodes);
        let house = House {
            clock,
            objects,
            sharing,
            enforcements,
            here,
            db,
        };
        let (one, other) = (OrgId::generate(), OrgId::generate());
        let word = house.indicator(1, 1, 1);
        let mut put = Vec::new();
        put.push((sent(one), word.clone()));
        house.clock.advance(Duration::from_secs(1));
        put.push((sent(other), house.newer(&word, json!({"revoked": true}))));
        for number in 1..4 {
            put.push((fetched(NATION), opinion(&house, number, 1, "disagree")));
        }
        for (source, object) in put {
            let prepared = prepare::object(&object.to_string()).expect("good");
            let done = house.objects.put(&house.here, source, vec![prepared], None);
            done.await.expect("stored");
        }
        // As it was kept: the other's revocation stood for all of the author.
        let pattern = word["pattern"].as_str().expect("a pattern");
        let hash = hash_of(pattern);
        let mut tx = house.db.begin().await.expect("begun");
        sqlx::query("INSERT INTO share_claim (object, source, pattern_hash, pattern, confidence, said_at, seen_at, until, revoked, tlp) VALUES ($1, $2, $3, $4, 100, 1795222801000000, 7, 0, 1, 1)")
            .bind(word["id"].as_str())
            .bind(word["created_by_ref"].as_str())
            .bind(hash)
            .bind(pattern)
            .execute(&mut *tx)
            .await
            .expect("a claim of before");
        // A peer's authors had a voice each.
        for number in 1..4 {
            sqlx::query("INSERT INTO share_dispute (object, source, opinion, at) VALUES ($1, $2, 'disagree', 1)")
                .bind(word["id"].as_str())
                .bind(format!("identity--00000000-0000-4000-8000-{number:012}"))
                .execute(&mut *tx)
                .await
                .expect("a dispute of before");
        }
        sqlx::query("INSERT INTO share_mark (name, value) VALUES ('claims', $1)")
            .bind(house.objects.last_seq().await.expect("the last"))
            .execute(&mut *tx)
            .await
            .expect("a place");
        tx.commit().await.expect("kept");
        let applied = house
            .db
            .migrate(&DOMAINS)
            .await
            .expect("brought up to date");
        assert!(
            applied
                .iter()
                .any(|step| step.domain == "share" && step.version == 5)
        );
        house
            .sharing
            .believe(&house.objects)
            .await
            .expect("weighed");
        let (confidence, stands, mut claims) = house.believed().await;
        claims.sort();
        let mut expected = [(one.to_string(), false), (other.to_string(), true)];
        expected.sort();
        assert_eq!((confidence, stands), (50, true), "{backend:?}");
        assert_eq!(claims, expected);
        let (left, seen): (i64, i64) = sqlx::query_as(
            "SELECT (SELECT count(*) FROM share_claim_unsent), (SELECT MIN(seen_at) FROM share_claim)",
        )
        .fetch_one(house.db.pool())
        .await
        .expect("counted");
        assert_eq!((left, seen), (0, 7));
    }
}

/// As claims number patterns.
fn hash_of(pattern: &str) -> i64 {
    let plain: String = pattern.chars().filter(|c| !c.is_whitespace()).collect();
    let digest = ring::digest::digest(&ring::digest::SHA256, plain.as_bytes());
    i64::from_be_bytes(digest.as_ref()[..8].try_into().expect("eight bytes"))
}
