//! The walk through a plan.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::journal::{Journal, Undo};
use super::plan::{Plan, Step, fits};
use super::probe::{Running, longest};
use super::record::{End, ProbeRecord, Record, SiteRecord, StepRecord};
use super::{COMMAND_TIMEOUT, DrillError};
use crate::engine::{EngineError, SessionState};
use crate::places::{Place, Places};

/// Between two looks while time passes.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long probes run before the first step, so that their rhythm is known.
const QUIET: Duration = Duration::from_secs(1);
/// How long the restoration tries to reach a route server before it leaves that to the guard's journal.
const RESTORE_PATIENCE: Duration = Duration::from_secs(60);

/// What the walk asks of its caller.
pub struct Watch<'a> {
    /// Whether somebody wants the drill to end.
    pub is_aborted: &'a dyn Fn() -> bool,
    /// Hears what happens, for people who wait.
    pub progress: &'a mut dyn FnMut(&str),
}

/// What a plan would touch: for each step what it does. Nothing changes.
///
/// # Errors
/// When a route server does not answer, or a step would do nothing.
pub fn rehearse(plan: &Plan, places: &Places) -> Result<Vec<Vec<String>>, DrillError> {
    let mut steps = Vec::new();
    for step in &plan.steps {
        steps.push(match step {
            Step::Disable { site, sessions } => {
                let place = place(places, site)?;
                matching(place, sessions)?
                    .into_iter()
                    .map(|name| format!("{site}: disable {name}"))
                    .collect()
            }
            Step::Command { run, undo, .. } => {
                vec![run.join(" "), format!("undo: {}", undo.join(" "))]
            }
            Step::Wait { .. } | Step::Restore => Vec::new(),
        });
    }
    Ok(steps)
}

fn place<'a>(places: &'a Places, site: &str) -> Result<&'a Place, DrillError> {
    places.of(site).ok_or_else(|| DrillError::Site {
        site: site.to_owned(),
        known: places.names(),
    })
}

fn seen(place: &Place) -> Result<Vec<SessionState>, DrillError> {
    let failed = |source: EngineError| DrillError::Engine {
        site: place.site.clone(),
        source,
    };
    place.daemon().engine().sessions().map_err(failed)
}

fn matching(place: &Place, patterns: &[String]) -> Result<Vec<String>, DrillError> {
    let names: Vec<String> = seen(place)?
        .into_iter()
        .filter(SessionState::is_established)
        .map(|session| session.name)
        .filter(|name| patterns.iter().any(|pattern| fits(pattern, name)))
        .collect();
    if names.is_empty() {
        return Err(DrillError::NoSession {
            site: place.site.clone(),
            patterns: patterns.join(", "),
        });
    }
    Ok(names)
}

/// Walks through `plan`. Whatever happens, what was done is undone before this returns, as far as the
/// route servers answer; the record tells what could not be.
///
/// # Errors
/// When the drill cannot begin: nothing was touched then.
pub fn run(
    plan: &Plan,
    places: &Places,
    id: &str,
    began_s: u64,
    journal: &mut Journal,
    watch: &mut Watch<'_>,
) -> Result<Record, DrillError> {
    let mut before: BTreeMap<String, Vec<SessionState>> = BTreeMap::new();
    for place in &places.places {
        before.insert(place.site.clone(), seen(place)?);
    }
    let began = Instant::now();
    let mut probes = Vec::new();
    for probe in &plan.probes {
        probes.push(Running::start(probe, began)?);
    }
    let mut walk = Walk {
        plan,
        places,
        journal,
        began,
        sites: before
            .iter()
            .map(|(site, seen)| start(site, seen))
            .collect(),
        steps: Vec::new(),
        restored_at: None,
        not_undone: Vec::new(),
    };
    let mut end = match walk.pass(QUIET, watch) {
        Some(end) => end,
        None => End::Done,
    };
    if end == End::Done {
        end = walk.steps(watch);
    }
    walk.restore(watch);
    let (not_back, back_ms) = walk.come_back(&before, watch);
    if end == End::Done && !walk.not_undone.is_empty() {
        end = End::Failed("not everything could be undone".to_owned());
    }
    // The last signs.
    std::thread::sleep(QUIET);
    let lasted_ms = walk.now_ms();
    let probes = plan
        .probes
        .iter()
        .zip(&probes)
        .map(|(probe, running)| {
            let signs = running.signs();
            let whole = longest(&signs, 0, lasted_ms);
            ProbeRecord {
                name: probe.name.clone(),
                signs: signs.len() as u64,
                silence_ms: whole.map(|silence| silence.ms),
                silence_from_ms: whole.map(|silence| silence.from_ms),
                by_step_ms: walk
                    .steps
                    .iter()
                    .map(|step| longest(&signs, step.from_ms, step.to_ms).map(|one| one.ms))
                    .collect(),
                silence_max_ms: probe.silence_max_ms,
                kept: match (probe.silence_max_ms, whole) {
                    (None, _) => true,
                    (Some(max), Some(silence)) => silence.ms <= max,
                    (Some(_), None) => false,
                },
            }
        })
        .collect();
    Ok(Record {
        version: 1,
        id: id.to_owned(),
        began_s,
        lasted_ms,
        plan: plan.clone(),
        end,
        steps: walk.steps,
        probes,
        sites: walk.sites,
        not_back,
        back_ms,
        not_undone: walk.not_undone,
    })
}

fn start(site: &str, sessions: &[SessionState]) -> SiteRecord {
    let (up, routes) = figures(sessions);
    SiteRecord {
        site: site.to_owned(),
        up_before: up,
        routes_before: routes,
        up_least: up,
        up_after: up,
        routes_after: routes,
    }
}

