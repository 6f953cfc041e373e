//! Another policy, or another trust in a peer, decides again what was decided automatically, on
//! both databases; what a person decided stays; a policy that is taken back brings back what it
//! ended.

use std::time::Duration;

use base::{Clock as _, EnforcementId, OrgId, UserId};
use isac::enforce::review::{Effect, Verdict};
use isac::enforce::{Policy, State, Wanted};
use isac::objects::{Via, prepare};
use serde_json::json;
use store::{Actor, PageRequest};

use crate::credit::{House, NATION, both, by, fetched, sent, states};
use crate::enforcements::trusting_policy;

impl House {
    async fn said(&self, number: u32, confidence: u8) {
        let word = self.indicator(number, number, number);
        let word = self.newer(&word, json!({"confidence": confidence}));
        self.put(sent(OrgId::generate()), &word).await;
    }

    async fn number(&self, of: u32) -> EnforcementId {
        let page = self
            .enforcements
            .search(&Wanted::default(), &PageRequest::first(1_000))
            .await
            .expect("a page");
        let target = format!("198.51.100.{of}");
        let found = page
            .items
            .iter()
            .find(|(one, _)| one.rule.target.to_string() == target);
        found.expect("there").0.rule.id
    }

    async fn in_force(&self, policy: &Policy) {
        self.enforcements
            .set_policy(Actor::System("test"), None, policy.clone())
            .await
            .expect("in force");
        self.clock.advance(Duration::from_millis(10));
        self.follow().await;
    }

    async fn state(&self, of: u32) -> State {
        let id = self.number(of).await;
        self.enforcements.get(id).await.expect("there").0.state
    }
}

fn counts(effect: &Effect) -> [u64; 5] {
    let Effect {
        looked_at,
        lift,
        refuse,
        enforce,
        propose,
        ..
    } = effect;
    [*looked_at, *lift, *refuse, *enforce, *propose]
}

