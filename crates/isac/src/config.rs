//! Configuration section `isac`.

use runtime::config::{Check, Checker};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::taxii::TaxiiConfig;

/// Threat intelligence.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct IsacConfig {
    /// The TAXII 2.1 server.
    pub taxii: TaxiiConfig,
}

impl Check for IsacConfig {
    fn check(&self, at: &mut Checker) {
        at.section("taxii", &self.taxii);
    }
}
