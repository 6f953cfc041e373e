//! What may go to whom: a document that people version, and a pure decision by it.
//!
//! Rules are tried in order, the first that fits decides, and what fits none stays in
//! the house. A rule looks at where something would go (up to the tier above, down to
//! the tier below, level to a house beside, or to a member), at its type, its marking,
//! the sector labels that it carries, and whether its source consents.

use std::collections::BTreeMap;

use base::OrgId;
use serde::{Deserialize, Serialize};

use crate::stix::Tlp;

/// Rules of one policy.
pub const RULES_MAX: usize = 200;
/// Entries of any list of a policy.
pub const ENTRIES_MAX: usize = 1_000;
/// Characters of a rule's name, a type, a label.
pub const TEXT_CHARS_MAX: usize = 200;
/// Prefix of the label by which an object says how far its source consents: `none`,
/// `up`, `down` or `all`.
pub const CONSENT_LABEL: &str = "civicnet-consent:";
/// Prefix of the label that names a sector. A label that is the sector's name alone
/// counts as well.
pub const SECTOR_LABEL: &str = "civicnet-sector:";

/// Where something would go, seen from this house.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Default,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
    utoipa::ToSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Tier {
    /// To the centre above, such as from a ministry to the nation.
    Up,
    /// To a house below, such as from a ministry to a provider.
    Down,
    /// To a house beside.
    #[default]
    Level,
    /// To a member of this house.
    Member,
}

impl Tier {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Up, Self::Down, Self::Level, Self::Member];

    /// As in documents and tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Level => "level",
            Self::Member => "member",
        }
    }

    /// The one of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tier| tier.name() == name)
    }
}

/// Which consent of the source a rule asks about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Consent {
    /// It does not ask.
    #[default]
    Any,
    /// It fits what the source consents to.
    Given,
    /// It fits what the source does not consent to.
    Refused,
}

/// What a rule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// It goes.
    Pass,
    /// It stays.
    Withhold,
}

/// What becomes of names of members and of other properties that tell who a source is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Names {
    /// Another name takes its place, the same for the same audience each time.
    #[default]
    Pseudonym,
    /// It is left out.
    Drop,
    /// It goes as it is.
    Keep,
}

/// A rule. Empty lists fit everything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// What people call it; the reason that a preview gives.
    pub name: String,
    /// Where to: `up`, `down`, `level`, `member`, or the name of a peer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub to: Vec<String>,
    /// Types of objects.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub types: Vec<String>,
    /// The least closed marking.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tlp_min: Option<String>,
    /// The most closed marking.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tlp_max: Option<String>,
    /// Sectors, of which the object carries one as a label.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sectors: Vec<String>,
    /// Consent of the source.
    #[serde(default)]
    pub consent: Consent,
    /// What it does.
    pub action: Action,
}

/// One version of the policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// The rules, in the order in which they are tried.
    pub rules: Vec<Rule>,
    /// Whether a source that said nothing consents.
    #[serde(default)]
    pub consent_unstated: bool,
    /// What becomes of identities by where something goes; what is not named gets a
    /// pseudonym.
    #[serde(default)]
    pub names: BTreeMap<Tier, Names>,
    /// Ids of identities and markings that everybody may know: the centre itself,
    /// vendors, publishers.
    #[serde(default)]
    pub open: Vec<String>,
    /// Beginnings of custom properties that are kept; others are left out.
    #[serde(default)]
    pub custom_keep: Vec<String>,
    /// Organisations whose tokens read for another house, and where it stands.
    #[serde(default)]
    pub partners: BTreeMap<OrgId, Tier>,
}

/// What the rules look at.
#[derive(Debug, Clone)]
pub struct Facts<'a> {
    /// Its type.
    pub kind: &'a str,
    /// Its marking.
    pub tlp: Tlp,
    /// Its labels.
    pub labels: Vec<&'a str>,
    /// Whether its source consents.
    pub consent: bool,
}

/// What the rules say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict<'a> {
    /// Whether it goes.
    pub passes: bool,
    /// The rule; `None`: no rule fits.
    pub rule: Option<&'a str>,
}

impl Policy {
    /// The policy that a house begins with.
    ///
    /// # Errors
    /// When the document that is built in does not read.
    pub fn built_in() -> Result<Self, serde_json::Error> {
        serde_json::from_str(include_str!("../../rules/sharing.v1.json"))
    }

    /// What is wrong with it, as path and rule; none: it is good.
    pub fn problems(&self) -> Vec<(String, String)> {
        let mut wrong = Vec::new();
        let mut ask = |good: bool, path: String, rule: &str| {
            if !good {
                wrong.push((path, rule.to_owned()));
            }
        };
        ask(
            !self.rules.is_empty() && self.rules.len() <= RULES_MAX,
            "rules".into(),
            "must be 1 to 200 rules",
        );
        for (index, rule) in self.rules.iter().enumerate() {
            let at = |field: &str| format!("rules[{index}].{field}");
            ask(
                short(&rule.name),
                at("name"),
                "must have 1 to 200 characters",
            );
            let twice = self.rules[..index].iter().any(|one| one.name == rule.name);
            ask(!twice, at("name"), "must differ from other rules' names");
            for (field, list) in [
                ("to", &rule.to),
                ("types", &rule.types),
                ("sectors", &rule.sectors),
            ] {
                ask(
                    list.len() <= ENTRIES_MAX && list.iter().all(|text| short(text)),
                    at(field),
                    "must be at most 1000 texts of 1 to 200 characters",
                );
            }
            for (field, tlp) in [("tlp_min", &rule.tlp_min), ("tlp_max", &rule.tlp_max)] {
                ask(
                    tlp.as_deref()
                        .is_none_or(|name| Tlp::from_name(name).is_some()),
                    at(field),
                    "must be clear, green, amber, amber+strict or red",
                );
            }
        }
        for (field, list) in [("open", &self.open), ("custom_keep", &self.custom_keep)] {
            ask(
                list.len() <= ENTRIES_MAX && list.iter().all(|text| short(text)),
                field.into(),
                "must be at most 1000 texts of 1 to 200 characters",
            );
        }
        ask(
            self.partners.len() <= ENTRIES_MAX,
            "partners".into(),
            "must be at most 1000 organisations",
        );
        wrong
    }

