//! The JSON API of the model. One set of operations serves every kind; what fields a
//! kind has, `GET /api/v1/exchange/kinds` says.

mod whole;

use axum::extract::State;
use axum::http::{Method, StatusCode};
use casework::api::page_request;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;
use web::{
    ApiJson, ApiPath, ApiQuery, Listing, Paging, RoutePermission, Visit, WebError, WebResult,
};

use super::history::Change;
use super::kind::Ty;
use super::shell::{Desk, by, id_of, kind_of, wanted_of};
use super::{Kind, Record, Values};

pub(crate) use whole::csv_response;

/// The API's routes.
pub(crate) fn router(desk: Desk) -> OpenApiRouter<()> {
    OpenApiRouter::new()
        .routes(routes!(list_kinds))
        .routes(routes!(list_things, create_thing))
        .routes(routes!(
            get_thing,
            replace_thing,
            change_thing,
            delete_thing
        ))
        .routes(routes!(restore_thing))
        .routes(routes!(list_history))
        .routes(routes!(undo_change))
        .merge(whole::router())
        .with_state(desk)
}

pub(crate) fn permissions() -> Vec<RoutePermission> {
    let route = RoutePermission::new;
    let things = "/api/v1/exchange/{kind}";
    let thing = "/api/v1/exchange/{kind}/{id}";
    let mut all = vec![
        route(Method::GET, "/api/v1/exchange/kinds", "exchange:view"),
        route(Method::GET, things, "exchange:view"),
        route(Method::POST, things, "exchange:edit"),
        route(Method::GET, thing, "exchange:view"),
        route(Method::PUT, thing, "exchange:edit"),
        route(Method::PATCH, thing, "exchange:edit"),
        route(Method::DELETE, thing, "exchange:edit"),
        route(
            Method::POST,
            "/api/v1/exchange/{kind}/{id}/restore",
            "exchange:edit",
        ),
        route(Method::GET, "/api/v1/exchange/history", "exchange:view"),
        route(
            Method::POST,
            "/api/v1/exchange/history/{change}/undo",
            "exchange:edit",
        ),
    ];
    all.extend(whole::permissions());
    all
}

/// A field of a kind.
#[derive(Debug, Serialize, ToSchema)]
struct FieldView {
    /// Its name.
    name: &'static str,
    /// How it is written: `line`, `integer`, `choice`, `reference`, `secret`, …
    r#type: &'static str,
    /// Whether it must have a value.
    required: bool,
    /// The value that it takes when it is not sent.
    default: Option<&'static str>,
    /// The values of a choice.
    choices: Vec<String>,
    /// The kind that a reference names.
    refers_to: Option<Kind>,
}

/// A kind of thing and its fields.
#[derive(Debug, Serialize, ToSchema)]
struct KindView {
    /// Its name in paths.
    kind: &'static str,
    /// Its fields.
    fields: Vec<FieldView>,
}

/// The kinds of things and their fields.
#[utoipa::path(get, path = "/api/v1/exchange/kinds", tag = "exchange", responses((status = 200, body = Listing<KindView>)))]
async fn list_kinds() -> ApiJson<Listing<KindView>> {
    let items = Kind::ALL
        .into_iter()
        .map(|kind| KindView {
            kind: kind.path(),
            fields: kind
                .fields()
                .iter()
                .map(|field| FieldView {
                    name: field.name,
                    r#type: type_name(field.ty),
                    required: field.required,
                    default: (!field.default.is_empty()).then_some(field.default),
                    choices: match field.ty {
                        Ty::Choice(choices) => choices.iter().map(|c| (*c).to_owned()).collect(),
                        Ty::Speed => super::kind::SPEEDS.iter().map(i64::to_string).collect(),
                        _ => Vec::new(),
                    },
                    refers_to: match field.ty {
                        Ty::Ref(other) => Some(other),
                        _ => None,
                    },
                })
                .collect(),
        })
        .collect();
    ApiJson(Listing { items, next: None })
}

