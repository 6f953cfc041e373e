//! The arithmetic of lights. Facts of one face add up as chances do (two of 50 make
//! 75), each halved by its age; faces add up the same way by their weights. A group's
//! score lies between the mean and the worst of its members. A colour rises at once
//! and falls only when the score is clearly below.

use base::Timestamp;
use casework::form::Text;
use serde::{Deserialize, Serialize};

use super::rules::{Face, LightRules};

/// Parts of an explanation, at most.
pub const PARTS_MAX: usize = 20;

/// A colour, the calmest first.
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
#[expect(missing_docs, reason = "each name says what it is")]
pub enum Colour {
    Green,
    Yellow,
    Orange,
    Red,
}

impl Colour {
    /// All, the calmest first.
    pub const ALL: [Self; 4] = [Self::Green, Self::Yellow, Self::Orange, Self::Red];

    /// The name in tables, keys of texts and the API.
    pub const fn tag(self) -> &'static str {
        match self {
            Self::Green => "green",
            Self::Yellow => "yellow",
            Self::Orange => "orange",
            Self::Red => "red",
        }
    }

    /// The colour of that name.
    pub fn from_tag(tag: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|colour| colour.tag() == tag)
    }

    /// The colour of a score, coming from the colour before.
    pub fn of(score: f64, before: Option<Self>, rules: &LightRules) -> Self {
        let at = rules.thresholds;
        let shown = |score: f64| {
            if score >= at.red {
                Self::Red
            } else if score >= at.orange {
                Self::Orange
            } else if score >= at.yellow {
                Self::Yellow
            } else {
                Self::Green
            }
        };
        let now = shown(score);
        match before {
            // It falls no further than the score with the margin on top.
            Some(before) if now < before => shown(score + rules.hysteresis).min(before),
            _ => now,
        }
    }
}

/// Something that counts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fact {
    /// The face that it belongs to.
    pub face: Face,
    /// 0 to 100, when it was fresh.
    pub score: f64,
    /// From when it fades; none: it does not fade yet.
    pub since: Option<Timestamp>,
    /// What it is.
    pub what: Text,
}

/// A light that explains itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Light {
    /// 0 to 100.
    pub score: f64,
    /// The score of each face, in the order of [`Face::ALL`]; empty for groups.
    pub faces: Vec<(Face, f64)>,
    /// What contributes most, with its present score.
    pub parts: Vec<(Text, f64)>,
}

/// A fact's score at `now`.
pub fn faded(fact: &Fact, now: Timestamp, rules: &LightRules) -> f64 {
    let score = if fact.score.is_finite() {
        fact.score.clamp(0.0, 100.0)
    } else {
        0.0
    };
    let (Some(since), Some(face)) = (fact.since, rules.faces.get(&fact.face)) else {
        return score;
    };
    let hours = now.since(since).as_secs_f64() / 3_600.0;
    score * 0.5_f64.powf(hours / face.half_life_hours)
}

/// The light of a provider from its facts.
pub fn light(facts: &[Fact], now: Timestamp, rules: &LightRules) -> Light {
    let mut parts: Vec<(Text, f64)> = Vec::new();
    let mut faces = Vec::new();
    let mut calm = 1.0;
    for face in Face::ALL {
        let mut quiet = 1.0;
        for fact in facts.iter().filter(|fact| fact.face == face) {
            let score = faded(fact, now, rules);
            quiet *= 1.0 - score / 100.0;
            if score >= 0.5 {
                parts.push((fact.what.clone(), round(score)));
            }
        }
        let score = 100.0 * (1.0 - quiet);
        let weight = rules.faces.get(&face).map_or(0.0, |face| face.weight);
        calm *= 1.0 - weight * score / 100.0;
        faces.push((face, round(score)));
    }
    parts.sort_by(|a, b| b.1.total_cmp(&a.1));
    parts.truncate(PARTS_MAX);
    Light {
        score: round(100.0 * (1.0 - calm)),
        faces,
        parts,
    }
}

