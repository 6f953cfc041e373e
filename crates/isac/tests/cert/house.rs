//! What the tests stand on: a database, two utilities, three duty officers.

use std::sync::Arc;

use async_trait::async_trait;
use base::{CaseId, ManualClock, OrgId, Timestamp, UserId};
use casework::form::{Forms, Text, Values};
use casework::guard::{Fetcher, SystemResolve};
use casework::{Case, CaseError, Casework, CaseworkConfig, Contact, People, Who};
use isac::cert::{By, Cert, Parts, Sector};
use isac::report::Incident;
use serde_json::json;
use store::testing::TestDb;
use store::{Backend, Blobs};
use web::OrgScope;

pub(crate) struct House {
    pub(crate) db: TestDb,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) casework: Casework,
    pub(crate) cert: Cert,
    /// A water utility and its editor.
    pub(crate) water: OrgId,
    pub(crate) plumber: Who,
    /// A power company and its editor.
    pub(crate) power: OrgId,
    pub(crate) electrician: Who,
    pub(crate) officers: [Who; 3],
}

struct Staff {
    officers: Vec<UserId>,
    members: Vec<(OrgId, UserId)>,
}

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
        self.officers.clone()
    }
    async fn members(&self, org: OrgId) -> Vec<UserId> {
        let of = self.members.iter().filter(|(member, _)| *member == org);
        of.map(|(_, user)| *user).collect()
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

pub(crate) async fn on_both(test: impl AsyncFn(House)) {
    for backend in [Backend::Sqlite, Backend::Postgres] {
        test(house(backend).await).await;
    }
}

pub(crate) async fn house(backend: Backend) -> House {
    runtime::crypto::install_provider();
    // 2026-11-21T01:00:00Z, nine in the morning in Taipei.
    let clock = Arc::new(ManualClock::at(Timestamp::from_seconds(1_795_222_800)));
    let domains = [
        web::MIGRATIONS,
        casework::MIGRATIONS,
        isac::MIGRATIONS,
        isac::cert::MIGRATIONS,
        isac::share::MIGRATIONS,
    ];
    let db = store::testing::fresh_with_clock(backend, clock.clone(), &domains).await;
    let (water, power) = (OrgId::generate(), OrgId::generate());
    let (plumber, electrician) = (member(water), member(power));
    let officers = [officer(), officer(), officer()];
    let people: Arc<dyn People> = Arc::new(Staff {
        officers: officers.iter().map(|who| who.user).collect(),
        members: vec![(water, plumber.user), (power, electrician.user)],
    });
    let blobs = Blobs::open(&db.config.blobs).expect("a directory");
    let cert = Cert::new(Parts {
        db: (*db).clone(),
        vault: db.vault(),
        blobs: blobs.clone(),
        people: people.clone(),
    })
    .expect("the built-in rules are right");
    let mut forms = Forms::default();
    for form in isac::cert::forms().expect("the built-in forms") {
        forms.register(&form).expect("a form that is right");
    }
    let mut config = CaseworkConfig::default();
    // Mail is promised, never handed over: nothing listens there.
    config.smtp.host = "127.0.0.1".into();
    let casework = Casework::new(casework::Parts {
        db: (*db).clone(),
        vault: db.vault(),
        blobs,
        forms,
        grants: isac::cert::grants(&cert),
        people,
        fetcher: Fetcher::new(Arc::new(SystemResolve), &config.allow_private),
        config,
    });
    cert.join(casework.clone());
    let house = House {
        db,
        clock,
        casework,
        cert,
        water,
        plumber,
        power,
        electrician,
        officers,
    };
    let by = by(&house.officers[0]);
    for (org, sector, asset) in [
        (water, Sector::Water, "SCADA Historian"),
        (power, Sector::Energy, "Turbine Guard"),
    ] {
        let assets = [asset.to_owned()];
        let set = house.cert.set_member(&by, org, sector, &assets).await;
        set.expect("a member");
    }
    house
}

pub(crate) fn by(who: &Who) -> By {
    By {
        user: who.user,
        request: None,
    }
}

/// A report of a level, known an hour-fraction before the clock of the house.
pub(crate) fn report(level: u8) -> Values {
    let values = json!({
        "subject": "淨水場監控伺服器遭加密",
        "category": "malware",
        "known_at": "2026-11-21T08:40:00+08:00",
        "description": "監控伺服器的檔案遭加密,已改為人工操作。",
        "confidentiality": "0",
        "integrity": level.to_string(),
        "availability": "1",
        "systems": ["SCADA Historian"],
        "contact_name": "李大華",
        "contact_phone": "02-1234-5678",
    });
    values.as_object().cloned().expect("an object")
}

impl House {
    /// Takes a step on the newest version.
    pub(crate) async fn act(
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

    pub(crate) async fn reported(&self, form: &str, values: Values) -> Case {
        let draft = self
            .casework
            .start(&self.plumber, form, Some(self.water), values, None)
            .await
            .expect("a draft");
        self.act(&self.plumber, draft.id, "submit")
            .await
            .expect("submitted")
    }

    pub(crate) async fn incident(&self, case: CaseId) -> Incident {
        self.cert
            .incident(&OrgScope::All, case)
            .await
            .expect("an incident")
    }

    /// What stands in somebody's inbox, newest first.
    pub(crate) async fn letters(&self, who: &Who) -> Vec<String> {
        let page = self
            .casework
            .inbox(who.user, &store::PageRequest::first(100))
            .await
            .expect("a page");
        page.items
            .into_iter()
            .map(|letter| letter.text.en)
            .collect()
    }

    pub(crate) async fn count(&self, table: &'static str) -> i64 {
        let text = format!("SELECT count(*) FROM {table}");
        let (count,): (i64,) = sqlx::query_as(sqlx::AssertSqlSafe(text))
            .fetch_one(self.db.pool())
            .await
            .expect("a count");
        count
    }
}
