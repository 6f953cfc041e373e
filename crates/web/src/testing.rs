//! For test suites: every route of a built [`Web`] asked by somebody of every role,
//! as a table of text that a suite compares with a file.
//!
//! Each cell says what the frame and the handler let happen:
//!
//! - `login`: sign in first (401, or the way to the sign-in page);
//! - `no`: not permitted (403); `hidden`: not there for this caller (404);
//! - `yes`: let in, whatever the handler then says to an empty form;
//! - `error` and `limited` should never stand in a table.

mod browser;

use std::collections::{BTreeMap, BTreeSet};

use base::{OrgId, UserId};
use http::{Method, StatusCode};

use crate::accounts::By;
use crate::app::Web;
use crate::policy::{HouseRole, OrgRole};
use crate::problem::WebError;
use crate::room::RoutePermission;

pub use browser::{Answer, Browser};

/// Stands for a parameter of a path that nobody has set: names nothing.
const NOTHING: &str = "00000000-0000-0000-0000-000000000000";

/// A person of every role, two organisations, and the walk over all routes.
#[derive(Debug, Clone)]
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

/// One step of a walk.
#[derive(Debug)]
pub struct Step<'a> {
    /// The route.
    pub route: &'a RoutePermission,
    /// Who asked: the name of a role.
    pub who: &'static str,
    /// What was let happen: a cell of the table.
    pub said: &'static str,
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

    /// With only these people.
    #[must_use]
    pub fn only(mut self, names: &[&str]) -> Self {
        self.people.retain(|(name, _)| names.contains(name));
        self
    }

    /// The account that walks under the name of a role; none for `anonymous`.
    pub fn person(&self, name: &str) -> Option<UserId> {
        let found = self.people.iter().find(|(known, _)| *known == name);
        found.and_then(|(_, user)| *user)
    }

    /// Walks; a line a route, sorted by path.
    ///
    /// # Errors
    /// When a session cannot be begun.
    pub async fn table(&self) -> Result<String, WebError> {
        let mut table = String::new();
        let mut last = None;
        for step in self.steps().await? {
            let RoutePermission {
                method,
                path,
                action,
            } = step.route;
            if last != Some((method, path)) {
                if last.is_some() {
                    table.push('\n');
                }
                table.push_str(&format!("{method} {path} [{action}]"));
                last = Some((method, path));
            }
            table.push_str(&format!(" {}={}", step.who, step.said));
        }
        table.push('\n');
        Ok(table)
    }

    /// Walks; routes sorted by path, people in the order in which they were made.
    ///
    /// # Errors
    /// When a session cannot be begun.
    pub async fn steps(&self) -> Result<Vec<Step<'a>>, WebError> {
        let mut routes: Vec<&RoutePermission> = self.web.routes().iter().collect();
        routes.sort_by_key(|route| (route.path, route.method.to_string()));
        let mut steps = Vec::new();
        for route in routes {
            for (who, user) in &self.people {
                let said = self.ask(route, *user).await?;
                steps.push(Step { route, who, said });
            }
        }
        Ok(steps)
    }

    /// Names of the parameters in paths that nobody has set.
    pub fn unset(&self) -> BTreeSet<String> {
        let parts = self
            .web
            .routes()
            .iter()
            .flat_map(|route| route.path.split('/').filter_map(parameter));
        parts
            .filter(|name| !self.params.contains_key(*name))
            .map(str::to_owned)
            .collect()
    }

    fn address(&self, path: &str) -> String {
        path.split('/')
            .map(|part| match parameter(part) {
                Some(name) => self.params.get(name).map_or(NOTHING, String::as_str),
                None => part,
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
        let browser = Browser::new(self.web, user).await?;
        let path = self.address(route.path);
        let answer = if route.method == Method::GET {
            browser.get(&path).await
        } else if route.path.starts_with("/api/") {
            let empty = serde_json::json!({});
            browser.api(route.method.clone(), &path, empty).await
        } else {
            browser.post(&path, &[]).await
        };
        Ok(match answer.status {
            StatusCode::UNAUTHORIZED => "login",
            StatusCode::SEE_OTHER if answer.location().starts_with("/login?next=") => "login",
            StatusCode::FORBIDDEN => "no",
            StatusCode::NOT_FOUND => "hidden",
            StatusCode::TOO_MANY_REQUESTS => "limited",
            status if status.is_server_error() => "error",
            _ => "yes",
        })
    }
}

/// The name in `{name}` or `{*name}`.
fn parameter(part: &str) -> Option<&str> {
    let inner = part.strip_prefix('{')?.strip_suffix('}')?;
    Some(inner.trim_start_matches('*'))
}
