//! Drills in the console: how one is begun, and the records that commands at the sites sent back.

use axum::extract::{Path, State};
use casework::body::{Body, show};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use web::ui::{self, Column, Icon, Markup, Table};
use web::{ApiJson, Lang, Level, Pages, Visit, WebError, WebResult};

use super::{Desk, keep};
use crate::drill::record::{End, Record};
use crate::room::shell::by;

/// Drills in the list.
const LISTED: i64 = 100;
/// Characters of a drill's name.
const ID_CHARS_MAX: usize = 40;
/// What is typed, step by step.
const COMMANDS: [(&str, &str); 3] = [
    (
        "op-drill-dry",
        "civicnet exchange drill run PLAN --places PLACES --dry-run",
    ),
    (
        "op-drill-run",
        "civicnet exchange drill run PLAN --places PLACES --tell --token-file FILE",
    ),
    ("op-drill-restore", "civicnet exchange drill restore"),
];

/// The pages' routes.
pub(super) fn pages(desk: Desk) -> Pages<()> {
    Pages::new()
        .get("/exchange/drills", "exchange:view", overview)
        .get("/exchange/drills/{id}", "exchange:view", view)
        .with_state(desk)
}

/// The API's routes.
pub(super) fn router(desk: Desk) -> OpenApiRouter<()> {
    OpenApiRouter::new()
        .routes(routes!(list_drills, keep_drill))
        .with_state(desk)
}

/// A drill as it is listed.
#[derive(Debug, Serialize, ToSchema)]
struct DrillView {
    /// Name of the drill's run: its time in UTC.
    id: String,
    /// Its title.
    title: String,
    /// When it began, in seconds since 1970.
    began_s: u64,
    /// Milliseconds from the first step to the end.
    lasted_ms: u64,
    /// Whether the exchange did what the plan promises and everything is as it was.
    good: bool,
    /// Milliseconds from the restoration until every session was up again.
    back_ms: Option<u64>,
}

impl DrillView {
    fn of(record: &Record) -> Self {
        Self {
            id: record.id.clone(),
            title: record.plan.title.clone(),
            began_s: record.began_s,
            lasted_ms: record.lasted_ms,
            good: record.is_good(),
            back_ms: record.back_ms,
        }
    }
}

/// The drills whose records are kept, newest first.
#[utoipa::path(get, path = "/api/v1/exchange-drills", tag = "exchange", responses((status = 200, body = [DrillView])))]
async fn list_drills(State(desk): State<Desk>, visit: Visit) -> WebResult<ApiJson<Vec<DrillView>>> {
    let kept = keep::drills(&desk.room.exchange, LISTED)
        .await
        .map_err(desk.room.tell(&visit))?;
    Ok(ApiJson(
        kept.iter().map(|one| DrillView::of(&one.record)).collect(),
    ))
}

