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
        let officer = by(&provider.officers[0]);
        let wrong = provider
            .cert
            .answer(&officer, &theirs, one, Reply::Acknowledged, "")
            .await;
        assert!(wrong.is_err(), "not what was asked");
        provider
            .cert
            .answer(&officer, &theirs, one, Reply::FalseAlarm, "是弱點掃描")
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
        assert!(water.remark.contains("弱點掃描"));
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
        for name in ["subject", "description"] {
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
        object["extensions"] = json!({});
        intake.take(&from, &object).await.expect("told about, not reported");
        assert_eq!(house.count("isac_incident").await, 1);
    })
    .await;
}
