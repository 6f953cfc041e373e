//! Blackholes and flow rules in BIRD's words.

use std::fmt::Write as _;
use std::net::IpAddr;

use base::Prefix;

use crate::community::PROTECTION_FUNCTION;
use crate::document::{Document, Flow, Fragments, Member, NumberRange, Protection, Site};
use crate::irr::AllowedByMember;

/// Traffic-rate-bytes (RFC 8955, 7.1), AS number 0, as the first half of an extended community.
const TRAFFIC_RATE: u32 = 0x8006_0000;
/// Traffic-marking (RFC 8955, 7.5).
const TRAFFIC_MARKING: u32 = 0x8009_0000;

/// Why a rule of the document is not announced at a site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    /// The document names other sites.
    OtherSite,
    /// The member has no router here.
    NoRouter,
    /// The registries do not say that the addresses are the member's.
    NotRegistered,
    /// The site has no next hop that discards.
    NoNextHop,
    /// Nobody here takes flow rules.
    NoTaker,
}

impl Left {
    const fn words(self) -> &'static str {
        match self {
            Self::OtherSite => "for other sites",
            Self::NoRouter => "the member has no router here",
            Self::NotRegistered => "not inside the member's registered address space",
            Self::NoNextHop => "this site has no blackhole next hop",
            Self::NoTaker => "no member here takes flow rules",
        }
    }
}

macro_rules! say {
    ($out:expr, $($format:tt)*) => {
        writeln!($out, $($format)*).unwrap_or_default()
    };
}

/// Whether a member has a session with the route server of a site.
fn is_here(document: &Document, member: &Member, site: &Site, v6: bool) -> bool {
    document.routers_at(site, member, v6).next().is_some()
}

fn next_hop(site: &Site, v6: bool) -> Option<IpAddr> {
    if v6 {
        site.blackhole_v6.map(Into::into)
    } else {
        site.blackhole_v4.map(Into::into)
    }
}

/// Whether members with a session of this family here take flow rules.
fn is_taken(document: &Document, site: &Site, v6: bool) -> bool {
    document
        .members
        .iter()
        .any(|member| member.flowspec && is_here(document, member, site, v6))
}

fn left(
    document: &Document,
    site: &Site,
    allowed: &AllowedByMember,
    rule: &Protection,
) -> Option<Left> {
    if !(rule.sites.is_empty() || rule.sites.contains(&site.name)) {
        return Some(Left::OtherSite);
    }
    let v6 = rule.is_v6();
    if let Some(asn) = rule.asn {
        let here = document
            .members
            .iter()
            .any(|member| member.asn == asn && is_here(document, member, site, v6));
        if !here {
            return Some(Left::NoRouter);
        }
        if document.policy.irr.enabled {
            let own = allowed.get(&(asn, v6));
            let is_own = own.is_some_and(|own| {
                rule.destination
                    .is_some_and(|to| own.prefixes.iter().any(|prefix| prefix.covers(&to)))
            });
            if !is_own {
                return Some(Left::NotRegistered);
            }
        }
    }
    if rule.is_blackhole() {
        next_hop(site, v6).is_none().then_some(Left::NoNextHop)
    } else {
        (!is_taken(document, site, v6)).then_some(Left::NoTaker)
    }
}

/// The rules that are announced at a site.
pub(super) fn announced<'a>(
    document: &'a Document,
    site: &'a Site,
    allowed: &'a AllowedByMember,
) -> impl Iterator<Item = &'a Protection> {
    document
        .protection
        .iter()
        .filter(move |rule| left(document, site, allowed, rule).is_none())
}

/// The tables, the routes and the function that says who gets them. Nothing when the document has no
/// rules and no member takes any.
pub(super) fn render(
    out: &mut String,
    document: &Document,
    site: &Site,
    allowed: &AllowedByMember,
) {
    let taken = [false, true].map(|v6| is_taken(document, site, v6));
    if document.protection.is_empty() && !taken.contains(&true) {
        return;
    }
    say!(
        out,
        "\n# What members asked to be discarded or limited (RFC 7999, RFC 8955, RFC 8956)."
    );
    let mut rules: Vec<&Protection> = document.protection.iter().collect();
    rules.sort_by(|a, b| a.id.cmp(&b.id));
    rules.retain(|rule| match left(document, site, allowed, rule) {
        Some(why) => {
            say!(out, "# {}: not announced: {}", rule.id, why.words());
            false
        }
        None => true,
    });
    for v6 in [false, true] {
        let family = if v6 { "ipv6" } else { "ipv4" };
        let number = if v6 { 6 } else { 4 };
        let holes: Vec<&&Protection> = rules
            .iter()
            .filter(|rule| rule.is_blackhole() && rule.is_v6() == v6)
            .collect();
        if let (false, Some(next_hop)) = (holes.is_empty(), next_hop(site, v6)) {
            say!(
                out,
                "protocol static protection_v{number} {{\n  {family} {{ table master{number}; }};"
            );
            for rule in holes {
                blackhole(out, rule, next_hop);
            }
            say!(out, "}}");
        }
        if !taken[usize::from(v6)] {
            continue;
        }
        say!(out, "flow{number} table flows{number};");
        let flows: Vec<&&Protection> = rules
            .iter()
            .filter(|rule| !rule.is_blackhole() && rule.is_v6() == v6)
            .collect();
        if flows.is_empty() {
            continue;
        }
        say!(
            out,
            "protocol static protection_flow{number} {{\n  flow{number} {{ table flows{number}; }};"
        );
        for rule in flows {
            if let Some(flow) = &rule.flow {
                say!(
                    out,
                    "  # {}\n  route {} {{ {} }};",
                    rule.id,
                    flow_text(rule.destination, flow, v6),
                    attributes(rule, flow)
                );
            }
        }
        say!(out, "}}");
    }
    if taken.contains(&true) {
        say!(
            out,
            "\nfunction export_flow_to(int peer; bool intelligence)\n{{\n  if bgp_path.first = peer then reject;\n  if !intelligence && (RS_ASN, {PROTECTION_FUNCTION}, 0) ~ bgp_large_community then reject;\n  bgp_large_community.delete([(RS_ASN, *, *)]);\n}}"
        );
    }
}

