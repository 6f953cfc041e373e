//! What a domain brings into the house: pages, API, texts, permissions, entries in
//! the frame. A route cannot be brought without the action that guards it.

use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use axum::handler::Handler;
use axum::routing::MethodFilter;
use axum::routing::{MethodRouter, on};
use http::Method;
use utoipa_axum::router::OpenApiRouter;

use crate::home::Home;
use crate::lang::{Lang, Locales};
use crate::policy::PolicyText;
use crate::principal::Principal;
use crate::ui::Icon;

/// A domain's part of the console.
pub struct Room {
    /// The domain's name: `cdn`.
    pub name: &'static str,
    /// Entries in the left rail.
    pub nav: Vec<NavEntry>,
    /// Pages.
    pub pages: Pages<()>,
    /// API; every path begins with `/api/v1/`.
    pub api: OpenApiRouter<()>,
    /// The action that guards each operation of `api`.
    pub api_permissions: Vec<RoutePermission>,
    /// Texts.
    pub locales: Option<Locales>,
    /// Actions and policies.
    pub policy: Option<PolicyText>,
    /// What is wrong now, for the strip at the top.
    pub alerts: Option<Arc<dyn Alerts>>,
    /// Answers to the search box.
    pub search: Option<Arc<dyn Search>>,
    /// Small counts beside entries of the left rail.
    pub badges: Option<Arc<dyn Badges>>,
    /// Panels of the signed-in home.
    pub home: Option<Arc<dyn Home>>,
}

impl Room {
    /// An empty room.
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            nav: Vec::new(),
            pages: Pages::new(),
            api: OpenApiRouter::new(),
            api_permissions: Vec::new(),
            locales: None,
            policy: None,
            alerts: None,
            search: None,
            badges: None,
            home: None,
        }
    }
}

/// An entry of the left rail, shown to those who could do its action.
#[derive(Debug, Clone, Copy)]
pub struct NavEntry {
    /// Key of its text.
    pub label: &'static str,
    /// Where it leads.
    pub path: &'static str,
    /// Its picture.
    pub icon: Icon,
    /// The action that the page needs.
    pub action: &'static str,
    /// Which part of the rail it stands in.
    pub group: NavGroup,
}

/// The parts of the left rail, from top to bottom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum NavGroup {
    /// The daily work of owners and applicants.
    Work,
    /// The operators' instruments.
    Operate,
    /// People, organisations, audit.
    Govern,
}

impl NavGroup {
    /// All, from top to bottom.
    pub const ALL: [Self; 3] = [Self::Work, Self::Operate, Self::Govern];

    /// Key of its heading.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Work => "nav-group-work",
            Self::Operate => "nav-group-operate",
            Self::Govern => "nav-group-govern",
        }
    }
}

/// The action that guards a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoutePermission {
    /// The method; `GET` stands for `HEAD` too.
    pub method: Method,
    /// The path as axum matches it: `/sites/{id}`.
    pub path: &'static str,
    /// The action, declared in a Cedar schema: `site:view`.
    pub action: &'static str,
}

impl RoutePermission {
    /// An entry of the table.
    pub const fn new(method: Method, path: &'static str, action: &'static str) -> Self {
        Self {
            method,
            path,
            action,
        }
    }
}

/// Pages and the actions that guard them, built together.
pub struct Pages<S = ()> {
    pub(crate) router: Router<S>,
    pub(crate) permissions: Vec<RoutePermission>,
}

impl<S: Clone + Send + Sync + 'static> Default for Pages<S> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S: Clone + Send + Sync + 'static> Pages<S> {
    /// No pages.
    pub fn new() -> Self {
        Self {
            router: Router::new(),
            permissions: Vec::new(),
        }
    }

    /// A page.
    #[must_use]
    pub fn get<H: Handler<T, S>, T: 'static>(
        self,
        path: &'static str,
        action: &'static str,
        handler: H,
    ) -> Self {
        self.on(Method::GET, path, action, on(MethodFilter::GET, handler))
    }

    /// What a form does. The frame has checked its CSRF token before the handler runs.
    #[must_use]
    pub fn post<H: Handler<T, S>, T: 'static>(
        self,
        path: &'static str,
        action: &'static str,
        handler: H,
    ) -> Self {
        self.on(Method::POST, path, action, on(MethodFilter::POST, handler))
    }

    /// What a form with files does: as [`Pages::post`], with a body of up to
    /// `bytes_max`. Its `action` attribute must carry the token, because the body is
    /// not read ahead: [`crate::Frame::upload_action`] makes it.
    #[must_use]
    pub fn upload<H: Handler<T, S>, T: 'static>(
        self,
        path: &'static str,
        action: &'static str,
        bytes_max: usize,
        handler: H,
    ) -> Self {
        let route =
            on(MethodFilter::POST, handler).layer(axum::extract::DefaultBodyLimit::max(bytes_max));
        self.on(Method::POST, path, action, route)
    }

    fn on(
        mut self,
        method: Method,
        path: &'static str,
        action: &'static str,
        route: MethodRouter<S>,
    ) -> Self {
        self.permissions
            .push(RoutePermission::new(method, path, action));
        self.router = self.router.route(path, route);
        self
    }

    /// Joins the pages of `other`.
    #[must_use]
    pub fn merge(mut self, other: Self) -> Self {
        self.permissions.extend(other.permissions);
        self.router = self.router.merge(other.router);
        self
    }

    /// With the state that the handlers take.
    #[must_use]
    pub fn with_state(self, state: S) -> Pages<()> {
        Pages {
            router: self.router.with_state(state),
            permissions: self.permissions,
        }
    }
}

/// Something that is wrong now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    /// How bad it is.
    pub level: Level,
    /// What it is, in the reader's language.
    pub text: String,
    /// The page that shows it.
    pub path: String,
}

/// How good or bad something is. Shown by word and shape as well as colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Neither.
    Neutral,
    /// For information.
    Info,
    /// As it should be.
    Good,
    /// Look at it.
    Warn,
    /// Act.
    Bad,
}

impl Level {
    /// Suffix of style classes.
    pub const fn class(self) -> &'static str {
        match self {
            Self::Neutral => "neutral",
            Self::Info => "info",
            Self::Good => "good",
            Self::Warn => "warn",
            Self::Bad => "bad",
        }
    }
}

/// Tells what is wrong now. Asked for every page: answer from memory.
#[async_trait]
pub trait Alerts: Send + Sync {
    /// What is wrong and concerns `principal`, worst first; a handful at most.
    async fn current(&self, principal: &Principal, lang: Lang) -> Vec<Alert>;
}

/// A hit of the search box.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchHit {
    /// What it is, in the reader's language: `site`, `case`, …
    pub kind: String,
    /// Its name.
    pub title: String,
    /// A line about it.
    pub detail: String,
    /// Its page.
    pub path: String,
}

/// Answers the search box.
#[async_trait]
pub trait Search: Send + Sync {
    /// What matches `query` (1 to 200 characters) and `principal` may see; at most 20.
    async fn search(&self, principal: &Principal, lang: Lang, query: &str) -> Vec<SearchHit>;
}

/// Small counts beside entries of the left rail (an inbox's unread letters).
/// Asked for every page: answer from memory or by one indexed query.
#[async_trait]
pub trait Badges: Send + Sync {
    /// Path of a [`NavEntry`] and its count; zero is not shown.
    async fn counts(&self, principal: &Principal) -> Vec<(&'static str, u64)>;
}
