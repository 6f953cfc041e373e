//! A rule in a sentence, in both languages.

use casework::form::Text;

use crate::document::{Flow, Fragments, NumberRange, Protection};

fn ranges(list: &[NumberRange]) -> String {
    list.iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

fn protocol(number: u8) -> String {
    match number {
        1 => "ICMP".into(),
        6 => "TCP".into(),
        17 => "UDP".into(),
        47 => "GRE".into(),
        50 => "ESP".into(),
        58 => "ICMPv6".into(),
        132 => "SCTP".into(),
        other => other.to_string(),
    }
}

fn tcp_flags(bits: u8) -> String {
    const NAMES: [&str; 8] = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"];
    let names: Vec<&str> = NAMES
        .into_iter()
        .enumerate()
        .filter(|(bit, _)| bits & (1 << bit) != 0)
        .map(|(_, name)| name)
        .collect();
    if names.is_empty() {
        "–".into()
    } else {
        names.join("+")
    }
}

/// Bytes a second as people say it: bits.
fn rate(bytes: u64) -> String {
    let bits = bytes as f64 * 8.0;
    let (value, unit) = match bits {
        b if b >= 1e9 => (b / 1e9, "Gbit/s"),
        b if b >= 1e6 => (b / 1e6, "Mbit/s"),
        b if b >= 1e3 => (b / 1e3, "kbit/s"),
        b => (b, "bit/s"),
    };
    let text = format!("{value:.1}");
    format!("{} {unit}", text.strip_suffix(".0").unwrap_or(&text))
}

/// What the rule does, as a sentence.
pub fn sentence(rule: &Protection) -> Text {
    let to = rule.destination.map(|to| to.to_string());
    match &rule.flow {
        None => {
            let to = to.unwrap_or_default();
            Text::new(
                format!("丟棄送往 {to} 的所有封包(黑洞路由,RFC 7999)"),
                format!("discards every packet to {to} (blackhole, RFC 7999)"),
            )
        }
        Some(flow) => {
            let (zh, en) = conditions(flow, to.as_deref());
            let (done_zh, done_en) = action(flow);
            Text::new(format!("{done_zh}:{zh}"), format!("{done_en} {en}"))
        }
    }
}

fn action(flow: &Flow) -> (String, String) {
    let mut zh = Vec::new();
    let mut en = Vec::new();
    match flow.rate_bytes {
        Some(0) => {
            zh.push("丟棄下列封包".to_owned());
            en.push("discards".to_owned());
        }
        Some(bytes) => {
            let rate = rate(bytes);
            zh.push(format!("限制下列封包為 {rate}"));
            en.push(format!("limits to {rate}"));
        }
        None => {}
    }
    if let Some(mark) = flow.mark_dscp {
        zh.push(format!("標記 DSCP {mark}"));
        en.push(format!("marks with DSCP {mark}"));
    }
    (zh.join("並"), en.join(" and "))
}

fn conditions(flow: &Flow, to: Option<&str>) -> (String, String) {
    let mut zh = Vec::new();
    let mut en = Vec::new();
    let mut both = |z: String, e: String| {
        zh.push(z);
        en.push(e);
    };
    if !flow.protocols.is_empty() {
        let names: Vec<String> = flow.protocols.iter().map(|p| protocol(*p)).collect();
        let names = names.join(", ");
        both(format!("協定 {names}"), format!("{names} packets"));
    } else {
        both("任何協定".to_owned(), "all packets".to_owned());
    }
    if let Some(from) = flow.source {
        both(format!("來源 {from}"), format!("from {from}"));
    }
    if let Some(to) = to {
        both(format!("目的 {to}"), format!("to {to}"));
    }
    for (list, name_zh, name_en) in [
        (
            &flow.ports,
            "來源或目的埠",
            "with source or destination port",
        ),
        (&flow.source_ports, "來源埠", "with source port"),
        (&flow.destination_ports, "目的埠", "with destination port"),
        (&flow.icmp_types, "ICMP 類型", "with ICMP type"),
        (&flow.icmp_codes, "ICMP 代碼", "with ICMP code"),
        (
            &flow.lengths,
            "封包長度(位元組)",
            "with a length in bytes of",
        ),
        (&flow.dscp, "DSCP", "with DSCP"),
    ] {
        if !list.is_empty() {
            let list = ranges(list);
            both(format!("{name_zh} {list}"), format!("{name_en} {list}"));
        }
    }
    if let Some(flags) = flow.tcp_flags {
        let (set, of) = (tcp_flags(flags.set), tcp_flags(flags.of));
        both(
            format!("TCP 旗標 {of} 之中恰為 {set}"),
            format!("whose TCP flags among {of} are just {set}"),
        );
    }
    if let Some(fragments) = flow.fragments {
        let (z, e) = match fragments {
            Fragments::Any => ("分片封包", "that are fragments"),
            Fragments::First => ("第一個分片", "that are a first fragment"),
            Fragments::Last => ("最後一個分片", "that are a last fragment"),
            Fragments::None => ("未分片封包", "that are not fragmented"),
        };
        both(z.to_owned(), e.to_owned());
    }
    (zh.join("、"), en.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::TcpFlags;

    #[test]
    fn a_rule_reads_as_a_sentence() {
        let hole = Protection {
            id: "r".into(),
            asn: Some(1),
            destination: "203.0.113.7/32".parse().ok(),
            sites: Vec::new(),
            flow: None,
        };
        assert_eq!(
            sentence(&hole).en,
            "discards every packet to 203.0.113.7/32 (blackhole, RFC 7999)"
        );
        let flow = Protection {
            flow: Some(Flow {
                source: "198.51.100.0/24".parse().ok(),
                protocols: vec![6],
                destination_ports: vec![NumberRange { low: 80, high: 80 }],
                tcp_flags: Some(TcpFlags { set: 2, of: 0x12 }),
                rate_bytes: Some(1_250_000),
                ..Flow::default()
            }),
            ..hole
        };
        let told = sentence(&flow);
        assert_eq!(
            told.en,
            "limits to 10 Mbit/s TCP packets from 198.51.100.0/24 to 203.0.113.7/32 with destination port 80 whose TCP flags among SYN+ACK are just SYN"
        );
        assert!(
            told.zh
                .starts_with("限制下列封包為 10 Mbit/s:協定 TCP、來源")
        );
    }
}
