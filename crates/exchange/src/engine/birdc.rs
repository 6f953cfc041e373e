//! BIRD's control protocol, spoken over its Unix socket, and readers of its answers.
//!
//! Every line of an answer has a code of four digits and `-` (more follows) or a blank (the last one);
//! a line that begins with a blank carries the code before it. Codes from 8000 are errors. The texts
//! are BIRD 2.0's; what is not understood is passed over, never guessed.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use base::Prefix;
use serde::Serialize;

use super::{EngineError, SessionState};
use crate::community::LargeCommunity;
use crate::mrt::{AsPath, Segment};

/// How long the daemon may be silent.
pub const TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of one line; what is longer is cut.
const LINE_BYTES_MAX: u64 = 256 << 10;
/// AS numbers and communities of each kind kept of one route.
const LIST_MAX: usize = 10_000;

/// A conversation with BIRD.
#[derive(Debug)]
pub struct Client {
    socket: String,
    stream: BufReader<UnixStream>,
}

impl Client {
    /// Connects to the control socket and reads the greeting.
    ///
    /// # Errors
    /// When nobody answers there in time.
    pub fn connect(socket: &Path, timeout: Duration) -> Result<Self, EngineError> {
        let name = socket.display().to_string();
        let silent = |source| EngineError::Silent {
            socket: name.clone(),
            source,
        };
        let stream = UnixStream::connect(socket).map_err(silent)?;
        stream.set_read_timeout(Some(timeout)).map_err(silent)?;
        stream.set_write_timeout(Some(timeout)).map_err(silent)?;
        let mut client = Self {
            socket: name,
            stream: BufReader::with_capacity(64 << 10, stream),
        };
        client.read_answer("greeting", &mut |_, _| ControlFlow::Continue(()))?;
        Ok(client)
    }

    /// Asks `command` and gives each line of the answer, with its code, to `line`.
    ///
    /// # Errors
    /// When the daemon refuses or does not answer.
    pub fn ask(
        &mut self,
        command: &str,
        line: &mut dyn FnMut(u16, &str),
    ) -> Result<(), EngineError> {
        let sent = self
            .stream
            .get_mut()
            .write_all(format!("{command}\n").as_bytes());
        sent.map_err(|source| self.silent(source))?;
        self.read_answer(command, &mut |code, text| {
            line(code, text);
            ControlFlow::Continue(())
        })
    }

