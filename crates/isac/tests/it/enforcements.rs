//! Enforcement on both databases: from an indicator to the orders for nodes and back,
//! four eyes, extension, versions of the policy, questions.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use base::enforcement::{Rule, Target};
use base::quick::Order;
use base::{EnforcementId, OrgId, Role, Timestamp, UserId};
use isac::enforce::seams::{Grouping, Hits, NodeHits, Orders, Past, SeamError, Seen};
use isac::enforce::{Decided, EnforceError, Enforcements, New, Policy, State, Wanted};
use isac::objects::{Collection, Filter, Objects, Source, prepare};
use isac::stix::Tlp;
use serde_json::json;
use store::testing::{TestDb, both};
use store::{Actor, PageRequest, Tx};

/// Keeps what nodes are told, and knows what clients asked for.
#[derive(Default)]
pub(crate) struct Nodes {
    pub(crate) orders: Mutex<Vec<(Role, Order)>>,
    pub(crate) seen: Vec<(Grouping, Seen)>,
}

#[async_trait]
impl Orders for Nodes {
    async fn order(&self, _: &mut Tx, role: Role, order: Order) -> Result<u64, SeamError> {
        let mut orders = self.orders.lock().expect("no panic elsewhere");
        orders.push((role, order));
        Ok(orders.len() as u64)
    }
}

#[async_trait]
impl Past for Nodes {
    async fn hits(&self, ids: &[EnforcementId]) -> Result<Vec<Hits>, SeamError> {
        let hits = Hits {
            count: 7,
            last: Some(Timestamp(1)),
        };
        Ok(vec![hits; ids.len()])
    }
    async fn hits_by_node(&self, _: EnforcementId) -> Result<Vec<NodeHits>, SeamError> {
        Ok(vec![NodeHits {
            node: "edge-hsinchu".into(),
            role: "edge".into(),
            hits: Hits {
                count: 7,
                last: Some(Timestamp(1)),
            },
        }])
    }
    async fn requests(
        &self,
        by: Grouping,
        from: Timestamp,
        to: Timestamp,
        _: usize,
    ) -> Result<(Vec<Seen>, bool), SeamError> {
        assert!(from < to);
        let seen = self.seen.iter().filter(|(grouping, _)| *grouping == by);
        Ok((seen.map(|(_, seen)| seen.clone()).collect(), false))
    }
}

struct House {
    enforcements: Enforcements,
    nodes: Arc<Nodes>,
    objects: Objects,
    here: Collection,
}

async fn house(db: &TestDb) -> House {
    let seen = |what: &str, requests| Seen {
        what: what.to_owned(),
        requests,
    };
    let nodes = Arc::new(Nodes {
        orders: Mutex::default(),
        seen: vec![
            (Grouping::Client, seen("198.51.100.7", 3)),
            (Grouping::Client, seen("203.0.113.1", 5)),
            (Grouping::Host, seen("WWW.evil.example", 2)),
        ],
    });
    let objects = Objects::open((**db).clone()).await.expect("a store");
    let here = objects
        .create_collection("here", "", None, &[], &Source::house("test"))
        .await
        .expect("a collection");
    House {
        enforcements: Enforcements::new((**db).clone(), nodes.clone(), nodes.clone()),
        nodes,
        objects,
        here,
    }
}

fn target(text: &str) -> Target {
    text.parse().expect("a target")
}

impl House {
    async fn push(
        &self,
        number: u32,
        pattern: &str,
        confidence: u8,
        more: serde_json::Value,
        org: Option<OrgId>,
    ) {
        let mut object = json!({
            "type": "indicator", "spec_version": "2.1", "id": format!("indicator--00000000-0000-4000-8000-{number:012}"),
            "created": "2026-01-01T00:00:00.000Z", "modified": "2026-01-01T00:00:00.000Z", "name": format!("indicator {number}"),
            "pattern": pattern, "pattern_type": "stix", "valid_from": "2026-01-01T00:00:00Z", "confidence": confidence,
            "object_marking_refs": [Tlp::Green.marking()],
        });
        for (name, value) in more.as_object().into_iter().flatten() {
            object[name] = value.clone();
        }
        let prepared = prepare::object(&object.to_string()).expect("a good indicator");
        let mut source = Source::house("test");
        source.org = org;
        self.objects
            .put(&self.here, source, vec![prepared], None)
            .await
            .expect("stored");
        self.enforcements
            .follow(&self.objects)
            .await
            .expect("followed");
    }

    async fn found(&self, wanted: Wanted) -> Vec<Decided> {
        let (mut all, mut request) = (Vec::new(), PageRequest::first(2));
        loop {
            let page = self
                .enforcements
                .search(&wanted, &request)
                .await
                .expect("a page");
            all.extend(page.items.into_iter().map(|(decided, hits)| {
                assert_eq!(hits.count, 7);
                decided
            }));
            match page.next {
                Some(next) => request.cursor = Some(next),
                None => return all,
            }
        }
    }

