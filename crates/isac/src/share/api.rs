//! The JSON API of sharing.

use axum::extract::State;
use axum::http::StatusCode;
use base::OrgId;
use casework::api::{at_most, page_request};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use web::{ApiJson, ApiPath, ApiQuery, FieldError, Listing, Paging, Visit, WebError, WebResult};

use super::lens::Consents;
use super::policy::{Policy, Tier};
use super::preview::Preview;
use super::room::Parts;
use super::visits::Visited;
use super::{Lens, ShareError};
use crate::cert::shell::by;
use crate::objects::collections::ROOT;
use crate::objects::{ObjectsError, Via};
use crate::stix::Tlp;
use crate::taxii::PeerConfig;
use crate::taxii::peer::{Direction, Progress};

/// Characters of a name in a query.
const NAME_CHARS_MAX: usize = 100;

/// The API's routes.
pub(super) fn router(parts: Parts) -> OpenApiRouter<()> {
    OpenApiRouter::new()
        .routes(routes!(get_policy, put_policy))
        .routes(routes!(get_preview))
        .routes(routes!(list_peers))
        .routes(routes!(get_peer))
        .routes(routes!(put_trust))
        .routes(routes!(put_consent))
        .with_state(parts)
}

/// An error as the console tells it.
pub(super) fn tell(error: ShareError) -> WebError {
    match error {
        ShareError::Policy(problems) => WebError::invalid(
            problems
                .into_iter()
                .map(|(path, rule)| FieldError::new(path, "rule", rule))
                .collect(),
        ),
        ShareError::Objects(ObjectsError::NotFound { kind, name }) => {
            WebError::not_found(kind, name)
        }
        ShareError::Store(error) => casework::room::tell_store(error),
        other => WebError::internal(runtime::error_chain(&other)),
    }
}

/// The sharing policy.
#[derive(Debug, Serialize, ToSchema)]
struct PolicyView {
    /// Its version; 0 is the one that is built in.
    version: i64,
    /// The document.
    #[schema(value_type = Object)]
    policy: Policy,
}

/// How a peer does.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PeerView {
    /// Its name.
    pub(super) name: String,
    /// Where it stands.
    pub(super) tier: Tier,
    /// `poll` or `push`.
    pub(super) direction: String,
    /// The collection of this house.
    pub(super) collection: String,
    /// When it was last visited, in microseconds since 1970; 0: never.
    pub(super) visited_at: i64,
    /// Objects that went through, ever.
    pub(super) moved: i64,
    /// Objects refused, ever.
    pub(super) refused: i64,
    /// Objects kept back by the policy in the last 30 days.
    pub(super) withheld: i64,
    /// Visits that failed since the last that did not.
    pub(super) failures: i64,
    /// What the last failure was; empty: none.
    pub(super) error: String,
    /// Seconds by which it is behind; absent: not behind, or not known.
    pub(super) lag_s: Option<i64>,
    /// Percent of its word that it is believed where enforcement is decided; absent: nothing
    /// is fetched from it.
    pub(super) trust: Option<u8>,
}

/// A visit to a peer.
#[derive(Debug, Serialize, ToSchema)]
struct VisitView {
    /// When, in microseconds since 1970.
    at: i64,
    /// Objects that went through.
    moved: i64,
    /// Objects refused.
    refused: i64,
    /// Objects kept back by the policy.
    withheld: i64,
    /// Milliseconds that it took.
    millis: i64,
    /// Why it ended early; empty: it did not.
    error: String,
}

impl From<Visited> for VisitView {
    fn from(visit: Visited) -> Self {
        Self {
            at: visit.at,
            moved: visit.moved,
            refused: visit.refused,
            withheld: visit.withheld,
            millis: visit.millis,
            error: visit.error,
        }
    }
}

/// A peer with its latest visits.
#[derive(Debug, Serialize, ToSchema)]
struct WholePeer {
    /// The peer.
    peer: PeerView,
    /// Its visits, the newest first.
    visits: Listing<VisitView>,
}

/// What is tried on what.
#[derive(Debug, Default, Clone, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct PreviewQuery {
    /// A peer's name, or an organisation's id.
    #[serde(default)]
    #[param(max_length = 100)]
    pub(super) to: String,
    /// Alias or id of the collection; absent: the peer's.
    #[serde(default)]
    #[param(max_length = 100)]
    pub(super) collection: String,
}

/// One object of a preview.
#[derive(Debug, Serialize, ToSchema)]
struct ExampleView {
    /// The object.
    id: String,
    /// What it is called.
    name: String,
    /// Why it stays; empty: it goes.
    why: String,
    /// Whether anything was cleaned.
    cleaned: bool,
    /// The object as the audience would get it.
    after: String,
}

/// A reason to stay.
#[derive(Debug, Serialize, ToSchema)]
struct StayView {
    /// The rule or reason.
    why: String,
    /// How many objects.
    objects: usize,
}

/// What would go and what not.
#[derive(Debug, Serialize, ToSchema)]
struct PreviewView {
    /// Version of the policy.
    version: i64,
    /// Objects looked at: the newest.
    looked_at: usize,
    /// Of these, go.
    passes: usize,
    /// Of those that go, cleaned.
    cleaned: usize,
    /// Why the others stay.
    stays: Vec<StayView>,
    /// Some of both.
    examples: Vec<ExampleView>,
}

