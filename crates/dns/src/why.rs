//! "Why this answer?": the steps of a choice, told to people and programs.

use std::net::IpAddr;

use base::NodeName;
use serde::Serialize;

use crate::answer::{Chooser, Chosen, answer};
use crate::clients::NOWHERE;
use crate::kind::{Kind, rcode};
use crate::message::HEADER_BYTES;
use crate::name::{Name, suffixes};
use crate::policy::{AllDownKey, NO_EDGE, SHARES, Standing, distance_km, share_of, standing};
use crate::respond::RESPONSE_BYTES_MAX;
use crate::table::Served;
use crate::writer::Writer;
use crate::zone::Node;

/// How the answer for a name and a client comes about.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Why {
    /// The name asked for, absolute.
    pub name: String,
    /// The client address that it was worked out for.
    pub client: IpAddr,
    /// The zone that holds the name.
    pub zone: Option<String>,
    /// Where CNAMEs and DNAMEs lead, in order.
    pub chain: Vec<String>,
    /// How a policy chose; none when the zone alone answers.
    pub policy: Option<WhyPolicy>,
    /// Response code of the A answer.
    pub rcode: &'static str,
    /// The answers of type A, AAAA and HTTPS, as `TYPE TTL RDATA`.
    pub answers: Vec<String>,
}

/// How a policy chose.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WhyPolicy {
    /// The name that answers by policy.
    pub name: String,
    /// The configured client prefix that matched.
    pub prefix: Option<String>,
    /// The network that is answered alike, which is the ECS scope.
    pub answered_alike: String,
    /// The region that the prefix belongs to.
    pub region: Option<String>,
    /// Which of the equal shares of clients this network falls into.
    pub share: usize,
    /// How many shares there are.
    pub shares: usize,
    /// `as-if-healthy`, `fallback` or `serv-fail`.
    pub all_down: &'static str,
    /// Whether that policy is in force.
    pub all_down_in_force: bool,
    /// Every edge, in the order in which this client would be sent to it.
    pub edges: Vec<WhyEdge>,
}

/// One edge as a candidate.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WhyEdge {
    /// The node.
    pub node: NodeName,
    /// Kilometres from the region; none for clients of no region.
    pub distance_km: Option<f64>,
    /// Candidates of the same rank share clients by weight.
    pub rank: usize,
    /// Share among equals.
    pub weight: u16,
    /// Share of its capacity in use.
    pub load: f32,
    /// Requests per second that it can carry.
    pub capacity_rps: u32,
    /// Observers agree that it answers.
    pub alive: bool,
    /// Being taken out of service.
    pub drained: bool,
    /// Position in the answer, from 1; none when it is left out.
    pub chosen: Option<usize>,
    /// Why it is in or out.
    pub reason: String,
}

/// Explains the answer for `name`, asked on behalf of `client`.
pub fn why(served: &Served, name: &Name, client: IpAddr) -> Why {
    let lower = name.lowercase();
    let table = &served.table;
    let mut told = Why {
        name: name.to_string(),
        client,
        zone: table
            .zones
            .find(lower.as_wire())
            .map(|zone| zone.apex().to_string()),
        chain: Vec::new(),
        policy: None,
        rcode: rcode::name(rcode::NOERROR),
        answers: Vec::new(),
    };
    for kind in [Kind::A, Kind::AAAA, Kind::HTTPS] {
        let (code, records) = ask(served, &lower, kind, client);
        if kind == Kind::A {
            told.rcode = rcode::name(code);
        }
        for (owner, record_kind, text) in records {
            if matches!(record_kind, Kind::CNAME | Kind::DNAME) {
                let step = format!("{owner} {text}");
                if !told.chain.contains(&step) {
                    told.chain.push(step);
                }
            } else {
                told.answers.push(text);
            }
            if told.policy.is_none() {
                told.policy = policy_at(served, &owner, client);
            }
        }
    }
    // A policy that answers nothing still has to be explained.
    if told.policy.is_none() {
        told.policy = policy_at(served, &lower, client);
    }
    told
}

fn policy_at(served: &Served, owner: &Name, client: IpAddr) -> Option<WhyPolicy> {
    let lower = owner.lowercase();
    let zone = served.table.zones.find(lower.as_wire())?;
    let number = find_policy(zone, lower.as_wire())?;
    Some(explain(served, owner, number, client))
}

/// The policy of a name, through a wildcard if need be.
fn find_policy(zone: &crate::zone::Zone, name: &[u8]) -> Option<u32> {
    let exact: Option<&Node> = zone.find(name);
    let node = exact.or_else(|| {
        let closest = suffixes(name).find_map(|at| zone.find(&name[at..]))?;
        closest.wildcard.map(|wildcard| zone.node(wildcard))
    })?;
    node.policy
}

