//! One value of one field: from what people, programs and files write to what is kept,
//! and back to text. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use base::{Prefix, Timestamp};
use casework::form::Text;
use jiff::civil;
use jiff::tz::Offset;
use serde_json::Value;

use super::kind::{Field, SPEEDS, Ty};
use crate::document::Policy;

/// Asks for the next free address of the LAN.
pub const AUTO: &str = "auto";
/// Characters of any one-line value.
const LINE_MAX: usize = 300;
/// Characters of the policy.
const POLICY_CHARS_MAX: usize = 200_000;
/// Registries of one member.
const SOURCES_MAX: usize = 32;
/// Bytes of a secret of TCP MD5 (the kernel's `TCP_MD5SIG_MAXKEYLEN`).
const SECRET_BYTES_MAX: usize = 80;
/// Taiwan's time.
const TAIPEI: Offset = Offset::constant(8);

/// Why a value is refused: the rule's name, and what to do in both languages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// The rule's name.
    pub rule: &'static str,
    /// What to do.
    pub text: Text,
}

fn wrong<T>(rule: &'static str, zh: impl Into<String>, en: impl Into<String>) -> Result<T, Wrong> {
    Err(Wrong {
        rule,
        text: Text::new(zh, en),
    })
}

/// What is kept of `given`; null when it is absent or blank. References are checked
/// elsewhere; here they must only be text.
///
/// # Errors
/// The rule that the value breaks.
pub fn read(field: &Field, given: &Value) -> Result<Value, Wrong> {
    let text = match given {
        Value::Null => String::new(),
        Value::String(text) => match field.ty {
            Ty::Area(_) | Ty::Policy => text.trim().replace("\r\n", "\n"),
            _ => text.trim().to_owned(),
        },
        Value::Bool(on) => match field.ty {
            Ty::Bool => return Ok(Value::Bool(*on)),
            _ if *on => "true".to_owned(),
            _ => "false".to_owned(),
        },
        Value::Number(number) => number.to_string(),
        Value::Array(items) if field.ty == Ty::Sources => items
            .iter()
            .map(|item| item.as_str().unwrap_or("?").to_owned())
            .collect::<Vec<_>>()
            .join(" "),
        Value::Object(_) if field.ty == Ty::Policy => given.to_string(),
        Value::Array(_) | Value::Object(_) => {
            return wrong("type", "必須是單一的值", "must be a single value");
        }
    };
    if text.is_empty() {
        return match field.ty {
            Ty::Bool => Ok(Value::Bool(false)),
            _ if field.required => wrong("required", "必須填寫", "must have a value"),
            _ => Ok(Value::Null),
        };
    }
    one(field.ty, text)
}

