//! The kinds of the sector ISACs (ANA information, EWA early warning, DEF web page attack, INT
//! intrusion, FBI feedback) to and from STIX 2.1. Pure: JSON in, JSON out.
//!
//! An alert becomes a `report` with its `vulnerability` objects and the `identity` of
//! the centre; a member's reply becomes FBI: a `note` with an `opinion` on that report.
//! Kind, sub-kind and what is asked stand in labels, so that any TAXII client carries them;
//! CVE numbers and URLs stand in `external_references`; every other answer to the form of
//! alerts stands in the report's extension [`EXTENSION`], by its name in the form, so that
//! an alert comes back as it went. FBI carries what was found and done in [`FEEDBACK`].

use base::Timestamp;
use casework::form::{Form, Values};
use casework::validate::is_http_url;
use ring::digest;
use serde_json::{Value, json};

use crate::alert::grant::text;
use crate::alert::{Alert, Recipient, Reply};
use crate::stix::json as reader;

/// Label prefix of the kind.
const KIND: &str = "civicnet-kind:";
/// Label prefix of the sub-kind.
const SUBKIND: &str = "civicnet-subkind:";
/// Label prefix of what members are asked.
const ASKS: &str = "civicnet-reply:";
/// Label prefix of the severity.
const SEVERITY: &str = "civicnet-severity:";
/// The name space of STIX identifiers made here (RFC 9562 section 5.5).
const NAMESPACE: [u8; 16] = [
    0x2f, 0x1c, 0x7a, 0x50, 0x9d, 0x3e, 0x4b, 0x61, 0x8a, 0x77, 0x63, 0x69, 0x76, 0x69, 0x63, 0x6e,
];
/// Identifiers of the markings of TLP 2.0 (OASIS STIX TLP 2.0 extension).
const TLP: [(&str, &str); 5] = [
    (
        "clear",
        "marking-definition--94868c89-83c2-464b-929b-a1a8aa3c8487",
    ),
    (
        "green",
        "marking-definition--bab4a63c-aed9-4cf5-a766-dfca5abac2bb",
    ),
    (
        "amber",
        "marking-definition--55d920b0-5e8b-4f79-9ee9-91f868d9b421",
    ),
    (
        "amber-strict",
        "marking-definition--939a9414-2ddd-4d32-a0cd-375ea402b003",
    ),
    (
        "red",
        "marking-definition--e828b379-4e03-4974-9ac4-e53a884c97c1",
    ),
];

/// The extension of `report` that holds the answers to the form of alerts.
pub const EXTENSION: &str = "extension-definition--0a4f6a52-6d0c-4c57-9c0e-3f1b7c2d8e11";
/// The extension of `note` that holds what feedback (FBI) says.
pub const FEEDBACK: &str = "extension-definition--0a4f6a52-6d0c-4c57-9c0e-3f1b7c2d8e12";
/// Answers that stand in the report's own properties, or are this house's business: whom an
/// alert is for and whether it stands on the public site.
const ELSEWHERE: [&str; 7] = [
    "subject",
    "kind",
    "tlp",
    "cves",
    "references",
    "assets",
    "public",
];
/// CVE numbers and links of one alert, as the form has it.
const LINKS_MAX: usize = 50;
/// Characters of a link, as the form has it.
const LINK_CHARS_MAX: usize = 500;

/// The field of the form that holds the sub-kind of a kind.
pub fn subkind_field(kind: &str) -> String {
    format!("subkind_{kind}")
}

/// The sub-kind that an alert's values name; empty for alerts from before there were any.
pub fn subkind_of<'a>(kind: &str, values: &'a Values) -> &'a str {
    text(values, &subkind_field(kind))
}

/// Why STIX objects are no intelligence of ours.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum KindError {
    /// No report among them.
    #[error("objects: there must be exactly one report, not {0}")]
    Reports(usize),
    /// A property that must be there.
    #[error("report.{property}: {rule}")]
    Property {
        /// Which.
        property: &'static str,
        /// What it must be.
        rule: &'static str,
    },
}

