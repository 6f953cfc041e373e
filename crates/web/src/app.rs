//! Joining the rooms into one service, and what happens around every request.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, DefaultBodyLimit, MatchedPath, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use futures::FutureExt as _;
use http::{HeaderMap, HeaderValue, Method, header};
use store::{Db, Vault};
use url::Url;

use crate::accounts::{Accounts, secret};
use crate::config::WebConfig;
use crate::cookies::{Cookies, Jar};
use crate::house::{House, Limits};
use crate::lang::{Catalog, Lang, Locales};
use crate::policy::{Policy, PolicyText};
use crate::principal::Principal;
use crate::problem::{Code, PROBLEM_JSON, WebError};
use crate::room::{Room, RoutePermission};
use crate::visit::{Theme, Visit};

/// Bytes of a form or an API body, unless a route says otherwise.
pub const BODY_BYTES_MAX: usize = 1 << 20;

/// Sent with every page. Scripts, styles and connections are ours only.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
img-src 'self' data:; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// Why the rooms do not make a console.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The permission table is wrong.
    #[error("permissions")]
    Policy(#[from] crate::policy::PolicyError),
    /// The texts are wrong.
    #[error("texts")]
    Catalog(#[from] crate::lang::CatalogError),
    /// An operation of the API has no entry in the permission table.
    #[error("room {room:?}: {method} {path} has no entry in the permission table")]
    Unguarded {
        /// The room.
        room: &'static str,
        /// The method.
        method: String,
        /// The path.
        path: String,
    },
    /// An entry of the permission table names an action or route that does not exist.
    #[error("room {room:?}: {method} {path} is guarded by {action:?}: {rule}")]
    Entry {
        /// The room.
        room: &'static str,
        /// The method.
        method: Method,
        /// The path.
        path: &'static str,
        /// The action.
        action: &'static str,
        /// What is wrong.
        rule: &'static str,
    },
    /// A text that the frame needs is missing.
    #[error("room {room:?}: there is no text {key:?}")]
    Text {
        /// The room.
        room: &'static str,
        /// The key.
        key: &'static str,
    },
    /// Something else.
    #[error("{0}")]
    Other(#[from] WebError),
}

/// The console and its API, ready to be served.
pub struct Web {
    house: Arc<House>,
    router: Router,
    routes: Vec<RoutePermission>,
}

impl Web {
    /// Joins `rooms` and web's own pages.
    ///
    /// # Errors
    /// When anything that the rooms bring does not fit together: a route without an
    /// action, a text in one language only, a policy against the schema.
    pub fn new(
        config: WebConfig,
        db: Db,
        vault: Vault,
        mut rooms: Vec<Room>,
    ) -> Result<Self, BuildError> {
        rooms.insert(0, crate::pages::room());
        let texts: Vec<PolicyText> = rooms.iter().filter_map(|room| room.policy).collect();
        let policy = Policy::new(&texts)?;
        let locales: Vec<Locales> = rooms.iter().filter_map(|room| room.locales).collect();
        let catalog = Catalog::new(&locales)?;
        let mut routes: Vec<RoutePermission> = Vec::new();
        let mut router = Router::new();
        let mut api = utoipa_axum::router::OpenApiRouter::new();
        let (mut nav, mut alerts, mut search, mut badges) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for room in rooms {
            check_room(&room, &policy, &catalog)?;
            routes.extend(room.pages.permissions);
            routes.extend(room.api_permissions);
            router = router.merge(room.pages.router);
            api = api.merge(room.api);
            nav.extend(room.nav);
            alerts.extend(room.alerts);
            search.extend(room.search);
            badges.extend(room.badges);
        }
        nav.sort_by_key(|entry| entry.group);
        let (api_router, document) = api.split_for_parts();
        router = router.merge(api_router);
        let mut table: HashMap<&'static str, Vec<(Method, &'static str)>> = HashMap::new();
        for route in &routes {
            table
                .entry(route.path)
                .or_default()
                .push((route.method.clone(), route.action));
        }
        let key = ring::digest::digest(
            &ring::digest::SHA256,
            vault.blind_index("web.cookies", b"signing key").as_bytes(),
        );
        let mut key_bytes = [0_u8; 32];
        key_bytes.copy_from_slice(key.as_ref());
        let config = Arc::new(config);
        let clock = Arc::clone(db.clock());
        let accounts = Accounts {
            db: db.clone(),
            vault: vault.clone(),
            clock: Arc::clone(&clock),
            policy: policy.clone(),
            hasher: Arc::new(crate::accounts::password::Hasher::new(&config.password)?),
            config: Arc::clone(&config),
        };
        let house = Arc::new(House {
            limits: Limits::new(&config),
            cookies: Cookies::new(config.secure(), &key_bytes),
            openapi: crate::openapi::finish(&document, &config.public_url)?,
            streams: crate::live::Streams::default(),
            chain: crate::chain::Chain::default(),
            passkeys: crate::accounts::passkeys::Passkeys::new(&config.public_url),
            oidc: match &config.oidc {
                Some(oidc) => Some(crate::oidc::Provider::new(oidc, &config.public_url)?),
                None => None,
            },
            config,
            accounts,
            catalog,
            policy,
            db,
            vault,
            clock,
            nav,
            alerts,
            search,
            badges,
            table,
        });
        let router = router
            .fallback(not_found)
            .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
            .layer(from_fn_with_state(Arc::clone(&house), enter))
            .layer(from_fn_with_state(Arc::clone(&house), dress));
        Ok(Self {
            house,
            router,
            routes,
        })
    }

    /// The service. Serve it with the peer's address:
    /// `into_make_service_with_connect_info::<SocketAddr>()`.
    pub fn router(&self) -> Router {
        self.router.clone()
    }

    /// What all requests share.
    pub fn house(&self) -> &Arc<House> {
        &self.house
    }

    /// Every route with the action that guards it.
    pub fn routes(&self) -> &[RoutePermission] {
        &self.routes
    }

    /// The OpenAPI 3.1 document.
    pub fn openapi(&self) -> &serde_json::Value {
        &self.house.openapi
    }
}

/// A room brings no route without an action, no action that no schema declares, and
/// no entry without a text.
fn check_room(room: &Room, policy: &Policy, catalog: &Catalog) -> Result<(), BuildError> {
    let mut operations: BTreeMap<(String, String), ()> = BTreeMap::new();
    for (path, item) in &room.api.get_openapi().paths.paths {
        for (method, operation) in [
            ("GET", &item.get),
            ("PUT", &item.put),
            ("POST", &item.post),
            ("DELETE", &item.delete),
            ("PATCH", &item.patch),
        ] {
            if operation.is_some() {
                operations.insert((method.to_owned(), path.clone()), ());
            }
        }
    }
    for route in room.pages.permissions.iter().chain(&room.api_permissions) {
        let entry = |rule| BuildError::Entry {
            room: room.name,
            method: route.method.clone(),
            path: route.path,
            action: route.action,
            rule,
        };
        if !policy.knows(route.action) {
            return Err(entry("no schema declares this action"));
        }
    }
    for route in &room.api_permissions {
        let key = (route.method.to_string(), route.path.to_owned());
        if operations.remove(&key).is_none() {
            return Err(BuildError::Entry {
                room: room.name,
                method: route.method.clone(),
                path: route.path,
                action: route.action,
                rule: "the API has no such operation, or the entry stands twice",
            });
        }
    }
    if let Some(((method, path), ())) = operations.into_iter().next() {
        return Err(BuildError::Unguarded {
            room: room.name,
            method,
            path,
        });
    }
    for entry in &room.nav {
        if !catalog.has(entry.label) {
            return Err(BuildError::Text {
                room: room.name,
                key: entry.label,
            });
        }
    }
    Ok(())
}

async fn not_found(request: Request) -> WebError {
    WebError::not_found("page", request.uri().path())
}

/// Left by [`enter`] for [`dress`], which outlives a panic.
type Slot = Arc<OnceLock<Visit>>;

/// The outermost layer: request ids, the access log, panics, errors as pages or
/// problem documents, headers of safety.
async fn dress(State(house): State<Arc<House>>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let request_id = uuid::Uuid::now_v7().simple().to_string();
    let slot: Slot = Arc::default();
    request.extensions_mut().insert(Arc::clone(&slot));
    request
        .extensions_mut()
        .insert(RequestId(request_id.clone()));
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let api = path.starts_with("/api/");
    let wants_json = request
        .headers()
        .get(header::ACCEPT)
        .is_some_and(|accept| accept.as_bytes() == b"application/json");
    let lang = request
        .headers()
        .get(header::ACCEPT_LANGUAGE)
        .and_then(|value| value.to_str().ok())
        .and_then(Lang::negotiate)
        .unwrap_or_default();
    let mut response = match AssertUnwindSafe(next.run(request)).catch_unwind().await {
        Ok(response) => response,
        Err(panic) => {
            let text = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied())
                .unwrap_or("without a message");
            WebError::internal(format!("panic: {text}")).into_response()
        }
    };
    let status = response.status();
    let failed = response.extensions_mut().remove::<Arc<WebError>>();
    // A form shown again with its errors is an answer, not a failure.
    let shown = failed.is_none()
        && response
            .headers()
            .get(header::CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"));
    if !shown && (status.is_client_error() || status.is_server_error()) {
        let error = match failed {
            Some(error) => error,
            None => Arc::new(foreign(&response)),
        };
        if status.is_server_error() {
            tracing::error!(%request_id, %method, path, %error, "request failed");
        }
        let kept = std::mem::take(response.headers_mut());
        response = if api || wants_json {
            problem(&error, &request_id)
        } else {
            crate::pages::error(&house, slot.get(), lang, &error, &request_id)
        };
        for name in [
            header::ALLOW,
            header::SET_COOKIE,
            header::RETRY_AFTER,
            header::WWW_AUTHENTICATE,
        ] {
            for value in kept.get_all(&name) {
                response.headers_mut().append(name.clone(), value.clone());
            }
        }
    }
    let headers = response.headers_mut();
    safety(headers, house.config.secure());
    if let Ok(value) = HeaderValue::from_str(&request_id) {
        headers.insert("x-request-id", value);
    }
    let user = slot
        .get()
        .and_then(|visit| visit.principal.user())
        .map(|user| user.to_string());
    let status = response.status().as_u16();
    let milliseconds = started.elapsed().as_millis() as u64;
    tracing::info!(target: "web::access", %request_id, %method, path, status, user, milliseconds, "request");
    response
}

/// A request's name in logs.
#[derive(Clone)]
struct RequestId(String);

/// An error that a library made.
fn foreign(response: &Response) -> WebError {
    let status = response.status();
    let code = Code::of_status(status);
    let mut error = WebError::new(
        code,
        status.canonical_reason().unwrap_or("error").to_lowercase(),
    );
    error.allow = response
        .headers()
        .get(header::ALLOW)
        .and_then(|value| value.to_str().ok())
        .map(str::to_owned);
    error
}

fn problem(error: &WebError, request_id: &str) -> Response {
    let body = serde_json::to_vec(&error.problem(Some(request_id.to_owned()))).unwrap_or_default();
    let kind = [(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON))];
    (error.code.status(), kind, body).into_response()
}

