//! How much is believed of a pattern that several sources name: a rule that anybody can
//! follow with a pencil. Pure.
//!
//! 1. Each source's own confidence halves once in a half-life since it last said so or
//!    saw it. What was revoked or has ended counts no more.
//! 2. Sources are independent witnesses: `1 - (1 - a)(1 - b)…`.
//! 3. Each organisation that calls it a false positive takes away half of what is left.
//! 4. Below the floor of its kind it is no longer believed.
//!
//! Half-lives and floors are data with a version.

use std::collections::BTreeMap;

use base::Timestamp;
use serde::{Deserialize, Serialize};

/// Microseconds of a day.
const DAY: f64 = 86_400_000_000.0;
/// Kinds with rules of their own.
const KINDS_MAX: usize = 200;
/// Longest half-life, in days.
const HALF_LIFE_DAYS_MAX: u32 = 36_500;
/// Days after which something that does not fall is looked at again.
const LOOK_AGAIN_DAYS: f64 = 30.0;

/// How fast one kind of thing ages.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ageing {
    /// Days in which half of the confidence goes.
    pub half_life_days: u32,
    /// Confidence, 0 to 100, below which it is no longer believed.
    pub floor: u8,
}

/// One version of the rules.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decay {
    /// Its number.
    pub version: u32,
    /// From when on it counts (RFC 3339).
    pub since: String,
    /// By the type of object that the pattern begins with.
    pub kinds: BTreeMap<String, Ageing>,
    /// For all others.
    pub otherwise: Ageing,
    /// Confidence of a source that states none.
    pub confidence_unstated: u8,
    /// Percent of what is left that a report of a false positive takes away.
    pub false_positive_percent: u8,
    /// Points by which a belief changes before it is published again.
    pub published_step: u8,
}

/// What one source says about a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Who says so: the author that it names, or whoever sent it if it names none.
    pub source: String,
    /// Who sent it here: `house`, an organisation's id, `peer:…`.
    pub sender: String,
    /// The object that says so.
    pub object: String,
    /// Its confidence, 0 to 100; `None`: not stated.
    pub confidence: Option<u8>,
    /// When it was said, in microseconds.
    pub said_at: i64,
    /// When it was last seen, in microseconds; 0: never.
    pub seen_at: i64,
    /// When it ends, in microseconds.
    pub until: Option<i64>,
    /// Taken back by its sender, or replaced by what the house said of the object since.
    pub revoked: bool,
}

/// What is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Belief {
    /// 0 to 100.
    pub confidence: u8,
    /// Sources that count.
    pub sources: usize,
    /// Whether it is believed at all.
    pub stands: bool,
    /// When to look again, in microseconds.
    pub look_at: i64,
}

impl Decay {
    /// The rules that are built in.
    ///
    /// # Errors
    /// When the document does not read or breaks a rule.
    pub fn built_in() -> Result<Self, String> {
        let rules: Self = serde_json::from_str(include_str!("../../rules/decay.v1.json"))
            .map_err(|error| error.to_string())?;
        match rules.problems().first() {
            Some((path, rule)) => Err(format!("{path}: {rule}")),
            None => Ok(rules),
        }
    }

    /// What is wrong with them, as path and rule.
    pub fn problems(&self) -> Vec<(String, &'static str)> {
        let mut wrong = Vec::new();
        if self.kinds.len() > KINDS_MAX {
            wrong.push(("kinds".to_owned(), "must have at most 200 kinds"));
        }
        for kind in self.kinds.keys() {
            let letters = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            if !(3..=250).contains(&kind.len()) || !kind.chars().all(letters) {
                let shown: String = kind.chars().take(40).collect();
                wrong.push((
                    format!("kinds.{shown}"),
                    "must be a type of STIX: 3 to 250 of a to z, 0 to 9 and hyphen",
                ));
            }
        }
        let all = self
            .kinds
            .iter()
            .map(|(kind, ageing)| (format!("kinds.{kind}"), ageing));
        for (path, ageing) in all.chain([("otherwise".to_owned(), &self.otherwise)]) {
            if !(1..=HALF_LIFE_DAYS_MAX).contains(&ageing.half_life_days) {
                wrong.push((format!("{path}.half_life_days"), "must be 1 to 36500"));
            }
            if ageing.floor > 100 {
                wrong.push((format!("{path}.floor"), "must be at most 100"));
            }
        }
        for (path, value) in [
            ("confidence_unstated", self.confidence_unstated),
            ("false_positive_percent", self.false_positive_percent),
        ] {
            if value > 100 {
                wrong.push((path.to_owned(), "must be at most 100"));
            }
        }
        if !(1..=100).contains(&self.published_step) {
            wrong.push(("published_step".to_owned(), "must be 1 to 100"));
        }
        wrong
    }

    /// How fast a pattern ages that begins with `kind`.
    pub fn ageing(&self, kind: &str) -> Ageing {
        self.kinds.get(kind).copied().unwrap_or(self.otherwise)
    }