/// The light of a group from the scores of its members.
pub fn group(members: &[(Text, f64)], rules: &LightRules) -> Light {
    let worst = members.iter().map(|(_, score)| *score).fold(0.0, f64::max);
    let mean = if members.is_empty() {
        0.0
    } else {
        members.iter().map(|(_, score)| *score).sum::<f64>() / members.len() as f64
    };
    let mut parts: Vec<(Text, f64)> = members.to_vec();
    parts.sort_by(|a, b| b.1.total_cmp(&a.1));
    parts.truncate(PARTS_MAX);
    Light {
        score: round(rules.worst_share * worst + (1.0 - rules.worst_share) * mean),
        faces: Vec::new(),
        parts,
    }
}

fn round(score: f64) -> f64 {
    (score * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rules() -> LightRules {
        LightRules::built_in().expect("the built-in rules are right")
    }

    fn fact(face: Face, score: f64, since: Option<i64>) -> Fact {
        Fact {
            face,
            score,
            since: since.map(Timestamp::from_seconds),
            what: Text::new("事", "thing"),
        }
    }

    #[test]
    fn a_major_incident_turns_the_light() {
        let now = Timestamp::from_seconds(1_000_000);
        for (level, expected) in [
            (0, Colour::Green),
            (1, Colour::Yellow),
            (2, Colour::Orange),
            (3, Colour::Red),
        ] {
            let facts = [fact(Face::Incidents, rules().incident_levels[level], None)];
            let light = light(&facts, now, &rules());
            assert_eq!(
                Colour::of(light.score, None, &rules()),
                expected,
                "{light:?}"
            );
            assert_eq!(light.parts.len(), 1);
        }
    }

    #[test]
    fn facts_fade_by_half_lives() {
        let now = Timestamp::from_seconds(1_000_000);
        let old = fact(Face::Physical, 80.0, Some(1_000_000 - 72 * 3_600));
        assert!((faded(&old, now, &rules()) - 40.0).abs() < 1e-9);
        let future = fact(Face::Physical, 80.0, Some(2_000_000));
        assert!(
            (faded(&future, now, &rules()) - 80.0).abs() < 1e-9,
            "a clock that jumped back"
        );
    }

    #[test]
    fn a_colour_rises_at_once_and_falls_with_a_margin() {
        let rules = rules();
        assert_eq!(
            Colour::of(45.0, Some(Colour::Green), &rules),
            Colour::Orange
        );
        assert_eq!(
            Colour::of(44.0, Some(Colour::Orange), &rules),
            Colour::Orange
        );
        assert_eq!(
            Colour::of(40.1, Some(Colour::Orange), &rules),
            Colour::Orange
        );
        assert_eq!(
            Colour::of(39.9, Some(Colour::Orange), &rules),
            Colour::Yellow
        );
        assert_eq!(Colour::of(3.0, Some(Colour::Red), &rules), Colour::Green);
        // A light that is green stays so below the threshold, margin or not.
        assert_eq!(Colour::of(19.0, Some(Colour::Green), &rules), Colour::Green);
    }

    #[test]
    fn a_group_stands_between_its_mean_and_its_worst() {
        let name = || Text::new("甲", "a");
        let light = group(&[(name(), 0.0), (name(), 80.0)], &rules());
        assert!(
            (light.score - (0.7 * 80.0 + 0.3 * 40.0)).abs() < 0.06,
            "{light:?}"
        );
        assert_eq!(group(&[], &rules()).score, 0.0);
    }

    proptest! {
        #[test]
        fn more_facts_never_calm(scores in proptest::collection::vec((0usize..4, -10.0f64..120.0), 0..8), extra in 0.0f64..100.0) {
            let now = Timestamp::from_seconds(1_000_000);
            let mut facts: Vec<Fact> = scores.iter().map(|(face, score)| fact(Face::ALL[*face], *score, None)).collect();
            let before = light(&facts, now, &rules()).score;
            facts.push(fact(Face::Cyber, extra, None));
            let after = light(&facts, now, &rules()).score;
            prop_assert!((0.0..=100.0).contains(&before) && after >= before && after <= 100.0);
        }
    }
}
