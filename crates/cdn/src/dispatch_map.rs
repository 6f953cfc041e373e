//! The dispatch map: the edges, the regions of clients and how health is agreed, as
//! one document that operators edit as a whole, with validation and history.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};

use base::delivery::{AllDown, Place, limits};
use base::{NodeName, Prefix};
use casework::form::Text;
use casework::validate::Problem;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Bytes of one document.
pub const DOCUMENT_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Addresses of one edge.
pub const ADDRESSES_MAX: usize = 16;

/// The document.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DispatchMap {
    /// The edges that can be chosen.
    pub edges: Vec<Edge>,
    /// Client networks by region; the longest matching prefix decides.
    pub regions: Vec<Region>,
    /// How health is agreed.
    #[serde(default)]
    pub health: Health,
    /// Seconds that an answer may be kept.
    #[serde(default = "default_ttl")]
    pub ttl_s: u32,
    /// Addresses in one answer, 1 to 8.
    #[serde(default = "default_answers")]
    pub answers_max: u8,
    /// What to do while no edge is healthy.
    #[serde(default = "default_all_down")]
    pub all_down: AllDown,
}

fn default_ttl() -> u32 {
    20
}

fn default_answers() -> u8 {
    2
}

fn default_all_down() -> AllDown {
    AllDown::AsIfHealthy
}

impl Default for DispatchMap {
    fn default() -> Self {
        Self {
            edges: Vec::new(),
            regions: Vec::new(),
            health: Health::default(),
            ttl_s: default_ttl(),
            answers_max: default_answers(),
            all_down: default_all_down(),
        }
    }
}

/// An edge as dispatch sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Edge {
    /// The node.
    pub node: NodeName,
    /// Shown to people: `新竹`.
    #[serde(default)]
    pub label: String,
    /// The same in English; empty: as in `label`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub label_en: String,
    /// Addresses given to users, of both families.
    pub addresses: Vec<IpAddr>,
    /// Where it stands.
    pub at: Place,
    /// Share among equally near edges, 1 to 1000.
    pub weight: u16,
    /// Requests per second that it can carry.
    pub capacity_rps: u32,
    /// Where observers ask for its health.
    pub health_address: SocketAddr,
}

impl Edge {
    /// What the edge is called in the reader's language.
    pub fn name(&self, chinese: bool) -> &str {
        let wanted = match chinese {
            true => [&self.label, &self.label_en],
            false => [&self.label_en, &self.label],
        };
        let given = wanted.into_iter().find(|label| !label.is_empty());
        given.map_or(self.node.as_str(), String::as_str)
    }
}

/// Networks whose users are near each other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Region {
    /// Shown to people: `TANet Taichung`.
    pub name: String,
    /// Client prefixes.
    pub prefixes: Vec<Prefix>,
    /// Where its users are.
    pub at: Place,
    /// Edges preferred over nearer ones, in order.
    #[serde(default)]
    pub prefer: Vec<NodeName>,
}

/// How observers agree on the health of an edge; their key is kept apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Health {
    /// Milliseconds between two probes of an edge by one observer.
    pub interval_ms: u32,
    /// Milliseconds after which a probe has failed.
    pub timeout_ms: u32,
    /// Failed probes in a row after which an observer calls an edge dead.
    pub fall: u8,
    /// Good probes in a row after which it calls it alive.
    pub rise: u8,
    /// Milliseconds after which a silent observer's opinion no longer counts.
    pub opinion_ttl_ms: u32,
    /// Dispatch servers' addresses for observers' reports (UDP).
    pub report_to: Vec<SocketAddr>,
}

impl Default for Health {
    fn default() -> Self {
        let policy = base::delivery::HealthPolicy::default();
        Self {
            interval_ms: policy.interval_ms,
            timeout_ms: policy.timeout_ms,
            fall: policy.fall,
            rise: policy.rise,
            opinion_ttl_ms: policy.opinion_ttl_ms,
            report_to: Vec::new(),
        }
    }
}

