//! Who sends to whom.

use axum::extract::{Path, State};
use casework::body::{Body, show};
use web::ui::{self, Column, Icon, Markup, Table};
use web::{ApiQuery, Visit, WebError, WebResult};

use super::super::ask::Range;
use super::super::catalogue::Subject;
use super::super::export::{file, matrix_csv};
use super::super::picture;
use super::super::room::Desk;
use super::{Seen, away, bits, matrix_of, spans, tabs};

/// Pairs that the page shows; the export has all.
const ROWS_MAX: usize = 200;

pub(super) async fn page(
    State(desk): State<Desk>,
    visit: Visit,
    ApiQuery(range): ApiQuery<Range>,
) -> WebResult {
    let span = range.span(visit.now)?;
    let seen = Seen::of(&desk, &visit, Subject::Total).await?;
    let frame = visit
        .frame_titled(visit.t("traffic-tab-matrix"))
        .crumb("/exchange/traffic", visit.t("nav-traffic"));
    let mut body = Body::new()
        .add(tabs(&visit, "matrix"))
        .text(visit.t("traffic-matrix-intro"))
        .add(spans(&visit, "/exchange/traffic/matrix", &range));
    let pairs = match matrix_of(&desk, &seen, span).await {
        Ok(pairs) => pairs,
        Err(error) => return away(&visit, frame, body, &error),
    };
    let seconds = span.to.since(span.from).as_secs_f64().max(1.0);
    let picture = picture::matrix(
        &visit.t("traffic-matrix-picture"),
        &visit.t("traffic-unknown"),
        &seen.catalogue.names,
        &pairs,
        seconds,
    );
    body = body.add_some(picture);
    let name = |member: Option<base::MemberId>| {
        member
            .and_then(|id| seen.catalogue.names.get(&id).cloned())
            .unwrap_or_else(|| visit.t("traffic-unknown"))
    };
    let mut table = Table::new(visit.t("traffic-matrix-table"))
        .column(Column::text(visit.t("traffic-from")))
        .column(Column::text(visit.t("traffic-to")))
        .column(Column::number(visit.t("traffic-rate")))
        .column(Column::number(visit.t("traffic-octets")))
        .column(Column::number(visit.t("traffic-v6")))
        .column(Column::number(visit.t("traffic-samples")))
        .empty(ui::empty(
            Icon::Chart,
            visit.t("traffic-matrix-none-title"),
            visit.t("traffic-matrix-none-text"),
            None,
        ));
    let most = pairs
        .iter()
        .map(|pair| pair.octets)
        .max()
        .unwrap_or(1)
        .max(1) as f64;
    for pair in pairs.iter().take(ROWS_MAX) {
        let share = (pair.octets > 0).then(|| pair.octets_v6 as f64 / pair.octets as f64);
        table.push(vec![
            Markup::text(name(pair.from)),
            Markup::text(name(pair.to)),
            ui::bar(
                pair.octets as f64 / most,
                bits(pair.octets as f64 * 8.0 / seconds),
            ),
            Markup::text(ui::bytes(pair.octets.unsigned_abs())),
            Markup::text(ui::percent(share)),
            Markup::text(ui::number(pair.samples.unsigned_abs())),
        ]);
    }
    body = body.add(table);
    if pairs.len() > ROWS_MAX {
        let (shown, all) = (ROWS_MAX.to_string(), pairs.len().to_string());
        body = body.text(visit.ta("traffic-matrix-more", &[("shown", &shown), ("all", &all)]));
    }
    let query = format!("from={}&to={}", span.from.seconds(), span.to.seconds());
    let links = ["csv", "json"].map(|kind| {
        ui::button_link(
            format!("/exchange/traffic/matrix/matrix.{kind}?{query}"),
            kind.to_uppercase(),
        )
    });
    show(frame, body.group("actions", links))
}

/// `matrix.csv`, `matrix.json`.
pub(super) async fn export(
    State(desk): State<Desk>,
    visit: Visit,
    Path(name): Path<String>,
    ApiQuery(range): ApiQuery<Range>,
) -> WebResult {
    if !name.starts_with("matrix.") {
        return Err(WebError::not_found("export", &name));
    }
    let seen = Seen::of(&desk, &visit, Subject::Total).await?;
    let pairs = matrix_of(&desk, &seen, range.span(visit.now)?).await?;
    file(&name, matrix_csv(&seen.catalogue, &pairs), &pairs)
}
