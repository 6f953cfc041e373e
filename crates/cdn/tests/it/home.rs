//! The signed-in home: how much is served now, by edge; an owner's own; and what it
//! says when the figures are away.

use base::Timestamp;
use cdn::seams::{StatsPoint, StatsRow};
use web::testing::Browser;
use web::{HouseRole, Lang, OrgRole};

use crate::pages::console;

fn row(name: &str, requests: u64) -> StatsRow {
    StatsRow {
        name: name.into(),
        requests,
        bytes: requests * 1_000,
        hits: requests / 2,
        errors: 0,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_home_shows_what_is_served_by_edge_to_those_it_concerns() {
    let console = console().await;
    let accounts = &console.web.house().accounts;
    let by = web::By::system("test");
    let org = accounts.create_org("甲", "Mine", &by).await.expect("made");
    let (operator, _) = console.person("op", &[HouseRole::Operator], None).await;
    let member = Some((org, OrgRole::Viewer));
    let (owner, _) = console.person("owner", &[], member).await;
    let (applicant, _) = console.person("new", &[], None).await;
    let maker = cdn::By {
        user: operator,
        request: None,
    };
    let map = serde_json::from_str(include_str!("../data/dispatch-map.json")).expect("a map");
    let cdn = &console.house.cdn;
    cdn.save_dispatch_map(&maker, 0, &map, "first")
        .await
        .expect("a map");

    let operator = Browser::new(&console.web, Some(operator)).await;
    let operator = operator.expect("a session");
    let quiet = operator.get("/").await;
    assert!(quiet.text.contains("No requests in the last half hour"));

    let point = StatsPoint {
        at: Timestamp(0),
        requests: 600,
        bytes: 60_000,
        hits: 300,
        errors: 0,
    };
    let rooms = &console.house.rooms;
    *rooms.series.lock().expect("unpoisoned") = vec![("edge-hsinchu".into(), vec![point; 30])];
    *rooms.rows.lock().expect("unpoisoned") =
        vec![row("edge-hsinchu", 100), row("edge-tainan", 50)];
    // What was asked a moment ago serves everybody for some seconds.
    console
        .house
        .clock
        .advance(std::time::Duration::from_secs(5));
    let mut shown = operator.get("/").await;
    assert!(shown.text.contains("edges=edge-hsinchu,edge-tainan"));
    assert_eq!(shown.text.matches("data-live-chart=").count(), 4);
    for text in ["15/s", "50.0 %", "last 30 minutes: 18,000", "Nodes"] {
        assert!(shown.text.contains(text), "{text}: {}", shown.text);
    }
    let live = operator.get("/home/live?edges=edge-hsinchu").await;
    assert_eq!(live.status, 200);

    let mut owner = Browser::new(&console.web, Some(owner))
        .await
        .expect("a session");
    for lang in [Lang::En, Lang::ZhTw] {
        owner.lang = lang;
        shown = owner.get("/").await;
        assert!(!shown.text.contains('⟨'), "a text is missing");
        assert!(shown.text.contains("15/s") && !shown.text.contains("home-nodes"));
    }
    let applicant = Browser::new(&console.web, Some(applicant)).await;
    let nothing = applicant.expect("a session").get("/").await;
    assert!(
        !nothing.text.contains("15/s"),
        "figures of nobody of theirs"
    );

    *rooms.away.lock().expect("unpoisoned") = true;
    console
        .house
        .clock
        .advance(std::time::Duration::from_secs(5));
    let away = operator.get("/").await;
    assert_eq!(away.status, 200, "the home is there all the same");
    assert!(away.text.contains("Cannot be shown now"));
    assert!(away.text.contains("Latest changes"));
}
