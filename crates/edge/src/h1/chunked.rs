//! The chunked transfer coding taken off a body (RFC 9112 section 7.1), strictly:
//! lines end with CR LF, sizes are hexadecimal digits only, and extensions and
//! trailers, which are dropped, are bounded.

/// Bytes of one chunk-size line with its extensions.
pub const SIZE_LINE_MAX: usize = 256;
/// Bytes of the trailer section.
pub const TRAILER_MAX: usize = 4 << 10;

/// Why a body is not chunked coding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("chunked coding: {0}")]
pub struct Malformed(pub &'static str);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Size,
    /// Bad white space between a size and its extension (RFC 9112 section 7.1.1).
    Space,
    Extension,
    SizeEnd,
    Data,
    DataCr,
    DataLf,
    TrailerStart,
    Trailer,
    TrailerLf,
    LastLf,
    Done,
}

/// Takes the coding off, however the bytes are cut.
#[derive(Debug, Clone)]
pub struct Decoder {
    state: State,
    left: u64,
    digits: u8,
    line: usize,
    trailer: usize,
}

impl Default for Decoder {
    fn default() -> Self {
        Self {
            state: State::Size,
            left: 0,
            digits: 0,
            line: 0,
            trailer: 0,
        }
    }
}

/// What a step found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The bytes `from..from + length` of the input are content; all input up to
    /// their end is consumed.
    Data {
        /// Where they begin.
        from: usize,
        /// How many they are.
        length: usize,
    },
    /// All input is consumed.
    More,
    /// The body ended; so many bytes of the input are consumed.
    End {
        /// Bytes consumed.
        consumed: usize,
    },
}

impl Decoder {
    /// Whether the body has ended.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Reads on in `input`, until a piece of content or the input's end.
    ///
    /// # Errors
    /// When the input is not chunked coding, or goes beyond the bounds.
    pub fn step(&mut self, input: &[u8]) -> Result<Step, Malformed> {
        let mut at = 0;
        while at < input.len() {
            let byte = input[at];
            match self.state {
                State::Size => self.size(byte)?,
                State::Space => match byte {
                    b' ' | b'\t' => self.count_line()?,
                    b';' => {
                        self.state = State::Extension;
                        self.count_line()?;
                    }
                    _ => return Err(Malformed("a chunk size is not hexadecimal")),
                },
                State::Extension => match byte {
                    b'\r' => self.state = State::SizeEnd,
                    b'\t' | 0x20..=0x7e | 0x80.. => self.count_line()?,
                    _ => return Err(Malformed("a control character in an extension")),
                },
                State::SizeEnd => {
                    expect(byte, b'\n', "a size line does not end with CR LF")?;
                    self.line = 0;
                    self.digits = 0;
                    self.state = if self.left == 0 {
                        State::TrailerStart
                    } else {
                        State::Data
                    };
                }
                State::Data => {
                    let there = (input.len() - at) as u64;
                    let length = there.min(self.left) as usize;
                    self.left -= length as u64;
                    if self.left == 0 {
                        self.state = State::DataCr;
                    }
                    return Ok(Step::Data { from: at, length });
                }
                State::DataCr => {
                    expect(byte, b'\r', "a chunk is longer than its size")?;
                    self.state = State::DataLf;
                }
                State::DataLf => {
                    expect(byte, b'\n', "a chunk does not end with CR LF")?;
                    self.state = State::Size;
                }
                State::TrailerStart if byte == b'\r' => self.state = State::LastLf,
                State::TrailerStart | State::Trailer => {
                    self.trailer += 1;
                    if self.trailer > TRAILER_MAX {
                        return Err(Malformed("the trailer section is too large"));
                    }
                    self.state = match byte {
                        b'\r' => State::TrailerLf,
                        b'\t' | 0x20..=0x7e | 0x80.. => State::Trailer,
                        _ => return Err(Malformed("a control character in a trailer")),
                    };
                }
                State::TrailerLf => {
                    expect(byte, b'\n', "a trailer line does not end with CR LF")?;
                    self.state = State::TrailerStart;
                }
                State::LastLf => {
                    expect(byte, b'\n', "the body does not end with CR LF")?;
                    self.state = State::Done;
                    return Ok(Step::End { consumed: at + 1 });
                }
                State::Done => return Ok(Step::End { consumed: at }),
            }
            at += 1;
        }
        Ok(if self.is_done() {
            Step::End { consumed: at }
        } else {
            Step::More
        })
    }

