//! Master files (RFC 1035 section 5.1, RFC 2308 section 4 for `$TTL`, RFC 3597 for
//! unknown types). [`parse`] takes one text, whole, and refuses `$INCLUDE`: what was
//! checked is what is published. [`parse_file`] is for a file on disk and reads what it
//! includes through a function that the caller gives.

mod lexer;
mod loc;
mod rdata;
mod shape;
mod special;
mod svcb;
mod text;

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use crate::kind::{CLASS_IN, Kind};
use crate::name::Name;
use lexer::{Lexer, Line, Token};

/// Bytes of the longest master file, with all that it includes.
pub const FILE_BYTES_MAX: usize = 256 << 20;
/// Records of the largest master file.
pub const RECORDS_MAX: usize = 4_000_000;
/// Problems collected before reading stops.
pub const PROBLEMS_MAX: usize = 50;
/// Files that one zone may include, each time counted.
pub const INCLUDES_MAX: usize = 1_000;
/// How deep included files may include others.
pub const INCLUDE_DEPTH_MAX: usize = 8;
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
    /// Where it begins.
    pub place: Place,
}

/// A line of a zone's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// 0: the file itself; else the number of the included file, from 1.
    pub file: u16,
    /// From 1; 0 when it concerns the zone as a whole.
    pub line: u32,
}

impl Place {
    /// The zone as a whole.
    pub const WHOLE: Self = Self { file: 0, line: 0 };

    /// The included file, if it is one.
    pub(crate) fn included_in(self, files: &[PathBuf]) -> Option<PathBuf> {
        let index = usize::from(self.file).checked_sub(1)?;
        files.get(index).cloned()
    }
}

/// What a master file holds, with all that it includes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Contents {
    /// In the order of the text.
    pub records: Vec<Record>,
    /// The included files, in the order in which they were read.
    pub files: Vec<PathBuf>,
}

impl From<Vec<Record>> for Contents {
    fn from(records: Vec<Record>) -> Self {
        Self {
            records,
            files: Vec::new(),
        }
    }
}

/// Where a master file lies, and how those that it includes are read.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// The file itself: a relative name in it is looked for beside it.
    pub path: &'a Path,
    /// Reads a file; need not give more than one byte over [`FILE_BYTES_MAX`].
    pub read: &'a dyn Fn(&Path) -> io::Result<Vec<u8>>,
}

/// Something wrong at a place of a master file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}line {line}, column {column}: {message}", in_file(.file.as_deref()))]
pub struct ZoneProblem {
    /// The included file; none when it is the file itself.
    pub file: Option<PathBuf>,
    /// From 1; 0 when it concerns the zone as a whole.
    pub line: u32,
    /// From 1.
    pub column: u32,
    /// The thing, its value, and the rule that it breaks.
    pub message: String,
}

fn in_file(file: Option<&Path>) -> String {
    file.map_or_else(String::new, |file| format!("{}, ", file.display()))
}

/// What is wrong with a token; the parser adds the place.
type Wrong = (usize, String);

/// Reads a master file that stands alone: `$INCLUDE` is refused.
///
/// # Errors
/// All problems found, up to [`PROBLEMS_MAX`]; the records are then not to be used.
pub fn parse(origin: &Name, text: &[u8]) -> Result<Vec<Record>, Vec<ZoneProblem>> {
    Parser::new(origin, None)
        .run(text)
        .map(|contents| contents.records)
}

/// Reads a master file and those that it includes.
///
/// # Errors
/// As [`parse`]; and an included file that cannot be read, includes itself, or makes
/// them too many, too deep or too large.
pub fn parse_file(
    origin: &Name,
    text: &[u8],
    source: Source<'_>,
) -> Result<Contents, Vec<ZoneProblem>> {
    Parser::new(origin, Some(source)).run(text)
}

/// What an entry takes from those before it; an included file has its own.
#[derive(Clone)]
struct Context {
    origin: Name,
    default_ttl: Option<u32>,
    last_ttl: Option<u32>,
    owner: Option<Name>,
}

struct Parser<'s> {
    source: Option<Source<'s>>,
    context: Context,
    soa_minimum: Option<u32>,
    /// Bytes read, over all files.
    bytes: usize,
    /// The files being read, the outermost first, each with its number.
    open: Vec<(PathBuf, u16)>,
    contents: Contents,
    problems: Vec<ZoneProblem>,
}

impl<'s> Parser<'s> {
    fn new(origin: &Name, source: Option<Source<'s>>) -> Self {
        let path = source.map_or_else(PathBuf::new, |source| source.path.to_owned());
        Self {
            source,
            context: Context {
                origin: origin.clone(),
                default_ttl: None,
                last_ttl: None,
                owner: None,
            },
            soa_minimum: None,
            bytes: 0,
            open: vec![(path, 0)],
            contents: Contents::default(),
            problems: Vec::new(),
        }
    }

