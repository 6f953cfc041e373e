//! Questions by HTTP, with the addresses and shapes of Routinator's interface, so that its clients work:
//! `/validity`, `/api/v1/validity/AS/PREFIX`, `/json`, `/status`, and metrics for a registry.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use base::Prefix;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use serde::Deserialize;
use serde_json::{Value, json};

use super::file::{self, parse_asn};
use super::service::Rpki;
use super::{Decision, InvalidReason, Validity, Vrp};
use crate::rtr::server::Figures;

/// The routes.
pub fn router(rpki: Rpki) -> Router {
    Router::new()
        .route("/validity", get(by_query))
        .route("/api/v1/validity/{asn}/{*prefix}", get(by_path))
        .route("/json", get(export))
        .route("/status", get(status))
        .with_state(rpki)
}

#[derive(Deserialize)]
struct Asked {
    asn: String,
    prefix: String,
}

async fn by_query(State(rpki): State<Rpki>, Query(asked): Query<Asked>) -> Response {
    answer(&rpki, &asked.asn, &asked.prefix)
}

async fn by_path(
    State(rpki): State<Rpki>,
    Path((asn, prefix)): Path<(String, String)>,
) -> Response {
    answer(&rpki, &asn, &prefix)
}

fn refuse(status: StatusCode, error: String) -> Response {
    (status, Json(json!({ "error": error }))).into_response()
}

fn answer(rpki: &Rpki, asn: &str, prefix: &str) -> Response {
    let Some(origin) = parse_asn(asn) else {
        let shown: String = asn.chars().take(40).collect();
        return refuse(
            StatusCode::BAD_REQUEST,
            format!("asn {shown:?}: must be a number up to 4294967295, or AS and that number"),
        );
    };
    let prefix: Prefix = match prefix.parse() {
        Ok(prefix) => prefix,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, format!("prefix: {error}")),
    };
    let Some(set) = rpki.set() else {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "no RPKI data yet".into());
    };
    Json(document(prefix, origin, &set.decide(prefix, Some(origin)))).into_response()
}

/// The verdict as Routinator tells it.
pub fn document(prefix: Prefix, origin: u32, decision: &Decision) -> Value {
    let list = |vrps: &[Vrp]| -> Vec<Value> {
        vrps.iter()
            .map(|vrp| {
                json!({
                    "asn": format!("AS{}", vrp.asn),
                    "prefix": vrp.prefix.to_string(),
                    "max_length": vrp.max_length.to_string(),
                })
            })
            .collect()
    };
    let mut validity = json!({
        "state": decision.validity.name(),
        "description": describe(decision),
        "VRPs": {
            "matched": list(&decision.matched),
            "unmatched_as": list(&decision.other_origin),
            "unmatched_length": list(&decision.too_long),
        },
    });
    match decision.reason() {
        Some(InvalidReason::Origin) => validity["reason"] = "as".into(),
        Some(InvalidReason::Length) => validity["reason"] = "length".into(),
        None => {}
    }
    json!({
        "validated_route": {
            "route": { "origin_asn": format!("AS{origin}"), "prefix": prefix.to_string() },
            "validity": validity,
        },
    })
}

fn describe(decision: &Decision) -> &'static str {
    match (decision.validity, decision.reason()) {
        (Validity::Valid, _) => "at least one payload authorises this origin for this prefix",
        (_, Some(InvalidReason::Length)) => {
            "the origin is authorised for shorter prefixes than this one only"
        }
        (Validity::Invalid, _) => "payloads cover this prefix and none names this origin",
        (Validity::NotFound, _) => "no payload covers this prefix",
    }
}

async fn export(State(rpki): State<Rpki>) -> Response {
    let Some(set) = rpki.set() else {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "no RPKI data yet".into());
    };
    let written = tokio::task::spawn_blocking(move || {
        let mut body = Vec::new();
        file::write(&set, &mut body).map(|()| body)
    })
    .await;
    match written {
        Ok(Ok(body)) => ([(header::CONTENT_TYPE, "application/json")], body).into_response(),
        _ => refuse(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the export failed".into(),
        ),
    }
}

async fn status(State(rpki): State<Rpki>) -> Response {
    let cache = rpki.cache().borrow().clone();
    let health = rpki.health();
    let degraded = health.source_problem.is_some()
        || health.slurm_problem.is_some()
        || health.state_problem.is_some();
    Json(json!({
        "vrps": cache.set().map(|set| set.len()),
        "session": cache.session(),
        "serial": cache.serial(),
        "degraded": degraded,
        "health": health,
    }))
    .into_response()
}

/// The service's and the server's figures, read at each scrape.
pub struct RpkiMetrics {
    /// The service.
    pub rpki: Rpki,
    /// The server's counters.
    pub figures: Arc<Figures>,
}

impl fmt::Debug for RpkiMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RpkiMetrics")
    }
}

impl Collector for RpkiMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let cache = self.rpki.cache().borrow().clone();
        let health = self.rpki.health();
        let gauges: [(&str, &str, i64); 5] = [
            (
                "civicnet_rpki_vrps",
                "Payloads that are served",
                cache.set().map_or(0, |set| set.len() as i64),
            ),
            (
                "civicnet_rpki_serial",
                "Serial number of the newest set",
                i64::from(cache.serial()),
            ),
            (
                "civicnet_rpki_renewed_seconds",
                "When the source was last taken, Unix time",
                health.renewed_at.unwrap_or(0) as i64,
            ),
            (
                "civicnet_rpki_problems",
                "Problems with source, exceptions and state directory",
                [
                    &health.source_problem,
                    &health.slurm_problem,
                    &health.state_problem,
                ]
                .iter()
                .filter(|one| one.is_some())
                .count() as i64,
            ),
            (
                "civicnet_rtr_clients",
                "Routers connected",
                read(&self.figures.clients) as i64,
            ),
        ];
        for (name, help, value) in gauges {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        let counters: [(&str, &str, &AtomicU64); 6] = [
            (
                "civicnet_rtr_connections",
                "Connections of routers",
                &self.figures.connections,
            ),
            (
                "civicnet_rtr_refused",
                "Connections turned away for the limits",
                &self.figures.refused,
            ),
            (
                "civicnet_rtr_full_answers",
                "Answers with everything",
                &self.figures.full,
            ),
            (
                "civicnet_rtr_incremental_answers",
                "Answers with changes",
                &self.figures.incremental,
            ),
            (
                "civicnet_rtr_notifications",
                "Notifications sent",
                &self.figures.notified,
            ),
            (
                "civicnet_rtr_errors",
                "Connections ended by an error of the router",
                &self.figures.errors,
            ),
        ];
        for (name, help, value) in counters {
            let counter = ConstCounter::new(read(value));
            counter.encode(encoder.encode_descriptor(
                name,
                help,
                None,
                counter.metric_type(),
            )?)?;
        }
        Ok(())
    }
}

fn read(value: &AtomicU64) -> u64 {
    value.load(Ordering::Relaxed)
}
