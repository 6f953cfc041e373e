//! The MANRS page, and the same as JSON.

use axum::extract::State;
use casework::body::{Body, show};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use web::ui::{self, Column, Markup, Table};
use web::{ApiJson, Level, Pages, Visit, WebResult};

use super::{Action, Facts, Shown, assess, facts, is_minimum_shown};
use crate::portal::room::{Desk, told};

/// The page's route.
pub(crate) fn pages(desk: Desk) -> Pages<()> {
    Pages::new()
        .get("/peering/manrs", "manrs:view", page)
        .with_state(desk)
}

/// The API's route.
pub(crate) fn router(desk: Desk) -> OpenApiRouter<()> {
    OpenApiRouter::new()
        .routes(routes!(get_manrs))
        .with_state(desk)
}

/// The exchange beside the MANRS IXP programme.
#[derive(Debug, Serialize, ToSchema)]
struct ManrsView {
    /// When it was counted, in microseconds since 1970.
    at: i64,
    /// Whether the programme's minimum is shown: actions 1 and 2, and one of 3 to 5.
    minimum: bool,
    /// Every action with its evidence.
    actions: Vec<Action>,
    /// What was counted.
    facts: Facts,
}

async fn gather(desk: &Desk, visit: &Visit) -> WebResult<(Facts, Vec<Action>)> {
    let facts = facts::gather(&desk.portal.exchange)
        .await
        .map_err(|e| told(e, visit))?;
    let actions = assess(&facts);
    Ok((facts, actions))
}

/// The evidence for each action of the MANRS IXP programme that the system itself holds.
#[utoipa::path(get, path = "/api/v1/exchange-manrs", tag = "exchange", responses((status = 200, body = ManrsView)))]
async fn get_manrs(State(desk): State<Desk>, visit: Visit) -> WebResult<ApiJson<ManrsView>> {
    let (facts, actions) = gather(&desk, &visit).await?;
    Ok(ApiJson(ManrsView {
        at: visit.now.micros(),
        minimum: is_minimum_shown(&actions),
        actions,
        facts,
    }))
}

fn badge(visit: &Visit, shown: Shown) -> Markup {
    let level = match shown {
        Shown::Yes => Level::Good,
        Shown::Partly => Level::Warn,
        Shown::No => Level::Bad,
    };
    ui::badge(level, visit.t(&format!("manrs-shown-{}", shown.name())))
}

async fn page(State(desk): State<Desk>, visit: Visit) -> WebResult {
    let (_, actions) = gather(&desk, &visit).await?;
    let frame = visit.frame("nav-manrs");
    let (level, key) = match is_minimum_shown(&actions) {
        true => (Level::Good, "manrs-minimum-yes"),
        false => (Level::Warn, "manrs-minimum-no"),
    };
    let mut body = Body::new()
        .text(visit.t("manrs-intro"))
        .add(ui::notice(
            level,
            visit.t(key),
            visit.t("manrs-minimum-text"),
        ))
        .group(
            "actions",
            [ui::button_link(
                "/api/v1/exchange-manrs",
                visit.t("manrs-json"),
            )],
        );
    for action in &actions {
        let kind = match action.mandatory {
            true => "manrs-mandatory",
            false => "manrs-one-of",
        };
        let mut table = Table::new(visit.t(&format!("manrs-action-{}", action.number)))
            .column(Column::text(visit.t("manrs-evidence")))
            .column(Column::number(visit.t("manrs-count")))
            .column(Column::text(visit.t("manrs-shown")))
            .column(Column::text(visit.t("manrs-missing")));
        for evidence in &action.evidence {
            let share = match evidence.all {
                0 => 0.0,
                all => evidence.good.min(all) as f64 / all as f64,
            };
            let count = match evidence.all {
                1 if evidence.good <= 1 => Markup::text("–"),
                _ => ui::bar(share, format!("{}/{}", evidence.good, evidence.all)),
            };
            let missing = match evidence.shown {
                Shown::Yes => Markup::text("–"),
                _ => Markup::link(
                    evidence.path,
                    visit.t(&format!("manrs-{}-missing", evidence.key)),
                ),
            };
            table.push(vec![
                Markup::text(visit.t(&format!("manrs-{}", evidence.key))),
                count,
                badge(&visit, evidence.shown),
                missing,
            ]);
        }
        let inner = Body::new()
            .add(badge(&visit, action.shown))
            .text(visit.t(kind))
            .add(table);
        body = body.section(visit.t(&format!("manrs-action-{}", action.number)), inner);
    }
    show(frame, body)
}
