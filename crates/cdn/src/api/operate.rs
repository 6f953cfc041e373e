//! Claims to names, and what operators do: nodes, drains and the dispatch map.

use axum::extract::State;
use axum::http::StatusCode;
use casework::api::{at_most, page_request};
use web::{ApiJson, ApiPath, ApiQuery, Listing, Paging, Visit, WebError, WebResult};

use super::NOTE_CHARS_MAX;
use super::views::{
    ClaimRequest, ClaimView, DrainRequest, DrainView, MapView, NewMap, OrgQuery, PublishedView,
};
use crate::room::{Desk, by, node_name, tell};
use crate::seams::NodeView;

/// Names that an organisation claims, with their proofs.
#[utoipa::path(get, path = "/api/v1/claims", tag = "sites", params(OrgQuery), responses((status = 200, body = Vec<ClaimView>)))]
pub(super) async fn list_claims(
    State(desk): State<Desk>,
    visit: Visit,
    ApiQuery(query): ApiQuery<OrgQuery>,
) -> WebResult<ApiJson<Vec<ClaimView>>> {
    visit.principal.require("claim:manage", query.org)?;
    let claims = desk
        .cdn
        .all_claims(query.org)
        .await
        .map_err(|e| tell(e, visit.lang))?;
    Ok(ApiJson(
        claims
            .into_iter()
            .map(|claim| ClaimView::of(&desk, claim))
            .collect(),
    ))
}

/// Claims a name for an organisation; the answer says how to prove it.
#[utoipa::path(post, path = "/api/v1/claims", tag = "sites", request_body = ClaimRequest, responses((status = 201, body = ClaimView)))]
pub(super) async fn create_claim(
    State(desk): State<Desk>,
    visit: Visit,
    ApiJson(request): ApiJson<ClaimRequest>,
) -> WebResult<(StatusCode, ApiJson<ClaimView>)> {
    visit.principal.require("claim:manage", request.org)?;
    let mut claims = desk
        .cdn
        .claims(request.org, &[request.host])
        .await
        .map_err(|e| tell(e, visit.lang))?;
    let claim = claims
        .pop()
        .ok_or_else(|| WebError::internal("a claim was made and is not there"))?;
    Ok((StatusCode::CREATED, ApiJson(ClaimView::of(&desk, claim))))
}

/// Looks for the proof of a claim now.
#[utoipa::path(post, path = "/api/v1/claims/check", tag = "sites", request_body = ClaimRequest, responses((status = 200, body = ClaimView)))]
pub(super) async fn check_claim(
    State(desk): State<Desk>,
    visit: Visit,
    ApiJson(request): ApiJson<ClaimRequest>,
) -> WebResult<ApiJson<ClaimView>> {
    visit.principal.require("claim:manage", request.org)?;
    let claim = desk
        .cdn
        .prove(&by(&visit)?, request.org, &request.host)
        .await
        .map_err(|e| tell(e, visit.lang))?;
    Ok(ApiJson(ClaimView::of(&desk, claim)))
}

/// Every node with the snapshots that it runs.
#[utoipa::path(get, path = "/api/v1/nodes", tag = "operations", responses((status = 200, body = Vec<NodeView>)))]
pub(super) async fn list_nodes(
    State(desk): State<Desk>,
    visit: Visit,
) -> WebResult<ApiJson<Vec<NodeView>>> {
    Ok(ApiJson(
        desk.cdn
            .nodes()
            .nodes()
            .await
            .map_err(|e| tell(e.into(), visit.lang))?,
    ))
}

/// The snapshots that nodes should run.
#[utoipa::path(get, path = "/api/v1/published", tag = "operations", responses((status = 200, body = Vec<PublishedView>)))]
pub(super) async fn list_published(
    State(desk): State<Desk>,
    visit: Visit,
) -> WebResult<ApiJson<Vec<PublishedView>>> {
    let published = desk
        .cdn
        .published()
        .await
        .map_err(|e| tell(e, visit.lang))?;
    let view = |one: crate::Published| PublishedView {
        role: one.role.to_string(),
        version: one.version,
        at: one.at.micros(),
        error: one.error,
    };
    Ok(ApiJson(published.into_iter().map(view).collect()))
}

