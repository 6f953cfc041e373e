//! The agent of a site, without a control plane.

use std::sync::Arc;
use std::time::{Duration, Instant};

use base::Timestamp;
use exchange::agent::{Applier, ApplierOptions, ApplyState, SiteSnapshot};
use exchange::document::{Document, Protection};
use exchange::engine::daemon::Daemons;
use exchange::irr::{self, rpsl::Files};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const LAB: &str = include_str!("../golden/lab.toml");
const RPSL: &str = include_str!("../golden/lab.rpsl");

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_ends_at_its_time_though_nobody_says_so() {
    let mut document = Document::parse("lab.toml", LAB).expect("valid");
    let rule = |id: &str, to: &str| Protection {
        id: id.to_owned(),
        asn: Some(7539),
        destination: Some(to.parse().expect("a prefix")),
        sites: Vec::new(),
        flow: None,
    };
    document.protection = vec![
        rule("short", "140.110.5.9/32"),
        rule("long", "140.110.5.10/32"),
    ];
    let mut files = Files::default();
    files.read_bytes("LAB", RPSL.as_bytes()).expect("small");
    let (allowed, _) = irr::resolve(&document, "hsinchu", &mut files, None, None).expect("known");
    let now = std::time::UNIX_EPOCH.elapsed().expect("after 1970");
    let now_s = i64::try_from(now.as_secs()).expect("small");
    let ends = [("short", now_s + 3), ("long", now_s + 3_600)]
        .map(|(id, end)| (id.to_owned(), Timestamp::from_seconds(end)))
        .into();
    let snapshot = SiteSnapshot::new(document, &allowed, "5a".repeat(32)).with_ends(&ends);
    let dir = tempfile::tempdir().expect("a directory");
    // No daemon: the checked file waits for its start.
    let running = dir.path().join("bird.conf");
    let (applier, mut applied) = Applier::new(ApplierOptions {
        site: "hsinchu".to_owned(),
        daemons: Daemons {
            bird: (dir.path().join("none.ctl"), running.clone()),
            openbgpd: (dir.path().join("none.sock"), dir.path().join("bgpd.conf")),
        },
        watch: Duration::from_secs(1),
        settle: Duration::from_secs(0),
    });
    let (_tell, told) = watch::channel(Some(Arc::new(snapshot)));
    let stop = CancellationToken::new();
    let _stop = stop.clone().drop_guard();
    tokio::spawn(applier.run(told, stop));
    let first = applied
        .wait_for(|now| now.state != ApplyState::Waiting)
        .await;
    let first = first.expect("running").clone();
    assert_eq!(first.state, ApplyState::Written, "{first:?}");
    let begun = Instant::now();
    let text = || std::fs::read_to_string(&running).expect("a file");
    assert!(text().contains("140.110.5.9/32") && text().contains("140.110.5.10/32"));
    while text().contains("140.110.5.9/32") {
        assert!(
            begun.elapsed() < Duration::from_secs(30),
            "{:?}",
            applied.borrow()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(
        text().contains("140.110.5.10/32"),
        "the other one has its time"
    );
}
