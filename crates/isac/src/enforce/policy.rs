//! Which indicators become enforcements: a document that people version, and a pure
//! decision by it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::LazyLock;
use std::time::Duration;

use base::enforcement::{Action, Target, TargetKind};
use base::{Prefix, Role};
use serde::{Deserialize, Serialize};

use crate::objects::{Origin, Via};
use crate::stix::Tlp;

/// Percent of their word that houses are believed from which objects are fetched, unless
/// somebody gave them another: what they are surest of waits for a person.
pub const PEER_TRUST_DEFAULT: u8 = 50;
/// Percent of their word that member organisations are believed, unless officers gave them
/// another: by the policy that is built in, what one of them alone is surest of waits for a
/// person, and what it is half sure of is still proposed.
pub const ORGANISATION_TRUST_DEFAULT: u8 = 70;
/// Entries of `never`.
pub const NEVER_MAX: usize = 10_000;
/// Sources with a trust of their own.
pub const SOURCES_MAX: usize = 1_000;
/// Public resolvers, which much of the country stands on: blocking one by a bad
/// indicator would be an outage. Always in force, besides the policy's own list.
pub(super) const NEVER: [&str; 23] = [
    "1.0.0.1",
    "1.1.1.1",
    "8.8.4.4",
    "8.8.8.8",
    "9.9.9.9",
    "101.101.101.101",
    "101.102.103.104",
    "168.95.1.1",
    "168.95.192.1",
    "2001:4860:4860::8888",
    "2001:4860:4860::8844",
    "2606:4700:4700::1111",
    "2606:4700:4700::1001",
    "149.112.112.112",
    "2620:fe::fe",
    "2620:fe::9",
    "2001:b000:168::1",
    "2001:b000:168::2",
    "2001:de4::101",
    "2001:de4::102",
    "dns.google",
    "one.one.one.one",
    "dns.quad9.net",
];

/// The root name servers (root-servers.org), without which no name resolves. Always in force,
/// as [`NEVER`] is.
const ROOTS: [&str; 29] = [
    "198.41.0.4",
    "2001:503:ba3e::2:30",
    "170.247.170.2",
    "2801:1b8:10::b",
    "199.9.14.201",
    "2001:500:200::b",
    "192.33.4.12",
    "2001:500:2::c",
    "199.7.91.13",
    "2001:500:2d::d",
    "192.203.230.10",
    "2001:500:a8::e",
    "192.5.5.241",
    "2001:500:2f::f",
    "192.112.36.4",
    "2001:500:12::d0d",
    "198.97.190.53",
    "2001:500:1::53",
    "192.36.148.17",
    "2001:7fe::53",
    "192.58.128.30",
    "2001:503:c27::2:30",
    "193.0.14.129",
    "2001:7fd::1",
    "199.7.83.42",
    "2001:500:9f::42",
    "202.12.27.33",
    "2001:dc3::35",
    "*.root-servers.net",
];

/// [`NEVER`] and [`ROOTS`] as they are compared.
static BUILT_IN: LazyLock<Vec<Target>> = LazyLock::new(|| {
    let all = NEVER.iter().chain(&ROOTS);
    all.filter_map(|text| text.parse().ok()).collect()
});

/// What becomes of an enforcement whose indicator is no longer believed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unbelieved {
    /// It is lifted at once.
    #[default]
    Lift,
    /// It stays in force until a person lifts it, who is asked.
    Ask,
}

impl Unbelieved {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Lift, Self::Ask];

    /// As in documents.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lift => "lift",
            Self::Ask => "ask",
        }
    }
}

