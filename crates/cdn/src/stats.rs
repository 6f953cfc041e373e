//! Which figures are asked for, in bounds; and their export.

use base::{SiteId, Timestamp};
use serde::Deserialize;
use utoipa::IntoParams;
use web::{FieldError, WebError};

use crate::engine::Cdn;
use crate::seams::{SeamError, StatsPoint, StatsQuery, StatsRow};

/// Points of one series.
pub const POINTS_MAX: i64 = 2_000;
/// Rows of one breakdown.
pub const ROWS_MAX: usize = 50;
/// Seconds of the longest range: 400 days.
pub const RANGE_S_MAX: i64 = 400 * 86_400;

/// A range of time in a request.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Range {
    /// Seconds since 1970; absent: `seconds` before `to`.
    #[serde(default)]
    pub from: Option<i64>,
    /// Seconds since 1970; absent: now.
    #[serde(default)]
    pub to: Option<i64>,
    /// Length of the range when `from` is absent; 3,600 when this is too.
    #[serde(default)]
    #[param(minimum = 60, maximum = 34_560_000)]
    pub seconds: Option<i64>,
    /// Seconds of one step: 60, 3,600 or 86,400; absent: what suits the range.
    #[serde(default)]
    pub step: Option<u32>,
}

impl Range {
    /// The question for the statistics.
    ///
    /// # Errors
    /// 422 for a range or step out of bounds.
    pub fn query(&self, site: Option<SiteId>, now: Timestamp) -> Result<StatsQuery, WebError> {
        let wrong = |field: &str, message: &str| {
            WebError::invalid(vec![FieldError::new(field, "range", message)])
        };
        let to = self.to.unwrap_or(now.seconds() + 1);
        let length = match (self.from, self.seconds) {
            (Some(from), _) => to.checked_sub(from).unwrap_or(-1),
            (None, seconds) => seconds.unwrap_or(3_600),
        };
        if !(0..=4_102_444_800).contains(&to) {
            return Err(wrong(
                "to",
                "must be a moment between 1970 and 2100, in seconds",
            ));
        }
        if !(60..=RANGE_S_MAX).contains(&length) {
            return Err(wrong(
                "from",
                "the range must be 60 seconds to 400 days long",
            ));
        }
        let step = self.step.unwrap_or(match length {
            ..21_601 => 60,
            21_601..=1_209_600 => 3_600,
            _ => 86_400,
        });
        if ![60, 3_600, 86_400].contains(&step) {
            return Err(wrong("step", "must be 60, 3600 or 86400"));
        }
        if length / i64::from(step) > POINTS_MAX {
            return Err(wrong(
                "step",
                "the range has more than 2,000 steps: choose a longer step",
            ));
        }
        let from = (to - length).div_euclid(i64::from(step)) * i64::from(step);
        Ok(StatsQuery {
            site,
            org: None,
            from: Timestamp::from_seconds(from),
            to: Timestamp::from_seconds(to),
            step_s: step,
        })
    }
}

/// By what figures are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Breakdown {
    /// By URL.
    Urls,
    /// By edge.
    Edges,
    /// By the client's network.
    Networks,
    /// By error.
    Errors,
}

impl Breakdown {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Urls, Self::Edges, Self::Networks, Self::Errors];

    /// The name in addresses and keys of texts.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Urls => "urls",
            Self::Edges => "edges",
            Self::Networks => "networks",
            Self::Errors => "errors",
        }
    }

    /// The breakdown of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|by| by.name() == name)
    }

    /// Its rows.
    ///
    /// # Errors
    /// What the statistics say.
    pub async fn rows(self, cdn: &Cdn, query: &StatsQuery) -> Result<Vec<StatsRow>, SeamError> {
        let statistics = cdn.statistics();
        match self {
            Self::Urls => statistics.top_urls(query, ROWS_MAX).await,
            Self::Edges => statistics.by_edge(query).await,
            Self::Networks => statistics.by_network(query, ROWS_MAX).await,
            Self::Errors => statistics.errors(query, ROWS_MAX).await,
        }
    }
}

/// Figures added up.
pub fn total(points: &[StatsPoint]) -> StatsPoint {
    points
        .iter()
        .fold(StatsPoint::default(), |sum, point| StatsPoint {
            at: sum.at.max(point.at),
            requests: sum.requests + point.requests,
            bytes: sum.bytes + point.bytes,
            hits: sum.hits + point.hits,
            errors: sum.errors + point.errors,
        })
}

/// The share of requests that the cache answered; none when there were none.
pub fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// A series as CSV (RFC 4180).
pub fn series_csv(points: &[StatsPoint]) -> String {
    let mut text = "time,requests,bytes,hits,errors\r\n".to_owned();
    for point in points {
        text.push_str(&format!(
            "{},{},{},{},{}\r\n",
            point.at, point.requests, point.bytes, point.hits, point.errors
        ));
    }
    text
}

/// Rows as CSV (RFC 4180). A cell that a spreadsheet would take for a formula is
/// kept from that by a quote.
pub fn rows_csv(rows: &[StatsRow]) -> String {
    let mut text = "name,requests,bytes,hits,errors\r\n".to_owned();
    for row in rows {
        let guard = if row.name.starts_with(['=', '+', '-', '@', '\t', '\r']) {
            "'"
        } else {
            ""
        };
        text.push_str(&format!(
            "\"{guard}{}\",{},{},{},{}\r\n",
            row.name.replace('"', "\"\""),
            row.requests,
            row.bytes,
            row.hits,
            row.errors
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        Timestamp::from_seconds(1_800_000_030)
    }

    #[test]
    fn ranges_are_bounded_and_begin_on_a_step() {
        let plain = Range::default().query(None, now()).expect("an hour");
        assert_eq!((plain.step_s, plain.from.seconds() % 60), (60, 0));
        let week = Range {
            seconds: Some(7 * 86_400),
            ..Range::default()
        }
        .query(None, now())
        .expect("a week");
        assert_eq!(week.step_s, 3_600);
        for wrong in [
            Range {
                seconds: Some(1),
                ..Range::default()
            },
            Range {
                seconds: Some(i64::MAX),
                ..Range::default()
            },
            Range {
                from: Some(i64::MIN),
                to: Some(i64::MAX),
                ..Range::default()
            },
            Range {
                from: Some(2_000_000_000),
                ..Range::default()
            },
            Range {
                step: Some(7),
                ..Range::default()
            },
            Range {
                seconds: Some(86_400 * 300),
                step: Some(60),
                ..Range::default()
            },
        ] {
            assert!(wrong.query(None, now()).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn exports_are_quoted() {
        let rows = [StatsRow {
            name: "=cmd(\"x\")".into(),
            requests: 1,
            ..StatsRow::default()
        }];
        assert_eq!(
            rows_csv(&rows),
            "name,requests,bytes,hits,errors\r\n\"'=cmd(\"\"x\"\")\",1,0,0,0\r\n"
        );
        assert_eq!(series_csv(&[]), "time,requests,bytes,hits,errors\r\n");
    }
}