    fn orders(&self) -> Vec<(Role, Order)> {
        std::mem::take(&mut *self.nodes.orders.lock().expect("no panic elsewhere"))
    }
}

/// The policy that is built in, but for what members' words are worth.
pub(crate) fn trusting_policy() -> Policy {
    Policy {
        trust_default: 100,
        ..Policy::default()
    }
}

/// Officers have raised what members' words are worth: the surest are enforced at once.
pub(crate) async fn trusting(enforcements: &Enforcements) {
    enforcements
        .set_policy(Actor::System("test"), None, trusting_policy())
        .await
        .expect("in force");
}

pub(crate) fn by_hand(text: &str, user: UserId, proposed: bool) -> New {
    New {
        target: target(text),
        action: base::enforcement::Action::Refuse,
        roles: Vec::new(),
        source: format!("user:{user}"),
        reason: "人工".into(),
        confidence: 100,
        until: None,
        proposed,
        tlp: None,
        said_at: 0,
    }
}

const DOMAINS: [store::Migrations; 3] =
    [web::MIGRATIONS, isac::MIGRATIONS, isac::enforce::MIGRATIONS];

#[tokio::test(flavor = "multi_thread")]
async fn from_an_indicator_to_orders_and_back() {
    both(&DOMAINS, async |db| {
        let house = house(&db).await;
        trusting(&house.enforcements).await;
        house
            .push(1, "[ipv4-addr:value = '198.51.100.7']", 90, json!({}), None)
            .await;
        let active = house
            .found(Wanted {
                state: Some(State::Active),
                ..Wanted::default()
            })
            .await;
        assert_eq!(active.len(), 1);
        assert_eq!(
            (active[0].tlp, active[0].confidence),
            (Some(Tlp::Green), 90)
        );
        let orders = house.orders();
        assert_eq!(
            orders.iter().map(|(role, _)| *role).collect::<Vec<_>>(),
            [Role::Edge, Role::Dispatch]
        );
        // Followed again: nothing changes.
        house
            .enforcements
            .follow(&house.objects)
            .await
            .expect("followed");
        assert!(house.orders().is_empty());
        // Another organisation's version under the same id does not undo the first's.
        let other = OrgId::generate();
        house
            .push(
                1,
                "[ipv4-addr:value = '198.51.100.9']",
                90,
                json!({"modified": "2026-02-01T00:00:00.000Z"}),
                Some(other),
            )
            .await;
        let made = house
            .enforcements
            .of_indicator("indicator--00000000-0000-4000-8000-000000000001")
            .await
            .expect("made");
        assert_eq!(made.len(), 2);
        assert!(
            made.iter()
                .all(|(decided, _)| decided.state == State::Active)
        );
        // The same organisation takes its own back.
        house.orders();
        house
            .push(
                1,
                "[ipv4-addr:value = '198.51.100.9']",
                90,
                json!({"modified": "2026-03-01T00:00:00.000Z", "revoked": true}),
                Some(other),
            )
            .await;
        let lifted = house
            .found(Wanted {
                state: Some(State::Lifted),
                ..Wanted::default()
            })
            .await;
        assert_eq!(
            lifted
                .iter()
                .map(|one| one.rule.target.to_string())
                .collect::<Vec<_>>(),
            ["198.51.100.9"]
        );
        assert!(matches!(house.orders()[0].1, Order::Lift(_)));
        // Deleted from the collection: all that it made goes.
        let gone = house
            .objects
            .delete(
                &house.here,
                Tlp::Red,
                "indicator--00000000-0000-4000-8000-000000000001",
                &Filter::default(),
                &Source::house("test"),
            )
            .await;
        assert_eq!(gone.expect("deleted"), 3);
        house
            .enforcements
            .follow(&house.objects)
            .await
            .expect("followed");
        assert!(
            house
                .found(Wanted {
                    state: Some(State::Active),
                    ..Wanted::default()
                })
                .await
                .is_empty()
        );
        // Ids with the same beginning are not taken for each other.
        let none = house
            .enforcements
            .of_indicator("indicator--0")
            .await
            .expect("asked");
        assert!(none.is_empty());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_people_decide_and_one_alone_does_not() {
    both(&DOMAINS, async |db| {
        let house = house(&db).await;
        let (one, other) = (UserId::generate(), UserId::generate());
        let desk = &house.enforcements;
        let made = desk
            .enforce(
                Actor::User(one),
                None,
                vec![by_hand("evil.example", one, true)],
            )
            .await
            .expect("proposed");
        assert!(house.orders().is_empty(), "only proposed");
        assert_eq!(desk.waiting(10).await.expect("counted"), 1);
        let id = made[0].rule.id;
        let alone = desk.decide(one, None, id, true, "me").await;
        assert!(matches!(alone, Err(EnforceError::Conflict(_))));
        assert!(matches!(
            desk.lift(Actor::User(other), None, id, "").await,
            Err(EnforceError::Conflict(_))
        ));
        let decided = desk
            .decide(other, None, id, true, "也看到了")
            .await
            .expect("approved");
        assert_eq!(decided.state, State::Active);
        assert_eq!(house.orders().len(), 2);
        assert!(matches!(
            desk.decide(other, None, id, false, "").await,
            Err(EnforceError::Conflict(_))
        ));
        // Extended: nodes are told the new end; what is past is refused.
        let ahead = db.clock().now().plus(std::time::Duration::from_secs(3_600));
        let extended = desk
            .extend(Actor::User(other), None, id, Some(ahead), "longer")
            .await
            .expect("extended");
        assert_eq!(extended.rule.until, Some(ahead));
        assert_eq!(desk.get(id).await.expect("there").0.rule.until, Some(ahead));
        match &house.orders()[0].1 {
            Order::Enforce(rules) => assert_eq!(
                rules
                    .iter()
                    .map(|rule: &Rule| (rule.id, rule.until))
                    .collect::<Vec<_>>(),
                [(id, Some(ahead))]
            ),
            other => panic!("{other:?}"),
        }
        let past = desk
            .extend(Actor::User(other), None, id, Some(Timestamp(1)), "")
            .await;
        assert!(matches!(past, Err(EnforceError::Conflict(_))));
        desk.lift(Actor::User(other), None, id, "誤判")
            .await
            .expect("lifted");
        assert!(matches!(
            desk.extend(Actor::User(other), None, id, None, "").await,
            Err(EnforceError::Conflict(_))
        ));
        // Refused ones never reach a node.
        let made = desk
            .enforce(
                Actor::User(one),
                None,
                vec![by_hand("b.example", one, true)],
            )
            .await
            .expect("proposed");
        house.orders();
        desk.decide(other, None, made[0].rule.id, false, "no")
            .await
            .expect("refused");
        assert!(house.orders().is_empty());
        let actions: Vec<String> =
            sqlx::query_scalar("SELECT action FROM audit_entry ORDER BY seq")
                .fetch_all(db.pool())
                .await
                .expect("the trail");
        for action in [
            "enforcement.propose",
            "enforcement.approve",
            "enforcement.extend",
            "enforcement.lift",
            "enforcement.reject",
        ] {
            assert!(
                actions.iter().any(|one| one == action),
                "{action} in {actions:?}"
            );
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_questions_policies_and_simulation() {
    both(&DOMAINS, async |db| {
        let house = house(&db).await;
        let (user, desk) = (UserId::generate(), &house.enforcements);
        let wanted = [
            "198.51.100.0/24",
            "*.evil.example",
            "evil.test",
            "http://a.example/x",
        ];
        let news = wanted
            .iter()
            .map(|text| by_hand(text, user, false))
            .collect();
        desk.enforce(Actor::User(user), None, news)
            .await
            .expect("made");
        house
            .push(3, "[domain-name:value = 'c.example']", 50, json!({}), None)
            .await;
        let count = async |wanted: Wanted| house.found(wanted).await.len();
        assert_eq!(count(Wanted::default()).await, 5);
        assert_eq!(
            count(Wanted {
                from_indicator: Some(true),
                ..Wanted::default()
            })
            .await,
            1
        );
        assert_eq!(
            count(Wanted {
                from_indicator: Some(false),
                ..Wanted::default()
            })
            .await,
            4
        );
        assert_eq!(
            count(Wanted {
                target: Some("evil".into()),
                ..Wanted::default()
            })
            .await,
            1
        );
        assert_eq!(
            count(Wanted {
                target: Some("*.".into()),
                ..Wanted::default()
            })
            .await,
            1
        );
        assert_eq!(
            count(Wanted {
                kind: Some(base::enforcement::TargetKind::Domain),
                ..Wanted::default()
            })
            .await,
            3
        );
        assert_eq!(
            count(Wanted {
                state: Some(State::Proposed),
                ..Wanted::default()
            })
            .await,
            1
        );
        // Why: by itself, by what covers it, or not at all.
        let why = async |text: &str| {
            desk.why(target(text))
                .await
                .expect("answered")
                .decisions
                .len()
        };
        assert_eq!(why("198.51.100.7").await, 1);
        assert_eq!(why("x.y.evil.example").await, 1);
        assert_eq!(why("http://a.example/x?y").await, 1);
        assert_eq!(why("203.0.113.1").await, 0);
        // The policy: versions, and what it forbids from then on.
        let bad = Policy {
            days: 0,
            ..Policy::default()
        };
        assert!(matches!(
            desk.set_policy(Actor::User(user), None, bad).await,
            Err(EnforceError::Policy(_))
        ));
        for never in ["203.0.113.0/24", "own.example"] {
            let policy = Policy {
                never: vec![target(never)],
                ..Policy::default()
            };
            desk.set_policy(Actor::User(user), None, policy)
                .await
                .expect("kept");
        }
        let versions = desk.policies(&PageRequest::first(1)).await.expect("a page");
        assert_eq!(versions.items[0].version, 2);
        assert!(versions.next.is_some());
        let forbidden = desk
            .enforce(
                Actor::User(user),
                None,
                vec![by_hand("own.example", user, false)],
            )
            .await;
        assert!(matches!(forbidden, Err(EnforceError::Forbidden { .. })));
        // A simulation looks at the day in pieces and sums them.
        let piece = tokio::sync::watch::Sender::new(0);
        let seen = desk
            .simulate_telling(&target("198.51.100.0/24"), &piece)
            .await
            .expect("simulated");
        let pieces = u64::from(*piece.borrow());
        assert!(pieces > 1);
        assert_eq!(
            (seen.requests, seen.of, seen.groups),
            (3 * pieces, 8 * pieces, 1)
        );
        let seen = desk
            .simulate(&target("*.evil.example"))
            .await
            .expect("simulated");
        assert_eq!(seen.requests, 2 * pieces);
        assert!(desk.simulate(&target(&"0".repeat(64))).await.is_err());
        let met = desk.met_at(EnforcementId::generate()).await.expect("told");
        assert_eq!(met[0].node, "edge-hsinchu");
    })
    .await;
}

/// Beyond the bound of what nodes hold, what one role obeys is not crowded out by what it does
/// not obey.
#[tokio::test(flavor = "multi_thread")]
async fn what_others_obey_takes_no_place() {
    both(&[web::MIGRATIONS, isac::MIGRATIONS, isac::enforce::MIGRATIONS], async |db| {
        let house = house(&db).await;
        // As many as nodes hold, each older than what follows: addresses for edges alone, which
        // name servers and the exchange pass over.
        let mut tx = db.begin().await.expect("begun");
        sqlx::query(
            "INSERT INTO enforce_rule (id, target, kind, action, roles, source, reason, confidence, state, policy, made_by, made_at, decided_why)
             WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 200000)
             SELECT '00000000-0000-7000-8000-' || CAST(100000000000 + n AS TEXT), '198.51.100.7', 'address', '\"refuse\"', '[\"edge\"]', 'user:x', '', 90, 'lifted', 0, 'x', 0, '' FROM c",
        )
        .execute(&mut *tx)
        .await
        .expect("rows");
        tx.commit().await.expect("kept");
        let new = |text: &str, roles: &[Role]| New {
            target: target(text),
            action: base::enforcement::Action::Refuse,
            roles: roles.to_vec(),
            source: "user:test".into(),
            reason: "because".into(),
            confidence: 90,
            until: None,
            proposed: false,
            tlp: None,
            said_at: 0,
        };
        let wanted = vec![
            new("203.0.113.1", &[]),
            new("203.0.113.2", &[Role::Dispatch]),
            new("203.0.113.3", &[Role::Edge]),
            new("http://evil.example/x", &[]),
        ];
        house
            .enforcements
            .enforce(Actor::System("test"), None, wanted)
            .await
            .expect("made");
        let mut tx = db.begin().await.expect("begun");
        sqlx::query("UPDATE enforce_rule SET state = 'active' WHERE state = 'lifted'")
            .execute(&mut *tx)
            .await
            .expect("in force");
        tx.commit().await.expect("kept");
        let texts = |rules: &[Rule]| -> Vec<String> {
            rules.iter().map(|rule| rule.target.to_string()).collect()
        };
        let folded = house.enforcements.folded(Role::Dispatch).await.expect("folded");
        assert_eq!(texts(&folded.rules), ["203.0.113.1", "203.0.113.2"]);
        let everywhere = house.enforcements.networks_everywhere().await.expect("rules");
        assert_eq!(texts(&everywhere), ["203.0.113.1"]);
        let none = house.enforcements.folded(Role::Exchange).await.expect("folded");
        assert!(none.rules.is_empty());
        let mut tx = db.begin().await.expect("begun");
        sqlx::query("DELETE FROM enforce_rule WHERE source = 'user:x'")
            .execute(&mut *tx)
            .await
            .expect("gone");
        tx.commit().await.expect("kept");
        let folded = house.enforcements.folded(Role::Edge).await.expect("folded");
        assert_eq!(
            texts(&folded.rules),
            ["203.0.113.1", "203.0.113.3", "url:evil.example/x"]
        );
    })
    .await;
}
