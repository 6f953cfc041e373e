//! The journal of a node.

use std::path::Path;
use std::time::{Duration, Instant};

use base::event::{EventBatch, EventSink};
use lake::envelope;
use lake::journal::{Journal, JournalConfig, JournalReader};
use lake::testing::access;

use crate::child;

pub(crate) fn config(dir: &Path) -> JournalConfig {
    JournalConfig {
        dir: dir.to_owned(),
        segment_bytes: 64 * 1024,
        fsync_interval_ms: 5,
        ..JournalConfig::default()
    }
}

pub(crate) fn batch(first: u64, events: u64) -> EventBatch {
    EventBatch::Access((first..first + events).map(access).collect())
}

/// Waits for a condition, at most a generous while.
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn drain(reader: &mut JournalReader) -> Vec<(u64, EventBatch)> {
    let mut found = Vec::new();
    while let Some((seq, bytes)) = reader.next().expect("reads") {
        found.push((seq, envelope::decode(&bytes).expect("decodes")));
    }
    found
}

#[test]
fn offered_batches_come_out_in_order_and_once_acknowledged_never_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let journal = Journal::open(&config(dir.path())).expect("opens");
    let mut reader = journal.reader();
    assert!(reader.next().expect("reads").is_none());
    for i in 0..100 {
        journal.offer(batch(i * 10, 10));
    }
    let mut found = Vec::new();
    until("all batches", || {
        found.extend(drain(&mut reader));
        found.len() == 100
    });
    let first = found[0].0;
    for (i, (seq, got)) in found.iter().enumerate() {
        assert_eq!(*seq, first + i as u64);
        assert_eq!(got, &batch(i as u64 * 10, 10));
    }
    reader.ack(first + 49).expect("acks");
    reader.rewind();
    assert_eq!(drain(&mut reader)[0].0, first + 50);
    drop(reader);
    journal.close();
    drop(journal);

    let journal = Journal::open(&config(dir.path())).expect("opens again");
    let mut reader = journal.reader();
    let again = drain(&mut reader);
    assert_eq!(again.len(), 50);
    assert_eq!(again[0].0, first + 50);
    assert_eq!(
        journal.append_durable(batch(0, 1)).expect("appends"),
        first + 100
    );
}

#[test]
fn shipped_segments_are_deleted() {
    let dir = tempfile::tempdir().expect("a directory");
    let journal = Journal::open(&config(dir.path())).expect("opens");
    let mut last = 0;
    for i in 0..50 {
        last = journal
            .append_durable(batch(i * 200, 200))
            .expect("appends");
    }
    let before = journal.stats().bytes;
    assert!(before > 5 * 64 * 1024, "{before}");
    journal.reader().ack(last).expect("acks");
    until("space given back", || {
        journal.stats().bytes <= 2 * 64 * 1024
    });
    assert_eq!(journal.stats().acked_end, last + 1);
}

#[test]
fn a_full_journal_keeps_what_it_has_drops_the_newest_and_says_so() {
    let dir = tempfile::tempdir().expect("a directory");
    let limited = JournalConfig {
        bytes_max: 100 * 1024,
        segment_bytes: 16 * 1024,
        ..config(dir.path())
    };
    let journal = Journal::open(&limited).expect("opens");
    let mut kept = 0;
    let error = loop {
        match journal.append_durable(batch(kept * 10, 10)) {
            Ok(_) => kept += 1,
            Err(error) => break error,
        }
    };
    assert!(error.to_string().contains("journal is full"), "{error}");
    journal.offer(batch(0, 7));
    until("the drop is counted", || {
        journal.stats().events_dropped == 7
    });
    let mut reader = journal.reader();
    let found = drain(&mut reader);
    assert_eq!(found.len() as u64, kept);
    reader.ack(found[found.len() - 1].0).expect("acks");
    // Room again: it goes on by itself, and the loss is told.
    until("writing works again", || {
        journal.append_durable(batch(0, 1)).is_ok()
    });
    until("a notice tells of the loss", || {
        drain(&mut reader).iter().any(|(_, batch)| match batch {
            EventBatch::Notice(notices) => {
                &*notices[0].kind == "journal.dropped"
                    && notices[0].message.starts_with("7 events were dropped")
            }
            _ => false,
        })
    });
}