fn safety(headers: &mut HeaderMap, secure: bool) {
    let mut set = |name: &'static str, value: &'static str| {
        headers
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    };
    set("content-security-policy", CONTENT_SECURITY_POLICY);
    set("x-content-type-options", "nosniff");
    set("referrer-policy", "same-origin");
    set("x-frame-options", "DENY");
    set("cross-origin-opener-policy", "same-origin");
    set("cross-origin-resource-policy", "same-origin");
    set(
        "permissions-policy",
        "camera=(), geolocation=(), microphone=(), payment=()",
    );
    set("cache-control", "no-store");
    if secure {
        set("strict-transport-security", "max-age=31536000");
    }
}

/// Who asks, may they, and does the request come from a page of ours.
async fn enter(State(house): State<Arc<House>>, request: Request, next: Next) -> Response {
    match admit(&house, request).await {
        Ok((request, cookies)) => {
            let mut response = next.run(request).await;
            for cookie in cookies {
                if let Ok(value) = HeaderValue::from_str(&cookie) {
                    response.headers_mut().append(header::SET_COOKIE, value);
                }
            }
            response
        }
        Err(Refused::Error(error)) => (*error).into_response(),
        Err(Refused::SignIn(to)) => axum::response::Redirect::to(&to).into_response(),
    }
}

