use super::*;

fn every_value() -> Pdu {
    let oid = |n| Oid::new(&[1, 3, 6, 1, 2, 1, n]);
    let values = [
        Value::Integer(-5),
        Value::Octets(b"Ethernet1".to_vec()),
        Value::Null,
        Value::Oid(oid(99)),
        Value::Address([192, 0, 2, 1]),
        Value::Counter32(u32::MAX),
        Value::Gauge32(100_000),
        Value::Ticks(1),
        Value::Opaque(vec![1, 2]),
        Value::Counter64(u64::MAX),
        Value::NoSuchObject,
        Value::NoSuchInstance,
        Value::EndOfView,
    ];
    Pdu {
        kind: Kind::Response,
        request_id: 77,
        error_status: 0,
        error_index: 0,
        variables: (0..).map(oid).zip(values).collect(),
    }
}

fn secured(flags: u8) -> Secured {
    Secured {
        id: 9,
        flags,
        engine: vec![0x80, 0, 0x1f, 0x88, 4],
        boots: 3,
        time: 1_000_000,
        user: b"civicnet".to_vec(),
        code: vec![0xaa; 24],
        salt: vec![0; 8],
        data: Scoped {
            engine: vec![0x80, 0, 0x1f, 0x88, 4],
            context: Vec::new(),
            pdu: every_value(),
        }
        .encode(),
    }
}

#[test]
fn every_kind_of_value_comes_back() {
    let message = Community {
        community: b"public".to_vec(),
        pdu: every_value(),
    };
    assert_eq!(Community::decode(&message.encode()), Ok(message));
}

#[test]
fn version_3_comes_back_and_its_code_lies_where_it_is_said() {
    for flags in [0, AUTH, AUTH | PRIV | REPORTABLE] {
        let message = secured(flags);
        let (bytes, place) = message.encode();
        assert_eq!(bytes[place.clone()], message.code);
        assert_eq!(Secured::decode(&bytes), Ok((message, place)));
    }
    let scoped = Scoped::decode(&secured(0).data).expect("reads");
    assert_eq!(scoped.pdu, every_value());
}

/// A `GetRequest` for sysUpTime.0 as net-snmp 5.9 writes it.
#[test]
fn bytes_are_those_of_the_standard() {
    let message = Community {
        community: b"public".to_vec(),
        pdu: Pdu {
            kind: Kind::Get,
            request_id: 0x2bf6_7b5f,
            error_status: 0,
            error_index: 0,
            variables: vec![(Oid::new(&[1, 3, 6, 1, 2, 1, 1, 3, 0]), Value::Null)],
        },
    };
    assert_eq!(
        hex::encode(message.encode()),
        "302902010104067075626c6963a01c02042bf67b5f020100020100300e300c06082b060102010103000500"
    );
}

/// Cut short, changed in every byte, extended: an error or another message, never a panic.
#[test]
fn mutations_are_errors_or_messages() {
    let community = Community {
        community: b"public".to_vec(),
        pdu: every_value(),
    };
    let samples = [
        community.encode(),
        secured(0).encode().0,
        secured(AUTH | PRIV).encode().0,
        secured(0).data,
    ];
    let read = |bytes: &[u8]| {
        let one = Community::decode(bytes).is_ok();
        let two = Secured::decode(bytes).is_ok();
        let three = Scoped::decode(bytes).is_ok();
        one || two || three
    };
    let mut refused = 0;
    for sample in &samples {
        assert!(read(sample));
        for cut in 0..sample.len() {
            assert!(!read(&sample[..cut]), "{cut} bytes are no message");
        }
        for at in 0..sample.len() {
            for change in [0x00, 0x01, 0x7f, 0x80, 0x84, 0xff] {
                let mut wrong = sample.clone();
                wrong[at] = change;
                refused += usize::from(!read(&wrong));
            }
        }
    }
    assert!(refused > 500, "{refused}");
}
