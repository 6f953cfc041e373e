//! Web hooks of organisations.

use axum::extract::State;
use axum::http::StatusCode;
use base::OrgId;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use web::{ApiJson, ApiPath, ApiQuery, Visit, WebResult};

use super::at_most;
use crate::engine::Casework;
use crate::room::{tell, who};

/// Characters of a web hook's URL.
const URL_CHARS_MAX: usize = 500;

pub(super) fn router() -> OpenApiRouter<Casework> {
    OpenApiRouter::new()
        .routes(routes!(list_webhooks, create_webhook))
        .routes(routes!(delete_webhook))
}

/// An organisation's web hook.
#[derive(Debug, Serialize, ToSchema)]
struct WebhookView {
    /// Names it.
    id: String,
    /// Where notifications go.
    url: String,
    /// When it was made, in microseconds since 1970.
    created_at: i64,
    /// The secret that signs them; shown only when it is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
}

/// A web hook to make.
#[derive(Debug, Deserialize, ToSchema)]
struct NewWebhook {
    /// The organisation.
    #[schema(value_type = String, format = "uuid")]
    org: OrgId,
    /// Where notifications go.
    #[schema(max_length = 500)]
    url: String,
}

/// Whose web hooks.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct OrgQuery {
    /// The organisation.
    #[param(value_type = String, format = "uuid")]
    org: OrgId,
}

/// The web hooks of an organisation.
#[utoipa::path(get, path = "/api/v1/webhooks", tag = "cases", params(OrgQuery), responses(
    (status = 200, body = Vec<WebhookView>)))]
async fn list_webhooks(
    State(casework): State<Casework>,
    visit: Visit,
    ApiQuery(query): ApiQuery<OrgQuery>,
) -> WebResult<ApiJson<Vec<WebhookView>>> {
    visit.principal.require("webhook:manage", query.org)?;
    let hooks = casework
        .webhooks(query.org)
        .await
        .map_err(|e| tell(e, visit.lang))?;
    let view = |hook: crate::delivery::Webhook| WebhookView {
        id: hook.id,
        url: hook.url,
        created_at: hook.created_at.micros(),
        secret: None,
    };
    Ok(ApiJson(hooks.into_iter().map(view).collect()))
}

/// Makes a web hook; its secret is in this answer only.
#[utoipa::path(post, path = "/api/v1/webhooks", tag = "cases", request_body = NewWebhook, responses(
    (status = 201, body = WebhookView)))]
async fn create_webhook(
    State(casework): State<Casework>,
    visit: Visit,
    ApiJson(new): ApiJson<NewWebhook>,
) -> WebResult<(StatusCode, ApiJson<WebhookView>)> {
    visit.principal.require("webhook:manage", new.org)?;
    at_most("url", &new.url, URL_CHARS_MAX)?;
    let (hook, secret) = casework
        .add_webhook(&who(&visit)?, new.org, &new.url)
        .await
        .map_err(|e| tell(e, visit.lang))?;
    Ok((
        StatusCode::CREATED,
        ApiJson(WebhookView {
            id: hook.id,
            url: hook.url,
            created_at: hook.created_at.micros(),
            secret: Some(secret),
        }),
    ))
}

/// Removes a web hook.
#[utoipa::path(delete, path = "/api/v1/webhooks/{webhook}", tag = "cases", params(("webhook" = String, Path, format = "uuid"), OrgQuery), responses(
    (status = 204)))]
async fn delete_webhook(
    State(casework): State<Casework>,
    visit: Visit,
    ApiPath(webhook): ApiPath<String>,
    ApiQuery(query): ApiQuery<OrgQuery>,
) -> WebResult<StatusCode> {
    visit.principal.require("webhook:manage", query.org)?;
    casework
        .remove_webhook(&who(&visit)?, query.org, &webhook)
        .await
        .map_err(|e| tell(e, visit.lang))?;
    Ok(StatusCode::NO_CONTENT)
}