/// Everything that is wrong with a document, each with the path of the value.
pub fn problems(map: &DispatchMap) -> Vec<Problem> {
    let mut found = Vec::new();
    let nodes = check_edges(map, &mut found);
    check_regions(map, &nodes, &mut found);
    range(
        &mut found,
        "health.interval_ms",
        map.health.interval_ms.into(),
        50,
        60_000,
    );
    range(
        &mut found,
        "health.timeout_ms",
        map.health.timeout_ms.into(),
        10,
        60_000,
    );
    range(&mut found, "health.fall", map.health.fall.into(), 1, 20);
    range(&mut found, "health.rise", map.health.rise.into(), 1, 20);
    range(
        &mut found,
        "health.opinion_ttl_ms",
        map.health.opinion_ttl_ms.into(),
        100,
        600_000,
    );
    range(
        &mut found,
        "health.report_to",
        map.health.report_to.len() as u64,
        0,
        64,
    );
    range(&mut found, "ttl_s", map.ttl_s.into(), 0, 86_400);
    range(&mut found, "answers_max", map.answers_max.into(), 1, 8);
    if let AllDown::Fallback(addresses) = &map.all_down {
        range(
            &mut found,
            "all_down.fallback",
            addresses.len() as u64,
            1,
            ADDRESSES_MAX as u64,
        );
    }
    found
}

fn check_edges<'a>(map: &'a DispatchMap, found: &mut Vec<Problem>) -> BTreeSet<&'a NodeName> {
    let mut nodes = BTreeSet::new();
    range(
        found,
        "edges",
        map.edges.len() as u64,
        0,
        limits::EDGES_MAX as u64,
    );
    for (index, edge) in map.edges.iter().enumerate() {
        let at = format!("edges[{index}]");
        if !nodes.insert(&edge.node) {
            wrong(
                found,
                format!("{at}.node"),
                &edge.node,
                "unique",
                "節點重複了",
                "this node is given twice",
            );
        }
        range(
            found,
            format!("{at}.addresses"),
            edge.addresses.len() as u64,
            1,
            ADDRESSES_MAX as u64,
        );
        for (n, address) in edge.addresses.iter().enumerate() {
            if address.is_unspecified() || address.is_multicast() {
                wrong(
                    found,
                    format!("{at}.addresses[{n}]"),
                    address,
                    "address",
                    "不是可以給使用者的位址",
                    "is no address that a user can reach",
                );
            }
        }
        place(found, &format!("{at}.at"), edge.at);
        range(found, format!("{at}.weight"), edge.weight.into(), 1, 1_000);
        range(
            found,
            format!("{at}.capacity_rps"),
            edge.capacity_rps.into(),
            1,
            u32::MAX.into(),
        );
        if edge.health_address.port() == 0 {
            wrong(
                found,
                format!("{at}.health_address"),
                edge.health_address,
                "port",
                "埠號不得為 0",
                "the port must not be 0",
            );
        }
    }
    nodes
}

fn check_regions(map: &DispatchMap, nodes: &BTreeSet<&NodeName>, found: &mut Vec<Problem>) {
    let total: usize = map.regions.iter().map(|region| region.prefixes.len()).sum();
    range(
        found,
        "regions",
        total as u64,
        0,
        limits::REGION_PREFIXES_MAX as u64,
    );
    let mut owners: HashMap<Prefix, &str> = HashMap::with_capacity(total);
    for (index, region) in map.regions.iter().enumerate() {
        let at = format!("regions[{index}]");
        if region.name.trim().is_empty() || region.name.chars().count() > 100 {
            wrong(
                found,
                format!("{at}.name"),
                &region.name,
                "length",
                "必須是 1 到 100 個字",
                "must have 1 to 100 characters",
            );
        }
        place(found, &format!("{at}.at"), region.at);
        for (n, prefix) in region.prefixes.iter().enumerate() {
            if let Some(other) = owners.insert(*prefix, &region.name) {
                wrong(
                    found,
                    format!("{at}.prefixes[{n}]"),
                    prefix,
                    "unique",
                    format!("已屬於「{other}」"),
                    format!("belongs to {other:?} already"),
                );
            }
        }
        for (n, node) in region.prefer.iter().enumerate() {
            if !nodes.contains(node) {
                wrong(
                    found,
                    format!("{at}.prefer[{n}]"),
                    node,
                    "known-node",
                    "edges 中沒有這個節點",
                    "is not one of the edges",
                );
            }
        }
    }
}

