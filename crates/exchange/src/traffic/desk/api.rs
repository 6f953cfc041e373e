//! The JSON API of traffic.

use axum::extract::State;
use axum::http::StatusCode;
use base::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;
use web::{ApiJson, ApiPath, ApiQuery, Visit, WebError, WebResult};

use super::access::{Form, Watched};
use super::ask::Range;
use super::catalogue::Subject;
use super::faults::{away, told};
use super::pages::{Seen, matrix_of};
use super::room::Desk;
use super::seams::{Pair, Rates};
use crate::room::By;
use crate::traffic::forecast::Forecast;
use crate::traffic::percentile::Percentile;

/// The API's routes.
pub(super) fn router(desk: Desk) -> OpenApiRouter<()> {
    OpenApiRouter::new()
        .routes(routes!(total_series))
        .routes(routes!(series))
        .routes(routes!(summary))
        .routes(routes!(matrix))
        .routes(routes!(list_switches))
        .routes(routes!(put_switch))
        .with_state(desk)
}

fn subject(kind: &str, id: &str) -> WebResult<Subject> {
    Subject::parse(kind, id).ok_or_else(|| WebError::not_found("subject of traffic", id))
}

/// What all ports that you may see carried over time.
#[utoipa::path(get, path = "/api/v1/exchange/traffic", tag = "exchange", params(Range), responses((status = 200, body = Vec<Rates>)))]
async fn total_series(
    State(desk): State<Desk>,
    visit: Visit,
    ApiQuery(range): ApiQuery<Range>,
) -> WebResult<ApiJson<Vec<Rates>>> {
    let seen = Seen::of(&desk, &visit, Subject::Total).await?;
    Ok(ApiJson(seen.series(&desk, range.span(visit.now)?).await?))
}

/// What the ports of a site, switch, member or group, or one port, carried over time.
#[utoipa::path(get, path = "/api/v1/exchange/traffic/{kind}/{id}", tag = "exchange", params(("kind" = String, Path, description = "sites, switches, members, lags or ports"), ("id" = String, Path, format = "uuid"), Range), responses((status = 200, body = Vec<Rates>)))]
async fn series(
    State(desk): State<Desk>,
    visit: Visit,
    ApiPath((kind, id)): ApiPath<(String, String)>,
    ApiQuery(range): ApiQuery<Range>,
) -> WebResult<ApiJson<Vec<Rates>>> {
    let seen = Seen::of(&desk, &visit, subject(&kind, &id)?).await?;
    Ok(ApiJson(seen.series(&desk, range.span(visit.now)?).await?))
}

/// Capacity, the month's 95th percentile, and what is to be expected.
#[derive(Debug, Serialize, ToSchema)]
struct Summary {
    /// Ports that it stands for.
    ports: usize,
    /// Bits per second that they can carry.
    capacity_bps: f64,
    /// The month's 95th percentile (since its first day, Asia/Taipei).
    percentile: Percentile,
    /// When the month began.
    #[schema(value_type = i64)]
    month: Timestamp,
    /// What is to be expected; none: too few days are known.
    forecast: Option<Forecast>,
}

/// The month's 95th percentile and the forecast of the same.
#[utoipa::path(get, path = "/api/v1/exchange/traffic/{kind}/{id}/summary", tag = "exchange", params(("kind" = String, Path, description = "sites, switches, members, lags or ports"), ("id" = String, Path, format = "uuid")), responses((status = 200, body = Summary)))]
async fn summary(
    State(desk): State<Desk>,
    visit: Visit,
    ApiPath((kind, id)): ApiPath<(String, String)>,
) -> WebResult<ApiJson<Summary>> {
    let seen = Seen::of(&desk, &visit, subject(&kind, &id)?).await?;
    let (month, percentile) = seen.percentile(&desk, visit.now).await?;
    Ok(ApiJson(Summary {
        ports: seen.ports.len(),
        capacity_bps: seen.capacity_bps(),
        percentile,
        month,
        forecast: seen.forecast(&desk, visit.now).await?.1,
    }))
}

/// Who sent to whom: everybody's, or what concerns your members.
#[utoipa::path(get, path = "/api/v1/exchange/traffic-matrix", tag = "exchange", params(Range), responses((status = 200, body = Vec<Pair>)))]
async fn matrix(
    State(desk): State<Desk>,
    visit: Visit,
    ApiQuery(range): ApiQuery<Range>,
) -> WebResult<ApiJson<Vec<Pair>>> {
    let seen = Seen::of(&desk, &visit, Subject::Total).await?;
    let span = range.span(visit.now)?;
    Ok(ApiJson(matrix_of(&desk, &seen, span).await?))
}

/// How each switch is read; never its secrets.
#[utoipa::path(get, path = "/api/v1/exchange/traffic-switches", tag = "exchange", responses((status = 200, body = Vec<Watched>)))]
async fn list_switches(State(desk): State<Desk>, visit: Visit) -> WebResult<ApiJson<Vec<Watched>>> {
    let all = desk.traffic.watched().await.map_err(told(visit.lang))?;
    Ok(ApiJson(all))
}

/// Says how a switch is to be read. Secrets that are left empty stay as they are.
#[utoipa::path(put, path = "/api/v1/exchange/traffic-switches/{switch}", tag = "exchange", params(("switch" = String, Path, format = "uuid")), request_body = Form, responses((status = 204)))]
async fn put_switch(
    State(desk): State<Desk>,
    visit: Visit,
    ApiPath(switch): ApiPath<String>,
    ApiJson(form): ApiJson<Form>,
) -> WebResult<StatusCode> {
    let id = Uuid::try_parse(&switch).map_err(|_| WebError::not_found("switch", &switch))?;
    let mut by = By::user(visit.principal.signed_in()?);
    by.request = Some(visit.request_id.clone());
    desk.traffic
        .watch(&by, id, &form)
        .await
        .map_err(told(visit.lang))?;
    Ok(StatusCode::NO_CONTENT)
}

/// For the pages: an error of the lake.
pub(super) fn lake_away(error: super::seams::SeamError) -> WebError {
    away(&error)
}
