//! Whose an object is: who may delete it, who may make versions of it, who reads it, and
//! what others' references tell of it. Two members that write the same collection.

use http::StatusCode;
use isac::objects::Source;
use isac::objects::search::{Query, See};
use isac::report::intake::EXTENSION;
use isac::stix::Tlp;
use serde_json::{Value, json};

use super::server::{Answer, House, house, indicator, right};

const OBJECTS: &str = "/civic/collections/open/objects/";

/// Both may write; the second sees of others what is green, of the first's what it may.
async fn joined() -> House {
    let house = house().await;
    let second = right(Some(house.orgs[1]), true, true, Tlp::Green);
    house
        .objects
        .set_right(&house.open, &second, &Source::house("test"))
        .await
        .expect("kept");
    house
}

fn at(id: &str) -> String {
    format!("{OBJECTS}{id}/")
}

fn id_of(object: &Value) -> String {
    object["id"].as_str().expect("an id").to_owned()
}

fn version(object: &Value, day: u32) -> Value {
    let mut newer = object.clone();
    newer["modified"] = format!("2026-02-{day:02}T00:00:00.000Z").into();
    newer
}

impl House {
    async fn sent(&self, who: &str, objects: &[&Value]) -> Answer {
        let body = json!({ "objects": objects }).to_string();
        let answer = self.post(who, OBJECTS, body).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.body);
        answer
    }

    async fn taken(&self, who: &str, objects: &[&Value]) {
        let answer = self.sent(who, objects).await;
        assert_eq!(answer.body["failure_count"], 0, "{}", answer.body);
    }

    /// What somebody reads under an id: the versions of it that `which` names.
    async fn read(&self, who: &str, id: &str, which: &str) -> Vec<Value> {
        let answer = self.get(who, &format!("{}?{which}", at(id))).await;
        if answer.status == StatusCode::NOT_FOUND {
            return Vec::new();
        }
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        answer.body["objects"]
            .as_array()
            .cloned()
            .unwrap_or_default()
    }

    /// Everything that somebody reads, by TAXII.
    async fn all(&self, who: &str) -> String {
        let answer = self
            .get(who, &format!("{OBJECTS}?match[version]=all"))
            .await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        answer.body.to_string()
    }

    /// Everything that a member finds in the console.
    async fn found(&self, org: usize) -> String {
        self.objects.index().await.expect("indexed");
        let org = self.orgs[org];
        let reads = vec![(self.open.number, Tlp::Red)];
        let glass = self.sharing.glass(Some(org), vec![org], reads).await;
        let see = [See {
            collection: self.open.clone(),
            clearance: Tlp::Red,
            glass: Some(glass.expect("a glass")),
        }];
        let found = self.objects.find(&see, &Query::default(), None, 100).await;
        let hits = found.expect("found").hits;
        hits.iter().map(|hit| hit.json.as_str()).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_organisation_deletes_what_it_sent_itself() {
    let house = joined().await;
    let (green, red) = (indicator(1, Tlp::Green), indicator(2, Tlp::Red));
    let own = indicator(3, Tlp::Clear);
    house.taken("editor", &[&green, &red]).await;
    house.taken("operator", &[&own]).await;
    for (object, status) in [
        (&green, StatusCode::FORBIDDEN),
        (&own, StatusCode::FORBIDDEN),
        (&red, StatusCode::NOT_FOUND),
    ] {
        let answer = house.delete("stranger", &at(&id_of(object))).await;
        assert_eq!(answer.status, status, "{}", answer.body);
    }
    let told = house.delete("stranger", &at(&id_of(&green))).await.body;
    let told = told["description"].as_str().expect("why");
    assert!(
        told.contains("only whoever sent an object, or this house, deletes it"),
        "{told}"
    );
    assert_eq!(
        house.read("editor", &id_of(&red), "").await,
        std::slice::from_ref(&red)
    );
    // What both say stays for as long as one does, and is then the other's.
    house.taken("stranger", &[&green]).await;
    let id = id_of(&green);
    assert_eq!(
        house.delete("editor", &at(&id)).await.status,
        StatusCode::OK
    );
    for who in ["editor", "stranger"] {
        assert_eq!(
            house.read(who, &id, "").await,
            std::slice::from_ref(&green),
            "{who}"
        );
    }
    let again = house.delete("editor", &at(&id)).await.status;
    assert_eq!(again, StatusCode::FORBIDDEN);
    let gone = house.delete("stranger", &at(&id)).await.status;
    assert_eq!(gone, StatusCode::OK);
    assert!(house.read("editor", &id, "").await.is_empty());
    // The feed tells what is gone and what stays, in this order.
    let feed = house.objects.changes(0, 100).await.expect("a feed");
    let of: Vec<bool> = feed
        .iter()
        .filter(|change| change.id == id)
        .map(|change| change.what == isac::objects::What::Gone)
        .collect();
    assert_eq!(of, [true, true]);
    // Those who run the house delete everything.
    let gone = house.delete("operator", &at(&id_of(&red))).await.status;
    assert_eq!(gone, StatusCode::OK);
    assert!(house.read("editor", &id_of(&red), "").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn only_who_sent_it_makes_versions_of_it() {
    let house = joined().await;
    let first = indicator(1, Tlp::Green);
    let id = id_of(&first);
    house.taken("editor", &[&first]).await;
    let mut hijack = version(&first, 2);
    hijack["revoked"] = true.into();
    let answer = house
        .sent("stranger", &[&indicator(9, Tlp::Green), &hijack])
        .await;
    assert_eq!(answer.body["success_count"], 1);
    let failure = &answer.body["failures"][0];
    assert_eq!(failure["id"], id.as_str());
    let why = failure["message"].as_str().expect("why");
    assert!(
        why.starts_with("objects[1].modified: a newer version of")
            && why.contains("only from who sent it"),
        "{why}"
    );
    let status = format!("/civic/status/{}/", answer.body["id"].as_str().expect("id"));
    assert_eq!(house.get("stranger", &status).await.body, answer.body);
    for who in ["editor", "stranger"] {
        let last = house.read(who, &id, "match[version]=last").await;
        assert_eq!(last, std::slice::from_ref(&first), "{who}");
    }
    // An earlier version would be the first: no more is it another's to make.
    let mut early = version(&first, 1);
    early["created"] = "2025-12-01T00:00:00.000Z".into();
    early["modified"] = "2025-12-01T00:00:00.000Z".into();
    assert_eq!(
        house.sent("stranger", &[&early]).await.body["failure_count"],
        1
    );
    // Its sender, the house, and its sender again.
    for (who, day) in [("editor", 3), ("operator", 4), ("editor", 5)] {
        house.taken(who, &[&version(&first, day)]).await;
        let last = house.read("stranger", &id, "").await;
        assert_eq!(last, [version(&first, day)], "{who}");
    }
    // Whom it names as its creator takes over what another relayed.
    let mut relayed = indicator(2, Tlp::Green);
    relayed["created_by_ref"] = format!("identity--{}", house.orgs[1].0).into();
    house.taken("editor", &[&relayed]).await;
    house.taken("stranger", &[&version(&relayed, 2)]).await;
    let late = house.sent("editor", &[&version(&relayed, 3)]).await;
    assert_eq!(late.body["failure_count"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_hidden_under_an_id_neither_takes_nor_tells_anything() {
    let house = joined().await;
    let red = indicator(1, Tlp::Red);
    let id = id_of(&red);
    house.taken("editor", &[&red]).await;
    // It reads its own whatever the marking, also where it sees less of others.
    assert_eq!(
        house.read("editor", &id, "").await,
        std::slice::from_ref(&red)
    );
    assert!(house.found(0).await.contains(&id));
    // The same id and version, and one that nobody has: the same answers.
    let mut mine = indicator(1, Tlp::Green);
    mine["name"] = "my own".into();
    let mut free = indicator(2, Tlp::Green);
    free["name"] = "my own".into();
    for object in [&mine, &free] {
        let id = id_of(object);
        house.taken("stranger", &[object]).await;
        assert_eq!(
            house.read("stranger", &id, "").await,
            std::slice::from_ref(object)
        );
        house.taken("stranger", &[&version(object, 2)]).await;
        let last = house.read("stranger", &id, "match[version]=last").await;
        assert_eq!(last, [version(object, 2)]);
        let all = house.read("stranger", &id, "match[version]=all").await;
        assert_eq!(all, [object.clone(), version(object, 2)]);
    }
    // The first reads its own still, the house both.
    assert_eq!(
        house.read("editor", &id, "match[version]=all").await,
        std::slice::from_ref(&red)
    );
    assert_eq!(
        house
            .read("operator", &id, "match[version]=all")
            .await
            .len(),
        3
    );
    // Each takes back its own word; what stays is shown to those who may see it.
    assert_eq!(
        house.delete("editor", &at(&id)).await.status,
        StatusCode::OK
    );
    let last = house.read("editor", &id, "match[version]=last").await;
    assert_eq!(last, [version(&mine, 2)]);
    assert_eq!(
        house.delete("stranger", &at(&id)).await.status,
        StatusCode::OK
    );
    for who in ["editor", "stranger", "operator"] {
        assert!(house.read(who, &id, "").await.is_empty(), "{who}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_and_replies_are_for_their_sender_and_the_house() {
    let house = joined().await;
    for org in &house.orgs {
        let right = right(Some(*org), true, true, Tlp::Red);
        let by = Source::house("test");
        house
            .objects
            .set_right(&house.open, &right, &by)
            .await
            .expect("kept");
    }
    let times =
        json!({"created": "2026-01-01T00:00:00.000Z", "modified": "2026-01-01T00:00:00.000Z"});
    let made = |more: Value| {
        let mut object = json!({"spec_version": "2.1"});
        for part in [&times, &more] {
            for (name, value) in part.as_object().expect("an object") {
                object[name] = value.clone();
            }
        }
        object
    };
    let report = made(json!({
        "type": "incident", "id": "incident--00000000-0000-4000-8000-000000000001", "name": "淨水場遭加密",
        "extensions": {EXTENSION: {"extension_type": "property-extension", "integrity": "3"}},
    }));
    let reply = made(json!({
        "type": "note", "id": "note--00000000-0000-4000-8000-000000000001", "content": "已隔離主機",
        "object_refs": ["report--00000000-0000-4000-8000-000000000009"],
        "labels": ["civicnet-kind:fbi", "civicnet-reply:incident"],
    }));
    let told = made(json!({
        "type": "incident", "id": "incident--00000000-0000-4000-8000-000000000002", "name": "told about",
    }));
    let about = made(json!({
        "type": "note", "id": "note--00000000-0000-4000-8000-000000000002", "content": "on the report",
        "object_refs": [report["id"]],
    }));
    house
        .taken("editor", &[&report, &reply, &told, &about])
        .await;
    for id in [id_of(&report), id_of(&reply)] {
        assert_eq!(house.read("editor", &id, "").await.len(), 1);
        assert_eq!(house.read("operator", &id, "").await.len(), 1);
        assert!(house.read("stranger", &id, "").await.is_empty());
        assert!(!house.all("stranger").await.contains(&id));
        assert!(house.found(0).await.contains(&id));
        assert!(!house.found(1).await.contains(&id));
        // Nor does it go to another house.
        let page = house
            .objects
            .page(
                &house.open,
                Tlp::Red,
                &Default::default(),
                i64::MIN,
                100,
                true,
            )
            .await
            .expect("a page");
        assert!(page.rows.iter().all(|row| row.id != id));
    }
    let seen = house.all("stranger").await;
    assert!(seen.contains("told about") && !seen.contains("on the report"));
    // It may be repeated by its sender, and another who uses the id learns nothing.
    house.taken("editor", &[&report]).await;
    let mut other = report.clone();
    other["name"] = "another".into();
    house.taken("stranger", &[&other]).await;
    let id = id_of(&report);
    assert_eq!(house.read("stranger", &id, "").await, [other]);
    assert_eq!(house.read("editor", &id, "").await, [report]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_refers_to_hidden_objects_does_not_betray_them() {
    let house = joined().await;
    let made = |kind: &str, number: u32, more: Value| {
        let mut object = json!({
            "type": kind, "spec_version": "2.1", "id": format!("{kind}--00000000-0000-4000-8000-{number:012}"),
            "created": "2026-01-01T00:00:00.000Z", "modified": "2026-01-01T00:00:00.000Z",
        });
        for (name, value) in more.as_object().expect("an object") {
            object[name] = value.clone();
        }
        object
    };
    let open = indicator(1, Tlp::Green);
    let red = Tlp::Red.marking();
    let secret = made(
        "tool",
        7,
        json!({"name": "機密", "object_marking_refs": [red]}),
    );
    let kept = made(
        "tool",
        8,
        json!({"name": "no consent", "labels": ["civicnet-consent:none"]}),
    );
    let nowhere = "tool--00000000-0000-4000-8000-000000000999";
    let uses = made(
        "relationship",
        1,
        json!({"relationship_type": "indicates", "source_ref": open["id"], "target_ref": secret["id"]}),
    );
    let others = [
        made(
            "note",
            1,
            json!({"content": "hm", "object_refs": [secret["id"]]}),
        ),
        made(
            "note",
            2,
            json!({"content": "hm", "object_refs": [kept["id"]]}),
        ),
        made(
            "opinion",
            1,
            json!({"opinion": "agree", "object_refs": [uses["id"]]}),
        ),
        made(
            "grouping",
            1,
            json!({"context": "x", "object_refs": [secret["id"], kept["id"]]}),
        ),
        made("sighting", 1, json!({"sighting_of_ref": secret["id"]})),
        made(
            "language-content",
            1,
            json!({"object_ref": secret["id"], "contents": {"en": {"name": "Secret"}}}),
        ),
    ];
    let report = made(
        "report",
        1,
        json!({"name": "all", "published": "2026-01-01T00:00:00Z", "report_types": ["tool"],
               "object_refs": [open["id"], secret["id"], kept["id"], nowhere, uses["id"]]}),
    );
    let mut all = vec![&open, &secret, &kept, &uses, &report];
    all.extend(&others);
    house.taken("editor", &all).await;
    assert_eq!(
        house.read("editor", &id_of(&report), "").await,
        std::slice::from_ref(&report)
    );
    let shown = house.read("stranger", &id_of(&report), "").await;
    assert_eq!(shown[0]["object_refs"], json!([open["id"], nowhere]));
    let right = right(Some(house.orgs[1]), true, true, Tlp::Green);
    let reads = vec![(house.open.number, right.tlp_max)];
    let glass = house
        .sharing
        .glass(Some(house.orgs[1]), vec![house.orgs[1]], reads)
        .await
        .expect("a glass");
    house.objects.index().await.expect("indexed");
    let see = [See {
        collection: house.open.clone(),
        clearance: Tlp::Green,
        glass: Some(glass),
    }];
    let named = Query {
        text: "Secret".into(),
        ..Query::default()
    };
    for query in [Query::default(), named] {
        let found = house.objects.find(&see, &query, None, 100).await;
        let text: String = found
            .expect("found")
            .hits
            .iter()
            .map(|hit| hit.json.as_str())
            .collect();
        for (told, by) in [(&text, "search"), (&house.all("stranger").await, "TAXII")] {
            for hidden in [&secret, &kept, &uses].into_iter().chain(&others) {
                assert!(
                    !told.contains(&id_of(hidden)),
                    "{by} tells {}",
                    hidden["id"]
                );
            }
            assert!(!told.contains("Secret"));
        }
    }
    let gone = house.get("stranger", &at(&id_of(&others[0]))).await;
    assert_eq!(gone.status, StatusCode::NOT_FOUND);
}
