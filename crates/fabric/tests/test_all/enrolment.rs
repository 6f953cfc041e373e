//! Tokens, certificates, rotation, revocation.

use std::time::Duration;

use base::Role;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fabric::control::{Change, NodeState};
use fabric::node::{LinkError, Node, NodeError};
use fabric::token::EnrolToken;
use store::Backend;

use crate::world::{DAY, ME, Running, State, World, eventually, name, steal};

fn status_of(error: &NodeError) -> Option<u16> {
    match error {
        NodeError::Link(LinkError::Status { status, .. }) => Some(*status),
        _ => None,
    }
}

async fn try_enrol(world: &World, dir: &str, token: &EnrolToken) -> Result<Node, NodeError> {
    Node::enrol(&world.dir(dir), &[world.url()], token).await
}

#[tokio::test]
async fn a_token_enrols_once_on_both_databases() {
    for backend in [Backend::Sqlite, Backend::Postgres] {
        let world = World::on(backend, std::sync::Arc::new(fabric::control::NoIngest)).await;
        let mut changes = world.control.changes();
        let offer = world
            .control
            .create_token(ME, &name("edge-a"), &[Role::Edge])
            .await
            .unwrap();
        let pending = world.control.pending_tokens().await.unwrap();
        assert_eq!(pending.len(), 1);
        assert_eq!(pending[0].expires_at, offer.expires_at);
        let node = try_enrol(&world, "edge-a", &offer.token).await.unwrap();
        assert_eq!(node.name(), &name("edge-a"));
        assert_eq!(node.roles(), [Role::Edge]);
        assert_eq!(
            changes.recv().await.unwrap(),
            Change::Enrolled {
                node: name("edge-a")
            }
        );
        assert!(world.control.pending_tokens().await.unwrap().is_empty());

        let again = try_enrol(&world, "other", &offer.token).await.unwrap_err();
        assert_eq!(status_of(&again), Some(409), "{again:?}");
        assert!(Node::open(&world.dir("other")).unwrap().is_none());
        let occupied = try_enrol(&world, "edge-a", &offer.token).await.unwrap_err();
        assert!(matches!(occupied, NodeError::AlreadyEnrolled(_)));

        let status = world.status("edge-a").await;
        assert_eq!(status.state, NodeState::Enrolled);
        assert!(!status.online);
        assert_eq!(status.address.as_deref(), Some("127.0.0.1"));
        assert!(store::audit::verify(&world.db, None).await.unwrap().entries >= 2);
    }
}

#[tokio::test]
async fn two_nodes_that_use_one_token_at_once_do_not_both_enrol() {
    let world = World::new().await;
    let offer = world
        .control
        .create_token(ME, &name("edge-a"), &[Role::Edge])
        .await
        .unwrap();
    let (one, two) = tokio::join!(
        try_enrol(&world, "one", &offer.token),
        try_enrol(&world, "two", &offer.token)
    );
    assert_eq!(usize::from(one.is_ok()) + usize::from(two.is_ok()), 1);
}

#[tokio::test]
async fn a_wrong_pin_gives_the_secret_to_nobody() {
    let world = World::new().await;
    let offer = world
        .control
        .create_token(ME, &name("edge-a"), &[Role::Edge])
        .await
        .unwrap();
    let text = offer.token.to_string();
    let mut bytes = URL_SAFE_NO_PAD.decode(&text[4..]).unwrap();
    bytes[5] ^= 1;
    let wrong: EnrolToken = format!("cn1.{}", URL_SAFE_NO_PAD.encode(bytes))
        .parse()
        .unwrap();
    let error = try_enrol(&world, "edge-a", &wrong).await.unwrap_err();
    assert!(
        matches!(error, NodeError::Link(LinkError::Unreachable { .. })),
        "{error:?}"
    );
    // The token was not spent by the attempt.
    try_enrol(&world, "edge-a", &offer.token).await.unwrap();
}

