use super::super::tests::{about, all_good};
use super::*;
use crate::stix::simple;

pub(crate) const SMALL: &str = r#"{"Event":{"uuid":"5e2f1a3c-0000-4000-8000-000000000001","info":"i","timestamp":"1767225600","Orgc":{"name":"o"},
        "Tag":[{"name":"tlp:red"},{"name":"a:b"},{"name":"misp-galaxy:tool=\"t\""}],"Attribute":[
          {"uuid":"u1","type":"domain|ip","value":"a.example|192.0.2.1","to_ids":true,"comment":"c","first_seen":"2026-01-01","last_seen":"2025-01-01","Sighting":[{"type":"0","date_sighting":"1"},{"type":"1","date_sighting":"2"}]},
          {"type":"vulnerability","value":"CVE-1"},{"type":"link","value":"x"}],
        "Object":[{"name":"file","uuid":"u2","Attribute":[{"type":"filename","value":"a","to_ids":true}],"ObjectReference":[{"referenced_uuid":"u1","relationship_type":"x"}]}]}}"#;

fn read(event: Value) -> Imported {
    let got = misp(&json!({ "Event": event }).to_string(), &about()).expect("an event");
    all_good(&got);
    got
}

fn of<'a>(got: &'a Imported, kind: &str) -> Vec<&'a Value> {
    let all = got.objects.iter();
    all.filter(|object| object["type"] == kind).collect()
}

fn attribute(kind: &str, value: &str, more: Value) -> Value {
    let mut one = json!({"type": kind, "value": value, "to_ids": true});
    for (name, value) in more.as_object().into_iter().flatten() {
        one[name] = value.clone();
    }
    one
}

fn marking(object: &Value) -> Option<Tlp> {
    Tlp::of_marking(object["object_marking_refs"][0].as_str()?)
}

#[test]
fn events_of_misp_become_indicators_and_a_report() {
    let text = r#"{"response":[{"Event":{"uuid":"5e2f1a3c-0000-4000-8000-000000000001","info":"釣魚","timestamp":"1767225600",
            "Tag":[{"name":"tlp:amber"}],"Attribute":[
              {"type":"ip-dst","value":"198.51.100.7","to_ids":true,"timestamp":"1767225600"},
              {"type":"filename|md5","value":"a.exe|d41d8cd98f00b204e9800998ecf8427e","to_ids":true},
              {"type":"ip-dst|port","value":"198.51.100.8|443","to_ids":true},
              {"type":"comment","value":"x","to_ids":true},{"type":"domain","value":"a.example","to_ids":false}],
            "Object":[{"Attribute":[{"type":"domain","value":"b.example","to_ids":true}]}]}}]}"#;
    let got = misp(text, &about()).expect("an event");
    all_good(&got);
    assert_eq!(got.objects.len(), 5);
    assert_eq!(
        got.objects[1]["pattern"],
        "[file:name = 'a.exe' AND file:hashes.'MD5' = 'd41d8cd98f00b204e9800998ecf8427e']"
    );
    assert_eq!(marking(&got.objects[0]), Some(Tlp::Amber));
    assert_eq!(list(&got.objects[4]["object_refs"]).len(), 4);
    assert_eq!(
        got.left_out,
        [
            "events[0]: of 6 attributes 1 not brought over: comment; 1 not meant for detection (to_ids): domain",
            "events[0].Attribute[2]: port 443 is not brought over: the indicator is of all of 198.51.100.8",
            "events[0].Attribute[3]: type \"comment\" is not brought over",
            "events[0].Attribute[4]: domain is not meant for detection (to_ids)",
        ]
    );
    // Whatever the clock says: nothing new is made of the same event.
    let later = About {
        now: about().now + 86_400_000_000,
        ..about()
    };
    let again = misp(text, &later).expect("an event");
    assert_eq!(again.objects, got.objects);
    assert!(misp("[]", &about()).expect("nothing").objects.is_empty());
    assert!(misp("{}", &about()).is_err());
    let bare = misp(r#"{"info":"x","Attribute":[]}"#, &about());
    assert!(bare.expect("an event").objects.is_empty());
}

