//! BIRD 2, as Debian 12 has it (2.0.12).

use std::fmt::Write as _;
use std::net::IpAddr;

use super::session::{Role, Session, plain};
use super::{RenderError, bogons, family, protection};
use crate::community::Reason;
use crate::document::{Document, Member, Policy, Site};
use crate::irr::aggregate::{aggregate, covering};
use crate::irr::{Allowed, AllowedByMember, Pattern};

/// Filter functions that are the same for everybody.
const FUNCTIONS: &str = include_str!("bird/functions.conf");

/// The text goes on; nothing can fail in writing to memory.
macro_rules! say {
    ($out:expr, $($format:tt)*) => {
        writeln!($out, $($format)*).unwrap_or_default()
    };
}

pub(super) fn render(
    document: &Document,
    site: &Site,
    allowed: &AllowedByMember,
) -> Result<String, RenderError> {
    let policy = &document.policy;
    let mut out = String::with_capacity(64 << 10);
    header(&mut out, document, site);
    tables(&mut out, policy);
    out.push_str(FUNCTIONS);
    rpki_functions(&mut out, policy);
    protection::render(&mut out, document, site, allowed);
    if !document.preferred_sites.is_empty() {
        say!(
            out,
            "\n# Towards routers that stand back: their member's traffic was switched to another site.\nfunction prepend_once()\nint sender;\n{{\n  sender = bgp_path.first;\n  bgp_path.prepend(sender);\n}}"
        );
    }
    let mut members: Vec<&Member> = document.members.iter().collect();
    members.sort_by_key(|member| member.asn);
    for member in members {
        for v6 in [false, true] {
            let sessions = Session::of(document, site, member, v6);
            if sessions.is_empty() {
                continue;
            }
            let known = if policy.irr.enabled {
                Some(
                    allowed
                        .get(&(member.asn, v6))
                        .ok_or(RenderError::Irr(member.asn))?,
                )
            } else {
                None
            };
            member_part(&mut out, policy, site, member, v6, &sessions, known);
        }
    }
    Ok(out)
}

fn header(out: &mut String, document: &Document, site: &Site) {
    let policy = &document.policy;
    say!(
        out,
        "# Route server of {} at {}.",
        plain(&document.name),
        site.name
    );
    say!(out, "# Rendered by civicnet: a change made here is lost.\n");
    say!(out, "router id {};", site.router_id);
    say!(
        out,
        "timeformat base iso long;\ntimeformat log iso long;\ntimeformat protocol iso long;\ntimeformat route iso long;\n"
    );
    say!(out, "define RS_ASN = {};", policy.asn);
    // Standard communities hold 16 bits; the branch that uses this is never taken for larger numbers.
    say!(
        out,
        "define RS_ASN_16 = {};",
        if policy.asn <= 65_535 { policy.asn } else { 0 }
    );
    for (name, lengths) in [("V4", policy.lengths_v4), ("V6", policy.lengths_v6)] {
        say!(
            out,
            "define {name}_MIN = {};\ndefine {name}_MAX = {};",
            lengths.min,
            lengths.max
        );
    }
    say!(out, "define PATH_MAX = {};", policy.as_path_max);
    say!(out, "define COMMUNITIES_MAX = {};", policy.communities_max);
    for (name, on) in [
        ("ACTIONS", policy.action_communities),
        ("BLACKHOLE", policy.blackhole),
        ("GRACEFUL_SHUTDOWN", policy.graceful_shutdown),
        ("DRAINING", site.draining),
    ] {
        say!(out, "define {name} = {on};");
    }
    say!(out, "define BOGON_ASNS = [ {} ];", bogons::ASNS);
    let mut never = policy.never_via_route_server.clone();
    never.sort_unstable();
    never.dedup();
    list(out, "NEVER_VIA_RS", never.iter().map(u32::to_string));
    for (v6, name, fixed) in [(false, "V4", bogons::V4), (true, "V6", bogons::V6)] {
        let mut own: Vec<_> = policy
            .bogons
            .iter()
            .filter(|prefix| prefix.address().is_ipv6() == v6)
            .collect();
        own.sort_unstable();
        let more = own.into_iter().map(|prefix| format!("{prefix}+"));
        list(
            out,
            &format!("BOGONS_{name}"),
            fixed.iter().map(|text| (*text).to_owned()).chain(more),
        );
        // Of every site: the LAN of one must not be hijacked at another.
        let mut lans: Vec<_> = document
            .sites
            .iter()
            .flat_map(Site::lans)
            .filter(|lan| lan.address().is_ipv6() == v6)
            .collect();
        lans.sort_unstable();
        lans.dedup();
        list(
            out,
            &format!("OWN_LANS_{name}"),
            lans.iter().map(|lan| format!("{lan}+")),
        );
    }
    out.push('\n');
}

