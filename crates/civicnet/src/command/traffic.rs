//! `civicnet exchange poll` and `civicnet exchange sflow`: a switch's counters and
//! samples, tried from the command line. Nothing is kept.

use std::collections::{BTreeMap, HashMap};
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use exchange::traffic::counters::{difference, has_restarted};
use exchange::traffic::plan::Access;
use exchange::traffic::sflow::collector::Collector;
use exchange::traffic::sflow::datagram::{DATAGRAM_BYTES_MAX, Datagram};
use exchange::traffic::sflow::packet::{Mac, Packet};
use exchange::traffic::snmp::usm::{AuthProtocol, PASSWORD_CHARS_MIN};
use exchange::traffic::snmp::{Client, Interface, Timing, interfaces};
use serde_json::json;
use web::ui::Unit;

use crate::Verdict;
use crate::cli::{ExchangePoll, ExchangeSflow};

/// The port on which agents answer.
const SNMP_PORT: u16 = 161;
/// Pairs of addresses that are kept apart.
const PAIRS_MAX: usize = 10_000;

pub(crate) async fn poll(asked: &ExchangePoll) -> anyhow::Result<Verdict> {
    let access = access(asked)?;
    let target = target(&asked.target)?;
    let timing = Timing {
        timeout: Duration::from_secs(asked.timeout),
        ..Timing::default()
    };
    let mut client = Client::new(target, access.credentials(), timing).await?;
    let mut last = interfaces::read(&mut client).await?;
    for interface in last.interfaces.values() {
        crate::out(&first_line(asked, interface))?;
    }
    let mut rounds = 0;
    while asked.count == 0 || rounds < asked.count {
        tokio::time::sleep(Duration::from_secs(asked.interval)).await;
        let reading = interfaces::read(&mut client).await?;
        let restarted = has_restarted(last.uptime, reading.uptime);
        for interface in reading.interfaces.values() {
            let before = last.interfaces.get(&interface.index);
            let before = before.filter(|before| !restarted && before.name == interface.name);
            if let Some(before) = before {
                crate::out(&rate_line(asked, before, interface))?;
            }
        }
        last = reading;
        rounds += 1;
    }
    Ok(Verdict::Good)
}

fn access(asked: &ExchangePoll) -> anyhow::Result<Access> {
    if let Some(community) = &asked.community {
        return Ok(Access::V2c {
            community: community.clone(),
        });
    }
    let user = asked
        .user
        .clone()
        .context("give --community, or --user for version 3")?;
    let auth = match (&asked.auth, &asked.auth_password) {
        (Some(name), Some(password)) => {
            let protocol = AuthProtocol::from_name(name)
                .with_context(|| format!("--auth {name}: must be sha1 or sha256"))?;
            Some((protocol, password.clone()))
        }
        (None, None) => None,
        _ => bail!("--auth and its password belong together"),
    };
    let passwords = [asked.auth_password.as_ref(), asked.priv_password.as_ref()];
    for password in passwords.into_iter().flatten() {
        ensure!(
            password.chars().count() >= PASSWORD_CHARS_MIN,
            "a password of version 3 must have at least {PASSWORD_CHARS_MIN} characters"
        );
    }
    ensure!(
        asked.priv_password.is_none() || auth.is_some(),
        "privacy needs authentication: give --auth and its password"
    );
    Ok(Access::V3 {
        user,
        auth,
        privacy: asked.priv_password.clone(),
    })
}

fn target(text: &str) -> anyhow::Result<SocketAddr> {
    let plain = text
        .parse()
        .map(|address: std::net::IpAddr| SocketAddr::new(address, SNMP_PORT));
    if let Ok(address) = plain.or_else(|_| text.parse()) {
        return Ok(address);
    }
    let named = if text.contains(':') {
        text.to_owned()
    } else {
        format!("{text}:{SNMP_PORT}")
    };
    named
        .to_socket_addrs()
        .with_context(|| format!("--target {text}: could not be looked up"))?
        .next()
        .with_context(|| format!("--target {text}: has no address"))
}

fn first_line(asked: &ExchangePoll, interface: &Interface) -> String {
    let octets = interface.octets.map(|counter| counter.map(|c| c.value));
    if asked.json {
        return json!({
            "index": interface.index,
            "name": interface.name,
            "alias": interface.alias,
            "up": interface.up,
            "speed_bps": interface.speed_bps,
            "in_octets": octets[0],
            "out_octets": octets[1],
        })
        .to_string();
    }
    let written = |value: Option<u64>| value.map_or_else(|| "-".to_owned(), |v| v.to_string());
    format!(
        "{:>6} {:<20} {:<4} {:>10} in {:>20} out {:>20}  {}",
        interface.index,
        interface.name,
        if interface.up { "up" } else { "down" },
        Unit::BitsPerSecond.write(interface.speed_bps as f64),
        written(octets[0]),
        written(octets[1]),
        interface.alias
    )
}

