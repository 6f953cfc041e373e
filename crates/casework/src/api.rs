//! The JSON API of casework: everything that its pages do.

mod files;
mod webhooks;

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::StatusCode;
use base::{OrgId, Timestamp, UserId};
use serde::{Deserialize, Serialize};
use store::PageRequest;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use web::{ApiJson, ApiPath, ApiQuery, Listing, Paging, Visit, WebError, WebResult};

use crate::case::{Case, Event, EventKind, Granted};
use crate::engine::{Casework, Filter, Opened};
use crate::form::{Form, Values};
use crate::number::CaseNumber;
use crate::room::{case_id, tell, who};

/// Characters of a cursor.
const CURSOR_CHARS_MAX: usize = 512;
/// Characters of a state or an action of a workflow.
const STATE_CHARS_MAX: usize = 40;
/// Characters of a form's name.
const FORM_CHARS_MAX: usize = 60;
/// Characters of a comment.
const COMMENT_CHARS_MAX: usize = 4_000;

/// The API's routes.
pub(crate) fn router(casework: Casework) -> OpenApiRouter<()> {
    OpenApiRouter::new()
        .routes(routes!(list_forms))
        .routes(routes!(get_form))
        .routes(routes!(list_cases, create_case))
        .routes(routes!(get_case, edit_case))
        .routes(routes!(take_step))
        .routes(routes!(write_comment))
        .routes(routes!(assign_case))
        .routes(routes!(list_inbox))
        .merge(files::router())
        .merge(webhooks::router())
        .with_state(casework)
}

/// A form in short.
#[derive(Debug, Serialize, ToSchema)]
struct FormView {
    /// Its name.
    id: String,
    /// Its newest version.
    version: u32,
    /// Its title in Chinese.
    title_zh: String,
    /// Its title in English.
    title_en: String,
    /// Whether a case must belong to an organisation.
    needs_org: bool,
}

/// A case.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CaseView {
    /// Names it everywhere.
    #[schema(format = "uuid")]
    id: String,
    /// Names it to people: nine digits, drawn by chance; short ones are from before.
    number: i64,
    /// The form's name.
    form: String,
    /// The version of the form that it is written on.
    form_version: u32,
    /// The organisation that applies.
    org: Option<String>,
    /// Who began it.
    applicant: String,
    /// Its state in the form's workflow.
    state: String,
    /// Whether nothing leads out of its state.
    ended: bool,
    /// Counts changes; a change must name the version that it saw.
    version: i64,
    /// The officer who looks after it.
    assignee: Option<String>,
    /// Its name in lists.
    subject: String,
    /// When it was begun, in microseconds since 1970.
    created_at: i64,
    /// When it last changed.
    updated_at: i64,
    /// When it was last submitted.
    submitted_at: Option<i64>,
    /// When the present state must be left.
    due_at: Option<i64>,
    /// Whether that moment has passed.
    overdue: bool,
    /// What the grant made.
    result: Option<Granted>,
}

impl From<Case> for CaseView {
    fn from(case: Case) -> Self {
        Self {
            id: case.id.to_string(),
            number: case.number.get(),
            form: case.form,
            form_version: case.form_version,
            org: case.org.map(|org| org.to_string()),
            applicant: case.applicant.to_string(),
            state: case.state,
            ended: case.ended,
            version: case.version,
            assignee: case.assignee.map(|user| user.to_string()),
            subject: case.subject,
            created_at: case.created_at.micros(),
            updated_at: case.updated_at.micros(),
            submitted_at: case.submitted_at.map(Timestamp::micros),
            due_at: case.due_at.map(Timestamp::micros),
            overdue: case.overdue,
            result: case.result,
        }
    }
}

/// One thing that happened in a case.
#[derive(Debug, Serialize, ToSchema)]
struct EventView {
    /// When, in microseconds since 1970.
    at: i64,
    /// Who; absent: the house itself.
    actor: Option<String>,
    /// What kind of thing.
    kind: EventKind,
    /// The workflow's action, for steps.
    action: String,
    /// The state before.
    from: String,
    /// The state after.
    to: String,
    /// Not shown to the applicant.
    internal: bool,
    /// What was written.
    text: String,
}

