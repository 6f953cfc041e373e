//! The control endpoint, for an administrative listener: `GET /why?name=&client=` and
//! `GET /health`.

use std::net::IpAddr;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use base::{NodeName, Prefix};
use dns::{Name, Why, why};
use serde::{Deserialize, Serialize};

use crate::health::Voice;
use crate::keeper::Views;

/// What `/why` is asked.
#[derive(Debug, Deserialize)]
struct WhyQuery {
    name: String,
    client: String,
}

/// An explanation, with every observer's word.
#[derive(Debug, Serialize)]
struct WhyTold {
    #[serde(flatten)]
    why: Why,
    observers: Vec<EdgeTold>,
}

/// One edge as observers see it.
#[derive(Debug, Serialize)]
struct EdgeTold {
    edge: NodeName,
    alive: bool,
    load: f32,
    overloaded: bool,
    drained: bool,
    voices: Vec<Voice>,
}

/// The routes.
pub(crate) fn router(views: Views) -> Router {
    Router::new()
        .route("/why", get(tell_why))
        .route("/health", get(tell_health))
        .with_state(views)
}

async fn tell_why(
    State(views): State<Views>,
    query: Result<Query<WhyQuery>, QueryRejection>,
) -> Response {
    let Ok(Query(query)) = query else {
        return wrong(
            "name and client must both be given: /why?name=www.example.&client=192.0.2.1",
        );
    };
    let name = match query.name.parse::<Name>() {
        Ok(name) => name,
        Err(error) => return wrong(&error.to_string()),
    };
    let client = query.client.parse::<IpAddr>().or_else(|_| {
        query
            .client
            .parse::<Prefix>()
            .map(|prefix| prefix.address())
    });
    let Ok(client) = client else {
        return wrong(&format!(
            "client {:?}: must be an IP address or prefix",
            query.client.chars().take(80).collect::<String>()
        ));
    };
    let served = views.current.get();
    let states = views.agreement().states();
    let why = why(&served.with_states(states), &name, client);
    let observers = edges(&views);
    Json(WhyTold { why, observers }).into_response()
}

async fn tell_health(State(views): State<Views>) -> Response {
    Json(edges(&views)).into_response()
}

fn edges(views: &Views) -> Vec<EdgeTold> {
    let served = views.current.get();
    let now = views.started.elapsed();
    let agreement = views.agreement();
    served
        .table()
        .policies()
        .edges()
        .iter()
        .zip(agreement.states())
        .map(|(edge, state)| EdgeTold {
            edge: edge.node.clone(),
            alive: state.alive,
            load: state.load,
            overloaded: state.overloaded,
            drained: edge.drained,
            voices: agreement.voices(&edge.node, now),
        })
        .collect()
}

fn wrong(message: &str) -> Response {
    let body = serde_json::json!({ "error": message });
    (StatusCode::BAD_REQUEST, Json(body)).into_response()
}
