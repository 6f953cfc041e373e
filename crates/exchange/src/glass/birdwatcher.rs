//! The looking glass by HTTP with the addresses and shapes of birdwatcher, so that its clients (Alice-LG)
//! work; and a search of its own with pages, labels and reasons.
//!
//! Refused routes carry `reasons`, every route `rpki` with the payload that decided; clients of
//! birdwatcher skip what they do not know.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use base::Prefix;
use serde::Deserialize;
use serde_json::{Value, json};

use super::index::{Community, Fate, Index, Matching, Page, PeerId, Question, Route};
use super::live::Glass;
use crate::rpki::VrpSet;
use crate::rpki::file::parse_asn;

/// Routes in one page of a search.
pub const PAGE_MAX: usize = 1_000;
/// Routes in one of birdwatcher's answers, which have no pages.
pub const ANSWER_MAX: usize = 250_000;
/// Routes of each kind in an answer on differences.
const CHANGES_MAX: usize = 1_000;

/// The routes.
pub fn router(glass: Glass) -> Router {
    Router::new()
        .route("/api/status", get(status))
        .route("/api/protocols/bgp", get(protocols))
        .route("/api/routes/protocol/{id}", get(taken))
        .route("/api/routes/filtered/{id}", get(filtered))
        .route("/api/route/net/{*prefix}", get(net))
        .route("/api/search", get(search))
        .route("/api/changes", get(changes))
        .with_state(glass)
}

fn refuse(status: StatusCode, error: String) -> Response {
    (status, Json(json!({ "error": error }))).into_response()
}

fn bad(error: String) -> Response {
    refuse(StatusCode::BAD_REQUEST, error)
}

/// The newest tables with the newest payloads.
struct View {
    index: Arc<Index>,
    vrps: Option<Arc<VrpSet>>,
    asn: u32,
}

impl View {
    fn of(glass: &Glass) -> Result<Self, Box<Response>> {
        let Some(index) = glass.now() else {
            let why = glass
                .problem()
                .unwrap_or_else(|| "the tables are not read yet".into());
            return Err(Box::new(refuse(StatusCode::SERVICE_UNAVAILABLE, why)));
        };
        Ok(Self {
            index,
            vrps: glass.options().rpki.as_ref().and_then(|rpki| rpki.set()),
            asn: glass.options().asn,
        })
    }

    fn api(&self) -> Value {
        json!({
            "Version": concat!("civicnet ", env!("CARGO_PKG_VERSION")),
            "result_from_cache": true,
            "cache_status": { "cached_at": { "date": self.index.taken_at_s() } },
        })
    }

    fn route(&self, route: &Route<'_>) -> Value {
        let one = route.attributes;
        let path: Vec<String> = one
            .path
            .to_string()
            .split(' ')
            .filter(|word| !word.is_empty())
            .map(str::to_owned)
            .collect();
        let communities: Vec<[u32; 2]> = one
            .communities
            .iter()
            .map(|value| [value >> 16, value & 0xffff])
            .collect();
        let large: Vec<[u32; 3]> = one
            .large
            .iter()
            .map(|value| [value.0, value.1, value.2])
            .collect();
        let origin = match one.origin {
            Some(0) => "IGP",
            Some(1) => "EGP",
            _ => "Incomplete",
        };
        let hop = one.next_hop.map(|hop| hop.to_string());
        let mut shown = json!({
            "network": route.prefix.to_string(),
            "gateway": hop,
            "from_protocol": route.session.name,
            "learnt_from": route.session.peer.address.to_string(),
            "type": ["BGP", "univ"],
            "primary": route.fate == Fate::Best,
            "age": route.since_s,
            "bgp": {
                "origin": origin,
                "as_path": path,
                "next_hop": hop,
                "local_pref": one.local_pref.map(|value| value.to_string()),
                "med": one.med.map(|value| value.to_string()),
                "communities": communities,
                "large_communities": large,
            },
            "state": match route.fate { Fate::Best => "best", Fate::Accepted => "accepted", Fate::Filtered => "filtered" },
        });
        if route.path_id != 0 {
            shown["path_id"] = route.path_id.into();
        }
        if route.fate == Fate::Filtered {
            let reasons: Vec<Value> = route
                .reasons(self.asn)
                .into_iter()
                .map(|reason| json!({ "key": reason.key(), "text": reason.words(), "number": reason.number() }))
                .collect();
            shown["reasons"] = reasons.into();
        }
        if let Some(vrps) = &self.vrps {
            let decision = vrps.decide(route.prefix, one.path.origin());
            shown["rpki"] = json!({
                "state": decision.validity.name(),
                "vrp": decision.deciding().map(|vrp| json!({
                    "prefix": vrp.prefix.to_string(),
                    "max_length": vrp.max_length,
                    "asn": vrp.asn,
                })),
            });
        }
        shown
    }

