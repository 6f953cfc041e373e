//! `civicnet exchange schema, render, apply`: route servers. No control plane is asked.

use std::time::Duration;

use anyhow::Context as _;
use exchange::document::Document;
use exchange::engine::apply::{Options, Outcome, apply};
use exchange::engine::bird::Bird;
use exchange::engine::diff::Diff;
use exchange::irr::{self, AllowedByMember, Cache, Registry, Unreachable, rpsl::Files, whois};

use crate::Verdict;
use crate::cli::{ExchangeApply, ExchangeRender, ExchangeSource, IrrSource};

/// How long all sessions must have been up before a change is final.
pub(super) const SETTLE: Duration = Duration::from_secs(3);

pub(crate) fn schema() -> anyhow::Result<Verdict> {
    crate::out(&serde_json::to_string_pretty(&Document::schema())?)?;
    Ok(Verdict::Good)
}

pub(crate) fn render(what: &ExchangeRender) -> anyhow::Result<Verdict> {
    let text = configuration(&what.source)?;
    let file = what.out.join(exchange::render::BIRD_FILE);
    let is_new = exchange::render::write(&file, &text)?;
    let said = if is_new { "written" } else { "unchanged" };
    crate::out(&format!("{}: {said}, {} bytes", file.display(), text.len()))?;
    Ok(Verdict::Good)
}

pub(crate) fn apply_to_bird(what: &ExchangeApply) -> anyhow::Result<Verdict> {
    let text = configuration(&what.source)?;
    let options = Options {
        running: what.config.clone(),
        dry_run: what.dry_run,
        watch: Duration::from_secs(what.watch),
        settle: SETTLE.min(Duration::from_secs(what.watch)),
    };
    match apply(&mut Bird::new(&what.socket), &text, &options)? {
        Outcome::Unchanged => {
            crate::out("unchanged: the route server runs this configuration")?;
            Ok(Verdict::Good)
        }
        Outcome::WouldChange(diff) => {
            show(&diff)?;
            crate::out("in order, not applied")?;
            Ok(Verdict::Good)
        }
        Outcome::Applied(diff) => {
            show(&diff)?;
            crate::out("applied: every session that was up is up")?;
            Ok(Verdict::Good)
        }
        Outcome::RolledBack { lost, diff } => {
            show(&diff)?;
            crate::complain(&format!(
                "rolled back: {} did not come back within {} s",
                lost.join(", "),
                what.watch
            ));
            Ok(Verdict::NotInOrder)
        }
    }
}

fn configuration(source: &ExchangeSource) -> anyhow::Result<String> {
    let document = Document::load(&source.members)?;
    configuration_of(&document, &source.site, &source.irr)
}

/// The configuration of one site's route server.
pub(super) fn configuration_of(
    document: &Document,
    site: &str,
    source: &IrrSource,
) -> anyhow::Result<String> {
    let allowed = if document.policy.irr.enabled {
        registered(document, site, source)?
    } else {
        AllowedByMember::new()
    };
    Ok(exchange::render::bird(document, site, &allowed)?)
}

fn registered(
    document: &Document,
    site: &str,
    source: &IrrSource,
) -> anyhow::Result<AllowedByMember> {
    let cache = source.irr_cache.clone().map(Cache::open).transpose()?;
    let mut registry: Box<dyn Registry> = match &source.irr_server {
        Some(server) => match whois::Server::connect(server, whois::TIMEOUT) {
            Ok(server) => Box::new(server),
            // The last good answers may do.
            Err(error) if cache.is_some() => {
                crate::complain(&runtime::error_chain(&error));
                Box::new(Unreachable(server.clone()))
            }
            Err(error) => return Err(error.into()),
        },
        None if source.irr_file.is_empty() => Box::new(Unreachable("(none given)".to_owned())),
        None => {
            let mut files = Files::default();
            for file in &source.irr_file {
                files.read(file)?;
            }
            Box::new(files)
        }
    };
    let cache = cache.as_ref();
    let (allowed, warnings) = irr::resolve(document, site, registry.as_mut(), cache, None)
        .context("the registries' data is needed: give --irr-file or --irr-server, or set policy.irr.enabled = false")?;
    for warning in warnings {
        crate::complain(&warning.0);
    }
    Ok(allowed)
}

pub(super) fn show(diff: &Diff) -> anyhow::Result<()> {
    for line in &diff.shown {
        crate::out(line)?;
    }
    crate::out(&format!(
        "{} lines added, {} removed",
        diff.added, diff.removed
    ))?;
    Ok(())
}
