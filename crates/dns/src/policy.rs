//! Choosing edges for clients.
//!
//! What only a snapshot changes is [`Policies`]: distances, preferences, networks.
//! What health and load change is [`Choices`]: for each policy, place of the client
//! and share, an answer ready to be copied. Choosing is then two table look-ups.

use std::collections::HashMap;
use std::net::IpAddr;

use base::delivery::{AllDown, EdgeEndpoint, Place, Region};

use crate::answer::Chosen;
use crate::bytemap::{fold, hash};
use crate::clients::{Clients, Located, NOWHERE};
use crate::kind::{CLASS_IN, Kind, rcode};

/// Shares that the clients of one place are divided into, when several edges are
/// equally near.
pub const SHARES: usize = 64;
/// Kilometres of difference in distance that count as equally near.
pub const NEAR_KM: f64 = 25.0;
/// Most policies times places of one snapshot, so that a change of health is worked
/// out in a fraction of a second.
pub const POLICIES_TIMES_PLACES_MAX: usize = 16_384;
/// Load at which an edge counts as overloaded: its capacity.
pub const OVERLOAD_AT: f32 = 1.0;
/// Load under which an overloaded edge counts as relieved, so that it does not
/// flap.
pub const RELIEF_AT: f32 = 0.9;
/// Bits of a client's network that keep an edge together, IPv4 and IPv6.
const SHARE_BITS: [u8; 2] = [24, 48];

/// What differs between names: names with the same values share one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Policy {
    /// Numbers of the edges allowed, rising.
    pub edges: Vec<u16>,
    /// Seconds.
    pub ttl_s: u32,
    /// Addresses in one answer.
    pub answers_max: u8,
    /// Policy for "all down".
    pub all_down: AllDownKey,
}

/// [`AllDown`] in a form that can be hashed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum AllDownKey {
    /// See [`AllDown::AsIfHealthy`].
    AsIfHealthy,
    /// See [`AllDown::Fallback`].
    Fallback(Vec<IpAddr>),
    /// See [`AllDown::ServFail`].
    ServFail,
}

impl From<&AllDown> for AllDownKey {
    fn from(all_down: &AllDown) -> Self {
        match all_down {
            AllDown::AsIfHealthy => Self::AsIfHealthy,
            AllDown::Fallback(addresses) => Self::Fallback(addresses.clone()),
            AllDown::ServFail => Self::ServFail,
        }
    }
}

/// How an edge is doing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EdgeState {
    /// Observers agree that it answers.
    pub alive: bool,
    /// Share of its capacity in use, as it reports; 1 is full.
    pub load: f32,
    /// Full, or not relieved since.
    pub overloaded: bool,
}

impl Default for EdgeState {
    /// Unknown counts as alive.
    fn default() -> Self {
        Self {
            alive: true,
            load: 0.0,
            overloaded: false,
        }
    }
}

/// How good an edge is to choose; lower is better, and only the best class that is
/// not empty is chosen from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Alive, in service, with room.
    Good,
    /// Alive and in service, but at its capacity.
    Overloaded,
    /// Alive, being taken out of service.
    Drained,
    /// Observers agree that it does not answer.
    Dead,
}

/// The standing of an edge.
pub fn standing(endpoint: &EdgeEndpoint, state: &EdgeState) -> Standing {
    match (state.alive, endpoint.drained, state.overloaded) {
        (false, _, _) => Standing::Dead,
        (true, true, _) => Standing::Drained,
        (true, false, true) => Standing::Overloaded,
        (true, false, false) => Standing::Good,
    }
}

/// Edges in order of preference as seen from one place.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Outlook {
    /// Edge, and the rank that it shares with equally good ones.
    pub(crate) order: Vec<(u16, u16)>,
}

