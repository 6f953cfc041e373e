//! What the tests stand on: a database, people, and a domain that grants.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use base::{CaseId, ManualClock, OrgId, Timestamp, UserId};
use casework::OrgScope;
use casework::form::{Forms, Values};
use casework::guard::{Fetcher, SystemResolve};
use casework::{
    Case, CaseError, Casework, CaseworkConfig, Contact, Grant, Granted, MIGRATIONS, Parts, People,
    Who, refuse,
};
use store::testing::TestDb;
use store::{Blobs, Tx};

pub(crate) struct House {
    pub(crate) db: TestDb,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) casework: Casework,
    pub(crate) grants: Arc<Granting>,
    pub(crate) org: OrgId,
    pub(crate) applicant: Who,
    pub(crate) officers: [Who; 3],
    pub(crate) stranger: Who,
}

#[derive(Default)]
pub(crate) struct Granting {
    pub(crate) refuse: Mutex<bool>,
    pub(crate) calls: AtomicUsize,
}

#[async_trait]
impl Grant for Granting {
    async fn grant(
        &self,
        tx: &mut Tx,
        case: &Case,
        values: &Values,
        _: UserId,
    ) -> Result<Granted, CaseError> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        // Something of the domain's own, in the same transaction.
        sqlx::query("INSERT INTO thing (id, name) VALUES ($1, $2)")
            .bind(case.id.to_string())
            .bind(values["name"].as_str().unwrap_or_default())
            .execute(&mut **tx)
            .await?;
        if *self.refuse.lock().expect("unpoisoned") {
            return Err(refuse("不行", "no"));
        }
        Ok(Granted {
            subject: "thing".into(),
            path: "/things/1".into(),
        })
    }
}

pub(crate) struct Staff(pub(crate) Vec<UserId>);

#[async_trait]
impl People for Staff {
    async fn contact(&self, user: UserId) -> Option<Contact> {
        let english = self.0.first() == Some(&user);
        Some(Contact {
            name: "王小明".into(),
            email: Some(format!("{user}@agency.example")),
            language: if english { "en".into() } else { "zh-TW".into() },
        })
    }
    async fn officers(&self) -> Vec<UserId> {
        self.0.clone()
    }
}

const THING: store::Migrations = store::Migrations {
    domain: "thing",
    steps: &[store::Step {
        version: 1,
        name: "things",
        sql: "CREATE TABLE thing (id TEXT PRIMARY KEY, name TEXT NOT NULL)",
    }],
};

pub(crate) fn officer() -> Who {
    Who {
        user: UserId::generate(),
        sees: OrgScope::All,
        applies: OrgScope::Only(vec![]),
        officer: true,
        only: None,
        request: None,
    }
}

pub(crate) fn member(org: OrgId) -> Who {
    Who {
        user: UserId::generate(),
        sees: OrgScope::Only(vec![org]),
        applies: OrgScope::Only(vec![org]),
        officer: false,
        only: None,
        request: Some("r-1".into()),
    }
}

pub(crate) async fn on_both(config: impl Fn() -> CaseworkConfig, test: impl AsyncFn(House)) {
    for backend in [store::Backend::Sqlite, store::Backend::Postgres] {
        test(house(backend, config()).await).await;
    }
}

pub(crate) async fn house(backend: store::Backend, config: CaseworkConfig) -> House {
    runtime::crypto::install_provider();
    let clock = Arc::new(ManualClock::at(Timestamp::from_seconds(1_800_000_000)));
    let db = store::testing::fresh_with_clock(backend, clock.clone(), &[MIGRATIONS, THING]).await;
    let mut forms = Forms::default();
    forms
        .register(include_str!("../data/form.json"))
        .expect("the sample form");
    let officers = [officer(), officer(), officer()];
    let grants = Arc::new(Granting::default());
    let org = OrgId::generate();
    let fetcher = Fetcher::new(Arc::new(SystemResolve), &config.allow_private);
    let casework = Casework::new(Parts {
        db: (*db).clone(),
        vault: db.vault(),
        blobs: Blobs::open(&db.config.blobs).expect("a directory"),
        forms,
        grants: BTreeMap::from([("sample".to_owned(), grants.clone() as Arc<dyn Grant>)]),
        people: Arc::new(Staff(officers.iter().map(|who| who.user).collect())),
        fetcher,
        config,
    });
    House {
        db,
        clock,
        casework,
        grants,
        org,
        applicant: member(org),
        officers,
        stranger: member(OrgId::generate()),
    }
}

pub(crate) fn values(json: serde_json::Value) -> Values {
    json.as_object().expect("an object").clone()
}

pub(crate) fn whole() -> Values {
    values(
        serde_json::json!({"name": "Agency", "kind": "small", "hosts": ["www.agency.example"], "agree": true, "email": "someone@agency.example"}),
    )
}

impl House {
    pub(crate) async fn submitted(&self) -> Case {
        let draft = self
            .casework
            .start(&self.applicant, "sample", Some(self.org), whole(), None)
            .await
            .expect("a draft");
        self.act(&self.applicant, draft.id, "submit")
            .await
            .expect("submitted")
    }

    /// Takes a step on the newest version.
    pub(crate) async fn act(
        &self,
        who: &Who,
        case: CaseId,
        action: &str,
    ) -> Result<Case, CaseError> {
        let opened = self.casework.open(who, case).await?;
        self.casework
            .act(who, case, opened.case.version, action, "because")
            .await
    }

    pub(crate) async fn things(&self) -> i64 {
        let (count,): (i64,) = sqlx::query_as("SELECT count(*) FROM thing")
            .fetch_one(self.db.pool())
            .await
            .expect("a count");
        count
    }

    pub(crate) async fn audited(&self) -> u64 {
        store::audit::verify(&self.db, None)
            .await
            .expect("the chain holds")
            .entries
    }
}
