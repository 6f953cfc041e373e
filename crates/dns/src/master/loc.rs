//! LOC, where a thing is on the Earth (RFC 1876 section 3):
//! `D [M [S]] N|S  D [M [S]] E|W  ALTITUDE[m] [SIZE[m] [HORIZONTAL[m] [VERTICAL[m]]]]`.

use super::Wrong;
use super::rdata::Fields;

/// Centimetres below the sphere of reference at which altitudes begin.
const ALTITUDE_BASE_CM: i64 = 10_000_000;
/// The equator and the prime meridian.
const MIDDLE: u32 = 1 << 31;
/// Size, horizontal and vertical precision when none is given, in centimetres.
const DEFAULTS_CM: [u64; 3] = [100, 1_000_000, 1_000];
/// The largest size or precision, in centimetres: nine with nine zeros.
const EXTENT_CM_MAX: u64 = 9_000_000_000;

pub(super) fn parse(f: &mut Fields<'_, '_>, out: &mut Vec<u8>) -> Result<(), Wrong> {
    let latitude = angle(f, "a latitude", 90, [b'N', b'S'])?;
    let longitude = angle(f, "a longitude", 180, [b'E', b'W'])?;
    let altitude = metres(f, "an altitude")? + ALTITUDE_BASE_CM;
    let altitude = u32::try_from(altitude)
        .map_err(|_| f.wrong("altitude: must be -100000.00 to 42849672.95 metres".to_owned()))?;
    let mut extents = DEFAULTS_CM;
    for extent in &mut extents {
        if !f.more() {
            break;
        }
        *extent = u64::try_from(metres(f, "a size or precision")?)
            .ok()
            .filter(|cm| *cm <= EXTENT_CM_MAX)
            .ok_or_else(|| {
                f.wrong("size and precision: must be 0 to 90000000.00 metres".to_owned())
            })?;
    }
    out.push(0);
    out.extend(extents.map(scientific));
    for number in [latitude, longitude, altitude] {
        out.extend(number.to_be_bytes());
    }
    Ok(())
}

/// Four bits of mantissa, four of the power of ten, in centimetres.
fn scientific(mut cm: u64) -> u8 {
    let mut exponent = 0;
    while cm >= 10 {
        cm /= 10;
        exponent += 1;
    }
    (cm as u8) << 4 | exponent
}

/// Degrees, minutes and seconds up to a letter, in thousandths of an arc second.
fn angle(
    f: &mut Fields<'_, '_>,
    what: &str,
    degrees_max: u32,
    [positive, negative]: [u8; 2],
) -> Result<u32, Wrong> {
    let mut thousandths = 0_u32;
    for (part, max, unit) in [
        ("degrees", degrees_max, 3_600_000),
        ("minutes", 59, 60_000),
        ("seconds", 59, 1),
    ] {
        let token = f.next(what)?;
        if part != "degrees"
            && let Some(sign) = letter(token.text, positive, negative)
        {
            return around(f, what, sign, thousandths, degrees_max);
        }
        let text = token.as_str().unwrap_or("");
        let value = if part == "seconds" {
            decimal(text, 3).filter(|value| *value < 60_000)
        } else {
            text.parse::<u32>()
                .ok()
                .filter(|value| *value <= max && text.bytes().all(|b| b.is_ascii_digit()))
                .map(|value| u64::from(value) * unit)
        };
        let value = value.ok_or_else(|| {
            f.wrong(format!(
                "{:?}: {part} of {what} must be 0 to {max}",
                token.lossy()
            ))
        })?;
        thousandths += value as u32;
    }
    let token = f.next(what)?;
    let sign = letter(token.text, positive, negative).ok_or_else(|| {
        f.wrong(format!(
            "{:?}: {what} must end with {} or {}",
            token.lossy(),
            positive as char,
            negative as char
        ))
    })?;
    around(f, what, sign, thousandths, degrees_max)
}

fn around(
    f: &Fields<'_, '_>,
    what: &str,
    positive: bool,
    thousandths: u32,
    degrees_max: u32,
) -> Result<u32, Wrong> {
    if thousandths > degrees_max * 3_600_000 {
        return Err(f.wrong(format!("{what} must be at most {degrees_max} degrees")));
    }
    Ok(if positive {
        MIDDLE + thousandths
    } else {
        MIDDLE - thousandths
    })
}

fn letter(text: &[u8], positive: u8, negative: u8) -> Option<bool> {
    match text {
        [byte] if byte.eq_ignore_ascii_case(&positive) => Some(true),
        [byte] if byte.eq_ignore_ascii_case(&negative) => Some(false),
        _ => None,
    }
}

/// Metres with up to two decimals and perhaps an `m`, in centimetres.
fn metres(f: &mut Fields<'_, '_>, what: &str) -> Result<i64, Wrong> {
    let token = f.next(what)?;
    let text = token.as_str().unwrap_or("");
    let number = text.strip_suffix(['m', 'M']).unwrap_or(text);
    let (sign, digits) = number
        .strip_prefix('-')
        .map_or((1, number), |digits| (-1, digits));
    decimal(digits, 2)
        .and_then(|cm| i64::try_from(cm).ok())
        .map(|cm| sign * cm)
        .ok_or_else(|| f.wrong(format!("{:?} is not {what} in metres", token.lossy())))
}

/// A decimal number times ten to the power of `places`.
fn decimal(text: &str, places: usize) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || whole.len() > 10 || fraction.len() > places {
        return None;
    }
    if !digits(whole) || !digits(fraction) {
        return None;
    }
    format!("{whole}{fraction:0<places$}").parse().ok()
}