/// The part that only a snapshot changes.
#[derive(Debug, Clone, Default)]
pub struct Policies {
    pub(crate) policies: Vec<Policy>,
    pub(crate) edges: Vec<EdgeEndpoint>,
    edge_hashes: Vec<u64>,
    pub(crate) clients: Clients,
    pub(crate) regions: Vec<Region>,
    /// For each region, and then for clients of none, its outlook.
    outlook_of: Vec<u32>,
    pub(crate) outlooks: Vec<Outlook>,
}

impl Policies {
    /// Puts together what was checked: edges named by policies and regions exist.
    pub(crate) fn new(
        policies: Vec<Policy>,
        edges: Vec<EdgeEndpoint>,
        regions: Vec<Region>,
        clients: Clients,
    ) -> Self {
        let mut known: HashMap<Outlook, u32> = HashMap::new();
        let mut outlooks = Vec::new();
        let mut outlook_of = Vec::with_capacity(regions.len() + 1);
        for region in regions.iter().map(Some).chain([None]) {
            let outlook = look_out(region, &edges);
            let number = *known.entry(outlook).or_insert_with_key(|outlook| {
                outlooks.push(outlook.clone());
                outlooks.len() as u32 - 1
            });
            outlook_of.push(number);
        }
        let edge_hashes = edges
            .iter()
            .map(|edge| hash(edge.node.as_str().as_bytes()))
            .collect();
        Self {
            policies,
            edges,
            edge_hashes,
            clients,
            regions,
            outlook_of,
            outlooks,
        }
    }

    /// The edges, by number.
    pub fn edges(&self) -> &[EdgeEndpoint] {
        &self.edges
    }

    pub(crate) fn outlook_number(&self, region: u32) -> usize {
        let at = match region {
            NOWHERE => self.regions.len(),
            region => region as usize,
        };
        self.outlook_of.get(at).map_or(0, |number| *number as usize)
    }

    /// Whether the snapshot is too wide to be worked out quickly.
    pub(crate) fn is_too_wide(&self) -> bool {
        self.policies.len() * self.outlooks.len() > POLICIES_TIMES_PLACES_MAX
    }

    /// Works out all answers for the present state of the edges.
    pub fn work_out(&self, states: &[EdgeState]) -> Choices {
        let mut maker = Maker {
            policies: self,
            standings: self
                .edges
                .iter()
                .enumerate()
                .map(|(at, edge)| standing(edge, &states.get(at).copied().unwrap_or_default()))
                .collect(),
            choices: Choices::default(),
            known: HashMap::new(),
        };
        for (number, policy) in self.policies.iter().enumerate() {
            for outlook in &self.outlooks {
                let numbers: Vec<u32> = (0..SHARES)
                    .map(|share| maker.answer(number as u32, policy, outlook, share))
                    .collect();
                let first = maker.choices.numbers.len() as u32;
                if numbers.iter().all(|number| *number == numbers[0]) {
                    maker.choices.numbers.push(numbers[0]);
                    maker.choices.picks.push(Pick {
                        first,
                        shared: false,
                    });
                } else {
                    maker.choices.numbers.extend(numbers);
                    maker.choices.picks.push(Pick {
                        first,
                        shared: true,
                    });
                }
            }
        }
        maker.choices
    }