    fn answer(&self, page: &Page<'_>) -> Value {
        let routes: Vec<Value> = page.routes.iter().map(|route| self.route(route)).collect();
        json!({ "api": self.api(), "total": page.total, "routes": routes })
    }
}

/// Long answers are made on a thread of their own.
async fn heavy(work: impl FnOnce() -> Response + Send + 'static) -> Response {
    match tokio::task::spawn_blocking(work).await {
        Ok(response) => response,
        Err(_) => refuse(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the answer failed".into(),
        ),
    }
}

fn told(value: &Value) -> Response {
    (
        [(header::CONTENT_TYPE, "application/json")],
        value.to_string(),
    )
        .into_response()
}

async fn status(State(glass): State<Glass>) -> Response {
    let view = match View::of(&glass) {
        Ok(view) => view,
        Err(response) => return *response,
    };
    told(&json!({
        "api": view.api(),
        "status": {
            "version": concat!("civicnet ", env!("CARGO_PKG_VERSION")),
            "current_server": view.index.taken_at_s(),
            "message": glass.problem().unwrap_or_else(|| "the tables are up to date".into()),
        },
        "routes": view.index.len(),
        "prefixes": view.index.prefixes(),
        "memory_bytes": view.index.bytes(),
        "moments": glass.moments().iter().map(|index| index.taken_at_s()).collect::<Vec<_>>(),
    }))
}

async fn protocols(State(glass): State<Glass>) -> Response {
    let view = match View::of(&glass) {
        Ok(view) => view,
        Err(response) => return *response,
    };
    let mut all = serde_json::Map::new();
    for (at, session) in view.index.sessions().iter().enumerate() {
        let (best, accepted, refused) = view.index.counts(at as PeerId);
        let shown = json!({
            "protocol": session.name,
            "bird_protocol": "BGP",
            "state": if session.up { "up" } else { "down" },
            "connection": session.state,
            "description": "",
            "neighbor_address": session.peer.address.to_string(),
            "neighbor_as": session.peer.asn,
            "routes": { "imported": best + accepted, "filtered": refused, "preferred": best },
        });
        all.insert(session.name.clone(), shown);
    }
    told(&json!({ "api": view.api(), "protocols": all }))
}

async fn of_session(glass: Glass, id: String, fate: Fate) -> Response {
    let view = match View::of(&glass) {
        Ok(view) => view,
        Err(response) => return *response,
    };
    let Some(session) = view.index.session(&id) else {
        let shown: String = id.chars().take(80).collect();
        return refuse(
            StatusCode::NOT_FOUND,
            format!("there is no session {shown:?}"),
        );
    };
    let asked = Question {
        session: Some(session),
        fate: Some(fate),
        ..Question::default()
    };
    heavy(move || told(&view.answer(&view.index.find(&asked, 0, ANSWER_MAX)))).await
}

async fn taken(State(glass): State<Glass>, Path(id): Path<String>) -> Response {
    of_session(glass, id, Fate::Accepted).await
}

async fn filtered(State(glass): State<Glass>, Path(id): Path<String>) -> Response {
    of_session(glass, id, Fate::Filtered).await
}

async fn net(State(glass): State<Glass>, Path(prefix): Path<String>) -> Response {
    let prefix: Prefix = match prefix.parse() {
        Ok(prefix) => prefix,
        Err(error) => return bad(format!("prefix: {error}")),
    };
    let view = match View::of(&glass) {
        Ok(view) => view,
        Err(response) => return *response,
    };
    let asked = Question {
        prefix: Some(prefix),
        matching: Matching::Longest,
        ..Question::default()
    };
    told(&view.answer(&view.index.find(&asked, 0, PAGE_MAX)))
}