const fn type_name(ty: Ty) -> &'static str {
    match ty {
        Ty::Line(_) => "line",
        Ty::Area(_) => "text",
        Ty::Slug => "slug",
        Ty::Name(_) => "name",
        Ty::Int(..) => "integer",
        Ty::Bool => "boolean",
        Ty::Choice(_) => "choice",
        Ty::Ref(_) => "reference",
        Ty::Org => "organisation",
        Ty::V4 => "ipv4",
        Ty::V6 => "ipv6",
        Ty::Ip => "ip",
        Ty::Net4 => "ipv4-prefix",
        Ty::Net6 => "ipv6-prefix",
        Ty::Mac => "mac",
        Ty::Speed => "speed",
        Ty::Asn => "asn",
        Ty::AsSet => "as-set",
        Ty::Sources => "registries",
        Ty::Email => "email",
        Ty::Url => "url",
        Ty::Moment => "moment",
        Ty::Date => "date",
        Ty::Degrees(_) => "degrees",
        Ty::Policy => "policy",
        Ty::Secret => "secret",
        Ty::Personal(_) => "personal",
    }
}

/// A thing.
#[derive(Debug, Serialize, ToSchema)]
struct ThingView {
    /// Which.
    #[schema(value_type = String, format = "uuid")]
    id: Uuid,
    /// What people call it; references may use it in place of the id.
    label: String,
    /// Grows with every change.
    revision: i64,
    /// When it was made, in microseconds since 1970.
    created_at: i64,
    /// When it was last changed.
    updated_at: i64,
    /// When it was deleted.
    deleted_at: Option<i64>,
    /// Its fields by name. A secret is `true` or null.
    #[schema(value_type = Object)]
    fields: Values,
}

impl From<Record> for ThingView {
    fn from(record: Record) -> Self {
        Self {
            id: record.id,
            label: record.label,
            revision: record.revision,
            created_at: record.created_at.micros(),
            updated_at: record.updated_at.micros(),
            deleted_at: record.deleted_at.map(base::Timestamp::micros),
            fields: record.values,
        }
    }
}

/// What a list may be asked for, besides its fields by name.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "read from the pairs, with the fields")]
struct ListQuery {
    /// Words that the label or a text holds.
    #[param(max_length = 100)]
    q: Option<String>,
    /// Deleted things instead of those that are there.
    deleted: Option<bool>,
}

/// Things of a kind, by label. Any field's name is a filter: `?member=<id>`.
#[utoipa::path(get, path = "/api/v1/exchange/{kind}", tag = "exchange", params(("kind" = String, Path, description = "as `/api/v1/exchange/kinds` lists them"), ListQuery, Paging), responses((status = 200, body = Listing<ThingView>)))]
async fn list_things(
    State(desk): State<Desk>,
    visit: Visit,
    ApiPath(kind): ApiPath<String>,
    ApiQuery(pairs): ApiQuery<Vec<(String, String)>>,
    ApiQuery(paging): ApiQuery<Paging>,
) -> WebResult<ApiJson<Listing<ThingView>>> {
    let kind = kind_of(&kind)?;
    let wanted = wanted_of(&visit, kind, &pairs)?;
    let page = desk
        .exchange
        .list(kind, &wanted, &page_request(&paging)?)
        .await
        .map_err(desk.tell(&visit))?;
    Ok(ApiJson(Listing {
        items: page.items.into_iter().map(ThingView::from).collect(),
        next: page.next,
    }))
}

/// Makes a thing. An address may be `auto`: the next free one of the LAN.
#[utoipa::path(post, path = "/api/v1/exchange/{kind}", tag = "exchange", request_body(content = Object), params(("kind" = String, Path)), responses((status = 201, body = ThingView)))]
async fn create_thing(
    State(desk): State<Desk>,
    visit: Visit,
    ApiPath(kind): ApiPath<String>,
    ApiJson(given): ApiJson<Values>,
) -> WebResult<(StatusCode, ApiJson<ThingView>)> {
    let kind = kind_of(&kind)?;
    let tell = desk.tell(&visit);
    let mut tx = desk.exchange.begin().await.map_err(&tell)?;
    let record = desk
        .exchange
        .create(&mut tx, &by(&visit)?, kind, &given)
        .await
        .map_err(&tell)?;
    tx.commit().await.map_err(|e| tell(e.into()))?;
    Ok((StatusCode::CREATED, ApiJson(record.into())))
}

