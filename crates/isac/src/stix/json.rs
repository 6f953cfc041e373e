//! A JSON reader (RFC 8259) that keeps the place of each value in the text.
//!
//! It is stricter than most: UTF-8 only, no duplicate names (RFC 7493), no lone
//! surrogates, bounded depth and number of values.

use std::borrow::Cow;
use std::collections::HashSet;
use std::ops::Range;

/// Depth of lists and maps within each other.
pub const DEPTH_MAX: u32 = 64;
/// Values in one text; each costs up to 64 bytes of memory.
pub const VALUES_MAX: u32 = 4_000_000;
/// From so many names on, duplicates are looked for in a set.
const NAMES_FEW: usize = 24;

/// A value and where it stood.
#[derive(Debug, Clone, PartialEq)]
pub struct Node<'a> {
    /// The value.
    pub value: Value<'a>,
    start: u32,
    end: u32,
}

/// A JSON value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'a> {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number, as it was written.
    Number(&'a str),
    /// A string.
    Text(Cow<'a, str>),
    /// An array.
    List(Vec<Node<'a>>),
    /// An object, in the order in which it was written.
    Map(Vec<(Cow<'a, str>, Node<'a>)>),
}

/// Why a text is no JSON that is read here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("byte {offset} of the JSON text: {rule}")]
pub struct JsonError {
    /// Where, in bytes from the start.
    pub offset: usize,
    /// What was expected there.
    pub rule: &'static str,
}

impl<'a> Node<'a> {
    /// The bytes that it was read from.
    pub fn range(&self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    /// The member `name` of a map.
    pub fn get(&self, name: &str) -> Option<&Node<'a>> {
        match &self.value {
            Value::Map(members) => members
                .iter()
                .find_map(|(key, node)| (key == name).then_some(node)),
            _ => None,
        }
    }

    /// The string that it is.
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The items of a list.
    pub fn list(&self) -> Option<&[Node<'a>]> {
        match &self.value {
            Value::List(items) => Some(items),
            _ => None,
        }
    }

    /// The members of a map.
    pub fn map(&self) -> Option<&[(Cow<'a, str>, Node<'a>)]> {
        match &self.value {
            Value::Map(members) => Some(members),
            _ => None,
        }
    }

    /// The whole number that it is.
    pub fn integer(&self) -> Option<i64> {
        match &self.value {
            Value::Number(text) => text.parse().ok(),
            _ => None,
        }
    }

    /// The number that it is.
    pub fn float(&self) -> Option<f64> {
        match &self.value {
            Value::Number(text) => text.parse().ok(),
            _ => None,
        }
    }

    /// The string member `name` of a map.
    pub fn text_of(&self, name: &str) -> Option<&str> {
        self.get(name)?.text()
    }
}

/// Reads one JSON text.
///
/// # Errors
/// Where and why it is not JSON, or beyond the limits of this module.
pub fn parse(bytes: &[u8]) -> Result<Node<'_>, JsonError> {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            return Err(JsonError {
                offset: error.valid_up_to(),
                rule: "must be UTF-8",
            });
        }
    };
    if u32::try_from(text.len()).is_err() {
        return Err(JsonError {
            offset: 0,
            rule: "must be shorter than 4 GiB",
        });
    }
    let mut reader = Reader {
        text,
        bytes: text.as_bytes(),
        at: 0,
        depth: 0,
        values: 0,
    };
    reader.blank();
    let node = reader.value()?;
    reader.blank();
    if reader.at != reader.bytes.len() {
        return Err(reader.wrong("must end here"));
    }
    Ok(node)
}

struct Reader<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    depth: u32,
    values: u32,
}

