//! `civicnet exchange`: what can be asked of an exchange's data without running it.

use std::collections::BTreeMap;

use anyhow::Context;
use base::Prefix;
use exchange::mrt::{self, Entry, Event};
use exchange::rpki::{VrpSet, file};
use serde_json::json;

use crate::Verdict;
use crate::cli::{ExchangeCommand, Mrt};
use crate::command::{drill, health, route_server, switch, traffic};

/// Origins whose figures are kept; a full table has some 80,000.
const ORIGINS_MAX: usize = 1_000_000;

pub(crate) async fn run(what: ExchangeCommand) -> anyhow::Result<Verdict> {
    match what {
        ExchangeCommand::Mrt(asked) => show(&asked),
        ExchangeCommand::Schema => route_server::schema(),
        ExchangeCommand::Render(asked) => route_server::render(&asked),
        ExchangeCommand::Apply(asked) => route_server::apply_to_daemon(&asked),
        ExchangeCommand::Switch(asked) => switch::run(&asked),
        ExchangeCommand::Drill { what } => drill::run(what).await,
        ExchangeCommand::Health(asked) => health::run(&asked).await,
        ExchangeCommand::Poll(asked) => traffic::poll(&asked).await,
        ExchangeCommand::Sflow(asked) => traffic::sflow(&asked).await,
        ExchangeCommand::Export(place) => super::exchange_export::run(&place).await,
    }
}

/// What is printed of a route.
struct Line<'a> {
    asked: &'a Mrt,
    vrps: Option<VrpSet>,
}

impl Line<'_> {
    fn wanted(&self, entry: &Entry) -> bool {
        let origin = entry.attributes.path.origin();
        (self.asked.origin.is_empty() || origin.is_some_and(|asn| self.asked.origin.contains(&asn)))
            && self
                .asked
                .prefix
                .is_none_or(|prefix| prefix.covers(&entry.prefix))
    }

    /// The verdict and who decided; nothing without payloads.
    fn validity(&self, prefix: Prefix, origin: Option<u32>) -> Option<(String, Option<String>)> {
        let decision = self.vrps.as_ref()?.decide(prefix, origin);
        Some((
            decision.validity.name().to_owned(),
            decision.deciding().map(|vrp| vrp.to_string()),
        ))
    }

    fn route(&self, entry: &Entry) -> String {
        let origin = entry.attributes.path.origin();
        let validity = self.validity(entry.prefix, origin);
        if self.asked.json {
            return json!({
                "prefix": entry.prefix.to_string(),
                "origin": origin,
                "path": entry.attributes.path.to_string(),
                "peer": entry.peer.address.to_string(),
                "peer_asn": entry.peer.asn,
                "next_hop": entry.attributes.next_hop.map(|hop| hop.to_string()),
                "validity": validity.as_ref().map(|(verdict, _)| verdict),
                "vrp": validity.as_ref().and_then(|(_, vrp)| vrp.as_ref()),
            })
            .to_string();
        }
        format!(
            "{:<20} {:<10} {:<16} {}{}",
            entry.prefix.to_string(),
            origin.map_or_else(|| "-".to_owned(), |asn| format!("AS{asn}")),
            entry.peer.address.to_string(),
            entry.attributes.path,
            tail(&validity),
        )
    }

    fn summary(&self, prefix: Prefix, origin: Option<u32>, routes: u64) -> String {
        let validity = self.validity(prefix, origin);
        if self.asked.json {
            return json!({
                "prefix": prefix.to_string(),
                "origin": origin,
                "routes": routes,
                "validity": validity.as_ref().map(|(verdict, _)| verdict),
                "vrp": validity.as_ref().and_then(|(_, vrp)| vrp.as_ref()),
            })
            .to_string();
        }
        format!(
            "{:<20} {:<10} {routes:>4} routes{}",
            prefix.to_string(),
            origin.map_or_else(|| "-".to_owned(), |asn| format!("AS{asn}")),
            tail(&validity),
        )
    }
}

fn tail(validity: &Option<(String, Option<String>)>) -> String {
    match validity {
        None => String::new(),
        Some((verdict, None)) => format!("  {verdict}"),
        Some((verdict, Some(vrp))) => format!("  {verdict} by {vrp}"),
    }
}

fn show(asked: &Mrt) -> anyhow::Result<Verdict> {
    let vrps = match &asked.vrps {
        Some(path) => Some(file::read(path).context("could not use the payloads")?),
        None => None,
    };
    let line = Line { asked, vrps };
    let mut reader = mrt::open(&asked.file)?;
    let (mut routes, mut updates, mut printed, mut cut) = (0u64, 0u64, 0usize, false);
    let mut pairs: BTreeMap<(Prefix, Option<u32>), u64> = BTreeMap::new();
    let mut broken = None;
    let wrong = mrt::read_all(&mut reader, &mut |event| match event {
        Event::Route(entry) => {
            routes += 1;
            if !line.wanted(&entry) || broken.is_some() {
                return;
            }
            if asked.all {
                if printed < asked.limit {
                    printed += 1;
                    broken = crate::out(&line.route(&entry)).err();
                } else {
                    cut = true;
                }
            }
            let key = (entry.prefix, entry.attributes.path.origin());
            if pairs.len() < ORIGINS_MAX || pairs.contains_key(&key) {
                *pairs.entry(key).or_default() += 1;
            }
        }
        Event::Update(_) => updates += 1,
        Event::State(..) => {}
    })?;
    if let Some(error) = broken {
        return Err(error.into());
    }
    if !asked.all {
        cut = pairs.len() > asked.limit;
        for ((prefix, origin), count) in pairs.iter().take(asked.limit) {
            crate::out(&line.summary(*prefix, *origin, *count))?;
        }
    }
    let mut by_origin: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
    for ((_, origin), count) in &pairs {
        if let Some(asn) = origin {
            let figure = by_origin.entry(*asn).or_default();
            figure.0 += 1;
            figure.1 += count;
        }
    }
    for asn in &asked.origin {
        let (prefixes, count) = by_origin.get(asn).copied().unwrap_or_default();
        crate::complain(&format!("AS{asn}: {prefixes} prefixes, {count} routes"));
    }
    crate::complain(&format!(
        "{}: {routes} routes, {updates} updates, {} prefix and origin pairs shown of those asked for, {} records made no sense",
        asked.file.display(),
        pairs.len(),
        wrong.count
    ));
    for problem in &wrong.first {
        crate::complain(problem);
    }
    if cut {
        crate::complain(&format!(
            "only the first {} lines; ask for more with --limit",
            asked.limit
        ));
    }
    Ok(Verdict::Good)
}
