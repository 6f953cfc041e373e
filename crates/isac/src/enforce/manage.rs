//! What people do with decisions beyond making and undoing them: find them, extend them,
//! look at former versions of the policy.

use base::enforcement::TargetKind;
use base::{EnforcementId, Timestamp};
use serde_json::json;
use store::{Actor, Page, PageRequest};

use super::engine::{Decided, EnforceError, Enforcements, State, audit, permitted};
use super::policy::Policy;
use super::rows::{COLUMNS, decided_of, one};
use super::seams::{Hits, NodeHits};

/// Decisions of one indicator that are shown.
const OF_INDICATOR_MAX: i64 = 200;

/// Which decisions are wanted; empty parts want all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// In this state; what is active is in force: not past its end.
    pub state: Option<State>,
    /// Of this kind.
    pub kind: Option<TargetKind>,
    /// Made from indicators (`true`), or by people (`false`).
    pub from_indicator: Option<bool>,
    /// Whose target begins so.
    pub target: Option<String>,
    /// Past its end, and not undone before.
    pub ended: bool,
    /// In force, though its indicator is no longer believed: a person is asked.
    pub doubted: bool,
}

/// A version of the policy with who made it and when.
#[derive(Debug, Clone, PartialEq)]
pub struct PolicyVersion {
    /// 1, 2, 3 …
    pub version: i64,
    /// The document.
    pub policy: Policy,
    /// Who made it.
    pub made_by: String,
    /// When.
    pub made_at: Timestamp,
}

impl Enforcements {
    /// A page of decisions, newest first, with their hits.
    ///
    /// # Errors
    /// [`EnforceError::Store`] and [`EnforceError::Seam`].
    pub async fn search(
        &self,
        wanted: &Wanted,
        request: &PageRequest,
    ) -> Result<Page<(Decided, Hits)>, EnforceError> {
        const LIST: &str = "enforcements found";
        let before: String = request.after(LIST)?.unwrap_or_else(|| "~".to_owned());
        let mut sql = format!("SELECT {COLUMNS} FROM enforce_rule WHERE id < $1");
        let mut values: Vec<String> = Vec::new();
        let mut with = |condition: &str, value: String| {
            values.push(value);
            sql.push_str(&format!(" AND {condition} ${}", values.len() + 3));
        };
        if let Some(state) = wanted.state {
            with("state =", state.name().to_owned());
        }
        if let Some(kind) = wanted.kind {
            with("kind =", kind.name().to_owned());
        }
        if let Some(text) = &wanted.target {
            // A range, so that the index of targets serves on both databases.
            with("target >=", text.clone());
            with("target <", format!("{text}\u{10ffff}"));
        }
        match wanted.from_indicator {
            Some(true) => {
                with("source >=", "stix:".to_owned());
                with("source <", "stix;".to_owned());
            }
            Some(false) => {
                with("source >=", "user:".to_owned());
                with("source <", "user;".to_owned());
            }
            None => {}
        }
        if wanted.doubted {
            sql.push_str(" AND state = 'active' AND doubt <> ''");
        }
        if wanted.ended {
            sql.push_str(" AND state = 'active' AND until <= $3");
        }
        sql.push_str(match (wanted.state, wanted.doubted) {
            (Some(State::Active), _) | (_, true) => " AND (until IS NULL OR until > $3)",
            // The placeholder is bound in either case.
            _ => " AND $3 > 0",
        });
        sql.push_str(" ORDER BY id DESC LIMIT $2");
        let mut query = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(before)
            .bind(request.fetch())
            .bind(self.now().micros().max(1));
        for value in values {
            query = query.bind(value);
        }
        let rows = query.fetch_all(self.inner.db.pool()).await?;
        let decided: Vec<Decided> = rows.iter().map(decided_of).collect::<Result<_, _>>()?;
        let page = request.page(LIST, decided, |d: &Decided| d.rule.id.to_string())?;
        let hits = self.hits(&page.items).await?;
        Ok(Page {
            items: page.items.into_iter().zip(hits).collect(),
            next: page.next,
        })
    }