    fn run(mut self, text: &[u8]) -> Result<Contents, Vec<ZoneProblem>> {
        if text.len() > FILE_BYTES_MAX {
            let length = text.len();
            self.problem(
                0,
                0,
                format!("the file has {length} bytes: must be at most {FILE_BYTES_MAX}"),
            );
        } else {
            self.bytes = text.len();
            self.text(text);
        }
        if self.problems.is_empty() {
            Ok(self.contents)
        } else {
            Err(self.problems)
        }
    }

    /// Reads one file, from its first line to its last.
    fn text(&mut self, text: &[u8]) {
        let mut lexer = Lexer::new(text);
        while self.problems.len() < PROBLEMS_MAX {
            match lexer.line() {
                Ok(None) => break,
                Ok(Some(line)) => {
                    if let Err((index, message)) = self.line(&line) {
                        let place = line.tokens.get(index).or(line.tokens.last());
                        let (line, column) =
                            place.map_or((line.number, 1), |token| (token.line, token.column));
                        self.problem(line, column, message);
                    }
                }
                Err(problem) => self.problem(problem.line, problem.column, problem.message),
            }
        }
    }

    fn file(&self) -> u16 {
        self.open.last().map_or(0, |(_, number)| *number)
    }

    fn problem(&mut self, line: u32, column: u32, message: String) {
        let file = self.file();
        self.problems.push(ZoneProblem {
            file: Place { file, line }.included_in(&self.contents.files),
            line,
            column,
            message,
        });
    }

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
            let owner = Name::parse(first.text, Some(&self.context.origin));
            self.context.owner = Some(owner.map_err(|error| (0, error.to_string()))?);
            at = 1;
        }
        let owner = self.context.owner.clone().ok_or((
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
                && let Some(seconds) = parse_time(text)
            {
                *ttl = Some(as_ttl(seconds));
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
        let rdata = rdata::parse(kind, &tokens[at..], &self.context.origin)
            .map_err(|(index, message)| (at + index, message))?;
        let ttl = self.choose_ttl(*ttl, kind, &rdata).ok_or((
            0,
            format!("the record of {owner} has no TTL: give one, or $TTL before it"),
        ))?;
        if self.contents.records.len() >= RECORDS_MAX {
            return Err((0, format!("the zone has more than {RECORDS_MAX} records")));
        }
        self.contents.records.push(Record {
            owner,
            ttl,
            kind,
            rdata: rdata.into(),
            place: Place {
                file: self.file(),
                line: line.number,
            },
        });
        Ok(())
    }

    /// RFC 2308 section 4: own TTL, else `$TTL`, else that of the record before,
    /// else the SOA's MINIMUM.
    fn choose_ttl(&mut self, own: Option<u32>, kind: Kind, rdata: &[u8]) -> Option<u32> {
        if kind == Kind::SOA
            && let Some(minimum) = rdata.last_chunk::<4>()
        {
            self.soa_minimum = Some(as_ttl(u32::from_be_bytes(*minimum)));
        }
        let ttl = own
            .or(self.context.default_ttl)
            .or(self.context.last_ttl)
            .or(self.soa_minimum)?;
        self.context.last_ttl = Some(ttl);
        Some(ttl)
    }

    fn directive(&mut self, tokens: &[Token<'_>]) -> Result<(), Wrong> {
        let name = tokens[0].lossy().to_ascii_uppercase();
        let argument = tokens
            .get(1)
            .ok_or_else(|| (0, format!("{name} has no value")))?;
        let most = if name == "$INCLUDE" { 3 } else { 2 };
        if let Some(extra) = tokens.get(most)
            && matches!(name.as_str(), "$ORIGIN" | "$TTL" | "$INCLUDE")
        {
            return Err((
                most,
                format!("{:?} after {name}: must end the line", extra.lossy()),
            ));
        }
        match name.as_str() {
            "$ORIGIN" => {
                self.context.origin = Name::parse(argument.text, Some(&self.context.origin))
                    .map_err(|error| (1, error.to_string()))?;
            }
            "$TTL" => {
                let ttl = argument.as_str().and_then(parse_time).map(as_ttl);
                self.context.default_ttl = Some(ttl.ok_or_else(|| {
                    let text = argument.lossy();
                    (1, format!("$TTL {text:?}: must be seconds, or numbers with s, m, h, d or w, up to {}", u32::MAX))
                })?);
            }
            "$INCLUDE" => self.include(argument, tokens.get(2))?,
            _ => {
                return Err((0, format!("{name:?}: must be $ORIGIN, $TTL or $INCLUDE")));
            }
        }
        Ok(())
    }

    /// RFC 1035 section 5.1: the file's entries are read here, relative to `origin` if
    /// there is one; then all goes on as it was before.
    fn include(&mut self, file: &Token<'_>, origin: Option<&Token<'_>>) -> Result<(), Wrong> {
        let refused = |rule: String| (1, format!("$INCLUDE {:?}: {rule}", file.lossy()));
        let Some(source) = self.source else {
            return Err(refused(
                "is refused here, the zone must be one text".to_owned(),
            ));
        };
        let name = rdata::unescape_all(file.text)
            .filter(|name| !name.is_empty() && !name.contains(&0))
            .ok_or_else(|| refused("must be the name of a file".to_owned()))?;
        let beside = self.open.last().and_then(|(path, _)| path.parent());
        let path = beside
            .unwrap_or(Path::new(""))
            .join(OsString::from_vec(name));
        if self.open.iter().any(|(open, _)| *open == path) {
            return Err(refused("a file must not include itself".to_owned()));
        }
        // The outermost file is included by none.
        if self.open.len() > INCLUDE_DEPTH_MAX {
            return Err(refused(format!(
                "included files must be at most {INCLUDE_DEPTH_MAX} deep"
            )));
        }
        if self.contents.files.len() >= INCLUDES_MAX {
            return Err(refused(format!(
                "a zone must include at most {INCLUDES_MAX} files"
            )));
        }
        let mut context = self.context.clone();
        if let Some(token) = origin {
            context.origin = Name::parse(token.text, Some(&self.context.origin))
                .map_err(|error| (2, error.to_string()))?;
        }
        let text = (source.read)(&path)
            .map_err(|error| refused(format!("{}: {error}", path.display())))?;
        self.bytes += text.len();
        if self.bytes > FILE_BYTES_MAX {
            return Err(refused(format!(
                "the zone's files have more than {FILE_BYTES_MAX} bytes"
            )));
        }
        self.contents.files.push(path.clone());
        let number = self.contents.files.len() as u16;
        let outer = std::mem::replace(&mut self.context, context);
        self.open.push((path, number));
        self.text(&text);
        self.open.pop();
        self.context = outer;
        Ok(())
    }
}

/// A TTL with its highest bit set counts as 0 (RFC 2181 section 8).
const fn as_ttl(seconds: u32) -> u32 {
    if seconds > TTL_MAX { 0 } else { seconds }
}

/// Reads `3600`, `1h`, `1h30m`, `1W2D`: up to 32 bits of seconds.
pub(crate) fn parse_time(text: &str) -> Option<u32> {
    let mut total = 0_u64;
    let mut number: Option<u64> = None;
    let mut united = false;
    for byte in text.bytes() {
        if byte.is_ascii_digit() {
            let next = number.unwrap_or(0) * 10 + u64::from(byte - b'0');
            if next > u64::from(u32::MAX) {
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
    u32::try_from(total).ok()
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
            .map(|r| format!("{} {} {} {}", r.owner, r.ttl, r.kind, r.place.line))
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
            (
                "$INCLUDE other",
                "line 1, column 10: $INCLUDE \"other\": is refused here",
            ),
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
        assert_eq!(parse_time("1h30m"), Some(5_400));
        assert_eq!(parse_time("2147483647"), Some(TTL_MAX));
        assert_eq!(parse_time("4294967295"), Some(u32::MAX));
        for bad in [
            "",
            "h",
            "1h30",
            "4294967296",
            "99999999999999999999w",
            "1w1w1w9999999w",
        ] {
            assert_eq!(parse_time(bad), None, "{bad}");
        }
        let records = read(
            "a 2147483648 A 192.0.2.1\nb 2147483647 A 192.0.2.1\n$TTL 4294967295\nc A 192.0.2.1",
        )
        .expect("a zone");
        let ttls: Vec<u32> = records.iter().map(|record| record.ttl).collect();
        assert_eq!(ttls, [0, TTL_MAX, 0], "RFC 2181 section 8");
        assert!(problem("a 4294967296 A 192.0.2.1").contains("is not a record type"));
    }

    #[test]
    fn a_quoted_string_may_go_over_lines() {
        let records =
            read("a 60 TXT \"x\n y\" z\nb 60 TXT \"p\\\nq\"\nc 60 A 192.0.2.1").expect("a zone");
        assert_eq!(&*records[0].rdata, b"\x04x\n y\x01z");
        assert_eq!(&*records[1].rdata, b"\x03p\nq");
        assert_eq!((records[1].place.line, records[2].place.line), (3, 5));
        let late = problem("a 60 A 192.0.2.1\nb 60 TXT \"x\ny\" \"\n\" \\300");
        assert!(late.starts_with("line 4, column 3:"), "{late}");
        let open = problem("a 60 TXT \"x\nb 60 A 192.0.2.1\n");
        assert!(
            open.starts_with("line 1, column 10: a quoted string is not closed"),
            "{open}"
        );
    }

    /// Reads `main` at `/z/main` with these files around it.
    fn read_with(main: &str, files: &[(&str, &str)]) -> Result<Contents, Vec<ZoneProblem>> {
        let read = |path: &Path| {
            let found = files.iter().find(|(name, _)| Path::new(name) == path);
            found
                .map(|(_, text)| text.as_bytes().to_vec())
                .ok_or_else(|| io::ErrorKind::NotFound.into())
        };
        let source = Source {
            path: Path::new("/z/main"),
            read: &read,
        };
        let origin = "example.".parse().expect("a name");
        parse_file(&origin, main.as_bytes(), source)
    }

    #[test]
    fn included_files_are_read_in_place_and_change_nothing_outside() {
        let contents = read_with(
            "$TTL 60\nwww A 192.0.2.1\n$INCLUDE sub/one sub ; the first\n  TXT back\n\
             $INCLUDE \"/abs/t wo\"\nend A 192.0.2.9\n",
            &[
                (
                    "/z/sub/one",
                    "  TXT inherits\na A 192.0.2.2\n$ORIGIN deep\n$TTL 5\n$INCLUDE three\nb A 192.0.2.3\n",
                ),
                ("/z/sub/three", "c A 192.0.2.4\n"),
                ("/abs/t wo", "d A 192.0.2.5"),
            ],
        )
        .expect("a zone");
        let seen: Vec<_> = contents
            .records
            .iter()
            .map(|r| {
                format!(
                    "{} {} {} {}:{}",
                    r.owner, r.ttl, r.kind, r.place.file, r.place.line
                )
            })
            .collect();
        assert_eq!(
            seen,
            [
                "www.example. 60 A 0:2",
                "www.example. 60 TXT 1:1",
                "a.sub.example. 60 A 1:2",
                "c.deep.sub.example. 5 A 2:1",
                "b.deep.sub.example. 5 A 1:6",
                "www.example. 60 TXT 0:4",
                "d.example. 60 A 3:1",
                "end.example. 60 A 0:6",
            ]
        );
        let files: Vec<_> = contents
            .files
            .iter()
            .map(|file| file.display().to_string())
            .collect();
        assert_eq!(files, ["/z/sub/one", "/z/sub/three", "/abs/t wo"]);
    }

    #[test]
    fn what_cannot_be_included_is_refused_with_file_and_place() {
        let refused = |main: &str, files: &[(&str, &str)]| {
            let problems = read_with(main, files).expect_err(main);
            problems
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("\n")
        };
        for (main, files, expected) in [
            (
                "$INCLUDE gone",
                &[][..],
                "line 1, column 10: $INCLUDE \"gone\": /z/gone: ",
            ),
            ("$INCLUDE", &[], "has no value"),
            ("$INCLUDE \"\"", &[], "must be the name of a file"),
            (
                "$INCLUDE a b c",
                &[],
                "line 1, column 14: \"c\" after $INCLUDE",
            ),
            (
                "$INCLUDE a b..c",
                &[("/z/a", "")],
                "a label must not be empty",
            ),
            ("$INCLUDE main", &[], "must not include itself"),
            (
                "$INCLUDE a",
                &[("/z/a", "\n$INCLUDE b"), ("/z/b", "$INCLUDE a")],
                "/z/b, line 1, column 10: $INCLUDE \"a\": a file must not include itself",
            ),
            (
                "$INCLUDE a",
                &[("/z/a", "x 60 A 192.0.2.1\ny 60 A 1.2.3")],
                "/z/a, line 2, column 8: \"1.2.3\" is not an IPv4 address",
            ),
        ] {
            let found = refused(main, files);
            assert!(
                found.starts_with(expected) || found.contains(expected),
                "{main}: {found}"
            );
        }
        let names: Vec<String> = (0..=INCLUDE_DEPTH_MAX).map(|n| format!("/z/{n}")).collect();
        let texts: Vec<String> = (1..=names.len()).map(|n| format!("$INCLUDE {n}")).collect();
        let chain: Vec<(&str, &str)> = names
            .iter()
            .zip(&texts)
            .map(|(name, text)| (&**name, &**text))
            .collect();
        let deep = refused("$INCLUDE 0", &chain);
        assert!(deep.contains("at most 8 deep"), "{deep}");
        let many = refused(&"$INCLUDE a\n".repeat(INCLUDES_MAX + 1), &[("/z/a", "")]);
        assert!(
            many.starts_with("line 1001, column 10:") && many.contains("at most 1000"),
            "{many}"
        );
    }
}
