//! What a member must configure on its own routers, ready to paste: Arista's EOS, Juniper's Junos, and the
//! routing programs FRRouting and BIRD 2, which leave interfaces to the operating system. Pure text from what was provisioned; whoever pastes it still names the interface.

use std::fmt::Write as _;
use std::net::IpAddr;

/// A vendor's way of writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vendor {
    /// Arista EOS; near to Cisco IOS.
    Eos,
    /// Juniper Junos.
    Junos,
    /// FRRouting 8.4 or later.
    Frr,
    /// BIRD 2.0.11 or later.
    Bird,
}

impl Vendor {
    /// All of them, in the order of the tabs.
    pub const ALL: [Self; 4] = [Self::Eos, Self::Junos, Self::Frr, Self::Bird];

    /// The name in addresses of pages and keys of texts.
    pub const fn tag(self) -> &'static str {
        match self {
            Self::Eos => "eos",
            Self::Junos => "junos",
            Self::Frr => "frr",
            Self::Bird => "bird",
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
    /// The role is told (RFC 9234).
    pub role: bool,
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
        Vendor::Frr => frr(plan),
        Vendor::Bird => bird(plan),
    }
}

/// The addresses of the LAN, for programs that leave interfaces alone.
fn addresses(out: &mut String, plan: &RouterPlan, comment: char) {
    say!(
        out,
        "{comment} {} {} router {} AS{}",
        plain(&plan.exchange),
        plain(&plan.site),
        plain(&plan.name),
        plan.asn
    );
    for (address, length) in &plan.addresses {
        say!(
            out,
            "{comment} interface address: {address}/{length}, MTU {}",
            plan.mtu
        );
    }
}

/// What this router announces is named by its operator: nothing leaves before that.
fn frr(plan: &RouterPlan) -> String {
    let mut out = String::new();
    addresses(&mut out, plan, '!');
    say!(
        out,
        "! replace OWN-PREFIXES-V4 and OWN-PREFIXES-V6 by what you announce"
    );
    if plan.sessions.iter().any(|session| session.bfd) {
        say!(
            out,
            "bfd\n profile ix\n  receive-interval 100\n  transmit-interval 100\n  detect-multiplier 3\n exit\nexit"
        );
    }
    say!(out, "router bgp {}", plan.asn);
    say!(out, " no bgp default ipv4-unicast");
    for session in &plan.sessions {
        let peer = session.address;
        say!(out, " neighbor {peer} remote-as {}", session.asn);
        say!(out, " neighbor {peer} description {}", plain(&session.name));
        if session.is_server {
            // A route server does not put its own number into paths (RFC 7947, 2.2.2).
            say!(out, " no neighbor {peer} enforce-first-as");
            if session.role {
                say!(out, " neighbor {peer} local-role rs-client");
            }
        }
        if session.bfd {
            say!(out, " neighbor {peer} bfd profile ix");
        }
        if let Some(password) = &session.password {
            say!(out, " neighbor {peer} password {}", plain(password));
        }
    }
    for (name, list) in [("ipv4", "OWN-PREFIXES-V4"), ("ipv6", "OWN-PREFIXES-V6")] {
        let of = plan
            .sessions
            .iter()
            .filter(|one| family(one.address) == name);
        if of.clone().count() == 0 {
            continue;
        }
        say!(out, " address-family {name} unicast");
        for session in of {
            let peer = session.address;
            say!(out, "  neighbor {peer} activate");
            say!(out, "  neighbor {peer} send-community all");
            say!(out, "  neighbor {peer} soft-reconfiguration inbound");
            say!(out, "  neighbor {peer} prefix-list {list} out");
        }
        say!(out, " exit-address-family");
    }
    say!(out, "exit");
    out
}

