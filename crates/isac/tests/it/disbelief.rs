//! What is no longer believed is no longer enforced, on both databases: false positives
//! and age lift what an indicator made, or ask a person; the thread says why; the same
//! word never blocks again.

use std::sync::Arc;
use std::time::Duration;

use base::quick::Order;
use base::{ManualClock, OrgId, Timestamp, UserId};
use isac::enforce::{Decided, Enforcements, Policy, State, Unbelieved, Wanted};
use isac::objects::{Collection, Filter, Objects, Source, prepare};
use isac::share::{NoMembers, Sharing};
use isac::stix::Tlp;
use serde_json::{Value, json};
use store::testing::{TestDb, fresh_with_clock};
use store::{Actor, Backend, PageRequest};

use crate::enforcements::{Nodes, trusting};

const DOMAINS: [store::Migrations; 4] = [
    web::MIGRATIONS,
    isac::MIGRATIONS,
    isac::share::MIGRATIONS,
    isac::enforce::MIGRATIONS,
];
const DAY: Duration = Duration::from_secs(86_400);
const PATTERN: &str = "[ipv4-addr:value = '198.51.100.7']";
const TARGET: &str = "198.51.100.7";

struct House {
    db: TestDb,
    clock: Arc<ManualClock>,
    objects: Objects,
    sharing: Sharing,
    enforcements: Enforcements,
    nodes: Arc<Nodes>,
    here: Collection,
    elsewhere: Collection,
}

async fn house(backend: Backend) -> House {
    let clock = Arc::new(ManualClock::at(Timestamp::from_seconds(1_795_222_800)));
    let db = fresh_with_clock(backend, clock.clone(), &DOMAINS).await;
    let objects = Objects::open((*db).clone()).await.expect("a store");
    let by = Source::house("test");
    let here = objects
        .create_collection("here", "", Some("here"), &[], &by)
        .await
        .expect("a collection");
    let elsewhere = objects
        .create_collection("elsewhere", "", Some("elsewhere"), &[], &by)
        .await
        .expect("a collection");
    let nodes = Arc::new(Nodes::default());
    let sharing = Sharing::new((*db).clone(), db.vault(), Arc::new(NoMembers));
    let enforcements = Enforcements::new((*db).clone(), nodes.clone(), nodes.clone());
    enforcements.believe(Arc::new(sharing.clone()));
    trusting(&enforcements).await;
    House {
        clock,
        objects,
        sharing,
        enforcements,
        nodes,
        here,
        elsewhere,
        db,
    }
}

impl House {
    fn now(&self) -> String {
        isac::stix::time::format(self.clock_now())
    }

    fn clock_now(&self) -> i64 {
        use base::Clock as _;
        self.clock.now().micros()
    }

    fn indicator(&self, number: u32, confidence: u8) -> Value {
        let at = self.now();
        json!({
            "type": "indicator", "spec_version": "2.1", "id": format!("indicator--00000000-0000-4000-8000-{number:012}"),
            "created": at, "modified": at, "valid_from": at, "pattern": PATTERN, "pattern_type": "stix",
            "confidence": confidence, "object_marking_refs": [Tlp::Green.marking()],
        })
    }

    /// `org` holds that indicator `of` is a false positive, under whatever name.
    fn opinion(&self, number: u32, of: u32, what: &str) -> Value {
        let at = self.now();
        json!({
            "type": "opinion", "spec_version": "2.1", "id": format!("opinion--00000000-0000-4000-8000-{number:012}"),
            "created_by_ref": format!("identity--00000000-0000-4000-8000-{number:012}"), "created": at, "modified": at,
            "opinion": what, "object_refs": [format!("indicator--00000000-0000-4000-8000-{of:012}")],
        })
    }

    async fn put(&self, into: &Collection, org: Option<OrgId>, objects: &[Value]) {
        let made = objects
            .iter()
            .map(|object| prepare::object(&object.to_string()).expect("good"))
            .collect();
        let mut source = Source::person(UserId::generate(), None);
        source.org = org;
        self.objects
            .put(into, source, made, None)
            .await
            .expect("stored");
        self.look().await;
    }

