use base::Timestamp;
use exchange::room::switch_text::write;
use exchange::room::{Id, Kind, Wanted};
use serde_json::{Value, json};
use store::Backend;

use super::house::{House, by, house, on_both};

/// IX-F's member export, version 1.0, without its remarks: names, types, what must be
/// there. Written from the specification.
const IXF: &str = include_str!("../golden/ixf-1.0.schema.json");

/// Checks the part of JSON Schema that the specification uses.
fn valid(schema: &Value, value: &Value, at: &str) {
    let kind = schema["type"].as_str().unwrap_or("any");
    let fits = match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "boolean" => value.is_boolean(),
        _ => true,
    };
    assert!(fits, "{at}: {value} is no {kind}");
    for name in schema["required"].as_array().into_iter().flatten() {
        let name = name.as_str().expect("a name");
        assert!(value.get(name).is_some(), "{at}: {name} is missing");
    }
    if let Some(choices) = schema["enum"].as_array() {
        assert!(choices.contains(value), "{at}: {value}");
    }
    if let (Some(properties), Some(object)) = (schema["properties"].as_object(), value.as_object())
    {
        for (name, inner) in object {
            if let Some(schema) = properties.get(name) {
                valid(schema, inner, &format!("{at}.{name}"));
            }
        }
    }
    for (n, item) in value.as_array().into_iter().flatten().enumerate() {
        valid(&schema["items"], item, &format!("{at}[{n}]"));
    }
    match schema["format"].as_str() {
        Some("ipv4") => drop(
            value
                .as_str()
                .expect("text")
                .parse::<std::net::Ipv4Addr>()
                .expect(at),
        ),
        Some("ipv6") => drop(
            value
                .as_str()
                .expect("text")
                .parse::<std::net::Ipv6Addr>()
                .expect(at),
        ),
        Some("uri") => assert!(value.as_str().expect("text").contains("://"), "{at}"),
        Some("date-time") => assert!(value.as_str().expect("text").contains('T'), "{at}"),
        _ => {}
    }
}

async fn demo(house: &House) {
    let made = house
        .exchange
        .seed_demo(&by(), |_| None)
        .await
        .expect("the exchange of the country");
    assert!(made);
}

#[tokio::test]
async fn the_countrys_exchange_is_whole_and_exported_as_the_specification_says() {
    on_both(async |house: House| {
        demo(&house).await;
        assert!(
            !house
                .exchange
                .seed_demo(&by(), |_| None)
                .await
                .expect("there")
        );
        let now = Timestamp::from_seconds(1_795_222_800);
        let compiled = house.exchange.compile(now).await.expect("compiled");
        assert_eq!(compiled.problems, []);
        assert_eq!(compiled.document.sites.len(), 3);
        let twaren = &compiled.document.members[0];
        assert_eq!(twaren.routers.len(), 2);
        assert_eq!(twaren.bilateral[0].asn, 1_659);
        let export = house.exchange.ixf(now).await.expect("an export");
        let schema: Value = serde_json::from_str(IXF).expect("JSON");
        valid(&schema, &export, "$");
        assert_eq!(export["timestamp"], "2026-11-21T01:00:00Z");
        let members = export["member_list"].as_array().expect("members");
        assert_eq!(members.len(), 4);
        let gsn = members.iter().find(|m| m["asnum"] == 4_782).expect("GSN");
        let first = &gsn["connection_list"][0];
        assert_eq!(first["if_list"][0]["if_speed"], 40_000);
        assert_eq!(first["vlan_list"][0]["ipv4"]["address"], "127.72.1.31");
        assert_eq!(first["vlan_list"][0]["ipv4"]["routeserver"], true);
        assert_eq!(first["vlan_list"][0]["ipv6"]["routeserver"], false);
        // The numbers of switches are the same in the next export.
        let again = house.exchange.ixf(now).await.expect("an export");
        assert_eq!(again["ixp_list"], export["ixp_list"]);
    })
    .await;
}

#[tokio::test]
async fn switches_get_their_texts_in_both_ways_of_writing() {
    let house = house(Backend::Sqlite).await;
    demo(&house).await;
    let switch = |name: &'static str| {
        let house = &house;
        async move {
            let found = house
                .exchange
                .all_of(Kind::Switch, &Wanted::by("name", name))
                .await
                .expect("read");
            let id = Id::new(found[0].id);
            (
                id,
                write(&house.exchange.switch_plan(id).await.expect("a plan")),
            )
        }
    };
    let (id, eos) = switch("hs-sw1").await;
    for line in [
        "interface Port-Channel11\n   description TWAREN AS7539",
        "   switchport access vlan 101",
        "   permit 02:07:fa:01:01:0b 00:00:00:00:00:00 any",
        "   channel-group 31 mode active",
        "   switchport mode trunk",
    ] {
        assert!(eos.contains(line), "{line} in:\n{eos}");
    }
    let (_, junos) = switch("tn-sw1").await;
    assert!(
        junos.contains("set interfaces ae31 aggregated-ether-options lacp active"),
        "{junos}"
    );
    assert_eq!(house.exchange.kept_text(id).await.expect("read"), None);
    let number = house
        .exchange
        .keep_text(&by(), id, &eos)
        .await
        .expect("kept");
    let driver = exchange::room::config::DriverConfig {
        command: vec![
            "/bin/sh".into(),
            "-c".into(),
            "grep -c interface; echo {switch}".into(),
        ],
        timeout_s: 10,
    };
    let (good, said) = house
        .exchange
        .push_text(&by(), &driver, id, number, &eos)
        .await
        .expect("an answer");
    assert!(good && said.contains("hs-sw1"), "{said}");
    let kept = house
        .exchange
        .kept_text(id)
        .await
        .expect("read")
        .expect("kept");
    assert!(kept.pushed_at.is_some());
    let slow = exchange::room::config::DriverConfig {
        command: vec!["/bin/sleep".into(), "60".into()],
        timeout_s: 1,
    };
    let (good, said) = house
        .exchange
        .push_text(&by(), &slow, id, number, &eos)
        .await
        .expect("an answer");
    assert!(!good && said.contains("within 1 s"), "{said}");
}

