//! What newer versions of an indicator do to what earlier ones made, on both databases; when
//! indicators begin to be valid; what the house stands on; what a person is asked about; what
//! has ended.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base::enforcement::Rule;
use base::quick::Order;
use base::{Clock as _, ManualClock, OrgId, Timestamp, UserId};
use isac::enforce::policy::ORGANISATION_TRUST_DEFAULT;
use isac::enforce::seams::{Guard, OwnAddress, OwnAddresses, SeamError};
use isac::enforce::{Decided, EnforceError, Enforcements, Policy, SiteName, Sites, State, Wanted};
use isac::objects::{Collection, Filter, Objects, Source, prepare};
use isac::stix::{Tlp, time};
use serde_json::{Value, json};
use store::testing::{TestDb, fresh_with_clock};
use store::{Actor, Backend, PageRequest};

use crate::enforcements::{Nodes, by_hand, trusting};

const DOMAINS: [store::Migrations; 3] =
    [web::MIGRATIONS, isac::MIGRATIONS, isac::enforce::MIGRATIONS];
const SECOND: Duration = Duration::from_secs(1);

struct House {
    db: TestDb,
    clock: Arc<ManualClock>,
    objects: Objects,
    enforcements: Enforcements,
    nodes: Arc<Nodes>,
    here: Collection,
    there: Collection,
    org: OrgId,
}

async fn both(test: impl AsyncFn(House)) {
    for backend in [Backend::Sqlite, Backend::Postgres] {
        let clock = Arc::new(ManualClock::at(Timestamp::from_seconds(1_795_222_800)));
        let db = fresh_with_clock(backend, clock.clone(), &DOMAINS).await;
        let objects = Objects::open((*db).clone()).await.expect("a store");
        let by = Source::house("test");
        let collection = async |name: &str| {
            let made = objects.create_collection(name, "", Some(name), &[], &by);
            made.await.expect("a collection")
        };
        let (here, there) = (collection("here").await, collection("there").await);
        let nodes = Arc::new(Nodes::default());
        let enforcements = Enforcements::new((*db).clone(), nodes.clone(), nodes.clone());
        trusting(&enforcements).await;
        test(House {
            clock,
            objects,
            enforcements,
            nodes,
            here,
            there,
            org: OrgId::generate(),
            db,
        })
        .await;
    }
}

impl House {
    /// A version of indicator `number`, said now.
    fn word(&self, number: u32, more: Value) -> Value {
        let at = self.ahead(Duration::ZERO);
        let mut object = json!({
            "type": "indicator", "spec_version": "2.1", "id": format!("indicator--00000000-0000-4000-8000-{number:012}"),
            "created": "2026-01-01T00:00:00.000Z", "modified": at, "name": format!("indicator {number}"),
            "pattern": format!("[ipv4-addr:value = '198.51.100.{number}']"), "pattern_type": "stix",
            "valid_from": "2026-01-01T00:00:00Z", "confidence": 95, "object_marking_refs": [Tlp::Green.marking()],
        });
        for (name, value) in more.as_object().into_iter().flatten() {
            object[name] = value.clone();
        }
        object
    }

    /// The time that much ahead, as objects say it.
    fn ahead(&self, by: Duration) -> String {
        time::format(self.clock.now().plus(by).micros())
    }

    async fn put(&self, into: &Collection, word: &Value) {
        let prepared = prepare::object(&word.to_string()).expect("a good indicator");
        let mut source = Source::house("test");
        source.org = Some(self.org);
        self.objects
            .put(into, source, vec![prepared], None)
            .await
            .expect("stored");
        self.look().await;
    }

    async fn say(&self, number: u32, more: Value) {
        self.put(&self.here, &self.word(number, more)).await;
        // The next word is said later.
        self.clock.advance(Duration::from_millis(1));
    }

    async fn look(&self) {
        self.enforcements
            .follow(&self.objects)
            .await
            .expect("followed");
    }

    async fn found(&self, wanted: Wanted) -> Vec<Decided> {
        let page = self
            .enforcements
            .search(&wanted, &PageRequest::first(50))
            .await
            .expect("a page");
        page.items.into_iter().map(|(decided, _)| decided).collect()
    }

    async fn in_state(&self, state: State) -> Vec<Decided> {
        self.found(Wanted {
            state: Some(state),
            ..Wanted::default()
        })
        .await
    }

    /// What nodes refuse, once all orders so far are obeyed.
    fn refused(&self) -> Vec<String> {
        let mut rules: Vec<Rule> = Vec::new();
        for (_, order) in &*self.nodes.orders.lock().expect("no panic elsewhere") {
            match order {
                Order::Enforce(new) => {
                    rules.retain(|old| new.iter().all(|new| new.id != old.id));
                    rules.extend(new.iter().cloned());
                }
                Order::Lift(ids) => rules.retain(|rule| !ids.contains(&rule.id)),
                Order::Purge(_) | Order::Preload(_) => {}
            }
        }
        let now = self.clock.now();
        rules.retain(|rule| rule.is_in_force(now));
        let mut texts: Vec<String> = rules.iter().map(|rule| rule.target.to_string()).collect();
        texts.dedup();
        texts
    }