/// A name-based identifier (RFC 9562 section 5.5): the same name, the same object.
fn id(kind: &str, name: &str) -> String {
    let mut input = NAMESPACE.to_vec();
    input.extend_from_slice(kind.as_bytes());
    input.push(b':');
    input.extend_from_slice(name.as_bytes());
    let sum = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &input);
    let mut bytes = [0_u8; 16];
    bytes.copy_from_slice(&sum.as_ref()[..16]);
    bytes[6] = (bytes[6] & 0x0f) | 0x50;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    format!("{kind}--{}", uuid::Uuid::from_bytes(bytes))
}

/// RFC 3339 in UTC with milliseconds, as STIX 2.1 writes moments.
fn moment(at: Timestamp) -> String {
    jiff::Timestamp::from_millisecond(at.millis())
        .map_or_else(|_| at.to_string(), |at| format!("{at:.3}"))
}

/// The identity under which the centre called `name` publishes.
pub(crate) fn centre_id(name: &str) -> String {
    id("identity", name)
}

fn centre(name: &str, at: Timestamp) -> Value {
    json!({
        "type": "identity", "spec_version": "2.1", "id": centre_id(name),
        "created": moment(at), "modified": moment(at),
        "name": name, "identity_class": "organization",
    })
}

/// The sub-kind that a report or a note is labelled with; empty when with none.
pub fn subkind_label(object: &Value) -> &str {
    let labels = object["labels"].as_array();
    let mut labels = labels.into_iter().flatten().filter_map(Value::as_str);
    labels
        .find_map(|label| label.strip_prefix(SUBKIND))
        .unwrap_or_default()
}

/// The moment at which the object of a CVE number says that it was made: the same in every
/// alert and every house, as STIX 2.1 section 3.6 wants it of one object.
fn created_of(cve: &str) -> String {
    let year = cve.split('-').nth(1).unwrap_or("1999");
    format!("{year}-01-01T00:00:00.000Z")
}

/// What the report's own properties do not hold, for its extension.
fn extension_of(alert: &Alert) -> Value {
    let mut extension = Values::new();
    extension.insert("extension_type".to_owned(), "property-extension".into());
    extension.insert("kind".to_owned(), alert.kind.as_str().into());
    let subkind = subkind_of(&alert.kind, &alert.document);
    if !subkind.is_empty() {
        extension.insert("subkind".to_owned(), subkind.into());
    }
    for (name, value) in &alert.document {
        let elsewhere = ELSEWHERE.contains(&name.as_str())
            || name.starts_with("sector_")
            || name.starts_with("subkind_");
        if !elsewhere && !value.is_null() {
            extension.insert(name.clone(), value.clone());
        }
    }
    Value::Object(extension)
}

