//! Enforcement's part of the console.

use axum::http::Method;
use web::{PolicyText, Room, RoutePermission};

use super::api;
use super::engine::Enforcements;

/// Enforcement's part of the permission table.
pub const POLICY: PolicyText = PolicyText {
    room: "enforce",
    schema: include_str!("../../policy/enforce.cedarschema"),
    policies: "",
};

/// The room for the console.
pub fn room(enforcements: Enforcements) -> Room {
    let route = RoutePermission::new;
    let mut room = Room::new("enforce");
    room.api = api::router(enforcements);
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
    room
}
