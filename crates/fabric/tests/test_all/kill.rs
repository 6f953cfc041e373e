//! `kill -9` of a node while snapshots pour in: what it acknowledged is on its disk.

use std::io::BufRead as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base::Role;
use fabric::node::Node;

use crate::world::{Running, State, World, eventually};

const CHILD: &str = "FABRIC_TEST_CHILD_DIR";
const THIS: &str = "kill::a_node_killed_while_snapshots_pour_in_keeps_what_it_acknowledged";
const ROUNDS: u64 = 8;

#[tokio::test]
async fn a_node_killed_while_snapshots_pour_in_keeps_what_it_acknowledged() {
    if let Some(dir) = std::env::var_os(CHILD) {
        return child(dir.as_ref()).await;
    }
    let world = World::new().await;
    world.enrol("edge-a", &[Role::Edge]).await;
    let dir = world.dir("edge-a");
    // Large enough that a kill often falls into the writing.
    let filler = "x".repeat(300_000);
    let mut published = 0;
    for round in 0..ROUNDS {
        let mut child = start_child(&dir);
        let first = published;
        let deadline = tokio::time::Instant::now() + Duration::from_millis(150 + round * 37);
        while tokio::time::Instant::now() < deadline || acknowledged(&world).await <= first {
            let state = State::new(&format!("{published} {filler}"));
            published = world.control.publish(Role::Edge, &state).await.unwrap();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // What was on its way when the child died is written down meanwhile.
        let before = eventually("acknowledgements settle", async || {
            let before = acknowledged(&world).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
            (before == acknowledged(&world).await).then_some(before)
        })
        .await;
        assert!(before > first, "round {round}: nothing was acknowledged");

        let node = Node::open(&dir).unwrap().unwrap();
        let running = Running::start(node, Role::Edge);
        assert!(
            running.version() >= before,
            "round {round}: {} on disk, {before} acknowledged",
            running.version()
        );
        assert_eq!(running.notices.count("snapshot.damaged"), 0);
        running.stop().await;
    }
}

async fn acknowledged(world: &World) -> u64 {
    world.status("edge-a").await.versions[0].version
}

fn start_child(dir: &std::path::Path) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", THIS, "--nocapture", "--test-threads=1"])
        .env(CHILD, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let stdout = std::io::BufReader::new(child.stdout.take().unwrap());
    let ready = stdout
        .lines()
        .map_while(Result::ok)
        .any(|line| line.contains("child is ready"));
    assert!(ready, "the child did not start");
    child
}

async fn child(dir: &std::path::Path) {
    let node = Node::open(dir).unwrap().expect("an enrolled node");
    let _running = Running::start(node, Role::Edge);
    println!("child is ready");
    // The parent kills long before.
    tokio::time::sleep(Duration::from_secs(120)).await;
    panic!("nobody killed the child");
}