    /// What was made from the indicator `id`, whoever sent it, newest first, with hits.
    ///
    /// # Errors
    /// [`EnforceError::Store`] and [`EnforceError::Seam`].
    pub async fn of_indicator(&self, id: &str) -> Result<Vec<(Decided, Hits)>, EnforceError> {
        let rows = sqlx::query(sqlx::AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM enforce_rule WHERE source >= $1 AND source < $2 ORDER BY id DESC LIMIT $3"
        )))
        .bind(format!("stix:{id}@"))
        .bind(format!("stix:{id}A"))
        .bind(OF_INDICATOR_MAX)
        .fetch_all(self.inner.db.pool())
        .await?;
        let decided: Vec<Decided> = rows.iter().map(decided_of).collect::<Result<_, _>>()?;
        let hits = self.hits(&decided).await?;
        Ok(decided.into_iter().zip(hits).collect())
    }

    /// Where an enforcement was met, the most frequent first.
    ///
    /// # Errors
    /// [`EnforceError::Seam`].
    pub async fn met_at(&self, id: EnforcementId) -> Result<Vec<NodeHits>, EnforceError> {
        self.inner
            .past
            .hits_by_node(id)
            .await
            .map_err(EnforceError::Seam)
    }

    /// Sets another end; nodes are told at once.
    ///
    /// # Errors
    /// [`EnforceError::Conflict`] when it is not in force, or the end is not ahead.
    pub async fn extend(
        &self,
        actor: Actor,
        request: Option<&str>,
        id: EnforcementId,
        until: Option<Timestamp>,
        why: &str,
    ) -> Result<Decided, EnforceError> {
        let now = self.now();
        if until.is_some_and(|until| until <= now) {
            return Err(EnforceError::Conflict(
                "the new end must lie ahead".to_owned(),
            ));
        }
        let (_, policy) = self.policy().await?;
        let own = self.own().await?;
        let mut tx = self.inner.db.begin().await?;
        let mut decided = one(&mut tx, id).await?;
        if decided.state != State::Active {
            return Err(EnforceError::Conflict(format!(
                "the enforcement is {}, not active",
                decided.state.name()
            )));
        }
        permitted(&policy, &own, &decided.rule.target)?;
        let before = decided.rule.until;
        decided.rule.until = until;
        // Who lets it last longer has decided that it stays.
        self.keep(&mut tx, &mut decided).await?;
        sqlx::query("UPDATE enforce_rule SET until = $2 WHERE id = $1")
            .bind(id.to_string())
            .bind(until.map(Timestamp::micros))
            .execute(&mut *tx)
            .await?;
        self.order_enforce(&mut tx, std::iter::once(&decided))
            .await?;
        let detail = json!({
            "from": before.map(Timestamp::micros), "until": until.map(Timestamp::micros), "why": why,
            "target": decided.rule.target.to_string(),
        });
        audit(
            &mut tx,
            actor,
            request,
            "enforcement.extend",
            format!("enforcement:{id}"),
            detail,
        )
        .await?;
        tx.commit().await?;
        Ok(decided)
    }

    /// How many decisions wait for a person, doubted ones among them; at most `max` of
    /// each are counted.
    ///
    /// # Errors
    /// [`EnforceError::Store`].
    pub async fn waiting(&self, max: i64) -> Result<i64, EnforceError> {
        Ok(sqlx::query_scalar(
            "SELECT (SELECT count(*) FROM (SELECT id FROM enforce_rule WHERE state = 'proposed' LIMIT $1) AS waiting)
             + (SELECT count(*) FROM (SELECT id FROM enforce_rule WHERE doubt <> '' AND state = 'active' AND (until IS NULL OR until > $2) LIMIT $1) AS doubted)",
        )
        .bind(max)
        .bind(self.now().micros())
        .fetch_one(self.inner.db.pool())
        .await?)
    }

    /// Versions of the policy, newest first.
    ///
    /// # Errors
    /// [`EnforceError::Store`]; [`EnforceError::Row`] for a document that cannot be read.
    pub async fn policies(
        &self,
        request: &PageRequest,
    ) -> Result<Page<PolicyVersion>, EnforceError> {
        const LIST: &str = "enforcement policies";
        let before: i64 = request.after(LIST)?.unwrap_or(i64::MAX);
        let rows: Vec<(i64, String, String, i64)> = sqlx::query_as(
            "SELECT version, document, made_by, made_at FROM enforce_policy WHERE version < $1 ORDER BY version DESC LIMIT $2",
        )
        .bind(before)
        .bind(request.fetch())
        .fetch_all(self.inner.db.pool())
        .await?;
        let mut versions = Vec::with_capacity(rows.len());
        for (version, document, made_by, made_at) in rows {
            versions.push(PolicyVersion {
                version,
                policy: serde_json::from_str(&document)
                    .map_err(|error| EnforceError::Row(format!("policy {version}: {error}")))?,
                made_by,
                made_at: Timestamp(made_at),
            });
        }
        Ok(request.page(LIST, versions, |one: &PolicyVersion| one.version)?)
    }
}
