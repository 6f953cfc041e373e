//! What a member must configure on its own routers, ready to paste, for two common vendors: Arista's EOS
//! and Juniper's Junos. Pure text from what was provisioned; whoever pastes it still names the interface.

use std::fmt::Write as _;
use std::net::IpAddr;

/// A vendor's way of writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vendor {
    /// Arista EOS; near to Cisco IOS.
    Eos,
    /// Juniper Junos.
    Junos,
}

impl Vendor {
    /// All of them, in the order of the tabs.
    pub const ALL: [Self; 2] = [Self::Eos, Self::Junos];

    /// The name in addresses of pages and keys of texts.
    pub const fn tag(self) -> &'static str {
        match self {
            Self::Eos => "eos",
            Self::Junos => "junos",
        }
    }

    /// The one of that name.
    pub fn from_tag(tag: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|vendor| vendor.tag() == tag)
    }
}

/// What is configured on one router.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RouterPlan {
    /// The member's AS number.
    pub asn: u32,
    /// Name of the router.
    pub name: String,
    /// Name of the site.
    pub site: String,
    /// Name of the exchange.
    pub exchange: String,
    /// Links; more than one are a group.
    pub links: usize,
    /// Mbit/s of each link.
    pub speed_mbps: i64,
    /// Bytes of a packet.
    pub mtu: i64,
    /// Its addresses with the LAN's length.
    pub addresses: Vec<(IpAddr, u8)>,
    /// Its sessions.
    pub sessions: Vec<Peering>,
    /// Flow rules are taken.
    pub flowspec: bool,
}

/// A session as the member configures it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peering {
    /// The other end's AS number.
    pub asn: u32,
    /// The other end's address.
    pub address: IpAddr,
    /// What the other end is called.
    pub name: String,
    /// With a route server.
    pub is_server: bool,
    /// Watched by BFD.
    pub bfd: bool,
    /// The secret of TCP MD5.
    pub password: Option<String>,
}

macro_rules! say {
    ($out:expr, $($format:tt)*) => {
        writeln!($out, $($format)*).unwrap_or_default()
    };
}

/// One line's worth of a name: nothing that ends a line, a string or a comment.
fn plain(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_control() && !matches!(c, '"' | '\\' | ';' | '{' | '}' | '!' | '#'))
        .collect()
}

/// The configuration of one router.
pub fn text(vendor: Vendor, plan: &RouterPlan) -> String {
    match vendor {
        Vendor::Eos => eos(plan),
        Vendor::Junos => junos(plan),
    }
}

fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "ipv4" } else { "ipv6" }
}

fn eos(plan: &RouterPlan) -> String {
    let mut out = String::new();
    let description = format!("{} {}", plain(&plan.exchange), plain(&plan.site));
    say!(
        out,
        "! {} router {} AS{}",
        description,
        plain(&plan.name),
        plan.asn
    );
    let interface = if plan.links > 1 {
        for link in 1..=plan.links {
            say!(out, "interface Ethernet{link}/1");
            say!(out, "   description {description} link {link}");
            say!(out, "   speed {}g", plan.speed_mbps / 1_000);
            say!(out, "   channel-group 1 mode active");
            say!(out, "   no lldp transmit");
        }
        "Port-Channel1"
    } else {
        "Ethernet1/1"
    };
    say!(out, "interface {interface}");
    say!(out, "   description {description}");
    if plan.links <= 1 {
        say!(out, "   speed {}g", plan.speed_mbps / 1_000);
        say!(out, "   no lldp transmit");
    }
    say!(out, "   mtu {}", plan.mtu);
    say!(out, "   no switchport");
    for (address, length) in &plan.addresses {
        match address {
            IpAddr::V4(v4) => say!(out, "   ip address {v4}/{length}"),
            IpAddr::V6(v6) => {
                say!(out, "   ipv6 address {v6}/{length}");
                say!(out, "   ipv6 nd ra disabled all");
            }
        }
    }
    if plan.sessions.iter().any(|session| session.bfd) {
        say!(out, "   bfd interval 100 min-rx 100 multiplier 3");
    }
    say!(out, "   no ip proxy-arp");
    say!(out, "   no ip redirects");
    say!(out, "!");
    say!(out, "router bgp {}", plan.asn);
    for session in &plan.sessions {
        let peer = session.address;
        say!(out, "   neighbor {peer} remote-as {}", session.asn);
        say!(
            out,
            "   neighbor {peer} description {}",
            plain(&session.name)
        );
        if session.is_server {
            // A route server does not put its own number into paths (RFC 7947, 2.2.2).
            say!(out, "   no neighbor {peer} enforce-first-as");
        }
        if session.bfd {
            say!(out, "   neighbor {peer} bfd");
        }
        if let Some(password) = &session.password {
            say!(out, "   neighbor {peer} password 0 {}", plain(password));
        }
        say!(
            out,
            "   neighbor {peer} send-community standard large extended"
        );
    }
    for name in ["ipv4", "ipv6"] {
        let of: Vec<&Peering> = plan
            .sessions
            .iter()
            .filter(|session| family(session.address) == name)
            .collect();
        if of.is_empty() {
            continue;
        }
        say!(out, "   address-family {name}");
        for session in &of {
            say!(out, "      neighbor {} activate", session.address);
        }
        if plan.flowspec && of.iter().any(|session| session.is_server) {
            say!(out, "   address-family flow-spec {name}");
            for session in of.iter().filter(|session| session.is_server) {
                say!(out, "      neighbor {} activate", session.address);
            }
        }
    }
    say!(out, "!");
    out
}

