//! A zone as a tree of names, checked when it is built (RFC 1034 section 4.2,
//! RFC 2181 sections 5.2 and 10.1, RFC 6672 section 2.4).

use std::path::PathBuf;

use crate::bytemap::ByteMap;
use crate::kind::Kind;
use crate::master::{self, Contents, Place, Record, Source, ZoneProblem};
use crate::name::{Name, suffixes, wire_length};

/// Records of one type at one name.
#[derive(Debug, Clone)]
pub struct RrSet {
    /// Type.
    pub kind: Kind,
    /// Seconds.
    pub ttl: u32,
    /// RDATA of each record, names uncompressed.
    pub rdatas: Vec<Box<[u8]>>,
    place: Place,
}

impl RrSet {
    /// RDATA of each record.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.rdatas.iter().map(AsRef::as_ref)
    }
}

/// A name of a zone; without records it is an empty non-terminal.
#[derive(Debug, Clone, Default)]
pub struct Node {
    /// Its records.
    pub sets: Vec<RrSet>,
    /// Number of the node `*` below it.
    pub wildcard: Option<u32>,
    /// Number of the policy that answers A, AAAA and HTTPS here.
    pub policy: Option<u32>,
    /// It lies below a zone cut: its data is glue, or occluded.
    pub below_cut: bool,
}

impl Node {
    /// The records of one type.
    pub fn set(&self, kind: Kind) -> Option<&RrSet> {
        self.sets.iter().find(|set| set.kind == kind)
    }
}

/// A zone, ready to answer from.
#[derive(Debug, Clone)]
pub struct Zone {
    apex: Name,
    names: ByteMap,
    nodes: Vec<Node>,
    soa: RrSet,
    warnings: Vec<ZoneProblem>,
}

impl Zone {
    /// Reads and checks a master file. `policies` are names that answer by policy,
    /// each with the number of its policy.
    ///
    /// # Errors
    /// Every problem found, with its place.
    pub fn load(
        origin: &Name,
        text: &[u8],
        policies: &[(Name, u32)],
    ) -> Result<Self, Vec<ZoneProblem>> {
        Self::build(origin, master::parse(origin, text)?.into(), policies)
    }

    /// Reads a master file whose zone is the owner of its SOA record: for a file
    /// given alone, whose `$ORIGIN` or absolute names say where it belongs.
    ///
    /// # Errors
    /// Every problem found, with its place.
    pub fn load_alone(text: &[u8]) -> Result<Self, Vec<ZoneProblem>> {
        Self::alone(master::parse(&Name::root(), text)?.into())
    }

    /// Reads a master file that may include others. The zone is `origin`, or without
    /// one the owner of the SOA record, as in [`Zone::load_alone`].
    ///
    /// # Errors
    /// Every problem found, with its file and place.
    pub fn load_file(
        origin: Option<&Name>,
        text: &[u8],
        source: Source<'_>,
    ) -> Result<Self, Vec<ZoneProblem>> {
        match origin {
            Some(origin) => Self::build(origin, master::parse_file(origin, text, source)?, &[]),
            None => Self::alone(master::parse_file(&Name::root(), text, source)?),
        }
    }

    fn alone(contents: Contents) -> Result<Self, Vec<ZoneProblem>> {
        let mut records = contents.records.iter();
        let soa = records.find(|record| record.kind == Kind::SOA);
        let Some(origin) = soa.map(|soa| soa.owner.clone()) else {
            let message = "the zone has no SOA record".to_owned();
            return Err(vec![problem_at(&contents.files, Place::WHOLE, message)]);
        };
        Self::build(&origin, contents, &[])
    }

    fn build(
        origin: &Name,
        contents: Contents,
        policies: &[(Name, u32)],
    ) -> Result<Self, Vec<ZoneProblem>> {
        let mut builder = Builder {
            apex: origin.lowercase(),
            names: ByteMap::new(),
            nodes: Vec::new(),
            problems: Vec::new(),
            warnings: Vec::new(),
            files: contents.files,
        };
        builder.node(origin.lowercase().as_wire());
        for record in contents.records {
            builder.add(record);
        }
        for (name, policy) in policies {
            builder.add_policy(name, *policy);
        }
        builder.finish()
    }

