//! Follows the tables of a running OpenBGPD by `bgpctl`.
//!
//! Its answers have no list of changes and no ages finer than a second, so that a look asks the cheap
//! things first, the sessions with their counters and the sets with the age of their last change, and
//! reads the tables only when one of these moved, and now and then. What it took is in `Loc-RIB`; what it
//! refused is in the RIB that its configuration keeps for that ([`REFUSED_RIB`]), with the reason on each
//! route. [`LACKS`] names what it cannot tell.

use std::collections::HashMap;
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base::Prefix;

use super::asking::{Part, READ_MAX, Towards};
use super::feed::{self, FeedError};
use super::follow::{Effort, Look};
use super::index::{BuildError, Builder, Fate, Index, Matching, PeerId, Question};
use super::view::moment;
use crate::engine::moment::Zone;
use crate::engine::openbgpd::{OpenBgpd, rib};
use crate::engine::{EngineError, RouteChanges, SessionState};
use crate::render::REFUSED_RIB;

/// What OpenBGPD 7.7 cannot do or tell, as keys of texts `glass-lacks-…`.
pub const LACKS: [&str; 4] = ["bfd", "flow", "as-zero", "med-zero"];
/// One more, when its configuration keeps nothing that it refused.
pub const LACKS_REFUSED: &str = "refused";
/// After this long the tables are read again, whatever the counters say.
const RESYNC_S: u64 = 60;
/// Ages are told in whole seconds of another clock: a moment that moves less has not moved.
const SAME_S: u64 = 2;
/// A set that changed within so many seconds may have changed again since the last look.
const FRESH_S: i64 = 3;
/// Reading again without a reason takes at most this part of the time.
const RESYNC_SHARE: u64 = 30;

/// What tells that a session's routes may have changed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mark {
    changes: RouteChanges,
    since_s: u64,
    state: String,
    counts: (u64, u64),
}

/// Name, prefixes of each family, second of the last change.
type Set = (String, u64, u64, u64);

/// Follows one daemon.
#[derive(Debug)]
pub struct Follower {
    daemon: OpenBgpd,
    since: HashMap<String, u64>,
    marks: HashMap<String, Mark>,
    sets: Vec<Set>,
    index: Option<Index>,
    read_at_s: u64,
    read_took: Duration,
    has_refused: bool,
}

impl Follower {
    /// Of the daemon whose control socket is here; nothing is read yet.
    pub fn new(socket: &Path) -> Self {
        Self::of(OpenBgpd::new(
            socket,
            Path::new(crate::engine::openbgpd::CONFIG),
        ))
    }

    /// Of this daemon.
    pub fn of(daemon: OpenBgpd) -> Self {
        Self {
            daemon,
            since: HashMap::new(),
            marks: HashMap::new(),
            sets: Vec::new(),
            index: None,
            read_at_s: 0,
            read_took: Duration::ZERO,
            has_refused: true,
        }
    }

    /// Whether the daemon keeps what it refused.
    pub fn has_refused(&self) -> bool {
        self.has_refused
    }

    /// Looks, as of Unix second `now_s`.
    ///
    /// # Errors
    /// [`FeedError`]; what was known stays known.
    pub fn look(&mut self, now_s: u64) -> Result<Look, FeedError> {
        let mut states = self.sessions(now_s)?;
        let marks: HashMap<String, Mark> = states
            .iter()
            .map(|state| (state.name.clone(), self.mark(state)))
            .collect();
        let (sets, are_fresh) = self.sets(now_s)?;
        let zone = Zone::default();
        let patience_s = RESYNC_S.max(self.read_took.as_secs() * RESYNC_SHARE);
        let is_late = now_s.saturating_sub(self.read_at_s) >= patience_s;
        let same = match &self.index {
            Some(index) if !is_late && !are_fresh && marks == self.marks && sets == self.sets => {
                index.at_later(now_s, feed::sessions(&states, zone))
            }
            _ => None,
        };
        let (index, effort) = match same {
            Some(index) => (index, Effort::Counters),
            None => {
                // What changes while it is read moves a counter after those that were asked.
                let begun = Instant::now();
                let (index, has_refused) = whole(&self.daemon, &states, now_s)?;
                self.read_took = begun.elapsed();
                self.has_refused = has_refused;
                self.read_at_s = now_s;
                (index, Effort::Whole)
            }
        };
        self.marks = marks;
        self.sets = sets;
        for state in &mut states {
            count(state, &index);
        }
        self.index = Some(index.clone());
        Ok(Look {
            index,
            sessions: states,
            zone,
            effort,
        })
    }

