//! The answer engine: RFC 1034 section 4.3.2 with RFC 4592 (wildcards), RFC 6672
//! (DNAME), RFC 2308 (negative answers) and RFC 8482 (ANY). It writes straight into
//! a [`Writer`] and allocates nothing.

use crate::bytemap::ByteMap;
use crate::kind::{Kind, rcode};
use crate::name::{NAME_BYTES_MAX, suffixes};
use crate::writer::{Full, Section, Writer};
use crate::zone::{Node, RrSet, Zone, additional_target};

/// CNAME and DNAME steps followed in one answer.
pub const CHAIN_MAX: usize = 16;
/// Targets looked up for the additional section of one answer.
const ADDITIONAL_TARGETS_MAX: usize = 16;
/// RDATA of the HINFO that answers ANY at a name without records of its own
/// (RFC 8482 section 4.2).
const ANY_HINFO: &[u8] = b"\x07RFC8482\0";

/// Zones by apex.
#[derive(Debug, Clone, Default)]
pub struct Zones {
    apexes: ByteMap,
    zones: Vec<Zone>,
}

impl Zones {
    /// Puts zones together; two of the same apex are refused, and the apex returned.
    ///
    /// # Errors
    /// The apex that is there twice.
    pub fn new(zones: Vec<Zone>) -> Result<Self, crate::name::Name> {
        let mut apexes = ByteMap::new();
        for (index, zone) in zones.iter().enumerate() {
            if apexes.insert(zone.apex().as_wire()) != index {
                return Err(zone.apex().clone());
            }
        }
        Ok(Self { apexes, zones })
    }

    /// All zones.
    pub fn iter(&self) -> impl Iterator<Item = &Zone> {
        self.zones.iter()
    }

    /// The zone with the longest apex that holds `name` (lower-case wire form).
    pub fn find(&self, name: &[u8]) -> Option<&Zone> {
        suffixes(name)
            .find_map(|at| self.apexes.get(&name[at..]))
            .map(|index| &self.zones[index])
    }

    /// Like [`Zones::find`]; a DS record stands on the parent's side of a cut
    /// (RFC 4035 section 3.1.4.1).
    fn find_for(&self, name: &[u8], kind: Kind) -> Option<&Zone> {
        let zone = self.find(name)?;
        if kind == Kind::DS && name.len() > 1 && zone.apex().as_wire() == name {
            let parent = &name[1 + usize::from(name[0])..];
            return self.find(parent).or(Some(zone));
        }
        Some(zone)
    }
}

/// What a policy answers at one of its names.
#[derive(Debug, Clone, Copy)]
pub enum Chosen<'a> {
    /// Records one after the other, each with a two-byte pointer as its owner.
    Records(&'a [u8]),
    /// There are none of this type.
    NoData,
    /// The policy for "all down" says SERVFAIL.
    ServFail,
}

/// Answers names by policy.
pub trait Chooser {
    /// Chooses for `policy`; `kind` is A, AAAA or HTTPS.
    fn choose(&mut self, policy: u32, kind: Kind) -> Chosen<'_>;
}

/// For zones without policies.
#[derive(Debug, Clone, Copy)]
pub struct NoPolicy;

impl Chooser for NoPolicy {
    fn choose(&mut self, _: u32, _: Kind) -> Chosen<'_> {
        Chosen::NoData
    }
}

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// The response code.
    pub rcode: u16,
    /// AA: the first owner in the answer, or the name denied, is ours.
    pub authoritative: bool,
    /// TC: something needed did not fit.
    pub truncated: bool,
    /// The last step was a referral.
    pub referral: bool,
    /// A policy had a say, so that the answer holds for this client only.
    pub by_policy: bool,
}

/// A lowered wire name being followed.
struct Current {
    bytes: [u8; NAME_BYTES_MAX],
    length: usize,
}

impl Current {
    fn set(&mut self, wire: &[u8]) {
        self.bytes[..wire.len()].copy_from_slice(wire);
        self.bytes[..wire.len()].make_ascii_lowercase();
        self.length = wire.len();
    }

