//! Master files (RFC 1035 section 5.1, RFC 2308 section 4 for `$TTL`, RFC 3597 for
//! unknown types). `$INCLUDE` is refused: a zone is one text, whole, so that what was
//! checked is what is served.

mod lexer;
mod loc;
mod rdata;
mod svcb;

use crate::kind::{CLASS_IN, Kind};
use crate::name::Name;
use lexer::{Lexer, Line, Token};

/// Bytes of the longest master file.
pub const FILE_BYTES_MAX: usize = 256 << 20;
/// Records of the largest master file.
pub const RECORDS_MAX: usize = 4_000_000;
/// Problems collected before reading stops.
pub const PROBLEMS_MAX: usize = 50;
/// The largest TTL (RFC 2181 section 8).
pub const TTL_MAX: u32 = i32::MAX as u32;

/// One record of a zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Owner, absolute.
    pub owner: Name,
    /// Seconds.
    pub ttl: u32,
    /// Type.
    pub kind: Kind,
    /// RDATA in wire form, names uncompressed.
    pub rdata: Box<[u8]>,
    /// Line of the file where it begins, from 1; 0 when it came from elsewhere.
    pub line: u32,
}

/// Something wrong at a place of a master file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
pub struct ZoneProblem {
    /// From 1; 0 when it concerns the zone as a whole.
    pub line: u32,
    /// From 1.
    pub column: u32,
    /// The thing, its value, and the rule that it breaks.
    pub message: String,
}

/// What is wrong with a token; the parser adds the place.
type Wrong = (usize, String);

/// Reads a master file.
///
/// # Errors
/// All problems found, up to [`PROBLEMS_MAX`]; the records are then not to be used.
pub fn parse(origin: &Name, text: &[u8]) -> Result<Vec<Record>, Vec<ZoneProblem>> {
    if text.len() > FILE_BYTES_MAX {
        return Err(vec![ZoneProblem {
            line: 0,
            column: 0,
            message: format!(
                "the file has {} bytes: must be at most {FILE_BYTES_MAX}",
                text.len()
            ),
        }]);
    }
    let mut parser = Parser {
        origin: origin.clone(),
        default_ttl: None,
        last_ttl: None,
        soa_minimum: None,
        owner: None,
        records: Vec::new(),
    };
    let mut problems = Vec::new();
    let mut lexer = Lexer::new(text);
    loop {
        match lexer.line() {
            Ok(None) => break,
            Ok(Some(line)) => {
                if let Err((index, message)) = parser.line(&line) {
                    let place = line.tokens.get(index).or(line.tokens.last());
                    problems.push(ZoneProblem {
                        line: place.map_or(line.number, |token| token.line),
                        column: place.map_or(1, |token| token.column),
                        message,
                    });
                }
            }
            Err(problem) => problems.push(problem),
        }
        if problems.len() >= PROBLEMS_MAX {
            break;
        }
    }
    if problems.is_empty() {
        Ok(parser.records)
    } else {
        Err(problems)
    }
}

struct Parser {
    origin: Name,
    default_ttl: Option<u32>,
    last_ttl: Option<u32>,
    soa_minimum: Option<u32>,
    owner: Option<Name>,
    records: Vec<Record>,
}

