//! The routes for nodes.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{DefaultBodyLimit, FromRequestParts, Path, Query, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base::Role;
use bytes::Bytes;
use futures::stream;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::stream::QuickStream;
use super::{Door, IngestError, Peer};
use crate::api::{
    EVENTS_BYTES_MAX, EnrolReply, EnrolRequest, ErrorBody, EventsReply, HEALTH_BYTES_MAX,
    Heartbeat, HeartbeatReply, POLL_WAIT, QUICK_REPORTS_MAX, QuickReport, REPORT_BYTES_MAX,
    RenewReply, RenewRequest, SMALL_BYTES_MAX, SnapshotReport, VERSION_HEADER, split_frames,
};
use crate::control::nodes::{Caller, Need};
use crate::control::recorder::{Fact, NotRecorded};
use crate::control::{Control, ControlError, EnrolRefusal, NodeRefusal};
use crate::envelope::Handover;
use crate::pki::{Identity, PkiError};

/// Time to answer anything, apart from the waiting of polls and streams.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

const EVENTS: &str = "/v1/events";
const REPORTS: &str = "/v1/reports/";

pub(super) fn router(door: Door) -> Router {
    Router::new()
        .route("/v1/enrol", post(enrol))
        .route("/v1/renew", post(renew))
        .route("/v1/keys", get(keys))
        .route("/v1/snapshots/{role}", get(snapshot).post(snapshot_report))
        .route("/v1/quick/{role}", get(quick))
        .route("/v1/quick", post(quick_reports))
        .route("/v1/heartbeat", post(heartbeat))
        .layer(DefaultBodyLimit::max(SMALL_BYTES_MAX))
        .route(
            EVENTS,
            post(events).layer(DefaultBodyLimit::max(EVENTS_BYTES_MAX)),
        )
        .route(
            "/v1/reports/{role}",
            post(report).layer(DefaultBodyLimit::max(REPORT_BYTES_MAX)),
        )
        .fallback(async || ApiError::new(StatusCode::NOT_FOUND, "there is nothing here"))
        .layer(middleware::from_fn(with_limits))
        .with_state(door)
}

/// Bounds size and time, and says which version answers.
async fn with_limits(request: Request, next: Next) -> Response {
    let mut response = if announces_too_much(&request) {
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "the request is too large").into_response()
    } else {
        in_time(request, next).await
    };
    response.headers_mut().insert(
        VERSION_HEADER,
        HeaderValue::from_static(env!("CARGO_PKG_VERSION")),
    );
    response
}

/// Whether the head alone says that the body is beyond the limit; bodies that do not
/// say are cut while they are read.
fn announces_too_much(request: &Request) -> bool {
    let limit = if request.uri().path() == EVENTS {
        EVENTS_BYTES_MAX
    } else if request.uri().path().starts_with(REPORTS) {
        REPORT_BYTES_MAX
    } else {
        SMALL_BYTES_MAX
    };
    let announced = request.headers().get(header::CONTENT_LENGTH);
    announced
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok())
        .is_some_and(|length| length > limit as u64)
}

async fn in_time(request: Request, next: Next) -> Response {
    match timeout(POLL_WAIT + ANSWER_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            ApiError::new(StatusCode::REQUEST_TIMEOUT, "the request took too long").into_response()
        }
    }
}

/// An answer that is an error.
struct ApiError {
    status: StatusCode,
    message: String,
}

impl ApiError {
    fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = ErrorBody {
            error: self.message,
        };
        (self.status, Json(body)).into_response()
    }
}

impl From<NotRecorded> for ApiError {
    fn from(_: NotRecorded) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "what nodes say cannot be written down at the moment",
        )
    }
}

impl From<NodeRefusal> for ApiError {
    fn from(refusal: NodeRefusal) -> Self {
        ControlError::from(refusal).into()
    }
}

