//! Walking the chain from its first entry.

use sqlx::Row as _;

use super::{Anchors, AuditRecord, entry, record};
use crate::db::Db;
use crate::error::StoreError;

/// Entries read at a time.
const BATCH_ROWS: i64 = 1_000;
const GENESIS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// A chain without a break.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Verified {
    /// Entries checked.
    pub entries: u64,
    /// Hash of the last one.
    pub head: String,
    /// Anchors that the chain agrees with.
    pub anchors: u64,
}

/// The first place where the trail was tampered with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, serde::Serialize)]
#[error("the audit trail is broken at entry {seq}: {what}")]
pub struct BrokenAt {
    /// Number of the entry.
    pub seq: u64,
    /// What is wrong with it.
    pub what: String,
}

/// Why a trail does not verify.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// It was tampered with.
    #[error(transparent)]
    Broken(#[from] BrokenAt),
    /// It cannot be read.
    #[error("cannot read the audit trail")]
    Store(#[from] StoreError),
    /// The anchors cannot be read or are forged.
    #[error("cannot check the audit trail's anchors")]
    Anchors(#[from] super::AnchorError),
}

/// Checks every entry, the recorded head and, if given, the anchors. Entries that
/// are added meanwhile are checked too.
///
/// # Errors
/// With the first break, or when something cannot be read.
pub async fn verify(db: &Db, anchors: Option<&Anchors>) -> Result<Verified, VerifyError> {
    let mut expected = match anchors {
        Some(anchors) => anchors.read()?,
        None => std::collections::BTreeMap::new(),
    };
    let anchored = expected.len() as u64;
    // The head is read first: entries may follow it, none may be missing before it.
    let head = sqlx::query("SELECT seq, hash FROM audit_head WHERE one = 1")
        .fetch_optional(db.pool())
        .await
        .map_err(StoreError::from)?;
    let Some(head) = head else {
        return Err(broken(0, "the head is missing"));
    };
    let head_seq: i64 = head.try_get(0).map_err(StoreError::from)?;
    let head_hash: String = head.try_get(1).map_err(StoreError::from)?;
    let mut last = AuditRecord {
        seq: 0,
        hash: GENESIS.to_owned(),
        ..empty()
    };
    let mut head_seen = head_seq == 0;
    loop {
        let batch = batch(db, last.seq).await?;
        if batch.is_empty() {
            break;
        }
        for record in batch {
            if record.seq != last.seq + 1 {
                return Err(broken(last.seq + 1, "the entry is missing"));
            }
            if record.hash != entry::chain(&last.hash, &record) {
                return Err(broken(record.seq, "the entry does not match its hash"));
            }
            if i64::try_from(record.seq) == Ok(head_seq) {
                head_seen = true;
                if record.hash != head_hash {
                    return Err(broken(record.seq, "the recorded head has another hash"));
                }
            }
            if let Some(hash) = expected.remove(&record.seq)
                && hash != record.hash
            {
                return Err(broken(
                    record.seq,
                    "an anchor has another hash: the trail was rewritten",
                ));
            }
            last = record;
        }
    }
    if !head_seen {
        return Err(broken(last.seq + 1, "entries at the end are missing"));
    }
    if let Some((seq, _)) = expected.pop_first() {
        return Err(broken(
            seq,
            "an anchored entry is missing: the trail was cut",
        ));
    }
    Ok(Verified {
        entries: last.seq,
        head: last.hash,
        anchors: anchored,
    })
}

async fn batch(db: &Db, after: u64) -> Result<Vec<AuditRecord>, StoreError> {
    let rows = sqlx::query(
        "SELECT seq, at, actor, org, action, subject, detail, request_id, hash
         FROM audit_entry WHERE seq > $1 ORDER BY seq LIMIT $2",
    )
    .bind(i64::try_from(after).unwrap_or(i64::MAX))
    .bind(BATCH_ROWS)
    .fetch_all(db.pool())
    .await?;
    Ok(rows
        .iter()
        .map(record)
        .collect::<Result<Vec<_>, sqlx::Error>>()?)
}

fn empty() -> AuditRecord {
    AuditRecord {
        seq: 0,
        at: base::Timestamp(0),
        actor: String::new(),
        org: None,
        action: String::new(),
        subject: String::new(),
        detail: String::new(),
        request_id: None,
        hash: String::new(),
    }
}

fn broken(seq: u64, what: &str) -> VerifyError {
    VerifyError::Broken(BrokenAt {
        seq,
        what: what.to_owned(),
    })
}