impl Parser {
    fn line(&mut self, line: &Line<'_>) -> Result<(), Wrong> {
        let tokens = line.tokens.as_slice();
        let Some(first) = tokens.first() else {
            return Ok(());
        };
        if first.text.starts_with(b"$") && !first.quoted && !line.blank_owner {
            return self.directive(tokens);
        }
        let mut at = 0;
        if !line.blank_owner {
            let owner = Name::parse(first.text, Some(&self.origin));
            self.owner = Some(owner.map_err(|error| (0, error.to_string()))?);
            at = 1;
        }
        let owner = self.owner.clone().ok_or((
            0,
            "the first record has no owner: a line may begin with a blank only after another record"
                .to_owned(),
        ))?;
        let (ttl, class_seen) = (&mut None, &mut false);
        let kind = loop {
            let Some(token) = tokens.get(at) else {
                return Err((at, format!("the record of {owner} has no type")));
            };
            let text = token.as_str().unwrap_or("");
            at += 1;
            if ttl.is_none()
                && text.starts_with(|c: char| c.is_ascii_digit())
                && let Some(seconds) = parse_ttl(text)
            {
                *ttl = Some(seconds);
                continue;
            }
            if !*class_seen && text.eq_ignore_ascii_case("IN") {
                *class_seen = true;
                continue;
            }
            if matches!(
                text.to_ascii_uppercase().as_str(),
                "CH" | "HS" | "CS" | "NONE"
            ) || (text.len() > 5 && text[..5].eq_ignore_ascii_case("CLASS"))
            {
                if text.eq_ignore_ascii_case("CLASS1") {
                    continue;
                }
                return Err((at - 1, format!("class {text:?}: must be IN")));
            }
            break Kind::parse(text).ok_or_else(|| {
                (
                    at - 1,
                    format!("{:?} is not a record type, class or TTL", token.lossy()),
                )
            })?;
        };
        if kind.is_meta() {
            return Err((
                at - 1,
                format!("type {kind}: a zone cannot hold a query type"),
            ));
        }
        let rdata = rdata::parse(kind, &tokens[at..], &self.origin)
            .map_err(|(index, message)| (at + index, message))?;
        let ttl = self.choose_ttl(*ttl, kind, &rdata).ok_or((
            0,
            format!("the record of {owner} has no TTL: give one, or $TTL before it"),
        ))?;
        if self.records.len() >= RECORDS_MAX {
            return Err((0, format!("the zone has more than {RECORDS_MAX} records")));
        }
        self.records.push(Record {
            owner,
            ttl,
            kind,
            rdata: rdata.into(),
            line: line.number,
        });
        Ok(())
    }

    /// RFC 2308 section 4: own TTL, else `$TTL`, else that of the record before,
    /// else the SOA's MINIMUM.
    fn choose_ttl(&mut self, own: Option<u32>, kind: Kind, rdata: &[u8]) -> Option<u32> {
        if kind == Kind::SOA
            && let Some(minimum) = rdata.last_chunk::<4>()
        {
            self.soa_minimum = Some(u32::from_be_bytes(*minimum).min(TTL_MAX));
        }
        let ttl = own
            .or(self.default_ttl)
            .or(self.last_ttl)
            .or(self.soa_minimum)?;
        self.last_ttl = Some(ttl);
        Some(ttl)
    }

    fn directive(&mut self, tokens: &[Token<'_>]) -> Result<(), Wrong> {
        let name = tokens[0].lossy().to_ascii_uppercase();
        let argument = tokens
            .get(1)
            .ok_or_else(|| (0, format!("{name} has no value")))?;
        if let Some(extra) = tokens.get(2)
            && matches!(name.as_str(), "$ORIGIN" | "$TTL")
        {
            return Err((
                2,
                format!("{:?} after {name}: must end the line", extra.lossy()),
            ));
        }
        match name.as_str() {
            "$ORIGIN" => {
                self.origin = Name::parse(argument.text, Some(&self.origin))
                    .map_err(|error| (1, error.to_string()))?;
            }
            "$TTL" => {
                let ttl = argument.as_str().and_then(parse_ttl);
                self.default_ttl = Some(ttl.ok_or_else(|| {
                    let text = argument.lossy();
                    (1, format!("$TTL {text:?}: must be seconds, or numbers with s, m, h, d or w, up to {TTL_MAX}"))
                })?);
            }
            "$INCLUDE" => {
                return Err((
                    0,
                    format!(
                        "$INCLUDE {:?}: is refused, a zone must be one text",
                        argument.lossy()
                    ),
                ));
            }
            _ => return Err((0, format!("{name:?}: must be $ORIGIN or $TTL"))),
        }
        Ok(())
    }
}

/// Reads `3600`, `1h`, `1h30m`, `1W2D`.
pub(crate) fn parse_ttl(text: &str) -> Option<u32> {
    let mut total = 0_u64;
    let mut number: Option<u64> = None;
    let mut united = false;
    for byte in text.bytes() {
        if byte.is_ascii_digit() {
            let next = number.unwrap_or(0) * 10 + u64::from(byte - b'0');
            if next > u64::from(TTL_MAX) {
                return None;
            }
            number = Some(next);
            continue;
        }
        let unit = match byte.to_ascii_lowercase() {
            b's' => 1,
            b'm' => 60,
            b'h' => 3_600,
            b'd' => 86_400,
            b'w' => 604_800,
            _ => return None,
        };
        united = true;
        total += number.take()? * unit;
    }
    match number {
        // "1h30" has a number without a unit.
        Some(_) if united => return None,
        Some(number) => total += number,
        None if !united => return None,
        None => {}
    }
    u32::try_from(total).ok().filter(|ttl| *ttl <= TTL_MAX)
}

/// Class IN is the only one: said here so that the writer and the parser agree.
const _: () = assert!(CLASS_IN == 1);

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Record>, Vec<ZoneProblem>> {
        parse(&"example.".parse().expect("a name"), text.as_bytes())
    }