    /// The sessions, with their moments in UTC.
    fn sessions(&mut self, now_s: u64) -> Result<Vec<SessionState>, FeedError> {
        let aged = self.daemon.aged_sessions()?;
        let mut since = HashMap::new();
        let mut states = Vec::new();
        for (mut state, age_s) in aged {
            let told = age_s.map(|age| now_s.saturating_sub(age));
            let known = self.since.get(&state.name).copied();
            let at_s = match (told, known) {
                (Some(told), Some(known)) if told.abs_diff(known) <= SAME_S => known,
                (Some(told), _) => told,
                (None, _) => 0,
            };
            since.insert(state.name.clone(), at_s);
            state.since = moment(at_s);
            if state.state == "down" {
                // Its operator's will, which the daemon also tells the neighbour as an error.
                state.last_error.clear();
            }
            states.push(state);
        }
        self.since = since;
        Ok(states)
    }

    fn mark(&self, state: &SessionState) -> Mark {
        Mark {
            changes: state.changes,
            since_s: self.since.get(&state.name).copied().unwrap_or(0),
            state: state.state.clone(),
            counts: (state.imported, state.exported),
        }
    }

    /// Each set with its size and the second of its last change; and whether one changed so lately that
    /// it may have changed again within the same second.
    fn sets(&self, now_s: u64) -> Result<(Vec<Set>, bool), FeedError> {
        let told = self.daemon.sets()?;
        let are_fresh = told
            .iter()
            .any(|set| (0..=FRESH_S).contains(&set.changed_s_ago));
        let sets = told.into_iter().enumerate().map(|(at, set)| {
            let age_s = u64::try_from(set.changed_s_ago).unwrap_or(0);
            let changed_s = now_s.saturating_sub(age_s);
            let known = self.sets.get(at).filter(|known| known.0 == set.name);
            let changed_s = match known {
                Some(known) if known.3.abs_diff(changed_s) <= SAME_S => known.3,
                _ => changed_s,
            };
            (set.name, set.v4, set.v6, changed_s)
        });
        Ok((sets.collect(), are_fresh))
    }
}

/// Puts the counts of the tables into a session's: the daemon's own are from before its filters.
fn count(state: &mut SessionState, index: &Index) {
    let Some(id) = index.session(&state.name) else {
        return;
    };
    let (best, accepted, refused) = index.counts(id);
    state.imported = (best + accepted) as u64;
    state.filtered = refused as u64;
    state.preferred = best as u64;
}

/// The place of each neighbour's session.
fn places(builder: &Builder) -> HashMap<IpAddr, PeerId> {
    let sessions = builder.sessions().iter().enumerate();
    sessions
        .map(|(at, session)| (session.peer.address, at as PeerId))
        .collect()
}

/// All tables; and whether what was refused is among them.
fn whole(
    daemon: &OpenBgpd,
    states: &[SessionState],
    now_s: u64,
) -> Result<(Index, bool), FeedError> {
    let mut builder = Builder::default();
    for session in feed::sessions(states, Zone::default()) {
        builder.session(session)?;
    }
    let places = places(&builder);
    let mut take = |more: &[&str], is_refused: bool| -> Result<(), FeedError> {
        let mut failed = None;
        let mut numbers = Numbers::default();
        daemon.routes(more, &mut |route| {
            let fate = match (is_refused, route.is_best) {
                (true, _) => Fate::Filtered,
                (false, true) => Fate::Best,
                (false, false) => Fate::Accepted,
            };
            match put(&mut builder, &places, &mut numbers, route, fate, now_s) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => {
                    failed = Some(error);
                    ControlFlow::Break(())
                }
            }
        })?;
        failed.map_or(Ok(()), |error| Err(error.into()))
    };
    take(&[], false)?;
    let has_refused = match take(&["table", REFUSED_RIB], true) {
        Ok(()) => true,
        // A configuration of somebody else's.
        Err(FeedError::Bird(EngineError::Refused { said, .. })) if said == "no such RIB" => false,
        Err(error) => return Err(error),
    };
    Ok((builder.build(now_s), has_refused))
}

/// Tells apart several routes of one neighbour for one prefix (RFC 7911), which stand one after the other.
#[derive(Default)]
struct Numbers {
    before: Option<(Prefix, IpAddr)>,
    number: u32,
}

impl Numbers {
    fn of(&mut self, route: &rib::Route) -> u32 {
        let place = (route.prefix, route.neighbor);
        self.number = match self.before.replace(place) == Some(place) {
            true => self.number.saturating_add(1),
            false => 0,
        };
        self.number
    }
}

