//! Splits a master file into logical lines of tokens: parentheses join lines, quotes
//! hold blanks, `;` begins a comment, `\` escapes (RFC 1035 section 5.1).

use super::ZoneProblem;

/// Tokens of the longest logical line.
const TOKENS_MAX: usize = 20_000;

/// A word of the file, escapes left as written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Token<'t> {
    pub(super) text: &'t [u8],
    pub(super) quoted: bool,
    pub(super) line: u32,
    pub(super) column: u32,
}

impl<'t> Token<'t> {
    pub(super) fn as_str(&self) -> Option<&'t str> {
        std::str::from_utf8(self.text).ok()
    }

    /// For messages.
    pub(super) fn lossy(&self) -> String {
        String::from_utf8_lossy(self.text)
            .chars()
            .take(100)
            .collect()
    }
}

/// One entry of the file.
#[derive(Debug)]
pub(super) struct Line<'t> {
    pub(super) number: u32,
    /// It begins with a blank: the owner is that of the record before.
    pub(super) blank_owner: bool,
    pub(super) tokens: Vec<Token<'t>>,
}

pub(super) struct Lexer<'t> {
    text: &'t [u8],
    at: usize,
    line: u32,
    line_start: usize,
}

impl<'t> Lexer<'t> {
    pub(super) fn new(text: &'t [u8]) -> Self {
        Self {
            text,
            at: 0,
            line: 1,
            line_start: 0,
        }
    }

    /// The next logical line, empty ones left out.
    pub(super) fn line(&mut self) -> Result<Option<Line<'t>>, ZoneProblem> {
        loop {
            if self.at >= self.text.len() {
                return Ok(None);
            }
            let blank_owner = matches!(self.text[self.at], b' ' | b'\t');
            let number = self.line;
            let tokens = self.tokens()?;
            if !tokens.is_empty() {
                return Ok(Some(Line {
                    number,
                    blank_owner,
                    tokens,
                }));
            }
        }
    }

    fn tokens(&mut self) -> Result<Vec<Token<'t>>, ZoneProblem> {
        let mut tokens = Vec::new();
        let mut open: Option<ZoneProblem> = None;
        while let Some(&byte) = self.text.get(self.at) {
            match byte {
                b' ' | b'\t' | b'\r' => self.at += 1,
                b'\n' => {
                    self.newline();
                    if open.is_none() {
                        return Ok(tokens);
                    }
                }
                b';' => self.skip_comment(),
                b'(' => {
                    if open.is_some() {
                        return Err(self.fail("\"(\" inside \"(\": must be closed first"));
                    }
                    open = Some(self.problem("\"(\" is not closed"));
                    self.at += 1;
                }
                b')' => {
                    if open.take().is_none() {
                        return Err(self.fail("\")\" without \"(\""));
                    }
                    self.at += 1;
                }
                b'"' => tokens.push(self.quoted()?),
                _ => tokens.push(self.word()),
            }
            if tokens.len() > TOKENS_MAX {
                return Err(self.fail("the entry has more than 20000 words"));
            }
        }
        match open {
            Some(problem) => Err(problem),
            None => Ok(tokens),
        }
    }

    fn quoted(&mut self) -> Result<Token<'t>, ZoneProblem> {
        let (line, column) = (self.line, self.column());
        let start = self.at + 1;
        let mut at = start;
        loop {
            match self.text.get(at) {
                None => return Err(self.fail("a quoted string is not closed")),
                Some(b'"') => break,
                Some(b'\\') => at += 2,
                Some(_) => at += 1,
            }
        }
        // RFC 1035 section 5.1: any character can occur inside quotes, so lines end there
        // too.
        while let Some(end) = self.text[self.at..at]
            .iter()
            .position(|byte| *byte == b'\n')
        {
            self.at += end;
            self.newline();
        }
        self.at = at + 1;
        Ok(Token {
            text: &self.text[start..at],
            quoted: true,
            line,
            column,
        })
    }

    fn word(&mut self) -> Token<'t> {
        let (line, column) = (self.line, self.column());
        let start = self.at;
        let mut inside_quotes = false;
        while let Some(&byte) = self.text.get(self.at) {
            match byte {
                b'\n' => break,
                // `alpn="h2,h3"` is one word (RFC 9460 section 2.1).
                b'"' if self.at > start && (inside_quotes || self.text[self.at - 1] == b'=') => {
                    inside_quotes = !inside_quotes;
                    self.at += 1;
                }
                b' ' | b'\t' | b'\r' | b';' | b'(' | b')' | b'"' if !inside_quotes => break,
                b'\\'
                    if self
                        .text
                        .get(self.at + 1)
                        .is_some_and(|next| *next != b'\n') =>
                {
                    self.at += 2;
                }
                _ => self.at += 1,
            }
        }
        self.at = self.at.min(self.text.len());
        Token {
            text: &self.text[start..self.at],
            quoted: false,
            line,
            column,
        }
    }

    fn skip_comment(&mut self) {
        while self.text.get(self.at).is_some_and(|byte| *byte != b'\n') {
            self.at += 1;
        }
    }

    fn newline(&mut self) {
        self.at += 1;
        self.line += 1;
        self.line_start = self.at;
    }

    fn column(&self) -> u32 {
        (self.at - self.line_start + 1) as u32
    }

    fn problem(&self, message: &str) -> ZoneProblem {
        ZoneProblem {
            file: None,
            line: self.line,
            column: self.column(),
            message: message.to_owned(),
        }
    }

    /// A problem here; reading goes on with the next line.
    fn fail(&mut self, message: &str) -> ZoneProblem {
        let problem = self.problem(message);
        self.skip_comment();
        if self.at < self.text.len() {
            self.newline();
        }
        problem
    }
}