/// An alert as STIX 2.1 objects: the centre, vulnerabilities, the report.
pub fn to_stix(alert: &Alert, publisher: &str) -> Vec<Value> {
    // The centre's own object stays the same whatever it publishes.
    let identity = centre(publisher, Timestamp(0));
    let created = moment(alert.published_at);
    let modified = moment(alert.retracted_at.unwrap_or(alert.published_at));
    let list = |name: &str| -> Vec<&str> {
        let items = alert.document.get(name).and_then(Value::as_array);
        items
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect()
    };
    let marking = TLP
        .iter()
        .find(|(label, _)| *label == alert.tlp)
        .map(|(_, id)| *id);
    let mut objects = vec![identity.clone()];
    let mut refs = vec![identity["id"].clone()];
    for cve in list("cves") {
        let vulnerability = json!({
            "type": "vulnerability", "spec_version": "2.1", "id": id("vulnerability", cve),
            "created": created_of(cve), "modified": created_of(cve), "name": cve,
            "external_references": [{"source_name": "cve", "external_id": cve}],
        });
        refs.push(vulnerability["id"].clone());
        objects.push(vulnerability);
    }
    let kind = match alert.kind.as_str() {
        "def" | "int" => "attack-pattern",
        _ if !list("cves").is_empty() => "vulnerability",
        _ => "threat-report",
    };
    let mut description = text(&alert.document, "summary").to_owned();
    for name in ["body", "advice"] {
        let more = text(&alert.document, name);
        if !more.is_empty() {
            description.push_str("\n\n");
            description.push_str(more);
        }
    }
    let mut report = json!({
        "type": "report", "spec_version": "2.1", "id": id("report", &alert.case.to_string()),
        "created_by_ref": identity["id"], "created": created, "modified": modified,
        "name": alert.subject, "description": description, "lang": "zh-TW",
        "published": created, "report_types": [kind], "object_refs": refs,
        "labels": [format!("{KIND}{}", alert.kind), format!("{ASKS}{}", alert.reply), format!("{SEVERITY}{}", alert.severity)],
        "extensions": {EXTENSION: extension_of(alert)},
    });
    let subkind = subkind_of(&alert.kind, &alert.document);
    if let (false, Some(labels)) = (subkind.is_empty(), report["labels"].as_array_mut()) {
        labels.push(format!("{SUBKIND}{subkind}").into());
    }
    if let Some(marking) = marking {
        report["object_marking_refs"] = json!([marking]);
    }
    let cves = list("cves");
    let cves = cves
        .iter()
        .map(|cve| json!({"source_name": "cve", "external_id": cve}));
    let links = list("references");
    let links = links
        .iter()
        .map(|url| json!({"source_name": "reference", "url": url}));
    let links: Vec<Value> = cves.chain(links).collect();
    if !links.is_empty() {
        report["external_references"] = links.into();
    }
    if alert.retracted_at.is_some() {
        report["revoked"] = true.into();
    }
    objects.push(report);
    objects
}

/// What a reply says (FBI).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Said<'a> {
    /// The finding: the sub-kind of the feedback.
    pub reply: Reply,
    /// A word with it.
    pub remark: &'a str,
    /// What was found.
    pub found: &'a str,
    /// What was done.
    pub done: &'a str,
}

/// Feedback on a report: the author, a note and an opinion. `name` makes their ids.
fn note_and_opinion(
    said: Said<'_>,
    report: &str,
    author: &str,
    name: &str,
    at: Timestamp,
) -> Vec<Value> {
    let author = centre(author, Timestamp(0));
    let at = moment(at);
    let name_of = said.reply.name();
    let parts = [said.remark, said.found, said.done];
    let words: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    let content = match words.is_empty() {
        true => name_of.zh,
        false => format!("{}:{}", name_of.zh, words.join("\n")),
    };
    let tag = said.reply.tag();
    let labels = [
        format!("{KIND}fbi"),
        format!("{SUBKIND}{tag}"),
        format!("{ASKS}{tag}"),
    ];
    let mut extension =
        json!({"extension_type": "property-extension", "subkind": tag, "report_ref": report});
    for (property, text) in [
        ("remark", said.remark),
        ("found", said.found),
        ("done", said.done),
    ] {
        if !text.is_empty() {
            extension[property] = text.into();
        }
    }
    let mut opinion = json!({
        "type": "opinion", "spec_version": "2.1", "id": id("opinion", name), "created_by_ref": author["id"],
        "created": at, "modified": at, "opinion": opinion_of(said.reply), "object_refs": [report], "labels": labels,
    });
    if !said.found.is_empty() {
        opinion["explanation"] = said.found.into();
    }
    vec![
        author.clone(),
        json!({
            "type": "note", "spec_version": "2.1", "id": id("note", name), "created_by_ref": author["id"],
            "created": at, "modified": at, "content": content, "object_refs": [report], "labels": labels,
            "extensions": {FEEDBACK: extension},
        }),
        opinion,
    ]
}

