//! Health by agreement: several observers probe every edge and tell every dispatch
//! server; an edge is dead when a strict majority of those whose word is fresh say
//! so. With no fresh word the last state stays: a silent control network kills nobody.

mod observe;
mod report;

use std::collections::BTreeMap;
use std::time::Duration;

use base::NodeName;
use base::delivery::HealthPolicy;
use dns::EdgeState;
use dns::policy::{OVERLOAD_AT, RELIEF_AT};
use serde::Serialize;

pub use observe::{Observer, ProbeError, read_health};
pub use report::{Inbox, Opinion, Outbox, REPORT_BYTES_MAX, Refused, Report, decode, encode};

/// Observers whose opinions are kept for one edge.
pub const OBSERVERS_MAX: usize = 64;

/// What one observer said of one edge, and when it arrived.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Heard {
    alive: bool,
    load: f32,
    /// By a clock that never jumps.
    at: Duration,
}

/// An observer's word, as shown to people.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Voice {
    /// The observer.
    pub observer: NodeName,
    /// What it says.
    pub alive: bool,
    /// The load that the edge told it; 1 is full.
    pub load: f32,
    /// Milliseconds since it said so.
    pub age_ms: u64,
    /// Whether it still counts.
    pub fresh: bool,
}

#[derive(Debug, Clone, Default)]
struct EdgeRecord {
    heard: BTreeMap<NodeName, Heard>,
    state: EdgeState,
}

/// Opinions, and what follows from them. Pure: time is an argument, taken from a
/// clock that never jumps.
#[derive(Debug, Clone)]
pub struct Agreement {
    ttl: Duration,
    edges: BTreeMap<NodeName, EdgeRecord>,
    order: Vec<NodeName>,
}

/// A change of an edge's agreed state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The edge.
    pub edge: NodeName,
    /// What it was, and is no more.
    pub was_alive: bool,
    /// What it is.
    pub alive: bool,
    /// Whether it is overloaded.
    pub overloaded: bool,
}

impl Agreement {
    /// Begins with every edge alive and nothing heard.
    pub fn new(policy: &HealthPolicy, edges: impl IntoIterator<Item = NodeName>) -> Self {
        let mut agreement = Self {
            ttl: Duration::ZERO,
            edges: BTreeMap::new(),
            order: Vec::new(),
        };
        agreement.follow(policy, edges);
        agreement
    }

    /// Takes over another snapshot's edges; what is known of those that stay is kept.
    pub fn follow(&mut self, policy: &HealthPolicy, edges: impl IntoIterator<Item = NodeName>) {
        self.ttl = Duration::from_millis(u64::from(policy.opinion_ttl_ms));
        self.order = edges.into_iter().collect();
        let mut old = std::mem::take(&mut self.edges);
        for edge in &self.order {
            let record = old.remove(edge).unwrap_or_default();
            self.edges.insert(edge.clone(), record);
        }
    }

    /// An observer's opinion arrived. Unknown edges are passed over; false when the
    /// edge has as many observers as it can have.
    pub fn hear(&mut self, observer: &NodeName, opinion: &Opinion, now: Duration) -> bool {
        let Some(record) = self.edges.get_mut(&opinion.edge) else {
            return true;
        };
        let ttl = self.ttl;
        if record.heard.len() >= OBSERVERS_MAX && !record.heard.contains_key(observer) {
            record
                .heard
                .retain(|_, heard| now.saturating_sub(heard.at) <= ttl);
            if record.heard.len() >= OBSERVERS_MAX {
                return false;
            }
        }
        let heard = Heard {
            alive: opinion.alive,
            load: opinion.load.clamp(0.0, 1_000.0),
            at: now,
        };
        record.heard.insert(observer.clone(), heard);
        true
    }

    /// Draws the conclusions, and gives those that changed.
    pub fn decide(&mut self, now: Duration) -> Vec<Change> {
        let mut changes = Vec::new();
        for (edge, record) in &mut self.edges {
            let ttl = self.ttl;
            let fresh = || {
                record
                    .heard
                    .values()
                    .filter(move |heard| now.saturating_sub(heard.at) <= ttl)
            };
            let voices = fresh().count();
            if voices == 0 {
                continue;
            }
            let dead = fresh().filter(|heard| !heard.alive).count();
            let was = record.state;
            record.state.alive = dead * 2 <= voices;
            if let Some(latest) = fresh()
                .filter(|heard| heard.alive)
                .max_by_key(|heard| heard.at)
            {
                record.state.load = latest.load;
                record.state.overloaded =
                    latest.load >= OVERLOAD_AT || (was.overloaded && latest.load >= RELIEF_AT);
            }
            if (was.alive, was.overloaded) != (record.state.alive, record.state.overloaded) {
                changes.push(Change {
                    edge: edge.clone(),
                    was_alive: was.alive,
                    alive: record.state.alive,
                    overloaded: record.state.overloaded,
                });
            }
        }
        changes
    }

    /// The agreed states, in the order of the snapshot's edges.
    pub fn states(&self) -> Vec<EdgeState> {
        self.order
            .iter()
            .map(|edge| {
                self.edges
                    .get(edge)
                    .map_or_else(EdgeState::default, |r| r.state)
            })
            .collect()
    }

    /// Who says what of an edge.
    pub fn voices(&self, edge: &NodeName, now: Duration) -> Vec<Voice> {
        let Some(record) = self.edges.get(edge) else {
            return Vec::new();
        };
        record
            .heard
            .iter()
            .map(|(observer, heard)| {
                let age = now.saturating_sub(heard.at);
                Voice {
                    observer: observer.clone(),
                    alive: heard.alive,
                    load: heard.load,
                    age_ms: age.as_millis() as u64,
                    fresh: age <= self.ttl,
                }
            })
            .collect()
    }
}

