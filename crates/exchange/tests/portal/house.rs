//! What these tests stand on: an exchange with two sites, two networks that apply, three officers.

use std::sync::Arc;

use async_trait::async_trait;
use base::{CaseId, ManualClock, OrgId, Timestamp, UserId};
use casework::form::{Forms, Text, Values};
use casework::guard::{Fetcher, SystemResolve};
use casework::{Case, CaseError, Casework, CaseworkConfig, Contact, People, Who};
use exchange::portal::Portal;
use exchange::protect::{Protect, space};
use exchange::room::{By, Exchange, Kind, Parts, Record, Wanted};
use serde_json::{Value, json};
use store::testing::TestDb;
use store::{Backend, Blobs};
use web::OrgScope;

pub(super) struct House {
    pub(super) db: TestDb,
    pub(super) clock: Arc<ManualClock>,
    pub(super) casework: Casework,
    pub(super) exchange: Exchange,
    pub(super) portal: Portal,
    pub(super) protect: Protect,
    /// A network that applies, and its editor.
    pub(super) north: OrgId,
    pub(super) anna: Who,
    /// Another network, and its editor.
    pub(super) south: OrgId,
    pub(super) ben: Who,
    pub(super) officers: [Who; 3],
}

struct Staff(Vec<UserId>);

#[async_trait]
impl People for Staff {
    async fn contact(&self, user: UserId) -> Option<Contact> {
        Some(Contact {
            name: "王小明".into(),
            email: Some(format!("{user}@agency.example")),
            language: "zh-TW".into(),
        })
    }
    async fn officers(&self) -> Vec<UserId> {
        self.0.clone()
    }
    async fn org_name(&self, org: OrgId) -> Option<Text> {
        Some(Text::new(format!("機關 {org}"), format!("Org {org}")))
    }
}

fn member(org: OrgId) -> Who {
    Who {
        user: UserId::generate(),
        sees: OrgScope::Only(vec![org]),
        applies: OrgScope::Only(vec![org]),
        officer: false,
        only: None,
        request: Some("r-1".into()),
    }
}

fn officer() -> Who {
    Who {
        user: UserId::generate(),
        sees: OrgScope::All,
        applies: OrgScope::Only(vec![]),
        officer: true,
        only: None,
        request: None,
    }
}

pub(super) async fn on_both(test: impl AsyncFn(House)) {
    for backend in [Backend::Sqlite, Backend::Postgres] {
        test(house(backend).await).await;
    }
}

async fn house(backend: Backend) -> House {
    runtime::crypto::install_provider();
    let clock = Arc::new(ManualClock::at(Timestamp::from_seconds(1_795_222_800)));
    let domains = [
        web::MIGRATIONS,
        casework::MIGRATIONS,
        exchange::room::MIGRATIONS,
    ];
    let db = store::testing::fresh_with_clock(backend, clock.clone(), &domains).await;
    let (north, south) = (OrgId::generate(), OrgId::generate());
    let officers = [officer(), officer(), officer()];
    let people: Arc<dyn People> = Arc::new(Staff(officers.iter().map(|who| who.user).collect()));
    let room = Exchange::new(Parts {
        db: (*db).clone(),
        vault: db.vault(),
        people: people.clone(),
    });
    let protect = Protect::new((*db).clone(), None);
    let portal = Portal::new(room.clone(), protect.clone());
    let mut forms = Forms::default();
    for form in exchange::portal::FORMS {
        forms.register(form).expect("a form that is right");
    }
    let mut config = CaseworkConfig::default();
    config.smtp.host = "127.0.0.1".into();
    let casework = Casework::new(casework::Parts {
        db: (*db).clone(),
        vault: db.vault(),
        blobs: Blobs::open(&db.config.blobs).expect("a directory"),
        forms,
        grants: portal.grants(),
        people,
        fetcher: Fetcher::new(Arc::new(SystemResolve), &config.allow_private),
        config,
    });
    let house = House {
        db,
        clock,
        casework,
        exchange: room,
        portal,
        protect,
        north,
        anna: member(north),
        south,
        ben: member(south),
        officers,
    };
    house.build().await;
    house
}

pub(super) fn object(value: Value) -> Values {
    value.as_object().cloned().expect("an object")
}

/// What the first network asks for.
pub(super) fn join(asn: u32, short: &str) -> Values {
    object(json!({
        "name": format!("Network {short}"),
        "short_name": short,
        "asn": asn,
        "as_set": format!("AS-{short}"),
        "max_prefix_v4": 1000,
        "max_prefix_v6": 500,
        "peering_policy": "open",
        "router1_name": "b1", "router1_site": "hsinchu", "router1_speed": "10G", "router1_links": 2,
        "router1_mac": "00:1c:73:00:00:01",
        "router2_name": "b2", "router2_site": "tainan", "router2_speed": "100G", "router2_links": 1,
        "families": "both",
        "bfd": true,
        "md5": true,
        "flowspec": true,
        "noc_email": "noc@net.example",
        "noc_phone": "+886 2 1234 5678",
        "technical_name": "李大華",
        "technical_email": "tech@net.example",
        "security_name": "陳小美",
        "security_email": "security@net.example",
        "accept_rules": true,
        "agree": true,
    }))
}

