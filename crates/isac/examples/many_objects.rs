//! Fills a collection with indicators and measures ingest, pages and memory.
//!
//! `cargo run --release -p isac --example many_objects -- 10000000 /tmp/many`
//!
//! Prints objects a second, and the slowest of pages asked for at random places of the
//! collection with every kind of filter.

#![expect(clippy::print_stdout, reason = "the figures are what it is for")]

use std::time::Instant;

use isac::objects::{Filter, Objects, Prepared, Source, VersionMatch, prepare};
use isac::stix::Tlp;
use store::{Db, StoreConfig};

/// Objects in one push.
const BATCH: u32 = 500;
/// Pages asked for, of each kind.
const PAGES: u64 = 200;

fn envelope(base: u32) -> String {
    let objects: Vec<String> = (base..base + BATCH)
        .map(|number| {
            // Ids as random as those of the world.
            let id = u128::from(number).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835);
            let id = uuid::Builder::from_random_bytes(id.to_be_bytes()).into_uuid();
            let tlp = Tlp::ALL[number as usize % 4].marking();
            let address = std::net::Ipv4Addr::from(number.wrapping_mul(2_654_435_761));
            format!(
                r#"{{"type":"indicator","spec_version":"2.1","id":"indicator--{id}","created":"2026-01-01T00:00:00.000Z","modified":"2026-01-01T00:00:00.000Z","name":"indicator {number}","indicator_types":["malicious-activity"],"pattern":"[ipv4-addr:value = '{address}']","pattern_type":"stix","valid_from":"2026-01-01T00:00:00Z","confidence":80,"object_marking_refs":["{tlp}"]}}"#
            )
        })
        .collect();
    format!("{{\"objects\":[{}]}}", objects.join(","))
}

fn resident_mib() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = text
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse().ok())
        .unwrap_or_default();
    pages * 4 / 1024
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let count: u32 = arguments
        .next()
        .map_or(Ok(1_000_000), |text| text.parse())?;
    let dir = arguments
        .next()
        .unwrap_or_else(|| "/tmp/many_objects".to_owned());
    std::fs::create_dir_all(&dir)?;
    let config = StoreConfig {
        url: format!("sqlite:{dir}/many.db"),
        ..StoreConfig::default()
    };
    let db = Db::open(&config).await?;
    db.migrate(&[isac::MIGRATIONS]).await?;
    let objects = Objects::open(db.clone()).await?;
    let by = Source::house("measure");
    let collection = match objects.collections("civic").await?.into_iter().next() {
        Some(collection) => collection,
        None => {
            objects
                .create_collection("many", "", None, &[], &by)
                .await?
        }
    };
    let (begin, mut step, mut reading) =
        (Instant::now(), Instant::now(), std::time::Duration::ZERO);
    for base in (0..count).step_by(BATCH as usize) {
        let text = envelope(base);
        let one = Instant::now();
        let batch: Vec<Prepared> = prepare::envelope(text.as_bytes())?.objects;
        reading += one.elapsed();
        objects.put(&collection, by.clone(), batch, None).await?;
        if (base + BATCH).is_multiple_of(500_000) {
            let rate = 500_000.0 / step.elapsed().as_secs_f64();
            println!(
                "{} objects, {rate:.0} a second, {} MiB resident",
                base + BATCH,
                resident_mib()
            );
            step = Instant::now();
        }
    }
    let spent = begin.elapsed();
    println!(
        "{count} objects in {:.1} s, {:.0} a second; of it {:.1} s to read and check",
        spent.as_secs_f64(),
        f64::from(count) / spent.as_secs_f64(),
        reading.as_secs_f64()
    );
    let ends = objects.changes(0, 1).await?;
    let (first, last) = (
        ends.first().map_or(0, |change| change.seq),
        objects.last_seq().await?,
    );
    let some = objects
        .page(
            &collection,
            Tlp::Red,
            &Filter::default(),
            i64::MIN,
            50,
            false,
        )
        .await?;
    let ids: Vec<String> = some.rows.into_iter().map(|row| row.id).collect();
    let kinds = |names: &[&str]| {
        names
            .iter()
            .map(|name| (*name).to_owned())
            .collect::<Vec<_>>()
    };
    for (name, clearance, filter) in [
        ("everything", Tlp::Red, Filter::default()),
        ("clear only", Tlp::Clear, Filter::default()),
        (
            "all versions",
            Tlp::Red,
            Filter {
                versions: vec![VersionMatch::All],
                ..Filter::default()
            },
        ),
        (
            "one type",
            Tlp::Red,
            Filter {
                kinds: kinds(&["indicator"]),
                ..Filter::default()
            },
        ),
        (
            "two types, one absent",
            Tlp::Red,
            Filter {
                kinds: kinds(&["indicator", "malware"]),
                ..Filter::default()
            },
        ),
        (
            "fifty ids",
            Tlp::Red,
            Filter {
                ids,
                ..Filter::default()
            },
        ),
        (
            "a version that is nowhere",
            Tlp::Red,
            Filter {
                versions: vec![VersionMatch::At(1)],
                ..Filter::default()
            },
        ),
    ] {
        let mut times = Vec::new();
        let pages = if filter.versions == [VersionMatch::At(1)] {
            5
        } else {
            PAGES
        };
        for number in 0..pages {
            let span = (last - first).unsigned_abs();
            let after = first + (span.wrapping_mul(number) / pages) as i64;
            let one = Instant::now();
            objects
                .page(&collection, clearance, &filter, after, 100, true)
                .await?;
            times.push(one.elapsed());
        }
        times.sort_unstable();
        let milliseconds = |at: usize| times[at.min(times.len() - 1)].as_secs_f64() * 1e3;
        println!(
            "page of 100, {name}: median {:.2} ms, 99th percentile {:.2} ms, worst {:.2} ms",
            milliseconds(times.len() / 2),
            milliseconds(times.len() * 99 / 100),
            milliseconds(times.len() - 1)
        );
    }
    println!("{} MiB resident", resident_mib());
    Ok(())
}
