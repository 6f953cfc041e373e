//! This crate's part of the console.

use web::{PolicyText, Room};

/// This crate's part of the permission table.
pub const POLICY: PolicyText = PolicyText {
    room: "isac",
    schema: include_str!("../policy/isac.cedarschema"),
    policies: "",
};

/// The room for the console.
pub fn room() -> Room {
    let mut room = Room::new("isac");
    room.policy = Some(POLICY);
    room
}
