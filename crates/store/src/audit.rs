//! The audit trail: who did what to what, when, in a chain that shows tampering.
//!
//! Each entry carries the SHA-256 of its canonical encoding and of the hash before
//! it, and is written in the transaction of the change it records. [`verify`]
//! walks the chain. Whoever can rewrite the whole table can compute a whole new
//! chain: [`Anchors`] therefore keep heads in a file beside the database, signed
//! with a key that the database does not hold.

mod anchor;
mod entry;
mod verify;

use base::{OrgId, Timestamp};
use serde::{Deserialize, Serialize};
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, AssertSqlSafe, Row as _};

pub use anchor::{AnchorError, Anchors};
pub use entry::{Actor, AuditEntry, limits};
pub use verify::{BrokenAt, Verified, VerifyError, verify};

use crate::db::Db;
use crate::error::StoreError;
use crate::page::{Page, PageRequest};

pub(crate) const TABLES: &str = "
CREATE TABLE audit_entry (
    seq BIGINT PRIMARY KEY,
    at BIGINT NOT NULL,
    actor TEXT NOT NULL,
    org TEXT,
    action TEXT NOT NULL,
    subject TEXT NOT NULL,
    detail TEXT NOT NULL,
    request_id TEXT,
    hash TEXT NOT NULL
);
CREATE INDEX audit_entry_org ON audit_entry (org, seq);
CREATE INDEX audit_entry_actor ON audit_entry (actor, seq);
CREATE INDEX audit_entry_subject ON audit_entry (subject, seq);
CREATE TABLE audit_head (
    one BIGINT PRIMARY KEY,
    seq BIGINT NOT NULL,
    hash TEXT NOT NULL
);
INSERT INTO audit_head VALUES
    (1, 0, '0000000000000000000000000000000000000000000000000000000000000000');
";

const LIST: &str = "audit";

/// An entry as it stands in the trail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct AuditRecord {
    /// 1, 2, 3 … without gaps.
    pub seq: u64,
    /// When it was written.
    pub at: Timestamp,
    /// `user:…`, `node:…` or `system:…`.
    pub actor: String,
    /// The tenant concerned, if any.
    pub org: Option<String>,
    /// What was done: `site.publish`.
    pub action: String,
    /// To what: `site:…`.
    pub subject: String,
    /// More about it, as JSON text, exactly as hashed.
    pub detail: String,
    /// The request that caused it.
    pub request_id: Option<String>,
    /// Hash of this entry and of all before it, in hexadecimal.
    pub hash: String,
}

/// Which entries are wanted; absent parts match everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default)]
pub struct AuditFilter {
    /// Of this tenant.
    pub org: Option<OrgId>,
    /// By this actor, as `user:…`, `node:…` or `system:…`.
    pub actor: Option<String>,
    /// Actions that begin so: `site.` or `site.publish`.
    pub action: Option<String>,
    /// About this subject.
    pub subject: Option<String>,
    /// Not before.
    pub from: Option<Timestamp>,
    /// Before.
    pub until: Option<Timestamp>,
}

/// One page of the trail, newest first.
///
/// # Errors
/// When the cursor is none of this list or the database fails.
pub async fn page(
    db: &Db,
    filter: &AuditFilter,
    request: &PageRequest,
) -> Result<Page<AuditRecord>, StoreError> {
    let before: Option<i64> = request.after(LIST)?;
    // Only the conditions that are asked for, so that their indexes serve.
    let conditions = [
        (" AND org = $", filter.org.map(|org| org.to_string())),
        (" AND actor = $", filter.actor.clone()),
        (" AND subject = $", filter.subject.clone()),
        (
            " AND substr(action, 1, length($A)) = $",
            filter.action.clone(),
        ),
    ];
    let mut sql = "SELECT seq, at, actor, org, action, subject, detail, request_id, hash
        FROM audit_entry WHERE seq < $1 AND at >= $2 AND at < $3"
        .to_owned();
    let mut values = Vec::new();
    for (condition, value) in conditions {
        if let Some(value) = value {
            values.push(value);
            let place = (values.len() + 3).to_string();
            sql.push_str(&condition.replace("$A", &format!("${place}")));
            sql.push_str(&place);
        }
    }
    sql.push_str(&format!(" ORDER BY seq DESC LIMIT {}", request.fetch()));
    let mut query = sqlx::query(AssertSqlSafe(sql))
        .bind(before.unwrap_or(i64::MAX))
        .bind(filter.from.map_or(i64::MIN, Timestamp::micros))
        .bind(filter.until.map_or(i64::MAX, Timestamp::micros));
    for value in values {
        query = query.bind(value);
    }
    let rows = query.fetch_all(db.pool()).await?;
    let records = rows
        .iter()
        .map(record)
        .collect::<Result<Vec<_>, sqlx::Error>>()?;
    request.page(LIST, records, |record| record.seq)
}

impl Db {
    /// Records that somebody read personal data. Call it before handing the data
    /// out: what is not recorded must not be shown.
    ///
    /// # Errors
    /// As [`crate::Tx::audit`].
    pub async fn audit_read(&self, entry: AuditEntry) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        tx.audit(entry).await?;
        tx.commit().await
    }
}

/// Appends `entry`; the caller holds the writer's turn.
pub(crate) async fn append(
    connection: &mut AnyConnection,
    at: Timestamp,
    entry: AuditEntry,
) -> Result<u64, StoreError> {
    let head = sqlx::query("SELECT seq, hash FROM audit_head WHERE one = 1")
        .fetch_one(&mut *connection)
        .await?;
    let (last, previous): (i64, String) = (head.try_get(0)?, head.try_get(1)?);
    let mut record = entry.into_record(at)?;
    record.seq = u64::try_from(last).unwrap_or(0) + 1;
    record.hash = entry::chain(&previous, &record);
    sqlx::query("INSERT INTO audit_entry VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)")
        .bind(last + 1)
        .bind(record.at.micros())
        .bind(record.actor)
        .bind(record.org)
        .bind(record.action)
        .bind(record.subject)
        .bind(record.detail)
        .bind(record.request_id)
        .bind(record.hash.clone())
        .execute(&mut *connection)
        .await?;
    sqlx::query("UPDATE audit_head SET seq = $1, hash = $2 WHERE one = 1")
        .bind(last + 1)
        .bind(record.hash)
        .execute(&mut *connection)
        .await?;
    Ok(record.seq)
}

fn record(row: &AnyRow) -> Result<AuditRecord, sqlx::Error> {
    let seq: i64 = row.try_get("seq")?;
    Ok(AuditRecord {
        seq: u64::try_from(seq).unwrap_or(0),
        at: Timestamp(row.try_get("at")?),
        actor: row.try_get("actor")?,
        org: row.try_get("org")?,
        action: row.try_get("action")?,
        subject: row.try_get("subject")?,
        detail: row.try_get("detail")?,
        request_id: row.try_get("request_id")?,
        hash: row.try_get("hash")?,
    })
}
