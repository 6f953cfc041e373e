//! Impact levels: 1 (least) to 4, the worst of what an incident does to
//! confidentiality, integrity and availability.

use casework::form::Values;
use serde::Serialize;

/// An impact level, 1 to 4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, utoipa::ToSchema)]
pub struct Level(u8);

impl Level {
    /// All levels, the least first.
    pub const ALL: [Self; 4] = [Self(1), Self(2), Self(3), Self(4)];

    /// The level of that number.
    pub fn new(number: i64) -> Option<Self> {
        u8::try_from(number)
            .ok()
            .filter(|number| (1..=4).contains(number))
            .map(Self)
    }

    /// 1 to 4.
    pub const fn number(self) -> u8 {
        self.0
    }

    /// Whether the law calls it major (重大): level 3 or 4.
    pub const fn major(self) -> bool {
        self.0 >= 3
    }

    /// Place in a table of four.
    pub(crate) fn index(self) -> usize {
        usize::from(self.0) - 1
    }
}

/// What an incident does, 0 (nothing) to 4 in each dimension.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Impact {
    /// Secrets became known.
    pub confidentiality: u8,
    /// Information or systems were changed.
    pub integrity: u8,
    /// Services stood still.
    pub availability: u8,
}

impl Impact {
    /// The impact that a report tells; none where an answer is missing or no number.
    pub fn of(values: &Values) -> Option<Self> {
        let read = |name: &str| -> Option<u8> {
            let number: u8 = values.get(name)?.as_str()?.parse().ok()?;
            (number <= 4).then_some(number)
        };
        Some(Self {
            confidentiality: read("confidentiality")?,
            integrity: read("integrity")?,
            availability: read("availability")?,
        })
    }

    /// The worst of the three; none when nothing was affected.
    pub fn level(self) -> Option<Level> {
        let worst = self
            .confidentiality
            .max(self.integrity)
            .max(self.availability);
        Level::new(i64::from(worst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_level_is_the_worst_of_three() {
        for c in 0..=4_u8 {
            for i in 0..=4_u8 {
                for a in 0..=4_u8 {
                    let impact = Impact {
                        confidentiality: c,
                        integrity: i,
                        availability: a,
                    };
                    let worst = [c, i, a].into_iter().max().unwrap_or(0);
                    assert_eq!(
                        impact.level().map(Level::number),
                        (worst > 0).then_some(worst)
                    );
                }
            }
        }
        assert!(Level::new(5).is_none() && Level::new(0).is_none());
        assert!(Level::ALL[2].major() && !Level::ALL[1].major());
    }

    #[test]
    fn a_report_without_an_answer_has_no_impact() {
        let values = |value: serde_json::Value| value.as_object().cloned().unwrap_or_default();
        let whole = values(json!({"confidentiality": "0", "integrity": "3", "availability": "1"}));
        assert_eq!(Impact::of(&whole).and_then(Impact::level), Level::new(3));
        for broken in [
            json!({"confidentiality": "0", "integrity": "3"}),
            json!({"confidentiality": "0", "integrity": "5", "availability": "1"}),
            json!({"confidentiality": 0, "integrity": "3", "availability": "1"}),
        ] {
            assert_eq!(Impact::of(&values(broken)), None);
        }
    }
}
