//! The 95th percentile, as exchanges bill and plan with it: of the month's rates of
//! five minutes, the highest 5 % are left out and the highest of the rest counts; of
//! both directions, the higher one.

use serde::Serialize;
use utoipa::ToSchema;

/// The share of measurements that lies at or below the figure.
pub const SHARE: f64 = 0.95;

/// The figure of both directions, in bits per second.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, ToSchema)]
pub struct Percentile {
    /// Into the exchange.
    pub in_bps: f64,
    /// Out of it.
    pub out_bps: f64,
    /// Intervals of five minutes that were measured.
    pub measured: usize,
}

impl Percentile {
    /// Of rates in and out, in bits per second.
    pub fn of(rates: &[(f64, f64)]) -> Self {
        let direction = |rate: fn(&(f64, f64)) -> f64| {
            let mut rates: Vec<f64> = rates.iter().map(rate).collect();
            nearest_rank(&mut rates, SHARE).unwrap_or(0.0)
        };
        Self {
            in_bps: direction(|(rate, _)| *rate),
            out_bps: direction(|(_, rate)| *rate),
            measured: rates.len(),
        }
    }

    /// The higher direction.
    pub const fn higher_bps(&self) -> f64 {
        self.in_bps.max(self.out_bps)
    }
}

/// The least of the values that at least `share` (0 to 1) of them do not exceed; none
/// when there are none. Sorts them.
pub fn nearest_rank(values: &mut [f64], share: f64) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    let rank = (values.len() as f64 * share).ceil() as usize;
    values.get(rank.max(1) - 1).copied()
}

/// The middle of the values; none when there are none. Sorts them.
pub fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    let half = values.len() / 2;
    let upper = *values.get(half)?;
    if values.len() % 2 == 1 {
        return Some(upper);
    }
    Some(f64::midpoint(values[half - 1], upper))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_percent_are_left_out() {
        let rates: Vec<(f64, f64)> = (1..=100).map(|n| (f64::from(n), 7.0)).collect();
        let figure = Percentile::of(&rates);
        assert_eq!((figure.in_bps, figure.out_bps), (95.0, 7.0));
        assert_eq!(figure.higher_bps(), 95.0);
        assert_eq!(Percentile::of(&[]).higher_bps(), 0.0);
        assert_eq!(Percentile::of(&[(3.0, 4.0)]).higher_bps(), 4.0);
    }

    #[test]
    fn the_middle_lies_in_the_middle() {
        assert_eq!(median(&mut [5.0, 1.0, 3.0]), Some(3.0));
        assert_eq!(median(&mut [4.0, 1.0]), Some(2.5));
        assert_eq!(median(&mut []), None);
    }
}
