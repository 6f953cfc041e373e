//! Blackholes (RFC 7999) and flow rules (RFC 8955, RFC 8956) that route servers announce on a member's
//! behalf, or on the exchange's own.
//!
//! A rule belongs to the member whose address space it protects, and is announced at the sites where
//! that member has a router. The same type is what members write in the console, what is kept in the
//! database and what is rendered; [`Protection::problems`] knows its rules for all of them.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use base::Prefix;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Rules in one document.
pub const PROTECTIONS_MAX: usize = 10_000;
/// Characters of a rule's name.
pub const ID_CHARS_MAX: usize = 40;
/// Entries of each list of a flow rule: an NLRI has at most 4,095 bytes (RFC 8955, 4.1).
pub const LIST_MAX: usize = 32;
/// Bytes a second that can be said (the rate is a 32-bit float).
pub const RATE_MAX: u64 = 1 << 40;
/// The shortest IPv4 prefix of a blackhole.
pub const BLACKHOLE_V4_MIN: u8 = 24;
/// The shortest IPv6 prefix of a blackhole.
pub const BLACKHOLE_V6_MIN: u8 = 48;

const TCP: u8 = 6;
const UDP: u8 = 17;
const SCTP: u8 = 132;
const ICMP: u8 = 1;
const ICMP_V6: u8 = 58;

/// One rule. Without [`Self::flow`] it is a blackhole: everything to the destination is discarded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Protection {
    /// Name, unique in the document: lower-case letters, digits and hyphens.
    pub id: String,
    /// The member that asked for it; without it the rule is the exchange's own (from intelligence).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asn: Option<u32>,
    /// Where the packets go. A member's rule must have one, inside the member's registered space.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<Prefix>,
    /// Sites that announce it; empty: every site where the member has a router.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sites: Vec<String>,
    /// What else must match, and what is done then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flow: Option<Flow>,
}

/// Which packets a flow rule meets (RFC 8955, 4.2.2), and what is done with them (RFC 8955, 7).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Flow {
    /// Where the packets come from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<Prefix>,
    /// IP protocols; empty: any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub protocols: Vec<u8>,
    /// Source or destination ports.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<NumberRange>,
    /// Destination ports.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub destination_ports: Vec<NumberRange>,
    /// Source ports.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub source_ports: Vec<NumberRange>,
    /// ICMP types.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub icmp_types: Vec<NumberRange>,
    /// ICMP codes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub icmp_codes: Vec<NumberRange>,
    /// TCP flags.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp_flags: Option<TcpFlags>,
    /// Lengths of packets in bytes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lengths: Vec<NumberRange>,
    /// Differentiated services code points.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dscp: Vec<NumberRange>,
    /// Fragments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fragments: Option<Fragments>,
    /// Bytes a second that may pass; 0 discards everything. Without it nothing is limited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_bytes: Option<u64>,
    /// Code point written into packets that pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mark_dscp: Option<u8>,
}

/// A number, or all numbers from the first to the last: `53`, `1000-2000`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct NumberRange {
    /// The first.
    pub low: u16,
    /// The last.
    pub high: u16,
}

/// TCP flags that must be set, of those looked at: `syn` of `syn,ack` is a packet that opens a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TcpFlags {
    /// Bits that must be set.
    pub set: u8,
    /// Bits that are looked at.
    pub of: u8,
}

/// Which parts of fragmented packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Fragments {
    /// Any fragment.
    Any,
    /// The first fragment.
    First,
    /// The last fragment.
    Last,
    /// Packets that are not fragmented.
    None,
}

impl Fragments {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Any, Self::First, Self::Last, Self::None];

    /// The name in documents and forms.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::First => "first",
            Self::Last => "last",
            Self::None => "none",
        }
    }

    /// The one of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == name)
    }
}

/// A text that is no range of numbers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no range: must be a number or first-last, 0 to 65535")]
pub struct InvalidRange {
    /// What was given, shortened.
    pub text: String,
}

impl FromStr for NumberRange {
    type Err = InvalidRange;
    fn from_str(text: &str) -> Result<Self, InvalidRange> {
        let (low, high) = text.split_once('-').unwrap_or((text, text));
        let number = |text: &str| {
            let text = text.trim();
            text.bytes()
                .all(|b| b.is_ascii_digit())
                .then(|| text.parse::<u16>().ok())
                .flatten()
        };
        match (number(low), number(high)) {
            (Some(low), Some(high)) if low <= high => Ok(Self { low, high }),
            _ => Err(InvalidRange {
                text: text.chars().take(40).collect(),
            }),
        }
    }
}

impl fmt::Display for NumberRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.low == self.high {
            write!(f, "{}", self.low)
        } else {
            write!(f, "{}-{}", self.low, self.high)
        }
    }
}

impl Serialize for NumberRange {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for NumberRange {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for NumberRange {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "NumberRange".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "A number, or first-last: 53, 1000-2000.",
            "pattern": "^[0-9]{1,5}(-[0-9]{1,5})?$",
        })
    }
}

