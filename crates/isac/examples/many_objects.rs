//! Fills a collection with indicators and measures ingest, pages and memory.
//!
//! `cargo run --release -p isac --example many_objects -- 10000000 /tmp/many`
//!
//! Prints objects a second, and the slowest of pages asked for at random places of the
//! collection with every kind of filter; the time to index all of it and to search it in
//! Chinese and by value; and whether ten readers who page while 100,000 more are pushed
//! see each object once.

#![expect(clippy::print_stdout, reason = "the figures are what it is for")]

use std::time::Instant;

use isac::objects::search::{Query, See};
use isac::objects::{Collection, Filter, Objects, Prepared, Source, VersionMatch, prepare};
use isac::stix::Tlp;
use store::{Db, StoreConfig};

/// Objects in one push.
const BATCH: u32 = 500;
/// Pages asked for, of each kind.
const PAGES: u64 = 200;
/// Objects pushed while readers page.
const PUSHED: u32 = 100_000;
/// Readers who page meanwhile.
const READERS: u32 = 10;
/// Words in the names, so that some are in many objects and some in few.
const WORDS: [&str; 8] = [
    "釣魚網站",
    "中繼站",
    "勒索軟體",
    "垃圾郵件",
    "beacon",
    "scanner",
    "殭屍網路",
    "dropper",
];

fn envelope(base: u32) -> String {
    let objects: Vec<String> = (base..base + BATCH)
        .map(|number| {
            // Ids as random as those of the world.
            let id = u128::from(number).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835);
            let id = uuid::Builder::from_random_bytes(id.to_be_bytes()).into_uuid();
            let tlp = Tlp::ALL[number as usize % 4].marking();
            let address = std::net::Ipv4Addr::from(number.wrapping_mul(2_654_435_761));
            let word = match number % 100_003 {
                7 => "稀有蠕蟲",
                _ => WORDS[number as usize / 16 % WORDS.len()],
            };
            format!(
                r#"{{"type":"indicator","spec_version":"2.1","id":"indicator--{id}","created":"2026-01-01T00:00:00.000Z","modified":"2026-01-01T00:00:00.000Z","name":"{word} indicator {number}","indicator_types":["malicious-activity"],"pattern":"[ipv4-addr:value = '{address}']","pattern_type":"stix","valid_from":"2026-01-01T00:00:00Z","confidence":80,"object_marking_refs":["{tlp}"]}}"#
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
    // A folder that was filled before is measured as it is.
    let kept = objects.last_seq().await? > 0;
    for base in (0..if kept { 0 } else { count }).step_by(BATCH as usize) {
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
    if !kept {
        println!(
            "{count} objects in {:.1} s, {:.0} a second; of it {:.1} s to read and check",
            spent.as_secs_f64(),
            f64::from(count) / spent.as_secs_f64(),
            reading.as_secs_f64()
        );
    }
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
    let begin = Instant::now();
    let indexed = objects.index().await?;
    let spent = begin.elapsed().as_secs_f64();
    println!(
        "{indexed} objects indexed in {spent:.1} s, {:.0} a second, {} MiB resident",
        indexed as f64 / spent.max(0.001),
        resident_mib()
    );
    search(&objects, &collection, count).await?;
    readers_and_writers(&objects, &collection, count).await?;
    let size = std::fs::metadata(format!("{dir}/many.db"))?.len();
    println!(
        "{} MiB on disk, {} MiB resident",
        size >> 20,
        resident_mib()
    );
    Ok(())
}

/// Searches by words that many, some and few have, by value, and by several together.
async fn search(
    objects: &Objects,
    collection: &Collection,
    count: u32,
) -> Result<(), Box<dyn std::error::Error>> {
    let see = [See {
        collection: collection.clone(),
        clearance: Tlp::Green,
        glass: None,
    }];
    let address = std::net::Ipv4Addr::from((count / 2).wrapping_mul(2_654_435_761));
    for text in [
        String::new(),
        "indicator".to_owned(),
        "釣魚網站".to_owned(),
        "稀有蠕蟲".to_owned(),
        "釣魚網站 indicator 12345".to_owned(),
        "釣魚 勒索".to_owned(),
        format!("indicator {}", count / 2),
        address.to_string(),
    ] {
        let query = Query {
            text: text.clone(),
            confidence: (text == "釣魚網站").then_some(80),
            ..Query::default()
        };
        let (mut times, mut before, mut hits) = (Vec::new(), None, 0);
        for _ in 0..50 {
            let one = Instant::now();
            let page = objects.find(&see, &query, before, 50).await?;
            times.push(one.elapsed());
            hits += page.hits.len();
            match page.next {
                Some(next) => before = Some(next),
                None => break,
            }
        }
        times.sort_unstable();
        println!(
            "search {text:?}: {hits} found on {} pages, median {:.2} ms, worst {:.2} ms",
            times.len(),
            times[times.len() / 2].as_secs_f64() * 1e3,
            times[times.len() - 1].as_secs_f64() * 1e3
        );
    }
    Ok(())
}

/// Pushes more while readers page from the present end on; each must see all of it once.
async fn readers_and_writers(
    objects: &Objects,
    collection: &Collection,
    count: u32,
) -> Result<(), Box<dyn std::error::Error>> {
    let from = objects.last_seq().await?;
    let mut readers = Vec::new();
    for reader in 0..READERS {
        let (objects, collection) = (objects.clone(), collection.clone());
        readers.push(tokio::spawn(async move {
            let mut grown = objects.subscribe();
            let (mut seen, mut after, mut twice) = (std::collections::HashSet::new(), from, 0);
            while seen.len() < PUSHED as usize {
                grown.mark_unchanged();
                let page = objects
                    .page(
                        &collection,
                        Tlp::Red,
                        &Filter::default(),
                        after,
                        50 + reader * 90,
                        false,
                    )
                    .await?;
                for row in &page.rows {
                    if !seen.insert(row.id.clone()) {
                        twice += 1;
                    }
                }
                match page.rows.last() {
                    Some(row) => after = row.seq,
                    None => {
                        if tokio::time::timeout(std::time::Duration::from_secs(60), grown.changed())
                            .await
                            .is_err()
                        {
                            break;
                        }
                    }
                }
            }
            Ok::<_, isac::objects::ObjectsError>((seen.len(), twice))
        }));
    }
    let begin = Instant::now();
    for base in (count..count + PUSHED).step_by(BATCH as usize) {
        let batch = prepare::envelope(envelope(base).as_bytes())?.objects;
        objects
            .put(collection, Source::house("measure"), batch, None)
            .await?;
    }
    let spent = begin.elapsed().as_secs_f64();
    let (mut least, mut twice) = (usize::MAX, 0);
    for reader in readers {
        let (seen, repeated) = reader.await??;
        least = least.min(seen);
        twice += repeated;
    }
    println!(
        "{PUSHED} objects pushed in {spent:.1} s while {READERS} readers paged: each saw at least {least} of them, {twice} were seen twice"
    );
    Ok(())
}
