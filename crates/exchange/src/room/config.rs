//! What the configuration file says about the exchange's room.

use runtime::config::{Check, Checker};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Seconds that a driver may take.
const DRIVER_SECONDS_MAX: u64 = 3_600;

/// The exchange's model in the console.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RoomConfig {
    /// How a switch is given its configuration; off unless set.
    pub driver: Option<DriverConfig>,
}

/// A program that pushes a configuration to a switch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DriverConfig {
    /// The program and its arguments; `{switch}`, `{vendor}` and `{address}` stand for
    /// the switch's name, vendor and management address. The configuration comes on its
    /// standard input. No shell takes part.
    pub command: Vec<String>,
    /// Seconds until it is ended.
    #[serde(default = "timeout")]
    pub timeout_s: u64,
}

fn timeout() -> u64 {
    120
}

impl Check for RoomConfig {
    fn check(&self, at: &mut Checker) {
        if let Some(driver) = &self.driver {
            at.section("driver", driver);
        }
    }
}

impl Check for DriverConfig {
    fn check(&self, at: &mut Checker) {
        at.require(
            self.command
                .first()
                .is_some_and(|name| name.starts_with('/')),
            "command",
            "must begin with the absolute path of a program",
        );
        at.require(
            (1..=DRIVER_SECONDS_MAX).contains(&self.timeout_s),
            "timeout_s",
            format!("must be 1 to {DRIVER_SECONDS_MAX}"),
        );
    }
}