fn junos(plan: &RouterPlan) -> String {
    let mut out = String::new();
    let description = format!("{} {}", plain(&plan.exchange), plain(&plan.site));
    let fpc = match plan.speed_mbps {
        ..=1_000 => "ge",
        1_001..=25_000 => "xe",
        _ => "et",
    };
    say!(
        out,
        "# {} router {} AS{}",
        description,
        plain(&plan.name),
        plan.asn
    );
    let interface = if plan.links > 1 {
        for link in 0..plan.links {
            say!(
                out,
                "set interfaces {fpc}-0/0/{link} description \"{description} link {}\"",
                link + 1
            );
            say!(
                out,
                "set interfaces {fpc}-0/0/{link} gigether-options 802.3ad ae0"
            );
        }
        say!(
            out,
            "set interfaces ae0 aggregated-ether-options lacp active"
        );
        "ae0".to_owned()
    } else {
        format!("{fpc}-0/0/0")
    };
    say!(
        out,
        "set interfaces {interface} description \"{description}\""
    );
    // Junos counts the Ethernet header.
    say!(out, "set interfaces {interface} mtu {}", plan.mtu + 14);
    say!(
        out,
        "set interfaces {interface} unit 0 family inet no-redirects"
    );
    for (address, length) in &plan.addresses {
        let inet = if address.is_ipv4() { "inet" } else { "inet6" };
        say!(
            out,
            "set interfaces {interface} unit 0 family {inet} address {address}/{length}"
        );
    }
    say!(out, "set routing-options autonomous-system {}", plan.asn);
    for session in &plan.sessions {
        let group = match (session.is_server, session.address.is_ipv4()) {
            (true, true) => "ix-route-servers-v4",
            (true, false) => "ix-route-servers-v6",
            (false, true) => "ix-peers-v4",
            (false, false) => "ix-peers-v6",
        };
        let peer = session.address;
        let inet = if peer.is_ipv4() { "inet" } else { "inet6" };
        let at = format!("set protocols bgp group {group}");
        say!(out, "{at} type external");
        say!(out, "{at} family {inet} unicast");
        if plan.flowspec && session.is_server {
            say!(out, "{at} family {inet} flow");
        }
        say!(out, "{at} neighbor {peer} peer-as {}", session.asn);
        say!(
            out,
            "{at} neighbor {peer} description \"{}\"",
            plain(&session.name)
        );
        if let Some(password) = &session.password {
            say!(
                out,
                "{at} neighbor {peer} authentication-key \"{}\"",
                plain(password)
            );
        }
        if session.bfd {
            say!(
                out,
                "{at} neighbor {peer} bfd-liveness-detection minimum-interval 100"
            );
            say!(
                out,
                "{at} neighbor {peer} bfd-liveness-detection multiplier 3"
            );
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> RouterPlan {
        let address = |text: &str| text.parse().expect("an address");
        RouterPlan {
            asn: 64_501,
            name: "b1".into(),
            site: "hsinchu".into(),
            exchange: "Lab \"IX\"\n!".into(),
            links: 2,
            speed_mbps: 100_000,
            mtu: 1_500,
            addresses: vec![(address("203.0.113.9"), 24), (address("2001:db8::9"), 64)],
            sessions: vec![
                Peering {
                    asn: 64_500,
                    address: address("203.0.113.1"),
                    name: "rs1".into(),
                    is_server: true,
                    bfd: true,
                    password: Some("s3cret".into()),
                },
                Peering {
                    asn: 64_502,
                    address: address("2001:db8::8"),
                    name: "EXNET".into(),
                    is_server: false,
                    bfd: false,
                    password: None,
                },
            ],
            flowspec: true,
        }
    }

    #[test]
    fn everything_that_was_provisioned_is_in_the_text() {
        let eos = text(Vendor::Eos, &plan());
        for line in [
            "! Lab IX hsinchu router b1 AS64501",
            "interface Ethernet2/1",
            "   channel-group 1 mode active",
            "   ip address 203.0.113.9/24",
            "   ipv6 address 2001:db8::9/64",
            "   neighbor 203.0.113.1 remote-as 64500",
            "   neighbor 203.0.113.1 password 0 s3cret",
            "   no neighbor 203.0.113.1 enforce-first-as",
            "   address-family flow-spec ipv4",
        ] {
            assert!(eos.lines().any(|other| other == line), "{line}\n{eos}");
        }
        assert!(!eos.contains("no neighbor 2001:db8::8"), "{eos}");
        let junos = text(Vendor::Junos, &plan());
        for line in [
            "set interfaces et-0/0/1 gigether-options 802.3ad ae0",
            "set interfaces ae0 unit 0 family inet6 address 2001:db8::9/64",
            "set protocols bgp group ix-route-servers-v4 family inet flow",
            "set protocols bgp group ix-route-servers-v4 neighbor 203.0.113.1 authentication-key \"s3cret\"",
            "set protocols bgp group ix-peers-v6 neighbor 2001:db8::8 peer-as 64502",
        ] {
            assert!(junos.lines().any(|other| other == line), "{line}\n{junos}");
        }
        assert!(
            junos
                .lines()
                .all(|line| line.starts_with("set ") || line.starts_with('#'))
        );
    }
}
