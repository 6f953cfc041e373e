//! Object identifiers.

use std::fmt;
use std::str::FromStr;

use smallvec::SmallVec;

use super::ber::BerError;

/// Numbers of one identifier (RFC 2578 section 3.5).
pub const NUMBERS_MAX: usize = 128;

/// An object identifier: `1.3.6.1.2.1.1.3.0`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Oid(SmallVec<[u32; 14]>);

impl Oid {
    /// The identifier of these numbers.
    pub fn new(numbers: &[u32]) -> Self {
        Self(SmallVec::from_slice(numbers))
    }

    /// Its numbers.
    pub fn numbers(&self) -> &[u32] {
        &self.0
    }

    /// It with one more number.
    #[must_use]
    pub fn child(&self, number: u32) -> Self {
        let mut longer = self.0.clone();
        longer.push(number);
        Self(longer)
    }

    /// What of it lies below `root`; none when it does not.
    pub fn below(&self, root: &Self) -> Option<&[u32]> {
        self.0.strip_prefix(root.0.as_slice())
    }

    /// Reads the content of an element.
    ///
    /// # Errors
    /// When a number is cut short, over 32 bits, or there are too many.
    pub fn decode(bytes: &[u8]) -> Result<Self, BerError> {
        let mut numbers = SmallVec::new();
        let mut bytes = bytes.iter();
        while let Some(first) = bytes.next() {
            let mut number = u64::from(first & 0x7f);
            let mut byte = first;
            while byte & 0x80 != 0 {
                byte = bytes.next().ok_or(BerError::Short("a number of an OID"))?;
                number = number << 7 | u64::from(byte & 0x7f);
                if number > u64::from(u32::MAX) + 80 {
                    return Err(BerError::Bound {
                        what: "a number of an OID",
                        value: number,
                        max: u32::MAX.into(),
                    });
                }
            }
            if numbers.is_empty() {
                // The first two numbers share one (X.690 section 8.19.4).
                let top = (number / 40).min(2);
                numbers.push(top as u32);
                number -= top * 40;
            }
            numbers.push(u32::try_from(number).map_err(|_| BerError::Bound {
                what: "a number of an OID",
                value: number,
                max: u32::MAX.into(),
            })?);
            if numbers.len() > NUMBERS_MAX {
                return Err(BerError::Bound {
                    what: "numbers of an OID",
                    value: numbers.len() as u64,
                    max: NUMBERS_MAX as u64,
                });
            }
        }
        Ok(Self(numbers))
    }

    /// Appends the content of the element.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut put = |number: u64| {
            let mut shift = 63;
            let mut started = false;
            while shift > 0 {
                let part = (number >> shift & 0x7f) as u8;
                if part != 0 || started {
                    out.push(0x80 | part);
                    started = true;
                }
                shift -= 7;
            }
            out.push((number & 0x7f) as u8);
        };
        match self.0.as_slice() {
            [] => {}
            [first] => put(u64::from(*first) * 40),
            [first, second, rest @ ..] => {
                put(u64::from(*first) * 40 + u64::from(*second));
                rest.iter().for_each(|number| put((*number).into()));
            }
        }
    }
}

impl fmt::Display for Oid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, number) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(".")?;
            }
            number.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Oid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Oid {
    type Err = BerError;
    fn from_str(text: &str) -> Result<Self, BerError> {
        let numbers: Result<SmallVec<_>, _> = text
            .trim_start_matches('.')
            .split('.')
            .map(str::parse)
            .collect();
        let numbers = numbers.map_err(|_| BerError::Form("an OID is numbers with dots"))?;
        Ok(Self(numbers))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_come_back() {
        for text in [
            "1.3.6.1.2.1.31.1.1.1.6.4294967295",
            "2.999.3",
            "0.0",
            "1.3.6.1.4.1.128.16384",
        ] {
            let oid: Oid = text.parse().expect("an OID");
            let mut bytes = Vec::new();
            oid.encode(&mut bytes);
            assert_eq!(Oid::decode(&bytes), Ok(oid.clone()));
            assert_eq!(oid.to_string(), text);
        }
        assert!(Oid::decode(&[0x2b, 0x8f]).is_err());
        assert!(Oid::decode(&[0x2b, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]).is_err());
        assert!(Oid::decode(&[1; 200]).is_err());
    }

    #[test]
    fn what_lies_below_is_known() {
        let root: Oid = "1.3.6".parse().expect("an OID");
        assert_eq!(root.child(1).child(9).below(&root), Some(&[1, 9][..]));
        assert_eq!(Oid::new(&[1, 3, 7]).below(&root), None);
    }
}
