//! Sharing's part of the console.

use std::sync::Arc;

use axum::http::Method;
use casework::People;
use web::ui::Icon;
use web::{Locales, NavEntry, NavGroup, PolicyText, Room, RoutePermission};

use super::Sharing;
use super::{api, decay_pages, inbox, pages, trust};
use crate::cert::Cert;
use crate::enforce::Enforcements;
use crate::objects::Objects;
use crate::taxii::PeerConfig;

/// Sharing's part of the permission table.
pub const POLICY: PolicyText = PolicyText {
    room: "share",
    schema: include_str!("../../policy/share.cedarschema"),
    policies: "",
};

/// The texts.
pub const LOCALES: Locales = Locales {
    room: "share",
    zh_tw: include_str!("../../locales/share.zh-TW.ftl"),
    en: include_str!("../../locales/share.en.ftl"),
};

/// What pages and API stand on. Cheap to clone.
#[derive(Clone)]
pub struct Parts {
    /// Policies, consents, visits.
    pub sharing: Sharing,
    /// The store of objects.
    pub objects: Objects,
    /// What is enforced by the trust in peers.
    pub enforcements: Enforcements,
    /// Alerts of this house and of others.
    pub cert: Cert,
    /// The configured peers.
    pub peers: Arc<Vec<PeerConfig>>,
    /// Who the people are.
    pub people: Arc<dyn People>,
}

/// The room for the console.
pub fn room(parts: Parts) -> Room {
    let route = RoutePermission::new;
    let mut room = Room::new("share");
    room.nav = vec![NavEntry {
        label: "nav-sharing",
        path: "/sharing",
        icon: Icon::Refresh,
        action: "share:view",
        group: NavGroup::Operate,
    }];
    // Those whom the consent is asked of do not see the rest.
    room.nav.push(NavEntry {
        label: "nav-consent",
        path: "/sharing/consent",
        icon: Icon::Check,
        action: "share:consent",
        group: NavGroup::Work,
    });
    room.pages = pages::pages(parts.clone())
        .merge(trust::pages(parts.clone()))
        .merge(decay_pages::pages(parts.clone()))
        .merge(inbox::pages(parts.clone()));
    room.api = api::router(parts.clone())
        .merge(decay_pages::router(parts.clone()))
        .merge(inbox::router(parts));
    room.api_permissions = vec![
        route(Method::GET, "/api/v1/sharing/policy", "share:view"),
        route(Method::PUT, "/api/v1/sharing/policy", "share:manage"),
        route(Method::GET, "/api/v1/sharing/preview", "share:view"),
        route(Method::GET, "/api/v1/sharing/peers", "share:view"),
        route(Method::GET, "/api/v1/sharing/peers/{peer}", "share:view"),
        route(
            Method::PUT,
            "/api/v1/sharing/peers/{peer}/trust",
            "share:manage",
        ),
        route(Method::GET, "/api/v1/sharing/alerts", "share:view"),
        route(
            Method::PUT,
            "/api/v1/sharing/alerts/{object}",
            "share:manage",
        ),
        route(Method::POST, "/api/v1/sharing/verdicts", "share:manage"),
        route(Method::GET, "/api/v1/sharing/beliefs", "share:view"),
        route(Method::GET, "/api/v1/sharing/decay", "share:view"),
        route(Method::PUT, "/api/v1/sharing/decay", "share:rules"),
        route(Method::GET, "/api/v1/sharing/decay/versions", "share:view"),
        route(Method::POST, "/api/v1/sharing/decay/trial", "share:view"),
        route(Method::POST, "/api/v1/sharing/decay/back", "share:rules"),
        route(
            Method::PUT,
            "/api/v1/sharing/consents/{org}",
            "share:consent",
        ),
    ];
    room.locales = Some(LOCALES);
    room.policy = Some(POLICY);
    room
}
