//! Where routes come from: an archive (MRT), or a running BIRD by its control socket.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write as _};
use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base::Prefix;

use super::index::{BuildError, Builder, Fate, Index, PeerId, Session};
use crate::community::LargeCommunity;
use crate::mrt::{self, AsPath, Attributes, Event, MrtError, Peer, Segment};

/// How long BIRD may be silent within an answer.
const SILENCE_MAX: Duration = Duration::from_secs(20);
/// Bytes of one line of BIRD's.
const LINE_BYTES_MAX: u64 = 64 << 10;

/// Routes that did not come.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// The archive does not read.
    #[error("could not use the archive")]
    Mrt(#[from] MrtError),
    /// There is too much.
    #[error("could not hold the routes")]
    Build(#[from] BuildError),
    /// BIRD's socket fails.
    #[error("could not talk to BIRD at {socket}")]
    Io {
        /// The control socket.
        socket: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// BIRD refuses.
    #[error("BIRD at {socket} answered {question:?}: {answer}")]
    Refused {
        /// The control socket.
        socket: PathBuf,
        /// What was asked.
        question: &'static str,
        /// What it said.
        answer: String,
    },
}

/// Reads the tables of an archive. Its sessions are named by the peers' addresses, and nothing is known
/// of refused routes, because archives do not hold any.
///
/// # Errors
/// [`FeedError::Mrt`], [`FeedError::Build`]
pub fn archive(path: &Path, taken_at_s: u64) -> Result<(Index, mrt::Wrong), FeedError> {
    let mut reader = mrt::open(path)?;
    let mut builder = Builder::default();
    let mut peers: HashMap<Peer, PeerId> = HashMap::new();
    let mut failed: Option<BuildError> = None;
    let wrong = mrt::read_all(&mut reader, &mut |event| {
        let Event::Route(entry) = event else {
            return;
        };
        if failed.is_some() {
            return;
        }
        let take = || {
            let peer = match peers.get(&entry.peer) {
                Some(peer) => *peer,
                None => {
                    let id = builder.session(Session {
                        name: session_name(&peers, entry.peer),
                        peer: entry.peer,
                        up: true,
                        state: "archived".into(),
                    })?;
                    peers.insert(entry.peer, id);
                    id
                }
            };
            let path_id = entry.path_id.unwrap_or(0);
            builder.route(
                peer,
                entry.prefix,
                path_id,
                entry.since_s,
                Fate::Accepted,
                entry.attributes,
            )
        };
        failed = take().err();
    })?;
    match failed {
        Some(error) => Err(error.into()),
        None => Ok((builder.build(taken_at_s), wrong)),
    }
}

/// Two peers of different ASes may have one address in an archive that joins several collectors.
fn session_name(peers: &HashMap<Peer, PeerId>, peer: Peer) -> String {
    match peers.keys().any(|one| one.address == peer.address) {
        true => format!("{}-AS{}", peer.address, peer.asn),
        false => peer.address.to_string(),
    }
}

/// Reads the tables of a running BIRD 2: its sessions, what it took, and what it refused (which needs
/// `import keep filtered` in its configuration).
///
/// # Errors
/// [`FeedError`]
pub fn bird(socket: &Path, taken_at_s: u64) -> Result<Index, FeedError> {
    let mut talk = Talk::open(socket)?;
    let mut builder = Builder::default();
    let mut names: HashMap<String, PeerId> = HashMap::new();
    let mut protocols = Protocols::default();
    talk.ask("show protocols all", &mut |line| protocols.line(line))?;
    for session in protocols.end() {
        let name = session.name.clone();
        names.insert(name, builder.session(session)?);
    }
    for (question, refused) in [("show route all", false), ("show route all filtered", true)] {
        let mut routes = Routes {
            builder: &mut builder,
            names: &names,
            refused,
            now_s: taken_at_s as u32,
            prefix: None,
            open: None,
            failed: None,
        };
        talk.ask(question, &mut |line| routes.line(line))?;
        routes.finish();
        if let Some(error) = routes.failed {
            return Err(error.into());
        }
    }
    Ok(builder.build(taken_at_s))
}

/// A conversation by the control socket.
struct Talk {
    socket: PathBuf,
    stream: BufReader<UnixStream>,
}

impl Talk {
    fn open(socket: &Path) -> Result<Self, FeedError> {
        let failed = |source| FeedError::Io {
            socket: socket.to_owned(),
            source,
        };
        let stream = UnixStream::connect(socket).map_err(failed)?;
        stream.set_read_timeout(Some(SILENCE_MAX)).map_err(failed)?;
        stream
            .set_write_timeout(Some(SILENCE_MAX))
            .map_err(failed)?;
        let mut talk = Self {
            socket: socket.to_owned(),
            stream: BufReader::with_capacity(256 << 10, stream),
        };
        talk.read("greeting", &mut |_| {})?;
        Ok(talk)
    }

    fn ask(&mut self, question: &'static str, each: &mut dyn FnMut(&str)) -> Result<(), FeedError> {
        let line = format!("{question}\n");
        let sent = self.stream.get_mut().write_all(line.as_bytes());
        sent.map_err(|source| self.failed(source))?;
        self.read(question, each)
    }

    fn failed(&self, source: std::io::Error) -> FeedError {
        FeedError::Io {
            socket: self.socket.clone(),
            source,
        }
    }

    /// Lines are `NNNN-text`, the last one `NNNN text`; ` text` goes on with the number before. Numbers
    /// from 8000 on are errors.
    fn read(
        &mut self,
        question: &'static str,
        each: &mut dyn FnMut(&str),
    ) -> Result<(), FeedError> {
        let mut bytes = Vec::new();
        loop {
            bytes.clear();
            let read = std::io::Read::take(&mut self.stream, LINE_BYTES_MAX)
                .read_until(b'\n', &mut bytes)
                .map_err(|source| self.failed(source))?;
            if read == 0 || bytes.last() != Some(&b'\n') {
                return Err(self.failed(std::io::ErrorKind::UnexpectedEof.into()));
            }
            let text = String::from_utf8_lossy(&bytes);
            let text = text.trim_end();
            let Some((code, last)) = numbered(text) else {
                each(text.strip_prefix(' ').unwrap_or(text));
                continue;
            };
            let rest = text.get(5..).unwrap_or_default();
            if code >= 8_000 {
                return Err(FeedError::Refused {
                    socket: self.socket.clone(),
                    question,
                    answer: rest.to_owned(),
                });
            }
            if code != 0 {
                each(rest);
            }
            if last {
                return Ok(());
            }
        }
    }
}

fn numbered(line: &str) -> Option<(u32, bool)> {
    let digits = line.get(..4)?;
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let last = match line.as_bytes().get(4) {
        Some(b'-') => false,
        Some(b' ') | None => true,
        _ => return None,
    };
    Some((digits.parse().ok()?, last))
}

/// Understands `show protocols all`.
#[derive(Default)]
struct Protocols {
    done: Vec<Session>,
    open: Option<(String, String, Option<IpAddr>, Option<u32>)>,
}

impl Protocols {
    fn line(&mut self, line: &str) {
        if line.is_empty() {
            return;
        }
        if !line.starts_with([' ', '\t']) {
            self.close();
            let mut words = line.split_whitespace();
            if let (Some(name), Some("BGP"), Some(_)) = (words.next(), words.next(), words.next()) {
                let state = words.last().unwrap_or_default().to_owned();
                self.open = Some((name.to_owned(), state, None, None));
            }
            return;
        }
        let (Some(open), Some((key, value))) = (&mut self.open, line.trim().split_once(':')) else {
            return;
        };
        let value = value.trim();
        match key {
            "BGP state" => open.1 = value.to_owned(),
            // A link-local address comes with its interface.
            "Neighbor address" => {
                open.2 = value.split('%').next().and_then(|text| text.parse().ok())
            }
            "Neighbor AS" => open.3 = value.parse().ok(),
            _ => {}
        }
    }

    fn close(&mut self) {
        if let Some((name, state, Some(address), asn)) = self.open.take() {
            self.done.push(Session {
                name,
                peer: Peer {
                    address,
                    asn: asn.unwrap_or(0),
                },
                up: state == "Established",
                state,
            });
        }
    }

    fn end(mut self) -> Vec<Session> {
        self.close();
        self.done
    }
}

/// Understands `show route all`.
struct Routes<'a> {
    builder: &'a mut Builder,
    names: &'a HashMap<String, PeerId>,
    refused: bool,
    now_s: u32,
    prefix: Option<Prefix>,
    open: Option<(PeerId, Fate, Attributes)>,
    failed: Option<BuildError>,
}

impl Routes<'_> {
    fn line(&mut self, line: &str) {
        match line.strip_prefix('\t') {
            Some(detail) => self.detail(detail.trim()),
            None => self.head(line),
        }
    }

    /// `192.0.2.0/24  unicast [R1 12:00:00.000] * (100) [AS64496i]`; further routes of a prefix do not
    /// repeat it.
    fn head(&mut self, line: &str) {
        self.finish();
        let Some((front, rest)) = line.split_once('[') else {
            return;
        };
        if !line.starts_with([' ', '\t']) {
            self.prefix = front
                .split_whitespace()
                .next()
                .and_then(|text| text.parse().ok());
        }
        let name = rest.split([' ', ']']).next().unwrap_or_default();
        let Some(peer) = self.names.get(name) else {
            return;
        };
        let behind = rest.split_once(']').map_or("", |(_, behind)| behind);
        let fate = match (self.refused, behind.trim_start().starts_with('*')) {
            (true, _) => Fate::Filtered,
            (_, true) => Fate::Best,
            _ => Fate::Accepted,
        };
        self.open = Some((*peer, fate, Attributes::default()));
    }

    fn detail(&mut self, detail: &str) {
        let (Some((_, _, attributes)), Some((key, value))) =
            (&mut self.open, detail.split_once(':'))
        else {
            return;
        };
        let value = value.trim();
        match key {
            "BGP.origin" => {
                attributes.origin = match value {
                    "IGP" => Some(0),
                    "EGP" => Some(1),
                    _ => Some(2),
                }
            }
            "BGP.as_path" => attributes.path = path(value),
            "BGP.next_hop" => {
                attributes.next_hop = value
                    .split_whitespace()
                    .next()
                    .and_then(|text| text.parse().ok());
            }
            "BGP.med" => attributes.med = value.parse().ok(),
            "BGP.local_pref" => attributes.local_pref = value.parse().ok(),
            "BGP.community" => {
                let pairs = groups(value)
                    .into_iter()
                    .filter_map(|group| match group[..] {
                        [a, b] if a <= 0xffff && b <= 0xffff => Some(a << 16 | b),
                        _ => None,
                    });
                attributes.communities = pairs.collect();
            }
            "BGP.large_community" => {
                let triples = groups(value)
                    .into_iter()
                    .filter_map(|group| match group[..] {
                        [a, b, c] => Some(LargeCommunity(a, b, c)),
                        _ => None,
                    });
                attributes.large = triples.collect();
            }
            _ => {}
        }
    }

    fn finish(&mut self) {
        let (Some((peer, fate, attributes)), Some(prefix)) = (self.open.take(), self.prefix) else {
            return;
        };
        if self.failed.is_none() {
            self.failed = self
                .builder
                .route(peer, prefix, 0, self.now_s, fate, attributes)
                .err();
        }
    }
}

