//! The CDN's part of the console: what it shows to whom, its alerts and search.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::http::Method;
use base::{NodeName, SiteId};
use casework::People;
use casework::form::Text;
use store::PageRequest;
use web::ui::Icon;
use web::{
    Alert, Alerts, FieldError, Lang, Level, Locales, NavEntry, NavGroup, OrgScope, PolicyText,
    Principal, Room, RoutePermission, Search, SearchHit, Streams, Thing, Visit, WebError,
    WebResult,
};

use crate::engine::{By, Cdn, Site};
use crate::error::CdnError;
use crate::{api, pages, settings_form};

/// The CDN's part of the permission table.
pub const POLICY: PolicyText = PolicyText {
    room: "cdn",
    schema: include_str!("../policy/cdn.cedarschema"),
    policies: "",
};

/// The CDN's texts.
pub const LOCALES: Locales = Locales {
    room: "cdn",
    zh_tw: include_str!("../locales/zh-TW.ftl"),
    en: include_str!("../locales/en.ftl"),
};

/// Days before a certificate's end at which its owner is warned.
const CERTIFICATE_WARN: Duration = Duration::from_secs(21 * 86_400);

/// What the pages and the API stand on.
#[derive(Clone)]
pub(crate) struct Desk {
    pub(crate) cdn: Cdn,
    pub(crate) people: Arc<dyn People>,
    pub(crate) streams: Streams,
}

impl Cdn {
    /// The room for the console; `people` names those who changed something.
    pub fn room(&self, people: Arc<dyn People>) -> Room {
        let desk = Desk {
            cdn: self.clone(),
            people,
            streams: Streams::default(),
        };
        let mut room = Room::new("cdn");
        room.nav = vec![
            NavEntry {
                label: "nav-sites",
                path: "/sites",
                icon: Icon::Globe,
                action: "site:view",
                group: NavGroup::Work,
            },
            NavEntry {
                label: "nav-edges",
                path: "/edges",
                icon: Icon::Server,
                action: "node:view",
                group: NavGroup::Operate,
            },
            NavEntry {
                label: "nav-dispatch",
                path: "/dispatch",
                icon: Icon::Map,
                action: "node:view",
                group: NavGroup::Operate,
            },
        ];
        room.pages = pages::pages(desk.clone());
        room.home = Some(Arc::new(pages::home::Overview::new(desk.clone())));
        room.api = api::router(desk);
        room.api_permissions = api_permissions();
        room.locales = Some(LOCALES);
        room.policy = Some(POLICY);
        room.alerts = Some(Arc::new(self.clone()));
        room.search = Some(Arc::new(self.clone()));
        room
    }
}

fn api_permissions() -> Vec<RoutePermission> {
    let route = RoutePermission::new;
    vec![
        route(Method::GET, "/api/v1/sites", "site:view"),
        route(Method::GET, "/api/v1/sites/{site}", "site:view"),
        route(Method::PUT, "/api/v1/sites/{site}/state", "site:edit"),
        route(Method::POST, "/api/v1/sites/{site}/hosts", "site:edit"),
        route(
            Method::DELETE,
            "/api/v1/sites/{site}/hosts/{host}",
            "site:edit",
        ),
        route(Method::GET, "/api/v1/sites/{site}/versions", "site:view"),
        route(Method::POST, "/api/v1/sites/{site}/versions", "site:edit"),
        route(
            Method::GET,
            "/api/v1/sites/{site}/versions/{version}",
            "site:view",
        ),
        route(Method::PUT, "/api/v1/sites/{site}/active", "site:edit"),
        route(Method::POST, "/api/v1/sites/{site}/preview", "site:view"),
        route(
            Method::GET,
            "/api/v1/sites/{site}/certificates",
            "site:view",
        ),
        route(
            Method::POST,
            "/api/v1/sites/{site}/certificates",
            "site:edit",
        ),
        route(
            Method::POST,
            "/api/v1/sites/{site}/certificates/sandbox",
            "site:edit",
        ),
        route(
            Method::DELETE,
            "/api/v1/sites/{site}/certificates/{certificate}",
            "site:edit",
        ),
        route(Method::POST, "/api/v1/sites/{site}/purges", "site:purge"),
        route(Method::POST, "/api/v1/sites/{site}/preloads", "site:purge"),
        route(Method::GET, "/api/v1/sites/{site}/orders", "site:view"),
        route(
            Method::GET,
            "/api/v1/sites/{site}/orders/{order}",
            "site:view",
        ),
        route(Method::GET, "/api/v1/sites/{site}/stats", "site:view"),
        route(Method::GET, "/api/v1/sites/{site}/stats/{by}", "site:view"),
        route(Method::GET, "/api/v1/claims", "claim:manage"),
        route(Method::POST, "/api/v1/claims", "claim:manage"),
        route(Method::POST, "/api/v1/claims/check", "claim:manage"),
        route(Method::GET, "/api/v1/nodes", "node:view"),
        route(Method::GET, "/api/v1/published", "node:view"),
        route(Method::GET, "/api/v1/drains", "node:view"),
        route(Method::PUT, "/api/v1/drains/{node}", "node:drain"),
        route(Method::DELETE, "/api/v1/drains/{node}", "node:drain"),
        route(Method::GET, "/api/v1/dispatch-map", "node:view"),
        route(Method::PUT, "/api/v1/dispatch-map", "dispatch:edit"),
        route(Method::GET, "/api/v1/dispatch-map/versions", "node:view"),
    ]
}

/// Who changes something.
///
/// # Errors
/// 401 for visitors.
pub(crate) fn by(visit: &Visit) -> Result<By, WebError> {
    Ok(By {
        user: visit.principal.signed_in()?,
        request: Some(visit.request_id.clone()),
    })
}

