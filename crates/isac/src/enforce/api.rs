//! The JSON API of enforcement.

use std::time::Duration;

use axum::extract::State as Shared;
use axum::http::StatusCode;
use base::enforcement::{Action, REASON_CHARS_MAX, Target};
use base::{EnforcementId, Role, Timestamp};
use casework::api::{at_most, page_request};
use serde::{Deserialize, Serialize};
use store::{Actor, PageRequest};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use web::{ApiJson, ApiPath, ApiQuery, FieldError, Listing, Paging, Visit, WebError, WebResult};

use super::engine::{Decided, EnforceError, Enforcements, New, State};
use super::policy::Policy;
use super::seams::{Hits, Seen};
use crate::stix::simple;

/// Targets of one request.
const TARGETS_MAX: usize = 1_000;
/// Hours that a person can enforce for.
const HOURS_MAX: u32 = 24 * 3_650;

pub(super) fn router(enforcements: Enforcements) -> OpenApiRouter<()> {
    OpenApiRouter::new()
        .routes(routes!(list_enforcements, create_enforcements))
        .routes(routes!(get_enforcement, lift_enforcement))
        .routes(routes!(decide_enforcement))
        .routes(routes!(why_enforced))
        .routes(routes!(simulate_enforcement))
        .routes(routes!(get_enforcement_policy, put_enforcement_policy))
        .merge(super::lists_api::router())
        .with_state(enforcements)
}

/// An enforcement.
#[derive(Debug, Serialize, ToSchema)]
struct EnforcementView {
    /// The reference that refused users are shown.
    #[schema(format = "uuid")]
    id: String,
    /// What is refused.
    target: String,
    /// The same with its name in its own script, if that is not ASCII.
    target_read: Option<String>,
    /// `address`, `prefix`, `domain`, `url` or `file`.
    kind: String,
    /// `refuse`, `drop`, `sinkhole` or `observe`.
    action: String,
    /// Where; empty: everywhere.
    roles: Vec<String>,
    /// Where it comes from.
    source: String,
    /// Why.
    reason: String,
    /// 0 to 100.
    confidence: u8,
    /// `proposed`, `active`, `ended` (its time is over), `lifted` or `rejected`.
    state: String,
    /// Whether it is in force now.
    in_force: bool,
    /// When it ends, in microseconds since 1970.
    until: Option<i64>,
    /// The version of the policy by which it was decided.
    policy: i64,
    /// Who began it.
    made_by: String,
    /// When, in microseconds since 1970.
    made_at: i64,
    /// Who approved, rejected or undid it.
    decided_by: Option<String>,
    /// When, in microseconds since 1970.
    decided_at: Option<i64>,
    /// Why.
    decided_why: String,
    /// Why its indicator is no longer believed, when a person is asked whether to lift it; else empty.
    doubt: String,
    /// Why a person was asked though the policy alone would have enforced it; else empty.
    asked: String,
    /// How often it was met.
    hits: u64,
    /// When it was last met, in microseconds since 1970.
    last_hit: Option<i64>,
}

fn view(decided: Decided, hits: Hits, now: Timestamp) -> EnforcementView {
    EnforcementView {
        id: decided.rule.id.to_string(),
        kind: decided.rule.target.kind().name().to_owned(),
        target_read: simple::read_as(&decided.rule.target),
        target: decided.rule.target.to_string(),
        action: decided.rule.action.name().to_owned(),
        roles: decided.roles.iter().map(ToString::to_string).collect(),
        in_force: decided.state == State::Active && decided.rule.is_in_force(now),
        source: decided.source,
        reason: decided.reason,
        confidence: decided.confidence,
        state: match decided.state {
            State::Active if !decided.rule.is_in_force(now) => "ended".to_owned(),
            state => state.name().to_owned(),
        },
        until: decided.rule.until.map(Timestamp::micros),
        policy: decided.policy,
        made_by: decided.made_by,
        made_at: decided.made_at.micros(),
        decided_by: decided.decided_by,
        decided_at: decided.decided_at.map(Timestamp::micros),
        doubt: if decided.state == State::Active {
            decided.doubt
        } else {
            String::new()
        },
        decided_why: decided.decided_why,
        asked: decided.asked,
        hits: hits.count,
        last_hit: hits.last.map(Timestamp::micros),
    }
}

