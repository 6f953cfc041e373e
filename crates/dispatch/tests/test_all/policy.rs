//! Names answered by policy, asked over the wire.

use std::net::{IpAddr, SocketAddr};

use axum::body::Body;
use axum::http::{Request, StatusCode};
use base::NodeName;
use base::delivery::{
    AllDown, DispatchName, DispatchSnapshot, EdgeEndpoint, HealthPolicy, Place, Region, ZoneText,
};
use dns::kind::rcode;
use dns::{DispatchTable, Kind};
use tower::ServiceExt;

use crate::client::{self, Response, Server, ask_udp, name, query, subnet};

const ZONE: &str = "@ 300 IN SOA ns hostmaster 1 3600 600 86400 60\n@ 300 NS ns\nns 300 A 192.0.2.53\n\
    alias 120 CNAME www\n*.wild 60 CNAME www\n";

pub(crate) fn node(text: &str) -> NodeName {
    text.parse().expect("a node name")
}

fn edge(name: &str, v4: &str, v6: Option<&str>, latitude: f64, longitude: f64) -> EdgeEndpoint {
    let mut addresses: Vec<IpAddr> = vec![v4.parse().expect("an address")];
    addresses.extend(v6.map(|v6| v6.parse::<IpAddr>().expect("an address")));
    EdgeEndpoint {
        node: node(name),
        addresses,
        at: Place {
            latitude,
            longitude,
        },
        weight: 1,
        capacity_rps: 1_000,
        drained: false,
        health_address: SocketAddr::from(([127, 0, 0, 1], 9)),
    }
}

fn region(name: &str, prefixes: &[&str], latitude: f64, longitude: f64) -> Region {
    Region {
        name: name.to_owned(),
        prefixes: prefixes
            .iter()
            .map(|p| p.parse().expect("a prefix"))
            .collect(),
        at: Place {
            latitude,
            longitude,
        },
        prefer: Vec::new(),
    }
}

/// Three sites of Taiwan, and networks near each.
pub(crate) fn taiwan() -> DispatchSnapshot {
    DispatchSnapshot {
        zones: vec![ZoneText {
            origin: "cdn.example.".to_owned(),
            text: ZONE.to_owned(),
        }],
        names: vec![DispatchName {
            name: "WWW.cdn.example.".to_owned(),
            ttl_s: 20,
            edges: Vec::new(),
            answers_max: 1,
            all_down: AllDown::AsIfHealthy,
        }],
        edges: vec![
            edge(
                "edge-hsinchu",
                "198.51.100.1",
                Some("2001:db8::1"),
                24.80,
                120.97,
            ),
            edge(
                "edge-taichung",
                "198.51.100.2",
                Some("2001:db8::2"),
                24.15,
                120.67,
            ),
            edge("edge-tainan", "198.51.100.3", None, 22.99, 120.21),
        ],
        regions: vec![
            region(
                "TANet Hsinchu",
                &["10.1.0.0/16", "2001:db8:1::/48"],
                24.80,
                120.97,
            ),
            region("TANet Taichung", &["10.2.0.0/16"], 24.15, 120.67),
            region(
                "TANet Tainan",
                &["10.3.0.0/16", "10.1.9.0/24"],
                22.99,
                120.21,
            ),
        ],
        health: HealthPolicy::default(),
        enforced: base::enforcement::Enforced::default(),
    }
}

fn ask(server: &Server, host: &str, kind: Kind, client: &str, length: u8) -> Response {
    let option = subnet(client.parse().expect("an address"), length);
    ask_udp(server.address, &query(&name(host), kind, Some(&option)))
}

/// The scope of the Client Subnet option, which ends the response.
fn scope(response: &Response, client: &str, length: u8) -> u8 {
    let mut option = subnet(client.parse().expect("an address"), length);
    let at = response.bytes.len() - option.len();
    let told = response.bytes[at + 7];
    option[7] = told;
    assert_eq!(response.bytes[at..], option, "the option is echoed");
    told
}

fn address(response: &Response) -> IpAddr {
    let mut addresses = response
        .answer
        .iter()
        .filter(|record| record.1 != Kind::CNAME);
    let (_, kind, _, rdata) = addresses.next().expect("an address");
    match *kind {
        Kind::A => IpAddr::from(<[u8; 4]>::try_from(&rdata[..]).expect("4 bytes")),
        _ => IpAddr::from(<[u8; 16]>::try_from(&rdata[..]).expect("16 bytes")),
    }
}