    /// The edges of `policy` in the order in which a client of this outlook and share
    /// is sent to them, and the class that they were taken from.
    pub(crate) fn rank(
        &self,
        policy: &Policy,
        outlook: &Outlook,
        share: usize,
        standings: &[Standing],
        usable: impl Fn(&EdgeEndpoint) -> bool,
    ) -> (Vec<u16>, Option<Standing>) {
        let allowed = |edge: u16| {
            policy.edges.binary_search(&edge).is_ok() && usable(&self.edges[usize::from(edge)])
        };
        let best = outlook
            .order
            .iter()
            .filter(|(edge, _)| allowed(*edge))
            .map(|(edge, _)| standings[usize::from(*edge)])
            .min();
        let Some(best) = best else {
            return (Vec::new(), None);
        };
        let mut ranked: Vec<(u16, f64, u16)> = Vec::new();
        for (edge, rank) in &outlook.order {
            if allowed(*edge) && standings[usize::from(*edge)] == best {
                ranked.push((*rank, -self.score(*edge, share), *edge));
            }
        }
        ranked.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)).then(a.2.cmp(&b.2)));
        (
            ranked.into_iter().map(|(_, _, edge)| edge).collect(),
            Some(best),
        )
    }

    /// Weighted rendezvous hashing: −weight ÷ ln(uniform). A share moves only when
    /// its own edge goes, or a better one for it comes.
    fn score(&self, edge: u16, share: usize) -> f64 {
        let mixed = fold(
            self.edge_hashes[usize::from(edge)]
                ^ (share as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15),
            0xd6e8_feb8_6659_fd93,
        );
        let uniform = ((mixed >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
        -f64::from(self.edges[usize::from(edge)].weight) / uniform.ln()
    }
}

/// Orders the edges for a region: preferred ones first, then by distance; clients of
/// no region see all as equally near.
fn look_out(region: Option<&Region>, edges: &[EdgeEndpoint]) -> Outlook {
    let mut order = Vec::with_capacity(edges.len());
    let Some(region) = region else {
        order.extend((0..edges.len()).map(|edge| (edge as u16, 0)));
        return Outlook { order };
    };
    let mut rank = 0;
    for node in &region.prefer {
        if let Some(edge) = edges.iter().position(|edge| edge.node == *node)
            && order.iter().all(|(known, _)| *known != edge as u16)
        {
            order.push((edge as u16, rank));
            rank += 1;
        }
    }
    let mut rest: Vec<(f64, u16)> = edges
        .iter()
        .enumerate()
        .filter(|(edge, _)| order.iter().all(|(known, _)| *known != *edge as u16))
        .map(|(edge, endpoint)| (distance_km(region.at, endpoint.at), edge as u16))
        .collect();
    rest.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let mut group_at: Option<f64> = None;
    for (km, edge) in rest {
        if let Some(first) = group_at
            && km - first > NEAR_KM
        {
            rank += 1;
            group_at = Some(km);
        }
        group_at.get_or_insert(km);
        order.push((edge, rank));
    }
    Outlook { order }
}

/// Kilometres between two points along a great circle (haversine; mean radius).
pub fn distance_km(a: Place, b: Place) -> f64 {
    const RADIUS_KM: f64 = 6_371.008_8;
    let (lat_a, lat_b) = (a.latitude.to_radians(), b.latitude.to_radians());
    let half_lat = ((lat_b - lat_a) / 2.0).sin();
    let half_lon = ((b.longitude - a.longitude).to_radians() / 2.0).sin();
    let h = half_lat * half_lat + lat_a.cos() * lat_b.cos() * half_lon * half_lon;
    2.0 * RADIUS_KM * h.sqrt().min(1.0).asin()
}

/// Number of an edge that stands for none.
pub const NO_EDGE: u16 = u16::MAX;

/// All answers for one state of the edges.
#[derive(Debug, Clone, Default)]
pub struct Choices {
    /// By policy times outlooks plus outlook.
    picks: Vec<Pick>,
    /// Answer numbers: one for a pick, or [`SHARES`].
    numbers: Vec<u32>,
    answers: Vec<ReadyChoice>,
    bytes: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
struct Pick {
    first: u32,
    shared: bool,
}

/// The three answers of one choice.
#[derive(Debug, Clone, Copy)]
pub struct ReadyChoice {
    /// The edge put first, or [`NO_EDGE`].
    pub edge: u16,
    servfail: bool,
    /// A, AAAA, HTTPS.
    parts: [Part; 3],
}

#[derive(Debug, Clone, Copy, Default)]
struct Part {
    start: u32,
    length: u16,
    records: u16,
}

/// A choice made for a client.
#[derive(Debug, Clone, Copy)]
pub struct Choice<'c> {
    /// The edge put first, or [`NO_EDGE`].
    pub edge: u16,
    /// Prefix length around the client that is answered alike: the ECS scope.
    pub scope: u8,
    /// Records, owner `0xc00c`.
    pub records: &'c [u8],
    /// How many.
    pub count: u16,
    /// NOERROR or SERVFAIL.
    pub rcode: u16,
}

impl<'c> Choice<'c> {
    /// As the answer engine wants it.
    pub fn chosen(&self) -> Chosen<'c> {
        if self.rcode == rcode::SERVFAIL {
            Chosen::ServFail
        } else if self.count == 0 {
            Chosen::NoData
        } else {
            Chosen::Records(self.records)
        }
    }
}

