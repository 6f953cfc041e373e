//! Files for the exchange's model: any text after the first octet, which chooses the kind, is
//! CSV of that kind or PeeringDB's JSON; a preview of it tells what it would do or why not,
//! and changes nothing.
#![no_main]

use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use base::{OrgId, UserId};
use casework::form::Text;
use casework::{Contact, People};
use exchange::room::{self, By, Exchange, Kind, Parts};
use libfuzzer_sys::fuzz_target;
use store::Backend;
use store::testing::TestDb;
use tokio::runtime::Runtime;

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

struct House {
    runtime: Runtime,
    exchange: Exchange,
    _db: TestDb,
}

impl House {
    fn counts(&self) -> Vec<i64> {
        self.runtime.block_on(async {
            let mut counts = Vec::with_capacity(Kind::ALL.len());
            for kind in Kind::ALL {
                counts.push(self.exchange.count(kind).await.expect("a count"));
            }
            counts
        })
    }
}

static HOUSE: LazyLock<House> = LazyLock::new(|| {
    let runtime = Runtime::new().expect("a runtime");
    let (exchange, db) = runtime.block_on(async {
        let domains = [web::MIGRATIONS, room::MIGRATIONS, exchange::traffic::desk::MIGRATIONS];
        let db = store::testing::fresh(Backend::Sqlite, &domains).await;
        let exchange = Exchange::new(Parts { db: (*db).clone(), vault: db.vault(), people: Arc::new(Nobody) });
        let (site, member) = ("name,title_zh,title_en\nhsinchu,新竹,Hsinchu\n", "short_name,name,asn\nTANet,學術網路,1659\n");
        for (kind, text) in [(Kind::Site, site), (Kind::Member, member)] {
            let report = exchange.import_csv(&By::system("fuzz"), kind, text, true).await.expect("good");
            assert!(report.applied, "{report:?}");
        }
        (exchange, db)
    });
    House { runtime, exchange, _db: db }
});

fuzz_target!(|bytes: &[u8]| {
    let Some((chosen, rest)) = bytes.split_first() else { return };
    let Ok(text) = std::str::from_utf8(rest) else { return };
    let house = &*HOUSE;
    let before = house.counts();
    let by = By::system("fuzz");
    let report = house.runtime.block_on(async {
        match Kind::ALL.get(usize::from(*chosen)) {
            Some(kind) => house.exchange.import_csv(&by, *kind, text, false).await,
            None => house.exchange.import_peeringdb(&by, text, false).await,
        }
    });
    assert!(report.is_err() || report.is_ok_and(|report| !report.applied));
    assert_eq!(house.counts(), before, "a preview changes nothing");
});
