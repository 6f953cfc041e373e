//! What the form and the API send, on its way to a rule.

use base::Prefix;
use casework::validate::Problem;
use serde::{Deserialize, Serialize};

use super::engine::New;
use crate::document::{Flow, Fragments, NumberRange, TcpFlags};
use crate::room::RoomError;
use crate::room::error::problem;

/// SYN of a packet that opens a connection, among SYN and ACK.
pub const SYN_ONLY: TcpFlags = TcpFlags {
    set: 0x02,
    of: 0x12,
};
/// Bytes a second of one Mbit/s.
const MBIT_BYTES: f64 = 125_000.0;

/// A rule as a form writes it: texts, as they were typed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Asked {
    /// The member's AS number.
    pub asn: String,
    /// `blackhole` or `flow`.
    pub kind: String,
    /// Whose addresses.
    pub destination: String,
    /// Where packets come from.
    pub source: String,
    /// `tcp`, `udp`, `icmp`.
    pub protocols: Vec<String>,
    /// Ports with commas between.
    pub destination_ports: String,
    /// Ports with commas between.
    pub source_ports: String,
    /// Lengths with commas between.
    pub lengths: String,
    /// Only packets that open a TCP connection.
    pub syn: Option<String>,
    /// `any`, `first`, `last`, `none`; empty: all packets.
    pub fragments: String,
    /// `discard` or `limit`.
    pub action: String,
    /// Mbit/s that may pass.
    pub rate_mbit: String,
    /// Sites; none: all.
    pub sites: Vec<String>,
    /// For how many hours.
    pub hours: String,
    /// Why.
    pub reason: String,
}

fn wrong(field: &str, value: &str, zh: &str, en: &str) -> Problem {
    problem(field, value, "format", zh, en)
}

/// Ranges with commas or blanks between.
///
/// # Errors
/// The first that is none.
pub fn ranges(field: &str, text: &str) -> Result<Vec<NumberRange>, Problem> {
    text.split([',', ' ', '\n', '\r', '\t', '、'])
        .filter(|part| !part.is_empty())
        .map(|part| {
            part.parse().map_err(|_| {
                wrong(
                    field,
                    part,
                    "必須是數字或範圍,例如 53 或 1000-2000",
                    "must be a number or a range, for example 53 or 1000-2000",
                )
            })
        })
        .collect()
}

/// A prefix, or an address as a host.
///
/// # Errors
/// When it is neither.
pub fn prefix(field: &str, text: &str) -> Result<Prefix, Problem> {
    let text = text.trim();
    let found = text
        .parse::<Prefix>()
        .ok()
        .or_else(|| text.parse::<std::net::IpAddr>().ok().map(Prefix::host));
    found.ok_or_else(|| {
        wrong(
            field,
            text,
            "必須是位址或網段,例如 203.0.113.7 或 2001:db8::/64",
            "must be an address or a prefix, for example 203.0.113.7 or 2001:db8::/64",
        )
    })
}

impl Asked {
    /// Reads the texts.
    ///
    /// # Errors
    /// [`RoomError::Invalid`] with every text that cannot be read.
    pub fn read(&self, source: &'static str) -> Result<New, RoomError> {
        let mut problems = Vec::new();
        let mut keep = |result: Result<(), Problem>| {
            if let Err(problem) = result {
                problems.push(problem);
            }
        };
        let digits = self.asn.trim().trim_start_matches("AS");
        let asn = digits.parse::<u32>();
        keep(
            asn.as_ref()
                .map(drop)
                .map_err(|_| wrong("asn", &self.asn, "必須是 AS 號碼", "must be an AS number")),
        );
        let destination = prefix("destination", &self.destination);
        keep(destination.as_ref().map(drop).map_err(Clone::clone));
        let hours = self.hours.trim().parse::<u32>();
        keep(
            hours
                .as_ref()
                .map(drop)
                .map_err(|_| wrong("hours", &self.hours, "必須是整數", "must be a whole number")),
        );
        let flow = match self.kind.as_str() {
            "flow" => match self.flow() {
                Ok(flow) => Some(flow),
                Err(more) => {
                    problems.extend(more);
                    None
                }
            },
            "blackhole" => None,
            other => {
                problems.push(wrong(
                    "kind",
                    other,
                    "必須是 blackhole 或 flow",
                    "must be blackhole or flow",
                ));
                None
            }
        };
        match (asn, destination, hours) {
            (Ok(asn), Ok(destination), Ok(hours)) if problems.is_empty() => Ok(New {
                asn,
                destination,
                flow,
                sites: self.sites.clone(),
                hours,
                reason: self.reason.clone(),
                source,
            }),
            _ => Err(RoomError::Invalid(problems)),
        }
    }

