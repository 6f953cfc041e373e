//! How fast the looking glass answers with many routes, and what it weighs. Each figure is one line.
//! Usage: `glass_bench [routes]`, 500,000 without a number.

use std::io::Write as _;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use base::Prefix;
use exchange::glass::index::{Builder, Fate, Matching, Question, Session, Told};
use exchange::mrt::{AsPath, Attributes, Peer};
use exchange::rpki::{Vrp, VrpSet};

const SESSIONS: u32 = 100;
/// Routes that share their attributes, as in tables of the Internet.
const SHARED: u32 = 6;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let routes: u32 = match std::env::args().nth(1) {
        Some(text) => text.parse()?,
        None => 500_000,
    };
    let mut out = std::io::stdout().lock();
    let before = resident();
    let begun = Instant::now();
    let mut builder = Builder::default();
    for n in 0..SESSIONS {
        let peer = Peer {
            address: Ipv4Addr::from(0x0a00_0000 + n).into(),
            asn: 64_500 + n,
        };
        builder.session(Session {
            name: format!("R{n}"),
            peer,
            up: true,
            state: "Established".into(),
            told: Told::default(),
        })?;
    }
    for n in 0..routes {
        let mixed = n.wrapping_mul(2_654_435_761);
        let prefix = Prefix::new(Ipv4Addr::from(0x0100_0000 + (n / 2) * 256).into(), 24)?;
        let group = n / SHARED;
        let attributes = Attributes {
            origin: Some(0),
            path: AsPath::sequence(vec![
                64_500 + n % SESSIONS,
                3_356 + group % 97,
                10_000 + group % 60_000,
            ]),
            next_hop: Some(Ipv4Addr::from(0x0a00_0000 + n % SESSIONS).into()),
            communities: vec![(64_500 << 16) | (group % 500), group % 1_000],
            ..Attributes::default()
        };
        let fate = if mixed % 20 == 0 {
            Fate::Filtered
        } else {
            Fate::Accepted
        };
        builder.route((n % SESSIONS) as u16, prefix, 0, n, fate, attributes)?;
    }
    let index = builder.build(0);
    writeln!(
        out,
        "routes {} prefixes {} built in {:?}",
        index.len(),
        index.prefixes(),
        begun.elapsed()
    )?;
    writeln!(
        out,
        "memory {} MiB by count, {} MiB by the kernel",
        index.bytes() >> 20,
        (resident() - before) >> 20
    )?;
    let prefix = |text: &str| text.parse::<Prefix>();
    let vrps: VrpSet = (0..500_000u32)
        .filter_map(|n| {
            let prefix = Prefix::new(Ipv4Addr::from(0x0100_0000 + n * 256).into(), 24).ok()?;
            Vrp::new(prefix, 24, 10_000 + n % 60_000).ok()
        })
        .collect();
    let questions = [
        ("first page", Question::default()),
        (
            "exact prefix",
            Question {
                prefix: Some(prefix("1.0.5.0/24")?),
                ..Question::default()
            },
        ),
        (
            "longest match",
            Question {
                prefix: Some(prefix("1.0.5.7/32")?),
                matching: Matching::Longest,
                ..Question::default()
            },
        ),
        (
            "inside a /16",
            Question {
                prefix: Some(prefix("1.3.0.0/16")?),
                matching: Matching::Inside,
                ..Question::default()
            },
        ),
        (
            "origin AS",
            Question {
                origin: Some(10_007),
                ..Question::default()
            },
        ),
        (
            "AS in the path of 5,000 routes",
            Question {
                through: Some(3_360),
                ..Question::default()
            },
        ),
        (
            "community",
            Question {
                community: Some("64500:7".parse()?),
                ..Question::default()
            },
        ),
        (
            "first page of a session",
            Question {
                session: Some(7),
                ..Question::default()
            },
        ),
        (
            "first page of refused routes",
            Question {
                fate: Some(Fate::Filtered),
                ..Question::default()
            },
        ),
    ];
    for (name, question) in questions {
        let mut times: Vec<Duration> = Vec::new();
        let mut total = 0;
        for _ in 0..20 {
            let begun = Instant::now();
            let page = index.find(&question, 0, 100);
            for route in &page.routes {
                std::hint::black_box(vrps.decide(route.prefix, route.attributes.path.origin()));
            }
            total = page.total;
            times.push(begun.elapsed());
        }
        times.sort();
        writeln!(
            out,
            "{name}: {total} routes, first 100 labelled in {:?} (median of 20), worst {:?}",
            times[10], times[19]
        )?;
    }
    Ok(())
}

/// Bytes of memory that the process has in use.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: usize = text
        .split(' ')
        .nth(1)
        .and_then(|word| word.parse().ok())
        .unwrap_or(0);
    pages * 4_096
}
