//! When will it be full? A trend that a few odd days do not move.
//!
//! **Method.** The figure of a day is the 95th percentile of its rates of five
//! minutes, of the higher direction. The trend is the *seasonal Kendall slope*
//! (Hirsch and Slack, 1984): the median of the slopes between all pairs of days of the
//! same weekday, so that weekends do not tilt it and a holiday or an attack hardly
//! moves it. Its interval of 90 % confidence comes from the same slopes by rank. Each
//! weekday has its own level: the median of what the trend leaves. The port is full on
//! the first day on which the trend at the level of the busiest weekday reaches the
//! capacity; early and late dates follow from the ends of the slope's interval, the
//! early one also with the usual scatter (1.645 robust standard deviations) on top.

use base::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::percentile::median;

/// Days with figures that are needed at least.
pub const DAYS_MIN: usize = 21;
/// Days that are looked back at most.
pub const DAYS_MAX: usize = 400;
/// Days that are looked ahead at most: five years.
pub const AHEAD_DAYS_MAX: f64 = 5.0 * 365.25;
/// Quantile of the normal distribution that leaves 5 % on either side.
const Z: f64 = 1.645;
/// Makes a median absolute deviation a standard deviation, if the scatter is normal.
const MAD_TO_SIGMA: f64 = 1.4826;
const DAY_US: i64 = 86_400_000_000;

/// The figure of a day.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Day {
    /// Days since 1970.
    pub day: i64,
    /// Bits per second.
    pub bps: f64,
}

/// What is to be expected.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Forecast {
    /// Days with figures.
    pub days: usize,
    /// Growth in bits per second a day.
    pub slope_bps: f64,
    /// Low end of its interval of 90 % confidence.
    pub slope_low_bps: f64,
    /// High end.
    pub slope_high_bps: f64,
    /// The trend today, on the busiest weekday.
    pub now_bps: f64,
    /// Robust standard deviation of what the trend and the weekdays leave.
    pub scatter_bps: f64,
    /// What is to be reached.
    pub capacity_bps: f64,
    /// When it is reached; none: not within five years.
    #[schema(value_type = Option<i64>)]
    pub full_on: Option<Timestamp>,
    /// The early date: with 95 % confidence not before.
    #[schema(value_type = Option<i64>)]
    pub early: Option<Timestamp>,
    /// The late date; none: it may never be.
    #[schema(value_type = Option<i64>)]
    pub late: Option<Timestamp>,
    /// Level of each weekday above the trend, Monday first.
    pub weekdays_bps: [f64; 7],
    /// First day of the trend, in days since 1970.
    #[serde(skip)]
    origin: i64,
}

impl Forecast {
    /// The trend on a day, at the level of its weekday.
    pub fn at(&self, day: i64) -> f64 {
        self.slope_bps * (day - self.origin) as f64 + self.weekdays_bps[weekday(day)]
    }
}

/// 0: Monday.
fn weekday(day: i64) -> usize {
    // 1970-01-01 was a Thursday.
    (day + 3).rem_euclid(7) as usize
}

