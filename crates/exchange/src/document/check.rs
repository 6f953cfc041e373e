//! Rules that the document's types cannot express.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use base::Prefix;
use runtime::config::{Check, Checker};

use super::{
    Document, MEMBERS_MAX, Member, NAME_CHARS_MAX, PROTECTIONS_MAX, Policy, PreferredSite,
    PrefixLengths, ROUTERS_PER_MEMBER_MAX, Roa, Router, SITES_MAX, Secret, Site,
};

/// Characters of an AS set's name, with its registry and its path.
const SET_CHARS_MAX: usize = 120;
/// Bytes of an MD5 secret (the kernel's `TCP_MD5SIG_MAXKEYLEN`).
const SECRET_BYTES_MAX: usize = 80;
/// Entries of each list in the policy.
const LIST_MAX: usize = 100_000;

impl Check for Document {
    fn check(&self, at: &mut Checker) {
        at.require(self.version == 1, "version", "must be 1");
        at.require(
            is_line(&self.name, 80),
            "name",
            "must be one line of 1 to 80 characters",
        );
        at.section("policy", &self.policy);
        at.require(
            (1..=SITES_MAX).contains(&self.sites.len()),
            "sites",
            format!("must be 1 to {SITES_MAX}"),
        );
        at.require(
            self.members.len() <= MEMBERS_MAX,
            "members",
            format!("must be at most {MEMBERS_MAX}"),
        );
        at.section("sites", &self.sites);
        let mut names = BTreeSet::new();
        let mut ids = BTreeSet::new();
        at.key("sites", |at| {
            for (index, site) in self.sites.iter().enumerate() {
                at.index(index, |at| {
                    at.require(
                        names.insert(&site.name),
                        "name",
                        format!("{:?} is the name of two sites", site.name),
                    );
                    at.require(
                        ids.insert(site.router_id),
                        "router_id",
                        format!("{} is the router id of two sites", site.router_id),
                    );
                });
            }
        });
        let mut seen = Seen::default();
        at.key("sites", |at| {
            for (index, site) in self.sites.iter().enumerate() {
                at.index(index, |at| {
                    for (address, key) in [
                        (site.address_v4.map(IpAddr::from), "address_v4"),
                        (site.address_v6.map(IpAddr::from), "address_v6"),
                    ] {
                        let Some(address) = address else { continue };
                        let owner = format!("the route server of {}", site.name);
                        if let Some(other) = seen.addresses.insert(address, owner) {
                            at.problem(key, format!("{address} belongs to {other} already"));
                        }
                    }
                });
            }
        });
        at.key("members", |at| {
            for (index, member) in self.members.iter().enumerate() {
                at.index(index, |at| check_member(self, member, &mut seen, at));
            }
        });
        check_protection(self, at);
        at.require(
            self.preferred_sites.len() <= MEMBERS_MAX,
            "preferred_sites",
            format!("must be at most {MEMBERS_MAX}"),
        );
        let mut preferred = BTreeSet::new();
        at.key("preferred_sites", |at| {
            for (index, entry) in self.preferred_sites.iter().enumerate() {
                at.index(index, |at| {
                    at.require(
                        preferred.insert(entry.asn),
                        "asn",
                        format!("AS{} is here twice", entry.asn),
                    );
                    check_preferred(self, entry, at);
                });
            }
        });
    }
}

fn check_protection(document: &Document, at: &mut Checker) {
    at.require(
        document.protection.len() <= PROTECTIONS_MAX,
        "protection",
        format!("must be at most {PROTECTIONS_MAX}"),
    );
    let mut ids = BTreeSet::new();
    at.key("protection", |at| {
        for (index, rule) in document.protection.iter().enumerate() {
            at.index(index, |at| {
                for (field, problem) in rule.problems() {
                    at.problem(field, problem);
                }
                at.require(
                    ids.insert(&rule.id),
                    "id",
                    format!("{:?} is the name of two rules", rule.id),
                );
                let is_member = |asn| document.members.iter().any(|member| member.asn == asn);
                at.require(
                    rule.asn.is_none_or(is_member),
                    "asn",
                    format!("AS{} is no member", rule.asn.unwrap_or(0)),
                );
                for site in &rule.sites {
                    at.require(
                        document.site(site).is_some(),
                        "sites",
                        format!("{site:?} is no site"),
                    );
                }
            });
        }
    });
}

