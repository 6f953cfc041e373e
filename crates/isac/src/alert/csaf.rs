//! An alert as a document of the Common Security Advisory Framework 2.0 (OASIS
//! CSAF 2.0, section 3). Pure: an alert in, JSON out.
//!
//! With products and CVEs it is a `csaf_security_advisory` (profile 4), with
//! references a `csaf_informational_advisory` (profile 3), otherwise `csaf_base`.

use base::Timestamp;
use serde_json::{Value, json};

use super::grant::text;
use super::list::Alert;

/// Who publishes, as CSAF wants to know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publisher {
    /// The name of the centre.
    pub name: String,
    /// A URL that the centre controls.
    pub namespace: String,
}

/// RFC 3339 in UTC with seconds.
fn moment(at: Timestamp) -> String {
    jiff::Timestamp::from_second(at.seconds()).map_or_else(|_| at.to_string(), |at| at.to_string())
}

fn list<'a>(alert: &'a Alert, name: &str) -> Vec<&'a str> {
    let items = alert.document.get(name).and_then(Value::as_array);
    items
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

/// The document's name in trackers and file names (CSAF 2.0 section 5.1).
pub fn tracking_id(alert: &Alert) -> String {
    format!("CIVICNET-{}", alert.number.get())
}

/// The document.
pub fn document(alert: &Alert, publisher: &Publisher) -> Value {
    let (products, cves, references) = (
        list(alert, "products"),
        list(alert, "cves"),
        list(alert, "references"),
    );
    let category = if !products.is_empty() && !cves.is_empty() {
        "csaf_security_advisory"
    } else if !references.is_empty() {
        "csaf_informational_advisory"
    } else {
        "csaf_base"
    };
    let label = match alert.tlp.as_str() {
        "clear" => "WHITE",
        "green" => "GREEN",
        "amber" | "amber-strict" => "AMBER",
        _ => "RED",
    };
    let published = moment(alert.published_at);
    let mut history = vec![json!({"date": published, "number": "1", "summary": "Published"})];
    let mut current = published.clone();
    if let Some(at) = alert.retracted_at {
        current = moment(at);
        history.push(json!({"date": current, "number": "2", "summary": format!("Retracted: {}", alert.retract_reason)}));
    }
    let mut notes = Vec::new();
    for (category, title, name) in [
        ("summary", "摘要 Summary", "summary"),
        ("details", "說明 Details", "body"),
        ("general", "建議措施 What to do", "advice"),
    ] {
        let text = text(&alert.document, name);
        if !text.is_empty() {
            notes.push(json!({"category": category, "title": title, "text": text}));
        }
    }
    let mut document = json!({
        "document": {
            "category": category,
            "csaf_version": "2.0",
            "distribution": {"tlp": {"label": label, "url": "https://www.first.org/tlp/"}},
            "lang": "zh-TW",
            "notes": notes,
            "publisher": {"category": "coordinator", "name": publisher.name, "namespace": publisher.namespace},
            "title": alert.subject,
            "tracking": {
                "current_release_date": current,
                "generator": {"engine": {"name": "civicnet"}},
                "id": tracking_id(alert),
                "initial_release_date": published,
                "revision_history": history,
                "status": "final",
                "version": history.len().to_string(),
            }
        }
    });
    if let Some(severity) = severity(&alert.severity) {
        document["document"]["aggregate_severity"] = json!({"text": severity});
    }
    if !references.is_empty() {
        let links = references
            .iter()
            .map(|url| json!({"category": "external", "summary": url, "url": url}));
        document["document"]["references"] = links.collect();
    }
    if !products.is_empty() {
        let named = products
            .iter()
            .enumerate()
            .map(|(at, name)| json!({"product_id": format!("P{}", at + 1), "name": name}));
        document["product_tree"] = json!({"full_product_names": named.collect::<Vec<_>>()});
    }
    if category == "csaf_security_advisory" {
        let ids: Vec<String> = (1..=products.len()).map(|at| format!("P{at}")).collect();
        let advice = text(&alert.document, "advice");
        let vulnerabilities = cves.iter().map(|cve| {
            json!({
                "cve": cve,
                "notes": [{"category": "description", "text": text(&alert.document, "summary")}],
                "product_status": {"known_affected": ids},
                "remediations": [{"category": "mitigation", "details": advice, "product_ids": ids}],
            })
        });
        document["vulnerabilities"] = vulnerabilities.collect();
    }
    document
}

fn severity(name: &str) -> Option<&'static str> {
    match name {
        "low" => Some("Low"),
        "medium" => Some("Medium"),
        "high" => Some("High"),
        "critical" => Some("Critical"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::CaseId;

    fn alert(document: Value) -> Alert {
        Alert {
            case: CaseId::generate(),
            number: casework::CaseNumber::new(7),
            kind: "ana".into(),
            tlp: "clear".into(),
            severity: "high".into(),
            subject: "歷史資料庫漏洞".into(),
            document: document.as_object().cloned().unwrap_or_default(),
            reply: "none".into(),
            public: true,
            published_at: Timestamp::from_seconds(1_795_222_800),
            reply_due: None,
            retracted_at: None,
            retract_reason: String::new(),
            recipients: 0,
            replied: 0,
        }
    }

    fn publisher() -> Publisher {
        Publisher {
            name: "civicnet".into(),
            namespace: "https://cert.example".into(),
        }
    }

    #[test]
    fn the_category_follows_what_is_known() {
        let whole = json!({"summary": "s", "advice": "更新", "products": ["Historian 9"], "cves": ["CVE-2026-12345"], "references": ["https://vendor.example/1"]});
        let document = super::document(&alert(whole), &publisher());
        assert_eq!(document["document"]["category"], "csaf_security_advisory");
        assert_eq!(
            document["vulnerabilities"][0]["product_status"]["known_affected"][0],
            "P1"
        );
        assert_eq!(
            document["product_tree"]["full_product_names"][0]["product_id"],
            "P1"
        );
        assert_eq!(
            document["document"]["tracking"]["initial_release_date"],
            "2026-11-21T01:00:00Z"
        );
        assert_eq!(
            document["document"]["distribution"]["tlp"]["label"],
            "WHITE"
        );
        let links =
            json!({"summary": "s", "advice": "a", "references": ["https://vendor.example/1"]});
        let document = super::document(&alert(links), &publisher());
        assert_eq!(
            document["document"]["category"],
            "csaf_informational_advisory"
        );
        assert!(document.get("vulnerabilities").is_none());
        let bare = json!({"summary": "s", "advice": "a"});
        let document = super::document(&alert(bare), &publisher());
        assert_eq!(document["document"]["category"], "csaf_base");
    }

    #[test]
    fn a_retraction_is_a_revision() {
        let mut retracted = alert(json!({"summary": "s", "advice": "a"}));
        retracted.retracted_at = Some(Timestamp::from_seconds(1_795_226_400));
        retracted.retract_reason = "誤報".into();
        let document = super::document(&retracted, &publisher());
        let tracking = &document["document"]["tracking"];
        assert_eq!(
            (&tracking["version"], &tracking["current_release_date"]),
            (&json!("2"), &json!("2026-11-21T02:00:00Z"))
        );
        assert_eq!(
            tracking["revision_history"][1]["summary"],
            "Retracted: 誤報"
        );
    }
}
