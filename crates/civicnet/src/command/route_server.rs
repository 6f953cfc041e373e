//! `civicnet exchange schema, render, apply`: route servers. No control plane is asked.

use std::time::Duration;

use anyhow::Context as _;
use exchange::document::{Document, EngineKind};
use exchange::engine::apply::{Options, Outcome, apply};
use exchange::engine::daemon::Daemon;
use exchange::engine::diff::Diff;
use exchange::irr::{self, AllowedByMember, Cache, Registry, Unreachable, rpsl::Files, whois};

use crate::Verdict;
use crate::cli::{ExchangeApply, ExchangeEngine, ExchangeRender, ExchangeSource, IrrSource};

/// How long all sessions must have been up before a change is final.
pub(super) const SETTLE: Duration = Duration::from_secs(3);

pub(crate) fn schema() -> anyhow::Result<Verdict> {
    crate::out(&serde_json::to_string_pretty(&Document::schema())?)?;
    Ok(Verdict::Good)
}

pub(crate) fn render(what: &ExchangeRender) -> anyhow::Result<Verdict> {
    let wanted = Wanted::of(&what.source, &what.engine)?;
    let file = what.out.join(match wanted.daemon.kind {
        EngineKind::Bird => exchange::render::BIRD_FILE,
        EngineKind::Openbgpd => exchange::render::OPENBGPD_FILE,
    });
    let text = wanted.text;
    let is_new = exchange::render::write(&file, &text)?;
    let said = if is_new { "written" } else { "unchanged" };
    crate::out(&format!("{}: {said}, {} bytes", file.display(), text.len()))?;
    Ok(Verdict::Good)
}

pub(crate) fn apply_to_daemon(what: &ExchangeApply) -> anyhow::Result<Verdict> {
    let Wanted { mut daemon, text } = Wanted::of(&what.source, &what.engine)?;
    if let Some(config) = &what.config {
        daemon.config.clone_from(config);
    }
    let mut engine = daemon.engine();
    let options = Options {
        running: daemon.config,
        dry_run: what.dry_run,
        watch: Duration::from_secs(what.watch),
        settle: SETTLE.min(Duration::from_secs(what.watch)),
    };
    match apply(engine.as_mut(), &text, &options)? {
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

/// What was asked for: which daemon, and what it is to run.
struct Wanted {
    daemon: Daemon,
    text: String,
}

impl Wanted {
    fn of(source: &ExchangeSource, asked: &ExchangeEngine) -> anyhow::Result<Self> {
        let document = Document::load(&source.members)?;
        let said = document.engine_at(&source.site);
        let mut daemon = Daemon::debian(asked.engine.unwrap_or(said));
        if let Some(socket) = &asked.socket {
            daemon.socket.clone_from(socket);
        }
        let text = configuration_of(&document, &source.site, &source.irr, &daemon)?;
        Ok(Self { daemon, text })
    }
}

/// The configuration of one site's route server, for its daemon.
pub(super) fn configuration_of(
    document: &Document,
    site: &str,
    source: &IrrSource,
    daemon: &Daemon,
) -> anyhow::Result<String> {
    let allowed = allowed(document, site, source)?;
    Ok(daemon.render(document, site, &allowed)?)
}

fn allowed(document: &Document, site: &str, source: &IrrSource) -> anyhow::Result<AllowedByMember> {
    match document.policy.irr.enabled {
        true => registered(document, site, source),
        false => Ok(AllowedByMember::new()),
    }
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
