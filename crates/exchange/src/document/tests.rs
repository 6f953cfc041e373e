use super::*;

pub(crate) const SMALL: &str = r#"
name = "Lab Exchange"

[policy]
asn = 64500
never_via_route_server = [174]
bfd = { interval_ms = 50 }
rpki.roas = [{ prefix = "163.28.0.0/16", max_length = 20, asn = 1659 }]

[[sites]]
name = "hsinchu"
router_id = "10.1.0.1"
lan_v4 = "10.1.0.0/24"
address_v4 = "10.1.0.1"
lan_v6 = "fd00:1::/64"
address_v6 = "fd00:1::1"
blackhole_v4 = "10.1.0.66"

[[members]]
asn = 7539
name = "TWAREN"
as_set = "AS-TWAREN"
max_prefix = { v4 = 100 }
password = "opensesame"
routers = [
  { name = "b1", site = "hsinchu", v4 = "10.1.0.11", v6 = "fd00:1::11" },
  { name = "b2", site = "hsinchu", v4 = "10.1.0.12" },
]

[[members]]
asn = 1659
name = "TANet \"quoted\""
routers = [{ name = "b1", site = "hsinchu", v4 = "10.1.0.21", disabled = true }]
"#;

#[test]
fn a_document_in_either_syntax_is_the_same() {
    let from_toml = Document::parse("lab.toml", SMALL).expect("valid");
    let json = serde_json::to_string_pretty(&from_toml).expect("written");
    assert_eq!(
        Document::parse("lab.json", &json).expect("valid"),
        from_toml
    );
    assert!(!format!("{from_toml:?}").contains("opensesame"));
}

#[test]
fn every_problem_is_told_with_its_place() {
    let bad = SMALL
        .replace("10.1.0.12", "10.9.0.12")
        .replace("AS-TWAREN", "TWAREN; }")
        .replace("asn = 1659\nname", "asn = 7539\nname")
        .replace("interval_ms = 50", "interval_ms = 5")
        .replace("opensesame", "open\\\"sesame");
    let told = Document::parse("lab.toml", &bad)
        .expect_err("invalid")
        .to_string();
    for expected in [
        "lab.toml:7:",
        "policy.bfd.interval_ms: must be 10 to 10000",
        "members[0].as_set: \"TWAREN; }\" is no AS set",
        "members[0].routers[1].v4: 10.9.0.12 is not on the peering LAN 10.1.0.0/24",
        "members[0].password: must be",
        "members[1].asn: AS7539 is a member twice",
    ] {
        assert!(told.contains(expected), "{expected} in:\n{told}");
    }
    assert!(!told.contains("sesame"), "{told}");
}

#[test]
fn problems_in_json_have_their_place() {
    let told = Document::parse(
        "x.json",
        "{\n \"name\": \"x\",\n \"policy\": {\"asn\": \"many\"}}",
    )
    .expect_err("invalid")
    .to_string();
    assert!(told.starts_with("x.json:3:"), "{told}");
    assert!(told.contains("policy.asn"), "{told}");
    assert!(Document::parse("x.json", "{").is_err());
}

#[test]
fn mutated_documents_never_panic() {
    let json = serde_json::to_string(&Document::parse("lab.toml", SMALL).expect("valid"))
        .expect("written");
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = move |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        usize::try_from(seed % below as u64).unwrap_or(0)
    };
    for turn in 0..100_000 {
        // TOML with places is dear to read: a tenth of the turns.
        let (name, text) = if turn % 10 == 0 {
            ("x.toml", SMALL)
        } else {
            ("x.json", json.as_str())
        };
        let mut bytes = text.as_bytes().to_vec();
        for _ in 0..=next(4) {
            let at = next(bytes.len());
            bytes[at] = b"0\"{}[]=,.x-\n9:/"[next(15)];
        }
        let text = String::from_utf8_lossy(&bytes);
        if let Ok(document) = Document::parse(name, &text) {
            assert!(document.sites.len() <= SITES_MAX);
        }
    }
}