impl From<ControlError> for ApiError {
    fn from(error: ControlError) -> Self {
        let status = match &error {
            ControlError::Enrol(EnrolRefusal::Used) => StatusCode::CONFLICT,
            ControlError::Enrol(EnrolRefusal::Expired) => StatusCode::GONE,
            ControlError::Enrol(_) => StatusCode::FORBIDDEN,
            ControlError::Refused(
                NodeRefusal::NoCertificate
                | NodeRefusal::Superseded
                | NodeRefusal::Expired
                | NodeRefusal::ExpiredLong,
            ) => StatusCode::UNAUTHORIZED,
            ControlError::Refused(_) => StatusCode::FORBIDDEN,
            ControlError::Pki(PkiError::Request(_)) | ControlError::Invalid(_) => {
                StatusCode::UNPROCESSABLE_ENTITY
            }
            ControlError::Store(error) if error.is_transient() => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        if status == StatusCode::INTERNAL_SERVER_ERROR {
            // What went wrong inside is for the log, not for the peer.
            tracing::error!(error = %runtime::error_chain(&error), "A node's request failed");
            return Self::new(status, "the control plane failed inside; see its log");
        }
        Self::new(status, error.to_string())
    }
}

/// A node whose certificate is in force, checked for this very request.
struct Node {
    caller: Caller,
    identity: Identity,
    peer: Peer,
}

impl FromRequestParts<Door> for Node {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, door: &Door) -> Result<Self, ApiError> {
        identify(parts, &door.control, Need::Valid).await
    }
}

/// As [`Node`], and also one whose certificate has just expired.
struct Renewing(Node);

impl FromRequestParts<Door> for Renewing {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, door: &Door) -> Result<Self, ApiError> {
        identify(parts, &door.control, Need::Renewable)
            .await
            .map(Self)
    }
}

async fn identify(parts: &Parts, control: &Control, need: Need) -> Result<Node, ApiError> {
    let peer = peer(parts)?;
    let identity = peer.identity.clone().ok_or(NodeRefusal::NoCertificate)?;
    let caller = control.authorise(&identity, need).await?;
    Ok(Node {
        caller,
        identity,
        peer,
    })
}

fn peer(parts: &Parts) -> Result<Peer, ApiError> {
    // `serve_one` puts it into every request.
    parts.extensions.get::<Peer>().cloned().ok_or_else(|| {
        ApiError::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the connection has no peer",
        )
    })
}

/// JSON whose errors are ours.
fn parse<T: DeserializeOwned>(body: &Bytes) -> Result<T, ApiError> {
    serde_json::from_slice(body).map_err(|error| {
        ApiError::new(
            StatusCode::BAD_REQUEST,
            format!("the request is not the JSON expected: {error}"),
        )
    })
}

fn role(text: &str) -> Result<Role, ApiError> {
    text.parse().map_err(|error: base::role::UnknownRole| {
        ApiError::new(StatusCode::NOT_FOUND, error.to_string())
    })
}

async fn enrol(
    State(door): State<Door>,
    axum::Extension(peer): axum::Extension<Peer>,
    body: Bytes,
) -> Result<Json<EnrolReply>, ApiError> {
    let request: EnrolRequest = parse(&body)?;
    let address = peer.address.ip().to_string();
    match door.control.enrol(&request, address).await {
        Ok(reply) => Ok(Json(reply)),
        Err(error) => {
            tracing::warn!(address = %peer.address, %error, "Enrolment refused");
            Err(error.into())
        }
    }
}

async fn renew(
    State(door): State<Door>,
    Renewing(node): Renewing,
    body: Bytes,
) -> Result<Json<RenewReply>, ApiError> {
    Ok(Json(
        door.control
            .renew(&node.caller, &parse::<RenewRequest>(&body)?)
            .await?,
    ))
}

async fn keys(State(door): State<Door>, _: Node) -> Json<Vec<Handover>> {
    Json(door.control.signing().chain.clone())
}

#[derive(Deserialize)]
struct After {
    #[serde(default)]
    after: u64,
    #[serde(default)]
    part: Option<String>,
}

async fn snapshot(
    State(door): State<Door>,
    node: Node,
    Path(name): Path<String>,
    Query(After { after, part }): Query<After>,
) -> Result<Response, ApiError> {
    let role = role(&name)?;
    node.caller.must_have(role)?;
    if door.control.latest(role).is_some_and(|l| l.version < after) {
        door.control
            .catch_up(&node.caller.node, role, after)
            .await?;
    }
    let found = tokio::select! {
        found = door.control.newer_than(role, after, POLL_WAIT) => found,
        () = door.stop.cancelled() => None,
    };
    let Some(latest) = found else {
        return Ok(StatusCode::NO_CONTENT.into_response());
    };
    // It may have been revoked while it waited.
    door.control.authorise(&node.identity, Need::Valid).await?;
    let envelope = door
        .control
        .envelope_for(&node.caller.node, role, &latest, part.as_deref())
        .await?;
    Ok((
        [(header::CONTENT_TYPE, "application/octet-stream")],
        envelope,
    )
        .into_response())
}