/// One observer's view of one edge, with hysteresis: it calls an edge dead after
/// `fall` failures in a row, alive after `rise` successes in a row. The first result
/// that is a success counts at once.
#[derive(Debug, Clone, Default)]
pub struct Watch {
    alive: Option<bool>,
    row: u8,
    load: f32,
}

impl Watch {
    /// Takes the result of a probe: the load told, or none for a failure. True when
    /// the opinion changed.
    pub fn probed(&mut self, result: Option<f32>, policy: &HealthPolicy) -> bool {
        let good = result.is_some();
        if let Some(load) = result {
            self.load = load;
        }
        if self.alive == Some(good) {
            self.row = 0;
            return false;
        }
        self.row = self.row.saturating_add(1);
        let needed = match (self.alive, good) {
            (None, true) => 1,
            (_, true) => policy.rise,
            (_, false) => policy.fall,
        };
        if self.row < needed {
            return false;
        }
        self.row = 0;
        self.alive = Some(good);
        true
    }

    /// The opinion, once there is one: alive, and the load told last.
    pub fn opinion(&self) -> Option<(bool, f32)> {
        self.alive.map(|alive| (alive, self.load))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str) -> NodeName {
        name.parse().expect("a node name")
    }

    fn say(agreement: &mut Agreement, observer: &str, alive: bool, load: f32, ms: u64) {
        let opinion = Opinion {
            edge: node("edge"),
            alive,
            load,
        };
        assert!(agreement.hear(&node(observer), &opinion, Duration::from_millis(ms)));
    }

    fn alive(agreement: &mut Agreement, ms: u64) -> bool {
        agreement.decide(Duration::from_millis(ms));
        agreement.states()[0].alive
    }

    fn agreement() -> Agreement {
        Agreement::new(&HealthPolicy::default(), [node("edge")])
    }

    #[test]
    fn a_strict_majority_of_fresh_voices_decides() {
        let mut a = agreement();
        assert!(alive(&mut a, 0), "unknown counts as alive");
        say(&mut a, "one", false, 0.0, 100);
        say(&mut a, "two", true, 0.0, 100);
        assert!(alive(&mut a, 100), "half is no majority");
        say(&mut a, "three", false, 0.0, 200);
        assert!(!alive(&mut a, 200));
    }

    #[test]
    fn a_silent_observer_stops_counting_and_silence_of_all_changes_nothing() {
        let mut a = agreement();
        say(&mut a, "one", false, 0.0, 0);
        say(&mut a, "two", false, 0.0, 0);
        say(&mut a, "three", true, 0.0, 0);
        assert!(!alive(&mut a, 0));
        // The two that called it dead die themselves.
        say(&mut a, "three", true, 0.0, 1_400);
        assert!(!alive(&mut a, 1_400));
        say(&mut a, "three", true, 0.0, 1_600);
        assert!(alive(&mut a, 1_600));
        say(&mut a, "three", false, 0.0, 1_700);
        assert!(!alive(&mut a, 1_700));
        assert!(!alive(&mut a, 999_000), "silence keeps the last state");
        assert!(
            a.voices(&node("edge"), Duration::from_secs(999))
                .iter()
                .all(|v| !v.fresh)
        );
    }

    #[test]
    fn load_goes_over_and_comes_back_with_a_gap() {
        let mut a = agreement();
        let mut overloaded = |load, ms| {
            say(&mut a, "one", true, load, ms);
            a.decide(Duration::from_millis(ms));
            a.states()[0].overloaded
        };
        assert!(!overloaded(0.99, 0));
        assert!(overloaded(1.0, 100));
        assert!(overloaded(0.95, 200));
        assert!(!overloaded(0.89, 300));
        assert!(!overloaded(0.95, 400));
    }

    #[test]
    fn what_is_known_survives_another_snapshot() {
        let mut a = agreement();
        say(&mut a, "one", false, 0.0, 0);
        assert!(!alive(&mut a, 0));
        a.follow(&HealthPolicy::default(), [node("new"), node("edge")]);
        assert_eq!(
            a.states().iter().map(|s| s.alive).collect::<Vec<_>>(),
            [true, false]
        );
    }

    #[test]
    fn observers_are_bounded() {
        let mut a = agreement();
        let opinion = Opinion {
            edge: node("edge"),
            alive: false,
            load: 0.0,
        };
        for number in 0..OBSERVERS_MAX {
            assert!(a.hear(&node(&format!("o{number}")), &opinion, Duration::ZERO));
        }
        assert!(!a.hear(&node("late"), &opinion, Duration::ZERO));
        assert!(
            a.hear(&node("late"), &opinion, Duration::from_secs(9)),
            "silent ones made room"
        );
    }

    #[test]
    fn an_opinion_needs_results_in_a_row() {
        let policy = HealthPolicy::default();
        let mut watch = Watch::default();
        assert_eq!(watch.opinion(), None);
        assert!(!watch.probed(None, &policy));
        assert!(watch.probed(Some(0.5), &policy), "the first success counts");
        assert!(!watch.probed(None, &policy));
        assert!(!watch.probed(Some(0.25), &policy));
        assert!(!watch.probed(None, &policy));
        assert_eq!(watch.opinion(), Some((true, 0.25)));
        assert!(watch.probed(None, &policy));
        assert!(!watch.probed(Some(0.25), &policy));
        assert!(watch.probed(Some(0.5), &policy));
        assert_eq!(watch.opinion(), Some((true, 0.5)));
    }
}
