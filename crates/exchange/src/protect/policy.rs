//! How far protection goes without a second person: a document that officers version.

use base::Prefix;
use serde::{Deserialize, Serialize};

use crate::document::Protection;

/// Hours that a member's rule can last before somebody extends it.
pub const HOURS_MAX: u32 = 7 * 24;
/// Rules of one member in force or proposed, at most.
pub const ACTIVE_MAX: u32 = 1_000;

/// One version of the policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// Hours that a member's rule lasts at most; up to 168.
    pub hours_max: u32,
    /// Rules of one member in force or proposed, at most.
    pub active_max: u32,
    /// Blackholes of more than one host wait for a second person.
    pub approve_wide_blackholes: bool,
    /// Flow rules wait for a second person.
    pub approve_flows: bool,
    /// Flow rules for more than these many bits of the destination wait for a second person: IPv4.
    pub flow_v4_min: u8,
    /// The same for IPv6.
    pub flow_v6_min: u8,
    /// Enforcements from intelligence become flow rules for members who want them.
    pub intelligence: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            hours_max: HOURS_MAX,
            active_max: 100,
            approve_wide_blackholes: true,
            approve_flows: false,
            flow_v4_min: 24,
            flow_v6_min: 48,
            intelligence: true,
        }
    }
}

impl Policy {
    /// The rules that the document breaks, as field and rule; none: it is good.
    pub fn problems(&self) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        if !(1..=HOURS_MAX).contains(&self.hours_max) {
            problems.push(("hours_max", format!("must be 1 to {HOURS_MAX}")));
        }
        if !(1..=ACTIVE_MAX).contains(&self.active_max) {
            problems.push(("active_max", format!("must be 1 to {ACTIVE_MAX}")));
        }
        if self.flow_v4_min > 32 {
            problems.push(("flow_v4_min", "must be 0 to 32".to_owned()));
        }
        if self.flow_v6_min > 128 {
            problems.push(("flow_v6_min", "must be 0 to 128".to_owned()));
        }
        problems
    }

    /// Whether a member's rule waits for a second person.
    pub fn needs_approval(&self, rule: &Protection) -> bool {
        if rule.is_blackhole() {
            return self.approve_wide_blackholes && !rule.is_host();
        }
        let is_wide = |to: Prefix| {
            let least = if to.address().is_ipv4() {
                self.flow_v4_min
            } else {
                self.flow_v6_min
            };
            to.length() < least
        };
        self.approve_flows || rule.destination.is_none_or(is_wide)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Flow;

    #[test]
    fn what_is_wide_waits_for_a_second_person() {
        let rule = |to: &str, flow: Option<Flow>| Protection {
            id: "r".into(),
            asn: Some(1),
            destination: to.parse().ok(),
            sites: Vec::new(),
            flow,
        };
        let flow = || {
            Some(Flow {
                rate_bytes: Some(0),
                ..Flow::default()
            })
        };
        let policy = Policy::default();
        assert!(policy.problems().is_empty());
        for (rule, waits) in [
            (rule("203.0.113.7/32", None), false),
            (rule("203.0.113.0/24", None), true),
            (rule("2001:db8::1/128", None), false),
            (rule("2001:db8::/64", None), true),
            (rule("203.0.113.0/24", flow()), false),
            (rule("203.0.112.0/20", flow()), true),
            (rule("2001:db8::/47", flow()), true),
        ] {
            assert_eq!(policy.needs_approval(&rule), waits, "{rule:?}");
        }
        let wrong = Policy {
            hours_max: 169,
            active_max: 0,
            flow_v4_min: 33,
            flow_v6_min: 129,
            ..policy
        };
        assert_eq!(wrong.problems().len(), 4);
    }
}