#[test]
fn the_strictest_marking_of_event_object_and_attribute_counts() {
    let red = json!([{"name": "TLP:RED"}]);
    let got = read(json!({
        "uuid": "5e2f1a3c-0000-4000-8000-000000000001", "info": "x", "timestamp": 1_767_225_600, "Tag": [{"name": "tlp:white"}],
        "Attribute": [
            attribute("ip-dst", "198.51.100.1", json!({ "Tag": red })),
            attribute("ip-dst", "198.51.100.2", json!({"Tag": [{"name": "tlp:clear"}]})),
            {"type": "link", "value": "https://a.example/", "Tag": red},
        ],
        "Object": [
            {"name": "url", "Tag": [{"name": "tlp:amber"}], "Attribute": [attribute("domain", "a.example", json!({"Tag": [{"name": "tlp:green"}]}))]},
            {"name": "file", "Attribute": [attribute("filename", "a", json!({})), attribute("md5", "d41d8cd98f00b204e9800998ecf8427e", json!({ "Tag": red }))]},
        ],
    }));
    let markings: Vec<Option<Tlp>> = of(&got, "indicator").into_iter().map(marking).collect();
    assert_eq!(
        markings,
        [Tlp::Red, Tlp::Clear, Tlp::Amber, Tlp::Red].map(Some)
    );
    let report = of(&got, "report")[0];
    assert_eq!(marking(report), Some(Tlp::Clear));
    assert!(
        report["external_references"].is_null(),
        "the red link is in no clear report"
    );
}

#[test]
fn what_is_deleted_is_left_out_and_counted() {
    let got = read(json!({
        "info": "x", "timestamp": "1767225600",
        "Attribute": [
            attribute("hostname", "a.example", json!({"deleted": true})),
            attribute("hostname", "b.example", json!({"deleted": "1"})),
            attribute("hostname", "c.example", json!({"deleted": false})),
            attribute("vulnerability", "CVE-2026-1", json!({"deleted": true})),
        ],
        "Object": [
            {"name": "file", "deleted": true, "Attribute": [attribute("filename", "a", json!({}))]},
            {"name": "url", "deleted": 1, "Attribute": [attribute("url", "http://a.example/", json!({}))]},
            {"name": "file", "Attribute": [attribute("filename", "b", json!({"deleted": true}))]},
        ],
    }));
    assert_eq!(got.objects.len(), 1);
    assert_eq!(
        got.objects[0]["pattern"],
        "[domain-name:value = 'c.example']"
    );
    assert_eq!(
        got.left_out[0],
        "events[0]: of 7 attributes 6 deleted: filename 2 times, hostname 2 times, url, vulnerability"
    );
    assert_eq!(got.left_out.len(), 7);
}

#[test]
fn files_are_one_pattern_and_pairs_are_enforced_each() {
    let md5 = "d41d8cd98f00b204e9800998ecf8427e";
    let got = read(json!({
        "info": "x", "timestamp": "1767225600",
        "Attribute": [
            attribute("domain|ip", "evil.example|203.0.113.79", json!({})),
            attribute("regkey|value", "HKLM\\Software\\Run|it's.exe", json!({})),
            attribute("malware-sample", &format!("a.exe|{md5}"), json!({})),
            attribute("domain|ip", "evil.example", json!({})),
        ],
        "Object": [
            {"name": "file", "Attribute": [
                attribute("filename", "x.exe", json!({})), attribute("filename", "y.exe", json!({})),
                attribute("md5", md5, json!({})), {"type": "size-in-bytes", "value": "12"}]},
            {"name": "file", "Attribute": [attribute("filename", "only.exe", json!({}))]},
            {"name": "registry-key", "Attribute": [
                attribute("regkey", "HKCU\\Run", json!({"object_relation": "key"})), attribute("text", "n", json!({"object_relation": "name"}))]},
        ],
    }));
    let patterns: Vec<&str> = of(&got, "indicator")
        .into_iter()
        .filter_map(|one| one["pattern"].as_str())
        .collect();
    assert_eq!(
        patterns,
        [
            "[domain-name:value = 'evil.example'] OR [ipv4-addr:value = '203.0.113.79']",
            "[windows-registry-key:key = 'HKEY_LOCAL_MACHINE\\\\Software\\\\Run' AND windows-registry-key:values[*].data = 'it\\'s.exe']",
            &format!("[file:name = 'a.exe' AND file:hashes.'MD5' = '{md5}']"),
            &format!(
                "[file:hashes.'MD5' = '{md5}' AND (file:name = 'x.exe' OR file:name = 'y.exe')]"
            ),
            "[file:name = 'only.exe']",
            "[windows-registry-key:key = 'HKEY_CURRENT_USER\\\\Run' AND windows-registry-key:values[*].name = 'n']",
        ]
    );
    let pair = crate::stix::pattern::parse(patterns[0]).expect("a pattern");
    assert_eq!(simple::extract(&pair).len(), 2, "both can be enforced");
    assert_eq!(
        got.left_out[0],
        "events[0]: of 11 attributes 1 not brought over: domain|ip; 1 not meant for detection (to_ids): size-in-bytes"
    );
}

