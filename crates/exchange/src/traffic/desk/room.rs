//! Traffic's part of the console.

use std::sync::Arc;

use axum::http::Method;
use web::ui::Icon;
use web::{Locales, NavEntry, NavGroup, PolicyText, Room, RoutePermission, Streams};

use super::{Traffic, api, pages};

/// Traffic's part of the permission table.
pub(super) const POLICY: PolicyText = PolicyText {
    room: "traffic",
    schema: include_str!("../../../policy/traffic.cedarschema"),
    policies: "",
};

/// Traffic's texts.
pub(super) const LOCALES: Locales = Locales {
    room: "traffic",
    zh_tw: include_str!("../../../locales/traffic.zh-TW.ftl"),
    en: include_str!("../../../locales/traffic.en.ftl"),
};

/// What the pages stand on.
#[derive(Clone)]
pub(super) struct Desk {
    pub(super) traffic: Traffic,
    pub(super) streams: Streams,
}

impl Traffic {
    /// The room for the console.
    pub fn room(&self) -> Room {
        let desk = Desk {
            traffic: self.clone(),
            streams: Streams::default(),
        };
        let route = RoutePermission::new;
        let mut room = Room::new("traffic");
        room.nav = vec![NavEntry {
            label: "nav-traffic",
            path: "/exchange/traffic",
            icon: Icon::Chart,
            action: "traffic:view",
            group: NavGroup::Work,
        }];
        room.pages = pages::pages(desk.clone());
        room.api = api::router(desk);
        room.api_permissions = vec![
            route(Method::GET, "/api/v1/exchange/traffic", "traffic:view"),
            route(
                Method::GET,
                "/api/v1/exchange/traffic/{kind}/{id}",
                "traffic:view",
            ),
            route(
                Method::GET,
                "/api/v1/exchange/traffic/{kind}/{id}/summary",
                "traffic:view",
            ),
            route(
                Method::GET,
                "/api/v1/exchange/traffic-matrix",
                "traffic:view",
            ),
            route(
                Method::GET,
                "/api/v1/exchange/traffic-switches",
                "traffic:manage",
            ),
            route(
                Method::PUT,
                "/api/v1/exchange/traffic-switches/{switch}",
                "traffic:manage",
            ),
        ];
        room.locales = Some(LOCALES);
        room.policy = Some(POLICY);
        room.alerts = Some(Arc::new(self.clone()));
        room
    }
}
