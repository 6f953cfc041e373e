//! The Traffic Light Protocol 2.0 (FIRST), as marking definitions of STIX 2.1, and
//! the four of TLP 1 that older sources still use.

use super::json::Node;

/// How far something may be passed on; ordered from free to closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(u8)]
pub enum Tlp {
    /// Without limit; also what carries no marking.
    #[default]
    Clear = 0,
    /// Within the community.
    Green = 1,
    /// Within the organisation and its clients, on need to know.
    Amber = 2,
    /// Within the organisation.
    AmberStrict = 3,
    /// For the named recipients only.
    Red = 4,
}

impl Tlp {
    /// All, from free to closed.
    pub const ALL: [Self; 5] = [
        Self::Clear,
        Self::Green,
        Self::Amber,
        Self::AmberStrict,
        Self::Red,
    ];

    /// Its name: `amber+strict`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Clear => "clear",
            Self::Green => "green",
            Self::Amber => "amber",
            Self::AmberStrict => "amber+strict",
            Self::Red => "red",
        }
    }

    /// The one of that name; `white` is clear.
    pub fn from_name(name: &str) -> Option<Self> {
        if name == "white" {
            return Some(Self::Clear);
        }
        Self::ALL.into_iter().find(|tlp| tlp.name() == name)
    }

    /// The one of that number, the most closed for numbers that are none.
    pub fn from_number(number: i64) -> Self {
        usize::try_from(number)
            .ok()
            .and_then(|number| Self::ALL.get(number).copied())
            .unwrap_or(Self::Red)
    }

    /// The id of its marking definition in TLP 2.0.
    pub const fn marking(self) -> &'static str {
        match self {
            Self::Clear => "marking-definition--94868c89-83c2-464b-929b-a1a8aa3c8487",
            Self::Green => "marking-definition--bab4a63c-aed9-4cf5-a766-dfca5abac2bb",
            Self::Amber => "marking-definition--55d920b0-5e8b-4f79-9ee9-91f868d9b421",
            Self::AmberStrict => "marking-definition--939a9414-2ddd-4d32-a0cd-375ea402b003",
            Self::Red => "marking-definition--e828b379-4e03-4974-9ac4-e53a884c97c1",
        }
    }

    /// What the marking definition `id` says, if it is one of the protocol's.
    pub fn of_marking(id: &str) -> Option<Self> {
        Some(match id {
            // TLP 1.
            "marking-definition--613f2e26-407d-48c7-9eca-b8e91df99dc9" => Self::Clear,
            "marking-definition--34098fce-860f-48ae-8e50-ebd3cc5e41da" => Self::Green,
            "marking-definition--f88d31f6-486f-44da-b317-01333bde0b82" => Self::Amber,
            "marking-definition--5e57c739-391a-4eb3-b6be-7d15ca92d5ed" => Self::Red,
            _ => return Self::ALL.into_iter().find(|tlp| tlp.marking() == id),
        })
    }

    /// The most closed marking that an object carries, in whole or in part.
    pub fn of_object(object: &Node<'_>) -> Self {
        let whole = object
            .get("object_marking_refs")
            .and_then(Node::list)
            .unwrap_or_default()
            .iter()
            .filter_map(Node::text);
        let parts = object
            .get("granular_markings")
            .and_then(Node::list)
            .unwrap_or_default()
            .iter()
            .filter_map(|part| part.text_of("marking_ref"));
        whole
            .chain(parts)
            .filter_map(Self::of_marking)
            .max()
            .unwrap_or_default()
    }
}
