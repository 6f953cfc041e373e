//! What is kept: which things a case is about, checks with their findings, records of drills.

use base::{CaseId, Timestamp};
use serde_json::json;
use sqlx::Row as _;
use store::{AuditEntry, Step};
use uuid::Uuid;

use crate::drill::record::Record as Drill;
use crate::health::Checked;
use crate::protect::rows::{parse, read, write};
use crate::room::{By, Exchange, Record, RoomError};

/// Checks that are kept; the oldest go.
pub const CHECKS_MAX: i64 = 1_000;
/// Records of drills that are kept; the oldest go.
pub const DRILLS_MAX: i64 = 500;
/// Bytes of a drill's record.
pub const RECORD_BYTES_MAX: usize = 1 << 20;
/// Things that one case may be about.
pub(super) const AFFECTED_MAX: usize = 200;

/// The tables.
pub(crate) const OPERATIONS: Step = Step {
    version: 5,
    name: "what a case is about at the exchange, checks of members, records of drills",
    sql: "
CREATE TABLE exchange_affected (
    case_id TEXT NOT NULL, thing TEXT NOT NULL, kind TEXT NOT NULL,
    marked_by TEXT NOT NULL, marked_at BIGINT NOT NULL,
    PRIMARY KEY (case_id, thing)
);
CREATE TABLE exchange_check (
    id TEXT PRIMARY KEY, asn BIGINT NOT NULL, name TEXT NOT NULL, verdict TEXT NOT NULL,
    case_id TEXT, body TEXT NOT NULL, made_by TEXT NOT NULL, made_at BIGINT NOT NULL
);
CREATE INDEX exchange_check_made_at ON exchange_check (made_at);
CREATE INDEX exchange_check_case ON exchange_check (case_id);
CREATE TABLE exchange_drill (
    id TEXT PRIMARY KEY, title TEXT NOT NULL, began_at BIGINT NOT NULL, lasted_ms BIGINT NOT NULL,
    good BIGINT NOT NULL, body TEXT NOT NULL, sent_by TEXT NOT NULL, sent_at BIGINT NOT NULL
);
CREATE INDEX exchange_drill_began_at ON exchange_drill (began_at);
",
};

/// A thing that a case is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Affected {
    pub(super) thing: Uuid,
    pub(super) by: String,
    pub(super) at: Timestamp,
}

/// A check as it is listed.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct KeptCheck {
    pub(super) id: Uuid,
    pub(super) case: Option<CaseId>,
    pub(super) by: String,
    pub(super) at: Timestamp,
    pub(super) checked: Checked,
}

/// A drill as it is listed.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct KeptDrill {
    pub(super) by: String,
    pub(super) at: Timestamp,
    pub(super) record: Drill,
}

fn audit(by: &By, action: &str, object: String, detail: serde_json::Value) -> AuditEntry {
    let mut entry = AuditEntry::new(by.actor.clone(), action, object).detail(detail);
    entry.request_id.clone_from(&by.request);
    entry
}

/// What somebody marked as what the case is about.
pub(super) async fn affected(room: &Exchange, case: CaseId) -> Result<Vec<Affected>, RoomError> {
    let rows = sqlx::query(
        "SELECT thing, marked_by, marked_at FROM exchange_affected WHERE case_id = $1 ORDER BY marked_at, thing",
    )
    .bind(case.to_string())
    .fetch_all(room.db().pool())
    .await?;
    rows.iter()
        .map(|row| {
            Ok(Affected {
                thing: parse(&row.try_get::<String, _>("thing")?)?,
                by: row.try_get("marked_by")?,
                at: Timestamp(row.try_get("marked_at")?),
            })
        })
        .collect()
}

/// Marks a thing as what the case is about, or takes the mark away.
pub(super) async fn mark(
    room: &Exchange,
    by: &By,
    case: CaseId,
    thing: &Record,
    is_affected: bool,
) -> Result<(), RoomError> {
    let mut tx = room.begin().await?;
    let action = if is_affected {
        let (count,): (i64,) =
            sqlx::query_as("SELECT count(*) FROM exchange_affected WHERE case_id = $1")
                .bind(case.to_string())
                .fetch_one(&mut *tx)
                .await?;
        if usize::try_from(count).unwrap_or(usize::MAX) >= AFFECTED_MAX {
            return Err(RoomError::Refused(casework::form::Text::new(
                format!("一個案件最多標示 {AFFECTED_MAX} 項"),
                format!("a case is about {AFFECTED_MAX} things at most"),
            )));
        }
        sqlx::query("INSERT INTO exchange_affected (case_id, thing, kind, marked_by, marked_at) VALUES ($1, $2, $3, $4, $5) ON CONFLICT (case_id, thing) DO NOTHING")
            .bind(case.to_string())
            .bind(thing.id.to_string())
            .bind(thing.kind.name())
            .bind(by.actor.to_string())
            .bind(room.now().micros())
            .execute(&mut *tx)
            .await?;
        "exchange.affected.mark"
    } else {
        sqlx::query("DELETE FROM exchange_affected WHERE case_id = $1 AND thing = $2")
            .bind(case.to_string())
            .bind(thing.id.to_string())
            .execute(&mut *tx)
            .await?;
        "exchange.affected.unmark"
    };
    let detail = json!({ "thing": thing.label, "kind": thing.kind.name(), "id": thing.id });
    tx.audit(audit(by, action, format!("case:{case}"), detail))
        .await?;
    tx.commit().await?;
    Ok(())
}