    fn problem(text: &str) -> String {
        read(text).expect_err(text)[0].to_string()
    }

    #[test]
    fn owners_ttls_and_classes_come_in_every_order() {
        let records = read(
            "$TTL 1h\n@ IN SOA ns hostmaster ( 1 ; serial\n  2h 30m 1w 5m )\n\
             \tNS ns\nns 60 IN A 192.0.2.1\n   IN 1d AAAA 2001:db8::1\n$ORIGIN sub\nwww CNAME @\n",
        )
        .expect("a zone");
        let seen: Vec<_> = records
            .iter()
            .map(|r| format!("{} {} {} {}", r.owner, r.ttl, r.kind, r.line))
            .collect();
        assert_eq!(
            seen,
            [
                "example. 3600 SOA 2",
                "example. 3600 NS 4",
                "ns.example. 60 A 5",
                "ns.example. 86400 AAAA 6",
                "www.sub.example. 3600 CNAME 8",
            ]
        );
        assert_eq!(&*records[4].rdata, b"\x03sub\x07example\0");
        assert_eq!(
            records[0].rdata[records[0].rdata.len() - 20..],
            [
                0, 0, 0, 1, 0, 0, 0x1c, 0x20, 0, 0, 7, 8, 0, 9, 0x3a, 0x80, 0, 0, 1, 0x2c
            ]
        );
    }

    #[test]
    fn problems_name_place_thing_and_rule() {
        for (text, expected) in [
            (
                "a 60 A 1.2.3",
                "line 1, column 8: \"1.2.3\" is not an IPv4 address",
            ),
            (
                "\n a 60 A 192.0.2.1",
                "line 2, column 2: the first record has no owner",
            ),
            ("a A 192.0.2.1", "no TTL"),
            ("a 60 CH A 192.0.2.1", "class \"CH\": must be IN"),
            (
                "a 60 ANY 192.0.2.1",
                "type ANY: a zone cannot hold a query type",
            ),
            (
                "a 60 FOO 1",
                "line 1, column 6: \"FOO\" is not a record type",
            ),
            ("a 60", "has no type"),
            ("$INCLUDE other", "is refused"),
            ("$TTL 1x", "$TTL \"1x\": must be seconds"),
            ("$GENERATE 1-2 a A", "must be"),
            ("a 60 TXT \"open", "is not closed"),
            ("a 60 SOA ( a b", "is not closed"),
            ("a 60 A 192.0.2.1 )", "without"),
            ("a 60 A 192.0.2.1 9", "line 1, column 18: \"9\""),
            ("a..b 60 A 192.0.2.1", "a label must not be empty"),
        ] {
            let found = problem(text);
            assert!(found.contains(expected), "{text:?}: {found}");
        }
    }

    #[test]
    fn ttls_have_units_and_a_limit() {
        assert_eq!(parse_ttl("1h30m"), Some(5_400));
        assert_eq!(parse_ttl("2147483647"), Some(TTL_MAX));
        for bad in [
            "",
            "h",
            "1h30",
            "2147483648",
            "99999999999999999999w",
            "1w1w1w9999999w",
        ] {
            assert_eq!(parse_ttl(bad), None, "{bad}");
        }
    }
}
