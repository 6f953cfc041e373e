//! The server: requests, in the order in which the standard lets them fail.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::response::{IntoResponse, Response};
use futures::FutureExt as _;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde_json::json;
use tokio::sync::{AcquireError, Semaphore};
use uuid::Uuid;
use web::limit::{Limiter, Rate};
use web::{Accounts, OrgScope};

use super::answer;
use super::auth::{Caller, Callers};
use super::config::TaxiiConfig;
use super::error::TaxiiError;
use super::intake::{self, Intake};
use super::media::{self, TAXII_JSON};
use super::query::{self, Filters, Query};
use super::routes::{self, Names, Nowhere, Resource};
use super::shown::{self, Member};
use super::tls::ClientCertificate;
use crate::objects::{
    Access, Collection, Filter, Objects, ObjectsError, Outcome, Page, Reader, Refused, Source,
    Status, VersionMatch, prepare,
};
use crate::share::Sharing;
use crate::share::veil::{Onlooker, Reach};
use crate::stix::Wrong;
use crate::stix::time;

/// Bodies that are read and checked at once; more wait.
const BODIES_MAX: usize = 8;
/// KiB of all of them together: a body takes several times its length while it is checked.
const BODIES_KIB_MAX: u32 = 256 << 10;
/// Of these, what one caller may hold: whoever sends slowly does not keep others out.
const BODIES_BY_CALLER_MAX: usize = 2;
/// Time that a push waits for its turn.
const TURN_TIME_MAX: Duration = Duration::from_secs(20);
/// Time for a body to arrive.
const BODY_TIME_MAX: Duration = Duration::from_secs(120);
/// Bytes of a query.
const QUERY_BYTES_MAX: usize = 16 << 10;
/// Callers whose rates are remembered.
const CALLERS_MAX: usize = 10_000;

/// The server's state. Cheap to clone.
#[derive(Clone)]
pub struct Taxii {
    inner: Arc<Inner>,
}

struct Inner {
    objects: Objects,
    sharing: Sharing,
    accounts: Accounts,
    config: TaxiiConfig,
    callers: Callers,
    /// Who makes more of objects that come.
    intake: std::sync::OnceLock<Arc<dyn Intake>>,
    bodies: Semaphore,
    /// Room for the bytes of bodies, in KiB.
    room: Semaphore,
    /// Turns of those who push at present.
    turns: Mutex<HashMap<String, Arc<Semaphore>>>,
    rates: Limiter<String>,
    /// Tries with tokens that are none, by address.
    strangers: Limiter<String>,
}

impl std::fmt::Debug for Taxii {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Taxii")
    }
}

/// What a request was understood to ask for.
struct Asked {
    resource: Resource,
    names: Names,
    caller: Caller,
    query: String,
}

impl Taxii {
    /// A server of `objects` for the people in `accounts`.
    pub fn new(
        objects: Objects,
        sharing: Sharing,
        accounts: Accounts,
        config: TaxiiConfig,
    ) -> Self {
        Self::made(objects, sharing, accounts, config, Callers::default())
    }

