//! Service binding records SVCB and HTTPS (RFC 9460 sections 2.1 and 14.3).

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::Wrong;
use super::rdata::{Fields, base64, unescape_all};
use crate::name::wire_length;

const KEYS: [&str; 9] = [
    "mandatory",
    "alpn",
    "no-default-alpn",
    "port",
    "ipv4hint",
    "ech",
    "ipv6hint",
    "dohpath",
    "ohttp",
];

/// Reads `PRIORITY TARGET key=value…`.
pub(super) fn parse(f: &mut Fields<'_, '_>, out: &mut Vec<u8>) -> Result<(), Wrong> {
    let priority: u16 = f.parse("a priority of 0 to 65535")?;
    out.extend(priority.to_be_bytes());
    f.name(out)?;
    let mut params: BTreeMap<u16, Vec<u8>> = BTreeMap::new();
    while f.more() {
        let token = f.next("a parameter")?;
        let split = token.text.iter().position(|byte| *byte == b'=');
        let (name, value) = match split {
            Some(at) => (&token.text[..at], Some(unquote(&token.text[at + 1..]))),
            None => (token.text, None),
        };
        let key = key_number(name)
            .ok_or_else(|| f.wrong(format!("{:?} is not a service parameter", token.lossy())))?;
        let value = value.unwrap_or_default();
        let wire = parse_value(key, value)
            .map_err(|rule| f.wrong(format!("service parameter {:?}: {rule}", token.lossy())))?;
        if params.insert(key, wire).is_some() {
            return Err(f.wrong(format!(
                "service parameter {:?}: is there twice",
                token.lossy()
            )));
        }
    }
    check_mandatory(&params).map_err(|rule| f.wrong(rule))?;
    for (key, value) in params {
        out.extend(key.to_be_bytes());
        let length = u16::try_from(value.len())
            .map_err(|_| f.wrong("a service parameter must be at most 65535 bytes".to_owned()))?;
        out.extend(length.to_be_bytes());
        out.extend(value);
    }
    Ok(())
}

fn unquote(value: &[u8]) -> &[u8] {
    value
        .strip_prefix(b"\"")
        .and_then(|inner| inner.strip_suffix(b"\""))
        .unwrap_or(value)
}

fn key_number(name: &[u8]) -> Option<u16> {
    let name = std::str::from_utf8(name).ok()?;
    if let Some(number) = KEYS.iter().position(|key| *key == name) {
        return Some(number as u16);
    }
    let digits = name.strip_prefix("key")?;
    let plain = !digits.is_empty()
        && digits.bytes().all(|b| b.is_ascii_digit())
        && (digits == "0" || !digits.starts_with('0'));
    plain
        .then(|| digits.parse().ok())
        .flatten()
        .filter(|number| *number != 65_535)
}

fn parse_value(key: u16, value: &[u8]) -> Result<Vec<u8>, String> {
    let text = || std::str::from_utf8(value).map_err(|_| "must be text".to_owned());
    match key {
        0 => {
            let mut keys = Vec::new();
            for name in text()?.split(',') {
                let number = key_number(name.as_bytes())
                    .ok_or_else(|| format!("{name:?} is not a service parameter"))?;
                if number == 0 || keys.contains(&number) {
                    return Err("must list other parameters, each once".to_owned());
                }
                keys.push(number);
            }
            keys.sort_unstable();
            Ok(keys.into_iter().flat_map(u16::to_be_bytes).collect())
        }
        1 => alpn(value),
        2 | 8 => match value {
            [] => Ok(Vec::new()),
            _ => Err("must have no value".to_owned()),
        },
        3 => {
            let port: u16 = text()?.parse().map_err(|_| "must be a port".to_owned())?;
            Ok(port.to_be_bytes().to_vec())
        }
        4 => list(text()?, |address| {
            address
                .parse::<Ipv4Addr>()
                .ok()
                .map(|a| a.octets().to_vec())
        })
        .ok_or_else(|| "must be IPv4 addresses".to_owned()),
        6 => list(text()?, |address| {
            address
                .parse::<Ipv6Addr>()
                .ok()
                .map(|a| a.octets().to_vec())
        })
        .ok_or_else(|| "must be IPv6 addresses".to_owned()),
        5 => base64(value)
            .filter(|bytes| !bytes.is_empty())
            .ok_or_else(|| "must be base64".to_owned()),
        7 => unescape_all(value)
            .filter(|path| is_dns_template(path))
            .ok_or_else(|| "must be a relative URI template with the variable \"dns\"".to_owned()),
        _ => unescape_all(value).ok_or_else(|| "has a bad escape".to_owned()),
    }
}

/// RFC 9461 section 5: a URI template (RFC 6570) in relative form with a variable `dns`.
fn is_dns_template(path: &[u8]) -> bool {
    let Ok(path) = std::str::from_utf8(path) else {
        return false;
    };
    let expressions = path.split('{').skip(1).map(|rest| rest.split_once('}'));
    path.starts_with('/')
        && expressions.clone().all(|expression| expression.is_some())
        && expressions.flatten().any(|(expression, _)| {
            expression
                .trim_start_matches(['?', '&', '/', ';', '+', '#', '.'])
                .split(',')
                .any(|variable| variable == "dns")
        })
}

fn list(text: &str, parse: impl Fn(&str) -> Option<Vec<u8>>) -> Option<Vec<u8>> {
    let parts: Option<Vec<Vec<u8>>> = text.split(',').map(parse).collect();
    parts.map(|parts| parts.concat())
}

