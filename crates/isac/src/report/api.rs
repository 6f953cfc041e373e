//! The JSON API of incidents. Steps of the case, its comments and files are
//! casework's: `/api/v1/cases/{case}/steps`.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use base::{OrgId, Timestamp};
use casework::api::{at_most, page_request};
use casework::form::Values;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use web::{ApiJson, ApiPath, ApiQuery, Listing, Paging, Visit, WebError, WebResult};

use super::incidents::{Filter, Incident, LevelChange, LogEntry, Running};
use super::level::Level;
use super::rules::Clock;
use super::statistics::Statistics;
use super::{DRILL, FORM};
use crate::cert::error::tell;
use crate::cert::shell::by;
use crate::cert::{Desk, Sector};

/// Days that statistics look back unless told otherwise.
const STATISTICS_DAYS: u32 = 365;
/// Characters of a reason.
const TEXT_CHARS_MAX: usize = 4_000;

/// The API's routes.
pub(crate) fn router(desk: Desk) -> OpenApiRouter<()> {
    OpenApiRouter::new()
        .routes(routes!(list_incidents, report_incident))
        .routes(routes!(get_incident))
        .routes(routes!(propose_level))
        .routes(routes!(decide_level))
        .routes(routes!(write_log))
        .routes(routes!(forward_incident))
        .routes(routes!(incident_statistics))
        .with_state(desk)
}

/// An incident.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct IncidentView {
    /// Its case.
    #[schema(format = "uuid")]
    case: String,
    /// Names it to people.
    number: i64,
    /// Who reports.
    org: String,
    /// The sector of that organisation.
    sector: Sector,
    /// Whether it is a drill.
    drill: bool,
    /// In one sentence.
    subject: String,
    /// The form's word for its kind.
    category: String,
    /// The case's state.
    state: String,
    /// The level in force, 1 to 4.
    level: Level,
    /// The level that was reported first.
    reported_level: Level,
    /// The version of the deadlines.
    rules: i64,
    /// When the organisation learned of it, in microseconds since 1970.
    known_at: i64,
    /// When it was reported.
    reported_at: i64,
    /// When the level was reviewed.
    reviewed_at: Option<i64>,
    /// When the damage was under control.
    recovered_at: Option<i64>,
    /// When it was closed.
    closed_at: Option<i64>,
    /// The earliest deadline that still runs.
    next_due: Option<i64>,
}

impl From<Incident> for IncidentView {
    fn from(incident: Incident) -> Self {
        Self {
            case: incident.case.to_string(),
            number: incident.number.get(),
            org: incident.org.to_string(),
            sector: incident.sector,
            drill: incident.drill,
            subject: incident.subject,
            category: incident.category,
            state: incident.state,
            level: incident.level,
            reported_level: incident.reported_level,
            rules: incident.rules,
            known_at: incident.known_at.micros(),
            reported_at: incident.reported_at.micros(),
            reviewed_at: incident.reviewed_at.map(Timestamp::micros),
            recovered_at: incident.recovered_at.map(Timestamp::micros),
            closed_at: incident.closed_at.map(Timestamp::micros),
            next_due: incident.next_due.map(Timestamp::micros),
        }
    }
}

/// A clock.
#[derive(Debug, Serialize, ToSchema)]
struct ClockView {
    /// What must be done.
    kind: Clock,
    /// From when, in microseconds since 1970.
    starts_at: i64,
    /// Until when.
    due_at: i64,
    /// When it was done.
    met_at: Option<i64>,
    /// Whether it was or is too late.
    late: bool,
}

/// A change of level.
#[derive(Debug, Serialize, ToSchema)]
struct LevelChangeView {
    /// Names it.
    id: String,
    /// The level before.
    from: Level,
    /// The level proposed.
    to: Level,
    /// Why.
    reason: String,
    /// When it was proposed, in microseconds since 1970.
    proposed_at: i64,
    /// When it was decided.
    decided_at: Option<i64>,
    /// What was decided.
    agreed: Option<bool>,
}