/// What to refuse.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct EnforceRequest {
    /// Addresses, prefixes, domains (`*.name`: with all names under it), URLs, digests; names in any script.
    targets: Vec<String>,
    /// What is done; by default it is refused.
    #[serde(default)]
    #[schema(value_type = Object)]
    action: Action,
    /// Where; empty: everywhere.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    roles: Vec<Role>,
    /// Why.
    reason: String,
    /// For how many hours; none: until undone.
    #[serde(default)]
    hours: Option<u32>,
}

/// A word on a proposal, or on what is no longer believed.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Decision {
    /// Approve (keep), or reject (lift).
    approve: bool,
    /// Why.
    #[serde(default)]
    reason: String,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Wanted {
    /// `active` (the default: in force), `proposed`, `lifted`, `rejected`, `ended` (its time is over), or `doubted`: in force, though its indicator
    /// is no longer believed.
    #[serde(default)]
    #[param(max_length = 20)]
    state: Option<String>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Asked {
    /// An address, prefix, domain, URL or digest; names in any script.
    #[param(max_length = 2100)]
    target: String,
}

/// What meets a target.
#[derive(Debug, Serialize, ToSchema)]
struct WhyView {
    /// What was asked, in canonical form.
    target: String,
    /// The same with its name in its own script, if that is not ASCII.
    target_read: Option<String>,
    /// Whether it is blocked now.
    blocked: bool,
    /// What meets it, in force first, then the newest.
    enforcements: Vec<EnforcementView>,
    /// Why it is never blocked, if so.
    protected: Option<String>,
    /// Why it is blocked only when a person approves, if so.
    asked: Option<String>,
}

/// What to simulate.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SimulateRequest {
    /// An address, prefix, domain or URL.
    target: String,
}

/// What would have been refused during the last day.
#[derive(Debug, Serialize, ToSchema)]
struct SimulationView {
    /// Requests that would have been met.
    requests: u64,
    /// Requests looked at.
    of: u64,
    /// Different clients, hosts or URLs among those met.
    groups: u64,
    /// The most frequent.
    examples: Vec<SeenView>,
    /// Whether there was more than is looked at.
    truncated: bool,
    /// Why it is never blocked, if so.
    protected: Option<String>,
    /// Why it is blocked only when a person approves, if so.
    asked: Option<String>,
}

/// Requests by client, host or URL.
#[derive(Debug, Serialize, ToSchema)]
struct SeenView {
    /// The client, host or URL.
    what: String,
    /// Its requests.
    requests: u64,
}

impl From<Seen> for SeenView {
    fn from(seen: Seen) -> Self {
        Self {
            what: seen.what,
            requests: seen.requests,
        }
    }
}

/// A version of the policy.
#[derive(Debug, Serialize, ToSchema)]
struct PolicyView {
    /// 1, 2, 3 …; 0: the built-in one.
    version: i64,
    /// The document.
    #[schema(value_type = Object)]
    policy: Policy,
}

/// What a person outside is told.
pub(crate) fn tell(error: EnforceError) -> WebError {
    match error {
        EnforceError::Store(error) => casework::room::tell_store(error),
        EnforceError::NotFound(id) => WebError::not_found("enforcement", id),
        EnforceError::NoList(name) => WebError::not_found("warning-list", name),
        EnforceError::Target(error) => WebError::field("targets", "target", error.to_string()),
        EnforceError::Forbidden { .. } => {
            WebError::field("targets", "warning-list", error.to_string())
        }
        EnforceError::Conflict(text) => WebError::conflict(text),
        EnforceError::TooMany { .. } => WebError::field("targets", "limit", error.to_string()),
        EnforceError::Policy(problems) => WebError::invalid(
            problems
                .into_iter()
                .map(|(field, text)| FieldError::new(field, "policy", text))
                .collect(),
        ),
        EnforceError::Row(_) => WebError::internal(error),
        EnforceError::Seam(cause) => WebError::unavailable(cause),
    }
}

fn id_of(text: &str) -> WebResult<EnforcementId> {
    text.parse()
        .map_err(|_| WebError::not_found("enforcement", text))
}

fn target_of(field: &str, text: &str) -> WebResult<Target> {
    simple::typed(text).map_err(|error| WebError::field(field, "target", error.to_string()))
}

