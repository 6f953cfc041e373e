//! The looking glass's own questions by HTTP: search with pages, what goes to a session, differences,
//! probes. The console asks them; so may anybody whom the site lets in ([`Guard`]).

use std::net::{IpAddr, SocketAddr};
use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::extract::{ConnectInfo, Path, Query, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base::Prefix;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::watch;

use super::asking::{self, Towards};
use super::birdwatcher;
use super::feed::FeedError;
use super::index::{Community, Fate, Index, Matching, PeerId, Question};
use super::live::Glass;
use super::probe::{ProbeError, ProbeRequest, Prober};
use super::sign::{Key, MAC_HEADER, TIME_HEADER};
use super::view::{ChangesView, RoutesView, Viewer};
use crate::agent::check::{CheckError, Checker};
use crate::document::EngineKind;
use crate::engine::birdc::{Client, Status};
use crate::engine::openbgpd::{self, OpenBgpd};
use crate::rpki::file::parse_asn;

/// Routes in one page of a search.
pub const PAGE_MAX: usize = 1_000;
/// Routes of each kind in an answer on differences.
const CHANGES_MAX: usize = 1_000;
/// Questions to the daemon at one time.
const DAEMON_TURNS: usize = 2;

/// Who may ask.
#[derive(Debug, Clone, Default)]
pub struct Guard {
    /// Whether everybody may, apart from probing.
    pub open: bool,
    /// Networks that may, apart from probing: other looking glasses.
    pub allow: Vec<Prefix>,
    /// Key of the control plane, whose questions are signed.
    pub key: Option<watch::Receiver<Option<Key>>>,
}

/// What answers.
#[derive(Clone)]
pub(super) struct Service {
    pub(super) glass: Glass,
    prober: Option<Arc<Prober>>,
    checker: Option<Checker>,
    guard: Arc<Guard>,
    turns: Arc<tokio::sync::Semaphore>,
}

/// The routes, with birdwatcher's.
pub fn router(glass: Glass, prober: Option<Prober>, guard: Guard) -> Router {
    router_of(glass, prober, None, guard)
}

/// As [`router`], with checks of members.
pub fn router_of(
    glass: Glass,
    prober: Option<Prober>,
    checker: Option<Checker>,
    guard: Guard,
) -> Router {
    let service = Service {
        checker,
        glass,
        prober: prober.map(Arc::new),
        guard: Arc::new(guard),
        turns: Arc::new(tokio::sync::Semaphore::new(DAEMON_TURNS)),
    };
    Router::new()
        .route("/glass/status", get(status))
        .route("/glass/sessions", get(sessions))
        .route("/glass/search", get(search))
        .route("/glass/changes", get(changes))
        .route("/glass/exported/{id}", get(exported))
        .route("/glass/withheld/{id}", get(withheld))
        .route("/glass/probes", post(probe))
        .route("/glass/health", post(health))
        .route("/api/search", get(search))
        .route("/api/changes", get(changes))
        .merge(birdwatcher::router())
        .layer(middleware::from_fn_with_state(service.clone(), guarded))
        .with_state(service)
}

/// Lets in whom the guard lets in.
async fn guarded(State(service): State<Service>, request: Request, next: Next) -> Response {
    let guard = &service.guard;
    let signed = guard.key.as_ref().is_some_and(|key| {
        let text = |name: &str| request.headers().get(name)?.to_str().ok();
        let target = request
            .uri()
            .path_and_query()
            .map_or("/", |target| target.as_str());
        match (key.borrow().as_ref(), text(TIME_HEADER), text(MAC_HEADER)) {
            (Some(key), Some(time), Some(mac)) => {
                key.verifies(request.method().as_str(), target, time, mac, now_s())
            }
            _ => false,
        }
    });
    if signed {
        return next.run(request).await;
    }
    let peer: Option<IpAddr> = request
        .extensions()
        .get::<ConnectInfo<SocketAddr>>()
        .map(|ConnectInfo(address)| address.ip().to_canonical());
    let known = peer.is_some_and(|peer| guard.allow.iter().any(|prefix| prefix.contains(peer)));
    if request.method() == axum::http::Method::GET && (guard.open || known) {
        return next.run(request).await;
    }
    refuse(
        StatusCode::FORBIDDEN,
        "this looking glass answers its control plane and the networks it allows".into(),
    )
}

impl Service {
    /// What the daemon says of itself; blanks where it does not answer, or has no word for it.
    pub(super) async fn told(&self) -> Status {
        let feed = self.glass.feed();
        let asked = tokio::task::spawn_blocking(move || match feed.daemon() {
            Some((EngineKind::Bird, socket)) => Client::connect(socket, super::feed::SILENCE_MAX)
                .and_then(|mut client| client.status())
                .ok(),
            Some((EngineKind::Openbgpd, socket)) => {
                let daemon = OpenBgpd::new(socket, FilePath::new(openbgpd::CONFIG));
                let version = daemon.version().unwrap_or_default();
                Some(Status {
                    version,
                    ..Status::default()
                })
            }
            None => None,
        });
        asked.await.ok().flatten().unwrap_or_default()
    }

    /// Asks the running daemon, one of few at a time; gives the answer in the view of `view`.
    pub(super) async fn ask_daemon(
        &self,
        view: Viewer,
        ask: impl FnOnce(&asking::Asked<'_>, u64) -> Result<asking::Part, FeedError> + Send + 'static,
    ) -> Result<(asking::Part, Viewer), Response> {
        let feed = self.glass.feed();
        if feed.daemon().is_none() {
            return Err(refuse(
                StatusCode::NOT_IMPLEMENTED,
                "an archive knows nothing of what is announced".into(),
            ));
        }
        let Ok(_turn) = self.turns.acquire().await else {
            return Err(failed());
        };
        let now = Arc::clone(&view.index);
        let asked = tokio::task::spawn_blocking(move || match feed.daemon() {
            None => Ok(asking::Part::empty(now_s())),
            Some((kind, socket)) => {
                let now = &now;
                ask(&asking::Asked { kind, socket, now }, now_s())
            }
        });
        match asked.await {
            Ok(Ok(part)) => {
                let view = Viewer {
                    index: Arc::clone(&part.index),
                    ..view
                };
                Ok((part, view))
            }
            Ok(Err(error)) => Err(refuse(
                StatusCode::BAD_GATEWAY,
                runtime::error_chain(&error),
            )),
            Err(_) => Err(failed()),
        }
    }
}

pub(crate) fn now_s() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

pub(super) fn refuse(status: StatusCode, error: String) -> Response {
    (status, Json(json!({ "error": error }))).into_response()
}

pub(super) fn bad(error: String) -> Response {
    refuse(StatusCode::BAD_REQUEST, error)
}

pub(super) fn missing(id: &str) -> Response {
    let shown: String = id.chars().take(80).collect();
    refuse(
        StatusCode::NOT_FOUND,
        format!("there is no session {shown:?}"),
    )
}

fn failed() -> Response {
    refuse(
        StatusCode::INTERNAL_SERVER_ERROR,
        "the answer failed".into(),
    )
}

/// The newest tables, or 503.
#[expect(clippy::result_large_err, reason = "the error is the answer")]
pub(super) fn viewer(service: &Service) -> Result<Viewer, Response> {
    Viewer::of(&service.glass).map_err(|why| refuse(StatusCode::SERVICE_UNAVAILABLE, why))
}

#[expect(clippy::result_large_err, reason = "the error is the answer")]
pub(super) fn session_of(view: &Viewer, id: &str) -> Result<PeerId, Response> {
    view.index.session(id).ok_or_else(|| missing(id))
}

/// Long answers are made on a thread of their own.
pub(super) async fn blocking(
    work: impl FnOnce() -> Response + Send + 'static,
) -> Result<Response, Response> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| failed())
}

