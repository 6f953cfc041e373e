//! The STIX pattern language (STIX 2.1 part 9), read into a tree.
//!
//! The grammar is whole: observation operators (`AND`, `OR`, `FOLLOWEDBY`),
//! qualifiers (`WITHIN`, `REPEATS`, `START … STOP`), comparisons (`=`, `!=`, `<`, `>`,
//! `<=`, `>=`, `IN`, `LIKE`, `MATCHES`, `ISSUBSET`, `ISSUPERSET`, `EXISTS`), `NOT`, and
//! constants of every type.

use super::time;

/// Bytes of a pattern.
pub const PATTERN_BYTES_MAX: usize = 1 << 20;
/// Parentheses within each other.
pub const DEPTH_MAX: u32 = 64;
/// Bytes that a compiled regular expression of `MATCHES` may take.
pub const REGEX_BYTES_MAX: usize = 1 << 20;

/// Where and why a text is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("character {offset} of the pattern: {rule}")]
pub struct PatternError {
    /// Bytes from the start.
    pub offset: usize,
    /// What must stand there.
    pub rule: String,
}

/// An expression over several observations.
#[derive(Debug, Clone)]
pub enum Observation {
    /// `[ … ]`: one observation.
    One(Comparison),
    /// Two different observations.
    And(Box<Observation>, Box<Observation>),
    /// Either.
    Or(Box<Observation>, Box<Observation>),
    /// Both, the second not before the first ended.
    FollowedBy(Box<Observation>, Box<Observation>),
    /// All within so many microseconds.
    Within(Box<Observation>, i64),
    /// So many times.
    Repeats(Box<Observation>, u32),
    /// From the first time, before the second, in microseconds.
    During(Box<Observation>, i64, i64),
}

/// An expression over the objects of one observation.
#[derive(Debug, Clone)]
pub enum Comparison {
    /// Both hold of the same object.
    And(Box<Comparison>, Box<Comparison>),
    /// Either holds.
    Or(Box<Comparison>, Box<Comparison>),
    /// One comparison.
    Test(Test),
}

/// `ipv4-addr:value = '198.51.100.7'`
#[derive(Debug, Clone)]
pub struct Test {
    /// What is compared.
    pub path: ObjectPath,
    /// Whether `NOT` stands before the operator.
    pub negated: bool,
    /// How, and with what.
    pub operator: Operator,
}

/// The type of an object and the way to a value in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectPath {
    /// `network-traffic`
    pub kind: String,
    /// `src_ref`, `value`
    pub steps: Vec<PathStep>,
}

/// A step in an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathStep {
    /// A property; through a `_ref`, the object that it refers to.
    Key(String),
    /// An item of a list.
    Index(usize),
    /// Any item of a list.
    Any,
}

/// How values are compared.
#[derive(Debug, Clone)]
pub enum Operator {
    /// `=`
    Equal(Constant),
    /// `!=`
    NotEqual(Constant),
    /// `<`
    Less(Constant),
    /// `<=`
    LessEqual(Constant),
    /// `>`
    Greater(Constant),
    /// `>=`
    GreaterEqual(Constant),
    /// `IN ( … )`
    In(Vec<Constant>),
    /// `LIKE`: `%` and `_`, with the expression made of it.
    Like(String, regex::Regex),
    /// `MATCHES`
    Matches(regex::Regex),
    /// `ISSUBSET`
    IsSubset(base::Prefix),
    /// `ISSUPERSET`
    IsSuperset(base::Prefix),
    /// `EXISTS`
    Exists,
}

/// A constant.
#[derive(Debug, Clone, PartialEq)]
pub enum Constant {
    /// `'…'`
    Text(String),
    /// `7`
    Integer(i64),
    /// `7.5`
    Float(f64),
    /// `true`
    Bool(bool),
    /// `t'…'`, in microseconds.
    Time(i64),
    /// `b'…'` or `h'…'`
    Bytes(Vec<u8>),
}

/// Reads a pattern.
///
/// # Errors
/// Where it stops being one.
pub fn parse(text: &str) -> Result<Observation, PatternError> {
    if text.len() > PATTERN_BYTES_MAX {
        return Err(PatternError {
            offset: PATTERN_BYTES_MAX,
            rule: format!("must end by byte {PATTERN_BYTES_MAX}"),
        });
    }
    let mut parser = Parser {
        text,
        at: 0,
        depth: 0,
    };
    let tree = parser.observations()?;
    parser.blank();
    if parser.at != text.len() {
        return Err(parser.wrong("must be an operator, a qualifier or the end"));
    }
    Ok(tree)
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: u32,
}

