//! Snapshots down: in force, refused, kept, resumed.

use base::Role;
use fabric::Control;
use fabric::node::Node;
use store::{Backend, Db, Vault};

use crate::world::{ME, Running, State, World, eventually, name};

#[tokio::test]
async fn a_snapshot_is_in_force_acknowledged_and_not_made_twice() {
    for backend in [Backend::Sqlite, Backend::Postgres] {
        let world = World::on(backend, std::sync::Arc::new(fabric::control::NoIngest)).await;
        let node = world.enrol("edge-a", &[Role::Edge]).await;
        let mut running = Running::start(node, Role::Edge);
        let publish = async |text| {
            world
                .control
                .publish(Role::Edge, &State::new(text))
                .await
                .unwrap()
        };
        assert_eq!(publish("one").await, 1);
        running.has("one").await;
        let status = world.running("edge-a", 1).await;
        assert!(status.versions[0].lag_ms.is_some());
        assert_eq!(publish("one").await, 1);
        assert_eq!(publish("two").await, 2);
        // Back to an older state is a new version.
        assert_eq!(publish("one").await, 3);
        running.has("one").await;
        world.running("edge-a", 3).await;
        let history = world.control.history(Role::Edge).await.unwrap();
        assert_eq!(history.len(), 3);
        let two: State = world.control.published(Role::Edge, 2).await.unwrap();
        assert_eq!(two, State::new("two"));
        // Other roles have their own numbers.
        let other = State::new("d");
        let version = world.control.publish(Role::Dispatch, &other).await;
        assert_eq!(version.unwrap(), 1);
    }
}

#[tokio::test]
async fn only_the_last_versions_are_kept() {
    let mut world = World::new().await;
    world.config.snapshots_kept = 3;
    world.restart().await;
    for turn in 0..10 {
        let state = State::new(&turn.to_string());
        world.control.publish(Role::Edge, &state).await.unwrap();
    }
    let history = world.control.history(Role::Edge).await.unwrap();
    let versions: Vec<_> = history.iter().map(|published| published.version).collect();
    assert_eq!(versions, [10, 9, 8]);
}

#[tokio::test]
async fn a_snapshot_that_the_role_refuses_changes_nothing_and_is_shown() {
    let world = World::new().await;
    let node = world.enrol("edge-a", &[Role::Edge]).await;
    let mut running = Running::start(node, Role::Edge);
    let publish = async |text: &str| {
        let state = State::new(text);
        world.control.publish(Role::Edge, &state).await.unwrap()
    };
    publish("good").await;
    running.has("good").await;
    for (poison, reason) in [("poison", "must not be poison"), ("panic", "check fail")] {
        publish(poison).await;
        let shown = eventually("the refusal is shown", async || {
            let status = world.status("edge-a").await;
            status.versions[0]
                .refused
                .clone()
                .filter(|shown| shown.contains(reason))
        })
        .await;
        assert!(shown.contains(reason), "{shown}");
        assert_eq!(running.text().as_deref(), Some("good"));
        assert_eq!(running.version(), 1);
        assert!(running.notices.count("snapshot.refused") > 0);
        let status = world.status("edge-a").await;
        assert_eq!((status.versions[0].version, running.version()), (1, 1));
    }
    publish("better").await;
    running.has("better").await;
    let status = world.running("edge-a", 4).await;
    assert_eq!(status.versions[0].refused, None);
    // Something of another shape is refused as well.
    world
        .control
        .publish(Role::Edge, &serde_json::json!({ "text": "x", "more": 1 }))
        .await
        .unwrap();
    eventually("refused for its shape", async || {
        running
            .notices
            .last("snapshot.refused")
            .filter(|message| message.contains("unknown field"))
    })
    .await;
    assert_eq!(running.text().as_deref(), Some("better"));
}