fn bird(plan: &RouterPlan) -> String {
    let mut out = String::new();
    addresses(&mut out, plan, '#');
    say!(
        out,
        "# replace OWN_PREFIXES_V4 and OWN_PREFIXES_V6 by what you announce"
    );
    if plan.sessions.iter().any(|session| session.bfd) {
        say!(
            out,
            "protocol bfd ix_bfd {{\n  interface \"*\" {{ interval 100 ms; multiplier 3; }};\n}}"
        );
    }
    if plan.flowspec && plan.sessions.iter().any(|session| session.is_server) {
        say!(out, "flow4 table flowtab4;\nflow6 table flowtab6;");
    }
    for (number, session) in plan.sessions.iter().enumerate() {
        let is_v4 = session.address.is_ipv4();
        let own = plan
            .addresses
            .iter()
            .find(|(own, _)| own.is_ipv4() == is_v4);
        say!(out, "protocol bgp ix_{} {{", number + 1);
        say!(out, "  description \"{}\";", plain(&session.name));
        match own {
            Some((own, _)) => say!(out, "  local {own} as {};", plan.asn),
            None => say!(out, "  local as {};", plan.asn),
        }
        say!(out, "  neighbor {} as {};", session.address, session.asn);
        // That a route server does not put its own number into paths (RFC 7947, 2.2.2) is no matter to BIRD.
        if session.is_server && session.role {
            say!(out, "  local role rs_client;");
        }
        if session.bfd {
            say!(out, "  bfd on;");
        }
        if let Some(password) = &session.password {
            say!(out, "  password \"{}\";", plain(password));
        }
        let (channel, list) = match is_v4 {
            true => ("ipv4", "OWN_PREFIXES_V4"),
            false => ("ipv6", "OWN_PREFIXES_V6"),
        };
        say!(
            out,
            "  {channel} {{ import all; export where net ~ {list}; }};"
        );
        if plan.flowspec && session.is_server {
            let flow = if is_v4 { 4 } else { 6 };
            say!(
                out,
                "  flow{flow} {{ table flowtab{flow}; import all; export none; }};"
            );
        }
        say!(out, "}}");
    }
    out
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
                    role: true,
                    password: Some("s3cret".into()),
                },
                Peering {
                    asn: 64_502,
                    address: address("2001:db8::8"),
                    name: "EXNET".into(),
                    is_server: false,
                    bfd: false,
                    role: false,
                    password: None,
                },
            ],
            flowspec: true,
        }
    }

    /// BIRD itself reads what it is to be configured with.
    #[test]
    fn bird_takes_its_text() {
        let told = text(Vendor::Bird, &plan());
        for line in [
            "  local role rs_client;",
            "  bfd on;",
            "  password \"s3cret\";",
        ] {
            assert!(told.lines().any(|other| other == line), "{line}\n{told}");
        }
        let whole = format!(
            "router id 203.0.113.9;\nprotocol device {{ }}\ndefine OWN_PREFIXES_V4 = [ 192.0.2.0/24 ];\ndefine OWN_PREFIXES_V6 = [ 2001:db8:1::/48 ];\n{told}"
        );
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("bird.conf");
        std::fs::write(&file, whole).expect("written");
        let said = std::process::Command::new("/usr/sbin/bird")
            .args(["-p", "-c"])
            .arg(&file)
            .output()
            .expect("bird runs: Debian's package bird2");
        assert!(said.status.success(), "{said:?}\n{told}");
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
        let frr = text(Vendor::Frr, &plan());
        for line in [
            "! Lab IX hsinchu router b1 AS64501",
            "! interface address: 2001:db8::9/64, MTU 1500",
            " neighbor 203.0.113.1 remote-as 64500",
            " neighbor 203.0.113.1 local-role rs-client",
            " no neighbor 203.0.113.1 enforce-first-as",
            " neighbor 203.0.113.1 bfd profile ix",
            " neighbor 203.0.113.1 password s3cret",
            "  neighbor 2001:db8::8 prefix-list OWN-PREFIXES-V6 out",
        ] {
            assert!(frr.lines().any(|other| other == line), "{line}\n{frr}");
        }
        assert!(!frr.contains("2001:db8::8 local-role"), "{frr}");
        assert!(
            junos
                .lines()
                .all(|line| line.starts_with("set ") || line.starts_with('#'))
        );
    }
}
