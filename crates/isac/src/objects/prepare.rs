//! From received bytes to rows: read, checked, digested. Pure and busy: run it away
//! from the threads that serve sockets.

use super::{hash64, place};
use crate::kinds;
use crate::report::intake::EXTENSION;
use crate::stix::check::{Family, check};
use crate::stix::json::{self, JsonError, Node};
use crate::stix::{Tlp, Wrong, time};

/// Objects in one envelope.
pub const OBJECTS_MAX: usize = 100_000;
/// Bytes of one object.
pub const OBJECT_BYTES_MAX: usize = 4 << 20;

/// An object ready to be stored.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// Its id.
    pub id: String,
    /// Its type.
    pub kind: String,
    /// Its version in microseconds; `None` for cyber-observables.
    pub version: Option<i64>,
    /// Its most closed marking.
    pub tlp: Tlp,
    pub(super) id_hash: i64,
    pub(super) digest: i64,
    /// Its band, where it is for its sender and the house alone.
    pub(super) guarded: Option<i64>,
    /// Its place in the envelope.
    pub(crate) index: usize,
    /// The object, byte for byte, but for `created` and `modified` to the millisecond.
    pub json: String,
}

/// An object that is not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Its place in the envelope.
    pub index: usize,
    /// Its id, as far as it has one.
    pub id: String,
    /// Its version as it is written there.
    pub version: String,
    /// Why.
    pub wrong: Wrong,
}

/// What an envelope holds.
#[derive(Debug, Default)]
pub struct Batch {
    /// What can be stored, in order.
    pub objects: Vec<Prepared>,
    /// What cannot.
    pub refused: Vec<Refused>,
}

/// Why an envelope as a whole is not taken.
#[derive(Debug, thiserror::Error)]
pub enum EnvelopeError {
    /// It is no JSON.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// It is no envelope.
    #[error("{path}: {rule}")]
    Shape {
        /// Where.
        path: &'static str,
        /// What must hold.
        rule: String,
    },
}

/// Reads an envelope of TAXII or a bundle of STIX: an object with a list `objects`.
///
/// # Errors
/// When it is neither. Objects that break rules are in the batch, refused.
pub fn envelope(body: &[u8]) -> Result<Batch, EnvelopeError> {
    let node = json::parse(body)?;
    let shape = |path, rule: String| EnvelopeError::Shape { path, rule };
    if node.map().is_none() {
        return Err(shape("envelope", "must be an object".to_owned()));
    }
    let Some(objects) = node.get("objects") else {
        return Err(shape("objects", "is required".to_owned()));
    };
    let Some(objects) = objects.list() else {
        return Err(shape("objects", "must be a list".to_owned()));
    };
    if objects.len() > OBJECTS_MAX {
        return Err(shape(
            "objects",
            format!(
                "has {} items: must have at most {OBJECTS_MAX}",
                objects.len()
            ),
        ));
    }
    let mut batch = Batch {
        objects: Vec::with_capacity(objects.len()),
        refused: Vec::new(),
    };
    for (index, object) in objects.iter().enumerate() {
        match one(body, object) {
            Ok(prepared) => batch.objects.push(Prepared { index, ..prepared }),
            Err(wrong) => {
                let text = |name| -> String {
                    let text = object.text_of(name).unwrap_or_default();
                    text.chars().take(100).collect()
                };
                batch.refused.push(Refused {
                    index,
                    id: text("id"),
                    version: text("modified"),
                    wrong,
                });
            }
        }
    }
    Ok(batch)
}

/// Prepares one object from its text.
///
/// # Errors
/// When it is no JSON, or breaks a rule.
pub fn object(text: &str) -> Result<Prepared, EnvelopeError> {
    let node = json::parse(text.as_bytes())?;
    one(text.as_bytes(), &node).map_err(|wrong| EnvelopeError::Shape {
        path: "object",
        rule: wrong.to_string(),
    })
}

fn one(body: &[u8], node: &Node<'_>) -> Result<Prepared, Wrong> {
    let object = check(node)?;
    let bytes = &body[node.range()];
    if bytes.len() > OBJECT_BYTES_MAX {
        return Err(Wrong {
            path: String::new(),
            rule: format!("must have at most {OBJECT_BYTES_MAX} bytes"),
        });
    }
    let json = match std::str::from_utf8(bytes) {
        Ok(text) => to_the_millisecond(text, node),
        // The reader has checked all of the text.
        Err(_) => {
            return Err(Wrong {
                path: String::new(),
                rule: "must be UTF-8".to_owned(),
            });
        }
    };
    Ok(Prepared {
        id: object.id.to_owned(),
        kind: object.kind.to_owned(),
        version: match object.family {
            Family::Observable => None,
            _ => object.version,
        },
        tlp: object.tlp,
        id_hash: hash64(object.id.as_bytes()),
        digest: hash64(json.as_bytes()),
        guarded: guarded(object.kind, node),
        index: 0,
        json,
    })
}

/// What is said to the house alone: a report of an incident, the reply to an alert.
fn guarded(kind: &str, node: &Node<'_>) -> Option<i64> {
    let report = || node.get("extensions")?.get(EXTENSION);
    match kind {
        "incident" => report().map(|_| place::CONFIDENTIAL),
        "note" | "opinion" => kinds::is_feedback(node).then_some(place::REPLY),
        _ => None,
    }
}

/// The object with `created` and `modified` to the millisecond: the same times, as others
/// insist to read them (STIX 2.1 section 3.2). Everything else stays, byte for byte.
fn to_the_millisecond(text: &str, node: &Node<'_>) -> String {
    let mut out = text.to_owned();
    let mut written: Vec<(std::ops::Range<usize>, String)> = ["created", "modified"]
        .into_iter()
        .filter_map(|name| {
            let range = node.get(name)?.range();
            let time = time::to_the_millisecond(node.text_of(name)?)?;
            Some((range, format!("\"{time}\"")))
        })
        .collect();
    // From the end, so that places before it stay.
    written.sort_by_key(|(range, _)| std::cmp::Reverse(range.start));
    let start = node.range().start;
    for (range, time) in written {
        out.replace_range(range.start - start..range.end - start, &time);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const OBJECT: &str = r#"{"type":"campaign", "id":"campaign--8e2e2d2b-17d4-4cbf-938f-98ee46b3cd3f","modified": "2016-04-06T20:03:48.5Z","spec_version":"2.1",
        "created":"2016-04-06T20:03:48Z" ,"name":"2016-04-06T20:03:48Z"}"#;

    #[test]
    fn times_of_versions_are_written_to_the_millisecond_and_nothing_else_changes() {
        let wanted = OBJECT.replace("48.5Z", "48.500Z").replace(
            "\"created\":\"2016-04-06T20:03:48Z\"",
            "\"created\":\"2016-04-06T20:03:48.000Z\"",
        );
        let alone = object(OBJECT).expect("good");
        assert_eq!(alone.json, wanted);
        assert_eq!(alone.version, time::parse("2016-04-06T20:03:48.5Z"));
        let envelope = envelope(format!(r#" {{"objects":[{OBJECT} , {wanted}]}}"#).as_bytes());
        let envelope = envelope.expect("good").objects;
        // The same object in either notation is the same.
        assert_eq!(
            (&envelope[0].json, envelope[0].digest),
            (&wanted, envelope[1].digest)
        );
        let fine = OBJECT
            .replace("48.5Z", "48.123456Z")
            .replace("48Z", "48.000Z");
        assert_eq!(object(&fine).expect("good").json, fine);
    }
}