/// One thing, also a deleted one.
#[utoipa::path(get, path = "/api/v1/exchange/{kind}/{id}", tag = "exchange", params(("kind" = String, Path), ("id" = String, Path, format = "uuid")), responses((status = 200, body = ThingView)))]
async fn get_thing(
    State(desk): State<Desk>,
    visit: Visit,
    ApiPath((kind, id)): ApiPath<(String, String)>,
) -> WebResult<ApiJson<ThingView>> {
    Ok(ApiJson(desk.thing(&visit, &kind, &id).await?.into()))
}

/// Which revision a change is meant for.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct RevisionQuery {
    /// Refused with 409 unless it is the present one.
    revision: Option<i64>,
}

/// Gives a thing other values: all of them. A secret that is to stay is `true`.
#[utoipa::path(put, path = "/api/v1/exchange/{kind}/{id}", tag = "exchange", request_body(content = Object), params(("kind" = String, Path), ("id" = String, Path, format = "uuid"), RevisionQuery), responses((status = 200, body = ThingView)))]
async fn replace_thing(
    State(desk): State<Desk>,
    visit: Visit,
    ApiPath((kind, id)): ApiPath<(String, String)>,
    ApiQuery(query): ApiQuery<RevisionQuery>,
    ApiJson(given): ApiJson<Values>,
) -> WebResult<ApiJson<ThingView>> {
    let kind = kind_of(&kind)?;
    let id = id_of(kind, &id)?;
    let tell = desk.tell(&visit);
    let mut tx = desk.exchange.begin().await.map_err(&tell)?;
    let record = desk
        .exchange
        .update(&mut tx, &by(&visit)?, kind, id, query.revision, &given)
        .await
        .map_err(&tell)?;
    tx.commit().await.map_err(|e| tell(e.into()))?;
    Ok(ApiJson(record.into()))
}

/// Gives some fields of a thing other values.
#[utoipa::path(patch, path = "/api/v1/exchange/{kind}/{id}", tag = "exchange", request_body(content = Object), params(("kind" = String, Path), ("id" = String, Path, format = "uuid")), responses((status = 200, body = ThingView)))]
async fn change_thing(
    State(desk): State<Desk>,
    visit: Visit,
    ApiPath((kind, id)): ApiPath<(String, String)>,
    ApiJson(given): ApiJson<Values>,
) -> WebResult<ApiJson<ThingView>> {
    let kind = kind_of(&kind)?;
    let id = id_of(kind, &id)?;
    let tell = desk.tell(&visit);
    let fields: Vec<(&str, Value)> = given
        .iter()
        .map(|(name, value)| (name.as_str(), value.clone()))
        .collect();
    let mut tx = desk.exchange.begin().await.map_err(&tell)?;
    let record = desk
        .exchange
        .change(&mut tx, &by(&visit)?, kind, id, &fields)
        .await
        .map_err(&tell)?;
    tx.commit().await.map_err(|e| tell(e.into()))?;
    Ok(ApiJson(record.into()))
}

/// Deletes a thing that nothing refers to; it can be restored.
#[utoipa::path(delete, path = "/api/v1/exchange/{kind}/{id}", tag = "exchange", params(("kind" = String, Path), ("id" = String, Path, format = "uuid"), RevisionQuery), responses((status = 204)))]
async fn delete_thing(
    State(desk): State<Desk>,
    visit: Visit,
    ApiPath((kind, id)): ApiPath<(String, String)>,
    ApiQuery(query): ApiQuery<RevisionQuery>,
) -> WebResult<StatusCode> {
    let kind = kind_of(&kind)?;
    let id = id_of(kind, &id)?;
    let tell = desk.tell(&visit);
    let mut tx = desk.exchange.begin().await.map_err(&tell)?;
    desk.exchange
        .delete(&mut tx, &by(&visit)?, kind, id, query.revision)
        .await
        .map_err(&tell)?;
    tx.commit().await.map_err(|e| tell(e.into()))?;
    Ok(StatusCode::NO_CONTENT)
}

