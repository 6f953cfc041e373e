//! The exchange in operation: an incident on the picture, members checked end to end from the console, and
//! the records of drills.
//!
//! What is wrong is looked at in three ways that meet at a case: [`incident`] frames on the picture what a
//! case is about, [`checks`] asks the sites' agents about one member and puts the findings beside the case,
//! and [`drills`] keeps what commands at the sites measured when a loss was rehearsed. Drills themselves are
//! begun where their guard stands, never from here: a control plane that lost its way to a site in the
//! middle of a drill could not undo it.

mod checks;
mod drills;
mod incident;
mod keep;

use std::sync::Arc;

use axum::http::Method;
use casework::Casework;
use web::{Locales, Pages, PolicyText, Room, RoutePermission, Streams};

use crate::glass::console::Doors;
use crate::room::{Exchange, RoomConfig, shell};

pub use checks::ask_agents;
pub(crate) use keep::OPERATIONS;
pub use keep::{CHECKS_MAX, DRILLS_MAX, RECORD_BYTES_MAX};

/// This part of the permission table.
pub const POLICY: PolicyText = PolicyText {
    room: "exchange-operations",
    schema: include_str!("../../policy/operations.cedarschema"),
    policies: "",
};

/// The texts.
pub const LOCALES: Locales = Locales {
    room: "exchange-operations",
    zh_tw: include_str!("../../locales/operations.zh-TW.ftl"),
    en: include_str!("../../locales/operations.en.ftl"),
};

/// The link on a case's page.
pub const CASE_LINK: casework::CaseLink = casework::CaseLink {
    label: "op-case-link",
    path: "/exchange/incidents/",
    action: "exchange:view",
};

/// What the pages and the API stand on.
#[derive(Clone)]
pub(crate) struct Desk {
    pub(crate) room: shell::Desk,
    pub(crate) casework: Casework,
    pub(crate) doors: Arc<dyn Doors>,
}

/// The room for the console.
pub fn room(exchange: &Exchange, casework: &Casework, doors: Arc<dyn Doors>) -> Room {
    let desk = Desk {
        room: shell::Desk {
            exchange: exchange.clone(),
            config: RoomConfig::default(),
            streams: Streams::default(),
        },
        casework: casework.clone(),
        doors,
    };
    let mut room = Room::new("exchange-operations");
    room.pages = Pages::new()
        .merge(incident::pages(desk.clone()))
        .merge(checks::pages(desk.clone()))
        .merge(drills::pages(desk.clone()));
    room.api = drills::router(desk);
    room.api_permissions = vec![
        RoutePermission::new(Method::GET, "/api/v1/exchange-drills", "exchange:view"),
        RoutePermission::new(Method::POST, "/api/v1/exchange-drills", "exchange:drill"),
    ];
    room.locales = Some(LOCALES);
    room.policy = Some(POLICY);
    room
}