/// Takes a route; one of a neighbour that is no session is none of ours.
fn put(
    builder: &mut Builder,
    places: &HashMap<IpAddr, PeerId>,
    numbers: &mut Numbers,
    route: rib::Route,
    fate: Fate,
    now_s: u64,
) -> Result<(), BuildError> {
    let Some(peer) = places.get(&route.neighbor).copied() else {
        return Ok(());
    };
    let number = numbers.of(&route);
    let since_s = u32::try_from(now_s.saturating_sub(route.age_s)).unwrap_or(0);
    builder.route(peer, route.prefix, number, since_s, fate, route.attributes)
}

/// As [`super::asking::towards`]. What is announced is the daemon's own list; what is kept from a
/// neighbour it does not list, and is what the tables hold of others and that list does not.
///
/// # Errors
/// [`FeedError`]
#[expect(clippy::too_many_arguments, reason = "one question's parts")]
pub(super) fn towards(
    daemon: &OpenBgpd,
    now: &Index,
    name: &str,
    list: Towards,
    prefix: Option<Prefix>,
    from: usize,
    limit: usize,
    now_s: u64,
) -> Result<Part, FeedError> {
    let Some(session) = now.sessions().iter().find(|one| one.name == name) else {
        return Ok(Part::empty(now_s));
    };
    let neighbor = session.peer.address;
    let address = neighbor.to_string();
    let asked = prefix.map(|prefix| prefix.to_string());
    let mut words = vec!["out", "neighbor", &address];
    words.extend(asked.as_deref());
    match list {
        Towards::Exported => announced(daemon, now, &words, from, limit, now_s),
        Towards::Withheld => {
            let mut told = std::collections::HashSet::new();
            some(daemon.routes(&words, &mut |route| {
                told.insert(route.prefix);
                ControlFlow::Continue(())
            }))?;
            withheld(now, name, neighbor, prefix, &told, from, limit, now_s)
        }
    }
}

/// A prefix that the daemon does not know, and a neighbour that is not up, have no routes.
fn some(asked: Result<(), EngineError>) -> Result<(), FeedError> {
    match asked {
        Err(EngineError::Refused { said, .. }) if said.starts_with("no such") => Ok(()),
        other => Ok(other?),
    }
}

fn announced(
    daemon: &OpenBgpd,
    now: &Index,
    words: &[&str],
    from: usize,
    limit: usize,
    now_s: u64,
) -> Result<Part, FeedError> {
    let mut builder = Builder::default();
    for session in now.sessions() {
        builder.session(session.clone())?;
    }
    let places = places(&builder);
    let end = from.saturating_add(limit).min(READ_MAX);
    let (mut read, mut is_cut, mut failed) = (0, false, None);
    some(daemon.routes(words, &mut |mut route| {
        if read >= end {
            is_cut = true;
            return ControlFlow::Break(());
        }
        if read >= from {
            // The list says to whom; who told it is in the tables, by its next hop and path.
            route.neighbor = origin(now, &route).unwrap_or(route.neighbor);
            let numbers = &mut Numbers::default();
            failed = put(&mut builder, &places, numbers, route, Fate::Best, now_s).err();
        }
        read += 1;
        match failed.is_some() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }))?;
    if let Some(error) = failed {
        return Err(error.into());
    }
    Ok(Part {
        index: Arc::new(builder.build(now_s)),
        read,
        is_cut,
    })
}

/// Who told a route that is announced: of those whose path is the end of what is announced (the rest was
/// prepended), the best, else the first.
fn origin(now: &Index, route: &rib::Route) -> Option<IpAddr> {
    let question = Question {
        prefix: Some(route.prefix),
        matching: Matching::Exact,
        fate: Some(Fate::Accepted),
        ..Question::default()
    };
    let told: Vec<u32> = route.attributes.path.asns().collect();
    let page = now.find(&question, 0, READ_MAX);
    let mut fitting = page.routes.iter().filter(|one| {
        let path: Vec<u32> = one.attributes.path.asns().collect();
        told.ends_with(&path)
    });
    let first = fitting.next()?;
    let best = fitting.find(|one| one.fate == Fate::Best);
    let chosen = match first.fate {
        Fate::Best => first,
        _ => best.unwrap_or(first),
    };
    Some(chosen.session.peer.address)
}

