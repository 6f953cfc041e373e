//! Statistics of a site, live and past: what was asked, what the cache answered,
//! what failed, from where; every figure can be taken along as CSV or JSON.

use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::header;
use axum::response::Response;
use casework::body::{Body, show};
use futures::stream;
use web::ui::{self, Chart, Column, Icon, Markup, Table, Unit};
use web::{ApiQuery, Level, Update, Visit, WebError, WebResult};

use super::site_frame;
use crate::engine::Site;
use crate::room::{Desk, tell};
use crate::seams::{StatsPoint, StatsQuery, StatsRow};
use crate::stats::{Breakdown, Range, rows_csv, series_csv, share, total};

/// Time between two live figures.
const LIVE_EVERY: Duration = Duration::from_secs(2);
/// The ranges offered, in seconds.
const RANGES: [(&str, i64); 5] = [
    ("hour", 3_600),
    ("day", 86_400),
    ("week", 604_800),
    ("month", 2_592_000),
    ("year", 31_536_000),
];

pub(super) async fn page(
    State(desk): State<Desk>,
    visit: Visit,
    Path(site): Path<String>,
    ApiQuery(range): ApiQuery<Range>,
) -> WebResult {
    let (site, _) = desk.site(&visit, &site, "site:view").await?;
    let query = range.query(Some(site.id), visit.now)?;
    let (frame, tabs) = site_frame(&visit, &site, "stats");
    let base = format!("/sites/{}/stats", site.id);
    let length = query.to.since(query.from).as_secs() as i64;
    let chosen = range
        .seconds
        .unwrap_or(if range.from.is_some() { length } else { 3_600 });
    let ranges: Vec<_> = RANGES
        .iter()
        .map(|(name, seconds)| {
            (
                format!("{base}?seconds={seconds}"),
                visit.t(&format!("range-{name}")),
                *seconds == chosen,
            )
        })
        .collect();
    let mut body = Body::new().add(tabs).add(ui::tabs(&ranges));
    let points = match desk.cdn.statistics().series(&query).await {
        Ok(points) => points,
        Err(error) => {
            tracing::warn!(site = %site.id, error = %runtime::error_chain(&error), "Figures of a site could not be read");
            body = body.add(ui::notice(
                Level::Warn,
                visit.t("stats-away-title"),
                visit.t("stats-away-text"),
            ));
            return show(frame, body);
        }
    };
    let live = Body::new()
        .group("tiles", tiles(&visit, &points))
        .add(charts(&visit, &site, &query, &points));
    body = body.add(ui::live(format!("{base}/live"), live.markup()));
    let export = format!(
        "from={}&to={}&step={}",
        query.from.seconds(),
        query.to.seconds(),
        query.step_s
    );
    for by in Breakdown::ALL {
        let rows = by
            .rows(&desk.cdn, &query)
            .await
            .map_err(|e| tell(e.into(), visit.lang))?;
        let links = [
            ui::button_link(format!("{base}/{}.csv?{export}", by.name()), "CSV"),
            ui::button_link(format!("{base}/{}.json?{export}", by.name()), "JSON"),
        ];
        body = body.section(
            visit.t(&format!("stats-by-{}", by.name())),
            Body::new()
                .add(row_table(&visit, by, &rows))
                .group("actions", links),
        );
    }
    let links = [
        ui::button_link(format!("{base}/series.csv?{export}"), "CSV"),
        ui::button_link(format!("{base}/series.json?{export}"), "JSON"),
    ];
    body = body.section(
        visit.t("stats-export"),
        Body::new()
            .text(visit.t("stats-export-text"))
            .group("actions", links),
    );
    show(frame, body)
}

fn tiles(visit: &Visit, points: &[StatsPoint]) -> [Markup; 4] {
    let sum = total(points);
    [
        ui::tile(visit.t("stats-requests"), ui::number(sum.requests), "")
            .live("requests")
            .markup(),
        ui::tile(visit.t("stats-bytes"), ui::bytes(sum.bytes), "")
            .live("bytes")
            .markup(),
        ui::tile(
            visit.t("stats-hit-ratio"),
            ui::percent(share(sum.hits, sum.requests)),
            "",
        )
        .live("hit-ratio")
        .markup(),
        ui::tile(
            visit.t("stats-errors"),
            ui::percent(share(sum.errors, sum.requests)),
            "",
        )
        .live("errors")
        .markup(),
    ]
}