enum Refused {
    Error(Box<WebError>),
    SignIn(String),
}

impl From<WebError> for Refused {
    fn from(error: WebError) -> Self {
        Self::Error(Box::new(error))
    }
}

async fn admit(
    house: &Arc<House>,
    mut request: Request,
) -> Result<(Request, Vec<String>), Refused> {
    let jar = Jar::read(request.headers());
    let peer = peer(house, &request);
    let path = request.uri().path().to_owned();
    let api = path.starts_with("/api/");
    let now = house.clock.now();
    let mut cookies = Vec::new();

    // Who.
    let mut principal = Principal::visitor(house.policy.clone());
    let mut chosen = None;
    let mut bound_to = None;
    let bearer = match request.headers().get(header::AUTHORIZATION) {
        Some(value) => Some(bearer(value)?),
        None => None,
    };
    if let Some(token) = &bearer {
        let known = house
            .accounts
            .by_token(token)
            .await?
            .ok_or_else(WebError::unauthenticated)?;
        (principal, chosen) = (known.principal, known.lang);
    } else if let Some(value) = jar.get(house.cookies.session_name()) {
        match house.accounts.by_session(value).await? {
            Some(known) => {
                (principal, chosen) = (known.principal, known.lang);
                bound_to = Some(value.to_owned());
            }
            None => cookies.push(house.cookies.remove(house.cookies.session_name())),
        }
    }
    let bound_to = match bound_to {
        Some(value) => value,
        None => match jar.get(house.cookies.visitor_name()) {
            Some(value) if value.len() == 64 => value.to_owned(),
            _ => {
                let value = secret()?;
                if !api && bearer.is_none() && !path.starts_with("/assets/") {
                    cookies.push(
                        house
                            .cookies
                            .set(house.cookies.visitor_name(), &value, None),
                    );
                }
                value
            }
        },
    };
    let flash = house.cookies.read_flash(&jar);
    if flash.is_some() && request.method() == Method::GET && !api && !path.starts_with("/assets/") {
        cookies.push(house.cookies.remove("cn_flash"));
    }
    let lang = jar
        .get("cn_lang")
        .and_then(Lang::from_tag)
        .or(chosen)
        .or_else(|| {
            let accept = request.headers().get(header::ACCEPT_LANGUAGE)?;
            Lang::negotiate(accept.to_str().ok()?)
        })
        .unwrap_or_default();
    let visit = Visit {
        theme: jar
            .get("cn_theme")
            .and_then(Theme::from_name)
            .unwrap_or_default(),
        request_id: request
            .extensions()
            .get::<RequestId>()
            .map(|id| id.0.clone())
            .unwrap_or_default(),
        query: request.uri().query().unwrap_or_default().to_owned(),
        method: request.method().clone(),
        house: Arc::clone(house),
        csrf: house.cookies.csrf(&bound_to),
        alerts: Vec::new(),
        badges: Vec::new(),
        principal: principal.clone(),
        path: path.clone(),
        lang,
        now,
        peer,
        flash,
    };
    if let Some(slot) = request.extensions().get::<Slot>() {
        // Set once, by this very request.
        drop(slot.set(visit.clone()));
    }
    request.extensions_mut().insert(visit);

    if api {
        let caller = match &principal.user() {
            Some(user) => user.to_string(),
            None => peer.to_string(),
        };
        house
            .limits
            .api
            .attempt(&caller, now)
            .map_err(|wait| WebError::too_many(wait.as_secs().saturating_add(1) as u32))?;
    }

    // May they. A path that no route matches goes on to be not found.
    let matched = request
        .extensions()
        .get::<MatchedPath>()
        .map(|path| path.as_str().to_owned());
    if let Some(matched) = matched {
        let method = match *request.method() {
            Method::HEAD => Method::GET,
            ref method => method.clone(),
        };
        let routes = house
            .table
            .get(matched.as_str())
            .map(Vec::as_slice)
            .unwrap_or_default();
        if routes.is_empty() {
            return Err(WebError::internal(format!(
                "route {matched} has no entry in the permission table"
            ))
            .into());
        }
        let Some((_, action)) = routes.iter().find(|(known, _)| *known == method) else {
            let mut allow: Vec<&str> = routes.iter().map(|(method, _)| method.as_str()).collect();
            if allow.contains(&"GET") {
                allow.push("HEAD");
            }
            allow.sort_unstable();
            let mut error = WebError::new(
                Code::MethodNotAllowed,
                format!("{method} is not for this address"),
            );
            error.allow = Some(allow.join(", "));
            return Err(error.into());
        };
        if !principal.could(action) {
            return Err(match principal.user() {
                Some(_) => WebError::forbidden(format!("{action} is not permitted")).into(),
                None if !api && method == Method::GET => sign_in(&request),
                None => WebError::unauthenticated().into(),
            });
        }
        if !matches!(method, Method::GET | Method::HEAD | Method::OPTIONS) && bearer.is_none() {
            request = from_our_page(house, request, &bound_to, api).await?;
        }
    }
    Ok((request, cookies))
}

