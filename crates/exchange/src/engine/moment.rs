//! BIRD's times. It writes its machine's wall clock without a zone, in one of several forms; what `show
//! status` says at a known moment gives the zone.

/// Seconds of a day.
const DAY_S: i64 = 86_400;
/// Zones differ by quarters of an hour.
const ZONE_STEP_S: i64 = 900;

/// How far a daemon's wall clock is from Unix time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Zone {
    /// Unix time less wall clock, in seconds.
    offset_s: i64,
    /// Midnight of the daemon's day by its wall clock, in seconds since 1970.
    today_s: i64,
}

impl Zone {
    /// The zone of a daemon whose `show status` said `said` at Unix second `now_s`; UTC when `said` is none
    /// of its forms.
    pub fn of(said: &str, now_s: u64) -> Self {
        let now_s = i64::try_from(now_s).unwrap_or(i64::MAX);
        let wall = match parts(said) {
            Some((Some(day_s), time_s)) => day_s + time_s.unwrap_or(0),
            Some((None, Some(time_s))) => {
                // The day is the one that comes nearest.
                let today = now_s.div_euclid(DAY_S) * DAY_S;
                [today - DAY_S, today, today + DAY_S]
                    .into_iter()
                    .map(|day| day + time_s)
                    .min_by_key(|wall| (wall - now_s).abs())
                    .unwrap_or(now_s)
            }
            _ => now_s,
        };
        let offset_s = (now_s - wall + ZONE_STEP_S / 2).div_euclid(ZONE_STEP_S) * ZONE_STEP_S;
        Self {
            offset_s,
            today_s: wall.div_euclid(DAY_S) * DAY_S,
        }
    }

    /// The Unix second that the daemon wrote as `text`; a time of day is today's.
    pub fn unix_s(&self, text: &str) -> Option<u64> {
        let wall = match parts(text)? {
            (Some(day_s), time_s) => day_s + time_s.unwrap_or(0),
            (None, Some(time_s)) => self.today_s + time_s,
            (None, None) => return None,
        };
        u64::try_from(wall + self.offset_s).ok()
    }
}

/// Day and time of day in `2026-11-21 05:00:00.123`, `2026-11-21` or `05:00:00.123`.
fn parts(text: &str) -> Option<(Option<i64>, Option<i64>)> {
    let mut words = text.split([' ', 'T']);
    let first = words.next()?;
    match (day(first), words.next()) {
        (Some(day_s), None) => Some((Some(day_s), None)),
        (Some(day_s), Some(second)) => Some((Some(day_s), Some(time(second)?))),
        (None, None) => Some((None, Some(time(first)?))),
        (None, Some(_)) => None,
    }
}

/// Midnight of `2026-11-21` in seconds since 1970, by the proleptic Gregorian calendar.
fn day(text: &str) -> Option<i64> {
    let mut numbers = text.splitn(3, '-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (numbers.next()??, numbers.next()??, numbers.next()??);
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Years that begin in March have their leap day last.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1;
    Some((days - 719_468) * DAY_S)
}

/// Seconds since midnight of `05:00:00.123`.
fn time(text: &str) -> Option<i64> {
    let whole = text.split('.').next()?;
    let mut numbers = whole.splitn(3, ':').map(|part| part.parse::<i64>().ok());
    let (hour, minute, second) = (
        numbers.next()??,
        numbers.next()??,
        numbers.next().unwrap_or(Some(0))?,
    );
    let good = (0..24).contains(&hour) && (0..60).contains(&minute) && (0..=60).contains(&second);
    good.then_some(hour * 3_600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    // 2026-11-21 05:00:00 UTC.
    const NOW: u64 = 1_795_237_200;

    #[test]
    fn every_form_gives_the_second() {
        let utc = Zone::of("2026-11-21 05:00:00", NOW);
        assert_eq!(utc.unix_s("2026-11-21 04:59:59.900"), Some(NOW - 1));
        assert_eq!(utc.unix_s("04:59:00.123"), Some(NOW - 60));
        assert_eq!(utc.unix_s("2026-11-20"), Some(NOW - 29 * 3_600));
        assert_eq!(utc.unix_s("1970-01-01 00:00:00"), Some(0));
        let taipei = Zone::of("2026-11-21 13:00:01", NOW);
        assert_eq!(taipei.unix_s("2026-11-21 12:59:59"), Some(NOW - 1));
        let short = Zone::of("13:00:00.000", NOW);
        assert_eq!(short.unix_s("12:59:59.000"), Some(NOW - 1));
        for wrong in ["", "x", "2026-13-01", "25:00:00", "2026-11-21 x", "a b c"] {
            assert_eq!(utc.unix_s(wrong), None, "{wrong}");
        }
    }
}