fn figures(sessions: &[SessionState]) -> (u64, u64) {
    let up = sessions.iter().filter(|session| session.is_established());
    up.fold((0, 0), |(count, routes), session| {
        (count + 1, routes + session.imported)
    })
}

struct Walk<'a> {
    plan: &'a Plan,
    places: &'a Places,
    journal: &'a mut Journal,
    began: Instant,
    sites: Vec<SiteRecord>,
    steps: Vec<StepRecord>,
    restored_at: Option<Instant>,
    not_undone: Vec<String>,
}

impl Walk<'_> {
    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Why the drill must end now, if it must.
    fn must_end(&self, watch: &Watch<'_>) -> Option<End> {
        if (watch.is_aborted)() {
            Some(End::Aborted)
        } else if self.began.elapsed() >= Duration::from_secs(self.plan.max_s) {
            Some(End::TooLong)
        } else {
            None
        }
    }

    fn steps(&mut self, watch: &mut Watch<'_>) -> End {
        for (index, step) in self.plan.steps.iter().enumerate() {
            if let Some(end) = self.must_end(watch) {
                return end;
            }
            let words = step.words(false);
            let total = self.plan.steps.len();
            (watch.progress)(&format!("{}/{total} {words}", index + 1));
            let from_ms = self.now_ms();
            let mut done = Vec::new();
            let outcome = self.step(step, &mut done, watch);
            self.look();
            self.steps.push(StepRecord {
                from_ms,
                to_ms: self.now_ms(),
                done,
            });
            match outcome {
                Ok(None) => {}
                Ok(Some(end)) => return end,
                Err(error) => return End::Failed(runtime::error_chain(&error)),
            }
        }
        End::Done
    }

    fn step(
        &mut self,
        step: &Step,
        done: &mut Vec<String>,
        watch: &mut Watch<'_>,
    ) -> Result<Option<End>, DrillError> {
        match step {
            Step::Disable { site, sessions } => {
                let place = place(self.places, site)?;
                let daemon = place.daemon();
                let mut engine = daemon.engine();
                self.restored_at = None;
                for session in matching(place, sessions)? {
                    self.journal.promise(Undo::Enable {
                        site: site.clone(),
                        engine: daemon.kind,
                        socket: daemon.socket.clone(),
                        session: session.clone(),
                    })?;
                    engine
                        .disable(&session)
                        .map_err(|source| DrillError::Engine {
                            site: site.clone(),
                            source,
                        })?;
                    done.push(session);
                }
            }
            Step::Command { run, undo, .. } => {
                self.restored_at = None;
                self.journal.promise(Undo::Command {
                    words: undo.clone(),
                })?;
                done.push(super::command(run, COMMAND_TIMEOUT)?);
            }
            Step::Wait { seconds } => {
                return Ok(self.pass(Duration::from_secs(*seconds), watch));
            }
            Step::Restore => self.restore(watch),
        }
        Ok(None)
    }

    /// Lets time pass, looking at the route servers; tells when the drill must end before.
    fn pass(&mut self, time: Duration, watch: &mut Watch<'_>) -> Option<End> {
        let end = Instant::now() + time;
        let mut looked = Instant::now();
        while Instant::now() < end {
            if let Some(end) = self.must_end(watch) {
                return Some(end);
            }
            let left = end.saturating_duration_since(Instant::now());
            std::thread::sleep(left.min(LOOK_EVERY));
            if looked.elapsed() >= Duration::from_secs(1) {
                looked = Instant::now();
                self.look();
            }
        }
        None
    }

    /// One look at every route server; one that is silent has no sessions that are known to be up.
    fn look(&mut self) {
        for record in &mut self.sites {
            let sessions = self.places.of(&record.site).and_then(|one| seen(one).ok());
            let (up, routes) = figures(&sessions.unwrap_or_default());
            record.up_least = record.up_least.min(up);
            (record.up_after, record.routes_after) = (up, routes);
        }
    }

    fn restore(&mut self, watch: &mut Watch<'_>) {
        if self.restored_at.is_some() {
            return;
        }
        (watch.progress)("restoring");
        self.restored_at = Some(Instant::now());
        match self.journal.restore(RESTORE_PATIENCE) {
            Ok(left) => {
                self.not_undone = left
                    .into_iter()
                    .map(|(undo, why)| format!("{undo}: {why}"))
                    .collect();
            }
            Err(error) => self.not_undone.push(runtime::error_chain(&error)),
        }
    }

    /// Waits until what was up before is up again; gives what is not, and how long it took.
    fn come_back(
        &mut self,
        before: &BTreeMap<String, Vec<SessionState>>,
        watch: &mut Watch<'_>,
    ) -> (Vec<String>, Option<u64>) {
        let since = self.restored_at.unwrap_or_else(Instant::now);
        let end = Instant::now() + Duration::from_secs(self.plan.back_s);
        (watch.progress)("waiting for every session to come back");
        loop {
            let mut missing = Vec::new();
            for (site, sessions) in before {
                let now = self.places.of(site).and_then(|one| seen(one).ok());
                let up: BTreeSet<String> = now
                    .unwrap_or_default()
                    .into_iter()
                    .filter(SessionState::is_established)
                    .map(|session| session.name)
                    .collect();
                let wanted = sessions.iter().filter(|one| one.is_established());
                for session in wanted.filter(|one| !up.contains(&one.name)) {
                    missing.push(format!("{site}: {}", session.name));
                }
            }
            if missing.is_empty() || Instant::now() >= end {
                self.look();
                let took = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
                return (missing.clone(), missing.is_empty().then_some(took));
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }
}
