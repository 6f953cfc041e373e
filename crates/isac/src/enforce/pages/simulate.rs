//! What an enforcement would have met, before it is switched on: asked for on a page,
//! computed piece by piece, shown as it goes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{Path, State as Shared};
use axum::http::StatusCode;
use base::enforcement::Target;
use base::{Timestamp, UserId};
use casework::body::{Body, show, show_with};
use futures::StreamExt as _;
use serde::Deserialize;
use tokio::sync::watch;
use uuid::Uuid;
use web::ui::{self, Column, Field, Icon, Markup, Table};
use web::{FieldError, Level, PageForm, Update, Visit, WebError, WebResult};

use super::{Desk, tabs};
use crate::enforce::simulate::{PIECES, Simulated};

/// Simulations that are remembered in the whole house.
const RUNS_MAX: usize = 64;
/// Simulations that run at once.
const RUNNING_MAX: usize = 4;
/// A result is forgotten after this.
const KEPT: Duration = Duration::from_secs(3_600);

/// How a simulation ended.
#[derive(Debug, Clone)]
enum End {
    Runs,
    Done(Simulated),
    Failed(String),
}

#[derive(Debug)]
struct Run {
    owner: UserId,
    target: Target,
    at: Timestamp,
    piece: watch::Sender<u32>,
    end: Mutex<End>,
}

impl Run {
    fn end(&self) -> End {
        self.end
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// Simulations by their id. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Simulations(Arc<Mutex<HashMap<Uuid, Arc<Run>>>>);

impl Simulations {
    fn keep(&self, run: Arc<Run>) -> Option<Uuid> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, one| matches!(one.end(), End::Runs) || run.at.since(one.at) < KEPT);
        let running = all
            .values()
            .filter(|one| matches!(one.end(), End::Runs))
            .count();
        if all.len() >= RUNS_MAX || running >= RUNNING_MAX {
            return None;
        }
        let id = Uuid::new_v4();
        all.insert(id, run);
        Some(id)
    }