impl House {
    async fn make(&self, kind: Kind, value: Value) -> Record {
        let mut tx = self.exchange.begin().await.expect("a transaction");
        let record = self
            .exchange
            .create(&mut tx, &By::system("test"), kind, &object(value))
            .await
            .expect("a thing");
        tx.commit().await.expect("kept");
        record
    }

    async fn build(&self) {
        let policy = json!({ "asn": 64_500, "irr": { "enabled": true } });
        self.make(Kind::Profile, json!({ "name": "Lab Exchange", "short_name": "LABIX", "country": "TW", "policy": policy })).await;
        for (n, site) in [(1, "hsinchu"), (2, "tainan")] {
            self.make(
                Kind::Site,
                json!({ "name": site, "title_zh": site, "title_en": site, "state": "active" }),
            )
            .await;
            let switch = format!("sw{n}");
            self.make(
                Kind::Switch,
                json!({ "name": switch, "site": site, "vendor": "eos", "state": "active" }),
            )
            .await;
            let vlan = format!("peering{n}");
            self.make(
                Kind::Vlan,
                json!({ "name": vlan, "tag": 100 + n, "purpose": "peering", "site": site }),
            )
            .await;
            let lan = format!("lan{n}");
            self.make(Kind::Lan, json!({ "name": lan, "vlan": vlan, "v4": format!("203.0.{n}.0/24"), "v6": format!("2001:db8:{n}::/64"), "mtu": 1500 })).await;
            self.make(Kind::RouteServer, json!({
                "name": format!("rs{n}"), "site": site, "lan": lan, "router_id": format!("203.0.{n}.1"),
                "v4": format!("203.0.{n}.1"), "v6": format!("2001:db8:{n}::1"), "blackhole_v4": format!("203.0.{n}.66"), "state": "active",
            })).await;
            for (port, speed) in [
                (1, 10_000),
                (2, 10_000),
                (3, 10_000),
                (4, 100_000),
                (5, 100_000),
            ] {
                self.make(Kind::Port, json!({ "switch": switch, "name": format!("Ethernet{port}"), "role": "member", "speed_mbps": speed, "state": "free" })).await;
            }
        }
    }

    /// Takes a step on the newest version.
    pub(super) async fn act(
        &self,
        who: &Who,
        case: CaseId,
        action: &str,
    ) -> Result<Case, CaseError> {
        let opened = self.casework.open(who, case).await?;
        self.casework
            .act(who, case, opened.case.version, action, "因為如此")
            .await
    }

    /// A case that was submitted.
    pub(super) async fn submitted(
        &self,
        who: &Who,
        org: OrgId,
        form: &str,
        values: Values,
    ) -> Result<Case, CaseError> {
        let draft = self
            .casework
            .start(who, form, Some(org), values, None)
            .await?;
        self.act(who, draft.id, "submit").await
    }

    /// A case that two officers granted.
    pub(super) async fn granted(
        &self,
        who: &Who,
        org: OrgId,
        form: &str,
        values: Values,
    ) -> Result<Case, CaseError> {
        let case = self.submitted(who, org, form, values).await?;
        self.act(&self.officers[0], case.id, "start-review").await?;
        self.act(&self.officers[0], case.id, "approve").await?;
        self.act(&self.officers[1], case.id, "grant").await
    }

    /// Everything of a kind.
    pub(super) async fn all(&self, kind: Kind) -> Vec<Record> {
        self.exchange
            .all_of(kind, &Wanted::default())
            .await
            .expect("things")
    }

    /// Two members with registered space.
    pub(super) async fn two_members(&self) {
        self.granted(&self.anna, self.north, "ix-join", join(64_501, "NORTH"))
            .await
            .expect("joined");
        let mut values = join(64_502, "SOUTH");
        for (name, value) in [
            ("router1_links", json!(1)),
            ("router1_mac", json!("00:1c:73:00:00:02")),
        ] {
            values.insert(name.into(), value);
        }
        self.granted(&self.ben, self.south, "ix-join", values)
            .await
            .expect("joined");
        for (asn, prefixes) in [
            (64_501, ["198.51.100.0/24", "2001:db8:a::/48"]),
            (64_502, ["192.0.2.0/24", "2001:db8:b::/48"]),
        ] {
            let prefixes: Vec<base::Prefix> = prefixes
                .iter()
                .map(|text| text.parse().expect("a prefix"))
                .collect();
            self.protect
                .keep_space(&By::system("test"), asn, space::BY_HAND, &prefixes)
                .await
                .expect("kept");
        }
    }

    pub(super) async fn count(&self, sql: &'static str) -> i64 {
        let (count,): (i64,) = sqlx::query_as(sql)
            .fetch_one(self.db.pool())
            .await
            .expect("a count");
        count
    }
}