/// RFC 9460 appendix A.1: a comma-separated list inside a character string, so that
/// a comma of a value is written `\\,` and a backslash `\\\\`.
fn alpn(value: &[u8]) -> Result<Vec<u8>, String> {
    let bytes = unescape_all(value).ok_or_else(|| "has a bad escape".to_owned())?;
    let mut ids = vec![Vec::new()];
    let mut rest = bytes.iter();
    while let Some(byte) = rest.next() {
        let last = ids.len() - 1;
        match byte {
            b'\\' => ids[last].push(*rest.next().ok_or("ends in a backslash")?),
            b',' => ids.push(Vec::new()),
            _ => ids[last].push(*byte),
        }
    }
    let mut out = Vec::new();
    for id in ids {
        let length = u8::try_from(id.len()).ok().filter(|length| *length > 0);
        out.push(length.ok_or("must list protocol names of 1 to 255 bytes")?);
        out.extend(id);
    }
    Ok(out)
}

/// RFC 9460 sections 7.1.1 and 8.
fn check_mandatory(params: &BTreeMap<u16, Vec<u8>>) -> Result<(), String> {
    if params.contains_key(&2) && !params.contains_key(&1) {
        return Err("no-default-alpn: must come with alpn".to_owned());
    }
    for key in params
        .get(&0)
        .map(Vec::as_slice)
        .unwrap_or_default()
        .chunks(2)
    {
        let number = u16::from_be_bytes([key[0], key[1]]);
        if !params.contains_key(&number) {
            return Err(format!("mandatory: key{number} must be there too"));
        }
    }
    Ok(())
}

/// Whether wire RDATA has a target and parameters in strictly rising order.
pub(super) fn is_well_formed(rdata: &[u8]) -> bool {
    let Some(target) = rdata.get(2..).and_then(wire_length) else {
        return false;
    };
    let mut rest = &rdata[2 + target..];
    let mut last: Option<u16> = None;
    while let Some((&[k0, k1, l0, l1], tail)) = rest.split_first_chunk::<4>() {
        let key = u16::from_be_bytes([k0, k1]);
        let length = usize::from(u16::from_be_bytes([l0, l1]));
        if last.is_some_and(|last| last >= key) || tail.len() < length {
            return false;
        }
        last = Some(key);
        rest = &tail[length..];
    }
    rest.is_empty()
}

#[cfg(test)]
mod tests {
    use crate::name::Name;

    fn rdata(text: &str) -> Result<Vec<u8>, String> {
        let origin: Name = "example.".parse().expect("a name");
        crate::master::parse(&origin, format!("a 60 HTTPS {text}").as_bytes())
            .map(|records| records[0].rdata.to_vec())
            .map_err(|problems| problems[0].to_string())
    }

    /// Vectors of RFC 9460 appendix D.
    #[test]
    fn the_vectors_of_rfc_9460() {
        let cases: &[(&str, &[u8])] = &[
            ("0 foo.example.com.", b"\0\0\x03foo\x07example\x03com\0"),
            ("1 .", b"\0\x01\0"),
            ("16 foo.example.com. port=53", b"\0\x10\x03foo\x07example\x03com\0\0\x03\0\x02\0\x35"),
            ("1 foo.example.com. key667=hello", b"\0\x01\x03foo\x07example\x03com\0\x02\x9b\0\x05hello"),
            (
                "1 foo.example.com. key667=\"hello\\210qoo\"",
                b"\0\x01\x03foo\x07example\x03com\0\x02\x9b\0\x09hello\xd2qoo",
            ),
            (
                "16 foo.example.org. ( alpn=h2,h3-19 mandatory=ipv4hint,alpn ipv4hint=192.0.2.1 )",
                b"\0\x10\x03foo\x07example\x03org\0\0\0\0\x04\0\x01\0\x04\0\x01\0\x09\x02h2\x05h3-19\0\x04\0\x04\xc0\0\x02\x01",
            ),
            (
                "16 foo.example.org. alpn=f\\\\\\092oo\\\\,bar,h2",
                b"\0\x10\x03foo\x07example\x03org\0\0\x01\0\x0c\x08f\\oo,bar\x02h2",
            ),
        ];
        for (text, wire) in cases {
            assert_eq!(rdata(text).as_deref(), Ok(*wire), "{text}");
        }
    }

    #[test]
    fn resolvers_are_described() {
        let wire = b"\0\x01\0\0\x07\0\x08/q{?dns}\0\x08\0\0".as_slice();
        assert_eq!(rdata("1 . dohpath=/q{?dns} ohttp").as_deref(), Ok(wire));
        for bad in [
            "dohpath",
            "dohpath=/q",
            "dohpath=q{?dns}",
            "dohpath=/q{?dns",
            "dohpath=/q{?dn}",
            "ohttp=1",
        ] {
            assert!(rdata(&format!("1 . {bad}")).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_failure_cases_of_rfc_9460() {
        for text in [
            "1 foo.example.com. key123=abc key123=def",
            "1 foo.example.com. mandatory",
            "1 foo.example.com. alpn",
            "1 foo.example.com. port",
            "1 foo.example.com. ipv4hint",
            "1 foo.example.com. no-default-alpn=abc alpn=h2",
            "1 foo.example.com. mandatory=key123",
            "1 foo.example.com. mandatory=mandatory",
            "1 foo.example.com. mandatory=key123,key123 key123=abc",
            "1 foo.example.com. no-default-alpn",
        ] {
            assert!(rdata(text).is_err(), "{text}");
        }
    }
}