/// Which share a client falls into, and the length of the network that keeps it.
pub(crate) fn share_of(client: IpAddr, located: &Located) -> (usize, u8) {
    let (bits, shift, least) = match client.to_canonical() {
        IpAddr::V4(v4) => (u128::from(v4.to_bits()) << 96, 0, SHARE_BITS[0]),
        IpAddr::V6(v6) => (v6.to_bits(), 1, SHARE_BITS[1]),
    };
    let length = located.block.max(least);
    let masked = bits & !u128::MAX.checked_shr(u32::from(length)).unwrap_or(0);
    let mixed = fold(
        fold((masked >> 64) as u64 ^ shift, 0x9e37_79b9_7f4a_7c15) ^ masked as u64,
        0xd6e8_feb8_6659_fd93,
    );
    ((mixed >> 32) as usize % SHARES, length)
}

impl Choices {
    /// Chooses for a client. `kind` is A, AAAA or HTTPS.
    #[inline]
    pub fn choose(
        &self,
        policies: &Policies,
        policy: u32,
        client: IpAddr,
        kind: Kind,
    ) -> Choice<'_> {
        let located = policies.clients.locate(client);
        let outlook = policies.outlook_number(located.region);
        let pick = self.picks[policy as usize * policies.outlooks.len() + outlook];
        let (share, scope) = if pick.shared {
            share_of(client, &located)
        } else {
            (0, located.block)
        };
        let answer = &self.answers[self.numbers[pick.first as usize + share] as usize];
        let part = answer.parts[match kind {
            Kind::A => 0,
            Kind::AAAA => 1,
            _ => 2,
        }];
        let start = part.start as usize;
        Choice {
            edge: answer.edge,
            scope,
            records: &self.bytes[start..start + usize::from(part.length)],
            count: part.records,
            rcode: if answer.servfail {
                rcode::SERVFAIL
            } else {
                rcode::NOERROR
            },
        }
    }
}

/// An answer by what it is made of: policy, edges for IPv4, edges for IPv6, all down.
type AnswerKey = (u32, Vec<u16>, Vec<u16>, bool);

struct Maker<'p> {
    policies: &'p Policies,
    standings: Vec<Standing>,
    choices: Choices,
    known: HashMap<AnswerKey, u32>,
}