#[tokio::test]
async fn expired_withdrawn_and_unknown_tokens_are_refused() {
    let world = World::new().await;
    let expired = world
        .control
        .create_token(ME, &name("edge-a"), &[Role::Edge])
        .await
        .unwrap();
    world.clock.forward(DAY + Duration::from_secs(60));
    let error = try_enrol(&world, "x", &expired.token).await.unwrap_err();
    assert_eq!(status_of(&error), Some(410), "{error:?}");

    let withdrawn = world
        .control
        .create_token(ME, &name("edge-b"), &[Role::Edge])
        .await
        .unwrap();
    assert!(
        world
            .control
            .withdraw_token(ME, &name("edge-b"))
            .await
            .unwrap()
    );
    let error = try_enrol(&world, "x", &withdrawn.token).await.unwrap_err();
    assert_eq!(status_of(&error), Some(403), "{error:?}");

    let unknown = EnrolToken::generate(world.control.pin()).unwrap();
    let error = try_enrol(&world, "x", &unknown).await.unwrap_err();
    assert_eq!(status_of(&error), Some(403), "{error:?}");
    for roles in [&[][..], &[Role::Control]] {
        let result = world.control.create_token(ME, &name("x"), roles).await;
        assert!(result.is_err(), "{roles:?}");
    }
}

#[tokio::test]
async fn a_revoked_node_hears_nothing_more_on_connections_it_has() {
    let world = World::new().await;
    let node = world.enrol("edge-a", &[Role::Edge]).await;
    let mut running = Running::start(node, Role::Edge);
    world
        .control
        .publish(Role::Edge, &State::new("one"))
        .await
        .unwrap();
    running.has("one").await;
    eventually("a heartbeat", async || running.status.borrow().last_contact).await;

    world.control.revoke(ME, &name("edge-a")).await.unwrap();
    world
        .control
        .publish(Role::Edge, &State::new("secret"))
        .await
        .unwrap();
    eventually("the refusal is noticed", async || {
        (running.notices.count("link.refused") > 0).then_some(())
    })
    .await;
    // It goes on with what it has.
    assert_eq!(running.text().as_deref(), Some("one"));
    assert!(
        running
            .notices
            .last("link.refused")
            .unwrap()
            .contains("revoked")
    );

    // The stolen folder is of no use either, nor after the node enrols again.
    running.stop().await;
    steal(&world.dir("edge-a"), &world.dir("stolen"));
    std::fs::remove_dir_all(world.dir("edge-a")).unwrap();
    let node = world.enrol("edge-a", &[Role::Edge]).await;
    let mut again = Running::start(node, Role::Edge);
    again.has("secret").await;
    let thief = Node::open(&world.dir("stolen")).unwrap().unwrap();
    let thief = Running::start(thief, Role::Edge);
    eventually("the thief is refused", async || {
        (thief.notices.count("link.refused") > 0).then_some(())
    })
    .await;
    assert_eq!(thief.text().as_deref(), Some("one"));
}