/// Enforcements, newest first.
#[utoipa::path(get, path = "/api/v1/enforcements", tag = "enforcement", params(Wanted, Paging), responses((status = 200, body = Listing<EnforcementView>)))]
async fn list_enforcements(
    Shared(desk): Shared<Enforcements>,
    visit: Visit,
    ApiQuery(wanted): ApiQuery<Wanted>,
    ApiQuery(paging): ApiQuery<Paging>,
) -> WebResult<ApiJson<Listing<EnforcementView>>> {
    let name = wanted.state.as_deref().unwrap_or("active");
    let (doubted, ended) = (name == "doubted", name == "ended");
    let state = match (doubted, ended) {
        (true, _) => Some(State::Active),
        (_, true) => None,
        _ => Some(State::from_name(name).ok_or_else(|| {
            WebError::field(
                "state",
                "state",
                "must be active, proposed, lifted, rejected, ended or doubted",
            )
        })?),
    };
    let request: PageRequest = page_request(&paging)?;
    let wanted = super::manage::Wanted {
        state,
        doubted,
        ended,
        ..super::manage::Wanted::default()
    };
    let page = desk.search(&wanted, &request).await.map_err(tell)?;
    Ok(ApiJson(Listing {
        items: page
            .items
            .into_iter()
            .map(|(decided, hits)| view(decided, hits, visit.now))
            .collect(),
        next: page.next,
    }))
}

/// Refuses targets from now on, or proposes to, as the policy wants it.
#[utoipa::path(post, path = "/api/v1/enforcements", tag = "enforcement", request_body = EnforceRequest, responses((status = 201, body = Vec<EnforcementView>)))]
async fn create_enforcements(
    Shared(desk): Shared<Enforcements>,
    visit: Visit,
    ApiJson(request): ApiJson<EnforceRequest>,
) -> WebResult<(StatusCode, ApiJson<Vec<EnforcementView>>)> {
    let by = visit.principal.signed_in()?;
    at_most("reason", &request.reason, REASON_CHARS_MAX)?;
    if request.reason.trim().is_empty() {
        return Err(WebError::field("reason", "required", "must say why"));
    }
    if request.targets.is_empty() || request.targets.len() > TARGETS_MAX {
        return Err(WebError::field(
            "targets",
            "limit",
            format!("must be 1 to {TARGETS_MAX} targets"),
        ));
    }
    if request
        .hours
        .is_some_and(|hours| hours == 0 || hours > HOURS_MAX)
    {
        return Err(WebError::field(
            "hours",
            "range",
            format!("must be 1 to {HOURS_MAX}"),
        ));
    }
    let (_, policy) = desk.policy().await.map_err(tell)?;
    let until = request.hours.map(|hours| {
        visit
            .now
            .plus(Duration::from_secs(u64::from(hours) * 3_600))
    });
    let mut wanted = Vec::with_capacity(request.targets.len());
    for text in &request.targets {
        wanted.push(New {
            target: target_of("targets", text)?,
            action: request.action,
            roles: request.roles.clone(),
            source: format!("user:{by}"),
            reason: request.reason.clone(),
            confidence: 100,
            until,
            proposed: policy.manual_approval,
            tlp: None,
            said_at: 0,
        });
    }
    let made = desk
        .enforce(Actor::User(by), Some(&visit.request_id), wanted)
        .await
        .map_err(tell)?;
    let views = made
        .into_iter()
        .map(|decided| view(decided, Hits::default(), visit.now))
        .collect();
    Ok((StatusCode::CREATED, ApiJson(views)))
}

/// One enforcement.
#[utoipa::path(get, path = "/api/v1/enforcements/{id}", tag = "enforcement", params(("id" = String, Path, format = "uuid")), responses((status = 200, body = EnforcementView)))]
async fn get_enforcement(
    Shared(desk): Shared<Enforcements>,
    visit: Visit,
    ApiPath(id): ApiPath<String>,
) -> WebResult<ApiJson<EnforcementView>> {
    let (decided, hits) = desk.get(id_of(&id)?).await.map_err(tell)?;
    Ok(ApiJson(view(decided, hits, visit.now)))
}

