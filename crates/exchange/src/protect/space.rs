//! Whose addresses are whose, as the registries' data said when they were last asked.

use std::collections::BTreeSet;

use base::{Prefix, Timestamp};
use serde::Serialize;
use serde_json::json;

use super::{Protect, entry};
use crate::irr::AllowedByMember;
use crate::room::error::problem;
use crate::room::{By, RoomError};

/// Prefixes of one member that are kept.
pub const PREFIXES_MAX: usize = 100_000;
/// The source of what officers wrote by hand.
pub const BY_HAND: &str = "operator";

/// A prefix that a member may protect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Own {
    /// The prefix.
    pub prefix: Prefix,
    /// `irr`, or `operator`.
    pub source: String,
    /// When the source last said so.
    pub seen_at: Timestamp,
}

impl Protect {
    /// What is registered for a member, widest first.
    ///
    /// # Errors
    /// [`RoomError::Store`].
    pub async fn space_of(&self, asn: u32) -> Result<Vec<Own>, RoomError> {
        let rows: Vec<(String, String, i64)> = sqlx::query_as(
            "SELECT prefix, source, seen_at FROM exchange_space WHERE asn = $1 LIMIT $2",
        )
        .bind(i64::from(asn))
        .bind(PREFIXES_MAX as i64)
        .fetch_all(self.inner.db.pool())
        .await?;
        let mut own = Vec::with_capacity(rows.len());
        for (prefix, source, seen_at) in rows {
            own.push(Own {
                prefix: super::rows::parse(&prefix)?,
                source,
                seen_at: Timestamp(seen_at),
            });
        }
        own.sort_by_key(|own| {
            (
                own.prefix.address().is_ipv6(),
                own.prefix.length(),
                own.prefix,
            )
        });
        Ok(own)
    }

