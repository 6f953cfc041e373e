//! `kill -9` at any moment: what is read afterwards is right, and what was purged
//! stays away.
//!
//! The test starts itself as a child that writes, purges and says on its standard
//! output what it has acknowledged, kills it, and looks at what is left.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use base::quick::{Purge, PurgeWhat};
use cache::store::PurgeOrder;

use super::support::*;

const DIR: &str = "CACHE_CRASH_DIR";
const FIRST: &str = "CACHE_CRASH_FIRST";

fn size_of(version: u64) -> usize {
    match version % 10 {
        0 => 9 << 20,
        1..=3 => 100_000,
        _ => (version as usize * 37) % 5_000,
    }
}

/// The child: version after version of fifty keys, and a purge of one now and then.
async fn write_until_killed(dir: &str, first: u64) {
    let store = open(dir.as_ref(), 32 << 20, 256 << 20);
    let mut out = std::io::stdout();
    let mut say = |line: String| {
        writeln!(out, "{line}").expect("a reader");
        out.flush().expect("a reader");
    };
    for version in first.. {
        let number = version % 50;
        let target = format!("/{number}");
        put(&store, &key(&target), body_of(version, size_of(version))).await;
        say(format!("put {number} {version}"));
        if version % 7 == 0 {
            let purge = Purge {
                site: site(1),
                what: PurgeWhat::Url(target),
                soft: false,
            };
            let seq = store.last_seq() + 1;
            let order = PurgeOrder {
                seq,
                purge: &purge,
                ignore_query: &[],
            };
            store.purge(&order, NOW).expect("durable");
            say(format!("purged {number} {version} {seq}"));
        }
    }
}

#[tokio::test]
async fn killed_at_any_moment() {
    if let (Ok(dir), Ok(first)) = (std::env::var(DIR), std::env::var(FIRST)) {
        return write_until_killed(&dir, first.parse().expect("a number")).await;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let mut next = 1;
    // The newest version put and the newest purged, by key.
    let mut put_last: HashMap<u64, u64> = HashMap::new();
    let mut purged_last: HashMap<u64, u64> = HashMap::new();
    let mut seq = 0;
    let mut found_at_all = 0;
    for round in 0..6 {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args([
                "--exact",
                "store::crash::killed_at_any_moment",
                "--nocapture",
            ])
            .env(DIR, dir.path())
            .env(FIRST, next.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let stop_after = 60 + round * 37;
        for (count, line) in lines.map_while(Result::ok).enumerate() {
            let words: Vec<&str> = line.split(' ').collect();
            let number = |at: usize| words[at].parse::<u64>().expect("a number");
            match words.first() {
                Some(&"put") => {
                    put_last.insert(number(1), number(2));
                    next = number(2) + 2;
                }
                Some(&"purged") => {
                    purged_last.insert(number(1), number(2));
                    seq = number(3);
                }
                _ => {}
            }
            if count == stop_after {
                child.kill().expect("SIGKILL");
            }
        }
        child.wait().expect("ended");

        let store = open(dir.path(), 32 << 20, 256 << 20);
        assert!(
            store.last_seq() >= seq,
            "purge {seq} was acknowledged and is lost"
        );
        for number in 0..50u64 {
            let Some(object) = get(&store, &key(&format!("/{number}"))).await else {
                continue;
            };
            found_at_all += 1;
            let content = body(&object).await;
            // Any version put after the last purge may be there, whole; one more may
            // have been put before the child could say so.
            let last = put_last.get(&number).copied().unwrap_or(0);
            let after = purged_last.get(&number).copied().unwrap_or(0);
            let version = (after + 1..=last.max(next) + 50)
                .filter(|version| version % 50 == number)
                .find(|version| content == body_of(*version, size_of(*version)));
            assert!(
                version.is_some(),
                "/{number} is damaged, or came back after its purge"
            );
        }
        assert_eq!(store.stats().corrupt, 0, "round {round}");
    }
    assert!(
        found_at_all > 60,
        "only {found_at_all} objects were ever found again"
    );
}