    /// The apex, in lower case.
    pub fn apex(&self) -> &Name {
        &self.apex
    }

    /// The SOA record, its TTL cut to that of negative answers (RFC 2308 section 5).
    pub fn negative_soa(&self) -> &RrSet {
        &self.soa
    }

    /// The serial number.
    pub fn serial(&self) -> u32 {
        let rdata = &self.soa.rdatas[0];
        rdata[rdata.len() - 20..]
            .first_chunk::<4>()
            .map_or(0, |bytes| u32::from_be_bytes(*bytes))
    }

    /// Things that are allowed but probably not meant.
    pub fn warnings(&self) -> &[ZoneProblem] {
        &self.warnings
    }

    /// How many names it has, empty non-terminals included.
    pub fn names(&self) -> usize {
        self.nodes.len()
    }

    /// The node of a name in lower-case wire form.
    #[inline]
    pub fn find(&self, name: &[u8]) -> Option<&Node> {
        self.names.get(name).map(|index| &self.nodes[index])
    }

    /// A node by its number.
    pub fn node(&self, index: u32) -> &Node {
        &self.nodes[index as usize]
    }

    /// Every name in lower-case wire form, with its node.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &Node)> {
        self.nodes
            .iter()
            .enumerate()
            .map(|(index, node)| (self.names.key(index), node))
    }
}

struct Builder {
    apex: Name,
    names: ByteMap,
    nodes: Vec<Node>,
    problems: Vec<ZoneProblem>,
    warnings: Vec<ZoneProblem>,
    files: Vec<PathBuf>,
}

fn problem_at(files: &[PathBuf], place: Place, message: String) -> ZoneProblem {
    ZoneProblem {
        file: place.included_in(files),
        line: place.line,
        column: u32::from(place.line > 0),
        message,
    }
}

impl Builder {
    /// The node of a name at or below the apex, with all nodes in between.
    fn node(&mut self, name: &[u8]) -> usize {
        let above_apex = name.len() - self.apex.as_wire().len();
        for at in suffixes(name).take_while(|at| *at <= above_apex) {
            let known = self.names.len();
            if self.names.insert(&name[at..]) < known {
                break;
            }
            self.nodes.push(Node::default());
        }
        self.names.insert(name)
    }

    fn add(&mut self, record: Record) {
        let Record {
            owner,
            ttl,
            kind,
            rdata,
            place,
        } = record;
        if !owner.is_within(&self.apex) {
            self.problem(
                place,
                format!("{owner}: must lie in the zone {}", self.apex),
            );
            return;
        }
        let index = self.node(owner.lowercase().as_wire());
        let sets = &mut self.nodes[index].sets;
        let Some(set) = sets.iter_mut().find(|set| set.kind == kind) else {
            sets.push(RrSet {
                kind,
                ttl,
                rdatas: vec![rdata],
                place,
            });
            return;
        };
        if set.ttl != ttl {
            self.warnings.push(problem_at(
                &self.files,
                place,
                format!("{owner} {kind}: TTL {ttl} differs from {} of the same set, the lower one is used (RFC 2181 section 5.2)", set.ttl),
            ));
            set.ttl = set.ttl.min(ttl);
        }
        if !set.rdatas.contains(&rdata) {
            set.rdatas.push(rdata);
        }
    }

    fn add_policy(&mut self, name: &Name, policy: u32) {
        if !name.is_within(&self.apex) {
            self.problem(
                Place::WHOLE,
                format!("{name}: must lie in the zone {}", self.apex),
            );
            return;
        }
        let index = self.node(name.lowercase().as_wire());
        let taken = self.nodes[index].sets.iter().find(|set| {
            matches!(
                set.kind,
                Kind::A | Kind::AAAA | Kind::HTTPS | Kind::CNAME | Kind::DNAME
            )
        });
        if let Some(set) = taken {
            let message = format!(
                "{name} {}: a name answered by policy must not have such records too",
                set.kind
            );
            self.problem(set.place, message);
        } else if self.nodes[index].policy.replace(policy).is_some() {
            self.problem(Place::WHOLE, format!("{name}: is answered by two policies"));
        }
    }