    /// What one claim is worth at `now`, 0 to 1.
    fn worth(&self, ageing: Ageing, claim: &Claim, now: i64) -> f64 {
        let refreshed = claim.seen_at > claim.until.unwrap_or(i64::MAX);
        let over = claim.until.is_some_and(|until| until <= now) && !refreshed;
        if claim.revoked || over {
            return 0.0;
        }
        let stated = claim
            .confidence
            .unwrap_or(self.confidence_unstated)
            .min(100);
        let age = (now - claim.said_at.max(claim.seen_at)).max(0) as f64 / DAY;
        f64::from(stated) / 100.0 * 0.5_f64.powf(age / f64::from(ageing.half_life_days))
    }

    /// What is believed at `now` of a pattern of `kind`, when `disputes` organisations
    /// call it a false positive.
    pub fn belief(&self, kind: &str, claims: &[Claim], disputes: usize, now: Timestamp) -> Belief {
        let now = now.micros();
        let ageing = self.ageing(kind);
        // A source counts once, by what it is surest of.
        let mut by_source: BTreeMap<&str, f64> = BTreeMap::new();
        for claim in claims {
            let worth = self.worth(ageing, claim, now);
            let best = by_source.entry(&claim.source).or_default();
            *best = best.max(worth);
        }
        let counted = by_source.values().filter(|worth| **worth > 0.0).count();
        let doubt: f64 = by_source.values().map(|worth| 1.0 - worth).product();
        let left = 1.0 - f64::from(self.false_positive_percent) / 100.0;
        let disputes = i32::try_from(disputes).unwrap_or(i32::MAX);
        let value = (1.0 - doubt) * left.powi(disputes) * 100.0;
        let confidence = value.round().clamp(0.0, 100.0) as u8;
        // When the step is lost by age alone, or the first claim ends.
        let step = f64::from(self.published_step);
        let days = match value > step {
            true => f64::from(ageing.half_life_days) * (value / (value - step)).log2(),
            false => LOOK_AGAIN_DAYS,
        };
        let ends = claims
            .iter()
            .filter_map(|claim| claim.until.filter(|until| *until > now))
            .min()
            .unwrap_or(i64::MAX);
        let later = (days.clamp(0.01, LOOK_AGAIN_DAYS) * DAY) as i64;
        Belief {
            confidence,
            sources: counted,
            stands: counted > 0 && confidence >= ageing.floor,
            look_at: now.saturating_add(later).min(ends),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_795_222_800_000_000;

    fn claim(source: &str, confidence: u8, days_ago: i64) -> Claim {
        Claim {
            source: source.to_owned(),
            sender: source.to_owned(),
            object: "indicator--x".to_owned(),
            confidence: Some(confidence),
            said_at: NOW - days_ago * 86_400_000_000,
            seen_at: 0,
            until: None,
            revoked: false,
        }
    }

    fn of(claims: &[Claim], disputes: usize) -> Belief {
        let rules = Decay::built_in().expect("good rules");
        rules.belief("ipv4-addr", claims, disputes, Timestamp(NOW))
    }

    #[test]
    fn witnesses_add_up_and_a_source_counts_once() {
        assert_eq!(of(&[claim("a", 60, 0)], 0).confidence, 60);
        let two = of(&[claim("a", 60, 0), claim("b", 50, 0)], 0);
        assert_eq!((two.confidence, two.sources), (80, 2));
        let same = of(&[claim("a", 60, 0), claim("a", 50, 0)], 0);
        assert_eq!((same.confidence, same.sources), (60, 1));
        assert!(!of(&[], 0).stands);
    }

    #[test]
    fn age_halves_a_sighting_refreshes_and_an_end_ends() {
        assert_eq!(of(&[claim("a", 80, 15)], 0).confidence, 40);
        let old = of(&[claim("a", 80, 60)], 0);
        assert_eq!((old.confidence, old.stands), (5, false));
        let mut seen = claim("a", 80, 60);
        seen.seen_at = NOW;
        assert_eq!(of(&[seen.clone()], 0).confidence, 80);
        seen.until = Some(NOW - 1);
        assert!(of(&[seen.clone()], 0).stands, "seen after its end");
        seen.seen_at = 0;
        assert!(!of(&[seen], 0).stands);
        let revoked = Claim {
            revoked: true,
            ..claim("a", 80, 0)
        };
        assert_eq!(of(&[revoked], 0).sources, 0);
    }

    #[test]
    fn false_positives_halve_what_is_left() {
        assert_eq!(of(&[claim("a", 80, 0)], 1).confidence, 40);
        let three = of(&[claim("a", 80, 0)], 4);
        assert_eq!((three.confidence, three.stands), (5, false));
        let look = of(&[claim("a", 80, 0)], 0).look_at;
        assert!(look > NOW && look < NOW + 2 * 86_400_000_000, "{look}");
    }

    #[test]
    fn documents_are_checked() {
        let mut rules = Decay::built_in().expect("good rules");
        rules.otherwise.half_life_days = 0;
        rules.published_step = 0;
        let paths: Vec<String> = rules.problems().into_iter().map(|(path, _)| path).collect();
        assert_eq!(paths, ["otherwise.half_life_days", "published_step"]);
    }
}
