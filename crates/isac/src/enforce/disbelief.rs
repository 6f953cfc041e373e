//! What becomes of enforcements whose indicators the house no longer believes: called a
//! false positive, aged away, or taken back by everybody who said so.
//!
//! They are lifted, or a person is asked, as the policy wants it; why stands in the row and
//! in the audit trail. What was lifted so is spent: the same word of the same indicator does
//! not make it again, whichever organisation sends it and however often. A newer version is
//! a new word, and is weighed like any other.

use std::collections::BTreeMap;

use base::enforcement::{REASON_CHARS_MAX, Target};
use serde_json::json;
use sqlx::Row as _;
use store::{Actor, Tx};

use super::engine::{Decided, EnforceError, Enforcements, State, audit};
use super::policy::{Policy, Unbelieved};
use super::rows::{COLUMNS, decided_of};
use super::seams::{Belief, Fallen, Said, Uttered};
use crate::objects::{Origin, Via};

/// Patterns that are acted on at once.
const FALLEN: u32 = 200;
/// Rows of one indicator that are looked at.
const ROWS_MAX: i64 = 10_000;
const ACTOR: Actor = Actor::System("enforcement policy");

/// What an indicator made so far.
#[derive(Debug, Default)]
pub(super) struct Made {
    /// Targets of this source for which a person has been asked.
    asked: Vec<String>,
    /// Whether this source has something in force or proposed.
    pub(super) has: bool,
    /// Whether the house itself has.
    pub(super) as_house: bool,
    /// When this source's newest word was said that was acted on.
    pub(super) heard: i64,
    /// Targets that were lifted since the indicator is not believed, by whomever it was
    /// sent, and when it had said so.
    spent: Vec<(String, i64)>,
}

impl Made {
    /// Whether the word of `said_at` on `target` was lifted before.
    pub(super) fn is_spent(&self, target: &Target, said_at: i64) -> bool {
        let target = target.to_string();
        self.spent
            .iter()
            .any(|(spent, at)| *spent == target && said_at <= *at)
    }

    /// Whether a person has been asked about `target` and has not answered.
    pub(super) fn waits_for(&self, target: &Target) -> bool {
        let target = target.to_string();
        self.asked.contains(&target)
    }
}

impl Enforcements {
    /// What the house makes of each, in their order.
    pub(super) async fn weighed(&self, said: &[Said]) -> Result<Vec<Belief>, EnforceError> {
        match self.inner.beliefs.get() {
            Some(beliefs) if !said.is_empty() => {
                beliefs.weighed(said).await.map_err(EnforceError::Seam)
            }
            _ => Ok(vec![Belief::Stands; said.len()]),
        }
    }

    /// Percent of their word that other houses are believed.
    pub(super) async fn peers(&self) -> Result<BTreeMap<Via, u8>, EnforceError> {
        match self.inner.beliefs.get() {
            Some(beliefs) => beliefs.peers().await.map_err(EnforceError::Seam),
            None => Ok(BTreeMap::new()),
        }
    }

    /// From whom the indicators are on which the house's own word on `pattern` stands.
    pub(super) async fn voices(&self, pattern: &str) -> Result<Vec<Origin>, EnforceError> {
        match self.inner.beliefs.get() {
            Some(beliefs) => beliefs.voices(pattern).await.map_err(EnforceError::Seam),
            None => Ok(Vec::new()),
        }
    }

    /// Whether an indicator is the house's own word, which [`Self::disbelieve`] follows.
    pub(super) fn follows_belief(&self, object: &str, pattern: &str) -> bool {
        let beliefs = self.inner.beliefs.get();
        beliefs.is_some_and(|beliefs| beliefs.owns(object, pattern))
    }

    /// What was made from the indicator `id`, by `source` and by others.
    pub(super) async fn made(&self, id: &str, source: &str) -> Result<Made, EnforceError> {
        // `~` follows every character of an organisation's id.
        let rows: Vec<(String, String, String, i64, i64, i64)> = sqlx::query_as(
            "SELECT source, target, state, spent, said_at, CAST(COALESCE(decided_at, said_at) AS BIGINT) FROM enforce_rule
             WHERE source >= $1 AND source < $2 AND (state IN ('active', 'proposed') OR spent = 1) LIMIT $3",
        )
        .bind(format!("stix:{id}@"))
        .bind(format!("stix:{id}@~"))
        .bind(ROWS_MAX)
        .fetch_all(self.inner.db.pool())
        .await?;
        let heard: Option<i64> =
            sqlx::query_scalar("SELECT MAX(said_at) FROM enforce_rule WHERE source = $1")
                .bind(source)
                .fetch_one(self.inner.db.pool())
                .await?;
        let mut made = Made {
            heard: heard.unwrap_or(0),
            ..Made::default()
        };
        for (of, target, state, spent, said_at, ended) in rows {
            if spent == 1 {
                // What is said after the end is said anew, whatever date somebody else's
                // version bears.
                made.spent.push((target, said_at.min(ended)));
            } else if matches!(state.as_str(), "active" | "proposed") {
                made.has |= of == source;
                if of == source && state == "proposed" {
                    made.asked.push(target);
                }
                made.as_house |= of.ends_with("@house");
            }
        }
        Ok(made)
    }

