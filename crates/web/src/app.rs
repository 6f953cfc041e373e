//! Joining the rooms into one service, and what happens around every request.

mod dress;
mod enter;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::middleware::from_fn_with_state;
use http::Method;
use store::{Db, Vault};

use crate::accounts::Accounts;
use crate::config::WebConfig;
use crate::cookies::Cookies;
use crate::house::{House, Limits};
use crate::lang::{Catalog, Locales};
use crate::policy::{Policy, PolicyText};
use crate::problem::WebError;
use crate::room::{Room, RoutePermission};
use dress::dress;
use enter::enter;

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
        let (mut nav, mut alerts, mut search) = (Vec::new(), Vec::new(), Vec::new());
        let (mut badges, mut homes) = (Vec::new(), Vec::new());
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
            homes.extend(room.home);
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
            homes,
            table,
        });
        let router = router
            .fallback(not_found)
            .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
            .layer(from_fn_with_state(Arc::clone(&house), enter))
            .layer(from_fn_with_state(Arc::clone(&house), dress))
            .layer(axum::middleware::from_fn(crate::serve::traced));
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
