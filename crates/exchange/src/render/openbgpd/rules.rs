//! The filter rules: what is tested of routes that come, and what is done to those that leave.

use std::fmt::Write as _;
use std::net::IpAddr;

use super::{Part, REFUSED_RIB, bogons, family};
use crate::community::{
    IRR_FUNCTION, LargeCommunity, NOT_TO_FUNCTION, PREPEND_FUNCTIONS, REASON_FUNCTION,
    RPKI_FUNCTION, Reason, TO_FUNCTION,
};
use crate::document::{Policy, Site};

/// Second part of the large communities that stand for others inside this route server; they never leave.
const HELD_FUNCTION: u32 = 1198;
/// Communities that OpenBGPD would obey and a route server hands on (RFC 7947, 2.2.4): their place among
/// the held ones, and their names.
const HELD: [(u32, &str); 3] = [
    (1, "NO_EXPORT"),
    (2, "NO_ADVERTISE"),
    (3, "NO_EXPORT_SUBCONFED"),
];

macro_rules! say {
    ($out:expr, $($format:tt)*) => {
        writeln!($out, $($format)*).unwrap_or_default()
    };
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Rib {
    Loc,
    Refused,
}

impl Rib {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Loc => "Loc-RIB",
            Self::Refused => REFUSED_RIB,
        }
    }
}

/// The rules for routes that come, for one RIB.
pub(super) struct Rules<'a> {
    pub(super) out: &'a mut String,
    pub(super) rib: Rib,
    pub(super) policy: &'a Policy,
}

