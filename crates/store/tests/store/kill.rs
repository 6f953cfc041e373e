//! `kill -9` at any moment loses nothing acknowledged: of the writing process, on
//! both databases, and of the PostgreSQL server.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::Mutex;

use async_trait::async_trait;
use runtime::BoxError;
use store::outbox::{OutboxMessage, OutboxTarget, Relay};
use store::testing::{PostgresServer, config, create_database};
use store::{Actor, AuditEntry, Db, Migrations, Step, StoreError, audit};

/// Set for the child process, which writes until it is killed.
const CHILD: &str = "CIVICNET_STORE_TEST_WRITES_TO";
const ROUNDS: u64 = 6;

const WRITTEN: Migrations = Migrations {
    domain: "kill",
    steps: &[Step {
        version: 1,
        name: "written",
        sql: "CREATE TABLE written (id TEXT PRIMARY KEY)",
    }],
};

async fn write(db: &Db, id: &str) -> Result<(), StoreError> {
    let mut tx = db.begin().await?;
    sqlx::query("INSERT INTO written VALUES ($1)")
        .bind(id)
        .execute(&mut *tx)
        .await?;
    tx.audit(AuditEntry::new(Actor::System("test"), "write", id))
        .await?;
    tx.outbox("written", id).await?;
    tx.commit().await
}

/// The child: says each id when it is durable, from several writers at once.
async fn child(url: &str, dir: &Path) {
    let mut config = config(url, dir);
    config.wait_ms = 3_000;
    let db = Db::open(&config).await.expect("opened");
    db.migrate(&[WRITTEN]).await.expect("migrated");
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..3 {
        let db = db.clone();
        writers.spawn(async move {
            // The server may be killed under us; then there is nothing more to say.
            loop {
                let id = uuid::Uuid::new_v4().to_string();
                if write(&db, &id).await.is_err() {
                    return;
                }
                let mut out = std::io::stdout().lock();
                writeln!(out, "ack {id}").expect("said");
                out.flush().expect("said");
            }
        });
    }
    writers.join_all().await;
}

/// Runs this test again as the child; returns the acknowledged ids after `kill` was
/// called in the midst of them.
fn acknowledged(
    test: &str,
    url: &str,
    dir: &Path,
    after: u64,
    kill: impl FnOnce(u32),
) -> Vec<String> {
    let mut process = Command::new(std::env::current_exe().expect("this test"))
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, format!("{url}\n{}", dir.display()))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the child");
    let lines = BufReader::new(process.stdout.take().expect("a pipe")).lines();
    let mut ids = Vec::new();
    let mut kill = Some(kill);
    for line in lines {
        let line = line.expect("text");
        if let Some((_, id)) = line.split_once("ack ") {
            ids.push(id.to_owned());
        }
        if ids.len() as u64 >= after
            && let Some(kill) = kill.take()
        {
            kill(process.id());
        }
    }
    process.wait().expect("it ended");
    assert!(
        kill.is_none(),
        "the child ended by itself after {} ids",
        ids.len()
    );
    // A line without its end may be cut within the id.
    ids.retain(|id| id.len() == 36);
    ids
}

fn kill_process(id: u32) {
    let killed = Command::new("kill")
        .args(["-KILL", &id.to_string()])
        .status();
    assert!(killed.expect("kill runs").success());
}

#[derive(Default)]
struct Target(Mutex<BTreeSet<String>>);

#[async_trait]
impl OutboxTarget for Target {
    async fn deliver(&self, message: &OutboxMessage) -> Result<(), BoxError> {
        let id = message.payload.as_str().ok_or("no id")?;
        self.0.lock().expect("unpoisoned").insert(id.to_owned());
        Ok(())
    }
}

async fn assert_all_there(url: &str, dir: &Path, acknowledged: &[String]) {
    let db = Db::open(&config(url, dir)).await.expect("opened");
    let rows: Vec<String> = sqlx::query_scalar("SELECT id FROM written")
        .fetch_all(db.pool())
        .await
        .expect("read");
    let rows: BTreeSet<String> = rows.into_iter().collect();
    for id in acknowledged {
        assert!(rows.contains(id), "{id} was acknowledged and is lost");
    }
    let verified = audit::verify(&db, None).await.expect("unbroken");
    assert_eq!(verified.entries, rows.len() as u64, "one entry a row");
    let target = Arc::new(Target::default());
    let relay = Relay::new(db.clone(), target.clone());
    while relay.deliver_due().await.expect("delivered") > 0 {}
    let delivered = target.0.lock().expect("unpoisoned").clone();
    assert!(delivered.is_subset(&rows), "a message without its row");
    let messages: i64 = sqlx::query_scalar("SELECT count(*) FROM outbox_message")
        .fetch_one(db.pool())
        .await
        .expect("read");
    assert_eq!(
        usize::try_from(messages).expect("fits"),
        rows.len(),
        "one message a row"
    );
    db.close().await;
}

/// As the child, if this process is one.
async fn was_child() -> bool {
    let Ok(task) = std::env::var(CHILD) else {
        return false;
    };
    let (url, dir) = task.split_once('\n').expect("an address and a directory");
    child(url, Path::new(dir)).await;
    true
}

async fn kill_writers(test: &str, url: &str) {
    let dir = tempfile::tempdir().expect("a directory");
    let mut all = Vec::new();
    for round in 0..ROUNDS {
        let ids = acknowledged(test, url, dir.path(), 1 + round * 17 % 60, kill_process);
        all.extend(ids);
        assert_all_there(url, dir.path(), &all).await;
    }
    assert!(all.len() as u64 >= ROUNDS);
}

#[tokio::test]
async fn a_killed_writer_loses_nothing_on_sqlite() {
    if was_child().await {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let url = format!("sqlite:{}", dir.path().join("kill.db").display());
    kill_writers("kill::a_killed_writer_loses_nothing_on_sqlite", &url).await;
}

#[tokio::test]
async fn a_killed_writer_loses_nothing_on_postgresql() {
    if was_child().await {
        return;
    }
    let url = create_database(PostgresServer::shared()).await;
    kill_writers("kill::a_killed_writer_loses_nothing_on_postgresql", &url).await;
}

#[tokio::test]
async fn a_killed_postgresql_server_loses_nothing() {
    if was_child().await {
        return;
    }
    let test = "kill::a_killed_postgresql_server_loses_nothing";
    let dir = tempfile::tempdir().expect("a directory");
    let mut server = PostgresServer::start();
    let url = create_database(&server).await;
    let mut all = Vec::new();
    for round in 0..3 {
        let main = server.process_id();
        all.extend(acknowledged(test, &url, dir.path(), 5 + round * 20, |_| {
            kill_process(main)
        }));
        server = server.crash_and_restart();
        assert_all_there(&url, dir.path(), &all).await;
    }
    assert!(all.len() >= 15);
}
