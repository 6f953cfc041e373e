//! For test suites: every route of a built [`Web`] asked by somebody of every role,
//! as a table of text that a suite compares with a file.
//!
//! Each cell says what the frame and the handler let happen:
//!
//! - `login`: sign in first (401, or the way to the sign-in page);
//! - `no`: not permitted (403); `hidden`: not there for this caller (404);
//! - `yes`: let in, whatever the handler then says to an empty form;
//! - `error` and `limited` should never stand in a table.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use axum::body::Body;
use base::{OrgId, UserId};
use http::{Method, Request, StatusCode, header};
use tower::ServiceExt as _;

use crate::accounts::{By, secret};
use crate::app::Web;
use crate::policy::{HouseRole, OrgRole};
use crate::problem::WebError;
use crate::room::RoutePermission;

/// Stands for a parameter of a path that nobody has set: names nothing.
const NOTHING: &str = "00000000-0000-0000-0000-000000000000";

/// A person of every role, two organisations, and the walk over all routes.
#[derive(Debug)]
pub struct Walk<'a> {
    web: &'a Web,
    people: Vec<(&'static str, Option<UserId>)>,
    params: BTreeMap<String, String>,
    /// The organisation whose administrator, editor and viewer walk.
    pub org: OrgId,
    /// Another one, whose administrator is a stranger to the first.
    pub other: OrgId,
}

impl std::fmt::Debug for Web {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Web")
    }
}

impl<'a> Walk<'a> {
    /// Makes the people and the organisations; `{org}` in a path is the first one.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn new(web: &'a Web) -> Result<Self, WebError> {
        let accounts = &web.house().accounts;
        let by = By::system("walk");
        let org = accounts.create_org("測試機關", "Tested", &by).await?;
        let other = accounts.create_org("別的機關", "Other", &by).await?;
        let mut people = Vec::new();
        for (name, house, member) in [
            ("operator", Some(HouseRole::Operator), None),
            ("officer", Some(HouseRole::Officer), None),
            ("auditor", Some(HouseRole::Auditor), None),
            ("admin", None, Some((org, OrgRole::Admin))),
            ("editor", None, Some((org, OrgRole::Editor))),
            ("viewer", None, Some((org, OrgRole::Viewer))),
            ("stranger", None, Some((other, OrgRole::Admin))),
            ("applicant", None, None),
        ] {
            let new = crate::NewUser {
                email: format!("{name}@walk.example"),
                name: name.to_owned(),
                roles: house.into_iter().collect(),
                ..crate::NewUser::default()
            };
            let user = accounts.create_user(new, &by).await?;
            if let Some((org, role)) = member {
                accounts.set_member(org, user, Some(role), &by).await?;
            }
            people.push((name, Some(user)));
        }
        people.push(("anonymous", None));
        Ok(Self {
            web,
            people,
            params: BTreeMap::from([("org".to_owned(), org.to_string())]),
            org,
            other,
        })
    }

    /// With a thing that exists, for `{name}` in paths.
    #[must_use]
    pub fn param(mut self, name: &str, value: impl std::fmt::Display) -> Self {
        self.params.insert(name.to_owned(), value.to_string());
        self
    }

    /// Walks; a line a route, sorted by path.
    ///
    /// # Errors
    /// When a session cannot be begun.
    pub async fn table(&self) -> Result<String, WebError> {
        let mut routes: Vec<&RoutePermission> = self.web.routes().iter().collect();
        routes.sort_by_key(|route| (route.path, route.method.to_string()));
        let mut table = String::new();
        for route in routes {
            let mut line = format!("{} {} [{}]", route.method, route.path, route.action);
            for (name, user) in &self.people {
                let said = self.ask(route, *user).await?;
                // Writing to a string does not fail.
                let _ok = write!(line, " {name}={said}");
            }
            table.push_str(&line);
            table.push('\n');
        }
        Ok(table)
    }

    fn address(&self, path: &str) -> String {
        path.split('/')
            .map(|part| {
                let inner = part.strip_prefix('{').and_then(|p| p.strip_suffix('}'));
                match inner.map(|name| name.trim_start_matches('*')) {
                    Some(name) => self.params.get(name).map_or(NOTHING, String::as_str),
                    None => part,
                }
            })
            .collect::<Vec<_>>()
            .join("/")
    }

    /// Asks one route in a fresh session, so that signing out ends only that.
    async fn ask(
        &self,
        route: &RoutePermission,
        user: Option<UserId>,
    ) -> Result<&'static str, WebError> {
        let house = self.web.house();
        let address = std::net::IpAddr::from([127, 0, 0, 1]);
        let (name, value) = match user {
            Some(user) => {
                let by = By::system("walk");
                let accounts = &house.accounts;
                let value = accounts
                    .begin_session(user, "walk", address, "walk", &by)
                    .await?;
                (house.cookies.session_name(), value)
            }
            None => (house.cookies.visitor_name(), secret()?),
        };
        let api = route.path.starts_with("/api/");
        let mut request = Request::builder()
            .method(route.method.clone())
            .uri(self.address(route.path))
            .header(header::COOKIE, format!("{name}={value}"));
        let mut body = Body::empty();
        if route.method != Method::GET {
            request = request.header("x-csrf-token", house.cookies.csrf(&value));
            let (kind, text) = match api {
                true => ("application/json", "{}"),
                false => ("application/x-www-form-urlencoded", ""),
            };
            request = request.header(header::CONTENT_TYPE, kind);
            body = Body::from(text);
        }
        let request = request.body(body).map_err(WebError::internal)?;
        let response = match self.web.router().oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
        let to_login = response
            .headers()
            .get(header::LOCATION)
            .is_some_and(|to| to.as_bytes().starts_with(b"/login?next="));
        Ok(match response.status() {
            StatusCode::UNAUTHORIZED => "login",
            StatusCode::SEE_OTHER if to_login => "login",
            StatusCode::FORBIDDEN => "no",
            StatusCode::NOT_FOUND => "hidden",
            StatusCode::TOO_MANY_REQUESTS => "limited",
            status if status.is_server_error() => "error",
            _ => "yes",
        })
    }
}