fn check_of(row: &sqlx::any::AnyRow) -> Result<KeptCheck, RoomError> {
    let case: Option<String> = row.try_get("case_id")?;
    Ok(KeptCheck {
        id: parse(&row.try_get::<String, _>("id")?)?,
        case: case.as_deref().map(parse).transpose()?,
        by: row.try_get("made_by")?,
        at: Timestamp(row.try_get("made_at")?),
        checked: read(&row.try_get::<String, _>("body")?)?,
    })
}

/// The newest checks, all or a case's.
pub(super) async fn checks(
    room: &Exchange,
    case: Option<CaseId>,
    most: i64,
) -> Result<Vec<KeptCheck>, RoomError> {
    let rows = match case {
        Some(case) => {
            sqlx::query("SELECT id, case_id, body, made_by, made_at FROM exchange_check WHERE case_id = $1 ORDER BY made_at DESC LIMIT $2")
                .bind(case.to_string())
                .bind(most)
                .fetch_all(room.db().pool())
                .await?
        }
        None => {
            sqlx::query("SELECT id, case_id, body, made_by, made_at FROM exchange_check ORDER BY made_at DESC LIMIT $1")
                .bind(most)
                .fetch_all(room.db().pool())
                .await?
        }
    };
    rows.iter().map(check_of).collect()
}

/// One check.
pub(super) async fn check(room: &Exchange, id: Uuid) -> Result<KeptCheck, RoomError> {
    let row =
        sqlx::query("SELECT id, case_id, body, made_by, made_at FROM exchange_check WHERE id = $1")
            .bind(id.to_string())
            .fetch_optional(room.db().pool())
            .await?;
    check_of(&row.ok_or_else(|| RoomError::not_found("check", id))?)
}

/// Keeps a check; gives its id.
pub(super) async fn keep_check(
    room: &Exchange,
    by: &By,
    case: Option<CaseId>,
    checked: &Checked,
) -> Result<Uuid, RoomError> {
    let id = Uuid::now_v7();
    let mut tx = room.begin().await?;
    sqlx::query("INSERT INTO exchange_check (id, asn, name, verdict, case_id, body, made_by, made_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)")
        .bind(id.to_string())
        .bind(i64::from(checked.asn))
        .bind(&checked.name)
        .bind(checked.verdict.key())
        .bind(case.map(|case| case.to_string()))
        .bind(write(checked)?)
        .bind(by.actor.to_string())
        .bind(room.now().micros())
        .execute(&mut *tx)
        .await?;
    sqlx::query("DELETE FROM exchange_check WHERE id NOT IN (SELECT id FROM exchange_check ORDER BY made_at DESC LIMIT $1)")
        .bind(CHECKS_MAX)
        .execute(&mut *tx)
        .await?;
    let detail = json!({ "asn": checked.asn, "verdict": checked.verdict.key(), "case": case });
    let entry = audit(by, "exchange.check", format!("exchange-check:{id}"), detail);
    tx.audit(entry).await?;
    tx.commit().await?;
    Ok(id)
}

fn drill_of(row: &sqlx::any::AnyRow) -> Result<KeptDrill, RoomError> {
    Ok(KeptDrill {
        by: row.try_get("sent_by")?,
        at: Timestamp(row.try_get("sent_at")?),
        record: read(&row.try_get::<String, _>("body")?)?,
    })
}

/// The newest drills.
pub(super) async fn drills(room: &Exchange, most: i64) -> Result<Vec<KeptDrill>, RoomError> {
    let rows = sqlx::query(
        "SELECT body, sent_by, sent_at FROM exchange_drill ORDER BY began_at DESC LIMIT $1",
    )
    .bind(most)
    .fetch_all(room.db().pool())
    .await?;
    rows.iter().map(drill_of).collect()
}

/// One drill.
pub(super) async fn drill(room: &Exchange, id: &str) -> Result<KeptDrill, RoomError> {
    let row = sqlx::query("SELECT body, sent_by, sent_at FROM exchange_drill WHERE id = $1")
        .bind(id)
        .fetch_optional(room.db().pool())
        .await?;
    drill_of(&row.ok_or_else(|| RoomError::not_found("drill", id))?)
}

/// Keeps a drill's record; one that is sent again replaces nothing. Gives whether it is new.
pub(super) async fn keep_drill(
    room: &Exchange,
    by: &By,
    record: &Drill,
) -> Result<bool, RoomError> {
    let mut tx = room.begin().await?;
    let count = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let began_at = Timestamp::from_seconds(count(record.began_s));
    let done = sqlx::query("INSERT INTO exchange_drill (id, title, began_at, lasted_ms, good, body, sent_by, sent_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (id) DO NOTHING")
        .bind(&record.id)
        .bind(&record.plan.title)
        .bind(began_at.micros())
        .bind(count(record.lasted_ms))
        .bind(i64::from(record.is_good()))
        .bind(write(record)?)
        .bind(by.actor.to_string())
        .bind(room.now().micros())
        .execute(&mut *tx)
        .await?;
    let is_new = done.rows_affected() > 0;
    if is_new {
        sqlx::query("DELETE FROM exchange_drill WHERE id NOT IN (SELECT id FROM exchange_drill ORDER BY began_at DESC LIMIT $1)")
            .bind(DRILLS_MAX)
            .execute(&mut *tx)
            .await?;
        let detail = json!({ "title": record.plan.title, "good": record.is_good() });
        let object = format!("exchange-drill:{}", record.id);
        tx.audit(audit(by, "exchange.drill.record", object, detail))
            .await?;
    }
    tx.commit().await?;
    Ok(is_new)
}
