//! OpenBGPD, as Debian 12 has it (7.7).
//!
//! Its filter rules are read from first to last, apply what they set as they go, and know no "unless": a
//! rule for everything but the good is said in three, which put the reason on every route, take it from the
//! good ones, and refuse what still has it. A rule holds for one RIB. The same tests are therefore written
//! twice: for `Loc-RIB`, where what has a reason is denied, and for a RIB of our own, [`REFUSED_RIB`],
//! where nothing else is allowed. It takes no part in any decision and shows each refused route with its
//! reason (`bgpctl show rib table Refused detail`), as BIRD does with `import keep filtered`.
//!
//! What OpenBGPD cannot do, and a document asks for at the site, is an error that names each thing
//! ([`RenderError::Unsupported`]); `lacking` is the list of them.

mod lacking;
mod rules;

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::Path;

use base::Prefix;

use rules::{Rib, Rules};

use super::session::{Role, Session, plain};
use super::{RenderError, bogons, family, protection};
use crate::document::{Document, Member, Policy, Site};
use crate::irr::aggregate::{aggregate, covering};
use crate::irr::{Allowed, AllowedByMember, Pattern};

/// Name of the RIB that holds what was refused.
pub const REFUSED_RIB: &str = "Refused";
/// Bytes of a neighbour's description (`PEER_DESCR_LEN` less its end).
pub(crate) const DESCRIPTION_BYTES_MAX: usize = 31;
/// Bytes of a control socket's path (`sun_path` less its end).
const SOCKET_BYTES_MAX: usize = 107;
/// Minutes until a session that sent too many prefixes may come again.
const MAX_PREFIX_RESTART_MIN: u32 = 1;
/// Hops to a neighbour that is reached by routing.
const MULTIHOP_MAX: u32 = 64;
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
    socket: &Path,
) -> Result<String, RenderError> {
    let socket = usable(socket)?;
    let parts = parts(document, site, allowed)?;
    lacking::refuse(document, site, allowed, &parts)?;
    let policy = &document.policy;
    let mut out = String::with_capacity(64 << 10);
    header(&mut out, document, site, socket);
    rpki(&mut out, policy);
    sets(&mut out, document, &parts);
    for part in &parts {
        neighbors(&mut out, policy, part);
    }
    for (rib, words) in [
        (Rib::Loc, "what is taken"),
        (Rib::Refused, "the same tests: what is refused, to be seen"),
    ] {
        say!(out, "\n# {}: {words}.", rib.name());
        let mut rules = Rules {
            out: &mut out,
            rib,
            policy,
        };
        rules.general();
        for part in &parts {
            rules.member(site, part);
        }
        rules.end();
    }
    rules::exports(&mut out, policy, site, &parts);
    Ok(out)
}

/// The sessions of one member in one family, and what the registries say of it.
struct Part<'a> {
    member: &'a Member,
    v6: bool,
    sessions: Vec<Session<'a>>,
    known: Option<Known<'a>>,
}

struct Known<'a> {
    allowed: &'a Allowed,
    patterns: Vec<Pattern>,
}

impl Known<'_> {
    /// Whether the member may announce nothing at all.
    fn is_empty(&self) -> bool {
        self.allowed.asns.is_empty() || self.patterns.is_empty()
    }
}

impl Part<'_> {
    /// The end of the names of what belongs to it: `as1659_v4`.
    fn name(&self) -> String {
        format!("as{}_{}", self.member.asn, family(self.v6))
    }

    fn group(&self) -> String {
        format!("group \"{}\"", self.name())
    }
}

