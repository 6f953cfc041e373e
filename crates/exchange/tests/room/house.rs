//! What the tests stand on: a database, and the exchange of the lab entered into it.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use base::{ManualClock, OrgId, Timestamp, UserId};
use casework::form::Text;
use casework::{Contact, People};
use exchange::document::Document;
use exchange::room::{self, By, Exchange, Kind, Parts, RoomError, Values};
use serde_json::{Value, json};
use store::Backend;
use store::testing::TestDb;
use uuid::Uuid;

pub(crate) const LAB: &str = include_str!("../golden/lab.toml");

pub(crate) struct House {
    pub(crate) db: TestDb,
    pub(crate) exchange: Exchange,
}

struct Nobody;

#[async_trait]
impl People for Nobody {
    async fn contact(&self, _: UserId) -> Option<Contact> {
        None
    }
    async fn officers(&self) -> Vec<UserId> {
        Vec::new()
    }
    async fn members(&self, _: OrgId) -> Vec<UserId> {
        Vec::new()
    }
    async fn org_name(&self, _: OrgId) -> Option<Text> {
        None
    }
}

pub(crate) async fn on_both(test: impl AsyncFn(House)) {
    for backend in [Backend::Sqlite, Backend::Postgres] {
        test(house(backend).await).await;
    }
}

pub(crate) async fn house(backend: Backend) -> House {
    let clock = Arc::new(ManualClock::at(Timestamp::from_seconds(1_795_222_800)));
    let domains = [
        web::MIGRATIONS,
        room::MIGRATIONS,
        exchange::traffic::desk::MIGRATIONS,
    ];
    let db = store::testing::fresh_with_clock(backend, clock, &domains).await;
    let exchange = Exchange::new(Parts {
        db: (*db).clone(),
        vault: db.vault(),
        people: Arc::new(Nobody),
    });
    House { db, exchange }
}

pub(crate) fn values(value: Value) -> Values {
    value.as_object().cloned().expect("an object")
}

pub(crate) fn by() -> By {
    By::system("test")
}

impl House {
    pub(crate) async fn try_create(&self, kind: Kind, value: Value) -> Result<Uuid, RoomError> {
        let mut tx = self.exchange.begin().await?;
        let made = self
            .exchange
            .create(&mut tx, &by(), kind, &values(value))
            .await?;
        tx.commit().await?;
        Ok(made.id)
    }

    pub(crate) async fn create(&self, kind: Kind, value: Value) -> Uuid {
        match self.try_create(kind, value).await {
            Ok(id) => id,
            Err(error) => panic!("{kind:?}: {error}"),
        }
    }

    pub(crate) async fn update(&self, kind: Kind, id: Uuid, value: Value) -> Result<(), RoomError> {
        let mut tx = self.exchange.begin().await?;
        let fields: Vec<(String, Value)> = values(value).into_iter().collect();
        let fields: Vec<(&str, Value)> = fields
            .iter()
            .map(|(n, v)| (n.as_str(), v.clone()))
            .collect();
        self.exchange
            .change(&mut tx, &by(), kind, id, &fields)
            .await?;
        tx.commit().await?;
        Ok(())
    }

    pub(crate) async fn delete(&self, kind: Kind, id: Uuid) -> Result<(), RoomError> {
        let mut tx = self.exchange.begin().await?;
        self.exchange.delete(&mut tx, &by(), kind, id, None).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Enters the lab's document, thing by thing.
    pub(crate) async fn enter_lab(&self) -> BTreeMap<String, Uuid> {
        let lab = Document::parse("lab.toml", LAB).expect("valid");
        let mut ids = BTreeMap::new();
        self.create(
            Kind::Profile,
            json!({ "name": lab.name, "short_name": "LAB", "policy": serde_json::to_value(&lab.policy).expect("written") }),
        )
        .await;
        for (n, site) in lab.sites.iter().enumerate() {
            self.create(
                Kind::Site,
                json!({ "name": site.name, "title_zh": site.name, "title_en": site.name }),
            )
            .await;
            self.create(Kind::Vlan, json!({ "name": site.name, "tag": 100 + n }))
                .await;
            self.create(
                Kind::Lan,
                json!({ "name": site.name, "vlan": site.name, "v4": site.lan_v4, "v6": site.lan_v6 }),
            )
            .await;
            let id = self
                .create(
                    Kind::RouteServer,
                    json!({
                        "name": format!("rs-{}", site.name), "site": site.name, "lan": site.name,
                        "router_id": site.router_id, "v4": site.address_v4, "v6": site.address_v6,
                        "blackhole_v4": site.blackhole_v4, "blackhole_v6": site.blackhole_v6,
                    }),
                )
                .await;
            ids.insert(format!("rs-{}", site.name), id);
        }
        for member in &lab.members {
            let short = format!("m{}", member.asn);
            let id = self
                .create(
                    Kind::Member,
                    json!({
                        "short_name": short, "name": member.name, "asn": member.asn,
                        "as_set": member.as_set, "max_prefix_v4": member.max_prefix.v4,
                        "max_prefix_v6": member.max_prefix.v6,
                        "password": member.password.as_ref().map(|secret| secret.reveal()),
                    }),
                )
                .await;
            ids.insert(short.clone(), id);
            for router in &member.routers {
                let name = format!("{short}/{}", router.name);
                let id = self
                    .create(
                        Kind::Router,
                        json!({
                            "member": short, "name": router.name, "site": router.site,
                            "lan": router.site, "v4": router.v4, "v6": router.v6,
                        }),
                    )
                    .await;
                ids.insert(name.clone(), id);
                for family in ["ipv4", "ipv6"] {
                    let id = self
                        .create(
                            Kind::Session,
                            json!({
                                "router": name, "family": family,
                                "route_server": format!("rs-{}", router.site),
                            }),
                        )
                        .await;
                    ids.insert(format!("{name} {family}"), id);
                }
            }
        }
        ids
    }
}
