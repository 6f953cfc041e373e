//! From a snapshot, or a single zone, to what a server answers from. A snapshot is
//! accepted whole or refused whole, with every problem named.

use std::collections::HashMap;
use std::sync::Arc;

use base::NodeName;
use base::delivery::{DispatchSnapshot, HealthPolicy, Place, limits};

use crate::answer::Zones;
use crate::clients::Clients;
use crate::name::Name;
use crate::policy::{Choices, EdgeState, POLICIES_TIMES_PLACES_MAX, Policies, Policy};
use crate::ready::Ready;
use crate::zone::Zone;

/// Problems listed before compiling stops.
const PROBLEMS_MAX: usize = 50;
/// Zones of one snapshot.
pub const ZONES_MAX: usize = 10_000;
/// Regions of one snapshot.
pub const REGIONS_MAX: usize = 65_535;
/// Addresses of one edge.
pub const ADDRESSES_PER_EDGE_MAX: usize = 16;
/// Addresses of an "all down" fallback.
pub const FALLBACK_MAX: usize = 16;

/// One thing wrong with a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{at}: {message}")]
pub struct Problem {
    /// Where: `names[3] www.example.`.
    pub at: String,
    /// The thing, its value, and the rule that it breaks.
    pub message: String,
}

/// Zones and policies of one snapshot, ready to answer from.
#[derive(Debug, Clone)]
pub struct DispatchTable {
    pub(crate) zones: Zones,
    pub(crate) policies: Policies,
    pub(crate) ready: Ready,
    health: HealthPolicy,
}

/// A table with the choices that fit the present state of the edges.
#[derive(Debug, Clone)]
pub struct Served {
    pub(crate) table: Arc<DispatchTable>,
    pub(crate) choices: Arc<Choices>,
    pub(crate) states: Vec<EdgeState>,
}

impl Served {
    /// Works out the choices. `states` are in the order of the snapshot's edges;
    /// missing ones count as alive.
    pub fn new(table: Arc<DispatchTable>, states: Vec<EdgeState>) -> Self {
        let choices = Arc::new(table.policies.work_out(&states));
        Self {
            table,
            choices,
            states,
        }
    }

    /// The same choices beside fresher figures, for explanations.
    #[must_use]
    pub fn with_states(&self, states: Vec<EdgeState>) -> Self {
        Self {
            states,
            ..self.clone()
        }
    }

    /// The table.
    pub fn table(&self) -> &Arc<DispatchTable> {
        &self.table
    }

    /// The state that the choices were worked out for.
    pub fn states(&self) -> &[EdgeState] {
        &self.states
    }
}

impl DispatchTable {
    /// A server of plain zones.
    ///
    /// # Errors
    /// Two zones of one apex.
    pub fn of_zones(zones: Vec<Zone>) -> Result<Self, Problem> {
        let zones = Zones::new(zones).map_err(|apex| Problem {
            at: apex.to_string(),
            message: "there are two zones of this name".to_owned(),
        })?;
        Ok(Self {
            ready: Ready::new(&zones),
            zones,
            policies: Policies::default(),
            health: HealthPolicy::default(),
        })
    }

    /// Compiles and checks a snapshot. The control plane calls it before it
    /// publishes, a server before it obeys.
    ///
    /// # Errors
    /// Every problem found, up to a bound; nothing of the snapshot is then used.
    pub fn compile(snapshot: &DispatchSnapshot) -> Result<Self, Vec<Problem>> {
        let mut compiler = Compiler {
            problems: Vec::new(),
            edges: HashMap::new(),
        };
        if !compiler.check_sizes(snapshot) {
            return Err(compiler.problems);
        }
        compiler.check_edges(snapshot);
        compiler.check_health(&snapshot.health);
        let clients = compiler.regions(snapshot);
        let (policies, names) = compiler.names(snapshot);
        let zones = compiler.zones(snapshot, &names);
        let (Some(clients), Some(zones), true) = (clients, zones, compiler.problems.is_empty())
        else {
            return Err(compiler.problems);
        };
        let policies = Policies::new(
            policies,
            snapshot.edges.clone(),
            snapshot.regions.clone(),
            clients,
        );
        if policies.is_too_wide() {
            return Err(vec![Problem {
                at: "names".to_owned(),
                message: format!(
                    "{} different policies seen from {} different places: their product must be at most {POLICIES_TIMES_PLACES_MAX}",
                    policies.policies.len(),
                    policies.outlooks.len()
                ),
            }]);
        }
        Ok(Self {
            ready: Ready::new(&zones),
            zones,
            policies,
            health: snapshot.health.clone(),
        })
    }