impl Protection {
    /// Whether it is about IPv6.
    pub fn is_v6(&self) -> bool {
        let source = self.flow.as_ref().and_then(|flow| flow.source);
        self.destination
            .or(source)
            .is_some_and(|prefix| prefix.address().is_ipv6())
    }

    /// Whether it discards everything to the destination.
    pub fn is_blackhole(&self) -> bool {
        self.flow.is_none()
    }

    /// Whether it concerns one host only.
    pub fn is_host(&self) -> bool {
        self.destination
            .is_some_and(|prefix| prefix == Prefix::host(prefix.address()))
    }

    /// The rules that it breaks, as field and rule; none: it is good.
    pub fn problems(&self) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        let good = (1..=ID_CHARS_MAX).contains(&self.id.len())
            && self
                .id
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if !good {
            problems.push((
                "id",
                format!("{:?} does not fit: must be 1 to {ID_CHARS_MAX} lower-case letters, digits and hyphens", self.id),
            ));
        }
        if self.asn.is_some() && self.destination.is_none() {
            problems.push((
                "destination",
                "a member's rule must say whose addresses it protects".to_owned(),
            ));
        }
        match (&self.flow, self.destination) {
            (None, None) => problems.push((
                "destination",
                "a blackhole must have a destination".to_owned(),
            )),
            (None, Some(to)) => check_blackhole(to, &mut problems),
            (Some(flow), to) => check_flow(flow, to, self.is_v6(), &mut problems),
        }
        problems
    }
}

