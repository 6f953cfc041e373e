//! One enforcement: the thread from the indicator to the hits at each edge.

use axum::extract::{Path, State as Shared};
use base::EnforcementId;
use casework::body::{Body, show, show_with};
use web::ui::{self, Column, Field, Icon, Markup, Table};
use web::{FieldError, Level, Visit, WebError, WebResult};

use super::{Desk, actor, indicator_of, source, state_badge, tabs, tell, until};
use crate::enforce::engine::{Decided, State};
use crate::enforce::seams::Hits;
use crate::objects::graph::title;
use crate::objects::pages as intel;

pub(super) fn id_of(text: &str) -> WebResult<EnforcementId> {
    text.parse()
        .map_err(|_| WebError::not_found("enforcement", text))
}

/// The decision of an address, with its hits.
pub(super) async fn decided(desk: &Desk, id: &str) -> WebResult<(Decided, Hits)> {
    desk.enforcements().get(id_of(id)?).await.map_err(tell)
}

pub(super) async fn view(
    Shared(desk): Shared<Desk>,
    visit: Visit,
    Path(id): Path<String>,
) -> WebResult {
    let (decided, hits) = decided(&desk, &id).await?;
    let (frame, body) = whole(&desk, &visit, &decided, hits, &[]).await?;
    show(frame, body)
}

/// The page again with what was wrong with a form on it.
pub(super) async fn again(
    desk: &Desk,
    visit: &Visit,
    id: &str,
    errors: &[FieldError],
) -> WebResult {
    let (decided, hits) = decided(desk, id).await?;
    let (frame, body) = whole(desk, visit, &decided, hits, errors).await?;
    show_with(axum::http::StatusCode::UNPROCESSABLE_ENTITY, frame, body)
}

async fn whole(
    desk: &Desk,
    visit: &Visit,
    decided: &Decided,
    hits: Hits,
    errors: &[FieldError],
) -> WebResult<(web::Frame, Body)> {
    let frame = visit
        .frame_titled(super::readable(&decided.rule.target))
        .crumb("/enforcements", visit.t("nav-enforcements"));
    let mut body = Body::new()
        .add(tabs(visit, ""))
        .add(state_badge(visit, decided))
        .text(visit.ta(
            &format!("enforce-answer-{}", decided.state.name()),
            &[
                ("target", &super::readable(&decided.rule.target)),
                ("hits", &ui::number(hits.count)),
            ],
        ));
    let may = frame.could("enforcement:edit");
    if may && decided.state == State::Active {
        body = body.group(
            "actions",
            [ui::button_link(
                format!("/enforcements/{}/undo", decided.rule.id),
                visit.t("enforce-undo"),
            )],
        );
    }
    if decided.is_doubted() {
        body = body.add(ui::notice(
            Level::Warn,
            visit.t("enforce-doubted-title"),
            decided.doubt.as_str(),
        ));
    }
    if decided.state == State::Proposed && !decided.asked.is_empty() {
        body = body.add(super::asked(visit, &decided.asked));
    }
    if may && (decided.state == State::Proposed || decided.is_doubted()) {
        let title = match decided.is_doubted() {
            true => "enforce-doubt-decide",
            false => "enforce-decide",
        };
        body = body.section(visit.t(title), decide_form(visit, decided, errors));
    }
    body = body.section(
        visit.t("enforce-thread"),
        thread(desk, visit, decided, hits).await?,
    );
    body = body.section(visit.t("enforce-facts"), facts(visit, decided).await);
    if may && decided.state == State::Active {
        body = body.section(
            visit.t("enforce-extend"),
            extend_form(visit, decided, errors),
        );
    }
    Ok((frame, body))
}

