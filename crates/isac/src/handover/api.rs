//! The JSON API of hand-overs.

use axum::extract::State;
use axum::http::StatusCode;
use base::OrgId;
use casework::api::page_request;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use web::{ApiJson, ApiPath, ApiQuery, Listing, Paging, Visit, WebResult};

use super::Handed;
use crate::cert::Desk;
use crate::cert::error::tell;
use crate::cert::shell::by;

/// The API's routes.
pub(crate) fn router(desk: Desk) -> OpenApiRouter<()> {
    OpenApiRouter::new()
        .routes(routes!(list_handovers, take_over))
        .routes(routes!(hand_over))
        .routes(routes!(list_keys, trust_key))
        .with_state(desk)
}

/// A hand-over.
#[derive(Debug, Serialize, ToSchema)]
struct HandoverView {
    /// Names it.
    id: String,
    /// The incident here.
    case: String,
    /// Whether it came in.
    incoming: bool,
    /// The other side.
    other: String,
    /// What the incident is called.
    subject: String,
    /// When, in microseconds since 1970.
    at: i64,
    /// The public key that signed, in hexadecimal.
    key: String,
    /// The signed envelope (DSSE 1.0), as JSON text.
    envelope: String,
}

impl From<Handed> for HandoverView {
    fn from(handed: Handed) -> Self {
        Self {
            id: handed.id,
            case: handed.case.to_string(),
            incoming: handed.incoming,
            other: handed.other,
            subject: handed.subject,
            at: handed.at.micros(),
            key: handed.key,
            envelope: handed.envelope,
        }
    }
}

/// To whom, and why.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewHandover {
    /// To whom.
    #[schema(min_length = 1, max_length = 500)]
    to: String,
    /// Why.
    #[schema(min_length = 1, max_length = 500)]
    reason: String,
}

/// An envelope to take over.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Taken {
    /// The organisation of this house that it befell.
    #[schema(value_type = String, format = "uuid")]
    org: OrgId,
    /// The envelope, as JSON text.
    envelope: String,
}

/// The case that was made.
#[derive(Debug, Serialize, ToSchema)]
struct TakenCase {
    /// The incident here.
    case: String,
}

/// Keys.
#[derive(Debug, Serialize, ToSchema)]
struct Keys {
    /// The public key of this house, in hexadecimal.
    own: String,
    /// Keys that are trusted.
    trusted: Vec<KeyView>,
}

/// A key that is trusted.
#[derive(Debug, Serialize, ToSchema)]
struct KeyView {
    /// The public key, in hexadecimal.
    key: String,
    /// Whose it is.
    name: String,
}

/// A key to trust.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewKey {
    /// The public key, in hexadecimal.
    #[schema(min_length = 64, max_length = 64)]
    key: String,
    /// Whose it is; absent: it is trusted no longer.
    #[serde(default)]
    name: Option<String>,
}

/// Hand-overs in and out, the newest first.
#[utoipa::path(get, path = "/api/v1/handovers", tag = "incidents", params(Paging), responses((status = 200, body = Listing<HandoverView>)))]
async fn list_handovers(
    State(desk): State<Desk>,
    visit: Visit,
    ApiQuery(paging): ApiQuery<Paging>,
) -> WebResult<ApiJson<Listing<HandoverView>>> {
    let page = desk
        .cert
        .handovers(&page_request(&paging)?)
        .await
        .map_err(|e| tell(e, visit.lang))?;
    Ok(ApiJson(Listing {
        items: page.items.into_iter().map(HandoverView::from).collect(),
        next: page.next,
    }))
}

/// Hands an incident over to another CERT, signed.
#[utoipa::path(post, path = "/api/v1/incidents/{case}/handover", tag = "incidents", request_body = NewHandover, params(("case" = String, Path, format = "uuid")), responses((status = 201, body = HandoverView)))]
async fn hand_over(
    State(desk): State<Desk>,
    visit: Visit,
    ApiPath(case): ApiPath<String>,
    ApiJson(new): ApiJson<NewHandover>,
) -> WebResult<(StatusCode, ApiJson<HandoverView>)> {
    let incident = desk.incident(&visit, &case).await?;
    visit.principal.require("incident:review", incident.org)?;
    let from = desk.publisher().name;
    let handed = desk
        .cert
        .hand_over(&by(&visit)?, &incident, &from, &new.to, &new.reason)
        .await
        .map_err(|e| tell(e, visit.lang))?;
    Ok((StatusCode::CREATED, ApiJson(handed.into())))
}

/// Takes over an incident that another CERT handed over. The same envelope again gives the same case.
#[utoipa::path(post, path = "/api/v1/handovers", tag = "incidents", request_body = Taken, responses((status = 201, body = TakenCase)))]
async fn take_over(
    State(desk): State<Desk>,
    visit: Visit,
    ApiJson(taken): ApiJson<Taken>,
) -> WebResult<(StatusCode, ApiJson<TakenCase>)> {
    visit.house().accounts.org(taken.org).await?;
    let case = desk
        .cert
        .take_over(&by(&visit)?, taken.org, &taken.envelope)
        .await
        .map_err(|e| tell(e, visit.lang))?;
    let case = case.to_string();
    Ok((StatusCode::CREATED, ApiJson(TakenCase { case })))
}

/// The key of this house and those that it trusts.
#[utoipa::path(get, path = "/api/v1/handover-keys", tag = "incidents", responses((status = 200, body = Keys)))]
async fn list_keys(State(desk): State<Desk>, visit: Visit) -> WebResult<ApiJson<Keys>> {
    let told = |e| tell(e, visit.lang);
    let own = desk.cert.handover_key().await.map_err(told)?;
    let trusted = desk.cert.trusted().await.map_err(told)?;
    Ok(ApiJson(Keys {
        own,
        trusted: trusted
            .into_iter()
            .map(|one| KeyView {
                key: one.key,
                name: one.name,
            })
            .collect(),
    }))
}

/// Trusts a key by name, or no longer.
#[utoipa::path(put, path = "/api/v1/handover-keys", tag = "incidents", request_body = NewKey, responses((status = 204)))]
async fn trust_key(
    State(desk): State<Desk>,
    visit: Visit,
    ApiJson(new): ApiJson<NewKey>,
) -> WebResult<StatusCode> {
    desk.cert
        .trust(&by(&visit)?, &new.key, new.name.as_deref())
        .await
        .map_err(|e| tell(e, visit.lang))?;
    Ok(StatusCode::NO_CONTENT)
}
