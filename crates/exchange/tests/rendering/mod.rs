//! Configurations: golden files for their text, BIRD and OpenBGPD themselves for their syntax.

pub(crate) mod openbgpd;

use std::path::{Path, PathBuf};
use std::process::Command;

use exchange::document::Document;
use exchange::irr::{self, rpsl::Files};

pub(crate) const LAB: &str = include_str!("../golden/lab.toml");
pub(crate) const RPSL: &str = include_str!("../golden/lab.rpsl");

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name)
}

pub(crate) fn registered(document: &Document, site: &str) -> irr::AllowedByMember {
    let mut files = Files::default();
    files.read_bytes("LAB", RPSL.as_bytes()).expect("small");
    let (allowed, _) = irr::resolve(document, site, &mut files, None, None).expect("known");
    allowed
}

fn rendered(document: &Document, site: &str) -> String {
    exchange::render::bird(document, site, &registered(document, site)).expect("rendered")
}

/// Compares with a golden file; `CIVICNET_GOLDEN=write` writes it anew.
fn is_golden(name: &str, text: &str) {
    let file = golden(name);
    if std::env::var("CIVICNET_GOLDEN").is_ok_and(|value| value == "write") {
        std::fs::write(&file, text).expect("written");
    }
    let kept = std::fs::read_to_string(&file).expect("the golden file");
    assert!(
        kept == text,
        "{} is stale: run with CIVICNET_GOLDEN=write and read the difference",
        file.display()
    );
}

fn bird_accepts(text: &str) {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("bird.conf");
    std::fs::write(&file, text).expect("written");
    let bird = if Path::new("/usr/sbin/bird").exists() {
        "/usr/sbin/bird"
    } else {
        "bird"
    };
    let said = Command::new(bird)
        .args(["-p", "-c"])
        .arg(&file)
        .output()
        .expect("bird starts: install Debian's package bird2");
    assert!(
        said.status.success(),
        "{}\n{text}",
        String::from_utf8_lossy(&said.stderr)
    );
}

#[test]
fn golden_configurations() {
    let document = Document::parse("lab.toml", LAB).expect("valid");
    for site in ["hsinchu", "taichung"] {
        let text = rendered(&document, site);
        assert_eq!(
            text,
            rendered(&document, site),
            "the same input gives the same bytes"
        );
        bird_accepts(&text);
        is_golden(&format!("{site}.bird.conf"), &text);
    }
}

/// The lab with rules of every kind: announced, and left out for each reason.
fn protected() -> Document {
    let text = LAB
        .replacen("name = \"TANet\"", "name = \"TANet\"\nflowspec = true", 1)
        .replacen(
            "name = \"GSN\"",
            "name = \"GSN\"\nflowspec = true\nintelligence = true",
            1,
        );
    let text = format!("{text}\n{}", include_str!("../golden/protection.toml"));
    Document::parse("protected.toml", &text).expect("valid")
}

#[test]
fn golden_protection() {
    let document = protected();
    let text = rendered(&document, "hsinchu");
    bird_accepts(&text);
    let plain = rendered(&Document::parse("lab.toml", LAB).expect("valid"), "hsinchu");
    // What protection adds, without what is the same for everybody.
    let added: Vec<&str> = text
        .lines()
        .filter(|line| !plain.lines().any(|other| other == *line))
        .collect();
    let added = added.join("\n") + "\n";
    is_golden("protection.bird.conf", &added);
    for expected in [
        "other-site: not announced: for other sites",
        "elsewhere: not announced: the member has no router here",
        "not-mine: not announced: not inside the member's registered address space",
        "no-hop: not announced: this site has no blackhole next hop",
    ] {
        assert!(text.contains(expected), "{expected}\n{added}");
    }
}

#[test]
fn a_rule_that_contradicts_the_document_is_told() {
    let mut text = format!("{LAB}\n{}", include_str!("../golden/protection.toml"));
    text = text.replace(
        "asn = 7539\ndestination = \"140.110.5.9/32\"",
        "asn = 64999\nsites = [\"taipei\"]\ndestination = \"140.110.0.0/16\"",
    );
    let told = Document::parse("protected.toml", &text)
        .expect_err("wrong")
        .to_string();
    for expected in [
        "AS64999 is no member",
        "\"taipei\" is no site",
        "too wide for a blackhole",
    ] {
        assert!(told.contains(expected), "{told}");
    }
}