pub(super) fn answer(value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => ([(header::CONTENT_TYPE, "application/json")], body).into_response(),
        Err(_) => failed(),
    }
}

async fn status(State(service): State<Service>) -> Result<Response, Response> {
    let view = viewer(&service)?;
    Ok(answer(&view.status(&service.glass)))
}

async fn sessions(State(service): State<Service>) -> Result<Response, Response> {
    let view = viewer(&service)?;
    Ok(answer(&view.sessions()))
}

/// What the search takes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SearchQuery {
    /// A prefix or an address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// `exact`, `longest`, `inside` or `covering`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub matching: Option<String>,
    /// Origin AS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// An AS in the path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub through: Option<String>,
    /// A community, `A:B` or `A:B:C`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub community: Option<String>,
    /// Name of a session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// `best`, `accepted` or `filtered`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Routes before the page.
    pub offset: usize,
    /// Routes of the page, up to [`PAGE_MAX`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

impl SearchQuery {
    /// As a question to `index`, or what is wrong: name, value and rule.
    pub(super) fn question(&self, index: &Index) -> Result<Question, String> {
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
                Some("covering") => Matching::Covering,
                Some(_) => {
                    return Err("matching: must be exact, longest, inside or covering".into());
                }
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

    #[expect(clippy::result_large_err, reason = "the error is the answer")]
    fn page(&self) -> Result<usize, Response> {
        let limit = self.limit.unwrap_or(100);
        match (1..=PAGE_MAX).contains(&limit) {
            true => Ok(limit),
            false => Err(bad(format!("limit {limit}: must be from 1 to {PAGE_MAX}"))),
        }
    }
}

async fn search(
    State(service): State<Service>,
    Query(asked): Query<SearchQuery>,
) -> Result<Response, Response> {
    let view = viewer(&service)?;
    let question = asked.question(&view.index).map_err(bad)?;
    let (offset, limit) = (asked.offset, asked.page()?);
    blocking(move || {
        let page = view.index.find(&question, offset, limit);
        answer(&view.routes(page.total, &page.routes))
    })
    .await
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Part {
    prefix: Option<String>,
    offset: usize,
    limit: Option<usize>,
}

async fn exported(
    State(service): State<Service>,
    Path(id): Path<String>,
    Query(part): Query<Part>,
) -> Result<Response, Response> {
    towards(service, id, part, Towards::Exported).await
}

async fn withheld(
    State(service): State<Service>,
    Path(id): Path<String>,
    Query(part): Query<Part>,
) -> Result<Response, Response> {
    towards(service, id, part, Towards::Withheld).await
}

async fn towards(
    service: Service,
    id: String,
    part: Part,
    list: Towards,
) -> Result<Response, Response> {
    let view = viewer(&service)?;
    session_of(&view, &id)?;
    let prefix = match &part.prefix {
        None => None,
        Some(text) => Some(
            text.parse::<Prefix>()
                .map_err(|error| bad(format!("prefix: {error}")))?,
        ),
    };
    let asked = SearchQuery {
        limit: part.limit,
        ..SearchQuery::default()
    };
    let (offset, limit) = (part.offset, asked.page()?);
    if offset > asking::READ_MAX {
        return Err(bad(format!(
            "offset {offset}: must be up to {}",
            asking::READ_MAX
        )));
    }
    let (found, view) = service
        .ask_daemon(view, move |daemon, now_s| {
            asking::towards(daemon, &id, list, prefix, offset, limit, now_s)
        })
        .await?;
    let page = found.index.find(&Question::default(), 0, limit);
    // One more than was read, when the list goes on.
    let total = found.read + usize::from(found.is_cut);
    Ok(answer(&view.routes(total, &page.routes)))
}

/// Which moments to compare.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Since {
    since: u64,
    #[serde(default)]
    until: Option<u64>,
    #[serde(default)]
    session: Option<String>,
}

async fn changes(
    State(service): State<Service>,
    Query(asked): Query<Since>,
) -> Result<Response, Response> {
    let view = viewer(&service)?;
    let moments = service.glass.moments();
    #[expect(clippy::result_large_err, reason = "the error is the answer")]
    let moment = |name: &str, at: u64| {
        moments
            .iter()
            .find(|index| index.taken_at_s() == at)
            .cloned()
            .ok_or_else(|| {
                let kept: Vec<String> = moments
                    .iter()
                    .map(|index| index.taken_at_s().to_string())
                    .collect();
                bad(format!("{name} {at}: must be one of {}", kept.join(", ")))
            })
    };
    let before = moment("since", asked.since)?;
    let after = match asked.until {
        None => Arc::clone(&view.index),
        Some(at) if at == view.index.taken_at_s() => Arc::clone(&view.index),
        Some(at) => moment("until", at)?,
    };
    blocking(move || {
        let mine = |name: &str| asked.session.as_deref().is_none_or(|one| one == name);
        let mut changed = before.changes_to(&after, CHANGES_MAX);
        changed.gone.retain(|route| mine(&route.session.name));
        changed.come.retain(|route| mine(&route.session.name));
        changed.changed.retain(|(old, _)| mine(&old.session.name));
        let list = |total: usize, routes: &[super::index::Route<'_>]| RoutesView {
            total,
            ..view.routes(total, routes)
        };
        answer(&ChangesView {
            from: before.taken_at_s(),
            to: after.taken_at_s(),
            withdrawn: list(changed.gone_total, &changed.gone),
            announced: list(changed.come_total, &changed.come),
            changed: changed
                .changed
                .iter()
                .map(|(old, new)| (view.route(old), view.route(new)))
                .collect(),
            changed_total: changed.changed_total,
        })
    })
    .await
}

async fn probe(
    State(service): State<Service>,
    Json(request): Json<ProbeRequest>,
) -> Result<Response, Response> {
    let Some(prober) = &service.prober else {
        return Err(refuse(
            StatusCode::NOT_IMPLEMENTED,
            "this looking glass does not probe".into(),
        ));
    };
    match prober.probe(&request).await {
        Ok(view) => Ok(answer(&view)),
        Err(error) => {
            let status = match &error {
                ProbeError::Target(..) => StatusCode::UNPROCESSABLE_ENTITY,
                ProbeError::TooMany => StatusCode::TOO_MANY_REQUESTS,
                ProbeError::Absent(..) => StatusCode::NOT_IMPLEMENTED,
                ProbeError::Run(_) => StatusCode::INTERNAL_SERVER_ERROR,
            };
            Err(refuse(status, runtime::error_chain(&error)))
        }
    }
}

/// Whom to check.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct HealthRequest {
    asn: u32,
}

async fn health(
    State(service): State<Service>,
    Json(request): Json<HealthRequest>,
) -> Result<Response, Response> {
    let Some(checker) = &service.checker else {
        return Err(refuse(
            StatusCode::NOT_IMPLEMENTED,
            "this looking glass does not check members".into(),
        ));
    };
    checker
        .check(request.asn, now_s())
        .await
        .map(|checked| answer(&checked))
        .map_err(|error| {
            let status = match &error {
                CheckError::NoDocument => StatusCode::SERVICE_UNAVAILABLE,
                CheckError::NoMember(_) => StatusCode::NOT_FOUND,
                CheckError::Busy => StatusCode::TOO_MANY_REQUESTS,
                CheckError::Broken => StatusCode::INTERNAL_SERVER_ERROR,
            };
            refuse(status, error.to_string())
        })
}