#[test]
fn offering_never_blocks_and_what_does_not_fit_is_counted() {
    let dir = tempfile::tempdir().expect("a directory");
    let journal = Journal::open(&config(dir.path())).expect("opens");
    let offered: u64 = 400 * 8_192;
    let full = batch(0, 8_192);
    for _ in 0..400 {
        journal.offer(full.clone());
    }
    until("every event is written or dropped", || {
        let stats = journal.stats();
        // The notice about dropped events is an event too.
        let notices = stats.events_written % 8_192;
        stats.events_written - notices + stats.events_dropped == offered
    });
}

/// In a process whose files cannot grow beyond a limit, which is how the kernel
/// refuses writes on a full disk: in the middle of one.
#[test]
fn a_full_disk_costs_the_newest_and_mends_by_itself() {
    if let Some(dir) = child::directory_of("full-disk") {
        return full_disk(&dir);
    }
    let dir = tempfile::tempdir().expect("a directory");
    let test = "journal::a_full_disk_costs_the_newest_and_mends_by_itself";
    let status = child::start(test, "full-disk", dir.path())
        .wait()
        .expect("ends");
    assert!(status.success());
}

fn limit_file_size(bytes: u64) {
    let limit = libc::rlimit {
        rlim_cur: bytes,
        rlim_max: libc::RLIM_INFINITY,
    };
    // SAFETY: sets a limit of this process from a live, initialised struct, and
    // makes its signal harmless; no memory is shared.
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
        assert_eq!(libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit), 0);
    }
}

fn full_disk(dir: &Path) {
    let large = JournalConfig {
        segment_bytes: 1 << 20,
        ..config(dir)
    };
    let journal = Journal::open(&large).expect("opens");
    limit_file_size(50_000);
    let mut kept = Vec::new();
    let error = loop {
        match journal.append_durable(batch(kept.len() as u64, 10)) {
            Ok(seq) => kept.push(seq),
            Err(error) => break error,
        }
    };
    assert!(
        error.to_string().contains("could not write to the journal"),
        "{error}"
    );
    assert!(journal.stats().failing);
    journal.offer(batch(0, 5));
    until("the drop is counted", || {
        journal.stats().events_dropped == 5
    });
    limit_file_size(libc::RLIM_INFINITY);
    let next = journal.append_durable(batch(99, 1)).expect("works again");
    assert_eq!(next, kept[kept.len() - 1] + 1, "no number was lost");
    assert!(!journal.stats().failing);
    drop(journal);
    let journal = Journal::open(&large).expect("opens again");
    assert_eq!(journal.recovery().torn_bytes, 0);
    let found = drain(&mut journal.reader());
    assert_eq!(
        found
            .iter()
            .map(|(seq, _)| *seq)
            .take(kept.len())
            .collect::<Vec<_>>(),
        kept
    );
    assert_eq!(found[kept.len()], (next, batch(99, 1)));
}

#[test]
fn a_journal_in_a_place_that_is_no_directory_says_so() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("file");
    std::fs::write(&file, b"x").expect("writes");
    let error = Journal::open(&config(&file))
        .expect_err("refused")
        .to_string();
    assert!(error.contains(&file.display().to_string()), "{error}");
}

#[tokio::test]
async fn a_waiting_reader_wakes() {
    let dir = tempfile::tempdir().expect("a directory");
    let journal = Journal::open(&config(dir.path())).expect("opens");
    let mut reader = journal.reader();
    let waiting = tokio::spawn(async move {
        reader.ready().await;
        reader.next().expect("reads").expect("something").0
    });
    let appended =
        tokio::task::spawn_blocking(move || journal.append_durable(batch(0, 1)).expect("appends"));
    let seq = appended.await.expect("joins");
    let woken = tokio::time::timeout(Duration::from_secs(30), waiting).await;
    assert_eq!(woken.expect("in time").expect("joins"), seq);
}