impl Desk {
    /// A site that the reader may see, and the scope of just its tenant; 403 unless
    /// `action` is allowed there.
    pub(crate) async fn site(
        &self,
        visit: &Visit,
        site: &str,
        action: &str,
    ) -> WebResult<(Site, OrgScope)> {
        let id: SiteId = site
            .parse()
            .map_err(|_| WebError::not_found("site", site))?;
        let found = self
            .cdn
            .site(&visit.principal.scope("site:view"), id)
            .await
            .map_err(|e| tell(e, visit.lang))?;
        visit.principal.require(action, found.org)?;
        let scope = OrgScope::Only(vec![found.org]);
        Ok((found, scope))
    }

    /// A person's name.
    pub(crate) async fn person(&self, visit: &Visit, user: base::UserId) -> String {
        if visit.principal.user() == Some(user) {
            return visit.t("person-you");
        }
        match self.people.contact(user).await {
            Some(contact) => contact.name,
            None => visit.t("person-unknown"),
        }
    }
}

/// A node's name in an address.
pub(crate) fn node_name(text: &str) -> WebResult<NodeName> {
    text.parse().map_err(|_| WebError::not_found("node", text))
}

/// An error of the engine as the console tells it.
pub(crate) fn tell(error: CdnError, lang: Lang) -> WebError {
    let language = lang.tag();
    match error {
        CdnError::NotFound { kind, name } => WebError::not_found(kind, name),
        CdnError::Invalid(problems) => WebError::invalid(
            problems
                .iter()
                .map(|problem| casework::room::field_error(problem, lang))
                .collect(),
        ),
        CdnError::Conflict(text) => WebError::conflict(text),
        CdnError::Limit { what, most } => WebError::invalid(vec![FieldError::new(
            "body",
            "limit",
            format!("{what}: at most {most}"),
        )]),
        CdnError::Certificate(error) => WebError::invalid(vec![FieldError::new(
            error.field(),
            error.rule(),
            error.to_string(),
        )]),
        CdnError::Sitemap(error) => WebError::invalid(vec![FieldError::new(
            "sitemap",
            "sitemap",
            error.to_string(),
        )]),
        CdnError::Compile(error) => WebError::conflict(error.to_string()),
        CdnError::Store(error) => casework::room::tell_store(error),
        CdnError::Seam(error) => {
            let mut told = WebError::unavailable(runtime::error_chain(&error));
            told.detail = Text::new(
                "其他系統暫時無法回應,請稍後再試",
                "another part of the system does not answer: try again soon",
            )
            .of(language)
            .to_owned();
            told
        }
        sealed @ CdnError::Sealed { .. } => WebError::internal(runtime::error_chain(&sealed)),
    }
}

/// Errors by the field of the settings form that shows the value.
pub(crate) fn form_errors(errors: &[FieldError]) -> Vec<FieldError> {
    errors
        .iter()
        .map(|error| {
            let mut error = error.clone();
            let value = error.value.clone().filter(|value| !value.is_empty());
            if let Some(value) = value {
                error.message = format!("{value}: {}", error.message);
            }
            error.field = settings_form::field_of(&error.field).to_owned();
            error
        })
        .collect()
}

#[async_trait]
impl Alerts for Cdn {
    async fn current(&self, principal: &Principal, lang: Lang) -> Vec<Alert> {
        let mut alerts = Vec::new();
        let language = lang.tag();
        if principal.may("node:view", Thing::HOUSE) {
            let published = self.published().await.unwrap_or_default();
            for published in published
                .iter()
                .filter(|published| !published.error.is_empty())
            {
                let text = Text::new(
                    format!("{} 的設定無法發布", published.role),
                    format!("the snapshot for {} cannot be published", published.role),
                );
                alerts.push(Alert {
                    level: Level::Bad,
                    text: text.of(language).to_owned(),
                    path: "/edges".into(),
                });
            }
            for drain in self.drains().await.unwrap_or_default() {
                let text = Text::new(
                    format!("{} 停止服務中", drain.node),
                    format!("{} is drained", drain.node),
                );
                alerts.push(Alert {
                    level: Level::Warn,
                    text: text.of(language).to_owned(),
                    path: "/edges".into(),
                });
            }
        }
        if principal.user().is_some() {
            let soon = self
                .certificates_ending(
                    &principal.scope("site:edit"),
                    self.db().clock().now().plus(CERTIFICATE_WARN),
                )
                .await
                .unwrap_or_default();
            for (site, name) in soon.into_iter().take(3) {
                let text = Text::new(
                    format!("{name} 的憑證即將到期"),
                    format!("a certificate of {name} ends soon"),
                );
                alerts.push(Alert {
                    level: Level::Warn,
                    text: text.of(language).to_owned(),
                    path: format!("/sites/{site}/certificates"),
                });
            }
        }
        alerts
    }
}

#[async_trait]
impl Search for Cdn {
    async fn search(&self, principal: &Principal, lang: Lang, query: &str) -> Vec<SearchHit> {
        let scope = principal.scope("site:view");
        let page = match self
            .sites(&scope, Some(query), &PageRequest::first(20))
            .await
        {
            Ok(page) => page,
            Err(error) => {
                tracing::warn!(error = %runtime::error_chain(&error), "Sites could not be searched");
                return Vec::new();
            }
        };
        let kind = Text::new("網站", "site");
        page.items
            .into_iter()
            .map(|site| SearchHit {
                kind: kind.of(lang.tag()).to_owned(),
                title: site.name(lang == Lang::ZhTw).to_owned(),
                detail: site.hosts.join(", "),
                path: format!("/sites/{}", site.id),
            })
            .collect()
    }
}
