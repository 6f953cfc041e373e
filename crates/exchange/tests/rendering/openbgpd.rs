//! OpenBGPD's configurations: golden files, `bgpd -n`, and what is refused because it cannot be done.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use exchange::document::{Document, EngineKind, RpkiPolicy, Transport};
use exchange::irr::AllowedByMember;
use exchange::render::RenderError;

use super::{LAB, is_golden, protected, registered};

const SOCKET: &str = "/run/openbgpd/bgpd.sock.0";

/// The lab without what OpenBGPD cannot do.
pub(crate) fn lab() -> Document {
    let mut document = Document::parse("lab.toml", LAB).expect("valid");
    document.policy.bfd = None;
    document
}

fn try_render(document: &Document, site: &str) -> Result<String, RenderError> {
    let allowed = registered(document, site);
    exchange::render::openbgpd(document, site, &allowed, Path::new(SOCKET))
}

fn rendered(document: &Document, site: &str) -> String {
    try_render(document, site).expect("rendered")
}

fn bgpd_accepts(text: &str) {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("bgpd.conf");
    std::fs::write(&file, text).expect("written");
    // It refuses a file that others could read: it holds secrets.
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("set");
    let said = Command::new("/usr/sbin/bgpd")
        .args(["-n", "-f"])
        .arg(&file)
        .output()
        .expect("bgpd starts: install Debian's package openbgpd");
    assert!(
        said.status.success(),
        "{}\n{text}",
        String::from_utf8_lossy(&said.stderr)
    );
}

#[test]
fn golden_configurations() {
    for site in ["hsinchu", "taichung"] {
        let text = rendered(&lab(), site);
        assert_eq!(text, rendered(&lab(), site), "the same bytes each time");
        bgpd_accepts(&text);
        is_golden(&format!("{site}.bgpd.conf"), &text);
    }
}

#[test]
fn every_switch_of_the_policy_gives_a_configuration_that_bgpd_takes() {
    let variants: [fn(&mut Document); 14] = [
        |d| d.policy.blackhole = false,
        |d| d.policy.action_communities = false,
        |d| d.policy.next_hop_same_as = false,
        |d| d.policy.irr.enabled = false,
        |d| d.policy.irr.more_specific = true,
        |d| d.policy.rpki = RpkiPolicy::default(),
        |d| d.policy.asn = 4_200_000_001,
        |d| d.policy.never_via_route_server.clear(),
        |d| d.sites.iter_mut().for_each(|site| site.draining = true),
        |d| d.members.clear(),
        |d| {
            d.members
                .iter_mut()
                .for_each(|member| member.require_role = true);
        },
        |d| {
            let server = exchange::document::RtrServer {
                address: "203.72.1.9".parse().expect("an address"),
                port: 3323,
            };
            d.policy.rpki.servers.push(server);
        },
        |d| {
            d.members
                .iter_mut()
                .flat_map(|member| &mut member.routers)
                .for_each(|router| {
                    router.disabled = true;
                    router.name = "a-name-that-is-rather-long-to-read".to_owned();
                });
        },
        |d| {
            d.policy.transport = Transport {
                port: 1790,
                multihop: true,
            }
        },
    ];
    for change in variants {
        let mut document = lab();
        change(&mut document);
        bgpd_accepts(&rendered(&document, "hsinchu"));
    }
}

#[test]
fn the_switched_member_stands_back() {
    let mut document = lab();
    document.policy.peer_across_sites = true;
    for site in &mut document.sites {
        site.lan_v4 = Some("203.72.0.0/16".parse().expect("a prefix"));
    }
    document
        .preferred_sites
        .push(exchange::document::PreferredSite {
            asn: 7539,
            site: "taichung".to_owned(),
        });
    let text = rendered(&document, "hsinchu");
    bgpd_accepts(&text);
    for expected in [
        "match rib Loc-RIB from 203.72.1.11 set prepend-neighbor 2",
        "match to 203.72.1.11 set prepend-neighbor 2",
        "descr \"as7539_taichung_b2_v4\"",
    ] {
        assert!(text.contains(expected), "{expected}\n{text}");
    }
}

#[test]
fn what_openbgpd_cannot_do_is_refused_by_name() {
    let told = |document: &Document| {
        try_render(document, "hsinchu")
            .expect_err("refused")
            .to_string()
    };
    let with_bfd = Document::parse("lab.toml", LAB).expect("valid");
    let said = told(&with_bfd);
    for expected in ["hsinchu", "no BFD", "as1659_b1_v4", "and 3 more", "no_bfd"] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
    // Sessions that nobody watches need none.
    let mut without = with_bfd.clone();
    without
        .members
        .iter_mut()
        .for_each(|member| member.bfd = false);
    bgpd_accepts(&rendered(&without, "hsinchu"));

    let mut never = lab();
    never.policy.hold_time_s = 0;
    assert!(told(&never).contains("policy.hold_time_s"));

    let mut guarded = protected();
    guarded.policy.bfd = None;
    let said = told(&guarded);
    for expected in ["AS1659 v4", "no flow rules", "protection: ", "of its own"] {
        assert!(said.contains(expected), "{expected}: {said}");
    }

    let mut long = lab();
    let text = LAB.replace("lab-secret", &"x".repeat(80));
    long.members = Document::parse("lab.toml", &text).expect("valid").members;
    assert!(told(&long).contains("79 bytes"), "{}", told(&long));
}

#[test]
fn a_site_that_runs_the_other_engine_and_a_strange_socket_are_told() {
    let mut document = lab();
    document.sites[0].engine = Some(EngineKind::Bird);
    let said = try_render(&document, "hsinchu").expect_err("BIRD's");
    assert!(said.to_string().contains("runs bird"), "{said}");
    document.sites[0].engine = Some(EngineKind::Openbgpd);
    rendered(&document, "hsinchu");
    let allowed = registered(&document, "hsinchu");
    let said = exchange::render::bird(&document, "hsinchu", &allowed).expect_err("OpenBGPD's");
    assert!(said.to_string().contains("runs openbgpd"), "{said}");
    for socket in [
        "bgpd.sock",
        "/run/a\"b",
        "/run/a\nb",
        &format!("/{}", "x".repeat(107)),
    ] {
        let told = exchange::render::openbgpd(&document, "hsinchu", &allowed, Path::new(socket));
        assert!(matches!(told, Err(RenderError::Socket { .. })), "{socket}");
    }
    let none = AllowedByMember::new();
    let told = exchange::render::openbgpd(&document, "hsinchu", &none, Path::new(SOCKET));
    assert!(matches!(told, Err(RenderError::Irr(_))));
}
