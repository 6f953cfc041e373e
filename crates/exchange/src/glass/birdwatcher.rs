//! The looking glass by HTTP with the addresses and shapes of birdwatcher 2, so that its clients (Alice-LG)
//! work. Everything is served at the root and below `/api`, where different versions look for it.
//!
//! Refused routes carry `reasons`, every route `rpki` with the payload that decided; clients of
//! birdwatcher skip what they do not know.

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use axum::{Json, Router};
use base::Prefix;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::api::{Service, answer, bad, blocking, missing, refuse, session_of, viewer};
use super::asking::{self, Towards};
use super::index::{Fate, Matching, PeerId, Question};
use super::view::{RouteView, Viewer, moment};

/// Routes in one of birdwatcher's answers, which have no pages.
pub const ANSWER_MAX: usize = 250_000;

/// The routes.
pub(super) fn router() -> Router<Service> {
    let routes = Router::new()
        .route("/version", get(version))
        .route("/status", get(status))
        .route("/protocols", get(protocols))
        .route("/protocols/bgp", get(protocols))
        .route("/protocols/short", get(short))
        .route("/symbols", get(symbols))
        .route("/symbols/tables", get(symbols))
        .route("/symbols/protocols", get(symbols))
        .route("/routes/protocol/{id}", get(taken))
        .route("/routes/peer/{peer}", get(of_peer))
        .route("/routes/table/{table}", get(of_table))
        .route("/routes/filtered/{id}", get(filtered))
        .route("/routes/export/{id}", get(exported))
        .route("/routes/noexport/{id}", get(withheld))
        .route("/routes/prefix", get(prefix))
        .route("/routes/count/protocol/{id}", get(count))
        .route("/routes/count/primary/{id}", get(count_primary))
        .route("/routes/count/table/{table}", get(count_table))
        .route("/route/net/{*prefix}", get(net));
    routes.clone().nest("/api", routes)
}

fn api(view: &Viewer) -> Value {
    json!({
        "Version": concat!("civicnet ", env!("CARGO_PKG_VERSION")),
        "result_from_cache": true,
        "cache_status": {
            "cached_at": { "date": moment(view.index.taken_at_s()), "timezone_type": "UTC", "timezone": "UTC" },
            "orig_ttl": 0,
        },
    })
}

fn listed(view: &Viewer, routes: Vec<RouteView>) -> Response {
    answer(&json!({ "api": api(view), "routes": routes }))
}

async fn version() -> Json<Value> {
    Json(json!({ "Version": concat!("civicnet ", env!("CARGO_PKG_VERSION")) }))
}

async fn status(State(service): State<Service>) -> Result<Response, Response> {
    let view = viewer(&service)?;
    let told = service.told().await;
    Ok(answer(&json!({
        "api": api(&view),
        "status": {
            "version": told.version,
            "router_id": told.router_id,
            "current_server": moment(view.index.taken_at_s()),
            "last_reboot": told.booted,
            "last_reconfig": told.configured,
            "message": service.glass.problem().unwrap_or_else(|| "Daemon is up and running".into()),
        },
        "routes": view.index.len(),
        "prefixes": view.index.prefixes(),
        "memory_bytes": view.index.bytes(),
        "moments": service.glass.moments().iter().map(|index| index.taken_at_s()).collect::<Vec<_>>(),
    })))
}

async fn protocols(State(service): State<Service>) -> Result<Response, Response> {
    let view = viewer(&service)?;
    let mut all = Map::new();
    for session in view.sessions() {
        let name = session.protocol.clone();
        all.insert(name, serde_json::to_value(session).unwrap_or_default());
    }
    Ok(answer(&json!({ "api": api(&view), "protocols": all })))
}

async fn short(State(service): State<Service>) -> Result<Response, Response> {
    let view = viewer(&service)?;
    let mut all = Map::new();
    for session in view.sessions() {
        let shown = json!({
            "proto": "BGP",
            "table": "---",
            "state": session.state,
            "since": session.state_changed,
            "info": session.connection,
        });
        all.insert(session.protocol, shown);
    }
    Ok(answer(&json!({ "api": api(&view), "protocols": all })))
}

async fn symbols(State(service): State<Service>) -> Result<Response, Response> {
    let view = viewer(&service)?;
    let names: Vec<&str> = view
        .index
        .sessions()
        .iter()
        .map(|session| session.name.as_str())
        .collect();
    Ok(answer(&json!({
        "api": api(&view),
        "symbols": { "routing table": ["master4", "master6"], "protocol": names },
    })))
}

async fn find(service: Service, question: Question) -> Result<Response, Response> {
    let view = viewer(&service)?;
    blocking(move || {
        let page = view.index.find(&question, 0, ANSWER_MAX);
        let shown = page.routes.iter().map(|route| view.route(route)).collect();
        listed(&view, shown)
    })
    .await
}

async fn of_session(service: Service, id: &str, fate: Option<Fate>) -> Result<Response, Response> {
    let view = viewer(&service)?;
    let session = Some(session_of(&view, id)?);
    let question = Question {
        session,
        fate,
        ..Question::default()
    };
    find(service, question).await
}

