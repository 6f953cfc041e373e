//! Other formats brought to STIX 2.1: STIX 2.0 bundles, STIX 1.x and OpenIOC (XML), MISP
//! events (JSON) and CSV lists of observables. Pure: text in, objects of STIX 2.1 as text out; what cannot be
//! brought over is said, line by line or path by path.
//!
//! Ids are made from what the thing says (UUIDv5), so that what is imported again is a
//! newer version of the same indicator, and two sources that name the same address make
//! one indicator.

pub mod expression;
mod galaxy;
pub mod misp;
pub mod openioc;
pub mod stix1;
pub mod xml;

use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::stix::{self, Tlp, time};

pub use misp::misp;
pub use openioc::openioc;
pub use stix1::stix1;

/// Rows or attributes of one import.
pub const ITEMS_MAX: usize = 200_000;
/// Bytes of one import.
pub const BYTES_MAX: usize = 64 << 20;
/// Name space of the ids that are made here.
const SPACE: Uuid = Uuid::from_u128(0x6f1d_2c5e_9d0b_5b52_8a52_33a1_5c1c_0e01);

/// What an import gave.
#[derive(Debug, Default)]
pub struct Imported {
    /// Objects of STIX 2.1.
    pub objects: Vec<Value>,
    /// What was left out, and why.
    pub left_out: Vec<String>,
}

/// Why nothing was imported.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {rule}")]
pub struct ImportError {
    /// Where.
    pub place: String,
    /// What must hold.
    pub rule: String,
}

fn wrong(place: &str, rule: impl Into<String>) -> ImportError {
    ImportError {
        place: place.to_owned(),
        rule: rule.into(),
    }
}

/// What is said about every observable of an import.
#[derive(Debug, Clone)]
pub struct About {
    /// When it is imported, in microseconds; stands where a source says no time.
    pub now: i64,
    /// Its marking.
    pub tlp: Tlp,
    /// How sure the source is, 0 to 100.
    pub confidence: u8,
    /// Days until an indicator ends; `None`: never.
    pub days: Option<u32>,
}

impl About {
    fn until(&self, from: i64) -> Option<i64> {
        self.days
            .map(|days| from + i64::from(days) * 86_400_000_000)
    }
}

/// What lists write so that nobody follows it by accident (`hxxp://evil[.]example`), as it is
/// meant. Behind the host of a URL nothing is changed: brackets may belong there.
fn refanged(text: &str) -> String {
    const BETWEEN: [&str; 4] = ["[://]", "[:]//", "(:)//", "://"];
    const MEANT: [(&str, &str); 13] = [
        ("[.]", "."),
        ("(.)", "."),
        ("{.}", "."),
        ("[dot]", "."),
        ("(dot)", "."),
        ("{dot}", "."),
        ("[DOT]", "."),
        ("(DOT)", "."),
        ("[:]", ":"),
        ("[@]", "@"),
        ("(@)", "@"),
        ("[at]", "@"),
        ("(at)", "@"),
    ];
    let found = BETWEEN
        .iter()
        .filter_map(|between| Some((text.find(between)?, between.len())))
        .min_by_key(|(at, _)| *at)
        .filter(|(at, _)| text[..*at].bytes().all(|byte| byte.is_ascii_alphanumeric()));
    let (scheme, rest) = match found {
        Some((at, long)) => (Some(&text[..at]), &text[at + long..]),
        None => (None, text),
    };
    let host = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (host, tail) = rest.split_at(host);
    let mut out = match scheme.map(|scheme| (scheme, scheme.to_ascii_lowercase())) {
        None => String::new(),
        Some((scheme, lower)) => match lower.as_str() {
            "hxxp" | "hxxps" => format!("{}://", lower.replace("xx", "tt")),
            "fxp" | "fxps" => format!("{}://", lower.replace('x', "t")),
            _ => format!("{scheme}://"),
        },
    };
    let mut host = host.to_owned();
    for (written, meant) in MEANT {
        if host.contains(written) {
            host = host.replace(written, meant);
        }
    }
    out.push_str(&host);
    out.push_str(tail);
    out
}

