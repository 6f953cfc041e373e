//! Statutory deadlines as data. Each version names the day from which it is in
//! force; an incident keeps the version under which it was reported.

use std::time::Duration;

use base::Timestamp;
use casework::form::Text;
use jiff::ToSpan as _;
use serde::{Deserialize, Serialize};

use super::level::Level;

/// Versions that are built in, oldest first.
const BUILT_IN: [&str; 2] = [
    include_str!("../../rules/deadlines.v1.json"),
    include_str!("../../rules/deadlines.v2.json"),
];

/// Something that must be done in time.
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
pub enum Clock {
    /// The report itself.
    Report,
    /// Review of the level by the duty officer.
    Review,
    /// Handing the reviewed report on.
    Forward,
    /// Damage under control, or service recovered.
    Recovery,
    /// The report on investigation and improvement.
    Improvement,
}

impl Clock {
    /// All, in the order in which they run.
    pub const ALL: [Self; 5] = [
        Self::Report,
        Self::Review,
        Self::Forward,
        Self::Recovery,
        Self::Improvement,
    ];

    /// The name in tables, keys of texts and the API.
    pub const fn tag(self) -> &'static str {
        match self {
            Self::Report => "report",
            Self::Review => "review",
            Self::Forward => "forward",
            Self::Recovery => "recovery",
            Self::Improvement => "improvement",
        }
    }

    /// The clock of that name.
    pub fn from_tag(tag: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|clock| clock.tag() == tag)
    }

    /// Whether the reporting side must act; otherwise officers must.
    pub const fn of_reporter(self) -> bool {
        matches!(self, Self::Report | Self::Recovery | Self::Improvement)
    }
}

/// The moment from which a clock runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Start {
    /// The organisation learned of the incident.
    Known,
    /// The report came in.
    Reported,
    /// The level was reviewed.
    Reviewed,
    /// The damage was under control.
    Recovered,
}

/// One deadline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deadline {
    /// What must be done.
    pub kind: Clock,
    /// From when.
    pub start: Start,
    /// Hours, for levels 1 to 4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hours: Option<[u32; 4]>,
    /// Or calendar months, for all levels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub months: Option<u8>,
}

/// One version of the deadlines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    /// 1, 2, 3 …
    pub version: u32,
    /// In force from this moment, RFC 3339.
    pub from: String,
    /// The text of law that it follows.
    pub title: Text,
    /// The deadlines.
    pub clocks: Vec<Deadline>,
}

/// Why deadlines cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RulesError {
    /// Not the right JSON.
    #[error("deadlines cannot be read")]
    Json(#[source] serde_json::Error),
    /// Something in them contradicts the rest.
    #[error("deadlines version {version}: {problem}")]
    Inconsistent {
        /// The version.
        version: u32,
        /// What is wrong.
        problem: String,
    },
}

/// All versions.
#[derive(Debug, Clone)]
pub struct Book(Vec<(Timestamp, Rules)>);

impl Rules {
    /// Reads and checks one version.
    ///
    /// # Errors
    /// [`RulesError`].
    pub fn parse(document: &str) -> Result<(Timestamp, Self), RulesError> {
        let rules: Self = serde_json::from_str(document).map_err(RulesError::Json)?;
        let wrong = |problem: String| RulesError::Inconsistent {
            version: rules.version,
            problem,
        };
        let from: jiff::Timestamp = rules
            .from
            .parse()
            .map_err(|e| wrong(format!("from {:?}: {e}", rules.from)))?;
        for (at, deadline) in rules.clocks.iter().enumerate() {
            let tag = deadline.kind.tag();
            if deadline.hours.is_some() == deadline.months.is_some() {
                return Err(wrong(format!("{tag} needs hours or months, not both")));
            }
            if deadline
                .hours
                .is_some_and(|hours| hours.iter().any(|h| !(1..=8_760).contains(h)))
                || deadline.months.is_some_and(|m| !(1..=24).contains(&m))
            {
                return Err(wrong(format!("{tag} must be 1 hour to 2 years")));
            }
            if rules.clocks[..at].iter().any(|d| d.kind == deadline.kind) {
                return Err(wrong(format!("{tag} stands twice")));
            }
        }
        Ok((Timestamp(from.as_microsecond()), rules))
    }

    /// The deadline of a kind, where this version has one.
    pub fn deadline(&self, kind: Clock) -> Option<&Deadline> {
        self.clocks.iter().find(|deadline| deadline.kind == kind)
    }

    /// When a clock that runs from `start` is due for an incident of `level`.
    pub fn due(&self, kind: Clock, level: Level, start: Timestamp) -> Option<Timestamp> {
        let deadline = self.deadline(kind)?;
        match (deadline.hours, deadline.months) {
            (Some(hours), _) => {
                Some(start.plus(Duration::from_secs(u64::from(hours[level.index()]) * 3_600)))
            }
            (None, Some(months)) => Some(months_later(start, i64::from(months))),
            (None, None) => None,
        }
    }
}

