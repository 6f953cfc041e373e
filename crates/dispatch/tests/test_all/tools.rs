//! Debian's `dig` against the server: what it prints is what operators see.

use std::net::SocketAddr;
use std::process::Command;

use dns::Kind;
use dns::kind::rcode;

use crate::client::{Server, ask_udp, name, query, zones};

fn dig(server: SocketAddr, arguments: &[&str]) -> String {
    let output = Command::new("dig")
        .arg(format!("@{}", server.ip()))
        .args(["-p", &server.port().to_string(), "+norecurse", "+tries=2"])
        .args(arguments)
        .output()
        .expect("install Debian's package dnsutils: dig is missing");
    String::from_utf8(output.stdout).expect("text")
}

fn server() -> Server {
    let zone = include_str!("../data/nasty.zone");
    Server::start(Some(zones(&[("example.", zone)])), |_| {})
}

#[test]
fn dig_sees_answers_cookies_subnets_and_truncation() {
    let server = server();
    let plain = dig(server.address, &["WWW.example", "A"]);
    assert!(
        plain.contains("status: NOERROR") && plain.contains("flags: qr aa;"),
        "{plain}"
    );
    assert!(
        plain.contains("WWW.example.\t\t60\tIN\tA\t192.0.2.2"),
        "{plain}"
    );
    assert!(plain.contains("(good)"), "the cookie returns: {plain}");
    let subnet = dig(
        server.address,
        &["www.example", "A", "+subnet=192.0.2.0/24"],
    );
    assert!(
        subnet.contains("; CLIENT-SUBNET: 192.0.2.0/24/0"),
        "{subnet}"
    );
    let cut = dig(server.address, &["many.example", "A", "+noedns", "+ignore"]);
    assert!(
        cut.contains("flags: qr aa tc;") && cut.contains("ANSWER: 0"),
        "{cut}"
    );
    let whole = dig(server.address, &["many.example", "A", "+noedns", "+short"]);
    assert_eq!(
        whole
            .lines()
            .filter(|line| line.starts_with("198."))
            .count(),
        60,
        "{whole}"
    );
    let tcp = dig(server.address, &["svc.example", "SVCB", "+tcp"]);
    assert!(tcp.contains("0 www.example."), "{tcp}");
}

#[test]
fn dig_sees_every_kind_of_refusal() {
    let server = server();
    for (arguments, status) in [
        (
            &["www.example", "A", "+edns=1", "+noednsnegotiation"][..],
            "BADVERS",
        ),
        (&["version.bind", "TXT", "CH"], "REFUSED"),
        (&["other.test", "A"], "REFUSED"),
        (&["example", "AXFR"], "Transfer failed"),
        (&["www.example", "A", "+opcode=notify"], "NOTIMP"),
        (&["www.example", "A", "+opcode=update"], "NOTIMP"),
        (
            &["www.example", "A", "+header-only", "+nocookie"],
            "FORMERR",
        ),
        // A question for a cookie alone (RFC 7873 section 5.4).
        (&["www.example", "A", "+header-only", "+cookie"], "(good)"),
        (&["nothing.example", "A"], "NXDOMAIN"),
        (&["www.dnlong.example", "A"], "NXDOMAIN"),
        (&["example", "MAILA"], "NOTIMP"),
    ] {
        let output = dig(server.address, arguments);
        assert!(output.contains(status), "{arguments:?}: {output}");
    }
    // dig prints nothing of a refused IXFR.
    let ixfr = ask_udp(server.address, &query(&name("example."), Kind::IXFR, None));
    assert_eq!(ixfr.rcode, rcode::REFUSED);
    let long = format!("{}.{}.dnlong.example", "x".repeat(60), "y".repeat(60));
    let output = dig(server.address, &[&long, "A"]);
    assert!(output.contains("status: YXDOMAIN"), "{output}");
}