    fn problem(&mut self, place: Place, message: String) {
        if self.problems.len() < master::PROBLEMS_MAX {
            self.problems.push(problem_at(&self.files, place, message));
        }
    }

    fn finish(mut self) -> Result<Zone, Vec<ZoneProblem>> {
        let soa = self.check_apex();
        self.check_nodes();
        self.mark_below_cuts();
        self.link_wildcards();
        self.check_glue();
        match soa {
            Some(soa) if self.problems.is_empty() => Ok(Zone {
                apex: self.apex,
                names: self.names,
                nodes: self.nodes,
                soa,
                warnings: self.warnings,
            }),
            _ => Err(self.problems),
        }
    }

    fn check_apex(&mut self) -> Option<RrSet> {
        let apex = self.apex.clone();
        let has_ns = self.nodes[0].set(Kind::NS).is_some();
        let Some(soa) = self.nodes[0].set(Kind::SOA).cloned() else {
            self.problem(
                Place::WHOLE,
                format!("{apex}: the zone has no SOA record at its apex"),
            );
            return None;
        };
        if !has_ns {
            self.problem(
                Place::WHOLE,
                format!("{apex}: the zone has no NS record at its apex"),
            );
        }
        if soa.rdatas.len() > 1 {
            self.problem(soa.place, format!("{apex} SOA: there must be only one"));
        }
        let minimum = soa.rdatas[0].last_chunk::<4>().copied().unwrap_or_default();
        let ttl = soa.ttl.min(u32::from_be_bytes(minimum));
        Some(RrSet { ttl, ..soa })
    }

    fn check_nodes(&mut self) {
        let mut found = Vec::new();
        for (index, node) in self.nodes.iter().enumerate() {
            let key = self.names.key(index);
            let Some(name) = Name::from_wire(key) else {
                continue;
            };
            for set in &node.sets {
                if set.kind == Kind::SOA && index != 0 {
                    found.push((
                        set.place,
                        format!("{name} SOA: must stand at the apex only"),
                    ));
                }
                if matches!(set.kind, Kind::CNAME | Kind::DNAME) && set.rdatas.len() > 1 {
                    found.push((
                        set.place,
                        format!("{name} {}: there must be only one", set.kind),
                    ));
                }
            }
            if let Some(cname) = node.set(Kind::CNAME)
                && let Some(other) = node
                    .sets
                    .iter()
                    .find(|set| !matches!(set.kind, Kind::CNAME | Kind::RRSIG | Kind::NSEC))
            {
                found.push((
                    cname.place.max(other.place),
                    format!("{name} CNAME: must stand alone, and {} stands beside it (RFC 1034 section 3.6.2)", other.kind),
                ));
            }
            if name.is_wildcard()
                && let Some(set) = node
                    .sets
                    .iter()
                    .find(|set| matches!(set.kind, Kind::NS | Kind::DNAME))
            {
                self.warnings.push(problem_at(
                    &self.files,
                    set.place,
                    format!(
                        "{name} {}: has no defined meaning at a wildcard (RFC 4592 section 4)",
                        set.kind
                    ),
                ));
            }
            if !node.sets.is_empty() || node.policy.is_some() {
                let place = node.sets.first().map_or(Place::WHOLE, |set| set.place);
                if let Some(dname) = self.dname_above(key) {
                    found.push((
                        place,
                        format!("{name}: must not exist below the DNAME of {dname} (RFC 6672 section 2.4)"),
                    ));
                }
            }
        }
        for (place, message) in found {
            self.problem(place, message);
        }
    }