fn sign_in(request: &Request) -> Refused {
    let here = request
        .uri()
        .path_and_query()
        .map_or("/", |path| path.as_str());
    let next: String = url::form_urlencoded::byte_serialize(here.as_bytes()).collect();
    Refused::SignIn(format!("/login?next={next}"))
}

/// The token of `Authorization: Bearer` (RFC 6750 section 2.1).
fn bearer(value: &HeaderValue) -> Result<String, WebError> {
    let text = value.to_str().map_err(|_| WebError::unauthenticated())?;
    match text.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => {
            Ok(token.trim().to_owned())
        }
        _ => Err(WebError::unauthenticated()),
    }
}

/// The client: the connection's peer, or what trusted proxies say, from the right.
fn peer(house: &House, request: &Request) -> IpAddr {
    let trusted = |address: IpAddr| {
        house
            .config
            .trusted_proxies
            .iter()
            .any(|prefix| prefix.contains(address.to_canonical()))
    };
    let mut peer = request
        .extensions()
        .get::<ConnectInfo<SocketAddr>>()
        .map_or(IpAddr::from([127, 0, 0, 1]), |info| info.0.ip());
    let forwarded: Vec<&str> = request
        .headers()
        .get_all("x-forwarded-for")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .collect();
    for hop in forwarded.iter().rev().take(16) {
        if !trusted(peer) {
            break;
        }
        match hop.trim().parse() {
            Ok(address) => peer = address,
            Err(_) => break,
        }
    }
    peer
}

