//! The kinds of the sector ISACs (ANA analysis, EWA early warning, DEF defacement, INT
//! intrusion, FBI feedback) to and from STIX 2.1. Pure: JSON in, JSON out.
//!
//! An alert becomes a `report` with its `vulnerability` objects and the `identity` of
//! the centre; a member's reply becomes FBI: a `note` with an `opinion` on that report.
//! The kind and what is asked stand in labels, so that any TAXII client carries them.

use std::collections::BTreeMap;

use base::Timestamp;
use casework::form::Values;
use ring::digest;
use serde_json::{Value, json};

use crate::alert::grant::text;
use crate::alert::{Alert, Recipient, Reply};

/// Label prefix of the kind.
const KIND: &str = "civicnet-kind:";
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

fn centre(name: &str, at: Timestamp) -> Value {
    json!({
        "type": "identity", "spec_version": "2.1", "id": id("identity", name),
        "created": moment(at), "modified": moment(at),
        "name": name, "identity_class": "organization",
    })
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
            "created_by_ref": identity["id"], "created": created, "modified": created, "name": cve,
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
    });
    if let Some(marking) = marking {
        report["object_marking_refs"] = json!([marking]);
    }
    let links: Vec<Value> = list("references")
        .iter()
        .map(|url| json!({"source_name": "reference", "url": url}))
        .collect();
    if !links.is_empty() {
        report["external_references"] = links.into();
    }
    if alert.retracted_at.is_some() {
        report["revoked"] = true.into();
    }
    objects.push(report);
    objects
}

