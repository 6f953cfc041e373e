//! Galaxies of MISP, which name actors, malware and techniques, as objects of STIX. What a
//! cluster says is known by its kind, name and marking, so that two events that name the same
//! malware speak of one object.

use serde_json::{Value, json};

use super::misp::{list, moment, text};
use super::named;
use crate::stix::Tlp;

/// References and other names that are kept of one cluster.
const REFERENCES_MAX: usize = 20;

/// Of which type of STIX the clusters of a galaxy are.
pub(super) fn kind_of(galaxy: &str) -> Option<&'static str> {
    Some(match galaxy {
        "threat-actor" | "microsoft-activity-group" | "360net-threat-actor" => "threat-actor",
        "android" | "backdoor" | "banker" | "botnet" | "cryptominers" | "malpedia"
        | "ransomware" | "rat" | "stealer" | "mitre-ics-software" => "malware",
        "exploit-kit" | "tds" | "tool" => "tool",
        "branded-vulnerability" => "vulnerability",
        "mitre-ics-techniques" => "attack-pattern",
        "mitre-ics-groups" => "intrusion-set",
        "preventive-measure" => "course-of-action",
        other => {
            let whose = other.strip_prefix("mitre-")?;
            [
                "attack-pattern",
                "course-of-action",
                "intrusion-set",
                "malware",
                "tool",
            ]
            .into_iter()
            .find(|kind| whose.ends_with(kind))?
        }
    })
}

/// Galaxy and cluster of a tag such as `misp-galaxy:threat-actor="APT28"`.
pub(super) fn of_tag(tag: &str) -> Option<(&str, &str)> {
    let (galaxy, name) = tag.strip_prefix("misp-galaxy:")?.split_once('=')?;
    let name = name.trim_matches('"').trim();
    (!name.is_empty()).then_some((galaxy.trim(), name))
}

/// The object of a cluster, or why there is none; `cluster` may say no more than its `value`.
pub(super) fn object(galaxy: &str, cluster: &Value, at: i64, tlp: Tlp) -> Result<Value, String> {
    let kind = kind_of(galaxy).ok_or_else(|| format!("galaxy {galaxy:?} is not brought over"))?;
    let value = text(cluster, "value")
        .map(str::trim)
        .filter(|value| !value.is_empty())
        .ok_or("a cluster must have a value")?;
    // MITRE's clusters carry their number in the name: `Phishing - T1566`.
    let (name, number) = match value.rsplit_once(" - ") {
        Some((name, number)) if galaxy.starts_with("mitre-") && is_number(number) => {
            (name.trim(), Some(number))
        }
        _ => (value, None),
    };
    let id = named(&format!("{kind} {name} {}", tlp.name()));
    let mut made = json!({
        "type": kind, "spec_version": "2.1", "id": format!("{kind}--{id}"), "created": moment(at), "modified": moment(at),
        "name": name, "object_marking_refs": [tlp.marking()],
    });
    if kind == "malware" {
        // A cluster is what many samples have in common.
        made["is_family"] = true.into();
    }
    if let Some(text) = text(cluster, "description") {
        made["description"] = text.into();
    }
    let meta = |name: &str| -> Vec<&str> {
        list(&cluster["meta"][name])
            .iter()
            .filter_map(Value::as_str)
            .filter(|text| !text.is_empty())
            .take(REFERENCES_MAX)
            .collect()
    };
    let names = meta("synonyms");
    if !names.is_empty() && !matches!(kind, "vulnerability" | "course-of-action") {
        made["aliases"] = names.into();
    }
    let numbers = match (meta("external_id"), number) {
        (numbers, Some(number)) if numbers.is_empty() => vec![number],
        (numbers, _) => numbers,
    };
    let source = match galaxy.starts_with("mitre-") {
        true => "mitre-attack",
        false => "misp-galaxy",
    };
    let mut references: Vec<Value> = numbers
        .into_iter()
        .map(|number| json!({"source_name": source, "external_id": number}))
        .collect();
    if let Some(uuid) = text(cluster, "uuid") {
        references.push(json!({"source_name": "misp-galaxy", "external_id": uuid}));
    }
    let pages = meta("refs").into_iter();
    references.extend(pages.map(|url| json!({"source_name": "misp-galaxy", "url": url})));
    if !references.is_empty() {
        made["external_references"] = references.into();
    }
    Ok(made)
}

/// How an indicator is related to an object of `kind`, and whether the relationship begins there.
pub(super) fn relation(kind: &str) -> (&'static str, bool) {
    match kind {
        "course-of-action" => ("mitigates", true),
        "vulnerability" => ("related-to", false),
        _ => ("indicates", false),
    }
}

/// `T1566.001`, `S0023`
fn is_number(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(|c| c.is_ascii_uppercase())
        && text.len() > 1
        && chars.all(|c| c.is_ascii_digit() || c == '.')
}
