//! `civicnet exchange switch`: a member's traffic goes by its routers at one site, at every route server.
//!
//! Every configuration is rendered and checked before the first one is applied. They are applied one
//! after another, each watched; when one fails, those before it get their old text back, and the
//! document stays as it was.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use exchange::document::{self, Document};
use exchange::engine::apply::{Options, Outcome, apply};
use exchange::places::{Place, Places};
use serde::{Deserialize, Serialize};

use crate::Verdict;
use crate::cli::ExchangeSwitch;
use crate::command::route_server::{self, SETTLE};

/// Switches that are remembered for undoing.
const HISTORY_MAX: usize = 1_000;

/// One switch of the past.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Past {
    asn: u32,
    before: Option<String>,
    after: Option<String>,
    at: String,
}

/// One route server's change.
struct Change<'a> {
    place: &'a Place,
    old: String,
    new: String,
}

pub(crate) fn run(asked: &ExchangeSwitch) -> anyhow::Result<Verdict> {
    let name = asked.members.display().to_string();
    let text =
        std::fs::read_to_string(&asked.members).with_context(|| format!("cannot read {name}"))?;
    let places = Places::load(&asked.places)?;
    let now = Document::parse(&name, &text)?;
    let before = now.preferred_site(asked.asn).map(str::to_owned);
    let mut history = past(&asked.members)?;
    let wanted = wanted(asked, &history)?;
    let next_text = document::prefer(&name, &text, asked.asn, wanted.as_deref())?;
    let next = Document::parse(&name, &next_text)?;
    let words = |site: &Option<String>| site.clone().unwrap_or_else(|| "no site".to_owned());
    crate::out(&format!(
        "AS{}: {} came first, {} does",
        asked.asn,
        words(&before),
        words(&wanted)
    ))?;
    if before == wanted {
        crate::out("unchanged")?;
        return Ok(Verdict::Good);
    }
    let mut changes = Vec::new();
    for site in &next.sites {
        let place = places.of(&site.name).with_context(|| {
            format!(
                "{}: no place for site {:?}: a switch must reach every route server",
                asked.places.display(),
                site.name
            )
        })?;
        let daemon = place.daemon();
        let new = route_server::configuration_of(&next, &site.name, &asked.irr, &daemon)?;
        let old = std::fs::read_to_string(&daemon.config)
            .with_context(|| format!("cannot read {}", daemon.config.display()))?;
        changes.push(Change { place, old, new });
    }
    for change in &changes {
        crate::out(&format!("{}:", change.place.site))?;
        match bring(change.place, &change.new, true, asked.watch)? {
            Outcome::WouldChange(diff) => route_server::show(&diff)?,
            _ => crate::out("no change")?,
        }
    }
    if asked.dry_run {
        crate::out("in order, not applied")?;
        return Ok(Verdict::Good);
    }
    for (index, change) in changes.iter().enumerate() {
        let problem = match bring(change.place, &change.new, false, asked.watch) {
            Ok(Outcome::RolledBack { lost, .. }) => {
                format!("rolled back: {} did not come back", lost.join(", "))
            }
            Ok(_) => continue,
            Err(error) => format!("{error:#}"),
        };
        crate::complain(&format!("{}: {problem}", change.place.site));
        take_back(&changes[..index], asked.watch);
        bail!(
            "{}: not switched; the document is as it was",
            change.place.site
        );
    }
    exchange::render::write(&asked.members, &next_text)?;
    history.push(Past {
        asn: asked.asn,
        before,
        after: wanted,
        at: store_time(),
    });
    keep(&asked.members, &history)?;
    crate::out("switched: every session that was up is up")?;
    Ok(Verdict::Good)
}

fn wanted(asked: &ExchangeSwitch, history: &[Past]) -> anyhow::Result<Option<String>> {
    if !asked.undo {
        return Ok(asked.to.clone());
    }
    let last = history.iter().rev().find(|past| past.asn == asked.asn);
    match last {
        Some(past) => Ok(past.before.clone()),
        None => bail!("no switch of AS{} is known that could be undone", asked.asn),
    }
}

fn bring(place: &Place, text: &str, dry_run: bool, watch_s: u64) -> anyhow::Result<Outcome> {
    let daemon = place.daemon();
    let options = Options {
        running: daemon.config.clone(),
        dry_run,
        watch: Duration::from_secs(watch_s),
        settle: SETTLE.min(Duration::from_secs(watch_s)),
    };
    apply(daemon.engine().as_mut(), text, &options)
        .with_context(|| format!("route server of {}", place.site))
}

/// The way back for those that were switched already; what fails is told, the rest goes on.
fn take_back(changes: &[Change<'_>], watch_s: u64) {
    for change in changes.iter().rev() {
        let said = match bring(change.place, &change.old, false, watch_s) {
            Ok(Outcome::RolledBack { .. }) => "could not be taken back".to_owned(),
            Ok(_) => "taken back".to_owned(),
            Err(error) => format!("could not be taken back: {error:#}"),
        };
        crate::complain(&format!("{}: {said}", change.place.site));
    }
}

/// The file of past switches beside the document.
fn history_file(document: &Path) -> PathBuf {
    let mut name = document.file_name().unwrap_or_default().to_os_string();
    name.push(".switches");
    document.with_file_name(name)
}

fn past(document: &Path) -> anyhow::Result<Vec<Past>> {
    let file = history_file(document);
    match std::fs::read_to_string(&file) {
        Ok(text) => text
            .lines()
            .filter(|line| !line.is_empty())
            .map(|line| {
                serde_json::from_str(line)
                    .with_context(|| format!("{}: is no list of switches", file.display()))
            })
            .collect(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", file.display())),
    }
}

fn keep(document: &Path, history: &[Past]) -> anyhow::Result<()> {
    let from = history.len().saturating_sub(HISTORY_MAX);
    let mut text = String::new();
    for past in &history[from..] {
        text.push_str(&serde_json::to_string(past)?);
        text.push('\n');
    }
    exchange::render::write(&history_file(document), &text)?;
    Ok(())
}

/// Now, in UTC.
fn store_time() -> String {
    super::drill::utc(super::drill::now_s())
}