#[test]
fn rules_and_further_kinds_become_what_they_are() {
    let event = json!({
        "uuid": "5e2f1a3c-0000-4000-8000-000000000001", "info": "x", "timestamp": "1767225600",
        "Attribute": [
            attribute("yara", "rule a { condition: true }", json!({})), attribute("snort", "alert tcp any any -> any any", json!({})),
            attribute("sigma", "title: x", json!({})), attribute("vulnerability", "cve-2026-9999", json!({"to_ids": false})),
            attribute("AS", "AS64500", json!({})), attribute("user-agent", "EvilBot/1.0", json!({})), attribute("email-subject", "帳單", json!({})),
            attribute("mac-address", "00-1B-63-84-45-E6", json!({})), attribute("imphash", "d41d8cd98f00b204e9800998ecf8427e", json!({})),
            attribute("ja3-fingerprint-md5", "d41d8cd98f00b204e9800998ecf8427e", json!({})),
            {"type": "link", "value": "https://report.example/x", "comment": "報告"},
        ],
        "RelatedEvent": [{}, {}],
    });
    let got = read(event);
    let patterns: Vec<(&str, &str)> = of(&got, "indicator")
        .into_iter()
        .filter_map(|one| Some((one["pattern_type"].as_str()?, one["pattern"].as_str()?)))
        .collect();
    assert_eq!(
        patterns,
        [
            ("yara", "rule a { condition: true }"),
            ("snort", "alert tcp any any -> any any"),
            ("sigma", "title: x"),
            ("stix", "[autonomous-system:number = 64500]"),
            (
                "stix",
                "[network-traffic:extensions.'http-request-ext'.request_header.'User-Agent' = 'EvilBot/1.0']"
            ),
            ("stix", "[email-message:subject = '帳單']"),
            ("stix", "[mac-addr:value = '00:1b:63:84:45:e6']"),
            (
                "stix",
                "[file:extensions.'windows-pebinary-ext'.imphash = 'd41d8cd98f00b204e9800998ecf8427e']"
            ),
        ]
    );
    let weakness = of(&got, "vulnerability")[0];
    assert_eq!(
        weakness["external_references"][0]["external_id"],
        "CVE-2026-9999"
    );
    let report = of(&got, "report")[0];
    assert_eq!(
        report["external_references"],
        json!([{"source_name": "MISP", "url": "https://report.example/x", "description": "報告"}])
    );
    assert_eq!(list(&report["object_refs"]).len(), 9);
    assert!(
        got.left_out
            .contains(&"events[0]: 2 RelatedEvent not brought over".to_owned())
    );
    assert!(got.left_out[0].ends_with("1 not brought over: ja3-fingerprint-md5"));
}