impl From<Preview> for PreviewView {
    fn from(preview: Preview) -> Self {
        Self {
            version: preview.version,
            looked_at: preview.looked_at,
            passes: preview.passes,
            cleaned: preview.cleaned,
            stays: preview
                .stays
                .into_iter()
                .map(|(why, objects)| StayView { why, objects })
                .collect(),
            examples: preview
                .examples
                .into_iter()
                .map(|one| ExampleView {
                    id: one.id,
                    name: one.name,
                    why: one.why,
                    cleaned: one.cleaned,
                    after: one.after,
                })
                .collect(),
        }
    }
}

/// How far a source consents.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ConsentBody {
    /// To the tier above and houses beside.
    up: bool,
    /// To the tier below and other members.
    down: bool,
}

/// The sharing policy in force.
#[utoipa::path(get, path = "/api/v1/sharing/policy", tag = "sharing", responses((status = 200, body = PolicyView)))]
async fn get_policy(State(parts): State<Parts>, _: Visit) -> WebResult<ApiJson<PolicyView>> {
    let (version, policy) = parts.sharing.policy().await.map_err(tell)?;
    Ok(ApiJson(PolicyView { version, policy }))
}

/// Puts a new version of the sharing policy in force.
#[utoipa::path(put, path = "/api/v1/sharing/policy", tag = "sharing", request_body = Object, responses((status = 200, body = PolicyView)))]
async fn put_policy(
    State(parts): State<Parts>,
    visit: Visit,
    ApiJson(policy): ApiJson<Policy>,
) -> WebResult<ApiJson<PolicyView>> {
    let version = parts
        .sharing
        .set_policy(&by(&visit)?, &policy)
        .await
        .map_err(tell)?;
    Ok(ApiJson(PolicyView { version, policy }))
}

/// What would go to a peer or a member, what not, and why.
#[utoipa::path(get, path = "/api/v1/sharing/preview", tag = "sharing", params(PreviewQuery), responses((status = 200, body = PreviewView)))]
async fn get_preview(
    State(parts): State<Parts>,
    _: Visit,
    ApiQuery(query): ApiQuery<PreviewQuery>,
) -> WebResult<ApiJson<PreviewView>> {
    Ok(ApiJson(previewed(&parts, &query, None).await?.into()))
}

/// Tries the policy in force, or another one, on what is stored.
pub(super) async fn previewed(
    parts: &Parts,
    query: &PreviewQuery,
    policy: Option<Policy>,
) -> WebResult<Preview> {
    at_most("to", &query.to, NAME_CHARS_MAX)?;
    at_most("collection", &query.collection, NAME_CHARS_MAX)?;
    let peer = parts.peers.iter().find(|peer| peer.name == query.to);
    let mut clearance = Tlp::Red;
    let mut lens: Lens = match peer {
        Some(peer) => {
            clearance = Tlp::from_name(&peer.tlp_max).unwrap_or_default();
            let lens = parts.sharing.lens(peer.tier, &peer.name, None).await;
            lens.map(|lens| Lens {
                there: Some(Via::of(&peer.url)),
                ..lens
            })
        }
        None => {
            let org: OrgId = query.to.parse().map_err(|_| {
                WebError::field("to", "choice", "must be a peer or an organisation")
            })?;
            parts.sharing.lens_of(Some(org)).await
        }
    }
    .map_err(tell)?;
    if let Some(policy) = policy {
        if let Some(org) = lens.own {
            lens.tier = policy.tier_of(org);
        }
        lens.policy = std::sync::Arc::new(policy);
        lens.version = -1;
    }
    let name = match (query.collection.as_str(), peer) {
        ("", Some(peer)) => peer.collection.as_str(),
        (name, _) => name,
    };
    let collection = parts
        .objects
        .collection(ROOT, name)
        .await
        .map_err(|e| tell(e.into()))?;
    let preview = parts
        .sharing
        .preview(&parts.objects, &collection, clearance, &lens)
        .await;
    preview.map_err(tell)
}

/// How each peer does.
#[utoipa::path(get, path = "/api/v1/sharing/peers", tag = "sharing", responses((status = 200, body = Listing<PeerView>)))]
async fn list_peers(
    State(parts): State<Parts>,
    visit: Visit,
) -> WebResult<ApiJson<Listing<PeerView>>> {
    let mut items = Vec::new();
    for peer in parts.peers.iter() {
        items.push(standing(&parts, &visit, peer).await?);
    }
    Ok(ApiJson(Listing { items, next: None }))
}