/// `64496 64497 {1 2}` as BIRD writes it.
fn path(text: &str) -> AsPath {
    let mut segments: Vec<Segment> = Vec::new();
    let mut set: Option<Vec<u32>> = None;
    for word in text
        .replace('{', " { ")
        .replace('}', " } ")
        .split_whitespace()
    {
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
    AsPath(segments)
}

/// The numbers in each pair of brackets: `(1,2) (3,4)`, `(1, 2, 3)`.
fn groups(text: &str) -> Vec<Vec<u32>> {
    let inside = text
        .split('(')
        .skip(1)
        .filter_map(|part| part.split_once(')'));
    inside
        .filter_map(|(inner, _)| {
            inner
                .split(',')
                .map(|part| part.trim().parse().ok())
                .collect()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::glass::index::Question;

    const ROUTES: &str = "Table master4:\n192.0.2.0/24         unicast [R1 12:00:00.123] * (100) [AS64496i]\n\tvia 10.0.0.1 on eth0\n\tType: BGP univ\n\tBGP.origin: IGP\n\tBGP.as_path: 64496 {1 2}\n\tBGP.next_hop: 10.0.0.1\n\tBGP.local_pref: 100\n\tBGP.community: (64496,1) (65535,666)\n\tBGP.large_community: (64500, 1101, 13)\n                     unicast [R2 12:00:00.123] (100) [AS64497i]\n\tBGP.as_path: 64497\n";

    fn read(text: &str, refused: bool) -> Index {
        let mut builder = Builder::default();
        let mut names = HashMap::new();
        for name in ["R1", "R2"] {
            let session = Session {
                name: name.into(),
                peer: Peer {
                    address: [10, 0, 0, 1].into(),
                    asn: 1,
                },
                up: true,
                state: String::new(),
            };
            names.insert(name.to_owned(), builder.session(session).expect("few"));
        }
        let mut routes = Routes {
            builder: &mut builder,
            names: &names,
            refused,
            now_s: 1,
            prefix: None,
            open: None,
            failed: None,
        };
        text.lines().for_each(|line| routes.line(line));
        routes.finish();
        builder.build(1)
    }

    #[test]
    fn routes_as_bird_prints_them() {
        let index = read(ROUTES, false);
        let page = index.find(&Question::default(), 0, 10);
        assert_eq!(page.total, 2);
        let first = page.routes[0];
        assert_eq!(
            (first.session.name.as_str(), first.fate),
            ("R1", Fate::Best)
        );
        assert_eq!(first.attributes.path.to_string(), "64496 {1 2}");
        assert_eq!(
            first.attributes.communities,
            [64_496 << 16 | 1, 0xffff_029a]
        );
        assert_eq!(first.attributes.large, [LargeCommunity(64_500, 1_101, 13)]);
        assert_eq!(page.routes[1].fate, Fate::Accepted);
        let refused = read(ROUTES, true);
        assert_eq!(
            refused.find(&Question::default(), 0, 1).routes[0].reasons(64_500),
            [crate::community::Reason::RpkiInvalid]
        );
    }

    #[test]
    fn sessions_as_bird_prints_them() {
        let mut protocols = Protocols::default();
        for line in "Name       Proto      Table      State  Since         Info\ndevice1    Device     ---        up     12:00:00.000\nR1         BGP        ---        up     12:00:00.000  Established\n  BGP state:          Established\n    Neighbor address: 10.0.0.1\n    Neighbor AS:      64496\nR2         BGP        ---        start  12:00:00.000  Active\n  BGP state:          Active\n    Neighbor address: fe80::1%eth0\n    Neighbor AS:      64497\n".lines() {
            protocols.line(line);
        }
        let sessions = protocols.end();
        assert_eq!(sessions.len(), 2);
        assert_eq!(
            (
                sessions[0].name.as_str(),
                sessions[0].peer.asn,
                sessions[0].up
            ),
            ("R1", 64_496, true)
        );
        assert_eq!(
            (
                sessions[1].peer.address.to_string().as_str(),
                sessions[1].up
            ),
            ("fe80::1", false)
        );
    }

    #[test]
    fn a_hundred_thousand_mutations_do_not_panic() {
        let mut seed = crate::testing::Lcg(13);
        for _ in 0..100_000 {
            let text = crate::testing::mutate(&mut seed, ROUTES.as_bytes());
            read(&String::from_utf8_lossy(&text), false);
        }
    }
}
