//! The JSON API of protection.

use axum::extract::State as Shared;
use axum::http::StatusCode;
use base::Prefix;
use casework::api::{at_most, page_request};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use web::{
    ApiJson, ApiPath, ApiQuery, Listing, OrgScope, Paging, Thing, Visit, WebError, WebResult,
};

use super::engine::{New, State, Wanted};
use super::policy::Policy;
use super::rows::Kept;
use super::words::sentence;
use super::{REASON_CHARS_MAX, dry};
use crate::document::Flow;
use crate::portal::room::{Desk, by, told};

pub(crate) fn router(desk: Desk) -> OpenApiRouter<()> {
    OpenApiRouter::new()
        .routes(routes!(list_protections, create_protection))
        .routes(routes!(get_protection, lift_protection))
        .routes(routes!(extend_protection))
        .routes(routes!(restore_protection))
        .routes(routes!(decide_protection))
        .routes(routes!(dry_run_protection))
        .routes(routes!(get_protection_policy, put_protection_policy))
        .routes(routes!(get_registered_space, put_registered_space))
        .with_state(desk)
}

/// A blackhole or flow rule.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ProtectionView {
    /// Names it.
    #[schema(format = "uuid")]
    id: String,
    /// The member that asked; none: the exchange's own.
    asn: Option<u32>,
    /// Whose addresses.
    destination: Option<String>,
    /// What else must match; none: a blackhole (RFC 7999).
    #[schema(value_type = Option<Object>)]
    flow: Option<Flow>,
    /// Sites; empty: all where the member has a router.
    sites: Vec<String>,
    /// In a sentence, in the reader's language.
    words: String,
    /// As BIRD announces it.
    bird: String,
    /// Where it came from.
    source: String,
    /// Why.
    reason: String,
    /// Where it stands.
    state: State,
    /// Whether it is announced now.
    in_force: bool,
    /// When it ends, in microseconds since 1970.
    until: Option<i64>,
    /// Who asked.
    made_by: String,
    /// When, in microseconds since 1970.
    made_at: i64,
    /// Who decided or undid it.
    decided_by: Option<String>,
    /// Why.
    decided_why: String,
}

fn view(visit: &Visit, kept: Kept) -> ProtectionView {
    ProtectionView {
        words: sentence(&kept.rule).of(visit.lang.tag()).to_owned(),
        bird: dry::bird_form(&kept.rule),
        in_force: kept.is_in_force(visit.now),
        id: kept.rule.id,
        asn: kept.rule.asn,
        destination: kept.rule.destination.map(|to| to.to_string()),
        flow: kept.rule.flow,
        sites: kept.rule.sites,
        source: kept.source,
        reason: kept.reason,
        state: kept.state,
        until: kept.until.map(base::Timestamp::micros),
        made_by: kept.made_by,
        made_at: kept.made_at.micros(),
        decided_by: kept.decided_by,
        decided_why: kept.decided_why,
    }
}

/// What to announce.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ProtectionRequest {
    /// The member.
    asn: u32,
    /// Whose addresses: a prefix or an address inside the member's registered space.
    destination: String,
    /// What else must match (RFC 8955); without it everything is discarded (RFC 7999).
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    flow: Option<Flow>,
    /// Sites; empty: all where the member has a router.
    #[serde(default)]
    sites: Vec<String>,
    /// For how many hours, up to 168.
    hours: u32,
    /// Why.
    reason: String,
}

impl ProtectionRequest {
    /// The rule that is asked for.
    fn rule(self) -> WebResult<New> {
        at_most("reason", &self.reason, REASON_CHARS_MAX)?;
        let destination: Prefix = super::asked::prefix("destination", &self.destination)
            .map_err(|problem| WebError::field("destination", "format", problem.message.en))?;
        Ok(New {
            asn: self.asn,
            destination,
            flow: self.flow,
            sites: self.sites,
            hours: self.hours,
            reason: self.reason,
            source: "api",
        })
    }
}

/// What a rule would do.
#[derive(Debug, Serialize, ToSchema)]
struct DryRunView {
    /// In a sentence, in the reader's language.
    words: String,
    /// As BIRD announces it.
    bird: String,
    /// Whether it would wait for a second person.
    waits: bool,
    /// Site by site.
    sites: Vec<AtView>,
    /// Bytes that it would have met at most: those that the member was sent in this version of IP;
    /// none: nothing is measured.
    met_bytes_max: Option<u64>,
    /// Seconds in which they were measured.
    met_seconds: Option<u64>,
}