/// A member's reply as feedback (FBI) on the alert's report. The member is named only
/// by `member`, which may be a pseudonym.
pub fn feedback(alert: &Alert, recipient: &Recipient, member: &str) -> Vec<Value> {
    let (Some(reply), Some(at)) = (recipient.reply, recipient.replied_at) else {
        return Vec::new();
    };
    let report = id("report", &alert.case.to_string());
    let said = Said {
        reply,
        remark: &recipient.remark,
        found: &recipient.found,
        done: &recipient.done,
    };
    let name = format!("{}:{member}", alert.case);
    note_and_opinion(said, &report, member, &name, at)
}

/// The identifier of the report that an alert is.
pub fn report_id(case: base::CaseId) -> String {
    id("report", &case.to_string())
}

/// The answer and the report of a note that is feedback (FBI).
pub fn reply_of(note: &Value) -> Option<(&str, &str)> {
    let labels = note["labels"].as_array()?;
    let label = |prefix: &str| {
        labels
            .iter()
            .filter_map(Value::as_str)
            .find_map(|label| label.strip_prefix(prefix))
    };
    if label(KIND) != Some("fbi") {
        return None;
    }
    let reply = label(SUBKIND).or_else(|| label(ASKS))?;
    let refs = note["object_refs"].as_array()?;
    let report = refs
        .iter()
        .filter_map(Value::as_str)
        .find(|id| id.starts_with("report--"))?;
    Some((reply, report))
}

/// What a note of feedback says beside its finding: remark, what was found, what was done.
/// A note without our extension says it in its content.
pub fn words_of(note: &Value) -> [&str; 3] {
    match note["extensions"][FEEDBACK].as_object() {
        Some(extension) => ["remark", "found", "done"].map(|name| text(extension, name)),
        None => [note["content"].as_str().unwrap_or_default(), "", ""],
    }
}

/// Whether a note or opinion is feedback (FBI): somebody's reply to an alert.
pub(crate) fn is_feedback(object: &reader::Node<'_>) -> bool {
    let labels = object.get("labels").and_then(reader::Node::list);
    labels
        .unwrap_or_default()
        .iter()
        .filter_map(reader::Node::text)
        .any(|label| label.strip_prefix(KIND) == Some("fbi"))
}

/// Kind and what is asked of a report that is an alert of another house.
pub fn asked_of(report: &Value) -> Option<(&str, &str)> {
    let labels = report["labels"].as_array()?;
    let label = |prefix: &str| {
        labels
            .iter()
            .filter_map(Value::as_str)
            .find_map(|label| label.strip_prefix(prefix))
    };
    let kind = label(KIND).filter(|kind| *kind != "fbi")?;
    Some((kind, label(ASKS).unwrap_or("none")))
}

/// This house's answer to another's alert: note and opinion on its report.
pub fn answer(report: &str, said: Said<'_>, house: &str, at: Timestamp) -> Vec<Value> {
    note_and_opinion(said, report, house, &format!("{report}:{house}"), at)
}

/// What a house holds of an indicator, as an opinion on it.
pub fn verdict(
    indicator: &str,
    opinion: &str,
    why: &str,
    house: &str,
    at: Timestamp,
) -> Vec<Value> {
    let author = centre(house, Timestamp(0));
    let at = moment(at);
    let mut said = json!({
        "type": "opinion", "spec_version": "2.1", "id": id("opinion", &format!("{indicator}:{house}")), "created_by_ref": author["id"],
        "created": at, "modified": at, "opinion": opinion, "object_refs": [indicator],
    });
    if !why.is_empty() {
        said["explanation"] = why.into();
    }
    vec![author, said]
}

const fn opinion_of(reply: Reply) -> &'static str {
    match reply {
        Reply::FalseAlarm => "strongly-disagree",
        Reply::Incident => "strongly-agree",
        Reply::Acknowledged => "agree",
        Reply::Unknown => "neutral",
    }
}

