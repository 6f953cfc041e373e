//! Where routes come from: an archive (MRT), or a running BIRD by its control socket.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use base::Prefix;

use super::index::{BuildError, Builder, Fate, Index, PeerId, Session, Told};
use crate::engine::birdc::{self, Client};
use crate::engine::moment::Zone;
use crate::engine::{EngineError, SessionState};
use crate::mrt::{self, Attributes, Event, MrtError, Peer};

/// How long BIRD may be silent within an answer.
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(20);

/// Routes that did not come.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// The archive does not read.
    #[error("could not use the archive")]
    Mrt(#[from] MrtError),
    /// There is too much.
    #[error("could not hold the routes")]
    Build(#[from] BuildError),
    /// The daemon does not answer, or refuses.
    #[error("could not read the tables of the route server")]
    Bird(#[from] EngineError),
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
                        told: Told::default(),
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
    let mut client = Client::connect(socket, SILENCE_MAX)?;
    let zone = Zone::of(&client.status()?.now, taken_at_s);
    let states = client.sessions()?;
    whole(&mut client, zone, &states, taken_at_s)
}

/// All tables by an open conversation.
pub(super) fn whole(
    client: &mut Client,
    zone: Zone,
    states: &[SessionState],
    taken_at_s: u64,
) -> Result<Index, FeedError> {
    let mut builder = Builder::default();
    let mut reader = Reader::new(zone);
    for session in sessions(states, zone) {
        reader.session(builder.session(session)?, &builder);
    }
    for what in ["", "filtered"] {
        let mut failed = None;
        client.routes(what, &mut |route| {
            if failed.is_none() {
                failed = reader.take(&mut builder, route).err();
            }
        })?;
        if let Some(error) = failed {
            return Err(error.into());
        }
    }
    Ok(builder.build(taken_at_s))
}

/// The daemon's sessions as the index shows them.
pub(super) fn sessions(states: &[SessionState], zone: Zone) -> Vec<Session> {
    let shown = states.iter().filter_map(|state| {
        Some(Session {
            name: state.name.clone(),
            peer: Peer {
                address: state.neighbor?,
                asn: state.neighbor_asn.unwrap_or(0),
            },
            up: state.is_established(),
            state: match state.info.is_empty() {
                true => state.state.clone(),
                false => state.info.clone(),
            },
            told: Told {
                description: state.description.clone(),
                since_s: zone.unix_s(&state.since).unwrap_or(0),
                last_error: state.last_error.clone(),
                exported: state.exported,
            },
        })
    });
    shown.collect()
}

/// Puts a daemon's routes into a builder.
pub(super) struct Reader {
    zone: Zone,
    names: HashMap<String, PeerId>,
    /// The prefix, session and kind of the route before, and how many there were: a session that tells
    /// several routes of a prefix (RFC 7911) has them one after the other.
    before: Option<(Prefix, PeerId, bool)>,
    number: u32,
}

impl Reader {
    pub(super) fn new(zone: Zone) -> Self {
        Self {
            zone,
            names: HashMap::new(),
            before: None,
            number: 0,
        }
    }

    /// Learns the name of a session of `builder`.
    pub(super) fn session(&mut self, id: PeerId, builder: &Builder) {
        if let Some(session) = builder.sessions().get(usize::from(id)) {
            self.names.insert(session.name.clone(), id);
        }
    }

    /// Takes a route; one of a protocol that is no session is none of ours.
    pub(super) fn take(
        &mut self,
        builder: &mut Builder,
        route: birdc::Route,
    ) -> Result<(), BuildError> {
        let Some(peer) = self.names.get(&route.protocol).copied() else {
            return Ok(());
        };
        let place = (route.prefix, peer, route.is_filtered);
        self.number = match self.before.replace(place) == Some(place) {
            true => self.number.saturating_add(1),
            false => 0,
        };
        let since_s = self
            .zone
            .unix_s(&route.since)
            .and_then(|since| u32::try_from(since).ok());
        builder.route(
            peer,
            route.prefix,
            self.number,
            since_s.unwrap_or(0),
            fate(&route),
            attributes(&route),
        )
    }
}

/// What became of a route.
pub(super) fn fate(route: &birdc::Route) -> Fate {
    match (route.is_filtered, route.is_best) {
        (true, _) => Fate::Filtered,
        (false, true) => Fate::Best,
        (false, false) => Fate::Accepted,
    }
}

/// The attributes of a daemon's route.
pub(super) fn attributes(route: &birdc::Route) -> Attributes {
    Attributes {
        origin: match route.origin.as_str() {
            "IGP" => Some(0),
            "EGP" => Some(1),
            "" => None,
            _ => Some(2),
        },
        path: route.path(),
        next_hop: route.next_hop,
        med: route.med,
        local_pref: route.local_pref,
        communities: route
            .communities
            .iter()
            .map(|(a, b)| u32::from(*a) << 16 | u32::from(*b))
            .collect(),
        large: route.large_communities.clone(),
        extended: route
            .extended_communities
            .iter()
            .filter_map(|text| extended(text))
            .collect(),
    }
}

/// The eight bytes of an extended community (RFC 4360, RFC 5668) that BIRD writes as `rt,64496,1` or
/// `generic,0x43000000,0x1`.
fn extended(text: &str) -> Option<u64> {
    let mut parts = text.split(',').map(str::trim);
    let (kind, first, second) = (parts.next()?, parts.next()?, parts.next()?);
    if kind == "generic" {
        let hex = |text: &str| u32::from_str_radix(text.trim_start_matches("0x"), 16).ok();
        return Some(u64::from(hex(first)?) << 32 | u64::from(hex(second)?));
    }
    let subtype = match kind {
        "rt" => 0x02,
        "ro" => 0x03,
        _ => return None,
    };
    crate::community::extended(subtype, first, second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extended_communities_are_eight_bytes() {
        for (text, value) in [
            ("rt,64496,1", 0x0002_fbf0_0000_0001),
            ("ro,4200000000,2", 0x0203_fa56_ea00_0002),
            ("rt,192.0.2.1,5", 0x0102_c000_0201_0005),
            ("generic,0x43000000,0x1", 0x4300_0000_0000_0001),
        ] {
            assert_eq!(extended(text), Some(value), "{text}");
        }
        for wrong in ["", "rt", "rt,1", "xx,1,2", "rt,4200000000,65536", "rt,a,b"] {
            assert_eq!(extended(wrong), None, "{wrong}");
        }
    }
}