#[test]
fn every_switch_of_the_policy_gives_a_configuration_that_bird_takes() {
    let base = Document::parse("lab.toml", LAB).expect("valid");
    let variants: [fn(&mut Document); 12] = [
        |d| d.policy.blackhole = false,
        |d| d.policy.irr.enabled = false,
        |d| d.policy.irr.more_specific = true,
        |d| d.policy.rpki = exchange::document::RpkiPolicy::default(),
        |d| d.policy.bfd = None,
        |d| d.policy.asn = 4_200_000_001,
        |d| d.policy.never_via_route_server.clear(),
        |d| d.sites.iter_mut().for_each(|site| site.draining = true),
        |d| d.members.clear(),
        |d| {
            *d = protected();
            d.policy.irr.enabled = false;
        },
        |d| {
            *d = protected();
            d.protection.clear();
        },
        |d| {
            d.policy.transport = exchange::document::Transport {
                port: 1790,
                multihop: true,
            }
        },
    ];
    for change in variants {
        let mut document = base.clone();
        change(&mut document);
        bird_accepts(&rendered(&document, "hsinchu"));
    }
}

#[test]
fn roles_are_announced_required_and_left_out_as_the_document_says() {
    let base = Document::parse("lab.toml", LAB).expect("valid");
    // What stands in the session of TANet's router, of both families at Hsinchu.
    let lines = |change: fn(&mut Document)| {
        let mut document = base.clone();
        change(&mut document);
        let text = rendered(&document, "hsinchu");
        bird_accepts(&text);
        let sessions = text
            .split("\nprotocol bgp ")
            .filter(|s| s.contains("as 1659;"));
        let counts = sessions.map(|session| {
            let has = |line: &str| u8::from(session.contains(line));
            (has("local role rs_server;"), has("require roles on;"))
        });
        counts.collect::<Vec<_>>()
    };
    fn no_role(document: &mut Document) {
        let member = document.members.iter_mut().find(|one| one.asn == 1659);
        for router in &mut member.expect("TANet").routers {
            router.session_v4 = Some(exchange::document::SessionTerms {
                no_role: true,
                ..Default::default()
            });
        }
    }
    fn required(document: &mut Document) {
        let member = document.members.iter_mut().find(|one| one.asn == 1659);
        member.expect("TANet").require_role = true;
    }
    assert_eq!(lines(|_| ()), [(1, 0), (1, 0)]);
    assert_eq!(lines(|d| d.policy.roles = false), [(0, 0), (0, 0)]);
    assert_eq!(lines(required), [(1, 1), (1, 1)]);
    assert_eq!(lines(no_role), [(0, 0), (1, 0)]);
    let both = lines(|d| {
        no_role(d);
        required(d);
    });
    assert_eq!(both, [(1, 1), (1, 1)], "who requires roles has one");
}

#[test]
fn an_unknown_site_and_missing_data_are_told() {
    let document = Document::parse("lab.toml", LAB).expect("valid");
    let told = exchange::render::bird(&document, "taipei", &irr::AllowedByMember::new())
        .expect_err("no site")
        .to_string();
    assert!(
        told.contains("\"taipei\"") && told.contains("hsinchu"),
        "{told}"
    );
    assert!(exchange::render::bird(&document, "hsinchu", &irr::AllowedByMember::new()).is_err());
}

#[test]
fn the_published_schema_is_the_types() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/exchange.schema.json");
    let text = serde_json::to_string_pretty(&Document::schema()).expect("written") + "\n";
    if std::env::var("CIVICNET_GOLDEN").is_ok_and(|value| value == "write") {
        std::fs::write(&file, &text).expect("written");
    }
    assert!(
        std::fs::read_to_string(&file).is_ok_and(|kept| kept == text),
        "docs/exchange.schema.json is stale: `make docs`"
    );
}
