//! Resources as JSON. Objects are copied in as they were received.

use serde_json::{Value, json};
use uuid::Uuid;

use super::media::STIX_JSON;
use crate::objects::{Access, Collection, Page, Refused};
use crate::stix::time;

/// A collection (5.2.1).
pub fn collection(collection: &Collection, access: Access) -> Value {
    let mut out = json!({
        "id": collection.id,
        "title": collection.title,
        "can_read": access.read,
        "can_write": access.write,
        "media_types": [STIX_JSON],
    });
    if !collection.description.is_empty() {
        out["description"] = collection.description.clone().into();
    }
    if let Some(alias) = &collection.alias {
        out["alias"] = alias.clone().into();
    }
    out
}

/// The beginning of an envelope or list that may go on.
fn begin(out: &mut Vec<u8>, next: Option<&str>) {
    match next {
        // A cursor is of A-Z, a-z, 0-9, - and _.
        Some(next) => {
            out.extend_from_slice(format!("{{\"more\":true,\"next\":\"{next}\"").as_bytes())
        }
        None => out.extend_from_slice(b"{\"more\":false"),
    }
}

/// An envelope (3.7).
pub fn envelope(page: &Page, next: Option<&str>) -> Vec<u8> {
    let size: usize = page.rows.iter().map(|row| row.json.len() + 1).sum();
    let mut out = Vec::with_capacity(size + 256);
    begin(&mut out, next);
    for (index, row) in page.rows.iter().enumerate() {
        let before: &[u8] = if index == 0 { b",\"objects\":[" } else { b"," };
        out.extend_from_slice(before);
        out.extend_from_slice(row.json.as_bytes());
    }
    out.extend_from_slice(if page.rows.is_empty() { b"}" } else { b"]}" });
    out
}

/// A manifest (5.3.1).
pub fn manifest(page: &Page, next: Option<&str>) -> Vec<u8> {
    let mut out = Vec::with_capacity(page.rows.len() * 220 + 256);
    begin(&mut out, next);
    for (index, row) in page.rows.iter().enumerate() {
        let before = if index == 0 { ",\"objects\":[" } else { "," };
        // Ids are of a-z, 0-9 and hyphens.
        out.extend_from_slice(
            format!(
                "{before}{{\"id\":\"{}\",\"date_added\":\"{}\",\"version\":\"{}\",\"media_type\":\"{STIX_JSON}\"}}",
                row.id,
                time::format_micros(row.seq),
                time::format(row.version),
            )
            .as_bytes(),
        );
    }
    out.extend_from_slice(if page.rows.is_empty() { b"}" } else { b"]}" });
    out
}

/// The versions of an object (5.8.1).
pub fn versions(page: &Page, next: Option<&str>) -> Vec<u8> {
    let mut out = Vec::new();
    begin(&mut out, next);
    for (index, row) in page.rows.iter().enumerate() {
        let before = if index == 0 { ",\"versions\":[" } else { "," };
        out.extend_from_slice(format!("{before}\"{}\"", time::format(row.version)).as_bytes());
    }
    out.extend_from_slice(if page.rows.is_empty() { b"}" } else { b"]}" });
    out
}

/// A status (4.3.1): complete, because what is accepted is durable. Successes are
/// counted and not listed: they are all but the failures.
pub fn status(id: Uuid, at: i64, good: usize, refused: &[Refused]) -> String {
    let failures: Vec<Value> = refused
        .iter()
        .map(|refused| {
            let version = match time::parse(&refused.version) {
                Some(_) => refused.version.clone(),
                None => time::format(at),
            };
            let path = match refused.wrong.path.is_empty() {
                true => format!("objects[{}]", refused.index),
                false => format!("objects[{}].{}", refused.index, refused.wrong.path),
            };
            json!({
                "id": if refused.id.is_empty() { "unknown" } else { &refused.id },
                "version": version,
                "message": format!("{path}: {}", refused.wrong.rule),
            })
        })
        .collect();
    let mut out = json!({
        "id": id,
        "status": "complete",
        "request_timestamp": time::format_micros(at),
        "total_count": good + refused.len(),
        "success_count": good,
        "failure_count": refused.len(),
        "pending_count": 0,
    });
    if !failures.is_empty() {
        out["failures"] = failures.into();
    }
    out.to_string()
}