    /// A server that takes client certificates and tokens of the configured OpenID
    /// provider besides, measured by `policy`.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub fn with_policy(
        objects: Objects,
        sharing: Sharing,
        accounts: Accounts,
        config: TaxiiConfig,
        policy: web::policy::Policy,
    ) -> Result<Self, reqwest::Error> {
        let provider = config.oidc.clone().map(super::oidc::Provider::new);
        let callers = Callers::new(Some(policy), provider.transpose()?);
        Ok(Self::made(objects, sharing, accounts, config, callers))
    }

    fn made(
        objects: Objects,
        sharing: Sharing,
        accounts: Accounts,
        config: TaxiiConfig,
        callers: Callers,
    ) -> Self {
        let rate = Rate {
            burst: config.burst,
            refill: Duration::from_millis(1),
        };
        let tries = Rate {
            burst: 100,
            refill: Duration::from_millis(200),
        };
        Self {
            inner: Arc::new(Inner {
                objects,
                sharing,
                accounts,
                callers,
                intake: std::sync::OnceLock::new(),
                bodies: Semaphore::new(BODIES_MAX),
                room: Semaphore::new(BODIES_KIB_MAX as usize),
                turns: Mutex::default(),
                rates: Limiter::new(rate, CALLERS_MAX),
                strangers: Limiter::new(tries, CALLERS_MAX),
                config,
            }),
        }
    }

    /// Joins whoever makes more of objects that come; the first time counts.
    pub fn join(&self, intake: Arc<dyn Intake>) {
        self.inner.intake.get_or_init(|| intake);
    }

    /// The service. Serve it with the peer's address.
    pub fn router(&self) -> Router {
        Router::new().fallback(serve).with_state(self.clone())
    }

    async fn answer(&self, request: Request) -> Result<Response, TaxiiError> {
        let (parts, body) = request.into_parts();
        let asked = self.admit(&parts).await?;
        match asked.resource {
            Resource::Discovery => self.discovery().await,
            Resource::Root => self.root(&asked).await,
            Resource::Status => self.status(&asked).await,
            Resource::Collections => self.collections(&asked).await,
            Resource::Collection => {
                let (collection, access) = self.collection(&asked).await?;
                Ok(json_answer(
                    answer::collection(&collection, access).to_string(),
                ))
            }
            Resource::Manifest => self.manifest(&asked).await,
            Resource::Objects => self.objects(&asked).await,
            Resource::Object => self.object(&asked).await,
            Resource::Versions => self.versions(&asked).await,
            Resource::Delete => self.delete(&asked).await,
            Resource::Add => self.add(&asked, &parts.headers, body).await,
        }
    }

    /// Who asks, for what, and in which form.
    async fn admit(&self, request: &http::request::Parts) -> Result<Asked, TaxiiError> {
        let inner = &self.inner;
        let now = inner.objects.db().clock().now();
        let too_many = |wait: Duration| TaxiiError {
            retry_after_s: Some(wait.as_secs().saturating_add(1).min(3_600) as u32),
            ..TaxiiError::new(
                StatusCode::TOO_MANY_REQUESTS,
                "Too many requests",
                "send fewer",
            )
        };
        let certificate = request.extensions.get::<ClientCertificate>();
        let db = inner.objects.db();
        let found = inner
            .callers
            .of(&inner.accounts, db, &request.headers, certificate)
            .await;
        let caller = match found {
            Ok(caller) => caller,
            Err(error) => {
                let peer = request
                    .extensions
                    .get::<ConnectInfo<SocketAddr>>()
                    .map(|peer| peer.0.ip().to_string())
                    .unwrap_or_default();
                inner.strangers.attempt(&peer, now).map_err(too_many)?;
                return Err(error);
            }
        };
        inner.rates.attempt(&caller.name(), now).map_err(too_many)?;
        let path = request.uri.path();
        let found = routes::find(&request.method, path);
        let (resource, action, names) = found.map_err(|nowhere| match nowhere {
            Nowhere::Path => TaxiiError::not_found("resource", path),
            Nowhere::Method(allow) => TaxiiError {
                allow: Some(allow),
                ..TaxiiError::new(
                    StatusCode::METHOD_NOT_ALLOWED,
                    "Method not allowed",
                    format!("{} is not for this resource", request.method),
                )
            },
        })?;
        media::check_accept(&request.headers)?;
        if resource == Resource::Add {
            media::check_content_type(&request.headers)?;
        }
        if !caller.principal.could(action) {
            return Err(TaxiiError::forbidden(format!(
                "this token is not good for {action}"
            )));
        }
        let query = request.uri.query().unwrap_or_default();
        if query.len() > QUERY_BYTES_MAX {
            return Err(TaxiiError::bad_request(format!(
                "the query has {} bytes: must have at most {QUERY_BYTES_MAX}",
                query.len()
            )));
        }
        Ok(Asked {
            resource,
            names,
            caller,
            query: query.to_owned(),
        })
    }

    async fn discovery(&self) -> Result<Response, TaxiiError> {
        let config = &self.inner.config;
        let base = config.public_url.trim_end_matches('/');
        let roots: Vec<String> = self
            .inner
            .objects
            .roots()
            .await?
            .into_iter()
            .map(|(name, _, _)| format!("{base}/{name}/"))
            .collect();
        let mut out = json!({ "title": config.title, "api_roots": roots });
        if let Some(first) = roots.first() {
            out["default"] = first.clone().into();
        }
        if !config.contact.is_empty() {
            out["contact"] = config.contact.clone().into();
        }
        Ok(json_answer(out.to_string()))
    }

    async fn root(&self, asked: &Asked) -> Result<Response, TaxiiError> {
        let roots = self.inner.objects.roots().await?;
        let (_, title, description) = roots
            .into_iter()
            .find(|(name, _, _)| *name == asked.names.root)
            .ok_or_else(|| TaxiiError::not_found("API root", &asked.names.root))?;
        let out = json!({
            "title": title,
            "description": description,
            "versions": [TAXII_JSON],
            "max_content_length": self.inner.config.content_bytes_max,
        });
        Ok(json_answer(out.to_string()))
    }

    async fn status(&self, asked: &Asked) -> Result<Response, TaxiiError> {
        let names = &asked.names;
        let owner = asked.caller.name();
        let body = self
            .inner
            .objects
            .status(&names.root, &names.status, &owner)
            .await?;
        Ok(json_answer(body))
    }

    async fn collections(&self, asked: &Asked) -> Result<Response, TaxiiError> {
        let root = &asked.names.root;
        let caller = &asked.caller;
        let all = self.inner.objects.collections(root).await?;
        if all.is_empty() {
            // Whether the root itself is there.
            self.root(asked).await?;
        }
        let mine: Vec<serde_json::Value> = all
            .iter()
            .filter_map(|collection| {
                let access = collection.access(&caller.read, &caller.write)?;
                Some(answer::collection(collection, access))
            })
            .collect();
        let out = if mine.is_empty() {
            json!({})
        } else {
            json!({ "collections": mine })
        };
        Ok(json_answer(out.to_string()))
    }

    /// The collection that is asked for, and what the caller may do with it.
    async fn collection(&self, asked: &Asked) -> Result<(Collection, Access), TaxiiError> {
        let name = &asked.names.collection;
        let missing = || TaxiiError::not_found("collection", name);
        let collection = self
            .inner
            .objects
            .collection(&asked.names.root, name)
            .await?;
        let access = collection
            .access(&asked.caller.read, &asked.caller.write)
            .ok_or_else(missing)?;
        Ok((collection, access))
    }

    async fn readable(&self, asked: &Asked) -> Result<(Collection, Access), TaxiiError> {
        let (collection, access) = self.collection(asked).await?;
        if !access.read {
            return Err(TaxiiError::forbidden(
                "you may add to this collection, not read it",
            ));
        }
        Ok((collection, access))
    }

    /// Through what the caller looks; `None`: staff of the house read what is stored.
    async fn member(&self, asked: &Asked) -> Result<Option<Member>, TaxiiError> {
        let caller = &asked.caller;
        if caller.read == OrgScope::All {
            return Ok(None);
        }
        let lens = self.inner.sharing.lens_of(caller.org()).await;
        let all = self.inner.objects.collections(&asked.names.root).await?;
        let reads = all.iter().filter_map(|collection| {
            let access = collection.access(&caller.read, &caller.write)?;
            access.read.then_some((collection.number, access.clearance))
        });
        Ok(Some(Member {
            lens: lens.map_err(TaxiiError::internal)?,
            who: Onlooker {
                own: caller.org().into_iter().collect(),
                reach: Reach::Collections(reads.collect()),
            },
        }))
    }

    async fn page(
        &self,
        asked: &Asked,
        collection: &Collection,
        access: Access,
        query: &Query,
        whole: bool,
    ) -> Result<(Page, Option<String>), TaxiiError> {
        let objects = &self.inner.objects;
        let mut member = self.member(asked).await?;
        let page = match &mut member {
            None => {
                let (after, limit) = (query.after, query.limit);
                objects
                    .page(
                        collection,
                        Reader::staff(),
                        &query.filter,
                        after,
                        limit,
                        whole,
                    )
                    .await?
            }
            Some(member) => {
                let sharing = &self.inner.sharing;
                shown::page(objects, sharing, member, collection, access, query).await?
            }
        };
        let next = match page.next {
            Some(seq) => Some(query::next(collection, seq)?),
            None => None,
        };
        Ok((page, next))
    }

    async fn manifest(&self, asked: &Asked) -> Result<Response, TaxiiError> {
        let (collection, access) = self.readable(asked).await?;
        let query = query::read(&asked.query, &collection, Filters::All)?;
        let (page, next) = self.page(asked, &collection, access, &query, false).await?;
        Ok(page_answer(&page, answer::manifest(&page, next.as_deref())))
    }

    async fn objects(&self, asked: &Asked) -> Result<Response, TaxiiError> {
        let (collection, access) = self.readable(asked).await?;
        let query = query::read(&asked.query, &collection, Filters::All)?;
        let (page, next) = self.page(asked, &collection, access, &query, true).await?;
        Ok(page_answer(&page, answer::envelope(&page, next.as_deref())))
    }

    async fn object(&self, asked: &Asked) -> Result<Response, TaxiiError> {
        let (collection, access) = self.readable(asked).await?;
        let mut query = query::read(&asked.query, &collection, Filters::OfObject)?;
        query.filter.ids = vec![asked.names.object.clone()];
        let (page, next) = self.page(asked, &collection, access, &query, true).await?;
        self.there(&page, &collection, access, asked).await?;
        Ok(page_answer(&page, answer::envelope(&page, next.as_deref())))
    }

    async fn versions(&self, asked: &Asked) -> Result<Response, TaxiiError> {
        let (collection, access) = self.readable(asked).await?;
        let mut query = query::read(&asked.query, &collection, Filters::OfVersions)?;
        query.filter.ids = vec![asked.names.object.clone()];
        query.filter.versions = vec![VersionMatch::All];
        let (page, next) = self.page(asked, &collection, access, &query, false).await?;
        self.there(&page, &collection, access, asked).await?;
        Ok(page_answer(&page, answer::versions(&page, next.as_deref())))
    }

    /// An empty page is an answer where the object exists, and 404 where not.
    async fn there(
        &self,
        page: &Page,
        collection: &Collection,
        access: Access,
        asked: &Asked,
    ) -> Result<(), TaxiiError> {
        if !page.rows.is_empty() {
            return Ok(());
        }
        let id = &asked.names.object;
        let query = Query {
            filter: Filter {
                ids: vec![id.clone()],
                versions: vec![VersionMatch::All],
                ..Filter::default()
            },
            after: i64::MIN,
            limit: 1,
        };
        let (any, _) = self.page(asked, collection, access, &query, false).await?;
        match any.rows.is_empty() {
            true => Err(TaxiiError::not_found("object", id)),
            false => Ok(()),
        }
    }

    async fn delete(&self, asked: &Asked) -> Result<Response, TaxiiError> {
        let (collection, access) = self.collection(asked).await?;
        if !access.write || !access.read {
            return Err(TaxiiError::forbidden(
                "deleting needs the right to read and to write this collection",
            ));
        }
        let query = query::read(&asked.query, &collection, Filters::OfDelete)?;
        // What is not shown is not there to be deleted either.
        self.there(&Page::default(), &collection, access, asked)
            .await?;
        let objects = &self.inner.objects;
        let id = &asked.names.object;
        let mut by = source(&asked.caller)?;
        if asked.caller.write == OrgScope::All {
            // Whoever runs the house deletes what anybody sent.
            by.org = None;
        }
        let most = access.clearance;
        let gone = objects.delete(&collection, most, id, &query.filter, &by);
        let (gone, foreign) = match gone.await {
            Err(error @ ObjectsError::Foreign { .. }) => (0, Some(error)),
            other => (other?, None),
        };
        if gone == 0 {
            let wanted = Query {
                filter: Filter {
                    ids: vec![id.clone()],
                    versions: match query.filter.versions.is_empty() {
                        true => vec![VersionMatch::All],
                        false => query.filter.versions.clone(),
                    },
                    ..query.filter.clone()
                },
                after: i64::MIN,
                limit: 1,
            };
            // That others sent it is told of what is shown alone.
            let (left, _) = self
                .page(asked, &collection, access, &wanted, false)
                .await?;
            match foreign {
                Some(error) if !left.rows.is_empty() => return Err(error.into()),
                _ => self.there(&left, &collection, access, asked).await?,
            }
        }
        Ok(json_answer(String::new()))
    }

    /// The turns of one caller. Those of callers who push no more are forgotten.
    fn turns_of(&self, caller: &str) -> Arc<Semaphore> {
        let mut turns = self
            .inner
            .turns
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        let turn = turns
            .entry(caller.to_owned())
            .or_insert_with(|| Arc::new(Semaphore::new(BODIES_BY_CALLER_MAX)));
        Arc::clone(turn)
    }

    async fn add(
        &self,
        asked: &Asked,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<Response, TaxiiError> {
        let (collection, access) = self.collection(asked).await?;
        if !access.write {
            return Err(TaxiiError::forbidden(
                "you may read this collection, not add to it",
            ));
        }
        let inner = &self.inner;
        let bytes_max = inner.config.content_bytes_max;
        let too_large = || {
            TaxiiError::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "Too large",
                format!("a body has at most {bytes_max} bytes"),
            )
        };
        let announced = headers
            .get(header::CONTENT_LENGTH)
            .and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
        if announced.is_some_and(|length| length > bytes_max) {
            return Err(too_large());
        }
        let own = self.turns_of(&asked.caller.name());
        let turn = async {
            let own = own.acquire().await?;
            let body = inner.bodies.acquire().await?;
            // What does not say its length may be as long as any.
            let room = kib(announced.unwrap_or(bytes_max));
            Ok::<_, AcquireError>((own, body, inner.room.acquire_many(room).await?))
        };
        let _turn = tokio::time::timeout(TURN_TIME_MAX, turn)
            .await
            .map_err(|_| TaxiiError::busy("too many pushes at once; nothing was changed"))?
            .map_err(TaxiiError::internal)?;
        let body = axum::body::to_bytes(body, bytes_max);
        let body = tokio::time::timeout(BODY_TIME_MAX, body)
            .await
            .map_err(|_| {
                TaxiiError::new(
                    StatusCode::REQUEST_TIMEOUT,
                    "Too slow",
                    "the body did not arrive in time",
                )
            })?
            .map_err(|error| match announced {
                // It is longer than it may be, or the client went away.
                None => too_large(),
                Some(_) => TaxiiError::bad_request(format!("the body broke off: {error}")),
            })?;
        let read = tokio::task::spawn_blocking(move || prepare::envelope(&body))
            .await
            .map_err(TaxiiError::internal)?;
        let mut batch = read.map_err(|error| match error {
            prepare::EnvelopeError::Json(_) => TaxiiError::bad_request(error.to_string()),
            prepare::EnvelopeError::Shape { .. } => TaxiiError::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "Cannot be processed",
                error.to_string(),
            ),
        })?;
        let mut by = source(&asked.caller)?;
        by.strict = true;
        if let Some(mut member) = self.member(asked).await? {
            let access = access.read.then_some(access);
            let (objects, sharing) = (&inner.objects, &inner.sharing);
            let sent = &batch.objects;
            let unseen = shown::unseen(objects, sharing, &mut member, &collection, access, sent);
            by.unseen = Arc::new(unseen.await?);
        }
        if let Some(intake) = inner.intake.get() {
            intake::show(intake, &asked.caller, &mut batch).await;
        }
        let (id, now) = (Uuid::new_v4(), inner.objects.db().clock().now().micros());
        let named: Vec<(usize, String, String)> = batch
            .objects
            .iter()
            .map(|object| {
                let version = object.version.map(time::format).unwrap_or_default();
                (object.index, object.id.clone(), version)
            })
            .collect();
        let wrong = batch.refused;
        let told = move |outcomes: &[Outcome]| {
            let mut refused = wrong.clone();
            let others = named.iter().zip(outcomes);
            refused.extend(
                others
                    .filter(|(_, outcome)| **outcome == Outcome::Refused)
                    .map(|((index, id, version), _)| not_theirs(*index, id, version)),
            );
            let good = named.len() + wrong.len() - refused.len();
            answer::status(id, now, good, &refused)
        };
        let told = Arc::new(told);
        let kept = Arc::clone(&told);
        let status = Status {
            id,
            root: asked.names.root.clone(),
            owner: asked.caller.name(),
            body: Box::new(move |outcomes| kept(outcomes)),
        };
        let outcomes = inner
            .objects
            .put(&collection, by, batch.objects, Some(status))
            .await?;
        let body = told(&outcomes);
        let mut response = json_answer(body);
        *response.status_mut() = StatusCode::ACCEPTED;
        Ok(response)
    }
}