/// One version of the policy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// Whether indicators become enforcements at all.
    pub on: bool,
    /// Kinds that do.
    pub kinds: Vec<TargetKind>,
    /// Kinds that always need approval.
    pub approval_kinds: Vec<TargetKind>,
    /// Confidence (after trust) from which an indicator is proposed; 0 to 100.
    pub confidence_min: u8,
    /// Confidence from which it is enforced at once.
    pub automatic_min: u8,
    /// Confidence of an indicator that states none.
    pub confidence_unstated: u8,
    /// The most closed marking that may be acted on: nodes of others see what is blocked.
    pub tlp_max: String,
    /// Percent of its stated confidence that a source is believed, by organisation id.
    pub trust: BTreeMap<String, u8>,
    /// Percent for all other organisations.
    pub trust_default: u8,
    /// What is done.
    pub action: Action,
    /// Roles that obey; empty: all that can.
    pub roles: Vec<Role>,
    /// Days after which an indicator without an end of its own is no longer enforced.
    pub days: u16,
    /// Shortest IPv4 prefix.
    pub prefix_v4_min: u8,
    /// Shortest IPv6 prefix.
    pub prefix_v6_min: u8,
    /// What a person enforces by hand needs a second person.
    pub manual_approval: bool,
    /// What becomes of what was made from an indicator that is no longer believed.
    pub unbelieved: Unbelieved,
    /// Never enforced, nor anything that covers it or lies in it: own prefixes, members'
    /// prefixes, names that must answer.
    pub never: Vec<Target>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            on: true,
            kinds: TargetKind::ALL.to_vec(),
            approval_kinds: vec![TargetKind::Prefix],
            confidence_min: 30,
            automatic_min: 80,
            confidence_unstated: 50,
            tlp_max: "amber".to_owned(),
            trust: BTreeMap::new(),
            trust_default: ORGANISATION_TRUST_DEFAULT,
            action: Action::Refuse,
            roles: Vec::new(),
            days: 30,
            prefix_v4_min: 16,
            prefix_v6_min: 32,
            manual_approval: false,
            unbelieved: Unbelieved::Lift,
            never: Vec::new(),
        }
    }
}

/// What becomes of a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// Enforced at once.
    Enforce,
    /// Enforced when a person approves.
    Propose,
    /// Left alone, for this reason.
    Leave(String),
}

/// An indicator as far as the policy looks at it.
#[derive(Debug, Clone, Copy)]
pub struct Indicator {
    /// Its confidence, if stated.
    pub confidence: Option<u8>,
    /// Its marking.
    pub tlp: Tlp,
    /// Percent of its word that its source is believed: [`Policy::trust_in`].
    pub trust: u8,
}

impl Policy {
    /// The rules that the document breaks, as field and rule; none: it is good.
    pub fn problems(&self) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        let mut bound = |field, value: u64, max: u64| {
            if value > max {
                problems.push((field, format!("{value}: must be at most {max}")));
            }
        };
        bound("confidence_min", self.confidence_min.into(), 100);
        bound("automatic_min", self.automatic_min.into(), 101);
        bound("confidence_unstated", self.confidence_unstated.into(), 100);
        bound("trust_default", self.trust_default.into(), 100);
        bound("days", self.days.into(), 3_650);
        bound("prefix_v4_min", self.prefix_v4_min.into(), 32);
        bound("prefix_v6_min", self.prefix_v6_min.into(), 128);
        bound("never", self.never.len() as u64, NEVER_MAX as u64);
        bound("trust", self.trust.len() as u64, SOURCES_MAX as u64);
        for trust in self.trust.values() {
            bound("trust", (*trust).into(), 100);
        }
        if self.days == 0 {
            problems.push(("days", "0: must be at least 1".to_owned()));
        }
        if Tlp::from_name(&self.tlp_max).is_none() {
            problems.push((
                "tlp_max",
                format!(
                    "{:?}: must be clear, green, amber, amber+strict or red",
                    self.tlp_max.chars().take(20).collect::<String>()
                ),
            ));
        }
        problems
    }

    /// How long something without an end of its own is enforced.
    pub fn lasts(&self) -> Duration {
        Duration::from_secs(u64::from(self.days) * 86_400)
    }

    /// Percent of its word that a source is believed; `peers` says it of other houses.
    pub fn trust_in(&self, origin: Origin, peers: &BTreeMap<Via, u8>) -> u8 {
        let trust = match origin {
            // A house's own indicator is believed as it stands.
            Origin::House => 100,
            Origin::Organisation(org) => self
                .trust
                .get(&org.to_string())
                .copied()
                .unwrap_or(self.trust_default),
            Origin::Peer(via) => peers.get(&via).copied().unwrap_or(PEER_TRUST_DEFAULT),
        };
        trust.min(100)
    }

    /// The confidence in an indicator, after trust in its source.
    pub fn confidence(&self, indicator: &Indicator) -> u8 {
        let stated = indicator.confidence.unwrap_or(self.confidence_unstated);
        (u16::from(stated.min(100)) * u16::from(indicator.trust.min(100)) / 100) as u8
    }

    /// What becomes of a target of an indicator.
    pub fn decide(&self, target: &Target, indicator: &Indicator) -> Fate {
        if !self.on {
            return Fate::Leave("the policy is off".to_owned());
        }
        if let Err(why) = self.permits(target) {
            return Fate::Leave(why);
        }
        let kind = target.kind();
        if !self.kinds.contains(&kind) {
            return Fate::Leave(format!("targets of kind {} are not enforced", kind.name()));
        }
        let most = Tlp::from_name(&self.tlp_max).unwrap_or(Tlp::Clear);
        if indicator.tlp > most {
            return Fate::Leave(format!(
                "its marking TLP:{} is more closed than TLP:{}",
                indicator.tlp.name(),
                most.name()
            ));
        }
        let confidence = self.confidence(indicator);
        if confidence < self.confidence_min {
            return Fate::Leave(format!(
                "confidence {confidence} is below {}",
                self.confidence_min
            ));
        }
        if confidence < self.automatic_min || self.approval_kinds.contains(&kind) {
            return Fate::Propose;
        }
        Fate::Enforce
    }

    /// Whether a target may be enforced at all, by whomever.
    ///
    /// # Errors
    /// The reason why not.
    pub fn permits(&self, target: &Target) -> Result<(), String> {
        if let Target::Network(prefix) = target {
            let min = match prefix.address() {
                IpAddr::V4(_) => self.prefix_v4_min,
                IpAddr::V6(_) => self.prefix_v6_min,
            };
            if prefix.length() < min {
                return Err(format!("{prefix} is wider than /{min}"));
            }
        }
        let mut listed = BUILT_IN.iter().chain(&self.never);
        match listed.find(|never| clashes(target, never)) {
            Some(never) => Err(format!(
                "{never} is on the warning list: it is never blocked"
            )),
            None => Ok(()),
        }
    }
}