/// Edges that are drained.
#[utoipa::path(get, path = "/api/v1/drains", tag = "operations", responses((status = 200, body = Vec<DrainView>)))]
pub(super) async fn list_drains(
    State(desk): State<Desk>,
    visit: Visit,
) -> WebResult<ApiJson<Vec<DrainView>>> {
    let drains = desk.cdn.drains().await.map_err(|e| tell(e, visit.lang))?;
    let view = |drain: crate::Drain| DrainView {
        node: drain.node.to_string(),
        reason: drain.reason,
        at: drain.at.micros(),
    };
    Ok(ApiJson(drains.into_iter().map(view).collect()))
}

/// Takes an edge out of service.
#[utoipa::path(put, path = "/api/v1/drains/{node}", tag = "operations", request_body = DrainRequest, params(("node" = String, Path, max_length = 63)), responses((status = 204)))]
pub(super) async fn drain(
    State(desk): State<Desk>,
    visit: Visit,
    ApiPath(node): ApiPath<String>,
    ApiJson(request): ApiJson<DrainRequest>,
) -> WebResult<StatusCode> {
    at_most("reason", &request.reason, NOTE_CHARS_MAX)?;
    desk.cdn
        .drain(&by(&visit)?, &node_name(&node)?, &request.reason)
        .await
        .map_err(|e| tell(e, visit.lang))?;
    Ok(StatusCode::NO_CONTENT)
}

/// Brings a drained edge back.
#[utoipa::path(delete, path = "/api/v1/drains/{node}", tag = "operations", params(("node" = String, Path, max_length = 63)), responses((status = 204)))]
pub(super) async fn undrain(
    State(desk): State<Desk>,
    visit: Visit,
    ApiPath(node): ApiPath<String>,
) -> WebResult<StatusCode> {
    desk.cdn
        .undrain(&by(&visit)?, &node_name(&node)?)
        .await
        .map_err(|e| tell(e, visit.lang))?;
    Ok(StatusCode::NO_CONTENT)
}

/// The dispatch map in force.
#[utoipa::path(get, path = "/api/v1/dispatch-map", tag = "operations", responses((status = 200, body = MapView)))]
pub(super) async fn get_dispatch_map(
    State(desk): State<Desk>,
    visit: Visit,
) -> WebResult<ApiJson<MapView>> {
    Ok(ApiJson(
        desk.cdn
            .dispatch_map(None)
            .await
            .map_err(|e| tell(e, visit.lang))?
            .into(),
    ))
}

/// Puts a new dispatch map in force.
#[utoipa::path(put, path = "/api/v1/dispatch-map", tag = "operations", request_body = NewMap, responses((status = 200, body = MapView)))]
pub(super) async fn put_dispatch_map(
    State(desk): State<Desk>,
    visit: Visit,
    ApiJson(new): ApiJson<NewMap>,
) -> WebResult<ApiJson<MapView>> {
    at_most("note", &new.note, NOTE_CHARS_MAX)?;
    let version = desk
        .cdn
        .save_dispatch_map(&by(&visit)?, new.base, &new.map, &new.note)
        .await
        .map_err(|e| tell(e, visit.lang))?;
    Ok(ApiJson(
        desk.cdn
            .dispatch_map(Some(version))
            .await
            .map_err(|e| tell(e, visit.lang))?
            .into(),
    ))
}

/// Versions of the dispatch map, newest first.
#[utoipa::path(get, path = "/api/v1/dispatch-map/versions", tag = "operations", params(Paging), responses((status = 200, body = Listing<MapView>)))]
pub(super) async fn list_dispatch_maps(
    State(desk): State<Desk>,
    visit: Visit,
    ApiQuery(paging): ApiQuery<Paging>,
) -> WebResult<ApiJson<Listing<MapView>>> {
    let page = desk
        .cdn
        .dispatch_maps(&page_request(&paging)?)
        .await
        .map_err(|e| tell(e, visit.lang))?;
    Ok(ApiJson(Listing {
        items: page.items.into_iter().map(MapView::from).collect(),
        next: page.next,
    }))
}