    /// Both tasks look, until neither has more to do.
    async fn look(&self) {
        for _ in 0..2 {
            self.clock.advance(Duration::from_millis(10));
            self.enforcements
                .follow(&self.objects)
                .await
                .expect("followed");
            self.sharing.believe(&self.objects).await.expect("weighed");
        }
        self.enforcements
            .follow(&self.objects)
            .await
            .expect("followed");
        self.clock.advance(Duration::from_millis(10));
    }

    async fn found(&self, wanted: Wanted) -> Vec<Decided> {
        let page = self
            .enforcements
            .search(&wanted, &PageRequest::first(100))
            .await
            .expect("a page");
        page.items.into_iter().map(|(decided, _)| decided).collect()
    }

    async fn in_state(&self, state: State) -> Vec<Decided> {
        let wanted = Wanted {
            state: Some(state),
            ..Wanted::default()
        };
        self.found(wanted).await
    }

    fn lifts(&self) -> usize {
        let orders = std::mem::take(&mut *self.nodes.orders.lock().expect("no panic elsewhere"));
        orders
            .iter()
            .filter(|(_, order)| matches!(order, Order::Lift(ids) if !ids.is_empty()))
            .count()
    }

    async fn audited(&self, action: &str) -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM audit_entry WHERE action = $1")
            .bind(action)
            .fetch_one(self.db.pool())
            .await
            .expect("the trail")
    }

    /// Opinions of as many organisations.
    async fn disputed(&self, of: u32, by: &[OrgId], what: &str) {
        for (number, org) in by.iter().enumerate() {
            let number = 100 + u32::try_from(number).expect("few");
            let opinion = self.opinion(number, of, what);
            self.put(&self.here, Some(*org), &[opinion]).await;
        }
    }
}

fn orgs(count: usize) -> Vec<OrgId> {
    (0..count).map(|_| OrgId::generate()).collect()
}