/// What is to be expected of these days, as seen from `today`; none when there are too
/// few of them. Days need no order and may have gaps.
pub fn forecast(days: &[Day], capacity_bps: f64, today: i64) -> Option<Forecast> {
    let mut days: Vec<Day> = days
        .iter()
        .copied()
        .filter(|day| day.bps.is_finite() && day.bps >= 0.0 && day.day <= today)
        .filter(|day| today.saturating_sub(day.day) < DAYS_MAX as i64)
        .collect();
    days.sort_unstable_by_key(|day| day.day);
    days.dedup_by_key(|day| day.day);
    if days.len() < DAYS_MIN {
        return None;
    }
    let origin = days.first()?.day;
    let mut slopes = Vec::new();
    let mut variance = 0.0;
    for season in 0..7 {
        let same: Vec<&Day> = days.iter().filter(|d| weekday(d.day) == season).collect();
        for (i, first) in same.iter().enumerate() {
            for second in &same[i + 1..] {
                slopes.push((second.bps - first.bps) / (second.day - first.day) as f64);
            }
        }
        let n = same.len() as f64;
        variance += n * (n - 1.0) * (2.0 * n + 5.0) / 18.0;
    }
    let slope = median(&mut slopes)?;
    // `median` has sorted them: the interval lies at two ranks (Gilbert, 1987).
    let reach = Z * variance.sqrt();
    let rank = |rank: f64| {
        let last = slopes.len() - 1;
        slopes[(rank.max(0.0) as usize).min(last)]
    };
    let low = rank(((slopes.len() as f64 - reach) / 2.0).floor());
    let high = rank(((slopes.len() as f64 + reach) / 2.0).ceil());
    let left = |day: &Day| day.bps - slope * (day.day - origin) as f64;
    let all = median(&mut days.iter().map(left).collect::<Vec<_>>())?;
    let mut weekdays = [all; 7];
    for (season, level) in weekdays.iter_mut().enumerate() {
        let same = days.iter().filter(|d| weekday(d.day) == season);
        *level = median(&mut same.map(left).collect::<Vec<_>>()).unwrap_or(all);
    }
    let scatter = median(
        &mut days
            .iter()
            .map(|day| (left(day) - weekdays[weekday(day.day)]).abs())
            .collect::<Vec<_>>(),
    )? * MAD_TO_SIGMA;
    let busiest = weekdays.iter().copied().fold(f64::MIN, f64::max);
    let now = busiest + slope * (today - origin) as f64;
    // The ends of the interval turn about the middle of what was seen: the level there
    // is known best.
    let reached = |slope: f64, level: f64| {
        if level >= capacity_bps {
            return Some(0.0);
        }
        let ahead = (capacity_bps - level) / slope;
        (slope > 0.0 && ahead <= AHEAD_DAYS_MAX).then_some(ahead)
    };
    let moment = |ahead: f64| Timestamp(today.saturating_add(ahead.ceil() as i64) * DAY_US);
    let middle = (today - origin) as f64 / 2.0;
    let turned = |other: f64| now + (other - slope) * middle;
    Some(Forecast {
        days: days.len(),
        slope_bps: slope,
        slope_low_bps: low,
        slope_high_bps: high,
        now_bps: now.max(0.0),
        scatter_bps: scatter,
        capacity_bps,
        full_on: reached(slope, now).map(moment),
        early: reached(high, turned(high) + Z * scatter).map(moment),
        late: reached(low, turned(low)).map(moment),
        weekdays_bps: weekdays,
        origin,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Noise that is the same on every machine.
    fn noise(i: i64) -> f64 {
        let x = (i as u64)
            .wrapping_mul(0x9E37_79B9_7F4A_7C15)
            .rotate_left(31)
            .wrapping_mul(0xBF58_476D_1CE4_E5B9);
        (x >> 40) as f64 / (1u64 << 24) as f64 - 0.5
    }

    const TODAY: i64 = 20_000;

    /// Gigabits: 2 at first, 10 Mb/s more each day, less on weekends.
    fn days(slope: f64, wild: bool) -> Vec<Day> {
        (0..120)
            .map(|i| {
                let day = TODAY - 119 + i;
                let weekend = if weekday(day) >= 5 { 0.6e9 } else { 0.0 };
                let mut bps = 2e9 + slope * i as f64 - weekend + noise(i) * 0.1e9;
                if wild && i % 10 == 3 {
                    bps += 40e9;
                }
                Day { day, bps }
            })
            .collect()
    }

    #[test]
    fn growth_is_found_and_the_day_is_told_with_its_confidence() {
        let found = forecast(&days(1e7, false), 10e9, TODAY).expect("enough days");
        assert!((found.slope_bps - 1e7).abs() < 4e5, "{found:?}");
        assert!(found.slope_low_bps <= found.slope_bps && found.slope_bps <= found.slope_high_bps);
        // 3.19 Gb/s today on weekdays: 681 days to 10 Gb/s.
        let ahead = |at: Option<Timestamp>| at.expect("a date").micros() / DAY_US - TODAY;
        let full = ahead(found.full_on);
        assert!((640..=725).contains(&full), "{full}");
        assert!(ahead(found.early) <= full && full <= ahead(found.late));
        assert!(found.weekdays_bps[0] - found.weekdays_bps[6] > 0.5e9);
        assert!((found.at(TODAY) - 3.19e9).abs() < 0.7e9);
    }

    #[test]
    fn attacks_do_not_move_it() {
        let calm = forecast(&days(1e7, false), 10e9, TODAY).expect("enough days");
        let wild = forecast(&days(1e7, true), 10e9, TODAY).expect("enough days");
        let change = (calm.slope_bps - wild.slope_bps).abs() / calm.slope_bps;
        assert!(change < 0.15, "{change}");
    }

    #[test]
    fn what_does_not_grow_is_never_full_and_what_is_full_is_full_today() {
        let shrinking = forecast(&days(-1e6, false), 10e9, TODAY).expect("enough days");
        assert_eq!((shrinking.full_on, shrinking.late), (None, None));
        let full = forecast(&days(1e7, false), 1e9, TODAY).expect("enough days");
        assert_eq!(full.full_on, Some(Timestamp(TODAY * DAY_US)));
    }

    #[test]
    fn too_few_days_say_nothing_and_odd_ones_do_no_harm() {
        assert_eq!(forecast(&days(1e7, false)[..20], 10e9, TODAY), None);
        let mut odd = days(1e7, false);
        odd.push(Day {
            day: TODAY - 5,
            bps: f64::NAN,
        });
        odd.push(Day {
            day: i64::MAX,
            bps: 1.0,
        });
        odd.push(Day {
            day: i64::MIN + 1_000_000,
            bps: 1.0,
        });
        assert!(forecast(&odd, 10e9, TODAY).is_some());
        let same = vec![
            Day {
                day: TODAY,
                bps: 1.0
            };
            50
        ];
        assert_eq!(forecast(&same, 10e9, TODAY), None);
    }
}