#[tokio::test]
async fn a_node_restarts_without_control_and_with_damaged_copies() {
    let mut world = World::new().await;
    let node = world.enrol("edge-a", &[Role::Edge]).await;
    let mut running = Running::start(node, Role::Edge);
    for text in ["one", "two"] {
        world
            .control
            .publish(Role::Edge, &State::new(text))
            .await
            .unwrap();
        running.has(text).await;
    }
    world.running("edge-a", 2).await;
    running.stop().await;
    world.stop().await;

    let open = || Node::open(&world.dir("edge-a")).unwrap().unwrap();
    let running = Running::start(open(), Role::Edge);
    assert_eq!(running.text().as_deref(), Some("two"));
    running.stop().await;

    let kept = world.dir("edge-a").join("snapshots");
    std::fs::write(kept.join("edge.current"), b"rubbish").unwrap();
    let running = Running::start(open(), Role::Edge);
    assert_eq!(running.text().as_deref(), Some("one"));
    assert_eq!(running.notices.count("snapshot.damaged"), 1);
    running.stop().await;

    std::fs::write(kept.join("edge.previous"), b"").unwrap();
    let mut running = Running::start(open(), Role::Edge);
    assert_eq!(running.text(), None);
    assert_eq!(running.notices.count("snapshot.damaged"), 2);
    world.start();
    running.has("two").await;
}

#[tokio::test]
async fn a_new_snapshot_key_is_followed_even_by_a_node_that_slept() {
    let mut world = World::new().await;
    let awake = world.enrol("edge-a", &[Role::Edge]).await;
    world.enrol("edge-b", &[Role::Edge]).await;
    let mut awake = Running::start(awake, Role::Edge);
    world
        .control
        .publish(Role::Edge, &State::new("one"))
        .await
        .unwrap();
    awake.has("one").await;
    let first = world.control.snapshot_key();
    for _ in 0..2 {
        world.control.rotate_snapshot_key(ME).await.unwrap();
    }
    assert_ne!(world.control.snapshot_key(), first);
    eventually("signed anew", async || (awake.version() == 3).then_some(())).await;
    awake.stop().await;
    // The new key is in the database and on the node's disk.
    world.restart().await;
    world
        .control
        .publish(Role::Edge, &State::new("two"))
        .await
        .unwrap();
    for node in ["edge-a", "edge-b"] {
        let node = Node::open(&world.dir(node)).unwrap().unwrap();
        let mut running = Running::start(node, Role::Edge);
        running.has("two").await;
        assert_eq!(running.notices.count("snapshot.refused"), 0);
        running.stop().await;
    }
}

#[tokio::test]
async fn a_control_plane_that_comes_back_is_found_again() {
    let mut world = World::new().await;
    let node = world.enrol("edge-a", &[Role::Edge]).await;
    let mut running = Running::start(node, Role::Edge);
    for text in ["one", "two", "three"] {
        world.restart().await;
        world
            .control
            .publish(Role::Edge, &State::new(text))
            .await
            .unwrap();
        running.has(text).await;
    }
}