impl From<Event> for EventView {
    fn from(event: Event) -> Self {
        Self {
            at: event.at.micros(),
            actor: event.actor.map(|actor| actor.to_string()),
            kind: event.kind,
            action: event.action,
            from: event.from,
            to: event.to,
            internal: event.internal,
            text: event.text,
        }
    }
}

/// A case with its values, its time-line and the steps that the reader may take.
#[derive(Debug, Serialize, ToSchema)]
struct WholeCase {
    /// The case.
    case: CaseView,
    /// The values, personal data included; the reading is recorded.
    #[schema(value_type = Object)]
    values: Values,
    /// The time-line, oldest first.
    events: Vec<EventView>,
    /// The steps that the reader may take.
    actions: Vec<String>,
    /// Whether the reader may change the values.
    editable: bool,
}

/// Which cases.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct CaseQuery {
    /// Only those in this state.
    #[serde(default)]
    #[param(max_length = 40)]
    state: Option<String>,
    /// Only those of this form.
    #[serde(default)]
    #[param(max_length = 60)]
    form: Option<String>,
    /// Only those that have not ended.
    #[serde(default)]
    open: Option<bool>,
    /// Only one's own and those of one's organisations.
    #[serde(default)]
    mine: Option<bool>,
    /// Only the one of this number, as people say it: `482-716-301`.
    #[serde(default)]
    #[param(max_length = 40)]
    number: Option<String>,
}

/// A case to begin.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewCase {
    /// The form's name.
    #[schema(max_length = 60)]
    form: String,
    /// The organisation that applies.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = "uuid")]
    org: Option<OrgId>,
    /// Values so far.
    #[serde(default)]
    #[schema(value_type = Object)]
    values: Values,
}

/// Values to change.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Edit {
    /// The version that was seen.
    version: i64,
    /// The changes; `null` takes a value out.
    #[schema(value_type = Object)]
    values: Values,
}

/// A step to take.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct StepRequest {
    /// The version that was seen.
    version: i64,
    /// One of the `actions` of the case.
    #[schema(max_length = 40)]
    action: String,
    /// A word of explanation.
    #[serde(default)]
    #[schema(max_length = 4000)]
    comment: String,
}

/// A comment to write.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CommentRequest {
    /// What to write.
    #[schema(max_length = 4000)]
    text: String,
    /// Not shown to the applicant; for officers.
    #[serde(default)]
    internal: bool,
}

/// Whom to give a case to.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct AssignRequest {
    /// The version that was seen.
    version: i64,
    /// The officer; absent: nobody.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = "uuid")]
    officer: Option<UserId>,
}

/// A letter of the inbox.
#[derive(Debug, Serialize, ToSchema)]
struct LetterView {
    /// Names it.
    id: String,
    /// When it came, in microseconds since 1970.
    at: i64,
    /// The case it is about.
    case: String,
    /// What it says, in the language of the request.
    text: String,
    /// Whether it has been read.
    read: bool,
}

/// Forms that can be filled in.
#[utoipa::path(get, path = "/api/v1/forms", tag = "cases", responses(
    (status = 200, body = Vec<FormView>)))]
async fn list_forms(State(casework): State<Casework>) -> ApiJson<Vec<FormView>> {
    let forms = casework.forms().all();
    ApiJson(forms.into_iter().map(|form| form_view(&form)).collect())
}

fn form_view(form: &Arc<Form>) -> FormView {
    FormView {
        id: form.id.clone(),
        version: form.version,
        title_zh: form.title.zh.clone(),
        title_en: form.title.en.clone(),
        needs_org: form.needs_org,
    }
}

/// One form as a document: JSON Schema, layout and workflow.
#[utoipa::path(get, path = "/api/v1/forms/{form}", tag = "cases", params(("form" = String, Path, max_length = 60)), responses(
    (status = 200, body = Object)))]
async fn get_form(
    State(casework): State<Casework>,
    ApiPath(form): ApiPath<String>,
) -> WebResult<ApiJson<serde_json::Value>> {
    let found = casework
        .forms()
        .newest(&form)
        .ok_or_else(|| WebError::not_found("form", &form))?;
    Ok(ApiJson(found.document().map_err(WebError::internal)?))
}

/// Cases that may be seen, overdue first, then newest first.
#[utoipa::path(get, path = "/api/v1/cases", tag = "cases", params(CaseQuery, Paging), responses(
    (status = 200, body = Listing<CaseView>)))]