#[test]
fn clients_are_sent_to_the_nearest_edge_and_the_scope_says_how_far_that_holds() {
    let server = Server::start(Some(taiwan()), |_| {});
    for (client, length, expected, expected_scope) in [
        ("10.2.77.0", 24, "198.51.100.2", 16),
        ("10.3.0.0", 16, "198.51.100.3", 16),
        // Tainan has a piece of Hsinchu's network.
        ("10.1.9.0", 24, "198.51.100.3", 24),
        ("10.1.8.0", 24, "198.51.100.1", 24),
        ("10.1.128.0", 24, "198.51.100.1", 17),
    ] {
        let response = ask(&server, "wWw.cdn.example.", Kind::A, client, length);
        assert_eq!(address(&response).to_string(), expected, "{client}");
        assert_eq!(scope(&response, client, length), expected_scope, "{client}");
        assert!(response.authoritative);
        assert_eq!(response.answer.first().expect("one").2, 20);
    }
    let v6 = ask(
        &server,
        "www.cdn.example.",
        Kind::AAAA,
        "2001:db8:1:2::",
        64,
    );
    assert_eq!(address(&v6).to_string(), "2001:db8::1");
    assert_eq!(scope(&v6, "2001:db8:1:2::", 64), 48);
    // Tainan's own edge has no IPv6: the nearest that has is Taichung's.
    let far = ask(&server, "www.cdn.example.", Kind::AAAA, "10.3.1.0", 24);
    assert_eq!(address(&far).to_string(), "2001:db8::2");
}

#[test]
fn service_bindings_chains_and_other_types() {
    let server = Server::start(Some(taiwan()), |_| {});
    let https = ask(&server, "www.cdn.example.", Kind::HTTPS, "10.2.0.0", 24);
    let (_, _, _, rdata) = https.answer.first().expect("an HTTPS record");
    let expected: &[u8] = b"\0\x01\0\0\x01\0\x0c\x02h2\x08http/1.1\0\x04\0\x04\xc6\x33\x64\x02\0\x06\0\x10\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x02";
    assert_eq!(rdata, expected);
    let chain = ask(&server, "alias.cdn.example.", Kind::A, "10.2.0.0", 24);
    assert_eq!(chain.answer.len(), 2);
    assert_eq!(address(&chain).to_string(), "198.51.100.2");
    assert_eq!(scope(&chain, "10.2.0.0", 24), 16);
    let wild = ask(&server, "x.wild.cdn.example.", Kind::A, "10.3.0.0", 24);
    assert_eq!(address(&wild).to_string(), "198.51.100.3");
    let none = ask(&server, "www.cdn.example.", Kind::TXT, "10.2.0.0", 24);
    assert_eq!(
        (none.rcode, none.answer.len(), none.authority.len()),
        (0, 0, 1)
    );
    assert_eq!(scope(&none, "10.2.0.0", 24), 0);
    let withheld = ask(&server, "www.cdn.example.", Kind::A, "0.0.0.0", 0);
    assert_eq!(
        (withheld.answer.len(), scope(&withheld, "0.0.0.0", 0)),
        (1, 0)
    );
    let outside = ask(&server, "www.other.", Kind::A, "10.2.0.0", 24);
    assert_eq!(outside.rcode, rcode::REFUSED);
}

#[test]
fn preference_drain_and_equal_edges() {
    let mut snapshot = taiwan();
    snapshot.regions[0].prefer = vec![node("edge-tainan")];
    let server = Server::start(Some(snapshot.clone()), |_| {});
    let asked = |server: &Server, client: &str| {
        address(&ask(server, "www.cdn.example.", Kind::A, client, 24)).to_string()
    };
    assert_eq!(
        asked(&server, "10.1.200.0"),
        "198.51.100.3",
        "preferred over nearer"
    );
    snapshot.edges[2].drained = true;
    server.publish(snapshot.clone());
    client::wait_for("a drained edge to leave the answers", || {
        asked(&server, "10.1.200.0") == "198.51.100.1"
    });
    // Two edges at one place share clients by weight, and a client keeps its own.
    snapshot.edges[1].at = snapshot.edges[0].at;
    snapshot.edges[1].weight = 3;
    server.publish(snapshot);
    client::wait_for("clients to be shared", || {
        let many: Vec<String> = (0..200)
            .map(|n| asked(&server, &format!("10.1.{n}.0")))
            .collect();
        let second = many.iter().filter(|a| *a == "198.51.100.2").count();
        (100..190).contains(&second)
    });
    let again = |n| asked(&server, &format!("10.1.{n}.0"));
    for n in 0..50 {
        assert_eq!(again(n), again(n));
    }
    let response = ask(&server, "www.cdn.example.", Kind::A, "10.1.200.0", 24);
    assert_eq!(scope(&response, "10.1.200.0", 24), 24, "shared by /24");
}

