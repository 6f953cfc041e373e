//! The rules by which beliefs age, as data that people version: what is in force, what a
//! change would do before it is made, and the way back to an earlier version.
//!
//! Every version stays. To go back is to put an earlier document in force again, as a
//! version of its own. Beliefs are weighed anew by the rules in force soon after.

use base::Timestamp;
use serde_json::json;

use super::belief::{Claim, Decay};
use super::claims::{CLAIMS_MAX, ClaimRow, SELECT_CLAIMS, claim_of, kind_of, voices_against};
use super::{ShareError, Sharing};
use crate::cert::By;
use crate::stix::time;

/// Beliefs on which a change is tried, those that changed last.
pub const TRIED_MAX: i64 = 2_000;
/// Changes that are shown of a trial.
pub const EXAMPLES_MAX: usize = 50;
/// Versions that are listed.
const VERSIONS_MAX: i64 = 200;

/// A version of the rules in the list.
#[derive(Debug, Clone, PartialEq)]
pub struct DecayVersion {
    /// 1, 2, 3 …
    pub version: i64,
    /// The document.
    pub rules: Decay,
    /// Who made it: `user:…`.
    pub made_by: String,
    /// When.
    pub made_at: Timestamp,
    /// The version whose document it brought back; none: a new one.
    pub back_to: Option<i64>,
}

/// A belief as it is and as it would be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tried {
    /// The pattern.
    pub pattern: String,
    /// Its confidence by the rules in force, and whether it is believed.
    pub now: (u8, bool),
    /// By the rules that are tried.
    pub then: (u8, bool),
}

/// What other rules would change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trial {
    /// Beliefs looked at.
    pub looked_at: usize,
    /// Believed, and then no more: what they block would be undone.
    pub fall: usize,
    /// Not believed, and then again.
    pub rise: usize,
    /// Of those that stay, whose confidence would differ.
    pub differ: usize,
    /// Some of these, those that fall first.
    pub examples: Vec<Tried>,
}

impl Sharing {
    /// The rules in force and their version; 0 is the one that is built in.
    ///
    /// # Errors
    /// When the database fails, or holds what are no rules.
    pub async fn decay(&self) -> Result<(i64, Decay), ShareError> {
        let row: Option<(i64, String)> = sqlx::query_as(
            "SELECT version, document FROM share_decay ORDER BY version DESC LIMIT 1",
        )
        .fetch_optional(self.db().pool())
        .await?;
        match row {
            Some((version, text)) => Ok((version, read(version, &text)?)),
            None => Ok((0, Decay::built_in().map_err(ShareError::Data)?)),
        }
    }

    /// All versions, the newest first.
    ///
    /// # Errors
    /// As [`Self::decay`].
    pub async fn decay_versions(&self) -> Result<Vec<DecayVersion>, ShareError> {
        let rows: Vec<(i64, String, String, i64, i64)> = sqlx::query_as(
            "SELECT version, document, made_by, made_at, back_to FROM share_decay ORDER BY version DESC LIMIT $1",
        )
        .bind(VERSIONS_MAX)
        .fetch_all(self.db().pool())
        .await?;
        rows.into_iter()
            .map(|(version, text, made_by, made_at, back_to)| {
                Ok(DecayVersion {
                    version,
                    rules: read(version, &text)?,
                    made_by,
                    made_at: Timestamp(made_at),
                    back_to: (back_to >= 0).then_some(back_to),
                })
            })
            .collect()
    }

    /// One version; 0 is the one that is built in.
    ///
    /// # Errors
    /// As [`Self::decay`].
    pub async fn decay_version(&self, version: i64) -> Result<Option<Decay>, ShareError> {
        if version == 0 {
            return Ok(Some(Decay::built_in().map_err(ShareError::Data)?));
        }
        let row: Option<(String,)> =
            sqlx::query_as("SELECT document FROM share_decay WHERE version = $1")
                .bind(version)
                .fetch_optional(self.db().pool())
                .await?;
        row.map(|(text,)| read(version, &text)).transpose()
    }

