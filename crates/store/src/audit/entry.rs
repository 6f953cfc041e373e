//! An entry: its parts, its limits, its canonical encoding.

use std::fmt;

use base::{NodeName, OrgId, Timestamp, UserId};
use ring::digest::{Context, SHA256};
use serde_json::Value as Json;

use super::AuditRecord;
use crate::error::StoreError;

/// Bounds of an entry.
pub mod limits {
    /// Bytes of `action`.
    pub const ACTION_BYTES_MAX: usize = 100;
    /// Bytes of `subject`.
    pub const SUBJECT_BYTES_MAX: usize = 500;
    /// Bytes of `detail` as JSON text.
    pub const DETAIL_BYTES_MAX: usize = 64 * 1024;
    /// Bytes of `request_id`.
    pub const REQUEST_ID_BYTES_MAX: usize = 100;
}

/// Who did it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Actor {
    /// A person.
    User(UserId),
    /// A node.
    Node(NodeName),
    /// The program itself: the name of a task or command.
    System(&'static str),
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(id) => write!(f, "user:{id}"),
            Self::Node(name) => write!(f, "node:{name}"),
            Self::System(name) => write!(f, "system:{name}"),
        }
    }
}

/// Something to record.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditEntry {
    /// Who.
    pub actor: Actor,
    /// The tenant concerned; members of it may read the entry.
    pub org: Option<OrgId>,
    /// What was done: `site.publish`, `user.login`.
    pub action: String,
    /// To what: `site:…`, `user:…`.
    pub subject: String,
    /// More about it. Never a secret: values under names such as `password`,
    /// `secret` or `token` are blotted out.
    pub detail: Json,
    /// The request that caused it.
    pub request_id: Option<String>,
}

impl AuditEntry {
    /// An entry without tenant, detail and request.
    pub fn new(actor: Actor, action: impl Into<String>, subject: impl Into<String>) -> Self {
        Self {
            actor,
            org: None,
            action: action.into(),
            subject: subject.into(),
            detail: Json::Null,
            request_id: None,
        }
    }

    /// With the tenant concerned.
    #[must_use]
    pub fn org(mut self, org: OrgId) -> Self {
        self.org = Some(org);
        self
    }

    /// With more about it.
    #[must_use]
    pub fn detail(mut self, detail: Json) -> Self {
        self.detail = detail;
        self
    }

    /// With the request that caused it.
    #[must_use]
    pub fn request(mut self, id: impl Into<String>) -> Self {
        self.request_id = Some(id.into());
        self
    }

    pub(super) fn into_record(mut self, at: Timestamp) -> Result<AuditRecord, StoreError> {
        blot(&mut self.detail);
        let detail = self.detail.to_string();
        for (part, length, max) in [
            ("action", self.action.len(), limits::ACTION_BYTES_MAX),
            ("subject", self.subject.len(), limits::SUBJECT_BYTES_MAX),
            ("detail", detail.len(), limits::DETAIL_BYTES_MAX),
            (
                "request id",
                self.request_id.as_ref().map_or(0, String::len),
                limits::REQUEST_ID_BYTES_MAX,
            ),
        ] {
            if length > max {
                return Err(StoreError::Invalid(format!(
                    "{part} of audit entry {:?} has {length} bytes: must be at most {max}",
                    self.action.chars().take(40).collect::<String>()
                )));
            }
        }
        if self.action.is_empty() || self.subject.is_empty() {
            return Err(StoreError::Invalid(
                "action and subject of an audit entry must not be empty".to_owned(),
            ));
        }
        // PostgreSQL's TEXT cannot hold U+0000.
        let clean = |text: String| text.replace('\0', "\u{fffd}");
        Ok(AuditRecord {
            seq: 0,
            at,
            actor: self.actor.to_string(),
            org: self.org.map(|org| org.to_string()),
            action: clean(self.action),
            subject: clean(self.subject),
            detail,
            request_id: self.request_id.map(clean),
            hash: String::new(),
        })
    }
}

/// Parts of member names whose values are secrets.
const SECRET_NAMES: [&str; 7] = [
    "password",
    "passwd",
    "secret",
    "token",
    "private_key",
    "totp",
    "credential",
];
const BLOT: &str = "[not recorded]";

fn blot(value: &mut Json) {
    match value {
        Json::Object(members) => {
            for (name, value) in members {
                let lower = name.to_ascii_lowercase();
                // Ids of secrets and flags about them are facts, not secrets.
                let secret = value.is_string()
                    && !lower.ends_with("_id")
                    && SECRET_NAMES.iter().any(|part| lower.contains(part));
                if secret {
                    *value = BLOT.into();
                } else {
                    blot(value);
                }
            }
        }
        Json::Array(values) => values.iter_mut().for_each(blot),
        _ => {}
    }
}

/// The hash of `record` on top of `previous`: every field with its length before
/// it, absent ones told from empty ones, so that no two entries encode alike.
pub(super) fn chain(previous: &str, record: &AuditRecord) -> String {
    let mut context = Context::new(&SHA256);
    let mut field = |bytes: Option<&[u8]>| match bytes {
        Some(bytes) => {
            context.update(&[1]);
            context.update(&(bytes.len() as u64).to_be_bytes());
            context.update(bytes);
        }
        None => context.update(&[0]),
    };
    field(Some(b"civicnet audit 1"));
    field(Some(previous.as_bytes()));
    field(Some(&record.seq.to_be_bytes()));
    field(Some(&record.at.micros().to_be_bytes()));
    field(Some(record.actor.as_bytes()));
    field(record.org.as_deref().map(str::as_bytes));
    field(Some(record.action.as_bytes()));
    field(Some(record.subject.as_bytes()));
    field(Some(record.detail.as_bytes()));
    field(record.request_id.as_deref().map(str::as_bytes));
    hex::encode(context.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn secrets_are_blotted_out_wherever_they_stand() {
        let mut detail = json!({
            "name": "a",
            "new_password": "hunter2",
            "list": [{ "API_Token": "t", "token_id": "7", "totp_enabled": true }],
        });
        blot(&mut detail);
        assert_eq!(
            detail,
            json!({
                "name": "a",
                "new_password": BLOT,
                "list": [{ "API_Token": BLOT, "token_id": "7", "totp_enabled": true }],
            })
        );
    }

    #[test]
    fn fields_cannot_run_into_each_other() {
        let record = |action: &str, subject: &str| {
            AuditEntry::new(Actor::System("test"), action, subject)
                .into_record(Timestamp(0))
                .expect("within limits")
        };
        assert_ne!(
            chain("0", &record("ab", "c")),
            chain("0", &record("a", "bc"))
        );
        let mut empty_org = record("a", "b");
        empty_org.org = Some(String::new());
        assert_ne!(chain("0", &record("a", "b")), chain("0", &empty_org));
    }

    #[test]
    fn an_entry_beyond_its_limits_is_refused_by_name() {
        let entry = AuditEntry::new(Actor::System("test"), "a", "s".repeat(501));
        let error = entry.into_record(Timestamp(0)).expect_err("too long");
        assert!(error.to_string().contains("subject"), "{error}");
    }
}