    fn flow(&self) -> Result<Flow, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut list = |field: &str, text: &str| match ranges(field, text) {
            Ok(list) => list,
            Err(problem) => {
                problems.push(problem);
                Vec::new()
            }
        };
        let destination_ports = list("destination_ports", &self.destination_ports);
        let source_ports = list("source_ports", &self.source_ports);
        let lengths = list("lengths", &self.lengths);
        let source = match self.source.trim() {
            "" => None,
            text => match prefix("source", text) {
                Ok(prefix) => Some(prefix),
                Err(problem) => {
                    problems.push(problem);
                    None
                }
            },
        };
        let is_v6 = self.destination.contains(':');
        let mut protocols = Vec::new();
        for name in &self.protocols {
            match (name.as_str(), is_v6) {
                ("tcp", _) => protocols.push(6),
                ("udp", _) => protocols.push(17),
                ("icmp", false) => protocols.push(1),
                ("icmp", true) => protocols.push(58),
                _ => problems.push(wrong(
                    "protocols",
                    name,
                    "必須是 tcp、udp 或 icmp",
                    "must be tcp, udp or icmp",
                )),
            }
        }
        let rate_bytes = match self.action.as_str() {
            "discard" => Some(0),
            "limit" => match self.rate_mbit.trim().parse::<f64>() {
                Ok(rate) if rate > 0.0 && rate <= 1e6 => Some((rate * MBIT_BYTES) as u64),
                _ => {
                    problems.push(wrong(
                        "rate_mbit",
                        &self.rate_mbit,
                        "必須是大於 0、至多 1,000,000 的數字(Mbit/s)",
                        "must be a number over 0 and up to 1,000,000 (Mbit/s)",
                    ));
                    None
                }
            },
            other => {
                problems.push(wrong(
                    "action",
                    other,
                    "必須是 discard 或 limit",
                    "must be discard or limit",
                ));
                None
            }
        };
        let fragments = match self.fragments.as_str() {
            "" => None,
            text => match Fragments::from_name(text) {
                Some(fragments) => Some(fragments),
                None => {
                    problems.push(wrong(
                        "fragments",
                        text,
                        "必須是 any、first、last 或 none",
                        "must be any, first, last or none",
                    ));
                    None
                }
            },
        };
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Flow {
            source,
            protocols,
            destination_ports,
            source_ports,
            lengths,
            tcp_flags: self.syn.is_some().then_some(SYN_ONLY),
            fragments,
            rate_bytes,
            ..Flow::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Lcg, mutate};

    fn asked() -> Asked {
        Asked {
            asn: "AS64501".into(),
            kind: "flow".into(),
            destination: "203.0.113.7".into(),
            source: "198.51.100.0/24".into(),
            protocols: vec!["tcp".into()],
            destination_ports: "80, 443 8000-8080".into(),
            syn: Some("on".into()),
            action: "limit".into(),
            rate_mbit: "10".into(),
            hours: "24".into(),
            reason: "attack".into(),
            ..Asked::default()
        }
    }

    #[test]
    fn texts_become_a_rule() {
        let new = asked().read("console").expect("a rule");
        assert_eq!(new.asn, 64_501);
        assert_eq!(new.destination.to_string(), "203.0.113.7/32");
        let flow = new.flow.expect("a flow rule");
        assert_eq!(flow.rate_bytes, Some(1_250_000));
        assert_eq!(flow.destination_ports.len(), 3);
        assert_eq!(flow.tcp_flags, Some(SYN_ONLY));
    }

    #[test]
    fn every_text_that_cannot_be_read_is_told() {
        let bad = Asked {
            asn: "x".into(),
            destination: "203.0.113".into(),
            source: "nowhere".into(),
            destination_ports: "80-".into(),
            rate_mbit: "-1".into(),
            fragments: "some".into(),
            hours: "a day".into(),
            ..asked()
        };
        let Err(RoomError::Invalid(problems)) = bad.read("console") else {
            panic!("must be refused");
        };
        let fields: Vec<&str> = problems.iter().map(|p| p.field.as_str()).collect();
        assert_eq!(
            fields,
            [
                "asn",
                "destination",
                "hours",
                "destination_ports",
                "source",
                "rate_mbit",
                "fragments"
            ]
        );
    }

    #[test]
    fn hostile_texts_give_rules_or_problems_never_a_panic() {
        let mut seed = Lcg(7);
        for round in 0..20_000 {
            let mut text = |good: &str| {
                String::from_utf8_lossy(&mutate(&mut seed, good.as_bytes())).into_owned()
            };
            let asked = Asked {
                destination: text("203.0.113.7/32"),
                source: text("2001:db8::/32"),
                destination_ports: text("80,443-8080"),
                lengths: text("0-65535"),
                rate_mbit: text("1e3"),
                ..asked()
            };
            if let Ok(new) = asked.read("api") {
                let rule = crate::document::Protection {
                    id: "r".into(),
                    asn: Some(new.asn),
                    destination: Some(new.destination),
                    sites: new.sites,
                    flow: new.flow,
                };
                let bird = super::super::dry::bird_form(&rule);
                assert!(!bird.contains('\n'), "round {round}: {bird}");
                let told = super::super::words::sentence(&rule);
                assert!(!told.en.is_empty() && !told.zh.is_empty());
            }
        }
    }
}