fn place(found: &mut Vec<Problem>, at: &str, place: Place) {
    if !(-90.0..=90.0).contains(&place.latitude) {
        wrong(
            found,
            format!("{at}.latitude"),
            place.latitude,
            "range",
            "必須介於 −90 與 90 之間",
            "must be between -90 and 90",
        );
    }
    if !(-180.0..=180.0).contains(&place.longitude) {
        wrong(
            found,
            format!("{at}.longitude"),
            place.longitude,
            "range",
            "必須介於 −180 與 180 之間",
            "must be between -180 and 180",
        );
    }
}

fn range(found: &mut Vec<Problem>, field: impl Into<String>, value: u64, least: u64, most: u64) {
    if value < least || value > most {
        wrong(
            found,
            field,
            value,
            "range",
            format!("必須介於 {least} 與 {most} 之間"),
            format!("must be between {least} and {most}"),
        );
    }
}

fn wrong(
    found: &mut Vec<Problem>,
    field: impl Into<String>,
    value: impl ToString,
    rule: &'static str,
    zh: impl Into<String>,
    en: impl Into<String>,
) {
    // A document of millions of prefixes must not answer with millions of problems.
    if found.len() < PROBLEMS_MAX {
        let value: String = value.to_string().chars().take(60).collect();
        found.push(Problem {
            field: field.into(),
            value,
            rule,
            message: Text::new(zh, en),
        });
    }
}

/// Problems reported of one document.
pub const PROBLEMS_MAX: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn sample() -> DispatchMap {
        serde_json::from_str(include_str!("../tests/data/dispatch-map.json"))
            .expect("the sample is right")
    }

    #[test]
    fn the_sample_is_right() {
        assert_eq!(problems(&sample()), []);
    }

    #[test]
    fn wrong_values_are_named_by_path() {
        type Case = (&'static str, Box<dyn Fn(&mut DispatchMap)>);
        let cases: Vec<Case> = vec![
            (
                "edges[1].node",
                Box::new(|m| m.edges[1].node = m.edges[0].node.clone()),
            ),
            (
                "edges[0].addresses",
                Box::new(|m| m.edges[0].addresses.clear()),
            ),
            (
                "edges[0].addresses[0]",
                Box::new(|m| m.edges[0].addresses[0] = "0.0.0.0".parse().expect("ip")),
            ),
            (
                "edges[0].at.latitude",
                Box::new(|m| m.edges[0].at.latitude = f64::NAN),
            ),
            ("edges[0].weight", Box::new(|m| m.edges[0].weight = 0)),
            (
                "regions[0].name",
                Box::new(|m| m.regions[0].name = " ".into()),
            ),
            (
                "regions[1].prefixes[0]",
                Box::new(|m| m.regions[1].prefixes[0] = m.regions[0].prefixes[0]),
            ),
            (
                "regions[0].prefer[0]",
                Box::new(|m| m.regions[0].prefer = vec!["edge-nowhere".parse().expect("a name")]),
            ),
            ("health.fall", Box::new(|m| m.health.fall = 0)),
            ("answers_max", Box::new(|m| m.answers_max = 9)),
            (
                "all_down.fallback",
                Box::new(|m| m.all_down = AllDown::Fallback(vec![])),
            ),
        ];
        for (path, change) in cases {
            let mut map = sample();
            change(&mut map);
            let found = problems(&map);
            assert!(found.iter().any(|p| p.field == path), "{path}: {found:?}");
        }
    }
}
