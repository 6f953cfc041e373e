//! Decisions as rows of the table.

use std::str::FromStr;

use base::enforcement::Rule;
use base::{EnforcementId, Timestamp};
use sqlx::Row as _;
use sqlx::any::AnyRow;
use store::Tx;

use super::engine::{Decided, EnforceError, State};
use crate::stix::Tlp;

pub(super) const COLUMNS: &str = "id, target, action, roles, source, reason, confidence, state, until, policy, made_by, made_at, decided_by, decided_at, decided_why, tlp, doubt, asked";

pub(super) async fn insert(
    tx: &mut Tx,
    decided: &Decided,
    said_at: i64,
) -> Result<(), EnforceError> {
    let text = |error: serde_json::Error| EnforceError::Row(error.to_string());
    sqlx::query("INSERT INTO enforce_rule (id, target, kind, action, roles, source, reason, confidence, state, until, policy, made_by, made_at, decided_why, tlp, said_at, asked) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, '', $14, $15, $16)")
        .bind(decided.rule.id.to_string())
        .bind(decided.rule.target.to_string())
        .bind(decided.rule.target.kind().name())
        .bind(serde_json::to_string(&decided.rule.action).map_err(text)?)
        .bind(serde_json::to_string(&decided.roles).map_err(text)?)
        .bind(&decided.source)
        .bind(&decided.reason)
        .bind(i64::from(decided.confidence))
        .bind(decided.state.name())
        .bind(decided.rule.until.map(Timestamp::micros))
        .bind(decided.policy)
        .bind(&decided.made_by)
        .bind(decided.made_at.micros())
        .bind(decided.tlp.map_or("", Tlp::name))
        .bind(said_at)
        .bind(&decided.asked)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

pub(super) async fn one(tx: &mut Tx, id: EnforcementId) -> Result<Decided, EnforceError> {
    let row = sqlx::query(sqlx::AssertSqlSafe(format!(
        "SELECT {COLUMNS} FROM enforce_rule WHERE id = $1"
    )))
    .bind(id.to_string())
    .fetch_optional(&mut **tx)
    .await?
    .ok_or(EnforceError::NotFound(id))?;
    decided_of(&row)
}

pub(super) fn decided_of(row: &AnyRow) -> Result<Decided, EnforceError> {
    fn parse<T: FromStr>(text: &str) -> Result<T, EnforceError> {
        text.parse()
            .map_err(|_| EnforceError::Row(text.chars().take(80).collect()))
    }
    let json = |error: serde_json::Error| EnforceError::Row(error.to_string());
    let state: String = row.try_get("state")?;
    let until: Option<i64> = row.try_get("until")?;
    let decided_at: Option<i64> = row.try_get("decided_at")?;
    Ok(Decided {
        rule: Rule {
            id: parse(&row.try_get::<String, _>("id")?)?,
            target: parse(&row.try_get::<String, _>("target")?)?,
            action: serde_json::from_str(&row.try_get::<String, _>("action")?).map_err(json)?,
            until: until.map(Timestamp),
        },
        roles: serde_json::from_str(&row.try_get::<String, _>("roles")?).map_err(json)?,
        source: row.try_get("source")?,
        reason: row.try_get("reason")?,
        confidence: u8::try_from(row.try_get::<i64, _>("confidence")?).unwrap_or(100),
        state: State::from_name(&state).ok_or(EnforceError::Row(state))?,
        policy: row.try_get("policy")?,
        made_by: row.try_get("made_by")?,
        made_at: Timestamp(row.try_get("made_at")?),
        decided_by: row.try_get("decided_by")?,
        decided_at: decided_at.map(Timestamp),
        decided_why: row.try_get("decided_why")?,
        tlp: Tlp::from_name(&row.try_get::<String, _>("tlp")?),
        doubt: row.try_get("doubt")?,
        asked: row.try_get("asked")?,
    })
}