type Read<T> = Result<T, PatternError>;

impl<'a> Parser<'a> {
    fn wrong(&self, rule: impl Into<String>) -> PatternError {
        PatternError {
            offset: self.at,
            rule: rule.into(),
        }
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// Skips white space and comments.
    fn blank(&mut self) {
        loop {
            let rest = self.rest();
            let trimmed = rest.trim_start();
            self.at += rest.len() - trimmed.len();
            let skipped = if trimmed.starts_with("//") {
                trimmed.find('\n').map_or(trimmed.len(), |end| end + 1)
            } else if trimmed.starts_with("/*") {
                match trimmed.find("*/") {
                    Some(end) => end + 2,
                    None => return,
                }
            } else {
                return;
            };
            self.at += skipped;
        }
    }

    fn symbol(&mut self, symbol: &str) -> bool {
        self.blank();
        let found = self.rest().starts_with(symbol);
        if found {
            self.at += symbol.len();
        }
        found
    }

    fn expect(&mut self, symbol: &'static str) -> Read<()> {
        if self.symbol(symbol) {
            return Ok(());
        }
        Err(self.wrong(format!("must be {symbol:?}")))
    }

    /// The keyword, if it stands here as a whole word.
    fn keyword(&mut self, word: &str) -> bool {
        self.blank();
        let rest = self.rest();
        let found = rest.starts_with(word)
            && !rest[word.len()..]
                .starts_with(|c: char| c.is_ascii_alphanumeric() || "_-".contains(c));
        if found {
            self.at += word.len();
        }
        found
    }

    fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Read<T>) -> Read<T> {
        if self.depth >= DEPTH_MAX {
            return Err(self.wrong(format!("must not nest deeper than {DEPTH_MAX}")));
        }
        self.depth += 1;
        let read = read(self);
        self.depth -= 1;
        read
    }

    /// Operators by rising strength: FOLLOWEDBY, OR, AND. A chain is a tree whose
    /// depth is bounded by folding it in halves, so that long lists do not overflow.
    fn observations(&mut self) -> Read<Observation> {
        let mut parts = vec![self.any_observation()?];
        while self.keyword("FOLLOWEDBY") {
            parts.push(self.any_observation()?);
        }
        Ok(fold(parts, &Observation::FollowedBy))
    }

    fn any_observation(&mut self) -> Read<Observation> {
        let mut parts = vec![self.all_observations()?];
        while self.keyword("OR") {
            parts.push(self.all_observations()?);
        }
        Ok(fold(parts, &Observation::Or))
    }

    fn all_observations(&mut self) -> Read<Observation> {
        let mut parts = vec![self.observation()?];
        while self.keyword("AND") {
            parts.push(self.observation()?);
        }
        Ok(fold(parts, &Observation::And))
    }

    fn observation(&mut self) -> Read<Observation> {
        let mut tree = if self.symbol("(") {
            let inner = self.deeper(Self::observations)?;
            self.expect(")")?;
            inner
        } else if self.symbol("[") {
            let inner = self.comparisons()?;
            self.expect("]")?;
            Observation::One(inner)
        } else {
            return Err(self.wrong("must be \"[\" or \"(\""));
        };
        let mut qualifiers = 0;
        loop {
            tree = if self.keyword("WITHIN") {
                let seconds = self.positive()?;
                if !self.keyword("SECONDS") {
                    return Err(self.wrong("must be SECONDS"));
                }
                Observation::Within(Box::new(tree), (seconds * 1e6) as i64)
            } else if self.keyword("REPEATS") {
                let times = self.positive()?;
                if times.fract() != 0.0 || times > f64::from(u32::MAX) {
                    return Err(self.wrong("must repeat a whole number of times"));
                }
                if !self.keyword("TIMES") {
                    return Err(self.wrong("must be TIMES"));
                }
                Observation::Repeats(Box::new(tree), times as u32)
            } else if self.keyword("START") {
                let start = self.time()?;
                if !self.keyword("STOP") {
                    return Err(self.wrong("must be STOP"));
                }
                let stop = self.time()?;
                if stop <= start {
                    return Err(self.wrong("must stop after it starts"));
                }
                Observation::During(Box::new(tree), start, stop)
            } else {
                return Ok(tree);
            };
            qualifiers += 1;
            if qualifiers > DEPTH_MAX {
                return Err(self.wrong("must have fewer qualifiers"));
            }
        }
    }

    fn positive(&mut self) -> Read<f64> {
        match self.constant()? {
            Constant::Integer(number) if number > 0 => Ok(number as f64),
            Constant::Float(number) if number > 0.0 && number < 1e12 => Ok(number),
            _ => Err(self.wrong("must be a number above 0")),
        }
    }