/// Whether enforcing `target` would hit `never`.
fn clashes(target: &Target, never: &Target) -> bool {
    match (target, never) {
        (Target::Network(_) | Target::Url(_), Target::Network(never)) => {
            network_of(target).is_some_and(|target| target.covers(never) || never.covers(&target))
        }
        (
            Target::Domain { name, below },
            Target::Domain {
                name: never,
                below: all,
            },
        ) => name == never || (*below && is_below(never, name)) || (*all && is_below(name, never)),
        (
            Target::Url(url),
            Target::Domain {
                name: never,
                below: all,
            },
        ) => {
            let host = url_host(url);
            host == &**never || (*all && is_below(host, never))
        }
        (target, never) => target == never,
    }
}

/// The host of a URL in normal form, without a port.
pub(super) fn url_host(url: &str) -> &str {
    base::enforcement::host_of(url.split(['/', '?']).next().unwrap_or_default())
}

/// The network that a target names: itself, or as the host of a URL.
pub(super) fn network_of(target: &Target) -> Option<Prefix> {
    match target {
        Target::Network(prefix) => Some(*prefix),
        Target::Url(url) => {
            let host = url_host(url);
            let literal = host
                .strip_prefix('[')
                .and_then(|host| host.strip_suffix(']'));
            let address: IpAddr = literal.unwrap_or(host).parse().ok()?;
            Some(Prefix::host(address.to_canonical()))
        }
        Target::Domain { .. } | Target::File { .. } => None,
    }
}