/// The values of an alert's draft from STIX objects that hold one report: its own extension
/// gives back what another house of ours was asked, anything else is read from the
/// properties that STIX has. The audience is left for the officer to choose.
///
/// # Errors
/// [`KindError`] naming the property and the rule.
pub fn from_stix(objects: &[Value], form: &Form) -> Result<Values, KindError> {
    let reports: Vec<&Value> = objects.iter().filter(|o| o["type"] == "report").collect();
    let [report] = reports.as_slice() else {
        return Err(KindError::Reports(reports.len()));
    };
    let name = report["name"].as_str().map(|name| cut(name, 150));
    let name = name
        .filter(|name| name.chars().count() >= 4)
        .ok_or(KindError::Property {
            property: "name",
            rule: "must be a text of at least 4 characters",
        })?;
    let kind = label_of(report, KIND, &["ana", "ewa", "def", "int"]).unwrap_or("ana");
    let asked = match kind {
        "ewa" => "verdict",
        _ => label_of(report, ASKS, &["none", "acknowledge", "verdict"]).unwrap_or("none"),
    };
    let severities = ["low", "medium", "high", "critical"];
    let marking = report["object_marking_refs"].as_array();
    let tlp = marking
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .find_map(|id| TLP.iter().find(|(_, known)| *known == id))
        // What carries no marking is not for everybody.
        .map_or("amber", |(label, _)| *label);
    let mut values = Values::new();
    for (field, value) in [
        ("subject", name.as_str()),
        ("kind", kind),
        ("tlp", tlp),
        (
            "severity",
            label_of(report, SEVERITY, &severities).unwrap_or("medium"),
        ),
        ("reply", asked),
    ] {
        values.insert(field.to_owned(), value.into());
    }
    let extension = report["extensions"][EXTENSION].as_object();
    if extension.is_none_or(|extension| text(extension, "summary").is_empty()) {
        describe(report, &name, &mut values);
    }
    let subkinds: Vec<&str> = form
        .schema
        .properties
        .get(&subkind_field(kind))
        .map(|property| property.choices.iter().map(String::as_str).collect())
        .unwrap_or_default();
    if let Some(subkind) = label_of(report, SUBKIND, &subkinds) {
        values.insert(subkind_field(kind), subkind.into());
    }
    for (name, value) in extension.into_iter().flatten() {
        let ours = form.asks(name, &values)
            && !ELSEWHERE.contains(&name.as_str())
            && !name.starts_with("sector_")
            && !name.starts_with("subkind_");
        if ours {
            values.insert(name.clone(), value.clone());
        }
    }
    for (field, list) in [
        ("cves", json!(cves_of(objects, report))),
        ("references", json!(urls_of(report))),
    ] {
        if list != json!([]) {
            values.insert(field.to_owned(), list);
        }
    }
    Ok(values)
}

/// The value of a label that is one of those known.
fn label_of<'a>(report: &'a Value, prefix: &str, known: &[&str]) -> Option<&'a str> {
    let labels = report["labels"].as_array()?;
    labels
        .iter()
        .filter_map(|label| label.as_str()?.strip_prefix(prefix))
        .find(|value| known.contains(value))
}

fn cut(text: &str, most: usize) -> String {
    let clean = text.chars().filter(|c| !c.is_control() || *c == '\n');
    clean.take(most).collect::<String>().trim().to_owned()
}

/// Summary and details of a report that says everything in its description.
fn describe(report: &Value, name: &str, values: &mut Values) {
    let described = report["description"].as_str().unwrap_or(name);
    let mut summary = cut(described, 1_000);
    if summary.chars().count() < 10 {
        summary = format!("{name}:{summary}");
        while summary.chars().count() < 10 {
            summary.push('。');
        }
    }
    values.insert("summary".to_owned(), summary.into());
    if described.chars().count() > 1_000 {
        values.insert("body".to_owned(), cut(described, 10_000).into());
    }
}