/// What must not occur twice.
#[derive(Default)]
struct Seen {
    asns: BTreeSet<u32>,
    addresses: BTreeMap<IpAddr, String>,
}

impl Check for Policy {
    fn check(&self, at: &mut Checker) {
        at.require(
            is_usable_asn(self.asn),
            "asn",
            "must be an AS number other than 0, 23456, 65535 and 4294967295",
        );
        check_lengths(self.lengths_v4, 32, "lengths_v4", at);
        check_lengths(self.lengths_v6, 128, "lengths_v6", at);
        at.require(
            (1..=1000).contains(&self.as_path_max),
            "as_path_max",
            "must be 1 to 1000",
        );
        at.require(
            (1..=1000).contains(&self.communities_max),
            "communities_max",
            "must be 1 to 1000",
        );
        at.require(
            self.hold_time_s == 0 || self.hold_time_s >= 3,
            "hold_time_s",
            "must be 0 (never) or at least 3 (RFC 4271)",
        );
        at.require(
            self.transport.port != 0,
            "transport.port",
            "must be 1 to 65535",
        );
        at.require(
            self.never_via_route_server.len() <= LIST_MAX,
            "never_via_route_server",
            format!("must have at most {LIST_MAX} entries"),
        );
        at.require(
            self.bogons.len() <= LIST_MAX,
            "bogons",
            format!("must have at most {LIST_MAX} entries"),
        );
        at.require(
            !self.never_via_route_server.contains(&self.asn),
            "never_via_route_server",
            format!("must not hold the route servers' own AS{}", self.asn),
        );
        if let Some(bfd) = self.bfd {
            at.key("bfd", |at| {
                at.require(
                    (10..=10_000).contains(&bfd.interval_ms),
                    "interval_ms",
                    "must be 10 to 10000",
                );
                at.require(
                    (2..=50).contains(&bfd.multiplier),
                    "multiplier",
                    "must be 2 to 50",
                );
            });
        }
        check_limits(self.max_prefix, at);
        at.key("irr", |at| check_sources(&self.irr.sources, "sources", at));
        at.key("rpki", |at| {
            at.require(
                self.rpki.servers.len() <= 16,
                "servers",
                "must be at most 16",
            );
            at.require(
                self.rpki.roas.len() <= LIST_MAX,
                "roas",
                format!("must have at most {LIST_MAX} entries"),
            );
            at.key("servers", |at| {
                for (index, server) in self.rpki.servers.iter().enumerate() {
                    at.index(index, |at| {
                        at.require(server.port > 0, "port", "must be 1 to 65535")
                    });
                }
            });
            at.section("roas", &self.rpki.roas);
        });
    }
}

impl Check for Roa {
    fn check(&self, at: &mut Checker) {
        let width = if self.prefix.address().is_ipv4() {
            32
        } else {
            128
        };
        if let Some(max) = self.max_length {
            at.require(
                (self.prefix.length()..=width).contains(&max),
                "max_length",
                format!(
                    "{max} does not fit {}: must be {} to {width}",
                    self.prefix,
                    self.prefix.length()
                ),
            );
        }
    }
}