#[test]
fn a_bad_snapshot_is_refused_whole_and_the_last_one_stays() {
    let server = Server::start(Some(taiwan()), |_| {});
    let mut bad = taiwan();
    bad.zones[0].text.push_str("broken 60 A 1.2.3\n");
    bad.edges[0].weight = 0;
    bad.edges[1].at.latitude = f64::NAN;
    bad.names[0].edges = vec![node("nobody")];
    bad.regions[1]
        .prefixes
        .push("10.3.0.0/16".parse().expect("a prefix"));
    bad.names.push(DispatchName {
        name: "www.elsewhere.".to_owned(),
        ..bad.names[0].clone()
    });
    let problems = DispatchTable::compile(&bad).expect_err("many problems");
    let text: Vec<String> = problems.iter().map(ToString::to_string).collect();
    for part in [
        "zones[0] cdn.example.: line 6, column 13: \"1.2.3\" is not an IPv4 address",
        "edges[0] edge-hsinchu: weight 0: must be 1 to 1000",
        "edges[1] edge-taichung: place NaN",
        "edge nobody: is not among the edges",
        "prefix 10.3.0.0/16: belongs to two regions",
        "www.elsewhere.: lies in none of the zones",
    ] {
        assert!(
            text.iter().any(|line| line.contains(part)),
            "{part}: {text:#?}"
        );
    }
    let ttl = || {
        ask(&server, "www.cdn.example.", Kind::A, "10.2.0.0", 24)
            .answer
            .first()
            .expect("one")
            .2
    };
    assert_eq!(ttl(), 20, "the first snapshot is there");
    server.publish(bad);
    let mut good = taiwan();
    good.names[0].ttl_s = 33;
    for _ in 0..20 {
        assert_eq!(ttl(), 20);
    }
    server.publish(good);
    client::wait_for("the next good snapshot", || ttl() == 33);
}

#[tokio::test(flavor = "multi_thread")]
async fn why_explains_and_refuses_nonsense() {
    let server = tokio::task::spawn_blocking(|| Server::start(Some(taiwan()), |_| {}))
        .await
        .expect("a server");
    let address = server.address;
    tokio::task::spawn_blocking(move || {
        ask_udp(address, &query(&name("ns.cdn.example."), Kind::A, None))
    })
    .await
    .expect("an answer");
    let get = |path: &'static str| {
        let router = server.router.clone();
        async move {
            let request = Request::get(path).body(Body::empty()).expect("a request");
            let response = router.oneshot(request).await.expect("a response");
            let status = response.status();
            let body = axum::body::to_bytes(response.into_body(), 1 << 20)
                .await
                .expect("a body");
            (
                status,
                serde_json::from_slice::<serde_json::Value>(&body).expect("JSON"),
            )
        }
    };
    let (status, why) = get("/why?name=alias.cdn.example&client=10.1.9.7").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(why["zone"], "cdn.example.");
    assert_eq!(
        why["chain"][0],
        "alias.cdn.example. CNAME 120 www.cdn.example."
    );
    let policy = &why["policy"];
    assert_eq!(policy["region"], "TANet Tainan");
    assert_eq!(policy["prefix"], "10.1.9.0/24");
    assert_eq!(policy["edges"][0]["node"], "edge-tainan");
    assert_eq!(policy["edges"][0]["chosen"], 1);
    assert_eq!(policy["edges"][0]["distance_km"], 0.0);
    assert!(
        policy["edges"][1]["distance_km"]
            .as_f64()
            .expect("a number")
            > 100.0
    );
    assert_eq!(why["answers"][0], "A 20 198.51.100.3");
    let (status, health) = get("/health").await;
    assert_eq!(
        (status, health.as_array().map(Vec::len)),
        (StatusCode::OK, Some(3))
    );
    for bad in [
        "/why",
        "/why?name=a..b&client=10.1.9.7",
        "/why?name=a&client=x",
    ] {
        let (status, body) = get(bad).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{bad}");
        assert!(body["error"].is_string());
    }
    tokio::task::spawn_blocking(move || drop(server))
        .await
        .expect("to stop");
}