/// Keeps the record of a drill, as `civicnet exchange drill run` writes it. One that is known already stays as it is.
#[utoipa::path(post, path = "/api/v1/exchange-drills", tag = "exchange", request_body = serde_json::Value, responses((status = 200, body = DrillView)))]
async fn keep_drill(
    State(desk): State<Desk>,
    visit: Visit,
    ApiJson(told): ApiJson<serde_json::Value>,
) -> WebResult<ApiJson<DrillView>> {
    let record: Record = serde_json::from_value(told)
        .map_err(|error| WebError::field("record", "format", format!("is no record: {error}")))?;
    let is_name = |id: &str| {
        (1..=ID_CHARS_MAX).contains(&id.len())
            && id
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    if !is_name(&record.id) {
        return Err(WebError::field(
            "id",
            "format",
            format!("must be 1 to {ID_CHARS_MAX} letters, digits and hyphens"),
        ));
    }
    let bytes = serde_json::to_vec(&record)
        .map_err(WebError::internal)?
        .len();
    if bytes > keep::RECORD_BYTES_MAX {
        return Err(WebError::field(
            "record",
            "max-length",
            format!(
                "has {bytes} bytes: must have at most {}",
                keep::RECORD_BYTES_MAX
            ),
        ));
    }
    keep::keep_drill(&desk.room.exchange, &by(&visit)?, &record)
        .await
        .map_err(desk.room.tell(&visit))?;
    Ok(ApiJson(DrillView::of(&record)))
}

async fn overview(State(desk): State<Desk>, visit: Visit) -> WebResult {
    let frame = visit
        .frame_titled(visit.t("op-drills"))
        .crumb("/exchange", visit.t("nav-exchange"));
    let kept = keep::drills(&desk.room.exchange, LISTED)
        .await
        .map_err(desk.room.tell(&visit))?;
    let mut table = Table::new(visit.t("op-drills"))
        .column(Column::text(visit.t("op-drill")))
        .column(Column::text(visit.t("op-result")))
        .column(Column::number(visit.t("op-lasted")))
        .column(Column::number(visit.t("op-silence")))
        .column(Column::number(visit.t("op-back")))
        .column(Column::text(visit.t("op-when")))
        .empty(ui::empty(
            Icon::Clock,
            visit.t("op-drills-none"),
            visit.t("op-drills-none-text"),
            None,
        ));
    for one in &kept {
        let record = &one.record;
        let silence = record
            .probes
            .iter()
            .filter_map(|probe| probe.silence_ms)
            .max();
        table.push(vec![
            Markup::link(
                format!("/exchange/drills/{}", record.id),
                title(&visit, record),
            ),
            result(&visit, record),
            Markup::text(ms(Some(record.lasted_ms))),
            Markup::text(ms(silence)),
            Markup::text(ms(record.back_ms)),
            ui::time(base::Timestamp::from_seconds(
                i64::try_from(record.began_s).unwrap_or(0),
            )),
        ]);
    }
    let mut how = Body::new().text(visit.t("op-drill-how"));
    for (key, command) in COMMANDS {
        how = how.text(visit.t(key)).add(Markup::new(format!(
            "<pre tabindex=\"0\"><code>{}</code></pre>",
            ui::escape(command)
        )));
    }
    show(
        frame,
        Body::new()
            .text(visit.t("op-drills-text"))
            .add(table)
            .section(visit.t("op-drill-begin"), how),
    )
}

fn title(visit: &Visit, record: &Record) -> String {
    match (&record.plan.title_zh, visit.lang) {
        (Some(title), Lang::ZhTw) => title.clone(),
        _ => record.plan.title.clone(),
    }
}

fn result(visit: &Visit, record: &Record) -> Markup {
    let (level, key) = match (&record.end, record.is_good()) {
        (_, true) => (Level::Good, "op-drill-good"),
        (End::Done, false) => (Level::Warn, "op-drill-not-kept"),
        (End::Aborted, _) => (Level::Warn, "op-drill-aborted"),
        (End::TooLong, _) => (Level::Bad, "op-drill-too-long"),
        (End::Failed(_), _) => (Level::Bad, "op-drill-failed"),
    };
    ui::badge(level, visit.t(key))
}

/// `1,234 ms`.
fn ms(value: Option<u64>) -> String {
    value.map_or_else(|| "–".to_owned(), |ms| format!("{} ms", ui::number(ms)))
}

async fn view(State(desk): State<Desk>, visit: Visit, Path(id): Path<String>) -> WebResult {
    let kept = keep::drill(&desk.room.exchange, &id)
        .await
        .map_err(desk.room.tell(&visit))?;
    let record = &kept.record;
    let frame = visit
        .frame_titled(title(&visit, record))
        .crumb("/exchange", visit.t("nav-exchange"))
        .crumb("/exchange/drills", visit.t("op-drills"));
    let zh = visit.lang == Lang::ZhTw;
    let mut facts = vec![
        (visit.t("op-result"), result(&visit, record)),
        (
            visit.t("op-when"),
            ui::time(base::Timestamp::from_seconds(
                i64::try_from(record.began_s).unwrap_or(0),
            )),
        ),
        (
            visit.t("op-lasted"),
            Markup::text(ms(Some(record.lasted_ms))),
        ),
        (visit.t("op-back"), Markup::text(ms(record.back_ms))),
        (
            visit.t("op-sent"),
            Markup::text(desk.room.actor(&visit, &kept.by).await).and(&ui::time(kept.at)),
        ),
    ];
    if let End::Failed(why) = &record.end {
        facts.push((visit.t("op-why"), Markup::text(why)));
    }
    let mut steps = Table::new(visit.t("op-steps"))
        .column(Column::text(visit.t("op-step")))
        .column(Column::number(visit.t("op-began")))
        .column(Column::number(visit.t("op-lasted")))
        .column(Column::text(visit.t("op-done")));
    for (index, step) in record.plan.steps.iter().enumerate() {
        let done = record.steps.get(index);
        let lasted = done.map(|done| done.to_ms.saturating_sub(done.from_ms));
        steps.push(vec![
            Markup::text(step.words(zh)),
            Markup::text(ms(done.map(|done| done.from_ms))),
            Markup::text(ms(lasted)),
            Markup::text(done.map_or_else(|| visit.t("op-not-done"), |done| done.done.join(", "))),
        ]);
    }
    let mut probes = Table::new(visit.t("op-probes"))
        .column(Column::text(visit.t("op-probe")))
        .column(Column::number(visit.t("op-signs")))
        .column(Column::number(visit.t("op-silence")))
        .column(Column::number(visit.t("op-limit")))
        .column(Column::text(visit.t("op-result")))
        .empty(Markup::text(visit.t("op-probes-none")));
    for probe in &record.probes {
        let (level, key) = match probe.kept {
            true => (Level::Good, "op-kept"),
            false => (Level::Bad, "op-exceeded"),
        };
        probes.push(vec![
            Markup::text(&probe.name),
            Markup::text(ui::number(probe.signs)),
            Markup::text(ms(probe.silence_ms)),
            Markup::text(ms(probe.silence_max_ms)),
            ui::badge(level, visit.t(key)),
        ]);
    }
    let mut sites = Table::new(visit.t("op-sites"))
        .column(Column::text(visit.t("op-site")))
        .column(Column::number(visit.t("op-up-before")))
        .column(Column::number(visit.t("op-up-least")))
        .column(Column::number(visit.t("op-up-after")))
        .column(Column::number(visit.t("op-routes-before")))
        .column(Column::number(visit.t("op-routes-after")));
    for site in &record.sites {
        sites.push(vec![
            Markup::text(&site.site),
            Markup::text(ui::number(site.up_before)),
            Markup::text(ui::number(site.up_least)),
            Markup::text(ui::number(site.up_after)),
            Markup::text(ui::number(site.routes_before)),
            Markup::text(ui::number(site.routes_after)),
        ]);
    }
    let mut body = Body::new()
        .add(ui::definition_list(facts))
        .section(visit.t("op-steps"), Body::new().add(steps))
        .section(visit.t("op-probes"), Body::new().add(probes))
        .section(visit.t("op-sites"), Body::new().add(sites));
    for (key, list) in [
        ("op-not-back", &record.not_back),
        ("op-not-undone", &record.not_undone),
    ] {
        if !list.is_empty() {
            body = body.add(ui::notice(
                Level::Bad,
                visit.t(key),
                Markup::text(list.join("; ")),
            ));
        }
    }
    show(frame, body)
}
