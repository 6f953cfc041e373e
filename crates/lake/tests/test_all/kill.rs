//! `kill -9`, again and again: what was acknowledged is there, once.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lake::Lake;
use lake::envelope;
use lake::journal::Journal;

use crate::child;
use crate::journal::{batch, config as journal_config};
use crate::lake::{config, fingerprint, node, number, parquet_files, requests, rows};

const ROUNDS: u64 = 8;
/// Events of one batch.
const EVENTS: u64 = 500;

/// Ends the child by SIGKILL once it has told `wanted` numbers.
fn kill_after(test: &str, role: &str, dir: &Path, wanted: usize) -> Vec<u64> {
    let mut child = child::start(test, role, dir);
    let told: Vec<u64> = child::lines(&mut child, "acknowledged ")
        .take(wanted)
        .map(|line| line.parse().expect("a number"))
        .collect();
    child.kill().expect("killed");
    child.wait().expect("ends");
    assert_eq!(told.len(), wanted, "the child told enough before it ended");
    told
}

fn tell(seq: u64) {
    let mut out = std::io::stdout();
    writeln!(out, "acknowledged {seq}").expect("the parent listens");
    out.flush().expect("the parent listens");
}

#[test]
fn a_killed_journal_has_every_acknowledged_batch() {
    let role = "journal";
    if let Some(dir) = child::directory_of(role) {
        let journal = Arc::new(Journal::open(&journal_config(&dir)).expect("opens"));
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let journal = Arc::clone(&journal);
                std::thread::spawn(move || {
                    loop {
                        tell(journal.append_durable(batch(0, 20)).expect("appends"));
                    }
                })
            })
            .collect();
        threads
            .into_iter()
            .for_each(|thread| thread.join().expect("runs"));
    }
    let dir = tempfile::tempdir().expect("a directory");
    let test = "kill::a_killed_journal_has_every_acknowledged_batch";
    let mut told = BTreeSet::new();
    for round in 0..ROUNDS {
        told.extend(kill_after(test, role, dir.path(), 20 + round as usize * 7));
        let journal = Journal::open(&journal_config(dir.path())).expect("opens");
        let mut reader = journal.reader();
        let mut found = Vec::new();
        while let Some((seq, bytes)) = reader.next().expect("reads") {
            assert_eq!(envelope::decode(&bytes).expect("whole"), batch(0, 20));
            found.push(seq);
        }
        assert!(
            found.windows(2).all(|pair| pair[1] == pair[0] + 1),
            "no gaps"
        );
        let found: BTreeSet<u64> = found.into_iter().collect();
        assert!(told.is_subset(&found), "round {round}");
    }
}

/// The child ingests, flushes and merges without pause; it goes on where the lake
/// says it is, like a node that ships what was not acknowledged.
#[test]
fn a_killed_lake_has_every_acknowledged_batch_exactly_once() {
    let role = "lake";
    if let Some(dir) = child::directory_of(role) {
        ingest_for_ever(&dir);
    }
    let dir = tempfile::tempdir().expect("a directory");
    let test = "kill::a_killed_lake_has_every_acknowledged_batch_exactly_once";
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut highest = 0;
    for round in 0..ROUNDS {
        let told = kill_after(test, role, dir.path(), 15 + round as usize * 11);
        highest = told.into_iter().fold(highest, u64::max);
        runtime.block_on(check(dir.path(), highest));
    }
}

fn ingest_for_ever(dir: &Path) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let lake = Lake::open(&config(dir)).await.expect("opens");
        let worker = lake.clone();
        tokio::spawn(async move {
            loop {
                worker.flush().await.expect("flushes");
                worker.tidy().await.expect("tidies");
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        let edge = node("edge-a");
        let mut seq = 0;
        loop {
            // A batch twice in flight, as after a lost acknowledgement.
            let bytes = requests(seq * EVENTS, EVENTS);
            let (first, second) = tokio::join!(
                lake.ingest(&edge, seq, bytes.clone()),
                lake.ingest(&edge, seq, bytes)
            );
            first.expect("taken");
            second.expect("taken");
            tell(seq);
            seq += 1;
        }
    });
}

async fn check(dir: &Path, highest: u64) {
    let lake = Lake::open(&config(dir)).await.expect("opens");
    let found = &rows(
        &lake,
        "SELECT count(*) AS n, count(DISTINCT timestamp) AS d, max(timestamp) AS last FROM access",
    )
    .await[0];
    let (n, d) = (
        found["n"].as_u64().expect("n"),
        found["d"].as_u64().expect("d"),
    );
    assert_eq!(n, d, "nothing is there twice");
    assert_eq!(n % EVENTS, 0, "batches are whole");
    assert!(
        n >= (highest + 1) * EVENTS,
        "{n} rows, {highest} acknowledged"
    );
    // Every table is committed with the others.
    for table in ["traffic", "urls", "networks"] {
        let sum = &rows(&lake, &format!("SELECT sum(requests) AS n FROM {table}")).await[0]["n"];
        assert_eq!(sum.as_u64(), Some(n), "{table}");
    }
}

#[tokio::test]
async fn a_first_flush_cut_short_is_as_if_it_had_not_begun() {
    let (whole, cut) = (
        tempfile::tempdir().expect("a directory"),
        tempfile::tempdir().expect("a directory"),
    );
    for dir in [&whole, &cut] {
        let lake = Lake::open(&config(dir.path())).await.expect("opens");
        lake.ingest(&node("edge-a"), 1, requests(0, 1_000))
            .await
            .expect("stored");
        if dir.path() == whole.path() {
            lake.flush().await.expect("flushes");
        }
    }
    // As a crash after the first of the flush's files leaves it: requests are there,
    // their roll-ups and the commit are not.
    copy_tree(
        &whole.path().join("tables/access"),
        &cut.path().join("tables/access"),
    );
    let lake = Lake::open(&config(cut.path())).await.expect("opens");
    assert_eq!(fingerprint(&lake).await, (1_000, 1_000));
    for table in ["traffic", "urls", "networks"] {
        let sql = format!("SELECT sum(requests) FROM {table}");
        assert_eq!(number(&lake, &sql).await, 1_000, "{table}");
    }
    assert_eq!(parquet_files(cut.path()), 0, "what it left is deleted");
}

fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy_tree(&path, &target);
        } else {
            std::fs::copy(&path, &target).expect("copied");
        }
    }
}
