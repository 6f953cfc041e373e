//! The sharing policy at the doors: what a member, a peer above and a peer below see of
//! what another member sent.

use std::net::TcpListener;

use base::UserId;
use http::StatusCode;
use isac::cert::By;
use isac::objects::{Filter, Source, VersionMatch, prepare};
use isac::share::{Consents, Tier};
use isac::stix::Tlp;
use isac::taxii::peer::{Direction, Peer, PeerConfig};
use runtime::CancellationToken;
use serde_json::{Value, json};

use super::server::{House, house, indicator};

const WATER: &str = "identity--11111111-1111-4111-8111-111111111111";
const OBJECTS: &str = "/civic/collections/open/objects/";

fn by() -> By {
    By {
        user: UserId::generate(),
        request: None,
    }
}

fn sent() -> Vec<Value> {
    let mut told = indicator(1, Tlp::Green);
    told["created_by_ref"] = WATER.into();
    told["name"] = "臺灣第一自來水 的中繼站".into();
    told["x_ticket"] = "T-7".into();
    let identity = json!({
        "type": "identity", "spec_version": "2.1", "id": WATER, "created": "2026-03-01T00:00:00.000Z",
        "modified": "2026-03-01T00:00:00.000Z", "name": "臺灣第一自來水", "contact_information": "王小明",
    });
    vec![told, identity, indicator(2, Tlp::Clear)]
}