fn parts<'a>(
    document: &'a Document,
    site: &'a Site,
    allowed: &'a AllowedByMember,
) -> Result<Vec<Part<'a>>, RenderError> {
    let policy = &document.policy;
    let mut members: Vec<&Member> = document.members.iter().collect();
    members.sort_by_key(|member| member.asn);
    let mut parts = Vec::new();
    for member in members {
        for v6 in [false, true] {
            let sessions = Session::of(document, site, member, v6);
            if sessions.is_empty() {
                continue;
            }
            let lengths = if v6 {
                policy.lengths_v6
            } else {
                policy.lengths_v4
            };
            let known = if policy.irr.enabled {
                let allowed = allowed
                    .get(&(member.asn, v6))
                    .ok_or(RenderError::Irr(member.asn))?;
                let more_specific = policy.irr.more_specific.then_some(lengths.max);
                Some(Known {
                    allowed,
                    patterns: aggregate(&allowed.prefixes, more_specific),
                })
            } else {
                None
            };
            parts.push(Part {
                member,
                v6,
                sessions,
                known,
            });
        }
    }
    Ok(parts)
}

/// A path that bgpd takes and that cannot end the string it stands in.
fn usable(socket: &Path) -> Result<&str, RenderError> {
    socket
        .to_str()
        .filter(|text| {
            socket.is_absolute()
                && text.len() <= SOCKET_BYTES_MAX
                && plain(text) == *text
                && !text.contains('\'')
        })
        .ok_or_else(|| RenderError::Socket {
            path: socket.to_owned(),
            bytes_max: SOCKET_BYTES_MAX,
        })
}

fn header(out: &mut String, document: &Document, site: &Site, socket: &str) {
    let policy = &document.policy;
    say!(
        out,
        "# Route server of {} at {}, for OpenBGPD.",
        plain(&document.name),
        site.name
    );
    say!(out, "# Rendered by civicnet: a change made here is lost.");
    say!(
        out,
        "#\n# Otherwise than BIRD: an AS path with AS 0 is malformed to OpenBGPD (RFC 7607): the route is\n# dropped before any rule, and kept nowhere. Labels that members send are taken away where this route\n# server gives labels of that kind, not in all of 1000 to 1199; to other members none of them leaves.\n"
    );
    say!(out, "AS {}\nrouter-id {}", policy.asn, site.router_id);
    say!(out, "socket \"{socket}\"");
    let own = [
        site.address_v4.map(IpAddr::from),
        site.address_v6.map(IpAddr::from),
    ];
    for address in own.into_iter().flatten() {
        say!(out, "listen on {address} port {}", policy.transport.port);
    }
    say!(
        out,
        "holdtime {}\nconnect-retry 10\nfib-update no\nnexthop qualify via default\ntransparent-as yes",
        policy.hold_time_s
    );
    // A session whose best route is withheld is given the next best (RFC 7947, 2.3).
    say!(out, "rde evaluate all");
    say!(out, "rde rib {REFUSED_RIB} no evaluate\n");
}

fn rpki(out: &mut String, policy: &Policy) {
    let mut roas = policy.rpki.roas.clone();
    roas.sort_unstable();
    roas.dedup();
    if !roas.is_empty() {
        say!(out, "roa-set {{");
        for roa in &roas {
            say!(
                out,
                "  {} maxlen {} source-as {}",
                roa.prefix,
                roa.max_length.unwrap_or(roa.prefix.length()),
                roa.asn
            );
        }
        say!(out, "}}");
    }
    for server in &policy.rpki.servers {
        say!(out, "rtr {} {{\n  port {}\n}}", server.address, server.port);
    }
}

/// A set under a name, a few entries a line.
fn set(out: &mut String, kind: &str, name: &str, entries: impl Iterator<Item = String>) {
    let entries: Vec<String> = entries.collect();
    if entries.is_empty() {
        say!(out, "{kind} {name} {{ }}");
        return;
    }
    say!(out, "{kind} {name} {{");
    for chunk in entries.chunks(4) {
        say!(out, "  {}", chunk.join(", "));
    }
    say!(out, "}}");
}