async fn list_cases(
    State(casework): State<Casework>,
    visit: Visit,
    ApiQuery(query): ApiQuery<CaseQuery>,
    ApiQuery(paging): ApiQuery<Paging>,
) -> WebResult<ApiJson<Listing<CaseView>>> {
    at_most(
        "state",
        query.state.as_deref().unwrap_or_default(),
        STATE_CHARS_MAX,
    )?;
    at_most(
        "form",
        query.form.as_deref().unwrap_or_default(),
        FORM_CHARS_MAX,
    )?;
    let number = query.number.map(|text| text.parse::<CaseNumber>());
    let filter = Filter {
        mine: query.mine.unwrap_or(false),
        state: query.state,
        open: query.open.unwrap_or(false),
        assignee: None,
        form: query.form,
        number: number
            .transpose()
            .map_err(|error| WebError::field("number", "format", error.to_string()))?,
    };
    let request = page_request(&paging)?;
    let page = casework
        .list(&who(&visit)?, &filter, &request)
        .await
        .map_err(|e| tell(e, visit.lang))?;
    Ok(ApiJson(Listing {
        items: page.items.into_iter().map(CaseView::from).collect(),
        next: page.next,
    }))
}

/// Begins a case. With the header `Idempotency-Key`, the same request again gives the same case.
#[utoipa::path(post, path = "/api/v1/cases", tag = "cases", request_body = NewCase, params(("idempotency-key" = Option<String>, Header, max_length = 100)), responses(
    (status = 201, body = CaseView)))]
async fn create_case(
    State(casework): State<Casework>,
    visit: Visit,
    headers: HeaderMap,
    ApiJson(new): ApiJson<NewCase>,
) -> WebResult<(StatusCode, ApiJson<CaseView>)> {
    at_most("form", &new.form, FORM_CHARS_MAX)?;
    let key = match headers.get("idempotency-key") {
        None => None,
        Some(value) => Some(
            value
                .to_str()
                .map_err(|_| WebError::bad_request("idempotency-key must be visible ASCII"))?
                .to_owned(),
        ),
    };
    let case = casework
        .start(
            &who(&visit)?,
            &new.form,
            new.org,
            new.values,
            key.as_deref(),
        )
        .await
        .map_err(|e| tell(e, visit.lang))?;
    Ok((StatusCode::CREATED, ApiJson(case.into())))
}

/// One case with its values, time-line and possible steps.
#[utoipa::path(get, path = "/api/v1/cases/{case}", tag = "cases", params(("case" = String, Path, format = "uuid")), responses(
    (status = 200, body = WholeCase)))]
async fn get_case(
    State(casework): State<Casework>,
    visit: Visit,
    ApiPath(case): ApiPath<String>,
) -> WebResult<ApiJson<WholeCase>> {
    let (id, asker) = (case_id(&case)?, who(&visit)?);
    let Opened {
        case,
        events,
        offered,
        editable,
        ..
    } = casework
        .open(&asker, id)
        .await
        .map_err(|e| tell(e, visit.lang))?;
    let values = casework
        .values(&asker, id)
        .await
        .map_err(|e| tell(e, visit.lang))?;
    Ok(ApiJson(WholeCase {
        case: case.into(),
        values,
        events: events.into_iter().map(EventView::from).collect(),
        actions: offered.into_iter().map(|step| step.action).collect(),
        editable,
    }))
}

/// Changes values of a draft or returned case.
#[utoipa::path(patch, path = "/api/v1/cases/{case}", tag = "cases", request_body = Edit, params(("case" = String, Path, format = "uuid")), responses(
    (status = 200, body = CaseView)))]
async fn edit_case(
    State(casework): State<Casework>,
    visit: Visit,
    ApiPath(case): ApiPath<String>,
    ApiJson(edit): ApiJson<Edit>,
) -> WebResult<ApiJson<CaseView>> {
    let case = casework
        .save(&who(&visit)?, case_id(&case)?, edit.version, edit.values)
        .await
        .map_err(|e| tell(e, visit.lang))?;
    Ok(ApiJson(case.into()))
}