/// A site as far as a rule is concerned.
#[derive(Debug, Serialize, ToSchema)]
struct AtView {
    /// The site.
    site: String,
    /// Whether its route server would announce the rule.
    announces: bool,
    /// Members there that would be told.
    to: Vec<u32>,
}

/// How much longer.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Extension {
    /// Hours from now, up to 168.
    hours: u32,
}

/// A word on a proposal.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ProtectionDecision {
    /// Approve, or reject.
    approve: bool,
    /// Why.
    #[serde(default)]
    reason: String,
}

/// A version of the policy.
#[derive(Debug, Serialize, ToSchema)]
struct ProtectionPolicyView {
    /// 1, 2, 3 …; 0: the built-in one.
    version: i64,
    /// The document.
    policy: Policy,
}

/// What is registered for a member.
#[derive(Debug, Serialize, ToSchema)]
struct SpaceView {
    /// The member.
    asn: u32,
    /// Prefixes that it may protect.
    prefixes: Vec<OwnView>,
}

/// A prefix and who says so.
#[derive(Debug, Serialize, ToSchema)]
struct OwnView {
    /// The prefix.
    prefix: String,
    /// `irr`, or `operator`.
    source: String,
    /// When the source last said so, in microseconds since 1970.
    seen_at: i64,
}

/// Prefixes that an officer vouches for, besides the registries.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SpaceRequest {
    /// All of them: those that are left out are taken away.
    prefixes: Vec<String>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct WantedState {
    /// `active`, `proposed`, `lifted`, `expired` or `rejected`; all when absent.
    #[serde(default)]
    #[param(max_length = 20)]
    state: Option<String>,
}

/// The scope in which the caller may undo: its own, or all for those who operate.
fn acting(visit: &Visit) -> OrgScope {
    if visit.principal.may("protection:decide", Thing::HOUSE) {
        OrgScope::All
    } else {
        visit.principal.scope("protection:ask")
    }
}

/// Blackholes and flow rules, newest first.
#[utoipa::path(get, path = "/api/v1/exchange-protection", tag = "exchange-protection", params(WantedState, Paging), responses((status = 200, body = Listing<ProtectionView>)))]
async fn list_protections(
    Shared(desk): Shared<Desk>,
    visit: Visit,
    ApiQuery(wanted): ApiQuery<WantedState>,
    ApiQuery(paging): ApiQuery<Paging>,
) -> WebResult<ApiJson<Listing<ProtectionView>>> {
    let state = match wanted.state.as_deref() {
        None => None,
        Some(name) => Some(State::from_name(name).ok_or_else(|| {
            WebError::field(
                "state",
                "state",
                "must be active, proposed, lifted, expired or rejected",
            )
        })?),
    };
    let page = desk
        .portal
        .protect
        .list(
            &visit.principal.scope("protection:view"),
            &Wanted { state },
            &page_request(&paging)?,
        )
        .await
        .map_err(|e| told(e, &visit))?;
    Ok(ApiJson(Listing {
        items: page
            .items
            .into_iter()
            .map(|kept| view(&visit, kept))
            .collect(),
        next: page.next,
    }))
}

/// Announces a blackhole or flow rule, or proposes it, as the policy wants.
#[utoipa::path(post, path = "/api/v1/exchange-protection", tag = "exchange-protection", request_body = ProtectionRequest, responses((status = 201, body = ProtectionView)))]
async fn create_protection(
    Shared(desk): Shared<Desk>,
    visit: Visit,
    ApiJson(request): ApiJson<ProtectionRequest>,
) -> WebResult<(StatusCode, ApiJson<ProtectionView>)> {
    let kept = desk
        .portal
        .protect
        .ask(
            &by(&visit)?,
            &visit.principal.scope("protection:ask"),
            &request.rule()?,
        )
        .await
        .map_err(|e| told(e, &visit))?;
    Ok((StatusCode::CREATED, ApiJson(view(&visit, kept))))
}

