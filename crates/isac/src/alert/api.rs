//! The JSON API of alerts. Drafting and review are casework's: form `alert`.

use axum::extract::State;
use axum::http::StatusCode;
use base::{CaseId, OrgId, Timestamp};
use casework::api::{at_most, page_request};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use web::{ApiJson, ApiPath, ApiQuery, Listing, OrgScope, Paging, Visit, WebError, WebResult};

use super::csaf;
use super::list::{Alert, Recipient};
use super::replies::Reply;
use crate::cert::Desk;
use crate::cert::error::tell;
use crate::cert::shell::by;
use crate::kinds;

/// Characters of a remark.
const REMARK_CHARS_MAX: usize = 2_000;

/// The API's routes.
pub(crate) fn router(desk: Desk) -> OpenApiRouter<()> {
    OpenApiRouter::new()
        .routes(routes!(list_alerts))
        .routes(routes!(get_alert))
        .routes(routes!(get_alert_csaf))
        .routes(routes!(get_alert_stix))
        .routes(routes!(draft_from_stix))
        .routes(routes!(list_recipients))
        .routes(routes!(reply_to_alert))
        .with_state(desk)
}

/// An alert.
#[derive(Debug, Serialize, ToSchema)]
struct AlertView {
    /// Its case.
    #[schema(format = "uuid")]
    case: String,
    /// Names it to people.
    number: i64,
    /// `ana`, `ewa`, `def` or `int`.
    kind: String,
    /// What kind of such: one of the choices of the form's field `subkind_` and kind; empty for
    /// alerts from before there were any.
    subkind: String,
    /// TLP 2.0 label in lower case.
    tlp: String,
    /// How bad it is.
    severity: String,
    /// Its title.
    subject: String,
    /// What the form says.
    #[schema(value_type = Object)]
    document: Value,
    /// What members are asked to reply: `none`, `acknowledge` or `verdict`.
    reply: String,
    /// When it was published, in microseconds since 1970.
    published_at: i64,
    /// When replies are due.
    reply_due: Option<i64>,
    /// When it was retracted.
    retracted_at: Option<i64>,
    /// Members that it was sent to, as far as the reader may see them.
    recipients: i64,
    /// How many of them replied.
    replied: i64,
}

impl From<Alert> for AlertView {
    fn from(alert: Alert) -> Self {
        Self {
            case: alert.case.to_string(),
            number: alert.number.get(),
            subkind: alert.subkind().to_owned(),
            kind: alert.kind,
            tlp: alert.tlp,
            severity: alert.severity,
            subject: alert.subject,
            document: Value::Object(alert.document),
            reply: alert.reply,
            published_at: alert.published_at.micros(),
            reply_due: alert.reply_due.map(Timestamp::micros),
            retracted_at: alert.retracted_at.map(Timestamp::micros),
            recipients: alert.recipients,
            replied: alert.replied,
        }
    }
}

/// A member that an alert was sent to.
#[derive(Debug, Serialize, ToSchema)]
struct RecipientView {
    /// The member.
    org: String,
    /// When it was sent, in microseconds since 1970.
    sent_at: i64,
    /// When somebody there opened it first.
    read_at: Option<i64>,
    /// What was replied.
    reply: Option<Reply>,
    /// What was written with it.
    remark: String,
    /// What was found.
    found: String,
    /// What was done.
    done: String,
    /// When.
    replied_at: Option<i64>,
    /// How often the reply was asked for again.
    chased: i64,
}

impl From<Recipient> for RecipientView {
    fn from(recipient: Recipient) -> Self {
        Self {
            org: recipient.org.to_string(),
            sent_at: recipient.sent_at.micros(),
            read_at: recipient.read_at.map(Timestamp::micros),
            reply: recipient.reply,
            remark: recipient.remark,
            found: recipient.found,
            done: recipient.done,
            replied_at: recipient.replied_at.map(Timestamp::micros),
            chased: recipient.chased,
        }
    }
}

/// A member's reply.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewReply {
    /// The member that replies.
    #[schema(value_type = String, format = "uuid")]
    org: OrgId,
    /// What it replies.
    reply: Reply,
    /// A word with it.
    #[serde(default)]
    #[schema(max_length = 2000)]
    remark: String,
    /// What was found.
    #[serde(default)]
    #[schema(max_length = 2000)]
    found: String,
    /// What was done.
    #[serde(default)]
    #[schema(max_length = 2000)]
    done: String,
}

pub(crate) async fn seen(desk: &Desk, visit: &Visit, case: &str) -> WebResult<(Alert, OrgScope)> {
    let id: CaseId = case
        .parse()
        .map_err(|_| WebError::not_found("alert", case))?;
    let scope = visit.principal.scope("alert:view");
    let alert = desk.cert.alert(&scope, id).await;
    Ok((alert.map_err(|e| tell(e, visit.lang))?, scope))
}

/// Alerts that may be seen, newest first.
#[utoipa::path(get, path = "/api/v1/alerts", tag = "alerts", params(Paging), responses((status = 200, body = Listing<AlertView>)))]
async fn list_alerts(
    State(desk): State<Desk>,
    visit: Visit,
    ApiQuery(paging): ApiQuery<Paging>,
) -> WebResult<ApiJson<Listing<AlertView>>> {
    let scope = visit.principal.scope("alert:view");
    let page = desk
        .cert
        .alerts(&scope, &page_request(&paging)?)
        .await
        .map_err(|e| tell(e, visit.lang))?;
    Ok(ApiJson(Listing {
        items: page.items.into_iter().map(AlertView::from).collect(),
        next: page.next,
    }))
}