    fn get(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// Where the walk down a zone ended.
enum Step<'z> {
    /// The name, or the wildcard that stands for it.
    Node(&'z Node),
    /// A zone cut at or above the name.
    Cut { at: usize, ns: &'z RrSet },
    /// A DNAME above the name.
    Dname { at: usize, set: &'z RrSet },
    /// No such name.
    Nothing,
}

/// What one step of the chain leads to.
enum Next {
    Follow,
    End,
}

/// Answers `name` (lower-case wire form), type `kind`, class IN, into `writer`.
pub fn answer(
    zones: &Zones,
    name: &[u8],
    kind: Kind,
    chooser: &mut impl Chooser,
    writer: &mut Writer<'_>,
) -> Found {
    let mut engine = Engine {
        zones,
        kind,
        chooser,
        writer,
        found: Found {
            rcode: rcode::NOERROR,
            authoritative: false,
            truncated: false,
            referral: false,
            by_policy: false,
        },
        current: Current {
            bytes: [0; NAME_BYTES_MAX],
            length: 0,
        },
        visited: [(std::ptr::null(), 0); CHAIN_MAX],
        steps: 0,
    };
    engine.current.set(name);
    let mark = engine.writer.mark();
    if engine.run() == Err(Full) {
        engine.found.truncated = true;
        // What was found is not whole: the client asks again by TCP.
        engine.writer.back_to(mark);
    }
    engine.found
}

struct Engine<'e, 'w, C> {
    zones: &'e Zones,
    kind: Kind,
    chooser: &'e mut C,
    writer: &'e mut Writer<'w>,
    found: Found,
    current: Current,
    /// Record sets followed already, with [`name_hash`] of the name they stood for: a
    /// wildcard or a DNAME may be met again under another name.
    visited: [(*const RrSet, u64); CHAIN_MAX],
    steps: usize,
}

impl<'e, C: Chooser> Engine<'e, '_, C> {
    fn run(&mut self) -> Result<(), Full> {
        loop {
            let Some(zone) = self.zones.find_for(self.current.get(), self.kind) else {
                // Outside our zones: REFUSED, or the end of a chain.
                if self.steps == 0 {
                    self.found.rcode = rcode::REFUSED;
                }
                return Ok(());
            };
            let next = match walk(zone, self.current.get(), self.kind) {
                Step::Node(node) => self.at_node(zone, node)?,
                Step::Cut { at, ns } => {
                    self.refer(zone, at, ns)?;
                    Next::End
                }
                Step::Dname { at, set } => self.substitute(at, set)?,
                Step::Nothing => {
                    self.found.rcode = rcode::NXDOMAIN;
                    self.deny(zone)?;
                    Next::End
                }
            };
            if let Next::End = next {
                return Ok(());
            }
        }
    }

    /// The name exists, as itself or through a wildcard.
    fn at_node(&mut self, zone: &'e Zone, node: &'e Node) -> Result<Next, Full> {
        self.found.authoritative |= self.steps == 0;
        if let (Some(policy), Kind::A | Kind::AAAA | Kind::HTTPS) = (node.policy, self.kind) {
            return self.at_policy(zone, policy);
        }
        if self.kind == Kind::ANY {
            return self.any(zone, node).map(|()| Next::End);
        }
        // RRSIG and NSEC may stand beside a CNAME (RFC 4035 section 2.5): what is
        // asked for and there is the answer.
        if let Some(cname) = node.set(Kind::CNAME)
            && node.set(self.kind).is_none()
        {
            if self.has_come_round(cname) {
                return Ok(Next::End);
            }
            self.put(Section::Answer, cname)?;
            return Ok(self.follow(cname, &cname.rdatas[0]));
        }
        match node.set(self.kind) {
            Some(set) => {
                self.put(Section::Answer, set)?;
                self.additional(zone, set, None)?;
            }
            None => self.deny(zone)?,
        }
        Ok(Next::End)
    }

    fn at_policy(&mut self, zone: &Zone, policy: u32) -> Result<Next, Full> {
        self.found.by_policy = true;
        match self.chooser.choose(policy, self.kind) {
            Chosen::Records(mut records) => {
                // Pointer 2, type 2, class 2, TTL 4, length 2, then RDATA.
                while let Some((head, rest)) = records.split_first_chunk::<12>() {
                    let ttl = u32::from_be_bytes([head[6], head[7], head[8], head[9]]);
                    let length = usize::from(u16::from_be_bytes([head[10], head[11]]));
                    let (rdata, rest) = rest.split_at(length.min(rest.len()));
                    let owner = self.current.get();
                    self.writer
                        .rrset(Section::Answer, owner, self.kind, ttl, [rdata])?;
                    records = rest;
                }
            }
            Chosen::NoData => self.deny(zone)?,
            Chosen::ServFail => {
                self.found.rcode = rcode::SERVFAIL;
                self.found.authoritative = false;
            }
        }
        Ok(Next::End)
    }

    /// RFC 8482 section 4.1: one of the sets; section 4.2: HINFO where a policy alone
    /// answers.
    fn any(&mut self, zone: &Zone, node: &Node) -> Result<(), Full> {
        match node.sets.first() {
            Some(set) => self.put(Section::Answer, set),
            None if node.policy.is_none() => self.deny(zone),
            None => {
                let owner = self.current.get();
                self.writer
                    .rrset(Section::Answer, owner, Kind::HINFO, 3_600, [ANY_HINFO])
            }
        }
    }

    fn put(&mut self, section: Section, set: &RrSet) -> Result<(), Full> {
        let owner = self.current.get();
        self.writer
            .rrset(section, owner, set.kind, set.ttl, set.iter())
    }

    /// Whether the chain has been here already: then it ends, as long as it is.
    fn has_come_round(&self, via: &RrSet) -> bool {
        let here = (std::ptr::from_ref(via), name_hash(self.current.get()));
        self.visited[..self.steps].contains(&here)
    }

    /// Goes on with `target`, unless the chain is long.
    fn follow(&mut self, via: &RrSet, target: &[u8]) -> Next {
        if self.steps == CHAIN_MAX {
            return Next::End;
        }
        self.visited[self.steps] = (std::ptr::from_ref(via), name_hash(self.current.get()));
        self.steps += 1;
        self.current.set(target);
        Next::Follow
    }

    /// RFC 6672 section 3.2, step 3 C.
    fn substitute(&mut self, at: usize, dname: &RrSet) -> Result<Next, Full> {
        self.found.authoritative |= self.steps == 0;
        if self.has_come_round(dname) {
            return Ok(Next::End);
        }
        // A chain may pass the same DNAME under several names: the record is written once.
        let written = self.visited[..self.steps]
            .iter()
            .any(|(via, _)| std::ptr::eq(*via, dname));
        if !written {
            let owner = &self.current.get()[at..];
            self.writer
                .rrset(Section::Answer, owner, Kind::DNAME, dname.ttl, dname.iter())?;
        }
        let target = &dname.rdatas[0];
        if at + target.len() > NAME_BYTES_MAX {
            self.found.rcode = rcode::YXDOMAIN;
            return Ok(Next::End);
        }
        let mut bytes = [0; NAME_BYTES_MAX];
        bytes[..at].copy_from_slice(&self.current.get()[..at]);
        bytes[at..at + target.len()].copy_from_slice(target);
        let synthesised = &bytes[..at + target.len()];
        self.writer.rrset(
            Section::Answer,
            self.current.get(),
            Kind::CNAME,
            dname.ttl,
            [synthesised],
        )?;
        if self.kind == Kind::CNAME {
            return Ok(Next::End);
        }
        Ok(self.follow(dname, synthesised))
    }

    /// NXDOMAIN or NODATA: the SOA with the negative TTL (RFC 2308 section 3).
    fn deny(&mut self, zone: &Zone) -> Result<(), Full> {
        self.found.authoritative |= self.steps == 0;
        let soa = zone.negative_soa();
        self.writer.rrset(
            Section::Authority,
            zone.apex().as_wire(),
            Kind::SOA,
            soa.ttl,
            soa.iter(),
        )
    }

    fn refer(&mut self, zone: &'e Zone, at: usize, ns: &RrSet) -> Result<(), Full> {
        self.found.referral = true;
        let mut cut = [0; NAME_BYTES_MAX];
        let length = self.current.length - at;
        cut[..length].copy_from_slice(&self.current.get()[at..]);
        let cut = &cut[..length];
        self.writer
            .rrset(Section::Authority, cut, Kind::NS, ns.ttl, ns.iter())?;
        self.additional(zone, ns, Some(cut))
    }

    /// What RFC 1034 section 4.3.2 step 6 wants of the names that `set` mentions: their
    /// addresses, and for SVCB and HTTPS the records of the same type (RFC 9460 section
    /// 4.1). What does not fit is left out, except glue that a referral cannot do
    /// without: then the answer is truncated (RFC 9471 section 3).
    fn additional(&mut self, zone: &'e Zone, set: &RrSet, cut: Option<&[u8]>) -> Result<(), Full> {
        let mut done = [0_u64; ADDITIONAL_TARGETS_MAX];
        let mut used = 0;
        let owner = self.current.bytes;
        let owner = &owner[..self.current.length];
        let service = matches!(set.kind, Kind::SVCB | Kind::HTTPS);
        for rdata in set.iter() {
            let Some(target) = additional_target(set.kind, owner, rdata) else {
                continue;
            };
            let mut lower = [0; NAME_BYTES_MAX];
            lower[..target.len()].copy_from_slice(target);
            lower[..target.len()].make_ascii_lowercase();
            let lower = &lower[..target.len()];
            let Some(node) = self.target_node(zone, lower) else {
                continue;
            };
            // By name: a wildcard stands for several.
            let here = name_hash(lower);
            if done[..used].contains(&here) {
                continue;
            }
            if used == ADDITIONAL_TARGETS_MAX {
                break;
            }
            done[used] = here;
            used += 1;
            let needed = cut.is_some_and(|cut| lower.ends_with(cut));
            // The owner's own set is the answer already.
            let own_kind = (service && lower != owner).then_some(set.kind);
            for kind in [Kind::A, Kind::AAAA].into_iter().chain(own_kind) {
                let Some(records) = node.set(kind) else {
                    continue;
                };
                let put = self.writer.rrset(
                    Section::Additional,
                    target,
                    kind,
                    records.ttl,
                    records.iter(),
                );
                if put.is_err() && needed {
                    self.found.truncated = true;
                }
            }
        }
        Ok(())
    }

    /// The node of a name that `zone` mentions, glue included: there, else in another
    /// of our zones.
    fn target_node(&self, zone: &'e Zone, name: &[u8]) -> Option<&'e Node> {
        let within = suffixes(name).any(|at| &name[at..] == zone.apex().as_wire());
        within
            .then(|| known_or_wildcard(zone, name))
            .flatten()
            .or_else(|| {
                let other = self.zones.find(name)?;
                (!std::ptr::eq(other, zone))
                    .then(|| known_or_wildcard(other, name))
                    .flatten()
            })
    }
}

/// The node of a name at or below the zone's apex, below cuts too, or the wildcard
/// that stands for it.
fn known_or_wildcard<'z>(zone: &'z Zone, name: &[u8]) -> Option<&'z Node> {
    zone.find(name).or_else(|| match walk(zone, name, Kind::A) {
        Step::Node(node) => Some(node),
        Step::Cut { .. } | Step::Dname { .. } | Step::Nothing => None,
    })
}

/// Tells the names of one answer apart (FNV-1a, 64 bits). Whoever makes two alike loses
/// no more than the end of that one answer.
fn name_hash(name: &[u8]) -> u64 {
    name.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Goes from the apex towards `name`, one label at a time.
fn walk<'z>(zone: &'z Zone, name: &[u8], kind: Kind) -> Step<'z> {
    let apex_at = name.len() - zone.apex().as_wire().len();
    let mut starts = [0_u8; NAME_BYTES_MAX / 2 + 1];
    let mut depth = 0;
    for at in suffixes(name).take_while(|at| *at < apex_at) {
        starts[depth] = at as u8;
        depth += 1;
    }
    let mut closest = zone.node(0);
    let mut closest_at = apex_at;
    for at in starts[..depth].iter().rev().map(|at| usize::from(*at)) {
        if let Some(set) = closest.set(Kind::DNAME) {
            return Step::Dname {
                at: closest_at,
                set,
            };
        }
        let Some(node) = zone.find(&name[at..]) else {
            // RFC 4592 section 3.3.1: only the wildcard of the closest encloser.
            return match closest.wildcard {
                Some(wildcard) => Step::Node(zone.node(wildcard)),
                None => Step::Nothing,
            };
        };
        if let Some(ns) = node.set(Kind::NS)
            && !(at == 0 && kind == Kind::DS)
        {
            return Step::Cut { at, ns };
        }
        closest = node;
        closest_at = at;
    }
    Step::Node(closest)
}
