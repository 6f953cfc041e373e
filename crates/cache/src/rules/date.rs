//! HTTP dates (RFC 9110 section 5.6.7) as caches must read them (RFC 9111
//! section 4.2): all three formats, in any case, `GMT` only; anything else is
//! no date.

use base::Timestamp;

use super::fields::trim;

const MONTHS: [&[u8; 3]; 12] = [
    b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov", b"dec",
];
const DAYS: [&str; 7] = [
    "sunday",
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
];

/// Seconds since the epoch of an HTTP date; `None` when it is none.
///
/// `now` decides the century of a two-digit year: one that would lie more than 50
/// years ahead is in the past.
pub fn parse(text: &[u8], now: Timestamp) -> Option<i64> {
    let text = trim(text);
    let mut lower = [0u8; 40];
    let lower = lower.get_mut(..text.len())?;
    lower.copy_from_slice(text);
    lower.make_ascii_lowercase();
    imf_fixdate(lower)
        .or_else(|| rfc850(lower, now))
        .or_else(|| asctime(lower))
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`
fn imf_fixdate(text: &[u8]) -> Option<i64> {
    if text.len() != 29 || &text[25..] != b" gmt" {
        return None;
    }
    weekday(&text[..3], 3)?;
    let separators = [(3, b','), (4, b' '), (7, b' '), (11, b' '), (16, b' ')];
    separated(text, &separators)?;
    moment(
        number(&text[12..16])?,
        month(&text[8..11])?,
        number(&text[5..7])?,
        clock(&text[17..25])?,
    )
}

/// `Sunday, 06-Nov-94 08:49:37 GMT`
fn rfc850(text: &[u8], now: Timestamp) -> Option<i64> {
    let comma = memchr::memchr(b',', text)?;
    if !DAYS.iter().any(|day| day.as_bytes() == &text[..comma]) {
        return None;
    }
    let rest = &text[comma + 1..];
    if rest.len() != 23 || &rest[19..] != b" gmt" {
        return None;
    }
    separated(rest, &[(0, b' '), (3, b'-'), (7, b'-'), (10, b' ')])?;
    let this_year = civil_from_days(now.seconds().div_euclid(86_400)).0;
    let mut year = this_year - this_year.rem_euclid(100) + number(&rest[8..10])?;
    if year > this_year + 50 {
        year -= 100;
    }
    moment(
        year,
        month(&rest[4..7])?,
        number(&rest[1..3])?,
        clock(&rest[11..19])?,
    )
}

/// `Sun Nov  6 08:49:37 1994`
fn asctime(text: &[u8]) -> Option<i64> {
    if text.len() != 24 {
        return None;
    }
    weekday(&text[..3], 3)?;
    separated(text, &[(3, b' '), (7, b' '), (10, b' '), (19, b' ')])?;
    let day = match &text[8..10] {
        [b' ', digit] => number(&[*digit])?,
        two => number(two)?,
    };
    moment(
        number(&text[20..24])?,
        month(&text[4..7])?,
        day,
        clock(&text[11..19])?,
    )
}

fn separated(text: &[u8], at: &[(usize, u8)]) -> Option<()> {
    at.iter()
        .all(|(index, octet)| text.get(*index) == Some(octet))
        .then_some(())
}

fn weekday(text: &[u8], length: usize) -> Option<()> {
    DAYS.iter()
        .any(|day| &day.as_bytes()[..length] == text)
        .then_some(())
}

fn month(text: &[u8]) -> Option<i64> {
    let at = MONTHS.iter().position(|name| name.as_slice() == text)?;
    i64::try_from(at + 1).ok()
}

fn number(text: &[u8]) -> Option<i64> {
    if !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(
        text.iter()
            .fold(0, |value, digit| value * 10 + i64::from(digit - b'0')),
    )
}

/// `08:49:37` as seconds of the day; second 60 is a leap second's.
fn clock(text: &[u8]) -> Option<i64> {
    separated(text, &[(2, b':'), (5, b':')])?;
    let (hour, minute, second) = (
        number(&text[..2])?,
        number(&text[3..5])?,
        number(&text[6..8])?,
    );
    (hour < 24 && minute < 60 && second <= 60).then_some(hour * 3600 + minute * 60 + second)
}

fn moment(year: i64, month: i64, day: i64, of_day: i64) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    if !(1..=length).contains(&day) {
        return None;
    }
    Some(days_from_civil(year, month, day) * 86_400 + of_day)
}

/// Days since 1970-01-01 in the Gregorian calendar, counting years from March so
/// that the leap day is a year's last.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The inverse of [`days_from_civil`].
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    (era * 400 + year + i64::from(month <= 2), month, day)
}

/// The date of `at` as an IMF-fixdate.
pub fn format(at: Timestamp) -> [u8; 29] {
    let days = at.seconds().div_euclid(86_400);
    let of_day = at.seconds().rem_euclid(86_400);
    let (year, month, day) = civil_from_days(days);
    let mut text = *b"Sun, 00 Jan 0000 00:00:00 GMT";
    let weekday = DAYS[usize::try_from((days + 4).rem_euclid(7)).unwrap_or(0)].as_bytes();
    text[..3].copy_from_slice(&weekday[..3]);
    text[0].make_ascii_uppercase();
    text[8..11].copy_from_slice(MONTHS[usize::try_from(month - 1).unwrap_or(0)]);
    text[8].make_ascii_uppercase();
    let mut put = |at: usize, width: usize, mut value: i64| {
        for place in (at..at + width).rev() {
            text[place] = b'0' + u8::try_from(value.rem_euclid(10)).unwrap_or(0);
            value = value.div_euclid(10);
        }
    };
    put(5, 2, day);
    put(12, 4, year);
    put(17, 2, of_day / 3600);
    put(20, 2, of_day / 60 % 60);
    put(23, 2, of_day % 60);
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_795_000_000);

    #[test]
    fn the_three_formats_name_one_moment() {
        for text in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
            "SUN, 06 NOV 1994 08:49:37 gmt",
        ] {
            assert_eq!(parse(text.as_bytes(), NOW), Some(784_111_777), "{text}");
        }
    }

    #[test]
    fn a_two_digit_year_is_within_fifty_years() {
        let year = |text: &str| {
            let seconds = parse(text.as_bytes(), NOW).expect("a date");
            civil_from_days(seconds.div_euclid(86_400)).0
        };
        assert_eq!(year("Thursday, 18-Aug-50 02:01:18 GMT"), 2050);
        assert_eq!(year("Thursday, 18-Aug-76 02:01:18 GMT"), 2076);
        assert_eq!(year("Thursday, 18-Aug-77 02:01:18 GMT"), 1977);
    }

    #[test]
    fn what_is_no_date() {
        for text in [
            "",
            "0",
            "-1",
            "Thu, 18 Aug 2050 02:01:18 UTC",
            "Thu, 18 Aug 2050 02:01:18 AEST",
            "Thu, 18 Aug 50 02:01:18 GMT",
            "Thu 18 Aug 2050 02:01:18 GMT",
            "Thu, 18  Aug  2050 02:01:18 GMT",
            "Thu, 18-Aug-2050 02:01:18 GMT",
            "Thu, 18 Aug 2050 02.01.18 GMT",
            "Thu, 18 Aug 2050 2:01:18 GMT",
            "Thu, 31 Feb 2050 02:01:18 GMT",
            "Thu, 00 Jan 2050 02:01:18 GMT",
            "Thu, 18 Aug 2050 24:01:18 GMT",
            "Thu, 18 Aug 2050 02:01:18 GMT and more, far too long to be a date",
        ] {
            assert_eq!(parse(text.as_bytes(), NOW), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn written_dates_are_read_back(seconds in 0i64..=253_402_300_799) {
            let at = Timestamp::from_seconds(seconds);
            prop_assert_eq!(parse(&format(at), NOW), Some(seconds));
        }

        #[test]
        fn any_octets_are_a_date_or_none(octets: Vec<u8>, now: i64) {
            let _ = parse(&octets, Timestamp(now));
        }
    }
}
