//! A reader from whom very many objects are kept back still comes to the end, in bounded
//! steps: a page with little or nothing on it says where to go on.

use std::time::{Duration, Instant};

use base::UserId;
use isac::cert::By;
use isac::objects::{Source, prepare};
use isac::share::Consents;
use isac::stix::Tlp;

use super::server::{House, house, indicator};

/// Objects that are kept back: more than are looked at for one page.
const HIDDEN: u32 = 120_000;
/// Objects of one push.
const TOGETHER: u32 = 20_000;
/// No request may take longer; the bound in the server is a second and what one read takes.
const PATIENCE: Duration = Duration::from_secs(10);

async fn put(house: &House, org: usize, numbers: std::ops::Range<u32>) {
    let objects = numbers
        .map(|number| prepare::object(&indicator(number, Tlp::Green).to_string()).expect("good"))
        .collect();
    let source = Source::person(UserId::generate(), Some(house.orgs[org]));
    house
        .objects
        .put(&house.open, source, objects, None)
        .await
        .expect("stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_after_very_many_hidden_objects_is_short_and_goes_on() {
    let house = house().await;
    let by = By {
        user: UserId::generate(),
        request: None,
    };
    let refused = Consents {
        up: false,
        down: false,
    };
    house
        .sharing
        .set_consent(&by, house.orgs[0], refused)
        .await
        .expect("kept");
    put(&house, 1, 0..1).await;
    for begin in (1..HIDDEN).step_by(TOGETHER as usize) {
        put(&house, 0, begin..begin + TOGETHER).await;
    }
    put(&house, 1, 900_000..900_002).await;
    for resource in ["objects", "manifest"] {
        let path = format!("/civic/collections/{}/{resource}/?limit=10", house.open.id);
        let (mut ids, mut next, mut pages) = (Vec::new(), String::new(), 0);
        loop {
            let began = Instant::now();
            let answer = house.get("stranger", &format!("{path}{next}")).await;
            assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
            assert_eq!(answer.status.as_u16(), 200, "{}", answer.body);
            pages += 1;
            let rows = answer.body["objects"].as_array().cloned();
            ids.extend(
                rows.unwrap_or_default()
                    .iter()
                    .filter_map(|row| Some(row["id"].as_str()?.to_owned())),
            );
            match answer.body["next"].as_str() {
                Some(cursor) => {
                    assert_eq!(answer.body["more"], true);
                    next = format!("&next={cursor}");
                }
                None => {
                    assert_ne!(answer.body["more"], true);
                    break;
                }
            }
        }
        let want: Vec<String> = [0, 900_000, 900_001]
            .iter()
            .map(|number| format!("indicator--00000000-0000-4000-8000-{number:012}"))
            .collect();
        assert_eq!(ids, want, "{resource}: each once, none lost");
        assert!((2..1_000).contains(&pages), "{resource}: {pages} pages");
    }
    // An object that is not shown is not there, and one that is, is found at once.
    for (number, status) in [(5, 404), (900_001, 200)] {
        let path = format!(
            "/civic/collections/{}/objects/indicator--00000000-0000-4000-8000-{number:012}/",
            house.open.id
        );
        let began = Instant::now();
        let answer = house.get("stranger", &path).await;
        assert_eq!(answer.status.as_u16(), status, "{}", answer.body);
        assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
    }
}