impl Rules<'_> {
    fn reason(&self, reason: Reason) -> LargeCommunity {
        reason.community(self.policy.asn)
    }

    fn label(&self, function: u32, value: u32) -> String {
        format!("large-community {}:{function}:{value}", self.policy.asn)
    }

    fn rule(&mut self, action: &str, from: &str, condition: &str, set: &str) {
        let rib = self.rib.name();
        let gap = if condition.is_empty() { "" } else { " " };
        let set = match set {
            "" => String::new(),
            set => format!(" set {set}"),
        };
        say!(
            self.out,
            "{action} rib {rib} from {from}{gap}{condition}{set}"
        );
    }

    fn note(&mut self, from: &str, condition: &str, set: &str) {
        self.rule("match", from, condition, set);
    }

    /// Puts the reason on what meets the condition.
    fn suspect(&mut self, from: &str, condition: &str, reason: Reason) {
        let set = format!("large-community {}", self.reason(reason));
        self.note(from, condition, &set);
    }

    /// Takes the reason from what meets the condition.
    fn clear(&mut self, from: &str, condition: &str, reason: Reason) {
        let set = format!("large-community delete {}", self.reason(reason));
        self.note(from, condition, &set);
    }

    /// Refuses what still has the reason.
    fn judge(&mut self, from: &str, reason: Reason) {
        let condition = format!("large-community {}", self.reason(reason));
        let action = match self.rib {
            Rib::Loc => "deny quick",
            Rib::Refused => "allow quick",
        };
        self.rule(action, from, &condition, "");
    }

    /// Refuses what meets the condition.
    fn refuse(&mut self, from: &str, condition: &str, reason: Reason) {
        let set = format!("large-community {}", self.reason(reason));
        match self.rib {
            Rib::Loc => self.rule("deny quick", from, condition, ""),
            Rib::Refused => self.rule("allow quick", from, condition, &set),
        }
    }

    /// What holds for every member; the order of `functions.conf` of BIRD's rendering.
    pub(super) fn general(&mut self) {
        let policy = self.policy;
        let asn = policy.asn;
        let labels: Vec<String> = [RPKI_FUNCTION, IRR_FUNCTION, REASON_FUNCTION, HELD_FUNCTION]
            .iter()
            .map(|function| format!("large-community delete {asn}:{function}:*"))
            .collect();
        self.note("any", "", &format!("{{ {} }}", labels.join(", ")));
        for (set, reason) in [
            ("bogons", Reason::BogonPrefix),
            ("own_lans", Reason::OwnLan),
        ] {
            for v6 in [false, true] {
                self.refuse("any", &format!("prefix-set {set}_{}", family(v6)), reason);
            }
        }
        let lengths = [
            ("0.0.0.0/0", policy.lengths_v4, 32),
            ("::/0", policy.lengths_v6, 128),
        ];
        for (all, lengths, width) in lengths {
            if lengths.max < width {
                let condition = format!("prefix {all} prefixlen > {}", lengths.max);
                self.suspect("any", &condition, Reason::PrefixTooLong);
            }
        }
        self.spare_blackholes(Reason::PrefixTooLong);
        for (all, lengths, _) in lengths {
            if lengths.min > 0 {
                let condition = format!("prefix {all} prefixlen < {}", lengths.min);
                self.suspect("any", &condition, Reason::PrefixTooShort);
            }
        }
        self.spare_blackholes(Reason::PrefixTooShort);
        for (good, reason) in [
            ("max-as-len 0", Reason::PathEmpty),
            ("peer-as neighbor-as", Reason::FirstAsNotPeer),
        ] {
            self.suspect("any", "", reason);
            self.clear("any", good, reason);
            self.judge("any", reason);
        }
        let longer = format!("max-as-len {}", policy.as_path_max);
        self.refuse("any", &longer, Reason::PathTooLong);
        let reserved = format!("AS {{ {} }}", bogons::ASNS.replace("..", " - "));
        self.refuse("any", &reserved, Reason::BogonAsn);
        self.refuse("any", "AS as-set never_via_rs", Reason::NeverViaRouteServer);
        for kind in ["", "ext-", "large-"] {
            let condition = format!("max-{kind}communities {}", policy.communities_max);
            self.suspect("any", &condition, Reason::TooManyCommunities);
        }
        self.spare_blackholes(Reason::TooManyCommunities);
        if self.rib == Rib::Loc {
            say!(
                self.out,
                "# Held until they leave: OpenBGPD would obey them, and members are to see them."
            );
            for (value, name) in HELD {
                let held = self.label(HELD_FUNCTION, value);
                let set = format!("{{ {held}, community delete {name} }}");
                self.note("any", &format!("community {name}"), &set);
            }
        }
    }

    /// Judges by a reason that does not hold for blackholes (RFC 7999).
    fn spare_blackholes(&mut self, reason: Reason) {
        if self.policy.blackhole {
            self.clear("any", "community BLACKHOLE", reason);
        }
        self.judge("any", reason);
    }

    /// What holds for one member in one family.
    pub(super) fn member(&mut self, site: &Site, part: &Part<'_>) {
        let policy = self.policy;
        let (group, name) = (part.group(), part.name());
        let known = part.known.as_ref().filter(|known| !known.is_empty());
        say!(self.out, "# AS{}, {}", part.member.asn, family(part.v6));
        if policy.blackhole {
            let hole = "community BLACKHOLE";
            if known.is_some() {
                for (good, reason) in [
                    (format!("prefix-set hosts_{name}"), Reason::BlackholeNotOwn),
                    (
                        format!("source-as as-set origins_{name}"),
                        Reason::IrrOrigin,
                    ),
                ] {
                    self.suspect(&group, hole, reason);
                    self.clear(&group, &good, reason);
                    self.judge(&group, reason);
                }
            } else {
                self.refuse(&group, hole, Reason::BlackholeNotOwn);
            }
        }
        self.suspect(&group, "", Reason::NextHopNotPeer);
        if policy.next_hop_same_as {
            for session in &part.sessions {
                let own = format!("nexthop {}", session.peer);
                self.clear(&group, &own, Reason::NextHopNotPeer);
            }
        } else {
            self.clear(&group, "nexthop neighbor", Reason::NextHopNotPeer);
        }
        self.judge(&group, Reason::NextHopNotPeer);
        if policy.blackhole && known.is_some() {
            self.take_blackhole(site, part);
        }
        match (&part.known, known) {
            (Some(_), None) => self.refuse(&group, "", Reason::IrrPrefix),
            (Some(_), Some(_)) => self.registered(part),
            (None, _) => {
                if policy.rpki.is_used() {
                    self.refuse(&group, "ovs invalid", Reason::RpkiInvalid);
                }
                if self.rib == Rib::Loc {
                    self.note(&group, "", &self.label(IRR_FUNCTION, 2));
                }
            }
        }
        if self.rib == Rib::Refused {
            return;
        }
        if policy.graceful_shutdown {
            self.note(&group, "community GRACEFUL_SHUTDOWN", "localpref 0");
        }
        for session in part.sessions.iter().filter(|one| one.stands_back) {
            // Twice, so that one prepending of another way does not win against the switch.
            self.note(&session.peer.to_string(), "", "prepend-neighbor 2");
        }
    }

    /// A blackhole that passed its tests is taken here: lengths, RPKI and the rest are not asked.
    fn take_blackhole(&mut self, site: &Site, part: &Part<'_>) {
        let (group, hole) = (part.group(), "community BLACKHOLE");
        if self.rib == Rib::Refused {
            self.rule("deny quick", &group, hole, "");
            return;
        }
        let next_hop: Option<IpAddr> = if part.v6 {
            site.blackhole_v6.map(Into::into)
        } else {
            site.blackhole_v4.map(Into::into)
        };
        // NO_EXPORT, which members are to see.
        let mut sets = vec![self.label(HELD_FUNCTION, HELD[0].0)];
        sets.extend(next_hop.map(|next_hop| format!("nexthop {next_hop}")));
        let sets = format!("{{ {} }}", sets.join(", "));
        self.rule("allow quick", &group, hole, &sets);
    }

    /// Origin and prefix by the registries, with RPKI between them.
    fn registered(&mut self, part: &Part<'_>) {
        let (group, name) = (part.group(), part.name());
        let prefixes = format!("prefix-set prefixes_{name}");
        self.suspect(&group, "", Reason::IrrOrigin);
        let origins = format!("source-as as-set origins_{name}");
        self.clear(&group, &origins, Reason::IrrOrigin);
        self.judge(&group, Reason::IrrOrigin);
        if self.policy.rpki.is_used() {
            self.refuse(&group, "ovs invalid", Reason::RpkiInvalid);
        }
        self.suspect(&group, "", Reason::IrrPrefix);
        self.clear(&group, &prefixes, Reason::IrrPrefix);
        if self.policy.rpki.is_used() {
            self.clear(&group, "ovs valid", Reason::IrrPrefix);
        }
        self.judge(&group, Reason::IrrPrefix);
        if self.rib == Rib::Loc {
            self.note(&group, &prefixes, &self.label(IRR_FUNCTION, 1));
        }
    }

    /// What passed every test.
    pub(super) fn end(&mut self) {
        if self.rib == Rib::Refused {
            self.rule("deny", "any", "", "");
            return;
        }
        if self.policy.rpki.is_used() {
            self.note("any", "ovs valid", &self.label(RPKI_FUNCTION, 1));
            self.note("any", "ovs not-found", &self.label(RPKI_FUNCTION, 2));
        } else {
            self.note("any", "", &self.label(RPKI_FUNCTION, 3));
        }
        self.rule("allow", "any", "", "");
    }
}