/// An entry of the evidence log.
#[derive(Debug, Serialize, ToSchema)]
struct LogView {
    /// When it was written, in microseconds since 1970.
    at: i64,
    /// When what it tells happened.
    happened_at: i64,
    /// Who wrote it; absent: the house.
    actor: Option<String>,
    /// What kind of entry.
    kind: String,
    /// What was written.
    text: String,
}

impl From<LogEntry> for LogView {
    fn from(entry: LogEntry) -> Self {
        Self {
            at: entry.at.micros(),
            happened_at: entry.happened_at.micros(),
            actor: entry.actor.map(|user| user.to_string()),
            kind: entry.kind,
            text: entry.text,
        }
    }
}

impl From<LevelChange> for LevelChangeView {
    fn from(change: LevelChange) -> Self {
        Self {
            id: change.id,
            from: change.from,
            to: change.to,
            reason: change.reason,
            proposed_at: change.proposed_at.micros(),
            decided_at: change.decided_at.map(Timestamp::micros),
            agreed: change.agreed,
        }
    }
}

/// An incident with everything about it.
#[derive(Debug, Serialize, ToSchema)]
struct WholeIncident {
    /// The incident.
    incident: IncidentView,
    /// Its clocks, in the order in which they run.
    clocks: Vec<ClockView>,
    /// Changes of level, oldest first.
    levels: Vec<LevelChangeView>,
    /// The evidence log, oldest first.
    log: Vec<LogView>,
}

/// Which incidents.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct IncidentQuery {
    /// Only those that are not closed.
    #[serde(default)]
    open: Option<bool>,
    /// Only those past a deadline.
    #[serde(default)]
    late: Option<bool>,
    /// Drills instead of real ones.
    #[serde(default)]
    drill: Option<bool>,
    /// Only this level.
    #[serde(default)]
    #[param(minimum = 1, maximum = 4)]
    level: Option<i64>,
}

/// A report.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewReport {
    /// The organisation that reports.
    #[schema(value_type = String, format = "uuid")]
    org: OrgId,
    /// Whether it is a drill.
    #[serde(default)]
    drill: bool,
    /// The answers to the form `incident-report`.
    #[schema(value_type = Object)]
    values: Values,
}

/// A change of level to propose.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewLevel {
    /// The level proposed, 1 to 4.
    #[schema(minimum = 1, maximum = 4)]
    level: i64,
    /// Why.
    #[schema(max_length = 1000)]
    reason: String,
}

/// A decision on a change of level.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Decision {
    /// Whether the change is agreed to.
    agreed: bool,
    /// A word with it; needed for a refusal.
    #[serde(default)]
    #[schema(max_length = 1000)]
    remark: String,
}

/// An entry for the evidence log.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewLog {
    /// What happened.
    #[schema(max_length = 4000)]
    text: String,
    /// When, in microseconds since 1970; absent: now.
    #[serde(default)]
    happened_at: Option<i64>,
}

/// To whom a report was handed on.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Forwarded {
    /// To whom and under which name there.
    #[schema(max_length = 500)]
    to: String,
}

/// The time that statistics look at.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct StatisticsQuery {
    /// Days to look back, 1 to 3660; 365 when absent.
    #[serde(default)]
    #[param(minimum = 1, maximum = 3660)]
    days: Option<u32>,
}

fn level_of(number: i64) -> WebResult<Level> {
    Level::new(number).ok_or_else(|| WebError::field("level", "range", "must be 1 to 4"))
}

/// Incidents that may be seen, newest first.
#[utoipa::path(get, path = "/api/v1/incidents", tag = "incidents", params(IncidentQuery, Paging), responses((status = 200, body = Listing<IncidentView>)))]
async fn list_incidents(
    State(desk): State<Desk>,
    visit: Visit,
    ApiQuery(query): ApiQuery<IncidentQuery>,
    ApiQuery(paging): ApiQuery<Paging>,
) -> WebResult<ApiJson<Listing<IncidentView>>> {
    let filter = Filter {
        open: query.open.unwrap_or(false),
        late: query.late.unwrap_or(false),
        drill: query.drill.unwrap_or(false),
        level: query.level.map(level_of).transpose()?,
    };
    let scope = visit.principal.scope("incident:view");
    let page = desk
        .cert
        .incidents(&scope, &filter, &page_request(&paging)?)
        .await
        .map_err(|e| tell(e, visit.lang))?;
    Ok(ApiJson(Listing {
        items: page.items.into_iter().map(IncidentView::from).collect(),
        next: page.next,
    }))
}

