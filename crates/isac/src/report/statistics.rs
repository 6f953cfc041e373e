//! Figures about real incidents: by level, month and sector, and how many deadlines
//! were kept. Drills are counted nowhere.

use base::Timestamp;
use serde::Serialize;
use sqlx::AssertSqlSafe;
use web::OrgScope;

use super::rules::Clock;
use crate::cert::{Cert, CertError};

/// Figures about the incidents of a time within a scope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Statistics {
    /// Incidents of levels 1 to 4.
    pub levels: [i64; 4],
    /// How many are open.
    pub open: i64,
    /// Incidents of each sector that has any, by the sector's name.
    pub sectors: Vec<Count>,
    /// Incidents of each category that has any.
    pub categories: Vec<Count>,
    /// Deadlines, by kind.
    pub clocks: Vec<Kept>,
}

/// How many of something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Count {
    /// Of what.
    pub name: String,
    /// How many.
    pub count: i64,
}

/// Deadlines of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Kept {
    /// The kind.
    pub clock: Clock,
    /// Kept in time.
    pub kept: i64,
    /// Done too late, or still not done and late.
    pub late: i64,
}

impl Cert {
    /// Figures about incidents reported between two moments.
    ///
    /// # Errors
    /// [`CertError::Store`].
    pub async fn incident_statistics(
        &self,
        scope: &OrgScope,
        from: Timestamp,
        until: Timestamp,
    ) -> Result<Statistics, CertError> {
        let (tenants, orgs) = scope.sql("i.org", 4);
        let condition = format!(
            "i.drill = 0 AND i.state <> 'dismissed' AND i.reported_at >= $1 AND i.reported_at < $2 AND $3 > 0 AND {tenants}"
        );
        let counts = async |column: &'static str| -> Result<Vec<Count>, CertError> {
            let text = format!(
                "SELECT CAST({column} AS TEXT), count(*) FROM isac_incident i WHERE {condition} GROUP BY {column} ORDER BY 2 DESC, 1 LIMIT 100"
            );
            let mut query = sqlx::query_as::<_, (String, i64)>(AssertSqlSafe(text))
                .bind(from.micros())
                .bind(until.micros())
                .bind(self.now().micros());
            for org in &orgs {
                query = query.bind(org);
            }
            let rows = query.fetch_all(self.db().pool()).await?;
            Ok(rows
                .into_iter()
                .map(|(name, count)| Count { name, count })
                .collect())
        };
        let mut levels = [0; 4];
        for row in counts("i.level").await? {
            if let Some(slot) = row
                .name
                .parse::<usize>()
                .ok()
                .and_then(|level| levels.get_mut(level.wrapping_sub(1)))
            {
                *slot = row.count;
            }
        }
        let open = counts("CASE WHEN i.closed_at IS NULL THEN 'open' ELSE 'closed' END").await?;
        let text = format!(
            "SELECT k.kind, CAST(sum(CASE WHEN k.met_at IS NOT NULL AND k.met_at <= k.due_at THEN 1 ELSE 0 END) AS BIGINT),
                    CAST(sum(CASE WHEN coalesce(k.met_at, $3) > k.due_at AND (k.met_at IS NOT NULL OR i.closed_at IS NULL) THEN 1 ELSE 0 END) AS BIGINT)
             FROM isac_clock k JOIN isac_incident i ON i.case_id = k.case_id WHERE {condition} GROUP BY k.kind"
        );
        let mut query = sqlx::query_as::<_, (String, i64, i64)>(AssertSqlSafe(text))
            .bind(from.micros())
            .bind(until.micros())
            .bind(self.now().micros());
        for org in &orgs {
            query = query.bind(org);
        }
        let mut clocks: Vec<Kept> = query
            .fetch_all(self.db().pool())
            .await?
            .into_iter()
            .filter_map(|(kind, kept, late)| {
                Some(Kept {
                    clock: Clock::from_tag(&kind)?,
                    kept,
                    late,
                })
            })
            .collect();
        clocks.sort_by_key(|kept| kept.clock);
        Ok(Statistics {
            levels,
            open: open
                .iter()
                .find(|row| row.name == "open")
                .map_or(0, |row| row.count),
            sectors: counts("i.sector").await?,
            categories: counts("i.category").await?,
            clocks,
        })
    }
}