async fn both(test: impl AsyncFn(House)) {
    for backend in [Backend::Sqlite, Backend::Postgres] {
        test(house(backend).await).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn false_positives_lift_it_say_why_and_the_same_word_never_blocks_again() {
    both(async |house| {
        let (sender, other) = (OrgId::generate(), OrgId::generate());
        let word = house.indicator(1, 90);
        house
            .put(&house.here, Some(sender), std::slice::from_ref(&word))
            .await;
        assert_eq!(house.in_state(State::Active).await.len(), 1);
        // One organisation under many names is one: 45 is believed.
        let one = OrgId::generate();
        for number in 1..8 {
            let opinion = house.opinion(number, 1, "strongly-disagree");
            house.put(&house.here, Some(one), &[opinion]).await;
        }
        assert_eq!(house.in_state(State::Active).await.len(), 1, "one voice");
        house.lifts();
        let four = orgs(4);
        house.disputed(1, &four, "strongly-disagree").await;
        assert!(house.in_state(State::Active).await.is_empty());
        assert_eq!(house.lifts(), 2, "edges and name servers are told once");
        let lifted = house.in_state(State::Lifted).await;
        assert_eq!(lifted.len(), 1);
        let why = &lifted[0].decided_why;
        assert!(
            why.contains("no longer believed")
                && why.contains("below the floor 10 of ipv4-addr")
                && why.contains("call it a false positive: ")
                && why.contains("不再採信"),
            "{why}"
        );
        assert!(!why.contains(&four[0].to_string()), "nobody is named");
        // Why was it unblocked? The thread says so, and so does the trail.
        let asked = house
            .enforcements
            .why(TARGET.parse().expect("a target"))
            .await
            .expect("answered");
        assert_eq!(&asked.decisions[0].0.decided_why, why);
        assert!(house.audited("enforcement.unbelieved").await > 0);
        // The same word again: elsewhere, by another organisation, by a process that begins anew.
        house
            .put(&house.elsewhere, Some(sender), std::slice::from_ref(&word))
            .await;
        house
            .put(&house.elsewhere, Some(other), std::slice::from_ref(&word))
            .await;
        let mut tx = house.db.begin().await.expect("begun");
        sqlx::query("DELETE FROM enforce_mark WHERE name = 'feed'")
            .execute(&mut *tx)
            .await
            .expect("from the beginning");
        tx.commit().await.expect("kept");
        house.look().await;
        assert!(house.in_state(State::Active).await.is_empty());
        assert!(house.in_state(State::Proposed).await.is_empty());
        // A new word on it is not believed while they hold it wrong.
        let newer = house.indicator(1, 95);
        house.put(&house.here, Some(sender), &[newer]).await;
        let second = house.indicator(2, 95);
        house.put(&house.here, Some(other), &[second]).await;
        assert!(house.in_state(State::Active).await.is_empty());
        assert!(house.in_state(State::Proposed).await.is_empty());
        // They take it back: what was said stays spent, a person is asked at most.
        let voices: Vec<OrgId> = four.iter().copied().chain([one]).collect();
        house.clock.advance(Duration::from_secs(60));
        house.disputed(1, &voices, "neutral").await;
        assert!(house.in_state(State::Active).await.is_empty());
        // And a word after that counts like any other.
        house.clock.advance(Duration::from_secs(60));
        let anew = house.indicator(1, 90);
        house.put(&house.here, Some(sender), &[anew]).await;
        let active = house.in_state(State::Active).await;
        assert!(
            active
                .iter()
                .any(|decided| decided.source.contains("000000000001@")),
            "{active:?}"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn age_lifts_it_and_what_is_old_when_it_comes_is_not_enforced() {
    both(async |house| {
        let sender = OrgId::generate();
        let policy = Policy {
            days: 365,
            trust_default: 100,
            ..Policy::default()
        };
        house
            .enforcements
            .set_policy(Actor::System("test"), None, policy)
            .await
            .expect("kept");
        let word = house.indicator(1, 90);
        house
            .put(&house.here, Some(sender), std::slice::from_ref(&word))
            .await;
        // 90 is 45 after 15 days, and below 10 after 48.
        house.clock.advance(15 * DAY);
        house.look().await;
        assert_eq!(house.in_state(State::Active).await.len(), 1);
        house.clock.advance(35 * DAY);
        house.look().await;
        let lifted = house.in_state(State::Lifted).await;
        assert_eq!(lifted.len(), 1);
        assert!(lifted[0].decided_why.contains("false positive: 0"));
        assert_eq!(
            lifted[0].decided_by.as_deref(),
            Some("system:enforcement policy")
        );
        let mut old = word.clone();
        old["id"] = "indicator--00000000-0000-4000-8000-000000000009".into();
        house
            .put(&house.elsewhere, Some(sender), &[word, old])
            .await;
        assert!(house.in_state(State::Active).await.is_empty());
        assert_eq!(
            house.in_state(State::Lifted).await.len(),
            1,
            "nor for a moment"
        );
        // Said anew, it counts.
        let newer = house.indicator(1, 90);
        house.put(&house.here, Some(sender), &[newer]).await;
        assert_eq!(house.in_state(State::Active).await.len(), 1);
        // Deleted by everybody who said it: what it made goes.
        let id = "indicator--00000000-0000-4000-8000-000000000001";
        for collection in [&house.here, &house.elsewhere] {
            let by = Source::house("test");
            house
                .objects
                .delete(collection, Tlp::Red, id, &Filter::default(), &by)
                .await
                .expect("deleted");
        }
        house.look().await;
        assert!(house.in_state(State::Active).await.is_empty());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_houses_own_word_falls_with_its_claims_and_rises_for_a_person_only() {
    both(async |house| {
        // 60 and 60 wait for approval; together they are 84 and enforced at once.
        let senders = orgs(2);
        for (number, org) in senders.iter().enumerate() {
            let number = 1 + u32::try_from(number).expect("few");
            let word = house.indicator(number, 60);
            house.put(&house.here, Some(*org), &[word]).await;
        }
        let active = house.in_state(State::Active).await;
        assert_eq!(active.len(), 1, "{active:?}");
        assert_eq!(active[0].confidence, 84);
        assert_eq!(house.in_state(State::Proposed).await.len(), 2);
        let voices = orgs(4);
        house.disputed(1, &voices, "strongly-disagree").await;
        assert!(house.in_state(State::Active).await.is_empty());
        assert!(house.in_state(State::Proposed).await.is_empty());
        assert_eq!(house.in_state(State::Rejected).await.len(), 2);
        let lifted = house.in_state(State::Lifted).await;
        assert!(
            lifted[0].decided_why.contains("no longer believed"),
            "{}",
            lifted[0].decided_why
        );
        // Nobody says it anew: a person decides whether it blocks again.
        house.clock.advance(Duration::from_secs(60));
        house.disputed(1, &voices, "neutral").await;
        assert!(house.in_state(State::Active).await.is_empty());
        let proposed = house.in_state(State::Proposed).await;
        assert_eq!(proposed.len(), 1, "{proposed:?}");
        // Deleted everywhere: the house says it no more either.
        for number in 1..3 {
            let id = format!("indicator--00000000-0000-4000-8000-{number:012}");
            let by = Source::house("test");
            house
                .objects
                .delete(&house.here, Tlp::Red, &id, &Filter::default(), &by)
                .await
                .expect("deleted");
        }
        house.look().await;
        assert!(house.in_state(State::Proposed).await.is_empty());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn by_policy_a_person_is_asked_and_asked_again_only_when_more_disagree() {
    both(async |house| {
        let policy = Policy {
            unbelieved: Unbelieved::Ask,
            trust_default: 100,
            ..Policy::default()
        };
        house
            .enforcements
            .set_policy(Actor::System("test"), None, policy)
            .await
            .expect("kept");
        let word = house.indicator(1, 90);
        house
            .put(
                &house.here,
                Some(OrgId::generate()),
                std::slice::from_ref(&word),
            )
            .await;
        house.lifts();
        house.disputed(1, &orgs(4), "strongly-disagree").await;
        let doubted = async || {
            house
                .found(Wanted {
                    doubted: true,
                    ..Wanted::default()
                })
                .await
        };
        let asked = doubted().await;
        // The indicator's, and the house's own word, had it been enforced too.
        assert!(
            !asked.is_empty()
                && asked
                    .iter()
                    .all(|one| one.doubt.contains("no longer believed"))
        );
        assert_eq!(house.lifts(), 0, "still in force");
        let waiting = i64::try_from(asked.len()).expect("few");
        assert_eq!(
            house.enforcements.waiting(10).await.expect("counted"),
            waiting
        );
        let person = UserId::generate();
        for one in &asked {
            house
                .enforcements
                .decide(person, None, one.rule.id, true, "我們親眼所見")
                .await
                .expect("kept");
        }
        house.look().await;
        house.clock.advance(2 * DAY);
        house.look().await;
        assert!(doubted().await.is_empty(), "asked once");
        assert_eq!(house.enforcements.waiting(10).await.expect("counted"), 0);
        house
            .put(
                &house.here,
                Some(OrgId::generate()),
                &[house.opinion(300, 1, "disagree")],
            )
            .await;
        let asked = doubted().await;
        assert!(!asked.is_empty(), "one more disagrees");
        for one in &asked {
            house
                .enforcements
                .decide(person, None, one.rule.id, false, "確為誤判")
                .await
                .expect("lifted");
        }
        assert!(house.lifts() > 0);
        assert!(house.in_state(State::Active).await.is_empty());
        assert_eq!(
            house.in_state(State::Lifted).await[0].decided_why,
            "確為誤判"
        );
        // Also by hand it is spent.
        house
            .put(&house.elsewhere, Some(OrgId::generate()), &[word])
            .await;
        assert!(house.in_state(State::Active).await.is_empty());
        for action in ["enforcement.doubt", "enforcement.keep", "enforcement.lift"] {
            assert!(house.audited(action).await > 0, "{action}");
        }
    })
    .await;
}