async fn taken(
    State(service): State<Service>,
    Path(id): Path<String>,
) -> Result<Response, Response> {
    of_session(service, &id, Some(Fate::Accepted)).await
}

async fn filtered(
    State(service): State<Service>,
    Path(id): Path<String>,
) -> Result<Response, Response> {
    of_session(service, &id, Some(Fate::Filtered)).await
}

async fn of_peer(
    State(service): State<Service>,
    Path(peer): Path<String>,
) -> Result<Response, Response> {
    let address: std::net::IpAddr = peer
        .parse()
        .map_err(|_| bad(format!("peer {:?}: must be an address", cut(&peer))))?;
    let view = viewer(&service)?;
    let at = view
        .index
        .sessions()
        .iter()
        .position(|session| session.peer.address == address)
        .ok_or_else(|| missing(&peer))?;
    let question = Question {
        session: Some(at as PeerId),
        fate: Some(Fate::Accepted),
        ..Question::default()
    };
    find(service, question).await
}

fn cut(text: &str) -> String {
    text.chars().take(80).collect()
}

/// `master4` and `master6` are the tables; together they are one here.
#[expect(clippy::result_large_err, reason = "the error is the answer")]
fn is_table(name: &str) -> Result<bool, Response> {
    match name {
        "master4" => Ok(false),
        "master6" => Ok(true),
        other => Err(refuse(
            StatusCode::NOT_FOUND,
            format!("there is no table {:?}", cut(other)),
        )),
    }
}

#[expect(clippy::result_large_err, reason = "the error is the answer")]
fn everything(v6: bool) -> Result<Question, Response> {
    let text = if v6 { "::/0" } else { "0.0.0.0/0" };
    let prefix: Prefix = text.parse().map_err(|error| bad(format!("{error}")))?;
    Ok(Question {
        prefix: Some(prefix),
        matching: Matching::Inside,
        fate: Some(Fate::Accepted),
        ..Question::default()
    })
}

async fn of_table(
    State(service): State<Service>,
    Path(table): Path<String>,
) -> Result<Response, Response> {
    find(service, everything(is_table(&table)?)?).await
}

async fn count_table(
    State(service): State<Service>,
    Path(table): Path<String>,
) -> Result<Response, Response> {
    let view = viewer(&service)?;
    let question = everything(is_table(&table)?)?;
    let total = view.index.find(&question, 0, 0).total;
    Ok(answer(&json!({ "api": api(&view), "routes": total })))
}

async fn count(
    State(service): State<Service>,
    Path(id): Path<String>,
) -> Result<Response, Response> {
    let view = viewer(&service)?;
    let (best, accepted, _) = view.index.counts(session_of(&view, &id)?);
    Ok(answer(
        &json!({ "api": api(&view), "routes": best + accepted }),
    ))
}

async fn count_primary(
    State(service): State<Service>,
    Path(id): Path<String>,
) -> Result<Response, Response> {
    let view = viewer(&service)?;
    let (best, _, _) = view.index.counts(session_of(&view, &id)?);
    Ok(answer(&json!({ "api": api(&view), "routes": best })))
}

async fn towards(service: Service, id: String, list: Towards) -> Result<Response, Response> {
    let view = viewer(&service)?;
    session_of(&view, &id)?;
    let (part, view) = service
        .ask_daemon(view, move |daemon, now_s| {
            asking::towards(daemon, &id, list, None, 0, ANSWER_MAX, now_s)
        })
        .await?;
    let page = part.index.find(&Question::default(), 0, ANSWER_MAX);
    let shown = page.routes.iter().map(|route| view.route(route)).collect();
    Ok(listed(&view, shown))
}

async fn exported(
    State(service): State<Service>,
    Path(id): Path<String>,
) -> Result<Response, Response> {
    towards(service, id, Towards::Exported).await
}

async fn withheld(
    State(service): State<Service>,
    Path(id): Path<String>,
) -> Result<Response, Response> {
    towards(service, id, Towards::Withheld).await
}

#[derive(Deserialize)]
struct Wanted {
    prefix: String,
}

async fn prefix(
    State(service): State<Service>,
    Query(wanted): Query<Wanted>,
) -> Result<Response, Response> {
    by_prefix(service, &wanted.prefix, Matching::Exact).await
}

/// `/route/net/192.0.2.1`, `/route/net/192.0.2.0/24`, `/route/net/192.0.2.0/mask/24`,
/// `/route/net/192.0.2.0/table/master4`.
async fn net(
    State(service): State<Service>,
    Path(rest): Path<String>,
) -> Result<Response, Response> {
    let net = rest.split("/table/").next().unwrap_or_default();
    by_prefix(service, &net.replace("/mask/", "/"), Matching::Longest).await
}

async fn by_prefix(service: Service, text: &str, matching: Matching) -> Result<Response, Response> {
    let prefix: Prefix = text
        .parse()
        .map_err(|error| bad(format!("prefix: {error}")))?;
    let question = Question {
        prefix: Some(prefix),
        matching,
        fate: Some(Fate::Accepted),
        ..Question::default()
    };
    find(service, question).await
}