    /// What becomes of something that would go to `peer`, which stands at `tier`.
    pub fn decide(&self, tier: Tier, peer: &str, facts: &Facts<'_>) -> Verdict<'_> {
        let found = self.rules.iter().find(|rule| rule.fits(tier, peer, facts));
        Verdict {
            passes: found.is_some_and(|rule| rule.action == Action::Pass),
            rule: found.map(|rule| rule.name.as_str()),
        }
    }

    /// What becomes of names on the way to `tier`.
    pub fn names(&self, tier: Tier) -> Names {
        self.names.get(&tier).copied().unwrap_or_default()
    }

    /// Where the organisation whose token asks stands.
    pub fn tier_of(&self, org: OrgId) -> Tier {
        self.partners.get(&org).copied().unwrap_or(Tier::Member)
    }
}

fn short(text: &str) -> bool {
    (1..=TEXT_CHARS_MAX).contains(&text.chars().count())
}

impl Rule {
    fn fits(&self, tier: Tier, peer: &str, facts: &Facts<'_>) -> bool {
        let marking = |name: &Option<String>| name.as_deref().and_then(Tlp::from_name);
        let sector = |wanted: &String| {
            facts
                .labels
                .iter()
                .any(|label| label.strip_prefix(SECTOR_LABEL).unwrap_or(label) == wanted)
        };
        (self.to.is_empty() || self.to.iter().any(|to| to == tier.name() || to == peer))
            && (self.types.is_empty() || self.types.iter().any(|kind| kind == facts.kind))
            && marking(&self.tlp_min).is_none_or(|least| facts.tlp >= least)
            && marking(&self.tlp_max).is_none_or(|most| facts.tlp <= most)
            && (self.sectors.is_empty() || self.sectors.iter().any(sector))
            && match self.consent {
                Consent::Any => true,
                Consent::Given => facts.consent,
                Consent::Refused => !facts.consent,
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(
        kind: &'static str,
        tlp: Tlp,
        labels: &[&'static str],
        consent: bool,
    ) -> Facts<'static> {
        Facts {
            kind,
            tlp,
            labels: labels.to_vec(),
            consent,
        }
    }

    #[test]
    fn the_first_rule_that_fits_decides_and_nothing_goes_by_default() {
        let policy = Policy::built_in().expect("a document");
        assert_eq!(policy.problems(), []);
        for (tier, tlp, consent, passes) in [
            (Tier::Up, Tlp::Amber, true, true),
            (Tier::Up, Tlp::AmberStrict, true, false),
            (Tier::Up, Tlp::Green, false, false),
            (Tier::Down, Tlp::Green, true, true),
            (Tier::Down, Tlp::Red, true, false),
            (Tier::Member, Tlp::Red, true, true),
            (Tier::Member, Tlp::Clear, false, false),
        ] {
            let verdict = policy.decide(tier, "x", &facts("indicator", tlp, &[], consent));
            assert_eq!(
                verdict.passes, passes,
                "{tier:?} {tlp:?} {consent}: {verdict:?}"
            );
            assert!(verdict.rule.is_some() || !passes);
        }
    }

    #[test]
    fn sectors_types_and_names_of_peers_choose() {
        let text = r#"{"rules":[
            {"name":"water only","to":["plant"],"sectors":["water"],"types":["indicator"],"action":"pass"},
            {"name":"rest stays","to":["plant"],"action":"withhold"},
            {"name":"others","action":"pass"}]}"#;
        let policy: Policy = serde_json::from_str(text).expect("a document");
        let of = |peer, labels: &[&'static str], kind| {
            let facts = facts(kind, Tlp::Clear, labels, false);
            policy
                .decide(Tier::Down, peer, &facts)
                .rule
                .map(str::to_owned)
        };
        let named = |name: &str| Some(name.to_owned());
        assert_eq!(of("plant", &["water"], "indicator"), named("water only"));
        assert_eq!(
            of("plant", &["civicnet-sector:water"], "indicator"),
            named("water only")
        );
        assert_eq!(of("plant", &["energy"], "indicator"), named("rest stays"));
        assert_eq!(of("plant", &["water"], "malware"), named("rest stays"));
        assert_eq!(of("grid", &[], "malware"), named("others"));
    }

    #[test]
    fn bad_documents_name_path_and_rule() {
        let text = r#"{"rules":[{"name":"","tlp_max":"blue","action":"pass"},{"name":"a","action":"pass"},{"name":"a","action":"pass"}]}"#;
        let policy: Policy = serde_json::from_str(text).expect("reads");
        let problems = policy.problems();
        let paths: Vec<&str> = problems.iter().map(|(path, _)| path.as_str()).collect();
        assert_eq!(
            paths,
            ["rules[0].name", "rules[0].tlp_max", "rules[2].name"]
        );
        assert!(serde_json::from_str::<Policy>(r#"{"rules":[],"x":1}"#).is_err());
    }
}