    fn size(&mut self, byte: u8) -> Result<(), Malformed> {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            _ if self.digits == 0 => return Err(Malformed("a chunk has no size")),
            b'\r' => {
                self.state = State::SizeEnd;
                return Ok(());
            }
            b';' => {
                self.state = State::Extension;
                return self.count_line();
            }
            b' ' | b'\t' => {
                self.state = State::Space;
                return self.count_line();
            }
            _ => return Err(Malformed("a chunk size is not hexadecimal")),
        };
        // Fifteen digits hold any size that can be sent and never overflow.
        if self.digits == 15 {
            return Err(Malformed("a chunk size is too large"));
        }
        self.left = if self.digits == 0 { 0 } else { self.left << 4 } | u64::from(digit);
        self.digits += 1;
        self.count_line()
    }

    fn count_line(&mut self) -> Result<(), Malformed> {
        self.line += 1;
        if self.line > SIZE_LINE_MAX {
            return Err(Malformed("a chunk-size line is too long"));
        }
        Ok(())
    }
}

fn expect(byte: u8, wanted: u8, rule: &'static str) -> Result<(), Malformed> {
    if byte == wanted {
        Ok(())
    } else {
        Err(Malformed(rule))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(input: &[u8], cut: usize) -> Result<(Vec<u8>, Option<usize>), Malformed> {
        let mut decoder = Decoder::default();
        let (mut content, mut at) = (Vec::new(), 0);
        while at < input.len() {
            let end = (at + cut).min(input.len());
            match decoder.step(&input[at..end])? {
                Step::Data { from, length } => {
                    content.extend_from_slice(&input[at + from..at + from + length]);
                    at += from + length;
                }
                Step::More => at = end,
                Step::End { consumed } => return Ok((content, Some(at + consumed))),
            }
        }
        Ok((content, None))
    }

    #[test]
    fn cutting_the_input_anywhere_changes_nothing() {
        let input = b"4;name=\"v\"\r\nWiki\r\nA\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\nGET";
        for cut in 1..=input.len() {
            let (content, end) = decode(input, cut).expect("chunked coding");
            assert_eq!(content, b"Wiki0123456789");
            assert_eq!(end, Some(input.len() - 3));
        }
    }

    #[test]
    fn white_space_before_an_extension_is_read_over() {
        let (content, end) = decode(b"3 \t;a=b\r\none\r\n0\r\n\r\n", 64).expect("chunked coding");
        assert_eq!((content.as_slice(), end), (&b"one"[..], Some(19)));
    }

    #[test]
    fn everything_else_is_refused() {
        for wrong in [
            "\r\n",
            ";x\r\n",
            "g\r\n",
            "0x1\r\na",
            " 1\r\na",
            "1 \r\na",
            "1 2\r\na",
            "-1\r\n",
            "1\na\r\n",
            "1\r\nab",
            "1\r\na\n",
            "1\r\na\r\r",
            "1\r\rx",
            "0\r\n\n",
            "0\r\nX: y\n",
            "0\r\n\rx",
            "1;\0\r\n",
            "fffffffffffffffff\r\n",
            "0\r\nX\0: y\r\n\r\n",
        ] {
            assert!(decode(wrong.as_bytes(), 64).is_err(), "{wrong:?}");
        }
        let long = format!("1;{}", "x".repeat(SIZE_LINE_MAX));
        assert!(decode(long.as_bytes(), 64).is_err());
        let trailer = format!("0\r\nX: {}", "x".repeat(TRAILER_MAX));
        assert!(decode(trailer.as_bytes(), 64).is_err());
    }

    #[test]
    fn a_hundred_thousand_mutations_do_not_panic_or_read_beyond_the_input() {
        let seed = b"4;a=b\r\nWiki\r\n5\r\npedia\r\n0\r\nX: y\r\n\r\n";
        let mut random = crate::random::Random::seeded(11);
        let (mut whole, mut refused) = (0_u32, 0_u32);
        for _ in 0..100_000 {
            let mut input = seed.to_vec();
            for _ in 0..=random.below(3) {
                let at = random.below(input.len() as u64) as usize;
                input[at] = b"0123456789abcdefgz;\r\n \0x"[random.below(24) as usize];
            }
            match decode(&input, 1 + random.below(40) as usize) {
                Ok((content, end)) => {
                    assert!(content.len() <= input.len() && end.unwrap_or(0) <= input.len());
                    whole += u32::from(end.is_some());
                }
                Err(_) => refused += 1,
            }
        }
        assert!(
            whole > 1_000 && refused > 1_000,
            "{whole} whole, {refused} refused"
        );
    }
}