fn charts(visit: &Visit, site: &Site, query: &StatsQuery, points: &[StatsPoint]) -> Markup {
    let times = || points.iter().map(|point| point.at).collect::<Vec<_>>();
    let source = visit.ta(
        "stats-source",
        &[("from", &query.from.taipei()), ("to", &query.to.taipei())],
    );
    let link = format!(
        "/sites/{}/stats/series.json?from={}&to={}&step={}",
        site.id,
        query.from.seconds(),
        query.to.seconds(),
        query.step_s
    );
    let step = f64::from(query.step_s);
    let requests = Chart::new(
        visit.t("stats-requests"),
        Unit::PerSecond,
        times(),
        visit.t("stats-none"),
    )
    .series(
        visit.t("stats-requests"),
        points
            .iter()
            .map(|point| Some(point.requests as f64 / step))
            .collect(),
    )
    .series(
        visit.t("stats-hits"),
        points
            .iter()
            .map(|point| Some(point.hits as f64 / step))
            .collect(),
    )
    .series(
        visit.t("stats-errors"),
        points
            .iter()
            .map(|point| Some(point.errors as f64 / step))
            .collect(),
    )
    .source(&source)
    .query(&link, visit.t("stats-data"))
    .filled();
    let traffic = Chart::new(
        visit.t("stats-traffic"),
        Unit::BitsPerSecond,
        times(),
        visit.t("stats-none"),
    )
    .series(
        visit.t("stats-traffic"),
        points
            .iter()
            .map(|point| Some(point.bytes as f64 * 8.0 / step))
            .collect(),
    )
    .source(&source)
    .query(&link, visit.t("stats-data"))
    .filled();
    let ratio = Chart::new(
        visit.t("stats-hit-ratio"),
        Unit::Share,
        times(),
        visit.t("stats-none"),
    )
    .series(
        visit.t("stats-hit-ratio"),
        points
            .iter()
            .map(|point| share(point.hits, point.requests))
            .collect(),
    )
    .source(source)
    .query(link, visit.t("stats-data"));
    Body::new().add(requests).add(traffic).add(ratio).markup()
}

fn row_table(visit: &Visit, by: Breakdown, rows: &[StatsRow]) -> Table {
    let most = rows
        .iter()
        .map(|row| row.requests)
        .max()
        .unwrap_or(0)
        .max(1);
    let mut table = Table::new(visit.t(&format!("stats-by-{}", by.name())))
        .column(Column::text(visit.t(&format!("stats-{}", by.name()))))
        .column(Column::number(visit.t("stats-requests")))
        .column(Column::number(visit.t("stats-bytes")))
        .column(Column::number(visit.t("stats-hit-ratio")))
        .column(Column::number(visit.t("stats-errors")))
        .empty(ui::empty(
            Icon::Chart,
            visit.t("stats-none"),
            visit.t("stats-none-text"),
            None,
        ));
    for row in rows {
        table.push(vec![
            Markup::code(&row.name),
            ui::bar(row.requests as f64 / most as f64, ui::number(row.requests)),
            Markup::text(ui::bytes(row.bytes)),
            Markup::text(ui::percent(share(row.hits, row.requests))),
            Markup::text(ui::percent(share(row.errors, row.requests))),
        ]);
    }
    table
}

/// New figures every two seconds, over the same hour that slides along.
pub(super) async fn live(
    State(desk): State<Desk>,
    visit: Visit,
    Path(site): Path<String>,
) -> WebResult<Response> {
    let (site, _) = desk.site(&visit, &site, "site:view").await?;
    let streams = desk.streams.clone();
    let updates = stream::unfold((desk, site.id), |(desk, site)| async move {
        tokio::time::sleep(LIVE_EVERY).await;
        let now = desk.cdn.db().clock().now();
        let query = Range::default().query(Some(site), now).ok()?;
        let points = desk.cdn.statistics().series(&query).await.ok()?;
        let sum = total(&points);
        let values = vec![
            ("requests".to_owned(), ui::number(sum.requests)),
            ("bytes".to_owned(), ui::bytes(sum.bytes)),
            (
                "hit-ratio".to_owned(),
                ui::percent(share(sum.hits, sum.requests)),
            ),
            (
                "errors".to_owned(),
                ui::percent(share(sum.errors, sum.requests)),
            ),
        ];
        Some((Update::Values(values), (desk, site)))
    });
    streams.open(updates, std::future::pending())
}

/// `series` or a breakdown, as `.csv` or `.json`.
pub(super) async fn export(
    State(desk): State<Desk>,
    visit: Visit,
    Path((site, export)): Path<(String, String)>,
    ApiQuery(range): ApiQuery<Range>,
) -> WebResult {
    let (site, _) = desk.site(&visit, &site, "site:view").await?;
    let query = range.query(Some(site.id), visit.now)?;
    let missing = || WebError::not_found("export", &export);
    let (name, kind) = export.rsplit_once('.').ok_or_else(missing)?;
    let (csv, json) = if name == "series" {
        let points = desk
            .cdn
            .statistics()
            .series(&query)
            .await
            .map_err(|e| tell(e.into(), visit.lang))?;
        (series_csv(&points), serde_json::to_string_pretty(&points))
    } else {
        let rows = Breakdown::from_name(name)
            .ok_or_else(missing)?
            .rows(&desk.cdn, &query)
            .await
            .map_err(|e| tell(e.into(), visit.lang))?;
        (rows_csv(&rows), serde_json::to_string_pretty(&rows))
    };
    let (media, text) = match kind {
        "csv" => ("text/csv; charset=utf-8", csv),
        "json" => ("application/json", json.map_err(WebError::internal)?),
        _ => return Err(missing()),
    };
    Response::builder()
        .header(header::CONTENT_TYPE, media)
        .header(
            header::CONTENT_DISPOSITION,
            format!("attachment; filename=\"{}-{name}.{kind}\"", site.slug),
        )
        .header(header::CACHE_CONTROL, "private, no-store")
        .body(text.into())
        .map_err(WebError::internal)
}
