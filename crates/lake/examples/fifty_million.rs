//! Fifty million requests of one day: `fifty_million DIRECTORY [MILLIONS]`.
//!
//! They go the whole way that shipped batches go: decoded, made durable in the
//! lake's journal, rolled up, written as Parquet, merged. Then a day's questions
//! are asked of the files, cold and warm. A directory that is full already is only
//! asked.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use anyhow::Context;
use base::event::{AccessEvent, CacheResult, EventBatch, Method, Protocol};
use base::{NodeName, Timestamp};
use lake::stats::{Span, Subject};
use lake::testing::{org, site};
use lake::{Lake, LakeConfig, LakeError, QueryOptions, envelope};

/// 2026-11-01T00:00:00Z: a day that is over, so that its files are merged.
const DAY: Timestamp = Timestamp::from_seconds(1_793_491_200);
const DAY_US: u64 = 86_400_000_000;
const SITES: u64 = 200;
const BATCH: u64 = 8_192;
const ROUNDS: usize = 5;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let dir = arguments
        .next()
        .context("usage: fifty_million DIRECTORY [MILLIONS]")?;
    let millions: u64 = arguments.next().map_or(Ok(50), |text| text.parse())?;
    let config = LakeConfig {
        dir: dir.into(),
        flush_rows: 2_000_000,
        memory_rows_max: 4_000_000,
        ..LakeConfig::default()
    };
    let opened = Instant::now();
    let lake = Lake::open(&config).await?;
    say(&format!(
        "opened in {:.2} s",
        opened.elapsed().as_secs_f64()
    ))?;
    if lake.lake_stats().file_rows == 0 {
        fill(&lake, millions * 1_000_000).await?;
    }
    let stats = lake.lake_stats();
    say(&format!(
        "{} files, {} rows, {:.2} GB",
        stats.files,
        stats.file_rows,
        stats.file_bytes as f64 / 1e9
    ))?;
    ask(&lake).await
}

async fn fill(lake: &Lake, events: u64) -> anyhow::Result<()> {
    let node: NodeName = "edge-hsinchu".parse()?;
    let begun = Instant::now();
    // One batch is made while another is taken.
    let (sender, mut receiver) = tokio::sync::mpsc::channel(4);
    let maker = std::thread::spawn(move || -> anyhow::Result<()> {
        for seq in 0..events.div_ceil(BATCH) {
            let batch = (seq * BATCH..((seq + 1) * BATCH).min(events))
                .map(|i| request(i, events))
                .collect();
            let mut bytes = Vec::new();
            envelope::encode(&EventBatch::Access(batch), &mut bytes)?;
            if sender
                .blocking_send((seq, bytes::Bytes::from(bytes)))
                .is_err()
            {
                break;
            }
        }
        Ok(())
    });
    while let Some((seq, bytes)) = receiver.recv().await {
        loop {
            match lake.ingest(&node, seq, bytes.clone()).await {
                Ok(_) => break,
                Err(LakeError::Behind { .. }) => {
                    tokio::time::sleep(Duration::from_millis(100)).await
                }
                Err(error) => return Err(error.into()),
            }
        }
        if seq % 500 == 0 {
            say(&format!(
                "{:>12} events, {:.0} s",
                seq * BATCH,
                begun.elapsed().as_secs_f64()
            ))?;
        }
    }
    maker
        .join()
        .map_err(|_| anyhow::anyhow!("the maker failed"))??;
    lake.flush().await?;
    let filled = begun.elapsed().as_secs_f64();
    say(&format!(
        "filled in {filled:.0} s, {:.0} events/s",
        events as f64 / filled
    ))?;
    let begun = Instant::now();
    let tidied = lake.tidy().await?;
    say(&format!(
        "merged {} files in {:.0} s",
        tidied.merged,
        begun.elapsed().as_secs_f64()
    ))
}

