//! The HTTP kit and the console's frame: one login, one permission table, two
//! languages, pages that work without scripts, an API described by its own code.
//!
//! A domain brings a [`Room`]: pages, API, texts, actions. [`Web::new`] joins the
//! rooms, refuses what does not fit together, and [`Web::serve`] serves them.
//!
//! ```text
//!  request → dress (id, log, panics, errors, headers of safety)
//!          → enter (who asks · permission table · CSRF)   [`Visit`], [`Principal`]
//!          → the room's handler → [`page`] in a [`Frame`], or JSON
//! ```
//!
//! - [`policy`]: Cedar; deny by default; the gate in front of every route asks
//!   "could they ever", the handler asks [`Principal::require`] about the thing
//!   itself, queries take an [`OrgScope`].
//! - [`accounts`]: people, organisations, sessions, tokens, second factors.
//! - [`ui`]: components; [`lang`]: texts; [`live`]: server-sent events; [`api`]:
//!   reading requests; [`problem`]: refusing them.
//!
//! **Architecture invariant**: no domain is known here, and no route exists without
//! an entry in the permission table.

pub mod accounts;
pub mod api;
mod app;
pub mod assets;
mod chain;
mod config;
pub mod cookies;
pub mod home;
mod house;
pub mod lang;
pub mod limit;
pub mod live;
mod oidc;
mod openapi;
mod pages;
pub mod policy;
mod principal;
pub mod problem;
mod rest;
mod room;
mod said;
mod serve;
#[doc(hidden)]
pub mod testing;
pub mod ui;
mod visit;

pub use accounts::{Accounts, By, MIGRATIONS, NewUser};
pub use api::{ApiJson, ApiPath, ApiQuery, FormPairs, Listing, PageForm, Paging};
pub use app::{BODY_BYTES_MAX, BuildError, Web};
pub use config::{OidcConfig, PasswordConfig, WebConfig};
pub use home::{Brought, Home, Panel, Place};
pub use house::House;
pub use lang::{Lang, Locales};
pub use live::{Streams, Update};
pub use policy::{HouseRole, OrgRole, PolicyText, Subject, Thing};
pub use principal::{OrgBadge, OrgScope, Principal, Via};
pub use problem::{Code, FieldError, Problem, WebError, WebResult};
pub use room::{
    Alert, Alerts, Badges, Level, NavEntry, NavGroup, Pages, Room, RoutePermission, Search,
    SearchHit,
};
pub use said::{Said, said};
pub use serve::serve_router;
pub use visit::{Flash, Frame, NavItem, NavPart, Theme, Visit, local_path, page, page_with};
