//! The members' part of the console: navigation, permissions, texts.

use async_trait::async_trait;
use axum::http::Method;
use casework::Casework;
use utoipa_axum::router::OpenApiRouter;
use web::ui::Icon;
use web::{
    Badges, Locales, NavEntry, NavGroup, Pages, PolicyText, Principal, Room, RoutePermission,
    Thing, Visit, WebError, WebResult,
};

use super::{Portal, pages};
use crate::protect::State;
use crate::room::{By, Kind, RoomError, Wanted};
use crate::{manrs, protect};

/// This part of the permission table.
pub const POLICY: PolicyText = PolicyText {
    room: "exchange-portal",
    schema: include_str!("../../policy/portal.cedarschema"),
    policies: "",
};

/// The texts.
pub const LOCALES: Locales = Locales {
    room: "exchange-portal",
    zh_tw: include_str!("../../locales/portal.zh-TW.ftl"),
    en: include_str!("../../locales/portal.en.ftl"),
};

/// What the pages and the API stand on.
#[derive(Clone)]
pub(crate) struct Desk {
    pub(crate) portal: Portal,
    pub(crate) casework: Casework,
    /// What the picture of the exchange stands on.
    pub(crate) picture: crate::room::shell::Desk,
}

/// Who changes something.
pub(crate) fn by(visit: &Visit) -> Result<By, WebError> {
    Ok(By {
        request: Some(visit.request_id.clone()),
        ..By::user(visit.principal.signed_in()?)
    })
}

/// An error as the console tells it.
pub(crate) fn told(error: RoomError, visit: &Visit) -> WebError {
    crate::room::tell(error, visit.lang)
}

impl Desk {
    /// Sites as choices: name and title.
    pub(crate) async fn sites(&self, visit: &Visit) -> WebResult<Vec<(String, String)>> {
        let sites = self
            .portal
            .exchange
            .all_of(Kind::Site, &Wanted::by("state", "active"))
            .await
            .map_err(|e| told(e, visit))?;
        let title = match visit.lang {
            web::Lang::En => "title_en",
            _ => "title_zh",
        };
        Ok(sites
            .iter()
            .map(|site| (site.label.clone(), site.text(title).to_owned()))
            .collect())
    }

    /// Who did something, in words, from `user:…` or `system:…`.
    pub(crate) async fn actor(&self, visit: &Visit, actor: &str) -> String {
        let Some(user) = actor.strip_prefix("user:").and_then(|id| id.parse().ok()) else {
            return visit.t("peering-by-house");
        };
        if visit.principal.user() == Some(user) {
            return visit.t("peering-by-you");
        }
        match self.casework.people().contact(user).await {
            Some(contact) => contact.name,
            None => visit.t("peering-by-unknown"),
        }
    }
}

impl Portal {
    /// The room for the console.
    pub fn room(&self, casework: &Casework) -> Room {
        let desk = Desk {
            portal: self.clone(),
            casework: casework.clone(),
            picture: crate::room::shell::Desk {
                exchange: self.exchange.clone(),
                config: crate::room::RoomConfig::default(),
                streams: web::Streams::default(),
            },
        };
        let entry = |label, path, icon, action| NavEntry {
            label,
            path,
            icon,
            action,
            group: NavGroup::Work,
        };
        let mut room = Room::new("exchange-portal");
        room.nav = vec![
            entry("nav-peering", "/peering", Icon::Server, "peering:view"),
            entry(
                "nav-protection",
                "/peering/protection",
                Icon::Shield,
                "protection:view",
            ),
            NavEntry {
                group: NavGroup::Operate,
                ..entry("nav-manrs", "/peering/manrs", Icon::Check, "manrs:view")
            },
            NavEntry {
                group: NavGroup::Operate,
                ..entry(
                    "nav-ix-rules",
                    "/peering/rules",
                    Icon::List,
                    "ixrules:manage",
                )
            },
        ];
        room.pages = Pages::new()
            .merge(pages::pages(desk.clone()))
            .merge(pages::documents::pages(desk.clone()))
            .merge(manrs::pages::pages(desk.clone()))
            .merge(protect::pages::pages(desk.clone()));
        room.api = OpenApiRouter::new()
            .merge(protect::api::router(desk.clone()))
            .merge(manrs::pages::router(desk));
        room.api_permissions = api_permissions();
        room.locales = Some(LOCALES);
        room.policy = Some(POLICY);
        room.badges = Some(std::sync::Arc::new(self.clone()));
        room
    }
}

fn api_permissions() -> Vec<RoutePermission> {
    let route = RoutePermission::new;
    let one = "/api/v1/exchange-protection/{id}";
    vec![
        route(
            Method::GET,
            "/api/v1/exchange-protection",
            "protection:view",
        ),
        route(
            Method::POST,
            "/api/v1/exchange-protection",
            "protection:ask",
        ),
        route(
            Method::POST,
            "/api/v1/exchange-protection-dry-runs",
            "protection:ask",
        ),
        route(Method::GET, one, "protection:view"),
        route(Method::DELETE, one, "protection:view"),
        route(
            Method::POST,
            "/api/v1/exchange-protection/{id}/restoration",
            "protection:view",
        ),
        route(
            Method::PUT,
            "/api/v1/exchange-protection/{id}/end",
            "protection:ask",
        ),
        route(
            Method::POST,
            "/api/v1/exchange-protection/{id}/decision",
            "protection:decide",
        ),
        route(
            Method::GET,
            "/api/v1/exchange-protection-policy",
            "protection:view",
        ),
        route(
            Method::PUT,
            "/api/v1/exchange-protection-policy",
            "protection:policy",
        ),
        route(
            Method::GET,
            "/api/v1/exchange-registered-space/{asn}",
            "protection:view",
        ),
        route(
            Method::PUT,
            "/api/v1/exchange-registered-space/{asn}",
            "protection:policy",
        ),
        route(Method::GET, "/api/v1/exchange-manrs", "manrs:view"),
    ]
}

#[async_trait]
impl Badges for Portal {
    async fn counts(&self, principal: &Principal) -> Vec<(&'static str, u64)> {
        if principal.user().is_none() || !principal.may("protection:decide", Thing::HOUSE) {
            return Vec::new();
        }
        let scope = principal.scope("protection:view");
        let counts = self.protect.counts(&scope).await.unwrap_or_default();
        counts
            .into_iter()
            .filter(|(state, _)| *state == State::Proposed)
            .map(|(_, count)| ("/peering/protection", count))
            .collect()
    }
}
