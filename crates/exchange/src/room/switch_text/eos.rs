//! The text for Arista EOS.

use std::fmt::Write as _;

use super::{InterfacePlan, SwitchPlan};

macro_rules! say {
    ($out:expr, $($part:tt)*) => {
        // Writing to a String cannot fail.
        writeln!($out, $($part)*).unwrap_or_default()
    };
}

/// The configuration.
pub(super) fn write(plan: &SwitchPlan) -> String {
    let mut out = String::new();
    say!(out, "! {} at {}", plan.name, plan.site);
    say!(out, "hostname {}", plan.name);
    say!(out, "!");
    for vlan in &plan.vlans {
        say!(out, "vlan {}\n   name {}\n!", vlan.tag, vlan.name);
    }
    for (number, group) in &plan.groups {
        filter(&mut out, &format!("po{number}"), group);
    }
    for port in plan.ports.iter().filter(|port| port.group.is_none()) {
        filter(&mut out, &short(&port.name), port);
    }
    for (number, group) in &plan.groups {
        say!(out, "interface Port-Channel{number}");
        say!(out, "   description {}", group.description);
        say!(out, "   port-channel min-links {}", group.min_links);
        body(&mut out, &format!("po{number}"), group);
    }
    for port in &plan.ports {
        say!(out, "interface {}", port.name);
        say!(out, "   description {}", port.description);
        say!(out, "   speed {}", speed(port.speed_mbps));
        match port.group {
            Some(group) => {
                say!(out, "   channel-group {group} mode active");
                state(&mut out, port);
            }
            None => body(&mut out, &short(&port.name), port),
        }
    }
    say!(out, "end");
    out
}

fn short(name: &str) -> String {
    name.to_ascii_lowercase().replace(['/', ':', '.'], "-")
}

fn speed(mbps: i64) -> String {
    match mbps {
        1_000 => "forced 1000full".to_owned(),
        mbps => format!("forced {}gfull", mbps / 1_000),
    }
}

fn filter(out: &mut String, name: &str, port: &InterfacePlan) {
    if port.macs.is_empty() {
        return;
    }
    say!(out, "mac access-list member-{name}");
    for (mac, whose) in &port.macs {
        say!(out, "   remark {}", super::plain(whose));
        say!(out, "   permit {mac} 00:00:00:00:00:00 any");
    }
    say!(out, "!");
}

fn body(out: &mut String, name: &str, port: &InterfacePlan) {
    match (port.role.as_str(), &port.vlan) {
        ("core", _) => say!(out, "   switchport mode trunk\n   mtu 9214"),
        (_, Some(vlan)) => {
            say!(
                out,
                "   switchport mode access\n   switchport access vlan {}",
                vlan.tag
            );
            // The frame's header and its tag come on top.
            say!(out, "   mtu {}", vlan.mtu + 14);
            if port.role == "member" {
                say!(
                    out,
                    "   spanning-tree bpdufilter enable\n   no lldp transmit\n   no lldp receive\n   storm-control broadcast level 0.1\n   storm-control multicast level 1"
                );
            }
        }
        (_, None) => {}
    }
    if !port.macs.is_empty() {
        say!(out, "   mac access-group member-{name} in");
    }
    state(out, port);
}

fn state(out: &mut String, port: &InterfacePlan) {
    let word = if port.enabled {
        "no shutdown"
    } else {
        "shutdown"
    };
    say!(out, "   {word}\n!");
}