/// Undoes an enforcement at every node.
#[utoipa::path(delete, path = "/api/v1/enforcements/{id}", tag = "enforcement", params(("id" = String, Path, format = "uuid")), responses((status = 200, body = EnforcementView)))]
async fn lift_enforcement(
    Shared(desk): Shared<Enforcements>,
    visit: Visit,
    ApiPath(id): ApiPath<String>,
) -> WebResult<ApiJson<EnforcementView>> {
    let by = visit.principal.signed_in()?;
    let decided = desk
        .lift(Actor::User(by), Some(&visit.request_id), id_of(&id)?, "")
        .await
        .map_err(tell)?;
    Ok(ApiJson(view(decided, Hits::default(), visit.now)))
}

/// Approves or rejects a proposal; keeps or lifts what is no longer believed.
#[utoipa::path(post, path = "/api/v1/enforcements/{id}/decision", tag = "enforcement", request_body = Decision, params(("id" = String, Path, format = "uuid")), responses((status = 200, body = EnforcementView)))]
async fn decide_enforcement(
    Shared(desk): Shared<Enforcements>,
    visit: Visit,
    ApiPath(id): ApiPath<String>,
    ApiJson(decision): ApiJson<Decision>,
) -> WebResult<ApiJson<EnforcementView>> {
    let by = visit.principal.signed_in()?;
    at_most("reason", &decision.reason, REASON_CHARS_MAX)?;
    let decided = desk
        .decide(
            by,
            Some(&visit.request_id),
            id_of(&id)?,
            decision.approve,
            &decision.reason,
        )
        .await
        .map_err(tell)?;
    Ok(ApiJson(view(decided, Hits::default(), visit.now)))
}

/// Why something is blocked, or not.
#[utoipa::path(get, path = "/api/v1/enforcement-why", tag = "enforcement", params(Asked), responses((status = 200, body = WhyView)))]
async fn why_enforced(
    Shared(desk): Shared<Enforcements>,
    visit: Visit,
    ApiQuery(asked): ApiQuery<Asked>,
) -> WebResult<ApiJson<WhyView>> {
    let why = desk
        .why(target_of("target", &asked.target)?)
        .await
        .map_err(tell)?;
    let enforcements: Vec<EnforcementView> = why
        .decisions
        .into_iter()
        .map(|(decided, hits)| view(decided, hits, visit.now))
        .collect();
    Ok(ApiJson(WhyView {
        target_read: simple::read_as(&why.target),
        target: why.target.to_string(),
        blocked: enforcements
            .iter()
            .any(|one| one.in_force && one.action != "observe"),
        enforcements,
        protected: why.forbidden,
        asked: why.asked,
    }))
}

/// What an enforcement would have met during the last day.
#[utoipa::path(post, path = "/api/v1/enforcement-simulations", tag = "enforcement", request_body = SimulateRequest, responses((status = 200, body = SimulationView)))]
async fn simulate_enforcement(
    Shared(desk): Shared<Enforcements>,
    _visit: Visit,
    ApiJson(request): ApiJson<SimulateRequest>,
) -> WebResult<ApiJson<SimulationView>> {
    let target = target_of("target", &request.target)?;
    let result = desk.simulate(&target).await.map_err(tell)?;
    Ok(ApiJson(SimulationView {
        requests: result.requests,
        of: result.of,
        groups: result.groups,
        examples: result.examples.into_iter().map(SeenView::from).collect(),
        truncated: result.truncated,
        protected: result.forbidden,
        asked: result.asked,
    }))
}

/// The policy in force.
#[utoipa::path(get, path = "/api/v1/enforcement-policy", tag = "enforcement", responses((status = 200, body = PolicyView)))]
async fn get_enforcement_policy(
    Shared(desk): Shared<Enforcements>,
    _visit: Visit,
) -> WebResult<ApiJson<PolicyView>> {
    let (version, policy) = desk.policy().await.map_err(tell)?;
    Ok(ApiJson(PolicyView {
        version,
        policy: (*policy).clone(),
    }))
}

/// Puts a new version of the policy in force.
#[utoipa::path(put, path = "/api/v1/enforcement-policy", tag = "enforcement", request_body = Object, responses((status = 200, body = PolicyView)))]
async fn put_enforcement_policy(
    Shared(desk): Shared<Enforcements>,
    visit: Visit,
    ApiJson(policy): ApiJson<Policy>,
) -> WebResult<ApiJson<PolicyView>> {
    let by = visit.principal.signed_in()?;
    let version = desk
        .set_policy(Actor::User(by), Some(&visit.request_id), policy.clone())
        .await
        .map_err(tell)?;
    Ok(ApiJson(PolicyView { version, policy }))
}
