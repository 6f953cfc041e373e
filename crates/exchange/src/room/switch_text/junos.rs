//! The text for Juniper Junos, as `set` commands.

use std::fmt::Write as _;

use super::{InterfacePlan, SwitchPlan, plain};

macro_rules! say {
    ($out:expr, $($part:tt)*) => {
        // Writing to a String cannot fail.
        writeln!($out, $($part)*).unwrap_or_default()
    };
}

/// The configuration.
pub(super) fn write(plan: &SwitchPlan) -> String {
    let mut out = String::new();
    say!(out, "# {} at {}", plan.name, plan.site);
    say!(out, "set system host-name {}", plan.name);
    for vlan in &plan.vlans {
        say!(out, "set vlans {} vlan-id {}", vlan.name, vlan.tag);
    }
    let groups = plan.groups.iter().map(|(number, _)| number + 1).max();
    if let Some(count) = groups {
        say!(
            out,
            "set chassis aggregated-devices ethernet device-count {count}"
        );
    }
    for (number, group) in &plan.groups {
        let name = format!("ae{number}");
        say!(
            out,
            "set interfaces {name} aggregated-ether-options lacp active"
        );
        say!(
            out,
            "set interfaces {name} aggregated-ether-options minimum-links {}",
            group.min_links
        );
        interface(&mut out, &name, group);
    }
    for port in &plan.ports {
        match port.group {
            Some(group) => {
                say!(
                    out,
                    "set interfaces {} description \"{}\"",
                    port.name,
                    port.description
                );
                say!(
                    out,
                    "set interfaces {} ether-options 802.3ad ae{group}",
                    port.name
                );
                if !port.enabled {
                    say!(out, "set interfaces {} disable", port.name);
                }
            }
            None => interface(&mut out, &port.name, port),
        }
    }
    out
}

fn interface(out: &mut String, name: &str, port: &InterfacePlan) {
    say!(
        out,
        "set interfaces {name} description \"{}\"",
        port.description
    );
    let unit = format!("set interfaces {name} unit 0 family ethernet-switching");
    match (port.role.as_str(), &port.vlan) {
        ("core", _) => {
            say!(out, "set interfaces {name} mtu 9216");
            say!(out, "{unit} interface-mode trunk");
            say!(out, "{unit} vlan members all");
        }
        (_, Some(vlan)) => {
            say!(out, "set interfaces {name} mtu {}", vlan.mtu + 14);
            say!(out, "{unit} interface-mode access");
            say!(out, "{unit} vlan members {}", vlan.name);
            if port.role == "member" {
                say!(out, "set protocols lldp interface {name} disable");
                say!(
                    out,
                    "set protocols layer2-control bpdu-block interface {name} drop"
                );
                say!(
                    out,
                    "set interfaces {name} unit 0 family ethernet-switching storm-control members"
                );
            }
        }
        (_, None) => {}
    }
    if !port.macs.is_empty() {
        let filter = format!("member-{}", name.replace(['/', ':'], "-"));
        let rule = format!("set firewall family ethernet-switching filter {filter}");
        for (n, (mac, whose)) in port.macs.iter().enumerate() {
            say!(out, "# {}", plain(whose));
            say!(out, "{rule} term own-{n} from source-mac-address {mac}/48");
            say!(out, "{rule} term own-{n} then accept");
        }
        say!(out, "{rule} term rest then discard");
        say!(out, "{unit} filter input {filter}");
    }
    if !port.enabled {
        say!(out, "set interfaces {name} disable");
    }
}