fn one(ty: Ty, text: String) -> Result<Value, Wrong> {
    match ty {
        Ty::Line(max) | Ty::Personal(max) => line(text, max),
        Ty::Area(max) => {
            let long = text.chars().count() > max;
            if long || text.chars().any(|c| c.is_control() && c != '\n') {
                return wrong(
                    "max-length",
                    format!("最多 {max} 個字,不得含控制字元"),
                    format!("must have at most {max} characters and no control characters"),
                );
            }
            Ok(text.into())
        }
        Ty::Slug => {
            let good = text.len() <= 40
                && text
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
                && !text.starts_with('-')
                && !text.ends_with('-');
            if good {
                Ok(text.into())
            } else {
                wrong(
                    "format",
                    "只能用 1 到 40 個小寫英文字母、數字與中間的連字號",
                    "must be 1 to 40 lower-case letters, digits and inner hyphens",
                )
            }
        }
        Ty::Name(max) => {
            let good = text.len() <= max
                && text
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"-_./:".contains(&b));
            if good {
                Ok(text.into())
            } else {
                wrong(
                    "format",
                    format!("只能用 1 到 {max} 個英文字母、數字與 - _ . / :"),
                    format!("must be 1 to {max} letters, digits and - _ . / :"),
                )
            }
        }
        Ty::Int(min, max) => match text.replace(',', "").parse::<i64>() {
            Ok(number) if (min..=max).contains(&number) => Ok(number.into()),
            _ => wrong(
                "range",
                format!("必須是 {min} 到 {max} 的整數"),
                format!("must be a whole number from {min} to {max}"),
            ),
        },
        Ty::Bool => match text.as_str() {
            "on" | "true" | "1" | "yes" => Ok(true.into()),
            "off" | "false" | "0" | "no" => Ok(false.into()),
            _ => wrong("enum", "必須是 true 或 false", "must be true or false"),
        },
        Ty::Choice(choices) => match choices.contains(&text.as_str()) {
            true => Ok(text.into()),
            false => wrong(
                "enum",
                format!("必須是下列之一:{}", choices.join("、")),
                format!("must be one of {}", choices.join(", ")),
            ),
        },
        Ty::Speed => match text.parse::<i64>() {
            Ok(speed) if SPEEDS.contains(&speed) => Ok(speed.into()),
            _ => wrong(
                "enum",
                "必須是 1000、10000、25000、40000、100000 或 400000(Mbit/s)",
                "must be 1000, 10000, 25000, 40000, 100000 or 400000 (Mbit/s)",
            ),
        },
        Ty::Ref(_) => line(text, LINE_MAX),
        Ty::Org => match text.parse::<base::OrgId>() {
            Ok(org) => Ok(org.to_string().into()),
            Err(_) => wrong(
                "format",
                "不是機關的識別碼",
                "must be the id of an organisation",
            ),
        },
        Ty::V4 if text == AUTO => Ok(text.into()),
        Ty::V6 if text == AUTO => Ok(text.into()),
        Ty::V4 => match text.parse::<Ipv4Addr>() {
            Ok(address) if !address.is_unspecified() => Ok(address.to_string().into()),
            _ => wrong("format", "必須是 IPv4 位址", "must be an IPv4 address"),
        },
        Ty::V6 => match text.parse::<Ipv6Addr>() {
            Ok(address) if !address.is_unspecified() => Ok(address.to_string().into()),
            _ => wrong("format", "必須是 IPv6 位址", "must be an IPv6 address"),
        },
        Ty::Ip => match text.parse::<IpAddr>() {
            Ok(address) if !address.is_unspecified() => Ok(address.to_string().into()),
            _ => wrong("format", "必須是 IP 位址", "must be an IP address"),
        },
        Ty::Net4 | Ty::Net6 => match text.parse::<Prefix>() {
            Ok(prefix) if prefix.address().is_ipv4() == (ty == Ty::Net4) => {
                Ok(prefix.to_string().into())
            }
            _ => wrong(
                "format",
                "必須是網段,例如 203.0.113.0/24 或 2001:db8::/64",
                "must be a prefix such as 203.0.113.0/24 or 2001:db8::/64, of the field's family",
            ),
        },
        Ty::Mac => mac(&text).map(Value::String),
        Ty::Asn => {
            let digits = text
                .strip_prefix("AS")
                .or_else(|| text.strip_prefix("as"))
                .unwrap_or(&text);
            match digits.parse::<u32>() {
                Ok(asn) if !matches!(asn, 0 | 23_456 | 65_535 | u32::MAX) => Ok(asn.into()),
                _ => wrong(
                    "asn",
                    "必須是 AS 號碼,且不是 0、23456、65535、4294967295",
                    "must be an AS number other than 0, 23456, 65535 and 4294967295",
                ),
            }
        }
        Ty::AsSet => {
            if crate::document::is_set_name(&text) {
                Ok(text.into())
            } else {
                wrong(
                    "as-set",
                    "必須是 AS-NAME、AS64500:AS-NAME、SOURCE::AS-NAME 或 AS64500",
                    "must be AS-NAME, AS64500:AS-NAME, SOURCE::AS-NAME or AS64500",
                )
            }
        }
        Ty::Sources => {
            let names: Vec<&str> = text
                .split([' ', ',', '\n', '\t'])
                .filter(|name| !name.is_empty())
                .collect();
            let good = names.len() <= SOURCES_MAX
                && names.iter().all(|name| {
                    name.len() <= 32
                        && name
                            .bytes()
                            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
                });
            if good {
                Ok(names.join(" ").into())
            } else {
                wrong(
                    "format",
                    format!("最多 {SOURCES_MAX} 個登錄庫名稱,以空白分隔"),
                    format!(
                        "must be at most {SOURCES_MAX} names of registries with blanks between"
                    ),
                )
            }
        }
        Ty::Email => {
            let good = text.len() <= 200
                && !text.chars().any(|c| c.is_whitespace() || c.is_control())
                && text
                    .split_once('@')
                    .is_some_and(|(name, host)| !name.is_empty() && host.contains('.'));
            if good {
                Ok(text.into())
            } else {
                wrong("format", "必須是電子郵件地址", "must be a mail address")
            }
        }
        Ty::Url => match url::Url::parse(&text) {
            Ok(url) if matches!(url.scheme(), "http" | "https") && text.len() <= LINE_MAX => {
                Ok(text.into())
            }
            _ => wrong(
                "format",
                "必須是 http:// 或 https:// 開頭的網址",
                "must be an address that begins with http:// or https://",
            ),
        },
        Ty::Moment => moment(&text),
        Ty::Date => match text.parse::<civil::Date>() {
            Ok(date) => Ok(date.to_string().into()),
            Err(_) => wrong(
                "format",
                "必須是日期,例如 2026-11-21",
                "must be a day such as 2026-11-21",
            ),
        },
        Ty::Degrees(max) => match text.parse::<f64>() {
            Ok(degrees) if degrees.is_finite() && degrees.abs() <= f64::from(max) => {
                Ok(format!("{degrees:.6}").into())
            }
            _ => wrong(
                "range",
                format!("必須在 -{max} 與 {max} 度之間"),
                format!("must be from -{max} to {max} degrees"),
            ),
        },
        Ty::Policy => policy(&text),
        Ty::Secret => {
            let good = text.len() <= SECRET_BYTES_MAX
                && text
                    .bytes()
                    .all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\');
            if good {
                Ok(text.into())
            } else {
                wrong(
                    "format",
                    format!(
                        "必須是 1 到 {SECRET_BYTES_MAX} 個可見的 ASCII 字元,不含空白、引號與反斜線"
                    ),
                    format!(
                        "must be 1 to {SECRET_BYTES_MAX} printable ASCII characters without blanks, quotes and backslashes"
                    ),
                )
            }
        }
    }
}