/// The pattern of an observable of `kind` (MISP's names), or why there is none.
fn pattern(kind: &str, value: &str) -> Result<String, String> {
    let meant = match kind {
        "ip" | "ip-src" | "ip-dst" | "ipv4" | "ipv6" | "ipv4-addr" | "ipv6-addr" | "cidr"
        | "domain" | "hostname" | "domain-name" | "fqdn" | "url" | "uri" | "email"
        | "email-src" | "email-dst" | "email-addr" => refanged(value),
        _ => value.to_owned(),
    };
    let value = meant.as_str();
    let escape = |value: &str| value.replace('\\', "\\\\").replace('\'', "\\'");
    let quoted = escape(value);
    let of = |path: &str| Ok(format!("[{path} = '{quoted}']"));
    let address = |text: &str| -> Result<&'static str, String> {
        let host = text.split('/').next().unwrap_or_default();
        match host.parse::<std::net::IpAddr>() {
            Ok(address) if address.is_ipv4() => Ok("ipv4-addr"),
            Ok(_) => Ok("ipv6-addr"),
            Err(_) => Err(format!("{text:?} is no address")),
        }
    };
    let hash_at = |path: &str, name: &str, digits: usize| match value.len() == digits
        && value.bytes().all(|byte| byte.is_ascii_hexdigit())
    {
        true => Ok(format!("[{path} = '{}']", value.to_ascii_lowercase())),
        false => Err(format!(
            "{value:?} is no {name}: it has {digits} hexadecimal digits"
        )),
    };
    let hash = |name: &str, digits| hash_at(&format!("file:hashes.'{name}'"), name, digits);
    let certificate =
        |name: &str, digits| hash_at(&format!("x509-certificate:hashes.'{name}'"), name, digits);
    match kind {
        "ip" | "ip-src" | "ip-dst" | "ipv4" | "ipv6" | "ipv4-addr" | "ipv6-addr" | "cidr" => {
            Ok(format!("[{}:value = '{quoted}']", address(value)?))
        }
        "domain" | "hostname" | "domain-name" | "fqdn" => {
            match value.contains('.') && stix::is_domain(value) {
                true => Ok(format!(
                    "[domain-name:value = '{}']",
                    quoted.trim_end_matches('.').to_ascii_lowercase()
                )),
                false => Err(format!("{value:?} is no domain name")),
            }
        }
        "url" | "uri" => match url::Url::parse(value) {
            Ok(_) => of("url:value"),
            Err(error) => Err(format!("{value:?} is no URL: {error}")),
        },
        "md5" => hash("MD5", 32),
        "sha1" => hash("SHA-1", 40),
        "sha256" => hash("SHA-256", 64),
        "sha512" => hash("SHA-512", 128),
        "sha3-256" => hash("SHA3-256", 64),
        "sha3-512" => hash("SHA3-512", 128),
        "ssdeep" => of("file:hashes.SSDEEP"),
        "tlsh" => of("file:hashes.TLSH"),
        "imphash" => hash_at(
            "file:extensions.'windows-pebinary-ext'.imphash",
            "imphash",
            32,
        ),
        "x509-fingerprint-md5" => certificate("MD5", 32),
        "x509-fingerprint-sha1" => certificate("SHA-1", 40),
        "x509-fingerprint-sha256" => certificate("SHA-256", 64),
        "email" | "email-src" | "email-dst" | "email-addr" => match value.contains('@') {
            true => of("email-addr:value"),
            false => Err(format!("{value:?} is no mail address")),
        },
        "email-src-display-name" | "email-dst-display-name" => of("email-addr:display_name"),
        "email-subject" => of("email-message:subject"),
        "email-message-id" => of("email-message:message_id"),
        "email-attachment" => of("email-message:body_multipart[*].body_raw_ref.name"),
        "user-agent" => {
            of("network-traffic:extensions.'http-request-ext'.request_header.'User-Agent'")
        }
        "AS" | "as" => match value
            .trim_start_matches(['A', 'S', 'a', 's'])
            .parse::<u32>()
        {
            Ok(number) => Ok(format!("[autonomous-system:number = {number}]")),
            Err(_) => Err(format!("{value:?} is no AS number")),
        },
        "mac-address" => {
            let value = value.to_ascii_lowercase().replace('-', ":");
            match stix::is_mac(&value) {
                true => Ok(format!("[mac-addr:value = '{value}']")),
                false => Err(format!("{value:?} is no MAC address")),
            }
        }
        "mutex" => of("mutex:name"),
        "windows-service-name" => of("process:extensions.'windows-service-ext'.service_name"),
        "regkey" => Ok(format!(
            "[windows-registry-key:key = '{}']",
            escape(&stix::with_whole_hive(value))
        )),
        "filename" => of("file:name"),
        other => Err(format!("type {other:?} is not brought over")),
    }
}