/// Takes a step of the workflow: submit, approve, return, grant, …
#[utoipa::path(post, path = "/api/v1/cases/{case}/steps", tag = "cases", request_body = StepRequest, params(("case" = String, Path, format = "uuid")), responses(
    (status = 200, body = CaseView)))]
async fn take_step(
    State(casework): State<Casework>,
    visit: Visit,
    ApiPath(case): ApiPath<String>,
    ApiJson(step): ApiJson<StepRequest>,
) -> WebResult<ApiJson<CaseView>> {
    at_most("action", &step.action, STATE_CHARS_MAX)?;
    at_most("comment", &step.comment, COMMENT_CHARS_MAX)?;
    let case = casework
        .act(
            &who(&visit)?,
            case_id(&case)?,
            step.version,
            &step.action,
            &step.comment,
        )
        .await
        .map_err(|e| tell(e, visit.lang))?;
    Ok(ApiJson(case.into()))
}

/// Writes a comment.
#[utoipa::path(post, path = "/api/v1/cases/{case}/comments", tag = "cases", request_body = CommentRequest, params(("case" = String, Path, format = "uuid")), responses(
    (status = 201, body = CaseView)))]
async fn write_comment(
    State(casework): State<Casework>,
    visit: Visit,
    ApiPath(case): ApiPath<String>,
    ApiJson(comment): ApiJson<CommentRequest>,
) -> WebResult<(StatusCode, ApiJson<CaseView>)> {
    at_most("text", &comment.text, COMMENT_CHARS_MAX)?;
    let case = casework
        .comment(
            &who(&visit)?,
            case_id(&case)?,
            &comment.text,
            comment.internal,
        )
        .await
        .map_err(|e| tell(e, visit.lang))?;
    Ok((StatusCode::CREATED, ApiJson(case.into())))
}

/// Gives a case to an officer, or to nobody.
#[utoipa::path(put, path = "/api/v1/cases/{case}/assignee", tag = "cases", request_body = AssignRequest, params(("case" = String, Path, format = "uuid")), responses(
    (status = 200, body = CaseView)))]
async fn assign_case(
    State(casework): State<Casework>,
    visit: Visit,
    ApiPath(case): ApiPath<String>,
    ApiJson(assign): ApiJson<AssignRequest>,
) -> WebResult<ApiJson<CaseView>> {
    let case = casework
        .assign(
            &who(&visit)?,
            case_id(&case)?,
            assign.version,
            assign.officer,
        )
        .await
        .map_err(|e| tell(e, visit.lang))?;
    Ok(ApiJson(case.into()))
}

/// One's own letters, newest first.
#[utoipa::path(get, path = "/api/v1/inbox", tag = "cases", params(Paging), responses(
    (status = 200, body = Listing<LetterView>)))]
async fn list_inbox(
    State(casework): State<Casework>,
    visit: Visit,
    ApiQuery(paging): ApiQuery<Paging>,
) -> WebResult<ApiJson<Listing<LetterView>>> {
    let reader = visit.principal.signed_in()?;
    let page = casework
        .inbox(reader, &page_request(&paging)?)
        .await
        .map_err(|e| tell(e, visit.lang))?;
    let view = |letter: crate::notify::Letter| LetterView {
        id: letter.id,
        at: letter.at.micros(),
        case: letter.case.to_string(),
        text: letter.text.of(visit.lang.tag()).to_owned(),
        read: letter.read,
    };
    Ok(ApiJson(Listing {
        items: page.items.into_iter().map(view).collect(),
        next: page.next,
    }))
}

/// Refuses a text that the API's description calls too long, rather than cutting it.
///
/// # Errors
/// 422 for more than `most` characters.
pub fn at_most(field: &str, text: &str, most: usize) -> Result<(), WebError> {
    if text.chars().nth(most).is_some() {
        return Err(WebError::field(
            field,
            "length",
            format!("must have at most {most} characters"),
        ));
    }
    Ok(())
}

/// A list's parameters as the store wants them.
///
/// # Errors
/// 422 for a limit out of range.
pub fn page_request(paging: &Paging) -> Result<PageRequest, WebError> {
    if let Some(cursor) = &paging.cursor {
        at_most("cursor", cursor, CURSOR_CHARS_MAX)?;
    }
    Ok(PageRequest {
        cursor: paging.cursor.clone(),
        limit: Some(paging.limit()?),
    })
}
