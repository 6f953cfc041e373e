//! How switches are read: kept sealed, checked, and made into a plan; who may see what.

use std::sync::Arc;

use async_trait::async_trait;
use base::{MemberId, OrgId, Timestamp};
use exchange::room::{Kind, RoomError};
use exchange::traffic::desk::catalogue::{Catalogue, Subject};
use exchange::traffic::desk::seams::{Ask, Figures, Last, Pair, Rates, SeamError};
use exchange::traffic::desk::{Form, Parts, Traffic};
use exchange::traffic::forecast::Day;
use exchange::traffic::plan::Access;
use exchange::traffic::snmp::usm::AuthProtocol;
use serde_json::json;
use sqlx::Row as _;
use uuid::Uuid;
use web::OrgScope;

use super::house::{House, by, on_both};

/// A lake in which one port was down at the last reading.
struct Down;

#[async_trait]
impl Figures for Down {
    async fn series(&self, _: &Ask) -> Result<Vec<Rates>, SeamError> {
        Ok(Vec::new())
    }
    async fn five_minutes(&self, _: &Ask) -> Result<Vec<(f64, f64)>, SeamError> {
        Ok(Vec::new())
    }
    async fn days(&self, _: &Ask) -> Result<Vec<Day>, SeamError> {
        Ok(Vec::new())
    }
    async fn last(&self, ask: &Ask) -> Result<Vec<Last>, SeamError> {
        let last = |port: &base::PortId| Last {
            port: *port,
            at: Timestamp(ask.to.micros() - 2_000_000),
            up: false,
            in_bps: 0.0,
            out_bps: 0.0,
            errors: 0,
            discards: 0,
        };
        Ok(ask.ports.iter().map(last).collect())
    }
    async fn matrix(
        &self,
        _: Option<&[MemberId]>,
        _: Timestamp,
        _: Timestamp,
    ) -> Result<Vec<Pair>, SeamError> {
        Ok(Vec::new())
    }
}

/// A lake in which a matrix was sampled.
struct Sampled(Vec<Pair>);