    fn dname_above(&self, key: &[u8]) -> Option<Name> {
        let ceiling = key.len() - self.apex.as_wire().len();
        suffixes(key)
            .skip(1)
            .take_while(|at| *at <= ceiling)
            .find(|at| {
                self.names
                    .get(&key[*at..])
                    .is_some_and(|index| self.nodes[index].set(Kind::DNAME).is_some())
            })
            .and_then(|at| Name::from_wire(&key[at..]))
    }

    fn mark_below_cuts(&mut self) {
        let ceiling = self.apex.as_wire().len();
        let mut below = Vec::new();
        let mut policies_below = Vec::new();
        for index in 0..self.nodes.len() {
            let key = self.names.key(index);
            let cut_above = suffixes(key)
                .skip(1)
                .take_while(|at| key.len() - at > ceiling)
                .any(|at| {
                    self.names
                        .get(&key[at..])
                        .is_some_and(|above| self.nodes[above].set(Kind::NS).is_some())
                });
            let at_cut = index != 0 && self.nodes[index].set(Kind::NS).is_some();
            if cut_above {
                below.push(index);
            }
            if (cut_above || at_cut) && self.nodes[index].policy.is_some() {
                policies_below.extend(Name::from_wire(key));
            }
        }
        for index in below {
            self.nodes[index].below_cut = true;
        }
        for name in policies_below {
            self.problem(
                Place::WHOLE,
                format!("{name}: a name answered by policy must not be delegated"),
            );
        }
    }

    fn link_wildcards(&mut self) {
        let mut key = Vec::new();
        for index in 0..self.nodes.len() {
            key.clear();
            key.extend_from_slice(b"\x01*");
            key.extend_from_slice(self.names.key(index));
            self.nodes[index].wildcard = self.names.get(&key).map(|wildcard| wildcard as u32);
        }
    }

    /// The node of a name, or the wildcard that stands for it (RFC 4592 section 3.3.1).
    fn known_or_wildcard(&self, name: &[u8]) -> Option<&Node> {
        let (at, index) = suffixes(name).find_map(|at| Some((at, self.names.get(&name[at..])?)))?;
        let node = &self.nodes[index];
        if at == 0 {
            return Some(node);
        }
        let at_cut = index != 0 && node.set(Kind::NS).is_some();
        let wildcard = node.wildcard.filter(|_| !node.below_cut && !at_cut)?;
        Some(&self.nodes[wildcard as usize])
    }

    fn check_glue(&mut self) {
        let mut missing = Vec::new();
        for node in &self.nodes {
            let Some(set) = node.set(Kind::NS) else {
                continue;
            };
            for target in set.iter().filter_map(Name::from_wire) {
                if !target.is_within(&self.apex) {
                    continue;
                }
                let has_address = self
                    .known_or_wildcard(target.lowercase().as_wire())
                    .is_some_and(|node| {
                        node.policy.is_some()
                            || node.set(Kind::A).is_some()
                            || node.set(Kind::AAAA).is_some()
                    });
                if !has_address {
                    missing.push(problem_at(
                        &self.files,
                        set.place,
                        format!("NS {target}: lies in the zone but has no address there"),
                    ));
                }
            }
        }
        self.warnings.extend(missing);
    }
}