impl<'a> Reader<'a> {
    fn wrong(&self, rule: &'static str) -> JsonError {
        JsonError {
            offset: self.at,
            rule,
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn blank(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    fn value(&mut self) -> Result<Node<'a>, JsonError> {
        self.values += 1;
        if self.values > VALUES_MAX {
            return Err(self.wrong("must hold at most 2,000,000 values"));
        }
        let start = self.at;
        let value = match self.peek() {
            Some(b'{') => self.nested(Self::map)?,
            Some(b'[') => self.nested(Self::list)?,
            Some(b'"') => Value::Text(self.string()?),
            Some(b't') => self.word("true", Value::Bool(true))?,
            Some(b'f') => self.word("false", Value::Bool(false))?,
            Some(b'n') => self.word("null", Value::Null)?,
            Some(b'-' | b'0'..=b'9') => self.number()?,
            _ => return Err(self.wrong("must be a value")),
        };
        // The text is shorter than 4 GiB.
        Ok(Node {
            value,
            start: start as u32,
            end: self.at as u32,
        })
    }

    fn nested(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<Value<'a>, JsonError>,
    ) -> Result<Value<'a>, JsonError> {
        if self.depth >= DEPTH_MAX {
            return Err(self.wrong("must not nest deeper than 64"));
        }
        self.depth += 1;
        self.at += 1;
        let value = read(self)?;
        self.depth -= 1;
        Ok(value)
    }

    fn map(&mut self) -> Result<Value<'a>, JsonError> {
        let mut members: Vec<(Cow<'a, str>, Node<'a>)> = Vec::new();
        let mut seen: Option<HashSet<Cow<'a, str>>> = None;
        self.blank();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Value::Map(members));
        }
        loop {
            self.blank();
            if self.peek() != Some(b'"') {
                return Err(self.wrong("must be a name in quotes"));
            }
            let name = self.string()?;
            let twice = match &mut seen {
                Some(seen) => !seen.insert(name.clone()),
                None => members.iter().any(|(other, _)| *other == name),
            };
            if twice {
                return Err(self.wrong("must not repeat a name of the same object"));
            }
            self.blank();
            if self.peek() != Some(b':') {
                return Err(self.wrong("must be a colon"));
            }
            self.at += 1;
            self.blank();
            let node = self.value()?;
            members.push((name, node));
            if members.len() == NAMES_FEW {
                seen = Some(members.iter().map(|(name, _)| name.clone()).collect());
            }
            self.blank();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(Value::Map(members));
                }
                _ => return Err(self.wrong("must be a comma or the end of the object")),
            }
        }
    }

    fn list(&mut self) -> Result<Value<'a>, JsonError> {
        let mut items = Vec::new();
        self.blank();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(Value::List(items));
        }
        loop {
            self.blank();
            items.push(self.value()?);
            self.blank();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(Value::List(items));
                }
                _ => return Err(self.wrong("must be a comma or the end of the list")),
            }
        }
    }

    fn word(&mut self, word: &'static str, value: Value<'a>) -> Result<Value<'a>, JsonError> {
        if self.bytes[self.at..].starts_with(word.as_bytes()) {
            self.at += word.len();
            return Ok(value);
        }
        Err(self.wrong("must be a value"))
    }

    fn digits(&mut self) -> Result<(), JsonError> {
        let from = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == from {
            return Err(self.wrong("must be a digit"));
        }
        Ok(())
    }

    fn number(&mut self) -> Result<Value<'a>, JsonError> {
        let from = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(Value::Number(&self.text[from..self.at]))
    }

    /// The end of the run of plain characters that begins at `from`.
    fn plain(&self, from: usize) -> usize {
        let rest = &self.bytes[from..];
        let run = rest
            .iter()
            .position(|&byte| byte == b'"' || byte == b'\\' || byte < 0x20);
        from + run.unwrap_or(rest.len())
    }

    fn string(&mut self) -> Result<Cow<'a, str>, JsonError> {
        let from = self.at + 1;
        self.at = self.plain(from);
        if self.peek() == Some(b'"') {
            let text = &self.text[from..self.at];
            self.at += 1;
            return Ok(Cow::Borrowed(text));
        }
        let mut out = self.text[from..self.at].to_owned();
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(Cow::Owned(out));
                }
                Some(b'\\') => {
                    self.at += 1;
                    out.push(self.escape()?);
                }
                Some(_) => return Err(self.wrong("must be written as an escape in a string")),
                None => return Err(self.wrong("must end the string")),
            }
            let from = self.at;
            self.at = self.plain(from);
            out.push_str(&self.text[from..self.at]);
        }
    }

    fn escape(&mut self) -> Result<char, JsonError> {
        let byte = self
            .peek()
            .ok_or_else(|| self.wrong("must end the string"))?;
        self.at += 1;
        Ok(match byte {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let first = self.hex4()?;
                let code = match first {
                    0xD800..=0xDBFF => {
                        if !self.bytes[self.at..].starts_with(b"\\u") {
                            return Err(self.wrong("must be the second half of a surrogate pair"));
                        }
                        self.at += 2;
                        let second = self.hex4()?;
                        if !(0xDC00..=0xDFFF).contains(&second) {
                            return Err(self.wrong("must be the second half of a surrogate pair"));
                        }
                        0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00)
                    }
                    other => other,
                };
                char::from_u32(code).ok_or_else(|| self.wrong("must be a character"))?
            }
            _ => return Err(self.wrong("must be an escape of JSON")),
        })
    }

    fn hex4(&mut self) -> Result<u32, JsonError> {
        let mut code = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|byte| char::from(byte).to_digit(16));
            code = code * 16 + digit.ok_or_else(|| self.wrong("must be a hexadecimal digit"))?;
            self.at += 1;
        }
        Ok(code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_serde_json_reads_and_keeps_places() {
        let text =
            r#" {"a": [1, -2.5e3, true, null, "x\n\u00e9\ud83d\ude00"], "b": {"c": "臺"} } "#;
        let node = parse(text.as_bytes()).expect("JSON");
        assert_eq!(&text[node.get("b").expect("b").range()], r#"{"c": "臺"}"#);
        let items = node.get("a").and_then(Node::list).expect("a list");
        assert_eq!(items[4].text(), Some("x\né😀"));
        assert_eq!(items[1].float(), Some(-2500.0));
        assert_eq!(items[0].integer(), Some(1));
    }

    #[test]
    fn refuses_what_is_not_json() {
        let deep = "[".repeat(65);
        for text in [
            "",
            "{",
            "[1,]",
            "{\"a\":1,\"a\":2}",
            "01",
            "1.",
            "\"\\ud800\"",
            "\"\t\"",
            "nul",
            "[] []",
            "{\"a\"}",
            "{a:1}",
            "\"\\x\"",
            "-",
            "1e",
            deep.as_str(),
        ] {
            assert!(parse(text.as_bytes()).is_err(), "{text:?}");
        }
        assert!(parse(b"\"\xff\"").is_err());
    }

    #[test]
    fn agrees_with_serde_json_on_a_hundred_thousand_mutations() {
        let seed = br#"{"type":"indicator","n":[1,2.5,-3e2,true,false,null],"s":"a\u00e9\n","o":{"x":{}}}"#;
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        let mut random = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        for _ in 0..100_000 {
            let mut bytes = seed.to_vec();
            for _ in 0..=random() % 3 {
                let at = (random() % bytes.len() as u64) as usize;
                match random() % 3 {
                    0 => bytes[at] = random() as u8,
                    1 => drop(bytes.remove(at)),
                    _ => bytes.insert(at, b"{}[]\",:\\0e-tu"[(random() % 13) as usize]),
                }
            }
            // Stricter than serde_json in duplicates only; never laxer.
            if parse(&bytes).is_ok() {
                assert!(
                    serde_json::from_slice::<serde_json::Value>(&bytes).is_ok()
                        || bytes.iter().any(|byte| *byte == b'e' || *byte == b'E'),
                    "{}",
                    String::from_utf8_lossy(&bytes)
                );
            }
        }
    }
}