fn blackhole(out: &mut String, rule: &Protection, next_hop: IpAddr) {
    let Some(to) = rule.destination else { return };
    say!(
        out,
        "  # {}\n  route {to} blackhole {{ {} bgp_next_hop = {next_hop}; bgp_community.add((65535, 666)); bgp_community.add((65535, 65281)); }};",
        rule.id,
        path(rule)
    );
}

/// The path: as if the member had announced it, or the exchange itself.
fn path(rule: &Protection) -> String {
    match rule.asn {
        Some(asn) => format!("bgp_path.prepend({asn});"),
        None => "bgp_path.prepend(RS_ASN);".to_owned(),
    }
}

fn attributes(rule: &Protection, flow: &Flow) -> String {
    let mut text = path(rule);
    if rule.asn.is_none() {
        write!(
            text,
            " bgp_large_community.add((RS_ASN, {PROTECTION_FUNCTION}, 0));"
        )
        .unwrap_or_default();
    }
    if let Some(rate) = flow.rate_bytes {
        // The rate is a float of 32 bits (RFC 8955, 7.1).
        let bits = (rate as f32).to_bits();
        write!(
            text,
            " bgp_ext_community.add((generic, {TRAFFIC_RATE:#010x}, {bits:#x}));"
        )
        .unwrap_or_default();
    }
    if let Some(mark) = flow.mark_dscp {
        write!(
            text,
            " bgp_ext_community.add((generic, {TRAFFIC_MARKING:#010x}, {mark:#x}));"
        )
        .unwrap_or_default();
    }
    text
}

/// The channel of a session whose member takes flow rules.
pub(super) fn channel(out: &mut String, member: &Member, v6: bool) {
    let number = if v6 { 6 } else { 4 };
    say!(
        out,
        "  flow{number} {{\n    table flows{number};\n    import none;\n    export filter {{ export_flow_to({}, {}); accept; }};\n  }};",
        member.asn,
        member.intelligence
    );
}

/// A flow rule as BIRD writes it: `flow4 { dst …; proto 17; dport 53; }`.
pub fn flow_text(to: Option<Prefix>, flow: &Flow, v6: bool) -> String {
    let mut parts = Vec::new();
    let list = |ranges: &[NumberRange]| {
        ranges
            .iter()
            .map(|range| match range {
                NumberRange { low, high } if low == high => low.to_string(),
                NumberRange { low, high } => format!("{low}..{high}"),
            })
            .collect::<Vec<_>>()
            .join(",")
    };
    if let Some(to) = to {
        parts.push(format!("dst {to};"));
    }
    if let Some(from) = flow.source {
        parts.push(format!("src {from};"));
    }
    if !flow.protocols.is_empty() {
        let mut protocols = flow.protocols.clone();
        protocols.sort_unstable();
        protocols.dedup();
        let texts: Vec<String> = protocols.iter().map(u8::to_string).collect();
        let word = if v6 { "next header" } else { "proto" };
        parts.push(format!("{word} {};", texts.join(",")));
    }
    for (word, ranges) in [
        ("port", &flow.ports),
        ("dport", &flow.destination_ports),
        ("sport", &flow.source_ports),
        ("icmp type", &flow.icmp_types),
        ("icmp code", &flow.icmp_codes),
    ] {
        if !ranges.is_empty() {
            parts.push(format!("{word} {};", list(ranges)));
        }
    }
    if let Some(flags) = flow.tcp_flags {
        parts.push(format!("tcp flags {:#04x}/{:#04x};", flags.set, flags.of));
    }
    for (word, ranges) in [("length", &flow.lengths), ("dscp", &flow.dscp)] {
        if !ranges.is_empty() {
            parts.push(format!("{word} {};", list(ranges)));
        }
    }
    if let Some(fragments) = flow.fragments {
        parts.push(format!(
            "fragment {};",
            match fragments {
                Fragments::Any => "is_fragment",
                Fragments::First => "first_fragment",
                Fragments::Last => "last_fragment",
                Fragments::None => "!is_fragment",
            }
        ));
    }
    format!("flow{} {{ {} }}", if v6 { 6 } else { 4 }, parts.join(" "))
}
