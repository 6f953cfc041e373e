//! Indicators that begin to be valid later (`valid_from`, STIX 2.1 section 4.7): they are put
//! to the policy again when their time has come.

use std::time::Duration;

use base::Timestamp;

use super::engine::{EnforceError, Enforcements};
use super::follow::{Eyes, FollowError};
use crate::objects::Objects;

/// Indicators that begin in one step.
const DUE: i64 = 500;

impl Enforcements {
    /// Keeps that the change `seq` of `source` is to be looked at again `at` its time; none:
    /// that its newer word is not.
    pub(super) async fn wait(
        &self,
        source: &str,
        seq: i64,
        said_at: i64,
        at: Option<Timestamp>,
    ) -> Result<(), EnforceError> {
        let kept: Option<i64> =
            sqlx::query_scalar("SELECT said_at FROM enforce_due WHERE source = $1")
                .bind(source)
                .fetch_optional(self.inner.db.pool())
                .await?;
        if kept.is_some_and(|kept| kept > said_at) || (kept.is_none() && at.is_none()) {
            return Ok(());
        }
        let mut tx = self.inner.db.begin().await?;
        match at {
            None => {
                sqlx::query("DELETE FROM enforce_due WHERE source = $1")
                    .bind(source)
                    .execute(&mut *tx)
                    .await?;
            }
            Some(at) => {
                sqlx::query(
                    "INSERT INTO enforce_due (source, seq, at, said_at) VALUES ($1, $2, $3, $4)
                     ON CONFLICT (source) DO UPDATE SET seq = excluded.seq, at = excluded.at, said_at = excluded.said_at",
                )
                .bind(source)
                .bind(seq)
                .bind(at.micros())
                .bind(said_at)
                .execute(&mut *tx)
                .await?;
            }
        }
        tx.commit().await?;
        Ok(())
    }

    /// How long until the next begins; none: none waits.
    pub(super) async fn next_due(&self) -> Result<Option<Duration>, EnforceError> {
        let at: Option<i64> = sqlx::query_scalar("SELECT MIN(at) FROM enforce_due")
            .fetch_one(self.inner.db.pool())
            .await?;
        let now = self.now().micros();
        Ok(at.map(|at| Duration::from_micros(u64::try_from(at.saturating_sub(now)).unwrap_or(0))))
    }

    /// Puts those whose time has come to the policy.
    pub(super) async fn begin_due(&self, objects: &Objects) -> Result<(), FollowError> {
        loop {
            let rows: Vec<(String, i64)> = sqlx::query_as(
                "SELECT source, seq FROM enforce_due WHERE at <= $1 ORDER BY at, source LIMIT $2",
            )
            .bind(self.now().micros())
            .bind(DUE)
            .fetch_all(self.inner.db.pool())
            .await
            .map_err(EnforceError::from)?;
            if rows.is_empty() {
                return Ok(());
            }
            let mut changes = Vec::with_capacity(rows.len());
            for (_, seq) in &rows {
                let (found, _) = objects.changes_of("indicator", seq - 1, 1).await?;
                // What was deleted, or replaced by a newer version, is not there.
                changes.extend(found.into_iter().filter(|change| change.seq == *seq));
            }
            let eyes = Eyes::of(self, objects).await?;
            self.heed(&eyes, &changes).await?;
            let mut tx = self.inner.db.begin().await.map_err(EnforceError::from)?;
            for (source, seq) in &rows {
                sqlx::query("DELETE FROM enforce_due WHERE source = $1 AND seq = $2")
                    .bind(source)
                    .bind(seq)
                    .execute(&mut *tx)
                    .await
                    .map_err(EnforceError::from)?;
            }
            tx.commit().await.map_err(EnforceError::from)?;
        }
    }
}
