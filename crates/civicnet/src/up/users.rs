//! The sandbox's own small door: the rate of its users, read and changed while it runs.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use sandbox::traffic::{RPS_MAX, Traffic};
use serde::{Deserialize, Serialize};

/// What `GET /traffic` says.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct TrafficState {
    /// Requests per second.
    pub(crate) rps: u32,
    /// Requests answered since the start.
    #[serde(default)]
    pub(crate) served: u64,
    /// Requests that got no page since the start.
    #[serde(default)]
    pub(crate) failed: u64,
}

/// `GET /traffic` and `PUT /traffic`.
pub(super) fn router(traffic: Arc<Traffic>) -> Router {
    Router::new()
        .route("/traffic", get(show).put(change))
        .with_state(traffic)
}

async fn show(State(traffic): State<Arc<Traffic>>) -> Json<TrafficState> {
    Json(state(&traffic))
}

async fn change(
    State(traffic): State<Arc<Traffic>>,
    Json(wish): Json<TrafficState>,
) -> Result<Json<TrafficState>, (StatusCode, String)> {
    if wish.rps > RPS_MAX {
        return Err((
            StatusCode::UNPROCESSABLE_ENTITY,
            format!("rps {}: must be at most {RPS_MAX}", wish.rps),
        ));
    }
    traffic.set_rate(wish.rps);
    Ok(Json(state(&traffic)))
}

fn state(traffic: &Traffic) -> TrafficState {
    let (served, failed) = traffic.counts();
    TrafficState {
        rps: traffic.rate(),
        served,
        failed,
    }
}