    /// The routes that `what` selects until `each` has enough. The conversation ends with it: the daemon
    /// stops listing when nobody reads.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub fn routes_until(
        mut self,
        what: &str,
        each: &mut dyn FnMut(Route) -> ControlFlow<()>,
    ) -> Result<(), EngineError> {
        let command = format!("show route {what} all");
        let mut reader = Routes::new(what.split_whitespace().any(|word| word == "filtered"));
        let sent = self
            .stream
            .get_mut()
            .write_all(format!("{command}\n").as_bytes());
        sent.map_err(|source| self.silent(source))?;
        let mut enough = false;
        self.read_answer(
            &command,
            &mut |code, line| match reader.line(code, line).map(&mut *each) {
                Some(ControlFlow::Break(())) => {
                    enough = true;
                    ControlFlow::Break(())
                }
                _ => ControlFlow::Continue(()),
            },
        )?;
        if !enough && let Some(route) = reader.finish() {
            // It was the last one anyway.
            if let ControlFlow::Break(()) = each(route) {}
        }
        Ok(())
    }

    /// The BGP sessions.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub fn sessions(&mut self) -> Result<Vec<SessionState>, EngineError> {
        let mut reader = Sessions::default();
        self.ask("show protocols all", &mut |code, line| {
            reader.line(code, line)
        })?;
        Ok(reader.finish())
    }

    /// The routes that `what` selects (`filtered`, `protocol x`, `table y`, `for 192.0.2.1` …), one by one.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub fn routes(&mut self, what: &str, each: &mut dyn FnMut(Route)) -> Result<(), EngineError> {
        // The lines look alike: only the question tells refused routes.
        let mut reader = Routes::new(what.split_whitespace().any(|word| word == "filtered"));
        self.ask(&format!("show route {what} all"), &mut |code, line| {
            if let Some(route) = reader.line(code, line) {
                each(route);
            }
        })?;
        if let Some(route) = reader.finish() {
            each(route);
        }
        Ok(())
    }

    /// The routes that `what` selects, without their attributes: cheap for the daemon and for us.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub fn outline(&mut self, what: &str, each: &mut dyn FnMut(Route)) -> Result<(), EngineError> {
        let mut reader = Routes::new(what.split_whitespace().any(|word| word == "filtered"));
        self.ask(&format!("show route {what}"), &mut |code, line| {
            if let Some(route) = reader.line(code, line) {
                each(route);
            }
        })?;
        if let Some(route) = reader.finish() {
            each(route);
        }
        Ok(())
    }

    /// The daemon's version and its present time as it writes it: `show status`.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub fn status(&mut self) -> Result<Status, EngineError> {
        let mut status = Status::default();
        self.ask("show status", &mut |code, line| {
            let line = line.trim();
            if code == 1000 {
                line.clone_into(&mut status.version);
            } else if let Some(value) = line.strip_prefix("Router ID is ") {
                value.clone_into(&mut status.router_id);
            } else if let Some(value) = line.strip_prefix("Current server time is ") {
                value.clone_into(&mut status.now);
            } else if let Some(value) = line.strip_prefix("Last reboot on ") {
                value.clone_into(&mut status.booted);
            } else if let Some(value) = line.strip_prefix("Last reconfiguration on ") {
                value.clone_into(&mut status.configured);
            }
        })?;
        Ok(status)
    }

    fn silent(&self, source: std::io::Error) -> EngineError {
        EngineError::Silent {
            socket: self.socket.clone(),
            source,
        }
    }

    fn read_answer(
        &mut self,
        command: &str,
        each: &mut dyn FnMut(u16, &str) -> ControlFlow<()>,
    ) -> Result<(), EngineError> {
        let mut bytes = Vec::new();
        let mut code = 0u16;
        loop {
            bytes.clear();
            let read = (&mut self.stream)
                .take(LINE_BYTES_MAX)
                .read_until(b'\n', &mut bytes);
            match read {
                Ok(0) => return Err(self.silent(std::io::ErrorKind::UnexpectedEof.into())),
                Ok(_) => {}
                Err(source) => return Err(self.silent(source)),
            }
            let line = String::from_utf8_lossy(&bytes);
            let line = line.trim_end_matches(['\n', '\r']);
            match line_of(line) {
                Line::Continued(text) => {
                    if each(code, text).is_break() {
                        return Ok(());
                    }
                }
                Line::Coded {
                    code: new,
                    last,
                    text,
                } => {
                    code = new;
                    if code >= 8000 {
                        let said = text.chars().take(500).collect();
                        return Err(EngineError::Refused {
                            command: command.to_owned(),
                            said,
                        });
                    }
                    if each(code, text).is_break() || last {
                        return Ok(());
                    }
                }
                Line::Foreign => {
                    let said = line.chars().take(80).collect();
                    return Err(EngineError::Refused {
                        command: command.to_owned(),
                        said,
                    });
                }
            }
        }
    }
}

/// What a daemon says of itself, times as it writes them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Status {
    /// `BIRD 2.0.12`.
    pub version: String,
    /// Its BGP identifier.
    pub router_id: String,
    /// Its present time.
    pub now: String,
    /// When it was started.
    pub booted: String,
    /// When it last took a configuration.
    pub configured: String,
}

enum Line<'a> {
    Continued(&'a str),
    Coded {
        code: u16,
        last: bool,
        text: &'a str,
    },
    Foreign,
}

fn line_of(line: &str) -> Line<'_> {
    if let Some(text) = line.strip_prefix([' ', '+']) {
        return Line::Continued(text);
    }
    let parts = line.split_at_checked(4).and_then(|(digits, rest)| {
        let code = digits
            .bytes()
            .all(|b| b.is_ascii_digit())
            .then(|| digits.parse::<u16>().ok())??;
        Some((code, rest))
    });
    match parts {
        Some((code, "")) => Line::Coded {
            code,
            last: true,
            text: "",
        },
        Some((code, rest)) => match rest.split_at_checked(1) {
            Some(("-", text)) => Line::Coded {
                code,
                last: false,
                text,
            },
            Some((" ", text)) => Line::Coded {
                code,
                last: true,
                text,
            },
            _ => Line::Foreign,
        },
        None => Line::Foreign,
    }
}

/// Reads `show protocols all`.
#[derive(Debug, Default)]
pub struct Sessions {
    found: Vec<SessionState>,
    is_bgp: bool,
}

