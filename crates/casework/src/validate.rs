//! Checks a submission against its form. Every problem names the field, the value
//! and the rule, in both languages, so that it can stand beside the field.

use serde::Serialize;
use serde_json::Value;

use crate::form::{Form, Format, Kind, Property, Question, Text, Values};

/// Characters of a text without a limit of its own.
pub const TEXT_CHARS_MAX: usize = 10_000;
/// Elements of a list without a limit of its own.
pub const ITEMS_MAX: usize = 100;
/// Digits of a fraction of a second.
const FRACTION_DIGITS_MAX: usize = 9;
/// Characters of a value that an error repeats.
const SHOWN_CHARS: usize = 60;

/// One thing wrong with one field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The field.
    pub field: String,
    /// The value, shortened; `…` when it is personal data.
    pub value: String,
    /// The rule's name: `required`, `format`, `max-length`, …
    pub rule: &'static str,
    /// What to do, in both languages.
    pub message: Text,
}

/// Whether a submission must be whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Completeness {
    /// A draft: what is there must be right, the rest may follow.
    Draft,
    /// A submission: required fields must be there.
    Whole,
}

/// Everything that is wrong with `values`, in the order of the form.
pub fn problems(form: &Form, values: &Values, completeness: Completeness) -> Vec<Problem> {
    let mut found = Vec::new();
    for question in form.questions() {
        if let Some(property) = form.schema.properties.get(&question.name) {
            let value = values.get(&question.name).filter(|v| !v.is_null());
            if !question.when.holds(values) {
                found.extend(value.map(|value| not_asked(form, question, property, value)));
                continue;
            }
            let demanded =
                completeness == Completeness::Whole && form.demands(&question.name, values);
            check_field(
                form,
                &question.name,
                property,
                value,
                (completeness, demanded),
                &mut found,
            );
        }
    }
    for (name, value) in values {
        if !form.schema.properties.contains_key(name) {
            found.push(Problem {
                field: shorten(name),
                value: shorten(&Form::show(Some(value))),
                rule: "unknown-field",
                message: Text::new("表單沒有這個欄位", "the form has no such field"),
            });
        }
    }
    found
}

/// What is wrong with the fields of one step.
pub fn problems_of_step(
    form: &Form,
    step: usize,
    values: &Values,
    completeness: Completeness,
) -> Vec<Problem> {
    let names: Vec<&str> = form
        .layout
        .get(step)
        .map(|step| step.fields.iter().map(|q| q.name.as_str()).collect())
        .unwrap_or_default();
    problems(form, values, completeness)
        .into_iter()
        .filter(|problem| names.contains(&problem.field.as_str()))
        .collect()
}

/// A value for a question that is not asked of such a submission.
fn not_asked(form: &Form, question: &Question, property: &Property, value: &Value) -> Problem {
    let (mut zh, mut en) = (Vec::new(), Vec::new());
    for (field, wanted) in question.when.fields() {
        let asked = form.question(field);
        let label = asked.map_or_else(|| Text::new(field, field), |one| one.label.clone());
        let names = wanted.iter().map(|choice| {
            let named = asked.and_then(|one| one.options.get(choice)).cloned();
            named.unwrap_or_else(|| Text::new(choice, choice))
        });
        let (names_zh, names_en): (Vec<_>, Vec<_>) = names.map(|one| (one.zh, one.en)).unzip();
        zh.push(format!("「{}」為 {}", label.zh, names_zh.join("、")));
        en.push(format!("{} is {}", label.en, names_en.join(" or ")));
    }
    Problem {
        field: question.name.clone(),
        value: if property.personal {
            "…".into()
        } else {
            shorten(&Form::show(Some(value)))
        },
        rule: "not-asked",
        message: Text::new(
            format!("只有{}時才填寫", zh.join("且")),
            format!("is asked only where {}", en.join(" and ")),
        ),
    }
}