fn rate_line(asked: &ExchangePoll, before: &Interface, after: &Interface) -> String {
    let counted = difference(before, after);
    if asked.json {
        return match counted {
            Ok(counted) => {
                let seconds = counted.interval.as_secs_f64();
                json!({
                    "index": after.index,
                    "name": after.name,
                    "up": after.up,
                    "seconds": seconds,
                    "in_bps": counted.octets[0] as f64 * 8.0 / seconds,
                    "out_bps": counted.octets[1] as f64 * 8.0 / seconds,
                    "in_octets": counted.octets[0],
                    "out_octets": counted.octets[1],
                    "errors": counted.errors,
                    "discards": counted.discards,
                })
            }
            Err(gap) => json!({ "index": after.index, "name": after.name, "gap": gap.name() }),
        }
        .to_string();
    }
    match counted {
        Ok(counted) => {
            let rate = |octets: u64| {
                Unit::BitsPerSecond.write(octets as f64 * 8.0 / counted.interval.as_secs_f64())
            };
            format!(
                "{:>6} {:<20} {:<4} in {:>12} out {:>12} errors {} {} drops {} {}",
                after.index,
                after.name,
                if after.up { "up" } else { "down" },
                rate(counted.octets[0]),
                rate(counted.octets[1]),
                counted.errors[0],
                counted.errors[1],
                counted.discards[0],
                counted.discards[1],
            )
        }
        Err(gap) => format!(
            "{:>6} {:<20} no figure: {}",
            after.index,
            after.name,
            gap.name()
        ),
    }
}

/// Who sent to whom, and by which switch it was sampled.
type Pairs = HashMap<(Mac, Mac), (u64, u64, u64)>;

pub(crate) async fn sflow(asked: &ExchangeSflow) -> anyhow::Result<Verdict> {
    ensure!(
        asked.public || asked.listen.ip().is_loopback(),
        "--listen {}: is not a loopback address; add --public to take samples of other machines",
        asked.listen
    );
    let socket = Collector::bind(asked.listen)
        .with_context(|| format!("could not listen on {}", asked.listen))?;
    crate::complain(&format!("taking samples on {}", socket.local_addr()?));
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    let mut rounds = 0;
    while asked.count == 0 || rounds < asked.count {
        let end = tokio::time::Instant::now() + Duration::from_secs(asked.seconds);
        let mut pairs = Pairs::new();
        let (mut datagrams, mut wrong) = (0u64, 0u64);
        while let Ok(received) = tokio::time::timeout_at(end, socket.recv_from(&mut buffer)).await {
            let (length, _) = received.context("could not receive")?;
            match Datagram::decode(&buffer[..length]) {
                Ok(datagram) => {
                    datagrams += 1;
                    count(&mut pairs, &datagram);
                }
                Err(error) => {
                    wrong += 1;
                    crate::complain(&error.to_string());
                }
            }
        }
        show(asked, &pairs, datagrams, wrong)?;
        rounds += 1;
    }
    Ok(Verdict::Good)
}

fn count(pairs: &mut Pairs, datagram: &Datagram) {
    for sample in &datagram.flows {
        let Some(header) = &sample.header else {
            continue;
        };
        let Some(packet) = Packet::decode(&header.bytes) else {
            continue;
        };
        let key = (packet.from, packet.to);
        if pairs.len() >= PAIRS_MAX && !pairs.contains_key(&key) {
            continue;
        }
        let rate = u64::from(sample.rate.max(1));
        let sums = pairs.entry(key).or_default();
        sums.0 = sums.0.saturating_add(u64::from(header.frame_length) * rate);
        sums.1 = sums.1.saturating_add(rate);
        sums.2 += 1;
    }
}

fn show(asked: &ExchangeSflow, pairs: &Pairs, datagrams: u64, wrong: u64) -> anyhow::Result<()> {
    let mac = |mac: Mac| mac.map(|byte| format!("{byte:02x}")).join(":");
    let sorted: BTreeMap<_, _> = pairs
        .iter()
        .map(|(key, sums)| ((std::cmp::Reverse(sums.0), *key), sums))
        .collect();
    for ((_, (from, to)), (octets, packets, samples)) in sorted {
        let bps = *octets as f64 * 8.0 / asked.seconds as f64;
        crate::out(&if asked.json {
            json!({
                "from": mac(from), "to": mac(to), "octets": octets, "packets": packets,
                "samples": samples, "bps": bps,
            })
            .to_string()
        } else {
            format!(
                "{} -> {}  {:>12}  {packets} packets, {samples} samples",
                mac(from),
                mac(to),
                Unit::BitsPerSecond.write(bps)
            )
        })?;
    }
    crate::complain(&format!(
        "{datagrams} datagrams, {wrong} could not be read, {} pairs in {} s",
        pairs.len(),
        asked.seconds
    ));
    Ok(())
}
