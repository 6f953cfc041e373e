//! The looking glass's part of the console.

use axum::http::Method;
use web::ui::Icon;
use web::{Locales, NavEntry, NavGroup, Pages, PolicyText, Room, RoutePermission};

use super::desk::Desk;
use super::{member, pages, rest};

/// The looking glass's part of the permission table.
pub const POLICY: PolicyText = PolicyText {
    room: "glass",
    schema: include_str!("../../../policy/glass.cedarschema"),
    policies: "",
};

/// The texts.
pub const LOCALES: Locales = Locales {
    room: "glass",
    zh_tw: include_str!("../../../locales/glass.zh-TW.ftl"),
    en: include_str!("../../../locales/glass.en.ftl"),
};

/// The room for the console.
pub fn room(desk: Desk) -> Room {
    let route = RoutePermission::new;
    let mut room = Room::new("glass");
    room.nav = vec![NavEntry {
        label: "nav-glass",
        path: "/glass",
        icon: Icon::Search,
        action: "glass:view",
        group: NavGroup::Work,
    }];
    room.pages = Pages::new()
        .merge(pages::pages(desk.clone()))
        .merge(member::pages(desk.clone()));
    room.api = rest::router(desk);
    room.api_permissions = vec![
        route(Method::GET, "/api/v1/exchange/glass", "glass:view"),
        route(
            Method::GET,
            "/api/v1/exchange/glass/{site}/sessions",
            "glass:view",
        ),
        route(
            Method::GET,
            "/api/v1/exchange/glass/{site}/routes",
            "glass:view",
        ),
        route(
            Method::GET,
            "/api/v1/exchange/glass/{site}/changes",
            "glass:member",
        ),
        route(
            Method::POST,
            "/api/v1/exchange/glass/{site}/probes",
            "glass:probe",
        ),
    ];
    room.locales = Some(LOCALES);
    room.policy = Some(POLICY);
    room
}