    fn of(&self, visit: &Visit, id: &str) -> WebResult<Arc<Run>> {
        let missing = || WebError::not_found("simulation", id);
        let owner = visit.principal.signed_in()?;
        let id = Uuid::try_parse(id).map_err(|_| missing())?;
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(&id)
            .filter(|one| one.owner == owner)
            .cloned()
            .ok_or_else(missing)
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Asked {
    target: String,
}

fn frame(visit: &Visit) -> web::Frame {
    visit
        .frame("enforce-tab-simulate")
        .crumb("/enforcements", visit.t("nav-enforcements"))
}

fn form(visit: &Visit, target: &str, errors: &[FieldError]) -> Body {
    let inner = Body::new()
        .add(
            Field::text("target", visit.t("enforce-target"))
                .value(target)
                .help(visit.t("enforce-why-help"))
                .errors(errors)
                .required(),
        )
        .group("actions", [ui::button(visit.t("enforce-simulate-do"))]);
    Body::new()
        .add(tabs(visit, "/enforcements/simulate"))
        .text(visit.t("enforce-simulate-intro"))
        .form(&visit.frame_titled(""), "/enforcements/simulate", inner)
}

pub(super) async fn ask(visit: Visit) -> WebResult {
    show(frame(&visit), form(&visit, "", &[]))
}

pub(super) async fn begin(
    Shared(desk): Shared<Desk>,
    visit: Visit,
    PageForm(asked): PageForm<Asked>,
) -> WebResult {
    let target = match super::typed(&visit, "target", &asked.target) {
        Ok(Target::File { .. }) => {
            let rule = visit.t("enforce-simulate-file");
            Err(FieldError::new("target", "target", rule))
        }
        typed => typed,
    };
    let target = match target {
        Ok(target) => target,
        Err(error) => {
            let shown: String = asked.target.chars().take(2_100).collect();
            return show_with(
                StatusCode::UNPROCESSABLE_ENTITY,
                frame(&visit),
                form(&visit, &shown, &[error]),
            );
        }
    };
    let run = Arc::new(Run {
        owner: visit.principal.signed_in()?,
        target,
        at: visit.now,
        piece: watch::Sender::new(0),
        end: Mutex::new(End::Runs),
    });
    let Some(id) = desk.simulations.keep(run.clone()) else {
        return Err(WebError::too_many(30));
    };
    let enforcements = desk.enforcements().clone();
    tokio::spawn(async move {
        let end = match enforcements.simulate_telling(&run.target, &run.piece).await {
            Ok(result) => End::Done(result),
            Err(error) => {
                tracing::error!(error = %runtime::error_chain(&error), "A simulation failed");
                End::Failed(error.to_string())
            }
        };
        *run.end.lock().unwrap_or_else(PoisonError::into_inner) = end;
        run.piece.send_modify(|_| {});
    });
    Ok(visit.to(&format!("/enforcements/simulate/{id}")))
}

pub(super) async fn show_one(
    Shared(desk): Shared<Desk>,
    visit: Visit,
    Path(id): Path<String>,
) -> WebResult {
    let run = desk.simulations.of(&visit, &id)?;
    let frame = frame(&visit).crumb("/enforcements/simulate", visit.t("enforce-tab-simulate"));
    let inner = Markup::new(format!(
        "<div id=\"simulation\">{}</div>",
        state(&visit, &run)
    ));
    let shown = match run.end() {
        End::Runs => ui::live(format!("/enforcements/simulate/{id}/live"), inner),
        _ => inner,
    };
    let body = Body::new()
        .add(tabs(&visit, "/enforcements/simulate"))
        .text(visit.ta(
            "enforce-simulate-of",
            &[("target", &super::readable(&run.target))],
        ))
        .add(shown);
    show(frame, body)
}

/// How far it is, or what it found.
fn state(visit: &Visit, run: &Run) -> Markup {
    let result = match run.end() {
        End::Runs => {
            let done = *run.piece.borrow();
            let label = visit.ta(
                "enforce-simulate-runs",
                &[("done", &done.to_string()), ("of", &PIECES.to_string())],
            );
            return ui::bar(f64::from(done) / f64::from(PIECES), label);
        }
        End::Failed(error) => {
            return ui::notice(Level::Bad, visit.t("enforce-simulate-failed"), error);
        }
        End::Done(result) => result,
    };
    let answer = visit.ta(
        "enforce-simulate-answer",
        &[
            ("requests", &ui::number(result.requests)),
            ("of", &ui::number(result.of)),
            ("groups", &ui::number(result.groups)),
        ],
    );
    let level = if result.requests == 0 {
        Level::Good
    } else {
        Level::Warn
    };
    let mut body = Body::new().add(ui::notice(level, answer, visit.t("enforce-simulate-hint")));
    if let Some(protected) = &result.forbidden {
        body = body.add(ui::notice(
            Level::Info,
            visit.t("enforce-protected"),
            protected.as_str(),
        ));
    }
    if let Some(asked) = &result.asked {
        body = body.add(super::asked(visit, asked));
    }
    if result.truncated {
        body = body.text(visit.t("enforce-simulate-cut"));
    }
    let most = result.examples.first().map_or(1, |one| one.requests).max(1);
    let mut table = Table::new(visit.t("enforce-simulate-most"))
        .column(Column::text(visit.t("enforce-simulate-what")))
        .column(Column::text(visit.t("enforce-simulate-requests")))
        .empty(ui::empty(
            Icon::Check,
            visit.t("enforce-simulate-nobody"),
            "",
            None,
        ));
    for seen in &result.examples {
        table.push(vec![
            Markup::code(&seen.what),
            ui::bar(
                seen.requests as f64 / most as f64,
                ui::number(seen.requests),
            ),
        ]);
    }
    body = body.add(table);
    if visit.principal.could("enforcement:edit") && result.forbidden.is_none() {
        let query = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("target", &run.target.to_string())
            .finish();
        body = body.group(
            "actions",
            [ui::button_link(
                format!("/enforcements/new?{query}"),
                visit.t("enforce-new"),
            )],
        );
    }
    body.markup()
}

pub(super) async fn live(
    Shared(desk): Shared<Desk>,
    visit: Visit,
    Path(id): Path<String>,
) -> WebResult {
    let run = desk.simulations.of(&visit, &id)?;
    let updates = futures::stream::unfold(
        (run.piece.subscribe(), run, true),
        |(mut piece, run, first)| async move {
            if !first {
                if !matches!(run.end(), End::Runs) && !piece.has_changed().unwrap_or(false) {
                    // The last word was said; browsers would ask again if it ended here.
                    std::future::pending::<()>().await;
                }
                piece.changed().await.ok()?;
            }
            piece.borrow_and_update();
            Some((run.clone(), (piece, run, false)))
        },
    );
    let updates = updates.map(move |run| Update::Fragment {
        target: "simulation".into(),
        html: state(&visit, &run),
    });
    desk.intel
        .streams
        .open(updates.boxed(), std::future::pending())
}