/// A peer and its visits.
#[utoipa::path(get, path = "/api/v1/sharing/peers/{peer}", tag = "sharing", params(("peer" = String, Path), Paging), responses((status = 200, body = WholePeer)))]
async fn get_peer(
    State(parts): State<Parts>,
    visit: Visit,
    ApiPath(peer): ApiPath<String>,
    ApiQuery(paging): ApiQuery<Paging>,
) -> WebResult<ApiJson<WholePeer>> {
    let config = peer_of(&parts, &peer)?;
    let page = parts
        .sharing
        .visits(&config.name, &page_request(&paging)?)
        .await
        .map_err(tell)?;
    Ok(ApiJson(WholePeer {
        peer: standing(&parts, &visit, config).await?,
        visits: Listing {
            items: page.items.into_iter().map(VisitView::from).collect(),
            next: page.next,
        },
    }))
}

/// How far a peer is believed.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct TrustBody {
    /// Percent of its word: 0 to 100.
    #[schema(minimum = 0, maximum = 100)]
    trust: u8,
}

/// Says how far what is fetched from a peer is believed where enforcement is decided. It
/// counts for what comes from then on.
#[utoipa::path(put, path = "/api/v1/sharing/peers/{peer}/trust", tag = "sharing", request_body = TrustBody, params(("peer" = String, Path)), responses((status = 204)))]
async fn put_trust(
    State(parts): State<Parts>,
    visit: Visit,
    ApiPath(peer): ApiPath<String>,
    ApiJson(body): ApiJson<TrustBody>,
) -> WebResult<StatusCode> {
    let config = polled(&parts, &peer)?;
    parts
        .sharing
        .set_trust_in_peer(&by(&visit)?, &config.name, &config.url, body.trust)
        .await
        .map_err(tell)?;
    Ok(StatusCode::NO_CONTENT)
}

/// A peer from which objects are fetched.
pub(super) fn polled<'a>(parts: &'a Parts, name: &str) -> WebResult<&'a PeerConfig> {
    let config = peer_of(parts, name)?;
    match config.direction {
        Direction::Poll => Ok(config),
        Direction::Push => Err(WebError::field(
            "peer",
            "direction",
            "must be polled: nothing is fetched from a peer that is pushed to",
        )),
    }
}

pub(super) fn peer_of<'a>(parts: &'a Parts, name: &str) -> WebResult<&'a PeerConfig> {
    let found = parts.peers.iter().find(|peer| peer.name == name);
    found.ok_or_else(|| WebError::not_found("peer", name))
}

/// How a peer does at this moment.
pub(super) async fn standing(
    parts: &Parts,
    visit: &Visit,
    peer: &PeerConfig,
) -> WebResult<PeerView> {
    let progress: Progress = parts.sharing.progress(&peer.name).await.map_err(tell)?;
    let from = visit
        .now
        .minus(std::time::Duration::from_secs(super::visits::DAYS * 86_400));
    let sums = parts
        .sharing
        .visit_sums(&peer.name, from)
        .await
        .map_err(tell)?;
    let seconds = |since: i64| (visit.now.micros() - since).max(0) / 1_000_000;
    let lag_s = match peer.direction {
        // What waits to be pushed, since when.
        Direction::Push => {
            let collection = parts.objects.collection(ROOT, &peer.collection).await;
            let clearance = Tlp::from_name(&peer.tlp_max).unwrap_or_default();
            match collection {
                Ok(collection) => {
                    let filter = crate::objects::Filter {
                        versions: vec![crate::objects::VersionMatch::All],
                        ..crate::objects::Filter::default()
                    };
                    let page = parts
                        .objects
                        .page(&collection, clearance, &filter, progress.after, 1, false)
                        .await
                        .map_err(|e| tell(e.into()))?;
                    page.rows.first().map(|row| seconds(row.seq))
                }
                Err(_) => None,
            }
        }
        Direction::Poll => {
            (progress.failures > 0 && progress.after > 0).then(|| seconds(progress.after))
        }
    };
    Ok(PeerView {
        name: peer.name.clone(),
        tier: peer.tier,
        direction: match peer.direction {
            Direction::Poll => "poll".to_owned(),
            Direction::Push => "push".to_owned(),
        },
        collection: peer.collection.clone(),
        visited_at: progress.visited_at,
        moved: progress.moved,
        refused: progress.refused,
        withheld: sums.withheld,
        failures: progress.failures,
        error: progress.error,
        lag_s,
        trust: match peer.direction {
            Direction::Push => None,
            Direction::Poll => {
                let credit = parts.sharing.trust_in_peer(&peer.url).await;
                Some(credit.map_err(tell)?.trust)
            }
        },
    })
}

/// Says how far what an organisation sends may be passed on.
#[utoipa::path(put, path = "/api/v1/sharing/consents/{org}", tag = "sharing", request_body = ConsentBody, params(("org" = String, Path, format = "uuid")), responses((status = 204)))]
async fn put_consent(
    State(parts): State<Parts>,
    visit: Visit,
    ApiPath(org): ApiPath<String>,
    ApiJson(body): ApiJson<ConsentBody>,
) -> WebResult<StatusCode> {
    let org: OrgId = org
        .parse()
        .map_err(|_| WebError::not_found("organisation", &org))?;
    visit.principal.require("share:consent", org)?;
    let consents = Consents {
        up: body.up,
        down: body.down,
    };
    parts
        .sharing
        .set_consent(&by(&visit)?, org, consents)
        .await
        .map_err(tell)?;
    Ok(StatusCode::NO_CONTENT)
}