/// What a rule would do, without keeping it.
#[utoipa::path(post, path = "/api/v1/exchange-protection-dry-runs", tag = "exchange-protection", request_body = ProtectionRequest, responses((status = 200, body = DryRunView)))]
async fn dry_run_protection(
    Shared(desk): Shared<Desk>,
    visit: Visit,
    ApiJson(request): ApiJson<ProtectionRequest>,
) -> WebResult<ApiJson<DryRunView>> {
    let run = desk
        .portal
        .protect
        .dry_run(&visit.principal.scope("protection:ask"), &request.rule()?)
        .await
        .map_err(|e| told(e, &visit))?;
    Ok(ApiJson(DryRunView {
        words: run.sentence.of(visit.lang.tag()).to_owned(),
        bird: run.bird,
        waits: run.waits,
        sites: run
            .sites
            .into_iter()
            .map(|at| AtView {
                site: at.site,
                announces: at.announces,
                to: at.to,
            })
            .collect(),
        met_bytes_max: run.matched.as_ref().map(|matched| matched.bytes_max),
        met_seconds: run.matched.as_ref().map(|matched| matched.seconds),
    }))
}

/// One rule.
#[utoipa::path(get, path = "/api/v1/exchange-protection/{id}", tag = "exchange-protection", params(("id" = String, Path, format = "uuid")), responses((status = 200, body = ProtectionView)))]
async fn get_protection(
    Shared(desk): Shared<Desk>,
    visit: Visit,
    ApiPath(id): ApiPath<String>,
) -> WebResult<ApiJson<ProtectionView>> {
    let kept = desk
        .portal
        .protect
        .get(&visit.principal.scope("protection:view"), &id)
        .await
        .map_err(|e| told(e, &visit))?;
    Ok(ApiJson(view(&visit, kept)))
}

/// Undoes a rule, or takes back what is proposed.
#[utoipa::path(delete, path = "/api/v1/exchange-protection/{id}", tag = "exchange-protection", params(("id" = String, Path, format = "uuid")), responses((status = 200, body = ProtectionView)))]
async fn lift_protection(
    Shared(desk): Shared<Desk>,
    visit: Visit,
    ApiPath(id): ApiPath<String>,
) -> WebResult<ApiJson<ProtectionView>> {
    let kept = desk
        .portal
        .protect
        .lift(&by(&visit)?, &acting(&visit), &id, "")
        .await
        .map_err(|e| told(e, &visit))?;
    Ok(ApiJson(view(&visit, kept)))
}

/// Puts back a rule that was undone, while its time is not over.
#[utoipa::path(post, path = "/api/v1/exchange-protection/{id}/restoration", tag = "exchange-protection", params(("id" = String, Path, format = "uuid")), responses((status = 200, body = ProtectionView)))]
async fn restore_protection(
    Shared(desk): Shared<Desk>,
    visit: Visit,
    ApiPath(id): ApiPath<String>,
) -> WebResult<ApiJson<ProtectionView>> {
    let kept = desk
        .portal
        .protect
        .restore(&by(&visit)?, &acting(&visit), &id)
        .await
        .map_err(|e| told(e, &visit))?;
    Ok(ApiJson(view(&visit, kept)))
}

/// Gives a rule more time, counted from now.
#[utoipa::path(put, path = "/api/v1/exchange-protection/{id}/end", tag = "exchange-protection", request_body = Extension, params(("id" = String, Path, format = "uuid")), responses((status = 200, body = ProtectionView)))]
async fn extend_protection(
    Shared(desk): Shared<Desk>,
    visit: Visit,
    ApiPath(id): ApiPath<String>,
    ApiJson(more): ApiJson<Extension>,
) -> WebResult<ApiJson<ProtectionView>> {
    let kept = desk
        .portal
        .protect
        .extend(
            &by(&visit)?,
            &visit.principal.scope("protection:ask"),
            &id,
            more.hours,
        )
        .await
        .map_err(|e| told(e, &visit))?;
    Ok(ApiJson(view(&visit, kept)))
}

