//! The same questions to us, Knot DNS and NSD, over a zone full of corners. Whatever
//! differs must be on the list below, with its reason.

use std::collections::BTreeSet;

use dns::{Kind, Name};

use crate::client::{self, Record, Response, Server, ask, query};
use crate::peers::{self, Peer};

const ZONE: &str = include_str!("../data/nasty.zone");
const RARE: &str = include_str!("../data/rare.zone");

const KINDS: [Kind; 16] = [
    Kind::A,
    Kind::AAAA,
    Kind::NS,
    Kind::SOA,
    Kind::CNAME,
    Kind::DNAME,
    Kind::MX,
    Kind::TXT,
    Kind::SRV,
    Kind::DS,
    Kind::HTTPS,
    Kind::SVCB,
    Kind::PTR,
    Kind::CAA,
    Kind::ANY,
    Kind(65_280),
];

/// Every name with every type of the list, and every record of the zone.
fn questions(zone: &str) -> BTreeSet<(Name, Kind)> {
    let records = dns::master::parse(&client::name("example."), zone.as_bytes());
    let own = records.expect("the zone").into_iter();
    names()
        .into_iter()
        .flat_map(|name| KINDS.map(|kind| (name.clone(), kind)))
        .chain(own.map(|record| (record.owner, record.kind)))
        .collect()
}

/// All owners and targets, their ancestors, and names beside and below them.
fn names() -> Vec<Name> {
    let origin = client::name("example.");
    let records = dns::master::parse(&origin, ZONE.as_bytes()).expect("the zone");
    let mut names = BTreeSet::new();
    for record in &records {
        let mut at = Some(record.owner.lowercase());
        while let Some(name) = at {
            at = name.parent();
            names.insert(name);
        }
    }
    for name in names.clone() {
        for prefix in ["x", "*", "a.b", "x.*", "www"] {
            let text = format!("{prefix}.{name}");
            let below = if name == Name::root() {
                format!("{prefix}.").parse()
            } else {
                text.parse()
            };
            names.extend(below);
        }
    }
    names.extend(
        [
            "EXAMPLE.",
            "WwW.eXample.",
            "other.",
            "examplee.",
            "a.examplee.",
        ]
        .map(client::name),
    );
    names.into_iter().collect()
}

#[test]
fn answers_are_those_of_knot() {
    compare(ZONE, peers::knot(ZONE), knot_may);
}

#[test]
fn answers_are_those_of_nsd() {
    let zone = format!("{ZONE}{RARE}");
    compare(&zone, peers::nsd(&zone), nsd_may);
}

/// Whether a difference is allowed: the question, ours, theirs.
type May = fn(&Name, Kind, &Response, &Response) -> bool;

fn compare(zone: &str, peer: Peer, may: May) {
    let ours = Server::start(Some(client::zones(&[("example.", zone)])), |_| {});
    let mut asked = 0;
    let mut differences = Vec::new();
    for (name, kind) in questions(zone) {
        let packet = query(&name, kind, Some(&[]));
        let (a, b) = (ask(ours.address, &packet), ask(peer.address, &packet));
        asked += 1;
        if !same(&a, &b) && !may(&name, kind, &a, &b) {
            differences.push(format!(
                "{name} {kind}\n  ours   {}\n  theirs {}",
                show(&a),
                show(&b)
            ));
        }
    }
    assert!(asked > 3_000, "only {asked} questions");
    assert!(
        differences.is_empty(),
        "{} of {asked} answers differ:\n{}",
        differences.len(),
        differences[..differences.len().min(40)].join("\n")
    );
}

fn same(a: &Response, b: &Response) -> bool {
    (
        a.rcode,
        a.authoritative,
        &a.answer,
        &a.authority,
        &a.additional,
    ) == (
        b.rcode,
        b.authoritative,
        &b.answer,
        &b.authority,
        &b.additional,
    )
}

fn show(r: &Response) -> String {
    let set = |set: &BTreeSet<Record>| {
        let list: Vec<String> = set
            .iter()
            .map(|(owner, kind, ttl, rdata)| {
                format!("{owner} {ttl} {kind} {}", rdata.escape_ascii())
            })
            .collect();
        format!("[{}]", list.join(" | "))
    };
    format!(
        "rcode {} aa {} an {} au {} ad {}",
        r.rcode,
        r.authoritative,
        set(&r.answer),
        set(&r.authority),
        set(&r.additional)
    )
}

fn knot_may(_: &Name, kind: Kind, ours: &Response, theirs: &Response) -> bool {
    // RFC 8482 lets a server choose which set it shows, and what goes with it.
    let any = kind == Kind::ANY && !ours.answer.is_empty() && !theirs.answer.is_empty();
    // RFC 9460 section 4.1 wants the addresses of the target, which for "." in
    // ServiceMode is the owner (section 2.5.2); Knot looks at written targets only.
    let own_addresses = matches!(kind, Kind::HTTPS | Kind::SVCB)
        && theirs.additional.is_empty()
        && same(
            &Response {
                additional: theirs.additional.clone(),
                ..ours.clone()
            },
            theirs,
        );
    any || own_addresses
}

fn nsd_may(_: &Name, kind: Kind, ours: &Response, theirs: &Response) -> bool {
    let but_additional = Response {
        additional: theirs.additional.clone(),
        bytes: theirs.bytes.clone(),
        ..ours.clone()
    };
    // RFC 8482 lets a server choose which set it shows.
    let other_set = kind == Kind::ANY && !ours.answer.is_empty() && !theirs.answer.is_empty();
    // With minimal-responses NSD adds addresses to referrals only, where it must.
    let fewer = theirs.additional.is_empty() && same(&but_additional, theirs);
    other_set || fewer
}