#[tokio::test]
async fn another_control_process_on_the_same_database_is_heard() {
    let world = World::on(
        Backend::Postgres,
        std::sync::Arc::new(fabric::control::NoIngest),
    )
    .await;
    let node = world.enrol("edge-a", &[Role::Edge]).await;
    let mut running = Running::start(node, Role::Edge);
    let other = Control::open(
        world.db.again().await,
        world.db.vault(),
        world.config.clone(),
    )
    .await
    .unwrap();
    other
        .publish(Role::Edge, &State::new("from the other"))
        .await
        .unwrap();
    running.has("from the other").await;
    // The other replaces the key; this one signs with the new one at once.
    other.rotate_snapshot_key(ME).await.unwrap();
    world
        .control
        .publish(Role::Edge, &State::new("signed by the new key"))
        .await
        .unwrap();
    running.has("signed by the new key").await;
    assert_eq!(world.control.snapshot_key(), other.snapshot_key());
    assert_eq!(running.notices.count("snapshot.refused"), 0);
    other.revoke(ME, &name("edge-a")).await.unwrap();
    eventually("refused", async || {
        (running.notices.count("link.refused") > 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_database_from_a_back_up_goes_on_above_what_nodes_run() {
    let mut world = World::new().await;
    let node = world.enrol("edge-a", &[Role::Edge]).await;
    let mut running = Running::start(node, Role::Edge);
    let publish = async |control: &Control, text: &str| {
        control
            .publish(Role::Edge, &State::new(text))
            .await
            .unwrap()
    };
    publish(&world.control, "one").await;
    let copy = world.db.dir().join("copy.db");
    world.db.backup_to(&copy).await.unwrap();
    for text in ["two", "three", "four"] {
        publish(&world.control, text).await;
        running.has(text).await;
    }
    world.stop().await;
    let config = store::testing::config(&format!("sqlite:{}", copy.display()), world.db.dir());
    let db = Db::open(&config).await.unwrap();
    let vault = Vault::open_file(&config.key_file).unwrap();
    world.control = Control::open(db, vault, world.config.clone())
        .await
        .unwrap();
    world.start();
    // What the restored database holds is in force again, as a newer version.
    running.has("one").await;
    assert_eq!(running.version(), 5);
    assert_eq!(publish(&world.control, "five").await, 6);
    running.has("five").await;
}

#[tokio::test]
async fn a_disk_that_refuses_is_noticed_and_the_node_recovers_by_itself() {
    let world = World::new().await;
    let node = world.enrol("edge-a", &[Role::Edge]).await;
    let mut running = Running::start(node, Role::Edge);
    let publish = async |text: &str| {
        let state = State::new(text);
        world.control.publish(Role::Edge, &state).await.unwrap();
    };
    publish("one").await;
    running.has("one").await;
    // Where the file would be written there is something that cannot be written to.
    let obstacle = world.dir("edge-a").join("snapshots/edge.current.tmp");
    std::fs::create_dir(&obstacle).unwrap();
    publish("two").await;
    eventually("the refusal is noticed", async || {
        running
            .notices
            .last("snapshot.refused")
            .filter(|message| message.contains("could not be kept"))
    })
    .await;
    assert_eq!(running.text().as_deref(), Some("one"));
    std::fs::remove_dir(&obstacle).unwrap();
    running.has("two").await;
    world.running("edge-a", 2).await;
}

#[tokio::test]
async fn a_node_is_given_its_part_and_no_other() {
    for backend in [Backend::Sqlite, Backend::Postgres] {
        let world = World::on(backend, std::sync::Arc::new(fabric::control::NoIngest)).await;
        world.control.tailor(
            Role::Edge,
            std::sync::Arc::new(|payload: &[u8], part: Option<&str>| {
                let whole: State = serde_json::from_slice(payload).map_err(|e| e.to_string())?;
                let cut = State::new(&format!("{} for {}", whole.text, part.unwrap_or("nobody")));
                serde_json::to_vec(&cut).map_err(|e| e.to_string())
            }),
        );
        let start = async |node: &str, part: &str| {
            Running::start_of(world.enrol(node, &[Role::Edge]).await, Role::Edge, part)
        };
        let mut here = start("edge-a", "here").await;
        let mut there = start("edge-b", "there").await;
        let mut nowhere = start("edge-c", "").await;
        let publish = async |text| {
            let state = State::new(text);
            world.control.publish(Role::Edge, &state).await.unwrap()
        };
        publish("one").await;
        here.has("one for here").await;
        there.has("one for there").await;
        nowhere.has("one for nobody").await;
        // What is kept is the whole.
        let kept: State = world.control.published(Role::Edge, 1).await.unwrap();
        assert_eq!(kept, State::new("one"));
        world.running("edge-a", 1).await;

        // It cannot become another's.
        here.stop().await;
        let dir = world.dir("edge-a");
        let thief = Running::start_of(Node::open(&dir).unwrap().unwrap(), Role::Edge, "there");
        publish("two").await;
        there.has("two for there").await;
        nowhere.has("two for nobody").await;
        assert_eq!(thief.text().as_deref(), Some("one for here"));
        thief.stop().await;
        let mut again = Running::start_of(Node::open(&dir).unwrap().unwrap(), Role::Edge, "here");
        again.has("two for here").await;

        // Enrolled anew it may stand elsewhere.
        again.stop().await;
        std::fs::remove_dir_all(&dir).unwrap();
        let mut moved = start("edge-a", "there").await;
        moved.has("two for there").await;
    }
}