#[tokio::test(flavor = "multi_thread")]
async fn another_policy_decides_again_and_its_end_brings_back() {
    both(async |house| {
        // Sure; proposed; proposed and approved; sure and extended by a person; nearly sure.
        for (number, confidence) in [(1, 100), (2, 60), (3, 60), (4, 90), (5, 90)] {
            house.said(number, confidence).await;
        }
        let person = UserId::generate();
        let desk = &house.enforcements;
        desk.decide(person, None, house.number(3).await, true, "看過")
            .await
            .expect("approved");
        let later = house.clock.now().plus(Duration::from_secs(86_400 * 40));
        let four = house.number(4).await;
        desk.extend(Actor::User(person), None, four, Some(later), "留著")
            .await
            .expect("extended");
        let strict = Policy {
            confidence_min: 95,
            automatic_min: 95,
            trust_default: 100,
            ..Policy::default()
        };
        let effect = desk
            .effect(&house.objects, Some(&strict), &[])
            .await
            .expect("previewed");
        assert_eq!(counts(&effect), [3, 1, 1, 0, 0]);
        let why = Verdict::End("confidence 90 is below 95".to_owned());
        assert!(effect.examples.iter().any(|one| one.1 == why), "{effect:?}");
        house.follow().await;
        assert_eq!(house.state(5).await, State::Active, "previewed only");
        house.in_force(&strict).await;
        let expected = [
            State::Active,
            State::Rejected,
            State::Active,
            State::Active,
            State::Lifted,
        ];
        for (number, state) in (1..).zip(expected) {
            assert_eq!(house.state(number).await, state, "{number}");
        }
        let five = house.number(5).await;
        let why = desk.get(five).await.expect("there").0.decided_why;
        assert_eq!(
            why,
            "policy 2 no longer accepts it: confidence 90 is below 95"
        );
        let review = desk.last_review().await.expect("read").expect("one");
        assert_eq!((review.policy, review.looked_at), (2, 3));
        assert_eq!((review.lifted, review.refused, review.enforced), (1, 1, 0));
        assert!(review.ended_at.is_some());
        // By mistake: the former one again.
        let effect = desk
            .effect(&house.objects, Some(&trusting_policy()), &[])
            .await
            .expect("previewed");
        assert_eq!(counts(&effect), [3, 0, 0, 1, 1]);
        house.in_force(&trusting_policy()).await;
        assert_eq!(house.state(5).await, State::Active);
        assert_eq!(house.state(2).await, State::Proposed);
        assert_eq!(house.number(5).await, five, "the same decision");
        // What waits is sure enough for another.
        let eager = Policy {
            automatic_min: 50,
            trust_default: 100,
            ..Policy::default()
        };
        house.in_force(&eager).await;
        assert_eq!(house.state(2).await, State::Active);
        // What a person lifts afterwards does not come back.
        desk.lift(Actor::User(person), None, five, "誤判")
            .await
            .expect("lifted");
        house.in_force(&strict).await;
        house.in_force(&eager).await;
        assert_eq!(house.state(5).await, State::Lifted);
        assert_eq!(house.state(2).await, State::Active);
        let audited: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM audit_entry WHERE action = 'enforcement.review'",
        )
        .fetch_one(house.db.pool())
        .await
        .expect("the trail");
        assert_eq!(audited, 5);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_trust_in_a_peer_decides_again() {
    both(async |house| {
        let trust = async |trust: u8| {
            house
                .sharing
                .set_trust_in_peer(&by(), "nation", NATION, trust)
                .await
                .expect("in force");
            house.clock.advance(Duration::from_millis(10));
            house.follow().await;
        };
        trust(90).await;
        // By two authors, so that the house has a word of its own on it.
        for number in 1..3 {
            let word = house.indicator(number, number, 1);
            house.put(fetched(NATION), &word).await;
        }
        house.said(9, 90).await;
        let active = async || {
            let found = house.on(1).await;
            found.iter().filter(|row| row.0 == State::Active).count()
        };
        let before = states(&house.on(1).await);
        assert_eq!(active().await, 3, "{before:?}");
        let none = [(Via::of(NATION), 0)];
        let effect = house.enforcements.effect(&house.objects, None, &none).await;
        let effect = effect.expect("previewed");
        assert_eq!(counts(&effect), [4, 3, 0, 0, 0], "{effect:?}");
        trust(0).await;
        assert_eq!(active().await, 0);
        assert_eq!(house.state(9).await, State::Active, "another's");
        trust(90).await;
        assert_eq!(states(&house.on(1).await), before);
        // Taken back meanwhile, it does not come back.
        trust(0).await;
        for number in 1..3 {
            let word = house.indicator(number, number, 1);
            let gone = house.newer(&word, json!({"revoked": true}));
            house.put(fetched(NATION), &gone).await;
        }
        trust(90).await;
        assert_eq!(active().await, 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_are_decided_again_in_steps() {
    both(async |house| {
        const MANY: u32 = 450;
        let words = (0..MANY).map(|number| {
            let pattern = format!(
                "[ipv4-addr:value = '203.0.{}.{}']",
                113 + number / 250,
                number % 250
            );
            let word = house.newer(
                &house.indicator(number, 1, 1),
                json!({"pattern": pattern, "confidence": 90}),
            );
            prepare::object(&word.to_string()).expect("good")
        });
        house
            .objects
            .put(&house.here, sent(OrgId::generate()), words.collect(), None)
            .await
            .expect("stored");
        house.follow().await;
        let off = Policy {
            on: false,
            trust_default: 100,
            ..Policy::default()
        };
        let effect = house
            .enforcements
            .effect(&house.objects, Some(&off), &[])
            .await
            .expect("previewed");
        assert_eq!(counts(&effect), [u64::from(MANY), u64::from(MANY), 0, 0, 0]);
        house.in_force(&off).await;
        let review = async || {
            let review = house.enforcements.last_review().await.expect("read");
            let review = review.expect("one");
            (review.looked_at, review.lifted, review.enforced)
        };
        let many = i64::from(MANY);
        assert_eq!(review().await, (many, many, 0));
        house.in_force(&trusting_policy()).await;
        assert_eq!(review().await, (many, 0, many));
    })
    .await;
}