impl Sessions {
    /// Takes one line of the answer.
    pub fn line(&mut self, code: u16, line: &str) {
        match code {
            1002 => {
                let mut words = line.split_whitespace();
                let (Some(name), Some(kind)) = (words.next(), words.next()) else {
                    return;
                };
                self.is_bgp = kind == "BGP";
                if !self.is_bgp {
                    return;
                }
                let _table = words.next();
                let state = words.next().unwrap_or_default().to_owned();
                let mut since = words.next().unwrap_or_default().to_owned();
                let mut rest: Vec<&str> = words.collect();
                // With a long time format the time of day is a word of its own.
                if rest.first().is_some_and(|word| {
                    word.starts_with(|c: char| c.is_ascii_digit()) && word.contains(':')
                }) {
                    since = format!("{since} {}", rest.remove(0));
                }
                self.found.push(SessionState {
                    name: name.to_owned(),
                    state,
                    since,
                    info: rest.join(" "),
                    ..SessionState::default()
                });
            }
            1006 if self.is_bgp => {
                let Some(session) = self.found.last_mut() else {
                    return;
                };
                let Some((key, value)) = line.trim().split_once(':') else {
                    return;
                };
                let value = value.trim();
                match key {
                    "Description" => value.clone_into(&mut session.description),
                    "Neighbor address" => {
                        session.neighbor =
                            value.split('%').next().and_then(|text| text.parse().ok())
                    }
                    "Neighbor AS" => session.neighbor_asn = value.parse().ok(),
                    "Last error" => value.clone_into(&mut session.last_error),
                    "Import updates" => {
                        let counts = counts(value);
                        session.changes.announced += counts[0];
                        session.changes.refused += counts[2];
                        session.changes.accepted += counts[4];
                    }
                    "Import withdraws" => session.changes.withdrawn += counts(value)[0],
                    "Routes" => {
                        for part in value.split(',') {
                            let mut words = part.split_whitespace();
                            let count =
                                words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
                            match words.next() {
                                Some("imported") => session.imported = count,
                                Some("filtered") => session.filtered = count,
                                Some("exported") => session.exported = count,
                                Some("preferred") => session.preferred = count,
                                _ => {}
                            }
                        }
                    }
                    _ => {}
                }
            }
            _ => {}
        }
    }

    /// The sessions read.
    pub fn finish(self) -> Vec<SessionState> {
        self.found
    }
}

/// The columns received, rejected, filtered, ignored, accepted; `---` is none.
fn counts(value: &str) -> [u64; 5] {
    let mut found = [0; 5];
    for (place, word) in found.iter_mut().zip(value.split_whitespace()) {
        *place = word.parse().unwrap_or(0);
    }
    found
}

/// One route of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Route {
    /// The prefix.
    pub prefix: Prefix,
    /// The session it came from.
    pub protocol: String,
    /// Since when, as the daemon writes it.
    pub since: String,
    /// Whether it is the best of its prefix.
    pub is_best: bool,
    /// Whether the import filter refused it.
    pub is_filtered: bool,
    /// The AS path, sets flattened in the order written.
    pub as_path: Vec<u32>,
    /// The AS path with its sets; empty when it has none.
    #[serde(skip)]
    pub sets: Vec<Segment>,
    /// BGP next hop, the global one.
    pub next_hop: Option<IpAddr>,
    /// Local preference.
    pub local_pref: Option<u32>,
    /// Multi-exit discriminator.
    pub med: Option<u32>,
    /// `IGP`, `EGP` or `Incomplete`.
    pub origin: String,
    /// Standard communities (RFC 1997).
    pub communities: Vec<(u16, u16)>,
    /// Large communities (RFC 8092).
    pub large_communities: Vec<LargeCommunity>,
    /// Extended communities (RFC 4360), as the daemon writes them.
    pub extended_communities: Vec<String>,
}

/// Reads `show route … all`, in constant memory.
#[derive(Debug, Default)]
pub struct Routes {
    is_filtered: bool,
    prefix: Option<Prefix>,
    open: Option<Route>,
}

impl Routes {
    /// Reads the answer to `show route filtered … all` when `is_filtered`, else of other routes.
    pub fn new(is_filtered: bool) -> Self {
        Self {
            is_filtered,
            ..Self::default()
        }
    }