impl Check for Site {
    fn check(&self, at: &mut Checker) {
        check_name(&self.name, at);
        at.require(
            !self.router_id.is_unspecified(),
            "router_id",
            "must not be 0.0.0.0",
        );
        at.require(
            self.address_v4.is_some() || self.address_v6.is_some(),
            "address_v4",
            "the route server must have an IPv4 or an IPv6 address",
        );
        let v4 = (self.lan_v4, "lan_v4", true);
        let v6 = (self.lan_v6, "lan_v6", false);
        for (lan, key, want_v4) in [v4, v6] {
            if let Some(lan) = lan {
                at.require(
                    lan.address().is_ipv4() == want_v4,
                    key,
                    format!("{lan} is of the other family"),
                );
            }
        }
        for (address, lan, key) in [
            (self.address_v4.map(IpAddr::from), self.lan_v4, "address_v4"),
            (self.address_v6.map(IpAddr::from), self.lan_v6, "address_v6"),
            (
                self.blackhole_v4.map(IpAddr::from),
                self.lan_v4,
                "blackhole_v4",
            ),
            (
                self.blackhole_v6.map(IpAddr::from),
                self.lan_v6,
                "blackhole_v6",
            ),
        ] {
            check_on_lan(address, lan, key, at);
        }
    }
}

fn check_preferred(document: &Document, entry: &PreferredSite, at: &mut Checker) {
    let Some(member) = document.members.iter().find(|one| one.asn == entry.asn) else {
        at.problem("asn", format!("AS{} is no member", entry.asn));
        return;
    };
    let mut sites: Vec<&str> = member.routers.iter().map(|one| one.site.as_str()).collect();
    sites.sort_unstable();
    sites.dedup();
    at.require(
        sites.contains(&entry.site.as_str()),
        "site",
        format!(
            "{:?} has no router of AS{}: must be one of {}",
            entry.site,
            entry.asn,
            sites.join(", ")
        ),
    );
}

fn check_member(document: &Document, member: &Member, seen: &mut Seen, at: &mut Checker) {
    at.require(
        is_usable_asn(member.asn) && member.asn != document.policy.asn,
        "asn",
        format!(
            "AS{} cannot be a member: must not be reserved, nor the route servers' own",
            member.asn
        ),
    );
    at.require(
        seen.asns.insert(member.asn),
        "asn",
        format!("AS{} is a member twice", member.asn),
    );
    at.require(
        is_line(&member.name, 80),
        "name",
        "must be one line of 1 to 80 characters",
    );
    for (set, key) in [(&member.as_set, "as_set"), (&member.as_set_v6, "as_set_v6")] {
        if let Some(set) = set {
            at.require(
                is_set_name(set),
                key,
                format!("{set:?} is no AS set: must be AS-NAME, AS64500:AS-NAME, SOURCE::AS-NAME or AS64500"),
            );
        }
    }
    check_sources(&member.irr_sources, "irr_sources", at);
    check_limits(member.max_prefix, at);
    check_secret(member.password.as_ref(), at);
    at.require(
        member.routers.len() <= ROUTERS_PER_MEMBER_MAX,
        "routers",
        format!("must be at most {ROUTERS_PER_MEMBER_MAX}"),
    );
    let mut names = BTreeSet::new();
    at.key("routers", |at| {
        for (index, router) in member.routers.iter().enumerate() {
            at.index(index, |at| {
                at.require(
                    names.insert((&router.site, &router.name)),
                    "name",
                    format!(
                        "{:?} is the name of two routers of AS{} at {}",
                        router.name, member.asn, router.site
                    ),
                );
                check_router(document, member, router, seen, at);
            });
        }
    });
}

