//! Three tiers: a provider polls its ministry, the ministry pushes to the national
//! centre, each over HTTP from a server of its own.

use std::net::{SocketAddr, TcpListener};

use isac::objects::{Filter, Source, prepare};
use isac::share::Tier;
use isac::stix::Tlp;
use isac::taxii::peer::{Direction, Peer, PeerConfig};
use runtime::CancellationToken;
use serde_json::json;

use super::server::{House, house, indicator};

/// Serves the house; returns where.
fn serve(house: &House, stop: &CancellationToken) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let (router, stop) = (house.router.clone(), stop.clone());
    tokio::spawn(async move { web::serve_router(router, listener, stop).await });
    address
}

fn peer(of: &House, to: &House, at: SocketAddr, direction: Direction, tlp_max: &str) -> PeerConfig {
    let token_file = of.db.dir().join(format!("token-{}", at.port()));
    std::fs::write(&token_file, &to.tokens["operator"]).expect("a token file");
    PeerConfig {
        name: format!("peer-{}", at.port()),
        url: format!("http://{at}/civic/collections/{}/", to.open.id),
        token_file: token_file.display().to_string(),
        collection: "open".to_owned(),
        direction,
        tier: Tier::Level,
        every_s: 1,
        tlp_max: tlp_max.to_owned(),
        types: Vec::new(),
        labels: Vec::new(),
    }
}

async fn put(house: &House, numbers: std::ops::Range<u32>, tlp: Tlp) {
    let objects = numbers
        .map(|number| prepare::object(&indicator(number, tlp).to_string()).expect("good"))
        .collect();
    house
        .objects
        .put(&house.open, Source::house("test"), objects, None)
        .await
        .expect("stored");
}

async fn count(house: &House) -> usize {
    let (mut all, mut after) = (0, i64::MIN);
    loop {
        let page = house
            .objects
            .page(
                &house.open,
                Tlp::Red,
                &Filter::default(),
                after,
                1_000,
                false,
            )
            .await
            .expect("a page");
        all += page.rows.len();
        match page.next {
            Some(next) => after = next,
            None => return all,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn intelligence_flows_up_and_down_within_the_policy() {
    let stop = CancellationToken::new();
    let (national, ministry, provider) = (house().await, house().await, house().await);
    put(&ministry, 0..1_200, Tlp::Green).await;
    put(&ministry, 2_000..2_010, Tlp::Amber).await;
    put(&ministry, 3_000..3_005, Tlp::Red).await;
    let up = peer(
        &ministry,
        &national,
        serve(&national, &stop),
        Direction::Push,
        "amber",
    );
    let up = Peer::new(ministry.objects.clone(), ministry.sharing.clone(), up).expect("a peer");
    let ministry_at = serve(&ministry, &stop);
    let down = peer(&provider, &ministry, ministry_at, Direction::Poll, "green");
    let down = Peer::new(provider.objects.clone(), provider.sharing.clone(), down).expect("a peer");

    assert_eq!(up.visit().await.expect("a visit"), 1_210);
    assert_eq!(count(&national).await, 1_210, "nothing red went up");
    assert_eq!(down.visit().await.expect("a visit"), 1_200);
    assert_eq!(count(&provider).await, 1_200, "nothing amber went down");
    // Again: nothing new, nothing moves.
    assert_eq!(up.visit().await.expect("a visit"), 0);
    assert_eq!(down.visit().await.expect("a visit"), 0);
    // What comes later, only that.
    put(&ministry, 1_200..1_203, Tlp::Clear).await;
    assert_eq!(up.visit().await.expect("a visit"), 3);
    assert_eq!(down.visit().await.expect("a visit"), 3);
    let progress = down.progress().await.expect("progress");
    assert_eq!(
        (progress.moved, progress.failures, progress.error.as_str()),
        (1_203, 0, "")
    );
    // They push to each other and come to rest.
    let back = peer(&national, &ministry, ministry_at, Direction::Push, "red");
    let back = Peer::new(national.objects.clone(), national.sharing.clone(), back).expect("a peer");
    let before = ministry.objects.last_seq().await.expect("a number");
    assert_eq!(back.visit().await.expect("a visit"), 1_213);
    assert_eq!(
        ministry.objects.last_seq().await.expect("a number"),
        before,
        "all of it was known"
    );
    stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_are_counted_and_nothing_is_lost() {
    let (ministry, national) = (house().await, house().await);
    put(&ministry, 0..700, Tlp::Green).await;
    let nobody = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = nobody.local_addr().expect("an address");
    drop(nobody);
    let config = peer(&ministry, &national, address, Direction::Push, "green");
    let up = Peer::new(
        ministry.objects.clone(),
        ministry.sharing.clone(),
        config.clone(),
    )
    .expect("a peer");
    let (_, failures) = up.visit().await.expect_err("nobody is there");
    assert_eq!(failures, 1);
    assert_eq!(up.visit().await.expect_err("nobody is there").1, 2);
    // The same peer at the same address, with somebody there; its token is wrong first.
    let stop = CancellationToken::new();
    let listener = TcpListener::bind(address).expect("the same port");
    let (router, until) = (national.router.clone(), stop.clone());
    tokio::spawn(async move { web::serve_router(router, listener, until).await });
    std::fs::write(&config.token_file, "cnt_wrong").expect("a token file");
    let (error, _) = up.visit().await.expect_err("a wrong token");
    assert!(error.to_string().contains("401"), "{error}");
    std::fs::write(&config.token_file, &national.tokens["operator"]).expect("a token file");
    assert_eq!(up.visit().await.expect("a visit"), 700);
    let progress = up.progress().await.expect("progress");
    assert_eq!(
        (progress.failures, progress.moved, progress.refused),
        (0, 700, 0)
    );
    stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn types_and_labels_choose() {
    let stop = CancellationToken::new();
    let (ministry, national) = (house().await, house().await);
    let labelled = |number, labels: &[&str]| {
        let mut object = indicator(number, Tlp::Clear);
        if !labels.is_empty() {
            object["labels"] = json!(labels);
        }
        prepare::object(&object.to_string()).expect("good")
    };
    let objects = vec![
        labelled(1, &["energy"]),
        labelled(2, &["water", "x"]),
        labelled(3, &[]),
    ];
    ministry
        .objects
        .put(&ministry.open, Source::house("test"), objects, None)
        .await
        .expect("stored");
    let mut config = peer(
        &ministry,
        &national,
        serve(&national, &stop),
        Direction::Push,
        "green",
    );
    config.labels = vec!["water".to_owned()];
    config.types = vec!["indicator".to_owned()];
    let up = Peer::new(ministry.objects.clone(), ministry.sharing.clone(), config).expect("a peer");
    assert_eq!(up.visit().await.expect("a visit"), 1);
    assert_eq!(count(&national).await, 1);
    stop.cancel();
}
