//! Rows of rules.

use base::{OrgId, Timestamp};
use serde::Serialize;
use sqlx::Row as _;
use sqlx::any::AnyRow;
use store::Tx;

use super::engine::State;
use crate::document::{Flow, Protection};
use crate::room::RoomError;

/// A rule as it is kept, with its history's last step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Kept {
    /// What is announced.
    pub rule: Protection,
    /// The organisation that asked for it; none: the exchange itself.
    pub org: Option<OrgId>,
    /// `console`, `api`, or `enforcement:…`.
    pub source: String,
    /// Why.
    pub reason: String,
    /// Where it stands.
    pub state: State,
    /// When it ends; none: until undone.
    pub until: Option<Timestamp>,
    /// The version of the policy by which it was decided.
    pub policy: i64,
    /// Who asked.
    pub made_by: String,
    /// When.
    pub made_at: Timestamp,
    /// Who approved, rejected or lifted it.
    pub decided_by: Option<String>,
    /// When.
    pub decided_at: Option<Timestamp>,
    /// Why.
    pub decided_why: String,
}

impl Kept {
    /// Whether route servers announce it at `now`.
    pub fn is_in_force(&self, now: Timestamp) -> bool {
        self.state == State::Active && self.until.is_none_or(|until| until > now)
    }
}

pub(super) const COLUMNS: &str = "id, org, asn, destination, flow, sites, source, reason, state, until, policy, made_by, made_at, decided_by, decided_at, decided_why";

pub(crate) fn write<T: Serialize>(value: &T) -> Result<String, RoomError> {
    serde_json::to_string(value).map_err(|e| RoomError::Data(format!("cannot be kept: {e}")))
}

pub(crate) fn read<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, RoomError> {
    serde_json::from_str(text).map_err(|e| RoomError::Data(format!("a row cannot be read: {e}")))
}

pub(crate) fn parse<T: std::str::FromStr>(text: &str) -> Result<T, RoomError> {
    text.parse()
        .map_err(|_| RoomError::Data(format!("a row holds {text:?}")))
}

pub(super) async fn insert(tx: &mut Tx, kept: &Kept) -> Result<(), RoomError> {
    let flow: Option<String> = kept.rule.flow.as_ref().map(write).transpose()?;
    sqlx::query("INSERT INTO exchange_protection (id, org, asn, destination, flow, sites, source, reason, state, until, policy, made_by, made_at, decided_why) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, '')")
        .bind(&kept.rule.id)
        .bind(kept.org.map(|org| org.to_string()))
        .bind(kept.rule.asn.map(i64::from))
        .bind(kept.rule.destination.map(|to| to.to_string()))
        .bind(flow)
        .bind(write(&kept.rule.sites)?)
        .bind(&kept.source)
        .bind(&kept.reason)
        .bind(kept.state.name())
        .bind(kept.until.map(Timestamp::micros))
        .bind(kept.policy)
        .bind(&kept.made_by)
        .bind(kept.made_at.micros())
        .execute(&mut **tx)
        .await?;
    Ok(())
}

pub(super) fn kept_of(row: &AnyRow) -> Result<Kept, RoomError> {
    let text = |column: &str| row.try_get::<Option<String>, _>(column);
    let asn: Option<i64> = row.try_get("asn")?;
    let until: Option<i64> = row.try_get("until")?;
    let decided_at: Option<i64> = row.try_get("decided_at")?;
    let state: String = row.try_get("state")?;
    Ok(Kept {
        rule: Protection {
            id: row.try_get("id")?,
            asn: asn.map(u32::try_from).transpose().map_err(|_| {
                RoomError::Data("a row holds an AS number beyond 32 bits".to_owned())
            })?,
            destination: text("destination")?.map(|t| parse(&t)).transpose()?,
            sites: read(&row.try_get::<String, _>("sites")?)?,
            flow: text("flow")?.map(|t| read::<Flow>(&t)).transpose()?,
        },
        org: text("org")?.map(|t| parse(&t)).transpose()?,
        source: row.try_get("source")?,
        reason: row.try_get("reason")?,
        state: State::from_name(&state)
            .ok_or_else(|| RoomError::Data(format!("a row holds {state:?}")))?,
        until: until.map(Timestamp),
        policy: row.try_get("policy")?,
        made_by: row.try_get("made_by")?,
        made_at: Timestamp(row.try_get("made_at")?),
        decided_by: text("decided_by")?,
        decided_at: decided_at.map(Timestamp),
        decided_why: row.try_get("decided_why")?,
    })
}