fn line(text: String, max: usize) -> Result<Value, Wrong> {
    if text.chars().count() > max || text.chars().any(char::is_control) {
        return wrong(
            "max-length",
            format!("必須是一行,最多 {max} 個字"),
            format!("must be one line of at most {max} characters"),
        );
    }
    Ok(text.into())
}

/// `00:1c:73:aa:bb:cc` from any usual way of writing it.
fn mac(text: &str) -> Result<String, Wrong> {
    let digits: String = text
        .chars()
        .filter(|c| !matches!(c, ':' | '-' | '.'))
        .collect();
    let bytes = hex::decode(&digits).unwrap_or_default();
    let group = bytes.first().is_some_and(|first| first & 1 == 1);
    if bytes.len() != 6 || group || bytes.iter().all(|b| *b == 0) {
        return wrong(
            "mac",
            "必須是單點的 MAC 位址,例如 00:1c:73:aa:bb:cc",
            "must be a unicast MAC address such as 00:1c:73:aa:bb:cc",
        );
    }
    let parts: Vec<String> = bytes.iter().map(|b| format!("{b:02x}")).collect();
    Ok(parts.join(":"))
}

/// Microseconds, RFC 3339, or civil time of Taipei as browsers send it.
fn moment(text: &str) -> Result<Value, Wrong> {
    if let Ok(micros) = text.parse::<i64>()
        && jiff::Timestamp::from_microsecond(micros).is_ok()
    {
        return Ok(micros.into());
    }
    if let Ok(at) = text.parse::<jiff::Timestamp>() {
        return Ok(at.as_microsecond().into());
    }
    let local = text
        .trim_end_matches("+08")
        .trim()
        .parse::<civil::DateTime>();
    match local.map(|at| TAIPEI.to_timestamp(at)) {
        Ok(Ok(at)) => Ok(at.as_microsecond().into()),
        _ => wrong(
            "format",
            "必須是時間,例如 2026-11-21T09:30(臺北時間)",
            "must be a time such as 2026-11-21T09:30 (Taipei time)",
        ),
    }
}