    /// Puts rules in force; returns their version. Number and date of the document are set
    /// here. `seen` is the version that the change was made from.
    ///
    /// # Errors
    /// [`ShareError::Policy`] when they break rules, or when others are in force than were
    /// seen; else what the database says.
    pub async fn set_decay(
        &self,
        by: &By,
        rules: &Decay,
        seen: i64,
        back_to: Option<i64>,
    ) -> Result<i64, ShareError> {
        let mut problems = rules.problems();
        let now = self.now();
        let mut tx = self.db().begin().await?;
        let (last,): (i64,) =
            sqlx::query_as("SELECT CAST(COALESCE(MAX(version), 0) AS BIGINT) FROM share_decay")
                .fetch_one(&mut *tx)
                .await?;
        if last != seen {
            problems.push((
                "seen".to_owned(),
                "must be the version in force: somebody else has changed the rules meanwhile",
            ));
        }
        if !problems.is_empty() {
            let problems = problems.into_iter();
            return Err(ShareError::Policy(
                problems
                    .map(|(path, rule)| (path, rule.to_owned()))
                    .collect(),
            ));
        }
        let version = last + 1;
        let rules = Decay {
            version: u32::try_from(version).unwrap_or(u32::MAX),
            since: time::format(now.micros() - now.micros().rem_euclid(1_000)),
            ..rules.clone()
        };
        let text = serde_json::to_string(&rules).map_err(|e| ShareError::Data(e.to_string()))?;
        sqlx::query("INSERT INTO share_decay (version, document, made_by, made_at, back_to) VALUES ($1, $2, $3, $4, $5)")
            .bind(version)
            .bind(&text)
            .bind(format!("user:{}", by.user))
            .bind(now.micros())
            .bind(back_to.unwrap_or(-1))
            .execute(&mut *tx)
            .await?;
        // All that somebody still says is weighed again.
        sqlx::query("UPDATE share_belief SET look_at = 0 WHERE look_at < $1")
            .bind(i64::MAX)
            .execute(&mut *tx)
            .await?;
        let detail = json!({ "version": version, "back_to": back_to, "rules": rules });
        tx.audit(by.entry(None, "share.decay", format!("decay:{version}"), detail))
            .await?;
        tx.commit().await?;
        Ok(version)
    }

    /// What `rules` would make of the beliefs that changed last.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn try_decay(&self, rules: &Decay) -> Result<Trial, ShareError> {
        let (_, present) = self.decay().await?;
        let now = self.now();
        let rows: Vec<(i64, String)> = sqlx::query_as(
            "SELECT id, pattern FROM share_belief WHERE sources > 0 ORDER BY changed_at DESC, id DESC LIMIT $1",
        )
        .bind(TRIED_MAX)
        .fetch_all(self.db().pool())
        .await?;
        let mut trial = Trial {
            looked_at: rows.len(),
            ..Trial::default()
        };
        let mut changed: Vec<(u8, Tried)> = Vec::new();
        for (id, pattern) in rows {
            let claims: Vec<ClaimRow> = sqlx::query_as(SELECT_CLAIMS)
                .bind(id)
                .bind(CLAIMS_MAX)
                .fetch_all(self.db().pool())
                .await?;
            let claims: Vec<Claim> = claims.into_iter().map(claim_of).collect();
            let mut db = self.db().pool().acquire().await?;
            let disputes = voices_against(&mut db, id, now).await?;
            drop(db);
            let disputes = usize::try_from(disputes).unwrap_or_default();
            let [was, would] = [&present, rules]
                .map(|rules| rules.belief(kind_of(&pattern), &claims, disputes, now));
            let order = match (was.stands, would.stands) {
                (true, false) => {
                    trial.fall += 1;
                    0
                }
                (false, true) => {
                    trial.rise += 1;
                    1
                }
                _ if was.confidence != would.confidence => {
                    trial.differ += 1;
                    2
                }
                _ => continue,
            };
            changed.push((
                order,
                Tried {
                    pattern,
                    now: (was.confidence, was.stands),
                    then: (would.confidence, would.stands),
                },
            ));
        }
        changed.sort_by_key(|(order, _)| *order);
        changed.truncate(EXAMPLES_MAX);
        trial.examples = changed.into_iter().map(|(_, tried)| tried).collect();
        Ok(trial)
    }
}

fn read(version: i64, text: &str) -> Result<Decay, ShareError> {
    serde_json::from_str(text).map_err(|error| {
        ShareError::Data(format!(
            "version {version} of the rules of beliefs cannot be read: {error}"
        ))
    })
}