#[tokio::test]
async fn a_certificate_is_renewed_at_two_thirds_of_its_life_and_the_old_one_ends() {
    let world = World::new().await;
    let node = world.enrol("edge-a", &[Role::Edge]).await;
    let before = world.status("edge-a").await;
    steal(&world.dir("edge-a"), &world.dir("old"));
    world.clock.forward(DAY * 5);
    let clock = std::sync::Arc::new(crate::world::MovedClock::default());
    clock.forward(DAY * 5);
    let mut running = Running::start_at(node, Role::Edge, clock, |_| {});
    let after = eventually("a new serial", async || {
        let status = world.status("edge-a").await;
        (status.certificate_serial != before.certificate_serial).then_some(status)
    })
    .await;
    assert!(after.certificate_until > before.certificate_until);
    world
        .control
        .publish(Role::Edge, &State::new("one"))
        .await
        .unwrap();
    running.has("one").await;
    running.stop().await;

    let old = Node::open(&world.dir("old")).unwrap().unwrap();
    let old = Running::start(old, Role::Edge);
    eventually("the old certificate is refused", async || {
        old.notices
            .last("link.refused")
            .filter(|message| message.contains("replaced"))
    })
    .await;
    assert_eq!(old.version(), 0);

    // Killed between the first use of the next identity and its taking its place:
    // the folder holds the old one, and the next one beside it.
    let (dir, stolen) = (world.dir("edge-a"), world.dir("old"));
    std::fs::rename(dir.join("identity.json"), dir.join("identity.next.json")).unwrap();
    std::fs::copy(stolen.join("identity.json"), dir.join("identity.json")).unwrap();
    let node = Node::open(&dir).unwrap().unwrap();
    let running = Running::start(node, Role::Edge);
    eventually("the next identity takes its place", async || {
        let moved = !dir.join("identity.next.json").exists();
        (moved && running.status.borrow().last_contact.is_some()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_expired_certificate_may_only_be_renewed_and_not_for_ever() {
    let world = World::new().await;
    let node = world.enrol("edge-a", &[Role::Edge]).await;
    steal(&world.dir("edge-a"), &world.dir("late"));
    world
        .control
        .publish(Role::Edge, &State::new("one"))
        .await
        .unwrap();
    world.clock.forward(DAY * 10);
    // A node whose own clock has not moved does not renew, and is refused.
    let stuck = Running::start(node, Role::Edge);
    eventually("the expired certificate is refused", async || {
        stuck
            .notices
            .last("link.refused")
            .filter(|message| message.contains("expired"))
    })
    .await;
    assert_eq!(stuck.version(), 0);
    stuck.stop().await;
    // One that sees the time renews, and is served.
    let node = Node::open(&world.dir("edge-a")).unwrap().unwrap();
    let clock = std::sync::Arc::new(crate::world::MovedClock::default());
    clock.forward(DAY * 10);
    let mut running = Running::start_at(node, Role::Edge, clock, |_| {});
    running.has("one").await;
    running.stop().await;

    world.clock.forward(DAY * 60);
    let late = Node::open(&world.dir("late")).unwrap().unwrap();
    let clock = std::sync::Arc::new(crate::world::MovedClock::default());
    clock.forward(DAY * 70);
    let late = Running::start_at(late, Role::Edge, clock, |_| {});
    eventually("too late", async || {
        (late.notices.count("link.refused") > 0).then_some(())
    })
    .await;
    assert_eq!(late.version(), 0);
}

#[tokio::test]
async fn clocks_that_jump_cut_nobody_off() {
    let world = World::new().await;
    let node = world.enrol("edge-a", &[Role::Edge]).await;
    let mut running = Running::start(node, Role::Edge);
    for (turn, text) in ["one", "two", "three", "four"].into_iter().enumerate() {
        match turn {
            1 => running.clock.back(DAY * 800),
            2 => running.clock.forward(DAY * 799),
            3 => world.clock.back(DAY * 300),
            _ => {}
        }
        world
            .control
            .publish(Role::Edge, &State::new(text))
            .await
            .unwrap();
        running.has(text).await;
    }
    let status = world.running("edge-a", 4).await;
    assert_eq!(status.versions[0].latest, 4);
}

#[tokio::test]
async fn draining_is_shown_to_the_node_and_in_the_inventory() {
    let world = World::new().await;
    let node = world.enrol("edge-a", &[Role::Edge]).await;
    let running = Running::start(node, Role::Edge);
    world
        .control
        .set_draining(ME, &name("edge-a"), true)
        .await
        .unwrap();
    eventually("the node hears", async || {
        running.status.borrow().draining.then_some(())
    })
    .await;
    let status = world.status("edge-a").await;
    assert!(status.draining && status.online);
    assert_eq!(status.software.as_deref(), Some("test 1"));
    assert_eq!(status.health["load"], 0.5);
    let nobody = world
        .control
        .set_draining(ME, &name("nobody"), true)
        .await
        .unwrap_err();
    assert_eq!(nobody.to_string(), "node nobody is not in the inventory");
}