#[expect(clippy::too_many_arguments, reason = "one question's parts")]
fn withheld(
    now: &Index,
    name: &str,
    neighbor: IpAddr,
    prefix: Option<Prefix>,
    told: &std::collections::HashSet<Prefix>,
    from: usize,
    limit: usize,
    now_s: u64,
) -> Result<Part, FeedError> {
    let mut builder = Builder::default();
    for session in now.sessions() {
        builder.session(session.clone())?;
    }
    let question = Question {
        prefix,
        fate: Some(Fate::Best),
        ..Question::default()
    };
    let page = now.find(&question, 0, READ_MAX);
    let end = from.saturating_add(limit).min(READ_MAX);
    let (mut read, mut is_cut) = (0, page.total > page.routes.len());
    for route in page.routes {
        let is_ours = route.prefix.address().is_ipv6() == neighbor.is_ipv6();
        if !is_ours || route.session.name == name || told.contains(&route.prefix) {
            continue;
        }
        if read >= end {
            is_cut = true;
            break;
        }
        if read >= from
            && let Some(peer) = now.session(&route.session.name)
        {
            builder.route(
                peer,
                route.prefix,
                route.path_id,
                route.since_s,
                route.fate,
                route.attributes,
            )?;
        }
        read += 1;
    }
    Ok(Part {
        index: Arc::new(builder.build(now_s)),
        read,
        is_cut,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BGPCTL: &str = r#"#!/bin/sh
here=$(dirname "$0")
shift 2
echo "$*" >> "$here/told"
case "$*" in
  "-j show neighbor") cat "$here/sessions" ;;
  "-j show sets") cat "$here/sets" ;;
  "-j show rib detail") cat "$here/taken" ;;
  "-j show rib detail table Refused") cat "$here/refused" ;;
  "-j show rib detail out neighbor 192.0.2.2"*) cat "$here/out" ;;
  *) echo '{"status": "FAILED", "error": "no such neighbor"}' ;;
