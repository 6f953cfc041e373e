//! Ten million rules, half on prefixes and half on domains: memory, building time, and the
//! time of a look-up, by the clock and on the processor alone (what others do on the same
//! machine does not count there). `cargo run --release -p enforce --example ten_million [rules]`.

use std::hint::black_box;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Instant;

use base::enforcement::{Action, Rule, Target};
use base::{EnforcementId, Prefix};
use enforce::Set;

const LOOKUPS: usize = 2_000_000;

fn main() -> std::io::Result<()> {
    let count: u64 = std::env::args()
        .nth(1)
        .and_then(|n| n.parse().ok())
        .unwrap_or(10_000_000);
    let mut out = std::io::stdout().lock();
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let rules: Vec<Rule> = (0..count)
        .map(|n| {
            let r = random();
            let target = match n % 20 {
                0..8 => network(
                    IpAddr::V4(Ipv4Addr::from_bits(r as u32)),
                    [32, 32, 32, 24][(r >> 40) as usize % 4],
                ),
                8..10 => network(IpAddr::V6(v6(r)), [64, 128, 48, 56][(r >> 40) as usize % 4]),
                10..15 => Target::Domain {
                    name: name(r),
                    below: true,
                },
                _ => Target::Domain {
                    name: name(r),
                    below: false,
                },
            };
            Rule {
                id: EnforcementId(uuid::Uuid::from_u64_pair(n, r)),
                target,
                action: Action::Refuse,
                until: None,
            }
        })
        .collect();
    let began = Instant::now();
    let set = Set::build(rules.iter()).map_err(std::io::Error::other)?;
    writeln!(
        out,
        "{} rules built in {:.1} s",
        set.len(),
        began.elapsed().as_secs_f64()
    )?;
    let memory = set.memory();
    writeln!(
        out,
        "memory {} MiB: entries {}, prefixes {}, names {} ({} bytes a rule)",
        memory.total() >> 20,
        memory.entries >> 20,
        memory.prefixes >> 20,
        memory.names >> 20,
        memory.total() / set.len().max(1)
    )?;
    let pick = |n: usize| &rules[(n * 7_919) % rules.len()].target;
    let known: Vec<IpAddr> = (0..LOOKUPS)
        .filter_map(|n| match pick(n) {
            Target::Network(p) => Some(p.address()),
            _ => None,
        })
        .collect();
    let strange: Vec<IpAddr> = (0..LOOKUPS)
        .map(|n| {
            let r = random();
            if n % 5 == 0 {
                v6(r).into()
            } else {
                Ipv4Addr::from_bits(r as u32).into()
            }
        })
        .collect();
    let names: Vec<String> = (0..LOOKUPS)
        .filter_map(|n| match pick(n) {
            Target::Domain { name, .. } => Some(format!("www.{name}")),
            _ => None,
        })
        .collect();
    let other: Vec<String> = (0..LOOKUPS / 2)
        .map(|_| format!("www.cdn.{}", name(random())))
        .collect();
    let mut time =
        |what: &str, lookups: usize, ask: &mut dyn FnMut(usize) -> bool| -> std::io::Result<()> {
            let (began, ran) = (Instant::now(), processor_ns());
            let met = (0..lookups).filter(|n| black_box(ask(*n))).count();
            let each = began.elapsed().as_nanos() / lookups.max(1) as u128;
            let alone = processor_ns().saturating_sub(ran) / lookups.max(1) as u64;
            writeln!(
                out,
                "{what}: {each} ns a look-up, {alone} ns of processor, {met} of {lookups} met"
            )
        };
    time("clients in the set", known.len(), &mut |n| {
        set.client(known[n], |_, _| true).is_some()
    })?;
    time("clients at random", strange.len(), &mut |n| {
        set.client(strange[n], |_, _| true).is_some()
    })?;
    time("names below those in the set", names.len(), &mut |n| {
        set.name(names[n].as_bytes(), |_, _| true).is_some()
    })?;
    time("names not in the set", other.len(), &mut |n| {
        set.name(other[n].as_bytes(), |_, _| true).is_some()
    })?;
    Ok(())
}

/// Nanoseconds that this thread has run; 0 where the system does not tell.
fn processor_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ')
        .next()
        .and_then(|ns| ns.parse().ok())
        .unwrap_or(0)
}

fn network(address: IpAddr, length: u8) -> Target {
    Prefix::new(address, length)
        .map_or_else(|_| Target::Network(Prefix::host(address)), Target::network)
}

fn v6(r: u64) -> Ipv6Addr {
    Ipv6Addr::from_bits(
        0x2000_0000_u128 << 96 | u128::from(r) << 61 | u128::from(r.rotate_left(17)),
    )
}

fn name(r: u64) -> Box<str> {
    format!("{:x}.example{}.tw", r >> 16, r % 97).into()
}
