//! Configuration section `isac`.

use runtime::config::{Check, Checker};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::taxii::TaxiiConfig;

/// Threat intelligence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct IsacConfig {
    /// What this centre calls itself in alerts, answers and hand-overs; must differ from
    /// that of the houses it exchanges with.
    pub name: String,
    /// The TAXII 2.1 server.
    pub taxii: TaxiiConfig,
}

/// Characters of a centre's name.
const NAME_CHARS_MAX: usize = 100;

impl Default for IsacConfig {
    fn default() -> Self {
        Self {
            name: crate::cert::PUBLISHER.to_owned(),
            taxii: TaxiiConfig::default(),
        }
    }
}

impl Check for IsacConfig {
    fn check(&self, at: &mut Checker) {
        at.require(
            (1..=NAME_CHARS_MAX).contains(&self.name.chars().count()),
            "name",
            "must have 1 to 100 characters",
        );
        at.section("taxii", &self.taxii);
    }
}