/// A member's reply as feedback (FBI) on the alert's report. The member is named only
/// by `member`, which may be a pseudonym.
pub fn feedback(alert: &Alert, recipient: &Recipient, member: &str) -> Vec<Value> {
    let (Some(reply), Some(at)) = (recipient.reply, recipient.replied_at) else {
        return Vec::new();
    };
    let report = id("report", &alert.case.to_string());
    let author = centre(member, Timestamp(0));
    let name = format!("{}:{member}", alert.case);
    let at = moment(at);
    let opinion = opinion_of(reply);
    let said = if recipient.remark.is_empty() {
        reply.name().zh
    } else {
        format!("{}:{}", reply.name().zh, recipient.remark)
    };
    let labels = [format!("{KIND}fbi"), format!("{ASKS}{}", reply.tag())];
    vec![
        author.clone(),
        json!({
            "type": "note", "spec_version": "2.1", "id": id("note", &name), "created_by_ref": author["id"],
            "created": at, "modified": at, "content": said, "object_refs": [report], "labels": labels,
        }),
        json!({
            "type": "opinion", "spec_version": "2.1", "id": id("opinion", &name), "created_by_ref": author["id"],
            "created": at, "modified": at, "opinion": opinion, "object_refs": [report], "labels": labels,
        }),
    ]
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
    let reply = label(ASKS)?;
    let refs = note["object_refs"].as_array()?;
    let report = refs
        .iter()
        .filter_map(Value::as_str)
        .find(|id| id.starts_with("report--"))?;
    Some((reply, report))
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
pub fn answer(report: &str, reply: Reply, remark: &str, house: &str, at: Timestamp) -> Vec<Value> {
    let author = centre(house, Timestamp(0));
    let name = format!("{report}:{house}");
    let at = moment(at);
    let opinion = opinion_of(reply);
    let content = match remark {
        "" => reply.name().zh,
        remark => remark.to_owned(),
    };
    let labels = [format!("{KIND}fbi"), format!("{ASKS}{}", reply.tag())];
    vec![
        author.clone(),
        json!({
            "type": "note", "spec_version": "2.1", "id": id("note", &name), "created_by_ref": author["id"],
            "created": at, "modified": at, "content": content, "object_refs": [report], "labels": labels,
        }),
        json!({
            "type": "opinion", "spec_version": "2.1", "id": id("opinion", &name), "created_by_ref": author["id"],
            "created": at, "modified": at, "opinion": opinion, "object_refs": [report], "labels": labels,
        }),
    ]
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

/// The values of an alert's draft from STIX objects that hold one report. The audience
/// is left for the officer to choose.
///
/// # Errors
/// [`KindError`] naming the property and the rule.
pub fn from_stix(objects: &[Value]) -> Result<Values, KindError> {
    let reports: Vec<&Value> = objects.iter().filter(|o| o["type"] == "report").collect();
    let [report] = reports.as_slice() else {
        return Err(KindError::Reports(reports.len()));
    };
    let cut = |text: &str, most: usize| -> String {
        let clean = text.chars().filter(|c| !c.is_control() || *c == '\n');
        clean.take(most).collect::<String>().trim().to_owned()
    };
    let name = report["name"].as_str().map(|name| cut(name, 150));
    let name = name
        .filter(|name| name.chars().count() >= 4)
        .ok_or(KindError::Property {
            property: "name",
            rule: "must be a text of at least 4 characters",
        })?;
    let labels: BTreeMap<&str, &str> = report["labels"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|label| label.as_str()?.split_once(':'))
        .collect();
    let label = |prefix: &str, known: &[&str], otherwise: &str| -> String {
        let found = labels.get(prefix.trim_end_matches(':')).copied();
        found
            .filter(|value| known.contains(value))
            .unwrap_or(otherwise)
            .to_owned()
    };
    let kind = label(KIND, &["ana", "ewa", "def", "int"], "ana");
    let asks = if kind == "ewa" { "verdict" } else { "none" };
    let marking = report["object_marking_refs"].as_array();
    let tlp = marking
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .find_map(|id| TLP.iter().find(|(_, known)| *known == id))
        // What carries no marking is not for everybody.
        .map_or("amber", |(label, _)| *label);
    let described = report["description"].as_str().unwrap_or(&name);
    let mut summary = cut(described, 1_000);
    if summary.chars().count() < 10 {
        summary = format!("{name}:{summary}");
        while summary.chars().count() < 10 {
            summary.push('。');
        }
    }
    let mut values = json!({
        "subject": name,
        "kind": kind,
        "tlp": tlp,
        "severity": label(SEVERITY, &["low", "medium", "high", "critical"], "medium"),
        "summary": summary,
        "reply": if kind == "ewa" { asks.to_owned() } else { label(ASKS, &["none", "acknowledge", "verdict"], asks) },
    });
    if described.chars().count() > 1_000 {
        values["body"] = cut(described, 10_000).into();
    }
    let cves: Vec<&str> = objects
        .iter()
        .filter(|object| object["type"] == "vulnerability")
        .filter_map(|object| object["name"].as_str())
        .filter(|name| is_cve(name))
        .take(50)
        .collect();
    if !cves.is_empty() {
        values["cves"] = json!(cves);
    }
    Ok(values.as_object().cloned().unwrap_or_default())
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

    fn alert() -> Alert {
        let document = json!({"summary": "SCADA Historian 的漏洞正遭利用。", "advice": "更新", "cves": ["CVE-2026-12345"], "references": ["https://vendor.example/1"]});
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

    #[test]
    fn an_alert_comes_back_as_it_went() {
        let alert = alert();
        let objects = to_stix(&alert, "civicnet");
        assert_eq!(
            objects,
            to_stix(&alert, "civicnet"),
            "the same names each time"
        );
        assert_eq!(objects.len(), 3);
        assert_eq!(objects[2]["created"], "2026-11-21T01:00:00.000Z");
        let values = from_stix(&objects).expect("ours");
        for (name, expected) in [
            ("subject", "歷史資料庫漏洞"),
            ("kind", "ewa"),
            ("tlp", "green"),
            ("severity", "high"),
            ("reply", "verdict"),
        ] {
            assert_eq!(values[name], expected, "{name}");
        }
        assert_eq!(values["cves"], json!(["CVE-2026-12345"]));
        // Version 5, variant 1 (RFC 9562 section 4).
        let id = objects[2]["id"].as_str().expect("a text");
        assert_eq!((&id[22..23], id.len()), ("5", 44), "{id}");
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
            replied_by: None,
            replied_at: Some(Timestamp::from_seconds(1_795_226_400)),
            chased: 0,
        };
        let objects = feedback(&alert, &recipient, "member-1");
        assert_eq!(objects[2]["opinion"], "strongly-disagree");
        assert_eq!(
            objects[1]["object_refs"][0],
            to_stix(&alert, "civicnet")[2]["id"]
        );
        assert!(
            objects[1]["content"]
                .as_str()
                .is_some_and(|text| text.starts_with("誤判"))
        );
        let silent = Recipient {
            reply: None,
            ..recipient
        };
        assert!(feedback(&alert, &silent, "member-1").is_empty());
    }

    #[test]
    fn strangers_objects_are_refused_by_name_or_read_with_care() {
        assert_eq!(from_stix(&[]), Err(KindError::Reports(0)));
        let bare = json!({"type": "report", "name": "ab"});
        assert!(matches!(
            from_stix(&[bare]),
            Err(KindError::Property {
                property: "name",
                ..
            })
        ));
        let odd = json!({"type": "report", "name": "foreign\u{0} report", "labels": ["civicnet-kind:zzz", 7], "object_marking_refs": "x"});
        let values =
            from_stix(&[odd, json!({"type": "vulnerability", "name": "CVE-x"})]).expect("read");
        assert_eq!(
            (&values["kind"], &values["tlp"], &values["subject"]),
            (&json!("ana"), &json!("amber"), &json!("foreign report"))
        );
        assert!(values.get("cves").is_none());
    }
}