/// From the indicator to the hits, step by step.
async fn thread(desk: &Desk, visit: &Visit, decided: &Decided, hits: Hits) -> WebResult<Body> {
    let mut steps: Vec<Markup> = Vec::new();
    match indicator_of(&decided.source) {
        Some(id) if visit.principal.could("intel:view") => {
            let see = intel::seen(&desk.intel, visit).await?;
            let there = desk
                .intel
                .objects
                .latest_of(&see, &[id.to_owned()])
                .await
                .map_err(intel::tell)?;
            match there.get(id) {
                Some(hit) => {
                    let name = Markup::link(intel::path_of(id), title(hit))
                        .and(&intel::tlp_badge(hit.tlp));
                    steps.push(Markup::text(visit.t("enforce-step-indicator")).and(&name));
                }
                None => steps.push(
                    Markup::text(visit.t("enforce-step-indicator-gone")).and(&Markup::code(id)),
                ),
            }
        }
        Some(_) => steps.push(Markup::text(visit.t("enforce-step-indicator"))),
        None => {
            let who = actor(visit, &decided.made_by).await;
            steps.push(Markup::text(
                visit.ta("enforce-step-person", &[("who", &who)]),
            ));
        }
    }
    steps.push(Markup::text(visit.ta(
        "enforce-step-policy",
        &[
            ("version", &decided.policy.to_string()),
            ("confidence", &decided.confidence.to_string()),
        ],
    )));
    steps.push(Markup::text(visit.t("enforce-step-made")).and(&ui::time(decided.made_at)));
    if let Some(at) = decided.decided_at {
        let who = match &decided.decided_by {
            Some(by) => actor(visit, by).await,
            None => String::new(),
        };
        let key = format!("enforce-step-{}", decided.state.name());
        let step = Markup::text(visit.ta(&key, &[("who", &who), ("why", &decided.decided_why)]));
        steps.push(step.and(&ui::time(at)));
    }
    let last = match hits.last {
        Some(last) => visit.ta(
            "enforce-step-hits",
            &[("count", &ui::number(hits.count)), ("last", &last.taipei())],
        ),
        None => visit.t("enforce-step-no-hits"),
    };
    steps.push(Markup::text(last));
    let mut list = String::from("<ol>");
    for step in steps {
        list.push_str(&format!("<li>{step}</li>"));
    }
    list.push_str("</ol>");
    let met = desk
        .enforcements()
        .met_at(decided.rule.id)
        .await
        .map_err(tell)?;
    let most = met
        .iter()
        .map(|one| one.hits.count)
        .max()
        .unwrap_or(1)
        .max(1);
    let mut table = Table::new(visit.t("enforce-met-at"))
        .column(Column::text(visit.t("enforce-node")))
        .column(Column::text(visit.t("enforce-role")))
        .column(Column::text(visit.t("enforce-hits")))
        .column(Column::text(visit.t("enforce-last-hit")))
        .empty(ui::empty(
            Icon::Server,
            visit.t("enforce-step-no-hits"),
            "",
            None,
        ));
    for one in met {
        table.push(vec![
            Markup::text(&one.node),
            Markup::text(&one.role),
            ui::bar(
                one.hits.count as f64 / most as f64,
                ui::number(one.hits.count),
            ),
            one.hits
                .last
                .map_or_else(|| Markup::text("–"), |at| ui::ago(visit, at)),
        ]);
    }
    Ok(Body::new().add(Markup::new(list)).add(table))
}

async fn facts(visit: &Visit, decided: &Decided) -> Body {
    let roles = match decided.roles.is_empty() {
        true => visit.t("enforce-everywhere"),
        false => decided
            .roles
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(", "),
    };
    let facts = vec![
        (
            visit.t("enforce-target"),
            ui::copyable(visit.t("enforce-target"), decided.rule.target.to_string()),
        ),
        (
            visit.t("enforce-kind"),
            Markup::text(visit.t(&format!("target-{}", decided.rule.target.kind().name()))),
        ),
        (
            visit.t("enforce-action"),
            Markup::text(visit.t(&format!("action-{}", decided.rule.action.name()))),
        ),
        (visit.t("enforce-where"), Markup::text(roles)),
        (visit.t("enforce-why"), Markup::text(&decided.reason)),
        (visit.t("enforce-source"), source(visit, decided)),
        (
            visit.t("intel-tlp"),
            decided
                .tlp
                .map_or_else(|| Markup::text("–"), intel::tlp_badge),
        ),
        (
            visit.t("intel-confidence"),
            Markup::text(decided.confidence.to_string()),
        ),
        (
            visit.t("enforce-made-by"),
            Markup::text(actor(visit, &decided.made_by).await),
        ),
        (visit.t("enforce-until"), until(visit, decided.rule.until)),
        (
            visit.t("enforce-reference"),
            ui::copyable(visit.t("enforce-reference"), decided.rule.id.to_string()),
        ),
    ];
    Body::new().add(ui::definition_list(facts))
}

fn decide_form(visit: &Visit, decided: &Decided, errors: &[FieldError]) -> Body {
    if visit
        .principal
        .user()
        .is_some_and(|user| decided.made_by == format!("user:{user}"))
    {
        return Body::new().text(visit.t("enforce-decide-other"));
    }
    let (text, approve, reject) = match decided.is_doubted() {
        true => ("enforce-doubt-text", "enforce-keep", "enforce-undo"),
        false => ("enforce-decide-text", "enforce-approve", "enforce-reject"),
    };
    let choices = vec![
        ("approve".to_owned(), visit.t(approve)),
        ("reject".to_owned(), visit.t(reject)),
    ];
    let inner = Body::new()
        .add(
            Field::radio("choice", visit.t("enforce-choice"), choices)
                .errors(errors)
                .required(),
        )
        .add(
            Field::area("why", visit.t("enforce-reason"), 3)
                .errors(errors)
                .required(),
        )
        .group("actions", [ui::button(visit.t("enforce-decide-do"))]);
    Body::new().text(visit.t(text)).form(
        &visit.frame_titled(""),
        &format!("/enforcements/{}/decide", decided.rule.id),
        inner,
    )
}

fn extend_form(visit: &Visit, decided: &Decided, errors: &[FieldError]) -> Body {
    let inner = Body::new()
        .add(
            Field::input("number", "hours", visit.t("enforce-hours-from-now"))
                .attribute("min", "1")
                .help(visit.t("enforce-hours-help"))
                .errors(errors),
        )
        .add(
            Field::text("why", visit.t("enforce-reason"))
                .errors(errors)
                .required(),
        )
        .group("actions", [ui::button(visit.t("enforce-extend-do"))]);
    Body::new().form(
        &visit.frame_titled(""),
        &format!("/enforcements/{}/extend", decided.rule.id),
        inner,
    )
}