#[test]
fn clusters_sightings_references_and_authors_come_along() {
    let uuid = |number: u8| format!("5f1b3c2a-1c2c-4d3e-9a7b-0000000000{number:02}");
    let got = read(json!({
        "uuid": uuid(1), "info": "APT", "date": "2026-10-01", "Orgc": {"uuid": uuid(2), "name": "TWCERT"},
        "Tag": [{"name": "tlp:amber"}, {"name": "misp-galaxy:threat-actor=\"APT28\""}, {"name": "kill-chain:Delivery"}, {"name": "misp-galaxy:sector=\"Water\""}],
        "Galaxy": [{"type": "threat-actor", "GalaxyCluster": [{"uuid": uuid(3), "value": "APT28", "description": "Sofacy", "meta": {"synonyms": ["Fancy Bear"], "refs": ["https://x.example"]}}]}],
        "Attribute": [attribute("ip-dst", "203.0.113.77", json!({
            "uuid": uuid(4), "comment": "C2 主機", "timestamp": "1790000000", "first_seen": "2026-09-01T00:00:00+00:00", "last_seen": "2026-10-01T00:00:00+00:00",
            "Tag": [{"name": "misp-galaxy:mitre-attack-pattern=\"Spearphishing Attachment - T1566.001\""}, {"name": "misp-galaxy:mitre-course-of-action=\"User Training - M1017\""}],
            "Sighting": [
                {"uuid": uuid(5), "type": "0", "date_sighting": "1790000100", "source": "honeypot", "Organisation": {"name": "CERT-A", "uuid": uuid(6)}},
                {"uuid": uuid(7), "type": "1", "date_sighting": "1790000200"}],
        })), attribute("ip-dst", "203.0.113.78", json!({
            "timestamp": "1790000000", "last_seen": "2026-09-02T00:00:00Z", "Sighting": [{"type": "2", "date_sighting": "1790000300"}],
        }))],
        "Object": [{"uuid": uuid(8), "name": "file", "Attribute": [attribute("filename", "x.exe", json!({}))],
            "ObjectReference": [{"referenced_uuid": uuid(4), "relationship_type": "connects to"}, {"referenced_uuid": uuid(9), "relationship_type": "x"}]}],
    }));
    let indicators = of(&got, "indicator");
    let author = format!("identity--{}", uuid(2));
    for one in &indicators {
        assert_eq!(one["created_by_ref"], author);
        assert_eq!(
            one["labels"],
            json!(["kill-chain:Delivery", "misp-galaxy:sector=\"Water\""])
        );
    }
    assert_eq!(indicators[0]["description"], "C2 主機");
    assert_eq!(indicators[0]["valid_from"], "2026-09-01T00:00:00.000Z");
    assert_eq!(indicators[0]["valid_until"], "2026-10-01T00:00:00.000Z");
    assert_eq!(
        indicators[1]["valid_until"],
        moment(1_790_000_300_000_000),
        "it expired"
    );
    assert_eq!(indicators[2]["valid_from"], "2026-10-01T00:00:00.000Z");
    let names: Vec<&str> = of(&got, "identity")
        .into_iter()
        .filter_map(|one| one["name"].as_str())
        .collect();
    assert_eq!(names, ["TWCERT", "CERT-A"]);
    let sightings = of(&got, "sighting");
    assert_eq!(sightings.len(), 2);
    assert_eq!(
        (
            &sightings[0]["sighting_of_ref"],
            &sightings[0]["description"],
            &sightings[0]["where_sighted_refs"]
        ),
        (
            &indicators[0]["id"],
            &json!("honeypot"),
            &json!([format!("identity--{}", uuid(6))])
        )
    );
    assert_eq!(sightings[1]["last_seen"], "2026-09-02T00:00:00.000Z");
    let opinion = of(&got, "opinion")[0];
    assert_eq!(opinion["opinion"], "strongly-disagree");
    assert_eq!(opinion["object_refs"], json!([indicators[0]["id"]]));
    let actor = of(&got, "threat-actor")[0];
    assert_eq!(
        (&actor["name"], &actor["aliases"]),
        (&json!("APT28"), &json!(["Fancy Bear"]))
    );
    let technique = of(&got, "attack-pattern")[0];
    assert_eq!(technique["name"], "Spearphishing Attachment");
    assert_eq!(
        technique["external_references"][0]["external_id"],
        "T1566.001"
    );
    let kind = |id: &Value| {
        let id = id.as_str().unwrap_or_default();
        id.split("--").next().unwrap_or_default().to_owned()
    };
    let mut relations: Vec<String> = of(&got, "relationship")
        .into_iter()
        .map(|one| {
            let word = one["relationship_type"].as_str().unwrap_or_default();
            format!(
                "{} {word} {}",
                kind(&one["source_ref"]),
                kind(&one["target_ref"])
            )
        })
        .collect();
    relations.sort();
    assert_eq!(
        relations,
        [
            "course-of-action mitigates indicator",
            "indicator connects-to indicator",
            "indicator indicates attack-pattern",
            "indicator indicates threat-actor",
            "indicator indicates threat-actor",
            "indicator indicates threat-actor",
        ]
    );
    let report = of(&got, "report")[0];
    assert_eq!(report["created_by_ref"], author);
    assert_eq!(
        got.left_out,
        ["events[0].Object[0].ObjectReference[1]: one of its ends is not brought over"]
    );
}

#[test]
fn two_attributes_of_one_address_are_one_indicator() {
    let got = read(json!({
        "info": "x",
        "Attribute": [
            attribute("ip-dst", "198.51.100.1", json!({"timestamp": "1767225600", "comment": "one"})),
            attribute("ip-src", "198.51.100.1", json!({"timestamp": "1767225700", "comment": "two", "Tag": [{"name": "a"}]})),
        ],
    }));
    assert_eq!(got.objects.len(), 1);
    let one = &got.objects[0];
    assert_eq!(one["description"], "one\ntwo");
    assert_eq!(one["modified"], "2026-01-01T00:01:40.000Z");
    assert_eq!(one["valid_from"], "2026-01-01T00:00:00.000Z");
    assert_eq!(one["labels"], json!(["a"]));
}