/// The `i`th request: many for few sites and few URLs, as it is in life.
fn request(i: u64, events: u64) -> AccessEvent {
    let h = i
        .wrapping_mul(0x9E37_79B9_7F4A_7C15)
        .rotate_left(29)
        .wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let skew = |bits: u64, range: u64| {
        let x = (bits & 0xFFFF) as f64 / 65_536.0;
        ((x * x * x) * range as f64) as u64
    };
    let n = skew(h, SITES);
    let cache = match h % 100 {
        0..=84 => CacheResult::Hit,
        85..=87 => CacheResult::Revalidated,
        88..=97 => CacheResult::Miss,
        _ => CacheResult::Bypass,
    };
    let page = skew(h >> 16, 3_000);
    AccessEvent {
        at: Timestamp(
            DAY.micros() + (u128::from(i) * u128::from(DAY_US) / u128::from(events)) as i64,
        ),
        site: Some(site(n)),
        org: Some(org(n / 4)),
        client: IpAddr::V4(Ipv4Addr::from_bits(
            0x0A00_0000 | (skew(h >> 32, 1 << 22) as u32),
        )),
        method: Method::Get,
        host: format!("www.site{n}.example.tw").into(),
        path: format!("/news/2026/{}/article-{page}.html", page % 12).into(),
        status: if h.is_multiple_of(211) { 404 } else { 200 },
        cache,
        bytes_sent: 400 + skew(h >> 40, 200_000),
        bytes_received: 250 + (h >> 8) % 300,
        duration_us: 80 + skew(h >> 20, 100_000) as u32,
        origin_us: if cache == CacheResult::Miss {
            8_000 + (h >> 50) as u32
        } else {
            0
        },
        protocol: Protocol::Http2,
        tls: true,
    }
}

async fn ask(lake: &Lake) -> anyhow::Result<()> {
    let day = "timestamp >= '2026-11-01T00:00:00Z' AND timestamp < '2026-11-02T00:00:00Z'";
    let noon = "timestamp >= '2026-11-01T12:00:00Z' AND timestamp < '2026-11-01T12:30:00Z'";
    let questions = [
        (
            "hit ratio by site, a day",
            format!("SELECT site_id, avg(hit) AS ratio FROM access WHERE {day} GROUP BY site_id"),
        ),
        (
            "rows of a day",
            format!("SELECT count(*) FROM access WHERE {day}"),
        ),
        (
            "status by site, a day",
            format!(
                "SELECT site_id, http_response_status_code AS status, count(*) AS n FROM access WHERE {day} GROUP BY 1, 2"
            ),
        ),
        (
            "bytes by edge, a day",
            format!(
                "SELECT node, sum(http_response_size) AS bytes FROM access WHERE {day} GROUP BY 1"
            ),
        ),
        (
            "top URLs of a site, a day",
            format!(
                "SELECT url_path, count(*) AS n FROM access WHERE {day} AND site_id = '{}' GROUP BY 1 ORDER BY n DESC LIMIT 20",
                site(7)
            ),
        ),
        (
            "hit ratio by site, half an hour",
            format!("SELECT site_id, avg(hit) AS ratio FROM access WHERE {noon} GROUP BY site_id"),
        ),
        (
            "hit ratio by site, a day, from the roll-up",
            format!(
                "SELECT site_id, sum(hits) * 1.0 / sum(requests) AS ratio FROM traffic WHERE {day} GROUP BY site_id"
            ),
        ),
    ];
    for (name, sql) in &questions {
        let mut times = Vec::new();
        let mut rows = 0;
        let before = processor_time()?;
        for _ in 0..=ROUNDS {
            let result = lake.query(sql, QueryOptions::default()).await?;
            rows = result.rows();
            times.push(result.elapsed);
        }
        report(name, rows, times, processor_time()? - before)?;
    }
    let span = Span {
        from: DAY,
        to: Timestamp(DAY.micros() + DAY_US as i64),
    };
    let mut times = Vec::new();
    let mut rows = 0;
    let before = processor_time()?;
    for _ in 0..=ROUNDS {
        let begun = Instant::now();
        let series = lake.series(Subject::Site(site(7)), span, 300).await?;
        rows = series.points.len();
        times.push(begun.elapsed());
    }
    let processor = processor_time()? - before;
    report(
        "dashboard: a site's day in 5 min steps",
        rows,
        times,
        processor,
    )
}

fn report(
    name: &str,
    rows: usize,
    mut times: Vec<Duration>,
    processor: Duration,
) -> anyhow::Result<()> {
    let first = times.remove(0);
    times.sort();
    let median = times[times.len() / 2];
    say(&format!(
        "{name:<45} {rows:>5} rows  first {:>7.1} ms  median {:>7.1} ms  processor {:>7.1} ms each",
        first.as_secs_f64() * 1e3,
        median.as_secs_f64() * 1e3,
        processor.as_secs_f64() * 1e3 / (ROUNDS + 1) as f64
    ))
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

fn say(text: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{text}")?;
    Ok(())
}