fn check_router(
    document: &Document,
    member: &Member,
    router: &Router,
    seen: &mut Seen,
    at: &mut Checker,
) {
    check_name(&router.name, at);
    check_secret(router.password.as_ref(), at);
    for (terms, key) in [
        (&router.session_v4, "session_v4"),
        (&router.session_v6, "session_v6"),
    ] {
        if let Some(terms) = terms {
            at.key(key, |at| {
                check_secret(terms.password.as_ref(), at);
                at.require(
                    terms.max_prefix != Some(0),
                    "max_prefix",
                    "must be at least 1",
                );
            });
        }
    }
    let Some(site) = document.site(&router.site) else {
        let known: Vec<&str> = document
            .sites
            .iter()
            .map(|site| site.name.as_str())
            .take(20)
            .collect();
        at.problem(
            "site",
            format!(
                "{:?} is no site: must be one of {}",
                router.site,
                known.join(", ")
            ),
        );
        return;
    };
    at.require(
        router.v4.is_some() || router.v6.is_some(),
        "v4",
        "the router must have an IPv4 or an IPv6 address",
    );
    for (address, lan, served, key) in [
        (
            router.v4.map(IpAddr::from),
            site.lan_v4,
            site.address_v4.is_some(),
            "v4",
        ),
        (
            router.v6.map(IpAddr::from),
            site.lan_v6,
            site.address_v6.is_some(),
            "v6",
        ),
    ] {
        let Some(address) = address else { continue };
        at.require(
            served,
            key,
            format!(
                "the route server of {} has no address of this family",
                site.name
            ),
        );
        check_on_lan(Some(address), lan, key, at);
        let owner = format!("router {:?} of AS{}", router.name, member.asn);
        // A router may be the client of several route servers on one LAN.
        if let Some(other) = seen.addresses.insert(address, owner.clone()) {
            at.require(
                other == owner,
                key,
                format!("{address} belongs to {other} already"),
            );
        }
    }
}

fn check_on_lan(address: Option<IpAddr>, lan: Option<Prefix>, key: &str, at: &mut Checker) {
    if let (Some(address), Some(lan)) = (address, lan) {
        at.require(
            lan.contains(address),
            key,
            format!("{address} is not on the peering LAN {lan}"),
        );
    }
}

fn check_lengths(lengths: PrefixLengths, width: u8, key: &str, at: &mut Checker) {
    at.require(
        lengths.min <= lengths.max && lengths.max <= width,
        key,
        format!(
            "min {} and max {} do not fit: must be min ≤ max ≤ {width}",
            lengths.min, lengths.max
        ),
    );
}

fn check_limits(limits: super::MaxPrefix, at: &mut Checker) {
    at.key("max_prefix", |at| {
        for (limit, key) in [(limits.v4, "v4"), (limits.v6, "v6")] {
            at.require(limit != Some(0), key, "must be at least 1");
        }
    });
}

fn check_sources(sources: &[String], key: &str, at: &mut Checker) {
    at.require(sources.len() <= 32, key, "must be at most 32");
    at.key(key, |at| {
        for (index, source) in sources.iter().enumerate() {
            let good = (1..=32).contains(&source.len())
                && source
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
            at.index(index, |at| {
                if !good {
                    at.problem_here(format!(
                        "{source:?} is no registry: must be letters, digits, - and _"
                    ));
                }
            });
        }
    });
}

fn check_secret(secret: Option<&Secret>, at: &mut Checker) {
    let Some(secret) = secret else { return };
    let text = secret.reveal();
    // The value itself must not reach a message.
    at.require(
        (1..=SECRET_BYTES_MAX).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\'),
        "password",
        format!("must be 1 to {SECRET_BYTES_MAX} printable ASCII characters without blanks, quotes and backslashes"),
    );
}

fn check_name(name: &str, at: &mut Checker) {
    let good = (1..=NAME_CHARS_MAX).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-');
    at.require(
        good,
        "name",
        format!("{name:?} does not fit: must be 1 to {NAME_CHARS_MAX} lower-case letters, digits and inner hyphens"),
    );
}

fn is_line(text: &str, chars_max: usize) -> bool {
    let chars = text.chars().count();
    (1..=chars_max).contains(&chars) && !text.chars().any(char::is_control)
}

fn is_usable_asn(asn: u32) -> bool {
    !matches!(asn, 0 | 23_456 | 65_535 | u32::MAX)
}

/// A set's or an AS's name in RPSL (RFC 2622, 5), with an optional registry before `::`.
pub(crate) fn is_set_name(text: &str) -> bool {
    let name = match text.split_once("::") {
        Some((source, name))
            if !source.is_empty()
                && source
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-') =>
        {
            name
        }
        Some(_) => return false,
        None => text,
    };
    text.len() <= SET_CHARS_MAX && crate::irr::is_as_or_set(name)
}
