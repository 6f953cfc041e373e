//! The roles a node can play. The binary holds the table that says what each one runs.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What a node does for the network.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Console, API, control database, snapshots, event lake.
    Control,
    /// HTTP cache near the users.
    Edge,
    /// Authoritative DNS that sends users to the nearest good edge.
    Dispatch,
    /// Agent of the route server at a site of the exchange.
    Exchange,
}

impl Role {
    /// All roles, in the order in which they are listed to people.
    pub const ALL: [Self; 4] = [Self::Control, Self::Edge, Self::Dispatch, Self::Exchange];

    /// The name used on the command line, in configuration and on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::Edge => "edge",
            Self::Dispatch => "dispatch",
            Self::Exchange => "exchange",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is no role; the message lists those that are.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is not a role: must be one of control, edge, dispatch, exchange")]
pub struct UnknownRole(pub String);

impl FromStr for Role {
    type Err = UnknownRole;
    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        Self::ALL
            .into_iter()
            .find(|role| role.name() == text)
            .ok_or_else(|| UnknownRole(text.chars().take(80).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_lists_every_role() {
        let message = "edgy"
            .parse::<Role>()
            .expect_err("no such role")
            .to_string();
        for role in Role::ALL {
            assert!(message.contains(role.name()), "{message}");
            assert_eq!(role.name().parse(), Ok(role));
        }
    }
}
