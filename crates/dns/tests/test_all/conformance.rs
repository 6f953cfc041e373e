//! Recorded questions and answers, one file for each RFC: `zone … end`, then `query
//! NAME TYPE` with the code, `aa`, and the records expected. Each is asked twice, of
//! the ready answers and of the engine behind them, and must come out alike.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use dns::cookie::CookieSecret;
use dns::master;
use dns::message::HEADER_BYTES;
use dns::{Asked, DispatchTable, Kind, Name, Served, Zone, read, respond};

type Record = (String, Kind, u32, Vec<u8>);

#[derive(Debug, Default, PartialEq, Eq)]
struct Expected {
    rcode: u16,
    aa: bool,
    sections: [BTreeSet<Record>; 3],
}

#[test]
fn rfc_1034() {
    check(include_str!("../conformance/rfc1034.txt"));
}

#[test]
fn rfc_4592() {
    check(include_str!("../conformance/rfc4592.txt"));
}

#[test]
fn rfc_6672() {
    check(include_str!("../conformance/rfc6672.txt"));
}

#[test]
fn additional_data() {
    check(include_str!("../conformance/additional.txt"));
}

fn check(file: &str) {
    let mut zones = Vec::new();
    let mut steps: Vec<(Name, Kind, Expected)> = Vec::new();
    let mut lines = file.lines();
    while let Some(line) = lines.next() {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "zone" => {
                let text: Vec<&str> = lines.by_ref().take_while(|line| *line != "end").collect();
                let text = text.join("\n");
                zones.push(Zone::load_alone(text.as_bytes()).expect("a zone"));
            }
            "query" => {
                let (name, kind) = rest.split_once(' ').expect("a name and a type");
                let name = name.parse().expect("a name");
                steps.push((
                    name,
                    Kind::parse(kind).expect("a type"),
                    Expected::default(),
                ));
            }
            "" | "#" => {}
            word => expect(&mut steps.last_mut().expect("a query first").2, word, rest),
        }
    }
    assert!(!steps.is_empty());
    let served = Served::new(
        Arc::new(DispatchTable::of_zones(zones).expect("zones")),
        Vec::new(),
    );
    for (name, kind, expected) in steps {
        assert_eq!(ask(&served, &name, kind, false), expected, "{name} {kind}");
        // A name in capitals is the same question.
        assert_eq!(
            ask(&served, &name, kind, true),
            expected,
            "{name} {kind}, upper case"
        );
    }
}

fn expect(expected: &mut Expected, word: &str, rest: &str) {
    let section = match word {
        "answer" => 0,
        "authority" => 1,
        "additional" => 2,
        code => {
            expected.rcode = match code {
                "noerror" => 0,
                "nxdomain" => 3,
                "refused" => 5,
                "yxdomain" => 6,
                other => panic!("{other:?} is not known"),
            };
            expected.aa = rest == "aa";
            return;
        }
    };
    let records = master::parse(&Name::root(), rest.as_bytes()).expect("a record");
    let record = &records[0];
    expected.sections[section].insert((
        record.owner.lowercase().to_string(),
        record.kind,
        record.ttl,
        lower(record),
    ));
}

/// The RDATA of an expected record, its names in lower case as in `read`.
fn lower(record: &master::Record) -> Vec<u8> {
    let rdata = record.rdata.to_vec();
    match record.kind {
        Kind::TXT | Kind::A | Kind::DS => rdata,
        Kind::SOA => {
            let (names, numbers) = rdata.split_at(rdata.len() - 20);
            [names.to_ascii_lowercase(), numbers.to_vec()].concat()
        }
        _ => rdata.to_ascii_lowercase(),
    }
}

fn ask(served: &Served, name: &Name, kind: Kind, upper: bool) -> Expected {
    let mut packet = vec![0, 7, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    let wire = if upper {
        name.as_wire().to_ascii_uppercase()
    } else {
        name.as_wire().to_vec()
    };
    packet.extend(&wire);
    packet.extend(kind.0.to_be_bytes());
    packet.extend([0, 1]);
    let asked = Asked {
        packet: &packet,
        source: IpAddr::from([192, 0, 2, 200]),
        tcp: true,
        now_s: 0,
    };
    let mut out = vec![0; dns::respond::RESPONSE_BYTES_MAX];
    let reply = respond(served, &CookieSecret::new([0; 16]), asked, &mut out).expect("an answer");
    let message = &out[..reply.length];
    assert_eq!(
        message[HEADER_BYTES..HEADER_BYTES + wire.len()],
        wire,
        "the case is kept"
    );
    let mut at = reply.question_end;
    let sections = [6, 8, 10].map(|count| {
        let count = u16::from_be_bytes([message[count], message[count + 1]]);
        let records = read::records(message, at, usize::from(count)).expect("records");
        at = records.last().map_or(at, |record| record.end);
        records
            .iter()
            .map(|record| {
                let rdata = read::rdata_plain(message, record).expect("RDATA");
                (
                    record.owner.lowercase().to_string(),
                    record.kind,
                    record.ttl,
                    rdata,
                )
            })
            .collect()
    });
    assert_eq!(at, message.len());
    Expected {
        rcode: reply.rcode,
        aa: message[2] & 4 != 0,
        sections,
    }
}