async fn push(house: &House) {
    let body = json!({ "objects": sent() }).to_string();
    let answer = house.post("editor", OBJECTS, body).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    assert_eq!(answer.body["success_count"], 3, "{}", answer.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_learns_what_not_who() {
    let house = house().await;
    push(&house).await;
    // Who sent it sees it as it is, and so does the staff.
    for who in ["editor", "viewer", "operator"] {
        let body = house.get(who, OBJECTS).await.body;
        assert_eq!(body["objects"], json!(sent()), "{who}");
    }
    let seen = house.get("stranger", OBJECTS).await.body;
    let text = seen.to_string();
    for hidden in ["自來水", "王小明", "11111111-1111", "T-7", "2026-03-01"] {
        assert!(!text.contains(hidden), "{hidden}: {text}");
    }
    let objects = seen["objects"].as_array().expect("a list");
    assert_eq!(objects.len(), 3);
    let alias = objects[1]["id"].as_str().expect("an id").to_owned();
    assert_eq!(objects[0]["created_by_ref"], alias.as_str());
    assert_eq!(objects[2], sent()[2], "nothing to hide, nothing changed");
    // By its pseudonym the bearer is found, in every resource; by its own id it is not.
    for part in ["", "versions/"] {
        let found = house
            .get("stranger", &format!("{OBJECTS}{alias}/{part}"))
            .await;
        assert_eq!(found.status, StatusCode::OK, "{part}");
        let hidden = house
            .get("stranger", &format!("{OBJECTS}{WATER}/{part}"))
            .await;
        assert_eq!(hidden.status, StatusCode::NOT_FOUND, "{part}");
    }
    let manifest = house
        .get(
            "stranger",
            "/civic/collections/open/manifest/?match[type]=identity",
        )
        .await
        .body;
    assert_eq!(manifest["objects"][0]["id"], alias.as_str());
    let matched = house
        .get("stranger", &format!("{OBJECTS}?match[id]={WATER}"))
        .await
        .body;
    assert!(matched.get("objects").is_none(), "{matched}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_consent_nothing_is_passed_on() {
    let house = house().await;
    push(&house).await;
    let no = Consents {
        up: true,
        down: false,
    };
    let set = house.sharing.set_consent(&by(), house.orgs[0], no).await;
    set.expect("kept");
    let seen = house.get("stranger", OBJECTS).await;
    assert_eq!(
        (seen.status, seen.body.get("objects")),
        (StatusCode::OK, None)
    );
    let id = sent()[2]["id"].as_str().expect("an id").to_owned();
    let one = house.get("stranger", &format!("{OBJECTS}{id}/")).await;
    assert_eq!(one.status, StatusCode::NOT_FOUND);
    assert_eq!(
        house.get("editor", OBJECTS).await.body["objects"],
        json!(sent())
    );
    // It may go up all the same: the preview says so, and why nothing goes down.
    let lens = |tier| house.sharing.lens(tier, "peer", None);
    for (tier, passes) in [(Tier::Up, 3), (Tier::Down, 0)] {
        let lens = lens(tier).await.expect("a lens");
        let preview = house
            .sharing
            .preview(&house.objects, &house.open, Tlp::Red, &lens)
            .await
            .expect("a preview");
        assert_eq!((preview.looked_at, preview.passes), (3, passes), "{tier:?}");
        if passes == 0 {
            assert_eq!(preview.stays.values().sum::<usize>(), 3);
            assert!(preview.stays.keys().all(|why| why.contains("consent")));
        } else {
            assert_eq!(preview.cleaned, 2);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_goes_through_the_lens_and_a_policy_counts_from_its_version() {
    let (ministry, nation) = (house().await, house().await);
    push(&ministry).await;
    let stop = CancellationToken::new();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let at = listener.local_addr().expect("an address");
    let (router, until) = (nation.router.clone(), stop.clone());
    tokio::spawn(async move { web::serve_router(router, listener, until).await });
    let token_file = ministry.db.dir().join("token");
    std::fs::write(&token_file, &nation.tokens["operator"]).expect("a token file");
    let config = PeerConfig {
        name: "nation".to_owned(),
        url: format!("http://{at}/civic/collections/{}/", nation.open.id),
        token_file: token_file.display().to_string(),
        collection: "open".to_owned(),
        direction: Direction::Push,
        tier: Tier::Up,
        every_s: 1,
        tlp_max: "amber".to_owned(),
        types: Vec::new(),
        labels: Vec::new(),
    };
    let peer =
        Peer::new(ministry.objects.clone(), ministry.sharing.clone(), config).expect("a peer");
    let (_, mut policy) = ministry.sharing.policy().await.expect("the built-in one");
    let nothing_up =
        serde_json::from_value(json!({"name": "quiet", "to": ["nation"], "action": "withhold"}));
    policy.rules.insert(0, nothing_up.expect("a rule"));
    assert_eq!(
        ministry
            .sharing
            .set_policy(&by(), &policy)
            .await
            .expect("good"),
        1
    );
    assert_eq!(peer.visit().await.expect("a visit"), 0);
    let sums = ministry
        .sharing
        .visit_sums("nation", base::Timestamp(0))
        .await
        .expect("sums");
    assert_eq!((sums.withheld, sums.moved, sums.failed), (3, 0, 0));
    // A policy that allows more counts from now on, and from the beginning when asked.
    policy.rules.remove(0);
    assert_eq!(
        ministry
            .sharing
            .set_policy(&by(), &policy)
            .await
            .expect("good"),
        2
    );
    assert_eq!(peer.visit().await.expect("a visit"), 0);
    ministry
        .sharing
        .begin_again(&by(), "nation")
        .await
        .expect("kept");
    assert_eq!(peer.visit().await.expect("a visit"), 3);
    let filter = Filter {
        versions: vec![VersionMatch::All],
        ..Filter::default()
    };
    let page = nation
        .objects
        .page(&nation.open, Tlp::Red, &filter, i64::MIN, 10, true)
        .await
        .expect("a page");
    let text: String = page.rows.iter().map(|row| row.json.as_str()).collect();
    assert_eq!(page.rows.len(), 3);
    assert!(!text.contains("自來水") && !text.contains("T-7") && !text.contains(WATER));
    // Again from the beginning: all of it is known there.
    ministry
        .sharing
        .begin_again(&by(), "nation")
        .await
        .expect("kept");
    let before = nation.objects.last_seq().await.expect("a number");
    peer.visit().await.expect("a visit");
    assert_eq!(nation.objects.last_seq().await.expect("a number"), before);
    assert!(
        ministry
            .sharing
            .set_policy(
                &by(),
                &serde_json::from_str(r#"{"rules":[]}"#).expect("reads")
            )
            .await
            .is_err()
    );
    let versions = ministry.sharing.versions().await.expect("a list");
    assert_eq!(
        versions.iter().map(|one| one.version).collect::<Vec<_>>(),
        [2, 1]
    );
    stop.cancel();
    // What a house makes itself has no source that could refuse.
    let own = prepare::object(&indicator(9, Tlp::Clear).to_string()).expect("good");
    ministry
        .objects
        .put(&ministry.open, Source::house("test"), vec![own], None)
        .await
        .expect("stored");
}