async fn snapshot_report(
    State(door): State<Door>,
    node: Node,
    Path(name): Path<String>,
    body: Bytes,
) -> Result<StatusCode, ApiError> {
    let role = role(&name)?;
    node.caller.must_have(role)?;
    let report: SnapshotReport = parse(&body)?;
    let published_at = match &report {
        SnapshotReport::Accepted { version, .. } => door
            .control
            .latest(role)
            .filter(|latest| latest.version == *version)
            .map(|latest| latest.created_at),
        SnapshotReport::Refused { reason, .. } => {
            tracing::error!(node = %node.caller.node, %role, reason, "Snapshot refused by a node");
            None
        }
    };
    door.control
        .record(Fact::Snapshot {
            node: node.caller.node,
            role,
            report,
            published_at,
        })
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn heartbeat(
    State(door): State<Door>,
    node: Node,
    body: Bytes,
) -> Result<Json<HeartbeatReply>, ApiError> {
    let mut beat: Heartbeat = parse(&body)?;
    if beat.health.to_string().len() > HEALTH_BYTES_MAX {
        return Err(ApiError::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the health report must have at most {HEALTH_BYTES_MAX} bytes"),
        ));
    }
    beat.snapshots
        .retain(|role, _| node.caller.roles.contains(role));
    beat.quick
        .retain(|role, _| node.caller.roles.contains(role));
    let draining = node.caller.draining;
    door.control
        .record(Fact::Heartbeat {
            node: node.caller.node,
            address: node.peer.address.ip().to_string(),
            beat,
        })
        .await?;
    Ok(Json(HeartbeatReply {
        draining,
        now: door.control.now(),
    }))
}

async fn quick_reports(
    State(door): State<Door>,
    node: Node,
    body: Bytes,
) -> Result<StatusCode, ApiError> {
    let reports: Vec<QuickReport> = parse(&body)?;
    if reports.len() > QUICK_REPORTS_MAX {
        return Err(ApiError::new(
            StatusCode::BAD_REQUEST,
            format!("at most {QUICK_REPORTS_MAX} reports in one request"),
        ));
    }
    door.control
        .record(Fact::Quick {
            node: node.caller.node,
            reports,
        })
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn events(
    State(door): State<Door>,
    node: Node,
    body: Bytes,
) -> Result<Json<EventsReply>, ApiError> {
    let frames = split_frames(body).map_err(|why| ApiError::new(StatusCode::BAD_REQUEST, why))?;
    let mut reply = EventsReply {
        acked: 0,
        refused: Vec::new(),
    };
    for (seq, batch) in frames {
        if !batch.is_empty() {
            match door.ingest.ingest(&node.caller.node, seq, batch).await {
                Ok(()) => {}
                Err(IngestError::Refused(why)) => {
                    tracing::error!(node = %node.caller.node, seq, why, "Event batch refused");
                    reply.refused.push((seq, why));
                }
                // What was taken before is acknowledged; the rest comes again.
                Err(IngestError::Busy(_)) if reply.acked > 0 => break,
                Err(IngestError::Busy(why)) => {
                    return Err(ApiError::new(StatusCode::TOO_MANY_REQUESTS, why));
                }
            }
        }
        reply.acked = seq;
    }
    Ok(Json(reply))
}

async fn report(
    State(door): State<Door>,
    node: Node,
    Path(name): Path<String>,
    body: Bytes,
) -> Result<StatusCode, ApiError> {
    let role = role(&name)?;
    node.caller.must_have(role)?;
    match door.ingest.report(&node.caller.node, role, body).await {
        Ok(()) => Ok(StatusCode::NO_CONTENT),
        Err(IngestError::Busy(why)) => Err(ApiError::new(StatusCode::TOO_MANY_REQUESTS, why)),
        Err(IngestError::Refused(why)) => {
            tracing::error!(node = %node.caller.node, %role, why, "Report refused");
            Err(ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, why))
        }
    }
}

async fn quick(
    State(door): State<Door>,
    node: Node,
    Path(name): Path<String>,
    Query(After { after, .. }): Query<After>,
) -> Result<Response, ApiError> {
    let role = role(&name)?;
    node.caller.must_have(role)?;
    if after > *door.control.0.orders.borrow() {
        door.control
            .orders_catch_up(&node.caller.node, after)
            .await?;
    }
    let stream = QuickStream::new(door, node.identity, role, after);
    let body = Body::from_stream(stream::unfold(stream, |mut stream| async move {
        stream
            .next()
            .await
            .map(|bytes| (Ok::<_, Infallible>(bytes), stream))
    }));
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response())
}