fn explain(served: &Served, name: &Name, number: u32, client: IpAddr) -> WhyPolicy {
    let policies = &served.table.policies;
    let policy = &policies.policies[number as usize];
    let located = policies.clients.locate(client);
    let outlook = &policies.outlooks[policies.outlook_number(located.region)];
    let region = (located.region != NOWHERE).then(|| &policies.regions[located.region as usize]);
    let standings: Vec<Standing> = policies
        .edges
        .iter()
        .enumerate()
        .map(|(at, edge)| standing(edge, &served.states.get(at).copied().unwrap_or_default()))
        .collect();
    let (share, _) = share_of(client, &located);
    let canonical = client.to_canonical();
    let (ranked, class) = policies.rank(policy, outlook, share, &standings, |edge| {
        edge.addresses
            .iter()
            .any(|ip| ip.is_ipv4() == canonical.is_ipv4())
    });
    let (ranked, class) = if ranked.is_empty() {
        policies.rank(policy, outlook, share, &standings, |_| true)
    } else {
        (ranked, class)
    };
    let all_down = class.is_none_or(|class| class == Standing::Dead);
    let replaced = all_down && policy.all_down != AllDownKey::AsIfHealthy;
    let choice = served.choices.choose(policies, number, client, Kind::A);
    let mut edges = Vec::new();
    for (edge, rank) in &outlook.order {
        let endpoint = &policies.edges[usize::from(*edge)];
        let state = served
            .states
            .get(usize::from(*edge))
            .copied()
            .unwrap_or_default();
        let place = ranked.iter().position(|other| other == edge);
        let chosen = place.filter(|place| *place < usize::from(policy.answers_max) && !replaced);
        let reason = if policy.edges.binary_search(edge).is_err() {
            "not allowed for this name".to_owned()
        } else if place.is_none() {
            match standings[usize::from(*edge)] {
                Standing::Dead => "dead: observers agree that it does not answer",
                Standing::Drained => "being drained",
                Standing::Overloaded => "overloaded: its load has reached its capacity",
                Standing::Good => "has no address of this family",
            }
            .to_owned()
        } else if replaced {
            "all allowed edges are down: the policy for that answers".to_owned()
        } else if chosen.is_some() {
            match region.and_then(|region| region.prefer.iter().position(|n| *n == endpoint.node)) {
                Some(at) => format!("chosen: preference {} of the region", at + 1),
                None if region.is_some() => "chosen: nearest by distance, then weight".to_owned(),
                None => "chosen: the client's region is not known, so by weight".to_owned(),
            }
        } else {
            "further down the order than the answer is long".to_owned()
        };
        edges.push(WhyEdge {
            node: endpoint.node.clone(),
            distance_km: region
                .map(|region| (distance_km(region.at, endpoint.at) * 10.0).round() / 10.0),
            rank: usize::from(*rank) + 1,
            weight: endpoint.weight,
            load: state.load,
            capacity_rps: endpoint.capacity_rps,
            alive: state.alive,
            drained: endpoint.drained,
            chosen: chosen.map(|place| place + 1),
            reason,
        });
    }
    edges.sort_by_key(|edge| {
        ranked
            .iter()
            .position(|other| policies.edges[usize::from(*other)].node == edge.node)
            .unwrap_or(usize::MAX)
    });
    debug_assert!(replaced || choice.edge == NO_EDGE || choice.count == 0 || !edges.is_empty());
    let network = |length| {
        base::Prefix::new(canonical, length).map_or_else(|_| String::new(), |p| p.to_string())
    };
    WhyPolicy {
        name: name.to_string(),
        prefix: region.map(|_| network(located.matched)),
        answered_alike: network(choice.scope),
        region: region.map(|region| region.name.clone()),
        share,
        shares: SHARES,
        all_down: match policy.all_down {
            AllDownKey::AsIfHealthy => "as-if-healthy",
            AllDownKey::Fallback(_) => "fallback",
            AllDownKey::ServFail => "serv-fail",
        },
        all_down_in_force: all_down,
        edges,
    }
}

struct Here<'s> {
    served: &'s Served,
    client: IpAddr,
}

impl Chooser for Here<'_> {
    fn choose(&mut self, policy: u32, kind: Kind) -> Chosen<'_> {
        let policies = &self.served.table.policies;
        self.served
            .choices
            .choose(policies, policy, self.client, kind)
            .chosen()
    }
}

/// Asks the engine, and gives the answer section as text.
fn ask(
    served: &Served,
    name: &Name,
    kind: Kind,
    client: IpAddr,
) -> (u16, Vec<(Name, Kind, String)>) {
    let mut out = vec![0; RESPONSE_BYTES_MAX];
    let question_end = HEADER_BYTES + name.as_wire().len() + 4;
    out[HEADER_BYTES..question_end - 4].copy_from_slice(name.as_wire());
    let mut writer = Writer::new(&mut out, question_end, RESPONSE_BYTES_MAX);
    let mut here = Here { served, client };
    let found = answer(
        &served.table.zones,
        name.as_wire(),
        kind,
        &mut here,
        &mut writer,
    );
    let count = writer.counts()[0];
    let end = writer.position();
    let records = crate::read::records(&out[..end], question_end, usize::from(count));
    let told = records
        .unwrap_or_default()
        .into_iter()
        .map(|record| {
            let data = crate::read::rdata_text(&out[..end], &record);
            (
                record.owner,
                record.kind,
                format!("{} {} {data}", record.kind, record.ttl),
            )
        })
        .collect();
    (found.rcode, told)
}