/// Approves or rejects a proposal.
#[utoipa::path(post, path = "/api/v1/exchange-protection/{id}/decision", tag = "exchange-protection", request_body = ProtectionDecision, params(("id" = String, Path, format = "uuid")), responses((status = 200, body = ProtectionView)))]
async fn decide_protection(
    Shared(desk): Shared<Desk>,
    visit: Visit,
    ApiPath(id): ApiPath<String>,
    ApiJson(decision): ApiJson<ProtectionDecision>,
) -> WebResult<ApiJson<ProtectionView>> {
    at_most("reason", &decision.reason, REASON_CHARS_MAX)?;
    let kept = desk
        .portal
        .protect
        .decide(
            visit.principal.signed_in()?,
            Some(visit.request_id.clone()),
            &id,
            decision.approve,
            &decision.reason,
        )
        .await
        .map_err(|e| told(e, &visit))?;
    Ok(ApiJson(view(&visit, kept)))
}

/// The policy in force.
#[utoipa::path(get, path = "/api/v1/exchange-protection-policy", tag = "exchange-protection", responses((status = 200, body = ProtectionPolicyView)))]
async fn get_protection_policy(
    Shared(desk): Shared<Desk>,
    visit: Visit,
) -> WebResult<ApiJson<ProtectionPolicyView>> {
    let (version, policy) = desk
        .portal
        .protect
        .policy()
        .await
        .map_err(|e| told(e, &visit))?;
    Ok(ApiJson(ProtectionPolicyView { version, policy }))
}

/// Puts a new version of the policy in force.
#[utoipa::path(put, path = "/api/v1/exchange-protection-policy", tag = "exchange-protection", request_body = Policy, responses((status = 200, body = ProtectionPolicyView)))]
async fn put_protection_policy(
    Shared(desk): Shared<Desk>,
    visit: Visit,
    ApiJson(policy): ApiJson<Policy>,
) -> WebResult<ApiJson<ProtectionPolicyView>> {
    let version = desk
        .portal
        .protect
        .set_policy(&by(&visit)?, policy)
        .await
        .map_err(|e| told(e, &visit))?;
    Ok(ApiJson(ProtectionPolicyView { version, policy }))
}

async fn space_view(desk: &Desk, visit: &Visit, asn: u32) -> WebResult<ApiJson<SpaceView>> {
    let own = desk
        .portal
        .protect
        .space_of(asn)
        .await
        .map_err(|e| told(e, visit))?;
    Ok(ApiJson(SpaceView {
        asn,
        prefixes: own
            .into_iter()
            .map(|own| OwnView {
                prefix: own.prefix.to_string(),
                source: own.source,
                seen_at: own.seen_at.micros(),
            })
            .collect(),
    }))
}

/// Which addresses a member may protect.
#[utoipa::path(get, path = "/api/v1/exchange-registered-space/{asn}", tag = "exchange-protection", params(("asn" = u32, Path)), responses((status = 200, body = SpaceView)))]
async fn get_registered_space(
    Shared(desk): Shared<Desk>,
    visit: Visit,
    ApiPath(asn): ApiPath<u32>,
) -> WebResult<ApiJson<SpaceView>> {
    desk.portal
        .network(&visit.principal.scope("protection:view"), asn, None)
        .await
        .map_err(|e| told(e, &visit))?;
    space_view(&desk, &visit, asn).await
}

/// Says which addresses a member may protect besides those in the registries.
#[utoipa::path(put, path = "/api/v1/exchange-registered-space/{asn}", tag = "exchange-protection", request_body = SpaceRequest, params(("asn" = u32, Path)), responses((status = 200, body = SpaceView)))]
async fn put_registered_space(
    Shared(desk): Shared<Desk>,
    visit: Visit,
    ApiPath(asn): ApiPath<u32>,
    ApiJson(request): ApiJson<SpaceRequest>,
) -> WebResult<ApiJson<SpaceView>> {
    desk.portal
        .network(&OrgScope::All, asn, None)
        .await
        .map_err(|e| told(e, &visit))?;
    let mut prefixes = Vec::with_capacity(request.prefixes.len().min(1_000));
    for text in &request.prefixes {
        let prefix = text.parse::<Prefix>().map_err(|_| {
            let short: String = text.chars().take(60).collect();
            WebError::field("prefixes", "format", format!("{short:?} is no prefix"))
        })?;
        prefixes.push(prefix);
    }
    desk.portal
        .protect
        .keep_space(&by(&visit)?, asn, super::space::BY_HAND, &prefixes)
        .await
        .map_err(|e| told(e, &visit))?;
    space_view(&desk, &visit, asn).await
}
