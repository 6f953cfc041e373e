//! Follows the tables of a running BIRD without reading them again and again.
//!
//! BIRD offers no stream of changes, so it is asked in three steps, each only as far as the one before
//! finds something: the counters of every session (a few lines each) tell which neighbours sent anything;
//! the list of such a session, without attributes, tells which prefixes changed, because a route's age
//! starts anew with every change; those prefixes are then read whole, with the routes of all sessions,
//! since another session's route may have become the best. When most prefixes changed, everything is
//! read at once.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use base::Prefix;

use super::feed::{self, FeedError, Reader, SILENCE_MAX};
use super::index::{Builder, Fate, Index};
use crate::engine::birdc::Client;
use crate::engine::moment::Zone;
use crate::engine::{EngineError, RouteChanges, SessionState};

/// Prefixes read one by one; beyond (and beyond an eighth of the table) everything is read.
const ONE_BY_ONE: usize = 2_000;
/// After this long the lists of all sessions are compared, whatever the counters say.
const RESYNC_S: u64 = 900;
/// Ages are written in whole seconds: what changed twice in one looks unchanged.
const SAME_SECOND_S: u64 = 1;

/// What tells that a session's routes may have changed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mark {
    changes: RouteChanges,
    since: String,
    state: String,
    counts: (u64, u64, u64),
}

impl Mark {
    fn of(state: &SessionState) -> Self {
        Self {
            changes: state.changes,
            since: state.since.clone(),
            state: state.state.clone(),
            counts: (state.imported, state.filtered, state.preferred),
        }
    }
}

/// What a look at the daemon found.
#[derive(Debug)]
pub struct Look {
    /// The tables.
    pub index: Index,
    /// The sessions as the daemon tells them.
    pub sessions: Vec<SessionState>,
    /// The daemon's zone, for its times.
    pub zone: Zone,
    /// How it was learnt.
    pub effort: Effort,
}

/// How much had to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// The counters: nothing changed.
    Counters,
    /// So many prefixes.
    Prefixes(usize),
    /// Everything.
    Whole,
}

/// Follows one daemon.
#[derive(Debug)]
pub struct Follower {
    socket: PathBuf,
    booted: String,
    marks: HashMap<String, Mark>,
    index: Option<Index>,
    looked_at_s: u64,
    synced_at_s: u64,
}

impl Follower {
    /// Of the daemon whose control socket is here; nothing is read yet.
    pub fn new(socket: &Path) -> Self {
        Self {
            socket: socket.to_owned(),
            booted: String::new(),
            marks: HashMap::new(),
            index: None,
            looked_at_s: 0,
            synced_at_s: 0,
        }
    }

    /// Looks, as of Unix second `now_s`.
    ///
    /// # Errors
    /// [`FeedError`]; what was known stays known, and the next look reads what this one could not.
    pub fn look(&mut self, now_s: u64) -> Result<Look, FeedError> {
        let mut client = Client::connect(&self.socket, SILENCE_MAX)?;
        let status = client.status()?;
        let zone = Zone::of(&status.now, now_s);
        let states = client.sessions()?;
        let marks: HashMap<String, Mark> = states
            .iter()
            .map(|state| (state.name.clone(), Mark::of(state)))
            .collect();
        let known = match self.index.take() {
            Some(index) if same_start(zone, &status.booted, &self.booted) => Some(index),
            _ => None,
        };
        let found = match &known {
            None => Self::whole(&mut client, zone, &states, now_s),
            Some(index) => self.changed(&mut client, zone, &states, &marks, index, now_s),
        };
        match found {
            Ok((index, effort)) => {
                let resynced = effort == Effort::Whole || self.is_late(now_s);
                if resynced {
                    self.synced_at_s = now_s;
                }
                self.booted = status.booted;
                self.marks = marks;
                self.looked_at_s = now_s;
                self.index = Some(index.clone());
                Ok(Look {
                    index,
                    sessions: states,
                    zone,
                    effort,
                })
            }
            Err(error) => {
                self.index = known;
                Err(error)
            }
        }
    }

    fn is_late(&self, now_s: u64) -> bool {
        now_s.saturating_sub(self.synced_at_s) >= RESYNC_S
    }

    fn whole(
        client: &mut Client,
        zone: Zone,
        states: &[SessionState],
        now_s: u64,
    ) -> Result<(Index, Effort), FeedError> {
        Ok((feed::whole(client, zone, states, now_s)?, Effort::Whole))
    }

