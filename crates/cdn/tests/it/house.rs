//! What the tests stand on: a database, casework, and the other rooms' parts played
//! by small recorders.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use base::delivery::{DispatchSnapshot, EdgeSnapshot};
use base::quick::Order;
use base::{ManualClock, OrgId, Role, SiteId, Timestamp, UserId};
use casework::OrgScope;
use casework::form::{Forms, Values};
use casework::guard::{Fetcher, Resolve, SystemResolve};
use casework::{Casework, CaseworkConfig, Contact, Grant, People, Who};
use cdn::seams::{
    Lookup, NodeView, Nodes, OrderProgress, Orders, Publisher, SeamError, Statistics, StatsPoint,
    StatsQuery, StatsRow,
};
use cdn::settings::SiteConfig;
use cdn::{By, Cdn, CdnConfig, NewSite, Parts, Site, SiteGrant};
use store::testing::TestDb;
use store::{Blobs, Tx};

/// Plays fabric, lake and dns, and remembers what it was told.
#[derive(Default)]
pub(crate) struct Rooms {
    pub(crate) edge: Mutex<Vec<EdgeSnapshot>>,
    pub(crate) dispatch: Mutex<Vec<DispatchSnapshot>>,
    pub(crate) orders: Mutex<Vec<Order>>,
    pub(crate) txt: Mutex<HashMap<String, Vec<String>>>,
    pub(crate) broken: Mutex<bool>,
    pub(crate) series: Mutex<Vec<(String, Vec<StatsPoint>)>>,
    pub(crate) rows: Mutex<Vec<StatsRow>>,
    pub(crate) away: Mutex<bool>,
}

#[async_trait]
impl Publisher for Rooms {
    async fn edge(&self, snapshot: &EdgeSnapshot) -> Result<u64, SeamError> {
        if *self.broken.lock().expect("unpoisoned") {
            return Err(SeamError {
                what: "fabric is away".into(),
                source: None,
            });
        }
        let mut kept = self.edge.lock().expect("unpoisoned");
        kept.push(snapshot.clone());
        Ok(kept.len() as u64)
    }
    async fn dispatch(&self, snapshot: &DispatchSnapshot) -> Result<u64, SeamError> {
        let mut kept = self.dispatch.lock().expect("unpoisoned");
        kept.push(snapshot.clone());
        Ok(kept.len() as u64)
    }
}

#[async_trait]
impl Orders for Rooms {
    async fn order(&self, _: &mut Tx, _: Role, order: Order) -> Result<u64, SeamError> {
        let mut kept = self.orders.lock().expect("unpoisoned");
        kept.push(order);
        Ok(kept.len() as u64)
    }
    async fn progress(&self, seqs: &[u64]) -> Result<Vec<OrderProgress>, SeamError> {
        let node = |name: &str| name.parse().expect("a node's name");
        Ok(seqs
            .iter()
            .flat_map(|seq| {
                [
                    OrderProgress {
                        seq: *seq,
                        node: node("edge-a"),
                        acked_at: Some(Timestamp(*seq as i64)),
                        done: 5,
                        total: 5,
                        failed: 0,
                    },
                    OrderProgress {
                        seq: *seq,
                        node: node("edge-b"),
                        acked_at: (*seq == 1).then_some(Timestamp(9)),
                        done: 1,
                        total: 5,
                        failed: 1,
                    },
                ]
            })
            .collect())
    }
}

#[async_trait]
impl Nodes for Rooms {
    async fn nodes(&self) -> Result<Vec<NodeView>, SeamError> {
        Ok(Vec::new())
    }
}

#[async_trait]
impl Statistics for Rooms {
    async fn series(&self, _: &StatsQuery) -> Result<Vec<StatsPoint>, SeamError> {
        Ok(Vec::new())
    }
    async fn top_urls(&self, _: &StatsQuery, _: usize) -> Result<Vec<StatsRow>, SeamError> {
        Ok(Vec::new())
    }
    async fn by_edge(&self, _: &StatsQuery) -> Result<Vec<StatsRow>, SeamError> {
        Ok(Vec::new())
    }
    async fn series_by_edge(
        &self,
        _: &StatsQuery,
    ) -> Result<Vec<(String, Vec<StatsPoint>)>, SeamError> {
        if *self.away.lock().expect("unpoisoned") {
            return Err(SeamError {
                what: "the lake is away".into(),
                source: None,
            });
        }
        Ok(self.series.lock().expect("unpoisoned").clone())
    }
    async fn live_by_edge(&self, _: &StatsQuery) -> Result<Vec<StatsRow>, SeamError> {
        Ok(self.rows.lock().expect("unpoisoned").clone())
    }
    async fn by_site(&self, _: &StatsQuery, _: usize) -> Result<Vec<StatsRow>, SeamError> {
        Ok(self.rows.lock().expect("unpoisoned").clone())
    }
    async fn by_network(&self, _: &StatsQuery, _: usize) -> Result<Vec<StatsRow>, SeamError> {
        Ok(Vec::new())
    }
    async fn errors(&self, _: &StatsQuery, _: usize) -> Result<Vec<StatsRow>, SeamError> {
        Ok(Vec::new())
    }
}

#[async_trait]
impl Resolve for Rooms {
    async fn addresses(&self, _: &str) -> Result<Vec<IpAddr>, String> {
        Ok(vec![IpAddr::from([127, 0, 0, 1])])
    }
}

