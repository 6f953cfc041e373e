//! Scoring rules of the threat light as versioned data.

use std::collections::BTreeMap;

use casework::form::Text;
use serde::{Deserialize, Serialize};

/// The version in force.
const BUILT_IN: &str = include_str!("../../rules/light.v1.json");

/// What a light looks at.
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
    utoipa::ToSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Face {
    /// Buildings, power, water, weather.
    Physical,
    /// People: absence, threats, insiders.
    Personnel,
    /// Alerts that concern the provider.
    Cyber,
    /// Reported incidents.
    Incidents,
}

impl Face {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Physical,
        Self::Personnel,
        Self::Cyber,
        Self::Incidents,
    ];

    /// The name in tables, keys of texts and the API.
    pub const fn tag(self) -> &'static str {
        match self {
            Self::Physical => "physical",
            Self::Personnel => "personnel",
            Self::Cyber => "cyber",
            Self::Incidents => "incidents",
        }
    }

    /// The face of that name.
    pub fn from_tag(tag: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|face| face.tag() == tag)
    }

    /// Whether people tell it by hand; the others follow from reports and alerts.
    pub const fn by_hand(self) -> bool {
        matches!(self, Self::Physical | Self::Personnel)
    }
}

/// How a face counts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaceRules {
    /// Share of its score that reaches the light, 0 to 1.
    pub weight: f64,
    /// Hours after which a fact counts half.
    pub half_life_hours: f64,
}

/// Scores from which a colour shows.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Thresholds {
    /// Yellow.
    pub yellow: f64,
    /// Orange.
    pub orange: f64,
    /// Red.
    pub red: f64,
}

/// One version of the rules.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LightRules {
    /// 1, 2, 3 …
    pub version: u32,
    /// Its name.
    pub title: Text,
    /// How each face counts.
    pub faces: BTreeMap<Face, FaceRules>,
    /// Scores of open incidents of levels 1 to 4.
    pub incident_levels: [f64; 4],
    /// Scores of alerts, by severity.
    pub severities: BTreeMap<String, f64>,
    /// What a reply makes of an alert's score.
    pub replies: BTreeMap<String, f64>,
    /// Scores from which a colour shows.
    pub thresholds: Thresholds,
    /// Points below a threshold at which a colour falls again.
    pub hysteresis: f64,
    /// Share of the worst member in the score of a group; the mean has the rest.
    pub worst_share: f64,
}

/// Why rules cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LightRulesError {
    /// Not the right JSON.
    #[error("the rules of the light cannot be read")]
    Json(#[source] serde_json::Error),
    /// A number out of range.
    #[error("the rules of the light, version {version}: {problem}")]
    Inconsistent {
        /// The version.
        version: u32,
        /// What is wrong.
        problem: String,
    },
}

impl LightRules {
    /// The version in force.
    ///
    /// # Errors
    /// [`LightRulesError`] when it is wrong.
    pub fn built_in() -> Result<Self, LightRulesError> {
        Self::parse(BUILT_IN)
    }

    /// Reads and checks one version.
    ///
    /// # Errors
    /// [`LightRulesError`].
    pub fn parse(document: &str) -> Result<Self, LightRulesError> {
        let rules: Self = serde_json::from_str(document).map_err(LightRulesError::Json)?;
        let wrong = |problem: String| LightRulesError::Inconsistent {
            version: rules.version,
            problem,
        };
        for face in Face::ALL {
            let Some(found) = rules.faces.get(&face) else {
                return Err(wrong(format!("face {} is missing", face.tag())));
            };
            if !(0.0..=1.0).contains(&found.weight)
                || !(1.0..=8_760.0).contains(&found.half_life_hours)
            {
                return Err(wrong(format!(
                    "face {}: weight must be 0 to 1, half-life 1 hour to a year",
                    face.tag()
                )));
            }
        }
        let score = |value: &f64| (0.0..=100.0).contains(value);
        let at = rules.thresholds;
        if !rules
            .incident_levels
            .iter()
            .chain(rules.severities.values())
            .all(score)
        {
            return Err(wrong("scores must be 0 to 100".into()));
        }
        if !rules
            .replies
            .values()
            .all(|value| (0.0..=2.0).contains(value))
        {
            return Err(wrong("replies must be factors of 0 to 2".into()));
        }
        if !(0.0 < at.yellow && at.yellow < at.orange && at.orange < at.red && at.red <= 100.0) {
            return Err(wrong(
                "thresholds must rise from yellow to red, at most 100".into(),
            ));
        }
        if !(0.0..at.yellow).contains(&rules.hysteresis)
            || !(0.0..=1.0).contains(&rules.worst_share)
        {
            return Err(wrong(
                "hysteresis must be below yellow, worst_share 0 to 1".into(),
            ));
        }
        Ok(rules)
    }
}