    fn changed(
        &self,
        client: &mut Client,
        zone: Zone,
        states: &[SessionState],
        marks: &HashMap<String, Mark>,
        index: &Index,
        now_s: u64,
    ) -> Result<(Index, Effort), FeedError> {
        let sessions = feed::sessions(states, zone);
        let all = self.is_late(now_s);
        let moved: Vec<&str> = sessions
            .iter()
            .map(|session| session.name.as_str())
            .filter(|name| all || self.marks.get(*name) != marks.get(*name))
            .collect();
        // The routes of a session that is gone may have been the best.
        let gone = index
            .sessions()
            .iter()
            .filter(|session| !marks.contains_key(&session.name));
        let mut prefixes = BTreeSet::new();
        for session in gone {
            let id = index.session(&session.name).unwrap_or_default();
            prefixes.extend(index.outline(id).map(|(prefix, _, _)| prefix));
        }
        for name in moved {
            self.compare(client, zone, name, index, &mut prefixes)?;
        }
        if prefixes.is_empty() {
            if let Some(index) = index.at_later(now_s, sessions.clone()) {
                return Ok((index, Effort::Counters));
            }
        } else if prefixes.len() > ONE_BY_ONE.max(index.prefixes() / 8) {
            return Self::whole(client, zone, states, now_s);
        }
        let mut builder =
            Builder::from_index(index, sessions, |prefix, _| !prefixes.contains(&prefix))?;
        let mut reader = Reader::new(zone);
        for at in 0..builder.sessions().len() {
            reader.session(at as u16, &builder);
        }
        for prefix in &prefixes {
            for what in [prefix.to_string(), format!("{prefix} filtered")] {
                let mut failed = None;
                some(client.routes(&what, &mut |route| {
                    if failed.is_none() {
                        failed = reader.take(&mut builder, route).err();
                    }
                }))?;
                if let Some(error) = failed {
                    return Err(error.into());
                }
            }
        }
        Ok((builder.build(now_s), Effort::Prefixes(prefixes.len())))
    }

    /// Adds the prefixes whose routes of a session are not what the index holds.
    fn compare(
        &self,
        client: &mut Client,
        zone: Zone,
        name: &str,
        index: &Index,
        changed: &mut BTreeSet<Prefix>,
    ) -> Result<(), FeedError> {
        let mut told: Vec<(Prefix, u32, Fate)> = Vec::new();
        for what in [
            format!("protocol {name}"),
            format!("filtered protocol {name}"),
        ] {
            some(client.outline(&what, &mut |route| {
                let since = zone.unix_s(&route.since).unwrap_or(0);
                let since_s = u32::try_from(since).unwrap_or(0);
                told.push((route.prefix, since_s, feed::fate(&route)));
            }))?;
        }
        told.sort_unstable();
        let mut held: Vec<(Prefix, u32, Fate)> = index
            .session(name)
            .map(|id| index.outline(id).collect())
            .unwrap_or_default();
        held.sort_unstable();
        let fresh = self.looked_at_s.saturating_sub(SAME_SECOND_S);
        let (mut a, mut b) = (held.into_iter().peekable(), told.into_iter().peekable());
        loop {
            match (a.peek(), b.peek()) {
                (None, None) => return Ok(()),
                (Some(one), Some(other)) if one == other => {
                    if u64::from(other.1) >= fresh {
                        changed.insert(other.0);
                    }
                    a.next();
                    b.next();
                }
                (Some(one), Some(other)) if one < other => {
                    changed.insert(one.0);
                    a.next();
                }
                (Some(one), None) => {
                    changed.insert(one.0);
                    a.next();
                }
                (_, Some(other)) => {
                    changed.insert(other.0);
                    b.next();
                }
            }
        }
    }
}

/// Whether two words of a daemon name one start of it. It works the moment out of its own clock each
/// time, and the second before or after comes out now and then.
fn same_start(zone: Zone, one: &str, other: &str) -> bool {
    match (zone.unix_s(one), zone.unix_s(other)) {
        (Some(a), Some(b)) => a.abs_diff(b) <= SAME_SECOND_S,
        _ => one == other,
    }
}

/// A network or a protocol that the daemon does not know has no routes.
fn some(asked: Result<(), EngineError>) -> Result<(), FeedError> {
    match asked {
        Err(EngineError::Refused { said, .. }) if is_nothing(&said) => Ok(()),
        other => Ok(other?),
    }
}

fn is_nothing(said: &str) -> bool {
    let said = said.to_ascii_lowercase();
    said.contains("not found") || said.contains("is not a protocol") || said.contains("no such")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_start_is_told_a_second_earlier_or_later() {
        let zone = Zone::of("2026-11-21 13:00:00", 1_795_266_000);
        let same = |one: &str, other: &str| same_start(zone, one, other);
        assert!(same("2026-11-21 10:00:00", "2026-11-21 10:00:00"));
        assert!(same("2026-11-21 10:00:00", "2026-11-21 09:59:59"));
        assert!(!same("2026-11-21 10:00:00", "2026-11-21 10:00:02"));
        assert!(!same("", "2026-11-21 10:00:02"));
        assert!(same("?", "?"));
    }
}