/// The name inside RDATA that additional data is looked up for (RFC 1035 section
/// 3.3, RFC 1183, RFC 2230, RFC 2782, RFC 9460 section 4.1).
pub(crate) fn additional_target<'r>(
    kind: Kind,
    owner: &'r [u8],
    rdata: &'r [u8],
) -> Option<&'r [u8]> {
    let name = match kind {
        Kind::NS | Kind::MB => rdata,
        Kind::MX | Kind::AFSDB | Kind::RT | Kind::KX => rdata.get(2..)?,
        Kind::SRV => rdata.get(6..)?,
        Kind::SVCB | Kind::HTTPS => {
            let target = rdata.get(2..)?;
            if target.first() == Some(&0) {
                // `.` in ServiceMode means the owner; in AliasMode, nothing.
                return (rdata[..2] != [0, 0]).then_some(owner);
            }
            &target[..wire_length(target)?]
        }
        _ => return None,
    };
    (name.len() > 1).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str =
        "@ 3600 IN SOA ns hostmaster 7 3600 600 86400 300\n@ 3600 NS ns\nns 60 A 192.0.2.53\n";

    fn load(text: &str) -> Result<Zone, Vec<ZoneProblem>> {
        let origin = "example.".parse().expect("a name");
        Zone::load(&origin, format!("{HEAD}{text}").as_bytes(), &[])
    }

    #[test]
    fn a_zone_knows_its_cuts_wildcards_and_empty_non_terminals() {
        let zone = load(
            "*.w 60 A 192.0.2.1\na.b.c 60 A 192.0.2.1\nsub 60 NS ns.sub\nns.sub 60 A 192.0.2.2\n",
        )
        .expect("a zone");
        assert_eq!(zone.serial(), 7);
        assert_eq!(zone.negative_soa().ttl, 300);
        let find = |text: &str| zone.find(text.parse::<Name>().expect("a name").as_wire());
        assert!(find("w.example.").expect("there").wildcard.is_some());
        assert!(find("c.example.").expect("there").sets.is_empty());
        assert!(find("ns.sub.example.").expect("there").below_cut);
        assert!(!find("sub.example.").expect("there").below_cut);
        assert!(find("d.example.").is_none());
        assert!(zone.warnings().is_empty());
    }

    #[test]
    fn zones_that_break_a_rule_are_refused() {
        for (text, rule) in [
            ("a 60 CNAME b\na 60 A 192.0.2.1", "must stand alone"),
            ("a 60 CNAME b\na 60 CNAME c", "only one"),
            ("a 60 DNAME b\nx.a 60 A 192.0.2.1", "below the DNAME"),
            ("a.other. 60 A 192.0.2.1", "must lie in the zone"),
            ("a 60 SOA ns h 1 1 1 1 1", "apex only"),
            ("@ 60 SOA ns h 1 1 1 1 1", "only one"),
        ] {
            let problems = load(text).expect_err(text);
            assert!(problems[0].message.contains(rule), "{text}: {problems:?}");
        }
        let bare = Zone::load_alone(b"example. 60 IN A 192.0.2.1").expect_err("no SOA");
        assert!(bare[0].message.contains("no SOA"), "{bare:?}");
    }

    #[test]
    fn doubtful_things_are_reported_but_served() {
        let zone = load(
            "sub 60 NS nowhere\na 60 A 192.0.2.1\na 30 A 192.0.2.2\na 30 A 192.0.2.2\n*.x 60 NS ns",
        )
        .expect("a zone");
        let text: Vec<_> = zone.warnings().iter().map(ToString::to_string).collect();
        assert_eq!(text.len(), 3, "{text:?}");
        let wild = "*.w 60 A 192.0.2.1\nb 60 NS x.w\nc 60 NS ns.c\n*.c 60 A 192.0.2.2";
        let wild = load(wild).expect("a zone");
        let text: Vec<_> = wild.warnings().iter().map(ToString::to_string).collect();
        assert_eq!(text.len(), 1, "{text:?}");
        assert!(
            text[0].contains("NS ns.c.example.: lies in the zone"),
            "{text:?}"
        );
        let a = zone.find(b"\x01a\x07example\0").expect("there");
        assert_eq!((a.sets[0].ttl, a.sets[0].rdatas.len()), (30, 2));
    }

    #[test]
    fn a_policy_name_must_be_free_of_addresses() {
        let origin: Name = "example.".parse().expect("a name");
        let www: Name = "www.example.".parse().expect("a name");
        let load = |text: &str| {
            Zone::load(
                &origin,
                format!("{HEAD}{text}").as_bytes(),
                &[(www.clone(), 0)],
            )
        };
        assert!(load("www 60 TXT hello").is_ok());
        assert!(load("www 60 A 192.0.2.1").is_err());
        assert!(load("www 60 NS ns").is_err());
    }
}
