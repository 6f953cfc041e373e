//! Which time is asked for, in bounds.

use base::Timestamp;
use serde::Deserialize;
use utoipa::IntoParams;
use web::{FieldError, WebError};

/// Steps of one series.
pub const POINTS_MAX: i64 = 2_000;
/// Seconds of the longest span: three years.
pub const SPAN_S_MAX: i64 = 1_096 * 86_400;
/// Steps that may be asked for.
const STEPS: [u32; 5] = [60, 300, 1_800, 7_200, 86_400];
/// Spans that pages offer: their names and seconds.
pub const SPANS: [(&str, i64); 5] = [
    ("hour", 3_600),
    ("day", 86_400),
    ("week", 604_800),
    ("month", 2_592_000),
    ("year", 31_536_000),
];

/// A span of time in a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Range {
    /// Seconds since 1970; absent: `seconds` before `to`.
    #[serde(default)]
    pub from: Option<i64>,
    /// Seconds since 1970; absent: now.
    #[serde(default)]
    pub to: Option<i64>,
    /// Length when `from` is absent; 86,400 when this is too.
    #[serde(default)]
    #[param(minimum = 600, maximum = 94_694_400)]
    pub seconds: Option<i64>,
    /// Seconds of one step: 60, 300, 1,800, 7,200 or 86,400; absent: what suits the span.
    #[serde(default)]
    pub step: Option<u32>,
}

/// A span in bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// From this moment on, a multiple of the step.
    pub from: Timestamp,
    /// Until before this one.
    pub to: Timestamp,
    /// Seconds of one step.
    pub step_s: u32,
}

impl Range {
    /// The length that pages show as chosen.
    pub fn chosen(&self) -> Option<i64> {
        match (self.from, self.seconds) {
            (Some(_), _) => None,
            (None, seconds) => Some(seconds.unwrap_or(86_400)),
        }
    }

    /// The span in bounds.
    ///
    /// # Errors
    /// 422 for a span or step out of bounds.
    pub fn span(&self, now: Timestamp) -> Result<Span, WebError> {
        let wrong = |field: &str, message: &str| {
            WebError::invalid(vec![FieldError::new(field, "range", message)])
        };
        let to = self.to.unwrap_or(now.seconds() + 1);
        if !(0..=4_102_444_800).contains(&to) {
            return Err(wrong(
                "to",
                "must be a moment between 1970 and 2100, in seconds",
            ));
        }
        let length = match self.from {
            Some(from) => to.checked_sub(from).unwrap_or(-1),
            None => self.seconds.unwrap_or(86_400),
        };
        if !(600..=SPAN_S_MAX).contains(&length) {
            return Err(wrong(
                "from",
                "the span must be ten minutes to three years long",
            ));
        }
        let step = self.step.unwrap_or(match length {
            ..=7_200 => 60,
            7_201..=172_800 => 300,
            172_801..=1_209_600 => 1_800,
            1_209_601..=8_640_000 => 7_200,
            _ => 86_400,
        });
        if !STEPS.contains(&step) {
            return Err(wrong("step", "must be 60, 300, 1800, 7200 or 86400"));
        }
        if length / i64::from(step) > POINTS_MAX {
            return Err(wrong(
                "step",
                "the span has more than 2,000 steps: choose a longer step",
            ));
        }
        let from = (to - length).div_euclid(i64::from(step)) * i64::from(step);
        Ok(Span {
            from: Timestamp::from_seconds(from),
            to: Timestamp::from_seconds(to),
            step_s: step,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_bounded_and_begin_on_a_step() {
        let now = Timestamp::from_seconds(1_800_000_030);
        let day = Range::default().span(now).expect("a day");
        assert_eq!((day.step_s, day.from.seconds() % 300), (300, 0));
        for (_, seconds) in SPANS {
            let range = Range {
                seconds: Some(seconds),
                ..Range::default()
            };
            let span = range.span(now).expect("offered");
            let points = span.to.since(span.from).as_secs() / u64::from(span.step_s);
            assert!((50..=1_000).contains(&points), "{points}");
        }
        let wrong = [
            (None, None, Some(1), None),
            (None, None, Some(i64::MAX), None),
            (Some(i64::MIN), Some(i64::MAX), None, None),
            (Some(i64::MIN), Some(5), None, None),
            (None, None, None, Some(7)),
            (None, None, Some(31_536_000), Some(60)),
        ];
        for (from, to, seconds, step) in wrong {
            let range = Range {
                from,
                to,
                seconds,
                step,
            };
            assert!(range.span(now).is_err(), "{range:?}");
        }
    }
}