    fn time(&mut self) -> Read<i64> {
        match self.constant()? {
            Constant::Time(at) => Ok(at),
            // STIX 2.0 wrote plain strings here.
            Constant::Text(text) => {
                time::parse(&text).ok_or_else(|| self.wrong("must be a time, t'…'"))
            }
            _ => Err(self.wrong("must be a time, t'…'")),
        }
    }

    fn comparisons(&mut self) -> Read<Comparison> {
        let mut parts = vec![self.all_comparisons()?];
        while self.keyword("OR") {
            parts.push(self.all_comparisons()?);
        }
        Ok(fold(parts, &Comparison::Or))
    }

    fn all_comparisons(&mut self) -> Read<Comparison> {
        let mut parts = vec![self.comparison()?];
        while self.keyword("AND") {
            parts.push(self.comparison()?);
        }
        Ok(fold(parts, &Comparison::And))
    }

    fn comparison(&mut self) -> Read<Comparison> {
        if self.symbol("(") {
            let inner = self.deeper(Self::comparisons)?;
            self.expect(")")?;
            return Ok(inner);
        }
        let before = self.keyword("NOT");
        if self.keyword("EXISTS") {
            let path = self.path()?;
            return Ok(Comparison::Test(Test {
                path,
                negated: before,
                operator: Operator::Exists,
            }));
        }
        if before {
            return Err(self.wrong("must be EXISTS"));
        }
        let path = self.path()?;
        let negated = self.keyword("NOT");
        let operator = self.operator()?;
        Ok(Comparison::Test(Test {
            path,
            negated,
            operator,
        }))
    }

    fn operator(&mut self) -> Read<Operator> {
        for (symbol, make) in [
            ("!=", Operator::NotEqual as fn(Constant) -> Operator),
            ("<>", Operator::NotEqual),
            ("<=", Operator::LessEqual),
            (">=", Operator::GreaterEqual),
            ("==", Operator::Equal),
            ("=", Operator::Equal),
            ("<", Operator::Less),
            (">", Operator::Greater),
        ] {
            if self.symbol(symbol) {
                let constant = self.constant()?;
                return Ok(make(constant));
            }
        }
        if self.keyword("IN") {
            self.expect("(")?;
            let mut set = vec![self.constant()?];
            while self.symbol(",") {
                set.push(self.constant()?);
            }
            self.expect(")")?;
            return Ok(Operator::In(set));
        }
        if self.keyword("LIKE") {
            let text = self.string()?;
            let regex = self.regex(&like(&text))?;
            return Ok(Operator::Like(text, regex));
        }
        if self.keyword("MATCHES") {
            let text = self.string()?;
            return Ok(Operator::Matches(self.regex(&text)?));
        }
        if self.keyword("ISSUBSET") {
            return Ok(Operator::IsSubset(self.prefix()?));
        }
        if self.keyword("ISSUPERSET") {
            return Ok(Operator::IsSuperset(self.prefix()?));
        }
        Err(self.wrong("must be an operator of comparison"))
    }

    fn regex(&self, text: &str) -> Read<regex::Regex> {
        regex::RegexBuilder::new(text)
            .size_limit(REGEX_BYTES_MAX)
            .dot_matches_new_line(true)
            .build()
            .map_err(|_| {
                self.wrong("must be a regular expression without look-around and back-references")
            })
    }

    fn prefix(&mut self) -> Read<base::Prefix> {
        let text = self.string()?;
        prefix_of(&text).ok_or_else(|| self.wrong("must be an address or prefix in quotes"))
    }

    fn string(&mut self) -> Read<String> {
        match self.constant()? {
            Constant::Text(text) => Ok(text),
            _ => Err(self.wrong("must be a string in quotes")),
        }
    }

    fn path(&mut self) -> Read<ObjectPath> {
        self.blank();
        let kind = self.name("-")?;
        self.expect(":")?;
        let mut steps = vec![PathStep::Key(self.step()?)];
        loop {
            if self.rest().starts_with('.') {
                self.at += 1;
                steps.push(PathStep::Key(self.step()?));
            } else if self.rest().starts_with('[') {
                self.at += 1;
                let rest = self.rest();
                if rest.starts_with("*]") {
                    self.at += 2;
                    steps.push(PathStep::Any);
                } else {
                    let end = rest.find(']').unwrap_or(0);
                    let index = rest[..end]
                        .parse()
                        .map_err(|_| self.wrong("must be an index or *"))?;
                    self.at += end + 1;
                    steps.push(PathStep::Index(index));
                }
            } else {
                return Ok(ObjectPath { kind, steps });
            }
        }
    }