fn check_field(
    form: &Form,
    name: &str,
    property: &Property,
    value: Option<&Value>,
    (completeness, demanded): (Completeness, bool),
    found: &mut Vec<Problem>,
) {
    let Some(value) = value else {
        if demanded {
            found.push(Problem {
                field: name.to_owned(),
                value: String::new(),
                rule: "required",
                message: Text::new("請填寫這一欄", "fill in this field"),
            });
        }
        return;
    };
    let mut wrong = Vec::new();
    check_value(form, name, property, value, completeness, &mut wrong);
    for (value, rule, message) in wrong {
        found.push(Problem {
            field: name.to_owned(),
            value: if property.personal {
                "…".into()
            } else {
                shorten(&value)
            },
            rule,
            message,
        });
    }
}

type Wrong = (String, &'static str, Text);

fn check_value(
    form: &Form,
    name: &str,
    property: &Property,
    value: &Value,
    completeness: Completeness,
    wrong: &mut Vec<Wrong>,
) {
    match (property.kind, value) {
        (Kind::String, Value::String(text)) => check_text(form, name, property, text, wrong),
        (Kind::Integer, Value::Number(number)) if number.is_i64() || number.is_u64() => {
            check_number(property, number.as_f64(), value, wrong)
        }
        (Kind::Number, Value::Number(number)) => {
            check_number(property, number.as_f64(), value, wrong)
        }
        (Kind::Boolean, Value::Bool(yes)) => {
            if property.must_be_true && !yes && completeness == Completeness::Whole {
                wrong.push((
                    "false".into(),
                    "must-be-true",
                    Text::new("必須勾選才能送出", "must be ticked before submitting"),
                ));
            }
        }
        (Kind::Array, Value::Array(items)) => {
            check_items(form, name, property, items, completeness, wrong)
        }
        _ => {
            let (zh, en) = match property.kind {
                Kind::String => ("必須是文字", "must be a text"),
                Kind::Integer => ("必須是整數", "must be a whole number"),
                Kind::Number => ("必須是數字", "must be a number"),
                Kind::Boolean => ("必須是「是」或「否」", "must be yes or no"),
                Kind::Array => ("必須是清單", "must be a list"),
            };
            wrong.push((Form::show(Some(value)), "type", Text::new(zh, en)));
        }
    }
}

fn check_number(property: &Property, number: Option<f64>, value: &Value, wrong: &mut Vec<Wrong>) {
    if let Some(minimum) = property.minimum
        && number.is_none_or(|number| number < minimum)
    {
        wrong.push((
            value.to_string(),
            "minimum",
            Text::new(
                format!("不得小於 {minimum}"),
                format!("must be at least {minimum}"),
            ),
        ));
    }
    if let Some(maximum) = property.maximum
        && number.is_none_or(|number| number > maximum)
    {
        wrong.push((
            value.to_string(),
            "maximum",
            Text::new(
                format!("不得大於 {maximum}"),
                format!("must be at most {maximum}"),
            ),
        ));
    }
}

fn check_items(
    form: &Form,
    name: &str,
    property: &Property,
    items: &[Value],
    completeness: Completeness,
    wrong: &mut Vec<Wrong>,
) {
    let least = property.min_items.unwrap_or(0);
    let most = property.max_items.unwrap_or(ITEMS_MAX);
    if items.len() < least {
        wrong.push((
            items.len().to_string(),
            "min-items",
            Text::new(
                format!("至少要有 {least} 項"),
                format!("must have at least {least} entries"),
            ),
        ));
    }
    if items.len() > most {
        wrong.push((
            items.len().to_string(),
            "max-items",
            Text::new(
                format!("最多 {most} 項"),
                format!("must have at most {most} entries"),
            ),
        ));
        return;
    }
    if property.unique_items {
        for (index, item) in items.iter().enumerate() {
            if items[..index].contains(item) {
                wrong.push((
                    Form::show(Some(item)),
                    "unique-items",
                    Text::new("重複了", "is given twice"),
                ));
            }
        }
    }
    if let Some(each) = &property.items {
        for item in items {
            check_value(form, name, each, item, completeness, wrong);
        }
    }
}

fn check_text(form: &Form, name: &str, property: &Property, text: &str, wrong: &mut Vec<Wrong>) {
    let count = text.chars().count();
    let most = property.max_length.unwrap_or(TEXT_CHARS_MAX);
    if let Some(least) = property.min_length
        && count < least
    {
        wrong.push((
            text.to_owned(),
            "min-length",
            Text::new(
                format!("至少 {least} 個字"),
                format!("must have at least {least} characters"),
            ),
        ));
    }
    if count > most {
        wrong.push((
            text.to_owned(),
            "max-length",
            Text::new(
                format!("最多 {most} 個字"),
                format!("must have at most {most} characters"),
            ),
        ));
        return;
    }
    if text
        .chars()
        .any(|c| c.is_control() && c != '\n' && c != '\t')
    {
        wrong.push((
            text.escape_default().to_string(),
            "characters",
            Text::new("不得含有控制字元", "must not contain control characters"),
        ));
        return;
    }
    if !property.choices.is_empty() && !property.choices.iter().any(|choice| choice == text) {
        wrong.push((
            text.to_owned(),
            "enum",
            Text::new(
                format!("必須是其中之一:{}", property.choices.join("、")),
                format!("must be one of {}", property.choices.join(", ")),
            ),
        ));
    }
    if let Some(pattern) = &property.pattern
        && !regex::Regex::new(pattern).is_ok_and(|regex| regex.is_match(text))
    {
        let help = form.question(name).and_then(|q| q.pattern_help.clone());
        wrong.push((
            text.to_owned(),
            "pattern",
            help.unwrap_or_else(|| {
                Text::new(
                    format!("必須符合 {pattern}"),
                    format!("must match {pattern}"),
                )
            }),
        ));
    }
    if let Some(format) = property.format
        && let Err(message) = check_format(format, text)
    {
        wrong.push((text.to_owned(), "format", message));
    }
}

fn check_format(format: Format, text: &str) -> Result<(), Text> {
    let fine = match format {
        Format::Date => is_date(text),
        Format::DateTime => moment(text).is_some(),
        Format::Email => is_email(text),
        Format::Hostname => hostname(text).is_some(),
        Format::Uri => is_http_url(text),
        Format::Origin => is_origin(text),
        Format::File => uuid::Uuid::try_parse(text).is_ok(),
    };
    if fine {
        return Ok(());
    }
    let (zh, en) = match format {
        Format::Date => (
            "必須是日期,例如 2026-11-21",
            "must be a date such as 2026-11-21",
        ),
        Format::DateTime => (
            "必須是日期與時間,例如 2026-11-21T09:30",
            "must be a date and time such as 2026-11-21T09:30",
        ),
        Format::Email => (
            "必須是電子郵件地址,例如 name@agency.example",
            "must be an e-mail address such as name@agency.example",
        ),
        Format::Hostname => (
            "必須是完整的主機名稱,例如 www.agency.example",
            "must be a full host name such as www.agency.example",
        ),
        Format::Uri => (
            "必須是以 http:// 或 https:// 開頭的網址",
            "must be a URL that begins with http:// or https://",
        ),
        Format::Origin => (
            "必須是 http:// 或 https:// 加主機名稱(可加埠號),不含路徑,例如 https://origin.agency.example",
            "must be http:// or https:// and a host, perhaps a port, without a path: https://origin.agency.example",
        ),
        Format::File => ("必須是已上傳的檔案", "must be an uploaded file"),
    };
    Err(Text::new(zh, en))
}

/// A host name in A-labels and lower case, without a final dot; `None` when it is
/// not one of at least two labels (RFC 1123 section 2.1, RFC 5891 for Unicode).
pub fn hostname(text: &str) -> Option<String> {
    let text = text.trim().trim_end_matches('.');
    if text.is_empty() || text.len() > 1_000 {
        return None;
    }
    let Ok(url::Host::Domain(ascii)) = url::Host::parse(text) else {
        return None;
    };
    let ascii = ascii.to_ascii_lowercase();
    let labels: Vec<&str> = ascii.split('.').collect();
    let label = |label: &&str| {
        let bytes = label.as_bytes();
        !bytes.is_empty()
            && bytes.len() <= 63
            && bytes
                .iter()
                .all(|b| b.is_ascii_alphanumeric() || *b == b'-')
            && bytes[0] != b'-'
            && bytes[bytes.len() - 1] != b'-'
    };
    // An all-digit top label would read as an IPv4 address (RFC 3696 section 2).
    let top_is_text = labels
        .last()
        .is_some_and(|top| top.bytes().any(|b| b.is_ascii_alphabetic()));
    (ascii.len() <= 253 && labels.len() >= 2 && labels.iter().all(label) && top_is_text)
        .then_some(ascii)
}

/// A date-time in Asia/Taipei (UTC+8) with its offset, as in `2026-11-21T09:30:00+08:00`,
/// made from what people and machines write: RFC 3339 (section 5.6) with any offset and
/// with or without a fraction, or the local time of a browser's control, with or without
/// seconds and meant in Asia/Taipei. `None` when it is none of these.
pub fn moment(text: &str) -> Option<String> {
    let (date, rest) = text.split_at_checked(10)?;
    let time = rest.strip_prefix(['T', 't'])?;
    let (clock, offset) = match time.find(['Z', 'z', '+', '-']) {
        Some(at) => time.split_at(at),
        None => (time, "+08:00"),
    };
    let two = |part: &str, most: u32| {
        part.len() == 2
            && part.bytes().all(|b| b.is_ascii_digit())
            && part.parse::<u32>().is_ok_and(|n| n <= most)
    };
    let (whole, fraction) = clock
        .split_once('.')
        .map_or((clock, None), |(a, b)| (a, Some(b)));
    let parts: Vec<&str> = whole.split(':').collect();
    let clock_fine = match parts.as_slice() {
        [hours, minutes] => fraction.is_none() && two(hours, 23) && two(minutes, 59),
        [hours, minutes, seconds] => two(hours, 23) && two(minutes, 59) && two(seconds, 59),
        _ => false,
    };
    let fraction_fine = fraction.is_none_or(|digits| {
        (1..=FRACTION_DIGITS_MAX).contains(&digits.len())
            && digits.bytes().all(|b| b.is_ascii_digit())
    });
    let offset_fine = matches!(offset, "Z" | "z")
        || offset[1..]
            .split_once(':')
            .is_some_and(|(hours, minutes)| two(hours, 23) && two(minutes, 59));
    if !(is_date(date) && clock_fine && fraction_fine && offset_fine) {
        return None;
    }
    let seconds = if parts.len() == 2 { ":00" } else { "" };
    let at: jiff::Timestamp = format!("{date}T{clock}{seconds}{offset}").parse().ok()?;
    let taipei = jiff::tz::Offset::constant(8);
    let shown = format!("{}+08:00", taipei.to_datetime(at));
    // Near the ends of the calendar the other offset may have no date of four digits.
    (is_date(shown.get(..10)?)).then_some(shown)
}

/// The moment that a text means, as [`moment`] reads it.
pub fn moment_of(text: &str) -> Option<base::Timestamp> {
    let at: jiff::Timestamp = moment(text)?.parse().ok()?;
    Some(base::Timestamp(at.as_microsecond()))
}

fn is_date(text: &str) -> bool {
    let bytes = text.as_bytes();
    if bytes.len() != 10 || bytes[4] != b'-' || bytes[7] != b'-' {
        return false;
    }
    let number = |range: std::ops::Range<usize>| {
        let part = &bytes[range];
        part.iter()
            .all(u8::is_ascii_digit)
            .then(|| part.iter().fold(0u32, |n, b| n * 10 + u32::from(b - b'0')))
    };
    let (Some(year), Some(month), Some(day)) = (number(0..4), number(5..7), number(8..10)) else {
        return false;
    };
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => return false,
    };
    (1..=days).contains(&day)
}

