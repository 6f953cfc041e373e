//! The JSON API of warning lists.

use axum::extract::State as Shared;
use casework::api::{at_most, page_request};
use serde::{Deserialize, Serialize};
use store::Actor;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use web::{ApiJson, ApiPath, ApiQuery, Listing, Paging, Visit, WebError, WebResult};

use super::api::tell;
use super::engine::Enforcements;
use super::kept_lists::Kept;
use super::lists::{Document, Effect};

/// Characters of a part of an entry that is looked for.
const PART_CHARS_MAX: usize = 1_000;

pub(super) fn router() -> OpenApiRouter<Enforcements> {
    OpenApiRouter::new()
        .routes(routes!(list_warning_lists))
        .routes(routes!(
            get_warning_list,
            put_warning_list,
            drop_warning_list
        ))
        .routes(routes!(list_warning_list_entries))
}

/// A warning list.
#[derive(Debug, Serialize, ToSchema)]
struct WarningListView {
    /// Under which name it is kept.
    name: String,
    /// Its title.
    title: String,
    /// What it is for.
    about: String,
    /// How entries are compared: `string`, `substring`, `hostname`, `cidr` or `regex`, as with MISP.
    kind: String,
    /// `never`: what hits it is never blocked; `ask`: a person decides; `off`: it is not obeyed.
    effect: String,
    /// Its version, as its document says.
    version: i64,
    /// How many entries it has.
    entries: u64,
    /// Whether it comes with the program: then only its effect can be changed.
    built_in: bool,
    /// When it was changed last, in microseconds since 1970.
    made_at: Option<i64>,
}

impl From<Kept> for WarningListView {
    fn from(kept: Kept) -> Self {
        Self {
            kind: kept.kind.name().to_owned(),
            effect: kept.effect.name().to_owned(),
            made_at: kept.made_at.map(base::Timestamp::micros),
            built_in: kept.is_built_in,
            name: kept.name,
            title: kept.title,
            about: kept.about,
            version: kept.version,
            entries: kept.entries,
        }
    }
}

/// A warning list to keep.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PutWarningList {
    /// `never`, `ask` or `off`.
    #[schema(value_type = String)]
    effect: Effect,
    /// The list as MISP writes it (`name`, `description`, `version`, `type`, `list`); none: the effect alone is changed.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    list: Option<Document>,
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Part {
    /// What the entries hold.
    #[serde(default)]
    #[param(max_length = 1000)]
    q: Option<String>,
}

/// Warning lists, the built-in ones first.
#[utoipa::path(get, path = "/api/v1/enforcement-lists", tag = "enforcement", responses((status = 200, body = Listing<WarningListView>)))]
async fn list_warning_lists(
    Shared(desk): Shared<Enforcements>,
    _visit: Visit,
) -> WebResult<ApiJson<Listing<WarningListView>>> {
    let all = desk.lists().await.map_err(tell)?;
    Ok(ApiJson(Listing {
        items: all.into_iter().map(WarningListView::from).collect(),
        next: None,
    }))
}

/// One warning list.
#[utoipa::path(get, path = "/api/v1/enforcement-lists/{name}", tag = "enforcement", params(("name" = String, Path)), responses((status = 200, body = WarningListView)))]
async fn get_warning_list(
    Shared(desk): Shared<Enforcements>,
    _visit: Visit,
    ApiPath(name): ApiPath<String>,
) -> WebResult<ApiJson<WarningListView>> {
    Ok(ApiJson(desk.list(&name).await.map_err(tell)?.into()))
}

/// Entries of a warning list.
#[utoipa::path(get, path = "/api/v1/enforcement-lists/{name}/entries", tag = "enforcement", params(("name" = String, Path), Part, Paging), responses((status = 200, body = Listing<String>)))]
async fn list_warning_list_entries(
    Shared(desk): Shared<Enforcements>,
    _visit: Visit,
    ApiPath(name): ApiPath<String>,
    ApiQuery(part): ApiQuery<Part>,
    ApiQuery(paging): ApiQuery<Paging>,
) -> WebResult<ApiJson<Listing<String>>> {
    let q = part.q.unwrap_or_default();
    at_most("q", &q, PART_CHARS_MAX)?;
    let page = desk
        .list_entries(&name, &q, &page_request(&paging)?)
        .await
        .map_err(tell)?;
    Ok(ApiJson(Listing {
        items: page.items,
        next: page.next,
    }))
}

/// Keeps a warning list in the place of the one of that name, or changes its effect.
#[utoipa::path(put, path = "/api/v1/enforcement-lists/{name}", tag = "enforcement", request_body = PutWarningList, params(("name" = String, Path)), responses((status = 200, body = WarningListView)))]
async fn put_warning_list(
    Shared(desk): Shared<Enforcements>,
    visit: Visit,
    ApiPath(name): ApiPath<String>,
    ApiJson(put): ApiJson<PutWarningList>,
) -> WebResult<ApiJson<WarningListView>> {
    let by = Actor::User(visit.principal.signed_in()?);
    let request = Some(visit.request_id.as_str());
    match &put.list {
        Some(list) if list.list.is_empty() => {
            return Err(WebError::field(
                "list",
                "required",
                "must have at least one entry",
            ));
        }
        Some(list) => {
            desk.put_list(by, request, &name, put.effect, list)
                .await
                .map_err(tell)?;
        }
        None => desk
            .set_list_effect(by, request, &name, put.effect)
            .await
            .map_err(tell)?,
    }
    Ok(ApiJson(desk.list(&name).await.map_err(tell)?.into()))
}

/// Throws a warning list away; built-in ones can only be switched off.
#[utoipa::path(delete, path = "/api/v1/enforcement-lists/{name}", tag = "enforcement", params(("name" = String, Path)), responses((status = 200, body = WarningListView)))]
async fn drop_warning_list(
    Shared(desk): Shared<Enforcements>,
    visit: Visit,
    ApiPath(name): ApiPath<String>,
) -> WebResult<ApiJson<WarningListView>> {
    let by = Actor::User(visit.principal.signed_in()?);
    let kept = desk.list(&name).await.map_err(tell)?;
    desk.drop_list(by, Some(&visit.request_id), &name)
        .await
        .map_err(tell)?;
    Ok(ApiJson(kept.into()))
}