#[async_trait]
impl Lookup for Rooms {
    async fn txt(&self, name: &str) -> Result<Vec<String>, String> {
        Ok(self
            .txt
            .lock()
            .expect("unpoisoned")
            .get(name)
            .cloned()
            .unwrap_or_default())
    }
    async fn cname(&self, name: &str) -> Result<Option<String>, String> {
        Ok((name == "www.agency.example").then(|| "www-agency-example.cdn.test.".to_owned()))
    }
}

struct Staff(Vec<UserId>);

#[async_trait]
impl People for Staff {
    async fn contact(&self, _: UserId) -> Option<Contact> {
        None
    }
    async fn officers(&self) -> Vec<UserId> {
        self.0.clone()
    }
}

pub(crate) struct House {
    pub(crate) db: TestDb,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) rooms: Arc<Rooms>,
    pub(crate) cdn: Cdn,
    pub(crate) casework: Casework,
    pub(crate) org: OrgId,
    pub(crate) applicant: Who,
    pub(crate) officers: [Who; 2],
}

pub(crate) async fn on_both(test: impl AsyncFn(House)) {
    for backend in [store::Backend::Sqlite, store::Backend::Postgres] {
        test(house(backend, CdnConfig::default()).await).await;
    }
}

pub(crate) async fn house(backend: store::Backend, config: CdnConfig) -> House {
    runtime::crypto::install_provider();
    let clock = Arc::new(ManualClock::at(Timestamp::from_seconds(1_800_000_000)));
    let db = store::testing::fresh_with_clock(
        backend,
        clock.clone(),
        &[casework::MIGRATIONS, cdn::MIGRATIONS],
    )
    .await;
    let rooms = Arc::new(Rooms::default());
    let config = CdnConfig {
        zone: "cdn.test".into(),
        sandbox_ca: true,
        ..config
    };
    let cdn = Cdn::new(Parts {
        db: (*db).clone(),
        vault: db.vault(),
        publisher: rooms.clone(),
        orders: rooms.clone(),
        nodes: rooms.clone(),
        statistics: rooms.clone(),
        lookup: rooms.clone(),
        config,
    });
    let mut forms = Forms::default();
    for form in cdn::FORMS {
        forms.register(form).expect("a right form");
    }
    let org = OrgId::generate();
    let officer = || Who {
        user: UserId::generate(),
        sees: OrgScope::All,
        applies: OrgScope::Only(vec![]),
        officer: true,
        only: None,
        request: None,
    };
    let officers = [officer(), officer()];
    let casework = Casework::new(casework::Parts {
        db: (*db).clone(),
        vault: db.vault(),
        blobs: Blobs::open(&db.config.blobs).expect("a directory"),
        forms,
        grants: BTreeMap::from([(
            "cdn-site".to_owned(),
            Arc::new(SiteGrant(cdn.clone())) as Arc<dyn Grant>,
        )]),
        people: Arc::new(Staff(officers.iter().map(|who| who.user).collect())),
        fetcher: Fetcher::new(Arc::new(SystemResolve), &[]),
        config: CaseworkConfig::default(),
    });
    let scope = OrgScope::Only(vec![org]);
    let applicant = Who {
        user: UserId::generate(),
        sees: scope.clone(),
        applies: scope,
        officer: false,
        only: None,
        request: None,
    };
    House {
        db,
        clock,
        rooms,
        cdn,
        casework,
        org,
        applicant,
        officers,
    }
}

pub(crate) fn submission(host: &str) -> Values {
    serde_json::json!({
        "name_zh": "範例機關", "name_en": "Example Agency", "purpose": "serve citizens", "hosts": [host],
        "origins": ["http://127.0.0.1:9000"], "traffic": "small", "contact_name": "王小明",
        "contact_email": "wang@agency.example", "agree": true
    })
    .as_object()
    .expect("an object")
    .clone()
}

impl House {
    pub(crate) fn by(&self) -> By {
        By {
            user: self.applicant.user,
            request: Some("r-2".into()),
        }
    }

    pub(crate) fn scope(&self) -> OrgScope {
        OrgScope::Only(vec![self.org])
    }

    /// A site of the house's organisation, made without a case.
    pub(crate) async fn site(&self, host: &str) -> Site {
        self.cdn
            .prove_by_house(&self.by(), self.org, host)
            .await
            .expect("proven");
        let config = SiteConfig {
            origins: base::delivery::OriginPool::single("http://127.0.0.1:9000"),
            delivery: Default::default(),
        };
        let new = NewSite {
            org: self.org,
            name_zh: "站".into(),
            name_en: "Site".into(),
            hosts: vec![host.into()],
            config,
            case: None,
        };
        let mut tx = self.db.begin().await.expect("a turn");
        let made = self
            .cdn
            .create(&mut tx, &self.by(), &new)
            .await
            .expect("made");
        tx.commit().await.expect("kept");
        self.cdn.site(&OrgScope::All, made.id).await.expect("there")
    }

    pub(crate) async fn served(&self) -> Vec<SiteId> {
        self.cdn
            .compile_edge()
            .await
            .expect("compiles")
            .sites
            .into_iter()
            .map(|site| site.id)
            .collect()
    }
}
