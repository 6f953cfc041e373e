//! Questions by HTTP, with the addresses and shapes of Routinator's interface, so that its clients work:
//! `/validity`, `/api/v1/validity/AS/PREFIX`, `/json`, `/status`, and metrics for a registry. Beyond it:
//! `/report` is the validator's last run with every refused object, `POST /validate` asks for a run.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
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
use super::validator::{RunReport, Source, Tally, now_s};
use super::{Decision, InvalidReason, Validity, Vrp};
use crate::rtr::server::Figures;

/// The routes.
pub fn router(rpki: Rpki) -> Router {
    Router::new()
        .route("/validity", get(by_query))
        .route("/api/v1/validity/{asn}/{*prefix}", get(by_path))
        .route("/json", get(export))
        .route("/status", get(status))
        .route("/report", get(report))
        .route("/validate", post(validate))
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
    let decision = set.decide(prefix, Some(origin));
    let sources = |vrp: &Vrp| rpki.source_of(vrp);
    Json(document(prefix, origin, &decision, sources)).into_response()
}

/// The verdict as Routinator tells it, with the ROA of each payload where `source` knows it.
pub fn document(
    prefix: Prefix,
    origin: u32,
    decision: &Decision,
    source: impl Fn(&Vrp) -> Option<Source>,
) -> Value {
    let list = |vrps: &[Vrp]| -> Vec<Value> {
        vrps.iter()
            .map(|vrp| {
                let mut one = json!({
                    "asn": format!("AS{}", vrp.asn),
                    "prefix": vrp.prefix.to_string(),
                    "max_length": vrp.max_length.to_string(),
                });
                if let Some(source) = source(vrp) {
                    one["source"] = json!({
                        "type": "roa",
                        "tal": source.tal,
                        "uri": source.uri,
                        "expires_at": source.expires_at,
                    });
                }
                one
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
    let degraded = health.problems().next().is_some();
    let run = health.report.as_deref().map(|report| {
        json!({
            "began_at": report.began_at,
            "took_ms": report.took_ms,
            "vrps": report.vrps,
            "aspas": report.aspas,
            "router_keys": report.router_keys,
            "tals": report.tals,
            "repositories": report.repositories.len(),
            "fetches_failed": report.fetches.iter().filter(|one| !one.ok).count(),
            "refused": report.refused_count,
        })
    });
    Json(json!({
        "vrps": cache.set().map(|set| set.len()),
        "session": cache.session(),
        "serial": cache.serial(),
        "degraded": degraded,
        "health": health,
        "running": rpki.running(),
        "last_run": run,
    }))
    .into_response()
}

async fn report(State(rpki): State<Rpki>) -> Response {
    match rpki.health().report {
        Some(report) => Json(report).into_response(),
        None if rpki.validates() => refuse(
            StatusCode::SERVICE_UNAVAILABLE,
            "no run has ended yet".into(),
        ),
        None => refuse(StatusCode::NOT_FOUND, NO_VALIDATOR.into()),
    }
}

async fn validate(State(rpki): State<Rpki>) -> Response {
    let ended_at = rpki
        .health()
        .report
        .map_or(0, |report| report.began_at + report.took_ms / 1_000);
    let left = (ended_at + RUNS_APART_S).saturating_sub(now_s());
    if left > 0 && rpki.validates() {
        let said = format!("the last run has just ended: ask again in {left} s");
        return refuse(StatusCode::TOO_MANY_REQUESTS, said);
    }
    if !rpki.validate_now() {
        return refuse(StatusCode::NOT_FOUND, NO_VALIDATOR.into());
    }
    (
        StatusCode::ACCEPTED,
        Json(json!({ "running": rpki.running() })),
    )
        .into_response()
}

/// Least time from the end of a run to one that is asked for here.
const RUNS_APART_S: u64 = 30;
/// Said where payloads come from elsewhere.
const NO_VALIDATOR: &str =
    "nothing is validated here: the payloads come from a file or another cache";

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
                health.problems().count() as i64,
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
        match &health.report {
            Some(report) => runs(&mut encoder, report),
            None => Ok(()),
        }
    }
}

/// The validator's last run.
fn runs(encoder: &mut DescriptorEncoder<'_>, report: &RunReport) -> fmt::Result {
    let totals: [(&str, &str, i64); 4] = [
        (
            "civicnet_rpki_run_began_seconds",
            "When the last validation run that ended well began, Unix time",
            report.began_at as i64,
        ),
        (
            "civicnet_rpki_run_milliseconds",
            "How long it took",
            report.took_ms as i64,
        ),
        (
            "civicnet_rpki_refused",
            "Objects and publication points that it refused",
            report.refused_count as i64,
        ),
        (
            "civicnet_rpki_fetches_failed",
            "Repositories that it could not fetch",
            report.fetches.iter().filter(|one| !one.ok).count() as i64,
        ),
    ];
    for (name, help, value) in totals {
        let gauge = ConstGauge::new(value);
        gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
    }
    type Figure = (&'static str, &'static str, fn(&Tally) -> u32);
    let figures: [Figure; 4] = [
        (
            "civicnet_rpki_tal_vrps",
            "Payloads below a trust anchor",
            |one| one.vrps,
        ),
        (
            "civicnet_rpki_tal_objects",
            "Objects taken below a trust anchor",
            |one| one.objects,
        ),
        (
            "civicnet_rpki_tal_objects_refused",
            "Objects refused below a trust anchor",
            |one| one.objects_refused,
        ),
        (
            "civicnet_rpki_tal_points_rejected",
            "Publication points rejected below a trust anchor",
            |one| one.points_rejected,
        ),
    ];
    for (name, help, figure) in figures {
        let kind = ConstGauge::new(0_i64).metric_type();
        let mut family = encoder.encode_descriptor(name, help, None, kind)?;
        for tal in &report.tals {
            let gauge = ConstGauge::new(i64::from(figure(tal)));
            gauge.encode(family.encode_family(&[("tal", tal.name.as_str())])?)?;
        }
    }
    Ok(())
}

fn read(value: &AtomicU64) -> u64 {
    value.load(Ordering::Relaxed)
}