/// Brings a deleted thing back.
#[utoipa::path(post, path = "/api/v1/exchange/{kind}/{id}/restore", tag = "exchange", params(("kind" = String, Path), ("id" = String, Path, format = "uuid")), responses((status = 200, body = ThingView)))]
async fn restore_thing(
    State(desk): State<Desk>,
    visit: Visit,
    ApiPath((kind, id)): ApiPath<(String, String)>,
) -> WebResult<ApiJson<ThingView>> {
    let kind = kind_of(&kind)?;
    let id = id_of(kind, &id)?;
    let tell = desk.tell(&visit);
    let mut tx = desk.exchange.begin().await.map_err(&tell)?;
    let record = desk
        .exchange
        .restore(&mut tx, &by(&visit)?, kind, id)
        .await
        .map_err(&tell)?;
    tx.commit().await.map_err(|e| tell(e.into()))?;
    Ok(ApiJson(record.into()))
}

/// One field that changed.
#[derive(Debug, Serialize, ToSchema)]
struct FieldChange {
    /// The field.
    field: String,
    /// Its former value; `sealed` for what is not shown.
    before: Value,
    /// Its new value.
    after: Value,
}

/// One change.
#[derive(Debug, Serialize, ToSchema)]
struct ChangeView {
    /// Its number.
    #[schema(value_type = String, format = "uuid")]
    id: Uuid,
    /// What was changed.
    kind: Kind,
    /// Which.
    #[schema(value_type = String, format = "uuid")]
    thing: Uuid,
    /// What it was called after the change.
    label: String,
    /// Its revision after the change.
    revision: i64,
    /// When, in microseconds since 1970.
    at: i64,
    /// `user:…`, `node:…` or `system:…`.
    actor: String,
    /// `create`, `update`, `delete`, `restore`.
    action: String,
    /// What changed.
    fields: Vec<FieldChange>,
}

impl From<Change> for ChangeView {
    fn from(change: Change) -> Self {
        Self {
            id: change.id,
            kind: change.kind,
            thing: change.thing,
            label: change.label,
            revision: change.revision,
            at: change.at.micros(),
            actor: change.actor,
            action: change.action,
            fields: change
                .fields
                .into_iter()
                .map(|(field, before, after)| FieldChange {
                    field,
                    before,
                    after,
                })
                .collect(),
        }
    }
}

/// Whose history is wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct HistoryQuery {
    /// Only this thing's.
    #[param(value_type = Option<String>, format = "uuid")]
    thing: Option<Uuid>,
}

/// Changes of the model, newest first.
#[utoipa::path(get, path = "/api/v1/exchange/history", tag = "exchange", params(HistoryQuery, Paging), responses((status = 200, body = Listing<ChangeView>)))]
async fn list_history(
    State(desk): State<Desk>,
    visit: Visit,
    ApiQuery(query): ApiQuery<HistoryQuery>,
    ApiQuery(paging): ApiQuery<Paging>,
) -> WebResult<ApiJson<Listing<ChangeView>>> {
    let page = desk
        .exchange
        .history(query.thing, &page_request(&paging)?)
        .await
        .map_err(desk.tell(&visit))?;
    Ok(ApiJson(Listing {
        items: page.items.into_iter().map(ChangeView::from).collect(),
        next: page.next,
    }))
}

/// Takes the last change of a thing back.
#[utoipa::path(post, path = "/api/v1/exchange/history/{change}/undo", tag = "exchange", params(("change" = String, Path, format = "uuid")), responses((status = 200, body = ThingView)))]
async fn undo_change(
    State(desk): State<Desk>,
    visit: Visit,
    ApiPath(change): ApiPath<String>,
) -> WebResult<ApiJson<ThingView>> {
    let id: Uuid = change
        .parse()
        .map_err(|_| WebError::not_found("change", &change))?;
    let tell = desk.tell(&visit);
    let mut tx = desk.exchange.begin().await.map_err(&tell)?;
    let record = desk
        .exchange
        .undo(&mut tx, &by(&visit)?, id)
        .await
        .map_err(&tell)?;
    tx.commit().await.map_err(|e| tell(e.into()))?;
    Ok(ApiJson(record.into()))
}