/// Refuses what another site made the browser send: the origin must be ours, and the
/// token that only our pages know must be there.
async fn from_our_page(
    house: &House,
    request: Request,
    bound_to: &str,
    api: bool,
) -> Result<Request, Refused> {
    let headers = request.headers();
    let forbidden = |why: &str| -> Refused {
        WebError::forbidden(format!(
            "this form was not sent by a page of ours: {why}; load the page again"
        ))
        .into()
    };
    if headers
        .get("sec-fetch-site")
        .is_some_and(|site| site == "cross-site")
    {
        return Err(forbidden("cross-site"));
    }
    if let Some(origin) = headers.get(header::ORIGIN) {
        let ours = origin
            .to_str()
            .is_ok_and(|origin| ours(house, headers, origin));
        if !ours {
            return Err(forbidden("another origin"));
        }
    }
    if let Some(token) = headers.get("x-csrf-token") {
        return match token
            .to_str()
            .is_ok_and(|token| house.cookies.csrf_matches(bound_to, token))
        {
            true => Ok(request),
            false => Err(forbidden("its token is of another session")),
        };
    }
    if api {
        return match request
            .extensions()
            .get::<Visit>()
            .and_then(|visit| visit.principal.user())
        {
            None => Err(WebError::unauthenticated().into()),
            Some(_) => Err(forbidden("the header x-csrf-token is missing")),
        };
    }
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    let find = |pairs: &[u8]| {
        url::form_urlencoded::parse(pairs)
            .find(|(name, _)| name == "csrf")
            .is_some_and(|(_, token)| house.cookies.csrf_matches(bound_to, &token))
    };
    match kind.as_str() {
        "application/x-www-form-urlencoded" => {
            let (parts, body) = request.into_parts();
            let bytes: Bytes = axum::body::to_bytes(body, BODY_BYTES_MAX)
                .await
                .map_err(|_| {
                    WebError::new(
                        Code::TooLarge,
                        format!("a form has at most {BODY_BYTES_MAX} bytes"),
                    )
                })?;
            if !find(&bytes) {
                return Err(forbidden("its token is missing or of another session"));
            }
            Ok(Request::from_parts(parts, Body::from(bytes)))
        }
        // The body of a form with files is not read ahead: the token is in the query.
        "multipart/form-data" => match find(request.uri().query().unwrap_or_default().as_bytes()) {
            true => Ok(request),
            false => Err(forbidden("its token is missing or of another session")),
        },
        _ => Err(WebError::new(
            Code::UnsupportedMediaType,
            format!("content type {kind:?} is not read here: send a form"),
        )
        .into()),
    }
}

fn ours(house: &House, headers: &HeaderMap, origin: &str) -> bool {
    let Ok(origin) = Url::parse(origin) else {
        return false;
    };
    if Url::parse(&house.config.public_url).is_ok_and(|url| url.origin() == origin.origin()) {
        return true;
    }
    // Reached by another name than the configured one (a tunnel, a test): same host.
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or_default();
    let authority = match origin.port() {
        Some(port) => format!("{}:{port}", origin.host_str().unwrap_or_default()),
        None => origin.host_str().unwrap_or_default().to_owned(),
    };
    !authority.is_empty() && authority == host
}