fn is_below(name: &str, above: &str) -> bool {
    name.strip_suffix(above)
        .is_some_and(|rest| rest.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::OrgId;

    const ORG: OrgId = OrgId(uuid::Uuid::from_u128(7));

    fn decide(policy: &Policy, target: &str, confidence: u8) -> Fate {
        let indicator = Indicator {
            confidence: Some(confidence),
            tlp: Tlp::Green,
            trust: policy.trust_in(Origin::Organisation(ORG), &BTreeMap::new()),
        };
        policy.decide(&target.parse().expect("a target"), &indicator)
    }

    #[test]
    fn confidence_decides_between_nothing_approval_and_at_once() {
        let built_in = Policy::default();
        assert_eq!(decide(&built_in, "192.0.2.1", 100), Fate::Propose);
        assert_eq!(decide(&built_in, "192.0.2.1", 50), Fate::Propose);
        let mut policy = Policy {
            trust_default: 100,
            ..built_in
        };
        assert!(matches!(decide(&policy, "192.0.2.1", 29), Fate::Leave(_)));
        assert_eq!(decide(&policy, "192.0.2.1", 30), Fate::Propose);
        assert_eq!(decide(&policy, "192.0.2.1", 80), Fate::Enforce);
        assert_eq!(decide(&policy, "192.0.2.0/24", 100), Fate::Propose);
        policy.trust.insert(ORG.to_string(), 50);
        assert_eq!(decide(&policy, "192.0.2.1", 100), Fate::Propose);
        policy.on = false;
        assert!(matches!(decide(&policy, "192.0.2.1", 100), Fate::Leave(_)));
    }

    #[test]
    fn a_peer_is_believed_as_it_was_given_and_else_by_half() {
        let policy = Policy {
            trust_default: 70,
            ..Policy::default()
        };
        let (known, unknown) = (Via::of("https://a.example/"), Via::of("https://b.example/"));
        let peers = BTreeMap::from([(known, 90)]);
        let other = OrgId(uuid::Uuid::from_u128(8));
        for (origin, trust) in [
            (Origin::House, 100),
            (Origin::Organisation(other), 70),
            (Origin::Peer(known), 90),
            (Origin::Peer(unknown), PEER_TRUST_DEFAULT),
        ] {
            assert_eq!(policy.trust_in(origin, &peers), trust, "{origin}");
        }
        let indicator = Indicator {
            confidence: Some(100),
            tlp: Tlp::Green,
            trust: PEER_TRUST_DEFAULT,
        };
        let target = "192.0.2.1".parse().expect("a target");
        let fate = Policy::default().decide(&target, &indicator);
        assert_eq!(fate, Fate::Propose, "a person decides");
    }

    #[test]
    fn what_is_on_a_warning_list_is_never_hit_from_any_side() {
        let never = ["203.0.113.0/24", "www.gov.example", "*.cdn.example"];
        let policy = Policy {
            never: never.map(|text| text.parse().expect("a target")).to_vec(),
            trust_default: 100,
            ..Policy::default()
        };
        for target in [
            "8.8.8.8",
            "8.8.8.0/24",
            "203.0.113.7",
            "203.0.112.0/23",
            "www.gov.example",
            "*.gov.example",
            "x.cdn.example",
            "http://a.cdn.example/x",
            "2001:4860:4860::8888",
            "http://8.8.8.8/",
            "http://8.8.8.8:8080/x?y",
            "http://[2620:fe::fe]/x",
            "http://[::ffff:8.8.8.8]/x",
            "https://dns.google/dns-query",
            "one.one.one.one",
            "101.102.103.104",
            "http://203.0.113.9/",
            "198.41.0.4",
            "198.41.0.0/24",
            "a.root-servers.net",
        ] {
            assert!(
                matches!(decide(&policy, target, 100), Fate::Leave(why) if why.contains("warning list")),
                "{target}"
            );
        }
        assert_eq!(BUILT_IN.len(), NEVER.len() + ROOTS.len(), "all can be read");
        for target in [
            "203.0.114.7",
            "gov.example",
            "xcdn.example",
            "8.8.8.9",
            "evil.com.tw",
            "*.evil.gov.tw",
            "sites.google.com",
            "http://198.41.0.5/",
        ] {
            assert_eq!(decide(&policy, target, 100), Fate::Enforce, "{target}");
        }
        assert!(matches!(decide(&policy, "10.0.0.0/8", 100), Fate::Leave(_)));
    }

    #[test]
    fn a_closed_marking_is_not_acted_on_and_bad_documents_name_their_fields() {
        let policy = Policy::default();
        let indicator = Indicator {
            confidence: Some(100),
            tlp: Tlp::Red,
            trust: 100,
        };
        let target = "192.0.2.1".parse().expect("a target");
        assert!(matches!(policy.decide(&target, &indicator), Fate::Leave(_)));
        let bad: Policy =
            serde_json::from_str(r#"{"days":0,"tlp_max":"blue","confidence_min":200}"#)
                .expect("reads");
        let fields: Vec<&str> = bad.problems().iter().map(|(field, _)| *field).collect();
        assert_eq!(fields, ["confidence_min", "days", "tlp_max"]);
        assert!(serde_json::from_str::<Policy>(r#"{"onn":true}"#).is_err());
    }
}