/// One alert.
#[utoipa::path(get, path = "/api/v1/alerts/{case}", tag = "alerts", params(("case" = String, Path, format = "uuid")), responses((status = 200, body = AlertView)))]
async fn get_alert(
    State(desk): State<Desk>,
    visit: Visit,
    ApiPath(case): ApiPath<String>,
) -> WebResult<ApiJson<AlertView>> {
    let (alert, _) = seen(&desk, &visit, &case).await?;
    Ok(ApiJson(alert.into()))
}

/// One alert as a CSAF 2.0 document.
#[utoipa::path(get, path = "/api/v1/alerts/{case}/csaf", tag = "alerts", params(("case" = String, Path, format = "uuid")), responses((status = 200, body = Object)))]
async fn get_alert_csaf(
    State(desk): State<Desk>,
    visit: Visit,
    ApiPath(case): ApiPath<String>,
) -> WebResult<ApiJson<Value>> {
    let (alert, _) = seen(&desk, &visit, &case).await?;
    Ok(ApiJson(csaf::document(&alert, &desk.publisher())))
}

/// One alert as STIX 2.1 objects, with the replies that the reader may see as feedback (FBI).
#[utoipa::path(get, path = "/api/v1/alerts/{case}/stix", tag = "alerts", params(("case" = String, Path, format = "uuid")), responses((status = 200, body = Object)))]
async fn get_alert_stix(
    State(desk): State<Desk>,
    visit: Visit,
    ApiPath(case): ApiPath<String>,
) -> WebResult<ApiJson<Value>> {
    let (alert, scope) = seen(&desk, &visit, &case).await?;
    let many = store::PageRequest::first(store::page::PAGE_ROWS_MAX);
    let replies = desk
        .cert
        .recipients(&scope, alert.case, &many)
        .await
        .map_err(|e| tell(e, visit.lang))?;
    let mut objects = kinds::to_stix(&alert, &desk.publisher().name);
    for recipient in &replies.items {
        let member = recipient.org.to_string();
        objects.extend(kinds::feedback(&alert, recipient, &member));
    }
    let id = format!("bundle--{}", uuid::Uuid::new_v4());
    Ok(ApiJson(
        serde_json::json!({"type": "bundle", "id": id, "objects": objects}),
    ))
}

/// STIX 2.1 objects that hold one report.
#[derive(Debug, Deserialize, ToSchema)]
struct NewBundle {
    /// The objects.
    #[schema(value_type = Vec<Object>, max_items = 1000)]
    objects: Vec<Value>,
}

/// Begins the draft of an alert from a STIX 2.1 report; returns its case.
#[utoipa::path(post, path = "/api/v1/alerts/stix", tag = "alerts", request_body = NewBundle, responses((status = 201, body = Object)))]
async fn draft_from_stix(
    State(desk): State<Desk>,
    visit: Visit,
    ApiJson(bundle): ApiJson<NewBundle>,
) -> WebResult<(StatusCode, ApiJson<Value>)> {
    let form = desk
        .casework
        .forms()
        .newest(super::FORM)
        .ok_or_else(|| WebError::not_found("form", super::FORM))?;
    let values = kinds::from_stix(&bundle.objects, &form)
        .map_err(|error| WebError::field("objects", "stix", error.to_string()))?;
    let who = casework::room::who(&visit)?;
    let case = desk
        .casework
        .start(&who, super::FORM, None, values, None)
        .await
        .map_err(|e| casework::room::tell(e, visit.lang))?;
    Ok((
        StatusCode::CREATED,
        ApiJson(serde_json::json!({"case": case.id.to_string(), "number": case.number.get()})),
    ))
}

/// The members that an alert was sent to; a member sees only itself.
#[utoipa::path(get, path = "/api/v1/alerts/{case}/recipients", tag = "alerts", params(("case" = String, Path, format = "uuid"), Paging), responses((status = 200, body = Listing<RecipientView>)))]
async fn list_recipients(
    State(desk): State<Desk>,
    visit: Visit,
    ApiPath(case): ApiPath<String>,
    ApiQuery(paging): ApiQuery<Paging>,
) -> WebResult<ApiJson<Listing<RecipientView>>> {
    let (alert, scope) = seen(&desk, &visit, &case).await?;
    let page = desk
        .cert
        .recipients(&scope, alert.case, &page_request(&paging)?)
        .await
        .map_err(|e| tell(e, visit.lang))?;
    Ok(ApiJson(Listing {
        items: page.items.into_iter().map(RecipientView::from).collect(),
        next: page.next,
    }))
}

/// Replies for a member; a later reply takes the place of the one before.
#[utoipa::path(put, path = "/api/v1/alerts/{case}/reply", tag = "alerts", request_body = NewReply, params(("case" = String, Path, format = "uuid")), responses((status = 204)))]
async fn reply_to_alert(
    State(desk): State<Desk>,
    visit: Visit,
    ApiPath(case): ApiPath<String>,
    ApiJson(new): ApiJson<NewReply>,
) -> WebResult<StatusCode> {
    for (field, text) in [
        ("remark", &new.remark),
        ("found", &new.found),
        ("done", &new.done),
    ] {
        at_most(field, text, REMARK_CHARS_MAX)?;
    }
    let (alert, _) = seen(&desk, &visit, &case).await?;
    visit.principal.require("alert:reply", new.org)?;
    let said = kinds::Said {
        reply: new.reply,
        remark: &new.remark,
        found: &new.found,
        done: &new.done,
    };
    desk.cert
        .reply_with(&by(&visit)?, &alert, new.org, said)
        .await
        .map_err(|e| tell(e, visit.lang))?;
    Ok(StatusCode::NO_CONTENT)
}