    /// Undoes what was made from indicators that are no longer believed, or asks a person.
    ///
    /// # Errors
    /// [`EnforceError`]; what was not acted on comes again.
    pub async fn disbelieve(&self) -> Result<(), EnforceError> {
        let Some(beliefs) = self.inner.beliefs.get() else {
            return Ok(());
        };
        loop {
            let fallen = beliefs.fallen(FALLEN).await.map_err(EnforceError::Seam)?;
            if fallen.is_empty() {
                return Ok(());
            }
            let (_, policy) = self.policy().await?;
            for one in &fallen {
                for said in one.said.chunk_by(|one, other| one.object == other.object) {
                    self.unsay(&policy, one, said).await?;
                }
            }
            beliefs.heeded(&fallen).await.map_err(EnforceError::Seam)?;
        }
    }

    async fn unsay(
        &self,
        policy: &Policy,
        fallen: &Fallen,
        said: &[Uttered],
    ) -> Result<(), EnforceError> {
        let Some((object, newest)) = said
            .first()
            .map(|one| &one.object)
            .zip(said.iter().map(|one| one.at).max())
        else {
            return Ok(());
        };
        if self.sources_of(object).await?.is_empty() {
            return Ok(());
        }
        let mut tx = self.inner.db.begin().await?;
        // What a newer version of the indicator made is weighed by itself.
        let rows = sqlx::query(sqlx::AssertSqlSafe(format!(
            "SELECT {COLUMNS}, said_at FROM enforce_rule WHERE source >= $1 AND source < $2 AND said_at <= $3 AND state IN ('active', 'proposed') AND doubted < $4 LIMIT $5"
        )))
        .bind(format!("stix:{object}@"))
        .bind(format!("stix:{object}@~"))
        .bind(newest)
        .bind(match policy.unbelieved {
            Unbelieved::Lift => i64::MAX,
            Unbelieved::Ask => fallen.disputes,
        })
        .bind(ROWS_MAX)
        .fetch_all(&mut *tx)
        .await?;
        let (mut lifted, mut told) = (Vec::new(), 0);
        for row in &rows {
            let mut decided = decided_of(row)?;
            // What its own sender says of the pattern counts: what others say by the same
            // indicator, of this or of another pattern, takes nothing back.
            let said_at: i64 = row.try_get("said_at")?;
            let own = said
                .iter()
                .find(|one| one.sender.as_ref().is_none_or(|of| decided.is_of(of)));
            let said_at = match own {
                Some(own) if said_at <= own.at => own.at,
                _ => continue,
            };
            let asks = policy.unbelieved == Unbelieved::Ask && decided.state == State::Active;
            self.doubt(&mut tx, &mut decided, fallen, said_at).await?;
            told += 1;
            if asks {
                continue;
            }
            let state = match decided.state {
                State::Active => {
                    lifted.push(decided.rule.id);
                    State::Lifted
                }
                _ => State::Rejected,
            };
            self.settle(&mut tx, &mut decided, state, &ACTOR, &fallen.why)
                .await?;
        }
        if told == 0 {
            return Ok(());
        }
        let action = match policy.unbelieved {
            Unbelieved::Lift => "enforcement.unbelieved",
            Unbelieved::Ask => "enforcement.doubt",
        };
        let count = lifted.len();
        self.order_lift(&mut tx, lifted).await?;
        let detail = json!({ "why": fallen.why, "count": told, "lifted": count });
        audit(
            &mut tx,
            ACTOR,
            None,
            action,
            format!("stix:{object}"),
            detail,
        )
        .await?;
        tx.commit().await?;
        Ok(())
    }

    async fn doubt(
        &self,
        tx: &mut Tx,
        decided: &mut Decided,
        fallen: &Fallen,
        said_at: i64,
    ) -> Result<(), EnforceError> {
        decided.doubt = fallen.why.chars().take(REASON_CHARS_MAX).collect();
        // A newer word of the indicator that found the rule in force is spent with it.
        sqlx::query("UPDATE enforce_rule SET doubt = $2, doubted = $3, said_at = $4 WHERE id = $1")
            .bind(decided.rule.id.to_string())
            .bind(&decided.doubt)
            .bind(fallen.disputes)
            .bind(said_at)
            .execute(&mut **tx)
            .await?;
        Ok(())
    }
}