    /// The zones.
    pub fn zones(&self) -> &Zones {
        &self.zones
    }

    /// The policies, with edges and regions.
    pub fn policies(&self) -> &Policies {
        &self.policies
    }

    /// How health is agreed.
    pub fn health(&self) -> &HealthPolicy {
        &self.health
    }
}

struct Compiler {
    problems: Vec<Problem>,
    edges: HashMap<NodeName, u16>,
}

impl Compiler {
    fn problem(&mut self, at: String, message: impl Into<String>) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(Problem {
                at,
                message: message.into(),
            });
        }
    }

    fn check_sizes(&mut self, snapshot: &DispatchSnapshot) -> bool {
        let prefixes = snapshot.regions.iter().map(|r| r.prefixes.len()).sum();
        for (at, size, max) in [
            ("zones", snapshot.zones.len(), ZONES_MAX),
            ("names", snapshot.names.len(), limits::NAMES_MAX),
            ("edges", snapshot.edges.len(), limits::EDGES_MAX),
            ("regions", snapshot.regions.len(), REGIONS_MAX),
            ("regions[].prefixes", prefixes, limits::REGION_PREFIXES_MAX),
            ("health.report_to", snapshot.health.report_to.len(), 100),
        ] {
            if size > max {
                self.problem(
                    at.to_owned(),
                    format!("{size} entries: must be at most {max}"),
                );
            }
        }
        self.problems.is_empty()
    }

    fn check_place(&mut self, at: &str, place: Place) {
        let inside = place.latitude.abs() <= 90.0 && place.longitude.abs() <= 180.0;
        if !inside {
            self.problem(
                at.to_owned(),
                format!(
                    "place {}, {}: must be degrees within ±90 and ±180",
                    place.latitude, place.longitude
                ),
            );
        }
    }

    fn check_edges(&mut self, snapshot: &DispatchSnapshot) {
        for (number, edge) in snapshot.edges.iter().enumerate() {
            let at = format!("edges[{number}] {}", edge.node);
            if self
                .edges
                .insert(edge.node.clone(), number as u16)
                .is_some()
            {
                self.problem(at.clone(), "is there twice");
            }
            self.check_place(&at, edge.at);
            if !(1..=1_000).contains(&edge.weight) {
                self.problem(
                    at.clone(),
                    format!("weight {}: must be 1 to 1000", edge.weight),
                );
            }
            if edge.addresses.is_empty() || edge.addresses.len() > ADDRESSES_PER_EDGE_MAX {
                let count = edge.addresses.len();
                self.problem(
                    at.clone(),
                    format!("{count} addresses: must be 1 to {ADDRESSES_PER_EDGE_MAX}"),
                );
            }
            if let Some(odd) = edge
                .addresses
                .iter()
                .find(|ip| ip.is_unspecified() || ip.is_multicast())
            {
                self.problem(
                    at,
                    format!("address {odd}: must be one that users can reach"),
                );
            }
        }
    }

    fn check_health(&mut self, health: &HealthPolicy) {
        let at = || "health".to_owned();
        if !(50..=60_000).contains(&health.interval_ms) {
            let value = health.interval_ms;
            self.problem(at(), format!("interval_ms {value}: must be 50 to 60000"));
        }
        if !(10..=60_000).contains(&health.timeout_ms) {
            let value = health.timeout_ms;
            self.problem(at(), format!("timeout_ms {value}: must be 10 to 60000"));
        }
        if health.fall == 0 || health.rise == 0 {
            self.problem(at(), "fall and rise: must be at least 1");
        }
        if !health.report_to.is_empty() && health.report_key == [0; 32] {
            self.problem(at(), "report_key: must be a secret, and is all zeros");
        }
        if health.opinion_ttl_ms < health.interval_ms {
            let value = health.opinion_ttl_ms;
            self.problem(
                at(),
                format!(
                    "opinion_ttl_ms {value}: must be at least interval_ms, {}",
                    health.interval_ms
                ),
            );
        }
    }

    fn regions(&mut self, snapshot: &DispatchSnapshot) -> Option<Clients> {
        let mut prefixes = Vec::new();
        for (number, region) in snapshot.regions.iter().enumerate() {
            let at = format!("regions[{number}] {}", region.name);
            self.check_place(&at, region.at);
            for node in &region.prefer {
                if !self.edges.contains_key(node) {
                    self.problem(
                        at.clone(),
                        format!("prefers edge {node}, which is not among the edges"),
                    );
                }
            }
            prefixes.extend(
                region
                    .prefixes
                    .iter()
                    .map(|prefix| (*prefix, number as u32)),
            );
        }
        match Clients::new(&prefixes) {
            Ok(clients) => Some(clients),
            Err(prefix) => {
                self.problem(
                    "regions".to_owned(),
                    format!("prefix {prefix}: belongs to two regions"),
                );
                None
            }
        }
    }

    /// Policies, each once, and the names with the number of theirs.
    fn names(&mut self, snapshot: &DispatchSnapshot) -> (Vec<Policy>, Vec<(Name, u32)>) {
        let mut policies = Vec::new();
        let mut known: HashMap<Policy, u32> = HashMap::new();
        let mut names = Vec::with_capacity(snapshot.names.len());
        for (number, entry) in snapshot.names.iter().enumerate() {
            let at = || format!("names[{number}] {}", entry.name);
            if !(1..=8).contains(&entry.answers_max) {
                self.problem(
                    at(),
                    format!("answers_max {}: must be 1 to 8", entry.answers_max),
                );
            }
            if entry.ttl_s > crate::master::TTL_MAX {
                self.problem(
                    at(),
                    format!(
                        "ttl_s {}: must be at most {}",
                        entry.ttl_s,
                        crate::master::TTL_MAX
                    ),
                );
            }
            if let base::delivery::AllDown::Fallback(addresses) = &entry.all_down
                && (addresses.is_empty() || addresses.len() > FALLBACK_MAX)
            {
                let count = addresses.len();
                self.problem(
                    at(),
                    format!("{count} fallback addresses: must be 1 to {FALLBACK_MAX}"),
                );
            }
            let mut edges = Vec::with_capacity(entry.edges.len());
            for node in &entry.edges {
                match self.edges.get(node) {
                    Some(edge) => edges.push(*edge),
                    None => self.problem(at(), format!("edge {node}: is not among the edges")),
                }
            }
            if entry.edges.is_empty() {
                edges.extend(0..snapshot.edges.len() as u16);
            }
            edges.sort_unstable();
            edges.dedup();
            let policy = Policy {
                edges,
                ttl_s: entry.ttl_s,
                answers_max: entry.answers_max,
                all_down: (&entry.all_down).into(),
            };
            let policy = *known.entry(policy).or_insert_with_key(|policy| {
                policies.push(policy.clone());
                policies.len() as u32 - 1
            });
            match entry.name.parse::<Name>() {
                Ok(name) => names.push((name.lowercase(), policy)),
                Err(error) => self.problem(at(), error.to_string()),
            }
        }
        (policies, names)
    }

    fn zones(&mut self, snapshot: &DispatchSnapshot, names: &[(Name, u32)]) -> Option<Zones> {
        let mut origins: HashMap<Name, usize> = HashMap::new();
        for (number, zone) in snapshot.zones.iter().enumerate() {
            match zone.origin.parse::<Name>() {
                Ok(origin) => {
                    if origins.insert(origin.lowercase(), number).is_some() {
                        self.problem(
                            format!("zones[{number}] {origin}"),
                            "there are two zones of this name",
                        );
                    }
                }
                Err(error) => self.problem(format!("zones[{number}]"), error.to_string()),
            }
        }
        // Each name belongs to the zone with the longest apex above it.
        let mut names_of: Vec<Vec<(Name, u32)>> = vec![Vec::new(); snapshot.zones.len()];
        for (name, policy) in names {
            let mut above = Some(name.clone());
            let zone = std::iter::from_fn(|| {
                let this = above.take()?;
                above = this.parent();
                Some(this)
            })
            .find_map(|name| origins.get(&name));
            match zone {
                Some(zone) => names_of[*zone].push((name.clone(), *policy)),
                None => self.problem(format!("names {name}"), "lies in none of the zones"),
            }
        }
        let mut zones = Vec::with_capacity(snapshot.zones.len());
        for (origin, number) in origins {
            match Zone::load(
                &origin,
                snapshot.zones[number].text.as_bytes(),
                &names_of[number],
            ) {
                Ok(zone) => zones.push(zone),
                Err(problems) => {
                    for problem in problems {
                        self.problem(format!("zones[{number}] {origin}"), problem.to_string());
                    }
                }
            }
        }
        Zones::new(zones).ok()
    }
}
