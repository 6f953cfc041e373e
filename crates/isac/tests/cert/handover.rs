//! An incident handed over from one centre to another, signed, with its evidence log.

use isac::CertError;
use isac::handover::{dsse, read};
use isac::report::{DRILL, FORM};
use serde_json::Value;
use store::{Backend, PageRequest};

use crate::house::{House, by, house, on_both, report};

async fn handed(house: &House) -> (base::CaseId, String) {
    let case = house.reported(FORM, report(3)).await;
    let officer = &house.officers[0];
    house
        .act(officer, case.id, "accept")
        .await
        .expect("reviewed");
    let incident = house.incident(case.id).await;
    house
        .cert
        .add_evidence(&by(officer), &incident, None, "已隔離主機")
        .await
        .expect("written");
    let handed = house
        .cert
        .hand_over(
            &by(officer),
            &incident,
            "縣市中心",
            "國家中心",
            "跨領域事件",
        )
        .await
        .expect("signed");
    (case.id, handed.envelope)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_other_side_has_report_clocks_and_evidence_and_goes_on() {
    on_both(async |from| {
        let to = house(Backend::Sqlite).await;
        let (case, envelope) = handed(&from).await;
        let log = from.cert.evidence(case).await.expect("a log");
        assert_eq!(
            log.last().map(|entry| entry.kind.as_str()),
            Some("handover")
        );
        let waiting = from
            .cert
            .clocks(case)
            .await
            .expect("clocks")
            .into_iter()
            .filter(|clock| clock.kind == isac::report::rules::Clock::Forward)
            .all(|clock| clock.met_at.is_some());
        assert!(waiting, "the hand-over is the forwarding");

        let officer = by(&to.officers[1]);
        let taken = async |text: &str| to.cert.take_over(&officer, to.water, text).await;
        let stranger = taken(&envelope).await;
        assert!(
            matches!(&stranger, Err(CertError::Invalid(wrong)) if wrong[0].field == "envelope"),
            "{stranger:?}"
        );
        let key = from.cert.handover_key().await.expect("a key");
        assert!(
            to.cert
                .trust(&officer, "abc", Some("縣市中心"))
                .await
                .is_err()
        );
        to.cert
            .trust(&officer, &key, Some("縣市中心"))
            .await
            .expect("trusted");
        let forged = envelope.replace("\"payload\":\"ey", "\"payload\":\"eX");
        assert!(taken(&forged).await.is_err());
        let there = taken(&envelope).await.expect("taken over");
        assert_eq!(taken(&envelope).await.expect("the same"), there);
        assert_eq!(to.count("isac_incident").await, 1);

        let incident = to.incident(there).await;
        let origin = from.incident(case).await;
        assert_eq!(incident.subject, origin.subject);
        assert_eq!(incident.level, origin.level);
        assert_eq!(incident.known_at, origin.known_at);
        assert_eq!(incident.reported_at, origin.reported_at);
        let log = to.cert.evidence(there).await.expect("a log");
        assert!(
            log.iter()
                .any(|entry| entry.kind == "handover:note" && entry.text.contains("已隔離主機")),
            "{log:?}"
        );
        let page = to
            .cert
            .handovers(&PageRequest::first(10))
            .await
            .expect("a page");
        assert!(page.items.len() == 1 && page.items[0].incoming);
        // Review is done here again, by somebody else than whoever took it over.
        assert!(to.act(&to.officers[1], there, "accept").await.is_err());
        to.act(&to.officers[0], there, "accept")
            .await
            .expect("reviewed");
        to.cert
            .trust(&officer, &key, None)
            .await
            .expect("no longer");
        assert!(to.cert.trusted().await.expect("a list").is_empty());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drill_is_not_handed_over_and_the_envelope_says_what_it_holds() {
    let house = house(Backend::Sqlite).await;
    let drill = house.reported(DRILL, report(2)).await;
    let incident = house.incident(drill.id).await;
    let officer = by(&house.officers[0]);
    let refused = house
        .cert
        .hand_over(&officer, &incident, "a", "b", "c")
        .await;
    assert!(matches!(refused, Err(CertError::Refused(_))));
    let (_, envelope) = handed(&house).await;
    let key = house.cert.handover_key().await.expect("a key");
    let (payload, by) = dsse::open(&envelope, std::slice::from_ref(&key)).expect("ours");
    assert_eq!(by, key);
    let document = read(&payload).expect("a document");
    assert_eq!((document.level, document.to.as_str()), (3, "國家中心"));
    assert_eq!(document.values["contact_name"], "李大華");
    assert!(document.log.iter().any(|entry| entry.kind == "submit"));
    let mut other: Value = serde_json::from_slice(&payload).expect("JSON");
    other["format"] = "civicnet-handover/2".into();
    assert!(read(other.to_string().as_bytes()).is_err());
}