/// What members are told: the last rule that allows or denies decides.
pub(super) fn exports(out: &mut String, policy: &Policy, site: &Site, parts: &[Part<'_>]) {
    let asn = policy.asn;
    // Standard communities hold 16 bits.
    let short = u16::try_from(asn).ok();
    say!(
        out,
        "\n# What leaves. The member would refuse its own number in the path anyway.\ndeny quick to any peer-as neighbor-as\nallow to any"
    );
    if policy.action_communities {
        say!(out, "# What members ask for: the later line wins.");
        if let Some(short) = short {
            say!(out, "deny to any community 0:{short}");
        }
        say!(out, "deny to any large-community {asn}:{NOT_TO_FUNCTION}:0");
        say!(out, "deny to any community 0:neighbor-as");
        if let Some(short) = short {
            say!(out, "allow to any community {short}:neighbor-as");
        }
        say!(
            out,
            "deny to any large-community {asn}:{NOT_TO_FUNCTION}:neighbor-as\nallow to any large-community {asn}:{TO_FUNCTION}:neighbor-as"
        );
        // The longest wins, once.
        let asked: Vec<String> = PREPEND_FUNCTIONS
            .iter()
            .map(|function| format!("large-community delete {asn}:{function}:*"))
            .collect();
        let asked = asked.join(", ");
        for (times, function) in [1, 2, 3].into_iter().zip(PREPEND_FUNCTIONS).rev() {
            for peer in ["neighbor-as", "0"] {
                say!(
                    out,
                    "match to any large-community {asn}:{function}:{peer} set {{ prepend-neighbor {times}, {asked} }}"
                );
            }
        }
    }
    for session in parts.iter().flat_map(|part| &part.sessions) {
        if session.stands_back {
            say!(out, "match to {} set prepend-neighbor 2", session.peer);
        }
    }
    for (value, name) in HELD {
        say!(
            out,
            "match to any large-community {asn}:{HELD_FUNCTION}:{value} set community {name}"
        );
    }
    say!(
        out,
        "# Requests and labels are for this route server, not for the next network.\nmatch to any set {{ community delete 0:*, large-community delete {asn}:*:* }}"
    );
    if let Some(short) = short {
        say!(out, "match to any set community delete {short}:*");
    }
    if site.draining {
        say!(out, "match to any set community GRACEFUL_SHUTDOWN");
    }
}