/// The comparison in the pattern of an observable of `kind`.
fn comparison(kind: &str, value: &str) -> Result<String, String> {
    let whole = pattern(kind, value)?;
    // It is one observation: what stands between its brackets.
    let inner = whole
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    Ok(inner.unwrap_or(&whole).to_owned())
}

/// A comparison by part of the value: `contains`, `starts-with` or `ends-with`.
fn like(path: &str, condition: &str, value: &str) -> String {
    let quoted = value
        .replace('\\', "\\\\")
        .replace('\'', "\\'")
        .replace(['%', '_'], "_");
    let (before, after) = match condition {
        "starts-with" => ("", "%"),
        "ends-with" => ("%", ""),
        _ => ("%", "%"),
    };
    format!("{path} LIKE '{before}{quoted}{after}'")
}

/// A moment as other formats write it: with a zone, or in UTC without one.
fn about_time(text: &str) -> Option<i64> {
    let text = text.trim();
    let at: Option<jiff::Timestamp> = text.parse().ok().or_else(|| {
        let civil: jiff::civil::DateTime = text.parse().ok()?;
        Some(civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
    });
    // Years that STIX can write and people mean.
    at.map(jiff::Timestamp::as_microsecond)
        .filter(|micros| (0..253_402_300_799_000_000).contains(micros))
        .map(|micros| micros - micros.rem_euclid(1_000))
}

/// The UUIDv5 (RFC 9562) of `name` in [`SPACE`].
pub(crate) fn named(name: &str) -> Uuid {
    let mut hash = ring::digest::Context::new(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY);
    hash.update(SPACE.as_bytes());
    hash.update(name.as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.finish().as_ref()[..16]);
    uuid::Builder::from_sha1_bytes(bytes).into_uuid()
}

/// An indicator whose id says what it means.
fn indicator(pattern: &str, name: &str, at: i64, about: &About) -> Value {
    let id = named(&format!("{pattern} {}", about.tlp.name()));
    let at = time::format(at - at.rem_euclid(1_000));
    let mut out = json!({
        "type": "indicator",
        "spec_version": "2.1",
        "id": format!("indicator--{id}"),
        "created": at,
        "modified": at,
        "name": name,
        "indicator_types": ["malicious-activity"],
        "pattern": pattern,
        "pattern_type": "stix",
        "valid_from": at,
        "confidence": about.confidence.min(100),
        "object_marking_refs": [about.tlp.marking()],
    });
    let until = time::parse(&at).and_then(|from| about.until(from));
    if let Some(until) = until {
        out["valid_until"] = time::format(until).into();
    }
    out
}

/// The indicator of one observable; `kind` as in a list.
///
/// # Errors
/// The rule that it breaks.
pub fn observable(kind: &str, value: &str, name: &str, about: &About) -> Result<Value, String> {
    let pattern = pattern(kind, value)?;
    Ok(indicator(&pattern, name, about.now, about))
}

/// The text of a file. Lists may be in Big5, too: so Excel writes them in Taiwan.
///
/// # Errors
/// The place of the first byte that is no UTF-8.
pub fn text_of(bytes: Vec<u8>, is_list: bool) -> Result<String, ImportError> {
    let error = match String::from_utf8(bytes) {
        Ok(text) => return Ok(text),
        Err(error) => error,
    };
    let at = error.utf8_error().valid_up_to();
    let big5 = match is_list {
        true => {
            encoding_rs::BIG5.decode_without_bom_handling_and_without_replacement(error.as_bytes())
        }
        false => None,
    };
    match big5 {
        Some(text) => Ok(text.into_owned()),
        None => {
            let rule = if is_list {
                "must be UTF-8 or Big5"
            } else {
                "must be UTF-8"
            };
            Err(wrong(&format!("byte {at}"), rule))
        }
    }
}

/// A list: a line an observable, `type,value[,name]`, quoted as RFC 4180 says. A first
/// line that begins with `type` is a heading; lines that begin with `#` are skipped.
///
/// # Errors
/// When it is too long.
pub fn csv(text: &str, about: &About) -> Result<Imported, ImportError> {
    if text.len() > BYTES_MAX {
        return Err(wrong(
            "list",
            format!("must have at most {BYTES_MAX} bytes"),
        ));
    }
    let mut out = Imported::default();
    for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let number = index + 1;
        if out.objects.len() >= ITEMS_MAX {
            return Err(wrong(
                &format!("line {number}"),
                format!("must not follow {ITEMS_MAX} others"),
            ));
        }
        let line = line.trim_end_matches('\r');
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let Some(fields) = fields(line) else {
            out.left_out
                .push(format!("line {number}: a quote does not end"));
            continue;
        };
        let kind = fields[0].trim().to_ascii_lowercase();
        if index == 0 && kind == "type" {
            continue;
        }
        let Some(value) = fields
            .get(1)
            .map(|value| value.trim())
            .filter(|value| !value.is_empty())
        else {
            out.left_out
                .push(format!("line {number}: must be type,value"));
            continue;
        };
        match pattern(&kind, value) {
            Ok(pattern) => {
                let name = fields
                    .get(2)
                    .map(|name| name.trim())
                    .filter(|name| !name.is_empty());
                out.objects
                    .push(indicator(&pattern, name.unwrap_or(value), about.now, about));
            }
            Err(why) => out.left_out.push(format!("line {number}: {why}")),
        }
    }
    Ok(out)
}