/// What the search takes.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Asked {
    prefix: Option<String>,
    matching: Option<String>,
    origin: Option<String>,
    through: Option<String>,
    community: Option<String>,
    session: Option<String>,
    state: Option<String>,
    offset: usize,
    limit: Option<usize>,
}

impl Asked {
    fn question(&self, index: &Index) -> Result<Question, String> {
        let asn = |name: &str, text: &Option<String>| match text {
            None => Ok(None),
            Some(text) => parse_asn(text).map(Some).ok_or_else(|| {
                let shown: String = text.chars().take(40).collect();
                format!(
                    "{name} {shown:?}: must be a number up to 4294967295, or AS and that number"
                )
            }),
        };
        let prefix = match &self.prefix {
            None => None,
            Some(text) => Some(
                text.parse::<Prefix>()
                    .map_err(|error| format!("prefix: {error}"))?,
            ),
        };
        let session = match &self.session {
            None => None,
            Some(name) => Some(index.session(name).ok_or_else(|| {
                let shown: String = name.chars().take(80).collect();
                format!("there is no session {shown:?}")
            })?),
        };
        Ok(Question {
            prefix,
            matching: match self.matching.as_deref() {
                None | Some("exact") => Matching::Exact,
                Some("longest") => Matching::Longest,
                Some("inside") => Matching::Inside,
                Some(_) => return Err("matching: must be exact, longest or inside".into()),
            },
            origin: asn("origin", &self.origin)?,
            through: asn("through", &self.through)?,
            community: match &self.community {
                None => None,
                Some(text) => Some(
                    text.parse::<Community>()
                        .map_err(|error| format!("community: {error}"))?,
                ),
            },
            session,
            fate: match self.state.as_deref() {
                None => None,
                Some("best") => Some(Fate::Best),
                Some("accepted") => Some(Fate::Accepted),
                Some("filtered") => Some(Fate::Filtered),
                Some(_) => return Err("state: must be best, accepted or filtered".into()),
            },
        })
    }
}

async fn search(State(glass): State<Glass>, Query(asked): Query<Asked>) -> Response {
    let view = match View::of(&glass) {
        Ok(view) => view,
        Err(response) => return *response,
    };
    let question = match asked.question(&view.index) {
        Ok(question) => question,
        Err(problem) => return bad(problem),
    };
    let limit = asked.limit.unwrap_or(100);
    if !(1..=PAGE_MAX).contains(&limit) {
        return bad(format!("limit {limit}: must be from 1 to {PAGE_MAX}"));
    }
    let offset = asked.offset;
    heavy(move || told(&view.answer(&view.index.find(&question, offset, limit)))).await
}

/// Which moment to compare with.
#[derive(Debug, Deserialize)]
struct Since {
    since: u64,
}

async fn changes(State(glass): State<Glass>, Query(asked): Query<Since>) -> Response {
    let view = match View::of(&glass) {
        Ok(view) => view,
        Err(response) => return *response,
    };
    let moments = glass.moments();
    let Some(before) = moments
        .iter()
        .find(|index| index.taken_at_s() == asked.since)
        .cloned()
    else {
        let kept: Vec<String> = moments
            .iter()
            .map(|index| index.taken_at_s().to_string())
            .collect();
        return bad(format!(
            "since {}: must be one of {}",
            asked.since,
            kept.join(", ")
        ));
    };
    heavy(move || {
        let changed = before.changes_to(&view.index, CHANGES_MAX);
        let list = |routes: &[Route<'_>]| {
            routes
                .iter()
                .map(|route| view.route(route))
                .collect::<Vec<_>>()
        };
        let pairs: Vec<Value> = changed
            .changed
            .iter()
            .map(|(old, new)| json!({ "before": view.route(old), "after": view.route(new) }))
            .collect();
        told(&json!({
            "api": view.api(),
            "withdrawn": { "total": changed.gone_total, "routes": list(&changed.gone) },
            "announced": { "total": changed.come_total, "routes": list(&changed.come) },
            "changed": { "total": changed.changed_total, "routes": pairs },
        }))
    })
    .await
}
