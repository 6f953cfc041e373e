//! Intelligence's part of the console.

use std::sync::Arc;

use axum::http::Method;
use web::ui::Icon;
use web::{Locales, NavEntry, NavGroup, PolicyText, Room, RoutePermission};

use crate::objects::api;
use crate::objects::pages::{Intel, pages};

/// This crate's part of the permission table.
pub const POLICY: PolicyText = PolicyText {
    room: "isac",
    schema: include_str!("../policy/isac.cedarschema"),
    policies: "",
};

/// The texts.
pub const LOCALES: Locales = Locales {
    room: "isac",
    zh_tw: include_str!("../locales/intel.zh-TW.ftl"),
    en: include_str!("../locales/intel.en.ftl"),
};

/// The room for the console.
pub fn room(intel: Intel) -> Room {
    let mut room = Room::new("isac");
    room.nav = vec![NavEntry {
        label: "nav-intelligence",
        path: "/intelligence",
        icon: Icon::Search,
        action: "intel:view",
        group: NavGroup::Work,
    }];
    room.search = Some(Arc::new(intel.clone()));
    room.api = api::router(intel.clone());
    room.api_permissions = vec![
        RoutePermission::new(Method::GET, "/api/v1/intelligence", "intel:view"),
        RoutePermission::new(Method::GET, "/api/v1/intelligence/{object}", "intel:view"),
    ];
    room.pages = pages(intel);
    room.locales = Some(LOCALES);
    room.policy = Some(POLICY);
    room
}

/// The permission table alone, for a house that serves TAXII and no pages.
pub fn permissions() -> Room {
    let mut room = Room::new("isac");
    room.policy = Some(POLICY);
    room
}