fn references_of(object: &Value) -> impl Iterator<Item = &Value> {
    object["external_references"]
        .as_array()
        .into_iter()
        .flatten()
}

/// CVE numbers: of the report's references, and of the vulnerabilities that come with it.
fn cves_of(objects: &[Value], report: &Value) -> Vec<String> {
    let vulnerabilities: Vec<&Value> = objects
        .iter()
        .filter(|object| object["type"] == "vulnerability")
        .collect();
    let told = std::iter::once(report)
        .chain(vulnerabilities.iter().copied())
        .flat_map(references_of)
        .filter(|one| {
            one["source_name"]
                .as_str()
                .is_some_and(|name| name.eq_ignore_ascii_case("cve"))
        })
        .filter_map(|one| one["external_id"].as_str());
    let named = vulnerabilities
        .iter()
        .filter_map(|one| one["name"].as_str());
    let mut found: Vec<String> = Vec::new();
    for cve in told.chain(named).filter(|cve| is_cve(cve)) {
        if found.len() < LINKS_MAX && !found.iter().any(|one| one == cve) {
            found.push(cve.to_owned());
        }
    }
    found
}

/// Links of the report's references.
fn urls_of(report: &Value) -> Vec<&str> {
    let mut found = Vec::new();
    for url in references_of(report).filter_map(|one| one["url"].as_str()) {
        let good = url.chars().count() <= LINK_CHARS_MAX && is_http_url(url);
        if good && found.len() < LINKS_MAX && !found.contains(&url) {
            found.push(url);
        }
    }
    found
}

