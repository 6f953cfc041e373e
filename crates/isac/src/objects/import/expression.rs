//! What an indicator of another format looks for, and the pattern of STIX that says it.

/// A tree of things that are looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expression {
    /// A comparison, such as `ipv4-addr:value = '198.51.100.7'`; all of one object.
    One(Vec<String>),
    /// All of these are observed.
    All(Vec<Expression>),
    /// One of these is observed.
    Any(Vec<Expression>),
    /// Something that cannot be said in a pattern.
    Unknown,
}

impl Expression {
    /// Without what cannot be said: an alternative goes, and what needs it all goes with
    /// it, because a pattern that asks for less would fit too much. `None`: nothing is
    /// left.
    pub fn known(self) -> Option<Self> {
        match self {
            Self::One(tests) => (!tests.is_empty()).then_some(Self::One(tests)),
            Self::Unknown => None,
            Self::All(parts) => {
                let known: Option<Vec<Self>> = parts.into_iter().map(Self::known).collect();
                let mut known = known.filter(|known| !known.is_empty())?;
                match known.len() {
                    1 => known.pop(),
                    _ => Some(Self::All(known)),
                }
            }
            Self::Any(parts) => {
                let mut known: Vec<Self> = parts.into_iter().filter_map(Self::known).collect();
                match known.len() {
                    0 => None,
                    1 => known.pop(),
                    _ => Some(Self::Any(known)),
                }
            }
        }
    }

    /// How many of `parts`, which must all be there, are left out only because another of them
    /// cannot be said.
    pub fn lost(parts: &[Self]) -> usize {
        let good = parts
            .iter()
            .filter(|part| (*part).clone().known().is_some())
            .count();
        match good < parts.len() {
            true => good,
            false => 0,
        }
    }

    /// Whether anything in it cannot be said.
    pub fn has_unknown(&self) -> bool {
        match self {
            Self::One(_) => false,
            Self::Unknown => true,
            Self::All(parts) | Self::Any(parts) => parts.iter().any(Self::has_unknown),
        }
    }

    /// The comparisons in it, however they are joined.
    pub fn tests(&self) -> Vec<&str> {
        match self {
            Self::One(tests) => tests.iter().map(String::as_str).collect(),
            Self::All(parts) | Self::Any(parts) => parts.iter().flat_map(Self::tests).collect(),
            Self::Unknown => Vec::new(),
        }
    }

    /// The pattern. Call it on what is [`Expression::known`].
    pub fn pattern(&self) -> String {
        let joined = |parts: &[Self], word: &str| -> String {
            let parts: Vec<String> = parts
                .iter()
                .map(|part| match part {
                    Self::One(_) => part.pattern(),
                    _ => format!("({})", part.pattern()),
                })
                .collect();
            parts.join(word)
        };
        match self {
            Self::One(tests) => format!("[{}]", tests.join(" AND ")),
            Self::All(parts) => joined(parts, " AND "),
            Self::Any(parts) => joined(parts, " OR "),
            Self::Unknown => String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_said_takes_along_what_needs_it() {
        let one = |text: &str| Expression::One(vec![text.to_owned()]);
        let tree = Expression::Any(vec![
            one("a:b = 1"),
            Expression::All(vec![one("c:d = 2"), Expression::Unknown]),
            Expression::All(vec![one("e:f = 3"), one("g:h = 4")]),
        ]);
        assert!(tree.has_unknown());
        let known = tree.known().expect("something");
        assert_eq!(known.pattern(), "[a:b = 1] OR ([e:f = 3] AND [g:h = 4])");
        assert_eq!(Expression::All(vec![Expression::Unknown]).known(), None);
        assert_eq!(Expression::lost(&[one("a:b = 1"), Expression::Unknown]), 1);
        assert_eq!(Expression::lost(&[one("a:b = 1"), one("c:d = 2")]), 0);
        assert_eq!(Expression::Any(Vec::new()).known(), None);
    }
}
