//! "Why is this blocked?": one question, one answer, and the thread behind it.

use axum::extract::State as Shared;
use casework::body::{Body, show};
use serde::Deserialize;
use web::ui::{self, Field, Icon, Markup};
use web::{ApiQuery, FieldError, Level, Visit, WebResult};

use super::{Desk, path_of, table, tabs, tell};
use crate::enforce::engine::{State, Why};
use crate::objects::pages as intel;
use crate::objects::search::Query;

/// Objects about the value that are shown.
const OBJECTS_MAX: usize = 20;
/// Characters of a question.
const TEXT_CHARS_MAX: usize = 2_100;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Asked {
    target: String,
}

pub(super) async fn why(
    Shared(desk): Shared<Desk>,
    visit: Visit,
    ApiQuery(asked): ApiQuery<Asked>,
) -> WebResult {
    let text = asked.target.trim();
    let mut errors = Vec::new();
    let target = match text {
        "" => None,
        text if text.chars().count() > TEXT_CHARS_MAX => {
            errors.push(FieldError::new("target", "length", visit.t("intel-q-long")));
            None
        }
        // The reference that a refused user was shown leads to the decision itself.
        text => match text.parse::<base::EnforcementId>() {
            Ok(id) if desk.enforcements().get(id).await.is_ok() => {
                return Ok(visit.to(&format!("/enforcements/{id}")));
            }
            _ => super::typed(&visit, "target", text)
                .map_err(|error| errors.push(error))
                .ok(),
        },
    };
    let form = Body::new()
        .add(
            Field::input("search", "target", visit.t("enforce-why-target"))
                .value(text)
                .help(visit.t("enforce-why-help"))
                .errors(&errors),
        )
        .add(ui::button(visit.t("enforce-why-ask")));
    let mut body = Body::new()
        .add(tabs(&visit, "/enforcements/why"))
        .search("/enforcements/why", form);
    if let Some(target) = target {
        let why = desk.enforcements().why(target).await.map_err(tell)?;
        body = answer(&desk, &visit, body, &why).await?;
    }
    let frame = visit
        .frame("enforce-why-title")
        .crumb("/enforcements", visit.t("nav-enforcements"));
    show(frame, body)
}

/// Why it is no longer blocked, if it was.
fn unblocked(visit: &Visit, why: &Why) -> Markup {
    let last = why
        .decisions
        .iter()
        .map(|(decided, _)| decided)
        .filter(|decided| decided.state == State::Lifted)
        .max_by_key(|decided| decided.decided_at);
    match last.and_then(|decided| Some((decided, decided.decided_at?))) {
        None => Markup::text(visit.t("enforce-not-blocked-text")),
        Some((decided, at)) => Markup::text(visit.ta(
            "enforce-unblocked",
            &[("at", &at.taipei()), ("why", &decided.decided_why)],
        ))
        .and(&Markup::link(path_of(decided), visit.t("enforce-open"))),
    }
}

async fn answer(desk: &Desk, visit: &Visit, mut body: Body, why: &Why) -> WebResult<Body> {
    let (target, shown) = (why.target.to_string(), super::readable(&why.target));
    let blocking = why.decisions.iter().find(|(decided, _)| {
        decided.state == State::Active
            && decided.rule.is_in_force(visit.now)
            && decided.rule.action.name() != "observe"
    });
    body = body.add(match blocking {
        Some((decided, _)) => ui::notice(
            Level::Bad,
            visit.ta("enforce-blocked", &[("target", &shown)]),
            Markup::text(visit.ta(
                "enforce-blocked-by",
                &[
                    ("by", &super::readable(&decided.rule.target)),
                    ("why", &decided.reason),
                ],
            ))
            .and(&Markup::link(path_of(decided), visit.t("enforce-open"))),
        ),
        None => ui::notice(
            Level::Good,
            visit.ta("enforce-not-blocked", &[("target", &shown)]),
            unblocked(visit, why),
        ),
    });
    if let Some(protected) = &why.forbidden {
        body = body.add(ui::notice(
            Level::Info,
            visit.t("enforce-protected"),
            Markup::new(format!(
                "<p>{}</p><p class=\"soft\"><small lang=\"en\">{}</small></p>",
                ui::escape(&visit.t("enforce-protected-text")),
                ui::escape(protected)
            )),
        ));
    }
    if let Some(asked) = &why.asked {
        body = body.add(super::asked(visit, asked));
    }
    let empty = ui::empty(
        Icon::Shield,
        visit.t("enforce-none-title"),
        visit.t("enforce-none-met"),
        None,
    );
    body = body.section(
        visit.t("enforce-decisions"),
        Body::new().add(table(visit, &why.decisions, empty)),
    );
    if visit.principal.could("intel:view") {
        let see = intel::seen(&desk.intel, visit).await?;
        let query = Query {
            text: target,
            ..Query::default()
        };
        let found = intel::searched(&desk.intel, &see, &query, None, OBJECTS_MAX).await?;
        let mut list = String::new();
        for hit in &found.hits {
            let link = Markup::link(intel::path_of(&hit.id), crate::objects::graph::title(hit));
            list.push_str(&format!(
                "<li>{} {link} {}</li>",
                ui::escape(&intel::kind_name(visit, &hit.kind)),
                intel::tlp_badge(hit.tlp)
            ));
        }
        let inner = match list.is_empty() {
            true => Body::new().text(visit.t("enforce-no-intelligence")),
            false => Body::new().add(Markup::new(format!("<ul>{list}</ul>"))),
        };
        body = body.section(visit.t("enforce-intelligence"), inner);
    }
    Ok(body)
}
