//! From enforcements to flow rules: what intelligence, or a person, has decided to refuse everywhere.
//!
//! An enforcement on an address or a prefix says that packets from there are refused. At the exchange it
//! becomes a flow rule of the exchange's own, "from there, discard", for the members that want such rules.
//! [`Protect::follow`] compares what is enforced with what is there and mends the difference, so that it
//! can be called again at any time. A rule that would meet a member's own addresses waits for a person.

use std::collections::BTreeMap;

use base::Timestamp;
use base::enforcement::{Action, Rule, Target};

use super::Protect;
use super::engine::State;
use super::rows::{COLUMNS, Kept, insert, kept_of};
use crate::document::{Flow, PROTECTIONS_MAX, Protection};
use crate::room::{By, RoomError};

/// Rules from intelligence, at most; what comes after is left to edges and name servers.
pub const RULES_MAX: usize = PROTECTIONS_MAX / 2;
/// How the source of such a rule begins; the identifier of its enforcement follows.
const SOURCE: &str = "enforcement:";

/// What a look at the enforcements changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Followed {
    /// Rules made.
    pub made: usize,
    /// Rules lifted.
    pub lifted: usize,
    /// Enforcements beyond [`RULES_MAX`], left alone.
    pub left: usize,
}

impl Protect {
    /// Makes what is in force at the exchange follow `enforced`: every enforcement that is in force now.
    ///
    /// # Errors
    /// [`RoomError::Store`]; the next call tries again.
    pub async fn follow(&self, enforced: &[Rule]) -> Result<Followed, RoomError> {
        let (version, policy) = self.policy().await?;
        let now = self.now();
        let mut wanted: BTreeMap<String, &Rule> = BTreeMap::new();
        let mut left = 0;
        for rule in enforced {
            let is_meant = matches!(rule.target, Target::Network(_))
                && rule.action != Action::Observe
                && rule.is_in_force(now);
            if !policy.intelligence || !is_meant {
                continue;
            }
            if wanted.len() >= RULES_MAX {
                left += 1;
                continue;
            }
            wanted.insert(format!("{SOURCE}{}", rule.id), rule);
        }
        if self.is_followed(&wanted).await? {
            return Ok(Followed {
                left,
                ..Followed::default()
            });
        }
        let space = self.all_space().await?;
        let mut tx = self.inner.db.begin().await?;
        let rows = sqlx::query(sqlx::AssertSqlSafe(format!("SELECT {COLUMNS} FROM exchange_protection WHERE org IS NULL AND source LIKE '{SOURCE}%'")))
            .fetch_all(&mut *tx)
            .await?;
        let by = By::system("enforcement");
        let mut followed = Followed {
            left,
            ..Followed::default()
        };
        for row in &rows {
            let mut kept = kept_of(row)?;
            match wanted.remove(&kept.source) {
                // What a person has decided about a rule stays decided.
                Some(rule) if rule.until == kept.until => {}
                Some(rule) if kept.state == State::Active || kept.state == State::Proposed => {
                    kept.until = rule.until;
                    sqlx::query("UPDATE exchange_protection SET until = $2 WHERE id = $1")
                        .bind(&kept.rule.id)
                        .bind(kept.until.map(Timestamp::micros))
                        .execute(&mut *tx)
                        .await?;
                    self.record(&mut tx, &by, &kept, "extend", "").await?;
                }
                Some(_) => {}
                None if kept.state == State::Active || kept.state == State::Proposed => {
                    self.settle(
                        &mut tx,
                        &by,
                        &mut kept,
                        State::Lifted,
                        "lift",
                        "the enforcement ended",
                    )
                    .await?;
                    followed.lifted += 1;
                }
                None => {}
            }
        }
        for (source, rule) in wanted {
            let Target::Network(prefix) = rule.target else {
                continue;
            };
            let own: std::collections::BTreeSet<u32> = space
                .iter()
                .filter(|(_, own)| own.covers(&prefix) || prefix.covers(own))
                .map(|(asn, _)| *asn)
                .collect();
            let reason = if own.is_empty() {
                "intelligence".to_owned()
            } else {
                let names: Vec<String> = own.iter().take(5).map(|asn| format!("AS{asn}")).collect();
                format!(
                    "intelligence; meets the address space of {}",
                    names.join(", ")
                )
            };
            let kept = Kept {
                rule: Protection {
                    id: uuid::Uuid::now_v7().to_string(),
                    asn: None,
                    destination: None,
                    sites: Vec::new(),
                    flow: Some(Flow {
                        source: Some(prefix),
                        rate_bytes: Some(0),
                        ..Flow::default()
                    }),
                },
                org: None,
                source,
                reason,
                state: if own.is_empty() {
                    State::Active
                } else {
                    State::Proposed
                },
                until: rule.until,
                policy: version,
                made_by: by.actor.to_string(),
                made_at: now,
                decided_by: None,
                decided_at: None,
                decided_why: String::new(),
            };
            insert(&mut tx, &kept).await?;
            let action = if own.is_empty() {
                "announce"
            } else {
                "propose"
            };
            self.record(&mut tx, &by, &kept, action, &kept.reason)
                .await?;
            followed.made += 1;
        }
        tx.commit().await?;
        if followed.made + followed.lifted > 0 {
            self.tell_changed();
        }
        Ok(followed)
    }

    /// Whether nothing is to be changed, without the writers' turn: this is asked every few seconds.
    async fn is_followed(&self, wanted: &BTreeMap<String, &Rule>) -> Result<bool, RoomError> {
        let rows: Vec<(String, String, Option<i64>)> = sqlx::query_as(sqlx::AssertSqlSafe(format!(
            "SELECT source, state, until FROM exchange_protection WHERE org IS NULL AND source LIKE '{SOURCE}%'"
        )))
        .fetch_all(self.inner.db.pool())
        .await?;
        let known: BTreeMap<&str, (&str, Option<i64>)> = rows
            .iter()
            .map(|(source, state, until)| (source.as_str(), (state.as_str(), *until)))
            .collect();
        let is_open =
            |state: &str| state == State::Active.name() || state == State::Proposed.name();
        let all_known = wanted.iter().all(|(source, rule)| {
            known.get(source.as_str()).is_some_and(|(state, until)| {
                !is_open(state) || *until == rule.until.map(Timestamp::micros)
            })
        });
        let none_over = known
            .iter()
            .all(|(source, (state, _))| !is_open(state) || wanted.contains_key(*source));
        Ok(all_known && none_over)
    }
}
