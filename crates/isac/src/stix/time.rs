//! Times as STIX and TAXII write them: RFC 3339 in UTC with `Z`.

/// Reads `2026-01-05T08:00:00.123456Z` as microseconds since 1970; digits beyond
/// the sixth are dropped. `None` when it is not written so.
pub fn parse(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    let rest = bytes.strip_suffix(b"Z")?;
    if rest.len() < 19 || rest.len() > 40 {
        return None;
    }
    let number = |range: std::ops::Range<usize>| -> Option<i64> {
        rest[range].iter().try_fold(0_i64, |sum, byte| {
            byte.is_ascii_digit()
                .then(|| sum * 10 + i64::from(byte - b'0'))
        })
    };
    if rest[4] != b'-'
        || rest[7] != b'-'
        || rest[10] != b'T'
        || rest[13] != b':'
        || rest[16] != b':'
    {
        return None;
    }
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    // Years count from 1; those who read it elsewhere (databases, Python) cannot hold a year 0.
    if year == 0 {
        return None;
    }
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => return None,
    };
    // 60 is a leap second.
    if !(1..=days).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let mut micros = 0;
    if rest.len() > 19 {
        if rest[19] != b'.' || rest.len() == 20 {
            return None;
        }
        let mut unit = 100_000;
        for byte in &rest[20..] {
            if !byte.is_ascii_digit() {
                return None;
            }
            micros += i64::from(byte - b'0') * unit;
            unit /= 10;
        }
    }
    // Days since 1970 of a civil date (Howard Hinnant's method).
    let shifted = if month <= 2 { year - 1 } else { year };
    let era = shifted.div_euclid(400);
    let of_era = shifted - era * 400;
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    Some((((days * 24 + hour) * 60 + minute) * 60 + second) * 1_000_000 + micros)
}

/// A time that [`parse`] reads with at least three digits of a second, as `created` and
/// `modified` must have them (STIX 2.1 section 3.2); none: it has them already. More digits
/// stay: cut, it would be another time.
pub fn to_the_millisecond(text: &str) -> Option<String> {
    let (seconds, digits) = match text.strip_suffix('Z')?.split_once('.') {
        Some((seconds, digits)) => (seconds, digits),
        None => (text.strip_suffix('Z')?, ""),
    };
    (digits.len() < 3).then(|| format!("{seconds}.{digits:0<3}Z"))
}

/// Writes microseconds since 1970, with three digits of a second where that says all,
/// otherwise six.
pub fn format(micros: i64) -> String {
    let digits = if micros % 1_000 == 0 { 3 } else { 6 };
    write(micros, digits)
}

/// Writes microseconds since 1970 with six digits of a second: TAXII's own times.
pub fn format_micros(micros: i64) -> String {
    write(micros, 6)
}

fn write(micros: i64, digits: usize) -> String {
    let seconds = micros.div_euclid(1_000_000);
    let fraction = micros.rem_euclid(1_000_000);
    let (days, of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted - era * 146_097;
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let part = (5 * of_year + 2) / 153;
    let day = of_year - (153 * part + 2) / 5 + 1;
    let month = if part < 10 { part + 3 } else { part - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    let fraction = if digits == 3 {
        fraction / 1_000
    } else {
        fraction
    };
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{fraction:0digits$}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        for text in [
            "1970-01-01T00:00:00.000Z",
            "2024-02-29T23:59:59.999Z",
            "2026-01-05T08:00:00.123456Z",
            "1601-01-01T00:00:00.000Z",
            "0001-01-01T00:00:00.000Z",
            "9999-12-31T23:59:59.999999Z",
        ] {
            assert_eq!(format(parse(text).expect(text)), text);
        }
        assert_eq!(parse("2017-01-01T00:00:00Z"), Some(1_483_228_800_000_000));
        assert_eq!(
            parse("2017-01-01T00:00:00.1234567Z"),
            Some(1_483_228_800_123_456)
        );
        for text in [
            "",
            "Z",
            "2017-02-29T00:00:00Z",
            "2017-01-01 00:00:00Z",
            "2017-01-01T00:00:00",
            "2017-1-1T00:00:00Z",
            "2017-01-01T24:00:00Z",
            "2017-01-01T00:00:00.Z",
            "2017-01-01T00:00:00+08:00",
            "0000-01-01T00:00:00Z",
            "臺017-01-01T00:00:00Z",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }
}
