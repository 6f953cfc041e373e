//! Purges, preloads and figures of a site.

use axum::extract::State;
use axum::http::StatusCode;
use casework::api::{at_most, page_request};
use uuid::Uuid;
use web::{ApiJson, ApiPath, ApiQuery, Listing, Paging, Visit, WebError, WebResult};

use super::NOTE_CHARS_MAX;
use super::views::{OrderView, PreloadRequest, PurgeRequest, WholeOrder};
use crate::room::{Desk, by, tell};
use crate::seams::{StatsPoint, StatsRow};
use crate::stats;

/// Orders every edge to forget, or mark stale.
#[utoipa::path(post, path = "/api/v1/sites/{site}/purges", tag = "sites", request_body = PurgeRequest, params(("site" = String, Path, format = "uuid")), responses((status = 202, body = OrderView)))]
pub(super) async fn purge(
    State(desk): State<Desk>,
    visit: Visit,
    ApiPath(site): ApiPath<String>,
    ApiJson(request): ApiJson<PurgeRequest>,
) -> WebResult<(StatusCode, ApiJson<OrderView>)> {
    let (found, scope) = desk.site(&visit, &site, "site:purge").await?;
    at_most("reason", &request.reason, NOTE_CHARS_MAX)?;
    let placed = desk
        .cdn
        .purge(
            &scope,
            &by(&visit)?,
            found.id,
            request.what,
            &request.values,
            request.soft,
            &request.reason,
        )
        .await
        .map_err(|e| tell(e, visit.lang))?;
    Ok((StatusCode::ACCEPTED, ApiJson(placed.into())))
}

/// Orders every edge to fetch ahead of users.
#[utoipa::path(post, path = "/api/v1/sites/{site}/preloads", tag = "sites", request_body = PreloadRequest, params(("site" = String, Path, format = "uuid")), responses((status = 202, body = OrderView)))]
pub(super) async fn preload(
    State(desk): State<Desk>,
    visit: Visit,
    ApiPath(site): ApiPath<String>,
    ApiJson(request): ApiJson<PreloadRequest>,
) -> WebResult<(StatusCode, ApiJson<OrderView>)> {
    let (found, scope) = desk.site(&visit, &site, "site:purge").await?;
    at_most("reason", &request.reason, NOTE_CHARS_MAX)?;
    let placed = desk
        .cdn
        .preload(
            &scope,
            &by(&visit)?,
            found.id,
            &request.urls,
            request.sitemap.as_deref(),
            &request.reason,
        )
        .await
        .map_err(|e| tell(e, visit.lang))?;
    Ok((StatusCode::ACCEPTED, ApiJson(placed.into())))
}

/// Purges and preloads of a site, newest first.
#[utoipa::path(get, path = "/api/v1/sites/{site}/orders", tag = "sites", params(("site" = String, Path, format = "uuid"), Paging), responses((status = 200, body = Listing<OrderView>)))]
pub(super) async fn list_orders(
    State(desk): State<Desk>,
    visit: Visit,
    ApiPath(site): ApiPath<String>,
    ApiQuery(paging): ApiQuery<Paging>,
) -> WebResult<ApiJson<Listing<OrderView>>> {
    let (found, scope) = desk.site(&visit, &site, "site:view").await?;
    let page = desk
        .cdn
        .orders(&scope, found.id, &page_request(&paging)?)
        .await
        .map_err(|e| tell(e, visit.lang))?;
    Ok(ApiJson(Listing {
        items: page.items.into_iter().map(OrderView::from).collect(),
        next: page.next,
    }))
}

/// One order, and how far every edge is with it.
#[utoipa::path(get, path = "/api/v1/sites/{site}/orders/{order}", tag = "sites", params(("site" = String, Path, format = "uuid"), ("order" = String, Path, format = "uuid")), responses((status = 200, body = WholeOrder)))]
pub(super) async fn get_order(
    State(desk): State<Desk>,
    visit: Visit,
    ApiPath((site, order)): ApiPath<(String, String)>,
) -> WebResult<ApiJson<WholeOrder>> {
    let (found, scope) = desk.site(&visit, &site, "site:view").await?;
    let id = Uuid::try_parse(&order).map_err(|_| WebError::not_found("order", &order))?;
    let (order, progress) = desk
        .cdn
        .order(&scope, found.id, id)
        .await
        .map_err(|e| tell(e, visit.lang))?;
    Ok(ApiJson(WholeOrder {
        order: order.into(),
        progress,
    }))
}

/// Requests, bytes, hits and errors of a site over time.
#[utoipa::path(get, path = "/api/v1/sites/{site}/stats", tag = "sites", params(("site" = String, Path, format = "uuid"), stats::Range), responses((status = 200, body = Vec<StatsPoint>)))]
pub(super) async fn site_series(
    State(desk): State<Desk>,
    visit: Visit,
    ApiPath(site): ApiPath<String>,
    ApiQuery(range): ApiQuery<stats::Range>,
) -> WebResult<ApiJson<Vec<StatsPoint>>> {
    let (found, _) = desk.site(&visit, &site, "site:view").await?;
    let query = range.query(Some(found.id), visit.now)?;
    let points = desk
        .cdn
        .statistics()
        .series(&query)
        .await
        .map_err(|e| tell(e.into(), visit.lang))?;
    Ok(ApiJson(points))
}

/// Figures of a site by `urls`, `edges`, `networks` or `errors`.
#[utoipa::path(get, path = "/api/v1/sites/{site}/stats/{by}", tag = "sites", params(("site" = String, Path, format = "uuid"), ("by" = String, Path, max_length = 20), stats::Range), responses((status = 200, body = Vec<StatsRow>)))]
pub(super) async fn site_rows(
    State(desk): State<Desk>,
    visit: Visit,
    ApiPath((site, by)): ApiPath<(String, String)>,
    ApiQuery(range): ApiQuery<stats::Range>,
) -> WebResult<ApiJson<Vec<StatsRow>>> {
    let (found, _) = desk.site(&visit, &site, "site:view").await?;
    let query = range.query(Some(found.id), visit.now)?;
    let by =
        stats::Breakdown::from_name(&by).ok_or_else(|| WebError::not_found("breakdown", &by))?;
    Ok(ApiJson(
        by.rows(&desk.cdn, &query)
            .await
            .map_err(|e| tell(e.into(), visit.lang))?,
    ))
}