/// A set under a name, a few entries a line.
fn list(out: &mut String, name: &str, entries: impl Iterator<Item = String>) {
    let entries: Vec<String> = entries.collect();
    if entries.is_empty() {
        say!(out, "define {name} = [];");
        return;
    }
    say!(out, "define {name} = [");
    for (index, chunk) in entries.chunks(4).enumerate() {
        let end = if (index + 1) * 4 >= entries.len() {
            ""
        } else {
            ","
        };
        say!(out, "  {}{end}", chunk.join(", "));
    }
    say!(out, "];");
}

fn tables(out: &mut String, policy: &Policy) {
    // BIRD takes no sorted table for neighbours that are reached by routing.
    let sorted = match policy.transport.multihop {
        true => "",
        false => " sorted",
    };
    // Sorted, so that a session whose best route is withheld is given the next best (RFC 7947, 2.3).
    say!(
        out,
        "ipv4 table master4{sorted};\nipv6 table master6{sorted};\n"
    );
    say!(out, "protocol device {{ }}\n");
    if let Some(bfd) = policy.bfd {
        say!(
            out,
            "protocol bfd {{\n  interface \"*\" {{ min rx interval {0} ms; min tx interval {0} ms; idle tx interval 1 s; multiplier {1}; }};\n}}\n",
            bfd.interval_ms,
            bfd.multiplier
        );
    }
    if !policy.rpki.is_used() {
        return;
    }
    say!(
        out,
        "roa4 table roa_v4 {{ trie on; }};\nroa6 table roa_v6 {{ trie on; }};\n"
    );
    for (v6, kind) in [(false, "roa4"), (true, "roa6")] {
        let mut roas: Vec<_> = policy
            .rpki
            .roas
            .iter()
            .filter(|roa| roa.prefix.address().is_ipv6() == v6)
            .collect();
        roas.sort_unstable();
        roas.dedup();
        if roas.is_empty() {
            continue;
        }
        say!(
            out,
            "protocol static roas_{0} {{\n  {kind} {{ table roa_{0}; }};",
            family(v6)
        );
        for roa in roas {
            say!(
                out,
                "  route {} max {} as {};",
                roa.prefix,
                roa.max_length.unwrap_or(roa.prefix.length()),
                roa.asn
            );
        }
        say!(out, "}}\n");
    }
    for (index, server) in policy.rpki.servers.iter().enumerate() {
        say!(
            out,
            "protocol rpki rpki{} {{\n  roa4 {{ table roa_v4; }};\n  roa6 {{ table roa_v6; }};\n  remote {} port {};\n  retry keep 10; refresh keep 300; expire keep 86400;\n}}\n",
            index + 1,
            server.address,
            server.port
        );
    }
}