fn is_cve(name: &str) -> bool {
    let mut parts = name.split('-');
    let digits = |part: Option<&str>, least: usize| {
        part.is_some_and(|p| {
            p.len() >= least && p.len() <= 19 && p.bytes().all(|b| b.is_ascii_digit())
        })
    };
    parts.next() == Some("CVE")
        && digits(parts.next(), 4)
        && digits(parts.next(), 4)
        && parts.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::{CaseId, OrgId};

    fn form() -> Form {
        Form::parse(include_str!("../forms/alert.v2.json")).expect("the built-in form")
    }

    fn alert() -> Alert {
        let document = json!({
            "subject": "歷史資料庫漏洞", "kind": "ewa", "severity": "high", "tlp": "green",
            "summary": "SCADA Historian 的漏洞正遭利用。", "body": "細節如下。", "advice": "立即更新",
            "products": ["Historian 9", "Historian 10"],
            "cves": ["CVE-2026-12345", "CVE-2025-99999"], "references": ["https://vendor.example/1"],
            "subkind_ewa": "intrusion", "warning_source": "C-ISAC 蜜網", "targets": ["192.0.2.7"],
            "evidence": "連線紀錄", "seen_at": "2026-11-21T08:00:00+08:00",
            "reply": "verdict", "reply_hours": 24,
        });
        Alert {
            case: CaseId::generate(),
            number: casework::CaseNumber::new(7),
            kind: "ewa".into(),
            tlp: "green".into(),
            severity: "high".into(),
            subject: "歷史資料庫漏洞".into(),
            document: document.as_object().cloned().expect("an object"),
            reply: "verdict".into(),
            public: false,
            published_at: Timestamp::from_seconds(1_795_222_800),
            reply_due: None,
            retracted_at: None,
            retract_reason: String::new(),
            recipients: 0,
            replied: 0,
        }
    }

    fn report_of(objects: &[Value]) -> &Value {
        let mut reports = objects.iter().filter(|one| one["type"] == "report");
        reports.next().expect("a report")
    }

    #[test]
    fn an_alert_comes_back_as_it_went() {
        let alert = alert();
        let objects = to_stix(&alert, "civicnet");
        assert_eq!(
            objects,
            to_stix(&alert, "civicnet"),
            "the same names each time"
        );
        assert_eq!(objects.len(), 4);
        let report = report_of(&objects);
        assert_eq!(report["created"], "2026-11-21T01:00:00.000Z");
        let labels = report["labels"].to_string();
        assert!(
            labels.contains("civicnet-kind:ewa") && labels.contains("civicnet-subkind:intrusion"),
            "{labels}"
        );
        for object in &objects {
            crate::objects::prepare::object(&object.to_string()).expect("good STIX");
        }
        let values = from_stix(&objects, &form()).expect("ours");
        assert_eq!(values, alert.document, "nothing is lost, nothing is added");
        // Version 5, variant 1 (RFC 9562 section 4).
        let id = report["id"].as_str().expect("a text");
        assert_eq!((&id[22..23], id.len()), ("5", 44), "{id}");
    }

    /// Every kind with all that it has of its own, and what it must not be without.
    #[test]
    fn every_kind_has_fields_of_its_own_and_keeps_them() {
        let common = json!({
            "subject": "標題四字", "severity": "low", "tlp": "amber", "summary": "十個字以上的摘要才算數。",
            "advice": "請依說明處理", "sector_all": true, "reply": "verdict", "reply_hours": 8,
        });
        let moment = "2026-11-21T08:00:00+08:00";
        for (kind, own, needed) in [
            (
                "ana",
                json!({"subkind_ana": "vulnerability", "platforms": ["Linux"], "impact": "遠端執行程式碼"}),
                vec!["subkind_ana"],
            ),
            (
                "ewa",
                json!({"subkind_ewa": "phishing", "warning_source": "民眾檢舉", "targets": ["www.agency.example"], "evidence": "信件標頭", "seen_at": moment}),
                vec!["subkind_ewa", "warning_source"],
            ),
            (
                "int",
                json!({"subkind_int": "relay", "hosts": ["192.0.2.8"], "attack": "弱密碼", "first_seen": moment, "last_seen": moment, "attackers": ["198.51.100.3"]}),
                vec!["subkind_int", "hosts"],
            ),
            (
                "def",
                json!({"subkind_def": "defacement", "urls": ["https://www.agency.example/index.html"], "mirrors": ["https://mirror.example/1"], "seen_at": moment}),
                vec!["subkind_def", "urls"],
            ),
        ] {
            let mut document = common.as_object().cloned().expect("an object");
            document.insert("kind".into(), kind.into());
            document.extend(own.as_object().cloned().expect("an object"));
            let whole = casework::validate::Completeness::Whole;
            let found = |values: &Values| -> Vec<String> {
                let all = casework::validate::problems(&form(), values, whole);
                all.into_iter().map(|one| one.field).collect()
            };
            assert_eq!(found(&document), Vec::<String>::new(), "{kind}");
            for name in &needed {
                let mut without = document.clone();
                without.remove(*name);
                assert_eq!(found(&without), [*name], "{kind}");
            }
            let mut of_others = document.clone();
            of_others.insert(
                "kind".into(),
                if kind == "ana" { "int" } else { "ana" }.into(),
            );
            assert!(found(&of_others).contains(&needed[0].to_owned()), "{kind}");

            let objects = to_stix(
                &Alert {
                    kind: kind.into(),
                    tlp: "amber".into(),
                    severity: "low".into(),
                    subject: "標題四字".into(),
                    document: document.clone(),
                    ..alert()
                },
                "civicnet",
            );
            for object in &objects {
                crate::objects::prepare::object(&object.to_string()).expect("good STIX");
            }
            let back = from_stix(&objects, &form()).expect("ours");
            // Whom it is for is the receiver's own choice.
            document.remove("sector_all");
            assert_eq!(back, document, "{kind}");
        }
    }

    #[test]
    fn the_object_of_a_cve_is_the_same_in_every_alert() {
        let vulnerability = |seconds: i64, publisher: &str| -> Value {
            let mut alert = alert();
            alert.published_at = Timestamp::from_seconds(seconds);
            to_stix(&alert, publisher).remove(1)
        };
        let first = vulnerability(1_795_222_800, "civicnet");
        assert_eq!(first["created"], "2026-01-01T00:00:00.000Z");
        assert_eq!(first, vulnerability(1_800_000_000, "another house"));
    }

    #[test]
    fn references_of_others_become_cves_and_links() {
        let report = json!({
            "type": "report", "name": "foreign report", "description": "Something that others wrote.",
            "external_references": [
                {"source_name": "cve", "external_id": "CVE-2024-3400"},
                {"source_name": "CVE", "external_id": "CVE-2024-3400", "url": "https://nvd.example/CVE-2024-3400"},
                {"source_name": "blog", "url": "https://blog.example/1"},
                {"source_name": "odd", "url": "ftp://blog.example/1"},
                {"source_name": "cve", "external_id": "3400"},
            ],
        });
        let vulnerability = json!({"type": "vulnerability", "name": "PAN-OS", "external_references": [{"source_name": "cve", "external_id": "CVE-2023-11111"}]});
        let values = from_stix(&[report, vulnerability], &form()).expect("read");
        assert_eq!(values["cves"], json!(["CVE-2024-3400", "CVE-2023-11111"]));
        assert_eq!(
            values["references"],
            json!([
                "https://nvd.example/CVE-2024-3400",
                "https://blog.example/1"
            ])
        );
        assert_eq!(values["summary"], "Something that others wrote.");
    }

    #[test]
    fn a_reply_is_feedback_on_the_report() {
        let alert = alert();
        let recipient = Recipient {
            org: OrgId::generate(),
            sent_at: Timestamp(0),
            read_at: None,
            reply: Some(Reply::FalseAlarm),
            remark: "是弱點掃描".into(),
            found: "來源為授權的掃描主機".into(),
            done: "已加入白名單".into(),
            replied_by: None,
            replied_at: Some(Timestamp::from_seconds(1_795_226_400)),
            chased: 0,
        };
        let objects = feedback(&alert, &recipient, "member-1");
        assert_eq!(objects[2]["opinion"], "strongly-disagree");
        assert_eq!(
            objects[1]["object_refs"][0],
            report_of(&to_stix(&alert, "civicnet"))["id"]
        );
        assert!(
            objects[1]["content"]
                .as_str()
                .is_some_and(|text| text.starts_with("誤判"))
        );
        let id = report_id(alert.case);
        assert_eq!(reply_of(&objects[1]), Some(("false-alarm", id.as_str())));
        let words = ["是弱點掃描", "來源為授權的掃描主機", "已加入白名單"];
        assert_eq!(words_of(&objects[1]), words);
        for object in &objects {
            crate::objects::prepare::object(&object.to_string()).expect("good STIX");
        }
        let silent = Recipient {
            reply: None,
            ..recipient
        };
        assert!(feedback(&alert, &silent, "member-1").is_empty());
    }

    #[test]
    fn strangers_objects_are_refused_by_name_or_read_with_care() {
        assert_eq!(from_stix(&[], &form()), Err(KindError::Reports(0)));
        let bare = json!({"type": "report", "name": "ab"});
        assert!(matches!(
            from_stix(&[bare], &form()),
            Err(KindError::Property {
                property: "name",
                ..
            })
        ));
        let odd = json!({"type": "report", "name": "foreign\u{0} report", "labels": ["civicnet-kind:zzz", 7], "object_marking_refs": "x"});
        let values = from_stix(
            &[odd, json!({"type": "vulnerability", "name": "CVE-x"})],
            &form(),
        )
        .expect("read");
        assert_eq!(
            (&values["kind"], &values["tlp"], &values["subject"]),
            (&json!("ana"), &json!("amber"), &json!("foreign report"))
        );
        assert!(values.get("cves").is_none());
    }
}