/// The same time of day in Asia/Taipei `months` calendar months later; the last day
/// of a shorter month.
fn months_later(start: Timestamp, months: i64) -> Timestamp {
    let offset = jiff::tz::Offset::constant(8);
    let later = jiff::Timestamp::from_microsecond(start.micros())
        .ok()
        .and_then(|at| offset.to_datetime(at).checked_add(months.months()).ok())
        .and_then(|at| offset.to_timestamp(at).ok());
    later.map_or(start, |at| Timestamp(at.as_microsecond()))
}

/// When those who must act are reminded: after three quarters of the time.
pub fn remind_at(start: Timestamp, due: Timestamp) -> Timestamp {
    start.plus(due.since(start) * 3 / 4)
}

impl Book {
    /// The versions that are built in.
    ///
    /// # Errors
    /// [`RulesError`] when one is wrong.
    pub fn built_in() -> Result<Self, RulesError> {
        Self::of(&BUILT_IN)
    }

    /// A book of these documents, oldest first.
    ///
    /// # Errors
    /// [`RulesError`] when one is wrong or they are out of order.
    pub fn of(documents: &[&str]) -> Result<Self, RulesError> {
        let mut all: Vec<(Timestamp, Rules)> = Vec::new();
        for document in documents {
            let (from, rules) = Rules::parse(document)?;
            if let Some((before, earlier)) = all.last()
                && (*before >= from || earlier.version >= rules.version)
            {
                return Err(RulesError::Inconsistent {
                    version: rules.version,
                    problem: "must follow the version before in number and time".into(),
                });
            }
            all.push((from, rules));
        }
        if all.is_empty() {
            return Err(RulesError::Inconsistent {
                version: 0,
                problem: "there must be at least one version".into(),
            });
        }
        Ok(Self(all))
    }

    /// The version in force at a moment; before the first, the first.
    pub fn at(&self, now: Timestamp) -> &Rules {
        let found = self.0.iter().rev().find(|(from, _)| *from <= now);
        // `of` refuses an empty book.
        &found.unwrap_or(&self.0[0]).1
    }

    /// The version of that number.
    pub fn version(&self, version: u32) -> Option<&Rules> {
        self.0
            .iter()
            .map(|(_, rules)| rules)
            .find(|rules| rules.version == version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        let moment: jiff::Timestamp = text.parse().expect("a moment");
        Timestamp(moment.as_microsecond())
    }

    fn level(number: i64) -> Level {
        Level::new(number).expect("1 to 4")
    }

    #[test]
    fn the_law_of_the_day_counts() {
        let book = Book::built_in().expect("right");
        assert_eq!(book.at(at("2020-01-01T00:00:00Z")).version, 1);
        assert_eq!(book.at(at("2026-01-04T15:59:59Z")).version, 1);
        assert_eq!(book.at(at("2026-01-04T16:00:00Z")).version, 2);
        assert!(book.version(3).is_none());
    }

    #[test]
    fn deadlines_follow_the_level() {
        let book = Book::built_in().expect("right");
        let start = at("2026-11-21T01:00:00Z");
        for (version, kind, number, expected) in [
            (2, Clock::Report, 1, Some("2026-11-21T02:00:00Z")),
            (2, Clock::Review, 2, Some("2026-11-21T09:00:00Z")),
            (2, Clock::Review, 3, Some("2026-11-21T03:00:00Z")),
            (2, Clock::Forward, 4, Some("2026-11-21T02:00:00Z")),
            (1, Clock::Forward, 4, None),
            (2, Clock::Recovery, 2, Some("2026-11-24T01:00:00Z")),
            (2, Clock::Recovery, 3, Some("2026-11-22T13:00:00Z")),
            (2, Clock::Improvement, 1, Some("2026-12-21T01:00:00Z")),
        ] {
            let rules = book.version(version).expect("built in");
            assert_eq!(
                rules.due(kind, level(number), start),
                expected.map(at),
                "{kind:?} {number}"
            );
        }
    }

    #[test]
    fn a_month_ends_with_the_month() {
        // 31 January, 09:00 in Taipei; February 2027 has 28 days.
        assert_eq!(
            months_later(at("2027-01-31T01:00:00Z"), 1),
            at("2027-02-28T01:00:00Z")
        );
        let far = Timestamp(i64::MAX);
        assert_eq!(months_later(far, 1), far);
    }

    #[test]
    fn wrong_documents_are_refused_by_name() {
        let good = BUILT_IN[1];
        for (from, to, expected) in [
            ("\"months\": 1", "\"months\": 99", "improvement must be"),
            (
                "\"kind\": \"forward\"",
                "\"kind\": \"review\"",
                "stands twice",
            ),
            ("2026-01-05T00", "2026-13-05T00", "from \"2026-13"),
        ] {
            let changed = good.replacen(from, to, 1);
            assert_ne!(changed, good, "{from}");
            let error = Rules::parse(&changed).expect_err(to).to_string();
            assert!(error.contains(expected), "{error}");
        }
        assert!(Book::of(&[good, BUILT_IN[0]]).is_err(), "out of order");
        assert!(Book::of(&[]).is_err());
    }
}
