//! Who asks, may they, and does the request come from a page of ours.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, HeaderValue, Method, header};
use url::Url;

use super::BODY_BYTES_MAX;
use super::dress::{RequestId, Slot};
use crate::accounts::secret;
use crate::cookies::Jar;
use crate::house::House;
use crate::lang::Lang;
use crate::principal::Principal;
use crate::problem::{Code, WebError};
use crate::visit::{Theme, Visit, local_path};

/// Pages below this path are the same for everybody: they get no cookie, hold no form
/// that needs one, and may be kept by caches.
const OPEN: &str = "/open/";
/// The first of them, and what else is for everybody: reports, and what pages are made of.
const FRONT: &str = "/open";
const PUBLIC: [&str; 3] = [OPEN, "/public/", "/assets/"];

/// Who asks, may they, and does the request come from a page of ours.
pub(super) async fn enter(
    State(house): State<Arc<House>>,
    request: Request,
    next: Next,
) -> Response {
    match admit(&house, request).await {
        Ok((request, cookies)) => {
            let lang = request
                .extensions()
                .get::<Visit>()
                .map_or_else(Lang::default, |visit| visit.lang);
            let answer = next.run(request);
            let mut response = crate::said::reading(house.catalog.clone(), lang, answer).await;
            for cookie in cookies {
                if let Ok(value) = HeaderValue::from_str(&cookie) {
                    response.headers_mut().append(header::SET_COOKIE, value);
                }
            }
            response
        }
        Err(Refused::Error(error)) => (*error).into_response(),
        Err(Refused::Elsewhere(to)) => axum::response::Redirect::to(&to).into_response(),
    }
}

enum Refused {
    Error(Box<WebError>),
    Elsewhere(String),
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
    if is_open_host(house, &request) && path != FRONT {
        if path == "/" {
            return Err(Refused::Elsewhere(FRONT.to_owned()));
        }
        if !PUBLIC.iter().any(|part| path.starts_with(part)) {
            return Err(WebError::not_found("page", &path).into());
        }
    }
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
                let bare = path.starts_with("/assets/") || path.starts_with(OPEN);
                if !api && bearer.is_none() && !bare {
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
        back: came_from(house, request.headers()),
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

/// The page of ours that led here, as `Referer` says.
fn came_from(house: &House, headers: &HeaderMap) -> Option<String> {
    let text = headers.get(header::REFERER)?.to_str().ok()?;
    if !ours(house, headers, text) {
        return None;
    }
    let url = Url::parse(text).ok()?;
    let path = &url[url::Position::BeforePath..url::Position::AfterQuery];
    (local_path(path) == path).then(|| path.to_owned())
}

fn sign_in(request: &Request) -> Refused {
    let here = request
        .uri()
        .path_and_query()
        .map_or("/", |path| path.as_str());
    let next: String = url::form_urlencoded::byte_serialize(here.as_bytes()).collect();
    Refused::Elsewhere(format!("/login?next={next}"))
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

/// Whether the request came for a name under which the public pages alone are served.
fn is_open_host(house: &House, request: &Request) -> bool {
    let named = request
        .uri()
        .host()
        .or_else(|| request.headers().get(header::HOST)?.to_str().ok());
    let Some(named) = named else { return false };
    let host = bare_host(named);
    let open = &house.config.open_hosts;
    open.iter()
        .any(|one| bare_host(one).eq_ignore_ascii_case(host))
}

/// The name in `Host` without the port and without the root's dots, with which it is the same name.
fn bare_host(named: &str) -> &str {
    let host = match named.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => named,
    };
    host.trim_end_matches('.')
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
        .with_words("error-stale-form")
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

#[cfg(test)]
mod tests {
    use super::bare_host;

    #[test]
    fn a_name_is_the_same_with_port_and_root() {
        for named in [
            "www.a.test",
            "www.a.test:80",
            "www.a.test.",
            "www.a.test.:8080",
            "www.a.test:",
        ] {
            assert_eq!(bare_host(named), "www.a.test", "{named}");
        }
        assert_eq!(bare_host("[::1]:80"), "[::1]");
        assert_ne!(bare_host("www.a.test.evil"), "www.a.test");
    }
}
