//! What an event costs a node: `cargo run --release -p lake --example journal_cost`.
//!
//! Offers five million requests in batches of an edge's usual size, as fast as the
//! journal writes them, and tells the processor time per event: of the offering
//! thread, and of the whole process.

use std::time::{Duration, Instant};

use anyhow::Context;
use base::event::{EventBatch, EventSink};
use lake::journal::{Journal, JournalConfig};
use lake::testing::access;

const BATCHES: u64 = 5_000;
const EVENTS: u64 = 1_000;

fn main() -> anyhow::Result<()> {
    let dir = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "var/journal-cost".to_owned());
    let config = JournalConfig {
        dir: dir.into(),
        bytes_max: 8 << 30,
        ..JournalConfig::default()
    };
    let journal = Journal::open(&config)?;
    let batch = EventBatch::Access((0..EVENTS).map(access).collect());
    // Cloning stands for what an edge does anyway: it makes the events.
    let copies: Vec<EventBatch> = (0..64).map(|_| batch.clone()).collect();
    let before = processor_time()?;
    let begun = Instant::now();
    let mut offering = Duration::ZERO;
    let mut cloning = Duration::ZERO;
    for i in 0..BATCHES {
        let at = Instant::now();
        let batch = copies[(i % 64) as usize].clone();
        cloning += at.elapsed();
        while journal.stats().events_written + 100_000 < i * EVENTS {
            std::thread::sleep(Duration::from_micros(200));
        }
        let at = Instant::now();
        journal.offer(batch);
        offering += at.elapsed();
    }
    journal.close();
    let elapsed = begun.elapsed();
    let processor = processor_time()? - before;
    let stats = journal.stats();
    let per_event = |time: Duration| time.as_nanos() as f64 / (BATCHES * EVENTS) as f64;
    let mut out = std::io::stdout();
    use std::io::Write;
    writeln!(
        out,
        "{} events, {} dropped, {:.1} bytes each, {:.2} s\n\
         offering            {:6.1} ns/event\n\
         process without clones {:3.1} ns/event (encode, checksum, write, sync, free)",
        stats.events_written,
        stats.events_dropped,
        stats.bytes as f64 / stats.events_written as f64,
        elapsed.as_secs_f64(),
        per_event(offering),
        per_event(processor.saturating_sub(cloning)),
    )?;
    Ok(())
}

/// User and system time of this process so far.
fn processor_time() -> anyhow::Result<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let rest = stat.rsplit_once(')').context("the process's state")?.1;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    // utime and stime, in hundredths of a second (USER_HZ).
    let ticks: u64 = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
    Ok(Duration::from_millis(ticks * 10))
}