esac
"#;

    fn sessions(updates: u64, age_s: u64) -> String {
        format!(
            r#"{{"neighbors": [
{{"remote_as": "64496", "description": "one", "remote_addr": "192.0.2.1", "state": "Established", "last_updown_sec": {age_s},
 "stats": {{"prefixes": {{"sent": 1, "received": 3}}, "update": {{"received": {{"updates": {updates}, "withdraws": 0}}}}}}}},
{{"remote_as": "64497", "description": "two", "remote_addr": "192.0.2.2", "state": "Established", "last_updown_sec": {age_s}}},
{{"remote_as": "64498", "description": "off", "remote_addr": "192.0.2.3", "state": "Idle", "last_updown_sec": -1,
 "last_error_sent": "Cease", "config": {{"down": true}}}}]}}"#
        )
    }

    fn route(prefix: &str, path: &str, from: &str, more: &str) -> String {
        format!(
            r#"{{"prefix": "{prefix}", "aspath": "{path}", "exit_nexthop": "{from}", "neighbor": {{"remote_addr": "{from}"}}, "origin": "IGP", "last_update_sec": 10{more}}}"#
        )
    }

    fn rib(routes: &[String]) -> String {
        format!("{{\"rib\": [{}]}}", routes.join(","))
    }

    struct Stage(tempfile::TempDir);

    impl Stage {
        fn new() -> Self {
            let stage = Self(tempfile::tempdir().expect("a directory"));
            stage.put("bgpctl.sh", BGPCTL);
            let done = std::process::Command::new("/usr/bin/install")
                .args(["-m", "755"])
                .args([
                    stage.0.path().join("bgpctl.sh"),
                    stage.0.path().join("bgpctl"),
                ])
                .status();
            assert!(done.is_ok_and(|status| status.success()));
            stage.put("sessions", &sessions(3, 100));
            stage.put("sets", r#"{"sets": [{"name": "RPKI ROA", "type": "ROA", "last_change_sec": 50, "num_IPv4": 1}]}"#);
            let best = ", \"best\": true";
            stage.put(
                "taken",
                &rib(&[
                    route("198.51.100.0/24", "64496 9", "192.0.2.1", best),
                    route("198.51.100.0/24", "64497 8 9", "192.0.2.2", ""),
                    route("203.0.113.0/24", "64496", "192.0.2.1", best),
                    route("2001:db8::/32", "64496", "192.0.2.1", best),
                ]),
            );
            let reason = ", \"large_communities\": [\"64500:1101:9\"]";
            stage.put(
                "refused",
                &rib(&[route("192.0.2.0/25", "64496", "192.0.2.1", reason)]),
            );
            stage.put(
                "out",
                &rib(&[route("198.51.100.0/24", "64496 64496 9", "192.0.2.2", "")]),
            );
            stage
        }

        fn put(&self, name: &str, text: &str) {
            std::fs::write(self.0.path().join(name), text).expect("written");
        }

        fn tables_read(&self) -> usize {
            let told = std::fs::read_to_string(self.0.path().join("told")).unwrap_or_default();
            told.lines()
                .filter(|line| *line == "-j show rib detail")
                .count()
        }

        fn daemon(&self) -> OpenBgpd {
            let at = |name: &str| self.0.path().join(name);
            OpenBgpd::new(&at("s"), &at("c")).with_programs(&at("bgpd"), &at("bgpctl"))
        }
    }

    #[test]
    fn tables_are_read_when_something_moved() {
        let stage = Stage::new();
        let mut follower = Follower::of(stage.daemon());
        let look = follower.look(1_000).expect("read");
        assert_eq!((look.effort, look.index.len()), (Effort::Whole, 5));
        let one = look.index.session("one").expect("there");
        assert_eq!(look.index.counts(one), (3, 0, 1));
        let refused = look.index.find(
            &Question {
                fate: Some(Fate::Filtered),
                ..Question::default()
            },
            0,
            1,
        );
        assert_eq!(
            refused.routes[0].reasons(64_500),
            [crate::community::Reason::IrrPrefix]
        );
        let counts: Vec<(u64, u64)> = look
            .sessions
            .iter()
            .map(|s| (s.imported, s.filtered))
            .collect();
        assert_eq!(counts, [(3, 1), (1, 0), (0, 0)]);
        assert_eq!(look.zone.unix_s(&look.sessions[0].since), Some(900));
        assert!(look.sessions[2].last_error.is_empty() && follower.has_refused());

        // The clocks of two programs tick apart: nothing moved.
        stage.put("sessions", &sessions(3, 102));
        let look = follower.look(1_001).expect("read");
        assert_eq!((look.effort, stage.tables_read()), (Effort::Counters, 1));
        assert_eq!(look.zone.unix_s(&look.sessions[0].since), Some(900));
        stage.put("sessions", &sessions(4, 103));
        assert_eq!(follower.look(1_002).expect("read").effort, Effort::Whole);
        stage.put("sets", r#"{"sets": [{"name": "RPKI ROA", "type": "ROA", "last_change_sec": 0, "num_IPv4": 2}]}"#);
        assert_eq!(follower.look(1_003).expect("read").effort, Effort::Whole);
        assert_eq!(
            follower.look(1_003 + RESYNC_S).expect("read").effort,
            Effort::Whole
        );

        // Another's configuration keeps nothing that it refused.
        stage.put("refused", r#"{"status": "FAILED", "error": "no such RIB"}"#);
        stage.put("sessions", &sessions(5, 104));
        assert_eq!(follower.look(1_100).expect("read").index.len(), 4);
        assert!(!follower.has_refused());

        // What does not read changes nothing.
        stage.put("sessions", &sessions(6, 104));
        stage.put("taken", "{\"rib\": [7]}");
        assert!(follower.look(1_101).is_err());
        assert!(follower.look(1_102).is_err(), "it is tried again");
    }

    #[test]
    fn what_goes_to_a_neighbour_and_what_does_not() {
        let stage = Stage::new();
        let daemon = stage.daemon();
        let now = Follower::of(stage.daemon())
            .look(1_000)
            .expect("read")
            .index;
        let ask = |name: &str, list: Towards, from: usize, limit: usize| {
            let part = towards(&daemon, &now, name, list, None, from, limit, 1_000).expect("read");
            let page = part.index.find(&Question::default(), 0, 10);
            let told: Vec<String> = page
                .routes
                .iter()
                .map(|route| format!("{} {}", route.prefix, route.session.name))
                .collect();
            (told, part.is_cut)
        };
        let told = |texts: &[&str]| {
            texts
                .iter()
                .map(|text| (*text).to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            ask("two", Towards::Exported, 0, 10),
            (told(&["198.51.100.0/24 one"]), false)
        );
        assert_eq!(
            ask("two", Towards::Withheld, 0, 10),
            (told(&["203.0.113.0/24 one"]), false)
        );
        assert_eq!(ask("one", Towards::Exported, 0, 10), (told(&[]), false));
        assert_eq!(ask("one", Towards::Withheld, 0, 10), (told(&[]), false));
        assert_eq!(ask("off", Towards::Withheld, 0, 1).0.len(), 1);
        assert!(ask("off", Towards::Withheld, 0, 1).1);
        assert_eq!(ask("nobody", Towards::Exported, 0, 1), (told(&[]), false));
    }
}