#[tokio::test]
async fn what_goes_out_as_csv_comes_in_again() {
    on_both(async |house: House| {
        demo(&house).await;
        for kind in Kind::ALL {
            if kind == Kind::Contact {
                continue;
            }
            let text = house.exchange.csv(kind).await.expect("CSV");
            let report = house
                .exchange
                .import_csv(&by(), kind, &text, true)
                .await
                .expect("read");
            assert_eq!(report.problems, [], "{kind:?}");
            assert_eq!((report.created, report.updated), (0, 0), "{kind:?}");
            assert!(report.applied, "{kind:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn one_wrong_line_and_nothing_is_changed() {
    on_both(async |house: House| {
        demo(&house).await;
        let file = "short_name,name,asn,peering_policy\nHiNet,HiNet,3462,selective\nbad name,x,0,maybe\nTWAREN,again,7539,open\n";
        let import = |text: &'static str, apply| {
            let house = &house;
            async move {
                house
                    .exchange
                    .import_csv(&by(), Kind::Member, text, apply)
                    .await
                    .expect("read")
            }
        };
        let report = import(file, true).await;
        let told: Vec<(usize, &str, &str)> = report
            .problems
            .iter()
            .map(|p| (p.line, p.problem.field.as_str(), p.problem.rule))
            .collect();
        assert_eq!(
            told,
            [
                (3, "short_name", "format"),
                (3, "asn", "asn"),
                (3, "peering_policy", "enum"),
                (4, "short_name", "conflict"),
                (4, "asn", "conflict"),
            ]
        );
        assert!(!report.applied);
        assert_eq!(house.exchange.count(Kind::Member).await.expect("a count"), 4);
        let good = "label,short_name,name,asn\n,HiNet,HiNet,3462\nTWAREN,TWAREN,高品質網路,7539\n";
        let preview = import(good, false).await;
        assert_eq!((preview.created, preview.updated, preview.applied), (1, 1, false));
        assert_eq!(house.exchange.count(Kind::Member).await.expect("a count"), 4);
        assert!(import(good, true).await.applied);
        assert_eq!(house.exchange.count(Kind::Member).await.expect("a count"), 5);
        let unknown = house
            .exchange
            .import_csv(&by(), Kind::Member, "short_name,password\n", false)
            .await;
        assert!(unknown.is_err(), "secrets do not come by file");
    })
    .await;
}

#[tokio::test]
async fn peeringdb_fills_in_what_it_knows() {
    on_both(async |house: House| {
        demo(&house).await;
        let file = json!({
            "net": {"data": [
                {"id": 10, "asn": 1659, "name": "TANet", "irr_as_set": "AS-TANET AS-X", "info_prefixes4": 700,
                 "info_prefixes6": 0, "policy_general": "Selective", "website": "https://tanet.example"},
                {"id": 11, "asn": 3462, "name": "HiNet (Chunghwa)", "policy_general": "Restrictive"},
            ]},
            "netixlan": {"data": [
                {"net_id": 11, "asn": 3462, "ixlan_id": 1, "ipaddr4": "127.72.2.51", "ipaddr6": "2001:7fa:2::51", "speed": 10000},
                {"net_id": 11, "asn": 3462, "ixlan_id": 2, "ipaddr4": "192.0.2.1", "ipaddr6": null, "speed": 10000},
            ]},
            "poc": {"data": [{"net_id": 11, "role": "NOC", "name": "NOC", "email": "noc@hinet.example"}]},
        })
        .to_string();
        let preview = house
            .exchange
            .import_peeringdb(&by(), &file, false)
            .await
            .expect("read");
        assert_eq!(preview.problems, []);
        assert_eq!((preview.created, preview.updated), (3, 1));
        assert_eq!(house.exchange.count(Kind::Contact).await.expect("a count"), 0);
        let done = house
            .exchange
            .import_peeringdb(&by(), &file, true)
            .await
            .expect("read");
        assert!(done.applied);
        let members = house
            .exchange
            .all_of(Kind::Member, &Wanted::default())
            .await
            .expect("read");
        let tanet = members.iter().find(|m| m.label == "TANet").expect("a member");
        assert_eq!(tanet.number("max_prefix_v4"), Some(700));
        assert_eq!(tanet.number("max_prefix_v6"), Some(500), "0 says nothing");
        assert_eq!(tanet.text("peering_policy"), "selective");
        let routers = house
            .exchange
            .all_of(Kind::Router, &Wanted::default())
            .await
            .expect("read");
        let hinet = routers.iter().find(|r| r.label == "HiNet/b1").expect("a router");
        assert_eq!(hinet.text("v4"), "127.72.2.51");
        // The same file again changes nothing.
        let again = house
            .exchange
            .import_peeringdb(&by(), &file, true)
            .await
            .expect("read");
        assert_eq!((again.created, again.updated), (0, 0), "{:?}", again.changes);
    })
    .await;
}
