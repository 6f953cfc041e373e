//! Numbers by which people name cases: nine digits in three groups, as one says them on the
//! telephone, the last of which shows when one was misheard.
//!
//! They are drawn, not counted. A count, whether of the house or of a year, would tell
//! everybody who holds two numbers how many cases others had between them. Cases
//! from before keep their short numbers. What orders cases is their id.

use std::fmt;
use std::str::FromStr;

use ring::rand::SecureRandom;
use store::Tx;

use crate::case::CaseError;

/// The first number that is drawn; shorter ones were counted.
const DRAWN_MIN: i64 = 100_000_000;
/// The last one.
const DRAWN_MAX: i64 = 999_999_999;
/// Numbers that can be drawn: those of nine digits whose last follows from the others.
const DRAWN: u64 = 90_000_000;
/// How often a number is drawn for one case before something must be wrong. With a million
/// cases one draw in ninety meets a number that is taken.
const DRAWS_MAX: usize = 20;
/// Characters of a number as it is typed, spaces and hyphens included.
const TYPED_CHARS_MAX: usize = 40;

/// Damm's quasigroup of order ten: the check digit finds every wrong digit and every two
/// neighbours that changed places (H. M. Damm, 2004).
const DAMM: [[u8; 10]; 10] = [
    [0, 3, 1, 7, 5, 9, 8, 6, 4, 2],
    [7, 0, 9, 2, 1, 5, 4, 8, 6, 3],
    [4, 2, 0, 6, 8, 7, 1, 3, 5, 9],
    [1, 7, 5, 0, 9, 8, 3, 4, 2, 6],
    [6, 1, 2, 3, 0, 4, 5, 9, 7, 8],
    [3, 6, 7, 4, 2, 0, 9, 5, 8, 1],
    [5, 8, 6, 9, 7, 2, 0, 1, 3, 4],
    [8, 9, 4, 5, 3, 6, 2, 0, 1, 7],
    [9, 4, 3, 8, 6, 1, 7, 2, 0, 5],
    [2, 5, 8, 1, 4, 3, 6, 7, 9, 0],
];

/// Names a case to people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CaseNumber(i64);

/// Why a text is no number of a case.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NumberError {
    /// Something else.
    #[error("{0:?} is no number of a case: nine digits such as 482-716-301")]
    Shape(String),
    /// A digit is wrong, or two changed places.
    #[error("{0} cannot be the number of a case: its last digit does not fit the others")]
    Digit(CaseNumber),
}

impl CaseNumber {
    /// The number that a row or a document holds.
    pub const fn new(number: i64) -> Self {
        Self(number)
    }

    /// As rows and documents hold it.
    pub const fn get(self) -> i64 {
        self.0
    }

    /// The number of the draw `drawn`.
    fn of_draw(drawn: u64) -> Self {
        let digits = DRAWN_MIN / 10 + i64::try_from(drawn % DRAWN).unwrap_or(0);
        Self(digits * 10 + i64::from(check(digits)))
    }

    /// One that no case has, drawn in the transaction that uses it.
    pub(crate) async fn draw(tx: &mut Tx) -> Result<Self, CaseError> {
        for _ in 0..DRAWS_MAX {
            let mut bytes = [0_u8; 8];
            ring::rand::SystemRandom::new()
                .fill(&mut bytes)
                .map_err(|source| CaseError::Sealed {
                    what: "the system's generator of random numbers fails",
                    source: source.to_string().into(),
                })?;
            let number = Self::of_draw(u64::from_le_bytes(bytes));
            let (taken,): (i64,) =
                sqlx::query_as("SELECT count(*) FROM casework_case WHERE number = $1")
                    .bind(number.0)
                    .fetch_one(&mut **tx)
                    .await?;
            if taken == 0 {
                return Ok(number);
            }
        }
        Err(CaseError::Limit {
            what: "draws of a number that no case has",
            most: DRAWS_MAX as u64,
        })
    }
}