    /// Keeps what `source` says of one member, in the place of what it said before.
    ///
    /// # Errors
    /// [`RoomError::Invalid`] for too many prefixes.
    pub async fn keep_space(
        &self,
        by: &By,
        asn: u32,
        source: &str,
        prefixes: &[Prefix],
    ) -> Result<(), RoomError> {
        let wanted: BTreeSet<Prefix> = prefixes.iter().copied().collect();
        if wanted.len() > PREFIXES_MAX {
            return Err(RoomError::Invalid(vec![problem(
                "prefixes",
                &wanted.len().to_string(),
                "max-items",
                format!("最多 {PREFIXES_MAX} 個網段"),
                format!("must be at most {PREFIXES_MAX} prefixes"),
            )]));
        }
        let now = self.now().micros();
        let mut tx = self.inner.db.begin().await?;
        let there: Vec<(String,)> =
            sqlx::query_as("SELECT prefix FROM exchange_space WHERE asn = $1 AND source = $2")
                .bind(i64::from(asn))
                .bind(source)
                .fetch_all(&mut *tx)
                .await?;
        let there: BTreeSet<String> = there.into_iter().map(|(prefix,)| prefix).collect();
        let mut changed = 0_u64;
        for gone in there.iter().filter(|text| {
            text.parse::<Prefix>()
                .map_or(true, |prefix| !wanted.contains(&prefix))
        }) {
            sqlx::query(
                "DELETE FROM exchange_space WHERE asn = $1 AND source = $2 AND prefix = $3",
            )
            .bind(i64::from(asn))
            .bind(source)
            .bind(gone)
            .execute(&mut *tx)
            .await?;
            changed += 1;
        }
        for prefix in &wanted {
            let text = prefix.to_string();
            if there.contains(&text) {
                continue;
            }
            sqlx::query(
                "INSERT INTO exchange_space (asn, prefix, source, seen_at) VALUES ($1, $2, $3, $4)",
            )
            .bind(i64::from(asn))
            .bind(text)
            .bind(source)
            .bind(now)
            .execute(&mut *tx)
            .await?;
            changed += 1;
        }
        sqlx::query("UPDATE exchange_space SET seen_at = $3 WHERE asn = $1 AND source = $2")
            .bind(i64::from(asn))
            .bind(source)
            .bind(now)
            .execute(&mut *tx)
            .await?;
        if changed > 0 {
            tx.audit(entry(
                by,
                None,
                "protection.space",
                format!("asn:{asn}"),
                json!({ "source": source, "prefixes": wanted.len(), "changed": changed }),
            ))
            .await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// Keeps what the registries say of every member of `allowed`.
    ///
    /// # Errors
    /// [`RoomError::Store`].
    pub async fn keep_registered(
        &self,
        by: &By,
        allowed: &AllowedByMember,
    ) -> Result<(), RoomError> {
        let asns: BTreeSet<u32> = allowed.keys().map(|(asn, _)| *asn).collect();
        for asn in asns {
            let prefixes: Vec<Prefix> = [false, true]
                .into_iter()
                .filter_map(|v6| allowed.get(&(asn, v6)))
                .flat_map(|allowed| allowed.prefixes.iter().copied())
                .collect();
            self.keep_space(by, asn, "irr", &prefixes).await?;
        }
        Ok(())
    }

    /// Everybody's registered space.
    ///
    /// # Errors
    /// [`RoomError::Store`].
    pub async fn all_space(&self) -> Result<Vec<(u32, Prefix)>, RoomError> {
        let rows: Vec<(i64, String)> =
            sqlx::query_as("SELECT DISTINCT asn, prefix FROM exchange_space")
                .fetch_all(self.inner.db.pool())
                .await?;
        rows.into_iter()
            .map(|(asn, text)| Ok((u32::try_from(asn).unwrap_or(0), super::rows::parse(&text)?)))
            .collect()
    }

    /// How many prefixes are registered, and when that was last confirmed, in microseconds: as
    /// long as both stay, so does what is registered.
    ///
    /// # Errors
    /// [`RoomError::Store`].
    pub async fn space_stamp(&self) -> Result<(i64, i64), RoomError> {
        Ok(sqlx::query_as(
            "SELECT count(*), CAST(COALESCE(MAX(seen_at), 0) AS BIGINT) FROM exchange_space",
        )
        .fetch_one(self.inner.db.pool())
        .await?)
    }

    /// Whether a member wants flow rules that the exchange makes from intelligence.
    ///
    /// # Errors
    /// [`RoomError::Store`].
    pub async fn wants_intelligence(&self, asn: u32) -> Result<bool, RoomError> {
        let (count,): (i64,) =
            sqlx::query_as("SELECT count(*) FROM exchange_intelligence WHERE asn = $1")
                .bind(i64::from(asn))
                .fetch_one(self.inner.db.pool())
                .await?;
        Ok(count > 0)
    }

    /// Says that a member of `org` wants such rules, or no longer.
    ///
    /// # Errors
    /// [`RoomError::Store`].
    pub async fn set_intelligence(
        &self,
        by: &By,
        org: Option<base::OrgId>,
        asn: u32,
        wants: bool,
    ) -> Result<(), RoomError> {
        let mut tx = self.inner.db.begin().await?;
        sqlx::query("DELETE FROM exchange_intelligence WHERE asn = $1")
            .bind(i64::from(asn))
            .execute(&mut *tx)
            .await?;
        if wants {
            sqlx::query("INSERT INTO exchange_intelligence (asn, changed_by, changed_at) VALUES ($1, $2, $3)")
                .bind(i64::from(asn))
                .bind(by.actor.to_string())
                .bind(self.now().micros())
                .execute(&mut *tx)
                .await?;
        }
        tx.audit(entry(
            by,
            org,
            "protection.intelligence",
            format!("asn:{asn}"),
            json!({ "wants": wants }),
        ))
        .await?;
        tx.commit().await?;
        self.tell_changed();
        Ok(())
    }
}