fn is_email(text: &str) -> bool {
    let Some((local, domain)) = text.rsplit_once('@') else {
        return false;
    };
    let atom = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~.".contains(&b);
    text.len() <= 254
        && !local.is_empty()
        && local.len() <= 64
        && local.bytes().all(atom)
        && !local.starts_with('.')
        && !local.ends_with('.')
        && !local.contains("..")
        && hostname(domain).is_some()
}

/// Whether a text is an `http://` or `https://` URL with a host and without credentials.
pub fn is_http_url(text: &str) -> bool {
    text.len() <= 2_048
        && !text.contains(char::is_whitespace)
        && url::Url::parse(text).is_ok_and(|url| {
            matches!(url.scheme(), "http" | "https")
                && url.has_host()
                && url.username().is_empty()
                && url.password().is_none()
        })
}

fn is_origin(text: &str) -> bool {
    is_http_url(text)
        && url::Url::parse(text).is_ok_and(|url| {
            url.path() == "/"
                && url.query().is_none()
                && url.fragment().is_none()
                && !text.ends_with('/')
        })
}

fn shorten(text: &str) -> String {
    let mut short: String = text.chars().take(SHOWN_CHARS).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn form() -> Form {
        Form::parse(include_str!("../tests/data/form.json")).expect("right")
    }

    fn whole() -> Value {
        json!({"name": "Agency", "kind": "small", "hosts": ["www.agency.example"], "agree": true, "email": "a.b@agency.example"})
    }

    fn rules(change: Value) -> Vec<(String, &'static str)> {
        let mut values = whole();
        for (name, value) in change.as_object().expect("object") {
            values[name] = value.clone();
        }
        problems(
            &form(),
            values.as_object().expect("object"),
            Completeness::Whole,
        )
        .into_iter()
        .map(|p| (p.field, p.rule))
        .collect()
    }

    #[test]
    fn a_whole_submission_passes() {
        assert_eq!(rules(json!({})), []);
    }

    #[test]
    fn every_rule_points_at_its_field() {
        for (change, field, rule) in [
            (json!({"name": null}), "name", "required"),
            (json!({"name": "A"}), "name", "min-length"),
            (json!({"name": "A".repeat(41)}), "name", "max-length"),
            (json!({"name": "agency"}), "name", "pattern"),
            (json!({"name": "A\u{0}b"}), "name", "characters"),
            (json!({"name": 7}), "name", "type"),
            (json!({"kind": "huge"}), "kind", "enum"),
            (json!({"hosts": []}), "hosts", "min-items"),
            (
                json!({"hosts": ["a.example", "b.example", "c.example", "d.example"]}),
                "hosts",
                "max-items",
            ),
            (
                json!({"hosts": ["a.example", "a.example"]}),
                "hosts",
                "unique-items",
            ),
            (json!({"hosts": ["localhost"]}), "hosts", "format"),
            (json!({"hosts": "a.example"}), "hosts", "type"),
            (
                json!({"origin": "https://a.example/path"}),
                "origin",
                "format",
            ),
            (json!({"origin": "ftp://a.example"}), "origin", "format"),
            (json!({"page": "javascript:alert(1)"}), "page", "format"),
            (json!({"rps": -1}), "rps", "minimum"),
            (json!({"rps": 1001}), "rps", "maximum"),
            (json!({"rps": 1.5}), "rps", "type"),
            (json!({"from": "2026-02-29"}), "from", "format"),
            (json!({"plan": "../../etc/passwd"}), "plan", "format"),
            (json!({"agree": false}), "agree", "must-be-true"),
            (json!({"email": "a@@b"}), "email", "format"),
            (json!({"extra": 1}), "extra", "unknown-field"),
        ] {
            assert_eq!(
                rules(change.clone()),
                [(field.to_owned(), rule)],
                "{change}"
            );
        }
    }

    #[test]
    fn moments_are_read_as_people_and_machines_write_them() {
        for (text, expected) in [
            ("2026-11-21T18:09", Some("2026-11-21T18:09:00+08:00")),
            ("2026-11-21T18:09:30", Some("2026-11-21T18:09:30+08:00")),
            // What JavaScript and stix2 write.
            (
                "2026-11-21T18:09:00.000Z",
                Some("2026-11-22T02:09:00+08:00"),
            ),
            (
                "2026-11-21T18:09:00.25Z",
                Some("2026-11-22T02:09:00.25+08:00"),
            ),
            ("2026-11-21t18:09:00z", Some("2026-11-22T02:09:00+08:00")),
            (
                "2026-11-21T18:09:00-05:00",
                Some("2026-11-22T07:09:00+08:00"),
            ),
            ("2026-11-21T18:09+08:00", Some("2026-11-21T18:09:00+08:00")),
            ("2026-11-21", None),
            ("2026-11-21 18:09", None),
            ("2026-11-21T18:09.5", None),
            ("2026-11-21T18:09:00.", None),
            ("2026-11-21T18:09:00.1234567890Z", None),
            ("2026-11-21T18:09:00,5Z", None),
            ("2026-11-21T25:09:00Z", None),
            ("2026-02-30T18:09:00Z", None),
            ("2026-11-21T18:09:00+0800", None),
            ("9999-12-31T23:59:59-12:00", None),
            ("0000-01-01T00:00:00Z", Some("0000-01-01T08:00:00+08:00")),
        ] {
            assert_eq!(moment(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn a_question_that_is_not_asked_takes_no_value_and_one_that_is_may_demand_one() {
        let document = include_str!("../tests/data/form.json").replacen(
            r#"{"name": "plan", "label""#,
            r#"{"name": "plan", "when": {"kind": ["large"]}, "required": true, "label""#,
            1,
        );
        let form = Form::parse(&document).expect("right");
        let found = |kind: &str, plan: Option<&str>| {
            let mut values = whole();
            values["kind"] = kind.into();
            if let Some(plan) = plan {
                values["plan"] = plan.into();
            }
            problems(
                &form,
                values.as_object().expect("object"),
                Completeness::Whole,
            )
        };
        let file = "00000000-0000-4000-8000-000000000001";
        assert_eq!(found("small", None), []);
        assert_eq!(found("large", Some(file)), []);
        assert_eq!(found("large", None)[0].rule, "required");
        let wrong = &found("small", Some(file))[0];
        assert_eq!((wrong.field.as_str(), wrong.rule), ("plan", "not-asked"));
        assert_eq!(wrong.message.en, "is asked only where Kind is Large");
    }

    #[test]
    fn a_draft_may_be_incomplete_but_not_wrong() {
        let values = json!({"kind": "huge"});
        let found = problems(
            &form(),
            values.as_object().expect("object"),
            Completeness::Draft,
        );
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].rule, "enum");
        assert!(found[0].message.zh.contains("small") && found[0].message.en.contains("small"));
    }

    #[test]
    fn personal_values_are_not_repeated() {
        let values = json!({"email": "secret"});
        let found = problems(
            &form(),
            values.as_object().expect("object"),
            Completeness::Draft,
        );
        assert_eq!(found[0].value, "…");
    }

    #[test]
    fn host_names_are_kept_as_a_labels() {
        assert_eq!(
            hostname("WWW.Agency.Example."),
            Some("www.agency.example".into())
        );
        assert_eq!(
            hostname("政府.台灣").as_deref(),
            Some("xn--mxtq1m.xn--kpry57d")
        );
        for bad in [
            "",
            "a",
            "a..b",
            "-a.b",
            "a b.c",
            "127.0.0.1",
            "1.2",
            "[::1]",
            "a_b.c",
            &"a.".repeat(200),
        ] {
            assert_eq!(hostname(bad), None, "{bad}");
        }
    }

    /// A hundred thousand mutations of a good submission: never a panic, and every
    /// problem names a field, a rule and both languages.
    #[test]
    fn mutated_submissions_never_panic() {
        let form = form();
        let seed = whole().to_string().into_bytes();
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        let mut parsed = 0;
        for _ in 0..100_000 {
            let mut bytes = seed.clone();
            for _ in 0..=random() % 4 {
                let at = (random() as usize) % bytes.len();
                match random() % 3 {
                    0 => bytes[at] = (random() % 256) as u8,
                    1 => drop(bytes.remove(at)),
                    _ => bytes.insert(at, b"\"{}[]:,0e.-\\u"[(random() % 13) as usize]),
                }
            }
            let Ok(Value::Object(values)) = serde_json::from_slice(&bytes) else {
                continue;
            };
            parsed += 1;
            for problem in problems(&form, &values, Completeness::Whole) {
                assert!(
                    !problem.rule.is_empty()
                        && !problem.message.zh.is_empty()
                        && !problem.message.en.is_empty()
                );
            }
        }
        assert!(parsed > 10_000, "only {parsed} mutations were JSON");
    }
}