/// The digit that follows these; over a whole number it is 0.
fn check(digits: i64) -> u8 {
    let text = digits.to_string();
    let digits = text.bytes().map(|byte| usize::from(byte - b'0'));
    digits.fold(0, |interim, digit| DAMM[usize::from(interim)][digit])
}

impl fmt::Display for CaseNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.0;
        if !(DRAWN_MIN..=DRAWN_MAX).contains(&number) {
            return write!(f, "{number}");
        }
        write!(
            f,
            "{:03}-{:03}-{:03}",
            number / 1_000_000,
            number / 1_000 % 1_000,
            number % 1_000
        )
    }
}

impl FromStr for CaseNumber {
    type Err = NumberError;

    /// As people type it: with or without hyphens, spaces and `#`, in wide digits too.
    fn from_str(text: &str) -> Result<Self, NumberError> {
        let wrong = || NumberError::Shape(text.chars().take(TYPED_CHARS_MAX).collect());
        if text.chars().count() > TYPED_CHARS_MAX {
            return Err(wrong());
        }
        let mut number = 0_i64;
        let mut digits = 0;
        for c in text.trim().trim_start_matches(['#', '\u{ff03}']).chars() {
            let digit = match c {
                '0'..='9' => i64::from(u32::from(c) - u32::from('0')),
                '\u{ff10}'..='\u{ff19}' => i64::from(u32::from(c) - 0xff10),
                '-' | '\u{2010}' | '\u{ff0d}' | ' ' | '\u{3000}' => continue,
                _ => return Err(wrong()),
            };
            number = number * 10 + digit;
            digits += 1;
            if digits > 9 {
                return Err(wrong());
            }
        }
        let found = Self(number);
        match number {
            0 => Err(wrong()),
            DRAWN_MIN..=DRAWN_MAX if check(number) != 0 => Err(NumberError::Digit(found)),
            _ => Ok(found),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_check_digit_is_that_of_the_paper() {
        assert_eq!(check(572), 4);
        assert_eq!(check(5724), 0);
        assert_eq!(CaseNumber::of_draw(0).to_string()[..10], *"100-000-00");
        assert_eq!(CaseNumber::of_draw(DRAWN - 1).0 / 10, 99_999_999);
    }

    #[test]
    fn numbers_from_before_are_still_read_and_shown_as_they_were() {
        assert_eq!(CaseNumber::new(17).to_string(), "17");
        assert_eq!("#17".parse(), Ok(CaseNumber::new(17)));
        for bad in ["", "#", "0", "x", "1.5", "1234567890", &"1 ".repeat(30)] {
            assert!(
                matches!(bad.parse::<CaseNumber>(), Err(NumberError::Shape(_))),
                "{bad}"
            );
        }
    }

    proptest! {
        #[test]
        fn what_is_said_is_what_is_heard(draw: u64) {
            let number = CaseNumber::of_draw(draw);
            let said = number.to_string();
            prop_assert_eq!(said.len(), 11);
            prop_assert_eq!(said.parse(), Ok(number));
            prop_assert_eq!(said.replace('-', " ").parse(), Ok(number));
            prop_assert_eq!(number.0.to_string().parse(), Ok(number));
        }

        #[test]
        fn a_wrong_digit_and_two_that_changed_places_are_noticed(draw: u64, place in 1_usize..9, other in 1_u8..10) {
            let text = CaseNumber::of_draw(draw).0.to_string();
            let mut digits = text.clone().into_bytes();
            digits[place] = b'0' + (digits[place] - b'0' + other) % 10;
            let misheard = String::from_utf8(digits).expect("digits");
            prop_assert!(misheard.parse::<CaseNumber>().is_err(), "{} for {}", misheard, text);
            let mut digits = text.clone().into_bytes();
            digits.swap(place - 1, place);
            if digits != text.as_bytes() && digits[0] != b'0' {
                let swapped = String::from_utf8(digits).expect("digits");
                prop_assert!(swapped.parse::<CaseNumber>().is_err(), "{} for {}", swapped, text);
            }
        }
    }
}
