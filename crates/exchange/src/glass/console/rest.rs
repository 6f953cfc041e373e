//! The JSON API of the looking glass.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use web::{ApiJson, ApiPath, ApiQuery, Visit, WebError, WebResult};

use super::desk::{AskError, Desk};
use super::pages::offset;
use crate::agent::Applied;
use crate::glass::api::{PAGE_MAX, SearchQuery};
use crate::glass::probe::{ProbeRequest, ProbeView};
use crate::glass::view::{ChangesView, RouteView, SessionView, StatusView};

/// The API's routes.
pub(super) fn router(desk: Desk) -> OpenApiRouter<()> {
    OpenApiRouter::new()
        .routes(routes!(list_sites))
        .routes(routes!(list_sessions))
        .routes(routes!(list_routes))
        .routes(routes!(list_changes))
        .routes(routes!(probe))
        .with_state(desk)
}

/// A site with a looking glass.
#[derive(Debug, Serialize, ToSchema)]
struct GlassSite {
    /// Name of the site.
    site: String,
    /// Name of its node.
    node: String,
    /// Whether the node is heard.
    online: bool,
    /// What became of the newest configuration.
    applied: Applied,
    /// How its glass is; absent when it does not answer.
    status: Option<StatusView>,
}

/// Sites with a looking glass.
#[utoipa::path(get, path = "/api/v1/exchange/glass", tag = "looking glass", security(()), responses((status = 200, body = Vec<GlassSite>)))]
async fn list_sites(State(desk): State<Desk>) -> ApiJson<Vec<GlassSite>> {
    let doors = desk.doors.doors().await;
    let asked = futures::future::join_all(doors.iter().map(|door| desk.status(door))).await;
    let sites = doors
        .into_iter()
        .zip(asked)
        .map(|(door, status)| GlassSite {
            site: door.site,
            node: door.node,
            online: door.online,
            applied: door.applied,
            status: status.ok(),
        });
    ApiJson(sites.collect())
}

/// Sessions of a site's route server.
#[utoipa::path(get, path = "/api/v1/exchange/glass/{site}/sessions", tag = "looking glass", security(()), params(("site" = String, Path, max_length = 60)), responses((status = 200, body = Vec<SessionView>)))]
async fn list_sessions(
    State(desk): State<Desk>,
    ApiPath(site): ApiPath<String>,
) -> WebResult<ApiJson<Vec<SessionView>>> {
    let door = desk.door(&site).await?;
    let sessions = desk.sessions(&door).await.map_err(AskError::tell)?;
    Ok(ApiJson(sessions))
}

/// What to search for; all conditions hold.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
struct RoutesQuery {
    /// A prefix or an address.
    #[param(max_length = 50)]
    prefix: Option<String>,
    /// `exact`, `longest`, `inside` or `covering`.
    #[param(max_length = 10)]
    matching: Option<String>,
    /// Origin AS.
    #[param(max_length = 12)]
    origin: Option<String>,
    /// An AS in the path.
    #[param(max_length = 12)]
    through: Option<String>,
    /// A community, `A:B` or `A:B:C`.
    #[param(max_length = 40)]
    community: Option<String>,
    /// Name of a session.
    #[param(max_length = 80)]
    session: Option<String>,
    /// `best`, `accepted` or `filtered`.
    #[param(max_length = 10)]
    state: Option<String>,
    /// Routes on a page.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<usize>,
    /// The `next` of the page before.
    #[param(max_length = 20)]
    cursor: Option<String>,
}

/// A page of routes.
#[derive(Debug, Serialize, ToSchema)]
struct RoutesPage {
    /// The routes.
    items: Vec<RouteView>,
    /// How many there are in all.
    total: usize,
    /// When the tables were taken, in Unix seconds.
    taken_at: u64,
    /// Cursor of the next page.
    next: Option<String>,
}

/// Routes of a site's route server, with reasons and labels.
#[utoipa::path(get, path = "/api/v1/exchange/glass/{site}/routes", tag = "looking glass", security(()), params(("site" = String, Path, max_length = 60), RoutesQuery), responses((status = 200, body = RoutesPage)))]
async fn list_routes(
    State(desk): State<Desk>,
    ApiPath(site): ApiPath<String>,
    ApiQuery(asked): ApiQuery<RoutesQuery>,
) -> WebResult<ApiJson<RoutesPage>> {
    let door = desk.door(&site).await?;
    let limit = asked.limit.unwrap_or(100);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(WebError::bad_request(format!(
            "limit {limit}: must be 1 to {PAGE_MAX}"
        )));
    }
    let offset = offset(asked.cursor.as_deref())?;
    let query = SearchQuery {
        prefix: asked.prefix,
        matching: asked.matching,
        origin: asked.origin,
        through: asked.through,
        community: asked.community,
        session: asked.session,
        state: asked.state,
        offset,
        limit: Some(limit),
    };
    let found = desk.search(&door, &query).await.map_err(AskError::tell)?;
    let end = offset + found.routes.len();
    Ok(ApiJson(RoutesPage {
        next: (end < found.total && !found.routes.is_empty()).then(|| end.to_string()),
        total: found.total,
        taken_at: found.taken_at,
        items: found.routes,
    }))
}

/// Which moments.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct BetweenQuery {
    /// The earlier moment, one of the site's, in Unix seconds.
    since: u64,
    /// The later moment; now without it.
    #[serde(default)]
    until: Option<u64>,
    /// Name of a session.
    #[serde(default)]
    #[param(max_length = 80)]
    session: Option<String>,
}

/// What differs between two moments of a site's tables; for members.
#[utoipa::path(get, path = "/api/v1/exchange/glass/{site}/changes", tag = "looking glass", params(("site" = String, Path, max_length = 60), BetweenQuery), responses((status = 200, body = ChangesView)))]
async fn list_changes(
    State(desk): State<Desk>,
    visit: Visit,
    ApiPath(site): ApiPath<String>,
    ApiQuery(asked): ApiQuery<BetweenQuery>,
) -> WebResult<ApiJson<ChangesView>> {
    desk.must_be_member(&visit).await?;
    let door = desk.door(&site).await?;
    let found = desk
        .changes(&door, asked.since, asked.until, asked.session.as_deref())
        .await
        .map_err(AskError::tell)?;
    Ok(ApiJson(found))
}

/// Pings or traces from a site; for members, a few times a minute.
#[utoipa::path(post, path = "/api/v1/exchange/glass/{site}/probes", tag = "looking glass", params(("site" = String, Path, max_length = 60)), request_body = ProbeRequest, responses((status = 200, body = ProbeView)))]
async fn probe(
    State(desk): State<Desk>,
    visit: Visit,
    ApiPath(site): ApiPath<String>,
    ApiJson(request): ApiJson<ProbeRequest>,
) -> WebResult<ApiJson<ProbeView>> {
    desk.must_be_member(&visit).await?;
    let door = desk.door(&site).await?;
    let view = desk
        .probe(&visit, &door, &request)
        .await?
        .map_err(AskError::tell)?;
    Ok(ApiJson(view))
}