/// Reports an incident. With the header `Idempotency-Key`, the same request again gives the same incident.
#[utoipa::path(post, path = "/api/v1/incidents", tag = "incidents", request_body = NewReport, params(("idempotency-key" = Option<String>, Header, max_length = 100)), responses((status = 201, body = IncidentView)))]
async fn report_incident(
    State(desk): State<Desk>,
    visit: Visit,
    headers: HeaderMap,
    ApiJson(report): ApiJson<NewReport>,
) -> WebResult<(StatusCode, ApiJson<IncidentView>)> {
    visit.principal.require("incident:report", report.org)?;
    let key = headers
        .get("idempotency-key")
        .map(|value| value.to_str().map(str::to_owned))
        .transpose()
        .map_err(|_| WebError::bad_request("idempotency-key must be visible ASCII"))?;
    let who = casework::room::who(&visit)?;
    let form = if report.drill { DRILL } else { FORM };
    // What is refused leaves nothing behind, and nobody hears of it.
    let case = desk
        .casework
        .start_submitted(&who, form, Some(report.org), report.values, key.as_deref())
        .await
        .map_err(|e| casework::room::tell(e, visit.lang))?;
    let incident = desk.incident(&visit, &case.id.to_string()).await?;
    Ok((StatusCode::CREATED, ApiJson(incident.into())))
}

/// One incident with its clocks, changes of level and evidence log.
#[utoipa::path(get, path = "/api/v1/incidents/{case}", tag = "incidents", params(("case" = String, Path, format = "uuid")), responses((status = 200, body = WholeIncident)))]
async fn get_incident(
    State(desk): State<Desk>,
    visit: Visit,
    ApiPath(case): ApiPath<String>,
) -> WebResult<ApiJson<WholeIncident>> {
    let incident = desk.incident(&visit, &case).await?;
    let told = |e| tell(e, visit.lang);
    let id = incident.case;
    let clock = |clock: Running| ClockView {
        late: clock.late(incident.closed_at.unwrap_or(visit.now)),
        kind: clock.kind,
        starts_at: clock.starts_at.micros(),
        due_at: clock.due_at.micros(),
        met_at: clock.met_at.map(Timestamp::micros),
    };
    let clocks = desk.cert.clocks(id).await.map_err(told)?;
    let levels = desk.cert.level_changes(id).await.map_err(told)?;
    let log = desk.cert.evidence(id).await.map_err(told)?;
    Ok(ApiJson(WholeIncident {
        clocks: clocks.into_iter().map(clock).collect(),
        levels: levels.into_iter().map(LevelChangeView::from).collect(),
        log: log.into_iter().map(LogView::from).collect(),
        incident: incident.into(),
    }))
}

/// Proposes another level; an officer who is somebody else decides.
#[utoipa::path(post, path = "/api/v1/incidents/{case}/levels", tag = "incidents", request_body = NewLevel, params(("case" = String, Path, format = "uuid")), responses((status = 201, body = LevelChangeView)))]
async fn propose_level(
    State(desk): State<Desk>,
    visit: Visit,
    ApiPath(case): ApiPath<String>,
    ApiJson(new): ApiJson<NewLevel>,
) -> WebResult<(StatusCode, ApiJson<LevelChangeView>)> {
    at_most("reason", &new.reason, TEXT_CHARS_MAX)?;
    let incident = desk.incident(&visit, &case).await?;
    visit.principal.require("incident:edit", incident.org)?;
    let told = |e| tell(e, visit.lang);
    let id = desk
        .cert
        .propose_level(&by(&visit)?, &incident, level_of(new.level)?, &new.reason)
        .await
        .map_err(told)?;
    let changes = desk.cert.level_changes(incident.case).await.map_err(told)?;
    let change = changes
        .into_iter()
        .find(|change| change.id == id)
        .ok_or_else(|| WebError::internal("a change was proposed and is not there"))?;
    Ok((StatusCode::CREATED, ApiJson(change.into())))
}