impl Maker<'_> {
    fn answer(&mut self, number: u32, policy: &Policy, outlook: &Outlook, share: usize) -> u32 {
        let rank = |usable: fn(&IpAddr) -> bool| {
            self.policies
                .rank(policy, outlook, share, &self.standings, |edge| {
                    edge.addresses.iter().any(usable)
                })
        };
        let (mut v4, class4) = rank(IpAddr::is_ipv4);
        let (mut v6, class6) = rank(IpAddr::is_ipv6);
        let all_down = [class4, class6]
            .into_iter()
            .flatten()
            .all(|class| class == Standing::Dead);
        // A family whose edges are all dead says nothing while the other one serves.
        if !all_down && class4 == Some(Standing::Dead) {
            v4.clear();
        }
        if !all_down && class6 == Some(Standing::Dead) {
            v6.clear();
        }
        let max = usize::from(policy.answers_max.clamp(1, 8));
        v4.truncate(max);
        v6.truncate(max);
        let key = (number, v4, v6, all_down);
        if let Some(known) = self.known.get(&key) {
            return *known;
        }
        let ready = self.render(policy, &key);
        self.choices.answers.push(ready);
        let made = self.choices.answers.len() as u32 - 1;
        self.known.insert(key, made);
        made
    }

    fn render(&mut self, policy: &Policy, (_, v4, v6, all_down): &AnswerKey) -> ReadyChoice {
        let max = usize::from(policy.answers_max.clamp(1, 8));
        let mut edge = v4.first().or(v6.first()).copied().unwrap_or(NO_EDGE);
        let (mut a, mut aaaa) = (
            self.addresses(v4, max, true),
            self.addresses(v6, max, false),
        );
        let mut servfail = false;
        if *all_down {
            match &policy.all_down {
                AllDownKey::AsIfHealthy => {}
                AllDownKey::Fallback(addresses) => {
                    edge = NO_EDGE;
                    let family = |v4| {
                        let of_family = addresses.iter().filter(move |ip| ip.is_ipv4() == v4);
                        of_family.take(max).copied().collect::<Vec<_>>()
                    };
                    (a, aaaa) = (family(true), family(false));
                }
                AllDownKey::ServFail => {
                    edge = NO_EDGE;
                    servfail = true;
                    (a, aaaa) = (Vec::new(), Vec::new());
                }
            }
        }
        let https = if a.is_empty() && aaaa.is_empty() {
            Vec::new()
        } else {
            vec![service_binding(&a, &aaaa)]
        };
        let parts = [
            self.part(Kind::A, policy.ttl_s, a.iter().map(octets)),
            self.part(Kind::AAAA, policy.ttl_s, aaaa.iter().map(octets)),
            self.part(Kind::HTTPS, policy.ttl_s, https.into_iter()),
        ];
        ReadyChoice {
            edge,
            servfail,
            parts,
        }
    }

    /// One address of each edge in order, then their further ones.
    fn addresses(&self, edges: &[u16], max: usize, v4: bool) -> Vec<IpAddr> {
        let of = |edge: &u16| {
            let all = &self.policies.edges[usize::from(*edge)].addresses;
            all.iter().filter(move |ip| ip.is_ipv4() == v4)
        };
        let deepest = edges.iter().map(|edge| of(edge).count()).max().unwrap_or(0);
        (0..deepest)
            .flat_map(|round| edges.iter().filter_map(move |edge| of(edge).nth(round)))
            .take(max)
            .copied()
            .collect()
    }

    fn part(&mut self, kind: Kind, ttl: u32, rdatas: impl Iterator<Item = Vec<u8>>) -> Part {
        let start = self.choices.bytes.len();
        let mut records = 0;
        for rdata in rdatas {
            let bytes = &mut self.choices.bytes;
            bytes.extend([0xc0, 0x0c]);
            bytes.extend(kind.0.to_be_bytes());
            bytes.extend(CLASS_IN.to_be_bytes());
            bytes.extend(ttl.to_be_bytes());
            bytes.extend((rdata.len() as u16).to_be_bytes());
            bytes.extend(rdata);
            records += 1;
        }
        Part {
            start: start as u32,
            length: (self.choices.bytes.len() - start) as u16,
            records,
        }
    }
}

fn octets(address: &IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// `1 . alpn=h2,http/1.1 ipv4hint=… ipv6hint=…` (RFC 9460 sections 2.2 and 7).
fn service_binding(v4: &[IpAddr], v6: &[IpAddr]) -> Vec<u8> {
    let mut rdata = b"\0\x01\0\0\x01\0\x0c\x02h2\x08http/1.1".to_vec();
    for (key, addresses) in [(4_u16, v4), (6, v6)] {
        let value: Vec<u8> = addresses.iter().flat_map(octets).collect();
        if !value.is_empty() {
            rdata.extend(key.to_be_bytes());
            rdata.extend((value.len() as u16).to_be_bytes());
            rdata.extend(value);
        }
    }
    rdata
}