fn check_blackhole(to: Prefix, problems: &mut Vec<(&'static str, String)>) {
    let least = if to.address().is_ipv4() {
        BLACKHOLE_V4_MIN
    } else {
        BLACKHOLE_V6_MIN
    };
    if to.length() < least {
        problems.push((
            "destination",
            format!("{to} is too wide for a blackhole: must be /{least} or longer"),
        ));
    }
}

fn check_flow(
    flow: &Flow,
    to: Option<Prefix>,
    is_v6: bool,
    problems: &mut Vec<(&'static str, String)>,
) {
    if to.is_none() && flow.source.is_none() {
        problems.push((
            "destination",
            "must name where packets go or where they come from".to_owned(),
        ));
    }
    if let (Some(to), Some(from)) = (to, flow.source)
        && to.address().is_ipv4() != from.address().is_ipv4()
    {
        problems.push((
            "source",
            format!("{from} is of another family than the destination {to}"),
        ));
    }
    let lists: [(&'static str, &[NumberRange], u16); 7] = [
        ("ports", &flow.ports, u16::MAX),
        ("destination_ports", &flow.destination_ports, u16::MAX),
        ("source_ports", &flow.source_ports, u16::MAX),
        ("icmp_types", &flow.icmp_types, 255),
        ("icmp_codes", &flow.icmp_codes, 255),
        ("lengths", &flow.lengths, u16::MAX),
        ("dscp", &flow.dscp, 63),
    ];
    for (field, list, most) in lists {
        if list.len() > LIST_MAX {
            problems.push((field, format!("must be at most {LIST_MAX} entries")));
        }
        for range in list {
            if range.low > range.high || range.high > most {
                problems.push((field, format!("{range} does not fit: must be 0 to {most}")));
            }
        }
    }
    if flow.protocols.len() > LIST_MAX {
        problems.push(("protocols", format!("must be at most {LIST_MAX} entries")));
    }
    let only = |allowed: &[u8]| {
        !flow.protocols.is_empty() && flow.protocols.iter().all(|p| allowed.contains(p))
    };
    let by_ports = ["ports", "destination_ports", "source_ports"];
    for (field, list) in
        by_ports
            .into_iter()
            .zip([&flow.ports, &flow.destination_ports, &flow.source_ports])
    {
        if !list.is_empty() && !only(&[TCP, UDP, SCTP]) {
            problems.push((
                field,
                "ports need the protocols 6 (TCP), 17 (UDP) or 132 (SCTP), and no other".to_owned(),
            ));
        }
    }
    let icmp = if is_v6 { ICMP_V6 } else { ICMP };
    let asks_icmp = !flow.icmp_types.is_empty() || !flow.icmp_codes.is_empty();
    if asks_icmp && !only(&[icmp]) {
        problems.push((
            "icmp_types",
            format!("needs the protocol {icmp} (ICMP), and no other"),
        ));
    }
    if let Some(flags) = flow.tcp_flags {
        if !only(&[TCP]) {
            problems.push((
                "tcp_flags",
                "needs the protocol 6 (TCP), and no other".to_owned(),
            ));
        }
        if flags.of == 0 || flags.set & !flags.of != 0 {
            problems.push((
                "tcp_flags",
                format!(
                    "{:#04x} of {:#04x} does not fit: the flags that must be set must be among those looked at",
                    flags.set, flags.of
                ),
            ));
        }
    }
    if flow.rate_bytes.is_none() && flow.mark_dscp.is_none() {
        problems.push((
            "rate_bytes",
            "must say what is done: a rate (0 discards) or a mark".to_owned(),
        ));
    }
    if flow.rate_bytes.is_some_and(|rate| rate > RATE_MAX) {
        problems.push((
            "rate_bytes",
            format!("must be at most {RATE_MAX} bytes a second"),
        ));
    }
    if flow.mark_dscp.is_some_and(|mark| mark > 63) {
        problems.push(("mark_dscp", "must be 0 to 63".to_owned()));
    }
}

impl Flow {
    /// Whether a packet from `source` to `destination` of `protocol`, with these ports, would be met, as
    /// far as these five things tell; the rest of the rule (lengths, flags, fragments …) can only make
    /// it meet less.
    pub fn may_meet(&self, source: IpAddr, protocol: u8, ports: Option<(u16, u16)>) -> bool {
        let within = |list: &[NumberRange], port: u16| {
            list.iter()
                .any(|range| (range.low..=range.high).contains(&port))
        };
        if self.source.is_some_and(|prefix| !prefix.contains(source)) {
            return false;
        }
        if !self.protocols.is_empty() && !self.protocols.contains(&protocol) {
            return false;
        }
        let (from, to) = match ports {
            Some((from, to)) => (from, to),
            // What has no ports cannot meet a rule about ports.
            None => {
                return self.ports.is_empty()
                    && self.source_ports.is_empty()
                    && self.destination_ports.is_empty();
            }
        };
        (self.ports.is_empty() || within(&self.ports, from) || within(&self.ports, to))
            && (self.source_ports.is_empty() || within(&self.source_ports, from))
            && (self.destination_ports.is_empty() || within(&self.destination_ports, to))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(flow: Option<Flow>) -> Protection {
        Protection {
            id: "r1".into(),
            asn: Some(64_501),
            destination: Some("203.0.113.7/32".parse().expect("a prefix")),
            sites: Vec::new(),
            flow,
        }
    }

    fn fields(rule: &Protection) -> Vec<&'static str> {
        rule.problems()
            .into_iter()
            .map(|(field, _)| field)
            .collect()
    }

    #[test]
    fn ranges_are_what_they_write() {
        for text in ["0", "53", "1000-2000", "0-65535"] {
            let range: NumberRange = text.parse().expect(text);
            assert_eq!(range.to_string(), text);
        }
        for text in [
            "", "-", "1-", "-1", "2-1", "65536", "+5", "1-2-3", "1..5", "０",
        ] {
            assert!(text.parse::<NumberRange>().is_err(), "{text}");
        }
    }

    #[test]
    fn rules_that_contradict_themselves_are_told_by_field() {
        assert!(fields(&rule(None)).is_empty());
        let wide = Protection {
            destination: "203.0.112.0/20".parse().ok(),
            ..rule(None)
        };
        assert_eq!(fields(&wide), ["destination"]);
        let discard = Flow {
            rate_bytes: Some(0),
            ..Flow::default()
        };
        assert!(fields(&rule(Some(discard.clone()))).is_empty());
        let range = NumberRange { low: 53, high: 53 };
        for (change, field) in [
            (
                Flow {
                    destination_ports: vec![range],
                    ..discard.clone()
                },
                "destination_ports",
            ),
            (
                Flow {
                    icmp_types: vec![range],
                    protocols: vec![17],
                    ..discard.clone()
                },
                "icmp_types",
            ),
            (
                Flow {
                    tcp_flags: Some(TcpFlags { set: 2, of: 0x10 }),
                    protocols: vec![6],
                    ..discard.clone()
                },
                "tcp_flags",
            ),
            (
                Flow {
                    source: "2001:db8::/32".parse().ok(),
                    ..discard.clone()
                },
                "source",
            ),
            (
                Flow {
                    dscp: vec![NumberRange { low: 0, high: 64 }],
                    ..discard.clone()
                },
                "dscp",
            ),
            (Flow::default(), "rate_bytes"),
            (
                Flow {
                    mark_dscp: Some(64),
                    ..Flow::default()
                },
                "mark_dscp",
            ),
        ] {
            assert_eq!(fields(&rule(Some(change.clone()))), [field], "{change:?}");
        }
        let nobody = Protection {
            asn: None,
            destination: None,
            ..rule(Some(discard))
        };
        assert_eq!(fields(&nobody), ["destination"]);
    }

    #[test]
    fn a_rule_meets_what_it_says() {
        let flow = Flow {
            source: "198.51.100.0/24".parse().ok(),
            protocols: vec![17],
            destination_ports: vec![NumberRange { low: 53, high: 53 }],
            rate_bytes: Some(0),
            ..Flow::default()
        };
        let from: IpAddr = "198.51.100.9".parse().expect("an address");
        assert!(flow.may_meet(from, 17, Some((4_000, 53))));
        assert!(!flow.may_meet(from, 17, Some((53, 4_000))));
        assert!(!flow.may_meet(from, 6, Some((4_000, 53))));
        assert!(!flow.may_meet(from, 17, None));
        assert!(!flow.may_meet(
            "198.51.101.9".parse().expect("an address"),
            17,
            Some((4_000, 53))
        ));
    }
}