/// The fields of a line; `None` when a quote does not end.
fn fields(line: &str) -> Option<Vec<String>> {
    let mut out = vec![String::new()];
    let mut chars = line.chars().peekable();
    let mut quoted = false;
    while let Some(c) = chars.next() {
        let field = out.last_mut()?;
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                field.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => out.push(String::new()),
            c => field.push(c),
        }
    }
    (!quoted).then_some(out)
}

/// A bundle of STIX 2.0, brought to 2.1 (STIX 2.1 appendix B.1 says what changed).
///
/// # Errors
/// When it is no bundle.
pub fn stix20(text: &str) -> Result<Imported, ImportError> {
    if text.len() > BYTES_MAX {
        return Err(wrong(
            "bundle",
            format!("must have at most {BYTES_MAX} bytes"),
        ));
    }
    let root: Value =
        serde_json::from_str(text).map_err(|error| wrong("bundle", error.to_string()))?;
    let Some(objects) = root["objects"].as_array() else {
        return Err(wrong("bundle", "must have a list objects"));
    };
    if objects.len() > ITEMS_MAX {
        return Err(wrong(
            "objects",
            format!("must have at most {ITEMS_MAX} items"),
        ));
    }
    let mut out = Imported::default();
    for (index, object) in objects.iter().enumerate() {
        match object.as_object() {
            Some(object) => out.objects.push(upgraded(object.clone())),
            None => out
                .left_out
                .push(format!("objects[{index}]: must be an object")),
        }
    }
    Ok(out)
}