#[async_trait]
impl Figures for Sampled {
    async fn series(&self, _: &Ask) -> Result<Vec<Rates>, SeamError> {
        Ok(Vec::new())
    }
    async fn five_minutes(&self, _: &Ask) -> Result<Vec<(f64, f64)>, SeamError> {
        Ok(Vec::new())
    }
    async fn days(&self, _: &Ask) -> Result<Vec<Day>, SeamError> {
        Ok(Vec::new())
    }
    async fn last(&self, _: &Ask) -> Result<Vec<Last>, SeamError> {
        Err("the lake is away".into())
    }
    async fn matrix(
        &self,
        members: Option<&[MemberId]>,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<Pair>, SeamError> {
        assert_eq!(to.seconds() - from.seconds(), 3_600);
        let is_own = |id: Option<MemberId>| match (members, id) {
            (None, _) => true,
            (Some(members), Some(id)) => members.contains(&id),
            (Some(_), None) => false,
        };
        let pairs = self
            .0
            .iter()
            .filter(|pair| is_own(pair.from) || is_own(pair.to));
        Ok(pairs.cloned().collect())
    }
}

#[tokio::test]
async fn a_rules_dry_run_shows_what_its_member_was_sent() {
    use exchange::document::Protection;
    use exchange::protect::Evidence as _;

    on_both(async |house| {
        world(&house).await;
        let ids: Vec<MemberId> = house
            .exchange
            .all_of(Kind::Member, &exchange::room::Wanted::default())
            .await
            .expect("read")
            .iter()
            .map(|member| MemberId(member.id))
            .collect();
        // By label: TANet, TWAREN.
        let (tanet, twaren) = (Some(ids[0]), Some(ids[1]));
        let pair = |from, to, octets, octets_v6| Pair {
            from,
            to,
            octets,
            octets_v6,
            samples: 3,
        };
        let traffic = |pairs| {
            Traffic::new(Parts {
                exchange: house.exchange.clone(),
                vault: house.db.vault(),
                figures: Arc::new(Sampled(pairs)),
            })
        };
        let sampled = traffic(vec![
            pair(tanet, twaren, 1_000, 400),
            pair(None, twaren, 5_000, 0),
            pair(twaren, tanet, 70_000, 0),
        ]);
        let rule = |asn, to: &str| Protection {
            id: "r".into(),
            asn,
            destination: Some(to.parse().expect("a prefix")),
            sites: Vec::new(),
            flow: None,
        };
        let v4 = sampled.matched(&rule(Some(7539), "192.0.2.1/32")).await;
        let v4 = v4.expect("measured");
        assert_eq!((v4.seconds, v4.bytes_max, v4.samples), (3_600, 5_600, 6));
        let named = [("?".to_owned(), 5_000), ("AS7540 tanet".to_owned(), 600)];
        assert_eq!(v4.sources, named);
        let v6 = sampled.matched(&rule(Some(7539), "2001:db8::1/128")).await;
        assert_eq!(v6.expect("measured").bytes_max, 400);
        let all = sampled.matched(&rule(None, "192.0.2.1/32")).await;
        assert_eq!(all.expect("measured").bytes_max, 75_600);
        assert_eq!(
            sampled.matched(&rule(Some(64_999), "192.0.2.1/32")).await,
            None
        );
        let silent = traffic(Vec::new());
        assert_eq!(
            silent.matched(&rule(Some(7539), "192.0.2.1/32")).await,
            None
        );
    })
    .await;
}

struct World {
    traffic: Traffic,
    switch: Uuid,
    port: Uuid,
    orgs: [OrgId; 2],
}

async fn world(house: &House) -> World {
    let orgs = [1, 2].map(|n| {
        OrgId(Uuid::from_u128(
            0x0192_0000_0000_7000_8000_0000_0000_0000 | n,
        ))
    });
    house
        .create(
            Kind::Site,
            json!({ "name": "hsinchu", "title_zh": "新竹", "title_en": "Hsinchu" }),
        )
        .await;
    let switch = house
        .create(
            Kind::Switch,
            json!({ "name": "sw1", "site": "hsinchu", "vendor": "eos", "management_address": "192.0.2.1" }),
        )
        .await;
    for (n, name) in ["twaren", "tanet"].into_iter().enumerate() {
        house
            .create(
                Kind::Member,
                json!({ "short_name": name, "name": name, "asn": 7539 + n, "org": orgs[n].to_string() }),
            )
            .await;
    }
    let port = house
        .create(
            Kind::Port,
            json!({ "switch": "sw1", "name": "Ethernet1", "speed_mbps": 10_000, "member": "twaren", "state": "active" }),
        )
        .await;
    house
        .create(
            Kind::Port,
            json!({ "switch": "sw1", "name": "Ethernet49", "speed_mbps": 100_000, "role": "core", "state": "active" }),
        )
        .await;
    let traffic = Traffic::new(Parts {
        exchange: house.exchange.clone(),
        vault: house.db.vault(),
        figures: Arc::new(Down),
    });
    World {
        traffic,
        switch,
        port,
        orgs,
    }
}

fn v3() -> Form {
    Form {
        version: "v3".into(),
        user: "civicnet".into(),
        auth_protocol: "sha256".into(),
        auth_password: "authentication256".into(),
        priv_password: "privacy256".into(),
        agents: "192.0.2.129  2001:db8::129".into(),
        interval_s: Some(60),
        ..Form::default()
    }
}

#[tokio::test]
async fn credentials_are_sealed_kept_and_planned_with() {
    on_both(async |house| {
        let World {
            traffic, switch, ..
        } = world(&house).await;
        assert!(traffic.plan(None).await.expect("a plan").devices.is_empty());
        traffic.watch(&by(), switch, &v3()).await.expect("kept");
        let row = sqlx::query("SELECT auth_password, priv_password FROM exchange_snmp")
            .fetch_one(house.db.pool())
            .await
            .expect("a row");
        for (column, word) in [
            ("auth_password", "authentication"),
            ("priv_password", "privacy"),
        ] {
            let sealed: Vec<u8> = row.try_get(column).expect("octets");
            let text = String::from_utf8_lossy(&sealed).into_owned();
            assert!(!text.contains(word), "{column} is in the clear");
        }
        // Left empty, secrets stay.
        let later = Form {
            auth_password: String::new(),
            priv_password: String::new(),
            interval_s: Some(15),
            ..v3()
        };
        traffic.watch(&by(), switch, &later).await.expect("kept");
        let plan = traffic.plan(Some("hsinchu")).await.expect("a plan");
        let device = &plan.devices[0];
        assert_eq!((device.interval_s, device.agents.len()), (15, 2));
        assert!(
            device.access
                == Some(Access::V3 {
                    user: "civicnet".into(),
                    auth: Some((AuthProtocol::Sha256, "authentication256".into())),
                    privacy: Some("privacy256".into()),
                })
        );
        let named: Vec<_> = device
            .ports
            .iter()
            .map(|port| (port.name.as_str(), port.core, port.org.is_some()))
            .collect();
        assert!(named.contains(&("Ethernet1", false, true)), "{named:?}");
        assert!(named.contains(&("Ethernet49", true, false)), "{named:?}");
        let elsewhere = traffic.plan(Some("tainan")).await.expect("a plan");
        assert!(elsewhere.devices.is_empty());
        let watched = traffic.watched().await.expect("a list");
        assert!(watched[0].privacy);
        assert!(
            !serde_json::to_string(&watched)
                .expect("written")
                .contains("privacy256")
        );
    })
    .await;
}

#[tokio::test]
async fn wrong_forms_name_field_and_rule_and_change_nothing() {
    on_both(async |house| {
        let World {
            traffic, switch, ..
        } = world(&house).await;
        let cases = [
            (
                Form {
                    version: "v1".into(),
                    ..v3()
                },
                "version",
                "choice",
            ),
            (
                Form {
                    port: Some(0),
                    ..v3()
                },
                "port",
                "range",
            ),
            (
                Form {
                    interval_s: Some(1),
                    ..v3()
                },
                "interval_s",
                "range",
            ),
            (
                Form {
                    user: String::new(),
                    ..v3()
                },
                "user",
                "required",
            ),
            (
                Form {
                    auth_password: "short".into(),
                    ..v3()
                },
                "auth_password",
                "length",
            ),
            (
                Form {
                    auth_password: String::new(),
                    ..v3()
                },
                "auth_password",
                "required",
            ),
            (
                Form {
                    auth_protocol: "md5".into(),
                    ..v3()
                },
                "auth_protocol",
                "choice",
            ),
            (
                Form {
                    auth_protocol: "none".into(),
                    ..v3()
                },
                "priv_password",
                "needs-auth",
            ),
            (
                Form {
                    version: "v2c".into(),
                    ..v3()
                },
                "community",
                "required",
            ),
            (
                Form {
                    agents: "192.0.2.1 here".into(),
                    ..v3()
                },
                "agents",
                "address",
            ),
        ];
        for (form, field, rule) in cases {
            match traffic.watch(&by(), switch, &form).await {
                Err(RoomError::Invalid(problems)) => {
                    let found = (problems[0].field.as_str(), problems[0].rule);
                    assert_eq!(found, (field, rule));
                }
                other => panic!("{field} {rule}: {other:?}"),
            }
        }
        let nowhere = traffic.watch(&by(), Uuid::nil(), &v3()).await;
        assert!(matches!(nowhere, Err(RoomError::NotFound { .. })));
        assert_eq!(traffic.watched().await.expect("a list")[0].version, "");
    })
    .await;
}

#[tokio::test]
async fn everybody_sees_their_own_ports_and_faults_only() {
    on_both(async |house| {
        let world = world(&house).await;
        let now = Timestamp::from_seconds(1_795_222_800);
        world.traffic.look(now).await.expect("looked");
        let faults = |scope: &OrgScope| world.traffic.faults(scope).len();
        let own = OrgScope::Only(vec![world.orgs[0]]);
        let other = OrgScope::Only(vec![world.orgs[1]]);
        assert_eq!(
            (faults(&OrgScope::All), faults(&own), faults(&other)),
            (2, 1, 0)
        );
        let see = async |scope: &OrgScope| {
            Catalogue::of(&house.exchange, scope, true)
                .await
                .expect("a catalogue")
        };
        let (all, own, other) = (
            see(&OrgScope::All).await,
            see(&own).await,
            see(&other).await,
        );
        assert_eq!(
            (all.ports.len(), own.ports.len(), other.ports.len()),
            (2, 1, 0)
        );
        let port = Subject::Port(world.port);
        assert_eq!(all.title(port), "sw1 Ethernet1");
        assert!(own.ports_of(port).is_some());
        assert!(other.ports_of(port).is_none(), "hidden");
        assert!(
            other.ports_of(Subject::Switch(world.switch)).is_none(),
            "hidden"
        );
        let member = own.members[0].id.0;
        assert!(other.ports_of(Subject::Member(member)).is_none(), "hidden");
        // What goes between switches is nobody's total.
        assert_eq!(
            all.ports_of(Subject::Total).map(|ports| ports.len()),
            Some(1)
        );
    })
    .await;
}
