//! The small number that says who may see a row and which version it is.
//!
//! Its two low bits are first version × 2 + last version; above them stands the band:
//! the marking, or [`CONFIDENTIAL`], or [`REPLY`]; by [`ASIDE`] more where the row is the
//! word of one organisation beside another's, which it does not see.

use crate::stix::Tlp;

/// A report to the house: for its sender and the house's staff, whatever its marking.
pub(crate) const CONFIDENTIAL: i64 = 5;
/// A member's reply to an alert: for its sender, the house's staff and whoever sent the alert.
pub(crate) const REPLY: i64 = 6;
/// Added to the band of what one organisation says under an id that another used first,
/// unseen by it: for itself and the house's staff.
pub(crate) const ASIDE: i64 = 8;
/// One more than the highest band.
const BANDS: i64 = 2 * ASIDE;

/// The band of a row.
pub(crate) const fn band(place: i64) -> i64 {
    place >> 2
}

/// Whether a row stands beside another's.
pub(crate) const fn is_aside(place: i64) -> bool {
    band(place) >= ASIDE
}

/// A row's marking; what has a band of its own counts as red.
pub(crate) fn tlp(place: i64) -> Tlp {
    let band = band(place);
    Tlp::from_number(if band >= ASIDE { band - ASIDE } else { band })
}

/// The bands of what is marked up to `clearance`.
pub(crate) fn up_to(clearance: Tlp) -> std::ops::RangeInclusive<i64> {
    0..=i64::from(clearance as u8)
}

/// All bands, for the house's staff.
pub(crate) const fn all() -> std::ops::Range<i64> {
    0..BANDS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_band_tells_marking_and_whose_it_is() {
        for marking in Tlp::ALL {
            let plain = i64::from(marking as u8) << 2 | 3;
            let aside = (i64::from(marking as u8) + ASIDE) << 2 | 1;
            assert_eq!((tlp(plain), is_aside(plain)), (marking, false));
            assert_eq!((tlp(aside), is_aside(aside)), (marking, true));
            assert!(up_to(marking).contains(&band(plain)));
            assert!(!up_to(Tlp::Red).contains(&band(aside)));
        }
        for own in [CONFIDENTIAL, REPLY, CONFIDENTIAL + ASIDE, REPLY + ASIDE] {
            assert_eq!(tlp(own << 2), Tlp::Red);
            assert!(!up_to(Tlp::Red).contains(&own) && all().contains(&own));
        }
    }
}
