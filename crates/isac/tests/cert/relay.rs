//! Alerts as reports in a collection, answers that come back, and reports of incidents
//! that come by TAXII.

use std::sync::Arc;

use base::UserId;
use isac::alert::Reply;
use isac::objects::collections::ROOT;
use isac::objects::{Filter, Objects, Source, prepare};
use isac::report::intake::EXTENSION;
use isac::stix::Tlp;
use isac::taxii::intake::{Intake, Sender};
use serde_json::{Value, json};
use store::PageRequest;
use web::OrgScope;

use crate::alerts::{alert, published};
use crate::house::{House, by, on_both, report};

async fn all(objects: &Objects, name: &str) -> Vec<Value> {
    let collection = objects.collection(ROOT, name).await.expect("a collection");
    let page = objects
        .page(
            &collection,
            Tlp::Red,
            &Filter::default(),
            i64::MIN,
            100,
            true,
        )
        .await
        .expect("a page");
    page.rows
        .iter()
        .map(|row| serde_json::from_str(&row.json).expect("JSON"))
        .collect()
}

fn sender(user: UserId, org: base::OrgId) -> Sender {
    Sender {
        user,
        org: Some(org),
        write: OrgScope::Only(vec![org]),
    }
}

async fn look(house: &House, objects: &Objects) {
    house.cert.relay(objects).await.expect("a look");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_goes_down_and_its_answer_comes_up() {
    on_both(async |ministry| {
        let objects = Objects::open((*ministry.db).clone())
            .await
            .expect("a store");
        let case = published(&ministry, alert(json!({}))).await;
        look(&ministry, &objects).await;
        look(&ministry, &objects).await;
        let out = all(&objects, "alerts").await;
        let report = out
            .iter()
            .find(|object| object["type"] == "report")
            .expect("a report");
        let labels = report["labels"].to_string();
        assert!(
            labels.contains("civicnet-sector:water") && labels.contains("civicnet-kind:ewa"),
            "{labels}"
        );

        // The provider's house: the same objects come in, an officer answers.
        let provider = crate::house::house(store::Backend::Sqlite).await;
        provider.cert.call("provider");
        let theirs = Objects::open((*provider.db).clone())
            .await
            .expect("a store");
        let inbox = theirs
            .create_collection("in", "", Some("in"), &[], &Source::house("test"))
            .await
            .expect("a collection");
        let put = async |objects: &[Value]| {
            let made = objects
                .iter()
                .map(|object| prepare::object(&object.to_string()).expect("good"))
                .collect();
            let by = Source::house("test");
            theirs.put(&inbox, by, made, None).await.expect("stored");
        };
        put(&out).await;
        look(&provider, &theirs).await;
        let page = provider
            .cert
            .received(&PageRequest::first(10))
            .await
            .expect("a page");
        let one = &page.items[0];
        assert_eq!((one.kind.as_str(), one.asks.as_str()), ("ewa", "verdict"));
        assert_eq!(one.subkind, "exposure");
        assert_eq!(one.document["warning_source"], "原廠通告");
        assert_eq!(one.document["reply_hours"], 24);
        let officer = by(&provider.officers[0]);
        let wrong = provider
            .cert
            .answer(&officer, &theirs, one, Reply::Acknowledged, "")
            .await;
        assert!(wrong.is_err(), "not what was asked");
        let said = isac::kinds::Said {
            reply: Reply::FalseAlarm,
            remark: "是弱點掃描",
            found: "來源為授權主機",
            done: "已加入白名單",
        };
        provider
            .cert
            .answer_with(&officer, &theirs, one, said)
            .await
            .expect("answered");

        // Up again: the note is the member's reply, the same however often it comes.
        let back = all(&theirs, "in").await;
        let note = back
            .iter()
            .find(|object| object["type"] == "note")
            .expect("a note");
        let from = sender(ministry.plumber.user, ministry.water);
        for _ in 0..2 {
            ministry.cert.take(&from, note).await.expect("kept");
        }
        let replies = ministry
            .cert
            .recipients(&OrgScope::All, case, &PageRequest::first(10))
            .await
            .expect("a page");
        let water = replies
            .items
            .iter()
            .find(|recipient| recipient.org == ministry.water)
            .expect("a recipient");
        assert_eq!(water.reply, Some(Reply::FalseAlarm));
        assert_eq!(water.remark, "是弱點掃描");
        assert_eq!(
            (water.found.as_str(), water.done.as_str()),
            ("來源為授權主機", "已加入白名單")
        );
        // Whom it was not sent to has nothing to reply to; who speaks for nobody may not.
        let power = sender(ministry.electrician.user, ministry.power);
        ministry
            .cert
            .take(&power, note)
            .await
            .expect("passes through");
        let nobody = Sender {
            org: None,
            ..from.clone()
        };
        assert!(ministry.cert.take(&nobody, note).await.is_err());

        // A version is told from the one before by its moment.
        ministry
            .clock
            .advance(std::time::Duration::from_secs(3_600));
        ministry
            .act(&ministry.officers[0], case, "retract")
            .await
            .expect("retracted");
        look(&ministry, &objects).await;
        put(&all(&objects, "alerts").await).await;
        look(&provider, &theirs).await;
        let again = provider
            .cert
            .received_one(&one.object)
            .await
            .expect("there");
        assert!(again.revoked);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incident_by_taxii_is_a_report_once_and_a_bad_one_names_path_and_rule() {
    on_both(async |house| {
        let intake: Arc<dyn Intake> = Arc::new(house.cert.clone());
        let mut values = report(3);
        // What STIX says itself need not be said twice: `created` is when it was known.
        for name in ["subject", "description", "known_at"] {
            values.remove(name);
        }
        let mut extension = Value::Object(values);
        extension["extension_type"] = "property-extension".into();
        let mut object = json!({
            "type": "incident", "spec_version": "2.1", "id": "incident--00000000-0000-4000-8000-000000000001",
            "created": "2026-11-21T00:40:00.000Z", "modified": "2026-11-21T00:40:00.000Z",
            "name": "淨水場監控伺服器遭加密", "description": "監控伺服器的檔案遭加密,已改為人工操作。",
            "extensions": { EXTENSION: extension },
        });
        prepare::object(&object.to_string()).expect("good STIX");
        let from = sender(house.plumber.user, house.water);
        for _ in 0..2 {
            intake.take(&from, &object).await.expect("reported");
        }
        assert_eq!(house.count("isac_incident").await, 1);
        let page = house
            .cert
            .incidents(
                &OrgScope::Only(vec![house.water]),
                &isac::report::incidents::Filter::default(),
                &PageRequest::first(10),
            )
            .await
            .expect("a page");
        assert_eq!(page.items[0].level.number(), 3);
        assert_eq!(page.items[0].subject, "淨水場監控伺服器遭加密");
        assert_eq!(page.items[0].known_at.micros(), 1_795_221_600_000_000);

        let other = sender(house.electrician.user, house.water);
        let stranger = Sender {
            write: OrgScope::Only(vec![house.power]),
            ..other
        };
        assert!(intake.take(&stranger, &object).await.is_err());
        object["id"] = "incident--00000000-0000-4000-8000-000000000002".into();
        object["extensions"][EXTENSION]["integrity"] = "9".into();
        let why = intake.take(&from, &object).await.expect_err("no such level");
        assert!(why.starts_with(&format!("extensions.{EXTENSION}.integrity: ")), "{why}");
        assert_eq!(house.count("casework_case").await, 1, "what is refused leaves no draft");
        object["extensions"] = json!({});
        intake.take(&from, &object).await.expect("told about, not reported");
        assert_eq!(house.count("isac_incident").await, 1);
    })
    .await;
}

/// A newer version of a report changes it where it stands, once: the log says what, officers
/// get a letter, another level waits for a decision.
#[tokio::test(flavor = "multi_thread")]
async fn a_newer_version_of_a_report_is_an_update() {
    on_both(async |house| {
        let intake: Arc<dyn Intake> = Arc::new(house.cert.clone());
        let version = |minute: u32, level: u8, description: &str| -> Value {
            let mut values = report(level);
            values.insert("description".into(), description.into());
            json!({
                "type": "incident", "spec_version": "2.1", "id": "incident--00000000-0000-4000-8000-000000000003",
                "created": "2026-11-21T00:40:00.000Z", "modified": format!("2026-11-21T00:{minute}:00.000Z"),
                "name": "淨水場監控伺服器遭加密", "extensions": { EXTENSION: values },
            })
        };
        let from = sender(house.plumber.user, house.water);
        let first = version(40, 2, "監控伺服器的檔案遭加密,已改為人工操作。");
        intake.take(&from, &first).await.expect("reported");
        let page = PageRequest::first(10);
        let scope = OrgScope::Only(vec![house.water]);
        let filter = isac::report::incidents::Filter::default();
        let found = house.cert.incidents(&scope, &filter, &page).await.expect("a page");
        let case = found.items[0].case;
        let letters = house.letters(&house.officers[1]).await.len();

        let second = version(45, 4, "第二座淨水場的伺服器也遭加密。");
        for _ in 0..2 {
            intake.take(&from, &second).await.expect("updated");
            // What came before comes late.
            intake.take(&from, &first).await.expect("seen already");
        }
        let log = house.cert.evidence(case).await.expect("a log");
        let updates: Vec<_> = log.iter().filter(|entry| entry.kind == "update").collect();
        assert_eq!(updates.len(), 1, "{log:?}");
        let text = &updates[0].text;
        assert!(
            text.contains("已改為人工操作。 → 第二座淨水場的伺服器也遭加密。"),
            "{text}"
        );
        let told = house.letters(&house.officers[1]).await;
        assert!(
            told.iter().any(|letter| letter.starts_with("The report of incident #") && letter.contains(" has changed: ")),
            "{told:?}"
        );
        assert!(told.len() > letters);
        // The level in force stays until somebody decides.
        let incident = house.incident(case).await;
        assert_eq!(incident.level.number(), 2);
        let waiting = house.cert.level_changes(case).await.expect("changes");
        assert_eq!((waiting.len(), waiting[0].to.number()), (1, 4));
        let values = house.casework.values(&house.officers[0], case).await.expect("values");
        assert_eq!(values["description"], "第二座淨水場的伺服器也遭加密。");

        // A colleague's token speaks for the same report, another organisation's does not.
        let colleague = sender(UserId::generate(), house.water);
        let third = version(50, 4, "已隔離兩座淨水場的伺服器。");
        intake.take(&colleague, &third).await.expect("updated");
        assert_eq!(house.count("isac_incident").await, 1);
        let power = sender(house.electrician.user, house.power);
        intake.take(&power, &third).await.expect("a report of its own");
        assert_eq!(house.count("isac_incident").await, 2);

        // A closed one is not changed, and the sender hears of it.
        let decided = house.cert.decide_level(&by(&house.officers[1]), &incident, &waiting[0].id, false, "尚未確認").await;
        decided.expect("decided");
        house.act(&house.officers[0], case, "dismiss").await.expect("dismissed");
        let late = intake.take(&from, &version(55, 4, "太晚才送到的新版本說明。")).await;
        assert!(late.is_err_and(|why| why.starts_with(&format!("extensions.{EXTENSION}"))));
        store::audit::verify(&house.db, None).await.expect("the chain holds");
    })
    .await;
}
