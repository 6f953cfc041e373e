//! What is seen of sessions, beside what is wanted of them.
//!
//! The agent at a site knows its route server's neighbours by address; it calls
//! [`report`] with all of them. Rows are keyed by site and address, so that a report
//! never depends on the model being in step with it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use base::Timestamp;
use serde::{Deserialize, Serialize};
use sqlx::Row as _;
use store::{Db, StoreError};

/// A state that was not reported again for this long is not known any more. Agents
/// report at least four times as often, also when nothing changed.
pub const STALE: std::time::Duration = std::time::Duration::from_secs(120);
/// Sessions of one report.
pub const REPORT_MAX: usize = 20_000;
/// Characters of a reason.
const REASON_CHARS_MAX: usize = 200;

/// The state of a session.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
    schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum SeenState {
    /// Established.
    Up,
    /// Not established.
    Down,
    /// Kept down by its operator.
    Disabled,
}

impl SeenState {
    /// The name in tables and the API.
    pub const fn tag(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Disabled => "disabled",
        }
    }

    /// The state of that name.
    pub fn from_tag(tag: &str) -> Option<Self> {
        [Self::Up, Self::Down, Self::Disabled]
            .into_iter()
            .find(|state| state.tag() == tag)
    }
}

/// What is seen of one session of a route server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Seen {
    /// The neighbour's address.
    pub address: IpAddr,
    /// Its state.
    pub state: SeenState,
    /// Since when.
    pub since: Timestamp,
    /// Why it is down; may be empty.
    pub reason: String,
    /// Routes received.
    pub received: u64,
    /// Routes accepted.
    pub accepted: u64,
    /// Routes refused.
    pub refused: u64,
    /// Routes announced to it.
    pub exported: u64,
}

/// A state with where and when it was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenAt {
    /// The site of the route server.
    pub site: String,
    /// What was seen.
    pub seen: Seen,
    /// When it was reported.
    pub reported_at: Timestamp,
    /// By which node.
    pub node: String,
}

/// Takes what `node` sees of all sessions of the route server at `site`; sessions that
/// the report does not name are gone there.
///
/// # Errors
/// [`StoreError::Invalid`] for more than [`REPORT_MAX`]; what the database says.
pub async fn report(db: &Db, node: &str, site: &str, seen: &[Seen]) -> Result<(), StoreError> {
    if seen.len() > REPORT_MAX {
        return Err(StoreError::Invalid(format!(
            "a report of {} sessions: must be at most {REPORT_MAX}",
            seen.len()
        )));
    }
    let before = of_site(db, site).await?;
    let now = db.clock().now();
    let mut tx = db.begin().await?;
    let mut gone: BTreeMap<IpAddr, ()> = before.keys().map(|address| (*address, ())).collect();
    for one in seen {
        gone.remove(&one.address);
        let count = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let reason: String = one
            .reason
            .chars()
            .filter(|c| !c.is_control())
            .take(REASON_CHARS_MAX)
            .collect();
        sqlx::query(
            "INSERT INTO exchange_session_state
             (site, address, state, since, reason, received, accepted, refused, exported, reported_at, node)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
             ON CONFLICT (site, address) DO UPDATE SET state = excluded.state, since = excluded.since,
             reason = excluded.reason, received = excluded.received, accepted = excluded.accepted,
             refused = excluded.refused, exported = excluded.exported,
             reported_at = excluded.reported_at, node = excluded.node",
        )
        .bind(site)
        .bind(one.address.to_string())
        .bind(one.state.tag())
        .bind(one.since.micros())
        .bind(reason)
        .bind(count(one.received))
        .bind(count(one.accepted))
        .bind(count(one.refused))
        .bind(count(one.exported))
        .bind(now.micros())
        .bind(node)
        .execute(&mut *tx)
        .await?;
    }
    for address in gone.keys() {
        sqlx::query("DELETE FROM exchange_session_state WHERE site = $1 AND address = $2")
            .bind(site)
            .bind(address.to_string())
            .execute(&mut *tx)
            .await?;
    }
    tx.commit().await
}

/// What was last seen at a site, by the neighbour's address.
///
/// # Errors
/// What the database says.
pub async fn of_site(db: &Db, site: &str) -> Result<BTreeMap<IpAddr, SeenAt>, StoreError> {
    let all = seen(db, Some(site)).await?;
    Ok(all
        .into_iter()
        .map(|seen| (seen.seen.address, seen))
        .collect())
}

/// What was last seen anywhere, by site and address.
///
/// # Errors
/// What the database says.
pub async fn everywhere(db: &Db) -> Result<BTreeMap<(String, IpAddr), SeenAt>, StoreError> {
    let all = seen(db, None).await?;
    Ok(all
        .into_iter()
        .map(|seen| ((seen.site.clone(), seen.seen.address), seen))
        .collect())
}

async fn seen(db: &Db, site: Option<&str>) -> Result<Vec<SeenAt>, StoreError> {
    let rows = match site {
        Some(site) => {
            sqlx::query("SELECT * FROM exchange_session_state WHERE site = $1 LIMIT 200000")
                .bind(site)
                .fetch_all(db.pool())
                .await?
        }
        None => {
            sqlx::query("SELECT * FROM exchange_session_state LIMIT 200000")
                .fetch_all(db.pool())
                .await?
        }
    };
    let mut all = Vec::with_capacity(rows.len());
    for row in &rows {
        let address: String = row.try_get("address")?;
        let state: String = row.try_get("state")?;
        let (Ok(address), Some(state)) = (address.parse(), SeenState::from_tag(&state)) else {
            continue;
        };
        let count = |name: &str| -> Result<u64, sqlx::Error> {
            Ok(u64::try_from(row.try_get::<i64, _>(name)?).unwrap_or(0))
        };
        all.push(SeenAt {
            site: row.try_get("site")?,
            seen: Seen {
                address,
                state,
                since: Timestamp(row.try_get("since")?),
                reason: row.try_get("reason")?,
                received: count("received")?,
                accepted: count("accepted")?,
                refused: count("refused")?,
                exported: count("exported")?,
            },
            reported_at: Timestamp(row.try_get("reported_at")?),
            node: row.try_get("node")?,
        });
    }
    Ok(all)
}