/// Decides on a change of level.
#[utoipa::path(put, path = "/api/v1/incidents/{case}/levels/{change}", tag = "incidents", request_body = Decision, params(("case" = String, Path, format = "uuid"), ("change" = String, Path, format = "uuid")), responses((status = 204)))]
async fn decide_level(
    State(desk): State<Desk>,
    visit: Visit,
    ApiPath((case, change)): ApiPath<(String, String)>,
    ApiJson(decision): ApiJson<Decision>,
) -> WebResult<StatusCode> {
    at_most("remark", &decision.remark, TEXT_CHARS_MAX)?;
    let incident = desk.incident(&visit, &case).await?;
    visit.principal.require("incident:review", incident.org)?;
    desk.cert
        .decide_level(
            &by(&visit)?,
            &incident,
            &change,
            decision.agreed,
            &decision.remark,
        )
        .await
        .map_err(|e| tell(e, visit.lang))?;
    Ok(StatusCode::NO_CONTENT)
}

/// Writes into the evidence log.
#[utoipa::path(post, path = "/api/v1/incidents/{case}/log", tag = "incidents", request_body = NewLog, params(("case" = String, Path, format = "uuid")), responses((status = 204)))]
async fn write_log(
    State(desk): State<Desk>,
    visit: Visit,
    ApiPath(case): ApiPath<String>,
    ApiJson(new): ApiJson<NewLog>,
) -> WebResult<StatusCode> {
    at_most("text", &new.text, TEXT_CHARS_MAX)?;
    let incident = desk.incident(&visit, &case).await?;
    visit.principal.require("incident:edit", incident.org)?;
    desk.cert
        .add_evidence(
            &by(&visit)?,
            &incident,
            new.happened_at.map(Timestamp),
            &new.text,
        )
        .await
        .map_err(|e| tell(e, visit.lang))?;
    Ok(StatusCode::NO_CONTENT)
}

/// Records that the reviewed report was handed on.
#[utoipa::path(post, path = "/api/v1/incidents/{case}/forward", tag = "incidents", request_body = Forwarded, params(("case" = String, Path, format = "uuid")), responses((status = 204)))]
async fn forward_incident(
    State(desk): State<Desk>,
    visit: Visit,
    ApiPath(case): ApiPath<String>,
    ApiJson(forwarded): ApiJson<Forwarded>,
) -> WebResult<StatusCode> {
    at_most("to", &forwarded.to, TEXT_CHARS_MAX)?;
    let incident = desk.incident(&visit, &case).await?;
    visit.principal.require("incident:review", incident.org)?;
    desk.cert
        .forward(&by(&visit)?, &incident, &forwarded.to)
        .await
        .map_err(|e| tell(e, visit.lang))?;
    Ok(StatusCode::NO_CONTENT)
}

/// Figures about real incidents; drills are counted nowhere.
#[utoipa::path(get, path = "/api/v1/incident-statistics", tag = "incidents", params(StatisticsQuery), responses((status = 200, body = Statistics)))]
async fn incident_statistics(
    State(desk): State<Desk>,
    visit: Visit,
    ApiQuery(query): ApiQuery<StatisticsQuery>,
) -> WebResult<ApiJson<Statistics>> {
    let days = query.days.unwrap_or(STATISTICS_DAYS);
    if !(1..=3_660).contains(&days) {
        return Err(WebError::field("days", "range", "must be 1 to 3660"));
    }
    let from = visit
        .now
        .minus(std::time::Duration::from_secs(u64::from(days) * 86_400));
    let scope = visit.principal.scope("incident:view");
    let until = visit.now.plus(std::time::Duration::from_secs(1));
    let statistics = desk
        .cert
        .incident_statistics(&scope, from, until)
        .await
        .map_err(|e| tell(e, visit.lang))?;
    Ok(ApiJson(statistics))
}