    fn step(&mut self) -> Read<String> {
        if self.rest().starts_with('\'') {
            return self.quoted();
        }
        self.name("_-")
    }

    fn name(&mut self, also: &str) -> Read<String> {
        let rest = self.rest();
        let end = rest
            .find(|c: char| !(c.is_ascii_alphanumeric() || also.contains(c)))
            .unwrap_or(rest.len());
        if end == 0 {
            return Err(self.wrong("must be a name"));
        }
        self.at += end;
        Ok(rest[..end].to_owned())
    }

    /// A string in single quotes; `\'` and `\\` are its escapes.
    fn quoted(&mut self) -> Read<String> {
        let rest = self.rest();
        let mut chars = rest.char_indices();
        if chars.next().map(|(_, c)| c) != Some('\'') {
            return Err(self.wrong("must be a string in quotes"));
        }
        let mut out = String::new();
        while let Some((place, c)) = chars.next() {
            match c {
                '\'' => {
                    self.at += place + 1;
                    return Ok(out);
                }
                '\\' => match chars.next() {
                    Some((_, escaped @ ('\'' | '\\'))) => out.push(escaped),
                    _ => return Err(self.wrong("must escape only ' and \\ by a backslash")),
                },
                c => out.push(c),
            }
        }
        Err(self.wrong("must end its string"))
    }

    fn constant(&mut self) -> Read<Constant> {
        self.blank();
        let rest = self.rest();
        let mut first = rest.chars();
        match (first.next(), first.next()) {
            (Some('\''), _) => Ok(Constant::Text(self.quoted()?)),
            (Some('t'), Some('\'')) => {
                self.at += 1;
                let text = self.quoted()?;
                time::parse(&text)
                    .map(Constant::Time)
                    .ok_or_else(|| self.wrong("must be a time like t'2026-01-05T08:00:00Z'"))
            }
            (Some('b'), Some('\'')) => {
                use base64::Engine as _;
                self.at += 1;
                let text = self.quoted()?;
                base64::engine::general_purpose::STANDARD
                    .decode(text)
                    .map(Constant::Bytes)
                    .map_err(|_| self.wrong("must be base64"))
            }
            (Some('h'), Some('\'')) => {
                self.at += 1;
                let text = self.quoted()?;
                hex::decode(text)
                    .map(Constant::Bytes)
                    .map_err(|_| self.wrong("must be hexadecimal"))
            }
            _ if self.keyword("true") => Ok(Constant::Bool(true)),
            _ if self.keyword("false") => Ok(Constant::Bool(false)),
            _ => self.number(),
        }
    }

    fn number(&mut self) -> Read<Constant> {
        let rest = self.rest();
        let end = rest
            .find(|c: char| !(c.is_ascii_digit() || "+-.".contains(c)))
            .unwrap_or(rest.len());
        let text = &rest[..end];
        let constant = if text.contains('.') {
            text.parse().ok().map(Constant::Float)
        } else {
            text.parse().ok().map(Constant::Integer)
        };
        let constant = constant.ok_or_else(|| self.wrong("must be a constant"))?;
        self.at += end;
        Ok(constant)
    }
}

/// An address or a prefix, whichever is written.
pub(crate) fn prefix_of(text: &str) -> Option<base::Prefix> {
    match text.split_once('/') {
        Some((address, length)) => {
            base::Prefix::new(address.parse().ok()?, length.parse().ok()?).ok()
        }
        None => text.parse().ok().map(base::Prefix::host),
    }
}

/// The regular expression of a `LIKE`.
fn like(text: &str) -> String {
    let mut out = String::from("^");
    for c in text.chars() {
        match c {
            '%' => out.push_str(".*"),
            '_' => out.push('.'),
            c => out.push_str(&regex::escape(c.encode_utf8(&mut [0; 4]))),
        }
    }
    out.push('$');
    out
}

/// A balanced tree of `parts` (never empty), in order.
fn fold<T>(mut parts: Vec<T>, join: &impl Fn(Box<T>, Box<T>) -> T) -> T {
    while parts.len() > 1 {
        let mut halves = Vec::with_capacity(parts.len().div_ceil(2));
        let mut left = parts.into_iter();
        while let Some(one) = left.next() {
            halves.push(match left.next() {
                Some(other) => join(Box::new(one), Box::new(other)),
                None => one,
            });
        }
        parts = halves;
    }
    parts.swap_remove(0)
}

#[cfg(test)]
mod tests;