    fn orders(&self) -> usize {
        self.nodes.orders.lock().expect("no panic elsewhere").len()
    }

    async fn audited(&self, action: &str) -> i64 {
        sqlx::query_scalar("SELECT COUNT(*) FROM audit_entry WHERE action = $1")
            .bind(action)
            .fetch_one(self.db.pool())
            .await
            .expect("the trail")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newer_word_says_how_long() {
    both(async |house| {
        house
            .say(1, json!({"valid_until": house.ahead(2 * SECOND)}))
            .await;
        house
            .say(1, json!({"valid_until": house.ahead(8 * SECOND)}))
            .await;
        house
            .say(2, json!({"valid_until": house.ahead(60 * SECOND)}))
            .await;
        house
            .say(2, json!({"valid_until": house.ahead(2 * SECOND)}))
            .await;
        assert_eq!(house.refused(), ["198.51.100.1", "198.51.100.2"]);
        assert_eq!(house.audited("enforcement.renew").await, 2);
        house.clock.advance(4 * SECOND);
        assert_eq!(house.refused(), ["198.51.100.1"]);
        let active = house.in_state(State::Active).await;
        assert_eq!(active.len(), 1, "what has ended is not in force");
        let ended = Wanted {
            ended: true,
            ..Wanted::default()
        };
        let ended = house.found(ended).await;
        assert_eq!(ended[0].rule.target.to_string(), "198.51.100.2");
        house.clock.advance(5 * SECOND);
        assert!(house.refused().is_empty());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newer_word_undoes_and_puts_in_force() {
    both(async |house| {
        for (number, more) in [
            (1, json!({"confidence": 20})),
            (2, json!({"object_marking_refs": [Tlp::Red.marking()]})),
            (3, json!({"indicator_types": ["benign"]})),
            (4, json!({"valid_from": house.ahead(3_600 * SECOND)})),
            (5, json!({"revoked": true})),
        ] {
            house.say(number, json!({})).await;
            assert_eq!(house.refused(), [format!("198.51.100.{number}")]);
            house.say(number, more).await;
            assert!(house.refused().is_empty(), "{number}");
            assert!(house.in_state(State::Active).await.is_empty());
        }
        let lifted = house.in_state(State::Lifted).await;
        assert_eq!(lifted.len(), 5);
        assert!(
            lifted
                .iter()
                .any(|one| one.decided_why.contains("TLP:RED") || one.decided_why.contains("red"))
        );
        // Proposed, then sure: the same decision, in force.
        house.say(6, json!({"confidence": 50})).await;
        let proposed = house.in_state(State::Proposed).await;
        assert_eq!((proposed.len(), house.refused().len()), (1, 0));
        house.say(6, json!({"confidence": 95})).await;
        let active = house.in_state(State::Active).await;
        assert_eq!(active[0].rule.id, proposed[0].rule.id);
        assert_eq!((active[0].confidence, active.len()), (95, 1));
        assert!(house.in_state(State::Proposed).await.is_empty());
        assert_eq!(house.refused(), ["198.51.100.6"]);
        // Less sure, but sure enough to be proposed: it stays.
        house.say(6, json!({"confidence": 50})).await;
        assert_eq!(house.refused(), ["198.51.100.6"]);
        assert_eq!(house.in_state(State::Active).await[0].confidence, 50);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_again_changes_nothing() {
    both(async |house| {
        let first = house.word(1, json!({"valid_until": house.ahead(60 * SECOND)}));
        house.put(&house.here, &first).await;
        let id = house.in_state(State::Active).await[0].rule.id;
        let later = house.clock.now().plus(600 * SECOND);
        let person = Actor::User(UserId::generate());
        house
            .enforcements
            .extend(person, None, id, Some(later), "longer")
            .await
            .expect("extended");
        let orders = house.orders();
        house.put(&house.there, &first).await;
        assert_eq!(house.orders(), orders);
        let until = async || house.in_state(State::Active).await[0].rule.until;
        assert_eq!(until().await, Some(later), "the person's word stays");
        // A newer word counts also against the person's.
        house.clock.advance(SECOND);
        let newer = house.word(1, json!({"valid_until": house.ahead(30 * SECOND)}));
        house.put(&house.here, &newer).await;
        assert_eq!(
            until().await,
            Some(house.clock.now().plus(30 * SECOND)),
            "the newer word"
        );
        // Newest: it is over. What is older and comes late does not bring it back.
        house.clock.advance(SECOND);
        house.say(1, json!({"confidence": 20})).await;
        assert!(house.refused().is_empty());
        let elsewhere = house
            .objects
            .create_collection("late", "", Some("late"), &[], &Source::house("test"))
            .await
            .expect("a collection");
        house.put(&elsewhere, &newer).await;
        assert!(house.refused().is_empty(), "an older word, sent late");
        // What is deleted is forgotten, and may be said anew.
        let id = "indicator--00000000-0000-4000-8000-000000000001";
        let (by, all) = (Source::house("test"), Filter::default());
        for from in [&house.here, &house.there, &elsewhere] {
            let gone = house.objects.delete(from, Tlp::Red, id, &all, &by);
            assert!(gone.await.expect("deleted") > 0);
        }
        house.look().await;
        house.put(&elsewhere, &newer).await;
        assert_eq!(house.refused(), ["198.51.100.1"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_indicator_begins_when_it_says_so() {
    both(async |house| {
        house
            .say(
                1,
                json!({"valid_from": house.ahead(90 * SECOND), "valid_until": house.ahead(900 * SECOND)}),
            )
            .await;
        house
            .say(2, json!({"valid_from": house.ahead(90 * SECOND)}))
            .await;
        // Revoked before it begins.
        house.say(2, json!({"revoked": true})).await;
        house
            .say(3, json!({"valid_from": house.ahead(90 * SECOND)}))
            .await;
        // Said anew: it begins later.
        house
            .say(3, json!({"valid_from": house.ahead(200 * SECOND)}))
            .await;
        house.look().await;
        assert!(house.refused().is_empty());
        house.clock.advance(80 * SECOND);
        house.look().await;
        assert!(house.refused().is_empty(), "not before");
        house.clock.advance(11 * SECOND);
        house.look().await;
        assert_eq!(house.refused(), ["198.51.100.1"]);
        let orders = house.orders();
        house.look().await;
        assert_eq!(house.orders(), orders, "once");
        house.clock.advance(200 * SECOND);
        house.look().await;
        assert_eq!(house.refused(), ["198.51.100.1", "198.51.100.3"]);
        let waiting: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM enforce_due")
            .fetch_one(house.db.pool())
            .await
            .expect("counted");
        assert_eq!(waiting, 0);
    })
    .await;
}

struct Stands;

#[async_trait]
impl OwnAddresses for Stands {
    async fn own(&self) -> Result<Vec<OwnAddress>, SeamError> {
        let one = |prefix: &str, what: &str, guard| OwnAddress {
            prefix: prefix.parse().expect("a prefix"),
            what: what.to_owned(),
            guard,
        };
        Ok(vec![
            one("203.0.113.0/25", "edge edge-hsinchu", Guard::Never),
            one("198.18.0.0/16", "AS1659 TANet", Guard::Whole),
            one("192.0.2.9/32", "an origin of site museum", Guard::Ask),
        ])
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_house_does_not_block_itself() {
    both(async |house| {
        house.enforcements.spare(Arc::new(Stands));
        let pattern = "[ipv4-addr:value = '203.0.113.7' OR ipv4-addr:value = '203.0.113.200' OR (file:name = 'x' AND file:size = 5)] OR [domain-name:value = '惡意.example']";
        house.say(1, json!({"pattern": pattern})).await;
        assert_eq!(house.refused(), ["203.0.113.200", "xn--7euxd.example"]);
        let person = UserId::generate();
        for text in ["203.0.113.7", "203.0.113.0/24", "http://203.0.113.7:8080/x"] {
            let made = house
                .enforcements
                .enforce(Actor::User(person), None, vec![by_hand(text, person, false)])
                .await;
            assert!(
                matches!(&made, Err(EnforceError::Forbidden { why, .. }) if why.contains("edge edge-hsinchu")),
                "{text}: {made:?}"
            );
        }
        let why = house
            .enforcements
            .why("203.0.113.7".parse().expect("a target"))
            .await
            .expect("answered");
        assert!(why.forbidden.is_some_and(|why| why.contains("belongs to this house")));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_members_network_is_never_blocked_whole_and_an_origin_waits_for_a_person() {
    both(async |house| {
        house.enforcements.spare(Arc::new(Stands));
        house.say(1, json!({"pattern": "[ipv4-addr:value IN ('198.18.3.7', '198.18.0.0/16', '192.0.2.9', '192.0.2.10')]"})).await;
        let refused = |house: &House| BTreeSet::from_iter(house.refused());
        let set = |all: &[&str]| -> BTreeSet<String> { all.iter().map(|text| (*text).to_owned()).collect() };
        assert_eq!(refused(&house), set(&["192.0.2.10", "198.18.3.7"]));
        let waiting = house.in_state(State::Proposed).await;
        assert_eq!(waiting.len(), 1, "{waiting:?}");
        assert_eq!(waiting[0].rule.target.to_string(), "192.0.2.9");
        assert!(waiting[0].asked.contains("an origin of site museum"), "{}", waiting[0].asked);
        // A newer, as sure word does not begin it, and a person does.
        house.say(1, json!({"pattern": "[ipv4-addr:value = '192.0.2.9']", "confidence": 100})).await;
        assert!(house.refused().is_empty());
        let (one, other) = (UserId::generate(), UserId::generate());
        house
            .enforcements
            .decide(one, None, waiting[0].rule.id, true, "it is their C2")
            .await
            .expect("approved");
        assert_eq!(house.refused(), ["192.0.2.9"]);
        // By hand, beside what needs nobody: proposed alone.
        let made = house
            .enforcements
            .enforce(
                Actor::User(one),
                None,
                vec![by_hand("192.0.2.9", one, false), by_hand("192.0.2.77", one, false)],
            )
            .await
            .expect("made");
        let states: Vec<State> = made.iter().map(|one| one.state).collect();
        assert_eq!(states, [State::Proposed, State::Active]);
        assert_eq!(refused(&house), set(&["192.0.2.77", "192.0.2.9"]));
        let own = house.enforcements.decide(one, None, made[0].rule.id, true, "mine").await;
        assert!(matches!(own, Err(EnforceError::Conflict(_))), "{own:?}");
        house
            .enforcements
            .decide(other, None, made[0].rule.id, true, "seen")
            .await
            .expect("approved by a second person");
        let why = house
            .enforcements
            .why("192.0.2.9".parse().expect("a target"))
            .await
            .expect("answered");
        assert!(why.forbidden.is_none() && why.asked.is_some());
    })
    .await;
}

/// The sites of two agencies.
struct Carries;

#[async_trait]
impl Sites for Carries {
    async fn names(&self) -> Result<Vec<SiteName>, SeamError> {
        let site = |name: &str, site: &str| SiteName {
            name: name.to_owned(),
            site: site.to_owned(),
        };
        Ok(vec![
            site("www.library.gov.example", "library"),
            site("www.weather.gov.example", "weather"),
        ])
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_indicator_alone_takes_a_site_off_the_air() {
    both(async |house| {
        house.enforcements.carry(Arc::new(Carries));
        let pattern = "[domain-name:value IN ('www.library.gov.example', 'evil.example')] OR [url:value = 'http://www.weather.gov.example/x']";
        house.say(1, json!({"pattern": pattern, "confidence": 100})).await;
        assert_eq!(house.refused(), ["evil.example"]);
        let mut waiting = house.in_state(State::Proposed).await;
        waiting.sort_by_key(|one| one.rule.target.to_string());
        let told: Vec<(String, &str)> = waiting
            .iter()
            .map(|one| (one.rule.target.to_string(), one.asked.as_str()))
            .collect();
        assert_eq!(
            told,
            [
                ("url:www.weather.gov.example/x".to_owned(), "the site weather is in service here"),
                ("www.library.gov.example".to_owned(), "the site library is in service here"),
            ]
        );
        // A person may, be it on the proposal or by hand, and what lies above is asked about, too.
        let user = UserId::generate();
        house
            .enforcements
            .decide(user, None, waiting[1].rule.id, true, "it was taken over")
            .await
            .expect("approved");
        let made = house
            .enforcements
            .enforce(Actor::User(user), None, vec![by_hand("*.weather.gov.example", user, false)])
            .await
            .expect("made");
        assert_eq!(made[0].state, State::Active);
        let why = house.enforcements.why("*.gov.example".parse().expect("a target")).await;
        assert!(why.expect("answered").asked.is_some_and(|why| why.contains("in service")));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_alone_blocks_nobody_until_an_officer_trusts_it() {
    both(async |house| {
        let policy = |trust: Option<u8>| Policy {
            trust: trust
                .map(|percent| (house.org.to_string(), percent))
                .into_iter()
                .collect(),
            ..Policy::default()
        };
        let set = async |trust| {
            let by = Actor::System("test");
            house
                .enforcements
                .set_policy(by, None, policy(trust))
                .await
                .expect("in force");
        };
        set(None).await;
        house.say(1, json!({"confidence": 100})).await;
        assert!(house.refused().is_empty());
        let waiting = house.in_state(State::Proposed).await;
        assert_eq!(
            (waiting.len(), waiting[0].confidence),
            (1, ORGANISATION_TRUST_DEFAULT)
        );
        set(Some(100)).await;
        house.say(2, json!({"confidence": 100})).await;
        let refused = BTreeSet::from_iter(house.refused());
        assert_eq!(refused.len(), 2, "what waited as well: {refused:?}");
    })
    .await;
}
