//! The API on the whole model: its document, exports and imports.

use axum::extract::State;
use axum::http::{Method, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use web::{ApiJson, ApiPath, ApiQuery, RoutePermission, Visit, WebError, WebResult};

use crate::room::csv::Report;
use crate::room::shell::{Desk, by, kind_of};

pub(super) fn router() -> OpenApiRouter<Desk> {
    OpenApiRouter::new()
        .routes(routes!(get_document))
        .routes(routes!(get_ixf))
        .routes(routes!(get_csv, put_csv))
        .routes(routes!(import_peeringdb))
}

pub(super) fn permissions() -> Vec<RoutePermission> {
    let route = RoutePermission::new;
    vec![
        // The document holds the sessions' secrets.
        route(Method::GET, "/api/v1/exchange/document", "exchange:deploy"),
        route(Method::GET, "/api/v1/exchange/ixf", "public:view"),
        route(Method::GET, "/api/v1/exchange/{kind}/csv", "exchange:view"),
        route(Method::PUT, "/api/v1/exchange/{kind}/csv", "exchange:edit"),
        route(Method::POST, "/api/v1/exchange/peeringdb", "exchange:edit"),
    ]
}

/// A rule of the document that the model breaks.
#[derive(Debug, Serialize, ToSchema)]
struct DocumentProblem {
    /// The key in the document.
    key: String,
    /// The rule.
    rule: String,
}

/// The members' document.
#[derive(Debug, Serialize, ToSchema)]
struct DocumentView {
    /// The document, as `civicnet exchange render` takes it.
    #[schema(value_type = Object)]
    document: Value,
    /// Rules that it breaks; empty: it can be applied.
    problems: Vec<DocumentProblem>,
}

/// The members' document as the model says at present, with secrets.
#[utoipa::path(get, path = "/api/v1/exchange/document", tag = "exchange", responses((status = 200, body = DocumentView)))]
async fn get_document(State(desk): State<Desk>, visit: Visit) -> WebResult<ApiJson<DocumentView>> {
    let compiled = desk
        .exchange
        .compile(visit.now)
        .await
        .map_err(desk.tell(&visit))?;
    let document = serde_json::to_value(&compiled.document).map_err(WebError::internal)?;
    Ok(ApiJson(DocumentView {
        document,
        problems: compiled
            .problems
            .into_iter()
            .map(|(key, rule)| DocumentProblem { key, rule })
            .collect(),
    }))
}

/// The IX-F member export, version 1.0, for the public.
#[utoipa::path(get, path = "/api/v1/exchange/ixf", tag = "exchange", security(()), responses((status = 200, body = Object)))]
async fn get_ixf(State(desk): State<Desk>, visit: Visit) -> WebResult<ApiJson<Value>> {
    let export = desk
        .exchange
        .ixf(visit.now)
        .await
        .map_err(desk.tell(&visit))?;
    Ok(ApiJson(export))
}

/// A CSV file for a browser or program.
pub(crate) fn csv_response(name: &str, text: String) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8".to_owned()),
        (
            header::CONTENT_DISPOSITION,
            format!("attachment; filename=\"{name}.csv\""),
        ),
    ];
    (headers, text).into_response()
}

/// All things of a kind as CSV, without what is sealed.
#[utoipa::path(get, path = "/api/v1/exchange/{kind}/csv", tag = "exchange", params(("kind" = String, Path)), responses((status = 200, body = String, content_type = "text/csv")))]
async fn get_csv(
    State(desk): State<Desk>,
    visit: Visit,
    ApiPath(kind): ApiPath<String>,
) -> WebResult {
    let kind = kind_of(&kind)?;
    let text = desk.exchange.csv(kind).await.map_err(desk.tell(&visit))?;
    Ok(csv_response(kind.path(), text))
}

/// How an import is meant.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ImportQuery {
    /// Do it; without this, only tell what would be done.
    #[serde(default)]
    apply: bool,
}

/// One change of an import.
#[derive(Debug, Serialize, ToSchema)]
struct ImportChange {
    /// `create` or `update`.
    action: &'static str,
    /// The kind.
    kind: &'static str,
    /// The thing.
    label: String,
}

/// What is wrong with a line, or with an object by its number.
#[derive(Debug, Serialize, ToSchema)]
struct ImportProblem {
    /// The line or object, from 1.
    line: usize,
    /// The column or field.
    column: String,
    /// The value.
    value: String,
    /// The rule's name.
    rule: &'static str,
    /// The rule in words.
    message: String,
}

/// What an import would do, or did.
#[derive(Debug, Serialize, ToSchema)]
struct ImportView {
    /// Whether it was done.
    applied: bool,
    /// Things made.
    created: usize,
    /// Things changed.
    updated: usize,
    /// Things that are as the file says already.
    unchanged: usize,
    /// The first changes.
    changes: Vec<ImportChange>,
    /// Everything wrong; then nothing was changed.
    problems: Vec<ImportProblem>,
}

impl ImportView {
    fn of(report: Report, lang: &str) -> Self {
        Self {
            applied: report.applied,
            created: report.created,
            updated: report.updated,
            unchanged: report.unchanged,
            changes: report
                .changes
                .into_iter()
                .map(|(action, kind, label)| ImportChange {
                    action,
                    kind: kind.path(),
                    label,
                })
                .collect(),
            problems: report
                .problems
                .into_iter()
                .map(|wrong| ImportProblem {
                    line: wrong.line,
                    message: wrong.problem.message.of(lang).to_owned(),
                    column: wrong.problem.field,
                    value: wrong.problem.value,
                    rule: wrong.problem.rule,
                })
                .collect(),
        }
    }
}

fn text_of(bytes: &Bytes) -> WebResult<&str> {
    std::str::from_utf8(bytes).map_err(|e| {
        WebError::field(
            "body",
            "utf-8",
            format!("is not UTF-8 from byte {} on", e.valid_up_to()),
        )
    })
}

/// Takes a CSV file of things of one kind: a preview unless `apply` is true.
#[utoipa::path(put, path = "/api/v1/exchange/{kind}/csv", tag = "exchange", request_body(content = String, content_type = "text/csv"), params(("kind" = String, Path), ImportQuery), responses((status = 200, body = ImportView)))]
async fn put_csv(
    State(desk): State<Desk>,
    visit: Visit,
    ApiPath(kind): ApiPath<String>,
    ApiQuery(query): ApiQuery<ImportQuery>,
    body: Bytes,
) -> WebResult<ApiJson<ImportView>> {
    let kind = kind_of(&kind)?;
    let report = desk
        .exchange
        .import_csv(&by(&visit)?, kind, text_of(&body)?, query.apply)
        .await
        .map_err(desk.tell(&visit))?;
    Ok(ApiJson(ImportView::of(report, visit.lang.tag())))
}

/// Takes PeeringDB's `net`, `netixlan` and `poc` objects over: a preview unless `apply`
/// is true.
#[utoipa::path(post, path = "/api/v1/exchange/peeringdb", tag = "exchange", request_body(content = Object), params(ImportQuery), responses((status = 200, body = ImportView)))]
async fn import_peeringdb(
    State(desk): State<Desk>,
    visit: Visit,
    ApiQuery(query): ApiQuery<ImportQuery>,
    body: Bytes,
) -> WebResult<ApiJson<ImportView>> {
    let report = desk
        .exchange
        .import_peeringdb(&by(&visit)?, text_of(&body)?, query.apply)
        .await
        .map_err(desk.tell(&visit))?;
    Ok(ApiJson(ImportView::of(report, visit.lang.tag())))
}
