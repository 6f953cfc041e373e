//! How each peer does: one row for each visit that moved something or failed.

use std::time::Duration;

use base::Timestamp;
use store::{Page, PageRequest};

use super::{ShareError, Sharing};
use crate::taxii::peer::Progress;

/// Days that visits are kept.
pub const DAYS: u64 = 30;

/// What one visit came to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Visited {
    /// Its row.
    pub id: String,
    /// When it began, in microseconds.
    pub at: i64,
    /// Objects that went through.
    pub moved: i64,
    /// Objects that the receiver refused or that broke a rule.
    pub refused: i64,
    /// Objects that the policy kept back.
    pub withheld: i64,
    /// How long it took, in milliseconds.
    pub millis: i64,
    /// Why it ended early; empty: it did not.
    pub error: String,
}

/// Sums over a stretch of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sums {
    /// Visits that are kept.
    pub visits: i64,
    /// Of these, failed.
    pub failed: i64,
    /// Objects that went through.
    pub moved: i64,
    /// Objects refused.
    pub refused: i64,
    /// Objects kept back.
    pub withheld: i64,
}

impl Sharing {
    /// Keeps a visit to `peer`.
    ///
    /// # Errors
    /// What the database says.
    pub async fn visited(&self, peer: &str, visit: &Visited) -> Result<(), ShareError> {
        let mut tx = self.db().begin().await?;
        sqlx::query("INSERT INTO share_visit (id, peer, at, moved, refused, withheld, millis, error) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)")
            .bind(uuid::Uuid::now_v7().to_string())
            .bind(peer)
            .bind(visit.at)
            .bind(visit.moved)
            .bind(visit.refused)
            .bind(visit.withheld)
            .bind(visit.millis)
            .bind(&visit.error)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(())
    }

    /// A page of visits to `peer`, the newest first.
    ///
    /// # Errors
    /// What the database says, also of a wrong cursor.
    pub async fn visits(
        &self,
        peer: &str,
        request: &PageRequest,
    ) -> Result<Page<Visited>, ShareError> {
        const LIST: &str = "share-visits";
        let after: String = request.after(LIST)?.unwrap_or_else(|| "~".to_owned());
        let rows: Vec<(String, i64, i64, i64, i64, i64, String)> = sqlx::query_as(
            "SELECT id, at, moved, refused, withheld, millis, error FROM share_visit
             WHERE peer = $1 AND id < $2 ORDER BY id DESC LIMIT $3",
        )
        .bind(peer)
        .bind(after)
        .bind(request.fetch())
        .fetch_all(self.db().pool())
        .await?;
        let rows = rows
            .into_iter()
            .map(|row| Visited {
                id: row.0,
                at: row.1,
                moved: row.2,
                refused: row.3,
                withheld: row.4,
                millis: row.5,
                error: row.6,
            })
            .collect();
        Ok(request.page(LIST, rows, |visit: &Visited| visit.id.clone())?)
    }

    /// Sums of the visits to `peer` since `from`.
    ///
    /// # Errors
    /// What the database says.
    pub async fn visit_sums(&self, peer: &str, from: Timestamp) -> Result<Sums, ShareError> {
        let row: (i64, i64, i64, i64, i64) = sqlx::query_as(
            "SELECT count(*), CAST(COALESCE(sum(CASE WHEN error <> '' THEN 1 ELSE 0 END), 0) AS BIGINT),
               CAST(COALESCE(sum(moved), 0) AS BIGINT), CAST(COALESCE(sum(refused), 0) AS BIGINT), CAST(COALESCE(sum(withheld), 0) AS BIGINT)
             FROM share_visit WHERE peer = $1 AND at >= $2",
        )
        .bind(peer)
        .bind(from.micros())
        .fetch_one(self.db().pool())
        .await?;
        Ok(Sums {
            visits: row.0,
            failed: row.1,
            moved: row.2,
            refused: row.3,
            withheld: row.4,
        })
    }

    /// Objects that went through, by stretch of `step` microseconds since `from`.
    ///
    /// # Errors
    /// What the database says.
    pub async fn moved_by(
        &self,
        peer: &str,
        from: i64,
        step: i64,
    ) -> Result<Vec<(i64, i64)>, ShareError> {
        Ok(sqlx::query_as(
            "SELECT CAST((at - $2) / $3 AS BIGINT) AS stretch, CAST(sum(moved) AS BIGINT) FROM share_visit
             WHERE peer = $1 AND at >= $2 GROUP BY stretch ORDER BY stretch",
        )
        .bind(peer)
        .bind(from)
        .bind(step)
        .fetch_all(self.db().pool())
        .await?)
    }

    /// How far `peer` has come.
    ///
    /// # Errors
    /// What the database says.
    pub async fn progress(&self, peer: &str) -> Result<Progress, ShareError> {
        Ok(crate::taxii::peer::progress_of(self.db(), peer).await?)
    }

    /// Begins again with `peer` from the first object: what it has already changes
    /// nothing there. For when the policy allows more than before.
    ///
    /// # Errors
    /// What the database says.
    pub async fn begin_again(&self, by: &crate::cert::By, peer: &str) -> Result<(), ShareError> {
        let mut tx = self.db().begin().await?;
        sqlx::query("UPDATE isac_peer SET read_on = '', after_micros = 0 WHERE name = $1")
            .bind(peer)
            .execute(&mut *tx)
            .await?;
        tx.audit(by.entry(
            None,
            "share.again",
            format!("peer:{peer}"),
            serde_json::json!({}),
        ))
        .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Forgets visits older than [`DAYS`].
    ///
    /// # Errors
    /// What the database says.
    pub async fn tidy(&self) -> Result<u64, ShareError> {
        let before = self.now().minus(Duration::from_secs(DAYS * 86_400));
        let mut tx = self.db().begin().await?;
        let done = sqlx::query("DELETE FROM share_visit WHERE at < $1")
            .bind(before.micros())
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(done.rows_affected())
    }
}