/// For whom the caller sends: whoever does not run the house speaks for an organisation.
fn source(caller: &Caller) -> Result<Source, TaxiiError> {
    let user = caller
        .principal
        .user()
        .ok_or_else(TaxiiError::unauthenticated)?;
    if caller.org().is_none() && caller.write != OrgScope::All {
        return Err(TaxiiError::forbidden(
            "you belong to several organisations: bind the token to the one that you send for",
        ));
    }
    Ok(Source::person(user, caller.org()))
}

/// A version of what another sent.
fn not_theirs(index: usize, id: &str, version: &str) -> Refused {
    let shown: String = id.chars().take(100).collect();
    Refused {
        index,
        wrong: Wrong {
            path: "modified".to_owned(),
            rule: format!("a newer version of {shown:?} may come only from who sent it"),
        },
        id: shown,
        version: version.to_owned(),
    }
}

/// The one handler: errors, panics and the access log.
async fn serve(State(taxii): State<Taxii>, request: Request) -> Response {
    let started = Instant::now();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let answer = AssertUnwindSafe(taxii.answer(request)).catch_unwind().await;
    let mut response = match answer {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => error.into_response(),
        Err(_) => TaxiiError::internal("panic").into_response(),
    };
    let headers = response.headers_mut();
    headers.insert(
        "x-content-type-options",
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let (status, milliseconds) = (
        response.status().as_u16(),
        started.elapsed().as_millis() as u64,
    );
    tracing::info!(target: "taxii::access", %method, path, status, milliseconds, "request");
    response
}

/// The room that so many bytes take; what is longer than all of it has it alone.
fn kib(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(1 << 10)).map_or(BODIES_KIB_MAX, |kib| kib.min(BODIES_KIB_MAX))
}

fn json_answer(body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(TAXII_JSON));
    response
}

/// With the times of the first and last row (section 3.4.2).
fn page_answer(page: &Page, body: Vec<u8>) -> Response {
    let mut response = json_answer(body);
    let headers: &mut HeaderMap = response.headers_mut();
    if let (Some(first), Some(last)) = (page.rows.first(), page.rows.last()) {
        for (name, seq) in [
            ("x-taxii-date-added-first", first.seq),
            ("x-taxii-date-added-last", last.seq),
        ] {
            if let Ok(value) = HeaderValue::from_str(&time::format_micros(seq)) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
    }
    response
}
