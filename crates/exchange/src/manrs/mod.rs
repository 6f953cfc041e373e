//! The exchange beside the MANRS IXP programme: each action, the evidence that the system itself holds,
//! and what is missing. Counts come from what is kept; [`assess`] is pure and says what they mean.

pub mod facts;
pub(crate) mod pages;

use serde::Serialize;

pub use facts::Facts;

/// Days after which a contact that nobody found right counts as old.
pub const CONTACT_DAYS_MAX: i64 = 365;

/// How far something is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Shown {
    /// The system holds evidence for all of it.
    Yes,
    /// For some of it.
    Partly,
    /// For none.
    No,
}

impl Shown {
    /// The name in texts' keys.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::Partly => "partly",
            Self::No => "no",
        }
    }

    fn of(good: u64, all: u64) -> Self {
        match (good, all) {
            (_, 0) | (0, _) => Self::No,
            (good, all) if good >= all => Self::Yes,
            _ => Self::Partly,
        }
    }

    fn is(holds: bool) -> Self {
        if holds { Self::Yes } else { Self::No }
    }
}

/// One piece of evidence: a count of a total, and where it can be seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Evidence {
    /// Names it: the text's key is `manrs-` and this.
    pub key: &'static str,
    /// How many.
    pub good: u64,
    /// Of how many; 1 for what is there or not.
    pub all: u64,
    /// What that means.
    pub shown: Shown,
    /// Where it can be seen.
    pub path: &'static str,
}

/// One action of the programme.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Action {
    /// 1 to 5.
    pub number: u8,
    /// Whether the programme demands it of everybody; of 3 to 5 it demands one.
    pub mandatory: bool,
    /// The evidence.
    pub evidence: Vec<Evidence>,
    /// All of it together.
    pub shown: Shown,
}

fn count(key: &'static str, good: u64, all: u64, path: &'static str) -> Evidence {
    Evidence {
        key,
        good,
        all,
        shown: Shown::of(good, all),
        path,
    }
}

fn holds(key: &'static str, there: bool, path: &'static str) -> Evidence {
    Evidence {
        key,
        good: u64::from(there),
        all: 1,
        shown: Shown::is(there),
        path,
    }
}

fn action(number: u8, evidence: Vec<Evidence>) -> Action {
    let yes = evidence.iter().filter(|e| e.shown == Shown::Yes).count();
    let none = evidence.iter().all(|e| e.shown == Shown::No);
    let shown = match () {
        () if yes == evidence.len() => Shown::Yes,
        () if none => Shown::No,
        () => Shown::Partly,
    };
    Action {
        number,
        mandatory: number <= 2,
        evidence,
        shown,
    }
}

/// What the facts mean for each action.
pub fn assess(facts: &Facts) -> Vec<Action> {
    let f = facts;
    vec![
        // Action 1: prevent the propagation of incorrect routing information.
        action(
            1,
            vec![
                count(
                    "servers",
                    f.servers_active,
                    f.sites_active,
                    "/peering/rules",
                ),
                holds("irr", f.irr_on, "/peering/rules"),
                count("irr-sets", f.members_with_set, f.members, "/peering"),
                count(
                    "irr-data",
                    f.members_with_space,
                    f.members,
                    "/peering/protection",
                ),
                holds("rpki", f.rpki_on, "/peering/rules"),
                holds("bogons", f.servers_active > 0, "/peering/rules"),
                count("limits", f.members_with_limits, f.members, "/peering"),
                count(
                    "sessions",
                    f.sessions_seen_up,
                    f.sessions_wanted,
                    "/peering",
                ),
            ],
        ),
        // Action 2: promote MANRS to the membership.
        action(
            2,
            vec![
                holds("rules", f.rules_published, "/peering/rules"),
                holds("manrs-document", f.manrs_document, "/peering/rules"),
                count("accepted", f.members_accepted, f.members, "/peering"),
            ],
        ),
        // Action 3: protect the peering platform.
        action(
            3,
            vec![
                count("macs", f.routers_with_mac, f.routers, "/peering"),
                count("switch-text", f.switches_with_text, f.switches, "/peering"),
                holds(
                    "lan-protected",
                    f.lans > 0 && f.servers_active > 0,
                    "/peering/rules",
                ),
                count(
                    "secrets",
                    f.sessions_with_secret,
                    f.sessions_wanted,
                    "/peering",
                ),
                count(
                    "blackhole",
                    f.servers_with_blackhole,
                    f.servers_active,
                    "/peering/protection",
                ),
            ],
        ),
        // Action 4: facilitate communication and co-ordination.
        action(
            4,
            vec![
                count("contacts", f.members_with_technical, f.members, "/peering"),
                count(
                    "security-contacts",
                    f.members_with_security,
                    f.members,
                    "/peering",
                ),
                count("fresh-contacts", f.contacts_fresh, f.contacts, "/peering"),
                count("noc", f.members_with_noc, f.members, "/peering"),
                holds("own-contact", f.own_contact, "/peering/rules"),
            ],
        ),
        // Action 5: monitoring and debugging tools for members.
        action(
            5,
            vec![
                count("glass", f.servers_reporting, f.servers_active, "/peering"),
                holds("reasons", f.servers_active > 0, "/peering/rules"),
                holds(
                    "protection",
                    f.servers_with_blackhole > 0,
                    "/peering/protection",
                ),
            ],
        ),
    ]
}

/// Whether the programme's minimum is shown: actions 1 and 2, and one of 3 to 5.
pub fn is_minimum_shown(actions: &[Action]) -> bool {
    let mandatory = actions
        .iter()
        .filter(|action| action.mandatory)
        .all(|action| action.shown == Shown::Yes);
    let other = actions
        .iter()
        .any(|action| !action.mandatory && action.shown == Shown::Yes);
    mandatory && other
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_exchange_shows_nothing() {
        let actions = assess(&Facts::default());
        assert_eq!(actions.len(), 5);
        for action in &actions {
            assert_eq!(action.shown, Shown::No, "{action:?}");
        }
        assert!(!is_minimum_shown(&actions));
    }

    #[test]
    fn what_is_missing_of_one_member_is_partly() {
        let facts = Facts {
            sites_active: 3,
            servers_active: 3,
            servers_reporting: 3,
            servers_with_blackhole: 3,
            members: 4,
            members_with_set: 4,
            members_with_space: 3,
            members_with_limits: 4,
            members_accepted: 4,
            irr_on: true,
            rpki_on: true,
            rules_published: true,
            manrs_document: true,
            sessions_wanted: 16,
            sessions_seen_up: 16,
            ..Facts::default()
        };
        let actions = assess(&facts);
        assert_eq!(actions[0].shown, Shown::Partly);
        assert_eq!(actions[1].shown, Shown::Yes);
        let all = Facts {
            members_with_space: 4,
            ..facts
        };
        let actions = assess(&all);
        assert_eq!(actions[0].shown, Shown::Yes, "{:?}", actions[0]);
        assert!(is_minimum_shown(&actions), "action 5 is shown");
    }
}