fn policy(text: &str) -> Result<Value, Wrong> {
    if text.len() > POLICY_CHARS_MAX {
        return wrong(
            "max-length",
            format!("最多 {POLICY_CHARS_MAX} 個字"),
            format!("must have at most {POLICY_CHARS_MAX} characters"),
        );
    }
    let mut reader = serde_json::Deserializer::from_str(text);
    let policy: Policy = match serde_path_to_error::deserialize(&mut reader) {
        Ok(policy) => policy,
        Err(error) => {
            let told = format!("{}: {}", error.path(), error.inner());
            return wrong("policy", format!("路由政策讀不懂:{told}"), told);
        }
    };
    let findings: Vec<String> = runtime::config::check(&policy)
        .into_iter()
        .take(10)
        .map(|finding| format!("{}: {}", finding.key, finding.message))
        .collect();
    if !findings.is_empty() {
        let told = findings.join("; ");
        return wrong("policy", format!("路由政策不合規則:{told}"), told);
    }
    match serde_json::to_string(&policy) {
        Ok(text) => Ok(text.into()),
        Err(error) => wrong("policy", error.to_string(), error.to_string()),
    }
}

/// A value as text, as forms and CSV show it: times in Taipei's, references as they are.
pub fn text(field: &Field, value: &Value) -> String {
    match (field.ty, value) {
        (_, Value::Null) => String::new(),
        (Ty::Moment, Value::Number(micros)) => micros
            .as_i64()
            .and_then(|micros| jiff::Timestamp::from_microsecond(micros).ok())
            .map(|at| {
                TAIPEI
                    .to_datetime(at)
                    .strftime("%Y-%m-%dT%H:%M")
                    .to_string()
            })
            .unwrap_or_default(),
        (Ty::Policy, Value::String(text)) => serde_json::from_str::<Value>(text)
            .ok()
            .and_then(|value| serde_json::to_string_pretty(&value).ok())
            .unwrap_or_else(|| text.clone()),
        (_, Value::String(text)) => text.clone(),
        (_, other) => other.to_string(),
    }
}

/// The day of a moment in Taipei.
pub fn day(at: Timestamp) -> String {
    at.taipei().chars().take(10).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::room::Kind;

    fn try_one(kind: Kind, field: &str, given: &str) -> Result<Value, &'static str> {
        let field = kind.field(field).expect("a field");
        read(field, &Value::from(given)).map_err(|wrong| wrong.rule)
    }

    #[test]
    fn values_are_kept_in_one_way_of_writing() {
        let good = [
            (
                Kind::Router,
                "mac",
                "001C.73aa.BBCC",
                Value::from("00:1c:73:aa:bb:cc"),
            ),
            (Kind::Member, "asn", "AS7539", Value::from(7539)),
            (
                Kind::Router,
                "v6",
                "2001:0DB8:0::1",
                Value::from("2001:db8::1"),
            ),
            (
                Kind::Member,
                "irr_sources",
                "TWNIC, RADB",
                Value::from("TWNIC RADB"),
            ),
            (Kind::Router, "v4", "auto", Value::from("auto")),
            (Kind::Member, "as_set", " ", Value::Null),
            (
                Kind::Maintenance,
                "starts_at",
                "2026-11-21T09:30",
                Value::from(1_795_224_600_000_000_i64),
            ),
            (
                Kind::Maintenance,
                "starts_at",
                "2026-11-21T01:30:00Z",
                Value::from(1_795_224_600_000_000_i64),
            ),
        ];
        for (kind, field, given, kept) in good {
            assert_eq!(try_one(kind, field, given), Ok(kept), "{given}");
        }
        let bad = [
            (Kind::Router, "mac", "01:00:5e:00:00:01", "mac"),
            (Kind::Member, "asn", "23456", "asn"),
            (Kind::Lan, "v4", "2001:db8::/64", "format"),
            (Kind::Lan, "v4", "10.0.0.1/24", "format"),
            (Kind::Port, "speed_mbps", "7", "enum"),
            (Kind::Site, "name", "-hsinchu", "format"),
            (Kind::Site, "name", "", "required"),
            (Kind::Profile, "policy", "{\"asn\": 0}", "policy"),
            (Kind::Member, "password", "a b", "format"),
            (Kind::Member, "joined_on", "2026-02-30", "format"),
        ];
        for (kind, field, given, rule) in bad {
            assert_eq!(try_one(kind, field, given), Err(rule), "{given}");
        }
    }

    #[test]
    fn what_is_kept_reads_back_as_it_was() {
        let field = Kind::Maintenance.field("starts_at").expect("a field");
        let kept = read(field, &Value::from("2026-11-21T09:30")).expect("a time");
        let shown = text(field, &kept);
        assert_eq!(shown, "2026-11-21T09:30");
        assert_eq!(read(field, &Value::from(shown)), Ok(kept));
    }
}
