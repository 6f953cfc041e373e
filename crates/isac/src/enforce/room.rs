//! Enforcement's part of the console.

use std::sync::Arc;

use axum::http::Method;
use web::ui::Icon;
use web::{NavEntry, NavGroup, PolicyText, Room, RoutePermission};

use super::engine::Enforcements;
use super::{api, pages};
use crate::objects::pages::Intel;

/// Enforcement's part of the permission table.
pub const POLICY: PolicyText = PolicyText {
    room: "enforce",
    schema: include_str!("../../policy/enforce.cedarschema"),
    policies: "",
};

/// The texts.
const LOCALES: web::Locales = web::Locales {
    room: "enforce",
    zh_tw: include_str!("../../locales/enforce.zh-TW.ftl"),
    en: include_str!("../../locales/enforce.en.ftl"),
};

/// The room for the console.
pub fn room(intel: Intel) -> Room {
    let route = RoutePermission::new;
    let enforcements: Enforcements = intel.enforcements.clone();
    let mut room = Room::new("enforce");
    room.nav = vec![NavEntry {
        label: "nav-enforcements",
        path: "/enforcements",
        icon: Icon::Shield,
        action: "enforcement:view",
        group: NavGroup::Operate,
    }];
    room.pages = pages::pages(intel, pages::Simulations::default());
    room.api = api::router(enforcements.clone());
    room.api_permissions = vec![
        route(Method::GET, "/api/v1/enforcements", "enforcement:view"),
        route(Method::POST, "/api/v1/enforcements", "enforcement:edit"),
        route(Method::GET, "/api/v1/enforcements/{id}", "enforcement:view"),
        route(
            Method::DELETE,
            "/api/v1/enforcements/{id}",
            "enforcement:edit",
        ),
        route(
            Method::POST,
            "/api/v1/enforcements/{id}/decision",
            "enforcement:edit",
        ),
        route(Method::GET, "/api/v1/enforcement-why", "enforcement:view"),
        route(
            Method::POST,
            "/api/v1/enforcement-simulations",
            "enforcement:view",
        ),
        route(Method::GET, "/api/v1/enforcement-lists", "enforcement:view"),
        route(
            Method::GET,
            "/api/v1/enforcement-lists/{name}",
            "enforcement:view",
        ),
        route(
            Method::GET,
            "/api/v1/enforcement-lists/{name}/entries",
            "enforcement:view",
        ),
        route(
            Method::PUT,
            "/api/v1/enforcement-lists/{name}",
            "enforcement:policy",
        ),
        route(
            Method::DELETE,
            "/api/v1/enforcement-lists/{name}",
            "enforcement:policy",
        ),
        route(
            Method::GET,
            "/api/v1/enforcement-policy",
            "enforcement:view",
        ),
        route(
            Method::PUT,
            "/api/v1/enforcement-policy",
            "enforcement:policy",
        ),
    ];
    room.policy = Some(POLICY);
    room.locales = Some(LOCALES);
    room.badges = Some(Arc::new(enforcements.clone()));
    room.alerts = Some(Arc::new(enforcements));
    room
}