fn upgraded(mut object: Map<String, Value>) -> Value {
    if object.contains_key("spec_version") {
        return Value::Object(object);
    }
    object.insert("spec_version".to_owned(), "2.1".into());
    let kind = object
        .get("type")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    // `labels` that were the type's own vocabulary have a property of that name.
    let types = match kind.as_str() {
        "indicator" => Some("indicator_types"),
        "malware" => Some("malware_types"),
        "report" => Some("report_types"),
        "threat-actor" => Some("threat_actor_types"),
        "tool" => Some("tool_types"),
        _ => None,
    };
    if let Some(types) = types
        && let Some(labels) = object.remove("labels")
    {
        object.insert(types.to_owned(), labels);
    }
    match kind.as_str() {
        "indicator" => {
            object
                .entry("pattern_type")
                .or_insert_with(|| "stix".into());
        }
        "malware" => {
            object.entry("is_family").or_insert_with(|| false.into());
        }
        _ => {}
    }
    Value::Object(object)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::prepare;
    use super::*;

    pub(super) fn about() -> About {
        About {
            now: 1_767_225_600_000_000,
            tlp: Tlp::Green,
            confidence: 60,
            days: Some(30),
        }
    }

    pub(super) fn all_good(imported: &Imported) {
        for object in &imported.objects {
            prepare::object(&object.to_string()).expect("good STIX 2.1");
        }
    }

    #[test]
    fn lists_become_indicators_and_bad_lines_are_named() {
        let text = "type,value,name\n# a comment\nip,198.51.100.7,\"中繼站, 一\"\ncidr,2001:db8::/32\ndomain,Evil.Example.\nurl,http://a/'b\n\
                    sha256,xyz\nip,300.1.1.1\ncolour,red\nip\nmd5,d41d8cd98f00b204e9800998ecf8427e\nip,\"1.2.3.4\n";
        let got = csv(text, &about()).expect("a list");
        all_good(&got);
        let patterns: Vec<&str> = got
            .objects
            .iter()
            .filter_map(|object| object["pattern"].as_str())
            .collect();
        assert_eq!(
            patterns,
            [
                "[ipv4-addr:value = '198.51.100.7']",
                "[ipv6-addr:value = '2001:db8::/32']",
                "[domain-name:value = 'evil.example']",
                "[url:value = 'http://a/\\'b']",
                "[file:hashes.'MD5' = 'd41d8cd98f00b204e9800998ecf8427e']",
            ]
        );
        assert_eq!(got.objects[0]["name"], "中繼站, 一");
        assert_eq!(got.objects[0]["valid_until"], "2026-01-31T00:00:00.000Z");
        let lines: Vec<&str> = got
            .left_out
            .iter()
            .filter_map(|line| line.split(':').next())
            .collect();
        assert_eq!(lines, ["line 7", "line 8", "line 9", "line 10", "line 12"]);
        let again = csv(text, &about()).expect("a list");
        assert_eq!(again.objects, got.objects, "the same ids");
    }

    #[test]
    fn defanged_values_are_meant_as_they_were() {
        for (written, meant) in [
            ("evil[.]defanged[.]example", "evil.defanged.example"),
            ("1.2.3[.]4", "1.2.3.4"),
            ("evil(dot)example", "evil.example"),
            (
                "hxxp://evil[.]example/a[.]b?c={.}",
                "http://evil.example/a[.]b?c={.}",
            ),
            ("hXXps[:]//evil{.}example", "https://evil.example"),
            ("fxp[://]evil.example/", "ftp://evil.example/"),
            ("bad[at]evil[.]example", "bad@evil.example"),
            ("http://[2001:db8::1]:80/", "http://[2001:db8::1]:80/"),
            ("2001[:]db8[:][:]1", "2001:db8::1"),
            ("plain.example", "plain.example"),
        ] {
            assert_eq!(refanged(written), meant);
        }
        let text = "domain,evil[.]defanged[.]example,df\nurl,hxxp://evil[.]example/x\nip,1.2.3[.]4\ndomain,bad_name-.example\ndomain,a b.example\n";
        let got = csv(text, &about()).expect("a list");
        all_good(&got);
        let patterns: Vec<&str> = got
            .objects
            .iter()
            .filter_map(|object| object["pattern"].as_str())
            .collect();
        assert_eq!(
            patterns,
            [
                "[domain-name:value = 'evil.defanged.example']",
                "[url:value = 'http://evil.example/x']",
                "[ipv4-addr:value = '1.2.3.4']"
            ]
        );
        assert_eq!(got.left_out.len(), 2);
    }

    #[test]
    fn lists_of_excel_in_taiwan_are_read() {
        let list = b"ip,203.0.113.160,\xa4\xa4\xc4~\xaf\xb8".to_vec();
        let text = text_of(list.clone(), true).expect("Big5");
        let got = csv(&text, &about()).expect("a list");
        assert_eq!(got.objects[0]["name"], "中繼站");
        let not_a_list = text_of(list, false).expect_err("no UTF-8");
        assert_eq!(not_a_list.to_string(), "byte 17: must be UTF-8");
        assert!(text_of(b"a\xff".to_vec(), true).is_err());
        let utf8 = text_of("中繼站".into(), true);
        assert_eq!(utf8.expect("UTF-8"), "中繼站");
    }

    #[test]
    fn bundles_of_2_0_are_brought_to_2_1() {
        let text = r#"{"type":"bundle","spec_version":"2.0","objects":[
            {"type":"indicator","id":"indicator--8e2e2d2b-17d4-4cbf-938f-98ee46b3cd3f","created":"2016-04-06T20:03:48.000Z",
             "modified":"2016-04-06T20:03:48.000Z","labels":["malicious-activity"],"pattern":"[url:value = 'http://a/']","valid_from":"2016-01-01T00:00:00Z"},
            {"type":"malware","id":"malware--8e2e2d2b-17d4-4cbf-938f-98ee46b3cd3f","created":"2016-04-06T20:03:48.000Z",
             "modified":"2016-04-06T20:03:48.000Z","labels":["trojan"],"name":"x"}]}"#;
        let got = stix20(text).expect("a bundle");
        all_good(&got);
        assert_eq!(got.objects[0]["indicator_types"][0], "malicious-activity");
        assert_eq!(got.objects[1]["malware_types"][0], "trojan");
    }

    #[test]
    fn a_hundred_thousand_mutations_do_no_harm() {
        let seeds = [
            "type,value,name\nip,198.51.100.7,\"a\"\"b\"\nurl,http://a/\n",
            misp::tests::SMALL,
            stix1::tests::PACKAGE,
            openioc::tests::IOC,
        ];
        let mut state = 0xABCD_EF01_2345_6789_u64;
        let mut random = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        for round in 0..100_000_usize {
            // The long ones take longer.
            let seed = if round % 50 < 48 {
                round % 2
            } else {
                round % 2 + 2
            };
            let mut bytes = seeds[seed].as_bytes().to_vec();
            for _ in 0..=random() % 4 {
                let at = (random() % bytes.len() as u64) as usize;
                bytes[at] = b"{}[]\",:\\0e|/.\n#<>&='"[(random() % 20) as usize];
            }
            let text = String::from_utf8_lossy(&bytes);
            for imported in [stix1(&text, &about()), openioc(&text, &about())]
                .into_iter()
                .flatten()
            {
                all_good(&imported);
            }
            for imported in [csv(&text, &about()), misp(&text, &about())]
                .into_iter()
                .flatten()
            {
                all_good(&imported);
            }
            // What it brings over is as good as what it was given.
            drop(stix20(&text));
        }
    }
}