    /// Takes one line of the answer; gives the route that ended before it.
    pub fn line(&mut self, code: u16, line: &str) -> Option<Route> {
        let is_attribute = line.starts_with(['\t', ' ']) && !line.contains('[')
            || line.trim_start().starts_with("BGP.");
        if code == 1007 && !is_attribute {
            return self.route(line);
        }
        if let (Some(route), Some((key, value))) = (self.open.as_mut(), line.trim().split_once(':'))
        {
            attribute(route, key, value.trim());
        }
        None
    }

    /// The last route.
    pub fn finish(self) -> Option<Route> {
        self.open
    }

    fn route(&mut self, line: &str) -> Option<Route> {
        let (head, rest) = line.split_once('[')?;
        let (inside, after) = rest.split_once(']')?;
        if let Some(prefix) = head
            .split_whitespace()
            .next()
            .and_then(|word| word.parse().ok())
        {
            self.prefix = Some(prefix);
        }
        let mut words = inside.split_whitespace();
        let protocol = words.next()?.to_owned();
        let since: Vec<&str> = words.take_while(|word| *word != "from").collect();
        let flags = after.split('(').next().unwrap_or_default();
        let route = Route {
            prefix: self.prefix?,
            protocol,
            since: since.join(" "),
            is_best: flags.contains('*'),
            is_filtered: self.is_filtered,
            as_path: Vec::new(),
            sets: Vec::new(),
            next_hop: None,
            local_pref: None,
            med: None,
            origin: String::new(),
            communities: Vec::new(),
            large_communities: Vec::new(),
            extended_communities: Vec::new(),
        };
        self.open.replace(route)
    }
}

fn attribute(route: &mut Route, key: &str, value: &str) {
    match key {
        "BGP.as_path" => {
            route.as_path = value
                .split([' ', '{', '}', '(', ')', ','])
                .filter_map(|word| word.parse().ok())
                .take(LIST_MAX)
                .collect();
            if value.contains('{') {
                route.sets = segments(value);
            }
        }
        "BGP.next_hop" => {
            route.next_hop = value
                .split_whitespace()
                .next()
                .and_then(|word| word.parse().ok())
        }
        "BGP.local_pref" => route.local_pref = value.parse().ok(),
        "BGP.med" => route.med = value.parse().ok(),
        "BGP.origin" => value.clone_into(&mut route.origin),
        "BGP.community" => {
            route.communities = tuples(value)
                .filter_map(|parts| match parts[..] {
                    [a, b] => Some((u16::try_from(a).ok()?, u16::try_from(b).ok()?)),
                    _ => None,
                })
                .collect();
        }
        "BGP.large_community" => {
            route.large_communities = tuples(value)
                .filter_map(|parts| match parts[..] {
                    [a, b, c] => Some(LargeCommunity(a, b, c)),
                    _ => None,
                })
                .collect();
        }
        "BGP.ext_community" => {
            route.extended_communities = value
                .split('(')
                .skip(1)
                .filter_map(|part| part.split(')').next())
                .take(LIST_MAX)
                .map(|part| part.replace(' ', ""))
                .collect();
        }
        _ => {}
    }
}

/// `64496 64497 {1 2}` with its sets.
fn segments(value: &str) -> Vec<Segment> {
    let mut segments: Vec<Segment> = Vec::new();
    let mut set: Option<Vec<u32>> = None;
    let spaced = value.replace('{', " { ").replace('}', " } ");
    for word in spaced.split([' ', ',']).take(LIST_MAX) {
        match (word, word.parse::<u32>()) {
            ("{", _) => set = Some(Vec::new()),
            ("}", _) => segments.extend(set.take().map(Segment::Set)),
            (_, Ok(asn)) => match (&mut set, segments.last_mut()) {
                (Some(set), _) => set.push(asn),
                (None, Some(Segment::Sequence(asns))) => asns.push(asn),
                _ => segments.push(Segment::Sequence(vec![asn])),
            },
            _ => {}
        }
    }
    segments
}

impl Route {
    /// The AS path.
    pub fn path(&self) -> AsPath {
        match self.sets.is_empty() {
            true => AsPath::sequence(self.as_path.clone()),
            false => AsPath(self.sets.clone()),
        }
    }
}

/// The numbers in `(1,2) (3, 4)`.
fn tuples(value: &str) -> impl Iterator<Item = Vec<u32>> + '_ {
    value.split('(').skip(1).take(LIST_MAX).filter_map(|part| {
        let inside = part.split(')').next()?;
        inside
            .split(',')
            .take(4)
            .map(|number| number.trim().parse().ok())
            .collect()
    })
}