fn sets(out: &mut String, document: &Document, parts: &[Part<'_>]) {
    let policy = &document.policy;
    let mut never = policy.never_via_route_server.clone();
    never.sort_unstable();
    never.dedup();
    set(
        out,
        "as-set",
        "never_via_rs",
        never.iter().map(u32::to_string),
    );
    for (v6, fixed) in [(false, bogons::V4), (true, bogons::V6)] {
        let name = family(v6);
        let is_ours = |prefix: &&Prefix| prefix.address().is_ipv6() == v6;
        let mut own: Vec<_> = policy.bogons.iter().filter(is_ours).collect();
        own.sort_unstable();
        let fixed = fixed.iter().map(|text| match text.strip_suffix('+') {
            Some(prefix) => format!("{prefix} or-longer"),
            None => (*text).to_owned(),
        });
        set(
            out,
            "prefix-set",
            &format!("bogons_{name}"),
            fixed.chain(own.into_iter().map(|prefix| format!("{prefix} or-longer"))),
        );
        // Of every site: the LAN of one must not be hijacked at another.
        let mut lans: Vec<_> = document
            .sites
            .iter()
            .flat_map(Site::lans)
            .filter(|prefix| is_ours(&prefix))
            .collect();
        lans.sort_unstable();
        lans.dedup();
        set(
            out,
            "prefix-set",
            &format!("own_lans_{name}"),
            lans.iter().map(|lan| format!("{lan} or-longer")),
        );
    }
    for part in parts {
        let Some(known) = part.known.as_ref().filter(|known| !known.is_empty()) else {
            continue;
        };
        let name = part.name();
        set(
            out,
            "as-set",
            &format!("origins_{name}"),
            known.allowed.asns.iter().map(u32::to_string),
        );
        set(
            out,
            "prefix-set",
            &format!("prefixes_{name}"),
            known.patterns.iter().map(pattern),
        );
        if policy.blackhole {
            let host = if part.v6 { 128 } else { 32 };
            set(
                out,
                "prefix-set",
                &format!("hosts_{name}"),
                covering(&known.allowed.prefixes)
                    .iter()
                    .map(|prefix| format!("{prefix} prefixlen = {host}")),
            );
        }
    }
}

fn pattern(pattern: &Pattern) -> String {
    let Pattern { prefix, low, high } = pattern;
    if low != high {
        format!("{prefix} prefixlen {low} - {high}")
    } else if *low == prefix.length() {
        prefix.to_string()
    } else {
        format!("{prefix} prefixlen = {low}")
    }
}

fn neighbors(out: &mut String, policy: &Policy, part: &Part<'_>) {
    say!(
        out,
        "\n# AS{} {}, {}\n{} {{\n  remote-as {}",
        part.member.asn,
        plain(&part.member.name),
        if part.v6 { "IPv6" } else { "IPv4" },
        part.group(),
        part.member.asn
    );
    for session in &part.sessions {
        // The line by which `engine::openbgpd` finds a session in a configuration.
        say!(out, "  neighbor {} {{", session.peer);
        let name = session.name();
        if name.len() <= DESCRIPTION_BYTES_MAX {
            say!(out, "    descr \"{name}\"");
        } else {
            say!(out, "    # {name}: too long for a description");
        }
        say!(out, "    local-address {}", session.own);
        match policy.transport.port {
            179 => {}
            port => say!(out, "    port {port}"),
        }
        if policy.transport.multihop {
            say!(
                out,
                "    multihop {MULTIHOP_MAX}\n    set nexthop no-modify"
            );
        }
        // A wrong first AS is refused with its reason; the session stays.
        say!(out, "    enforce neighbor-as no");
        match session.role(policy) {
            Role::Required => say!(out, "    announce policy rs enforce"),
            Role::Announced => say!(out, "    announce policy rs"),
            Role::None => {}
        }
        say!(
            out,
            "    max-prefix {} restart {MAX_PREFIX_RESTART_MIN}",
            session.max_prefix(policy)
        );
        if let Some(secret) = session.secret() {
            say!(out, "    tcp md5sig password \"{}\"", secret.reveal());
        }
        if session.is_disabled() {
            say!(out, "    down");
        }
        say!(out, "  }}");
    }
    say!(out, "}}");
}