fn rpki_functions(out: &mut String, policy: &Policy) {
    for v6 in [false, true] {
        let name = family(v6);
        say!(out, "\nfunction rpki_accepts_{name}()\n{{");
        if policy.rpki.is_used() {
            // Asked once: with the prefixes below it is most of what a route costs.
            say!(
                out,
                "  case roa_check(roa_{name}, net, bgp_path.last) {{\n    ROA_INVALID: refuse({});\n    ROA_VALID: bgp_large_community.add((RS_ASN, 1000, 1)); return true;\n    else: bgp_large_community.add((RS_ASN, 1000, 2)); return false;\n  }}\n}}",
                Reason::RpkiInvalid.number()
            );
        } else {
            say!(
                out,
                "  bgp_large_community.add((RS_ASN, 1000, 3));\n  return false;\n}}"
            );
        }
    }
}

fn member_part(
    out: &mut String,
    policy: &Policy,
    site: &Site,
    member: &Member,
    v6: bool,
    sessions: &[Session<'_>],
    known: Option<&Allowed>,
) {
    let (asn, name) = (member.asn, family(v6));
    let lengths = if v6 {
        policy.lengths_v6
    } else {
        policy.lengths_v4
    };
    say!(
        out,
        "\n# AS{asn} {}, {}",
        plain(&member.name),
        if v6 { "IPv6" } else { "IPv4" }
    );
    let mut is_empty = false;
    if let Some(known) = known {
        let patterns = aggregate(
            &known.prefixes,
            policy.irr.more_specific.then_some(lengths.max),
        );
        is_empty = known.asns.is_empty() || patterns.is_empty();
        if !is_empty {
            list(
                out,
                &format!("AS{asn}_ORIGINS_{name}"),
                known.asns.iter().map(u32::to_string),
            );
            list(
                out,
                &format!("AS{asn}_PREFIXES_{name}"),
                patterns.iter().map(pattern),
            );
            if policy.blackhole {
                list(
                    out,
                    &format!("AS{asn}_SPACE_{name}"),
                    covering(&known.prefixes)
                        .iter()
                        .map(|prefix| format!("{prefix}+")),
                );
            }
        }
    }
    say!(out, "\nfunction import_as{asn}_{name}()\n{{");
    let hosts_only = if v6 { 128 } else { 32 };
    if policy.blackhole {
        say!(out, "  if is_blackhole() then {{");
        say!(
            out,
            "    if net ~ BOGONS_{0} then refuse({1});\n    if net ~ OWN_LANS_{0} then refuse({2});",
            name.to_uppercase(),
            Reason::BogonPrefix.number(),
            Reason::OwnLan.number()
        );
        say!(out, "    check_path({asn});");
        if known.is_some() && !is_empty {
            say!(
                out,
                "    if net.len != {hosts_only} || !(net ~ AS{asn}_SPACE_{name}) then refuse({});",
                Reason::BlackholeNotOwn.number()
            );
            say!(
                out,
                "    if !(bgp_path.last ~ AS{asn}_ORIGINS_{name}) then refuse({});",
                Reason::IrrOrigin.number()
            );
            let next_hop: Option<IpAddr> = if v6 {
                site.blackhole_v6.map(Into::into)
            } else {
                site.blackhole_v4.map(Into::into)
            };
            if let Some(next_hop) = next_hop {
                say!(out, "    bgp_next_hop = {next_hop};");
            }
            say!(
                out,
                "    bgp_community.add((65535, 65281));\n    return true;"
            );
        } else {
            say!(out, "    refuse({});", Reason::BlackholeNotOwn.number());
        }
        say!(out, "  }}");
    }
    say!(
        out,
        "  check_prefix_{name}();\n  check_path({asn});\n  check_communities();\n  return false;\n}}"
    );
    say!(out, "\nfunction registered_as{asn}_{name}()");
    if known.is_some() && !is_empty {
        say!(out, "bool registered;");
    }
    say!(out, "{{");
    match known {
        Some(_) if is_empty => say!(out, "  refuse({});", Reason::IrrPrefix.number()),
        Some(_) => {
            say!(
                out,
                "  if !(bgp_path.last ~ AS{asn}_ORIGINS_{name}) then refuse({});",
                Reason::IrrOrigin.number()
            );
            say!(
                out,
                "  registered = net ~ AS{asn}_PREFIXES_{name};\n  if !rpki_accepts_{name}() && !registered then refuse({});\n  if registered then bgp_large_community.add((RS_ASN, 1001, 1));",
                Reason::IrrPrefix.number()
            );
        }
        None => say!(
            out,
            "  rpki_accepts_{name}();\n  bgp_large_community.add((RS_ASN, 1001, 2));"
        ),
    }
    say!(out, "  obey_graceful_shutdown();\n}}");
    let hops: Vec<String> = sessions
        .iter()
        .map(|session| session.peer.to_string())
        .collect();
    for session in sessions {
        let hops = if policy.next_hop_same_as {
            hops.join(", ")
        } else {
            session.peer.to_string()
        };
        session_part(out, policy, session, &hops);
    }
}

fn session_part(out: &mut String, policy: &Policy, session: &Session<'_>, hops: &str) {
    let (asn, family) = (session.member.asn, family(session.v6));
    let name = session.name();
    say!(out, "\nfilter import_{name} {{\n  scrub();");
    // A blackhole's next hop is rewritten, so the sender's own is tested before.
    say!(
        out,
        "  if !(bgp_next_hop ~ [ {hops} ]) then {{\n    import_as{asn}_{family}();\n    refuse({});\n  }}",
        Reason::NextHopNotPeer.number()
    );
    say!(
        out,
        "  if import_as{asn}_{family}() then accept;\n  registered_as{asn}_{family}();\n{}  accept;\n}}",
        // Twice, so that one prepending of another way does not win against the switch.
        if session.stands_back {
            format!("  bgp_path.prepend({asn});\n  bgp_path.prepend({asn});\n")
        } else {
            String::new()
        }
    );
    say!(
        out,
        "\nfilter export_{name} {{\n  export_to({asn});\n{}  accept;\n}}",
        if session.stands_back {
            "  prepend_once();\n  prepend_once();\n"
        } else {
            ""
        }
    );
    say!(out, "\nprotocol bgp {name} {{");
    say!(
        out,
        "  description \"{} {}\";",
        plain(&session.member.name),
        session.router.name
    );
    let port = match policy.transport.port {
        179 => String::new(),
        port => format!(" port {port}"),
    };
    say!(
        out,
        "  local {}{port} as RS_ASN;\n  neighbor {}{port} as {asn};",
        session.own,
        session.peer
    );
    if policy.transport.multihop {
        say!(out, "  multihop;");
    }
    say!(
        out,
        "  strict bind on;\n  rs client;\n  interpret communities off;\n  connect delay time 1;\n  connect retry time 10;\n  error wait time 2, 60;\n  hold time {};",
        policy.hold_time_s
    );
    match session.role(policy) {
        Role::Required => say!(out, "  local role rs_server;\n  require roles on;"),
        Role::Announced => say!(out, "  local role rs_server;"),
        Role::None => {}
    }
    if session.has_bfd(policy) {
        say!(out, "  bfd on;");
    }
    if let Some(secret) = session.secret() {
        say!(out, "  password \"{}\";", secret.reveal());
    }
    if session.is_disabled() {
        say!(out, "  disabled on;");
    }
    let (kind, table) = if session.v6 {
        ("ipv6", "master6")
    } else {
        ("ipv4", "master4")
    };
    let secondary = match policy.transport.multihop {
        true => "",
        false => "    secondary on;\n",
    };
    say!(
        out,
        "  {kind} {{\n    table {table};\n{secondary}    import table on;\n    import keep filtered on;\n    receive limit {} action restart;\n    import filter import_{name};\n    export filter export_{name};\n  }};",
        session.max_prefix(policy)
    );
    if session.member.flowspec {
        protection::channel(out, session.member, session.v6);
    }
    say!(out, "}}");
}

fn pattern(pattern: &Pattern) -> String {
    let Pattern { prefix, low, high } = pattern;
    if *low == prefix.length() && low == high {
        prefix.to_string()
    } else {
        format!("{prefix}{{{low},{high}}}")
    }
}
